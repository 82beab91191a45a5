"""Faults: what goes wrong between a program under test and the embedded server, repeatable by a seed."""

from __future__ import annotations

import difflib
import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from .fault_kinds import KINDS, FaultKind, treatment
from .object_history import ObjectHistory
from .proxy import UNTREATED, Proxy, ProxyRequest, ProxyResponse, Report, Treatment
from .s3_requests import OPERATIONS, S3Request, recognise

_RATES = {kind.rate: kind for kind in KINDS.values()}
_OFF = None

_Block: TypeAlias = "dict[str, float] | None"


@dataclass(frozen=True, order=True)
class InjectedFault:
    """One fault that was injected.

    Attributes:
        number: The request's number among those of this operation, bucket and key (and part, range or prefix), from 1.
        operation: The operation's name in S3, such as ``"PutObject"``.
        bucket: The bucket's name, or ``""``.
        key: The object's key; ``""`` in an operation on a bucket.
        kind: Such as ``"lost_answer"``.
    """

    number: int
    operation: str
    bucket: str
    key: str
    kind: str


@dataclass(eq=False)
class _Next:
    """Faults ordered by :meth:`Faults.next`."""

    kind: FaultKind
    operation: str | None
    bucket: str | None
    key: str | None
    content: bytes | None
    seconds: float
    left: int = field(default=1)

    def matches(self, request: S3Request) -> bool:
        return (
            self.left > 0
            and self.operation in (None, request.operation)
            and self.bucket in (None, request.bucket)
            and self.key in (None, request.key)
            and self.kind.suits(request.operation)
        )


