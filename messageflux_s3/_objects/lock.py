"""Locks on S3: leases that expire, can be taken over safely and have a fencing token; and plain lock files.

A lease is a JSON object that is never deleted: the user's data at the top level, and ``_lease`` with state, token, ttl, owner, a nonce that
is new in every state of the lease, so that an ETag never stands for two of them, and the queue of waiters (``lock_queue.py``). Every change
is one conditional write. docs/explanation/locks.md describes the protocol and its proofs.

Guaranteed: at any time at most one client holds a lease that has not expired, if all clocks run at the same rate (they may show different
times); and tokens only increase. Not guaranteed: a stalled holder may still act after its lease has expired. ``check()`` immediately before
acting makes that unlikely; only a target that compares tokens, or ``put_object(if_match=…)``, prevents it.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import threading
import time
import weakref
from collections.abc import Mapping
from contextlib import suppress
from contextvars import copy_context
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta, timezone
from types import TracebackType
from typing import Any, Literal

from .._client.addresses import ObjectAddress
from .._client.exchange import Answer
from .._formats import etags
from .._formats.bucket_names import access_point
from .._formats.decoding import as_json
from .._formats.head import Head
from .._formats.keys import check_key
from .._http.patched_code import is_moto_active
from ..errors import (
    S3ConnectionError,
    S3Error,
    S3InvalidContent,
    S3LockError,
    S3NoSuchItem,
    S3PreconditionFailed,
    S3ServerError,
    S3Unsupported,
    visible,
)
from . import conditional, drivers, operations, ranged_reader
from .interrupts import run_to_the_end
from .lock_queue import Place, waiters_of, with_waiters

logger = logging.getLogger("messageflux_s3")

_TOKENS_PER_SECOND = 2**20
_LARGEST_TOKEN = 2**63 - 1
_LONGEST_TTL = 10**12  # seconds; far more than this library writes, and exact as a float
_CLOCK_IS_STUCK = 10.0
_RACES = 5
_SHORT_WAIT = 0.25  # a client that gives up within so many seconds does not join the queue
_LOST_RACES = 50  # writes of a holder that waiters made fail by joining or leaving the queue
# A clock that continues while the machine sleeps: CLOCK_BOOTTIME on Linux, CLOCK_MONOTONIC on macOS (where time.monotonic() stops);
# None on Windows, where time.monotonic() continues.
_CLOCK: int | None = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))


def _shown(value: Any) -> str:
    """Describe an untrusted JSON value for an error message: the type of text, lists and objects, else the shortened value."""
    if isinstance(value, (str, Mapping, list)):
        return {str: "text", list: "a list"}.get(type(value), "an object")
    written = json.dumps(value)
    return written if len(written) <= 40 else f"{written[:40]}..."


def _require_one_bucket(address: ObjectAddress) -> None:
    """Raise if the bucket is a multi-region access point: two clients may write to two of its buckets, and each meets its condition.

    Raises:
        S3Unsupported: It is one. Nothing was sent.
    """
    point = access_point(address.bucket_name)
    if point is not None and not point.region:
        raise S3Unsupported(
            f"{address.uri}: a multi-region access point sends each request to the nearest of its buckets, so that two clients could hold "
            "this lock: use one of the buckets. Nothing was sent.",
            bucket=address.bucket_name,
            key=address.key,
        )


def _default_owner() -> str:
    return f"{os.uname().nodename if hasattr(os, 'uname') else 'host'}:{os.getpid()}"


def clock() -> float:
    """Return the seconds of a clock that continues while the machine is suspended, since leases also expire then."""
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)


@dataclass(frozen=True, slots=True)
class _Lease:
    """The ``_lease`` entry of a lock's document."""

    state: Literal["held", "free"]
    token: int  # 0: no token was issued yet
    ttl: float | None  # None: taken by acquire_lock, never expires
    owner: str
    nonce: str

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> _Lease | None:
        """Return the lease in a document; None if it is a plain lock file.

        Raises:
            ValueError: The entry ``_lease`` is not one that this library writes. It is rejected, since it could make a held lock look
                expired.
        """
        if "_lease" not in document:
            return None
        found = document["_lease"]
        if not isinstance(found, Mapping):
            raise ValueError(f"its lease is a {type(found).__name__}, not an object")
        state, token, ttl = found.get("state", "held"), found.get("token"), found.get("ttl")
        if "token" not in found:
            raise ValueError("the token of the lease is missing")
        if not isinstance(token, int) or isinstance(token, bool) or not 0 <= token <= _LARGEST_TOKEN:
            raise ValueError(f"the token of the lease is {_shown(token)}, not a whole number from 0 to 2**63 - 1")
        if ttl is not None and (
            not isinstance(ttl, (int, float)) or isinstance(ttl, bool) or not 1 <= ttl <= _LONGEST_TTL
        ):
            raise ValueError(
                f"the ttl of the lease is {_shown(ttl)}, not null or a number of seconds from 1 to {_LONGEST_TTL:,}"
            )
        if state not in ("held", "free"):
            raise ValueError(f"the state of the lease is {_shown(state)}, not 'held' or 'free'")
        return cls(
            state, token, None if ttl is None else float(ttl), str(found.get("owner", "")), str(found.get("nonce", ""))
        )

    def entry(self) -> dict[str, Any]:
        """Return the lease as an entry of a document."""
        return {"_lease": asdict(self)}


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """The lock's object, as read by one GET."""

    document: dict[str, Any]
    lease: _Lease | None
    etag: str
    age: float | None  # seconds since the object was written, by the server's clock
    server_time: datetime | None
    unreadable: S3InvalidContent | None = None  # why the file is invalid; an invalid file is never taken over

    @property
    def is_free(self) -> bool:
        """Whether the object is a lease without a holder. A plain lock file is never free."""
        return self.lease is not None and self.lease.state == "free"

    @property
    def waiters(self) -> tuple[str, ...]:
        """The queue of waiters."""
        return waiters_of(self.document)

    @property
    def state(self) -> object:
        """What changes with every write except those of the queue: the nonce; the ETag of a lock file without one."""
        return self.lease if self.lease is not None and self.lease.nonce else self.etag


