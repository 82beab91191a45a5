"""Every public call, on any store: it does what it says, or says S3Unsupported, and nothing else is touched.

Runs against moto's and rclone's server. To ask a store of your own, name it; the test makes buckets called ``mfs3-any-…`` there, and
deletes them::

    MFS3_ENDPOINT_URL=https://s3.example MFS3_ACCESS_KEY=… MFS3_SECRET_KEY=… python -m pytest tests/test_any_store.py
"""

from __future__ import annotations

import io
import os
import pickle
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from servers import Server

import messageflux_s3 as s3
from messageflux_s3.subresources.cors import Cors, CorsConfiguration
from messageflux_s3.subresources.encryption import BucketEncryption, Encryption
from messageflux_s3.subresources.lifecycle import Lifecycle, LifecycleConfiguration
from messageflux_s3.subresources.notifications import Notifications
from messageflux_s3.subresources.policy import BucketPolicy, Policy
from messageflux_s3.subresources.public_access import PublicAccess
from messageflux_s3.subresources.tags import ObjectTags, Tags
from messageflux_s3.subresources.versioning import Versioning

SEED: dict[str, bytes] = {
    "kept/a.txt": b"alpha",
    "kept/b.json": b'{"n": 1}',
    "kept/looks-like-tags": b"<Tagging><TagSet></TagSet></Tagging>",
    "kept/looks-like-a-policy": b'{"Statement": []}',
    "kept/long.txt": b"line\n" * 2000,
}
NEW = "new/"  # below here a call may write; what it wrote is for its own test to look at

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


@dataclass
class Place:
    """What a call is tried on: a bucket with objects, another full and another empty one beside it."""

    server: Server
    store: s3.S3Store
    bucket: s3.S3Bucket
    other: s3.S3Bucket
    empty: s3.S3Bucket
    folder: Path
    client: Any  # plain boto3, that knows nothing of the library

    @property
    def obj(self) -> s3.S3Object:
        return self.bucket.object("kept/a.txt")

    def snapshot(self) -> Snapshot:
        """All buckets of this test, read by plain boto3: every object's bytes and metadata."""
        client = self.client
        names = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
        found: Snapshot = {}
        for bucket in (self.bucket, self.other, self.empty):
            if bucket.name not in names:
                continue
            found[bucket.name] = {}
            for listed in client.list_objects_v2(Bucket=bucket.name).get("Contents", ()):
                answer = client.get_object(Bucket=bucket.name, Key=listed["Key"])
                metadata = tuple(sorted((name.lower(), value) for name, value in answer["Metadata"].items()))
                found[bucket.name][listed["Key"]] = (answer["Body"].read(), metadata)
        return found


_clients: dict[str, Any] = {}  # to make one takes longer than most of the calls


@pytest.fixture
def place(server: Server, tmp_path: Path) -> Iterator[Place]:
    """Fresh buckets, made and removed by plain boto3."""
    client, store = _clients.get(server.endpoint_url) or server.client(), server.connect()
    _clients[server.endpoint_url] = client
    stem = f"mfs3-any-{uuid.uuid4().hex[:12]}"
    for end in ("-a", "-b", "-c"):
        client.create_bucket(Bucket=stem + end)
    for end in ("-a", "-b"):
        for key, body in SEED.items():
            client.put_object(Bucket=stem + end, Key=key, Body=body, Metadata={"m": "1"})
    work, other, empty = (store.bucket(stem + end) for end in ("-a", "-b", "-c"))
    yield Place(server, store, work, other, empty, tmp_path, client)
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
    return {bucket: {key: what for key, what in keys.items() if not key.startswith(NEW)} for bucket, keys in found.items()}


Call = Callable[[Place], object]
CALLS: dict[str, Call] = {}


def call(*names: str) -> Callable[[Call], Call]:
    """Register the function that makes these public calls and looks at what they did."""

    def register(function: Call) -> Call:
        CALLS.update(dict.fromkeys(names, function))
        return function

    return register


