"""The mocks and recorders of users' own tests, in the process of the test: moto's ``mock_aws`` and botocore's ``Stubber``."""

from __future__ import annotations

import asyncio
import io
import logging
import pickle
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.stub import ANY, Stubber
from moto import mock_aws

import messageflux_s3 as s3
from messageflux_s3._client.connection import Connection
from messageflux_s3._objects import lock as locks

MODIFIED = datetime(2026, 1, 1, tzinfo=timezone.utc)


@pytest.fixture
def mocked(monkeypatch: pytest.MonkeyPatch) -> Iterator[s3.S3Bucket]:
    """A bucket of a mock in this process."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        yield s3.connect().create_bucket("mocked")


# -- locks ------------------------------------------------------------------------------------------------------------------------


def test_a_lock_works_under_mock_aws(mocked: s3.S3Bucket) -> None:
    """moto's answers have no Date header, and the first token of a lock is made of the store's time."""
    with mocked.lock("locks/a", owner="one") as lock:
        lock.check()
        lock.renew()
        first = lock.token
        with pytest.raises(s3.S3LockError, match="is held by 'one'") as held:
            mocked.lock("locks/a")
        assert held.value.lock_holder == "one"
    with mocked.lock("locks/a") as lock:
        assert lock.token == first + 1


def test_tokens_increase_under_mock_aws_when_the_lock_file_is_deleted_by_hand(mocked: s3.S3Bucket) -> None:
    with mocked.lock("locks/a") as lock:
        first = lock.token
    mocked.delete_object("locks/a")
    with mocked.lock("locks/a") as lock:
        assert lock.token > first


def test_an_expired_lease_is_taken_over_under_mock_aws_and_a_valid_one_is_not(
    mocked: s3.S3Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The age of the lease is by the local clock, which is also moto's."""
    abandoned = mocked.lock("locks/a", ttl=60)
    abandoned._stop_renewing()
    now = datetime.now(timezone.utc)
    clock = SimpleNamespace(now=lambda zone: now + timedelta(seconds=50))
    monkeypatch.setattr(locks, "datetime", clock)
    with pytest.raises(s3.S3LockError):
        mocked.lock("locks/a")
    clock.now = lambda zone: now + timedelta(seconds=70)
    assert mocked.lock("locks/a").token == abandoned.token + 1