class _File:
    """Reads the object under a lock's key, and replaces it with conditional writes."""

    def __init__(self, address: ObjectAddress) -> None:
        check_key(address.key, bucket=address.bucket_name)
        self.address = address

    @property
    def key(self) -> str:
        return self.address.key

    def __str__(self) -> str:
        return f"s3://{self.address.bucket_name}/{self.key}"

    def read(self) -> _Snapshot | None:
        """Return the lock's object; None if it does not exist."""
        try:
            answer, body = ranged_reader.read_whole(self.address)
        except S3NoSuchItem:
            return None
        unreadable: S3InvalidContent | None = None
        lease: _Lease | None = None
        try:
            document = self._document(body)
            lease = _Lease.of(document)
        except S3InvalidContent as error:
            document, unreadable = {}, error
        except ValueError as error:
            document, unreadable = {}, self._invalid(f"{error}")
            unreadable.__cause__ = error
        now = conditional.server_time(Answer(answer))
        if now is None and is_moto_active():
            now = datetime.now(timezone.utc)  # mock_aws sends no Date; it runs in this process, on the local clock
        age = (now - answer["LastModified"]).total_seconds() if now is not None and "LastModified" in answer else None
        return _Snapshot(document, lease, etags.unquoted(str(answer["ETag"])) or "", age, now, unreadable)

    def _document(self, body: bytes) -> dict[str, Any]:
        document = as_json(body, self.address.bucket_name, self.key)
        if isinstance(document, dict) and document:
            return document
        found = f"a {type(document).__name__}, not an object" if not isinstance(document, dict) else "an empty object"
        raise self._invalid(f"it is {found}")

    def _invalid(self, why: str) -> S3InvalidContent:
        return S3InvalidContent(
            f"the content of {self} is not a lock file: {why}",
            operation="GetObject",
            bucket=self.address.bucket_name,
            key=self.key,
        )

    def error(self, message: str, **attributes: Any) -> S3LockError:
        """Return an S3LockError that names the bucket and the key."""
        return S3LockError(message, bucket=self.address.bucket_name, key=self.key, **attributes)

    def write(self, document: Mapping[str, Any], *, over: str | None, is_held: bool = False) -> Head:
        """Create the object (``over=None``), or replace it if its ETag is ``over``.

        After a lost response the nonce shows whether the write took place.

        Args:
            document: The content.
            over: The etag of the object to replace.
            is_held: Whether the object is a lock that is held: then it can be replaced also if versioning of the bucket was enabled
                meanwhile and the store honours no conditions there. No other client can take it, which needs a condition too.
        """
        try:
            return self.put(document, over=over, is_held=is_held)
        except S3PreconditionFailed:
            lease = _Lease.of(document)
            now = self.read() if lease is not None else None
            if now is None or now.lease != lease:
                raise
            return Head(etag=now.etag)  # our write took place; its response was lost

    def put(self, document: Mapping[str, Any], *, over: str | None, is_held: bool = False) -> Head:
        """Write the object as :meth:`write` does, but do not look whether a write that was refused took place."""
        try:
            body = json.dumps(document, ensure_ascii=False).encode()
        except UnicodeEncodeError:  # release_lock() writes back what it read, and JSON may contain lone surrogates
            body = json.dumps(document).encode()
        condition = conditional.precondition(if_absent=over is None, if_match=over)
        try:
            return conditional.put(self.address, body, condition, content_type="application/json")
        except S3Unsupported:
            if not is_held or over is None:
                raise
            return self._write_after_head(body, over)

    def _write_after_head(self, body: bytes, over: str) -> Head:
        """Replace the object without a condition, after a HEAD has shown that it still has the etag ``over``."""
        now = operations.head(self.address)
        if not etags.same(now.etag or "", over):
            raise S3PreconditionFailed(f"{self} was not written: its ETag is no longer {over}", operation="PutObject")
        steps = operations.put_steps(self.address, body, None, {"content_type": "application/json"})
        return drivers.run(self.address.connection, steps)

    def join(self, place: Place, seen: _Snapshot) -> None:
        """Put a waiter into the queue of a lease. If the object has changed meanwhile, nothing happens.

        A client may also wait without a place, so another error does not end its wait; it does not try again.
        A lease without a ttl is a lock file of ``acquire_lock``, whose user may compare its ETag.
        """
        if seen.lease is None or (seen.lease.ttl is None and not seen.is_free):
            return
        waiters = place.joined(seen.waiters)
        if waiters is not None:
            place.has_joined = True  # before the request: its response may be lost
            try:
                self.put(with_waiters(seen.document, waiters), over=seen.etag)
            except S3PreconditionFailed:
                pass
            except S3Error as error:
                place.is_refused = True
                logger.warning("a client waits for the lock %s without a place in its queue: %s", self, error)

    def leave(self, place: Place) -> None:
        """Remove a waiter from the queue. If that fails, the others skip it after a grace period."""
        for _ in range(_RACES):
            with suppress(S3PreconditionFailed):
                seen = self.read()
                if seen is not None and place.name in seen.waiters:
                    self.put(with_waiters(seen.document, place.without(seen.waiters)), over=seen.etag)
                return


