"""Read the content of one object: pinned to an ETag or version, the range that arrives compared with the one asked for, and resumed."""

from __future__ import annotations

import io
import operator
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from .._client.connection import Connection
from .._formats import etags
from .._formats.head import Head
from ..errors import S3ConnectionError, S3Error, S3ObjectChanged, S3PreconditionFailed, S3ServerError, S3Unsupported
from .put_parameters import for_every_request

_MISREAD = "get_if_match_misread"

_RANGE = re.compile(r"bytes=(\d+)-\d*", re.ASCII)
_CONTENT_RANGE = re.compile(r"bytes[ =]+(\d+)-(\d+)/(\d+)", re.ASCII | re.IGNORECASE)


def etag_for(connection: Connection, etag: str | None) -> str | None:
    """Return an ETag as If-Match takes it on a read: quoted, as HTTP says, where that is known to work; radosgw knows only the bare one.

    None for a weak ETag, for which no condition can be sent: the answer's ETag is compared instead.
    """
    if etag is None or etags.is_weak(etag):
        return None
    return f'"{etag}"' if connection.preset in ("aws", "r2", "gcs") else etag


def check_etag(found: str | None, wanted: str | None, bucket_name: str, key: str, cause: S3Error | None = None) -> None:
    """Refuse an answer about another content than the one that is being read.

    Raises:
        S3ObjectChanged: The answer names another etag.
    """
    if wanted is None or found is None or etags.same(found, wanted):
        return
    raise S3ObjectChanged(
        f"s3://{bucket_name}/{key} was replaced while it was being read: its etag was {wanted}, now it is {found}",
        operation="GetObject",
        bucket=bucket_name,
        key=key,
        code=cause.code if cause else None,
        status=cause.status if cause else None,
        request_id=cause.request_id if cause else None,
    ) from cause


def check_version(connection: Connection, found: Head, bucket_name: str, key: str, version_id: str | None) -> None:
    """Refuse an answer about another version: a store that keeps none may ignore the question and send what it has.

    Raises:
        S3Unsupported: The answer does not say that it is about this version.
    """
    if version_id is None or version_id == "null":
        return  # before anything is looked at: a head is decoded when somebody looks
    if version_id == found.version_id or connection.is_aws:
        return
    raise S3Unsupported(
        f"s3://{bucket_name}/{key}: asked for version {version_id}, the store sent "
        f"{f'version {found.version_id}' if found.version_id else 'an object without a version'}: it keeps no versions here",
        bucket=bucket_name,
        key=key,
    )


def _version(version_id: str | None) -> dict[str, str]:
    return {} if version_id is None else {"VersionId": version_id}


def get_stream(
    connection: Connection,
    bucket_name: str,
    key: str,
    *,
    start: int = 0,
    end: int | None = None,
    version_id: str | None = None,
    if_match: str | None = None,
) -> tuple[Head, ObjectStream]:
    """One GET whose body is read as the caller goes.

    Args:
        connection: The way to the store.
        bucket_name: The bucket.
        key: The key.
        start: The first byte wanted, from zero.
        end: The byte after the last one wanted; None for all the rest.
        version_id: A version of it.
        if_match: The etag that it must still have.

    Requests:
        1 GET (more only after a broken connection)
    """
    stream = ObjectStream(connection, bucket_name, key, start, end, version_id, if_match)
    return stream.head, stream


def read_up_to(at_most: int | None, found: Head, stream: ObjectStream) -> tuple[Head, bytes | None]:
    """Read the body of an answer unless it is larger than this; also of an answer in chunks, which does not say how large it is.

    Returns:
        The headers, with the size that was found, and the body, or None in place of a larger one.
    """
    if at_most is None or found.size is not None:
        body = stream.read() if at_most is None or cast(int, found.size) <= at_most else None
    else:
        body = stream.read(at_most + 1)
        if len(body) > at_most:
            return found, None
    return (found if body is None or found.size is not None else replace(found, size=len(body))), body