def test_a_clock_that_stands_still_under_mock_aws_is_named(
    mocked: s3.S3Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under a tool that freezes the time: without a later second no first token can be issued."""
    now = datetime.now(timezone.utc)
    monkeypatch.setattr(locks, "datetime", SimpleNamespace(now=lambda zone: now))
    monkeypatch.setattr(locks, "_CLOCK_IS_STUCK", 0.3)
    with pytest.raises(s3.S3ServerError, match="clock does not advance"):
        mocked.lock("locks/a")


def test_an_async_lock_works_under_mock_aws(mocked: s3.S3Bucket) -> None:
    async def take() -> int:
        async with s3.async_connect() as store, store.bucket("mocked").lock("locks/a") as lock:
            return lock.token

    assert asyncio.run(take()) > 0


def test_a_lock_still_needs_a_date_from_a_store_that_is_not_mocked(
    mocked: s3.S3Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The local clock may be hours off that of a real store."""
    monkeypatch.setattr(locks, "is_moto_active", lambda: False)
    with pytest.raises(s3.S3ConnectionError, match="no Date header"):
        mocked.lock("locks/a")


# -- connections ------------------------------------------------------------------------------------------------------------------


def test_connect_makes_a_new_client_under_mock_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """As boto3.client() does: one made before moto was imported would reach the real store."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    settings = {"region": "us-east-1", "connect_timeout": 4}
    before = s3.connect(**settings)
    assert s3.connect(**settings).client is before.client
    with mock_aws():
        inside = s3.connect(**settings)
        assert inside.client is not before.client
        inside.create_bucket("mocked")
        assert [bucket.name for bucket in inside.buckets()] == ["mocked"]
        key = inside.client._get_credentials().access_key  # type: ignore[attr-defined]
    assert s3.connect(**settings).client is before.client
    assert key == "FOOBARKEY" and before.client is not inside.client


def test_a_module_that_only_looks_like_moto_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "moto.core.models", SimpleNamespace())  # type: ignore[arg-type]
    config = s3.S3Config(region="us-east-1")
    assert Connection.open(config) is Connection.open(config)


# -- what else sends its requests in another way than most calls ---------------------------------------------------------------------


def test_a_probe_works_under_mock_aws_and_logs_no_exception(
    mocked: s3.S3Bucket, caplog: pytest.LogCaptureFixture
) -> None:
    """It sets a timeout on the socket of some responses; moto's have none."""
    with caplog.at_level(logging.WARNING):
        found = mocked.store.probe("mocked")
    assert found.ranges is True and found.put_if_match in (
        "honoured",
        "sequential",
    )  # in a process moto is not safe for races
    assert [record for record in caplog.records if record.exc_info] == []
    assert list(mocked.find()) == []


def test_large_objects_files_and_bulk_calls_work_under_mock_aws(mocked: s3.S3Bucket) -> None:
    """Uploads in parts, ranges, read-ahead, many requests at a time."""
    data = bytes(range(256)) * (20 * 4096)
    mocked.upload_object("large", io.BytesIO(data))
    assert mocked["large"].body == data and mocked["large"].read_range(-3) == data[-3:]
    with mocked["file"].open("wb") as file:
        file.write(data)
    with mocked["file"].open("rb") as file:
        file.seek(-10, 2)
        assert file.read() == data[-10:]
    mocked.put_objects([(f"many/{number:02}", b"x") for number in range(30)])
    assert [obj.body for obj in mocked.find(prefix="many/").prefetch()] == [b"x"] * 30
    assert len(mocked.find(prefix="many/").delete().succeeded) == 30


def test_a_store_made_before_a_mock_works_in_several_mocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that a program makes at import; nothing is remembered from one mock to the next."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    store = s3.connect(connect_timeout=6)
    for value in (b"1", b"2"):
        with mock_aws():
            bucket = store.create_bucket("mocked")
            assert not bucket["k"].exists()
            bucket.put_object("k", value, if_absent=True)
            bucket.versioning.enable()
            assert bucket["k"].body == value


# -- Stubber ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def stubbed() -> Iterator[tuple[s3.S3Bucket, Stubber]]:
    """A bucket of a store with a client that a Stubber answers for, and the Stubber."""
    resource = boto3.resource(
        "s3", region_name="us-east-1", aws_access_key_id="stubbed", aws_secret_access_key="stubbed"
    )
    with Stubber(resource.meta.client) as stubber:
        yield s3.S3Store.from_resource(resource).bucket("stubbed"), stubber
        stubber.assert_no_pending_responses()


def test_calls_take_their_answers_from_a_stubber(stubbed: tuple[s3.S3Bucket, Stubber]) -> None:
    bucket, stubber = stubbed
    stubber.add_response("put_object", {"ETag": '"e1"'}, {"Bucket": "stubbed", "Key": "k", "Body": ANY, "Metadata": {}})
    assert bucket.put_object("k", b"hello").etag == "e1"
    stubber.add_response(
        "get_object",
        {
            "Body": _body(b"hello"),
            "ContentLength": 5,
            "ETag": '"e1"',
            "LastModified": MODIFIED,
        },
        {"Bucket": "stubbed", "Key": "k"},
    )
    assert bucket.get_object("k").body == b"hello"
    stubber.add_client_error("head_object", "404", "Not Found", 404)
    assert not bucket["k"].exists()
    entry: dict[str, Any] = {"Key": "k", "Size": 5, "ETag": '"e1"', "LastModified": MODIFIED}
    stubber.add_response("list_objects_v2", {"Contents": [entry], "IsTruncated": False})
    assert [(obj.key, obj.size) for obj in bucket.find()] == [("k", 5)]
    stubber.add_response("delete_object", {})
    bucket.delete_object("k")


def _body(content: bytes) -> Any:
    from botocore.response import StreamingBody

    return StreamingBody(io.BytesIO(content), len(content))


def test_a_stubber_can_answer_with_empty_listings(stubbed: tuple[s3.S3Bucket, Stubber]) -> None:
    """It sends no document, so that the document's root cannot show whether this is a listing."""
    bucket, stubber = stubbed
    stubber.add_response("list_objects_v2", {})
    assert list(bucket.find()) == []
    stubber.add_response("list_object_versions", {})
    assert list(bucket.find(versions=True)) == []


@pytest.mark.parametrize("name", ["LastModified", "Size"])
def test_a_stubbed_entry_without_what_every_listing_has_is_named(
    stubbed: tuple[s3.S3Bucket, Stubber], name: str
) -> None:
    bucket, stubber = stubbed
    entry: dict[str, Any] = {"Key": "k", "Size": 5, "LastModified": MODIFIED}
    del entry[name]
    stubber.add_response("list_objects_v2", {"Contents": [entry]})
    with pytest.raises(s3.S3ServerError, match=f"s3://stubbed/: the listing's entry of 'k' has no {name}"):
        list(bucket.find())


def test_an_error_of_a_stubber_becomes_that_of_the_store(stubbed: tuple[s3.S3Bucket, Stubber]) -> None:
    bucket, stubber = stubbed
    stubber.add_client_error("get_object", "NoSuchKey", "none", 404)
    with pytest.raises(s3.S3NoSuchItem):
        bucket.get_object("k")
    stubber.add_client_error("put_object", "SlowDown", "slow", 503)
    with pytest.raises(s3.S3Throttled):
        bucket.put_object("k", b"")
    stubber.add_client_error("put_object", "PreconditionFailed", "exists", 412)
    with pytest.raises(s3.S3ObjectExists):
        bucket.put_object("k", b"", if_absent=True)


# -- stores


def test_stores_with_equal_settings_are_equal_under_mock_aws(mocked: s3.S3Bucket) -> None:
    """Each connect() makes a client of its own there."""
    assert s3.connect() == mocked.store == pickle.loads(pickle.dumps(mocked.store))
    assert s3.connect() != s3.connect(region="eu-west-1")
