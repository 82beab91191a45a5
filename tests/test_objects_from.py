"""store.objects_from: handles for the objects in a message, and for no others."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import io
import json
import pickle
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.request_counting import Counted
from support.scripted_server import ScriptedServer
from support.servers import Server
from support.stateful_server import StatefulStore

import messageflux_s3 as s3
from messageflux_s3.messaging.claim_check import ClaimCheck

SAMPLES = [
    json.loads(path.read_text())["message"] for path in sorted((Path(__file__).parent / "data/events").glob("*.json"))
]


def notification(bucket: str, key: str, **fields: Any) -> dict[str, Any]:
    """Return a notification of a creation with the object's attributes."""
    return {
        "Records": [
            {"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": bucket}, "object": {"key": key, **fields}}}
        ]
    }


def test_size_and_etag_take_no_request_and_the_body_is_pinned(counted: Counted) -> None:
    """Attributes in the message need no request; the body is read with If-Match and the message's etag, also after pickling."""
    written = counted.bucket.put_object("a b.txt", b"first")
    message = notification(counted.bucket.name, "a+b.txt", size=5, eTag=written.etag)
    with counted.recording() as requests:
        [obj] = counted.store.objects_from(message)
        travelled = pickle.loads(pickle.dumps(obj))
        assert (obj.key, obj.size, obj.etag) == ("a b.txt", 5, written.etag)
        assert requests == []
    assert obj.body == b"first"
    counted.bucket.put_object("a b.txt", b"other")
    assert obj.body == b"first"  # the handle has cached the body
    assert (travelled.size, travelled.etag) == (5, written.etag)
    [late] = counted.store.objects_from(message)
    with pytest.raises(s3.S3ObjectChanged):
        _ = late.body
    with pytest.raises(s3.S3ObjectChanged):
        late.open().read()


READS: dict[str, Callable[[s3.S3Object, Path], object]] = {
    "get_objects": lambda obj, folder: [each.body for each in obj.bucket.get_objects([obj])],
    "preview": lambda obj, folder: obj.preview(),
    "metadata": lambda obj, folder: obj.metadata,
    "last_modified": lambda obj, folder: obj.last_modified,
    "checksums": lambda obj, folder: obj.checksums,
    "download_to": lambda obj, folder: obj.download_to(folder / "file"),
    "copy_to": lambda obj, folder: obj.copy_to("copied"),
    "move_to": lambda obj, folder: obj.move_to("copied"),
}


@pytest.mark.parametrize("way", READS)
def test_nothing_is_read_or_copied_of_an_object_that_has_replaced_that_of_the_event(
    moto_bucket: s3.S3Bucket, tmp_path: Path, way: str
) -> None:
    """The handle stands for what the event tells of, as one that is pinned to a version does."""
    written = moto_bucket.put_object("k", b"first")
    [obj] = moto_bucket.store.objects_from(notification(moto_bucket.name, "k", size=5, eTag=written.etag))
    READS[way](obj, tmp_path)
    moto_bucket["copied"].delete()
    moto_bucket.put_object("k", b"other", {"by": "others"})
    [late] = moto_bucket.store.objects_from(notification(moto_bucket.name, "k", size=5, eTag=written.etag))
    with pytest.raises(s3.S3ObjectChanged):
        READS[way](late, tmp_path)
    assert moto_bucket["k"].text == "other"
    assert "copied" not in moto_bucket
    assert late.exists()


OWN_WRITES: dict[str, Callable[[s3.S3Object], object]] = {
    "put": lambda obj: obj.put(b"mine"),
    "update": lambda obj: obj.update(lambda _: b"mine"),
    "open": lambda obj: write_through_open(obj),
    "set_metadata": lambda obj: obj.set_metadata({"by": "me"}),
}


def write_through_open(obj: s3.S3Object) -> None:
    with obj.open("wb") as file:
        file.write(b"mine")


