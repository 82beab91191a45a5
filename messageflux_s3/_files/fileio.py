"""An object as a file: the seekable reader and the streaming writer behind ``open()``.

This room knows a connection, a bucket's name, a key and perhaps a version; it knows no handles. What comes out is a file in Python's own
sense: ``io.BufferedReader`` over a raw reader, ``io.TextIOWrapper`` over either, so that whatever takes a file takes an object.

**Reading.** One GET opens: it tells the size and the etag, and brings the first 64 KiB. From then on every range is asked for under
If-Match with that etag: nobody ever reads a mixture of two objects. Random reads fetch what was asked for. Sequential reads
fetch ahead, twice as much each time, up to 32 MiB; the ranges arrive in a few threads that belong to the file and end with it.

**Writing.** Content up to 8 MiB is one PUT; more of it streams out in parts. Either way nothing is visible before the file is closed, and
nothing is left if the ``with`` block raises.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import logging
import operator
import os
import sys
import tempfile
import threading
import time
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import IO, Any, Literal, NamedTuple, cast
from urllib.parse import quote

from .._client.connection import Connection
from .._formats import etags
from .._formats import metadata as user_metadata
from .._formats.head import Head
from .._http.lane import LaneRequest, LaneResponse
from .._objects import attributes, checksum, conditional, operations, put_parameters, ranged_reader
from .._objects.condition_probe import Ability
from .._objects.multipart import MIN_PART_BYTES, MultipartUpload
from .._objects.source import as_bytes
from ..errors import (
    S3ConnectionError,
    S3Error,
    S3NoSuchItem,
    S3ObjectChanged,
    S3ObjectExists,
    S3PreconditionFailed,
    S3ServerError,
    S3Unsupported,
)

logger = logging.getLogger("messageflux_s3")

FIRST_BYTES = 64 * 1024
PART_BYTES = 8 * 1024 * 1024
"""What is larger is written, and read at one go, in several requests side by side."""
MAX_AHEAD_BYTES = 32 * 1024 * 1024
BUFFER_BYTES = 64 * 1024
SMALL_BYTES = 16 * 1024
"""What a random read brings at the least."""

_FIRST_AHEAD_BYTES = 256 * 1024
_PIECE_BYTES = 256 * 1024
_THREADS = 4
_ATTEMPTS_TO_READ_BASE = 5
_COPIED_PART_BYTES = 512 * 1024 * 1024


def open_object(
    connection: Connection,
    bucket_name: str,
    key: str,
    mode: str = "rb",
    *,
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    version_id: str | None = None,
    if_match: str | None = None,
    metadata: Mapping[str, str] | None = None,
    **extra: Any,
) -> IO[Any]:
    """Open an object like a file; arguments as for the builtin ``open``.

    Args:
        connection: The way to the store.
        bucket_name: The bucket.
        key: The key.
        mode: ``r``, ``w``, ``x`` (create only) or ``a``, with ``b`` for bytes or ``t`` for text.
        buffering: 0 for none (bytes only), 1 for lines (text only), else the size of the reader's buffer.
        encoding: Of text; UTF-8 unless told.
        errors: What to do about text that cannot be decoded or encoded, as for the builtin.
        newline: As for the builtin.
        version_id: The version to read.
        if_match: The etag that what is read must have.
        metadata: The metadata to write.
        extra: Further parameters of a write (:class:`~messageflux_s3._objects.put_parameters.PutParameters`).

    Raises:
        ValueError: There is no such mode, or an argument does not go with it.
        io.UnsupportedOperation: The mode would read and write at once.
        S3NoSuchItem: To be read, and not there.
        S3ObjectChanged: To be read, and with another etag. To be appended to, and replaced each time it was read; at the close: changed
            by others since the opening.
        S3ObjectExists: To be created, and there already.
        S3PreconditionFailed: Raised at the close when creating or appending: ``retryable`` where other writes were under way (409) and
            nothing was written, or ``outcome_unknown``.
        S3Unsupported: ``x``, and the store would not keep two writers apart.

    Requests:
        1 GET to read (then one per range); see :class:`ObjectWriter` for writing
    """
    action, is_text = _parse_mode(mode)
    if isinstance(buffering, bool) or not isinstance(buffering, int):
        raise TypeError(f"buffering must be a whole number, not {type(buffering).__name__}")
    if is_text and buffering == 0:
        raise ValueError("can't have unbuffered text I/O")
    if not is_text:
        for name, value in (("encoding", encoding), ("errors", errors), ("newline", newline)):
            if value is not None:
                raise ValueError(f"binary mode doesn't take an {name} argument")
    elif not (newline is None or isinstance(newline, str)):
        raise TypeError(f"newline must be text or None, not {type(newline).__name__}")
    elif newline not in (None, "", "\n", "\r", "\r\n"):
        raise ValueError(f"illegal newline value: {newline!r}")  # before anything is asked of the store
    if action == "r":
        if metadata is not None or extra:
            raise TypeError(
                f"{'metadata' if metadata is not None else next(iter(extra))} goes with writing, not with mode {mode!r}"
            )
        raw = ObjectReader(connection, bucket_name, key, version_id, if_match)
        if buffering == 0:
            return cast("IO[Any]", raw)
        buffered = BufferedObjectReader(raw, buffering if buffering > 1 else BUFFER_BYTES)
        if not is_text:
            return buffered
        text = io.TextIOWrapper(buffered, encoding or "utf-8", errors, newline)
        text.mode = mode  # type: ignore[misc]  # as the builtin does
        return text
    if version_id is not None:
        raise ValueError(f"version_id goes with reading, not with mode {mode!r}: a write makes a new version")
    writer = ObjectWriter(connection, bucket_name, key, action + "b", metadata=metadata, **extra)
    if not is_text:
        return cast("IO[Any]", writer)
    try:
        return TextWriter(writer, encoding or "utf-8", errors, newline, buffering == 1, mode=mode)
    except BaseException:
        writer.abort()
        raise


def write_action(mode: str) -> str:
    """The letter of a mode that writes: ``w``, ``x`` or ``a``.

    Raises:
        ValueError: There is no such mode, or it reads.
        io.UnsupportedOperation: The mode would read and write at once.
    """
    action, _ = _parse_mode(mode)
    if action == "r":
        raise ValueError(f"mode {mode!r} does not write")
    return action


def _parse_mode(mode: str) -> tuple[str, bool]:
    """What to do, and whether with text."""
    if not isinstance(mode, str):
        raise TypeError(f"mode must be text, not {type(mode).__name__}")
    letters = set(mode)
    actions = letters & set("rwxa")
    if letters - set("rwxabt+") or len(letters) != len(mode) or not mode:
        raise ValueError(f"invalid mode: {mode!r}")
    if {"b", "t"} <= letters:
        raise ValueError("can't have text and binary mode at once")
    if len(actions) != 1:
        raise ValueError("must have exactly one of create/read/write/append mode")
    if "+" in letters:
        raise io.UnsupportedOperation(
            f"mode {mode!r}: an object cannot be read and written at once; open it once for each"
        )
    return actions.pop(), "b" not in letters


def _checked_seek(offset: int, whence: int) -> tuple[int, int]:
    """The arguments of a seek as ints.

    Raises:
        TypeError: One of them is no whole number (has no ``__index__``).
        ValueError: ``whence`` is none of the three places.
    """
    offset, whence = operator.index(offset), operator.index(whence)
    if whence not in (io.SEEK_SET, io.SEEK_CUR, io.SEEK_END):
        raise ValueError(f"whence must be 0, 1 or 2, not {whence!r}")
    return offset, whence


# -- reading ----------------------------------------------------------------------------------------------------------------------


class _Source:
    """One object, pinned to the etag that is wanted or first met: brings ranges of it, safe to use from several threads."""

    def __init__(
        self,
        connection: Connection,
        bucket_name: str,
        key: str,
        version_id: str | None,
        if_match: str | None,
        given: Mapping[str, Any] | None = None,
    ) -> None:
        self._connection = connection
        self._given = dict(given or {})  # of the requests: the lane does not know them
        self._bucket_name = bucket_name
        self._key = key
        self._version_id = version_id
        self._query = "" if version_id is None else f"versionId={quote(version_id, safe='-._~')}"
        self.etag = if_match
        self.size = 0

    def begin(self) -> bytes:
        """Learn size and etag; return the first bytes."""
        try:
            head, first = self._begin()
        except S3Error as error:
            if error.status != 416:
                raise
            head, first = self._head(), b""  # empty
        ranged_reader.check_etag(head.etag, self.etag, self._bucket_name, self._key)
        ranged_reader.check_version(self._connection, head, self._bucket_name, self._key, self._version_id)
        self.etag = head.etag or self.etag
        if head.size is None:  # an answer without a length: there may be more than the first bytes
            head = self._head()
            ranged_reader.check_etag(head.etag, self.etag, self._bucket_name, self._key)
        self.size = head.size or 0
        return first

    def _head(self) -> Head:
        return operations.head(self._connection, self._bucket_name, self._key, self._version_id, self._given)

    def _begin(self) -> tuple[Head, bytes]:
        request = self._lane_request(0, FIRST_BYTES, self.etag)
        answered = None if self._given else self._connection.lane.send(request, body_limit=FIRST_BYTES)
        if answered is not None:
            if answered.status == 404:
                with self._connection.translating("GetObject", self._bucket_name, self._key):
                    raise operations.lane_error(answered, "GetObject", self._bucket_name, self._key)
            head = Head.from_headers(answered.headers)
            if len(answered.body) == min(FIRST_BYTES, head.size or 0) and self._begins_at(
                0, answered, len(answered.body)
            ):
                return head, answered.body
        head, stream = self._ask(0, FIRST_BYTES, self.etag)
        with contextlib.closing(stream), self._connection.translating("GetObject", self._bucket_name, self._key):
            first: bytes = stream.read(FIRST_BYTES)
            return head, first

    def fetch(self, start: int, end: int, used: bytearray | None = None) -> bytearray:
        """The bytes from start to end; in memory that was used before, if there is some of the right size."""
        data = used if used is not None and len(used) == end - start else bytearray(end - start)
        with memoryview(data) as view:
            self.fetch_into(start, view)
        return data

    def fetch_into(self, start: int, view: memoryview) -> None:
        """Fill the view with the bytes from start on; goes on where it was if the connection breaks.

        Raises:
            S3ObjectChanged: The object was replaced or deleted.
            S3ConnectionError: The bytes could not be had, after several attempts that brought nothing.
        """
        if self._fetch_by_lane(start, view):
            return
        done, attempts = 0, 0
        while done < len(view):
            before = done
            try:
                for piece in self._pieces(start + done, start + len(view)):
                    view[done : done + len(piece)] = piece
                    done += len(piece)
            except S3Error as error:
                attempts = 1 if done > before else attempts + 1
                if not error.retryable or self.etag is None or attempts >= self._connection.config.max_attempts:
                    raise
                time.sleep(min(0.05 * 2**attempts, 2.0))

    def _fetch_by_lane(self, start: int, view: memoryview) -> bool:
        """Let the fast lane fill the view, straight from the socket; False: it is left to boto3."""
        request = self._lane_request(start, start + len(view), self.etag)
        answered = None if self._given else self._connection.lane.send(request, target=view)
        if answered is None:
            return False
        if answered.status == 404:
            raise self._changed(
                "was deleted", operations.lane_error(answered, "GetObject", self._bucket_name, self._key)
            )
        head = Head.from_headers(answered.headers)
        self._check_same(head)
        return self._begins_at(start, answered, len(view))

    def _begins_at(self, start: int, answered: LaneResponse, length: int) -> bool:
        """Whether the lane's answer holds exactly the bytes asked for; False: it is left to boto3, which skips and goes on."""
        said = {
            "ResponseMetadata": {"HTTPStatusCode": answered.status},
            "ContentRange": answered.headers.get("content-range"),
            "ContentLength": length,
        }
        try:
            return ranged_reader.offset_in_body(said, start, self._bucket_name, self._key) == 0
        except S3ServerError:
            return False

    def _lane_request(self, start: int, end: int, etag: str | None) -> LaneRequest:
        headers = {"range": f"bytes={start}-{end - 1}"}
        condition = ranged_reader.etag_for(self._connection, etag)
        if condition is not None:
            headers["if-match"] = condition
        return LaneRequest("GET", self._bucket_name, self._key, self._query, headers, b"")

    def _check_same(self, head: Head) -> None:
        if self.etag is None:
            self.etag = head.etag  # the answers before did not say
        is_other = head.etag is not None and not etags.same(head.etag, self.etag)
        if is_other or (head.size is not None and head.size != self.size):
            raise self._changed("was replaced", None)

    def _pieces(self, start: int, end: int) -> Any:
        """Bytes of the range, in pieces as they come, never more than asked for."""
        try:
            head, body = self._ask(start, end, self.etag)
        except S3NoSuchItem as error:
            raise self._changed("was deleted", error) from error
        except S3Error as error:
            if error.status == 416:
                raise self._changed("was replaced by a shorter one", error) from error
            raise
        with contextlib.closing(body):
            self._check_same(head)
            left = end - start
            while left:
                with self._connection.translating("GetObject", self._bucket_name, self._key):
                    piece = body.read(min(left, _PIECE_BYTES))
                if not piece and left < end - start:
                    return  # the answer held less than was asked for: the rest is asked for next
                if not piece:
                    raise self._short(left)
                left -= len(piece)
                yield piece

    def _ask(self, start: int, end: int, etag: str | None) -> tuple[Head, Any]:
        """One GET of a range through boto3; the body is a stream that stands at the range's start."""
        parameters: dict[str, Any] = {"Range": f"bytes={start}-{end - 1}", **self._given}
        if self._version_id is not None:
            parameters["VersionId"] = self._version_id
        answer = ranged_reader.get_pinned(self._connection, self._bucket_name, self._key, etag, parameters)
        head, stream = Head.from_answer(answer), answer["Body"]
        if not answer.get("ContentRange"):
            try:
                self._skip(stream, start)  # the store ignored the range and sends the whole
            except BaseException:
                stream.close()
                raise
        return head, stream

    def _skip(self, stream: Any, count: int) -> None:
        with self._connection.translating("GetObject", self._bucket_name, self._key):
            while count and (piece := stream.read(min(count, _PIECE_BYTES))):
                count -= len(piece)

    def _changed(self, how: str, error: S3Error | None) -> S3ObjectChanged:
        return S3ObjectChanged(
            f"s3://{self._bucket_name}/{self._key} {how} while it was being read: its etag was {self.etag}. Open it again.",
            operation="GetObject",
            bucket=self._bucket_name,
            key=self._key,
            code=error.code if error else None,
            status=error.status if error else None,
            request_id=error.request_id if error else None,
        )

    def _short(self, missing: int) -> S3ConnectionError:
        return S3ConnectionError(
            f"GetObject on s3://{self._bucket_name}/{self._key}: the body ended {missing} bytes early",
            operation="GetObject",
            bucket=self._bucket_name,
            key=self._key,
            retryable=True,
        )


