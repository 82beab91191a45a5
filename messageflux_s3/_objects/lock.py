"""Locks on S3: leases that end by themselves, are taken over safely and carry a fencing token; and plain lock files.

A lease is an object of JSON that stays: the user's data at the top, and ``_lease`` with state, token, ttl, owner and a nonce that is new in
every state, so that ETags never repeat. Every transition is one conditional write. docs/explanation/locks.md has the protocol and what
can be proved of it.

What is guaranteed: of two holders, at most one has a lease that has not expired, by clocks that may differ in what they show but not in
how fast they go; and tokens only grow. What is not: a holder that was stalled may still act after its lease is over. ``check()`` just
before acting makes that unlikely; only a sink that compares tokens, or ``put_object(if_match=…)``, makes it impossible.
"""

from __future__ import annotations

import json
import logging
import os
import random
import secrets
import threading
import time
import weakref
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from types import TracebackType
from typing import Any, Literal

from .._client.connection import Connection
from .._formats import etags
from .._formats.decoding import as_json
from .._formats.head import Head
from .._formats.keys import check_key
from ..errors import (
    S3ConnectionError,
    S3Error,
    S3InvalidContent,
    S3LockError,
    S3NoSuchItem,
    S3PreconditionFailed,
    S3ServerError,
)
from . import checksum, conditional, ranged_reader

logger = logging.getLogger("messageflux_s3")

_TOKENS_PER_SECOND = 2**20
_LARGEST_TOKEN = 2**63 - 1
_LONGEST_TTL = 10**12  # seconds; far more than is ever written, and no trouble for a float
_POLL = 0.25
_CLOCK_IS_STUCK = 10.0
_RACES = 5
# Linux; macOS, where time.monotonic() stands still during sleep and this one does not; Windows, whose time.monotonic() goes on.
_CLOCK: int | None = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))


def _shown(value: Any) -> str:
    """Return a value out of another writer's JSON as JSON has it, short enough for an error message; not the content of texts."""
    if isinstance(value, (str, Mapping, list)):
        return {str: "text", list: "a list"}.get(type(value), "an object")
    written = json.dumps(value)
    return written if len(written) <= 40 else f"{written[:40]}..."


def _default_owner() -> str:
    return f"{os.uname().nodename if hasattr(os, 'uname') else 'host'}:{os.getpid()}"


def clock() -> float:
    """Seconds that go on while the machine is suspended: a lease does not wait for its holder."""
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)


@dataclass(frozen=True, slots=True)
class _Lease:
    """What stands under ``_lease``."""

    state: Literal["held", "free"]
    token: int  # 0: nobody has had one yet
    ttl: float | None  # None: taken by acquire_lock, never expires
    owner: str
    nonce: str

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> _Lease | None:
        """Return the lease in a document; None where it is a plain lock file.

        Raises:
            ValueError: The entry ``_lease`` is none that this library writes: obeyed, it could make a held lock look expired.
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
        """What stands of it in a document."""
        return {"_lease": asdict(self)}


@dataclass(frozen=True, slots=True)
class _Seen:
    """The lock's object at one moment."""

    document: dict[str, Any]
    lease: _Lease | None
    etag: str
    age: float | None  # seconds since it was written, by the server's own clock
    server_time: datetime | None
    unreadable: S3InvalidContent | None = None  # why this is no lock file: it may be held, so it is never taken over

    @property
    def is_free(self) -> bool:
        """Whether it is a lease that nobody has; a plain lock file is never free."""
        return self.lease is not None and self.lease.state == "free"


