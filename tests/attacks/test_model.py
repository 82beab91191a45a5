"""A bucket and a plain Python model: hypothesis applies the same steps to both and compares them after each.

    MFS3_EXAMPLES=500 MFS3_STEPS=40 python -m pytest -s tests/attacks/test_model.py

One example is a fresh bucket, six keys, and up to MFS3_STEPS steps on them. After each step plain boto3, without the
library, lists the bucket; at the end it reads the objects.
"""

from __future__ import annotations

import io
import os
import re
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from support.servers import Server

import messageflux_s3 as s3
from messageflux_s3._files import reader, upload
from messageflux_s3._objects import multipart, operations

EXAMPLES = int(os.environ.get("MFS3_EXAMPLES") or os.environ.get("SEEDS") or 12)
STEPS = int(os.environ.get("MFS3_STEPS") or 25)

# rclone keeps files in folders: no "d" beside "d/a", no empty or dotted names, nothing that ends in "/". moto lacks line ends, and
# lists no versions of keys that XML cannot represent.
FILE_KEYS = [
    "a.txt", "a b+c%.txt", "d/a.txt", "d/b.json", "d/e/a.txt", "d/e/ü 😀.txt", "d/%2e%2e/x", "z&<b>'\".txt", "日本/語.txt",
    "l/" + "n" * 200,
]  # fmt: skip
ODD_KEYS = [
    "d", "d/", "d//a.txt", "/lead", "trail/", ".", "..", "a/../b", "./a", "a?b=c#d", "a\\b", "tab\tend", "\x7f", "a~*!()", "é",
    "e\u0301", "k" * 1024, "日" * 341, "\U0010ffff", "\uf8ff", "=?utf-8?B?eA==?=", "%", "%25", "+", " ", "s3://x/y", "a:b|c",
]  # fmt: skip
KEYS_PER_EXAMPLE = 6

THRESHOLDS = [reader.SMALL_BYTES, reader.FIRST_BYTES]
LARGE_THRESHOLDS = [multipart.MIN_PART_BYTES, operations.MAX_CACHED_BODY, upload.THRESHOLD_BYTES]
SMALL_SIZES = [0, 1, 7, 1000, *(size + more for size in THRESHOLDS for more in (-1, 0, 1))]
LARGE_SIZES = [size + more for size in LARGE_THRESHOLDS for more in (-1, 0, 1)]

VALUES = [
    "",
    "v",
    "Zoë",
    "two\nlines",
    "cr\r\nlf: x",
    " blank ",
    "=?utf-8?B?eA==?=",
    "=?",
    "日本",
    "\x00",
    "a" * 300,
    "ÿ",
]
GLOBS = {  # the same globs as regular expressions
    "**": r".*", "*": r"[^/]*", "*.txt": r"[^/]*\.txt", "d/*": r"d/[^/]*", "d/**": r"d/.*", "**/*.txt": r"(.*/)?[^/]*\.txt",
    "d/**/a.txt": r"d/(.*/)?a\.txt", "?": r"[^/]", "[!a]*": r"[^a/][^/]*", "[ad]/*": r"[ad]/[^/]*", "**/ü*": r"(.*/)?ü[^/]*",
    "/*": r"/[^/]*",
}  # fmt: skip
REGEXES = [r"\.txt$", "^d/", "a", r"[^\x00-\x7f]", "//", r"\t"]
PAST, FUTURE = datetime(2000, 1, 1, tzinfo=timezone.utc), datetime(2100, 1, 1, tzinfo=timezone.utc)

