"""Seeded runs of conditional writes and locks on a server that drops responses: compare reported with actual outcomes.

Each run takes a bucket on such a server (:func:`run_faulty_server`), the server's state, and a seed; it returns the outcomes that
the writers received. The normal tests make a few of each, ``tests/attacks/`` thousands.
"""

from __future__ import annotations

import io
import json
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.stateful_server import FAULTS, StatefulStore, run_stateful_server

import messageflux_s3 as s3
from messageflux_s3 import S3Bucket

Run = Callable[[S3Bucket, StatefulStore, int], "list[str]"]
PART = 5 * 1024 * 1024


@contextmanager
def run_faulty_server(conditions: str = "honoured") -> Iterator[tuple[str, StatefulStore]]:
    """Run a stateful server whose clock runs; yield its address and its state."""
    with run_stateful_server(conditions=conditions, clock_offset=0.0, keeps_requests=False) as server:
        yield server.endpoint_url, server.state


def connected(url: str, *, max_attempts: int = 3) -> S3Bucket:
    """Return a bucket on the faulty server, with short waits."""
    store = s3.connect(
        url,
        access_key="a-key",
        secret_key="a-secret",
        region="us-east-1",
        max_attempts=max_attempts,
        max_concurrency=64,
        read_timeout=5,
    )
    return store.bucket("faults")


def outcome(action: Callable[[], Any]) -> str:
    """The outcome that a writer received: done, refused or unknown."""
    try:
        action()
    except s3.S3PreconditionFailed as error:
        return "unknown" if error.outcome_unknown else "refused"
    except (s3.S3ConnectionError, s3.S3ServerError, s3.S3Throttled):
        return "unknown"
    return "done"


def run_seeds(
    run: Run, bucket: S3Bucket, state: StatefulStore, seeds: Iterable[int], workers: int = 32
) -> Counter[str]:
    """Run several writers in parallel, since they mostly wait."""
    told: Counter[str] = Counter()
    with ThreadPoolExecutor(workers) as executor:
        for outcomes in executor.map(lambda seed: run(bucket, state, seed), seeds):
            told.update(outcomes)
    return told


def script(generator: random.Random, length: int = 6) -> deque[str | None]:
    """Draw faults for the first requests to a key. Conflict responses (409) are fewer than a writer's attempts."""
    faults = [generator.choice((None, *FAULTS)) if generator.random() < 0.6 else None for _ in range(length)]
    met = [number for number, fault in enumerate(faults) if fault == "409"]
    return deque(None if number in met[2:] else fault for number, fault in enumerate(faults))


def _at_once(actions: dict[bytes, Callable[[], Any]]) -> dict[bytes, str]:
    """Return the outcomes in a word each."""
    with ThreadPoolExecutor(len(actions)) as executor:
        return dict(zip(actions, executor.map(outcome, actions.values()), strict=True))


def _hold_to_the_truth(told: dict[bytes, str], applied: list[bytes], seed: int) -> list[str]:
    assert len(applied) <= 1, f"seed {seed}: done twice: {applied}"
    for name, said in told.items():
        assert (said, name in applied) not in (("done", False), ("refused", True)), (
            f"seed {seed}: {name!r} was told {said}; {applied}"
        )
    if len(told) == 1:
        assert "refused" not in told.values(), f"seed {seed}: refused without another client"
    return [*told.values()]


def create_once(bucket: S3Bucket, state: StatefulStore, seed: int) -> list[str]:
    """One writer or two create the same key."""
    generator = random.Random(seed)
    key = f"create/{seed}-{time.monotonic_ns()}"
    state.faults[key] = script(generator)
    bodies = [b'"one"', b'"two"'][: generator.choice((1, 2))]

    def writer(body: bytes) -> Callable[[], Any]:
        how = generator.choice(("put_object", "put_json", "upload_object"))
        if how == "put_json":
            return lambda: bucket.put_json(key, json.loads(body), if_absent=True)
        if how == "upload_object":
            return lambda: bucket.upload_object(key, io.BytesIO(body), if_absent=True)
        return lambda: bucket.put_object(key, body, {"who": "me"}, if_absent=True)

    told = _at_once({body: writer(body) for body in bodies})
    return _hold_to_the_truth(told, state.applied[key], seed)


def replace_if_unchanged(bucket: S3Bucket, state: StatefulStore, seed: int) -> list[str]:
    """Two writers replace the same version of an object; at most one succeeds."""
    key = f"replace/{seed}-{time.monotonic_ns()}"
    etag = bucket.put_object(key, b"before").etag
    state.applied[key].clear()
    state.faults[key] = script(random.Random(seed))
    told = _at_once({body: lambda body=body: bucket.put_object(key, body, if_match=etag) for body in (b"one", b"two")})  # type: ignore[misc]
    return _hold_to_the_truth(told, state.applied[key], seed)


