"""A proxy that puts a distance between client and server: a round-trip time, and a bandwidth for each connection and direction.

    with run_distant(server.endpoint_url, Distance(round_trip=0.02, bandwidth=40e6)) as url:
        ...

The proxy is a process of its own, with two threads for each direction of a connection. It does not model slow start, lost packets or a
bandwidth shared by the connections; TCP's window is :attr:`Distance.window`. A new connection costs one round trip more, as TCP's
handshake does.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from urllib.parse import urlsplit

_PIECE_BYTES = 64 * 1024
_BUFFER_BYTES = 256 * 1024


@dataclass(frozen=True)
class Distance:
    """How far away the server is.

    Attributes:
        round_trip: Seconds.
        bandwidth: Bytes per second of one connection in one direction; infinite for no limit.
    """

    round_trip: float = 0.0
    bandwidth: float = float("inf")

    @property
    def window(self) -> int:
        """The number of bytes that may be under way on one connection in one direction."""
        return (
            4 * 1024 * 1024
            if self.bandwidth == float("inf")
            else max(_BUFFER_BYTES, int(self.bandwidth * self.round_trip))
        )

    @property
    def is_none(self) -> bool:
        return self.round_trip == 0 and self.bandwidth == float("inf")

    def least_seconds(self, round_trips: int, size: int, connections: int) -> float:
        """Return the shortest time for a transfer: the round trips that follow each other, and the bytes over all connections."""
        return round_trips * self.round_trip + size / (connections * self.bandwidth)

    def __str__(self) -> str:
        if self.is_none:
            return "near"
        limit = "" if self.bandwidth == float("inf") else f", {self.bandwidth / 1e6:.0f} MB/s a connection"
        return f"{self.round_trip * 1000:.0f} ms{limit}"


class _Direction:
    """The bytes of one connection in one direction, from the time they are received until they are due at the other end."""

    def __init__(self, source: socket.socket, target: socket.socket, distance: Distance, opened: float) -> None:
        self._source, self._target, self._distance = source, target, distance
        self._opened = opened
        self._under_way: deque[tuple[float, bytes]] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        for run in (self._receive, self._send):
            threading.Thread(target=run, daemon=True).start()

    def _receive(self) -> None:
        piece = b"..."
        while piece:
            try:
                piece = self._source.recv(_PIECE_BYTES)
            except OSError:
                piece = b""
            due = max(time.monotonic(), self._opened) + self._distance.round_trip / 2
            with self._changed:
                self._under_way.append((due, piece))
                self._bytes += len(piece)
                self._changed.notify()
                while self._bytes > self._distance.window:
                    self._changed.wait()

    def _send(self) -> None:
        free_at = 0.0  # when the line has carried everything before
        while True:
            with self._changed:
                while not self._under_way:
                    self._changed.wait()
                due, piece = self._under_way[0]
            free_at = max(due, free_at) + len(piece) / self._distance.bandwidth
            if (wait := free_at - time.monotonic()) > 0:
                time.sleep(wait)
            try:
                if piece:
                    self._target.sendall(piece)
                else:
                    self._target.shutdown(socket.SHUT_WR)
            except OSError:
                with suppress(OSError):
                    self._source.shutdown(socket.SHUT_RD)
                piece = b""
            with self._changed:
                self._under_way.popleft()
                self._bytes -= len(piece)
                self._changed.notify()
            if not piece:
                return


def _serve(host: str, port: int, distance: Distance, told: Connection) -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    # What waits in the proxy's own buffers is not under way.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
    told.send(listener.getsockname()[1])
    while True:
        near = listener.accept()[0]
        far = socket.socket()
        far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        far.connect((host, port))
        for sock in (near, far):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened = time.monotonic() + distance.round_trip
        _Direction(near, far, distance, opened)
        _Direction(far, near, distance, 0.0)


@contextmanager
def run_distant(url: str, distance: Distance) -> Iterator[str]:
    """Run the proxy, and yield the URL under which the server at ``url`` is that far away; without a distance, ``url`` itself."""
    if distance.is_none:
        yield url
        return
    parts = urlsplit(url)
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(
        target=_serve, args=(parts.hostname, parts.port, distance, theirs), daemon=True
    )
    process.start()
    try:
        yield f"{parts.scheme}://127.0.0.1:{ours.recv()}"
    finally:
        process.terminate()
        process.join()


def load() -> str:
    """Return the machine's load, to be printed beside figures."""
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
