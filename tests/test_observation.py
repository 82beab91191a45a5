"""observe(), on_request() and the log tell each request once, whichever way it goes, and nothing secret."""

from __future__ import annotations

import asyncio
import copy
import gc
import hashlib
import io
import logging
import math
import os
import pickle
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from botocore.stub import Stubber
from support import mixed_operations
from support.proxy import Proxy, run_proxy, scripted
from support.scripted_server import Answer, Asked, ScriptedServer, content_of, refusal, run_scripted_server
from support.servers import Server
from support.stateful_server import StatefulServer, run_stateful_server
from support.waiting import wait_until

import messageflux_s3 as s3
from messageflux_s3._bulk import listing, split_listing
from messageflux_s3._client import observation
from messageflux_s3._client.async_exchange import AsyncExchange
from messageflux_s3._client.exchange import ConcurrentRequests, Request, begin
from messageflux_s3._client.observation import Observers
from messageflux_s3._client.request_record import RequestRecord
from messageflux_s3._display.observation import Observation

LANE_IS_SHUT = os.environ.get("MFS3_LANE") == "shut"
WAY = "boto3" if LANE_IS_SHUT else "lane"


@pytest.fixture
def proxied(moto: Server, moto_bucket: s3.S3Bucket) -> Iterator[tuple[s3.S3Store, s3.S3Bucket, Proxy]]:
    """A store behind a proxy, the fresh bucket of that store, and the proxy; the lane is open, unless the run shuts it."""
    with run_proxy(moto.endpoint_url) as proxy, moto.connect(endpoint_url=proxy.endpoint_url, max_attempts=6) as store:
        bucket = store.bucket(moto_bucket.name)
        bucket.put_object("warm", b"")
        bucket.copy_object("warm", "warm-copied")  # on some stores the first copy is tried on scratch objects before
        bucket.delete_object("warm-copied")
        proxy.restart()
        yield store, bucket, proxy


def attempts_of(seen: Observation) -> dict[str, int]:
    return {name: totals.attempts for name, totals in seen.operations.items()}


def assert_equals_what_arrived(seen: Observation, proxy: Proxy) -> None:
    wait_until(lambda: len(proxy.seen) >= seen.attempts)  # a request that was abandoned arrives after the end
    assert attempts_of(seen) == dict(mixed_operations.counted_by_operation([*proxy.seen]))


# -- counts


def test_observed_attempts_are_the_requests_that_arrived(proxied: tuple[s3.S3Store, s3.S3Bucket, Proxy]) -> None:
    store, bucket, proxy = proxied
    proxy.restart(mixed_operations.failing_first(every=10))
    with store.observe() as seen:
        mixed_operations.run(bucket, 40)
    assert_equals_what_arrived(seen, proxy)
    assert seen.retries > 0 and seen.throttles > 0
    faults = proxy.counts()
    assert seen.throttles == faults["slowdown_before"] + faults["429_before"]
    if not LANE_IS_SHUT:
        assert {row.way for row in seen.rows} == {"lane", "boto3"}


def test_observed_attempts_of_async_handles_are_the_requests_that_arrived(
    proxied: tuple[s3.S3Store, s3.S3Bucket, Proxy],
) -> None:
    store, bucket, proxy = proxied
    proxy.restart(mixed_operations.failing_first(every=10))

    async def main() -> Observation:
        async with s3.AsyncS3Store(store) as at_once:
            with at_once.observe() as seen:
                await mixed_operations.run_async(at_once.bucket(bucket.name), 40)
            return seen

    seen = asyncio.run(main())
    assert_equals_what_arrived(seen, proxy)
    assert seen.retries > 0


def test_one_request_is_one_event_although_the_lane_and_boto3_send_it(
    proxied: tuple[s3.S3Store, s3.S3Bucket, Proxy],
) -> None:
    store, bucket, proxy = proxied
    bucket.put_object("a", b"12345")
    proxy.restart(scripted({("GET", "a"): ["slowdown_before"]}))
    events: list[s3.RequestEvent] = []
    began = time.time()
    with store.on_request(events.append):
        assert bucket["a"].body == b"12345"
    [event] = events
    assert event.operation == "GetObject" and (event.bucket, event.key) == (bucket.name, "a")
    assert (event.status, event.attempts, event.retries, event.throttles, event.error) == (200, 2, 1, 1, None)
    assert (event.bytes_sent, event.way) == (0, "boto3")
    assert event.bytes_received >= 5  # and the error's document
    assert began - 0.1 <= event.started <= time.time() and 0 < event.seconds < 60


@pytest.mark.lane
def test_an_event_of_the_lane(bucket: s3.S3Bucket) -> None:
    bucket.put_object("a", b"12345")
    events: list[s3.RequestEvent] = []
    assert bucket.store.lane.open
    with bucket.store.on_request(events.append):
        bucket.put_object("b", b"123")
        assert bucket["a"].body == b"12345"
        assert not bucket["none"].exists()
    assert [(e.operation, e.key, e.status, e.attempts, e.bytes_sent, e.bytes_received, e.way) for e in events] == [
        ("PutObject", "b", 200, 1, 3, 0, "lane"),
        ("GetObject", "a", 200, 1, 0, 5, "lane"),
        ("HeadObject", "none", 404, 1, 0, 0, "lane"),
    ]
    assert [event.error for event in events] == [None, None, "NoSuchKey"]
    assert events[1].bytes == 5


