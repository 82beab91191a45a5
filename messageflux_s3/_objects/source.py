"""Source: reads the data to upload, of any supported type, in buffers of an exact size.

Bytes, text, paths, readables and iterators of pieces are all read through :class:`Source`.
"""

from __future__ import annotations

import codecs
import io
import mmap
import os
import stat
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

_TEXT_CHARACTERS = 256 * 1024
"""How many characters are read from a text readable at once; they are up to four times as many bytes."""

_READ_AHEAD = (codecs.StreamReader, codecs.StreamReaderWriter, codecs.StreamRecoder)
"""Readables whose tell() is the position of the underlying file, after the buffered data: seeking to it would skip that data."""
_NAMED_FILE = "tempfile", "_TemporaryFileWrapper"
_HTTP_RESPONSE = "http.client", "HTTPResponse"


def as_bytes(data: Any, message: str) -> bytes | memoryview:
    """Return text as UTF-8, and bytes-like data as a flat view of its bytes (or a copy if it is not contiguous).

    Args:
        data: ``bytes``, ``bytearray``, a ``memoryview`` of any format and shape, or ``str``.
        message: The beginning of the ``TypeError``'s message; the type's name is added.

    Raises:
        TypeError: The data is neither bytes nor text.
        UnicodeEncodeError: The text holds a lone surrogate, which UTF-8 cannot represent.
    """
    if isinstance(data, bytes):
        return data
    if isinstance(data, str):
        return data.encode("utf-8")
    if isinstance(data, (bytearray, memoryview)):
        view = memoryview(data)
        try:
            return view.cast("B")
        except (
            TypeError,
            ValueError,
        ):  # not contiguous, a dimension of length 0, or a format that cast() does not know
            return view.tobytes()
    raise TypeError(f"{message}, not {type(data).__name__}")


