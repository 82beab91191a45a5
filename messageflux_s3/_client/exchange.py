"""Send a request and return its response: through the fast lane if it may be used, else through boto3.

Only this module and ``async_exchange.py`` choose between them. They translate failures of both into :class:`S3Error`, update
``connection.is_online``, and reject incomplete responses of the lane. Their callers describe a request in boto3's terms, and do not depend
on how it was sent.
"""

from __future__ import annotations

import html
import re
from base64 import b64encode
from collections.abc import Callable, Generator, Iterable, Mapping
from hashlib import md5
from types import MappingProxyType
from typing import Any, Literal, NamedTuple
from urllib.parse import quote

from .._formats.deletions import delete_document, read_deletions
from .._formats.head import Head, lazy_head
from .._formats.keys import quote_key
from .._http.http1 import BODY_LIMIT, LaneRequest, LaneResponse
from .._http.lane import PendingResponse
from ..errors import S3Error
from .addresses import BucketAddress
from .connection import Connection
from .translate import from_answer

_NONE: Mapping[str, Any] = MappingProxyType({})


class Request:
    """One request, in the terms of S3 and boto3.

    Attributes:
        operation: S3's name of the operation, such as ``"HeadObject"``.
        bucket: The bucket.
        key: The key; empty for the bucket itself.
        parameters: Further parameters under boto3's names.
        body: The body.
        limit: The largest body that the lane reads into memory; a larger one is read through boto3.
        headers_if_larger: If the body is above the limit, return only the headers (``body`` is None then).
        target: A buffer to fill with the body of a successful response; the body must have the buffer's length.
        accepts: Returns whether to accept a response of the lane. If not, the request is sent through boto3.
        fallback: Called to send the request through boto3; without it boto3's method for the operation is called once.
        is_for_boto3: Whether the request must not be sent through the lane.
        tag: Any value, for the caller of :func:`exchange_many`.
    """

    __slots__ = (
        "accepts", "body", "bucket", "fallback", "headers_if_larger", "is_for_boto3", "key", "limit", "operation", "parameters", "tag",
        "target",
    )  # fmt: skip

    def __init__(
        self,
        operation: str,
        bucket: str,
        key: str = "",
        parameters: Mapping[str, Any] = _NONE,
        body: bytes = b"",
        *,
        limit: int = BODY_LIMIT,
        headers_if_larger: bool = False,
        target: memoryview | None = None,
        accepts: Callable[[Answer], bool] | None = None,
        fallback: Callable[[], Answer] | None = None,
        is_for_boto3: bool = False,
        tag: Any = None,
    ) -> None:
        self.operation = operation
        self.bucket = bucket
        self.key = key
        self.parameters = parameters
        self.body = body
        self.limit = limit
        self.headers_if_larger = headers_if_larger
        self.target = target
        self.accepts = accepts
        self.fallback = fallback
        self.is_for_boto3 = is_for_boto3
        self.tag = tag

    def __repr__(self) -> str:
        return f"Request({self.operation!r}, {self.bucket!r}, {self.key!r})"


class Answer:
    """The response to a request, from the lane or from boto3.

    Attributes:
        body: For GetObject the content, or None if it is above the request's limit; for ListObjectsV2 the document, or None from boto3.
        parsed: The response as boto3 returns it; for a response of the lane None, except for CopyObject and DeleteObjects.
    """

    __slots__ = ("_found", "_response", "body", "parsed")

    def __init__(
        self,
        parsed: Mapping[str, Any] | None = None,
        found: Head | None = None,
        body: bytes | None = None,
        response: LaneResponse | None = None,
    ) -> None:
        self.parsed = parsed
        self.body = body
        self._found = found
        self._response = response

    @property
    def status(self) -> int | None:
        """The HTTP status."""
        if self._response is not None:
            return self._response.status
        status: int | None = (self.parsed or {}).get("ResponseMetadata", {}).get("HTTPStatusCode")
        return status

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, with lower-case names."""
        if self._response is not None:
            return self._response.headers
        headers: Mapping[str, str] = (self.parsed or {}).get("ResponseMetadata", {}).get("HTTPHeaders", {})
        return headers

    @property
    def head(self) -> Head:
        """The object's head, decoded from the headers at the first access."""
        if self._found is None:
            self._found = (
                lazy_head(self._response) if self._response is not None else Head.from_answer(self.parsed or {})
            )
        return self._found

    @property
    def etag(self) -> str | None:
        """The ETag as received."""
        return self._response.headers.get("etag") if self._response is not None else (self.parsed or {}).get("ETag")

    @property
    def version_id(self) -> str | None:
        """The version ID in the response."""
        if self._response is not None:
            return self._response.headers.get("x-amz-version-id")
        return (self.parsed or {}).get("VersionId")


