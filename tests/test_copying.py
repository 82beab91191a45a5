"""Copies and moves: on the server, between stores, at any size."""

from __future__ import annotations

import hashlib
import random
from typing import Any, cast

import boto3
import pytest
from support.proxy import run_proxy, scripted
from support.request_counting import Counted
from support.scripted_server import Answer, Asked, ScriptedServer, content_of, document, refusal, replaces_metadata
from support.servers import Server
from support.stateful_server import StatefulStore

from messageflux_s3 import (
    S3BatchError,
    S3Bucket,
    S3Error,
    S3NoSuchBucket,
    S3NoSuchItem,
    S3Object,
    S3ObjectChanged,
    S3ObjectExists,
    S3PreconditionFailed,
    S3Store,
    S3Unsupported,
)
from messageflux_s3._client.capabilities import Capabilities
from messageflux_s3._files import copying
from messageflux_s3._objects.multipart import MultipartUpload

DATA = random.Random(8).randbytes(12 * 1024 * 1024)
MODIFIED = "Sat, 21 Nov 2026 05:00:00 GMT"


def test_a_copy_keeps_content_metadata_and_content_type(bucket: S3Bucket) -> None:
    """Content, metadata and content type are copied."""
    source = bucket.put_object("a.json", b"{}", {"name": "Zoë"}, content_type="text/x")
    copied = source.copy_to("b b+c.bin")
    assert (copied.body, copied.metadata["name"]) == (b"{}", "Zoë")
    assert source.exists()


def test_metadata_may_be_replaced(moto_bucket: S3Bucket) -> None:
    """The other attributes are copied."""
    source = moto_bucket.put_object("a", b"x", {"old": "1"}, content_type="text/x", cache_control="no-store")
    copied = source.copy_to("b", metadata={"new": "2"}).reload()
    answer = moto_bucket._connection.call("HeadObject", Bucket=moto_bucket.name, Key="b")
    assert (copied.metadata, answer["ContentType"], answer["CacheControl"]) == ({"new": "2"}, "text/x", "no-store")


def test_replaced_metadata_leaves_no_former_entry(bucket: S3Bucket) -> None:
    """Also on rclone, which adds the new metadata to the old; the first copy detects that, and the result is cached."""
    source = bucket.put_object("a", b"x", {"old": "1", "same": "2"})
    for number, metadata in enumerate([{"same": "3"}, {"new": "4"}, {}, {"old": "5", "same": "6"}]):
        for copied in (
            source.copy_to(f"copy{number}", metadata=metadata),
            bucket["a"].copy_to("again", metadata=metadata),
        ):
            found = copied.reload().metadata
            found.pop("mtime", None)  # rclone's own
            assert (found, copied.body) == (metadata, b"x")


def test_storage_class_and_tags_are_kept(moto_bucket: S3Bucket) -> None:
    """S3's own copy would have the class STANDARD."""
    moto_bucket.put_object("a", b"x", storage_class="STANDARD_IA", tags={"t": "1"})
    assert moto_bucket.copy_object("a", "b").reload().storage_class == "STANDARD_IA"
    tags = moto_bucket._connection.call("GetObjectTagging", Bucket=moto_bucket.name, Key="b")["TagSet"]
    assert tags == [{"Key": "t", "Value": "1"}]


