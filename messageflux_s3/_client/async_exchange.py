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
from .exchange import Answer, Request, accepted, ask_boto3, exchange, observed_form

_HASHED_IN_THE_LOOP = 1024 * 1024
"""The largest body that is signed in the event loop: hashing 1 MiB takes about a millisecond. Larger ones are sent on a thread."""

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
        """Build boto3's client on a thread unless it exists: operations need it, and building it takes up to half a second."""
        if self._connection.started_lane is None:
            await asyncio.to_thread(lambda: self._connection.lane)

    async def send(
        self, request: Request, run: Callable[..., Awaitable[Any]], run_write: Callable[..., Awaitable[Any]]
    ) -> Answer:
        """Send one request.

        Args:
            request: The request.
            run: Calls a function on a thread and awaits its result.
            run_write: Like ``run``, for requests that change something: if cancelled, it waits a few seconds for the thread, so that
                the request does not take effect after a later one. The lane waits for the response in the same way.

        Raises:
            S3Error: The store rejected the request, or did not respond.

        Requests:
            1 (and retries)
        """
        on_thread = run if request.operation in _READS else run_write
        if len(request.body) > _HASHED_IN_THE_LOOP:
            by_either: Answer = await on_thread(exchange, self._connection, request)
            return by_either
        form = observed_form(self._connection, request)
        if form is not None:
            try:
                response = await self._lane().send(
                    form, body_limit=request.limit, headers_if_larger=request.headers_if_larger
                )
            except BaseException:
                if request.record is not None:
                    request.record.abandoned()
                raise
            answer = None if response is None else accepted(self._connection, request, response)
            if answer is not None:
                return answer
        try:
            by_boto3: Answer = await on_thread(ask_boto3, self._connection, request)
        except BaseException:
            if request.record is not None:  # cancelled before a thread took it
                request.record.abandoned()
            raise
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
                except RuntimeError:  # the loop was closed meanwhile
                    lane.forget()
