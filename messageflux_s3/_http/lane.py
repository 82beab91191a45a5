"""The fast lane: small requests over the library's own connections instead of boto3's.

A lane signs requests itself, writes them to plain sockets and reads the responses with llhttp. It returns successes and 404s. For
everything else it returns None, and the caller sends the request through boto3 and uses its response or error.
:mod:`~messageflux_s3._http.eligibility` decides when a lane may be used. A lane has no threads: :meth:`Lane.send` blocks its caller, and
the iterator of :meth:`Lane.stream` processes many requests concurrently each time it is advanced.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError

from .connections import ConnectionPool, LaneConnection
from .eligibility import Eligibility, Endpoint
from .http1 import (
    BODY_LIMIT,
    IDEMPOTENT_METHODS,
    LaneRequest,
    LaneResponse,
    NotForLane,
    checksum_matches,
    write_request,
)
from .stream import Stream

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = ["BODY_LIMIT", "Lane", "LaneRequest", "LaneResponse", "LaneStatus", "PendingResponse"]

logger = logging.getLogger("messageflux_s3")

_RECEIVE_SIZE = 128 * 1024
_HEADERS_SIZE = 8 * 1024


@dataclass(frozen=True, slots=True)
class LaneStatus:
    """Whether small requests use the fast lane, and why.

    Attributes:
        open: Whether the fast lane is in use.
        reason: Why, in a few words.
    """

    open: bool
    reason: str


class Lane:
    """The fast lane beside one boto3 client. Safe to share between threads; not used in a process forked after it was made.

    Args:
        client: The boto3 client.

    Attributes:
        eligibility: Decides whether and where the lane may be used.
        pool: The idle connections.
    """

    def __init__(self, client: S3Client) -> None:
        self.eligibility = Eligibility(client)
        self.pool = ConnectionPool(client, self.eligibility)
        settings: Any = client.meta.config
        s3 = settings.s3 or {}
        self._sign_body_over_tls = s3.get("payload_signing_enabled") is not False
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
        target: memoryview | None = None,
    ) -> LaneResponse | None:
        """Send one request and wait for its response.

        Args:
            request: The request.
            body_limit: The largest body to hold in memory.
            target: Buffer for the body of a success, instead of the response's ``body``; exactly as long as the body.
            headers_if_larger: Return the headers of a response whose body is larger (``too_large``), rather than None.

        Returns:
            A success or a 404; None if the caller has to send the request through boto3.

        Requests:
            1, or none if the lane is shut; a second one if the server had closed an idle connection
        """
        prepared = self.prepare(request)
        if prepared is None:
            return None
        endpoint, data = prepared
        connection = self.pool.take(endpoint.address)
        if connection is not None:
            try:
                response = self._exchange(connection, request, data, body_limit, target)
            except (OSError, NotForLane) as error:
                connection.close()
                # The server may have closed the connection while it was idle. It then sent no byte of a response, and an idempotent
                # request can be sent again.
                is_stale = not connection.reader.has_begun and not isinstance(error, TimeoutError)
                if not is_stale or request.method not in IDEMPOTENT_METHODS:
                    self.give_up(request, endpoint, error)
                    return None
            except BaseException:
                connection.close()
                raise
            else:
                return self._finish(connection, response, endpoint, headers_if_larger)
        connection = LaneConnection(endpoint.address)
        try:
            self.pool.connect(connection)
            response = self._exchange(connection, request, data, body_limit, target)
        except (OSError, NotForLane) as error:
            connection.close()
            self.give_up(request, endpoint, error)
            return None
        except BaseException:
            connection.close()
            raise
        return self._finish(connection, response, endpoint, headers_if_larger)

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
        connection = self.pool.take(endpoint.address)
        is_new = connection is None
        try:
            if connection is None:
                connection = LaneConnection(endpoint.address)
                self.pool.connect(connection)
            assert connection.sock is not None
            connection.sock.sendall(data)
        except OSError as error:
            if connection is not None:
                connection.close()
            if is_new:
                self.give_up(request, endpoint, error)
                return None
            connection = None  # the server had closed the idle connection: result() sends the request again
        return PendingResponse(self, request, endpoint, connection, body_limit)

    def prepare(self, request: LaneRequest) -> tuple[Endpoint, bytes] | None:
        """Return the endpoint and the signed bytes of the request; None if it must go through boto3."""
        eligibility = self.eligibility
        endpoint = eligibility.endpoint(request.bucket)
        if endpoint is None:
            return None
        try:
            credentials = eligibility.credentials()
            if credentials is None:
                return None
            data = write_request(
                request,
                endpoint,
                credentials,
                sign_body=self._sign_body_over_tls or not endpoint.secure,
                verify_checksum=self._verify_checksums,
            )
        except (NotForLane, BotoCoreError) as error:
            logger.debug("lane: %r is left to boto3: %s", request, error)
            return None
        return endpoint, data

    def _exchange(
        self,
        connection: LaneConnection,
        request: LaneRequest,
        data: bytes,
        body_limit: int,
        target: memoryview | None,
    ) -> LaneResponse:
        """Send and receive on a connection that no other thread uses."""
        assert connection.sock is not None
        connection.sock.sendall(data)
        return self._receive(connection, request, body_limit, target)

    def _receive(
        self, connection: LaneConnection, request: LaneRequest, body_limit: int, target: memoryview | None = None
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
            if reader.feed(received):
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
        self, connection: LaneConnection, response: LaneResponse, endpoint: Endpoint, headers_if_larger: bool
    ) -> LaneResponse | None:
        """Put the connection back into the pool and return the response.

        MUST NOT be called inside a ``try`` that closes the connection: another thread may already have taken it from the pool.
        """
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
            if connection.served and not connection.reader.has_begun and not isinstance(error, TimeoutError):
                return lane.send(request, body_limit=limit)
            lane.give_up(request, self._endpoint, error)
            return None
        except BaseException:
            connection.close()
            raise
        return lane._finish(connection, response, self._endpoint, headers_if_larger=False)

    def close(self) -> None:
        """Abandon the response and close its connection; no effect after :meth:`result`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
