"""Thousands of seeded runs of every conditional write, with responses lost at every step: compare reported with actual outcomes.

    SEEDS=1000 python -m pytest -s tests/attacks/test_conditional_runs.py

``SEEDS`` and ``FIRST_SEED`` come from the environment. Runs against a server that records what it did, and through the proxy in
front of moto, with every kind of fault of the proxy. Prints the outcomes that the writers received, and how often each fault occurred.
"""

from __future__ import annotations

import os
import random
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from support.proxy import KINDS, Proxy, run_proxy, seeded
from support.seeded_runs import WRITES, Run, connected, run_faulty_server, run_seeds, upload_in_parts
from support.servers import Server
from support.stateful_server import StatefulStore

import messageflux_s3 as s3

SEEDS = int(os.environ.get("SEEDS", "100"))
FIRST_SEED = int(os.environ.get("FIRST_SEED", "0"))
WORKERS = 4


@pytest.fixture(scope="module")
def faulty() -> Iterator[tuple[str, StatefulStore]]:
    """A server that honours conditions and drops responses on command."""
    with run_faulty_server() as served:
        yield served


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("run", WRITES, ids=lambda run: run.__name__)
def test_reported_outcomes_match_what_the_server_applied(faulty: tuple[str, StatefulStore], run: Run) -> None:
    """A writer's own object is never reported as a conflict, and a write that was not applied never as a success."""
    bucket = connected(faulty[0])
    before = faulty[1].happened.copy()
    few = run is upload_in_parts
    told = run_seeds(
        run, bucket, faulty[1], range(FIRST_SEED, FIRST_SEED + (SEEDS // 4 if few else SEEDS)), workers=8 if few else 32
    )
    print(
        f"\n{run.__name__}: {told.total()} writers were told {dict(told)}; faults {dict(faulty[1].happened - before)}"
    )
    assert told["done"] > 0


# -- every kind of fault, before a real server ----------------------------------------------------------------------------------------


class Behind:
    """A proxy in front of moto, a bucket through it, and the same bucket without it, to check the actual state."""

    def __init__(self, server: Server, proxy: Proxy, name: str) -> None:
        self.proxy = proxy
        self.truth = server.connect().bucket(name)
        self.bucket = server.connect(
            endpoint_url=proxy.endpoint_url, max_attempts=3, read_timeout=0.5, connect_timeout=2
        ).bucket(name)
        for condition in ({"if_absent": True}, {"if_match": self.truth.put_object("warm", b"0").etag}):
            self.bucket.put_object(
                "warm2" if "if_absent" in condition else "warm", b"1", **condition
            )  # probe without faults
        self.bucket.upload_object("warm3", bytes(6 << 20), part_size_bytes=5 << 20, if_absent=True)
        self.bucket["warm2"].delete(if_match=self.bucket["warm2"].etag)
        self.truth["warm3"].delete()


def told_by(action: Callable[[], Any]) -> str:
    """Return the outcome that the caller received; every error must be an S3Error."""
    try:
        action()
    except s3.S3PreconditionFailed as error:
        return "unknown" if error.outcome_unknown else "refused"
    except s3.S3Error:
        return "failed"
    return "done"


def put(behind: Behind, key: str) -> tuple[str, bool]:
    """Create with put_object, one writer."""
    said = told_by(lambda: behind.bucket.put_object(key, b"ours", {"who": "me"}, if_absent=True))
    found = behind.truth[key]
    return said, found.exists() and found.body == b"ours"


def put_json(behind: Behind, key: str) -> tuple[str, bool]:
    """Replace with put_json, one writer."""
    etag = behind.truth.put_object(key, b"before").etag
    said = told_by(lambda: behind.bucket.put_json(key, 7, if_match=etag))
    return said, behind.truth[key].body == b"7"


def in_parts(behind: Behind, key: str) -> tuple[str, bool]:
    """Create with a multipart upload, one writer."""
    body = b"p" * (5 << 20) + b"q"
    said = told_by(lambda: behind.bucket.upload_object(key, body, part_size_bytes=5 << 20, if_absent=True))
    found = behind.truth[key]
    return said, found.exists() and found.body == body


def a_file(behind: Behind, key: str) -> tuple[str, bool]:
    """Create from a file, one writer."""
    said = told_by(lambda: behind.bucket.upload_file(__file__, key, if_absent=True))
    found = behind.truth[key]
    return said, found.exists() and found.body == Path(__file__).read_bytes()


def update(behind: Behind, key: str) -> tuple[str, bool]:
    """Read, change and write with update(), one writer."""
    behind.truth.put_object(key, b"1")
    said = told_by(lambda: behind.bucket[key].update(lambda body: str(int(body or b"0") + 1)))
    now = behind.truth[key].body
    assert now in (b"1", b"2"), f"{key}: it was applied more than once, or from what was never there: {now!r}"
    return said, now == b"2"


def delete(behind: Behind, key: str) -> tuple[str, bool]:
    """Delete an unchanged object, one writer."""
    etag = behind.truth.put_object(key, b"x").etag
    said = told_by(lambda: behind.bucket[key].delete(if_match=etag))
    return said, not behind.truth[key].exists()


def two_put(behind: Behind, key: str) -> tuple[str, bool]:
    """Two writers create the same key: at most one receives a success."""
    said: dict[bytes, str] = {}

    def write(body: bytes) -> None:
        said[body] = told_by(lambda: behind.bucket.put_object(key, body, if_absent=True))

    threads = [threading.Thread(target=write, args=(body,)) for body in (b"one", b"two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [body for body in said if said[body] == "done"]
    assert len(winners) <= 1, f"{key}: two were told that they created it"
    found = behind.truth[key]
    content = found.body if found.exists() else None
    assert not winners or content == winners[0], f"{key}: {winners} was told a success that is none"
    for body, told in said.items():
        assert (told, content == body) != ("refused", True), f"{key}: {body!r} was told of a conflict with itself"
    return ("two: done" if winners else "two: unknown"), bool(winners)


SCENES: tuple[Callable[[Behind, str], tuple[str, bool]], ...] = (
    put,
    put_json,
    in_parts,
    a_file,
    update,
    delete,
    two_put,
)


@pytest.mark.timeout(1800)
def test_reported_outcomes_are_true_under_every_kind_of_fault(moto: Server) -> None:
    """A single writer never receives a conflict; a success was applied; an error makes no false claim."""
    name = f"t-{uuid.uuid4().hex[:12]}"
    moto.connect().create_bucket(name)
    told: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    idle: SimpleQueue[Behind] = SimpleQueue()

    def one(seed: int) -> tuple[str, Counter[str]]:
        behind = idle.get()
        try:
            scene = SCENES[seed % len(SCENES)]
            behind.proxy.restart(
                seeded(seed, share=random.Random(seed).choice((0.2, 0.5)), kinds=KINDS, seconds=0.02, stall=0.7)
            )
            said, is_done = scene(behind, f"{scene.__name__}/{seed}")
            if not said.startswith("two"):
                assert said != "refused", f"seed {seed}, {scene.__name__}: a conflict without another writer"
                assert said != "done" or is_done, f"seed {seed}, {scene.__name__}: a success that is none"
            return (
                f"{scene.__name__} {said}{' (but it was done)' if said == 'failed' and is_done else ''}",
                behind.proxy.counts(),
            )
        finally:
            idle.put(behind)

    with (
        run_proxy(moto.endpoint_url) as first, run_proxy(moto.endpoint_url) as second,
        run_proxy(moto.endpoint_url) as third, run_proxy(moto.endpoint_url) as fourth,
        ThreadPoolExecutor(WORKERS) as executor,
    ):  # fmt: skip
        for proxy in (first, second, third, fourth):
            idle.put(Behind(moto, proxy, name))
        for said, happened in executor.map(one, range(FIRST_SEED, FIRST_SEED + SEEDS)):
            told[said] += 1
            faults += happened
    print(f"\n{SEEDS} seeds told {dict(sorted(told.items()))}\nfaults {dict(sorted(faults.items()))}")
    assert sum(count for said, count in told.items() if said.endswith("done")) > SEEDS // 4
