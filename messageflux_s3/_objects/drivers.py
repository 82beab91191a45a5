"""Run the steps of a verb: one driver blocks, the other awaits.

A verb ("get", "put") is a generator without I/O of its own. It yields a :class:`Request` and receives the :class:`Answer`, or yields
:class:`Blocking` and receives what the function returns. An S3Error is thrown in at the yield. Since the blocking and the awaited handles
run the same generators, their results, errors and number of requests are the same.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any, TypeVar

from .._client.connection import Connection
from .._client.exchange import Answer, Request, exchange
from ..errors import S3Error

Result = TypeVar("Result")


class Blocking:
    """An effect: call a function that blocks, such as an upload in parts or a probe. Under asyncio it runs on a thread."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function


Effect = Request | Blocking
Steps = Generator[Effect, Any, Result]
"""A verb under way: yields effects, receives their results, returns the verb's result."""


def run(connection: Connection, steps: Steps[Result]) -> Result:
    """Run a verb, blocking."""
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
    """Run the rest of a verb, blocking.

    Args:
        connection: The connection.
        steps: The verb.
        effect: The effect that it yielded last.
        first: Sends this effect, where it is a request.
    """
    send = first
    while True:
        try:
            outcome = send(connection, effect) if isinstance(effect, Request) else effect.function()
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


async def run_awaited(
    steps: Steps[Result],
    send: Callable[[Request], Awaitable[Answer]],
    on_thread: Callable[[Callable[[], Any]], Awaitable[Any]],
) -> Result:
    """Run a verb under asyncio.

    Args:
        steps: The verb.
        send: Sends a request.
        on_thread: Calls a function on a thread.
    """
    try:
        effect = next(steps)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    while True:
        try:
            outcome = await (send(effect) if isinstance(effect, Request) else on_thread(effect.function))
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
