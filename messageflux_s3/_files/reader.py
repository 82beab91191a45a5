"""The seekable file object behind ``open("rb")``: reads ranges of one object, and reads ahead if reads are sequential.

Opening sends one GET, which returns the size, the ETag and the first 64 KiB. Every later range is requested with that ETag as If-Match,
so that all bytes are of one object. Random reads fetch the requested bytes, and more where they come near to what was read before.
Sequential reads fetch ahead, each time twice as much, up to 32 MiB; a few threads that belong to the file fetch the ranges, and end when
it is closed. The ranges that were read last are kept, up to 8 MiB, so that going back to them sends no request.
"""

from __future__ import annotations

import contextlib
import io
import operator
import os
import threading
import weakref
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, cast

from .._client.addresses import ObjectAddress
from .._client.context_threads import ContextThreadPool
from .._objects import operations
from .._objects.ranged_reader import RangedReader
from .kept_ranges import KeptRanges, Range

FIRST_BYTES = 64 * 1024
PART_BYTES = 8 * 1024 * 1024
"""A single read larger than this is split into parallel requests."""
MAX_AHEAD_BYTES = 32 * 1024 * 1024
BUFFER_BYTES = 64 * 1024
SMALL_BYTES = 16 * 1024
"""The minimum number of bytes that a random read fetches."""
LARGEST_STEP_BYTES = 1024 * 1024
"""The maximum number of bytes that a small read fetches because it is near to what was read before."""
KEPT_BYTES = 8 * 1024 * 1024
"""The number of bytes kept of what was read."""

_FIRST_AHEAD_BYTES = 256 * 1024
_PIECE_BYTES = 256 * 1024
_THREADS = 4


def checked_seek(offset: int, whence: int) -> tuple[int, int]:
    """Return the arguments of a seek as ints.

    Raises:
        TypeError: An argument is not an integer (has no ``__index__``).
        ValueError: ``whence`` is not 0, 1 or 2.
    """
    offset, whence = operator.index(offset), operator.index(whence)
    if whence not in (io.SEEK_SET, io.SEEK_CUR, io.SEEK_END):
        raise ValueError(f"whence must be 0, 1 or 2, not {whence!r}")
    return offset, whence


# Called directly, since super() doubles the time of a small read.
_tell, _read, _readinto = io.BufferedReader.tell, io.BufferedReader.read, io.BufferedReader.readinto


class BufferedObjectReader(io.BufferedReader):
    """Python's own buffering, except that a large read is one read of the raw reader, not split at buffer boundaries.

    Threads may share the file: each byte is returned to one of them. If ``read`` or ``readinto`` raises, the position is unchanged, so that
    repeating the call returns the same bytes. If ``readline`` raises, the position is past the beginning of the line, as with the
    builtin's files: seek before the next read.

    Attributes:
        size: The object's size at the opening.
    """

    raw: ObjectReader

    def __init__(self, raw: ObjectReader, buffer_size: int) -> None:
        super().__init__(raw, buffer_size)
        self._buffer_size = buffer_size
        self._lock = threading.RLock()  # held while the position changes, never during a request
        _open.add(self)

    path: str

    blocksize = 5 * 1024 * 1024
    """The block size of fsspec's block cache, as in fsspec's own files."""

    @property
    def size(self) -> int:
        return self.raw.size

    def __setattr__(self, name: str, value: object) -> None:
        """Ignore ``closed``, which fsspec's block cache sets after it has closed the file.

        ``closed`` is not overridden with a property, since TextIOWrapper reads it for each line.
        """
        if name != "closed":
            super().__setattr__(name, value)

    def _fetch_range(self, start: int, end: int) -> bytes:
        """Fetch a range. fsspec's block cache calls this method by this name."""
        return self.raw.read_at(start, end - start)

    def read(self, size: int | None = -1, /) -> bytes:
        """Read ``size`` bytes, fewer only at the end; without a size read to the end. Requests: none to a few."""
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
        """Advance the position first, atomically in C, so that no other thread reads the same bytes; then fetch the bytes."""
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
        """Read until the buffer is full or the object ends; return the number of bytes. Requests: none to a few."""
        position = _tell(self)
        try:
            return _readinto(self, buffer)
        except TypeError:  # not a buffer: nothing was read
            raise
        except BaseException:
            with memoryview(buffer) as view:
                self._go_back(position, position + view.nbytes)
            raise

    def _renew_buffer(self) -> None:
        """Replace io's own buffer and its lock, in a forked child: the lock is held by a thread that the child does not have."""
        with contextlib.suppress(ValueError):  # the file is closed or detached
            position = _tell(self)
            io.BufferedReader.__init__(self, self.raw, self._buffer_size)
            self.seek(position)

    def _go_back(self, start: int, end: int) -> None:
        """Seek back to the start of a failed read, in which io's C code dropped its buffer. Do nothing if another thread has read since."""
        with self._lock, contextlib.suppress(ValueError):  # ValueError: the file is closed or detached
            if start < self.tell() <= end:
                self.seek(start)


