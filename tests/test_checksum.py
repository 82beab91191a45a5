"""Corrupted bytes are detected over plain HTTP: a write of other bytes is never reported as a success."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from support.memory_connection import Happening, Memory, in_memory
from support.proxy import CORRUPT_REQUEST, Fault, Proxy, run_proxy, scripted
from support.scripted_server import Answer, Asked, ScriptedServer, refusal
from support.servers import Server
from support.stateful_server import run_stateful_server

from messageflux_s3 import AsyncS3Store, Capabilities, S3BatchError, S3Bucket, S3ChecksumError, S3Store
from messageflux_s3._client.addresses import BucketAddress
from messageflux_s3._objects import checksum, etag_md5

MIB = 1024 * 1024
LARGE = random.Random(11).randbytes(12 * MIB)  # three parts of 5 MiB, the last one short


# -- what is decided, answer by answer ----------------------------------------------------------------------------------------------

MD5 = hashlib.md5(b"data", usedforsecurity=False).hexdigest()
OTHER = "a" * 32


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Memory:
    """A store in memory that does not compare checksums, with MD5 available."""
    real = hashlib.md5

    def md5(data: bytes = b"", *, usedforsecurity: bool = True) -> Any:
        if usedforsecurity:
            raise ValueError("[digital envelope routines] unsupported")
        return real(data, usedforsecurity=False)

    monkeypatch.setattr(hashlib, "md5", md5)
    made = in_memory(monkeypatch)
    made.capabilities = Capabilities(checksums_compared=False)
    return made


@pytest.mark.parametrize(
    ("answer", "md5", "of_parts"),
    [
        ({"ETag": f'"{OTHER}"'}, OTHER, None),
        ({"ETag": OTHER}, OTHER, None),
        ({"ETag": f'"{OTHER}"', "ServerSideEncryption": "AES256"}, OTHER, None),
        ({"ETag": f'"{OTHER}"', "ServerSideEncryption": None, "SSECustomerAlgorithm": None}, OTHER, None),
        ({"ETag": f'"{OTHER}"', "ServerSideEncryption": "aws:kms"}, None, None),
        ({"ETag": f'"{OTHER}"', "SSECustomerAlgorithm": "AES256"}, None, None),
        ({"ETag": f'"{OTHER}-3"'}, None, f"{OTHER}-3"),
        ({"ETag": f'"{OTHER}-3"', "ServerSideEncryption": "AES256"}, None, f"{OTHER}-3"),
        ({"ETag": f'"{OTHER}-3"', "ServerSideEncryption": "aws:kms"}, None, None),
        ({"ETag": f'"{OTHER}-3"', "SSECustomerAlgorithm": "AES256"}, None, None),
        ({"ETag": f'"{OTHER}-0"'}, None, None),
        ({"ETag": '"0x8DB"'}, None, None),
        ({"ETag": None}, None, None),
        ({}, None, None),
    ],
)
def test_etags_of_unencrypted_objects_are_md5s(answer: dict[str, Any], md5: str | None, of_parts: str | None) -> None:
    """The ETags of single and multipart uploads without encryption by a key."""
    assert (etag_md5.md5_of(answer), etag_md5.md5_of_parts(answer)) == (md5, of_parts)


def test_the_etag_of_parts_is_computed_from_their_md5s(memory: Memory) -> None:
    """The etag is the MD5 of the parts' MD5s and their number; None if they are not MD5s."""
    both = hashlib.md5(bytes.fromhex(MD5 + OTHER), usedforsecurity=False).hexdigest()
    assert etag_md5.of_parts([f'"{MD5}"', OTHER]) == f"{both}-2"
    assert etag_md5.of_parts([MD5, "0x8DB"]) is None
    assert etag_md5.of_parts([f"{MD5}-2"]) is None


@pytest.mark.parametrize(
    ("etag", "refuted"),
    [(None, False), (MD5, False), ("f" * 32, True), ("0" * 32, True), ("0x8DB", False), (f"{OTHER}-2", False)],
)
def test_only_a_differing_md5_etag_refutes_the_content(memory: Memory, etag: str | None, refuted: bool) -> None:
    """Only an ETag in the form of another MD5 does."""
    assert etag_md5.is_refuted(BucketAddress(memory.connection, "b"), etag, b"data") is refuted


@pytest.mark.parametrize("name", ["ServerSideEncryption", "SSECustomerAlgorithm", "SSEKMSKeyId"])
def test_any_encryption_parameter_counts_as_asking_for_encryption(name: str) -> None:
    """Any parameter about it does."""
    assert checksum.is_encrypted({"Key": "k", name: "x"})
    assert not checksum.is_encrypted({"Key": "k", "StorageClass": "STANDARD"})


