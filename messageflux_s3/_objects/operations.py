"""Operations on one object: head, get, put, delete. Each is implemented once, as steps; ``head`` runs ``head_steps`` blocking.

The operations take an address and return values. The handles cache these values.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from typing import Any

from .._client.addresses import ObjectAddress
from .._client.exchange import Answer, Request
from .._formats import etags
from .._formats import metadata as user_metadata
from .._formats.head import Head, lazy_head_of_write, lazy_head_with_checksums
from .._http.http1 import BodySink
from ..errors import S3Error, S3NoSuchItem, S3ServerError
from . import checksum, confirmation, metadata_names
from .bodies import where_taken
from .drivers import Blocking, Steps, run
from .put_parameters import for_every_request, s3_parameters
from .ranged_reader import (
    RangedReader,
    check_etag,
    check_version,
    etag_for,
    offset_in_body,
    read_up_to,
)
from .source import as_bytes

MAX_CACHED_BODY = 8 * 1024 * 1024
"""A body up to this size is read immediately and cached; a larger one is not fetched until it is read."""

_TAKEN_AT_ONCE = 64 * 1024 * 1024
"""A larger body is read as a stream, which resumes at the offset reached if the connection breaks."""

_ERROR_BYTES = 64 * 1024
"""The smallest limit set for the body of a response to a range request: an error document must fit into it."""


def as_int(value: Any) -> Any:
    """Return an object with ``__index__`` (such as a NumPy integer) as an int; anything else unchanged, for the caller to check."""
    return operator.index(value) if hasattr(type(value), "__index__") and not isinstance(value, int) else value


def body_bytes(data: object, argument: str) -> bytes:
    """Return bytes-like data or text as bytes.

    Raises:
        TypeError: The data is neither.
    """
    try:
        return bytes(as_bytes(data, f"{argument} must be bytes or text"))
    except TypeError as error:
        error.args = (f"{error}{where_taken(data)}",)
        raise


def head(address: ObjectAddress, given: Mapping[str, Any] | None = None) -> Head:
    """Request the headers of an object.

    Args:
        address: The object, or one of its versions.
        given: Further parameters of HeadObject, as :func:`for_every_request` selects them from those of a write.

    Raises:
        S3NoSuchItem: The object does not exist.

    Requests:
        1 HEAD
    """
    return run(address.connection, head_steps(address, given))


def head_steps(address: ObjectAddress, given: Mapping[str, Any] | None = None) -> Steps[Head]:
    """The steps of :func:`head`."""
    parameters = address.version_parameters
    if given:
        parameters.update(given)
    answer: Answer = yield Request("HeadObject", address.bucket.name, address.key, parameters)
    found = answer.head
    check_version(address, found)
    return found


def head_steps_with_checksums(address: ObjectAddress) -> Steps[Head]:
    """Request the headers of an object, including its checksums.

    Other HEAD requests do not ask for checksums, since they may need a further permission (on AWS kms:Decrypt, if KMS encrypts the object).

    Raises:
        S3NoSuchItem: The object does not exist.

    Requests:
        1 HEAD
    """
    found = yield from head_steps(address, {"ChecksumMode": "ENABLED"})
    return lazy_head_with_checksums(found)


def get(
    address: ObjectAddress, if_match: str | None = None, *, at_most: int | None = None
) -> tuple[Head, bytes | None]:
    """Read a whole object; resume at the offset reached if the connection breaks.

    Args:
        address: The object, or one of its versions.
        if_match: The etag that the object must still have.
        at_most: The largest body to read. If the body is larger, None is returned in its place, and the response is closed.

    Raises:
        S3NoSuchItem: The object does not exist.
        S3ObjectChanged: Its etag has changed.

    Requests:
        1 GET (more only after a broken connection, or for a body above 64 MiB)
    """
    return run(address.connection, get_steps(address, if_match, at_most=at_most))


def get_steps(
    address: ObjectAddress, if_match: str | None = None, *, at_most: int | None = None, with_checksums: bool = False
) -> Steps[tuple[Head, bytes | None]]:
    """The steps of :func:`get`; if ``with_checksums`` is set, the head has the object's checksums."""
    parameters = address.version_parameters
    if with_checksums:
        parameters["ChecksumMode"] = "ENABLED"
    if if_match is not None and (condition := etag_for(address.connection, if_match)) is not None:
        parameters["IfMatch"] = condition
    answer: Answer = yield Request(
        "GetObject",
        address.bucket.name,
        address.key,
        parameters,
        limit=_TAKEN_AT_ONCE if at_most is None else at_most,
        headers_if_larger=at_most is not None,
        fallback=partial(_get_resumed, address, if_match, at_most, with_checksums),
    )
    found = answer.head
    check_version(address, found)
    if if_match is not None:
        check_etag(address, found.etag, if_match)
    return lazy_head_with_checksums(found) if with_checksums else found, answer.body