class S3Lock:
    """A lease on a key. ``bucket.lock(…)`` returns it acquired; leave its ``with`` block or call ``release()`` to release it.

    One S3Lock stands for one holder: threads and tasks that exclude each other need one each. A second ``with`` block on the same S3Lock
    raises S3LockError while the first one lasts.

    A daemon thread renews the lease every third of its ttl while it is held. The thread ends when the lock is released, lost, or garbage
    collected. A forked child does not hold the lock.

    Guaranteed: there are never two holders whose leases have not expired, and tokens only increase. Not guaranteed: that a stalled holder
    notices in time that its lease has expired. Compare tokens in the system written to, or write with ``put_object(…, if_match=…)``, so
    that a late write is rejected.

    Example:
        >>> with bucket.lock("locks/report", ttl=30, owner="worker-7") as lock:
        ...     lock.check()
        ...     _ = bucket.put_json("report", {"by": lock.token > 0})
        >>> bucket.check_lock("locks/report") is None
        True
    """

    def __init__(
        self,
        address: ObjectAddress,
        *,
        ttl: float = 30,
        owner: str | None = None,
        data: Mapping[str, Any] | None = None,
        wait: float = 0,
    ) -> None:
        if isinstance(ttl, bool) or not isinstance(ttl, (int, float)) or not 1 <= ttl <= 86_400:
            raise ValueError(f"ttl must be 1 to 86,400 seconds, not {ttl!r}")
        if isinstance(wait, bool) or not isinstance(wait, (int, float)) or not wait >= 0:
            raise ValueError(f"wait must be a number of seconds, 0 or more, not {wait!r}")
        if owner is not None and not isinstance(owner, str):
            raise TypeError(f"owner must be text, not {type(owner).__name__}")
        if owner is not None:
            try:
                owner.encode("utf-8")
            except UnicodeEncodeError as error:
                raise ValueError(f"owner cannot be written as UTF-8: {error.reason}") from None
        _require_one_bucket(address)
        self._data = _checked_data(data)
        self._file = _File(address)
        self._ttl = float(ttl)
        self._wait = float(wait)
        self._owner = owner if owner is not None else _default_owner()
        self._lease: _Lease | None = None
        self._etag = ""
        self._waiters: tuple[str, ...] = ()  # the queue in the object with that ETag
        self._written: list[str] = []  # nonces of our writes: the object may have any of them
        self._deadline: float  # end of the lease; set by the first acquire()
        self._lost = True  # until the first acquire()
        self._pid = os.getpid()
        self._transition = threading.RLock()  # reentrant: a signal handler may release a lock that is being renewed
        self._taking: _Lease | None = None  # the lease that acquire() writes, until its outcome is known
        self._entered = threading.Lock()  # held while a with block uses this lock
        self._stop = threading.Event()
        self._renewer: threading.Thread | None = None

    @property
    def key(self) -> str:
        """The key. Requests: none."""
        return self._file.key

    @property
    def _bucket_and_key(self) -> dict[str, Any]:
        return {"bucket": self._file.address.bucket_name, "key": self._file.key}

    @property
    def owner(self) -> str:
        """The owner's name, as written into the lock. Requests: none."""
        return self._owner

    @property
    def token(self) -> int:
        """The fencing token: larger for every later holder of this key. Requests: none.

        Raises:
            S3LockError: The lock was never acquired.
        """
        if self._lease is None:
            raise self._file.error(f"the lock {self._file} was not acquired")
        return self._lease.token

    @property
    def lost(self) -> bool:
        """Whether the lease has expired, was taken over or released; False only while it is certainly held. Requests: none."""
        return self._lost or os.getpid() != self._pid or clock() >= self._deadline

    def check(self) -> None:
        """Raise unless the lease is certainly held by this lock.

        Raises:
            S3LockError: The lease has expired, was taken over or released, or belongs to the parent process.

        Requests:
            none
        """
        if self.lost:
            raise self._file.error(f"the lock {self._file} is not held by {self._owner!r}")

    # -- life -------------------------------------------------------------------------------------------------------------------------

    def acquire(self) -> S3Lock:
        """Acquire the lock; wait for it no longer than the ``wait`` seconds given to the constructor.

        Clients that wait get the lock in the order in which they came. A lock that is free while others wait for it is theirs.

        Returns:
            The lock itself.

        Raises:
            S3LockError: Another client holds it, named by ``lock_holder``; or it is free, and other clients wait for it.
            S3Unsupported: The store does not honour conditional writes; nothing was written.

        Requests:
            1 GET, 1 PUT; more for the first lease on a key; while it waits 1 PUT, and GETs 10 ms to 0.25 s apart; once for each store
            those of a probe
        """
        if not self.lost:
            raise self._file.error(f"the lock {self._file} is already held by this S3Lock")
        for kind in ("put_if_absent", "put_if_match"):
            conditional.require(self._file.address.bucket, kind)
        self._stop_renewing()
        began = clock()
        place = Place(began)
        try:
            self._wait_for_turn(place, until=began + self._wait)
            self._start_renewing()
        except BaseException as error:
            if not isinstance(error, S3Error):  # interrupted, or no thread could be started
                with suppress(S3Error):
                    self._give_back()
            # After another error of the store, do not ask it again.
            if place.has_joined and (isinstance(error, S3LockError) or not isinstance(error, S3Error)):
                with suppress(S3Error):
                    self._file.leave(place)
            raise
        finally:
            self._taking = None
        return self

    def _give_back(self) -> None:
        """Free the lease that an interrupted acquire() has written, if the write took place: no client would renew or release it."""
        self._stop.set()
        self._lost = True
        lease = self._taking
        seen = None if lease is None else self._file.read()
        if lease is not None and seen is not None and seen.lease == lease:
            free = replace(lease, state="free", nonce=secrets.token_hex(12))
            self._file.put({**seen.document, **free.entry()}, over=seen.etag, is_held=True)

    def _wait_for_turn(self, place: Place, until: float) -> None:
        """Read the lock again and again until it is acquired.

        Args:
            place: This client's place in the queue.
            until: When to give up, by ``clock()``. The lock is read at least once.

        Raises:
            S3LockError: The lock was not acquired in time.
        """
        while True:
            asked = clock()
            seen = self._file.read()
            now = clock()
            waiters = () if seen is None else seen.waiters
            token = None if seen is None or seen.lease is None else seen.lease.token
            place.look(None if seen is None else seen.state, token, waiters, now, now - asked)
            if self._is_takeable(seen, place.since):
                is_free = seen is not None and seen.is_free
                # An expired lease was not released, so there is no turn: the first client to notice takes it.
                age = None if seen is None else seen.age
                # Without a Date header a dead queue cannot be told from a live one: a client that does not wait takes the lock then.
                is_blind = age is None and not self._wait
                if not is_free or is_blind or place.is_next(waiters, age, now):
                    if self._take(seen, place.behind(waiters) if is_free else place.without(waiters)):
                        return
                    before, seen = seen, self._file.read()  # another client was faster; the error names it
                    if _has_another_queue(before, seen) and clock() < until:
                        continue  # it has only joined or left the queue
            left = until - clock()
            if left <= 0:
                others = 0 if seen is None else len(place.without(seen.waiters))
                raise _held(self._file, seen, others) from (None if seen is None else seen.unreadable)
            if seen is not None and left > _SHORT_WAIT:
                self._file.join(place, seen)
            time.sleep(max(0.0, min(until - clock(), place.pause(waiters, clock()))))

    def _is_takeable(self, seen: _Snapshot | None, since: float) -> bool:
        """Return whether the lock is absent, free, or expired: unchanged for its ttl while we watched, or older by the server's clock."""
        if seen is None or seen.is_free:
            return True
        if seen.lease is None or seen.lease.ttl is None:
            return False  # lock files without a ttl never expire
        return clock() - since >= seen.lease.ttl or (seen.age is not None and seen.age >= seen.lease.ttl + 1)

    def _take(self, seen: _Snapshot | None, waiters: tuple[str, ...] = ()) -> bool:
        """Try once to acquire the lock; return False if another client was faster, or if the response came after the lease expired.

        Args:
            seen: The lock's object.
            waiters: The queue to write.
        """
        try:
            if seen is None:
                seen = self._create()
            token = None if seen is None or seen.lease is None else self._next_token(seen, seen.lease)
            if seen is None or token is None:
                return False
            lease = self._taking = _Lease("held", token, self._ttl, self._owner, secrets.token_hex(12))
            sent = clock()
            written = self._file.write(self._document(lease, waiters), over=seen.etag)
        except S3PreconditionFailed:
            self._taking = None
            return False
        if clock() >= sent + self._ttl:
            return False  # the response came after the lease had expired
        self._written, self._waiters = [lease.nonce], waiters
        self._lease, self._etag, self._deadline = lease, written.etag or "", sent + self._ttl
        self._pid, self._lost = os.getpid(), False  # set last: from here on the lock is held
        return True

    def _create(self) -> _Snapshot | None:
        """Create the object as a free lease without a token; return None if another client has changed it since."""
        lease = _Lease("free", 0, self._ttl, self._owner, secrets.token_hex(12))
        self._file.write(self._document(lease), over=None)
        seen = self._file.read()
        return seen if seen is not None and seen.lease == lease else None

    def _next_token(self, seen: _Snapshot, lease: _Lease) -> int | None:
        """Return the next token: the last one plus 1; None if the object has changed meanwhile.

        The first token of an object is the server's time in seconds, scaled, and is issued only after that second has passed. So tokens
        also increase if the object is deleted by hand and created again.
        """
        if lease.token:
            return lease.token + 1
        now, until = seen, clock() + _CLOCK_IS_STUCK
        while clock() < until:
            if seen.server_time is None or now.server_time is None:
                raise S3ConnectionError(
                    f"the response for the lock {self._file} has no Date header", **self._bucket_and_key, retryable=True
                )
            second = int(seen.server_time.timestamp())
            if now.server_time.timestamp() >= second + 1:
                return second * _TOKENS_PER_SECOND
            time.sleep(0.2)
            found = self._file.read()
            if found is None or found.etag != seen.etag:
                return None
            now = found
        raise S3ServerError(
            f"the store's clock does not advance: no token for the lock {self._file}",
            **self._bucket_and_key,
            retryable=True,
        )

    def _document(self, lease: _Lease, waiters: tuple[str, ...] = ()) -> dict[str, Any]:
        return with_waiters({**self._data, **lease.entry()}, waiters)

    def renew(self) -> None:
        """Renew the lease now. Usually not needed: the daemon thread renews it.

        Raises:
            S3LockError: The lease is no longer held.
            S3Error: The store could not be reached; the lease is still held until its deadline.

        Requests:
            1 PUT
        """
        self.check()  # before the mutex, which in a forked child may never be released
        with self._transition:
            self.check()
            assert self._lease is not None
            lease = replace(self._lease, nonce=secrets.token_hex(12))
            sent, deadline = clock(), self._deadline
            try:
                self._replace(lease)
            except S3PreconditionFailed as error:
                self._lost = True
                raise self._file.error(f"the lock {self._file} was lost: another client has written it") from error
            if clock() >= deadline:
                # By now check() may have reported the lock as lost, so it stays lost. release() can still free the lease.
                raise self._file.error(f"the lock {self._file} was lost: its renewal took longer than the lease")
            self._lease, self._deadline = lease, sent + self._ttl

    def _replace(self, lease: _Lease) -> None:
        """Conditionally replace our own lease.

        Its nonce may be unknown, if the response to an earlier write was lost; and its ETag, if waiters have joined or left the queue.
        """
        self._written.append(lease.nonce)
        rejections = 0
        for _ in range(_LOST_RACES):
            try:
                written = self._file.put(self._document(lease, self._waiters), over=self._etag, is_held=True)
                etag = written.etag or ""
            except S3PreconditionFailed:
                seen = self._file.read()
                if seen is None or (seen.lease != lease and (seen.is_free or not self._is_ours(seen))):
                    raise
                rejections += etags.same(seen.etag, self._etag)
                self._etag, self._waiters = seen.etag, seen.waiters
                if seen.lease != lease:
                    if rejections == 3:
                        break
                    continue
                etag = seen.etag  # our write took place; its response was lost
            self._etag = etag
            self._written = [lease.nonce]
            return
        raise S3ServerError(
            f"the lock {self._file} could not be written: the store rejects the ETag that it returned",
            **self._bucket_and_key,
            retryable=True,
        )

    def _is_ours(self, seen: _Snapshot) -> bool:
        return seen.lease is not None and seen.lease.nonce in self._written

    def release(self) -> None:
        """Release the lock. Does nothing if it is no longer held.

        Raises:
            S3Error: The store could not be reached; the lease will expire.

        Requests:
            1 PUT if the lock is held, else none; 1 GET and 1 PUT more if clients have begun to wait for it
        """
        try:
            # An interrupt before the request would leave the lease held, and renewed as long as the lock is referenced.
            run_to_the_end(self._release)
        finally:
            self._end_block()

    def _release(self) -> None:
        if os.getpid() != self._pid:
            return  # the parent process holds it
        self._stop_renewing()
        with self._transition:
            if self._lost:
                return
            assert self._lease is not None
            free = replace(self._lease, state="free", nonce=secrets.token_hex(12))
            self._lost = True
            try:
                self._replace(free)
            except S3PreconditionFailed:
                logger.warning("the lock %s was taken over before it was released", self._file)
            except S3Error:
                raise
            except BaseException:  # interrupted: once more, since the lease would be held until it expires
                with suppress(S3Error):
                    self._replace(free)
                raise

    def _stop_renewing(self) -> None:
        renewer, self._renewer = self._renewer, None
        if (
            os.getpid() != self._pid
        ):  # the parent's thread does not exist in this process, and may have held the mutex at the fork
            self._transition, self._stop = threading.RLock(), threading.Event()
            return
        self._stop.set()
        if renewer is not None and renewer is not threading.current_thread():
            renewer.join()

    def _start_renewing(self) -> None:
        self._stop = threading.Event()
        arguments = (_renew_until_stopped, weakref.ref(self), self._stop, self._ttl)
        renewer = threading.Thread(
            target=copy_context().run, args=arguments, name=f"messageflux-s3-lock {self.key}", daemon=True
        )
        renewer.start()
        self._renewer = renewer  # not before: a thread that the system refused cannot be joined

    def __enter__(self) -> S3Lock:
        self._begin_block()
        try:
            return self.acquire() if self.lost else self
        except BaseException:
            self._end_block()
            raise

    def _begin_block(self) -> None:
        """Note that a ``with`` block uses the lock. Requests: none.

        Raises:
            S3LockError: Another block uses it: the two would hold the lock together, and the end of the first would release it.
        """
        if os.getpid() != self._pid:
            self._entered = threading.Lock()  # the block is the parent's
        if not self._entered.acquire(blocking=False):
            raise self._file.error(
                f"the lock {self._file} is used by another with block of this S3Lock; make one S3Lock for each thread or task"
            )

    def _end_block(self) -> None:
        """Note that the block has ended, or that the lock was released in it. Requests: none."""
        with suppress(RuntimeError):  # there was no block
            self._entered.release()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def __repr__(self) -> str:
        state = "not held" if self.lost else f"held, token {self.token}"
        return visible(f"<S3Lock {self._file} by {self._owner!r}: {state}>")


