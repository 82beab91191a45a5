"""``obj.presigned_parts(n)``: others send the parts by presigned URLs, the owner completes the upload."""

from __future__ import annotations

import asyncio
import pickle
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

import pytest
from support.request_counting import Counted
from support.servers import Server

import messageflux_s3 as s3
from messageflux_s3 import AsyncS3Store, S3AuthenticationError, S3Bucket, S3Error, S3NoSuchItem

FIRST = b"p" * (5 << 20)


def send(url: str, body: bytes) -> str:
    headers = {"Content-Type": "application/octet-stream"}  # moto parses the form that urllib takes it for otherwise
    with urllib.request.urlopen(urllib.request.Request(url, body, headers, method="PUT")) as answer:
        return str(answer.headers["ETag"])


def test_parts_sent_by_others_become_the_object(bucket: S3Bucket) -> None:
    obj = bucket["a b/ü.bin"]
    parts = obj.presigned_parts(3, metadata={"who": "me"}, content_type="text/x")
    etags = [send(url, body) for url, body in zip(parts.urls, (FIRST, b"end"), strict=False)]
    assert not obj.exists()
    parts.complete(etags)
    assert obj.body == FIRST + b"end"
    assert obj.content_type == "text/x"
    assert obj.metadata["who"] == "me"


def test_etags_may_be_unquoted(moto_bucket: S3Bucket) -> None:
    parts = moto_bucket["k"].presigned_parts(1)
    parts.complete([send(parts.urls[0], b"x").strip('"')])
    assert moto_bucket["k"].body == b"x"


def test_links_are_signed_one_by_one(rclone_bucket: S3Bucket) -> None:
    """The strict server rejects a link with another part number or upload ID."""
    parts = rclone_bucket["k"].presigned_parts(2)
    for changed in (
        parts.urls[0].replace("partNumber=1", "partNumber=7"),
        parts.urls[0].replace("uploadId=", "uploadId=1"),
    ):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            send(changed, b"x")
    parts.abort()


def test_another_process_goes_on_with_the_upload(moto: Server, moto_bucket: S3Bucket) -> None:
    begun = moto_bucket["k"].presigned_parts(1)
    etag = send(begun.urls[0], b"x")
    moto.connect().bucket(moto_bucket.name)["k"].presigned_parts(1, upload_id=begun.upload_id).complete([etag])
    assert moto_bucket["k"].body == b"x"


def test_an_upload_costs_one_request_and_one_to_complete_it(counted: Counted) -> None:
    with counted.recording() as seen:
        parts = counted.bucket["k"].presigned_parts(1000)
        counted.bucket["k"].presigned_parts(1000, upload_id=parts.upload_id)
    assert [request.method for request in seen] == ["POST"]
    assert len(set(parts.urls)) == 1000
    etag = send(parts.urls[0], b"x")
    with counted.recording() as seen:
        parts.complete([etag])
    assert [request.method for request in seen] == ["POST"]


def test_abort_deletes_the_upload_and_succeeds_again(moto: Server, moto_bucket: S3Bucket) -> None:
    parts = moto_bucket["k"].presigned_parts(1)
    send(parts.urls[0], b"x")
    parts.abort()
    parts.abort()
    assert "Uploads" not in moto.client().list_multipart_uploads(Bucket=moto_bucket.name)


def test_an_upload_that_was_aborted_cannot_be_completed(rclone_bucket: S3Bucket) -> None:
    parts = rclone_bucket["k"].presigned_parts(1)
    etag = send(parts.urls[0], b"x")
    parts.abort()
    with pytest.raises(S3NoSuchItem):
        parts.complete([etag])


def test_a_wrong_etag_does_not_end_the_upload(moto_bucket: S3Bucket) -> None:
    parts = moto_bucket["k"].presigned_parts(1)
    etag = send(parts.urls[0], b"x")
    with pytest.raises(S3Error):
        parts.complete(["0" * 32])
    parts.complete([etag])
    assert moto_bucket["k"].body == b"x"


