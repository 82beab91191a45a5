"""Multipart uploads: unusual responses of the store, conflicts and lost responses."""

from __future__ import annotations

import base64
import hashlib
import io
import logging
import os
import threading
import time
import urllib.parse
import uuid
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from support.scripted_server import Answer, Asked, ScriptedServer, content_of, document, refusal
from support.servers import Server
from support.stateful_server import StatefulStore, Stored, StrictStore

from messageflux_s3 import (
    S3AccessDenied,
    S3Bucket,
    S3ChecksumError,
    S3ConnectionError,
    S3Error,
    S3NoSuchItem,
    S3ObjectExists,
    S3PreconditionFailed,
    S3Unsupported,
)
from messageflux_s3._bulk import versions
from messageflux_s3._client import connection as s3_connection
from messageflux_s3._files import copying
from messageflux_s3._objects import multipart, parallelism
from messageflux_s3._objects.multipart import MultipartUpload

PART = b"x" * 100
LARGE = b"0123456789abcdef" * (640 * 1024) + b"end"
PART_SIZE = multipart.MIN_PART_BYTES
ETAG = hashlib.md5(PART).hexdigest()


def good(asked: Asked) -> Answer:
    """Return the correct responses to an upload of such parts."""
    if asked.method == "POST" and "uploads" in asked.query:
        return document("InitiateMultipartUploadResult", "<UploadId>U</UploadId>")
    if asked.method == "POST":
        return document("CompleteMultipartUploadResult", "<ETag>whole</ETag>")
    return (204, {}, b"") if asked.method == "DELETE" else (200, {"ETag": f'"{ETAG}"'}, b"")


def upload(scripted_server: ScriptedServer, **settings: int) -> MultipartUpload:
    return MultipartUpload(scripted_server.bucket(**settings)._address.object("k"))


def test_parts_become_an_object(scripted_server: ScriptedServer) -> None:
    """Numbered in the order in which they were added, and no abort after the completion."""
    scripted_server.answer = good
    with upload(scripted_server) as parts:
        for _ in range(3):
            parts.add_part(PART)
        assert parts.complete()["ETag"] == "whole"
    assert scripted_server.whats[0] == "POST k?uploads"
    assert sorted(asked.query["partNumber"] for asked in scripted_server.asked[1:4]) == ["1", "2", "3"]
    assert scripted_server.whats[4:] == ["POST k?uploadId"]
    with pytest.raises(ValueError, match="this upload has ended"):
        parts.add_part(PART)


