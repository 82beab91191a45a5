"""What an experiment writes is deleted at its end, also after an interrupt; what a killed one left, by the next one."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from support import interrupted_probes
from support.interrupted_probes import scratch_of
from support.scripted_server import Answer, Asked, ScriptedServer, document, refusal
from support.servers import Server
from support.stateful_server import Stored, Upload, run_stateful_server

import messageflux_s3 as s3
from messageflux_s3._objects import leftovers
from messageflux_s3._probe import probe as probe_module

HOUR = 3600
RUN, OTHER_RUN = ".mfs3-probe/0123456789abcdef/", ".mfs3-probe/fedcba9876543210/"


@pytest.fixture
def killed_just_now(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is left counts as old at once."""
    monkeypatch.setattr(leftovers, "LEFT_AFTER", timedelta(days=-1))
    yield


# -- processes that are killed or interrupted ---------------------------------------------------------------------------------------------


# At some of the requests; tests/long/test_killed_probes.py takes every one, more kinds of work, and buckets with versioning.


@pytest.mark.parametrize(("work", "step"), [("probe", 29), ("probe of a bucket", 29), ("write", 5)])
@pytest.mark.usefixtures("killed_just_now")
def test_the_next_experiment_deletes_what_killed_processes_left(
    server: Server, bucket: s3.S3Bucket, work: str, step: int
) -> None:
    """Each process was killed at another request."""
    _kill_and_repeat(server, bucket, work, step)


@pytest.mark.usefixtures("killed_just_now")
def test_the_next_experiment_deletes_versions_that_killed_processes_left(
    moto: Server, moto_bucket: s3.S3Bucket
) -> None:
    """And no delete marker stays."""
    moto_bucket.versioning.enable()
    _kill_and_repeat(moto, moto_bucket, "race", 3)


def _kill_and_repeat(server: Server, bucket: s3.S3Bucket, work: str, step: int) -> None:
    assert interrupted_probes.run(server, bucket.name, work, "SIGKILL", step=step) > 1
    assert scratch_of(server, bucket.name) != []
    store = server.connect(read_timeout=59)
    store._connection.facts.clear()  # a test before may have made the same experiment
    interrupted_probes.WORK[work](store.bucket(bucket.name))
    assert scratch_of(server, bucket.name) == []


@pytest.mark.parametrize(
    ("work", "step", "sent", "moment"),
    [
        ("probe of a bucket", 29, "SIGINT", "before"),
        ("write", 5, "SIGTERM", "after"),
        ("race", 11, "SIGINT", "after"),
        ("probe", 47, "SIGTERM", "before"),
    ],
)
def test_an_interrupted_experiment_leaves_nothing(
    server: Server, bucket: s3.S3Bucket, work: str, step: int, sent: str, moment: str
) -> None:
    """Wherever the interrupt comes, also during the deletion. SIGTERM raises SystemExit in these processes."""
    assert interrupted_probes.run(server, bucket.name, work, sent, moment, step) > 0
    assert scratch_of(server, bucket.name) == []


# -- nothing else is deleted --------------------------------------------------------------------------------------------------------------


def test_only_what_is_certainly_left_over_is_deleted() -> None:
    """By the names and by the store's own clock, which is days off here."""
    with run_stateful_server(clock_offset=-3 * 24 * HOUR) as server:
        state, now = server.state, time.time() - 3 * 24 * HOUR
        ages = {
            f"{RUN}0": 2 * HOUR, f"{RUN}list/a": 3 * HOUR,  # left over
            f"{OTHER_RUN}0": 2 * HOUR, f"{OTHER_RUN}1": 0.5 * HOUR,  # of a probe that is still running
            ".mfs3-probe/notes.txt": 9 * HOUR, ".mfs3-probe/0123/0": 9 * HOUR, f"a/{RUN}0": 9 * HOUR, "mine": 9 * HOUR,
        }  # fmt: skip
        for key, age in ages.items():
            state.objects[key] = Stored(b"", "e", modified=now - age)
        for name in (f"{RUN}copied", f"{OTHER_RUN}copied", ".mfs3-probe/aaaaaaaaaaaaaaaa/without-an-object", "mine"):
            state.uploads[name] = Upload(name)
        server.connect().probe("bkt")
        assert state.objects.keys() == ages.keys() - {f"{RUN}0", f"{RUN}list/a"}
        assert state.uploads.keys() == {f"{OTHER_RUN}copied", "mine"}


def test_only_what_is_certainly_left_over_in_a_folder_is_deleted() -> None:
    """Of the scratch objects beside an object."""
    with run_stateful_server(clock_offset=0) as server:
        state, now = server.state, time.time()
        ages = {
            "d/mfs3-probe-0123456789ab": 2 * HOUR, "d/mfs3-probe-0123456789ab-2": 2 * HOUR,  # left over
            "d/mfs3-probe-ba9876543210": 0.5 * HOUR, "d/mfs3-probe-results": 9 * HOUR, "d/mfs3-probe-0123456789ab.txt": 9 * HOUR,
            "d/mfs3-probe-0123456789ab/x": 9 * HOUR, "mfs3-probe-0123456789ab": 9 * HOUR, "d/e/mfs3-probe-0123456789ab": 9 * HOUR,
        }  # fmt: skip
        for key, age in ages.items():
            state.objects[key] = Stored(b"", "e", modified=now - age)
        bucket = server.connect().bucket("bkt")
        bucket.put_object("d/k", b"x", {"a_b": "1"})
        left = {"d/mfs3-probe-0123456789ab", "d/mfs3-probe-0123456789ab-2"}
        assert state.objects.keys() == (ages.keys() - left) | {"d/k"}
        listings = [asked for asked in server.asked if asked.method == "GET" and not asked.key]
        bucket.put_object("d/k", b"x", {"a!b": "1"})
        assert [asked for asked in server.asked if asked.method == "GET" and not asked.key] == listings