def append_each_once(bucket: S3Bucket, state: StatefulStore, seed: int) -> list[str]:
    """Three writers append their names by update(), two times each."""
    generator = random.Random(seed)
    key = f"update/{seed}-{time.monotonic_ns()}"
    if generator.random() < 0.5:
        bucket.put_object(key, b"base;")
    state.faults[key] = script(generator, 10)
    told: dict[bytes, str] = {}

    def write(writer: int) -> None:
        for turn in range(2):
            name = f"{writer}.{turn}".encode()
            told[name] = outcome(lambda name=name: bucket[key].update(lambda body: (body or b"") + name + b";"))  # type: ignore[misc]

    with ThreadPoolExecutor(3) as executor:
        list(executor.map(write, range(3)))
    final = state.objects[key].body if key in state.objects else b""
    times = Counter(final.split(b";"))
    for name, said in told.items():
        assert times[name] <= 1, f"seed {seed}: {name!r} was applied {times[name]} times: {final!r}"
        assert said != "done" or times[name] == 1, f"seed {seed}: {name!r} was told that it was done: {final!r}"
        assert said != "refused" or times[name] == 0, f"seed {seed}: {name!r} was told that it was refused: {final!r}"
    return [*told.values()]


_BODIES = {name: name * (PART + 1) for name in (b"a", b"b")}


def upload_in_parts(bucket: S3Bucket, state: StatefulStore, seed: int) -> list[str]:
    """One or two writers upload a file or stream in parts with a condition; any response may be lost, above all that of the completion."""
    generator = random.Random(seed)
    key = f"parts/{seed}-{time.monotonic_ns()}"
    etag = bucket.put_object(key, b"before").etag if generator.random() < 0.5 else None
    state.applied[key].clear()
    names = [b"a", b"b"][: generator.choice((1, 1, 2))]
    # Create, two parts, complete: with one writer the faults begin at the completion.
    before: list[str | None] = [None] * 3 if generator.random() < 0.7 else []
    state.faults[key] = deque([*before, *script(generator)])

    def writer(name: bytes) -> Callable[[], Any]:
        return lambda: bucket.upload_object(
            key, io.BytesIO(_BODIES[name]), part_size_bytes=PART, if_absent=etag is None, if_match=etag
        )

    told = _at_once({name: writer(name) for name in names})
    return _hold_to_the_truth(told, [body[:1] for body in state.applied[key]], seed)


def upload_a_file(bucket: S3Bucket, state: StatefulStore, seed: int) -> list[str]:
    """One writer uploads a small file: without other writers nothing is refused."""
    key = f"file/{seed}-{time.monotonic_ns()}"
    state.faults[key] = script(random.Random(seed))
    told = _at_once({Path(__file__).read_bytes(): lambda: bucket.upload_file(__file__, key, if_absent=True)})
    return _hold_to_the_truth(told, state.applied[key], seed)


def copy_once(bucket: S3Bucket, state: StatefulStore, seed: int) -> list[str]:
    """Two writers copy different objects to the same key, if absent or unchanged."""
    generator = random.Random(seed)
    key = f"copy/{seed}-{time.monotonic_ns()}"
    etag = bucket.put_object(key, b"before").etag if generator.random() < 0.5 else None
    names = [b"one", b"two"][: generator.choice((1, 2))]
    for name in names:
        bucket.put_object(f"{key}-{name.decode()}", name, {"from": name.decode()})
    state.applied[key].clear()
    state.faults[key] = script(generator)

    def copier(name: bytes) -> Callable[[], Any]:
        return lambda: bucket.copy_object(f"{key}-{name.decode()}", key, if_absent=etag is None, if_match=etag)

    told = _at_once({name: copier(name) for name in names})
    for name, said in told.items():
        if said == "done" and len(names) == 1:
            state.faults[key].clear()
            assert bucket[key].metadata == {"from": name.decode()}, f"seed {seed}: the copy lost its metadata"
    return _hold_to_the_truth(told, state.applied[key], seed)