def get_pinned(
    connection: Connection, bucket_name: str, key: str, etag: str | None, parameters: Mapping[str, Any]
) -> dict[str, Any]:
    """One GET through boto3 of an object that must still have an etag.

    The answer's own etag is compared as well, since some stores ignore the condition; one that misreads it is not sent it again.
    Content-Range is compared with the range that was asked for (:func:`offset_in_body`).

    Args:
        connection: The way to the store.
        bucket_name: The bucket.
        key: The key.
        etag: The etag, without quotes; None for any.
        parameters: Further parameters of GetObject.

    Returns:
        boto3's answer. With a Content-Range its body stands at the first byte asked for, and may end before the last one; without, it
        is the whole object from its beginning.

    Raises:
        S3NoSuchItem: There is no such object.
        S3ObjectChanged: It has another etag by now.
        S3ServerError: The answer does not hold the first byte that was asked for.
        S3Unsupported: It is another version than the one that the parameters name.

    Requests:
        1 GET (after a refusal also 1 HEAD, and 1 GET once a store that misreads conditions)
    """
    wanted = etag_for(connection, etag) if connection.recall(_MISREAD) is None else None
    condition = {"IfMatch": wanted} if wanted is not None else {}
    try:
        answer = connection.call("GetObject", Bucket=bucket_name, Key=key, **condition, **parameters)
    except S3PreconditionFailed as error:
        if not condition:
            raise
        of_head = {**_version(parameters.get("VersionId")), **for_every_request(parameters)}
        now = Head.from_answer(connection.call("HeadObject", Bucket=bucket_name, Key=key, **of_head))
        check_etag(now.etag, etag, bucket_name, key, error)
        connection.remember(_MISREAD, True)
        return get_pinned(connection, bucket_name, key, etag, parameters)
    try:
        check_etag(etags.unquoted(answer.get("ETag")), etag, bucket_name, key)
        check_version(connection, Head.from_answer(answer), bucket_name, key, parameters.get("VersionId"))
        _go_to_first_byte(connection, answer, parameters.get("Range"), bucket_name, key)
    except BaseException:
        answer["Body"].close()
        raise
    return answer


def offset_in_body(answer: Mapping[str, Any], start: int, bucket_name: str, key: str) -> int:
    """Return how many bytes of an answer's body come before the first byte that was asked for.

    A cache may answer with more than was asked for, such as whole blocks around it; then there are bytes to skip, and more behind. It
    may also answer with less, which is for the reader to go on from. An answer without Content-Range is the whole object.

    Args:
        answer: What boto3 gives for GetObject: its status, Content-Range and length are looked at.
        start: The first byte asked for; 0 where no range was.
        bucket_name: The bucket.
        key: The key.

    Raises:
        S3ServerError: The body does not hold that byte, or the answer does not say what it holds.
    """
    status = (answer.get("ResponseMetadata") or {}).get("HTTPStatusCode")
    said = str(answer.get("ContentRange") or "").strip()
    if not said and status != 206:
        return start
    length = answer.get("ContentLength")
    if length == 0 and said.endswith("/0"):
        return 0  # an empty object has no range to name: some stores write "bytes 0--1/0"
    served = _CONTENT_RANGE.fullmatch(said)
    if served is not None:
        first, last, total = map(int, served.groups())
        if first <= start <= last < total and length in (None, last + 1 - first):
            return start - first
    raise S3ServerError(
        f"GetObject on s3://{bucket_name}/{key}: asked for the bytes from {start} on, the store sent "
        f"{f'Content-Range {said!r}' if said else 'part of the object (206) without saying which (no Content-Range)'}"
        f"{'' if served is None else f' with {length} bytes'}",
        operation="GetObject",
        bucket=bucket_name,
        key=key,
        status=status,
        retryable=True,
    )


def check_whole(answer: Mapping[str, Any], bucket_name: str, key: str) -> None:
    """Refuse an answer to a GET without a range that is not the whole object; its body is closed then.

    Raises:
        S3ServerError: It is a part of the object.
    """
    try:
        offset_in_body(answer, 0, bucket_name, key)
        size = Head.from_answer(answer).size
        if answer.get("ContentRange") and size != answer.get("ContentLength", size):
            raise S3ServerError(
                f"GetObject on s3://{bucket_name}/{key}: asked for the whole object, the store sent {answer['ContentRange']!r}",
                operation="GetObject",
                bucket=bucket_name,
                key=key,
                retryable=True,
            )
    except S3ServerError:
        answer["Body"].close()
        raise


def _go_to_first_byte(
    connection: Connection, answer: Mapping[str, Any], asked: str | None, bucket_name: str, key: str
) -> None:
    """Skip what comes before the first byte asked for, in an answer that names its range."""
    wanted = _RANGE.fullmatch(asked or "bytes=0-")
    if wanted is None:
        return  # counted from the end, or in several pieces: asked by a caller who reads the answer's headers
    count = offset_in_body(answer, int(wanted[1]), bucket_name, key)
    if answer.get("ContentRange"):
        skip(connection, answer["Body"], count, bucket_name, key)


def skip(connection: Connection, body: Any, count: int, bucket_name: str, key: str) -> None:
    """Read and drop bytes from the beginning of a body."""
    with connection.translating("GetObject", bucket_name, key):
        while count and (piece := body.read(min(count, 1 << 20))):
            count -= len(piece)


