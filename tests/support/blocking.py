"""Async handles that are called like synchronous ones, so that one test function runs on both models."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import messageflux_s3 as s3

_AFTER_LOAD = {
    "size", "etag", "last_modified", "storage_class", "metadata", "content_type", "content_encoding", "content_language",
    "content_disposition", "cache_control", "expires", "encryption", "kms_key_id", "checksums",
}  # fmt: skip
"""Properties of an object that an async handle has after ``load()``; the body of a large one is to be read with ``read()``."""


class Blocking:
    """An object of the async interface; what it would await has been awaited when a method returns.

    Async iterators are returned as lists, and handles as instances of this class.
    """

    def __init__(self, handle: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._handle = handle
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        if isinstance(self._handle, s3.AsyncS3Bucket) and name in ("region", "creation_date"):
            self._loop.run_until_complete(self._handle.load())
        if isinstance(self._handle, s3.AsyncS3Object):
            if name in _AFTER_LOAD:
                self._loop.run_until_complete(self._handle.load())
            if name in ("body", "text"):
                read: bytes = self._loop.run_until_complete(self._handle.read())
                return read if name == "body" else read.decode()
        return self._blocking(getattr(self._handle, name))

    def __getitem__(self, key: Any) -> Any:
        return self._blocking(self._handle[key])

    def __contains__(self, key: str) -> bool:
        return bool(self[key].exists())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._collected(self._handle))

    def __enter__(self) -> Blocking:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.run_until_complete(self._handle.__aexit__(kind, error, trace))

    def __str__(self) -> str:
        return str(self._handle)

    def _collected(self, source: Any) -> list[Any]:
        async def collect() -> list[Any]:
            return [entry async for entry in source]

        return [self._blocking(entry) for entry in self._loop.run_until_complete(collect())]

    def _blocking(self, value: Any) -> Any:
        """Return a value of the async interface as one that is used without ``await``."""
        if inspect.isawaitable(value):

            async def awaited() -> Any:
                return await value

            return self._blocking_handle(self._loop.run_until_complete(awaited()))
        return self._blocking_handle(value)

    def _blocking_handle(self, value: Any) -> Any:
        """Do the same for a value that is not to be awaited: an opened file and a lock can be awaited, but only once."""
        if type(value).__module__.startswith("messageflux_s3.aio") or isinstance(value, s3.AsyncClaimCheck):
            return Blocking(value, self._loop)
        if hasattr(value, "__aiter__"):
            return self._collected(value)
        if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
            return [self._blocking(entry) for entry in value]
        if inspect.ismethod(value):
            return lambda *args, **named: self._blocking(
                value(*map(_async, args), **{name: _async(given) for name, given in named.items()})
            )
        return value


def _async(value: Any) -> Any:
    """Return the async handle of a blocking one, and anything else unchanged."""
    if isinstance(value, list):
        return [_async(entry) for entry in value]
    return value._handle if isinstance(value, Blocking) else value
