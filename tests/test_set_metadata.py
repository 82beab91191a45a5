"""``obj.set_metadata(…)``: the named attributes change, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest
from support.request_counting import Counted
from support.scripted_server import Answer, Asked, ScriptedServer, content_of, document, refusal
from support.servers import Server

from messageflux_s3 import AsyncS3Store, S3Bucket, S3NoSuchItem, S3ObjectChanged, S3Unsupported
from messageflux_s3._files import copying
from messageflux_s3._formats.metadata import IDEMPOTENCY_TOKEN
from messageflux_s3._objects import confirmation, ranged_reader


@pytest.mark.parametrize(
    "further",
    [{}, {"StorageClass": "STANDARD_IA", "ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "own"}],
    ids=["attributes", "attributes, storage class and KMS key"],
)
def test_metadata_is_replaced_and_everything_else_is_kept(
    moto: Server, moto_bucket: S3Bucket, further: dict[str, Any]
) -> None:
    when = datetime(2033, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
    client = moto.client()
    client.put_object(
        Bucket=moto_bucket.name, Key="k", Body=b"hello", Metadata={"a": "1"}, ContentType="text/x", ContentLanguage="en",
        ContentDisposition="inline", CacheControl="max-age=7", Expires=when, Tagging="t=1", WebsiteRedirectLocation="/there",
        **further,
    )  # fmt: skip
    names = (
        "ContentType", "ContentLanguage", "ContentDisposition", "CacheControl", "ExpiresString", "StorageClass", "ServerSideEncryption",
        "SSEKMSKeyId", "WebsiteRedirectLocation", "TagCount",
    )  # fmt: skip
    before = client.head_object(Bucket=moto_bucket.name, Key="k")
    obj = moto_bucket["k"].set_metadata({"b": "2"})
    after = client.head_object(Bucket=moto_bucket.name, Key="k")
    assert {name: after.get(name) for name in names} == {name: before.get(name) for name in names}
    # Written as a new object where a copy would lose the tags.
    stored = {name: text for name, text in after["Metadata"].items() if name != IDEMPOTENCY_TOKEN}
    assert (obj.metadata, stored, obj.body, dict(obj.tags.get())) == (
        {"b": "2"},
        {"b": "2"},
        b"hello",
        {"t": "1"},
    )


def test_content_headers_are_replaced_and_the_metadata_is_kept(bucket: S3Bucket) -> None:
    obj = bucket.put_object("k", "hello", {"a": "1"}, content_type="text/x", content_language="en")
    obj.set_metadata(content_type="text/y", cache_control="no-cache")
    found = bucket["k"]
    assert (found.content_type, found.cache_control, found.content_language) == ("text/y", "no-cache", "en")
    assert found.metadata["a"] == "1"
    assert found.text == "hello"


def test_set_metadata_costs_one_head_and_one_copy(counted: Counted) -> None:
    obj = counted.bucket.put_object("k", "hello", {"a": "1"})
    obj.set_metadata({"a": "2"})  # asks once what this store's copies do
    with counted.recording() as seen:
        obj.set_metadata({"a": "3"})
        assert (obj.metadata, obj.size) == ({"a": "3"}, 5)
    assert [request.method for request in seen] == ["HEAD", "PUT"]


def test_empty_metadata_removes_it(moto_bucket: S3Bucket) -> None:
    obj = moto_bucket.put_object("k", "hello", {"a": "1"})
    assert obj.set_metadata({}).reload().metadata == {}


def test_tags_alone_can_be_replaced(moto_bucket: S3Bucket) -> None:
    obj = moto_bucket.put_object("k", "hello", {"a": "1"}, tags={"t": "1"})
    obj.set_metadata(tags={"t": "2"})
    assert (dict(obj.tags.get()), obj.reload().metadata) == ({"t": "2"}, {"a": "1"})


def test_an_object_replaced_since_it_was_read_is_not_changed(bucket: S3Bucket) -> None:
    bucket.put_object("k", "one", {"a": "1"})
    obj = bucket.get_object("k")
    bucket.put_object("k", "two", {"a": "2"})
    with pytest.raises(S3ObjectChanged, match="nothing was written"):
        obj.set_metadata({**obj.metadata, "b": "1"})
    assert bucket["k"].metadata["a"] == "2"


def test_a_given_etag_must_match(bucket: S3Bucket) -> None:
    obj = bucket.put_object("k", "one", {"a": "1"})
    with pytest.raises(S3ObjectChanged):
        obj.set_metadata({"a": "2"}, if_match="0" * 32)
    obj.set_metadata({"a": "2"}, if_match=obj.etag)
    assert bucket["k"].metadata["a"] == "2"


def test_the_copy_is_pinned_to_the_content_that_was_found(scripted_server: ScriptedServer) -> None:
    """The object is replaced between the HEAD and the COPY: the store refuses the copy."""
    etags = iter(["one", "two", "two"])

    def answer(asked: Any) -> Any:
        if asked.method == "HEAD":
            return content_of(asked, b"hello", next(etags))
        assert asked.headers["x-amz-copy-source-if-match"] == '"one"'
        return refusal(412, "PreconditionFailed")

    scripted_server.answer = answer
    with pytest.raises(S3ObjectChanged):
        scripted_server.bucket(preset="aws")["k"].set_metadata({"a": "1"})
    assert scripted_server.whats == ["HEAD k", "PUT k", "HEAD k"]


def test_a_handle_pinned_by_an_event_reads_the_object_it_has_written(scripted_server: ScriptedServer) -> None:
    """A copy has another etag than an object that was uploaded in parts."""
    scripted_server.answer = lambda asked: (
        document("CopyObjectResult", "<ETag>&quot;new&quot;</ETag>")
        if asked.method == "PUT"
        else content_of(
            asked, b"hello", "old-2" if not any(seen.method == "PUT" for seen in scripted_server.asked) else "new"
        )
    )
    store = scripted_server.connect(preset="aws")
    place = {"bucket": {"name": "bkt"}, "object": {"key": "k", "eTag": "old-2"}}
    [obj] = store.objects_from({"Records": [{"eventName": "ObjectCreated:Put", "s3": place}]})
    assert obj.set_metadata({"a": "1"}).body == b"hello"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({}, TypeError),
        ({"content_type": None}, TypeError),
        ({"metadata": {"a": "1"}, "if_match": b"e"}, TypeError),
        ({"metadata": {"a": "1"}, "if_match": ""}, ValueError),
        ({"metadata": {"a": 1}}, TypeError),
        ({"metadata": "a"}, TypeError),
        ({"contenttype": "a"}, TypeError),
    ],
)
def test_wrong_arguments_are_rejected(moto_bucket: S3Bucket, arguments: Any, error: type[Exception]) -> None:
    obj = moto_bucket.put_object("k", "hello", {"a": "0"})
    with pytest.raises(error):
        obj.set_metadata(**arguments)
    assert moto_bucket["k"].metadata == {"a": "0"}


def test_a_version_cannot_be_changed(moto_bucket: S3Bucket) -> None:
    with pytest.raises(ValueError, match="version v1"):
        moto_bucket.object("k", "v1").set_metadata({"a": "1"})


def test_a_missing_object_is_missing(bucket: S3Bucket) -> None:
    with pytest.raises(S3NoSuchItem):
        bucket["none"].set_metadata({"a": "1"})


def test_the_async_class_sets_metadata(moto_bucket: S3Bucket) -> None:
    async def change() -> dict[str, str]:
        async with AsyncS3Store(moto_bucket.store) as store:
            obj = await store.bucket(moto_bucket.name).put_object("k", b"hello", {"a": "1"})
            return (await obj.set_metadata({"a": "2"})).metadata

    assert asyncio.run(change()) == {"a": "2"} == moto_bucket["k"].metadata


@pytest.mark.parametrize("name", ["content_type", "ContentType"])
def test_a_content_type_of_none_keeps_that_of_the_object(moto_bucket: S3Bucket, name: str) -> None:
    """None counts as not given: no type is guessed from the key's extension."""
    obj = moto_bucket.put_object("k.json", "{}", {"a": "1"}, content_type="text/x")
    further: Any = {name: None}
    obj.set_metadata({"a": "2"}, **further)
    assert moto_bucket["k.json"].content_type == "text/x"
    assert obj.copy_to("copy.json", **further).content_type == "text/x"