@pytest.mark.parametrize("way", OWN_WRITES)
def test_a_handle_of_an_event_reads_what_was_written_through_it(moto_bucket: s3.S3Bucket, way: str) -> None:
    """The ETag of the event belongs to the object that the handle itself has replaced."""
    written = moto_bucket.put_object("k", b"first")
    [obj] = moto_bucket.store.objects_from(notification(moto_bucket.name, "k", size=5, eTag=written.etag))
    OWN_WRITES[way](obj)
    content = b"first" if way == "set_metadata" else b"mine"
    assert obj.read_range(0) == obj.body == obj.reload().body == content
    moto_bucket.put_object("k", b"others")
    assert obj.reload().body == b"others"


def test_a_failed_write_keeps_a_handle_at_the_object_of_its_event(moto_bucket: s3.S3Bucket) -> None:
    """Nothing was replaced, so a later object of others is still not taken for that of the event."""
    written = moto_bucket.put_object("k", b"first")
    [obj] = moto_bucket.store.objects_from(notification(moto_bucket.name, "k", size=5, eTag=written.etag))
    moto_bucket.put_object("k", b"others")
    with pytest.raises(s3.S3PreconditionFailed), obj.open("wb", if_match=written.etag) as file:
        file.write(b"mine")
    with pytest.raises(s3.S3ObjectChanged):
        _ = obj.body


@pytest.mark.parametrize("way", ["put", "update"])
def test_a_handle_of_a_version_describes_the_version_after_a_write(moto_bucket: s3.S3Bucket, way: str) -> None:
    """A write makes a new object; size and ETag must be those of the content that the handle reads."""
    moto_bucket.versioning.enable()
    first = moto_bucket.put_object("k", b"first")
    obj = moto_bucket.object("k", first.version_id)
    OWN_WRITES[way](obj)
    assert (obj.size, obj.etag, obj.body) == (5, first.etag, b"first")
    assert moto_bucket["k"].body == b"mine"


SOURCES: dict[str, Callable[[], Any]] = {
    "bytes": lambda: b"mine",
    "a readable": lambda: io.BytesIO(b"mine"),
    "an async source": lambda: pieces(b"mi", b"ne"),
}


async def pieces(*given: bytes) -> AsyncIterator[bytes]:
    for piece in given:
        yield piece


@pytest.mark.parametrize("source", SOURCES)
def test_handles_of_events_and_versions_after_an_async_write(moto_bucket: s3.S3Bucket, source: str) -> None:
    """As the synchronous handles: one reads what was written, the other still describes its version."""
    moto_bucket.versioning.enable()
    first = moto_bucket.put_object("k", b"first")
    message = notification(moto_bucket.name, "k", size=5, eTag=first.etag)

    async def run() -> None:
        async with s3.AsyncS3Store(moto_bucket.store) as store:
            [of_event] = store.objects_from(message)
            await of_event.put(SOURCES[source]())
            assert (of_event.size, await of_event.read()) == (4, b"mine")
            version = store.bucket(moto_bucket.name).object("k", first.version_id)
            await (await version.load()).put(SOURCES[source]())
            await version.load()
            assert (version.size, version.etag, version.body) == (5, first.etag, b"first")
            await version.put(SOURCES[source]())
            with pytest.raises(RuntimeError, match="not loaded"):
                _ = version.size

    asyncio.run(run())


def test_an_event_with_a_version_reads_that_version(moto_bucket: s3.S3Bucket) -> None:
    """An event that names a version leads to that version."""
    moto_bucket.versioning.enable()
    first = moto_bucket.put_object("k", b"first")
    moto_bucket.put_object("k", b"second")
    message = notification(moto_bucket.name, "k", size=5, eTag=first.etag, versionId=first.version_id)
    [obj] = moto_bucket.store.objects_from(json.dumps(message))
    assert (obj.version_id, obj.body) == (first.version_id, b"first")


