"""Locks: one holder at a time, increasing tokens, takeover after expiry; refused if the store does not honour conditions."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import pickle
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import FrozenInstanceError
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from support import lock_history
from support.memory_connection import (
    Happening,
    Memory,
    cut,
    done_and_lost,
    done_then,
    in_memory,
    lost,
    meanwhile,
    refused,
)
from support.proxy import run_proxy, scripted
from support.seeded_runs import LOCKS, Run, connected, run_faulty_server, run_seeds
from support.servers import Server
from support.stateful_server import StatefulStore
from support.waiting import wait_until

import messageflux_s3 as s3
from messageflux_s3 import S3Bucket
from messageflux_s3._objects import conditional, lock, lock_queue
from messageflux_s3._objects.lock import S3Lock, acquire_lock, check_lock, holder_of, release_lock
from messageflux_s3.aio.locks import AsyncS3Lock, StoppableLock

SEEDS = 12
"""Runs of each kind here; ``tests/attacks/test_lock_runs.py`` makes thousands."""


# -- what is decided, answer by answer ----------------------------------------------------------------------------------------------


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Memory:
    """A store in memory; the test sets the outcome of each request, and the time."""
    return in_memory(monkeypatch)


G, P, D, H = "GetObject", "PutObject", "DeleteObject", "HeadObject"


def made(memory: Memory, **options: Any) -> S3Lock:
    """A lock that is not acquired yet."""
    return S3Lock(memory.address, **{"owner": "us", **options})


def stand(memory: Memory, *, age: float = 0, document: Any = None, **lease: Any) -> None:
    """Store a lease, by default one of another holder."""
    entry = {"state": "held", "token": 5, "ttl": 30.0, "owner": "ann", "nonce": "n", **lease}
    memory.store("k", json.dumps({"_lease": entry} if document is None else document).encode(), age=age)


def stored(memory: Memory) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(memory.objects["k"].body)
    return found


def test_the_clock_goes_on_while_the_machine_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's clock that includes suspended time, or time.monotonic() if there is none."""
    assert getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None)) == lock._CLOCK
    monkeypatch.setattr(lock, "_CLOCK", time.CLOCK_REALTIME)
    assert abs(lock.clock() - time.time()) < 60
    monkeypatch.setattr(lock, "_CLOCK", None)
    assert abs(lock.clock() - time.monotonic()) < 60


@pytest.mark.parametrize(
    ("entry", "lease"),
    [
        ({"token": 7}, ("held", 7, None, "", "")),
        ({"token": 7, "state": "free", "ttl": 3, "owner": "ann", "nonce": "n"}, ("free", 7, 3.0, "ann", "n")),
        ({"token": 7, "state": "held", "ttl": 3.5}, ("held", 7, 3.5, "", "")),
        ({"token": 7, "ttl": 1}, ("held", 7, 1.0, "", "")),
    ],
)
def test_leases_are_parsed_or_unreadable(entry: Any, lease: Any) -> None:
    """Without a state it is held, without a ttl it never ends; UNREADABLE has the entries that are refused."""
    found = lock._Lease.of({"_lease": entry})
    assert found is not None and (found.state, found.token, found.ttl, found.owner, found.nonce) == lease
    assert lock._Lease.of(found.entry()) == found
    assert lock._Lease.of({}) is None


@pytest.mark.parametrize(
    "arguments",
    [
        {"ttl": 0.99}, {"ttl": 86_401}, {"ttl": True}, {"ttl": "30"}, {"ttl": float("nan")}, {"ttl": None},
        {"wait": -0.1}, {"wait": True}, {"wait": "1"}, {"wait": float("nan")},
    ],
)  # fmt: skip
def test_invalid_times_raise_an_error_that_names_the_argument(memory: Memory, arguments: dict[str, Any]) -> None:
    """The error names the argument and what it got."""
    ((name, value),) = arguments.items()
    with pytest.raises(ValueError, match=f"{name} must be .* not {value!r}"):
        made(memory, **arguments)


def test_arguments_at_their_bounds_are_accepted_without_a_request(memory: Memory) -> None:
    """The bounds are valid; nothing is sent until the lock is acquired."""
    for ttl, wait, data in ((1, 0, None), (86_400, 0.5, {}), (1.5, float("inf"), {"a": [1]})):
        made(memory, ttl=ttl, wait=wait, data=data)
    assert memory.calls == []
    assert (made(memory)._ttl, made(memory)._wait, made(memory).owner, made(memory).key) == (30.0, 0.0, "us", "k")
    node = os.uname().nodename if hasattr(os, "uname") else "host"
    assert (made(memory, owner=None).owner, made(memory, owner="").owner) == (f"{node}:{os.getpid()}", "")
    with pytest.raises(TypeError, match="owner must be text, not int"):
        made(memory, owner=7)
    with pytest.raises(ValueError, match="owner cannot be written as UTF-8"):
        made(memory, owner="\ud800")


@pytest.mark.parametrize(
    ("data", "error", "said"),
    [
        ([1], TypeError, "data must be a mapping that JSON can represent, not list"),
        ({"_lease": 1}, ValueError, "data must not have an entry '_lease'"),
        ({"a": {1, 2}}, TypeError, "data must be a mapping that JSON can represent: "),
        ({"a": "\ud800"}, TypeError, "data must be a mapping that JSON can represent: "),
    ],
)
def test_invalid_data_is_refused_before_a_request(memory: Memory, data: Any, error: type[Exception], said: str) -> None:
    """Refused before anything is sent, by a lease and by a plain lock file alike."""
    for action in (lambda: made(memory, data=data), lambda: acquire_lock(memory.address, data)):
        with pytest.raises(error, match=said):
            action()
    looped: dict[str, Any] = {}
    looped["self"] = looped
    with pytest.raises(TypeError, match="data must be"):
        made(memory, data=looped)
    assert memory.calls == []


def test_every_lock_error_names_bucket_and_key(memory: Memory) -> None:
    """Also those that are raised without a request."""
    one = made(memory)
    errors: list[s3.S3Error] = []
    for act in (lambda: one.token, one.check, one.renew):
        with pytest.raises(s3.S3LockError) as caught:
            act()
        errors.append(caught.value)
    stand(memory, state="free")
    one.acquire()
    with pytest.raises(s3.S3LockError, match="already held") as caught:
        one.acquire()
    errors.append(caught.value)
    memory.objects.clear()
    with pytest.raises(s3.S3LockError, match="was lost") as caught:
        one.renew()
    errors.append(caught.value)
    assert [(error.bucket, error.key) for error in errors] == [("b", "k")] * 5


def test_a_lock_has_no_token_before_it_is_acquired(memory: Memory) -> None:
    """It has no token, counts as lost, and releases nothing."""
    one = made(memory)
    assert (one.lost, repr(one)) == (True, "<S3Lock s3://b/k by 'us': not held>")
    with pytest.raises(s3.S3LockError, match="was not acquired"):
        _ = one.token
    for action in (one.check, one.renew):
        with pytest.raises(s3.S3LockError, match="is not held") as caught:
            action()
        assert caught.value.key == "k"
    one.release()
    assert memory.calls == []


