"""Every public call, on any store: it does what it says, or says S3Unsupported, and nothing else is touched.

Runs against moto's and rclone's server. To ask a store of your own, name it; the test makes buckets called ``mfs3-any-…`` (and
``mfs3-probe-…``) there, and deletes them::

    MFS3_ENDPOINT_URL=https://s3.example MFS3_ACCESS_KEY=… MFS3_SECRET_KEY=… python -m pytest tests/test_any_store.py

``MFS3_REGION`` is for a store that minds its region.
"""

from __future__ import annotations

import asyncio
import io
import os
import pickle
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.servers import Server

import messageflux_s3 as s3
from messageflux_s3._files.sync import SyncPlan
from messageflux_s3.subresources.cors import Cors, CorsConfiguration
from messageflux_s3.subresources.encryption import BucketEncryption, Encryption
from messageflux_s3.subresources.lifecycle import Lifecycle, LifecycleConfiguration
from messageflux_s3.subresources.notifications import Notifications
from messageflux_s3.subresources.policy import BucketPolicy, Policy
from messageflux_s3.subresources.public_access import PublicAccess
from messageflux_s3.subresources.tags import ObjectTags, Tags
from messageflux_s3.subresources.versioning import Versioning

REGION = os.environ.get("MFS3_REGION", "us-east-1")
SEED: dict[str, bytes] = {
    "kept/a.txt": b"alpha",
    "kept/b.json": b'{"n": 1}',
    "kept/looks-like-tags": b"<Tagging><TagSet></TagSet></Tagging>",
    "kept/looks-like-a-policy": b'{"Statement": []}',
    "kept/long.txt": b"line\n" * 2000,
}
NEW = "new/"  # below here a call may write; what it wrote is for its own test to look at

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
    stem: str  # with which the names of this test's buckets begin

    @property
    def obj(self) -> s3.S3Object:
        return self.bucket.object("kept/a.txt")

    def snapshot(self) -> Snapshot:
        """All buckets of this test, read by plain boto3: every object's bytes and metadata. Of all others that they are there.

        On a store of the user's, others come and go as they like.
        """
        client = self.client
        names = [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]
        found: Snapshot = {}
        for name in names:
            if not name.startswith(self.stem):
                if self.server.name != "yours":
                    found[name] = {}
                continue
            found[name] = {}
            for listed in client.list_objects_v2(Bucket=name).get("Contents", ()):
                answer = client.get_object(Bucket=name, Key=listed["Key"])
                metadata = tuple(sorted((name.lower(), value) for name, value in answer["Metadata"].items()))
                found[name][listed["Key"]] = (answer["Body"].read(), metadata)
            if self.server.root is not None:  # the truth, whatever the server says of it
                folder = self.server.root / name
                files = [path for path in folder.rglob("*") if path.is_file()]
                found[f"{name} on disk"] = {
                    path.relative_to(folder).as_posix(): (path.read_bytes(), ()) for path in files
                }
        return found


_clients: dict[str, Any] = {}  # to make one takes longer than most of the calls


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
    work, other, empty = (store.bucket(stem + end) for end in ("-a", "-b", "-c"))
    yield Place(server, store, work, other, empty, tmp_path, client, stem)
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


Call = Callable[[Place], object]
CALLS: dict[str, Call] = {}


def call(*names: str) -> Callable[[Call], Call]:
    """Register the function that makes these public calls and looks at what they did."""

    def register(function: Call) -> Call:
        CALLS.update(dict.fromkeys(names, function))
        return function

    return register


# -- the store --------------------------------------------------------------------------------------------------------------------


@call(
    "S3Store.ping", "S3Store.is_online", "S3Store.reload_credentials", "S3Store.close", "S3Store.lane", "S3Store.client"
)
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


@call(
    "S3Store.buckets",
    "S3Store.bucket",
    "S3Bucket.list_buckets",
    "S3Bucket.name",
    "S3Bucket.store",
    "S3Bucket.s3_resource",
)
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
    record = {
        "s3": {"bucket": {"name": p.bucket.name}, "object": {"key": "kept/a.txt"}},
        "eventName": "ObjectCreated:Put",
    }
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


