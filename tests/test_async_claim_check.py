"""The claim check under asyncio: payloads from async sources, and no payload left by a cancelled task."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

import messageflux_s3 as s3
from messageflux_s3 import AsyncClaimCheck, ClaimCheck, S3Bucket

PAYLOAD = b"too big for this broker"


def run(bucket: S3Bucket, work: Callable[[s3.AsyncS3Bucket], Awaitable[None]]) -> None:
    async def main() -> None:
        async with s3.AsyncS3Store(bucket.store) as store:
            await asyncio.wait_for(work(store.bucket(bucket.name)), 60)

    asyncio.run(main())


async def pieces_of(data: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(data), 5):
        await asyncio.sleep(0)
        yield data[at : at + 5]


@pytest.mark.parametrize("wire", ["sqs-extended", "messageflux"])
@pytest.mark.parametrize("source", [lambda: PAYLOAD, lambda: pieces_of(PAYLOAD), lambda: iter([PAYLOAD])])
def test_sync_and_async_claim_checks_read_each_others_messages(
    bucket: S3Bucket, wire: Any, source: Callable[[], Any]
) -> None:
    """Payloads and headers arrive; then the payload is deleted."""

    async def work(remote: s3.AsyncS3Bucket) -> None:
        check, other = AsyncClaimCheck(remote, threshold=20, wire=wire), ClaimCheck(bucket, threshold=20, wire=wire)
        sent = await check.check_in(source(), {"h": "1"})
        assert sent.body != PAYLOAD
        assert await check.check_out(sent) == (PAYLOAD, {"h": "1"})
        assert await asyncio.to_thread(other.check_out, sent) == (PAYLOAD, {"h": "1"})
        assert await check.check_out(await asyncio.to_thread(other.check_in, PAYLOAD, {})) == (PAYLOAD, {})
        obj = check.payload_object(sent)
        assert isinstance(obj, s3.AsyncS3Object) and await obj.read() == PAYLOAD
        assert await check.discard(sent) is True
        assert not await obj.exists()

    run(bucket, work)


def test_small_payloads_are_sent_unchanged_without_a_request(moto_bucket: S3Bucket) -> None:
    """No request is sent."""

    async def work(remote: s3.AsyncS3Bucket) -> None:
        check = AsyncClaimCheck(remote, threshold=100)
        assert (await check.check_in(pieces_of(b"small"))).body == b"small"
        assert check.payload_object((b"small", {})) is None
        assert await check.discard((b"small", {})) is False
        assert check.receipt_handle({"ReceiptHandle": "handle"}) == "handle"
        assert await remote.find().count() == 0

    run(moto_bucket, work)


def test_settings_and_errors_are_those_of_the_sync_class(moto_bucket: S3Bucket) -> None:
    """Settings and errors are those of the sync class."""

    async def work(remote: s3.AsyncS3Bucket) -> None:
        check = AsyncClaimCheck(remote, threshold=10, wire="messageflux", allowed_buckets=["other"])
        assert (check.threshold, check.wire, check.bucket) == (10, "messageflux", remote)
        assert check.allowed_buckets == {"other", remote.name}
        assert repr(check) == f"AsyncClaimCheck({remote!r}, threshold=10, wire='messageflux')"
        foreign = await AsyncClaimCheck(remote, threshold=0).check_in(b"x")
        with pytest.raises(s3.S3AccessDenied):
            await check.check_out((str(foreign.body).replace(remote.name, "elsewhere"), foreign.headers))
        with pytest.raises(TypeError, match="AsyncS3Bucket"):
            AsyncClaimCheck(moto_bucket)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="threshold"):
            AsyncClaimCheck(remote, threshold=-1)
        with pytest.raises(ZeroDivisionError):
            await check.check_in(broken())

    async def broken() -> AsyncIterator[bytes]:
        yield PAYLOAD
        raise ZeroDivisionError

    run(moto_bucket, work)
    assert moto_bucket.find().count() == 1  # the payload of the foreign message


@pytest.mark.parametrize("size", [100, 9 * 1024 * 1024])
def test_a_cancelled_check_in_leaves_no_payload(moto_bucket: S3Bucket, size: int) -> None:
    """A cancelled check_in deletes its payload, whenever the cancellation arrives."""

    async def payload() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b"x" * (size // 10)

    async def work(remote: s3.AsyncS3Bucket) -> None:
        check = AsyncClaimCheck(remote, threshold=10)
        for delay in (0, 0.005, 0.02, 0.05):
            task = asyncio.create_task(check.check_in(payload()))
            await asyncio.sleep(delay)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await check.discard(await task)
            assert await remote.find().count() == 0

    run(moto_bucket, work)
