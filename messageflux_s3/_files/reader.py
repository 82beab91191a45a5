"""The seekable file object behind ``open("rb")``: reads ranges of one object, and reads ahead where reading is sequential.

One GET opens: it tells the size and the ETag, and brings the first 64 KiB. Every later range is requested under If-Match with that ETag,
so that what is read is of one object. Random reads fetch what was asked for. Sequential reads fetch ahead, twice as much each time, up to
32 MiB; the ranges are fetched by a few threads that belong to the file and end with it.
"""

from __future__ import annotations

import contextlib
import io
import operator
import os
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, cast

from .._client.connection import Connection
from .._objects import operations
from .._objects.ranged_reader import RangedReader

FIRST_BYTES = 64 * 1024
PART_BYTES = 8 * 1024 * 1024
"""A read at one go that is larger is several requests in parallel."""
MAX_AHEAD_BYTES = 32 * 1024 * 1024
BUFFER_BYTES = 64 * 1024
SMALL_BYTES = 16 * 1024
"""The least that a random read fetches."""

_FIRST_AHEAD_BYTES = 256 * 1024
_PIECE_BYTES = 256 * 1024
_THREADS = 4


def checked_seek(offset: int, whence: int) -> tuple[int, int]:
    """The arguments of a seek as ints.

    Raises:
        TypeError: One of them is no whole number (has no ``__index__``).
        ValueError: ``whence`` is none of the three places.
    """
    offset, whence = operator.index(offset), operator.index(whence)
    if whence not in (io.SEEK_SET, io.SEEK_CUR, io.SEEK_END):
        raise ValueError(f"whence must be 0, 1 or 2, not {whence!r}")
    return offset, whence


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


# Called by these names since super() doubles the time of a small read.
_tell, _read, _readinto = io.BufferedReader.tell, io.BufferedReader.read, io.BufferedReader.readinto


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

    def __setattr__(self, name: str, value: object) -> None:
        """Ignore ``closed``, which fsspec's block cache sets after it has closed the file.

        ``closed`` is not overridden with a property, since TextIOWrapper asks for it at each line.
        """
        if name != "closed":
            super().__setattr__(name, value)

    def _fetch_range(self, start: int, end: int) -> bytes:
        """Fetch a range: the name under which fsspec's block cache looks for it."""
        return self.raw.read_at(start, end - start)

    def read(self, size: int | None = -1, /) -> bytes:
        """Read ``size`` bytes, fewer only at the end; all the rest without a size. Requests: none to a few."""
        if size is None:
            size = -1
        elif type(size) is not int:
            size = operator.index(size)
        if size == -1:
            size = max(0, self.raw.size - self.tell())
        if size < SMALL_BYTES or (size < BUFFER_BYTES and self.raw.reads_ahead):
            position = _tell(self)
            try:
                return _read(self, size)
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
        position = _tell(self)
        try:
            return _readinto(self, buffer)
        except TypeError:  # it is no buffer: nothing was read
            raise
        except BaseException:
            with memoryview(buffer) as view:
                self._go_back(position, position + view.nbytes)
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
        self._reader = RangedReader(connection, bucket_name, key, version_id, if_match)
        self._threads = min(_THREADS, connection.config.max_concurrency)
        first = operations.read_first(self._reader, FIRST_BYTES)
        self.size = self._reader.size or 0
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
        offset, whence = checked_seek(offset, whence)
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
            operations.read_into(self._reader, position, view)
        if self._ahead:
            self._fetch_ahead(position + len(view))
        return len(view)

    def _fetch_side_by_side(self, position: int, view: memoryview, is_private: bool) -> None:
        """A large read: its ranges at the same time."""
        step = max(1 << 20, min(PART_BYTES, -(-len(view) // self._threads)))
        if len(view) <= step or self._threads == 1:
            operations.read_into(self._reader, position, view)
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
                rest.append(pool.submit(operations.read_into, self._reader, position + at, view[at : at + step]))
            operations.read_into(self._reader, position, view[:step])
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
            segments.append(_Segment(reach, end, None, self._pool().submit(self._fetch, reach, end, used)))
            reach = end

    def _fetch(self, start: int, end: int, used: bytearray | None) -> bytearray:
        """Return the bytes from start to end; in memory that was used before, if that has the right size."""
        data = used if used is not None and len(used) == end - start else bytearray(end - start)
        with memoryview(data) as view:
            operations.read_into(self._reader, start, view)
        return data

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
