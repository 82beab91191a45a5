"""Concurrent requests on non-blocking sockets, driven by the caller that iterates over the responses; no thread."""

from __future__ import annotations

import heapq
import itertools
import os
import random
import selectors
import socket
import ssl
import time
from collections import deque
from collections.abc import Generator, Iterable
from contextlib import suppress
from typing import Protocol

from .connection_budget import FURTHER
from .connections import Address, ConnectionPool, LaneConnection, SocketAddress
from .eligibility import Admission, Eligibility, Endpoint
from .http1 import IDEMPOTENT_METHODS, LaneRequest, LaneResponse, NotForLane, may_repeat
from .request_window import THROTTLED, RequestWindow

_RECEIVE_SIZE = 128 * 1024

_JUST_NOW = 0.001
"""Seconds for which an answer is taken to hold: of the selector about idle connections, and of the lane about a bucket. Asking again for
each of many small requests would take longer than signing them."""

_GRACE = 1 / 32
"""The part of its timeout for which a response is waited for at least once it is the next one to be yielded: a slow store may be about to
send it. The timeout itself counts from the latest bytes on, so that requests that stall together do not time out one after the other."""

_MOST_REFUSALS = 5
_FIRST_DELAY = 0.05
"""A request that the store throttles is sent again after about this many seconds, then after twice as many, and so on. After the last of so
many refusals it is left to boto3."""

_MOST_REFUSED_ALONE = 10
"""A store that refuses more requests in a row than this, one at a time, is overloaded, or down."""


class RequestHandling(Protocol):
    """The members of :class:`~messageflux_s3._http.lane.Lane` that a stream uses."""

    eligibility: Eligibility
    pool: ConnectionPool

    def serialize(self, request: LaneRequest, admission: Admission) -> bytes | None: ...

    def check(self, response: LaneResponse) -> None: ...

    def give_up(self, request: LaneRequest, endpoint: Endpoint, error: Exception) -> None: ...


class _Entry:
    """One request of a stream, from the moment it is taken from the iterable until its response is yielded.

    Attributes:
        request: The request.
        response: The response; None until it is complete, or if boto3 must send the request.
        endpoint: The endpoint of the request; None if it is not sent.
        data: The signed request; emptied once the response is complete.
        channel: The connection on which the request is sent.
        is_done: Whether the response can be yielded.
        is_paused: Whether reading the body is paused until memory is available.
        refusals: The number of times that the store has throttled it.
        was_retried: Whether the request was sent again because the server had closed an idle connection.
        reserved_bytes: The share of the stream's memory limit that the entry uses.
    """

    __slots__ = (
        "channel",
        "data",
        "endpoint",
        "is_done",
        "is_paused",
        "refusals",
        "request",
        "reserved_bytes",
        "response",
        "was_retried",
    )

    def __init__(self, request: LaneRequest) -> None:
        self.request = request
        self.response: LaneResponse | None = None
        self.endpoint: Endpoint | None = None
        self.data = b""
        self.channel: _Channel | None = None
        self.is_done = False
        self.is_paused = False
        self.refusals = 0
        self.was_retried = False
        self.reserved_bytes = len(request.body)


class _Channel:
    """A connection while a stream uses it.

    Attributes:
        connection: The connection.
        reader: Its parser.
        entry: The request in flight; None while it is idle.
        outgoing: The bytes of the request that are not sent yet.
        candidates: Addresses to try if the current one fails.
        is_connecting: Whether TCP or TLS is still being set up.
        active_at: The time of its latest event: the beginning of the request, or bytes that were sent or received.
        watched_events: The events that the selector reports for it; 0 while it is not registered.
    """

    __slots__ = (
        "active_at",
        "candidates",
        "connection",
        "entry",
        "is_connecting",
        "outgoing",
        "reader",
        "watched_events",
    )

    def __init__(self, connection: LaneConnection) -> None:
        self.connection = connection
        self.reader = connection.reader
        self.entry: _Entry | None = None
        self.outgoing: memoryview | None = None
        self.candidates: list[SocketAddress] = []
        self.is_connecting = False
        self.active_at = 0.0
        self.watched_events = 0


