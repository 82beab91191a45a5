"""How many requests to keep in flight: more where the store is far away, fewer where it refuses some because there are too many."""

from __future__ import annotations

from .connection_budget import ConnectionBudget

INITIAL = 64
"""The number of requests in flight to begin with."""

MOST = 192
"""The largest number by default."""

THROTTLED = frozenset({429, 503})
"""The statuses with which a store limits the rate of requests."""

_GROWTH = 1.5
_GAIN = 1.15  # the throughput has to grow by this factor, or the window was large enough before
_SHORTEST_ROUND_TRIP = 0.02  # seconds: below, as many requests as at the beginning keep client and server busy
_NEAR = 0.8  # of the size at which the store throttled last
_WINDOWS_TO_GROW = 3  # near that size: each further request in flight may cost a refusal
_ROUNDS = 3  # round trips for which a size is tried; the first one does not count, since connections are opened


class RequestWindow:
    """The number of requests in flight.

    It grows while that makes the responses arrive faster. Each size is tried for some round trips. If the throughput has grown as it
    should, a larger size is tried; if not, the size before it is kept. The time is passed in, so that the result depends on nothing else.

    Where the store throttles, the size is halved, at most once for the requests that are in flight together. Then it grows by an eighth of
    what it was with each window of responses, and near to that by one with every third, up to the size at which the store throttled first.

    Args:
        most: The largest size.
        budget: Where the connections come from by which the window grows; None if there are enough.

    Attributes:
        size: The number of requests that may be in flight now.

    Example:
        >>> from messageflux_s3._http.request_window import RequestWindow
        >>> window = RequestWindow(256)
        >>> for number in range(1, 200):  # 64 responses every 80 ms
        ...     window.record_response(0.08 * (number // 64))
        >>> window.size
        96
        >>> window.record_throttling(96)
        >>> window.size
        48
    """

    __slots__ = (
        "_best", "_budget", "_ceiling", "_is_recovering", "_is_settled", "_outstanding", "_responses", "_since", "_size_before", "_taken",
        "_windows", "most", "size",
    )  # fmt: skip

    def __init__(self, most: int, budget: ConnectionBudget | None = None) -> None:
        self.most = most
        self._budget = budget
        self._taken = 0
        self.size = min(INITIAL, most)
        self._is_settled = self.size == most
        self._size_before = self.size
        self._best = 0.0
        self._responses = 0
        self._since = 0.0
        self._is_recovering = False
        self._ceiling = 0  # the size at which the store throttled last
        self._windows = 0  # of responses, since the size grew last
        self._outstanding = 0  # of the requests that were in flight when the size was halved

    @property
    def is_settled(self) -> bool:
        """Whether the size will not change unless the store throttles."""
        return self._is_settled

    def record_response(self, now: float) -> None:
        """Count a response.

        Args:
            now: The time in seconds, on any clock that does not go back.
        """
        if self._is_recovering:
            self._recover()
            return
        self._responses += 1
        if self._responses == self.size:
            self._since = now
        elif self._responses == _ROUNDS * self.size:
            self._judge((_ROUNDS - 1) * self.size, now - self._since)

    def record_throttling(self, in_flight: int) -> None:
        """Count a response with which the store limits the rate.

        Args:
            in_flight: The number of requests in flight, including this one.
        """
        if self._outstanding > 0:
            self._outstanding -= 1
            return
        if not self._is_recovering:
            self.most = self.size
            self._is_recovering = True
            self._is_settled = False
        self._ceiling = min(self.size, in_flight)
        self.size = max(1, self._ceiling // 2)
        self._outstanding = in_flight - 1
        self._responses = self._windows = 0

    def close(self) -> None:
        """Give back the connections by which the window has grown."""
        if self._budget is not None:
            self._budget.give_back(self._taken)
            self._taken = 0

    def _recover(self) -> None:
        """Count a response after the store has throttled."""
        if self._outstanding > 0:
            self._outstanding -= 1
            return
        self._responses += 1
        if self._responses < self.size:
            return
        self._responses = 0
        self._windows += 1
        is_near = self.size >= _NEAR * self._ceiling
        if is_near and self._windows < _WINDOWS_TO_GROW:
            return
        self._windows = 0
        self.size = min(self.most, self.size + (1 if is_near else max(1, self._ceiling // 8)))
        if self.size == self.most:
            self._is_recovering = False
            self._is_settled = True

    def _judge(self, responses: int, seconds: float) -> None:
        throughput = responses / seconds if seconds > 0 else float("inf")
        if throughput < _GAIN * self._best:
            self.size = self._size_before
            self._is_settled = True
            return
        self._best = throughput
        if self.size / throughput < _SHORTEST_ROUND_TRIP or self.size == self.most:
            self._is_settled = True
            return
        growth = min(self.most, int(self.size * _GROWTH)) - self.size
        if self._budget is not None:
            if not self._budget.take(growth):
                self._is_settled = True
                return
            self._taken += growth
        self._size_before = self.size
        self.size += growth
        self._responses = 0
