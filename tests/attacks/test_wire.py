"""Every public call behind the fault proxy, with every kind of fault, the fast lane open and shut.

    python -m pytest -s tests/attacks/test_wire.py                               # half a minute for each of the two servers
    SLICE=1 SEEDS=20 SECONDS=7200 python -m pytest -s tests/attacks/test_wire.py  # each kind at request 1, 2, 3 of each call, and at all

``SLICE=n`` makes every n-th of the systematic runs; ``SEEDS`` is the number of seeded mixtures for each call, ``FIRST_SEED``
the first seed; ``ONLY`` and ``KIND`` select calls and faults by a part of their names; after ``SECONDS`` no
further run starts. The order is shuffled, so that the runs made are a sample of all.

The expected result is that of the same call without faults. Under faults a call returns that result and leaves that state; or it raises
an S3Error that claims nothing false, and every object, file and setting has its old or its new state, complete. Both must happen in time,
and afterwards the same call succeeds on the same store.
"""

from __future__ import annotations

import os
import queue
import random
import socket
import sys
import threading
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from support.proxy import CORRUPT_REQUEST, KINDS, Fault, Plan, Proxy, no_faults, run_proxy, seeded
from support.public_calls import ComparedCall, ComparedPlace, compared_calls
from support.servers import Server

import messageflux_s3 as s3

SEEDS = int(os.environ.get("SEEDS", "1"))
FIRST_SEED = int(os.environ.get("FIRST_SEED", "0"))
SLICE = int(os.environ.get("SLICE", "5"))
ONLY = os.environ.get("ONLY", "")
KINDS_HERE = [kind for kind in (*KINDS, CORRUPT_REQUEST) if os.environ.get("KIND", "") in kind]
SECONDS = float(os.environ.get("SECONDS", "30"))
WORKERS = int(os.environ.get("WORKERS", "8"))
SEEDED = [kind for kind in KINDS_HERE if kind != CORRUPT_REQUEST] or KINDS
READ_TIMEOUT = 1.0
STALL = 1.3
BOUND = 180.0
"""The time limit of a call in seconds: far more than its attempts and time-outs, also on a busy machine."""

UNTRUE = (
    s3.S3NoSuchItem, s3.S3NoSuchBucket, s3.S3ObjectExists, s3.S3BucketExists, s3.S3BucketNotEmpty, s3.S3InvalidName, s3.S3ObjectChanged,
    s3.S3AccessDenied, s3.S3LockError,
)  # fmt: skip
"""Errors that would be false claims: no call here raises any of them without faults."""


@dataclass
class Good:
    """The result and the final state of a call without faults."""

    value: Any
    before: dict[str, Any]
    after: dict[str, Any]
    requests: int


@dataclass
class Told:
    """The outcomes of the runs."""

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    unnoticed: Counter[str] = field(default_factory=Counter)
    calls: set[str] = field(default_factory=set)
    findings: list[str] = field(default_factory=list)
    slowest: tuple[float, str] = (0.0, "")
    lock: Any = field(default_factory=threading.Lock)


def at_request(number: int, fault: Fault) -> Plan:
    """Return a plan with this fault at the n-th request, from 1, or at every request (0). Only bodies of PUT are corrupted."""
    count = 0

    def plan(method: str, name: str, about: int) -> Fault | None:
        nonlocal count
        if fault.kind == CORRUPT_REQUEST and method != "PUT":
            return None
        count += 1
        return fault if number in (0, count) else None

    return plan


def fault_of(kind: str, at: float = 0.5) -> Fault:
    """Return a fault with the duration that these runs use."""
    return Fault(kind, at, STALL if kind.startswith("stall") else 0.05)


def matches(got: Any, want: Any) -> bool:
    """Return whether the result is right; an error in place of one of many results is allowed."""
    if isinstance(got, s3.S3Error):
        return not isinstance(got, UNTRUE)
    if isinstance(want, s3.Capabilities):  # None: unknown
        return all(getattr(got, each.name) in (None, getattr(want, each.name)) for each in fields(want) if each.compare)
    if isinstance(want, dict):
        return isinstance(got, dict) and got.keys() == want.keys() and all(matches(got[key], want[key]) for key in want)
    if isinstance(want, list):
        return isinstance(got, list) and len(got) == len(want) and all(map(matches, got, want))
    return bool(got == want) or (is_dataclass(want) and got == want)