class Stream:
    """The state of one :meth:`Lane.stream <messageflux_s3._http.lane.Lane.stream>`.

    Args:
        lane: Signs the requests and checks the responses.
        requests: The requests.
        concurrency: The largest number of requests in flight. It begins with at most 64, grows while responses then come faster, and is
            halved where the store throttles.
        max_bytes: Limit for the bodies held in memory.
        body_limit: The largest body to hold in memory.
        headers_if_larger: Yield the headers of a response whose body is larger than ``body_limit``, rather than None.
    """

    def __init__(
        self,
        lane: RequestHandling,
        requests: Iterable[LaneRequest],
        concurrency: int,
        max_bytes: int,
        body_limit: int,
        headers_if_larger: bool = False,
    ) -> None:
        self._lane = lane
        self._pool = lane.pool
        self._requests = iter(requests)
        self._concurrency = RequestWindow(concurrency, FURTHER)
        self._max_bytes = max_bytes
        self._body_limit = min(body_limit, max_bytes)
        self._headers_above = body_limit if headers_if_larger else None
        self._selector = selectors.DefaultSelector()
        self._channels: set[_Channel] = set()
        self._idle: list[_Channel] = []
        self._window: deque[_Entry] = deque()  # in the order of the requests; the first one is yielded next
        self._in_flight = 0
        self._held_bytes = 0
        self._expected_bytes = 0  # estimated size of a response in flight
        self._paused: deque[_Entry] = deque()
        self._delayed: list[
            tuple[float, int, _Entry]
        ] = []  # a heap of throttled requests, by the time at which to send them again
        self._numbers = itertools.count()  # tell apart those of one time
        self._not_before = 0.0  # no request is sent before: the store throttles even one at a time
        self._refused_alone = 0  # refusals in a row of requests that were sent one at a time
        self._asked_at = 0.0  # time of the latest select()
        self._in_flight_then = 0  # before its responses were processed, which arrive many at a time
        self._completed = 0  # requests, counted
        self._admission: Admission | None = None
        self._admitted = ""  # the bucket of the admission
        self._admitted_at = -_JUST_NOW
        self._is_exhausted = False
        self._failure: Exception | None = None
        self._buffer = memoryview(bytearray(_RECEIVE_SIZE))
        self._pid = os.getpid()

    def run(self) -> Generator[tuple[LaneRequest, LaneResponse | None], None, None]:
        """Yield each request with its response, in the order of the requests."""
        window = self._window
        try:
            while True:
                self._start_requests()
                if not window:
                    break
                first = window[0]
                if not first.is_done:
                    self._wait_for(first)
                window.popleft()
                # Keep counting the response's bytes until the caller resumes the iterator: until then the caller may hold the response.
                yield first.request, first.response
                self._held_bytes -= first.reserved_bytes
                if os.getpid() != self._pid:
                    self._abandon_after_fork()
        finally:
            self._close()
        if self._failure is not None:
            raise self._failure

    # -- requests whose responses are taken in any order --------------------------------------------

    def submit(self, request: LaneRequest) -> _Entry:
        """Send a request beside those of the iterable, whatever the concurrency, and return its entry.

        The entry's response is there once ``is_done`` is set. Nothing is read before :meth:`advance` is called.
        """
        entry = _Entry(request)
        self._submit(entry)
        return entry

    def advance(self, first: _Entry | None = None) -> None:
        """Process what has arrived; with an entry, wait until it or another one is done.

        MUST NOT be called in a process forked from the one that made this stream: the connections are the parent's.
        """
        if first is None:
            for key, events in self._select(0):
                self._handle_events(key.data, events)
            self._send_delayed()
        else:
            self._wait_for(first, is_any_enough=True)

    def abandon(self, entry: _Entry) -> None:
        """Do not send a request again whose response is not wanted any more. One that waits for that is done."""
        entry.refusals = _MOST_REFUSALS
        others = [each for each in self._delayed if each[2] is not entry]
        if len(others) < len(self._delayed):
            self._delayed = others
            heapq.heapify(others)
            self._in_flight += 1
            self._mark_done(entry)

    def close(self) -> None:
        """Keep the idle connections, and close those on which a response is outstanding."""
        self._close()

    # -- starting requests -------------------------------------------------------------------------

    def _start_requests(self) -> None:
        """Take requests from the iterable and send them, as far as concurrency and memory allow."""
        window = self._window
        if self._paused:
            self._resume_paused()
        if self._delayed:
            self._send_delayed()
            if self._not_before > time.monotonic():
                return
        concurrency = self._concurrency.size
        # While the first request is delayed, no response is yielded: those after it MUST NOT wait for it.
        most_waiting = 2 * (self._concurrency.most if self._delayed else concurrency)
        while (
            not self._is_exhausted
            and self._in_flight < concurrency
            and len(window) < most_waiting
            and (self._held_bytes + self._in_flight * self._expected_bytes < self._max_bytes or not window)
        ):
            try:
                request = next(self._requests)
            except StopIteration:
                self._is_exhausted = True
                return
            except Exception as failure:  # run() raises this after yielding the responses to the earlier requests
                self._is_exhausted = True
                self._failure = failure
                return
            entry = _Entry(request)
            self._held_bytes += entry.reserved_bytes
            window.append(entry)
            self._submit(entry)

    def _submit(self, entry: _Entry) -> None:
        """Sign a request and send it; if boto3 has to send it, it is done."""
        request = entry.request
        now = time.monotonic()
        if request.bucket != self._admitted or now - self._admitted_at >= _JUST_NOW:
            self._admission = self._lane.eligibility.admission(request.bucket)
            self._admitted, self._admitted_at = request.bucket, now
        admission = self._admission
        if admission is None or admission.endpoint.is_circuit_open():
            entry.is_done = True
            return
        data = self._lane.serialize(request, admission)
        if data is None:
            entry.is_done = True
            return
        entry.endpoint, entry.data = admission.endpoint, data
        self._in_flight += 1
        self._start(entry)

    def _start(self, entry: _Entry) -> None:
        """Send the request on an idle connection or a new one."""
        assert entry.endpoint is not None
        address = entry.endpoint.address
        channel = None if entry.was_retried else self._take(address, entry.request.watch is not None)
        if channel is None:
            channel = _Channel(LaneConnection(address))
        entry.channel = channel
        channel.entry = entry
        channel.active_at = time.monotonic()
        channel.reader.begin(entry.request, self._body_limit)
        channel.outgoing = memoryview(entry.data)
        try:
            if channel.connection.sock is None:
                channel.candidates = self._pool.resolve(address)
                self._connect(channel)
            else:
                self._begin_sending(channel)
        except OSError as error:
            self._fail(channel, error)

    def _take(self, address: Address, is_observed: bool) -> _Channel | None:
        """Return an idle connection of this stream or of the pool; None if there is none.

        For an observed request, one of the pool is checked as in :class:`Lane`: the selector watches only those of this stream.
        """
        for at in range(len(self._idle) - 1, -1, -1):
            if self._idle[at].connection.address == address:
                own = self._idle.pop(at)
                # While the caller was busy, bytes may have arrived that would be taken for the response to this request.
                if time.monotonic() - self._asked_at < _JUST_NOW or not own.connection.has_unasked_bytes():
                    return own
                self._discard(own)
        connection = self._pool.take(address)
        if connection is not None and is_observed and connection.was_closed_by_server():
            connection.close()
            connection = None
        if connection is not None:
            assert connection.sock is not None
            connection.sock.settimeout(0)
            channel = _Channel(connection)
            self._channels.add(channel)
            self._watch(channel, selectors.EVENT_READ)
            return channel
        if self._idle and len(self._channels) >= self._concurrency.size:
            self._discard(self._idle.pop(0))  # it is connected to another host
        return None

    # -- one connection ----------------------------------------------------------------------------

    def _connect(self, channel: _Channel) -> None:
        """Begin to connect to the next of the host's addresses."""
        connection = channel.connection
        while True:
            family, where = channel.candidates.pop(0)
            try:
                sock = socket.socket(family, socket.SOCK_STREAM)
                connection.sock = sock
                sock.settimeout(0)
                self._pool.set_options(sock)
                with suppress(BlockingIOError):
                    sock.connect(where)
                break
            except OSError:
                connection.close()
                if not channel.candidates:
                    raise
        self._channels.add(channel)
        channel.is_connecting = True
        self._watch(channel, selectors.EVENT_WRITE)

    def _continue_connecting(self, channel: _Channel) -> None:
        """Continue after TCP has connected or failed, or when the TLS handshake can continue."""
        connection = channel.connection
        sock = connection.sock
        assert sock is not None
        if not isinstance(sock, ssl.SSLSocket):
            problem = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if problem:
                self._unwatch(channel)
                connection.close()
                if not channel.candidates:
                    raise ConnectionError(problem, os.strerror(problem))
                self._connect(channel)
                return
            secure, host, _ = connection.address
            if secure:
                self._unwatch(channel)
                connection.sock = sock = self._pool.tls_context().wrap_socket(
                    sock, server_hostname=host, do_handshake_on_connect=False
                )
        if isinstance(sock, ssl.SSLSocket):
            try:
                sock.do_handshake()
            except ssl.SSLWantReadError:
                self._watch(channel, selectors.EVENT_READ)
                return
            except ssl.SSLWantWriteError:  # pragma: no cover - a handshake is smaller than the socket's buffer
                self._watch(channel, selectors.EVENT_WRITE)
                return
        channel.is_connecting = False
        channel.candidates = []
        self._begin_sending(channel)

    def _begin_sending(self, channel: _Channel) -> None:
        """Send a request on a connection that exists: observers count no request that ends before its connection is made."""
        assert channel.entry is not None
        request = channel.entry.request
        if request.watch is not None:
            request.watch.sending(len(request.body))
        self._send(channel)

    def _send(self, channel: _Channel) -> None:
        """Send as much of the request as the socket accepts."""
        sock = channel.connection.sock
        assert sock is not None and channel.outgoing is not None
        try:
            while channel.outgoing:
                channel.outgoing = channel.outgoing[sock.send(channel.outgoing) :]
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            self._watch(channel, selectors.EVENT_READ | selectors.EVENT_WRITE)
            return
        channel.outgoing = None
        self._watch(channel, selectors.EVENT_READ)

    def _receive(self, channel: _Channel) -> None:
        """Read the bytes that have arrived."""
        sock = channel.connection.sock
        entry = channel.entry
        assert sock is not None
        if entry is None:  # idle: the server closed it, or sent bytes although no request was waiting for them
            self._idle.remove(channel)
            self._discard(channel)
            return
        reader = channel.reader
        while True:
            try:
                size = sock.recv_into(self._buffer)
            except (BlockingIOError, ssl.SSLWantReadError):
                return
            if not size:
                raise NotForLane("the connection was closed")
            if reader.feed(self._buffer[:size]):
                # If more may have arrived with the response, the connection must not be used before that is known.
                may_hold_more = size == _RECEIVE_SIZE or isinstance(sock, ssl.SSLSocket)
                if may_hold_more and channel.connection.has_unasked_bytes():
                    reader.keeps_alive = False
                self._finish(channel, entry)
                return
            if reader.has_headers and not entry.is_paused and not self._reserve(channel, entry):
                return
            if size < _RECEIVE_SIZE and not isinstance(sock, ssl.SSLSocket):
                return

    def _reserve(self, channel: _Channel, entry: _Entry) -> bool:
        """Reserve memory for the body that is being read, or stop reading until there is enough."""
        wanted = channel.reader.content_length or 0
        if entry.reserved_bytes >= wanted + len(entry.request.body):
            return True
        if self._held_bytes + wanted > self._max_bytes and entry is not self._window[0]:
            entry.is_paused = True
            self._paused.append(entry)
            self._unwatch(channel)
            return False
        entry.reserved_bytes += wanted
        self._held_bytes += wanted
        return True

    def _resume_paused(self) -> None:
        """Resume reading paused bodies: the first request's body always, the others as far as memory allows."""
        while self._paused:
            entry = self._window[0] if self._window and self._window[0].is_paused else self._paused[0]
            channel = entry.channel
            assert channel is not None
            wanted = channel.reader.content_length or 0
            if self._held_bytes + wanted > self._max_bytes and entry is not self._window[0]:
                return
            self._paused.remove(entry)
            entry.is_paused = False
            entry.reserved_bytes += wanted
            self._held_bytes += wanted
            channel.active_at = time.monotonic()
            self._watch(channel, selectors.EVENT_READ)
            sock = channel.connection.sock
            if isinstance(sock, ssl.SSLSocket) and sock.pending():
                self._handle_events(channel, selectors.EVENT_READ)

    def _finish(self, channel: _Channel, entry: _Entry) -> None:
        """Check the complete response, and make the connection available."""
        reader = channel.reader
        response = reader.response()
        self._lane.check(response)
        assert entry.endpoint is not None
        entry.endpoint.record_success()
        self._refused_alone = 0
        if entry.request.watch is not None:
            entry.request.watch.received(response.status, reader.body_size)
        if not self._concurrency.is_settled:
            self._concurrency.record_response(time.monotonic())
        if not response.too_large:
            entry.response = response
            self._expected_bytes = max(len(response.body), self._expected_bytes - (self._expected_bytes >> 3) - 1, 0)
            more = len(entry.request.body) + len(response.body) - entry.reserved_bytes
            entry.reserved_bytes += more
            self._held_bytes += more
        elif self._headers_above is not None and (reader.content_length or 0) > self._headers_above:
            entry.response = response
        self._mark_done(entry)
        self._release(channel)

    def _release(self, channel: _Channel) -> None:
        """Make a connection available once its response is complete, if it can carry another request."""
        channel.entry = None
        if channel.reader.is_complete and channel.reader.keeps_alive and channel.outgoing is None:
            channel.connection.served += 1
            self._idle.append(channel)
        else:
            self._discard(channel)

    def _mark_done(self, entry: _Entry) -> None:
        entry.is_done = True
        entry.channel = None
        entry.data = b""
        self._in_flight -= 1
        self._completed += 1

    def _fail(self, channel: _Channel, error: Exception) -> None:
        """Discard the connection. If the server had closed it while idle, send its request again; else leave the request to boto3."""
        entry = channel.entry
        assert entry is not None
        if (status := getattr(error, "status", None)) in THROTTLED:
            self._refused_alone += self._concurrency.size == 1
            self._concurrency.record_throttling(max(self._in_flight, self._in_flight_then))
            is_overloaded = (
                self._refused_alone > _MOST_REFUSED_ALONE
            )  # it takes nothing, however slowly: leave all to boto3
            if entry.refusals < _MOST_REFUSALS and entry.request.method in IDEMPOTENT_METHODS and not is_overloaded:
                self._delay(channel, entry, status)
                return
        is_stale = channel.connection.served > 0 and may_repeat(entry.request, channel.reader, error)
        self._discard(channel)
        if entry.is_paused:
            entry.is_paused = False
            self._paused.remove(entry)
        if is_stale and not entry.was_retried:
            entry.was_retried = True
            self._start(entry)
            return
        assert entry.endpoint is not None
        self._lane.give_up(entry.request, entry.endpoint, error)
        self._mark_done(entry)

    # -- throttled requests ------------------------------------------------------------------------

    def _delay(self, channel: _Channel, entry: _Entry, status: int) -> None:
        """Keep a request that the store has throttled, to send it again. The connection is used on: it takes a round trip to open one."""
        self._release(channel)
        if entry.request.watch is not None:
            entry.request.watch.failed(status)
        delay = _FIRST_DELAY * 2**entry.refusals * random.uniform(0.5, 1)
        entry.refusals += 1
        entry.channel = None
        self._in_flight -= 1
        due = time.monotonic() + delay
        heapq.heappush(self._delayed, (due, next(self._numbers), entry))
        if self._concurrency.size == 1:
            self._not_before = due

    def _send_delayed(self) -> None:
        """Send the throttled requests again whose time has come, as far as the concurrency allows."""
        while self._delayed and self._in_flight < self._concurrency.size and self._next_delayed() <= time.monotonic():
            self._send_again(heapq.heappop(self._delayed)[2])

    def _send_again(self, entry: _Entry) -> None:
        assert entry.endpoint is not None
        self._in_flight += 1
        if entry.endpoint.is_circuit_open():
            self._mark_done(entry)
        else:
            self._start(entry)

    def _wait_for_delayed(self, first: _Entry, now: float) -> float:
        """Return for how long a throttled request is to wait; send it if its time has come, whatever the concurrency.

        It MUST NOT wait for those in flight: only the response that is waited for has a timeout.
        """
        due, number, _ = next(each for each in self._delayed if each[2] is first)
        wait = max(due, self._not_before) - now
        if wait <= 0:
            self._delayed.remove((due, number, first))
            heapq.heapify(self._delayed)
            self._send_again(first)
        return max(0.0, wait)

    def _next_delayed(self) -> float:
        """Return the time at which the next throttled request may be sent again."""
        return max(self._delayed[0][0], self._not_before)

    # -- waiting -----------------------------------------------------------------------------------

    def _wait_for(self, first: _Entry, *, is_any_enough: bool = False) -> None:
        """Process the events of all requests until this request is done, or any one."""
        pool = self._pool
        since = time.monotonic()
        completed = self._completed
        while not first.is_done and not (is_any_enough and self._completed > completed):
            channel = first.channel
            if first.is_paused:
                self._resume_paused()
            now = time.monotonic()
            left: float | None
            if channel is None:
                left = self._wait_for_delayed(first, now)
                if first.is_done:
                    continue
            else:
                timeout = pool.connect_timeout if channel.is_connecting else pool.read_timeout
                left = None
                if timeout is not None:
                    end = max(channel.active_at + timeout, since + timeout * _GRACE)
                    # What arrived while the caller, or its source of requests, was busy has to be read first.
                    if now >= end and self._asked_at >= end:
                        self._fail(channel, TimeoutError("no response in time"))
                        continue
                    left = max(0.0, end - now)
            if self._delayed and self._in_flight < self._concurrency.size:
                delay = max(0.0, self._next_delayed() - now)
                left = delay if left is None else min(left, delay)
            for key, events in self._select(left):
                self._handle_events(key.data, events)
            self._start_requests()

    def _handle_events(self, channel: _Channel, events: int) -> None:
        if channel.connection.sock is None:
            return  # closed while earlier events of this round were handled
        channel.active_at = self._asked_at
        try:
            if channel.is_connecting:
                self._continue_connecting(channel)
                return
            if events & selectors.EVENT_READ:
                self._receive(channel)
            if channel.outgoing is not None and channel.connection.sock is not None and events & selectors.EVENT_WRITE:
                self._send(channel)
        except (OSError, NotForLane) as error:
            if channel.entry is not None:
                self._fail(channel, error)
            else:
                self._discard(channel)

    # -- the selector ------------------------------------------------------------------------------

    def _select(self, timeout: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._selector.select(timeout)
        self._asked_at = time.monotonic()
        self._in_flight_then = self._in_flight
        return ready

    def _watch(self, channel: _Channel, events: int) -> None:
        if channel.watched_events == events:
            return
        sock = channel.connection.sock
        assert sock is not None
        if channel.watched_events:
            self._selector.modify(sock, events, channel)
        else:
            self._selector.register(sock, events, channel)
        channel.watched_events = events

    def _unwatch(self, channel: _Channel) -> None:
        if channel.watched_events and channel.connection.sock is not None:
            self._selector.unregister(channel.connection.sock)
        channel.watched_events = 0

    def _discard(self, channel: _Channel) -> None:
        self._unwatch(channel)
        self._channels.discard(channel)
        channel.entry = None
        channel.connection.close()

    def _close(self) -> None:
        """Put idle connections back into the pool, and close those on which a response is outstanding."""
        self._concurrency.close()  # first: after an interrupt below, other batches would go without these connections for ever
        if os.getpid() != self._pid:
            self._abandon_after_fork()
        # Close the whole selector first: a signal handler may have raised after a registration, before `watched_events` was set.
        self._selector.close()
        while self._idle:
            channel = self._idle.pop()
            self._channels.discard(channel)
            self._pool.put_back(channel.connection)
        for channel in self._channels:
            channel.connection.close()
        self._channels.clear()
        for entry in self._window:
            if entry.request.watch is not None:
                entry.request.watch.abandoned()

    def _abandon_after_fork(self) -> None:
        """Leave the remaining requests to boto3: in a forked child the connections belong to the parent."""
        for channel in self._channels:
            channel.watched_events = 0  # do not unregister: the parent and this process share the selector
            channel.connection.close()
        self._channels.clear()
        self._idle.clear()
        self._paused.clear()
        self._delayed.clear()
        for entry in self._window:
            if not entry.is_done:
                self._mark_done(entry)
        self._in_flight = 0  # the delayed ones were not counted
