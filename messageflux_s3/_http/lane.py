"""The fast lane: small requests at the speed of the wire, beside boto3 and never instead of it.

A lane signs requests itself, writes them to plain sockets and reads the answers with llhttp. It hands over
successes (and 404s); whatever else happens, its answer is None, which means: ask boto3, whose answer, and
whose error, counts. Where it may go, and when it must not be used, is for :mod:`~messageflux_s3._http.eligibility` to say.
A lane has no threads: a single request blocks its caller, and many are driven by whoever consumes the
answers. It knows requests and answers, not what they are good for.
"""

from __future__ import annotations

import logging
import os
import selectors
import socket
import ssl
import threading
import time
import weakref
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import BotoCoreError
from botocore.httpsession import create_urllib3_context, get_cert_path

from .eligibility import Endpoint, Gate
from .http1 import BODY_LIMIT, LaneRequest, LaneResponse, Reader, Refused, checksum_holds, write_request

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = ["BODY_LIMIT", "Lane", "LaneRequest", "LaneResponse", "LaneStatus", "Pending"]

logger = logging.getLogger("messageflux_s3")

_RECEIVE_SIZE = 128 * 1024
_HEADERS_SIZE = 8 * 1024
_IDLE_SECONDS = 20.0
_ADDRESSES_HOLD = 30.0
_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE"})

_Address = tuple[socket.AddressFamily, tuple[object, ...]]


@dataclass(frozen=True, slots=True)
class LaneStatus:
    """Which way bulk work goes, and why.

    Attributes:
        open: Whether the fast lane is in use.
        reason: Why, in a few words.
    """

    open: bool
    reason: str


class _Wire:
    """One connection, and what is under way on it."""

    __slots__ = (
        "address",
        "candidates",
        "idle_since",
        "outgoing",
        "reader",
        "served",
        "shaking",
        "slot",
        "sock",
        "watched",
    )

    def __init__(self, address: tuple[bool, str, int]) -> None:
        self.address = address
        self.reader = Reader()
        self.sock: socket.socket | ssl.SSLSocket | None = None
        self.served = 0
        self.idle_since = 0.0
        # For streams only:
        self.slot: _Slot | None = None
        self.outgoing: memoryview | None = None
        self.candidates: list[_Address] = []
        self.shaking = False
        self.watched = 0

    def close(self) -> None:
        sock, self.sock = self.sock, None
        if sock is not None:
            with suppress(OSError):
                sock.close()


class _Slot:
    """One request of a stream, waiting for its turn to be handed over."""

    __slots__ = (
        "data",
        "endpoint",
        "is_done",
        "is_paused",
        "request",
        "reserved",
        "response",
        "retried",
        "wire",
    )

    def __init__(self, request: LaneRequest) -> None:
        self.request = request
        self.response: LaneResponse | None = None
        self.endpoint: Endpoint | None = None
        self.data = b""
        self.wire: _Wire | None = None
        self.is_done = False
        self.is_paused = False
        self.retried = False
        self.reserved = len(request.body)


