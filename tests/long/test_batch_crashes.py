"""Bulk operations and claim checks killed at random moments: no partial object, no unrelated change, and a second run completes them.

    MFS3_KILLS=60 python -m pytest -s tests/long/test_batch_crashes.py

``MFS3_KILLS`` is the number of kills per test, ``MFS3_SEED`` the seed of their times.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from support.servers import Server

from messageflux_s3 import ClaimCheck, S3Bucket, S3NoSuchItem, S3ObjectChanged, S3ServerError

KILLS = int(os.environ.get("MFS3_KILLS", "5"))
SEED = int(os.environ.get("MFS3_SEED", "1"))
COUNT = 300

BEGIN = """
import hashlib, itertools, json, os, random, sys, uuid
from pathlib import Path
import messageflux_s3 as s3
endpoint, access, secret, name, folder = sys.argv[1:6]
bucket = s3.connect(endpoint, access_key=access, secret_key=secret, region="us-east-1").bucket(name)
folder = Path(folder)
def body(key, turn): return f"{key} {turn} ".encode() * (int(hashlib.md5(key.encode()).hexdigest()[:4], 16) % 900 + 1)
def keys(prefix, count=300): return [f"{prefix}/{number:04}" for number in range(count)]
bucket.find("none/").first(); bucket.object("none").exists()  # boto3 and the lane are warm: the work begins at once
print("go", flush=True)
"""

PROGRAMS = {
    "put_objects": """
for turn in itertools.count(1):
    bucket.put_objects((key, body(key, "new")) for key in keys("put"))
""",
    "delete_objects": """
bucket.delete_objects(keys("deleted"))
bucket.find("query/").delete()
while True: bucket.delete_objects(keys("deleted"))
""",
    "copy_to": 'while True: bucket.find("source/").copy_to(bucket, "copied/")',
    "get_objects": """
while True:
    for obj in bucket.get_objects(keys("source")): assert obj.body == body(obj.key, "old")
""",
    "producer": """
check = s3.ClaimCheck(bucket, threshold=1000)
for number in itertools.count():
    payload = random.randbytes(random.randrange(10, 60_000))
    sent, headers = check.check_in(payload)
    text = sent if isinstance(sent, str) else sent.hex()
    told = {"body": text, "is_text": isinstance(sent, str), "headers": headers, "md5": hashlib.md5(payload).hexdigest()}
    message = folder / f"{uuid.uuid4()}.part"
    message.write_text(json.dumps(told))
    message.rename(message.with_suffix(".message"))
""",
    "consumer": """
check = s3.ClaimCheck(bucket, threshold=1000)
while True:
    for message in folder.glob("*.message"):
        told = json.loads(message.read_text())
        received = (told["body"] if told["is_text"] else bytes.fromhex(told["body"]), told["headers"])
        payload, _ = check.check_out(received)
        assert hashlib.md5(payload).hexdigest() == told["md5"]
        message.unlink()
        check.discard(received)