# -- the store --------------------------------------------------------------------------------------------------------------------


@call("S3Store.ping", "S3Store.is_online", "S3Store.reload_credentials", "S3Store.close", "S3Store.lane", "S3Store.client")
def _(p: Place) -> None:
    assert p.store.ping()
    assert p.store.is_online
    p.store.reload_credentials()
    p.store.close()
    assert p.store.ping()
    assert p.store.lane.reason
    assert p.store.client is p.store.resource.meta.client


@call("S3Store.config", "S3Store.resource", "S3Store.from_resource")
def _(p: Place) -> None:
    again = s3.S3Store.from_resource(p.store.resource)
    assert again.bucket(p.bucket.name).object("kept/a.txt").body == b"alpha"
    assert pickle.loads(pickle.dumps(p.store.config)) == p.store.config or p.store.config.secret_key is not None


@call("S3Store.buckets", "S3Store.bucket", "S3Bucket.list_buckets", "S3Bucket.name", "S3Bucket.store", "S3Bucket.s3_resource")
def _(p: Place) -> None:
    assert {p.bucket.name, p.other.name, p.empty.name} <= {bucket.name for bucket in p.store.buckets()}
    assert p.bucket.name in {bucket.name for bucket in s3.S3Bucket.list_buckets(p.store)}
    assert p.bucket.store == p.store
    assert p.bucket.s3_resource is p.store.resource


@call("S3Store.create_bucket", "S3Bucket.create_bucket", "S3Bucket.delete_bucket", "S3Bucket.exists")
def _(p: Place) -> None:
    name = p.bucket.name + "-new"
    for make in (p.store.create_bucket, lambda name: s3.S3Bucket.create_bucket(p.store, name)):
        made = make(name)
        assert made.exists()
        assert make(name).exists()
        made.put_object("k", b"x")
        with pytest.raises(s3.S3BucketNotEmpty):
            made.delete_bucket()
        made.delete_bucket(force=True)
        assert not made.exists()


@call("S3Store.object", "S3Store.objects_from", "S3Object.uri", "S3Object.bucket", "S3Object.bucket_name")
def _(p: Place) -> None:
    obj = p.store.object(p.obj.uri)
    assert (obj.bucket_name, obj.key, obj.body) == (p.bucket.name, "kept/a.txt", b"alpha")
    record = {"s3": {"bucket": {"name": p.bucket.name}, "object": {"key": "kept/a.txt"}}, "eventName": "ObjectCreated:Put"}
    [found] = p.store.objects_from({"Records": [record]})
    assert found.body == b"alpha"


@call("S3Store.probe")
def _(p: Place) -> None:
    before = {bucket.name for bucket in p.store.buckets()}
    assert p.store.probe().list_v2 is not None
    assert {bucket.name for bucket in p.store.buckets()} == before


@call("S3Store.show", "S3Bucket.show", "ObjectQuery.show", "S3Object.preview")
def _(p: Place) -> None:
    assert p.bucket.name in str(p.store.show())
    assert str(p.bucket.show()) and "kept/a.txt" in str(p.bucket.find().show()) and "alpha" in str(p.obj.preview())


# -- the bucket and its objects -----------------------------------------------------------------------------------------------------


@call("S3Bucket.object", "S3Bucket.get_object", "S3Object.body", "S3Object.text", "S3Object.body_stream", "S3Object.key", "S3Object.boto3")
def _(p: Place) -> None:
    assert p.bucket.get_object("kept/a.txt").body == p.bucket["kept/a.txt"].body == b"alpha"
    assert (p.obj.text, p.obj.body_stream.read(), p.obj.boto3.key) == ("alpha", b"alpha", "kept/a.txt")
    assert "kept/a.txt" in p.bucket
    assert "kept/none" not in p.bucket
    with pytest.raises(s3.S3NoSuchItem):
        p.bucket.get_object("kept/none")


