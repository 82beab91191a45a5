"""An S3 server of a few hundred lines that loses answers on command, and remembers what it really did.

For the tests of conditional writes and locks: real HTTP over loopback, conditions honoured under one mutex, a fault for each request to a
key from a list that the test made (by seed). What was applied stands in ``applied``: the truth that the client's words are held to.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
import urllib.parse
import uuid
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FAULTS = ("reset_before", "drop_after", "truncate_after", "500_before", "500_after", "503_before", "409", "late")
"""What may befall one request.

``*_before``: nothing is done. ``*_after``: it is done, and the answer is lost. ``409``: two writers met, nothing is done. ``late``: the
connection breaks, and the request is done after the next one to the same key (a zombie).
"""


@dataclass
class Stored:
    """One object."""

    body: bytes
    metadata: dict[str, str]
    etag: str
    modified: float


@dataclass
class State:
    """What the server keeps."""

    mode: str = "honoured"
    objects: dict[str, Stored] = field(default_factory=dict)
    applied: dict[str, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    faults: dict[str, deque[str | None]] = field(default_factory=dict)
    late: dict[str, list[Callable[[], Any]]] = field(default_factory=lambda: defaultdict(list))
    uploads: dict[str, tuple[dict[str, str], dict[int, bytes]]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    befell: Counter[str] = field(default_factory=Counter)
    clock_offset: float = 0.0
    mutex: threading.RLock = field(default_factory=threading.RLock)

    def now(self) -> float:
        return time.time() + self.clock_offset


Answer = tuple[int, dict[str, str], bytes]


def error(status: int, code: str) -> Answer:
    return (
        status,
        {"Content-Type": "application/xml"},
        f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode(),
    )


class Handler(BaseHTTPRequestHandler):
    """Path-style S3: PUT, GET, HEAD, DELETE, copies, parts, a listing."""

    protocol_version = "HTTP/1.1"
    state: State
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _handle(self) -> None:
        state = self.state
        body = self._body()
        path, _, query_text = self.path.partition("?")
        key = urllib.parse.unquote(path).lstrip("/").partition("/")[2]
        query = dict(urllib.parse.parse_qsl(query_text, keep_blank_values=True))
        headers = {name.lower(): value for name, value in self.headers.items()}
        with state.mutex:
            state.counts[self.command] += 1
            waiting = state.faults.get(key)
            fault = waiting.popleft() if waiting else None
            state.befell[fault or "none"] += 1
            due, state.late[key] = state.late[key], []
        if fault == "reset_before":
            return self._hang_up()
        if fault == "500_before":
            return self._answer(error(500, "InternalError"))
        if fault == "403_before":
            return self._answer(error(403, "AccessDenied"))
        if fault == "503_before":
            return self._answer(error(503, "SlowDown"))
        if fault == "409" and {"if-match", "if-none-match"} & headers.keys():
            return self._answer(error(409, "ConditionalRequestConflict"))
        command = self.command

        def act() -> Answer:
            return self._act(command, key, query, headers, body)

        if fault == "late":
            with state.mutex:
                state.late[key].append(act)
            for overdue in due:
                overdue()
            return self._hang_up()
        answer = act()
        for overdue in due:
            overdue()
        if fault == "drop_after":
            return self._hang_up()
        if fault == "truncate_after":
            self.wfile.write(f"HTTP/1.1 {answer[0]} OK\r\nContent-Le".encode())
            return self._hang_up()
        if fault == "500_after":
            return self._answer(error(500, "InternalError"))
        return self._answer(answer)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _handle

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            raise AssertionError("this server reads no chunks")
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.wfile.flush()
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(2)

    def _answer(self, answer: Answer) -> None:
        status, headers, body = answer
        self.send_response_only(status)
        headers = {"Date": formatdate(self.state.now(), usegmt=True), "Content-Length": str(len(body)), **headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _act(self, command: str, key: str, query: dict[str, str], headers: dict[str, str], body: bytes) -> Answer:
        state = self.state
        if "versioning" in query:
            return 200, {}, b'<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"/>'
        if not key and command == "GET":
            return self._listing(query.get("prefix", ""))
        if not key:
            return 200, {}, b""
        if state.mode == "sequential" and self._refusal(key, headers) is None:
            time.sleep(0.02)  # checked above, written below, and everybody else in between
            with state.mutex:
                return self._store(command, key, query, headers, body)
        with state.mutex:
            refusal = self._refusal(key, headers)
            return refusal or self._store(command, key, query, headers, body)

    def _refusal(self, key: str, headers: dict[str, str]) -> Answer | None:
        conditions = [headers.get("if-none-match"), headers.get("if-match")]
        if self.command in ("GET", "HEAD") or not any(conditions) or self.state.mode == "ignored":
            return None
        if self.state.mode == "refused":
            return error(501, "NotImplemented")
        found = self.state.objects.get(key)
        if conditions[0] and found is not None:
            return error(412, "PreconditionFailed")
        if conditions[1] and found is None:
            return error(404, "NoSuchKey")
        if conditions[1] and found is not None and found.etag != conditions[1].strip('"'):
            return error(412, "PreconditionFailed")
        return None

    def _store(self, command: str, key: str, query: dict[str, str], headers: dict[str, str], body: bytes) -> Answer:
        state = self.state
        metadata = {
            name: value for name, value in headers.items() if name.startswith("x-amz-meta-") or name == "content-type"
        }
        if command == "POST" and "uploads" in query:
            upload_id = uuid.uuid4().hex
            state.uploads[upload_id] = (metadata, {})
            return (
                200,
                {},
                f"<InitiateMultipartUploadResult><UploadId>{upload_id}</UploadId></InitiateMultipartUploadResult>".encode(),
            )
        if "uploadId" in query:
            return self._part(command, key, query, body)
        if command == "PUT" and "x-amz-copy-source" in headers:
            source = state.objects.get(urllib.parse.unquote(headers["x-amz-copy-source"]).lstrip("/").partition("/")[2])
            if source is None:
                return error(404, "NoSuchKey")
            replaces = headers.get("x-amz-metadata-directive") == "REPLACE"
            etag = self._write(key, source.body, metadata if replaces else source.metadata)
            return 200, {}, f"<CopyObjectResult><ETag>&quot;{etag}&quot;</ETag></CopyObjectResult>".encode()
        if command == "PUT":
            etag = self._write(key, body, metadata)
            return 200, {"ETag": f'"{etag}"'}, b""
        if command == "DELETE":
            if state.objects.pop(key, None) is not None:
                state.applied[key].append(b"<deleted>")
            return 204, {}, b""
        found = state.objects.get(key)
        if found is None:
            return error(404, "NoSuchKey")
        said = {"ETag": f'"{found.etag}"', "Last-Modified": formatdate(found.modified, usegmt=True), **found.metadata}
        if command == "HEAD":
            return 200, {**said, "Content-Length": str(len(found.body))}, b""
        return 200, said, found.body

    def _write(self, key: str, body: bytes, metadata: dict[str, str], etag: str | None = None) -> str:
        etag = etag or hashlib.md5(body, usedforsecurity=False).hexdigest()
        self.state.objects[key] = Stored(body, metadata, etag, self.state.now())
        self.state.applied[key].append(body)
        return etag

    def _part(self, command: str, key: str, query: dict[str, str], body: bytes) -> Answer:
        found = self.state.uploads.get(query["uploadId"])
        if found is None:
            return error(404, "NoSuchUpload")
        if command == "PUT":
            found[1][int(query["partNumber"])] = body
            return 200, {"ETag": f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'}, b""
        del self.state.uploads[query["uploadId"]]
        if command == "DELETE":
            return 204, {}, b""
        whole = b"".join(found[1][int(number)] for number in re.findall(rb"<PartNumber>(\d+)<", body))
        etag = self._write(key, whole, found[0], f"{uuid.uuid4().hex}-{len(found[1])}")
        return (
            200,
            {},
            f"<CompleteMultipartUploadResult><ETag>&quot;{etag}&quot;</ETag></CompleteMultipartUploadResult>".encode(),
        )

    def _listing(self, prefix: str) -> Answer:
        with self.state.mutex:
            keys = sorted(key for key in self.state.objects if key.startswith(prefix))
        entries = "".join(f"<Contents><Key>{key}</Key><Size>1</Size></Contents>" for key in keys)
        return 200, {}, f"<ListBucketResult><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>".encode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is no news."""


@contextmanager
def run_faulty_s3(mode: str = "honoured") -> Iterator[tuple[str, State]]:
    """The server's address and its state, for as long as the block lasts."""
    state = State(mode)
    server = _Server(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"state": state}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", state
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
