"""S3Bucket: creation and existence, messageflux's constructors, and URLs."""

from __future__ import annotations

import asyncio
import pickle
import re
import uuid
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError
from support.proxy import Fault, run_proxy, scripted
from support.request_counting import Counted
from support.scripted_server import Answer, Asked, ScriptedServer, content_of, document, refusal
from support.servers import Server
from support.stateful_server import DocumentStore

import messageflux_s3 as s3
from messageflux_s3.subresources.lifecycle import LifecycleConfiguration


def fresh() -> str:
    return f"made-{uuid.uuid4().hex[:12]}"


@pytest.mark.parametrize("name", ["", "a", "-abc", ".abc", "a b", "a/b", "x" * 256, "abc\n", "ünï"])
def test_an_invalid_bucket_name_raises_without_a_request(moto_store: s3.S3Store, name: str) -> None:
    """By every constructor, before any request."""
    for make in (moto_store.bucket, moto_store.create_bucket, lambda it: s3.S3Bucket(it, moto_store)):
        with pytest.raises(s3.S3InvalidName, match="bucket name"):
            make(name)


def test_a_bucket_name_of_another_type_raises(moto_store: s3.S3Store) -> None:
    """Other types raise TypeError."""
    with pytest.raises(TypeError, match="bucket_name"):
        moto_store.bucket(7)  # type: ignore[arg-type]


def test_the_constructor_checks_that_the_bucket_exists_or_creates_it(store: s3.S3Store) -> None:
    """It sends a HEAD, then raises, or creates the bucket."""
    name = fresh()
    with pytest.raises(s3.S3NoSuchBucket, match=name):
        s3.S3Bucket(name, store.resource)
    bucket = s3.S3Bucket(bucket_name=name, s3_resource=store.resource, auto_create=True)
    assert bucket.exists()
    assert s3.S3Bucket(name, store).name == name
    bucket.delete_bucket()
    assert not bucket.exists()


def test_creating_a_bucket_is_idempotent(store: s3.S3Store) -> None:
    """Row 24: a bucket that we own already is a success, unless exist_ok=False."""
    name = fresh()
    bucket = store.create_bucket(name)
    assert store.create_bucket(name) == bucket
    with pytest.raises(s3.S3BucketExists, match="exist_ok"):
        store.create_bucket(name, exist_ok=False)
    bucket.delete_bucket()


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1"])
def test_a_bucket_is_created_in_its_region(moto: Server, region: str) -> None:
    """Row 24: the location constraint is omitted in us-east-1, and sent in other regions."""
    bucket = moto.connect(region=region).create_bucket(fresh())
    where = moto.client().get_bucket_location(Bucket=bucket.name)["LocationConstraint"]
    assert where in (region, None if region == "us-east-1" else region)
    other = moto.connect().create_bucket(fresh(), region=region)
    assert other.put_object("k", "x").reload().body == b"x"
    bucket.delete_bucket()
    other.delete_bucket(force=True)


class Sub(s3.S3Bucket):
    """A user's subclass."""


def test_create_bucket_and_list_buckets_of_a_subclass_return_the_subclass(moto_store: s3.S3Store) -> None:
    """create_bucket and list_buckets are classmethods."""
    name = fresh()
    assert type(Sub.create_bucket(moto_store.resource, name)) is Sub
    found = [bucket for bucket in Sub.list_buckets(moto_store) if bucket.name == name]
    assert [type(bucket) for bucket in found] == [Sub]
    found[0].delete_bucket()


def test_listing_buckets_is_one_request(counted: Counted) -> None:
    """No HEAD is sent for each bucket."""
    with counted.recording() as requests:
        assert counted.bucket in list(counted.store.buckets())
    assert len(requests) == 1


def test_a_bucket_with_objects_is_deleted_with_force_only(store: s3.S3Store) -> None:
    """A bucket with objects needs force=True."""
    bucket = store.create_bucket(fresh())
    bucket.put_object("k", "x")
    with pytest.raises(s3.S3BucketNotEmpty, match="force=True"):
        bucket.delete_bucket()
    assert bucket.exists()
    bucket.delete_bucket(force=True)
    assert not bucket.exists()


def test_clear_objects_keeps_the_bucket(bucket: s3.S3Bucket) -> None:
    """Only the objects are deleted."""
    for n in range(5):
        bucket.put_object(f"d/{n}", "x")
    bucket.clear_objects()
    assert bucket.find().count() == 0
    assert bucket.exists()


@pytest.mark.parametrize("key", ["a b+c%20d", "ünï/☃", "q?x=1&y#z", "plain/key.txt"])
def test_urls_are_quoted(moto: Server, key: str) -> None:
    """messageflux did not quote them; a plain HTTP client can read the object."""
    from urllib.request import urlopen

    bucket = moto.connect().create_bucket(fresh(), allow_public_access=True)
    obj = bucket.put_object(key, "text")
    assert obj.url == bucket.compute_url(key)
    with urlopen(obj.url) as answer:
        assert answer.read() == b"text"
    bucket.delete_bucket(force=True)


