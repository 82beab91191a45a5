"""What was asked for with a write is confirmed by the store, or raises S3Unsupported; nothing is written then."""

from __future__ import annotations

import asyncio
import io
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timezone
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl

import pytest
from support.scripted_server import Answer, Asked, ScriptedServer, refusal
from support.servers import Server
from support.stateful_server import StatefulStore

import messageflux_s3 as s3
from messageflux_s3 import AsyncS3Store

BIG = 9 << 20  # sent in parts by open() and upload_object(part_size_bytes=…)
LATER = datetime(2035, 1, 1, tzinfo=timezone.utc)
SCRATCH = "mfs3-probe-"

ENCRYPTED = {"encryption": "aws:kms", "kms_key_id": "k1"}
LOCKED = {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": LATER}
PARAMETERS: dict[str, tuple[dict[str, Any], str]] = {
    "encryption": ({"encryption": "AES256"}, "x-amz-server-side-encryption"),
    "ServerSideEncryption": ({"ServerSideEncryption": "AES256"}, "x-amz-server-side-encryption"),
    "kms_key_id": (ENCRYPTED, "x-amz-server-side-encryption-aws-kms-key-id"),
    "BucketKeyEnabled": (ENCRYPTED | {"BucketKeyEnabled": True}, "x-amz-server-side-encryption-bucket-key-enabled"),
    "storage_class": ({"storage_class": "STANDARD_IA"}, "x-amz-storage-class"),
    "ACL": ({"ACL": "public-read"}, "x-amz-acl"),
    "GrantRead": ({"GrantRead": 'id="friend"'}, "x-amz-grant-read"),
    "expires": ({"expires": LATER}, "expires"),
    "cache_control": ({"cache_control": "no-store"}, "cache-control"),
    "content_encoding": ({"content_encoding": "gzip"}, "content-encoding"),
    "content_language": ({"content_language": "en"}, "content-language"),
    "content_disposition": ({"content_disposition": "inline"}, "content-disposition"),
    "WebsiteRedirectLocation": ({"WebsiteRedirectLocation": "/there"}, "x-amz-website-redirect-location"),
    "ObjectLockLegalHoldStatus": ({"ObjectLockLegalHoldStatus": "ON"}, "x-amz-object-lock-legal-hold"),
    "ObjectLockMode": (LOCKED, "x-amz-object-lock"),
    "tags": ({"tags": {"a": "1"}}, "x-amz-tagging"),
}
"""Parameters of a write, and the header that a store may ignore."""
CUSTOMER_KEY = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32}

_KEPT = {
    "cache-control", "content-disposition", "content-encoding", "content-language", "content-type", "expires", "x-amz-storage-class",
    "x-amz-website-redirect-location",
}  # fmt: skip
_CONTENT_HEADERS = {name for name in _KEPT if not name.startswith("x-amz-")}
_CONFIRMED = "x-amz-server-side-encryption"
_EVERYBODY = "http://acs.amazonaws.com/groups/global/AllUsers"


