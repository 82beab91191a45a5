"""Download objects to files and streams, with verification, large ones in parallel parts. A file gets its name only when complete."""

from __future__ import annotations

import hashlib
import io
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from .._bulk.progress import Progress, reporting
from .._client.addresses import ObjectAddress
from .._client.connection import Connection
from .._client.context_threads import ContextThreadPool
from .._client.exchange import times_throttled
from .._formats.head import Head
from .._http.http1 import BodySink
from .._objects import checksum, etag_md5, operations
from .._objects.parallelism import Parallelism, even_part_size, first_for
from .._objects.ranged_reader import ObjectStream, RangedReader
from ..errors import S3ChecksumError, S3Error, S3ObjectChanged
from . import file_target
from .file_target import Destination
from .partial_file import PartialFile

ONE_REQUEST_BYTES = 16 * 1024 * 1024
"""Up to this size a download is one request, and verified by default; above, it is received in parts."""
PART_BYTES = 8 * 1024 * 1024
"""The largest size of a part."""
LEAST_PART_BYTES = 5 * 1024 * 1024
_FIRST_PARTS = 4
"""The number of parts in flight at the beginning, or more if the store is far away."""
_PARTS_WAITING = 4
"""How many parts are waiting or in flight, for each thread: their memory must not grow with the size of the object."""
_PIECE_BYTES = 1024 * 1024


class ByteRange(NamedTuple):
    """A half-open range of an object's bytes.

    Attributes:
        start: The offset of the first byte.
        end: The offset after the last byte; None for the end of the object.
    """

    start: int = 0
    end: int | None = None


_WHOLE = ByteRange()


def download(
    address: ObjectAddress,
    destination: Destination,
    *,
    span: ByteRange = _WHOLE,
    verify_checksum: bool | None = None,
    if_match: str | None = None,
    progress: Progress = None,
    **extra: Any,
) -> Head:
    """Download an object, or a range of it, to a file atomically.

    Args:
        address: The object, or a version of it.
        destination: The file. A symbolic link to a file is kept, and the file that it points to is replaced. Pipes and character devices
            (also behind a link) are written in place: if the download fails, they may have received some bytes.
        span: The bytes to download; all of them by default.
        verify_checksum: Whether to compare the MD5 of the downloaded bytes with that of the object (or of its parts), if the store returns
            one. None: only up to 16 MiB, since MD5 is slower than the network; for a larger object only the length is compared.
        if_match: ETag sent as If-Match.
        progress: True, a callable or None.
        extra: Further parameters of GetObject.

    Returns:
        The attributes that the store returned.

    Raises:
        FileExistsError: The file exists, and ``overwrite`` is not set; or it is a socket or a block device; or, with ``resume``, the
            files of an interrupted download are links or belong to another user.
        IsADirectoryError: The target is a folder.
        ValueError: With ``resume``: the target is not a regular file.
        S3NoSuchItem: The object does not exist.
        S3ObjectChanged: The object was replaced during the download.
        S3ChecksumError: The downloaded bytes do not match the object's ETag.

    Requests:
        1 GET up to 16 MiB, else 1 for each 5 to 8 MiB; with ``verify_checksum=True`` 1 HEAD or more for an object written in parts
    """
    check_range(*span)
    target, overwrite, resume, follow, replaces = destination
    path, is_stream = file_target.check(Path(target), overwrite=overwrite, follow=follow)
    if is_stream and resume:
        raise ValueError(f"resume=True needs a regular file to go on with; {os.fspath(target)!r} is none")
    fetch = _Fetch(address, span, if_match, extra)
    if is_stream:
        _write_through(fetch, path, verify_checksum, progress)
        return fetch.head
    path.parent.mkdir(parents=True, exist_ok=True)
    with fetch:
        partial = PartialFile(path, _journal_heading(fetch) if resume else None)
        keep = False
        try:
            size = fetch.end - fetch.start
            with reporting(progress, size, path.name) as report:
                md5 = _fetch_into(fetch, partial, report, verify_checksum)
            if md5 is not None:
                checksum.compare_received(fetch.reader.address, str(fetch.md5), md5, fetch.reader.parameters)
            if verify_checksum:
                _check_parts(fetch, partial)
            partial.publish(overwrite=overwrite, replaces=replaces)
        except BaseException as error:
            keep = resume and not isinstance(error, (S3ChecksumError, S3ObjectChanged, FileExistsError))
            raise
        finally:
            partial.close(keep=keep)
    return fetch.head


