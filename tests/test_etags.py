"""ETags that look like an MD5 but are not, and weak ETags: which operations work, and which are refused."""

from __future__ import annotations

import hashlib
import random
import threading
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path

import pytest
from support.scripted_server import Answer, Asked, ScriptedServer, document, refusal

import messageflux_s3 as s3
from messageflux_s3 import Capabilities, S3Bucket, S3ChecksumError, S3Unsupported

MIB = 1024 * 1024
LARGE = random.Random(17).randbytes(10 * MIB)
_HONOURED = Capabilities(put_if_absent="honoured", put_if_match="honoured", delete_if_match="honoured")


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


@dataclass
class Strange:
    """A store whose ETags are what ``etag_of`` makes of the content; it keeps objects and parts, and compares If-Match as HTTP says.

    Attributes:
        etag_of: The quoted ETag of a content.
        corrupt: Changes the body of a GET of an object, given its number.
    """

    etag_of: Callable[[bytes], str]
    objects: dict[str, bytes] = field(default_factory=dict)
    parts: dict[str, dict[int, bytes]] = field(default_factory=dict)
    corrupt: Callable[[bytes, int], bytes] = lambda body, number: body
    gets: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, asked: Asked) -> Answer:
        with self.lock:
            return self.answer(asked)

    def answer(self, asked: Asked) -> Answer:
        key, query, headers = asked.key, asked.query, asked.headers
        if "versioning" in query:
            return document("VersioningConfiguration")
        if asked.method == "POST" and "uploads" in query:
            self.parts[key] = {}
            return document("InitiateMultipartUploadResult", "<UploadId>u</UploadId>")
        if asked.method == "POST" and "uploadId" in query:
            self.objects[key] = b"".join(part for _, part in sorted(self.parts.pop(key).items()))
            return document("CompleteMultipartUploadResult", "<ETag>&quot;whole-2&quot;</ETag>")
        if not key or "list-type" in query:
            entries = "".join(
                f"<Contents><Key>{name}</Key><LastModified>2026-11-21T05:00:00Z</LastModified><ETag>{self.etag_of(body)}</ETag>"
                f"<Size>{len(body)}</Size></Contents>"
                for name, body in sorted(self.objects.items()) if name.startswith(urllib.parse.unquote(query.get("prefix", "")))
            )  # fmt: skip
            return document("ListBucketResult", f"{entries}<IsTruncated>false</IsTruncated>")
        found = self.objects.get(key)
        wanted = headers.get("if-match")
        if wanted is not None and (
            found is None or self.etag_of(found).strip('"') != wanted.strip('"') or wanted.startswith("W/")
        ):
            return refusal(412, "PreconditionFailed")
        if headers.get("if-none-match") == "*" and found is not None:
            return refusal(412, "PreconditionFailed")
        if asked.method == "PUT":
            if "partNumber" in query:
                self.parts.setdefault(key, {})[int(query["partNumber"])] = asked.body
            else:
                self.objects[key] = asked.body
            return 200, {"ETag": self.etag_of(asked.body)}, b""
        if asked.method == "DELETE":
            self.objects.pop(key, None)
            return 204, {}, b""
        if found is None:
            return refusal(404, "NoSuchKey")
        told = {
            "ETag": self.etag_of(found), "Last-Modified": "Sat, 21 Nov 2026 05:00:00 GMT", "Date": formatdate(usegmt=True),
        }  # fmt: skip
        if asked.method == "HEAD":
            return 200, {**told, "Content-Length": str(len(found))}, b""
        self.gets.append(key)
        body = self.corrupt(found, len(self.gets))
        if "range" in headers:
            start, _, last = headers["range"].removeprefix("bytes=").partition("-")
            end = min(int(last or len(body)), len(body) - 1) + 1
            if int(start) >= len(body):
                return refusal(416, "InvalidRange")
            return 206, {**told, "Content-Range": f"bytes {start}-{end - 1}/{len(body)}"}, body[int(start) : end]
        return 200, told, body


def no_md5(body: bytes) -> str:
    return f'"{md5(b"another hash" + body)}"'


def weak(body: bytes) -> str:
    return f'W/"{md5(body)}"'


def able(scripted_server: ScriptedServer, *, lane: bool) -> S3Bucket:
    """A bucket of a store that is known to honour conditions."""
    bucket = s3.S3Store(scripted_server.connect().config.replace(capabilities=_HONOURED)).bucket("bkt")
    if not lane:
        bucket._connection.lane.shut("shut for this test")
    return bucket


@pytest.fixture(params=["lane open", "lane shut"])
def lane(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "lane open")


# -- ETags of 32 hexadecimal digits that are no MD5 -----------------------------------------------------------------------------------


def updated(bucket: S3Bucket, tmp_path: Path) -> None:
    bucket["k"].update(lambda before: (before or b"") + b"!")
    assert bucket["k"].body == b"content!"


def locked(bucket: S3Bucket, tmp_path: Path) -> None:
    with bucket.lock("lock", ttl=30) as lock:
        assert not lock.lost
    bucket.acquire_lock("plain", {"user": "u"})
    assert bucket.check_lock("plain") == {"user": "u"}
    bucket.release_lock("plain")


