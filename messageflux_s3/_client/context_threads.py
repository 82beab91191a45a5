"""A thread pool whose functions see the context variables of the code that submits them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypeVar

Result = TypeVar("Result")


class ContextThreadPool(ThreadPoolExecutor):
    """A thread pool that runs each function in a copy of the context of its ``submit()``."""

    def submit(self, fn: Callable[..., Result], /, *args: Any, **kwargs: Any) -> Future[Result]:
        return super().submit(copy_context().run, fn, *args, **kwargs)
