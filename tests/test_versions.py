"""Versions: listed, read, restored and deleted."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from typing import Any

import pytest
from support.scripted_server import Answer, Asked, ScriptedServer, content_of, document, refusal, replaces_metadata
from support.servers import Server
from support.stateful_server import StatefulStore

import messageflux_s3 as s3
from messageflux_s3._bulk import versions
from messageflux_s3._client.capabilities import Condition
from messageflux_s3._objects.versioned import is_versioned
from messageflux_s3.fs import MessagefluxS3FileSystem


@pytest.fixture
def versioned(moto_bucket: s3.S3Bucket) -> s3.S3Bucket:
    moto_bucket.versioning.enable()
    return moto_bucket


def test_versions_are_listed_newest_first_and_read_each_by_itself(versioned: s3.S3Bucket) -> None:
    """Only versions of the key itself, not of keys that begin with it."""
    for text in ("one", "two", "three"):
        obj = versioned.put_object("k", text)
    versioned.put_object("k2", "other")
    found = [*obj.versions()]
    assert [version.text for version in found] == ["three", "two", "one"]
    assert len({version.version_id for version in found}) == 3
    assert versioned.object("k", found[-1].version_id).body == b"one"
    assert versioned.find(versions=True).count() == 4


def test_versions_are_cleared_where_aws_does_not_tell_whether_there_are_any(scripted_server: ScriptedServer) -> None:
    """Access points list versions, but refuse GetBucketVersioning; so does a bucket of another account."""
    left = {"v1", "v2"}

    def answer(asked: Asked) -> Answer:
        if "versioning" in asked.query:
            return refusal(405, "MethodNotAllowed")
        if "versions" in asked.query:
            told = "<Key>k</Key><Size>3</Size><ETag>e</ETag><LastModified>2026-11-01T00:00:00Z</LastModified>"
            entries = (f"<Version>{told}<VersionId>{version_id}</VersionId></Version>" for version_id in sorted(left))
            return document("ListVersionsResult", "".join(entries))
        if "delete" in asked.query:
            left.clear()
            deleted = (
                f"<Deleted><Key>k</Key><VersionId>{version_id}</VersionId></Deleted>" for version_id in ("v1", "v2")
            )
            return document("DeleteResult", "".join(deleted))
        return document("ListMultipartUploadsResult" if "uploads" in asked.query else "ListBucketResult")

    scripted_server.answer = answer
    scripted_server.bucket(preset="aws").clear_objects(versions=True)
    assert left == set()


def test_versions_of_the_key_to_start_after_are_not_listed(versioned: s3.S3Bucket) -> None:
    """moto begins with the versions of the key marker itself, which delete() would delete."""
    versioned.put_objects((key, text) for key in "abc" for text in ("one", "two"))
    versioned.delete_object("b")
    query = versioned.find(start_after="b", versions=True)
    assert [obj.key for obj in query] == ["c", "c"]
    query.delete()
    assert [obj.key for obj in versioned.find(versions=True)] == ["a", "a", "b", "b"]


def test_a_version_is_made_current_again(versioned: s3.S3Bucket) -> None:
    """A version is made current by a copy; all others are kept."""
    obj = versioned.put_object("k", "one", {"a": "b"})
    obj.put("two")
    first = [*obj.versions()][-1]
    assert first.make_current().reload().text == "one"
    assert versioned.get_object("k").metadata["a"] == "b"
    assert len([*obj.versions()]) == 3
    with pytest.raises(ValueError, match="not a handle for a version"):
        versioned.object("k").make_current()


@pytest.mark.parametrize("is_awaited", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("content", ["old", "newest"], ids=["content of the version", "other content"])
def test_update_by_a_handle_of_an_old_version_changes_the_current_object(
    versioned: s3.S3Bucket, content: str, is_awaited: bool
) -> None:
    """The current object is read, so that its ETag, metadata and tags count."""
    versioned.put_object("k", "old", {"a": "old"})
    versioned.put_object("k", "current", {"a": "current"})
    old = [*versioned["k"].versions()][1]
    seen: list[bytes | None] = []

    def change(body: bytes | None) -> str:
        seen.append(body)
        return content

    if is_awaited:

        async def update() -> None:
            async with s3.AsyncS3Store(versioned.store) as store:
                await store.bucket(versioned.name).object("k", old.version_id).update(change)

        asyncio.run(update())
    else:
        old.update(change)
    now = versioned.get_object("k")
    assert (seen, now.text, now.metadata) == ([b"current"], content, {"a": "current"})


def test_deleting_a_version_under_if_match_is_refused(versioned: s3.S3Bucket) -> None:
    """The condition would be compared with the current object, which would be deleted instead of the version."""
    for content in ("same", "other", "same"):
        versioned.put_object("k", content)
    oldest = [*versioned["k"].versions()][-1]
    with pytest.raises(ValueError, match="not with version"):
        oldest.delete(if_match=oldest.etag)
    assert versioned["k"].exists() and len([*versioned["k"].versions()]) == 3


V1, V2 = "version-of-old", "version-of-now"


class _VersionedStore:
    """A scripted store with two versions of ``k`` and one of ``gone``, a deleted object: what it does with version IDs is chosen.

    Args:
        ignores: Requests that ignore the version ID: ``"copy"`` (of the source), ``"tags"``.
        is_versioned: Whether GetBucketVersioning returns Enabled.
    """

    def __init__(self, server: ScriptedServer, ignores: str = "", *, is_versioned: bool = True) -> None:
        self.ignores = ignores
        self.is_versioned = is_versioned
        self.written: dict[str, bytes] = {}
        self.tagged: list[str] = []
        server.answer = self

    def __call__(self, asked: Asked) -> Answer:
        bodies, version_id = {V1: b"old", V2: b"now"}, asked.query.get("versionId", V2)
        if "versioning" in asked.query:
            return document("VersioningConfiguration", "<Status>Enabled</Status>" if self.is_versioned else "")
        if "versions" in asked.query:
            told = "<Size>3</Size><ETag>e</ETag><LastModified>2026-11-01T00:00:00Z</LastModified>"
            entry = f"<Version><Key>{{}}</Key><VersionId>{V1}</VersionId>{told}</Version>"
            keys = [key for key in ("k", *self.written) if key.startswith(asked.query.get("prefix", ""))]
            return document("ListVersionsResult", "".join(entry.format(key) for key in dict.fromkeys(keys)))
        if "tagging" in asked.query:
            if self.ignores == "copy":
                return refusal(501, "NotImplemented")
            if version_id not in bodies and self.ignores != "tags":
                return refusal(404, "NoSuchVersion")
            self.tagged += [asked.method] if asked.method != "GET" else []
            tags = "" if asked.key == "gone" else "<Tag><Key>a</Key><Value>1</Value></Tag>"
            return document("Tagging", f"<TagSet>{tags}</TagSet>")
        if asked.method == "PUT":
            source = asked.headers.get("x-amz-copy-source")
            if source is not None:
                named = source.partition("versionId=")[2]
                if named and named not in bodies and self.ignores != "copy":
                    return refusal(404, "NoSuchVersion")
                if "/gone" in source and (self.ignores == "copy" or not named):
                    return refusal(404, "NoSuchKey")
                self.written[asked.key] = bodies[V2 if self.ignores == "copy" or not named else named]
                return document("CopyObjectResult", f'<ETag>"{len(self.written)}"</ETag>')
            self.written[asked.key] = asked.body
            return 200, {"ETag": '"e"'}, b""
        if asked.method == "DELETE":
            self.written.pop(asked.key, None)
            return 204, {}, b""
        if asked.key not in ("k", "gone") or version_id not in bodies or (asked.key, version_id) == ("gone", V2):
            return refusal(404, "NoSuchKey")
        status, headers, body = content_of(asked, bodies[version_id], etag=version_id)
        return status, {**headers, "x-amz-version-id": version_id}, body


@pytest.mark.parametrize("ignores", ["", "copy"], ids=["copies versions", "copies the current object"])
@pytest.mark.parametrize("is_open", [True, False], ids=["lane", "boto3"])
def test_a_copy_of_a_version_has_the_content_of_that_version(
    scripted_server: ScriptedServer, ignores: str, is_open: bool
) -> None:
    """Nearly no store names the version that it copied. So a missing version is copied first; if that succeeds, versions are streamed."""
    store = _VersionedStore(scripted_server, ignores)
    bucket = replaces_metadata(scripted_server.bucket(lane=is_open))
    old = bucket.object("k", V1)
    old.copy_to("one")
    old.copy_to("two", metadata={"a": "b"})
    old.make_current()

    async def copy() -> None:
        async with s3.AsyncS3Store(bucket.store) as asynchronous:
            await asynchronous.bucket("bkt").object("k", V1).copy_to("three")

    asyncio.run(copy())
    bucket.find("k", versions=True).copy_to(bucket, "many/")
    assert store.written == dict.fromkeys(["one", "two", "k", "three", "many/k"], b"old")
    asked = [asked for asked in scripted_server.asked if V1[::-1] in asked.headers.get("x-amz-copy-source", "")]
    assert len(asked) == 1  # once for the bucket


@pytest.mark.parametrize("ignores", ["", "copy"], ids=["copies versions", "copies the current object"])
@pytest.mark.parametrize("is_open", [True, False], ids=["lane", "boto3"])
def test_the_first_copy_of_a_version_without_a_current_object_decides_nothing_for_later_copies(
    scripted_server: ScriptedServer, ignores: str, is_open: bool
) -> None:
    """Behind a delete marker a store that ignores the version answers 404 as well, as if it had refused a missing version."""
    store = _VersionedStore(scripted_server, ignores)
    bucket = scripted_server.bucket(lane=is_open)
    failed = None
    try:
        bucket.object("gone", V1).copy_to("of the deleted")
    except s3.S3Error as error:
        failed = error
    bucket.object("k", V1).copy_to("of the other")
    assert store.written.pop("of the other") == b"old"
    assert (failed, store.written) == (None, {"of the deleted": b"old"})


@pytest.mark.parametrize("is_open", [True, False], ids=["lane", "boto3"])
def test_concurrent_copies_of_versions_share_one_experiment(scripted_server: ScriptedServer, is_open: bool) -> None:
    """The first experiment is held up until a second one begins, which should not happen."""
    store, second = _VersionedStore(scripted_server), threading.Barrier(2)
    bucket = scripted_server.bucket(lane=is_open)

    def answer(asked: Asked) -> Answer:
        if V1[::-1] in asked.headers.get("x-amz-copy-source", ""):
            with suppress(threading.BrokenBarrierError):
                second.wait(0.3)
        return store(asked)

    scripted_server.answer = answer
    with ThreadPoolExecutor(4) as pool:
        assert len([*pool.map(bucket.object("k", V1).copy_to, ["one", "two", "three", "four"])]) == 4
    assert store.written == dict.fromkeys(["one", "two", "three", "four"], b"old")
    asked = [asked for asked in scripted_server.asked if V1[::-1] in asked.headers.get("x-amz-copy-source", "")]
    assert len(asked) == 1


def test_tags_of_a_version_need_a_store_that_looks_at_the_version(scripted_server: ScriptedServer) -> None:
    """Without the version ID in the response, the store has to refuse a version that does not exist."""
    store = _VersionedStore(scripted_server)
    old = scripted_server.bucket().object("k", V1)
    assert dict(old.tags.get()) == dict(old.tags.get()) == {"a": "1"}
    assert scripted_server.whats == ["GET k?tagging&versionId"] * 3
    store = _VersionedStore(scripted_server, "tags")
    scripted_server.asked.clear()
    tags = scripted_server.bucket(region="eu-west-1").object("k", V1).tags
    for change in (tags.get, tags.delete, lambda: tags.put({"b": "2"}), lambda: tags.update({"b": "2"})):
        with pytest.raises(s3.S3Unsupported, match=f"version {V1}, the store sent those of the current object"):
            change()
    assert store.tagged == []


@pytest.mark.parametrize("is_open", [True, False], ids=["lane", "boto3"])
def test_a_version_is_copied_without_permission_to_read_the_versioning_of_the_bucket(
    scripted_server: ScriptedServer, is_open: bool
) -> None:
    """GetBucketVersioning and deletions are denied: neither is needed for a copy, nor for the question before the first one."""
    store = _VersionedStore(scripted_server)
    scripted_server.answer = lambda asked: (
        refusal(403, "AccessDenied") if "versioning" in asked.query or asked.method == "DELETE" else store(asked)
    )
    old = scripted_server.bucket(lane=is_open).object("k", V1)
    old.copy_to("one")
    old.copy_to("two")
    assert store.written == {"one": b"old", "two": b"old"}


def test_tags_of_a_version_are_read_where_a_missing_version_is_denied(scripted_server: ScriptedServer) -> None:
    """Without permission to list the bucket, stores answer 403 for what does not exist. That refuses the missing version too."""
    store = _VersionedStore(scripted_server)
    scripted_server.answer = lambda asked: (
        refusal(403, "AccessDenied")
        if "tagging" in asked.query and asked.query.get("versionId") not in (V1, V2)
        else store(asked)
    )
    tags = scripted_server.bucket().object("k", V1).tags
    assert dict(tags.get()) == dict(tags.get()) == {"a": "1"}
    assert scripted_server.whats == ["GET k?tagging&versionId"] * 3  # the missing version is asked for once


def test_a_version_is_not_moved_where_its_deletion_may_delete_the_object(scripted_server: ScriptedServer) -> None:
    """As with delete(): the bucket must have versioning."""
    store = _VersionedStore(scripted_server, is_versioned=False)
    with pytest.raises(s3.S3Unsupported, match="has no versioning"):
        scripted_server.bucket().object("k", V1).move_to("moved")
    assert store.written == {}


def test_the_version_null_is_not_answered_by_another_version(scripted_server: ScriptedServer) -> None:
    """A response without a version ID is right for it: in a bucket without versioning it is the object itself."""
    scripted_server.answer = lambda asked: (200, {"ETag": '"e"', "x-amz-version-id": V2}, b"now")
    obj = scripted_server.bucket().object("k", "null")
    for read in (lambda: obj.body, lambda: obj.body_stream.read(), lambda: obj.read_range(0, 3)):
        with pytest.raises(s3.S3Unsupported, match="asked for version null"):
            read()


def test_making_the_version_null_current_keeps_the_metadata(rclone_bucket: s3.S3Bucket) -> None:
    """Without versioning it is the current object. rclone would lose the metadata in a copy of an object onto itself."""
    rclone_bucket.put_object("k", "text", {"a": "b"})
    null = rclone_bucket.object("k", "null")
    assert null.make_current().text == "text"
    assert rclone_bucket.get_object("k").metadata["a"] == "b"
    assert null.move_to("moved").reload().metadata["a"] == "b"
    assert [obj.key for obj in rclone_bucket.find()] == ["moved"]


@pytest.mark.parametrize("version_id", ["null-like", "3HL4kqtJvjVBH40Nrjfkd"])
def test_a_version_that_the_store_does_not_know_is_refused(rclone_bucket: s3.S3Bucket, version_id: str) -> None:
    """rclone answers a HEAD of any version with the current object, and copies that."""
    rclone_bucket.put_object("k", "text", {"a": "b"})
    obj = rclone_bucket.object("k", version_id)
    calls = [
        lambda: obj.copy_to("t"),
        lambda: obj.copy_to("t", metadata={"c": "d"}),
        lambda: obj.move_to("t"),
        obj.make_current,
        obj.exists,
        obj.tags.get,
        lambda: obj.tags.put({"a": "1"}),
        lambda: obj.body,
        obj.delete,
    ]
    for call in calls:
        with pytest.raises(s3.S3Unsupported):
            call()
    assert [(obj.key, obj.text, obj.metadata["a"]) for obj in rclone_bucket.find()] == [("k", "text", "b")]


def test_undelete_restores_a_deleted_object(versioned: s3.S3Bucket) -> None:
    """undelete() deletes the markers; deleting a version deletes only that one."""
    obj = versioned.put_object("k", "one")
    assert obj.undelete() is False
    versioned.delete_object("k")
    versioned.delete_object("k")
    assert not obj.exists()
    assert obj.undelete() is True
    assert obj.text == "one"
    newest = obj.put("two")
    next(newest.versions()).delete()
    assert versioned.get_object("k").text == "one"


def test_undelete_keeps_markers_older_than_a_version(versioned: s3.S3Bucket) -> None:
    """An earlier deletion stays in the history, also where all happened within a second; so do namesakes that are longer."""
    obj = versioned.put_object("k", "one")
    versioned.put_object("k2", "other").delete()
    obj.delete()
    obj.put("two").delete()
    assert obj.undelete()
    assert versioned.get_object("k").text == "two"
    versioned.object("k", versioned.get_object("k").version_id).delete()
    assert not versioned.object("k").exists()
    assert not versioned.object("k2").exists()


def test_a_handle_of_a_write_has_its_version_id_and_still_means_the_object(versioned: s3.S3Bucket) -> None:
    """version_id is known without a request; delete() then leaves a marker, it does not destroy the version."""
    obj = versioned.put_object("k", "one")
    assert obj.version_id
    obj.delete()
    assert versioned.find(versions=True).count() == 1


def test_delete_bucket_with_force_deletes_versions_markers_and_uploads(moto: Server, versioned: s3.S3Bucket) -> None:
    """delete_bucket(force=True) deletes versions, markers and incomplete uploads."""
    client = moto.client()
    for n in range(3):
        versioned.put_object("k", str(n))
    versioned.delete_object("k")
    client.create_multipart_upload(Bucket=versioned.name, Key="unfinished")
    versioned.clear_objects()
    assert versioned.find().count() == 0
    assert versioned.find(versions=True).count() == 3
    versioned.clear_objects(versions=True)
    listed = client.list_object_versions(Bucket=versioned.name)
    assert (listed.get("Versions", []), listed.get("DeleteMarkers", [])) == ([], [])
    assert "Uploads" not in client.list_multipart_uploads(Bucket=versioned.name)
    versioned.put_object("k", "again")
    versioned.delete_bucket(force=True)
    assert not versioned.exists()


def test_a_new_bucket_of_a_deleted_one_s_name_does_not_count_as_versioned(versioned: s3.S3Bucket) -> None:
    """Its conditional writes would be judged, and perhaps refused, by what the store does in buckets with versioning."""
    assert is_versioned(versioned._address)
    versioned.delete_bucket(force=True)
    versioned.store.create_bucket(versioned.name)
    assert not is_versioned(versioned._address)


def _listed(kind: str, query: Mapping[str, str]) -> Answer:
    """Answer as a store of one entry: an object, a former version, a delete marker, or none."""
    if "versions" in query and kind == "no versions":
        return refusal(404, "NoSuchThing")
    entry = "<Key>k</Key><LastModified>2026-01-01T00:00:00Z</LastModified>"
    if "versions" in query:
        name = {"version": "Version", "delete marker": "DeleteMarker"}.get(kind)
        inside = f"<{name}>{entry}<VersionId>1</VersionId></{name}>" if name else ""
        return document("ListVersionsResult", inside)
    return document("ListBucketResult", f"<Contents>{entry}<Size>1</Size></Contents>" if kind == "object" else "")


@pytest.mark.parametrize("kind", ["object", "version", "delete marker", "nothing", "no versions"])
def test_a_bucket_that_is_not_empty_is_kept_where_the_store_would_delete_it_with_its_contents(
    scripted_server: ScriptedServer, kind: str
) -> None:
    """SeaweedFS does, by default. Its answer to DeleteBucket is 204, whatever the bucket holds."""
    is_empty = kind in ("nothing", "no versions")

    def answer(asked: Asked) -> Answer:
        if asked.method == "DELETE":
            return 204, {}, b""
        return _listed(kind, asked.query)

    scripted_server.answer = answer
    bucket = scripted_server.bucket(lane=False)
    fs = MessagefluxS3FileSystem(bucket.store)
    deletions: list[Callable[[], None]] = [bucket.delete_bucket, lambda: fs.rmdir("bkt")]
    for delete in deletions:
        if is_empty:
            delete()
        else:
            with pytest.raises(s3.S3BucketNotEmpty, match=r"holds 'k'\. Nothing was sent"):
                delete()
    assert scripted_server.whats.count("DELETE ") == (2 if is_empty else 0)


def test_a_bucket_that_cannot_be_listed_is_not_deleted(scripted_server: ScriptedServer) -> None:
    """Another document than a listing does not show that the bucket is empty; nor does an error."""
    bucket = scripted_server.bucket(lane=False)
    for answered in (document("Welcome"), refusal(403, "AccessDenied")):
        scripted_server.answer = lambda asked, answered=answered: answered  # type: ignore[misc]
        with pytest.raises(s3.S3Error):
            bucket.delete_bucket()
    assert not [asked for asked in scripted_server.asked if asked.method == "DELETE"]


@pytest.mark.parametrize("kind", ["versions", "uploads"])
def test_what_is_still_listed_after_its_deletion_is_not_reported_as_deleted(
    scripted_server: ScriptedServer, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store answers each deletion with a success. A listing that is only late is read again."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    modified = "<LastModified>2026-01-01T00:00:00Z</LastModified>"
    late = [True, True, False]

    def answer(asked: Asked) -> Answer:
        if "versioning" in asked.query:
            return document("VersioningConfiguration", "<Status>Enabled</Status>")
        if asked.method != "GET":
            return 204, {}, b""
        is_there = late.pop(0) if late else True
        if "versions" in asked.query:
            return document(
                "ListVersionsResult", f"<Version><Key>k</Key><VersionId>v</VersionId>{modified}</Version>" * is_there
            )
        return document("ListMultipartUploadsResult", "<Upload><Key>k</Key><UploadId>u</UploadId></Upload>" * is_there)

    scripted_server.answer = answer
    bucket = scripted_server.bucket(preset="aws")._address
    clear = versions.clear_versions if kind == "versions" else versions.abort_uploads
    clear(bucket)
    assert late == []
    with pytest.raises(s3.S3ServerError, match="with a success, and still lists"):
        clear(bucket)


@pytest.mark.parametrize(("code", "error"), [("NoSuchUpload", None), ("AccessDenied", s3.S3AccessDenied)])
def test_an_upload_that_no_longer_exists_counts_as_aborted(
    scripted_server: ScriptedServer, code: str, error: type[Exception] | None
) -> None:
    """Any other refusal is an error."""
    upload = "<Upload><Key>k</Key><UploadId>u</UploadId></Upload>"

    def answer(asked: Asked) -> Answer:
        if asked.method == "GET":
            return document("ListMultipartUploadsResult", upload if len(scripted_server.asked) == 1 else "")
        return refusal(403 if error else 404, code)

    scripted_server.answer = answer
    if error is None:
        versions.abort_uploads(scripted_server.bucket()._address)
    else:
        with pytest.raises(error):
            versions.abort_uploads(scripted_server.bucket()._address)


@pytest.mark.parametrize(
    "answer", [refusal(404, "NoSuchUpload"), refusal(501, "NotImplemented"), document("ListBucketResult")]
)
def test_a_store_that_lists_no_uploads_has_none(scripted_server: ScriptedServer, answer: Answer) -> None:
    """Another document is not parsed as a listing of uploads."""
    scripted_server.answer = lambda asked: answer
    versions.abort_uploads(scripted_server.bucket()._address)
    assert {asked.method for asked in scripted_server.asked} == {"GET"}


def _store_with_conditions(server: ScriptedServer, versioned: Condition) -> s3.S3Bucket:
    """A bucket of a store that honours conditions on PUT without versioning; with versioning as given."""
    known = s3.Capabilities(
        put_if_absent="honoured",
        put_if_match="honoured",
        put_if_absent_versioned=versioned,
        put_if_match_versioned=versioned,
    )
    return s3.S3Store(server.connect(max_attempts=2).config.replace(capabilities=known)).bucket("bkt")


@pytest.mark.parametrize("condition", [{"if_absent": True}, {"if_match": "e"}], ids=["if_absent", "if_match"])
@pytest.mark.parametrize("is_awaited", [False, True], ids=["sync", "async"])
def test_a_conditional_write_is_taken_back_if_versioning_was_enabled_meanwhile(
    scripted_server: ScriptedServer, condition: dict[str, Any], is_awaited: bool
) -> None:
    """That the bucket has no versioning is cached for some seconds; radosgw ignores If-None-Match in a bucket with versioning."""
    enabled = ["", "<Status>Enabled</Status>"]

    def answer(asked: Asked) -> Answer:
        if "versioning" in asked.query:
            return document("VersioningConfiguration", enabled.pop(0))
        return 204 if asked.method == "DELETE" else 200, {"ETag": '"e"', "x-amz-version-id": "v9"}, b""

    scripted_server.answer = answer
    bucket = _store_with_conditions(scripted_server, "ignored")

    async def put() -> None:
        async with s3.AsyncS3Store(bucket.store) as store:
            await store.bucket("bkt").put_object("k", "x", **condition)

    with pytest.raises(s3.S3Unsupported, match="Nothing was written"):
        asyncio.run(put()) if is_awaited else bucket.put_object("k", "x", **condition)
    assert scripted_server.whats == ["GET ?versioning", "PUT k", "GET ?versioning", "DELETE k?versionId"]
    assert scripted_server.asked[-1].query["versionId"] == "v9"
    with pytest.raises(s3.S3Unsupported):
        bucket.put_object("k", "x", **condition)
    assert len(scripted_server.asked) == 4


@pytest.mark.parametrize("is_awaited", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("is_open", [True, False], ids=["lane", "boto3"])
def test_a_conditional_write_that_cannot_be_taken_back_has_an_unknown_outcome(
    scripted_server: ScriptedServer, is_open: bool, is_awaited: bool
) -> None:
    """Without the permission to delete versions the write stays; an S3AccessDenied would say that nothing was written."""
    enabled = ["", "<Status>Enabled</Status>"]

    def answer(asked: Asked) -> Answer:
        if "versioning" in asked.query:
            return document("VersioningConfiguration", enabled.pop(0))
        if asked.method == "DELETE":
            return refusal(403, "AccessDenied")
        return 200, {"ETag": '"e"', "x-amz-version-id": "v9"}, b""

    scripted_server.answer = answer
    bucket = _store_with_conditions(scripted_server, "ignored")
    if not is_open:
        bucket._connection.lane.shut("shut for this test")

    async def put() -> None:
        async with s3.AsyncS3Store(bucket.store) as store:
            await store.bucket("bkt").put_object("k", "x", if_absent=True, ExpectedBucketOwner="111122223333")

    with pytest.raises(
        s3.S3PreconditionFailed, match=r"was written as version v9.* could not be deleted again"
    ) as raised:
        if is_awaited:
            asyncio.run(put())
        else:
            bucket.put_object("k", "x", if_absent=True, ExpectedBucketOwner="111122223333")
    assert (raised.value.outcome_unknown, raised.value.bucket, raised.value.key) == (True, "bkt", "k")
    assert isinstance(raised.value.__cause__, s3.S3AccessDenied)
    assert scripted_server.whats == ["GET ?versioning", "PUT k", "GET ?versioning", "DELETE k?versionId"]
    assert scripted_server.asked[-1].headers["x-amz-expected-bucket-owner"] == "111122223333"


def test_a_conditional_write_has_an_unknown_outcome_if_the_versioning_cannot_be_found_out(
    scripted_server: ScriptedServer,
) -> None:
    """The error of that question alone would not say that the object was written."""
    status = [""]

    def answer(asked: Asked) -> Answer:
        if "versioning" in asked.query:
            return document("VersioningConfiguration", status.pop()) if status else refusal(500, "InternalError")
        return 200, {"ETag": '"e"', "x-amz-version-id": "v9"}, b""

    scripted_server.answer = answer
    with pytest.raises(
        s3.S3PreconditionFailed, match="whether the condition held when s3://bkt/k was written"
    ) as raised:
        _store_with_conditions(scripted_server, "ignored").put_object("k", "x", if_absent=True)
    assert raised.value.outcome_unknown


def test_a_conditional_write_stands_where_the_condition_holds_with_versioning_too(
    scripted_server: ScriptedServer,
) -> None:
    """And where the store sends version IDs without versioning, which is asked once."""
    status = ["", "<Status>Enabled</Status>"]

    def answer(asked: Asked) -> Answer:
        if "versioning" in asked.query:
            return document("VersioningConfiguration", status.pop(0) if status else "")
        return 200, {"ETag": '"e"', "x-amz-version-id": "v9"}, b""

    scripted_server.answer = answer
    bucket = _store_with_conditions(scripted_server, "honoured")
    assert bucket.put_object("k", "x", if_absent=True).version_id == "v9"
    assert scripted_server.whats == ["GET ?versioning", "PUT k", "GET ?versioning"]
    other = scripted_server.connect(region="eu-west-1")
    bucket = s3.S3Store(other.config.replace(capabilities=bucket.store.config.capabilities)).bucket("bkt")
    scripted_server.asked.clear()
    for _ in range(3):
        bucket.put_object("k", "x", if_absent=True)
    assert scripted_server.whats == ["GET ?versioning", "PUT k", "GET ?versioning", "PUT k", "PUT k"]


class _HiddenVersion:
    """A store on which versioning is enabled after the first question; with versioning it ignores If-Match on DELETE.

    The object was replaced by another client meanwhile, so that a delete marker hides a version that is not the one meant.

    Attributes:
        body: The content of the object.
        markers: The version IDs of the delete markers.
        marker: The version ID of the next delete marker.
        loses_answer: Whether the responses to deletions are lost.
        refuses_versions: Whether versions may not be deleted.
        says_versioning: Whether questions about the versioning are answered after the first one.
    """

    def __init__(self, server: ScriptedServer, verdict: Condition = "ignored") -> None:
        self.body = b"content"
        self.markers: list[str] = []
        self.marker = "m1"
        self.loses_answer = False
        self.refuses_versions = False
        self.says_versioning = True
        self._status = [""]
        server.answer = self._answer
        store = s3.S3Store(
            server.connect(max_attempts=2).config.replace(capabilities=s3.Capabilities(delete_if_match="honoured"))
        )
        store._connection.facts["condition:delete_if_match:versioned"] = verdict
        self.bucket = store.bucket("bkt")

    def _answer(self, asked: Asked) -> Answer:
        if "versioning" in asked.query:
            if not self._status and not self.says_versioning:
                return refusal(500, "InternalError")
            found = self._status.pop() if self._status else "<Status>Enabled</Status>"
            return document("VersioningConfiguration", found)
        if asked.method != "DELETE":
            headers = {"ETag": '"newer"', "Last-Modified": "Sat, 21 Nov 2026 05:00:00 GMT", "x-amz-version-id": "v2"}
            return refusal(404, "NoSuchKey") if self.markers else (200, headers, self.body)
        if "versionId" in asked.query:
            if self.refuses_versions:
                return refusal(403, "AccessDenied")
            self.markers.remove(asked.query["versionId"])
            return 204, {}, b""
        self.markers.append(self.marker)
        if self.loses_answer:
            return b""
        return 204, {"x-amz-version-id": self.marker, "x-amz-delete-marker": "true"}, b""


@pytest.mark.parametrize("is_awaited", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("is_open", [True, False], ids=["lane", "boto3"])
def test_a_conditional_deletion_is_taken_back_if_versioning_was_enabled_meanwhile(
    scripted_server: ScriptedServer, is_open: bool, is_awaited: bool
) -> None:
    """Its delete marker would hide a newer version. That the bucket has no versioning is cached for some seconds."""
    hidden = _HiddenVersion(scripted_server)
    bucket = hidden.bucket
    if not is_open:
        bucket._connection.lane.shut("shut for this test")

    async def delete() -> None:
        async with s3.AsyncS3Store(bucket.store) as store:
            await store.bucket("bkt")["k"].delete(if_match="older")

    with pytest.raises(s3.S3Unsupported, match="delete with if_match"):
        asyncio.run(delete()) if is_awaited else bucket["k"].delete(if_match="older")
    assert hidden.markers == []
    assert scripted_server.whats == ["GET ?versioning", "DELETE k", "GET ?versioning", "DELETE k?versionId"]
    with pytest.raises(s3.S3Unsupported):
        bucket["k"].delete(if_match="older")
    assert len(scripted_server.asked) == 4


def test_a_conditional_deletion_stands_where_the_condition_holds_with_versioning_too(
    scripted_server: ScriptedServer,
) -> None:
    """The delete marker stays."""
    hidden = _HiddenVersion(scripted_server, "honoured")
    hidden.bucket["k"].delete(if_match="newer")
    assert hidden.markers == ["m1"]
    assert scripted_server.whats == ["GET ?versioning", "DELETE k", "GET ?versioning"]


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("denied", r"hidden by the delete marker m1.* could not be deleted again"),
        ("suspended", "whether the condition held is unknown"),
        ("unanswered", "it is unknown whether the condition held when s3://bkt/k was deleted"),
        ("lost", "a version of it may be hidden by a delete marker"),
    ],
)
def test_a_conditional_deletion_that_cannot_be_taken_back_has_an_unknown_outcome(
    scripted_server: ScriptedServer, case: str, said: str
) -> None:
    """Without the permission to delete versions, with suspended versioning, if the store cannot be asked, and after a lost response."""
    hidden = _HiddenVersion(scripted_server)
    hidden.refuses_versions = case == "denied"
    hidden.marker = "null" if case == "suspended" else "m1"
    hidden.loses_answer = case == "lost"
    hidden.says_versioning = case != "unanswered"
    with pytest.raises(s3.S3PreconditionFailed, match=said) as raised:
        hidden.bucket["k"].delete(if_match="older")
    assert (raised.value.outcome_unknown, raised.value.bucket, raised.value.key) == (True, "bkt", "k")


def test_a_lost_response_to_a_deletion_without_versioning_costs_a_head_and_a_question(
    scripted_server: ScriptedServer,
) -> None:
    """The object is missing afterwards, and the bucket has no versioning: the deletion took place."""
    hidden = _HiddenVersion(scripted_server)
    hidden._status, hidden.loses_answer = ["", ""], True
    hidden.bucket["k"].delete(if_match="older")
    assert [what for what in scripted_server.whats if "versioning" in what or "HEAD" in what] == [
        "GET ?versioning", "HEAD k", "GET ?versioning",
    ]  # fmt: skip


def test_a_version_that_another_thread_noticed_first_does_not_hide_the_deletion(
    scripted_server: ScriptedServer,
) -> None:
    """Between the question about the condition and the response another thread learns that versioning is enabled."""
    hidden = _HiddenVersion(scripted_server)
    bucket, answer = hidden.bucket, scripted_server.answer

    def answer_later(asked: Asked) -> Answer:
        if asked.what == "DELETE k":
            bucket._connection.facts["versioned:bkt"] = (True, 0.0)
        return answer(asked)

    scripted_server.answer = answer_later
    with pytest.raises(s3.S3Unsupported):
        bucket["k"].delete(if_match="older")
    assert hidden.markers == []


def test_a_conditional_write_with_a_lost_response_is_taken_back_too(scripted_server: ScriptedServer) -> None:
    """A HEAD finds our write as a version, in a bucket that had no versioning when the condition was probed."""
    status, written = [""], dict[str, str]()

    def answer(asked: Asked) -> Answer:
        if "versioning" in asked.query:
            return document("VersioningConfiguration", status.pop() if status else "<Status>Enabled</Status>")
        if asked.method == "PUT":
            written.update({name: value for name, value in asked.headers.items() if name.startswith("x-amz-meta-")})
            return b""
        headers = {**written, "ETag": '"e"', "Last-Modified": "Sat, 21 Nov 2026 05:00:00 GMT", "x-amz-version-id": "v9"}
        return 204 if asked.method == "DELETE" else 200, headers, b""

    scripted_server.answer = answer
    with pytest.raises(s3.S3Unsupported):
        _store_with_conditions(scripted_server, "ignored").put_object("k", "x", if_absent=True)
    assert scripted_server.asked[-1].what == "DELETE k?versionId"
    assert scripted_server.asked[-1].query["versionId"] == "v9"


def test_releasing_a_lock_file_compares_it_by_a_head_after_versioning_was_enabled(
    scripted_server: ScriptedServer,
) -> None:
    """As on a store that does not honour If-Match on DELETE."""
    hidden = _HiddenVersion(scripted_server)
    hidden.body = b'{"owner": "us"}'
    hidden.bucket.release_lock("k")
    assert hidden.markers == ["m1"]
    assert scripted_server.whats[-3:] == ["DELETE k?versionId", "HEAD k", "DELETE k"]


def test_a_move_compares_its_source_by_a_head_after_versioning_was_enabled(scripted_server: ScriptedServer) -> None:
    """A newer source stays; an unchanged one is deleted, as in every bucket with versioning."""
    objects, deleted, status = StatefulStore(scripted_server), list[str](), [""]
    newer = False

    def before(asked: Asked) -> Answer:
        nonlocal newer
        if "versioning" in asked.query:
            return document("VersioningConfiguration", status.pop() if status else "<Status>Enabled</Status>")
        if asked.method == "DELETE":
            deleted.append(asked.what)
            if newer:
                objects.put("a", b"newer")
            return 204, {} if "versionId" in asked.query else {"x-amz-version-id": "m1"}, b""
        return None

    objects.before = before
    for newer, said in ((False, None), (True, s3.S3ObjectChanged)):
        config = scripted_server.connect().config.replace(capabilities=s3.Capabilities(delete_if_match="honoured"))
        store = s3.S3Store(config)
        store._connection.facts.clear()
        store._connection.facts["condition:delete_if_match:versioned"] = "ignored"
        status[:], deleted[:] = [""], []
        objects.put("a", b"older")
        with pytest.raises(said) if said else nullcontext():
            store.bucket("bkt")["a"].move_to("b")
        assert deleted == ["DELETE a", "DELETE a?versionId", *([] if newer else ["DELETE a"])]


def test_a_lock_is_renewed_and_released_after_versioning_was_enabled(scripted_server: ScriptedServer) -> None:
    """Where conditions do not hold with versioning, no other client can take the lock; a new one is S3Unsupported."""
    objects, enabled = StatefulStore(scripted_server, clock_offset=0), False

    def versioning(asked: Asked) -> Answer:
        found = "<Status>Enabled</Status>" if enabled else ""
        return document("VersioningConfiguration", found) if "versioning" in asked.query else None

    objects.before = versioning
    bucket = _store_with_conditions(scripted_server, "ignored")
    lock, released = bucket.lock("lock", ttl=600), bucket.lock("other", ttl=600)
    enabled = True
    bucket._connection.facts.clear()
    before = objects.body("lock")
    lock.renew()
    assert not lock.lost and objects.body("lock") != before
    with pytest.raises(s3.S3Unsupported):
        bucket.lock("new")
    lock.release()
    bucket.release_lock("other")
    assert bucket.check_lock("lock") is None is bucket.check_lock("other")
    with pytest.raises(s3.S3LockError, match="lost"):
        released.renew()
