"""The observers of one store's requests: the user's, the log, and OpenTelemetry.

:func:`begin` returns None for a request without observers; the code that sends the request then skips all other steps.
"""

from __future__ import annotations

import inspect
import logging
import os
import sys
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING

from . import tracing
from .request_log import log
from .request_record import Observer, RequestEvent, RequestRecord

if TYPE_CHECKING:
    from typing_extensions import Self

logger = logging.getLogger("messageflux_s3")


class Observers:
    """The observers of one store.

    Attributes:
        always: Those of every request.
        tagged: Those of the requests that are begun in a context which contains them (:func:`enter`).
    """

    __slots__ = ("always", "tagged")

    def __init__(self) -> None:
        self.always: tuple[Observer, ...] = ()
        self.tagged: tuple[Observer, ...] = ()

    def add(self, observer: Observer, *, is_tagged: bool = False) -> None:
        """Add an observer."""
        with _lock:
            if is_tagged:
                self.tagged += (observer,)
            else:
                self.always += (observer,)

    def remove(self, observer: Observer) -> None:
        """Remove an observer; no effect if it is not there."""
        with _lock:
            self.always = tuple(other for other in self.always if other != observer)
            self.tagged = tuple(other for other in self.tagged if other != observer)


def begin(observers: Observers, operation: str, bucket: str, key: str) -> RequestRecord | None:
    """Return the record of a request that begins now; None if the request has no observers."""
    told = observers.always
    if observers.tagged:
        entered = _entered.get()
        told += tuple([observer for observer in observers.tagged if observer in entered])
    if logger.isEnabledFor(logging.INFO):
        told += (log,)
    if "opentelemetry.trace" in sys.modules and tracing.is_on() and (recorder := tracing.recorder()) is not None:
        told += (recorder,)
    return RequestRecord(told, operation, bucket, key) if told else None


# -- the context of a tagged observation ----------------------------------------------------------------------------------------------

_entered: ContextVar[tuple[Observer, ...]] = ContextVar("messageflux_s3_observers", default=())


def enter(observer: Observer) -> None:
    """Add a tagged observer to the current context. Threads of the library and tasks copy the context in which they are started."""
    _entered.set((*_entered.get(), observer))


def leave(observer: Observer) -> None:
    """Remove a tagged observer from the current context, which need not be the one that it was added to."""
    _entered.set(tuple(other for other in _entered.get() if other != observer))


# -- the user's callbacks -------------------------------------------------------------------------------------------------------------


class RequestSubscription:
    """A callback that ``store.on_request()`` has added. ``close()``, a call of the subscription, or the end of a ``with`` block removes it.

    Example:
        >>> events = []
        >>> with store.on_request(events.append):
        ...     obj = bucket.put_object("a.txt", "hello")
        >>> [(event.operation, event.key, event.bytes_sent) for event in events]
        [('PutObject', 'a.txt', 5)]
    """

    def __init__(self, observers: Observers, callback: Callable[[RequestEvent], object]) -> None:
        self._observers = observers
        self._callback = callback
        observers.add(self._tell)

    def _tell(self, record: RequestRecord) -> None:
        if _is_telling.get():
            return  # the request comes from a callback: reporting it would recurse without end
        token = _is_telling.set(True)
        try:
            self._callback(record.as_event())
        finally:
            _is_telling.reset(token)

    def close(self) -> None:
        """Remove the callback; no effect if it is removed already. Requests: none."""
        self._observers.remove(self._tell)

    __call__ = close

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        # The repr of a partial, or of an object, could contain a key.
        return f"RequestSubscription({getattr(self._callback, '__qualname__', type(self._callback).__name__)})"


# In the context, not in the thread: a callback that sends many requests sends some on the library's threads, or in tasks.
_is_telling: ContextVar[bool] = ContextVar("messageflux_s3_telling", default=False)


def subscribe(observers: Observers, callback: Callable[[RequestEvent], object]) -> RequestSubscription:
    """Add a callback of the user's.

    Raises:
        TypeError: ``callback`` cannot be called, or is a coroutine function.
    """
    if not callable(callback):
        raise TypeError(f"callback must be a function of one RequestEvent, not {type(callback).__name__}")
    if inspect.iscoroutinefunction(callback):
        raise TypeError("callback must not be a coroutine function: it is called, not awaited")
    return RequestSubscription(observers, callback)


_lock = (
    threading.RLock()
)  # reentrant: a body collected here ends its request, and an observer of that may remove itself


def _reset_after_fork() -> None:
    global _lock
    _lock = threading.RLock()  # the parent's lock may be held by a thread that the child does not have


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no forks
    os.register_at_fork(after_in_child=_reset_after_fork)
