"""Conditional writes: what they say is what was done, whatever happens to the answers."""

from __future__ import annotations

import io
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from faulty_s3 import FAULTS, State, run_faulty_s3

import messageflux_s3 as s3
from messageflux_s3 import S3Bucket

SEEDS = 400
"""Runs of each kind here; ``tests/long/`` runs thousands."""


@pytest.fixture(scope="module")
def faulty() -> Iterator[tuple[str, State]]:
    """A server that honours conditions and loses answers on command."""
    with run_faulty_s3() as served:
        yield served


def connected(url: str, *, max_attempts: int = 3) -> S3Bucket:
    """A bucket on the faulty server, every wait short."""
    store = s3.connect(
        url, access_key="a-key", secret_key="a-secret", region="us-east-1", max_attempts=max_attempts, max_concurrency=64, read_timeout=5
    )
    return store.bucket("faults")


@pytest.fixture
def faulty_bucket(faulty: tuple[str, State]) -> S3Bucket:
    """A bucket on that server."""
    return connected(faulty[0])


def outcome(action: Any) -> str:
    """What a writer was told: done, refused, or that nobody can know."""
    try:
        action()
    except s3.S3PreconditionFailed as error:
        return "unknown" if error.outcome_unknown else "refused"
    except (s3.S3ConnectionError, s3.S3ServerError, s3.S3Throttled):
        return "unknown"
    return "done"


def run_seeds(run: Any, seeds: range) -> Counter[str]:
    """Run them side by side: most of their time is back-off."""
    told: Counter[str] = Counter()
    with ThreadPoolExecutor(32) as executor:
        for outcomes in executor.map(run, seeds):
            told.update(outcomes)
    return told


def script(generator: random.Random, length: int = 6) -> deque[str | None]:
    """Faults for the first requests to a key."""
    return deque(generator.choice((None, *FAULTS)) if generator.random() < 0.6 else None for _ in range(length))