@call("S3Object.metadata", "S3Object.content_type", "S3Object.size", "S3Object.etag", "S3Object.last_modified", "S3Object.storage_class")
def _(p: Place) -> None:
    obj = p.obj
    assert (obj.metadata["m"], obj.size, obj.last_modified.tzinfo is not None) == ("1", 5, True)
    assert obj.content_type
    assert obj.storage_class
    assert '"' not in obj.etag


@call("S3Object.exists", "S3Object.reload", "S3Object.json", "S3Bucket.get_json", "S3Bucket.put_json", "S3Object.version_id")
def _(p: Place) -> None:
    assert p.obj.exists()
    assert not p.bucket["kept/none"].exists()
    assert p.bucket["kept/b.json"].json() == p.bucket.get_json("kept/b.json") == {"n": 1}
    assert p.bucket.put_json(NEW + "j", [1]).reload().json() == [1]
    assert p.obj.version_id is None


@call("S3Object.read_range", "S3Object.iter_chunks", "S3Object.iter_lines", "S3Object.open")
def _(p: Place) -> None:
    obj = p.bucket["kept/long.txt"]
    whole = SEED["kept/long.txt"]
    assert (obj.read_range(3, 9), obj.read_range(-4), p.obj.read_range(-100)) == (whole[3:9], whole[-4:], b"alpha")
    assert b"".join(obj.iter_chunks(chunk_size=999, start=1)) == whole[1:]
    assert len([*obj.iter_lines()]) == 2000
    with obj.open("rb") as file:
        file.seek(5000)
        assert file.read() == whole[5000:]
    with p.bucket[NEW + "file"].open("wb") as out:
        out.write(whole)
    assert p.bucket[NEW + "file"].body == whole


@call("S3Bucket.put_object", "S3Object.put", "S3Bucket.delete_object", "S3Object.delete")
def _(p: Place) -> None:
    obj = p.bucket.put_object(NEW + "x", "one", {"who": "me"})
    assert (obj.reload().body, obj.metadata) == (b"one", {"who": "me"} | {k: v for k, v in obj.metadata.items() if k != "who"})
    assert obj.put(b"two").reload().body == b"two"
    obj.delete()
    p.bucket.delete_object(NEW + "x")
    assert not obj.exists()


@call("put_object if_absent")
def _(p: Place) -> None:
    p.bucket.put_object(NEW + "x", b"one", if_absent=True)
    with pytest.raises(s3.S3ObjectExists):
        p.bucket.put_object(NEW + "x", b"two", if_absent=True)
    assert p.bucket[NEW + "x"].body == b"one"


@call("put_object if_match")
def _(p: Place) -> None:
    obj = p.bucket.put_object(NEW + "x", b"one")
    with pytest.raises(s3.S3PreconditionFailed):
        p.bucket.put_object(NEW + "x", b"bad", if_match="0" * 32)
    p.bucket.put_object(NEW + "x", b"two", if_match=obj.etag)
    assert obj.reload().body == b"two"


@call("delete if_match")
def _(p: Place) -> None:
    with pytest.raises(s3.S3PreconditionFailed):
        p.obj.delete(if_match="0" * 32)


@call("S3Object.update")
def _(p: Place) -> None:
    obj = p.bucket.put_object(NEW + "n", b"1")
    assert obj.update(lambda body: str(int(body or b"0") + 1)).reload().body == b"2"


@call("S3Bucket.put_objects", "S3Bucket.get_objects", "S3Bucket.delete_objects")
def _(p: Place) -> None:
    keys = [f"{NEW}{n}" for n in range(30)]
    assert p.bucket.put_objects((key, key.encode()) for key in keys) is not None
    assert [obj.body for obj in p.bucket.get_objects(keys)] == [key.encode() for key in keys]
    assert sorted(p.bucket.delete_objects(keys).succeeded) == sorted(keys)
    assert not [*p.bucket.find(prefix=NEW)]


