"""Read the content of one object, pinned to one ETag and version, with checked ranges, and resumed after a broken connection.

:class:`RangedReader` represents the object, :class:`ObjectStream` one range of it that is being read. Streams, downloads, file objects,
previews and fsspec all read through them.
"""

from __future__ import annotations

import io
import operator
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

from .._client.addresses import ObjectAddress
from .._client.connection import Connection
from .._formats import etags
from .._formats.head import Head
from ..errors import (
    S3ConnectionError,
    S3Error,
    S3NoSuchItem,
    S3ObjectChanged,
    S3PreconditionFailed,
    S3ServerError,
    S3Unsupported,
)
from . import checksum
from .etag_conditions import in_condition
from .put_parameters import for_every_request

_MISREAD = "get_if_match_misread"
_PIECE_BYTES = 1024 * 1024
_LONGEST_PAUSE = 2.0

_CONTENT_RANGE = re.compile(r"bytes[ =]+(\d+)-(\d+)/(\d+)", re.ASCII | re.IGNORECASE)


def etag_for(connection: Connection, etag: str | None) -> str | None:
    """Return an ETag for If-Match on a read.

    Return None for a weak ETag: no condition can be sent, so the ETag of the response is compared instead.
    """
    return None if etag is None or etags.is_weak(etag) else in_condition(connection, etag)


def check_etag(address: ObjectAddress, found: str | None, wanted: str | None, cause: S3Error | None = None) -> None:
    """Reject a response whose etag differs from that of the content being read.

    Raises:
        S3ObjectChanged: The response has another etag.
    """
    if wanted is None or found is None or etags.same(found, wanted):
        return
    raise S3ObjectChanged(
        f"{address.uri} was replaced while it was being read: its etag was {wanted}, now it is {found}",
        operation="GetObject",
        bucket=address.bucket_name,
        key=address.key,
        code=cause.code if cause else None,
        status=cause.status if cause else None,
        request_id=cause.request_id if cause else None,
    ) from cause


def check_version(address: ObjectAddress, found: Head) -> None:
    """Reject a response for another version: a store without versioning may ignore the version ID and send the current object.

    Raises:
        S3Unsupported: The response does not have this version ID. For the version "null", which is the object itself in a bucket without
            versioning, the response need not have one.
    """
    version_id = address.version_id
    if version_id is None or address.connection.is_aws:
        return  # do not access `found`, which is decoded at the first access
    if version_id == found.version_id or (version_id == "null" and not found.version_id):
        return
    raise S3Unsupported(
        f"{address.uri}: asked for version {version_id}, the store sent "
        f"{f'version {found.version_id}' if found.version_id else 'an object without a version'}: the bucket has no versions",
        bucket=address.bucket_name,
        key=address.key,
    )


def get_stream(
    address: ObjectAddress,
    *,
    start: int = 0,
    end: int | None = None,
    if_match: str | None = None,
    size: int | None = None,
) -> tuple[Head, ObjectStream]:
    """Send one GET, and return its body as a stream.

    Args:
        address: The object, or one of its versions.
        start: The first byte wanted, from zero.
        end: The byte after the last one wanted; None for the rest of the object.
        if_match: The etag that the object must still have.
        size: The size that the object must still have.

    Requests:
        1 GET (more only after a broken connection)
    """
    reader = RangedReader(address, if_match, size=size)
    stream = reader.open(start, end)
    return reader.head, stream


def read_up_to(at_most: int | None, found: Head, stream: ObjectStream) -> tuple[Head, bytes | None]:
    """Read a response body unless it is larger than ``at_most``; it may be chunked, without Content-Length.

    Returns:
        The head, with the size determined, and the body, or None if it is larger.
    """
    if at_most is None or found.size is not None:
        body = stream.read() if at_most is None or cast(int, found.size) <= at_most else None
    else:
        body = stream.read(at_most + 1)
        if len(body) > at_most:
            return found, None
    return (found if body is None or found.size is not None else replace(found, size=len(body))), body


