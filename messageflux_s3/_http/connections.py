"""The fast lane's connections: a pool of idle sockets, opened with the boto3 client's timeouts, socket options and TLS settings."""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
import weakref
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from botocore.httpsession import create_urllib3_context, get_cert_path

from .eligibility import Eligibility
from .http1 import Reader
from .request_window import INITIAL

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Address = tuple[bool, str, int]
"""Whether TLS is used, the host name, and the port: connections with the same address are interchangeable."""

SocketAddress = tuple[socket.AddressFamily, tuple[object, ...]]
"""An address family, and an address that the host name resolved to, as ``socket.connect`` takes it."""

IDLE_SECONDS = 20.0
"""Seconds after which an idle connection is closed rather than used."""

_RESOLVED_SECONDS = 30.0


class LaneConnection:
    """One blocking or non-blocking socket and the parser of the responses that arrive on it.

    Attributes:
        address: The address that it is connected to.
        reader: Parses the responses.
        sock: The socket; None before it is opened and after :meth:`close`.
        served: The number of responses completed on it.
        idle_since: When it became idle, on the monotonic clock.
    """

    __slots__ = ("address", "idle_since", "reader", "served", "sock")

    def __init__(self, address: Address) -> None:
        self.address = address
        self.reader = Reader()
        self.sock: socket.socket | ssl.SSLSocket | None = None
        self.served = 0
        self.idle_since = 0.0

    def was_closed_by_server(self) -> bool:
        """Return whether the server has closed the idle connection, or sent bytes although no request was waiting for them.

        A small request finds out when it reads the response. A large body would be sent in vain, and an observed request counted.
        """
        sock = self.sock
        if sock is None:
            return True
        timeout = sock.gettimeout()
        try:
            sock.settimeout(0)
            sock.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):  # nothing, or only session tickets of TLS
            return False
        except OSError:
            return True
        finally:
            sock.settimeout(timeout)
        return True

    def has_unasked_bytes(self) -> bool:
        """Return whether the server has sent bytes although no request was waiting for them, such as a body beyond its Content-Length.

        If they look like a response, they would be taken for that to the next request. A connection that the server has closed is left to
        that request, except over TLS, where only reading tells the two apart.
        """
        sock = self.sock
        if sock is None:
            return False
        if isinstance(sock, ssl.SSLSocket):
            return sock.pending() > 0 or (is_readable(sock) and self.was_closed_by_server())
        try:
            return is_readable(sock) and bool(sock.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    def close(self) -> None:
        """Close the socket; closing again has no effect."""
        sock, self.sock = self.sock, None
        if sock is not None:
            with suppress(OSError):
                sock.close()


class ConnectionPool:
    """Keeps idle connections for one boto3 client, and opens new ones. Safe to share between threads.

    Args:
        client: The boto3 client whose timeouts apply.
        eligibility: Holds the client's TLS settings and socket options.

    Attributes:
        connect_timeout: Seconds to wait for a connection; None for no limit.
        read_timeout: Seconds to wait for the next bytes; None for no limit.
    """

    def __init__(self, client: S3Client, eligibility: Eligibility) -> None:
        settings: Any = client.meta.config
        self.connect_timeout = _seconds(settings.connect_timeout)
        self.read_timeout = _seconds(settings.read_timeout)
        self._max_idle = max(INITIAL, settings.max_pool_connections)
        self._eligibility = eligibility
        self._idle: deque[LaneConnection] = deque()
        self._resolved: dict[Address, tuple[float, list[SocketAddress]]] = {}
        self._tls: ssl.SSLContext | None = None
        self._tls_lock = threading.Lock()
        self._finalizer = weakref.finalize(self, _close_all, self._idle)

    @property
    def idle_count(self) -> int:
        """The number of idle connections."""
        return len(self._idle)

    def take(self, address: Address) -> LaneConnection | None:
        """Remove and return an idle connection to this address; None if there is none."""
        oldest = time.monotonic() - IDLE_SECONDS
        for _ in range(len(self._idle)):
            try:
                connection = self._idle.pop()
            except IndexError:  # pragma: no cover - another thread took the last one just now
                return None
            if connection.idle_since < oldest or connection.sock is None:
                connection.close()
            elif connection.address == address:
                if connection.has_unasked_bytes():
                    connection.close()
                    continue
                if connection.sock is not None and connection.sock.gettimeout() != self.read_timeout:
                    connection.sock.settimeout(self.read_timeout)
                return connection
            else:
                self._idle.appendleft(connection)
        return None

    def put_back(self, connection: LaneConnection) -> None:
        """Keep a connection for a later request, or close it if enough are idle."""
        connection.idle_since = time.monotonic()
        if len(self._idle) < self._max_idle:
            self._idle.append(connection)
        else:
            connection.close()

    def connect(self, connection: LaneConnection) -> None:
        """Open the connection's socket, blocking.

        Raises:
            OSError: The connection or the TLS handshake failed.
        """
        secure, host, port = connection.address
        sock = socket.create_connection((host, port), self.connect_timeout)
        connection.sock = sock
        self.set_options(sock)
        if secure:
            connection.sock = self.tls_context().wrap_socket(sock, server_hostname=host)
        connection.sock.settimeout(self.read_timeout)

    def set_options(self, sock: socket.socket) -> None:
        """Set TCP_NODELAY and the client's socket options."""
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for option in self._eligibility.socket_options:
            sock.setsockopt(*option)

    def tls_context(self) -> ssl.SSLContext:
        """Return the TLS context with the client's CA bundle and verification; created once."""
        with self._tls_lock:
            if self._tls is None:
                context: ssl.SSLContext = create_urllib3_context()
                verify = self._eligibility.verify
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

    def resolve(self, address: Address) -> list[SocketAddress]:
        """Return the addresses that the host name resolves to, in rotation: each call starts with the next one.

        The name is looked up again after 30 seconds.
        """
        now = time.monotonic()
        known = self._resolved.get(address)
        if known is None or now - known[0] > _RESOLVED_SECONDS:
            found = socket.getaddrinfo(address[1], address[2], type=socket.SOCK_STREAM)
            known = (now, [(family, where) for family, _, _, _, where in found])
            self._resolved[address] = known
        addresses = known[1]
        # Replace the list, never modify it in place: threads share it.
        self._resolved[address] = (known[0], addresses[1:] + addresses[:1])
        return [*addresses]

    def close(self) -> None:
        """Close the idle connections. A later request opens new ones."""
        _close_all(self._idle)


def is_readable(sock: socket.socket) -> bool:
    """Return whether bytes, or the end of the connection, have arrived."""
    if not hasattr(select, "poll"):  # pragma: no cover - Windows only
        return bool(select.select([sock], [], [], 0)[0])
    polling = select.poll()  # select() takes no descriptor above 1023
    polling.register(sock, select.POLLIN)
    return bool(polling.poll(0))


def _seconds(timeout: float | None) -> float | None:
    return None if timeout is None else float(timeout)


def _close_all(connections: deque[LaneConnection]) -> None:
    while connections:
        try:
            connections.pop().close()
        except IndexError:  # pragma: no cover - another thread took the last one just now
            return
