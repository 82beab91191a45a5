"""Hostile names, headers, documents and messages, passed to everything that accepts them.

Not repeated here: the mapping of keys to files (test_keys), messages (test_objects_from, test_events,
test_claim_check), unknown fields of settings (test_subresources). ``SEEDS`` is the number of random rounds (20)::

    SEEDS=200 python -m pytest tests/attacks/test_hostile_data.py
"""

from __future__ import annotations

import asyncio
import gc
import html.parser
import io
import json
import os
import random
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from support.servers import Server

import messageflux_s3 as s3
from messageflux_s3._files import download
from messageflux_s3._formats.keys import key_to_path, path_to_key
from messageflux_s3._objects.lock import S3Lock
from messageflux_s3.aio import AsyncChange, AsyncSyncPlan
from messageflux_s3.fs import MessagefluxS3FileSystem
from messageflux_s3.subresources.lifecycle import LifecycleConfiguration

pytestmark = pytest.mark.timeout(900)

SEEDS = range(
    int(os.environ.get("FIRST_SEED", "0")), int(os.environ.get("FIRST_SEED", "0")) + int(os.environ.get("SEEDS", "20"))
)
PIECES = (
    "..", ".", "", "a", "link", "file", "C:", "\\", "..\\..", "%2e%2e", "%2F", "nul", "CON", "x" * 200, "é", "e\u0301", " ", "~", "$HOME",
    "*", "?a=b", "#", "&", "+", ";", "<b>", "\"'", "\n", "\r\nX: y", "\x1b[2J", "\u202e", ".mfs3-journal", ".x.mfs3-partial",
    "${filename}", "{bucket}", "]]>", "=?", "[a]",
)  # fmt: skip


def hostile_keys(seed: int, count: int = 12) -> list[str]:
    """Keys made of pieces with a special meaning in file systems, URLs, headers, XML, HTML or terminals."""
    chance = random.Random(seed)
    keys = {"/".join(chance.choice(PIECES) for _ in range(chance.randint(1, 5)))[:250] for _ in range(count)}
    return sorted(key for key in keys if key)


# -- folders -------------------------------------------------------------------------------------------------------------------------


class Sandbox:
    """A download folder with traps in it, surrounded by files that must not change."""

    def __init__(self, place: Path, seed: int) -> None:
        chance = random.Random(f"sandbox {seed}")
        self.place, self.outside, self.folder = place, place / "outside", place / "deep" / "er" / "folder"
        self.outside.mkdir(parents=True)
        self.folder.mkdir(parents=True)
        (self.outside / "file").write_bytes(b"mine")
        (self.outside / "a").mkdir()
        traps = {
            "link": self.outside,
            "a": self.outside / "a",
            "file": self.outside / "file",
            "é": self.place / "dangling",
        }
        for path, trap in traps.items():
            if chance.random() < 0.6:
                (self.folder / path).symlink_to(trap)
        if chance.random() < 0.5:
            (self.folder / ".mfs3-journal").write_bytes(b"{}")
        if chance.random() < 0.5 and not (self.folder / "a").is_symlink():
            (self.folder / "a").write_bytes(b"a file where a folder may have to be")
        self.before = self.surroundings()

    def surroundings(self) -> dict[str, bytes | None]:
        """Return all files outside the folder."""
        return {
            str(path): path.read_bytes() if path.is_file() else None
            for path in sorted(self.place.rglob("*"))
            if self.folder not in path.parents
        }

    def files(self) -> dict[str, bytes]:
        """Return the files inside by path; links are not followed."""
        found: dict[str, bytes] = {}
        for above, _, names in os.walk(self.folder):
            for name in names:
                path = Path(above, name)
                if not path.is_symlink():
                    found[path.relative_to(self.folder).as_posix()] = path.read_bytes()
        return found


