"""Many small objects through the fault proxy, the lane open and shut: the same results, and no wrong bytes.

    SEEDS=500 python -m pytest -s tests/attacks/test_lane_faults.py

Each seed writes, reads, lists and deletes a few dozen objects on rclone through a proxy that damages three of ten responses.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import boto3
import pytest
from support.proxy import KINDS, Plan, Proxy, run_proxy, seeded
from support.servers import Server

import messageflux_s3 as s3

SEEDS = int(os.environ.get("SEEDS", "20"))
FIRST_SEED = int(os.environ.get("FIRST_SEED", "0"))
OBJECTS = 24
SHARE = 0.3
READ_TIMEOUT = 1.0
STALL = 1.3
FAULTS = [kind for kind in KINDS if kind != "xml_huge"]  # eight megabytes per response take long and test nothing more


def _nothing(**_: Any) -> None:
    """A handler of the user's, which shuts the lane."""


def plan_of(seed: int) -> Plan:
    """Return the faults of this seed."""
    return seeded(seed, share=SHARE, kinds=FAULTS, stall=STALL)


def run(bucket: s3.S3Bucket, direct: s3.S3Bucket, proxy: Proxy, told: Counter[str]) -> None:
    """Compare the results with the possible ones.

    A corrupted byte of a small body can only be found with a checksum, which rclone does not send (transfers compare the etag's MD5):
    a body may differ in one byte if a byte of this object's response was changed, and otherwise not. The same holds for listings.
    """
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
            if obj.key in corrupted(proxy):
                wrong = [at for at, (got, sent) in enumerate(zip(body, bodies[obj.key], strict=True)) if got != sent]
                assert len(wrong) <= 1
                told["read, a byte corrupted"] += len(wrong)
            else:
                assert body == bodies[obj.key]
            told["read"] += 1
    try:
        listed = [obj.key for obj in bucket.find("n/")]
    except s3.S3Error:
        told["not_listed"] += 1
    else:
        if not any("list-type" in name for name in corrupted(proxy)):
            assert listed == sorted(listed)
            assert set(written.succeeded) <= set(listed) <= set(bodies)
        told["listed"] += 1
    deleted = bucket.delete_objects(written.succeeded, raise_errors=False)
    told.update(deleted=len(deleted.succeeded), not_deleted=len(deleted.failures))
    assert set(deleted.succeeded) | {failure.key for failure in deleted.failures} == set(written.succeeded)
    left = {obj.key for obj in direct.find()}
    if "?delete" not in corrupted(proxy):
        assert not left & set(deleted.succeeded)
    assert left <= set(bodies)


def corrupted(proxy: Proxy) -> set[str]:
    """Return the names of the requests whose responses had a corrupted byte."""
    return {seen.target for seen in [*proxy.seen] if seen.kind == "corrupt"}


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("lane", ["open", "shut"])
def test_faults_on_the_lane_cause_no_wrong_result(lane: str, rclone: Server, rclone_bucket: s3.S3Bucket) -> None:
    """Every result is right or an S3Error; keys reported as deleted are gone."""
    told, befell = Counter[str](), Counter[str]()
    direct = rclone_bucket
    session = boto3.Session(
        rclone.access_key, rclone.secret_key
    )  # keeps the data files that boto3 reads for each client
    with run_proxy(rclone.endpoint_url, plan_of(0)) as proxy:
        for seed in range(FIRST_SEED, FIRST_SEED + SEEDS):
            proxy.restart(plan_of(seed))
            # A separate configuration for each seed, so that no cached facts carry over to the next one.
            store = rclone.connect(
                endpoint_url=proxy.endpoint_url, boto3_session=session, read_timeout=READ_TIMEOUT + seed * 1e-6, connect_timeout=2,
                max_attempts=2 + seed % 3,
            )  # fmt: skip
            if lane == "shut":
                store.client.meta.events.register("before-send.s3", _nothing)
            bucket = store.bucket(direct.name)
            run(bucket, direct, proxy, told)
            befell.update(proxy.counts())
            store.close()
            for obj in direct.find():
                obj.delete()
    befell.pop("none", None)
    print(f"\nlane {lane}: {SEEDS} seeds, {befell.total()} faults of {len(befell)} kinds; {dict(told)}")
    assert told["read"] > SEEDS
    assert told["written"] > SEEDS
