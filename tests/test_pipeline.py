"""The implementation of query.map: bounded, ordered, without leaked threads."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from typing import Any

import pytest

import messageflux_s3 as s3
from messageflux_s3._bulk import pipeline


def own_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("messageflux-s3-map")]


def slow_if_even(n: int) -> int:
    time.sleep(0.02 if n % 2 == 0 else 0)
    return n


def fails_at_three(n: int) -> int:
    if n == 3:
        raise KeyError(n)
    return n


def size_and_process(obj: s3.S3Object) -> tuple[str, int, int]:
    return obj.key, len(obj.body), os.getpid()


def test_results_are_in_the_order_of_the_items() -> None:
    """However long each takes."""
    assert list(pipeline.run(slow_if_even, range(50))) == list(range(50))


def test_unordered_results_are_returned_as_they_complete() -> None:
    """Without order a slow item does not delay others, and no result is lost."""
    gate = threading.Event()

    def first_waits(n: int) -> int:
        if n == 0:
            gate.wait(10)
        return n

    results = pipeline.run(first_waits, range(20), ordered=False)
    seen = [next(results) for _ in range(19)]
    gate.set()
    assert 0 not in seen
    assert sorted([*seen, *results]) == list(range(20))


def test_the_source_is_read_only_as_far_as_workers_are_free() -> None:
    """Only a few of a million items are in memory at once."""
    taken = 0

    def source() -> Iterator[int]:
        nonlocal taken
        for n in range(1_000_000):
            taken += 1
            yield n

    results = pipeline.run(abs, source(), in_flight=8)
    assert [next(results) for _ in range(10)] == list(range(10))
    assert taken <= 18
    results.close()  # type: ignore[attr-defined]


def test_an_early_exit_leaves_no_threads() -> None:
    """An error and the normal end leave no threads either."""
    results = pipeline.run(slow_if_even, range(1000))
    next(results)
    assert own_threads() != []
    results.close()  # type: ignore[attr-defined]
    assert own_threads() == []
    with pytest.raises(KeyError):
        list(pipeline.run(fails_at_three, range(1000)))
    assert own_threads() == []


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_an_iteration_continued_in_a_forked_child_raises() -> None:
    """It raises at once instead of waiting for results that never arrive."""
    results = pipeline.run(abs, range(100))
    assert next(results) == 0
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # it must not outlive a test that fails
        try:
            list(results)
        except RuntimeError:
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert [*results] == [*range(1, 100)]


def test_an_error_is_raised_at_its_position() -> None:
    """Earlier results are yielded first."""
    seen: list[int] = []
    with pytest.raises(KeyError):
        for result in pipeline.run(fails_at_three, range(10)):
            seen.append(result)
    assert seen == [0, 1, 2]


def test_on_error_skips_an_item_or_replaces_its_result() -> None:
    """on_error skips the item, or returns the result to use instead."""
    assert list(pipeline.run(fails_at_three, range(5), on_error="skip")) == [0, 1, 2, 4]
    answered = list(pipeline.run(fails_at_three, range(5), on_error=lambda item, error: (item, type(error).__name__)))
    assert answered == [0, 1, 2, (3, "KeyError"), 4]


def test_an_exception_of_the_source_is_raised() -> None:
    """And leaves no threads."""

    def source() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        list(pipeline.run(abs, source()))
    assert own_threads() == []


def test_an_executor_of_the_caller_is_not_shut_down() -> None:
    """It is the caller's."""
    with ThreadPoolExecutor(2) as executor:
        assert list(pipeline.run(abs, [-1], executor)) == [1]
        assert executor.submit(abs, -2).result() == 2


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"function": 1}, TypeError),
        ({"executor": 1}, TypeError),
        ({"on_error": "ignore"}, ValueError),
        ({"in_flight": 0}, ValueError),
        ({"in_flight": "8"}, TypeError),
    ],
)
def test_invalid_arguments_raise_before_the_source_is_read(arguments: dict[str, Any], error: type[Exception]) -> None:
    """Before an item is taken from the source."""
    with pytest.raises(error):
        pipeline.run(**({"function": abs, "items": iter(())} | arguments))


def test_query_map_runs_on_threads_in_key_order(s3_bucket: s3.S3Bucket) -> None:
    """In key order, on threads."""
    for n in range(30):
        s3_bucket.put_object(f"k{n:02}", b"x" * n)
    assert list(s3_bucket.find().map(lambda obj: len(obj.body))) == list(range(30))


def test_query_map_runs_on_processes(s3_bucket: s3.S3Bucket) -> None:
    """Pickled handles give the same results in other processes."""
    for n in range(8):
        s3_bucket.put_object(f"k{n}", b"x" * n)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        results = list(s3_bucket.find().map(size_and_process, executor))
    assert [(key, size) for key, size, _ in results] == [(f"k{n}", n) for n in range(8)]
    assert os.getpid() not in {process for *_, process in results}


def test_handles_pickle_small(s3_bucket: s3.S3Bucket) -> None:
    """A handle and a query are a few hundred bytes each; a thousand handles share their connection."""
    s3_bucket.put_object("k", b"x")
    obj = s3_bucket.find().first()
    assert len(pickle.dumps(obj)) < 1500
    assert len(pickle.dumps(s3_bucket.find(prefix="k"))) < 1500
    handles = [s3_bucket.object(f"k{n}") for n in range(1000)]
    assert len(pickle.dumps(handles)) < 60_000


def test_an_executor_may_return_its_own_kind_of_future() -> None:
    """Like Dask's futures: wait for the first one."""
    asked: list[str] = []

    class Future:
        def exception(self) -> None:
            asked.append("waited")

    pipeline._wait_for_any([Future()])  # type: ignore[list-item]
    assert asked == ["waited"]