class ObjectReader(io.RawIOBase):
    """The raw, seekable reader of one object. ``open_object`` wraps it in Python's own buffering.

    Attributes:
        name: The key.
        mode: ``"rb"``.
        size: The object's size at the opening.

    Requests:
        1 GET to open; then 1 per range, several in parallel for a large read
    """

    mode = "rb"

    def __init__(self, address: ObjectAddress, if_match: str | None = None) -> None:
        super().__init__()
        self.name = address.key
        self._reader = RangedReader(address, if_match)
        self._threads = min(_THREADS, address.connection.max_concurrency)
        first = operations.read_first(self._reader, FIRST_BYTES)
        self.size = self._reader.size or 0
        self._position = 0
        self._sequel = 0  # offset at which the next sequential read starts
        self._ahead = 0
        self._segments: deque[Range] = deque([Range(0, len(first), first)])  # adjacent: what is read in sequence
        self._kept = KeptRanges(KEPT_BYTES)  # what was read before
        self._executor: ThreadPoolExecutor | None = None
        self._pid = os.getpid()
        self._lock = threading.RLock()
        _open.add(self)

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
        """Set the position, which may be beyond the end. Requests: none.

        Raises:
            OSError: The position is before the beginning (``zipfile`` relies on this exception class).
        """
        self._check_open()
        offset, whence = checked_seek(offset, whence)
        base = (0, self._position, self.size)[whence]
        if base + offset < 0:
            raise OSError(22, f"cannot seek to {base + offset}, before the beginning of {self.name!r}")
        self._position = base + offset
        return self._position

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to ``size`` bytes; without a size or with None read to the end, as Python's own raw files do."""
        return cast(bytes, super().read(-1 if size is None else size))

    def readinto(self, buffer: Any) -> int:
        """Read bytes into the buffer, possibly fewer than fit; return their number, 0 at the end."""
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
        """Read to the end and return the bytes as one object."""
        self._check_open()
        with self._lock:
            position = self._position
            data = self._read_whole(position, max(0, self.size - position))
            self._position = position + len(data)
            return data

    @property
    def reads_ahead(self) -> bool:
        """Whether bytes are fetched ahead, because reads are sequential."""
        return self._ahead > 0

    def read_at(self, position: int, size: int) -> bytes:
        """Return ``size`` bytes from a position, fewer only at the end. The reader's own position does not change.

        Requests:
            none if the bytes are in memory; else 1, or several in parallel for many bytes
        """
        self._check_open()
        with self._lock:
            return self._read_whole(position, min(size, max(0, self.size - position)))

    def _read_whole(self, position: int, size: int) -> bytes:
        if size <= MAX_AHEAD_BYTES:
            data = bytearray(size)
            self._fill(position, data, size)
            return bytes(data)
        # Avoid a second copy of a large object: BytesIO writes into these bytes in place, since nothing else refers to them, and
        # returns them without a copy. getbuffer() is not used: CPython 3.12.1 crashes if the garbage collector clears such a view.
        whole, window = io.BytesIO(bytes(size)), bytearray(MAX_AHEAD_BYTES)
        for start in range(0, size, MAX_AHEAD_BYTES):
            count = min(MAX_AHEAD_BYTES, size - start)
            self._fill(position + start, window, count)
            with memoryview(window) as view:
                whole.write(view[:count])
        return whole.getvalue()

    def _fill(self, position: int, data: bytearray, count: int) -> None:
        """Read ``count`` bytes into the beginning of a buffer that only this call uses."""
        done = 0
        with memoryview(data) as view:
            while done < count:
                done += self._read_into(position + done, view[done:count], is_private=True)

    def _read_into(self, position: int, view: memoryview, *, is_private: bool) -> int:
        """Copy at least one byte, from a position on, to the beginning of the view; return the number of bytes.

        Args:
            position: The offset of the first byte; before the end of the object.
            view: The memory to fill.
            is_private: Whether only this call uses the memory, and the view keeps it alive. Only then may other threads write into the
                memory, since an interrupted call does not wait for them.
        """
        if self._pid != os.getpid():
            self._forget_after_fork()
        segments = self._segments
        if not segments or not segments[0].start <= position < segments[-1].end:
            while (kept := self._kept.find(position)) is not None:
                try:
                    kept.content()
                except Exception:
                    self._kept.drop(kept)  # it was read ahead, and is requested again
                    continue
                self._sequel = -1  # reading on after the end of the kept range is not a sequence yet
                return self._copy(kept, position, view)
            self._leave_segments(position)
        done = self._read_some(position, view, is_private)
        self._sequel = position + done
        return done

    def _read_some(self, position: int, view: memoryview, is_private: bool) -> int:
        segments = self._segments
        while segments and segments[0].end <= position - BUFFER_BYTES:  # BufferedObjectReader may seek back this far
            self._keep(segments.popleft())
            self._ahead = min(2 * self._ahead, MAX_AHEAD_BYTES)
        if (found := next((segment for segment in segments if position < segment.end), None)) is not None:
            if found.start == 0 and len(view) == BUFFER_BYTES:
                # BufferedReader always requests its full size; the caller may need the beginning alone.
                view = view[:SMALL_BYTES]
            try:
                count = self._copy(found, position, view)
            except Exception:
                self._drop_segments()  # raise the error only once: the next read sends a new request
                raise
            self._fetch_ahead(position + count)
            return count
        if len(view) >= 2 * _FIRST_AHEAD_BYTES:
            self._fetch_in_parallel(position, view, is_private)
            if self._ahead:
                self._fetch_ahead(position + len(view))
            return len(view)
        if self._ahead:
            self._fetch_ahead(position)
            return self._read_some(position, view, is_private)
        return self._copy(self._fetch_around(position, len(view)), position, view)

    @staticmethod
    def _copy(found: Range, position: int, view: memoryview) -> int:
        """Copy bytes of a range from a position on; return their number."""
        content = found.content()
        offset = position - found.start
        with memoryview(content) as data:
            count = min(len(data) - offset, len(view))
            view[:count] = data[offset : offset + count]
        return count

    def _leave_segments(self, position: int) -> None:
        """Stop using the ranges fetched ahead, and read farther ahead if this read continues the last one, else not at all."""
        segments, continues = self._segments, position == self._sequel
        ahead = self._ahead
        if segments:
            continues = continues and position == segments[-1].end
            self._drop_segments()
        self._ahead = min(max(2 * ahead, _FIRST_AHEAD_BYTES), MAX_AHEAD_BYTES) if continues else 0

    def _keep(self, passed: Range) -> None:
        """Keep a range that was read, or that is being fetched and small; do not fetch any other."""
        if passed.data is not None or (not passed.cancel() and len(passed) <= LARGEST_STEP_BYTES):
            self._kept.add(passed)

    def _fetch_around(self, position: int, wanted: int) -> Range:
        """Fetch a range for a small read, and keep it.

        A read that comes near to a kept range, no farther than half its length, fetches twice as much as that one, and in that direction.
        """
        if wanted == BUFFER_BYTES:
            wanted = SMALL_BYTES  # BufferedReader always requests its full size; the caller may need less
        wanted = max(wanted, SMALL_BYTES)
        start, end = position, min(position + wanted, self.size)
        before, after = self._kept.neighbours(position)
        if before is not None and position - before.end <= len(before) // 2:
            end = min(position + max(wanted, min(2 * len(before), LARGEST_STEP_BYTES)), self.size)
        elif after is not None and after.start - end <= len(after) // 2:
            end = min(end, after.start)
            start = max(end - max(wanted, min(2 * len(after), LARGEST_STEP_BYTES)), 0 if before is None else before.end)
        if after is not None:
            end = min(end, after.start)
        data = self._kept.take_spare(end - start) or bytearray(end - start)
        with memoryview(data) as view:
            operations.read_into(self._reader, start, view)
        fetched = Range(start, end, data)
        self._kept.add(fetched)
        return fetched

    def _fetch_in_parallel(self, position: int, view: memoryview, is_private: bool) -> None:
        """Fetch the ranges of a large read in parallel."""
        step = max(1 << 20, min(PART_BYTES, -(-len(view) // self._threads)))
        if len(view) <= step or self._threads == 1:
            operations.read_into(self._reader, position, view)
            return
        if not is_private:
            # io's C code passes a view that does not keep its memory alive, and users pass buffers that they use afterwards. A thread that
            # is still running after this call was interrupted MUST NOT write there, so threads get memory of their own.
            for start in range(0, len(view), MAX_AHEAD_BYTES):
                count = min(MAX_AHEAD_BYTES, len(view) - start)
                own = bytearray(count)
                with memoryview(own) as window:
                    self._fetch_in_parallel(position + start, window, True)
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
        """Start fetching the next bytes if reads are sequential."""
        if not self._ahead and not (self._segments and self._segments[0].start == 0 and position > FIRST_BYTES // 2):
            return
        self._ahead = max(self._ahead, _FIRST_AHEAD_BYTES)
        segments = self._segments
        reach = segments[-1].end if segments else position
        step = max(_FIRST_AHEAD_BYTES, min(self._ahead // 4, PART_BYTES))
        while reach < self.size and reach - position < self._ahead:
            end = min(reach + step, self.size)
            used = self._kept.take_spare(end - reach)  # allocating memory costs as much as filling it
            segments.append(Range(reach, end, None, self._pool().submit(self._fetch, reach, end, used)))
            reach = end

    def _fetch(self, start: int, end: int, used: bytearray | None) -> bytearray:
        """Return the bytes from start to end, in the ``used`` buffer if there is one."""
        data = bytearray(end - start) if used is None else used
        with memoryview(data) as view:
            operations.read_into(self._reader, start, view)
        return data

    def _pool(self) -> ThreadPoolExecutor:
        if self._executor is None:
            self._executor = ContextThreadPool(self._threads, "messageflux-s3-read-ahead")
        return self._executor

    def _drop_segments(self) -> None:
        """Stop reading in sequence; keep what is in memory."""
        self._ahead = 0
        while self._segments:
            self._keep(self._segments.popleft())

    def _forget_after_fork(self) -> None:
        """Discard pending fetches in a forked child: they belong to the parent's threads."""
        self._pid = os.getpid()
        self._segments.clear()
        self._kept = KeptRanges(KEPT_BYTES)
        self._executor = None
        self._ahead = 0

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file.")

    def close(self) -> None:
        """Close the file and end its threads. Results of requests that are still running are discarded."""
        if not self.closed:
            super().close()
            if "_segments" in self.__dict__ and self._pid == os.getpid():
                self._drop_segments()
                self._kept.clear()
                executor, self._executor = self._executor, None
                if executor is not None:
                    executor.shutdown(wait=False, cancel_futures=True)

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError(f"an open file cannot be pickled; pickle the object {self.name!r} and open it there")

    def __repr__(self) -> str:
        return f"<ObjectReader name={self.name!r}{' closed' if self.closed else ''}>"


_open: weakref.WeakSet[BufferedObjectReader | ObjectReader] = weakref.WeakSet()


def _reset_after_fork() -> None:
    """Replace the locks of the files in a forked child: they may be held by threads that the child does not have."""
    readers = list(_open)
    buffered = [reader for reader in readers if isinstance(reader, BufferedObjectReader) and _is_read_elsewhere(reader)]
    for reader in readers:
        reader._lock = threading.RLock()
    for reader in buffered:
        reader._renew_buffer()


def _is_read_elsewhere(reader: BufferedObjectReader) -> bool:
    """Return whether another thread than this one was reading: it holds the raw reader's lock, and perhaps that of io's buffer."""
    try:
        lock = reader.raw._lock
    except (ValueError, AttributeError):  # detached, or not open yet
        return False
    if lock.acquire(blocking=False):
        lock.release()
        return False
    return True


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no forks
    os.register_at_fork(after_in_child=_reset_after_fork)
