"""Faults: every kind does what it says, to any client; a seed repeats them; each is listed."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
import botocore.loaders
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, HTTPClientError
from support.waiting import wait_until

import messageflux_s3 as s3
from messageflux_s3.local.fault_kinds import KINDS
from messageflux_s3.local.proxy import ProxyRequest
from messageflux_s3.local.s3_requests import OPERATIONS, recognise

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[s3.LocalS3, s3.Faults]]:
    """A server with faults, for the tests of this module."""
    faults = s3.Faults()
    with s3.LocalS3(faults=faults) as local:
        local.bucket("plain")
        yield local, faults


@pytest.fixture
def faults(served: tuple[s3.LocalS3, s3.Faults]) -> Iterator[s3.Faults]:
    """The faults of the server, none yet; its bucket is empty."""
    local, faults = served
    faults.restart(seed=0)
    with faults.off():
        local.bucket("plain").clear_objects()
    faults.restart()
    yield faults
    faults.restart()


@pytest.fixture
def local(served: tuple[s3.LocalS3, s3.Faults]) -> s3.LocalS3:
    return served[0]


@pytest.fixture
def client(local: s3.LocalS3) -> S3Client:
    """Plain boto3, which sends each request once."""
    return plain_client(local)


def plain_client(local: s3.LocalS3, attempts: int = 1, read_timeout: float = 20) -> S3Client:
    return boto3.client(
        "s3", endpoint_url=local.endpoint_url, aws_access_key_id="AK", aws_secret_access_key="SK", region_name="us-east-1",
        config=Config(retries={"total_max_attempts": attempts}, read_timeout=read_timeout, response_checksum_validation="when_required"),
    )  # fmt: skip


def put(client: S3Client, key: str = "k", body: bytes = b"body") -> None:
    client.put_object(Bucket="plain", Key=key, Body=body)


def body_of(client: S3Client, key: str = "k") -> bytes:
    return client.get_object(Bucket="plain", Key=key)["Body"].read()


def keys_of(client: S3Client, **parameters: Any) -> list[str]:
    return [entry["Key"] for entry in client.list_objects_v2(Bucket="plain", **parameters).get("Contents", ())]


def kinds_of(faults: s3.Faults) -> list[str]:
    return [fault.kind for fault in faults.injected]


# -- the kinds ----------------------------------------------------------------------------------------------------------------------


def test_a_lost_answer_leaves_the_write_done(client: S3Client, faults: s3.Faults) -> None:
    """The client gets no answer, and the object is there."""
    faults.next("PutObject", lost_answer=True)
    with pytest.raises(HTTPClientError):
        put(client)
    assert body_of(client) == b"body"
    assert faults.injected == [s3.local.InjectedFault(1, "PutObject", "plain", "k", "lost_answer")]


def test_a_reset_leaves_the_write_undone(client: S3Client, faults: s3.Faults) -> None:
    """The client gets no answer, and there is no object."""
    faults.next("PutObject", reset=True)
    with pytest.raises(HTTPClientError):
        put(client)
    assert (keys_of(client), kinds_of(faults)) == ([], ["reset"])


@pytest.mark.parametrize(
    ("kind", "status", "code", "is_done"),
    [
        ("throttle", 503, "SlowDown", False),
        ("server_error", 500, "InternalError", True),
        ("forbidden", 403, "AccessDenied", False),
        ("clock_skew", 403, "RequestTimeTooSkewed", False),
        ("conflict", 409, "OperationAborted", False),
    ],
)
def test_an_error_says_so_and_the_next_request_succeeds(
    client: S3Client, faults: s3.Faults, kind: str, status: int, code: str, is_done: bool
) -> None:
    """The error's status and code; whether the server has done it; and the connection is usable."""
    faults.next("PutObject", **{kind: True})  # type: ignore[arg-type]
    with pytest.raises(ClientError) as caught:
        put(client)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert caught.value.response["Error"]["Code"] == code
    assert keys_of(client) == (["k"] if is_done else [])
    put(client)
    assert (body_of(client), kinds_of(faults)) == (b"body", [kind])


