"""Many objects at once: read, written, deleted, in order, in bounded memory, an error per key.

The requests go through the fast lane; what the lane leaves goes through boto3 on a few threads, which are gone when the work
is. This room knows a connection, a bucket's name and keys. What fails for one key is a value here, not an exception: the caller
decides whether to raise.
"""

from __future__ import annotations

import os
import time
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from hashlib import md5
from itertools import chain, islice
from typing import Any, NamedTuple
from xml.etree import ElementTree

from .._client.connection import Connection
from .._client.translate import from_answer
from .._formats import metadata as user_metadata
from .._formats import render
from .._formats.documents import keep_carriage_returns
from .._formats.head import Head
from .._http.lane import LaneRequest, LaneResponse
from .._objects import operations, put_parameters, ranged_reader
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

    def request_of(one: Wanted) -> LaneRequest:
        if not one.is_read:
            return LaneRequest("GET", "", tag=one)  # to no bucket: not for the lane
        return LaneRequest("GET", bucket_name, one.key, operations.version_query(one.version_id), tag=one)

    def from_lane(request: LaneRequest, response: LaneResponse) -> tuple[Head, bytes | None]:
        if response.status == 404:
            raise operations.lane_error(response, "GetObject", bucket_name, request.key)
        found, body = operations.head_and_body(response)
        ranged_reader.check_version(connection, found, bucket_name, request.key, request.tag.version_id)
        return found, body

    def from_boto3(request: LaneRequest) -> tuple[Head, bytes | None]:
        one: Wanted = request.tag
        found, stream = ranged_reader.get_stream(connection, bucket_name, one.key, version_id=one.version_id)
        with stream:
            return ranged_reader.read_up_to(KEPT_BYTES, found, stream)

    outcomes = send_many(
        connection,
        bucket_name,
        map(request_of, wanted),
        from_lane,
        from_boto3,
        is_skipped=lambda request: not request.tag.is_read,
        concurrency=concurrency,
        max_bytes=max_bytes,
    )
    return ((request.tag.tag, outcome) for request, outcome in outcomes)


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

    def request_of(item: Written) -> LaneRequest:
        encoded = user_metadata.encode(item.metadata)
        parameters = put_parameters.s3_parameters(item.key, item.parameters or {})
        request = operations.put_request(bucket_name, item.key, item.body, encoded, parameters)
        if request is None:
            request = LaneRequest("PUT", "", item.key, body=item.body)
        request.tag = (encoded, parameters)
        return request

    def from_lane(request: LaneRequest, response: LaneResponse) -> Head:
        made = operations.head_of_put(connection, response, request, request.tag[0])
        return made if made is not None else from_boto3(request)

    def from_boto3(request: LaneRequest) -> Head:
        return operations.put_through_boto3(connection, bucket_name, request.key, request.body, *request.tag)

    outcomes = send_many(
        connection,
        bucket_name,
        map(request_of, items),
        from_lane,
        from_boto3,
        is_ordered_by_key=True,
        concurrency=concurrency,
        max_bytes=max_bytes,
    )
    return ((request.key, outcome) for request, outcome in outcomes)


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
        and connection.recall(_BULK_DELETE) != "single"
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


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _bulk_delete(
    connection: Connection, bucket_name: str, entries: Sequence[tuple[str, str | None]]
) -> _Outcomes | None:
    """One DeleteObjects: with Content-MD5, which nearly every store takes, else with boto3's checksum. None: as yet nothing is deleted."""
    objects = "".join(
        f"<Object><Key>{_escaped(key)}</Key>{f'<VersionId>{_escaped(version)}</VersionId>' if version else ''}</Object>"
        for key, version in entries
    )
    body = f'<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{objects}</Delete>'.encode()
    headers = {
        "content-md5": b64encode(md5(body, usedforsecurity=False).digest()).decode("ascii"),
        "content-type": "application/xml",
    }
    answered = connection.lane.send(LaneRequest("POST", bucket_name, "", "delete=", headers, body))
    if answered is not None and answered.status == 200:
        found = _deletions(answered.body, bucket_name)
        if found is not None:
            return found
    named = [{"Key": key, **({"VersionId": version} if version else {})} for key, version in entries]
    known = connection.capabilities.bulk_delete or connection.recall(_BULK_DELETE)
    refusals: set[str] = set()
    for way in sorted(("md5", "checksum"), key=lambda way: way != known):
        call = connection.call if way == "checksum" else connection.call_with_md5
        try:
            answer = call("DeleteObjects", Bucket=bucket_name, Delete={"Objects": named})
        except S3Error as error:
            if error.code in _NO_BULK_DELETE:
                connection.remember(_BULK_DELETE, "single")
                return None
            if not _is_about_the_request(error):
                return dict.fromkeys(entries, error)
            refusals.add(error.code or "")
        else:
            connection.remember(_BULK_DELETE, way)
            break
    else:
        if refusals <= _NOT_THIS_WAY:  # any other refusal may be of these keys alone
            connection.remember(_BULK_DELETE, "single")
        return None
    outcomes: _Outcomes = {(one["Key"], one.get("VersionId")): None for one in answer.get("Deleted", ())}
    for one in answer.get("Errors", ()):
        outcomes[one["Key"], one.get("VersionId")] = _refusal(one, bucket_name)
    return outcomes