@call(
    "S3Bucket.object",
    "S3Bucket.get_object",
    "S3Object.body",
    "S3Object.text",
    "S3Object.body_stream",
    "S3Object.key",
    "S3Object.boto3",
    "S3Object.from_boto3",
)
def _(p: Place) -> None:
    assert s3.S3Object.from_boto3(p.obj.boto3).body == b"alpha"
    assert p.bucket.get_object("kept/a.txt").body == p.bucket["kept/a.txt"].body == b"alpha"
    assert (p.obj.text, p.obj.body_stream.read(), p.obj.boto3.key) == ("alpha", b"alpha", "kept/a.txt")
    assert "kept/a.txt" in p.bucket
    assert "kept/none" not in p.bucket
    with pytest.raises(s3.S3NoSuchItem):
        p.bucket.get_object("kept/none")


@call(
    "S3Object.metadata",
    "S3Object.content_type",
    "S3Object.size",
    "S3Object.etag",
    "S3Object.last_modified",
    "S3Object.storage_class",
)
def _(p: Place) -> None:
    obj = p.obj
    assert (obj.metadata["m"], obj.size, obj.last_modified.tzinfo is not None) == ("1", 5, True)
    assert obj.content_type
    assert obj.storage_class
    assert '"' not in obj.etag


@call(
    "S3Object.exists",
    "S3Object.reload",
    "S3Object.json",
    "S3Bucket.get_json",
    "S3Bucket.put_json",
    "S3Object.version_id",
)
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
    assert (obj.reload().body, obj.metadata) == (
        b"one",
        {"who": "me"} | {k: v for k, v in obj.metadata.items() if k != "who"},
    )
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


@call(
    "S3Bucket.upload_file",
    "S3Bucket.download_file",
    "S3Object.download_to",
    "S3Bucket.upload_folder",
    "S3Bucket.download_folder",
)
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


@call(
    "S3Bucket.sync_from_folder", "S3Bucket.sync_to_folder",
    *(f"SyncPlan.{word}" for word in (
        "apply", "applied", "copied", "skipped", "deleted", "steps", "direction", "bucket_name", "prefix", "folder",
    )),
)  # fmt: skip
def _(p: Place) -> None:
    source = p.folder / "in"
    source.mkdir()
    (source / "f").write_bytes(b"file")
    p.bucket.put_object(NEW + "sync/gone", b"x")
    plan = p.bucket.sync_from_folder(source, NEW + "sync", delete=True, dry_run=True)
    assert ([step.key for step in plan.copied], [step.key for step in plan.deleted]) == (
        [NEW + "sync/f"],
        [NEW + "sync/gone"],
    )
    assert [obj.key for obj in p.bucket.find(prefix=NEW)] == [NEW + "sync/gone"]
    assert (plan.direction, plan.bucket_name, plan.applied, plan.apply().applied) == (
        "to_store",
        p.bucket.name,
        False,
        True,
    )
    assert len(p.bucket.sync_from_folder(source, NEW + "sync", delete=True).skipped) == 1
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


@call(
    "S3Bucket.usage", *(f"ObjectQuery.{word}" for word in ("usage", "tree", "to_pandas", "to_arrow", "arrow_batches"))
)
def _(p: Place) -> None:
    assert p.bucket.usage().count == p.bucket.find().usage().count == len(SEED)
    assert "a.txt" in str(p.bucket.find().tree())
    assert len(p.bucket.find().to_pandas()) == p.bucket.find().to_arrow().num_rows == len(SEED)
    assert p.bucket.find().arrow_batches().read_all().num_rows == len(SEED)


@call("S3Bucket.acquire_lock", "S3Bucket.check_lock", "S3Bucket.release_lock")
def _(p: Place) -> None:
    p.bucket.acquire_lock(NEW + "lock", {"who": "me"})
    assert p.bucket.check_lock(NEW + "lock") is not None
    p.bucket.release_lock(NEW + "lock")
    assert p.bucket.check_lock(NEW + "lock") is None


@call(
    "S3Bucket.lock",
    *(f"S3Lock.{word}" for word in ("key", "owner", "token", "lost", "check", "acquire", "renew", "release")),
)
def _(p: Place) -> None:
    lock = p.bucket.lock(NEW + "lock", ttl=30, owner="me")
    assert (lock.key, lock.owner, lock.token > 0, lock.lost) == (NEW + "lock", "me", True, False)
    lock.check()
    lock.renew()
    with pytest.raises(s3.S3LockError):
        p.bucket.lock(NEW + "lock", owner="you")
    lock.release()
    lock.acquire().release()
    with p.bucket.lock(NEW + "lock", owner="you") as after:
        assert after.token > lock.token


