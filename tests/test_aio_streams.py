"""Streams under asyncio: async sources, files and writables; cancellation, back-pressure, and a loop that is never blocked."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.async_runs import run
from support.scripted_server import Answer, Asked, ScriptedServer
from support.servers import Server
from support.stateful_server import StatefulStore

import messageflux_s3 as s3
from messageflux_s3 import AsyncS3Bucket, AsyncS3Object, S3Bucket
from messageflux_s3.aio import engine
from messageflux_s3.aio.engine import is_async_source

MIB = 1024 * 1024
KEYS: dict[str, Any] = {"access_key": "ACCESSKEY01", "secret_key": "SECRETKEY0123456", "region": "us-east-1"}


def unfinished_uploads(bucket: S3Bucket) -> list[Any]:
    return bucket.store.client.list_multipart_uploads(Bucket=bucket.name).get("Uploads", [])


async def pieces_of(data: bytes, size: int) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        await asyncio.sleep(0)
        yield data[at : at + size]


class AsyncReadable:
    """Like Starlette's UploadFile: ``read`` is a coroutine function, here one that returns less than requested."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    async def read(self, size: int = -1) -> bytes:
        await asyncio.sleep(0)
        return self._file.read(min(size, 100_000))


# -- sources

DATA = bytes(range(256)) * 4_500  # more than one transfer to the thread


@pytest.mark.parametrize(
    "source",
    [
        lambda: pieces_of(DATA, 1_000),
        lambda: AsyncReadable(DATA),
        lambda: io.BytesIO(DATA),
        lambda: iter([DATA[:5], DATA[5:]]),
        lambda: DATA,
    ],
    ids=["async iterator", "async readable", "readable", "iterator", "bytes"],
)
def test_upload_object_takes_every_source(bucket: S3Bucket, source: Callable[[], Any]) -> None:
    """The content is stored unchanged; put_object() and put() accept async sources too."""

    async def work(remote: AsyncS3Bucket) -> None:
        obj = await remote.upload_object("k", source(), {"by": "test"}, content_type="text/x-test")
        assert obj.size == len(DATA)
        assert await obj.read() == DATA
        await obj.load()
        assert (obj.metadata, obj.content_type) == ({"by": "test"}, "text/x-test")
        if is_async_source(source()):
            assert (await remote.put_object("p", source())).size == len(DATA)
            assert await remote["p"].read() == DATA
            replaced = await obj.put(source(), {"by": "put"})
            assert replaced is obj and (obj.size, obj.metadata) == (len(DATA), {"by": "put"})

    run(bucket, work)


def test_a_source_may_give_text_and_reuse_its_buffer(moto_bucket: S3Bucket) -> None:
    """Text is written as UTF-8; a reused buffer is copied in time; other types raise, and nothing is written."""

    async def text() -> AsyncIterator[str]:
        for word in ("für", "", " und wider"):
            yield word

    async def reused() -> AsyncIterator[memoryview]:
        buffer = bytearray(3)
        for number in range(5):
            buffer[:] = bytes([number]) * 3
            yield memoryview(buffer)

    async def numbers() -> AsyncIterator[int]:
        yield 42

    async def work(remote: AsyncS3Bucket) -> None:
        assert await (await remote.upload_object("t", text())).read() == "für und wider".encode()
        assert await (await remote.upload_object("r", reused())).read() == b"".join(bytes([n]) * 3 for n in range(5))
        with pytest.raises(TypeError, match="int"):
            await remote.upload_object("n", numbers())
        assert not await remote["n"].exists()

    run(moto_bucket, work)


def test_a_source_that_raises_aborts_the_upload(moto_bucket: S3Bucket) -> None:
    """The source's exception is raised; no object and no parts are left."""

    async def source(count: int) -> AsyncIterator[bytes]:
        for _ in range(count):
            yield b"x" * (6 * MIB)
        raise ZeroDivisionError("in the source")

    async def work(remote: AsyncS3Bucket) -> None:
        for count in (0, 1, 4):
            with pytest.raises(ZeroDivisionError, match="in the source"):
                await remote.upload_object("k", source(count), part_size_bytes=5 * MIB)
        assert not await remote["k"].exists()

    run(moto_bucket, work)
    assert unfinished_uploads(moto_bucket) == []


def test_an_async_source_is_iterated_in_the_task_of_the_caller(moto_bucket: S3Bucket) -> None:
    """The source runs in the caller's task, with its context variables, asyncio.timeout and cancel scopes."""
    name: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="unset")
    seen: list[Any] = []

    async def source() -> AsyncIterator[bytes]:
        for _ in range(3):
            seen.append((asyncio.current_task(), name.get(), threading.current_thread()))
            yield b"x" * MIB

    async def work(remote: AsyncS3Bucket) -> None:
        name.set("request 7")
        await remote.upload_object("k", source())
        assert set(seen) == {(asyncio.current_task(), "request 7", threading.main_thread())}

    run(moto_bucket, work)


def test_a_progress_function_runs_with_the_context_variables_of_the_caller(moto_bucket: S3Bucket) -> None:
    """Context variables are copied to the threads; an exception of the callback ends the upload."""
    name: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="unset")
    seen: list[tuple[int, str]] = []

    def refuse(count: int) -> None:
        raise KeyError(count)

    async def work(remote: AsyncS3Bucket) -> None:
        name.set("request 7")
        await remote.upload_object("k", io.BytesIO(b"12345"), progress=lambda count: seen.append((count, name.get())))
        await remote.upload_object("k", pieces_of(b"123", 1), Callback=lambda count: seen.append((count, name.get())))
        assert seen == [(5, "request 7"), (3, "request 7")]
        with pytest.raises(KeyError):
            await remote.upload_object("none", pieces_of(b"123", 1), progress=refuse)
        assert not await remote["none"].exists()

    run(moto_bucket, work)