class _File:
    """The object under a lock's key: read, and replaced under a condition."""

    def __init__(self, connection: Connection, bucket_name: str, key: str) -> None:
        self.connection = connection
        self.bucket_name = bucket_name
        self.key = check_key(key, bucket=bucket_name)

    def __str__(self) -> str:
        return f"s3://{self.bucket_name}/{self.key}"

    def read(self) -> _Seen | None:
        """What stands there now; None where nothing does."""
        try:
            answer = self.connection.call("GetObject", Bucket=self.bucket_name, Key=self.key)
            ranged_reader.check_whole(answer, self.bucket_name, self.key)
            with self.connection.translating("GetObject", self.bucket_name, self.key):
                body: bytes = answer["Body"].read()
                if not answer.get("ETag"):
                    raise ConnectionError("the answer was cut off within its headers")
        except S3NoSuchItem:
            return None
        checksum.check_received(self.connection, answer, body, self.bucket_name, self.key)
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
        now = conditional.server_time(answer)
        age = (now - answer["LastModified"]).total_seconds() if now is not None and "LastModified" in answer else None
        return _Seen(document, lease, etags.unquoted(str(answer["ETag"])) or "", age, now, unreadable)

    def _document(self, body: bytes) -> dict[str, Any]:
        document = as_json(body, self.bucket_name, self.key)
        if isinstance(document, dict) and document:
            return document
        found = (
            f"a {type(document).__name__}, not an object"
            if not isinstance(document, dict)
            else "an object without any entry"
        )
        raise self._invalid(f"it is {found}")

    def _invalid(self, why: str) -> S3InvalidContent:
        return S3InvalidContent(
            f"the content of {self} is not a lock file: {why}",
            operation="GetObject",
            bucket=self.bucket_name,
            key=self.key,
        )

    def error(self, message: str, **attributes: Any) -> S3LockError:
        """Return an S3LockError that names the bucket and the key."""
        return S3LockError(message, bucket=self.bucket_name, key=self.key, **attributes)

    def write(self, document: Mapping[str, Any], *, over: str | None) -> Head:
        """Create it, or replace the state with this etag. Doubt is settled by the nonce in the document."""
        try:
            body = json.dumps(document, ensure_ascii=False).encode()
        except UnicodeEncodeError:  # release_lock() writes back what it read, and JSON can hold lone surrogates
            body = json.dumps(document).encode()
        try:
            return conditional.put(
                self.connection, self.bucket_name, self.key, body, if_absent=over is None, if_match=over,
                content_type="application/json",
            )  # fmt: skip
        except S3PreconditionFailed:
            lease = _Lease.of(document)
            now = self.read() if lease is not None else None
            if now is None or now.lease != lease:
                raise
            return Head(etag=now.etag)  # ours after all: the answer was lost