def exchange(connection: Connection, request: Request) -> Answer:
    """Send one request.

    Raises:
        S3Error: The store rejected it, or did not respond.
        ValueError: boto3 rejects a parameter.

    Requests:
        1 (and retries)
    """
    form = lane_form(request)
    if form is not None:
        response = connection.lane.send(
            form, body_limit=request.limit, headers_if_larger=request.headers_if_larger, target=request.target
        )
        answer = None if response is None else accepted(connection, request, response)
        if answer is not None:
            return answer
    return ask_boto3(connection, request)


def ask_boto3(connection: Connection, request: Request) -> Answer:
    """Send one request through boto3: one that the lane cannot send, or for which the lane's response is unusable.

    Raises:
        S3Error: The store rejected it, or did not respond.
        ValueError: boto3 rejects a parameter.

    Requests:
        1 (and the retries of boto3), or those of the request's ``fallback``
    """
    if request.fallback is not None:
        return request.fallback()
    where = {"Bucket": request.bucket, "Key": request.key} if request.key else {"Bucket": request.bucket}
    body = {"Body": request.body} if request.operation == "PutObject" else {}
    return Answer(connection.call(request.operation, **where, **body, **request.parameters))


def exchange_many(
    connection: Connection, requests: Iterable[Request], *, concurrency: int, max_bytes: int, limit: int
) -> Generator[tuple[Request, Answer | S3Error | None], None, None]:
    """Send many requests through the lane, several at a time, and yield their responses in order.

    Args:
        connection: The connection.
        requests: The requests, consumed as capacity permits.
        concurrency: The maximum number of requests in flight.
        max_bytes: The maximum number of body bytes held in memory.
        limit: The largest body to read into memory.

    Returns:
        Each request with its response, its error, or None if the caller has to call :func:`ask_boto3`. Closing the iterator closes the
        connections with a pending response.

    Requests:
        1 per request
    """

    def forms() -> Generator[LaneRequest, None, None]:
        for request in requests:
            # A placeholder without a bucket: the lane does not send it, but yields it in its place in the order.
            form = lane_form(request) or LaneRequest("GET", "", body=request.body)
            form.tag = request
            yield form

    stream = connection.lane.stream(
        forms(), concurrency=concurrency, max_bytes=max_bytes, body_limit=limit, headers_if_larger=True
    )
    try:
        for form, response in stream:
            request = form.tag
            answer: Answer | S3Error | None = None
            if response is not None and (request.headers_if_larger or not response.too_large):
                try:
                    answer = accepted(connection, request, response)
                except S3Error as error:
                    answer = error
            yield request, answer
    finally:
        stream.close()


def lane_state(bucket: BucketAddress) -> Literal["open", "opens", "shut"]:
    """Return the state of the lane for a bucket: ``"open"``, ``"opens"`` (after boto3's next success) or ``"shut"``."""
    lane = bucket.connection.lane
    if lane.is_open_for(bucket.name):
        return "open"
    return "opens" if lane.eligibility.can_open() else "shut"


def begin(connection: Connection, request: Request) -> Begun:
    """Send one request without waiting for the response. If the lane cannot send it, :meth:`Begun.result` sends it.

    Requests:
        1
    """
    form = lane_form(request)
    return Begun(connection, request, None if form is None else connection.lane.begin(form, body_limit=request.limit))


class Begun:
    """A request with a pending response. Close it if the response is not needed."""

    __slots__ = ("_connection", "_pending", "request")

    def __init__(self, connection: Connection, request: Request, pending: PendingResponse | None) -> None:
        self._connection = connection
        self._pending = pending
        self.request = request

    def result(self) -> Answer:
        """Wait for the response.

        Raises:
            S3Error: As for :func:`exchange`.
        """
        response = None if self._pending is None else self._pending.result()
        answer = None if response is None else accepted(self._connection, self.request, response)
        return ask_boto3(self._connection, self.request) if answer is None else answer

    def close(self) -> None:
        """Close the connection if its response has not been read."""
        if self._pending is not None:
            self._pending.close()


# -- the lane's form of a request


class _Form(NamedTuple):
    method: str
    headers: Mapping[str, str] = _NONE
    query: Mapping[str, str] = _NONE
    fixed_query: str = ""


