"""A server of canned answers at a distance, for many small objects: each response leaves a round-trip time after its request has arrived.

It is one process with one thread, so that hundreds of connections cost little; ``distance.py``, whose proxy needs four threads for each
connection, is for large transfers. Every GET under ``s<size>/`` has an object of that many bytes, every PUT succeeds, and under ``listed/``
stand 100,000 keys. It checks no signature. A new connection costs one round trip more, as TCP's handshake does. With a rate, requests
beyond it are refused with 503 SlowDown; ``GET /-counts`` returns how many were served and refused.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import selectors
import socket
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from urllib.parse import parse_qs, urlsplit

from benchmarks.pages import ENTRY

LISTED = 100_000
_PAGE = 1000
_DATE = b"Last-Modified: Mon, 02 Nov 2026 10:00:00 GMT\r\n"
_HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bench</Name>'
    "<Prefix>listed/</Prefix><KeyCount>{}</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>{}</IsTruncated>{}"
)


class _Channel:
    """One connection: what has arrived of a request, and what the socket has not taken of the responses."""

    def __init__(self, sock: socket.socket, opened: float) -> None:
        self.sock = sock
        self.opened = opened
        self.incoming = bytearray()
        self.outgoing = b""


class _Server:
    def __init__(self, round_trip: float, rate: float) -> None:
        self._round_trip = round_trip
        self._rate = rate
        self._free_at = 0.0  # when the next request within the rate may arrive
        self._served = self._refused = 0
        self._objects: dict[int, bytes] = {}
        self._keys = [f"listed/{number:09d}.json" for number in range(LISTED)]
        self._entries = [ENTRY.format(number).encode() for number in range(LISTED)]
        self._selector = selectors.DefaultSelector()
        self._due: deque[tuple[float, _Channel, bytes]] = deque()

    def run(self, listener: socket.socket) -> None:
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ)
        while True:
            wait = self._due[0][0] - time.monotonic() if self._due else None
            # The selector rounds up to whole milliseconds, so the last one is waited for awake.
            for found, events in self._selector.select(None if wait is None else max(0.0, wait - 0.001)):
                if found.data is None:
                    self._accept(listener)
                    continue
                if events & selectors.EVENT_READ:
                    self._receive(found.data)
                if events & selectors.EVENT_WRITE:
                    self._send(found.data)
            now = time.monotonic()
            while self._due and self._due[0][0] <= now:
                _, channel, response = self._due.popleft()
                channel.outgoing += response
                self._send(channel)

    def _accept(self, listener: socket.socket) -> None:
        with suppress(BlockingIOError):
            while True:
                sock = listener.accept()[0]
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                channel = _Channel(sock, time.monotonic() + self._round_trip)
                self._selector.register(sock, selectors.EVENT_READ, channel)

    def _close(self, channel: _Channel) -> None:
        with suppress(KeyError, ValueError):
            self._selector.unregister(channel.sock)
        channel.sock.close()

    def _receive(self, channel: _Channel) -> None:
        try:
            data = channel.sock.recv(1 << 20)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close(channel)
            return
        channel.incoming += data
        while (end := channel.incoming.find(b"\r\n\r\n")) >= 0:
            first, *lines = bytes(channel.incoming[:end]).split(b"\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
            size = int(headers.get(b"content-length", b"0"))
            if len(channel.incoming) < end + 4 + size:
                if b"100-continue" in headers.get(b"expect", b"") and len(channel.incoming) == end + 4:
                    channel.outgoing += b"HTTP/1.1 100 Continue\r\n\r\n"
                    self._send(channel)
                return
            body = bytes(channel.incoming[end + 4 : end + 4 + size])
            del channel.incoming[: end + 4 + size]
            method, target, _ = first.decode("latin-1").split(" ", 2)
            # Sorted by itself: the responses to the first requests of new connections are due later.
            due = max(time.monotonic(), channel.opened) + self._round_trip
            self._insert(due, channel, self._response(method, target, body))

    def _insert(self, due: float, channel: _Channel, response: bytes) -> None:
        at = len(self._due)
        while at and self._due[at - 1][0] > due:
            at -= 1
        self._due.insert(at, (due, channel, response))

    def _send(self, channel: _Channel) -> None:
        try:
            while channel.outgoing:
                channel.outgoing = channel.outgoing[channel.sock.send(channel.outgoing) :]
            wanted = selectors.EVENT_READ
        except BlockingIOError:
            wanted = selectors.EVENT_READ | selectors.EVENT_WRITE
        except OSError:
            self._close(channel)
            return
        with suppress(KeyError, ValueError):
            if self._selector.get_key(channel.sock).events != wanted:
                self._selector.modify(channel.sock, wanted, channel)

    def _response(self, method: str, target: str, body: bytes) -> bytes:
        parts = urlsplit(target)
        if parts.path == "/-counts":
            counts = f"{self._served} {self._refused}".encode()
            self._served = self._refused = 0
            return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(counts), counts)
        now = time.monotonic()
        if self._rate:
            if self._free_at > now + 0.05:  # a burst of 50 ms is allowed
                self._refused += 1
                return b"HTTP/1.1 503 Slow Down\r\nContent-Length: 37\r\n\r\n<Error><Code>SlowDown</Code></Error>\r\n"
            self._free_at = max(self._free_at, now) + 1 / self._rate
        self._served += 1
        _, _, key = parts.path.lstrip("/").partition("/")
        if method == "PUT":
            etag = hashlib.md5(body).hexdigest().encode()
            return b'HTTP/1.1 200 OK\r\nETag: "%s"\r\nContent-Length: 0\r\n\r\n' % etag
        if not key:
            return self._listing(parse_qs(parts.query, keep_blank_values=True))
        size = int(key[1:].partition("/")[0]) if key.startswith("s") else 0
        if size not in self._objects:
            content = b"x" * size
            self._objects[size] = b'HTTP/1.1 200 OK\r\nETag: "%s"\r\n%sContent-Length: %d\r\n\r\n%s' % (
                hashlib.md5(content).hexdigest().encode(), _DATE, size, content,
            )  # fmt: skip
        response = self._objects[size]
        return response[: len(response) - size] if method == "HEAD" else response

    def _listing(self, asked: dict[str, list[str]]) -> bytes:
        if not asked.get("prefix", [""])[0].startswith("listed/"):
            start, end = 0, 0
        else:
            after = (asked.get("start-after") or asked.get("marker") or [""])[0]
            token = asked.get("continuation-token", [""])[0]
            start = int(token) if token else bisect_right(self._keys, after)
            end = min(start + _PAGE, LISTED)
        is_last = end in (0, LISTED)
        more = "" if is_last else f"<NextContinuationToken>{end}</NextContinuationToken>"
        head = _HEAD.format(end - start, "false" if is_last else "true", more).encode()
        document = head + b"".join(self._entries[start:end]) + b"</ListBucketResult>"
        return b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n%s" % (
            len(document), document,
        )  # fmt: skip


def _serve(round_trip: float, rate: float, told: Connection) -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    told.send(listener.getsockname()[1])
    _Server(round_trip, rate).run(listener)


@contextmanager
def run_distant_server(round_trip: float, rate: float = 0.0) -> Iterator[str]:
    """Run the server in a process of its own, and yield its URL; with a rate, in requests per second, it refuses what is beyond."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(round_trip, rate, theirs), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.terminate()
        process.join()