def _is_about_the_request(error: S3Error) -> bool:
    """Whether another request for the same may do; not where the store is away or busy, or refuses who asks, or what is asked for."""
    if error.retryable or error.code == "NoSuchBucket" or isinstance(error, S3AccessDenied | S3AuthenticationError):
        return False
    return error.status is not None and 400 <= error.status < 500


def _deletions(body: bytes, bucket_name: str) -> _Outcomes | None:
    """What the answer to DeleteObjects confirms and refuses; None where it is no such answer."""
    if b"<!" in body or b"\0" in body:  # NUL: in UTF-16 the other would not be seen
        return None
    try:
        body = keep_carriage_returns(body)
        root = ElementTree.fromstring(body)  # nosec B314  # without a document type nothing in it can expand
    except (ElementTree.ParseError, LookupError, ValueError):  # the latter two: an encoding that Python does not know
        return None
    space = root.tag.rpartition("DeleteResult")[0]
    if root.tag != f"{space}DeleteResult":
        return None
    outcomes: _Outcomes = {}
    for element in root:
        said = {child.tag.removeprefix(space): child.text or "" for child in element}
        entry = (said.get("Key", ""), said.get("VersionId") or None)
        outcomes[entry] = _refusal(said, bucket_name) if element.tag == f"{space}Error" else None
    return outcomes


def _refusal(said: Mapping[str, Any], bucket_name: str) -> S3Error:
    error = {"Code": said.get("Code", ""), "Message": said.get("Message", "")}
    return from_answer({"Error": error}, "DeleteObjects", bucket_name, said.get("Key"))


def _delete_singly(connection: Connection, bucket_name: str, entries: Sequence[tuple[str, str | None]]) -> _Outcomes:
    requests = (
        LaneRequest("DELETE", bucket_name, key, operations.version_query(version), tag=(key, version))
        for key, version in entries
    )

    def from_lane(request: LaneRequest, response: LaneResponse) -> None:
        if response.status == 404 and b"NoSuchBucket" in response.body:
            raise operations.lane_error(response, "DeleteObject", bucket_name, request.key)

    def from_boto3(request: LaneRequest) -> None:
        key, version = request.tag
        parameters = {"VersionId": version} if version else {}
        connection.call("DeleteObject", Bucket=bucket_name, Key=key, **parameters)

    found = send_many(connection, bucket_name, requests, from_lane, from_boto3)
    return {request.tag: outcome for request, outcome in found}


# -- the engine


