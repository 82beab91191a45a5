"""Reading back and in several places of an open file: what was read is kept, and reads near to it fetch more."""

from __future__ import annotations

import itertools
import random
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.scripted_server import Answer, Asked, ScriptedServer, content_of, refusal, run_scripted_server

import messageflux_s3 as s3
from messageflux_s3._files.kept_ranges import KeptRanges, Range
from messageflux_s3._files.reader import KEPT_BYTES, SMALL_BYTES

KIB, MIB = 1024, 1024 * 1024
BODY = random.Random(5).randbytes(24 * MIB)


@pytest.fixture
def bucket(scripted_server: ScriptedServer) -> s3.S3Bucket:
    scripted_server.answer = lambda asked: content_of(asked, BODY)
    return scripted_server.bucket()


def ranges(server: ScriptedServer) -> list[tuple[int, int]]:
    """Return the first and the last byte of each range that was requested."""
    ends = (asked.headers["range"].removeprefix("bytes=").split("-") for asked in server.asked)
    return [(int(first), int(last)) for first, last in ends]


def lengths(server: ScriptedServer) -> list[int]:
    return [last - first + 1 for first, last in ranges(server)]


def test_going_back_to_what_was_read_sends_no_request(scripted_server: ScriptedServer, bucket: s3.S3Bucket) -> None:
    places = [0, 20 * MIB, 9 * MIB + 7, 15 * MIB]
    with bucket["k"].open() as file:
        for place in places:
            file.seek(place)
            assert file.read(9_000) == BODY[place : place + 9_000]
        before = len(scripted_server.asked)
        for place in [*reversed(places), *places]:
            file.seek(place + 5)
            assert file.read(8_000) == BODY[place + 5 : place + 8_005]
        assert len(scripted_server.asked) == before == 4


def test_going_back_in_a_sequence_sends_no_request(scripted_server: ScriptedServer, bucket: s3.S3Bucket) -> None:
    """Also farther than Python's buffer reaches."""
    with bucket["k"].open() as file:
        while file.tell() < 4 * MIB:
            file.read(50_000)
        place = file.tell() - 3 * MIB
        file.seek(place)
        assert file.read(100_000) == BODY[place : place + 100_000]
    assert sum(first <= place <= last for first, last in ranges(scripted_server)) == 1


def test_two_columns_that_are_read_in_turn_take_few_requests(
    scripted_server: ScriptedServer, bucket: s3.S3Bucket
) -> None:
    """The longer each of them has been read, the more of it is fetched at a time; little is fetched twice or in vain."""
    begins, size, step = (2 * MIB, 11 * MIB), 3 * MIB, 10_000
    with bucket["k"].open() as file:
        for offset in range(0, size, step):
            for begin in begins:
                file.seek(begin + offset)
                assert file.read(step) == BODY[begin + offset : begin + offset + step]
    assert len(scripted_server.asked) <= 40
    assert sum(lengths(scripted_server)) <= 2 * size * 1.5


@pytest.mark.parametrize("stride", [4_000, 16_000, 24_000])
def test_reading_backwards_takes_few_requests(
    scripted_server: ScriptedServer, bucket: s3.S3Bucket, stride: int
) -> None:
    with bucket["k"].open() as file:
        for place in range(12 * MIB, 8 * MIB, -stride):
            file.seek(place)
            assert file.read(4_000) == BODY[place : place + 4_000]
    assert len(scripted_server.asked) <= 20
    assert sum(lengths(scripted_server)) <= 6 * MIB


def test_reading_each_of_many_records_takes_few_requests(scripted_server: ScriptedServer, bucket: s3.S3Bucket) -> None:
    """A part of each record is read, and the rest is passed over."""
    with bucket["k"].open() as file:
        for place in range(6 * MIB, 10 * MIB, 20_000):
            file.seek(place)
            assert file.read(500) == BODY[place : place + 500]
    assert len(scripted_server.asked) <= 20
    assert sum(lengths(scripted_server)) <= 6 * MIB


def test_a_zip_file_is_listed_and_read_in_few_requests(scripted_server: ScriptedServer) -> None:
    """Its directory is at the end, and read in small steps backwards and forwards."""
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number in range(300):
            archive.writestr(f"{number}.bin", BODY[number * 20_000 : (number + 1) * 20_000])
    scripted_server.answer = lambda asked: content_of(asked, packed.getvalue())
    with scripted_server.bucket()["k"].open() as file, zipfile.ZipFile(file) as archive:
        for number in (7, 150, 299, 7, 150, 299):
            assert archive.read(f"{number}.bin") == BODY[number * 20_000 : (number + 1) * 20_000]
    assert len(scripted_server.asked) <= 10


