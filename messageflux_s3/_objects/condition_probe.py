"""Detection of whether a store honours conditions on writes, by racing writers on scratch keys.

A store may reject a condition, ignore it and overwrite, or honour it only without concurrent writers, which only a race can show. The probe
writes below ``.mfs3-probe/`` in the bucket concerned and always deletes its scratch objects.
"""

from __future__ import annotations

import copy
import logging
import os
import secrets
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Literal

from .._client.addresses import BucketAddress
from .._client.capabilities import Condition
from .._client.connection import Connection
from .._formats import etags
from ..errors import S3ConnectionError, S3Error, S3NoSuchItem, S3PreconditionFailed, S3Unsupported
from . import checksum
from .scratch import Scratch, scratch_objects
from .versioned import is_versioned

logger = logging.getLogger("messageflux_s3")

Ability = Literal[
    "put_if_absent",
    "put_if_match",
    "multipart_if_absent",
    "multipart_if_match",
    "copy_if_absent",
    "copy_if_match",
    "delete_if_match",
]
"""A request and the condition on it."""

WRITERS = 8
ROUNDS = 8
_QUOTING = "if_match_quoted"
_Write = Callable[[bytes, dict[str, str]], Any]


class _SingleFlight:
    """Lets concurrent callers share one probe: one runs it, the others wait and get its result or its error."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.failure: tuple[float, S3Error] | None = None  # time and error of the last failed probe


_flights: weakref.WeakKeyDictionary[Connection, dict[str, _SingleFlight]] = weakref.WeakKeyDictionary()
_flights_lock = threading.Lock()


def _reset_after_fork() -> None:
    global _flights, _flights_lock
    # The parent's locks may be held by threads that the child does not have.
    _flights, _flights_lock = weakref.WeakKeyDictionary(), threading.Lock()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no forks
    os.register_at_fork(after_in_child=_reset_after_fork)


def known(bucket: BucketAddress, ability: Ability) -> Condition:
    """Return how the store treats this condition: from the configured capabilities, a cached probe, or a probe made now.

    Args:
        bucket: The bucket to be written to.
        ability: The request and its condition.

    Requests:
        none on AWS; else 1 GET for each bucket, cached; and, unless the configuration has the capability, about 150 small requests, once
        for each store, ability and kind of bucket (with or without versioning)
    """
    connection = bucket.connection
    if connection.is_aws:
        return "honoured"
    versioned = is_versioned(bucket)
    # Capabilities other than PUT were measured in a bucket without versioning, and do not apply to one with versioning.
    field = f"{ability}_versioned" if versioned else ability
    answer: Condition | None = getattr(connection.config.capabilities, field, None)
    fact = f"condition:{ability}:{'versioned' if versioned else 'plain'}"
    if answer is None:
        answer = connection.facts.get(fact)
    if answer is None:
        answer = _race_once(bucket, ability, fact)
    return answer


def _race_once(bucket: BucketAddress, ability: Ability, fact: str) -> Condition:
    """Run one probe for all concurrent callers, which share its result or its error (single-flight)."""
    connection = bucket.connection
    with _flights_lock:
        flight = _flights.setdefault(connection, {}).setdefault(fact, _SingleFlight())
    arrived = time.monotonic()
    with flight.lock:
        answer: Condition | None = connection.facts.get(fact)
        if answer is None:
            if flight.failure is not None and flight.failure[0] >= arrived:
                failure = flight.failure[1]  # otherwise the callers would wait for one time-out each, in sequence
                raise copy.copy(failure) from failure
            try:
                answer = race(bucket, ability)
            except S3Error as error:
                flight.failure = time.monotonic(), error
                raise
            connection.facts[fact] = answer
            logger.info("%s: %s is %s", connection.endpoint_url, fact, answer)
        return answer


def require(bucket: BucketAddress, ability: Ability) -> None:
    """Raise unless the store honours this condition, also with concurrent writers.

    Raises:
        S3Unsupported: It does not. Nothing was written but scratch objects, which are deleted.

    Requests:
        those of :func:`known`
    """
    answer = known(bucket, ability)
    if answer == "honoured":
        return
    request, _, condition = ability.partition("_")
    what = {
        "ignored": "ignores it, and would overwrite",
        "refused": "rejects it",
        "sequential": "honours it only without concurrent writers: of several racing writers more than one succeeded",
    }[answer]
    raise S3Unsupported(
        f"{request} with {condition} on s3://{bucket.name}: this store {what} ({ability} is {answer!r}). Nothing was written.",
        bucket=bucket.name,
    )


def quoted(connection: Connection, etag: str) -> str:
    """Return an etag in the form that this store accepts in If-Match: AWS accepts both forms, radosgw only the unquoted one."""
    bare = etags.opaque(etag)
    learned = connection.facts.get(_QUOTING)
    with_quotes = learned if learned is not None else connection.preset in ("aws", "r2", "gcs")
    return f'"{bare}"' if with_quotes else bare


def race(bucket: BucketAddress, ability: Ability) -> Condition:
    """Probe the store with sequential writes, then with concurrent ones.

    Args:
        bucket: The bucket for the scratch objects.
        ability: The request and its condition.

    Returns:
        ``"honoured"``, ``"ignored"``, ``"refused"``, or ``"sequential"``: honoured in sequential writes, not in concurrent ones.

    Raises:
        S3AccessDenied: Writing below ``.mfs3-probe/`` is not allowed.

    Requests:
        about 5 if the condition is ignored or refused, else about 150
    """
    with scratch_objects(bucket) as scratch:
        if ability == "delete_if_match":
            return _race_deletes(scratch)
        verdict = _in_sequence(scratch, ability)
        if verdict != "honoured":
            return verdict
        rounds = ROUNDS if ability.startswith("put") else ROUNDS // 2
        return "honoured" if all(_round_holds(scratch, ability) for _ in range(rounds)) else "sequential"


def _writer(scratch: Scratch, ability: Ability, key: str) -> _Write:
    """Prepare the request under test; return a function that sends it with a body and a condition."""
    connection = scratch.connection
    where = {"Bucket": scratch.bucket_name, "Key": key}
    if ability.startswith("put"):
        return lambda body, condition: connection.call("PutObject", **where, Body=body, **condition)
    if ability.startswith("copy"):
        source = scratch.new_key()

        def copy(body: bytes, condition: dict[str, str]) -> Any:
            scratch.put(source, body)
            return connection.call("CopyObject", **where, CopySource={**where, "Key": source}, **condition)

        return copy
    algorithm = checksum.algorithm_of_parts(connection, {})
    created = {} if algorithm is None else {"ChecksumAlgorithm": algorithm}
    upload_id = str(connection.call("CreateMultipartUpload", **where, **created)["UploadId"])
    scratch.add_upload(key, upload_id)

    def complete(body: bytes, condition: dict[str, str]) -> Any:
        part = connection.call("UploadPart", **where, UploadId=upload_id, PartNumber=1, Body=body)
        return connection.call(
            "CompleteMultipartUpload",
            **where,
            UploadId=upload_id,
            MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"], **checksum.of_part(algorithm, part)}]},
            **condition,
        )

    return complete


def _condition(scratch: Scratch, ability: Ability, etag: str) -> dict[str, str]:
    if ability.endswith("absent"):
        return {"IfNoneMatch": "*"}
    return {"IfMatch": quoted(scratch.connection, etag)}


def _in_sequence(scratch: Scratch, ability: Ability) -> Condition:
    """Try one write that must fail and one that must succeed, without concurrent writers."""
    key = scratch.new_key()
    etag = scratch.put(key, b"before")
    if not ability.endswith("absent") and etags.is_weak(etag):
        return "refused"
    must_fail = _condition(scratch, ability, "0" * 32)
    try:
        _writer(scratch, ability, key)(b"after", must_fail)
    except (S3PreconditionFailed, S3NoSuchItem):
        pass
    except S3Error as error:
        _raise_if_no_verdict(error)
        return "refused"
    if not _still_reads(scratch, key, b"before"):
        return "ignored"
    if ability.endswith("absent"):
        key = scratch.new_key()
        forms: list[bool | None] = [None]
    else:
        forms = [None, True, False]
    for form in forms:
        if form is not None:
            scratch.connection.facts[_QUOTING] = form
        try:
            _writer(scratch, ability, key)(b"after", _condition(scratch, ability, etag))
        except S3Error as error:
            _raise_if_no_verdict(error)
            continue
        return "honoured" if scratch.read(key) == b"after" else "refused"
    return "refused"


def _still_reads(scratch: Scratch, key: str, body: bytes) -> bool:
    """Return whether an object still has its content after a write that the store refused.

    LocalStack answers a conditional copy with 412 after it has overwritten the content; each GET is then truncated.
    """
    try:
        return scratch.read(key) == body
    except S3ConnectionError:
        scratch.etag(key)  # raises if the store cannot be reached at all
    try:
        return scratch.read(key) == body
    except S3ConnectionError:
        return False


def _raise_if_no_verdict(error: S3Error) -> None:
    """Raise the error if the condition did not cause it: access denied, no response, throttling."""
    if error.retryable or error.status in (401, 403) or error.code in ("NoSuchBucket", None):
        raise error


def _round_holds(scratch: Scratch, ability: Ability) -> bool:
    """Race several writers. Return whether at most one succeeded and, if one did, the object has that writer's content."""
    key = scratch.new_key()
    etag = "" if ability.endswith("absent") else scratch.put(key, b"before")
    condition = _condition(scratch, ability, etag)
    writers = WRITERS if ability.startswith("put") else WRITERS // 2
    writes = [_writer(scratch, ability, key) for _ in range(writers)]
    bodies = [secrets.token_bytes(16) for _ in writes]
    won = _at_once([partial(write, body, condition) for write, body in zip(writes, bodies, strict=True)])
    winners = [body for body, has_won in zip(bodies, won, strict=True) if has_won]
    if len(winners) > 1:
        return False
    return not winners or scratch.read(key) == winners[0]