def _write_through(fetch: _Fetch, path: Path, verify_checksum: bool | None, progress: Progress) -> None:
    """Write the bytes to a pipe or a device in order. The request is sent first, since opening a pipe blocks until it has a reader."""
    with fetch, open(file_target.open_stream(path), "wb", buffering=0) as stream:  # noqa: PTH123 - a descriptor, not a path
        _copy_to(fetch, stream, verify_checksum, progress, path.name)


def download_to_writable(
    address: ObjectAddress,
    writable: Any,
    *,
    verify_checksum: bool | None = None,
    progress: Progress = None,
    **extra: Any,
) -> Head:
    """Write an object's bytes, from first to last, to anything that has a ``write`` method.

    Raises:
        BlockingIOError: The writable is a raw file in non-blocking mode and takes no data now.
        ValueError: ``extra`` names a part of the object, which is always read as a whole.

    Requests:
        1 GET
    """
    if not hasattr(writable, "write"):
        raise TypeError(f"writable_stream must have write(), {type(writable).__name__} has not")
    for name in ("Range", "PartNumber"):
        if extra.get(name) is not None:
            raise ValueError(
                f"{name} cannot be given here: the whole object is downloaded; obj.read_range(start, end) and "
                "obj.iter_chunks(start=…, end=…) read a part of it"
            )
    fetch = _Fetch(address, _WHOLE, None, extra)
    with fetch:
        _copy_to(fetch, writable, verify_checksum, progress, address.key.rpartition("/")[2])
    return fetch.head


def _copy_to(fetch: _Fetch, writable: Any, verify_checksum: bool | None, progress: Progress, name: str) -> None:
    with reporting(progress, fetch.end - fetch.start, name) as report:
        digest = _digest_for(fetch, verify_checksum)
        for piece in fetch.pieces_in_order():
            _write_all(writable, piece)
            if digest is not None:
                digest.update(piece)
            report(len(piece))
        if digest is not None:
            reader = fetch.reader
            checksum.compare_received(reader.address, str(fetch.md5), digest.hexdigest(), reader.parameters)