def get_if_changed_steps(
    address: ObjectAddress, etag: str, if_match: str | None = None, *, at_most: int | None = None
) -> Steps[tuple[Head, bytes | None] | None]:
    """Read a whole object, with its checksums, unless its ETag is still the given one.

    Args:
        address: The object, or one of its versions.
        etag: The ETag, without quotes; sent as If-None-Match.
        if_match: ETag sent as If-Match.
        at_most: As for :func:`get`.

    Returns:
        The head and the body (None if it is above ``at_most``); None instead of both if the object still has this ETag.

    Raises:
        S3NoSuchItem: The object does not exist.

    Requests:
        1 GET
    """
    parameters = {**address.version_parameters, "ChecksumMode": "ENABLED"}
    # If-None-Match compares weakly (RFC 9110, 13.1.2), so a weak ETag can be sent unchanged.
    unless = {"IfNoneMatch": etag_for(address.connection, etag) or etag}
    if if_match is not None and (condition := etag_for(address.connection, if_match)) is not None:
        parameters["IfMatch"] = condition
    try:
        answer: Answer = yield Request(
            "GetObject",
            address.bucket.name,
            address.key,
            {**parameters, **unless},
            limit=_TAKEN_AT_ONCE if at_most is None else at_most,
            headers_if_larger=at_most is not None,
            fallback=partial(_get_resumed, address, if_match, at_most, True, unless),
        )
    except S3Error as error:
        if error.status != 304:
            raise
        return None
    if answer.status == 304:
        return None
    found = answer.head
    check_version(address, found)
    if etags.same(found.etag, etag):
        return None  # the store ignores If-None-Match
    if if_match is not None:
        check_etag(address, found.etag, if_match)
    return lazy_head_with_checksums(found), answer.body


def _get_resumed(
    address: ObjectAddress,
    if_match: str | None,
    at_most: int | None,
    with_checksums: bool = False,
    unless: Mapping[str, str] | None = None,
) -> Answer:
    """Read an object through boto3."""
    reader = RangedReader(address, if_match, unless)
    with address.connection.asking_for_checksums() if with_checksums else nullcontext():
        stream = reader.open()
    reader.parameters.clear()  # when the reader resumes, it must send If-Match only
    found = reader.head
    with stream:
        found, body = read_up_to(at_most, found, stream)
    return Answer(found=found, body=body)


def range_steps(
    address: ObjectAddress, start: int, end: int | None = None, if_match: str | None = None, size: int | None = None
) -> Steps[bytes]:
    """Read a range of an object; if the object ends before the range does, up to its end.

    Args:
        address: The object, or one of its versions.
        start: The first byte, from zero.
        end: The byte after the last one; None for the rest of the object.
        if_match: The etag that the object must still have.
        size: The size that the object must still have.

    Raises:
        S3NoSuchItem: The object does not exist.
        S3ObjectChanged: Its etag or its size has changed.

    Requests:
        1 GET; none if the range is empty. More only after a broken connection, if the fast lane's request is rejected (a range past the
        end) or its response is incomplete, or if the rest of an object is above 64 MiB; those of :func:`check_beyond_end`
    """
    if end is not None and end <= start:
        return b""
    reader = RangedReader(address, if_match, size=size)

    def resumed() -> Answer:
        try:
            stream = reader.open(start, end)
        except S3Error as error:
            if error.status != 416 or size is not None:
                raise
            check_beyond_end(reader, start, error)
            return Answer(body=b"")  # the range starts past the end: empty, as for a slice
        with stream:
            return Answer(body=stream.read())

    answer = yield from _range_steps(reader, start, None if end is None else end - start, resumed)
    return answer.body or b""