def offset_in_body(address: ObjectAddress, answer: Mapping[str, Any], start: int) -> int:
    """Return the number of bytes in a response body before the first byte requested.

    A cache may return more than was requested, such as whole blocks around the range; then the bytes before and after the range have to be
    skipped. A cache may also return less; then the reader requests the rest. A response without Content-Range is the whole object.

    Args:
        address: The object, for the error.
        answer: boto3's response to GetObject: its status, Content-Range and length are read.
        start: The first byte requested; 0 if no range was requested.

    Raises:
        S3ServerError: The body does not contain that byte, or the response does not say what it contains.
    """
    status = (answer.get("ResponseMetadata") or {}).get("HTTPStatusCode")
    said = str(answer.get("ContentRange") or "").strip()
    if not said and status != 206:
        return start
    length = answer.get("ContentLength")
    if length == 0 and said.endswith("/0"):
        return 0  # an empty object has no valid range: some stores send "bytes 0--1/0"
    served = _CONTENT_RANGE.fullmatch(said)
    if served is not None:
        first, last, total = map(int, served.groups())
        if first <= start <= last < total and length in (None, last + 1 - first):
            return start - first
    raise S3ServerError(
        f"GetObject on {address.uri}: asked for the bytes from {start} on, the store sent "
        f"{f'Content-Range {said!r}' if said else 'part of the object (206) without saying which (no Content-Range)'}"
        f"{'' if served is None else f' with {length} bytes'}",
        operation="GetObject",
        bucket=address.bucket_name,
        key=address.key,
        status=status,
        retryable=True,
    )


def read_whole(address: ObjectAddress) -> tuple[Mapping[str, Any], bytes]:
    """Read a whole object through boto3, and compare its MD5 with the ETag; resume at the offset reached if the connection breaks.

    For callers that replace the object afterwards: they need the ETag and every attribute, under boto3's names.

    Returns:
        boto3's first response, without a body, and the content.

    Raises:
        S3NoSuchItem: The object does not exist.
        S3ConnectionError: The response has no ETag, or the content could not be read, after several attempts.
        S3ServerError: The content is longer than the object.
        S3ObjectChanged: The object was replaced while it was being read.
        S3ChecksumError: The bytes received are not the object's.

    Requests:
        1 GET (more only after a broken connection, or if the MD5 differs); if the response has no Content-Length, 1 HEAD
    """
    reader = RangedReader(address)
    with reader.open() as stream:
        if reader.etag is None:  # the next write would have no condition
            raise S3ConnectionError(
                f"GetObject on {address.uri}: the headers of the response were cut off: they have no ETag",
                operation="GetObject",
                bucket=address.bucket_name,
                key=address.key,
                retryable=True,
            )
        if reader.size is None:  # a gateway may end a body in chunks early: a HEAD tells its size
            now = Head.from_answer(address.connection.call("HeadObject", **address.parameters))
            if etags.same(now.etag, reader.etag):  # else the next write fails, as for any object that was replaced
                reader.size = now.size
        body = stream.read()
    answer = reader.answer or {}
    checksum.check_received(address, answer, body)
    return answer, body