@call("S3Bucket.clear_objects")
def _(p: Place) -> None:
    extra = p.store.create_bucket(p.bucket.name + "-new")
    extra.put_objects((f"k{n}", b"x") for n in range(5))
    extra.clear_objects()
    extra.put_object("again", b"x")
    extra.clear_objects(versions=True)
    assert not [*extra.find()]
    extra.delete_bucket()


@call("S3Bucket.upload_object", "S3Bucket.download_object")
def _(p: Place) -> None:
    body = bytes(range(256)) * 50_000  # several parts
    p.bucket.upload_object(NEW + "big", io.BytesIO(body), {"who": "me"})
    out = io.BytesIO()
    p.bucket.download_object(NEW + "big", out)
    assert out.getvalue() == body
    assert p.bucket[NEW + "big"].metadata["who"] == "me"


@call("S3Bucket.upload_file", "S3Bucket.download_file", "S3Object.download_to", "S3Bucket.upload_folder", "S3Bucket.download_folder")
def _(p: Place) -> None:
    source = p.folder / "in"
    source.mkdir()
    (source / "f").write_bytes(b"file")
    p.bucket.upload_file(source / "f", NEW + "f")
    p.bucket.download_file(NEW + "f", p.folder / "out")
    p.bucket[NEW + "f"].download_to(p.folder / "out2")
    assert (p.folder / "out").read_bytes() == (p.folder / "out2").read_bytes() == b"file"
    p.bucket.upload_folder(source, NEW + "folder")
    p.bucket.download_folder(NEW + "folder", p.folder / "back")
    assert (p.folder / "back" / "f").read_bytes() == b"file"


@call("S3Bucket.sync_from_folder", "S3Bucket.sync_to_folder")
def _(p: Place) -> None:
    source = p.folder / "in"
    source.mkdir()
    (source / "f").write_bytes(b"file")
    p.bucket.put_object(NEW + "sync/gone", b"x")
    p.bucket.sync_from_folder(source, NEW + "sync", delete=True)
    assert [obj.key for obj in p.bucket.find(prefix=NEW)] == [NEW + "sync/f"]
    p.bucket.sync_to_folder("kept", p.folder / "back")
    assert (p.folder / "back" / "a.txt").read_bytes() == b"alpha"


@call("S3Bucket.copy_object", "S3Object.copy_to", "S3Object.move_to")
def _(p: Place) -> None:
    assert p.bucket.copy_object("kept/a.txt", NEW + "c").reload().body == b"alpha"
    assert p.obj.copy_to(p.other[NEW + "c"]).reload().body == b"alpha"
    p.bucket[NEW + "c"].move_to(NEW + "d")
    assert [obj.key for obj in p.bucket.find(prefix=NEW)] == [NEW + "d"]


@call("S3Bucket.compute_url", "S3Object.url", "S3Object.presigned_url", "S3Object.presigned_post")
def _(p: Place) -> None:
    assert p.obj.url.endswith("/kept/a.txt") and p.bucket.compute_url("kept/a.txt") == p.obj.url
    assert "X-Amz-Signature" in p.obj.presigned_url()
    assert "policy" in p.bucket[NEW + "p"].presigned_post().fields


@call("S3Bucket.find", "S3Bucket.find_objects", "S3Bucket.list_objects", "S3Bucket.list_common_prefixes")
def _(p: Place) -> None:
    wanted = sorted(SEED)
    assert [obj.key for obj in p.bucket.find()] == wanted
    assert [obj.key for obj in p.bucket.find_objects(prefix="kept/", max_keys=2)] == wanted
    assert [obj.key for obj in p.bucket.list_objects()] == wanted
    assert p.bucket.list_common_prefixes() == ["kept/"]
    assert [obj.key for obj in p.bucket.find(start_after="kept/b.json")] == wanted[2:]