@call("S3Bucket.boto3", "S3Bucket.from_boto3")
def _(p: Place) -> None:
    assert s3.S3Bucket.from_boto3(p.bucket.boto3).exists()
    assert p.bucket.boto3.name == p.bucket.name


@call(
    "ClaimCheck.check_in",
    "ClaimCheck.check_out",
    "ClaimCheck.discard",
    "ClaimCheck.payload_object",
    "ClaimCheck.receipt_handle",
)
def _(p: Place) -> None:
    for wire in ("sqs-extended", "messageflux"):
        check = s3.ClaimCheck(p.empty, threshold=10, wire=wire)
        message = check.check_in(b"more than ten bytes", {})
        assert [obj.body for obj in p.empty.find()] == [b"more than ten bytes"]
        assert check.check_out(message).payload == b"more than ten bytes"
        stored = check.payload_object(message)
        assert stored is not None
        assert stored.bucket_name == p.empty.name
        assert check.discard(message)
        assert not [*p.empty.find()]
    assert check.receipt_handle({"ReceiptHandle": "abc", "Body": ""}) == "abc"


@call("fsspec")
def _(p: Place) -> None:
    from messageflux_s3.fs import MessagefluxS3FileSystem

    files, folder = MessagefluxS3FileSystem(p.store), f"{p.bucket.name}/{NEW}files"
    files.pipe_file(f"{folder}/a", b"alpha")
    with files.open(f"{folder}/b", "wb") as file:
        file.write(b"beta")
    files.copy(f"{folder}/a", f"{folder}/c")
    files.move(f"{folder}/c", f"{folder}/d")
    assert files.find(folder) == [f"{folder}/a", f"{folder}/b", f"{folder}/d"]
    assert files.cat([f"{folder}/b", f"{folder}/d"]) == {f"{folder}/b": b"beta", f"{folder}/d": b"alpha"}
    assert sorted(files.ls(f"{p.bucket.name}/kept", detail=False)) == [f"{p.bucket.name}/{key}" for key in sorted(SEED)]
    files.rm(folder, recursive=True)
    assert not files.exists(folder)


# -- the asynchronous face ----------------------------------------------------------------------------------------------------------


def in_async(work: Callable[[Place, s3.AsyncS3Store], Awaitable[None]]) -> Call:
    """A call that works on an asynchronous store."""

    async def with_store(p: Place) -> None:
        async with s3.AsyncS3Store(p.store) as store:
            await work(p, store)

    return lambda p: asyncio.run(with_store(p))


@call(*(f"AsyncS3Store.{word}" for word in (
    "config", "lane", "is_online", "bucket", "object", "create_bucket", "buckets", "ping", "close",
)))  # fmt: skip
@in_async
async def _(p: Place, store: s3.AsyncS3Store) -> None:
    assert await store.ping()
    assert store.is_online
    assert store.lane.reason
    assert store.config == p.store.config
    assert p.bucket.name in [bucket.name async for bucket in store.buckets()]
    assert (await store.object(p.obj.uri).load()).body == b"alpha"
    assert await (await store.create_bucket(p.empty.name)).exists()
    assert store.bucket(p.empty.name).name == p.empty.name


@call(*(f"AsyncS3Bucket.{word}" for word in (
    "exists", "object", "get_object", "put_object", "put_json", "get_json", "delete_object", "copy_object", "get_objects", "put_objects",
    "delete_objects", "upload_file", "download_file", "find", "list_common_prefixes",
)))  # fmt: skip
@in_async
async def _(p: Place, store: s3.AsyncS3Store) -> None:
    bucket = store.bucket(p.bucket.name)
    assert await bucket.exists()
    assert (await bucket.get_object("kept/a.txt")).body == b"alpha"
    await bucket.put_object(NEW + "x", b"one", {"who": "me"})
    assert (await bucket.object(NEW + "x").load()).metadata["who"] == "me"
    await bucket.copy_object(NEW + "x", NEW + "y")
    await bucket.delete_object(NEW + "x")
    await bucket.put_json(NEW + "j", [1])
    assert await bucket.get_json(NEW + "j") == [1]
    (p.folder / "in").write_bytes(b"file")
    await bucket.upload_file(p.folder / "in", NEW + "f")
    await bucket.download_file(NEW + "f", p.folder / "out")
    assert (p.folder / "out").read_bytes() == b"file"
    await bucket.put_objects((f"{NEW}many/{n}", b"x") for n in range(20))
    many = [f"{NEW}many/{n}" for n in range(20)]
    assert [obj.body async for obj in bucket.get_objects(many)] == [b"x"] * 20
    await bucket.delete_objects(many)
    assert [obj.key async for obj in bucket.find(prefix=NEW)] == [NEW + name for name in ("f", "j", "y")]
    assert await bucket.list_common_prefixes() == ["kept/", NEW]


