"""HTTP/1.1 without I/O: requests are signed and serialized, responses are parsed and checked.

The lane handles only simple cases. :class:`Reader` accepts a response if its end is certain (Content-Length, or chunks with their
terminator) and every byte arrived; otherwise it raises :class:`NotForLane`, and the request is sent again through boto3.
"""

from __future__ import annotations

import re
import zlib
from base64 import b64encode
from collections.abc import Callable, Mapping
from hashlib import sha1, sha256
from typing import TYPE_CHECKING, Any, Protocol

import httptools

from .._formats.keys import quote_key
from .signing import EMPTY_SHA256, UNSIGNED_PAYLOAD

if TYPE_CHECKING:
    from .eligibility import Endpoint, SigningCredentials

BODY_LIMIT = 8 * 1024 * 1024
"""The largest body that is held in memory, by default."""

_MOST_OVERHEAD_BYTES = 256 * 1024
"""The largest size of the headers of a response with its interim responses, and of what frames its chunks. llhttp has no limit of its own,
so without this one an endless response would fill the memory."""

_SINK_BUFFER_BYTES = 256 * 1024
"""Small enough for the processor's cache: each piece is read again at once, to be written."""

IDEMPOTENT_METHODS = frozenset({"GET", "HEAD", "PUT", "DELETE"})
"""Methods whose requests may be sent again even if the first one may have arrived."""

_PLAIN_VALUE = re.compile(r"[\x20-\x7e\t]*")
_PLAIN_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")
_CONDITIONS = frozenset({"if-match", "if-none-match", "if-modified-since", "if-unmodified-since"})
_IS_BAD_DIGEST = re.compile(rb"<Code>(BadDigest|XAmzContentChecksumMismatch)</Code>")
_IS_BAD_HASH = re.compile(rb"<Code>XAmzContentSHA256Mismatch</Code>")
_DIGESTS = {"x-amz-checksum-sha256": sha256, "x-amz-checksum-sha1": sha1}


class NotForLane(Exception):
    """The lane does not handle this request or response: send the request through boto3.

    Attributes:
        status: The status of the response, if that is the reason.
    """

    status: int | None = None

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status


class Watch(Protocol):
    """Notes the course of one request; sizes are those of bodies."""

    def sending(self, size: int) -> None: ...

    def not_sent(self, size: int) -> None: ...

    def received(self, status: int, size: int) -> None: ...

    def failed(self, status: int | None) -> None: ...

    def abandoned(self) -> None: ...


