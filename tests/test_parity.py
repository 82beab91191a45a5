"""Every verb with the lane open or shut, sync or async: the same state, error, ``is_online`` and number of requests."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
from support.proxy import Proxy, run_proxy
from support.public_calls import public_members
from support.servers import Server

import messageflux_s3 as s3
from messageflux_s3 import AsyncS3Bucket, AsyncS3Object, AsyncS3Store, S3Bucket, S3Object
from messageflux_s3._client.capabilities import Capabilities
from messageflux_s3._objects import versioned

HONOURED = Capabilities(put_if_absent="honoured", put_if_match="honoured", delete_if_match="honoured")
KEY = "dir/a b"
_numbers = itertools.count()


class Way(NamedTuple):
    """How a verb is run."""

    is_lane_open: bool
    is_async: bool

    def __str__(self) -> str:
        return f"lane {'open' if self.is_lane_open else 'shut'}, {'async' if self.is_async else 'sync'}"


WAYS = [Way(is_lane_open, is_async) for is_lane_open in (True, False) for is_async in (False, True)]


class Place(NamedTuple):
    """A bucket, with the library and with plain boto3."""

    bucket: S3Bucket
    awaited: AsyncS3Bucket
    client: Any  # without the library
    name: str

    def write(self, body: bytes, **parameters: Any) -> None:
        self.client.put_object(Bucket=self.name, Key=KEY, Body=body, **parameters)

    def remove(self) -> None:
        self.client.delete_object(Bucket=self.name, Key=KEY)

    def remove_bucket(self) -> None:
        self.remove()
        self.client.delete_object(Bucket=self.name, Key="opens")
        self.client.delete_bucket(Bucket=self.name)


def fresh(place: Place) -> S3Object:
    """Return a handle without cached attributes."""
    return place.bucket.object(KEY)


def listed(place: Place) -> S3Object:
    """Return a handle from a listing whose object is replaced afterwards."""
    [obj] = place.bucket.find("dir/")
    place.write(b"replaced, and longer", Metadata={"by": "others"})
    return obj


def loaded(place: Place) -> S3Object:
    """Return a handle with a cached body whose object is deleted afterwards."""
    obj = place.bucket.get_object(KEY)
    place.remove()
    return obj


def out_of_a_message(place: Place) -> S3Object:
    """Return a handle pinned to content that was replaced since."""
    return S3Object._create(place.bucket, KEY, pinned_etag="0" * 32)


def of_no_object(place: Place) -> S3Object:
    place.remove()
    return fresh(place)


def of_no_bucket(place: Place) -> S3Object:
    place.remove_bucket()
    return fresh(place)


def large(place: Place) -> S3Object:
    place.write(b"x" * (8 * 1024 * 1024 + 1))
    return fresh(place)


Sync = Callable[[Place, S3Object], Any]
Async = Callable[[Place, AsyncS3Object], Awaitable[Any]]


@dataclass(frozen=True)
class Verb:
    """A row of the table: the handle, and the verb by each driver."""

    name: str
    handle: Callable[[Place], S3Object]
    sync: Sync
    awaited: Async
    is_refused: bool = False  # with another status than 404, for which the request is sent again through boto3

    def __str__(self) -> str:
        return self.name


def load(place: Place, obj: S3Object) -> S3Object:
    """The counterpart of ``await obj.load()``: a sync handle sends its request when ``body`` is read."""
    if obj._pinned_etag is None:
        got = place.bucket.get_object(obj.key)
        obj._listed, obj._head, obj._body = got._listed, got._head, got._body
    else:
        _ = obj.body
    return obj


def etag_of(place: Place) -> str:
    return str(place.client.head_object(Bucket=place.name, Key=KEY)["ETag"]).strip('"')


def appended(content: bytes | None) -> bytes:
    return (content or b"") + b"!"


VERBS = [
    Verb("load", fresh, load, lambda p, o: o.load()),
    Verb("load of a listed handle", listed, load, lambda p, o: o.load()),
    Verb("load above 8 MiB", large, load, lambda p, o: o.load()),
    Verb("load of a missing object", of_no_object, load, lambda p, o: o.load()),
    Verb("load from a missing bucket", of_no_bucket, load, lambda p, o: o.load()),
    Verb("load of what a message named", out_of_a_message, load, lambda p, o: o.load(), is_refused=True),
    Verb("read", fresh, lambda p, o: o.body, lambda p, o: o.read()),
    Verb("read by a listed handle", listed, lambda p, o: o.body, lambda p, o: o.read()),
    Verb("read by a handle with a body", loaded, lambda p, o: o.body, lambda p, o: o.read()),
    Verb("read of a missing object", of_no_object, lambda p, o: o.body, lambda p, o: o.read()),
    Verb("read from a missing bucket", of_no_bucket, lambda p, o: o.body, lambda p, o: o.read()),
    Verb("read of what a message named", out_of_a_message, lambda p, o: o.body, lambda p, o: o.read(), is_refused=True),
    Verb("get_object", fresh, lambda p, o: p.bucket.get_object(KEY), lambda p, o: p.awaited.get_object(KEY)),
    Verb("get_json of no JSON", fresh, lambda p, o: p.bucket.get_json(KEY), lambda p, o: p.awaited.get_json(KEY)),
    Verb("json of no JSON", fresh, lambda p, o: o.json(), lambda p, o: o.json()),
    Verb("exists", fresh, lambda p, o: o.exists(), lambda p, o: o.exists()),
    Verb("exists of a listed handle", listed, lambda p, o: o.exists(), lambda p, o: o.exists()),
    Verb("exists after a deletion by others", loaded, lambda p, o: o.exists(), lambda p, o: o.exists()),
    Verb("exists in a missing bucket", of_no_bucket, lambda p, o: o.exists(), lambda p, o: o.exists()),
    Verb("read_range", fresh, lambda p, o: o.read_range(2, 4), lambda p, o: o.read_range(2, 4)),
    Verb("read_range to the end", fresh, lambda p, o: o.read_range(2), lambda p, o: o.read_range(2)),
    Verb("read_range of everything", fresh, lambda p, o: o.read_range(0), lambda p, o: o.read_range(0)),
    Verb("read_range beyond the end", fresh, lambda p, o: o.read_range(8, 99), lambda p, o: o.read_range(8, 99)),
    Verb("read_range from the end", fresh, lambda p, o: o.read_range(-3), lambda p, o: o.read_range(-3)),
    Verb("read_range from the end by a listed handle", listed, lambda p, o: o.read_range(-3), lambda p, o: o.read_range(-3)),
    Verb("read_range of no bytes", fresh, lambda p, o: o.read_range(4, 4), lambda p, o: o.read_range(4, 4)),
    Verb(
        "read_range after the end", fresh, lambda p, o: o.read_range(50, 60), lambda p, o: o.read_range(50, 60), is_refused=True
    ),
    Verb(
        "read_range by a listed handle", listed, lambda p, o: o.read_range(2, 4), lambda p, o: o.read_range(2, 4), is_refused=True
    ),
    Verb("read_range of a missing object", of_no_object, lambda p, o: o.read_range(2, 4), lambda p, o: o.read_range(2, 4)),
    Verb("read_range in a missing bucket", of_no_bucket, lambda p, o: o.read_range(2), lambda p, o: o.read_range(2)),
    Verb("read_range of text", fresh, lambda p, o: o.read_range("1"), lambda p, o: o.read_range("1")),
    Verb("put", fresh, lambda p, o: o.put("new", {"by": "me"}), lambda p, o: o.put("new", {"by": "me"})),
    Verb("put by a listed handle", listed, lambda p, o: o.put("new"), lambda p, o: o.put("new")),
    Verb("put by a handle with a body", loaded, lambda p, o: o.put("new"), lambda p, o: o.put("new")),
    Verb(
        "put_object with parameters",
        fresh,
        lambda p, o: p.bucket.put_object(KEY, "é", {"by": "ü"}, content_type="text/x", cache_control="no-store"),
        lambda p, o: p.awaited.put_object(KEY, "é", {"by": "ü"}, content_type="text/x", cache_control="no-store"),
    ),
    Verb(
        "put_object of a wrong parameter",
        fresh,
        lambda p, o: p.bucket.put_object(KEY, "x", content_tpye="text/x"),
        lambda p, o: p.awaited.put_object(KEY, "x", content_tpye="text/x"),
    ),
    Verb(
        "put_object of a number",
        fresh,
        lambda p, o: p.bucket.put_object(KEY, 42),
        lambda p, o: p.awaited.put_object(KEY, 42),
    ),
    Verb(
        "put_object if absent, onto an object",
        fresh,
        lambda p, o: p.bucket.put_object(KEY, "x", if_absent=True),
        lambda p, o: p.awaited.put_object(KEY, "x", if_absent=True),
    ),
    Verb(
        "put_object if absent",
        of_no_object,
        lambda p, o: p.bucket.put_object(KEY, "x", if_absent=True),
        lambda p, o: p.awaited.put_object(KEY, "x", if_absent=True),
    ),
    Verb(
        "put_object if it has the etag",
        fresh,
        lambda p, o: p.bucket.put_object(KEY, "x", if_match=etag_of(p)),
        lambda p, o: p.awaited.put_object(KEY, "x", if_match=etag_of(p)),
    ),
    Verb("put into a missing bucket", of_no_bucket, lambda p, o: o.put("new"), lambda p, o: o.put("new")),
    Verb("put_json", fresh, lambda p, o: p.bucket.put_json(KEY, [1]), lambda p, o: p.awaited.put_json(KEY, [1])),
    Verb("delete", listed, lambda p, o: o.delete(), lambda p, o: o.delete()),
    Verb("delete of a missing object", loaded, lambda p, o: o.delete(), lambda p, o: o.delete()),
    Verb("delete in a missing bucket", of_no_bucket, lambda p, o: o.delete(), lambda p, o: o.delete()),
    Verb("delete if another etag", fresh, lambda p, o: o.delete(if_match="0"), lambda p, o: o.delete(if_match="0")),
    Verb(
        "delete of a version where none are kept",
        lambda p: p.bucket.object(KEY, "3sL4kqtJlcpXroDTDmJ"),
        lambda p, o: o.delete(),
        lambda p, o: o.delete(),
    ),
    Verb("copy_to", fresh, lambda p, o: o.copy_to("copy"), lambda p, o: o.copy_to("copy")),
    Verb("update", loaded, lambda p, o: o.update(appended), lambda p, o: o.update(appended)),
    Verb("update of a missing object", of_no_object, lambda p, o: o.update(appended), lambda p, o: o.update(appended)),
    Verb("update in a missing bucket", of_no_bucket, lambda p, o: o.update(appended), lambda p, o: o.update(appended)),
]  # fmt: skip


@dataclass
class Outcome:
    """The result of a verb, the state of the handles afterwards, and the number of requests."""

    gave: Any = None
    knows: dict[str, Any] = field(default_factory=dict)
    error: Any = None
    is_online: bool | None = None
    requests: list[tuple[str, str]] = field(default_factory=list)


def known(obj: S3Object) -> dict[str, Any]:
    """Return the cached attributes of a handle."""
    head = obj._head
    names = (
        "size",
        "etag",
        "metadata",
        "content_type",
        "content_encoding",
        "storage_class",
        "version_id",
        "idempotency_token",
    )
    return {
        "listed size": None if obj._listed is None else int(obj._listed[3]),
        "head": None if head is None else {name: getattr(head, name) for name in names if name != "idempotency_token"},
        "last_modified": head is not None and head.last_modified is not None,
        "body": obj._body,
    }


def shown(gave: Any, obj: S3Object) -> Any:
    """The result, comparable between the two kinds of handles."""
    if isinstance(gave, AsyncS3Object):
        gave = gave._object
    if isinstance(gave, S3Object):
        return "the handle itself" if gave is obj else (gave.key, known(gave))
    return gave


@contextmanager
def places(moto: Server, way: Way) -> Iterator[tuple[Place, Proxy]]:
    """A fresh bucket with one object, through a proxy that records requests; the lane is open or shut."""
    with run_proxy(moto.endpoint_url) as proxy:
        connected = moto.connect(endpoint_url=proxy.endpoint_url)
        store = s3.S3Store(connected.config.replace(capabilities=HONOURED))
        name = f"parity-{next(_numbers)}"
        client = moto.client()
        client.create_bucket(Bucket=name)
        client.put_object(Bucket=name, Key="opens", Body=b"")
        bucket = store.bucket(name)
        if not way.is_lane_open:
            store._connection.lane.shut("shut for this test")
        bucket.get_object("opens")
        bucket["opens"].exists()
        versioned.is_versioned(store.bucket(name)._address)  # asked once for each bucket
        assert store.lane.open is way.is_lane_open
        place = Place(bucket, AsyncS3Store(store).bucket(name), client, name)
        place.write(b"0123456789", Metadata={"source": "erp"}, ContentType="text/plain")
        try:
            yield place, proxy
        finally:
            store.close()
            connected.close()


def outcome_of(verb: Verb, way: Way, moto: Server) -> Outcome:
    with places(moto, way) as (place, proxy):
        obj = verb.handle(place)
        connection = place.bucket._connection
        before = len(proxy.seen)
        connection.is_online = False
        outcome = Outcome()

        async def awaited() -> Any:
            try:
                return await verb.awaited(place, AsyncS3Object(obj, place.awaited._engine))
            finally:
                await place.awaited._engine.close()

        try:
            gave = asyncio.run(awaited()) if way.is_async else verb.sync(place, obj)
        except (s3.S3Error, TypeError, ValueError) as error:
            facts = ("code", "status", "operation", "bucket", "key", "retryable")
            text = str(error).replace(place.name, "BUCKET")
            outcome.error = (type(error), text, [getattr(error, fact, None) for fact in facts if fact != "bucket"])
        else:
            outcome.gave = shown(gave, obj)
        outcome.knows = known(obj)
        outcome.is_online = connection.is_online
        outcome.requests = [
            (seen.method, seen.path.replace(place.name, "BUCKET"))
            for seen in [*proxy.seen][before:]
            if "mfs3-probe" not in seen.path  # asked once for each store, with a random key
        ]
        return outcome


@pytest.mark.lane
@pytest.mark.parametrize("verb", VERBS, ids=str)
def test_every_verb_has_the_same_outcome_by_lane_and_boto3_sync_and_async(verb: Verb, moto: Server) -> None:
    """The lane open or shut, blocking or awaited: the same result, state, error, is_online and requests."""
    outcomes = {way: outcome_of(verb, way, moto) for way in WAYS}
    if verb.is_refused:
        for outcome in outcomes.values():
            outcome.requests = []
    expected = outcomes[WAYS[0]]
    for way, outcome in outcomes.items():
        assert outcome == expected, f"{verb}: {way} differs from {WAYS[0]}"


@pytest.mark.lane
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_load_of_a_listed_handle_replaces_its_size(way: Way, moto: Server) -> None:
    """The listed size is that of the object before it was replaced."""
    outcome = outcome_of(Verb("", listed, load, lambda p, o: o.load()), way, moto)
    assert outcome.knows["listed size"] is None
    assert outcome.knows["head"]["size"] == len(outcome.knows["body"]) == len(b"replaced, and longer")


@pytest.mark.lane
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_exists_clears_the_cached_body_of_a_deleted_object(way: Way, moto: Server) -> None:
    """After exists() returned False the handle must not return cached content."""
    outcome = outcome_of(Verb("", loaded, lambda p, o: o.exists(), lambda p, o: o.exists()), way, moto)
    assert outcome.gave is False
    assert outcome.knows == {"listed size": None, "head": None, "last_modified": False, "body": None}


@pytest.mark.lane
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_response_through_the_lane_sets_is_online(way: Way, moto: Server) -> None:
    """``store.is_online`` tells whether the last operation got an answer, whichever way it went."""
    assert outcome_of(Verb("", fresh, load, lambda p, o: o.load()), way, moto).is_online
    assert outcome_of(Verb("", of_no_object, load, lambda p, o: o.load()), way, moto).is_online


def test_outcomes_are_plain_data() -> None:
    """The cached attributes are plain data."""
    assert json.dumps(known(S3Object._create(None, "k")))  # type: ignore[arg-type]


def test_every_method_with_shared_steps_has_a_row() -> None:
    """An async method that runs the steps of the synchronous one is in the table, by its own name."""
    members = {name: value for cls in (AsyncS3Bucket, AsyncS3Object) for name, value in public_members(cls).items()}
    with_steps = {
        name for name, value in members.items() if inspect.isfunction(value) and "perform(" in inspect.getsource(value)
    }
    compared = {verb.name.split()[0] for verb in VERBS}
    assert with_steps - compared == set()
    assert compared - members.keys() == set()
