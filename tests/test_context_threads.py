"""A thread pool that is left by an interrupt: nothing that was submitted runs on, or begins, after its end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from messageflux_s3._client.context_threads import ContextThreadPool

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
