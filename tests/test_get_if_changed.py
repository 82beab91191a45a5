"""``get_object(key, if_none_match=etag)``: None when the object is unchanged."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from support.request_counting import Counted
from support.scripted_server import ScriptedServer, content_of, refusal

from messageflux_s3 import AsyncS3Store, S3AccessDenied, S3Bucket, S3NoSuchItem


def test_an_unchanged_object_is_none_and_a_changed_one_is_returned(bucket: S3Bucket) -> None:
    etag = bucket.put_object("k", "one").etag
    assert bucket.get_object("k", if_none_match=etag) is None
    assert bucket.get_object("k", if_none_match=f'"{etag}"') is None
    bucket.put_object("k", "two")
    found = bucket.get_object("k", if_none_match=etag)
    assert found is not None
    assert (found.text, found.etag == etag) == ("two", False)


def test_a_missing_object_is_missing_whatever_the_condition(bucket: S3Bucket) -> None:
    with pytest.raises(S3NoSuchItem):
        bucket.get_object("none", if_none_match="0" * 32)


def test_a_conditional_read_is_one_request(counted: Counted) -> None:
    etag = counted.bucket.put_object("k", "one").etag
    with counted.recording() as seen:
        assert counted.bucket.get_object("k", if_none_match=etag) is None
        assert counted.bucket.get_object("k", if_none_match="0" * 32) is not None
    assert [request.method for request in seen] == ["GET", "GET"]


def test_the_async_class_has_the_same_condition(counted: Counted) -> None:
    etag = counted.bucket.put_object("k", "one").etag

    async def read() -> list[Any]:
        async with AsyncS3Store(counted.store) as store:
            bucket = store.bucket(counted.bucket.name)
            unchanged = await bucket.get_object("k", if_none_match=etag)
            changed = await bucket.get_object("k", if_none_match="0" * 32)
            assert changed is not None
            return [unchanged, changed.body]

    with counted.recording() as seen:
        assert asyncio.run(read()) == [None, b"one"]
    assert [request.method for request in seen] == ["GET", "GET"]


@pytest.mark.parametrize(
    ("etag", "error"), [(b"abc", TypeError), ("", ValueError), ('""', ValueError), ("*", ValueError)]
)
def test_a_wrong_etag_is_rejected_before_anything_is_sent(
    moto_bucket: S3Bucket, etag: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match="if_none_match"):
        moto_bucket.get_object("none", if_none_match=etag)


@pytest.mark.parametrize("lane", [True, False], ids=["lane", "boto3"])
def test_a_store_that_ignores_the_condition_gives_none_for_the_same_etag(
    scripted_server: ScriptedServer, lane: bool
) -> None:
    scripted_server.answer = lambda asked: content_of(asked, b"hello", "abc")
    bucket = scripted_server.bucket(lane=lane)
    assert bucket.get_object("warm").body == b"hello"  # opens the lane
    assert bucket.get_object("k", if_none_match="abc") is None
    found = bucket.get_object("k", if_none_match="other")
    assert found is not None
    assert (found.body, found.etag) == (b"hello", "abc")


@pytest.mark.parametrize("lane", [True, False], ids=["lane", "boto3"])
def test_another_refusal_is_raised(scripted_server: ScriptedServer, lane: bool) -> None:
    scripted_server.answer = lambda asked: (
        content_of(asked, b"hello") if asked.key == "warm" else refusal(403, "AccessDenied")
    )
    bucket = scripted_server.bucket(lane=lane)
    assert bucket.get_object("warm").body == b"hello"
    with pytest.raises(S3AccessDenied):
        bucket.get_object("k", if_none_match="abc")
