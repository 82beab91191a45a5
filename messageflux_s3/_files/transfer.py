"""Files and streams up and down: whole or not at all, checked, and in parallel where that pays.

This room knows a connection, a bucket's name, a key, and something of the user's to read from or write to; no handle. What it writes under
a target's name is whole: the bytes gather in a temporary file beside it. What it sends in parts appears when the last part is there.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

from .._bulk.progress import Progress, reporting
from .._client.connection import Connection
from .._formats import metadata as user_metadata
from .._formats.head import Head
from .._objects import checksum, conditional, operations, put_parameters, ranged_reader
from .._objects.multipart import MAX_PARTS, MIN_PART_BYTES, MultipartUpload
from .._objects.source import Source
from ..errors import S3ChecksumError, S3ConnectionError, S3Error, S3NoSuchItem, S3ObjectChanged
from . import file_target

_fcntl: ModuleType | None
try:
    import fcntl as _fcntl
except ImportError:  # pragma: no cover - Windows, where a file that is open for writing is not taken from under us
    _fcntl = None

THRESHOLD_BYTES = 16 * 1024 * 1024
"""Up to here an object travels in one request, beyond in parts."""
PART_BYTES = 16 * 1024 * 1024
CONCURRENCY = 6
"""How many parts are under way at once; with the part size, what a transfer holds in memory."""
MAX_OBJECT_BYTES = 5 * 1024**4
_PIECE_BYTES = 1024 * 1024

Call = Callable[..., dict[str, Any]]


# -- up -------------------------------------------------------------------------------------------------------------------------------


def upload(
    connection: Connection,
    bucket_name: str,
    key: str,
    source: Any,
    *,
    metadata: Mapping[str, str] | None = None,
    call: Call | None = None,
    part_size_bytes: int | None = None,
    verify_checksum: bool = True,
    progress: Progress = None,
    **extra: Any,
) -> Head:
    """Send whatever can be read. In one request where it is small, else in parts; never wholly in memory.

    Args:
        connection: The way to the store.
        bucket_name: The bucket.
        key: The key.
        source: A path (``os.PathLike``), bytes, text, a readable (read from where it stands, and left open), or an iterable of bytes.
        metadata: User metadata, text to text.
        call: Makes the request that makes the object, in place of ``connection.call``, with the same arguments (under a condition).
        part_size_bytes: The size of a part, 5 MiB at least; None for one that fits.
        verify_checksum: Whether to send an MD5 along and to compare the store's, where boto3 sends no checksum itself.
        progress: True, a callable or None.
        extra: Further parameters (:class:`~messageflux_s3._objects.put_parameters.PutParameters`).

    Returns:
        Size, etag and version of what was written.

    Raises:
        S3ChecksumError: The store received other bytes than were sent.
        OSError: The source ended before the size that it had at first; nothing was written.
        S3PreconditionFailed: Under a condition; with ``retryable`` where another write was under way, and the source can be read once only
            or gave other bytes when it was read again.
        S3Unsupported: The store does not honour the condition; of an upload in parts nothing was sent.
        TypeError: The source is nothing that can be read.
        ValueError: The part size is too small, or the source too large for it.

    Requests:
        1 PUT up to 16 MiB, else 1 POST, 1 PUT per part and 1 POST; all of those and 1 HEAD again each time that the completion under a
        condition meets another write (409), where the source can be read again
    """
    encoded = user_metadata.encode(metadata)
    parameters = {**put_parameters.s3_parameters(key, extra), "Metadata": encoded}
    if part_size_bytes is not None:
        if isinstance(part_size_bytes, bool) or not isinstance(part_size_bytes, int):
            raise TypeError(f"part_size_bytes must be a whole number, not {type(part_size_bytes).__name__}")
        if part_size_bytes < MIN_PART_BYTES:
            raise ValueError(f"part_size_bytes must be at least {MIN_PART_BYTES:,}, it is {part_size_bytes:,}")
    with Source(source) as given, reporting(progress, given.size, key.rpartition("/")[2]) as report:
        sent: list[int] = []
        passes = None if call is None or isinstance(source, (bytes, str)) else _Passes()

        def note(count: int) -> None:
            sent.append(count)
            report(count)

        def rewind() -> bool:
            if not given.rewind():
                return False
            report(-sum(sent))
            sent.clear()
            if passes is not None:
                passes.begin()
            return True

        def send() -> Head:
            return _upload_pieces(
                connection, bucket_name, key, given, parameters, call, part_size_bytes, verify_checksum, note, passes
            )

        return conditional.sending_again(connection, send, rewind)


def _upload_pieces(
    connection: Connection,
    bucket_name: str,
    key: str,
    source: Source,
    parameters: dict[str, Any],
    call: Call | None,
    part_size_bytes: int | None,
    verify_checksum: bool,
    report: Callable[[int], None],
    passes: _Passes | None,
) -> Head:
    def check_end(count: int) -> None:
        if passes is not None:
            passes.check()
        if source.is_cut(count):
            raise OSError(
                f"the source of s3://{bucket_name}/{key} ended after {count:,} of {source.size:,} bytes: it was cut while it was read"
            )

    first = source.take(THRESHOLD_BYTES if part_size_bytes is None else part_size_bytes)
    if source.is_at_end():
        if passes is not None:
            passes.add(first)
        check_end(len(first))
        of_one = {name: value for name, value in parameters.items() if name not in checksum.ONLY_IN_PARTS}
        whole = {"Bucket": bucket_name, "Key": key, "Body": first, **of_one}
        report(len(first))  # before the request: what it raises, to cancel the upload, must not leave an object
        try:
            if call is None and verify_checksum:
                answer = checksum.call(connection, "PutObject", whole)
            else:
                answer = (call or connection.call)("PutObject", **whole)  # under a condition it is checked there
        except BaseException:
            with suppress(Exception):  # the error of the request is the one to tell
                report(-len(first))
            raise
        return Head.from_write(len(first), answer.get("ETag"), answer.get("VersionId"), parameters["Metadata"])

    conditional.require_parts(call)
    size, written = source.size, 0
    with MultipartUpload(
        connection, bucket_name, key, parameters=parameters, concurrency=CONCURRENCY, verify_checksum=verify_checksum
    ) as multipart:
        multipart.on_sent = report
        source.put_back(first)
        del first
        for part_size in _part_sizes(size, part_size_bytes):
            if not (body := source.take(part_size)):
                break
            multipart.add_part(body)
            if passes is not None:
                passes.add(body)
            written += len(body)
        else:
            if not source.is_at_end():
                raise ValueError(
                    f"s3://{bucket_name}/{key}: the source is longer than {MAX_PARTS:,} parts of this size; make them larger"
                )
        check_end(written)
        answer = multipart.complete(call)
    return Head.from_write(written, answer.get("ETag"), answer.get("VersionId"), parameters["Metadata"])


class _Passes:
    """Compares what a source gives for an upload that is sent again with what it gave the first time.

    A readable may say that it is back where it was, and be elsewhere: one that has looked at its first bytes, or that decrypts.
    """

    def __init__(self) -> None:
        self._first: bytes | None = None
        self.begin()

    def begin(self) -> None:
        """Begin a pass."""
        self._digest = hashlib.blake2b(digest_size=16)

    def add(self, piece: bytes | bytearray) -> None:
        """Take note of the next bytes."""
        self._digest.update(piece)

    def check(self) -> None:
        """End a pass.

        Raises:
            SourceDiffers: It gave other bytes than the first one.
        """
        found = self._digest.digest()
        self._first = self._first or found
        if found != self._first:
            raise conditional.SourceDiffers("the source gave other bytes when it was read again")


def _part_sizes(size: int | None, wanted: int | None) -> Iterator[int]:
    """The size of each part: 10,000 parts are enough for what is coming, or for the largest object there can be."""
    if wanted is not None:
        return iter([wanted] * MAX_PARTS)
    if size is not None:
        mebibytes = -(-size // MAX_PARTS // _PIECE_BYTES) + 1
        return iter([max(PART_BYTES, mebibytes * _PIECE_BYTES)] * MAX_PARTS)
    # Nobody knows how much is coming: parts grow slowly, so that 10,000 of them hold 5 TiB and small streams stay small in memory.
    return (PART_BYTES * min(64, 2 ** (number // 1000)) for number in range(MAX_PARTS))


def _check_parts(fetch: _Fetch, partial: _Partial) -> None:
    """Compare a file with an etag made of the MD5s of parts, where the store tells how long the parts are.

    Raises:
        S3ChecksumError: The parts are others.

    Requests:
        1 HEAD
    """
    theirs = fetch.md5_of_parts
    if theirs is None or fetch.start or fetch.end != fetch.head.size:
        return
    checksum.compare_received_parts(
        fetch.connection,
        theirs,
        lambda: partial.pieces(fetch.end),
        fetch.end,
        fetch.bucket_name,
        fetch.key,
        fetch.parameters,
    )


# -- down -----------------------------------------------------------------------------------------------------------------------------


def download(
    connection: Connection,
    bucket_name: str,
    key: str,
    target: str | os.PathLike[str],
    *,
    version_id: str | None = None,
    start: int = 0,
    end: int | None = None,
    overwrite: bool = True,
    resume: bool = False,
    verify_checksum: bool | None = None,
    if_match: str | None = None,
    progress: Progress = None,
    follow: bool = True,
    **extra: Any,
) -> Head:
    """Write an object, or bytes of it, to a file that is whole or not there.

    Args:
        connection: The way to the store.
        bucket_name: The bucket.
        key: The key.
        target: The file; folders above it are made. A link to a file is kept, and the file that it leads to is replaced. Pipes and
            character devices (also behind a link) are written through: they get the bytes in order, and a failure may come late.
        version_id: A version of the object.
        start: The first byte, from zero.
        end: The byte after the last one; None for all the rest.
        overwrite: Whether a file that is there is replaced.
        resume: Whether to go on where a killed download with ``resume=True`` ended.
        verify_checksum: Whether to compare the object's MD5 (or its parts' MD5s), where the store tells them, with that of what arrived.
            None: up to 16 MiB; MD5 is slower than the network, and a larger object is held to its length and to the transport's own checks.
        if_match: The etag that the object must have.
        progress: True, a callable or None.
        follow: Whether the target's path is the user's own; False for one that was made from a key. Then a link is replaced by the file,
            and pipes and devices are refused.
        extra: Further parameters of GetObject.

    Returns:
        What the store said of the object.

    Raises:
        FileExistsError: The file is there, and ``overwrite`` is not set; or it is a socket or a block device; or, with ``resume``, the
            files of an interrupted download are links or belong to another user.
        IsADirectoryError: A folder is in the way.
        ValueError: With ``resume``: the target is no regular file.
        S3NoSuchItem: There is no such object.
        S3ObjectChanged: It was replaced in the middle.
        S3ChecksumError: The file is not what the object's etag says.

    Requests:
        1 GET, and 1 more for each 16 MiB after the first; with ``verify_checksum=True`` 1 HEAD for an object written in parts
    """
    check_range(start, end)
    path, is_stream = file_target.check(Path(target), overwrite=overwrite, follow=follow)
    if is_stream and resume:
        raise ValueError(f"resume=True needs a regular file to go on with; {os.fspath(target)!r} is none")
    fetch = _Fetch(connection, bucket_name, key, version_id, start, end, if_match, extra)
    if is_stream:
        _write_through(fetch, path, verify_checksum, progress)
        return fetch.head
    path.parent.mkdir(parents=True, exist_ok=True)
    with fetch:
        partial = _Partial(path, fetch, resume=resume)
        keep = False
        try:
            size = fetch.end - fetch.start
            with reporting(progress, size, path.name) as report:
                md5 = _fetch_into(fetch, partial, report, verify_checksum)
            if md5 is not None:
                checksum.compare_received(connection, str(fetch.md5), md5, bucket_name, key, fetch.parameters)
            if verify_checksum:
                _check_parts(fetch, partial)
            partial.publish(overwrite=overwrite)
        except BaseException as error:
            keep = resume and not isinstance(error, (S3ChecksumError, S3ObjectChanged, FileExistsError))
            raise
        finally:
            partial.close(keep=keep)
    return fetch.head


def _write_through(fetch: _Fetch, path: Path, verify_checksum: bool | None, progress: Progress) -> None:
    """Write the bytes to a pipe or a device in order. The object is asked for first: opening a pipe waits for its reader."""
    with fetch, open(file_target.open_stream(path), "wb", buffering=0) as stream:  # noqa: PTH123 - a descriptor, not a path
        _copy_to(fetch, stream, verify_checksum, progress, path.name)


def write_file(target: Path, body: bytes, *, overwrite: bool = True) -> None:
    """Give a file of a folder its content: whole, or not at all. A link of its name is replaced.

    Raises:
        FileExistsError: The file is there, and ``overwrite`` is not set; or it is no regular file.
        IsADirectoryError: A folder is in its way.
    """
    file_target.check(target, overwrite=overwrite, follow=False)
    _replace(target, lambda file: file.write(body), overwrite=overwrite)


def write_target(target: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> None:
    """Let a function write a file, which is whole afterwards or as it was before. Links, pipes and devices are as in :func:`download`.

    Raises:
        FileExistsError: It is a socket or a block device.
        IsADirectoryError: A folder is in the way.
    """
    path, is_stream = file_target.check(Path(target), overwrite=True, follow=True)
    if is_stream:
        with open(file_target.open_stream(path), "wb", buffering=0) as stream:  # noqa: PTH123 - a descriptor, not a path
            write(cast(BinaryIO, stream))
    else:
        _replace(path, write, overwrite=True)


def _replace(target: Path, write: Callable[[BinaryIO], object], *, overwrite: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    fd, name = tempfile.mkstemp(
        prefix=f"{file_target.temporary_stem(target)}.", suffix=".mfs3-partial", dir=target.parent
    )
    try:
        with os.fdopen(fd, "wb") as file:
            write(file)
            _set_usual_mode(fd, target)
        _give_name(Path(name), target, overwrite=overwrite)
    except BaseException:
        with suppress(FileNotFoundError):
            Path(name).unlink()
        raise


def _give_name(partial: Path, target: Path, *, overwrite: bool) -> None:
    """Give a whole file its name, at once."""
    if overwrite:
        file_target.check(target, overwrite=True, follow=False)  # once more: it may have become a pipe since
        partial.replace(target)
    elif os.name == "nt":  # pragma: no cover - Windows only
        partial.rename(target)  # refuses there what exists
    else:
        try:
            os.link(partial, target)  # unlike a rename, refuses what exists
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            file_target.check(target, overwrite=False, follow=False)  # FAT has no links: the next best
            partial.rename(target)
        else:
            partial.unlink()


_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def download_to_writable(
    connection: Connection,
    bucket_name: str,
    key: str,
    writable: Any,
    *,
    version_id: str | None = None,
    verify_checksum: bool | None = None,
    progress: Progress = None,
    **extra: Any,
) -> Head:
    """Write an object to anything with ``write``, in order; parts of a large one are read ahead.

    Requests:
        1 GET
    """
    if not hasattr(writable, "write"):
        raise TypeError(f"writable_stream must have write(), {type(writable).__name__} has not")
    fetch = _Fetch(connection, bucket_name, key, version_id, 0, None, None, extra)
    with fetch:
        _copy_to(fetch, writable, verify_checksum, progress, key.rpartition("/")[2])
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
            checksum.compare_received(
                fetch.connection, str(fetch.md5), digest.hexdigest(), fetch.bucket_name, fetch.key, fetch.parameters
            )


def check_range(start: int, end: int | None) -> None:
    """Refuse what is no half-open range."""
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
        if count is None or count >= len(view):  # None: a writable that does not say took it all
            return
        view = view[count:]


class _Fetch:
    """One object to be read in parts, all of one etag. Entered, the first answer is there: its head, its size, its body."""

    def __init__(
        self,
        connection: Connection,
        bucket_name: str,
        key: str,
        version_id: str | None,
        start: int,
        end: int | None,
        if_match: str | None,
        extra: Mapping[str, Any],
    ) -> None:
        self.connection = connection
        self.bucket_name = bucket_name
        self.key = key
        self.start = start
        self.wanted_end = end
        self.end = 0
        self._etag = if_match
        self.parameters: dict[str, Any] = dict(extra)
        if version_id is not None:
            self.parameters["VersionId"] = version_id
        self._first: Any = None
        self._first_lock = threading.Lock()
        self.head = Head()
        self.md5: str | None = None
        self.md5_of_parts: str | None = None
        self.stopped = threading.Event()
        self.ranges_work = True

    def __enter__(self) -> _Fetch:
        nothing_wanted = self.wanted_end is not None and self.wanted_end <= self.start
        if nothing_wanted:
            self.head = self._head()
            self.end = self.start
            return self
        try:
            answer = self._get(self.start, self.wanted_end)
        except S3Error as error:
            if error.status != 416:
                raise
            # The range begins behind the object's end: there is nothing to fetch, as in a slice.
            self.head = self._head()
            self.end = self.start
            return self
        self.head = Head.from_answer(answer)
        self._etag = self.head.etag or self._etag
        self.md5 = checksum.known_md5(self.connection, self.bucket_name, answer)
        self.md5_of_parts = checksum.known_md5_of_parts(self.connection, self.bucket_name, answer)
        self._first = answer["Body"]
        if self.head.size is None:  # an answer in chunks, without a length
            self.head = self._head()
            ranged_reader.check_etag(self.head.etag, self._etag, self.bucket_name, self.key)
        total = self.head.size or 0
        self.end = max(self.start, total if self.wanted_end is None else min(self.wanted_end, total))
        if self.start and not answer.get("ContentRange"):
            self.ranges_work = False
            self._skip(self.start)
        return self

    def __exit__(self, *exc: object) -> None:
        self.stopped.set()
        first, self._first = self._first, None
        if first is not None:
            first.close()

    def _skip(self, count: int) -> None:
        with self.connection.translating("GetObject", self.bucket_name, self.key):
            while count and (piece := self._first.read(min(count, _PIECE_BYTES))):
                count -= len(piece)

    def _head(self) -> Head:
        given = put_parameters.for_every_request(self.parameters)
        return operations.head(self.connection, self.bucket_name, self.key, self.parameters.get("VersionId"), given)

    def _get(self, start: int, end: int | None) -> dict[str, Any]:
        """One GET from ``start``, under the etag that is known."""
        parameters = dict(self.parameters)
        if start or end is not None:
            parameters["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
        try:
            return ranged_reader.get_pinned(self.connection, self.bucket_name, self.key, self._etag, parameters)
        except S3NoSuchItem as error:
            if self._first is None and self.head.etag is None:
                raise
            raise S3ObjectChanged(
                f"s3://{self.bucket_name}/{self.key} was deleted while it was being read: its etag was {self._etag}",
                operation="GetObject",
                bucket=self.bucket_name,
                key=self.key,
            ) from error

    def pieces(self, start: int, end: int) -> Iterator[bytes]:
        """The bytes of a range, piece by piece; goes on at its offset when the connection breaks."""
        at = start
        attempts = self.connection.config.max_attempts
        while at < end:
            body = None
            begun = at
            try:
                body = self._body_from(at, end)
                with self.connection.translating("GetObject", self.bucket_name, self.key):
                    while at < end and not self.stopped.is_set():
                        piece: bytes = body.read(min(_PIECE_BYTES, end - at))
                        if not piece and at > begun and self._etag is not None:
                            break  # the answer held less than was asked for: the rest is asked for next
                        if not piece:
                            raise S3ConnectionError(
                                f"GetObject on s3://{self.bucket_name}/{self.key}: the body ended {end - at} bytes early",
                                operation="GetObject", bucket=self.bucket_name, key=self.key, retryable=True,
                            )  # fmt: skip
                        at += len(piece)
                        yield piece
                if self.stopped.is_set():
                    return
            except S3ConnectionError as error:
                attempts -= 1
                if attempts <= 0 or self._etag is None or error.status is not None:
                    raise
            finally:
                if body is not None:
                    body.close()

    def _body_from(self, at: int, end: int) -> Any:
        """A body that begins at a byte: that of the first answer where it fits, else one of its own."""
        with self._first_lock:
            if at == self.start and self._first is not None:
                first, self._first = self._first, None
                return first
        answer = self._get(at, end)
        if at and not answer.get("ContentRange"):  # the range was ignored: the whole object comes
            body = answer["Body"]
            left = at
            with self.connection.translating("GetObject", self.bucket_name, self.key):
                while left and (piece := body.read(min(left, _PIECE_BYTES))):
                    left -= len(piece)
            return body
        return answer["Body"]

    def pieces_in_order(self) -> Iterator[bytes]:
        """All the bytes, from the first to the last."""
        return self.pieces(self.start, self.end)


def _digest_for(fetch: _Fetch, verify_checksum: bool | None) -> Any:
    """An MD5 to be fed, where the etag is one and the whole object is read."""
    whole = fetch.start == 0 and fetch.end == fetch.head.size
    wanted = fetch.end <= PART_BYTES if verify_checksum is None else verify_checksum
    return hashlib.md5(usedforsecurity=False) if wanted and whole and fetch.md5 is not None else None


def _fetch_into(
    fetch: _Fetch, partial: _Partial, report: Callable[[int], None], verify_checksum: bool | None
) -> str | None:
    """Fill the partial file; return the MD5 of what is in it where the object's own is known."""
    size = fetch.end - fetch.start
    parts = [
        (number, fetch.start + at, min(fetch.start + at + PART_BYTES, fetch.end))
        for number, at in enumerate(range(0, size, PART_BYTES))
        if number not in partial.done
    ]
    report(size - sum(end - start for _, start, end in parts))
    digest = _digest_for(fetch, verify_checksum)
    if len(parts) <= 1 or not fetch.ranges_work:
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

    def fetch_part(number: int, start: int, end: int) -> None:
        at = start
        for piece in fetch.pieces(start, end):
            partial.write(piece, at - fetch.start)
            at += len(piece)
            report(len(piece))
        if at == end:
            partial.note(number)

    concurrency = max(1, min(CONCURRENCY, fetch.connection.config.max_concurrency))
    executor = ThreadPoolExecutor(concurrency, "messageflux-s3-parts")
    try:
        waiting = [executor.submit(fetch_part, *part) for part in parts]
        if digest is not None:
            # Hashed in order, right behind the parts as they come in: the bytes are still in the page cache.
            for future, (_, start, end) in () if partial.done else zip(waiting, parts, strict=True):
                future.result()
                partial.hash_into(digest, start - fetch.start, end - fetch.start)
        done, _ = wait(waiting, return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()
    finally:
        fetch.stopped.set()
        executor.shutdown(wait=True, cancel_futures=True)
    if digest is None:
        return None
    return partial.md5() if partial.done else str(digest.hexdigest())


def _digest_of_endpoint(url: str) -> str:
    """Return what tells one store from another in a journal. It shows nothing of the address, which may hold credentials."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    address = f"{parts.scheme}://{parts.hostname}:{port}{parts.path.rstrip('/')}"  # urlsplit lowers scheme and host
    return hashlib.sha256(address.encode()).hexdigest()[:16]


class _Partial:
    """The file beside the target in which the bytes gather, and the journal of the parts that are in it."""

    def __init__(self, target: Path, fetch: _Fetch, *, resume: bool) -> None:
        self._target = target
        self._journal: BinaryIO | None = None
        self._is_published = False
        self._lock = threading.Lock()
        self._fd = -1
        self.done: set[int] = set()
        stem = file_target.temporary_stem(target)
        self.path = target.with_name(f"{stem}.mfs3-partial")
        if resume and self._open_alone():
            self._journal_path = target.with_name(f"{stem}.mfs3-journal")
            try:
                file_target.check_single_name(self._fd, self.path)
                self._take_up(
                    {
                        "store": _digest_of_endpoint(fetch.connection.endpoint_url),
                        "object": f"s3://{fetch.bucket_name}/{fetch.key}",
                        "version": fetch.head.version_id,
                        "modified": None if fetch.head.last_modified is None else fetch.head.last_modified.isoformat(),
                        "etag": fetch.head.etag,
                        "start": fetch.start,
                        "end": fetch.end,
                        "part": PART_BYTES,
                    }
                )
            except BaseException:
                self._close_file()
                raise
        else:
            self._fd, name = tempfile.mkstemp(prefix=f"{stem}.", suffix=".mfs3-partial", dir=target.parent)
            self.path = Path(name)

    def _open_alone(self) -> bool:
        """Open the file that a journal may be about; False while another download is at it, which then keeps it for itself."""
        while True:
            self._fd = file_target.open_own(self.path)
            if _fcntl is None:  # pragma: no cover - Windows only
                return True
            try:
                _fcntl.flock(self._fd, _fcntl.LOCK_EX | _fcntl.LOCK_NB)
            except OSError:
                os.close(self._fd)
                return False
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(self._fd), self.path.stat()):
                    return True
            os.close(self._fd)  # the other one ended just now, and the file has the target's name

    def _take_up(self, description: dict[str, Any]) -> None:
        """Go on where the journal ends, if it is about the same bytes of the same object; else begin anew."""
        journal = cast(BinaryIO, os.fdopen(file_target.open_own(self._journal_path), "r+b", buffering=0))
        try:
            file_target.check_single_name(journal.fileno(), self._journal_path)
            known = journal.read()
        except BaseException:
            journal.close()
            raise
        self._journal = journal
        lines = known.split(b"\n")
        heading = json.dumps(description).encode()
        # A journal without its file, or with one too short for it, counts for nothing: the parts it tells of are not there.
        whole = os.fstat(self._fd).st_size == description["end"] - description["start"]
        if lines[0] == heading and description["etag"] and whole:
            self.done = {int(line) for line in lines[1:-1] if line.isdigit()}  # what follows the last line end was cut
        else:
            os.ftruncate(self._fd, 0)
            os.ftruncate(self._fd, description["end"] - description["start"])
            known = heading + b"\n"
        kept = known[: known.rfind(b"\n") + 1]
        journal.seek(0)
        journal.write(kept)
        journal.truncate()

    def write(self, piece: bytes, at: int) -> None:
        _write_at(self._fd, piece, at, self._lock)

    def note(self, number: int) -> None:
        """A part is in the file, whole; on the disk before the journal says so, since a machine that loses its power loses what is not."""
        if self._journal is not None:
            os.fsync(self._fd)
            self._journal.write(b"%d\n" % number)

    def hash_into(self, digest: Any, start: int, end: int) -> None:
        at = start
        buffer = memoryview(bytearray(min(_PIECE_BYTES, max(1, end - start))))
        while at < end and (count := _read_at(self._fd, buffer[: end - at], at, self._lock)):
            digest.update(buffer[:count])
            at += count

    def pieces(self, size: int) -> Iterator[bytes]:
        """Read the file back from its beginning."""
        at = 0
        buffer = bytearray(_PIECE_BYTES)
        while at < size and (count := _read_at(self._fd, memoryview(buffer)[: size - at], at, self._lock)):
            yield bytes(memoryview(buffer)[:count])
            at += count

    def md5(self) -> str:
        digest = hashlib.md5(usedforsecurity=False)
        self.hash_into(digest, 0, os.fstat(self._fd).st_size)
        return digest.hexdigest()

    def publish(self, *, overwrite: bool) -> None:
        """Give the file its name, at once and whole."""
        _set_usual_mode(self._fd, self._target)
        if os.name == "nt":  # pragma: no cover - Windows only
            self._close_file()  # an open file keeps its name there; elsewhere the lock on it is kept until it has the new one
        self._forget_journal()  # first: a journal that outlived its file would vouch for the parts of the next one
        _give_name(self.path, self._target, overwrite=overwrite)
        self._is_published = True

    def close(self, *, keep: bool) -> None:
        if os.name == "nt":  # pragma: no cover - Windows only
            self._close_file()
        if not self._is_published and not (keep and self._journal is not None):
            self._forget_journal()
            with suppress(FileNotFoundError):
                self.path.unlink()
        if self._journal is not None:
            self._journal.close()
        self._close_file()  # last: nobody takes up a file that is about to go

    def _close_file(self) -> None:
        if self._fd != -1:  # pragma: no branch - closed twice on Windows only
            os.close(self._fd)
            self._fd = -1

    def _forget_journal(self) -> None:
        if self._journal is not None:
            self._journal.close()
            with suppress(FileNotFoundError):
                self._journal_path.unlink()


def _set_usual_mode(fd: int, target: Path) -> None:
    """Give a new file the mode of the one that it replaces, else what any new file here gets."""
    mode = 0o666 & ~_UMASK
    with suppress(OSError):
        mode = target.stat().st_mode & 0o777
    with suppress(AttributeError, PermissionError):
        os.fchmod(fd, mode)


def _read_umask() -> int:
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


_UMASK = _read_umask()  # once, at import: asking changes it for a moment, for all threads

if hasattr(os, "pwrite") and hasattr(os, "preadv"):

    def _write_at(fd: int, piece: bytes, at: int, lock: threading.Lock) -> None:
        written = os.pwrite(fd, piece, at)
        while written < len(piece):
            written += os.pwrite(fd, memoryview(piece)[written:], at + written)

    def _read_at(fd: int, buffer: memoryview, at: int, lock: threading.Lock) -> int:
        return os.preadv(fd, [buffer], at)

else:  # pragma: no cover - Windows only

    def _write_at(fd: int, piece: bytes, at: int, lock: threading.Lock) -> None:
        with lock:
            os.lseek(fd, at, os.SEEK_SET)
            written = 0
            while written < len(piece):
                written += os.write(fd, memoryview(piece)[written:])

    def _read_at(fd: int, buffer: memoryview, at: int, lock: threading.Lock) -> int:
        with lock:
            os.lseek(fd, at, os.SEEK_SET)
            piece = os.read(fd, len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)