class S3Lock:
    """A lease on a key. Comes from ``bucket.lock(…)``, held; leave its ``with`` block, or call ``release()``.

    A daemon thread renews it every third of its ttl while it is held; it ends with the lock, also when nobody has the lock any more. A
    forked child does not own the lock.

    Guaranteed: never two holders whose leases have not expired, and tokens that only grow. Not guaranteed: that a holder which was stalled
    notices in time; let what it writes to compare tokens, or write with ``put_object(…, if_match=…)``, so that its late write is refused.

    Example:
        >>> with bucket.lock("locks/report", ttl=30, owner="worker-7") as lock:
        ...     lock.check()
        ...     _ = bucket.put_json("report", {"by": lock.token > 0})
        >>> bucket.check_lock("locks/report") is None
        True
    """

    def __init__(
        self,
        connection: Connection,
        bucket_name: str,
        key: str,
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
        self._data = _checked_data(data)
        self._file = _File(connection, bucket_name, key)
        self._ttl = float(ttl)
        self._wait = float(wait)
        self._owner = owner if owner is not None else _default_owner()
        self._lease: _Lease | None = None
        self._etag = ""
        self._written: list[str] = []  # nonces of ours that may stand there
        self._deadline: float  # of the lease, as soon as there is one
        self._lost = True  # until then
        self._pid = os.getpid()
        self._turn = threading.Lock()
        self._stop = threading.Event()
        self._renewer: threading.Thread | None = None

    @property
    def key(self) -> str:
        """The key. Requests: none."""
        return self._file.key

    @property
    def _place(self) -> dict[str, Any]:
        return {"bucket": self._file.bucket_name, "key": self._file.key}

    @property
    def owner(self) -> str:
        """Who we say we are. Requests: none."""
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
        """Whether the lease is over, or somebody else's; False only while it is ours for certain. Requests: none."""
        return self._lost or os.getpid() != self._pid or clock() >= self._deadline

    def check(self) -> None:
        """Go on only while the lease is ours for certain.

        Raises:
            S3LockError: It is over, taken over, released, or the parent process's.

        Requests:
            none
        """
        if self.lost:
            raise self._file.error(f"the lock {self._file} is not held (any more) by {self._owner!r}")

    # -- life -------------------------------------------------------------------------------------------------------------------------

    def acquire(self) -> S3Lock:
        """Take the lock; wait for it as long as was said.

        Returns:
            The lock itself.

        Raises:
            S3LockError: Somebody else has it; ``lock_holder`` says who.
            S3Unsupported: The store does not honour conditional writes; nothing was written.

        Requests:
            1 GET, 1 PUT (more while it waits; once a store those of a probe)
        """
        if not self.lost:
            raise self._file.error(f"the lock {self._file} is held already, by this very object")
        for kind in ("put_if_absent", "put_if_match"):
            conditional.require(self._file.connection, self._file.bucket_name, kind)
        self._stop_renewing()
        until = clock() + self._wait
        watched, since = "", clock()
        while True:
            seen = self._file.read()
            if seen is not None and seen.etag != watched:
                # From the answer on, not from the question: on a slow GET the holder may have renewed in between.
                watched, since = seen.etag, clock()
            if self._is_takeable(seen, since):
                if self._take(seen):
                    self._start_renewing()
                    return self
                seen = self._file.read()  # somebody was faster: who?
            left = until - clock()
            if left <= 0:
                raise _held(self._file, seen) from (None if seen is None else seen.unreadable)
            time.sleep(min(left, random.uniform(_POLL / 2, _POLL)))

    def _is_takeable(self, seen: _Seen | None, since: float) -> bool:
        """Absent, free, or expired: nobody renewed it for a whole ttl that we watched, or that the server's own times show."""
        if seen is None or seen.is_free:
            return True
        if seen.lease is None or seen.lease.ttl is None:
            return False  # lock files, plain or over a free lease: never taken over
        return clock() - since >= seen.lease.ttl or (seen.age is not None and seen.age >= seen.lease.ttl + 1)

    def _take(self, seen: _Seen | None) -> bool:
        """One transition to held; False where somebody was faster."""
        try:
            if seen is None:
                seen = self._create()
            token = None if seen is None or seen.lease is None else self._next_token(seen, seen.lease)
            if seen is None or token is None:
                return False
            lease = _Lease("held", token, self._ttl, self._owner, secrets.token_hex(12))
            sent = clock()
            written = self._file.write(self._document(lease), over=seen.etag)
        except S3PreconditionFailed:
            return False
        if clock() >= sent + self._ttl:
            return False  # the answer took longer than the lease
        self._written = [lease.nonce]
        self._lease, self._etag, self._deadline = lease, written.etag or "", sent + self._ttl
        self._pid, self._lost = os.getpid(), False  # the last: from here on it counts as held
        return True

    def _create(self) -> _Seen | None:
        """The object, free and without a token as yet; None where it is not (or no longer) ours."""
        lease = _Lease("free", 0, self._ttl, self._owner, secrets.token_hex(12))
        self._file.write(self._document(lease), over=None)
        seen = self._file.read()
        return seen if seen is not None and seen.lease == lease else None

    def _next_token(self, seen: _Seen, lease: _Lease) -> int | None:
        """One more than the last; the first one of an object is the server's time, and is given out only once that second is over.

        None where the object changed meanwhile. Who deletes it by hand and creates it anew so finds a later second than any that was
        given out before, however long ago anybody had seen the key absent.
        """
        if lease.token:
            return lease.token + 1
        now, until = seen, clock() + _CLOCK_IS_STUCK
        while clock() < until:
            if seen.server_time is None or now.server_time is None:
                raise S3ConnectionError(
                    f"the answer about the lock {self._file} carried no Date", **self._place, retryable=True
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
            f"the store's clock stands still: no token for the lock {self._file}", **self._place, retryable=True
        )

    def _document(self, lease: _Lease) -> dict[str, Any]:
        return {**self._data, **lease.entry()}

    def renew(self) -> None:
        """Renew the lease now; the daemon thread does it by itself.

        Raises:
            S3LockError: It is not ours any more.
            S3Error: The store could not be reached; the lease is ours until its deadline all the same.

        Requests:
            1 PUT
        """
        self.check()  # first of all: in a forked child the turn may be taken for ever
        with self._turn:
            self.check()
            assert self._lease is not None
            lease = replace(self._lease, nonce=secrets.token_hex(12))
            sent, deadline = clock(), self._deadline
            try:
                self._replace(lease)
            except S3PreconditionFailed as error:
                self._lost = True
                raise self._file.error(f"the lock {self._file} was lost: somebody else has written it") from error
            if clock() >= deadline:
                # check() has raised meanwhile, or would have: what is lost stays lost. It is ours to give back all the same.
                raise self._file.error(f"the lock {self._file} was lost: its renewal took longer than the lease")
            self._lease, self._deadline = lease, sent + self._ttl

    def _replace(self, lease: _Lease) -> None:
        """One transition from a state of ours; which one stands there may be unknown, where the answer of an earlier one was lost."""
        self._written.append(lease.nonce)
        for _ in range(3):
            try:
                written = self._file.write(self._document(lease), over=self._etag)
            except S3PreconditionFailed:
                seen = self._file.read()
                if seen is None or seen.lease is None or seen.is_free or seen.lease.nonce not in self._written:
                    raise
                self._etag = seen.etag
            else:
                self._etag = written.etag or ""
                self._written = [lease.nonce]
                return
        raise S3ServerError(
            f"the lock {self._file} could not be written: the store refuses what it shows",
            **self._place,
            retryable=True,
        )

    def release(self) -> None:
        """Give the lock back; that it is not ours any more is no error.

        Raises:
            S3Error: The store could not be reached; the lease then ends by itself.

        Requests:
            1 PUT where the lock is held, else none
        """
        if os.getpid() != self._pid:
            return  # the parent's
        self._stop_renewing()
        with self._turn:
            if self._lost:
                return
            assert self._lease is not None
            free = replace(self._lease, state="free", nonce=secrets.token_hex(12))
            self._lost = True
            try:
                self._replace(free)
            except S3PreconditionFailed:
                logger.warning("the lock %s was taken over before it was released", self._file)

    def _stop_renewing(self) -> None:
        renewer, self._renewer = self._renewer, None
        if os.getpid() != self._pid:  # the parent's thread is not here, and may have held these at the fork
            self._turn, self._stop = threading.Lock(), threading.Event()
            return
        self._stop.set()
        if renewer is not None and renewer is not threading.current_thread():
            renewer.join()

    def _start_renewing(self) -> None:
        self._stop = threading.Event()
        arguments = (weakref.ref(self), self._stop, self._ttl)
        self._renewer = threading.Thread(
            target=_renew_until_stopped, args=arguments, name=f"messageflux-s3-lock {self.key}", daemon=True
        )
        self._renewer.start()

    def __enter__(self) -> S3Lock:
        return self.acquire() if self.lost else self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def __repr__(self) -> str:
        state = "not held" if self.lost else f"held, token {self.token}"
        return f"<S3Lock {self._file} by {self._owner!r}: {state}>"


def _renew_until_stopped(reference: weakref.ref[S3Lock], stop: threading.Event, ttl: float) -> None:
    """The daemon thread of one held lock; it ends with the lock, also with one that was dropped without a release."""
    pause = ttl / 3
    while not stop.wait(pause):
        lock = reference()
        if lock is None:
            return
        try:
            lock.renew()
        except S3LockError:
            return
        except S3Error as error:
            logger.warning("the lock %s could not be renewed yet: %s", lock, error)
            pause = min(1.0, ttl / 10)
        else:
            pause = ttl / 3
        del lock


# -- plain lock files -------------------------------------------------------------------------------------------------------------


def acquire_lock(connection: Connection, bucket_name: str, key: str, data: Mapping[str, Any] | None = None) -> Head:
    """Create a lock file if there is none; a free lease is taken, without a ttl.

    Raises:
        S3LockError: The lock is held; ``lock_holder`` says by whom.
        S3Unsupported: The store does not honour conditional writes; nothing was written.

    Requests:
        1 PUT, and 1 GET where there is something already
    """
    file = _File(connection, bucket_name, key)
    document = _checked_data(data)
    seen: _Seen | None = None
    conflict: S3Error | None = None
    for _ in range(_RACES):
        try:
            if seen is None:
                # A file without any entry would be false for "if bucket.check_lock(key)", though it is held.
                return file.write(document or {"owner": _default_owner()}, over=None)
            if seen.lease is None or not seen.is_free:
                raise _held(file, seen) from (seen.unreadable or conflict)
            # Where nobody has had a token yet there is none to go on from: 0 stays 0.
            token = seen.lease.token + 1 if seen.lease.token else 0
            lease = _Lease("held", token, None, str(document.get("owner", "")), secrets.token_hex(12))
            return file.write({**document, **lease.entry()}, over=seen.etag)
        except S3PreconditionFailed as error:
            if error.outcome_unknown and seen is None:
                raise  # a plain file has no nonce by which to tell
            conflict = error
        seen = file.read()
    raise _held(file, seen) from conflict


def release_lock(connection: Connection, bucket_name: str, key: str) -> None:
    """Delete a lock file, free a lease; that there is none is no error.

    Raises:
        S3LockError: A lease changed hands meanwhile.
        S3PreconditionFailed: With ``outcome_unknown``: answers were lost, and nobody can know whether the lease is free.

    Requests:
        1 GET, and 1 DELETE or 1 PUT
    """
    file = _File(connection, bucket_name, key)
    token: int | None = None
    conflict: S3Error | None = None
    for _ in range(_RACES):
        seen = file.read()
        if seen is None or seen.is_free:
            return
        if seen.lease is None:
            connection.call("DeleteObject", Bucket=bucket_name, Key=key)
            return
        if token is not None and seen.lease.token != token:
            raise file.error(f"the lock {file} changed hands while it was being released") from conflict
        token = seen.lease.token
        free = {**seen.document["_lease"], "state": "free", "nonce": secrets.token_hex(12)}
        try:
            file.write({**seen.document, "_lease": free}, over=seen.etag)
            return
        except S3PreconditionFailed as error:
            conflict = error  # its holder renewed it, or answers were lost
    assert conflict is not None
    raise conflict


def check_lock(connection: Connection, bucket_name: str, key: str) -> dict[str, Any] | None:
    """What the lock file says; None where there is none, or the lease is free.

    Raises:
        S3LockError: It cannot be read.

    Requests:
        1 GET
    """
    file = _File(connection, bucket_name, key)
    seen = file.read()
    if seen is None or seen.is_free:
        return None
    if seen.unreadable is not None:
        raise _held(file, seen) from seen.unreadable
    return seen.document


def _held(file: _File, seen: _Seen | None) -> S3LockError:
    if seen is not None and seen.unreadable is not None:
        return file.error(
            f"the lock {file} cannot be read, so it may be held: {seen.unreadable}. Look at the object; if nobody holds the lock, "
            f"release_lock({file.key!r}) deletes it"
        )
    holder = None if seen is None or seen.is_free else holder_of(seen.document)
    return file.error(
        f"the lock {file} is held by {holder!r}"
        if holder is not None
        else f"the lock {file} was lost to others again and again",
        lock_holder=holder,
    )


def holder_of(document: Mapping[str, Any]) -> Any:
    """Who has a lock: its ``user``, its ``owner``, or all that the file says."""
    try:
        lease = _Lease.of(document)
    except ValueError:
        lease = None
    return document.get("user") or document.get("owner") or (lease.owner if lease else None) or dict(document)


def _checked_data(data: Mapping[str, Any] | None) -> dict[str, Any]:
    if data is None:
        return {}
    if not isinstance(data, Mapping):
        raise TypeError(f"data must be a mapping that JSON can write, not {type(data).__name__}")
    if "_lease" in data:
        raise ValueError("data must not have an entry '_lease': the lock keeps its own there")
    try:
        json.dumps(dict(data), ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"data must be a mapping that JSON can write: {error}") from error
    return dict(data)
