"""Types of the content that callers pass, and of the targets of downloads."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Awaitable, Iterable, Mapping
from typing import Protocol, TypeAlias


class Readable(Protocol):
    """Anything with ``read(size)``: files, ``io.BytesIO``, HTTP responses, pipes; binary, or text that is encoded as UTF-8.

    A read may return less or more than the size; only an empty result is the end of the content.
    """

    def read(self, size: int, /) -> bytes | bytearray | memoryview | str | None:
        """Return the next bytes or characters; None (data not ready) makes the upload raise BlockingIOError."""


class AsyncReadable(Protocol):
    """Anything whose ``read(size)`` is a coroutine function: an async file, Starlette's ``UploadFile``."""

    def read(self, size: int, /) -> Awaitable[bytes | bytearray | memoryview | str]:
        """Return the next bytes or characters; nothing at the end."""


class Writable(Protocol):
    """Anything with ``write``: files, ``io.BytesIO``, file objects of sockets, compressors."""

    def write(self, data: memoryview, /) -> int | None:
        """Write bytes, and return how many were written; None means all of them.

        From an ``io.RawIOBase`` in non-blocking mode None means that nothing was written, which raises BlockingIOError.
        """


BytesLike: TypeAlias = bytes | bytearray | memoryview
"""Bytes in memory."""

Data: TypeAlias = BytesLike | str
"""Content in memory: bytes, or text that is encoded as UTF-8."""

Body: TypeAlias = Data | Readable
"""The content of one write: in memory, or a readable of any size."""

UploadSource: TypeAlias = Body | os.PathLike[str] | Iterable[Data]
"""The content of an upload: as for a write, or the path of a file, or an iterable of pieces."""

AsyncSource: TypeAlias = AsyncReadable | AsyncIterable[Data]
"""The content of a write or an upload under asyncio that is read in the event loop."""


def check_body(data: object, argument: str) -> None:
    """Validate the type of a write's content before anything is sent.

    Raises:
        TypeError: The content is neither bytes-like nor text nor a readable; the message names the argument and, if
            there is one, the method that takes such content.
    """
    if not isinstance(data, (bytes, str, bytearray, memoryview)) and not hasattr(data, "read"):
        raise TypeError(f"{argument} must be bytes, text or a readable, not {type(data).__name__}{where_taken(data)}")


def where_taken(data: object) -> str:
    """Return the end of an error message: the method of a bucket that takes content of this type; empty if none does."""
    if isinstance(data, os.PathLike):
        return ": bucket.upload_file(path, key) uploads a file"
    if isinstance(data, Mapping):
        return ": bucket.put_json(key, value) writes it as JSON"
    if isinstance(data, (list, tuple)):
        return ": bucket.put_json(key, value) writes it as JSON, bucket.upload_object(key, stream) uploads its items, if they are bytes"
    if isinstance(data, (set, frozenset)) or not isinstance(data, Iterable):
        return ""
    return ": bucket.upload_object(key, stream) uploads an iterable of bytes"
