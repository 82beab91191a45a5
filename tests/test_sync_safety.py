"""Sync and downloads to a folder: nothing is deleted, merged or skipped that the plan did not see or could not compare."""

from __future__ import annotations

import base64
import hashlib
import os
import pickle
import re
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import pytest
from support.scripted_server import Answer, Asked, ScriptedServer, content_of, document, refusal, run_scripted_server
from test_etags import Strange, md5, no_md5, weak

from messageflux_s3 import S3BatchError, S3Bucket, S3Error, S3InvalidName, S3ObjectChanged
from messageflux_s3._files import sync

MIB = 1024 * 1024


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder; links to folders are not followed."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def keys(bucket: S3Bucket) -> list[str]:
    return [obj.key for obj in bucket.find()]


def strong(body: bytes) -> str:
    return f'"{md5(body)}"'


# -- names with percent signs ---------------------------------------------------------------------------------------------------------


def test_sync_from_folder_keeps_objects_behind_a_linked_folder_with_an_escape_in_its_name(
    scripted_server: ScriptedServer, tmp_path: Path
) -> None:
    scripted_server.answer = store = Strange(strong)
    bucket, folder = scripted_server.bucket(), tmp_path / "folder"
    (folder / "My%20Docs").mkdir(parents=True)
    (folder / "My%20Docs" / "a.txt").write_bytes(b"a")
    bucket.sync_from_folder(folder, "p", delete=True)
    store.objects["p/My%20Docs/"] = b""
    (folder / "My%20Docs").rename(tmp_path / "elsewhere")
    (folder / "My%20Docs").symlink_to(tmp_path / "elsewhere")
    plan = bucket.sync_from_folder(folder, "p", delete=True)
    assert plan.deleted == []
    assert sorted(store.objects) == ["p/My%20Docs/", "p/My%20Docs/a.txt"]


def test_sync_up_and_down_again_leaves_file_names_with_escapes_as_they_are(
    scripted_server: ScriptedServer, tmp_path: Path
) -> None:
    scripted_server.answer = Strange(strong)
    bucket = scripted_server.bucket()
    (tmp_path / "My%20Docs").mkdir()
    (tmp_path / "My%20Docs" / "a.txt").write_bytes(b"a")
    bucket.sync_from_folder(tmp_path, "p")
    assert [step.action for step in bucket.sync_to_folder("p", tmp_path, delete=True).steps] == ["skip"]
    assert bucket.download_folder("p", tmp_path) == ["My%20Docs/a.txt"]
    assert tree(tmp_path) == {"My%20Docs/a.txt": b"a"}


# -- links inside the folder ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["b", "."])
def test_downloads_to_a_folder_follow_no_link_inside_it(
    scripted_server: ScriptedServer, tmp_path: Path, target: str
) -> None:
    """Two keys would have the same file. The object behind the link is reported, the other is downloaded."""
    scripted_server.answer = Strange(strong, {"p/a/x": b"AAAA", "p/b/x": b"BBBB", "p/x": b"CCCC"})
    bucket = scripted_server.bucket()
    (tmp_path / "b").mkdir()
    (tmp_path / "a").symlink_to(target)
    for act in (
        lambda: bucket.download_folder("p", tmp_path),
        lambda: bucket.sync_to_folder("p", tmp_path, delete=True),
        lambda: bucket.sync_to_folder("p", tmp_path),
    ):
        with pytest.raises(S3BatchError, match="link") as caught:
            act()
        assert [failure.key for failure in caught.value.failures] == ["p/a/x"]
        assert (tmp_path / "b" / "x").read_bytes() == b"BBBB"
        assert (tmp_path / "x").read_bytes() == b"CCCC"


def test_loop_of_links_where_a_key_needs_a_folder_fails_for_that_key_alone(
    scripted_server: ScriptedServer, tmp_path: Path
) -> None:
    scripted_server.answer = Strange(strong, {"p/a/x": b"1", "p/b": b"2"})
    (tmp_path / "a").symlink_to("a")
    with pytest.raises(S3BatchError) as caught:
        scripted_server.bucket().download_folder("p", tmp_path)
    assert [failure.key for failure in caught.value.failures] == ["p/a/x"]
    assert (tmp_path / "b").read_bytes() == b"2"