def test_a_conflict_of_a_conditional_write_has_its_own_code(client: S3Client, faults: s3.Faults) -> None:
    """ConditionalRequestConflict, as AWS reports concurrent conditional writes."""
    faults.next(conflict=True)
    with pytest.raises(ClientError, match="ConditionalRequestConflict"):
        client.put_object(Bucket="plain", Key="k", Body=b"", IfNoneMatch="*")
    assert keys_of(client) == []


def test_an_error_with_status_200_is_reported_by_the_deletion_of_many(client: S3Client, faults: s3.Faults) -> None:
    """The document has an error for each key, and nothing was deleted."""
    put(client)
    faults.next(error_in_200=True)
    answer = client.delete_objects(Bucket="plain", Delete={"Objects": [{"Key": "k"}]})
    assert ([error["Key"] for error in answer["Errors"]], keys_of(client)) == (["k"], ["k"])


def test_a_copy_may_fail_with_status_200(client: S3Client, faults: s3.Faults) -> None:
    """boto3 reports an error that comes with status 200; nothing was copied."""
    put(client)
    faults.next("CopyObject", error_in_200=True)
    with pytest.raises(ClientError, match="InternalError"):
        client.copy_object(Bucket="plain", Key="copy", CopySource="plain/k")
    assert keys_of(client) == ["k"]


def test_a_slow_answer_comes_after_the_read_timeout(local: s3.LocalS3, client: S3Client, faults: s3.Faults) -> None:
    """A client that waits less gives up, and the object was written."""
    faults.next("PutObject", slow=20.0)
    with pytest.raises(HTTPClientError):
        put(plain_client(local, read_timeout=0.5))
    assert body_of(client) == b"body"
    faults.next("GetObject", slow=0.01)
    assert (body_of(client), kinds_of(faults)) == (b"body", ["slow", "slow"])


def test_a_cut_body_is_shorter_than_its_length(client: S3Client, faults: s3.Faults) -> None:
    """An empty body cannot be cut: the fault waits for the next one."""
    put(client)
    put(client, "empty", b"")
    faults.next("GetObject", cut=True)
    assert (body_of(client, "empty"), faults.pending, faults.injected) == (b"", ["cut"], [])
    with pytest.raises(HTTPClientError):
        body_of(client)
    assert (faults.pending, kinds_of(faults)) == ([], ["cut"])


def test_a_corrupted_body_has_one_changed_byte(client: S3Client, faults: s3.Faults) -> None:
    """Of the same length, and the stored object is unchanged."""
    put(client, body=bytes(100))
    faults.next(corrupt=True)
    got = client.get_object(Bucket="plain", Key="k", Range="bytes=0-99")["Body"].read()
    assert (len(got), sum(byte != 0 for byte in got), body_of(client)) == (100, 1, bytes(100))


def test_an_object_changes_between_a_head_and_a_get(client: S3Client, faults: s3.Faults) -> None:
    """Only what the client has read can change under it; the change is real."""
    put(client, body=b"{}")
    faults.next("GetObject", changed_object=True)
    assert (body_of(client), faults.pending) == (b"{}", ["changed_object"])
    etag = client.head_object(Bucket="plain", Key="k")["ETag"]
    with pytest.raises(ClientError, match="PreconditionFailed"):
        client.get_object(Bucket="plain", Key="k", IfMatch=etag)
    assert (body_of(client), kinds_of(faults)) == (b"\n{}", ["changed_object"])


def test_an_object_changes_between_a_get_and_a_put(client: S3Client, faults: s3.Faults) -> None:
    """With the content that the test gives: the write of another client, which a careless program overwrites."""
    put(client)
    etag = client.get_object(Bucket="plain", Key="k")["ETag"]
    faults.next("PutObject", changed_object=b"of another client")
    with pytest.raises(ClientError, match="PreconditionFailed"):
        client.put_object(Bucket="plain", Key="k", Body=b"new", IfMatch=etag)
    assert body_of(client) == b"of another client"
    put(client)
    faults.next(changed_object=True)
    put(client)
    client.delete_object(Bucket="plain", Key="missing")
    assert faults.pending == ["changed_object"]