@pytest.mark.parametrize("seed", SEEDS)
def test_downloads_write_nothing_outside_their_folder(moto_bucket: s3.S3Bucket, tmp_path: Path, seed: int) -> None:
    """With every download method and trap: files outside are unchanged, and each file inside has the content of its own key."""
    content = {key: f"{number}".encode() for number, key in enumerate(hostile_keys(seed))}
    client = moto_bucket.store.client
    content = {key: body for key, body in content.items() if _is_kept(client, moto_bucket.name, f"p/{key}")}
    for key, body in content.items():
        client.put_object(Bucket=moto_bucket.name, Key=f"p/{key}", Body=body)
    assert content
    files = MessagefluxS3FileSystem(moto_bucket.store)
    ways: dict[str, Callable[[Path], object]] = {
        "download_folder": lambda folder: moto_bucket.download_folder("p", folder),
        "sync": lambda folder: moto_bucket.sync_to_folder("p", folder, delete=True),
        "sync twice": lambda folder: [moto_bucket.sync_to_folder("p", folder) for _ in range(2)],
        "query": lambda folder: moto_bucket.find(prefix="p/").download_to(folder),
        "fsspec": lambda folder: files.get(f"{moto_bucket.name}/p", str(folder), recursive=True),
    }
    for name, way in ways.items():
        sandbox = Sandbox(tmp_path / name, seed)
        planted = sandbox.files()
        was_refused = False
        try:
            way(sandbox.folder)
        except (s3.S3Error, FileExistsError, ValueError, IsADirectoryError, NotADirectoryError):
            was_refused = True  # and the former file may still exist
        assert sandbox.surroundings() == sandbox.before, name
        if name == "fsspec":  # which makes its own file names
            continue
        for path, body in sandbox.files().items():
            key = path_to_key(path)
            is_its_file = key_to_path(key) == path and (name != "query" or key.startswith("p/"))
            key = key.removeprefix("p/") if name == "query" else key
            right = [content[key]] if is_its_file and key in content else [planted.get(path)]
            assert body in right or (was_refused and body == planted.get(path)), (name, path)
    moto_bucket.clear_objects()  # the fixture cleans up with plain boto3, which cannot list them


def test_objects_named_like_a_download_journal_do_not_affect_a_resumed_download(
    moto_bucket: s3.S3Bucket, tmp_path: Path
) -> None:
    """Objects named like the partial download and journal of a large object, with forged content, do not change its download."""
    body = os.urandom(17 << 20)
    large = moto_bucket.put_object("p/x", body)
    heading = {
        "object": large.uri,
        "etag": large.etag,
        "start": 0,
        "end": len(body),
        "part": download.part_size_of(len(body)),
    }
    moto_bucket.put_object("p/.x.mfs3-journal", json.dumps(heading).encode() + b"\n0\n1\n2\n3\n")
    moto_bucket.put_object("p/.x.mfs3-partial", bytes(len(body)))
    for _ in range(2):
        moto_bucket.download_folder("p", tmp_path)
        assert (tmp_path / "x").read_bytes() == body
    large.download_to(tmp_path / "x", resume=True)
    assert (tmp_path / "x").read_bytes() == body
    assert len(moto_bucket.sync_from_folder(tmp_path, "p", delete=True).skipped) == 3  # all three are recognised


# -- requests ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_every_operation_on_a_key_affects_that_object_only(
    moto_store: s3.S3Store, moto_bucket: s3.S3Bucket, seed: int
) -> None:
    """Write, read, copy, presign, tag, list and delete each key through boto3 and the lane: no other object or bucket changes."""
    neighbour = moto_store.create_bucket(f"neighbour-{uuid.uuid4().hex[:12]}")
    for bucket in (moto_bucket, neighbour):
        bucket.put_objects([(name, b"victim") for name in ("a", "link", "file", "b", "victim")])
    keys = [key for key in hostile_keys(seed, 8) if key not in ("a", "link", "file")]
    keys += [
        f"../{neighbour.name}/victim",
        "x</Key></Object><Object><Key>victim",
        "victim?versionId=null",
        "victim%00",
        "victim?tagging",
    ]
    # Leave out keys that moto itself confuses with others, as plain boto3 shows.
    keys = [key for key in dict.fromkeys(keys) if _is_kept(moto_store.client, moto_bucket.name, key)]
    content = {key: f"{seed}:{number}".encode() for number, key in enumerate(keys)}
    moto_bucket.put_objects(content.items())
    first = moto_bucket.put_object(keys[0], content[keys[0]], {"note": "\r\nX: y"})
    assert first.metadata == {"note": "\r\nX: y"}
    assert {obj.key: obj.body for obj in moto_bucket.get_objects(keys)} == content
    for key, body in content.items():
        obj = moto_bucket[key]
        assert (obj.body, moto_bucket.get_object(key).body, key in moto_bucket) == (body, body, True)
        with urllib.request.urlopen(obj.presigned_url(), timeout=20) as answer:
            assert answer.read() == body
        assert moto_bucket.copy_object(key, "copied").reload().body == body
        assert [found.key for found in moto_bucket.find(prefix=key).limit(1)] == [key]
        obj.tags.put({"a=b": "c+d @"})
        assert dict(obj.tags.get()) == {"a=b": "c+d @"}
        assert moto_store.object(obj.uri).key == key
    assert {obj.key for obj in moto_bucket.find()} == {*keys, "a", "link", "file", "b", "victim", "copied"}
    assert sorted(moto_bucket.delete_objects(keys).succeeded) == sorted(keys)
    for bucket in (moto_bucket, neighbour):
        left = {obj.key: obj.body for obj in bucket.find().prefetch() if obj.key != "copied"}
        assert left == dict.fromkeys(("a", "b", "file", "link", "victim"), b"victim")
    neighbour.delete_bucket(force=True)