@call("S3Bucket.usage", *(f"ObjectQuery.{word}" for word in ("usage", "tree", "to_pandas", "to_arrow", "arrow_batches")))
def _(p: Place) -> None:
    assert p.bucket.usage().count == p.bucket.find().usage().count == len(SEED)
    assert "a.txt" in str(p.bucket.find().tree())
    assert len(p.bucket.find().to_pandas()) == p.bucket.find().to_arrow().num_rows == len(SEED)
    assert p.bucket.find().arrow_batches().read_all().num_rows == len(SEED)


@call("S3Bucket.acquire_lock", "S3Bucket.check_lock", "S3Bucket.release_lock")
def _(p: Place) -> None:
    if hasattr(p.bucket, "acquire_lock"):
        p.bucket.acquire_lock(NEW + "lock", {"who": "me"})
        assert p.bucket.check_lock(NEW + "lock") is not None
        p.bucket.release_lock(NEW + "lock")
        assert p.bucket.check_lock(NEW + "lock") is None


@call("S3Bucket.lock")
def _(p: Place) -> None:
    if hasattr(p.bucket, "lock"):
        with p.bucket.lock(NEW + "lock", ttl=30) as lock:
            lock.check()


@call("S3Bucket.boto3")
def _(p: Place) -> None:
    assert p.bucket.boto3.name == p.bucket.name


# -- versions -----------------------------------------------------------------------------------------------------------------------


@call("S3Object.versions", "S3Object.make_current", "S3Object.undelete", "Versioning.enable", "Versioning.is_enabled")
def _(p: Place) -> None:
    p.empty.versioning.enable()
    assert p.empty.versioning.is_enabled()
    obj = p.empty.put_object(NEW + "v", b"one")
    obj.put(b"two")
    newest, oldest = obj.versions()
    assert (newest.body, oldest.body) == (b"two", b"one")
    assert oldest.make_current().reload().body == b"one"
    obj.delete()
    assert obj.undelete()
    assert p.empty[NEW + "v"].body == b"one"
    p.empty.clear_objects(versions=True)
    assert not [*p.empty.find(versions=True)]


@call("versions where none are kept")
def _(p: Place) -> None:
    [only] = p.obj.versions()
    assert only.body == b"alpha"


@call("find versions where none are kept")
def _(p: Place) -> None:
    assert sorted(obj.key for obj in p.bucket.find(versions=True)) == sorted(SEED)


@call("undelete where none are kept")
def _(p: Place) -> None:
    assert p.obj.undelete() is False


@call("delete of a version that is not there")
def _(p: Place) -> None:
    p.bucket.object("kept/a.txt", version_id="never-there").delete()


@call("bulk delete of a version that is not there")
def _(p: Place) -> None:
    p.bucket.delete_objects([p.bucket.object("kept/a.txt", version_id="never-there"), p.bucket.object("kept/b.json", version_id="x")])


@call("read of a version that is not there")
def _(p: Place) -> None:
    with pytest.raises(s3.S3Error):
        _ = p.bucket.object("kept/a.txt", version_id="never-there").body
    with pytest.raises(s3.S3Error):
        _ = p.bucket.object("kept/a.txt", version_id="never-there").metadata


@call("clear with versions where none are kept")
def _(p: Place) -> None:
    p.bucket.put_object(NEW + "x", b"1")
    p.empty.clear_objects(versions=True)
    assert p.empty.exists()


@call("Versioning.suspend", "Versioning.get", "S3Bucket.versioning")
def _(p: Place) -> None:
    p.empty.versioning.suspend()
    assert p.empty.versioning.get().status is None


@call("Versioning.delete")
def _(p: Place) -> None:
    p.empty.versioning.delete()


@call("Versioning.put", "Versioning.change")
def _(p: Place) -> None:
    value = p.empty.versioning.get()
    assert p.empty.versioning.change(value).is_empty


# -- sub-resources ------------------------------------------------------------------------------------------------------------------