def test_an_error_of_what_was_read_ahead_is_not_raised_by_a_later_read(scripted_server: ScriptedServer) -> None:
    """The bytes are requested again: no read had asked for them when they could not be fetched."""
    is_down = False

    def answer(asked: Asked) -> Answer:
        first = int(asked.headers["range"].removeprefix("bytes=").split("-")[0])
        return refusal(503, "SlowDown") if is_down and first > 64 * KIB else content_of(asked, BODY)

    scripted_server.answer = answer
    with scripted_server.bucket(max_attempts=1)["k"].open() as file:
        is_down = True
        file.read(40 * KIB)  # begins to read ahead
        file.seek(10)
        is_down = False
        file.seek(12 * MIB)
        assert file.read(10) == BODY[12 * MIB :][:10]
        file.seek(70 * KIB)
        assert file.read(400 * KIB) == BODY[70 * KIB : 470 * KIB]


@pytest.mark.parametrize("lane", [True, False])
def test_an_object_replaced_where_the_store_sends_no_etag_any_more_raises_object_changed(
    scripted_server: ScriptedServer, lane: bool
) -> None:
    """The time of modification tells it; the store ignores If-Match."""
    is_replaced = False

    def answer(asked: Asked) -> Answer:
        answered = content_of(asked, BODY[::-1] if is_replaced else BODY)
        assert isinstance(answered, tuple)
        status, headers, body = answered
        if is_replaced:
            headers = {"Content-Range": headers["Content-Range"], "Last-Modified": "Sun, 22 Nov 2026 10:00:00 GMT"}
        return status, headers, body

    scripted_server.answer = answer
    with scripted_server.bucket(lane=lane)["k"].open() as file:
        file.read(10)
        is_replaced = True
        file.seek(12 * MIB)
        with pytest.raises(s3.S3ObjectChanged):
            file.read(10)


@pytest.fixture(scope="module")
def shared() -> Iterator[s3.S3Bucket]:
    with run_scripted_server() as server:
        server.answer = lambda asked: content_of(asked, BODY)
        yield server.bucket()


near = st.sampled_from([-64 * KIB, -SMALL_BYTES, -5_000, -1, 0, 1, 4_000, SMALL_BYTES, 40_000, 300_000])
jumps = st.one_of(near, near, st.integers(-len(BODY), len(BODY)))
sizes = st.sampled_from([1, 100, 4_096, SMALL_BYTES, 64 * KIB, 64 * KIB + 1, 300_000, 600_000, 3 * MIB])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(jumps, sizes), min_size=1, max_size=40), st.sampled_from([-1, 0]))
def test_reads_in_any_order_return_the_content(
    shared: s3.S3Bucket, reads: list[tuple[int, int]], buffering: int
) -> None:
    """With Python's buffer and without it."""
    with shared["k"].open(buffering=buffering) as file:
        place = 0
        for jump, size in reads:
            place = min(max(place + jump, 0), len(BODY))
            file.seek(place)
            piece = file.read(size) or b""
            assert piece == BODY[place : place + len(piece)]
            assert len(piece) == size or buffering == 0 or place + len(piece) == len(BODY)
            place += len(piece)


# -- the ranges themselves


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), max_size=40))
def test_kept_ranges_stay_within_the_limit_and_hold_those_used_last(added: list[tuple[int, int]]) -> None:
    kept = KeptRanges(50)
    for start, length in added:
        kept.add(Range(start, start + length, bytearray(range(start, start + length))))
        found = kept.find(start)
        assert found is not None
        assert found.content()[start - found.start] == start
        present: Callable[[int], Range | None] = kept.find
        ranges = {one.start: one for one in map(present, range(80)) if one is not None}
        assert sum(map(len, ranges.values())) <= 50
        for position in range(80):
            one = kept.find(position)
            before, after = kept.neighbours(position)
            if one is None:
                assert before is None or before.end <= position
                assert after is None or after.start > position
            else:
                assert one.content()[position - one.start] == position


def test_memory_of_a_dropped_range_is_used_once() -> None:
    kept = KeptRanges(10)
    pieces = [bytearray(6) for _ in range(3)]
    for start, piece in zip(itertools.count(0, 6), pieces, strict=False):
        kept.add(Range(start, start + 6, piece))
    assert kept.take_spare(5) is None
    assert kept.take_spare(6) is pieces[1]
    assert kept.take_spare(6) is None


def test_an_open_file_keeps_no_more_than_it_says(bucket: s3.S3Bucket) -> None:
    with bucket["k"].open(buffering=0) as file:
        for place in range(0, len(BODY), 600 * KIB):
            file.seek(place)
            file.read(400 * KIB)
        kept = file._kept  # type: ignore[union-attr]
        assert sum(map(len, kept._ranges.values())) <= KEPT_BYTES