class Source:
    """A source of bytes that is read in buffers of an exact size.

    Memory is bounded by the buffer's size and the largest piece of the source. As a context manager it closes the file that it opened for a
    path, but not the user's readable.

    Args:
        given: A path (``os.PathLike``), bytes, text (encoded as UTF-8), a binary or text readable (read from its current position), or
            an iterable of bytes or text. A readable may return fewer or more bytes than requested; only an empty result ends it.

    Attributes:
        size: The number of bytes at the start, or None if that is uncertain. It is known for bytes, text, regular files, ``io.BytesIO``,
            ``mmap`` and HTTP responses with a length. A file that grows may yield more.

    Raises:
        TypeError: ``given`` has none of these types.
        OSError: The file of a path cannot be opened.
    """

    def __init__(self, given: Any) -> None:
        self.size: int | None = None
        self._given = given
        self._pieces: Iterator[Any] | None = None
        self._readable: Any = None
        self._opened: Any = None
        self._whole: bytes | memoryview | None = None
        self._start: Any = None  # initial position of a seekable readable
        self._gives_text = False
        self._is_at_end = False
        self._ahead: deque[bytes | bytearray | memoryview] = deque()  # read from the source, not yet returned
        self._descriptor: int | None = None  # file descriptor of a regular file with a known size
        self._written_at: int | None = None  # for a path: when its file was last written, in nanoseconds
        if isinstance(given, os.PathLike):
            self._readable = self._opened = Path(given).open("rb", buffering=0)  # noqa: SIM115 - closed by close()
            self._find_position()
            if self._descriptor is not None:
                self._written_at = os.fstat(self._descriptor).st_mtime_ns
        elif isinstance(given, (bytes, bytearray, memoryview, str)):
            self._whole = as_bytes(given, "")
            self.size = len(self._whole)
            self._ahead.append(self._whole)
        elif hasattr(given, "read"):
            self._readable = given
            self._gives_text = hasattr(given, "encoding")
            self._find_position()
        elif isinstance(given, Iterable) and not isinstance(given, (Mapping, set, frozenset)):
            self._pieces = iter(given)
        else:
            raise TypeError(
                "stream must be a path (pathlib.Path), bytes, text, a readable or an iterable of bytes, "
                f"not {type(given).__name__}{_why_refused(given)}"
            )

    def _find_position(self) -> None:
        """Set ``size`` and the start position of a readable without seeking.

        A seek to the end and back would make gzip decompress everything twice, and would fail half-way for gzip over a pipe, which claims
        to be seekable.
        """
        readable = self._readable
        self.size = self._bytes_left(readable.file if _name_of_type(readable) == _NAMED_FILE else readable)
        if isinstance(readable, _READ_AHEAD):
            return
        try:
            if not hasattr(readable, "seekable") or readable.seekable():  # mmap has no seekable() before Python 3.13
                self._start = readable.tell()
        except Exception:  # a user's readable may raise anything: then it can be read only once
            return

    def _bytes_left(self, readable: Any) -> int | None:
        """Return how many bytes a readable has left; None if its exact type is not a known one, since subclasses may behave differently."""
        kind = type(readable)
        try:
            if kind is io.BytesIO:
                start = readable.tell()
                end = readable.seek(0, io.SEEK_END)
                readable.seek(start)
                return max(0, int(end) - int(start))
            if kind is mmap.mmap:
                return max(0, len(readable) - int(readable.tell()))
            if _name_of_type(readable) == _HTTP_RESPONSE:
                return readable.length if isinstance(readable.length, int) else None
            raw = readable.raw if kind in (io.BufferedReader, io.BufferedRandom) else readable
            if type(raw) is io.FileIO:
                found = os.fstat(raw.fileno())
                if stat.S_ISREG(found.st_mode):
                    self._descriptor = raw.fileno()
                    return max(0, found.st_size - int(readable.tell()))
        except (OSError, ValueError):  # closed, or without a position: reading will raise the error
            pass
        return None

    def check_end(self, count: int, name: str) -> None:
        """Check, when the source is at its end, that what was read is its content at one time.

        The file of a path may grow meanwhile, as logs do. A readable of the user's may write what it has buffered when it is read.

        Args:
            count: The number of bytes read.
            name: What the source is, for the error.

        Raises:
            OSError: The source ended before its initial size, or its file was written meanwhile and did not grow.
        """
        if self._is_cut(count):
            raise OSError(f"{name} ended after {count:,} of {self.size:,} bytes: it was cut while it was read")
        if self._written_at is not None and self._descriptor is not None and self.size is not None:
            now = os.fstat(self._descriptor)
            if now.st_mtime_ns != self._written_at and now.st_size <= self.size:
                raise OSError(f"{name} was written while it was read: what was read may be partly old and partly new")

    def _is_cut(self, count: int) -> bool:
        """Return whether the source ended after fewer bytes than its initial size.

        Files in /sys have less content than the size that they report, and no blocks: they do not count as cut.
        """
        if self.size is None or count >= self.size:
            return False
        if self._descriptor is None or self._start is None or self.size > mmap.PAGESIZE:
            return True
        now = os.fstat(self._descriptor)
        return now.st_size < self._start + self.size or getattr(now, "st_blocks", 1) != 0

    def take(self, size: int) -> bytes | bytearray:
        """Return the next ``size`` bytes; fewer only at the end, and none after it.

        Raises:
            BlockingIOError: The readable is in non-blocking mode and has no data now.
            TypeError: The source returned neither bytes nor text.
        """
        if size <= 0:
            return b""
        first = self._next(size)
        if len(first) >= size:  # no copy if the source returned bytes of exactly this size
            return self._cut(first, size)
        buffer = bytearray(first)
        while len(buffer) < size:
            if self._pieces is not None and not self._ahead:
                self._gather(buffer, size)
                break
            piece = self._next(size - len(buffer))
            if not piece:
                break
            buffer += self._cut(piece, size - len(buffer))
        # A piece other than bytes may be a view of a buffer that the source has overwritten since.
        return first if isinstance(first, bytes) and len(buffer) == len(first) else buffer

    def is_at_end(self) -> bool:
        """Return whether nothing is left. Reads ahead a little to find out."""
        if not self._ahead:
            piece = self._next(1)
            if piece:
                self._ahead.appendleft(piece)
        return not any(len(piece) for piece in self._ahead)

    def put_back(self, taken: bytes | bytearray) -> None:
        """Put back the buffer that was taken last; the next :meth:`take` begins with it."""
        self._ahead.appendleft(taken)

    def rewind(self) -> bool:
        """Seek to the initial position, so that the source can be read again.

        Returns:
            Whether that is possible: for bytes, text, paths and seekable readables, not for iterators, pipes and sockets.
        """
        if self._whole is not None:
            self._ahead = deque([self._whole])
            return True
        if self._readable is None or self._start is None:
            return False
        try:
            self._readable.seek(self._start)
        except Exception:  # for example gzip over a pipe, which claims to be seekable
            return False
        self._ahead.clear()
        self._is_at_end = False
        return True

    def close(self) -> None:
        """Close the file that was opened for a path, and release views of the user's buffer, so that it can be resized."""
        if self._opened is not None:
            self._opened.close()
        for view in (self._whole, *self._ahead):
            if isinstance(view, memoryview):
                view.release()
        self._ahead.clear()

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _next(self, wanted: int) -> bytes | bytearray | memoryview:
        """Return the next piece, of any size; empty only at the end."""
        while self._ahead:
            if piece := self._ahead.popleft():
                return piece
        if self._is_at_end:
            return b""
        if self._pieces is not None:
            for given in self._pieces:
                if found := _piece(given):
                    return found
        elif self._readable is not None:
            given = self._readable.read(min(wanted, _TEXT_CHARACTERS) if self._gives_text else wanted)
            if given is None:
                raise BlockingIOError("the source is in non-blocking mode and has no data now; pass a blocking one")
            if isinstance(given, str):
                self._gives_text, self.size = True, None
            if found := _piece(given, "read() of a source to upload must return bytes or text"):
                return found
        self._is_at_end = True
        return b""

    def _gather(self, buffer: bytearray, size: int) -> None:
        """Fill a buffer from an iterator, in one loop without a method call for each piece: pieces may be tiny."""
        if self._pieces is None or self._is_at_end:
            return
        left = size - len(buffer)
        for given in self._pieces:
            piece = given if type(given) is bytes else _piece(given)
            count = len(piece)
            if count >= left:
                buffer += self._cut(piece, left)
                return
            buffer += piece
            left -= count
        self._is_at_end = True

    def _cut(self, piece: bytes | bytearray | memoryview, size: int) -> bytes | bytearray:
        """Return the first ``size`` bytes of a piece and keep the rest for later."""
        if len(piece) > size:
            view = memoryview(piece)
            self._ahead.appendleft(view[size:])
            piece = view[:size]
        return bytes(piece) if isinstance(piece, memoryview) else piece


def _why_refused(given: Any) -> str:
    """Return the reason why an iterable is not accepted as a source: iterating over it does not give its content."""
    if isinstance(given, Mapping):
        return "; put_json() stores it as JSON"
    return ": its order is not defined" if isinstance(given, (set, frozenset)) else ""


def _name_of_type(given: Any) -> tuple[str, str]:
    """Return the module and name of an object's type, to recognise types without importing their modules."""
    return type(given).__module__, type(given).__qualname__


def _piece(given: Any, message: str = "an iterable to upload must give bytes or text") -> bytes | memoryview:
    """Check one piece that an iterator or ``read()`` returned, and return it as bytes or a view.

    A bytearray is copied, since a view would prevent its owner from resizing it.
    """
    return bytes(given) if isinstance(given, bytearray) else as_bytes(given, message)
