"""A thread pool whose functions see the context variables of the code that submits them, and none runs on after its end."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextvars import Context, copy_context
from threading import Condition, Lock, Thread, current_thread
from typing import Any, TypeVar

from .garbage_collection import is_collecting

Result = TypeVar("Result")


class ContextThreadPool(ThreadPoolExecutor):
    """A thread pool that runs each function in a copy of the context of its ``submit()``.

    Args:
        most: The largest number of threads.
        name: The beginning of the threads' names.
    """

    def __init__(self, most: int, name: str) -> None:
        super().__init__(most, name)
        self._changed = Condition(Lock())
        self._running: set[Thread] = set()
        self._has_ended = False

    def submit(self, fn: Callable[..., Result], /, *args: Any, **kwargs: Any) -> Future[Result]:
        return super().submit(self._run, copy_context(), fn, *args, **kwargs)

    def _run(self, context: Context, fn: Callable[..., Result], /, *args: Any, **kwargs: Any) -> Result:
        thread = current_thread()
        with self._changed:
            if self._has_ended:
                raise CancelledError
            self._running.add(thread)
        try:
            return context.run(fn, *args, **kwargs)
        finally:
            with self._changed:
                self._running.discard(thread)
                self._changed.notify_all()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        own = current_thread()
        # The last reference to an iteration may be dropped in one of the iteration's own threads, which cannot wait for itself.
        wait = wait and not is_collecting() and own not in self._threads and own not in self._running
        super().shutdown(wait, cancel_futures=cancel_futures)
        if wait:
            # An interrupt while submit() starts a thread leaves one that the executor does not know.
            with self._changed:
                self._has_ended = True
                while any(thread.is_alive() for thread in self._running):  # none of them is in a forked process
                    self._changed.wait()