def sent(memory: Memory, operation: str = "PutObject", *, encrypted: bool = False, **parameters: Any) -> Any:
    """A write of b"data"."""
    given = {"Bucket": "b", "Key": "k", "Body": b"data", **parameters}
    return checksum.call(memory.connection, operation, given, encrypted=encrypted)


def told(**answer: Any) -> Happening:
    """The write is applied, and the response has these headers."""
    return lambda act: {**act(), **answer}


def test_a_write_sends_content_md5(memory: Memory) -> None:
    """Content-MD5 is sent; one request, if the store returns the same MD5 or none."""
    assert sent(memory)["ETag"] == f'"{MD5}"'
    assert memory.sent[0]["ContentMD5"] == base64.b64encode(bytes.fromhex(MD5)).decode()
    memory.happens["PutObject"] = deque([told(ETag='"0x8DB"'), told(ETag=f'"{OTHER}"', ServerSideEncryption="aws:kms")])
    for _ in range(2):
        sent(memory)
    assert memory.calls == ["PutObject"] * 3


def test_a_write_with_another_checksum_sends_no_content_md5(memory: Memory) -> None:
    """A checksum of the user's or of boto3's; nothing is compared then."""
    memory.happens["PutObject"] = deque([told(ETag=f'"{OTHER}"') for _ in range(3)])
    sent(memory, ChecksumCRC32="x")
    sent(memory, ContentMD5="x")
    memory.capabilities = Capabilities(checksums_compared=True)
    sent(memory)
    assert [parameters.get("ContentMD5") for parameters in memory.sent] == [None, "x", None]


@pytest.mark.parametrize(("told_md5", "changed"), [("0" * 32, b"dat\0"), ("f" * 32, b"dat1")])
def test_a_write_whose_etag_is_another_md5_is_read_back(memory: Memory, told_md5: str, changed: bytes) -> None:
    """If the returned ETag is another MD5, the object is read back, and the result is cached; not for encrypted writes."""
    memory.happens["PutObject"] = deque([told(ETag=f'"{told_md5}"') for _ in range(5)])
    sent(memory, encrypted=True)
    sent(memory, ServerSideEncryption="AES256")
    assert memory.calls == ["PutObject"] * 2
    said = f"PutObject on s3://b/k: the MD5 of the bytes sent is {MD5}, but the store received bytes with the MD5 {told_md5}"
    with pytest.raises(S3ChecksumError, match=said):
        sent(memory)  # the object read back has another etag: another client's
    memory.happens["GetObject"] = deque(
        [told(ETag=f'"{told_md5}"', Body=io.BytesIO(changed)), told(ETag=f'"{told_md5}"')]
    )
    with pytest.raises(S3ChecksumError) as caught:
        sent(memory)
    error = caught.value
    assert (error.operation, error.bucket, error.key, error.retryable) == ("PutObject", "b", "k", True)
    assert memory.facts == {}
    assert sent(memory)["ETag"] == f'"{told_md5}"'
    assert (memory.calls[2:], memory.sent[-1]) == (["PutObject", "GetObject"] * 3, {"Bucket": "b", "Key": "k"})
    memory.happens["PutObject"] = deque([told(ETag=f'"{told_md5}"')])
    sent(memory)
    assert memory.calls[-1] == "PutObject"


def test_a_large_body_is_read_back_in_pieces(memory: Memory) -> None:
    """The whole body is read and then closed."""
    body = random.Random(1).randbytes(2 * MIB + 7)
    answered = io.BytesIO(body)
    memory.happens = {
        "PutObject": deque([told(ETag=f'"{OTHER}"')]),
        "GetObject": deque([told(ETag=f'"{OTHER}"', Body=answered)]),
    }
    sent(memory, Body=body)
    assert answered.closed


def test_a_part_is_not_read_back(memory: Memory) -> None:
    """A part cannot be read before the upload is completed."""
    memory.happens["UploadPart"] = deque([lambda act: {"ETag": f'"{OTHER}"'}])
    with pytest.raises(S3ChecksumError, match="UploadPart on s3://b/k"):
        sent(memory, "UploadPart")
    assert memory.calls == [
        "UploadPart",
        "PutObject",
        "GetBucketVersioning",
        "ListMultipartUploads",
        "ListObjectsV2",
        "DeleteObject",
    ]  # a scratch object shows that etags are MD5s here
    memory.happens["UploadPart"] = deque([lambda act: {"ETag": f'"{OTHER}"'}])
    sent(memory, "UploadPart", encrypted=True)


