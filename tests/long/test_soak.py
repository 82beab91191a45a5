"""Mixed small operations at full concurrency for a long time: memory, descriptors, threads and work per request stay constant.

MFS3_WRITES=1000000 python -m pytest -s tests/long/test_soak.py
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.servers import Server

from messageflux_s3 import S3Bucket

WRITES = int(os.environ.get("MFS3_WRITES", "4000"))
TENTHS = 10

PROGRAM = """
import gc, os, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
import messageflux_s3 as s3
endpoint, access, secret, name, writes, tenths = sys.argv[1:7]
bucket = s3.connect(endpoint, access_key=access, secret_key=secret, region="us-east-1").bucket(name)
writes, tenths, batch = int(writes), int(tenths), 500

def content(key): return f"{key} ".encode() * 60

def resident():
    with open("/proc/self/statm") as file: return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024

def lines(function):
    '''Count the lines of Python that a call runs: unlike CPU time, a busy machine does not change them.'''
    ran = 0
    def trace(frame, event, arg):
        nonlocal ran
        ran += 1
        return trace
    sys.settrace(trace)
    try: function()
    finally: sys.settrace(None)
    return ran

def one_by_one():
    for number in range(5):
        bucket.put_object(f"soak/99/{number}", b"content")
        assert bucket.get_object(f"soak/99/{number}").body == b"content"
        bucket.delete_object(f"soak/99/{number}")

def work(number, count):
    '''One share: written, listed and read in bulk and one by one, half of it deleted one by one, the rest in bulk.'''
    bucket.put_object(f"soak/{number}/first", b"")  # rclone removes a folder with its last object, and answers 500 of those that come then
    for at in range(0, count, batch):
        keys = [f"soak/{number}/key-{at + which:08}" for which in range(min(batch, count - at))]
        bucket.put_objects((key, content(key)) for key in keys)
        found = bucket.find(f"soak/{number}/key-")
        assert [obj.key for obj in found] == keys
        for obj in found.prefetch(): assert obj.body == content(obj.key)
        for key in keys[:20]:
            assert bucket.get_object(key).body == content(key)
            bucket.delete_object(key)
        assert len(bucket.delete_objects(keys[20:]).succeeded) == len(keys) - 20
        assert found.first() is None

work(99, 500)  # warm
for tenth in range(tenths):
    began, used = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(4) as executor:
        share = writes // tenths // 4
        for done in [executor.submit(work, number, share) for number in range(4)]: done.result()
    gc.collect()
    print(tenth, share * 4, time.perf_counter() - began, time.process_time() - used, resident(), len(os.listdir("/proc/self/fd")),
        len(gc.get_objects()), threading.active_count(), min(lines(one_by_one) for _ in range(3)), flush=True)
"""


@pytest.mark.timeout(36_000)
def test_mixed_operations_by_four_threads_succeed_for_a_long_time(rclone: Server, rclone_bucket: S3Bucket) -> None:
    """Four threads that write, list, read and delete, in bulk and one by one."""
    arguments = [
        rclone.endpoint_url,
        rclone.access_key,
        rclone.secret_key,
        rclone_bucket.name,
        str(WRITES),
        str(TENTHS),
    ]
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}, check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    rows = [[float(cell) for cell in line.split()] for line in told.stdout.splitlines()]
    print(
        f"\n{'tenth':>5}{'writes':>9}{'seconds':>9}{'CPU':>8}{'KiB':>9}{'fds':>5}{'objects':>9}{'threads':>9}{'lines':>8}"
    )
    for tenth, count, seconds, cpu, resident, fds, objects, threads, lines in rows:
        print(
            f"{tenth:5.0f}{count:9,.0f}{seconds:9.1f}{cpu:8.2f}{resident:9,.0f}{fds:5.0f}{objects:9,.0f}{threads:9.0f}{lines:8.0f}"
        )
    assert len(rows) == TENTHS
    early, late = rows[1], rows[-1]
    assert late[4] - early[4] < 30_000  # KiB
    assert max(row[5] for row in rows[1:]) <= rows[0][5] + 64
    assert late[6] - early[6] < 3_000
    assert late[7] == early[7] == 1
    assert min(row[8] for row in rows[-3:]) < 1.1 * min(row[8] for row in rows[:4])
