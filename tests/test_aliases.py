"""Copies and moves between two addresses of one object: the object exists afterwards, whether or not the operation raises."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import urllib.parse
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from support.proxy import Proxy, no_faults
from support.scripted_server import Answer, Asked, ScriptedServer, content_of, document, refusal
from support.servers import Server

import messageflux_s3
from messageflux_s3 import (
    S3Bucket,
    S3Error,
    S3InvalidName,
    S3Object,
    S3ObjectChanged,
    S3Store,
    S3Unsupported,
    async_connect,
)

BODY, METADATA, TAGS = b"worth keeping", {"name": "value", "zoe": "Zoë"}, {"t": "1"}


# -- one place, written in every way -------------------------------------------------------------------------------------------------


def _other_host(server: Server, name: str, _: pytest.MonkeyPatch) -> S3Bucket:
    return server.connect(endpoint_url=server.endpoint_url.replace("127.0.0.1", "localhost")).bucket(name)


def _other_address(server: Server, name: str, _: pytest.MonkeyPatch) -> S3Bucket:
    return server.connect(endpoint_url=server.endpoint_url.replace("127.0.0.1", "127.1")).bucket(name)


def _trailing_slash(server: Server, name: str, _: pytest.MonkeyPatch) -> S3Bucket:
    return server.connect(endpoint_url=server.endpoint_url + "/").bucket(name)


def _upper_case(server: Server, name: str, _: pytest.MonkeyPatch) -> S3Bucket:
    return server.connect(
        endpoint_url=server.endpoint_url.replace("127.0.0.1", "LOCALHOST").replace("http", "HTTP")
    ).bucket(name)


def _other_timeout(server: Server, name: str, _: pytest.MonkeyPatch) -> S3Bucket:
    return server.connect(read_timeout=17).bucket(name)


def _credentials_of_the_environment(server: Server, name: str, patch: pytest.MonkeyPatch) -> S3Bucket:
    patch.setenv("AWS_ACCESS_KEY_ID", server.access_key)
    patch.setenv("AWS_SECRET_ACCESS_KEY", server.secret_key)
    return messageflux_s3.connect(server.endpoint_url, region="us-east-1", read_timeout=18).bucket(name)


def _credentials_of_a_callable(server: Server, name: str, _: pytest.MonkeyPatch) -> S3Bucket:
    return server.connect(
        credentials=lambda: {"access_key": server.access_key, "secret_key": server.secret_key}
    ).bucket(name)


def _boto3_resource(server: Server, name: str, _: pytest.MonkeyPatch) -> S3Bucket:
    session = boto3.Session(server.access_key, server.secret_key, region_name="us-east-1")
    config = Config(request_checksum_calculation="when_required", response_checksum_validation="when_required")
    return S3Bucket(name, session.resource("s3", endpoint_url=server.endpoint_url, config=config))


def _addressing_style(server: Server, name: str, _: pytest.MonkeyPatch) -> S3Bucket:
    return server.connect(addressing_style="path").bucket(name)


def _proxy(server: Server, name: str, _: pytest.MonkeyPatch) -> S3Bucket:
    parts = urllib.parse.urlsplit(server.endpoint_url)
    proxy = Proxy((parts.hostname or "", parts.port or 80), no_faults)  # its threads are daemons
    return server.connect(endpoint_url=proxy.endpoint_url).bucket(name)


def _other_credentials(server: Server, name: str, _: pytest.MonkeyPatch) -> S3Bucket:
    if server.name != "moto":
        pytest.skip("this server has one pair of keys")
    return server.connect(access_key="another-access-key", secret_key=server.secret_key).bucket(name)


ALIASES: list[Callable[[Server, str, pytest.MonkeyPatch], S3Bucket]] = [
    _other_host, _other_address, _trailing_slash, _upper_case, _other_timeout, _credentials_of_the_environment, _credentials_of_a_callable,
    _boto3_resource, _addressing_style, _proxy, _other_credentials,
]  # fmt: skip


@pytest.fixture(params=ALIASES, ids=lambda make: make.__name__.strip("_"))
def alias(
    request: pytest.FixtureRequest, server: Server, bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch
) -> S3Bucket:
    """The bucket under another address."""
    found: S3Bucket = request.param(server, bucket.name, monkeypatch)
    return found


OPERATIONS: list[Callable[[S3Object, S3Bucket], object]] = [
    lambda obj, alias: obj.move_to(alias[obj.key]),
    lambda obj, alias: obj.move_to(alias[obj.key], metadata=METADATA),
    lambda obj, alias: obj.move_to(alias[obj.key], cache_control="no-store"),
    lambda obj, alias: alias[obj.key].move_to(obj),
    lambda obj, alias: obj.copy_to(alias[obj.key]),
    lambda obj, alias: obj.copy_to(alias[obj.key], metadata=METADATA),
    lambda obj, alias: alias[obj.key].copy_to(obj, cache_control="no-store"),
    lambda obj, alias: obj.bucket.find(prefix=obj.key).copy_to(alias),
    lambda obj, alias: alias.find(prefix=obj.key).copy_to(obj.bucket),
    lambda obj, alias: alias.copy_object(obj.key, obj.key),
]


def test_an_object_survives_copies_and_moves_onto_itself_under_another_address(
    bucket: S3Bucket, alias: S3Bucket, server: Server
) -> None:
    """Every operation with two addresses succeeds or raises; the object exists afterwards, unchanged."""
    extra: dict[str, Any] = {"tags": TAGS} if server.name == "moto" else {}  # rclone keeps no tags
    for number, operation in enumerate(OPERATIONS):
        obj = bucket.put_object(f"d{number}/k", BODY, METADATA, content_type="text/x", **extra)
        with contextlib.suppress(S3Error):
            operation(obj, alias)
        fresh = bucket.object(obj.key)
        found = fresh.metadata
        found.pop("mtime", None)  # rclone's own
        assert (number, fresh.body, found, fresh.content_type) == (number, BODY, METADATA, "text/x")
        if extra:
            assert (number, dict(fresh.tags.get())) == (number, TAGS)


FURTHER: list[Callable[[S3Object, S3Bucket, Path], object]] = [
    lambda obj, alias, folder: obj.update(lambda body: alias[obj.key].move_to(obj).body),
    lambda obj, alias, folder: obj.update(lambda body: obj.move_to(alias[obj.key]).reload().body),
    lambda obj, alias, folder: alias.upload_object(
        obj.key, obj.body_stream, METADATA, content_type="text/x", tags=TAGS
    ),
    lambda obj, alias, folder: alias.upload_object(obj.key, obj.open(), METADATA, content_type="text/x", tags=TAGS),
    lambda obj, alias, folder: [alias[obj.key].download_to(folder / "k") for _ in range(2)],
    lambda obj, alias, folder: next(iter(obj.versions())).move_to(alias[obj.key]),
    lambda obj, alias, folder: list(alias[obj.key].versions())[-1].make_current(),
    lambda obj, alias, folder: list(obj.versions())[-1].move_to(obj.key),
]


@pytest.mark.parametrize(
    "make", [_other_host, _other_timeout, _boto3_resource], ids=lambda make: make.__name__.strip("_")
)
def test_an_object_survives_being_rewritten_from_its_own_content(
    moto: Server, moto_bucket: S3Bucket, make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also for versions, and for an update whose function moves the object."""
    alias = make(moto, moto_bucket.name, monkeypatch)
    moto_bucket.versioning.enable()
    for number, operation in enumerate(FURTHER):
        obj = moto_bucket.put_object(f"d{number}/k", BODY, METADATA, content_type="text/x", tags=TAGS)
        with contextlib.suppress(S3Error):
            operation(obj, alias, tmp_path)
        fresh = moto_bucket.object(obj.key)
        assert (number, fresh.body, fresh.metadata, fresh.content_type) == (number, BODY, METADATA, "text/x")
        assert (number, dict(fresh.tags.get())) == (number, TAGS)
    assert (tmp_path / "k").read_bytes() == BODY


