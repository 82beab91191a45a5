"""An ASGI application that streams uploads in and downloads out, as docs/howto/fastapi.md shows it, over real HTTP.

The server below is a small one for these tests; tests/interop/test_fastapi.py runs the page's own code on FastAPI and uvicorn.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

import messageflux_s3 as s3
from messageflux_s3 import AsyncS3Bucket, S3Bucket

MIB = 1024 * 1024


class ClientDisconnect(Exception):
    """Like Starlette's: the client disconnected before the request was complete."""


def make_app(bucket: AsyncS3Bucket) -> Callable[..., Awaitable[None]]:
    """PUT stores the body of a request under its path, GET sends it back."""

    async def stream(receive: Callable[[], Awaitable[dict[str, Any]]]) -> AsyncIterator[bytes]:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            yield message["body"]
            if not message["more_body"]:
                return

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        key = scope["path"].lstrip("/")
        if scope["method"] == "PUT":
            obj = await bucket.upload_object(key, stream(receive))
            await send({"type": "http.response.start", "status": 201, "headers": []})
            await send({"type": "http.response.body", "body": str(obj.size).encode(), "more_body": False})
            return
        obj = bucket[key]
        is_there = await obj.exists()
        headers = [(b"content-length", str(obj.size).encode())] if is_there else []
        await send({"type": "http.response.start", "status": 200 if is_there else 404, "headers": headers})
        if is_there:
            async for chunk in obj.iter_chunks():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return app


@asynccontextmanager
async def served(app: Callable[..., Awaitable[None]], errors: list[BaseException]) -> AsyncIterator[int]:
    """Serve an application: one request per connection, chunked bodies. Its exceptions are collected."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def receive() -> dict[str, Any]:
            try:
                size = int(await reader.readline(), 16)
                body = await reader.readexactly(size)
                await reader.readexactly(2)
            except (ValueError, asyncio.IncompleteReadError, ConnectionError):
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": body, "more_body": size > 0}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                lines = [f"HTTP/1.1 {message['status']} -".encode(), *(b": ".join(one) for one in message["headers"])]
                writer.write(b"\r\n".join([*lines, b"connection: close", b"", b""]))
            else:
                writer.write(message["body"])
            await writer.drain()

        try:
            method, path, _ = (await reader.readline()).decode().split(" ")
            while await reader.readline() != b"\r\n":
                pass
            await app({"type": "http", "method": method, "path": path}, receive, send)
        except (Exception, asyncio.CancelledError) as error:
            errors.append(error)
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def request(port: int, method: str, path: str, pieces: AsyncIterator[bytes] | None = None) -> tuple[int, bytes]:
    """Make one request; a body is sent in chunks."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"{method} /{path} HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n".encode())
        if pieces is not None:
            async for piece in pieces:
                writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                await writer.drain()
            writer.write(b"0\r\n\r\n")
        status = int((await reader.readline()).split(b" ")[1])
        while await reader.readline() != b"\r\n":
            pass
        return status, await reader.read()
    finally:
        writer.close()


async def content(count: int) -> AsyncIterator[bytes]:
    for number in range(count):
        yield bytes([number % 256]) * MIB


def run(bucket: S3Bucket, work: Callable[[AsyncS3Bucket, int], Awaitable[None]]) -> list[BaseException]:
    errors: list[BaseException] = []

    async def main() -> None:
        async with s3.AsyncS3Store(bucket.store) as store:
            remote = store.bucket(bucket.name)
            async with served(make_app(remote), errors) as port:
                await asyncio.wait_for(work(remote, port), 120)

    asyncio.run(main())
    return errors


def unfinished_uploads(bucket: S3Bucket) -> list[Any]:
    return bucket.store.client.list_multipart_uploads(Bucket=bucket.name).get("Uploads", [])


@pytest.mark.parametrize("count", [0, 1, 20])
def test_an_upload_streams_in_and_a_download_streams_out(bucket: S3Bucket, count: int) -> None:
    """Of any size, below and above one part; several at once; a missing key is a 404."""

    async def work(remote: AsyncS3Bucket, port: int) -> None:
        assert await request(port, "PUT", "k", content(count)) == (201, str(count * MIB).encode())
        whole = b"".join([piece async for piece in content(count)])
        assert await request(port, "GET", "k") == (200, whole)
        if count == 1:
            sent = await asyncio.gather(*(request(port, "PUT", f"n{number}", content(1)) for number in range(20)))
            assert {status for status, _ in sent} == {201}
            found = await asyncio.gather(*(request(port, "GET", f"n{number}") for number in range(20)))
            assert {body for _, body in found} == {whole}
        assert await request(port, "GET", "none") == (404, b"")

    assert run(bucket, work) == []


def test_an_upload_whose_client_disconnects_leaves_nothing(moto_bucket: S3Bucket) -> None:
    """A disconnected upload leaves no object and no parts; a disconnected download ends its request."""

    async def work(remote: AsyncS3Bucket, port: int) -> None:
        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield b"x" * MIB

        upload = asyncio.create_task(request(port, "PUT", "half", endless()))
        while not await asyncio.to_thread(unfinished_uploads, moto_bucket):
            await asyncio.sleep(0.02)
        upload.cancel()
        with pytest.raises(asyncio.CancelledError):
            await upload
        for _ in range(500):
            if not await asyncio.to_thread(unfinished_uploads, moto_bucket):
                break
            await asyncio.sleep(0.02)
        assert await asyncio.to_thread(unfinished_uploads, moto_bucket) == []
        assert not await remote["half"].exists()
        await remote.upload_object("large", content(20))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /large HTTP/1.1\r\n\r\n")
        await reader.read(1000)
        writer.close()
        await asyncio.sleep(0.2)

    errors = run(moto_bucket, work)
    assert [type(error) for error in errors[:1]] == [ClientDisconnect]
    assert all(isinstance(error, (ClientDisconnect, ConnectionError, asyncio.CancelledError)) for error in errors)