def _renew_until_stopped(reference: weakref.ref[S3Lock], stop: threading.Event, ttl: float) -> None:
    """Renew a held lock, in a daemon thread, until it is released, lost or garbage collected."""
    pause = ttl / 3
    while not stop.wait(pause):
        lock = reference()
        if lock is None:
            return
        transition = lock._transition
        # Never wait for it: a signal handler may release the lock, and so wait for this thread, while the code below the handler renews it.
        if not transition.acquire(blocking=False):
            pause = min(1.0, ttl / 10)
            del lock
            continue
        try:
            lock.renew()
        except S3LockError:
            return
        except Exception as error:  # also what the user's function for credentials raises
            shown = error if isinstance(error, S3Error) else type(error).__name__
            logger.warning("the lock %s could not be renewed yet: %s", lock, shown)
            pause = min(1.0, ttl / 10)
        else:
            pause = ttl / 3
        finally:
            transition.release()
        del lock


# -- plain lock files -------------------------------------------------------------------------------------------------------------


def acquire_lock(address: ObjectAddress, data: Mapping[str, Any] | None = None) -> Head:
    """Create a lock file if there is none, or take a free lease. The lock never expires.

    Raises:
        S3LockError: The lock is held; ``lock_holder`` names the holder.
        S3Unsupported: The store does not honour conditional writes; nothing was written.

    Requests:
        1 PUT; if the object exists also 1 GET, and 1 more PUT if its lease is free; once for each store also those of a probe
    """
    _require_one_bucket(address)
    file = _File(address)
    document = _checked_data(data)
    seen: _Snapshot | None = None
    conflict: S3Error | None = None
    for _ in range(_RACES):
        try:
            if seen is None:
                # An empty document would be falsy in "if bucket.check_lock(key)", although the lock is held.
                return file.write(document or {"owner": _default_owner()}, over=None)
            if seen.lease is None or not seen.is_free:
                raise _held(file, seen) from (seen.unreadable or conflict)
            # 0 means that no token was issued yet: it stays 0.
            token = seen.lease.token + 1 if seen.lease.token else 0
            lease = _Lease("held", token, None, str(document.get("owner", "")), secrets.token_hex(12))
            return file.write(with_waiters({**document, **lease.entry()}, seen.waiters), over=seen.etag)
        except S3PreconditionFailed as error:
            if error.outcome_unknown and seen is None:
                raise  # a plain file has no nonce that could show whether the write took place
            conflict = error
        seen = file.read()
    raise _held(file, seen) from conflict