@pytest.fixture(params=[sync.SMALL_BYTES, 2], ids=["in batches", "one by one"])
def small_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync, "SMALL_BYTES", request.param)


# -- names that are no keys ---------------------------------------------------------------------------------------------------------------

NO_KEYS = {
    "not UTF-8": os.fsdecode(b"caf\xe9.txt"),
    "in a folder that is not UTF-8": os.fsdecode(b"d\xff/a"),
    "longer than a key": "/".join(["x" * 250] * 5),
}


@pytest.fixture
def folder_without_keys(tmp_path: Path) -> Path:
    for name in ("a", *NO_KEYS.values(), "z"):
        path = tmp_path / "folder" / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"content")
        except OSError:
            pytest.skip("UNTESTED: this file system has only names in UTF-8")
    return tmp_path / "folder"


@pytest.mark.parametrize("upload", ["upload_folder", "sync_from_folder", "apply"])
@pytest.mark.usefixtures("small_bytes")
def test_file_whose_name_is_no_key_fails_alone(
    scripted_server: ScriptedServer, folder_without_keys: Path, upload: str
) -> None:
    """The error names each such file, the others are uploaded, and nothing is deleted."""
    scripted_server.answer = store = Strange(strong, {"p/old": b""} if upload != "upload_folder" else {})
    bucket = scripted_server.bucket()
    with pytest.raises(S3BatchError, match="3 of 5 failed") as caught:
        if upload == "upload_folder":
            bucket.upload_folder(folder_without_keys, "p")
        elif upload == "sync_from_folder":
            bucket.sync_from_folder(folder_without_keys, "p", delete=True)
        else:
            bucket.sync_from_folder(folder_without_keys, "p", delete=True, dry_run=True).apply()
    assert sorted(failure.key for failure in caught.value.failures) == sorted(f"p/{name}" for name in NO_KEYS.values())
    assert all(isinstance(failure.error, S3InvalidName) for failure in caught.value.failures)
    str(caught.value).encode()
    assert {key: body for key, body in store.objects.items() if key != "p/old"} == {
        "p/a": b"content",
        "p/z": b"content",
    }
    assert ("p/old" in store.objects) is (upload != "upload_folder")


def test_plan_shows_files_whose_names_are_no_keys(scripted_server: ScriptedServer, folder_without_keys: Path) -> None:
    scripted_server.answer = Strange(strong)
    plan = scripted_server.bucket().sync_from_folder(folder_without_keys, "p", dry_run=True)
    reasons = {step.key: step.reason for step in plan.copied}
    assert all("key" in reasons[f"p/{name}"] for name in NO_KEYS.values())
    assert reasons["p/a"] == reasons["p/z"] == "new"
    f"{plan}{plan._repr_html_()}".encode()


def test_sync_to_folder_deletes_files_whose_names_are_no_keys(
    scripted_server: ScriptedServer, folder_without_keys: Path
) -> None:
    """Also if the names of all files to delete begin with a byte that is not UTF-8: no listing can have this prefix."""
    scripted_server.answer = Strange(strong, {"p/a": b"content", "p/z": b"content"})
    bucket = scripted_server.bucket()
    bucket.sync_to_folder("p", folder_without_keys, delete=True)
    assert tree(folder_without_keys) == {"a": b"content", "z": b"content"}
    (folder_without_keys / NO_KEYS["not UTF-8"]).write_bytes(b"content")
    bucket.sync_to_folder("p", folder_without_keys, delete=True)
    assert tree(folder_without_keys) == {"a": b"content", "z": b"content"}


# -- copies -----------------------------------------------------------------------------------------------------------------------------


# The target's content in the plan, its content when the plan is applied, and its content after that; the source has "source".
TARGETS: dict[str, tuple[bytes | None, bytes | None, bytes]] = {
    "new": (None, None, b"source"),
    "unchanged": (b"before", b"before", b"source"),
    "deleted": (b"before", None, b"source"),
    "created": (None, b"theirs", b"theirs"),
    "created, of another size": (None, b"theirs, longer", b"theirs, longer"),
    "rewritten": (b"before", b"theirs", b"theirs"),
    "created with the same content": (None, b"source", b"source"),
    "rewritten with the same content": (b"before", b"source", b"source"),
}


