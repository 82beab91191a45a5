"""Threads, processes, event loops, abandoned iterations and interpreter exit: correct results, no leaked threads, sockets or memory.

    MFS3_ROUNDS=20 python -m pytest -s tests/attacks/test_concurrency.py

``MFS3_ROUNDS`` is the number of rounds of each test, ``MFS3_SEED`` the seed.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import operator
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest
from support.cancellation import MOMENTS, cancelled
from support.servers import Server

import messageflux_s3 as s3

ROUNDS = int(os.environ.get("MFS3_ROUNDS", "1"))
SEED = int(os.environ.get("MFS3_SEED", "1"))
KEYS = [f"n/{number:02}" for number in range(24)]
LINES = b"".join(b"line %d\n" % number for number in range(2000))

pytestmark = [pytest.mark.timeout(3600), pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")]


def descriptors() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


def own_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("messageflux-s3")]


def settles(what: Callable[[], bool], seconds: float = 30.0) -> bool:
    """Return whether a condition becomes true, with a time limit that suits a busy machine."""
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            return False
        gc.collect()
        time.sleep(0.01)
    return True


def filled(bucket: s3.S3Bucket) -> s3.S3Bucket:
    """A bucket with some objects, after a first use of boto3, the lane and a batch."""
    bucket.put_objects((key, key) for key in KEYS)
    bucket.put_object("lines", LINES)
    assert [obj.text for obj in bucket.get_objects(KEYS)] == KEYS
    return bucket


# -- threads --------------------------------------------------------------------------------------------------------------------------


def busy(bucket: s3.S3Bucket, shared: s3.S3Object, query: s3.ObjectQuery, seed: int, told: Counter[str]) -> None:
    """One thread's work; every result is compared with the expected one."""
    generator = random.Random(seed)
    mine = bucket.object(f"mine/{seed}")
    content = b""
    is_there = False
    for turn in range(15 * ROUNDS):
        what = generator.choice(
            (
                "put",
                "put",
                "read",
                "range",
                "delete",
                "shared",
                "shared",
                "forget",
                "list",
                "prefetch",
                "get",
                "copy",
                "close",
                "reload",
            )
        )
        told[what] += 1
        if what == "put" or not is_there:
            content = f"{seed} {turn} ".encode() * generator.randrange(1, 200)
            mine.put(content, {"turn": str(turn)})
            is_there = True
            assert (mine.size, mine.metadata) == (len(content), {"turn": str(turn)})
        elif what == "read":
            assert bucket.get_object(mine.key).body == content
        elif what == "range":
            assert mine.read_range(3, 40) == content[3:40]
        elif what == "delete":
            mine.delete()
            is_there = False
            assert not mine.exists()
        elif what == "shared":
            assert (shared.body, shared.size, shared.read_range(5, 9)) == (LINES, len(LINES), LINES[5:9])
        elif what == "forget":
            shared.reload()
        elif what == "list":
            assert [obj.key for obj in query] == KEYS
        elif what == "prefetch":
            assert [obj.text for obj in query.limit(5).prefetch()] == KEYS[:5]
        elif what == "get":
            assert [obj.text for obj in bucket.get_objects(KEYS[:7])] == KEYS[:7]
        elif what == "copy":
            assert mine.copy_to(f"copy/{seed}").reload().body == content
        elif what == "close":
            bucket.store.close()
            assert bucket.store.lane.reason
        else:
            bucket.store.reload_credentials()


def test_threads_can_share_a_store_bucket_object_and_query(server: Server, bucket: s3.S3Bucket) -> None:
    """Also while one of the threads closes the store or reloads its credentials."""
    before = descriptors()
    store = server.connect(read_timeout=31)  # a separate configuration, and so separate sockets
    shared_bucket = filled(store.bucket(bucket.name))
    told: Counter[str] = Counter()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    try:
        with ThreadPoolExecutor(8) as executor:
            shared, query = shared_bucket.object("lines"), shared_bucket.find("n/")
            for done in [
                executor.submit(busy, shared_bucket, shared, query, SEED * 100 + number, told) for number in range(8)
            ]:
                done.result(600)
    finally:
        sys.setswitchinterval(interval)
    store.close()
    assert settles(lambda: descriptors() <= before and not own_threads())
    print(f"\nthreads on {server.name}: {told.total()} turns of {len(told)} kinds")


