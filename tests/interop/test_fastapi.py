"""The application of docs/howto/fastapi.md, exactly as printed, served by uvicorn: uploads stream in, downloads stream out."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.types import ASGIApp
from support.async_runs import no_thread_left

import messageflux_s3 as s3

PAGE = Path(__file__).parents[2] / "docs/howto/fastapi.md"
MIB = 1024 * 1024


@pytest.fixture
def bucket() -> Iterator[s3.S3Bucket]:
    with s3.LocalS3() as server:
        yield server.connect().create_bucket("files")


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[str]:
    """Serve an application on a free port, in the running event loop."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await serving


def programs() -> list[str]:
    """The page's examples, in order."""
    found: list[str] = re.findall(r"^```py\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return found


def executed(program: str) -> dict[str, Any]:
    namespace: dict[str, Any] = {"__name__": "the_page"}
    exec(compile(program, str(PAGE), "exec"), namespace)
    return namespace


def make_app(bucket: s3.AsyncS3Bucket) -> Any:
    return executed(programs()[0])["make_app"](bucket)


def run(bucket: s3.S3Bucket, work: Any) -> None:
    async def main() -> None:
        async with (
            s3.AsyncS3Store(bucket.store) as store,
            served(make_app(store.bucket(bucket.name))) as url,
            httpx.AsyncClient(base_url=url, timeout=60) as client,
        ):
            await work(store.bucket(bucket.name), client)

    with no_thread_left():
        asyncio.run(main())


def unfinished(bucket: s3.S3Bucket) -> list[Any]:
    return bucket.store.client.list_multipart_uploads(Bucket=bucket.name).get("Uploads", [])


async def content(size: int) -> AsyncIterator[bytes]:
    for _ in range(size // MIB):
        await asyncio.sleep(0)
        yield b"x" * MIB


def test_uploads_and_downloads_work_in_fastapi(bucket: s3.S3Bucket) -> None:
    """A body without a length, a form, a download, and a key that is missing."""

    async def work(remote: s3.AsyncS3Bucket, client: httpx.AsyncClient) -> None:
        told = await client.put("/files/a/b", content=content(40 * MIB), headers={"content-type": "text/x-test"})
        assert (told.status_code, told.json()["size"]) == (201, 40 * MIB)
        async with client.stream("GET", "/files/a/b") as answer:
            assert answer.headers["content-type"].startswith("text/x-test")
            assert answer.headers["etag"] == f'"{told.json()["etag"]}"'
            assert sum([len(chunk) async for chunk in answer.aiter_bytes()]) == 40 * MIB
        told = await client.post("/forms", files={"file": ("f.txt", b"form" * 1000)})
        assert told.json()["size"] == 4000 and await remote["forms/f.txt"].read() == b"form" * 1000
        assert (await client.get("/files/none")).status_code == 404

    run(bucket, work)


def test_an_upload_whose_client_disconnects_leaves_nothing(bucket: s3.S3Bucket) -> None:
    """A disconnect leaves no object, no parts and no running thread."""

    async def work(remote: s3.AsyncS3Bucket, client: httpx.AsyncClient) -> None:
        async def endless() -> AsyncIterator[bytes]:
            async for piece in content(10**12):
                yield piece

        upload = asyncio.create_task(client.put("/files/half", content=endless()))
        while not await asyncio.to_thread(unfinished, bucket):
            await asyncio.sleep(0.05)
        upload.cancel()
        with suppress(asyncio.CancelledError):
            await upload
        until = time.monotonic() + 10
        while await asyncio.to_thread(unfinished, bucket) and time.monotonic() < until:
            await asyncio.sleep(0.05)
        assert await asyncio.to_thread(unfinished, bucket) == []
        assert not await remote["half"].exists()
        await remote.upload_object("large", content(40 * MIB))
        async with client.stream("GET", "/files/large") as answer:
            async for _ in answer.aiter_bytes():
                break

    run(bucket, work)


def test_the_whole_program_of_the_page_works(bucket: s3.S3Bucket) -> None:
    """With the store that it opens when it starts."""
    config = bucket.store.config
    settings = f"{config.endpoint_url!r}, access_key={config.access_key!r}, secret_key={config.secret_key!r}, region='us-east-1'"
    program = "\n".join(programs()[:2])
    printed = '"https://minio.example", access_key="…", secret_key="…"'
    assert program.count(printed) == 1

    async def main() -> None:
        async with (
            served(executed(program.replace(printed, settings))["app"]) as url,
            httpx.AsyncClient(base_url=url) as client,
        ):
            assert (await client.put("/files/a/b", content=b"hello")).status_code == 201
            assert (await client.get("/files/a/b")).content == b"hello"

    asyncio.run(main())
