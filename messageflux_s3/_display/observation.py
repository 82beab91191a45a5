"""What ``store.observe()`` collects: the requests of one store in a block, counted by operation and way."""

from __future__ import annotations

import math
import os
import struct
import sys
import weakref
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from threading import RLock
from typing import TYPE_CHECKING, Any, TypeAlias

from .._client.observation import Observers, enter, leave
from .._client.request_record import RequestRecord, Way
from .._formats import render
from .._formats.render import Bar, Bytes, Cell, Plain, Rendered

if TYPE_CHECKING:
    import pandas
    from typing_extensions import Self

_MOST_PENDING = 500
"""Pending rows are added to the totals when there are this many: few enough to stay in the processor's cache, and to delay the request
that adds them by at most half a millisecond."""

_UPPER_HALF = slice(1 if sys.byteorder == "little" else 0, None, 2)
"""Latencies are counted in buckets. Those share one whose single-precision floats have the same upper half: it is 0.4 to 0.8 % wide."""

_Rest: TypeAlias = "tuple[Way, int, int, str | None] | None"
"""Way, attempts, throttles and error of a request; None if the lane sent it once, with success, as in bulk work."""
_Row: TypeAlias = "tuple[str, int, int, float, _Rest]"
"""Operation, bytes sent, bytes received, seconds, and the rest."""
_COLUMNS = 5

_CLASS_A = ("Put", "Copy", "Post", "List", "Create", "Complete", "Upload", "Restore", "Rename", "Update")
_FREE = ("Delete", "Abort")
_PER_GIGABYTE = ("GB sent", "GB received")


@dataclass(frozen=True, slots=True)
class RequestTotals:
    """The totals of a group of requests.

    Attributes:
        operation: S3's name of the operation; ``"all"`` for all operations.
        way: ``"lane"`` or ``"boto3"``; None for both.
        requests: The number of requests.
        attempts: The number of times that they were sent: what the store counts.
        throttles: The number of attempts that the store answered with 429 or 503.
        errors: The number of requests that failed in the end, including those with status 404 or 304.
        bytes_sent: The size of the bodies sent.
        bytes_received: The size of the bodies received.
        median: The median latency in seconds, within 1 %; None if there are no requests.
        p95: The latency that 95 % of the requests did not exceed, in seconds, within 1 %; None if there are no requests.
    """

    operation: str
    way: Way | None
    requests: int
    attempts: int
    throttles: int
    errors: int
    bytes_sent: int
    bytes_received: int
    median: float | None
    p95: float | None

    @property
    def retries(self) -> int:
        """The number of attempts after the first one of each request."""
        return self.attempts - self.requests

    @property
    def bytes(self) -> int:
        """The bytes sent and received."""
        return self.bytes_sent + self.bytes_received


class _Sums:
    """The running totals of one operation and way."""

    __slots__ = (
        "attempts",
        "buckets",
        "bytes_received",
        "bytes_sent",
        "errors",
        "fastest",
        "requests",
        "slowest",
        "throttles",
    )

    def __init__(self) -> None:
        self.requests = self.attempts = self.throttles = self.errors = self.bytes_sent = self.bytes_received = 0
        self.fastest, self.slowest = math.inf, 0.0
        self.buckets: Counter[int] = Counter()

    def add(
        self, sent: Sequence[int], received: Sequence[int], seconds: Sequence[float], others: Sequence[_Rest]
    ) -> None:
        """Add requests, column by column: a loop over rows would take three times as long.

        Args:
            sent: The bytes sent by each request.
            received: The bytes received by each.
            seconds: The duration of each.
            others: The rest of those requests that have one.
        """
        self.requests += len(seconds)
        self.attempts += len(seconds)
        self.bytes_sent += sum(sent)
        self.bytes_received += sum(received)
        self.fastest, self.slowest = min(self.fastest, min(seconds)), max(self.slowest, max(seconds))
        self.buckets.update(memoryview(array("f", seconds)).cast("B").cast("H")[_UPPER_HALF].tolist())
        for rest in others:
            if rest is not None:
                _, attempts, throttles, error = rest
                self.attempts += attempts - 1
                self.throttles += throttles
                self.errors += error is not None

    def merge(self, other: _Sums) -> None:
        self.requests += other.requests
        self.attempts += other.attempts
        self.throttles += other.throttles
        self.errors += other.errors
        self.bytes_sent += other.bytes_sent
        self.bytes_received += other.bytes_received
        self.fastest, self.slowest = min(self.fastest, other.fastest), max(self.slowest, other.slowest)
        self.buckets.update(other.buckets)

    def quantile(self, share: float) -> float | None:
        """Return the latency that this share of the requests did not exceed."""
        rank = max(1, math.ceil(share * self.requests))
        for bucket in sorted(self.buckets):
            rank -= self.buckets[bucket]
            if rank <= 0:
                middle: float = struct.unpack("f", struct.pack("I", (bucket << 16) + (1 << 15)))[0]
                return min(max(middle, self.fastest), self.slowest)
        return None

    def as_totals(self, operation: str, way: Way | None) -> RequestTotals:
        return RequestTotals(
            operation,
            way,
            self.requests,
            self.attempts,
            self.throttles,
            self.errors,
            self.bytes_sent,
            self.bytes_received,
            self.quantile(0.5),
            self.quantile(0.95),
        )


