"""Calls that check their own results; each runs on any store, or raises S3Unsupported there."""

from __future__ import annotations

import asyncio
import io
import pickle
import re
import urllib.request
from collections.abc import Awaitable, Callable

import pytest

import messageflux_s3 as s3
from messageflux_s3 import aio
from messageflux_s3.subresources.cors import CorsConfiguration
from messageflux_s3.subresources.encryption import Encryption
from messageflux_s3.subresources.lifecycle import LifecycleConfiguration
from messageflux_s3.subresources.policy import BucketPolicy
from messageflux_s3.subresources.tags import Tags

from .catalogue import CATALOGUE, Call, add
from .place import Place

SEED: dict[str, bytes] = {
    "kept/a.txt": b"alpha",
    "kept/b.json": b'{"n": 1}',
    "kept/looks-like-tags": b"<Tagging><TagSet></TagSet></Tagging>",
    "kept/looks-like-a-policy": b'{"Statement": []}',
    "kept/long.txt": b"line\n" * 2000,
}
"""The objects in ``place.bucket`` and in ``place.other`` before each call."""

NEW = "new/"
"""Prefix below which a call may write; only the call itself checks what it wrote there."""

Function = Callable[[Place], object]


class CheckedCall(Call):
    """A call that asserts what it returns and what it changes."""


def checked_calls() -> list[CheckedCall]:
    """Return the calls of the catalogue that check their own results."""
    return [call for call in CATALOGUE if isinstance(call, CheckedCall)]


def call(*names: str) -> Callable[[Function], Function]:
    """Add a function to the catalogue. The first name is that of the call; those of the form Class.member are what it covers."""

    def register(function: Function) -> Function:
        add(CheckedCall(names[0], tuple(name for name in names if re.fullmatch(r"\w+\.\w+", name)), function))
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


@call("S3Store.config", "S3Store.resource", "S3Store.from_resource", "S3Store.from_client")
def _(p: Place) -> None:
    for again in (s3.S3Store.from_resource(p.store.resource), s3.S3Store.from_client(p.store.client)):
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


@call(
    "attributes of a bucket", "S3Bucket.uri", "S3Bucket.url", "S3Bucket.region", "S3Bucket.creation_date",
)  # fmt: skip
def _(p: Place) -> None:
    assert (p.bucket.uri, p.bucket.url) == (f"s3://{p.bucket.name}", p.obj.url.removesuffix("/kept/a.txt"))
    assert p.bucket.region
    found = {bucket.name: bucket.creation_date for bucket in p.store.buckets(prefix=p.bucket.name)}
    assert found[p.bucket.name] == p.bucket.creation_date is not None


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


@call("S3Store.observe", "S3Store.on_request")
def _(p: Place) -> None:
    events: list[s3.RequestEvent] = []
    bucket = p.store.bucket(p.bucket.name)
    with p.store.observe() as seen, p.store.on_request(events.append):
        assert bucket.object("kept/a.txt").body == b"alpha"
    assert seen.operations["GetObject"].requests == 1
    [event] = [event for event in events if event.operation == "GetObject"]
    assert (event.bucket, event.key, event.status, event.bytes_received) == (p.bucket.name, "kept/a.txt", 200, 5)


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


_HEADERS = (
    "content_encoding", "content_language", "content_disposition", "cache_control", "expires", "encryption", "kms_key_id", "checksums",
)  # fmt: skip


@call("further headers of an object", *(f"S3Object.{word}" for word in _HEADERS))
def _(p: Place) -> None:
    obj = p.bucket.put_object(NEW + "x", b"new", cache_control="max-age=7", content_language="en")
    assert (obj.cache_control, obj.content_language, obj.content_disposition, obj.expires) == (
        "max-age=7",
        "en",
        None,
        None,
    )
    assert (obj.content_encoding, obj.kms_key_id, obj.encryption in (None, "AES256")) == (None, None, True)
    assert all(isinstance(text, str) for pair in obj.checksums.items() for text in pair)


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


