"""Transfers killed at random moments: the target has its complete old or new content.

Run with more kills: ``MFS3_KILLS=200 python -m pytest -q tests/long/test_transfer_crashes.py``.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support.servers import Server

from messageflux_s3 import S3Bucket, S3NoSuchItem, S3ObjectChanged

KILLS = int(os.environ.get("MFS3_KILLS", "5"))
SEED = int(os.environ.get("MFS3_SEED", "1"))
MIB = 1 << 20
OLD, NEW = (random.Random(seed).randbytes(24 * MIB + seed) for seed in (1, 2))

BEGIN = """
import io, sys, itertools
from pathlib import Path
import messageflux_s3 as s3
endpoint, access, secret, name, folder = sys.argv[1:6]
bucket = s3.connect(endpoint, access_key=access, secret_key=secret, region="us-east-1").bucket(name)
folder = Path(folder)
print("go", flush=True)
"""

PROGRAMS = {
    "download": 'while True: bucket.download_file("new", folder / "target")',
    "download, resumed": 'while True: bucket.download_file("new", folder / "target", resume=True)',
    "upload of a file": 'while True: bucket.upload_file(folder / "source", "target")',
    "upload of an iterator": """
data = (folder / "source").read_bytes()
while True: bucket.upload_object("target", (data[at:at + 500_000] for at in range(0, len(data), 500_000)))
""",
    "open for writing": """
data = (folder / "source").read_bytes()
while True:
    with bucket.object("target").open("wb") as file:
        for at in range(0, len(data), 700_000): file.write(data[at:at + 700_000])
""",
    "sync to a folder": """
for turn in itertools.count():
    bucket.sync_to_folder("tree", folder / "tree")
    for path in (folder / "tree").iterdir():
        if not path.name.startswith("."): path.unlink()
""",
}


def killed(program: str, server: Server, bucket: S3Bucket, folder: Path, after: float) -> None:
    """Let a program run for a while, and kill it."""
    root = str(Path(__file__).parents[2])
    arguments = [server.endpoint_url, server.access_key, server.secret_key, bucket.name, str(folder)]
    process = subprocess.Popen(
        [sys.executable, "-c", BEGIN + PROGRAMS[program], *arguments],
        stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": root},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == b"go\n"
    time.sleep(after)
    assert process.poll() is None, f"{program} ended by itself"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def settled(bucket: S3Bucket) -> bytes:
    """Return the object's content. The server may still process the last request of the killed process: then read again."""
    while True:
        try:
            return bucket.get_object("target").body
        except S3ObjectChanged:
            continue


def unfinished_uploads(bucket: S3Bucket) -> list[Any]:
    try:
        return list(bucket._connection.call("ListMultipartUploads", Bucket=bucket.name).get("Uploads", []))
    except S3NoSuchItem:  # rclone answers NoSuchUpload for a bucket that has had no upload
        return []


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("program", ["download", "download, resumed"])
def test_a_killed_download_leaves_the_old_or_the_new_file(
    program: str, rclone: Server, rclone_bucket: S3Bucket, tmp_path: Path
) -> None:
    """The target has its old or new content; a resumed run removes the temporary files of the killed ones."""
    rclone_bucket.upload_object("new", NEW)
    target = tmp_path / "target"
    moments, seen = random.Random(SEED), Counter[str]()
    for _ in range(KILLS):
        target.write_bytes(OLD)
        killed(program, rclone, rclone_bucket, tmp_path, moments.uniform(0.0, 0.4))
        found = digest(target.read_bytes())
        assert found in (digest(OLD), digest(NEW))
        seen["old" if found == digest(OLD) else "new"] += 1
    rclone_bucket.download_file("new", target, resume=True)
    assert digest(target.read_bytes()) == digest(NEW)
    if program == "download, resumed":
        assert [path.name for path in tmp_path.iterdir()] == ["target"]
    print(f"\n{program}: {KILLS} kills, {dict(seen)}")


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("program", ["upload of a file", "upload of an iterator", "open for writing"])
def test_a_killed_upload_leaves_the_old_or_the_new_object(
    program: str, server: Server, bucket: S3Bucket, tmp_path: Path
) -> None:
    """The object has its old or new content; one call removes the parts left by kills."""
    (tmp_path / "source").write_bytes(NEW)
    moments, seen = random.Random(SEED), Counter[str]()
    for _ in range(KILLS):
        bucket.put_object("target", OLD)
        killed(program, server, bucket, tmp_path, moments.uniform(0.0, 0.6))
        found = digest(settled(bucket))
        assert found in (digest(OLD), digest(NEW))
        seen["old" if found == digest(OLD) else "new"] += 1
    bucket.clear_objects(versions=True)
    assert unfinished_uploads(bucket) == []
    print(f"\n{program} on {server.name}: {KILLS} kills, {dict(seen)}")


@pytest.mark.timeout(7200)
def test_a_killed_sync_leaves_whole_files(rclone: Server, rclone_bucket: S3Bucket, tmp_path: Path) -> None:
    """Every file in the folder is complete, and the next run completes the folder."""
    bodies = {f"{number:02}.bin": random.Random(number).randbytes(number * 150_000) for number in range(40)}
    rclone_bucket.put_objects((f"tree/{name}", body) for name, body in bodies.items())
    moments, seen = random.Random(SEED), Counter[int]()
    (tmp_path / "tree").mkdir()
    for _ in range(KILLS):
        killed("sync to a folder", rclone, rclone_bucket, tmp_path, moments.uniform(0.05, 0.5))
        there = [path for path in (tmp_path / "tree").iterdir() if not path.name.startswith(".")]
        for path in there:
            assert path.read_bytes() == bodies[path.name]
        seen[len(there)] += 1
    rclone_bucket.sync_to_folder("tree", tmp_path / "tree")
    assert {
        path.name: path.read_bytes() for path in (tmp_path / "tree").iterdir() if not path.name.startswith(".")
    } == bodies
    print(f"\nsync to a folder: {KILLS} kills, with {min(seen)} to {max(seen)} of {len(bodies)} files there")
