"""A real job on dask.distributed, several worker processes, one of them killed in the middle (tox -e files)."""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dask.distributed import Client, LocalCluster
from pyarrow import parquet

import messageflux_s3 as s3

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "examples"))
import dask_job

DAYS, HOURS, LINES = 6, 12, 4000


@pytest.fixture(scope="module")
def store() -> Iterator[s3.S3Store]:
    """A server that the workers can reach; the store's pickles contain its keys."""
    with s3.LocalS3() as local:
        yield local.connect(pickle_secrets=True)


@pytest.fixture(scope="module")
def bucket(store: s3.S3Store) -> s3.S3Bucket:
    """A bucket full of logs."""
    made = store.create_bucket("dask-job")
    numbers = random.Random(3)
    for day in range(DAYS):
        for hour in range(HOURS):
            lines = [f"{numbers.choice((200, 301, 404, 500))},{numbers.randrange(100_000)}\n" for _ in range(LINES)]
            made.put_object(f"raw/2026-11-{day + 1:02}/{hour:02}.csv", "".join(lines))
    return made


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """A cluster of three worker processes."""
    with (
        LocalCluster(n_workers=3, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        yield client


def results(bucket: s3.S3Bucket) -> dict[str, Any]:
    """What the job wrote."""
    read = {}
    for obj in bucket.find(prefix="daily/"):
        with obj.open() as file:
            read[obj.key] = parquet.read_table(file, partitioning=None).to_pydict()
    return read


def test_a_killed_dask_worker_does_not_change_the_result(bucket: s3.S3Bucket, client: Client) -> None:
    """A job gives the same result if a worker is killed after a third of the logs."""
    written = dask_job.run(bucket, client.get_executor())
    undisturbed = results(bucket)
    assert written == sorted(undisturbed) == [f"daily/day=2026-11-{day + 1:02}/part.parquet" for day in range(DAYS)]
    assert sum(sum(table["requests"]) for table in undisturbed.values()) == DAYS * HOURS * LINES
    bucket.find(prefix="daily/").delete()
    client.restart()
    killed: list[int] = []

    def kill_one(done: int) -> None:
        if done >= DAYS * HOURS // 3 and not killed:
            pid = next(iter(client.run(os.getpid).values()))
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    assert dask_job.run(bucket, client.get_executor(), kill_one) == written
    assert len(killed) == 1
    assert killed[0] not in client.run(os.getpid).values()
    assert results(bucket) == undisturbed


def test_partitions_of_a_query_are_counted_by_dask_workers(bucket: s3.S3Bucket, client: Client) -> None:
    """Each worker counts its share; together they count everything once."""
    parts = bucket.find(prefix="raw/").partitions(5)
    counts = client.gather(client.map(lambda part: part.count(), parts))
    assert sum(counts) == DAYS * HOURS
    assert len(counts) > 1