class KeepingStore(StatefulStore):
    """A store that keeps whatever comes with a write, apart from the headers that it ignores.

    Attributes:
        ignores: Prefixes of the headers that are ignored.
        ignores_on: The requests on which they are: ``"PUT"``, ``"POST"`` (uploads in parts), ``"COPY"``.
        keeps: What came with each object: its headers, by key.
        held: The keys under a legal hold.
    """

    def __init__(self, server: ScriptedServer, *ignores: str) -> None:
        super().__init__(server, conditions="honoured")
        self.ignores = ignores
        self.ignores_on = {"PUT", "POST", "COPY"}
        self.keeps: dict[str, dict[str, str]] = {}
        self.held: set[str] = set()
        self.requests: Counter[str] = Counter()

    def __call__(self, asked: Asked) -> Answer:
        self.requests["scratch" if SCRATCH in asked.key else "other"] += 1
        if asked.key and asked.method in ("GET", "PUT"):
            for name in ("acl", "tagging", "legal-hold"):
                if name in asked.query:
                    return self._sub_resource(asked, name)
        if asked.method == "DELETE" and asked.key in self.held:
            return refusal(403, "AccessDenied")
        kind = "COPY" if "x-amz-copy-source" in asked.headers else asked.method
        if kind in self.ignores_on:
            headers = {name: value for name, value in asked.headers.items() if not name.startswith(self.ignores)}
            asked = replace(asked, headers=headers)
        answer = super().__call__(asked)
        if isinstance(answer, tuple) and answer[0] == 200 and asked.key:
            answer = answer[0], {**answer[1], **self._after(asked, kind)}, answer[2]
        return answer

    def _after(self, asked: Asked, kind: str) -> dict[str, str]:
        """Keep what came with a write; return the headers by which the response confirms it."""
        if kind == "HEAD" or kind == "GET":
            sent = self.keeps.get(asked.key, {})
            tags = len(parse_qsl(sent.get("x-amz-tagging", "")))
            count = {"x-amz-tagging-count": str(tags)} if tags else {}
            told = (_CONFIRMED, "x-amz-object-lock")
            return {name: value for name, value in sent.items() if name in _KEPT or name.startswith(told)} | count
        if kind == "COPY" and asked.headers.get("x-amz-metadata-directive") != "REPLACE":
            _, _, source = asked.headers["x-amz-copy-source"].partition("/")
            described = {
                name: value
                for name, value in self.keeps.get(source, {}).items()
                if name in _KEPT and "x-amz" not in name
            }
            ignored = _CONTENT_HEADERS  # S3 reads them only with REPLACE
        else:
            described, ignored = {}, set()
        if (kind in ("PUT", "COPY") and not asked.query.keys() & {"partNumber"}) or "uploads" in asked.query:
            sent = {name: value for name, value in asked.headers.items() if name not in ignored}
            self.keeps[asked.key] = described | sent
            if asked.headers.get("x-amz-object-lock-legal-hold") == "ON":
                self.held.add(asked.key)
            # "True" comes from botocore before 1.40, and stores answer in lower case.
            return {
                name: value.lower() if value == "True" else value
                for name, value in asked.headers.items()
                if name.startswith(_CONFIRMED)
            }
        return {}

    def _sub_resource(self, asked: Asked, name: str) -> Answer:
        if asked.key not in self.objects:
            return refusal(404, "NoSuchKey")
        sent = self.keeps.get(asked.key, {})
        if name == "tagging":
            pairs = parse_qsl(sent.get("x-amz-tagging", ""))
            inside = "".join(f"<Tag><Key>{key}</Key><Value>{value}</Value></Tag>" for key, value in pairs)
            return _xml("Tagging", f"<TagSet>{inside}</TagSet>")
        if name == "legal-hold" and asked.method == "PUT":
            self.held.discard(asked.key)
            return 200, {}, b""
        if name == "legal-hold":
            return _xml("LegalHold", f"<Status>{'ON' if asked.key in self.held else 'OFF'}</Status>")
        grants = "<Grant><Grantee><ID>owner</ID></Grantee><Permission>FULL_CONTROL</Permission></Grant>"
        if sent.get("x-amz-acl") == "public-read":
            grants += f"<Grant><Grantee><URI>{_EVERYBODY}</URI></Grantee><Permission>READ</Permission></Grant>"
        if "x-amz-grant-read" in sent:
            grants += "<Grant><Grantee><ID>friend</ID></Grantee><Permission>READ</Permission></Grant>"
        return _xml("AccessControlPolicy", f"<AccessControlList>{grants}</AccessControlList>")

    @property
    def written(self) -> dict[str, bytes]:
        """The objects that writes have made or changed."""
        return {key: found.body for key, found in self.objects.items() if key not in ("d/source", "d/described")}


def _xml(root: str, inside: str) -> Answer:
    text = f'<{root} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{inside}</{root}>'
    return 200, {"Content-Type": "application/xml"}, text.encode()


def _open(bucket: s3.S3Bucket, extra: Mapping[str, Any], size: int, mode: str = "wb") -> None:
    with bucket["d/k"].open(mode, **extra) as file:  # type: ignore[call-overload]
        file.write(bytes(size))