def to_file(bucket: S3Bucket, tmp_path: Path) -> None:
    bucket["k"].download_to(tmp_path / "t")
    assert (tmp_path / "t").read_bytes() == b"content"


def to_file_resumed(bucket: S3Bucket, tmp_path: Path) -> None:
    bucket.download_file("k", tmp_path / "t", resume=True, verify_checksum=True)
    assert (tmp_path / "t").read_bytes() == b"content"


def to_folder(bucket: S3Bucket, tmp_path: Path) -> None:
    assert bucket.download_folder("", tmp_path / "all") == ["k"]
    assert (tmp_path / "all" / "k").read_bytes() == b"content"


def to_stream(bucket: S3Bucket, tmp_path: Path) -> None:
    with (tmp_path / "s").open("wb") as file:
        bucket.download_object("k", file)
    assert (tmp_path / "s").read_bytes() == b"content"


def in_parts(bucket: S3Bucket, tmp_path: Path) -> None:
    bucket.upload_object("large", LARGE, part_size_bytes=5 * MIB)
    assert bucket["large"].body == LARGE


def written_as_file(bucket: S3Bucket, tmp_path: Path) -> None:
    with bucket["large"].open("wb") as file:
        file.write(LARGE)
        file.write(LARGE)
    assert bucket["large"].size == 2 * len(LARGE)


def in_one_piece(bucket: S3Bucket, tmp_path: Path) -> None:
    bucket.put_object("p", b"x")
    bucket.upload_object("u", b"y")
    bucket.put_object("c", b"z", if_absent=True)
    assert [bucket[key].body for key in "puc"] == [b"x", b"y", b"z"]


EVERYTHING: dict[str, Callable[[S3Bucket, Path], None]] = {
    function.__name__: function
    for function in (
        updated,
        locked,
        to_file,
        to_file_resumed,
        to_folder,
        to_stream,
        in_parts,
        written_as_file,
        in_one_piece,
    )
}


@pytest.mark.parametrize("act", EVERYTHING.values(), ids=EVERYTHING)
@pytest.mark.parametrize("taught", [False, True], ids=["first of all", "after an upload"])
def test_everything_works_where_etags_only_look_like_md5s(
    scripted_server: ScriptedServer, tmp_path: Path, lane: bool, act: Callable[[S3Bucket, Path], None], taught: bool
) -> None:
    """As the first operation on the bucket, and after an upload has shown that its ETags are not MD5s; no scratch object is left."""
    scripted_server.answer = store = Strange(no_md5, {"k": b"content"})
    bucket = able(scripted_server, lane=lane)
    if taught:
        bucket.upload_object("teacher", b"x")
        del store.objects["teacher"]
    act(bucket, tmp_path)
    assert not [key for key in store.objects if key.startswith(".mfs3")]


def test_what_etags_are_is_learned_for_each_bucket(scripted_server: ScriptedServer, tmp_path: Path) -> None:
    """One more GET for each bucket; in another bucket of the same connection a wrong byte is still detected."""
    scripted_server.answer = store = Strange(no_md5, {"k": b"content"})
    connected = scripted_server.connect()
    for _ in range(3):
        connected.bucket("odd-bucket")["k"].download_to(tmp_path / "t")
    assert len(store.gets) == 4
    scripted_server.answer = Strange(
        lambda body: f'"{md5(body)}"', {"k": b"content"}, corrupt=lambda body, number: body + bytes([number])
    )
    with pytest.raises(S3ChecksumError):
        connected.bucket("plain-bucket")["k"].download_to(tmp_path / "u")
    assert not (tmp_path / "u").exists()


@pytest.mark.parametrize("act", [to_file, to_file_resumed, to_folder, to_stream, updated], ids=lambda act: act.__name__)
def test_corrupted_content_does_not_mark_etags_as_not_md5(
    scripted_server: ScriptedServer, tmp_path: Path, lane: bool, act: Callable[[S3Bucket, Path], None]
) -> None:
    """Corrupted bytes raise, and do not mark the bucket's ETags as other than MD5s."""
    scripted_server.answer = Strange(
        lambda body: f'"{md5(body)}"', {"k": b"content"}, corrupt=lambda body, number: body[:-1] + bytes([number])
    )
    bucket = able(scripted_server, lane=lane)
    for _ in range(2):
        with pytest.raises((S3ChecksumError, s3.S3BatchError), match="the MD5 of the object is"):
            act(bucket, tmp_path)


def test_corrupted_part_is_an_error_where_etags_are_md5s(scripted_server: ScriptedServer) -> None:
    """The scratch object shows that this bucket's ETags are MD5s; it is removed, the upload aborted."""
    store = Strange(lambda body: f'"{md5(body)}"')

    def answer(asked: Asked) -> Answer:
        if "partNumber" in asked.query:
            return 200, {"ETag": f'"{md5(asked.body + b"changed")}"'}, b""
        return store(asked)

    scripted_server.answer = answer
    with pytest.raises(S3ChecksumError):
        scripted_server.bucket().upload_object("large", LARGE, part_size_bytes=5 * MIB)
    assert store.objects == {}
    assert "DELETE large?uploadId" in scripted_server.whats