async def _move_async(server: Server, bucket: S3Bucket) -> None:
    async with async_connect(
        server.endpoint_url, access_key=server.access_key, secret_key=server.secret_key, region="us-east-1"
    ) as store:
        alias = store.bucket(bucket.name)
        await alias.object("k").move_to(bucket["k"])
        await alias.copy_object("k", "k")


def test_an_object_survives_async_moves_and_copies_onto_itself(moto: Server, moto_bucket: S3Bucket) -> None:
    """It has the same operations, and another connection."""
    alias = _other_host(moto, moto_bucket.name, pytest.MonkeyPatch())
    alias.put_object("k", BODY, METADATA)
    asyncio.run(_move_async(moto, alias))
    assert (moto_bucket["k"].body, moto_bucket["k"].metadata) == (BODY, METADATA)


# -- what the decision rests on ------------------------------------------------------------------------------------------------------


class Gateway:
    """A scripted store on which several names may address one object."""

    def __init__(self, scripted_server: ScriptedServer, names: Callable[[str], str] = lambda key: key) -> None:
        self.objects: dict[str, tuple[bytes, dict[str, str]]] = {}
        self.on_copied: Callable[[], object] = lambda: None
        self.keeps_metadata = True
        self._names = names
        scripted_server.answer = self._serve

    def _serve(self, asked: Asked) -> Answer:
        key = self._names(asked.key)
        if asked.method == "DELETE":
            self.objects.pop(key, None)
            return 204, {}, b""
        if asked.method == "PUT":
            metadata = {name: value for name, value in asked.headers.items() if name.startswith("x-amz-meta")}
            source = asked.headers.get("x-amz-copy-source")
            if source is None:
                self.objects[key] = asked.body, metadata
                self.on_copied()
                return 200, {"ETag": '"e"'}, b""
            body, kept = self.objects[self._names(source.partition("/")[2])]
            is_replaced = asked.headers.get("x-amz-metadata-directive") == "REPLACE" and self.keeps_metadata
            self.objects[key] = body, metadata if is_replaced else kept
            self.on_copied()
            return document("CopyObjectResult", "<ETag>e</ETag>")
        if key not in self.objects:
            return refusal(404, "NoSuchKey")
        body, metadata = self.objects[key]
        status, headers, content = content_of(asked, body, hashlib.md5(body).hexdigest())  # type: ignore[misc]
        return status, {**headers, **metadata}, content