def test_conditional_writes_accept_async_sources(moto_bucket: S3Bucket) -> None:
    """if_absent is honoured, or S3Unsupported is raised."""

    async def work(remote: AsyncS3Bucket) -> None:
        await remote.put_object("k", b"one")
        with pytest.raises((s3.S3ObjectExists, s3.S3Unsupported)):
            await remote.upload_object("k", pieces_of(b"two", 1), if_absent=True)
        assert await remote["k"].read() == b"one"

    run(moto_bucket, work)


@pytest.mark.parametrize("threads", [1, 2])
def test_uploads_whose_sources_need_threads_do_not_wait_for_each_other(
    moto: Server, moto_bucket: S3Bucket, threads: int
) -> None:
    """More uploads than the pool has threads, each reading another object of the store through that pool."""

    async def work(remote: AsyncS3Bucket) -> None:
        await remote.put_object("source", b"x" * 100_000)
        made = await asyncio.gather(
            *(remote.upload_object(f"k{n}", remote["source"].iter_chunks(30_000)) for n in range(2 * threads + 1))
        )
        assert {obj.size for obj in made} == {100_000}
        found = remote.get_objects(obj.key async for obj in remote.find("k"))
        assert {len(obj.body) async for obj in found} == {100_000}

    run(moto.connect(max_concurrency=threads).bucket(moto_bucket.name), work)


async def _between_two_ends_of_a_fifo(remote: AsyncS3Bucket, ask: Callable[[], bytes], path: Path) -> None:
    os.mkfifo(path)
    await asyncio.gather(remote.download_file("source", path), remote.upload_file(path, "copy"))


async def _get(remote: AsyncS3Bucket, keys: Iterator[str]) -> list[bytes]:
    return [obj.body async for obj in remote.get_objects(keys)]


def _items(ask: Callable[[], bytes]) -> Iterator[tuple[str, bytes]]:
    for number in range(3):
        yield f"item{number}", ask()


def _keys(ask: Callable[[], bytes]) -> Iterator[str]:
    for _ in range(3):
        yield ask().decode()


class Asking(io.RawIOBase):
    """Its read() and write() wait for the store."""

    def __init__(self, ask: Callable[[], bytes]) -> None:
        self._ask, self._left = ask, 3

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        self._left -= 1
        return self._ask() if self._left >= 0 else b""

    def write(self, data: Any) -> int:
        self._ask()
        return len(data)


# What waits on a thread for another request of the same store.
WAITING: dict[str, Callable[[AsyncS3Bucket, Callable[[], bytes], Path], Awaitable[Any]]] = {
    "upload_object of a readable": lambda remote, ask, _: remote.upload_object("copy", Asking(ask)),
    "upload_object of a generator": lambda remote, ask, _: remote.upload_object("copy", (ask() for _ in range(3))),
    "put_object of a readable": lambda remote, ask, _: remote.put_object("copy", Asking(ask)),
    "put of a readable": lambda remote, ask, _: remote["copy"].put(Asking(ask)),
    "download_object to a writable": lambda remote, ask, _: remote.download_object("source", Asking(ask)),
    "put_objects of a generator": lambda remote, ask, _: remote.put_objects(_items(ask)),
    "get_objects of a generator": lambda remote, ask, _: _get(remote, _keys(ask)),
    "delete_objects of a generator": lambda remote, ask, _: remote.delete_objects(_keys(ask)),
    "both ends of a FIFO": _between_two_ends_of_a_fifo,
}


@pytest.mark.parametrize("name", WAITING)
def test_what_waits_for_the_user_takes_no_thread_of_the_pool(
    scripted_server: ScriptedServer, tmp_path: Path, name: str
) -> None:
    """With a single thread in the pool, which the user's code needs."""
    memory = StatefulStore(scripted_server)
    memory.put("source", b"source")

    async def work(remote: AsyncS3Bucket) -> None:
        loop = asyncio.get_running_loop()

        def ask() -> bytes:
            return asyncio.run_coroutine_threadsafe(remote["source"].read_range(0), loop).result(10)

        await asyncio.wait_for(WAITING[name](remote, ask, tmp_path / "fifo"), 20)

    run(scripted_server.bucket(max_concurrency=1), work)


@pytest.mark.parametrize("is_async", [False, True])
def test_a_source_without_data_now_is_refused(scripted_server: ScriptedServer, is_async: bool) -> None:
    """``read()`` that returns None is not the end of the source."""
    memory = StatefulStore(scripted_server)
    pieces: list[bytes | None] = []

    class Readable:
        def read(self, size: int = -1) -> bytes | None:
            return pieces.pop(0)

    class AsyncOne:
        async def read(self, size: int = -1) -> bytes | None:
            return pieces.pop(0)

    async def work(remote: AsyncS3Bucket) -> None:
        for given in ([None, b"a", b""], [b"a", None, b"b", b""], [b"a" * (6 * MIB), None, b"b", b""]):
            pieces[:] = given
            source: Any = AsyncOne() if is_async else Readable()
            with pytest.raises(BlockingIOError, match="non-blocking"):
                await remote.upload_object("k", source, part_size_bytes=5 * MIB)

    run(scripted_server.bucket(), work)
    assert memory.objects == {} and not memory.uploads


