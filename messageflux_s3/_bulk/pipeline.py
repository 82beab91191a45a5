"""The implementation of ``query.map``: apply a function to many items, on threads or on any executor, with a bounded number in flight.

This module does not depend on queries or S3. The iterable is consumed lazily, so that a million objects are never in memory at once.
The work stops when the consumer stops.
"""

from __future__ import annotations

import inspect
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from typing import Any, Literal, TypeVar

from .._client.context_threads import ContextThreadPool

Item = TypeVar("Item")
Result = TypeVar("Result")
OnError = Literal["raise", "skip"] | Callable[[Any, Exception], Any]

THREADS = 16


def run(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    executor: Executor | None = None,
    *,
    ordered: bool = True,
    on_error: OnError = "raise",
    in_flight: int | None = None,
) -> Iterator[Result]:
    """Apply a function to every item, several at a time.

    Args:
        function: A function of one item. For processes and clusters the function and the items must be picklable.
        items: The items, consumed lazily.
        executor: Any ``concurrent.futures.Executor`` (processes, Dask's ``client.get_executor()``, Ray's, MPI's), which
            stays open. None for a thread pool that ends with the iteration.
        ordered: Whether results are returned in the order of the items; if not, as they complete.
        on_error: What to do if the function raises: ``"raise"``, ``"skip"`` the item, or a function of the item and the
            exception that returns the result to use.
        in_flight: The largest number of items that are submitted or wait to be consumed; by default four per worker.

    Returns:
        The results. Closing the iterator cancels the calls that have not started. Without an ``executor`` it also waits
        for the calls that are running.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is invalid.

    Example:
        >>> from messageflux_s3._bulk import pipeline
        >>> list(pipeline.run(abs, [-1, 2, -3]))
        [1, 2, 3]
    """
    check_arguments(function, executor, on_error, in_flight)
    for name, given in (("function", function), ("on_error", on_error)):
        if inspect.iscoroutinefunction(given):  # its coroutines would be the results, and never run
            raise TypeError(
                f"{name} must be a plain function, not a coroutine function: those are for the query of an AsyncS3Bucket"
            )
    return _run(function, items, executor, ordered, on_error, in_flight)


def check_arguments(function: Any, executor: Any, on_error: Any, in_flight: Any) -> None:
    """Validate the arguments of :func:`run`.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is invalid.
    """
    if not callable(function):
        raise TypeError(f"function must be callable, not {type(function).__name__}")
    if executor is not None and not callable(getattr(executor, "submit", None)):
        raise TypeError(f"executor must be a concurrent.futures.Executor, not {type(executor).__name__}")
    if on_error not in ("raise", "skip") and not callable(on_error):
        raise ValueError(
            f"on_error must be 'raise', 'skip' or a function of the item and the exception, not {on_error!r}"
        )
    if in_flight is not None and (isinstance(in_flight, bool) or not isinstance(in_flight, int)):
        raise TypeError(f"in_flight must be a whole number, not {type(in_flight).__name__}")
    if in_flight is not None and in_flight < 1:
        raise ValueError(f"in_flight must be at least 1, not {in_flight}")


def _run(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    executor: Executor | None,
    ordered: bool,
    on_error: OnError,
    in_flight: int | None,
) -> Iterator[Result]:
    own = ContextThreadPool(min(THREADS, in_flight or THREADS), "messageflux-s3-map") if executor is None else None
    workers: Executor = own if own is not None else executor  # type: ignore[assignment]  # one of them is not None
    max_pending = in_flight or 4 * int(getattr(workers, "_max_workers", THREADS))
    waiting: deque[tuple[Future[Result], Item]] = deque()
    source = iter(items)
    pid = os.getpid()
    try:
        while True:
            while len(waiting) < max_pending:
                try:
                    item = next(source)
                except StopIteration:
                    break
                waiting.append((workers.submit(function, item), item))
            if not waiting:
                return
            future, item = waiting.popleft() if ordered else _take_first_done(waiting)
            try:
                result = future.result()
            except Exception as error:
                if on_error == "raise":
                    raise
                if on_error == "skip":
                    continue
                assert callable(on_error)
                result = on_error(item, error)
            yield result
            if own is not None and os.getpid() != pid:
                raise RuntimeError(
                    "this iteration was started in the parent process, which has its threads; start a new iteration in this process"
                )
    finally:
        for future, _ in waiting:
            future.cancel()
        if own is not None:
            own.shutdown(wait=True, cancel_futures=True)


def _take_first_done(waiting: deque[tuple[Future[Result], Item]]) -> tuple[Future[Result], Item]:
    """Remove and return a completed future with its item: the one submitted first if there are several."""
    while True:
        for position, (future, item) in enumerate(waiting):
            if future.done():
                del waiting[position]
                return future, item
        _wait_for_any([future for future, _ in waiting])


def _wait_for_any(futures: list[Future[Any]]) -> None:
    if all(isinstance(future, Future) for future in futures):
        wait(futures, return_when=FIRST_COMPLETED)
        return
    futures[0].exception()  # wait() does not support other future types: wait for the first one
