"""An exception out of a signal handler may come at any line: it goes to the caller as it is, and the next request succeeds."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from support.cancellation import MOMENTS, cancelled
from support.scripted_server import Answer, Asked
from support.stateful_server import StatefulServer, run_stateful_server

import messageflux_s3 as s3
from messageflux_s3._bulk import progress
from messageflux_s3._client.context_threads import ContextThreadPool
from messageflux_s3._files import partial_file, upload, writer
from messageflux_s3._objects import multipart
from messageflux_s3._objects.multipart import MultipartUpload

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


# -- threads, uploads in parts, batches ------------------------------------------------------------------------------------------------


class Slow:
    """Delays the writes on a server, and notes when each of them began and ended.

    Args:
        server: The server.
        is_first_delayed: Whether the first write is delayed too.
        seconds: The delay.

    Attributes:
        events: ``"begins"`` or ``"ends"``, and the request.
        has_begun: Set when the first write arrives.
    """

    def __init__(self, server: StatefulServer, *, is_first_delayed: bool = True, seconds: float = 0.2) -> None:
        self.events: list[tuple[str, str]] = []
        self.has_begun = threading.Event()
        self._is_first_delayed = is_first_delayed
        self._seconds = seconds
        self._state = server.state
        self._state.before, self._state.after = self._before, self._after

    def _before(self, asked: Asked) -> Answer:
        if asked.method in ("PUT", "DELETE"):
            self.events.append(("begins", asked.what))
            is_delayed = self._is_first_delayed or self.has_begun.is_set()
            self.has_begun.set()
            if asked.method == "PUT" and is_delayed:
                time.sleep(self._seconds)
        return None

    def _after(self, asked: Asked) -> bool:
        if asked.method in ("PUT", "DELETE"):
            self.events.append(("ends", asked.what))
        return False

    @property
    def under_way(self) -> int:
        """The number of writes that have begun and not ended."""
        kinds = [kind for kind, _ in [*self.events]]
        return kinds.count("begins") - kinds.count("ends")


@pytest.fixture
def fresh_server() -> Iterator[StatefulServer]:
    with run_stateful_server() as started:
        yield started


PART = b"x" * 1000


def test_no_part_is_sent_after_the_end_of_an_upload_whose_thread_was_interrupted_at_its_start(
    fresh_server: StatefulServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The upload does not know this part. A store may keep a part that arrives after the abort."""
    slow = Slow(fresh_server)
    bucket = fresh_server.bucket()
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        if thread.name.startswith("messageflux-s3-parts"):
            assert slow.has_begun.wait(60)
            raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt), MultipartUpload(bucket._address.object("k")) as upload:
        upload.add_part(PART)
    assert [kind for kind, _ in slow.events] == ["begins", "ends", "begins", "ends"]
    assert [what for _, what in slow.events[1:3]] == ["PUT k?partNumber&uploadId", "DELETE k?uploadId"]
    assert fresh_server.state.uploads == {}


