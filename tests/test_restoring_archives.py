"""``obj.restore(days)``: RestoreObject where there is something to restore, and S3Unsupported elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from support.scripted_server import Asked, ScriptedServer, refusal
from support.servers import Server

from messageflux_s3 import AsyncS3Store, S3Bucket, S3Error, S3NoSuchItem, S3ObjectArchived, S3Unsupported

HEAD = {"ETag": '"e"', "Last-Modified": "Sat, 21 Nov 2026 05:00:00 GMT", "Content-Length": "1"}


def archived(restore: Any, *, after: dict[str, str] | None = None) -> Callable[[Asked], Any]:
    """Answer a HEAD with an archived object, and a POST with ``restore``."""
    sent: list[str] = []

    def answer(asked: Asked) -> Any:
        if asked.method == "HEAD":
            return 200, {**HEAD, "x-amz-storage-class": "GLACIER", **((after or {}) if sent else {})}, b""
        sent.append(asked.what)
        return restore

    return answer


def test_an_archived_object_is_restored(moto: Server, moto_bucket: S3Bucket) -> None:
    obj = moto_bucket.put_object("k", "hello", storage_class="GLACIER")
    with pytest.raises(S3ObjectArchived):
        _ = obj.body
    obj.restore(days=7)
    assert "Restore" in moto.client().head_object(Bucket=moto_bucket.name, Key="k")


@pytest.mark.parametrize("storage_class", ["STANDARD", "STANDARD_IA"])
def test_nothing_is_sent_for_an_object_that_is_not_archived(moto_bucket: S3Bucket, storage_class: str) -> None:
    obj = moto_bucket.put_object("k", "hello", storage_class=storage_class)
    with pytest.raises(S3Unsupported, match=f"storage class is {storage_class}"):
        obj.restore(days=7)
    assert obj.reload().body == b"hello"


def test_a_store_without_archives_is_not_sent_the_request(rclone_bucket: S3Bucket) -> None:
    rclone_bucket.put_object("k", "hello")
    with pytest.raises(S3Unsupported):
        rclone_bucket["k"].restore(days=7)
    assert rclone_bucket["k"].body == b"hello"
    with pytest.raises(S3NoSuchItem):
        rclone_bucket["none"].restore(days=7)


def test_a_store_that_answers_but_does_not_restore_is_unsupported(scripted_server: ScriptedServer) -> None:
    scripted_server.answer = archived((200, {}, b""))
    with pytest.raises(S3Unsupported, match="does not restore"):
        scripted_server.bucket()["k"].restore(days=7)
    assert scripted_server.whats == ["HEAD k", "POST k?restore", "HEAD k"]


def test_a_store_that_says_so_has_restored(scripted_server: ScriptedServer) -> None:
    scripted_server.answer = archived((202, {}, b""), after={"x-amz-restore": 'ongoing-request="true"'})
    scripted_server.bucket()["k"].restore(days=7)


@pytest.mark.parametrize(
    ("days", "tier", "sent"),
    [
        (7, "Bulk", b"<Days>7</Days>"),
        (1, "Expedited", b"<Tier>Expedited</Tier>"),
        (None, "Standard", b"<Tier>Standard</Tier>"),
    ],
)
def test_on_aws_it_is_one_request(scripted_server: ScriptedServer, days: int | None, tier: Any, sent: bytes) -> None:
    scripted_server.answer = lambda asked: (202, {}, b"")
    scripted_server.bucket(preset="aws").object("k", "v1").restore(days, tier=tier)
    [asked] = scripted_server.asked
    assert (asked.method, asked.query["versionId"]) == ("POST", "v1")
    assert sent in asked.body
    assert (b"<Days>" in asked.body) is (days is not None)


def test_a_restoration_in_progress_is_no_failure(scripted_server: ScriptedServer) -> None:
    scripted_server.answer = lambda asked: refusal(409, "RestoreAlreadyInProgress")
    scripted_server.bucket(preset="aws")["k"].restore(days=7)


@pytest.mark.parametrize("code", ["InvalidObjectState", "ObjectAlreadyInActiveTierError"])
def test_an_object_that_is_not_archived_is_told_from_one_that_must_be_restored(
    scripted_server: ScriptedServer, code: str
) -> None:
    """The status of both codes is 403, but access is not denied."""
    scripted_server.answer = lambda asked: refusal(403, code)
    with pytest.raises(S3Error, match="not archived") as raised:
        scripted_server.bucket(preset="aws")["k"].restore(days=7)
    assert (type(raised.value), raised.value.code) == (S3Error, code)


@pytest.mark.parametrize("code", ["InvalidObjectState", "ObjectNotInActiveTierError"])
def test_a_copy_of_an_archived_object_names_the_reason(scripted_server: ScriptedServer, code: str) -> None:
    """S3 documents both codes for it, with status 403."""
    scripted_server.answer = lambda asked: (200, HEAD, b"") if asked.method == "HEAD" else refusal(403, code)
    with pytest.raises(S3ObjectArchived, match="restore it first"):
        scripted_server.bucket(preset="aws")["k"].copy_to("j")


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"days": 0}, ValueError, "days"),
        ({"days": 1.5}, TypeError, "days"),
        ({"days": True}, TypeError, "days"),
        ({"days": 1, "tier": "standard"}, ValueError, "tier must be one of Standard, Bulk, Expedited"),
    ],
)
def test_wrong_arguments_are_rejected(
    scripted_server: ScriptedServer, arguments: Any, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        scripted_server.bucket()["k"].restore(**arguments)
    assert scripted_server.asked == []


def test_the_async_class_restores(scripted_server: ScriptedServer) -> None:
    scripted_server.answer = lambda asked: (202, {}, b"")

    async def restore() -> None:
        async with AsyncS3Store(scripted_server.connect(preset="aws")) as store:
            await store.bucket("bkt")["k"].restore(days=7)

    asyncio.run(restore())
    assert scripted_server.whats == ["POST k?restore"]
