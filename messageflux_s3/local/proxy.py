"""A proxy on the loopback interface that forwards HTTP requests to a server, and can break, delay or change each of them.

:class:`Proxy` has the mechanism only. A subclass decides in :meth:`Proxy.choose` what happens to each request, by a :class:`Treatment`.

The head of a request is forwarded unchanged, including the signed Host. A request is read completely before it is forwarded, and a
response before it is sent back.
"""

from __future__ import annotations

import os
import re
import socket
import struct
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Literal, TypeAlias

_PIECE = 1 << 18


@dataclass(frozen=True)
class ProxyRequest:
    """One request, as it was received.

    Attributes:
        method: GET, PUT, …
        target: Path and query, as they were sent.
        head: Request line and headers, with the empty line at the end.
        body: The body, as it was sent (with the marks of its chunks); empty while only the head was read.
    """

    method: str
    target: str
    head: bytes
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """Return the value of a header, or None."""
        return _header(self.head, name)


@dataclass(frozen=True)
class ProxyResponse:
    """One response.

    Attributes:
        head: Status line and headers, with the empty line at the end.
        body: The body.
    """

    head: bytes
    body: bytes = b""

    @property
    def status(self) -> int:
        """The status code; 0 if the status line is malformed."""
        found = re.match(rb"HTTP/1\.\d (\d{3})", self.head)
        return int(found[1]) if found else 0

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300

    @property
    def raw(self) -> bytes:
        """Head and body."""
        return self.head + self.body

    def header(self, name: str) -> str | None:
        """Return the value of a header, or None."""
        return _header(self.head, name)

    def without(self, name: str) -> ProxyResponse:
        """Return the response without a header."""
        return ProxyResponse(re.sub(rb"(?im)^" + re.escape(name.encode()) + rb":[^\n]*\n", b"", self.head), self.body)

    def with_body(self, body: bytes) -> ProxyResponse:
        """Return the response with another body, framed by Content-Length."""
        plain = self.without("Content-Length").without("Transfer-Encoding")
        return ProxyResponse(plain.head[:-2] + b"Content-Length: %d\r\n\r\n" % len(body), body)


def error_response(status: int, code: str, *headers: str, message: str = "Injected by the proxy.") -> ProxyResponse:
    """Return a response with S3's error document.

    Args:
        status: The status code.
        code: S3's error code.
        headers: Further headers, as ``"Name: value"``.
        message: The text of the document's message.
    """
    body = f"<?xml version='1.0' encoding='UTF-8'?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    lines = [f"HTTP/1.1 {status} {code}", "Content-Type: application/xml", "x-amz-request-id: PROXY", *headers]
    return ProxyResponse("\r\n".join([*lines, "", ""]).encode()).with_body(body.encode())


def whole(response: ProxyResponse) -> bytes:
    """Return all bytes of the response: what a treatment sends by default."""
    return response.raw


@dataclass(frozen=True)
class Treatment:
    """What the proxy does with one request. By default it forwards the request and returns the response.

    ``change_request``, ``instead`` and ``change_response`` may return None: then the treatment does not apply, and the request is handled
    without it.

    Attributes:
        kind: Its name, for records.
        reset_at: Reset the connection after this share of the request's body, 0 to 1. Nothing is forwarded.
        after_reset: Called after that reset.
        is_forwarded: Whether the server receives the request. If not, and without ``instead``, there is no response.
        change_request: Returns the request to forward.
        instead: Returns a response in place of the server's; the server receives nothing.
        change_response: Returns the response to send, from the request and the server's response.
        delay: Seconds to wait before the response is sent, or while it is sent in pieces.
        pieces: The number of pieces in which the response is sent.
        send: Returns the bytes to send for the response.
        ending: Whether the connection is then kept open, closed or reset.
    """

    kind: str = "none"
    reset_at: float | None = None
    after_reset: Callable[[], object] | None = None
    is_forwarded: bool = True
    change_request: Callable[[ProxyRequest], ProxyRequest | None] | None = None
    instead: Callable[[ProxyRequest], ProxyResponse | None] | None = None
    change_response: Callable[[ProxyRequest, ProxyResponse], ProxyResponse | None] | None = None
    delay: float = 0.0
    pieces: int = 1
    send: Callable[[ProxyResponse], bytes] = whole
    ending: Literal["keep", "close", "reset"] = "keep"


