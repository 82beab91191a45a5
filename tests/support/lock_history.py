"""Many processes that use one lock and are killed and stalled at random, and the checker of their recorded history.

Every process appends its events to its own file, with times of a clock that all processes share. ``check`` reads
all of them and returns the violations of the lock's guarantees; ``run`` makes such a history. See ``tests/long/test_lock_processes.py``.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

KEY = "locks/one"
COUNTER = "counter.json"


def now() -> float:
    """Return seconds of a clock that all processes share and that continues while one of them is stopped."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


# -- one worker -------------------------------------------------------------------------------------------------------------------


def work(
    url: str, access_key: str, secret_key: str, bucket_name: str, log_path: str, ttl: float, hold: float, seed: int
) -> None:
    """Acquire the lock, write the counter under its token a few times, release the lock; repeat until killed."""
    import messageflux_s3 as s3

    generator = random.Random(seed)
    known = s3.Capabilities(put_if_absent="honoured", put_if_match="honoured")  # a new process need not probe again
    config = s3.S3Config(
        url, access_key=access_key, secret_key=secret_key, region="us-east-1", read_timeout=5, capabilities=known
    )
    bucket = s3.S3Store(config).bucket(bucket_name)
    with Path(log_path).open("a", buffering=1, encoding="utf-8") as log:

        def note(event: str, at: float, **more: Any) -> None:
            log.write(json.dumps({"event": event, "at": at, "pid": os.getpid(), **more}) + "\n")

        note("started", now())
        began: float | None = None
        while True:
            began = now() if began is None else began
            try:
                lock = bucket.lock(KEY, ttl=ttl, wait=5).__enter__()
            except s3.S3LockError:
                continue
            except s3.S3Error as error:
                note("error", now(), what=repr(error))
                continue
            asked = now()
            began, waited = None, asked - began
            if lock.lost:  # this process was stopped, and the lease has expired
                note("acquired too late", asked, token=lock.token)
                continue
            note("acquired", asked, token=lock.token, waited=waited)
            for _ in range(generator.randint(1, 4)):
                time.sleep(generator.uniform(0, hold))
                asked = now()
                try:
                    lock.check()
                except s3.S3LockError:
                    note("lost", asked, token=lock.token)
                    break
                note("holding", asked, token=lock.token)
                if not _increment(bucket, lock.token, note):
                    break
            note("releasing", now(), token=lock.token)
            try:
                lock.release()
            except s3.S3Error as error:
                note("error", now(), what=repr(error))


def _increment(bucket: Any, token: int, note: Any) -> bool:
    """The sink that compares tokens: a late write of a former holder is refused."""
    import messageflux_s3 as s3

    try:
        found = bucket.get_object(COUNTER)
        value = found.json()
        if value["token"] > token:
            note("fenced", now(), token=token, by=value["token"])
            return False
        note("writing", now(), token=token, n=value["n"] + 1)
        bucket.put_json(COUNTER, {"n": value["n"] + 1, "token": token}, if_match=found.etag)
    except s3.S3PreconditionFailed as error:
        note("refused", now(), token=token, unknown=error.outcome_unknown)
        return False
    except s3.S3Error as error:
        note("error", now(), what=repr(error))
        return False
    note("written", now(), token=token, n=value["n"] + 1)
    return True


# -- the checker --------------------------------------------------------------------------------------------------------------------


@dataclass
class Verdict:
    """The result of checking a history.

    Attributes:
        violations: The violations of the lock's guarantees.
        counts: How often each event took place.
        takeovers: Seconds from the end of a holder that was killed or stalled to the next acquisition.
        stalled: Total seconds for which the machine did not schedule a thread that was ready to run.
        tokens: How many different tokens were given out.
        waits: Seconds for which each holder has waited.
    """

    violations: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    takeovers: list[float] = field(default_factory=list)
    stalled: float = 0.0
    tokens: int = 0
    waits: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        waits = sorted(self.waits) or [0.0]
        waited = ", ".join(f"{waits[int((len(waits) - 1) * part)]:.2f}" for part in (0.5, 0.95, 1))
        times = sorted(self.takeovers)
        took = f"median {times[len(times) // 2]:.2f} s, slowest {times[-1]:.2f} s" if times else "none"
        counted = ", ".join(f"{name} {count}" for name, count in sorted(self.counts.items()))
        return (
            f"{len(self.violations)} violations; {self.tokens} tokens; {len(times)} takeovers: {took}; "
            f"waits (median, p95, longest): {waited} s; "
            f"machine stalled {self.stalled:.1f} s; {counted}"
        )


