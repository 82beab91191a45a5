"""Send a request under asyncio: through the fast lane in the event loop, else through boto3 on a thread."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Awaitable, Callable
from threading import Lock
from typing import Any

from .._http.async_lane import AsyncLane
from .connection import Connection
from .exchange import Answer, Request, accepted, ask_boto3, exchange, lane_form

_HASHED_IN_THE_LOOP = 1024 * 1024
"""Signing hashes the body: 1 MiB takes about a millisecond. A request with a larger body is sent on a thread."""

_READS = frozenset({"GetObject", "HeadObject", "ListObjectsV2"})


class AsyncExchange:
    """Async version of :func:`~messageflux_s3._client.exchange.exchange`. Each event loop has its own HTTP connections.

    Args:
        connection: The connection.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lanes: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncLane] = weakref.WeakKeyDictionary()
        self._lock = Lock()  # event loops may run on several threads
        self._pid = os.getpid()

    async def start(self) -> None:
        """Build boto3's client on a thread, unless it exists: operations look at it, and building it takes up to half a second."""
        if self._connection.started_lane is None:
            await asyncio.to_thread(lambda: self._connection.lane)

    async def send(
        self, request: Request, run: Callable[..., Awaitable[Any]], run_write: Callable[..., Awaitable[Any]]
    ) -> Answer:
        """Send one request.

        Args:
            request: The request.
            run: Calls a function on a thread and awaits its result.
            run_write: As ``run``, for a request that changes something: if cancelled, it waits for the thread a few seconds, so that the
                request does not take effect after a later one.

        Raises:
            S3Error: The store rejected it, or did not respond.

        Requests:
            1 (and retries)
        """
        on_thread = run if request.operation in _READS else run_write
        if len(request.body) > _HASHED_IN_THE_LOOP:
            by_either: Answer = await on_thread(exchange, self._connection, request)
            return by_either
        form = lane_form(request)
        if form is not None:
            response = await self._lane().send(
                form, body_limit=request.limit, headers_if_larger=request.headers_if_larger
            )
            answer = None if response is None else accepted(self._connection, request, response)
            if answer is not None:
                return answer
        by_boto3: Answer = await on_thread(ask_boto3, self._connection, request)
        return by_boto3

    def _lane(self) -> AsyncLane:
        loop = asyncio.get_running_loop()
        lane = self._lanes.get(loop)
        if lane is None or self._pid != os.getpid():
            self.forget_after_fork()
            with self._lock:
                for ended in [other for other in self._lanes if other.is_closed()]:
                    self._lanes.pop(ended).forget()
                connection = self._connection
                lane = self._lanes[loop] = AsyncLane(lambda: connection.started_lane, lambda: connection.lane)
        return lane

    def forget_after_fork(self) -> None:
        """In a forked child, drop the lanes: their event loops belong to the parent."""
        if self._pid != os.getpid():
            self._pid, self._lock = os.getpid(), Lock()
            self._lanes = weakref.WeakKeyDictionary()

    def close(self) -> None:
        """Close the idle connections of every event loop."""
        self.forget_after_fork()
        with self._lock:
            lanes, self._lanes = dict(self._lanes), weakref.WeakKeyDictionary()
        for loop, lane in lanes.items():
            if loop is asyncio.get_running_loop():
                lane.close()
            elif loop.is_closed():
                lane.forget()
            else:  # a loop of another thread
                try:
                    loop.call_soon_threadsafe(lane.close)
                except RuntimeError:  # it was closed meanwhile
                    lane.forget()