def check_range(start: int, end: int | None) -> None:
    """Raise an error unless the offsets are whole numbers that are not negative; ``end`` may be None."""
    for name, value in (("start", start), ("end", end)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise TypeError(f"{name} must be a whole number of bytes, not {type(value).__name__}")
    if start < 0 or (end is not None and end < 0):
        raise ValueError(
            f"a range to download is counted from the beginning: start={start}, end={end} must not be negative"
        )


def _write_all(writable: Any, piece: bytes) -> None:
    view = memoryview(piece)
    while True:
        count = writable.write(view)
        if count is None and isinstance(writable, io.RawIOBase):  # nothing was written
            raise BlockingIOError("the target is in non-blocking mode and takes no data now; pass a blocking one")
        # Other writables that return None do not report a count: assume that they wrote everything.
        if count is None or count >= len(view):
            return
        view = view[count:]


class _Fetch:
    """One object, or a range of it, to be read in parts. ``__enter__`` sends the first request, which returns attributes and a body."""

    def __init__(self, address: ObjectAddress, span: ByteRange, if_match: str | None, extra: Mapping[str, Any]) -> None:
        self.address = address
        self.start, self.wanted_end = span
        self.end = self.start
        self.parameters = {**extra, **({} if address.version_id is None else {"VersionId": address.version_id})}
        others = {name: value for name, value in self.parameters.items() if name != "VersionId"}
        self.reader = RangedReader(address._replace(version_id=self.parameters.get("VersionId")), if_match, others)
        self.md5: str | None = None
        self.md5_of_parts: str | None = None
        self.stopped = threading.Event()
        self.ranges_work = True
        self.latency = 0.0
        """Seconds until the first response."""
        self._first: ObjectStream | None = None
        self._first_lock = threading.Lock()

    @property
    def connection(self) -> Connection:
        return self.address.connection

    @property
    def bucket_name(self) -> str:
        return self.address.bucket_name

    @property
    def key(self) -> str:
        return self.address.key

    @property
    def head(self) -> Head:
        return self.reader.head

    def __enter__(self) -> _Fetch:
        reader = self.reader
        if self.wanted_end is not None and self.wanted_end <= self.start:
            operations.learn_size(reader)  # an empty range
            return self
        _ = self.connection.client  # building it is not a part of the latency
        began = time.monotonic()
        try:
            self._first = reader.open(self.start, self.wanted_end)
        except S3Error as error:
            if error.status != 416:
                raise
            # The object ends before the range: the result is empty, as for a slice.
            operations.learn_size_beyond_end(reader, self.start, error)
            return self
        self.latency = time.monotonic() - began
        if reader.size is None:  # a chunked response without Content-Length
            operations.learn_size(reader)
            self._first.check_end()  # an object of no bytes is not read
        total = reader.size or 0
        self.end = max(self.start, total if self.wanted_end is None else min(self.wanted_end, total))
        # Without an ETag or a version, responses to several requests might be of different objects: read the first one to its end.
        is_pinned = reader.etag is not None or reader.address.version_id is not None
        self.ranges_work = is_pinned and (not self.start or self._first.is_range)
        answer = reader.answer or {}
        self.md5 = etag_md5.known_md5(reader.address.bucket, answer)
        self.md5_of_parts = etag_md5.known_md5_of_parts(reader.address.bucket, answer)
        return self

    def __exit__(self, *exc: object) -> None:
        self.stopped.set()
        first, self._first = self._first, None
        if first is not None:
            first.close()

    def pieces(self, start: int, end: int, *, on_repeated: Callable[[], object] | None = None) -> Iterator[bytes]:
        """Yield the bytes of a range in pieces; call ``on_repeated`` if a request had to be sent again."""
        at = start
        with self._stream(start, end) as stream:
            stream.on_repeated = on_repeated
            while at < end and not self.stopped.is_set():
                piece = stream.read(min(_PIECE_BYTES, end - at))
                if not piece:
                    raise self.reader.too_short(end - at)
                at += len(piece)
                yield piece

    def is_begun(self, start: int) -> bool:
        """Return whether the first response is still to be read, and begins at this offset."""
        with self._first_lock:
            return self._first is not None and start == self.start

    def _stream(self, start: int, end: int) -> ObjectStream:
        """Return a stream of a range: the stream of the first response if it begins at ``start``, else a new one."""
        with self._first_lock:
            if start == self.start and self._first is not None:
                first, self._first = self._first, None
                first.stop_at(end)
                return first
        return ObjectStream(self.reader, start, end)

    def pieces_in_order(self) -> Iterator[bytes]:
        """Yield all the bytes, from the first to the last."""
        return self.pieces(self.start, self.end)


def part_size_of(size: int) -> int:
    """Return the size of the parts in which so many bytes are downloaded."""
    if size <= ONE_REQUEST_BYTES:
        return max(1, size)
    return even_part_size(size, LEAST_PART_BYTES, PART_BYTES)


def _digest_for(fetch: _Fetch, verify_checksum: bool | None) -> Any:
    """Return a new MD5 digest if the whole object is to be read and verified, and its ETag is an MD5; else None."""
    whole = fetch.start == 0 and fetch.end == fetch.head.size
    wanted = fetch.end <= ONE_REQUEST_BYTES if verify_checksum is None else verify_checksum
    return hashlib.md5(usedforsecurity=False) if wanted and whole and fetch.md5 is not None else None


def _fetch_into(
    fetch: _Fetch, partial: PartialFile, report: Callable[[int], None], verify_checksum: bool | None
) -> str | None:
    """Fill the partial file; return the MD5 of its content if the object has a known MD5 and is to be verified, else None."""
    size = fetch.end - fetch.start
    part_size = part_size_of(size)
    count = -(-size // part_size)
    there = [number for number in partial.done if number < count]
    parts = _parts(fetch, partial, part_size)
    report(sum(min(part_size, size - number * part_size) for number in there))
    digest = _digest_for(fetch, verify_checksum)
    if count - len(there) <= 1 or not fetch.ranges_work:
        straight = digest if not partial.done else None
        for number, start, end in parts if fetch.ranges_work else [(0, fetch.start, fetch.end)]:
            at = start
            for piece in fetch.pieces(start, end):
                partial.write(piece, at - fetch.start)
                if straight is not None:
                    straight.update(piece)
                at += len(piece)
                report(len(piece))
            partial.note(number)
        if straight is not None:
            return str(straight.hexdigest())
        return partial.md5() if digest is not None else None

    partial.set_size(size)
    concurrency = fetch.connection.max_concurrency
    parallelism = Parallelism(concurrency, max(_FIRST_PARTS, first_for(fetch.latency)))
    executor = ContextThreadPool(concurrency, "messageflux-s3-parts")
    try:
        is_hashed = digest is not None and not partial.done
        waiting: deque[tuple[Future[None], int, int]] = deque()
        for part in parts:
            waiting.append((executor.submit(_fetch_part, fetch, partial, report, parallelism, part), *part[1:]))
            while len(waiting) >= _PARTS_WAITING * concurrency:
                waiting = _settle(waiting, partial, fetch.start, digest if is_hashed else None)
        while waiting:
            waiting = _settle(waiting, partial, fetch.start, digest if is_hashed else None)
    finally:
        fetch.stopped.set()
        parallelism.close()
        executor.shutdown(wait=True, cancel_futures=True)
    if digest is None:
        return None
    return partial.md5() if partial.done else str(digest.hexdigest())


def _parts(fetch: _Fetch, partial: PartialFile, part_size: int) -> Iterator[tuple[int, int, int]]:
    """Yield number, start and end of each part that the file does not have yet. Never collect them: a response may announce any size."""
    for number, start in enumerate(range(fetch.start, fetch.end, part_size)):
        if number not in partial.done:
            yield number, start, min(start + part_size, fetch.end)


def _settle(
    waiting: deque[tuple[Future[None], int, int]], partial: PartialFile, begin: int, digest: Any
) -> deque[tuple[Future[None], int, int]]:
    """Wait for a part; return those that are not complete.

    Args:
        waiting: The parts, each with its start and end; not empty.
        partial: The file.
        begin: The offset in the object of the file's first byte.
        digest: Hashes the parts in order as soon as they arrive, while the bytes are still in the page cache. None to wait for any part.

    Raises:
        S3Error: A part failed.
    """
    if digest is not None:
        future, start, end = waiting.popleft()
        future.result()
        partial.hash_into(digest, start - begin, end - begin)
        return waiting
    done, _ = wait([future for future, _, _ in waiting], return_when=FIRST_COMPLETED)
    for future in done:
        future.result()
    return deque(part for part in waiting if part[0] not in done)


class _Ended(Exception):
    """Ends the reception of a part: the download was stopped, or its bytes could not be written or reported."""


def _fetch_part(
    fetch: _Fetch,
    partial: PartialFile,
    report: Callable[[int], None],
    parallelism: Parallelism,
    part: tuple[int, int, int],
) -> None:
    """Receive one part when it is its turn, write it to the file, and record it unless the download was stopped."""
    number, start, end = part
    received = reported = 0
    failure: Exception | None = None
    if not parallelism.acquire():
        return
    throttled = times_throttled(fetch.address.bucket)

    def write(piece: bytes | memoryview, at: int) -> None:
        nonlocal received, reported, failure
        if fetch.stopped.is_set():
            raise _Ended
        try:
            partial.write(piece, start - fetch.start + at)
            received += len(piece)
            new, reported = max(0, received - reported), max(received, reported)
            report(new)
        except Exception as error:
            failure = error
            raise _Ended from None
        parallelism.note(len(piece))

    def receive_by_boto3() -> None:
        nonlocal received
        if times_throttled(fetch.address.bucket) > throttled:
            parallelism.note_trouble()
        received = 0  # the lane's response was not complete, or not the one that was requested: begin again
        for piece in fetch.pieces(start, end, on_repeated=parallelism.note_trouble):
            write(piece, received)

    try:
        if fetch.is_begun(start):
            receive_by_boto3()
        else:
            operations.receive(fetch.reader, start, BodySink(end - start, write), receive_by_boto3)
    except _Ended:
        if failure is None:
            return  # the download was stopped
    finally:
        parallelism.release()
    if failure is not None:
        raise failure
    if fetch.stopped.is_set():
        return
    if received != end - start:  # MUST NOT count as complete: the file has its final size already, and zeros there
        raise fetch.reader.too_short(end - start - received)
    partial.note(number)


def _check_parts(fetch: _Fetch, partial: PartialFile) -> None:
    """Compare a file with an ETag made of the MD5s of parts, if the store returns the sizes of the parts.

    Raises:
        S3ChecksumError: The MD5s of the parts differ.

    Requests:
        those of :func:`~messageflux_s3._objects.checksum.compare_received_parts`
    """
    theirs = fetch.md5_of_parts
    if theirs is None or fetch.start or fetch.end != fetch.head.size:
        return
    checksum.compare_received_parts(
        fetch.reader.address, theirs, lambda: partial.pieces(fetch.end), fetch.end, fetch.reader.parameters
    )


def _journal_heading(fetch: _Fetch) -> dict[str, Any]:
    """Return the first entry of a journal, which identifies the object and the range. Only a journal with this entry is continued."""
    head = fetch.head
    return {
        "store": _digest_of_endpoint(fetch.connection.endpoint_url),
        "object": f"s3://{fetch.bucket_name}/{fetch.key}",
        "version": head.version_id,
        "modified": None if head.last_modified is None else head.last_modified.isoformat(),
        "etag": head.etag,
        "start": fetch.start,
        "end": fetch.end,
        "part": part_size_of(fetch.end - fetch.start),
    }


def _digest_of_endpoint(url: str) -> str:
    """Return a digest that identifies the store in a journal. Never store the URL itself: it may hold credentials."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    address = f"{parts.scheme}://{parts.hostname}:{port}{parts.path.rstrip('/')}"  # urlsplit lowercases scheme and host
    return hashlib.sha256(address.encode()).hexdigest()[:16]