def test_a_stale_listing_lacks_a_new_object(client: S3Client, faults: s3.Faults) -> None:
    """And has it the next time. A listing that the latest write did not change cannot be stale."""
    put(client, "a")
    put(client, "b c/ü")
    faults.next(stale_listing=True)
    assert (keys_of(client, Prefix="a"), faults.pending) == (["a"], ["stale_listing"])
    answer = client.list_objects_v2(Bucket="plain")
    assert ([entry["Key"] for entry in answer["Contents"]], answer["KeyCount"]) == (["a"], 1)
    assert (keys_of(client), kinds_of(faults)) == (["a", "b c/ü"], ["stale_listing"])


def test_a_stale_listing_shows_a_deleted_object(client: S3Client, faults: s3.Faults) -> None:
    """In its place, in both versions of listings, if it belongs to the page."""
    for key in ("a", "b c/ü", "c"):
        put(client, key)
    client.delete_object(Bucket="plain", Key="b c/ü")
    for parameters, wanted in (
        ({}, ["a", "b c/ü", "c"]),
        ({"Prefix": "b"}, ["b c/ü"]),
        ({"StartAfter": "a"}, ["b c/ü", "c"]),
        ({"MaxKeys": 1}, ["a"]),
        ({"Prefix": "c"}, ["c"]),
        ({"StartAfter": "b c/ü"}, ["c"]),
        ({"Delimiter": "/"}, ["a", "c"]),
    ):
        faults.restart()
        faults.next(stale_listing=True)
        assert (keys_of(client, **parameters), len(faults.injected)) == (wanted, int("b c/ü" in wanted)), parameters
    faults.restart()
    faults.next("ListObjects", stale_listing=True)
    assert [entry["Key"] for entry in client.list_objects(Bucket="plain")["Contents"]] == ["a", "b c/ü", "c"]


def test_a_stale_page_has_an_object_only_where_it_belongs(client: S3Client, faults: s3.Faults) -> None:
    """Every object is listed once, though every page is stale."""
    for key in "abcde":
        put(client, key)
    client.delete_objects(Bucket="plain", Delete={"Objects": [{"Key": "b"}, {"Key": "e"}]})
    with faults.on(stale_listing=1):
        pages = client.get_paginator("list_objects_v2").paginate(Bucket="plain", PaginationConfig={"PageSize": 2})
        assert [entry["Key"] for page in pages for entry in page["Contents"]] == [*"abcde"]


def test_a_stale_listing_shows_the_former_size(client: S3Client, faults: s3.Faults) -> None:
    """Of an object that was overwritten."""
    put(client)
    put(client, body=b"longer body")
    faults.next(stale_listing=True)
    sizes = [client.list_objects_v2(Bucket="plain")["Contents"][0]["Size"] for _ in range(2)]
    assert sizes == [4, 11]


def test_every_kind_can_be_injected_at_a_rate(local: s3.LocalS3, client: S3Client, faults: s3.Faults) -> None:
    """With a rate of 1 the first request to which it applies gets it."""
    for kind in KINDS.values():
        with faults.off():
            put(client)
            body_of(client)
        faults.restart()
        with faults.on(**{kind.rate: 1}):
            for call in (
                lambda: client.put_object(Bucket="plain", Key="new", Body=b"", IfNoneMatch="*"),
                lambda: body_of(client),
                lambda: keys_of(client),
                lambda: client.copy_object(Bucket="plain", Key="copy", CopySource="plain/k"),
                lambda: client.delete_object(Bucket="plain", Key="new"),
            ):
                with suppress(ClientError, HTTPClientError):
                    call()
        assert set(kinds_of(faults)) == {kind.name}


# -- the same library and seed ------------------------------------------------------------------------------------------------------


RATES = {"lost_answers": 0.2, "throttle": 0.2, "server_error": 0.2, "cut": 0.2, "changed_object": 0.2}


