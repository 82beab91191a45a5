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
from typing import TYPE_CHECKING, Any

from .._formats.documents import keep_carriage_returns
from ..errors import S3ServerError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# S3 always sends these headers with a success; if one is missing, the response was truncated.
_REQUIRED_HEADERS = {
    "HeadObject": {"etag", "last-modified", "content-length"},
    "PutObject": {"etag"},
    "UploadPart": {"etag"},
}
# Operations whose success always has an XML document, with the names that stores give its root element; none accepts any document. A write
# is confirmed only by its own document: the 200 of a proxy's sign-in page, or one without a body, does not say that anything was stored.
_REQUIRED_ROOTS: dict[str, tuple[str, ...]] = {
    "CreateMultipartUpload": ("InitiateMultipartUploadResult", "InitiateMultipartUpload"),  # the second is rclone's
    "CompleteMultipartUpload": ("CompleteMultipartUploadResult",),
    "CopyObject": ("CopyObjectResult",),
    "ListBuckets": (),
    "ListObjectVersions": (),
    "ListMultipartUploads": (),
}
# S3's own documents are smaller: a policy has at most 20 KB, and even a thousand lifecycle rules have less than 1 MiB.
_MAX_DOCUMENT_BYTES = 1 << 20
_HTTP_DATE_LENGTH = len("Sat, 1 Nov 2026 11:29:39 GMT")
_LINE_END = re.compile(r"[\r\n\0]")
_ROOT = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*\?>\s*)?(?:<!--.*?-->\s*)*<(?:[A-Za-z][\w.-]*:)?([A-Za-z][\w.-]*)", re.DOTALL
)

_NO_LENGTH = (
    b"<Error><Code>IncompleteAnswer</Code><Message>the store answered 200 without Content-Length and without chunks: whether the body is "
    b"whole cannot be told</Message></Error>"
)
_NO_RESULT = (
    b"<Error><Code>IncompleteAnswer</Code><Message>the response has status 200 but not the document of this operation: it does not confirm "
    b"that anything was done</Message></Error>"
)


