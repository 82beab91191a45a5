"""An S3 server for large transfers: it keeps everything in memory, takes parts side by side, and checks no signature.

It knows only what transfers of single objects need: PUT, GET, HEAD, ranges, uploads in parts. ETags are MD5s, as on most stores.
"""

from __future__ import annotations

import hashlib
import itertools
import multiprocessing
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from urllib.parse import parse_qs, urlsplit

ACCESS_KEY, SECRET_KEY = "ACCESSKEY01", "SECRETKEY0123456"
_XML = "application/xml"


@dataclass
class _Object:
    """The content of an object, or of one part, in pieces."""

    pieces: list[bytearray]
    etag: str

    @property
    def size(self) -> int:
        return sum(map(len, self.pieces))

    def views(self, start: int, end: int) -> Iterator[memoryview]:
        at = 0
        for piece in self.pieces:
            yield memoryview(piece)[max(0, start - at) : max(0, end - at)]
            at += len(piece)


@dataclass
class _State:
    objects: dict[str, _Object] = field(default_factory=dict)
    uploads: dict[str, dict[int, _Object]] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=itertools.count)


def _serve_connection(sock: socket.socket, state: _State) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    incoming = sock.makefile("rb")
    while line := incoming.readline():
        method, target, _ = line.decode().split(" ", 2)
        headers: dict[str, str] = {}
        while (header := incoming.readline()) not in (b"\r\n", b""):
            name, _, value = header.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        if "100-continue" in headers.get("expect", ""):
            sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = bytearray(int(headers.get("content-length", "0")))
        view, at = memoryview(body), 0
        while at < len(body):
            count = incoming.readinto(view[at:])
            if not count:
                return
            at += count
        view.release()
        if "aws-chunked" in headers.get("content-encoding", ""):
            body = _unchunked(body)
        _answer(sock, state, method, target, headers, body)


def _unchunked(body: bytearray) -> bytearray:
    found, at = bytearray(), 0
    while size := int(body[at : (end := body.index(b"\r\n", at))].partition(b";")[0], 16):
        found += body[end + 2 : end + 2 + size]
        at = end + 2 + size + 2
    return found


def _answer(
    sock: socket.socket, state: _State, method: str, target: str, headers: dict[str, str], body: bytearray
) -> None:
    path, query = urlsplit(target).path, parse_qs(urlsplit(target).query, keep_blank_values=True)
    is_object = path.strip("/").count("/") > 0
    upload = query.get("uploadId", [""])[0]
    if method == "PUT" and is_object:
        received = _Object([body], hashlib.md5(body).hexdigest())
        if upload:
            state.uploads[upload][int(query["partNumber"][0])] = received
        else:
            state.objects[path] = received
        _send(sock, 200, {"ETag": f'"{received.etag}"'})
    elif method == "POST" and "uploads" in query:
        upload = f"upload{next(state.numbers)}"
        state.uploads[upload] = {}
        _document(sock, "InitiateMultipartUploadResult", f"<UploadId>{upload}</UploadId>")
    elif method == "POST" and upload:
        parts = [part for _, part in sorted(state.uploads.pop(upload).items())]
        digests = b"".join(bytes.fromhex(part.etag) for part in parts)
        etag = f"{hashlib.md5(digests).hexdigest()}-{len(parts)}"
        state.objects[path] = _Object([piece for part in parts for piece in part.pieces], etag)
        _document(sock, "CompleteMultipartUploadResult", f"<ETag>&quot;{etag}&quot;</ETag>")
    elif method == "DELETE":
        state.uploads.pop(upload, None)
        if not upload:
            state.objects.pop(path, None)
        _send(sock, 204, {})
    elif method in ("GET", "HEAD") and is_object and (found := state.objects.get(path)) is not None:
        _send_object(sock, found, headers.get("range", ""), with_body=method == "GET")
    elif method in ("GET", "HEAD") and not is_object:
        _document(sock, "ListBucketResult", "<IsTruncated>false</IsTruncated>", with_body=method == "GET")
    else:
        _document(sock, "Error", "<Code>NoSuchKey</Code>", 404, with_body=method != "HEAD")


def _send_object(sock: socket.socket, found: _Object, asked: str, *, with_body: bool) -> None:
    start, end, status = 0, found.size, 200
    headers = {"ETag": f'"{found.etag}"', "Last-Modified": "Mon, 02 Nov 2026 10:00:00 GMT", "Accept-Ranges": "bytes"}
    if wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", asked):
        start, end, status = int(wanted[1]), min(int(wanted[2] or found.size) + 1, found.size), 206
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{found.size}"
    _send(sock, status, headers, length=end - start)
    if with_body:
        for view in found.views(start, end):
            sock.sendall(view)


def _document(sock: socket.socket, root: str, inside: str, status: int = 200, *, with_body: bool = True) -> None:
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<{root}>{inside}</{root}>'.encode()
    _send(sock, status, {"Content-Type": _XML}, body if with_body else b"", length=len(body))


def _send(
    sock: socket.socket, status: int, headers: dict[str, str], body: bytes = b"", *, length: int | None = None
) -> None:
    lines = [f"HTTP/1.1 {status} -", *(f"{name}: {value}" for name, value in headers.items())]
    lines.append(f"Content-Length: {len(body) if length is None else length}")
    sock.sendall("\r\n".join([*lines, "", ""]).encode() + body)


def _serve(told: Connection) -> None:
    state = _State()
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    told.send(listener.getsockname()[1])

    def run(sock: socket.socket) -> None:
        with sock:
            try:
                _serve_connection(sock, state)
            except ConnectionError:
                return  # the client hung up

    while True:
        threading.Thread(target=run, args=(listener.accept()[0],), daemon=True).start()


@contextmanager
def run_memory_server() -> Iterator[str]:
    """Run the server in a process of its own, and yield its URL."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.terminate()
        process.join()