def _update(bucket: s3.S3Bucket, extra: Mapping[str, Any]) -> None:
    bucket.put_object("d/k", b"first", **extra)
    bucket["d/k"].update(lambda before: b"second")


async def _awaited(bucket: s3.S3Bucket, extra: Mapping[str, Any], how: str) -> None:
    awaited = AsyncS3Store(bucket.store).bucket(bucket.name)
    if how == "put":
        await awaited.put_object("d/k", b"x", **extra)
    elif how == "copy":
        await awaited["d/source"].copy_to("d/k", **extra)
    else:
        await awaited.upload_object("d/k", bytes(6 << 20), part_size_bytes=5 << 20, **extra)


Write = Callable[[s3.S3Bucket, Mapping[str, Any]], object]
WRITES: dict[str, Write] = {
    "put_object": lambda bucket, extra: bucket.put_object("d/k", b"x", **extra),
    "put": lambda bucket, extra: bucket["d/k"].put(b"x", **extra),
    "put_json": lambda bucket, extra: bucket.put_json("d/k", 1, **extra),
    "put_objects": lambda bucket, extra: bucket.put_objects([("d/k", b"x"), ("d/l", b"y")], **extra),
    "put_object if_absent": lambda bucket, extra: bucket.put_object("d/k", b"x", if_absent=True, **extra),
    "put_object of a readable": lambda bucket, extra: bucket.put_object("d/k", io.BytesIO(b"x"), **extra),
    "upload_object": lambda bucket, extra: bucket.upload_object("d/k", io.BytesIO(b"x"), **extra),
    "upload_object in parts": lambda bucket, extra: bucket.upload_object(
        "d/k", bytes(6 << 20), part_size_bytes=5 << 20, **extra
    ),
    "open('wb')": lambda bucket, extra: _open(bucket, extra, 3),
    "open('wb') in parts": lambda bucket, extra: _open(bucket, extra, BIG),
    "open('xb')": lambda bucket, extra: _open(bucket, extra, 3, "xb"),
    "open('ab')": lambda bucket, extra: _open(bucket, extra, 3, "ab"),
    "copy_to": lambda bucket, extra: bucket["d/source"].copy_to("d/k", **extra),
    "copy_to with metadata": lambda bucket, extra: bucket["d/source"].copy_to("d/k", metadata={"n": "1"}, **extra),
    "copy_object": lambda bucket, extra: bucket.copy_object("d/source", "d/k", **extra),
    "move_to": lambda bucket, extra: bucket["d/source"].move_to("d/k", **extra),
    "update": _update,
    "async put_object": lambda bucket, extra: asyncio.run(_awaited(bucket, extra, "put")),
    "async upload_object in parts": lambda bucket, extra: asyncio.run(_awaited(bucket, extra, "parts")),
    "async copy_to": lambda bucket, extra: asyncio.run(_awaited(bucket, extra, "copy")),
}
"""Every way of writing; all but the copies of ``d/source`` write ``d/k`` anew."""


