"""Conditional writes: what they say is what was done, whatever happens to the answers."""

from __future__ import annotations

import io
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from faulty_s3 import FAULTS, State, run_faulty_s3
from proxy import Fault, run_proxy, scripted
from runs import WRITES, Run, connected, outcome, run_seeds, upload_in_parts
from servers import Server

import messageflux_s3 as s3
from messageflux_s3 import S3Bucket, condition_probe

SEEDS = 12
"""Runs of each kind here; ``tests/attacks/test_conditional_runs.py`` makes thousands."""


@pytest.fixture(scope="module")
def faulty() -> Iterator[tuple[str, State]]:
    """A server that honours conditions and loses answers on command."""
    with run_faulty_s3() as served:
        yield served


@pytest.fixture
def faulty_bucket(faulty: tuple[str, State]) -> S3Bucket:
    """A bucket on that server."""
    return connected(faulty[0])


@pytest.mark.parametrize("run", WRITES, ids=lambda run: run.__name__)
def test_what_is_said_is_what_was_done(faulty: tuple[str, State], run: Run) -> None:
    """Answers lost at every step: never a conflict with ourselves, never a success that is none."""
    url, state = faulty
    bucket = connected(url)
    bucket.put_object(f"warm/{time.monotonic_ns()}", b"", if_absent=True)
    told = run_seeds(run, bucket, state, range(SEEDS if run is not upload_in_parts else SEEDS // 4))
    assert told["done"] > 0, told


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


def test_met_every_time_is_no_conflict(faulty: tuple[str, State], faulty_bucket: S3Bucket) -> None:
    """409 each time: nothing was written, and nobody claims that the object is there already."""
    key = f"met/{time.monotonic_ns()}"
    faulty[1].faults[key] = deque(["409"] * 3)
    with pytest.raises(s3.S3PreconditionFailed) as caught:
        faulty_bucket.put_object(key, b"x", if_absent=True)
    assert (type(caught.value), caught.value.outcome_unknown, faulty[1].applied[key]) == (s3.S3PreconditionFailed, False, [])


@pytest.mark.parametrize(("lost", "told"), [("drop_after", "done"), ("reset_before", "unknown")])
def test_not_allowed_any_more_tells_nothing_of_the_attempt_before(
    faulty: tuple[str, State], faulty_bucket: S3Bucket, lost: str, told: str
) -> None:
    """The first answer was lost, the second attempt is denied: whether the first one wrote is for a HEAD to say."""
    key = f"denied/{lost}"
    faulty[1].faults[key] = deque([lost, "403_before"])
    assert outcome(lambda: faulty_bucket.put_object(key, b"x", if_absent=True)) == told
    faulty[1].faults[key] = deque(["403_before"])
    with pytest.raises(s3.S3AccessDenied):
        faulty_bucket.put_object(key, b"x", if_absent=True)


def test_a_byte_that_changed_on_its_way_is_not_written_back(moto: Server, moto_bucket: S3Bucket) -> None:
    """update() rests on what it read: that is held against its etag."""
    moto_bucket.put_object("k", b"before")
    with run_proxy(moto.endpoint_url) as proxy:
        behind = moto.connect(endpoint_url=proxy.endpoint_url).bucket(moto_bucket.name)
        proxy.restart(scripted({("GET", "k"): ["corrupt"]}))
        with pytest.raises(s3.S3ChecksumError):
            behind["k"].update(lambda body: (body or b"") + b"!")
        assert behind["k"].update(lambda body: (body or b"") + b"!").body == b"before!"


# -- copies and deletions ---------------------------------------------------------------------------------------------------------


def test_a_copy_under_a_condition(faulty: tuple[str, State], faulty_bucket: S3Bucket) -> None:
    """If absent, if unchanged; the loser changes nothing, metadata goes along, no write-id is shown."""
    source = faulty_bucket.put_object("from", b"new", {"who": "me"}, content_type="text/x-new")
    copied = source.copy_to("to", if_absent=True)
    with pytest.raises(s3.S3ObjectExists):
        faulty_bucket.copy_object("from", "to", if_absent=True)
    other = faulty_bucket.put_object("other", b"other")
    other.copy_to("to", if_match=copied.etag)
    with pytest.raises(s3.S3PreconditionFailed) as caught:
        source.copy_to("to", if_match=copied.etag)
    assert (copied.metadata, faulty_bucket["to"].body, caught.value.outcome_unknown) == ({"who": "me"}, b"other", False)
    source.copy_to("third", if_absent=True)
    assert (faulty_bucket["third"].metadata, faulty_bucket["third"].content_type) == ({"who": "me"}, "text/x-new")


def test_a_copy_of_what_is_not_there(faulty_bucket: S3Bucket) -> None:
    """A missing source is no conflict at the target."""
    target = faulty_bucket.put_object("target", b"x")
    source = faulty_bucket.put_object("gone-soon", b"y")
    source.delete()
    with pytest.raises(s3.S3NoSuchItem):
        source.copy_to("target", if_match=target.etag)


@pytest.mark.parametrize("fault", ["drop_after", "500_after", "truncate_after", "reset_before"])
def test_a_doubtful_copy_is_settled(faulty: tuple[str, State], faulty_bucket: S3Bucket, fault: str) -> None:
    """It met its own copy: that is a success."""
    key = f"doubtful-copy/{fault}"
    faulty_bucket.put_object("source", b"x")
    faulty[1].faults[key] = deque([fault])
    copied = faulty_bucket.copy_object("source", key, if_absent=True)
    assert (faulty[1].applied[key], copied.etag) == ([b"x"], faulty[1].objects[key].etag)


def test_a_store_that_ignores_the_condition_on_copies_is_refused(moto_bucket: S3Bucket, rclone_bucket: S3Bucket) -> None:
    """moto and rclone overwrite: nothing is copied."""
    for bucket in (moto_bucket, rclone_bucket):
        source = bucket.put_object("a", b"new")
        target = bucket.put_object("b", b"old")
        for condition in ({"if_absent": True}, {"if_match": target.etag}):
            with pytest.raises(s3.S3Unsupported):
                source.copy_to("b", **condition)
            with pytest.raises(s3.S3Unsupported):
                bucket.copy_object("a", "c", **condition)
        assert [(obj.key, obj.body) for obj in bucket.find()] == [("a", b"new"), ("b", b"old")]


def test_delete_if_unchanged(moto_bucket: S3Bucket) -> None:
    """Only what has this etag; that it is gone already is no error."""
    obj = moto_bucket.put_object("k", b"old")
    moto_bucket.put_object("k", b"new")
    with pytest.raises(s3.S3PreconditionFailed) as caught:
        moto_bucket["k"].delete(if_match=obj.etag)
    assert (caught.value.outcome_unknown, moto_bucket["k"].body) == (False, b"new")
    moto_bucket["k"].delete(if_match=moto_bucket["k"].etag)
    assert moto_bucket["k"].exists() is False
    moto_bucket["k"].delete(if_match=obj.etag)


@pytest.mark.parametrize("fault", ["drop_after", "500_after", "truncate_after", "reset_before", "500_before"])
def test_a_doubtful_deletion_is_settled(faulty: tuple[str, State], faulty_bucket: S3Bucket, fault: str) -> None:
    """Gone is a success, still there is deleted again."""
    key = f"doubtful-delete/{fault}"
    etag = faulty_bucket.put_object(key, b"x").etag
    faulty[1].faults[key] = deque([fault])
    faulty_bucket[key].delete(if_match=etag)
    assert faulty[1].applied[key] == [b"x", b"<deleted>"]


@pytest.mark.parametrize(("age", "is_unknown"), [(0.0, True), (60.0, False)], ids=["young", "old"])
def test_a_deletion_that_meets_another_object(faulty: tuple[str, State], faulty_bucket: S3Bucket, age: float, is_unknown: bool) -> None:
    """Written before our first attempt: a conflict. Younger: we may have deleted its predecessor, nobody can know."""
    key = f"met-another/{age}"
    etag = faulty_bucket.put_object(key, b"old").etag
    faulty_bucket.put_object(key, b"theirs")
    faulty[1].objects[key].modified -= age
    faulty[1].faults[key] = deque(["reset_before"])
    with pytest.raises(s3.S3PreconditionFailed) as caught:
        faulty_bucket[key].delete(if_match=etag)
    assert (caught.value.outcome_unknown, faulty[1].objects[key].body) == (is_unknown, b"theirs")


# -- stores that do not mean it -----------------------------------------------------------------------------------------------------


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
            lambda: bucket.copy_object("k", "copy", if_absent=True),
            lambda: bucket["k"].delete(if_match=bucket["k"].etag),
            lambda: bucket.upload_object("k", io.BytesIO(bytes(6 << 20)), part_size_bytes=5 << 20, if_absent=True),
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


def test_many_threads_ask_once() -> None:
    """A pool's first conditional writes come all at once: one of them probes, the others wait for what it learns."""
    with run_faulty_s3() as (url, state):
        bucket = connected(url)
        with ThreadPoolExecutor(16) as executor:
            list(executor.map(lambda number: bucket.put_object(f"k{number}", b"", if_absent=True), range(16)))
        probed = {key.split("/")[1] for key in state.applied if key.startswith(".mfs3-probe/")}
        assert len(probed) == 1


def test_a_store_that_stalls_holds_up_no_other(moto: Server, moto_bucket: S3Bucket) -> None:
    """Each store has a turn of its own: while one is asked in vain, another is written to."""
    stalled = threading.Event()

    def plan(method: str, name: str, number: int) -> Fault | None:
        if ".mfs3-probe" in name:
            stalled.set()
            return Fault("stall_before", seconds=30)
        return None

    with run_proxy(moto.endpoint_url, plan) as proxy, ThreadPoolExecutor(1) as executor:
        slow = moto.connect(endpoint_url=proxy.endpoint_url, read_timeout=30, max_attempts=1)
        waiting = executor.submit(slow.bucket(moto_bucket.name).put_object, "slow", b"", if_absent=True)
        assert stalled.wait(30)
        assert moto_bucket.put_object("quick", b"", if_absent=True).exists()
        assert not waiting.done()
        proxy.close()
        with pytest.raises(s3.S3ConnectionError):
            waiting.result()


def test_who_waits_for_a_question_that_fails_fails_with_it(moto: Server, moto_bucket: S3Bucket) -> None:
    """Not each after a time-out of its own, one behind the other."""
    writers, behind = 8, threading.Barrier(8)

    def plan(method: str, name: str, number: int) -> Fault | None:
        return Fault("stall_before", seconds=30) if ".mfs3-probe" in name else None

    with run_proxy(moto.endpoint_url, plan) as proxy, ThreadPoolExecutor(writers) as executor:
        store = moto.connect(endpoint_url=proxy.endpoint_url, read_timeout=1, max_attempts=1)
        bucket = store.bucket(moto_bucket.name)
        assert not condition_probe.is_versioned(bucket._connection, bucket.name)

        def write(number: int) -> s3.S3Error:
            behind.wait(30)
            with pytest.raises(s3.S3ConnectionError) as caught:
                bucket.put_object(f"k{number}", b"", if_absent=True)
            return caught.value

        errors = [*executor.map(write, range(writers))]
        assert len({id(error) for error in errors}) == writers
        probes = [seen for seen in proxy.seen if seen.method == "PUT" and ".mfs3-probe" in seen.target]
        assert len(probes) <= 3
        proxy.close()
        store.close()


def test_rclone_is_refused_and_untouched(rclone_bucket: S3Bucket, rclone: Any) -> None:
    """A real gateway that ignores conditions: nothing was overwritten, nothing is left on its disk."""
    rclone_bucket.put_object("k", b"before")
    for action in (
        lambda: rclone_bucket.put_object("k", b"x", if_absent=True),
        lambda: rclone_bucket.put_object("k", b"x", if_match="0" * 32),
        lambda: rclone_bucket["k"].update(lambda body: b"x"),
        lambda: rclone_bucket.lock("lock").__enter__(),
        lambda: rclone_bucket.acquire_lock("plain", {"user": "me"}),
        lambda: rclone_bucket["k"].delete(if_match="0" * 32),
        lambda: rclone_bucket.upload_object("k", io.BytesIO(bytes(6 << 20)), part_size_bytes=5 << 20, if_absent=True),
    ):
        with pytest.raises(s3.S3Unsupported):
            action()
    files = [path for path in (rclone.root / rclone_bucket.name).rglob("*") if path.is_file()]
    assert [(path.name, path.read_bytes()) for path in files] == [("k", b"before")]


@pytest.mark.parametrize("step", range(0, 8, 2))
def test_a_probe_that_dies_half_way_leaves_nothing(rclone: Server, rclone_bucket: S3Bucket, step: int) -> None:
    """The store fails at any step of the probe: an error, no verdict, no write, and the scratch objects go all the same."""
    failing = ["reset_before"] * 2  # both attempts
    counted = iter(range(10_000))
    with run_proxy(rclone.endpoint_url) as proxy:
        bucket = rclone.connect(endpoint_url=proxy.endpoint_url, max_attempts=2).bucket(rclone_bucket.name)

        def plan(method: str, name: str, number: int) -> Fault | None:
            if method == "DELETE" or next(counted) // len(failing) != step:
                return None
            return Fault("reset_before")

        proxy.restart(plan)
        with pytest.raises((s3.S3ConnectionError, s3.S3Unsupported)):
            bucket.put_object("k", b"x", if_match="0" * 32)
    assert [path for path in (rclone.root / rclone_bucket.name).rglob("*") if path.is_file()] == []  # type: ignore[operator]


@pytest.mark.parametrize("step", [3, 40])
@pytest.mark.parametrize("ability", ["put_if_match", "multipart_if_absent", "copy_if_absent", "delete_if_match"])
def test_a_probe_that_dies_in_its_race_leaves_nothing(ability: condition_probe.Ability, step: int) -> None:
    """On a store that honours conditions: cut off for good at some request, but for the deletions. No object and no upload is left."""
    counted = iter(range(10_000))

    def plan(method: str, name: str, number: int) -> Fault | None:
        return Fault("reset_before") if method != "DELETE" and next(counted) >= step else None

    with run_faulty_s3() as (url, state), run_proxy(url, plan) as proxy:
        bucket = connected(proxy.endpoint_url, max_attempts=1)
        with suppress(s3.S3ConnectionError):
            condition_probe.race(bucket._connection, bucket.name, ability)
        assert (state.objects, state.uploads) == ({}, {})


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
