"""The queue of the clients that wait for a lock: who is next, and how often each one looks.

The queue stands in the lock's document, as ``_lease.waiters``: a random name for each waiting ``acquire()``, the oldest first. A client
joins with one conditional write that leaves everything else in the document as it is, the nonce included, and looks at the lock until it is
free and its turn. There is nothing to clean up: the client that takes the lock removes itself and all that are before it, and a client that
finds itself removed although it still waits joins again, at the front.

A waiter that died delays the next one by a grace period, once. The queue decides only who is first to *try*. That one client at a time
holds the lock is ensured by conditional writes alone, whatever the queue says: a client that ignores it (an older version,
``acquire_lock``) makes the lock unfair, not unsafe.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Mapping
from typing import Any

LARGEST = 32
"""The most clients that a queue has. Further ones look again until it is shorter."""

_GRACE = 0.5
"""Grace period in seconds: if a waiter does not take a free lock in this time, the next waiter may take it."""

_LONGEST_GRACE = 2.0
"""Seconds after which every client may take a free lock, however many waiters are before it."""

_SHORTEST_PAUSE = 0.02
_PAUSE_PER_PLACE = 0.04
_LONGEST_PAUSE = 0.25


def waiters_of(document: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names in the queue of a lock's document, the oldest first. A queue that this library did not write counts as empty."""
    lease = document.get("_lease")
    found = lease.get("waiters") if isinstance(lease, Mapping) else None
    if not isinstance(found, list) or len(found) > LARGEST or not all(isinstance(name, str) for name in found):
        return ()
    return tuple(found)


def with_waiters(document: Mapping[str, Any], waiters: tuple[str, ...]) -> dict[str, Any]:
    """Return the document of a lease with another queue; everything else in it stays."""
    lease = {name: value for name, value in document["_lease"].items() if name != "waiters"}
    return {**document, "_lease": {**lease, "waiters": [*waiters]} if waiters else lease}


class Place:
    """The place of one waiting ``acquire()`` in the queue of a lock.

    Attributes:
        name: Its name in the queue.
        since: When the present state of the lock was first seen.
        has_joined: Whether the name may stand in the queue: a write that puts it there was sent.
        is_refused: Whether that write failed for another reason than a concurrent write.
    """

    def __init__(self, now: float) -> None:
        self.name = secrets.token_hex(6)
        self.since = now
        self.has_joined = False
        self.is_refused = False
        self._state: object = None
        self._token: int | None = None
        self._holder_since = now
        self._grace = _GRACE
        self._is_in_queue = False
        self._skips = 0
        self._looks = 0

    def look(self, state: object, token: int | None, waiters: tuple[str, ...], now: float, took: float) -> None:
        """Take note of the state of the lock.

        Args:
            state: What changes with every write of the lock, except those of the queue.
            token: The token of the lease.
            waiters: The queue.
            now: When the response arrived. During a slow request the holder may have renewed the lease.
            took: The seconds from the request to the response. Slow clients have a longer grace period.
        """
        self._looks += 1
        self._grace = max(_GRACE, 4 * took)
        if state != self._state:
            self._state, self.since = state, now
        if token != self._token:
            self._token, self._holder_since = token, now
        self._skips += self._is_in_queue and self.name not in waiters
        self._is_in_queue = self.name in waiters

    def is_next(self, waiters: tuple[str, ...], age: float | None, now: float) -> bool:
        """Return whether this client may take a free lock: none is before it, or those before it have not taken it for a grace period each.

        Args:
            waiters: The queue.
            age: The seconds since the lock was last written, by the server's clock, if known.
            now: The time now.
        """
        if age is not None and age >= _LONGEST_GRACE + 1:  # both times are in whole seconds
            return True
        return now - self.since >= min(self._before(waiters) * self._grace, max(_LONGEST_GRACE, self._grace))

    def behind(self, waiters: tuple[str, ...]) -> tuple[str, ...]:
        """Return the part of the queue behind this client."""
        return waiters[waiters.index(self.name) + 1 :] if self.name in waiters else ()

    def without(self, waiters: tuple[str, ...]) -> tuple[str, ...]:
        """Return the queue without this client."""
        return tuple(name for name in waiters if name != self.name)

    def joined(self, waiters: tuple[str, ...]) -> tuple[str, ...] | None:
        """Return the queue with this client; None if it should not join now.

        A client joins only after it has read the lock twice, so that brief waits do not write to the queue. If the client was removed from
        the queue while it waited, it rejoins at the front, because all other waiters came later. If that happens again, the client is too
        slow to take its turn, and rejoins at the end.
        """
        if self.name in waiters or len(waiters) >= LARGEST or self._looks < 2 or self.is_refused:
            return None
        return (self.name, *waiters) if self._skips == 1 else (*waiters, self.name)

    def pause(self, waiters: tuple[str, ...], now: float) -> float:
        """Return the seconds until the next look: a tenth of the time for which the holder has been seen, more at the end of the queue."""
        held = max(_SHORTEST_PAUSE, (now - self._holder_since) / 10)
        longest = min(_LONGEST_PAUSE, held + self._before(waiters) * _PAUSE_PER_PLACE)
        return random.uniform(longest / 2, longest)

    def _before(self, waiters: tuple[str, ...]) -> int:
        return waiters.index(self.name) if self.name in waiters else len(waiters)
