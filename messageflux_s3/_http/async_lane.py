"""The fast lane under asyncio: the same requests, the same judgement, the same gate; only the waiting is the event loop's.

One lives in one event loop. It returns what :class:`~messageflux_s3._http.lane.Lane` would return; None means: ask boto3,
on a thread.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, cast

from .eligibility import Endpoint
from .http1 import Reader, Refused
from .lane import BODY_LIMIT, Lane, LaneRequest, LaneResponse

_IDLE_SECONDS = 20.0
_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE"})

_Address = tuple[bool, str, int]


class AsyncLane:
    """A lane's face to one event loop.

    Args:
        lane: The lane, whose gate and settings hold here too.
        concurrency: How many requests are under way at once; more of them wait for their turn.
    """

    def __init__(self, lane: Lane, concurrency: int = 64) -> None:
        self._lane = lane
        self._turns = asyncio.Semaphore(concurrency)
        self._idle: list[_Conversation] = []

    async def send(
        self, request: LaneRequest, *, body_limit: int = BODY_LIMIT, headers_if_larger: bool = False
    ) -> LaneResponse | None:
        """Send one request and wait for its answer.

        Args:
            request: The request.
            body_limit: The largest body to take into memory.
            headers_if_larger: Return the headers of an answer with a larger body, rather than None.

        Returns:
            A success, a 404, or None: ask boto3.

        Requests:
            1, or none where the lane is shut
        """
        async with self._turns:
            if self._lane.gate.credentials_need_refresh():
                await asyncio.to_thread(self._lane.gate.identity)  # that asks somebody, and takes its time
            prepared = self._lane.prepare(request)
            if prepared is None:
                return None
            response = await self._answered(request, *prepared, body_limit)
            return response if response is None or headers_if_larger or not response.too_large else None

    async def _answered(
        self, request: LaneRequest, endpoint: Endpoint, data: bytes, body_limit: int
    ) -> LaneResponse | None:
        idle = self._take(endpoint.address)
        for conversation in (idle, None) if idle is not None else (None,):
            try:
                if conversation is None:
                    conversation = await self._open(endpoint.address)
                reader = await conversation.ask(request, data, body_limit, self._lane.read_timeout)
                response = reader.response()
                self._lane.check(response)
            except (OSError, Refused, asyncio.TimeoutError) as error:
                is_stale = False
                if conversation is not None:
                    conversation.close()
                    is_stale = conversation is idle and not conversation.reader.has_begun
                if is_stale and not isinstance(error, TimeoutError) and request.method in _IDEMPOTENT:
                    continue
                self._lane.give_up(request, endpoint, error)
                return None
            except BaseException:
                if conversation is not None:
                    conversation.close()
                raise
            endpoint.succeeded()
            if reader.keeps_alive:
                conversation.idle_since = time.monotonic()
                self._idle.append(conversation)
            else:
                conversation.close()
            return response
        return None  # pragma: no cover - a new connection, the last in the row, always ends the loop

    def _take(self, address: _Address) -> _Conversation | None:
        oldest = time.monotonic() - _IDLE_SECONDS
        for at in range(len(self._idle) - 1, -1, -1):
            conversation = self._idle[at]
            if conversation.is_closed or conversation.idle_since < oldest:
                del self._idle[at]
                conversation.close()
            elif conversation.address == address:
                return self._idle.pop(at)
        return None

    async def _open(self, address: _Address) -> _Conversation:
        secure, host, port = address
        conversation = _Conversation(address)
        connecting = asyncio.ensure_future(
            asyncio.get_running_loop().create_connection(
                lambda: conversation,
                host,
                port,
                ssl=self._lane.tls_context() if secure else None,
                server_hostname=host if secure else None,
            )
        )
        # Not wait_for: before Python 3.12 it loses a cancellation that comes together with the connection.
        try:
            done, _ = await asyncio.wait([connecting], timeout=self._lane.connect_timeout)
            if not done:
                raise TimeoutError("no connection in time")
            connecting.result()
        except BaseException:
            connecting.cancel()
            connecting.add_done_callback(_hear)
            conversation.close()
            raise
        return conversation

    def close(self) -> None:
        """Close the connections that wait for a next request."""
        while self._idle:
            self._idle.pop().close()

    def forget(self) -> None:
        """Let the connections go whose event loop has ended: asyncio closes their sockets as they are collected."""
        self._idle.clear()


def _hear(abandoned: asyncio.Future[Any]) -> None:
    """Take note of how something ended that nobody waits for any more, lest asyncio complain that nobody did."""
    if not abandoned.cancelled():
        abandoned.exception()


class _Conversation(asyncio.Protocol):
    """One connection, and the answer that is being read on it."""

    def __init__(self, address: _Address) -> None:
        self.address = address
        self.reader = Reader()
        self.is_closed = False
        self.idle_since = 0.0
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[None] | None = None
        self._has_moved = False

    async def ask(self, request: LaneRequest, data: bytes, body_limit: int, read_timeout: float) -> Reader:
        """Send a request and wait until its answer is whole, as long as bytes keep coming."""
        if self._transport is None or self.is_closed:
            raise ConnectionError("the connection was closed")
        self.reader.begin(request, body_limit)
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(data)
        while True:
            self._has_moved = False
            done, _ = await asyncio.wait([self._answer], timeout=read_timeout)
            if done:
                self._answer.result()
                return self.reader
            if not self._has_moved:
                raise TimeoutError("no answer in time")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self.is_closed:  # given up while it was being made
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._has_moved = True
        if self._answer is None or self._answer.done():
            self.close()  # nobody asked for that
            return
        try:
            if self.reader.feed(data):
                self._answer.set_result(None)
        except Refused as error:
            self._answer.set_exception(error)
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_closed = True
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError(str(exc or "the connection was closed")))

    def close(self) -> None:
        """Close the connection, whatever is under way on it."""
        self.is_closed = True
        if self._answer is not None:
            self._answer.cancel()
            _hear(self._answer)  # it may have failed in the moment in which whoever waited for it was cancelled
        if self._transport is not None:
            self._transport.abort()