UNTREATED = Treatment()
"""Forward the request, and return the response."""

Report: TypeAlias = Callable[[bool, int], object]
"""Called before the proxy responds, with whether the treatment applied, and the server's status (0 if the server sent no response)."""


class Proxy(ABC):
    """A running proxy. Its threads are daemons.

    Args:
        upstream: The server's host and port.
        address: The proxy's host and port; port 0 for a free one.

    Attributes:
        endpoint_url: The proxy's URL, ``http://127.0.0.1:port``.
    """

    def __init__(self, upstream: tuple[str, int], address: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        self.upstream = upstream
        self._over = threading.Event()
        self._clients: set[socket.socket] = set()
        self._clients_mutex = threading.Lock()
        self._address = address
        self._listen()
        self._address = self._listener.getsockname()
        self.endpoint_url = f"http://127.0.0.1:{self._address[1]}"

    @abstractmethod
    def choose(self, request: ProxyRequest) -> tuple[Treatment, Report]:
        """Return the treatment of a request, whose body has not been read yet, and the function to report to."""

    def forward(self, request: ProxyRequest) -> ProxyResponse | None:
        """Send a request to the server; return the response, or None if the connection failed or was closed without one."""
        head = re.sub(rb"(?im)^(Connection|Expect):[^\n]*\n", b"", request.head)
        received = bytearray()
        try:
            with socket.create_connection(self.upstream) as server:
                server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                server.sendall(head[:-2] + b"Connection: close\r\n\r\n" + request.body)
                while piece := server.recv(_PIECE):
                    received += piece
        except OSError:
            if b"\r\n\r\n" not in received:
                return None
        head, end, body = bytes(received).partition(b"\r\n\r\n")
        return ProxyResponse(head + end, body).without("Connection") if end else None

    def close(self) -> None:
        """Stop the proxy, including delayed responses and open connections."""
        self._over.set()
        self._stop_listening()
        with self._clients_mutex:
            for connection in self._clients:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def close_in_child(self) -> None:
        """Close a forked child's copies of the sockets. The parent's proxy goes on."""
        self._clients_mutex = threading.Lock()  # a thread of the parent's may have held it
        self._listener.close()
        for connection in self._clients:
            connection.close()
        self._clients = set()

    def _bound(self) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.bind(self._address)
        return sock

    def _listen(self) -> None:
        self._listener = self._bound()
        self._listener.listen(512)
        threading.Thread(target=self._accept, args=(self._listener,), name="s3-proxy", daemon=True).start()

    def _stop_listening(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with self._clients_mutex:
                self._clients.add(connection)
            threading.Thread(target=self._serve, args=(connection,), name="s3-proxy", daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            connection = _ClientConnection(sock)
            while self._handle(connection):
                pass
        except (_Disconnected, OSError):
            pass
        finally:
            with self._clients_mutex:
                self._clients.discard(sock)
            sock.close()

    def _handle(self, connection: _ClientConnection) -> bool:
        """Handle one request and its response; return whether the connection stays open."""
        head = (
            connection.read_until(b"\r\n\r\n") if connection.first_byte().isalpha() else b""
        )  # TLS does not begin with a letter
        line = re.match(rb"([A-Z]+) (\S+) HTTP/", head)
        if line is None:
            connection.sock.sendall(error_response(400, "BadRequest", message="This is not an HTTP request.").raw)
            return False
        request = ProxyRequest(line[1].decode("latin-1"), line[2].decode("latin-1"), head)
        treatment, report = self.choose(request)
        if treatment.reset_at is not None:
            with _reporting_a_disconnect(report):
                connection.read_exactly(int(treatment.reset_at * int(request.header("Content-Length") or 0)))
            report(True, 0)
            connection.reset()
            if treatment.after_reset is not None:
                treatment.after_reset()
            return False
        with _reporting_a_disconnect(report):
            request = ProxyRequest(request.method, request.target, head, _read_body(connection, request))
        treatment, response, status = self._response(request, treatment)
        if response is None and treatment.is_forwarded:  # the server gave none
            report(False, 0)
            connection.reset()
            return False
        report(treatment is not UNTREATED, status)
        return self._send(connection, request, response, treatment)

    def _response(self, request: ProxyRequest, treatment: Treatment) -> tuple[Treatment, ProxyResponse | None, int]:
        """Return the treatment that applies (UNTREATED if the chosen one does not), the response, and the server's status."""
        if treatment.instead is not None:
            response = treatment.instead(request)
            if response is not None:
                return treatment, response, 0
            treatment = UNTREATED
        elif not treatment.is_forwarded:
            return treatment, None, 0
        if treatment.change_request is not None:
            changed = treatment.change_request(request)
            if changed is None:
                treatment = UNTREATED
            else:
                request = changed
        response = self.forward(request)
        if response is None:
            return UNTREATED, None, 0
        status = response.status
        if treatment.change_response is not None:
            different = treatment.change_response(request, response)
            if different is None:
                treatment = UNTREATED
            else:
                response = different
        return treatment, response, status

    def _send(
        self, connection: _ClientConnection, request: ProxyRequest, response: ProxyResponse | None, treatment: Treatment
    ) -> bool:
        """Send the response as the treatment says; return whether the connection stays open."""
        if response is not None and request.method == "HEAD":
            response = ProxyResponse(response.head)
        data = treatment.send(response) if response is not None else b""
        size = len(data) // treatment.pieces + 1
        for begin in range(0, len(data) or 1, size):
            if treatment.delay:
                self._over.wait(treatment.delay / treatment.pieces)
            connection.sock.sendall(data[begin : begin + size])
        if treatment.ending == "reset":
            connection.reset()
        return treatment.ending == "keep" and response is not None and _stays_open(request, response)


class _Disconnected(Exception):
    """The client closed the connection."""


@contextmanager
def _reporting_a_disconnect(report: Report) -> Iterator[None]:
    """Report that the treatment does not apply if the client gives up before its request is complete."""
    try:
        yield
    except (_Disconnected, OSError):
        report(False, 0)
        raise


class _ClientConnection:
    """One client's connection: bytes in, bytes out."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self._received = bytearray()

    def first_byte(self) -> bytes:
        """Return the next byte without consuming it."""
        if not self._received:
            self._receive()
        return bytes(self._received[:1])

    def read_until(self, mark: bytes) -> bytes:
        searched = 0
        while (found := self._received.find(mark, searched)) < 0:
            searched = max(0, len(self._received) - len(mark) + 1)
            self._receive()
        return self._take(found + len(mark))

    def read_exactly(self, size: int) -> bytes:
        while len(self._received) < size:
            self._receive()
        return self._take(size)

    def reset(self) -> None:
        """Close with RST: bytes sent but not yet read are lost as well."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("hh" if os.name == "nt" else "ii", 1, 0))
        self.sock.close()

    def _take(self, size: int) -> bytes:
        taken = bytes(memoryview(self._received)[:size])
        del self._received[:size]
        return taken

    def _receive(self) -> None:
        piece = self.sock.recv(_PIECE)
        if not piece:
            raise _Disconnected
        self._received += piece


def _read_body(connection: _ClientConnection, request: ProxyRequest) -> bytes:
    if (request.header("Expect") or "").lower() == "100-continue":
        connection.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    if "chunked" not in (request.header("Transfer-Encoding") or "").lower():
        return connection.read_exactly(int(request.header("Content-Length") or 0))
    body = b""
    while True:
        line = connection.read_until(b"\r\n")
        size = int(line.split(b";")[0], 16)
        body += line + connection.read_exactly(size + 2)
        if size == 0:
            return body


def _header(head: bytes, name: str) -> str | None:
    found = re.search(rb"(?im)^" + re.escape(name.encode()) + rb":[ \t]*([^\r\n]*)", head)
    return found[1].decode("latin-1").strip() if found else None


def _stays_open(request: ProxyRequest, response: ProxyResponse) -> bool:
    """Return whether the client may use the connection again: it can tell where the response ends, and did not ask to close.

    A server that fails while it sends a response closes the connection; without that the client would wait for the rest.
    """
    length = response.header("Content-Length")
    is_without_body = request.method == "HEAD" or response.status in (204, 304)
    framed = is_without_body or (length is not None and length == str(len(response.body)))
    chunked = "chunked" in (response.header("Transfer-Encoding") or "").lower()
    asked_to_close = (request.header("Connection") or "").lower() == "close"
    return (framed or chunked) and response.head.startswith(b"HTTP/1.1") and not asked_to_close
