"""Many small objects through the fault proxy, the lane open and shut: the same results, and never a wrong byte.

    SEEDS=500 python -m pytest -s tests/attacks/test_lane_faults.py

Each seed writes, reads, lists and deletes a few dozen objects on rclone through a proxy that does something to three answers in ten.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import pytest
from proxy import KINDS, run_proxy, seeded
from servers import Server

import messageflux_s3 as s3

SEEDS = int(os.environ.get("SEEDS", "20"))
FIRST_SEED = int(os.environ.get("FIRST_SEED", "0"))
OBJECTS = 24
# A corrupted byte of a small body is found by nobody but a checksum, which rclone does not send: transfers verify the etag's MD5.
SHARE = 0.3
FAULTS = [kind for kind in KINDS if kind not in ("corrupt", "stall_before", "stall_after", "drip", "xml_huge")]


def _nothing(**_: Any) -> None:
    """A handler of the user's own: it shuts the lane."""


def run(bucket: s3.S3Bucket, told: Counter[str]) -> None:
    """What was told is compared with what can be true."""
    bodies = {f"n/{number:02}": f"{number} ".encode() * (number + 1) for number in range(OBJECTS)}
    written = bucket.put_objects(bodies.items(), raise_errors=False)
    told.update(written=len(written.succeeded), not_written=len(written.failures))
    assert set(written.succeeded) | {failure.key for failure in written.failures} == set(bodies)
    for obj in bucket.get_objects(bodies):
        try:
            body = obj.body
        except s3.S3NoSuchItem:
            assert obj.key not in written.succeeded
            told["missing"] += 1
        except s3.S3Error:
            told["not_read"] += 1
        else:
            assert body == bodies[obj.key]
            told["read"] += 1
    try:
        listed = [obj.key for obj in bucket.find("n/")]
    except s3.S3Error:
        told["not_listed"] += 1
    else:
        assert listed == sorted(listed)
        assert set(written.succeeded) <= set(listed) <= set(bodies)
        told["listed"] += 1
    deleted = bucket.delete_objects(written.succeeded, raise_errors=False)
    told.update(deleted=len(deleted.succeeded), not_deleted=len(deleted.failures))


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("lane", ["open", "shut"])
def test_faults_change_no_result(lane: str, rclone: Server, rclone_bucket: s3.S3Bucket) -> None:
    """Right, or an error of ours; what was said to be deleted is gone."""
    told, befell = Counter[str](), Counter[str]()
    direct = rclone_bucket
    with run_proxy(rclone.endpoint_url, seeded(0, share=SHARE, kinds=FAULTS)) as proxy:
        for seed in range(FIRST_SEED, FIRST_SEED + SEEDS):
            proxy.restart(seeded(seed, share=SHARE, kinds=FAULTS))
            # A configuration of its own for each seed, so that nothing learned before one counts in the next.
            store = rclone.connect(endpoint_url=proxy.endpoint_url, read_timeout=2, connect_timeout=2, max_attempts=2 + seed % 3)
            if lane == "shut":
                store.client.meta.events.register("before-send.s3", _nothing)
            bucket = store.bucket(direct.name)
            run(bucket, told)
            befell.update(proxy.counts())
            store.close()
            for obj in direct.find():
                obj.delete()
    befell.pop("none", None)
    print(f"\nlane {lane}: {SEEDS} seeds, {befell.total()} faults of {len(befell)} kinds; {dict(told)}")
    assert told["read"] > SEEDS
    assert told["written"] > SEEDS
