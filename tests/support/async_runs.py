"""Runs coroutine functions of tests, and checks that they leave neither a thread nor a task."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import messageflux_s3 as s3


@contextmanager
def no_thread_left() -> Iterator[None]:
    """Check that the threads that async handles start in this block have ended, a moment after it at the latest."""
    before = set(threading.enumerate())
    yield
    end = time.monotonic() + 5
    while (left := _threads_of_async_handles() - before) and time.monotonic() < end:
        time.sleep(0.01)
    assert [thread.name for thread in left] == []


def _threads_of_async_handles() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if "messageflux-s3-aio" in thread.name}


async def no_task_left() -> None:
    """Check that the running task is the only one."""
    await asyncio.sleep(0.05)  # an abandoned async generator is closed by a task of the event loop
    assert asyncio.all_tasks() == {asyncio.current_task()}


def run(bucket: s3.S3Bucket, work: Callable[[s3.AsyncS3Bucket], Awaitable[None]]) -> None:
    """Run a coroutine function on the async handle of a bucket; it must leave no thread and no task."""

    async def main() -> None:
        async with s3.AsyncS3Store(bucket.store) as store:
            await asyncio.wait_for(work(store.bucket(bucket.name)), 120)
        await no_task_left()

    with no_thread_left():
        asyncio.run(main())
