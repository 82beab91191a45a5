"""A store whose every answer is a test's own: real HTTP over loopback, and a list of what was asked."""

from __future__ import annotations

import threading
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3

import messageflux_s3 as s3

Answer = tuple[int, Mapping[str, str], bytes] | None
"""Status, headers and body; None: the connection is closed without an answer.

A header ``Content-Length`` stands in place of the true one: a body that ends early. With ``Transfer-Encoding`` the body is in chunks.
"""


# One for all: each session of its own reads the description of S3 anew, which takes longer than most of the tests.
_SESSION = boto3.Session("ACCESSKEY01", "SECRETKEY0123456", region_name="us-east-1")


@dataclass(frozen=True)
class Asked:
    """One request; header names in lower case."""

    method: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def what(self) -> str:
        """Method, key and the names in the query: ``"PUT k?partNumber&uploadId"``."""
        names = "&".join(sorted(name for name in self.query if name != "x-id"))
        return f"{self.method} {self.key}{'?' if names else ''}{names}"


class ScriptedServer(ThreadingHTTPServer):
    """The store; :func:`run_scripted_server` makes one.

    Attributes:
        answer: What becomes of a request; to be set by the test.
        asked: Every request so far.
    """

    daemon_threads = True

    def __init__(self) -> None:
        self.answer: Callable[[Asked], Answer] = lambda asked: refusal(500, "InternalError")
        self.asked: list[Asked] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def connect(self, **changes: Any) -> s3.S3Store:
        """A store on it that asks once unless told otherwise."""
        settings: dict[str, Any] = {"boto3_session": _SESSION, "region": "us-east-1", "max_attempts": 1}
        return s3.connect(self.endpoint_url, **{**settings, **changes})

    def bucket(self, *, lane: bool = True, **changes: Any) -> s3.S3Bucket:
        """A bucket on it; without the lane everything goes through boto3."""
        store = self.connect(**changes)
        if not lane:
            store._connection.lane.shut("shut for this test")
        return store.bucket("bkt")

    @property
    def whats(self) -> list[str]:
        """Every request so far, in short."""
        return [asked.what for asked in self.asked]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 65536  # head and body in one piece
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
            self.rfile.read(int(self.headers.get("Content-Length") or 0)),
        )
        self.server.asked.append(asked)
        answer = self.server.answer(asked)
        if answer is None:
            self.close_connection = True
            return
        status, headers, body = answer
        self.send_response_only(status)
        if "Transfer-Encoding" not in headers:
            headers = {"Content-Length": str(len(body)), **headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
            is_whole = (
                body.endswith(b"0\r\n\r\n")
                if "Transfer-Encoding" in headers
                else headers["Content-Length"] == str(len(body))
            )
            self.close_connection = not is_whole

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def refusal(status: int, code: str) -> Answer:
    """An error as S3 words it."""
    return (
        status,
        {"Content-Type": "application/xml"},
        f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode(),
    )


def document(root: str, inside: str = "") -> Answer:
    """An XML answer."""
    text = f'<{root} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{inside}</{root}>'
    return 200, {"Content-Type": "application/xml"}, text.encode()


def content_of(asked: Asked, body: bytes, etag: str = "e") -> Answer:
    """What a good store answers to a HEAD or a GET of an object, or of a range of it."""
    headers = {"ETag": f'"{etag}"', "Last-Modified": "Sat, 21 Nov 2026 05:00:00 GMT"}
    if asked.method == "HEAD":
        return 200, {**headers, "Content-Length": str(len(body))}, b""
    wanted = asked.headers.get("range", "").removeprefix("bytes=")
    if not wanted:
        return 200, headers, body
    first, _, last = wanted.partition("-")
    start, end = int(first), min(int(last or len(body)), len(body) - 1) + 1
    return 206, {**headers, "Content-Range": f"bytes {start}-{end - 1}/{len(body)}"}, body[start:end]


@contextmanager
def run_scripted_server() -> Iterator[ScriptedServer]:
    """A store on a port of its own."""
    server = ScriptedServer()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()