def test_nothing_is_deleted_on_a_store_that_gives_every_object_the_same_time() -> None:
    """Its times do not tell what is left over."""
    with run_stateful_server() as server:
        server.state.put(f"{RUN}0", b"")
        server.connect().probe("bkt")
        assert server.state.objects.keys() == {f"{RUN}0"}


@pytest.mark.parametrize("listing", ["denied", "without the prefix"])
def test_a_listing_that_cannot_be_used_fails_no_probe(listing: str) -> None:
    """Nothing of others is deleted then."""
    with run_stateful_server(clock_offset=0) as server:
        state = server.state
        for number in range(1001):
            state.objects[f"k{number}"] = Stored(b"", "e", modified=time.time() - 2 * HOUR)
        state.objects[f"{RUN}0"] = Stored(b"", "e", modified=time.time() - 2 * HOUR)
        before = state.objects.keys() | set()

        def answer(asked: Any) -> Any:
            if asked.method != "GET" or asked.key or "list-type" not in asked.query:
                return None
            if listing == "denied":
                return refusal(403, "AccessDenied")
            asked.query.pop("prefix", None)
            return None

        state.before = answer
        assert server.connect().probe("bkt").ranges is True
        assert state.objects.keys() == before


@pytest.mark.parametrize("kind", ["uploads", "versions"])
def test_a_listing_that_returns_to_an_earlier_page_fails_no_probe(scripted_server: ScriptedServer, kind: str) -> None:
    """It never ended, although no page has the markers with which it was requested."""

    def answer(asked: Asked) -> Answer:
        assert len(scripted_server.asked) < 100
        later = "b" if asked.query.get("key-marker") == "a" else "a"
        markers = f"<NextKeyMarker>{later}</NextKeyMarker><NextUploadIdMarker>1</NextUploadIdMarker>"
        root = "ListMultipartUploadsResult" if "uploads" in asked.query else "ListVersionsResult"
        is_endless = (kind == "uploads") is ("uploads" in asked.query)
        return document(root, f"<IsTruncated>true</IsTruncated>{markers}" if is_endless else "")

    scripted_server.answer = answer
    place = leftovers.Place(scripted_server.bucket()._address)
    assert place.remove_left(RUN, is_versioned=True) is (kind == "versions")
    assert len(scripted_server.asked) == 4


@pytest.mark.usefixtures("killed_just_now")
def test_a_bucket_with_other_objects_is_not_deleted_although_its_name_is_that_of_a_scratch_bucket(
    rclone: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """A warning names it. One with nothing else is deleted."""
    store = rclone.connect()
    mine, left = (store.create_bucket(f"mfs3-probe-0123456789abcde{last}") for last in "ef")
    mine.put_object("mine", b"x")
    left.put_object(f"{RUN}0", b"x")
    with caplog.at_level(logging.WARNING, "messageflux_s3"):
        store.probe()
    assert [message for message in caplog.messages if mine.name in message] == [
        f"the bucket {mine.name} has the name of a scratch bucket, but holds other objects: it is not deleted"
    ]
    assert (mine["mine"].body, left.exists()) == (b"x", False)
    mine.delete_bucket(force=True)


def test_the_scratch_bucket_of_a_probe_that_may_be_running_is_not_deleted(rclone: Server) -> None:
    """It is younger than an hour."""
    bucket = rclone.connect().create_bucket("mfs3-probe-0123456789abcdef")
    rclone.connect().probe()
    assert bucket.exists()
    bucket.delete_bucket()


# -- no experiment takes as long -------------------------------------------------------------------------------------------------------


def test_a_probe_that_took_too_long_answers_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its scratch objects may have been deleted by another probe, and would look like missing capabilities."""
    monkeypatch.setattr(leftovers, "LONGEST", timedelta(seconds=-1))
    with run_stateful_server(clock_offset=0) as server:
        with pytest.raises(s3.S3Error, match="took longer than"):
            server.connect().probe("bkt")
        with pytest.raises(s3.S3Error, match="took longer than"):
            server.connect().bucket("bkt").put_object("k", b"", if_absent=True)
        assert (server.state.objects, server.state.uploads) == ({}, {})


def test_a_question_that_was_asked_too_late_stays_open(rclone: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the reason; those before it are answered."""

    def sleep_through(*_: object) -> bool:
        monkeypatch.setattr(leftovers, "LONGEST", timedelta(seconds=-1))
        return True

    monkeypatch.setattr(probe_module, "_takes_posts", sleep_through)
    found = rclone.connect().probe()
    assert (found.ranges, found.post, found.bulk_delete) == (True, None, None)
    assert "took longer than" in dict(found.reasons)["post"]