class Faults:
    """Faults for the requests to a :class:`LocalS3`, to test how a program copes with them.

    Each rate is the share, from 0 to 1, of the requests to which this kind of fault can apply; each request gets at most one fault.
    Whether a request gets one depends only on the seed, the operation, the key (with the part, range or prefix) and how many such requests
    came before: the same program gets the same faults again, whatever the timing of its threads and the name of its bucket.
    Scratch objects of this library's own probes (``mfs3-probe``) have random names and get no faults.

    A fault is injected between the client and the server, so it does not matter which library sends the requests. Retries are requests too.

    Args:
        seed: The same seed gives the same faults.
        lost_answers: The server does what it was asked to do, then the connection is reset: the client gets no answer.
        reset: The connection is reset before the request reaches the server.
        throttle: 503 ``SlowDown``; the server does nothing.
        server_error: 500 ``InternalError``, although the server has done what it was asked to do.
        error_in_200: Status 200 with an error in the document, of CompleteMultipartUpload, CopyObject and DeleteObjects; the server does
            nothing.
        forbidden: 403 ``AccessDenied``; the server does nothing.
        clock_skew: 403 ``RequestTimeTooSkewed``; the server does nothing.
        conflict: 409 ``ConditionalRequestConflict`` to a conditional write, ``OperationAborted`` to any other; the server does nothing.
        slow: The answer comes ``slow_seconds`` late.
        cut: The connection is closed within the body of the response.
        corrupt: One byte of the body of a GetObject response is changed.
        changed_object: Another client writes the object just before the request: a line feed and the former content. Applies only to an
            object that the client has read and not written since.
        stale_listing: A listing shows the objects as they were before the latest write to the bucket.
        slow_seconds: How late a slow answer is, in seconds.

    Raises:
        TypeError: The seed is not an integer, or a rate is not a number.
        ValueError: A rate is not between 0 and 1, or ``slow_seconds`` is not positive.

    Requests:
        none

    Example:
        >>> faults = s3.Faults(seed=7)
        >>> with s3.LocalS3(faults=faults) as local:
        ...     obj = local.bucket("reports")["a.txt"]
        ...     faults.next("PutObject", lost_answer=True)
        ...     _ = obj.put(b"hello", if_absent=True)  # the first answer is lost; the second attempt finds its own write
        ...     obj.text
        'hello'
        >>> faults.injected
        [InjectedFault(number=1, operation='PutObject', bucket='reports', key='a.txt', kind='lost_answer')]
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        lost_answers: float = 0.0,
        reset: float = 0.0,
        throttle: float = 0.0,
        server_error: float = 0.0,
        error_in_200: float = 0.0,
        forbidden: float = 0.0,
        clock_skew: float = 0.0,
        conflict: float = 0.0,
        slow: float = 0.0,
        cut: float = 0.0,
        corrupt: float = 0.0,
        changed_object: float = 0.0,
        stale_listing: float = 0.0,
        slow_seconds: float = 1.0,
    ) -> None:
        self._seed = _checked_seed(seed)
        self._slow_seconds = _checked_seconds("slow_seconds", slow_seconds)
        self._rates = _checked_rates(
            lost_answers=lost_answers, reset=reset, throttle=throttle, server_error=server_error, error_in_200=error_in_200,
            forbidden=forbidden, clock_skew=clock_skew, conflict=conflict, slow=slow, cut=cut, corrupt=corrupt,
            changed_object=changed_object, stale_listing=stale_listing,
        )  # fmt: skip
        self._mutex = threading.Lock()
        self._blocks: list[_Block] = []
        self._next: list[_Next] = []
        self._counts: Counter[S3Request] = Counter()
        self._injected: list[InjectedFault] = []

    @property
    def injected(self) -> list[InjectedFault]:
        """Every fault injected so far, in the order of the answers. The list is a copy; sort it to compare two runs with threads.

        Requests:
            none
        """
        with self._mutex:
            return [*self._injected]

    @property
    def pending(self) -> list[str]:
        """The kinds of those faults of :meth:`next` that no request has received yet. If any are left, the test has not tested them.

        Requests:
            none
        """
        with self._mutex:
            return [each.kind.name for each in self._next for _ in range(each.left)]

    def next(
        self,
        operation: str | None = None,
        *,
        key: str | None = None,
        bucket: str | None = None,
        times: int = 1,
        lost_answer: bool = False,
        reset: bool = False,
        throttle: bool = False,
        server_error: bool = False,
        error_in_200: bool = False,
        forbidden: bool = False,
        clock_skew: bool = False,
        conflict: bool = False,
        slow: bool | float = False,
        cut: bool = False,
        corrupt: bool = False,
        changed_object: bool | bytes = False,
        stale_listing: bool = False,
    ) -> None:
        """Inject one kind of fault into the next request that matches and to which the fault applies.

        A fault does not apply, and waits for a later request, if there is nothing to damage: a response without a body cannot be cut, an
        object that the client has not read is not changed, and a listing that the latest write did not change cannot be stale.

        Args:
            operation: Such as ``"PutObject"``; None: any to which this kind can apply.
            key: The object's key; None: any.
            bucket: The bucket's name; None: any.
            times: How many requests get the fault. An SDK sends a request several times before it gives up.
            lost_answer: As ``lost_answers`` of :class:`Faults`; the other kinds have the same names there.
            slow: True, or the seconds.
            changed_object: True, or the content that the other client writes.

        Raises:
            TypeError: No kind is named, or several, or the value of the kind has the wrong type; or the key or the bucket is not a str.
            ValueError: There is no such operation, the kind cannot apply to it, ``times`` is not positive, or the seconds are not.

        Requests:
            none

        Example:
            >>> faults = s3.Faults()
            >>> with s3.LocalS3(faults=faults) as local:
            ...     bucket = local.bucket("reports")
            ...     _ = bucket.put_object("a.txt", b"hello")
            ...     faults.next("GetObject", key="a.txt", cut=True)
            ...     bucket["a.txt"].body, faults.pending
            (b'hello', [])
        """
        wanted: dict[str, Any] = {
            "lost_answer": lost_answer, "reset": reset, "throttle": throttle, "server_error": server_error, "error_in_200": error_in_200,
            "forbidden": forbidden, "clock_skew": clock_skew, "conflict": conflict, "slow": slow, "cut": cut, "corrupt": corrupt,
            "changed_object": changed_object, "stale_listing": stale_listing,
        }  # fmt: skip
        named = [name for name, value in wanted.items() if value is not False]
        if len(named) != 1:
            raise TypeError(f"next() takes one kind of fault, such as lost_answer=True, not {named or 'none'}")
        kind, value = KINDS[named[0]], wanted[named[0]]
        _check_operation(operation, kind)
        for argument, name in (("key", key), ("bucket", bucket)):
            if name is not None and not isinstance(name, str):
                raise TypeError(
                    f"{argument} must be a str or None, not {type(name).__name__}: no request would match it"
                )
        if isinstance(times, bool) or not isinstance(times, int) or times < 1:
            raise ValueError(f"times must be a positive integer, not {times!r}")
        content, seconds = None, self._slow_seconds
        if value is not True:
            if kind.name == "slow":
                seconds = _checked_seconds("slow", value)
            elif kind.name == "changed_object" and isinstance(value, bytes):
                content = value
            else:
                raise TypeError(f"{kind.name} must be {_ALLOWED.get(kind.name, 'True')}, not {value!r}")
        with self._mutex:
            self._next.append(_Next(kind, operation, bucket, key, content, seconds, times))

    @contextmanager
    def on(
        self,
        *,
        lost_answers: float | None = None,
        reset: float | None = None,
        throttle: float | None = None,
        server_error: float | None = None,
        error_in_200: float | None = None,
        forbidden: float | None = None,
        clock_skew: float | None = None,
        conflict: float | None = None,
        slow: float | None = None,
        cut: float | None = None,
        corrupt: float | None = None,
        changed_object: float | None = None,
        stale_listing: float | None = None,
    ) -> Iterator[Faults]:
        """Use these rates in a block, for the requests of all threads and programs. Kinds that are not named keep their rates.

        Args:
            lost_answers: A rate, as in :class:`Faults`. All other arguments are rates too.

        Returns:
            A context manager that gives this ``Faults``.

        Raises:
            TypeError: A rate is not a number.
            ValueError: A rate is not between 0 and 1.

        Requests:
            none

        Example:
            >>> faults = s3.Faults(seed=7)
            >>> with s3.LocalS3(faults=faults) as local:
            ...     bucket = local.bucket("reports")
            ...     with faults.on(throttle=0.3):
            ...         for number in range(20):
            ...             _ = bucket.put_object(f"{number}.txt", b"")
            ...     bucket.find().count(), {fault.kind for fault in faults.injected}
            (20, {'throttle'})
        """
        rates = {
            "lost_answers": lost_answers, "reset": reset, "throttle": throttle, "server_error": server_error,
            "error_in_200": error_in_200, "forbidden": forbidden, "clock_skew": clock_skew, "conflict": conflict, "slow": slow,
            "cut": cut, "corrupt": corrupt, "changed_object": changed_object, "stale_listing": stale_listing,
        }  # fmt: skip
        with self._block(_checked_rates(**{name: rate for name, rate in rates.items() if rate is not None})):
            yield self

    @contextmanager
    def off(self) -> Iterator[Faults]:
        """Inject no faults in a block, not even those of :meth:`next`: to prepare a test, or to check its results.

        Returns:
            A context manager that gives this ``Faults``.

        Requests:
            none

        Example:
            >>> faults = s3.Faults(forbidden=1)
            >>> with s3.LocalS3(faults=faults) as local, faults.off():
            ...     local.bucket("reports").exists()
            True
        """
        with self._block(_OFF):
            yield self

    def restart(self, seed: int | None = None) -> None:
        """Forget the requests, the faults injected and those pending, and leave all blocks. The rates of the constructor remain.

        Args:
            seed: A new seed; None: keep the former one.

        Raises:
            TypeError: The seed is not an integer.

        Requests:
            none

        Example:
            >>> faults = s3.Faults(seed=7)
            >>> faults.next(reset=True)
            >>> faults.restart()
            >>> faults.pending
            []
        """
        with self._mutex:
            if seed is not None:
                self._seed = _checked_seed(seed)
            self._blocks.clear()
            self._next.clear()
            self._counts.clear()
            self._injected = []  # a request from before the restart may still report to the former list

    def __repr__(self) -> str:
        rates = "".join(f", {name}={rate}" for name, rate in self._rates.items() if rate)
        return f"Faults(seed={self._seed}{rates})"

    @contextmanager
    def _block(self, block: _Block) -> Iterator[None]:
        with self._mutex:
            self._blocks.append(block)
        try:
            yield
        finally:
            with self._mutex:
                self._blocks = [each for each in self._blocks if each is not block]

    def _choose(self, request: S3Request, history: ObjectHistory) -> tuple[Treatment, Report]:
        """Return the treatment of a request, and the function to report to."""
        with self._mutex:
            injected = self._injected
            self._counts[request] += 1
            number = self._counts[request]
            ordered, drawn = None, None
            if not request.is_scratch:
                ordered, drawn = self._fault_of(request, number)
        if ordered is not None:
            kind = ordered.kind
            chosen = treatment(kind.name, history, at=0.5, seconds=ordered.seconds, content=ordered.content)
        elif drawn is not None:
            kind = drawn
            at = _drawn(self._seed, "at", request, number)
            chosen = treatment(kind.name, history, at=at, seconds=self._slow_seconds)
        else:
            return UNTREATED, _ignore

        def report(applied: bool, status: int) -> None:
            fault = InjectedFault(number, request.operation, request.bucket, request.key, kind.name)
            with self._mutex:
                if applied:
                    injected.append(fault)
                elif ordered is not None:
                    ordered.left += 1
                if ordered is not None and not ordered.left and ordered in self._next:
                    self._next.remove(ordered)

        return chosen, report

    def _fault_of(self, request: S3Request, number: int) -> tuple[_Next | None, FaultKind | None]:
        """Return the fault ordered for this request, or the kind drawn for it; counts an ordered fault as used."""
        rates, is_on = dict(self._rates), True
        for block in self._blocks:
            is_on = block is not _OFF
            rates = rates | block if block is not None else {}
        for ordered in self._next if is_on else ():
            if ordered.matches(request):
                ordered.left -= 1
                return ordered, None
        for name, rate in rates.items():
            kind = _RATES[name]
            if rate and kind.suits(request.operation) and _drawn(self._seed, kind.name, request, number) < rate:
                return None, kind
        return None, None


class FaultProxy(Proxy):
    """The proxy between a client and the embedded server.

    Args:
        upstream: The server's host and port.
        faults: Which faults to inject.
    """

    def __init__(self, upstream: tuple[str, int], faults: Faults) -> None:
        self._faults = faults
        self._history = ObjectHistory(super().forward)
        super().__init__(upstream)

    def choose(self, request: ProxyRequest) -> tuple[Treatment, Report]:
        """Return the treatment that the faults choose for a request, and the function to report to."""
        return self._faults._choose(recognise(request), self._history)

    def forward(self, request: ProxyRequest) -> ProxyResponse | None:
        """Send a request to the server, and record what the request read or changed."""
        return self._history.forward(request)


_ALLOWED = {"slow": "True or a number of seconds", "changed_object": "True or bytes"}


def _ignore(applied: bool, status: int) -> None:
    """Report nothing."""


def _drawn(seed: int, purpose: str, request: S3Request, number: int) -> float:
    """Return a number, at least 0 and less than 1, that depends only on the arguments, except for the bucket's name."""
    return random.Random(f"{seed}|{purpose}|{request.operation}|{request.key}|{request.detail}|{number}").random()


