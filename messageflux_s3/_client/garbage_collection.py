"""Detection of code that the garbage collector runs, such as the end of an iteration that was dropped in a reference cycle.

The collector interrupts a thread anywhere, also where that thread holds a lock: of threading itself, of a logger, of the user's code. What
it runs MUST NOT wait for another thread, which may need that lock.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping
from threading import get_ident

_threads: set[int] = set()


def is_collecting() -> bool:
    """Return whether the garbage collector runs on this thread now."""
    return get_ident() in _threads


def _note(phase: str, _: Mapping[str, int]) -> None:
    (_threads.add if phase == "start" else _threads.discard)(get_ident())


gc.callbacks.append(_note)
