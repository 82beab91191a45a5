"""An exception out of a signal handler may come at any line: it goes to the caller as it is, and the next request succeeds."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from support.cancellation import MOMENTS, cancelled
from support.stateful_server import StatefulServer, run_stateful_server

import messageflux_s3 as s3

PACKAGE = Path(s3.__file__).parent
TRACED = {str(path) for path in (PACKAGE / "_http").glob("*.py")}
KEYS = [f"k{number}" for number in range(2)]
MOST_LINES = 5000

pytestmark = pytest.mark.lane


class Interrupted(BaseException):
    """What the signal handler raises."""


@pytest.fixture(scope="module")
def server() -> Iterator[StatefulServer]:
    with run_stateful_server() as started:
        for key in [*KEYS, "other"]:
            started.state.put(key, f"content of {key}".encode() * 20)
        yield started


def bodies(*keys: str) -> list[bytes]:
    return [f"content of {key}".encode() * 20 for key in keys]


def run_and_raise_at_line(count: int, work: Callable[[], object]) -> bool:
    """Call a function, and raise at the n-th line executed in the traced modules; return whether that line was reached."""
    left = count

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if frame.f_code.co_filename not in TRACED:
            return None
        if event == "line":
            left -= 1
            if left == 0:
                raise Interrupted
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    except Interrupted:
        return True
    finally:
        sys.settrace(before)
    assert left > 0, "the exception was swallowed"
    return False


WORK: dict[str, Callable[[s3.S3Bucket], object]] = {
    "one request": lambda bucket: bucket.get_object("k0").body,
    "a stream": lambda bucket: [obj.body for obj in bucket.get_objects(KEYS)],
    "a listing": lambda bucket: [*bucket.find()],
}


@pytest.mark.parametrize("state", ["connected", "not connected", "closed after each answer"])
@pytest.mark.parametrize("work", WORK)
def test_after_an_exception_at_any_line_the_next_requests_succeed(
    server: StatefulServer, work: str, state: str
) -> None:
    """The exception arrives as it is; later single requests and streams on the lane return the right bytes."""
    store = server.connect()
    bucket = store.bucket("bkt")
    server.oddities = {"connections closed"} if state == "closed after each answer" else set()
    assert bucket.get_object("other").body == bodies("other")[0]
    count = 0
    was_reached = True
    while was_reached:
        count += 1
        assert count < MOST_LINES
        if state == "not connected":
            store._connection.lane.close()
        was_reached = run_and_raise_at_line(count, lambda: WORK[work](bucket))
        assert bucket.get_object("other").body == bodies("other")[0], count
        assert [obj.body for obj in bucket.get_objects(KEYS)] == bodies(*KEYS), count
        if work == "a listing":
            assert [obj.key for obj in bucket.find()] == sorted([*KEYS, "other"]), count
        server.asked.clear()
    assert count > 50
    assert store.lane.open
    store.close()


@pytest.mark.parametrize("moment", MOMENTS)
def test_after_a_cancellation_at_any_await_the_next_requests_succeed(server: StatefulServer, moment: str) -> None:
    """Connected or not; the next request receives its own response."""

    server.oddities = set()

    async def run() -> None:
        store = s3.AsyncS3Store(server.connect())
        bucket = store.bucket("bkt")
        assert (await bucket.get_object("other")).body == bodies("other")[0]
        for is_connected in (True, False):
            outcome, at = "cancelled", 0
            while outcome == "cancelled":
                at += 1
                if not is_connected:
                    store._engine.exchange.close()
                outcome = await cancelled(bucket.get_object("k0"), at, moment)
                assert (await bucket.get_object("other")).body == bodies("other")[0]
            assert outcome == "ended"
            assert at > 1
        await store.close()

    asyncio.run(run())