@call(*(f"AsyncObjectQuery.{word}" for word in (
    "limit", "filter", "objects", "prefixes", "prefetch", "first", "count", "total_size", "collect", "delete",
)))  # fmt: skip
@in_async
async def _(p: Place, store: s3.AsyncS3Store) -> None:
    query = store.bucket(p.bucket.name).find(prefix="kept/")
    assert [obj.key async for obj in query.objects()] == sorted(SEED)
    assert [obj.key for obj in await query.limit(1).collect()] == ["kept/a.txt"]
    assert [obj.key for obj in await query.filter(lambda obj: obj.size == 5).collect()] == ["kept/a.txt"]
    assert {obj.key: obj.body async for obj in query.prefetch()} == SEED
    first = await query.first()
    assert first is not None
    assert (first.key, await query.count(), await query.total_size()) == (
        "kept/a.txt",
        len(SEED),
        sum(map(len, SEED.values())),
    )
    assert [prefix async for prefix in store.bucket(p.bucket.name).find(delimiter="/").prefixes()] == ["kept/"]
    await store.bucket(p.bucket.name).put_object(NEW + "x", b"")
    await store.bucket(p.bucket.name).find(prefix=NEW).delete()
    assert p.bucket.find(prefix=NEW).first() is None


@call(*(f"AsyncS3Object.{word}" for word in (
    "key", "bucket_name", "version_id", "uri", "url", "size", "etag", "last_modified", "storage_class", "metadata", "content_type", "body",
    "text", "load", "exists", "reload", "json", "read_range", "iter_chunks", "iter_lines", "put", "delete", "copy_to", "move_to",
    "download_to", "presigned_url",
)))  # fmt: skip
@in_async
async def _(p: Place, store: s3.AsyncS3Store) -> None:
    obj, known = await store.object(p.obj.uri).load(), p.bucket.get_object("kept/a.txt")
    for name in (
        "key",
        "bucket_name",
        "version_id",
        "uri",
        "url",
        "size",
        "etag",
        "last_modified",
        "storage_class",
        "metadata",
        "text",
    ):
        assert getattr(obj, name) == getattr(known, name), name
    assert (obj.body, obj.content_type, await obj.read_range(1, 3)) == (b"alpha", known.content_type, b"lp")
    assert await obj.reload().exists()
    assert await store.bucket(p.bucket.name)["kept/b.json"].json() == {"n": 1}
    long = store.bucket(p.bucket.name)["kept/long.txt"]
    assert b"".join([piece async for piece in long.iter_chunks(chunk_size=999)]) == SEED["kept/long.txt"]
    assert len([line async for line in long.iter_lines()]) == 2000
    await obj.download_to(p.folder / "a")
    assert (p.folder / "a").read_bytes() == b"alpha"
    assert "X-Amz-Signature" in await obj.presigned_url()
    new = await store.bucket(p.bucket.name)[NEW + "x"].put(b"new")
    await new.copy_to(NEW + "y")
    await new.move_to(NEW + "z")
    assert [found.key for found in p.bucket.find(prefix=NEW)] == [NEW + "y", NEW + "z"]
    await store.bucket(p.bucket.name)[NEW + "y"].delete()
    assert [found.key for found in p.bucket.find(prefix=NEW)] == [NEW + "z"]


# -- versions -----------------------------------------------------------------------------------------------------------------------


