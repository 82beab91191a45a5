"""A recorder in front of a server: what really went over the wire, whichever way it was sent."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from messageflux_s3 import S3Bucket, S3Store


@dataclass(frozen=True)
class Request:
    """One request as the server saw it."""

    method: str
    path: str
    query: str


class Recorder:
    """A loopback proxy that writes down request lines and passes bytes on as they are."""

    def __init__(self, endpoint_url: str) -> None:
        parts = urlsplit(endpoint_url)
        self._upstream = (parts.hostname or "", parts.port or 80)
        self.requests: list[Request] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint_url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server = socket.create_connection(self._upstream)
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._requests_of, args=(client, server), daemon=True).start()
            threading.Thread(target=_pass_on, args=(server, client), daemon=True).start()

    def _requests_of(self, client: socket.socket, server: socket.socket) -> None:
        held = b""
        try:
            while True:
                while b"\r\n\r\n" not in held:
                    piece = client.recv(65536)
                    if not piece:
                        return
                    held += piece
                head, _, held = held.partition(b"\r\n\r\n")
                line, *headers = head.decode("latin-1").split("\r\n")
                method, target, _ = line.split(" ", 2)
                path, _, query = target.partition("?")
                self.requests.append(Request(method, path, query))
                server.sendall(head + b"\r\n\r\n")
                lengths = [
                    value
                    for name, _, value in (header.partition(":") for header in headers)
                    if name.lower() == "content-length"
                ]
                left = int(lengths[0]) if lengths else 0
                while left:
                    piece, held = (held[:left], held[left:]) if held else (client.recv(min(left, 65536)), b"")
                    if not piece:
                        return
                    server.sendall(piece)
                    left -= len(piece)
        except OSError:
            return
        finally:
            _shut(server)


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    try:
        while piece := source.recv(65536):
            target.sendall(piece)
    except OSError:
        pass
    finally:
        _shut(target)


def _shut(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


@dataclass
class Counted:
    """A store and a bucket of it behind a recorder."""

    store: S3Store
    bucket: S3Bucket
    _recorder: Recorder = field(repr=False)

    def requests(self) -> list[Request]:
        """Every request since the test began."""
        return [*self._recorder.requests]

    @contextmanager
    def recording(self) -> Iterator[list[Request]]:
        """The requests of a block; the list is filled when the block ends."""
        before = len(self._recorder.requests)
        seen: list[Request] = []
        yield seen
        seen.extend(self._recorder.requests[before:])