@pytest.mark.parametrize(
    ("headers", "other"),
    [
        ({"etag": f'"{MD5}"'}, False),
        ({"etag": f'"{OTHER}"'}, True),
        ({"etag": "0" * 32}, True),
        ({"etag": f'"{OTHER}"', "x-amz-server-side-encryption": "AES256"}, True),
        ({"etag": f'"{OTHER}"', "x-amz-server-side-encryption": "aws:kms"}, False),
        ({"etag": f'"{OTHER}-1"'}, False),
        ({"etag": ""}, False),
    ],
)
def test_a_lane_write_with_another_md5_is_repeated_by_boto3(
    memory: Memory, headers: dict[str, str], other: bool
) -> None:
    """With another MD5, without TLS, on a store whose etags are MD5s; also if it compares checksums, since the lane sends none."""

    bucket = BucketAddress(memory.connection, "b")

    def is_other() -> bool:
        return checksum.is_other(bucket, headers, b"data")

    assert is_other() is other
    memory.endpoint_url = "https://s3.test"
    assert is_other() is False
    memory.endpoint_url = "http://s3.test"
    memory.capabilities = Capabilities(checksums_compared=True)
    assert is_other() is other
    memory.facts["etags_are_no_md5:b"] = True
    assert is_other() is False
    memory.endpoint_url = "https://s3.test"
    assert checksum.is_other(bucket, {}, b"data") is True  # without an etag


def test_a_read_body_is_compared_with_its_etag(memory: Memory) -> None:
    """Any other MD5 raises; an etag that is not an MD5 is ignored."""
    address = BucketAddress(memory.connection, "b").object("k")
    checksum.check_received(address, {"ETag": f'"{MD5}"'}, b"data")
    checksum.check_received(address, {"ETag": '"0x8DB"'}, b"data")
    memory.store("k", b"data2")
    for theirs in ("0" * 32, "f" * 32):
        with pytest.raises(
            S3ChecksumError, match=f"GetObject on s3://b/k: the MD5 of the object is {theirs}, .* {MD5}"
        ) as caught:
            checksum.check_received(address, {"ETag": theirs}, b"data")
        error = caught.value
        assert (error.operation, error.bucket, error.key, error.retryable) == ("GetObject", "b", "k", True)


# -- over HTTP ----------------------------------------------------------------------------------------------------------------------

Faults = dict[tuple[str, str], list["Fault | str | None"]]


@contextmanager
def behind_proxy(
    server: Server, bucket: S3Bucket, faults: Faults, capabilities: Capabilities | None = None
) -> Iterator[tuple[S3Bucket, Proxy]]:
    """The same bucket through a proxy that applies faults to the n-th request of a target."""
    with run_proxy(server.endpoint_url, scripted({})) as proxy:
        store = S3Store(server.connect(endpoint_url=proxy.endpoint_url).config.replace(capabilities=capabilities))
        far = store.bucket(bucket.name)
        for number in range(3):
            far.put_object(f"warm-{number}", b"the lane opens")
        proxy.restart(scripted(faults))
        yield far, proxy


def written_as_file(bucket: S3Bucket, data: bytes) -> None:
    with bucket.object("k").open("wb") as file:
        file.write(data)


def put_by_async(bucket: S3Bucket, data: bytes) -> None:
    async def put() -> None:
        async with AsyncS3Store(bucket.store) as store:
            await store.bucket(bucket.name).put_object("k", data)

    asyncio.run(put())


SINGLE: dict[str, Callable[[S3Bucket, bytes], Any]] = {
    "put_object": lambda bucket, data: bucket.put_object("k", data),
    "put_object with headers": lambda bucket, data: bucket.put_object("k", data, ExpectedBucketOwner="123456789012"),
    "put_objects": lambda bucket, data: bucket.put_objects([("k", data)]),
    "upload_object": lambda bucket, data: bucket.upload_object("k", data),
    "open": written_as_file,
    "async put_object": put_by_async,
}


# What a probe finds on moto and rclone, as tests/test_probe.py shows: both accept checksums and compare none.
ACCEPTED = Capabilities(checksums=True, checksums_compared=False)
KNOWLEDGE = pytest.mark.parametrize("capabilities", [None, ACCEPTED], ids=["unprobed", "probed"])


