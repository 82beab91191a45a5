"""Fairness: how long clients wait for a lock, or for an ``update()``, that others want as well."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from support.memory_connection import Memory, in_memory, lost, meanwhile, refused
from support.virtual_time import VirtualTime, virtual_time

import messageflux_s3 as s3
from messageflux_s3._objects import drivers, lock_queue
from messageflux_s3._objects.conditional import update_steps
from messageflux_s3._objects.lock import S3Lock, acquire_lock, release_lock

TURNS = int(os.environ.get("TURNS", "600"))
"""Turns of each run in virtual time."""


# -- many clients in virtual time -----------------------------------------------------------------------------------------------------


@dataclass
class Turns:
    """What clients recorded."""

    store: VirtualTime
    waits: list[float] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    holders: dict[int, float] = field(default_factory=dict)  # token of each holder, and the end of its lease
    largest_token: int = 0
    began: float = 0

    def is_done(self) -> bool:
        return len(self.waits) >= TURNS

    @property
    def longest(self) -> float:
        return max(self.waits)

    @property
    def seconds(self) -> float:
        """Mean seconds from one turn to the next."""
        return (self.store.seconds - self.began) / len(self.waits)

    def __str__(self) -> str:
        ordered = sorted(self.waits)
        median, p95 = (ordered[int((len(ordered) - 1) * part)] for part in (0.5, 0.95))
        return (
            f"{len(ordered)} turns: median {median:.3f} s, p95 {p95:.3f} s, longest {ordered[-1]:.3f} s; one turn {self.seconds:.3f} s; "
            f"{self.store.requests / len(ordered):.1f} requests a turn"
        )

    def take_locks(self, *, ttl: float, hold: float) -> None:
        """Take the lock again and again, as fast as possible."""
        while True:
            asked = self.store.seconds
            lock = S3Lock(self.store.address, ttl=ttl, wait=1e9, owner="us").acquire()
            if lock.lost:  # stopped while it was acquired
                continue
            self.waits.append(self.store.seconds - asked)
            others = [token for token, end in self.holders.items() if end > self.store.seconds]
            self.violations += [f"{token} and {lock.token} both hold it at {self.store.seconds}" for token in others]
            if lock.token <= self.largest_token:
                self.violations.append(f"token {lock.token} after {self.largest_token}")
            self.largest_token = lock.token
            self.holders[lock.token] = lock._deadline
            self.store.sleep(self.store.random.uniform(0, 2 * hold))
            del self.holders[lock.token]
            lock.release()


def turns_in_virtual_time(monkeypatch: pytest.MonkeyPatch, *, latency: float = 0.005) -> Turns:
    """Return a store with a free lock, and a record of turns."""
    # The thread that renews a lease lives in real time, so every lease lasts one ttl.
    monkeypatch.setattr(S3Lock, "_start_renewing", lambda self: None)
    store = virtual_time(monkeypatch, latency=latency)
    S3Lock(store.address).acquire().release()
    return Turns(store, began=store.seconds)


@pytest.mark.parametrize("clients", [2, 8, 24])
def test_clients_that_want_a_lock_again_at_once_take_turns(monkeypatch: pytest.MonkeyPatch, clients: int) -> None:
    """The longest wait is a small multiple of the time that one turn of every client takes."""
    turns = turns_in_virtual_time(monkeypatch)
    turns.store.run([lambda: turns.take_locks(ttl=30, hold=0.01)] * clients, turns.is_done)
    print(f"\n{clients} clients, {turns}")
    assert turns.violations == []
    assert turns.longest < 5 * clients * turns.seconds


def test_clients_that_are_killed_and_stopped_do_not_hold_up_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never two holders; a dead holder costs the rest of its lease, a dead waiter half a second."""
    turns = turns_in_virtual_time(monkeypatch)
    store, happened = turns.store, {"killed": 0, "stopped": 0}

    def work() -> None:
        turns.take_locks(ttl=2, hold=0.05)

    def disturb() -> None:
        clients = [store.start(work) for _ in range(8)]
        while True:
            store.sleep(store.random.uniform(0.2, 2))
            hit = store.random.randrange(8)
            if store.random.random() < 0.5:
                happened["killed"] += 1
                store.kill(clients[hit])
                clients[hit] = store.start(work)
            else:
                happened["stopped"] += 1
                store.stop(clients[hit], store.random.uniform(0.1, 4))

    store.run([disturb], turns.is_done)
    print(f"\n{happened}, {turns}")
    assert turns.violations == []
    assert turns.longest < 20  # the stops of this very client included
    assert min(happened.values()) > TURNS / 50