@pytest.fixture
def quick_conditions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Conditions are not probed: their races would take most of the time, and are tested elsewhere."""
    monkeypatch.setattr("messageflux_s3._objects.condition_probe.known", lambda bucket, ability: "honoured")


@pytest.fixture(params=[True, False], ids=["lane open", "lane shut"])
def lane(request: pytest.FixtureRequest) -> bool:
    """Whether the lane may be used."""
    return bool(request.param)


def _bucket(server: ScriptedServer, store: KeepingStore, *, lane: bool, preset: str = "auto") -> s3.S3Bucket:
    store.put("d/source", b"content", **{"content-type": "text/plain"})
    bucket = server.bucket(lane=lane, preset=preset)
    bucket["d/source"].exists()  # the lane opens after a first success of boto3
    store.requests.clear()
    server.asked.clear()
    return bucket


_EVERY_WRITE = ("encryption", "storage_class", "ACL", "expires", "tags", "ObjectLockMode")
_FEW_WRITES = ("put_objects", "upload_object in parts", "open('wb')", "copy_to with metadata")
IGNORED = {
    f"{name}, {way}": (extra, header, write)
    for name, (extra, header) in PARAMETERS.items()
    for way, write in WRITES.items()
    if name in _EVERY_WRITE or way in _FEW_WRITES
}
"""One parameter of each kind with every way of writing, the others with one of each request."""


@pytest.mark.usefixtures("quick_conditions")
@pytest.mark.parametrize(("extra", "header", "write"), IGNORED.values(), ids=IGNORED)
def test_a_parameter_that_the_store_ignores_raises_unsupported_and_nothing_is_written(
    scripted_server: ScriptedServer, extra: dict[str, Any], header: str, write: Write
) -> None:
    """Twice: the second write is refused without another experiment. The scratch objects are deleted."""
    store = KeepingStore(scripted_server, header)
    bucket = _bucket(scripted_server, store, lane=True)
    for attempt in range(2):
        with pytest.raises((s3.S3Unsupported, s3.S3BatchError)) as raised:
            write(bucket, extra)
        failed = raised.value
        if isinstance(failed, s3.S3BatchError):
            assert all(isinstance(one.error, s3.S3Unsupported) for one in failed.failures)
        assert store.written == {}
        assert store.uploads == {}
        assert store.body("d/source") == b"content"
        assert store.held == set()
        if attempt:
            assert store.requests["scratch"] == 0
        store.requests.clear()


@pytest.mark.usefixtures("quick_conditions")
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_parameters_that_the_store_keeps_are_written_after_one_experiment(
    scripted_server: ScriptedServer, write: Write, lane: bool
) -> None:
    """All parameters at once; the second write costs what it costs without them."""
    store = KeepingStore(scripted_server)
    bucket = _bucket(scripted_server, store, lane=lane)
    extra = {name: value for given, _ in PARAMETERS.values() for name, value in given.items() if name not in _TWICE}
    for attempt in range(2):
        write(bucket, extra)
        assert store.written.pop("d/k")
        scratch = [asked for asked in scripted_server.asked if SCRATCH in asked.key]
        if attempt:
            assert scratch == []
        else:
            assert scratch
            assert all(asked.key.startswith("d/mfs3-probe-") for asked in scratch)
        assert not [key for key in store.objects if SCRATCH in key]
        assert store.keeps["d/k"]["x-amz-object-lock-mode"] == "GOVERNANCE"
        assert store.keeps["d/k"]["cache-control"] == "no-store"
        store.held.clear()
        store.objects.pop("d/k")
        store.put("d/source", b"content", **{"content-type": "text/plain"})
        scripted_server.asked.clear()


_TWICE = {"ServerSideEncryption", "ACL"}  # the same as encryption; S3 rejects an ACL beside grants


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_write_without_such_parameters_asks_nothing(
    scripted_server: ScriptedServer, quick_conditions: None, write: Write, lane: bool
) -> None:
    """A content type and metadata of a write are no reason to ask; new metadata of a copy are, once."""
    store = KeepingStore(scripted_server)
    bucket = _bucket(scripted_server, store, lane=lane)
    write(bucket, {})
    is_described = write is WRITES["copy_to with metadata"]
    assert bool(store.requests["scratch"]) is is_described


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_on_aws_nothing_is_asked(scripted_server: ScriptedServer, write: Write) -> None:
    """Although this one ignores all of it."""
    store = KeepingStore(scripted_server, *(header for _, header in PARAMETERS.values()))
    _bucket(scripted_server, store, lane=True)
    extra = {name: value for given, _ in PARAMETERS.values() for name, value in given.items() if name not in _TWICE}
    write(scripted_server.bucket(preset="aws"), extra)
    assert store.requests["scratch"] == 0


@pytest.mark.usefixtures("quick_conditions")
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_customer_key_is_refused_except_by_aws(scripted_server: ScriptedServer, write: Write) -> None:
    """No method that reads takes the key. Nothing is sent, not even a scratch object."""
    store = KeepingStore(scripted_server)
    bucket = _bucket(scripted_server, store, lane=True)
    with pytest.raises((s3.S3Unsupported, s3.S3BatchError), match=r"SSE-C|SSECustomer|customer"):
        write(bucket, CUSTOMER_KEY)
    assert (store.written, store.uploads, store.requests["scratch"]) == ({}, {}, 0)
    assert store.body("d/source") == b"content"


@pytest.mark.usefixtures("quick_conditions")
@pytest.mark.parametrize(
    ("way", "hold"),
    [
        ("put_object", {"ObjectLockEventHold": "ON"}),
        ("put_objects", {"ObjectLockEventHold": "ON", "ObjectLockEventHoldDurationDays": 7}),
        ("upload_object in parts", {"ObjectLockEventHold": "ON"}),
        ("copy_to", {"ObjectLockEventHoldDurationYears": 1}),
        ("async put_object", {"ObjectLockEventHoldDurationDays": 7}),
    ],
    ids=lambda value: value if isinstance(value, str) else ", ".join(value),
)
def test_an_event_hold_is_refused_except_by_aws(
    scripted_server: ScriptedServer, way: str, hold: dict[str, Any], lane: bool
) -> None:
    """No other store is known to keep it. Nothing is sent, not even a scratch object."""
    store = KeepingStore(scripted_server)
    bucket = _bucket(scripted_server, store, lane=lane)
    with pytest.raises((s3.S3Unsupported, s3.S3BatchError), match="event hold"):
        WRITES[way](bucket, hold)
    assert (store.written, store.uploads, store.requests["scratch"]) == ({}, {}, 0)


@pytest.mark.usefixtures("quick_conditions")
@pytest.mark.parametrize("preset", ["other", "aws"])
@pytest.mark.parametrize(
    "way",
    [
        "put_object",
        "put_object if_absent",
        "put_objects",
        "upload_object",
        "upload_object in parts",
        "open('wb')",
        "copy_to",
        "async put_object",
    ],
)
def test_a_write_at_an_offset_is_refused_except_in_a_directory_bucket(
    scripted_server: ScriptedServer, way: str, preset: str, lane: bool
) -> None:
    """A store that ignores the offset would replace the object with what was to be appended. Nothing is sent."""
    store = KeepingStore(scripted_server)
    bucket = _bucket(scripted_server, store, lane=lane, preset=preset)
    with pytest.raises((s3.S3Unsupported, s3.S3BatchError), match="WriteOffsetBytes is sent to directory buckets"):
        WRITES[way](bucket, {"WriteOffsetBytes": 6})
    assert (store.written, store.uploads, store.requests["scratch"]) == ({}, {}, 0)


COPIES: dict[str, tuple[Write, str, Callable[[KeepingStore], bool]]] = {
    "metadata": (
        lambda bucket, extra: bucket["d/source"].copy_to("d/k", metadata={"n": "1"}),
        "x-amz-meta-",
        lambda store: store.keeps["d/k"]["x-amz-meta-n"] == "1",
    ),
    "metadata directive": (
        lambda bucket, extra: bucket["d/source"].copy_to("d/k", metadata={"n": "1"}),
        "x-amz-metadata-directive",
        lambda store: store.keeps["d/k"]["x-amz-meta-n"] == "1",
    ),
    "content type": (
        lambda bucket, extra: bucket["d/source"].copy_to("d/k", content_type="text/x"),
        "content-type",
        lambda store: store.keeps["d/k"]["content-type"] == "text/x",
    ),
    "cache control": (
        lambda bucket, extra: bucket["d/source"].copy_to("d/k", cache_control="no-store"),
        "cache-control",
        lambda store: store.keeps["d/k"]["cache-control"] == "no-store",
    ),
    "a copy onto itself": (
        lambda bucket, extra: bucket["d/source"].copy_to("d/source", cache_control="no-store"),
        "cache-control",
        lambda store: store.keeps["d/source"]["cache-control"] == "no-store",
    ),
}


@pytest.mark.parametrize(("write", "ignored", "is_right"), COPIES.values(), ids=COPIES)
def test_a_copy_that_the_store_does_not_describe_anew_is_streamed(
    scripted_server: ScriptedServer, write: Write, ignored: str, is_right: Callable[[KeepingStore], bool]
) -> None:
    """The store honours the parameters of PutObject only."""
    store = KeepingStore(scripted_server, ignored)
    store.ignores_on = {"COPY"}
    bucket = _bucket(scripted_server, store, lane=True)
    write(bucket, {})
    assert is_right(store)
    assert store.body("d/source") == b"content"


def test_tags_that_the_store_does_not_copy_are_streamed(scripted_server: ScriptedServer) -> None:
    """KeepingStore copies no tags without a header: a plain copy of a tagged object would lose them."""
    store = KeepingStore(scripted_server)
    bucket = _bucket(scripted_server, store, lane=True)
    bucket.put_object("d/tagged", b"content", tags={"a": "1"})
    for name in ("d/k", "d/l"):
        bucket["d/tagged"].copy_to(name)
        assert dict(bucket[name].tags.get()) == {"a": "1"}


@pytest.mark.parametrize("changes", [{}, {"metadata": {"n": "1"}}], ids=["unchanged", "with metadata"])
def test_a_copy_that_would_lose_its_tags_raises_without_the_permission_to_read_tags(
    scripted_server: ScriptedServer, changes: dict[str, Any], lane: bool
) -> None:
    """The HEAD of the copied scratch object shows the loss, and streaming the copy needs the permission."""
    store = KeepingStore(scripted_server)
    bucket = _bucket(scripted_server, store, lane=lane)
    bucket.put_object("d/tagged", b"content", tags={"a": "1"})
    scripted_server.answer = lambda asked: (
        refusal(403, "AccessDenied") if asked.method == "GET" and "tagging" in asked.query else store(asked)
    )
    with pytest.raises(s3.S3AccessDenied):
        bucket["d/tagged"].copy_to("d/k", **changes)
    assert store.written == {"d/tagged": b"content"}


@pytest.mark.usefixtures("quick_conditions")
@pytest.mark.parametrize(
    "name", ["cache_control", "content_encoding", "content_language", "content_disposition", "expires"]
)
def test_a_conditional_copy_keeps_the_content_headers_of_its_source(
    scripted_server: ScriptedServer, name: str, lane: bool
) -> None:
    """The experiment replaces the metadata as the copy does: otherwise every store ignores content headers."""
    store = KeepingStore(scripted_server)
    bucket = _bucket(scripted_server, store, lane=lane)
    extra, header = PARAMETERS[name]
    bucket.put_object("d/described", b"content", **extra)
    bucket["d/described"].copy_to("d/k", if_absent=True)
    assert store.written == {"d/k": b"content"}
    assert store.keeps["d/k"][header] == store.keeps["d/described"][header]
    with pytest.raises(s3.S3PreconditionFailed):
        bucket["d/described"].copy_to("d/k", if_absent=True)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (refusal(403, "AccessDenied"), s3.S3AccessDenied),
        (refusal(500, "InternalError"), s3.S3ServerError),
        (refusal(400, "InvalidArgument"), s3.S3Error),
        (refusal(501, "NotImplemented"), s3.S3Unsupported),
    ],
)
def test_an_experiment_that_fails_is_repeated_with_the_next_write(
    scripted_server: ScriptedServer, answer: Answer, error: type[s3.S3Error]
) -> None:
    """The error names the object, not the scratch object, and what could not be found out."""
    store = KeepingStore(scripted_server)
    bucket = _bucket(scripted_server, store, lane=True)
    store.before = lambda asked: answer if asked.method == "PUT" and SCRATCH in asked.key else None
    for _ in range(2):
        with pytest.raises(
            error, match="d/k: whether this store keeps ServerSideEncryption='AES256' could not be"
        ) as raised:
            bucket.put_object("d/k", b"x", encryption="AES256")
        assert raised.value.key == "d/k"
        assert store.written == {}
    assert [asked.method for asked in scripted_server.asked if SCRATCH in asked.key][:1] == ["PUT"]
    store.before = None
    bucket.put_object("d/k", b"x", encryption="AES256")


@pytest.mark.parametrize("code", ["InvalidStorageClass", "InvalidArgument"])
@pytest.mark.parametrize("further", [{}, {"encryption": "AES256", "expires": LATER}], ids=["alone", "with others"])
def test_a_storage_class_that_the_store_rejects_is_unsupported(
    scripted_server: ScriptedServer, code: str, further: dict[str, Any], lane: bool
) -> None:
    """Among several parameters the class is found by an experiment of its own, since InvalidArgument does not name the parameter."""
    store = KeepingStore(scripted_server)
    bucket = _bucket(scripted_server, store, lane=lane)
    store.before = lambda asked: refusal(400, code) if "x-amz-storage-class" in asked.headers else None
    with pytest.raises(s3.S3Unsupported, match="d/k: this store rejects StorageClass='GLACIER'") as raised:
        bucket.put_object("d/k", b"x", storage_class="GLACIER", **further)
    assert (raised.value.key, raised.value.code, store.written) == ("d/k", code, {})


def test_a_rejection_for_another_reason_than_the_storage_class_is_not_unsupported(
    scripted_server: ScriptedServer,
) -> None:
    store = KeepingStore(scripted_server)
    bucket = _bucket(scripted_server, store, lane=True)
    store.before = lambda asked: refusal(400, "InvalidArgument") if _CONFIRMED in asked.headers else None
    with pytest.raises(s3.S3Error, match=r"keeps .*, StorageClass='GLACIER' could not be") as raised:
        bucket.put_object("d/k", b"x", storage_class="GLACIER", **ENCRYPTED)
    assert (type(raised.value), store.written) == (s3.S3Error, {})


@pytest.mark.parametrize("way", ["whole", "in parts", "copied", "async"])
def test_a_storage_class_that_a_real_server_does_not_have_is_unsupported(moto_bucket: s3.S3Bucket, way: str) -> None:
    bucket = moto_bucket

    async def put() -> None:
        async with AsyncS3Store(bucket.store) as store:
            await store.bucket(bucket.name).put_object("k", b"x", storage_class="NO_SUCH_CLASS")

    source = bucket.put_object("source", b"x")
    with pytest.raises(s3.S3Unsupported, match="StorageClass='NO_SUCH_CLASS'"):
        if way == "whole":
            bucket.put_object("k", b"x", storage_class="NO_SUCH_CLASS")
        elif way == "in parts":
            bucket.upload_object("k", iter([bytes(BIG)]), part_size_bytes=5 << 20, storage_class="NO_SUCH_CLASS")
        elif way == "copied":
            source.copy_to("k", storage_class="NO_SUCH_CLASS")
        else:
            asyncio.run(put())
    assert [obj.key for obj in bucket.find()] == ["source"]


def test_many_concurrent_writes_share_one_experiment(scripted_server: ScriptedServer) -> None:
    """One scratch object for 100 writes."""
    store = KeepingStore(scripted_server)
    bucket = _bucket(scripted_server, store, lane=True)
    bucket.put_objects([(f"d/{number}", b"x") for number in range(100)], tags={"a": "1"}, encryption="AES256")
    assert [asked.method for asked in scripted_server.asked if SCRATCH in asked.key] == ["PUT", "GET", "DELETE"]


@pytest.mark.parametrize(
    ("name", "extra"),
    [("other", {"encryption": "AES256"}), ("bkt", {"storage_class": "STANDARD_IA"})],
    ids=["another bucket", "another parameter"],
)
def test_a_failed_experiment_is_not_raised_for_concurrent_writes_with_other_questions(
    scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, name: str, extra: dict[str, Any], lane: bool
) -> None:
    """The first experiment is refused once the second writer waits for it, and the policy says nothing about that writer's question."""
    store = KeepingStore(scripted_server)
    bucket = _bucket(scripted_server, store, lane=lane)
    begun, waiting, arrivals = threading.Event(), threading.Event(), itertools.count(1)

    def monotonic() -> float:
        if next(arrivals) == 2:  # the first two times are those at which the writers arrive
            waiting.set()
        return time.monotonic()

    def refuse(asked: Asked) -> Answer:
        if SCRATCH not in asked.key or not asked.target.startswith("/bkt/") or _CONFIRMED not in asked.headers:
            return None
        begun.set()
        assert waiting.wait(5)
        return refusal(403, "AccessDenied")

    store.before = refuse
    monkeypatch.setattr("messageflux_s3._objects.single_flight.time", SimpleNamespace(monotonic=monotonic))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(bucket.put_object, "d/k", b"x", encryption="AES256")
        assert begun.wait(5)
        bucket.store.bucket(name).put_object("d/l", b"y", **extra)
        with pytest.raises(s3.S3AccessDenied):
            first.result()
    assert store.written == {"d/l": b"y"}