@call("S3Bucket.lifecycle", "Lifecycle.expire", "Lifecycle.get", "Lifecycle.remove", "Lifecycle.ensure", "Lifecycle.change")
def _(p: Place) -> None:
    p.bucket.lifecycle.expire(days=7, prefix="tmp/", id="ours")
    p.bucket.lifecycle.ensure(s3.LifecycleRule("sweep", prefix="x/", expire_days=3)).apply()
    assert {rule.id: rule.expire_days for rule in p.bucket.lifecycle.get().rules} == {"ours": 7, "sweep": 3}
    p.bucket.lifecycle.remove("ours")
    assert [rule.id for rule in p.bucket.lifecycle.get().rules] == ["sweep"]
    assert p.bucket.lifecycle.change(p.bucket.lifecycle.get()).is_empty


@call("Lifecycle.put", "Lifecycle.delete")
def _(p: Place) -> None:
    p.bucket.lifecycle.put(LifecycleConfiguration((s3.LifecycleRule("r", expire_days=9),)))
    p.bucket.lifecycle.delete()
    p.bucket.lifecycle.delete()
    assert p.bucket.lifecycle.get().rules == ()


@call("Lifecycle.abort_unfinished_uploads")
def _(p: Place) -> None:
    p.bucket.lifecycle.abort_unfinished_uploads(days=3)
    assert p.bucket.lifecycle.get().rules[0].abort_uploads_days == 3


@call("Lifecycle.transition")
def _(p: Place) -> None:
    p.bucket.lifecycle.transition("GLACIER", days=90)
    assert p.bucket.lifecycle.get().rules[0].transitions == ((90, "GLACIER"),)


@call("Lifecycle.expire_noncurrent")
def _(p: Place) -> None:
    p.bucket.lifecycle.expire_noncurrent(days=5)
    assert p.bucket.lifecycle.get().rules[0].noncurrent_days == 5


@call("a lifecycle filter by size")
def _(p: Place) -> None:
    p.bucket.lifecycle.ensure(s3.LifecycleRule("r", prefix="x/", min_size=10, expire_days=5)).apply()
    assert p.bucket.lifecycle.get().rules[0].min_size == 10


@call("Lifecycle.set_lifetime", "S3Bucket.set_lifetime_in_days")
def _(p: Place) -> None:
    p.bucket.set_lifetime_in_days(30)
    assert [(rule.id, rule.expire_days) for rule in p.bucket.lifecycle.get().rules] == [("expire", 30)]
    p.bucket.lifecycle.set_lifetime(0)
    assert p.bucket.lifecycle.get().rules == ()


@call("S3Bucket.public_access", "PublicAccess.allow", "PublicAccess.status", "PublicAccess.block", "S3Bucket.allow_public_access")
def _(p: Place) -> None:
    p.bucket.allow_public_access()
    assert p.bucket.public_access.status().is_public
    p.bucket.public_access.block()
    assert not p.bucket.public_access.status().is_public


@call("PublicAccess.status alone")
def _(p: Place) -> None:
    assert not p.bucket.public_access.status().is_public


@call("PublicAccess.block alone")
def _(p: Place) -> None:
    p.bucket.public_access.block()
    assert not p.bucket.public_access.status().is_public


STATEMENT = {"Sid": "us", "Effect": "Deny", "Principal": "*", "Action": ["s3:DeleteBucket"]}


@call("S3Bucket.policy", "Policy.get", "Policy.ensure", "Policy.remove", "Policy.put", "Policy.change", "Policy.delete")
def _(p: Place) -> None:
    statement = STATEMENT | {"Resource": [f"arn:aws:s3:::{p.bucket.name}"]}
    p.bucket.policy.ensure(statement).apply()
    assert p.bucket.policy.get().get("us") is not None
    assert p.bucket.policy.change(p.bucket.policy.get()).is_empty
    p.bucket.policy.remove("us")
    p.bucket.policy.put(BucketPolicy().with_statement(statement))
    p.bucket.policy.delete()
    assert p.bucket.policy.get().statements == ()