""",
}


def body(key: str, turn: str) -> bytes:
    """Return the content of an object; each has another size, so that a partial one would be noticed."""
    return f"{key} {turn} ".encode() * (int(hashlib.md5(key.encode()).hexdigest()[:4], 16) % 900 + 1)


def keys(prefix: str) -> list[str]:
    return [f"{prefix}/{number:04}" for number in range(COUNT)]


def started(program: str, server: Server, bucket: S3Bucket, folder: Path) -> subprocess.Popen[bytes]:
    root = str(Path(__file__).parents[2])
    arguments = [server.endpoint_url, server.access_key, server.secret_key, bucket.name, str(folder)]
    process = subprocess.Popen(
        [sys.executable, "-c", BEGIN + PROGRAMS[program], *arguments],
        stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": root},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == b"go\n"
    return process


def end(process: subprocess.Popen[bytes], program: str) -> None:
    assert process.poll() is None, f"{program} ended by itself"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def killed(
    program: str, server: Server, bucket: S3Bucket, folder: Path, after: float, shows: str | None = None
) -> None:
    """Run a program, and kill it some time after its first object appears."""
    process = started(program, server, bucket, folder)
    deadline = time.monotonic() + 120
    while shows is not None and shows not in bucket:
        assert time.monotonic() < deadline, f"{program} does nothing"
    time.sleep(after)
    end(process, program)


def found(bucket: S3Bucket, wanted: list[str]) -> dict[str, bytes]:
    """Return the existing objects. The server may still process requests of the killed process: read such objects again."""
    there: dict[str, bytes] = {}
    for obj in bucket.get_objects(wanted):
        for _ in range(100):
            try:
                there[obj.key] = obj.body
            except (S3ObjectChanged, S3ServerError):  # rclone returns 500 for an object that it is just deleting
                obj.reload()
                time.sleep(0.1)
                continue
            except S3NoSuchItem:
                pass
            break
    return there


@pytest.mark.timeout(7200)
def test_killed_put_objects_leaves_whole_objects(server: Server, bucket: S3Bucket, tmp_path: Path) -> None:
    """Every object is the complete old or new one, other objects are unchanged, and a second run writes all."""
    moments, seen = random.Random(SEED), Counter[str]()
    bucket.put_object("put/9999", b"a neighbour")
    for _ in range(KILLS):
        bucket.put_objects((key, body(key, "old")) for key in keys("put"))
        killed("put_objects", server, bucket, tmp_path, moments.uniform(0.0, 0.4))
        now = found(bucket, keys("put"))
        assert set(now) == set(keys("put"))
        for key, content in now.items():
            assert content in (body(key, "old"), body(key, "new")), key
            seen["old" if content == body(key, "old") else "new"] += 1
    bucket.put_objects((key, body(key, "new")) for key in keys("put"))
    assert found(bucket, keys("put")) == {key: body(key, "new") for key in keys("put")}
    assert bucket.get_object("put/9999").body == b"a neighbour"
    print(f"\nput_objects on {server.name}: {KILLS} kills, {dict(seen)}")


@pytest.mark.timeout(7200)
def test_killed_delete_objects_leaves_whole_objects(server: Server, bucket: S3Bucket, tmp_path: Path) -> None:
    """The remaining objects are complete, other objects exist, and a second run deletes the rest."""
    moments, seen = random.Random(SEED), Counter[str]()
    bucket.put_objects((key, body(key, "old")) for key in keys("stays"))
    wanted = keys("deleted") + keys("query")
    for _ in range(KILLS):
        bucket.put_objects((key, body(key, "old")) for key in wanted)
        killed("delete_objects", server, bucket, tmp_path, moments.uniform(0.0, 0.4))
        now = found(bucket, wanted)
        assert all(content == body(key, "old") for key, content in now.items())
        seen.update(left=len(now), gone=len(wanted) - len(now))
    bucket.delete_objects(keys("deleted"))
    bucket.find("query/").delete()
    assert found(bucket, wanted) == {}
    assert found(bucket, keys("stays")) == {key: body(key, "old") for key in keys("stays")}
    print(f"\ndelete_objects on {server.name}: {KILLS} kills, {dict(seen)}")


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("program", ["copy_to", "get_objects"])
def test_killed_copies_and_reads_leave_whole_objects(
    program: str, server: Server, bucket: S3Bucket, tmp_path: Path
) -> None:
    """The sources exist, each copy is complete or missing, and a second run copies all."""
    moments, seen = random.Random(SEED), Counter[str]()
    bucket.put_objects((key, body(key, "old")) for key in keys("source"))
    copies = [f"copied/{key}" for key in keys("source")]
    for _ in range(KILLS):
        shows = copies[0] if program == "copy_to" else None
        killed(program, server, bucket, tmp_path, moments.uniform(0.0, 0.6), shows)
        now = found(bucket, copies)
        assert all(content == body(key.removeprefix("copied/"), "old") for key, content in now.items())
        seen.update(copied=len(now), missing=COUNT - len(now))
        bucket.delete_objects(copies)
    assert found(bucket, keys("source")) == {key: body(key, "old") for key in keys("source")}
    bucket.find("source/").copy_to(bucket, "copied/")
    assert len(found(bucket, copies)) == COUNT
    print(f"\n{program} on {server.name}: {KILLS} kills, {dict(seen)}")


@pytest.mark.timeout(7200)
def test_killed_claim_checks_lose_no_payload(server: Server, bucket: S3Bucket, tmp_path: Path) -> None:
    """Every message sent has its payload until it is received; a kill leaves at most one unused payload."""
    moments, check, seen = random.Random(SEED), ClaimCheck(bucket, threshold=1000), Counter[str]()
    for _ in range(KILLS):
        both = {"producer": started("producer", server, bucket, tmp_path)}
        deadline = time.monotonic() + 120
        while not [*tmp_path.glob("*.message")]:
            assert time.monotonic() < deadline, "no message was sent"
            time.sleep(0.01)
        both["consumer"] = started("consumer", server, bucket, tmp_path)
        for name in sorted(both, key=lambda _: moments.random()):
            time.sleep(moments.uniform(0.05, 0.5))
            end(both[name], name)
        for message in tmp_path.glob("*.message"):
            told = json.loads(message.read_text())
            received = (told["body"] if told["is_text"] else bytes.fromhex(told["body"]), told["headers"])
            payload, _ = check.check_out(received)
            assert hashlib.md5(payload).hexdigest() == told["md5"]
            seen["messages with their payload"] += 1
            message.unlink()
            check.discard(received)
    time.sleep(0.5)  # the server may still be storing the last payload
    wasted = [obj for obj in bucket.find() if obj.size]
    assert len(wasted) <= 2 * KILLS
    print(f"\nclaim checks on {server.name}: {2 * KILLS} kills, {dict(seen)}, {len(wasted)} payloads wasted")