def release_lock(address: ObjectAddress) -> None:
    """Delete a lock file, or free a lease. Do nothing if there is neither.

    Raises:
        S3LockError: Another client has acquired the lock meanwhile.
        S3PreconditionFailed: With ``outcome_unknown``: responses were lost, and it is unknown whether the lock is free.

    Requests:
        1 GET, and 1 DELETE or 1 PUT; for a lock file 1 HEAD more if the store does not honour If-Match on DELETE, and those of the probe
        once per store
    """
    file = _File(address)
    before: _Snapshot | None = None
    conflict: S3Error | None = None
    for _ in range(_RACES):
        seen = file.read()
        if seen is None or seen.is_free:
            return
        if before is not None and not _has_same_holder(before, seen):
            raise file.error(f"the lock {file} changed hands while it was being released") from conflict
        before = seen
        try:
            if seen.lease is None:
                _delete(file, seen.etag)
            else:
                free = {**seen.document["_lease"], "state": "free", "nonce": secrets.token_hex(12)}
                file.write({**seen.document, "_lease": free}, over=seen.etag, is_held=True)
            return
        except S3PreconditionFailed as error:
            if seen.lease is None and error.outcome_unknown:
                raise  # a plain file has no nonce that could show whether the file there now is the same one
            conflict = error  # the holder renewed the lease meanwhile, or responses were lost
    assert conflict is not None
    raise conflict


