"""What ``progress=`` may be, and the one form in which the other rooms use it: a function of bytes, or of objects.

It knows no request and no file. A callable gets the number of bytes (or objects) since its last call, never two calls at once; a negative
number when a conditional upload met another write and is sent again, or when the only request of an upload failed. What it raises ends
the upload, and nothing is written: a source that is sent in one request is reported before that request. Whoever interrupts the work
from the keyboard is told how far it had come.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias, TypeVar

logger = logging.getLogger("messageflux_s3")

Progress: TypeAlias = "bool | Callable[[int], object] | None"
"""How a method reports its progress: True for a progress bar (needs the extra ``progress``), a callable, or None for no report.

A callable receives the number of bytes or objects since its last call; two calls never overlap. The number is negative if an upload is
sent again. An exception that the callable raises ends the operation, and an upload then writes nothing.
"""

Unit = Literal["bytes", "objects"]
Item = TypeVar("Item")

_ITEMS_A_REPORT = 1000


@contextmanager
def reporting(
    progress: Progress, total: int | None, description: str, *, unit: Unit = "bytes"
) -> Iterator[Callable[[int], None]]:
    """The function to be told of bytes or objects, for as long as the block lasts.

    Args:
        progress: What the user gave.
        total: How many there will be, where that is known.
        description: What a bar is called.
        unit: What is counted.

    Raises:
        TypeError: ``progress`` is neither of these.
        ImportError: A bar is wanted, and the extra is not installed.
    """
    lock = threading.Lock()
    done = 0

    with _shown(progress, total, description, unit) as show:

        def report(count: int) -> None:
            nonlocal done
            if count:
                with lock:
                    done += count
                    if show is not None:
                        show(count)

        try:
            yield report
        except KeyboardInterrupt:
            of_all = "" if total is None else f" of {total:,}"
            logger.warning("%s: interrupted after %s%s %s", description, f"{done:,}", of_all, unit)
            raise


def watched(items: Iterable[Item], report: Callable[[int], None]) -> Iterator[Item]:
    """The items, reported by the thousand as they go by, and the rest at the end, however it comes."""
    count = 0
    try:
        for item in items:
            yield item
            count += 1
            if count == _ITEMS_A_REPORT:
                report(count)
                count = 0
    finally:
        report(count)


@contextmanager
def _shown(
    progress: Progress, total: int | None, description: str, unit: Unit
) -> Iterator[Callable[[int], object] | None]:
    """Who is to be told, if anybody."""
    if progress is None or progress is False:
        yield None
    elif progress is True:
        try:
            from tqdm.auto import tqdm
        except ImportError as error:
            raise ImportError("progress=True needs tqdm: pip install 'messageflux-s3[progress]'") from error
        look: dict[str, Any] = {"unit": "B", "unit_divisor": 1024} if unit == "bytes" else {"unit": " objects"}
        with tqdm(total=total, desc=description, unit_scale=True, **look) as bar:
            yield bar.update
    elif callable(progress):
        yield progress
    else:
        raise TypeError(f"progress must be True, a callable or None, not {type(progress).__name__}")
