"""Several iterators run ahead side by side, and are consumed one after the other.

This room knows iterators and threads; it knows neither queries nor S3. The threads end with the iteration, however that ends.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from threading import Condition, Thread
from typing import Generic, TypeVar

Item = TypeVar("Item")


def side_by_side(sources: Sequence[Iterator[Item]], room: int = 8) -> Generator[Item, None, None]:
    """Go through iterators in their order, all of them being advanced at the same time.

    Args:
        sources: The iterators, each advanced on a thread of its own; closed at the end where they can be.
        room: How many items each may be ahead.

    Returns:
        All items of the first iterator, then all of the second, and so on; what one raises is raised in its place.

    Example:
        >>> from messageflux_s3._bulk.read_ahead import side_by_side
        >>> list(side_by_side([iter("ab"), iter("cd")]))
        ['a', 'b', 'c', 'd']
    """
    runners = [_Runner(source, room) for source in sources]
    # Daemons: a program that ends holding a half consumed iteration would else wait for threads that wait for their consumer.
    threads = [Thread(target=runner.run, name="messageflux-s3-ahead", daemon=True) for runner in runners]
    pid = os.getpid()
    try:
        for thread in threads:
            thread.start()
        for runner in runners:
            for item in runner.items():
                yield item
                if os.getpid() != pid:
                    raise RuntimeError(
                        "this iteration was begun in the parent process, where its threads are; begin it anew in this one"
                    )
    finally:
        if (
            os.getpid() == pid and not sys.is_finalizing()
        ):  # else the threads are not there any more, whatever they hold
            for runner in runners:
                runner.stop()
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
            for source in sources:
                if isinstance(source, Generator):
                    source.close()


class _Runner(Generic[Item]):
    """One iterator, and what it gave so far."""

    def __init__(self, source: Iterator[Item], room: int) -> None:
        self._source = source
        self._room = room
        self._given: deque[Item] = deque()
        self._changed = Condition()
        self._is_over = False
        self._is_stopped = False
        self._failure: BaseException | None = None

    def run(self) -> None:
        """Advance the iterator as there is room; on a thread."""
        try:
            for item in self._source:
                with self._changed:
                    self._given.append(item)
                    self._changed.notify_all()
                    self._changed.wait_for(lambda: self._is_stopped or len(self._given) < self._room)
                    if self._is_stopped:
                        return
        except BaseException as failure:  # it is raised again where the items are consumed
            self._failure = failure
        finally:
            with self._changed:
                self._is_over = True
                self._changed.notify_all()

    def items(self) -> Iterator[Item]:
        """What the iterator gives, as it comes."""
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
        """Let the thread end."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