@pytest.mark.parametrize(
    ("key", "other"), [("a", "a/"), ("a//b", "a/b"), ("A", "a"), ("./a", "a"), ("x/../a", "a"), ("caf\u00e9", "cafe\u0301"), ("a", "a."),
     ("ab", "a\u00adb"), ("ab", "a\u200bb"), ("a", "a\ufe0f"), ("ab", "a\u200db"), ("ab", "a\u115fb"), ("ab", "a\u3164b"),
     ("ab", "a\u034fb"), ("a", "a\U000e0100"), ("a", "a\u180b"), ("ab", "a\U000e0041b"), ("ab", "a\x01b"), ("ab", "a\ufffbb"),
     ("x/.. /a", "x/a"), ("x/.. /a", "a"), ("a b", "a+b"), ("a/b", "a%2Fb"), ("\u0131", "I"), ("a", "a\u2065")],
)  # fmt: skip
def test_a_move_between_keys_that_the_store_treats_as_one_keeps_the_object(
    scripted_server: ScriptedServer, key: str, other: str
) -> None:
    """As a gateway over a file system does: two keys, one file."""
    gateway = Gateway(scripted_server, lambda _: "the one file")
    bucket = scripted_server.bucket()
    for source, target in ((key, other), (other, key)):
        gateway.objects["the one file"] = BODY, {}
        bucket[source].move_to(target)
        assert gateway.objects["the one file"][0] == BODY


def test_a_move_between_two_names_of_one_bucket_keeps_the_object(scripted_server: ScriptedServer) -> None:
    """An access point, an alias, or a linked folder."""
    gateway = Gateway(scripted_server)
    gateway.objects["k"] = BODY, {}
    store = scripted_server.connect()
    store.bucket("bkt")["k"].move_to(store.bucket("bkt-alias")["k"])
    assert gateway.objects["k"][0] == BODY


def test_a_move_deletes_no_source_if_the_copy_shows_no_idempotency_token(scripted_server: ScriptedServer) -> None:
    """A store that drops metadata cannot show whether two places are one."""
    gateway = Gateway(scripted_server)
    gateway.objects["k"], gateway.keeps_metadata = (BODY, {}), False
    store = scripted_server.connect()
    with pytest.raises(S3Unsupported, match="the source was not deleted"):
        store.bucket("bkt")["k"].move_to(store.bucket("bkt-alias")["k"])
    assert gateway.objects["k"][0] == BODY