@call("S3Object.set_metadata")
def _(p: Place) -> None:
    obj = p.bucket.put_object(NEW + "x", "one", {"who": "me"}, content_type="text/x-own")
    obj.set_metadata({"who": "you"})
    assert (obj.reload().metadata["who"], obj.content_type, obj.body) == ("you", "text/x-own", b"one")


@call("AsyncS3Object.set_metadata")
def _(p: Place) -> None:
    async def change(p: Place, store: s3.AsyncS3Store) -> None:
        obj = await store.bucket(p.bucket.name).put_object(NEW + "x", b"one", {"who": "me"})
        await obj.set_metadata({"who": "you"})
        assert p.bucket[NEW + "x"].metadata["who"] == "you"

    in_async(change)(p)


_NAMES_OF_PATHS = ("bucket", "key", "name", "object", "parent", "parents", "parts", "stem", "suffix", "suffixes", "uri")


@call(
    "S3Bucket.path", "S3Object.path", *(f"S3Path.{word}" for word in (
        *_NAMES_OF_PATHS, "exists", "glob", "is_dir", "is_file", "is_relative_to", "iterdir", "joinpath", "open", "read_bytes", "read_text",
        "relative_to", "rglob", "unlink", "with_name", "with_stem", "with_suffix", "write_bytes", "write_text",
    )),
)  # fmt: skip
def _(p: Place) -> None:
    path = p.bucket.path("kept") / "a.txt"
    assert path == p.obj.path == p.bucket.path().joinpath("kept", "a.txt")
    assert path.is_relative_to(path.parent) and path.relative_to(path.parent).as_posix() == "a.txt"
    assert (path.name, path.stem, path.suffix, path.parent.key, path.read_text()) == (
        "a.txt",
        "a",
        ".txt",
        "kept",
        "alpha",
    )
    assert (path.exists(), path.is_file(), path.is_dir(), path.parent.is_dir()) == (True, True, False, True)
    assert [found.key for found in path.parent.iterdir()] == sorted(SEED)
    assert [found.key for found in p.bucket.path().rglob("*.txt")] == ["kept/a.txt", "kept/long.txt"]
    assert [found.key for found in path.parent.glob("*.txt")] == ["kept/a.txt", "kept/long.txt"]
    new = p.bucket.path(NEW + "x")
    assert new.write_bytes(b"one") == 3
    assert new.with_name("y").write_text("two") == 3
    with new.with_stem("y").open("rb") as file:
        assert file.read() == b"two"
    new.unlink()
    with pytest.raises(FileNotFoundError):
        new.with_suffix(".none").read_bytes()
    with pytest.raises(FileNotFoundError):
        new.unlink()


@call(
    "AsyncS3Bucket.path", "AsyncS3Object.path", *(f"AsyncS3Path.{word}" for word in (
        *_NAMES_OF_PATHS, "exists", "glob", "is_dir", "is_file", "is_relative_to", "iterdir", "joinpath", "open", "read_bytes", "read_text",
        "relative_to", "rglob", "unlink", "with_name", "with_stem", "with_suffix", "write_bytes", "write_text",
    )),
)  # fmt: skip
def _(p: Place) -> None:
    async def use(p: Place, store: s3.AsyncS3Store) -> None:
        path = store.bucket(p.bucket.name).path("kept") / "a.txt"
        assert path == store.object(p.obj.uri).path
        for name in ("key", "name", "parts", "stem", "suffix", "suffixes", "uri"):
            assert getattr(path, name) == getattr(p.obj.path, name)
        assert [each.key for each in (path.parent, *path.parents, path.object)] == ["kept", "kept", "", "kept/a.txt"]
        assert path.is_relative_to(path.parent) and path.relative_to(path.parent).as_posix() == "a.txt"
        assert path.with_suffix(".csv").key == "kept/a.csv"
        assert await path.exists() and await path.is_file() and await path.parent.is_dir()
        assert (await path.read_bytes(), await path.read_text()) == (b"alpha", "alpha")
        assert [found.key async for found in path.parent.iterdir()] == sorted(SEED)
        assert [found.key async for found in path.parent.glob("*.json")] == ["kept/b.json"]
        assert [found.key async for found in path.bucket.path().rglob("*.json")] == ["kept/b.json"]
        new = path.bucket.path(NEW + "x")
        await new.write_bytes(b"one")
        await new.with_name("y").write_text("two")
        async with new.with_stem("y").open("rb") as file:
            assert await file.read() == b"two"
        await new.unlink()
        assert not await new.exists()

    in_async(use)(p)