def test_a_new_lock_is_created_free_and_acquired_after_its_first_second(memory: Memory) -> None:
    """It is created free, and held only after the second of its token, from the Date of the response, has passed."""
    memory.wait(0.5)
    second = int(memory.server_now.timestamp())
    with made(memory, data={"job": 7}) as one:
        assert (one.token, memory.server_now.timestamp() >= second + 1) == (second * 2**20, True)
        assert memory.slept == [0.2] * 3
        assert memory.calls == [G, P, G, G, G, G, P]
        assert (memory.sent[1]["IfNoneMatch"], memory.sent[-1]["IfMatch"] != "") == ("*", True)
        assert json.loads(memory.sent[1]["Body"])["_lease"]["state"] == "free"
        assert {sent["ContentType"] for sent in memory.sent if "Body" in sent} == {"application/json"}
        assert {len(json.loads(sent["Body"])["_lease"]["nonce"]) for sent in memory.sent if "Body" in sent} == {24}
        entry = stored(memory)["_lease"]
        assert (stored(memory)["job"], entry["state"], entry["token"], entry["ttl"], entry["owner"]) == (
            7,
            "held",
            one.token,
            30.0,
            "us",
        )
        assert repr(one) == f"<S3Lock s3://b/k by 'us': held, token {one.token}>"
    assert (memory.calls[-1], stored(memory)["_lease"]["state"], stored(memory)["_lease"]["token"]) == (
        P,
        "free",
        one.token,
    )
    assert len(stored(memory)["_lease"]["nonce"]) == 24


def test_a_first_token_may_take_several_seconds(memory: Memory) -> None:
    """If the response that shows the next second is slow, the token is still valid."""
    second = int(memory.server_now.timestamp())
    memory.happens = {G: deque([None, None, meanwhile(lambda: memory.wait(3))])}
    one = made(memory).acquire()
    assert (one.token, memory.calls) == (second * 2**20, [G, P, G, G, P])
    one.release()


def test_a_free_lease_is_acquired_without_waiting(memory: Memory) -> None:
    """One GET, one PUT, the next token; text beyond ASCII is written as it is."""
    stand(memory, state="free")
    one = made(memory, owner="jürgen").acquire()
    assert (one.token, memory.calls, memory.slept) == (6, [G, P], [])
    assert "jürgen".encode() in memory.objects["k"].body
    one.release()


@pytest.mark.parametrize(
    ("lease", "age", "is_taken"),
    [
        ({"ttl": 30}, 31, True),
        ({"ttl": 30}, 3600, True),
        ({"ttl": 30}, 30.9, False),
        ({"ttl": 30}, 0, False),
        ({"ttl": None}, 10**7, False),
        ({"state": "free", "ttl": None}, 0, True),
    ],
)
def test_a_free_or_expired_lease_is_acquired_without_waiting(
    memory: Memory, lease: dict[str, Any], age: float, is_taken: bool
) -> None:
    """Free, or older than its ttl and a second by the server's clock; one without a ttl never."""
    stand(memory, age=age, **lease)
    if is_taken:
        one = made(memory).acquire()
        assert (one.token, memory.calls) == (6, [G, P])
        return one.release()
    with pytest.raises(s3.S3LockError, match="s3://b/k is held by") as caught:
        made(memory).acquire()
    assert (memory.calls, memory.slept, caught.value.bucket, caught.value.key) == ([G], [], "b", "k")
    return None


def test_a_lease_without_dates_does_not_count_as_expired(memory: Memory) -> None:
    """Both the response's Date and Last-Modified are needed."""
    stand(memory, age=3600)
    memory.date = None
    with pytest.raises(s3.S3LockError):
        made(memory).acquire()
    memory.date = ""
    memory.happens = {G: deque([lambda act: {name: value for name, value in act().items() if name != "LastModified"}])}
    with pytest.raises(s3.S3LockError):
        made(memory).acquire()


def test_leases_are_immutable() -> None:
    """A lease and what was read are values: their fields are set once, and there are no others."""
    lease = lock._Lease("free", 1, None, "", "")
    for value, name in ((lease, "token"), (lock._Snapshot({}, lease, "e", None, None), "etag")):
        with pytest.raises(FrozenInstanceError):
            setattr(value, name, None)
        assert not hasattr(value, "__dict__")


