"""Handlers on a boto3 client's events: they correct responses before botocore parses them, and requests before botocore signs them.

botocore reports a truncated response as a success in which values are missing. :meth:`Hooks.on_answer` turns such a response into status
500, which botocore's own retry rule handles.
"""

from __future__ import annotations

import base64
import hashlib
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import Element

import botocore.auth
import botocore.retries.standard
from botocore.utils import determine_content_length

from .._formats.bucket_names import access_point, zone_of
from .._formats.documents import COMMENTS, is_html, is_page, keep_carriage_returns, replace_invalid_characters
from ..errors import S3ServerError, S3Unsupported
from .observation import Observers, begin
from .observed_body import ObservedBody
from .request_record import RequestRecord
from .translate import from_answer

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# S3 always sends these headers with a success; if one is missing, the response was truncated.
_REQUIRED_HEADERS = {
    "HeadObject": {"etag", "last-modified", "content-length"},
    "PutObject": {"etag"},
    "UploadPart": {"etag"},
}
# Operations whose success always has an XML document, each with the names that stores give its root element (an empty tuple: any name). A
# write is confirmed only by its own document: a 200 without a body, or with a proxy's sign-in page, does not prove that it took place.
_REQUIRED_ROOTS: dict[str, tuple[str, ...]] = {
    "CreateMultipartUpload": ("InitiateMultipartUploadResult", "InitiateMultipartUpload"),  # the second is rclone's
    "CompleteMultipartUpload": ("CompleteMultipartUploadResult",),
    "CopyObject": ("CopyObjectResult",),
    "ListBuckets": (),
    "ListObjectVersions": (),
    "ListMultipartUploads": (),
}
# Operations whose document is repaired for botocore, which rejects it if it repeats a key with characters that XML cannot represent (the
# key is not read), or if the store has sent white space before the XML declaration, to keep the connection during a long operation.
_REPAIRED = ("CreateMultipartUpload", "CompleteMultipartUpload", "CopyObject", "UploadPartCopy")
_RESULTS_OF_PART_COPY = ("CopyPartResult", "CopyObjectResult")
"""The root element of the result of UploadPartCopy; the second is S3Proxy's. A result of another name is accepted too, but not repaired."""
# Writes that S3 confirms by an ETag or a document. A proxy may answer them with another success (202, 204) that does not confirm them.
_CONFIRMED_WRITES = frozenset(
    {"PutObject", "UploadPart", "CreateMultipartUpload", "CompleteMultipartUpload", "CopyObject"}
)
# Operations whose documents this library reads as botocore has parsed them.
_READ_BY_ELEMENT = (
    "CompleteMultipartUpload", "CopyObject", "CreateMultipartUpload", "ListBuckets", "ListMultipartUploads", "ListObjectAnnotations",
    "ListObjectVersions", "ListObjects", "ListObjectsV2", "UploadPartCopy",
)  # fmt: skip
_ECHOED = frozenset(
    {
        "Bucket", "ContinuationToken", "Delimiter", "Key", "KeyMarker", "Location", "Marker", "Name", "Prefix", "StartAfter",
        "UploadIdMarker", "VersionIdMarker",
    }
)  # fmt: skip
"""What these documents repeat of the request, at their top level: it is not read."""
# Headers of the conditions of CopyObject, which botocore does not know before 1.41. It has known those of the other writes since before
# 1.36, the oldest version allowed.
_CONDITIONS_OF_COPY = {"IfMatch": "If-Match", "IfNoneMatch": "If-None-Match"}
_RETRIES_429 = hasattr(botocore.retries.standard, "ThrottlingStatusCodeChecker")
"""Whether botocore's standard mode retries status 429 whatever the error code: version 1.44 does, 1.43.11 does not."""
_HEADERS_IN_CONTEXT = "messageflux_s3_headers"
# S3's own documents are smaller: a policy has at most 20 KB, and even a thousand lifecycle rules have less than 1 MiB.
_MAX_DOCUMENT_BYTES = 1 << 20
# Sub-resources that stores other than AWS may support. Writes and deletions of any other sub-resource are sent to AWS only: a gateway
# that ignores the query string would change the bucket or the object itself.
_OF_BUCKETS = frozenset(
    {
        "accelerate", "acl", "analytics", "cors", "delete", "encryption", "intelligent-tiering", "inventory", "lifecycle", "logging",
        "metrics", "notification", "object-lock", "ownershipControls", "policy", "publicAccessBlock", "replication", "requestPayment",
        "tagging", "versioning", "website",
    }
)  # fmt: skip
_OF_OBJECTS = frozenset({"acl", "legal-hold", "restore", "retention", "select", "tagging", "uploads"})
# What AWS documents as not supported for directory buckets.
_NOT_IN_DIRECTORY_BUCKETS = frozenset(
    {
        "DeleteBucketAnalyticsConfiguration", "DeleteBucketCors", "DeleteBucketIntelligentTieringConfiguration",
        "DeleteBucketOwnershipControls", "DeleteBucketReplication", "DeleteBucketTagging", "DeleteBucketWebsite", "DeleteObjectTagging",
        "DeletePublicAccessBlock", "GetBucketAccelerateConfiguration", "GetBucketAcl", "GetBucketAnalyticsConfiguration", "GetBucketCors",
        "GetBucketIntelligentTieringConfiguration", "GetBucketLifecycle", "GetBucketLogging", "GetBucketNotification",
        "GetBucketNotificationConfiguration", "GetBucketOwnershipControls", "GetBucketPolicyStatus", "GetBucketReplication",
        "GetBucketRequestPayment", "GetBucketTagging", "GetBucketVersioning", "GetBucketWebsite", "GetObjectAcl", "GetObjectLegalHold",
        "GetObjectLockConfiguration", "GetObjectRetention", "GetObjectTagging", "GetObjectTorrent", "GetPublicAccessBlock",
        "ListBucketAnalyticsConfigurations", "ListBucketIntelligentTieringConfigurations", "ListObjectVersions", "ListObjects",
        "PutBucketAccelerateConfiguration", "PutBucketAnalyticsConfiguration", "PutBucketCors",
        "PutBucketIntelligentTieringConfiguration", "PutBucketLifecycle", "PutBucketNotification", "PutBucketNotificationConfiguration",
        "PutBucketOwnershipControls", "PutBucketReplication", "PutBucketRequestPayment", "PutBucketTagging", "PutBucketVersioning",
        "PutBucketWebsite", "PutObjectLegalHold", "PutObjectLockConfiguration", "PutObjectRetention", "PutObjectTagging",
        "PutPublicAccessBlock", "RestoreObject", "SelectObjectContent", "UpdateObjectEncryption",
    }
)  # fmt: skip
_HEADERS_NOT_IN_DIRECTORY_BUCKETS = ("x-amz-tagging", "x-amz-object-lock-", "x-amz-website-redirect-location")
_HTTP_DATE_LENGTH = len("Sat, 1 Nov 2026 11:29:39 GMT")
_LINE_END = re.compile(r"[\r\n\0]")
_ROOT = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*\?>\s*)?" + COMMENTS + rb"<(?:[A-Za-z][\w.-]*:)?([A-Za-z][\w.-]*)"
)
_TRUE = re.compile(rb"<IsTruncated>\s*true\s*</IsTruncated>", re.IGNORECASE)
"""Some stores write ``True``, which botocore takes for false: the listing would end early."""