def send_many(
    connection: Connection,
    bucket_name: str,
    requests: Iterator[LaneRequest],
    from_lane: Callable[[LaneRequest, LaneResponse], Any],
    from_boto3: Callable[[LaneRequest], Any],
    *,
    is_skipped: Callable[[LaneRequest], bool] = lambda _: False,
    is_ordered_by_key: bool = False,
    concurrency: int = CONCURRENCY,
    max_bytes: int = MAX_BYTES,
) -> Generator[tuple[LaneRequest, Any], None, None]:
    """Send requests through the lane, and what it leaves through boto3 on threads; hand the outcomes over in order.

    A request to no bucket is not for the lane.

    With ``is_ordered_by_key`` a request is sent only after earlier ones with the same key are done. While one is under way, later ones are
    withheld from the lane. The lane hands over its requests in order, so that by the time a withheld one reaches a thread, an earlier one
    is done or on a thread itself, where it can be waited for.
    """
    lane = connection.lane
    workers = min(concurrency, connection.config.max_concurrency)
    # Both ways hold bodies: half of the memory for each.
    room = max(1, min(2 * workers, max_bytes // 2 // KEPT_BYTES))
    waiting: deque[tuple[LaneRequest, Any]] = deque()
    threads: ThreadPoolExecutor | None = None

    pid = os.getpid()
    under_way: dict[str, int] = {}  # how many requests with a key were taken and are not handed over yet
    last_on_thread: dict[str, Future[Any]] = {}  # of the keys in under_way

    def ordered(requests: Iterator[LaneRequest]) -> Iterator[LaneRequest]:
        for request in requests:
            count = under_way.get(request.key, 0)
            under_way[request.key] = count + 1
            if count:
                request.bucket = ""
            yield request

    def asked(request: LaneRequest) -> Any:
        try:
            return from_boto3(request)
        except S3Error as error:
            return error

    def asked_after(earlier: Future[Any], request: LaneRequest) -> Any:
        wait([earlier])  # the pool starts its tasks in order: the earlier one is running or done
        return from_boto3(request)

    def submitted(request: LaneRequest, pool: ThreadPoolExecutor) -> Future[Any]:
        if not is_ordered_by_key:
            return pool.submit(from_boto3, request)
        earlier = last_on_thread.get(request.key)
        task = pool.submit(from_boto3, request) if earlier is None else pool.submit(asked_after, earlier, request)
        last_on_thread[request.key] = task
        return task

    def settled(request: LaneRequest, outcome: Any) -> tuple[LaneRequest, Any]:
        result = outcome_of(request, outcome)
        done(request)
        return result

    def done(request: LaneRequest) -> None:
        if is_ordered_by_key:
            left = under_way[request.key] - 1
            if left:
                under_way[request.key] = left
            else:
                del under_way[request.key]
                last_on_thread.pop(request.key, None)

    def outcome_of(request: LaneRequest, outcome: Any) -> tuple[LaneRequest, Any]:
        if not isinstance(outcome, Future):
            return request, outcome
        if os.getpid() != pid and not outcome.done():
            return request, asked(request)
        try:
            return request, outcome.result()
        except S3Error as error:
            return request, error

    # The lane opens once boto3 has succeeded in this bucket: the first requests see to that.
    for tries, request in enumerate(requests):
        if (
            tries == _TRIES_TO_OPEN
            or lane.is_open_for(bucket_name)
            or not lane.eligibility.can_open()
            or is_skipped(request)
        ):
            requests = chain([request], requests)
            break
        yield request, asked(request)
    if is_ordered_by_key:
        requests = ordered(requests)
    stream = lane.stream(requests, concurrency=concurrency, max_bytes=max(1, max_bytes // 2), body_limit=KEPT_BYTES)
    try:
        for request, response in stream:
            if response is not None:
                try:
                    outcome: Any = from_lane(request, response)
                except S3Error as error:
                    outcome = error
                if not waiting:
                    done(request)
                    yield request, outcome
                    continue
                waiting.append((request, outcome))
            elif is_skipped(request):
                waiting.append((request, None))
            elif os.getpid() != pid:  # forked in the middle: the threads are the parent's
                waiting.append((request, Future() if request.key in last_on_thread else asked(request)))
            else:
                if threads is None:
                    threads = ThreadPoolExecutor(workers, thread_name_prefix="messageflux-s3")
                waiting.append((request, submitted(request, threads)))
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
