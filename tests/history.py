"""Many processes on one lock, killed and stalled at random, and the program that checks what they wrote down.

Every process appends to a file of its own what it did and when, by a clock that all processes of this machine share. ``check`` reads
all of it and returns what contradicts the lock's promises; ``run`` makes such a history.

    python tests/history.py ENDPOINT_URL ACCESS_KEY SECRET_KEY [--seconds 600] [--processes 8] [--ttl 2] [--seed 1]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
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
    """Seconds on a clock that all processes share and that goes on while one of them is stopped."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


# -- one worker -------------------------------------------------------------------------------------------------------------------


def work(url: str, access_key: str, secret_key: str, bucket_name: str, log_path: str, ttl: float, seed: int) -> None:
    """Take the lock, write the counter under its token a few times, give the lock back; for ever, until killed."""
    import messageflux_s3 as s3

    generator = random.Random(seed)
    bucket = s3.connect(url, access_key=access_key, secret_key=secret_key, region="us-east-1", read_timeout=5).bucket(bucket_name)
    with Path(log_path).open("a", buffering=1, encoding="utf-8") as log:

        def note(event: str, at: float, **more: Any) -> None:
            log.write(json.dumps({"event": event, "at": at, "pid": os.getpid(), **more}) + "\n")

        note("started", now())
        while True:
            try:
                lock = bucket.lock(KEY, ttl=ttl, wait=5).__enter__()
            except s3.S3LockError:
                continue
            except s3.S3Error as error:
                note("error", now(), what=repr(error))
                continue
            note("acquired", now(), token=lock.token)
            for _ in range(generator.randint(1, 3)):
                time.sleep(generator.uniform(0, ttl / 4))
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
    """What a history shows.

    Attributes:
        violations: What contradicts the promises; empty is good.
        counts: How often each event took place.
        takeovers: Seconds from the end of a holder that was killed or stalled to the next acquisition.
        tokens: How many different tokens were given out.
    """

    violations: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    takeovers: list[float] = field(default_factory=list)
    tokens: int = 0

    def __str__(self) -> str:
        slowest = f"{max(self.takeovers):.2f} s" if self.takeovers else "none"
        counted = ", ".join(f"{name} {count}" for name, count in sorted(self.counts.items()))
        return f"{len(self.violations)} violations; {self.tokens} tokens; slowest takeover {slowest}; {counted}"


def check(events: list[dict[str, Any]], ttl: float, final_count: int) -> Verdict:
    """Hold a history to the promises.

    Args:
        events: What all processes and the one that disturbed them wrote down.
        ttl: The lease's length in seconds.
        final_count: What the counter says in the end.
    """
    verdict = Verdict(counts=Counter(event["event"] for event in events))
    events = sorted(events, key=lambda event: event["at"])
    acquired = [event for event in events if event["event"] == "acquired"]
    verdict.tokens = len({event["token"] for event in acquired})
    for before, after in pairwise(acquired):
        if after["token"] <= before["token"]:
            verdict.violations.append(f"tokens do not grow: {before['token']} then {after['token']}")
    began = {event["token"]: event["at"] for event in acquired}
    for event in events:
        if event["event"] == "holding":
            later = [token for token, at in began.items() if token > event["token"] and at < event["at"]]
            if later:
                verdict.violations.append(f"two holders: {event['token']} still held after {min(later)} had been given out")
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
            verdict.violations.append(f"{after['n']} was written by {after['token']}, after {before['token']} had written {before['n']}")
    intended = {event["n"] for event in events if event["event"] == "writing"}
    if not len(times) <= final_count <= len(intended):
        verdict.violations.append(f"the counter says {final_count}; {len(times)} writes were confirmed, {len(intended)} tried")


def _check_takeovers(events: list[dict[str, Any]], acquired: list[dict[str, Any]], ttl: float, verdict: Verdict) -> None:
    for event in events:
        if event["event"] not in ("killed", "stopped") or event["token"] is None:
            continue
        following = [entry["at"] for entry in acquired if entry["at"] > event["at"]]
        if not following:
            continue
        seconds = following[0] - event["at"]
        verdict.takeovers.append(seconds)
        if seconds > ttl + 3:
            verdict.violations.append(f"takeover took {seconds:.2f} s with a ttl of {ttl} s")


