"""One object's bytes, on stores that do not take If-Match as HTTP means it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import messageflux_s3 as s3

BODY = b"0123456789" * 100

Store = Callable[[str], tuple[s3.S3Store, Callable[[str], None]]]
Read = Callable[[s3.S3Object, Path], bytes]


@pytest.fixture
def store_that() -> Iterator[Store]:
    """A store with one object under every key, whose GETs treat If-Match in a way of their own; and what gives the object another etag."""
    servers: list[ThreadingHTTPServer] = []

    def start(manner: str) -> tuple[s3.S3Store, Callable[[str], None]]:
        etag = ["first"]

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                self._send(200, len(BODY))

            def do_GET(self) -> None:
                if manner == "misreads" and "If-Match" in self.headers:
                    self._send(412, 0)
                elif "list-type" in self.path:
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n<Nothing/>")
                elif manner == "cuts":
                    self.wfile.write(b'HTTP/1.1 200 OK\r\nETag: "first"\r\nConnection: close\r\n\r\n' + BODY[:100])
                    self.close_connection = True
                else:
                    self._send(200, len(BODY))
                    self.wfile.write(BODY)

            def _send(self, status: int, length: int) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(length))
                self.send_header("ETag", f'"{etag[0]}"')
                self.send_header("Content-Type", "text/plain")
                self.send_header("Last-Modified", "Sat, 21 Nov 2026 05:00:00 GMT")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        store = s3.connect(
            f"http://127.0.0.1:{server.server_port}", access_key="ACCESSKEY01", secret_key="SECRETKEY0123456",
            region="us-east-1", max_attempts=1,
        )  # fmt: skip
        return store, lambda new: etag.__setitem__(0, new)

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


READS: dict[str, Read] = {
    "body": lambda obj, folder: obj.body,
    "body_stream": lambda obj, folder: obj.body_stream.read(),
    "open": lambda obj, folder: obj.open().read(),
    "read_range": lambda obj, folder: obj.read_range(0, None),
    "iter_chunks": lambda obj, folder: b"".join(obj.iter_chunks(64)),
    "download_to": lambda obj, folder: Path(obj.download_to(folder / "t") or folder / "t").read_bytes(),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_a_condition_that_is_ignored_is_compared_here(store_that: Store, read: Read, tmp_path: Path) -> None:
    """What was replaced since the handle met it is an error on any store, and no file is left."""
    store, become = store_that("ignores")
    obj = store.bucket("bkt").object("k")
    assert obj.content_type == "text/plain"
    assert read(obj, tmp_path) == BODY
    obj.reload()
    assert obj.content_type == "text/plain"
    become("second")
    with pytest.raises(s3.S3ObjectChanged, match=r"first.*second"):
        read(obj, tmp_path / "new")
    assert not list(tmp_path.rglob("new/*"))


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_a_condition_that_is_misread_is_not_sent_again(store_that: Store, read: Read, tmp_path: Path) -> None:
    """A refusal of the very etag that HEAD tells is the store's mistake, not a change of the object."""
    store, become = store_that("misreads")
    obj = store.bucket("bkt").object("k")
    assert obj.content_type == "text/plain"
    assert read(obj, tmp_path) == BODY
    obj.reload()
    assert obj.content_type == "text/plain"
    become("second")
    with pytest.raises(s3.S3ObjectChanged):
        read(obj, tmp_path)


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_a_body_without_a_length_is_no_body(store_that: Store, read: Read, tmp_path: Path) -> None:
    """Where an answer says neither how long it is nor where it ends, nobody could tell that it was cut."""
    store, _ = store_that("cuts")
    with pytest.raises(s3.S3Error):
        read(store.bucket("bkt").object("k"), tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.is_file()]


def test_a_document_that_is_no_listing_is_no_empty_listing(store_that: Store) -> None:
    """boto3 makes an empty listing of whatever comes; keys would be lost without a word."""
    store, _ = store_that("ignores")
    with pytest.raises(s3.S3ServerError, match="no listing"):
        list(store.bucket("bkt").find())