class Observation:
    """The requests that a store's handles send in a ``with`` block; made by ``store.observe()``. Read it during or after the block.

    Attributes:
        tag: The tag of the observation; None if it counts the requests of all threads and tasks.

    Example:
        >>> with store.observe() as seen:
        ...     obj = bucket.put_object("a.txt", "hello")
        >>> seen.requests, seen.operations["PutObject"].bytes_sent
        (1, 5)
    """

    def __init__(self, observers: Observers, tag: str | None = None) -> None:
        if tag is not None and not isinstance(tag, str):
            raise TypeError(f"tag must be a str or None, not {type(tag).__name__}")
        self.tag = tag
        self._observers = observers
        self._is_open = False
        # The columns of one row after the other. Rows that were tuples, or the records, would be objects that Python's collector counts,
        # and 500 that live for a while make it run.
        self._pending: list[Any] = []
        self._sums: dict[tuple[str, Way], _Sums] = {}
        # Reentrant: a signal handler, or the finalizer of a body, may run while its thread holds the lock.
        self._lock = RLock()
        self._is_summing = False
        _observations.add(self)

    def __enter__(self) -> Self:
        if self._is_open:
            raise RuntimeError("this observation is open already: store.observe() returns a new one")
        self._is_open = True
        self._observers.add(self._add, is_tagged=self.tag is not None)
        if self.tag is not None:
            enter(self._add)
        return self

    def __exit__(self, *_: object) -> None:
        self._is_open = False
        self._observers.remove(self._add)
        if self.tag is not None:
            leave(self._add)

    def _add(self, record: RequestRecord) -> None:
        pending = self._pending
        row: _Row = (
            record.operation,
            record.bytes_sent,
            record.bytes_received,
            record.seconds,
            None
            if record.attempts == 1 and record.error is None and record.way == "lane" and not record.throttles
            else (record.way, record.attempts, record.throttles, record.error),
        )
        pending.extend(row)  # in one step, also among threads
        if len(pending) >= _MOST_PENDING * _COLUMNS:
            self._sum_up()

    def _sum_up(self) -> None:
        """Add the pending rows to the totals."""
        with self._lock:
            if self._is_summing:  # by this thread, before an interruption: the rows stay pending until later
                return
            self._is_summing = True
            try:
                pending = self._pending
                end = len(pending)
                columns = [pending[at:end:_COLUMNS] for at in range(_COLUMNS)]
                del pending[:end]
                for group, of_group in _grouped(columns):
                    self._sums.setdefault(group, _Sums()).add(*of_group)
            finally:
                self._is_summing = False

    def _merged(self, key: Callable[[tuple[str, Way]], tuple[str, Way | None]]) -> list[RequestTotals]:
        self._sum_up()
        with self._lock:
            merged: dict[tuple[str, Way | None], _Sums] = {}
            for group in sorted(self._sums):
                merged.setdefault(key(group), _Sums()).merge(self._sums[group])
            return [sums.as_totals(*group) for group, sums in merged.items()]

    @property
    def rows(self) -> list[RequestTotals]:
        """The totals of each operation and way, sorted by operation, then way. Requests: none."""
        return self._merged(lambda group: group)

    @property
    def operations(self) -> dict[str, RequestTotals]:
        """The totals of each operation, both ways together, by the operation's name. Requests: none."""
        return {totals.operation: totals for totals in self._merged(lambda group: (group[0], None))}

    @property
    def totals(self) -> RequestTotals:
        """The totals of all requests. Requests: none."""
        found = self._merged(lambda _: ("all", None))
        return found[0] if found else _Sums().as_totals("all", None)

    @property
    def requests(self) -> int:
        """The number of requests. Requests: none."""
        return self.totals.requests

    @property
    def attempts(self) -> int:
        """The number of times that the requests were sent: what the store counts. Requests: none."""
        return self.totals.attempts

    @property
    def retries(self) -> int:
        """The number of attempts after the first one of each request. Requests: none."""
        return self.totals.retries

    @property
    def throttles(self) -> int:
        """The number of attempts that the store answered with 429 or 503. Requests: none."""
        return self.totals.throttles

    @property
    def errors(self) -> int:
        """The number of requests that failed in the end, including those with status 404 or 304. Requests: none."""
        return self.totals.errors

    @property
    def bytes_sent(self) -> int:
        """The size of the bodies sent. Requests: none."""
        return self.totals.bytes_sent

    @property
    def bytes_received(self) -> int:
        """The size of the bodies received. Requests: none."""
        return self.totals.bytes_received

    def cost(self, prices: Mapping[str, float]) -> float:
        """Return what the requests cost, by a table of prices. Each attempt is charged as a request, as stores do.

        Args:
            prices: The price of 1,000 requests under the name of an operation (``"GetObject"``), ``"class A"`` (writes, copies and
                listings) or ``"class B"`` (all others); an operation's own price comes first. Deletions and aborts have no class: they
                cost nothing unless they are named. ``"GB sent"`` and ``"GB received"`` have the price of 10**9 bytes of bodies; if left
                out, bodies cost nothing.

        Returns:
            The sum, in the currency of the prices.

        Raises:
            ValueError: An operation that was observed has no price, a price is negative or not finite, or a name in the table is none of
                these.

        Requests:
            none

        Example:
            >>> with store.observe() as seen:
            ...     obj = bucket.put_object("a.txt", "hello")
            >>> seen.cost({"class A": 0.005, "class B": 0.0004, "GB received": 0.09})
            5e-06
        """
        if not isinstance(prices, Mapping):
            raise TypeError(f"prices must be a mapping of names to prices, not {type(prices).__name__}")
        for name, given in prices.items():
            if isinstance(given, bool) or not isinstance(given, Real) or not isinstance(name, str):
                raise TypeError(
                    f"prices must be a mapping of text to numbers; the entry {name!r} is {type(given).__name__}"
                )
            if not 0 <= given < math.inf:
                raise ValueError(f"prices: the price of {name!r} must be a number from 0 on, not {given}")
            if name not in ("class A", "class B", *_PER_GIGABYTE) and not (name.isalnum() and name[:1].isupper()):
                raise ValueError(
                    f"prices: {name!r} is neither the name of an operation nor 'class A', 'class B', 'GB sent' or 'GB received'"
                )
        total = self.totals
        cost = (total.bytes_sent * prices.get("GB sent", 0) + total.bytes_received * prices.get("GB received", 0)) / 1e9
        for operation, totals in self.operations.items():
            price = _price_of(operation, prices)
            if price is None:
                name = "class A" if operation.startswith(_CLASS_A) else "class B"
                raise ValueError(f"prices: there is no price for {operation}; add {operation!r} or {name!r}")
            cost += totals.attempts * price / 1000
        return cost

    def to_pandas(self) -> pandas.DataFrame:
        """Return :attr:`rows` as a DataFrame, with a column for each attribute and the column ``retries``.

        Raises:
            ImportError: The extra ``messageflux-s3[pandas]`` is not installed.

        Requests:
            none
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError("to_pandas() needs pandas: pip install 'messageflux-s3[pandas]'") from error
        types = {
            "operation": "string", "way": "string", "requests": "int64", "attempts": "int64", "retries": "int64", "throttles": "int64",
            "errors": "int64", "bytes_sent": "int64", "bytes_received": "int64", "median": "float64", "p95": "float64",
        }  # fmt: skip
        rows = self.rows
        return pandas.DataFrame(
            {name: pandas.Series([getattr(row, name) for row in rows], dtype=kind) for name, kind in types.items()}
        )

    def _shown(self, title: str | None = None) -> Rendered:
        totals = self.totals
        if title is None:
            title = "requests" if self.tag is None else f"requests tagged {self.tag}"
        note = f"{totals.requests:,} requests, {totals.attempts:,} attempts, {totals.throttles:,} throttled"
        return render.table(
            [
                "operation",
                "way",
                "requests",
                "retries",
                "throttles",
                "errors",
                "sent",
                "received",
                "median ms",
                "p95 ms",
            ],
            map(_cells, self.rows),
            title=title,
            note=note,
        )

    def __repr__(self) -> str:
        return self._shown().text

    def _repr_html_(self) -> str:
        totals, title = self.totals, "observation" if self.tag is None else f"observation tagged {self.tag}"
        summary = render.facts(
            title,
            [
                ("requests", totals.requests),
                ("sent again", totals.retries),
                ("throttled", totals.throttles),
                ("failed", totals.errors),
                ("sent", Bytes(totals.bytes_sent)),
                ("received", Bytes(totals.bytes_received)),
                ("median", _latency(totals.median)),
                ("95 % within", _latency(totals.p95)),
            ],
        )
        if not totals.requests:
            return summary.html
        # All rows have the same columns; those that would be empty are left out, so that the table fits a narrow cell.
        rows: list[list[Cell]] = []
        most_first = sorted(self.operations.values(), key=lambda each: (-each.requests, each.operation))
        for each in most_first:
            row: list[Cell] = [each.operation, each.requests, Bar(each.requests / totals.requests)]
            row += [each.retries] if totals.retries else []
            row += [each.errors] if totals.errors else []
            rows.append([*row, Bytes(each.bytes), _latency(each.median), _latency(each.p95)])
        headers = ["operation", "requests", "share", *(["sent again"] if totals.retries else [])]
        headers += [*(["failed"] if totals.errors else []), "bytes", "median", "95 % within"]
        table = render.table(headers, rows)
        return render.stack(summary, table, render.section("by way", self._shown(""), is_open=False)).html


def _latency(seconds: float | None) -> Plain | None:
    """Return a latency as a number with its unit, to three digits."""
    if seconds is None:
        return None
    return Plain(f"{seconds:.3g} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms")


_observations: weakref.WeakSet[Observation] = weakref.WeakSet()


def _reset_after_fork() -> None:
    for observation in list(_observations):
        # The parent's lock may be held by a thread that the child does not have.
        observation._lock, observation._is_summing = RLock(), False


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no forks
    os.register_at_fork(after_in_child=_reset_after_fork)


def _grouped(columns: Sequence[Sequence[Any]]) -> Iterable[tuple[tuple[str, Way], Sequence[Sequence[Any]]]]:
    """Return the rows of each operation and way, as columns without the operation."""
    operations, *others, rests = columns
    if not operations:
        return []
    if operations.count(operations[0]) == rests.count(None) == len(operations):
        return [((operations[0], "lane"), [*others, ()])]
    groups: dict[tuple[str, Way], list[tuple[Any, ...]]] = {}
    for operation, *row, rest in zip(*columns, strict=True):
        groups.setdefault((operation, rest[0] if rest else "lane"), []).append((*row, rest))
    return [(group, [*zip(*rows, strict=True)]) for group, rows in groups.items()]


def _cells(row: RequestTotals) -> Sequence[Cell]:
    return (
        row.operation,
        row.way,
        row.requests,
        row.retries,
        row.throttles,
        row.errors,
        Bytes(row.bytes_sent),
        Bytes(row.bytes_received),
        _milliseconds(row.median),
        _milliseconds(row.p95),
    )


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 1)


def _price_of(operation: str, prices: Mapping[str, float]) -> float | None:
    if operation in prices or operation.startswith(_FREE):
        return prices.get(operation, 0)
    return prices.get("class A" if operation.startswith(_CLASS_A) else "class B")
