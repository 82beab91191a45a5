"""The async interface: the same names and results as the sync one, and no leaked threads or tasks."""

from __future__ import annotations

import asyncio
import gc
import inspect
import io
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from functools import cached_property
from pathlib import Path
from typing import Any

import botocore.exceptions
import pytest
from support.async_runs import no_task_left, no_thread_left
from support.cancellation import MOMENTS, cancelled
from support.proxy import Fault, run_proxy, scripted
from support.scripted_server import RawServer, ScriptedServer
from support.servers import Server, run_moto, run_rclone
from support.stateful_server import StatefulStore
from support.waiting import wait_until

import messageflux_s3 as s3
from messageflux_s3 import AsyncS3Bucket, S3NoSuchItem
from messageflux_s3._client.connection import Connection
from messageflux_s3._files import upload
from messageflux_s3.aio import engine

TWINS = [
    (s3.AsyncS3Store, s3.S3Store),
    (s3.AsyncS3Bucket, s3.S3Bucket),
    (s3.AsyncS3Object, s3.S3Object),
    (s3.AsyncObjectQuery, s3.ObjectQuery),
]


@pytest.fixture(scope="module", params=["rclone", "moto"])
def server(request: pytest.FixtureRequest) -> Any:
    with {"rclone": run_rclone, "moto": run_moto}[request.param]() as running:
        yield running


def run(server: Server, work: Callable[[AsyncS3Bucket], Awaitable[None]], **settings: Any) -> None:
    """Run a coroutine function on a fresh bucket; it must leave no thread and no task."""

    async def main() -> None:
        settings_of_store = {
            "access_key": server.access_key,
            "secret_key": server.secret_key,
            "region": "us-east-1",
            **settings,
        }
        async with s3.async_connect(server.endpoint_url, **settings_of_store) as store:
            bucket = await store.create_bucket(f"aio-{time.monotonic_ns()}")
            await bucket.put_object("opens", b"1")
            await bucket.get_object("opens")
            await bucket.delete_object("opens")
            await work(bucket)
        await no_task_left()

    with no_thread_left():
        asyncio.run(main())


@pytest.mark.parametrize(("face", "twin"), TWINS, ids=[face.__name__ for face, _ in TWINS])
def test_async_classes_have_the_names_and_parameters_of_the_sync_classes(face: type, twin: type) -> None:
    """Every public name of the async classes is one of the sync classes, with the same parameters; properties stay properties."""
    public = [name for name in vars(face) if not name.startswith("_")]
    assert len(public) > 8
    for name in public:
        if name in ("load", "read"):  # the synchronous class has properties that make the request
            continue
        ours, theirs = inspect.getattr_static(face, name), inspect.getattr_static(twin, name)
        assert isinstance(ours, property) == isinstance(theirs, (property, cached_property)), name
        if not isinstance(ours, property):
            shapes = [
                [
                    (parameter.name, parameter.kind, parameter.default)
                    for parameter in inspect.signature(verb).parameters.values()
                ]
                for verb in (getattr(ours, "__func__", ours), getattr(theirs, "__func__", theirs))
            ]
            assert shapes[0] == shapes[1], name


def test_connect_has_the_same_parameters() -> None:
    """async_connect has the parameters and defaults of connect."""
    ours, theirs = (inspect.signature(connect).parameters for connect in (s3.async_connect, s3.connect))
    assert [(name, parameter.default) for name, parameter in ours.items()] == [
        (name, parameter.default) for name, parameter in theirs.items()
    ]