def test_an_unchanged_lease_is_taken_over_after_exactly_one_ttl(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock is taken over after exactly one ttl."""
    monkeypatch.setattr(lock_queue, "random", SimpleNamespace(uniform=lambda least, most: 0.25))
    memory.date = None
    stand(memory, ttl=5.0)
    one = made(memory, wait=10).acquire()
    assert memory.slept == [0.25] * 20
    one.release()


def test_waiting_takes_over_an_expired_lease(memory: Memory) -> None:
    """A contender watches for a whole ttl by its own clock; a renewal starts the ttl again. It polls every quarter second or more often."""
    memory.date = None
    stand(memory, ttl=5.0)
    began = memory.seconds
    one = made(memory, wait=10).acquire()
    assert (one.token, 5.0 <= memory.seconds - began <= 5.25) == (6, True)
    assert all(0.01 <= slept <= 0.25 for slept in memory.slept)
    assert all(slept >= 0.125 for slept in memory.slept[-8:])  # rarely, if the lock has long been held
    one.release()
    for etag in ("0-1", "z-1"):  # a smaller one and a larger one than before

        def renew(etag: str = etag) -> None:
            nonlocal began
            began = memory.seconds
            stand(memory, ttl=5.0, nonce="renewed")
            memory.objects["k"].etag = etag

        stand(memory, ttl=5.0)
        began = memory.seconds
        memory.happens = {G: deque([None] * 8 + [meanwhile(renew)])}
        renewed = made(memory, wait=10).acquire()
        assert 5.0 <= memory.seconds - began <= 5.25
        renewed.release()


def test_the_ttl_is_watched_from_the_response_not_the_request(memory: Memory) -> None:
    """The wait counts from the response: during a slow GET the holder may have renewed."""
    memory.date = None
    stand(memory, ttl=5.0)
    memory.happens = {G: deque([lambda act: (act(), memory.wait(4.9))[0]])}
    began = memory.seconds
    one = made(memory, wait=20).acquire()
    assert memory.seconds - began >= 9.9
    one.release()


def test_waiting_for_a_lock_ends_after_wait_seconds(memory: Memory) -> None:
    """acquire() waits exactly as long as given; the error names the holder."""
    stand(memory)
    began = memory.seconds
    with pytest.raises(s3.S3LockError) as caught:
        made(memory, wait=3).acquire()
    assert (caught.value.lock_holder, memory.seconds - began) == ("ann", pytest.approx(3))


def test_the_error_of_a_held_lock_says_until_when(memory: Memory) -> None:
    """By the store's clock; without dates by the ttl; a lock without a ttl never expires."""
    stand(memory, age=10)
    with pytest.raises(s3.S3LockError, match="is held by 'ann'") as caught:
        made(memory).acquire()
    end = f"{memory.objects['k'].modified + timedelta(seconds=30):%Y-%m-%d %H:%M:%S} UTC by the store's clock"
    assert str(caught.value) == f"the lock s3://b/k is held by 'ann' until {end}, unless it is renewed"
    stand(memory, ttl=None)
    with pytest.raises(s3.S3LockError, match=r"'ann', and never expires: release_lock\('k'\) releases it$"):
        made(memory).acquire()
    stand(memory, age=40)
    with pytest.raises(s3.S3LockError, match=r"'ann', whose lease ended at .* UTC by the store's clock$"):
        acquire_lock(memory.address)


def test_a_rejected_acquisition_names_the_new_holder(memory: Memory) -> None:
    """If another contender is faster, the write is rejected and the error names the new holder."""
    stand(memory, state="free")
    memory.happens = {P: deque([meanwhile(lambda: stand(memory, owner="bob", token=6))])}
    with pytest.raises(s3.S3LockError, match="is held by 'bob'") as caught:
        made(memory).acquire()
    assert caught.value.lock_holder == "bob"
    stand(memory, state="free")
    memory.happens = {P: deque([meanwhile(lambda: stand(memory, state="free", nonce="again"))])}
    with pytest.raises(s3.S3LockError, match="could not be acquired: other clients were faster") as caught:
        made(memory).acquire()
    assert caught.value.lock_holder is None
    memory.happens = {P: deque([meanwhile(lambda: memory.objects.clear())])}
    with pytest.raises(s3.S3LockError, match="could not be acquired: other clients were faster"):
        made(memory).acquire()


def test_a_lease_whose_response_took_longer_than_its_ttl_is_not_held(memory: Memory) -> None:
    """The lease is then not held; with a slightly faster response it is, until a ttl after the request."""
    for late in (30, 31):
        stand(memory, state="free")
        memory.happens = {P: deque([meanwhile(lambda seconds=late: memory.wait(seconds))])}
        with pytest.raises(s3.S3LockError):
            made(memory).acquire()
    stand(memory, state="free")
    memory.happens = {P: deque([meanwhile(lambda: memory.wait(29.75))])}
    one = made(memory).acquire()
    assert one.lost is False
    memory.wait(0.25)
    assert one.lost is True


def test_acquiring_a_lock_that_another_client_created_first_raises(memory: Memory) -> None:
    """If another client has changed it when it is read, no token is derived from it."""
    memory.happens = {G: deque([None, meanwhile(lambda: stand(memory, owner="bob"))])}
    with pytest.raises(s3.S3LockError) as caught:
        made(memory).acquire()
    assert (caught.value.lock_holder, memory.calls) == ("bob", [G, P, G, G])
    memory.objects.clear()
    memory.happens = {G: deque([None, meanwhile(lambda: memory.objects.clear())])}
    with pytest.raises(s3.S3LockError, match="other clients were faster"):
        made(memory).acquire()


def test_no_first_token_is_issued_if_the_object_changed_meanwhile(memory: Memory) -> None:
    """If the object is written or deleted while acquire() waits for the next second, no token is issued."""

    def write(etag: str) -> None:
        stand(memory, owner="bob")
        memory.objects["k"].etag = etag

    for change in (lambda: write("0-1"), lambda: write("z-1"), lambda: memory.objects.clear()):
        stand(memory, state="free", token=0)
        memory.calls.clear()
        memory.happens = {G: deque([None, meanwhile(change)])}
        with pytest.raises(s3.S3LockError):
            made(memory).acquire()
        assert memory.calls == [G, G, G]


def test_a_first_token_requires_the_clock_of_the_server(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a Date header, or with a clock that does not advance, no token is issued; both errors are retryable."""
    stand(memory, state="free", token=0)
    memory.date = None
    with pytest.raises(s3.S3ConnectionError, match="the response for the lock s3://b/k has no Date header") as silent:
        made(memory).acquire()
    memory.date = "Sat, 21 Nov 2026 12:00:00 GMT"
    memory.happens = {G: deque([None, lambda act: {**act(), "ResponseMetadata": {}}])}
    with pytest.raises(s3.S3ConnectionError, match="no Date"):
        made(memory).acquire()
    began = memory.seconds
    with pytest.raises(s3.S3ServerError, match="clock does not advance: no token for the lock s3://b/k") as stuck:
        made(memory).acquire()
    assert 10 <= memory.seconds - began < 10.3
    assert [(error.value.key, error.value.retryable) for error in (silent, stuck)] == [("k", True)] * 2
    monkeypatch.setattr(lock, "_CLOCK_IS_STUCK", 0.0)
    memory.slept.clear()
    with pytest.raises(s3.S3ServerError, match="clock does not advance"):
        made(memory).acquire()
    assert memory.slept == []  # no further wait


def test_a_lock_is_not_acquired_twice(memory: Memory) -> None:
    """acquire() on a held lock raises, entering it again does nothing; a lost lock can be acquired again."""
    stand(memory, state="free")
    one = made(memory).acquire()
    memory.calls.clear()
    with pytest.raises(s3.S3LockError, match="is already held by this S3Lock"):
        one.acquire()
    assert (one.__enter__() is one, memory.calls) == (True, [])
    one.release()
    with one as again:
        assert (again is one, one.token, one.lost) == (True, 7, False)


@pytest.mark.parametrize("ignored", ["put_if_absent", "put_if_match"])
def test_a_lock_requires_both_conditional_capabilities(memory: Memory, ignored: str) -> None:
    """Creating and replacing: a store that ignores one of them gets nothing written."""
    memory.is_aws = False
    memory.facts["versioned:b"] = (True, 0.0)
    abilities = {
        "put_if_absent_versioned": "honoured",
        "put_if_match_versioned": "honoured",
        f"{ignored}_versioned": "ignored",
    }
    memory.config.capabilities = SimpleNamespace(**abilities)
    with pytest.raises(s3.S3Unsupported, match=ignored):
        made(memory).acquire()
    assert memory.calls == []


@pytest.mark.parametrize(
    "put", [done_and_lost, done_then(412), done_then(500), cut], ids=["lost", "refused", "500", "cut"]
)
def test_a_lost_response_is_reconciled_by_the_nonce(memory: Memory, put: Happening) -> None:
    """After a lost response the nonce in the object shows that the write took place."""
    stand(memory, state="free")
    memory.happens = {P: deque([put]), H: deque([lost()] * 9)}
    one = made(memory).acquire()
    assert (one.token, one.lost) == (6, False)
    one.renew()
    one.release()
    assert stored(memory)["_lease"]["state"] == "free"


def test_a_truncated_or_malformed_lock_file_raises(memory: Memory) -> None:
    """A truncated or unreadable lock object raises, and nothing is written."""
    for body in (b"not json", b"[1]", b"\xff"):
        memory.store("k", body)
        for act in (
            lambda: made(memory).acquire(),
            lambda: check_lock(memory.address),
            lambda: acquire_lock(memory.address),
        ):
            with pytest.raises(s3.S3LockError, match="cannot be read") as caught:
                act()
            assert (caught.value.lock_holder, memory.objects["k"].body) == (None, body)
    memory.objects["k"].headers = {"ETag": None}
    with pytest.raises(s3.S3ConnectionError, match="headers of the response were cut off"):
        made(memory).acquire()


def held(memory: Memory, **options: Any) -> S3Lock:
    """A held lock, with no calls recorded yet."""
    stand(memory, state="free")
    one = made(memory, **options).acquire()
    memory.calls.clear()
    return one


def test_a_renewal_moves_the_deadline(memory: Memory) -> None:
    """One PUT with the same token and a new nonce; the ttl counts from the request."""
    one = held(memory)
    before = stored(memory)["_lease"]
    memory.wait(20)
    memory.happens = {P: deque([meanwhile(lambda: memory.wait(5))])}
    one.renew()
    after = stored(memory)["_lease"]
    assert (memory.calls, after["token"], after["nonce"] != before["nonce"], after["state"]) == ([P], 6, True, "held")
    assert (len(before["nonce"]), len(after["nonce"])) == (24, 24)
    memory.wait(24.75)
    one.check()
    memory.wait(0.25)
    with pytest.raises(s3.S3LockError):
        one.check()


def test_a_renewal_whose_response_is_late_loses_the_lock(memory: Memory) -> None:
    """After the deadline the lock stays lost, but is released; just before it is not lost."""
    one = held(memory)
    memory.happens = {P: deque([meanwhile(lambda: memory.wait(29.75))])}
    one.renew()
    for late in (0.25, 1):  # at its deadline, to the moment; and later
        memory.happens = {P: deque([meanwhile(lambda seconds=late: memory.wait(seconds))])}
        with pytest.raises(s3.S3LockError, match="s3://b/k was lost: its renewal took longer than the lease") as caught:
            one.renew()
        assert (caught.value.key, one.lost) == ("k", True)
        one.release()
        assert stored(memory)["_lease"]["state"] == "free"
        one = held(memory)
        memory.wait(29.5)


@pytest.mark.parametrize("change", ["another's", "free", "gone", "no lease"])
def test_a_renewal_of_a_lock_that_was_taken_over_loses_it(memory: Memory, change: str) -> None:
    """The lock is lost; releasing it writes nothing."""
    one = held(memory)
    if change == "another's":
        stand(memory, token=7)
    elif change == "free":
        release_lock(memory.address)
    elif change == "gone":
        memory.objects.clear()
    else:
        stand(memory, document={"user": "ann"})
    with pytest.raises(s3.S3LockError, match="was lost: another client has written it") as caught:
        one.renew()
    assert (one.lost, caught.value.key) == (True, "k")
    memory.calls.clear()
    one.release()
    assert memory.calls == []


def test_a_lease_freed_by_hand_under_its_own_nonce_is_lost(memory: Memory) -> None:
    """A lease that was set to free by hand is lost, even with the holder's nonce."""
    one = held(memory)
    entry = stored(memory)["_lease"]
    stand(memory, **{**entry, "state": "free"})
    with pytest.raises(s3.S3LockError, match="was lost"):
        one.renew()


def test_a_renewal_with_lost_responses_is_repeated_on_the_present_etag(memory: Memory) -> None:
    """A lost earlier write was applied: the state is ours, with another etag. After three attempts it raises."""
    one = held(memory)
    memory.happens = {P: deque([lost()] * 3), H: deque([lost()])}
    memory.happens[G] = deque([lost()])
    with pytest.raises(s3.S3ConnectionError):
        one.renew()
    assert one.lost is False
    attempted = (
        json.loads(memory.sent[-3]["Body"]) if "Body" in memory.sent[-3] else json.loads(memory.sent[-2]["Body"])
    )
    memory.happens.clear()
    memory.store("k", json.dumps(attempted).encode())  # it arrives late
    one.renew()
    one.check()
    memory.calls.clear()
    memory.happens = {P: deque([refused(412)] * 9)}
    with pytest.raises(
        s3.S3ServerError, match="s3://b/k could not be written: the store rejects the ETag that it returned"
    ) as caught:
        one.renew()
    assert (memory.calls.count(P), caught.value.key, caught.value.retryable, one.lost) == (3, "k", True, False)
    memory.happens.clear()
    one.release()
    assert stored(memory)["_lease"]["state"] == "free"


def test_an_earlier_nonce_is_not_treated_as_our_own(memory: Memory) -> None:
    """Only an edit by hand can restore an earlier nonce; such a state is not treated as our own."""
    one = held(memory)
    old = memory.objects["k"].body
    one.renew()
    memory.store("k", old)
    with pytest.raises(s3.S3LockError, match="was lost"):
        one.renew()


def test_releasing_a_lock_that_was_taken_over_warns(memory: Memory, caplog: pytest.LogCaptureFixture) -> None:
    """release() of a lock that was taken over does not raise, and logs one warning."""
    one = held(memory)
    stand(memory, token=7)
    with caplog.at_level(logging.WARNING, "messageflux_s3"):
        one.release()
        one.release()
    assert [record.getMessage() for record in caplog.records] == [
        "the lock s3://b/k was taken over before it was released"
    ]
    assert stored(memory)["_lease"]["token"] == 7


def test_a_lock_past_its_deadline_is_released(memory: Memory) -> None:
    """If it was not taken over, release() frees it, so that the next client need not wait."""
    one = held(memory)
    memory.wait(100)
    assert one.lost is True
    one.release()
    assert (memory.calls, stored(memory)["_lease"]["state"]) == ([P], "free")


@pytest.mark.parametrize("pid", [-1, 2**40])
def test_a_forked_child_neither_holds_nor_releases_the_lock(
    memory: Memory, monkeypatch: pytest.MonkeyPatch, pid: int
) -> None:
    """A forked child does not hold or release the parent's lock; mutexes held at the fork block neither it nor its own locks."""
    one = held(memory)
    one._transition.acquire()
    parents = one._transition
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: pid)
        assert one.lost is True
        with pytest.raises(s3.S3LockError):
            one.renew()
        one.release()
        assert (memory.calls, one._stop.is_set()) == ([], False)
        parents_stop = one._stop
        stand(memory, state="free", token=9)
        one.acquire()
        one.renew()
        assert (one.token, parents_stop.is_set()) == (10, False)
        one.release()
        assert stored(memory)["_lease"]["state"] == "free"
    parents_stop.set()
    parents.release()


def test_the_renewal_thread_ends_with_the_lock(memory: Memory) -> None:
    """A named daemon thread, which has ended when release() returns."""
    one = held(memory)
    thread = one._renewer
    assert thread is not None
    assert (thread.daemon, thread.name, thread.is_alive()) == (True, "messageflux-s3-lock k", True)
    one.release()
    assert (thread.is_alive(), one._renewer) == (False, None)


class Stop:
    """Replaces the event that ends the thread; records its waiting times."""

    def __init__(self, turns: int) -> None:
        self.waits: list[float] = []
        self.turns = turns

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        return len(self.waits) > self.turns


class Renewed:
    """Replaces the lock; each renewal has a scripted outcome."""

    def __init__(self, *outcomes: Exception | None) -> None:
        self.outcomes = deque(outcomes)
        self._transition = threading.RLock()

    def renew(self) -> None:
        outcome = self.outcomes.popleft()
        if outcome is not None:
            raise outcome


def test_a_lock_is_renewed_every_third_of_its_ttl(caplog: pytest.LogCaptureFixture) -> None:
    """Every third of the ttl; after a failure at most a second later; it ends when the lock is lost or collected."""
    trouble = s3.S3ConnectionError("no server there")
    with caplog.at_level(logging.WARNING, "messageflux_s3"):
        for ttl, sooner in ((30.0, 1.0), (3.0, 0.3)):
            stop, one = Stop(4), Renewed(None, trouble, trouble, None)
            lock._renew_until_stopped(weakref.ref(one), stop, ttl)  # type: ignore[arg-type]
            assert stop.waits == [ttl / 3, ttl / 3, sooner, sooner, ttl / 3]
    assert [record.getMessage().rpartition(" could not ")[2] for record in caplog.records] == [
        "be renewed yet: no server there"
    ] * 4
    stop, one = Stop(4), Renewed(None, s3.S3LockError("lost"))
    lock._renew_until_stopped(weakref.ref(one), stop, 30.0)  # type: ignore[arg-type]
    assert len(stop.waits) == 2
    gone = weakref.ref(Renewed())
    stop = Stop(4)
    lock._renew_until_stopped(gone, stop, 30.0)  # type: ignore[arg-type]
    assert len(stop.waits) == 1


def test_a_lock_is_renewed_again_after_an_error_that_is_not_of_the_store(caplog: pytest.LogCaptureFixture) -> None:
    """The user's function for credentials may raise anything; its text is not logged, since it may hold a secret."""
    stop, one = Stop(3), Renewed(None, OSError("no vault with the password pw"), None)
    with caplog.at_level(logging.WARNING, "messageflux_s3"):
        lock._renew_until_stopped(weakref.ref(one), stop, 30.0)  # type: ignore[arg-type]
    assert stop.waits == [10.0, 10.0, 1.0, 10.0]
    assert caplog.records[0].getMessage().endswith("could not be renewed yet: OSError")


def test_the_renewal_thread_does_not_wait_for_another_renewal(memory: Memory) -> None:
    """A signal handler that releases the lock waits for this thread, while the code that it interrupted may be renewing the lock."""
    one = held(memory)
    stop = Stop(2)
    thread = threading.Thread(target=lock._renew_until_stopped, args=(weakref.ref(one), stop, 30.0), daemon=True)
    with one._transition:
        thread.start()
        thread.join(60)
        assert not thread.is_alive()
    assert (stop.waits, memory.calls) == ([10.0, 1.0, 1.0], [])
    one.release()


def ended(function: Callable[[], object]) -> list[BaseException | None]:
    """Call a function in a thread, and return what it raised, or None; fail if it does not end."""
    told: list[BaseException | None] = []

    def run() -> None:
        try:
            function()
        except BaseException as error:
            told.append(error)
        else:
            told.append(None)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive(), "it waits for itself"
    return told


@pytest.mark.parametrize("is_done", [True, False])
def test_a_lock_can_be_released_by_a_signal_handler_while_it_is_renewed(memory: Memory, is_done: bool) -> None:
    """Before the store has applied the renewal, or after it: the lease is free, and the lock stays lost."""
    one = held(memory)
    memory.happens[P] = deque([done_then_release(one) if is_done else meanwhile(one.release)])
    told = ended(one.renew)
    assert isinstance(told[0], s3.S3LockError) or told == [None]
    assert (stored(memory)["_lease"]["state"], one.lost) == ("free", True)


def done_then_release(one: S3Lock) -> Happening:
    """The request is applied; a signal handler releases the lock before its response is read."""

    def happen(act: Callable[[], Any]) -> Any:
        answer = act()
        one.release()
        return answer

    return happen


def test_a_lock_can_be_released_by_a_signal_handler_while_it_is_released(memory: Memory) -> None:
    one = held(memory)
    memory.happens[P] = deque([meanwhile(one.release)])
    assert ended(one.release) == [None]
    assert stored(memory)["_lease"]["state"] == "free"


def interrupted(*, is_done: bool) -> Happening:
    """A signal handler raises while the request is under way."""

    def happen(act: Callable[[], Any]) -> Any:
        if is_done:
            act()
        raise KeyboardInterrupt

    return happen


@pytest.mark.parametrize("is_done", [True, False])
def test_an_interrupted_acquire_leaves_no_lease(memory: Memory, is_done: bool) -> None:
    """If the write took place, the lease is freed: no thread would renew it, and no code would release it."""
    stand(memory, state="free")
    memory.happens[P] = deque([interrupted(is_done=is_done)])
    one = made(memory)
    with pytest.raises(KeyboardInterrupt):
        one.acquire()
    assert (stored(memory)["_lease"]["state"], one.lost) == ("free", True)
    with one:
        assert stored(memory)["_lease"]["state"] == "held"


def test_a_lock_whose_renewal_thread_cannot_start_is_not_left_held(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in an exit handler since Python 3.12, or at a limit of the system."""
    stand(memory, state="free")
    one = made(memory)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            one.acquire()
    assert (stored(memory)["_lease"]["state"], one.lost) == ("free", True)
    with one:
        assert not one.lost
    assert stored(memory)["_lease"]["state"] == "free"


@pytest.mark.parametrize("is_done", [True, False])
def test_an_interrupted_release_frees_the_lease(memory: Memory, is_done: bool) -> None:
    one = held(memory)
    memory.happens[P] = deque([interrupted(is_done=is_done)])
    with pytest.raises(KeyboardInterrupt):
        one.release()
    assert (stored(memory)["_lease"]["state"], one.lost) == ("free", True)


@pytest.mark.parametrize("function", ["os.getpid", "threading.Thread.join"])
def test_a_release_that_is_interrupted_before_its_request_frees_the_lease(
    memory: Memory, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    """Else its thread would renew the lease as long as the lock is referenced, or others would wait until it expires."""
    stand(memory, state="free")
    one = made(memory)
    one.acquire()
    left = [True]
    original = os.getpid if function == "os.getpid" else threading.Thread.join

    def interrupt(*arguments: Any) -> Any:
        if left and left.pop():
            raise KeyboardInterrupt
        return original(*arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(function, interrupt)
        one.release()
    assert (stored(memory)["_lease"]["state"], one.lost) == ("free", True)


def test_two_blocks_do_not_use_one_lock_together(memory: Memory) -> None:
    """The second raises, even from another thread; after the first it can be entered again."""
    one = held(memory)
    with one:
        told = ended(one.__enter__)
        assert isinstance(told[0], s3.S3LockError) and "another with block" in str(told[0])
        assert not one.lost
    with one:
        assert not one.lost


def test_two_tasks_do_not_use_one_lock_together(memory: Memory) -> None:
    stand(memory, state="free")
    shared = StoppableLock(memory.address, owner="us", wait=5)
    shared.acquire()
    inside: list[int] = []
    most = 0

    async def work(number: int) -> None:
        nonlocal most
        async with AsyncS3Lock(shared, None):  # type: ignore[arg-type]  # it is held, and released below without a thread
            inside.append(number)
            most = max(most, len(inside))
            await asyncio.sleep(0)
            inside.remove(number)

    async def run() -> list[BaseException | None]:
        return await asyncio.gather(work(1), work(2), return_exceptions=True)

    with pytest.MonkeyPatch.context() as patch:

        async def release(self: AsyncS3Lock) -> None:
            shared.release()

        patch.setattr(AsyncS3Lock, "release", release)
        told = asyncio.run(run())
    assert most == 1
    assert [type(error) for error in told] == [type(None), s3.S3LockError]


# -- the same for plain lock files


@pytest.mark.parametrize(
    ("document", "holder"),
    [
        ({"user": "ann", "owner": "bob"}, "ann"),
        ({"owner": "bob", "_lease": {"token": 1, "owner": "cid"}}, "bob"),
        ({"job": 7, "_lease": {"token": 1, "owner": "cid"}}, "cid"),
        ({"job": 7}, {"job": 7}),
        ({}, {}),
    ],
)
def test_the_lock_holder_is_the_user_else_the_owner_else_the_document(document: dict[str, Any], holder: object) -> None:
    """The holder is the entry user, owner, the lease's owner, or the whole document."""
    assert holder_of(document) == holder


def test_a_plain_lock_file_is_created_in_one_request(memory: Memory) -> None:
    """A plain lock file contains only the data; the next client's error names the holder."""
    data = {"user": "ann"}
    assert acquire_lock(memory.address, data).etag == memory.objects["k"].etag
    assert (memory.calls, stored(memory)) == ([P], data)
    assert check_lock(memory.address) == data
    memory.calls.clear()
    with pytest.raises(s3.S3LockError, match="is held by 'ann'") as caught:
        acquire_lock(memory.address)
    assert (memory.calls, caught.value.lock_holder, caught.value.bucket, caught.value.key) == ([P, G], "ann", "b", "k")
    assert isinstance(caught.value.__cause__, s3.S3PreconditionFailed)


def test_acquire_lock_does_not_replace_a_held_lease(memory: Memory) -> None:
    """acquire_lock() never replaces a held lease, even an expired one."""
    stand(memory, age=3600)
    with pytest.raises(s3.S3LockError, match="is held by 'ann'") as caught:
        acquire_lock(memory.address, {"owner": "bob"})
    assert (memory.calls, caught.value.lock_holder, stored(memory)["_lease"]["token"]) == ([P, G], "ann", 5)


@pytest.mark.parametrize(("before", "after"), [(5, 6), (1, 2), (0, 0)])
def test_acquire_lock_takes_a_free_lease(memory: Memory, before: int, after: int) -> None:
    """acquire_lock() takes a free lease without a ttl; the token is increased, or stays 0."""
    stand(memory, state="free", token=before)
    acquire_lock(memory.address, {"owner": "bob", "job": 7})
    entry = stored(memory)["_lease"]
    assert (memory.calls, stored(memory)["job"], entry["token"], entry["ttl"], entry["owner"], entry["state"]) == (
        [P, G, P], 7, after, None, "bob", "held",
    )  # fmt: skip
    stand(memory, state="free", token=before)
    acquire_lock(memory.address)
    assert (stored(memory)["_lease"]["owner"], len(stored(memory)["_lease"]["nonce"])) == ("", 24)


def test_acquire_lock_with_a_lost_response_has_an_unknown_outcome(memory: Memory) -> None:
    """For a plain file the outcome is unknown after a lost response; for a lease the nonce shows it."""
    memory.happens = {P: deque([lost()] * 3)}
    with pytest.raises(s3.S3PreconditionFailed) as caught:
        acquire_lock(memory.address)
    assert caught.value.outcome_unknown is True
    stand(memory, state="free")
    memory.happens = {P: deque([refused(412), *[lost()] * 3])}
    acquire_lock(memory.address, {"user": "ann"})
    assert stored(memory)["user"] == "ann"


def test_acquire_lock_gives_up_after_five_races(memory: Memory) -> None:
    """It gives up after five attempts."""
    memory.happens = {P: deque([refused(412)] * 9)}
    with pytest.raises(s3.S3LockError, match="could not be acquired: other clients were faster"):
        acquire_lock(memory.address)
    assert memory.calls == [P, G] * 5


def test_release_deletes_lock_files_and_frees_leases(memory: Memory) -> None:
    """It does nothing if nothing is held; it deletes a file; it frees a lease, which keeps token and data."""
    release_lock(memory.address)
    stand(memory, state="free")
    release_lock(memory.address)
    assert memory.calls == [G, G]
    stand(
        memory, document={"_lease": {"state": "held", "token": 5, "ttl": 3.0, "owner": "ann", "nonce": "n"}, "job": 7}
    )
    release_lock(memory.address)
    entry = stored(memory)["_lease"]
    assert (stored(memory)["job"], entry["token"], entry["ttl"], entry["owner"], entry["state"]) == (
        7,
        5,
        3.0,
        "ann",
        "free",
    )
    assert (len(entry["nonce"]), check_lock(memory.address)) == (24, None)
    memory.calls.clear()
    stand(memory, document={"user": "ann"})
    release_lock(memory.address)
    assert (memory.calls, memory.objects) == ([G, D], {})
    assert check_lock(memory.address) is None


def test_release_lock_keeps_a_lock_that_changed_holders_meanwhile(memory: Memory) -> None:
    """release_lock() does not break a lease with another token; with the same token it was only renewed."""
    stand(memory)
    memory.happens = {P: deque([meanwhile(lambda: stand(memory, token=6))])}
    with pytest.raises(s3.S3LockError, match="s3://b/k changed hands while it was being released") as caught:
        release_lock(memory.address)
    assert (memory.calls, caught.value.key, stored(memory)["_lease"]["state"]) == ([G, P, G, G], "k", "held")
    stand(memory)
    memory.happens = {P: deque([meanwhile(lambda: stand(memory, nonce="renewed"))])}
    release_lock(memory.address)
    assert stored(memory)["_lease"]["state"] == "free"
    stand(memory, token=4)
    memory.happens = {P: deque([meanwhile(lambda: stand(memory, token=3))])}
    with pytest.raises(s3.S3LockError, match="changed hands"):
        release_lock(memory.address)


@pytest.mark.parametrize("honours", [True, False], ids=["If-Match honoured", "If-Match ignored"])
@pytest.mark.parametrize("document", [{"user": "ann"}, {"_lease": 7}], ids=["plain", "unreadable"])
@pytest.mark.parametrize("after", ["another's lease", "another's file", "free", "gone"])
def test_release_lock_of_a_plain_file_keeps_what_replaced_it_meanwhile(
    memory: Memory, monkeypatch: pytest.MonkeyPatch, honours: bool, document: dict[str, Any], after: str
) -> None:
    """Between its GET and its DELETE another client releases the file, and a third one may acquire the lock."""
    replacements: dict[str, Callable[[], object]] = {
        "another's lease": lambda: stand(memory, token=6),
        "another's file": lambda: stand(memory, document={"user": "eve"}),
        "free": lambda: stand(memory, state="free"),
        "gone": memory.objects.clear,
    }
    monkeypatch.setattr(conditional, "honours", lambda bucket, kind: honours and kind == "delete_if_match")
    stand(memory, document=document)
    memory.happens = {D if honours else H: deque([meanwhile(replacements[after])])}
    if after.startswith("another's"):
        with pytest.raises(s3.S3LockError, match="s3://b/k changed hands while it was being released"):
            release_lock(memory.address)
    else:
        release_lock(memory.address)
    kept = dict(memory.objects)
    memory.objects.clear()
    replacements[after]()
    assert {key: found.body for key, found in kept.items()} == {
        key: found.body for key, found in memory.objects.items()
    }
    assert memory.calls.count(D) == honours


def test_release_gives_up_after_five_refusals(memory: Memory) -> None:
    """After five refusals the last one is raised."""
    stand(memory)
    memory.happens = {P: deque([refused(412)] * 9)}
    memory.calls.clear()
    with pytest.raises(s3.S3PreconditionFailed):
        release_lock(memory.address)
    assert memory.calls.count(P) == 5


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"user": "ann"}, {"user": "ann"}),
        ({"_lease": {"token": 1, "state": "free"}}, None),
        ({"_lease": {"token": 1, "state": "held"}}, {"_lease": {"token": 1, "state": "held"}}),
        ({"user": "ann"}, {"user": "ann"}),
    ],
)
def test_check_lock_returns_the_document_or_none_for_a_free_lease(
    memory: Memory, document: dict[str, Any], said: object
) -> None:
    """check_lock() returns None for a free lease, and the content of a plain lock file."""
    stand(memory, document=document)
    assert (check_lock(memory.address), memory.calls) == (said, [G])