_TLS_PORT = (
    b"<Error><Code>HttpsPort</Code><Message>the server speaks TLS at this port: endpoint_url must begin with https://, not "
    b"http://</Message></Error>"
)
_SAYS_TLS_PORT = re.compile(
    rb"HTTP request to an HTTPS server|plain HTTP request was sent to HTTPS port|speaking plain HTTP to an SSL-enabled server port"
)
"""What the servers of Go, nginx and Apache say if they receive HTTP at a port for HTTPS."""
_NO_LENGTH = (
    b"<Error><Code>IncompleteAnswer</Code><Message>the store answered 200 without Content-Length and without chunks: whether the body is "
    b"whole cannot be told</Message></Error>"
)
_NO_RESULT = (
    b"<Error><Code>IncompleteAnswer</Code><Message>the response is a success without the document of this operation: it does not "
    b"confirm that anything was done</Message></Error>"
)
_NOT_OF_S3 = (
    b"<Error><Code>IncompleteAnswer</Code><Message>the response is a page, such as the sign-in page of a proxy, and not one of S3: it does "
    b"not confirm that anything was done</Message></Error>"
)


class _RequestState(threading.local):
    """The settings for the requests that this thread sends, and the body and headers of the latest response."""

    captures_document = False
    body_to_send: bytes | None = None
    sends_md5 = False
    asks_for_checksums = False
    document: bytes | None = b""  # None: no response since clear_document()
    headers: Mapping[str, str] = {}
    observers: Observers | None = None
    record: RequestRecord | None = None
    carried: RequestRecord | None = None


