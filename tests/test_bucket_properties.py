"""Attributes of a bucket: region, creation date, addresses; and lists of buckets by prefix and region."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest
from support.request_counting import Counted
from support.scripted_server import Asked, ScriptedServer, document, refusal
from support.servers import Server

from messageflux_s3 import AsyncS3Store, S3AccessDenied, S3Bucket, S3NoSuchBucket, S3Store

WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


def listing(*names: str, region: str = "") -> Any:
    regions = f"<BucketRegion>{region}</BucketRegion>" if region else ""
    entries = (
        f"<Bucket><Name>{name}</Name><CreationDate>2026-01-02T03:04:05.000Z</CreationDate>{regions}</Bucket>"
        for name in names
    )
    return document("ListAllMyBucketsResult", f"<Buckets>{''.join(entries)}</Buckets>")


def test_uri_and_url_of_a_bucket_begin_those_of_its_objects(moto: Server, moto_bucket: S3Bucket) -> None:
    obj = moto_bucket["a b.txt"]
    assert obj.uri == f"{moto_bucket.uri}/a b.txt"
    assert obj.url == f"{moto_bucket.url}/a%20b.txt"
    public = moto.connect(public_url="https://{bucket}.cdn.example/").bucket("invoices")
    assert (public.url, public["a"].url) == ("https://invoices.cdn.example", "https://invoices.cdn.example/a")


def test_region_and_creation_date_of_a_bucket(server: Server, bucket: S3Bucket) -> None:
    # radosgw has a zone group in place of a region, and names that.
    assert bucket.region == ("default" if server.name == "radosgw" else "us-east-1")
    created = bucket.creation_date
    assert created is not None
    assert created.tzinfo is timezone.utc


def test_region_of_a_bucket_in_another_region(moto_store: S3Store) -> None:
    made = moto_store.create_bucket("t-other-region-1", region="eu-west-1")
    try:
        assert moto_store.bucket("t-other-region-1").region == "eu-west-1"
        found = [bucket.name for bucket in moto_store.buckets(prefix="t-other-region", region="eu-west-1")]
        assert found == ["t-other-region-1"]
        assert [*moto_store.buckets(prefix="t-other-region", region="eu-west-2")] == []
    finally:
        made.delete_bucket()


def test_region_is_requested_once(counted: Counted) -> None:
    with counted.recording() as seen:
        region = counted.bucket.region
    # GET ?location is for servers that do not name the region in the response to HEAD.
    assert [request.method for request in seen] in (["HEAD"], ["HEAD", "GET"])
    with counted.recording() as seen:
        assert counted.store.bucket(counted.bucket.name).region == region
    assert seen == []


def test_creation_date_is_requested_once_and_not_for_a_listed_bucket(counted: Counted) -> None:
    with counted.recording() as seen:
        assert counted.bucket.creation_date == counted.bucket.creation_date
        [listed] = counted.store.buckets(prefix=counted.bucket.name)
        assert listed.creation_date == counted.bucket.creation_date
    assert [request.method for request in seen] == ["GET", "GET"]


@pytest.mark.parametrize("name", ["region", "creation_date"])
def test_attributes_of_a_missing_bucket_raise(store: S3Store, name: str) -> None:
    with pytest.raises(S3NoSuchBucket):
        getattr(store.bucket("t-missing-bucket-1"), name)


def test_buckets_are_listed_by_prefix(bucket: S3Bucket) -> None:
    assert [found.name for found in bucket.store.buckets(bucket.name[:-1]) if found == bucket] == [bucket.name]
    assert [*bucket.store.buckets("t-no-such-prefix")] == []


@pytest.mark.parametrize("arguments", [{"prefix": 1}, {"region": b"eu"}, {"prefix": ["a"]}])
def test_wrong_filters_are_rejected_at_once(moto_store: S3Store, arguments: Any) -> None:
    with pytest.raises(TypeError, match=next(iter(arguments))):
        moto_store.buckets(**arguments)


def test_filters_are_sent_to_aws_only(scripted_server: ScriptedServer) -> None:
    scripted_server.answer = lambda asked: listing("a-1", "b-1", region="us-east-1")
    of_aws = {"prefix": "a-", "bucket-region": "us-east-1", "max-buckets": "10000"}
    for preset, sent in (("aws", of_aws), ("other", {})):
        store = scripted_server.connect(preset=preset)
        assert [bucket.name for bucket in store.buckets("a-", "us-east-1")] == ["a-1"]
        asked = {name: value for name, value in scripted_server.asked[-1].query.items() if name != "x-id"}
        assert asked == sent


def test_a_region_that_aws_would_refuse_is_compared_here(scripted_server: ScriptedServer) -> None:
    """AWS refuses bucket-region for another region than that of the endpoint, and names regions if there is any parameter."""
    scripted_server.answer = lambda asked: listing("a-1", region="eu-west-1")
    store = scripted_server.connect(preset="aws")
    assert [bucket.region for bucket in store.buckets(region="eu-west-1")] == ["eu-west-1"]
    assert [*store.buckets(region="eu-west-2")] == []
    queries = [
        {name: value for name, value in asked.query.items() if name != "x-id"} for asked in scripted_server.asked
    ]
    assert queries == [{"max-buckets": "10000"}] * 2


def test_every_list_of_buckets_has_a_page_size_on_aws(scripted_server: ScriptedServer) -> None:
    """AWS rejects the others for an account whose quota is above 10,000 buckets."""
    scripted_server.answer = lambda asked: listing("a-1", region="us-east-1")
    store = scripted_server.connect(preset="aws")
    assert [bucket.name for bucket in store.buckets()] == ["a-1"]
    assert store.bucket("a-1").creation_date is not None
    assert [asked.query["max-buckets"] for asked in scripted_server.asked] == ["10000", "10000"]


def located(head: Callable[[], Any], location: Any) -> Callable[[Asked], Any]:
    return lambda asked: head() if asked.method == "HEAD" else location


@pytest.mark.parametrize(
    ("head", "location", "wanted"),
    [
        ((200, {"x-amz-bucket-region": "eu-west-3"}, b""), refusal(500, "InternalError"), "eu-west-3"),
        ((403, {"x-amz-bucket-region": "eu-west-3"}, b""), refusal(500, "InternalError"), "eu-west-3"),
        ((200, {}, b""), document("LocationConstraint", "EU"), "eu-west-1"),
        ((200, {}, b""), document("LocationConstraint"), "us-east-1"),
        ((200, {}, b""), document("ListBucketResult"), "us-east-1"),
        ((200, {}, b""), refusal(501, "NotImplemented"), "us-east-1"),
    ],
)
def test_where_a_region_is_found(scripted_server: ScriptedServer, head: Any, location: Any, wanted: str) -> None:
    scripted_server.answer = located(lambda: head, location)
    assert scripted_server.bucket().region == wanted


def test_a_denied_head_without_a_region_raises(scripted_server: ScriptedServer) -> None:
    scripted_server.answer = lambda asked: (403, {}, b"")
    with pytest.raises(S3AccessDenied):
        _ = scripted_server.bucket().region


def test_a_bucket_of_another_account_has_no_creation_date(scripted_server: ScriptedServer) -> None:
    scripted_server.answer = lambda asked: (200, {}, b"") if asked.method == "HEAD" else listing("bkt-2")
    assert scripted_server.bucket().creation_date is None


def test_async_buckets_have_their_attributes_after_load(counted: Counted) -> None:
    async def read() -> tuple[Any, ...]:
        async with AsyncS3Store(counted.store) as store:
            bucket = store.bucket(counted.bucket.name)
            for name in ("region", "creation_date"):
                with pytest.raises(RuntimeError, match=f"^{name} of .* is not loaded"):
                    getattr(bucket, name)
            await bucket.load()
            names = [found.name async for found in store.buckets(prefix=counted.bucket.name)]
            return bucket.uri, bucket.url, bucket.region, bucket.creation_date, names

    own = counted.bucket
    assert asyncio.run(read()) == (own.uri, own.url, own.region, own.creation_date, [own.name])


def test_a_loaded_async_bucket_without_the_right_to_list_buckets_has_its_region(
    scripted_server: ScriptedServer,
) -> None:
    scripted_server.answer = lambda asked: (
        (200, {"x-amz-bucket-region": "eu-west-3"}, b"") if asked.method == "HEAD" else refusal(403, "AccessDenied")
    )

    async def read() -> str:
        async with AsyncS3Store(scripted_server.connect()) as store:
            bucket = await store.bucket("bkt").load()
            with pytest.raises(RuntimeError, match="creation_date"):
                _ = bucket.creation_date
            return bucket.region

    assert asyncio.run(read()) == "eu-west-3"