def _is_kept(client: Any, bucket: str, key: str) -> bool:
    try:
        client.put_object(Bucket=bucket, Key=key, Body=key.encode())
        listed = [found["Key"] for found in client.list_objects_v2(Bucket=bucket, Prefix=key).get("Contents", ())]
        read: bytes = client.get_object(Bucket=bucket, Key=key)["Body"].read()
        client.delete_object(Bucket=bucket, Key=key)
    except client.exceptions.ClientError:
        return False
    return key in listed and read == key.encode()


@pytest.mark.parametrize("seed", SEEDS)
def test_metadata_is_read_back_unchanged_or_refused(bucket: s3.S3Bucket, seed: int) -> None:
    """Through boto3, the lane, a stream and a copy; no additional header is written."""
    chance = random.Random(f"metadata {seed}")
    letters = [*"ab =?:;,<>\"'%\\\t", "\r", "\n", "\0", "é", "字", "\U0001f600", "\x7f", "\u2028", "=?utf-8?B?", "=?="]
    values = {f"n{number}-_.": "".join(chance.choices(letters, k=chance.randint(0, 30))) for number in range(4)}
    bucket.put_object("one", b"1", values)
    bucket.put_objects([("warm", b"1"), ("many", b"1", values)])
    bucket.upload_object("stream", io.BytesIO(b"1"), values)
    bucket["one"].copy_to("copy")
    for key in ("one", "many", "stream", "copy"):
        found = bucket[key].metadata
        assert {name: found[name] for name in values} == values, key
        assert not {*found} - {*values, "mtime"}, key  # rclone adds the file's time
    for name in ("a\r\nb", "a b", "é", "a:b", ""):
        with pytest.raises(ValueError, match="metadata name"):
            bucket.put_object("new", b"", {name: "x"})


# -- what is shown -------------------------------------------------------------------------------------------------------------------