class _Segment:
    """Bytes of the object that are here, or on their way."""

    __slots__ = ("_future", "data", "end", "start")

    def __init__(self, start: int, end: int, data: bytes | None, future: Future[bytearray] | None) -> None:
        self.start = start
        self.end = end
        self.data: bytes | bytearray | None = data
        self._future = future

    def content(self) -> bytes | bytearray:
        """The bytes; waits for them."""
        if self.data is None:
            assert self._future is not None
            self.data, self._future = self._future.result(), None
        return self.data

    def cancel(self) -> None:
        if self._future is not None:
            self._future.cancel()


class BufferedObjectReader(io.BufferedReader):
    """Python's own buffering, except for large reads: those are one read of the raw reader, not cut at the buffer's borders.

    Threads may share it: every byte is returned to one of them. ``read`` and ``readinto`` that raise leave the position where it was, so
    that the same call again returns the same bytes. ``readline`` that raises has passed the beginning of its line, as with the builtin's
    files: seek before going on.

    Attributes:
        size: The object's size, as it was when it was opened.
    """

    raw: ObjectReader

    def __init__(self, raw: ObjectReader, buffer_size: int) -> None:
        super().__init__(raw, buffer_size)
        self._lock = threading.RLock()  # held while the position is moved, never during a request

    path: str

    blocksize = 5 * 1024 * 1024
    """The unit in which fsspec's block cache counts, as in fsspec's own files."""

    @property
    def size(self) -> int:
        return self.raw.size

    @property
    def closed(self) -> bool:
        return super().closed

    @closed.setter
    def closed(self, value: bool) -> None:
        """Take what fsspec's block cache sets after it has closed the file."""

    def _fetch_range(self, start: int, end: int) -> bytes:
        """Fetch a range: the name under which fsspec's block cache looks for it."""
        return self.raw.read_at(start, end - start)

    def read(self, size: int | None = -1, /) -> bytes:
        """Read ``size`` bytes, fewer only at the end; all the rest without a size. Requests: none to a few."""
        raw = self.raw
        if size is not None:
            size = operator.index(size)
        if size is None or size == -1:
            size = max(0, raw.size - self.tell())
        if size < SMALL_BYTES or (size < BUFFER_BYTES and raw.reads_ahead):
            position = self.tell()
            try:
                return super().read(size)
            except BaseException:
                self._go_back(position, position + size)
                raise
        return self._read_large(size)

    def _read_large(self, size: int) -> bytes:
        """Move the position on first, in one step of the C code, so that no other thread reads the same bytes; then fetch them."""
        raw = self.raw
        start = self.tell()
        end = start + size
        try:
            with self._lock:
                end = super().seek(size, io.SEEK_CUR)
                start = end - size
                if end > raw.size:
                    end = super().seek(max(start, raw.size))
            return raw.read_at(start, size)
        except BaseException:
            self._go_back(start, end)
            raise

    def readinto(self, buffer: Any, /) -> int:
        """Fill the buffer, or as much of it as there are bytes left; 0 at the end. Requests: none to a few."""
        with memoryview(buffer) as view:
            position, size = self.tell(), view.nbytes
        try:
            return super().readinto(buffer)
        except BaseException:
            self._go_back(position, position + size)
            raise

    def _go_back(self, start: int, end: int) -> None:
        """Return to where a read that failed began: io's C code drops what its buffer held. Not if another thread has read on since."""
        with self._lock, contextlib.suppress(ValueError):  # closed or detached
            if start < self.tell() <= end:
                self.seek(start)