def test_an_async_source_waits_while_parts_are_sent(scripted_server: ScriptedServer) -> None:
    """While the store is slow, the source is not read further: memory is bounded by the part size."""
    memory, may_answer, pulled = StatefulStore(scripted_server), threading.Event(), [0]

    def wait(asked: Any) -> None:
        if "partNumber" in asked.query:
            may_answer.wait(30)

    memory.before = wait

    async def source() -> AsyncIterator[bytes]:
        for _ in range(160):
            pulled[0] += 1
            yield b"x" * (256 * 1024)

    async def main() -> None:
        async with s3.AsyncS3Store(scripted_server.connect(max_concurrency=2)) as store:
            upload = asyncio.create_task(
                store.bucket("bkt").upload_object("k", source(), part_size_bytes=5 * MIB, verify_checksum=False)
            )
            while not any("partNumber" in asked.query for asked in scripted_server.asked):
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.3)
            assert pulled[0] <= 5 * 4 * 5 + 4  # two parts being sent, one waiting, one being filled, one read ahead
            assert not upload.done()
            may_answer.set()
            assert (await upload).size == 40 * MIB

    asyncio.run(main())


# -- keys, items and handles


def test_batches_accept_async_iterables_and_async_handles(bucket: S3Bucket) -> None:
    """Async iterables of keys and items are accepted; so are async handles wherever a handle is accepted, across buckets."""

    async def items() -> AsyncIterator[tuple[str, str]]:
        for number in range(30):
            await asyncio.sleep(0)
            yield f"n/{number:02d}", str(number)

    async def work(remote: AsyncS3Bucket) -> None:
        other = await remote.store.create_bucket(f"{remote.name}-2")
        names = [f"n/{number:02d}" for number in range(30)]
        assert (await remote.put_objects(items())).succeeded == names
        assert [obj.text async for obj in remote.get_objects(remote.find("n/"))] == [str(n) for n in range(30)]
        assert [obj.text async for obj in remote.get_objects([remote["n/03"], "n/01"])] == ["3", "1"]
        copied = await remote["n/05"].copy_to(other["copy"])
        assert (copied.bucket.name, await copied.read()) == (other.name, b"5")
        moved = await remote["n/06"].move_to(other["moved"])
        assert await moved.read() == b"6" and not await remote["n/06"].exists()
        assert [obj.key for obj in await remote.find("n/0").limit(2).copy_to(other, "all/")] == ["all/n/00", "all/n/01"]
        assert (await remote.delete_objects(remote.find("n/1"))).succeeded == names[10:20]
        assert (await remote.delete_objects([remote["n/00"], "n/01"])).succeeded == ["n/00", "n/01"]
        for given in ("n/02", b"n/02"):
            with pytest.raises(TypeError, match="iterable of keys"):
                await remote.delete_objects(given)  # type: ignore[arg-type]
        await other.clear_objects()
        await other.delete_bucket()

    run(bucket, work)


def test_an_exception_of_an_async_iterable_of_keys_is_raised(moto_bucket: S3Bucket) -> None:
    """The exception of an async iterable of keys or items is raised."""

    async def broken() -> AsyncIterator[Any]:
        yield "a", b"1"
        raise ZeroDivisionError

    async def keys() -> AsyncIterator[str]:
        yield "a"
        raise ZeroDivisionError

    async def work(remote: AsyncS3Bucket) -> None:
        with pytest.raises(ZeroDivisionError):
            await remote.put_objects(broken())
        with pytest.raises(ZeroDivisionError):
            await remote.delete_objects(keys())
        with pytest.raises(ZeroDivisionError):
            async for _ in remote.get_objects(keys()):
                pass

    run(moto_bucket, work)


# -- down


class AsyncWriter:
    """``write`` is a coroutine function that writes a part of the data."""

    def __init__(self) -> None:
        self.content = b""

    async def write(self, data: bytes) -> int:
        await asyncio.sleep(0)
        self.content += data[:70_000]
        return min(len(data), 70_000)


class Drained:
    """Like an asyncio.StreamWriter: drain() is awaited."""

    def __init__(self) -> None:
        self.content = b""
        self.drained = 0

    def write(self, data: bytes) -> None:
        assert threading.current_thread() is threading.main_thread()
        self.content += data

    async def drain(self) -> None:
        self.drained += 1


def test_download_object_accepts_coroutine_functions_and_stream_writers(bucket: S3Bucket) -> None:
    """A coroutine function, a StreamWriter, or a plain writable."""
    bucket.put_object("k", DATA)

    async def work(remote: AsyncS3Bucket) -> None:
        for target in (AsyncWriter(), Drained()):
            await remote.download_object("k", target)
            assert target.content == DATA
        plain, told = io.BytesIO(), list[int]()
        await remote.download_object("k", plain, Callback=told.append)
        assert plain.getvalue() == DATA and sum(told) == len(DATA)
        with pytest.raises(s3.S3NoSuchItem):
            await remote.download_object("none", plain)

    run(bucket, work)


def test_read_returns_a_body_of_any_size_and_caches_small_ones(bucket: S3Bucket) -> None:
    """Above 8 MiB the attributes are cached, but not the content."""
    large = b"x" * (8 * MIB + 1)
    bucket.put_object("large", large)
    bucket.put_object("small", b"small")

    async def work(remote: AsyncS3Bucket) -> None:
        obj = remote["large"]
        assert await obj.read() == large
        assert obj.size == len(large)
        with pytest.raises(RuntimeError, match=r"await obj\.read"):
            _ = obj.body
        small = remote["small"]
        assert await small.read() == b"small" == small.body
        await remote.delete_object("small")
        assert await small.read() == b"small"  # the cached body is not requested
        with pytest.raises(s3.S3NoSuchItem):
            await remote["small"].read()

    run(bucket, work)


# -- files