def test_large_objects_are_copied_in_parts(moto_bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """What CopyObject does not take is copied in parts, with metadata."""
    moto_bucket.put_object("a", DATA, {"m": "é"}, content_type="text/x")
    monkeypatch.setattr(copying, "MAX_COPIED_AT_ONCE", 1)
    copied = moto_bucket["a"].copy_to("b", part_size_bytes=5 * 1024 * 1024)
    assert (copied.size, copied.reload().body == DATA) == (len(DATA), True)
    assert (copied.metadata, copied.content_type) == ({"m": "é"}, "text/x")


def test_a_copy_in_parts_keeps_tags_or_raises(
    moto_bucket: S3Bucket, rclone_bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also on a store that was not probed; to a store without tags an object is copied only if its tags are replaced by none."""
    source = moto_bucket.put_object("a", DATA, tags={"t": "1"})
    monkeypatch.setattr(copying, "MAX_COPIED_AT_ONCE", 1)
    copied = source.copy_to("b", part_size_bytes=5 * 1024 * 1024)
    assert dict(copied.tags.get()) == {"t": "1"}
    assert dict(source.copy_to("c", part_size_bytes=5 * 1024 * 1024, tags={"u": "2"}).tags.get()) == {"u": "2"}
    with pytest.raises(S3Unsupported, match="does not keep tags"):
        source.copy_to(rclone_bucket["a"])
    assert not rclone_bucket["a"].exists()
    assert source.copy_to(rclone_bucket["a"], tags={}).size == len(DATA)
    assert rclone_bucket["a"].copy_to(moto_bucket["back"]).size == len(DATA)  # a source without tags


def test_objects_are_copied_between_stores(moto_bucket: S3Bucket, rclone_bucket: S3Bucket) -> None:
    """Copies between stores are streamed through this process, in both directions."""
    moto_bucket.put_object("a", DATA, {"m": "é"})
    there = moto_bucket["a"].copy_to(rclone_bucket["x/a"])
    assert (there.reload().body == DATA, there.metadata["m"]) == (True, "é")
    assert there.move_to(moto_bucket["back"]).reload().body == DATA
    assert not rclone_bucket["x/a"].exists()


def test_a_move_copies_and_deletes(bucket: S3Bucket) -> None:
    """The target exists, and the source is deleted; an object moved onto itself is kept."""
    obj = bucket.put_object("a", b"x")
    moved = obj.move_to("b")
    assert (moved.body, bucket["a"].exists()) == (b"x", False)
    assert moved.move_to("b").reload().body == b"x"


def test_copying_a_missing_source_changes_nothing(bucket: S3Bucket) -> None:
    """Nothing is created or deleted."""
    with pytest.raises(S3NoSuchItem):
        bucket["missing"].move_to("b")
    assert not bucket["b"].exists()


def test_a_target_is_a_key_or_a_handle(moto_bucket: S3Bucket) -> None:
    """Any other type raises TypeError before a request."""
    with pytest.raises(TypeError, match="target"):
        moto_bucket["a"].copy_to(b"b")  # type: ignore[arg-type]


def test_a_query_copies_all_it_finds(moto_bucket: S3Bucket) -> None:
    """Copies have the same keys, with a prefix before them."""
    moto_bucket.put_objects([("d/1", "1"), ("d/2", "2"), ("e", "3")])
    copies = moto_bucket.find(prefix="d/").copy_to(moto_bucket, "backup/")
    assert [copy.key for copy in copies] == ["backup/d/1", "backup/d/2"]
    assert moto_bucket["backup/d/2"].text == "2"


def test_the_target_of_a_copy_is_the_current_object_even_if_its_handle_has_a_version(moto_bucket: S3Bucket) -> None:
    moto_bucket.versioning.enable()
    old = moto_bucket.put_object("to", "old").version_id
    moto_bucket.put_object("a", "content", {"by": "me"})
    copied = moto_bucket["a"].copy_to(moto_bucket.object("to", version_id=old))
    assert (copied.text, copied.metadata) == ("content", {"by": "me"})
    moto_bucket.put_object("b", "longer content")
    assert moto_bucket["b"].move_to(moto_bucket.object("to", version_id=old)).text == "longer content"
    assert not moto_bucket["b"].exists()


@pytest.mark.lane
def test_small_objects_are_copied_through_the_lane(counted: Counted) -> None:
    """One PUT each, with metadata, storage class, odd keys and versions; the handles have the attributes from the responses."""
    bucket = counted.bucket
    bucket.put_objects((f"d/{number:02}", f"{number}", {"n": str(number)}) for number in range(20))
    bucket.put_object("d/ä+ %25&?=", "odd", {"m": "é"}, storage_class="STANDARD_IA")
    other = counted.store.create_bucket(f"{bucket.name}-2")
    other.put_object("first", b"")  # through boto3: that opens the lane
    bucket["d/ä+ %25&?="].copy_to(other["second"])  # asks once whether copies keep the storage class
    with counted.recording() as requests:
        copies = bucket.find(prefix="d/").copy_to(other, "to/")
    # a HEAD in each bucket shows that they are two
    assert [request.method for request in requests] == ["GET", "HEAD", "HEAD", *["PUT"] * 21]
    assert [copy.key for copy in copies] == [f"to/{obj.key}" for obj in bucket.find("d/")]
    odd = other.get_object("to/d/ä+ %25&?=")
    assert (odd.text, odd.metadata, odd.storage_class) == ("odd", {"m": "é"}, "STANDARD_IA")
    assert (copies[7].size, copies[7].etag, copies[7].metadata) == (1, other.get_object("to/d/07").etag, {"n": "7"})


def test_copies_that_fail_are_named(moto: Server, moto_bucket: S3Bucket) -> None:
    """An error in a 200 response and a missing object are requested again through boto3, and reported by key."""
    moto_bucket.put_objects([(f"d/{number}", b"x") for number in range(6)])
    with run_proxy(moto.endpoint_url, scripted({("PUT", "to/d/4"): ["error_in_200_after"]})) as proxy:
        bucket = moto.connect(endpoint_url=proxy.endpoint_url).bucket(moto_bucket.name)
        query = bucket.find(prefix="d/")
        listed = list(query.objects())
        moto_bucket["d/5"].delete()
        with pytest.MonkeyPatch.context() as patch, pytest.raises(S3BatchError) as caught:
            patch.setattr(type(query), "objects", lambda self: iter(listed))
            query.copy_to(bucket, "to/")
        assert [(failure.key, type(failure.error)) for failure in caught.value.failures] == [("d/5", S3NoSuchItem)]
        assert caught.value.succeeded == [f"d/{number}" for number in range(5)]
        assert proxy.counts()["error_in_200_after"] == 1


def test_a_copy_may_replace_content_type_and_storage_class(moto_bucket: S3Bucket) -> None:
    """Its type and its storage class; content, metadata and the other headers are those of the source."""
    source = moto_bucket.put_object("a.json", b"{}", {"m": "1"}, cache_control="no-store")
    copied = source.copy_to("b", content_type="text/y", storage_class="STANDARD_IA").reload()
    answer = moto_bucket._connection.call("HeadObject", Bucket=moto_bucket.name, Key="b")
    assert (copied.content_type, copied.storage_class, answer["CacheControl"], copied.metadata, copied.body) == (
        "text/y", "STANDARD_IA", "no-store", {"m": "1"}, b"{}",
    )  # fmt: skip


def test_the_storage_class_is_kept_at_any_size_and_between_accounts(moto: Server, moto_bucket: S3Bucket) -> None:
    """Also in parts, and when streamed to a store of the same kind."""
    source = moto_bucket.put_object("a", DATA, {"m": "1"}, storage_class="STANDARD_IA")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copying, "MAX_COPIED_AT_ONCE", 1)
        assert source.copy_to("parts", part_size_bytes=5 * 1024 * 1024).reload().storage_class == "STANDARD_IA"
    theirs = moto.connect(access_key="SOMEBODYELSE", secret_key="SECRETKEY0123456").bucket(moto_bucket.name)
    streamed = source.copy_to(theirs["streamed"], if_absent=True).reload()
    assert (streamed.storage_class, streamed.metadata, streamed.body == DATA) == ("STANDARD_IA", {"m": "1"}, True)
    with pytest.raises(S3ObjectExists):
        source.copy_to(theirs["streamed"], if_absent=True)


def test_a_source_that_changes_during_a_copy_in_parts_raises(
    scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each part is copied with If-Match; the upload is aborted."""
    monkeypatch.setattr(copying, "MAX_COPIED_AT_ONCE", 1)

    def answer(asked: Asked) -> Answer:
        if asked.method == "HEAD":
            return content_of(asked, b"x" * 100)
        if asked.method == "POST":
            return document("InitiateMultipartUploadResult", "<UploadId>U</UploadId>")
        return (204, {}, b"") if asked.method == "DELETE" else refusal(412, "PreconditionFailed")

    scripted_server.answer = answer
    with pytest.raises(S3ObjectChanged, match="changed while it was being copied: its etag is no longer e"):
        scripted_server.bucket()["a"].copy_to("b", tags={})
    assert scripted_server.whats[-1] == "DELETE b?uploadId"
    assert "POST b?uploadId" not in scripted_server.whats


@pytest.mark.parametrize("then", [b"b" * 50, b"b" * 70], ids=["same size", "larger"])
@pytest.mark.parametrize("copy", [S3Object.copy_to, S3Object.move_to])
def test_a_copy_in_parts_is_of_one_content_where_the_store_ignores_the_condition(
    scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, copy: Any, then: bytes
) -> None:
    """The source is replaced after the first part. Nothing is written, and the source is kept."""
    monkeypatch.setattr(copying, "MAX_COPIED_AT_ONCE", 1)
    monkeypatch.setattr(copying, "CONCURRENCY", 1)
    monkeypatch.setattr(copying, "PART_BYTES", 10)
    store = StatefulStore(scripted_server)
    store.put("a", b"a" * 50)

    def before(asked: Asked) -> None:
        if asked.query.get("partNumber") == "2":
            store.put("a", then)
        cast("dict[str, str]", asked.headers).pop("x-amz-copy-source-if-match", None)

    store.before = before
    with pytest.raises(S3ObjectChanged, match="changed while it was being copied"):
        copy(scripted_server.bucket(lane=False, preset="other")["a"], "b")
    assert (store.body("a"), store.body("b"), store.uploads) == (then, None, {})


@pytest.mark.parametrize("size", [0, 499, 501, 1500], ids=["empty", "a byte short", "a byte long", "long"])
@pytest.mark.parametrize("copy", [S3Object.copy_to, S3Object.move_to])
def test_a_copy_between_stores_has_the_size_of_its_source(
    scripted_server: ScriptedServer, copy: Any, size: int
) -> None:
    """A gateway answers the GET in chunks, without Content-Length, with other bytes than the HEAD has told."""

    def answer(asked: Asked) -> Answer:
        if asked.method == "GET" and asked.key == "a" and "range" not in asked.headers:
            body = b"x" * size
            chunks = (b"%x\r\n%s\r\n" % (size, body) if size else b"") + b"0\r\n\r\n"
            return 200, {"ETag": '"e"', "Last-Modified": MODIFIED, "Transfer-Encoding": "chunked"}, chunks
        if asked.method == "DELETE":
            return 204, {}, b""
        return content_of(asked, b"x" * 500) if asked.key == "a" else store(asked)

    store = StatefulStore()
    scripted_server.answer = answer
    target = scripted_server.connect(boto3_session=boto3.Session("OTHER", "SECRETKEY0123456")).bucket("bkt")["b"]
    source = scripted_server.bucket(lane=False)["a"]
    try:
        copy(source, target)
    except S3Error:
        assert store.body("b") is None
    else:
        assert store.body("b") == b"x" * 500  # the rest of a short body was requested as a range
    assert store.body("b") is not None or not any(asked.method == "DELETE" for asked in scripted_server.asked)


def test_a_move_keeps_the_source_if_the_copy_is_incomplete(scripted_server: ScriptedServer) -> None:
    """A move checks the copy with HEAD before it deletes the source."""

    def answer(asked: Asked) -> Answer:
        if asked.method == "PUT":
            return document("CopyObjectResult", "<ETag>e</ETag>")
        return content_of(asked, b"x" * (9 if asked.key == "a" else 5))

    scripted_server.answer = answer
    with pytest.raises(S3Error, match="has 5 bytes, its source 9: the source was not deleted"):
        scripted_server.bucket()["a"].move_to("b")
    assert [what for what in scripted_server.whats if what.startswith("DELETE")] == []


def test_a_move_whose_deletion_always_meets_a_concurrent_write_raises_a_retryable_precondition_failed(
    scripted_server: ScriptedServer,
) -> None:
    """409 does not say that the source was replaced: it is still what was copied, and a repeated move may succeed."""
    store = StatefulStore(scripted_server)
    store.put("a", b"content")

    def answer(asked: Asked) -> Answer:
        if asked.what == "DELETE a":
            return refusal(409, "ConditionalRequestConflict")
        if asked.method == "PUT" and "x-amz-copy-source" in asked.headers:
            copied = store.put(asked.key, store.objects["a"].body)
            return document("CopyObjectResult", f"<ETag>&quot;{copied.etag}&quot;</ETag>")
        return None

    store.before = answer
    with pytest.raises(S3PreconditionFailed) as raised:
        scripted_server.bucket(preset="aws", max_attempts=2)["a"].move_to("b")
    assert (raised.value.status, raised.value.retryable, raised.value.outcome_unknown) == (409, True, False)
    assert store.body("a") == store.body("b") == b"content"


def test_a_move_checks_the_copy_with_the_parameters_of_the_write(scripted_server: ScriptedServer) -> None:
    """Without the customer's key the HEAD of the copy is refused, and the source would stay."""
    store = StatefulStore(scripted_server)
    store.put("a", b"content")

    def answer(asked: Asked) -> Answer:
        if asked.key == "b" and "x-amz-server-side-encryption-customer-key" not in asked.headers:
            return refusal(400, "InvalidRequest")
        if asked.method == "PUT" and "x-amz-copy-source" in asked.headers:
            copied = store.put(asked.key, store.objects["a"].body)
            return document("CopyObjectResult", f"<ETag>&quot;{copied.etag}&quot;</ETag>")
        return None

    store.before = answer
    scripted_server.bucket(preset="aws")["a"].move_to("b", SSECustomerAlgorithm="AES256", SSECustomerKey="k" * 32)
    assert (store.body("a"), store.body("b")) == (None, b"content")


def test_copying_a_query_onto_itself_changes_nothing(moto_bucket: S3Bucket) -> None:
    """Nothing is copied, and nothing is lost."""
    moto_bucket.put_objects([("a", "1"), ("b", "2")])
    assert [copied.key for copied in moto_bucket.find().copy_to(moto_bucket)] == ["a", "b"]
    assert [obj.text for obj in moto_bucket.find()] == ["1", "2"]


@pytest.mark.parametrize("way", ["at once", "in parts", "with metadata", "a query", "a move", "between stores"])
def test_an_error_of_a_copy_names_the_missing_bucket(
    bucket: S3Bucket, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the missing bucket of the two, which a HEAD of an object cannot show."""
    obj, missing = bucket.put_object("k", b"x"), bucket.store.bucket(f"{bucket.name}-missing")
    if way == "in parts":
        monkeypatch.setattr(copying, "MAX_COPIED_AT_ONCE", 0)

    def make(source: S3Object, target: S3Object) -> object:
        if way == "between stores":
            url = str(bucket.store.config.endpoint_url).replace("127.0.0.1", "localhost")
            target = S3Bucket(target.bucket_name, S3Store(bucket.store.config.replace(endpoint_url=url)))[target.key]
        if way == "a move":
            return source.move_to(target)
        return source.copy_to(target, metadata={"a": "1"} if way == "with metadata" else None)

    if way != "a query":
        with pytest.raises(S3NoSuchBucket) as caught:
            make(missing["k"], obj)
        assert (caught.value.bucket, caught.value.code) == (missing.name, "NoSuchBucket")
        with pytest.raises(S3NoSuchBucket) as caught:
            make(obj, missing["k"])
        assert caught.value.bucket == missing.name
    else:
        with pytest.raises(S3BatchError) as failed:
            bucket.find().copy_to(missing)
        assert isinstance(failed.value.failures[0].error, S3NoSuchBucket)
    assert obj.reload().body == b"x"


@pytest.mark.parametrize("operation", ["CopyObject", "UploadPartCopy"])
@pytest.mark.parametrize("missing", ["bkt", "target"])
def test_an_error_names_the_bucket_that_was_deleted_during_a_copy(
    scripted_server: ScriptedServer, operation: str, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the store's error names the other bucket or none; a HEAD of the source's bucket decides."""
    if operation == "UploadPartCopy":
        monkeypatch.setattr(copying, "MAX_COPIED_AT_ONCE", 0)

    def serve(asked: Asked) -> Answer:
        if asked.method == "HEAD" and not asked.key:
            return (404, {}, b"") if missing == "bkt" else (200, {}, b"")
        if asked.method == "HEAD":
            return content_of(asked, b"x")
        if asked.method == "POST":
            return document("InitiateMultipartUploadResult", "<UploadId>U</UploadId>")
        return (204, {}, b"") if asked.method == "DELETE" else refusal(404, "NoSuchBucket")

    scripted_server.answer = serve
    store = scripted_server.connect()
    with pytest.raises(S3NoSuchBucket) as caught:
        store.bucket("bkt")["k"].copy_to(store.bucket("target")["k"], tags={})
    assert caught.value.bucket == missing


def test_an_error_names_the_source_that_was_deleted_during_a_copy(scripted_server: ScriptedServer) -> None:
    """The error names the source's key, not the target's."""
    scripted_server.answer = lambda asked: (
        content_of(asked, b"x") if asked.method == "HEAD" else refusal(404, "NoSuchKey")
    )
    with pytest.raises(S3NoSuchItem, match="s3://bkt/k was deleted while it was being copied") as caught:
        scripted_server.bucket()["k"].copy_to("other")
    assert caught.value.key == "k"


class _Versions:
    """A store with one object that is rewritten after the first HEAD.

    Args:
        scripted_server: The scripted server.
        honours: Whether the store compares If-Match of the source.
        misreads: Whether it refuses each such condition.
        is_rewritten: Whether the object is rewritten.
    """

    def __init__(
        self,
        scripted_server: ScriptedServer,
        *,
        honours: bool = True,
        misreads: bool = False,
        is_rewritten: bool = True,
    ) -> None:
        self.honours, self.misreads, self.is_rewritten = honours, misreads, is_rewritten
        self.body = b"old"
        self.copies: list[tuple[bytes, str]] = []
        scripted_server.answer = self

    def __call__(self, asked: Asked) -> Answer:
        etag = hashlib.md5(self.body).hexdigest()
        if asked.method == "HEAD" and asked.key == "k":
            status, headers, content = content_of(asked, self.body, etag)  # type: ignore[misc]
            described = {"x-amz-meta-version": self.body.decode()}
            if self.is_rewritten:
                self.body = b"new"
            return status, {**headers, **described}, content
        if "versioning" in asked.query:
            return document("VersioningConfiguration", "<Status>Suspended</Status>")
        if asked.method == "PUT":
            if asked.headers.get("x-amz-copy-source", "").endswith("?versionId=llun"):
                return refusal(404, "NoSuchVersion")
            condition = asked.headers.get("x-amz-copy-source-if-match")
            if condition is not None and (self.misreads or (self.honours and condition.strip('"') != etag)):
                return refusal(412, "PreconditionFailed")
            self.copies.append((self.body, asked.headers.get("x-amz-meta-version", "")))
            return document(
                "CopyObjectResult", f"<ETag>&quot;{etag}&quot;</ETag><LastModified>2026-11-21T05:00:00Z</LastModified>"
            )
        return refusal(404, "NoSuchKey")


@pytest.mark.parametrize("preset", ["aws", "other"])
@pytest.mark.parametrize("honours", [True, False])
@pytest.mark.parametrize("version_id", [None, "null"])
def test_a_copy_never_mixes_the_content_of_one_version_with_the_headers_of_another(
    scripted_server: ScriptedServer, preset: Any, honours: bool, version_id: str | None
) -> None:
    """The source was rewritten between the HEAD that showed its headers and the copy. Without versioning that replaces version "null"."""
    if preset == "aws" and not honours:
        pytest.skip("AWS honours the condition")
    versions = _Versions(scripted_server, honours=honours)
    bucket = replaces_metadata(scripted_server.bucket(preset=preset))
    with pytest.raises(S3ObjectChanged, match="s3://bkt/k changed while it was being copied") as caught:
        bucket.object("k", version_id).copy_to("copy", content_type="text/x")
    assert (caught.value.key, len(versions.copies)) == ("k", 0 if honours else 1)
    with pytest.raises(S3ObjectChanged):
        versions.body = b"old"
        bucket.object("k", version_id).move_to("moved", content_type="text/x")
    assert not any(asked.method == "DELETE" for asked in scripted_server.asked)


@pytest.mark.parametrize("preset", ["aws", "r2", "other"])
def test_the_source_etag_is_quoted_except_for_radosgw(scripted_server: ScriptedServer, preset: Any) -> None:
    """The ETag is quoted as in HTTP, but not on stores that may be radosgw."""
    _Versions(scripted_server, is_rewritten=False)
    scripted_server.bucket(preset=preset)["k"].copy_to("copy")
    bare = hashlib.md5(b"old").hexdigest()
    sent = [asked.headers["x-amz-copy-source-if-match"] for asked in scripted_server.asked if asked.method == "PUT"]
    assert sent == [bare if preset == "other" else f'"{bare}"']


@pytest.mark.parametrize("preset", ["aws", "r2", "gcs", "minio", "ceph", "other"])
def test_every_condition_has_the_etag_in_the_same_form(scripted_server: ScriptedServer, preset: Any) -> None:
    """A read, a copy, a copied part and a conditional write: quoted, except on stores that may be radosgw."""
    scripted_server.answer = store = StatefulStore()
    config = scripted_server.connect(preset=preset).config
    bucket = S3Store(config.replace(capabilities=Capabilities(put_if_match="honoured"))).bucket("bkt")
    etag = bucket.put_object("k", b"old").etag
    obj = bucket["k"]
    assert obj.etag == etag
    assert obj.read_range(0, 3) == b"old"
    bucket["k"].copy_to("copy")
    with MultipartUpload(bucket.object("whole")._address) as upload:
        upload.copy_part({"Bucket": "bkt", "Key": "k"}, 0, 3, if_match=etag)
        upload.complete()
    bucket.put_object("k", b"new", if_match=etag)
    names = ("if-match", "x-amz-copy-source-if-match")
    sent = [asked.headers[name] for asked in scripted_server.asked for name in names if name in asked.headers]
    assert sent == [f'"{etag}"' if preset in ("aws", "r2", "gcs") else etag] * 4
    assert store.objects["whole"].body == b"old"


def test_a_condition_that_is_refused_in_each_form_changes_the_form_of_no_other(scripted_server: ScriptedServer) -> None:
    """The store answers 412 to every conditional write. Reads keep the form that is assumed of this kind of store."""
    StatefulStore(scripted_server).before = lambda asked: (
        refusal(412, "PreconditionFailed") if asked.method == "PUT" and "if-match" in asked.headers else None
    )
    bucket = scripted_server.bucket(preset="r2")
    etag = bucket.put_object("k", b"old").etag
    with pytest.raises(S3Unsupported):
        bucket.put_object("k", b"new", if_match=etag)
    obj = bucket["k"]
    assert (obj.etag, obj.read_range(0, 3)) == (etag, b"old")
    assert scripted_server.asked[-1].headers["if-match"] == f'"{etag}"'


def test_a_store_that_misreads_the_condition_on_the_source_still_copies(scripted_server: ScriptedServer) -> None:
    """A second HEAD shows that the source is unchanged; the next copy sends no condition."""
    versions = _Versions(scripted_server, misreads=True, is_rewritten=False)
    bucket = replaces_metadata(scripted_server.bucket(preset="minio"))
    bucket["k"].copy_to("copy", content_type="text/x")
    assert versions.copies == [(b"old", "old")]
    del scripted_server.asked[:]
    bucket["k"].copy_to("copy")
    assert scripted_server.whats == ["HEAD k", "PUT copy"]


def test_a_missing_bucket_is_not_its_own_cause(scripted_server: ScriptedServer) -> None:
    """The chain of causes has no cycle."""
    scripted_server.answer = lambda asked: (
        content_of(asked, b"x") if asked.method == "HEAD" else refusal(404, "NoSuchBucket")
    )
    store = scripted_server.connect()
    with pytest.raises(S3NoSuchBucket) as caught:
        store.bucket("bkt")["k"].copy_to(store.bucket("target")["k"], tags={})
    error: BaseException | None = caught.value
    seen: list[BaseException] = []
    while error is not None:
        assert error not in seen
        seen.append(error)
        error = error.__cause__


DESCRIPTIONS: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "metadata": ({"x-amz-meta-a": "1"}, {"x-amz-meta-a": "2"}),
    "metadata removed": ({"x-amz-meta-a": "1"}, {}),
    "content type": ({"Content-Type": "text/x"}, {"Content-Type": "text/y"}),
    "cache control": ({}, {"Cache-Control": "no-store"}),
    "tags": ({}, {"x-amz-tagging-count": "1"}),
}


@pytest.mark.parametrize(("before", "after"), DESCRIPTIONS.values(), ids=DESCRIPTIONS)
def test_a_move_keeps_a_source_whose_metadata_changed_meanwhile(
    scripted_server: ScriptedServer, before: dict[str, str], after: dict[str, str]
) -> None:
    """The same bytes in the same second: ETag, size and time are the same."""
    heads: list[Asked] = []

    def serve(asked: Asked) -> Answer:
        if asked.method == "HEAD":
            heads.append(asked)
            status, headers, body = content_of(asked, b"x")  # type: ignore[misc]
            return status, {**headers, **(before if asked.key != "k" or len(heads) == 1 else after)}, body
        return (204, {}, b"") if asked.method == "DELETE" else document("CopyObjectResult", "<ETag>e</ETag>")

    scripted_server.answer = serve
    with pytest.raises(S3ObjectChanged, match="was written while it was being moved"):
        scripted_server.bucket()["k"].move_to("moved")
    assert not any(asked.method == "DELETE" for asked in scripted_server.asked)


def test_copying_a_query_below_its_own_prefix_copies_no_copy(moto_bucket: S3Bucket) -> None:
    """Otherwise each listing page would include the copies made from the page before, endlessly."""
    bodies = {f"d/{name}": name for name in map(str, range(100, 200))}
    moto_bucket.put_objects(bodies.items())
    copies = moto_bucket.find(prefix="d/")._refined(page_size=2).copy_to(moto_bucket, "d/")
    copied = {f"d/{key}": text for key, text in bodies.items()}
    assert ({obj.key: obj.text for obj in moto_bucket.find()}, [copy.key for copy in copies]) == (
        {**bodies, **copied},
        [*copied],
    )


def test_copying_a_query_onto_its_own_objects_is_refused(moto_bucket: S3Bucket) -> None:
    """An object to be copied would be replaced before it is copied."""
    moto_bucket.put_objects([("d/a", "1"), ("d/d/a", "2")])
    with pytest.raises(ValueError, match=r"'d/a' would replace 'd/d/a'.*nothing was copied"):
        moto_bucket.find(prefix="d/").copy_to(moto_bucket, "d/")
    assert [obj.text for obj in moto_bucket.find()] == ["1", "2"]


def _refusing_restores(asked: Asked) -> Answer:
    """A store that rejects the restoring copy of a version as one that changes nothing, as LocalStack does."""
    if "versioning" in asked.query:
        return document("VersioningConfiguration", "<Status>Enabled</Status>")
    if not asked.headers.get("x-amz-copy-source", "v1").endswith("v1"):
        return refusal(404, "NoSuchVersion")
    if asked.method == "HEAD":
        described = {
            "x-amz-version-id": "v1",
            "x-amz-meta-by": "me",
            "Content-Type": "text/x",
            "Cache-Control": "no-store",
        }
        answer = content_of(asked, b"old")
        return (answer[0], {**answer[1], **described}, answer[2]) if answer is not None else None
    if asked.headers.get("x-amz-metadata-directive") != "REPLACE":
        return refusal(400, "InvalidRequest")
    return document("CopyObjectResult", '<ETag>"e"</ETag>')


def test_a_version_is_restored_on_stores_that_refuse_copies_without_changes(
    scripted_server: ScriptedServer,
) -> None:
    """The copy is sent again with all attributes of the version."""
    scripted_server.answer = _refusing_restores
    replaces_metadata(scripted_server.bucket()).object("k", version_id="v1").make_current()
    headers = scripted_server.asked[-1].headers
    assert headers["x-amz-copy-source"].endswith("/k?versionId=v1")
    assert (headers["x-amz-meta-by"], headers["content-type"], headers["cache-control"]) == ("me", "text/x", "no-store")


def test_a_version_is_restored_on_localstack(localstack: Server) -> None:
    """It refuses the copy by which AWS restores a version."""
    bucket = localstack.connect().create_bucket("restored-versions")
    bucket.versioning.enable()
    bucket.put_object("k", b"old", {"by": "me"}, content_type="text/x", tags={"t": "1"})
    bucket.put_object("k", b"new")
    current = list(bucket.object("k").versions())[-1].make_current().reload()
    assert (current.body, current.metadata, current.content_type) == (b"old", {"by": "me"}, "text/x")
    assert dict(current.tags.get()) == {"t": "1"}


@pytest.mark.lane
def test_a_copy_of_what_has_replaced_a_listed_object_has_not_the_listed_size(scripted_server: ScriptedServer) -> None:
    """The handle of a copy by query has the ETag of the copy; beside it the listing's size would be that of another content."""
    store = StatefulStore(scripted_server)
    for key in ("a", "b"):
        store.put(key, b"short")

    def replace_before_copy(asked: Asked) -> Answer:
        if asked.headers.get("x-amz-copy-source", "").endswith("/b"):
            store.put("b", b"a longer content")
        return None

    store.before = replace_before_copy
    bucket = scripted_server.bucket(preset="aws")
    assert bucket["a"].exists()  # the lane is open
    asked = len(scripted_server.asked)
    kept, replaced = bucket.find(regex="^[ab]$").copy_to(bucket, "to/")
    assert len(scripted_server.asked) == asked + 3
    assert (kept.size, len(scripted_server.asked)) == (5, asked + 3)
    assert (replaced.size, replaced.read_range(-7)) == (16, b"content")
