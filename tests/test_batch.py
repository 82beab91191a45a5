"""Many objects at once: read, written, deleted, prefetched; with the lane open and with it shut."""

from __future__ import annotations

import asyncio
import gc
import html
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.request_counting import Counted
from support.scripted_server import Answer, Asked, RawServer, ScriptedServer, content_of, document, refusal
from support.servers import Server, run_moto, run_rclone
from support.stateful_server import StatefulStore
from support.waiting import wait_until

from messageflux_s3 import AsyncS3Store, S3AccessDenied, S3BatchError, S3Bucket, S3Error, S3NoSuchItem, S3Store
from messageflux_s3._bulk import batch, pipeline
from messageflux_s3._bulk.read_ahead import side_by_side
from messageflux_s3._formats.deletions import read_deletions
from messageflux_s3._http import request_window
from messageflux_s3._objects.operations import MAX_CACHED_BODY

WAYS = [
    pytest.param(
        (server, is_open), id=f"{server}-{'lane' if is_open else 'boto3'}", marks=[pytest.mark.lane] if is_open else []
    )
    for server in ("rclone", "moto")
    for is_open in (True, False)
]


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, Server]]:
    with run_rclone() as rclone, run_moto() as moto:
        yield {"rclone": rclone, "moto": moto}


@pytest.fixture(params=WAYS)
def bucket(request: pytest.FixtureRequest, servers: dict[str, Server]) -> Iterator[S3Bucket]:
    """A fresh bucket, with the lane or with boto3 only."""
    server, is_open = request.param
    with servers[server].connect(max_concurrency=8 if is_open else 7) as store:
        fresh = store.create_bucket(f"batch-{time.monotonic_ns()}")
        if not is_open:
            fresh._connection.lane.shut("this test wants boto3")
        else:
            fresh.put_object("opens", b"")
            fresh.delete_object("opens")
            assert store.lane.open
        yield fresh


def test_writes_and_reads_in_order(bucket: S3Bucket) -> None:
    """Objects written are read back in the order requested, with their metadata, on the lane and through boto3."""
    bodies = {f"k {number:03d}+é": bytes([number]) * number for number in range(60)}
    result = bucket.put_objects((key, body, {"n": str(len(body))}) for key, body in bodies.items())
    assert (result.succeeded, result.failures, result.ok) == ([*bodies], [], True)
    asked = [*reversed(bodies)]
    got = list(bucket.get_objects(asked))
    assert [(obj.key, obj.body, obj.metadata["n"]) for obj in got] == [
        (key, bodies[key], str(len(bodies[key]))) for key in asked
    ]
    ahead = list(bucket.find().prefetch(concurrency=4))
    assert [(obj.key, obj.body) for obj in ahead] == sorted(bodies.items())
    assert ahead[3].size == 3 and ahead[3].content_type is not None


def test_a_missing_object_raises_when_its_body_is_read(bucket: S3Bucket) -> None:
    """An error belongs to its key alone; the iteration itself never raises for one object."""
    bucket.put_objects([("a", b"1"), ("c", b"3")])
    first, missing, last = bucket.get_objects(["a", "b", "c"])
    assert (first.body, last.body) == (b"1", b"3")
    with pytest.raises(S3NoSuchItem) as caught:
        _ = missing.body
    assert (caught.value.key, caught.value.code, caught.value.status) == ("b", "NoSuchKey", 404)


def test_get_objects_does_not_keep_bodies_above_8_mib(bucket: S3Bucket) -> None:
    """Above 8 MiB the headers come, and the body when it is read."""
    bucket.put_object("large", b"x" * (MAX_CACHED_BODY + 1))
    bucket.put_object("small", b"y")
    for objects in (bucket.get_objects(["large", "small"]), bucket.find().prefetch()):
        large, small = objects
        assert large._body is None and large.size == MAX_CACHED_BODY + 1
        assert small._body == b"y"
        assert len(large.body) == MAX_CACHED_BODY + 1