@call(*(f"AsyncObjectQuery.{word}" for word in (
    "entries", "map", "partitions", "parallel", "copy_to", "download_to", "bucket", "show", "tree", "usage", "to_pandas", "to_arrow",
    "arrow_batches",
)))  # fmt: skip
@in_async
async def _(p: Place, store: s3.AsyncS3Store) -> None:
    bucket, query = store.bucket(p.bucket.name), store.bucket(p.bucket.name).find(glob="kept/*.txt")
    assert [entry async for entry in bucket.find(delimiter="/").entries()] == ["kept/"]
    assert [size async for size in query.map(lambda obj: obj.size)] == [5, 10000]
    keys = []
    for part in await bucket.find().partitions(3):
        keys += [obj.key async for obj in part]
    assert sorted(keys) == sorted(SEED)
    assert sorted([obj.key async for obj in bucket.find().parallel(3)]) == sorted(SEED)
    assert (query.bucket.name, (await bucket.find().usage()).count) == (bucket.name, len(SEED))
    assert "a.txt" in str(await bucket.find().tree()) and "kept/a.txt" in str(await bucket.find().show())
    assert len(await bucket.find().to_pandas()) == (await bucket.find().to_arrow()).num_rows == len(SEED)
    assert sum([batch.num_rows async for batch in bucket.find().arrow_batches()]) == len(SEED)
    await bucket.find(prefix="kept/").copy_to(store.bucket(p.other.name), prefix=NEW)
    assert {obj.key.removeprefix(NEW): obj.body for obj in p.other.find(prefix=NEW)} == SEED
    await bucket.find(prefix="kept/").download_to(p.folder / "down")
    found = sorted(path.read_bytes() for path in (p.folder / "down").rglob("*") if path.is_file())
    assert found == sorted(SEED.values())


@call(*(f"AsyncS3Bucket.{word}" for word in (
    "upload_object", "download_object", "upload_folder", "download_folder", "sync_from_folder", "sync_to_folder", "find_objects",
    "list_objects", "compute_url", "show", "usage", "store", "clear_objects", "delete_bucket",
)))  # fmt: skip
@in_async
async def _(p: Place, store: s3.AsyncS3Store) -> None:
    bucket, source, out = store.bucket(p.bucket.name), p.folder / "in", io.BytesIO()
    source.mkdir()
    (source / "f").write_bytes(b"file")
    body = bytes(range(256)) * 50_000  # several parts
    await bucket.upload_object(NEW + "big", io.BytesIO(body), {"who": "me"})
    await bucket.download_object(NEW + "big", out)
    assert out.getvalue() == body
    assert await bucket.upload_folder(source, NEW + "up") == [NEW + "up/f"]
    await bucket.download_folder(NEW + "up", p.folder / "down")
    assert (p.folder / "down" / "f").read_bytes() == b"file"
    assert [step.key for step in (await bucket.sync_from_folder(source, NEW + "sync")).copied] == [NEW + "sync/f"]
    await bucket.sync_to_folder(NEW + "sync", p.folder / "synced")
    assert (p.folder / "synced" / "f").read_bytes() == b"file"
    assert [obj.key async for obj in bucket.find_objects(prefix="kept/")] == sorted(SEED)
    assert {obj.key async for obj in bucket.list_objects()} >= SEED.keys()
    assert bucket.compute_url("kept/a.txt") == p.obj.url and bucket.store.bucket(bucket.name).name == bucket.name
    assert str(await bucket.show()) and (await bucket.usage("kept/")).count == len(SEED)
    extra = await store.create_bucket(p.bucket.name + "-new")
    await extra.put_object("k", b"x")
    await extra.clear_objects()
    await extra.delete_bucket()
    assert not await extra.exists()


@call(
    *(f"AsyncS3Bucket.{word}" for word in ("lock", "acquire_lock", "check_lock", "release_lock")),
    "AsyncS3Object.update",
)
@in_async
async def _(p: Place, store: s3.AsyncS3Store) -> None:
    bucket = store.bucket(p.bucket.name)
    async with bucket.lock(NEW + "lock", ttl=30, owner="me") as lock:
        assert lock.token > 0
    await bucket.acquire_lock(NEW + "file", {"user": "me"})
    assert (await bucket.check_lock(NEW + "file") or {})["user"] == "me"
    await bucket.release_lock(NEW + "file")
    counter = await bucket.put_object(NEW + "n", b"1")
    await counter.update(lambda body: (body or b"") + b"2")
    assert p.bucket[NEW + "n"].body == b"12"


