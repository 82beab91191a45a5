"""Operations on one object: head, get, put, delete. Each is implemented once, as steps; ``head`` runs ``head_steps`` blocking.

They take a connection, a bucket's name and a key, and return values. Handles cache these values themselves.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from .._client.connection import Connection
from .._client.exchange import Answer, Request, exchange
from .._formats import metadata as user_metadata
from .._formats.head import Head, lazy_head_of_write
from ..errors import S3Error, S3NoSuchItem, S3ServerError
from . import checksum
from .drivers import Steps, run
from .put_parameters import for_every_request, s3_parameters
from .ranged_reader import (
    RangedReader,
    check_etag,
    check_version,
    etag_for,
    get_stream,
    offset_in_body,
    read_up_to,
)
from .source import as_bytes

KEPT_BYTES = 8 * 1024 * 1024
"""A body up to this size is read immediately and cached; a larger one is not fetched until it is read."""

_TAKEN_AT_ONCE = 64 * 1024 * 1024
"""A larger body is read as a stream, which resumes at its offset if the connection breaks."""


def as_int(value: Any) -> Any:
    """Return an object with ``__index__`` (such as a NumPy integer) as an int; anything else unchanged, for the caller to check."""
    return operator.index(value) if hasattr(type(value), "__index__") and not isinstance(value, int) else value


def body_bytes(data: object, argument: str) -> bytes:
    """Return bytes-like data or text as bytes.

    Raises:
        TypeError: It is neither.
    """
    return bytes(as_bytes(data, f"{argument} must be bytes or text"))


def head(
    connection: Connection,
    bucket_name: str,
    key: str,
    version_id: str | None = None,
    given: Mapping[str, Any] | None = None,
) -> Head:
    """Request the headers of an object.

    Args:
        connection: The connection to the store.
        bucket_name: The bucket.
        key: The key.
        version_id: A version of the object.
        given: Further parameters of HeadObject (:func:`for_every_request`).

    Raises:
        S3NoSuchItem: The object does not exist.

    Requests:
        1 HEAD
    """
    return run(connection, head_steps(connection, bucket_name, key, version_id, given))


def head_steps(
    connection: Connection,
    bucket_name: str,
    key: str,
    version_id: str | None = None,
    given: Mapping[str, Any] | None = None,
) -> Steps[Head]:
    """The steps of :func:`head`."""
    answer: Answer = yield Request("HeadObject", bucket_name, key, {**_version(version_id), **(given or {})})
    found = answer.head
    check_version(connection, found, bucket_name, key, version_id)
    return found


def get(
    connection: Connection,
    bucket_name: str,
    key: str,
    version_id: str | None = None,
    if_match: str | None = None,
    *,
    at_most: int | None = None,
) -> tuple[Head, bytes | None]:
    """Read a whole object, resumed at its offset if the connection breaks.

    Args:
        connection: The connection to the store.
        bucket_name: The bucket.
        key: The key.
        version_id: A version of the object.
        if_match: The etag that the object must still have.
        at_most: A larger body is not read: None is returned in its place, and the response is closed.

    Raises:
        S3NoSuchItem: The object does not exist.
        S3ObjectChanged: Its etag has changed.

    Requests:
        1 GET (more only after a broken connection, or of a body above 64 MiB)
    """
    return run(connection, get_steps(connection, bucket_name, key, version_id, if_match, at_most=at_most))


def get_steps(
    connection: Connection,
    bucket_name: str,
    key: str,
    version_id: str | None = None,
    if_match: str | None = None,
    *,
    at_most: int | None = None,
) -> Steps[tuple[Head, bytes | None]]:
    """The steps of :func:`get`."""
    condition = etag_for(connection, if_match)
    answer: Answer = yield Request(
        "GetObject",
        bucket_name,
        key,
        _version(version_id) if condition is None else {**_version(version_id), "IfMatch": condition},
        limit=_TAKEN_AT_ONCE if at_most is None else at_most,
        headers_if_larger=at_most is not None,
        fallback=partial(_get_resumed, connection, bucket_name, key, version_id, if_match, at_most),
    )
    found = answer.head
    check_version(connection, found, bucket_name, key, version_id)
    if if_match is not None:
        check_etag(found.etag, if_match, bucket_name, key)
    return found, answer.body


def _get_resumed(
    connection: Connection,
    bucket_name: str,
    key: str,
    version_id: str | None,
    if_match: str | None,
    at_most: int | None,
) -> Answer:
    """Read an object through boto3."""
    found, stream = get_stream(connection, bucket_name, key, version_id=version_id, if_match=if_match)
    with stream:
        found, body = read_up_to(at_most, found, stream)
    return Answer(found=found, body=body)


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
                first = stream.read(count)
        if reader.size is None:
            learn_size(reader)
        return Answer(body=first)

    return _read_range(reader, 0, count, resumed).body or b""


def learn_size(reader: RangedReader) -> None:
    """Store the object's size and ETag in a reader without reading the content. Requests: 1 HEAD."""
    given = for_every_request(reader.parameters)
    reader.accept(head(reader.connection, reader.bucket_name, reader.key, reader.version_id, given))


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

    _read_range(reader, start, len(view), resumed, view)


