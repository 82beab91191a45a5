"""Many objects at once: read, written, deleted, in order, in bounded memory, an error per key.

The first request of each object's verb is sent beside those of others, without threads; where boto3 has to be asked, or a verb needs a
second request, it goes on on one of a few threads, which end with the batch. What fails for one key is a value here, not an exception: the
caller decides whether to raise.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import Any, NamedTuple, TypeVar, cast

from .._client.connection import Connection
from .._client.exchange import Answer, Request, ask_boto3, exchange, exchange_many, lane_state
from .._client.translate import from_answer
from .._formats import render
from .._formats.head import Head
from .._objects import drivers, operations
from .._objects.drivers import Effect, Steps
from .._objects.operations import KEPT_BYTES
from ..errors import Failure, S3AccessDenied, S3AuthenticationError, S3BatchError, S3Error
from .progress import Progress, reporting, watched

CONCURRENCY = 64
"""How many requests of one batch are under way at once."""

MAX_BYTES = 256 * 1024 * 1024
"""How many bytes of bodies one batch holds."""

KEYS_PER_DELETE = 1000
_FAILURES_SHOWN = 20
_TRIES_TO_OPEN = 3

# Refusals of a bulk delete as such: of a store that has none, and of one that wants it in another way.
_NO_BULK_DELETE = {"NotImplemented", "MethodNotAllowed", "501", "405"}
_NOT_THIS_WAY = {"MissingContentMD5", "InvalidDigest", "411"}
_BULK_DELETE = "bulk delete"
_RETRIED = {
    "SlowDown",
    "InternalError",
    "ServiceUnavailable",
    "Throttling",
    "RequestTimeout",
    "OperationAborted",
}


@dataclass(frozen=True, slots=True, repr=False)
class BatchResult:
    """What became of many keys.

    Attributes:
        succeeded: The keys that were done, in order.
        failures: The keys that were not, each with its error.

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
        """Whether nothing failed."""
        return not self.failures

    def raise_for_failures(self, operation: str | None = None) -> BatchResult:
        """Raise if anything failed.

        Returns:
            The result itself.

        Raises:
            S3BatchError: With the failures and what succeeded.
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


class Wanted(NamedTuple):
    """One object to read.

    Attributes:
        key: Its key.
        version_id: A version of it.
        is_read: Whether it is read at all; one that is not keeps its place in the order.
        tag: Whatever the caller wants back beside the outcome.
    """

    key: str
    version_id: str | None = None
    is_read: bool = True
    tag: Any = None


def get_many(
    connection: Connection,
    bucket_name: str,
    wanted: Iterable[Wanted],
    *,
    concurrency: int = CONCURRENCY,
    max_bytes: int = MAX_BYTES,
) -> Generator[tuple[Any, tuple[Head, bytes | None] | S3Error | None], None, None]:
    """Read many objects, in order.

    Args:
        connection: The way to the store.
        bucket_name: The bucket.
        wanted: The objects, any number, taken as there is room.
        concurrency: How many requests are under way at once.
        max_bytes: How many bytes of bodies are held.

    Returns:
        For each its tag with headers and body (None in place of a body above 8 MiB), with its error, or with None where it
        was not to be read. Closing the iterator gives up what is under way.

    Requests:
        1 GET per object
    """
    check_bounds(concurrency, max_bytes)

    def steps_of(one: Wanted) -> Steps[tuple[Head, bytes | None]] | None:
        if not one.is_read:
            return None
        return operations.get_steps(connection, bucket_name, one.key, one.version_id, at_most=KEPT_BYTES)

    outcomes = run_many(connection, bucket_name, wanted, steps_of, concurrency=concurrency, max_bytes=max_bytes)
    return ((one.tag, outcome) for one, outcome in outcomes)


# -- writing


class Written(NamedTuple):
    """One object to write: its key, its content, its metadata and further parameters as for a single write."""

    key: str
    body: bytes
    metadata: Mapping[str, str] | None = None
    parameters: Mapping[str, Any] | None = None


def put_many(
    connection: Connection,
    bucket_name: str,
    items: Iterable[Written],
    *,
    concurrency: int = CONCURRENCY,
    max_bytes: int = MAX_BYTES,
) -> Generator[tuple[str, Head | S3Error], None, None]:
    """Write many objects; their outcomes come in order.

    Args:
        connection: The way to the store.
        bucket_name: The bucket.
        items: What to write, any number, taken as there is room.
        concurrency: How many requests are under way at once.
        max_bytes: How many bytes of bodies are held.

    Items with the same key are written one after the other, so that the last one is what is stored; only those wait.

    Returns:
        For each its key with what is known of the new object, or with its error.

    Requests:
        1 PUT per object
    """
    check_bounds(concurrency, max_bytes)

    def steps_of(item: Written) -> Steps[Head]:
        return operations.put_steps(connection, bucket_name, item.key, item.body, item.metadata, item.parameters or {})

    outcomes = run_many(
        connection,
        bucket_name,
        items,
        steps_of,
        is_ordered_by_key=True,
        concurrency=concurrency,
        max_bytes=max_bytes,
    )
    return ((item.key, outcome) for item, outcome in outcomes)


# -- deleting


def delete_many(
    connection: Connection, bucket_name: str, entries: Iterable[tuple[str, str | None]]
) -> Iterator[tuple[str, str | None, S3Error | None]]:
    """Delete many objects or versions.

    Args:
        connection: The way to the store.
        bucket_name: The bucket.
        entries: Keys and versions (None for the current one), any number, taken a thousand at a time.

    Returns:
        Each key and version, with None where it is gone, or with its error.

    Requests:
        1 per 1,000 keys; 1 per key where the store has no bulk delete
    """
    source = iter(entries)
    while page := [*islice(source, KEYS_PER_DELETE)]:
        outcome = _delete_page(connection, bucket_name, page)
        for entry in page:
            yield (*entry, outcome[entry])


def deleted(
    connection: Connection,
    bucket_name: str,
    entries: Iterable[tuple[str, str | None]],
    *,
    raise_errors: bool = True,
    progress: Progress = None,
) -> BatchResult:
    """Delete many objects or versions, and say what became of them.

    Raises:
        S3BatchError: Some failed, and ``raise_errors`` is set.

    Requests:
        1 per 1,000 keys; 1 per key where the store has no bulk delete
    """
    succeeded: list[str] = []
    failures: list[Failure] = []
    with reporting(progress, None, f"delete in {bucket_name}", unit="objects") as report:
        for key, version_id, error in watched(delete_many(connection, bucket_name, entries), report):
            if error is None:
                succeeded.append(key)
            else:
                failures.append(Failure(key, version_id, error))
    result = BatchResult(succeeded, failures)
    return result.raise_for_failures("DeleteObjects") if raise_errors else result


_Outcomes = dict[tuple[str, str | None], "S3Error | None"]


def _delete_page(connection: Connection, bucket_name: str, page: Sequence[tuple[str, str | None]]) -> _Outcomes:
    """Delete up to a thousand entries, those that the store asked to try again once more after a while."""
    outcomes: _Outcomes = {}
    left = [*dict.fromkeys(page)]
    for attempt in range(connection.config.max_attempts):
        if attempt:
            time.sleep(min(5.0, 0.1 * 2**attempt))
        outcomes.update(_delete_once(connection, bucket_name, left))
        left = [entry for entry in left if (error := outcomes[entry]) is not None and error.code in _RETRIED]
        if not left:
            break
    return outcomes


def _delete_once(connection: Connection, bucket_name: str, entries: Sequence[tuple[str, str | None]]) -> _Outcomes:
    plain = [entry for entry in entries if _is_safe_in_xml(entry[0])]
    outcomes: _Outcomes | None = None
    if (
        len(plain) > 1
        and connection.capabilities.bulk_delete != "single"
        and connection.facts.get(_BULK_DELETE) != "single"
    ):
        outcomes = _bulk_delete(connection, bucket_name, plain)
    outcomes = outcomes or {}
    # Whatever was not confirmed is deleted by itself; deleting twice does no harm.
    single = [entry for entry in entries if entry not in outcomes]
    outcomes.update(_delete_singly(connection, bucket_name, single))
    return outcomes


def _is_safe_in_xml(key: str) -> bool:
    """Return whether any XML parser hands this key on unchanged.

    Some stores (s3rver, for one) trim or collapse whitespace in the keys of a bulk delete: ``" a"`` would delete ``"a"``. XML itself turns
    CR into LF, and knows no control characters. Such keys are deleted one by one, where they travel percent-encoded.
    """
    return key.isprintable() and key == " ".join(key.split())


class _NothingDeleted(S3Error):
    """The store refuses the bulk delete as such."""


def _bulk_delete(
    connection: Connection, bucket_name: str, entries: Sequence[tuple[str, str | None]]
) -> _Outcomes | None:
    """Send one DeleteObjects: with Content-MD5, which nearly every store takes, else with boto3's checksum.

    Returns:
        What became of each entry; None where the store takes no bulk delete, and nothing was deleted.
    """
    named = [{"Key": key, **({"VersionId": version} if version else {})} for key, version in entries]
    deletion = {"Delete": {"Objects": named}}
    fallback = partial(_bulk_delete_by_boto3, connection, bucket_name, deletion)
    try:
        answer = exchange(connection, Request("DeleteObjects", bucket_name, parameters=deletion, fallback=fallback))
    except _NothingDeleted:
        return None
    except S3Error as error:
        return dict.fromkeys(entries, error)
    said = answer.parsed or {}
    outcomes: _Outcomes = {(one.get("Key", ""), one.get("VersionId") or None): None for one in said.get("Deleted", ())}
    for one in said.get("Errors", ()):
        outcomes[one.get("Key", ""), one.get("VersionId") or None] = _refusal(one, bucket_name)
    return outcomes


def _bulk_delete_by_boto3(connection: Connection, bucket_name: str, deletion: Mapping[str, Any]) -> Answer:
    known = connection.capabilities.bulk_delete or connection.facts.get(_BULK_DELETE)
    refusals: set[str] = set()
    for way in sorted(("md5", "checksum"), key=lambda way: way != known):
        call = connection.call if way == "checksum" else connection.call_with_md5
        try:
            answer = call("DeleteObjects", Bucket=bucket_name, **deletion)
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
    if refusals <= _NOT_THIS_WAY:  # any other refusal may be of these keys alone
        connection.facts[_BULK_DELETE] = "single"
    raise _NothingDeleted("the store refused the bulk delete in each form")


def _is_about_the_request(error: S3Error) -> bool:
    """Whether another request for the same may do; not where the store is away or busy, or refuses who asks, or what is asked for."""
    if error.retryable or error.code == "NoSuchBucket" or isinstance(error, S3AccessDenied | S3AuthenticationError):
        return False
    return error.status is not None and 400 <= error.status < 500


def _refusal(said: Mapping[str, Any], bucket_name: str) -> S3Error:
    error = {"Code": said.get("Code", ""), "Message": said.get("Message", "")}
    return from_answer({"Error": error}, "DeleteObjects", bucket_name, said.get("Key"))


def _delete_singly(connection: Connection, bucket_name: str, entries: Sequence[tuple[str, str | None]]) -> _Outcomes:
    def steps_of(entry: tuple[str, str | None]) -> Steps[None]:
        return operations.delete_steps(bucket_name, *entry)

    return dict(run_many(connection, bucket_name, entries, steps_of))


# -- the driver of many verbs


Item = TypeVar("Item")


_Verb = tuple[Any, Steps[Any] | None, Effect | None]
"""An item, its verb (begun; None of an item that is skipped), and what that has yielded; None where that is the request of which this is
the tag. (Naming it would be a circle of references, which would keep bodies in memory until the garbage collector runs.)
"""


def run_many(
    connection: Connection,
    bucket_name: str,
    items: Iterable[Item],
    steps_of: Callable[[Item], Steps[Any] | None],
    *,
    is_ordered_by_key: bool = False,
    concurrency: int = CONCURRENCY,
    max_bytes: int = MAX_BYTES,
) -> Generator[tuple[Item, Any], None, None]:
    """Run a verb for each of many items, many at once, and hand the outcomes over in order.

    With ``is_ordered_by_key`` a request is sent only after earlier ones with the same key are done. While one is under way, later ones are
    withheld from the lane. The lane hands over its requests in order, so that by the time a withheld one reaches a thread, an earlier one
    is done or on a thread itself, where it can be waited for.

    Args:
        connection: The connection.
        bucket_name: The bucket.
        items: The items, any number, taken as there is room.
        steps_of: Makes the verb of an item; None skips the item, whose outcome is None then. It is called again in a process that is
            forked meanwhile.
        is_ordered_by_key: Whether requests with the same key are sent one after the other.
        concurrency: How many requests are under way at once.
        max_bytes: How many bytes of bodies are held.

    Returns:
        Each item with the result of its verb, or with its error. Closing the iterator gives up what is under way.

    Requests:
        those of the verbs
    """
    workers = min(concurrency, connection.config.max_concurrency)
    # The lane and the threads both hold bodies: half of the memory for each.
    room = max(1, min(2 * workers, max_bytes // 2 // KEPT_BYTES))
    waiting: deque[tuple[Request, Any]] = deque()
    threads: ThreadPoolExecutor | None = None

    pid = os.getpid()
    under_way: dict[str, int] = {}  # how many requests with a key were taken and are not handed over yet
    last_on_thread: dict[str, Future[Any]] = {}  # of the keys in under_way

    def begun() -> Iterator[Request]:
        for item in items:
            steps = steps_of(item)
            effect = None if steps is None else next(steps)
            verb: _Verb
            if isinstance(effect, Request):
                request, verb = effect, (item, steps, None)
            else:
                request, verb = Request("", bucket_name, is_for_boto3=True), (item, steps, effect)
            request.tag = verb
            yield request

    def ordered(requests: Iterator[Request]) -> Iterator[Request]:
        for request in requests:
            count = under_way.get(request.key, 0)
            under_way[request.key] = count + 1
            if count:
                request.is_for_boto3 = True
            yield request

    def rest_of(request: Request) -> Any:
        """Run a verb that has been begun, its first request through boto3."""
        _, steps, effect = request.tag
        return drivers.resume(connection, steps, effect or request, first=ask_boto3)

    def go_on(steps: Steps[Any], effect: Effect) -> Any:
        """Run the rest of a verb from its second step on."""
        return drivers.resume(connection, steps, effect)

    def after(earlier: Future[Any], work: Callable[..., Any], *arguments: Any) -> Any:
        wait([earlier])  # the pool starts its tasks in order: the earlier one is running or done
        return work(*arguments)

    def outcome_here(function: Callable[[], Any]) -> Any:
        try:
            return function()
        except S3Error as error:
            return error

    def submitted(key: str, work: Callable[..., Any], *arguments: Any) -> Future[Any]:
        nonlocal threads
        if threads is None:
            threads = ThreadPoolExecutor(workers, thread_name_prefix="messageflux-s3")
        if not is_ordered_by_key:
            return threads.submit(work, *arguments)
        earlier = last_on_thread.get(key)
        task = threads.submit(work, *arguments) if earlier is None else threads.submit(after, earlier, work, *arguments)
        last_on_thread[key] = task
        return task

    def answered(request: Request, answer: Answer | S3Error) -> Any:
        """Return the outcome of a verb whose first request was answered; a future where it goes on."""
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
        if os.getpid() != pid:  # forked in the middle: the threads are the parent's
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
        done(request)
        return item, outcome

    def done(request: Request) -> None:
        if is_ordered_by_key:
            left = under_way[request.key] - 1
            if left:
                under_way[request.key] = left
            else:
                del under_way[request.key]
                last_on_thread.pop(request.key, None)

    requests = begun()
    # The lane opens once boto3 has succeeded in this bucket: the first requests see to that.
    for tries, request in enumerate(requests):
        if tries == _TRIES_TO_OPEN or request.tag[1] is None or lane_state(connection, bucket_name) != "opens":
            requests = chain([request], requests)
            break
        yield request.tag[0], outcome_here(partial(rest_of, request))
    if is_ordered_by_key:
        requests = ordered(requests)
    stream = exchange_many(
        connection, requests, concurrency=concurrency, max_bytes=max(1, max_bytes // 2), limit=KEPT_BYTES
    )
    try:
        for request, answer in stream:
            outcome = left_to_boto3(request) if answer is None else answered(request, answer)
            if not waiting and answer is not None and not isinstance(outcome, Future):
                done(request)
                yield request.tag[0], outcome
                continue
            waiting.append((request, outcome))
            while waiting and (len(waiting) > room or _is_ready(waiting[0][1])):
                yield settled(*waiting.popleft())
        while waiting:
            yield settled(*waiting.popleft())
    finally:
        stream.close()
        if threads is not None:
            threads.shutdown(wait=True, cancel_futures=True)


def _is_ready(outcome: Any) -> bool:
    return not isinstance(outcome, Future) or outcome.done()


def check_bounds(concurrency: int, max_bytes: int) -> None:
    """Raise TypeError or ValueError where the bounds of a batch make no sense."""
    for name, value in (("concurrency", concurrency), ("max_bytes", max_bytes)):
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} must be a whole number, not {type(value).__name__}")
        if value < 1:
            raise ValueError(f"{name} must be at least 1, it is {value}")