def test_get_objects_costs_one_request_per_object_of_any_size(counted: Counted) -> None:
    """Reading the body of an object above 8 MiB costs the second one."""
    counted.bucket.put_object("large", b"x" * (MAX_CACHED_BODY + 1))
    counted.bucket.put_object("small", b"y")
    with counted.recording() as seen:
        large, small = counted.bucket.get_objects(["large", "small"])
    assert (large.size, small.body) == (MAX_CACHED_BODY + 1, b"y")
    assert [request.method for request in seen] == ["GET", "GET"]
    with counted.recording() as seen:
        assert len(large.body) == MAX_CACHED_BODY + 1
    assert [request.method for request in seen] == ["GET"]


def test_delete_objects_reports_existing_and_missing_keys_as_deleted(bucket: S3Bucket) -> None:
    """Keys that were there and keys that were not are gone; others stay; more than one request's worth works."""
    names = [f"d/{number:04d}" for number in range(30)]
    bucket.put_objects([*((name, b"") for name in names), ("kept", b"1"), ("a&<b>", b"2")])
    result = bucket.delete_objects([*names, "a&<b>", "was-never-there"])
    assert result.succeeded == [*names, "a&<b>", "was-never-there"] and result.ok
    assert [obj.key for obj in bucket.find()] == ["kept"]
    with pytest.raises(ValueError, match="clear_objects"):
        bucket.find().delete()
    assert bucket.find(prefix="k").delete().succeeded == ["kept"]
    assert bucket.find().first() is None


def test_batches_leave_no_threads(bucket: S3Bucket) -> None:
    """Complete, abandoned and raising iterations leave no thread."""
    bucket.put_objects((f"k{number}", b"x") for number in range(40))
    before = threading.active_count()
    list(bucket.get_objects(f"k{number}" for number in range(40)))
    objects = bucket.find().prefetch()
    next(iter(objects))
    objects.close()  # type: ignore[attr-defined]  # an iterator that is a generator
    with pytest.raises(ZeroDivisionError):
        for _ in bucket.find().parallel(3):
            raise ZeroDivisionError
    wait_until(lambda: threading.active_count() <= before)


def test_wrong_items_are_type_errors(bucket: S3Bucket) -> None:
    """A wrong item raises TypeError at once, naming the right form; the items before it are written."""
    with pytest.raises(TypeError, match="key, data"):
        bucket.put_objects([("first", b"1"), "second"])  # type: ignore[list-item]
    assert bucket["first"].body == b"1"
    with pytest.raises(TypeError, match="bytes or text"):
        bucket.put_objects([("a", 5)])
    with pytest.raises(TypeError, match="not one key"):
        list(bucket.get_objects("a"))
    with pytest.raises(TypeError, match="not one key"):
        bucket.delete_objects("a")
    for bounds in ({"concurrency": 0}, {"max_bytes": 0}):
        with pytest.raises(ValueError, match="at least 1"):
            bucket.find().prefetch(**bounds)


def test_partitions_give_exactly_the_same_objects(bucket: S3Bucket) -> None:
    """Partitions in order give the whole listing, for any distribution of keys, also with prefix, filter and glob."""
    names = [f"logs/{number * number % 997:03d}/x" for number in range(50)] + ["logs", "logs/", "é", "zz"]
    names = sorted({name for name in names if not name.endswith("/") and name != "logs"})
    bucket.put_objects((name, name) for name in names)
    for query in (
        bucket.find(),
        bucket.find(prefix="logs/"),
        bucket.find(glob="logs/*/x"),
        bucket.find(start_after=names[5]),
        bucket.find(prefix="nothing"),
        bucket.find(min_size=1).filter(lambda obj: obj.key != names[7]),
    ):
        expected = [obj.key for obj in query]
        for n in (1, 3, 8):
            parts = query.partitions(n)
            assert 1 <= len(parts) <= n
            assert [obj.key for part in parts for obj in part] == expected
        assert [obj.key for obj in query.parallel(4)] == expected
    assert len(bucket.find().partitions(4)) > 2
    with pytest.raises(ValueError, match="limit"):
        bucket.find(limit=3).partitions(2)


# -- odd servers


def connect(server: RawServer, **settings: Any) -> S3Bucket:
    store: S3Store = Server("scripted", server.url, "ACCESSKEY01", "SECRETKEY0123456").connect(**settings)
    bucket = store.bucket("bkt")
    bucket.get_object("first")
    server.requests.clear()
    return bucket