def test_urls_use_public_url_in_place_of_the_endpoint(moto: Server) -> None:
    """With and without ``{bucket}`` in it."""
    assert (
        moto.connect(public_url="https://cdn.example/").bucket("abc").compute_url("a b") == "https://cdn.example/a%20b"
    )
    named = moto.connect(public_url="https://{bucket}.cdn.example")
    assert named.bucket("abc").object("k").url == "https://abc.cdn.example/k"


def test_create_bucket_sets_lifetime_and_public_access(moto: Server) -> None:
    """One call, as in messageflux, checked with plain boto3."""
    bucket = moto.connect().create_bucket(fresh(), lifetime_in_days=30, allow_public_access=True)
    client = moto.client()
    rules: list[Any] = client.get_bucket_lifecycle_configuration(Bucket=bucket.name)["Rules"]
    assert [(rule["Status"], rule["Expiration"]["Days"]) for rule in rules] == [("Enabled", 30)]
    assert '"s3:GetObject"' in client.get_bucket_policy(Bucket=bucket.name)["Policy"]
    bucket.set_lifetime_in_days(0)
    try:
        left: list[Any] = client.get_bucket_lifecycle_configuration(Bucket=bucket.name)["Rules"]
    except ClientError:
        left = []
    assert [rule for rule in left if rule["Status"] == "Enabled"] == []
    bucket.delete_bucket(force=True)


def test_lifecycle_on_a_store_without_it_raises_unsupported_and_changes_nothing(rclone_bucket: s3.S3Bucket) -> None:
    """On rclone PUT and DELETE of ?lifecycle would touch the bucket itself."""
    rclone_bucket.put_object("k", "x")
    with pytest.raises(s3.S3Unsupported):
        rclone_bucket.set_lifetime_in_days(3)
    with pytest.raises(s3.S3Unsupported):
        rclone_bucket.allow_public_access()
    assert [obj.key for obj in rclone_bucket.find()] == ["k"]


def test_buckets_are_equal_by_name_and_endpoint(moto: Server, rclone: Server) -> None:
    """Equality does not depend on identity."""
    assert moto.connect().bucket("abc") == moto.connect().bucket("abc")
    assert moto.connect().bucket("abc") != rclone.connect().bucket("abc")


@pytest.mark.parametrize("kind", ["reset_after", "stall_after", "500_after"])
def test_deleting_a_bucket_succeeds_after_a_lost_response(kind: str, server: Server) -> None:
    """The second attempt finds no bucket, since the first has deleted it; a bucket that was never there is still an error."""
    name = f"t-{uuid.uuid4().hex[:12]}"
    server.connect().create_bucket(name)
    with run_proxy(server.endpoint_url, scripted({("DELETE", ""): [Fault(kind, seconds=0.7)]})) as proxy:
        store = server.connect(endpoint_url=proxy.endpoint_url, read_timeout=0.5, max_attempts=2)
        store.bucket(name).delete_bucket()
        assert proxy.counts()[kind] == 1
        with pytest.raises(s3.S3NoSuchBucket):
            store.bucket(name).delete_bucket()
        store.close()
    assert not server.connect().bucket(name).exists()


@pytest.mark.parametrize("faults", [1, 9])
def test_a_clock_skew_error_is_not_reported_as_a_foreign_bucket(
    faults: int, server: Server, bucket: s3.S3Bucket
) -> None:
    """The 403 of a HEAD has no code, so another request is sent to find out."""
    with run_proxy(server.endpoint_url) as proxy:
        left = [Fault("skewed_before")] * faults
        proxy.restart(lambda *_: left.pop() if left else None)
        store = server.connect(endpoint_url=proxy.endpoint_url, max_attempts=2)
        if faults == 1:
            assert store.create_bucket(bucket.name) == store.bucket(bucket.name)
        else:
            with pytest.raises(s3.S3AuthenticationError):
                store.create_bucket(bucket.name)
        store.close()


def test_a_truncated_bucket_listing_raises_instead_of_being_empty(server: Server, bucket: s3.S3Bucket) -> None:
    """A response cut off in its headers has no document; the request is retried."""
    with run_proxy(server.endpoint_url, scripted({("GET", ""): [Fault("cut_head", 0.4)]})) as proxy:
        store = server.connect(endpoint_url=proxy.endpoint_url, max_attempts=2)
        assert bucket.name in [found.name for found in store.buckets()]
        assert proxy.counts()["cut_head"] == 1
        store.close()


def test_a_handle_is_not_equal_to_anything_else(moto_bucket: s3.S3Bucket) -> None:
    """``in`` with anything but text raises TypeError."""
    assert (moto_bucket == moto_bucket.name, moto_bucket["k"] == "k") == (False, False)
    assert len({moto_bucket, moto_bucket.store.bucket(moto_bucket.name)}) == 1
    assert len({moto_bucket["k"], moto_bucket["k"]}) == 1
    with pytest.raises(TypeError, match="key must be text, not int"):
        _ = 7 in moto_bucket