def test_encryption_is_asked_for_each_bucket(scripted_server: ScriptedServer) -> None:
    """Another bucket may have no default encryption, which would have confirmed it."""
    store = KeepingStore(scripted_server)
    bucket = _bucket(scripted_server, store, lane=True)
    for name in ("bkt", "other"):
        bucket.store.bucket(name).put_object("d/k", b"x", encryption="AES256")
    assert len([asked for asked in scripted_server.asked if asked.method == "PUT" and SCRATCH in asked.key]) == 2


def test_probed_capabilities_do_not_replace_the_question(scripted_server: ScriptedServer) -> None:
    """A store may know ``?tagging``, and drop the tags that come with PutObject, as s3rver does."""
    store = KeepingStore(scripted_server, "x-amz-tagging")
    _bucket(scripted_server, store, lane=True)
    config = scripted_server.connect().config.replace(capabilities=s3.Capabilities(object_tagging=True))
    probed = s3.S3Store(config).bucket("bkt")
    with pytest.raises(s3.S3Unsupported, match="does not keep tags"):
        probed.put_object("d/k", b"x", tags={"a": "1"})
    assert store.written == {}


def test_folders_and_files_take_the_same_decision(scripted_server: ScriptedServer, tmp_path: Any) -> None:
    """They write through the same operations."""
    store = KeepingStore(scripted_server, "x-amz-storage-class")
    bucket = _bucket(scripted_server, store, lane=True)
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises((s3.S3Unsupported, s3.S3BatchError)):
        bucket.upload_folder(tmp_path, "d", storage_class="STANDARD_IA")
    with pytest.raises(s3.S3Unsupported):
        bucket.upload_file(tmp_path / "a.txt", "d/k", storage_class="STANDARD_IA")
    assert store.written == {}