def _has_another_queue(before: _Snapshot | None, seen: _Snapshot | None) -> bool:
    """Return whether a lock that was read twice differs by its queue alone."""
    return before is not None and seen is not None and seen.state == before.state and seen.etag != before.etag


def _has_same_holder(before: _Snapshot, seen: _Snapshot) -> bool:
    """Return whether a lock that was read twice may have the same holder: the same token, or the same plain file."""
    if before.lease is None or seen.lease is None:
        return before.lease is seen.lease and etags.same(before.etag, seen.etag)
    return before.lease.token == seen.lease.token


def _delete(file: _File, etag: str) -> None:
    """Delete a plain lock file if it still has this etag. If the store does not honour If-Match on DELETE, compare it by a HEAD first.

    Raises:
        S3PreconditionFailed: The etag differs; or ``outcome_unknown``.
    """
    address = file.address
    if etag and not etags.is_weak(etag) and conditional.honours(address.bucket, "delete_if_match"):
        # S3Unsupported: versioning was enabled meanwhile, and the store does not honour the condition with it. Nothing was deleted.
        with suppress(S3Unsupported):
            conditional.delete(address, if_match=etag)
            return
    try:
        now = etags.unquoted(address.connection.call("HeadObject", **address.parameters)["ETag"])
    except S3NoSuchItem:
        return
    if not etags.same(now or "", etag):
        raise S3PreconditionFailed(f"{file} was not deleted: its ETag is no longer {etag}", operation="DeleteObject")
    address.connection.call("DeleteObject", **address.parameters)


