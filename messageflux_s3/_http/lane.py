"""The fast lane: small requests and the parts of large transfers over the library's own connections instead of boto3's.

A lane signs requests itself (unless the client is anonymous), writes them to plain sockets and reads the responses with llhttp. It returns
successes, 404s, and 304s to If-None-Match. For everything else it returns None, and the caller sends the request through boto3 and uses
boto3's response or error. :mod:`~messageflux_s3._http.eligibility` decides when a lane may be used. A lane has no threads:
:meth:`Lane.send` blocks its caller, and the iterator of :meth:`Lane.stream` processes many requests concurrently each time it is advanced.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from .connections import ConnectionPool, LaneConnection
from .eligibility import Admission, Eligibility, Endpoint
from .http1 import (
    BODY_LIMIT,
    BodySink,
    LaneRequest,
    LaneResponse,
    NotForLane,
    checksum_matches,
    may_repeat,
    write_request,
)
from .request_window import THROTTLED
from .stream import Stream

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = ["BODY_LIMIT", "Lane", "LaneRequest", "LaneResponse", "LaneStatus", "PendingResponse"]

logger = logging.getLogger("messageflux_s3")

_RECEIVE_SIZE = 128 * 1024
_HEADERS_SIZE = 8 * 1024
_SEPARATE_BODY_BYTES = 64 * 1024
"""A body above this size is sent after the headers rather than copied behind them."""
_SEND_SIZE = 256 * 1024
_DIGESTS = frozenset({"content-md5", "x-amz-checksum-sha256"})
"""Headers with a checksum that no known method keeps while the body is changed."""
_REFUSALS = (400, 401, 403, 501)
"""Status codes with which a store may refuse a request whose body's hash is not signed."""


@dataclass(frozen=True, slots=True)
class LaneStatus:
    """Whether small requests and the parts of large transfers use the fast lane, and why.

    Attributes:
        open: Whether the fast lane is in use.
        reason: Why, in a few words.
    """

    open: bool
    reason: str