def test_operations_on_one_object_give_the_results_of_the_sync_class(server: Server, tmp_path: Path) -> None:
    """Write, load, exists, range, chunks, copy, delete: results as in the sync interface."""

    async def work(bucket: AsyncS3Bucket) -> None:
        written = await bucket.put_object("a b/é", b"0123456789", {"source": "erp"})
        assert (written.size, written.key) == (10, "a b/é")
        obj = bucket["a b/é"]
        for name in ("size", "etag", "last_modified", "storage_class", "metadata", "content_type", "body"):
            with pytest.raises(RuntimeError, match=r"await obj\.load"):
                getattr(obj, name)
        assert await obj.load() is obj
        assert (obj.size, obj.body, obj.text, obj.metadata["source"]) == (
            10,
            b"0123456789",
            "0123456789",
            "erp",
        )
        assert obj.etag and obj.last_modified.tzinfo
        assert await obj.read_range(2, 5) == b"234"
        assert b"".join([chunk async for chunk in obj.iter_chunks(4)]) == b"0123456789"
        assert await obj.exists() and not await bucket["none"].exists()
        await obj.copy_to("copy")
        assert (await bucket.get_object("copy")).body == b"0123456789"
        await bucket.put_json("j.json", {"n": 1}, {"by": "me"})
        assert (await bucket.get_json("j.json"), (await bucket["j.json"].load()).metadata) == ({"n": 1}, {"by": "me"})
        await bucket["j.json"].delete()
        with pytest.raises(S3NoSuchItem):
            await bucket.get_object("j.json")
        (tmp_path / "file").write_bytes(b"file")
        await bucket.upload_file(tmp_path / "file", "up")
        downloaded = await bucket.download_file("up", tmp_path / "down")
        assert (tmp_path / "down").read_bytes() == b"file"
        assert (await bucket["up"].download_to(tmp_path / "down")).etag == downloaded.etag
        assert "up" in await bucket["up"].presigned_url()

    run(server, work)


def test_batches_listings_and_prefetch_keep_their_order(server: Server) -> None:
    """Batches, listings and prefetch in order; many single requests at the same time."""

    async def work(bucket: AsyncS3Bucket) -> None:
        names = [f"n/{number:03d}" for number in range(40)]
        assert (await bucket.put_objects((name, name) for name in names)).succeeded == names
        assert [obj.key async for obj in bucket.find(prefix="n/")] == names
        assert [obj.size async for obj in bucket.find().limit(2)] == [5, 5]
        assert [obj.text async for obj in bucket.find(prefix="n/").prefetch()] == names
        assert [obj.text async for obj in bucket.get_objects(names[:5])] == names[:5]
        at_once = await asyncio.gather(*(bucket.get_object(name) for name in names))
        assert [obj.text for obj in at_once] == names
        assert await bucket.list_common_prefixes() == ["n/"]
        assert await bucket.find(prefix="n/").count() == 40
        first = await bucket.find(prefix="n/").first()
        assert first is not None and first.key == names[0]
        assert (await bucket.delete_objects(names[:3])).succeeded == names[:3]
        assert (await bucket.find(prefix="n/").delete()).ok
        assert await bucket.find().first() is None

    run(server, work)


def test_leaving_an_async_for_early_leaves_no_thread(server: Server) -> None:
    """Leaving an async for early, or raising in it, ends it at once and leaves no thread."""

    async def work(bucket: AsyncS3Bucket) -> None:
        await bucket.put_objects((f"n/{number:03d}", b"x") for number in range(50))
        async for obj in bucket.find():
            assert obj.key == "n/000"
            break
        with pytest.raises(ZeroDivisionError):
            async for _ in bucket.find().prefetch():
                raise ZeroDivisionError

    run(server, work)


# -- the lane under asyncio

OK = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nETag: "e"\r\n\r\nhi'


async def opened(server: RawServer, **settings: Any) -> AsyncIterator[AsyncS3Bucket]:
    store = s3.async_connect(
        server.url,
        access_key="ACCESSKEY01",
        secret_key="SECRETKEY0123456",
        region="us-east-1",
        max_attempts=1,
        **settings,
    )
    async with store:
        bucket = store.bucket("bkt")
        await bucket.get_object("first")
        assert store.lane.open
        yield bucket