class _RequestState(threading.local):
    """The settings for the requests that this thread sends, and the body and headers of the latest response."""

    captures_document = False
    body_to_send: bytes | None = None
    sends_md5 = False
    document = b""
    headers: Mapping[str, str] = {}


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

    def register(self, client: S3Client) -> None:
        """Register the handlers; registering again on the same client has no effect."""
        events = client.meta.events
        events.register("before-parse.s3", self.on_answer, unique_id=f"messageflux-s3-read-{id(self)}")
        events.register("before-call.s3", self.on_request, unique_id=f"messageflux-s3-write-{id(self)}")
        events.register("needs-retry.s3.HeadBucket", look_for_region_once, unique_id="messageflux-s3-region")

    def reset(self) -> None:
        """Forget the state of all threads, in a forked child."""
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

    # -- this thread's latest response --------------------------------------------------------------------------------------------

    @property
    def document(self) -> bytes:
        """The body of this thread's latest response; empty for a streamed body."""
        return self._state.document

    def clear_document(self) -> None:
        """Forget the latest response's body: a Stubber may answer the next request without any event, and the old body would remain."""
        self._state.document = b""

    def header(self, name: str) -> str | None:
        """Return a header of this thread's latest response; None if it has no such header."""
        return self._state.headers.get(name)

    # -- handlers -----------------------------------------------------------------------------------------------------------------

    def on_answer(self, response_dict: dict[str, Any], operation_model: Any, **_: Any) -> None:
        """Handle ``before-parse``: record the response, and replace it if botocore would misread it."""
        state = self._state
        operation: str = operation_model.name
        status: int = response_dict.get("status_code", 0)
        body = response_dict.get("body")
        if isinstance(body, bytes) and b"\r" in body:
            body = response_dict["body"] = _with_carriage_returns(body, operation, status)
        state.document = body if isinstance(body, bytes) else b""
        state.headers = response_dict.get("headers", {})
        headers = {name.lower() for name in state.headers}
        if 100 <= status < 200:
            # http.client returns an interim response (103 Early Hints) as the final one. The final one then follows on the same
            # connection, and the next request would read it as its own response: close the idle connections.
            _replace(response_dict, 500)
            self._close_idle_connections()
        elif status in (200, 206) and not _has_required_parts(operation, headers, body):
            message = _NO_LENGTH if operation == "GetObject" else _NO_RESULT if operation in _REQUIRED_ROOTS else b""
            _replace(response_dict, 500, message)
        elif status in (200, 206) and _has_truncated_header(state.headers):
            _replace(response_dict, 500)
        elif status // 100 == 4 and not operation.startswith("Head") and _is_truncated_error(response_dict):
            # The lost part held the error code. botocore would derive one from the status, which does not tell a missing bucket from
            # a missing key.
            response_dict["status_code"], response_dict["body"] = 500, b""
        elif state.captures_document and "etag" in headers:
            # ETag present: the gateway ignored ?tagging and returned the object itself. Its text may look like tags, or fail to parse,
            # which botocore would retry.
            state.document = response_dict["body"] = b""
            response_dict["status_code"] = 200
        elif state.captures_document and status in (200, 206):
            response_dict["body"] = (
                b""  # botocore's parser raises for a malformed number; our caller reads the document itself
            )

    def on_request(self, params: dict[str, Any], **_: Any) -> None:
        """Handle ``before-call``: check the headers, and apply what this thread has asked for."""
        state = self._state
        for name, value in params["headers"].items():
            if isinstance(value, str) and _LINE_END.search(value):
                # http.client would raise an error that botocore takes for a network error, and retries.
                raise ValueError(f"{name} must be one line: a line end in it would end the header and begin another")
        if state.captures_document and not self._is_aws():
            # A gateway that ignores the query string (?tagging) would send the whole object, however large.
            params["headers"]["Range"] = f"bytes=0-{_MAX_DOCUMENT_BYTES - 1}"
        if state.body_to_send is not None:
            params["body"] = state.body_to_send
        if state.sends_md5:
            body = params["body"] if isinstance(params["body"], bytes) else str(params["body"]).encode()
            digest = hashlib.md5(body, usedforsecurity=False).digest()
            params["headers"]["Content-MD5"] = base64.b64encode(digest).decode()
            params["context"].pop("checksum", None)


def look_for_region_once(request_dict: dict[str, Any], response: tuple[Any, dict[str, Any]] | None, **_: Any) -> None:
    """Handle ``needs-retry`` of HeadBucket: keep botocore from following a redirect that names no region.

    After a redirect botocore asks HeadBucket for the bucket's region. If HeadBucket itself is redirected without a region, botocore would
    send HeadBucket again, endlessly.
    """
    headers = {} if response is None else response[1].get("ResponseMetadata", {}).get("HTTPHeaders", {})
    if "x-amz-bucket-region" not in headers:
        request_dict["context"].setdefault("s3_redirect", {})["redirected"] = True


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
        return (root in required and _has_end(body, str(root))) if required else bool(body)
    if operation == "GetObject":  # without either header, the end of the body cannot be told from a lost connection
        return bool(headers & {"content-length", "transfer-encoding"})
    return _REQUIRED_HEADERS.get(operation, set()) <= headers


def _has_truncated_header(headers: Mapping[str, str]) -> bool:
    """Return whether the ETag or Last-Modified lacks its end: the response was cut off within that line."""
    etag, modified = str(headers.get("etag", "")), str(headers.get("last-modified", "GMT"))
    is_date_cut = modified[3:4] in (",", "") and not modified.endswith("GMT") and len(modified) < _HTTP_DATE_LENGTH
    return is_date_cut or (etag.startswith('"') and not etag.endswith('"', 1))


def _is_truncated_error(answer: Mapping[str, Any]) -> bool:
    """Return whether an error's document has no end, is shorter than its Content-Length, or is missing without Content-Length: 0."""
    body, headers = answer.get("body"), answer.get("headers") or {}
    document = body.strip() if isinstance(body, bytes) else b""
    length = str(headers.get("content-length", ""))
    if length.isdigit() and isinstance(body, bytes) and len(body) < int(length):
        return True
    root = root_name(document)
    if root is not None:
        return not _has_end(document, root)
    return document.startswith(b"<?xml") or not (document or length or "transfer-encoding" in headers)
