"""The async classes as a caller's type checker sees them. Never run: mypy and pyright read it, strictly."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import messageflux_s3 as s3
from messageflux_s3 import aio
from messageflux_s3.subresources.tags import TagSet


async def pieces() -> AsyncIterator[bytes]:
    yield b"x"


class UploadFile:
    """As Starlette's: an async ``read``, and no ``__aiter__``."""

    async def read(self, size: int = -1) -> bytes:
        return b""


async def is_wanted(obj: s3.S3Object) -> bool:
    return True


async def change(body: bytes | None) -> bytes:
    return body or b""


async def size_of(obj: s3.AsyncS3Object) -> int:
    return len(await obj.read())


async def use(store: s3.AsyncS3Store, check: s3.AsyncClaimCheck) -> None:
    bucket: s3.AsyncS3Bucket = store.bucket("scratch")
    obj: s3.AsyncS3Object = await bucket.upload_object("k", pieces(), {"a": "b"}, content_type="text/plain")
    await bucket.upload_object("k", UploadFile())
    await bucket.put_object("k", UploadFile())
    await bucket.put_object("k", pieces())
    await obj.put(UploadFile())
    await obj.put(pieces())
    await obj.put(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    bucket.find().filter(is_wanted)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    body: bytes = await obj.read()
    await obj.update(change)
    await obj.update(lambda known: known or b"")
    async with obj.open() as file:
        piece: bytes = await file.read(10)
        async for line in file:
            piece += line
    async with obj.open("r", encoding="utf-8") as text:
        read: str = await text.readline()
    async with obj.open("wb", content_type="text/plain") as written:
        count: int = await written.write(piece)
        await written.write("text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    opened: aio.AsyncObjectFile[bytes] = await obj.open("ab")
    async with bucket.lock("locks/a", ttl=5, owner="me") as lock:
        token: int = lock.token
        lock.check()
    held: aio.AsyncS3Lock = await bucket.lock("locks/a")
    await held.release()
    tags: TagSet = await obj.tags.get()
    await bucket.lifecycle.expire(days=7, prefix="tmp/")
    await bucket.lifecycle.expire(day=7)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    planned: aio.AsyncChange[TagSet] = await bucket.tags.ensure({"a": "1"})
    await bucket.delete_bucket(force=True)
    await bucket.delete_bucket(forced=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await bucket.delete_objects([obj, "k"])
    await bucket.delete_objects(each async for each in bucket.find("a/"))
    async for entry in bucket.find(delimiter="/").entries():
        named: s3.AsyncS3Object | str = entry
        print(named)
    sizes: list[int] = [each async for each in bucket.find().map(size_of)]
    keys: list[str] = [each async for each in bucket.find().map(lambda known: known.key)]
    copied: s3.AsyncS3Object = await obj.copy_to(store.bucket("other")[obj.key])
    plan: aio.AsyncSyncPlan = await bucket.sync_from_folder("folder", "prefix", dry_run=True)
    done: bool = (await plan.apply()).applied
    sent = await check.check_in(pieces(), {})
    payload: bytes = (await check.check_out(sent)).payload
    value: Any = await bucket.check_lock("k")
    print(body, read, count, opened, token, tags, planned, sizes, keys, copied, done, payload, value)