# -- a lock file that cannot be read ------------------------------------------------------------------------------------------------

UNREADABLE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "it is empty"),
    "blank": (b" \n", "is not JSON"),
    "text": (b"locked by ann", "is not JSON"),
    "half": (b'{"user": "ann', "is not JSON"),
    "binary": (b"\xff\x00", "is not JSON"),
    "deep": (b"[" * 200_000, "nested too deeply"),
    "list": (b'["ann"]', "it is a list, not an object"),
    "number": (b"7", "it is a int, not an object"),
    "null": (b"null", "it is a NoneType, not an object"),
    "text in JSON": (b'"ann"', "it is a str, not an object"),
    "says nothing": (b"{}", "it is an empty object"),
    "ttl is false": (
        b'{"user": "bob", "_lease": {"token": 5, "state": "held", "ttl": false}}',
        "ttl of the lease is false",
    ),
    "ttl is true": (b'{"_lease": {"token": 5, "state": "held", "ttl": true}}', "ttl of the lease is true"),
    "ttl is negative": (b'{"_lease": {"token": 5, "state": "held", "ttl": -1}}', "ttl of the lease is -1"),
    "ttl is zero": (b'{"_lease": {"token": 5, "state": "held", "ttl": 0}}', "ttl of the lease is 0"),
    "ttl is text": (b'{"_lease": {"token": 5, "state": "held", "ttl": "30"}}', "ttl of the lease is text"),
    "ttl is NaN": (b'{"_lease": {"token": 5, "state": "held", "ttl": NaN}}', "ttl of the lease is NaN"),
    "ttl is infinite": (b'{"_lease": {"token": 5, "state": "held", "ttl": 1e999}}', "ttl of the lease is Infinity"),
    "ttl has 400 digits": (
        b'{"_lease": {"token": 5, "state": "held", "ttl": 1%s}}' % (b"0" * 400),
        "ttl of the lease is 10{39}[.]{3}",
    ),
    "token is true": (b'{"_lease": {"token": true, "state": "held", "ttl": 1}}', "token of the lease is true"),
    "token is negative": (b'{"_lease": {"token": -1, "state": "free", "ttl": 1}}', "token of the lease is -1"),
    "token is huge": (
        b'{"_lease": {"token": 1%s, "state": "free", "ttl": 1}}' % (b"0" * 400),
        "token of the lease is 10{39}[.]{3}",
    ),
    "token is missing": (b'{"_lease": {"state": "free", "ttl": 1}}', "token of the lease is missing"),
    "state is unknown": (b'{"_lease": {"token": 5, "state": "lent", "ttl": 1}}', "state of the lease is text"),
    "lease says nothing": (b'{"_lease": {}}', "token of the lease is missing"),
    "lease is no object": (b'{"_lease": "ann"}', "lease is a str, not an object"),
}


