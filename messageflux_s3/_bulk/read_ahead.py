"""Parallel read-ahead: advance several iterators on threads, and consume them one after the other.

This module does not depend on queries or S3. The threads end with the iteration, even after an error.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextvars import copy_context
from threading import Condition, Thread, current_thread
from typing import Generic, TypeVar

from .._client.garbage_collection import is_collecting

Item = TypeVar("Item")


def side_by_side(sources: Sequence[Iterator[Item]], max_pending: int = 8) -> Generator[Item, None, None]:
    """Chain iterators that are advanced in parallel.

    Args:
        sources: The iterators, each advanced on a thread of its own; generators are closed at the end.
        max_pending: The largest number of items to buffer for each iterator.

    Returns:
        All items of the first iterator, then all of the second, and so on. An exception of an iterator is raised
        after the items that the iterator returned before it.

    Example:
        >>> from messageflux_s3._bulk.read_ahead import side_by_side
        >>> list(side_by_side([iter("ab"), iter("cd")]))
        ['a', 'b', 'c', 'd']
    """
    runners = [_Runner(source, max_pending) for source in sources]
    # Daemon threads: otherwise a program with an unfinished iteration would not exit, since the threads wait for their consumer.
    threads = [
        Thread(target=copy_context().run, args=(runner.run,), name="messageflux-s3-ahead", daemon=True)
        for runner in runners
    ]
    pid = os.getpid()
    try:
        for thread in threads:
            thread.start()
        for runner in runners:
            for item in runner.items():
                yield item
                if os.getpid() != pid:
                    raise RuntimeError(
                        "this iteration was started in the parent process, which has its threads; start a new iteration in this process"
                    )
    finally:
        if (
            os.getpid() == pid and not sys.is_finalizing()
        ):  # in a forked child the threads do not exist, and locks that they held are never released
            for runner in runners:
                runner.stop()
            # A thread that is not waited for ends by itself, and drops its source: the last reference to this iteration may be dropped in
            # one of the iteration's own threads.
            own, waits = current_thread(), not is_collecting()
            for thread, source in zip(threads, sources, strict=True):
                if thread is own or not waits:
                    continue
                if thread.ident is not None:
                    thread.join()
                if isinstance(source, Generator):
                    source.close()


class _Runner(Generic[Item]):
    """One iterator, and the buffer of its items."""

    def __init__(self, source: Iterator[Item], max_pending: int) -> None:
        self._source = source
        self._max_pending = max_pending
        self._given: deque[Item] = deque()
        self._changed = Condition()
        self._is_over = False
        self._is_stopped = False
        self._failure: BaseException | None = None

    def run(self) -> None:
        """Advance the iterator while the buffer has space. Runs on a thread."""
        try:
            for item in self._source:
                with self._changed:
                    self._given.append(item)
                    self._changed.notify_all()
                    self._changed.wait_for(lambda: self._is_stopped or len(self._given) < self._max_pending)
                    if self._is_stopped:
                        return
        except BaseException as failure:  # raised again in items()
            self._failure = failure
        finally:
            with self._changed:
                self._is_over = True
                self._changed.notify_all()

    def items(self) -> Iterator[Item]:
        """Yield the items of the iterator as they arrive."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._given or self._is_over)
                if not self._given:
                    break
                item = self._given.popleft()
                self._changed.notify_all()
            yield item
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Tell the thread to end."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
