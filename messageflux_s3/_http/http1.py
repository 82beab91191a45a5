"""Requests and responses as bytes: what goes out is signed here, what comes in is judged here. No sockets, no
waiting.

The lane only ever does the easy case. :class:`Reader` calls an answer whole when it was framed without doubt
(a length that was announced, or chunks that came to their end) and every byte arrived; whatever else comes is
a :class:`Refused`, and boto3 is asked.
"""

from __future__ import annotations

import re
import zlib
from base64 import b64encode
from hashlib import sha1, sha256
from typing import TYPE_CHECKING, Any

import httptools

from .._formats.keys import quote_key
from .signing import EMPTY_SHA256, UNSIGNED_PAYLOAD

if TYPE_CHECKING:
    from .eligibility import Endpoint, Identity

BODY_LIMIT = 8 * 1024 * 1024
"""The largest body that is taken into memory unless the caller says otherwise."""

_PLAIN_VALUE = re.compile(r"[\x20-\x7e\t]*")
_PLAIN_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")
_CONDITIONS = frozenset({"if-match", "if-none-match", "if-modified-since", "if-unmodified-since"})
_DIGESTS = {"x-amz-checksum-sha256": sha256, "x-amz-checksum-sha1": sha1}


class Refused(Exception):
    """Not for the lane: boto3 has to be asked."""


class LaneRequest:
    """One request to an object or, with an empty key, to its bucket.

    Args:
        method: ``GET``, ``HEAD``, ``PUT``, ``DELETE`` or ``POST`` (for ``?delete``).
        bucket: The bucket's name.
        key: The object's key, as it is; empty for the bucket itself.
        query: The query as it goes on the wire: percent-encoded, sorted, each name with its ``=``.
        headers: Further headers under lower-case names.
        body: The body.
        tag: Whatever the caller wants to find again beside the answer.
    """

    __slots__ = ("body", "bucket", "headers", "key", "method", "query", "tag")

    def __init__(
        self,
        method: str,
        bucket: str,
        key: str = "",
        query: str = "",
        headers: dict[str, str] | None = None,
        body: bytes = b"",
        tag: Any = None,
    ) -> None:
        self.method = method
        self.bucket = bucket
        self.key = key
        self.query = query
        self.headers = headers
        self.body = body
        self.tag = tag

    def __repr__(self) -> str:
        return f"LaneRequest({self.method!r}, {self.bucket!r}, {self.key!r}, {self.query!r})"


