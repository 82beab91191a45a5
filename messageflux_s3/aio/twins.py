"""Functions that make async methods from synchronous ones."""

from __future__ import annotations

import functools
from collections.abc import (
    Callable,
    Coroutine,
)
from typing import (
    Any,
    Concatenate,
    Generic,
    ParamSpec,
    Protocol,
    TypeVar,
)

from ..subresources.base import Change, Value
from .engine import Engine

P = ParamSpec("P")
Result = TypeVar("Result")
V = TypeVar("V", bound=Value)
Twin_co = TypeVar("Twin_co", covariant=True)


class _HasTwin(Protocol[Twin_co]):
    """An async class that wraps a synchronous one."""

    _engine: Engine

    @property
    def _twin(self) -> Twin_co: ...


def twin_of(
    method: Callable[Concatenate[Twin_co, P], Result],
) -> Callable[Concatenate[_HasTwin[Twin_co], P], Coroutine[Any, Any, Result]]:
    """Return a coroutine method that calls a method on a thread; arguments and result need no conversion."""

    @functools.wraps(method)
    async def awaited(self: _HasTwin[Twin_co], /, *arguments: P.args, **named: P.kwargs) -> Result:
        return await self._engine.run(
            functools.partial(getattr(self._twin, method.__name__), *arguments, **named)  # finds subclass overrides
        )

    return awaited


def twin_of_write(
    method: Callable[Concatenate[Twin_co, P], Result],
) -> Callable[Concatenate[_HasTwin[Twin_co], P], Coroutine[Any, Any, Result]]:
    """Return a coroutine method as :func:`twin_of` does, for a method that writes: if cancelled, it waits (see ``Engine.run_write``)."""

    @functools.wraps(method)
    async def awaited(self: _HasTwin[Twin_co], /, *arguments: P.args, **named: P.kwargs) -> Result:
        return await self._engine.run_write(getattr(self._twin, method.__name__), *arguments, **named)

    return awaited


def twin_of_change(
    method: Callable[Concatenate[Twin_co, P], Change[V]],
) -> Callable[Concatenate[_HasTwin[Twin_co], P], Coroutine[Any, Any, AsyncChange[V]]]:
    """Return a coroutine method as :func:`twin_of_write` does, which wraps the Change that the method returns."""

    @functools.wraps(method)
    async def awaited(self: _HasTwin[Twin_co], /, *arguments: P.args, **named: P.kwargs) -> AsyncChange[V]:
        made = await self._engine.run_write(getattr(self._twin, method.__name__), *arguments, **named)
        return AsyncChange(made, self._engine)

    return awaited


class AsyncChange(Generic[V]):
    """A configuration change, to be reviewed before ``await change.apply()``."""

    def __init__(self, change: Change[V], engine: Engine) -> None:
        self._change = change
        self._engine = engine

    @property
    def _twin(self) -> Change[V]:
        return self._change

    @property
    def what(self) -> str:
        """The setting and the bucket or object that it belongs to. Requests: none."""
        return self._change.what

    @property
    def before(self) -> V:
        """The current configuration. Requests: none."""
        return self._change.before

    @property
    def after(self) -> V:
        """The configuration after the change. Requests: none."""
        return self._change.after

    @property
    def is_empty(self) -> bool:
        """Whether nothing would change. Requests: none."""
        return self._change.is_empty

    @property
    def applied(self) -> bool:
        """Whether the change was made. Requests: none."""
        return self._change.applied

    async def apply(self) -> AsyncChange[V]:
        """Make exactly this change, and return it with ``applied`` set. Requests: as ``Change.apply``."""
        return AsyncChange(await self._engine.run_write(self._change.apply), self._engine)

    def __str__(self) -> str:
        return str(self._change)

    def __repr__(self) -> str:
        return f"<Async{repr(self._change).removeprefix('<')}"

    def _repr_html_(self) -> str:
        return self._change._repr_html_()