def read_first(reader: RangedReader, count: int) -> bytes:
    """Read the beginning of an object, and store its size and ETag in the reader.

    Raises:
        S3NoSuchItem: The object does not exist.
        S3ObjectChanged: Its ETag is not the one to which the reader is pinned.

    Requests:
        1 GET (1 HEAD more if the object is empty, or the response does not include its size)
    """

    def resumed() -> Answer:
        first = b""
        try:
            stream = reader.open(0, count)
        except S3Error as error:
            if error.status != 416:  # an empty object has no first byte
                raise
        else:
            with stream:
                if reader.size is None:
                    learn_size(reader)
                first = stream.read(count)
        if reader.size is None:
            learn_size(reader)
        return Answer(body=first)

    return run(reader.address.connection, _range_steps(reader, 0, count, resumed)).body or b""


def learn_size(reader: RangedReader) -> None:
    """Store the object's size and ETag in a reader without reading the content. Requests: 1 HEAD."""
    given = for_every_request(reader.parameters)
    reader.accept(head(reader.address, given))


def check_beyond_end(reader: RangedReader, start: int, error: S3Error) -> None:
    """Check, after status 416, that the range starts past the end of the object to which the reader is pinned.

    Some stores look at the range before the condition, and answer 416 for an object that was replaced by a shorter one.

    Raises:
        S3ObjectChanged: The object was replaced.
        S3Error: The error itself: a HEAD says that the object has bytes there.

    Requests:
        none on AWS, or if the reader is not pinned to an ETag; else 1 HEAD
    """
    if reader.etag is not None and not reader.address.connection.is_aws:
        learn_size_beyond_end(reader, start, error)


def learn_size_beyond_end(reader: RangedReader, start: int, error: S3Error) -> None:
    """Store the object's size and ETag in a reader, after status 416 for the bytes from ``start`` on.

    Raises:
        S3ObjectChanged: The object was replaced.
        S3Error: The error itself: the object has bytes there. A part of the store may not have it yet.

    Requests:
        1 HEAD
    """
    learn_size(reader)
    if start < (reader.size or 0):
        raise error


def read_into(reader: RangedReader, start: int, view: memoryview) -> None:
    """Fill a buffer with the bytes of an object from ``start`` on, directly from the socket if the fast lane is open.

    Raises:
        S3ObjectChanged: The object was replaced or deleted.
        S3ConnectionError: The bytes could not be read, after several attempts that returned nothing.

    Requests:
        1 GET (more only after a broken connection)
    """

    def resumed() -> Answer:
        reader.read_into(start, view)
        return Answer()

    run(reader.address.connection, _range_steps(reader, start, len(view), resumed, view))


def receive(reader: RangedReader, start: int, sink: BodySink, fallback: Callable[[], object]) -> None:
    """Pass the bytes of an object from ``start`` on to a sink, through the fast lane.

    Args:
        reader: The reader of the object.
        start: The first byte.
        sink: Takes as many bytes as its length. What it took counts only when this function returns without having called ``fallback``.
        fallback: Reads the same bytes through boto3. Called if the lane is shut, or if its response is not exactly this range.

    Raises:
        S3ObjectChanged: The object was replaced or deleted.

    Requests:
        1 GET; those of ``fallback``
    """

    def by_boto3() -> Answer:
        fallback()
        return Answer()

    run(reader.address.connection, _range_steps(reader, start, len(sink), by_boto3, sink))