@call(
    *(f"AsyncS3Bucket.{word}" for word in (
        "lifecycle", "tags", "cors", "encryption", "notifications", "set_lifetime_in_days", "versioning",
    )),
    "AsyncS3Object.tags",
)  # fmt: skip
@in_async
async def _(p: Place, store: s3.AsyncS3Store) -> None:
    bucket = store.bucket(p.bucket.name)
    await bucket.lifecycle.expire(days=30, prefix="never/")
    assert len((await bucket.lifecycle.get()).rules) == 1
    await bucket.set_lifetime_in_days(3650)
    await bucket.lifecycle.delete()
    await bucket.tags.ensure({"a": "1"})
    assert dict(await bucket.tags.get()) == {"a": "1"}
    await bucket.tags.delete()
    assert await bucket.cors.get() == p.bucket.cors.get()
    assert await bucket.encryption.get() == p.bucket.encryption.get()
    assert await bucket.notifications.get() == p.bucket.notifications.get()
    assert await bucket.versioning.is_enabled() is False
    obj = await bucket.put_object(NEW + "tagged", b"x")
    await obj.tags.ensure({"b": "2"})
    assert dict(await obj.tags.get()) == {"b": "2"}


@call(*(f"AsyncS3Bucket.{word}" for word in ("public_access", "allow_public_access", "policy")))
@in_async
async def _(p: Place, store: s3.AsyncS3Store) -> None:
    bucket = store.bucket(p.bucket.name)
    await bucket.allow_public_access()
    assert (await bucket.public_access.status()).is_public
    await bucket.public_access.block()
    await bucket.policy.delete()


@call("AsyncS3Object.versions", "AsyncS3Object.make_current", "AsyncS3Object.undelete")
@in_async
async def _(p: Place, store: s3.AsyncS3Store) -> None:
    empty = store.bucket(p.empty.name)
    await empty.versioning.enable()
    obj = await empty.put_object(NEW + "v", b"one")
    await obj.put(b"two")
    _, oldest = [version async for version in obj.versions()]
    await oldest.make_current()
    assert p.empty[NEW + "v"].body == b"one"
    await obj.delete()
    assert await obj.undelete()
    await empty.clear_objects(versions=True)


@call("AsyncS3Store.probe")
@in_async
async def _(p: Place, store: s3.AsyncS3Store) -> None:
    assert (await store.probe()).list_v2 is not None


@call(*(f"AsyncClaimCheck.{word}" for word in (
    "check_in", "check_out", "discard", "payload_object", "receipt_handle", "threshold", "wire", "allowed_buckets",
)))  # fmt: skip
@in_async
async def _(p: Place, store: s3.AsyncS3Store) -> None:
    check = s3.AsyncClaimCheck(store.bucket(p.empty.name), threshold=10)
    assert (check.threshold, check.wire, [*check.allowed_buckets]) == (10, "sqs-extended", [p.empty.name])
    message = await check.check_in(b"more than ten bytes", {})
    assert (await check.check_out(message)).payload == b"more than ten bytes"
    stored = check.payload_object(message)
    assert stored is not None and await stored.read() == b"more than ten bytes"
    assert await check.discard(message)
    assert not [*p.empty.find()]
    assert check.receipt_handle({"ReceiptHandle": "abc", "Body": ""}) == "abc"


@call(*(f"AsyncS3Object.{word}" for word in ("open", "read", "preview", "presigned_post", "bucket")))
@in_async
async def _(p: Place, store: s3.AsyncS3Store) -> None:
    bucket = store.bucket(p.bucket.name)
    async with bucket[NEW + "opened"].open("wb") as file:
        await file.write(b"written")
    async with bucket[NEW + "opened"].open() as file:
        assert await file.read() == b"written"
    obj = bucket["kept/a.txt"]
    assert await obj.read() == b"alpha" and obj.bucket.name == bucket.name
    assert "alpha" in str(await obj.preview()) and "policy" in (await bucket[NEW + "p"].presigned_post()).fields


@call(*(f"AsyncS3Store.{word}" for word in ("objects_from", "reload_credentials", "show")))
@in_async
async def _(p: Place, store: s3.AsyncS3Store) -> None:
    record = {
        "s3": {"bucket": {"name": p.bucket.name}, "object": {"key": "kept/a.txt"}},
        "eventName": "ObjectCreated:Put",
    }
    [found] = store.objects_from({"Records": [record]})
    assert await found.read() == b"alpha"
    store.reload_credentials()
    assert p.bucket.name in str(await store.show())


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
    p.bucket.delete_objects(
        [p.bucket.object("kept/a.txt", version_id="never-there"), p.bucket.object("kept/b.json", version_id="x")]
    )


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


