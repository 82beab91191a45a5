"""Kept attributes: every operation that rewrites an object, with every attribute that S3 would drop."""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import Any

import pytest
from support.scripted_server import Answer, Asked, ScriptedServer, content_of, document
from support.servers import Server

from messageflux_s3 import S3Bucket, S3Object, S3Store, S3Unsupported
from messageflux_s3._files import copying

KMS_KEY = "arn:aws:kms:us-east-1:123456789012:key/12345678-1234-1234-1234-123456789012"
CONTENT = {
    "ContentType": "text/x",
    "ContentEncoding": "x-custom",
    "ContentLanguage": "nl",
    "ContentDisposition": 'attachment; filename="a.txt"',
    "CacheControl": "max-age=7",
    "Expires": datetime(2040, 1, 1, tzinfo=timezone.utc),
    "Metadata": {"name": "value", "zoe": "=?utf-8?B?Wm/Dqw==?="},
}
OF_THE_STORE = {"StorageClass": "STANDARD_IA", "WebsiteRedirectLocation": "/elsewhere"}
ENCRYPTION = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": KMS_KEY, "BucketKeyEnabled": True}
LOCK = {
    "ObjectLockMode": "GOVERNANCE",
    "ObjectLockRetainUntilDate": datetime(2040, 1, 1, tzinfo=timezone.utc),
    "ObjectLockLegalHoldStatus": "ON",
}
TAGS = [{"Key": "t", "Value": "1"}]


@pytest.fixture
def locked(moto: Server) -> Iterator[S3Bucket]:
    """A bucket with object lock on moto's server; it is not removed, since locked objects cannot be deleted."""
    name = f"t-{uuid.uuid4().hex[:16]}"
    moto.client().create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    yield moto.connect().bucket(name)


def _append(bucket: S3Bucket, key: str, _: pytest.MonkeyPatch) -> str:
    with bucket[key].open("ab") as file:
        file.write(b"more")
    return key


def _update(bucket: S3Bucket, key: str, _: pytest.MonkeyPatch) -> str:
    bucket[key].update(lambda body: (body or b"") + b"more")
    return key


def _copy_onto_itself(bucket: S3Bucket, key: str, _: pytest.MonkeyPatch) -> str:
    bucket[key].copy_to(key, metadata=bucket[key].metadata)
    return key


def _copy_in_parts_onto_itself(bucket: S3Bucket, key: str, patch: pytest.MonkeyPatch) -> str:
    patch.setattr(copying, "MAX_COPIED_AT_ONCE", 0)
    bucket[key].copy_to(key, metadata=bucket[key].metadata)
    return key


def _copy(bucket: S3Bucket, key: str, _: pytest.MonkeyPatch) -> str:
    return bucket[key].copy_to("copy").key


def _copy_in_parts(bucket: S3Bucket, key: str, patch: pytest.MonkeyPatch) -> str:
    patch.setattr(copying, "MAX_COPIED_AT_ONCE", 0)
    return bucket[key].copy_to("copy").key


def _copy_with_metadata(bucket: S3Bucket, key: str, _: pytest.MonkeyPatch) -> str:
    return bucket[key].copy_to("copy", metadata=bucket[key].metadata).key


def _stream(bucket: S3Bucket, key: str, _: pytest.MonkeyPatch) -> str:
    alias = bucket.store.config.replace(
        endpoint_url=str(bucket.store.config.endpoint_url).replace("127.0.0.1", "localhost")
    )
    bucket[key].copy_to(S3Bucket(bucket.name, type(bucket.store)(alias))[key], metadata=bucket[key].metadata)
    return key


def _move(bucket: S3Bucket, key: str, _: pytest.MonkeyPatch) -> str:
    return bucket[key].move_to("moved").key


def _make_current(bucket: S3Bucket, key: str, _: pytest.MonkeyPatch) -> str:
    bucket.put_object(key, b"newer")
    [version] = [version for version in bucket[key].versions() if version.size != 5]
    version.make_current()
    return key


REWRITES: list[Callable[[S3Bucket, str, pytest.MonkeyPatch], str]] = [
    _append, _update, _copy_onto_itself, _copy_in_parts_onto_itself, _copy, _copy_in_parts, _copy_with_metadata, _stream, _move,
    _make_current,
]  # fmt: skip


LOCKED_BY_MOTO = (_append, _update, _stream)
"""moto drops the lock of a multipart upload and refuses one on a copy; the requests are tested below."""


