"""Coroutines that are cancelled at one exact await, before, during or together with its completion."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from typing import Any

MOMENTS = ("before", "during", "together")
"""``before``: when the await begins; ``during``: while it waits; ``together``: in the same loop iteration in which its result arrives."""


class Cancelled:
    """Awaits a coroutine and cancels its own task at the n-th await.

    Args:
        work: The coroutine.
        at: The number of the await, from 1.
        moment: One of :data:`MOMENTS`.
    """

    def __init__(self, work: Coroutine[Any, Any, Any], at: int, moment: str) -> None:
        self._work = work
        self._at = at
        self._moment = moment
        self.awaits = 0

    def __await__(self) -> Generator[Any, Any, Any]:
        task = asyncio.current_task()
        assert task is not None
        step: Callable[[Any], Any] = self._work.send
        value: Any = None
        while True:
            try:
                awaited = step(value)
            except StopIteration as end:
                return end.value
            self.awaits += 1
            if self.awaits == self._at:
                if self._moment == "before":
                    task.cancel()
                elif self._moment == "during" or awaited is None:
                    asyncio.get_running_loop().call_soon(task.cancel)
                else:
                    awaited.add_done_callback(lambda _: task.cancel())
            try:
                value, step = (yield awaited), self._work.send
            except BaseException as error:
                value, step = error, self._work.throw


async def cancelled(work: Coroutine[Any, Any, Any], at: int, moment: str) -> str:
    """Run a coroutine that is cancelled at its n-th await.

    Returns:
        ``"cancelled"``; ``"ended"`` if it ended before that await; ``"lost"`` if it was cancelled and ended normally all the same.
    """
    stepping = Cancelled(work, at, moment)

    async def run() -> None:
        await stepping

    task = asyncio.ensure_future(run())
    await asyncio.wait([task])
    if task.cancelled():
        return "cancelled"
    task.result()
    return "ended" if stepping.awaits < at else "lost"
