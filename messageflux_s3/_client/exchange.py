"""Send a request and return its response: through the fast lane if it may be used, else through boto3.

Only this module and ``async_exchange.py`` choose between the two. Both modules translate all failures into :class:`S3Error`, update
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

from .._formats.bucket_names import is_arn
from .._formats.deletions import delete_document, read_deletions
from .._formats.documents import is_html, is_page
from .._formats.head import Head, lazy_head
from .._formats.keys import quote_key
from .._http.http1 import BODY_LIMIT, BodySink, LaneRequest, LaneResponse
from .._http.lane import PendingResponse
from ..errors import S3Error
from . import observation
from .addresses import BucketAddress
from .connection import HEADERS, Connection
from .request_record import RequestRecord
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
        target: A buffer or sink for the body of a successful response of the lane; the body must have its length.
        accepts: Returns whether to accept a response of the lane. If not, the request is sent through boto3.
        fallback: Called to send the request through boto3; without it boto3's method for the operation is called once.
        is_for_boto3: Whether the request must be sent through boto3, never through the lane.
        progress: Called with the number of bytes of a large body that the lane has just sent.
        tag: Any value, for the caller of :func:`exchange_many`.
        record: The record of the attempt that the lane makes, or has made without success; None if the request is not observed.
    """

    __slots__ = (
        "accepts", "body", "bucket", "fallback", "headers_if_larger", "is_for_boto3", "key", "limit", "operation", "parameters", "progress",
        "record", "tag", "target",
    )  # fmt: skip

    def __init__(
        self,
        operation: str,
        bucket: str,
        key: str = "",
        parameters: Mapping[str, Any] = _NONE,
        body: bytes | bytearray = b"",
        *,
        limit: int = BODY_LIMIT,
        headers_if_larger: bool = False,
        target: memoryview | BodySink | None = None,
        accepts: Callable[[Answer], bool] | None = None,
        fallback: Callable[[], Answer] | None = None,
        is_for_boto3: bool = False,
        progress: Callable[[int], None] | None = None,
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
        self.progress = progress
        self.tag = tag
        self.record: RequestRecord | None = None

    def __repr__(self) -> str:
        return f"Request({self.operation!r}, {self.bucket!r}, {self.key!r})"


class Answer:
    """The response to a request, from the lane or from boto3.

    Attributes:
        body: For GetObject the content, or None if it is above the request's limit; for ListObjectsV2 the document, or None if from boto3.
        lane_failed: Whether the lane tried to send the request before boto3 did.
        parsed: The response as boto3 returns it; None for a response of the lane, except for UploadPart, CopyObject and DeleteObjects.
    """

    __slots__ = ("_found", "_response", "body", "lane_failed", "parsed")

    def __init__(
        self,
        parsed: Mapping[str, Any] | None = None,
        found: Head | None = None,
        body: bytes | None = None,
        response: LaneResponse | None = None,
    ) -> None:
        self.parsed = parsed
        self.body = body
        self.lane_failed = False
        self._found = found
        self._response = response

    @property
    def is_of_lane(self) -> bool:
        """Whether the lane received it, rather than boto3."""
        return self._response is not None

    @property
    def was_repeated(self) -> bool:
        """Whether the request had to be sent more than once."""
        return self.lane_failed or bool((self.parsed or {}).get("ResponseMetadata", {}).get("RetryAttempts"))

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
        S3Error: The store rejected the request, or did not respond.
        ValueError: boto3 rejects a parameter.

    Requests:
        1 (and retries)
    """
    form = observed_form(connection, request)
    if form is not None:
        response = None
        try:
            response = connection.lane.send(
                form, body_limit=request.limit, headers_if_larger=request.headers_if_larger, target=request.target
            )
        except BaseException:
            if request.record is not None:
                _count_incomplete(request, request.record)
                request.record.abandoned()
            raise
        if response is None and request.record is not None:
            _count_incomplete(request, request.record)
        answer = None if response is None else accepted(connection, request, response)
        if answer is not None:
            return answer
        answer = ask_boto3(connection, request)
        answer.lane_failed = connection.lane.is_open_for(request.bucket)
        return answer
    return ask_boto3(connection, request)


def _count_incomplete(request: Request, record: RequestRecord) -> None:
    """Count what a sink took of a response that broke off."""
    if isinstance(request.target, BodySink):
        record.bytes_received += request.target.received


def ask_boto3(connection: Connection, request: Request) -> Answer:
    """Send one request through boto3: one that the lane cannot send, or for which the lane's response is unusable.

    Raises:
        S3Error: The store rejected the request, or did not respond.
        ValueError: boto3 rejects a parameter.

    Requests:
        1 (and the retries of boto3), or those of the request's ``fallback``
    """
    record, request.record = request.record, None
    if record is not None and record.attempts:
        with connection.continuing(record):
            return _ask_boto3(connection, request)
    return _ask_boto3(connection, request)


def _ask_boto3(connection: Connection, request: Request) -> Answer:
    if request.fallback is not None:
        return request.fallback()
    where = {"Bucket": request.bucket, "Key": request.key} if request.key else {"Bucket": request.bucket}
    body = {"Body": request.body} if request.operation in ("PutObject", "UploadPart") else {}
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
            # For other requests use a placeholder without a bucket: the lane does not send it, but yields it in order.
            form = observed_form(connection, request) or LaneRequest("GET", "", body=request.body)
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
    if bucket.own_url is not None:  # an access point or a directory bucket: only boto3 can sign for them
        return "shut"
    lane = bucket.connection.lane
    if lane.is_open_for(bucket.name):
        return "open"
    return "opens" if lane.eligibility.can_open() else "shut"


def times_throttled(bucket: BucketAddress) -> int:
    """Return how many of the lane's requests to a bucket were answered with 429 or 503."""
    return bucket.connection.lane.times_throttled(bucket.name)


def connections_ahead(bucket: BucketAddress) -> int:
    """Return how many connections are open for later requests."""
    return bucket.connection.lane.pool.idle_count


def connect_ahead(bucket: BucketAddress) -> None:
    """Open one more connection for a later request to this bucket, if the lane is open for it. Requests: none."""
    bucket.connection.lane.connect_ahead(bucket.name)


def begin(connection: Connection, request: Request) -> Begun:
    """Send one request without waiting for the response. If the lane cannot send it, :meth:`Begun.result` sends it.

    Requests:
        1
    """
    form = observed_form(connection, request)
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
        try:
            response = None if self._pending is None else self._pending.result()
        except BaseException:
            if self.request.record is not None:
                self.request.record.abandoned()
            raise
        answer = None if response is None else accepted(self._connection, self.request, response)
        return ask_boto3(self._connection, self.request) if answer is None else answer

    def close(self) -> None:
        """Close the connection if its response has not been read."""
        if self._pending is not None:
            self._pending.close()


class ConcurrentRequests:
    """Requests sent through the lane, several at a time, whose responses are taken in any order. No thread is used.

    Close it at the end. MUST NOT be used, but closed, in a process forked from the one that made it.

    Args:
        connection: The connection.
        concurrency: The number of requests at a time; the caller keeps to it.
        limit: The largest body to read into memory.
    """

    def __init__(self, connection: Connection, *, concurrency: int, limit: int) -> None:
        self._connection = connection
        self._stream = connection.lane.open_stream(concurrency=concurrency, body_limit=limit)
        self._observed: set[Sent] = set()  # observed requests without an answer so far

    def begin(self, request: Request) -> Sent:
        """Send a request and return a handle. Requests: 1, or none if the lane cannot send it."""
        form = observed_form(self._connection, request) or LaneRequest("GET", "")
        sent = Sent(request, self._stream.submit(form))
        if request.record is not None:
            self._observed.add(sent)
        return sent

    def advance(self, first: Sent | None = None) -> None:
        """Process what has arrived; with a handle, wait until its response or another one is complete."""
        self._stream.advance(None if first is None else first.entry)

    def answer(self, sent: Sent) -> Answer | None:
        """Return a complete response; None if the caller has to call :func:`ask_boto3`, or :meth:`abandon`.

        Raises:
            S3Error: The requested resource does not exist.
        """
        response = sent.entry.response
        answer = None if response is None else accepted(self._connection, sent.request, response)
        if answer is not None:
            self._observed.discard(sent)
        return answer

    def abandon(self, sent: Sent) -> None:
        """Tell observers that a response is not wanted any more. If it is still pending, its connection can be used once it has arrived."""
        self._observed.discard(sent)
        self._stream.abandon(sent.entry)
        record, sent.request.record = sent.request.record, None
        if record is not None:
            record.abandoned()

    def close(self) -> None:
        """Close the connections with a pending response; keep the others for later requests."""
        self._stream.close()
        for sent in [*self._observed]:
            self.abandon(sent)


class Sent:
    """A request that :meth:`ConcurrentRequests.begin` sent."""

    __slots__ = ("entry", "request")

    def __init__(self, request: Request, entry: Any) -> None:
        self.request = request
        self.entry = entry

    @property
    def is_complete(self) -> bool:
        """Whether the response has arrived, or the lane could not send the request."""
        return bool(self.entry.is_done)


# -- the lane's form of a request


class _Form(NamedTuple):
    method: str
    headers: Mapping[str, str] = _NONE
    query: Mapping[str, str] = _NONE
    fixed_query: str = ""


_OWNER_AND_PAYER = {name: HEADERS[name] for name in ("RequestPayer", "ExpectedBucketOwner")}
_READ = {
    **_OWNER_AND_PAYER,
    "ChecksumMode": "x-amz-checksum-mode",
    "IfMatch": "if-match",
    "IfNoneMatch": "if-none-match",
    "Range": "range",
}
_WRITE = {
    **_OWNER_AND_PAYER,
    "ContentType": "content-type",
    "ContentEncoding": "content-encoding",
    "ContentLanguage": "content-language",
    "ContentDisposition": "content-disposition",
    "CacheControl": "cache-control",
    "StorageClass": "x-amz-storage-class",
    "ChecksumCRC32": "x-amz-checksum-crc32",
}
_CHECKSUMS = {
    "ContentMD5": "content-md5",
    "ChecksumCRC32": "x-amz-checksum-crc32",
    "ChecksumSHA1": "x-amz-checksum-sha1",
    "ChecksumSHA256": "x-amz-checksum-sha256",
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
    "UploadPart": _Form(
        "PUT", {**_CHECKSUMS, **_OWNER_AND_PAYER}, {"PartNumber": "partNumber", "UploadId": "uploadId"}
    ),
    "CopyObject": _Form("PUT", {"StorageClass": "x-amz-storage-class", **HEADERS}),
    "DeleteObject": _Form("DELETE", _OWNER_AND_PAYER, _VERSION),
    "DeleteObjects": _Form("POST", _OWNER_AND_PAYER, fixed_query="delete="),
    "ListObjectsV2": _Form("GET", _OWNER_AND_PAYER, _LISTING, "list-type=2"),
}
"""How the lane sends each operation. Parameters not listed need boto3, except ``Metadata``, ``CopySource`` and ``Delete``."""

_OF_BUCKETS = frozenset({"DeleteObjects", "ListObjectsV2"})


def lane_form(request: Request) -> LaneRequest | None:
    """Return the lane's form of a request; None if it has to be sent through boto3."""
    form = _FORMS.get(request.operation)
    if form is None or request.is_for_boto3:
        return None
    if (
        not request.key and request.operation not in _OF_BUCKETS
    ):  # it would be a request for the bucket; boto3 refuses it
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
            if is_arn(value["Bucket"]):  # for an ARN the header has another form
                return None
            version = f"?versionId={quote(value['VersionId'], safe='-._~')}" if value.get("VersionId") else ""
            headers["x-amz-copy-source"] = f"{value['Bucket']}/{quote_key(value['Key'])}{version}"
        elif name == "Delete":
            body = delete_document(value["Objects"])
            headers["content-md5"] = b64encode(md5(body, usedforsecurity=False).digest()).decode("ascii")
            headers["content-type"] = "application/xml"
        else:
            return None
    in_order = "&".join(sorted(query)) if query else ""
    return LaneRequest(
        form.method,
        request.bucket,
        request.key,
        in_order,
        headers,
        body,
        is_body_covered=request.operation == "UploadPart" and not _CHECKSUMS.keys().isdisjoint(parameters),
        progress=request.progress,
    )


def observed_form(connection: Connection, request: Request) -> LaneRequest | None:
    """Return the lane's form of a request, with a record if the request is observed; None if the request must be sent through boto3."""
    form = lane_form(request)
    if form is not None:
        form.watch = request.record = observation.begin(
            connection.observers, request.operation, request.bucket, request.key
        )
    return form


# -- the lane's responses

_CODE = re.compile(rb"<Code>([^<]*)</Code>")
_MESSAGE = re.compile(rb"<Message>([^<]*)</Message>")
_OF_PART = {
    "ETag": "etag",
    "ServerSideEncryption": "x-amz-server-side-encryption",
    "SSECustomerAlgorithm": "x-amz-server-side-encryption-customer-algorithm",
}
_COPIED_ETAG = re.compile(r"<ETag>([^<]+)</ETag>")
# For other operations a 404 does not say which of several resources is missing; the caller interprets boto3's response.
_EXPLAINED_BY_404 = {"HeadObject", "GetObject", "PutObject", "DeleteObject"}
_WRITES = {"PutObject", "DeleteObject"}


def accepted(connection: Connection, request: Request, response: LaneResponse) -> Answer | None:
    """Return a response of the lane as an Answer; None if the request has to be sent through boto3.

    Raises:
        S3Error: The requested resource does not exist, or the store received other bytes than were sent.
    """
    connection.is_online = True
    try:
        answer = _accepted(request, response)
    except S3Error:  # raised by request.accepts, for another state of the object, say: the request itself has succeeded
        if request.record is not None:
            request.record.end()
        raise
    record = request.record
    if record is not None and answer is not None:
        request.record = None
        if isinstance(answer, S3Error):
            record.end(answer.code)
        else:
            record.end(
                None if response.status < 300 else str(response.status)
            )  # 304 is reported as it is through boto3
    if isinstance(answer, S3Error):
        raise answer
    return answer


def _accepted(request: Request, response: LaneResponse) -> Answer | S3Error | None:
    if response.status == 400:
        return _error(response, request.operation, request.bucket, request.key)
    if response.status == 404:
        is_cut = b"<Error" in response.body and b"</Error>" not in response.body
        # A proxy's page does not say that an object is missing: boto3's half raises another error for it.
        is_of_proxy = request.operation in _WRITES and response.body and _CODE.search(response.body) is None
        if request.operation not in _EXPLAINED_BY_404 or is_cut or is_of_proxy:
            return None
        return _error(response, request.operation, request.bucket, request.key)
    # Move the body from the response to the answer: the head refers to the response, and may be kept for a long time.
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


def _is_of_object(answer: Answer) -> bool:
    """Return whether the response is not a proxy's page. Only the beginning is searched: this is done for every object."""
    return not is_html((answer.body or b"")[:1024]) or not is_page(answer.headers)


def _is_complete_part(answer: Answer) -> bool:
    """Return whether the response has the part's ETag; if so, set the members of boto3's response that callers read."""
    headers = answer.headers
    answer.parsed = {
        name: headers[header] for name, header in (*_OF_PART.items(), *_CHECKSUMS.items()) if header in headers
    }
    return "ETag" in answer.parsed


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


def _is_of_deletion(answer: Answer) -> bool:
    """Return whether the response is one of S3, which sends no body: a proxy's sign-in page does not prove that anything was deleted."""
    return not is_html(answer.body)


_COMPLETE: dict[str, Callable[[Answer], bool]] = {
    "HeadObject": _is_complete_head,
    "GetObject": _is_of_object,
    "UploadPart": _is_complete_part,
    "CopyObject": _is_complete_copy,
    "DeleteObject": _is_of_deletion,
    "DeleteObjects": _is_complete_deletion,
}