@pytest.mark.parametrize(("clients", "most"), [(2, 1.5), (8, 1.5), (32, 5.0)])
def test_updates_of_one_object_wait_less_the_older_they_are(
    monkeypatch: pytest.MonkeyPatch, clients: int, most: float
) -> None:
    """Clients that update an object again at once do not keep the others from it; every update is applied once."""
    store = virtual_time(monkeypatch)
    store.store("k", b"0")
    turns = Turns(store, began=store.seconds)

    def work() -> None:
        while True:
            asked = store.seconds
            drivers.run(store.connection, update_steps(store.address, lambda body: str(int(body or 0) + 1)))
            turns.waits.append(store.seconds - asked)

    store.run([work] * clients, turns.is_done)
    print(f"\n{clients} clients, {turns}")
    assert (
        len(turns.waits) <= int(store.objects["k"].body) <= len(turns.waits) + clients
    )  # those that were killed at the end
    assert turns.longest < most


# -- the queue, answer by answer ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Memory:
    """A store in memory; the longest pauses, so that the number of looks is known."""
    monkeypatch.setattr(lock_queue, "random", SimpleNamespace(uniform=lambda least, most: most))
    return in_memory(monkeypatch)


G, P = "GetObject", "PutObject"


def stand(memory: Memory, *waiters: Any, age: float = 0, **lease: Any) -> None:
    """Store a lease with a queue."""
    entry = {"state": "held", "token": 5, "ttl": 30.0, "owner": "ann", "nonce": "n", **lease}
    document = {"job": 7, "_lease": {**entry, **({"waiters": [*waiters]} if waiters else {})}}
    memory.store("k", json.dumps(document).encode(), age=age)


def stored(memory: Memory) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(memory.objects["k"].body)
    return found


def queue(memory: Memory) -> list[str]:
    found: list[str] = stored(memory)["_lease"].get("waiters", [])
    return found


def waiting(memory: Memory, wait: float = 3) -> S3Lock:
    return S3Lock(memory.address, owner="us", wait=wait)


def test_a_waiter_joins_the_queue_at_its_second_look_and_leaves_it_when_it_gives_up(memory: Memory) -> None:
    """Nothing else in the document changes, the nonce neither; afterwards the document is as it was."""
    stand(memory, "ann")
    before = stored(memory)
    during: list[dict[str, Any]] = []
    memory.happens = {G: deque([None] * 3 + [meanwhile(lambda: during.append(stored(memory)))])}
    with pytest.raises(s3.S3LockError, match="is held by 'ann'"):
        waiting(memory).acquire()
    assert memory.calls[:4] == [G, G, P, G]
    assert memory.calls[-2:] == [G, P]
    assert memory.calls.count(P) == 2
    name = during[0]["_lease"].pop("waiters")
    assert (len(name), name[0], during[0]["_lease"]) == (
        2, "ann", {key: value for key, value in before["_lease"].items() if key != "waiters"},
    )  # fmt: skip
    assert stored(memory) == before


def test_a_brief_wait_does_not_join_the_queue(memory: Memory) -> None:
    """Neither one of a quarter second, nor one that is over at the second look."""
    stand(memory)
    with pytest.raises(s3.S3LockError):
        waiting(memory, 0.25).acquire()
    memory.happens = {G: deque([None, meanwhile(lambda: stand(memory, state="free"))])}
    waiting(memory).acquire()
    assert memory.calls.count(P) == 1