# -- processes ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["fork", "spawn", "forkserver"])
def test_process_pools_work_after_the_parent_has_made_requests(
    way: str, rclone: Server, rclone_bucket: s3.S3Bucket
) -> None:
    """Handles, queries and partitions are pickled to workers and back while the parent runs a batch, which then continues."""
    store = rclone.connect(pickle_secrets=True)
    bucket = filled(store.bucket(rclone_bucket.name))
    held = bucket.find("n/").prefetch(concurrency=4)
    assert next(held).text == KEYS[0]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(way)) as pool:
        found = bucket.find("n/")
        assert [*pool.map(operator.attrgetter("text"), found)] == KEYS
        assert [*found.map(operator.attrgetter("text"), pool)] == KEYS
        parts = [*pool.map(operator.methodcaller("collect"), found.partitions(3))]
        assert [obj.text for part in parts for obj in part] == KEYS
        (there_and_back,) = pool.map(operator.methodcaller("limit", 3), [found])
        assert [obj.text for obj in there_and_back] == KEYS[:3]
        written = pool.submit(operator.methodcaller("put", b"theirs"), bucket.object("theirs")).result(120)
        assert (written.size, bucket.get_object("theirs").body) == (6, b"theirs")
        errors = pool.submit(operator.attrgetter("body"), bucket.object("missing")).exception(120)
        assert isinstance(errors, s3.S3NoSuchItem) and errors.key == "missing"
    assert [obj.text for obj in held] == KEYS[1:]
    assert pickle.loads(pickle.dumps(parts[0][0])).text == KEYS[0]
    store.close()


@pytest.mark.parametrize("whose", ["ours", "theirs"])
def test_a_process_can_fork_while_its_threads_make_requests(
    whose: str, rclone: Server, rclone_bucket: s3.S3Bucket
) -> None:
    """A child forked while the parent's threads send requests can read through boto3 and the lane; the parent is not affected."""
    own = boto3.resource(
        "s3", endpoint_url=rclone.endpoint_url, aws_access_key_id=rclone.access_key, aws_secret_access_key=rclone.secret_key,
        region_name="us-east-1",
    )  # fmt: skip
    store = s3.S3Store.from_resource(own) if whose == "theirs" else rclone.connect(read_timeout=32)
    bucket = filled(store.bucket(rclone_bucket.name))
    without_lane = rclone.connect(read_timeout=37)
    without_lane.client.meta.events.register("before-send.s3.GetObject", lambda **_: None)
    assert not without_lane.lane.open
    through_boto3 = without_lane.bucket(rclone_bucket.name)
    is_over = threading.Event()
    wrong: list[object] = []

    def read(number: int) -> None:
        try:
            while not is_over.is_set():
                if number % 2:
                    assert through_boto3.get_object("lines").body == LINES
                else:
                    assert [obj.text for obj in bucket.get_objects(KEYS)] == KEYS
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    codes: Counter[int] = Counter()
    for _ in range(5 * ROUNDS):
        child = os.fork()
        if child == 0:
            signal.alarm(120)
            try:
                os._exit(
                    0 if bucket.get_object("lines").body == LINES and bucket.find("n/").count() == len(KEYS) else 3
                )
            finally:
                os._exit(4)
        codes[os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])] += 1
    is_over.set()
    for thread in threads:
        thread.join(120)
    store.close()
    without_lane.close()
    assert (codes, wrong) == ({0: 5 * ROUNDS}, [])


# -- asyncio --------------------------------------------------------------------------------------------------------------------------


async def drained(found: Any) -> int:
    return len([item async for item in found])


