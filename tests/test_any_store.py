"""Every public call, on any store, works as documented or raises S3Unsupported, and changes nothing else.

Runs against moto's and rclone's server. To ask a store of your own, name it; the test makes buckets called ``mfs3-any-…`` (and
``mfs3-probe-…``) there, and deletes them::

    MFS3_ENDPOINT_URL=https://s3.example MFS3_ACCESS_KEY=… MFS3_SECRET_KEY=… python -m pytest tests/test_any_store.py

``MFS3_REGION`` is for a store that checks the region.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.public_calls import CheckedCall, Place, checked_calls, public_members, sub_resources
from support.public_calls.checked import NEW, SEED
from support.servers import Server

import messageflux_s3 as s3
from messageflux_s3.subresources.cors import CorsConfiguration
from messageflux_s3.subresources.encryption import Encryption
from messageflux_s3.subresources.lifecycle import LifecycleConfiguration
from messageflux_s3.subresources.policy import BucketPolicy
from messageflux_s3.subresources.tags import ObjectTags, Tags

REGION = os.environ.get("MFS3_REGION", "us-east-1")

# Bucket, key, content and metadata.
Snapshot = dict[str, dict[str, tuple[bytes, tuple[tuple[str, str], ...]]]]


def _servers() -> list[str]:
    return ["yours"] if "MFS3_ENDPOINT_URL" in os.environ else ["moto", "rclone"]


@pytest.fixture(params=_servers())
def server(request: pytest.FixtureRequest) -> Server:
    """The servers of the tests, or the store that the environment names."""
    if request.param == "yours":
        names = ("MFS3_ENDPOINT_URL", "MFS3_ACCESS_KEY", "MFS3_SECRET_KEY")
        return Server("yours", *(os.environ[name] for name in names))
    found: Server = request.getfixturevalue(request.param)
    return found


def snapshot(place: Place) -> Snapshot:
    """Read content and metadata of every object in the buckets of this test, with plain boto3; of other buckets the name only.

    On the user's own store other buckets are left out: other programs may create and delete them meanwhile.
    """
    client = place.client
    names = [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]
    found: Snapshot = {}
    for name in names:
        if not name.startswith(place.stem):
            if place.server.name != "yours":
                found[name] = {}
            continue
        found[name] = {}
        for listed in client.list_objects_v2(Bucket=name).get("Contents", ()):
            answer = client.get_object(Bucket=name, Key=listed["Key"])
            metadata = tuple(sorted((name.lower(), value) for name, value in answer["Metadata"].items()))
            found[name][listed["Key"]] = (answer["Body"].read(), metadata)
        if place.server.root is not None:  # read the files themselves, not through the server
            folder = place.server.root / name
            files = [path for path in folder.rglob("*") if path.is_file()]
            found[f"{name} on disk"] = {path.relative_to(folder).as_posix(): (path.read_bytes(), ()) for path in files}
    return found


_clients: dict[str, Any] = {}  # creating a client takes longer than most calls


@pytest.fixture
def place(server: Server, tmp_path: Path) -> Iterator[Place]:
    """Fresh buckets, made and removed by plain boto3."""
    client, store = (
        _clients.get(server.endpoint_url) or server.client(region_name=REGION),
        server.connect(region=REGION),
    )
    _clients[server.endpoint_url] = client
    stem = f"mfs3-any-{uuid.uuid4().hex[:12]}"
    where = {} if REGION == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": REGION}}
    for end in ("-a", "-b", "-c"):
        client.create_bucket(Bucket=stem + end, **where)
    for end in ("-a", "-b"):
        for key, body in SEED.items():
            client.put_object(Bucket=stem + end, Key=key, Body=body, Metadata={"m": "1"})
    yield Place(server, client, tmp_path, store, stem)
    for bucket in client.list_buckets()["Buckets"]:
        if bucket["Name"].startswith(stem):
            _empty(client, bucket["Name"])
            client.delete_bucket(Bucket=bucket["Name"])


def _empty(client: Any, name: str) -> None:
    for found in client.list_objects_v2(Bucket=name).get("Contents", ()):
        client.delete_object(Bucket=name, Key=found["Key"])
    if client.get_bucket_versioning(Bucket=name).get("Status"):
        answer = client.list_object_versions(Bucket=name)
        for found in [*answer.get("Versions", ()), *answer.get("DeleteMarkers", ())]:
            client.delete_object(Bucket=name, Key=found["Key"], VersionId=found["VersionId"])


def _without_new(found: Snapshot) -> Snapshot:
    return {
        bucket: {key: what for key, what in keys.items() if not key.startswith(NEW)} for bucket, keys in found.items()
    }


@contextmanager
def _nothing_else_changes(p: Place, name: str) -> Iterator[None]:
    before = snapshot(p)
    unsupported = False
    try:
        yield
    except s3.S3Unsupported:
        unsupported = True
    assert _without_new(snapshot(p)) == _without_new(before)
    if p.server.name in UNSUPPORTED:
        assert unsupported == (name in UNSUPPORTED[p.server.name])


EVERYWHERE = {
    "AsyncVersioning.delete", "Versioning.delete", "a lifecycle filter by size", "delete of a version that is not there",
    "bulk delete of a version that is not there",
}  # fmt: skip
UNSUPPORTED: dict[str, set[str]] = {
    "moto": EVERYWHERE,
    "rclone": EVERYWHERE | {
        "AsyncS3Object.restore", "S3Object.restore",
        "BucketEncryption.delete", "Lifecycle.abort_unfinished_uploads", "Lifecycle.expire_noncurrent", "Lifecycle.put",
        "Lifecycle.set_lifetime", "Lifecycle.transition", "Notifications.delete", "Notifications.ensure", "ObjectTags.delete alone",
        "Policy.delete alone", "PublicAccess.block alone", "PublicAccess.status alone", "S3Bucket.acquire_lock", "S3Bucket.cors",
        "AsyncBucketEncryption.get", "AsyncChange.what", "AsyncCors.get", "AsyncLifecycle.get", "AsyncNotifications.get",
        "AsyncObjectTags.get", "AsyncPolicy.get", "AsyncPublicAccess.allow", "AsyncS3Lock.key", "AsyncTags.get", "AsyncVersioning.get",
        "Change.apply", "AsyncS3Bucket.lifecycle", "AsyncS3Bucket.public_access", "AsyncS3Bucket.lock", "AsyncS3Object.versions",
        "S3Bucket.encryption", "S3Bucket.lifecycle", "S3Bucket.lock", "S3Bucket.notifications", "S3Bucket.policy",
        "S3Bucket.public_access", "S3Bucket.tags", "S3Object.tags", "S3Object.update", "S3Object.versions", "delete if_match",
        "find versions where none are kept", "put_object if_absent", "put_object if_match", "undelete where none are kept",
        "versions where none are kept",
    },
}  # fmt: skip
"""The calls that each test server does not support; a library that refused everything would fail."""


@pytest.mark.parametrize("call", checked_calls(), ids=lambda call: call.name)
def test_a_call_succeeds_or_raises_unsupported_and_changes_nothing_else(place: Place, call: CheckedCall) -> None:
    """The call works or raises S3Unsupported, and every other object and bucket is unchanged, byte for byte."""
    with _nothing_else_changes(place, call.name):
        call.run(place)


DENIAL = {"Sid": "alone", "Effect": "Deny", "Principal": "*", "Action": ["s3:GetObject"]}
CORS = s3.CorsRule("alone", origins=("*",))
RULE = s3.LifecycleRule("alone", prefix="never/", expire_days=3650)


def _denial(bucket: s3.S3Bucket) -> dict[str, Any]:
    return DENIAL | {"Resource": [f"arn:aws:s3:::{bucket.name}/never"]}


WORDS: dict[str, Callable[[s3.S3Bucket], object]] = {
    "lifecycle.get": lambda bucket: bucket.lifecycle.get(),
    "lifecycle.put": lambda bucket: bucket.lifecycle.put(LifecycleConfiguration((RULE,))),
    "lifecycle.ensure": lambda bucket: bucket.lifecycle.ensure(RULE),
    "lifecycle.change": lambda bucket: bucket.lifecycle.change(LifecycleConfiguration()).apply(),
    "lifecycle.expire": lambda bucket: bucket.lifecycle.expire(days=3650, prefix="never/"),
    "lifecycle.transition": lambda bucket: bucket.lifecycle.transition(
        days=3650, storage_class="GLACIER", prefix="never/"
    ),
    "lifecycle.expire_noncurrent": lambda bucket: bucket.lifecycle.expire_noncurrent(days=3650, prefix="never/"),
    "lifecycle.abort_unfinished_uploads": lambda bucket: bucket.lifecycle.abort_unfinished_uploads(days=3650),
    "lifecycle.set_lifetime": lambda bucket: bucket.lifecycle.set_lifetime(3650),
    "set_lifetime_in_days": lambda bucket: bucket.set_lifetime_in_days(0),
    "lifecycle.remove": lambda bucket: bucket.lifecycle.remove("expire never/"),
    "lifecycle.put of nothing": lambda bucket: bucket.lifecycle.put(LifecycleConfiguration()),
    "lifecycle.delete": lambda bucket: bucket.lifecycle.delete(),
    "policy.get": lambda bucket: bucket.policy.get(),
    "policy.put": lambda bucket: bucket.policy.put(BucketPolicy().with_statement(_denial(bucket))),
    "policy.ensure": lambda bucket: bucket.policy.ensure(_denial(bucket)),
    "policy.change": lambda bucket: bucket.policy.change(BucketPolicy()).apply(),
    "policy.remove": lambda bucket: bucket.policy.remove("alone"),
    "policy.put of nothing": lambda bucket: bucket.policy.put(BucketPolicy()),
    "policy.delete": lambda bucket: bucket.policy.delete(),
    "public_access.allow": lambda bucket: bucket.public_access.allow(),
    "public_access.status": lambda bucket: bucket.public_access.status(),
    "public_access.block": lambda bucket: bucket.public_access.block(),
    "tags.get": lambda bucket: bucket.tags.get(),
    "tags.put": lambda bucket: bucket.tags.put({"a": "1"}),
    "tags.update": lambda bucket: bucket.tags.update({"a": "2"}),
    "tags.ensure": lambda bucket: bucket.tags.ensure({"b": "2"}),
    'tags["a"]': lambda bucket: bucket.tags["a"],
    'tags["c"] =': lambda bucket: bucket.tags.__setitem__("c", "3"),
    'del tags["c"]': lambda bucket: bucket.tags.__delitem__("c"),
    "tags.remove": lambda bucket: bucket.tags.remove("b"),
    "tags.change": lambda bucket: bucket.tags.change(bucket.tags.get()).apply(),
    "tags.put of nothing": lambda bucket: bucket.tags.put({}),
    "tags.delete": lambda bucket: bucket.tags.delete(),
    "cors.get": lambda bucket: bucket.cors.get(),
    "cors.put": lambda bucket: bucket.cors.put(CorsConfiguration((CORS,))),
    "cors.ensure": lambda bucket: bucket.cors.ensure(CORS),
    "cors.change": lambda bucket: bucket.cors.change(CorsConfiguration()).apply(),
    "cors.remove": lambda bucket: bucket.cors.remove("alone"),
    "cors.put of nothing": lambda bucket: bucket.cors.put(CorsConfiguration()),
    "cors.delete": lambda bucket: bucket.cors.delete(),
    "encryption.get": lambda bucket: bucket.encryption.get(),
    "encryption.put": lambda bucket: bucket.encryption.put(Encryption("AES256")),
    "encryption.ensure": lambda bucket: bucket.encryption.ensure("AES256"),
    "encryption.change": lambda bucket: bucket.encryption.change(Encryption("AES256")).apply(),
    "encryption.delete": lambda bucket: bucket.encryption.delete(),
    "notifications.get": lambda bucket: bucket.notifications.get(),
    "notifications.put": lambda bucket: bucket.notifications.put(bucket.notifications.get()),
    "notifications.ensure": lambda bucket: bucket.notifications.ensure(
        s3.Notification("n", "arn:aws:sqs:us-east-1:1:q")
    ),
    "notifications.change": lambda bucket: bucket.notifications.change(bucket.notifications.get()).apply(),
    "notifications.remove": lambda bucket: bucket.notifications.remove("n"),
    "notifications.delete": lambda bucket: bucket.notifications.delete(),
    "versioning.get": lambda bucket: bucket.versioning.get(),
    "versioning.is_enabled": lambda bucket: bucket.versioning.is_enabled(),
    "versioning.suspend": lambda bucket: bucket.versioning.suspend(),
    "versioning.put": lambda bucket: bucket.versioning.put(bucket.versioning.get()),
    "versioning.change": lambda bucket: bucket.versioning.change(bucket.versioning.get()).apply(),
    "versioning.delete": lambda bucket: bucket.versioning.delete(),
}
TAG_WORDS: dict[str, Callable[[Tags], object]] = {
    "get": lambda tags: tags.get(),
    "put": lambda tags: tags.put({"a": "1"}),
    "update": lambda tags: tags.update({"a": "2"}),
    "ensure": lambda tags: tags.ensure({"b": "2"}),
    "set one": lambda tags: tags.__setitem__("c", "3"),
    "delete one": lambda tags: tags.__delitem__("c"),
    "remove": lambda tags: tags.remove("b"),
    "change": lambda tags: tags.change(tags.get()).apply(),
    "delete": lambda tags: tags.delete(),
}


def test_every_method_of_a_sub_resource_is_tried_alone() -> None:
    """Whatever is added is tried on a store that ignores sub-resources. Versions, once enabled, would stay for the tests that follow."""
    of_bucket = {f"{name}.{word}" for name, cls in sub_resources(s3.S3Bucket).items() for word in public_members(cls)}
    assert {*of_bucket, "set_lifetime_in_days"} - WORDS.keys() == {"versioning.enable"}
    assert {*public_members(ObjectTags)} - TAG_WORDS.keys() == set()


def test_each_sub_resource_method_alone_changes_no_object(place: Place) -> None:
    """On a bucket with objects and on an empty one, on an object and on one that looks like a document of tags: one word at a time."""
    tried: dict[str, Callable[[], object]] = {}
    for bucket in (place.bucket, place.empty):
        tried |= {f"{name} of {bucket.name}": partial(word, bucket) for name, word in WORDS.items()}
    for key in ("kept/a.txt", "kept/looks-like-tags"):
        tried |= {f"{name} of {key}": partial(word, place.bucket[key].tags) for name, word in TAG_WORDS.items()}
    before, refused = snapshot(place), []
    for name, word in tried.items():
        try:
            word()
        except s3.S3Unsupported:
            refused.append(name)
        except s3.S3Error:
            if place.server.name in ("moto", "rclone"):
                raise
            refused.append(name)  # radosgw checks the ARN of a queue: right as well, if nothing was written
        if place.server.root is not None:
            assert snapshot(place) == before, name
    assert snapshot(place) == before
    if place.server.name == "rclone":
        known = tuple(
            f"versioning.{word} of" for word in ("get", "is_enabled", "suspend", "put", "change")
        )  # "no", rightly
        assert refused == [name for name in tried if not name.startswith(known)]
    if place.server.name == "moto":
        assert refused == [f"versioning.delete of {bucket.name}" for bucket in (place.bucket, place.empty)]


def test_boto3_alone_damages_a_store_that_ignores_sub_resources(rclone: Server, tmp_path: Path) -> None:
    """The test above can fail: plain boto3 with the same calls overwrites an object and deletes a bucket."""
    client = rclone.client()
    client.create_bucket(Bucket="harm-a")
    client.put_object(Bucket="harm-a", Key="k", Body=b"mine")
    client.put_object_tagging(Bucket="harm-a", Key="k", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    assert b"<Tagging" in client.get_object(Bucket="harm-a", Key="k")["Body"].read()
    client.delete_object(Bucket="harm-a", Key="k")
    client.delete_bucket_policy(Bucket="harm-a")
    assert "harm-a" not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]
