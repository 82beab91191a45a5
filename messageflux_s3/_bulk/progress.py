"""The ``progress=`` argument: a progress bar, a callable, or None.

A callable is called with the number of bytes (or objects) since its last call, never by two threads at once. The number
is negative if a conditional upload had a conflict and is sent again, or if an upload in one request failed. If the
callable raises an exception, the upload ends and writes nothing; that is why an upload in one request is reported
before the request is sent. On KeyboardInterrupt a warning with the amount done is logged.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias, TypeVar

from .._formats.render import visible

logger = logging.getLogger("messageflux_s3")

Progress: TypeAlias = "bool | Callable[[int], object] | None"
"""How a method reports its progress: True for a progress bar (needs the extra ``progress``), a callable, or None for no report.

A callable receives the number of bytes or objects since its last call; two calls never overlap. The number is negative if an upload is
sent again, or if an upload in one request failed. An exception that the callable raises ends the operation, and an upload then writes
nothing.
"""

Unit = Literal["bytes", "objects"]
Item = TypeVar("Item")

_ITEMS_A_REPORT = 1000


class Checked:
    """The user's ``progress``, and a check that is called before every report.

    Args:
        check: A function without arguments; an exception that it raises ends the operation.
        progress: The user's ``progress``.
    """

    def __init__(self, check: Callable[[], object], progress: Progress) -> None:
        self.check = check
        self.progress = progress


@contextmanager
def reporting(
    progress: Progress | Checked, total: int | None, description: str, *, unit: Unit = "bytes"
) -> Iterator[Callable[[int], None]]:
    """Show progress during the block. The block calls the yielded function with the number of bytes or objects just done.

    Args:
        progress: The user's ``progress=``.
        total: The total number, if it is known.
        description: The title of the bar.
        unit: The unit of the counts.

    Raises:
        TypeError: ``progress`` is not True, a callable or None.
        ImportError: ``progress`` is True and the extra is not installed.
    """
    lock = threading.Lock()
    done = 0
    check = None
    if isinstance(progress, Checked):
        check, progress = progress.check, progress.progress

    with _shown(progress, total, description, unit) as show:

        def report(count: int) -> None:
            nonlocal done
            if check is not None:
                check()
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
    """Yield the items; report the number after every thousand items, and when the iterator ends or is closed.

    A generator is closed at the end: if ``report`` raises, the traceback of the exception would keep it open, and the requests of a batch
    would go on.
    """
    count = 0
    try:
        for item in items:
            yield item
            count += 1
            if count == _ITEMS_A_REPORT:
                report(count)
                count = 0
    finally:
        try:
            if isinstance(items, Generator):
                items.close()
        finally:
            report(count)


@contextmanager
def _shown(
    progress: Progress, total: int | None, description: str, unit: Unit
) -> Iterator[Callable[[int], object] | None]:
    """Yield the function that shows progress, or None."""
    if progress is None or progress is False:
        yield None
    elif progress is True:
        try:
            from tqdm.auto import tqdm
        except ImportError as error:
            raise ImportError("progress=True needs tqdm: pip install 'messageflux-s3[progress]'") from error
        look: dict[str, Any] = {"unit": "B", "unit_divisor": 1024} if unit == "bytes" else {"unit": " objects"}
        with tqdm(total=total, desc=visible(description), unit_scale=True, **look) as bar:
            yield bar.update
    elif callable(progress):
        yield progress
    else:
        raise TypeError(f"progress must be True, a callable or None, not {type(progress).__name__}")