def test_an_event_with_the_version_null_reads_the_content_with_its_etag_or_raises(
    scripted_server: ScriptedServer,
) -> None:
    """A bucket whose versioning is suspended replaces this version with each write."""
    memory, store = StatefulStore(scripted_server), scripted_server.connect()
    etag = memory.put("k", b"first").etag
    message = notification("bkt", "k", size=5, eTag=etag, versionId="null")
    [obj], [late] = store.objects_from(message), store.objects_from(message)
    assert (obj.version_id, obj.body) == ("null", b"first")
    memory.put("k", b"other")
    with pytest.raises(s3.S3ObjectChanged):
        _ = late.body


def test_deletions_and_buckets_that_are_not_allowed_give_no_handles(counted: Counted) -> None:
    """Deletions, and buckets that are not allowed, give no handles."""
    gone = notification(counted.bucket.name, "k")
    gone["Records"][0]["eventName"] = "ObjectRemoved:Delete"
    assert counted.store.objects_from(gone) == []
    foreign = notification("somebody-elses", "k", size=1, eTag="e")
    assert counted.store.objects_from(foreign, buckets=[counted.bucket.name]) == []
    with pytest.raises(TypeError, match="buckets"):
        counted.store.objects_from(foreign, buckets="somebody-elses")
    assert counted.requests() == []


@pytest.mark.parametrize(
    ("wrong", "error", "text"),
    [
        ("a handle", TypeError, "it contains S3Bucket"),
        (None, TypeError, "it contains NoneType"),  # as os.environ.get() returns it for a setting that is missing
        ("inbox/", s3.S3InvalidName, "'inbox/' is not a bucket name"),
        ("s3://inbox", s3.S3InvalidName, "'s3://inbox' is a URI"),
    ],
)
def test_what_is_no_name_of_an_expected_bucket_is_refused(
    counted: Counted, wrong: Any, error: type[Exception], text: str
) -> None:
    """Such a value is equal to no name in a message: all messages would be skipped, as those of other buckets are."""
    name = counted.bucket if wrong == "a handle" else wrong
    with pytest.raises(error, match=f"^buckets.*{text}"):
        counted.store.objects_from(notification(counted.bucket.name, "k"), buckets=[name])
    with pytest.raises(error, match=f"^allowed_buckets.*{text}"):
        ClaimCheck(counted.bucket, allowed_buckets=[name])
    with pytest.raises(TypeError, match=r"buckets must be an iterable of names: for one bucket, pass \[name\]"):
        counted.store.objects_from(notification(counted.bucket.name, "k"), buckets=counted.bucket)  # type: ignore[arg-type]
    assert counted.requests() == []


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place of a JSON value, by the names and numbers that lead there."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for name, part in inside for place in _places(part, (*path, name)))]


HOSTILE = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=True), st.text(max_size=20), st.lists(st.none(), max_size=2),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
    st.sampled_from(["../../x", "a%00b", "%", "%zz", "+", "\r\nHost: evil", "somebody-elses", "s3://x/y", "[" * 50, "\ud800", 10**40]),
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_mutated_message_raises_or_gives_a_handle_in_an_allowed_bucket(moto: Server, data: st.DataObject) -> None:
    """Any message gives a ValueError, no handle, or one with an allowed bucket and a valid key, without a request."""
    message = copy.deepcopy(data.draw(st.sampled_from(SAMPLES)))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from(_places(message)))
        if not place:
            continue
        inside: Any = message
        for name in place[:-1]:
            inside = inside[name]
        inside[place[-1]] = data.draw(HOSTILE)
    store = s3.connect("http://127.0.0.1:9", access_key="ACCESSKEY01", secret_key="SECRETKEY0123456")  # no server there
    bucket = store.bucket("inbox")
    allowed = ["my-bucket", "images"]
    try:
        for obj in store.objects_from(message, buckets=allowed):
            assert obj.bucket_name in allowed
            assert obj.key
            assert obj.uri.startswith(f"s3://{obj.bucket_name}/")
    except ValueError:
        pass
    check = ClaimCheck(bucket)
    with contextlib.suppress(ValueError, s3.S3AccessDenied):
        check.check_out(message)