@call("S3Object.fs_uri", "S3Store.storage_options", "AsyncS3Object.fs_uri", "AsyncS3Store.storage_options")
def _(p: Place) -> None:
    import fsspec

    with fsspec.open(p.obj.fs_uri, **p.store.storage_options) as file:
        assert file.read() == b"alpha"
    store = s3.AsyncS3Store(p.store)
    assert (store.storage_options, store.object(p.obj.uri).fs_uri) == (p.store.storage_options, p.obj.fs_uri)


def _send_part(url: str) -> str:
    headers = {"Content-Type": "application/octet-stream"}  # moto parses the form that urllib takes it for otherwise
    with urllib.request.urlopen(urllib.request.Request(url, b"part", headers, method="PUT")) as answer:
        return str(answer.headers["ETag"])


@call("S3Object.presigned_parts", *(f"PresignedParts.{word}" for word in ("abort", "complete", "upload_id", "urls")))
def _(p: Place) -> None:
    obj = p.bucket[NEW + "parts"]
    parts = obj.presigned_parts(2)
    assert len(parts.urls) == 2
    again = obj.presigned_parts(1, upload_id=parts.upload_id)
    parts.complete([_send_part(again.urls[0])])
    assert obj.body == b"part"
    p.bucket[NEW + "other"].presigned_parts(1).abort()
    assert not p.bucket[NEW + "other"].exists()


@call(
    "AsyncS3Object.presigned_parts",
    *(f"AsyncPresignedParts.{word}" for word in ("abort", "complete", "upload_id", "urls")),
)
def _(p: Place) -> None:
    async def use(p: Place, store: s3.AsyncS3Store) -> None:
        obj = store.bucket(p.bucket.name)[NEW + "parts"]
        parts = await obj.presigned_parts(2)
        assert parts.upload_id
        await parts.complete([_send_part(parts.urls[0])])
        assert await obj.read() == b"part"
        await (await obj.presigned_parts(1)).abort()

    in_async(use)(p)


@call("S3Object.restore")
def _(p: Place) -> None:
    obj = p.bucket.put_object(NEW + "x", b"new", storage_class="GLACIER")
    obj.restore(days=1)
    assert p.client.head_object(Bucket=p.bucket.name, Key=obj.key)["Restore"]


@call("AsyncS3Object.restore")
def _(p: Place) -> None:
    async def restore(p: Place, store: s3.AsyncS3Store) -> None:
        obj = await store.bucket(p.bucket.name).put_object(NEW + "x", b"new", storage_class="GLACIER")
        await obj.restore(days=1)

    in_async(restore)(p)


@call(
    "S3Object.annotations", "AsyncS3Object.annotations",
    *(f"{owner}ObjectAnnotations.{word}" for owner in ("", "Async") for word in ("delete", "get", "list", "put")),
)  # fmt: skip
def _(p: Place) -> None:
    async def use(p: Place, store: s3.AsyncS3Store) -> None:
        annotations = store.object(p.obj.uri).annotations
        for work in (annotations.list(), annotations.get("n"), annotations.put("n", "text"), annotations.delete("n")):
            with pytest.raises(s3.S3Unsupported):
                await work

    own = p.obj.annotations
    for ask in (own.list, lambda: own.get("n"), lambda: own.put("n", "text"), lambda: own.delete("n")):
        with pytest.raises(s3.S3Unsupported):
            ask()
    in_async(use)(p)
    assert p.obj.body == b"alpha"


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
    "S3Bucket.usage",
    *(f"ObjectQuery.{word}" for word in ("usage", "tree", "browse", "to_pandas", "to_arrow", "arrow_batches")),
)
def _(p: Place) -> None:
    assert p.bucket.usage().count == p.bucket.find().usage().count == len(SEED)
    assert "a.txt" in str(p.bucket.find().tree()) and "kept/" in str(p.bucket.find().browse())
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