def _read_range(
    reader: RangedReader,
    start: int,
    count: int,
    fallback: Callable[[], Answer],
    target: memoryview | None = None,
) -> Answer:
    """Read a range that is complete in one response.

    Args:
        reader: The object.
        start: The first byte.
        count: The number of bytes; without a target, at most as many as the object has.
        fallback: Reads the range through boto3, in several responses if necessary.
        target: The buffer to fill.
    """
    condition = etag_for(reader.connection, reader.etag)
    parameters = {**_version(reader.version_id), "Range": f"bytes={start}-{start + count - 1}"}
    if condition is not None:
        parameters["IfMatch"] = condition

    def is_this_range(answer: Answer) -> bool:
        found = answer.head
        length = len(answer.body or b"") if target is None else count
        said = {
            "ResponseMetadata": {"HTTPStatusCode": answer.status},
            "ContentRange": answer.headers.get("content-range"),
            "ContentLength": length,
        }
        if found.size is None or length not in (count, found.size):
            return False
        try:
            if offset_in_body(said, start, reader.bucket_name, reader.key):
                return False
        except S3ServerError:
            return False
        reader.accept(found)
        return True

    request = Request(
        "GetObject",
        reader.bucket_name,
        reader.key,
        parameters,
        limit=count,
        target=target,
        accepts=is_this_range,
        fallback=fallback,
        is_for_boto3=bool(reader.parameters),  # the reader sends them itself
    )
    try:
        return exchange(reader.connection, request)
    except S3NoSuchItem as error:
        if (explained := reader.explain(error)) is error:
            raise
        raise explained from error


def put(
    connection: Connection,
    bucket_name: str,
    key: str,
    body: bytes,
    metadata: Mapping[str, str] | None = None,
    **extra: Any,
) -> Head:
    """Write bytes.

    Args:
        connection: The connection to the store.
        bucket_name: The bucket.
        key: The key.
        body: The content.
        metadata: User metadata, a mapping of text to text.
        extra: Further parameters (:class:`PutParameters`).

    Raises:
        S3ChecksumError: The store received other bytes than were sent.

    Requests:
        1 PUT
    """
    return run(connection, put_steps(connection, bucket_name, key, body, metadata, extra))


def put_steps(
    connection: Connection,
    bucket_name: str,
    key: str,
    body: bytes,
    metadata: Mapping[str, str] | None,
    extra: Mapping[str, Any],
) -> Steps[Head]:
    """The steps of :func:`put`."""
    encoded = user_metadata.encode(metadata)
    parameters = {"Metadata": encoded, **s3_parameters(key, extra)}

    def is_what_was_sent(answer: Answer) -> bool:
        return not checksum.is_other(connection, bucket_name, answer.headers, body)

    def with_checksum() -> Answer:
        whole = {"Bucket": bucket_name, "Key": key, "Body": body, **parameters}
        return Answer(checksum.call(connection, "PutObject", whole))

    answer: Answer = yield Request(
        "PutObject", bucket_name, key, parameters, body, accepts=is_what_was_sent, fallback=with_checksum
    )
    return lazy_head_of_write(len(body), answer.etag, answer.version_id, encoded)


def delete_steps(bucket_name: str, key: str, version_id: str | None = None) -> Steps[None]:
    """Delete an object, or a version of it. An object that does not exist counts as deleted.

    Raises:
        S3NoSuchBucket: The bucket does not exist.

    Requests:
        1 DELETE
    """
    with suppress(S3NoSuchItem):
        yield Request("DeleteObject", bucket_name, key, _version(version_id))


def _version(version_id: str | None) -> dict[str, str]:
    return {} if version_id is None else {"VersionId": version_id}