@call("Policy.delete alone")
def _(p: Place) -> None:
    p.empty.policy.delete()
    assert p.empty.exists()


@call("S3Bucket.tags", "Tags.get", "Tags.put", "Tags.update", "Tags.remove", "Tags.ensure", "Tags.change", "Tags.delete")
def _(p: Place) -> None:
    _tags(p.bucket.tags)


@call("S3Object.tags", *(f"ObjectTags.{word}" for word in ("get", "put", "update", "remove", "ensure", "change", "delete")))
def _(p: Place) -> None:
    for key in SEED:
        _tags(p.bucket[key].tags)


@call("ObjectTags.delete alone")
def _(p: Place) -> None:
    for key in SEED:
        p.bucket[key].tags.delete()


def _tags(tags: Tags) -> None:
    tags.put({"a": "1"})
    tags.update({"b": "2"})
    tags["c"] = "3"
    tags.ensure({"d": "4"}).apply()
    tags.remove("a")
    assert dict(tags.get()) == {"b": "2", "c": "3", "d": "4"}
    assert tags.change(tags.get()).is_empty
    tags.delete()
    assert not tags.get()


@call("S3Bucket.cors", "Cors.get", "Cors.ensure", "Cors.remove", "Cors.put", "Cors.change", "Cors.delete")
def _(p: Place) -> None:
    p.bucket.cors.ensure(s3.CorsRule("a", origins=("https://a.example",))).apply()
    assert [rule.origins for rule in p.bucket.cors.get().rules] == [("https://a.example",)]
    assert p.bucket.cors.change(p.bucket.cors.get()).is_empty
    p.bucket.cors.put(CorsConfiguration((s3.CorsRule("b", origins=("*",)),)))
    p.bucket.cors.remove("b")
    p.bucket.cors.delete()
    assert p.bucket.cors.get().rules == ()


@call("S3Bucket.encryption", "BucketEncryption.get", "BucketEncryption.ensure", "BucketEncryption.put", "BucketEncryption.change")
def _(p: Place) -> None:
    p.bucket.encryption.ensure("AES256").apply()
    p.bucket.encryption.put(Encryption("AES256"))
    assert p.bucket.encryption.get().algorithm == "AES256"
    assert p.bucket.encryption.change(p.bucket.encryption.get()).is_empty


@call("BucketEncryption.delete")
def _(p: Place) -> None:
    p.empty.encryption.delete()
    assert p.empty.exists()


@call("S3Bucket.notifications", "Notifications.get", "Notifications.remove", "Notifications.put", "Notifications.change")
def _(p: Place) -> None:
    assert p.bucket.notifications.get().targets == ()
    p.bucket.notifications.remove("never there")
    p.bucket.notifications.put(p.bucket.notifications.get())
    assert p.bucket.notifications.change(p.bucket.notifications.get()).is_empty


@call("Notifications.ensure")
def _(p: Place) -> None:
    plan = p.bucket.notifications.ensure(s3.Notification("n", "arn:aws:sqs:us-east-1:123456789012:none", prefix="in/"))
    assert not plan.is_empty


@call("Notifications.delete")
def _(p: Place) -> None:
    p.empty.notifications.delete()
    assert p.empty.exists()


# -- the query ----------------------------------------------------------------------------------------------------------------------


@call("ObjectQuery.limit", "ObjectQuery.filter", "ObjectQuery.objects", "ObjectQuery.first", "ObjectQuery.collect", "ObjectQuery.bucket")
def _(p: Place) -> None:
    query = p.bucket.find(glob="kept/*.txt")
    assert [obj.key for obj in query.objects()] == ["kept/a.txt", "kept/long.txt"]
    assert [obj.key for obj in query.limit(1)] == ["kept/a.txt"]
    assert [obj.key for obj in query.filter(lambda obj: obj.size > 5).collect()] == ["kept/long.txt"]
    first = query.first()
    assert first is not None and first.key == "kept/a.txt" and query.bucket == p.bucket


