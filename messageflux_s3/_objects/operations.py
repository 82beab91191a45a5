"""One object's headers and bytes: read, written, asked about. The fast lane first, boto3 the authority.

This room knows a connection, a bucket's name and a key. What it returns is values; what a handle remembers of them is the handle's affair.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from .._client.connection import Connection
from .._client.translate import from_answer
from .._formats import metadata as user_metadata
from .._formats.head import Head, lazy_head
from .._http.lane import LaneRequest, LaneResponse
from ..errors import S3Error, S3ServerError
from . import checksum
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
"""A body up to this size is read at once and kept; a larger one is left where it is until somebody reads it."""


_LANE_HEADERS = {
    "ContentType": "content-type",
    "ContentEncoding": "content-encoding",
    "ContentLanguage": "content-language",
    "ContentDisposition": "content-disposition",
    "CacheControl": "cache-control",
    "StorageClass": "x-amz-storage-class",
}

_CODE = re.compile(rb"<Code>([^<]*)</Code>")
_MESSAGE = re.compile(rb"<Message>([^<]*)</Message>")


def head_and_body(response: LaneResponse) -> tuple[Head, bytes]:
    """Return what an answer of the lane says of an object, and its content."""
    body, response.body = response.body, b""
    return lazy_head(response.headers), body


def as_int(value: Any) -> Any:
    """An object with ``__index__`` (a NumPy integer, say) as an int; anything else unchanged, for the caller to check."""
    return operator.index(value) if hasattr(type(value), "__index__") and not isinstance(value, int) else value


def body_bytes(data: object, argument: str) -> bytes:
    """Bytes-like data or text as bytes.

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
    """One HEAD.

    Args:
        connection: The way to the store.
        bucket_name: The bucket.
        key: The key.
        version_id: A version of it.
        given: Further parameters of HeadObject (:func:`for_every_request`).

    Raises:
        S3NoSuchItem: There is no such object.

    Requests:
        1 HEAD
    """
    answered = (
        None
        if given
        else connection.lane.send(LaneRequest("HEAD", bucket_name, key, version_query(version_id), {}, b""))
    )
    found = None
    if answered is not None:
        with connection.translating("HeadObject", bucket_name, key):
            found = Head.from_headers(_success(answered, "HeadObject", bucket_name, key).headers)
    if found is None or found.size is None or found.etag is None or found.last_modified is None:
        found = Head.from_answer(
            connection.call(
                "HeadObject",
                Bucket=bucket_name,
                Key=key,
                **({} if version_id is None else {"VersionId": version_id}),
                **(given or {}),
            )
        )
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
    """One GET of a whole object, resumed at its offset if the connection breaks.

    Args:
        connection: The way to the store.
        bucket_name: The bucket.
        key: The key.
        version_id: A version of it.
        if_match: The etag that it must still have.
        at_most: A larger body is not read: its place in the result is None, and the response is closed.

    Raises:
        S3NoSuchItem: There is no such object.
        S3ObjectChanged: It has another etag by now.

    Requests:
        1 GET (more only after a broken connection)
    """
    condition = etag_for(connection, if_match)
    headers = {"if-match": condition} if condition is not None else {}
    answered = connection.lane.send(LaneRequest("GET", bucket_name, key, version_query(version_id), headers, b""))
    if answered is not None:
        with connection.translating("GetObject", bucket_name, key):
            whole = _success(answered, "GetObject", bucket_name, key)
            found_whole, body = head_and_body(whole)
        check_version(connection, found_whole, bucket_name, key, version_id)
        if if_match is not None:
            check_etag(found_whole.etag, if_match, bucket_name, key)
        return found_whole, body
    found, stream = get_stream(connection, bucket_name, key, version_id=version_id, if_match=if_match)
    with stream:
        return read_up_to(at_most, found, stream)


def read_first(reader: RangedReader, count: int) -> bytes:
    """Read the beginning of an object, and let the reader learn its size and ETag.

    Raises:
        S3NoSuchItem: There is no such object.
        S3ObjectChanged: It has another ETag than the reader is pinned to.

    Requests:
        1 GET (1 HEAD more if the object is empty, or the answer does not say its size)
    """
    answered = _range_through_lane(reader, 0, count)
    if answered is not None:
        return answered.body
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
    return first


def learn_size(reader: RangedReader) -> None:
    """Let a reader learn the object's size and ETag without reading it. Requests: 1 HEAD."""
    given = for_every_request(reader.parameters)
    reader.accept(head(reader.connection, reader.bucket_name, reader.key, reader.version_id, given))


def read_into(reader: RangedReader, start: int, view: memoryview) -> None:
    """Fill a buffer with the bytes of an object from ``start`` on, straight from the socket where the fast lane is open.

    Raises:
        S3ObjectChanged: The object was replaced or deleted.
        S3ConnectionError: The bytes could not be had, after several attempts that brought nothing.

    Requests:
        1 GET (more only after a broken connection)
    """
    if _range_through_lane(reader, start, len(view), view) is None:
        reader.read_into(start, view)