def create_once(bucket: S3Bucket, state: State, seed: int) -> list[str]:
    """Two writers create the same key, and every answer may be lost."""
    generator = random.Random(seed)
    key = f"create/{seed}-{time.monotonic_ns()}"
    state.faults[key] = script(generator)
    bodies = [b"one", b"two"][: generator.choice((1, 2))]
    told: dict[bytes, str] = {}

    def write(body: bytes) -> None:
        told[body] = outcome(lambda: bucket.put_object(key, body, {"who": "me"}, if_absent=True))

    threads = [threading.Thread(target=write, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    applied = state.applied[key]
    assert len(applied) <= 1, f"seed {seed}: created twice"
    for body, said in told.items():
        assert (said, body in applied) not in (("done", False), ("refused", True)), f"seed {seed}: {body!r} was told {said}; {applied}"
    return [*told.values()]


def append_each_once(bucket: S3Bucket, state: State, seed: int) -> list[str]:
    """Three writers append their names by update(), two times each, and every answer may be lost."""
    generator = random.Random(seed)
    key = f"update/{seed}-{time.monotonic_ns()}"
    if generator.random() < 0.5:
        bucket.put_object(key, b"base;")
    state.faults[key] = script(generator, 10)
    told: dict[bytes, str] = {}

    def write(writer: int) -> None:
        for turn in range(2):
            name = f"{writer}.{turn}".encode()
            told[name] = outcome(lambda name=name: bucket[key].update(lambda body: (body or b"") + name + b";"))

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    final = state.objects[key].body if key in state.objects else b""
    times = Counter(final.split(b";"))
    for name, said in told.items():
        assert times[name] <= 1, f"seed {seed}: {name!r} was applied {times[name]} times: {final!r}"
        assert said != "done" or times[name] == 1, f"seed {seed}: {name!r} was told that it was done: {final!r}"
        assert said != "refused" or times[name] == 0, f"seed {seed}: {name!r} was told that it was refused: {final!r}"
    return [*told.values()]


def replace_if_unchanged(bucket: S3Bucket, state: State, seed: int) -> list[str]:
    """Two writers replace the same version of an object, and every answer may be lost."""
    generator = random.Random(seed)
    key = f"replace/{seed}-{time.monotonic_ns()}"
    etag = bucket.put_object(key, b"before").etag
    state.applied[key].clear()
    state.faults[key] = script(generator)
    told: dict[bytes, str] = {}

    def write(body: bytes) -> None:
        told[body] = outcome(lambda: bucket.put_object(key, body, if_match=etag))

    threads = [threading.Thread(target=write, args=(body,)) for body in (b"one", b"two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    applied = state.applied[key]
    assert len(applied) <= 1, f"seed {seed}: replaced twice"
    for body, said in told.items():
        assert (said, body in applied) not in (("done", False), ("refused", True)), f"seed {seed}: {body!r} was told {said}; {applied}"
    return [*told.values()]


RUNS = (create_once, replace_if_unchanged, append_each_once)


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.__name__)
def test_what_is_said_is_what_was_done(faulty: tuple[str, State], run: Any) -> None:
    """Answers lost at every step: never a conflict with ourselves, never a success that is none."""
    url, state = faulty
    bucket = connected(url)
    bucket.put_object(f"warm/{time.monotonic_ns()}", b"", if_absent=True)
    told = run_seeds(lambda seed: run(bucket, state, seed), range(SEEDS if run is not append_each_once else SEEDS // 4))
    assert told["done"] > told["unknown"], told


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "late"])
def test_one_writer_alone_always_succeeds(faulty: tuple[str, State], faulty_bucket: S3Bucket, fault: str) -> None:
    """With nobody else about, one lost answer is never a conflict: the writer met its own object."""
    key = f"alone/{fault}"
    faulty[1].faults[key] = deque([fault])
    etag = faulty_bucket.put_object(key, b"one", if_absent=True).etag
    faulty[1].faults[key] = deque([fault])
    faulty_bucket.put_object(key, b"two", if_match=etag)
    assert faulty[1].applied[key] == [b"one", b"two"]


def test_overwritten_meanwhile_is_unknown(faulty: tuple[str, State], faulty_bucket: S3Bucket) -> None:
    """Our answer was lost and another's object stands there: nobody can know, and the error says so."""
    state = faulty[1]
    key = "overwritten"
    state.faults[key] = deque(["drop_after"])
    overwritten = threading.Event()

    def overwrite() -> None:
        while key not in state.objects:
            time.sleep(0.001)
        with state.mutex:
            state.objects[key].body = b"theirs"
            state.objects[key].metadata = {}
            state.objects[key].etag = "f" * 32
        overwritten.set()

    other = threading.Thread(target=overwrite)
    other.start()
    with pytest.raises(s3.S3PreconditionFailed) as caught:
        faulty_bucket.put_object(key, b"ours", if_absent=True)
    other.join()
    assert caught.value.outcome_unknown is True


def test_an_object_from_before_is_a_conflict(faulty: tuple[str, State], faulty_bucket: S3Bucket) -> None:
    """Our first attempt got lost on its way, and what stands there is older: that is a conflict, and known to be one."""
    state = faulty[1]
    faulty_bucket.put_object("older", b"theirs")
    state.objects["older"].modified -= 60
    state.faults["older"] = deque(["reset_before"])
    with pytest.raises(s3.S3ObjectExists) as caught:
        faulty_bucket.put_object("older", b"ours", if_absent=True)
    assert caught.value.outcome_unknown is False


@pytest.mark.parametrize("offset", [-3600.0, 3600.0])
def test_a_clock_that_is_off_makes_nobody_lie(offset: float) -> None:
    """Whether an object is older is told by the store's clock alone; this machine's may be hours off."""
    with run_faulty_s3() as (url, state):
        state.clock_offset = offset
        bucket = connected(url)
        bucket.put_object(f"warm/{time.monotonic_ns()}", b"", if_absent=True)
        state.faults["k"] = deque(["drop_after", "reset_before", "reset_before"])

        def overwrite() -> None:
            while "k" not in state.objects:
                time.sleep(0.001)
            with state.mutex:
                state.objects["k"].metadata = {}
                state.objects["k"].etag = "f" * 32

        other = threading.Thread(target=overwrite)
        other.start()
        with pytest.raises(s3.S3PreconditionFailed) as caught:
            bucket.put_object("k", b"ours", if_absent=True)
        other.join()
    assert caught.value.outcome_unknown is True


@pytest.mark.parametrize("fault", ["drop_after", "500_after", "truncate_after", "reset_before"])
def test_a_doubtful_completion_is_settled(faulty: tuple[str, State], faulty_bucket: S3Bucket, fault: str) -> None:
    """In parts, the condition stands on the completion, and its lost answer is settled as that of a PUT."""
    state, key = faulty[1], f"parts/{fault}"
    faulty_bucket.put_object(f"warm/{time.monotonic_ns()}", b"", if_absent=True)
    body = bytes(6 * 1024 * 1024)
    state.faults[key] = deque([None, None, None, fault])  # begun, two parts, and the completion
    written = faulty_bucket.upload_object(key, io.BytesIO(body), part_size_bytes=5 * 1024 * 1024, if_absent=True)
    assert (state.applied[key], written.etag) == ([body], state.objects[key].etag)


def test_in_parts_an_object_that_is_there_stays(faulty: tuple[str, State], faulty_bucket: S3Bucket) -> None:
    """Refused at the completion: the object is untouched, and no parts are left."""
    state = faulty[1]
    faulty_bucket.put_object("there", b"theirs")
    with pytest.raises(s3.S3ObjectExists):
        faulty_bucket.upload_object("there", io.BytesIO(bytes(6 * 1024 * 1024)), part_size_bytes=5 * 1024 * 1024, if_absent=True)
    assert (state.objects["there"].body, state.uploads) == (b"theirs", {})


@pytest.mark.parametrize("mode", ["ignored", "refused", "sequential"])
def test_a_store_that_does_not_mean_it_is_refused(mode: str) -> None:
    """Nothing was written but scratch objects, and those are gone."""
    with run_faulty_s3(mode) as (url, state):
        bucket = connected(url, max_attempts=1)
        bucket.put_object("k", b"before")
        for action in (
            lambda: bucket.put_object("new", b"x", if_absent=True),
            lambda: bucket.put_object("k", b"x", if_match=bucket["k"].etag),
            lambda: bucket["k"].update(lambda body: b"x"),
            lambda: bucket.lock("lock").__enter__(),
            lambda: bucket.acquire_lock("plain", {"user": "me"}),
        ):
            with pytest.raises(s3.S3Unsupported):
                action()
        assert {key: stored.body for key, stored in state.objects.items()} == {"k": b"before"}
        assert state.uploads == {}


def test_the_store_is_asked_once(faulty: tuple[str, State]) -> None:
    """What the probe found out is remembered for the store: a later write is one request."""
    bucket = connected(faulty[0])
    bucket.put_object("asked/1", b"", if_absent=True)
    before = sum(faulty[1].counts.values())
    bucket.put_object("asked/2", b"", if_absent=True)
    assert sum(faulty[1].counts.values()) - before == 1


def test_rclone_is_refused_and_untouched(rclone_bucket: S3Bucket, rclone: Any) -> None:
    """A real gateway that ignores conditions: nothing was overwritten, nothing is left on its disk."""
    rclone_bucket.put_object("k", b"before")
    for action in (
        lambda: rclone_bucket.put_object("k", b"x", if_absent=True),
        lambda: rclone_bucket.put_object("k", b"x", if_match="0" * 32),
        lambda: rclone_bucket["k"].update(lambda body: b"x"),
        lambda: rclone_bucket.lock("lock").__enter__(),
    ):
        with pytest.raises(s3.S3Unsupported):
            action()
    files = [path for path in (rclone.root / rclone_bucket.name).rglob("*") if path.is_file()]
    assert [(path.name, path.read_bytes()) for path in files] == [("k", b"before")]


def test_conditions_on_a_real_server(moto_bucket: S3Bucket) -> None:
    """Create once, replace only what was read; the losers change nothing, and no write-id is ever shown."""
    first = moto_bucket.put_object("k", "one", {"who": "me"}, if_absent=True)
    with pytest.raises(s3.S3ObjectExists):
        moto_bucket.put_object("k", "two", if_absent=True)
    moto_bucket.put_object("k", "three", {"who": "you"}, if_match=first.etag)
    with pytest.raises(s3.S3PreconditionFailed) as caught:
        moto_bucket.put_object("k", "four", if_match=first.etag)
    found = moto_bucket["k"]
    assert (found.text, found.metadata, caught.value.outcome_unknown) == ("three", {"who": "you"}, False)
    assert [obj.key for obj in moto_bucket.find()] == ["k"]


def test_replacing_what_is_gone_is_a_failed_precondition(moto_bucket: S3Bucket) -> None:
    """S3 answers 404 there; for the caller it is the same as another etag."""
    with pytest.raises(s3.S3PreconditionFailed) as caught:
        moto_bucket.put_object("gone", "x", if_match="0" * 32)
    assert caught.value.outcome_unknown is False


def test_in_a_versioned_bucket_the_probe_leaves_no_version(moto_bucket: S3Bucket, moto: Any) -> None:
    """Scratch objects go with all their versions and delete markers."""
    client = moto.client()
    client.put_bucket_versioning(Bucket=moto_bucket.name, VersioningConfiguration={"Status": "Enabled"})
    fresh = moto.connect(max_attempts=5).bucket(moto_bucket.name)
    fresh.put_object("k", "one", if_absent=True)
    answer = client.list_object_versions(Bucket=moto_bucket.name)
    assert ([found["Key"] for found in answer["Versions"]], answer.get("DeleteMarkers", [])) == (["k"], [])


def test_update_reads_changes_and_writes(moto_bucket: S3Bucket) -> None:
    """Many at once, each change applied once; what describes the object is kept."""
    moto_bucket.put_object("n", "0", {"unit": "pieces"}, content_type="text/x-number")
    with ThreadPoolExecutor(4) as executor:
        list(executor.map(lambda _: moto_bucket["n"].update(lambda body: str(int(body or b"0") + 1)), range(20)))
    found = moto_bucket["n"]
    assert (found.text, found.metadata, found.content_type) == ("20", {"unit": "pieces"}, "text/x-number")


def test_update_of_what_is_not_there_gets_none(moto_bucket: S3Bucket) -> None:
    """The function learns that there is no object, and what it returns is created."""
    seen: list[bytes | None] = []

    def change(body: bytes | None) -> bytes:
        seen.append(body)
        return b"new"

    moto_bucket["k"].update(change)
    assert (seen, moto_bucket["k"].body) == ([None], b"new")


def test_conditions_without_meaning_are_refused_at_once(moto_bucket: S3Bucket) -> None:
    """Both at once, an empty etag, an etag that is none: nothing is sent."""
    with pytest.raises(ValueError, match="if_absent"):
        moto_bucket.put_object("k", b"", if_absent=True, if_match="0" * 32)
    with pytest.raises(ValueError, match="if_match"):
        moto_bucket.put_object("k", b"", if_match="")
    with pytest.raises(TypeError, match="if_match"):
        moto_bucket.put_object("k", b"", if_match=7)  # type: ignore[arg-type]