@pytest.mark.parametrize("lease", [{"ttl": None}, {"token": "five"}])
def test_a_lock_without_a_ttl_or_an_unreadable_one_has_no_queue(memory: Memory, lease: dict[str, Any]) -> None:
    """It is not written by a client that only waits; nor is a plain lock file."""
    for put in (lambda: stand(memory, **lease), lambda: memory.store("k", b'{"user": "ann"}')):
        put()
        with pytest.raises(s3.S3LockError):
            waiting(memory).acquire()
    assert P not in memory.calls


def test_a_free_lock_belongs_to_those_that_wait_for_it(memory: Memory) -> None:
    """A client that does not wait is told so; one that waits gets it half a second later for each waiter before it, at most two seconds."""
    for count, after in ((1, 0.5), (2, 1.0), (9, 2.0)):
        stand(memory, *(f"{number}" for number in range(count)), state="free")
        others = "1 other client waits for it" if count == 1 else f"{count} other clients wait for it"
        with pytest.raises(s3.S3LockError, match=f"is free, but {others}") as caught:
            waiting(memory, 0).acquire()
        assert caught.value.lock_holder is None
        memory.date = None
        began = memory.seconds
        lock = waiting(memory, 10).acquire()
        assert after <= memory.seconds - began < after + 0.3
        assert queue(memory) == []  # all that did not take it in time
        lock.release()
        memory.date = ""


def test_a_lock_that_its_waiters_left_free_is_acquired_without_waiting(memory: Memory) -> None:
    """By the server's clock: three seconds after its release the waiters must have died."""
    stand(memory, "a", "b", state="free", age=2)
    with pytest.raises(s3.S3LockError, match="is free, but 2 other clients wait"):
        waiting(memory, 0).acquire()
    stand(memory, "a", "b", state="free", age=3)
    memory.calls.clear()
    waiting(memory, 0).acquire()
    assert (memory.calls, queue(memory)) == ([G, P], [])


def test_a_free_lock_with_waiters_is_acquired_without_waiting_on_a_server_without_a_date(memory: Memory) -> None:
    """Nothing shows whether the waiters have died, and a client that does not wait could never acquire the lock again."""
    stand(memory, "a", "b", state="free", age=3600)
    memory.date = None
    waiting(memory, 0).acquire()
    assert (memory.calls, memory.slept, queue(memory)) == ([G, P], [], [])
    assert stored(memory)["_lease"]["token"] == 6


def test_the_first_of_the_queue_takes_the_lock_and_leaves_the_rest_of_the_queue(memory: Memory) -> None:
    """Those behind it stay. An expired lease is taken by the first client that notices, and all others stay."""

    def free() -> None:
        entry = stored(memory)["_lease"]
        stand(memory, *entry["waiters"], "z", state="free", nonce="m")

    stand(memory)
    memory.happens = {G: deque([None] * 4 + [meanwhile(free)])}
    waiting(memory).acquire()
    assert queue(memory) == ["z"]
    stand(memory, "a", "z", age=40)
    waiting(memory).acquire()
    assert queue(memory) == ["a", "z"]


def test_a_waiter_that_was_skipped_joins_at_the_front_once(memory: Memory) -> None:
    """All that are in the queue came later. If it is skipped again, it is too slow, and joins at the end."""
    queues: list[list[str]] = []

    def skip(nonce: str) -> Callable[[], None]:
        def write() -> None:
            queues.append(queue(memory))
            stand(memory, "z", nonce=nonce)

        return write

    stand(memory)
    memory.happens = {
        G: deque(
            [None] * 4
            + [meanwhile(skip("1"))]
            + [None] * 3
            + [meanwhile(skip("2"))]
            + [None] * 4
            + [meanwhile(skip("3"))]
        )
    }
    with pytest.raises(s3.S3LockError):
        waiting(memory).acquire()
    ((name,), front, end) = queues
    assert (front, end) == ([name, "z"], ["z", name])


@pytest.mark.parametrize("waiters", ["a", 7, {"a": 1}, [1], ["a", None], [f"{number}" for number in range(33)]])
def test_a_queue_of_another_form_counts_as_empty(memory: Memory, waiters: Any) -> None:
    """It neither keeps a client from a free lock, nor from joining."""
    stand(memory, state="free")
    document = stored(memory)
    document["_lease"]["waiters"] = waiters
    memory.store("k", json.dumps(document).encode())
    waiting(memory, 0).acquire()
    assert queue(memory) == []