def test_open_reads_and_writes_bytes_and_text(bucket: S3Bucket) -> None:
    """Bytes and text, lines, positions; the object appears at the end of the block."""

    async def work(remote: AsyncS3Bucket) -> None:
        obj = remote["file"]
        async with obj.open("wb", metadata={"by": "test"}) as file:
            assert await file.write(b"one\ntwo\n") == 8
            await file.writelines([b"three\n"])
            await file.writelines(pieces_of(b"four", 2))
            assert not await remote["file"].exists()
            assert (file.mode, file.name, file.writable(), file.closed) == ("wb", "file", True, False)
        async with obj.open() as file:
            assert await file.read(3) == b"one"
            assert await file.readline() == b"\n"
            assert [line async for line in file] == [b"two\n", b"three\n", b"four"]
            assert (await file.seek(-4, 2), await file.tell(), file.size) == (14, 14, 18)
            buffer = bytearray(4)
            assert await file.readinto(buffer) == 4 and buffer == b"four"
            assert file.readable() and file.seekable()
        assert file.closed
        async with obj.open("w", encoding="utf-16") as text:
            await text.write("für")
        async with obj.open("r", encoding="utf-16") as text:
            assert await text.readlines() == ["für"]
        async with obj.open("ab") as file:
            await file.write(b"++")
        assert (await obj.read()).endswith(b"++")
        file = await obj.open("rb")
        assert await file.read() and await file.close() is None and file.closed
        with pytest.raises(ValueError, match="closed"):
            await file.read()
        with pytest.raises(ValueError, match="not open yet"):
            await obj.open().read()
        with pytest.raises(s3.S3NoSuchItem):
            await remote["none"].open()
        with pytest.raises(io.UnsupportedOperation):
            await obj.open("w+b")

    run(bucket, work)


def test_a_with_block_that_raises_writes_nothing(moto_bucket: S3Bucket) -> None:
    """No object and no parts are left, also if the file is closed in a finally without a block."""

    async def work(remote: AsyncS3Bucket) -> None:
        for size in (5, 9 * MIB):
            with pytest.raises(KeyError):
                async with remote["k"].open("wb") as file:
                    await file.write(b"x" * size)
                    raise KeyError
            opened = await remote["k"].open("wb")
            with pytest.raises(KeyError):
                try:
                    await opened.write(b"x" * size)
                    raise KeyError
                finally:
                    await opened.close()
            aborted = await remote["k"].open("wb")
            await aborted.write(b"x" * size)
            await aborted.abort()
        assert not await remote["k"].exists()
        try:
            raise KeyError
        except KeyError:  # an exception that is older than the file does not count
            file = await remote["k"].open("wb")
            await file.write(b"whole")
            await file.close()
        assert await remote["k"].read() == b"whole"

    run(moto_bucket, work)
    assert unfinished_uploads(moto_bucket) == []


