"""The verbs of stores, buckets, objects and queries under asyncio: queries, folders, locks, sub-resources, versions."""

from __future__ import annotations

import asyncio
import copy
import functools
import gc
import json
import pickle
import threading
from collections.abc import Callable, Iterator
from contextlib import aclosing
from datetime import datetime, timezone
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from support.async_runs import no_thread_left, run
from support.scripted_server import Answer, ScriptedServer, refusal
from support.servers import Server
from support.stateful_server import StatefulStore

import messageflux_s3 as s3
from messageflux_s3 import AsyncS3Bucket, AsyncS3Object, S3Bucket
from messageflux_s3._bulk.listing import Listed
from messageflux_s3.aio import engine
from messageflux_s3.aio.engine import Engine


@pytest.fixture(autouse=True)
def no_unheard_exceptions(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """asyncio logs no exception that was never retrieved."""
    yield
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


# -- queries


def test_async_queries_give_the_results_of_sync_queries(bucket: S3Bucket) -> None:
    """Entries, parts, tables and sums are those of the synchronous query."""
    names = [f"a/{number:03d}" for number in range(40)] + ["b/x", "c"]
    bucket.put_objects((name, name) for name in names)

    async def work(remote: AsyncS3Bucket) -> None:
        found = [entry async for entry in remote.find(delimiter="/").entries()]
        assert [entry if isinstance(entry, str) else entry.key for entry in found] == ["a/", "b/", "c"]
        assert isinstance(found[2], AsyncS3Object) and found[2].size == 1
        query = remote.find("a/")
        assert query.bucket.name == remote.name
        parts = await query.partitions(3)
        assert [obj.key for part in parts for obj in await part.collect()] == names[:40]
        assert [obj.key async for obj in query.parallel(3)] == names[:40]
        assert (await query.usage()).count == (await remote.usage("a/")).count == 40
        assert (await remote.find("a/").show(3)).text == bucket.find("a/").show(3).text
        assert (await remote.find().tree()).text == bucket.find().tree().text
        assert len(await query.to_pandas()) == (await query.to_arrow()).num_rows == 40
        assert [rows.num_rows async for rows in query.arrow_batches(rows=15)] == [15, 15, 10]
        assert [obj.key async for obj in remote.find_objects("b")] == ["b/x"]
        assert [obj.key async for obj in remote.list_objects()] == names
        with pytest.raises(ValueError, match="max_keys"):
            remote.find_objects(max_keys=0)

    run(bucket, work)


LISTINGS: dict[str, Callable[[Any], Any]] = {
    "find_objects": lambda bucket: bucket.find_objects(max_keys=10),
    "find, a tenth of the keys": lambda bucket: query_of(bucket.find(glob="*7")),
    "entries": lambda bucket: query_of(bucket.find(delimiter="/")).entries(),
    "filter": lambda bucket: query_of(bucket.find().filter(lambda obj: obj.key.endswith("7"))),
}


def query_of(query: Any) -> Any:
    """Return the query with pages of 10 keys."""
    if isinstance(query, s3.AsyncObjectQuery):
        return s3.AsyncObjectQuery(query._query._refined(page_size=10), query._engine)
    return query._refined(page_size=10)


@pytest.mark.parametrize("used", [1, 2, 5, 20])
@pytest.mark.parametrize("listing", LISTINGS.values(), ids=LISTINGS)
def test_a_listing_that_is_left_early_lists_little_more(
    scripted_server: ScriptedServer, listing: Callable[[Any], Any], used: int
) -> None:
    """At most twice the requests of the synchronous class, and one page that either requests ahead."""
    memory, store = StatefulStore(scripted_server), scripted_server.connect()
    for number in range(600):
        memory.put(f"{number:03d}", b"")
    found = iter(listing(store.bucket("bkt")))
    for _ in range(used):
        next(found)
    del found
    needed = len(scripted_server.asked)
    scripted_server.asked.clear()

    async def main() -> None:
        async with s3.AsyncS3Store(store) as asynchronous:
            number = 0
            async with aclosing(aiter(listing(asynchronous.bucket("bkt")))) as found:
                async for _ in found:
                    if (number := number + 1) == used:
                        break

    asyncio.run(main())
    assert len(scripted_server.asked) <= 2 * needed + 2


def test_map_runs_a_coroutine_function_in_tasks(moto_bucket: S3Bucket) -> None:
    """It runs in at most ``in_flight`` tasks; results are in key order by default."""
    moto_bucket.put_objects((f"{number}", str(number)) for number in range(10))
    running, most = [0], [0]

    async def number_of(obj: AsyncS3Object) -> int:
        running[0] += 1
        most[0] = max(most[0], running[0])
        body = await obj.read()
        await asyncio.sleep(0.05 if body == b"0" else 0)
        running[0] -= 1
        return int(body)

    async def broken(obj: AsyncS3Object) -> str:
        if obj.key in "37":
            raise ZeroDivisionError(obj.key)
        return obj.key

    async def told(obj: AsyncS3Object, error: Exception) -> str:
        return f"{obj.key}: {type(error).__name__}"

    async def work(remote: AsyncS3Bucket) -> None:
        query = remote.find()
        assert [number async for number in query.map(number_of, in_flight=3)] == [*range(10)]
        assert most[0] == 3
        unordered = [number async for number in query.map(number_of, ordered=False)]
        assert sorted(unordered) == [*range(10)] and unordered[0] != 0
        assert [key async for key in query.map(broken, on_error="skip")] == [*"01245689"]
        assert [key async for key in query.map(broken, on_error=told)][3] == "3: ZeroDivisionError"
        with pytest.raises(ZeroDivisionError):
            async for _ in query.map(broken):
                pass
        begun: list[asyncio.Task[Any] | None] = []

        async def slow(obj: AsyncS3Object) -> str:
            if obj.key != "0":
                begun.append(asyncio.current_task())
                await asyncio.sleep(60)
            return obj.key

        mapped = query.map(slow, in_flight=4)
        assert await anext(mapped) == "0"
        await mapped.aclose()  # type: ignore[attr-defined]
        assert begun and all(task is not None and task.cancelled() for task in begun)
        with pytest.raises(ValueError, match="executor"):
            query.map(number_of, executor=object())  # type: ignore[call-overload]
        with pytest.raises(ValueError, match="in_flight"):
            query.map(functools.partial(number_of), in_flight=0)

    run(moto_bucket, work)


def test_map_runs_a_function_on_threads(moto_bucket: S3Bucket) -> None:
    """It receives the sync handle, on a thread."""
    moto_bucket.put_objects((f"{number}", str(number)) for number in range(10))

    def text_of(obj: s3.S3Object) -> str:
        assert threading.current_thread() is not threading.main_thread()
        return obj.text

    async def work(remote: AsyncS3Bucket) -> None:
        assert [text async for text in remote.find().map(text_of)] == [*"0123456789"]
        with pytest.raises(TypeError, match="function"):
            remote.find().map(None)  # type: ignore[call-overload]

    run(moto_bucket, work)


# -- folders


def test_folders_are_uploaded_downloaded_and_synchronized(bucket: S3Bucket, tmp_path: Path) -> None:
    """Upload and download folders; print a plan, then apply it."""
    folder, target = tmp_path / "from", tmp_path / "to"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    (folder / "sub/b.txt").write_text("b")

    async def work(remote: AsyncS3Bucket) -> None:
        told: list[int] = []
        assert await remote.upload_folder(folder, "up", progress=told.append) == ["up/a.txt", "up/sub/b.txt"]
        assert sum(told) == 2
        assert await remote.download_folder("up", target) == ["a.txt", "sub/b.txt"]
        assert (target / "sub/b.txt").read_text() == "b"
        assert await remote.find("up/a").download_to(tmp_path / "query") == ["up/a.txt"]
        (folder / "c.txt").write_text("c")
        plan = await remote.sync_from_folder(folder, "up", dry_run=True)
        assert [step.key for step in plan.copied] == ["up/c.txt"] and not plan.applied
        assert (plan.direction, plan.prefix, plan.bucket_name, plan.folder) == (
            "to_store",
            "up/",
            remote.name,
            str(folder),
        )
        assert "up/c.txt" in str(plan) and "AsyncSyncPlan" in repr(plan) and plan._repr_html_()
        assert (await plan.apply()).applied
        done = await remote.sync_to_folder("up", target)
        assert done.applied and [step.key for step in done.steps if step.action == "copy"] == ["up/c.txt"]
        assert len(done.skipped) == 2 and done.deleted == []
        assert (target / "c.txt").read_text() == "c"

    run(bucket, work)


# -- locks


def test_an_async_lock_is_acquired_and_released(
    scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock is held during the block; the next holder has a larger token; a cancelled block releases it."""
    StatefulStore(scripted_server)
    monkeypatch.setattr("messageflux_s3._objects.conditional.require", lambda *_: None)

    async def work(bucket: AsyncS3Bucket) -> None:
        async with bucket.lock("l", ttl=30, owner="one") as lock:
            lock.check()
            assert (lock.key, lock.owner, lock.lost) == ("l", "one", False)
            assert repr(lock).startswith("<AsyncS3Lock s3://bkt/l by 'one': held")
            await lock.renew()
            with pytest.raises(s3.S3LockError) as told:
                await bucket.lock("l", owner="two")
            assert told.value.lock_holder == "one"
            first = lock.token
        assert lock.lost
        held = await bucket.lock("l", owner="two")
        assert held.token > first
        async with held:  # already awaited: not acquired again
            assert not held.lost
        started = asyncio.Event()

        async def hold() -> None:
            async with bucket.lock("l", owner="three"):
                started.set()
                await asyncio.sleep(60)

        task = asyncio.create_task(hold())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await bucket.check_lock("l") is None
        with pytest.raises(KeyError):
            async with bucket.lock("l"):
                raise KeyError
        assert await bucket.check_lock("l") is None
        with pytest.raises(ValueError, match="ttl"):
            bucket.lock("l", ttl=0)

    async def main() -> None:
        async with s3.AsyncS3Store(dated(scripted_server)) as store:
            await work(store.bucket("bkt"))

    asyncio.run(main())


def test_waiting_for_a_lock_takes_no_thread_of_the_pool(
    scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waiting for a lock uses no pool thread; a cancelled wait leaves no lease."""
    StatefulStore(scripted_server)
    monkeypatch.setattr("messageflux_s3._objects.conditional.require", lambda *_: None)

    async def main() -> None:
        async with s3.AsyncS3Store(dated(scripted_server, max_concurrency=1)) as store:
            bucket, order = store.bucket("bkt"), list[int]()

            async def use(number: int) -> None:
                async with bucket.lock("l", wait=60):
                    order.append(number)

            held = await bucket.lock("l")
            tasks = [asyncio.create_task(use(number)) for number in range(4)]
            await asyncio.sleep(0.3)
            tasks[0].cancel()
            with pytest.raises(asyncio.CancelledError):
                await tasks[0]
            await held.release()
            await asyncio.gather(*tasks[1:])
            assert sorted(order) == [1, 2, 3]
            assert await bucket.check_lock("l") is None

    asyncio.run(main())


def dated(scripted_server: ScriptedServer, **settings: Any) -> s3.S3Store:
    """A store on a server with a running clock, which the first lock tokens need."""
    answer = scripted_server.answer

    def with_date(asked: Any) -> Any:
        status, headers, body = answer(asked) or (500, {}, b"")
        now = formatdate(usegmt=True)
        return status, {**headers, "Date": now, **({"Last-Modified": now} if "Last-Modified" in headers else {})}, body

    scripted_server.answer = with_date
    return scripted_server.connect(**settings)


def test_plain_lock_files_work_as_in_the_sync_class(moto_bucket: S3Bucket) -> None:
    """As in the synchronous class."""

    async def work(remote: AsyncS3Bucket) -> None:
        assert (await remote.acquire_lock("job", {"user": "ann"})).key == "job"
        assert await remote.check_lock("job") == {"user": "ann"}
        with pytest.raises(s3.S3LockError):
            await remote.acquire_lock("job")
        await remote.release_lock("job")
        assert await remote.check_lock("job") is None

    run(moto_bucket, work)


@pytest.mark.parametrize("phase", ["before the PUT", "after the PUT", "after the task has ended"])
def test_a_cancelled_acquire_lock_leaves_no_lock(
    scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    """The caller gets no handle to release, so that a lock would be held for ever."""
    monkeypatch.setattr("messageflux_s3._objects.conditional.require", lambda *_: None)
    if phase == "after the task has ended":
        monkeypatch.setattr(engine, "_CLEANUP_SECONDS", 0.1)
    memory = StatefulStore(scripted_server)
    is_asked, may_answer = threading.Event(), threading.Event()

    def wait(asked: Any) -> None:
        if asked.method == "PUT":
            is_asked.set()
            may_answer.wait(20)

    async def main() -> None:
        async with s3.AsyncS3Store(scripted_server.connect()) as store:
            bucket = store.bucket("bkt")
            if phase == "after the PUT":
                memory.after = lambda asked: wait(asked) or False
            else:
                memory.before = lambda asked: wait(asked)
            task = asyncio.create_task(bucket.acquire_lock("l"))
            await asyncio.to_thread(is_asked.wait, 20)
            task.cancel()
            if phase != "after the task has ended":
                may_answer.set()
            with pytest.raises(asyncio.CancelledError):
                await task
            if phase != "after the task has ended":
                assert await bucket.check_lock("l") is None
            may_answer.set()

    asyncio.run(main())
    assert is_asked.is_set() and memory.objects == {}


def test_a_lock_that_a_cancelled_task_cannot_release_is_logged(
    scripted_server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A plain lock never expires, so that somebody has to hear of it."""
    memory, is_asked, may_answer = StatefulStore(scripted_server), threading.Event(), threading.Event()

    def answer(asked: Any) -> Answer | None:
        if asked.method == "PUT":
            is_asked.set()
            may_answer.wait(20)
        return None if asked.method == "PUT" else refusal(403, "AccessDenied")

    async def main() -> None:
        async with s3.AsyncS3Store(scripted_server.connect(preset="aws")) as store:
            memory.before = answer
            task = asyncio.create_task(store.bucket("bkt").acquire_lock("l"))
            await asyncio.to_thread(is_asked.wait, 20)
            task.cancel()
            await asyncio.sleep(0)
            may_answer.set()
            with pytest.raises(asyncio.CancelledError):
                await task

    with caplog.at_level("WARNING", "messageflux_s3"):
        asyncio.run(main())
    [record] = [record for record in caplog.records if "could not be released" in record.getMessage()]
    assert "s3://bkt/l" in record.getMessage() and record.exc_info is not None


# -- sub-resources, versions, and the rest


def test_sub_resource_methods_are_awaited(moto_bucket: S3Bucket) -> None:
    """Every method is awaited; changes are planned, printed and applied."""

    async def work(remote: AsyncS3Bucket) -> None:
        await remote.lifecycle.expire(days=7, prefix="tmp/")
        assert [rule.expire_days for rule in (await remote.lifecycle.get()).rules] == [7]
        await remote.set_lifetime_in_days(30)
        assert len((await remote.lifecycle.get()).rules) == 2
        await remote.lifecycle.delete()
        await remote.tags.update({"a": "1"})
        await remote.tags.remove("none")
        assert dict(await remote.tags.get()) == {"a": "1"} == dict(moto_bucket.tags.get())
        change = await remote.tags.change(moto_bucket.tags.get().with_tags({"b": "2"}))
        assert not change.is_empty and "+b=2" in str(change) and change.after["b"] == "2" and "b" not in change.before
        assert repr(change).startswith("<AsyncChange") and change.what.startswith("tagging") and change._repr_html_()
        await change.apply()
        assert (await remote.tags.get())["b"] == "2"
        assert not await remote.versioning.is_enabled()
        await remote.versioning.enable()
        assert await remote.versioning.is_enabled()
        await remote.allow_public_access()
        assert (await remote.public_access.status()).is_public
        await remote.public_access.block()
        assert not (await remote.public_access.status()).is_public
        assert (await remote.policy.get()).statements == ()
        assert (await remote.cors.get()).rules == ()
        assert (await remote.notifications.get()).targets == ()
        assert (await remote.encryption.get()).lines() == moto_bucket.encryption.get().lines()
        obj = await remote.put_object("k", b"x", tags={"of": "object"})
        await obj.tags.update({"more": "1"})
        assert dict(await obj.tags.get()) == {"of": "object", "more": "1"}
        for part in (
            "lifecycle",
            "public_access",
            "policy",
            "versioning",
            "tags",
            "cors",
            "encryption",
            "notifications",
        ):
            assert repr(getattr(remote, part)).startswith("<async ")
        assert "versioning" in (await remote.show()).text

    run(moto_bucket, work)


def test_versions_are_listed_and_restored(moto_bucket: S3Bucket) -> None:
    """Old versions are listed, read and made current; a deleted object comes back."""
    moto_bucket.versioning.enable()

    async def work(remote: AsyncS3Bucket) -> None:
        obj = await remote.put_object("k", b"one")
        await obj.put(b"two")
        versions = [version async for version in obj.versions()]
        assert [await version.read() for version in versions] == [b"two", b"one"]
        current = await versions[1].make_current()
        assert await current.read() == b"one"
        await obj.delete()
        assert not await obj.exists()
        assert await obj.undelete() is True
        assert await obj.exists() and await obj.read() == b"one"

    run(moto_bucket, work)


def test_forms_previews_and_handles_from_messages_work(moto_bucket: S3Bucket) -> None:
    """Presigned forms, previews, handles from a message, and the bucket's existence."""

    async def work(remote: AsyncS3Bucket) -> None:
        obj = await remote.put_object("a.csv", b"name,n\nx,1\n")
        assert (await obj.presigned_post(60, max_size=10))["url"].endswith(remote.name)
        assert (await obj.preview()).text == moto_bucket["a.csv"].preview().text
        place = {"bucket": {"name": remote.name}, "object": {"key": "a.csv", "size": 11}}
        message = json.dumps({"Records": [{"eventName": "ObjectCreated:Put", "s3": place}]})
        [named] = remote.store.objects_from(message, buckets=[remote.name])
        assert isinstance(named, AsyncS3Object) and await named.read() == b"name,n\nx,1\n"
        assert obj.bucket.name == remote.name and remote.compute_url("a.csv") == obj.url
        assert "bucket" in (await remote.store.show()).text
        other = await remote.store.create_bucket(f"{remote.name}-other")
        await other.put_object("k", b"x")
        await other.clear_objects()
        await other.put_object("k", b"x")
        with pytest.raises(s3.S3BucketNotEmpty):
            await other.delete_bucket()
        await other.delete_bucket(force=True)
        assert not await other.exists()

    run(moto_bucket, work)


def test_probe_returns_capabilities(rclone: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs on a thread, with its parameters."""
    asked: list[Any] = []
    monkeypatch.setattr("messageflux_s3.store.probe", lambda connection, name: asked.append(name) or s3.Capabilities())

    async def main() -> None:
        async with s3.AsyncS3Store(rclone.connect()) as store:
            assert isinstance(await store.probe("scratch"), s3.Capabilities)
            store.reload_credentials()

    asyncio.run(main())
    assert asked == ["scratch"]


# -- what a handle knows


@pytest.mark.parametrize("etag", [None, "", '"e"'])
@pytest.mark.parametrize("storage_class", [None, "GLACIER"])
@pytest.mark.parametrize(
    "name", [name for name, value in vars(AsyncS3Object).items() if isinstance(value, property) and name != "url"]
)
def test_a_property_of_a_listed_object_sends_no_request(name: str, etag: str | None, storage_class: str | None) -> None:
    """It has the value from the listing, or says that it is not known yet: a request would block the event loop."""
    store = s3.connect("http://127.0.0.1:9", access_key="a", secret_key="b", max_attempts=1)  # no server there
    listed = Listed("k", datetime(2026, 11, 22, tzinfo=timezone.utc), etag or "", 7, storage_class or "STANDARD")
    obj = AsyncS3Object(s3.S3Object._create(store.bucket("bucket"), "k", listed=listed), Engine(store))
    try:
        assert getattr(obj, name) != ""
    except RuntimeError as error:
        assert "await obj.load() " in str(error)


# What happens to an object between the making of a handle and json().
BEFORE_JSON: dict[str, Callable[[StatefulStore, s3.S3Bucket], s3.S3Object]] = {
    "nothing known": lambda memory, bucket: bucket["k"],
    "written": lambda memory, bucket: bucket.put_object("k", b"[2]"),
    "listed": lambda memory, bucket: next(iter(bucket.find())),
    "read": lambda memory, bucket: bucket.get_object("k"),
    "loaded, replaced": lambda memory, bucket: replaced(memory, headed(bucket["k"])),
    "read, replaced": lambda memory, bucket: replaced(memory, bucket.get_object("k")),
    "listed, replaced": lambda memory, bucket: replaced(memory, next(iter(bucket.find()))),
    "large": lambda memory, bucket: replaced(memory, bucket["k"], b"[%s]" % (b" " * 9_000_000)),
    "no JSON": lambda memory, bucket: replaced(memory, bucket["k"], b"{"),
    "deleted": lambda memory, bucket: memory.objects.clear() or bucket["k"],  # type: ignore[func-returns-value]
}


def headed(obj: s3.S3Object) -> s3.S3Object:
    assert obj.exists()
    return obj


def replaced(memory: StatefulStore, obj: s3.S3Object, body: bytes = b"[3]") -> s3.S3Object:
    memory.put("k", body)
    return obj


@pytest.mark.parametrize("prepare", BEFORE_JSON.values(), ids=BEFORE_JSON)
def test_json_is_that_of_the_synchronous_class(
    scripted_server: ScriptedServer, prepare: Callable[[StatefulStore, s3.S3Bucket], s3.S3Object]
) -> None:
    """The same value or error, for the same number of requests."""
    memory, bucket = StatefulStore(scripted_server), scripted_server.connect().bucket("bkt")
    outcomes: list[tuple[Any, int]] = []

    def outcome_of(read: Callable[[s3.S3Object], Any]) -> None:
        memory.put("k", b"[1]")
        obj = prepare(memory, bucket)
        scripted_server.asked.clear()
        try:
            found = read(obj)
        except s3.S3Error as error:
            found = type(error)
        outcomes.append((found, len(scripted_server.asked)))

    outcome_of(lambda obj: obj.json())

    async def read(obj: s3.S3Object) -> Any:
        async with s3.AsyncS3Store(bucket.store) as store:
            return await AsyncS3Object(obj, store._engine).json()

    outcome_of(lambda obj: asyncio.run(read(obj)))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize(
    ("extra", "content_type"),
    [
        ({}, "application/json"),
        ({"content_type": None}, "application/json"),
        ({"ContentType": None}, "application/json"),
        ({"content_type": "text/x"}, "text/x"),
        ({"ContentType": "text/x"}, "text/x"),
        ({"content_type": None, "ContentType": "text/x"}, "text/x"),
        ({"content_type": "text/x", "ContentType": None}, "text/x"),
    ],
)
def test_put_json_has_the_content_type_of_json_unless_given_another(
    scripted_server: ScriptedServer, extra: Any, content_type: str
) -> None:
    """Under either name of the parameter; None means that it is not given."""
    memory, store = StatefulStore(scripted_server), scripted_server.connect()
    store.bucket("bkt").put_json("sync", [], **extra)

    async def main() -> None:
        async with s3.AsyncS3Store(store) as asynchronous:
            await asynchronous.bucket("bkt").put_json("async", [], **extra)

    asyncio.run(main())
    assert {memory.objects[key].headers["content-type"] for key in ("sync", "async")} == {content_type}


# -- handles as values

HANDLES: dict[str, Callable[[s3.AsyncS3Store], Any]] = {
    "store": lambda store: store,
    "bucket": lambda store: store.bucket("bkt"),
    "other bucket": lambda store: store.bucket("other"),
    "object": lambda store: store.bucket("bkt")["k"],
    "other object": lambda store: store.bucket("bkt")["l"],
    "object of another bucket": lambda store: store.bucket("other")["k"],
    "version": lambda store: store.bucket("bkt").object("k", "1"),
}


@pytest.mark.parametrize("make", HANDLES.values(), ids=HANDLES)
def test_handles_are_values(make: Callable[[s3.AsyncS3Store], Any]) -> None:
    """Equal, hashed and pickled as the synchronous ones; never equal to one of those."""
    store = s3.async_connect("http://127.0.0.1:9", access_key="a", secret_key="b", pickle_secrets=True)
    handle, handles = make(store), [other(store) for other in HANDLES.values()]
    assert [other == handle for other in handles] == [other._twin == handle._twin for other in handles]
    assert hash(handle) == hash(make(store)) and len({handle, make(store)}) == 1
    assert handle != handle._twin and handle._twin != handle
    for again in (pickle.loads(pickle.dumps(handle)), copy.copy(handle), copy.deepcopy(handle)):
        assert type(again) is type(handle) and again == handle and again._engine is handle._engine


def test_an_unpickled_handle_is_used_in_a_process_that_has_no_store(scripted_server: ScriptedServer) -> None:
    """All of them share one engine, which their store closes."""
    memory, sync_store = StatefulStore(scripted_server), scripted_server.connect(pickle_secrets=True)
    memory.put("k", b"hello")
    bucket = s3.AsyncS3Store(sync_store).bucket("bkt")
    pickled = [pickle.dumps(handle) for handle in (bucket, bucket["k"], bucket.find("k"), bucket.store)]
    del bucket
    gc.collect()

    async def main() -> None:
        remote, obj, query, store = (pickle.loads(one) for one in pickled)
        assert len({handle._engine for handle in (remote, obj, query, store)}) == 1
        assert await obj.read() == b"hello" == (await remote.get_object("k")).body
        assert await query.collect() == [obj] and obj.bucket == remote and remote.store == store
        await store.close()

    with no_thread_left():
        asyncio.run(main())


ASYNC_HANDLES: dict[str, Callable[[s3.S3Bucket, AsyncS3Bucket], Any]] = {
    "copy_to": lambda bucket, remote: bucket["k"].copy_to(remote["l"]),  # type: ignore[arg-type]
    "move_to": lambda bucket, remote: bucket["k"].move_to(remote["l"]),  # type: ignore[arg-type]
    "query.copy_to": lambda bucket, remote: bucket.find().copy_to(remote),  # type: ignore[arg-type]
    "query.copy_to with a prefix": lambda bucket, remote: bucket.find().copy_to(remote, "p/"),  # type: ignore[arg-type]
    "get_objects": lambda bucket, remote: list(bucket.get_objects([remote["k"]])),  # type: ignore[list-item]
    "delete_objects": lambda bucket, remote: bucket.delete_objects([remote["k"]]),  # type: ignore[list-item]
    "S3Bucket": lambda bucket, remote: s3.S3Bucket("bkt", remote.store),  # type: ignore[arg-type]
    "list_buckets": lambda bucket, remote: list(s3.S3Bucket.list_buckets(remote.store)),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("use", ASYNC_HANDLES.values(), ids=ASYNC_HANDLES)
def test_a_synchronous_class_rejects_an_async_handle(use: Callable[[s3.S3Bucket, AsyncS3Bucket], Any]) -> None:
    """With a TypeError that names its type; nothing is sent."""
    bucket = s3.connect("http://127.0.0.1:9", access_key="a", secret_key="b", max_attempts=1).bucket("bkt")
    with pytest.raises(TypeError, match="not AsyncS3"):
        use(bucket, s3.AsyncS3Store(bucket.store).bucket("bkt"))