class ObjectReader(io.RawIOBase):
    """The raw, seekable reader of one object. ``open_object`` puts Python's own buffering on top.

    Attributes:
        name: The key.
        mode: ``"rb"``.
        size: The object's size, as it was when it was opened.

    Requests:
        1 GET to open; then 1 per range, several side by side for a large read
    """

    mode = "rb"

    def __init__(
        self,
        connection: Connection,
        bucket_name: str,
        key: str,
        version_id: str | None = None,
        if_match: str | None = None,
    ) -> None:
        super().__init__()
        self.name = key
        self._source = _Source(connection, bucket_name, key, version_id, if_match)
        self._threads = min(_THREADS, connection.config.max_concurrency)
        first = self._source.begin()
        self.size = self._source.size
        self._position = 0
        self._sequel = 0  # where the next read begins if the reader goes on in a line
        self._ahead = 0
        self._used: deque[bytearray] = deque(maxlen=2)  # fresh memory costs as much as filling it
        self._segments: deque[_Segment] = deque([_Segment(0, len(first), first, None)])
        self._executor: ThreadPoolExecutor | None = None
        self._pid = os.getpid()
        self._lock = threading.RLock()

    def readable(self) -> bool:
        self._check_open()
        return True

    def seekable(self) -> bool:
        self._check_open()
        return True

    def tell(self) -> int:
        if self.closed:
            self._check_open()
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go elsewhere, beyond the end if you like. Requests: none.

        Raises:
            OSError: Before the beginning (``zipfile`` relies on this class of error).
        """
        self._check_open()
        offset, whence = _checked_seek(offset, whence)
        base = (0, self._position, self.size)[whence]
        if base + offset < 0:
            raise OSError(22, f"cannot seek to {base + offset}, before the beginning of {self.name!r}")
        self._position = base + offset
        return self._position

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to ``size`` bytes, or all the rest (without a size, and with None as Python's own raw files do)."""
        return cast(bytes, super().read(-1 if size is None else size))

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer, or as much of it as there are bytes left; 0 at the end."""
        self._check_open()
        with self._lock, memoryview(buffer) as given, given.cast("B") as view:
            position = self._position
            wanted = min(len(view), self.size - position)
            if wanted <= 0:
                return 0
            done = self._read_into(position, view[:wanted], is_private=False)
            self._position = position + done
            return done

    def readall(self) -> bytes:
        """All the rest, in one piece."""
        self._check_open()
        with self._lock:
            position = self._position
            data = self._read_whole(position, max(0, self.size - position))
            self._position = position + len(data)
            return data

    @property
    def reads_ahead(self) -> bool:
        """Whether reading goes on in a line."""
        return self._ahead > 0

    def read_at(self, position: int, size: int) -> bytes:
        """So many bytes from a position on, fewer only at the end. The reader's own position stays where it is.

        Requests:
            none where the bytes are here already; else 1, or several side by side for many bytes
        """
        self._check_open()
        with self._lock:
            return self._read_whole(position, min(size, max(0, self.size - position)))

    def _read_whole(self, position: int, size: int) -> bytes:
        if size <= MAX_AHEAD_BYTES:
            data = bytearray(size)
            self._fill(position, data, size)
            return bytes(data)
        # A second copy of a large object is avoided: BytesIO writes into these very bytes, since nothing else refers to them, and returns
        # them uncopied. Its getbuffer() is not used: CPython 3.12.1 crashes where the garbage collector clears such a view.
        whole, window = io.BytesIO(bytes(size)), bytearray(MAX_AHEAD_BYTES)
        for start in range(0, size, MAX_AHEAD_BYTES):
            count = min(MAX_AHEAD_BYTES, size - start)
            self._fill(position + start, window, count)
            with memoryview(window) as view:
                whole.write(view[:count])
        return whole.getvalue()

    def _fill(self, position: int, data: bytearray, count: int) -> None:
        """Read so many bytes into the beginning of a buffer that belongs to this call alone."""
        done = 0
        with memoryview(data) as view:
            while done < count:
                done += self._read_into(position + done, view[done:count], is_private=True)

    def _read_into(self, position: int, view: memoryview, *, is_private: bool) -> int:
        """Fill some of the view with the bytes from a position on; at least one byte.

        Args:
            position: The first byte; not at or behind the end.
            view: Where to put them.
            is_private: Whether the memory belongs to this call alone, and is kept alive by the view. Only then may other threads write
                into it: an interrupted call does not wait for them.
        """
        if self._pid != os.getpid():
            self._forget_after_fork()
        done = self._read_some(position, view, is_private)
        self._sequel = position + done
        return done

    def _read_some(self, position: int, view: memoryview, is_private: bool) -> int:
        segments = self._segments
        if segments and not segments[0].start <= position < segments[-1].end:
            goes_on = position == self._sequel == segments[-1].end
            self._drop_segments()
            if goes_on:
                self._ahead = min(max(2 * self._ahead, _FIRST_AHEAD_BYTES), MAX_AHEAD_BYTES)
        elif not segments:
            self._ahead = (
                min(max(2 * self._ahead, _FIRST_AHEAD_BYTES), MAX_AHEAD_BYTES) if position == self._sequel else 0
            )
        while segments and segments[0].end <= position - BUFFER_BYTES:  # a buffer above may come back for its own
            passed = segments.popleft()
            passed.cancel()
            if isinstance(passed.data, bytearray):
                self._used.append(passed.data)
            self._ahead = min(2 * self._ahead, MAX_AHEAD_BYTES)
        found = next((segment for segment in segments if position < segment.end), None)
        if found is not None:
            offset = position - found.start
            try:
                content_of_segment = found.content()
            except Exception:
                self._drop_segments()  # a failure is raised once; the next read asks the store again
                raise
            with memoryview(content_of_segment) as data:
                count = min(len(data) - offset, len(view))
                view[:count] = data[offset : offset + count]
            self._fetch_ahead(position + count)
            return count
        if len(view) >= 2 * _FIRST_AHEAD_BYTES:
            self._fetch_side_by_side(position, view, is_private)
        elif self._ahead:
            self._fetch_ahead(position)
            return self._read_some(position, view, is_private)
        else:
            if len(view) == BUFFER_BYTES:
                view = view[
                    :SMALL_BYTES
                ]  # the buffer above asks for all that it holds; nobody knows yet whether that is wanted
            self._source.fetch_into(position, view)
        if self._ahead:
            self._fetch_ahead(position + len(view))
        return len(view)

    def _fetch_side_by_side(self, position: int, view: memoryview, is_private: bool) -> None:
        """A large read: its ranges at the same time."""
        step = max(1 << 20, min(PART_BYTES, -(-len(view) // self._threads)))
        if len(view) <= step or self._threads == 1:
            self._source.fetch_into(position, view)
            return
        if not is_private:
            # io's C code passes a view that does not keep its memory alive, and users pass buffers that they go on using. A thread that is
            # still at work after this call was interrupted must not write there: it gets memory that belongs to nobody else.
            for start in range(0, len(view), MAX_AHEAD_BYTES):
                count = min(MAX_AHEAD_BYTES, len(view) - start)
                own = bytearray(count)
                with memoryview(own) as window:
                    self._fetch_side_by_side(position + start, window, True)
                    view[start : start + count] = window
            return
        pool, rest = self._pool(), list[Future[None]]()
        try:
            for at in range(step, len(view), step):
                rest.append(pool.submit(self._source.fetch_into, position + at, view[at : at + step]))
            self._source.fetch_into(position, view[:step])
            failures = [waiting.exception() for waiting in rest]
        except BaseException:
            for waiting in rest:
                waiting.cancel()
            raise
        for failure in failures:
            if failure is not None:
                raise failure

    def _fetch_ahead(self, position: int) -> None:
        """Have what will be read next on its way, if reading goes on in a line."""
        if not self._ahead and not (self._segments and self._segments[0].start == 0 and position > FIRST_BYTES // 2):
            return
        self._ahead = max(self._ahead, _FIRST_AHEAD_BYTES)
        segments = self._segments
        reach = segments[-1].end if segments else position
        step = max(_FIRST_AHEAD_BYTES, min(self._ahead // 4, PART_BYTES))
        while reach < self.size and reach - position < self._ahead:
            end = min(reach + step, self.size)
            used = self._used.pop() if self._used else None
            segments.append(_Segment(reach, end, None, self._pool().submit(self._source.fetch, reach, end, used)))
            reach = end

    def _pool(self) -> ThreadPoolExecutor:
        if self._executor is None:
            self._executor = ThreadPoolExecutor(self._threads, "messageflux-s3-read-ahead")
        return self._executor

    def _drop_segments(self) -> None:
        self._ahead = 0
        self._used.clear()
        while self._segments:
            self._segments.pop().cancel()

    def _forget_after_fork(self) -> None:
        """What was on its way belongs to the parent's threads."""
        self._pid = os.getpid()
        self._segments.clear()
        self._executor = None
        self._ahead = 0

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file.")

    def close(self) -> None:
        """Close the file and end its threads. What is under way ends unheard."""
        if not self.closed:
            super().close()
            if "_segments" in self.__dict__ and self._pid == os.getpid():
                self._drop_segments()
                executor, self._executor = self._executor, None
                if executor is not None:
                    executor.shutdown(wait=False, cancel_futures=True)

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError(f"an open file cannot be pickled; pickle the object {self.name!r} and open it there")

    def __repr__(self) -> str:
        return f"<ObjectReader name={self.name!r}{' closed' if self.closed else ''}>"