def delete_if_unchanged(bucket: S3Bucket, state: StatefulStore, seed: int) -> list[str]:
    """One client deletes an object that another replaces: at most one succeeds, and the reported outcomes are true."""
    generator = random.Random(seed)
    key = f"delete/{seed}-{time.monotonic_ns()}"
    etag = bucket.put_object(key, b"before").etag
    state.applied[key].clear()
    state.faults[key] = script(generator)
    actions: dict[bytes, Callable[[], Any]] = {b"<deleted>": lambda: bucket[key].delete(if_match=etag)}
    if generator.random() < 0.6:
        actions[b"new"] = lambda: bucket.put_object(key, b"new", if_match=etag)
    return _hold_to_the_truth(_at_once(actions), state.applied[key], seed)


WRITES: tuple[Run, ...] = (
    create_once, replace_if_unchanged, append_each_once, upload_in_parts, upload_a_file, copy_once, delete_if_unchanged,
)  # fmt: skip


# -- locks ----------------------------------------------------------------------------------------------------------------------------


def lease_turns(bucket: S3Bucket, state: StatefulStore, seed: int) -> list[str]:
    """Two holders in turn, on an absent, free or expired lease: tokens increase, one holder at a time, true outcomes."""
    generator = random.Random(seed)
    key = f"turns/{seed}-{time.monotonic_ns()}"
    begins = generator.choice(("absent", "free", "expired"))
    if begins != "absent":
        lease = {"state": "free" if begins == "free" else "held", "token": 5, "ttl": 30.0, "owner": "x", "nonce": "n"}
        bucket.put_json(key, {"_lease": lease})
        state.objects[key].modified -= 40
    state.faults[key] = deque(
        generator.choice((None, *FAULTS)) if generator.random() < 0.3 else None for _ in range(14)
    )
    told: list[str] = [begins]
    holding: list[int] = []
    tokens: list[int] = []
    mutex = threading.Lock()

    def hold(name: str) -> None:
        try:
            lock = bucket.lock(key, ttl=20, owner=name, wait=8).__enter__()
        except s3.S3Error as error:
            told.append(type(error).__name__)
            return
        with mutex:
            holding.append(lock.token)
            tokens.append(lock.token)
            assert len(holding) == 1, f"seed {seed}: two holders {holding}"
        stored = json.loads(state.objects[key].body)["_lease"]
        assert (stored["owner"], stored["token"]) == (name, lock.token), (
            f"seed {seed}: {name} was told a success that is none"
        )
        try:
            lock.renew()
        except s3.S3LockError:
            raise AssertionError(
                f"seed {seed}: {name} was told that it lost a lock that no other client took"
            ) from None
        except s3.S3Error as error:
            told.append(f"renew {type(error).__name__}")
        with mutex:
            holding.remove(lock.token)
        try:
            lock.release()
        except s3.S3Error as error:
            told.append(f"release {type(error).__name__}")
        told.append("held")

    with ThreadPoolExecutor(2) as executor:
        list(executor.map(hold, ("ann", "bob")))
    assert tokens == sorted(set(tokens)), f"seed {seed}: tokens {tokens}"
    return told


def plain_turns(bucket: S3Bucket, state: StatefulStore, seed: int) -> list[str]:
    """Two clients acquire a plain lock file, or a free lease with the same call, and the winner releases it."""
    generator = random.Random(seed)
    key = f"plain/{seed}-{time.monotonic_ns()}"
    is_lease = generator.random() < 0.5
    if is_lease:
        bucket.put_json(key, {"_lease": {"state": "free", "token": 5, "ttl": 30.0, "owner": "x", "nonce": "n"}})
    state.faults[key] = script(generator)
    names = [b"ann", b"bob"][: generator.choice((1, 2))]

    def taker(name: bytes) -> Callable[[], Any]:
        def take() -> None:
            try:
                bucket.acquire_lock(key, {"user": name.decode()})
            except s3.S3LockError as error:
                assert error.lock_holder != name.decode(), (
                    f"seed {seed}: {name!r} was told that it is locked out by itself"
                )
                raise s3.S3PreconditionFailed("held") from error

        return take

    told = _at_once({name: taker(name) for name in names})
    winners = [name for name, said in told.items() if said == "done"]
    assert len(winners) <= 1, f"seed {seed}: two have it: {winners}"
    if winners:
        assert json.loads(state.objects[key].body)["user"] == winners[0].decode(), (
            f"seed {seed}: told a success that is none"
        )
        state.faults[key] = script(generator)
        if (said := outcome(lambda: bucket.release_lock(key))) == "done":
            state.faults[key].clear()
            assert bucket.check_lock(key) is None, f"seed {seed}: it was told that it was released"
            assert (key in state.objects) == is_lease
        told[b"release"] = said
    return [*told.values()]


LOCKS: tuple[Run, ...] = (lease_turns, plain_turns)