def _at_once(attempts: Sequence[Callable[[], Any]]) -> list[bool]:
    """Run the attempts concurrently; return for each whether it succeeded."""
    start = threading.Barrier(len(attempts))

    def run(attempt: Callable[[], Any]) -> bool:
        start.wait(60)
        try:
            attempt()
        except S3Error:
            return False  # refused, or its response was lost
        return True

    with ThreadPoolExecutor(len(attempts), "messageflux-s3-probe") as executor:
        return list(executor.map(run, attempts))


def _race_deletes(scratch: Scratch) -> Condition:
    connection, bucket = scratch.connection, scratch.bucket_name
    key = scratch.new_key()
    etag = scratch.put(key, b"before")
    if etags.is_weak(etag):
        return "refused"

    def delete(etag: str) -> None:
        connection.call("DeleteObject", Bucket=bucket, Key=key, IfMatch=quoted(connection, etag))

    try:
        delete("0" * 32)
    except S3PreconditionFailed:
        pass
    except S3Error as error:
        _raise_if_no_verdict(error)
        return "refused"
    if scratch.read(key) is None:
        return "ignored"
    try:
        delete(etag)
    except S3Error as error:
        _raise_if_no_verdict(error)
        return "refused"
    if scratch.read(key) is not None:
        return "refused"
    for _ in range(ROUNDS // 2):
        etag = scratch.put(key, secrets.token_bytes(16))
        condition = {"IfMatch": quoted(connection, etag)}
        puts = [_writer(scratch, "put_if_match", key) for _ in range(WRITERS // 2)]
        won = _at_once([*(partial(put, secrets.token_bytes(16), condition) for put in puts), partial(delete, etag)])
        if sum(won) > 1:
            return "sequential"
    return "honoured"