@call("ObjectQuery.count", "ObjectQuery.total_size", "ObjectQuery.prefixes", "ObjectQuery.entries")
def _(p: Place) -> None:
    assert p.bucket.find().count() == len(SEED)
    assert p.bucket.find().total_size() == sum(map(len, SEED.values()))
    assert [*p.bucket.find(delimiter="/").prefixes()] == ["kept/"] == [*p.bucket.find(delimiter="/").entries()]


@call("ObjectQuery.prefetch", "ObjectQuery.map", "ObjectQuery.partitions", "ObjectQuery.parallel")
def _(p: Place) -> None:
    assert {obj.key: obj.body for obj in p.bucket.find().prefetch()} == SEED
    assert [*p.bucket.find(glob="kept/*.txt").map(lambda obj: obj.size)] == [5, 10000]
    assert sorted(obj.key for part in p.bucket.find().partitions(3) for obj in part) == sorted(SEED)
    assert sorted(obj.key for obj in p.bucket.find().parallel(3)) == sorted(SEED)


@call("ObjectQuery.delete", "ObjectQuery.copy_to", "ObjectQuery.download_to")
def _(p: Place) -> None:
    p.bucket.find(prefix="kept/").copy_to(p.other, prefix=NEW)
    copied = p.other.find(prefix=NEW)
    assert {obj.key.removeprefix(NEW): obj.body for obj in copied} == SEED
    copied.delete()
    assert not [*copied]
    p.bucket.find(prefix="kept/").download_to(p.folder / "down")
    assert sorted(path.read_bytes() for path in (p.folder / "down").rglob("*") if path.is_file()) == sorted(SEED.values())


# -- the tests ----------------------------------------------------------------------------------------------------------------------


@contextmanager
def _nothing_else_changes(p: Place) -> Iterator[None]:
    before = p.snapshot()
    with suppress(s3.S3Unsupported):
        yield
    assert _without_new(p.snapshot()) == _without_new(before)


FIRST_NAME = {function: name for name, function in reversed(CALLS.items())}


@pytest.mark.parametrize("function", dict.fromkeys(CALLS.values()), ids=FIRST_NAME.get)
def test_a_call_is_right_or_unsupported(place: Place, function: Call) -> None:
    """It does what it says or raises S3Unsupported, and every other object and bucket is as it was, byte by byte."""
    with _nothing_else_changes(place):
        function(place)


def test_nothing_but_s3_unsupported_keeps_a_store_over_files_from_harm(rclone: Server, tmp_path: Path) -> None:
    """The test above can fail: boto3 alone, asked for the same, overwrites an object and deletes a bucket."""
    client = rclone.client()
    client.create_bucket(Bucket="harm-a")
    client.put_object(Bucket="harm-a", Key="k", Body=b"mine")
    client.put_object_tagging(Bucket="harm-a", Key="k", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    assert b"<Tagging" in client.get_object(Bucket="harm-a", Key="k")["Body"].read()
    client.delete_object(Bucket="harm-a", Key="k")
    client.delete_bucket_policy(Bucket="harm-a")
    assert "harm-a" not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]


CLASSES = (
    s3.S3Store, s3.S3Bucket, s3.S3Object, s3.ObjectQuery, Lifecycle, PublicAccess, Policy, Versioning, Tags, ObjectTags, Cors,
    BucketEncryption, Notifications,
)  # fmt: skip


def test_every_public_call_is_tried() -> None:
    """A method that is added is tried here, or this fails."""
    public = {f"{cls.__name__}.{name}" for cls in CLASSES for name in dir(cls) if not name.startswith("_") and name != "name"}
    assert public - CALLS.keys() == set()