def mixed_work(local: s3.LocalS3, bucket_name: str, threads: int) -> None:
    """Write, read and list on some threads, each with keys of its own."""
    client = plain_client(local)

    def attempt(call: Callable[[], object]) -> None:
        with suppress(ClientError, HTTPClientError):
            call()

    def work(thread: int) -> None:
        for number in range(4):
            key = f"{thread}/{number % 2}"
            attempt(lambda key=key: client.put_object(Bucket=bucket_name, Key=key, Body=b"x" * 50))  # type: ignore[misc]
            attempt(lambda key=key: client.get_object(Bucket=bucket_name, Key=key)["Body"].read())  # type: ignore[misc]
            attempt(lambda thread=thread: client.list_objects_v2(Bucket=bucket_name, Prefix=f"{thread}/"))  # type: ignore[misc]

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(4)))


def test_the_same_seed_injects_the_same_faults(local: s3.LocalS3, faults: s3.Faults) -> None:
    """One thread or several, and another bucket; another seed injects others."""
    runs = []
    for name, seed, threads in (("one", 7, 1), ("two", 7, 4), ("three", 8, 4)):
        local.connect().create_bucket(f"seeded-{name}")
        faults.restart(seed)
        with faults.on(**RATES):
            mixed_work(local, f"seeded-{name}", threads)
        runs.append(sorted((each.number, each.operation, each.key, each.kind) for each in faults.injected))
    assert runs[0] == runs[1] != runs[2]
    assert len({kind for *_, kind in runs[0]}) >= 4


def test_the_library_and_the_seed_twice(local: s3.LocalS3, faults: s3.Faults) -> None:
    """Probes with random names get no faults, and every value is right."""
    runs = []
    for _ in range(2):
        faults.restart(seed=3)
        with local.connect(max_attempts=4) as store:
            with faults.off():
                bucket = store.create_bucket("plain")
                bucket.clear_objects()
                bucket["n"].put(b"0")
            faults.restart()
            with faults.on(lost_answers=0.15, throttle=0.15):
                for _ in range(8):
                    bucket["n"].update(lambda body: str(int(body or 0) + 1))
            assert bucket["n"].body == b"8"
        runs.append(faults.injected)
    assert runs[0] == runs[1]
    assert {fault.kind for fault in runs[0]} == {"lost_answer", "throttle"}


def test_a_lost_answer_makes_plain_boto3_apply_an_update_twice(local: s3.LocalS3, faults: s3.Faults) -> None:
    """The retry fails, since the condition no longer holds, and the loop applies the change again; update() does not."""
    client = plain_client(local, attempts=3)

    def increment() -> None:
        while True:
            got = client.get_object(Bucket="plain", Key="n")
            try:
                body = str(int(got["Body"].read()) + 1).encode()
                client.put_object(Bucket="plain", Key="n", Body=body, IfMatch=got["ETag"])
                return
            except ClientError as error:
                assert error.response["Error"]["Code"] == "PreconditionFailed"

    put(client, "n", b"0")
    faults.next("PutObject", lost_answer=True)
    increment()
    assert body_of(client, "n") == b"2"
    put(client, "n", b"0")
    faults.next("PutObject", lost_answer=True)
    local.connect().bucket("plain")["n"].update(lambda body: str(int(body or 0) + 1))
    assert (body_of(client, "n"), kinds_of(faults), faults.pending) == (b"1", ["lost_answer"] * 2, [])


# -- next, on, off, restart -----------------------------------------------------------------------------------------------------------


def test_next_matches_the_operation_the_bucket_and_the_key(client: S3Client, faults: s3.Faults) -> None:
    """Other requests pass; several faults wait in their order."""
    faults.next("PutObject", bucket="plain", key="b", forbidden=True)
    faults.next("GetObject", key="b", throttle=True, times=2)
    faults.next("PutObject", bucket="other", reset=True)
    put(client, "a")
    body_of(client, "a")
    assert (faults.pending, faults.injected) == (["forbidden", "throttle", "throttle", "reset"], [])
    with pytest.raises(ClientError, match="AccessDenied"):
        put(client, "b")
    put(client, "b")
    for _ in range(2):
        with pytest.raises(ClientError, match="SlowDown"):
            body_of(client, "b")
    body_of(client, "b")
    assert (faults.pending, kinds_of(faults)) == (["reset"], ["forbidden", "throttle", "throttle"])
    assert [fault.number for fault in faults.injected] == [1, 1, 2]


