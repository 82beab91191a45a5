"""What ``progress=`` may be, and the one form in which the other rooms use it: a function of bytes.

It knows no request and no file. A callable gets the number of bytes that went over since its last call, never two calls at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

Progress: TypeAlias = "bool | Callable[[int], Any] | None"
"""True for a bar (the extra ``progress``), a callable that is told how many more bytes went over, or nothing."""


@contextmanager
def reporting(progress: Progress, total: int | None, description: str) -> Iterator[Callable[[int], None]]:
    """The function to be told of bytes, for as long as the block lasts.

    Args:
        progress: What the user gave.
        total: How many bytes there will be, where that is known.
        description: What a bar is called.

    Raises:
        TypeError: ``progress`` is neither of these.
        ImportError: A bar is wanted, and the extra is not installed.
    """
    if progress is None or progress is False:
        yield _silent
        return
    lock = threading.Lock()
    if progress is True:
        try:
            from tqdm.auto import tqdm
        except ImportError as error:
            raise ImportError("progress=True needs tqdm: pip install 'messageflux-s3[progress]'") from error
        with tqdm(total=total, desc=description, unit="B", unit_scale=True, unit_divisor=1024) as bar:
            yield _one_at_a_time(bar.update, lock)
    elif callable(progress):
        yield _one_at_a_time(progress, lock)
    else:
        raise TypeError(f"progress must be True, a callable or None, not {type(progress).__name__}")


def _silent(count: int) -> None:
    """Nobody wants to know."""


def _one_at_a_time(function: Callable[[int], object], lock: threading.Lock) -> Callable[[int], None]:
    def report(count: int) -> None:
        if count:
            with lock:
                function(count)

    return report
