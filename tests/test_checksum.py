"""What arrives at the store is what was sent, or nobody is told that it is: over plain HTTP, with a byte changed on its way."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from proxy import CORRUPT_REQUEST, Fault, Proxy, run_proxy, scripted
from servers import Server

from messageflux_s3 import (
    AsyncS3Store,
    Capabilities,
    S3BatchError,
    S3Bucket,
    S3ChecksumError,
    S3Store,
    checksum,
)

MIB = 1024 * 1024
LARGE = random.Random(11).randbytes(12 * MIB)  # three parts of 5 MiB, the last one short


Faults = dict[tuple[str, str], list["Fault | str | None"]]


@contextmanager
def behind_proxy(server: Server, bucket: S3Bucket, faults: Faults) -> Iterator[tuple[S3Bucket, Proxy]]:
    """The same bucket, through a proxy in which the faults befall the n-th request of a name."""
    with run_proxy(server.endpoint_url, scripted({})) as proxy:
        store = server.connect(endpoint_url=proxy.endpoint_url)
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
    "put_object with headers": lambda bucket, data: bucket.put_object("k", data, Expires="Sat, 21 Nov 2026 05:00:00 GMT"),
    "put_objects": lambda bucket, data: bucket.put_objects([("k", data)]),
    "upload_object": lambda bucket, data: bucket.upload_object("k", data),
    "open": written_as_file,
    "async put_object": put_by_async,
}


@pytest.mark.parametrize("write", SINGLE.values(), ids=SINGLE)
def test_a_byte_that_changes_on_its_way_up(server: Server, bucket: S3Bucket, write: Callable[[S3Bucket, bytes], Any]) -> None:
    """Written again and right, or an error: never a success over other bytes."""
    data = b"all of this has to arrive"
    with behind_proxy(server, bucket, {("PUT", "k"): [Fault(CORRUPT_REQUEST, 0.5)]}) as (far, proxy):
        try:
            write(far, data)
        except (S3ChecksumError, S3BatchError) as error:
            [cause] = [failure.error for failure in error.failures] if isinstance(error, S3BatchError) else [error]
            assert isinstance(cause, S3ChecksumError)
            assert (cause.key, cause.retryable) == ("k", True)
        else:
            assert bucket.get_object("k").body == data
        assert proxy.counts()[CORRUPT_REQUEST] == 1


def test_a_byte_that_changes_under_a_condition(moto: Server, moto_bucket: S3Bucket) -> None:
    """The same of a conditional write, and of what an update read before."""
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


@pytest.mark.parametrize("write", PARTS.values(), ids=PARTS)
def test_a_byte_that_changes_in_a_part(server: Server, bucket: S3Bucket, write: Callable[[S3Bucket], Any]) -> None:
    """No object is made, what was there stays, and no part is left behind."""
    bucket.put_object("kept", b"before")
    part = "k?partNumber=1&uploadId"
    with behind_proxy(server, bucket, {("PUT", part): [Fault(CORRUPT_REQUEST, 0.5)]}) as (far, proxy):
        with pytest.raises(S3ChecksumError):
            write(far)
        assert proxy.counts()[CORRUPT_REQUEST] == 1
    assert not bucket.object("k").exists()
    assert not bucket._connection.call("ListMultipartUploads", Bucket=bucket.name).get("Uploads")


def test_not_asked_for_nothing_is_sent_along(server: Server, bucket: S3Bucket, tmp_path: Path) -> None:
    """verify_checksum=False is taken at its word."""
    sent: list[dict[str, Any]] = []
    own = server.connect(read_timeout=61).bucket(bucket.name)  # a connection of its own, since it is listened to
    events = own._connection.client.meta.events
    events.register("before-call.s3.PutObject", lambda params, **_: sent.append(dict(params["headers"])))
    own.upload_object("k", b"data", verify_checksum=False)
    own.upload_object("k", b"data")
    assert ["Content-MD5" in headers for headers in sent] == [False, True]


def test_what_boto3_checks_is_not_checked_twice(moto: Server) -> None:
    """Where checksums are known to work, boto3 sends one, and no MD5 is made."""
    store = S3Store(moto.connect().config.replace(capabilities=Capabilities(checksums=True)))
    assert not checksum.is_wanted(store._connection, {})
    assert checksum.is_wanted(moto.connect()._connection, {})
    assert not checksum.is_wanted(moto.connect()._connection, {"ChecksumSHA256": "…"})
    assert not checksum.is_wanted(moto.connect()._connection, {"ContentMD5": "…"})


class _OtherEtags:
    """Makes a store's etags of single writes look like MD5s of something else, as some stores' are."""

    def __init__(self, store: S3Store) -> None:
        events = store._connection.client.meta.events
        for operation in ("PutObject", "GetObject"):
            events.register(f"after-call.s3.{operation}", self._change)

    def _change(self, parsed: dict[str, Any], **_: Any) -> None:
        if "ETag" in parsed:
            parsed["ETag"] = f'"{parsed["ETag"].strip(chr(34))[::-1]}"'


def test_a_store_whose_etags_are_something_else_is_found_out(moto: Server, moto_bucket: S3Bucket) -> None:
    """The first write is read back once and found to be right; nothing is compared from then on."""
    store = moto.connect(read_timeout=62)  # a connection of its own, since it is tampered with
    _OtherEtags(store)
    bucket = store.bucket(moto_bucket.name)
    gets: list[str] = []
    store._connection.client.meta.events.register("before-call.s3.GetObject", lambda **_: gets.append("GET"))
    for number in range(3):
        bucket.upload_object(f"k{number}", b"data")
    assert gets == ["GET"]


@pytest.mark.parametrize(
    ("answer", "md5"),
    [
        ({"ETag": '"' + "a" * 32 + '"'}, "a" * 32),
        ({"ETag": '"' + "a" * 32 + '"', "ServerSideEncryption": "AES256"}, "a" * 32),
        ({"ETag": '"' + "a" * 32 + '"', "ServerSideEncryption": "aws:kms"}, None),
        ({"ETag": '"' + "a" * 32 + '"', "SSECustomerAlgorithm": "AES256"}, None),
        ({"ETag": '"' + "a" * 32 + '-3"'}, None),
        ({"ETag": '"0x8DB"'}, None),
        ({}, None),
    ],
)
def test_which_etags_are_md5s(answer: dict[str, Any], md5: str | None) -> None:
    """Those of objects written in one piece, not encrypted with a key of their own."""
    assert checksum.md5_of(answer) == md5