class Lane:
    """The fast lane of one boto3 client. Safe to share between threads; not used in a process forked after it was made.

    Args:
        client: The boto3 client.
        headers: Headers of every request, under lower-case names; a request's own headers win.

    Attributes:
        eligibility: Decides whether and where the lane may be used.
        pool: The idle connections.
    """

    def __init__(self, client: S3Client, headers: Mapping[str, str] = MappingProxyType({})) -> None:
        self._headers = headers
        self.eligibility = Eligibility(client)
        self.pool = ConnectionPool(client, self.eligibility)
        settings: Any = client.meta.config
        s3 = settings.s3 or {}
        self._sign_body_over_tls = s3.get("payload_signing_enabled") is not False
        self._sign_covered_bodies = s3.get("payload_signing_enabled") is True
        self._verify_checksums = settings.response_checksum_validation == "when_supported"

    # -- whether it is used ------------------------------------------------------------------------

    @property
    def status(self) -> LaneStatus:
        """Whether the lane is in use, and why."""
        reason = self.eligibility.shut_reason()
        if reason is not None:
            return LaneStatus(open=False, reason=reason)
        hosts = self.eligibility.hosts
        if not hosts:
            return LaneStatus(open=False, reason=f"not yet open: {self.eligibility.reason_not_learned}")
        return LaneStatus(open=True, reason=f"requests go straight to {', '.join(hosts)}")

    def is_open_for(self, bucket: str) -> bool:
        """Return whether the lane would send a request to this bucket now, rather than boto3."""
        return self.eligibility.endpoint(bucket) is not None

    def connect_ahead(self, bucket: str) -> None:
        """Open a connection for a later request to this bucket, if the lane is open for it. A failure is left to that request.

        Requests:
            none
        """
        endpoint = self.eligibility.endpoint(bucket)
        if endpoint is None:
            return
        connection = LaneConnection(endpoint.address)
        try:
            self.pool.connect(connection)
        except OSError as error:
            connection.close()
            logger.debug("lane: no connection to %s was opened ahead: %s", endpoint.authority, error)
        else:
            self.pool.put_back(connection)

    def times_throttled(self, bucket: str) -> int:
        """Return how many of the lane's requests to this bucket were answered with 429 or 503."""
        endpoint = self.eligibility.endpoint(bucket)
        return 0 if endpoint is None else endpoint.throttled

    def shut(self, reason: str) -> None:
        """Shut the lane permanently: all further requests go through boto3."""
        self.eligibility.shut(reason)
        self.close()

    def close(self) -> None:
        """Close the idle connections. A later request opens new ones."""
        self.pool.close()

    # -- one request -------------------------------------------------------------------------------

    def send(
        self,
        request: LaneRequest,
        *,
        body_limit: int = BODY_LIMIT,
        headers_if_larger: bool = False,
        target: memoryview | BodySink | None = None,
    ) -> LaneResponse | None:
        """Send one request and wait for its response.

        Args:
            request: The request.
            body_limit: The largest body to hold in memory.
            target: Buffer or sink for the body of a success, instead of the response's ``body``; exactly as long as the body.
            headers_if_larger: Return the headers of a response whose body is larger (``too_large``), rather than None.

        Returns:
            A success or a 404; None if the caller has to send the request through boto3.

        Requests:
            1, or none if the lane is shut; a second one if the server had closed an idle connection
        """
        is_large = len(request.body) > _SEPARATE_BODY_BYTES
        prepared = self.prepare(request, with_body=not is_large)
        if prepared is None:
            return None
        endpoint, data = prepared
        connection = self._take(request, endpoint, is_checked=is_large)
        if connection is not None:
            try:
                response = self._exchange(connection, request, data, body_limit, target)
            except (OSError, NotForLane) as error:
                connection.close()
                if not may_repeat(request, connection.reader, error):
                    self._note_status(request, endpoint, error)
                    self.give_up(request, endpoint, error)
                    return None
            except BaseException:
                connection.close()
                raise
            else:
                return self._finish(connection, request, response, endpoint, headers_if_larger)
        connection = LaneConnection(endpoint.address)
        try:
            self.pool.connect(connection)
            response = self._exchange(connection, request, data, body_limit, target)
        except (OSError, NotForLane) as error:
            connection.close()
            self._note_status(request, endpoint, error)
            self.give_up(request, endpoint, error)
            return None
        except BaseException:
            connection.close()
            raise
        return self._finish(connection, request, response, endpoint, headers_if_larger)

    def _take(self, request: LaneRequest, endpoint: Endpoint, *, is_checked: bool = False) -> LaneConnection | None:
        """Return an idle connection; None if there is none.

        For an observed request it is one that the server has not closed, so the request counts as sent even if no response arrives: the
        store may have carried it out. Without observers that check would only cost time.
        """
        connection = self.pool.take(endpoint.address)
        if connection is not None and (is_checked or request.watch is not None) and connection.was_closed_by_server():
            connection.close()
            return None
        return connection

    @staticmethod
    def _note_status(request: LaneRequest, endpoint: Endpoint, error: Exception) -> None:
        """Count throttling. If the store may have refused a request because the body's hash was not signed, sign it from now on."""
        status = getattr(error, "status", None)
        if status in THROTTLED:
            endpoint.throttled += 1
        elif request.is_body_covered and status in _REFUSALS:
            endpoint.takes_unsigned_bodies = False

    def begin(self, request: LaneRequest, *, body_limit: int = BODY_LIMIT) -> PendingResponse | None:
        """Send one request; its response is read later.

        Args:
            request: The request.
            body_limit: The largest body to hold in memory.

        Returns:
            The pending response; None if the caller has to send the request through boto3.

        Requests:
            1, or none if the lane is shut
        """
        prepared = self.prepare(request)
        if prepared is None:
            return None
        endpoint, data = prepared
        connection = self._take(request, endpoint)
        is_new = connection is None
        try:
            if connection is None:
                connection = LaneConnection(endpoint.address)
                self.pool.connect(connection)
            assert connection.sock is not None
            if request.watch is not None:
                request.watch.sending(len(request.body))
            connection.sock.sendall(data)
        except OSError as error:
            if connection is not None:
                connection.close()
            if is_new:
                self.give_up(request, endpoint, error)
                return None
            if request.watch is not None:
                request.watch.not_sent(len(request.body))
            connection = None  # the server had closed the idle connection: result() sends the request again
        return PendingResponse(self, request, endpoint, connection, body_limit)

    def prepare(self, request: LaneRequest, *, with_body: bool = True) -> tuple[Endpoint, bytes] | None:
        """Return the endpoint and the bytes of the request, signed unless the client is anonymous; None if it must go through boto3.

        Args:
            request: The request.
            with_body: Whether the bytes include the body; otherwise the caller sends it after them.
        """
        admission = self.eligibility.admission(request.bucket)
        data = None if admission is None else self.serialize(request, admission, with_body=with_body)
        return None if admission is None or data is None else (admission.endpoint, data)

    def serialize(self, request: LaneRequest, admission: Admission, *, with_body: bool = True) -> bytes | None:
        """Return the bytes of a request, signed unless the client is anonymous; None if it must go through boto3.

        Args:
            request: The request.
            admission: That of its bucket.
            with_body: Whether the bytes include the body; otherwise the caller sends it after them.
        """
        endpoint, credentials = admission
        request.is_hash_signed = self._signs_body(request, endpoint)
        try:
            return write_request(
                request,
                endpoint,
                credentials,
                sign_body=request.is_hash_signed,
                verify_checksum=self._verify_checksums,
                headers=self._headers,
                with_body=with_body,
            )
        except NotForLane as error:
            logger.debug("lane: %r is left to boto3: %s", request, error)
            return None

    def _signs_body(self, request: LaneRequest, endpoint: Endpoint) -> bool:
        """Return whether to sign the hash of the body. A checksum in a signed header covers the body as well, with one hash less.

        A CRC32 alone does so over TLS only: without TLS, an attacker can change a body and keep its CRC32.
        """
        if (
            request.is_body_covered
            and endpoint.takes_unsigned_bodies
            and not self._sign_covered_bodies
            and (endpoint.secure or not _DIGESTS.isdisjoint(request.headers or ()))
        ):
            return False
        return self._sign_body_over_tls or not endpoint.secure

    def _exchange(
        self,
        connection: LaneConnection,
        request: LaneRequest,
        data: bytes,
        body_limit: int,
        target: memoryview | BodySink | None,
    ) -> LaneResponse:
        """Send and receive on a connection that no other thread uses."""
        sock = connection.sock
        assert sock is not None
        if request.watch is not None:
            request.watch.sending(len(request.body))
        sock.sendall(data)
        if len(request.body) > _SEPARATE_BODY_BYTES:
            with memoryview(request.body) as body:
                at = 0
                while at < len(body):
                    count = sock.send(body[at : at + _SEND_SIZE])  # each call has the timeout of its own
                    at += count
                    if request.progress is not None:
                        request.progress(count)
        return self._receive(connection, request, body_limit, target)

    def _receive(
        self,
        connection: LaneConnection,
        request: LaneRequest,
        body_limit: int,
        target: memoryview | BodySink | None = None,
    ) -> LaneResponse:
        sock, reader = connection.sock, connection.reader
        assert sock is not None
        reader.begin(request, body_limit, target)
        while True:
            rest = reader.rest_of_target
            if rest is not None:
                count = sock.recv_into(rest)
                if not count:
                    raise NotForLane("the connection was closed")
                if reader.advance(count):
                    break
                continue
            size = _HEADERS_SIZE if target is not None else max(_RECEIVE_SIZE, min(reader.remaining, 1 << 20))
            received = sock.recv(size)
            if not received:
                raise NotForLane("the connection was closed")
            is_complete = reader.feed(received)
            if target is not None:
                reader.pass_on()
            if is_complete:
                break
        response = reader.response()
        self.check(response)
        return response

    def check(self, response: LaneResponse) -> None:
        """Compare a body with the checksum in its headers, if the client validates checksums.

        Raises:
            NotForLane: The body does not match the checksum.
        """
        if self._verify_checksums and response.status == 200 and response.body and not checksum_matches(response):
            raise NotForLane("the body does not match its checksum")

    def _finish(
        self,
        connection: LaneConnection,
        request: LaneRequest,
        response: LaneResponse,
        endpoint: Endpoint,
        headers_if_larger: bool,
    ) -> LaneResponse | None:
        """Put the connection back into the pool and return the response.

        MUST NOT be called inside a ``try`` that closes the connection: another thread may already have taken it from the pool.
        """
        if request.watch is not None:
            request.watch.received(response.status, connection.reader.body_size)
        if connection.reader.keeps_alive:
            connection.served += 1
            self.pool.put_back(connection)
        else:
            connection.close()
        endpoint.record_success()
        return response if headers_if_larger or not response.too_large else None

    def give_up(self, request: LaneRequest, endpoint: Endpoint, error: Exception) -> None:
        """Record that a request failed on the lane and is sent again through boto3."""
        endpoint.record_failure()
        if request.watch is not None:
            request.watch.failed(getattr(error, "status", None))
        logger.debug("lane: %r is sent again through boto3: %s", request, error)

    # -- many requests -----------------------------------------------------------------------------

    def stream(
        self,
        requests: Iterable[LaneRequest],
        *,
        concurrency: int = 64,
        max_bytes: int = 256 * 1024 * 1024,
        body_limit: int = BODY_LIMIT,
        headers_if_larger: bool = False,
    ) -> Generator[tuple[LaneRequest, LaneResponse | None], None, None]:
        """Send many requests, several at a time, and yield their responses in the order of the requests.

        No thread is used: responses are read only while the iterator is advanced. Requests are taken from the
        iterable as earlier ones complete. If the iterable raises, the responses to the requests already sent are yielded first. Closing
        the iterator closes the connections on which a response is outstanding.

        Args:
            requests: The requests, any number.
            concurrency: The largest number of requests in flight.
            max_bytes: Limit for the bodies held in memory; one body and one read of each connection may exceed it.
            body_limit: The largest body to hold in memory; a larger one is left to boto3.
            headers_if_larger: Return the headers of a response whose body is above ``body_limit`` (``too_large``), rather than None.

        Returns:
            Each request with its response, or with None if the caller has to send the request through boto3.

        Requests:
            1 per request
        """
        return Stream(self, requests, concurrency, max_bytes, body_limit, headers_if_larger).run()

    def open_stream(self, *, concurrency: int, body_limit: int) -> Stream:
        """Return a stream whose requests are submitted one by one, and whose responses are taken in any order. Close it at the end.

        Args:
            concurrency: The number of connections to keep idle in it.
            body_limit: The largest body to hold in memory. The caller bounds the memory for all of them.
        """
        return Stream(self, (), concurrency, sys.maxsize, body_limit)