def _range_steps(
    reader: RangedReader,
    start: int,
    count: int | None,
    fallback: Callable[[], Answer],
    target: memoryview | BodySink | None = None,
) -> Steps[Answer]:
    """Read a range in one response; if the response is not exactly that range, read it through ``fallback``.

    Args:
        reader: The reader of the object.
        start: The first byte.
        count: The number of bytes (without a target, the object may end earlier); None for the rest of the object.
        fallback: Reads the range through boto3, in several responses if necessary.
        target: The buffer to fill, or the sink that takes the bytes.
    """
    address = reader.address
    condition = reader.condition
    parameters = address.version_parameters
    if start or count is not None:
        parameters["Range"] = f"bytes={start}-{'' if count is None else start + count - 1}"
    if condition is not None:
        parameters["IfMatch"] = condition

    def is_this_range(answer: Answer) -> bool:
        found = answer.head
        length = len(answer.body or b"") if target is None else len(target)
        said = {
            "ResponseMetadata": {"HTTPStatusCode": answer.status},
            "ContentRange": answer.headers.get("content-range"),
            "ContentLength": length,
        }
        if found.size is None:
            return False
        left = found.size - start
        if length != (left if count is None else min(count, left)):
            return False
        try:
            if offset_in_body(address, said, start):
                return False
        except S3ServerError:
            return False
        reader.accept(found)
        return True

    request = Request(
        "GetObject",
        address.bucket.name,
        address.key,
        parameters,
        limit=_TAKEN_AT_ONCE if count is None else max(count, _ERROR_BYTES),
        target=target,
        accepts=is_this_range,
        fallback=fallback,
        # The reader's own parameters are sent only by the fallback. A range above 64 MiB without a buffer is read as a stream.
        is_for_boto3=bool(reader.parameters) or (target is None and (count or 0) > _TAKEN_AT_ONCE),
    )
    try:
        answer: Answer = yield request
    except S3NoSuchItem as error:
        if (explained := reader.explain(error)) is error:
            raise
        raise explained from error
    return answer


def put_steps(
    address: ObjectAddress, body: bytes, metadata: Mapping[str, str] | None, extra: Mapping[str, Any]
) -> Steps[Head]:
    """Write bytes.

    Args:
        address: The object.
        body: The content.
        metadata: User metadata, a mapping of text to text.
        extra: Further parameters (:class:`PutParameters`).

    Raises:
        S3ChecksumError: The store received other bytes than were sent.
        S3Unsupported: The store ignores a parameter, or returns the metadata under other names; nothing was written.

    Requests:
        1 PUT; on a store that is not AWS also those of :func:`confirmation.steps` and :func:`metadata_names.require`
    """
    encoded = user_metadata.encode(metadata)
    if encoded and not metadata_names.are_known_to_return(address.connection, encoded):
        yield Blocking(partial(metadata_names.require, address, encoded))
    parameters = {"Metadata": encoded, **s3_parameters(address.key, extra)}
    yield from confirmation.steps(address, "PutObject", parameters)

    def is_what_was_sent(answer: Answer) -> bool:
        return not checksum.is_other(address.bucket, answer.headers, body)

    def with_checksum() -> Answer:
        whole = {**address.parameters, "Body": body, **parameters}
        return Answer(checksum.call(address.connection, "PutObject", whole))

    answer: Answer = yield Request(
        "PutObject",
        address.bucket.name,
        address.key,
        checksum.with_default(address.connection, parameters, body),
        body,
        accepts=is_what_was_sent,
        fallback=with_checksum,
    )
    if parameters.get("WriteOffsetBytes"):
        return Head.from_append(answer.etag, answer.version_id)
    return lazy_head_of_write(len(body), answer.etag, answer.version_id, encoded)


def delete_steps(address: ObjectAddress) -> Steps[None]:
    """Delete an object, or a version of it. An object that does not exist counts as deleted.

    Raises:
        S3NoSuchBucket: The bucket does not exist.

    Requests:
        1 DELETE
    """
    try:
        yield Request("DeleteObject", address.bucket.name, address.key, address.version_parameters)
    except S3NoSuchItem:
        return