@call(
    "S3Bucket.lifecycle",
    "Lifecycle.expire",
    "Lifecycle.get",
    "Lifecycle.remove",
    "Lifecycle.ensure",
    "Lifecycle.change",
)
def _(p: Place) -> None:
    p.bucket.lifecycle.expire(days=7, prefix="tmp/", id="ours")
    p.bucket.lifecycle.ensure(s3.LifecycleRule("sweep", prefix="x/", expire_days=3))
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
    p.bucket.lifecycle.ensure(s3.LifecycleRule("r", prefix="x/", min_size=10, expire_days=5))
    assert p.bucket.lifecycle.get().rules[0].min_size == 10


@call("Lifecycle.set_lifetime", "S3Bucket.set_lifetime_in_days")
def _(p: Place) -> None:
    p.bucket.set_lifetime_in_days(30)
    assert [(rule.id, rule.expire_days) for rule in p.bucket.lifecycle.get().rules] == [("expire", 30)]
    p.bucket.lifecycle.set_lifetime(0)
    assert p.bucket.lifecycle.get().rules == ()


@call(
    "S3Bucket.public_access",
    "PublicAccess.allow",
    "PublicAccess.status",
    "PublicAccess.block",
    "S3Bucket.allow_public_access",
)
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
    p.bucket.policy.ensure(statement)
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


@call(
    "S3Bucket.tags", "Tags.get", "Tags.put", "Tags.update", "Tags.remove", "Tags.ensure", "Tags.change", "Tags.delete"
)
def _(p: Place) -> None:
    _tags(p.bucket.tags)


@call(
    "S3Object.tags",
    *(f"ObjectTags.{word}" for word in ("get", "put", "update", "remove", "ensure", "change", "delete")),
)
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
    tags.ensure({"d": "4"})
    tags.remove("a")
    assert dict(tags.get()) == {"b": "2", "c": "3", "d": "4"}
    assert tags.change(tags.get()).is_empty
    tags.delete()
    assert not tags.get()


@call("S3Bucket.cors", "Cors.get", "Cors.ensure", "Cors.remove", "Cors.put", "Cors.change", "Cors.delete")
def _(p: Place) -> None:
    p.bucket.cors.ensure(s3.CorsRule("a", origins=("https://a.example",)))
    assert [rule.origins for rule in p.bucket.cors.get().rules] == [("https://a.example",)]
    assert p.bucket.cors.change(p.bucket.cors.get()).is_empty
    p.bucket.cors.put(CorsConfiguration((s3.CorsRule("b", origins=("*",)),)))
    p.bucket.cors.remove("b")
    p.bucket.cors.delete()
    assert p.bucket.cors.get().rules == ()


@call(
    "S3Bucket.encryption",
    "BucketEncryption.get",
    "BucketEncryption.ensure",
    "BucketEncryption.put",
    "BucketEncryption.change",
)
def _(p: Place) -> None:
    p.bucket.encryption.ensure("AES256")
    p.bucket.encryption.put(Encryption("AES256"))
    assert p.bucket.encryption.get().algorithm == "AES256"
    assert p.bucket.encryption.change(p.bucket.encryption.get()).is_empty


@call("BucketEncryption.delete")
def _(p: Place) -> None:
    p.empty.encryption.delete()
    assert p.empty.exists()


@call(
    "S3Bucket.notifications", "Notifications.get", "Notifications.remove", "Notifications.put", "Notifications.change"
)
def _(p: Place) -> None:
    assert p.bucket.notifications.get().targets == ()
    p.bucket.notifications.remove("never there")
    p.bucket.notifications.put(p.bucket.notifications.get())
    assert p.bucket.notifications.change(p.bucket.notifications.get()).is_empty


@call("Notifications.ensure")
def _(p: Place) -> None:
    plan = p.bucket.notifications.ensure(
        s3.Notification("n", "arn:aws:sqs:us-east-1:123456789012:none", prefix="in/"), dry_run=True
    )
    assert not plan.is_empty


@call("Notifications.delete")
def _(p: Place) -> None:
    p.empty.notifications.delete()
    assert p.empty.exists()


# -- the query ----------------------------------------------------------------------------------------------------------------------


@call(
    "ObjectQuery.limit",
    "ObjectQuery.filter",
    "ObjectQuery.objects",
    "ObjectQuery.first",
    "ObjectQuery.collect",
    "ObjectQuery.bucket",
)
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
    assert sorted(path.read_bytes() for path in (p.folder / "down").rglob("*") if path.is_file()) == sorted(
        SEED.values()
    )