@pytest.mark.parametrize(
    ("etags", "error"),
    [("abc", TypeError), ({"a"}, TypeError), ([1], TypeError), ([], ValueError), (["a", "b"], ValueError), (["a"] * 3, ValueError),
     (['""'], ValueError)],
)  # fmt: skip
def test_wrong_etags_are_rejected_before_anything_is_sent(
    moto_bucket: S3Bucket, etags: Any, error: type[Exception]
) -> None:
    parts = moto_bucket["k"].presigned_parts(1)
    with pytest.raises(error, match=r"etags|ETag"):
        parts.complete(etags)
    parts.abort()


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"count": 0}, ValueError, "count"),
        ({"count": 10_001}, ValueError, "count"),
        ({"count": 1.5}, TypeError, "count"),
        ({"count": True}, TypeError, "count"),
        ({"count": 1, "expires_in": 0}, ValueError, "expires_in"),
        ({"count": 1, "upload_id": 7}, TypeError, "upload_id"),
        ({"count": 1, "upload_id": "u", "metadata": {"a": "1"}}, ValueError, "upload_id"),
        ({"count": 1, "upload_id": "u", "content_type": "text/x"}, ValueError, "upload_id"),
        ({"count": 1, "ChecksumAlgorithm": "SHA256"}, ValueError, "ChecksumAlgorithm"),
        ({"count": 1, "SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32}, ValueError, "SSECustomer"),
        ({"count": 1, "contenttype": "text/x"}, TypeError, "content_type"),
        ({"count": 1, "metadata": {"a": 1}}, TypeError, "metadata"),
    ],
)
def test_wrong_arguments_are_rejected_before_anything_is_sent(
    arguments: Any, error: type[Exception], text: str
) -> None:
    store = s3.connect("http://127.0.0.1:9", access_key="key", secret_key="hush", region="us-east-1", max_attempts=1)
    with pytest.raises(error, match=text):
        store.bucket("bkt")["k"].presigned_parts(**arguments)


def test_a_version_cannot_be_written(moto_bucket: S3Bucket) -> None:
    with pytest.raises(ValueError, match="version"):
        moto_bucket.object("k", "v1").presigned_parts(1)


def test_without_credentials_no_upload_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    store = s3.connect("http://127.0.0.1:9", region="us-east-1", max_attempts=1)
    with pytest.raises(S3AuthenticationError):
        store.bucket("bkt")["k"].presigned_parts(1)


def test_the_repr_shows_no_link(moto_bucket: S3Bucket) -> None:
    parts = moto_bucket["k"].presigned_parts(2)
    assert repr(parts) == f"PresignedParts('s3://{moto_bucket.name}/k', 2 parts)"
    assert pickle.loads(pickle.dumps(parts)) == parts
    parts.abort()


def test_the_async_class_begins_and_completes(moto_bucket: S3Bucket) -> None:
    async def upload() -> bytes:
        async with AsyncS3Store(moto_bucket.store) as store:
            obj = store.bucket(moto_bucket.name)["k"]
            parts = await obj.presigned_parts(2, content_type="text/x")
            assert (len(parts.urls), bool(parts.upload_id)) == (2, True)
            assert repr(parts) == f"AsyncPresignedParts('s3://{moto_bucket.name}/k', 2 parts)"
            await parts.complete([await asyncio.to_thread(send, parts.urls[0], b"x")])
            await (await obj.presigned_parts(1)).abort()
            return await obj.read()

    assert asyncio.run(upload()) == b"x"


def test_an_empty_upload_id_is_rejected(moto_bucket: S3Bucket) -> None:
    """A store may take ``DELETE key?uploadId=`` for the deletion of the object."""
    with pytest.raises(ValueError, match="upload_id is empty"):
        moto_bucket["k"].presigned_parts(1, upload_id="")


def test_no_upload_is_left_if_its_urls_cannot_be_signed(moto_bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> str:
        raise RuntimeError("the clock stands still")

    monkeypatch.setattr("messageflux_s3._objects.presigning.Signer.url", fail)
    with pytest.raises(RuntimeError):
        moto_bucket["k"].presigned_parts(2)
    assert "Uploads" not in moto_bucket.store.client.list_multipart_uploads(Bucket=moto_bucket.name)


def test_an_anonymous_store_signs_nothing_for_an_access_point() -> None:
    """boto3 returns a URL without a signature."""
    anonymous = s3.connect(anonymous=True, region="us-east-1")
    obj = anonymous.bucket("arn:aws:s3:us-east-1:123456789012:accesspoint/ap")["k"]
    for sign in (obj.presigned_url, lambda: obj.presigned_parts(1), lambda: obj.presigned_parts(1, upload_id="x")):
        with pytest.raises(S3AuthenticationError, match="anonymous"):
            sign()