# -- the async interface ----------------------------------------------------------------------------------------------------------


def in_async(work: Callable[[Place, s3.AsyncS3Store], Awaitable[None]]) -> Function:
    """Return a function that runs a coroutine function with an async store."""

    async def with_store(p: Place) -> None:
        async with s3.AsyncS3Store(p.store) as store:
            await work(p, store)

    return lambda p: asyncio.run(with_store(p))


@call(*(f"AsyncS3Store.{word}" for word in (
    "config", "lane", "is_online", "bucket", "object", "create_bucket", "buckets", "ping", "close", "from_client", "from_resource",
)))  # fmt: skip
@in_async
async def _(p: Place, store: s3.AsyncS3Store) -> None:
    assert await store.ping()
    assert store.is_online
    assert store.lane.reason
    assert store.config == p.store.config
    for again in (s3.AsyncS3Store.from_client(p.store.client), s3.AsyncS3Store.from_resource(p.store.resource)):
        async with again:
            assert await again.ping()
    assert p.bucket.name in [bucket.name async for bucket in store.buckets()]
    assert (await store.object(p.obj.uri).load()).body == b"alpha"
    assert await (await store.create_bucket(p.empty.name)).exists()
    assert store.bucket(p.empty.name).name == p.empty.name


@call(
    "attributes of an async bucket",
    *(f"AsyncS3Bucket.{word}" for word in ("uri", "url", "region", "creation_date", "load")),
)
@in_async
async def _(p: Place, store: s3.AsyncS3Store) -> None:
    bucket = await store.bucket(p.bucket.name).load()
    assert (bucket.uri, bucket.url, bucket.region, bucket.creation_date) == (
        p.bucket.uri,
        p.bucket.url,
        p.bucket.region,
        p.bucket.creation_date,
    )


@call(*(f"AsyncS3Bucket.{word}" for word in (
    "exists", "name", "object", "get_object", "put_object", "put_json", "get_json", "delete_object", "copy_object", "get_objects",
    "put_objects", "delete_objects", "upload_file", "download_file", "find", "list_common_prefixes",
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
    "limit", "filter", "sequential", "objects", "prefixes", "prefetch", "first", "count", "total_size", "collect", "delete",
)))  # fmt: skip
@in_async
async def _(p: Place, store: s3.AsyncS3Store) -> None:
    query = store.bucket(p.bucket.name).find(prefix="kept/")
    assert [obj.key async for obj in query.objects()] == sorted(SEED)
    assert [obj.key for obj in await query.limit(1).collect()] == ["kept/a.txt"]
    assert [obj.key for obj in await query.sequential().collect()] == sorted(SEED)
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


@call("further headers of an async object", *(f"AsyncS3Object.{word}" for word in _HEADERS))
@in_async
async def _(p: Place, store: s3.AsyncS3Store) -> None:
    obj, known = await store.object(p.obj.uri).load(), p.bucket.get_object("kept/a.txt")
    assert [getattr(obj, name) for name in _HEADERS] == [getattr(known, name) for name in _HEADERS]


# -- versions -----------------------------------------------------------------------------------------------------------------------


