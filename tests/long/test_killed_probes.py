"""Probes and other experiments killed or interrupted at every request: nothing is left, at once or after the next one.

    MFS3_STEP=1 python -m pytest -s tests/long/test_killed_probes.py

``MFS3_STEP`` is the distance between two requests that are tried.
"""

from __future__ import annotations

import os
from datetime import timedelta

import pytest
from support import interrupted_probes
from support.interrupted_probes import scratch_of
from support.servers import Server

import messageflux_s3 as s3
from messageflux_s3._objects import leftovers

STEP = int(os.environ.get("MFS3_STEP", "61"))
"""A process is killed at each request whose number is a multiple of it, and at the first one."""


@pytest.mark.timeout(36_000)
@pytest.mark.parametrize("work", interrupted_probes.WORK)
@pytest.mark.parametrize("versioned", [False, True], ids=["plain", "versioned"])
@pytest.mark.parametrize(
    ("sent", "moment"), [("SIGKILL", "before"), ("SIGINT", "before"), ("SIGINT", "after"), ("SIGTERM", "before")]
)
def test_nothing_is_left(
    server: Server,
    bucket: s3.S3Bucket,
    work: str,
    versioned: bool,
    sent: str,
    moment: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After SIGKILL when the next experiment has ended, after other signals at once."""
    if versioned and server.name == "rclone":
        pytest.skip("rclone keeps no versions")
    if versioned:
        server.client().put_bucket_versioning(Bucket=bucket.name, VersioningConfiguration={"Status": "Enabled"})
    print(interrupted_probes.run(server, bucket.name, work, sent, moment, STEP), "processes")
    if sent == "SIGKILL":
        if STEP < 10:  # otherwise the few processes may be killed where nothing is written yet
            assert scratch_of(server, bucket.name) != []
        monkeypatch.setattr(leftovers, "LEFT_AFTER", timedelta(days=-1))
        store = server.connect(read_timeout=59)
        store._connection.facts.clear()  # a test before may have made the same experiment
        interrupted_probes.WORK[work](store.bucket(bucket.name))
    assert scratch_of(server, bucket.name) == []