def verbs(
    store: s3.AsyncS3Store, bucket: s3.AsyncS3Bucket, folder: Path
) -> dict[str, Callable[[], Coroutine[Any, Any, Any]]]:
    """Return async calls that transfer data; tests/test_aio_streams.py cancels those with streams, files and folders."""
    obj = bucket.object("n/00")
    source = folder / "source"
    source.write_bytes(LINES)
    return {
        "ping": lambda: store.ping(),
        "buckets": lambda: drained(store.buckets()),
        "exists (bucket)": lambda: bucket.exists(),
        "get_object": lambda: bucket.get_object("lines"),
        "put_object": lambda: bucket.put_object("w/a", LINES),
        "put_json": lambda: bucket.put_json("w/j", [1]),
        "get_json": lambda: bucket.get_json("w/json"),
        "delete_object": lambda: bucket.delete_object("w/gone"),
        "copy_object": lambda: bucket.copy_object("lines", "w/copy"),
        "get_objects": lambda: drained(bucket.get_objects(KEYS)),
        "put_objects": lambda: bucket.put_objects((f"w/{key}", LINES) for key in KEYS[:8]),
        "delete_objects": lambda: bucket.delete_objects([f"w/{key}" for key in KEYS[8:]]),
        "upload_file": lambda: bucket.upload_file(source, "w/file"),
        "download_file": lambda: bucket.download_file("lines", folder / "down"),
        "list_common_prefixes": lambda: bucket.list_common_prefixes(),
        "find": lambda: drained(bucket.find("n/")),
        "prefixes": lambda: drained(bucket.find(delimiter="/").prefixes()),
        "prefetch": lambda: drained(bucket.find("n/").prefetch()),
        "first": lambda: bucket.find("n/").first(),
        "count": lambda: bucket.find("n/").count(),
        "total_size": lambda: bucket.find("n/").total_size(),
        "collect": lambda: bucket.find("n/").collect(),
        "delete (query)": lambda: bucket.find("w/none").delete(),
        "load": lambda: obj.load(),
        "exists": lambda: obj.exists(),
        "json": lambda: bucket.object("w/json").json(),
        "read_range": lambda: obj.read_range(0, 2),
        "iter_chunks": lambda: drained(bucket.object("lines").iter_chunks(5000)),
        "iter_lines": lambda: drained(bucket.object("lines").iter_lines()),
        "put": lambda: bucket.object("w/put").put(LINES),
        "delete": lambda: bucket.object("w/deleted").delete(),
        "copy_to": lambda: bucket.object("lines").copy_to("w/copied"),
        "download_to": lambda: bucket.object("lines").download_to(folder / "to"),
        "presigned_url": lambda: obj.presigned_url(),
    }


@pytest.mark.parametrize("lane", ["open", "shut"])
def test_a_task_can_be_cancelled_at_every_await(
    lane: str, rclone: Server, rclone_bucket: s3.S3Bucket, tmp_path: Path
) -> None:
    """Every call, cancelled at every await and moment: the cancellation takes effect, and the store works afterwards."""
    filled(rclone_bucket)
    rclone_bucket.put_json("w/json", [1])
    before = descriptors()
    complaints: list[dict[str, Any]] = []
    told: Counter[str] = Counter()
    generator = random.Random(SEED)

    async def sound(bucket: s3.AsyncS3Bucket) -> None:
        assert (await bucket.get_object("n/03")).text == "n/03"
        for path in tmp_path.iterdir():  # a download is complete, or still has its temporary name
            assert path.name.endswith("mfs3-partial") or path.read_bytes() == LINES

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, complaint: complaints.append(complaint))
        synchronous = rclone.connect(read_timeout=33)
        if lane == "shut":
            synchronous._connection.lane.shut("for this test")
        async with s3.AsyncS3Store(synchronous) as store:
            bucket = store.bucket(rclone_bucket.name)
            await bucket.get_object("n/00")
            for name, verb in verbs(store, bucket, tmp_path).items():
                for moment in MOMENTS:
                    for at in range(1, 100):
                        said = await cancelled(verb(), at, moment)
                        told[said] += 1
                        assert said != "lost", f"{name}, await {at}, {moment}"
                        if said == "ended":
                            break
                    else:
                        raise AssertionError(f"{name} never ends")
                for _ in range(ROUNDS):  # and at random moments, which may fall into inner tasks
                    task = asyncio.ensure_future(verb())
                    await asyncio.sleep(generator.uniform(0, 0.003))
                    task.cancel()
                    await asyncio.wait([task])
                    told["at random"] += 1
                    assert task.cancelled() or task.exception() is None, name
                await sound(bucket)
        for _ in range(10):
            await asyncio.sleep(0.01)
        assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []

    asyncio.run(main())
    gc.collect()
    assert complaints == []
    assert settles(lambda: descriptors() <= before and not own_threads())
    assert rclone_bucket.get_object("lines").body == LINES
    assert {obj.size for obj in rclone_bucket.find("w/n/")} <= {len(LINES)}
    assert [path for path in tmp_path.iterdir() if path.name.endswith("mfs3-partial")] == []
    print(f"\nlane {lane}: {dict(told)}")


def test_a_store_works_after_event_loops_ended_with_requests_under_way(
    rclone: Server, rclone_bucket: s3.S3Bucket
) -> None:
    """One store is used by many event loops in turn, each of which ends during requests and iterations."""
    filled(rclone_bucket)
    store = s3.AsyncS3Store(rclone.connect(read_timeout=34))
    bucket = store.bucket(rclone_bucket.name)
    counts: list[int] = []

    async def leave() -> None:
        tasks = [asyncio.ensure_future(bucket.get_object("lines")) for _ in range(20)]
        held = bucket.find("n/").prefetch()
        async for _ in held:
            break
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)

    for _ in range(5 * ROUNDS):
        asyncio.run(leave())
        gc.collect()
        counts.append(descriptors())
    asyncio.run(store.close())
    # A loop that ends leaves its connections to be closed, and the machine decides how many that are: what counts is that they go.
    assert settles(lambda: descriptors() <= counts[0] + 20), counts
    assert settles(lambda: not own_threads())