@pytest.mark.parametrize("preset", ["other", "aws"])
def test_a_move_does_not_delete_a_source_that_was_written_meanwhile(
    scripted_server: ScriptedServer, preset: Any
) -> None:
    """An object written between the copy and the deletion is kept, and the error says so."""
    gateway = Gateway(scripted_server)
    gateway.objects["k"] = BODY, {}
    serve = scripted_server.answer

    def compare(asked: Asked) -> Answer:
        etag = asked.headers.get("if-match", "").strip('"')
        if asked.method == "DELETE" and etag and etag != hashlib.md5(gateway.objects[asked.key][0]).hexdigest():
            return refusal(412, "PreconditionFailed")
        return serve(asked)

    scripted_server.answer = compare
    gateway.on_copied = lambda: gateway.objects.update(k=(b"newer", {}))
    with pytest.raises(S3ObjectChanged, match=r"bkt/k was written while it was being moved.*not deleted"):
        scripted_server.bucket(preset=preset)["k"].move_to("moved")
    assert (gateway.objects["k"][0], gateway.objects["moved"][0]) == (b"newer", BODY)


def test_a_move_between_places_that_differ_leaves_no_visible_id(moto_store: S3Store, moto_bucket: S3Bucket) -> None:
    """The source is gone, the copy is whole; the id is hidden from its metadata."""
    other = moto_store.create_bucket(f"{moto_bucket.name}-2")
    moved = moto_bucket.put_object("k", BODY, METADATA, tags=TAGS).move_to(other["k"]).reload()
    assert (moved.body, moved.metadata, dict(moved.tags.get()), moto_bucket["k"].exists()) == (
        BODY,
        METADATA,
        TAGS,
        False,
    )


@pytest.mark.parametrize("kind", ["moto", "localstack", "radosgw"])
def test_a_move_keeps_metadata_and_tags_on_real_servers(request: pytest.FixtureRequest, kind: str) -> None:
    """To another bucket, and onto itself by another address; metadata and tags stay, also on a store whose copies drop them."""
    server: Server = request.getfixturevalue(kind)
    one, two = (server.connect().create_bucket(f"t-{uuid.uuid4().hex[:16]}") for _ in range(2))
    alias = server.connect(endpoint_url=server.endpoint_url.replace("127.0.0.1", "localhost")).bucket(two.name)
    metadata = {"name": "value"}
    moved = one.put_object("k", BODY, metadata, tags=TAGS).move_to(two["k"])
    for target in (alias["k"], two["k"]):
        moved = moved.move_to(target)
        fresh = two.object("k")
        assert (fresh.body, fresh.metadata, dict(fresh.tags.get()), one["k"].exists()) == (BODY, metadata, TAGS, False)
    two["k"].delete()


# -- a query's objects, copied below a prefix


def _copied(query: Any, target: S3Bucket) -> object:
    return query.copy_to(target, "backup/")


def _copied_under_asyncio(query: Any, target: S3Bucket) -> object:
    async def run() -> object:
        store = messageflux_s3.AsyncS3Store(target.store)
        try:
            return (
                await messageflux_s3.AsyncS3Store(query._bucket.store)
                .bucket(query._bucket.name)
                .find(query._criteria.prefix)
                .copy_to(store.bucket(target.name), "backup/")
            )
        finally:
            await store._engine.close()

    return asyncio.run(run())


@pytest.mark.parametrize("copy", [_copied, _copied_under_asyncio])
def test_a_copy_of_a_query_to_an_alias_replaces_none_of_its_objects(
    bucket: S3Bucket, alias: S3Bucket, copy: Callable[[Any, S3Bucket], object]
) -> None:
    """As through the same handle: ValueError, and nothing is copied. Without a collision no copy is copied again."""
    if not alias.exists():
        pytest.skip("these credentials are those of another account")
    objects = {"a": "A", "b": "B", "backup/a": "OLD"}
    bucket.put_objects(objects.items())
    for source, target in ((bucket, alias), (alias, bucket)):
        with pytest.raises(ValueError, match="'a' would replace 'backup/a'"):
            copy(source.find(), target)
        assert {obj.key: obj.text for obj in bucket.find()} == objects
    bucket["backup/a"].delete()
    copy(bucket.find(), alias)
    assert [obj.key for obj in bucket.find()] == ["a", "b", "backup/a", "backup/b"]


def test_a_copy_of_a_query_to_another_bucket_may_have_the_keys_of_its_objects(bucket: S3Bucket) -> None:
    """Two HEADs tell the buckets apart."""
    other = bucket.store.create_bucket(f"{bucket.name}-2")
    try:
        bucket.put_objects({"a": "A", "backup/a": "OLD"}.items())
        bucket.find().copy_to(other, "backup/")
        assert {obj.key: obj.text for obj in other.find()} == {"backup/a": "A", "backup/backup/a": "OLD"}
        assert bucket.find("absent/").copy_to(other, "backup/") == []
    finally:
        other.clear_objects()
        other.delete_bucket()