class PendingResponse:
    """The response to a request that :meth:`Lane.begin` sent."""

    __slots__ = ("_body_limit", "_connection", "_endpoint", "_lane", "_request")

    def __init__(
        self,
        lane: Lane,
        request: LaneRequest,
        endpoint: Endpoint,
        connection: LaneConnection | None,
        body_limit: int,
    ) -> None:
        self._lane = lane
        self._request = request
        self._endpoint = endpoint
        self._connection = connection
        self._body_limit = body_limit

    def result(self) -> LaneResponse | None:
        """Wait for the response and return it: a success or a 404; None if the caller has to send the request through boto3."""
        lane, request, limit = self._lane, self._request, self._body_limit
        connection, self._connection = self._connection, None
        if connection is None or lane.eligibility.is_forked():
            return lane.send(request, body_limit=limit)
        try:
            response = lane._receive(connection, request, limit)
        except (OSError, NotForLane) as error:
            connection.close()
            if connection.served and may_repeat(request, connection.reader, error):
                return lane.send(request, body_limit=limit)
            lane.give_up(request, self._endpoint, error)
            return None
        except BaseException:
            connection.close()
            raise
        return lane._finish(connection, request, response, self._endpoint, headers_if_larger=False)

    def close(self) -> None:
        """Abandon the response and close its connection; no effect after :meth:`result`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
            if self._request.watch is not None:
                self._request.watch.abandoned()