def check(events: list[dict[str, Any]], ttl: float, final_count: int) -> Verdict:
    """Check a history against the lock's guarantees.

    Args:
        events: The events recorded by all processes and by the one that killed and stalled them.
        ttl: The lease's length in seconds.
        final_count: The counter's value at the end.
    """
    verdict = Verdict(counts=Counter(event["event"] for event in events))
    events = sorted(events, key=lambda event: event["at"])
    acquired = [event for event in events if event["event"] == "acquired"]
    verdict.tokens = len({event["token"] for event in acquired})
    verdict.waits = [event["waited"] for event in acquired if "waited" in event]
    for before, after in pairwise(acquired):
        if after["token"] <= before["token"]:
            verdict.violations.append(f"tokens do not grow: {before['token']} then {after['token']}")
    began = {event["token"]: event["at"] for event in acquired}
    for event in events:
        if event["event"] == "holding":
            later = [token for token, at in began.items() if token > event["token"] and at < event["at"]]
            if later:
                verdict.violations.append(
                    f"two holders: {event['token']} still held after {min(later)} had been given out"
                )
    _check_counter(events, final_count, verdict)
    _check_takeovers(events, acquired, ttl, verdict)
    return verdict


def _check_counter(events: list[dict[str, Any]], final_count: int, verdict: Verdict) -> None:
    written = [event for event in events if event["event"] == "written"]
    times = Counter(event["n"] for event in written)
    verdict.violations += [f"lost update: {n} was written {count} times" for n, count in times.items() if count > 1]
    by_number = sorted(written, key=lambda event: int(event["n"]))
    for before, after in pairwise(by_number):
        if after["token"] < before["token"]:
            verdict.violations.append(
                f"{after['n']} was written by {after['token']}, after {before['token']} had written {before['n']}"
            )
    intended = {event["n"] for event in events if event["event"] == "writing"}
    if not len(times) <= final_count <= len(intended):
        verdict.violations.append(
            f"the counter says {final_count}; {len(times)} writes were confirmed, {len(intended)} tried"
        )


def _check_takeovers(
    events: list[dict[str, Any]], acquired: list[dict[str, Any]], ttl: float, verdict: Verdict
) -> None:
    stalls = [event for event in events if event["event"] == "machine stalled"]
    verdict.stalled = sum(event["seconds"] for event in stalls)
    hit: dict[float, dict[str, Any]] = {}
    for event in events:
        if event["event"] in ("killed", "stopped"):
            following = next((entry["at"] for entry in acquired if entry["at"] > event["at"]), None)
            if following is not None:
                # A process hit after the holder and before the next holder may just have acquired the lock: count from then.
                hit[following] = event | {"token": event["token"] or hit.get(following, event)["token"]}
    for following, event in hit.items():
        if event["token"] is None:
            continue  # it did not hold the lock
        seconds = following - event["at"]
        verdict.takeovers.append(seconds)
        # Subtract the measured time for which the machine ran no process.
        stalled = sum(stall["seconds"] for stall in stalls if event["at"] < stall["at"] < following + stall["seconds"])
        if seconds > ttl + 3 + stalled:
            verdict.violations.append(
                f"takeover took {seconds:.2f} s with a ttl of {ttl} s ({stalled:.2f} s of them stalled)"
            )


# -- the disturbed run --------------------------------------------------------------------------------------------------------------


def run(
    url: str,
    access_key: str,
    secret_key: str,
    *,
    seconds: float,
    processes: int = 8,
    ttl: float = 2.0,
    hold: float | None = None,
    seed: int = 1,
) -> Verdict:
    """Let several processes compete for a lock, kill and stall holders and others, and check the history.

    A holder makes one to four steps of at most ``hold`` seconds each, by default a tenth of the ttl.
    """
    import messageflux_s3 as s3

    bucket = s3.connect(url, access_key=access_key, secret_key=secret_key, region="us-east-1").create_bucket(
        f"h-{uuid.uuid4().hex[:12]}"
    )
    bucket.put_json(COUNTER, {"n": 0, "token": 0})
    bucket.lock(KEY, ttl=30).release()  # runs the probe, so that the processes need not
    with (
        tempfile.TemporaryDirectory() as folder,
        _Workers(Path(folder), [url, access_key, secret_key, bucket.name], ttl, hold, seed) as workers,
    ):
        for _ in range(processes):
            workers.start()
        workers.disturb(now() + seconds)
        workers.end()
        events = [
            json.loads(line)
            for log in workers.logs
            if log.exists()
            for line in log.read_text().splitlines()
            if line.endswith("}")
        ]
        final = bucket.get_json(COUNTER)["n"]
    bucket.delete_bucket(force=True)
    return check(events + workers.done, ttl, final)


