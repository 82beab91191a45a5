"""Servers whose responses the test scripts: real HTTP on the loopback interface, and a list of the requests.

A :class:`ScriptedServer` speaks HTTP for the test, and a :class:`RawServer` sends bytes as they are. A store that keeps what it is sent
is in ``stateful_server.py``.
"""

from __future__ import annotations

import hashlib
import socket
import sys
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

import boto3

import messageflux_s3 as s3
from messageflux_s3._client import connection as connections

Answer = tuple[int, Mapping[str, str], bytes] | bytes | None
"""Status, headers and body; or raw bytes, after which the connection is closed; None: it is closed without a response.

A header ``Content-Length`` replaces the true one, for a truncated body. With ``Transfer-Encoding`` the body is sent in chunks.
"""

Script = Callable[[bytes, bytes], "bytes | None"]
"""The script of a :class:`RawServer`: a function of head and body."""

FRAMINGS = {
    "header names in odd case": "header names in upper and lower case by turns",
    "chunked": "bodies come in chunks, without a length",
    "HTTP/1.0": "HTTP/1.0, and the connection is closed",
    "HTTP/1.0 without length": "HTTP/1.0, and the end of the connection is the end of the body",
    "connections closed": "the connection is closed after each answer, which says so",
    "connections closed unsaid": "the connection is closed after each answer, which does not say so",
    "pieces": "answers come in pieces of a few bytes",
    "interim answers": "100 Continue and 103 Early Hints come before each answer",
}
"""Unusual but valid ways to frame a response, for :attr:`ScriptedServer.oddities`."""


Server = TypeVar("Server", bound=ThreadingHTTPServer)

# One shared session: a new one would load boto3's data files again, which takes longer than most tests.
_SESSION = boto3.Session("ACCESSKEY01", "SECRETKEY0123456", region_name="us-east-1")


@dataclass(frozen=True)
class Asked:
    """One request; header names in lower case, the target as it was sent."""

    method: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    target: str = ""

    @property
    def what(self) -> str:
        """Return method, key and the names in the query: ``"PUT k?partNumber&uploadId"``."""
        names = "&".join(sorted(name for name in self.query if name != "x-id"))
        return f"{self.method} {self.key}{'?' if names else ''}{names}"


class ScriptedServer(ThreadingHTTPServer):
    """The server; :func:`run_scripted_server` makes one.

    Attributes:
        answer: The script: a function of the request that returns the response; set by the test.
        asked: All requests so far.
        keeps_requests: Whether ``asked`` is kept.
        oddities: Names of :data:`FRAMINGS`.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(self) -> None:
        self.answer: Callable[[Asked], Answer] = lambda asked: refusal(500, "InternalError")
        self.asked: list[Asked] = []
        self.keeps_requests = True
        self.oddities: set[str] = set()
        self._connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Keep each connection, to end it with the server."""
        connection, address = super().get_request()
        self._connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        """Forget a connection that has ended."""
        self._connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Also end the connections that clients keep open: each has a thread, which keeps this server and its requests in memory."""
        super().server_close()
        for connection in [*self._connections]:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report errors of a script, but not clients that disconnect."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def connect(self, **changes: Any) -> s3.S3Store:
        """Return a store on this server; by default it sends each request once."""
        settings: dict[str, Any] = {"boto3_session": _SESSION, "region": "us-east-1", "max_attempts": 1}
        return s3.connect(self.endpoint_url, **{**settings, **changes})

    def bucket(self, *, lane: bool = True, **changes: Any) -> s3.S3Bucket:
        """Return a bucket on this server; by default without the lane."""
        store = self.connect(**changes)
        if not lane:
            store._connection.lane.shut("shut for this test")
        return store.bucket("bkt")

    @property
    def whats(self) -> list[str]:
        """Return a short form of all requests so far."""
        return [asked.what for asked in self.asked]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 65536  # send head and body in one piece
    server: ScriptedServer

    def handle_expect_100(self) -> bool:
        """Send ``100 Continue`` at once: it would stay in the write buffer, and the client waits a second for it."""
        goes_on = super().handle_expect_100()
        self.wfile.flush()
        return goes_on

    def _serve(self) -> None:
        path, _, query = self.path.partition("?")
        asked = Asked(
            self.command,
            urllib.parse.unquote(path).lstrip("/").partition("/")[2],
            dict(urllib.parse.parse_qsl(query, keep_blank_values=True)),
            {name.lower(): value for name, value in self.headers.items()},
            self._body(),
            self.path,
        )
        if self.server.keeps_requests:
            self.server.asked.append(asked)
        answer = self.server.answer(asked)
        self.close_connection = self.close_connection or not isinstance(answer, tuple)
        if isinstance(answer, tuple):
            self._send(*answer)
        elif answer is not None:
            self.wfile.write(answer)

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            body += self.rfile.read(size + 2)[:-2]
        self.rfile.readline()
        return body

    def _send(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        odd, has_body = self.server.oddities, self.command != "HEAD"
        headers, version = dict(headers), "HTTP/1.1"
        if has_body and status not in (204, 304) and "chunked" in odd:
            headers["Transfer-Encoding"], body = "chunked", _chunked(body)
        if "HTTP/1.0 without length" in odd and has_body and status not in (204, 304):
            length = len(body)
        else:
            length = int(headers.setdefault("Content-Length", str(len(body))))
        if "Transfer-Encoding" in headers:
            headers.pop("Content-Length", None)
            is_whole = body.endswith(b"0\r\n\r\n")
        else:
            is_whole = length == len(body)
        if has_body and not is_whole:
            self.close_connection = True
        if "HTTP/1.0" in odd or "HTTP/1.0 without length" in odd:
            version, self.close_connection = "HTTP/1.0", True
        if "connections closed" in odd:
            headers["Connection"] = "close"
        if "connections closed" in odd or "connections closed unsaid" in odd:
            self.close_connection = True
        if "header names in odd case" in odd:
            headers = {_in_odd_case(name): value for name, value in headers.items()}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
        reason = self.responses.get(status, ("Whatever", ""))[0]
        head = f"{interim if 'interim answers' in odd else ''}{version} {status} {reason}\r\n{lines}\r\n"
        data = head.encode("latin-1") + (body if has_body else b"")
        if "pieces" in odd and len(data) < 1 << 16:
            for at in range(0, len(data), 97):
                self.wfile.write(data[at : at + 97])
                self.wfile.flush()
        else:
            self.wfile.write(data)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


def refusal(status: int, code: str) -> Answer:
    """Return an error response in S3's form."""
    return (
        status,
        {"Content-Type": "application/xml"},
        f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode(),
    )