@pytest.mark.parametrize("name", ["moto", "rclone"])
@pytest.mark.parametrize("way", ["put", "parts", "copy"])
def test_the_answers_of_real_servers(request: pytest.FixtureRequest, name: str, way: str) -> None:
    """What each test server keeps, or rejects itself. An ETag and a HEAD that echo what was sent confirm no encryption."""
    server: Server = request.getfixturevalue(name)
    bucket = server.connect(max_attempts=1).create_bucket(f"confirm-{way}-{name}")
    bucket.put_object("source", b"x")
    found = set()
    for case, (extra, _) in PARAMETERS.items():
        try:
            if way == "put":
                bucket.put_object("k", b"x", **extra)
            elif way == "parts":
                bucket.upload_object("k", bytes(6 << 20), part_size_bytes=5 << 20, **extra)
            else:
                bucket["source"].copy_to("k", **extra)
        except s3.S3Error as error:
            found.add(case)
            assert not bucket["k"].exists(), error
        else:
            bucket["k"].delete()
    assert found == REFUSED[name, way]
    assert [obj.key for obj in bucket.find()] == ["source"]


_ENCRYPTIONS = {"encryption", "ServerSideEncryption", "kms_key_id", "BucketKeyEnabled"}
_LOCKS = {"ObjectLockLegalHoldStatus", "ObjectLockMode"}
_OF_RCLONE = _ENCRYPTIONS | _LOCKS | {"ACL", "GrantRead", "expires", "tags"}
REFUSED = {
    ("moto", "put"): _LOCKS,
    ("moto", "parts"): _LOCKS | {"BucketKeyEnabled"},
    ("moto", "copy"): _LOCKS,
    ("rclone", "put"): _OF_RCLONE,
    ("rclone", "parts"): _OF_RCLONE,
    ("rclone", "copy"): _OF_RCLONE,
}