@pytest.mark.usefixtures("small_bytes")
@pytest.mark.parametrize("to_folder", [True, False], ids=["to_folder", "from_folder"])
def test_apply_overwrites_only_what_the_plan_saw(
    scripted_server: ScriptedServer, tmp_path: Path, to_folder: bool
) -> None:
    """Others are copied and reported as such; a second apply() finds them done, and still overwrites nothing else."""
    scripted_server.answer = store = Strange(strong)
    bucket = scripted_server.bucket()

    def put(name: str, content: bytes | None, *, to_file: bool) -> None:
        if to_file:
            path = tmp_path / name
            path.unlink(missing_ok=True) if content is None else path.write_bytes(content)
        elif content is None:
            store.objects.pop(f"p/{name}", None)
        else:
            store.objects[f"p/{name}"] = content

    for name, (before, _, _) in TARGETS.items():
        put(name, b"source", to_file=not to_folder)
        put(name, before, to_file=to_folder)
    sync_it = (
        partial(bucket.sync_to_folder, "p", tmp_path) if to_folder else partial(bucket.sync_from_folder, tmp_path, "p")
    )
    plan = sync_it(dry_run=True)
    assert len(plan.copied) == len(TARGETS)
    for name, (before, now, _) in TARGETS.items():
        if now != before:
            put(name, now, to_file=to_folder)
    kept = sorted(f"p/{name}" for name, (_, _, after) in TARGETS.items() if after != b"source")
    for _ in range(2):
        with pytest.raises(S3BatchError, match="since the plan was made: it is not overwritten") as caught:
            plan.apply()
        assert sorted(failure.key for failure in caught.value.failures) == kept
        assert all(isinstance(failure.error, S3ObjectChanged) for failure in caught.value.failures)
        assert sorted([*caught.value.succeeded, *kept]) == sorted(f"p/{name}" for name in TARGETS)
        found = tree(tmp_path) if to_folder else {key.removeprefix("p/"): body for key, body in store.objects.items()}
        assert found == {name: after for name, (_, _, after) in TARGETS.items()}


@pytest.mark.usefixtures("small_bytes")
@pytest.mark.parametrize("before", [None, b"before"])
@pytest.mark.parametrize("dry_run", [True, False])
def test_file_that_is_written_during_its_download_is_kept(
    scripted_server: ScriptedServer, tmp_path: Path, before: bytes | None, dry_run: bool
) -> None:
    store = Strange(strong, {"p/k": b"source"})

    def answer(asked: Asked) -> Answer:
        if asked.method == "GET" and asked.key:
            (tmp_path / "k").write_bytes(b"theirs")
        return store(asked)

    scripted_server.answer = answer
    if before is not None:
        (tmp_path / "k").write_bytes(before)
    with pytest.raises(S3BatchError) as caught:
        scripted_server.bucket().sync_to_folder("p", tmp_path, dry_run=dry_run).apply()
    assert isinstance(caught.value.failures[0].error.__cause__, FileExistsError)
    assert tree(tmp_path) == {"k": b"theirs"}


def test_plan_that_was_pickled_overwrites_only_what_it_saw(scripted_server: ScriptedServer, tmp_path: Path) -> None:
    scripted_server.answer = Strange(strong, {"p/k": b"source"})
    (tmp_path / "k").write_bytes(b"before")
    keys = {
        "boto3_session": None,
        "access_key": "ACCESSKEY01",
        "secret_key": "SECRETKEY0123456",
        "pickle_secrets": True,
    }
    plan = scripted_server.bucket(**keys).sync_to_folder("p", tmp_path, dry_run=True)
    (tmp_path / "k").write_bytes(b"theirs")
    with pytest.raises(S3BatchError, match="since the plan was made"):
        pickle.loads(pickle.dumps(plan)).apply()
    assert tree(tmp_path) == {"k": b"theirs"}


# -- deletions --------------------------------------------------------------------------------------------------------------------------