class Hooks:
    """The handlers that one connection registers on its client.

    Args:
        is_aws: Returns whether the store is Amazon S3.
        close_idle_connections: Closes the client's idle HTTP connections.
    """

    def __init__(self, is_aws: Callable[[], bool], close_idle_connections: Callable[[], None]) -> None:
        self._is_aws = is_aws
        self._close_idle_connections = close_idle_connections
        self._state = _RequestState()
        # Where a request's context holds its record. Another connection may have handlers on the same client, which leave it alone.
        self._record = f"messageflux-s3-record-{id(self)}"
        self._outer_record = f"messageflux-s3-outer-record-{id(self)}"

    def register(self, client: S3Client) -> None:
        """Register the handlers; registering again on the same client has no effect."""
        events = client.meta.events
        events.register("before-parameter-build.s3", self.on_operation, unique_id=f"messageflux-s3-observe-{id(self)}")
        # First: a mock's handler of the same event answers the request, and later handlers are not called.
        events.register_first("before-send.s3", self.on_attempt, unique_id=f"messageflux-s3-attempt-{id(self)}")
        events.register("after-call.s3", self.on_end, unique_id=f"messageflux-s3-end-{id(self)}")
        for name in _READ_BY_ELEMENT:
            unique_id = f"messageflux-s3-repeated-elements-{name}"
            events.register(f"after-call.s3.{name}", refuse_repeated_elements, unique_id=unique_id)
        events.register("after-call-error.s3", self.on_failure, unique_id=f"messageflux-s3-failure-{id(self)}")
        events.register("before-parse.s3", self.on_answer, unique_id=f"messageflux-s3-read-{id(self)}")
        events.register("before-call.s3", self.on_request, unique_id=f"messageflux-s3-write-{id(self)}")
        events.register("choose-signer.s3", self.choose_signature, unique_id=f"messageflux-s3-signature-{id(self)}")
        events.register("before-parameter-build.s3.CopyObject", keep_conditions, unique_id="messageflux-s3-conditions")
        events.register("after-call.s3.HeadObject", add_tag_count, unique_id="messageflux-s3-tag-count")
        events.register("needs-retry.s3.HeadBucket", look_for_region_once, unique_id="messageflux-s3-region")
        if not _RETRIES_429:
            events.register_first("needs-retry.s3", retry_throttling, unique_id="messageflux-s3-throttling")

    def register_parameters(self, client: S3Client, parameters: Mapping[str, str]) -> None:
        """Add parameters to every call, even a presigned one, whose operation accepts them. The call's own parameters win."""
        handler: Callable[..., Any] = partial(add_parameters, parameters)
        client.meta.events.register("provide-client-params.s3", handler, unique_id="messageflux-s3-parameters")

    def reset(self) -> None:
        """In a forked child, forget the state of all threads."""
        self._state = _RequestState()

    # -- what applies to this thread's requests -----------------------------------------------------------------------------------

    @contextmanager
    def capturing_document(self) -> Iterator[None]:
        """Keep the response's document for :attr:`document`, and pass an empty one to botocore."""
        state = self._state
        state.document = b""
        state.captures_document = True
        try:
            yield
        finally:
            state.captures_document = False

    @contextmanager
    def sending(self, body: bytes) -> Iterator[None]:
        """Send this body in place of the one that botocore serialized."""
        self._state.body_to_send = body
        try:
            yield
        finally:
            self._state.body_to_send = None

    @contextmanager
    def sending_md5(self) -> Iterator[None]:
        """Send Content-MD5 in place of the checksum that botocore would choose."""
        self._state.sends_md5 = True
        try:
            yield
        finally:
            self._state.sends_md5 = False

    @contextmanager
    def asking_for_checksums(self) -> Iterator[None]:
        """Ask for an object's checksums in GetObject, without making botocore validate them: not every store sends correct ones."""
        self._state.asks_for_checksums = True
        try:
            yield
        finally:
            self._state.asks_for_checksums = False

    @contextmanager
    def changing(self, client: S3Client, body: bytes) -> Iterator[None]:
        """Change the first byte of this body after botocore has computed its checksums, as a faulty network would.

        The handler is registered within the block only, since it would cost time at every request.
        """
        thread, changed = threading.get_ident(), bytes([body[0] ^ 1]) + body[1:]

        def change(request: Any, **_: Any) -> None:
            if threading.get_ident() == thread:
                sent = request.body if isinstance(request.body, bytes) else request.body.read()
                request.body = sent.replace(body, changed, 1)

        client.meta.events.register("before-send.s3", change)
        try:
            yield
        finally:
            client.meta.events.unregister("before-send.s3", change)

    # -- observation of this thread's requests ------------------------------------------------------------------------------------

    def begin_observing(self, observers: Observers) -> Observers | None:
        """Observe this thread's requests until :meth:`end_observing`, which takes the return value."""
        outer, self._state.observers = self._state.observers, observers
        return outer

    def end_observing(self, outer: Observers | None) -> None:
        """Restore the observers that :meth:`begin_observing` has returned."""
        state = self._state
        state.observers = outer
        if outer is None and state.record is not None:  # interrupted: botocore has not reported the end of the request
            record, state.record = state.record, None
            record.abandoned()

    @contextmanager
    def continuing(self, record: RequestRecord) -> Iterator[None]:
        """Have the next request of the same operation on the same object continue this record."""
        state = self._state
        outer, state.carried = state.carried, record
        try:
            yield
        finally:
            is_continued = state.carried is not record
            state.carried = outer
            if not is_continued:
                record.end()

    # -- this thread's latest response --------------------------------------------------------------------------------------------

    @property
    def document(self) -> bytes:
        """The body of this thread's latest response; empty for a streamed body."""
        return self._state.document or b""

    @property
    def has_document(self) -> bool:
        """Whether this thread has received a response since :meth:`clear_document`: a Stubber answers without one."""
        return self._state.document is not None

    def clear_document(self) -> None:
        """Forget the latest response's body: a Stubber may answer the next request without any event, and the old body would remain."""
        self._state.document = None

    def header(self, name: str) -> str | None:
        """Return a header of this thread's latest response; None if it has no such header."""
        return self._state.headers.get(name)

    # -- handlers that observe ----------------------------------------------------------------------------------------------------

    def on_operation(self, params: dict[str, Any], model: Any, context: dict[str, Any], **_: Any) -> None:
        """Handle ``before-parameter-build``: begin the record of an operation, or continue that of a request that the lane has tried."""
        state = self._state
        if state.observers is None or context.get("is_presign_request"):
            return
        found = params.get("Bucket"), params.get("Key")
        bucket, key = (name if isinstance(name, str) else "" for name in found)
        record = state.carried
        # The fallback of a request may send others first, about scratch objects for instance.
        if record is not None and (record.operation, record.bucket, record.key) == (model.name, bucket, key):
            state.carried = None
        else:
            record = begin(state.observers, model.name, bucket, key)
        if record is not None:
            record.way = "boto3"
            context[self._record] = record

    def on_attempt(self, request: Any, **_: Any) -> None:
        """Handle ``before-send``: count an attempt."""
        record = self._state.record
        if record is not None:
            headers = request.headers
            size = headers.get("X-Amz-Decoded-Content-Length") or headers.get("Content-Length") or 0
            record.sending(int(size))

    def on_end(self, parsed: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        """Handle ``after-call``: end the record; if the body is a stream, end the record when the body has been read."""
        record: RequestRecord | None = context.pop(self._record, None)
        if record is None:
            return
        self._state.record = context.pop(self._outer_record, None)
        answer = parsed.get("ResponseMetadata", {})
        record.status = answer.get("HTTPStatusCode")
        record.attempts = record.attempts or 1 + answer.get("RetryAttempts", 0)  # a Stubber sends nothing
        if (record.status or 0) >= 300:
            record.end(from_answer(parsed, record.operation, record.bucket, record.key).code or str(record.status))
        elif hasattr(parsed.get("Body"), "read"):
            length = parsed.get("ContentLength")
            parsed["Body"] = ObservedBody(parsed["Body"], record, length if isinstance(length, int) else None)
        else:
            record.end()

    def on_failure(self, exception: BaseException, context: dict[str, Any], **_: Any) -> None:
        """Handle ``after-call-error``: end the record of an operation that got no response."""
        record: RequestRecord | None = context.pop(self._record, None)
        if record is not None:
            self._state.record = context.pop(self._outer_record, None)
            record.status = None
            record.end(type(exception).__name__)

    # -- handlers that correct ----------------------------------------------------------------------------------------------------

    def on_answer(self, response_dict: dict[str, Any], operation_model: Any, **_: Any) -> None:
        """Handle ``before-parse``: record the response, and replace it if botocore would misread it."""
        state = self._state
        operation: str = operation_model.name
        status: int = response_dict.get("status_code", 0)
        body = response_dict.get("body")
        received = len(body) if isinstance(body, bytes) else 0
        if isinstance(body, bytes) and (status >= 400 or operation in _REPAIRED):
            body = response_dict["body"] = replace_invalid_characters(body).lstrip()
            if status == 500 and operation in _REPAIRED and _is_whole_result(operation, body):
                # botocore's own handler has changed the status 200, since it could not parse the document.
                status = response_dict["status_code"] = 200
        if (record := state.record) is not None:
            record.failed(status)
            record.bytes_received += received
        if isinstance(body, bytes) and b"\r" in body:
            body = response_dict["body"] = _with_carriage_returns(body, operation, status)
        if isinstance(body, bytes) and operation.startswith("List"):
            body = response_dict["body"] = _TRUE.sub(b"<IsTruncated>true</IsTruncated>", body)
        state.document = body if isinstance(body, bytes) else b""
        state.headers = response_dict.get("headers", {})
        headers = {name.lower() for name in state.headers}
        if 100 <= status < 200:
            # http.client returns an interim response (103 Early Hints) as the final one. The final one then follows on the same
            # connection, and the next request would read it as its own response: close the idle connections.
            _replace(response_dict, 500)
            self._close_idle_connections()
        elif (
            operation in ("GetObject", "HeadBucket")
            and status in (200, 206)
            and "etag" not in headers
            and is_page({name.lower(): str(value) for name, value in state.headers.items()})
        ):
            _replace(response_dict, 500, _NOT_OF_S3)
        elif (
            status in (200, 206) or (status // 100 == 2 and operation in _CONFIRMED_WRITES)
        ) and not _has_required_parts(operation, headers, body):
            message = _NO_LENGTH if operation == "GetObject" else _NO_RESULT if operation in _REQUIRED_ROOTS else b""
            _replace(response_dict, 500, message)
        elif status in (200, 206) and (
            _has_truncated_header(state.headers) or _has_negative_length(operation, state.headers)
        ):
            _replace(response_dict, 500)
        elif (
            status // 100 == 2 and _is_write(operation_model) and isinstance(body, bytes) and root_name(body) == "Error"
        ):
            response_dict["status_code"] = 500  # botocore does that only for operations whose success has a document
        elif (
            # A page would mean that the bucket keeps no versions; they would be left when it is cleared.
            (_is_write(operation_model) or (operation == "GetBucketVersioning" and not state.captures_document))
            and _is_of_proxy(status, headers, body)
        ):
            _replace(response_dict, 500, _NOT_OF_S3)
        elif status == 400 and isinstance(body, bytes) and _SAYS_TLS_PORT.search(body):
            _replace(response_dict, 400, _TLS_PORT)
        elif status // 100 == 4 and not operation.startswith("Head") and _is_truncated_error(response_dict, received):
            # The lost part held the error code. botocore would derive one from the status, which does not tell a missing bucket from
            # a missing key.
            response_dict["status_code"], response_dict["body"] = 500, b""
        elif state.captures_document and "etag" in headers:
            # ETag present: the gateway ignored ?tagging and returned the object itself. The object may look like tags,
            # or fail to parse, and then botocore would retry.
            state.document = response_dict["body"] = b""
            response_dict["status_code"] = 200
        elif state.captures_document and status in (200, 206):
            response_dict["body"] = (
                b""  # botocore's parser raises for a malformed number; our caller reads the document itself
            )

    def on_request(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        """Handle ``before-call``: check operation and headers, and apply what this thread has asked for.

        Raises:
            S3Unsupported: The store might take the operation for another one: it is not AWS, and the operation is one of AWS's later ones;
                or the bucket is a directory bucket, which does not support the operation or a header.
        """
        state = self._state
        bucket = params.get("context", {}).get("input_params", {}).get("Bucket")
        if isinstance(bucket, str) and zone_of(bucket) is not None and self._is_aws():
            _refuse_in_directory_bucket(model.name, params["headers"], bucket)
        if _may_be_misread(model) and not self._is_aws():
            raise S3Unsupported(
                f"{model.name}: only AWS is known to have this operation. A store that does not know it may take it for a write or a "
                "deletion of the object or the bucket. Nothing was sent.",
                operation=model.name,
            )
        params["headers"].update(params.get("context", {}).pop(_HEADERS_IN_CONTEXT, {}))
        if "Expect" in params["headers"] and determine_content_length(params["body"]) == 0:
            # Some servers answer an empty body at once, without 100 Continue. botocore before 1.43.77 keeps that answer's status line for
            # the next request with Expect on the same connection, which then hangs.
            del params["headers"]["Expect"]
        for name, value in params["headers"].items():
            if isinstance(value, str) and _LINE_END.search(value):
                # botocore would take http.client's error for a network error, and retry.
                raise ValueError(f"{name} must be one line: a line end in it would end the header and begin another")
            if value in ("True", "False") and name in _boolean_headers(model):
                # botocore 1.36 sends these. S3 documents true and false, and some stores accept nothing else.
                params["headers"][name] = value.lower()
        if state.captures_document and not self._is_aws():
            # A gateway that ignores the query string (?tagging) would send the whole object, however large.
            params["headers"]["Range"] = f"bytes=0-{_MAX_DOCUMENT_BYTES - 1}"
        if state.asks_for_checksums and model.name == "GetObject":
            params["headers"]["x-amz-checksum-mode"] = "ENABLED"
        if state.body_to_send is not None:
            params["body"] = state.body_to_send
        if state.sends_md5:
            body = params["body"] if isinstance(params["body"], bytes) else str(params["body"]).encode()
            digest = hashlib.md5(body, usedforsecurity=False).digest()
            params["headers"]["Content-MD5"] = base64.b64encode(digest).decode()
            params["context"].pop("checksum", None)
        record = params.get("context", {}).get(self._record)
        if record is not None:
            # The redirect to another region sends a HeadBucket of its own while this request is under way.
            params["context"][self._outer_record], state.record = state.record, record

    def choose_signature(self, signature_version: Any, context: dict[str, Any], **_: Any) -> Any:
        """Handle ``choose-signer``: sign for multi-region access points and directory buckets as their endpoints demand.

        botocore does that itself only for a client without a signature version in its settings.

        Raises:
            S3Unsupported: The bucket is a multi-region access point, and botocore cannot sign for it without an extra.
        """
        bucket = context.get("input_params", {}).get("Bucket")
        if not isinstance(bucket, str) or not isinstance(signature_version, str):  # or the requests are not signed
            return None
        if (point := access_point(bucket)) is not None and not point.region:
            if "s3v4a" not in botocore.auth.AUTH_TYPE_MAPS:
                raise S3Unsupported(
                    f"s3://{bucket}/: requests to a multi-region access point are signed with SigV4A, which needs: "
                    "pip install 'botocore[crt]'",
                    bucket=bucket,
                )
            context["signing"] = {**context.get("signing", {}), "region": "*", "signing_name": "s3"}
            return "s3v4a"
        if zone_of(bucket) is None or not self._is_aws():
            return None
        schemes = context.get("endpoint_properties", {}).get("authSchemes", ())
        has_session = any(scheme.get("name") == "sigv4-s3express" for scheme in schemes)
        if not has_session and not context.get("is_presign_request"):  # copies
            return None
        context["signing"] = {**context.get("signing", {}), "signing_name": "s3express", "cache_key": bucket}
        return "v4-s3express"


def _refuse_in_directory_bucket(operation: str, headers: Mapping[str, Any], bucket: str) -> None:
    """Raise S3Unsupported for what no directory bucket supports: AWS would refuse it, or ignore it."""
    what = f"this operation ({operation})" if operation in _NOT_IN_DIRECTORY_BUCKETS else ""
    for name, value in headers.items():
        if name.lower().startswith(_HEADERS_NOT_IN_DIRECTORY_BUCKETS) and value:
            what = f"the header {name}"
    if what:
        raise S3Unsupported(
            f"{operation} on s3://{bucket}/: directory buckets do not support {what}. Nothing was sent.",
            operation=operation,
            bucket=bucket,
        )


def add_parameters(defaults: Mapping[str, str], params: dict[str, Any], model: Any, **_: Any) -> dict[str, Any]:
    """Handle ``provide-client-params``: return the parameters of a call with those defaults that its operation accepts."""
    known = {} if model.input_shape is None else model.input_shape.members
    return {**{name: value for name, value in defaults.items() if name in known}, **params}


def keep_conditions(params: dict[str, Any], model: Any, context: dict[str, Any], **_: Any) -> None:
    """Handle ``before-parameter-build`` of CopyObject: move the conditions that this botocore does not know to ``before-call``.

    A presigned request has no ``before-call``, so its conditions stay, and botocore rejects them.
    """
    if context.get("is_presign_request"):
        return
    known = model.input_shape.members
    unknown = [name for name in _CONDITIONS_OF_COPY if name in params and name not in known]
    if unknown:
        context[_HEADERS_IN_CONTEXT] = {_CONDITIONS_OF_COPY[name]: params.pop(name) for name in unknown}


def refuse_repeated_elements(parsed: dict[str, Any], model: Any, **_: Any) -> None:
    """Handle ``after-call``: raise if botocore has returned XML elements in place of a value, as it does for a text that is there twice.

    Raises:
        S3ServerError: The document has an element more than once.
    """
    if _has_element({name: value for name, value in parsed.items() if name not in _ECHOED}):
        raise S3ServerError(
            f"{model.name}: the store's response has an element more than once", operation=model.name, retryable=True
        )


def _has_element(value: dict[str, Any] | list[Any]) -> bool:
    for each in value.values() if isinstance(value, dict) else value:
        kind = type(each)
        if kind is dict or kind is list:
            if _has_element(each):
                return True
        elif kind is Element:
            return True
    return False


def add_tag_count(parsed: dict[str, Any], **_: Any) -> None:
    """Handle ``after-call`` of HeadObject: add TagCount, which an older botocore (1.36) does not read from the response."""
    count = str(parsed.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("x-amz-tagging-count", ""))
    if count.isdecimal():
        parsed.setdefault("TagCount", int(count))


def look_for_region_once(request_dict: dict[str, Any], response: tuple[Any, dict[str, Any]] | None, **_: Any) -> None:
    """Handle ``needs-retry`` of HeadBucket: keep botocore from following a redirect that names no region.

    After a redirect botocore sends HeadBucket to find the region. If HeadBucket itself is redirected without a region, botocore would
    send HeadBucket again, endlessly.
    """
    headers = {} if response is None else response[1].get("ResponseMetadata", {}).get("HTTPHeaders", {})
    if "x-amz-bucket-region" not in headers:
        request_dict["context"].setdefault("s3_redirect", {})["redirected"] = True


def retry_throttling(response: tuple[Any, dict[str, Any]] | None, **_: Any) -> None:
    """Handle ``needs-retry``: let botocore retry a request that the store answered with 429.

    In standard mode an older botocore retries 429 only with some error codes of AWS, but 503 with any code. The error keeps status 429.
    """
    if response is not None and response[0].status_code == 429:
        response[0].status_code = 503


@lru_cache(maxsize=256)
def _is_later_write(method: str, target: str) -> bool:
    """Return whether a request changes a sub-resource that stores other than AWS need not know; a gateway may ignore its query string."""
    path, _, query = target.partition("?")
    name = query.partition("&")[0].partition("=")[0]
    known = _OF_OBJECTS if "{Key+}" in path else _OF_BUCKETS
    return method not in ("GET", "HEAD") and bool(name) and name not in known


def _boolean_headers(model: Any) -> frozenset[str]:
    """Return the names of an operation's headers whose value is true or false."""
    members = () if model.input_shape is None else model.input_shape.members.values()
    flags = [shape.serialization for shape in members if shape.type_name == "boolean"]
    return frozenset(flag["name"] for flag in flags if flag.get("location") == "header")


def _may_be_misread(model: Any) -> bool:
    return _is_later_write(model.http["method"], model.http["requestUri"])


def root_name(document: bytes) -> str | None:
    """Return the name of an XML document's root element, without a namespace prefix; None if the bytes are not XML."""
    found = _ROOT.match(document)
    return found[1].decode("ascii") if found else None


def _has_end(document: bytes, root: str) -> bool:
    """Return whether a document ends with the end of its root element."""
    return re.search(rb"(?:</(?:[\w.-]+:)?" + root.encode() + rb"\s*>|/>)\s*$", document) is not None


def _replace(response_dict: dict[str, Any], status: int, document: bytes = b"") -> None:
    """Replace the response that botocore is about to parse, and close a streamed body."""
    body = response_dict.get("body")
    if body is not None and hasattr(body, "close"):
        body.close()
    response_dict["status_code"], response_dict["body"] = status, document


def _with_carriage_returns(body: bytes, operation: str, status: int) -> bytes:
    """Return the document in a form in which an XML parser does not turn a key's carriage returns into line feeds."""
    try:
        return keep_carriage_returns(body)
    except ValueError as error:
        if status >= 300:
            return body  # only an error's message, in which a changed line end does no harm
        raise S3ServerError(
            f"{operation}: the store's response cannot be read without changing it: {error}", operation=operation
        ) from None


def _has_required_parts(operation: str, headers: set[str], body: Any) -> bool:
    """Return whether a success has the headers or the document that S3 always sends: urllib3 accepts truncated headers."""
    if (required := _REQUIRED_ROOTS.get(operation)) is not None:
        root = root_name(body)
        if required:
            return root in required and _has_end(body, str(root))
        return root is not None and not is_html(body)  # botocore would take a proxy's page for an empty listing
    if operation == "GetObject":  # without these headers, a lost connection looks like the end of the body
        return bool(headers & {"content-length", "transfer-encoding"})
    return _REQUIRED_HEADERS.get(operation, set()) <= headers


def _is_whole_result(operation: str, document: bytes) -> bool:
    """Return whether a document is the result of an operation in :data:`_REPAIRED`, and has its end."""
    root = root_name(document)
    return root in (_REQUIRED_ROOTS.get(operation) or _RESULTS_OF_PART_COPY) and _has_end(document, str(root))


def _has_truncated_header(headers: Mapping[str, str]) -> bool:
    """Return whether the ETag or Last-Modified lacks its end: the response was cut off within that line."""
    etag, modified = str(headers.get("etag", "")), str(headers.get("last-modified", "GMT"))
    is_date_cut = modified[3:4] in (",", "") and not modified.endswith("GMT") and len(modified) < _HTTP_DATE_LENGTH
    return is_date_cut or (etag.startswith('"') and not etag.endswith('"', 1))


def _has_negative_length(operation: str, headers: Mapping[str, str]) -> bool:
    """Return whether an object's Content-Length is negative. botocore accepts it; the object then seems to be empty."""
    return operation in ("GetObject", "HeadObject") and str(headers.get("content-length", "")).strip().startswith("-")


def _is_of_proxy(status: int, headers: set[str], body: Any) -> bool:
    """Return whether a response is a proxy's page: an HTML page, or with status 404 any other body that is not XML.

    Not for operations that return an object. With that status a deletion would be taken for one of an object that does not exist. S3 sends
    an error document, or no body.
    """
    if status == 404 and isinstance(body, bytes):
        return is_html(body) or (bool(body.strip()) and root_name(body) is None)
    return status // 100 == 2 and "etag" not in headers and is_html(body)


def _is_write(model: Any) -> bool:
    return model.http["method"] not in ("GET", "HEAD")


def _is_truncated_error(answer: Mapping[str, Any], received: int) -> bool:
    """Return whether an error's document has no end, is shorter than its Content-Length, or is missing together with its length header.

    Args:
        answer: The response; its body may have been repaired.
        received: The number of bytes of the body that were received.
    """
    body, headers = answer.get("body"), answer.get("headers") or {}
    document = body.strip() if isinstance(body, bytes) else b""
    length = str(headers.get("content-length", ""))
    if length.isdigit() and isinstance(body, bytes) and received < int(length):
        return True
    root = root_name(document)
    if root is not None:
        return not _has_end(document, root)
    return document.startswith(b"<?xml") or not (document or length or "transfer-encoding" in headers)