# -- writing ----------------------------------------------------------------------------------------------------------------------


class _Base(NamedTuple):
    """What is appended to: its size, its etag, and the write-ids in its metadata, which are carried forward."""

    size: int
    etag: str | None
    carried: str


_dict_of = BaseException.__dict__["__dict__"].__get__


class _Handled(NamedTuple):
    """Identifies an exception that is being handled, without keeping its traceback, and with it the frames and their files, alive.

    Builtin exceptions take no weak references, and an address may be used again. The attribute dictionary belongs to one exception alone,
    and as long as it is held no other exception has the same one. Raising the exception again gives it another traceback.
    """

    attributes: dict[str, Any]
    traceback: tuple[int, int, int] | None

    @classmethod
    def of(cls, error: BaseException) -> _Handled:
        traceback = error.__traceback__
        # The instruction and the frame as well: the traceback is not held, so its address may be used again.
        told = None if traceback is None else (id(traceback), traceback.tb_lasti, id(traceback.tb_frame))
        return cls(_dict_of(error), told)

    def is_same(self, former: _Handled) -> bool:
        """Whether this is the former exception, not raised again since: then its traceback is the former one, or was taken off."""
        return self.attributes is former.attributes and self.traceback in (None, former.traceback)


def _handled_now() -> list[_Handled]:
    """The exceptions that are being handled in this thread, the innermost first."""
    found: dict[int, _Handled] = {}
    error = sys.exc_info()[1]
    while error is not None and id(error) not in found:
        found[id(error)] = _Handled.of(error)
        error = error.__context__
    return [*found.values()]