SENDERS = ["alone", "among many", "ahead", "async"]


def read_on_a_used_connection(store: s3.S3Store, bucket_name: str, sender: str, interfere: Callable[[], None]) -> bytes:
    """Read ``warm``, call the function, and read ``a`` on the same connection, if the lane is open."""
    bucket = store.bucket(bucket_name)

    async def run() -> bytes:
        async with s3.AsyncS3Store(store) as at_once:
            objects = at_once.bucket(bucket_name)
            await objects["warm"].read()
            interfere()
            return await objects["a"].read()

    if sender == "async":
        return asyncio.run(run())
    assert bucket["warm"].body == b""
    interfere()
    if sender == "among many":
        [found] = bucket.get_objects(["a"])
        return found.body
    if sender == "ahead":
        answer = begin(store._connection, Request("GetObject", bucket_name, "a")).result()
        return (answer.parsed or {})["Body"].read() if answer.body is None else answer.body  # type: ignore[no-any-return]
    return bucket["a"].body


@pytest.mark.parametrize("sender", SENDERS)
def test_a_request_whose_answer_is_lost_counts_as_often_as_it_arrived(
    proxied: tuple[s3.S3Store, s3.S3Bucket, Proxy], sender: str
) -> None:
    """The store closes a used connection after it has carried the request out; that looks as if it had closed an idle one."""
    store, bucket, proxy = proxied
    bucket.put_object("a", b"content")
    proxy.restart(scripted({("GET", "a"): ["reset_after"]}))
    with store.observe() as seen:
        assert read_on_a_used_connection(store, bucket.name, sender, lambda: None) == b"content"
    assert_equals_what_arrived(seen, proxy)
    assert seen.retries == 1


@pytest.mark.lane
@pytest.mark.parametrize("sender", SENDERS)
def test_a_connection_that_was_closed_while_idle_is_not_counted(
    proxied: tuple[s3.S3Store, s3.S3Bucket, Proxy], sender: str
) -> None:
    store, bucket, proxy = proxied
    bucket.put_object("a", b"content")
    proxy.restart()

    def close_connections() -> None:
        with proxy._clients_mutex:
            for connection in proxy._clients:
                connection.shutdown(socket.SHUT_RDWR)

    with store.observe() as seen:
        assert read_on_a_used_connection(store, bucket.name, sender, close_connections) == b"content"
    assert_equals_what_arrived(seen, proxy)
    assert seen.retries == 0