@pytest.mark.lane
@pytest.mark.parametrize(
    "broken",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi" + RawServer.CLOSE,
        b"HTTP/1.1 200 OK\r\n\r\nhi" + RawServer.CLOSE,
        b"garbage\r\n\r\n" + RawServer.CLOSE,
        RawServer.CLOSE,
        b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_a_broken_lane_response_is_requested_again_through_boto3(broken: bytes) -> None:
    """After a broken response on the async lane the request is sent again through boto3, whose response is used."""
    tries: list[bytes] = []

    def script(head: bytes, body: bytes) -> bytes:
        if b"/bad" in head:
            tries.append(head)
            return broken if len(tries) == 1 else OK
        return OK

    server = RawServer(script)

    async def main() -> None:
        async for bucket in opened(server):
            assert (await bucket.get_object("bad")).body == b"hi"
            assert (await bucket.get_object("good")).body == b"hi"

    asyncio.run(main())
    assert len(tries) == 2 and b"user-agent: messageflux-s3" in tries[0] and b"Boto3" in tries[1]
    server.close()


@pytest.mark.lane
def test_a_stale_connection_is_replaced_and_a_silent_server_times_out() -> None:
    """A connection closed while idle is replaced; after the read timeout boto3 sends the request once more."""
    given_up = threading.Event()
    ended_by_the_test: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def script(head: bytes, body: bytes) -> bytes:
        if b"/slow" in head and b"Boto3" not in head:
            ended_by_the_test.put(given_up.wait(60))
        return OK + RawServer.CLOSE

    server = RawServer(script)

    async def main() -> None:
        async for bucket in opened(server, read_timeout=0.3):
            for _ in range(3):
                assert (await bucket.get_object("a")).body == b"hi"
                await asyncio.sleep(0.05)
            assert (await bucket.get_object("slow")).body == b"hi"
            given_up.set()

    asyncio.run(main())
    server.close()
    assert ended_by_the_test.get(timeout=60)


@pytest.mark.lane
def test_cancelling_closes_the_connection() -> None:
    """A cancelled request ends at once, and the next one receives its own response."""

    def script(head: bytes, body: bytes) -> bytes:
        if b"/slow" in head:
            time.sleep(0.5)
            return OK.replace(b"hi", b"no")
        return OK

    server = RawServer(script)

    async def main() -> None:
        async for bucket in opened(server):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(bucket.get_object("slow"), 0.1)
            assert (await bucket.get_object("fast")).body == b"hi"

    asyncio.run(main())
    server.close()


@pytest.mark.parametrize("verb", ["put_object", "put", "upload_object"])
def test_a_cancelled_upload_stops_reading_its_source(
    scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """Also if its task did not wait for a slow read: another upload of the same source would share it with this one."""
    monkeypatch.setattr(engine, "_CLEANUP_SECONDS", 0.1)
    monkeypatch.setattr(upload, "THRESHOLD_BYTES", 1024 * 1024)
    monkeypatch.setattr(upload, "PART_BYTES", 1024 * 1024)
    memory, is_reading, may_end = StatefulStore(scripted_server), threading.Event(), threading.Event()

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            is_reading.set()
            assert may_end.wait(20)
            return super().read(size)

    async def main() -> None:
        store, source = s3.AsyncS3Store(scripted_server.connect()), Slow(b"x" * 40_000_000)
        bucket = store.bucket("bkt")
        task = asyncio.create_task(
            {
                "put": lambda: bucket["k"].put(source),
                "put_object": lambda: bucket.put_object("k", source),
                "upload_object": lambda: bucket.upload_object("k", source),
            }[verb]()
        )
        await asyncio.to_thread(is_reading.wait, 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        may_end.set()
        await store.close()
        assert source.tell() < 30_000_000

    asyncio.run(main())
    wait_until(lambda: not memory.uploads)  # close() does not wait for a thread that was left in the user's read()
    assert memory.objects == {}


async def listed(found: Any) -> list[Any]:
    return [each async for each in found]


PINNED = {"bucket": {"name": "bkt"}, "object": {"key": "k", "eTag": "5d41402abc4b2a76b9719d911017c592"}}
MESSAGE = {"Records": [{"eventName": "ObjectCreated:Put", "s3": PINNED}]}
FIRST_CALLS: dict[str, Callable[[s3.AsyncS3Store, AsyncS3Bucket], Awaitable[Any]]] = {
    "load of a message": lambda store, bucket: store.objects_from(MESSAGE)[0].load(),
    "json of a message": lambda store, bucket: store.objects_from(MESSAGE)[0].json(),
    "read of a message": lambda store, bucket: store.objects_from(MESSAGE)[0].read(),
    "open of a message": lambda store, bucket: store.objects_from(MESSAGE)[0].open()._open(),
    "get_object": lambda store, bucket: bucket.get_object("k"),
    "put_object": lambda store, bucket: bucket.put_object("k", b"x"),
    "put_object, if_absent": lambda store, bucket: bucket.put_object("new", b"x", if_absent=True),
    "put_object of a readable": lambda store, bucket: bucket.put_object("k", io.BytesIO(b"x")),
    "delete": lambda store, bucket: bucket["k"].delete(),
    "delete, if_match": lambda store, bucket: bucket["k"].delete(if_match="e"),
    "exists": lambda store, bucket: bucket["k"].exists(),
    "update": lambda store, bucket: bucket["k"].update(lambda before: b"y"),
    "lock": lambda store, bucket: bucket.lock("l").acquire(),
    "acquire_lock": lambda store, bucket: bucket.acquire_lock("l"),
    "presigned_url": lambda store, bucket: bucket["k"].presigned_url(),
    "copy_to": lambda store, bucket: bucket["k"].copy_to("c"),
    "get_objects": lambda store, bucket: listed(bucket.get_objects(["k"])),
    "put_objects": lambda store, bucket: bucket.put_objects([("a", b"x")]),
    "delete_objects": lambda store, bucket: bucket.delete_objects(["k"]),
    "find": lambda store, bucket: listed(bucket.find()),
    "find_objects": lambda store, bucket: listed(bucket.find_objects()),
    "parallel": lambda store, bucket: listed(bucket.find().parallel()),
    "prefetch": lambda store, bucket: listed(bucket.find().prefetch()),
    "map": lambda store, bucket: listed(bucket.find().map(lambda obj: obj.key)),
    "iter_chunks": lambda store, bucket: listed(bucket["k"].iter_chunks()),
    "iter_lines": lambda store, bucket: listed(bucket["k"].iter_lines()),
    "versions": lambda store, bucket: listed(bucket["k"].versions()),
    "buckets": lambda store, bucket: listed(store.buckets()),
}


@pytest.mark.parametrize("call", FIRST_CALLS.values(), ids=FIRST_CALLS)
def test_the_client_is_built_on_a_thread(
    scripted_server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    call: Callable[[s3.AsyncS3Store, AsyncS3Bucket], Awaitable[Any]],
) -> None:
    """It takes up to half a second, also the second time, after reload_credentials()."""
    StatefulStore(scripted_server).put("k", b"hello")
    threads: list[threading.Thread] = []
    make = Connection._make_resource

    def recorded(self: Connection) -> Any:
        threads.append(threading.current_thread())
        return make(self)

    monkeypatch.setattr(Connection, "_make_resource", recorded)

    async def main() -> None:
        async with s3.AsyncS3Store(scripted_server.connect()) as store:
            for _ in range(2):
                store.reload_credentials()  # before the first one too: another test may have had a server at this port
                with suppress(s3.S3Error, AssertionError):  # the stand-in does not know all of these requests
                    await call(store, store.bucket("bkt"))

    asyncio.run(main())
    assert len(threads) >= 2 and threading.main_thread() not in threads


@pytest.mark.lane
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_cancellation_at_any_await_ends_the_task(moment: str) -> None:
    """At any await, also together with the response or the connection, a cancellation ends the task, and asyncio logs nothing."""
    complaints: list[dict[str, Any]] = []

    def script(head: bytes, body: bytes) -> bytes:
        if b"/cut" in head and b"Boto3" not in head:
            return OK[:-1] + RawServer.CLOSE
        return OK + (RawServer.CLOSE if b"/last" in head else b"")

    server = RawServer(script)

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, complaint: complaints.append(complaint))
        async for bucket in opened(server):
            for key in ("a", "last", "cut"):
                for at in range(1, 20):
                    bucket._engine.exchange.close()  # so that it has to connect
                    told = await cancelled(bucket.get_object(key), at, moment)
                    assert told != "lost", f"{key} at await {at}"
                    if told == "ended":
                        break
                assert at > 2
                assert (await bucket.get_object("a")).body == b"hi"
        gc.collect()
        await asyncio.sleep(0)

    asyncio.run(main())
    gc.collect()
    assert complaints == []
    server.close()


@pytest.mark.lane
def test_one_store_works_in_several_event_loops_in_turn() -> None:
    """Connections of an ended event loop are closed; closing the store does not use ended loops."""
    server = RawServer(lambda head, body: OK)
    store = s3.async_connect(server.url, access_key="ACCESSKEY01", secret_key="SECRETKEY0123456", region="us-east-1")

    async def use() -> None:
        bucket = store.bucket("bkt")
        await bucket.get_object("first")
        found = await asyncio.gather(*(bucket.get_object(f"k{number}") for number in range(8)))
        assert [obj.body for obj in found] == [b"hi"] * 8

    asyncio.run(use())
    gc.collect()
    after_one = len([*Path("/proc/self/fd").iterdir()])
    for _ in range(3):
        asyncio.run(use())
        gc.collect()
    assert len([*Path("/proc/self/fd").iterdir()]) <= after_one + 8  # the server's own ends are closed as it notices
    assert len(store._engine.exchange._lanes) == 1
    asyncio.run(store.close())
    server.close()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_starts_its_own_threads() -> None:
    """The parent's threads do not exist in the child, so work queued on them would never run."""
    server = RawServer(lambda head, body: OK)
    store = s3.async_connect(server.url, access_key="ACCESSKEY01", secret_key="SECRETKEY0123456", region="us-east-1")

    async def use() -> bytes:
        return await store.bucket("bkt").object("k").read_range(0, 2)

    assert asyncio.run(use()) == b"hi"
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # it must not outlive a test that fails
        try:
            os._exit(0 if asyncio.run(asyncio.wait_for(use(), 30)) == b"hi" else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    asyncio.run(store.close())
    server.close()


async def _load_and_look(store: s3.AsyncS3Store, bucket_name: str) -> s3.AsyncS3Object:
    async with store:
        return await store.bucket(bucket_name)["k"].load()


def test_attributes_missing_from_the_response_raise_an_error_that_says_so(server: Server, bucket: s3.S3Bucket) -> None:
    """After load() the error must not ask for load()."""
    bucket.put_object("k", b"five!")
    with run_proxy(server.endpoint_url, lambda *_: Fault("missing_header", 0.4)) as proxy:
        store = s3.AsyncS3Store(server.connect(endpoint_url=proxy.endpoint_url))
        obj = asyncio.run(_load_and_look(store, bucket.name))
        assert obj.body == b"five!"
        with pytest.raises(s3.S3ServerError, match=f"the last_modified of s3://{bucket.name}/k"):
            _ = obj.last_modified


def test_a_write_whose_response_has_no_etag_is_sent_again(server: Server, bucket: s3.S3Bucket) -> None:
    """A written object's etag needs no request, so the write's response must contain it."""

    async def write(store: s3.AsyncS3Store) -> str:
        async with store:
            return (await store.bucket(bucket.name).put_object("k", b"five!")).etag

    with run_proxy(server.endpoint_url, scripted({("PUT", "k"): [Fault("missing_header", 0.0)]})) as proxy:
        assert asyncio.run(write(s3.AsyncS3Store(server.connect(endpoint_url=proxy.endpoint_url)))) == bucket["k"].etag
        assert proxy.counts()["missing_header"] == 1


def test_async_reprs_are_those_of_the_sync_classes_with_async_in_front() -> None:
    """The reprs begin with Async and send no request."""
    store = s3.AsyncS3Store(s3.connect("http://127.0.0.1:9", access_key="AK", secret_key="SK", region="r"))
    bucket = store.bucket("bucket")
    assert repr(store).startswith("AsyncS3Store(")
    assert repr(bucket) == "AsyncS3Bucket('bucket')"
    assert repr(bucket["k"]) == "AsyncS3Object('s3://bucket/k')"
    assert repr(bucket.find(prefix="p/")).startswith("<AsyncObjectQuery s3://bucket/")


def test_json_of_a_loaded_handle_takes_no_request(server: Server) -> None:
    """Conditional reads and JSON of a loaded body send no request."""

    async def work(bucket: AsyncS3Bucket) -> None:
        await bucket.put_object("k", b"[1]")
        obj = await bucket.get_object("k")
        await bucket.delete_object("k")
        assert await obj.json() == [1]
        await bucket.put_object("k", b"[2]")
        with pytest.raises(s3.S3Error):
            await obj.delete(if_match="0" * 32)

    run(server, work)


@pytest.fixture
def scripted_store() -> Any:
    """A scripted server, and an async store on it whose lane is open after a GET of ``first``."""
    servers: list[RawServer] = []

    def make(script: Callable[[bytes], bytes | None], **settings: Any) -> tuple[RawServer, s3.AsyncS3Store]:
        server = RawServer(lambda head, body: OK if b"/first" in head else script(head))
        servers.append(server)
        keys = {"access_key": "ACCESSKEY01", "secret_key": "SECRETKEY0123456", "region": "us-east-1", "max_attempts": 1}
        store = s3.connect(server.url, **{**keys, **settings})
        assert store.bucket("bkt").get_object("first").body == b"hi"
        server.requests.clear()
        return server, s3.AsyncS3Store(store)

    yield make
    for server in servers:
        server.close()


OK = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nETag: "e"\r\nLast-Modified: Sat, 21 Nov 2026 05:00:00 GMT\r\n\r\nhi'


@pytest.mark.lane
def test_a_stale_connection_is_opened_again(scripted_store: Any) -> None:
    """If the server has closed an idle connection, the request is sent once more on another one."""
    hang_up: list[bool] = []
    server, store = scripted_store(lambda head: None if hang_up and hang_up.pop() else OK)

    async def work() -> None:
        async with store:
            bucket = store.bucket("bkt")
            assert (await bucket.get_object("k")).body == b"hi"
            hang_up.append(True)
            assert (await bucket.get_object("k")).body == b"hi"

    asyncio.run(work())
    assert len(server.requests) == 3


@pytest.mark.lane
def test_bytes_after_the_answer_close_the_connection(scripted_store: Any) -> None:
    """After surplus bytes the next request uses another connection and receives its own response."""
    server, store = scripted_store(lambda head: OK + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong")

    async def work() -> None:
        async with store:
            for _ in range(2):
                assert (await store.bucket("bkt").get_object("k")).body in (b"hi",)

    asyncio.run(work())
    assert server.connections >= 2


@pytest.mark.lane
def test_bytes_after_a_response_that_a_busy_loop_has_not_noticed_are_not_the_next_response(scripted_store: Any) -> None:
    """They arrive while the program's own code keeps the event loop from reading them."""
    more = RawServer.LATER + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong"
    server, store = scripted_store(lambda head: OK + more if b"/long" in head else OK)

    async def work() -> None:
        async with store:
            bucket = store.bucket("bkt")
            assert (await bucket.get_object("long")).body == b"hi"
            server.goes_on.set()
            time.sleep(0.2)  # the loop is busy
            assert (await bucket.get_object("k")).body == b"hi"

    asyncio.run(work())
    assert server.connections >= 2


@pytest.mark.lane
def test_a_request_without_response_ends_after_the_read_timeout(scripted_store: Any) -> None:
    """The request is sent again through boto3, whose error is raised."""
    silent = threading.Event()
    _, store = scripted_store(lambda head: silent.wait(60) and None, read_timeout=0.2)

    async def work() -> None:
        async with store:
            with pytest.raises(s3.S3ConnectionError):
                await store.bucket("bkt").get_object("k")

    asyncio.run(work())
    silent.set()


@pytest.mark.lane
def test_refreshing_credentials_does_not_block_the_event_loop(scripted_store: Any) -> None:
    """A slow credentials callable does not block the event loop."""
    asked: list[str] = []
    lasts = [60]  # so short that they are refreshed at each use

    def credentials() -> dict[str, Any]:
        asked.append(threading.current_thread().name)
        end = datetime.now(timezone.utc) + timedelta(seconds=lasts[0])
        return {"access_key": "AK", "secret_key": "SK", "expires_at": end}

    _, store = scripted_store(lambda head: OK, access_key=None, secret_key=None, credentials=credentials)
    asked.clear()
    lasts[0] = 86_400

    async def work() -> None:
        async with store:
            assert (await store.bucket("bkt").get_object("k")).body == b"hi"

    asyncio.run(work())
    assert len(asked) == 1
    assert threading.main_thread().name not in asked


@pytest.mark.lane
@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("failure", ["refused", "refused by STS", "expired"])
def test_credentials_that_cannot_be_refreshed_raise_an_authentication_error(
    scripted_store: Any, failure: str, is_async: bool
) -> None:
    """Not an exception of botocore's, or its RuntimeError. In a batch each key has the error."""
    is_first = [True]

    def credentials() -> dict[str, Any]:
        if failure == "refused by STS" and not is_first:
            said = {"Error": {"Code": "ExpiredToken", "Message": "no"}}
            raise botocore.exceptions.ClientError(said, "AssumeRole")  # type: ignore[arg-type]
        if failure == "refused" and not is_first:
            raise botocore.exceptions.CredentialRetrievalError(provider="test", error_msg="no")
        end = datetime.now(timezone.utc) + timedelta(seconds=60 if is_first else -60)
        return {"access_key": "AK", "secret_key": "SK", "expires_at": end}

    server, store = scripted_store(lambda head: OK, access_key=None, secret_key=None, credentials=credentials)
    is_first.clear()

    async def work() -> None:
        async with store:
            await store.bucket("bkt").get_object("k")

    with pytest.raises(s3.S3AuthenticationError, match="expired" if failure == "expired" else "no"):
        asyncio.run(work()) if is_async else store._store.bucket("bkt").get_object("k")
    if not is_async:
        written = store._store.bucket("bkt").put_objects([("a", b"1"), ("b", b"2")], raise_errors=False)
        assert [type(failed.error) for failed in written.failures] == [s3.S3AuthenticationError] * 2
    assert server.requests == []


def test_a_conditional_write_never_replaces_an_object(server: Server) -> None:
    """The condition is honoured, or S3Unsupported is raised; the object is never replaced."""

    async def work(bucket: AsyncS3Bucket) -> None:
        await bucket.put_object("k", b"one")
        with pytest.raises((s3.S3ObjectExists, s3.S3Unsupported)):
            await bucket.put_object("k", b"two", if_absent=True)
        assert (await bucket.get_object("k")).body == b"one"

    run(server, work)


@pytest.mark.lane
def test_a_refused_lane_connection_falls_back_to_boto3(scripted_store: Any) -> None:
    """The lane's new connection is refused; boto3 still has one."""
    server, store = scripted_store(lambda head: OK)
    server._listener.shutdown(socket.SHUT_RDWR)
    server.close()

    async def work() -> None:
        async with store:
            assert await store.bucket("bkt").object("k").exists()
            assert (await store.bucket("bkt").get_object("k")).body == b"hi"

    asyncio.run(work())


@pytest.mark.lane
def test_reloaded_credentials_are_used_on_the_lane_too(scripted_store: Any) -> None:
    """reload_credentials() replaces the client: the lane of the event loop signs with the new key."""
    numbers = iter(range(1, 9))

    def credentials() -> dict[str, str]:
        return {"access_key": f"KEY{next(numbers)}", "secret_key": "SECRETKEY0123456"}

    server, store = scripted_store(lambda head: OK, access_key=None, secret_key=None, credentials=credentials)

    async def work() -> None:
        async with store:
            await store.bucket("bkt").get_object("k")
            store._store.reload_credentials()
            for _ in range(3):  # boto3 first, then the lane, which is open again
                await store.bucket("bkt").get_object("first")

    asyncio.run(work())
    keys = [head.partition(b"Credential=")[2][:4] for head in server.requests]
    assert keys[0] == b"KEY1" and set(keys[1:]) == {b"KEY2"}
    assert b"Boto3" not in server.requests[-1]


ENDS_WITHOUT_CANCELLING = """
import asyncio, sys
import messageflux_s3 as s3
begun = asyncio.Event()
async def source():
    yield b"content"
    begun.set()
    await asyncio.sleep(3600)
async def keys():
    async for _ in source():
        yield "key"
async def main():
    global task
    bucket = s3.AsyncS3Store(s3.connect(sys.argv[1], access_key="a", secret_key="b", region="us-east-1")).bucket("bkt")
    calls = {"upload": lambda: bucket.object("k").put(source()), "delete": lambda: bucket.delete_objects(keys())}
    task = asyncio.ensure_future(calls[sys.argv[2]]())
    await begun.wait()
loop = asyncio.new_event_loop()
loop.run_until_complete(main())
if sys.argv[3] == "closed":
    loop.close()
"""


@pytest.mark.parametrize("loop", ["closed", "left open"])
@pytest.mark.parametrize("what", ["upload", "delete"])
def test_the_interpreter_can_exit_after_a_loop_ended_without_cancelling_its_tasks(
    scripted_server: ScriptedServer, what: str, loop: str
) -> None:
    """A thread that waits for the next item of a task's async source ends: no loop will run the task."""
    command = [sys.executable, "-c", ENDS_WITHOUT_CANCELLING, scripted_server.endpoint_url, what, loop]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    ended = subprocess.run(command, env=environment, capture_output=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