def _nothing(**_: Any) -> None:
    """A handler of the user's, which shuts the lane."""


class Runner:
    """One test environment behind one proxy. Several runners share the runs."""

    def __init__(self, server: Server, proxy: Proxy, folder: Path) -> None:
        self.proxy = proxy
        self.place = ComparedPlace(server, server.client(), folder, server.connect())
        self.is_fresh = False
        # One session: loading boto3's data files for each new client would take most of the time of a run.
        self.session = boto3.Session(server.access_key, server.secret_key, region_name="us-east-1")
        self.stores = 0

    def ready(self, row: ComparedCall, *, lane: str, patience: float = READ_TIMEOUT) -> None:
        """Reset the buckets and the folder, and open a store without cached facts."""
        place = self.place
        if not self.is_fresh or row.prepare is not None:
            place.renew()
        else:
            place.renew_folder()
        self.is_fresh = row.prepare is None and row.warm is None  # both write
        place.state.clear()
        self.proxy.restart(no_faults)
        self.wait_for_the_port()
        self.stores += 1
        timeout = patience + self.stores * 1e-6  # another configuration has another connection, without cached facts
        place.store = place.server.connect(
            endpoint_url=self.proxy.endpoint_url,
            boto3_session=self.session,
            read_timeout=timeout,
            connect_timeout=2,
            max_attempts=2,
        )
        if lane == "shut":
            place.store.client.meta.events.register("before-send.s3", _nothing)
        assert place.obj.exists()
        if row.warm is not None:
            row.warm(place)
        if row.prepare is not None:
            row.prepare(place)

    def wait_for_the_port(self) -> None:
        """Wait until the proxy accepts connections again after the last run's fault."""
        host, _, port = self.proxy.endpoint_url.removeprefix("http://").partition(":")
        until = time.monotonic() + 30
        while True:
            try:
                socket.create_connection((host, int(port)), timeout=5).close()
                return
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.01)

    def quiet(self) -> None:
        """Wait for requests that the client has given up but that may still reach the server."""
        until = time.monotonic() + 2
        while len(self.proxy.seen) < sum(self.proxy._numbers.values()) and time.monotonic() < until:
            time.sleep(0.01)

    def call(self, row: ComparedCall) -> tuple[Any, float]:
        """Make the call on a thread that may be abandoned; return its result or exception, and its duration."""
        given: queue.SimpleQueue[Any] = queue.SimpleQueue()

        def work() -> None:
            try:
                given.put((True, row.run(self.place)))
            except BaseException as error:
                given.put((False, error))

        began = time.monotonic()
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            fine, value = given.get(timeout=BOUND)
        except queue.Empty:
            stack = "".join(traceback.format_stack(sys._current_frames()[thread.ident or 0]))
            return Hung(stack), time.monotonic() - began
        return (value if fine else Raised(value)), time.monotonic() - began

    def good(self, row: ComparedCall) -> Good:
        """Make the call without faults."""
        self.ready(row, lane="open", patience=BOUND / 2)
        before = self.place.snapshot(settings=row.settings)
        self.proxy.restart(no_faults)
        value, _ = self.call(row)
        assert not isinstance(value, (Raised, Hung)), f"{row.name}: {value}"
        self.quiet()
        self.is_fresh = False
        return Good(value, before, self.place.snapshot(settings=row.settings), len(self.proxy.seen))


@dataclass
class Raised:
    """An exception that a call raised."""

    error: BaseException


@dataclass
class Hung:
    """The stack of a call that exceeded its time limit."""

    stack: str


def units_wrong(row: ComparedCall, found: dict[str, Any], good: Good, *, must_be_new: bool) -> list[str]:
    """Return the units that have neither their old nor their new state."""
    wrong = []
    for unit in found.keys() | good.before.keys() | good.after.keys():
        now, old, new = (state.get(unit, "nothing") for state in (found, good.before, good.after))
        if now == new or (now == old and not must_be_new) or unit.startswith(row.leaves):
            continue
        wrong.append(f"{unit}: {now}, but was {old} and should become {new}")
    return wrong


