"""The fast lane for asyncio: a :class:`~messageflux_s3._http.lane.Lane` with non-blocking I/O on the event loop."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, cast

from .connections import IDLE_SECONDS, Address, is_readable
from .eligibility import Endpoint
from .http1 import BODY_LIMIT, LaneRequest, LaneResponse, NotForLane, Reader, may_repeat
from .lane import Lane

logger = logging.getLogger("messageflux_s3")

_SECONDS_FOR_A_WRITE = 5.0
"""Seconds that a cancelled task waits for the response to a request that changes something."""


class AsyncLane:
    """The fast lane for one event loop.

    Args:
        find: Returns the current lane, whose eligibility and timeouts apply; None if the client is not built yet.
        build: Builds the client, and returns its lane. Called on a thread: it reads files, and may request credentials.
        concurrency: The largest number of requests in flight; further ones wait.
    """

    _lane: Lane

    def __init__(self, find: Callable[[], Lane | None], build: Callable[[], Lane], concurrency: int = 64) -> None:
        self._find = find
        self._build = build
        self._turns = asyncio.Semaphore(concurrency)
        self._idle: list[AsyncConnection] = []

    async def send(
        self, request: LaneRequest, *, body_limit: int = BODY_LIMIT, headers_if_larger: bool = False
    ) -> LaneResponse | None:
        """Send one request and wait for its response.

        Args:
            request: The request.
            body_limit: The largest body to hold in memory.
            headers_if_larger: Return the headers of a response whose body is larger (``too_large``), rather than None.

        Returns:
            A success or a 404; None if the caller has to send the request through boto3, on a thread.

        Requests:
            1, or none if the lane is shut; a second one if the server had closed an idle connection
        """
        async with self._turns:
            # Looked up for each request: reload_credentials() replaces the client, and with it the lane.
            found = self._find()
            self._lane = found if found is not None else await asyncio.to_thread(self._build)
            eligibility = self._lane.eligibility
            if eligibility.credentials_need_refresh():
                # Refreshing the credentials may send a request, which would block the event loop.
                try:
                    await asyncio.to_thread(eligibility.credentials)
                except Exception as error:  # see Eligibility.admission()
                    logger.debug("lane: %r is left to boto3: no credentials (%s)", request, type(error).__name__)
                    return None
            prepared = self._lane.prepare(request)
            if prepared is None:
                return None
            response = await self._exchange(request, *prepared, body_limit)
            return response if response is None or headers_if_larger or not response.too_large else None

    async def _exchange(
        self, request: LaneRequest, endpoint: Endpoint, data: bytes, body_limit: int
    ) -> LaneResponse | None:
        idle = self._take(endpoint.address)
        for connection in (idle, None) if idle is not None else (None,):
            try:
                if connection is None:
                    connection = await self._open(endpoint.address)
                if request.watch is not None:
                    request.watch.sending(len(request.body))
                reader = await connection.exchange(request, data, body_limit, self._lane.pool.read_timeout)
                response = reader.response()
                self._lane.check(response)
            except (OSError, NotForLane, asyncio.TimeoutError) as error:
                if connection is not None:
                    connection.close()
                    if connection is idle and may_repeat(request, connection.reader, error):
                        continue
                self._lane.give_up(request, endpoint, error)
                return None
            except BaseException:
                if connection is not None:
                    connection.close()
                raise
            endpoint.record_success()
            if request.watch is not None:
                request.watch.received(response.status, reader.body_size)
            if reader.keeps_alive:
                connection.idle_since = time.monotonic()
                self._idle.append(connection)
            else:
                connection.close()
            return response
        return None  # pragma: no cover - the last iteration, with a new connection, always returns

    def _take(self, address: Address) -> AsyncConnection | None:
        oldest = time.monotonic() - IDLE_SECONDS
        for at in range(len(self._idle) - 1, -1, -1):
            connection = self._idle[at]
            if connection.is_closed or connection.idle_since < oldest:
                del self._idle[at]
                connection.close()
            elif connection.address == address:
                del self._idle[at]
                if not connection.is_readable():
                    return connection
                connection.close()
        return None

    async def _open(self, address: Address) -> AsyncConnection:
        secure, host, port = address
        connection = AsyncConnection(address)
        connecting = asyncio.ensure_future(
            asyncio.get_running_loop().create_connection(
                lambda: connection,
                host,
                port,
                ssl=self._lane.pool.tls_context() if secure else None,
                server_hostname=host if secure else None,
            )
        )
        # wait_for is not used: before Python 3.12 it loses a cancellation that arrives together with the connection.
        try:
            done, _ = await asyncio.wait([connecting], timeout=self._lane.pool.connect_timeout)
            if not done:
                raise TimeoutError("no connection in time")
            connecting.result()
        except BaseException:
            connecting.cancel()
            connecting.add_done_callback(_retrieve_exception)
            connection.close()
            raise
        return connection

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop().close()

    def forget(self) -> None:
        """Drop the connections of an event loop that has ended: asyncio closes their sockets when they are collected."""
        self._idle.clear()


def _retrieve_exception(abandoned: asyncio.Future[Any]) -> None:
    """Retrieve the exception of a future that is no longer awaited, or asyncio logs "never retrieved"."""
    if not abandoned.cancelled():
        abandoned.exception()


class AsyncConnection(asyncio.Protocol):
    """One connection and the parser of the responses that arrive on it."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.reader = Reader()
        self.is_closed = False
        self.idle_since = 0.0
        self._transport: asyncio.Transport | None = None
        self._response_complete: asyncio.Future[None] | None = None
        self._has_received = False

    def is_readable(self) -> bool:
        """Return whether bytes, or the end of the connection, have arrived that the event loop has been too busy to notice.

        If the connection is idle, no response is expected on it: bytes that look like one would be taken for that to the next request.
        """
        if self._transport is None or self.is_closed:
            return True
        try:
            return is_readable(self._transport.get_extra_info("socket"))
        except (OSError, ValueError):  # over TLS, the socket is closed a moment before connection_lost() is called
            return True

    async def exchange(self, request: LaneRequest, data: bytes, body_limit: int, read_timeout: float | None) -> Reader:
        """Send a request and wait until its response is complete.

        If the task is cancelled while a request that changes something is under way, wait for the response for a few seconds, so that the
        request does not take effect after a later one.

        Raises:
            TimeoutError: No byte arrived for ``read_timeout`` seconds (None: no limit).
        """
        if self._transport is None or self.is_closed:
            raise ConnectionError("the connection was closed")
        self.reader.begin(request, body_limit)
        self._response_complete = asyncio.get_running_loop().create_future()
        self._transport.write(data)
        while True:
            self._has_received = False
            try:
                done, _ = await asyncio.wait([self._response_complete], timeout=read_timeout)
            except asyncio.CancelledError:
                if request.method not in ("GET", "HEAD"):
                    await asyncio.wait([self._response_complete], timeout=_SECONDS_FOR_A_WRITE)
                raise
            if done:
                self._response_complete.result()
                return self.reader
            if not self._has_received:
                raise TimeoutError("no response in time")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self.is_closed:  # abandoned before it was connected
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._has_received = True
        if self._response_complete is None or self._response_complete.done():
            self.close()  # the server sent bytes although no request was waiting for them
            return
        try:
            if self.reader.feed(data):
                self._response_complete.set_result(None)
        except NotForLane as error:
            self._response_complete.set_exception(error)
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_closed = True
        if self._response_complete is not None and not self._response_complete.done():
            self._response_complete.set_exception(ConnectionError(str(exc or "the connection was closed")))

    def close(self) -> None:
        """Close the connection; a response in progress is abandoned."""
        self.is_closed = True
        if self._response_complete is not None:
            self._response_complete.cancel()
            # The future may have failed just as the task that awaits it was cancelled.
            _retrieve_exception(self._response_complete)
        if self._transport is not None:
            self._transport.abort()