class LaneRequest:
    """One request to an object or, with an empty key, to its bucket.

    Args:
        method: ``GET``, ``HEAD``, ``PUT``, ``DELETE`` or ``POST`` (for ``?delete``).
        bucket: The bucket's name.
        key: The object's key, not quoted; empty for the bucket itself.
        query: The query string: percent-encoded, sorted, each name with its ``=``.
        headers: Further headers under lower-case names.
        body: The body.
        tag: Any value, for the caller to identify the response.
        is_body_covered: Whether a header holds a checksum of the body: since headers are signed, the body's hash need not be.
        progress: Called with the number of bytes of a large body that were just sent.

    Attributes:
        is_hash_signed: Whether the body's hash was signed when the request was written last.
        watch: Notes the course of the request; None if it is not observed.
    """

    __slots__ = (
        "body",
        "bucket",
        "headers",
        "is_body_covered",
        "is_hash_signed",
        "key",
        "method",
        "progress",
        "query",
        "tag",
        "watch",
    )

    def __init__(
        self,
        method: str,
        bucket: str,
        key: str = "",
        query: str = "",
        headers: dict[str, str] | None = None,
        body: bytes | bytearray = b"",
        tag: Any = None,
        *,
        is_body_covered: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self.method = method
        self.bucket = bucket
        self.key = key
        self.query = query
        self.headers = headers
        self.body = body
        self.tag = tag
        self.is_body_covered = is_body_covered
        self.progress = progress
        self.is_hash_signed = True
        self.watch: Watch | None = None

    def __repr__(self) -> str:
        return f"LaneRequest({self.method!r}, {self.bucket!r}, {self.key!r}, {self.query!r})"


class LaneResponse:
    """A complete response: a success, a 404, a 304 to a request with If-None-Match, or status 400 to a part that arrived damaged.

    Attributes:
        status: The HTTP status.
        body: The body's bytes.
        too_large: Whether the body exceeded the limit and was not read; only the headers are present.
    """

    __slots__ = ("_fields", "_headers", "body", "status", "too_large")

    def __init__(self, status: int, fields: list[tuple[bytes, bytes]], body: bytes, *, too_large: bool = False) -> None:
        self.status = status
        self.body = body
        self.too_large = too_large
        self._fields = fields
        self._headers: dict[str, str] | None = None

    @property
    def headers(self) -> dict[str, str]:
        """The headers under lower-case names, decoded at first use as Latin-1, as boto3 does."""
        if self._headers is None:
            headers: dict[str, str] = {}
            for raw_name, raw_value in self._fields:
                name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
                headers[name] = f"{headers[name]}, {value}" if name in headers else value
            self._headers = headers
        return self._headers

    def __repr__(self) -> str:
        return f"LaneResponse({self.status}, {len(self.body)} bytes)"


class BodySink:
    """Takes the body of a success piece by piece, so that a large one need not be held in memory.

    Args:
        size: The number of bytes of the body; a response with another number is not taken.
        write: Called with each piece, which is valid during the call only, and its offset in the body. If the request is sent again,
            the offsets begin at 0 again. An exception that it raises ends the request, and MUST NOT be an ``OSError``, which would be
            taken for a failure of the connection.

    Attributes:
        received: The number of bytes that were passed on.
    """

    __slots__ = ("_buffer", "_size", "_write", "received")

    def __init__(self, size: int, write: Callable[[memoryview, int], object]) -> None:
        self._size = size
        self._buffer = memoryview(bytearray(min(size, _SINK_BUFFER_BYTES)))
        self._write = write
        self.received = 0

    def __len__(self) -> int:
        return self._size

    def buffer_for(self, received: int) -> memoryview:
        """Return the memory for the bytes that follow the first ``received`` ones, and no more."""
        return self._buffer[: self._size - received]

    def pass_on(self, count: int, received: int) -> None:
        """Write the first ``count`` bytes of :meth:`buffer_for`."""
        self.write(self._buffer[:count], received)

    def write(self, piece: memoryview, at: int) -> None:
        """Write a piece of the body that begins at the offset ``at``."""
        self.received += len(piece)
        self._write(piece, at)


def write_request(
    request: LaneRequest,
    endpoint: Endpoint,
    credentials: SigningCredentials | None,
    *,
    sign_body: bool = True,
    verify_checksum: bool = False,
    headers: Mapping[str, str] | None = None,
    with_body: bool = True,
) -> bytes:
    """Return the request, signed and serialized.

    Args:
        request: The request.
        endpoint: The endpoint of the bucket.
        credentials: The credentials to sign with; None sends the request unsigned.
        sign_body: Whether to sign the body's hash, rather than send ``UNSIGNED-PAYLOAD``.
        verify_checksum: Whether to request an object's stored checksum (``x-amz-checksum-mode``).
        headers: Headers of every request of the lane; the request's own headers win.
        with_body: Whether to append the body; appending copies it.

    Returns:
        Request line, headers and body.

    Raises:
        NotForLane: The request is a conditional write, or a header is not plain ASCII.
    """
    method = request.method
    body = request.body
    path = f"{endpoint.base_path}/{quote_key(request.key)}" if request.key else endpoint.base_path or "/"
    query = request.query
    signer = endpoint.signer
    signed = {"host": endpoint.authority}
    if credentials is not None:
        signed["x-amz-content-sha256"] = (
            (sha256(body).hexdigest() if sign_body else UNSIGNED_PAYLOAD) if body else EMPTY_SHA256
        )
        signed["x-amz-date"] = signer.timestamp()
        if credentials.token:
            signed["x-amz-security-token"] = credentials.token
    if verify_checksum and method == "GET" and request.key:
        signed["x-amz-checksum-mode"] = "ENABLED"
    if headers:
        signed.update(headers)
    if request.headers:
        for name, value in request.headers.items():
            if not _PLAIN_VALUE.fullmatch(value) or not _PLAIN_NAME.fullmatch(name):
                raise NotForLane("a header that is not plain ASCII")
            if name in _CONDITIONS and method not in ("GET", "HEAD"):
                raise NotForLane("a conditional write")
            signed[name] = value
    lines = "".join([f"{name}: {value}\r\n" for name, value in signed.items()])
    if credentials is not None:
        authorization = signer.authorization(
            credentials.access_key, credentials.secret_key, method, path, query, signed
        )
        lines = f"{lines}authorization: {authorization}\r\n"
    target = f"{path}?{query}" if query else path
    length = f"content-length: {len(body)}\r\n" if body or method in ("PUT", "POST") else ""
    head = (
        f"{method} {target} HTTP/1.1\r\n{lines}"
        f"user-agent: {endpoint.user_agent}\r\naccept-encoding: identity\r\n{length}\r\n"
    )
    return head.encode("ascii") + body if body and with_body else head.encode("ascii")


class Reader:
    """Parses the responses on one connection, one after the other.

    Attributes:
        has_begun: Whether a byte of the current response has arrived.
        is_complete: Whether the current response is complete.
        content_length: Content-Length of the current response; None if it has none, or its headers have not arrived.
        too_large: Whether Content-Length exceeds the limit; the body is then not read.
        keeps_alive: Whether the connection can carry another request once the response is complete.
    """

    __slots__ = (
        "_chunked",
        "_chunks",
        "_fed",
        "_fields",
        "_has_content_range",
        "_head_only",
        "_limit",
        "_parser",
        "_received",
        "_request",
        "_status",
        "_target",
        "content_length",
        "has_begun",
        "is_complete",
        "keeps_alive",
        "too_large",
    )

    def __init__(self) -> None:
        self._parser: Any = None
        self.keeps_alive = True
        self.begin(LaneRequest("GET", ""), BODY_LIMIT)

    def begin(self, request: LaneRequest, limit: int, target: memoryview | BodySink | None = None) -> None:
        """Prepare for the response to a request.

        Args:
            request: The request.
            limit: The largest body to hold in memory.
            target: Buffer or sink for the body of a success; exactly as long as the body.
        """
        if self._parser is None:
            self._parser = httptools.HttpResponseParser(self)
        self._request = request
        self._head_only = request.method == "HEAD"
        self._limit = limit
        self._target = target
        self._fields: list[tuple[bytes, bytes]] = []
        self._chunks: list[bytes] = []
        self._received = 0
        self._fed = 0
        self._status = 0
        self._chunked = False
        self._has_content_range = False
        self.content_length: int | None = None
        self.has_begun = False
        self.is_complete = False
        self.too_large = False

    @property
    def remaining(self) -> int:
        """The number of bytes of Content-Length that have not arrived yet."""
        return max(0, (self.content_length or 0) - self._received)

    @property
    def body_size(self) -> int:
        """The number of bytes of the body that have arrived."""
        return self._received

    @property
    def has_headers(self) -> bool:
        """Whether the headers of the final response have arrived."""
        return self._status >= 200

    @property
    def rest_of_target(self) -> memoryview | None:
        """The unfilled part of the target, to be filled from the socket directly; None without a target or before the headers."""
        target = self._target
        if target is None or self._status not in (200, 206):
            return None
        return target[self._received :] if isinstance(target, memoryview) else target.buffer_for(self._received)

    def pass_on(self) -> None:
        """Write the beginning of a body, which came together with the headers, to the sink.

        Not done while the parser runs, which would replace the exceptions of the sink.
        """
        if isinstance(self._target, BodySink) and self._status in (200, 206):
            at = 0
            for chunk in self._chunks:
                self._target.write(memoryview(chunk), at)
                at += len(chunk)
            self._chunks = []

    def advance(self, count: int) -> bool:
        """Count bytes that were read straight into the target; return whether the response is complete."""
        if isinstance(self._target, BodySink):
            self._target.pass_on(count, self._received)
        self._received += count
        if self._received == self.content_length:
            self._parser = None  # the parser did not see the end of this response: use a new one for the next
            self.is_complete = True
        return self.is_complete

    def feed(self, data: bytes | memoryview) -> bool:
        """Parse received bytes; return whether the response is complete.

        Raises:
            NotForLane: The bytes are not HTTP, or not a response that the lane handles.
        """
        self.has_begun = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            cause = error.__context__
            if cause is not None and not isinstance(cause, Exception):
                raise cause from None  # KeyboardInterrupt, raised by a signal handler while a callback ran
            raise NotForLane(str(cause if isinstance(cause, NotForLane) else error)) from None
        if not self.is_complete and (self._chunked or self._status == 0):
            self._fed += len(data)
            # What frames a chunk takes five bytes or more, so this is exceeded by a long body only if its chunks are smaller still.
            if self._fed > _MOST_OVERHEAD_BYTES + 2 * self._received:
                raise NotForLane("headers or chunks of unusual size")
        return self.is_complete

    def response(self) -> LaneResponse:
        """Return the complete response.

        Raises:
            NotForLane: The response is not a success, a 404 or a 304 to If-None-Match, or does not fit the request.
        """
        status = self._status
        request = self._request
        chunks = self._chunks
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        if status == 304 and request.headers is not None and "if-none-match" in request.headers:
            return LaneResponse(status, self._fields, b"")
        if status != 404:
            if request.method in ("GET", "HEAD"):
                is_range = request.headers is not None and "range" in request.headers
                # rclone returns status 200 for a range. Content-Range without a requested range means that the body is only a part.
                is_part = self._has_content_range and request.method == "GET"
                if not (status == 200 or (status == 206 and is_range)) or is_part is not is_range:
                    raise NotForLane(
                        f"status {status}, {'with' if self._has_content_range else 'without'} Content-Range", status
                    )
                if self._chunked and request.key:
                    raise NotForLane("an object without Content-Length")
            elif status == 400 and request.is_body_covered and self._is_damage(body):
                pass  # final: some stores drop the whole upload after a damaged part, and would not accept the part again
            elif not 200 <= status <= 204 or (request.method in ("PUT", "DELETE") and b"<Error" in body):
                raise NotForLane(f"status {status}", status)
        return LaneResponse(status, self._fields, body, too_large=self.too_large)

    def _is_damage(self, body: bytes) -> bool:
        """Return whether an error response says that the request's body arrived damaged."""
        if _IS_BAD_DIGEST.search(body):
            return True
        # If no hash was sent, the store has compared the body with the words UNSIGNED-PAYLOAD, which it does not know.
        return self._request.is_hash_signed and _IS_BAD_HASH.search(body) is not None

    # -- called by httptools -----------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self.is_complete:
            raise NotForLane("more bytes than Content-Length")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name, value))
        size = len(name)
        if size == 14 and name.lower() == b"content-length":
            self.content_length = int(value)
        elif size == 13 and name.lower() == b"content-range":
            self._has_content_range = True
        elif size == 17 and name.lower() == b"transfer-encoding":
            self._chunked = True

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            return
        self._status = status
        self.keeps_alive = self._parser.should_keep_alive()
        if self._head_only or status == 304:
            self._parser = None  # the parser would wait for a body of Content-Length bytes
            self.is_complete = True
        elif self._target is not None and status in (200, 206):
            if self.content_length != len(self._target):
                raise NotForLane("not as long as the requested range")
        elif self.content_length is not None:
            if self.content_length > self._limit:
                self.too_large = True
                self.is_complete = True
                self.keeps_alive = False
        elif not self._chunked and status != 204:
            raise NotForLane("a response without Content-Length")

    def on_body(self, chunk: bytes) -> None:
        if self.too_large:
            return
        if self._head_only:
            raise NotForLane("a response to HEAD with a body")
        self._received += len(chunk)
        if self._received > self._limit:
            raise NotForLane("the body is larger than the limit")
        if isinstance(self._target, memoryview) and self._status in (200, 206):
            self._target[self._received - len(chunk) : self._received] = chunk
            return
        self._chunks.append(chunk)

    def on_message_complete(self) -> None:
        if self._status >= 200:
            self.is_complete = True
        else:  # an interim response, such as 100 Continue: the final one follows
            self._fields = []
            self.content_length = None
            self._chunked = False
            self._has_content_range = False


def may_repeat(request: LaneRequest, reader: Reader, error: Exception) -> bool:
    """Return whether to send a request again that failed with this error on a connection that had been idle.

    The server may have closed the connection while it was idle. It then sent no byte of a response.
    """
    return request.method in IDEMPOTENT_METHODS and not reader.has_begun and not isinstance(error, TimeoutError)


def checksum_matches(response: LaneResponse) -> bool:
    """Return whether a body matches the whole object's checksum in the headers; True if there is none that can be computed."""
    headers = response.headers
    stored = headers.get("x-amz-checksum-crc32")
    if stored is not None and "-" not in stored:
        return b64encode(zlib.crc32(response.body).to_bytes(4, "big")).decode("ascii") == stored
    for name, digest in _DIGESTS.items():
        stored = headers.get(name)
        if stored is not None and "-" not in stored:
            return b64encode(digest(response.body).digest()).decode("ascii") == stored
    return True