# -- the disturbed run --------------------------------------------------------------------------------------------------------------


def run(url: str, access_key: str, secret_key: str, *, seconds: float, processes: int = 8, ttl: float = 2.0, seed: int = 1) -> Verdict:
    """Let so many processes fight for a lock for so long, kill and stall holders, and check the history."""
    import messageflux_s3 as s3

    generator = random.Random(seed)
    bucket = s3.connect(url, access_key=access_key, secret_key=secret_key, region="us-east-1").create_bucket(f"h-{uuid.uuid4().hex[:12]}")
    bucket.put_json(COUNTER, {"n": 0, "token": 0})
    disturbances: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        logs: list[Path] = []
        running: dict[int, tuple[subprocess.Popen[bytes], Path]] = {}
        asleep: dict[int, float] = {}

        def start() -> None:
            log = Path(folder, f"{len(logs)}.jsonl")
            logs.append(log)
            own_seed = str(len(logs) + seed * 1000)
            command = [sys.executable, __file__, "--worker", url, access_key, secret_key, bucket.name, str(log), str(ttl), own_seed]
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path[1:2]])}
            process = subprocess.Popen(command, env=environment)
            running[process.pid] = (process, log)

        try:
            for _ in range(processes):
                start()
            end = now() + seconds
            disturb_at = now() + 5
            while now() < end:
                time.sleep(0.02)
                for pid, wake_at in [*asleep.items()]:
                    if now() >= wake_at:
                        os.kill(pid, signal.SIGCONT)
                        del asleep[pid]
                if now() < disturb_at:
                    continue
                holder = _holder(running, asleep)
                if holder is None:
                    continue
                pid, token = holder
                disturb_at = now() + generator.uniform(0.2, ttl)
                # Stopped first, and looked at again: only then is it sure that the holder was the one that was hit.
                os.kill(pid, signal.SIGSTOP)
                at = now()
                still = _last(running[pid][1])
                held = token if still is not None and still["event"] in ("acquired", "holding", "writing", "written") else None
                if generator.random() < 0.5:
                    os.kill(pid, signal.SIGKILL)
                    running.pop(pid)[0].wait()
                    disturbances.append({"event": "killed", "at": at, "token": held})
                    start()
                else:
                    disturbances.append({"event": "stopped", "at": at, "token": held})
                    asleep[pid] = now() + generator.uniform(1.1, 2.0) * ttl
        finally:
            for process, _ in running.values():
                process.kill()
                process.wait()
        events = [json.loads(line) for log in logs if log.exists() for line in log.read_text().splitlines() if line.endswith("}")]
        final = bucket.get_json(COUNTER)["n"]
    bucket.delete_bucket(force=True)
    return check(events + disturbances, ttl, final)


def _last(log: Path) -> dict[str, Any] | None:
    lines = log.read_text().splitlines() if log.exists() else []
    return json.loads(lines[-1]) if lines and lines[-1].endswith("}") else None


def _holder(running: dict[int, tuple[subprocess.Popen[bytes], Path]], asleep: dict[int, float]) -> tuple[int, int] | None:
    for pid, (_, log) in running.items():
        last = _last(log)
        if pid not in asleep and last is not None and last["event"] in ("acquired", "holding", "written"):
            return pid, last["token"]
    return None


if __name__ == "__main__":
    if sys.argv[1] == "--worker":
        work(*sys.argv[2:7], float(sys.argv[7]), int(sys.argv[8]))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("access_key")
    parser.add_argument("secret_key")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--ttl", type=float, default=2)
    parser.add_argument("--seed", type=int, default=1)
    options = vars(parser.parse_args())
    result = run(options.pop("url"), options.pop("access_key"), options.pop("secret_key"), **options)
    print(result)
    print(*result.violations, sep="\n")
    sys.exit(bool(result.violations))