def check_lock(address: ObjectAddress) -> dict[str, Any] | None:
    """Return the content of the lock's object; None if it does not exist, or if the lease is free.

    Raises:
        S3LockError: The lock file cannot be read.

    Requests:
        1 GET
    """
    file = _File(address)
    seen = file.read()
    if seen is None or seen.is_free:
        return None
    if seen.unreadable is not None:
        raise _held(file, seen) from seen.unreadable
    return seen.document


def _held(file: _File, seen: _Snapshot | None, waiters: int = 0) -> S3LockError:
    """Return the error of a lock that was not acquired; ``waiters``: how many other clients wait for it."""
    if seen is not None and seen.unreadable is not None:
        return file.error(
            f"the lock {file} cannot be read, so it may be held: {seen.unreadable}. Check the object; if the lock is not held, "
            f"release_lock({file.key!r}) deletes it"
        )
    if seen is not None and seen.is_free and waiters:
        return file.error(
            f"the lock {file} is free, but {waiters} other client{'s wait' if waiters > 1 else ' waits'} for it"
        )
    holder = None if seen is None or seen.is_free else holder_of(seen.document)
    return file.error(
        f"the lock {file} is held by {holder!r}{_until(file, seen)}"
        if holder is not None
        else f"the lock {file} could not be acquired: other clients were faster in every attempt",
        lock_holder=holder,
    )