def test_buckets_are_listed_page_by_page(scripted_server: ScriptedServer) -> None:
    """Until the response has no continuation token."""

    def answer(asked: Asked) -> Answer:
        at = int(asked.query.get("continuation-token", "0"))
        more = f"<ContinuationToken>{at + 1}</ContinuationToken>" if at < 2 else ""
        return document("ListAllMyBucketsResult", f"<Buckets><Bucket><Name>bucket-{at}</Name></Bucket></Buckets>{more}")

    scripted_server.answer = answer
    store = scripted_server.connect()
    assert [bucket.name for bucket in store.buckets()] == ["bucket-0", "bucket-1", "bucket-2"]
    assert len(scripted_server.asked) == 3
    assert "3 buckets" in store.show().text


def test_a_listing_of_buckets_that_never_ends_is_an_error(scripted_server: ScriptedServer) -> None:
    """A store that returns the same token again and again would cause endless requests."""
    page = "<Buckets><Bucket><Name>abc</Name></Bucket></Buckets><ContinuationToken>again</ContinuationToken>"
    scripted_server.answer = lambda asked: document("ListAllMyBucketsResult", page)
    with pytest.raises(s3.S3Error, match="same next token") as caught:
        list(scripted_server.connect().buckets())
    assert (caught.value.operation, len(scripted_server.asked)) == ("ListBuckets", 2)


def test_the_end_of_a_listing_of_buckets_does_not_change_is_online(scripted_server: ScriptedServer) -> None:
    """The end of the pages needs no request."""
    scripted_server.answer = lambda asked: (
        document("ListAllMyBucketsResult", "<Buckets><Bucket><Name>abc</Name></Bucket></Buckets>")
        if not asked.key
        else refusal(403, "InvalidAccessKeyId")
    )
    store = scripted_server.connect()
    for bucket in store.buckets():
        assert store.is_online
        with pytest.raises(s3.S3AuthenticationError):
            bucket["k"].body  # noqa: B018
        is_online = store.is_online
    assert store.is_online is is_online


class RecordedResource:
    """A boto3 resource that records which of its attributes are used."""

    def __init__(self, resource: Any) -> None:
        self._resource = resource
        self.used: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name in ("Bucket", "buckets", "create_bucket"):
            self.used.append(name)
        return getattr(self._resource, name)


def test_buckets_are_created_listed_and_deleted_through_the_given_resource(scripted_server: ScriptedServer) -> None:
    """Buckets through the resource's actions; objects through its client."""
    answers: dict[str, Answer] = {"HEAD": refusal(404, ""), "GET": document("ListAllMyBucketsResult")}
    scripted_server.answer = lambda asked: (
        document("ListBucketResult")
        if asked.method == "GET" and asked.target.startswith("/abc")
        else answers.get(asked.method, (200, {}, b""))
    )
    resource = boto3.resource(
        "s3",
        endpoint_url=scripted_server.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
    )
    recorded: Any = RecordedResource(resource)
    bucket = s3.S3Bucket.create_bucket(recorded, "abc")
    bucket.delete_object("k")
    list(s3.S3Bucket.list_buckets(recorded))
    bucket.delete_bucket()
    assert recorded.used == ["Bucket", "buckets", "Bucket"]