@pytest.mark.parametrize("rewrite", REWRITES, ids=lambda rewrite: rewrite.__name__.strip("_"))
def test_a_rewrite_keeps_every_attribute(
    moto: Server, locked: S3Bucket, rewrite: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the same bucket every attribute is kept, unless the operation replaces it."""
    wanted: dict[str, Any] = {**CONTENT, **OF_THE_STORE, **ENCRYPTION}
    if rewrite in LOCKED_BY_MOTO:
        wanted |= LOCK
    if "parts" in rewrite.__name__:
        wanted.pop("BucketKeyEnabled")  # moto forgets it as well
    client, md5 = moto.client(), base64.b64encode(hashlib.md5(b"x").digest()).decode()
    client.put_object(Bucket=locked.name, Key="k", Body=b"x", ContentMD5=md5, Tagging="t=1", **wanted)
    assert wanted.items() <= client.head_object(Bucket=locked.name, Key="k").items()
    key = rewrite(locked, "k", monkeypatch)
    found: Any = client.head_object(Bucket=locked.name, Key=key)
    found["Metadata"].pop("mfs3-write-id", None)
    assert {name: found.get(name) for name in wanted} == wanted
    assert client.get_object_tagging(Bucket=locked.name, Key=key)["TagSet"] == TAGS


HEADERS = {
    "x-amz-server-side-encryption": "aws:kms",
    "x-amz-server-side-encryption-aws-kms-key-id": KMS_KEY,
    "x-amz-server-side-encryption-bucket-key-enabled": "true",
    "x-amz-storage-class": "STANDARD_IA",
    "x-amz-website-redirect-location": "/elsewhere",
    "x-amz-object-lock-mode": "COMPLIANCE",
    "x-amz-object-lock-retain-until-date": "2040-01-01T00:00:00Z",
    "x-amz-object-lock-legal-hold": "ON",
    "x-amz-meta-name": "value",
    "content-type": "text/x",
    "content-encoding": "x-custom",
    "content-language": "nl",
    "content-disposition": "attachment",
    "cache-control": "max-age=7",
    "expires": "Sun, 01 Jan 2040 00:00:00 GMT",
}


def _scripted(scripted_server: ScriptedServer, headers: dict[str, str], body: bytes = b"x") -> S3Bucket:
    """Return a bucket in which every object has these headers, and which accepts every write."""

    def serve(asked: Asked) -> Answer:
        if asked.method in ("GET", "HEAD") and not asked.query.keys() & {"versioning", "tagging"}:
            status, found, content = content_of(asked, body)  # type: ignore[misc]
            version = {"x-amz-version-id": asked.query["versionId"]} if "versionId" in asked.query else {}
            return status, {**found, **headers, **version}, content
        if asked.method == "GET":
            return document("VersioningConfiguration")
        if asked.method == "POST":
            is_first = "uploads" in asked.query
            return (
                document("InitiateMultipartUploadResult", "<UploadId>U</UploadId>")
                if is_first
                else document("CompleteMultipartUploadResult", "<ETag>e</ETag>")
            )
        if "x-amz-copy-source" in asked.headers:
            part = "partNumber" in asked.query
            return document("CopyPartResult" if part else "CopyObjectResult", "<ETag>e</ETag>")
        return 204 if asked.method == "DELETE" else 200, {"ETag": '"e"'}, b""

    scripted_server.answer = serve
    return scripted_server.bucket(preset="aws")


def _sent(scripted_server: ScriptedServer) -> dict[str, str]:
    """Return the headers of the request that set the new object's attributes."""
    [described] = [
        asked
        for asked in scripted_server.asked
        if "uploads" in asked.query or (asked.method == "PUT" and "partNumber" not in asked.query)
    ]
    return dict(described.headers)


def _make_version_current(bucket: S3Bucket, key: str, _: pytest.MonkeyPatch) -> str:
    S3Object._create(bucket, key, "v1").make_current()
    return key


@pytest.mark.parametrize(
    "rewrite",
    [
        _append,
        _update,
        _copy_onto_itself,
        _copy_in_parts_onto_itself,
        _copy,
        _copy_with_metadata,
        _copy_in_parts,
        _make_version_current,
    ],
    ids=lambda rewrite: rewrite.__name__.strip("_"),
)
@pytest.mark.parametrize("size", [1, 5 << 20], ids=["small", "large"])
def test_a_rewrite_sends_every_attribute(
    scripted_server: ScriptedServer, rewrite: Any, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What S3 would drop is sent again, whether in one request or in parts; a lock only under the same key."""
    bucket = _scripted(scripted_server, HEADERS, bytes(size))
    is_new_key = rewrite(bucket, "k", monkeypatch) != "k"
    sent, is_plain_copy = _sent(scripted_server), rewrite in (_copy, _make_version_current)
    for name, value in HEADERS.items():
        if is_plain_copy and not name.startswith(("x-amz-server", "x-amz-storage", "x-amz-website", "x-amz-object")):
            assert name not in sent or name == "content-type"  # the store copies it
        elif is_new_key and name.startswith("x-amz-object-lock"):
            assert name not in sent
        else:
            assert sent.get(name) == value, name


def test_an_expired_object_lock_is_not_sent_again(scripted_server: ScriptedServer) -> None:
    """S3 refuses a date in the past, and with it the whole write."""
    past = {"x-amz-object-lock-retain-until-date": "2020-01-01T00:00:00Z", "x-amz-object-lock-legal-hold": "OFF"}
    _scripted(scripted_server, HEADERS | past)["k"].update(lambda body: b"y")
    assert not [name for name in _sent(scripted_server) if name.startswith("x-amz-object-lock")]


@pytest.mark.parametrize("unparsable", ["0", "-1", "never"])
def test_an_expires_header_that_is_no_date_stays_in_the_past(scripted_server: ScriptedServer, unparsable: str) -> None:
    """HTTP treats an invalid date as a time in the past."""
    _scripted(scripted_server, HEADERS | {"expires": unparsable})["k"].update(lambda body: b"y")
    assert "1970" in _sent(scripted_server)["expires"] or "1969" in _sent(scripted_server)["expires"]


@pytest.mark.parametrize("encryption", ["AES256", "aws:kms"])
def test_a_requested_encryption_replaces_the_former_one(scripted_server: ScriptedServer, encryption: str) -> None:
    """The former KMS key is not sent with AES256, which S3 rejects."""
    bucket = _scripted(scripted_server, HEADERS)
    bucket["k"].copy_to("k", encryption=encryption)
    sent = _sent(scripted_server)
    assert sent["x-amz-server-side-encryption"] == encryption
    assert "x-amz-server-side-encryption-aws-kms-key-id" not in sent


@pytest.mark.parametrize(
    "rewrite",
    [_append, _update, _copy_onto_itself, _copy, _copy_in_parts, _move],
    ids=lambda rewrite: rewrite.__name__.strip("_"),
)
def test_an_object_with_a_customers_key_is_not_rewritten_without_it(
    scripted_server: ScriptedServer, rewrite: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some stores show such an object without the key; rewritten, it would not be encrypted any more."""
    bucket = _scripted(scripted_server, {"x-amz-server-side-encryption-customer-algorithm": "AES256"})
    with pytest.raises(S3Unsupported, match=r"bkt/k is encrypted with a customer's key \(SSE-C\).*Nothing was written"):
        rewrite(bucket, "k", monkeypatch)
    assert {asked.method for asked in scripted_server.asked} <= {"GET", "HEAD"}


def test_a_kms_key_does_not_go_to_another_bucket(moto_store: S3Store, moto_bucket: S3Bucket) -> None:
    """In another bucket encryption and lock are not kept; the other attributes are."""
    client = moto_store.client
    other = moto_store.create_bucket(f"{moto_bucket.name}-2")
    for metadata in (None, {"name": "other"}):
        client.put_object(
            Bucket=moto_bucket.name, Key="k", Body=b"x", Tagging="t=1", **{**CONTENT, **OF_THE_STORE, **ENCRYPTION}
        )
        moto_bucket["k"].copy_to(other["k"], metadata=metadata)
        found: Any = client.head_object(Bucket=other.name, Key="k")
        assert found["Metadata"] == (metadata or CONTENT["Metadata"])
        kept = {**CONTENT, **OF_THE_STORE, "Metadata": found["Metadata"]}
        assert {name: found.get(name) for name in kept} == kept
        assert not found.keys() & ENCRYPTION.keys()
        assert client.get_object_tagging(Bucket=other.name, Key="k")["TagSet"] == TAGS


def test_tags_are_kept_on_stores_that_drop_them_from_copies_with_new_metadata(scripted_server: ScriptedServer) -> None:
    """Ceph's radosgw does: the object is read and written again instead, with its tags."""
    objects: dict[str, tuple[dict[str, str], str]] = {"k": ({"x-amz-meta-a": "1"}, "t=1")}

    def serve(asked: Asked) -> Answer:
        if asked.method == "DELETE":
            objects.pop(asked.key, None)
            return 204, {}, b""
        if asked.method == "PUT":
            metadata = {name: value for name, value in asked.headers.items() if name.startswith("x-amz-meta")}
            is_copy = "x-amz-copy-source" in asked.headers
            objects[asked.key] = (metadata, "" if is_copy else asked.headers.get("x-amz-tagging", ""))
            return document("CopyObjectResult", "<ETag>e</ETag>") if is_copy else (200, {"ETag": '"e"'}, b"")
        metadata, tags = objects[asked.key]
        if "tagging" in asked.query:
            name, _, value = tags.partition("=")
            inside = f"<Tag><Key>{name}</Key><Value>{value}</Value></Tag>" if tags else ""
            return document("Tagging", f"<TagSet>{inside}</TagSet>")
        status, headers, body = content_of(asked, b"x")  # type: ignore[misc]
        return status, {**headers, **metadata, **({"x-amz-tagging-count": "1"} if tags else {})}, body

    scripted_server.answer = serve
    bucket = scripted_server.bucket()
    for target in ("k", "copy", "again", "k"):
        bucket["k"].copy_to(target, metadata={"a": "2"})
        assert objects[target] == ({"x-amz-meta-a": "2"}, "t=1")
