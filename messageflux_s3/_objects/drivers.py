"""Run the steps of an operation: one driver blocks, the other awaits.

An operation ("get", "put") is a generator that does no I/O. It yields a :class:`Request` and receives the :class:`Answer`, or yields
:class:`Blocking` or :class:`Callback` and receives the function's result, or yields :class:`Sleep`. The driver throws an S3Error into
the generator. Since the blocking and the async handles run the same generators, their results, errors and number of requests are the same.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Generator
from typing import Any, TypeVar

from .._client.connection import Connection
from .._client.exchange import Answer, Request, exchange
from ..errors import S3Error

Result = TypeVar("Result")


class Blocking:
    """An effect: call a blocking function, such as a multipart upload or a probe. Under asyncio it runs on a thread."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function


class Callback:
    """An effect: call a function that the user passed. Under asyncio it runs on a dedicated thread, and a returned awaitable is awaited."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function


class Sleep:
    """An effect: wait for some seconds."""

    __slots__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


Effect = Request | Blocking | Callback | Sleep
Steps = Generator[Effect, Any, Result]
"""A running operation: yields effects, receives their results, returns the operation's result."""


def run(connection: Connection, steps: Steps[Result]) -> Result:
    """Run an operation, blocking."""
    try:
        effect = next(steps)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    return resume(connection, steps, effect)


def resume(
    connection: Connection,
    steps: Steps[Result],
    effect: Effect,
    first: Callable[[Connection, Request], Answer] = exchange,
) -> Result:
    """Run the rest of an operation, blocking.

    Args:
        connection: The connection.
        steps: The operation.
        effect: The effect that the operation yielded last.
        first: Sends ``effect`` if it is a request; later requests are sent by :func:`exchange`.
    """
    send = first
    while True:
        try:
            outcome = send(connection, effect) if isinstance(effect, Request) else _perform(effect)
        except S3Error as error:
            try:
                effect = steps.throw(error)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
        except BaseException:
            steps.close()
            raise
        else:
            try:
                effect = steps.send(outcome)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
        send = exchange


def _perform(effect: Blocking | Callback | Sleep) -> Any:
    return time.sleep(effect.seconds) if isinstance(effect, Sleep) else effect.function()


async def run_awaited(
    steps: Steps[Result],
    send: Callable[[Request], Awaitable[Answer]],
    perform: Callable[[Blocking | Callback | Sleep], Awaitable[Any]],
) -> Result:
    """Run an operation under asyncio.

    Args:
        steps: The operation.
        send: Sends a request.
        perform: Carries out any other effect.
    """
    try:
        effect = next(steps)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    while True:
        try:
            outcome = await (send(effect) if isinstance(effect, Request) else perform(effect))
        except S3Error as error:
            try:
                effect = steps.throw(error)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
        except BaseException:
            steps.close()
            raise
        else:
            try:
                effect = steps.send(outcome)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