def _range_through_lane(
    reader: RangedReader, start: int, count: int, target: memoryview | None = None
) -> LaneResponse | None:
    """Read a range through the fast lane. None: it is left to boto3, as is an answer that does not hold exactly this range.

    Args:
        reader: The object.
        start: The first byte.
        count: How many bytes; without a target, as many as the object has.
        target: Where to put them.
    """
    if reader.parameters:
        return None  # the lane does not know them
    connection, bucket_name, key = reader.connection, reader.bucket_name, reader.key
    headers = {"range": f"bytes={start}-{start + count - 1}"}
    condition = etag_for(connection, reader.etag)
    if condition is not None:
        headers["if-match"] = condition
    request = LaneRequest("GET", bucket_name, key, version_query(reader.version_id), headers, b"")
    answered = connection.lane.send(request, body_limit=count, target=target)
    if answered is None:
        return None
    if answered.status == 404:
        raise reader.explain(lane_error(answered, "GetObject", bucket_name, key))
    found = Head.from_headers(answered.headers)
    length = len(answered.body) if target is None else count
    said = {
        "ResponseMetadata": {"HTTPStatusCode": answered.status},
        "ContentRange": answered.headers.get("content-range"),
        "ContentLength": length,
    }
    if found.size is None or length not in (count, found.size):
        return None
    try:
        if offset_in_body(said, start, bucket_name, key):
            return None
    except S3ServerError:
        return None
    reader.accept(found)
    return answered


def put(
    connection: Connection,
    bucket_name: str,
    key: str,
    body: bytes,
    metadata: Mapping[str, str] | None = None,
    **extra: Any,
) -> Head:
    """One PUT of bytes.

    Args:
        connection: The way to the store.
        bucket_name: The bucket.
        key: The key.
        body: The content.
        metadata: User metadata, text to text.
        extra: Further parameters (:class:`PutParameters`).

    Requests:
        1 PUT
    """
    encoded = user_metadata.encode(metadata)
    parameters = s3_parameters(key, extra)
    request = put_request(bucket_name, key, body, encoded, parameters)
    answered = connection.lane.send(request) if request is not None else None
    if request is not None and answered is not None:
        with connection.translating("PutObject", bucket_name, key):
            made = head_of_put(connection, answered, request, encoded)
        if made is not None:
            return made
    return put_through_boto3(connection, bucket_name, key, body, encoded, parameters)


def put_through_boto3(
    connection: Connection,
    bucket_name: str,
    key: str,
    body: bytes,
    encoded: Mapping[str, str],
    parameters: Mapping[str, Any],
) -> Head:
    """One PUT of bytes the way that always works.

    Raises:
        S3ChecksumError: Something else arrived than was sent.

    Requests:
        1 PUT
    """
    whole = {"Bucket": bucket_name, "Key": key, "Body": body, "Metadata": encoded, **parameters}
    answer = checksum.call(connection, "PutObject", whole)
    return Head.from_write(len(body), answer.get("ETag"), answer.get("VersionId"), encoded)


def put_request(
    bucket_name: str, key: str, body: bytes, encoded: Mapping[str, str], parameters: Mapping[str, Any]
) -> LaneRequest | None:
    """The lane's request for a PUT; None where it has a parameter that only boto3 knows how to send."""
    headers = {f"x-amz-meta-{name}": value for name, value in encoded.items()}
    for name, value in parameters.items():
        header = _LANE_HEADERS.get(name)
        if header is None or not isinstance(value, str) or not value.isascii() or not value.isprintable():
            return None
        headers[header] = value
    return LaneRequest("PUT", bucket_name, key, "", headers, body)


def head_of_put(
    connection: Connection, response: LaneResponse, request: LaneRequest, encoded: Mapping[str, str]
) -> Head | None:
    """What the lane's answer to a PUT says of the new object; None where that is not what was sent: ask boto3.

    Raises:
        S3Error: It was no success.
    """
    headers = _success(response, "PutObject", request.bucket, request.key).headers
    if checksum.is_other(connection, request.bucket, headers, request.body):
        return None
    return Head.from_write(len(request.body), headers.get("etag"), headers.get("x-amz-version-id"), encoded)


def lane_error(response: LaneResponse, operation: str, bucket_name: str, key: str | None) -> S3Error:
    """The error that an answer of the lane stands for, worded as boto3's would be."""
    code = _CODE.search(response.body)
    message = _MESSAGE.search(response.body)
    return from_answer(
        {
            "Error": {
                "Code": code[1].decode("utf-8", "replace") if code else str(response.status),
                "Message": message[1].decode("utf-8", "replace") if message else "",
            },
            "ResponseMetadata": {
                "HTTPStatusCode": response.status,
                "HTTPHeaders": response.headers,
                "RequestId": response.headers.get("x-amz-request-id"),
            },
        },
        operation,
        bucket_name,
        key,
    )


def _success(response: LaneResponse, operation: str, bucket_name: str, key: str) -> LaneResponse:
    if response.status >= 300:
        raise lane_error(response, operation, bucket_name, key)
    return response


def version_query(version_id: str | None) -> str:
    """The query that names a version, as it goes on the wire."""
    return "" if version_id is None else f"versionId={quote(version_id, safe='-._~')}"