# -- iterations -----------------------------------------------------------------------------------------------------------------------


def iterations(bucket: s3.S3Bucket) -> dict[str, Callable[[], Iterator[Any]]]:
    """Return every iterator of the interface."""
    return {
        "find": lambda: bucket.find_objects("n/", max_keys=5),
        "entries": lambda: bucket.find(delimiter="/").entries(),
        "prefixes": lambda: bucket.find(delimiter="/").prefixes(),
        "prefetch": lambda: bucket.find("n/").prefetch(concurrency=8),
        "prefetch in little memory": lambda: bucket.find("n/").prefetch(concurrency=3, max_bytes=1),
        "get_objects": lambda: bucket.get_objects(KEYS),
        "map": lambda: bucket.find("n/").map(operator.attrgetter("text"), in_flight=5),
        "parallel": lambda: bucket.find("n/").parallel(3),
        "chunks": lambda: bucket.object("lines").iter_chunks(1000),
        "lines": lambda: bucket.object("lines").iter_lines(),
        "buckets": lambda: bucket.store.buckets(),
    }


@pytest.mark.parametrize("lane", ["open", "shut"])
def test_an_iteration_abandoned_at_any_item_leaves_no_threads_or_descriptors(
    lane: str, rclone: Server, rclone_bucket: s3.S3Bucket
) -> None:
    """Iterators that are closed, collected, left by an exception or collected by another thread leak no thread and no descriptor."""
    before = descriptors()
    store = rclone.connect(read_timeout=35)
    bucket = filled(store.bucket(rclone_bucket.name))
    if lane == "shut":
        bucket._connection.lane.shut("for this test")
    most = 0
    for name, begin in iterations(bucket).items():
        for taken in (0, 1, 2, 3, 5, 12, 24, 1999)[: 4 + 2 * ROUNDS]:
            for way in ("closed", "dropped", "raised", "elsewhere"):
                items: Any = begin()
                for _ in range(taken):
                    next(items, None)
                if way == "closed" and hasattr(items, "close"):
                    items.close()
                elif way == "raised":
                    with pytest.raises(ZeroDivisionError):
                        for _ in items:
                            raise ZeroDivisionError
                        raise ZeroDivisionError
                elif way == "elsewhere":
                    box = [items]
                    del items
                    thread = threading.Thread(target=box.clear)
                    thread.start()
                    thread.join()
                items = None
                assert settles(lambda: not own_threads(), 10), (name, taken, way)
        assert bucket.get_object(KEYS[1]).text == KEYS[1]
        most = max(most, descriptors())
    store.close()
    assert settles(lambda: descriptors() <= before)
    assert most < before + 80


# -- the end of the interpreter -------------------------------------------------------------------------------------------------------

BEGIN = """
import asyncio, operator, os, signal, sys, threading, time
import messageflux_s3 as s3
signal.signal(signal.SIGINT, signal.default_int_handler)  # what is started in the background ignores it
endpoint, access, secret, name, ending = sys.argv[1:6]
store = s3.connect(endpoint, access_key=access, secret_key=secret, region="us-east-1")
bucket = store.bucket(name)
keys = [obj.key for obj in bucket.find("n/")]
assert bucket.get_object("lines").size
def held(items):
    next(items)
    return items
"""
END = """
if ending == "exit": sys.exit(5)
if ending == "_exit": os._exit(5)
if ending == "interrupt": signal.raise_signal(signal.SIGINT)
if ending == "thread": threading.Thread(target=lambda: time.sleep(0.05)).start()
"""
CODES = {"exit": 5, "_exit": 5, "interrupt": -signal.SIGINT, "thread": 0}