@KNOWLEDGE
@pytest.mark.parametrize("write", SINGLE.values(), ids=SINGLE)
def test_a_byte_corrupted_in_an_upload_is_detected(
    server: Server, bucket: S3Bucket, write: Callable[[S3Bucket, bytes], Any], capabilities: Capabilities | None
) -> None:
    """The write is repeated, or it raises; other bytes are never reported as a success."""
    data = b"all of this has to arrive"
    faults: Faults = {("PUT", "k"): [Fault(CORRUPT_REQUEST, 0.5)]}
    with behind_proxy(server, bucket, faults, capabilities) as (far, proxy):
        try:
            write(far, data)
        except (S3ChecksumError, S3BatchError) as error:
            [cause] = [failure.error for failure in error.failures] if isinstance(error, S3BatchError) else [error]
            assert isinstance(cause, S3ChecksumError)
            assert (cause.key, cause.retryable) == ("k", True)
        else:
            assert bucket.get_object("k").body == data
        assert proxy.counts()[CORRUPT_REQUEST] == 1


def test_a_byte_corrupted_in_a_conditional_write_is_detected(moto: Server, moto_bucket: S3Bucket) -> None:
    """The same for a conditional write, and for the read of an update."""
    moto_bucket.put_object("counter", b"1")
    faults: Faults = {("PUT", "k"): [Fault(CORRUPT_REQUEST)], ("GET", "counter"): ["corrupt"]}
    with behind_proxy(moto, moto_bucket, faults) as (far, _):
        with pytest.raises(S3ChecksumError):
            far.put_object("k", b"data", if_absent=True)
        with pytest.raises(S3ChecksumError):
            far.object("counter").update(lambda data: str(int(data or 0) + 1).encode())
    assert moto_bucket.get_object("counter").body == b"1"


PARTS: dict[str, Callable[[S3Bucket], Any]] = {
    "upload_object": lambda bucket: bucket.upload_object("k", LARGE, part_size_bytes=5 * MIB),
    "open": lambda bucket: written_as_file(bucket, LARGE + LARGE),
}


@KNOWLEDGE
@pytest.mark.parametrize("write", PARTS.values(), ids=PARTS)
def test_a_byte_corrupted_in_a_part_is_detected(
    server: Server, bucket: S3Bucket, write: Callable[[S3Bucket], Any], capabilities: Capabilities | None
) -> None:
    """No object is made, what was there stays, and no part is left behind."""
    bucket.put_object("kept", b"before")
    faults: Faults = {("PUT", "k?partNumber=1&uploadId"): [Fault(CORRUPT_REQUEST, 0.5)]}
    with behind_proxy(server, bucket, faults, capabilities) as (far, proxy):
        with pytest.raises(S3ChecksumError):
            write(far)
        assert proxy.counts()[CORRUPT_REQUEST] == 1
    assert not bucket.object("k").exists()
    assert not bucket._connection.call("ListMultipartUploads", Bucket=bucket.name).get("Uploads")


def test_verify_checksum_false_sends_no_checksum(server: Server, bucket: S3Bucket, tmp_path: Path) -> None:
    """With verify_checksum=False no checksum is sent."""
    sent: list[dict[str, Any]] = []
    own = server.connect(read_timeout=61).bucket(
        bucket.name
    )  # a separate connection, since handlers are registered on it
    events = own._connection.client.meta.events
    events.register("before-call.s3.PutObject", lambda params, **_: sent.append(dict(params["headers"])))
    own.upload_object("k", b"data", verify_checksum=False)
    own.upload_object("k", b"data")
    assert ["Content-MD5" in headers for headers in sent] == [False, True]


def test_no_md5_is_computed_where_boto3_sends_a_checksum(moto: Server) -> None:
    """Where boto3 sends a checksum and the store is known to compare it, no MD5 is made; where it only accepts it, one is."""

    def is_wanted(**known: bool) -> bool:
        store = S3Store(moto.connect().config.replace(capabilities=Capabilities(**known)))
        return checksum.is_wanted(store._connection, {})

    assert not is_wanted(checksums=True, checksums_compared=True)
    assert is_wanted(checksums=True)
    assert is_wanted(checksums_compared=True)  # boto3 sends none
    assert checksum.is_wanted(moto.connect()._connection, {})
    assert not checksum.is_wanted(moto.connect()._connection, {"ChecksumSHA256": "…"})
    assert not checksum.is_wanted(moto.connect()._connection, {"ContentMD5": "…"})