def answer(body: bytes, status: bytes = b"200 OK", more: bytes = b"") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n%s\r\n%s" % (status, len(body), more, body)


def test_batch_failures_have_the_error_of_each_key() -> None:
    """Requests that the lane cannot complete are sent through boto3; S3BatchError has all errors by key."""
    denied = answer(b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>", b"403 Forbidden")
    server = RawServer(lambda head, body: denied if b"/secret" in head else answer(b"", more=b'ETag: "e"\r\n'))
    bucket = connect(server)
    with pytest.raises(S3BatchError) as caught:
        bucket.put_objects((key, b"x") for key in ("a", "secret1", "b", "secret2"))
    error = caught.value
    assert error.succeeded == ["a", "b"]
    assert [(failure.key, type(failure.error)) for failure in error.failures] == [
        ("secret1", S3AccessDenied),
        ("secret2", S3AccessDenied),
    ]
    quiet = bucket.put_objects([("secret", b"x")], raise_errors=False)
    assert not quiet.ok and isinstance(quiet.failures[0].error, S3AccessDenied)
    server.close()


class SlowStore(StatefulStore):
    """A store in memory that takes a few milliseconds for some writes, and refuses some that do not come from boto3.

    Attributes:
        most: The largest number of concurrent writes.
        order: The keys and bodies in the order in which the writes took effect.
    """

    def __init__(self, server: ScriptedServer, *, fails: bool) -> None:
        super().__init__(server)
        self.most = self.now = 0
        self.order: list[tuple[str, bytes]] = []
        self._fails = fails
        self._random = random.Random(4)
        self._count_lock = threading.Lock()
        self.before = self.delay

    def delay(self, asked: Asked) -> Answer:
        if asked.method != "PUT":
            return None
        with self._count_lock:
            self.now += 1
            self.most = max(self.most, self.now)
            fails = self._fails and "amz-sdk-invocation-id" not in asked.headers and self._random.random() < 0.3
            seconds = self._random.choice([0.0, 0.01])
        time.sleep(seconds)
        with self._count_lock:
            self.now -= 1
            if fails:
                return refusal(500, "InternalError")
            self.order.append((asked.key, asked.body))
        return None


def items_with_repeated_keys(count: int) -> list[tuple[str, bytes]]:
    """Some keys occur once, some twice in a row, some many times."""
    keys = [
        name
        for number in range(count // 5)
        for name in ("often", f"once-{number}", f"twice-{number}", f"twice-{number}", "often")
    ]
    return [(key, b"%s %d" % (key.encode(), number)) for number, key in enumerate(keys)]


REPEATED = {
    "lane": {"lane": True},
    "lane, some attempts fail": {"lane": True, "fails": True},
    "lane, parameters for boto3": {"lane": True, "ExpectedBucketOwner": "111122223333"},
    "boto3": {"lane": False},
    "async": {"lane": True, "call": "async"},
}


@pytest.mark.parametrize("case", REPEATED.values(), ids=REPEATED)
def test_put_objects_with_repeated_keys_stores_the_last_item_of_each_key(
    scripted_server: ScriptedServer, case: dict[str, Any]
) -> None:
    """Writes to one key take effect in the order of the items, through the lane or boto3; writes to different keys run concurrently."""
    extra = dict(case)
    lane, fails, call = extra.pop("lane"), extra.pop("fails", False), extra.pop("call", "sync")
    store = SlowStore(scripted_server, fails=fails)
    bucket = scripted_server.bucket(lane=lane, max_concurrency=8)
    items = items_with_repeated_keys(50)

    async def put() -> Any:
        return await AsyncS3Store(bucket.store).bucket(bucket.name).put_objects(items, **extra)

    result = asyncio.run(put()) if call == "async" else bucket.put_objects(items, **extra)
    assert result.succeeded == [key for key, _ in items]
    assert {key: found.body for key, found in store.objects.items()} == dict(items)
    for key in dict(items):
        assert [body for written, body in store.order if written == key] == [
            body for item, body in items if item == key
        ]
    assert store.most > 2


EXPERIMENTS: dict[str, list[tuple[Any, ...]]] = {
    "of some items": [("k", b"1", {"a_b": "x"}), ("k", b"2"), ("k", b"3", {"a_b": "y"}), ("k", b"4")],
    "of all items": [("k", b"%d" % number, {"a_b": "x"}) for number in range(200)],
}


@pytest.mark.parametrize("items", EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_put_objects_keeps_the_order_of_a_key_whose_first_item_needs_an_experiment(
    scripted_server: ScriptedServer, items: list[tuple[Any, ...]]
) -> None:
    """Whether the store keeps such names of metadata is tried out before the first write; no later one overtakes it."""
    store = StatefulStore(scripted_server)
    bucket = scripted_server.bucket(max_concurrency=8)
    bucket.put_object("opens", b"")
    bucket.put_objects([*items, ("other", b"x")])
    assert store.applied["k"] == [item[1] for item in items]
    assert store.objects["other"].body == b"x"


@pytest.mark.parametrize("name", ["moto", "rclone", "localstack", "radosgw"])
def test_put_objects_with_a_repeated_key_stores_the_last_item_on_real_servers(
    request: pytest.FixtureRequest, name: str
) -> None:
    """A small item after a larger one of the same key, again and again: sent side by side, the larger one would often arrive last."""
    server: Server = request.getfixturevalue(name)
    with server.connect() as store:
        bucket = store.create_bucket(f"t-{time.monotonic_ns()}")
        for number in range(5):
            key = f"k{number}"
            bucket.put_objects([(key, bytes(262144)), (f"other{number}", b"x"), (key, b"last")])
            assert bucket[key].body == b"last"
        bucket.delete_bucket(force=True)


def test_put_objects_with_repeated_keys_keeps_their_order_in_a_forked_child(scripted_server: ScriptedServer) -> None:
    """A write in progress on the parent's thread at the fork is sent again by the child, before later items of the same key."""
    store, is_under_way, is_child_done, seen = (
        StatefulStore(scripted_server),
        threading.Event(),
        threading.Event(),
        list[bytes](),
    )

    def refuse_parents(asked: Asked) -> Answer:
        if asked.key != "k":
            return None
        seen.append(asked.body)
        is_under_way.set()
        if len(seen) == 1:
            is_child_done.wait(20)
            return refusal(403, "AccessDenied")
        return None

    store.before = refuse_parents
    bucket = scripted_server.bucket(lane=False, max_concurrency=8)
    child: list[int] = []

    def items() -> Iterator[tuple[str, bytes]]:
        yield "k", b"first"
        for number in range(10):
            yield f"other-{number}", b""
        yield "k", b"second"
        for number in range(
            2 * request_window.INITIAL - 6
        ):  # items are read ahead: now the first one is being sent, the second is not
            yield f"another-{number}", b""
        assert is_under_way.wait(20)
        child.append(os.fork())
        if child[0]:
            os.waitpid(child[0], 0)
            is_child_done.set()

    bucket.put_objects(items(), raise_errors=False)
    if not child[0]:
        os._exit(0)
    assert seen[:3] == [b"first", b"first", b"second"]


def test_a_failing_server_causes_errors_but_no_wrong_bytes() -> None:
    """With a server that truncates, disconnects and fails at random, each object is right or an error."""
    count = 0

    def faulty(head: bytes, body: bytes) -> bytes | None:
        nonlocal count
        count += 1
        name = head.split(b" ")[1].rpartition(b"/")[2]
        whole = answer(name * 50)
        if count % 7 == 0:
            return None
        if count % 7 == 2:
            return whole[:-10] + RawServer.CLOSE
        if count % 7 == 4:
            return answer(b"", b"503 Slow Down")
        if count % 7 == 5:
            return whole + RawServer.CLOSE
        return whole

    server = RawServer(lambda head, body: answer(b"hi") if b"/first" in head else faulty(head, body))
    bucket = connect(server)
    names = [f"object-{number}" for number in range(80)]
    for obj, name in zip(bucket.get_objects(names), names, strict=True):
        assert obj.key == name
        try:
            assert obj.body == name.encode() * 50
        except S3Error as error:
            assert error.retryable
    server.close()


@pytest.mark.parametrize("refusal", [b"NotImplemented", b"MissingContentMD5", b"MethodNotAllowed"])
def test_keys_are_deleted_one_by_one_on_a_store_without_bulk_delete(refusal: bytes) -> None:
    """If DeleteObjects is refused, each key is deleted singly, and the result is cached."""
    status = {b"NotImplemented": b"501 No", b"MissingContentMD5": b"400 Bad", b"MethodNotAllowed": b"405 No"}[refusal]

    def script(head: bytes, body: bytes) -> bytes:
        if head.startswith(b"POST"):
            return answer(b"<Error><Code>%s</Code></Error>" % refusal, status)
        if head.startswith(b"DELETE"):
            return b"HTTP/1.1 204 No Content\r\n\r\n"
        return answer(b"hi")

    server = RawServer(script)
    bucket = connect(server, max_attempts=1)
    assert bucket.delete_objects(["a", "b", "c"]).succeeded == ["a", "b", "c"]
    posts = sum(request.startswith(b"POST") for request in server.requests)
    assert bucket.delete_objects(["d", "e"]).succeeded == ["d", "e"]
    assert sum(request.startswith(b"POST") for request in server.requests) == posts
    assert sum(request.startswith(b"DELETE") for request in server.requests) == 5
    server.close()


@pytest.mark.parametrize("wanted", [b"content-md5", b"x-amz-checksum-crc32"])
def test_bulk_delete_works_through_boto3(wanted: bytes) -> None:
    """Through boto3 as well it goes with Content-MD5, or with a checksum where the store takes no other; and the way is remembered."""

    def script(head: bytes, body: bytes) -> bytes:
        if not head.startswith(b"POST"):
            return answer(b"hi")
        if wanted + b": " not in head.lower():
            return answer(b"<Error><Code>InvalidRequest</Code></Error>", b"400 Bad")
        keys = re.findall(rb"<Key>([^<]*)</Key>", body)
        return answer(
            b"<DeleteResult>%s</DeleteResult>" % b"".join(b"<Deleted><Key>%s</Key></Deleted>" % key for key in keys)
        )

    server = RawServer(script)
    bucket = connect(server, max_attempts=1)
    bucket.store.client.meta.events.register("before-send.s3", lambda **_: None)  # a third-party handler shuts the lane
    assert bucket.delete_objects(["a", "b"]).succeeded == ["a", "b"]
    assert bucket.delete_objects(["c", "d"]).succeeded == ["c", "d"]
    posts = [request for request in server.requests if request.startswith(b"POST")]
    assert len(posts) == (2 if wanted == b"content-md5" else 3)
    assert not [request for request in server.requests if request.startswith(b"DELETE")]
    server.close()


@pytest.mark.parametrize("refusal", ["400 Bad", "415 Unsupported Media Type", "412 Precondition Failed"])
def test_keys_of_a_bulk_delete_refused_without_a_known_code_are_deleted_one_by_one(refusal: str) -> None:
    """After a refusal without a known code the keys are deleted singly; the next page is deleted in bulk again."""
    refused = True

    def script(head: bytes, body: bytes) -> bytes:
        if head.startswith(b"DELETE"):
            return answer(b"", b"204 No Content")
        if head.startswith(b"GET"):
            return answer(b"hi")
        if refused:
            return answer(b"", refusal.encode())
        keys = re.findall(rb"<Key>([^<]*)</Key>", body)
        return answer(
            b"<DeleteResult>%s</DeleteResult>" % b"".join(b"<Deleted><Key>%s</Key></Deleted>" % key for key in keys)
        )

    server = RawServer(script)
    bucket = connect(server, max_attempts=1)
    assert bucket.delete_objects(["a", "b"]).succeeded == ["a", "b"]
    assert sorted(head.split()[1] for head in server.requests if head.startswith(b"DELETE")) == [b"/bkt/a", b"/bkt/b"]
    refused, so_far = False, len(server.requests)
    assert bucket.delete_objects(["c", "d"]).succeeded == ["c", "d"]
    assert {head.split()[0] for head in server.requests[so_far:]} == {b"POST"}
    server.close()


@pytest.mark.parametrize("code", ["AccessDenied", "NoSuchBucket"])
def test_bulk_delete_without_permission_raises_access_denied(code: str) -> None:
    """Each key fails with the store's error; no key is deleted singly, and nothing is cached."""

    def script(head: bytes, body: bytes) -> bytes:
        if head.startswith(b"GET"):
            return answer(b"hi")
        status = b"403 Forbidden" if code == "AccessDenied" else b"404 Not Found"
        return answer(b"<Error><Code>%s</Code></Error>" % code.encode(), status)

    server = RawServer(script)
    bucket = connect(server, max_attempts=1)
    result = bucket.delete_objects(["a", "b"], raise_errors=False)
    assert [(failure.key, failure.error.code) for failure in result.failures] == [("a", code), ("b", code)]
    assert not [head for head in server.requests if head.startswith(b"DELETE")]
    assert bucket._connection.facts.get("bulk delete") is None
    server.close()


@pytest.mark.parametrize("lane", [pytest.param(True, marks=pytest.mark.lane), False])
@pytest.mark.parametrize(
    "odd",
    [" a", "a ", "\ta", "a\n", "a\r", "\ra", "\u00a0a", "a\u2003", "\u3000a", "a\u2028", "\x1ca", "\x85a", "a  b", " "],
)
def test_bulk_delete_of_a_key_with_blanks_leaves_the_key_without_them(
    scripted_server: ScriptedServer, odd: str, lane: bool
) -> None:
    """A store that trims or collapses whitespace in the document would delete another key, and report success."""
    similar = " ".join(odd.split()) or "x"
    stored = {odd, similar, "b", "c"}

    def serve(asked: Asked) -> Answer:
        if asked.method == "POST":
            keys = [html.unescape(key) for key in re.findall("<Key>(.*?)</Key>", asked.body.decode(), re.DOTALL)]
            stored.difference_update(" ".join(key.split()) for key in keys)
            return document("DeleteResult", "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys))
        if asked.method == "DELETE":
            stored.discard(asked.key)
            return 204, {}, b""
        return content_of(asked, b"")

    scripted_server.answer = serve
    result = scripted_server.bucket(lane=lane).delete_objects([odd, "b", "c"])
    assert (result.succeeded, stored) == ([odd, "b", "c"], {similar})


def test_keys_missing_from_a_bulk_delete_response_are_deleted_one_by_one() -> None:
    """Errors inside a 200 are errors by key; a key that the answer does not mention is deleted by itself; SlowDown is retried."""
    tries = 0

    def script(head: bytes, body: bytes) -> bytes:
        nonlocal tries
        if head.startswith(b"POST"):
            assert b"content-md5: " in head.lower()
            tries += 1
            slow = (
                b"<Error><Key>slow</Key><Code>SlowDown</Code></Error>"
                if tries == 1
                else b"<Deleted><Key>slow</Key></Deleted>"
            )
            return answer(
                b"<DeleteResult><Deleted><Key>a</Key></Deleted>"
                + slow
                + b"<Error><Key>locked</Key><Code>AccessDenied</Code><Message>no</Message></Error></DeleteResult>"
            )
        return b"HTTP/1.1 204 No Content\r\n\r\n" if head.startswith(b"DELETE") else answer(b"hi")

    server = RawServer(script)
    bucket = connect(server)
    result = bucket.delete_objects(["a", "locked", "forgotten", "slow"], raise_errors=False)
    assert result.succeeded == ["a", "forgotten", "slow"]
    assert [(failure.key, failure.error.code) for failure in result.failures] == [("locked", "AccessDenied")]
    assert sum(request.startswith(b"DELETE /bkt/forgotten") for request in server.requests) == 1
    server.close()


def test_batches_use_constant_memory() -> None:
    """Ten thousand objects of 20 KiB pass through a loop in a fraction of their size."""
    body = answer(b"x" * 20_000)
    server = RawServer(lambda head, _: body)
    bucket = connect(server)
    tracemalloc.start()
    total = sum(len(obj.body) for obj in bucket.get_objects(f"k{number}" for number in range(3000)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total == 3000 * 20_000
    assert peak < 15_000_000
    server.close()


# -- side by side


def test_parallel_iterators_run_ahead_in_order_and_stop() -> None:
    """Iterators are advanced in parallel up to the limit, and stopped when the consumer ends."""
    taken = [0, 0]

    def counting(which: int) -> Iterator[int]:
        for number in range(1000):
            taken[which] += 1
            yield which * 1000 + number

    items = side_by_side([counting(0), counting(1)], max_pending=5)
    assert next(items) == 0
    wait_until(lambda: taken[1] == 5)
    items.close()
    assert taken[1] == 5 and taken[0] < 10
    assert list(side_by_side([counting(0), counting(1)])) == list(range(2000))


def test_parallel_iterators_do_not_keep_the_interpreter_from_exiting() -> None:
    """Threads of an iteration that is still referenced at exit do not keep the program alive."""
    code = (
        "import sys, itertools; from messageflux_s3._bulk.read_ahead import side_by_side\n"
        "held = side_by_side([itertools.count(), itertools.count()]); next(held); sys.exit(7)"
    )
    root = str(Path(__file__).parents[1])
    ended = subprocess.run(
        [sys.executable, "-c", code],
        timeout=60,
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert (ended.returncode, ended.stderr) == (7, b"")


@pytest.mark.parametrize("kind", ["side by side", "map"])
def test_an_iteration_can_be_collected_in_one_of_its_own_threads(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The garbage collector runs in any thread; a thread cannot wait for itself."""
    complaints: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    may_collect, has_collected = threading.Event(), threading.Event()

    def collect(number: int) -> int:
        if number == 1:
            assert may_collect.wait(60)
            gc.collect()
            has_collected.set()
        return number

    def numbers() -> Iterator[int]:
        yield from map(collect, range(3))

    iteration: Any = side_by_side([numbers()]) if kind == "side by side" else pipeline.run(collect, range(3))
    assert next(iteration) == 0
    gc.disable()
    try:
        cycle: list[object] = [iteration]
        cycle.append(cycle)
        collected = weakref.ref(iteration)
        del iteration, cycle
        may_collect.set()
        assert has_collected.wait(60)
    finally:
        gc.enable()
    assert (collected(), complaints) == (None, [])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_parallel_iteration_raises_in_a_forked_child() -> None:
    """A forked child that continues the iteration raises at once, since the threads exist only in the parent."""
    items = side_by_side([iter(range(100))], max_pending=5)
    assert next(items) == 0
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # the child must not outlive a failed test
        try:
            list(items)
        except RuntimeError:
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert [*items] == [*range(1, 100)]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_batch_continues_in_a_forked_child(rclone: Server, rclone_bucket: S3Bucket) -> None:
    """Through boto3: the child itself sends the requests that were outstanding on the parent's threads."""
    keys = [f"n/{number}" for number in range(40)]
    rclone_bucket.put_objects((key, key) for key in keys)
    with rclone.connect(read_timeout=33) as store:
        store.client.meta.events.register("before-send.s3.GetObject", lambda **_: None)
        assert not store.lane.open
        found = store.bucket(rclone_bucket.name).get_objects(keys)
        assert next(found).body == b"n/0"
        child = os.fork()
        if child == 0:
            signal.alarm(60)  # the child must not outlive a failed test
            try:
                os._exit(0 if [obj.text for obj in found] == keys[1:] else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert [obj.text for obj in found] == keys[1:]


def test_parallel_iterators_raise_an_exception_at_its_position() -> None:
    """An exception of the second iterator is raised after all items of the first."""

    def failing() -> Iterator[int]:
        yield 3
        raise LookupError("second")

    got = []
    with pytest.raises(LookupError, match="second"):
        for item in side_by_side([iter([1, 2]), failing()]):
            got.append(item)
    assert got == [1, 2, 3]


@pytest.mark.parametrize("name", ["concurrency", "max_bytes"])
@pytest.mark.parametrize(("value", "error"), [("4", TypeError), (True, TypeError), (0, ValueError)])
def test_invalid_bounds_raise_an_error_that_names_them(name: str, value: Any, error: type[Exception]) -> None:
    """The error names the argument and its value."""
    with pytest.raises(error, match=name):
        batch.check_bounds(**{"concurrency": 1, "max_bytes": 1, name: value})


@pytest.mark.parametrize(
    "body",
    [b"<!DOCTYPE x><DeleteResult/>", b"<DeleteResult>", b"<Other/>", b"", *(
        b'<?xml version="1.0" encoding="%s"?><DeleteResult/>' % name for name in (b"utg-8", b"big5")
    )],
)  # fmt: skip
def test_an_unreadable_bulk_delete_response_confirms_no_deletion(body: bytes) -> None:
    """Each key is deleted singly."""
    assert read_deletions(body) is None


@pytest.mark.parametrize("is_open", [True, False], ids=["lane", "boto3"])
def test_a_key_is_not_deleted_again_where_the_result_names_a_version_of_the_store(
    scripted_server: ScriptedServer, is_open: bool
) -> None:
    """Garage does, without versioning. A second deletion could be one of an object that was written meanwhile."""
    said = "".join(f"<Deleted><Key>{key}</Key><VersionId>9f{key}</VersionId></Deleted>" for key in "ab")
    said += "<Error><Key>c</Key><VersionId>9fc</VersionId><Code>AccessDenied</Code></Error>"
    scripted_server.answer = lambda asked: document("DeleteResult", said)
    bucket = scripted_server.bucket(lane=is_open)
    for _ in range(2):  # the second time the lane is open
        result = bucket.delete_objects(["a", "b", "c"], raise_errors=False)
        assert (result.succeeded, [failure.key for failure in result.failures]) == (["a", "b"], ["c"])
    assert {asked.method for asked in scripted_server.asked} == {"POST"}


@pytest.mark.parametrize("code", ["AccessDenied", "SlowDown"])
def test_an_error_inside_a_bulk_delete_response_belongs_to_its_key(scripted_server: ScriptedServer, code: str) -> None:
    """Also if the store keeps returning SlowDown."""
    said = f"<Error><Key>a</Key><Code>{code}</Code><Message>m</Message></Error><Deleted><Key>b</Key></Deleted>"
    scripted_server.answer = lambda asked: document("DeleteResult", said)
    found = scripted_server.bucket().delete_objects(["a", "b"], raise_errors=False)
    assert (found.succeeded, [(failure.key, failure.error.code) for failure in found.failures]) == (
        ["b"],
        [("a", code)],
    )


@pytest.mark.parametrize(
    "code", ["SlowDown", "SlowDownWrite", "TooManyRequests", "InternalServerError", "OperationAborted"]
)
def test_a_key_with_a_temporary_error_inside_a_bulk_delete_response_is_deleted_again(
    scripted_server: ScriptedServer, code: str
) -> None:
    """Temporary are the errors that are ``retryable``, by whatever name a store calls them."""
    outcomes = iter([f"<Error><Key>a</Key><Code>{code}</Code></Error>", "<Deleted><Key>a</Key></Deleted>"])
    scripted_server.answer = lambda asked: document("DeleteResult", f"{next(outcomes)}<Deleted><Key>b</Key></Deleted>")
    found = scripted_server.bucket(max_attempts=2).delete_objects(["a", "b"], raise_errors=False)
    assert ({*found.succeeded}, found.failures) == ({"a", "b"}, [])


@pytest.mark.parametrize("code", ["NoSuchBucket", "AccessDenied"])
def test_deleting_from_a_missing_bucket_fails_for_every_key(scripted_server: ScriptedServer, code: str) -> None:
    """For each of its keys, on the lane as through boto3."""
    scripted_server.answer = lambda asked: (204, {}, b"")
    bucket = scripted_server.bucket()
    bucket["k"].delete()
    scripted_server.answer = lambda asked: refusal(404 if code == "NoSuchBucket" else 403, code)
    for keys in (["a"], ["a", "b"]):
        found = bucket.delete_objects(keys, raise_errors=False)
        assert [(failure.key, failure.error.code) for failure in found.failures] == [(key, code) for key in keys]