def judge(
    row: ComparedCall, value: Any, found: dict[str, Any], good: Good, kinds: set[str]
) -> tuple[str, list[str], bool]:
    """Return the outcome in a word, what is wrong with it, and whether a corrupted byte was not detected."""
    if isinstance(value, Hung):
        return "hung", [f"it hung: {value.stack}"], False
    blind = "corrupt" in kinds and not row.verified
    between = CORRUPT_REQUEST in kinds or row.by_steps
    if not isinstance(value, Raised):
        right = matches(value, good.value) or value in row.also
        wrong = [] if right else [f"it gave {str(value)[:300]}, not {str(good.value)[:300]}"]
        wrong += units_wrong(row, found, good, must_be_new=value not in row.also)
        return "done", [] if blind else wrong, bool(blind and wrong)
    error = value.error
    if blind and isinstance(error, ValueError):
        return "failed: ValueError", [], False  # the corrupted JSON is invalid
    if not isinstance(error, s3.S3Error):
        last = "".join(traceback.format_exception(error)[-12:])
        return "astray", [f"it raised {type(error).__name__}, which is not of the tree: {last}"], False
    if blind:
        return "failed", [], False
    wrong = [] if between else units_wrong(row, found, good, must_be_new=False)
    untrue = tuple(
        cls for cls in UNTRUE if not (cls is s3.S3AccessDenied and "skewed_before" in kinds)
    )  # the 403 of a HEAD has no error code
    said = [failure.error for failure in error.failures] if isinstance(error, s3.S3BatchError) else [error]
    wrong += [f"it said {one!r}, which is not so" for one in said if isinstance(one, untrue) and "corrupt" not in kinds]
    wrong += [
        f"it said {one!r} without another client"
        for one in said if isinstance(one, s3.S3PreconditionFailed) and not one.outcome_unknown and "corrupt" not in kinds
    ]  # fmt: skip
    if isinstance(error, s3.S3BatchError):
        for key in error.succeeded:
            unit = next((unit for unit in good.before.keys() | good.after.keys() if unit.endswith(f"/{key}")), "")
            if found.get(unit) != good.after.get(unit):
                wrong.append(f"{key} is said to have succeeded, and has not")
    return f"failed: {type(error).__name__}", wrong, False


@dataclass(frozen=True)
class Run:
    """One call under one plan. ``where``: the number of the request with the fault, 0 for every request; None for a seeded mixture."""

    row: ComparedCall
    name: str
    lane: str
    where: int | None
    plan: Plan


def runs_of(row: ComparedCall) -> Iterator[Run]:
    """Return the runs for this call."""
    number = sum(map(ord, row.name))  # calls begin with different kinds
    for kind in KINDS_HERE:
        for where in (1, 2, 3, 0):
            for lane in ("open", "shut"):
                number += 1
                if number % SLICE == 0 and not row.is_long:
                    at = (number % 7) / 7
                    name = f"{kind} at {where or 'every'}, at={at:.2f}"
                    yield Run(row, name, lane, where, at_request(where, fault_of(kind, at)))
    for seed in range(FIRST_SEED, FIRST_SEED + SEEDS):
        share = (0.05, 0.2, 0.4)[seed % 3] if not row.is_long else 0.02
        if seed % 10 == 0 or not row.is_long:
            yield Run(
                row,
                f"seed {seed}",
                ("open", "shut")[seed % 2],
                None,
                seeded(seed, share=share, kinds=SEEDED, stall=STALL),
            )


class Goods:
    """The results of each call without faults, determined once."""

    def __init__(self) -> None:
        self._found: dict[str, Good] = {}
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def of(self, row: ComparedCall, runner: Runner) -> Good:
        with self._locks[row.name]:
            if row.name not in self._found:
                self._found[row.name] = runner.good(row)
            return self._found[row.name]