NUMBER = st.integers(0, KEYS_PER_EXAMPLE - 1)
NUMBERS = st.lists(NUMBER, min_size=1, max_size=8)
SMALL = st.builds(lambda size, salt: body_of(size, salt), st.sampled_from(SMALL_SIZES), st.integers(0, 9))
SIZES = st.sampled_from([*SMALL_SIZES * 8, *LARGE_SIZES])
BODY = st.builds(lambda size, salt: body_of(size, salt), SIZES, st.integers(0, 9))
METADATA = st.dictionaries(st.sampled_from(["name", "Mixed-Case", "x_y"]), st.sampled_from(VALUES), max_size=3)
TAGS = st.dictionaries(st.sampled_from(["a", "b c", "ü"]), st.sampled_from(["", "1", "x y+z=/"]), max_size=3)
LIMIT = st.none() | st.integers(1, 4)
REFINED_BY: dict[str, st.SearchStrategy[Any]] = {
    "prefix": st.sampled_from(["", "a", "d", "d/", "d/e/", "日", "/", "z&<b>", "l/nn"]),
    "start_after": st.sampled_from(["A", "a.txt", "d/", "d/a.txt", "\ue000", "日本/語.txt"]),
    "glob": st.sampled_from(sorted(GLOBS)),
    "regex": st.sampled_from(REGEXES),
    "min_size": st.sampled_from(SMALL_SIZES),
    "max_size": st.sampled_from(SMALL_SIZES),
    "modified_after": st.sampled_from([PAST, FUTURE]),
    "modified_before": st.sampled_from([PAST, FUTURE]),
    "limit": st.integers(1, 4),
}
REFINEMENTS = st.lists(st.sampled_from(sorted(REFINED_BY)), max_size=3, unique=True).flatmap(
    lambda names: st.fixed_dictionaries({name: REFINED_BY[name] for name in names})
)
OFFSET = st.integers(-70_000, 70_000) | st.sampled_from(
    [size + more for size in (0, *THRESHOLDS) for more in (-1, 0, 1)]
)