def test_each_part_of_an_upload_is_one_event_with_its_bytes(proxied: tuple[s3.S3Store, s3.S3Bucket, Proxy]) -> None:
    """Also a part that is throttled first, and so sent twice."""
    store, bucket, proxy = proxied
    body = os.urandom(1 << 20) * 17 + b"the rest"
    proxy.restart(scripted({("PUT", "large?partNumber=1&uploadId"): ["slowdown_before"]}))
    events: list[s3.RequestEvent] = []
    with store.observe() as seen, store.on_request(events.append):
        bucket.upload_object("large", io.BytesIO(body))
    assert_equals_what_arrived(seen, proxy)
    parts = [event for event in events if event.operation == "UploadPart"]
    assert len(parts) == sum("partNumber" in request.query for request in proxy.seen) - 1
    assert sorted(event.attempts for event in parts) == [*[1] * (len(parts) - 1), 2]
    assert [event.throttles for event in parts if event.attempts == 2] == [1]
    assert sum(event.bytes_sent // event.attempts for event in parts) == len(body)
    assert {(event.key, event.status, event.error) for event in parts} == {("large", 200, None)}
    assert {event.way for event in parts if event.attempts == 1} == {WAY}
    assert bucket.get_object("large").body == body


def test_each_part_of_a_download_is_one_event_with_its_bytes(
    proxied: tuple[s3.S3Store, s3.S3Bucket, Proxy], tmp_path: Path
) -> None:
    store, bucket, proxy = proxied
    body = os.urandom(1 << 20) * 25 + b"the rest"
    bucket.upload_object("large", io.BytesIO(body))
    proxy.restart()
    events: list[s3.RequestEvent] = []
    with store.observe() as seen, store.on_request(events.append):
        bucket.download_file("large", tmp_path / "large")
    assert (tmp_path / "large").read_bytes() == body
    assert_equals_what_arrived(seen, proxy)
    assert len(events) == len(proxy.seen) > 3
    assert sum(event.bytes_received for event in events) == len(body)
    assert {(event.operation, event.key, event.attempts, event.error) for event in events} == {
        ("GetObject", "large", 1, None)
    }
    assert [event.way for event in events].count("boto3") == (len(events) if LANE_IS_SHUT else 1)


@pytest.mark.parametrize("lane", [True, False])
def test_an_object_that_has_not_changed_is_told_as_304_by_lane_and_boto3(
    moto: Server, moto_bucket: s3.S3Bucket, lane: bool
) -> None:
    with moto.connect(lane=lane) as store:
        bucket = store.bucket(moto_bucket.name)
        etag = bucket.put_object("k", b"x").etag
        events: list[s3.RequestEvent] = []
        with store.observe() as seen, store.on_request(events.append):
            assert bucket.get_object("k", if_none_match=etag) is None
        assert [(event.status, event.error) for event in events] == [(304, "304")]
        assert seen.errors == 1


def test_a_streamed_body_is_told_when_it_has_been_read(bucket: s3.S3Bucket) -> None:
    bucket.put_object("long", b"x" * 100_000)
    events: list[s3.RequestEvent] = []
    with bucket.store.on_request(events.append):
        stream = bucket["long"].body_stream
        assert stream.read(10) == b"x" * 10
        assert events == []
        assert len(stream.read()) == 99_990
        [event] = events
        stream.close()
    assert events == [event]
    assert (event.operation, event.bytes_received, event.way) == ("GetObject", 100_000, "boto3")


def test_a_streamed_body_that_is_dropped_is_told(bucket: s3.S3Bucket) -> None:
    bucket.put_object("long", b"x" * 10_000_000)
    with bucket.store.observe() as seen:
        stream = bucket["long"].body_stream
        stream.read(10)
        del stream
        gc.collect()
    assert seen.operations["GetObject"].requests == 1
    assert 0 < seen.bytes_received < 10_000_000


def test_an_iteration_that_is_left_tells_its_outstanding_requests(
    proxied: tuple[s3.S3Store, s3.S3Bucket, Proxy],
) -> None:
    store, bucket, proxy = proxied
    bucket.put_objects((f"k/{number}", b"x") for number in range(30))
    proxy.restart()
    with store.observe() as seen:
        for _ in bucket.find("k/").prefetch(concurrency=4):
            break
    wait_until(lambda: len(proxy.seen) > 1)
    assert seen.attempts >= len(proxy.seen)


@pytest.fixture
def split(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[StatefulServer, s3.S3Bucket]]:
    """A server with 60 pages of keys, and its bucket, whose listings are split where the lane is open."""
    monkeypatch.setattr(listing, "_WAIT_WORTH_SPLITTING", 0.0)
    monkeypatch.setattr(split_listing, "_WORTHWHILE", math.inf)
    with run_stateful_server() as server:
        for number in range(600):
            server.state.put(f"{number % 4}/{number // 4:05d}", b"")

        def with_small_pages(asked: Asked) -> Answer:
            if "list-type" in asked.query:
                asked.query["max-keys"] = "10"  # type: ignore[index]
            return None

        server.state.before = with_small_pages
        with server.connect() as store:
            bucket = store.bucket("bkt")
            bucket.find().limit(1).collect()
            server.asked.clear()
            yield server, bucket


def test_each_page_of_a_listing_in_several_places_is_told_once(split: tuple[StatefulServer, s3.S3Bucket]) -> None:
    """Also those that lie where there are no keys, and those that the store refuses to the lane."""
    server, bucket = split
    small_pages = server.state.before
    assert small_pages is not None

    def refusing(asked: Asked) -> Answer:
        is_refused = "encoding-type" not in asked.query and len(server.asked) % 5 == 0
        return refusal(503, "SlowDown") if is_refused else small_pages(asked)

    for before in (small_pages, refusing):
        server.state.before = before
        server.asked.clear()
        events: list[s3.RequestEvent] = []
        with bucket.store.observe() as seen, bucket.store.on_request(events.append):
            assert bucket.find().count() == 600
        wait_until(lambda: len(server.asked) >= seen.attempts)  # a request that was abandoned arrives after the end
        assert seen.attempts == sum(event.attempts for event in events) == len(server.asked) >= 60
        assert {event.operation for event in events} == {"ListObjectsV2"}
        starts = sum("start-after" in asked.query for asked in server.asked)
        assert starts > 3 or LANE_IS_SHUT
    if not LANE_IS_SHUT:
        assert seen.throttles > 0 and seen.retries > 0
        assert {event.error for event in events} <= {None, "Abandoned"}


@pytest.mark.lane
def test_a_listing_in_several_places_that_is_left_tells_all_its_requests(
    split: tuple[StatefulServer, s3.S3Bucket],
) -> None:
    server, bucket = split
    events: list[s3.RequestEvent] = []
    with bucket.store.observe() as seen, bucket.store.on_request(events.append):
        found = iter(bucket.find())
        for _ in range(150):
            next(found)
        is_told_at_the_end = len(events)
        del found
        gc.collect()
    wait_until(lambda: len(server.asked) >= seen.attempts)
    assert seen.attempts == len(events) == len(server.asked) > is_told_at_the_end
    assert any(event.error == "Abandoned" for event in events)


@pytest.mark.lane
def test_requests_that_end_before_their_connections_are_made_are_not_counted(
    split: tuple[StatefulServer, s3.S3Bucket],
) -> None:
    """A listing in several places may end while the connections for further pages are being made."""
    server, bucket = split
    connection = bucket._address.connection
    assert bucket["0/00000"].exists()  # the lane is open
    asked = len(server.asked)
    with bucket.store.observe() as seen:
        requests = ConcurrentRequests(connection, concurrency=3, limit=1 << 20)
        for _ in range(3):  # one is sent at once on the connection that is there
            requests.begin(Request("GetObject", "bkt", "0/00000", {}))
        requests.close()
    wait_until(lambda: len(server.asked) > asked)
    assert seen.attempts == len(server.asked) - asked == 1


def test_an_iteration_that_is_left_tells_the_requests_that_wait_for_boto3(
    proxied: tuple[s3.S3Store, s3.S3Bucket, Proxy],
) -> None:
    """The lane has sent them, and the store has refused them; no thread has begun to send them again."""
    store, bucket, proxy = proxied
    store = s3.S3Store(store.config.replace(max_concurrency=1))
    bucket = store.bucket(bucket.name)
    keys = [f"k/{number}" for number in range(40)]
    for key in keys:
        bucket.put_object(key, b"x")
    proxy.restart(scripted({("GET", key): ["slowdown_before"] for key in keys}))
    with store.observe() as seen:
        found = iter(bucket.get_objects(keys))
        next(found)
        del found
        gc.collect()
    wait_until(lambda: len(proxy.seen) > 1)
    assert seen.attempts >= len(proxy.seen)


@pytest.mark.lane
def test_an_async_request_that_is_cancelled_before_a_thread_sends_it_again_is_told(
    proxied: tuple[s3.S3Store, s3.S3Bucket, Proxy],
) -> None:
    store, bucket, proxy = proxied
    bucket.put_object("a", b"x")
    proxy.restart(scripted({("GET", "a"): ["slowdown_before"]}))

    async def cancelled(*_: Any) -> None:
        raise asyncio.CancelledError

    with store.observe() as seen, pytest.raises(asyncio.CancelledError):
        asyncio.run(AsyncExchange(store._connection).send(Request("GetObject", bucket.name, "a"), cancelled, cancelled))
    assert (seen.attempts, seen.throttles) == (1, 1)


def test_a_request_of_the_lane_is_continued_by_one_on_the_same_object(bucket: s3.S3Bucket) -> None:
    """Before boto3 sends a request again, it may send others of the same operation, about scratch objects."""
    store = bucket.store
    connection = store._connection
    events: list[s3.RequestEvent] = []
    with store.on_request(events.append):
        record = observation.begin(connection.observers, "PutObject", bucket.name, "k")
        assert record is not None
        record.sending(1)
        with connection.continuing(record):
            for key in ("scratch", "k", "k"):
                connection.call("PutObject", Bucket=bucket.name, Key=key, Body=b"x")
    assert [(event.key, event.attempts) for event in events] == [("scratch", 1), ("k", 2), ("k", 1)]


def test_nothing_is_told_of_a_call_that_sends_nothing(bucket: s3.S3Bucket) -> None:
    with bucket.store.observe() as seen:
        with pytest.raises(ValueError, match="Key"):
            bucket.store._connection.call("GetObject", Bucket=bucket.name)
        bucket["k"].presigned_url()
    assert seen.requests == 0
    assert seen.rows == [] and seen.totals.median is None and str(seen)


def test_a_store_that_does_not_respond_is_an_error_without_a_status() -> None:
    with s3.connect("http://127.0.0.1:9", access_key="a", secret_key="s", region="us-east-1", max_attempts=2) as store:
        events: list[s3.RequestEvent] = []
        with store.on_request(events.append):
            assert not store.ping()
    [event] = events
    assert (event.operation, event.status, event.attempts, event.error) == (
        "ListBuckets", None, 2, "EndpointConnectionError",
    )  # fmt: skip


def test_the_requests_of_a_stubbed_client_are_told(moto: Server) -> None:
    store = s3.S3Store.from_resource(moto.connect(read_timeout=33).resource)
    with Stubber(store.client) as stubber, store.observe() as seen:
        stubber.add_response("list_buckets", {"Buckets": []})
        assert store.ping()
    assert seen.operations["ListBuckets"].requests == 1


def test_the_request_for_the_region_after_a_redirect_is_told_as_its_own() -> None:
    """botocore answers a redirect with a HeadBucket of its own."""
    with run_scripted_server() as server, server.connect() as store:
        moved = {"x-amz-bucket-region": "eu-west-3"}

        def answer(asked: Any) -> Any:
            if asked.method == "HEAD":
                return 200, moved, b""
            if "eu-west-3" in asked.headers["authorization"]:
                return 200, {"ETag": '"e"', "Last-Modified": "Sat, 01 Jan 2022 00:00:00 GMT"}, b"body"
            return 301, {}, b"<Error><Code>PermanentRedirect</Code><Message>m</Message></Error>"

        server.answer = answer
        with store.observe() as seen:
            assert store.bucket("elsewhere")["k"].body == b"body"
        arrived = [asked.method for asked in server.asked]
    assert attempts_of(seen) == {"GetObject": arrived.count("GET"), "HeadBucket": arrived.count("HEAD")}


# -- which requests


def test_stores_that_share_a_client_are_told_apart(moto: Server, moto_bucket: s3.S3Bucket) -> None:
    one, other = moto.connect(), moto.connect()
    assert one.client is other.client and one == other
    with one.observe() as seen, other.observe() as of_other:
        one.bucket(moto_bucket.name).put_object("k", b"x")
        one.bucket(moto_bucket.name)["k"].preview()
        assert [obj.body for obj in one.bucket(moto_bucket.name).find().prefetch()] == [b"x"]
        other.ping()
    assert "ListBuckets" not in seen.operations
    assert set(of_other.operations) == {"ListBuckets"}


def test_an_unpickled_handle_observes_its_own_requests(moto: Server, moto_bucket: s3.S3Bucket) -> None:
    store = moto.connect(pickle_secrets=True)
    again = pickle.loads(pickle.dumps(store.bucket(moto_bucket.name)))
    with store.observe() as seen, again.store.observe() as of_again:
        again.put_object("k", b"x")
    assert (seen.requests, of_again.requests) == (0, 1)


@pytest.mark.parametrize("made_from", ["a pickle", "a pickle without secrets", "a boto3 resource"])
def test_stores_of_handles_that_were_made_separately_are_told_apart(
    moto: Server, moto_bucket: s3.S3Bucket, made_from: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They share a client, like stores with equal configurations."""
    store = moto.connect(pickle_secrets=made_from == "a pickle")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", moto.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", moto.secret_key)

    def make() -> s3.S3Bucket:
        if made_from == "a boto3 resource":
            return s3.S3Bucket(moto_bucket.name, store.resource)
        return pickle.loads(pickle.dumps(store.bucket(moto_bucket.name)))  # type: ignore[no-any-return]

    one, other = make(), make()
    assert one.store.client is other.store.client
    with one.store.observe() as seen, other.store.observe() as of_other:
        one.put_object("k", b"x")
    assert (seen.requests, of_other.requests) == (1, 0)


def test_each_attempt_is_counted_once_where_several_connections_use_one_client(
    moto: Server, moto_bucket: s3.S3Bucket
) -> None:
    store = moto.connect(lane=False)
    handles = [store.bucket(moto_bucket.name), s3.S3Bucket(moto_bucket.name, store.resource)]
    for bucket in handles * 2:
        with bucket.store.observe() as seen:
            bucket.put_object("k", b"123")
            bucket["none"].exists()
        assert (seen.attempts, seen.bytes_sent) == (2, 3)


def test_handles_of_one_pickle_belong_to_one_store(moto: Server, moto_bucket: s3.S3Bucket) -> None:
    bucket = moto.connect(pickle_secrets=True).bucket(moto_bucket.name)
    bucket, obj = pickle.loads(pickle.dumps((bucket, bucket["k"])))
    with bucket.store.observe() as seen:
        obj.put(b"x")
        assert bucket["k"].exists()
    assert seen.requests == 2


def test_a_deep_copy_of_a_handle_belongs_to_the_same_store(bucket: s3.S3Bucket) -> None:
    with bucket.store.observe() as seen:
        copy.deepcopy(bucket).put_object("k", b"x")
        assert copy.deepcopy(bucket.store).bucket(bucket.name)["k"].body == b"x"
    assert seen.requests == 2


def test_requests_before_and_after_the_block_are_not_counted(bucket: s3.S3Bucket) -> None:
    bucket.put_object("k", b"x")
    with bucket.store.observe() as seen:
        pass
    bucket.put_object("k", b"x")
    assert seen.requests == 0


def test_a_request_that_is_begun_in_the_block_is_counted_although_it_ends_later(bucket: s3.S3Bucket) -> None:
    bucket.put_object("k", b"x" * 50_000)
    with bucket.store.observe() as seen:
        stream = bucket["k"].body_stream
        stream.read(1)
    assert seen.requests == 0
    stream.read()
    assert seen.bytes_received == 50_000


def test_observations_are_nested(bucket: s3.S3Bucket) -> None:
    with bucket.store.observe() as outer, bucket.store.observe("outer") as tagged:
        bucket.put_object("a", b"x")
        with bucket.store.observe() as inner, bucket.store.observe("inner") as tagged_inside:
            bucket.put_object("b", b"x")
        bucket.put_object("c", b"x")
    assert [seen.requests for seen in (outer, tagged, inner, tagged_inside)] == [3, 3, 1, 1]


def test_an_observation_is_opened_once_at_a_time(bucket: s3.S3Bucket) -> None:
    with bucket.store.observe() as seen, pytest.raises(RuntimeError, match="open already"):
        seen.__enter__()
    with seen:
        bucket.put_object("k", b"x")
    assert seen.requests == 1


def test_a_tag_counts_only_what_its_own_thread_begins(bucket: s3.S3Bucket) -> None:
    def elsewhere() -> None:
        for number in range(3):
            bucket.put_object(f"elsewhere/{number}", b"x")

    with bucket.store.observe() as all_seen, bucket.store.observe("mine") as seen:
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        bucket.put_object("mine", b"x")
    assert (all_seen.requests, seen.requests) == (4, 1)


def test_a_tag_counts_what_the_library_begins_on_its_threads(
    moto: Server, moto_bucket: s3.S3Bucket, tmp_path: Any
) -> None:
    store = moto.connect(read_timeout=34)
    bucket = store.bucket(moto_bucket.name)
    (tmp_path / "in").mkdir()
    for number in range(4):
        (tmp_path / "in" / f"{number}.txt").write_bytes(b"x" * 100)
    with store.observe() as all_seen, store.observe("mine") as seen:
        bucket.upload_object("large", iter([b"L" * (17 << 20)]))  # in parts, on threads
        bucket["large"].download_to(tmp_path / "large")
        with bucket["large"].open("rb", buffering=1 << 20) as file:
            while file.read(1 << 20):
                pass
        bucket.upload_folder(tmp_path / "in", "folder")
        bucket.download_folder("folder", tmp_path / "out")
        bucket.sync_from_folder(tmp_path / "in", "synced")
        list(bucket.find("folder").map(lambda obj: obj.body))
        list(bucket.find().partitions(2)[0])
        list(bucket.find().parallel(2))
        with bucket.lock("lock", ttl=5) as lock:
            lock.check()
        bucket.find("folder").delete()
    assert all_seen.requests > 30
    assert [(row.operation, row.requests) for row in seen.rows] == [
        (row.operation, row.requests) for row in all_seen.rows
    ]


def test_a_tag_counts_the_tasks_that_are_begun_in_the_block(moto: Server, moto_bucket: s3.S3Bucket) -> None:
    async def main() -> tuple[int, int, int]:
        async with s3.AsyncS3Store(moto.connect()) as store:
            bucket = store.bucket(moto_bucket.name)
            begun = asyncio.Event()

            async def other() -> None:
                await begun.wait()
                await bucket.put_object("other", b"x")

            task = asyncio.create_task(other())
            with store.observe() as all_seen, store.observe("mine") as seen:
                begun.set()
                await asyncio.gather(*(bucket.put_object(f"{number}", b"x") for number in range(3)))
                await bucket.upload_object("u", iter([b"x"]))
                await task
            return all_seen.requests, seen.requests, seen.operations["PutObject"].requests

    all_seen, seen, puts = asyncio.run(main())
    assert all_seen == seen + 1
    assert puts == 4


# -- what it shows


def record_of(seconds: float, **values: Any) -> RequestRecord:
    record = RequestRecord((), "GetObject", "b", "k")
    record.sending(0)
    record.received(200, 10)
    record.seconds = seconds
    for name, value in values.items():
        setattr(record, name, value)
    return record


def test_quantiles_are_within_one_percent() -> None:
    seen = Observation(Observers())
    for number in range(1, 20_001):
        seen._add(record_of(number / 1000))
    [row] = seen.rows
    assert row.median == pytest.approx(10.0, rel=0.01) and row.p95 == pytest.approx(19.0, rel=0.01)
    assert len(seen._pending) < 1_000  # memory does not grow with the requests
    assert (row.requests, row.bytes_received) == (20_000, 200_000)


def test_the_latency_of_a_single_request_is_exact() -> None:
    seen = Observation(Observers())
    seen._add(record_of(0.0123))
    assert (seen.totals.median, seen.totals.p95) == (0.0123, 0.0123)


def test_a_request_that_ends_while_its_thread_sums_up_is_counted() -> None:
    """A body that is collected, or a signal handler, runs anywhere in the thread."""
    seen = Observation(Observers())

    def add_many() -> None:
        with seen._lock:
            for _ in range(12_000):
                seen._add(record_of(0.01))

    thread = threading.Thread(target=add_many, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    assert seen.requests == 12_000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_an_observation_that_another_thread_is_reading_can_be_read_in_a_forked_child() -> None:
    seen = Observation(Observers())
    seen._add(record_of(0.01))
    is_held, is_over = threading.Event(), threading.Event()

    def hold() -> None:
        with seen._lock:
            is_held.set()
            is_over.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    is_held.wait(60)
    child = os.fork()
    if not child:
        signal.alarm(20)  # ends the child if it waits for the lock
        os._exit(0 if seen.requests == 1 else 1)
    is_over.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0


def test_an_observation_is_shown_as_a_table_and_a_frame(bucket: s3.S3Bucket) -> None:
    pandas = pytest.importorskip("pandas")
    bucket.put_object("warm", b"")
    with bucket.store.observe("<nightly>") as seen:
        bucket.put_object("k", b"x" * 2048)
        bucket["none"].exists()
    assert "PutObject" in str(seen) and "2.0 KiB" in str(seen) and "<nightly>" in str(seen)
    assert "&lt;nightly&gt;" in seen._repr_html_()
    frame = seen.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame["operation"]) == ["HeadObject", "PutObject"] and list(frame["errors"]) == [1, 0]
    assert list(frame["bytes_sent"]) == [0, 2048] and list(frame["way"]) == [WAY, WAY]


def test_cost() -> None:
    seen = Observation(Observers())
    for operation, attempts in (("GetObject", 1), ("PutObject", 2), ("DeleteObject", 1), ("ListObjectsV2", 1)):
        seen._add(record_of(1.0, operation=operation, attempts=attempts, bytes_received=10**9))
    assert seen.cost({"class A": 5.0, "class B": 0.4}) == pytest.approx((2 * 5.0 + 5.0 + 0.4) / 1000)
    assert seen.cost({"class A": 0, "class B": 0, "GB received": 0.09}) == pytest.approx(4 * 0.09)
    assert seen.cost({"class A": 0, "class B": 0, "DeleteObject": 1000, "GetObject": 2000}) == pytest.approx(3)
    with pytest.raises(ValueError, match="no price for GetObject; add 'GetObject' or 'class B'"):
        seen.cost({"class A": 1})
    with pytest.raises(ValueError, match="'class C' is neither"):
        seen.cost({"class A": 1, "class B": 1, "class C": 1})
    wrong: Any
    for wrong in (math.nan, math.inf, -0.1):
        with pytest.raises(ValueError, match="the price of 'GB sent' must be a number from 0 on"):
            seen.cost({"class A": 1, "class B": 1, "GB sent": wrong})
    for wrong in (0.005, {"class A": "0.005", "class B": 1}, {"class A": None}, {1: 1}, [("class A", 1)]):
        with pytest.raises(TypeError, match="prices must be a mapping"):
            seen.cost(wrong)


@pytest.mark.parametrize("tag", [1, b"x"])
def test_a_tag_is_text(tag: Any) -> None:
    with s3.connect("http://127.0.0.1:9") as store, pytest.raises(TypeError, match="tag must be a str"):
        store.observe(tag)


# -- callbacks


def test_a_subscription_is_removed_by_close_by_a_call_and_by_the_end_of_its_block(bucket: s3.S3Bucket) -> None:
    events: list[s3.RequestEvent] = []
    with bucket.store.on_request(events.append):
        bucket.put_object("k", b"x")
    for remove in (lambda subscription: subscription.close(), lambda subscription: subscription()):
        subscription = bucket.store.on_request(events.append)
        bucket.put_object("k", b"x")
        remove(subscription)
        remove(subscription)
    bucket.put_object("k", b"x")
    assert len(events) == 3


def test_an_exception_of_a_callback_breaks_no_request_and_is_logged_once(
    bucket: s3.S3Bucket, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(event: s3.RequestEvent) -> None:
        raise KeyError("from the callback")

    events: list[s3.RequestEvent] = []
    with bucket.store.on_request(fail), bucket.store.on_request(events.append):
        for number in range(3):
            bucket.put_object(f"{number}", b"x")
    assert len(events) == 3
    assert [record.levelname for record in caplog.records if "raised" in record.message] == ["WARNING"]


def test_the_arguments_of_a_callback_are_not_logged(bucket: s3.S3Bucket, caplog: pytest.LogCaptureFixture) -> None:
    def post(event: s3.RequestEvent, *, token: str) -> None:
        raise OSError("no route")

    with bucket.store.on_request(partial(post, token="TOKEN-CANARY")) as subscription:
        bucket.put_object("k", b"x")
    assert repr(subscription) == "RequestSubscription(partial)"
    assert "RequestSubscription(partial) raised" in caplog.text and "CANARY" not in caplog.text


def test_a_callback_may_send_requests(bucket: s3.S3Bucket) -> None:
    def audit(event: s3.RequestEvent) -> None:
        bucket.put_object(f"audit/{event.key}", event.operation.encode())

    with bucket.store.observe() as seen, bucket.store.on_request(audit):
        bucket.put_object("k", b"x")
    assert bucket["audit/k"].body == b"PutObject"
    assert seen.requests == 2


def test_a_callback_that_sends_requests_on_other_threads_is_not_called_for_them(moto: Server) -> None:
    """Without the lane, bulk requests are sent on the library's threads."""
    told: list[str] = []
    with moto.connect(lane=False) as store:
        bucket = store.create_bucket(f"audited-{os.urandom(4).hex()}")

        def audit(event: s3.RequestEvent) -> None:
            told.append(event.key)
            if len(told) < 20:  # else a failure of this test would not end
                list(bucket.put_objects((f"audit/{number}", b"") for number in range(3)))

        with store.observe() as seen, store.on_request(audit):
            bucket.put_object("k", b"x")
        assert told == ["k"]
        assert seen.requests == 4
        bucket.delete_bucket(force=True)


def test_a_callback_that_starts_tasks_is_not_called_for_their_requests(moto: Server, moto_bucket: s3.S3Bucket) -> None:
    told: list[str] = []
    tasks: list[Future[Any]] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        async with s3.AsyncS3Store(moto.connect()) as store:
            bucket = store.bucket(moto_bucket.name)
            await bucket.put_object("warm", b"")

            def audit(event: s3.RequestEvent) -> None:  # called on a thread if the lane is shut
                told.append(event.key)
                if len(told) < 20:
                    tasks.append(asyncio.run_coroutine_threadsafe(bucket.put_object("audit", b""), loop))

            with store.on_request(audit):
                await bucket["warm"].load()
                while not all(task.done() for task in tasks):
                    await asyncio.gather(*map(asyncio.wrap_future, tasks))

    asyncio.run(run())
    assert told == ["warm"]
    assert len(tasks) == 1


@pytest.mark.parametrize("callback", [None, 7])
def test_a_callback_can_be_called(callback: Any) -> None:
    with s3.connect("http://127.0.0.1:9") as store, pytest.raises(TypeError, match="callback must be"):
        store.on_request(callback)


def test_a_coroutine_function_is_no_callback() -> None:
    async def callback(event: s3.RequestEvent) -> None: ...

    with s3.connect("http://127.0.0.1:9") as store, pytest.raises(TypeError, match="coroutine"):
        store.on_request(callback)


def test_observers_are_added_and_removed_by_many_threads(bucket: s3.S3Bucket) -> None:
    observers = Observers()

    def once(_: int) -> None:
        with Observation(observers), Observation(observers, "tag"):
            pass

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(once, range(400)))
    assert not observers.always and not observers.tagged


# -- the log


def lines(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == level and "attempt" in record.message]


def test_each_request_is_logged_at_debug(moto_bucket: s3.S3Bucket, caplog: pytest.LogCaptureFixture) -> None:
    bucket = moto_bucket
    bucket.put_object("warm", b"")
    with caplog.at_level(logging.DEBUG, "messageflux_s3"):
        bucket.put_object("a\u202eb", b"123")
        bucket["none"].exists()
    put, head = lines(caplog, logging.DEBUG)
    assert put.startswith(f"PutObject s3://{bucket.name}/a\\u202eb: 200, 3 bytes sent, 0 bytes received, ")
    assert put.endswith(" ms, 1 attempt, " + WAY)
    assert head.startswith(f"HeadObject s3://{bucket.name}/none: 404 NoSuchKey, ")


def test_a_retried_request_is_logged_at_info(
    proxied: tuple[s3.S3Store, s3.S3Bucket, Proxy], caplog: pytest.LogCaptureFixture
) -> None:
    _, bucket, proxy = proxied
    proxy.restart(scripted({("PUT", "k"): ["slowdown_before"]}))
    with caplog.at_level(logging.INFO, "messageflux_s3"):
        bucket.put_object("other", b"x")
        bucket.put_object("k", b"x")
    [line] = lines(caplog, logging.INFO)
    assert line.startswith(f"PutObject s3://{bucket.name}/k: 200, ") and line.endswith("2 attempts, boto3")


def test_a_slow_request_is_logged_at_info(
    bucket: s3.S3Bucket, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("messageflux_s3._client.request_log.SLOW_SECONDS", 0.0)
    with caplog.at_level(logging.INFO, "messageflux_s3"):
        bucket.put_object("k", b"x")
    assert len(lines(caplog, logging.INFO)) == 1


def test_nothing_secret_is_told(moto: Server, moto_bucket: s3.S3Bucket, caplog: pytest.LogCaptureFixture) -> None:
    """With the server's own keys: others than moto refuse any other."""
    check_that_nothing_secret_is_told(moto.connect(), moto_bucket.name, (moto.access_key, moto.secret_key), caplog)


def test_no_session_token_is_told(scripted_server: ScriptedServer, caplog: pytest.LogCaptureFixture) -> None:
    body = b"BODY-CANARY"
    etag = hashlib.md5(body).hexdigest()

    def answer(asked: Asked) -> Answer:
        if asked.method == "PUT":
            return 200, {"ETag": f'"{etag}"'}, b""
        return content_of(asked, body, etag) if asked.key != "none" else refusal(404, "NoSuchKey")

    scripted_server.answer = answer
    keys = {"access_key": "ACCESS-CANARY", "secret_key": "SECRET-CANARY-KEY", "session_token": "TOKEN-CANARY"}
    check_that_nothing_secret_is_told(
        scripted_server.connect(boto3_session=None, **keys), "bkt", tuple(keys.values()), caplog
    )
    assert any(asked.headers.get("x-amz-security-token") == "TOKEN-CANARY" for asked in scripted_server.asked)


def check_that_nothing_secret_is_told(
    store: s3.S3Store, bucket_name: str, secrets: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    bucket = store.bucket(bucket_name)
    events: list[Any] = []
    with caplog.at_level(logging.DEBUG, "messageflux_s3"), store.observe() as seen, store.on_request(events.append):
        bucket.put_object("k", b"BODY-CANARY", metadata={"m": "METADATA-CANARY"})
        assert bucket["k"].body
        bucket["k"].open("rb").close()
        url = bucket["k"].presigned_url()
        bucket["none"].exists()
    signature = url.rpartition("Signature=")[2]
    told = io.StringIO()
    print(events, seen, seen._repr_html_(), seen.rows, caplog.text, file=told)
    assert len(events) > 3
    for secret in (*secrets, "BODY-CANARY", "METADATA-CANARY", signature):
        assert secret not in told.getvalue()