class ObjectStream(io.RawIOBase):
    """The bytes of one GET, read as the caller goes; goes on at its offset, under If-Match, when the connection breaks.

    Made open: the request has been answered, ``head`` says what. Close it, or use it in a ``with`` block; one that is dropped closes
    itself. A body cut short is an error, never a short read.
    """

    def __init__(
        self,
        connection: Connection,
        bucket_name: str,
        key: str,
        start: int,
        end: int | None,
        version_id: str | None,
        if_match: str | None,
    ) -> None:
        super().__init__()
        self._connection = connection
        self._bucket_name = bucket_name
        self._key = key
        self._at = start
        self._end = end
        self._version_id = version_id
        self._etag = if_match
        self._raw: Any = None
        self._unread: list[bytes] = []  # what arrived before a read failed; the next read returns it first
        self._is_broken = False  # whether the body's position is unknown, after a read that failed
        self._open_at_offset()

    def _open_at_offset(self) -> None:
        parameters: dict[str, Any] = _version(self._version_id)
        if self._at or self._end is not None:
            parameters["Range"] = f"bytes={self._at}-{'' if self._end is None else self._end - 1}"
        answer = get_pinned(self._connection, self._bucket_name, self._key, self._etag, parameters)
        self.head = Head.from_answer(answer)
        self._etag = self._etag or self.head.etag
        self._raw = answer["Body"]
        self._opened_at = self._at
        if self._at and not answer.get("ContentRange"):  # the store ignored the range and sends the whole
            skip(self._connection, self._raw, self._at, self._bucket_name, self._key)
        if self.head.size is not None:
            self._end = self.head.size if self._end is None else min(self._end, self.head.size)

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
        """Read up to ``size`` bytes, or all the rest.

        A read that raises loses nothing: what had arrived is kept, and the next read returns it first, then asks for the rest.

        Raises:
            S3ConnectionError: The rest could not be had, after several attempts.
            S3ObjectChanged: The object was replaced in the middle.

        Requests:
            none (more only after a broken connection: 1 GET each time)
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
            self._at = begin + sum(
                map(len, pieces)
            )  # also where an interrupt came between reading a piece and counting it
            self._is_broken = True
            raise
        whole = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if wanted is None or len(whole) <= wanted:
            self._unread = []
            return whole
        self._unread = [whole[wanted:]]  # a read that failed had asked for more
        return whole[:wanted]

    def _read_pieces(self, pieces: list[bytes], stop: int | None) -> None:
        """Add pieces of the body until the offset ``stop``, or until the end."""
        attempts = self._connection.config.max_attempts
        if self._end is not None:
            stop = self._end if stop is None else min(stop, self._end)
        while stop is None or self._at < stop:
            try:
                if self._is_broken:
                    self._open_again()
                piece = self._read_piece(None if stop is None else stop - self._at)
            except S3ConnectionError:
                attempts -= 1
                if attempts <= 0 or self._etag is None:
                    raise
                self._is_broken = True
                continue
            if not piece:
                if self._end is None or self._at >= self._end:
                    break
                self._is_broken = True  # the answer held less than was asked for
                continue
            pieces.append(piece)
            self._at += len(piece)

    def _open_again(self) -> None:
        """Ask for what is missing. Without an etag it could be of another object, so that is refused.

        Raises:
            S3ConnectionError: There is no etag to compare.
        """
        if self._etag is None:
            raise S3ConnectionError(
                f"GetObject on s3://{self._bucket_name}/{self._key}: reading failed at byte {self._at}, and cannot go on there: the store "
                "sent no ETag to tell whether the object is still the same. Open it again.",
                operation="GetObject",
                bucket=self._bucket_name,
                key=self._key,
                retryable=False,
            )
        self._raw.close()
        self._open_at_offset()
        self._is_broken = False

    def _read_piece(self, wanted: int | None) -> bytes:
        with self._connection.translating("GetObject", self._bucket_name, self._key):
            # In bounded pieces, so that what came before a break is kept.
            piece: bytes = self._raw.read(1 << 20 if wanted is None else min(wanted, 1 << 20))
        left = 0 if self._end is None else self._end - self._at
        if not piece and left > 0 and (self._at == self._opened_at or self._etag is None):
            raise S3ConnectionError(
                f"GetObject on s3://{self._bucket_name}/{self._key}: the body ended {left} bytes early",
                operation="GetObject",
                bucket=self._bucket_name,
                key=self._key,
                retryable=True,
            )
        return piece

    def close(self) -> None:
        """Give the connection back. A little that was left unread is read, which is cheaper than a new connection."""
        if not self.closed and self._raw is not None:
            self._raw.close()
        super().close()