# -- the tests ----------------------------------------------------------------------------------------------------------------------


@contextmanager
def _nothing_else_changes(p: Place, name: str) -> Iterator[None]:
    before = p.snapshot()
    unsupported = False
    try:
        yield
    except s3.S3Unsupported:
        unsupported = True
    assert _without_new(p.snapshot()) == _without_new(before)
    if p.server.name in UNSUPPORTED:
        assert unsupported == (name in UNSUPPORTED[p.server.name])


EVERYWHERE = {
    "Versioning.delete", "a lifecycle filter by size", "delete of a version that is not there",
    "bulk delete of a version that is not there",
}  # fmt: skip
UNSUPPORTED: dict[str, set[str]] = {
    "moto": EVERYWHERE,
    "rclone": EVERYWHERE | {
        "BucketEncryption.delete", "Lifecycle.abort_unfinished_uploads", "Lifecycle.expire_noncurrent", "Lifecycle.put",
        "Lifecycle.set_lifetime", "Lifecycle.transition", "Notifications.delete", "Notifications.ensure", "ObjectTags.delete alone",
        "Policy.delete alone", "PublicAccess.block alone", "PublicAccess.status alone", "S3Bucket.acquire_lock", "S3Bucket.cors",
        "AsyncS3Bucket.lifecycle", "AsyncS3Bucket.public_access", "AsyncS3Bucket.lock", "AsyncS3Object.versions",
        "S3Bucket.encryption", "S3Bucket.lifecycle", "S3Bucket.lock", "S3Bucket.notifications", "S3Bucket.policy",
        "S3Bucket.public_access", "S3Bucket.tags", "S3Object.tags", "S3Object.update", "S3Object.versions", "delete if_match",
        "find versions where none are kept", "put_object if_absent", "put_object if_match", "undelete where none are kept",
        "versions where none are kept",
    },
}  # fmt: skip
"""What the servers of the tests cannot do: so that a library that refuses everything does not pass."""

FIRST_NAME = {function: name for name, function in reversed(CALLS.items())}


@pytest.mark.parametrize("function", dict.fromkeys(CALLS.values()), ids=FIRST_NAME.get)
def test_a_call_is_right_or_unsupported(place: Place, function: Call) -> None:
    """It does what it says or raises S3Unsupported, and every other object and bucket is as it was, byte by byte."""
    with _nothing_else_changes(place, FIRST_NAME[function]):
        function(place)


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


def test_each_word_of_a_setting_by_itself(place: Place) -> None:
    """On a bucket with objects and on an empty one, on an object and on one that looks like a document of tags: one word at a time."""
    tried: dict[str, Callable[[], object]] = {}
    for bucket in (place.bucket, place.empty):
        tried |= {f"{name} of {bucket.name}": partial(word, bucket) for name, word in WORDS.items()}
    for key in ("kept/a.txt", "kept/looks-like-tags"):
        tried |= {f"{name} of {key}": partial(word, place.bucket[key].tags) for name, word in TAG_WORDS.items()}
    before, refused = place.snapshot(), []
    for name, word in tried.items():
        try:
            word()
        except s3.S3Unsupported:
            refused.append(name)
        if place.server.root is not None:
            assert place.snapshot() == before, name
    assert place.snapshot() == before
    if place.server.name == "rclone":
        known = tuple(
            f"versioning.{word} of" for word in ("get", "is_enabled", "suspend", "put", "change")
        )  # "no", rightly
        assert refused == [name for name in tried if not name.startswith(known)]
    if place.server.name == "moto":
        assert refused == [f"versioning.delete of {bucket.name}" for bucket in (place.bucket, place.empty)]


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
    BucketEncryption, Notifications, SyncPlan, s3.S3Lock, s3.ClaimCheck, s3.AsyncClaimCheck, s3.AsyncS3Store, s3.AsyncS3Bucket,
    s3.AsyncS3Object, s3.AsyncObjectQuery,
)  # fmt: skip


def test_every_public_call_is_tried() -> None:
    """A method that is added is tried here, or this fails."""
    public = {
        f"{cls.__name__}.{name}" for cls in CLASSES for name in dir(cls) if not name.startswith("_") and name != "name"
    }
    assert public - CALLS.keys() == set()
