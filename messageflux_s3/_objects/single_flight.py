"""Questions that are put to a store once, by requests for scratch objects, although several threads need the answer (single-flight).

One thread asks, and the others wait and get its answer or its error. Different stores and different questions do not wait for each other.
"""

from __future__ import annotations

import copy
import os
import threading
import time
import weakref
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from .._client.connection import Connection
from ..errors import S3Error

Answer = TypeVar("Answer")


class _Flight:
    """The lock of one question, and its last failure.

    Attributes:
        lock: Held by the thread that asks.
        failure: Time, details of the question, and error of the last failure.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()  # reentrant: a signal handler may write while its thread asks
        self.failure: tuple[float, Hashable, S3Error] | None = None


_flights: weakref.WeakKeyDictionary[Connection, dict[str, _Flight]] = weakref.WeakKeyDictionary()
_flights_lock = threading.RLock()


def _reset_after_fork() -> None:
    global _flights, _flights_lock
    # The parent's locks may be held by threads that the child does not have.
    _flights, _flights_lock = weakref.WeakKeyDictionary(), threading.RLock()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no forks
    os.register_at_fork(after_in_child=_reset_after_fork)


class Turn:
    """The turn of a thread to put a question to the store, while all others that have this question wait."""

    def __init__(self, flight: _Flight, arrived: float) -> None:
        self._flight = flight
        self._arrived = arrived

    def ask(self, ask: Callable[[], Answer], details: Hashable = None) -> Answer:
        """Ask the store. The caller keeps the answer where it looks before it asks.

        Args:
            ask: Sends the requests.
            details: What distinguishes this call from others with the same question: only those with equal details share an error.

        Raises:
            S3Error: ``ask`` raised it here; or in another thread while this one waited, so that the threads do not wait for one
                time-out each, in sequence.
        """
        failure = self._flight.failure
        if failure is not None and failure[0] >= self._arrived and failure[1] == details:
            raise copy.copy(failure[2]) from failure[2]
        try:
            return ask()
        except S3Error as error:
            self._flight.failure = time.monotonic(), details, error
            raise


@contextmanager
def single_flight(connection: Connection, question: str) -> Iterator[Turn]:
    """Wait until no other thread puts this question to this store. The caller then looks whether the answer is known.

    Args:
        connection: The connection to the store.
        question: The question, such as the name of the fact that answers it.
    """
    with _flights_lock:
        flight = _flights.setdefault(connection.shared, {}).setdefault(question, _Flight())
    arrived = time.monotonic()
    with flight.lock:
        yield Turn(flight, arrived)