@pytest.fixture(params=["lane", "boto3"])
def conditional_bucket(request: pytest.FixtureRequest, moto_bucket: S3Bucket) -> S3Bucket:
    """A bucket whose store honours conditions."""
    if request.param == "boto3":
        return s3.S3Store(moto_bucket.store.config.replace(lane=False)).bucket(moto_bucket.name)
    return moto_bucket


@pytest.mark.parametrize(("body", "said"), UNREADABLE.values(), ids=UNREADABLE)
def test_an_unreadable_lock_file_is_a_lock_error_that_says_so(
    conditional_bucket: S3Bucket, body: bytes, said: str
) -> None:
    """An unreadable lock file is never taken over; the error names release_lock(), which deletes it."""
    bucket = conditional_bucket
    bucket.put_object("job.lock", body)
    for act in (
        lambda: bucket.check_lock("job.lock"),
        lambda: bucket.acquire_lock("job.lock", {"user": "ann"}),
        lambda: bucket.lock("job.lock", ttl=1),
        lambda: bucket.lock("job.lock", ttl=1, wait=0.3),
    ):
        with pytest.raises(s3.S3LockError, match=said) as caught:
            act()
        error = caught.value
        assert (error.bucket, error.key, error.lock_holder) == (bucket.name, "job.lock", None)
        assert f"s3://{bucket.name}/job.lock" in str(error)
        assert "release_lock('job.lock')" in str(error)
        assert str(pickle.loads(pickle.dumps(error))) == str(error)
        assert bucket["job.lock"].body == body
    bucket.release_lock("job.lock")
    assert bucket.check_lock("job.lock") is None
    bucket.acquire_lock("job.lock", {"user": "ann"})
    assert bucket.check_lock("job.lock") == {"user": "ann"}