# -- weak ETags -----------------------------------------------------------------------------------------------------------------------


def read_everywhere(bucket: S3Bucket, tmp_path: Path) -> None:
    obj = bucket.get_object("k")
    assert (obj.etag, obj.body) == (weak(b"content"), b"content")
    seen = bucket["k"]
    assert seen.etag == weak(b"content")
    assert seen.body == b"content"
    assert seen.read_range(1, 3) == b"on"
    assert seen.body_stream.read() == b"content"
    assert b"".join(seen.iter_chunks(3)) == b"content"
    with seen.open("rb") as file:
        assert file.read() == b"content"
    [listed] = bucket.find()
    assert listed.body == b"content"


@pytest.mark.parametrize(
    "act",
    [read_everywhere, to_file, to_file_resumed, to_folder, to_stream, in_one_piece, in_parts],
    ids=lambda act: act.__name__,
)
def test_reads_and_plain_writes_work_with_weak_etags(
    scripted_server: ScriptedServer, tmp_path: Path, lane: bool, act: Callable[[S3Bucket, Path], None]
) -> None:
    """A weak ETag is shown unchanged and never sent as If-Match."""
    scripted_server.answer = Strange(weak, {"k": b"content"})
    act(able(scripted_server, lane=lane), tmp_path)
    assert not [asked.headers["if-match"] for asked in scripted_server.asked if "if-match" in asked.headers]


def test_replaced_object_is_detected_by_its_weak_etag(
    scripted_server: ScriptedServer, tmp_path: Path, lane: bool
) -> None:
    """The ETags of the responses are compared by the client, since no condition can be sent."""
    scripted_server.answer = store = Strange(weak, {"k": b"content"})
    obj = scripted_server.bucket(lane=lane)["k"]
    obj.exists()
    store.objects["k"] = b"CONTENT"
    for read in (
        lambda: obj.body,
        lambda: obj.read_range(0, 2),
        lambda: obj.download_to(tmp_path / "t"),
        lambda: obj.open("rb").read(),
    ):
        with pytest.raises(s3.S3ObjectChanged):
            read()


def test_listed_strong_etag_equals_the_weak_etag_of_a_response(scripted_server: ScriptedServer, lane: bool) -> None:
    """A proxy marks the header as weak, but does not change the XML of a listing."""
    store = Strange(weak, {"k": b"content"})

    def answer(asked: Asked) -> Answer:
        if asked.key:
            return store(Asked(asked.method, asked.key, asked.query, {}, asked.body))
        strong = Strange(lambda body: f'"{md5(body)}"', store.objects)
        return strong(asked)

    scripted_server.answer = answer
    [listed] = scripted_server.bucket(lane=lane).find()
    assert (listed.etag, listed.body, listed.read_range(0, 3)) == (md5(b"content"), b"content", b"con")


REFUSED: dict[str, Callable[[S3Bucket], object]] = {
    "put_object": lambda bucket: bucket.put_object("k", b"new", if_match=bucket["k"].etag),
    "put": lambda bucket: bucket["k"].put(b"new", if_match=bucket["k"].etag),
    "upload_object": lambda bucket: bucket.upload_object("k", b"new", if_match=bucket["k"].etag),
    "copy_object": lambda bucket: bucket.copy_object("other", "k", if_match=bucket["k"].etag),
    "delete": lambda bucket: bucket["k"].delete(if_match=bucket["k"].etag),
    "update": lambda bucket: bucket["k"].update(lambda before: pytest.fail("called")),
}


@pytest.mark.parametrize("write", REFUSED.values(), ids=REFUSED)
def test_conditional_writes_on_weak_etags_are_refused(
    scripted_server: ScriptedServer, write: Callable[[S3Bucket], object]
) -> None:
    """The error is raised before anything is written."""
    scripted_server.answer = store = Strange(weak, {"k": b"content", "other": b"x"})
    with pytest.raises(S3Unsupported, match="weak ETag W/"):
        write(able(scripted_server, lane=True))
    assert store.objects == {"k": b"content", "other": b"x"}
    assert {asked.method for asked in scripted_server.asked} <= {"GET", "HEAD"}


def test_locks_on_weak_etags_are_refused(scripted_server: ScriptedServer) -> None:
    """By the probe, before the lock file is written."""
    scripted_server.answer = store = Strange(weak)
    with pytest.raises(S3Unsupported):
        scripted_server.bucket().lock("lock", ttl=5)
    assert store.objects == {}


def test_tables_show_weak_etags_as_they_are(scripted_server: ScriptedServer) -> None:
    """Quotes are removed, of strong ETags alone."""
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    for etag, shown in ((weak, weak(b"content")), (no_md5, no_md5(b"content").strip('"'))):
        scripted_server.answer = Strange(etag, {"k": b"content"})
        frame = scripted_server.bucket().find().to_pandas()
        assert isinstance(frame, pandas.DataFrame)
        assert list(frame["etag"]) == [shown]
        assert scripted_server.bucket().find().to_arrow()["etag"].to_pylist() == [shown]