class Lane:
    """The fast lane beside one boto3 client. Safe to share between threads; not used in a process forked
    after it was made.

    Args:
        client: The boto3 client.
    """

    def __init__(self, client: S3Client) -> None:
        self.gate = Gate(client)
        settings: Any = client.meta.config
        self.connect_timeout = float(settings.connect_timeout)
        self.read_timeout = float(settings.read_timeout)
        self._max_idle = max(64, settings.max_pool_connections)
        s3 = settings.s3 or {}
        self._sign_body_over_tls = s3.get("payload_signing_enabled") is not False
        self._verify_checksums = settings.response_checksum_validation == "when_supported"
        self._idle: deque[_Wire] = deque()
        self._addresses: dict[tuple[bool, str, int], tuple[float, list[_Address]]] = {}
        self._aside = threading.local()
        self._tls: ssl.SSLContext | None = None
        self._tls_lock = threading.Lock()
        self._finalizer = weakref.finalize(self, _close_all, self._idle)

    # -- which way ---------------------------------------------------------------------------------

    @property
    def status(self) -> LaneStatus:
        """Whether the lane is in use, and why."""
        reason = self.gate.shut_reason()
        if reason is not None:
            return LaneStatus(open=False, reason=reason)
        hosts = self.gate.hosts
        if not hosts:
            return LaneStatus(open=False, reason=f"not yet open: {self.gate.reason_not_learned}")
        return LaneStatus(open=True, reason=f"requests go straight to {', '.join(hosts)}")

    def is_open_for(self, bucket: str) -> bool:
        """Whether a request to this bucket would be sent now, rather than left to boto3."""
        return self.gate.endpoint(bucket) is not None

    def shut(self, reason: str) -> None:
        """Shut the lane for good; everything goes through boto3 from now on."""
        self.gate.shut(reason)
        self.close()

    def close(self) -> None:
        """Close the connections that wait for a next request. A later request opens others."""
        _close_all(self._idle)

    @contextmanager
    def left_aside(self) -> Iterator[None]:
        """In this block and on this thread everything is left to boto3."""
        was_on = getattr(self._aside, "is_on", False)
        try:
            self._aside.is_on = True
            yield
        finally:
            self._aside.is_on = was_on

    # -- one request -------------------------------------------------------------------------------

    def send(
        self,
        request: LaneRequest,
        *,
        body_limit: int = BODY_LIMIT,
        headers_if_larger: bool = False,
        target: memoryview | None = None,
    ) -> LaneResponse | None:
        """Send one request and wait for its answer.

        Args:
            request: The request.
            body_limit: The largest body to take into memory.
            target: Where the body of a success goes, instead of into the answer; it must be as long as this.
            headers_if_larger: Return the headers of an answer with a larger body (``too_large``), rather than
                None.

        Returns:
            A success, a 404, or None: ask boto3.

        Requests:
            1, or none where the lane is shut; a second one if a kept-alive connection turned out to be
            closed.
        """
        prepared = self.prepare(request)
        if prepared is None:
            return None
        endpoint, data = prepared
        wire = self._take(endpoint.address)
        if wire is not None:
            try:
                response = self._exchange(wire, request, data, body_limit, target)
            except (OSError, Refused) as error:
                wire.close()
                # A kept-alive connection may have been closed by the server while it waited; no answer,
                # nothing done.
                is_stale = not wire.reader.has_begun and not isinstance(error, TimeoutError)
                if not is_stale or request.method not in _IDEMPOTENT:
                    self.give_up(request, endpoint, error)
                    return None
            except BaseException:
                wire.close()
                raise
            else:
                return self._finish(wire, response, endpoint, headers_if_larger)
        wire = _Wire(endpoint.address)
        try:
            self._open(wire)
            response = self._exchange(wire, request, data, body_limit, target)
        except (OSError, Refused) as error:
            wire.close()
            self.give_up(request, endpoint, error)
            return None
        except BaseException:
            wire.close()
            raise
        return self._finish(wire, response, endpoint, headers_if_larger)

    def begin(self, request: LaneRequest, *, body_limit: int = BODY_LIMIT) -> Pending | None:
        """Send one request, and leave its answer for later.

        Args:
            request: The request.
            body_limit: The largest body to take into memory.

        Returns:
            The answer that is to come, or None: ask boto3.

        Requests:
            1, or none where the lane is shut
        """
        prepared = self.prepare(request)
        if prepared is None:
            return None
        endpoint, data = prepared
        wire = self._take(endpoint.address)
        is_fresh = wire is None
        try:
            if wire is None:
                wire = _Wire(endpoint.address)
                self._open(wire)
            assert wire.sock is not None
            wire.sock.sendall(data)
        except OSError as error:
            if wire is not None:
                wire.close()
            if is_fresh:
                self.give_up(request, endpoint, error)
                return None
            wire = None  # stale: result() sends it again
        return Pending(self, request, endpoint, wire, body_limit)

    def prepare(self, request: LaneRequest) -> tuple[Endpoint, bytes] | None:
        """Where the request goes, and its bytes; None where it does not go through the lane."""
        gate = self.gate
        endpoint = gate.endpoint(request.bucket)
        if endpoint is None or getattr(self._aside, "is_on", False):
            return None
        try:
            identity = gate.identity()
            if identity is None:
                return None
            data = write_request(
                request,
                endpoint,
                identity,
                sign_body=self._sign_body_over_tls or not endpoint.secure,
                verify_checksum=self._verify_checksums,
            )
        except (Refused, BotoCoreError) as error:
            logger.debug("lane: %r is left to boto3: %s", request, error)
            return None
        return endpoint, data

    def _exchange(
        self, wire: _Wire, request: LaneRequest, data: bytes, body_limit: int, target: memoryview | None
    ) -> LaneResponse:
        """Send and receive on a connection of which nobody else knows."""
        assert wire.sock is not None
        wire.sock.sendall(data)
        return self._receive(wire, request, body_limit, target)

    def _receive(
        self, wire: _Wire, request: LaneRequest, body_limit: int, target: memoryview | None = None
    ) -> LaneResponse:
        sock, reader = wire.sock, wire.reader
        assert sock is not None
        reader.begin(request, body_limit, target)
        while True:
            rest = reader.rest_of_target
            if rest is not None:
                count = sock.recv_into(rest)
                if not count:
                    raise Refused("the connection was closed")
                if reader.filled(count):
                    break
                continue
            size = _HEADERS_SIZE if target is not None else max(_RECEIVE_SIZE, min(reader.remaining, 1 << 20))
            received = sock.recv(size)
            if not received:
                raise Refused("the connection was closed")
            if reader.feed(received):
                break
        response = reader.response()
        self.check(response)
        return response

    def check(self, response: LaneResponse) -> None:
        """Refuse a body that does not agree with the checksum that came with it."""
        if self._verify_checksums and response.status == 200 and response.body and not checksum_holds(response):
            raise Refused("the body does not agree with its checksum")

    def _finish(
        self, wire: _Wire, response: LaneResponse, endpoint: Endpoint, headers_if_larger: bool
    ) -> LaneResponse | None:
        """Free the connection and hand the answer over.

        Not inside a ``try`` that closes the connection: once it is back among the idle ones it may be another thread's.
        """
        if wire.reader.keeps_alive:
            wire.served += 1
            self._put_back(wire)
        else:
            wire.close()
        endpoint.succeeded()
        return response if headers_if_larger or not response.too_large else None

    def give_up(self, request: LaneRequest, endpoint: Endpoint, error: Exception) -> None:
        """Note that boto3 has to be asked."""
        endpoint.refused()
        logger.debug("lane: %r is asked again through boto3: %s", request, error)

    # -- connections -------------------------------------------------------------------------------

    def _take(self, address: tuple[bool, str, int]) -> _Wire | None:
        """A connection that waits for a next request, if there is one."""
        oldest = time.monotonic() - _IDLE_SECONDS
        for _ in range(len(self._idle)):
            try:
                wire = self._idle.pop()
            except IndexError:  # pragma: no cover - another thread took the last one just now
                return None
            if wire.idle_since < oldest or wire.sock is None:
                wire.close()
            elif wire.address == address:
                if wire.sock is not None and wire.sock.gettimeout() != self.read_timeout:
                    wire.sock.settimeout(self.read_timeout)
                return wire
            else:
                self._idle.appendleft(wire)
        return None

    def _put_back(self, wire: _Wire) -> None:
        wire.idle_since = time.monotonic()
        if len(self._idle) < self._max_idle:
            self._idle.append(wire)
        else:
            wire.close()

    def _open(self, wire: _Wire) -> None:
        secure, host, port = wire.address
        sock = socket.create_connection((host, port), self.connect_timeout)
        wire.sock = sock
        self._set_options(sock)
        if secure:
            wire.sock = self.tls_context().wrap_socket(sock, server_hostname=host)
        wire.sock.settimeout(self.read_timeout)

    def _set_options(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for option in self.gate.socket_options:
            sock.setsockopt(*option)

    def tls_context(self) -> ssl.SSLContext:
        """A context that trusts whom the client trusts, made once."""
        with self._tls_lock:
            if self._tls is None:
                context: ssl.SSLContext = create_urllib3_context()
                verify = self.gate.verify
                if verify:
                    trusted = str(get_cert_path(cast("bool", verify)))
                    is_folder = Path(trusted).is_dir()
                    context.load_verify_locations(None if is_folder else trusted, trusted if is_folder else None)
                    context.verify_mode = ssl.CERT_REQUIRED
                    context.check_hostname = True
                else:
                    context.check_hostname = False
                    context.verify_mode = ssl.CERT_NONE
                self._tls = context
            return self._tls

    def _resolve(self, address: tuple[bool, str, int]) -> list[_Address]:
        """The addresses of a host, looked up every half minute at the most, the next one first each time."""
        now = time.monotonic()
        known = self._addresses.get(address)
        if known is None or now - known[0] > _ADDRESSES_HOLD:
            found = socket.getaddrinfo(address[1], address[2], type=socket.SOCK_STREAM)
            known = (now, [(family, where) for family, _, _, _, where in found])
            self._addresses[address] = known
        addresses = known[1]
        self._addresses[address] = (known[0], addresses[1:] + addresses[:1])  # never changed in place: threads share it
        return [*addresses]

    # -- many requests -----------------------------------------------------------------------------

    def stream(
        self,
        requests: Iterable[LaneRequest],
        *,
        concurrency: int = 64,
        max_bytes: int = 256 * 1024 * 1024,
        body_limit: int = BODY_LIMIT,
    ) -> Generator[tuple[LaneRequest, LaneResponse | None], None, None]:
        """Send many requests, several at a time, and hand over their answers in the order of the requests.

        Nothing moves between two steps of the iterator but what the operating system buffers: there is no
        thread. Requests are taken from the iterable as there is room for them; if it raises, what is under
        way is handed over first. Closing the iterator closes the connections with an answer under way.

        Args:
            requests: The requests, any number.
            concurrency: How many are under way at once at the most.
            max_bytes: How many bytes of bodies are held, but for one body and one read of each connection.
            body_limit: The largest body to take into memory; a larger one is left to boto3.

        Returns:
            Each request with its answer, or with None: ask boto3.

        Requests:
            1 per request
        """
        return _Stream(self, requests, concurrency, max_bytes, min(body_limit, max_bytes)).run()


class Pending:
    """The answer to a request that was sent by :meth:`Lane.begin`."""

    __slots__ = ("_body_limit", "_endpoint", "_lane", "_request", "_wire")

    def __init__(
        self, lane: Lane, request: LaneRequest, endpoint: Endpoint, wire: _Wire | None, body_limit: int
    ) -> None:
        self._lane = lane
        self._request = request
        self._endpoint = endpoint
        self._wire = wire
        self._body_limit = body_limit

    def result(self) -> LaneResponse | None:
        """Wait for the answer: a success, a 404, or None: ask boto3."""
        lane, request, limit = self._lane, self._request, self._body_limit
        wire, self._wire = self._wire, None
        if wire is None or lane.gate.is_forked():
            return lane.send(request, body_limit=limit)
        try:
            response = lane._receive(wire, request, limit)
        except (OSError, Refused) as error:
            wire.close()
            if wire.served and not wire.reader.has_begun and not isinstance(error, TimeoutError):
                return lane.send(request, body_limit=limit)
            lane.give_up(request, self._endpoint, error)
            return None
        except BaseException:
            wire.close()
            raise
        return lane._finish(wire, response, self._endpoint, headers_if_larger=False)

    def close(self) -> None:
        """Give the answer up, unless it was taken."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()


class _Stream:
    """The state of one :meth:`Lane.stream`."""

    def __init__(
        self, lane: Lane, requests: Iterable[LaneRequest], concurrency: int, max_bytes: int, body_limit: int
    ) -> None:
        self._lane = lane
        self._requests = iter(requests)
        self._concurrency = concurrency
        self._max_bytes = max_bytes
        self._body_limit = body_limit
        self._selector = selectors.DefaultSelector()
        self._wires: set[_Wire] = set()
        self._idle: list[_Wire] = []
        self._window: deque[_Slot] = deque()
        self._lookahead = 2 * concurrency
        self._under_way = 0
        self._held = 0
        self._typical = 0  # what an answer that is under way will probably take
        self._paused: deque[_Slot] = deque()
        self._is_exhausted = False
        self._failure: Exception | None = None
        self._buffer = memoryview(bytearray(_RECEIVE_SIZE))
        self._pid = os.getpid()

    def run(self) -> Generator[tuple[LaneRequest, LaneResponse | None], None, None]:
        window = self._window
        try:
            while True:
                self._fill()
                if not window:
                    break
                head = window[0]
                if not head.is_done:
                    self._wait_for(head)
                window.popleft()
                # Room is made only once the consumer comes back: what was handed over is in the consumer's
                # hands until then.
                yield head.request, head.response
                self._held -= head.reserved
                if os.getpid() != self._pid:
                    self._forget_after_fork()
        finally:
            self._close()
        if self._failure is not None:
            raise self._failure

    # -- filling -----------------------------------------------------------------------------------

    def _fill(self) -> None:
        window = self._window
        if self._paused:
            self._resume()
        while (
            not self._is_exhausted
            and self._under_way < self._concurrency
            and len(window) < self._lookahead
            and (self._held + self._under_way * self._typical < self._max_bytes or not window)
        ):
            try:
                request = next(self._requests)
            except StopIteration:
                self._is_exhausted = True
                return
            except Exception as failure:  # raised by run(), after what is under way
                self._is_exhausted = True
                self._failure = failure
                return
            slot = _Slot(request)
            self._held += slot.reserved
            window.append(slot)
            prepared = self._lane.prepare(request)
            if prepared is None:
                slot.is_done = True
                continue
            slot.endpoint, slot.data = prepared
            self._under_way += 1
            self._begin(slot)

    def _begin(self, slot: _Slot) -> None:
        """Put the request on a connection: one that is free, or a new one."""
        assert slot.endpoint is not None
        address = slot.endpoint.address
        wire = None if slot.retried else self._take(address)
        if wire is None:
            wire = _Wire(address)
        slot.wire = wire
        wire.slot = slot
        wire.reader.begin(slot.request, self._body_limit)
        wire.outgoing = memoryview(slot.data)
        try:
            if wire.sock is None:
                wire.candidates = self._lane._resolve(address)
                self._connect(wire)
            else:
                self._push(wire)
        except OSError as error:
            self._broken(wire, error)

    def _take(self, address: tuple[bool, str, int]) -> _Wire | None:
        for at in range(len(self._idle) - 1, -1, -1):
            if self._idle[at].address == address:
                return self._idle.pop(at)
        wire = self._lane._take(address)
        if wire is not None:
            assert wire.sock is not None
            wire.sock.settimeout(0)
            self._wires.add(wire)
            self._watch(wire, selectors.EVENT_READ)
            return wire
        if self._idle and len(self._wires) >= self._concurrency:
            self._drop(self._idle.pop(0))
        return None

    # -- one connection ----------------------------------------------------------------------------

    def _connect(self, wire: _Wire) -> None:
        """Begin to connect to the next of the host's addresses."""
        while True:
            family, where = wire.candidates.pop(0)
            try:
                sock = socket.socket(family, socket.SOCK_STREAM)
                wire.sock = sock
                sock.settimeout(0)
                self._lane._set_options(sock)
                with suppress(BlockingIOError):
                    sock.connect(where)
                break
            except OSError:
                wire.close()
                if not wire.candidates:
                    raise
        self._wires.add(wire)
        wire.shaking = True
        self._watch(wire, selectors.EVENT_WRITE)

    def _connected(self, wire: _Wire) -> None:
        """Go on once the connection is made, or was refused."""
        sock = wire.sock
        assert sock is not None
        if not isinstance(sock, ssl.SSLSocket):
            problem = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if problem:
                self._unwatch(wire)
                wire.close()
                if not wire.candidates:
                    raise ConnectionError(problem, os.strerror(problem))
                self._connect(wire)
                return
            if wire.address[0]:
                self._unwatch(wire)
                wire.sock = sock = self._lane.tls_context().wrap_socket(
                    sock, server_hostname=wire.address[1], do_handshake_on_connect=False
                )
        if isinstance(sock, ssl.SSLSocket):
            try:
                sock.do_handshake()
            except ssl.SSLWantReadError:
                self._watch(wire, selectors.EVENT_READ)
                return
            except ssl.SSLWantWriteError:  # pragma: no cover - a handshake is smaller than the socket's buffer
                self._watch(wire, selectors.EVENT_WRITE)
                return
        wire.shaking = False
        wire.candidates = []
        self._push(wire)

    def _push(self, wire: _Wire) -> None:
        """Send what is left to send, as far as it goes."""
        assert wire.sock is not None and wire.outgoing is not None
        try:
            while wire.outgoing:
                wire.outgoing = wire.outgoing[wire.sock.send(wire.outgoing) :]
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            self._watch(wire, selectors.EVENT_READ | selectors.EVENT_WRITE)
            return
        wire.outgoing = None
        self._watch(wire, selectors.EVENT_READ)

    def _pull(self, wire: _Wire) -> None:
        """Receive what there is."""
        sock = wire.sock
        slot = wire.slot
        assert sock is not None
        if slot is None:  # idle: the server closed it, or sent what nobody asked for
            self._idle.remove(wire)
            self._drop(wire)
            return
        reader = wire.reader
        while True:
            try:
                size = sock.recv_into(self._buffer)
            except (BlockingIOError, ssl.SSLWantReadError):
                return
            if not size:
                raise Refused("the connection was closed")
            if reader.feed(self._buffer[:size]):
                self._finish(wire, slot)
                return
            if reader.headers_are_in and not slot.is_paused and not self._make_room(wire, slot):
                return
            if size < _RECEIVE_SIZE and not isinstance(sock, ssl.SSLSocket):
                return

    def _make_room(self, wire: _Wire, slot: _Slot) -> bool:
        """Reserve memory for the body that was announced, or stop reading until there is room."""
        wanted = wire.reader.announced or 0
        if slot.reserved >= wanted + len(slot.request.body):
            return True
        if self._held + wanted > self._max_bytes and slot is not self._window[0]:
            slot.is_paused = True
            self._paused.append(slot)
            self._unwatch(wire)
            return False
        slot.reserved += wanted
        self._held += wanted
        return True

    def _resume(self) -> None:
        """Let paused answers go on: the one that is waited for in any case, others as there is room."""
        while self._paused:
            slot = self._window[0] if self._window and self._window[0].is_paused else self._paused[0]
            wire = slot.wire
            assert wire is not None
            wanted = wire.reader.announced or 0
            if self._held + wanted > self._max_bytes and slot is not self._window[0]:
                return
            self._paused.remove(slot)
            slot.is_paused = False
            slot.reserved += wanted
            self._held += wanted
            self._watch(wire, selectors.EVENT_READ)
            if isinstance(wire.sock, ssl.SSLSocket) and wire.sock.pending():
                self._ready(wire, selectors.EVENT_READ)

    def _finish(self, wire: _Wire, slot: _Slot) -> None:
        """The answer is whole: judge it, and free the connection."""
        reader = wire.reader
        response = reader.response()
        self._lane.check(response)
        assert slot.endpoint is not None
        slot.endpoint.succeeded()
        if not response.too_large:
            slot.response = response
            self._typical = max(len(response.body), self._typical - (self._typical >> 3) - 1, 0)
            more = len(slot.request.body) + len(response.body) - slot.reserved
            slot.reserved += more
            self._held += more
        self._done(slot)
        wire.slot = None
        if reader.keeps_alive and wire.outgoing is None:
            wire.served += 1
            self._idle.append(wire)
        else:
            self._drop(wire)

    def _done(self, slot: _Slot) -> None:
        slot.is_done = True
        slot.wire = None
        slot.data = b""
        self._under_way -= 1

    def _broken(self, wire: _Wire, error: Exception) -> None:
        """The connection is of no more use: try another one if it was merely stale, else leave the request to
        boto3.
        """
        slot = wire.slot
        assert slot is not None
        is_stale = wire.served > 0 and not wire.reader.has_begun and not isinstance(error, TimeoutError)
        self._drop(wire)
        if slot.is_paused:
            slot.is_paused = False
            self._paused.remove(slot)
        if is_stale and not slot.retried and slot.request.method in _IDEMPOTENT:
            slot.retried = True
            self._begin(slot)
            return
        assert slot.endpoint is not None
        self._lane.give_up(slot.request, slot.endpoint, error)
        self._done(slot)

    # -- waiting -----------------------------------------------------------------------------------

    def _wait_for(self, head: _Slot) -> None:
        """Move everything that can be moved until this answer is there."""
        lane = self._lane
        since = time.monotonic()
        progress: object = None
        while not head.is_done:
            wire = head.wire
            assert wire is not None
            if head.is_paused:
                self._resume()
            now = time.monotonic()
            mark = (wire, wire.shaking, wire.reader.remaining, wire.outgoing and len(wire.outgoing))
            if mark != progress:
                since, progress = now, mark
            patience = lane.connect_timeout if wire.shaking else lane.read_timeout
            left = since + patience - now
            if left <= 0:
                self._broken(wire, TimeoutError("no answer in time"))
                continue
            for key, events in self._selector.select(left):
                self._ready(key.data, events)
            self._fill()

    def _ready(self, wire: _Wire, events: int) -> None:
        if wire.sock is None:
            return  # closed while the events of this round were handled
        try:
            if wire.shaking:
                self._connected(wire)
                return
            if events & selectors.EVENT_READ:
                self._pull(wire)
            if wire.outgoing is not None and wire.sock is not None and events & selectors.EVENT_WRITE:
                self._push(wire)
        except (OSError, Refused) as error:
            if wire.slot is not None:
                self._broken(wire, error)
            else:
                self._drop(wire)

    # -- the selector ------------------------------------------------------------------------------

    def _watch(self, wire: _Wire, events: int) -> None:
        if wire.watched == events:
            return
        assert wire.sock is not None
        if wire.watched:
            self._selector.modify(wire.sock, events, wire)
        else:
            self._selector.register(wire.sock, events, wire)
        wire.watched = events

    def _unwatch(self, wire: _Wire) -> None:
        if wire.watched and wire.sock is not None:
            self._selector.unregister(wire.sock)
        wire.watched = 0

    def _drop(self, wire: _Wire) -> None:
        self._unwatch(wire)
        self._wires.discard(wire)
        wire.slot = None
        wire.close()

    def _close(self) -> None:
        """Give free connections back and close those with an answer under way."""
        if os.getpid() != self._pid:
            self._forget_after_fork()
        # First, and as a whole: what is registered there need not agree with `watched`, if a signal handler raised between the two.
        self._selector.close()
        while self._idle:
            wire = self._idle.pop()
            wire.watched = 0
            self._wires.discard(wire)
            self._lane._put_back(wire)
        for wire in self._wires:
            wire.close()
        self._wires.clear()

    def _forget_after_fork(self) -> None:
        """In a forked child the connections are the parent's: leave everything not yet handed over to boto3."""
        for wire in self._wires:
            wire.watched = 0  # the selector is shared with the parent, and stays as it is
            wire.close()
        self._wires.clear()
        self._idle.clear()
        self._paused.clear()
        for slot in self._window:
            if not slot.is_done:
                self._done(slot)


def _close_all(wires: deque[_Wire]) -> None:
    while wires:
        try:
            wires.pop().close()
        except IndexError:  # pragma: no cover - another thread took the last one just now
            return
