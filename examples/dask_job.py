"""A job for a cluster: parse the day's logs, aggregate, write partitioned parquet back.

    python examples/dask_job.py http://127.0.0.1:9000 my-bucket

Each log is one task. A task may run on any worker, and more than once (the results of a worker that dies are lost): that is harmless,
because tasks only read, or write one complete object.
"""

from __future__ import annotations

import csv
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Executor

import pyarrow
from pyarrow import parquet

import messageflux_s3 as s3

Row = tuple[str, str, int, int]


def summarise(obj: s3.S3Object) -> list[Row]:
    """Return the number of requests and bytes for each status in one log."""
    day = obj.key.split("/")[1]
    requests: Counter[str] = Counter()
    sent: Counter[str] = Counter()
    with obj.open("r", newline="") as file:
        for status, size in csv.reader(file):
            requests[status] += 1
            sent[status] += int(size)
    return [(day, status, count, sent[status]) for status, count in sorted(requests.items())]


def write_day(target: s3.S3Object, rows: list[Row]) -> str:
    """Write the sums of one day's rows to one Parquet file."""
    requests: Counter[str] = Counter()
    sent: Counter[str] = Counter()
    for _, status, count, size in rows:
        requests[status] += count
        sent[status] += size
    statuses = sorted(requests)
    columns = [statuses, [requests[status] for status in statuses], [sent[status] for status in statuses]]
    table = pyarrow.table(columns, names=["status", "requests", "bytes"])
    with target.open("wb") as file:
        parquet.write_table(table, file)
    return target.key


def run(bucket: s3.S3Bucket, executor: Executor, progress: Callable[[int], None] = lambda done: None) -> list[str]:
    """Run the whole job on any executor.

    Args:
        bucket: Holds ``raw/<day>/<hour>.csv``; gets ``daily/day=<day>/part.parquet``.
        executor: Where to run: ``client.get_executor()`` for Dask.
        progress: Called with the number of logs done.

    Returns:
        The keys written.
    """
    days: dict[str, list[Row]] = {}
    for done, rows in enumerate(bucket.find(glob="raw/*/*.csv").map(summarise, executor, ordered=False), 1):
        for row in rows:
            days.setdefault(row[0], []).append(row)
        progress(done)
    targets: Iterable[s3.S3Object] = [bucket.object(f"daily/day={day}/part.parquet") for day in sorted(days)]
    return list(executor.map(write_day, targets, [sorted(days[day]) for day in sorted(days)]))


if __name__ == "__main__":
    from dask.distributed import Client

    store = s3.connect(sys.argv[1], pickle_secrets=True)  # the workers need the keys
    with Client() as client:
        for key in run(store.bucket(sys.argv[2]), client.get_executor()):
            print(key)
