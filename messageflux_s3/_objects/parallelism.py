"""How many parts of one transfer are in flight: more while that increases the throughput, fewer where the store throttles."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

MEMORY_BYTES = 128 * 1024 * 1024
"""The parts of one upload that are held in memory have at most this size together, if they are not very large."""
FEWEST_LARGE = 6
"""The number of parts in flight that is allowed whatever their size."""

_MEBIBYTE = 1024 * 1024
_LARGEST_GROWN_BYTES = 1024 * _MEBIBYTE
_PARTS_OF_ONE_SIZE = 800
_USUAL_MOST = 16
_WINDOW_SECONDS = 0.05
_LEAST_GAIN = 1.2
"""Growth pays if the throughput becomes this many times larger."""
_WINDOWS_BETWEEN_TRIALS = 10
_SECONDS_BETWEEN_HALVINGS = 0.5
_CONNECTIONS_PER_SECOND = 800
"""Parts in flight at the beginning, for each second of latency: 16 at 20 ms, 2 on the same machine."""


def first_for(latency: float) -> int:
    """Return with how many parts in flight to begin, from the seconds that one small request took.

    The farther the store, the less one connection carries, and the more there is to gain from others.
    """
    return max(2, round(min(latency, 1.0) * _CONNECTIONS_PER_SECOND))


def even_part_size(size: int, least: int, largest: int) -> int:
    """Return the size of the parts of a transfer, in whole MiB, so that no connection is idle while others send the last parts.

    The number of parts is about a multiple of 16, the usual number of connections: 192 MiB are 32 parts of 6 MiB rather than 24 of 8 MiB,
    of which 8 would be sent after the other 16.

    Args:
        size: The size of the whole.
        least: The smallest size of a part.
        largest: The largest size of a part.
    """
    rounds = max(1, -(-size // (_USUAL_MOST * largest)))
    even = -(-size // (_USUAL_MOST * rounds))
    return max(least, min(largest, -(-even // _MEBIBYTE) * _MEBIBYTE))


def growing_part_size(first: int, number: int) -> int:
    """Return the size of a part of an upload whose size is unknown: twice as large after each 800 parts, up to 1 GiB.

    So 10,000 parts, the most that S3 allows, hold 5 TiB if the first one has 8 MiB, and short uploads need little memory.

    Args:
        first: The size of the first part.
        number: How many parts come before.
    """
    return min(max(first, _LARGEST_GROWN_BYTES), first << (number // _PARTS_OF_ONE_SIZE))


def most_for(max_concurrency: int, part_size: int) -> int:
    """Return the largest number of parts in flight, limited by ``max_concurrency`` and by the memory for parts of this size."""
    return max(1, min(max_concurrency, max(FEWEST_LARGE, MEMORY_BYTES // max(1, part_size))))


def most_bytes_for(first: int) -> int:
    """Return the largest size of all parts in flight together, if the parts grow.

    Args:
        first: The size of the first part.
    """
    return max(2 * MEMORY_BYTES, FEWEST_LARGE * first)


class Parallelism:
    """A semaphore whose number of permits adapts to the measured throughput. Safe to share between threads.

    The throughput is measured in windows of at least 50 ms. After each change one window is left out, since new connections fill the
    socket buffers first. The number doubles while that makes the throughput at least 1.2 times larger; otherwise it returns to the
    former number, and a larger one is tried again later. It is halved if the store throttles.

    Args:
        most: The largest number of permits.
        first: The number of permits at the beginning; at most ``most``.
        clock: Returns the current time in seconds.
    """

    def __init__(self, most: int, first: int = 2, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._limit = self._former = min(most, first)
        self._clock = clock
        self._changed = threading.Condition(threading.Lock())
        self._in_use = 0
        self._is_closed = False
        self._was_full = False  # whether all permits were in use during the current window
        self._best = 0.0  # the throughput with the former number
        self._is_settling = True
        self._windows_to_wait = 0
        self._halved_at = float("-inf")
        self._begin_window(clock())

    @property
    def limit(self) -> int:
        """The number of permits now."""
        return self._limit

    @property
    def is_full(self) -> bool:
        """Whether :meth:`acquire` would wait now."""
        return self._in_use >= self._limit

    def acquire(self) -> bool:
        """Wait for a permit; return False if the semaphore was closed."""
        with self._changed:
            while self._in_use >= self._limit and not self._is_closed:
                self._changed.wait()
            if self._is_closed:
                return False
            self._in_use += 1
            self._was_full = self._was_full or self._in_use >= self._limit
            return True

    def release(self) -> None:
        """Return a permit."""
        with self._changed:
            self._in_use -= 1
            self._changed.notify()

    def close(self) -> None:
        """Let all threads go that wait for a permit."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def note(self, count: int) -> None:
        """Record that so many bytes were sent or received."""
        with self._changed:
            self._bytes += count
            self._reports += 1
            now = self._clock()
            seconds = now - self._window_began
            # A report may stand for a whole part: a few from each connection are needed to tell the throughput.
            if seconds >= _WINDOW_SECONDS and self._reports >= 2 * self._limit:
                rate, was_full = self._bytes / seconds, self._was_full
                self._begin_window(now)
                if self._is_settling:
                    self._is_settling = False
                elif was_full:
                    self._adapt(rate)

    def note_trouble(self) -> None:
        """Record that the store throttled a request, or that a request had to be sent again: halve the number of permits."""
        with self._changed:
            now = self._clock()
            if now - self._halved_at < _SECONDS_BETWEEN_HALVINGS:
                return  # requests that were in flight together count once
            self._halved_at = now
            self._set_limit(max(1, self._limit // 2))
            self._former, self._best = self._limit, 0.0
            self._windows_to_wait = _WINDOWS_BETWEEN_TRIALS

    def _adapt(self, rate: float) -> None:
        if self._windows_to_wait:
            self._windows_to_wait -= 1
            if not self._windows_to_wait:
                self._grow(rate, self._limit + max(1, self._limit // 2))
        elif self._limit == self._former or rate >= _LEAST_GAIN * self._best:
            self._grow(rate, 2 * self._limit)
        else:
            self._set_limit(self._former)
            self._windows_to_wait = _WINDOWS_BETWEEN_TRIALS

    def _grow(self, rate: float, limit: int) -> None:
        self._former, self._best = self._limit, rate
        self._set_limit(min(self._most, limit))

    def _set_limit(self, limit: int) -> None:
        if limit != self._limit:
            self._limit = limit
            self._is_settling = True
            self._changed.notify_all()

    def _begin_window(self, now: float) -> None:
        self._window_began = now
        self._bytes = 0
        self._reports = 0
        self._was_full = self._in_use >= self._limit