def test_apply_keeps_an_object_whose_file_was_created_since_the_plan(
    scripted_server: ScriptedServer, tmp_path: Path
) -> None:
    scripted_server.answer = store = Strange(strong, {"p/k": b"old", "p/My%20Docs/a": b"old", "p/gone": b""})
    (tmp_path / "other").write_bytes(b"x")
    plan = scripted_server.bucket().sync_from_folder(tmp_path, "p", delete=True, dry_run=True)
    (tmp_path / "k").write_bytes(b"old")
    (tmp_path / "My%20Docs").mkdir()
    (tmp_path / "My%20Docs" / "a").write_bytes(b"old")
    with pytest.raises(S3BatchError, match="since the plan was made") as caught:
        plan.apply()
    assert sorted(failure.key for failure in caught.value.failures) == ["p/My%20Docs/a", "p/k"]
    assert all(isinstance(failure.error, S3ObjectChanged) for failure in caught.value.failures)
    assert sorted(store.objects) == ["p/My%20Docs/a", "p/k", "p/other"]


def test_apply_keeps_a_file_whose_object_was_created_since_the_plan(
    scripted_server: ScriptedServer, tmp_path: Path
) -> None:
    scripted_server.answer = store = Strange(strong, {"p/o": b"o"})
    for name in ("k", "old"):
        (tmp_path / name).write_bytes(b"mine")
    plan = scripted_server.bucket().sync_to_folder("p", tmp_path, delete=True, dry_run=True)
    store.objects["p/k"] = b"mine"
    with pytest.raises(S3BatchError, match="since the plan was made") as caught:
        plan.apply()
    assert [failure.key for failure in caught.value.failures] == ["p/k"]
    assert tree(tmp_path) == {"k": b"mine", "o": b"o"}


def replaced_by_link(path: Path) -> None:
    path.unlink()
    (path.parent.parent / "elsewhere").mkdir()
    path.symlink_to(path.parent.parent / "elsewhere")


def replaced_with_the_same_size_and_time(path: Path) -> None:
    times = path.stat()
    other = path.with_name("k.new")
    other.write_bytes(b"MINE")
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    other.replace(path)


def rewritten_with_the_same_size_and_time(path: Path) -> None:
    times = path.stat()
    path.write_bytes(b"MINE")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize(
    "replace", [replaced_by_link, replaced_with_the_same_size_and_time, rewritten_with_the_same_size_and_time]
)
def test_apply_does_not_delete_a_file_that_was_replaced_since_the_plan(
    scripted_server: ScriptedServer, tmp_path: Path, replace: Callable[[Path], None]
) -> None:
    scripted_server.answer = Strange(strong, {"p/o": b"o"})
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "k").write_bytes(b"mine")
    plan = scripted_server.bucket().sync_to_folder("p", folder, delete=True, dry_run=True)
    replace(folder / "k")
    with pytest.raises(S3BatchError, match="since the plan was made"):
        plan.apply()
    assert sorted(path.name for path in folder.iterdir()) == ["k", "o"]


@pytest.mark.parametrize("name", ["x.mfs3-partial", ".x.mfs3-journal"])
def test_sync_from_folder_keeps_objects_named_like_our_unfinished_downloads(
    scripted_server: ScriptedServer, tmp_path: Path, name: str
) -> None:
    scripted_server.answer = store = Strange(strong, {f"p/{name}": b"1"})
    (tmp_path / name).write_bytes(b"1")
    scripted_server.bucket().sync_from_folder(tmp_path, "p", delete=True)
    assert sorted(store.objects) == [f"p/{name}"]
    scripted_server.bucket().sync_to_folder("p", tmp_path, delete=True)
    assert (tmp_path / name).read_bytes() == b"1"


def test_batch_error_names_changed_objects_and_refused_deletions_alike(
    scripted_server: ScriptedServer, tmp_path: Path
) -> None:
    store = Strange(strong, {"p/a": b"a", "p/b": b"b", "p/c": b"c"})

    def answer(asked: Asked) -> Answer:
        if asked.method == "DELETE" and asked.key == "p/b":
            return refusal(403, "AccessDenied")
        if asked.method == "POST" and "delete" in asked.query:
            return refusal(501, "NotImplemented")
        return store(asked)

    scripted_server.answer = answer
    plan = scripted_server.bucket().sync_from_folder(tmp_path, "p", delete=True, dry_run=True)
    store.objects["p/c"] = b"changed"
    with pytest.raises(S3BatchError) as caught:
        plan.apply()
    assert sorted(failure.key for failure in caught.value.failures) == ["p/b", "p/c"]
    assert list(caught.value.succeeded) == ["p/a"]
    assert sorted(store.objects) == ["p/b", "p/c"]