def test_the_cause_of_a_lock_error_is_the_error_of_the_parser(conditional_bucket: S3Bucket) -> None:
    """The cause of the S3LockError is S3InvalidContent, whose cause is the JSON parser's error."""
    conditional_bucket.put_object("k", b"{")
    with pytest.raises(s3.S3LockError) as caught:
        conditional_bucket.check_lock("k")
    cause = caught.value.__cause__
    assert isinstance(cause, s3.S3InvalidContent) and isinstance(cause.__cause__, json.JSONDecodeError)


@pytest.mark.parametrize("data", [None, {}])
def test_check_lock_returns_a_true_value_for_a_held_lock_without_data(
    conditional_bucket: S3Bucket, data: dict[str, Any] | None
) -> None:
    """Callers write ``if bucket.check_lock(key)``, so a file without data names the process that made it."""
    conditional_bucket.acquire_lock("k", data)
    held = conditional_bucket.check_lock("k")
    assert held == {"owner": f"{os.uname().nodename}:{os.getpid()}"}
    with pytest.raises(s3.S3LockError) as caught:
        conditional_bucket.acquire_lock("k", data)
    assert caught.value.lock_holder == held["owner"]


def test_a_lock_with_lone_surrogates_is_released(conditional_bucket: S3Bucket) -> None:
    """JSON can write a lone surrogate, UTF-8 cannot."""
    lease = b'{"job": "\\ud800", "_lease": {"state": "held", "token": 5, "ttl": 30, "owner": "\\ud800", "nonce": "n"}}'
    conditional_bucket.put_object("k", lease)
    conditional_bucket.release_lock("k")
    assert conditional_bucket.check_lock("k") is None


