"""Very many objects are listed, written and read in constant memory.

By hand: ``MFS3_KEYS=10000000 MFS3_OBJECTS=100000 python -m pytest -q -s tests/long/test_many_objects.py``.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.servers import Server

from benchmarks.pages import serve
from messageflux_s3 import S3Bucket

KEYS = int(os.environ.get("MFS3_KEYS", "100000"))
OBJECTS = int(os.environ.get("MFS3_OBJECTS", "5000"))
LIMIT_MIB = 60

BEGIN = """
import gc, os, resource, sys, time
import messageflux_s3 as s3
endpoint, access, secret, name, count = sys.argv[1:6]
bucket = s3.connect(endpoint, access_key=access, secret_key=secret, region="us-east-1").bucket(name)
count = int(count)
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
"""

PROGRAMS = {
    "list": """
seen = 0
for obj in bucket.find(prefix="listed/"):
    seen += 1
    if seen == count // 10: early = peak()
    assert obj.size >= 0
""",
    "write": """
def items():
    global early
    for number in range(count):
        if number == count // 10: early = peak()
        yield f"many/{number:07}", b"x" * 1024
seen = len(bucket.put_objects(items()).succeeded)
""",
    "read": """
seen = 0
for obj in bucket.find("many/").prefetch():
    assert len(obj.body) == 1024
    seen += 1
    if seen == count // 10: early = peak()
""",
}


def run(program: str, arguments: list[str], count: int) -> None:
    """Run a script in its own process; its memory must not grow after the first tenth."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    code = f"{BEGIN}\nbegan = time.perf_counter()\n{PROGRAMS[program]}\nprint(seen, early, peak(), time.perf_counter() - began)"
    told = subprocess.run(
        [sys.executable, "-c", code, *arguments, str(count)],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    seen, early, late, seconds = told.stdout.split()
    print(f"\n{program} {count:,}: {float(seconds):.1f} s, {early} MiB after a tenth, {late} MiB at the end")
    assert int(seen) == count
    assert int(late) - int(early) < LIMIT_MIB


@pytest.mark.timeout(3600)
def test_listing_many_keys_uses_constant_memory() -> None:
    """From scripted listing pages of a thousand keys each."""
    told = multiprocessing.Pipe(duplex=False)
    pages = multiprocessing.Process(target=serve, args=(KEYS // 1000, told[1]), daemon=True)
    pages.start()
    run("list", [f"http://127.0.0.1:{told[0].recv()}", "ACCESSKEY01", "SECRETKEY0123456", "bench"], KEYS)
    pages.terminate()


@pytest.mark.timeout(3600)
def test_writing_and_reading_many_objects_uses_constant_memory(rclone: Server, rclone_bucket: S3Bucket) -> None:
    """1 KiB each, by put_objects and prefetch."""
    arguments = [rclone.endpoint_url, rclone.access_key, rclone.secret_key, rclone_bucket.name]
    for program in ("write", "read"):
        run(program, arguments, OBJECTS)
