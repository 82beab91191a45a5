"""Locks: one holder at a time, tokens that only grow, taken over when the holder is gone; refused where the store does not mean it."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import history
import pytest
from faulty_s3 import State, run_faulty_s3
from proxy import run_proxy, scripted
from runs import LOCKS, Run, connected, run_seeds
from servers import Server

import messageflux_s3 as s3
from messageflux_s3 import S3Bucket
from messageflux_s3.lock import S3Lock

SEEDS = 12
"""Runs of each kind here; ``tests/attacks/test_lock_runs.py`` makes thousands."""


@pytest.fixture(scope="module")
def faulty() -> Iterator[tuple[str, State]]:
    """A server that honours conditions and loses answers on command."""
    with run_faulty_s3() as served:
        yield served


@pytest.fixture
def faulty_bucket(faulty: tuple[str, State]) -> S3Bucket:
    """A bucket on that server."""
    return connected(faulty[0])


# -- plain lock files ---------------------------------------------------------------------------------------------------------------


def test_a_plain_lock_file_is_created_once(moto_bucket: S3Bucket) -> None:
    """The second comer learns who has it."""
    moto_bucket.acquire_lock("job.lock", {"user": "ann", "host": "a"})
    with pytest.raises(s3.S3LockError) as caught:
        moto_bucket.acquire_lock("job.lock", {"user": "bob"})
    assert (caught.value.lock_holder, moto_bucket.check_lock("job.lock")) == ("ann", {"user": "ann", "host": "a"})


def test_the_holder_is_user_owner_or_the_whole(moto_bucket: S3Bucket) -> None:
    """Whatever the file says of its owner."""
    held: list[Any] = []
    for key, data in (("1", {"owner": "ann"}), ("2", {"job": 7})):
        moto_bucket.acquire_lock(key, data)
        with pytest.raises(s3.S3LockError) as caught:
            moto_bucket.acquire_lock(key, {})
        held.append(caught.value.lock_holder)
    assert held == ["ann", {"job": 7}]


def test_a_plain_lock_file_is_released_and_free_again(moto_bucket: S3Bucket) -> None:
    """Releasing is idempotent, and an absent lock is None."""
    moto_bucket.acquire_lock("k", {"user": "ann"})
    moto_bucket.release_lock("k")
    moto_bucket.release_lock("k")
    assert (moto_bucket.check_lock("k"), moto_bucket["k"].exists()) == (None, False)


def test_a_plain_lock_file_is_never_taken_over(moto_bucket: S3Bucket) -> None:
    """It has no lease, so nobody may think that it ran out, however old it is."""
    moto_bucket.acquire_lock("k", {"user": "ann"})
    with pytest.raises(s3.S3LockError) as caught:
        moto_bucket.lock("k", ttl=1, wait=2.5).__enter__()
    assert caught.value.lock_holder == "ann"


# -- leases -------------------------------------------------------------------------------------------------------------------------


def test_a_lease_keeps_the_second_comer_out(moto_bucket: S3Bucket) -> None:
    """Held inside the block, free after it, the user's data beside the lease."""
    with moto_bucket.lock("k", owner="ann", data={"job": 7}) as lock:
        lock.check()
        stored = moto_bucket.get_json("k")
        with pytest.raises(s3.S3LockError) as caught:
            moto_bucket.lock("k").__enter__()
        assert (lock.lost, caught.value.lock_holder, stored["job"]) == (False, "ann", 7)
        assert (stored["_lease"]["state"], stored["_lease"]["token"], stored["_lease"]["owner"]) == ("held", lock.token, "ann")
    assert (moto_bucket.check_lock("k"), moto_bucket.get_json("k")["_lease"]["state"]) == (None, "free")
    with pytest.raises(s3.S3LockError):
        lock.check()


