"""How many parts of a transfer are in flight, on a simulated clock and link: no thread waits, and no time passes."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from messageflux_s3._objects import parallelism
from messageflux_s3._objects.parallelism import Parallelism, even_part_size, first_for, growing_part_size, most_for

MIB = 1024 * 1024
STEP = 0.01


class Link:
    """A link with a bandwidth for each connection and a bandwidth in all (bytes per second), driven by its own clock."""

    def __init__(self, most: int, first: int = 2, *, each: float, total: float = float("inf")) -> None:
        self.now = 0.0
        self.each, self.total = each, total
        self.parallelism = Parallelism(most, first, clock=lambda: self.now)
        self.limits: list[int] = []
        self._running = 0

    def run(self, seconds: float, event: Callable[[], None] | None = None) -> int:
        """Transfer for so long with as many connections as there are permits; return the last number."""
        for _ in range(round(seconds / STEP)):
            while not self.parallelism.is_full:
                assert self.parallelism.acquire()
                self._running += 1
            while self._running > self.parallelism.limit:
                self.parallelism.release()
                self._running -= 1
            self.now += STEP
            if event is not None:
                event()
            share = min(self.each, self.total / self._running) * STEP
            for _ in range(self._running):
                self.parallelism.note(int(share))
            self.limits.append(self.parallelism.limit)
        return self.limits[-1]


def test_the_number_grows_while_each_connection_adds_throughput() -> None:
    """Up to the largest number, within half a second."""
    link = Link(16, each=40e6)
    assert link.parallelism.limit == 2
    assert link.run(0.5) == 16


def test_the_number_stays_small_if_one_connection_fills_the_link() -> None:
    """Twice as many connections are tried now and then, and given up each time."""
    link = Link(16, each=400e6, total=400e6)
    link.run(10)
    assert max(link.limits) == 4
    assert link.limits.count(2) > 0.7 * len(link.limits)


def test_the_number_follows_a_link_that_becomes_wider() -> None:
    """Larger numbers are tried again later."""
    link = Link(16, each=40e6, total=80e6)
    assert link.run(2) <= 4
    link.total = float("inf")
    assert link.run(3) == 16


def test_the_number_settles_where_the_total_bandwidth_is_reached() -> None:
    link = Link(64, each=40e6, total=400e6)
    link.run(5)
    later = link.limits[100:]
    assert 8 <= min(later) <= max(later) <= 32
    assert sum(later) / len(later) < 20


@pytest.mark.parametrize(("latency", "first"), [(0.0, 2), (0.001, 2), (0.005, 4), (0.02, 16), (60.0, 800)])
def test_a_far_store_begins_with_more(latency: float, first: int) -> None:
    assert first_for(latency) == first
    assert Parallelism(16, first).limit == min(16, first)


def test_throttling_halves_the_number_once_for_requests_in_flight_together() -> None:
    link = Link(16, 16, each=40e6)
    for _ in range(16):
        link.parallelism.note_trouble()
    assert link.parallelism.limit == 8


def test_repeated_throttling_leaves_one_at_a_time_and_recovers_afterwards() -> None:
    link = Link(16, 16, each=40e6)
    assert link.run(5, link.parallelism.note_trouble) == 1
    assert link.run(10) == 16


def test_a_slow_source_does_not_count_as_a_reason_to_grow() -> None:
    """If no permit was waited for, the throughput says nothing about the number."""
    clock = [0.0]
    idle = Parallelism(16, clock=lambda: clock[0])
    assert idle.acquire()
    for _ in range(1000):
        clock[0] += STEP
        idle.note(MIB)
    assert idle.limit == 2


def test_reports_of_whole_parts_are_not_mistaken_for_bursts() -> None:
    """The window extends until each connection has reported twice."""
    clock = [0.0]
    rare = Parallelism(16, clock=lambda: clock[0])
    while not rare.is_full:
        rare.acquire()
    for _ in range(7):
        clock[0] += 1.0
        rare.note(8 * MIB)
    assert rare.limit == 2  # one window to settle, and the second is not complete
    clock[0] += 1.0
    rare.note(8 * MIB)
    assert rare.limit == 4


def test_a_thread_that_waits_for_a_permit_gets_one_or_ends_at_the_close() -> None:
    one = Parallelism(1)
    got: list[bool] = []
    threads = [threading.Thread(target=lambda: got.append(one.acquire())) for _ in range(3)]
    assert one.acquire()
    for thread in threads:
        thread.start()
    one.release()
    while not got:
        threads[0].join(0.01)
    one.close()
    for thread in threads:
        thread.join(60)
    assert sorted(got) == [False, False, True]
    assert not one.acquire()


@pytest.mark.parametrize(
    ("concurrency", "part", "most"),
    [(16, 8 * MIB, 16), (64, 8 * MIB, 16), (4, 8 * MIB, 4), (16, 64 * MIB, 6), (1, MIB, 1)],
)
def test_memory_bounds_the_number(concurrency: int, part: int, most: int) -> None:
    """128 MiB together; six parts are allowed even if they are larger."""
    assert most_for(concurrency, part) == most
    assert parallelism.MEMORY_BYTES == 128 * MIB


@pytest.mark.parametrize(
    ("mebibytes", "part"), [(16, 5), (64, 5), (100, 7), (128, 8), (129, 5), (192, 6), (1024, 8), (1025, 8), (80_000, 8)]
)
def test_parts_are_about_a_multiple_of_sixteen(mebibytes: int, part: int) -> None:
    """So that the last ones are not sent alone."""
    assert even_part_size(mebibytes * MIB, 5 * MIB, 8 * MIB) == part * MIB


@pytest.mark.parametrize("first", [8 * MIB, 16 * MIB])
def test_ten_thousand_growing_parts_hold_the_largest_object(first: int) -> None:
    """5 TiB. S3 allows parts up to 5 GiB."""
    sizes = [growing_part_size(first, number) for number in range(10_000)]
    assert sizes[:800] == [first] * 800
    assert sizes == sorted(sizes)
    assert sum(sizes) >= 5 * 1024**4
    assert max(sizes) == 1024 * MIB