def _check_operation(operation: str | None, kind: FaultKind) -> None:
    if operation is None:
        return
    if operation not in OPERATIONS:
        near = difflib.get_close_matches(operation, sorted(OPERATIONS), 1) if isinstance(operation, str) else []
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"operation must be the name of an S3 operation such as 'PutObject', not {operation!r}{hint}")
    if not kind.suits(operation):
        suited = sorted(kind.operations or ())
        listed = ", ".join(suited[:8]) + (" …" if len(suited) > 8 else "")
        raise ValueError(f"{kind.name} cannot apply to {operation}; it applies to {listed}")


def _checked_seed(seed: int) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"seed must be an integer, not {seed!r}")
    return seed


def _checked_seconds(name: str, seconds: float) -> float:
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds < float("inf"):
        raise ValueError(f"{name} must be a positive number of seconds, not {seconds!r}")
    return float(seconds)


def _checked_rates(**rates: float) -> dict[str, float]:
    """Check the rates, and return them in the order in which kinds are drawn."""
    for name, rate in rates.items():
        if isinstance(rate, bool) or not isinstance(rate, (int, float)):
            raise TypeError(f"{name} must be a share of the requests, a number from 0 to 1, not {rate!r}")
        if not 0 <= rate <= 1:
            raise ValueError(f"{name} must be a share of the requests, from 0 to 1, not {rate!r}")
    return {name: float(rates[name]) for name in _RATES if name in rates}