@pytest.mark.parametrize("moment", ["while it waits for the parts", "while it sends the request"])
def test_an_interrupted_abort_aborts_the_upload_all_the_same(
    fresh_server: StatefulServer, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    bucket = fresh_server.bucket()
    upload = MultipartUpload(bucket._address.object("k"))
    upload.add_part(PART)
    upload.settle()
    left = [True]
    connection = type(bucket._connection)
    owner, name = (ContextThreadPool, "shutdown") if moment == "while it waits for the parts" else (connection, "call")
    original = getattr(owner, name)

    def interrupt(*arguments: Any, **named: Any) -> Any:
        if left and left.pop():
            raise KeyboardInterrupt
        return original(*arguments, **named)

    monkeypatch.setattr(owner, name, interrupt)
    with pytest.raises(KeyboardInterrupt):
        upload.abort()
    assert fresh_server.state.uploads == {}


def test_an_interrupt_after_the_creation_of_an_upload_leaves_none(
    fresh_server: StatefulServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("messageflux_s3._objects.multipart.first_for", interrupt)
    with pytest.raises(KeyboardInterrupt), MultipartUpload(fresh_server.bucket()._address.object("k")) as upload:
        upload.add_part(PART)
    assert fresh_server.state.uploads == {}


@pytest.mark.parametrize("work", ["put_objects", "copy_to"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_no_write_of_a_batch_goes_on_after_its_progress_has_raised(
    fresh_server: StatefulServer, monkeypatch: pytest.MonkeyPatch, work: str, error: type[BaseException]
) -> None:
    """Not even while the exception is kept, as in a notebook: its traceback references the iterator over the outcomes."""
    monkeypatch.setattr(progress, "_ITEMS_A_REPORT", 1)
    bucket = fresh_server.bucket(lane=False)
    for number in range(30):
        fresh_server.state.put(f"from/{number:02}", b"1")
    items = ((f"to/{number}", b"1") for number in range(30))
    slow = Slow(fresh_server, is_first_delayed=False)

    def report(_: int) -> None:
        raise error

    with pytest.raises(error) as kept:
        if work == "put_objects":
            bucket.put_objects(items, progress=report)
        else:
            bucket.find("from/").copy_to(bucket, "to/", progress=report)
    assert slow.under_way == 0
    count = len(slow.events)
    time.sleep(0.3)
    assert len(slow.events) == count
    del kept


SMALL = 64 * 1024
CONTENT = bytes(range(256)) * (SMALL // 256 * 4)
CALLS_TRACED = {
    str(PACKAGE / name) for name in ("_files/writer.py", "_files/upload.py", "_objects/multipart.py", "_bulk/batch.py")
}
NOT_TRACED = ("__exit__", "__del__", "drop")
"""Functions in which no exception is raised: at the call of ``__exit__`` nothing of it runs, and Python ignores those of ``__del__``."""


def write_file(bucket: s3.S3Bucket, _: Path) -> None:
    with bucket.object("k").open("wb") as file:
        for start in range(0, len(CONTENT), 50_000):
            file.write(CONTENT[start : start + 50_000])


def upload_file(bucket: s3.S3Bucket, path: Path) -> None:
    bucket.upload_file(path, "k")


def put_objects(bucket: s3.S3Bucket, _: Path) -> None:
    bucket.put_objects((f"to/{number}", b"1") for number in range(20))


def run_and_raise_at_call(count: int, work: Callable[[], object]) -> BaseException | None:
    """Call a function, and raise at the n-th call in the traced modules; return the exception, None if that call was not reached.

    Calls in :data:`NOT_TRACED` are left out.
    """
    left = count

    def profile(frame: FrameType, event: str, _: Any) -> None:
        nonlocal left
        code = frame.f_code
        if sys.version_info < (3, 11) and frame.f_lasti >= 0:
            return  # a generator that goes on: Python 3.10 would run none of its finally blocks, as it does for a signal
        if event == "call" and code.co_filename in CALLS_TRACED and code.co_name not in NOT_TRACED:
            left -= 1
            if left == 0:
                raise Interrupted

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        work()
    except Interrupted as error:
        return error
    finally:
        sys.setprofile(before)
    assert left > 0, "the exception was swallowed"
    return None


@pytest.mark.parametrize("work", [write_file, upload_file, put_objects])
def test_after_an_exception_at_any_call_no_write_is_under_way_and_no_upload_is_left(
    fresh_server: StatefulServer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    work: Callable[[s3.S3Bucket, Path], None],
) -> None:
    """The object is the former or the complete new one. The exception is kept, as in a notebook."""
    for module in (multipart, writer, upload):
        for name in ("MIN_PART_BYTES", "PART_BYTES", "THRESHOLD_BYTES"):
            monkeypatch.setattr(module, name, SMALL, raising=False)
    monkeypatch.setattr(upload, "_MEBIBYTE", 1)
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    state = fresh_server.state
    bucket = fresh_server.bucket(lane=False)
    work(bucket, path)
    slow = Slow(fresh_server, seconds=0.002)
    count = 0
    error: BaseException | None = Interrupted()
    while error is not None:
        count += 1
        state.clear()
        state.put("k", b"former")
        error = run_and_raise_at_call(count, lambda: work(bucket, path))
        assert slow.under_way == 0, count
        assert state.body("k") in (b"former", CONTENT), count
        assert not state.uploads, count
    assert count > 30


@pytest.mark.skipif(partial_file._fcntl is None, reason="files are not locked on Windows")
def test_a_download_that_was_interrupted_while_it_locked_its_file_can_be_resumed(
    fresh_server: StatefulServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The lock ends with the interrupt: else this process could not resume the download, and would leave the file."""
    fresh_server.state.put("k", b"content")
    bucket = fresh_server.bucket()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("os.path.samestat", interrupt)
        bucket.object("k").download_to(tmp_path / "file", resume=True)
    bucket.object("k").download_to(tmp_path / "file", resume=True)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"content")]
