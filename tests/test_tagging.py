"""Tags sent along with an object, on stores that drop them in some operations as Ceph's radosgw does."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import pytest
from support.scripted_server import Answer, Asked, ScriptedServer, document, refusal
from support.servers import Server

import messageflux_s3 as s3

BIG = 17 << 20  # sent in parts


@dataclass
class _Stored:
    size: int
    etag: str
    tags: dict[str, str] | None  # None: as after radosgw's copy, ``?tagging`` is answered with an empty body


@dataclass
class _Dropping:
    """A store that keeps the tags of PutObject only.

    Attributes:
        ignores_writes_of_tags: Whether PutObjectTagging is answered as done without being done.
    """

    objects: dict[str, _Stored] = field(default_factory=dict)
    ignores_writes_of_tags: bool = False
    before_tags_are_written: Callable[[], object] | None = None
    count: int = 0
    size_of_upload: int = 0

    def store(self, key: str, size: int, tags: dict[str, str] | None) -> str:
        self.count += 1
        self.objects[key] = _Stored(size, f"e{self.count}", tags)  # no MD5, as of an encrypted object
        return f'"e{self.count}"'

    def __call__(self, asked: Asked) -> Answer:
        found = self.objects.get(asked.key)
        sent = dict(parse_qsl(asked.headers.get("x-amz-tagging", "")))
        if "versioning" in asked.query:
            return document("VersioningConfiguration")
        if "tagging" in asked.query:
            return self._tagging(asked, found)
        if "uploads" in asked.query:
            self.size_of_upload = 0
            return document("InitiateMultipartUploadResult", "<UploadId>u</UploadId>")
        if "partNumber" in asked.query:
            self.size_of_upload += int(asked.headers.get("x-amz-decoded-content-length", len(asked.body)))
            return 200, {"ETag": '"part"'}, b""
        if "uploadId" in asked.query:
            etag = self.store(asked.key, self.size_of_upload, {})
            return document("CompleteMultipartUploadResult", f"<ETag>{etag}</ETag>")
        if asked.method == "PUT" and "x-amz-copy-source" in asked.headers:
            source = self.objects[asked.headers["x-amz-copy-source"].partition("/")[2]]
            is_described = asked.headers.get("x-amz-metadata-directive") == "REPLACE"
            etag = self.store(asked.key, source.size, None if is_described else source.tags)
            return document("CopyObjectResult", f"<ETag>{etag}</ETag><LastModified>2026-11-21T05:00:00Z</LastModified>")
        if asked.method == "PUT":
            return 200, {"ETag": self.store(asked.key, len(asked.body), sent)}, b""
        if asked.method == "DELETE":
            self.objects.pop(asked.key, None)
            return 204, {}, b""
        if found is None:
            return refusal(404, "NoSuchKey")
        headers = {
            "ETag": f'"{found.etag}"',
            "Last-Modified": "Sat, 21 Nov 2026 05:00:00 GMT",
            "Content-Length": str(found.size),
        }
        if found.tags:
            headers["x-amz-tagging-count"] = str(len(found.tags))
        return 200, headers, b"" if asked.method == "HEAD" else bytes(found.size)

    def _tagging(self, asked: Asked, found: _Stored | None) -> Answer:
        if asked.method == "PUT" and self.before_tags_are_written is not None:
            self.before_tags_are_written()
        if found is None:
            return refusal(404, "NoSuchKey")
        if asked.method == "PUT":
            if not self.ignores_writes_of_tags:
                parts = asked.body.decode().split("<Key>")[1:]
                found.tags = {
                    part.partition("</Key>")[0]: part.partition("<Value>")[2].partition("</Value>")[0] for part in parts
                }
            return 200, {}, b""
        if asked.method == "DELETE":
            found.tags = {}
            return 204, {}, b""
        if found.tags is None:
            return 200, {}, b""
        tags = "".join(f"<Tag><Key>{name}</Key><Value>{value}</Value></Tag>" for name, value in found.tags.items())
        return document("Tagging", f"<TagSet>{tags}</TagSet>")


WRITES: dict[str, Callable[[s3.S3Bucket], object]] = {
    "upload in parts": lambda bucket: bucket.upload_object("k", io.BytesIO(bytes(BIG)), tags={"a": "1", "b": "2"}),
    "file in parts": lambda bucket: _write(bucket["k"].open("wb", tags={"a": "1", "b": "2"})),
    "append in parts": lambda bucket: _append(bucket),
    "copy": lambda bucket: bucket["source"].copy_to("k", tags={"a": "1", "b": "2"}),
    "copy with other metadata": lambda bucket: bucket["source"].copy_to(
        "k", metadata={"m": "1"}, tags={"a": "1", "b": "2"}
    ),
    "copy of a tagged object": lambda bucket: bucket["tagged"].copy_to("k", tags={"a": "1", "b": "2"}),
    "copy that keeps tags": lambda bucket: bucket["tagged-twice"].copy_to("k", metadata={"m": "1"}),
    "move": lambda bucket: bucket["source"].move_to("k", tags={"a": "1", "b": "2"}),
}


def _write(file: Any) -> None:
    with file:
        file.write(bytes(BIG))


def _append(bucket: s3.S3Bucket) -> None:
    bucket.put_object("k", b"x" * 100, tags={"a": "1", "b": "2"})
    with bucket["k"].open("ab") as file:
        file.write(bytes(BIG))


def _tagged(bucket: s3.S3Bucket) -> s3.S3Bucket:
    bucket.put_object("source", b"x")
    bucket.put_object("tagged", b"x", tags={"a": "0", "c": "3"})
    bucket.put_object("tagged-twice", b"x", tags={"a": "1", "b": "2"})
    return bucket


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_dropped_tags_are_put_afterwards(
    scripted_server: ScriptedServer, write: Callable[[s3.S3Bucket], object]
) -> None:
    """Dropped tags are put afterwards, also after a second write on the same store."""
    scripted_server.answer = store = _Dropping()
    bucket = _tagged(scripted_server.bucket())
    for _ in range(2):
        write(bucket)
        assert store.objects["k"].tags == {"a": "1", "b": "2"}
        assert dict(bucket["k"].tags.get()) == {"a": "1", "b": "2"}
        bucket.put_object("source", b"x")
    assert sorted(store.objects) == ["k", "source", "tagged", "tagged-twice"]


def test_tags_removed_in_a_copy_are_removed(scripted_server: ScriptedServer) -> None:
    """A store that ignores the tagging directive keeps the tags of the source."""
    scripted_server.answer = store = _Dropping()
    bucket = _tagged(scripted_server.bucket())
    bucket["tagged"].copy_to("k", tags={})
    assert store.objects["k"].tags == {}


def test_dropped_tags_are_not_put_on_an_object_replaced_meanwhile(scripted_server: ScriptedServer) -> None:
    """The object was replaced before its tags could be put."""
    scripted_server.answer = store = _Dropping()
    bucket = _tagged(scripted_server.bucket())
    answer = store.__call__

    def replaced(asked: Asked) -> Answer:
        said = answer(asked)
        if asked.method == "POST" and "uploadId" in asked.query:
            store.store("k", 3, {"theirs": "1"})
        return said

    scripted_server.answer = replaced
    bucket.upload_object("k", io.BytesIO(bytes(BIG)), tags={"a": "1"})
    assert store.objects["k"].tags == {"theirs": "1"}


def test_dropped_tags_that_cannot_be_put_raise(scripted_server: ScriptedServer) -> None:
    """The error says that the object was written, and that its tags are missing."""
    scripted_server.answer = store = _Dropping(ignores_writes_of_tags=True)
    bucket = _tagged(scripted_server.bucket())
    with pytest.raises(s3.S3Unsupported, match="was written, but not its tags"):
        bucket.upload_object("k", io.BytesIO(bytes(BIG)), tags={"a": "1"})
    assert store.objects["k"].size == BIG


def test_an_empty_response_means_no_tags_if_the_store_supports_tags(scripted_server: ScriptedServer) -> None:
    """radosgw answers so for an object whose copy lost its tags; of a store that was never seen to know tags it is no answer."""
    scripted_server.answer = store = _Dropping()
    store.store("k", 1, None)
    with pytest.raises(s3.S3Unsupported):
        scripted_server.bucket()["k"].tags.get()
    bucket = scripted_server.bucket(access_key="OTHER0123456", secret_key="SECRETKEY0123456", boto3_session=None)
    bucket.put_object("tagged", b"", tags={"a": "1"})
    assert dict(bucket["k"].tags.get()) == {}
    bucket["k"].tags["b"] = "2"
    assert store.objects["k"].tags == {"b": "2"}


@pytest.fixture
def radosgw_bucket(radosgw: Server) -> Iterator[s3.S3Bucket]:
    """A fresh bucket on radosgw."""
    import uuid

    store = radosgw.connect()
    bucket = store.create_bucket(f"tags-{uuid.uuid4().hex[:16]}")
    yield bucket
    bucket.delete_bucket(force=True)


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_dropped_tags_are_put_afterwards_on_radosgw(
    radosgw_bucket: s3.S3Bucket, write: Callable[[s3.S3Bucket], object]
) -> None:
    """The same on the store itself."""
    _tagged(radosgw_bucket)
    write(radosgw_bucket)
    assert dict(radosgw_bucket["k"].tags.get()) == {"a": "1", "b": "2"}