def make(run: Run, runner: Runner, good: Good, told: Told) -> None:
    """Make one run and return its outcome."""
    row = run.row
    for patience in (READ_TIMEOUT, READ_TIMEOUT, READ_TIMEOUT, BOUND / 2):
        with suppress(s3.S3ConnectionError):  # a busy machine, before the call was made
            runner.ready(row, lane=run.lane, patience=patience)
            break
    runner.proxy.restart(run.plan)
    value, seconds = runner.call(row)
    runner.quiet()
    counts = runner.proxy.counts()
    is_read = all(seen.method in ("GET", "HEAD") for seen in [*runner.proxy.seen])
    runner.proxy.restart(no_faults)
    found = runner.place.snapshot(settings=row.settings)
    runner.is_fresh = (
        runner.is_fresh and is_read and found == good.before
    )  # rclone may keep the folder of a deleted object
    kinds = counts.keys() - {"none"}
    outcome, wrong, unnoticed = judge(row, value, found, good, set(kinds))
    # A probe whose every byte was corrupted rightly reports that the store cannot be relied on.
    if run.where == 0 and outcome != "hung" and not kinds & {CORRUPT_REQUEST, "corrupt"}:
        wrong += after_the_storm(runner, row, good)
    runner.place.store.close()
    with told.lock:
        told.outcomes[outcome] += 1
        told.faults.update({kind: counts[kind] for kind in kinds})
        told.calls.add(row.name)
        told.slowest = max(told.slowest, (seconds, f"{row.name}, {run.name}, lane {run.lane}"))
        if unnoticed:
            told.unnoticed[row.name] += 1
        if wrong:
            told.findings.append(f"{row.name}, {run.name}, lane {run.lane}: {outcome}: " + "; ".join(wrong))
            print(f"== {told.findings[-1]}", flush=True)


def after_the_storm(runner: Runner, row: ComparedCall, good: Good) -> list[str]:
    """After the faults the same store works: no wrong fact was cached."""
    place = runner.place
    for _ in range(5):
        place.renew()
        place.state.clear()
        if row.prepare is not None:
            row.prepare(place)
        runner.wait_for_the_port()
        runner.is_fresh = False
        try:
            if row.warm is not None:
                row.warm(place)
        except s3.S3ConnectionError:
            continue
        value, _ = runner.call(row)
        # On a busy machine a response may take longer than the read timeout without any fault.
        error = value.error if isinstance(value, Raised) else None
        met = [failure.error for failure in error.failures] if isinstance(error, s3.S3BatchError) else [error]
        if not all(isinstance(one, s3.S3ConnectionError) for one in met):
            break
    else:
        return ["afterwards, in good weather, there was no connection in five attempts"]
    runner.quiet()
    if isinstance(value, Raised):
        return [f"afterwards, in good weather, it raised {value.error!r}"]
    if isinstance(value, Hung):
        return [f"afterwards, in good weather, it hung: {value.stack}"]
    found = place.snapshot(settings=row.settings)
    wrong = units_wrong(row, found, good, must_be_new=value not in row.also)
    right = matches(value, good.value) or value in row.also
    return [f"afterwards, in good weather: {what}" for what in ([] if right else [f"it gave {value}"]) + wrong]


@pytest.mark.timeout(14_400)
@pytest.mark.parametrize("name", ["moto", "rclone"])
def test_every_public_call_succeeds_or_fails_correctly_under_every_fault(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Each call returns the right result or raises a true S3Error, leaves the old or the new state, and ends in time."""
    server: Server = request.getfixturevalue(name)
    told, goods, over = Told(), Goods(), time.monotonic() + SECONDS
    runs = [run for row in compared_calls() if row.server == name and ONLY in row.name for run in runs_of(row)]
    random.Random(FIRST_SEED).shuffle(runs)
    waiting: queue.SimpleQueue[Run] = queue.SimpleQueue()
    for run in runs:
        waiting.put(run)

    def work(worker: int) -> None:
        with run_proxy(server.endpoint_url) as proxy, suppress(queue.Empty):
            runner = Runner(server, proxy, tmp_path / str(worker))
            while time.monotonic() < over:
                run = waiting.get_nowait()
                good = goods.of(run.row, runner)
                if run.where is None or run.where <= good.requests:
                    make(run, runner, good, told)
        runner.place.clear()

    with ThreadPoolExecutor(WORKERS) as executor:
        [*executor.map(work, range(WORKERS))]
    print(
        f"\n{name}: {told.outcomes.total()} runs of {len(told.calls)} calls, {told.faults.total()} faults of {len(told.faults)} kinds"
    )
    print(f"faults {dict(sorted(told.faults.items()))}")
    print(f"told {dict(sorted(told.outcomes.items()))}; slowest {told.slowest[0]:.1f} s: {told.slowest[1]}")
    print(
        f"a corrupted byte went unnoticed (nothing to compare it with): {dict(told.unnoticed)}; not made {waiting.qsize()}"
    )
    assert not told.findings, "\n".join(told.findings)
    assert told.outcomes["done"] > 0
