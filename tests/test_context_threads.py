"""A thread pool that is left by an interrupt: nothing that was submitted runs on, or begins, after its end.

And what the garbage collector ends: nothing waits there, since the collector may have interrupted a thread that holds a lock.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from messageflux_s3._bulk import pipeline, read_ahead
from messageflux_s3._client.context_threads import ContextThreadPool
from messageflux_s3._client.garbage_collection import is_collecting

NAME = "interrupted"


def _interrupt_start(monkeypatch: pytest.MonkeyPatch, start: Callable[[threading.Thread], None]) -> None:
    """Let Thread.start() of a pool's thread be interrupted, as by Ctrl-C while it waits until the thread runs."""
    started = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        if not thread.name.startswith(NAME):
            return started(thread)
        start(thread)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    monkeypatch.setattr(threading.Thread, "original_start", started, raising=False)


def test_what_a_thread_does_whose_start_was_interrupted_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The executor of the standard library does not know this thread."""
    began, ended = threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        time.sleep(0.2)
        ended.set()

    def start(thread: threading.Thread) -> None:
        thread.original_start()  # type: ignore[attr-defined]
        assert began.wait(60)

    _interrupt_start(monkeypatch, start)
    with pytest.raises(KeyboardInterrupt), ContextThreadPool(1, NAME) as pool:
        pool.submit(work)
    assert ended.is_set()


def test_a_thread_that_begins_after_the_end_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[threading.Thread] = []
    done: list[int] = []
    _interrupt_start(monkeypatch, threads.append)
    with pytest.raises(KeyboardInterrupt), ContextThreadPool(1, NAME) as pool:
        pool.submit(done.append, 1)
    (thread,) = threads
    thread.original_start()  # type: ignore[attr-defined]
    thread.join(60)
    assert not thread.is_alive()
    assert done == []


def test_a_function_that_ends_its_own_pool_does_not_wait_for_itself() -> None:
    pool = ContextThreadPool(1, NAME)
    pool.submit(pool.shutdown).result(60)
    pool.shutdown()


# -- iterations that the garbage collector ends ------------------------------------------------------------------------------------------


def _of_pool(work: Callable[[], None]) -> Iterator[None]:
    """An iteration with a pool of its own, as those of ``_bulk`` and ``_files`` are."""
    pool = ContextThreadPool(1, NAME)
    pool.submit(work)
    try:
        yield
    finally:
        pool.shutdown()


def _of_map(work: Callable[[], None]) -> Iterator[None]:
    def function(item: int) -> None:
        if item:
            work()

    return iter(pipeline.run(function, [0, 1], in_flight=2))


def _of_read_ahead(work: Callable[[], None]) -> Iterator[None]:
    def source() -> Iterator[None]:
        yield
        work()

    return read_ahead.side_by_side([source()])


@pytest.mark.parametrize("begin", [_of_pool, _of_map, _of_read_ahead])
def test_the_collector_does_not_wait_for_the_threads_of_an_iteration(
    begin: Callable[[Callable[[], None]], Iterator[None]],
) -> None:
    """The thread whose work it interrupted may hold a lock that they need: here they did not end until it was released."""
    lock, began, collected = threading.Lock(), threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        with lock:
            pass

    def collect() -> None:
        with lock:
            iteration = begin(work)
            next(iteration)
            cycle: list[Any] = [iteration]
            cycle.append(cycle)
            assert began.wait(60)
            del iteration, cycle
            gc.collect()
            collected.set()

    gc.disable()  # the cycle is collected where the test says so
    try:
        thread = threading.Thread(target=collect, daemon=True)
        thread.start()
        assert collected.wait(60)
        thread.join(60)
    finally:
        gc.enable()


def test_only_the_thread_that_collects_counts_as_collecting() -> None:
    seen: list[tuple[bool, bool]] = []

    class Cycle:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            other = []
            thread = threading.Thread(target=lambda: other.append(is_collecting()))
            thread.start()
            thread.join(60)
            seen.append((is_collecting(), *other))

    Cycle()
    gc.collect()
    assert (seen, is_collecting()) == ([(True, False)], False)