def test_tokens_grow_also_over_a_deletion_by_hand(moto_bucket: S3Bucket) -> None:
    """Released, taken again, deleted by hand, created again: never a token that falls or comes back."""
    tokens = []
    for delete in (False, True, False):
        with moto_bucket.lock("k") as lock:
            tokens.append(lock.token)
        if delete:
            moto_bucket.delete_object("k")
    assert tokens == sorted(set(tokens))


def test_the_first_token_is_the_servers_second(moto_bucket: S3Bucket) -> None:
    """Date times 2 to the 20th; and acquiring returned only once that second was over."""
    lock = moto_bucket.lock("k").__enter__()
    seconds, rest = divmod(lock.token, 2**20)
    assert (rest, 0 < time.time() - seconds < 5) == (0, True)
    assert time.time() >= seconds + 1
    lock.release()


def test_tokens_grow_also_for_who_saw_the_key_absent_long_ago(moto_bucket: S3Bucket) -> None:
    """It creates the object late, after others created it, held it and deleted it by hand: its token is still the larger one."""
    late = S3Lock(moto_bucket._connection, moto_bucket.name, "k", owner="late")
    assert late._file.read() is None
    with moto_bucket.lock("k") as first:
        pass
    with moto_bucket.lock("k") as second:
        pass
    moto_bucket.delete_object("k")
    assert late._take(None) is True
    assert first.token < second.token < late.token
    late.release()


def test_a_half_made_lease_gives_no_small_token(moto_bucket: S3Bucket) -> None:
    """Who created the object died before the first token: whoever takes it, also by acquire_lock, goes by the server's clock."""
    bucket = moto_bucket
    S3Lock(bucket._connection, bucket.name, "k")._create()
    bucket.acquire_lock("k", {"user": "ann"})
    bucket.release_lock("k")
    with bucket.lock("k") as lock:
        assert abs(lock.token / 2**20 - time.time()) < 10


def test_a_lock_that_was_read_wrong_is_not_acted_upon(moto: Server, moto_bucket: S3Bucket) -> None:
    """A byte that changed on its way could be one of the token's digits."""
    with moto_bucket.lock("k"):
        pass
    with run_proxy(moto.endpoint_url) as proxy:
        behind = moto.connect(endpoint_url=proxy.endpoint_url).bucket(moto_bucket.name)
        proxy.restart(scripted({("GET", "k"): ["corrupt"]}))
        with pytest.raises(s3.S3ChecksumError):
            behind.lock("k").__enter__()


def test_a_race_for_a_plain_lock_file_is_tried_again(faulty: tuple[str, State], faulty_bucket: S3Bucket) -> None:
    """It was there, and gone by the time it was read: that is no lock held by nobody."""
    state = faulty[1]
    faulty_bucket.acquire_lock("race", {"user": "ann"})
    state.faults["race"] = deque([None, "late"])  # the refusal; then the question is lost, and meanwhile:

    def release() -> None:
        while state.faults["race"]:
            time.sleep(0.001)
        with state.mutex:
            state.objects.pop("race", None)

    other = threading.Thread(target=release)
    other.start()
    faulty_bucket.acquire_lock("race", {"user": "bob"})
    other.join()
    assert (faulty_bucket.check_lock("race") or {})["user"] == "bob"


def test_an_expired_lease_is_taken_over(faulty_bucket: S3Bucket, faulty: tuple[str, State]) -> None:
    """A holder that is gone: the next one gets a higher token, within the ttl and three seconds."""
    state = faulty[1]
    with faulty_bucket.lock("gone", ttl=1, owner="dead") as dead:
        document = json.loads(state.objects["gone"].body)
    document["_lease"].update(state="held", ttl=1, owner="dead", nonce="of-a-dead-process")
    faulty_bucket.put_json("gone", document)  # as a killed process leaves it
    began = time.monotonic()
    lock = faulty_bucket.lock("gone", ttl=1, wait=10).__enter__()
    assert (lock.token > dead.token, 1.0 <= time.monotonic() - began < 4.0) == (True, True)
    lock.release()