def test_a_fault_of_a_request_that_the_client_gives_up_waits_for_another(
    local: s3.LocalS3, client: S3Client, faults: s3.Faults
) -> None:
    """It was not injected, so it is pending again."""
    faults.next("PutObject", throttle=True)
    parts = urlsplit(local.endpoint_url)
    with socket.create_connection((parts.hostname, parts.port)) as sock:
        sock.sendall(b"PUT /plain/k HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf")
        wait_until(lambda: not faults.pending)
    wait_until(lambda: faults.pending == ["throttle"])
    with pytest.raises(ClientError, match="SlowDown"):
        put(client)


def test_a_late_request_does_not_report_to_the_next_test(local: s3.LocalS3, faults: s3.Faults) -> None:
    """A restart forgets the requests that are under way, too."""
    faults.next("PutObject", throttle=True)
    parts = urlsplit(local.endpoint_url)
    with socket.create_connection((parts.hostname, parts.port)) as sock:
        sock.sendall(b"PUT /plain/k HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n")
        wait_until(lambda: not faults.pending)
        faults.restart()
        sock.sendall(b"body")
        assert sock.recv(65536).startswith(b"HTTP/1.1 503")
    assert (faults.injected, faults.pending) == ([], [])


def test_blocks_are_nested_and_end(client: S3Client, faults: s3.Faults) -> None:
    """The inner block changes the rates that it names; off() suspends everything."""
    with faults.on(forbidden=1) as same:
        assert same is faults
        with pytest.raises(ClientError, match="AccessDenied"):
            put(client)
        with faults.on(forbidden=0, throttle=1), pytest.raises(ClientError, match="SlowDown"):
            put(client)
        faults.next(reset=True)
        with faults.off():
            put(client)
            with faults.on(conflict=1), pytest.raises(HTTPClientError):
                put(client)
        with pytest.raises(ClientError, match="AccessDenied"):
            put(client)
    put(client)
    assert kinds_of(faults) == ["forbidden", "throttle", "reset", "forbidden"]


def test_rates_of_the_constructor_apply_at_once() -> None:
    """And after a restart; in front of a server of its own."""
    faults = s3.Faults(seed=7, forbidden=1)
    assert repr(faults) == "Faults(seed=7, forbidden=1.0)"
    with s3.LocalS3(faults=faults) as local:
        store = local.connect()
        assert repr(local) == f"<LocalS3 {local.endpoint_url}>"
        for _ in range(2):
            with pytest.raises(s3.S3AccessDenied):
                store.create_bucket("reports")
            faults.restart()
        with faults.off():
            store.create_bucket("reports")
        served = local.requests_served()
        assert served["PUT"] == 1


@pytest.mark.parametrize("lane", [True, False])
def test_faults_reach_the_lane_and_boto3(local: s3.LocalS3, faults: s3.Faults, lane: bool) -> None:
    """The library retries through both."""
    store = local.connect(max_attempts=3)
    if not lane:
        store.client.meta.events.register("before-send.s3", lambda **_: None)
    bucket = store.bucket("plain")
    bucket.put_objects((f"k{number}", b"x" * number) for number in range(10))
    with faults.on(throttle=0.2, cut=0.2):
        assert [obj.body for obj in bucket.find().prefetch()] == [b"x" * number for number in range(10)]
    assert {"throttle", "cut"} <= set(kinds_of(faults))