class RangedReader:
    """Reader for ranges of one object: every response must have the ETag, version and size of the first one. Threads may share it.

    Args:
        address: The object, or the version to read.
        etag: The ETag that the object must have.
        parameters: Further parameters of GetObject, for every request.
        size: The size that the object must have.

    Attributes:
        etag: The ETag to which the reader is pinned; None until a response has one.
        head: The head from the first response; empty before it.
        size: The size of the whole object; None until a response includes it.
        answer: boto3's first response (without a body); None if there was none, or it came through the fast lane.
    """

    def __init__(
        self,
        address: ObjectAddress,
        etag: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        *,
        size: int | None = None,
    ) -> None:
        self.address = address
        self.etag = etag
        self.parameters = dict(parameters or {})
        self.head = Head()
        self.size = size
        self.answer: Mapping[str, Any] | None = None
        self._is_known = False

    def open(self, start: int = 0, end: int | None = None) -> ObjectStream:
        """Request a range, and return its bytes as a stream.

        Args:
            start: The first byte, from zero.
            end: The byte after the last one; None for the rest of the object.

        Raises:
            S3NoSuchItem: The object does not exist.
            S3ObjectChanged: The object was replaced since an earlier response.
            S3Error: Also status 416, if the object ends before ``start`` and no earlier response included its size.

        Requests:
            1 GET (more only after a broken connection)
        """
        stream = ObjectStream(self, start, end)
        stream.begin()
        return stream

    def read_into(self, start: int, view: memoryview) -> None:
        """Fill a buffer with the bytes from ``start`` on. The object must have enough bytes to fill it.

        Raises:
            S3ObjectChanged: The object was replaced or deleted.
            S3ConnectionError: The bytes could not be read, after several attempts that returned nothing.

        Requests:
            1 GET (more only after a broken connection)
        """
        with ObjectStream(self, start, start + len(view)) as stream:
            done = 0
            while done < len(view):
                piece = stream.read(min(len(view) - done, _PIECE_BYTES))
                if not piece:
                    raise self.too_short(len(view) - done)
                view[done : done + len(piece)] = piece
                done += len(piece)

    def request(
        self, start: int, end: int | None, on_repeated: Callable[[], object] | None = None
    ) -> tuple[Any, bool, bool]:
        """Request a range through boto3, once.

        Args:
            start: The first byte, from zero.
            end: The byte after the last one; None for the rest of the object.
            on_repeated: Called if boto3 had to send the request again.

        Returns:
            The body, positioned at the first byte requested (it may end before the last one, or continue after it); whether the
            store returned the range instead of the whole object; and whether the response has a Content-Length.

        Raises:
            S3ServerError: The response does not contain the first byte requested.

        Requests:
            1 GET (after a failed condition also 1 HEAD, and 1 GET once per store that misreads conditions)
        """
        parameters: dict[str, Any] = {**self.parameters, **self.address.version_parameters}
        if start or end is not None:
            parameters["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
        try:
            answer = self._send(parameters)
        except S3Error as error:
            if (explained := self.explain(error)) is error:
                raise
            raise explained  # noqa: B904 - has its cause
        if on_repeated is not None and answer.get("ResponseMetadata", {}).get("RetryAttempts"):
            on_repeated()
        body = answer["Body"]
        try:
            to_skip = offset_in_body(self.address, answer, start)
            is_first = not self._is_known
            self.accept(Head.from_answer(answer))
            if is_first:
                self.answer = {name: value for name, value in answer.items() if name != "Body"}
            skip(self.address, body, to_skip)
        except BaseException:
            body.close()
            raise
        return body, bool(answer.get("ContentRange")), answer.get("ContentLength") is not None

    def _send(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Request the object with If-Match. If the store answers 412 although a HEAD shows the same ETag, repeat the GET without If-Match.

        Later requests to that store also omit If-Match.
        """
        connection = self.address.connection
        where = {"Bucket": self.address.bucket_name, "Key": self.address.key}
        wanted = self.condition
        if wanted is None:
            return connection.call("GetObject", **where, **parameters)
        try:
            # The user's parameters may contain an If-Match too; the object met it in the first response.
            return connection.call("GetObject", **{**where, **parameters, "IfMatch": wanted})
        except S3PreconditionFailed as error:
            of_head = {**for_every_request(self.parameters), **self.address.version_parameters}
            now = Head.from_answer(connection.call("HeadObject", **where, **of_head))
            check_etag(self.address, now.etag, self.etag, error)
        connection.facts[_MISREAD] = True
        return connection.call("GetObject", **where, **parameters)

    @property
    def condition(self) -> str | None:
        """The value of If-Match for the next request; None if there is no ETag, or if the store is known to misread If-Match."""
        connection = self.address.connection
        return etag_for(connection, self.etag) if connection.facts.get(_MISREAD) is None else None

    def accept(self, head: Head) -> None:
        """Pin the reader to the first response, and reject any later one that does not match it.

        Raises:
            S3ObjectChanged: The response has another ETag or size, or it has no ETag and another time of modification.
            S3Unsupported: The response is for another version.
        """
        check_etag(self.address, head.etag, self.etag)
        check_version(self.address, head)
        if self.size is not None and head.size is not None and head.size != self.size:
            raise self._changed("was replaced", None)
        if head.etag is None and self._is_known:  # the time tells less, and is all that there is to compare
            before, now = self.head.last_modified, head.last_modified
            if before is not None and now is not None and before != now:
                raise self._changed("was replaced", None)
        if not self._is_known:
            self.head, self._is_known = head, True
            self.etag = head.etag or self.etag
        if self.etag is None:
            self.etag = head.etag  # earlier responses had none
        if self.size is None:
            self.size = head.size

    def explain(self, error: S3Error) -> S3Error:
        """Return the error to raise for a failed request: S3ObjectChanged if an object that was read before is now deleted or shorter."""
        if self._is_known and isinstance(error, S3NoSuchItem):
            return self._changed("was deleted", error)
        if self.size is not None and error.status == 416:
            return self._changed("was replaced by a shorter one", error)
        return error

    def _changed(self, how: str, cause: S3Error | None) -> S3ObjectChanged:
        before = f"its size was {self.size}" if self.etag is None else f"its etag was {self.etag}"
        changed = S3ObjectChanged(
            f"{self.address.uri} {how} while it was being read: {before}. Open it again.",
            operation="GetObject",
            bucket=self.address.bucket_name,
            key=self.address.key,
            code=cause.code if cause else None,
            status=cause.status if cause else None,
            request_id=cause.request_id if cause else None,
        )
        changed.__cause__ = cause
        return changed

    def too_long(self) -> S3ServerError:
        return S3ServerError(
            f"GetObject on {self.address.uri}: the body goes on after the {self.size} bytes that the object has by another response",
            operation="GetObject",
            bucket=self.address.bucket_name,
            key=self.address.key,
        )

    def too_short(self, missing: int) -> S3ConnectionError:
        return S3ConnectionError(
            f"GetObject on {self.address.uri}: the body ended {missing} bytes early",
            operation="GetObject",
            bucket=self.address.bucket_name,
            key=self.address.key,
            retryable=True,
        )


class ObjectStream(io.RawIOBase):
    """One range of an object, read sequentially. If the connection breaks, the rest is requested with If-Match.

    A failed request is attempted up to ``max_attempts`` times, after a pause that grows up to two seconds; every byte received resets the
    count. A truncated body raises an error instead of ending the stream. A forked child requests the rest for itself. Close the stream, or
    use it in a ``with`` block; it also closes itself when garbage-collected.
    """

    def __init__(self, reader: RangedReader, start: int, end: int | None) -> None:
        super().__init__()
        self._reader = reader
        self._at = start
        self._end = end
        self._body: Any = None
        self._begun_at = start  # the offset at which the current body begins
        self._unread: list[bytes] = []  # received before a read failed; the next read returns it first
        self._is_broken = True  # whether the range must be requested: at first, and after a failure
        self._pid = os.getpid()
        self._end_is_unchecked = False  # whether the body may go on after the size of the object in another response
        self._is_longer = False
        self.is_range = False
        """Whether the store returned the range requested instead of the whole object."""
        self.on_repeated: Callable[[], object] | None = None
        """Called if a request had to be sent again: the store throttles, or the connection broke."""

    def begin(self) -> None:
        """Request the range now instead of at the first read."""
        self._request()

    def stop_at(self, end: int) -> None:
        """End the stream at this offset, unless it ends earlier already."""
        self._end = end if self._end is None else min(self._end, end)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Read up to the buffer's length; 0 at the end."""
        view = memoryview(buffer).cast("B")
        piece = self.read(len(view))
        view[: len(piece)] = piece
        return len(piece)

    def readall(self) -> bytes:
        return self.read(-1)

    def read(self, size: int | None = -1) -> bytes:
        """Read up to ``size`` bytes, or the rest of the range.

        A read that raises loses nothing: the bytes received are kept, and the next read returns them first, then requests the rest.

        Raises:
            S3ConnectionError: The rest could not be read, after several attempts.
            S3ObjectChanged: The object was replaced while it was being read.

        Requests:
            none; 1 GET at the first read without :meth:`begin`, and 1 GET after each broken connection or short response
        """
        if self.closed:
            raise ValueError("read of a closed stream")
        if size is not None:
            size = operator.index(size)
        wanted = None if size is None or size < 0 else size
        if wanted == 0:
            return b""
        pieces = self._unread
        begin = self._at - sum(map(len, pieces))
        try:
            self._read_pieces(pieces, None if wanted is None else begin + wanted)
        except BaseException:
            # Recount: an interrupt may have occurred between reading a piece and counting it.
            self._at = begin + sum(map(len, pieces))
            self._is_broken = True
            raise
        whole = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if wanted is None or len(whole) <= wanted:
            self._unread = []
            return whole
        self._unread = [whole[wanted:]]  # an earlier, failed read had requested more
        return whole[:wanted]

    def _read_pieces(self, pieces: list[bytes], stop: int | None) -> None:
        """Append pieces of the body up to the offset ``stop``, or to the end."""
        reader = self._reader
        if self._pid != os.getpid():
            # The connection is the parent's too: of the bytes that arrive on it, each process would get those that the other does not read.
            self._pid, self._is_broken = os.getpid(), True
        if reader.size is not None:  # it may have been learnt since the response, which had no length
            self.stop_at(reader.size)
        failures = 0
        while True:
            end = self._end if stop is None else stop if self._end is None else min(stop, self._end)
            if end is not None and self._at >= end and not self._is_broken:
                self.check_end()
            if end is not None and self._at >= end:
                return
            try:
                if self._is_broken:
                    self._request()
                    continue  # the response may have set the end of the stream
                piece = self._read_piece(_PIECE_BYTES if end is None else min(end - self._at, _PIECE_BYTES))
            except S3Error as error:
                self._is_broken = True
                failures += 1
                if self.on_repeated is not None:
                    self.on_repeated()
                if not error.retryable or reader.etag is None or failures >= reader.address.connection.max_attempts:
                    raise
                time.sleep(min(0.05 * 2**failures, _LONGEST_PAUSE))
                continue
            if not piece:
                if self._end is None or reader.size is None:
                    return  # a response without a length ends with its body
                self._is_broken = True  # the response held less than was requested
                continue
            pieces.append(piece)
            self._at += len(piece)
            failures = 0

    def _request(self) -> None:
        """Request the range from the current offset on. A repeated request needs an ETag: the object may have been replaced.

        Raises:
            S3ConnectionError: The range was requested before, and there is no ETag to compare.
        """
        reader = self._reader
        if self._body is not None:
            if reader.etag is None:
                raise S3ConnectionError(
                    f"GetObject on {reader.address.uri}: reading failed at byte {self._at}, and cannot go on there: the "
                    "store sent no ETag to tell whether the object is still the same. Open it again.",
                    operation="GetObject",
                    bucket=reader.address.bucket_name,
                    key=reader.address.key,
                    retryable=False,
                )
            self._body.close()
        self._body, self.is_range, has_length = reader.request(self._at, self._end, self.on_repeated)
        self._begun_at = self._at
        self._end_is_unchecked = not has_length and self._is_whole
        if reader.size is not None:
            self.stop_at(reader.size)
        self._is_broken = False

    def check_end(self) -> None:
        """Raise an error if a body in chunks, which has no Content-Length, goes on after the object's size in another response."""
        reader = self._reader
        if not self._end_is_unchecked or self._at != reader.size:
            return
        address = reader.address
        if not self._is_longer:
            with address.connection.translating("GetObject", address.bucket_name, address.key):
                self._is_longer = bool(self._body.read(1))
        if self._is_longer:
            raise reader.too_long()
        self._end_is_unchecked = False

    def _read_piece(self, wanted: int) -> bytes:
        """Read a bounded piece, so that bytes received before a failure are kept; return nothing at the end of the response."""
        reader = self._reader
        address = reader.address
        with address.connection.translating("GetObject", address.bucket_name, address.key):
            piece: bytes = self._body.read(wanted)
            if piece and self._at + len(piece) == reader.size and self._is_whole and address.connection.is_aws:
                # boto3 compares the object's checksum with the body only when it has read that there is no more. Other stores may send
                # wrong checksums.
                self._is_longer = bool(self._body.read(1))
        if not piece and self._end is not None and reader.size is not None:
            is_resumable = self._at > self._begun_at and reader.etag is not None
            if not is_resumable:
                raise reader.too_short(self._end - self._at)
        return piece

    @property
    def _is_whole(self) -> bool:
        """Whether the current response is the whole object."""
        return self._begun_at == 0 and not self.is_range

    def close(self) -> None:
        """Close the stream. The connection can be reused only if the response was read to its end."""
        if not self.closed and self._body is not None:
            self._body.close()
        super().close()


def skip(address: ObjectAddress, body: Any, count: int) -> None:
    """Read and discard bytes from the beginning of a body."""
    with address.connection.translating("GetObject", address.bucket_name, address.key):
        while count and (piece := body.read(min(count, _PIECE_BYTES))):
            count -= len(piece)
