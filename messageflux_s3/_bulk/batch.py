"""Read, write or delete many objects in parallel: results in order, bounded memory, one error per key.

The first requests of the operations are sent concurrently by the fast lane, without threads. Operations that need boto3
or a second request continue in a small thread pool, which ends with the batch. The failure of a key is returned as a
value: the caller decides whether to raise.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar, cast

from .._client.addresses import BucketAddress, ObjectAddress
from .._client.context_threads import ContextThreadPool
from .._client.exchange import Answer, Request, ask_boto3, exchange, exchange_many, lane_state
from .._client.translate import from_answer
from .._formats import render
from .._formats.head import Head
from .._http import request_window
from .._objects import drivers, operations
from .._objects.drivers import Effect, Steps
from .._objects.operations import MAX_CACHED_BODY
from ..errors import Failure, S3AccessDenied, S3AuthenticationError, S3BatchError, S3Error, S3NoSuchItem
from .progress import Progress, reporting, watched

CONCURRENCY = request_window.MOST
"""The largest number of concurrent requests of a batch. It begins with 64, and takes more where that is faster."""

MAX_BYTES = 256 * 1024 * 1024
"""The largest number of bytes of bodies that a batch holds in memory."""

KEYS_PER_DELETE = 1000
_FAILURES_SHOWN = 20
_TRIES_TO_OPEN = 3

# Error codes of stores that do not support DeleteObjects, and of stores that require another form of the request.
_NO_BULK_DELETE = {"NotImplemented", "MethodNotAllowed", "501", "405"}
_NOT_THIS_WAY = {"MissingContentMD5", "InvalidDigest", "411"}
_BULK_DELETE = "bulk delete"


@dataclass(frozen=True, slots=True, repr=False)
class BatchResult:
    """The result of an operation on many keys.

    Attributes:
        succeeded: The keys that succeeded, in order.
        failures: The keys that failed, each with its error.

    Example:
        >>> result = bucket.put_objects([("a", b"1"), ("b", b"2")])
        >>> result
        <BatchResult: 2 succeeded, 0 failed>
        >>> result.succeeded, result.failures
        (['a', 'b'], [])
    """

    succeeded: list[str]
    failures: list[Failure]

    @property
    def ok(self) -> bool:
        """Whether there are no failures."""
        return not self.failures

    def raise_for_failures(self, operation: str | None = None) -> BatchResult:
        """Raise S3BatchError if there are failures.

        Returns:
            The result itself.

        Raises:
            S3BatchError: There are failures. The error lists the failures and the keys that succeeded.
        """
        if self.failures:
            first = self.failures[0]
            raise S3BatchError(
                f"{len(self.failures)} of {len(self.failures) + len(self.succeeded)} keys failed; the first: {first.error}",
                operation=operation or first.error.operation,
                bucket=first.error.bucket,
                code=first.error.code,
                status=first.error.status,
                failures=self.failures,
                succeeded=self.succeeded,
            )
        return self

    def __repr__(self) -> str:
        first = f"; the first: {self.failures[0].error}" if self.failures else ""
        return f"<BatchResult: {len(self.succeeded):,} succeeded, {len(self.failures):,} failed{first}>"

    def _repr_html_(self) -> str:
        done, failed = len(self.succeeded), len(self.failures)
        if not failed:
            return render.facts("batch", [("succeeded", done)]).html
        first = self.failures[:_FAILURES_SHOWN]
        rows = [(failure.key, failure.error.code or "", render.shortened(str(failure.error))) for failure in first]
        note = f"{done:,} succeeded, {failed:,} failed" + (
            f"; the first {_FAILURES_SHOWN} of those" if failed > len(rows) else ""
        )
        return render.table(["failed", "code", "error"], rows, title="batch", note=note).html


# -- reading


class GetItem(NamedTuple):
    """An object to read.

    Attributes:
        key: The key.
        version_id: A version of the object; None for the current one.
        is_read: Whether to read the object. If False, no request is sent and the outcome is None.
        tag: Any value of the caller; it is returned with the outcome.
        if_match: ETag sent as If-Match.
    """

    key: str
    version_id: str | None = None
    is_read: bool = True
    tag: Any = None
    if_match: str | None = None


def get_many(
    address: BucketAddress,
    wanted: Iterable[GetItem],
    *,
    concurrency: int = CONCURRENCY,
    max_bytes: int = MAX_BYTES,
) -> Generator[tuple[Any, tuple[Head, bytes | None] | S3Error | None], None, None]:
    """Read many objects, in order.

    Args:
        address: The bucket.
        wanted: The objects, any number, consumed lazily.
        concurrency: The largest number of concurrent requests.
        max_bytes: The largest number of bytes of bodies in memory.

    Returns:
        For each object, its tag and its outcome: headers and body (the body is None above 8 MiB), or an error, or None
        if ``is_read`` is False. Closing the iterator cancels the outstanding requests.

    Requests:
        1 GET per object
    """
    check_bounds(concurrency, max_bytes)

    def steps_of(one: GetItem) -> Steps[tuple[Head, bytes | None]] | None:
        if not one.is_read:
            return None
        where = ObjectAddress(address, one.key, one.version_id)
        return operations.get_steps(where, one.if_match, at_most=MAX_CACHED_BODY)

    outcomes = run_many(address, wanted, steps_of, concurrency=concurrency, max_bytes=max_bytes)
    return _named(outcomes, attrgetter("tag"))


# -- writing


class PutItem(NamedTuple):
    """An object to write: key, content, metadata, and further parameters as for a single write."""

    key: str
    body: bytes
    metadata: Mapping[str, str] | None = None
    parameters: Mapping[str, Any] | None = None


def put_many(
    address: BucketAddress,
    items: Iterable[PutItem],
    *,
    concurrency: int = CONCURRENCY,
    max_bytes: int = MAX_BYTES,
) -> Generator[tuple[str, Head | S3Error], None, None]:
    """Write many objects and yield the outcomes in order.

    Items with the same key are written one after the other, so that the last one is stored; other items do not wait for
    them.

    Args:
        address: The bucket.
        items: The objects to write, any number, consumed lazily.
        concurrency: The largest number of concurrent requests.
        max_bytes: The largest number of bytes of bodies in memory.

    Returns:
        For each item, its key and either the headers of the new object or an error.

    Requests:
        1 PUT per object
    """
    check_bounds(concurrency, max_bytes)

    def steps_of(item: PutItem) -> Steps[Head]:
        return operations.put_steps(ObjectAddress(address, item.key), item.body, item.metadata, item.parameters or {})

    outcomes = run_many(
        address,
        items,
        steps_of,
        key_of=attrgetter("key"),
        concurrency=concurrency,
        max_bytes=max_bytes,
    )
    return _named(outcomes, attrgetter("key"))


# -- deleting


def delete_many(
    address: BucketAddress, entries: Iterable[tuple[str, str | None]]
) -> Iterator[tuple[str, str | None, S3Error | None]]:
    """Delete many objects or versions.

    Args:
        address: The bucket.
        entries: Pairs of key and version ID (None for the current version), any number, consumed a thousand at a time.

    Returns:
        Each key and version with its error, or with None if it was deleted.

    Requests:
        1 per 1,000 keys; 1 per key if the store has no bulk delete
    """
    source = iter(entries)
    while page := [*islice(source, KEYS_PER_DELETE)]:
        outcome = _delete_page(address, page)
        for entry in page:
            yield (*entry, outcome[entry])


def delete_all(
    address: BucketAddress,
    entries: Iterable[tuple[str, str | None]],
    *,
    raise_errors: bool = True,
    progress: Progress = None,
) -> BatchResult:
    """Delete many objects or versions and return the result.

    Raises:
        S3BatchError: Some deletions failed, and ``raise_errors`` is set.

    Requests:
        1 per 1,000 keys; 1 per key if the store has no bulk delete
    """
    succeeded: list[str] = []
    failures: list[Failure] = []
    with reporting(progress, None, f"delete in {address.name}", unit="objects") as report:
        for key, version_id, error in watched(delete_many(address, entries), report):
            if error is None:
                succeeded.append(key)
            else:
                failures.append(Failure(key, version_id, error))
    result = BatchResult(succeeded, failures)
    return result.raise_for_failures("DeleteObjects") if raise_errors else result


_Outcomes = dict[tuple[str, str | None], "S3Error | None"]


def _delete_page(address: BucketAddress, page: Sequence[tuple[str, str | None]]) -> _Outcomes:
    """Delete up to a thousand entries; retry entries with a transient error after a delay."""
    outcomes: _Outcomes = {}
    left = [*dict.fromkeys(page)]
    for attempt in range(address.connection.max_attempts):
        if attempt:
            time.sleep(min(5.0, 0.1 * 2**attempt))
        outcomes.update(_delete_once(address, left))
        left = [entry for entry in left if _is_temporary(outcomes[entry])]
        if not left:
            break
    return outcomes


def _is_temporary(error: S3Error | None) -> bool:
    """Return whether the store has named an error that may not occur again. boto3 has retried what has only a status, or no response."""
    return error is not None and error.retryable and error.code is not None and not error.code.isdecimal()


def _delete_once(address: BucketAddress, entries: Sequence[tuple[str, str | None]]) -> _Outcomes:
    connection = address.connection
    plain = [entry for entry in entries if _is_safe_in_xml(entry[0])]
    outcomes: _Outcomes | None = None
    if (
        len(plain) > 1
        and connection.capabilities.bulk_delete != "single"
        and connection.facts.get(_BULK_DELETE) != "single"
    ):
        outcomes = _bulk_delete(address, plain)
    outcomes = outcomes or {}
    # Keys that the response does not confirm are deleted one by one; a repeated deletion is harmless.
    single = [entry for entry in entries if entry not in outcomes]
    outcomes.update(_delete_singly(address, single))
    return outcomes


def _is_safe_in_xml(key: str) -> bool:
    """Return whether every XML parser returns this key unchanged.

    Some stores (such as s3rver) trim or collapse whitespace in the keys of a bulk delete: a request for ``" a"``
    would delete ``"a"``. XML itself turns CR into LF and excludes control characters. Keys that are not safe are
    deleted one by one, percent-encoded in the URL.
    """
    return key.isprintable() and key == " ".join(key.split())


class _NothingDeleted(S3Error):
    """The store rejected the whole bulk delete; no key was deleted."""


def _bulk_delete(address: BucketAddress, entries: Sequence[tuple[str, str | None]]) -> _Outcomes | None:
    """Send one DeleteObjects with Content-MD5, which nearly every store accepts, or with boto3's checksum if the store needs that.

    Returns:
        The outcomes of the entries that the response names; None if the store rejected the request and deleted nothing.
    """
    named = [{"Key": key, **({"VersionId": version} if version else {})} for key, version in entries]
    deletion = {"Delete": {"Objects": named}}
    fallback = partial(_bulk_delete_by_boto3, address, deletion)
    try:
        answer = exchange(
            address.connection, Request("DeleteObjects", address.name, parameters=deletion, fallback=fallback)
        )
    except _NothingDeleted:
        return None
    except S3Error as error:
        return dict.fromkeys(entries, error)
    said = answer.parsed or {}
    sent = set(entries)

    def entry_of(one: Mapping[str, Any]) -> tuple[str, str | None]:
        """Return the entry that a result belongs to. Garage names an ID of its own for each key that was sent without a version."""
        entry = one.get("Key", ""), one.get("VersionId") or None
        return entry if entry in sent else (entry[0], None)

    outcomes: _Outcomes = {entry_of(one): None for one in said.get("Deleted", ())}
    for one in said.get("Errors", ()):
        refusal = _refusal(one, address.name)
        is_missing = isinstance(refusal, S3NoSuchItem)  # counts as deleted, as in a single deletion
        outcomes[entry_of(one)] = None if is_missing else refusal
    return outcomes


def _bulk_delete_by_boto3(address: BucketAddress, deletion: Mapping[str, Any]) -> Answer:
    connection = address.connection
    known = connection.capabilities.bulk_delete or connection.facts.get(_BULK_DELETE)
    refusals: set[str] = set()
    for way in sorted(("md5", "checksum"), key=lambda way: way != known):
        call = connection.call if way == "checksum" else connection.call_with_md5
        try:
            answer = call("DeleteObjects", Bucket=address.name, **deletion)
        except S3Error as error:
            if error.code in _NO_BULK_DELETE:
                connection.facts[_BULK_DELETE] = "single"
                raise _NothingDeleted(str(error)) from error
            if not _is_about_the_request(error):
                raise
            refusals.add(error.code or "")
        else:
            connection.facts[_BULK_DELETE] = way
            return Answer(answer)
    if refusals <= _NOT_THIS_WAY:  # any other error may be due to these keys, not to the form of the request
        connection.facts[_BULK_DELETE] = "single"
    raise _NothingDeleted("the store refused the bulk delete in each form")


def _is_about_the_request(error: S3Error) -> bool:
    """Return whether another form of the request may succeed: true for a 4xx that is not transient, an access error or NoSuchBucket."""
    if error.retryable or error.code == "NoSuchBucket" or isinstance(error, S3AccessDenied | S3AuthenticationError):
        return False
    return error.status is not None and 400 <= error.status < 500


def _refusal(said: Mapping[str, Any], bucket_name: str) -> S3Error:
    error = {"Code": said.get("Code", ""), "Message": said.get("Message", "")}
    return from_answer({"Error": error}, "DeleteObjects", bucket_name, said.get("Key"))


def _delete_singly(address: BucketAddress, entries: Sequence[tuple[str, str | None]]) -> _Outcomes:
    def steps_of(entry: tuple[str, str | None]) -> Steps[None]:
        return operations.delete_steps(ObjectAddress(address, *entry))

    return dict(run_many(address, entries, steps_of))


# -- running many operations


Item = TypeVar("Item")


_Verb = tuple[Any, Steps[Any] | None, Effect | None]
"""The tag of a request: an item, its started steps (None to skip the item), and the effect they yielded.