class LaneResponse:
    """A whole answer: a success, or a 404.

    Attributes:
        status: The HTTP status.
        body: The body's bytes.
        too_large: Whether the body was larger than the caller takes, so that only the headers are here.
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
        """The headers under lower-case names; decoded when first looked at, as Latin-1, as boto3 does."""
        if self._headers is None:
            headers: dict[str, str] = {}
            for raw_name, raw_value in self._fields:
                name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
                headers[name] = f"{headers[name]}, {value}" if name in headers else value
            self._headers = headers
        return self._headers

    def __repr__(self) -> str:
        return f"LaneResponse({self.status}, {len(self.body)} bytes)"


def write_request(
    request: LaneRequest,
    endpoint: Endpoint,
    identity: Identity,
    *,
    sign_body: bool = True,
    verify_checksum: bool = False,
) -> bytes:
    """Return the signed request as it goes on the wire.

    Args:
        request: The request.
        endpoint: Where it goes.
        identity: Who asks.
        sign_body: Whether the body's hash is signed, rather than ``UNSIGNED-PAYLOAD`` said.
        verify_checksum: Whether the store is asked for the stored checksum of an object.

    Returns:
        Head and body.

    Raises:
        Refused: This request is for boto3: a conditional write, or a header that is not plain ASCII.
    """
    method = request.method
    body = request.body
    path = f"{endpoint.base}/{quote_key(request.key)}" if request.key else endpoint.base or "/"
    query = request.query
    signer = endpoint.signer
    signed = {
        "host": endpoint.authority,
        "x-amz-content-sha256": (sha256(body).hexdigest() if sign_body else UNSIGNED_PAYLOAD) if body else EMPTY_SHA256,
        "x-amz-date": signer.timestamp(),
    }
    if identity.token:
        signed["x-amz-security-token"] = identity.token
    if verify_checksum and method == "GET" and request.key:
        signed["x-amz-checksum-mode"] = "ENABLED"
    if request.headers:
        for name, value in request.headers.items():
            if not _PLAIN_VALUE.fullmatch(value) or not _PLAIN_NAME.fullmatch(name):
                raise Refused("a header that is not plain ASCII")
            if name in _CONDITIONS and method not in ("GET", "HEAD"):
                raise Refused("a conditional write")
            signed[name] = value
    authorization = signer.authorization(identity.access_key, identity.secret_key, method, path, query, signed)
    lines = "".join([f"{name}: {value}\r\n" for name, value in signed.items()])
    target = f"{path}?{query}" if query else path
    length = f"content-length: {len(body)}\r\n" if body or method in ("PUT", "POST") else ""
    head = (
        f"{method} {target} HTTP/1.1\r\n{lines}authorization: {authorization}\r\n"
        f"user-agent: messageflux-s3\r\naccept-encoding: identity\r\n{length}\r\n"
    )
    return head.encode("ascii") + body if body else head.encode("ascii")


class Reader:
    """Reads the answers that come over one connection, one after the other.

    Attributes:
        has_begun: Whether a byte of the present answer has come.
        is_whole: Whether the present answer is complete.
        announced: The length announced for the body, or None; known once the headers are in.
        keeps_alive: Whether the connection may carry another request, once the answer is whole.
    """

    __slots__ = (
        "_chunked",
        "_chunks",
        "_fields",
        "_has_content_range",
        "_head_only",
        "_limit",
        "_parser",
        "_received",
        "_request",
        "_status",
        "_target",
        "announced",
        "has_begun",
        "is_whole",
        "keeps_alive",
        "too_large",
    )

    def __init__(self) -> None:
        self._parser: Any = None
        self.keeps_alive = True
        self.begin(LaneRequest("GET", ""), BODY_LIMIT)

    def begin(self, request: LaneRequest, limit: int, target: memoryview | None = None) -> None:
        """Get ready for the answer to a request; a success fills the target, if there is one, to the last byte."""
        if self._parser is None:
            self._parser = httptools.HttpResponseParser(self)
        self._request = request
        self._head_only = request.method == "HEAD"
        self._limit = limit
        self._target = target
        self._fields: list[tuple[bytes, bytes]] = []
        self._chunks: list[bytes] = []
        self._received = 0
        self._status = 0
        self._chunked = False
        self._has_content_range = False
        self.announced: int | None = None
        self.has_begun = False
        self.is_whole = False
        self.too_large = False

    @property
    def remaining(self) -> int:
        """How many bytes of the body are announced and have not come."""
        return max(0, (self.announced or 0) - self._received)

    @property
    def headers_are_in(self) -> bool:
        """Whether the body is being read."""
        return self._status >= 200

    @property
    def rest_of_target(self) -> memoryview | None:
        """Where the rest of the body goes, past the parser; None while the parser has to see what comes."""
        if self._target is None or self._status not in (200, 206):
            return None
        return self._target[self._received :]

    def filled(self, count: int) -> bool:
        """Note that so many bytes went straight into the target; return whether the answer is whole now."""
        self._received += count
        if self._received == self.announced:
            self._parser = None  # it has not seen the end
            self.is_whole = True
        return self.is_whole

    def feed(self, data: bytes | memoryview) -> bool:
        """Take what came; return whether the answer is whole now.

        Raises:
            Refused: This is no answer that the lane may hand over.
        """
        self.has_begun = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            cause = error.__context__
            if cause is not None and not isinstance(cause, Exception):
                raise cause from None  # KeyboardInterrupt, raised by a signal handler while a callback ran
            raise Refused(str(cause if isinstance(cause, Refused) else error)) from None
        return self.is_whole

    def response(self) -> LaneResponse:
        """Return the whole answer.

        Raises:
            Refused: It is neither a success nor a 404, or it is not what was asked for.
        """
        status = self._status
        request = self._request
        chunks = self._chunks
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        if status != 404:
            if request.method in ("GET", "HEAD"):
                is_range = request.headers is not None and "range" in request.headers
                # rclone's ranges have status 200; a part that was not asked for is no body.
                is_part = self._has_content_range and request.method == "GET"
                if not (status == 200 or (status == 206 and is_range)) or is_part is not is_range:
                    raise Refused(f"status {status}, {'with' if self._has_content_range else 'without'} Content-Range")
                if self._chunked and request.key:
                    raise Refused("an object whose length was not announced")
            elif not 200 <= status <= 204 or (request.method == "PUT" and b"<Error" in body):
                raise Refused(f"status {status}")
        return LaneResponse(status, self._fields, body, too_large=self.too_large)

    # -- called by httptools -----------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self.is_whole:
            raise Refused("more bytes than the answer has")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name, value))
        size = len(name)
        if size == 14 and name.lower() == b"content-length":
            self.announced = int(value)
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
        if self._head_only:
            self._parser = None  # it would wait for the body that the length announces
            self.is_whole = True
        elif self._target is not None and status in (200, 206):
            if self.announced != len(self._target):
                raise Refused("another length than was asked for")
        elif self.announced is not None:
            if self.announced > self._limit:
                self.too_large = True
                self.is_whole = True
                self.keeps_alive = False
        elif not self._chunked and status not in (204, 304):
            raise Refused("an answer without a length")

    def on_body(self, chunk: bytes) -> None:
        if self.too_large:
            return
        if self._head_only:
            raise Refused("an answer to HEAD with a body")
        self._received += len(chunk)
        if self._received > self._limit:
            raise Refused("a larger body than is taken")
        if self._target is not None and self._status in (200, 206):
            self._target[self._received - len(chunk) : self._received] = chunk
            return
        self._chunks.append(chunk)

    def on_message_complete(self) -> None:
        if self._status >= 200:
            self.is_whole = True
        else:  # 100 Continue and its kind come before the answer
            self._fields = []
            self.announced = None
            self._chunked = False
            self._has_content_range = False


def checksum_holds(response: LaneResponse) -> bool:
    """Whether a body agrees with the whole-object checksum that came with it, where one came that can be
    computed here.
    """
    headers = response.headers
    stored = headers.get("x-amz-checksum-crc32")
    if stored is not None and "-" not in stored:
        return b64encode(zlib.crc32(response.body).to_bytes(4, "big")).decode("ascii") == stored
    for name, digest in _DIGESTS.items():
        stored = headers.get(name)
        if stored is not None and "-" not in stored:
            return b64encode(digest(response.body).digest()).decode("ascii") == stored
    return True