def test_an_old_lease_is_taken_over_at_once(faulty_bucket: S3Bucket, faulty: tuple[str, State]) -> None:
    """The server's own clock says that it ran out long ago: nobody waits for a ttl."""
    state = faulty[1]
    with faulty_bucket.lock("old", ttl=30) as lock:
        document = json.loads(state.objects["old"].body)
    faulty_bucket.put_json("old", document)
    state.objects["old"].modified -= 32
    began = time.monotonic()
    taken = faulty_bucket.lock("old", ttl=30).__enter__()
    assert (taken.token, time.monotonic() - began < 3) == (lock.token + 1, True)
    taken.release()


def test_a_young_lease_is_not_taken_over(faulty_bucket: S3Bucket, faulty: tuple[str, State]) -> None:
    """One second short of the ttl and a second: the server's clock has whole seconds only, so that proves nothing."""
    state = faulty[1]
    with faulty_bucket.lock("young", ttl=30):
        document = json.loads(state.objects["young"].body)
    faulty_bucket.put_json("young", document)
    state.objects["young"].modified -= 29
    with pytest.raises(s3.S3LockError):
        faulty_bucket.lock("young", ttl=30).__enter__()


def test_a_lease_is_renewed_while_it_is_held(moto_bucket: S3Bucket) -> None:
    """Held for longer than its ttl, by a thread that ends with the lock."""
    with moto_bucket.lock("k", ttl=2) as lock:
        first = moto_bucket["k"].etag
        time.sleep(2.6)
        lock.check()
        with pytest.raises(s3.S3LockError):
            moto_bucket.lock("k", ttl=2).__enter__()
        assert moto_bucket["k"].etag != first
    deadline = time.monotonic() + 5
    while any("lock" in thread.name for thread in threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert [thread.name for thread in threading.enumerate() if "lock" in thread.name] == []


def test_a_lock_that_was_taken_away_is_lost(moto_bucket: S3Bucket) -> None:
    """Deleted by hand and taken by another: the former holder finds out, and frees nothing that is not its own."""
    lock = moto_bucket.lock("k", ttl=1).__enter__()
    moto_bucket.delete_object("k")
    other = moto_bucket.lock("k", ttl=30, owner="other", wait=5).__enter__()
    with pytest.raises(s3.S3LockError):
        lock.renew()
    assert lock.lost is True
    lock.release()
    assert (moto_bucket.check_lock("k") or {})["_lease"]["token"] == other.token > lock.token
    other.release()


def test_a_holder_without_answers_gives_up_by_itself(faulty_bucket: S3Bucket, faulty: tuple[str, State]) -> None:
    """Nothing arrives any more: at the deadline check() raises, whether the store can be reached or not."""
    lock = faulty_bucket.lock("cut", ttl=1).__enter__()
    faulty[1].faults["cut"] = deque(["reset_before"] * 1000)
    time.sleep(1.3)
    with pytest.raises(s3.S3LockError):
        lock.check()
    assert lock.lost is True
    del faulty[1].faults["cut"]


def test_a_plain_acquire_takes_a_free_lease(moto_bucket: S3Bucket) -> None:
    """It holds without a ttl, keeps the tokens growing, and release_lock frees it without deleting it."""
    with moto_bucket.lock("k", ttl=1) as lock:
        token = lock.token
    moto_bucket.acquire_lock("k", {"user": "ann"})
    assert (moto_bucket.check_lock("k") or {})["user"] == "ann"
    with pytest.raises(s3.S3LockError):
        moto_bucket.lock("k", ttl=1).__enter__()
    moto_bucket.release_lock("k")
    with moto_bucket.lock("k") as again:
        assert again.token > token + 1


def test_release_lock_frees_a_lease(moto_bucket: S3Bucket) -> None:
    """Somebody with the right to do so breaks a lease: by compare-and-swap, the token stays."""
    lock = moto_bucket.lock("k", ttl=30).__enter__()
    moto_bucket.release_lock("k")
    assert moto_bucket.check_lock("k") is None
    with moto_bucket.lock("k") as other:
        assert other.token == lock.token + 1
    lock.release()


def test_a_renewal_meanwhile_does_not_stop_release_lock(faulty: tuple[str, State], faulty_bucket: S3Bucket) -> None:
    """The same holder under another etag: that is no change of hands."""
    state = faulty[1]
    lock = faulty_bucket.lock("renewed", ttl=30)
    state.faults["renewed"] = deque([None, "409", "409", "409"])  # read; and by the time it is free to write:

    def renew() -> None:
        while state.faults["renewed"]:
            time.sleep(0.001)
        with suppress(s3.S3LockError):
            lock.renew()

    other = threading.Thread(target=renew)
    other.start()
    faulty_bucket.release_lock("renewed")
    other.join()
    assert faulty_bucket.check_lock("renewed") is None
    lock.release()


@pytest.mark.parametrize("arguments", [{"ttl": 0}, {"ttl": -1}, {"ttl": "30"}, {"wait": -1}, {"data": [1]}, {"data": {"_lease": 1}}])
def test_arguments_without_meaning_are_refused_at_once(moto_bucket: S3Bucket, arguments: dict[str, Any]) -> None:
    """Before anything is sent."""
    with pytest.raises((TypeError, ValueError)):
        moto_bucket.lock("k", **arguments)
    assert moto_bucket["k"].exists() is False


def test_a_forked_child_does_not_own_the_lock(moto_bucket: S3Bucket) -> None:
    """It sees the lock as lost, and its end does not release what the parent holds."""
    with moto_bucket.lock("k") as lock:
        child = os.fork()
        if child == 0:
            try:
                lock.check()
            except s3.S3LockError:
                lock.release()
                os._exit(7)
            os._exit(1)
        _, status = os.waitpid(child, 0)
        lock.check()
        assert (os.waitstatus_to_exitcode(status), (moto_bucket.check_lock("k") or {})["_lease"]["state"]) == (7, "held")


# -- lost answers at every step -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", LOCKS, ids=lambda run: run.__name__)
def test_lost_answers_at_every_transition(faulty: tuple[str, State], faulty_bucket: S3Bucket, run: Run) -> None:
    """Seeded: creating, taking, renewing and releasing, each with answers lost before and after the server acted."""
    faulty_bucket.lock("warm").__enter__().release()
    told = run_seeds(run, faulty_bucket, faulty[1], range(SEEDS), workers=24)
    assert told["held"] + told["done"] > SEEDS // 2, told


# -- the checker of the long run ----------------------------------------------------------------------------------------------------


def told_by(**events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"event": name, **entry} for name, entries in events.items() for entry in entries]


@pytest.mark.parametrize(
    ("events", "said"),
    [
        (told_by(acquired=[{"at": 1, "token": 7}, {"at": 2, "token": 7}]), "tokens do not grow"),
        (told_by(acquired=[{"at": 1, "token": 7}, {"at": 2, "token": 8}], holding=[{"at": 3, "token": 7}]), "two holders"),
        (told_by(writing=[{"at": 1, "n": 1, "token": 1}], written=[{"at": 2, "n": 1, "token": 1}, {"at": 3, "n": 1, "token": 2}]), "lost"),
        (told_by(acquired=[{"at": 1, "token": 7}, {"at": 9, "token": 8}], killed=[{"at": 2, "token": 7}]), "takeover took"),
    ],
    ids=["token", "overlap", "lost update", "late takeover"],
)
def test_the_checker_finds_what_is_wrong(events: list[dict[str, Any]], said: str) -> None:
    """A checker that never complains proves nothing."""
    found = history.check(events, ttl=2, final_count=0).violations
    assert any(said in violation for violation in found), found
