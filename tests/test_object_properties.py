"""Properties of an object that a HEAD returns: content headers, encryption, checksums."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import pickle
from datetime import datetime, timezone
from typing import Any

import pytest
from support.request_counting import Counted
from support.servers import Server

from messageflux_s3 import AsyncS3Store, S3Bucket, S3Object
from messageflux_s3._formats.head import Head

WHEN = datetime(2033, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
GIVEN: dict[str, Any] = {
    "content_encoding": "identity",
    "content_language": "en, de",
    "content_disposition": 'attachment; filename="a.txt"',
    "cache_control": "max-age=7",
}
NAMES = (*GIVEN, "expires", "encryption", "kms_key_id")
SHA256 = base64.b64encode(hashlib.sha256(b"hello").digest()).decode()


def values(obj: S3Object | Any) -> dict[str, Any]:
    return {name: getattr(obj, name) for name in NAMES}


def test_content_headers_are_properties(bucket: S3Bucket) -> None:
    bucket.put_object("a.txt", "hello", **GIVEN)
    assert {name: getattr(bucket["a.txt"], name) for name in GIVEN} == GIVEN


def test_properties_that_are_not_set_are_none(bucket: S3Bucket) -> None:
    bucket.put_object("plain", "hello")
    assert {name: getattr(bucket["plain"], name) for name in (*GIVEN, "expires", "kms_key_id")} == dict.fromkeys(
        (*GIVEN, "expires", "kms_key_id")
    )


def test_expires_is_a_property(moto: Server, moto_bucket: S3Bucket) -> None:
    moto.client().put_object(Bucket=moto_bucket.name, Key="k", Body=b"hello", Expires=WHEN)
    assert moto_bucket["k"].expires == WHEN


def test_encryption_is_a_property(moto: Server, moto_bucket: S3Bucket) -> None:
    moto.client().put_object(
        Bucket=moto_bucket.name, Key="k", Body=b"hello", ServerSideEncryption="aws:kms", SSEKMSKeyId="own-key"
    )
    obj = moto_bucket["k"]
    assert obj.encryption == "aws:kms"
    assert "own-key" in (obj.kms_key_id or "")


def test_all_properties_of_a_head_cost_one_request(counted: Counted) -> None:
    counted.bucket.put_object("k", "hello", **GIVEN)
    obj = counted.bucket["k"]
    with counted.recording() as seen:
        first = values(obj)
        assert (obj.size, obj.metadata, values(obj)) == (5, {}, first)
    assert [request.method for request in seen] == ["HEAD"]


@pytest.mark.parametrize("source", ["get_object", "body"])
def test_properties_are_known_after_a_get(counted: Counted, source: str) -> None:
    counted.bucket.put_object("k", "hello", **GIVEN)
    with counted.recording() as seen:
        obj = counted.bucket.get_object("k") if source == "get_object" else counted.bucket["k"]
        assert obj.body == b"hello"
        assert values(obj) | GIVEN == values(obj)
    assert [request.method for request in seen] == ["GET"]


def test_properties_are_requested_after_a_write_and_a_listing(counted: Counted) -> None:
    written = counted.bucket.put_object("k", "hello", **GIVEN)
    [listed] = counted.bucket.find()
    with counted.recording() as seen:
        assert written.cache_control == listed.cache_control == "max-age=7"
    assert [request.method for request in seen] == ["HEAD", "HEAD"]


def test_checksums_cost_one_head_and_are_cached(counted: Counted) -> None:
    counted.bucket.put_object("k", "hello", ChecksumAlgorithm="SHA256")
    obj = counted.bucket["k"]
    assert obj.size == 5
    with counted.recording() as seen:
        assert obj.checksums["SHA256"] == SHA256
        assert obj.checksums["SHA256"] == SHA256
    assert [request.method for request in seen] == ["HEAD"]


def test_checksums_are_known_after_get_object(counted: Counted) -> None:
    counted.bucket.put_object("k", "hello", ChecksumAlgorithm="SHA256")
    with counted.recording() as seen:
        assert counted.bucket.get_object("k").checksums["SHA256"] == SHA256
    assert [request.method for request in seen] == ["GET"]


def test_an_object_without_checksums_has_an_empty_mapping(rclone_bucket: S3Bucket) -> None:
    rclone_bucket.put_object("k", "hello")
    assert rclone_bucket["k"].checksums == rclone_bucket.get_object("k").checksums == {}


def test_checksums_of_a_replaced_object_drop_the_cached_body(moto_bucket: S3Bucket) -> None:
    moto_bucket.put_object("k", "before")
    obj = moto_bucket["k"]
    assert obj.body == b"before"
    moto_bucket.put_object("k", "hello", ChecksumAlgorithm="SHA256")
    assert (obj.checksums["SHA256"], obj.size, obj.body) == (SHA256, 5, b"hello")


def test_a_returned_mapping_of_checksums_is_a_copy(moto_bucket: S3Bucket) -> None:
    moto_bucket.put_object("k", "hello", ChecksumAlgorithm="SHA256")
    obj = moto_bucket["k"]
    obj.checksums.clear()
    assert obj.checksums["SHA256"] == SHA256


def test_properties_survive_pickling(moto_bucket: S3Bucket) -> None:
    moto_bucket.put_object("k", "hello", ChecksumAlgorithm="SHA256", **GIVEN)
    obj = moto_bucket.get_object("k")
    head = pickle.loads(pickle.dumps(obj._head))
    assert (head.further["cache-control"], head.checksums["SHA256"]) == ("max-age=7", SHA256)


def test_the_lane_and_boto3_decode_the_same_head() -> None:
    headers = {
        "content-length": "5",
        "etag": '"abc"',
        "last-modified": "Sun, 02 Jan 2033 03:04:05 GMT",
        "cache-control": "max-age=7",
        "expires": "0",
        "x-amz-server-side-encryption": "aws:kms",
        "x-amz-server-side-encryption-aws-kms-key-id": "arn:key",
        "x-amz-checksum-crc64nvme": "AAAA",
        "x-amz-checksum-type": "FULL_OBJECT",
    }
    answer = {
        "ContentLength": 5,
        "ETag": '"abc"',
        "LastModified": WHEN,
        "CacheControl": "max-age=7",
        "ExpiresString": "0",
        "ServerSideEncryption": "aws:kms",
        "SSEKMSKeyId": "arn:key",
        "ChecksumCRC64NVME": "AAAA",
        "ChecksumType": "FULL_OBJECT",
    }
    assert Head.from_headers(headers) == Head.from_answer(answer)
    assert Head.from_headers(headers).checksums == {"CRC64NVME": "AAAA"}


def test_the_checksum_of_a_range_is_not_that_of_the_object() -> None:
    headers = {"content-range": "bytes 0-4/10", "x-amz-checksum-crc32": "AAAA"}
    assert Head.from_headers(headers).checksums is None
    assert Head.from_answer({"ContentRange": "bytes 0-4/10", "ChecksumCRC32": "AAAA"}).checksums is None


@pytest.mark.parametrize(("text", "wanted"), [("0", 1970), ("never", 1970), ("Sun, 02 Jan 2033 03:04:05 GMT", 2033)])
def test_expires_that_is_not_a_date_means_already_expired(moto_bucket: S3Bucket, text: str, wanted: int) -> None:
    obj = S3Object._create(moto_bucket, "k", head=Head(further={"expires": text}))
    assert obj.expires is not None
    assert obj.expires.year == wanted


@pytest.mark.parametrize(
    ("kept", "wanted"), [("aws-chunked", None), ("gzip,aws-chunked", "gzip"), ("gzip, br", "gzip, br")]
)
def test_content_encoding_has_no_aws_chunked(moto_bucket: S3Bucket, kept: str, wanted: str | None) -> None:
    assert S3Object._create(moto_bucket, "k", head=Head(content_encoding=kept)).content_encoding == wanted


def test_properties_of_an_async_object_are_known_after_load(counted: Counted) -> None:
    counted.bucket.put_object("k", "hello", ChecksumAlgorithm="SHA256", **GIVEN)
    wanted = values(counted.bucket["k"])

    async def read() -> dict[str, Any]:
        async with AsyncS3Store(counted.store) as store:
            obj = store.bucket(counted.bucket.name)["k"]
            for name in (*NAMES, "checksums"):
                with pytest.raises(RuntimeError, match=rf"^{name} of .* is not loaded|^{name} of .* are not loaded"):
                    getattr(obj, name)
            await obj.load()
            return {**values(obj), "checksums": obj.checksums}

    with counted.recording() as seen:
        found = asyncio.run(read())
    assert {name: found[name] for name in NAMES} == wanted
    assert found["checksums"]["SHA256"] == SHA256
    assert [request.method for request in seen] == ["GET"]