# -- wrong arguments, and the end -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda faults: s3.Faults(seed="7"), TypeError, "seed must be an integer, not '7'"),
        (lambda faults: s3.Faults(throttle=2), ValueError, "throttle must be a share of the requests, from 0 to 1, not 2"),
        (lambda faults: s3.Faults(throttle=True), TypeError, "throttle must be a share.*, not True"),
        (lambda faults: s3.Faults(slow_seconds=0), ValueError, "slow_seconds must be a positive number of seconds"),
        (lambda faults: faults.on(cut=-1).__enter__(), ValueError, "cut must be a share"),
        (lambda faults: faults.next("PutObject"), TypeError, "takes one kind of fault.*not none"),
        (lambda faults: faults.next(cut=True, reset=True), TypeError, r"not \['reset', 'cut'\]"),
        (lambda faults: faults.next("PutObjekt", reset=True), ValueError, "did you mean 'PutObject'"),
        (lambda faults: faults.next(7, reset=True), ValueError, "name of an S3 operation such as 'PutObject', not 7"),
        (lambda faults: faults.next("GetObject", stale_listing=True), ValueError, "applies to ListObjects, ListObjectsV2"),
        (lambda faults: faults.next(reset=True, times=0), ValueError, "times must be a positive integer, not 0"),
        (lambda faults: faults.next(slow=-1), ValueError, "slow must be a positive number of seconds"),
        (lambda faults: faults.next(changed_object="text"), TypeError, "changed_object must be True or bytes, not 'text'"),
        (lambda faults: faults.next(reset=1), TypeError, "reset must be True, not 1"),
        (lambda faults: s3.LocalS3(faults={"seed": 7}), TypeError, "faults must be a messageflux_s3.Faults, not dict"),
    ],
)  # fmt: skip
def test_a_wrong_argument_raises_at_once(make: Callable[[Any], Any], error: type[Exception], said: str) -> None:
    """The error names the argument, and nothing is pending."""
    faults = s3.Faults()
    with pytest.raises(error, match=said):
        make(faults)
    assert faults.pending == []


@pytest.mark.parametrize("name", [{"key": 7}, {"key": b"k"}, {"bucket": ("b",)}])
def test_a_name_that_no_request_can_match_raises_at_once(name: dict[str, Any]) -> None:
    faults = s3.Faults()
    with pytest.raises(TypeError, match=f"{next(iter(name))} must be a str"):
        faults.next("PutObject", reset=True, **name)
    assert faults.pending == []


@pytest.mark.parametrize("sent", [b"garbage\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\r\n\r\n"])
def test_what_is_not_http_is_answered_at_once(local: s3.LocalS3, faults: s3.Faults, sent: bytes) -> None:
    """The second is what a client of https:// sends first. It waits for an answer, and its message never ends as one of HTTP does."""
    url = urlsplit(local.endpoint_url)
    with socket.create_connection((url.hostname, url.port), 20) as sock:
        sock.sendall(sent)
        assert sock.recv(12) == b"HTTP/1.1 400"


def test_https_to_the_port_of_a_server_with_faults_says_so(local: s3.LocalS3, faults: s3.Faults) -> None:
    endpoint_url = local.endpoint_url.replace("http://", "https://")
    with (
        local.connect(endpoint_url=endpoint_url, max_attempts=1) as store,
        pytest.raises(s3.S3ConnectionError, match="must begin with http://"),
    ):
        store.bucket("plain").exists()


