"""Many clients of a store in memory, in virtual time: thousands of turns within seconds, the same ones in every run.

Each client is a thread, and only one of them runs at a time. It hands over when it sleeps or sends a request; the clock then advances to
the next one that is due. A client can be killed (it sends nothing more) or stopped for a while at any of these points.
"""

from __future__ import annotations

import heapq
import itertools
import random
import threading
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from support.memory_connection import Answer, Memory, in_memory

_START = datetime(2026, 11, 21, 12, 0, 0, tzinfo=timezone.utc)


class Killed(BaseException):
    """Raised in a client at each request and sleep after it was killed."""


class _Client:
    def __init__(self, function: Callable[[], object]) -> None:
        self.function = function
        self.goes_on = threading.Semaphore(0)
        self.is_killed = False
        self.stopped_until = 0.0


class VirtualTime(Memory):
    """A store in memory whose requests and sleeps take virtual time.

    Args:
        latency: Mean seconds of a request, half of it before the store acts.
        seed: The seed of all random numbers.
    """

    def __init__(self, latency: float, seed: int) -> None:
        super().__init__()
        self.random = random.Random(seed)
        self.requests = 0
        self._latency = latency
        self._due: list[tuple[float, int, _Client]] = []
        self._numbers = itertools.count()
        self._handed_over = threading.Semaphore(0)
        self._local = threading.local()
        self._error: BaseException | None = None

    # -- the clients ------------------------------------------------------------------------------------------------------------------

    def start(self, function: Callable[[], object]) -> _Client:
        """Start a client now."""
        client = _Client(function)
        threading.Thread(target=self._live, args=(client,), daemon=True).start()
        self._push(0, client)
        return client

    def run(self, functions: Iterable[Callable[[], object]], until: Callable[[], bool]) -> None:
        """Run clients until a condition holds or all have ended; then kill them."""
        for function in functions:
            self.start(function)
        while self._due and not until() and self._error is None:
            self._step()
        for _, _, client in self._due:
            client.is_killed = True
        while self._due:
            self._step()
        if self._error is not None:
            raise self._error

    def _step(self) -> None:
        self.seconds, _, client = heapq.heappop(self._due)
        self.server_now = _START + timedelta(seconds=self.seconds - 1000)
        client.goes_on.release()
        self._handed_over.acquire()

    def _live(self, client: _Client) -> None:
        self._local.client = client
        client.goes_on.acquire()
        try:
            if not client.is_killed:
                client.function()
        except Killed:
            pass
        except BaseException as error:
            self._error = error
        finally:
            self._handed_over.release()

    def _push(self, seconds: float, client: _Client) -> None:
        heapq.heappush(self._due, (self.seconds + max(0.0, seconds), next(self._numbers), client))

    def kill(self, client: _Client) -> None:
        """Kill a client: it sends nothing more."""
        client.is_killed = True

    def stop(self, client: _Client, seconds: float) -> None:
        """Stop a client for some seconds."""
        client.stopped_until = self.seconds + seconds

    # -- what the library calls ---------------------------------------------------------------------------------------------------------

    def sleep(self, seconds: float) -> None:
        client = getattr(self._local, "client", None)
        if client is None:  # outside run()
            return super().sleep(seconds)
        until = self.seconds + max(0.0, seconds)
        while not client.is_killed and (until >= self.seconds or client.stopped_until > self.seconds):
            self._push(max(until, client.stopped_until) - self.seconds, client)
            self._handed_over.release()
            client.goes_on.acquire()
            until = -1
        if client.is_killed:
            raise Killed
        return None

    def call(self, operation: str, **parameters: Any) -> Answer:
        self.requests += 1
        self.sleep(self.random.expovariate(2 / self._latency))
        try:
            return super().call(operation, **parameters)
        finally:
            self.calls.clear()
            self.sent.clear()
            self.sleep(self.random.expovariate(2 / self._latency))


def virtual_time(monkeypatch: pytest.MonkeyPatch, *, latency: float = 0.005, seed: int = 1) -> VirtualTime:
    """Return a store in virtual time, whose clock and random numbers replace those of the modules."""
    store = VirtualTime(latency, seed)
    in_memory(monkeypatch, store)
    monkeypatch.setattr(random, "uniform", store.random.uniform)
    return store