class ObjectWriter(io.BufferedIOBase):
    """A file to write. The object appears when it is closed, whole, or not at all.

    A failed ``write()`` gives the file up. Its error is raised again at the end of the ``with`` block or by ``close()``, unless an
    exception is passing already, so that a failure in another thread, or one that was caught, cannot pass for success.

    In a ``with`` block the end of the (outermost) block decides: an exception leaves nothing, also where a wrapper (TextIOWrapper, say)
    closed the file while the exception was passing. ``__exit__`` without ``__enter__``, as ``ExitStack.push`` calls it, decides in the
    same way. Otherwise ``close()`` commits, unless it is called while an exception is being handled that was raised after the opening:
    then nothing is written, and a warning is logged. A file that is dropped unclosed leaves nothing.

    Where ``close()`` cannot see the exception, and commits what was written so far: a file opened in an ``except`` block, outside of
    ``with``, and closed in a ``finally`` after a bare ``raise`` in the same function; a ``close`` that runs on another thread than the
    exception, such as ``await asyncio.to_thread(file.close)`` in a ``finally``. Use ``with`` there, or call ``abort()``.

    Where ``close()`` takes an exception for a new one, and gives up with a warning: a file opened in an ``except`` block and closed there
    after the same exception was raised again and caught; or opened where its ``__context__`` had been set to None, and closed in the
    outer handler. Use ``with`` there as well.

    A TextIOWrapper around the file leaves out the byte order mark of UTF-16 and UTF-32, since the file is not seekable: open it in text
    mode instead, with ``encoding``.

    It is a stream, and not seekable. A library that goes to and fro all the same before the first part is sent (HDF5 begins by
    asking for the end) gets a temporary file on the disk, which is sent at the close.

    Mode ``a`` writes the former content and what was added as one new object. If others created, replaced or deleted the object in
    between, ``S3ObjectChanged`` is raised at the close and theirs stays. Where the store honours conditional writes this holds without
    a gap. If it refuses because another write is under way (409), ``S3PreconditionFailed`` is raised with ``retryable`` set: nothing was
    appended, and the same can be tried again. Elsewhere the etag is compared by HEAD right before the request that makes the object
    visible: a write by others between these two requests is lost.

    Requests:
        at the close 1 PUT up to 8 MiB; above that 1 POST, 1 PUT per 8 MiB, 1 POST. ``x`` has 1 HEAD before; ``a`` has 1 HEAD,
        and 1 GET below 5 MiB or a copy within the store above; at the close 1 HEAD more where conditions are not honoured. On a store
        that is not AWS the first ``x`` or ``a`` probes whether they are: about 150 small requests, once for the store
    """

    def __init__(
        self,
        connection: Connection,
        bucket_name: str,
        key: str,
        mode: str = "wb",
        *,
        metadata: Mapping[str, str] | None = None,
        autocommit: bool = True,
        **extra: Any,
    ) -> None:
        self._is_over = True  # until it is ready: __del__ must find an answer
        self._failure: BaseException | None = None  # what a write or the commit failed with
        self._is_failure_told = False
        super().__init__()
        self.name = key
        self.mode = mode
        self._connection = connection
        self._bucket_name = bucket_name
        self._parameters = {"Metadata": user_metadata.encode(metadata), **put_parameters.s3_parameters(key, extra)}
        self._given = {"metadata": metadata, **extra}
        self._buffer = bytearray()
        self._position = 0
        self._upload: MultipartUpload | None = None
        self._local: tempfile.SpooledTemporaryFile[bytes] | None = None
        self._base: _Base | None = None  # what is appended to
        self._blocks = 0
        self._autocommit = autocommit
        self._is_given_up = False
        self._is_dropped = False
        self.after_commit: Callable[[], object] = int  # called when the object may have changed; int() does nothing
        self._takes_text = False
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._handled_at_open = _handled_now()
        self._write_id = conditional.new_write_id()
        if mode == "xb":
            self._marked_parameters()  # metadata for which there is no room is refused before anything is sent
            self._refuse_if_there()
        elif mode == "ab":
            self._find_base()
            self._marked_parameters()
        self._is_over = False
        _unclosed.add(self)

    def _refuse_if_there(self) -> None:
        try:
            operations.head(self._connection, self._bucket_name, self.name, given=self._for_every_request)
        except S3NoSuchItem:
            conditional.require(self._connection, self._bucket_name, "put_if_absent")
            return
        raise S3ObjectExists(
            f"s3://{self._bucket_name}/{self.name} exists; mode 'x' only creates",
            operation="HeadObject",
            bucket=self._bucket_name,
            key=self.name,
        )

    def _find_base(self) -> None:
        """Look up what is appended to: a small object is read at once, of a larger one only the headers."""
        for _ in range(_ATTEMPTS_TO_READ_BASE):
            try:
                answer = self._connection.call(
                    "HeadObject", Bucket=self._bucket_name, Key=self.name, **self._for_every_request
                )
            except S3NoSuchItem:
                return
            base = Head.from_answer(answer)
            size = base.size or 0
            if not 0 < size < MIN_PART_BYTES:
                break
            try:
                body = self._read_small_base(base.etag)
            except (S3NoSuchItem, S3ObjectChanged):
                continue  # it was replaced since the HEAD: content and metadata must be of one object
            size = len(body)
            self._buffer += body
            break
        else:
            raise S3ObjectChanged(
                f"s3://{self._bucket_name}/{self.name} was replaced each time it was read, to append to it",
                bucket=self._bucket_name,
                key=self.name,
            )
        self._base = _Base(size, base.etag, " ".join((base.write_id or "").split()[: conditional.CARRIED]))
        self._position = size
        # It stays what it was, where nothing else is asked for.
        asked = put_parameters.s3_parameters(
            "", {name: value for name, value in self._given.items() if name != "metadata"}
        )
        if "Tagging" not in asked:
            asked |= attributes.kept_tags(self._connection, self._bucket_name, self.name, answer, self._parameters)
        is_described = self._given["metadata"] is not None
        asked["Metadata"] = self._parameters["Metadata"] if is_described else user_metadata.encode(base.metadata)
        self._parameters = attributes.kept(answer, asked, self._bucket_name, self.name)

    @property
    def _for_every_request(self) -> dict[str, Any]:
        return put_parameters.for_every_request(self._parameters)

    def _read_small_base(self, etag: str | None) -> bytes | bytearray:
        if self._for_every_request:
            source = self._base_source(etag)
            source.begin()
            return source.fetch(0, source.size)
        return operations.get(self._connection, self._bucket_name, self.name, if_match=etag)[1] or b""

    def _base_source(self, etag: str | None) -> _Source:
        return _Source(self._connection, self._bucket_name, self.name, None, etag, self._for_every_request)

    # -- a file's own ---------------------------------------------------------------------------------------------------------------

    def writable(self) -> bool:
        self._check_open()
        return True

    def seekable(self) -> bool:
        self._check_open()
        return self._local is not None or self._takes_text

    def tell(self) -> int:
        self._check_open()
        return self._position if self._local is None else self._local.tell()

    def write(self, data: Any) -> int:
        """Take bytes. They are sent when there is a part's worth of them.

        Raises:
            S3Error: A part could not be sent; the file is closed, and nothing of it is there. The end of the ``with`` block, or
                ``close()``, raises the same error again, as another thread may have got this one; ``abort()`` discards it.
        """
        self._check_open()
        if isinstance(data, str):
            raise TypeError("a bytes-like object is required, not 'str'")
        with self._lock, memoryview(data) as given:
            if self._is_given_up:  # pragma: no cover - another thread gave it up just now
                return given.nbytes
            with memoryview(as_bytes(given, "data must be bytes-like")) as view:
                try:
                    if self._local is not None:
                        self._write_local(view)
                    else:
                        self._take(view)
                        self._position += view.nbytes
                except BaseException as error:
                    self._fail(
                        error
                    )  # some of it is lost: a close that comes all the same must not commit what is left
                    raise
                return view.nbytes

    def _take(self, view: memoryview) -> None:
        """Into the buffer; parts leave it as they are full."""
        done = 0
        while len(self._buffer) + view.nbytes - done > PART_BYTES:
            room = PART_BYTES - len(self._buffer)
            if not self._buffer:
                part: Any = bytes(view[done : done + room])
            else:
                self._buffer += view[done : done + room]
                part, self._buffer = self._buffer, bytearray()
            done += room
            self._begun_upload().add_part(part)
        self._buffer += view[done:]

    def _write_local(self, view: memoryview) -> None:
        """Write into the temporary file; one that grows beyond a part goes to the disk before, so that no gap is filled in memory."""
        assert self._local is not None
        if self.mode == "ab" and view.nbytes:
            self._local.seek(0, io.SEEK_END)  # as with the builtin, every write appends
        if self._local.tell() + view.nbytes > PART_BYTES:
            self._local.rollover()
        self._local.write(view)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Stay, or go elsewhere as long as nothing was sent; from then on it is a file on the disk until the close.

        ``seek(0)`` at the very beginning is refused: with it ``zipfile`` asks whether it may come back later, and streams if not.

        Raises:
            io.UnsupportedOperation: What was written is on its way already.
            ValueError: The target lies before the beginning.
        """
        self._check_open()
        offset, whence = _checked_seek(offset, whence)
        if self._local is None:
            target = offset if whence == io.SEEK_SET else self._position + offset
            if target == self._position > 0:
                return target
            if self._upload is not None or self._base is not None or (self._position == 0 and whence != io.SEEK_END):
                raise io.UnsupportedOperation("an object is written as a stream: not seekable")
            if target < 0:
                raise ValueError(f"cannot seek to {target}, before the beginning of {self.name!r}")
            self._local = tempfile.SpooledTemporaryFile(max_size=PART_BYTES)  # noqa: SIM115
            self._local.write(self._buffer)
            self._buffer = bytearray()
        target = offset
        if whence != io.SEEK_SET:
            position = self._local.tell()
            target += self._local.seek(0, io.SEEK_END) if whence == io.SEEK_END else position
            self._local.seek(position)
        if target < 0:
            raise ValueError(f"cannot seek to {target}, before the beginning of {self.name!r}")
        return self._local.seek(target)

    def readinto(self, buffer: Any) -> int:
        """Only in the file on the disk (see ``seek``)."""
        self._check_open()
        if self._local is None:
            raise io.UnsupportedOperation("not readable")
        piece = self._local.read(len(memoryview(buffer).cast("B")))
        memoryview(buffer).cast("B")[: len(piece)] = piece
        return len(piece)

    def truncate(self, size: int | None = None) -> int:
        """Cut off at ``size`` (at the position, unless told), or fill up with zeros to there. The position stays. Only after a ``seek``.

        Raises:
            io.UnsupportedOperation: The file is a stream (see ``seek``).
            ValueError: The size is negative.
        """
        self._check_open()
        if size is not None and (size := operator.index(size)) < 0:
            raise ValueError(f"cannot truncate to {size} bytes: the size must not be negative")
        if self._local is None:
            raise io.UnsupportedOperation("an object is written as a stream: it cannot be truncated")
        position = self._local.tell()
        size = position if size is None else size
        if size > PART_BYTES:
            self._local.rollover()
        self._local.truncate(size)
        if size > self._local.seek(0, io.SEEK_END):  # in memory it does not grow by itself
            self._local.seek(size - 1)
            self._local.write(b"\0")
        self._local.seek(position)
        return size

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file.") from self._failure

    def flush(self) -> None:
        """Nothing: parts are sent as they fill up, and the object appears at the close."""
        if not self._is_given_up:
            self._check_open()

    def __enter__(self) -> ObjectWriter:
        self._check_open()
        self._blocks += 1
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._blocks = max(0, self._blocks - 1)  # ExitStack.push() and some wrappers call __exit__ without __enter__
        if exc_type is not None:
            self.abort()
        elif self._blocks or not self._autocommit:
            super().close()
            self.raise_failure()
        else:
            self._finish()

    def close(self) -> None:
        """Commit, unless an exception raised after the opening is being handled; inside a ``with`` block, leave that to the block's end.

        Raises:
            S3Error: The object could not be written, now or by an earlier ``write()``; raised once. Nothing of it is there, except where
                the answer to the last request was lost (``S3ConnectionError``, ``S3ServerError``, or ``outcome_unknown``): then the object
                may be there, whole, and a look at it tells. There is never a part of it.
        """
        if self._is_over:
            super().close()
            if not self._is_failure_told and self._raised_since_opening() is None:
                self.raise_failure()
        elif self._blocks:
            super().close()  # from here on nothing can be written; the block's end knows whether it went well
        elif (error := self._raised_since_opening()) is not None:
            logger.warning(
                "s3://%s/%s was not written: it was closed while a %s was being handled",
                self._bucket_name,
                self.name,
                type(error).__name__,
            )
            self.abort()
        elif not self._autocommit:
            super().close()  # commit() or discard() will decide
        elif self._is_dropped:
            self.drop()
        else:
            self._finish()

    def _raised_since_opening(self) -> BaseException | None:
        """The exception that is being handled now, unless it was already being handled when the file was opened."""
        error = sys.exc_info()[1]
        if error is None or any(_Handled.of(error).is_same(former) for former in self._handled_at_open):
            return None
        return error

    def commit(self) -> None:
        """Let what was written appear, where that was left to somebody else (``autocommit=False``: a transaction of fsspec's)."""
        self._blocks = 0
        self._finish()

    def abort(self) -> None:
        """Give up: nothing of what was written becomes visible, nothing stays behind. Requests: 1 DELETE if parts were sent."""
        with self._lock:
            self._give_up()
            self._failure = None
            self._handled_at_open.clear()

    def _fail(self, error: BaseException) -> None:
        """Give up because of an error, which is raised again where the file is closed."""
        with self._lock:
            if not self._is_over:
                self._failure = error
            self._give_up()

    def raise_failure(self) -> None:
        """Raise what an earlier write or the commit failed with, if anything did."""
        if self._failure is not None:
            self._is_failure_told = True
            raise self._failure

    def _give_up(self) -> None:
        with self._lock:
            upload, self._upload = self._upload, None
            is_first, self._is_over = not self._is_over, True
            self._is_given_up = True
            self._buffer = bytearray()
            self._close_local()
            super().close()
            if is_first and upload is not None:
                upload.abort()

    discard = abort

    def drop(self) -> None:
        """Give up, and say so, because nobody holds the file any more. In a forked child: nothing, the file is the parent's."""
        if not self._is_over and self._pid == os.getpid():
            told = f"s3://{self._bucket_name}/{self.name} was not written: the file was dropped without being closed"
            logger.warning(told)
            self.abort()
            warnings.warn(told, ResourceWarning, stacklevel=2, source=self)

    def _dealloc_warn(self, source: object) -> None:
        # So io's own wrappers announce, before they close us, that nobody holds them any more: half a text must not be the object.
        self._is_dropped = True

    def __del__(self) -> None:
        self.drop()

    # -- the commit -----------------------------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        with self._lock:
            if self._is_over:
                super().close()
                self.raise_failure()
                return
            try:
                self._commit()
            except BaseException as error:
                self._is_failure_told = True
                self._fail(error)
                raise
            finally:
                self.after_commit()
            self._is_over = True
            self._handled_at_open.clear()
            self._buffer = bytearray()
            self._close_local()
            super().close()

    def _close_local(self) -> None:
        local, self._local = self._local, None
        if local is not None:
            local.close()

    def _commit(self) -> None:
        if self._local is not None:
            self._local.seek(0)
            while piece := self._local.read(PART_BYTES):
                self._take(memoryview(piece))
        if self._base is not None and self._position == self._base.size:
            return  # nothing was appended
        if self._upload is None and (self._base is None or self._base.size < MIN_PART_BYTES):
            self._put(bytes(self._buffer))
            return
        upload = self._begun_upload()
        if self._buffer:  # pragma: no branch - as a rule: a full part leaves only when there is more
            upload.add_part(self._buffer)
        upload.settle()  # the last look at what is appended to comes after the last part
        with self._base_changes():
            where = self._connection, self._bucket_name, self.name
            if self._is_conditional("multipart"):
                conditional.complete(
                    *where, upload, write_id=self._write_id, if_match=self._base_etag, carried=self._carried
                )
            else:
                upload.complete()

    def _put(self, body: bytes) -> None:
        whole = {"Bucket": self._bucket_name, "Key": self.name, "Body": body, **self._marked_parameters()}
        with self._base_changes():
            if self._is_conditional("put"):
                where = self._connection, self._bucket_name, self.name, self._write_id
                if_match = self._base_etag
                call = conditional.caller(*where, if_absent=if_match is None, if_match=if_match, carried=self._carried)
                call("PutObject", **whole)
            else:
                checksum.call(self._connection, "PutObject", whole)

    @property
    def _base_etag(self) -> str | None:
        return None if self._base is None else self._base.etag

    @property
    def _carried(self) -> str:
        return "" if self._base is None else self._base.carried

    def _is_conditional(self, request: Literal["put", "multipart"]) -> bool:
        """Whether the request that makes the object visible carries a condition: that it is absent, or the one that is appended to.

        Where the store does not honour the condition of an append, the object is compared here, by HEAD, and False is returned.

        Raises:
            S3ObjectChanged: What is appended to is no longer there, or another object is.
        """
        if self.mode != "ab":
            return self.mode == "xb"
        base = self._base
        ability = cast(Ability, f"{request}_if_absent" if base is None else f"{request}_if_match")
        has_etag = base is None or base.etag is not None
        if has_etag and conditional.honours(self._connection, self._bucket_name, ability):
            return True
        if not self._is_there(base):
            raise self._base_changed(base)
        return False

    @contextlib.contextmanager
    def _base_changes(self) -> Iterator[None]:
        """Raise a failed condition of an append as what it means to the user.

        A retryable error (409: another write was under way) stays as it is: it does not say that the object was replaced.
        """
        try:
            yield
        except S3PreconditionFailed as error:
            if self.mode != "ab" or error.outcome_unknown or error.retryable:
                raise
            raise self._base_changed(self._base) from error

    def _marked_parameters(self) -> dict[str, Any]:
        """The parameters of the object; with the write-id that tells it from others where the write is under a condition."""
        if self.mode == "wb":
            return self._parameters
        return {
            **self._parameters,
            "Metadata": user_metadata.marked(self._parameters["Metadata"], self._write_id, self._carried),
        }

    def _begun_upload(self) -> MultipartUpload:
        """The upload under way; one that appends begins with the former content."""
        if self._upload is None:
            self._upload = self._new_upload()
            if self._base is not None and self._base.size >= MIN_PART_BYTES:
                self._bring_base(self._base)
        return self._upload

    def _new_upload(self) -> MultipartUpload:
        if (
            self.mode == "xb"
        ):  # before the parts are sent: where only PutObject honours the condition, none of them would be kept
            conditional.require(self._connection, self._bucket_name, "multipart_if_absent")
        return MultipartUpload(self._connection, self._bucket_name, self.name, parameters=self._marked_parameters())

    def _bring_base(self, base: _Base) -> None:
        """Put the former content in front: copied within the store, or read and sent again where the store cannot copy."""
        assert self._upload is not None
        if (
            self._connection.capabilities.multipart_copy is not False and self._connection.preset != "r2"
        ):  # R2 wants equal parts
            try:
                source, start = {"Bucket": self._bucket_name, "Key": self.name}, 0
                customer_key = {
                    f"CopySource{name}": value
                    for name, value in self._for_every_request.items()
                    if name.startswith("SSECustomer")
                }
                while start < base.size:
                    end = min(start + _COPIED_PART_BYTES, base.size)
                    if base.size - end < MIN_PART_BYTES:
                        end = base.size  # no part but the last may be small, and this one will not be the last
                    self._upload.copy_part(source, start, end, if_match=base.etag, **customer_key)
                    start = end
                self._upload.settle()
            except S3Unsupported:
                self._upload.abort()
                self._upload = self._new_upload()
            except S3Error as error:
                if self._is_there(base):
                    raise
                raise self._base_changed(base) from error
            else:
                if not self._connection.is_aws and not self._is_there(
                    base
                ):  # others may ignore the condition of a copy
                    raise self._base_changed(base)
                return
        source_reader = self._base_source(None)
        source_reader.begin()
        if not etags.same(source_reader.etag, base.etag):
            raise self._base_changed(base)
        mine, self._buffer = self._buffer, bytearray()
        for start in range(0, base.size, PART_BYTES):
            self._take(memoryview(source_reader.fetch(start, min(start + PART_BYTES, base.size))))
        self._take(memoryview(mine))

    def _is_there(self, base: _Base | None) -> bool:
        """Whether the object is still the one that is appended to; without a base, whether there is still none."""
        try:
            found = operations.head(self._connection, self._bucket_name, self.name, given=self._for_every_request)
        except S3NoSuchItem:
            return base is None
        return base is not None and found.size == base.size and etags.same(found.etag, base.etag)

    def _base_changed(self, base: _Base | None) -> S3ObjectChanged:
        how = "created" if base is None else "replaced or deleted"
        return S3ObjectChanged(
            f"s3://{self._bucket_name}/{self.name} was {how} by others while it was open for appending; nothing was appended",
            bucket=self._bucket_name,
            key=self.name,
        )


_unclosed: weakref.WeakSet[ObjectWriter] = weakref.WeakSet()


def _drop_unclosed() -> None:
    """Give up what is still open when the program ends, as long as there is an interpreter to do it with."""
    for writer in list(_unclosed):
        writer.drop()


atexit.register(_drop_unclosed)
if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no forks
    os.register_at_fork(after_in_child=_unclosed.clear)  # they are the parent's to close


class TextWriter(io.TextIOWrapper):
    """Text into an :class:`ObjectWriter`; its ``with`` block decides as the writer's own does."""

    def __init__(
        self,
        writer: ObjectWriter,
        encoding: str,
        errors: str | None,
        newline: str | None,
        line_buffering: bool,
        *,
        mode: str,
    ) -> None:
        # Only of a file that can tell its position does TextIOWrapper know whether a byte order mark belongs in front: of UTF-16 it
        # would leave it out altogether, and of utf-8-sig write it again in the middle of what is appended to.
        self._writer = self.writer = writer
        writer._takes_text = True
        try:
            super().__init__(cast("IO[bytes]", writer), encoding, errors, newline, line_buffering)
        finally:
            writer._takes_text = False
        self.mode = mode  # type: ignore[misc]  # as the builtin does

    def close(self) -> None:
        """Write the rest of the text, and close the writer, also one that an earlier write closed: it raises that write's error."""
        super().close()
        self._writer.close()

    def __enter__(self) -> TextWriter:
        self._writer.__enter__()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exc_type is None:
            try:
                self.close()  # the last of the text goes to the writer, which waits for its own end of the block
            except BaseException:
                self._writer.abort()
                raise
        self._writer.__exit__(exc_type, exc, traceback)