@call(*(f"AsyncObjectQuery.{word}" for word in (
    "entries", "map", "partitions", "parallel", "copy_to", "download_to", "bucket", "show", "tree", "usage", "to_pandas", "to_arrow",
    "arrow_batches", "browse",
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
    assert "kept/" in str(await bucket.find().browse())
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


@call(*(f"AsyncS3Store.{word}" for word in ("objects_from", "observe", "on_request", "reload_credentials", "show")))
@in_async
async def _(p: Place, store: s3.AsyncS3Store) -> None:
    record = {
        "s3": {"bucket": {"name": p.bucket.name}, "object": {"key": "kept/a.txt"}},
        "eventName": "ObjectCreated:Put",
    }
    [found] = store.objects_from({"Records": [record]})
    events: list[s3.RequestEvent] = []
    with store.observe() as seen, store.on_request(events.append):
        assert await found.read() == b"alpha"
    assert seen.requests == len(events) == 1
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
    "ObjectQuery.sequential",
    "ObjectQuery.objects",
    "ObjectQuery.first",
    "ObjectQuery.collect",
    "ObjectQuery.bucket",
)
def _(p: Place) -> None:
    query = p.bucket.find(glob="kept/*.txt")
    assert [obj.key for obj in query.objects()] == ["kept/a.txt", "kept/long.txt"]
    assert [obj.key for obj in query.limit(1)] == ["kept/a.txt"]
    assert [obj.key for obj in query.sequential()] == ["kept/a.txt", "kept/long.txt"]
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


# -- the async classes that other async classes return -------------------------------------------------------------------------------


@call(*(f"AsyncObjectFile.{word}" for word in (
    "name", "mode", "closed", "size", "readable", "writable", "seekable", "read", "readline", "readlines", "readinto", "write",
    "writelines", "seek", "tell", "truncate", "flush", "close", "abort",
)))  # fmt: skip
@in_async
async def _(p: Place, store: s3.AsyncS3Store) -> None:
    bucket = store.bucket(p.bucket.name)
    file = await bucket[NEW + "file"].open("wb")
    assert (file.name, file.mode, file.writable(), file.readable()) == (NEW + "file", "wb", True, False)
    await file.seek(0, 2)  # a file that is moved to its end first can be truncated
    await file.write(b"one\nxx")
    assert await file.truncate(4) == 4
    await file.seek(4)
    await file.writelines([b"two\n", b"three"])
    await file.flush()
    assert await file.tell() == 13
    await file.close()
    assert file.closed
    assert p.bucket[NEW + "file"].body == b"one\ntwo\nthree"
    async with bucket[NEW + "file"].open() as reader:
        assert (reader.size, reader.seekable(), await reader.readline()) == (13, True, b"one\n")
        assert await reader.readlines() == [b"two\n", b"three"]
        assert await reader.seek(4) == 4
        buffer = bytearray(3)
        assert (await reader.readinto(buffer), bytes(buffer), await reader.read()) == (3, b"two", b"\nthree")
    dropped = await bucket[NEW + "dropped"].open("wb")
    await dropped.write(b"x")
    await dropped.abort()
    assert not p.bucket[NEW + "dropped"].exists()


@call(*(f"AsyncSyncPlan.{word}" for word in (
    "apply", "applied", "copied", "skipped", "deleted", "steps", "direction", "bucket_name", "prefix", "folder",
)))  # fmt: skip
@in_async
async def _(p: Place, store: s3.AsyncS3Store) -> None:
    source = p.folder / "in"
    source.mkdir()
    (source / "f").write_bytes(b"file")
    p.bucket.put_object(NEW + "sync/gone", b"x")
    plan = await store.bucket(p.bucket.name).sync_from_folder(source, NEW + "sync", delete=True, dry_run=True)
    assert [step.key for step in plan.copied] == [NEW + "sync/f"]
    assert [step.key for step in plan.deleted] == [NEW + "sync/gone"]
    assert (len(plan.steps), plan.skipped, plan.applied) == (2, [], False)
    assert (plan.direction, plan.bucket_name, plan.prefix.strip("/"), plan.folder) == (
        "to_store",
        p.bucket.name,
        NEW + "sync",
        str(source),
    )
    assert (await plan.apply()).applied
    assert [obj.key for obj in p.bucket.find(prefix=NEW)] == [NEW + "sync/f"]


@call(*(f"AsyncS3Lock.{word}" for word in ("key", "owner", "token", "lost", "check", "acquire", "renew", "release")))
@in_async
async def _(p: Place, store: s3.AsyncS3Store) -> None:
    bucket = store.bucket(p.bucket.name)
    lock = await bucket.lock(NEW + "lock", ttl=30, owner="me")
    assert (lock.key, lock.owner, lock.token > 0, lock.lost) == (NEW + "lock", "me", True, False)
    lock.check()
    await lock.renew()
    with pytest.raises(s3.S3LockError):
        await bucket.lock(NEW + "lock", owner="you")
    await lock.release()
    await (await lock.acquire()).release()


@call(*(f"AsyncLifecycle.{word}" for word in (
    "get", "put", "delete", "change", "ensure", "expire", "abort_unfinished_uploads", "transition", "expire_noncurrent", "remove",
    "set_lifetime",
)))  # fmt: skip
@in_async
async def _(p: Place, store: s3.AsyncS3Store) -> None:
    lifecycle = store.bucket(p.bucket.name).lifecycle
    await lifecycle.put(LifecycleConfiguration((s3.LifecycleRule("r", prefix="x/", expire_days=9),)))
    await lifecycle.ensure(s3.LifecycleRule("s", prefix="y/", expire_days=3))
    assert {rule.id for rule in (await lifecycle.get()).rules} == {"r", "s"}
    assert (await lifecycle.change(await lifecycle.get())).is_empty
    await lifecycle.remove("r")
    assert [rule.id for rule in p.bucket.lifecycle.get().rules] == ["s"]
    await lifecycle.delete()
    await lifecycle.set_lifetime(30)
    assert [rule.expire_days for rule in p.bucket.lifecycle.get().rules] == [30]
    for make, value in (
        (lifecycle.expire(days=7, prefix="tmp/"), lambda rule: rule.expire_days == 7),
        (lifecycle.abort_unfinished_uploads(days=3), lambda rule: rule.abort_uploads_days == 3),
        (lifecycle.transition("GLACIER", days=90), lambda rule: rule.transitions == ((90, "GLACIER"),)),
        (lifecycle.expire_noncurrent(days=5), lambda rule: rule.noncurrent_days == 5),
    ):
        await make
        assert any(map(value, p.bucket.lifecycle.get().rules))


@call("AsyncPublicAccess.allow", "AsyncPublicAccess.block", "AsyncPublicAccess.status")
@in_async
async def _(p: Place, store: s3.AsyncS3Store) -> None:
    access = store.bucket(p.bucket.name).public_access
    await access.allow()
    assert (await access.status()).is_public
    await access.block()
    assert not (await access.status()).is_public


@call(*(f"AsyncPolicy.{word}" for word in ("get", "put", "delete", "change", "ensure", "remove")))
@in_async
async def _(p: Place, store: s3.AsyncS3Store) -> None:
    policy, statement = store.bucket(p.bucket.name).policy, STATEMENT | {"Resource": [f"arn:aws:s3:::{p.bucket.name}"]}
    await policy.ensure(statement)
    assert (await policy.get()).get("us") is not None
    assert (await policy.change(await policy.get())).is_empty
    await policy.remove("us")
    await policy.put(BucketPolicy().with_statement(statement))
    await policy.delete()
    assert p.bucket.policy.get().statements == ()


@call(*(f"AsyncVersioning.{word}" for word in ("get", "put", "change", "enable", "suspend", "is_enabled")))
@in_async
async def _(p: Place, store: s3.AsyncS3Store) -> None:
    versioning = store.bucket(p.empty.name).versioning
    assert (await versioning.change(await versioning.get())).is_empty
    await versioning.enable()
    assert await versioning.is_enabled()
    enabled = await versioning.get()
    await versioning.suspend()
    assert not await versioning.is_enabled()
    await versioning.put(enabled)
    assert p.empty.versioning.is_enabled()


@call("AsyncVersioning.delete")
@in_async
async def _(p: Place, store: s3.AsyncS3Store) -> None:
    await store.bucket(p.empty.name).versioning.delete()


async def _async_tags(tags: aio.AsyncTags) -> None:
    await tags.put({"a": "1"})
    await tags.update({"b": "2"})
    await tags.ensure({"d": "4"})
    await tags.remove("a")
    assert dict(await tags.get()) == {"b": "2", "d": "4"}
    assert (await tags.change(await tags.get())).is_empty
    await tags.delete()
    assert not await tags.get()


@call(*(f"AsyncTags.{word}" for word in ("get", "put", "delete", "change", "ensure", "update", "remove")))
@in_async
async def _(p: Place, store: s3.AsyncS3Store) -> None:
    await _async_tags(store.bucket(p.bucket.name).tags)


@call(*(f"AsyncObjectTags.{word}" for word in ("get", "put", "delete", "change", "ensure", "update", "remove")))
@in_async
async def _(p: Place, store: s3.AsyncS3Store) -> None:
    for key in SEED:
        await _async_tags(store.bucket(p.bucket.name)[key].tags)


@call(*(f"AsyncCors.{word}" for word in ("get", "put", "delete", "change", "ensure", "remove")))
@in_async
async def _(p: Place, store: s3.AsyncS3Store) -> None:
    cors = store.bucket(p.bucket.name).cors
    await cors.ensure(s3.CorsRule("a", origins=("https://a.example",)))
    assert [rule.origins for rule in (await cors.get()).rules] == [("https://a.example",)]
    assert (await cors.change(await cors.get())).is_empty
    await cors.put(CorsConfiguration((s3.CorsRule("b", origins=("*",)),)))
    await cors.remove("b")
    await cors.delete()
    assert p.bucket.cors.get().rules == ()


@call(*(f"AsyncBucketEncryption.{word}" for word in ("get", "put", "delete", "change", "ensure")))
@in_async
async def _(p: Place, store: s3.AsyncS3Store) -> None:
    encryption = store.bucket(p.empty.name).encryption
    await encryption.ensure("AES256")
    await encryption.put(Encryption("AES256"))
    assert (await encryption.get()).algorithm == "AES256"
    assert (await encryption.change(await encryption.get())).is_empty
    await encryption.delete()


@call(*(f"AsyncNotifications.{word}" for word in ("get", "put", "delete", "change", "ensure", "remove")))
@in_async
async def _(p: Place, store: s3.AsyncS3Store) -> None:
    notifications = store.bucket(p.empty.name).notifications
    target = s3.Notification("n", "arn:aws:sqs:us-east-1:123456789012:none", prefix="in/")
    assert not (await notifications.ensure(target, dry_run=True)).is_empty
    assert (await notifications.change(await notifications.get())).is_empty
    await notifications.remove("never there")
    await notifications.put(await notifications.get())
    await notifications.delete()
    assert (await notifications.get()).targets == ()


@call("Change.apply", "Change.is_empty")
def _(p: Place) -> None:
    change = p.bucket.tags.ensure({"a": "1"}, dry_run=True)
    assert (change.is_empty, change.applied, dict(p.bucket.tags.get())) == (False, False, {})
    assert change.apply().applied
    assert dict(p.bucket.tags.get()) == {"a": "1"}
    p.bucket.tags.delete()


@call(*(f"AsyncChange.{word}" for word in ("what", "before", "after", "is_empty", "applied", "apply")))
@in_async
async def _(p: Place, store: s3.AsyncS3Store) -> None:
    tags = store.bucket(p.bucket.name).tags
    change = await tags.ensure({"a": "1"}, dry_run=True)
    assert (change.is_empty, change.applied, dict(change.before), dict(change.after)) == (False, False, {}, {"a": "1"})
    assert p.bucket.name in change.what
    assert (await change.apply()).applied
    assert dict(await tags.get()) == {"a": "1"}
    await tags.delete()