@pytest.mark.parametrize("threads", [1, 4, 16])
def test_concurrent_writes_are_kept_in_the_order_of_the_calls(scripted_server: ScriptedServer, threads: int) -> None:
    """While the parts are slow to send, and also behind a close() that is called before they have ended."""
    pieces = [bytes([number]) * (MIB // 2) for number in range(120)]
    memory = StatefulStore(scripted_server)
    memory.before = lambda asked: time.sleep(0.02) if asked.method == "PUT" else None

    async def main() -> None:
        async with s3.AsyncS3Store(scripted_server.connect(max_concurrency=threads)) as store:
            file = await store.bucket("bkt")["k"].open("wb")
            writes = [asyncio.create_task(file.write(piece)) for piece in pieces]
            await asyncio.sleep(0)  # each has begun
            await file.close()
            assert await asyncio.gather(*writes) == [MIB // 2] * 120

    asyncio.run(main())
    body = memory.body("k")
    assert body is not None
    assert [body[at] for at in range(0, len(body), MIB // 2)] == [*range(120)]


def raised(error: BaseException) -> None:
    raise error


# How a file is opened and closed among exceptions, and whether it is then written. The same is done to a synchronous file.
async def opened_in_the_handler_closed_as_the_same_exception_is_raised_again(files: Files) -> None:
    gone = ConnectionError("gone")
    try:
        raise gone
    except ConnectionError:
        await files.open()
        try:
            raised(gone)
        finally:
            await files.close()


async def opened_in_the_inner_handler_closed_in_the_outer(files: Files) -> None:
    try:
        raise KeyError
    except KeyError:
        try:
            raise ValueError
        except ValueError:
            await files.open()
        await files.close()


async def opened_and_closed_in_a_handler(files: Files) -> None:
    try:
        raise KeyError
    except KeyError:
        await files.open()
        await files.close()


async def closed_in_a_later_handler(files: Files) -> None:
    await files.open()
    try:
        raise KeyError
    except KeyError:
        await files.close()


async def closed_in_a_handler_within_a_block(files: Files) -> None:
    await files.open(is_block=True)
    try:
        raise KeyError
    except KeyError:
        await files.close()
    await files.end_block()


async def closed_twice_the_second_time_in_a_handler(files: Files) -> None:
    await files.open()
    await files.close()
    try:
        raise KeyError
    except KeyError:
        await files.close()


class Files:
    """A file of the synchronous or of the async class, behind one interface."""

    def __init__(self, bucket: S3Bucket, remote: AsyncS3Bucket | None) -> None:
        self._bucket, self._remote = bucket, remote

    async def open(self, *, is_block: bool = False) -> None:
        if self._remote is None:
            self._file: Any = self._bucket["k"].open("wb")
            if is_block:
                self._file.__enter__()
            self._file.write(b"content")
        else:
            self._file = await self._remote["k"].open("wb")
            if is_block:
                await self._file.__aenter__()
            await self._file.write(b"content")

    async def close(self) -> None:
        await self._awaited(self._file.close())

    async def end_block(self) -> None:
        await self._awaited((self._file.__exit__ if self._remote is None else self._file.__aexit__)(None, None, None))

    async def _awaited(self, told: Any) -> None:
        if self._remote is not None:
            await told


@pytest.mark.parametrize(
    ("act", "is_written"),
    [
        (opened_in_the_handler_closed_as_the_same_exception_is_raised_again, False),
        (opened_in_the_inner_handler_closed_in_the_outer, True),
        (opened_and_closed_in_a_handler, True),
        (closed_in_a_later_handler, False),
        (closed_in_a_handler_within_a_block, True),
        (closed_twice_the_second_time_in_a_handler, True),
    ],
)
def test_a_close_among_exceptions_decides_as_the_synchronous_one(
    moto_bucket: S3Bucket, act: Callable[[Files], Awaitable[None]], is_written: bool
) -> None:
    """An exception raised since the opening discards the file, any other one does not; a block is decided by its end."""

    async def work(remote: AsyncS3Bucket) -> None:
        for other in (None, remote):
            with contextlib.suppress(ConnectionError):
                await act(Files(moto_bucket, other))
            assert await remote["k"].exists() is is_written, other
            await remote["k"].delete()

    run(moto_bucket, work)


def test_a_failed_write_is_not_replaced_by_the_error_of_the_close(scripted_server: ScriptedServer) -> None:
    """``finally: await file.close()`` lets the error of the write propagate, as with a synchronous file."""
    memory = StatefulStore(scripted_server)
    memory.before = lambda asked: (400, {}, b"") if "uploads" in asked.query else None

    async def main() -> None:
        async with s3.AsyncS3Store(scripted_server.connect()) as store:
            for mode, piece in (("wb", b"x" * 9 * MIB), ("w", "x" * 9 * MIB)):
                file: Any = await store.bucket("bkt")["k"].open(mode)
                with pytest.raises(s3.S3Error):
                    try:
                        await file.write(piece)
                    finally:
                        await file.close()
                assert file.closed

    asyncio.run(main())


# -- cancellation


CHANGES: dict[str, Callable[[Any], Awaitable[Any]]] = {
    "write": lambda file: file.write(b"BBBB"),
    "writelines": lambda file: file.writelines([b"BB", b"BB"]),
    "writelines of an async source": lambda file: file.writelines(pieces_of(b"BBBB", 1)),
    "seek": lambda file: file.seek(0, io.SEEK_END),
    "truncate": lambda file: file.truncate(2),
}


@pytest.mark.parametrize("end", ["block", "close", "abort", "queued"])
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("is_running", [False, True], ids=["waiting", "running"])
def test_a_cancelled_change_fails_the_file(
    scripted_server: ScriptedServer, change: str, end: str, is_running: bool
) -> None:
    """Whether it had begun or not: the end of the file raises, and nothing is written."""
    memory = StatefulStore(scripted_server)
    may_go_on, is_busy = threading.Event(), threading.Event()

    def busy() -> None:
        is_busy.set()
        assert may_go_on.wait(30)

    async def work(remote: AsyncS3Bucket) -> None:
        file: Any = await remote["k"].open("wb")
        if end == "block":
            await file.__aenter__()
        await file.write(b"AAAA")
        if is_running:
            method = change.split()[0] if "async" not in change else "write"
            real = getattr(file._opened, method)
            setattr(file._opened, method, lambda *arguments: (busy(), real(*arguments))[1])
        else:
            waiting = file._calls.add(busy)
            file._engine.start(file._calls.run)
        task = asyncio.ensure_future(CHANGES[change](file))
        await asyncio.to_thread(is_busy.wait, 30)
        await asyncio.sleep(0)
        closing = asyncio.ensure_future(file.close()) if end == "queued" else None
        await asyncio.sleep(0)
        await cancelled(task)
        may_go_on.set()
        if not is_running:
            await asyncio.wrap_future(waiting)
        if closing is None:
            with pytest.raises(s3.S3Error, match="cancelled"):
                await file.write(b"CCCC")
        if end == "abort":
            await file.abort()
        else:
            with pytest.raises(s3.S3Error, match="cancelled"):
                await (closing or (file.__aexit__(None, None, None) if end == "block" else file.close()))
        await file.close()  # the failure is raised once
        assert file.closed

    run(scripted_server.bucket(), work)
    assert memory.objects == {}


async def cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


PROGRESS = [None, True, lambda count: None]


@pytest.mark.parametrize(
    ("kind", "progress"),
    [
        *((kind, progress) for kind in ("async iterator", "readable", "file") for progress in PROGRESS),
        *((kind, None) for kind in ("put_object", "put", "open")),
    ],
    ids=lambda value: value if isinstance(value, str) else {None: "unseen", True: "bar"}.get(value, "function"),
)
def test_a_cancelled_upload_leaves_nothing(
    moto_bucket: S3Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, progress: s3.Progress
) -> None:
    """No object and no parts exist once the task has ended."""
    monkeypatch.setattr(
        engine, "_CLEANUP_SECONDS", 60
    )  # on a busy machine, ending the requests in progress may take longer than 5 s
    endless, sent = tmp_path / "endless", [0]

    async def source() -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(0.001)
            sent[0] += 1
            yield b"x" * MIB

    class Endless(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def read(self, size: int = -1) -> bytes:
            sent[0] += 1
            return b"x" * MIB

    async def work(remote: AsyncS3Bucket) -> None:
        async def write() -> None:
            async with remote["k"].open("wb") as file:
                while True:
                    sent[0] += 1
                    await file.write(b"x" * MIB)

        if kind == "async iterator":
            upload: Any = remote.upload_object("k", source(), part_size_bytes=5 * MIB, progress=progress)
        elif kind == "readable":
            upload = remote.upload_object("k", Endless(), part_size_bytes=5 * MIB, progress=progress)
        elif kind == "put_object":
            upload = remote.put_object("k", Endless())
        elif kind == "put":
            upload = remote["k"].put(Endless())
        elif kind == "file":
            with endless.open("wb") as file:
                file.truncate(3_000 * MIB)
            sent[0] = 100
            upload = remote.upload_file(endless, "k", part_size_bytes=5 * MIB, progress=progress)
        else:
            upload = write()
        task = asyncio.create_task(upload)
        while sent[0] < 15 or not await asyncio.to_thread(unfinished_uploads, moto_bucket):
            await asyncio.sleep(0.01)
        await cancelled(task)
        assert await asyncio.to_thread(unfinished_uploads, moto_bucket) == []
        assert not await remote["k"].exists()

    run(moto_bucket, work)


def test_a_cancellation_reaches_the_source(moto_bucket: S3Bucket) -> None:
    """The source is closed before the task ends."""
    told: list[str] = []

    async def source() -> AsyncIterator[bytes]:
        try:
            yield b"x"
            told.append("waits")
            await asyncio.sleep(60)
        finally:
            told.append("closed")

    async def work(remote: AsyncS3Bucket) -> None:
        task = asyncio.create_task(remote.upload_object("k", source()))
        while not told:
            await asyncio.sleep(0.01)
        await cancelled(task)
        assert told == ["waits", "closed"]
        assert not await remote["k"].exists()

    run(moto_bucket, work)


def test_a_source_that_was_cancelled_itself_cancels_the_upload(moto_bucket: S3Bucket) -> None:
    """As with ``async for``: awaiting something that was cancelled raises CancelledError."""

    async def source() -> AsyncIterator[bytes]:
        inner = asyncio.get_running_loop().create_future()
        inner.cancel()
        yield b"x"
        await inner

    async def work(remote: AsyncS3Bucket) -> None:
        with pytest.raises(asyncio.CancelledError):
            await remote.upload_object("k", source())
        assert not await remote["k"].exists()

    run(moto_bucket, work)


@pytest.mark.parametrize("progress", PROGRESS, ids=["unseen", "bar", "function"])
@pytest.mark.parametrize("size", [100_000, 40 * MIB], ids=["small", "parallel"])
def test_a_cancelled_download_keeps_the_former_file(
    scripted_server: ScriptedServer, tmp_path: Path, size: int, progress: s3.Progress
) -> None:
    """The existing file is unchanged, and no partial file is left."""
    memory, target = StatefulStore(scripted_server), tmp_path / "file"
    memory.put("k", b"x" * size)
    target.write_bytes(b"former")
    asked, may_answer = threading.Event(), threading.Event()

    def wait(request: Any) -> None:
        if request.method == "GET":
            asked.set()
            may_answer.wait(20)

    memory.before = wait

    async def main() -> None:
        async with s3.AsyncS3Store(scripted_server.connect()) as store:
            bucket = store.bucket("bkt")
            for begin in (
                functools.partial(bucket.download_file, "k", target),
                functools.partial(bucket["k"].download_to, target),
                functools.partial(bucket.download_folder, "", tmp_path),
            ):
                asked.clear()
                may_answer.clear()
                task = asyncio.create_task(begin(progress=progress))
                await asyncio.to_thread(asked.wait, 20)
                asyncio.get_running_loop().call_later(0.05, may_answer.set)
                await cancelled(task)
                assert target.read_bytes() == b"former"
                # A small file of a folder may have been completed before the task was cancelled.
                arrived = [found for found in tmp_path.iterdir() if found != target]
                assert [found.read_bytes() for found in arrived] in ([], [b"x" * size])

    asyncio.run(main())


def test_a_cancelled_task_ends_although_its_thread_cannot_be_interrupted(
    scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the source cannot be interrupted, the cancelled task ends after the cleanup time, while the thread continues."""
    monkeypatch.setattr(engine, "_CLEANUP_SECONDS", 0.1)
    memory, is_reading, may_end = StatefulStore(scripted_server), threading.Event(), threading.Event()
    ended_by_the_test: list[bool] = []

    class Stalled(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            is_reading.set()
            ended_by_the_test.append(may_end.wait(60))
            return super().read(size)

    async def main() -> None:
        async with s3.AsyncS3Store(scripted_server.connect()) as store:
            task = asyncio.create_task(store.bucket("bkt").upload_object("k", Stalled(b"late")))
            await asyncio.to_thread(is_reading.wait, 20)
            await cancelled(task)
            may_end.set()

    asyncio.run(main())
    assert False not in ended_by_the_test
    assert memory.objects == {}


WRITES_ON_A_THREAD: dict[str, Callable[[AsyncS3Bucket], Awaitable[Any]]] = {
    "put_object of 2 MiB": lambda bucket: bucket.put_object("k", b"o" * 2 * MIB),
    "put_object through boto3": lambda bucket: bucket.put_object("k", b"old"),
    "put_object with if_match": lambda bucket: bucket.put_object("k", b"old", if_match=MD5_OF_EMPTY),
    "put_json": lambda bucket: bucket.put_json("k", ["old"]),
    "put": lambda bucket: bucket["k"].put(b"o" * 2 * MIB),
    "delete": lambda bucket: bucket["k"].delete(),
    "delete_object": lambda bucket: bucket.delete_object("k"),
    "path.write_bytes": lambda bucket: bucket.path("k").write_bytes(b"old"),
    "path.write_text": lambda bucket: bucket.path("k").write_text("old"),
    "path.unlink": lambda bucket: bucket.path("k").unlink(),
}
MD5_OF_EMPTY = "d41d8cd98f00b204e9800998ecf8427e"


async def cancel_and_write_again(
    write: Callable[[], Awaitable[Any]],
    task: asyncio.Future[Any],
    is_asked: threading.Event,
    may_answer: threading.Event,
) -> None:
    """Cancel a write whose request the store has received, and write anew when the task has ended."""
    await asyncio.to_thread(is_asked.wait, 20)
    task.cancel()
    if not (await asyncio.wait([task], timeout=0.3))[0]:
        may_answer.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    await write()
    may_answer.set()


@pytest.mark.parametrize("write", WRITES_ON_A_THREAD.values(), ids=WRITES_ON_A_THREAD)
def test_a_cancelled_write_on_a_thread_takes_effect_before_the_next(
    scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, write: Callable[[AsyncS3Bucket], Awaitable[Any]]
) -> None:
    """The thread cannot be interrupted, so the task waits for it, and a newer write is not replaced by the cancelled one."""
    monkeypatch.setattr("messageflux_s3._objects.conditional.require", lambda *_: None)
    memory, is_asked, may_answer = StatefulStore(scripted_server), threading.Event(), threading.Event()
    memory.put("k", b"")

    def wait(asked: Any) -> None:
        if asked.method in ("PUT", "DELETE") and asked.body != b"new" and not is_asked.is_set():
            is_asked.set()
            may_answer.wait(20)

    memory.before = lambda asked: wait(asked)

    async def main() -> None:
        async with s3.AsyncS3Store(scripted_server.connect()) as store:  # no request yet: the lane is shut
            bucket = store.bucket("bkt")
            task = asyncio.ensure_future(write(bucket))
            await cancel_and_write_again(lambda: bucket.put_object("k", b"new"), task, is_asked, may_answer)

    asyncio.run(main())
    assert is_asked.is_set() and memory.body("k") == b"new"


CHANGES_OF_TAGS: dict[str, Callable[[AsyncS3Object], Awaitable[Any]]] = {
    "put": lambda obj: obj.tags.put({"state": "old"}),
    "update": lambda obj: obj.tags.update({"state": "old"}),
    "apply": lambda obj: applied(obj.tags.update({"state": "old"}, dry_run=True)),
}


async def applied(planned: Awaitable[Any]) -> None:
    await (await planned).apply()


@pytest.mark.parametrize("change", CHANGES_OF_TAGS.values(), ids=CHANGES_OF_TAGS)
def test_a_cancelled_change_of_a_sub_resource_takes_effect_before_the_next(
    scripted_server: ScriptedServer, change: Callable[[AsyncS3Object], Awaitable[Any]]
) -> None:
    """As any other write on a thread."""
    documents, is_asked, may_answer = [b"<Tagging><TagSet/></Tagging>"], threading.Event(), threading.Event()

    def answer(asked: Asked) -> Answer:
        if asked.method == "PUT":
            if b"old" in asked.body:
                is_asked.set()
                may_answer.wait(20)
            documents.append(asked.body)
            return 200, {}, b""
        return 200, {}, documents[-1]

    scripted_server.answer = answer

    async def main() -> None:
        async with s3.AsyncS3Store(scripted_server.connect()) as store:
            obj = store.bucket("bkt")["k"]
            task = asyncio.ensure_future(change(obj))
            await cancel_and_write_again(lambda: obj.tags.put({"state": "new"}), task, is_asked, may_answer)

    asyncio.run(main())
    assert is_asked.is_set() and b"new" in documents[-1]


@pytest.mark.lane
@pytest.mark.parametrize("way", ["put", "delete"])
def test_a_cancelled_write_in_the_event_loop_takes_effect_before_the_next(
    scripted_server: ScriptedServer, way: str
) -> None:
    """Closing the connection does not stop a request that the store has received, so the task waits for the response."""
    memory, is_asked, may_answer = StatefulStore(scripted_server), threading.Event(), threading.Event()
    memory.put("k", b"")

    def wait(asked: Any) -> None:
        if asked.method in ("PUT", "DELETE") and asked.body != b"new":
            is_asked.set()
            may_answer.wait(20)

    memory.before = lambda asked: wait(asked)

    async def main() -> None:
        async with s3.AsyncS3Store(scripted_server.connect()) as store:
            bucket = store.bucket("bkt")
            assert await bucket.object("k").exists()  # opens the lane
            task = asyncio.ensure_future(bucket.put_object("k", b"old") if way == "put" else bucket.delete_object("k"))
            await cancel_and_write_again(lambda: bucket.put_object("k", b"new"), task, is_asked, may_answer)

    asyncio.run(main())
    assert is_asked.is_set() and memory.body("k") == b"new"


async def all_of(items: Any) -> list[Any]:
    return [item async for item in items]


@pytest.mark.parametrize(
    "name", ["upload_file", "upload_object", "put_objects", "delete_objects", "get_objects", "update"]
)
def test_close_does_not_wait_for_a_thread_that_is_blocked_in_the_user_s_code(
    scripted_server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A FIFO that nothing writes to, a generator that never yields. Once it goes on, the thread ends and writes nothing."""
    monkeypatch.setattr(engine, "_CLEANUP_SECONDS", 0.1)
    memory, is_reading, may_end = StatefulStore(scripted_server), threading.Event(), threading.Event()
    os.mkfifo(fifo := tmp_path / "fifo")

    def stalled(given: Any) -> Iterator[Any]:
        is_reading.set()
        may_end.wait(60)
        yield given

    begin: dict[str, Callable[[AsyncS3Bucket], Any]] = {
        "upload_file": lambda bucket: bucket.upload_file(fifo, "k"),
        "upload_object": lambda bucket: bucket.upload_object("k", stalled(b"late")),
        "put_objects": lambda bucket: bucket.put_objects(stalled(("k", b"late"))),
        "delete_objects": lambda bucket: bucket.delete_objects(stalled("kept")),
        "get_objects": lambda bucket: all_of(bucket.get_objects(stalled("kept"))),
        "update": lambda bucket: bucket["k"].update(lambda _: next(stalled(b"late"))),
    }
    memory.put("kept", b"kept")

    async def main() -> None:
        store = s3.AsyncS3Store(scripted_server.connect())
        task = asyncio.create_task(begin[name](store.bucket("bkt")))
        if name == "upload_file":
            is_reading.set()
            await asyncio.sleep(0.2)
        await asyncio.to_thread(is_reading.wait, 20)
        closing = asyncio.create_task(store.close())  # may be called before the task is cancelled
        await asyncio.sleep(0)
        await cancelled(task)
        await asyncio.wait_for(closing, 20)

    asyncio.run(main())
    left = [thread for thread in threading.enumerate() if thread.name == "messageflux-s3-aio-own"]
    assert len(left) == 1 and left[0].daemon
    may_end.set()
    if name == "upload_file":
        fifo.write_bytes(b"late")
    left[0].join(20)
    assert not left[0].is_alive() and [*memory.objects] == ["kept"]


@pytest.mark.parametrize("while_blocked", ["a part is in flight", "the task is cancelled twice"])
def test_close_does_not_wait_for_a_source_that_is_blocked(
    scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, while_blocked: str
) -> None:
    """A part that ends on another thread, or a second cancellation, does not make close() wait for the user's code."""
    is_twice = while_blocked == "the task is cancelled twice"
    monkeypatch.setattr(engine, "_CLEANUP_SECONDS", 30 if is_twice else 0.5)
    memory, is_reading, may_end, may_answer = StatefulStore(scripted_server), *(threading.Event() for _ in range(3))

    def pieces() -> Iterator[bytes]:
        yield b"x" * 12 * MIB
        is_reading.set()
        may_end.wait(60)

    def wait(asked: Any) -> None:
        if "partNumber" in asked.query and not is_twice:
            may_answer.wait(20)

    memory.before = wait

    async def main() -> None:
        store = s3.AsyncS3Store(scripted_server.connect())
        task = asyncio.create_task(store.bucket("bkt").upload_object("k", pieces(), part_size_bytes=5 * MIB))
        await asyncio.to_thread(is_reading.wait, 20)
        task.cancel()
        await asyncio.sleep(0.1)
        may_answer.set()
        if is_twice:
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(store.close(), 20)

    try:
        asyncio.run(main())
    finally:
        may_end.set()


def test_a_thread_that_is_blocked_in_the_user_s_code_does_not_keep_the_process_alive(tmp_path: Path) -> None:
    """Whether the store was closed or not."""
    os.mkfifo(tmp_path / "fifo")
    script = f"""
import asyncio, messageflux_s3 as s3
from messageflux_s3.aio import engine
engine._CLEANUP_SECONDS = 0.1
async def main():
    store = s3.async_connect("http://127.0.0.1:9", **{KEYS})
    try:
        await asyncio.wait_for(store.bucket("bkt").upload_file({str(tmp_path / "fifo")!r}, "k"), 0.5)
    except asyncio.TimeoutError:
        print("stopped")
asyncio.run(main())
"""
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (told.stdout, told.stderr) == ("stopped\n", "")


# -- the event loop


def test_the_event_loop_is_never_blocked(scripted_server: ScriptedServer, tmp_path: Path) -> None:
    """The store answers a request only when the event loop has run a callback meanwhile, whatever verb is under way."""
    memory = StatefulStore(scripted_server)
    loop: asyncio.AbstractEventLoop | None = None
    ran_meanwhile: list[bool] = []
    (tmp_path / "up").mkdir()
    (tmp_path / "up/file").write_bytes(b"file")

    def wait_for_the_loop(asked: object) -> None:
        assert loop is not None
        ran = threading.Event()
        loop.call_soon_threadsafe(ran.set)
        ran_meanwhile.append(ran.wait(10))

    memory.before = wait_for_the_loop

    async def work(bucket: AsyncS3Bucket) -> None:
        assert not await bucket["k"].exists()
        obj = await bucket.upload_object("k", pieces_of(b"x" * 1000, 100))
        await obj.load()
        await obj.read()
        async with bucket["w"].open("wb") as file:
            await file.write(b"x")
        async with obj.open() as file:
            await file.read()
        await bucket.upload_folder(tmp_path / "up", "folder")
        await bucket.download_object("k", AsyncWriter())
        assert [len(chunk) async for chunk in obj.iter_chunks(600)] == [600, 400]

    async def main() -> None:
        nonlocal loop
        loop = asyncio.get_running_loop()
        async with s3.async_connect(scripted_server.endpoint_url, **KEYS) as store:
            await work(store.bucket("bkt"))

    asyncio.run(main())
    assert len(ran_meanwhile) == 8 and all(ran_meanwhile)


def test_update_accepts_a_coroutine_function(moto_bucket: S3Bucket) -> None:
    """A coroutine function runs in the calling task, a plain function on a thread; the exceptions of both are raised."""

    async def add(body: bytes | None) -> bytes:
        await asyncio.sleep(0)
        assert threading.current_thread() is threading.main_thread()
        return (body or b"") + b"+"

    async def broken(body: bytes | None) -> bytes:
        raise ZeroDivisionError

    async def work(remote: AsyncS3Bucket) -> None:
        obj = remote["k"]
        assert await obj.update(add) is obj
        await obj.update(lambda body: (body or b"") + b"-")
        await obj.update(functools.partial(add))
        assert await remote["k"].read() == b"+-+"
        with pytest.raises(ZeroDivisionError):
            await obj.update(broken)
        with pytest.raises(RuntimeError, match="StopIteration"):  # as from any coroutine
            await obj.update(lambda body: next(iter(())))
        assert await remote["k"].read() == b"+-+"

    run(moto_bucket, work)


@pytest.fixture(autouse=True)
def no_unheard_exceptions(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """asyncio logs no exception that was never retrieved."""
    yield
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []
