"""Large downloads: parts that the fast lane receives, and what happens if it cannot, or if they cannot be written."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import tracemalloc
from pathlib import Path

import pytest
from support.scripted_server import Answer, Asked, ScriptedServer, content_of, refusal
from support.waiting import wait_until

from messageflux_s3 import RequestEvent, S3ChecksumError, S3ConnectionError, S3ObjectChanged
from messageflux_s3._files import download
from messageflux_s3._http.eligibility import USER_AGENT
from messageflux_s3._objects import operations, ranged_reader
from messageflux_s3._objects.parallelism import Parallelism

BODY = random.Random(5).randbytes(600_000)
PART = 100_000
MD5 = hashlib.md5(BODY).hexdigest()


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "ONE_REQUEST_BYTES", PART)
    monkeypatch.setattr(download, "PART_BYTES", PART)
    monkeypatch.setattr(download, "LEAST_PART_BYTES", PART)


def good(asked: Asked) -> Answer:
    return content_of(asked, BODY, MD5)


def ranges(scripted_server: ScriptedServer) -> list[Asked]:
    """Return the requests for ranges, in the order of their offsets."""
    found = [asked for asked in scripted_server.asked if "range" in asked.headers]
    return sorted(found, key=lambda asked: int(asked.headers["range"].removeprefix("bytes=").partition("-")[0]))


def is_of_lane(asked: Asked) -> bool:
    return asked.headers["user-agent"] == USER_AGENT


@pytest.mark.lane
def test_the_lane_receives_the_parts_after_the_first(scripted_server: ScriptedServer, tmp_path: Path) -> None:
    """Each is requested once, under the ETag of the first response; progress reports every byte."""
    scripted_server.answer = good
    told: list[int] = []
    scripted_server.bucket().download_file("k", tmp_path / "t", progress=told.append)
    assert (tmp_path / "t").read_bytes() == BODY
    assert sum(told) == len(BODY)
    assert "range" not in scripted_server.asked[0].headers
    assert [asked.headers["range"] for asked in ranges(scripted_server)] == [
        f"bytes={start}-{start + PART - 1}" for start in range(PART, len(BODY), PART)
    ]
    for asked in ranges(scripted_server):
        assert is_of_lane(asked)
        assert asked.headers["if-match"] == MD5
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


@pytest.mark.lane
def test_a_part_that_the_lane_received_incompletely_is_received_again(
    scripted_server: ScriptedServer, tmp_path: Path
) -> None:
    """Through boto3, from its beginning; progress reports every byte once, and observers what both attempts received."""
    asked_before: list[str] = []

    def answer(asked: Asked) -> Answer:
        whole = good(asked)
        asked_range = asked.headers.get("range", "")
        if asked_range.startswith("bytes=300000-") and asked_range not in asked_before:
            asked_before.append(asked_range)
            assert isinstance(whole, tuple)
            return whole[0], {**whole[1], "Content-Length": str(PART)}, whole[2][: PART // 2]
        return whole

    scripted_server.answer = answer
    told: list[int] = []
    bucket = scripted_server.bucket()
    events: list[RequestEvent] = []
    with bucket.store.on_request(events.append):
        bucket.download_file("k", tmp_path / "t", progress=told.append)
    assert (tmp_path / "t").read_bytes() == BODY
    assert sum(told) == len(BODY)
    assert min(told) >= 0
    assert sorted((event.attempts, event.bytes_received, event.error) for event in events) == [
        *[(1, PART, None)] * 5, (2, PART + PART // 2, None),
    ]  # fmt: skip
    again = [is_of_lane(asked) for asked in ranges(scripted_server) if "=300000-" in asked.headers["range"]]
    assert again == [True, False]


@pytest.mark.parametrize("lane", [pytest.param(True, marks=pytest.mark.lane), False])
@pytest.mark.parametrize("status", [429, 503])
def test_throttled_parts_are_requested_again_with_fewer_at_a_time(
    scripted_server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, lane: bool
) -> None:
    """Through boto3, whether the lane or boto3 has sent the first request."""
    troubles: list[object] = []
    monkeypatch.setattr(Parallelism, "note_trouble", lambda self: troubles.append(self))
    refused: list[Asked] = []

    def answer(asked: Asked) -> Answer:
        if not refused and "=300000-" in asked.headers.get("range", ""):
            refused.append(asked)
            return refusal(status, "SlowDown")
        return good(asked)

    scripted_server.answer = answer
    scripted_server.bucket(lane=lane, max_attempts=3).download_file("k", tmp_path / "t")
    assert (tmp_path / "t").read_bytes() == BODY
    assert [is_of_lane(asked) for asked in refused] == [lane]
    assert troubles


def test_an_object_replaced_between_two_parts_is_not_mixed(scripted_server: ScriptedServer, tmp_path: Path) -> None:
    """Neither if the store compares If-Match nor if it ignores it."""
    (tmp_path / "t").write_bytes(b"before")
    scripted_server.answer = lambda asked: (
        content_of(asked, BODY[::-1], "0" * 32) if "=300000-" in asked.headers.get("range", "") else good(asked)
    )
    bucket = scripted_server.bucket()
    with bucket.store.observe() as seen, pytest.raises(S3ObjectChanged):
        bucket.download_file("k", tmp_path / "t")
    wait_until(lambda: len(scripted_server.asked) >= seen.attempts)  # a part that was given up arrives after the end
    assert seen.attempts == len(scripted_server.asked)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"t": b"before"}


def test_a_part_that_falls_short_fails_the_download(
    scripted_server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file has its final size from the beginning, and would have zeros in place of the missing bytes."""
    monkeypatch.setattr(operations, "receive", lambda reader, start, sink, fallback: None)
    scripted_server.answer = good
    with pytest.raises(S3ConnectionError, match="100000 bytes early"):
        scripted_server.bucket().download_file("k", tmp_path / "t")
    assert [*tmp_path.iterdir()] == []


def test_a_full_disk_is_not_taken_for_a_broken_connection(
    scripted_server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is raised as it is; no part is requested again because of it, and no file is left."""
    write = os.pwrite

    def full(file: int, piece: bytes | memoryview, at: int) -> int:
        if at >= 300_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, piece, at)

    monkeypatch.setattr(os, "pwrite", full)
    scripted_server.answer = good
    with pytest.raises(OSError, match="No space left") as caught:
        scripted_server.bucket().download_file("k", tmp_path / "t")
    assert caught.value.errno == errno.ENOSPC
    asked = [asked.headers["range"] for asked in ranges(scripted_server)]
    assert len(asked) == len(set(asked))
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("error", [RuntimeError("enough"), ConnectionError("enough")])
def test_an_exception_of_the_progress_callback_ends_the_download(
    scripted_server: ScriptedServer, tmp_path: Path, error: Exception
) -> None:
    """Also one that looks like a network error."""

    def progress(count: int) -> None:
        raise error

    scripted_server.answer = good
    with pytest.raises(type(error), match="enough") as caught:
        scripted_server.bucket().download_file("k", tmp_path / "t", progress=progress)
    assert caught.value is error
    asked = [asked.headers["range"] for asked in ranges(scripted_server)]
    assert len(asked) == len(set(asked))
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("corrupted", [0, 350_000, len(BODY) - 1])
def test_a_corrupted_byte_in_any_part_is_detected(
    scripted_server: ScriptedServer, tmp_path: Path, corrupted: int
) -> None:
    """With verify_checksum=True, parts that the lane received are hashed like those of boto3."""
    other = bytearray(BODY)
    other[corrupted] ^= 1
    asked_whole: list[bool] = []

    def answer(asked: Asked) -> Answer:
        if "range" not in asked.headers:
            asked_whole.append(True)
        return content_of(asked, BODY if len(asked_whole) > 1 else bytes(other), MD5)

    scripted_server.answer = answer
    with pytest.raises(S3ChecksumError, match=MD5):
        scripted_server.bucket().download_file("k", tmp_path / "t", verify_checksum=True)
    assert [*tmp_path.iterdir()] == []


def test_an_object_without_an_etag_is_read_from_one_response(scripted_server: ScriptedServer, tmp_path: Path) -> None:
    """Nothing would tell whether it was replaced between two requests."""

    def answer(asked: Asked) -> Answer:
        whole = content_of(asked, BODY if len(scripted_server.asked) == 1 else BODY[::-1])
        assert isinstance(whole, tuple)
        return whole[0], {name: value for name, value in whole[1].items() if name != "ETag"}, whole[2]

    scripted_server.answer = answer
    scripted_server.bucket().download_file("k", tmp_path / "t")
    assert (tmp_path / "t").read_bytes() == BODY
    assert scripted_server.whats == ["GET k"]


@pytest.mark.lane
def test_a_store_that_misreads_conditions_is_asked_once_for_each_part(
    scripted_server: ScriptedServer, tmp_path: Path
) -> None:
    """Once that is known, the lane sends no If-Match either, and compares the ETag of the response."""
    scripted_server.answer = lambda asked: (
        refusal(412, "PreconditionFailed") if "if-match" in asked.headers else good(asked)
    )
    bucket = scripted_server.bucket()
    bucket._connection.facts[ranged_reader._MISREAD] = True
    bucket.download_file("k", tmp_path / "t")
    assert (tmp_path / "t").read_bytes() == BODY
    assert scripted_server.whats == ["GET k"] * (len(BODY) // PART)


@pytest.mark.parametrize(("size", "error"), [(10**11, S3ConnectionError), (10**25, OSError)])
def test_an_object_said_to_be_enormous_does_not_fill_the_memory(
    scripted_server: ScriptedServer, tmp_path: Path, size: int, error: type[OSError]
) -> None:
    """Its parts, of which there would be about a million, are not listed in advance."""

    def answer(asked: Asked) -> Answer:
        headers = {"ETag": '"e"', "Last-Modified": "Sat, 21 Nov 2026 05:00:00 GMT", "Content-Length": str(size)}
        wanted = asked.headers.get("range")
        if wanted is None:
            return 200, headers, bytes(1000)
        first, last = map(int, wanted.removeprefix("bytes=").split("-"))
        length, span = {"Content-Length": str(last + 1 - first)}, {"Content-Range": f"bytes {first}-{last}/{size}"}
        return 206, {**headers, **length, **span}, bytes(1000)

    scripted_server.answer = answer
    obj = scripted_server.bucket()["k"]
    tracemalloc.start()
    try:
        with pytest.raises(error):
            obj.download_to(tmp_path / "file")
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()
    assert [*tmp_path.iterdir()] == []