HELD = {
    "find": "it = held(iter(bucket.find('n/')))",
    "prefetch": "it = held(bucket.find('n/').prefetch(4))",
    "prefetch, boto3": "store._connection.lane.shut('so'); it = held(bucket.find('n/').prefetch(4))",
    "map": "it = held(bucket.find('n/').map(operator.attrgetter('text'), in_flight=8))",
    "parallel": "it = held(bucket.find('n/').parallel(3))",
    "lines": "it = held(bucket.object('lines').iter_lines())",
    "a file": "file = bucket.object('lines').open('rb'); file.read(100)",
    "a file to write": "file = bucket.object('w').open('wb'); file.write(bytes(20_000_000))",
    "a lock": "lock = bucket.lock(f'{ending}.lock', ttl=30).__enter__()",
    "daemon threads": """
def work(number):
    while True:
        [obj.body for obj in bucket.get_objects(keys)] if number % 2 else bucket.get_object("lines").body
for number in range(4): threading.Thread(target=work, args=(number,), daemon=True).start()
time.sleep(0.1)
""",
    "an event loop": """
astore = s3.AsyncS3Store(store)
async def use():
    tasks = [asyncio.ensure_future(astore.bucket(name).object(key).read_range(0, 1)) for key in keys]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
asyncio.run(use())
""",
}


def test_the_interpreter_can_exit_while_requests_are_under_way(moto: Server, moto_bucket: s3.S3Bucket) -> None:
    """With sys.exit, os._exit, an interrupt or a running thread, the process exits soon, with its exit code and without our output."""
    filled(moto_bucket)
    folder = str(Path(__file__).parents[2])
    arguments = [moto.endpoint_url, moto.access_key, moto.secret_key, moto_bucket.name]

    def ends(what: str, ending: str) -> str | None:
        ended = subprocess.run(
            [sys.executable, "-c", BEGIN + HELD[what] + END, *arguments, ending],
            env={**os.environ, "PYTHONPATH": folder}, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        said = ended.stderr
        if ending == "interrupt":
            said = "" if said.rstrip().endswith("KeyboardInterrupt") and said.count("Traceback") == 1 else said
        if what == "a file to write" and ending != "_exit":  # a warning says that the file was not written
            said = "\n".join(line for line in said.splitlines() if "was dropped without being closed" not in line)
            if ending == "interrupt" and "Traceback" in said and said.count("Traceback") == 1:
                said = ""
        return f"{what}, {ending}: {ended.returncode} {said}" if said or ended.returncode != CODES[ending] else None

    every = [(what, ending) for what in HELD for ending in CODES]
    chosen = every if ROUNDS > 2 else random.Random(SEED).sample(every, 16)
    with ThreadPoolExecutor(3) as executor:
        wrong = [told for told in executor.map(lambda one: ends(*one), chosen) if told is not None]
    assert wrong == []
    print(f"\n{len(chosen)} ends of an interpreter")


# -- again and again ------------------------------------------------------------------------------------------------------------------


def test_opening_and_closing_stores_leaks_no_resources(rclone: Server, rclone_bucket: s3.S3Bucket) -> None:
    """Opening, using and closing stores repeatedly does not increase objects, memory, threads or descriptors."""
    filled(rclone_bucket)
    own = boto3.resource(
        "s3", endpoint_url=rclone.endpoint_url, aws_access_key_id=rclone.access_key, aws_secret_access_key=rclone.secret_key,
        region_name="us-east-1",
    )  # fmt: skip

    async def loop() -> None:
        async with s3.async_connect(
            rclone.endpoint_url, access_key=rclone.access_key, secret_key=rclone.secret_key, region="us-east-1"
        ) as store:
            bucket = store.bucket(rclone_bucket.name)
            await asyncio.gather(*(bucket.get_object(key) for key in KEYS))

    def turn() -> None:
        for store in (rclone.connect(read_timeout=36), s3.S3Store.from_resource(own)):
            bucket = store.bucket(rclone_bucket.name)
            assert bucket.get_object("lines").body == LINES
            assert [obj.text for obj in bucket.find("n/").prefetch()] == KEYS
            assert [obj.key for obj in bucket.find("n/").parallel(2)] == KEYS
            store.close()
        asyncio.run(loop())

    def now() -> tuple[int, int, int]:
        gc.collect()
        gc.collect()
        return len(gc.get_objects()), tracemalloc.get_traced_memory()[0], descriptors()

    for _ in range(6):
        turn()
    tracemalloc.start()
    turn()
    objects, memory, opened = now()
    turns = 5 * ROUNDS
    for _ in range(turns):
        turn()
    objects_after, memory_after, opened_after = now()
    tracemalloc.stop()
    grown = f"{objects_after - objects:+} objects, {(memory_after - memory) / 1024:+.0f} KiB, {opened_after - opened:+} descriptors"
    print(f"\nafter {turns} turns: {grown}")
    assert objects_after - objects < 400 + 5 * turns
    assert memory_after - memory < 400_000 + 5_000 * turns
    assert opened_after <= opened + 2
    assert settles(lambda: not own_threads())