def test_etags_that_are_no_md5s_are_learned_from_a_store_that_compares_checksums() -> None:
    """The lane compares its first write with the etag and has it repeated; the store accepts boto3's checksum: no further repetition."""
    with run_stateful_server("etags that are no MD5") as server:
        server.state.checks = True
        bucket = S3Store(
            server.connect().config.replace(capabilities=Capabilities(checksums=True, checksums_compared=True))
        ).bucket("bkt")
        for number in range(6):
            bucket.put_object(f"k{number}", b"data")
        writes = [asked.key for asked in server.asked if asked.method == "PUT"]
        assert (len(set(writes)), len(writes)) in ((6, 6), (6, 7))


@pytest.mark.lane
def test_every_write_to_aws_has_a_checksum(scripted_server: ScriptedServer) -> None:
    """AWS demands one, and the hash of the signature is none, where the bucket locks its objects by default. Each write is sent once."""

    def locks_objects(asked: Asked) -> Answer:
        if asked.method == "PUT" and not any(name.startswith("x-amz-checksum-") for name in asked.headers):
            return refusal(400, "InvalidRequest")
        etag = hashlib.md5(asked.body).hexdigest()
        return 200, {"ETag": f'"{etag}"', "Last-Modified": "Sun, 22 Nov 2026 09:00:00 GMT"}, b""

    async def put_from_async(store: S3Store) -> None:
        async with AsyncS3Store(store) as other:
            await other.bucket("bkt").put_object("e", b"data", storage_class="STANDARD_IA")

    scripted_server.answer = locks_objects
    bucket = scripted_server.bucket(preset="aws")
    bucket.put_object("a", b"data")  # through boto3: it opens the lane
    assert bucket.store.lane.open
    bucket.put_object("b", b"data")
    bucket.put_objects([("c", b"data"), ("d", b"data")])
    asyncio.run(put_from_async(bucket.store))
    assert sorted(scripted_server.whats) == [f"PUT {key}" for key in "abcde"]  # c and d are sent at the same time
    assert {asked.headers["x-amz-checksum-crc32"] for asked in scripted_server.asked} == {"rfPzYw=="}


@pytest.mark.parametrize("lane", [False, True])
@pytest.mark.parametrize("preset", ["aws", "other"])
def test_the_checksum_that_aws_sends_with_an_object_is_compared(
    scripted_server: ScriptedServer, tmp_path: Path, preset: str, lane: bool
) -> None:
    """As boto3 does by default. The checksums of other stores may be wrong, and so may those of ranges."""
    right = {"ETag": '"e"', "Last-Modified": "Sun, 22 Nov 2026 09:00:00 GMT", "x-amz-checksum-crc32": "rfPzYw=="}
    sent = {**right, "x-amz-checksum-type": "FULL_OBJECT"}
    scripted_server.answer = lambda asked: (200, sent, b"" if asked.method == "HEAD" else b"data")
    bucket = scripted_server.bucket(preset=preset, lane=lane)
    reads: list[Callable[[], Any]] = [
        lambda: bucket.get_object("k").body,
        lambda: bucket["k"].body_stream.read(),
        lambda: list(bucket["k"].iter_chunks(3)),
        lambda: bucket["k"].download_to(tmp_path / "f", overwrite=True),
    ]
    for read in reads:
        read()
    sent["x-amz-checksum-crc32"] = "AAAAAA=="
    for read in reads:
        with pytest.raises(S3ChecksumError, match="checksum") if preset == "aws" else nullcontext():
            read()


class _OtherEtags:
    """Replaces the etags of single writes with other MD5s, as some stores return."""

    def __init__(self, store: S3Store) -> None:
        events = store._connection.client.meta.events
        for operation in ("PutObject", "GetObject"):
            events.register(f"after-call.s3.{operation}", self._change)

    def _change(self, parsed: dict[str, Any], **_: Any) -> None:
        if "ETag" in parsed:
            parsed["ETag"] = f'"{parsed["ETag"].strip(chr(34))[::-1]}"'


def test_a_store_whose_etags_are_not_md5s_is_read_back_once(moto: Server, moto_bucket: S3Bucket) -> None:
    """The first write is read back once and found to be right; nothing is compared from then on."""
    store = moto.connect(read_timeout=62)  # a separate connection, since its responses are changed
    _OtherEtags(store)
    bucket = store.bucket(moto_bucket.name)
    gets: list[str] = []
    store._connection.client.meta.events.register("before-call.s3.GetObject", lambda **_: gets.append("GET"))
    for number in range(3):
        bucket.upload_object(f"k{number}", b"data")
    assert gets == ["GET"]
