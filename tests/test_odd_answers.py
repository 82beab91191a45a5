"""Every way to read from a server with unusual responses returns the right bytes or raises an S3Error."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from support.scripted_server import Asked
from support.stateful_server import ODDITIES, StatefulServer, run_stateful_server

import messageflux_s3 as s3
from messageflux_s3._bulk import versions
from messageflux_s3._files import copying
from messageflux_s3.subresources.lifecycle import LifecycleConfiguration
from messageflux_s3.subresources.policy import BucketPolicy

BODY = "".join(f"line {number}: {'x' * (number % 50)}\n" for number in range(200)).encode()
LARGER = BODY * 20  # more than a file's first request brings
START, END = 333, 2222

Read = Callable[[s3.S3Bucket, str, Path], bytes]


def _open(bucket: s3.S3Bucket, key: str, folder: Path) -> bytes:
    with bucket.object(key).open("rb") as file:
        return bytes(file.read())


def _open_and_seek(bucket: s3.S3Bucket, key: str, folder: Path) -> bytes:
    with bucket.object(key).open("rb") as file:
        file.seek(START)
        return bytes(file.read(END - START))


def _open_unbuffered_backwards(bucket: s3.S3Bucket, key: str, folder: Path) -> bytes:
    with bucket.object(key).open("rb", buffering=0) as file:
        size = file.seek(0, 2)
        pieces = []
        for start in reversed(range(0, size, 50_000)):
            file.seek(start)
            piece = b""
            while len(piece) < min(50_000, size - start):
                piece += file.read(min(50_000, size - start) - len(piece))
            pieces.append(piece)
        return b"".join(reversed(pieces))


def _download_object(bucket: s3.S3Bucket, key: str, folder: Path) -> bytes:
    with (folder / "object").open("w+b") as file:
        bucket.download_object(key, file)
        file.seek(0)
        return file.read()


def _body_stream(bucket: s3.S3Bucket, key: str, folder: Path) -> bytes:
    with bucket.object(key).body_stream as stream:
        return b"".join(iter(lambda: stream.read(777), b""))


def _known_body(bucket: s3.S3Bucket, key: str, folder: Path) -> bytes:
    obj = bucket.object(key)
    _ = obj.size  # the handle is now pinned to the etag: the next read sends If-Match
    return obj.body


def _update(bucket: s3.S3Bucket, key: str, folder: Path) -> bytes:
    seen: list[bytes] = []
    bucket.object(key).update(lambda body: seen.append(body) or body)
    return seen[-1]


def _fs(bucket: s3.S3Bucket) -> Any:
    from messageflux_s3.fs import MessagefluxS3FileSystem

    return MessagefluxS3FileSystem(bucket.store)


def _fs_open(bucket: s3.S3Bucket, key: str, folder: Path) -> bytes:
    with _fs(bucket).open(f"bkt/{key}", "rb") as file:
        return bytes(file.read())


def _fs_get(bucket: s3.S3Bucket, key: str, folder: Path) -> bytes:
    _fs(bucket).get_file(f"bkt/{key}", str(folder / "got"))
    return (folder / "got").read_bytes()


def _under_asyncio(use: Callable[[s3.AsyncS3Bucket, str, Path], Any]) -> Read:
    def read(bucket: s3.S3Bucket, key: str, folder: Path) -> bytes:
        async def run() -> bytes:
            store = s3.AsyncS3Store(bucket.store)
            try:
                found: bytes = await use(store.bucket("bkt"), key, folder)
                return found
            finally:
                await store._engine.close()

        return asyncio.run(run())

    return read


async def _async_load(bucket: s3.AsyncS3Bucket, key: str, folder: Path) -> bytes:
    await bucket.object(key).exists()
    obj = await bucket.object(key).load()
    return obj.body


async def _async_get_object(bucket: s3.AsyncS3Bucket, key: str, folder: Path) -> bytes:
    return (await bucket.get_object(key)).body


async def _async_read_range(bucket: s3.AsyncS3Bucket, key: str, folder: Path) -> bytes:
    return await bucket.object(key).read_range(START, END)


async def _async_iter_chunks(bucket: s3.AsyncS3Bucket, key: str, folder: Path) -> bytes:
    return b"".join([chunk async for chunk in bucket.object(key).iter_chunks(5000)])


async def _async_iter_lines(bucket: s3.AsyncS3Bucket, key: str, folder: Path) -> bytes:
    return b"".join([line + b"\n" async for line in bucket.object(key).iter_lines()])


async def _async_get_objects(bucket: s3.AsyncS3Bucket, key: str, folder: Path) -> bytes:
    return [obj.body async for obj in bucket.get_objects([key, key])][1]


async def _async_download(bucket: s3.AsyncS3Bucket, key: str, folder: Path) -> bytes:
    await bucket.object(key).download_to(folder / "async")
    return (folder / "async").read_bytes()


WHOLE: dict[str, Read] = {
    "body": lambda bucket, key, _: bucket.object(key).body,
    "body of a known object": _known_body,
    "text": lambda bucket, key, _: bucket.object(key).text.encode(),
    "get_object": lambda bucket, key, _: bucket.get_object(key).body,
    "get_objects": lambda bucket, key, _: [obj.body for obj in bucket.get_objects([key, key])][1],
    "prefetch": lambda bucket, key, _: next(obj.body for obj in bucket.find(prefix=key).prefetch()),
    "iter_chunks": lambda bucket, key, _: b"".join(bucket.object(key).iter_chunks(5000)),
    "iter_lines": lambda bucket, key, _: b"".join(line + b"\n" for line in bucket.object(key).iter_lines()),
    "body_stream": _body_stream,
    "open": _open,
    "open, backwards": _open_unbuffered_backwards,
    "download_to": lambda bucket, key, folder: (
        bucket.object(key).download_to(folder / "to") and (folder / "to").read_bytes()
    ),
    "download_file": lambda bucket, key, folder: (
        bucket.download_file(key, folder / "file") and (folder / "file").read_bytes()
    ),
    "download_folder": lambda bucket, key, folder: (
        bucket.download_folder("", folder / "all") and (folder / "all" / key).read_bytes()
    ),
    "download_object": _download_object,
    "update": _update,
    "copy_to": lambda bucket, key, _: bucket.object(key).copy_to("copy") and bucket.object("copy").body,
    "fs.cat": lambda bucket, key, _: _fs(bucket).cat(f"bkt/{key}"),
    "fs.cat_file": lambda bucket, key, _: _fs(bucket).cat_file(f"bkt/{key}"),
    "fs.open": _fs_open,
    "fs.get_file": _fs_get,
    "async load": _under_asyncio(_async_load),
    "async get_object": _under_asyncio(_async_get_object),
    "async iter_chunks": _under_asyncio(_async_iter_chunks),
    "async iter_lines": _under_asyncio(_async_iter_lines),
    "async get_objects": _under_asyncio(_async_get_objects),
    "async download_to": _under_asyncio(_async_download),
}
RANGES: dict[str, Read] = {
    "read_range": lambda bucket, key, _: bucket.object(key).read_range(START, END),
    "read_range from the end": lambda bucket, key, _: bucket.object(key).read_range(
        START - bucket.object(key).size, END
    ),
    "iter_chunks of a range": lambda bucket, key, _: b"".join(bucket.object(key).iter_chunks(1000, START, END)),
    "open and seek": _open_and_seek,
    "download_to of a range": lambda bucket, key, folder: (
        bucket.object(key).download_to(folder / "part", start=START, end=END) and (folder / "part").read_bytes()
    ),
    "fs.cat_file of a range": lambda bucket, key, _: _fs(bucket).cat_file(f"bkt/{key}", START, END),
    "fs.cat_ranges": lambda bucket, key, _: _fs(bucket).cat_ranges([f"bkt/{key}"], [START], [END], on_error="raise")[0],
    "async read_range": _under_asyncio(_async_read_range),
}
READERS = {**WHOLE, **RANGES}

# The combinations for which an S3Error is expected: the response is ambiguous, or looks truncated to any client.
REFUSED: dict[str, set[str]] = {
    "weak etags": {"update"},  # If-Match cannot hold
    "shifted ranges": {*RANGES, *(name for name in WHOLE if "open" in name or name == "fs.get_file")},
    "ranges without total": {*RANGES, *(name for name in WHOLE if "open" in name or name == "fs.get_file")},
    "ranges without Content-Range": {*RANGES, *(name for name in WHOLE if "open" in name or name == "fs.get_file")},
    "second half as 206": {*WHOLE},
    "no Last-Modified": {*READERS},
    "errors in 200": {"copy_to"},
    "HTTP/1.0 without length": {*READERS},
    "connections closed unsaid": {*READERS},
    "interim answers": {*READERS},  # Python's http.client takes the 103 for the final response
}


@pytest.fixture(scope="module")
def server() -> Iterator[StatefulServer]:
    with run_stateful_server() as started:
        yield started


@pytest.fixture(params=[True, False], ids=["lane", "boto3"])
def lane(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def outcomes(server: StatefulServer, lane: bool, folder: Path, *oddities: str) -> dict[str, str]:
    """Return the result of each reader: "right", "wrong", or the error's name."""
    server.oddities = set()
    server.state.objects.clear()
    server.asked.clear()
    bucket = server.bucket(lane=lane)
    server.state.put("larger", LARGER)
    server.oddities = set(oddities)
    server.state.put("k", BODY)
    server.state.put("larger", LARGER)
    found: dict[str, str] = {}
    for key, whole in (("k", BODY), ("larger", LARGER)):
        for name, read in READERS.items():
            where = folder / f"{key} {name}"
            where.mkdir()
            try:
                is_right = read(bucket, key, where) == (whole[START:END] if name in RANGES else whole)
                outcome = "right" if is_right else "wrong"
            except s3.S3Error as error:
                outcome = f"S3Error {type(error).__name__}: {error}"
            except Exception as error:
                outcome = f"{type(error).__name__}: {error}"
            if found.get(name, "right") == "right":
                found[name] = outcome
    return found