def body_of(size: int, salt: int) -> bytes:
    """Return this many bytes, which differ by their position in the body."""
    return (b"%d:" % salt + bytes(range(251)) * (size // 251 + 1))[:size]


def is_meant(
    key: str, size: int, *, prefix: str = "", start_after: str = "", glob: str = "**", regex: str = "", min_size: int = 0,
    max_size: int = 10**9, modified_after: datetime = PAST, modified_before: datetime = FUTURE,
) -> bool:  # fmt: skip
    """Return whether a query with these criteria should find a new object with this key and size."""
    return (
        key.startswith(prefix)
        and key > start_after
        and re.fullmatch(GLOBS[glob], key, re.DOTALL) is not None
        and re.search(regex, key) is not None
        and min_size <= size <= max_size
        and (modified_after, modified_before) == (PAST, FUTURE)
    )


def write_as_file(obj: s3.S3Object, mode: str, body: bytes, metadata: dict[str, str] | None) -> s3.S3Object:
    """Yield the body in pieces of odd sizes."""
    with obj.open(mode, metadata=metadata) as file:
        for at in range(0, len(body), 700_001):
            file.write(body[at : at + 700_001])
    assert obj.exists()  # a file does not return the version that it wrote
    return obj


def pieces_of(body: bytes) -> Any:
    """Return the body as an iterable of unknown length."""
    return (body[at : at + 300_007] for at in range(0, len(body), 300_007))


def downloaded(obj: s3.S3Object) -> bytes:
    """Read through a file on the disk."""
    with tempfile.TemporaryDirectory() as folder:
        obj.download_to(Path(folder, "file"))
        return Path(folder, "file").read_bytes()


def read_stream(obj: s3.S3Object) -> bytes:
    """Read to the end and close."""
    with obj.body_stream as stream:
        return stream.read()


def read_file(obj: s3.S3Object) -> bytes:
    """Read to the end and close."""
    with obj.open("rb") as file:
        return bytes(file.read())


WRITES: dict[str, Callable[[s3.S3Object, bytes, dict[str, str]], s3.S3Object]] = {
    "put_object": lambda obj, body, metadata: obj.bucket.put_object(obj.key, body, metadata),
    "put": lambda obj, body, metadata: obj.put(body, metadata),
    "a readable": lambda obj, body, metadata: obj.bucket.put_object(obj.key, io.BytesIO(body), metadata),
    "upload_object": lambda obj, body, metadata: obj.bucket.upload_object(obj.key, body, metadata),
    "parts": lambda obj, body, metadata: obj.bucket.upload_object(
        obj.key, pieces_of(body), metadata, part_size_bytes=multipart.MIN_PART_BYTES
    ),
    "a file": lambda obj, body, metadata: write_as_file(obj, "wb", body, metadata),
}
CREATIONS: dict[str, Callable[[s3.S3Object, bytes], s3.S3Object]] = {
    "put_object": lambda obj, body: obj.bucket.put_object(obj.key, body, if_absent=True),
    "parts": lambda obj, body: obj.bucket.upload_object(obj.key, pieces_of(body), if_absent=True),
    "a file": lambda obj, body: write_as_file(obj, "xb", body, None),
}
REPLACEMENTS: dict[str, Callable[[s3.S3Object, bytes, str], s3.S3Object]] = {
    "put_object": lambda obj, body, etag: obj.bucket.put_object(obj.key, body, if_match=etag),
    "upload_object": lambda obj, body, etag: obj.bucket.upload_object(obj.key, pieces_of(body), if_match=etag),
}
READS: dict[str, Callable[[s3.S3Object], bytes]] = {
    "body": lambda obj: obj.body,
    "get_object": lambda obj: obj.bucket.get_object(obj.key).body,
    "body_stream": read_stream,
    "read_range": lambda obj: obj.read_range(0),
    "iter_chunks": lambda obj: b"".join(obj.iter_chunks()),
    "open": read_file,
    "download_to": downloaded,
}
CONSUMERS: dict[str, Callable[[s3.ObjectQuery], list[s3.S3Object]]] = {
    "iterate": list,
    "collect": lambda query: query.collect(),
    "entries": lambda query: [entry for entry in query.entries() if not isinstance(entry, str)],
    "prefetch": lambda query: list(query.prefetch(2, 100_000)),
    "map": lambda query: list(query.map(lambda obj: obj)),
    "partitions": lambda query: [obj for part in query.partitions(3) for obj in part],
    "parallel": lambda query: list(query.parallel(2)),
}


def one_of(ways: dict[str, Any]) -> st.SearchStrategy[str]:
    """Return the name of one of the actions."""
    return st.sampled_from(sorted(ways))


@dataclass(eq=False)
class Version:
    """The model of one version of an object, or of a delete marker."""

    body: bytes = b""
    metadata: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    version_id: str | None = None
    is_marker: bool = False


class Bucket(RuleBasedStateMachine):
    """Each rule performs one operation on the bucket and on ``self.history``, and compares the results."""

    server: ClassVar[Server]
    client: ClassVar[Any]  # plain boto3
    told: ClassVar[Counter[str]]

    def __init__(self) -> None:
        super().__init__()
        self.is_moto = self.server.name == "moto"
        self.bucket = self.server.connect().bucket(f"m-{uuid.uuid4().hex[:16]}")
        self.client.create_bucket(Bucket=self.bucket.name)
        self.keys: list[str] = []
        self.versioned = False
        self.history: dict[str, list[Version]] = {}  # the versions of each key, the newest last
        self.met: list[tuple[s3.S3Object, Version]] = []

    @initialize(data=st.data(), bodies=st.lists(BODY, min_size=2, max_size=KEYS_PER_EXAMPLE))
    def choose_keys(self, data: st.DataObject, bodies: list[bytes]) -> None:
        keys = [*FILE_KEYS, *ODD_KEYS] if self.is_moto else FILE_KEYS
        self.keys = data.draw(
            st.lists(st.sampled_from(keys), min_size=KEYS_PER_EXAMPLE, max_size=KEYS_PER_EXAMPLE, unique=True)
        )
        for number, body in enumerate(bodies):
            self.write(number, body, {}, "put_object")

    def teardown(self) -> None:
        for key, wanted in self.live().items():
            assert self.client.get_object(Bucket=self.bucket.name, Key=key)["Body"].read() == wanted.body
            self.expect(self.bucket.get_object(key), wanted)
        self.bucket.clear_objects(versions=self.versioned)
        assert not self.client.list_objects_v2(Bucket=self.bucket.name).get("KeyCount")
        with nullcontext() if self.is_moto else suppress(s3.S3BucketNotEmpty):
            self.bucket.delete_bucket()  # rclone keeps the empty folder of an aborted upload
        self.told["examples"] += 1

    # -- the model ----------------------------------------------------------------------------------------------------------------

    def current(self, key: str) -> Version | None:
        newest = (self.history.get(key) or [Version(is_marker=True)])[-1]
        return None if newest.is_marker else newest

    def handle(self, key: str) -> s3.S3Object:
        """Return the handle of an object: by a subscript, except for a key that a subscript refuses because it may be meant as a URI."""
        return self.bucket.object(key) if key.startswith("s3://") else self.bucket[key]

    def live(self) -> dict[str, Version]:
        return {key: there for key in sorted(self.history) if (there := self.current(key)) is not None}

    def wrote(
        self, obj: s3.S3Object, body: bytes, metadata: dict[str, str], tags: dict[str, str] | None = None
    ) -> None:
        """Record a write, and compare the handle's attributes with it."""
        self.told["writes"] += 1
        assert obj.size == len(body)
        assert (obj.version_id not in (None, "null")) == self.versioned
        self.expect_metadata(obj, metadata)
        older = self.history.get(obj.key, []) if self.versioned else []
        self.history[obj.key] = [*older, Version(body, metadata, tags or {}, obj.version_id)]

    def removed(self, key: str) -> None:
        if not self.versioned:
            self.history.pop(key, None)
        elif self.history.get(key):  # moto makes no delete marker for a key that never existed
            self.history[key].append(Version(is_marker=True))

    def expect_metadata(self, obj: s3.S3Object, wanted: dict[str, str]) -> None:
        found = obj.metadata
        if not self.is_moto:
            found.pop("mtime", None)  # metadata that rclone adds to a copy
        assert found == {name.lower(): value for name, value in wanted.items()}

    def expect(self, obj: s3.S3Object, wanted: Version) -> None:
        assert obj.body == wanted.body
        assert obj.size == len(wanted.body)
        self.expect_metadata(obj, wanted.metadata)

    def refusal(self, error: type[s3.S3Error] | None, *, conditional: bool = True) -> AbstractContextManager[Any]:
        """Return the expected error, or None. Conditions on rclone, which ignores them, always raise."""
        if conditional and not self.is_moto:
            return pytest.raises(
                (s3.S3Unsupported, s3.S3ObjectExists)
            )  # a file opened with "x" may send a HEAD before the probe
        return nullcontext() if error is None else pytest.raises(error)

    # -- writes -------------------------------------------------------------------------------------------------------------------

    @rule(number=NUMBER, body=BODY, metadata=METADATA, way=one_of(WRITES))
    def write(self, number: int, body: bytes, metadata: dict[str, str], way: str) -> None:
        self.wrote(WRITES[way](self.handle(self.keys[number]), body, metadata), body, metadata)

    @rule(numbers=NUMBERS, body=SMALL)
    def write_many(self, numbers: list[int], body: bytes) -> None:
        items = {self.keys[number]: body[number:] for number in numbers}
        assert self.bucket.put_objects(items.items()).succeeded == list(items)
        for key, one in items.items():
            assert key in self.bucket
            self.wrote(self.bucket.get_object(key), one, {})

    @rule(number=NUMBER, more=SMALL)
    def append(self, number: int, more: bytes) -> None:
        before = self.current(self.keys[number])
        obj = write_as_file(self.handle(self.keys[number]), "ab", more, None)
        if before is None or more:  # otherwise nothing is written
            self.wrote(obj, (before or Version()).body + more, (before or Version()).metadata)

    @rule(number=NUMBER, body=BODY, mode=st.sampled_from(["wb", "ab"]))
    def a_file_whose_block_raises(self, number: int, body: bytes, mode: str) -> None:
        with pytest.raises(ZeroDivisionError), self.handle(self.keys[number]).open(mode) as file:
            file.write(body)
            raise ZeroDivisionError

    @rule(number=NUMBER, body=BODY, way=one_of(CREATIONS))
    def create(self, number: int, body: bytes, way: str) -> None:
        key = self.keys[number]
        with self.refusal(s3.S3ObjectExists if self.current(key) else None):
            self.wrote(CREATIONS[way](self.handle(key), body), body, {})

    # moto ignores If-Match on CompleteMultipartUpload, so the library refuses it: use only bodies sent in one request
    @rule(number=NUMBER, body=SMALL, way=one_of(REPLACEMENTS), stale=st.booleans())
    def replace(self, number: int, body: bytes, way: str, stale: bool) -> None:
        key = self.keys[number]
        matches = self.current(key) is not None and not stale
        etag = self.handle(key).etag if matches else "0" * 32
        with self.refusal(None if matches else s3.S3PreconditionFailed):
            self.wrote(REPLACEMENTS[way](self.handle(key), body, etag), body, {})

    @rule(number=NUMBER, more=SMALL)
    def update(self, number: int, more: bytes) -> None:
        before = self.current(self.keys[number])

        def change(body: bytes | None) -> bytes:
            assert body == (None if before is None else before.body)
            return (body or b"") + more

        unchanged = before is not None and not more  # then nothing is written
        with self.refusal(None, conditional=not unchanged):
            obj = self.handle(self.keys[number]).update(change)
            if not unchanged:
                self.wrote(obj, (before or Version()).body + more, (before or Version()).metadata)

    @rule(source=NUMBER, to=NUMBER, metadata=st.none() | METADATA, move=st.booleans())
    def copy(self, source: int, to: int, metadata: dict[str, str] | None, move: bool) -> None:
        obj, there = self.handle(self.keys[source]), self.current(self.keys[source])
        with self.refusal(None if there else s3.S3NoSuchItem, conditional=False):
            copied = (obj.move_to if move else obj.copy_to)(self.handle(self.keys[to]), metadata=metadata)
            assert there is not None
            if source == to and metadata is None:
                self.expect(copied, there)  # a copy onto itself changes nothing
                return
            self.wrote(copied, there.body, there.metadata if metadata is None else metadata, there.tags)
            if move and source != to:
                self.removed(obj.key)

    @rule(source=NUMBER, to=NUMBER)
    def copy_under_a_condition(self, source: int, to: int) -> None:
        """S3Unsupported, or honoured: no server honours it on CopyObject, but moto does on the PutObject that copies a tagged object."""
        there = self.current(self.keys[source])
        if there is None:
            return
        try:
            copied = self.handle(self.keys[source]).copy_to(self.handle(self.keys[to]), if_absent=True)
        except s3.S3Unsupported:
            assert not (there.tags and self.server.name == "moto")
        except s3.S3ObjectExists:
            assert self.current(self.keys[to]) is not None
        else:
            assert self.current(self.keys[to]) is None
            self.wrote(copied, there.body, there.metadata, there.tags)

    @rule(number=NUMBER)
    def copy_a_query(self, number: int) -> None:
        def fits(key: str) -> bool:
            return len(key.encode()) + len("copies/") <= 1024

        wanted = {key: there for key, there in self.live().items() if key.startswith(self.keys[number]) and fits(key)}
        copies = self.bucket.find(self.keys[number]).filter(lambda obj: fits(obj.key)).copy_to(self.bucket, "copies/")
        assert [obj.key for obj in copies] == ["copies/" + key for key in wanted]
        for obj, there in zip(copies, wanted.values(), strict=True):
            self.wrote(obj, there.body, there.metadata, there.tags)
        assert self.bucket.find("copies/").delete().succeeded == ["copies/" + key for key in wanted]
        for key in wanted:
            self.removed("copies/" + key)

    # -- deletions ----------------------------------------------------------------------------------------------------------------

    @rule(number=NUMBER)
    def delete(self, number: int) -> None:
        self.handle(self.keys[number]).delete()
        self.removed(self.keys[number])

    @rule(numbers=NUMBERS)
    def delete_many(self, numbers: list[int]) -> None:
        keys = sorted({self.keys[number] for number in numbers})
        assert sorted(self.bucket.delete_objects(keys).succeeded) == keys
        for key in keys:
            self.removed(key)

    @rule(number=NUMBER, length=st.integers(1, 4))
    def delete_a_query(self, number: int, length: int) -> None:
        prefix = self.keys[number][:length]
        keys = [key for key in self.live() if key.startswith(prefix)]
        assert self.bucket.find(prefix).delete().succeeded == keys
        for key in keys:
            self.removed(key)

    @rule(number=NUMBER, stale=st.booleans())
    def delete_under_a_condition(self, number: int, stale: bool) -> None:
        key = self.keys[number]
        if self.current(key) is None:
            return
        etag = "0" * 32 if stale else self.handle(key).etag
        with self.refusal(s3.S3PreconditionFailed if stale else None):
            self.handle(key).delete(if_match=etag)
            self.removed(key)

    # -- versions: moto has them, except that it forgets all of them where they are suspended -----------------------------------------

    @precondition(lambda self: self.is_moto and not self.versioned)
    @rule()
    def enable_versioning(self) -> None:
        self.bucket.versioning.enable()
        self.versioned = True
        for [there] in self.history.values():
            there.version_id = "null"

    @precondition(lambda self: self.versioned)
    @rule(number=NUMBER)
    def read_versions(self, number: int) -> None:
        wanted = [there for there in reversed(self.history.get(self.keys[number], [])) if not there.is_marker]
        for obj, there in zip(self.handle(self.keys[number]).versions(), wanted, strict=True):
            assert obj.version_id == there.version_id
            self.expect(obj, there)
            assert dict(obj.tags.get() or {}) == there.tags

    @precondition(lambda self: self.versioned)
    @rule(number=NUMBER, at=st.integers(0, 5), make_current=st.booleans())
    def use_a_version(self, number: int, at: int, make_current: bool) -> None:
        versions = self.history.get(self.keys[number], [])
        if at >= len(versions) or versions[at].is_marker:
            return
        there = versions[at]
        obj = self.bucket.object(self.keys[number], there.version_id)
        if make_current:
            self.wrote(obj.make_current(), there.body, there.metadata, there.tags)
        else:
            obj.delete()
            del versions[at]

    @precondition(lambda self: self.versioned)
    @rule(number=NUMBER)
    def undelete(self, number: int) -> None:
        versions = self.history.get(self.keys[number], [])
        assert self.handle(self.keys[number]).undelete() == bool(versions and versions[-1].is_marker)
        while versions and versions[-1].is_marker:
            versions.pop()

    @precondition(lambda self: self.versioned)
    @rule(limit=LIMIT, min_size=st.none() | st.sampled_from(SMALL_SIZES))
    def find_versions(self, limit: int | None, min_size: int | None) -> None:
        wanted = [
            (key, there.version_id)
            for key in sorted(self.history)
            for there in reversed(self.history[key])
            if not there.is_marker and len(there.body) >= (min_size or 0)
        ]
        query = self.bucket.find(versions=True, limit=limit, min_size=min_size)
        assert [(obj.key, obj.version_id) for obj in query] == wanted[:limit]

    # -- reads --------------------------------------------------------------------------------------------------------------------

    @rule(number=NUMBER, way=one_of(READS))
    def read(self, number: int, way: str) -> None:
        key, there = self.keys[number], self.current(self.keys[number])
        with self.refusal(None if there else s3.S3NoSuchItem, conditional=False):
            assert READS[way](self.handle(key)) == (there.body if there else None)
        if not key.startswith("s3://"):  # refused, as by a subscript
            assert (key in self.bucket) == (there is not None)

    @rule(numbers=NUMBERS)
    def read_many(self, numbers: list[int]) -> None:
        keys = [self.keys[number] for number in numbers]
        found = list(self.bucket.get_objects(keys))
        assert [obj.key for obj in found] == keys
        for obj in found:
            there = self.current(obj.key)
            with self.refusal(None if there else s3.S3NoSuchItem, conditional=False):
                self.expect(obj, there or Version())

    @rule(number=NUMBER, slices=st.lists(st.tuples(OFFSET, st.none() | OFFSET), min_size=1, max_size=5))
    def read_ranges(self, number: int, slices: list[tuple[int, int | None]]) -> None:
        if (there := self.current(self.keys[number])) is not None:
            for start, end in slices:
                assert self.handle(self.keys[number]).read_range(start, end) == there.body[start:end], (start, end)

    @rule(number=NUMBER, steps=st.lists(st.tuples(st.none() | OFFSET, st.integers(-1, 70_000)), min_size=1, max_size=6))
    def read_as_a_file(self, number: int, steps: list[tuple[int | None, int]]) -> None:
        if (there := self.current(self.keys[number])) is None:
            return
        beside = io.BytesIO(there.body)
        with self.handle(self.keys[number]).open("rb") as file:
            for place, size in steps:
                if place is not None:
                    assert file.seek(abs(place)) == beside.seek(abs(place))
                assert file.read(size) == beside.read(size)
                assert file.tell() == beside.tell()

    @rule(number=NUMBER)
    def meet(self, number: int) -> None:
        """Send one HEAD, and keep the handle."""
        if (there := self.current(self.keys[number])) is not None:
            obj = self.handle(self.keys[number])
            self.expect_metadata(obj, there.metadata)
            self.met.append((obj, there))

    @precondition(lambda self: self.met)
    @rule(at=st.integers(0, 9), way=one_of({way: READS[way] for way in READS if way != "get_object"}))
    def read_what_was_met(self, at: int, way: str) -> None:
        """A kept handle reads the content that it was made for, or raises S3ObjectChanged."""
        obj, there = self.met.pop(at % len(self.met))
        now = self.current(obj.key)
        try:
            assert READS[way](obj) == there.body
        except s3.S3ObjectChanged:
            self.told["changed"] += 1
            assert now is not there
        except s3.S3NoSuchItem:
            assert now is None

    # -- tags: rclone has none ----------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.is_moto)
    @rule(number=NUMBER, tags=TAGS)
    def tag(self, number: int, tags: dict[str, str]) -> None:
        if (there := self.current(self.keys[number])) is not None:
            found = self.handle(self.keys[number]).tags
            assert dict(found.get() or {}) == there.tags
            found.put(tags)
            there.tags = tags

    @precondition(lambda self: not self.is_moto)
    @rule(number=NUMBER)
    def tags_are_refused(self, number: int) -> None:
        with pytest.raises(s3.S3Unsupported if self.current(self.keys[number]) else s3.S3NoSuchItem):
            self.handle(self.keys[number]).tags.put({"a": "b"})

    # -- listings -----------------------------------------------------------------------------------------------------------------

    @rule(
        searches=st.lists(st.tuples(REFINEMENTS, one_of(CONSUMERS)), min_size=1, max_size=4), is_filtered=st.booleans()
    )
    def find(self, searches: list[tuple[dict[str, Any], str]], is_filtered: bool) -> None:
        for refinements, way in searches:
            query = self.bucket.find(**refinements)
            limit = refinements.get("limit")
            tests = {name: value for name, value in refinements.items() if name != "limit"}
            wanted = {key: there for key, there in self.live().items() if is_meant(key, len(there.body), **tests)}
            if is_filtered:
                query = query.filter(lambda obj: len(obj.key) % 2 == 0)
                wanted = {key: there for key, there in wanted.items() if len(key) % 2 == 0}
            if limit is not None and way in ("partitions", "parallel"):
                with pytest.raises(ValueError, match="limit"):
                    CONSUMERS[way](query)
                continue
            found = CONSUMERS[way](query)
            self.told.update(finds=1, found=len(found))
            assert [obj.key for obj in found] == list(wanted)[:limit]
            for obj in found:
                assert obj.size == len(wanted[obj.key].body)
                if way == "prefetch":
                    self.expect(obj, wanted[obj.key])
            assert query.count() == len(found)
            assert query.total_size() == sum(obj.size for obj in found)
            assert query.first() == (found[0] if found else None)

    # moto also rolls up deleted keys
    @precondition(lambda self: not any(known and known[-1].is_marker for known in self.history.values()))
    @rule(
        prefix=st.sampled_from(["", "d/", "d", "d/e/", "/", "日"]),
        delimiter=st.sampled_from(["/", "a", "//", "本"]),
        limit=LIMIT,
    )
    def find_prefixes(self, prefix: str, delimiter: str, limit: int | None) -> None:
        if not self.is_moto:
            delimiter = "/"  # rclone treats any other delimiter as "/"
        objects, prefixes = [], []
        for key in self.live():
            if key.startswith(prefix):
                head, found, _ = key[len(prefix) :].partition(delimiter)
                (prefixes if found else objects).append(prefix + head + found)
        prefixes = sorted(set(prefixes))
        query = self.bucket.find(prefix, delimiter=delimiter, limit=limit)
        assert [*query.prefixes()] == prefixes[:limit]
        assert [obj.key for obj in query] == objects[:limit]
        entries = [entry if isinstance(entry, str) else entry.key for entry in query.entries()]
        assert entries == sorted([*objects, *prefixes])[:limit]

    # -- the truth ----------------------------------------------------------------------------------------------------------------

    @invariant()
    def plain_boto3_lists_the_same(self) -> None:
        self.told["steps"] += 1
        if not self.versioned:
            listed = self.client.list_objects_v2(Bucket=self.bucket.name).get("Contents", [])
            assert {found["Key"]: found["Size"] for found in listed} == {
                key: len(there.body) for key, there in self.live().items()
            }
            return
        answer = self.client.list_object_versions(Bucket=self.bucket.name)
        versions = {
            (found["Key"], found["VersionId"], found["Size"], found["IsLatest"]) for found in answer.get("Versions", [])
        }
        markers = Counter((found["Key"], found["IsLatest"]) for found in answer.get("DeleteMarkers", []))
        told = [(key, there, there is known[-1]) for key, known in self.history.items() for there in known]
        assert versions == {
            (key, there.version_id, len(there.body), last) for key, there, last in told if not there.is_marker
        }
        assert markers == Counter((key, last) for key, there, last in told if there.is_marker)


@pytest.mark.timeout(36_000)
def test_random_operations_agree_with_a_model_of_a_bucket(server: Server) -> None:
    """Every step has the same result, and plain boto3 finds the objects of the model."""

    class Machine(Bucket):
        """The state machine for this server."""

    Machine.server, Machine.client, Machine.told = server, server.client(), Counter()
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            derandomize="CI" in os.environ,
            suppress_health_check=list(HealthCheck),
        ),
    )
    print(f"\n{server.name}: {dict(Machine.told)}")
    assert Machine.told["examples"] >= EXAMPLES
    assert Machine.told["writes"] > EXAMPLES