@pytest.mark.parametrize("prefix", ["", "v/"])
def test_a_copy_of_several_versions_of_a_key_is_refused(moto_bucket: S3Bucket, prefix: str) -> None:
    """Which of them would be the copy, nothing would say; as with download_to, no key is copied. One version per key is copied."""
    moto_bucket.versioning.enable()
    other = moto_bucket.store.create_bucket(f"{moto_bucket.name}-2")
    try:
        for number in range(3):
            moto_bucket.put_object("k", str(number))
        moto_bucket.put_object("once", "1")
        for target in (other, moto_bucket):
            with pytest.raises(S3InvalidName, match="several versions of the key 'k'"):
                moto_bucket.find(versions=True).copy_to(target, prefix or "w/")
        with pytest.raises(S3InvalidName, match="several versions of the key 'k'"):
            moto_bucket.find(versions=True).copy_to(other, prefix)
        assert [obj.key for obj in (*other.find(), *moto_bucket.find())] == ["k", "once"]
        moto_bucket.find("once", versions=True).copy_to(other, prefix)
        moto_bucket.find("k").copy_to(other, prefix)
        assert {obj.key: obj.text for obj in other.find()} == {f"{prefix}k": "2", f"{prefix}once": "1"}
    finally:
        other.clear_objects()
        other.delete_bucket()


# -- a handle of another bucket


def _async_get_objects(bucket: S3Bucket, given: list[Any]) -> None:
    async def run() -> None:
        store = messageflux_s3.AsyncS3Store(bucket.store)
        try:
            theirs = messageflux_s3.AsyncS3Store(given[-1].bucket.store).bucket(given[-1].bucket.name)
            _ = [obj async for obj in store.bucket(bucket.name).get_objects([*given[:-1], theirs[given[-1].key]])]
        finally:
            await store._engine.close()

    asyncio.run(run())


def _async_delete_objects(bucket: S3Bucket, given: list[Any]) -> None:
    async def run() -> None:
        store = messageflux_s3.AsyncS3Store(bucket.store)
        try:
            theirs = messageflux_s3.AsyncS3Store(given[-1].bucket.store).bucket(given[-1].bucket.name)
            await store.bucket(bucket.name).delete_objects([*given[:-1], theirs[given[-1].key]])
        finally:
            await store._engine.close()

    asyncio.run(run())


BATCHES: list[Callable[[S3Bucket, list[Any]], object]] = [
    lambda bucket, given: list(bucket.get_objects(given)),
    lambda bucket, given: list(bucket.get_objects(iter(given))),
    lambda bucket, given: bucket.delete_objects(given),
    lambda bucket, given: bucket.delete_objects(iter(given), raise_errors=False),
    _async_get_objects,
    _async_delete_objects,
]


def test_a_handle_of_another_bucket_is_refused_by_name(
    server: Server, bucket: S3Bucket, rclone: Server, moto: Server
) -> None:
    """The key of a handle may exist in both buckets: neither one is read or deleted in place of the other."""
    other = bucket.store.create_bucket(f"{bucket.name}-2")
    elsewhere = (moto if server.name == "rclone" else rclone).connect().bucket(bucket.name)
    try:
        for name in ("k", "own"):
            bucket.put_object(name, "mine")
            other.put_object(name, "theirs")
        for number, act in enumerate(BATCHES):
            for foreign in (other, elsewhere):
                for given in ([foreign["k"]], [bucket["own"], "own", foreign["k"]]):
                    with pytest.raises(ValueError, match=f"'{foreign.name}' at .*'{bucket.name}' at"):
                        act(bucket, given)
                    found = [place[name].text for place in (bucket, other) for name in ("k", "own")]
                    assert (number, found) == (number, ["mine", "mine", "theirs", "theirs"])
    finally:
        other.clear_objects()
        other.delete_bucket()


def test_a_handle_of_the_same_bucket_by_another_connection_is_accepted(bucket: S3Bucket, server: Server) -> None:
    """Another timeout, another spelling of the endpoint."""
    for changes in ({"read_timeout": 17}, {"endpoint_url": server.endpoint_url + "/"}):
        bucket.put_object("k", "mine")
        same = server.connect(**changes).bucket(bucket.name)
        assert [obj.text for obj in bucket.get_objects([same["k"]])] == ["mine"]
        assert bucket.delete_objects([same["k"]]).succeeded == ["k"]
        assert not bucket["k"].exists()