def test_a_closed_server_closes_its_proxy() -> None:
    """The port is free, and the threads end; a slow answer is not waited for."""
    faults = s3.Faults(slow=1, slow_seconds=60)
    local = s3.LocalS3(faults=faults)
    parts = urlsplit(local.endpoint_url)
    before = threading.active_count()
    with socket.create_connection((parts.hostname, parts.port)) as waiting:
        waiting.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        local.close()
        with pytest.raises(OSError):
            socket.create_connection((parts.hostname, parts.port), timeout=5)
        waiting.settimeout(20)
        try:
            while waiting.recv(65536):
                pass
        except OSError:
            pass
    wait_until(lambda: threading.active_count() < before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_forked_child_uses_the_proxy_of_its_parent(local: s3.LocalS3, client: S3Client, faults: s3.Faults) -> None:
    """Its faults are the parent's; close() in the child stops nothing."""
    faults.next("PutObject", lost_answer=True)
    child = os.fork()
    if child == 0:
        try:
            local.connect(max_attempts=2).bucket("plain").put_object("k", b"child", if_absent=True)
            local.close()
            os._exit(0)
        except BaseException:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert (body_of(client), kinds_of(faults)) == (b"child", ["lost_answer"])


# -- the table of operations ----------------------------------------------------------------------------------------------------------


RENAMED = {
    "GetBucketLifecycle": "GetBucketLifecycleConfiguration",
    "PutBucketLifecycle": "PutBucketLifecycleConfiguration",
    "GetBucketNotification": "GetBucketNotificationConfiguration",
    "PutBucketNotification": "PutBucketNotificationConfiguration",
    "ListDirectoryBuckets": "ListBuckets",
}
"""boto3's older names of an operation, or of one with the same request."""


def requests_of_botocore() -> Iterator[tuple[str, ProxyRequest]]:
    """Every operation that boto3 has, with a request made from botocore's description of it."""
    model = botocore.loaders.Loader().load_service_model("s3", "service-2")
    for name, operation in model["operations"].items():
        shape = model["shapes"][operation["input"]["shape"]] if "input" in operation else {}
        required = {each: shape["members"][each] for each in shape.get("required", ())}
        path, _, query = operation["http"]["requestUri"].partition("?")
        names = [member["locationName"] for member in required.values() if member.get("location") == "querystring"]
        path = path.replace("{Bucket}", "a-bucket").replace("{Key+}", "a%20folder/key")
        target = path + "?" + "&".join(filter(None, [query, *(f"{each}=1" for each in names), f"x-id={name}"]))
        copied = "x-amz-copy-source: b/k\r\n" if "CopySource" in required else ""
        method = operation["http"]["method"]
        yield name, ProxyRequest(method, target, f"{method} {target} HTTP/1.1\r\n{copied}\r\n".encode())


def test_every_operation_of_boto3_is_recognised() -> None:
    """By method, path, query and headers; WriteGetObjectResponse goes to another host."""
    for name, request in requests_of_botocore():
        if name != "WriteGetObjectResponse":
            found = recognise(request)
            assert found.operation == RENAMED.get(name, name)
            assert found.key in ("", "a folder/key")
            assert found.operation in OPERATIONS


def test_a_request_is_named_without_what_changes() -> None:
    """Upload ids, versions, tokens and signatures differ between two runs; parts, ranges and prefixes do not."""

    def named(method: str, target: str, headers: str = "") -> tuple[str, ...]:
        return tuple(recognise(ProxyRequest(method, target, f"{method} {target} HTTP/1.1\r\n{headers}\r\n".encode())))

    assert named("PUT", "/b/k?uploadId=7&partNumber=2") == ("UploadPart", "b", "k", "partNumber=2")
    assert named("GET", "/b/k?versionId=7", "Range: bytes=0-9\r\n") == ("GetObject", "b", "k", "bytes=0-9")
    assert named("GET", "/b?list-type=2&prefix=p&continuation-token=t")[3] == "list-type=2&prefix=p"
    assert named("GET", "/b/k?X-Amz-Signature=s&X-Amz-Date=d") == ("GetObject", "b", "k", "")
    # plain boto3's presigned URL, signed with version 2
    assert named("GET", "/b/k?AWSAccessKeyId=a&Signature=s&Expires=1")[3] == ""
    assert named("GET", "/b?versions&key-marker=k&version-id-marker=7")[3] == "key-marker=k"
    assert named("GET", "/b?uploads&key-marker=k&upload-id-marker=7")[3] == "key-marker=k"
    assert named("OPTIONS", "/b/k")[0] == "Unknown"


@pytest.mark.parametrize(
    ("target", "is_scratch"),
    [
        ("/b?list-type=2&prefix=.mfs3-probe%2F", True),
        ("/b?uploads&prefix=d%2Fmfs3-probe-", True),
        ("/b/.mfs3-probe/0123456789abcdef/0", True),
        ("/mfs3-probe-0123456789abcdef?list-type=2", True),
        ("/b?list-type=2&prefix=d%2F", False),
    ],
)
def test_a_listing_of_scratch_objects_gets_no_faults_as_the_objects_get_none(target: str, is_scratch: bool) -> None:
    """Their number depends on what the process has asked before."""
    assert recognise(ProxyRequest("GET", target, f"GET {target} HTTP/1.1\r\n\r\n".encode())).is_scratch == is_scratch