def test_a_new_version_with_the_same_content_is_not_overwritten(moto_bucket: S3Bucket) -> None:
    """The ETag does not show that another client has changed the metadata."""
    moto_bucket.versioning.enable()
    moto_bucket.put_object("k", "hello", {"a": "1"})
    obj = moto_bucket.get_object("k")
    moto_bucket["k"].set_metadata({"a": "1", "b": "1"})
    with pytest.raises(S3ObjectChanged, match=r"version ID.*nothing was written"):
        obj.set_metadata({**obj.metadata, "c": "1"})
    assert moto_bucket["k"].metadata == {"a": "1", "b": "1"}
    assert obj.reload().set_metadata({**obj.metadata, "c": "1"}).metadata == {"a": "1", "b": "1", "c": "1"}


def test_an_object_written_again_later_is_not_overwritten(scripted_server: ScriptedServer) -> None:
    dates = iter(["Sat, 21 Nov 2026 05:00:00 GMT", "Sat, 21 Nov 2026 05:00:01 GMT"])

    def answer(asked: Any) -> Any:
        assert asked.method == "HEAD"
        status, headers, body = content_of(asked, b"hello", "one")
        return status, {**headers, "Last-Modified": next(dates)}, body

    scripted_server.answer = answer
    obj = scripted_server.bucket(preset="aws")["k"]
    assert obj.metadata == {}
    with pytest.raises(S3ObjectChanged, match=r"written at .* and again at .*nothing was written"):
        obj.set_metadata({"a": "1"})