def test_a_lease_waits_for_an_unreadable_lock_file_to_be_released(moto_bucket: S3Bucket) -> None:
    """A waiting client also waits for that."""
    moto_bucket.put_object("k", b"not JSON")
    releasing = threading.Timer(0.4, lambda: moto_bucket.release_lock("k"))
    releasing.start()
    with moto_bucket.lock("k", ttl=30, wait=20) as taken:
        assert not taken.lost
    releasing.join()


# -- over HTTP ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def faulty() -> Iterator[tuple[str, StatefulStore]]:
    """A server that honours conditions and drops responses on command."""
    with run_faulty_server() as served:
        yield served


@pytest.fixture
def faulty_bucket(faulty: tuple[str, StatefulStore]) -> S3Bucket:
    """A bucket on that server."""
    return connected(faulty[0])


# -- plain lock files ---------------------------------------------------------------------------------------------------------------


def test_a_plain_lock_file_is_created_once(moto_bucket: S3Bucket) -> None:
    """The second client's error names the holder."""
    moto_bucket.acquire_lock("job.lock", {"user": "ann", "host": "a"})
    with pytest.raises(s3.S3LockError) as caught:
        moto_bucket.acquire_lock("job.lock", {"user": "bob"})
    assert (caught.value.lock_holder, moto_bucket.check_lock("job.lock")) == ("ann", {"user": "ann", "host": "a"})


def test_the_holder_is_user_owner_or_the_whole(moto_bucket: S3Bucket) -> None:
    """lock_holder is the user, the owner, or the whole document."""
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
    """A plain lock file has no lease and never expires."""
    moto_bucket.acquire_lock("k", {"user": "ann"})
    with pytest.raises(s3.S3LockError) as caught:
        moto_bucket.lock("k", ttl=1, wait=2.5).__enter__()
    assert caught.value.lock_holder == "ann"


# -- leases -------------------------------------------------------------------------------------------------------------------------


def test_a_held_lease_excludes_other_clients(moto_bucket: S3Bucket) -> None:
    """Held inside the block, free after it, the user's data beside the lease."""
    with moto_bucket.lock("k", owner="ann", data={"job": 7}) as lock:
        lock.check()
        stored = moto_bucket.get_json("k")
        with pytest.raises(s3.S3LockError) as caught:
            moto_bucket.lock("k").__enter__()
        assert (lock.lost, caught.value.lock_holder, stored["job"]) == (False, "ann", 7)
        assert (stored["_lease"]["state"], stored["_lease"]["token"], stored["_lease"]["owner"]) == (
            "held",
            lock.token,
            "ann",
        )
    assert (moto_bucket.check_lock("k"), moto_bucket.get_json("k")["_lease"]["state"]) == (None, "free")
    with pytest.raises(s3.S3LockError):
        lock.check()


def test_tokens_grow_after_the_lock_file_was_deleted_by_hand(moto_bucket: S3Bucket) -> None:
    """After release, acquisition, deletion by hand and creation no token decreases or repeats."""
    tokens = []
    for delete in (False, True, False):
        with moto_bucket.lock("k") as lock:
            tokens.append(lock.token)
        if delete:
            moto_bucket.delete_object("k")
    assert tokens == sorted(set(tokens))


def test_the_first_token_is_the_time_of_the_server(moto_bucket: S3Bucket) -> None:
    """It is the Date in seconds times 2**20, and acquire() returns only after that second."""
    lock = moto_bucket.lock("k").__enter__()
    seconds, rest = divmod(lock.token, 2**20)
    assert (rest, 0 < time.time() - seconds < 60) == (0, True)
    assert time.time() >= seconds + 1
    lock.release()


def test_tokens_grow_for_a_client_that_saw_the_key_absent_long_ago(moto_bucket: S3Bucket) -> None:
    """A client that creates the object late, after others held it and it was deleted by hand, still gets a larger token."""
    late = S3Lock(moto_bucket._address.object("k"), owner="late")
    assert late._file.read() is None
    with moto_bucket.lock("k") as first:
        pass
    with moto_bucket.lock("k") as second:
        pass
    moto_bucket.delete_object("k")
    assert late._take(None) is True
    assert first.token < second.token < late.token
    late.release()


