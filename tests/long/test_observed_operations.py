"""Ten thousand operations, sync and async, with retries: what is observed equals what the server counted, operation by operation.

    MFS3_OPERATIONS=10000 python -m pytest -s tests/long/test_observed_operations.py

``MFS3_OPERATIONS`` is the number of operations per test, ``MFS3_SEED`` the seed of their kinds. Once more with ``MFS3_LANE=shut``.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator

import pytest
from support import mixed_operations
from support.proxy import Proxy, run_proxy
from support.servers import Server

import messageflux_s3 as s3

COUNT = int(os.environ.get("MFS3_OPERATIONS", "10000"))
SEED = int(os.environ.get("MFS3_SEED", "1"))

pytestmark = pytest.mark.timeout(3600)


@pytest.fixture
def proxy(rclone: Server) -> Iterator[Proxy]:
    with run_proxy(rclone.endpoint_url, mixed_operations.failing_first(every=50)) as proxy:
        yield proxy


def compare(seen: s3.Observation, events: list[s3.RequestEvent], proxy: Proxy) -> None:
    end = time.monotonic() + 60
    while len(proxy.seen) != seen.attempts and time.monotonic() < end:  # the proxy notes a request after its response
        time.sleep(0.05)
    print(seen)
    counted = mixed_operations.counted_by_operation([*proxy.seen])
    assert {name: totals.attempts for name, totals in seen.operations.items()} == counted
    assert len(events) == seen.requests and sum(event.attempts for event in events) == seen.attempts
    assert seen.retries > 0


def test_sync(rclone: Server, rclone_bucket: s3.S3Bucket, proxy: Proxy) -> None:
    events: list[s3.RequestEvent] = []
    with rclone.connect(endpoint_url=proxy.endpoint_url, max_attempts=8) as store:
        with store.observe() as seen, store.on_request(events.append):
            mixed_operations.run(store.bucket(rclone_bucket.name), COUNT, SEED)
        compare(seen, events, proxy)


def test_async(rclone: Server, rclone_bucket: s3.S3Bucket, proxy: Proxy) -> None:
    events: list[s3.RequestEvent] = []

    async def main() -> s3.Observation:
        async with s3.AsyncS3Store(rclone.connect(endpoint_url=proxy.endpoint_url, max_attempts=8)) as store:
            with store.observe() as seen, store.on_request(events.append):
                await mixed_operations.run_async(store.bucket(rclone_bucket.name), COUNT, SEED)
            return seen

    compare(asyncio.run(main()), events, proxy)