The effect is left out (None) if it is the tagged request itself: request and tag would form a reference cycle, which
keeps bodies in memory until the garbage collector runs.
"""


def run_many(
    address: BucketAddress,
    items: Iterable[Item],
    steps_of: Callable[[Item], Steps[Any] | None],
    *,
    key_of: Callable[[Item], str] | None = None,
    concurrency: int = CONCURRENCY,
    max_bytes: int = MAX_BYTES,
) -> Generator[tuple[Item, Any], None, None]:
    """Run an operation for each of many items, many in parallel, and yield the outcomes in order.

    With ``key_of`` an item is begun only after all earlier items with the same key are done. While an earlier one is
    outstanding, the requests of later ones are not sent through the fast lane, but through boto3 on a thread. The lane
    returns requests in order. So when a later item reaches a thread, the earlier one is either done or on a thread too; in
    the second case the later one waits for it.

    Args:
        address: The bucket.
        items: The items, any number, consumed lazily.
        steps_of: Returns the steps of the operation for an item, or None to skip the item (its outcome is None). In a
            process that was forked during the batch, it is called again for outstanding items.
        key_of: Returns the key of an item, if items with the same key are to be done one after the other.
        concurrency: The largest number of concurrent requests.
        max_bytes: The largest number of bytes of bodies in memory.

    Returns:
        Each item with its result or error. Closing the iterator cancels the outstanding requests.

    Requests:
        the requests of the operations
    """
    connection, bucket_name = address
    workers = min(concurrency, connection.max_concurrency)
    # The lane and the threads both hold bodies; each gets half of the memory.
    max_pending = max(1, min(2 * workers, max_bytes // 2 // MAX_CACHED_BODY))
    waiting: deque[tuple[Request, Any]] = deque()
    threads: ThreadPoolExecutor | None = None

    pid = os.getpid()
    under_way: dict[str, int] = {}  # for each key, the number of requests whose outcomes have not been yielded yet
    last_on_thread: dict[str, Future[Any]] = {}  # for each key in under_way, the task submitted last

    def begun() -> Iterator[Request]:
        for item in items:
            steps = steps_of(item)
            effect = None if steps is None else next(steps)
            if isinstance(effect, Request):
                effect.tag = item, steps, None
                yield effect
            else:
                verb: _Verb = item, steps, effect
                # With the key: an item that begins with an experiment has its place among those with its key too.
                key = "" if key_of is None else key_of(item)
                yield Request("", bucket_name, key, is_for_boto3=True, tag=verb)

    def ordered(requests: Iterator[Request]) -> Iterator[Request]:
        for request in requests:
            count = under_way.get(request.key, 0)
            under_way[request.key] = count + 1
            if count:
                request.is_for_boto3 = True
            yield request

    def rest_of(request: Request) -> Any:
        """Run an operation from its first effect on; if that is a request, send it through boto3."""
        _, steps, effect = request.tag
        return drivers.resume(connection, steps, effect or request, first=ask_boto3)

    def go_on(steps: Steps[Any], effect: Effect) -> Any:
        """Run an operation from its second effect on."""
        return drivers.resume(connection, steps, effect)

    def after(earlier: Future[Any], work: Callable[..., Any], *arguments: Any) -> Any:
        wait([earlier])  # no deadlock: the pool starts its tasks in order, so the earlier one is running or done
        return work(*arguments)

    def outcome_here(function: Callable[[], Any]) -> Any:
        try:
            return function()
        except S3Error as error:
            return error

    def submitted(key: str, work: Callable[..., Any], *arguments: Any) -> Future[Any]:
        nonlocal threads
        if threads is None:
            threads = ContextThreadPool(workers, "messageflux-s3")
        if key_of is None:
            return threads.submit(work, *arguments)
        earlier = last_on_thread.get(key)
        task = threads.submit(work, *arguments) if earlier is None else threads.submit(after, earlier, work, *arguments)
        last_on_thread[key] = task
        return task

    def answered(request: Request, answer: Answer | S3Error) -> Any:
        """Return the outcome of an operation whose first request is complete; a future if it needs further requests."""
        steps: Steps[Any] = request.tag[1]
        try:
            effect = steps.throw(answer) if isinstance(answer, S3Error) else steps.send(answer)
        except StopIteration as end:
            return end.value
        except S3Error as error:
            return error
        if os.getpid() != pid:
            return outcome_here(partial(go_on, steps, effect))
        return submitted(request.key, go_on, steps, effect)

    def left_to_boto3(request: Request) -> Any:
        if request.tag[1] is None:
            return None
        if os.getpid() != pid:  # forked during the batch: the threads exist only in the parent
            return Future() if request.key in last_on_thread else outcome_here(partial(rest_of, request))
        return submitted(request.key, rest_of, request)

    def settled(request: Request, outcome: Any) -> tuple[Any, Any]:
        item = request.tag[0]
        if isinstance(outcome, Future):
            if os.getpid() != pid and not outcome.done():
                again = steps_of(item)
                outcome = outcome_here(partial(drivers.run, connection, cast(Steps[Any], again)))
            else:
                outcome = outcome_here(outcome.result)
        if key_of is not None:
            done(request)
        return item, outcome

    def done(request: Request) -> None:
        left = under_way[request.key] - 1
        if left:
            under_way[request.key] = left
        else:
            del under_way[request.key]
            last_on_thread.pop(request.key, None)

    requests = begun()
    # The lane opens after a successful boto3 request in this bucket: send the first requests through boto3.
    for tries, request in enumerate(requests):
        if (
            tries == _TRIES_TO_OPEN
            or request.tag[1] is None
            or lane_state(BucketAddress(connection, bucket_name)) != "opens"
        ):
            requests = chain([request], requests)
            break
        yield request.tag[0], outcome_here(partial(rest_of, request))
    if key_of is not None:
        requests = ordered(requests)
    stream = exchange_many(
        connection, requests, concurrency=concurrency, max_bytes=max(1, max_bytes // 2), limit=MAX_CACHED_BODY
    )
    try:
        for request, answer in stream:
            outcome = left_to_boto3(request) if answer is None else answered(request, answer)
            if not waiting and answer is not None and not isinstance(outcome, Future):
                if key_of is not None:
                    done(request)
                yield request.tag[0], outcome
                continue
            waiting.append((request, outcome))
            while waiting and (len(waiting) > max_pending or _is_ready(waiting[0][1])):
                yield settled(*waiting.popleft())
        while waiting:
            yield settled(*waiting.popleft())
    finally:
        stream.close()
        if threads is not None:
            threads.shutdown(wait=True, cancel_futures=True)
        for request, _ in waiting:
            if request.record is not None:  # sent by the lane, and not taken over by a thread
                request.record.abandoned()


def _is_ready(outcome: Any) -> bool:
    return not isinstance(outcome, Future) or outcome.done()


def _named(
    outcomes: Generator[tuple[Any, Any], None, None], name: Callable[[Any], Any]
) -> Generator[tuple[Any, Any], None, None]:
    """Yield the outcomes with a name in place of their items.

    Not a generator expression: the traceback of an interrupt there would keep the outcomes, whose requests would go on.
    """
    with closing(outcomes):
        for item, outcome in outcomes:
            yield name(item), outcome


def check_bounds(concurrency: int, max_bytes: int) -> None:
    """Raise TypeError or ValueError if the bounds of a batch are invalid."""
    for name, value in (("concurrency", concurrency), ("max_bytes", max_bytes)):
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} must be a whole number, not {type(value).__name__}")
        if value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
