"""A thread pool whose functions see the context variables of the code that submits them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from threading import current_thread
from typing import Any, TypeVar

Result = TypeVar("Result")


class ContextThreadPool(ThreadPoolExecutor):
    """A thread pool that runs each function in a copy of the context of its ``submit()``."""

    def submit(self, fn: Callable[..., Result], /, *args: Any, **kwargs: Any) -> Future[Result]:
        return super().submit(copy_context().run, fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        # The garbage collector may close an iteration in any thread, also in one of the iteration's own, which cannot wait for itself.
        super().shutdown(wait and current_thread() not in self._threads, cancel_futures=cancel_futures)