NASTY = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&lt;\u202e\x1b[2J</td></table>"


class Seen(html.parser.HTMLParser):
    """Tags and attributes as a browser would see them."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def test_html_representations_escape_everything_that_a_store_returns(
    moto: Server, moto_bucket: s3.S3Bucket, tmp_path: Path
) -> None:
    """Hostile keys, metadata, content, rules, tags and errors in every ``_repr_html_`` and ``show()``."""
    nasty = moto_bucket.put_object(f"p/{NASTY}", NASTY, {"n": NASTY}, content_type="text/html")
    moto_bucket.put_object(f"p/{NASTY}.json", json.dumps({NASTY: [NASTY]}))
    moto_bucket.put_object(
        f"p/{NASTY}.csv", f'"{NASTY.replace(chr(34), chr(34) * 2)}",b\n1,{NASTY.replace(chr(34), "")}\n'
    )
    moto_bucket.put_object(f"{NASTY}/x", b"\0\1<script>")
    rule = s3.LifecycleRule(NASTY[:80], prefix=NASTY, expire_days=3)
    with suppress(s3.S3Error, ValueError):
        moto_bucket.lifecycle.put(LifecycleConfiguration((rule,)))
    shown: dict[str, Any] = {
        "object": nasty, "object asked": nasty.reload(), "preview": nasty.preview(), "json": moto_bucket[f"p/{NASTY}.json"].preview(),
        "csv": moto_bucket[f"p/{NASTY}.csv"].preview(), "bytes": moto_bucket[f"{NASTY}/x"].preview(), "bucket": moto_bucket,
        "bucket asked": moto_bucket.show(), "query": moto_bucket.find(prefix=NASTY, regex="<b>.*", glob="<b>*"),
        "query asked": moto_bucket.find(delimiter="/").show(), "tree": moto_bucket.find().tree(), "browser": moto_bucket.find().browse(),
        "usage": moto_bucket.usage(depth=3),
        "store": moto.connect(public_url="http://h/<script>", region="us-east-1"), "store asked": moto_bucket.store.show(),
        "plan": moto_bucket.sync_to_folder("p", tmp_path / NASTY.replace("/", "_"), dry_run=True),
        "rules": LifecycleConfiguration((rule,)), "change": moto_bucket.lifecycle.ensure(rule, dry_run=True),
        "tags": moto_bucket.tags.ensure({NASTY[:60]: NASTY[:60]}, dry_run=True),
        "policy": moto_bucket.policy.ensure({"Sid": NASTY, "Effect": "Deny",
        "Principal": "*", "Action": NASTY, "Resource": NASTY}, dry_run=True), "result": moto_bucket.put_objects([(f"q/{NASTY}", b"")]),
        "failed": s3.BatchResult([NASTY], [s3.Failure(NASTY, NASTY, s3.S3Error(f"about {NASTY}", key=NASTY))]),
        "capabilities": s3.Capabilities(), "observation": moto_bucket.store.observe(tag=NASTY),
    }  # fmt: skip

    async def plan_and_change() -> tuple[AsyncSyncPlan, AsyncChange[Any]]:
        async with s3.AsyncS3Store(moto_bucket.store) as store:
            bucket = store.bucket(moto_bucket.name)
            plan = await bucket.sync_to_folder("p", tmp_path / NASTY.replace("/", "_"), dry_run=True)
            return plan, await bucket.lifecycle.ensure(rule, dry_run=True)

    shown["async plan"], shown["async change"] = asyncio.run(plan_and_change())
    tried = 0
    moto_bucket.clear_objects()  # the fixture cleans up with plain boto3, which cannot list them
    for name, value in shown.items():
        if not hasattr(value, "_repr_html_"):
            continue
        tried += 1
        seen = Seen()
        seen.feed(value._repr_html_())
        seen.close()
        assert not seen.tags & (
            {
                "script",
                "img",
                "iframe",
                "a",
                "link",
                "object",
                "b",
                "input",
                "base",
                "form",
            }
            | ({"svg"} if name != "usage" else set())
        ), name  # usage() draws a treemap
        assert not {
            attribute for attribute in seen.attributes if attribute.startswith("on") or attribute in ("src", "href")
        }, name
        assert not {"\x1b", "\u202e"} & {*f"{value}{value!r}"}, name
    assert tried >= 15


def every_place_that_draws() -> Iterator[str]:
    """Return the modules of the library that define a ``_repr_html_``."""
    for path in Path(s3.__file__).parent.rglob("*.py"):
        if "def _repr_html_" in path.read_text():
            yield path.stem


def test_no_representation_of_a_handle_controls_a_terminal(recwarn: pytest.WarningsRecorder) -> None:
    """Nor does the warning about a file that was dropped."""
    bucket = s3.connect("http://127.0.0.1:9", access_key="ACCESSKEY01", secret_key="SECRETKEY0123456").bucket("bkt")
    key = "a\x1b[2J\r\n\u202eb"
    obj, remote = (
        bucket.object(key, "v\x1b[1m"),
        s3.AsyncS3Bucket(bucket, s3.AsyncS3Store(bucket.store)._engine).object(key),
    )
    handles = [
        obj, obj.tags, obj.annotations, bucket.path(key), bucket.find(key), S3Lock(obj._address), remote, remote.tags, s3.S3Error(key),
    ]  # fmt: skip
    assert [repr(handle) for handle in handles if not repr(handle).isprintable()] == []
    file = bucket.object(key).open("wb")
    del file
    gc.collect()
    [told] = [str(warning.message) for warning in recwarn if "dropped" in str(warning.message)]
    assert told.isprintable()


def test_every_class_with_an_html_representation_is_tested() -> None:
    """Every ``_repr_html_`` of the library is tested above."""
    known = {
        "sync",
        "usage",
        "browser",
        "render",
        "query",
        "batch",
        "base",
        "lifecycle",
        "object",
        "observation",
        "store",
        "bucket",
        "capabilities",
        "plans",
        "twins",
    }
    assert {*every_place_that_draws()} == known
