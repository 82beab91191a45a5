"""The number of requests in flight, with simulated time."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

import pytest
from support.stateful_server import run_stateful_server

from messageflux_s3._http import request_window, stream
from messageflux_s3._http.connection_budget import ConnectionBudget
from messageflux_s3._http.request_window import INITIAL, RequestWindow


def _transferred(window: RequestWindow, count: int, round_trip: float, at_most: float) -> tuple[float, list[int]]:
    """Return the seconds for a number of requests, and the sizes of the window, at a store with a limit of its responses a second."""
    now = free_at = 0.0
    in_flight: list[float] = []
    sizes = [window.size]
    sent = done = 0
    while done < count:
        while sent < count and len(in_flight) < window.size:
            free_at = max(free_at, now) + 1 / at_most
            heapq.heappush(in_flight, max(now + round_trip, free_at))
            sent += 1
        now = heapq.heappop(in_flight)
        done += 1
        window.record_response(now)
        if window.size != sizes[-1]:
            sizes.append(window.size)
    return now, sizes


@pytest.mark.parametrize("round_trip", [0.05, 0.08, 0.2])
def test_the_window_grows_where_the_round_trip_is_long(round_trip: float) -> None:
    """2,000 objects take about half the time of a window that does not grow."""
    seconds, sizes = _transferred(RequestWindow(192), 2000, round_trip, 10_000)
    assert sizes == [64, 96, 144, 192]
    assert seconds < 0.62 * 2000 / INITIAL * round_trip


def test_the_window_stays_where_the_store_is_near() -> None:
    window = RequestWindow(192)
    assert _transferred(window, 3000, 0.0005, 5000)[1] == [64]
    assert window.is_settled


@pytest.mark.parametrize("at_most", [300, 700])
def test_the_window_goes_back_where_a_larger_one_is_not_faster(at_most: float) -> None:
    """The store is the limit: 64 requests in flight are as many as it answers in a round trip."""
    window = RequestWindow(192)
    _, sizes = _transferred(window, 3000, 0.08, at_most)
    assert sizes[-1] == 64 and len(sizes) <= 3
    assert window.is_settled


def test_the_window_stops_growing_at_the_store_s_limit() -> None:
    """At 80 ms and 1,300 a second 104 requests are in flight."""
    _, sizes = _transferred(RequestWindow(192), 3000, 0.08, 1300)
    assert 96 <= sizes[-1] <= 144


@pytest.mark.parametrize("most", [1, 8, 64])
def test_a_smaller_limit_of_the_caller_is_kept(most: int) -> None:
    assert _transferred(RequestWindow(most), 1000, 0.08, 10_000)[1] == [most]


def test_responses_at_one_moment_do_not_divide_by_zero() -> None:
    window = RequestWindow(192)
    for _ in range(1000):
        window.record_response(1.0)
    assert window.size == 64


def _responses(window: RequestWindow, count: int) -> int:
    for _ in range(count):
        window.record_response(0.0)
    return window.size


def test_throttling_halves_the_window_once_for_all_requests_in_flight() -> None:
    window = RequestWindow(64)
    for in_flight in range(64, 44, -1):
        window.record_throttling(in_flight)
        assert window.size == 32
    assert _responses(window, 44) == 32  # the others that were in flight then
    window.record_throttling(32)
    assert window.size == 16 and not window.is_settled


def test_the_window_grows_fast_and_then_by_one_with_every_third_window_of_responses_up_to_the_size_before() -> None:
    window = RequestWindow(64)
    window.record_throttling(64)
    _responses(window, 63)
    sizes = [window.size]
    while not window.is_settled:
        sizes.append(_responses(window, window.size))
    assert sizes[:4] == [32, 40, 48, 56]
    assert sizes[4:] == [56, 56, *(size for size in range(57, 64) for _ in range(3)), 64][: len(sizes) - 4]
    assert sizes[-1] == 64
    assert _responses(window, 5000) == 64


def test_a_window_that_was_throttled_does_not_grow_beyond_its_size_then() -> None:
    window = RequestWindow(192)
    window.record_throttling(64)
    assert _responses(window, 20_000) == 64


def test_a_window_that_is_not_full_is_halved_from_what_is_in_flight() -> None:
    window = RequestWindow(64)
    window.record_throttling(10)
    assert window.size == 5


def test_the_window_never_falls_below_one() -> None:
    window = RequestWindow(8)
    for _ in range(20):
        window.record_throttling(window.size)
        _responses(window, window.size - 1)
        assert window.size >= 1
    assert _responses(window, 100) == 8


def test_a_store_with_a_rate_limit_refuses_few_requests() -> None:
    """A limit of 20 in flight: the window swings between 10 and 21, instead of sending 44 too many at a time."""
    window, refused, in_flight = RequestWindow(192), 0, 0
    served = 0
    while served < 5000:
        in_flight = window.size
        for at in range(in_flight):
            if at >= 20:
                window.record_throttling(in_flight - at)
                refused += 1
            else:
                window.record_response(0.0)
                served += 1
    assert refused < 0.05 * served


def test_windows_share_the_connections_by_which_they_grow() -> None:
    """What one has taken is not there for another one until it is closed."""
    budget = ConnectionBudget(100)
    first, second = RequestWindow(192, budget), RequestWindow(192, budget)
    assert _transferred(first, 2000, 0.08, 10_000)[1] == [64, 96, 144]
    assert _transferred(second, 2000, 0.08, 10_000)[1] == [64]
    assert first.is_settled and second.is_settled
    first.close()
    first.close()
    second.close()
    assert budget.left == 100
    assert _transferred(RequestWindow(192, budget), 2000, 0.08, 10_000)[1] == [64, 96, 144]


@pytest.mark.lane
def test_a_batch_gives_back_the_connections_by_which_it_grew(monkeypatch: pytest.MonkeyPatch) -> None:
    budget = ConnectionBudget(192)
    monkeypatch.setattr(stream, "FURTHER", budget)
    monkeypatch.setattr(request_window, "_SHORTEST_ROUND_TRIP", 0.0)
    monkeypatch.setattr(request_window, "_GAIN", 0.0)
    least = budget.left

    def items() -> Iterator[tuple[str, bytes]]:
        nonlocal least
        for number in range(500):
            least = min(least, budget.left)
            yield f"k{number}", b""

    with run_stateful_server() as server:
        bucket = server.bucket()
        bucket.put_object("first", b"")
        assert bucket.put_objects(items()).ok
    assert least in (160, 112, 64)  # the batch grew to 96, 144 or 192, as the responses came
    assert budget.left == 192