def test_a_write_while_the_content_passes_through_is_not_lost(
    moto_bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copies of this store do not take new metadata."""
    moto_bucket.put_object("k", "one", {"a": "1"})
    read = ranged_reader.get_stream

    def read_and_write(*arguments: Any, **named: Any) -> Any:
        found = read(*arguments, **named)
        moto_bucket.put_object("k", "two", {"a": "2"})
        return found

    monkeypatch.setattr(confirmation, "copies_rightly", lambda *_, **__: False)
    moto_bucket["k"].set_metadata({"a": "0"})
    assert (moto_bucket["k"].text, moto_bucket["k"].metadata) == ("one", {"a": "0"})
    monkeypatch.setattr(ranged_reader, "get_stream", read_and_write)
    with pytest.raises(S3ObjectChanged, match="nothing was written"):
        moto_bucket["k"].set_metadata({"a": "3"})
    assert (moto_bucket["k"].text, moto_bucket["k"].metadata) == ("two", {"a": "2"})


def test_a_write_while_the_parts_are_copied_is_not_lost(
    scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The object is replaced after the last part was copied: the store refuses to complete the upload."""

    def answer(asked: Any) -> Any:
        if asked.method == "HEAD":
            return content_of(asked, b"hello", "one")
        if asked.method == "PUT":
            return document("CopyPartResult", "<ETag>&quot;part&quot;</ETag>")
        if asked.method == "DELETE":
            return 204, {}, b""
        if "uploadId" not in asked.query:
            return document("InitiateMultipartUploadResult", "<UploadId>id</UploadId>")
        assert asked.headers["if-match"] in ('"one"', "one")
        return refusal(412, "PreconditionFailed")

    scripted_server.answer = answer
    monkeypatch.setattr(copying, "MAX_COPIED_AT_ONCE", 4)
    with pytest.raises(S3ObjectChanged, match="nothing was written"):
        scripted_server.bucket(preset="aws")["k"].set_metadata({"a": "1"})
    assert sum(asked.method == "POST" for asked in scripted_server.asked) == 2


@pytest.mark.parametrize("found", ["1", "7"])
def test_a_lost_response_to_the_copy_is_found_out(scripted_server: ScriptedServer, found: str) -> None:
    """The copy of an object that was uploaded in parts has another ETag, so the store rejects the second attempt."""
    copies = iter([refusal(500, "InternalError"), refusal(412, "PreconditionFailed")])

    def answer(asked: Any) -> Any:
        if asked.method == "PUT":
            return next(copies)
        is_copied = "PUT k" in scripted_server.whats
        status, headers, body = content_of(asked, b"hello", "new" if is_copied else "old-2")
        return status, {**headers, "x-amz-meta-a": found if is_copied else "0"}, body

    scripted_server.answer = answer
    obj = scripted_server.bucket(preset="aws", max_attempts=2)["k"]
    if found == "1":
        assert (obj.set_metadata({"a": "1"}).metadata, obj.etag) == ({"a": "1"}, "new")
    else:
        with pytest.raises(S3ObjectChanged, match="a response was lost, so it may have been copied before"):
            obj.set_metadata({"a": "1"})


REWRITES: dict[str, Callable[[S3Bucket], object]] = {
    "set_metadata": lambda bucket: bucket["k"].set_metadata(content_type="text/plain"),
    "update": lambda bucket: bucket["k"].update(lambda body: b"new"),
    "copy": lambda bucket: bucket["k"].copy_to("new", content_type="text/plain"),
    "stream": lambda bucket: bucket["k"].copy_to(bucket.store.bucket("elsewhere")["new"], storage_class="STANDARD"),
    "append": lambda bucket: bucket["k"].open("ab").write(b"more"),
    "async update": lambda bucket: asyncio.run(
        AsyncS3Store(bucket.store).bucket(bucket.name)["k"].update(lambda body: b"new")
    ),
}


@pytest.mark.parametrize("rewrite", REWRITES)
def test_metadata_that_the_store_does_not_return_is_not_lost(
    scripted_server: ScriptedServer, rewrite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AWS leaves out metadata that no header can hold, and says how many. It is kept by a copy that does not send metadata."""

    def answer(asked: Asked) -> Answer:
        if "x-amz-copy-source" in asked.headers:
            return document("CopyObjectResult", "<ETag>new</ETag>")
        found = content_of(asked, b"content")
        assert isinstance(found, tuple)
        return found[0], {**found[1], "x-amz-missing-meta": "2"}, found[2]

    scripted_server.answer = answer
    bucket = scripted_server.bucket(lane=False, preset="aws")
    if rewrite == "stream":
        monkeypatch.setattr("messageflux_s3._client.addresses.ObjectAddress.is_same_store", lambda *_: False)
    with pytest.raises(S3Unsupported, match="2 entries of metadata"):
        REWRITES[rewrite](bucket)
    assert {asked.method for asked in scripted_server.asked} <= {"HEAD", "GET"}
    if rewrite != "stream":
        bucket["k"].copy_to("copy")
        bucket["k"].set_metadata({"a": "1"})