@pytest.mark.parametrize("lane", [True, False], ids=["lane", "boto3"])
def test_a_bucket_with_a_legacy_name_is_listed_and_read(
    scripted_server: ScriptedServer, lane: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """One such name must not hide the other buckets, nor the events of one message; a new bucket of such a name is still refused."""
    names = ["aaa", "Old_Bucket", "../x", "a/b", "zzz"]
    listed = "".join(f"<Bucket><Name>{name}</Name></Bucket>" for name in names)

    def answer(asked: Asked) -> Answer:
        return (
            content_of(asked, b"content")
            if asked.key
            else document("ListAllMyBucketsResult", f"<Buckets>{listed}</Buckets>")
        )

    scripted_server.answer = answer
    store = scripted_server.connect()
    if not lane:
        store._connection.lane.shut("shut for this test")
    assert [found.name for found in store.buckets()] == ["aaa", "Old_Bucket", "zzz"]
    assert [found.name for found in s3.S3Bucket.list_buckets(store.resource)] == ["aaa", "Old_Bucket", "zzz"]
    assert sum("left out of the listing" in record.message for record in caplog.records) == 4
    [old] = [found for found in store.buckets() if found.name == "Old_Bucket"]
    assert (old["k"].body, old["k"].exists(), old["k"].uri) == (b"content", True, "s3://Old_Bucket/k")
    assert pickle.loads(pickle.dumps(old)).name == "Old_Bucket"
    places = [{"bucket": {"name": name}, "object": {"key": "k"}} for name in ("aaa", "Old_Bucket")]
    records = [{"eventName": "ObjectCreated:Put", "s3": place} for place in places]
    assert [obj.body for obj in store.objects_from({"Records": records})] == [b"content"] * 2
    assert store.bucket("Old_Bucket") == old
    with pytest.raises(s3.S3InvalidName):
        store.create_bucket("Old_Bucket")


CREATIONS: dict[str, tuple[list[Answer], list[str], type[Exception] | None]] = {
    "refused": ([refusal(403, ""), refusal(403, "AccessDenied")], ["HEAD", "GET"], s3.S3AccessDenied),
    "refused, and no HEAD for us": ([refusal(403, ""), refusal(403, "AllAccessDisabled")], ["HEAD", "GET"], s3.S3AccessDenied),
    "ours, and no HEAD for us": ([refusal(403, ""), document("ListBucketResult")], ["HEAD", "GET"], None),
    "not there, and no HEAD for us": (
        [refusal(403, ""), refusal(404, "NoSuchBucket"), (200, {}, b"")], ["HEAD", "GET", "PUT"], None,
    ),
    "ours, and said so": ([refusal(404, ""), refusal(409, "BucketAlreadyOwnedByYou")], ["HEAD", "PUT"], None),
    "ours, and not said so": ([refusal(404, ""), refusal(409, "BucketAlreadyExists"), (200, {}, b"")], ["HEAD", "PUT", "HEAD"], None),
    "theirs, and hidden": (
        [refusal(404, ""), refusal(409, "BucketAlreadyExists"), refusal(403, "")], ["HEAD", "PUT", "HEAD"], s3.S3BucketExists,
    ),
    "theirs, and gone": (
        [refusal(404, ""), refusal(409, "BucketAlreadyExists"), refusal(404, "")], ["HEAD", "PUT", "HEAD"], s3.S3BucketExists,
    ),
    "regions of its own": (
        [refusal(404, ""), refusal(400, "InvalidLocationConstraint"), (200, {}, b"")], ["HEAD", "PUT", "PUT"], None,
    ),
    "no leave": ([refusal(404, ""), refusal(403, "AccessDenied")], ["HEAD", "PUT"], s3.S3AccessDenied),
}  # fmt: skip


@pytest.mark.parametrize(("answers", "asked", "error"), CREATIONS.values(), ids=CREATIONS)
def test_creating_a_bucket_whose_name_is_taken_tells_whether_it_is_ours(
    scripted_server: ScriptedServer, answers: list[Answer], asked: list[str], error: type[Exception] | None
) -> None:
    """For every response to a taken name: our own bucket is a success, another account's raises S3BucketExists."""
    scripted_server.answer = lambda _: answers[len(scripted_server.asked) - 1]
    store = scripted_server.connect(region="eu-x-1")
    if error is None:
        assert store.create_bucket("bucket").name == "bucket"
    else:
        with pytest.raises(error):
            store.create_bucket("bucket")
    assert [one.method for one in scripted_server.asked] == asked
    bodies = [one.body for one in scripted_server.asked if one.method == "PUT"]
    assert [b"eu-x-1" in body for body in bodies] == [True, False][: len(bodies)]


ENSURING: dict[str, Callable[[s3.S3Store], object]] = {
    "store.create_bucket()": lambda store: store.create_bucket("bucket"),
    "store.create_bucket(exist_ok=True)": lambda store: store.create_bucket("bucket", exist_ok=True),
    "store.create_bucket(exist_ok=False)": lambda store: store.create_bucket("bucket", exist_ok=False),
    "store.create_bucket(region)": lambda store: store.create_bucket("bucket", region="eu-x-2"),
    "S3Bucket.create_bucket()": lambda store: s3.S3Bucket.create_bucket(store, "bucket"),
    "S3Bucket.create_bucket(resource)": lambda store: s3.S3Bucket.create_bucket(store.resource, "bucket"),
    "S3Bucket(auto_create=True)": lambda store: s3.S3Bucket("bucket", store.resource, auto_create=True),
    "S3Bucket()": lambda store: s3.S3Bucket("bucket", store.resource),
    "exists()": lambda store: store.bucket("bucket").exists(),
    "await store.create_bucket()": lambda store: asyncio.run(s3.AsyncS3Store(store).create_bucket("bucket")),
}


@pytest.mark.parametrize("preset", ["aws", "other"])
@pytest.mark.parametrize("ensure", ENSURING.values(), ids=ENSURING)
def test_a_refusal_while_ensuring_a_bucket_is_access_denied(
    scripted_server: ScriptedServer, preset: str, ensure: Callable[[s3.S3Store], object]
) -> None:
    """With exist_ok or without: a 403 says neither that the bucket exists nor that the name is free. Nothing is created."""
    scripted_server.answer = lambda asked: refusal(403, "AccessDenied")
    with pytest.raises(s3.S3AccessDenied) as caught:
        ensure(scripted_server.connect(preset=preset))
    error = caught.value
    assert not isinstance(error, FileExistsError)
    assert (error.bucket, error.status, error.key) == ("bucket", 403, None)
    assert error.operation in ("HeadBucket", "ListObjectsV2")
    assert "PUT" not in [asked.method for asked in scripted_server.asked]
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize("make", [lambda store, name: store.create_bucket(name, region="eu-x-2"),
                                  lambda store, name: asyncio.run(s3.AsyncS3Store(store).create_bucket(name, region="eu-x-2"))],
                         ids=["sync", "async"])  # fmt: skip
def test_a_bucket_in_another_region_is_created_with_the_credentials_of_the_given_resource(
    scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, make: Callable[[s3.S3Store, str], Any]
) -> None:
    """Credentials of the environment may belong to another account; without credentials in the resource it raises, and nothing is sent."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ENVIRONMENT1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    answers: dict[str, Answer] = {
        "HEAD": refusal(404, ""),
        "PUT": (200, {}, b""),
        "GET": document("LocationConstraint", "eu-x-2"),
    }
    scripted_server.answer = lambda asked: answers[asked.method]
    resource = boto3.resource(
        "s3",
        endpoint_url=scripted_server.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="RESOURCE0001",
        aws_secret_access_key="secret",
    )
    bucket = make(s3.S3Store.from_resource(resource), "bucket")
    assert bucket.name == "bucket"
    assert [asked.method for asked in scripted_server.asked] == ["HEAD", "PUT", "GET"]
    assert all("Credential=RESOURCE0001/" in asked.headers["authorization"] for asked in scripted_server.asked)
    assert all("/eu-x-2/s3/" in asked.headers["authorization"] for asked in scripted_server.asked)
    assert b"eu-x-2" in scripted_server.asked[1].body
    scripted_server.asked.clear()
    unsigned = boto3.resource(
        "s3",
        endpoint_url=scripted_server.endpoint_url,
        region_name="us-east-1",
        config=Config(signature_version=UNSIGNED),
    )
    with pytest.raises(s3.S3AuthenticationError, match="no credentials"):
        s3.S3Store.from_resource(unsigned).create_bucket("bucket", region="eu-x-2")
    assert scripted_server.asked == []


LOCATIONS: dict[str, tuple[Answer, bool]] = {
    "the region asked for": (document("LocationConstraint", "eu-west-1"), True),
    "its old name": (document("LocationConstraint", "EU"), True),
    "in upper case": (document("LocationConstraint", "EU-WEST-1"), True),
    "another": (document("LocationConstraint", "default"), False),
    "none": (document("LocationConstraint"), False),
    "a listing": (document("ListBucketResult", "<Name>bucket</Name>"), False),
    "no document": ((200, {}, b""), False),
    "refused": (refusal(403, "AccessDenied"), False),
    "not implemented": (refusal(501, "NotImplemented"), False),
}


@pytest.mark.parametrize(("location", "is_right"), LOCATIONS.values(), ids=LOCATIONS)
def test_create_bucket_raises_unsupported_if_the_store_does_not_confirm_the_region(
    scripted_server: ScriptedServer, location: Answer, is_right: bool
) -> None:
    """The new bucket is deleted again. Case does not matter, AWS is trusted, and a region that was not given is not compared."""
    place = OneBucket(scripted_server)
    place.location = location
    if is_right:
        assert scripted_server.connect().create_bucket("bucket", region="eu-west-1").name == "bucket"
    else:
        said = r"'bucket' was to be created in the region 'eu-west-1'.* the bucket 'bucket', made by this call, was deleted again"
        with pytest.raises(s3.S3Unsupported, match=said):
            scripted_server.connect().create_bucket("bucket", region="eu-west-1", lifetime_in_days=0)
    sent = [asked.method for asked in scripted_server.asked]
    assert (sent[:3], sent[3:]) == (["HEAD", "PUT", "GET"], [] if is_right else ["GET", "DELETE"])
    assert place.exists == is_right
    for settings, region in (({}, None), ({"region": "eu-west-1"}, None), ({"preset": "aws"}, "eu-west-1")):
        place.exists = False
        scripted_server.asked.clear()
        scripted_server.connect(**settings).create_bucket("bucket", region=region)
        assert "GET" not in [asked.method for asked in scripted_server.asked]


@pytest.mark.parametrize("location", [answer for answer, is_right in LOCATIONS.values() if not is_right])
def test_a_bucket_that_existed_before_is_not_deleted_if_it_is_in_another_region(
    scripted_server: ScriptedServer, location: Answer
) -> None:
    """Although it is empty; and it gets no settings."""
    place = OneBucket(scripted_server, exists=True)
    place.location = location
    with pytest.raises(s3.S3Unsupported, match="the bucket 'bucket' stands; it may have existed before"):
        scripted_server.connect().create_bucket("bucket", region="eu-west-1", lifetime_in_days=3)
    assert place.exists
    assert {asked.method for asked in scripted_server.asked} == {"HEAD", "GET"}


def test_us_east_1_is_confirmed_as_every_region_is(scripted_server: ScriptedServer) -> None:
    """An empty location is us-east-1. Ceph's radosgw answers "default"."""
    place = OneBucket(scripted_server)
    place.location = document("LocationConstraint")
    assert scripted_server.connect().create_bucket("bucket", region="us-east-1").name == "bucket"
    place.exists, place.location = False, document("LocationConstraint", "default")
    with pytest.raises(s3.S3Unsupported, match="says that it is in 'default'"):
        scripted_server.connect().create_bucket("bucket", region="us-east-1")
    assert not place.exists


@pytest.mark.parametrize("there", ["eu-west-1", "eu-west-3"])
def test_a_bucket_of_aws_that_existed_before_in_another_region_is_not_returned(
    scripted_server: ScriptedServer, there: str
) -> None:
    """It is not where it was to be created."""
    scripted_server.answer = lambda asked: (200, {"x-amz-bucket-region": there}, b"")
    store = scripted_server.connect(preset="aws")
    if there == "eu-west-1":
        assert store.create_bucket("bucket", region="eu-west-1").name == "bucket"
    else:
        with pytest.raises(s3.S3BucketExists, match="'eu-west-3'"):
            store.create_bucket("bucket", region="eu-west-1")
    assert {asked.method for asked in scripted_server.asked} == {"HEAD"}


@pytest.mark.parametrize("region", ["eu-west-1", "us-east-1"])
def test_a_region_is_confirmed_or_refused_and_no_bucket_is_left(server: Server, region: str) -> None:
    """rclone has no regions."""
    name, client = fresh(), server.client()
    before = [found["Name"] for found in client.list_buckets()["Buckets"]]
    try:
        bucket = server.connect().create_bucket(name, region=region)
    except s3.S3Unsupported:
        assert [found["Name"] for found in client.list_buckets()["Buckets"]] == before
        return
    assert (client.get_bucket_location(Bucket=name)["LocationConstraint"] or "us-east-1") == region
    bucket.delete_bucket()


def test_bucket_already_exists_on_aws_means_another_owner(scripted_server: ScriptedServer) -> None:
    """On AWS BucketAlreadyExists means another owner."""
    answers = [refusal(404, ""), refusal(409, "BucketAlreadyExists")]
    scripted_server.answer = lambda _: answers[len(scripted_server.asked) - 1]
    with pytest.raises(s3.S3BucketExists):
        scripted_server.connect(preset="aws").create_bucket("bucket")
    assert len(scripted_server.asked) == 2


def test_versions_are_deleted_among_keys(moto_bucket: s3.S3Bucket) -> None:
    """A handle on a version deletes only that version; whether the bucket is versioned is requested once."""
    moto_bucket.versioning.enable()
    first = moto_bucket.put_object("k", "one")
    moto_bucket.put_object("k", "two")
    moto_bucket.put_object("gone", "x")
    assert moto_bucket.delete_objects([moto_bucket.object("k", first.version_id), "gone"]).succeeded == ["k", "gone"]
    assert [version.text for version in moto_bucket["k"].versions()] == ["two"]


def test_show_leaves_out_settings_that_cannot_be_read(scripted_server: ScriptedServer) -> None:
    """A setting that is denied or gets no response does not make show() fail."""
    listing = document("ListBucketResult", "<IsTruncated>false</IsTruncated>")

    def answer(asked: Asked) -> Answer:
        if "list-type" in asked.query:
            return listing
        return refusal(403, "AccessDenied") if "lifecycle" in asked.query else refusal(500, "InternalError")

    scripted_server.answer = answer
    said = scripted_server.bucket().show().text
    assert "access denied" in said
    assert "failed (InternalError)" in said
    scripted_server.answer = lambda asked: listing if "list-type" in asked.query else None
    with pytest.raises(s3.S3ConnectionError):
        scripted_server.bucket().show()


@pytest.mark.parametrize(
    ("region", "said"), [("<BucketRegion>eu-x-1</BucketRegion>", "eu-x-1"), ("", "region us-east-1")]
)
def test_a_store_shows_its_buckets_regions(scripted_server: ScriptedServer, region: str, said: str) -> None:
    """The buckets' regions from the response, else the store's own."""
    scripted_server.answer = lambda asked: document(
        "ListAllMyBucketsResult", f"<Buckets><Bucket><Name>one</Name>{region}</Bucket></Buckets>"
    )
    shown = scripted_server.connect().show().text
    assert said in shown and "one" in shown


@pytest.mark.parametrize("times", [1, 2])
def test_the_store_of_an_unpickled_bucket_has_the_configuration_of_the_bucket(moto: Server, times: int) -> None:
    """A bucket from that store pickles and unpickles as the first one did."""
    given = s3.connect(
        moto.endpoint_url,
        access_key=moto.access_key,
        secret_key=moto.secret_key,
        public_url="https://cdn.test",
        max_concurrency=3,
        pickle_secrets=True,
    )
    store = given
    for _ in range(times):
        store = pickle.loads(pickle.dumps(store.bucket("bkt"))).store
    assert store.config == given.config
    assert store.bucket("bkt").compute_url("k") == given.bucket("bkt").compute_url("k") == "https://cdn.test/k"
    assert isinstance(list(store.buckets()), list)


# -- a bucket that cannot be set up ---------------------------------------------------------------------------------------------------

SETTINGS: dict[str, dict[str, Any]] = {
    "lifecycle": {"lifetime_in_days": 3},
    "policy": {"allow_public_access": True},
}
CREATING: dict[str, Callable[..., object]] = {
    "store": lambda store, **what: store.create_bucket("bucket", **what),
    "S3Bucket": lambda store, **what: s3.S3Bucket.create_bucket(store, "bucket", **what),
    "async": lambda store, **what: asyncio.run(s3.AsyncS3Store(store).create_bucket("bucket", **what)),
}


class OneBucket:
    """A store of one bucket, which refuses its settings."""

    def __init__(self, server: ScriptedServer, *, exists: bool = False) -> None:
        self.server = server
        self.exists = exists
        self.contents = ""
        self.location: Answer = refusal(501, "NotImplemented")
        self.faults: dict[str, list[Answer]] = {}
        server.answer = self._answer

    def _answer(self, asked: Asked) -> Answer:
        settings = [name for name in ("lifecycle", "policy", "publicAccessBlock") if name in asked.query]
        name = f"{asked.method} {settings[0] if settings else 'bucket'}"
        if self.faults.get(name):
            return self.faults[name].pop(0)
        if settings:
            return refusal(403, "AccessDenied")
        if "location" in asked.query:
            return self.location
        if asked.method == "PUT":
            self.exists = True
        elif not self.exists:
            return refusal(404, "" if asked.method == "HEAD" else "NoSuchBucket")
        elif asked.method == "DELETE":
            self.exists = False
            return 204, {}, b""
        elif asked.method == "GET":
            return document("ListBucketResult", self.contents)
        return 200, {}, b""


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("create", CREATING.values(), ids=CREATING)
def test_a_new_bucket_that_cannot_be_set_up_is_deleted_again(
    scripted_server: ScriptedServer, create: Callable[..., object], settings: dict[str, Any]
) -> None:
    """The error is that of the setting, and says so."""
    place = OneBucket(scripted_server)
    with pytest.raises(s3.S3AccessDenied, match="'bucket', made by this call, was deleted again") as caught:
        create(scripted_server.connect(), **settings)
    assert not place.exists
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize(
    "case", ["exists", "ours, and said so", "created twice", "not empty", "not deleted", "not listed"]
)
def test_a_bucket_that_may_be_needed_stands_and_the_error_says_so(
    scripted_server: ScriptedServer, case: str, settings: dict[str, Any]
) -> None:
    """It is deleted only if this call has certainly made it, and if it is empty."""
    place = OneBucket(scripted_server, exists=case == "exists")
    if case == "ours, and said so":
        place.faults["PUT bucket"] = [refusal(409, "BucketAlreadyOwnedByYou")]
    elif case == "created twice":
        place.faults["PUT bucket"] = [refusal(500, "InternalError")]
    elif case == "not empty":
        place.contents = "<Contents><Key>k</Key><Size>1</Size></Contents>"
    elif case == "not deleted":
        place.faults["DELETE bucket"] = [refusal(409, "BucketNotEmpty")] * 2
    elif case == "not listed":
        place.faults["GET bucket"] = [refusal(403, "AccessDenied")] * 2
    with pytest.raises(s3.S3AccessDenied, match=r"the bucket 'bucket' (was made by this call and )?stands"):
        scripted_server.connect(max_attempts=2).create_bucket("bucket", **settings)
    assert (place.exists, "DELETE" in {asked.method for asked in scripted_server.asked}) == (
        case != "ours, and said so",
        case == "not deleted",
    )


def test_a_lost_answer_to_the_deletion_of_a_new_bucket_is_settled(scripted_server: ScriptedServer) -> None:
    """The bucket is gone: the second listing says so."""
    place = OneBucket(scripted_server)

    def answer(asked: Asked) -> Answer:
        usual = place._answer(asked)
        return b"" if asked.method == "DELETE" else usual

    scripted_server.answer = answer
    with pytest.raises(s3.S3AccessDenied, match="was deleted again"):
        scripted_server.connect().create_bucket("bucket", lifetime_in_days=3)
    assert not place.exists


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("create", CREATING.values(), ids=CREATING)
def test_a_new_bucket_is_not_deleted_after_a_temporary_error(
    scripted_server: ScriptedServer, create: Callable[..., object], settings: dict[str, Any]
) -> None:
    """Another client may be setting up the same bucket; the error says that it stands."""
    place = OneBucket(scripted_server)
    busy = [refusal(409, "OperationAborted")] * 9
    place.faults = {f"GET {name}": [*busy] for name in ("lifecycle", "policy", "publicAccessBlock")}
    with pytest.raises(s3.S3Error, match="the bucket 'bucket' stands; call again") as caught:
        create(scripted_server.connect(), **settings)
    assert caught.value.retryable and place.exists
    assert "DELETE" not in {asked.method for asked in scripted_server.asked}


@pytest.mark.parametrize(
    ("missing", "text"),
    [(1, "'bucket', made by this call, was deleted again"), (2, "'bucket' was made by this call and stands")],
)
def test_a_new_bucket_that_is_not_found_yet_is_not_reported_as_deleted(
    scripted_server: ScriptedServer, missing: int, text: str
) -> None:
    """Some stores answer NoSuchBucket for a moment after the creation. The first listing is sent before any deletion."""
    place = OneBucket(scripted_server)
    place.faults["GET bucket"] = [refusal(404, "NoSuchBucket")] * missing
    with pytest.raises(s3.S3AccessDenied, match=text):
        scripted_server.connect().create_bucket("bucket", lifetime_in_days=3)
    assert place.exists == (missing == 2)


@pytest.mark.parametrize("when", ["setting", "deleting"])
def test_an_interrupted_creation_deletes_the_new_bucket(scripted_server: ScriptedServer, when: str) -> None:
    """The interrupt reaches the caller."""
    place = OneBucket(scripted_server)
    store = scripted_server.connect()

    def interrupt(request: Any, **_: Any) -> None:
        if request.method == "DELETE" if when == "deleting" else "lifecycle" in request.url:
            store.client.meta.events.unregister("before-send.s3", interrupt)
            raise KeyboardInterrupt

    store.client.meta.events.register("before-send.s3", interrupt)
    with pytest.raises(KeyboardInterrupt):
        store.create_bucket("bucket", lifetime_in_days=3)
    assert not place.exists


FORMER = LifecycleConfiguration((s3.LifecycleRule("mine", prefix="tmp/", expire_days=9),))


@pytest.mark.parametrize("former", [FORMER, None], ids=["rules", "no rules"])
@pytest.mark.parametrize("preset", ["aws", "auto"])
@pytest.mark.parametrize("failure", ["refused", "interrupted"])
def test_an_existing_bucket_keeps_its_lifecycle_rules_if_public_access_cannot_be_allowed(
    scripted_server: ScriptedServer, former: LifecycleConfiguration | None, preset: Any, failure: str
) -> None:
    """All that was asked for, or the state before."""
    store = DocumentStore(scripted_server)
    store.documents[""] = b"the bucket exists"
    bucket = store.bucket(preset=preset)
    if former is not None:
        bucket.lifecycle.put(former)
    store.writes.clear()
    store.refusals["policy"] = 99

    def interrupt(**_: Any) -> None:
        raise KeyboardInterrupt

    if failure == "interrupted":
        bucket.store.client.meta.events.register("before-send.s3.PutBucketPolicy", interrupt)
    with pytest.raises(s3.S3AccessDenied if failure == "refused" else KeyboardInterrupt) as caught:
        bucket.store.create_bucket("bkt", lifetime_in_days=3, allow_public_access=True)
    assert any(target.partition("?")[2] == "lifecycle" for _, target, _ in store.writes)
    assert bucket.lifecycle.get() == (former or LifecycleConfiguration())
    if failure == "refused":
        said = "the former lifecycle configuration (was restored|was sent again); the bucket 'bkt' stands; it may have existed"
        assert re.search(said, str(caught.value))


def test_lifecycle_rules_that_another_client_changed_meanwhile_are_kept(scripted_server: ScriptedServer) -> None:
    """The error says that the lifetime stays."""
    store = DocumentStore(scripted_server)
    store.documents[""] = b"the bucket exists"
    bucket = store.bucket()
    others = LifecycleConfiguration((s3.LifecycleRule("theirs", prefix="a/", expire_days=1, enabled=False),))

    def interfere(method: str, query: str) -> Answer:
        if (method, query) != ("PUT", "policy"):
            return None
        store.documents["lifecycle"] = bucket.lifecycle._to_document(others)
        return refusal(403, "AccessDenied")

    store.answers = interfere
    with pytest.raises(s3.S3AccessDenied, match=r"the lifetime stays set.*changed by another client"):
        bucket.store.create_bucket("bkt", lifetime_in_days=3, allow_public_access=True)
    assert bucket.lifecycle.get() == others


WRONG_SETTINGS: dict[str, tuple[dict[str, Any], s3.Capabilities | None, type[Exception]]] = {
    "text": ({"lifetime_in_days": "3"}, None, TypeError),
    "bool": ({"lifetime_in_days": True}, None, TypeError),
    "no lifecycle": ({"lifetime_in_days": 3}, s3.Capabilities(lifecycle=False), s3.S3Unsupported),
    "no policy": ({"allow_public_access": True}, s3.Capabilities(policy=False), s3.S3Unsupported),
}


@pytest.mark.parametrize(("settings", "known", "error"), WRONG_SETTINGS.values(), ids=WRONG_SETTINGS)
@pytest.mark.parametrize("create", CREATING.values(), ids=CREATING)
def test_settings_that_cannot_be_made_are_refused_before_the_bucket_is_created(
    scripted_server: ScriptedServer,
    create: Callable[..., object],
    settings: dict[str, Any],
    known: s3.Capabilities | None,
    error: type[Exception],
) -> None:
    """Wrong arguments, and what the store is known not to support: no request is sent."""
    with pytest.raises(error):
        create(s3.S3Store(scripted_server.connect().config.replace(capabilities=known)), **settings)
    assert scripted_server.asked == []
