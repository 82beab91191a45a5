"""The record of one request: an operation of S3 with all its attempts.

The attempts may go through the fast lane, through boto3, or first through the lane and then through boto3. Only
:meth:`RequestRecord.end` reports a finished request to observers.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

from .._http.request_window import THROTTLED

logger = logging.getLogger("messageflux_s3")

Way = Literal["lane", "boto3"]


class RequestEvent(NamedTuple):
    """One finished request: an operation with all its attempts. ``store.on_request(callback)`` passes it to the callback.

    Attributes:
        operation: S3's name of the operation, such as ``"GetObject"``.
        bucket: The bucket; empty for an operation of the account, such as ListBuckets.
        key: The key; empty for an operation of the bucket.
        status: The HTTP status of the last response; None if there was none.
        attempts: The number of times that the request was sent, at least 1.
        throttles: The number of attempts that the store answered with 429 or 503.
        bytes_sent: Size of the request's body, summed over all attempts.
        bytes_received: Size of the bodies received.
        started: The time at which the request began, in seconds since 1970 (``datetime.fromtimestamp(started)``).
        seconds: The time until the response was complete. A body that is read as a stream counts the time of its reads, not the
            time between them.
        way: ``"lane"`` or ``"boto3"``: which of them sent the last attempt.
        error: S3's error code, such as ``"NoSuchKey"``, or the status as text if there is no code; the name of the exception if the
            response is missing or incomplete; ``"Abandoned"`` if the response was no longer wanted; None for a success.
    """

    operation: str
    bucket: str
    key: str
    status: int | None
    attempts: int
    throttles: int
    bytes_sent: int
    bytes_received: int
    started: float
    seconds: float
    way: Way
    error: str | None

    @property
    def retries(self) -> int:
        """The number of attempts after the first one."""
        return self.attempts - 1

    @property
    def bytes(self) -> int:
        """The bytes sent and received."""
        return self.bytes_sent + self.bytes_received


class RequestRecord:
    """One request under way.

    Attributes:
        observers: The observers to notify when the request ends; empty afterwards.
        clock: ``time.perf_counter()`` at the beginning.
        Others: as in :class:`RequestEvent`; ``seconds`` is 0 until the response is complete.
    """

    __slots__ = (
        "attempts", "bucket", "bytes_received", "bytes_sent", "clock", "error", "key", "observers", "operation", "seconds", "status",
        "throttles", "way",
    )  # fmt: skip

    def __init__(self, observers: tuple[Observer, ...], operation: str, bucket: str, key: str) -> None:
        self.observers = observers
        self.operation = operation
        self.bucket = bucket
        self.key = key
        self.status: int | None = None
        self.error: str | None = None
        self.way: Way = "lane"
        self.attempts = self.throttles = self.bytes_sent = self.bytes_received = 0
        self.seconds = 0.0
        self.clock = time.perf_counter()

    def sending(self, size: int) -> None:
        """Count an attempt, with the size of its body."""
        self.attempts += 1
        self.bytes_sent += size
        self.seconds = 0.0

    def not_sent(self, size: int) -> None:
        """Take back an attempt that did not reach the store: the idle connection was closed already, or no connection was made."""
        self.attempts -= 1
        self.bytes_sent -= size

    def received(self, status: int, size: int) -> None:
        """Note a complete response, with the size of its body."""
        self.status = status
        self.bytes_received += size
        self.seconds = time.perf_counter() - self.clock

    def failed(self, status: int | None) -> None:
        """Count a throttled attempt; no effect unless the status is 429 or 503."""
        if status in THROTTLED:
            self.throttles += 1

    def abandoned(self) -> None:
        """End a request whose response is not wanted any more."""
        if self.status is None:
            self.error = "Abandoned"
        self.end()

    def end(self, error: str | None = None) -> None:
        """Notify the observers that the request has ended; no effect if they were notified already, or if nothing was sent."""
        observers, self.observers = self.observers, ()
        if not self.attempts:
            return
        if error is not None:
            self.error = error
        if not self.seconds:
            self.seconds = time.perf_counter() - self.clock
        for observer in observers:
            try:
                observer(self)
            except Exception:
                _report_failure(observer)

    def as_event(self) -> RequestEvent:
        """Return the finished request as a value."""
        return RequestEvent(
            self.operation,
            self.bucket,
            self.key,
            self.status,
            self.attempts,
            self.throttles,
            self.bytes_sent,
            self.bytes_received,
            time.time() - (time.perf_counter() - self.clock),
            self.seconds,
            self.way,
            self.error,
        )


Observer = Callable[[RequestRecord], None]


# -- failures of observers ------------------------------------------------------------------------------------------------------------

_lock = threading.RLock()  # reentrant: a body collected here ends its request, and an observer of that may raise
_reported: weakref.WeakSet[Any] = weakref.WeakSet()


def _report_failure(observer: Observer) -> None:
    """Log the first exception of each observer: exceptions must neither break the request nor fill the log."""
    # A bound method and a partial may be made anew for each request; what they refer to stays.
    who = observer.func if isinstance(observer, partial) else getattr(observer, "__self__", observer)
    with _lock:
        is_new = who not in _reported
        _reported.add(who)
    if is_new:
        logger.warning("%r raised; it stays registered, but its further exceptions are not logged", who, exc_info=True)


def _reset_after_fork() -> None:
    global _lock
    _lock = threading.RLock()  # the parent's lock may be held by a thread that the child does not have


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no forks
    os.register_at_fork(after_in_child=_reset_after_fork)