class _Workers:
    """The processes, the kills and stalls, and a monitor of the machine's own pauses."""

    def __init__(self, folder: Path, arguments: list[str], ttl: float, hold: float | None, seed: int) -> None:
        self._folder = folder
        self._hold = ttl / 10 if hold is None else hold
        self._arguments = arguments
        self._ttl = ttl
        self._seed = seed
        self._generator = random.Random(seed)
        self._running: dict[int, tuple[subprocess.Popen[bytes], Path]] = {}
        self._asleep: dict[int, float] = {}
        self._over = threading.Event()
        self.logs: list[Path] = []
        self.done: list[dict[str, Any]] = []

    def __enter__(self) -> _Workers:
        threading.Thread(target=self._watch_machine, daemon=True).start()
        return self

    def __exit__(self, *raised: object) -> None:
        self.end()

    def end(self) -> None:
        self._over.set()
        for process, _ in self._running.values():
            process.kill()
            process.wait()
        self._running.clear()

    def start(self) -> None:
        log = self._folder / f"{len(self.logs)}.jsonl"
        self.logs.append(log)
        own_seed = str(len(self.logs) + self._seed * 1000)
        command = [
            sys.executable,
            __file__,
            "--worker",
            *self._arguments,
            str(log),
            str(self._ttl),
            str(self._hold),
            own_seed,
        ]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path[1:2]])}
        process = subprocess.Popen(command, env=environment)
        self._running[process.pid] = (process, log)

    def disturb(self, end: float) -> None:
        """Kill and stop processes until the end: mostly the holder, sometimes another one."""
        at = now() + 5
        while now() < end:
            time.sleep(0.02)
            for pid, wake_at in [*self._asleep.items()]:
                if now() >= wake_at:
                    os.kill(pid, signal.SIGCONT)
                    del self._asleep[pid]
            if now() < at:
                continue
            awake = [pid for pid in self._running if pid not in self._asleep]
            pid = (
                self._holder() if self._generator.random() < 0.75 else self._generator.choice(awake) if awake else None
            )
            if pid is not None:
                self._hit(pid)
                at = now() + self._generator.uniform(0.3, 3) * self._ttl

    def _hit(self, pid: int) -> None:
        # Stop first, then read the state: only then is it certain which state was hit.
        os.kill(pid, signal.SIGSTOP)
        at, last = now(), _last(self._running[pid][1])
        held = (
            last["token"]
            if last is not None and last["event"] in ("acquired", "holding", "writing", "written")
            else None
        )
        if self._generator.random() < 0.5:
            os.kill(pid, signal.SIGKILL)
            self._running.pop(pid)[0].wait()
            self.done.append({"event": "killed", "at": at, "token": held})
            self.start()
        else:
            self.done.append({"event": "stopped", "at": at, "token": held})
            self._asleep[pid] = now() + self._generator.uniform(1.1, 2.0) * self._ttl

    def _holder(self) -> int | None:
        for pid, (_, log) in self._running.items():
            last = _last(log)
            if pid not in self._asleep and last is not None and last["event"] in ("acquired", "holding", "written"):
                return pid
        return None

    def _watch_machine(self) -> None:
        before = now()
        while not self._over.wait(0.05):
            late = now() - before - 0.05
            if late > 0.2:
                self.done.append({"event": "machine stalled", "at": now(), "seconds": late})
            before = now()


def _last(log: Path) -> dict[str, Any] | None:
    lines = log.read_text().splitlines() if log.exists() else []
    return json.loads(lines[-1]) if lines and lines[-1].endswith("}") else None


if __name__ == "__main__":
    assert sys.argv[1] == "--worker"
    work(*sys.argv[2:7], float(sys.argv[7]), float(sys.argv[8]), int(sys.argv[9]))
