"""Upload files and streams: small ones in one request, others in parts, never completely in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from .._bulk.progress import Progress, reporting
from .._client.addresses import ObjectAddress
from .._formats import metadata as user_metadata
from .._formats.head import Head
from .._objects import checksum, conditional, confirmation, metadata_names, parallelism, put_parameters
from .._objects.multipart import MAX_PART_BYTES, MAX_PARTS, MIN_PART_BYTES, MultipartUpload
from .._objects.source import Source

THRESHOLD_BYTES = 16 * 1024 * 1024
"""Up to this size an upload is one request; above, it is sent in parts."""
PART_BYTES = 8 * 1024 * 1024
"""The largest size of a part, unless the source is too large for 10,000 of them or its size is unknown."""
_FIRST_PART_BYTES_OF_UNKNOWN_SIZE = 16 * 1024 * 1024
_MEBIBYTE = 1024 * 1024

Call = Callable[..., dict[str, Any]]


class UploadConfig(NamedTuple):
    """Settings of an upload, like boto3's ``TransferConfig``.

    Attributes:
        part_size_bytes: The size of a part, 5 MiB to 5 GiB, which is held in memory; None to choose it by the size of the source.
        verify_checksum: Whether to send an MD5 and compare it with the returned ETag, if boto3 does not send a checksum itself.
    """

    part_size_bytes: int | None = None
    verify_checksum: bool = True

    def check(self) -> None:
        """Check the size of a part.

        Raises:
            TypeError: The size is not a whole number.
            ValueError: The size is too small or too large.
        """
        size = self.part_size_bytes
        if size is None:
            return
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError(f"part_size_bytes must be a whole number, not {type(size).__name__}")
        if not MIN_PART_BYTES <= size <= MAX_PART_BYTES:
            raise ValueError(f"part_size_bytes must be {MIN_PART_BYTES:,} to {MAX_PART_BYTES:,}, it is {size:,}")


DEFAULT_CONFIG = UploadConfig()


def upload(
    address: ObjectAddress,
    source: Any,
    *,
    metadata: Mapping[str, str] | None = None,
    call: Call | None = None,
    config: UploadConfig = DEFAULT_CONFIG,
    progress: Progress = None,
    **extra: Any,
) -> Head:
    """Upload a file or stream: a small one in one request, others in parts; never completely in memory.

    Args:
        address: The object to write; its version ID is ignored.
        source: A path (``os.PathLike``), bytes, text, a readable (read from its position, and left open), or an iterable of bytes.
        metadata: User metadata; names and values are strings.
        call: Called instead of ``connection.call`` for the request that creates the object, with the same arguments (conditional writes).
        config: The size of the parts, and whether checksums are compared.
        progress: True, a callable or None.
        extra: Further parameters (:class:`~messageflux_s3._objects.put_parameters.PutParameters`).

    Returns:
        Size, ETag and version of the object written.

    Raises:
        S3ChecksumError: The bytes that the store received are not the bytes that were sent.
        OSError: The source ended before its initial size, or the file of a path was rewritten while it was read; nothing was stored.
        S3PreconditionFailed: The condition failed. With ``retryable``: another write was in progress, and the upload could not be repeated
            because the source can be read only once, or returned other bytes when it was read again.
        S3Unsupported: The store does not honour the condition, or ignores a parameter; for an upload in parts nothing was sent.
        TypeError: The source is not readable.
        ValueError: The part size is too small or too large, or the source is too large for it.

    Requests:
        1 PUT up to 16 MiB, else 1 POST, 1 PUT per part and 1 POST. Each time the conditional completion conflicts with another write (409),
        1 HEAD and the same requests again, if the source can be read again. On a store that is not AWS also those of
        :func:`~messageflux_s3._objects.confirmation.steps`
    """
    encoded = user_metadata.encode(metadata)
    parameters = {**put_parameters.s3_parameters(address.key, extra), "Metadata": encoded}
    config.check()
    metadata_names.require(address, encoded)
    uploading = _Upload(address, parameters, call, config)
    with Source(source) as given, reporting(progress, given.size, address.key.rpartition("/")[2]) as report:
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
            return uploading.send(given, note, passes)

        return conditional.sending_again(address.connection, send, rewind)


@dataclass(frozen=True, slots=True)
class _Upload:
    """One upload: the object to write, the parameters of the write, and how it is sent."""

    address: ObjectAddress
    parameters: dict[str, Any]
    call: Call | None
    config: UploadConfig

    def send(self, source: Source, report: Callable[[int], None], passes: _Passes | None) -> Head:
        """Send the source: in one request if it is small, else in parts."""
        part_size_bytes = self.config.part_size_bytes
        threshold = THRESHOLD_BYTES if part_size_bytes is None else part_size_bytes
        is_large = source.size is not None and source.size > threshold  # then do not look at its beginning first
        first = b"" if is_large else source.take(threshold)
        if not is_large and source.is_at_end():
            if passes is not None:
                passes.add(first)
            self._check_end(source, len(first), passes)
            answer, size = self._put(first, report), len(first)
        else:
            conditional.require_parts(self.call)
            source.put_back(first)
            del first
            answer, size = self._send_parts(source, report, passes)
        if self.parameters.get("WriteOffsetBytes"):
            return Head.from_append(answer.get("ETag"), answer.get("VersionId"))
        return Head.from_write(size, answer.get("ETag"), answer.get("VersionId"), self.parameters["Metadata"])

    def _put(self, body: bytes | bytearray, report: Callable[[int], None]) -> dict[str, Any]:
        (connection, bucket_name), key, _ = self.address
        of_one = {name: value for name, value in self.parameters.items() if name not in checksum.ONLY_IN_PARTS}
        whole = {"Bucket": bucket_name, "Key": key, "Body": body, **of_one}
        confirmation.require(self.address, "PutObject", of_one)
        report(len(body))  # before the request: if the callback raises, nothing must be written
        try:
            if self.call is None and self.config.verify_checksum:
                return checksum.call(connection, "PutObject", whole)
            return (self.call or connection.call)(
                "PutObject", **whole
            )  # a conditional call verifies the checksum itself
        except BaseException:
            with suppress(Exception):  # raise the error of the request instead
                report(-len(body))
            raise

    def _send_parts(
        self, source: Source, report: Callable[[int], None], passes: _Passes | None
    ) -> tuple[dict[str, Any], int]:
        """Send the source in parts; return the response to CompleteMultipartUpload, and the number of bytes."""
        part_size_bytes, verify_checksum = self.config
        if self.address.connection.kind.needs_equal_parts and source.size is None and part_size_bytes is None:
            part_size_bytes = _FIRST_PART_BYTES_OF_UNKNOWN_SIZE
        sizes = source.size, part_size_bytes
        written = 0
        with MultipartUpload(
            self.address,
            parameters=self.parameters,
            concurrency=parallelism.most_for(self.address.connection.max_concurrency, next(_part_sizes(*sizes))),
            verify_checksum=verify_checksum,
        ) as multipart:
            multipart.on_sent = report
            for part_size in _part_sizes(*sizes):
                if not (body := source.take(part_size)):
                    break
                multipart.add_part(body)
                if passes is not None:
                    passes.add(body)
                written += len(body)
            else:
                if not source.is_at_end():
                    raise ValueError(
                        f"{self.address.uri}: the source is longer than {MAX_PARTS:,} parts of this size; make them larger"
                    )
            self._check_end(source, written, passes)
            return multipart.complete(self.call), written

    def _check_end(self, source: Source, count: int, passes: _Passes | None) -> None:
        if passes is not None:
            passes.check()
        source.check_end(count, f"the source of {self.address.uri}")


class _Passes:
    """Checks that a source returns the same bytes each time an upload is sent.

    Some readables have a ``seek()`` that returns the right position but does not go there, such as those that have peeked at their first
    bytes, or that decrypt.
    """

    def __init__(self) -> None:
        self._first: bytes | None = None
        self.begin()

    def begin(self) -> None:
        """Begin to read the source, for the first time or again."""
        self._digest = hashlib.blake2b(digest_size=16)

    def add(self, piece: bytes | bytearray) -> None:
        """Add the next bytes to the digest."""
        self._digest.update(piece)

    def check(self) -> None:
        """Compare the digest with that of the first pass. Called when the source is at its end.

        Raises:
            SourceDiffers: The source returned other bytes than the first time.
        """
        found = self._digest.digest()
        self._first = self._first or found
        if found != self._first:
            raise conditional.SourceDiffers("the source gave other bytes when it was read again")


def _part_sizes(size: int | None, wanted: int | None) -> Iterator[int]:
    """Return the size of each part, so that 10,000 parts hold the source, or the largest possible object if the size is unknown."""
    if wanted is not None:
        return iter([wanted] * MAX_PARTS)
    if size is not None:
        mebibytes = -(-size // MAX_PARTS // _MEBIBYTE) + 1
        even = parallelism.even_part_size(size, MIN_PART_BYTES, PART_BYTES)
        return iter([max(even, mebibytes * _MEBIBYTE)] * MAX_PARTS)
    return (parallelism.growing_part_size(_FIRST_PART_BYTES_OF_UNKNOWN_SIZE, number) for number in range(MAX_PARTS))
