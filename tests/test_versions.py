"""Versions: listed, read, restored and deleted."""

from __future__ import annotations

import asyncio

import pytest
from support.scripted_server import Answer, Asked, ScriptedServer, document, refusal
from support.servers import Server

import messageflux_s3 as s3
from messageflux_s3._bulk import versions


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