def document(root: str, inside: str = "") -> Answer:
    """Return an XML response."""
    text = f'<{root} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{inside}</{root}>'
    return 200, {"Content-Type": "application/xml"}, text.encode()


def upload_in_parts(asked: Asked) -> Answer:
    """Return the correct response to a request of an upload in parts, or to a PUT."""
    if asked.method == "POST" and "uploads" in asked.query:
        return document("InitiateMultipartUploadResult", "<UploadId>U</UploadId>")
    if asked.method == "POST":
        return document("CompleteMultipartUploadResult", "<ETag>whole</ETag>")
    return 200, {"ETag": f'"{hashlib.md5(asked.body).hexdigest()}"'}, b""


def content_of(asked: Asked, body: bytes, etag: str = "e") -> Answer:
    """Return the correct response to a HEAD or GET of an object or of a range."""
    headers = {"ETag": f'"{etag}"', "Last-Modified": "Sat, 21 Nov 2026 05:00:00 GMT"}
    if asked.method == "HEAD":
        return 200, {**headers, "Content-Length": str(len(body))}, b""
    wanted = asked.headers.get("range", "").removeprefix("bytes=")
    if not wanted:
        return 200, headers, body
    first, _, last = wanted.partition("-")
    start, end = int(first), min(int(last or len(body)), len(body) - 1) + 1
    return 206, {**headers, "Content-Range": f"bytes {start}-{end - 1}/{len(body)}"}, body[start:end]


def _chunked(body: bytes) -> bytes:
    size = 700 if len(body) < 1 << 16 else len(body)
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(f"{len(piece):x}\r\n".encode() + piece + b"\r\n" for piece in pieces) + b"0\r\n\r\n"


def _in_odd_case(name: str) -> str:
    return "".join(letter.upper() if at % 2 else letter.lower() for at, letter in enumerate(name))


@contextmanager
def run_server(server: Server) -> Iterator[Server]:
    """Serve on a thread until the block ends."""
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        forget_connections(f"http://127.0.0.1:{server.server_port}")


def forget_connections(endpoint_url: str) -> None:
    """Let the library forget what it knows of a server that has ended: a later one may get its port."""
    with connections._cache_lock:
        for config in [*connections._cache]:
            if config.endpoint_url == endpoint_url:
                del connections._cache[config]


@contextmanager
def run_scripted_server() -> Iterator[ScriptedServer]:
    """Run a scripted server on a port of its own."""
    with run_server(ScriptedServer()) as server:
        yield server


class RawServer:
    """Answers each request with the bytes that a script returns, and closes the connection if they end in CLOSE, or for None.

    Attributes:
        goes_on: Set by the test to have the bytes after LATER sent.
    """

    CLOSE = b"\0close"
    LATER = b"\0later"

    def __init__(self, script: Script, family: int = socket.AF_INET, tls: Any = None) -> None:
        self.script = script
        self.requests: list[bytes] = []
        self.connections = 0
        self.goes_on = threading.Event()
        self._tls = tls
        local = "::1" if family == socket.AF_INET6 else "127.0.0.1"
        self._listener = socket.create_server((local, 0), family=socket.AddressFamily(family), backlog=256)
        port = self._listener.getsockname()[1]
        host = "[::1]" if family == socket.AF_INET6 else "127.0.0.1"
        self.url = f"{'https' if tls else 'http'}://{host}:{port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with connection, connection.makefile("rb") as incoming:
                while line := incoming.readline():
                    head = line
                    while (field := incoming.readline()) not in (b"\r\n", b""):
                        head += field
                    fields = head.lower().split(b"\r\n")
                    lengths = [int(part[15:]) for part in fields if part.startswith(b"content-length:")]
                    body = incoming.read(lengths[0]) if lengths else b""
                    self.requests.append(head + b"\r\n" + body)
                    answer = self.script(head, body)
                    if answer is None:
                        return
                    now, _, later = answer.removesuffix(self.CLOSE).partition(self.LATER)
                    connection.sendall(now)
                    if later:
                        self.goes_on.wait(60)
                        connection.sendall(later)
                    if answer.endswith(self.CLOSE):
                        return
        except OSError:
            return

    def close(self) -> None:
        self._listener.close()
        forget_connections(self.url)


def replaces_metadata(bucket: s3.S3Bucket) -> s3.S3Bucket:
    """Let the store of a bucket count as one whose copies replace metadata and headers: no scratch object is copied first."""
    bucket._connection.facts.update({f"CopyObject replaces {name}": True for name in ("ContentType", "Metadata")})
    return bucket