def test_relative_folder_is_the_same_folder_after_a_change_of_directory(
    scripted_server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted_server.answer = Strange(strong, {"p/k": b"new"})
    for place in ("one", "two"):
        (tmp_path / place / "f").mkdir(parents=True)
        (tmp_path / place / "f" / "old").write_bytes(b"old")
    monkeypatch.chdir(tmp_path / "one")
    plan = scripted_server.bucket().sync_to_folder("p", "f", delete=True, dry_run=True)
    monkeypatch.chdir(tmp_path / "two")
    plan.apply()
    assert tree(tmp_path) == {"one/f/k": b"new", "two/f/old": b"old"}


# -- what is the same -------------------------------------------------------------------------------------------------------------------


def _in_parts(body: bytes, sizes: list[int]) -> tuple[str, list[bytes]]:
    parts, at = [], 0
    for size in sizes:
        parts.append(body[at : at + size])
        at += size
    return f"{md5(b''.join(hashlib.md5(part).digest() for part in parts))}-{len(parts)}", parts


class Parts:
    """A store with one object written in parts, whose sizes it tells."""

    def __init__(self, body: bytes, sizes: list[int]) -> None:
        self.body = body
        self.etag, self.parts = _in_parts(body, sizes)
        self.tell: Callable[[int], Answer | None] = lambda number: None

    def __call__(self, asked: Asked) -> Answer:
        if "versioning" in asked.query:
            return document("VersioningConfiguration")
        if not asked.key:
            return document(
                "ListBucketResult",
                f"<Contents><Key>p/k</Key><LastModified>2026-11-21T05:00:00Z</LastModified><ETag>{self.etag}</ETag>"
                f"<Size>{len(self.body)}</Size></Contents><IsTruncated>false</IsTruncated>",
            )
        if "partNumber" in asked.query:
            number = int(asked.query["partNumber"])
            told = {
                "ETag": f'"{self.etag}"', "Content-Length": str(len(self.parts[number - 1])),
                "Last-Modified": "Sat, 21 Nov 2026 05:00:00 GMT",
            }  # fmt: skip
            return self.tell(number) or (206, told, b"")
        return content_of(asked, self.body, self.etag)


@pytest.mark.parametrize("sizes", [[4, 4, 3], [4, 6, 1], [2, 9], [5, 6]])
def test_other_content_of_the_same_size_and_time_is_copied_if_the_store_returns_part_sizes(
    scripted_server: ScriptedServer, tmp_path: Path, sizes: list[int]
) -> None:
    scripted_server.answer = Parts(b"hello world", sizes)
    bucket = scripted_server.bucket()
    bucket.sync_to_folder("p", tmp_path)
    assert bucket.sync_to_folder("p", tmp_path).copied == []
    times = (tmp_path / "k").stat()
    (tmp_path / "k").write_bytes(b"HELLO world")
    os.utime(tmp_path / "k", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert [step.key for step in bucket.sync_to_folder("p", tmp_path).copied] == ["p/k"]
    assert (tmp_path / "k").read_bytes() == b"hello world"


@pytest.mark.parametrize("weak_one", ["HEAD", "listing"])
def test_other_content_of_the_same_size_and_time_is_copied_where_one_of_two_etags_is_weak(
    scripted_server: ScriptedServer, tmp_path: Path, weak_one: str
) -> None:
    heads, listings = (weak, strong) if weak_one == "HEAD" else (strong, weak)
    store = Strange(heads, {"p/k": b"content"})
    listed = Strange(listings, store.objects)
    scripted_server.answer = lambda asked: store(asked) if asked.key else listed(asked)
    bucket = scripted_server.bucket()
    bucket.sync_to_folder("p", tmp_path)
    assert bucket.sync_to_folder("p", tmp_path).copied == []
    store.objects["p/k"] = b"CONTENT"
    assert [step.key for step in bucket.sync_to_folder("p", tmp_path).copied] == ["p/k"]
    assert (tmp_path / "k").read_bytes() == b"CONTENT"


@dataclass
class Encrypted:
    """A store with one object, p/k, whose ETag is not an MD5. The listing has the fraction of its time, the headers have not."""

    body: bytes
    time: str

    def __call__(self, asked: Asked) -> Answer:
        etag = hashlib.sha256(self.body + self.time.encode()).hexdigest()[:32]
        if not asked.key or "list-type" in asked.query:
            told = f"<Key>p/k</Key><LastModified>{self.time}</LastModified><ETag>{etag}</ETag><Size>{len(self.body)}</Size>"
            return document("ListBucketResult", f"<Contents>{told}</Contents><IsTruncated>false</IsTruncated>")
        status, headers, sent = content_of(asked, self.body, etag) or (0, {}, b"")  # type: ignore[misc]
        return status, {**headers, "x-amz-server-side-encryption": "aws:kms"}, sent


SECOND = 1795237200.0  # 2026-11-21T05:00:00Z
FRACTIONS = ("", ".000", ".001", ".5", ".870", ".999999")
IN_ONE_SECOND = [("", ""), (".000", ".000"), (".001", ".002"), (".001", ".870"), (".5", ".500001"), (".870", ".999999")]


@pytest.mark.parametrize("compare", ["etag", "mtime"])
@pytest.mark.parametrize(("first", "second"), IN_ONE_SECOND)
def test_object_that_is_written_again_in_the_same_second_is_copied(
    scripted_server: ScriptedServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    first: str,
    second: str,
    compare: Literal["etag", "mtime"],
) -> None:
    """Whole seconds do not distinguish the two, and a sync may download the first one before the second is over."""
    monkeypatch.setattr(sync, "time", SimpleNamespace(time=lambda: SECOND + 0.999))
    scripted_server.answer = store = Encrypted(b"one!", f"2026-11-21T05:00:00{first}Z")
    bucket = scripted_server.bucket()
    bucket.sync_to_folder("p", tmp_path, compare=compare)
    store.body, store.time = b"two!", f"2026-11-21T05:00:00{second}Z"
    assert [step.key for step in bucket.sync_to_folder("p", tmp_path, compare=compare).copied] == ["p/k"]
    assert (tmp_path / "k").read_bytes() == b"two!"


@pytest.mark.parametrize("compare", ["etag", "mtime"])
@pytest.mark.parametrize("fraction", FRACTIONS)
def test_object_of_a_past_second_is_copied_once(
    scripted_server: ScriptedServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fraction: str,
    compare: Literal["etag", "mtime"],
) -> None:
    """The file gets the time in the listing, with its fraction of a second."""
    monkeypatch.setattr(sync, "time", SimpleNamespace(time=lambda: SECOND + 60))
    scripted_server.answer = Encrypted(b"one!", f"2026-11-21T05:00:00{fraction}Z")
    bucket = scripted_server.bucket()
    assert len(bucket.sync_to_folder("p", tmp_path, compare=compare).copied) == 1
    assert bucket.sync_to_folder("p", tmp_path, compare=compare).copied == []


def _with_metadata(store: Strange, value: str) -> Callable[[Asked], Answer]:
    def answer(asked: Asked) -> Answer:
        found = store(asked)
        if found is not None and asked.method in ("GET", "HEAD") and asked.key:
            found[1]["x-amz-meta-mfs3-md5"] = value
        return found

    return answer


def test_stale_recorded_md5_does_not_outrank_the_etag(scripted_server: ScriptedServer, tmp_path: Path) -> None:
    """Another program has written the object anew, and kept its metadata."""
    store = Strange(strong, {"p/k": b"content B"})
    scripted_server.answer = _with_metadata(store, md5(b"content A"))
    (tmp_path / "k").write_bytes(b"content A")
    bucket = scripted_server.bucket()
    assert [step.key for step in bucket.sync_from_folder(tmp_path, "p", dry_run=True).copied] == ["p/k"]
    assert [step.key for step in bucket.sync_to_folder("p", tmp_path).copied] == ["p/k"]
    assert (tmp_path / "k").read_bytes() == b"content B"


def test_recorded_md5_is_compared_in_a_new_process_if_etags_are_not_md5s(
    scripted_server: ScriptedServer, tmp_path: Path
) -> None:
    """A new process finds out what the etags are by reading one object; nothing is written for that."""
    store = Strange(no_md5, {"p/j": b"content A", "p/k": b"content A"})
    scripted_server.answer = _with_metadata(store, md5(b"content A"))
    for name in "jk":
        (tmp_path / name).write_bytes(b"content A")
    assert scripted_server.bucket().sync_from_folder(tmp_path, "p", dry_run=True).copied == []
    assert len(store.gets) == 1


def test_every_checksum_of_the_store_must_match(scripted_server: ScriptedServer, tmp_path: Path) -> None:
    store = Strange(lambda body: '"opaque"', {"p/k": b"content"})

    def answer(asked: Asked) -> Answer:
        found = store(asked)
        if found is not None and asked.method == "HEAD":
            found[1]["x-amz-checksum-sha256"] = base64.b64encode(hashlib.sha256(b"content").digest()).decode()
            found[1]["x-amz-checksum-crc32"] = base64.b64encode(zlib.crc32(b"another").to_bytes(4, "big")).decode()
        return found

    scripted_server.answer = answer
    (tmp_path / "k").write_bytes(b"content")
    assert [step.key for step in scripted_server.bucket().sync_from_folder(tmp_path, "p", dry_run=True).copied] == [
        "p/k"
    ]


@pytest.mark.parametrize("compare", ["etag", "size", "mtime"])
@pytest.mark.parametrize("target", ["nowhere", "k"])
def test_link_that_leads_nowhere_is_never_the_same_as_an_object(
    scripted_server: ScriptedServer, tmp_path: Path, compare: str, target: str
) -> None:
    """An upload reports it as one failed step; a download replaces it by the file."""
    scripted_server.answer = store = Strange(strong, {"p/k": b"x" * len(target)})
    (tmp_path / "k").symlink_to(target)
    os.utime(tmp_path / "k", (2e9, 2e9), follow_symlinks=False)
    (tmp_path / "z").write_bytes(b"z")
    bucket = scripted_server.bucket()
    with pytest.raises(S3BatchError) as caught:
        bucket.sync_from_folder(tmp_path, "p", compare=compare, delete=True)  # type: ignore[arg-type]
    assert [failure.key for failure in caught.value.failures] == ["p/k"]
    assert store.objects == {"p/k": b"x" * len(target), "p/z": b"z"}
    with pytest.raises(S3BatchError) as caught:
        bucket.upload_folder(tmp_path, "u")
    assert [failure.key for failure in caught.value.failures] == ["u/k"]
    os.utime(tmp_path / "k", (1, 1), follow_symlinks=False)
    bucket.sync_to_folder("p", tmp_path, compare=compare)  # type: ignore[arg-type]
    assert tree(tmp_path) == {"k": b"x" * len(target), "z": b"z"}


def test_file_that_becomes_a_pipe_after_the_plan_fails_alone(scripted_server: ScriptedServer, tmp_path: Path) -> None:
    scripted_server.answer = store = Strange(strong)
    for name in ("f", "g"):
        (tmp_path / name).write_bytes(b"1")
    plan = scripted_server.bucket().sync_from_folder(tmp_path, "p", dry_run=True)
    (tmp_path / "f").unlink()
    os.mkfifo(tmp_path / "f")
    errors: list[BaseException] = []

    def apply() -> None:
        try:
            plan.apply()
        except S3BatchError as error:
            errors.append(error)

    thread = threading.Thread(target=apply, daemon=True)
    thread.start()
    thread.join(5)
    assert not thread.is_alive()
    assert [failure.key for error in errors for failure in error.failures] == ["p/f"]  # type: ignore[attr-defined]
    assert store.objects == {"p/g": b"1"}


# -- versions, markers ------------------------------------------------------------------------------------------------------------------


def test_query_of_several_versions_of_a_key_is_not_downloaded_to_one_file(
    moto_bucket: S3Bucket, tmp_path: Path
) -> None:
    moto_bucket.versioning.enable()
    moto_bucket.put_object("k", b"one")
    moto_bucket.put_object("k", b"two")
    with pytest.raises(S3InvalidName, match="version"):
        moto_bucket.find(versions=True).download_to(tmp_path)
    assert tree(tmp_path) == {}


@pytest.mark.parametrize("marker", ["p/a/", "p/a/b/c/"])
def test_marker_beside_a_file_of_the_same_name_does_not_stop_a_download(
    scripted_server: ScriptedServer, tmp_path: Path, marker: str
) -> None:
    """Nor a marker below such a folder: otherwise its folder would take the path of the file, which could not be downloaded."""
    scripted_server.answer = Strange(strong, {"p/a": b"file", marker: b"", "p/z": b"z"})
    for _ in range(2):
        assert sorted(scripted_server.bucket().download_folder("p", tmp_path)) == ["a", "z"]
    assert tree(tmp_path) == {"a": b"file", "z": b"z"}


# -- checksums of downloads -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failing", [1, 2])
def test_verified_download_fails_if_the_parts_cannot_be_requested(
    scripted_server: ScriptedServer, tmp_path: Path, failing: int
) -> None:
    """A HEAD that is refused for the moment is not taken for a store without part numbers."""
    body = bytes(range(256)) * 4
    store = Parts(body, [512, 512])
    store.tell = lambda number: refusal(503, "SlowDown") if number == failing else None
    wrong = b"X" + body[1:]
    scripted_server.answer = lambda asked: (
        content_of(asked, wrong, store.etag) if asked.method == "GET" and asked.key else store(asked)
    )
    with pytest.raises(S3Error):
        scripted_server.bucket(max_attempts=1).download_file("p/k", tmp_path / "t", verify_checksum=True)
    assert tree(tmp_path) == {}


@pytest.mark.parametrize("sizes", [[400, 624], [624, 400], [100, 824, 100]])
def test_verified_download_compares_parts_of_unequal_length(
    scripted_server: ScriptedServer, tmp_path: Path, sizes: list[int]
) -> None:
    body = bytes(range(256)) * 4
    store = Parts(body, sizes)
    right = [False]

    def answer(asked: Asked) -> Answer:
        if asked.method == "GET" and asked.key:
            first = sum(each.method == "GET" and bool(each.key) for each in scripted_server.asked) == 1
            return content_of(asked, b"X" + body[1:] if first and not right[0] else body, store.etag)
        return store(asked)

    scripted_server.answer = answer
    with pytest.raises(S3Error, match="MD5"):
        scripted_server.bucket().download_file("p/k", tmp_path / "t", verify_checksum=True)
    assert tree(tmp_path) == {}
    right[0] = True
    scripted_server.bucket().download_file("p/k", tmp_path / "t", verify_checksum=True)
    assert tree(tmp_path) == {"t": body}


def test_resumed_download_does_not_mix_the_bytes_of_two_stores(scripted_server: ScriptedServer, tmp_path: Path) -> None:
    """The other store has an object of the same bucket, key, size and etag."""
    size = 40 * MIB

    def serve(server: ScriptedServer, fill: bytes, cut: bool) -> None:
        body = fill * size

        def answer(asked: Asked) -> Answer:
            begin = re.match(r"bytes=(\d+)", asked.headers.get("range", ""))
            if cut and asked.method == "GET" and begin is not None and int(begin[1]) >= 32 * MIB:
                time.sleep(0.7)  # until the other parts are complete
                return refusal(403, "AccessDenied")
            return (
                content_of(asked, body, "1")
                if asked.key
                else document("ListBucketResult", "<IsTruncated>false</IsTruncated>")
            )

        server.answer = answer

    with run_scripted_server() as other:
        serve(scripted_server, b"A", True)
        serve(other, b"B", False)
        with pytest.raises(S3Error):
            scripted_server.bucket().download_file("k", tmp_path / "t", resume=True)
        other.bucket().download_file("k", tmp_path / "t", resume=True)
    assert (tmp_path / "t").read_bytes() == b"B" * size


def test_download_to_a_path_that_ends_in_a_dot_goes_into_the_folder(
    scripted_server: ScriptedServer, tmp_path: Path
) -> None:
    scripted_server.answer = Strange(strong, {"a/k": b"1"})
    scripted_server.bucket().download_file("a/k", f"{tmp_path}/new/.")
    assert tree(tmp_path) == {"new/k": b"1"}


def test_dry_run_changes_nothing_in_the_folder(scripted_server: ScriptedServer, tmp_path: Path) -> None:
    scripted_server.answer = Strange(strong, {"p/k": b"1"})
    os.utime(tmp_path, (1e9, 1e9))
    scripted_server.bucket().sync_to_folder("p", tmp_path, delete=True, dry_run=True)
    assert tmp_path.stat().st_mtime == 1e9