_READ = {"IfMatch": "if-match", "Range": "range"}
_WRITE = {
    "ContentType": "content-type",
    "ContentEncoding": "content-encoding",
    "ContentLanguage": "content-language",
    "ContentDisposition": "content-disposition",
    "CacheControl": "cache-control",
    "StorageClass": "x-amz-storage-class",
}
_VERSION = {"VersionId": "versionId"}
_LISTING = {
    "ContinuationToken": "continuation-token",
    "Delimiter": "delimiter",
    "MaxKeys": "max-keys",
    "Prefix": "prefix",
    "StartAfter": "start-after",
}
_FORMS = {
    "HeadObject": _Form("HEAD", _READ, _VERSION),
    "GetObject": _Form("GET", _READ, _VERSION),
    "PutObject": _Form("PUT", _WRITE),
    "CopyObject": _Form("PUT", {"StorageClass": "x-amz-storage-class"}),
    "DeleteObject": _Form("DELETE", query=_VERSION),
    "DeleteObjects": _Form("POST", fixed_query="delete="),
    "ListObjectsV2": _Form("GET", query=_LISTING, fixed_query="list-type=2"),
}
"""How the lane sends each operation. Other parameters need boto3, except ``Metadata``, ``CopySource`` and ``Delete``."""


def lane_form(request: Request) -> LaneRequest | None:
    """Return the lane's form of a request; None if it has to be sent through boto3."""
    form = _FORMS.get(request.operation)
    if form is None or request.is_for_boto3:
        return None
    parameters = request.parameters
    if not parameters:
        return LaneRequest(form.method, request.bucket, request.key, form.fixed_query, None, request.body)
    headers: dict[str, str] = {}
    query = [form.fixed_query] if form.fixed_query else []
    body = request.body
    for name, value in parameters.items():
        if (header := form.headers.get(name)) is not None:
            if not isinstance(value, str) or not value.isascii() or not value.isprintable():
                return None
            headers[header] = value
        elif (word := form.query.get(name)) is not None:
            query.append(f"{word}={quote(str(value), safe='-._~')}")
        elif name == "Metadata":
            for word, text in value.items():
                headers[f"x-amz-meta-{word}"] = text
        elif name == "CopySource":
            version = f"?versionId={quote(value['VersionId'], safe='-._~')}" if value.get("VersionId") else ""
            headers["x-amz-copy-source"] = f"{value['Bucket']}/{quote_key(value['Key'])}{version}"
        elif name == "Delete":
            body = delete_document(value["Objects"])
            headers["content-md5"] = b64encode(md5(body, usedforsecurity=False).digest()).decode("ascii")
            headers["content-type"] = "application/xml"
        else:
            return None
    in_order = "&".join(sorted(query)) if query else ""
    return LaneRequest(form.method, request.bucket, request.key, in_order, headers, body)


# -- the lane's responses

_CODE = re.compile(rb"<Code>([^<]*)</Code>")
_MESSAGE = re.compile(rb"<Message>([^<]*)</Message>")
_COPIED_ETAG = re.compile(r"<ETag>([^<]+)</ETag>")
# For other operations a 404 does not say which of several resources is missing; the caller interprets boto3's response.
_EXPLAINED_BY_404 = {"HeadObject", "GetObject", "PutObject", "DeleteObject"}


def accepted(connection: Connection, request: Request, response: LaneResponse) -> Answer | None:
    """Return a response of the lane as an Answer; None if the request has to be sent through boto3.

    Raises:
        S3Error: The requested resource does not exist.
    """
    connection.is_online = True
    if response.status == 404:
        if request.operation not in _EXPLAINED_BY_404 or (
            b"<Error" in response.body and b"</Error>" not in response.body
        ):
            return None
        raise _error(response, request.operation, request.bucket, request.key)
    # Move the body from the response to the answer: the head may be kept for long, and keeps the response with it.
    body, response.body = response.body, b""
    answer = Answer(None, None, None if response.too_large else body, response)
    complete = _COMPLETE.get(request.operation)
    if (complete is not None and not complete(answer)) or (request.accepts is not None and not request.accepts(answer)):
        return None
    return answer


def _error(response: LaneResponse, operation: str, bucket_name: str, key: str | None) -> S3Error:
    """Return the error for an error response, worded as boto3's would be."""
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


def _is_complete_head(answer: Answer) -> bool:
    found = answer._found = Head.from_headers(answer.headers)
    return found.size is not None and found.etag is not None and found.last_modified is not None


def _is_complete_copy(answer: Answer) -> bool:
    """Return whether the copy was made: a response with a success status may contain an error."""
    document = answer.body or b""
    etag = _COPIED_ETAG.search(document.decode("utf-8", "replace"))
    if etag is None or not document.rstrip().endswith(b"CopyObjectResult>"):
        return False
    answer.parsed = {"CopyObjectResult": {"ETag": html.unescape(etag[1])}, "VersionId": answer.version_id}
    return True


def _is_complete_deletion(answer: Answer) -> bool:
    answer.parsed = read_deletions(answer.body or b"")
    return answer.parsed is not None


_COMPLETE: dict[str, Callable[[Answer], bool]] = {
    "HeadObject": _is_complete_head,
    "CopyObject": _is_complete_copy,
    "DeleteObjects": _is_complete_deletion,
}