def test_a_lease_whose_creator_died_gets_a_token_from_the_time_of_the_server(moto_bucket: S3Bucket) -> None:
    """If the creator died before issuing a token, the next holder's first token is the server's time."""
    bucket = moto_bucket
    S3Lock(bucket._address.object("k"))._create()
    bucket.acquire_lock("k", {"user": "ann"})
    bucket.release_lock("k")
    with bucket.lock("k") as lock:
        assert abs(lock.token / 2**20 - time.time()) < 10


def test_a_corrupted_lock_file_is_not_used(moto: Server, moto_bucket: S3Bucket) -> None:
    """A corrupted byte could be a digit of the token."""
    with moto_bucket.lock("k"):
        pass
    with run_proxy(moto.endpoint_url) as proxy:
        behind = moto.connect(endpoint_url=proxy.endpoint_url).bucket(moto_bucket.name)
        proxy.restart(scripted({("GET", "k"): ["corrupt"]}))
        with pytest.raises(s3.S3ChecksumError):
            behind.lock("k").__enter__()


def test_acquire_lock_is_repeated_if_the_lock_file_was_deleted_meanwhile(
    faulty: tuple[str, StatefulStore], faulty_bucket: S3Bucket
) -> None:
    """If the lock file is deleted before it is read, acquire_lock() tries again."""
    state = faulty[1]
    faulty_bucket.acquire_lock("race", {"user": "ann"})
    state.faults["race"] = deque([None, "late"])  # the refusal; then the read is lost, and meanwhile:

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


def test_an_expired_lease_is_taken_over(faulty_bucket: S3Bucket, faulty: tuple[str, StatefulStore]) -> None:
    """After the holder has died and the ttl has passed, a client that waits gets a larger token."""
    state = faulty[1]
    with faulty_bucket.lock("gone", ttl=1, owner="dead") as dead:
        document = json.loads(state.objects["gone"].body)
    document["_lease"].update(state="held", ttl=1, owner="dead", nonce="of-a-dead-process")
    faulty_bucket.put_json("gone", document)  # as a killed process leaves it
    began = time.monotonic()
    lock = faulty_bucket.lock("gone", ttl=1, wait=10).__enter__()
    assert (lock.token > dead.token, time.monotonic() - began >= 1.0) == (True, True)
    lock.release()


def test_a_lease_expired_by_the_clock_of_the_server_is_taken_over_without_waiting(
    faulty_bucket: S3Bucket, faulty: tuple[str, StatefulStore]
) -> None:
    """A lease that expired by the server's own times is taken over without waiting."""
    state = faulty[1]
    with faulty_bucket.lock("old", ttl=30) as lock:
        document = json.loads(state.objects["old"].body)
    faulty_bucket.put_json("old", document)
    state.objects["old"].modified -= 32
    began = time.monotonic()
    taken = faulty_bucket.lock("old", ttl=30).__enter__()
    assert (taken.token, time.monotonic() - began < 25) == (lock.token + 1, True)
    taken.release()


def test_a_lease_just_short_of_its_ttl_is_not_taken_over(
    faulty_bucket: S3Bucket, faulty: tuple[str, StatefulStore]
) -> None:
    """The age is one second less than ttl + 1: times in whole seconds do not prove that it has expired."""
    state = faulty[1]
    with faulty_bucket.lock("young", ttl=30):
        document = json.loads(state.objects["young"].body)
    faulty_bucket.put_json("young", document)
    state.objects["young"].modified -= 29
    with pytest.raises(s3.S3LockError):
        faulty_bucket.lock("young", ttl=30).__enter__()


def test_a_lease_is_renewed_while_it_is_held(moto_bucket: S3Bucket) -> None:
    """It is held for longer than its ttl by a thread that ends with the lock."""
    with moto_bucket.lock("k", ttl=2) as lock:
        first = moto_bucket["k"].etag
        time.sleep(2.6)
        lock.check()
        with pytest.raises(s3.S3LockError):
            moto_bucket.lock("k", ttl=2).__enter__()
        assert moto_bucket["k"].etag != first
    wait_until(lambda: not any("lock" in thread.name for thread in threading.enumerate()))


def test_a_lock_that_was_taken_away_is_lost(moto_bucket: S3Bucket) -> None:
    """After deletion by hand and acquisition by another, the former holder detects the loss and does not free the other's lease."""
    lock = moto_bucket.lock("k", ttl=1).__enter__()
    moto_bucket.delete_object("k")
    other = moto_bucket.lock("k", ttl=30, owner="other", wait=5).__enter__()
    with pytest.raises(s3.S3LockError):
        lock.renew()
    assert lock.lost is True
    lock.release()
    assert (moto_bucket.check_lock("k") or {})["_lease"]["token"] == other.token > lock.token
    other.release()


def test_a_holder_that_cannot_reach_the_store_loses_the_lock_at_its_deadline(
    faulty_bucket: S3Bucket, faulty: tuple[str, StatefulStore]
) -> None:
    """Without responses check() raises at the deadline."""
    lock = faulty_bucket.lock("cut", ttl=1).__enter__()
    faulty[1].faults["cut"] = deque(["reset_before"] * 1000)
    time.sleep(1.3)
    with pytest.raises(s3.S3LockError):
        lock.check()
    assert lock.lost is True
    del faulty[1].faults["cut"]


def test_acquire_lock_acquires_a_free_lease_without_a_ttl(moto_bucket: S3Bucket) -> None:
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
    """Any client can break a lease, by compare-and-swap; the token is kept."""
    lock = moto_bucket.lock("k", ttl=30).__enter__()
    moto_bucket.release_lock("k")
    assert moto_bucket.check_lock("k") is None
    with moto_bucket.lock("k") as other:
        assert other.token == lock.token + 1
    lock.release()


def test_release_lock_succeeds_despite_a_renewal_meanwhile(
    faulty: tuple[str, StatefulStore], faulty_bucket: S3Bucket
) -> None:
    """A renewal during release_lock() is not a change of holder."""
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


@pytest.mark.parametrize(
    "arguments", [{"ttl": 0}, {"ttl": -1}, {"ttl": "30"}, {"wait": -1}, {"data": [1]}, {"data": {"_lease": 1}}]
)
def test_invalid_arguments_are_refused_before_a_request(moto_bucket: S3Bucket, arguments: dict[str, Any]) -> None:
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
        assert (os.waitstatus_to_exitcode(status), (moto_bucket.check_lock("k") or {})["_lease"]["state"]) == (
            7,
            "held",
        )


# -- lost answers at every step -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", LOCKS, ids=lambda run: run.__name__)
def test_a_lock_has_one_holder_when_answers_are_lost_at_any_transition(
    faulty: tuple[str, StatefulStore], faulty_bucket: S3Bucket, run: Run
) -> None:
    """Seeded runs of creating, acquiring, renewing and releasing, with responses lost before and after the server acted."""
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
        (
            told_by(acquired=[{"at": 1, "token": 7}, {"at": 2, "token": 8}], holding=[{"at": 3, "token": 7}]),
            "two holders",
        ),
        (
            told_by(
                writing=[{"at": 1, "n": 1, "token": 1}],
                written=[{"at": 2, "n": 1, "token": 1}, {"at": 3, "n": 1, "token": 2}],
            ),
            "lost",
        ),
        (
            told_by(acquired=[{"at": 1, "token": 7}, {"at": 9, "token": 8}], killed=[{"at": 2, "token": 7}]),
            "takeover took",
        ),
    ],
    ids=["token", "overlap", "lost update", "late takeover"],
)
def test_the_checker_finds_what_is_wrong(events: list[dict[str, Any]], said: str) -> None:
    """The checker reports constructed violations."""
    found = lock_history.check(events, ttl=2, final_count=0).violations
    assert any(said in violation for violation in found), found