def test_more_than_10000_parts_are_refused(scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error asks for larger parts, and the upload is aborted."""
    scripted_server.answer = good
    monkeypatch.setattr(multipart, "MAX_PARTS", 1)
    with pytest.raises(ValueError, match="use larger parts"), upload(scripted_server) as parts:
        for _ in range(2):
            parts.add_part(PART)
    assert scripted_server.whats[-1] == "DELETE k?uploadId"


def test_create_multipart_upload_without_an_upload_id_raises(scripted_server: ScriptedServer) -> None:
    """After a truncated response the parts would be sent with the upload ID None."""
    scripted_server.answer = lambda asked: document("InitiateMultipartUploadResult")
    with pytest.raises(S3ConnectionError, match="the response was incomplete"), upload(scripted_server) as parts:
        parts.add_part(PART)
    assert scripted_server.whats == ["POST k?uploads"]


def test_a_part_response_without_an_etag_raises(scripted_server: ScriptedServer) -> None:
    """A store without multipart uploads may have stored the part as the object, or the response was truncated."""
    scripted_server.answer = lambda asked: document("CopyPartResult") if asked.method == "PUT" else good(asked)
    with pytest.raises(S3Error, match="answered without an ETag"), upload(scripted_server) as parts:
        parts.copy_part({"Bucket": "bkt", "Key": "a"}, 0, 9)
        parts.complete()
    assert scripted_server.whats[-1] == "DELETE k?uploadId"
    with pytest.raises(S3Error), upload(scripted_server) as parts:
        parts.add_part(PART)
        parts.complete()
    assert scripted_server.whats[-1] == "DELETE k?uploadId"


@pytest.mark.parametrize(("size", "most"), [(100, 4), (300, 3), (600, 1), (2000, 1)])
def test_growing_parts_in_flight_have_a_bounded_size(
    scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, size: int, most: int
) -> None:
    """The size of the first part counts: so many large parts as at the beginning are allowed."""
    monkeypatch.setattr(parallelism, "MEMORY_BYTES", 500)
    lock, in_flight, largest = threading.Lock(), 0, 0

    def answer(asked: Asked) -> Answer:
        nonlocal in_flight, largest
        if "partNumber" in asked.query and len(asked.body) == size:
            with lock:
                in_flight += 1
                largest = max(largest, in_flight)
            time.sleep(0.02)
            with lock:
                in_flight -= 1
        if "partNumber" in asked.query:
            return 200, {"ETag": f'"{hashlib.md5(asked.body).hexdigest()}"'}, b""
        return good(asked)

    scripted_server.answer = answer
    with upload(scripted_server) as parts:
        parts.add_part(bytes(10))
        for _ in range(12):
            parts.add_part(bytes(size))
        parts.complete()
    assert largest <= most
    assert len(scripted_server.asked) == 15


@pytest.mark.parametrize("first", ["add_part", "settle"])
def test_a_refused_part_whose_upload_is_dropped_with_it_raises_its_own_error(
    scripted_server: ScriptedServer, first: str
) -> None:
    """Not that of another part, for which the upload no longer exists: rclone drops it with a part whose checksum differs."""
    is_gone = threading.Event()

    def answer(asked: Asked) -> Answer:
        if asked.query.get("partNumber") == "1":
            assert is_gone.wait(20)
            time.sleep(0.05)
            return refusal(400, "BadDigest")
        if asked.query.get("partNumber") == "2":
            is_gone.set()
            return refusal(404, "NoSuchUpload")
        return good(asked)

    scripted_server.answer = answer
    with pytest.raises(S3ChecksumError), upload(scripted_server) as parts:
        parts.add_part(PART)
        parts.add_part(PART)
        while first == "add_part":
            parts.add_part(PART)
        parts.settle()


def test_an_upload_that_somebody_else_aborted_raises_no_such_upload(scripted_server: ScriptedServer) -> None:
    scripted_server.answer = lambda asked: refusal(404, "NoSuchUpload") if "partNumber" in asked.query else good(asked)
    with pytest.raises(S3NoSuchItem) as caught, upload(scripted_server) as parts:
        for _ in range(5):
            parts.add_part(PART)
        parts.settle()
    assert caught.value.code == "NoSuchUpload"


def test_an_upload_that_cannot_be_aborted_is_logged(
    scripted_server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The first error is raised; the failed abort is logged."""
    scripted_server.answer = lambda asked: (
        refusal(403, "AccessDenied") if asked.method in ("PUT", "DELETE") else good(asked)
    )
    with (
        caplog.at_level(logging.WARNING, "messageflux_s3"),
        pytest.raises(S3AccessDenied, match="UploadPart"),
        upload(scripted_server) as parts,
    ):
        parts.add_part(PART)
        parts.complete()
    assert "the incomplete upload of s3://bkt/k could not be aborted" in caplog.text


@pytest.mark.parametrize("etag", ["another", ""])
def test_a_completion_with_an_unknown_outcome_raises(scripted_server: ScriptedServer, etag: str) -> None:
    """The response was lost, the upload no longer exists, and the object was not made of these parts."""

    def answer(asked: Asked) -> Answer:
        if asked.method == "HEAD":
            return content_of(asked, PART, etag)
        if asked.method == "POST" and "uploads" not in asked.query:
            return None if scripted_server.whats.count("POST k?uploadId") == 1 else refusal(404, "NoSuchUpload")
        return good(asked)

    scripted_server.answer = answer
    with (
        pytest.raises(S3ConnectionError, match="completed, or another client has aborted it"),
        upload(scripted_server, max_attempts=2) as parts,
    ):
        parts.add_part(PART)
        parts.complete()


def test_an_upload_without_parts_creates_nothing(bucket: S3Bucket) -> None:
    """No upload was created, so nothing is aborted."""
    with MultipartUpload(bucket._address.object("k")):
        pass
    assert not bucket["k"].exists()


# -- a completion under a condition that meets another write ------------------------------------------------------------------------
#
# AWS returns 409 ConditionalRequestConflict, discards the upload, and requires a new one with all parts.


def put_then(bucket: S3Bucket, condition: str) -> dict[str, Any]:
    """Return a condition that holds."""
    return {"if_absent": True} if condition == "if_absent" else {"if_match": bucket.put_object("k", b"before").etag}


def file_after(start: bytes, folder: Path) -> Any:
    path = folder / "source"
    path.write_bytes(start + LARGE)
    file = path.open("rb")
    file.seek(len(start))
    return file


REPLAYABLE: dict[str, Callable[[Path], Any]] = {
    "bytes": lambda folder: LARGE,
    "text": lambda folder: LARGE.decode(),
    "BytesIO": lambda folder: io.BytesIO(LARGE),
    "StringIO": lambda folder: io.StringIO(LARGE.decode()),
    "file not at its start": lambda folder: file_after(b"before", folder),
    "path": lambda folder: Path(file_after(b"", folder).name),
}


@pytest.mark.parametrize("condition", ["if_absent", "if_match"])
@pytest.mark.parametrize("source", REPLAYABLE)
def test_a_conditional_upload_that_conflicts_with_another_write_is_sent_again(
    scripted_server: ScriptedServer, tmp_path: Path, source: str, condition: str
) -> None:
    """It is sent again from the source's initial position; progress ends at its size."""
    scripted_server.answer = store = StrictStore()
    bucket = scripted_server.bucket(preset="aws", max_attempts=3)
    holds = put_then(bucket, condition)
    store.conflicts = 1
    told: list[int] = []
    bucket.upload_object("k", REPLAYABLE[source](tmp_path), part_size_bytes=PART_SIZE, progress=told.append, **holds)
    assert store.objects["k"].body == LARGE
    assert sum(told) == len(LARGE)
    assert scripted_server.whats.count("POST k?uploads") == 2
    assert not store.uploads


def test_a_conditional_copy_in_parts_that_conflicts_with_another_write_is_repeated(
    scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The source of a copy is in the store, so it can be copied again."""
    monkeypatch.setattr(copying, "MAX_COPIED_AT_ONCE", 1)
    monkeypatch.setattr(
        "messageflux_s3._objects.conditional._ABILITIES", {"CompleteMultipartUpload": ("multipart_if_absent",) * 2}
    )
    scripted_server.answer = store = StrictStore()
    bucket = scripted_server.bucket(preset="aws", max_attempts=3)
    bucket.upload_object("source", LARGE, part_size_bytes=PART_SIZE)
    store.conflicts = 1
    bucket["source"].copy_to("k", part_size_bytes=PART_SIZE, if_absent=True)
    assert store.objects["k"].body == LARGE


def write_exclusively(bucket: S3Bucket) -> None:
    with bucket["k"].open("xb") as file:
        file.write(LARGE)


@pytest.mark.parametrize(
    "write",
    [
        lambda bucket: bucket.upload_object("k", iter([LARGE]), if_absent=True, part_size_bytes=PART_SIZE),
        lambda bucket: bucket.put_object(
            "k", io.BufferedReader(OnceOnly(LARGE)), if_absent=True, part_size_bytes=PART_SIZE
        ),
        write_exclusively,
    ],
    ids=["iterator", "unseekable readable", "open('xb')"],
)
def test_a_conflicting_upload_of_an_unseekable_source_raises_a_retryable_error(
    scripted_server: ScriptedServer, write: Callable[[S3Bucket], object], caplog: pytest.LogCaptureFixture
) -> None:
    """The error is neither NoSuchUpload nor a success: nothing was written, and no parts are left."""
    scripted_server.answer = store = StrictStore()
    store.conflicts = 1
    with pytest.raises(S3PreconditionFailed, match="must be sent again") as caught:
        write(scripted_server.bucket(preset="aws", max_attempts=3))
    assert not isinstance(caught.value, S3ObjectExists)
    assert (caught.value.status, caught.value.retryable, caught.value.outcome_unknown) == (409, True, False)
    assert not store.objects
    assert not store.uploads
    assert "could not be aborted" not in caplog.text


class OnceOnly(io.RawIOBase):
    """A raw stream that is not seekable."""

    def __init__(self, content: bytes) -> None:
        self._content = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._content.readinto(buffer)


def test_a_conditional_upload_that_always_conflicts_raises_a_retryable_error(
    scripted_server: ScriptedServer,
) -> None:
    """It raises after the maximum number of uploads."""
    scripted_server.answer = store = StrictStore()
    store.conflicts = 99
    with pytest.raises(S3PreconditionFailed, match="was not written") as caught:
        scripted_server.bucket(preset="aws", max_attempts=3).upload_object(
            "k", LARGE, if_absent=True, part_size_bytes=PART_SIZE
        )
    assert caught.value.retryable
    assert scripted_server.whats.count("POST k?uploads") == 3
    assert not store.objects
    assert not store.uploads


def test_an_upload_whose_condition_fails_after_a_conflict_is_not_sent_again(scripted_server: ScriptedServer) -> None:
    """After a conflict one HEAD shows that the condition cannot hold, so the parts are not sent again."""

    class OtherWins(StrictStore):
        def _complete(self, asked: Asked, upload_id: str) -> Answer:
            self.objects["k"] = Stored(b"other", "e", {})
            return super()._complete(asked, upload_id)

    scripted_server.answer = store = OtherWins()
    store.conflicts = 1
    with pytest.raises(S3ObjectExists):
        scripted_server.bucket(preset="aws", max_attempts=3).upload_object(
            "k", LARGE, if_absent=True, part_size_bytes=PART_SIZE
        )
    assert scripted_server.whats.count("POST k?uploads") == 1
    assert store.objects["k"].body == b"other"


@pytest.mark.parametrize("lands", [True, False])
@pytest.mark.parametrize("replayable", [True, False])
def test_a_conflict_with_our_own_lost_completion_is_reconciled(
    scripted_server: ScriptedServer, lands: bool, replayable: bool
) -> None:
    """The response to a completion is lost, and boto3's retry conflicts with it; it may be applied later, during the second upload."""

    class Pending(StrictStore):
        tries = 0

        def _complete(self, asked: Asked, upload_id: str) -> Answer:
            self.tries += 1
            if self.tries == 1:
                return None
            if self.tries == 2:
                self.first = self.uploads.pop(upload_id)
                return refusal(409, "ConditionalRequestConflict")
            if lands:
                body = b"".join(part.body for _, part in sorted(self.first.parts.items()))
                self.objects["k"] = Stored(body, "first", dict(self.first.headers))
            return super()._complete(asked, upload_id)

    scripted_server.answer = store = Pending()
    bucket = scripted_server.bucket(preset="aws", max_attempts=3)
    source = LARGE if replayable else iter([LARGE])
    if replayable:
        bucket.upload_object("k", source, if_absent=True, part_size_bytes=PART_SIZE)
        assert store.objects["k"].body == LARGE
    else:
        with pytest.raises(S3PreconditionFailed) as caught:
            bucket.upload_object("k", source, if_absent=True, part_size_bytes=PART_SIZE)
        assert caught.value.outcome_unknown
    assert not store.uploads


class Elsewhere:
    """A wrapper that transforms the content of a file, but passes on the file's tell() and seek()."""

    def __init__(self, content: bytes, *, sniffs: int = 0, counts: bool = False) -> None:
        self._file = io.BytesIO(content)
        self._before = self._file.read(sniffs)
        self._counts = counts
        self._read = 0

    def read(self, size: int = -1) -> bytes:
        piece, self._before = self._before + self._file.read(size - len(self._before)), b""
        if self._counts and piece:  # as a decryption with a continuing key stream does
            piece = bytes([self._read % 251]) + piece[1:]
        self._read += len(piece)
        return piece

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def truncated_at_conflict(store: StrictStore, path: Path, size: int) -> Callable[[Asked], Answer]:
    def answer(asked: Asked) -> Answer:
        if asked.method == "POST" and "uploadId" in asked.query and store.conflicts:
            os.truncate(path, size)
        return store(asked)

    return answer


@pytest.mark.parametrize("size", [len(LARGE) - 1, 100, 0])
@pytest.mark.parametrize("as_path", [True, False])
def test_a_file_truncated_between_two_sends_of_a_conditional_upload_is_not_stored_short(
    scripted_server: ScriptedServer, tmp_path: Path, size: int, as_path: bool
) -> None:
    """Otherwise the second upload would store only a part of the content."""
    store = StrictStore()
    path = tmp_path / "source"
    path.write_bytes(LARGE)
    scripted_server.answer = truncated_at_conflict(store, path, size)
    store.conflicts = 1
    with path.open("rb") as file, pytest.raises(S3PreconditionFailed, match="it returned other bytes") as caught:
        scripted_server.bucket(preset="aws", max_attempts=3).upload_object(
            "k", path if as_path else file, if_absent=True, part_size_bytes=PART_SIZE
        )
    assert (caught.value.status, caught.value.retryable, caught.value.outcome_unknown) == (409, True, False)
    assert not store.objects
    assert not store.uploads


@pytest.mark.parametrize("condition", ["if_absent", "if_match"])
@pytest.mark.parametrize(
    "source", [{"sniffs": 4}, {"counts": True}, {"sniffs": PART_SIZE}], ids=["shorter", "other bytes", "much shorter"]
)
def test_a_source_that_gives_other_bytes_when_it_is_read_again_is_not_stored(
    scripted_server: ScriptedServer, condition: str, source: dict[str, Any]
) -> None:
    """It claims to be seekable, but seek() does not return to the initial position."""
    scripted_server.answer = store = StrictStore()
    bucket = scripted_server.bucket(preset="aws", max_attempts=3)
    holds = put_then(bucket, condition)
    before = dict(store.objects)
    store.conflicts = 1
    content = LARGE[: PART_SIZE + 9]
    with pytest.raises(S3PreconditionFailed, match="it returned other bytes") as caught:
        bucket.upload_object("k", Elsewhere(content, **source), part_size_bytes=PART_SIZE, **holds)
    assert (caught.value.status, caught.value.retryable, caught.value.outcome_unknown) == (409, True, False)
    assert store.objects == before
    assert not store.uploads


class IgnoresConditionsInParts(StrictStore):
    """A store that honours a condition on PutObject and ignores it on a completion, as radosgw does."""

    def _complete(self, asked: Asked, upload_id: str) -> Answer:
        headers = {name: value for name, value in asked.headers.items() if not name.startswith("if-")}
        return super()._complete(replace(asked, headers=headers), upload_id)


def copied_if_absent(bucket: S3Bucket) -> None:
    bucket["source"].copy_to("k", if_absent=True)


@pytest.mark.parametrize(
    "write",
    [
        lambda bucket: bucket.upload_object("k", LARGE, if_absent=True, part_size_bytes=PART_SIZE),
        lambda bucket: bucket.upload_object("k", iter([LARGE]), if_match="e", part_size_bytes=PART_SIZE),
        write_exclusively,
        copied_if_absent,
    ],
    ids=["if_absent", "if_match", "open('xb')", "copy_to"],
)
def test_no_part_is_sent_to_a_store_that_honours_conditions_on_small_objects_only(
    scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, write: Callable[[S3Bucket], object]
) -> None:
    """Otherwise all parts would be sent before the completion is refused."""
    monkeypatch.setattr(copying, "MAX_COPIED_AT_ONCE", 1)
    scripted_server.answer = store = IgnoresConditionsInParts()
    store.objects["source"] = Stored(LARGE, "e", {})
    with pytest.raises(S3Unsupported, match=r"multipart with .* Nothing was written"):
        write(scripted_server.bucket())
    assert not [what for what in scripted_server.whats if " k?" in what]
    assert list(store.objects) == ["source"]
    assert not store.uploads


CONDITIONAL: dict[str, Callable[[S3Bucket], object]] = {
    "put_object, if_absent": lambda bucket: bucket.put_object("k", b"x", if_absent=True),
    "put_object, if_match": lambda bucket: bucket.put_object("old", b"x", if_match=hashlib.md5(b"old").hexdigest()),
    "update": lambda bucket: bucket["old"].update(lambda body: b"new"),
    "delete": lambda bucket: bucket["old"].delete(if_match=hashlib.md5(b"old").hexdigest()),
    "move_to": lambda bucket: bucket["old"].move_to("k"),
    "upload_object, if_absent": lambda bucket: bucket.upload_object(
        "k", LARGE, if_absent=True, part_size_bytes=PART_SIZE
    ),
    "upload_object, if_match": lambda bucket: bucket.upload_object(
        "old", LARGE, if_match=hashlib.md5(b"old").hexdigest(), part_size_bytes=PART_SIZE
    ),
    "open('xb')": write_exclusively,
    "open('ab')": lambda bucket: bucket["old"].open("ab").close(),
    "copy_to, if_absent": copied_if_absent,
    "acquire_lock, release_lock": lambda bucket: (bucket.acquire_lock("l"), bucket.release_lock("l")),
}


@pytest.mark.parametrize("write", CONDITIONAL.values(), ids=CONDITIONAL)
def test_nothing_is_asked_about_conditions_on_aws(
    scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, write: Callable[[S3Bucket], object]
) -> None:
    """It honours them, in buckets with versioning too, and the credentials need not be allowed to ask."""
    monkeypatch.setattr(copying, "MAX_COPIED_AT_ONCE", 1)
    store = StatefulStore(scripted_server)
    store.put("old", b"old")
    store.put("source", LARGE)
    write(scripted_server.bucket(preset="aws"))
    assert not [asked.query for asked in scripted_server.asked if "versioning" in asked.query or ".mfs3-" in asked.key]


# -- checksums ---------------------------------------------------------------------------------------------------------------------
#
# A store that checks refuses a completion that names checksums with which the upload was not created (InvalidPart), and one that leaves
# out those with which it was (InvalidRequest).


def written_through_open(bucket: S3Bucket, **extra: Any) -> None:
    with bucket["k"].open("wb", **extra) as file:
        file.write(LARGE)


def appended(bucket: S3Bucket, **extra: Any) -> None:
    half = PART_SIZE + 1
    bucket.put_object("k", LARGE[:half])
    with bucket["k"].open("ab", **extra) as file:
        file.write(LARGE[half:])


def replaced(bucket: S3Bucket, **extra: Any) -> None:
    former = bucket.put_object("k", b"before")
    bucket.upload_object("k", LARGE, if_match=former.etag, part_size_bytes=PART_SIZE, **extra)


def copied(bucket: S3Bucket, **extra: Any) -> None:
    bucket.upload_object("source", LARGE, part_size_bytes=PART_SIZE)
    bucket["source"].copy_to("k", part_size_bytes=PART_SIZE, **extra)


IN_PARTS: dict[str, Callable[..., object]] = {
    "upload_object": lambda bucket, **extra: bucket.upload_object("k", LARGE, part_size_bytes=PART_SIZE, **extra),
    "upload_object, if_absent": lambda bucket, **extra: bucket.upload_object(
        "k", iter([LARGE]), if_absent=True, part_size_bytes=PART_SIZE, **extra
    ),
    "upload_object, if_match": replaced,
    "open('wb')": written_through_open,
    "open('ab')": appended,
    "copy_to": copied,
}


def with_resource(endpoint_url: str, **settings: Any) -> S3Bucket:
    """Return a bucket on the user's own boto3 resource."""
    config = Config(s3={"addressing_style": "path"}, **settings)
    session = boto3.Session("test", "test", region_name="us-east-1")
    return S3Bucket("bkt", session.resource("s3", endpoint_url=endpoint_url, config=config))


CLIENTS: dict[str, Callable[[ScriptedServer], S3Bucket]] = {
    "connect(preset='aws')": lambda scripted_server: scripted_server.bucket(preset="aws"),
    "connect()": lambda scripted_server: scripted_server.bucket(),
    "a resource of the user's": lambda scripted_server: with_resource(scripted_server.endpoint_url),
    "a resource that sends no checksums": lambda scripted_server: with_resource(
        scripted_server.endpoint_url, request_checksum_calculation="when_required"
    ),
}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("way", IN_PARTS)
def test_every_upload_in_parts_completes_on_a_store_that_checks_checksums(
    scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, way: str, client: str
) -> None:
    """With any client, whether or not it adds checksums."""
    monkeypatch.setattr(copying, "MAX_COPIED_AT_ONCE", 1)
    if "if_" in way and client != "connect(preset='aws')":
        pytest.skip("a conditional write begins with a probe there, which this store does not answer")
    scripted_server.answer = store = StrictStore()
    IN_PARTS[way](CLIENTS[client](scripted_server))
    assert store.objects["k"].body == LARGE
    assert not store.uploads


@pytest.mark.parametrize("way", IN_PARTS)
def test_the_checksum_algorithm_that_a_user_asks_for_is_used_for_every_part(
    scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Not boto3's default; the object has this checksum."""
    monkeypatch.setattr(copying, "MAX_COPIED_AT_ONCE", 1)
    scripted_server.answer = store = StrictStore()
    IN_PARTS[way](scripted_server.bucket(preset="aws"), ChecksumAlgorithm="SHA256")
    assert store.objects["k"].body == LARGE
    assert store.objects["k"].checksum == "sha256"


def test_a_checksum_of_the_whole_object_is_compared_when_the_upload_completes(scripted_server: ScriptedServer) -> None:
    """As in boto3's own transfers; a wrong one leaves no object and no parts."""
    scripted_server.answer = store = StrictStore()
    bucket = scripted_server.bucket(preset="aws")
    right = base64.b64encode(zlib.crc32(LARGE).to_bytes(4, "big")).decode()
    bucket.upload_object("k", LARGE, part_size_bytes=PART_SIZE, ChecksumCRC32=right)
    assert store.objects["k"].body == LARGE
    with pytest.raises(S3ChecksumError, match="BadDigest"):
        bucket.upload_object("other", LARGE, part_size_bytes=PART_SIZE, ChecksumCRC32="AAAAAA==")
    assert list(store.objects) == ["k"]
    assert not store.uploads


@pytest.mark.parametrize("way", ["upload_object", "open('wb')"])
@pytest.mark.parametrize(
    "asked_for", [{"ChecksumCRC64NVME": "AAAAAAAAAAA="}, {"ChecksumAlgorithm": "CRC64NVME"}], ids=["whole", "algorithm"]
)
def test_a_checksum_that_cannot_be_computed_for_parts_is_refused_before_anything_is_sent(
    scripted_server: ScriptedServer, way: str, asked_for: dict[str, str]
) -> None:
    """S3 requires it for each part; the error names what to install."""
    if s3_connection.Connection.can_compute("CRC64NVME"):
        pytest.skip("botocore can compute it here")
    scripted_server.answer = StrictStore()
    with pytest.raises(ImportError, match=r"CRC64NVME .* pip install 'botocore\[crt\]'"):
        IN_PARTS[way](scripted_server.bucket(preset="aws"), **asked_for)
    assert scripted_server.asked == []


def written_small(bucket: S3Bucket, **extra: Any) -> None:
    with bucket["k"].open("wb", **extra) as file:
        file.write(b"small")


def unchecked(bucket: S3Bucket, **extra: Any) -> None:
    bucket.upload_object("k", b"small", verify_checksum=False, **extra)


@pytest.mark.parametrize(
    "name", [{"ChecksumType": "FULL_OBJECT"}, {"MpuObjectSize": 5}], ids=["ChecksumType", "MpuObjectSize"]
)
@pytest.mark.parametrize("preset", ["aws", "other"])
@pytest.mark.parametrize(
    "write",
    [
        lambda bucket, **extra: bucket.put_object("k", b"small", **extra),
        lambda bucket, **extra: bucket.put_object("k", b"small", if_absent=True, **extra),
        lambda bucket, **extra: bucket.put_objects([("k", b"small")], **extra),
        lambda bucket, **extra: bucket.upload_object("k", b"small", **extra),
        unchecked,
        written_small,
    ],
    ids=[
        "put_object",
        "put_object, if_absent",
        "put_objects",
        "upload_object",
        "upload_object, unchecked",
        "open('wb')",
    ],
)
def test_multipart_parameters_are_accepted_by_small_writes(
    scripted_server: ScriptedServer, write: Callable[..., object], preset: Any, name: dict[str, Any]
) -> None:
    """Callers need not know the size beforehand. An MD5 is sent if boto3 sends no checksum."""
    scripted_server.answer = store = StrictStore()
    write(scripted_server.bucket(preset=preset), **name)
    assert store.objects["k"].body == b"small"
    [put] = [asked for asked in scripted_server.asked if asked.what == "PUT k"]
    assert ("content-md5" in put.headers) is (preset == "other" and write is not unchecked)


@pytest.mark.parametrize("way", ["upload_object", "open('wb')"])
def test_the_customer_key_and_the_payer_go_with_every_request_that_wants_them(
    scripted_server: ScriptedServer, way: str
) -> None:
    """A part without the customer key of its upload is refused."""
    scripted_server.answer = StrictStore()
    key = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32}
    IN_PARTS[way](scripted_server.bucket(preset="aws"), RequestPayer="requester", **key)
    for asked in scripted_server.asked:
        assert asked.headers["x-amz-request-payer"] == "requester", asked.what
        assert asked.headers["x-amz-server-side-encryption-customer-algorithm"] == "AES256", asked.what


@pytest.fixture
def checking(localstack: Server) -> Iterator[S3Bucket]:
    """A fresh bucket on LocalStack, which checks checksums."""
    client = localstack.client()
    name = f"t-{uuid.uuid4().hex[:16]}"
    client.create_bucket(Bucket=name)
    yield localstack.connect(preset="aws").bucket(name)
    for found in client.list_objects_v2(Bucket=name).get("Contents", ()):
        client.delete_object(Bucket=name, Key=found["Key"])
    client.delete_bucket(Bucket=name)


@pytest.mark.parametrize("algorithm", [{}, {"ChecksumAlgorithm": "SHA256"}], ids=["default", "SHA256"])
@pytest.mark.parametrize("way", [way for way in IN_PARTS if "if_match" not in way])
def test_every_upload_in_parts_completes_on_localstack(
    checking: S3Bucket, monkeypatch: pytest.MonkeyPatch, way: str, algorithm: dict[str, str]
) -> None:
    """LocalStack checks as AWS does (but knows no If-Match)."""
    monkeypatch.setattr(copying, "MAX_COPIED_AT_ONCE", 1)
    IN_PARTS[way](checking, **algorithm)
    assert checking["k"].size == len(LARGE)
    assert b"".join(checking["k"].iter_chunks()) == LARGE


@pytest.mark.parametrize("lane", [True, False], ids=["lane", "boto3"])
def test_an_upload_whose_key_xml_cannot_represent(scripted_server: ScriptedServer, lane: bool) -> None:
    """S3 repeats the key in its documents, as a reference that XML parsers reject. It is written once, and no parts are left."""

    def answer(asked: Asked) -> Answer:
        found = good(asked)
        if asked.method != "POST":
            return 200, {"ETag": f'"{hashlib.md5(asked.body).hexdigest()}"'}, b""
        assert isinstance(found, tuple)
        return found[0], found[1], found[2].replace(b"</", b"<Key>a&#x1;b\x02&#2;&#xFFFF;</Key></", 1)

    scripted_server.answer = lambda asked: content_of(asked, b"x") if asked.key == "k" else answer(asked)
    bucket = scripted_server.bucket(lane=lane, preset="aws")
    assert bucket.object("k").exists()
    scripted_server.asked.clear()
    bucket.upload_object("a\x01b", io.BytesIO(LARGE), part_size_bytes=PART_SIZE)
    assert [asked.method for asked in scripted_server.asked if "partNumber" not in asked.query] == ["POST", "POST"]


@pytest.mark.parametrize("lane", [True, False], ids=["lane", "boto3"])
def test_an_error_about_a_key_that_xml_cannot_represent(scripted_server: ScriptedServer, lane: bool) -> None:
    """It has its code, and is not taken for a truncated one."""
    missing = b"\n<Error><Code>NoSuchKey</Code><Message>gone</Message><Key>a&#x1;b</Key></Error>"
    scripted_server.answer = lambda asked: content_of(asked, b"x") if asked.key == "k" else (404, {}, missing)
    bucket = scripted_server.bucket(lane=lane)
    assert bucket.object("k").exists()
    with pytest.raises(S3NoSuchItem) as caught:
        _ = bucket.object("a\x01b").body
    assert (caught.value.code, caught.value.status) == ("NoSuchKey", 404)


def test_unfinished_uploads_whose_keys_xml_cannot_represent_are_aborted(scripted_server: ScriptedServer) -> None:
    """AWS encodes the keys if asked to; also the one at which the next page begins."""

    def answer(asked: Asked) -> Answer:
        if asked.method == "DELETE":
            return 204, {}, b""
        left = ["a\x01b c", "a+b"][sum(one.method == "DELETE" for one in scripted_server.asked) :]
        left = [key for key in left if key > asked.query.get("key-marker", "")]
        is_encoded = asked.query.get("encoding-type") == "url"
        written = [urllib.parse.quote_plus(key) if is_encoded else f"&#x{ord(key[1]):x};" for key in left[:1]]
        entries = "".join(f"<Upload><Key>{key}</Key><UploadId>U</UploadId></Upload>" for key in written)
        more = f"<IsTruncated>true</IsTruncated><NextKeyMarker>{written[0]}</NextKeyMarker>" if left[1:] else ""
        return document("ListMultipartUploadsResult", f"<EncodingType>url</EncodingType>{entries}{more}")

    scripted_server.answer = answer
    versions.abort_uploads(scripted_server.bucket(preset="aws")._address)
    aborted = [asked.key for asked in scripted_server.asked if asked.method == "DELETE"]
    assert aborted == ["a\x01b c", "a+b"]