def _until(file: _File, seen: _Snapshot | None) -> str:
    """Return the end of an error message: when the lock expires."""
    ttl = None if seen is None or seen.lease is None else seen.lease.ttl
    if seen is None or ttl is None:
        return f", and never expires: release_lock({file.key!r}) releases it"
    if seen.server_time is None or seen.age is None:
        return f", until {ttl:g} s after its last renewal"
    with suppress(OverflowError):
        end = seen.server_time + timedelta(seconds=ttl - seen.age)
        shown = f"{end:%Y-%m-%d %H:%M:%S} UTC by the store's clock"
        return f" until {shown}, unless it is renewed" if seen.age < ttl else f", whose lease ended at {shown}"
    return ""


def holder_of(document: Mapping[str, Any]) -> Any:
    """Return the holder of a lock: its ``user``, its ``owner``, or the whole document."""
    try:
        lease = _Lease.of(document)
    except ValueError:
        lease = None
    return document.get("user") or document.get("owner") or (lease.owner if lease else None) or dict(document)


def _checked_data(data: Mapping[str, Any] | None) -> dict[str, Any]:
    if data is None:
        return {}
    if not isinstance(data, Mapping):
        raise TypeError(f"data must be a mapping that JSON can represent, not {type(data).__name__}")
    if "_lease" in data:
        raise ValueError("data must not have an entry '_lease': it is reserved for the lock")
    try:
        json.dumps(dict(data), ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"data must be a mapping that JSON can represent: {error}") from error
    return dict(data)