@pytest.mark.parametrize("oddity", ODDITIES)
def test_every_reader_returns_the_right_bytes_or_raises_an_s3_error(
    server: StatefulServer, tmp_path: Path, lane: bool, oddity: str
) -> None:
    """Over all readers, of a small object and of a larger one; an error only where the table expects one."""
    wrong = {}
    for name, said in outcomes(server, lane, tmp_path, oddity).items():
        is_excused = name in REFUSED.get(oddity, ())
        if said != "right" and not (is_excused and said.startswith("S3Error ")):
            wrong[name] = said
    assert wrong == {}


def test_every_reader_returns_the_right_bytes_from_a_correct_server(
    server: StatefulServer, tmp_path: Path, lane: bool
) -> None:
    """The server without oddities is correct."""
    assert {name: said for name, said in outcomes(server, lane, tmp_path).items() if said != "right"} == {}


@pytest.mark.parametrize("oddity", ["aligned ranges", "short ranges", "ranges as 200"])
def test_a_download_in_parts_returns_the_right_bytes(
    server: StatefulServer, tmp_path: Path, lane: bool, oddity: str
) -> None:
    """Each part is requested as a range on its own thread."""
    server.oddities = {oddity}
    body = b"".join(number.to_bytes(4, "big") for number in range((17 << 20) // 4 + 25))
    server.state.put("large", body)
    try:
        server.bucket(lane=lane).object("large").download_to(tmp_path / "file")
        assert (tmp_path / "file").read_bytes() == body
        assert len([asked for asked in server.asked if asked.key == "large"]) > 1
    finally:
        server.state.objects.clear()
        server.asked.clear()


PARTS = b"0123456789abcdef" * (6 << 16)  # 6 MiB: two parts
Write = Callable[[s3.S3Bucket], Any]
WRITERS: dict[str, tuple[Write, bytes]] = {
    "put_object": (lambda bucket: bucket.put_object("new", BODY), BODY),
    "put_object if absent": (lambda bucket: bucket.put_object("new", BODY, if_absent=True), BODY),
    "upload_object": (lambda bucket: bucket.upload_object("new", iter([BODY])), BODY),
    "upload in parts": (lambda bucket: bucket.upload_object("new", iter([PARTS]), part_size_bytes=5 << 20), PARTS),
    "upload in parts if absent": (
        lambda bucket: bucket.upload_object("new", iter([PARTS]), part_size_bytes=5 << 20, if_absent=True), PARTS
    ),
    "copy_to": (lambda bucket: bucket.object("k").copy_to("new"), BODY),
    "move_to": (lambda bucket: bucket.object("k").move_to("new"), BODY),
}  # fmt: skip


@pytest.mark.parametrize(
    "oddity",
    [
        "",
        "completes checked",
        "weak etags",
        "etags that are no MD5",
        "errors in 200",
        "chunked",
        "HTTP/1.0 without length",
        "write conflicts",
    ],
)
def test_every_writer_stores_the_right_bytes_or_raises_an_s3_error(
    server: StatefulServer, lane: bool, oddity: str
) -> None:
    """After a success the complete object exists; after an error the old one, and no parts are left."""
    wrong = {}
    for name, (write, body) in WRITERS.items():
        server.oddities = set()
        server.state.objects.clear()
        server.state.uploads.clear()
        server.state.clear()
        bucket = server.bucket(lane=lane, preset="aws", max_attempts=2 if oddity == "write conflicts" else 1)
        server.state.put("k", BODY)
        assert bucket.object("k").exists()
        server.oddities = {oddity} - {""}
        server.state.put("k", BODY)
        try:
            write(bucket)
            found = server.state.objects["new"].body
            is_right = found == body and ("k" in server.state.objects) == (name != "move_to")
            said = "right" if is_right else "wrong"
        except s3.S3Error as error:
            is_kept = server.state.objects["k"].body == BODY and server.state.objects.get(
                "new", server.state.objects["k"]
            ).body in (
                BODY,
                body,
            )
            said = (
                f"S3Error {type(error).__name__}: {error}"
                if is_kept and not server.state.uploads
                else f"left something: {error}"
            )
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
        finally:
            server.asked.clear()
        is_read_once = (
            oddity == "write conflicts" and name == "upload in parts if absent"
        )  # an iterator cannot be sent again
        is_excused = oddity == "errors in 200" or is_read_once
        if said != "right" and not (is_excused and said.startswith("S3Error ")):
            wrong[name] = said
    assert wrong == {}


UNCONFIRMED = {
    "empty": b"",
    "white space": b'<?xml version="1.0" encoding="UTF-8"?>\n   ',
    "page": b"<html><body>sign in</body></html>",
    "page with doctype": b"<!DOCTYPE html><html></html>",
    "another document": b"<ListBucketResult><Name>bkt</Name></ListBucketResult>",
    "document without end": b"<RESULT><ETag>&quot;0123456789abcdef0123456789abcdef&quot;</ETag>",
    "text": b"OK",
}
"""Bodies of a 200 that does not say that a write was done; RESULT stands for the root element of the operation's own document."""
CREATE, COMPLETE, COPY, COPY_PART = (
    "InitiateMultipartUploadResult",
    "CompleteMultipartUploadResult",
    "CopyObjectResult",
    "CopyPartResult",
)


def _open_and_write(bucket: s3.S3Bucket) -> None:
    with bucket["new"].open("wb") as file:
        file.write(bytes(9 << 20))


def _in_asyncio(use: Callable[[s3.AsyncS3Bucket], Any]) -> Write:
    async def read(bucket: s3.AsyncS3Bucket, key: str, folder: Path) -> bytes:
        await use(bucket)
        return b""

    return lambda bucket: _under_asyncio(read)(bucket, "", Path())


CONFIRMED: dict[str, tuple[Write, set[str]]] = {
    "upload in parts": (WRITERS["upload in parts"][0], {CREATE, COMPLETE}),
    "upload in parts if absent": (WRITERS["upload in parts if absent"][0], {CREATE, COMPLETE}),
    "open": (_open_and_write, {CREATE, COMPLETE}),
    "copy_to": (WRITERS["copy_to"][0], {COPY}),
    "copy_to if absent": (lambda bucket: bucket.object("k").copy_to("new", if_absent=True), {COPY}),
    "copy_object": (lambda bucket: bucket.copy_object("k", "new"), {COPY}),
    "move_to": (WRITERS["move_to"][0], {COPY}),
    "query.copy_to": (lambda bucket: bucket.find("k").copy_to(bucket, "new/").raise_for_failures(), {COPY}),
    "copy in parts": (lambda bucket: bucket["large"].copy_to("new"), {CREATE, COPY_PART, COMPLETE}),
    "async upload in parts": (
        _in_asyncio(lambda bucket: bucket.upload_object("new", iter([PARTS]), part_size_bytes=5 << 20)), {CREATE, COMPLETE}
    ),
    "async copy_to": (_in_asyncio(lambda bucket: bucket.object("k").copy_to("new")), {COPY}),
    "async query.copy_to": (_in_asyncio(lambda bucket: bucket.find("k").copy_to(bucket, "new/")), {COPY}),
}  # fmt: skip
"""Each write whose success is confirmed by a document, with the root elements of those documents."""


def _document_of(asked: Asked) -> str | None:
    """The root element of the document that confirms a request."""
    if asked.method == "POST" and "uploads" in asked.query:
        return CREATE
    if asked.method == "POST" and "uploadId" in asked.query:
        return COMPLETE
    if asked.method == "PUT" and "x-amz-copy-source" in asked.headers:
        return COPY_PART if "uploadId" in asked.query else COPY
    return None


@pytest.mark.parametrize("body", UNCONFIRMED)
def test_a_write_that_no_document_confirms_raises_a_retryable_server_error(
    server: StatefulServer, lane: bool, body: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is stored and no parts are left; the error says that the write may be sent again."""
    monkeypatch.setattr(copying, "MAX_COPIED_AT_ONCE", 1 << 20)
    wrong = {}
    for name, (write, roots) in CONFIRMED.items():
        for root in roots:
            server.oddities = set()
            server.state.clear()
            bucket = server.bucket(lane=lane, preset="aws", max_attempts=1)
            server.state.put("k", BODY)
            server.state.put("large", PARTS)
            assert bucket.object("k").exists()
            answer = UNCONFIRMED[body].replace(b"RESULT", root.encode())
            server.state.before = lambda asked, root=root, answer=answer: (
                (200, {}, answer) if _document_of(asked) == root else None
            )
            try:
                write(bucket)
                said = "success"
            except s3.S3BatchError as error:
                said = _unconfirmed_as(error.failures[0].error)
            except s3.S3Unsupported as error:  # some stores store an empty part, and answer without a document
                said = "unconfirmed" if root == COPY_PART else str(error)
            except s3.S3Error as error:
                said = _unconfirmed_as(error)
            except Exception as error:
                said = f"{type(error).__name__}: {error}"
            finally:
                server.state.before = None
                server.asked.clear()
            left = sorted(server.state.objects.keys() - {"k", "large"}), len(server.state.uploads)
            if said != "unconfirmed" or left != ([], 0) or "k" not in server.state.objects:
                wrong[name, root] = said, left
    server.state.clear()
    assert wrong == {}


HTML = b"<!DOCTYPE html>\n<html><body>Sign in</body></html>"

WITHOUT_PROOF: dict[str, tuple[str, Write]] = {
    "put": ("PUT", lambda bucket: bucket.put_object("k", b"x")),
    "put many": ("PUT", lambda bucket: bucket.put_objects([("k", b"x")])),
    "open": ("PUT", _open_and_write),
    "upload in parts": ("PUT", WRITERS["upload in parts"][0]),
    "copy": ("PUT", lambda bucket: bucket.copy_object("k", "new")),
    "delete": ("DELETE", lambda bucket: bucket.delete_object("k")),
    "delete many": ("DELETE", lambda bucket: bucket.delete_objects(["k"])),
    "delete bucket": ("DELETE", lambda bucket: bucket.delete_bucket()),
}
"""Each write with the method of the request that a proxy answers in place of the store."""


@pytest.mark.parametrize(("status", "page"), [(200, HTML), (201, b""), (202, HTML), (204, b"")])
def test_a_success_that_is_not_of_s3_is_no_success(
    server: StatefulServer, lane: bool, status: int, page: bytes
) -> None:
    """S3 confirms a write by an ETag or a document, and answers a deletion without a body."""
    wrong = {}
    for name, (method, write) in WITHOUT_PROOF.items():
        if method == "DELETE" and not page:
            continue  # so does S3
        server.state.clear()
        bucket = server.bucket(lane=lane, preset="aws", max_attempts=1)
        server.state.put("k", BODY)
        assert bucket.object("k").exists()

        def in_place_of_store(asked: Asked, method: str = method) -> tuple[int, dict[str, str], bytes] | None:
            is_deletion = method == "DELETE" and asked.method == "POST"
            return (status, {"Content-Type": "text/html"}, page) if asked.method == method or is_deletion else None

        server.state.before = in_place_of_store
        try:
            write(bucket)
            wrong[name] = "success"
        except s3.S3BatchError as error:
            if not error.failures[0].error.retryable:
                wrong[name] = str(error)
        except s3.S3Error as error:
            if not error.retryable:
                wrong[name] = str(error)
        finally:
            server.state.before = None
    server.state.clear()
    assert wrong == {}


ERROR = b"<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>"

DELETIONS: dict[str, Write] = {
    "delete": lambda bucket: bucket.delete_object("k"),
    "delete if match": lambda bucket: bucket["k"].delete(if_match=bucket.object("k").etag),
    "delete many": lambda bucket: bucket.delete_objects(["k"]),
    "delete more": lambda bucket: bucket.delete_objects(["k", "other"]),
    "find and delete": lambda bucket: bucket.find("k").delete(),
    "move": lambda bucket: bucket.object("k").move_to("new"),
    "async delete": _in_asyncio(lambda bucket: bucket.object("k").delete()),
    "async delete many": _in_asyncio(lambda bucket: bucket.delete_objects(["k", "other"])),
}
"""Each way to delete the object ``k``."""


@pytest.mark.parametrize(
    ("status", "document"),
    [(200, ERROR), (404, HTML), (404, b"404 page not found\n"), (404, b'{"error": "no such route"}')],
    ids=["error in 200", "page with 404", "text with 404", "JSON with 404"],
)
def test_a_deletion_that_the_store_does_not_confirm_is_no_success(
    server: StatefulServer, lane: bool, status: int, document: bytes
) -> None:
    """An error with status 200, and a proxy's page or text with 404, which would say that there is no such object."""
    wrong = {}
    for name, delete in DELETIONS.items():
        server.state.clear()
        bucket = server.bucket(lane=lane, preset="aws", max_attempts=1)
        server.state.put("k", BODY)
        assert bucket.object("k").exists()
        server.state.before = lambda asked: (
            (status, {"Content-Type": "text/html"}, document)
            if asked.method == "DELETE" or "delete" in asked.query
            else None
        )
        try:
            delete(bucket)
            wrong[name] = "success"
        except s3.S3Error as error:
            if isinstance(error, FileNotFoundError):
                wrong[name] = str(error)
        finally:
            server.state.before = None
    server.state.clear()
    assert wrong == {}


SETTINGS: dict[str, Write] = {
    "delete bucket": lambda bucket: bucket.delete_bucket(),
    "bucket tags": lambda bucket: bucket.tags.put({"a": "1"}),
    "no bucket tags": lambda bucket: bucket.tags.delete(),
    "object tags": lambda bucket: bucket.object("k").tags.put({"a": "1"}),
    "policy": lambda bucket: bucket.policy.change(BucketPolicy(('{"Effect": "Deny"}',))).apply(),
    "lifecycle": lambda bucket: bucket.lifecycle.put(LifecycleConfiguration((s3.LifecycleRule("x", expire_days=1),))),
    "versioning": lambda bucket: bucket.versioning.enable(),
    "abort": lambda bucket: versions.abort_uploads(bucket._address),
}
"""Writes whose success has no document, on AWS, where nothing is read back."""


def test_an_error_with_status_200_is_no_success_where_s3_sends_no_document(server: StatefulServer) -> None:
    """botocore reads a document only where the operation has one."""
    reads = {
        "uploads": b"<ListMultipartUploadsResult><Upload><Key>k</Key><UploadId>U</UploadId></Upload></ListMultipartUploadsResult>",
        "versioning": b"<VersioningConfiguration/>",
        "policy": b'{"Statement": []}',
    }

    def answer(asked: Asked) -> tuple[int, dict[str, str], bytes]:
        found = next((document for name, document in reads.items() if name in asked.query), b"")
        return (200, {}, found if asked.method == "GET" else ERROR)

    server.state.before = answer
    wrong = {}
    try:
        for name, write in SETTINGS.items():
            bucket = server.bucket(lane=False, preset="aws", max_attempts=1)
            try:
                write(bucket)
                wrong[name] = "success"
            except s3.S3ServerError as error:
                if error.code != "InternalError":
                    wrong[name] = str(error)
    finally:
        server.state.before = None
    assert wrong == {}


def test_a_proxy_s_page_is_not_the_content_of_an_object(server: StatefulServer, tmp_path: Path, lane: bool) -> None:
    """In place of each GET of the object, by every way to read. An HTML page that is an object has an ETag."""
    server.oddities = set()
    server.state.clear()
    bucket = server.bucket(lane=lane)
    server.state.put("k", BODY)
    assert bucket.object("k").exists()
    for headers, is_object in (({}, False), ({"ETag": '"e"', "Last-Modified": "Sat, 21 Nov 2026 05:00:00 GMT"}, True)):
        page = {"Content-Type": "text/html; charset=utf-8", **headers}
        server.state.before = lambda asked, page=page: (
            (200, page, HTML) if asked.method == "GET" and asked.key == "k" else None
        )
        wrong = {}
        try:
            if is_object:
                assert bucket.object("k").body == HTML
                continue
            for name, read in READERS.items():
                folder = tmp_path / name
                folder.mkdir()
                try:
                    if name != "copy_to":  # reads nothing
                        read(bucket, "k", folder)
                        wrong[name] = "success"
                except s3.S3Error:
                    pass
                if any(path.read_bytes() for path in folder.rglob("*") if path.is_file()):
                    wrong[name] = "left in a file"
        finally:
            server.state.before = None
        assert wrong == {}
    server.state.clear()


def test_a_proxy_s_page_is_neither_an_empty_listing_nor_a_bucket(server: StatefulServer, lane: bool) -> None:
    """Nothing would seem to be there, or a bucket that was not created."""
    bucket = server.bucket(lane=lane)
    server.state.put("k", BODY)
    assert bucket.object("k").exists()
    server.state.before = lambda asked: (200, {"Content-Type": "text/html"}, HTML)
    try:
        for find in (
            lambda: [*bucket.find()],
            lambda: [*bucket.find(versions=True)],
            lambda: [*versions.uploads(bucket._address)],
            lambda: [*bucket.store.buckets()],
            lambda: bucket.exists(),
            lambda: bucket.store.create_bucket("bkt"),
        ):
            with pytest.raises(s3.S3ServerError) as caught:
                find()
            assert caught.value.retryable
    finally:
        server.state.before = None
        server.state.clear()


def test_a_proxy_s_page_does_not_mean_that_a_bucket_keeps_no_versions(server: StatefulServer, lane: bool) -> None:
    """The versions would be left, without an error."""
    bucket = server.bucket(lane=lane)
    server.state.put("k", BODY)
    assert bucket.object("k").exists()
    server.state.before = lambda asked: (
        (200, {"Content-Type": "text/html"}, HTML) if "versioning" in asked.query else None
    )
    try:
        with pytest.raises(s3.S3ServerError):
            bucket.clear_objects(versions=True)
    finally:
        server.state.before = None
        server.state.clear()


SLOW = {
    "comments": b"<!---->" * 5000 + b"x",
    "carriage returns": b"<Error>" + b"\r" * 300_000,
    "both": b"<!---->" * 5000 + b"<a>" + b"\r" * 300_000,
}
"""Bodies on which a careless pattern tries every combination."""


@pytest.mark.timeout(20)
@pytest.mark.parametrize("body", SLOW)
def test_a_body_made_to_be_searched_slowly_is_searched_at_once(server: StatefulServer, lane: bool, body: str) -> None:
    """In the response to a write, in an error, and as the content of an object, which others may have written."""
    bucket = server.bucket(lane=lane)
    server.state.clear()
    server.state.put("k", SLOW[body])
    assert bucket.object("k").exists()
    assert bucket.object("k").body == SLOW[body]
    try:
        for status in (200, 404):
            server.state.before = lambda asked, status=status: (status, {}, SLOW[body])
            for ask in (
                lambda: bucket.delete_object("k"),
                lambda: bucket.put_object("k", b"x"),
                lambda: [*bucket.find(versions=True)],
                lambda: bucket.tags.get(),
            ):
                with suppress(s3.S3Error):
                    ask()
    finally:
        server.state.before = None
        server.state.clear()


@pytest.mark.parametrize("document", ["result", "error"])
def test_white_space_before_the_xml_declaration_changes_nothing(
    server: StatefulServer, lane: bool, document: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some stores send it to keep the connection while they complete an upload, or copy an object or a part."""
    monkeypatch.setattr(copying, "MAX_COPIED_AT_ONCE", 1 << 20)
    server.oddities = set()
    wrong = {}
    for name in ("upload in parts", "upload in parts if absent", "copy_to", "async copy_to", "copy in parts"):
        server.state.clear()
        bucket = server.bucket(lane=lane, preset="aws", max_attempts=1)
        server.state.put("k", BODY)
        server.state.put("large", PARTS)
        assert bucket.object("k").exists()

        def spaced(asked: Asked) -> tuple[int, dict[str, str], bytes] | None:
            if _document_of(asked) not in (COMPLETE, COPY, COPY_PART):
                return None
            declaration = b'<?xml version="1.0" encoding="UTF-8"?>'
            if document == "error":
                return 200, {}, b" \n \n" + declaration + ERROR
            answer = server.state._act(asked)
            assert isinstance(answer, tuple) and answer[2].startswith(declaration)
            return 200, answer[1], b" \n \n" + answer[2]

        server.state.before = spaced
        try:
            CONFIRMED[name][0](bucket)
            said = "result"
        except s3.S3Error as error:
            said = "error" if error.code == "InternalError" else str(error)
        finally:
            server.state.before = None
        if said != document:
            wrong[name] = said
    server.state.clear()
    assert wrong == {}


def _answered_deletion(server: StatefulServer, inside: str) -> None:
    """Answer a bulk deletion with this result, and refuse single ones."""
    refused = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
    server.state.before = lambda asked: (
        (200, {}, f"<DeleteResult>{inside}</DeleteResult>".encode())
        if "delete" in asked.query
        else (403, {}, refused)
        if asked.method == "DELETE"
        else None
    )


@pytest.mark.parametrize("code", ["NoSuchKey", "NoSuchVersion"])
def test_a_key_that_a_bulk_deletion_does_not_find_counts_as_deleted(
    server: StatefulServer, lane: bool, code: str
) -> None:
    """As in a single deletion: some stores report it as an error."""
    server.state.put("k", BODY)
    bucket = server.bucket(lane=lane)
    assert bucket.object("k").exists()
    _answered_deletion(server, f"<Error><Key>a</Key><Code>{code}</Code></Error><Deleted><Key>b</Key></Deleted>")
    try:
        assert bucket.delete_objects(["a", "b"]).succeeded == ["a", "b"]
    finally:
        server.state.before = None
        server.state.clear()


@pytest.mark.parametrize("element", ["Errors", "Failed"])
def test_a_bulk_deletion_deletes_only_what_the_store_names_as_deleted(
    server: StatefulServer, lane: bool, element: str
) -> None:
    """An element of another name says nothing about its key, which is then deleted by a request of its own."""
    server.state.put("k", BODY)
    bucket = server.bucket(lane=lane)
    assert bucket.object("k").exists()
    _answered_deletion(server, f"<{element}><Key>a</Key></{element}><Deleted><Key>b</Key></Deleted>")
    try:
        result = bucket.delete_objects(["a", "b"], raise_errors=False)
    finally:
        server.state.before = None
        server.state.clear()
    assert (result.succeeded, [failure.key for failure in result.failures]) == (["b"], ["a"])


def test_an_object_of_negative_length_is_not_empty(server: StatefulServer, lane: bool) -> None:
    """botocore would take the body for empty, and its size for negative."""
    server.state.put("k", BODY)
    bucket = server.bucket(lane=lane, preset="aws", max_attempts=1)
    assert bucket.object("k").exists()
    head = (
        b'HTTP/1.1 200 OK\r\nETag: "e"\r\nLast-Modified: Sat, 21 Nov 2026 05:00:00 GMT\r\nContent-Length: -5\r\n'
        b"Connection: close\r\n\r\n"  # the server does so after raw bytes, and only one attempt is made on the next connection
    )
    server.state.before = lambda asked: head + (b"" if asked.method == "HEAD" else BODY)
    try:
        for read in (
            lambda: bucket.get_object("k"),
            lambda: bucket["k"].size,
            lambda: bucket["k"].body,
            lambda: bucket["k"].body_stream.read(),
        ):
            with pytest.raises(s3.S3ServerError):
                read()
    finally:
        server.state.before = None
        server.state.clear()


def _unconfirmed_as(error: s3.S3Error) -> str:
    is_right = (isinstance(error, s3.S3ServerError) and error.retryable) or (
        isinstance(error, s3.S3PreconditionFailed) and error.outcome_unknown  # of a conditional write
    )
    return "unconfirmed" if is_right else f"{type(error).__name__}: {error}"


WITHOUT_ETAG: dict[str, tuple[Write, int]] = {
    "upload": (lambda bucket: bucket.upload_object("new", iter([PARTS]), part_size_bytes=5 << 20), 0),
    "upload if absent": (
        lambda bucket: bucket.upload_object("new", iter([PARTS]), part_size_bytes=5 << 20, if_absent=True), 0
    ),
    "upload, encrypted": (
        lambda bucket: bucket.upload_object(
            "new", iter([PARTS]), part_size_bytes=5 << 20, ServerSideEncryption="aws:kms"
        ), 1
    ),
    "upload, encrypted and versioned": (
        lambda bucket: bucket.upload_object(
            "new", iter([PARTS]), part_size_bytes=5 << 20, ServerSideEncryption="aws:kms"
        ), 1
    ),
    "copy": (lambda bucket: bucket["large"].copy_to("new"), 0),
}  # fmt: skip
"""Each write in parts that returns a handle, and the number of HEADs that its ETag costs where the completion does not give it."""


@pytest.mark.parametrize("etag", ["", "<ETag></ETag>", "<ETag/>", "<ETag>&quot;&quot;</ETag>"])
@pytest.mark.parametrize("prefix", ["", "n:"])
def test_the_handle_of_an_upload_has_an_etag_if_the_completion_returns_none(
    server: StatefulServer, lane: bool, etag: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """radosgw completes some uploads without naming the ETag, and some gateways write namespace prefixes."""
    monkeypatch.setattr(copying, "MAX_COPIED_AT_ONCE", 1 << 20)
    root = f"{prefix}CompleteMultipartUploadResult"
    headers: dict[str, str] = {}

    def without_etag(asked: Asked) -> Any:
        if _document_of(asked) != COMPLETE:
            return None
        server.state._act(asked)
        return 200, headers, f'<{root} xmlns:n="n">{etag}</{root}>\r\n'.encode()

    server.oddities = set()
    server.state.before = without_etag
    wrong = {}
    try:
        for name, (write, heads) in WITHOUT_ETAG.items():
            headers.clear()
            headers |= {"x-amz-version-id": "v1"} if "versioned" in name else {}
            server.state.clear()
            server.state.put("large", PARTS)
            bucket = server.bucket(lane=lane, preset="aws")
            server.asked.clear()
            made = write(bucket)
            known = made._head.etag  # an async handle sends no HEAD for it
            stored = server.state.objects["new"]
            looked = [asked.target for asked in server.asked if asked.method == "HEAD" and asked.key == "new"]
            is_named = all(("versionId=v1" in target) == ("versioned" in name) for target in looked)
            if (stored.body, known, len(looked), is_named) != (PARTS, stored.etag, heads, True):
                wrong[name] = known, looked
    finally:
        server.state.before = None
        server.state.clear()
        server.asked.clear()
    assert wrong == {}
