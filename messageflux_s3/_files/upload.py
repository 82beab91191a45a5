"""Upload files and streams: in one request where they are small, else in parts, never wholly in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from .._bulk.progress import Progress, reporting
from .._client.connection import Connection
from .._formats import metadata as user_metadata
from .._formats.head import Head
from .._objects import checksum, conditional, put_parameters
from .._objects.multipart import MAX_PARTS, MIN_PART_BYTES, MultipartUpload
from .._objects.source import Source

THRESHOLD_BYTES = 16 * 1024 * 1024
"""Up to this size an upload is one request, above it is sent in parts."""
PART_BYTES = 16 * 1024 * 1024
CONCURRENCY = 6
"""How many parts are sent in parallel; with the part size, the memory that an upload takes."""
_MEBIBYTE = 1024 * 1024

Call = Callable[..., dict[str, Any]]


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
        mebibytes = -(-size // MAX_PARTS // _MEBIBYTE) + 1
        return iter([max(PART_BYTES, mebibytes * _MEBIBYTE)] * MAX_PARTS)
    # Nobody knows how much is coming: parts grow slowly, so that 10,000 of them hold 5 TiB and small streams stay small in memory.
    return (PART_BYTES * min(64, 2 ** (number // 1000)) for number in range(MAX_PARTS))