def test_a_full_queue_is_not_joined(memory: Memory) -> None:
    """Further clients look again until the queue is shorter."""
    stand(memory, *(f"{number}" for number in range(32)))
    with pytest.raises(s3.S3LockError):
        waiting(memory).acquire()
    assert P not in memory.calls


def test_a_holder_keeps_the_queue_that_has_formed_since(memory: Memory) -> None:
    """Its renewal and its release are refused once, and then write the queue back; so do acquire_lock and release_lock."""
    stand(memory, state="free")
    lock = waiting(memory).acquire()
    for act, state, name in ((lock.renew, "held", "a"), (lock.release, "free", "b")):
        document = stored(memory)
        document["_lease"]["waiters"] = [*document["_lease"].get("waiters", []), name]
        memory.store("k", json.dumps(document).encode())
        memory.calls.clear()
        act()
        assert (memory.calls, stored(memory)["_lease"]["state"]) == ([P, G, P], state)
    assert queue(memory) == ["a", "b"]
    acquire_lock(memory.address, {"user": "bob"})
    assert (stored(memory)["user"], queue(memory)) == ("bob", ["a", "b"])
    release_lock(memory.address)
    assert (stored(memory)["_lease"]["state"], queue(memory)) == ("free", ["a", "b"])


def test_a_lease_does_not_look_renewed_when_waiters_join_or_leave(memory: Memory) -> None:
    """A waiter watches the nonce, so that a dead holder is replaced after one ttl, however many join meanwhile."""
    memory.date = None
    stand(memory, ttl=2.0)
    names = iter(range(1000))
    memory.happens = {G: deque([meanwhile(lambda: stand(memory, f"{next(names)}", ttl=2.0))] * 100)}
    began = memory.seconds
    waiting(memory, 10).acquire()
    assert 2.0 <= memory.seconds - began <= 2.25


def test_a_take_that_a_joining_client_made_fail_is_repeated_at_once(memory: Memory) -> None:
    """It is still this client's turn."""
    stand(memory)

    def free(*more: str) -> Callable[[], None]:
        return lambda: stand(memory, *queue(memory), *more, state="free", nonce="m")

    memory.happens = {G: deque([None, None, meanwhile(free())]), P: deque([None, meanwhile(free("z"))])}
    waiting(memory).acquire()
    assert (len(memory.slept), queue(memory)) == (2, ["z"])


@pytest.mark.parametrize(
    ("error", "leaves"), [(KeyboardInterrupt(), True), (s3.S3ConnectionError("lost", operation="Op"), False)]
)
def test_a_wait_that_is_broken_off_leaves_the_queue_unless_the_store_failed(
    memory: Memory, error: BaseException, leaves: bool
) -> None:
    """A store that has just failed is not asked again; the others then skip the place."""
    stand(memory)

    def fail(act: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        raise error

    memory.happens = {G: deque([None, None, None, fail])}
    with pytest.raises(type(error)):
        waiting(memory).acquire()
    assert len(queue(memory)) == (0 if leaves else 1)


def test_a_place_that_cannot_be_given_up_is_no_error_of_its_own(memory: Memory) -> None:
    """The error is that of the wait; other clients' writes are waited out a few times."""
    for happening in (lost(), refused(412)):
        stand(memory)
        memory.happens = {P: deque([None] + [happening] * 5)}
        with pytest.raises(s3.S3LockError, match="is held by 'ann'"):
            waiting(memory).acquire()


def test_a_waiter_that_cannot_join_the_queue_waits_without_a_place(memory: Memory) -> None:
    """A failed write of the queue does not end the wait, and is not repeated."""
    stand(memory)
    memory.happens = {P: deque([refused(403)]), G: deque([None] * 8 + [meanwhile(lambda: stand(memory, state="free"))])}
    waiting(memory).acquire()
    assert (memory.calls.count(P), queue(memory)) == (2, [])
