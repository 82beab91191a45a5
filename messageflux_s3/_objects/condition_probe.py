"""Detection of whether a store honours conditions on writes, by racing writers on scratch keys.

A store may reject a condition, ignore it and overwrite, or honour it only without concurrent writers, which only a race can show. The probe
writes below ``.mfs3-probe/`` in the bucket concerned and always deletes its scratch objects.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

from .._client.addresses import BucketAddress
from .._client.capabilities import Condition
from .._client.context_threads import ContextThreadPool
from .._formats import etags
from ..errors import S3ConnectionError, S3Error, S3NoSuchItem, S3PreconditionFailed, S3Unsupported
from . import checksum
from .etag_conditions import in_condition, learn, learned
from .scratch import Scratch, scratch_objects
from .single_flight import single_flight
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
"""The name of a request and its condition."""

WRITERS = 8
"""The writers of a race. ``max_concurrency`` does not limit them: with fewer a store that honours conditions only in sequence may pass."""

ROUNDS = 8
_BEFORE, _AFTER = b"before", b"behind"
_Write = Callable[[bytes, dict[str, str]], Any]


def known(bucket: BucketAddress, ability: Ability) -> Condition:
    """Return how the store treats this condition: from the configured capabilities, a cached probe, or a probe made now.

    Args:
        bucket: The bucket to be written to.
        ability: The request and its condition.

    Requests:
        none on AWS; else 1 GET for each bucket, cached; and, unless the configuration has the capability, about 100 small requests, once
        for each store, ability and kind of bucket (with or without versioning)
    """
    connection = bucket.connection
    if connection.is_aws:
        return "honoured"
    versioned = is_versioned(bucket)
    # Except for PUT, capabilities were measured in a bucket without versioning, and do not apply to a bucket with versioning.
    field = f"{ability}_versioned" if versioned else ability
    answer: Condition | None = getattr(connection.config.capabilities, field, None)
    fact = f"condition:{ability}:{'versioned' if versioned else 'plain'}"
    if answer is None:
        answer = connection.facts.get(fact)
    if answer is None:
        answer = _race_once(bucket, ability, fact)
    return answer


def is_known_in_versioned(bucket: BucketAddress, ability: Ability) -> bool:
    """Return whether the store is known already to honour this condition in buckets with versioning. Requests: none."""
    connection = bucket.connection
    given: Condition | None = getattr(connection.config.capabilities, f"{ability}_versioned", None)
    return (given or connection.facts.get(f"condition:{ability}:versioned")) == "honoured"


def _race_once(bucket: BucketAddress, ability: Ability, fact: str) -> Condition:
    """Run one probe for all concurrent callers."""
    connection = bucket.connection
    with single_flight(connection, fact) as turn:
        answer: Condition | None = connection.facts.get(fact)
        if answer is None:
            answer = connection.facts[fact] = turn.ask(partial(race, bucket, ability))
            logger.info("%s: %s is %s", connection.endpoint_url, fact, answer)
        return answer


def require(bucket: BucketAddress, ability: Ability) -> None:
    """Raise an error unless the store honours this condition, even with concurrent writers.

    Raises:
        S3Unsupported: The store does not honour the condition. Only scratch objects were written, and they are deleted.

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
        "existing": "ignores it where there is no object, and would create one that was deleted meanwhile",
    }[answer]
    raise S3Unsupported(
        f"{request} with {condition} on s3://{bucket.name}: this store {what} ({ability} is {answer!r}). Nothing was written.",
        bucket=bucket.name,
    )


def race(bucket: BucketAddress, ability: Ability) -> Condition:
    """Probe the store with sequential writes, then with concurrent ones.

    Args:
        bucket: The bucket for the scratch objects.
        ability: The request and its condition.

    Returns:
        ``"honoured"``, ``"ignored"``, ``"refused"``, ``"sequential"`` (honoured in sequential writes, but not in concurrent ones), or
        ``"existing"`` (honoured where there is an object; where there is none, the write creates it).

    Raises:
        S3AccessDenied: Writing below ``.mfs3-probe/`` is not allowed.

    Requests:
        about 5 if the condition is ignored or refused, else about 100
    """
    with scratch_objects(bucket) as scratch:
        if ability == "delete_if_match":
            return _race_deletes(scratch)
        verdict = _in_sequence(scratch, ability)
        if verdict != "honoured":
            return verdict
        rounds = ROUNDS if ability.startswith("put") else ROUNDS // 2
        key = "" if ability.endswith("absent") else scratch.new_key()
        outcomes = _Outcomes()
        for _ in range(rounds):
            if not _round_holds(scratch, ability, key, outcomes):
                return "sequential"
        verdict = outcomes.verdict(rounds)
        return "existing" if verdict == "honoured" and _creates(scratch, ability) else verdict


class _Outcomes:
    """The writers of all rounds of a race. A race in which no writer can succeed cannot be lost, and shows nothing."""

    def __init__(self) -> None:
        self.won = 0
        self.failure: S3Error | None = None

    def add(self, attempts: Sequence[S3Error | None]) -> None:
        """Count a round as won if any attempt succeeded."""
        self.won += None in attempts
        no_verdicts = (error for error in attempts if error is not None and not isinstance(error, S3PreconditionFailed))
        self.failure = next(no_verdicts, self.failure)

    def verdict(self, rounds: int) -> Condition:
        """Return the verdict of a race that held in each round: honoured if there was a winner in half of them.

        Raises:
            S3Error: There were too few winners, since requests failed for another reason than the condition.
        """
        if 2 * self.won >= rounds:
            return "honoured"
        if self.failure is not None and self.failure.retryable:
            raise self.failure
        return "sequential"


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
    upload_id = scratch.begin_upload(key, **created)

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
    return {"IfMatch": in_condition(scratch.connection, etag)}


def _in_sequence(scratch: Scratch, ability: Ability) -> Condition:
    """Try one write that must fail, and one that must succeed, without concurrent writers."""
    key = scratch.new_key()
    # Both contents have the same length: after a refused copy LocalStack sends the headers of the old one, with the body of the new one.
    etag = scratch.put(key, _BEFORE)
    if not ability.endswith("absent") and etags.is_weak(etag):
        return "refused"
    must_fail = _condition(scratch, ability, "0" * 32)
    try:
        _writer(scratch, ability, key)(_AFTER, must_fail)
    except (S3PreconditionFailed, S3NoSuchItem):
        pass
    except S3Error as error:
        _raise_if_no_verdict(error)
        return "refused"
    if not _still_reads(scratch, key, _BEFORE):
        return "ignored"
    if ability.endswith("absent"):
        key = scratch.new_key()
        forms: list[bool | None] = [None]
    else:
        forms = [None, True, False]
    former, is_honoured = learned(scratch.connection), False
    try:
        for form in forms:
            if form is not None:
                learn(scratch.connection, form)
            try:
                _writer(scratch, ability, key)(_AFTER, _condition(scratch, ability, etag))
            except S3Error as error:
                _raise_if_no_verdict(error)
                continue
            is_honoured = scratch.read(key) == _AFTER
            break
    finally:
        if not is_honoured:  # a store that refuses this request in each form may honour other ones in the former form
            learn(scratch.connection, former)
    return "honoured" if is_honoured else "refused"


def _creates(scratch: Scratch, ability: Ability) -> bool:
    """Return whether a write whose condition names an ETag creates an object where there is none.

    MinIO before September 2025 compares the ETag only if there is an object: an update would bring back one that was deleted.
    """
    if ability.endswith("absent"):
        return False
    key = scratch.new_key()
    try:
        _writer(scratch, ability, key)(_AFTER, _condition(scratch, ability, "0" * 32))
    except S3Error as error:
        if not isinstance(error, S3PreconditionFailed | S3NoSuchItem):
            _raise_if_no_verdict(error)
    return scratch.read(key) is not None


def _still_reads(scratch: Scratch, key: str, body: bytes) -> bool:
    """Return whether an object still has its content after a write that the store refused.

    LocalStack overwrites the content before it answers a conditional copy with 412; after that, every GET is truncated.
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
    """Raise the error if it says nothing about the condition: access denied, no response, throttling."""
    if error.retryable or error.status in (401, 403) or error.code in ("NoSuchBucket", None):
        raise error


def _round_holds(scratch: Scratch, ability: Ability, key: str, outcomes: _Outcomes) -> bool:
    """Race several writers. Return whether at most one succeeded and, if one did, the object has that writer's content.

    Args:
        scratch: The scratch objects.
        ability: The request and its condition.
        key: The key, if the condition is an ETag; a condition that there is no object needs another key each time.
        outcomes: Where to count the round.
    """
    etag = scratch.put(key, secrets.token_bytes(16)) if key else ""
    key = key or scratch.new_key()
    condition = _condition(scratch, ability, etag)
    writers = WRITERS if ability.startswith("put") else WRITERS // 2
    writes = [_writer(scratch, ability, key) for _ in range(writers)]
    bodies = [secrets.token_bytes(16) for _ in writes]
    attempts = _at_once([partial(write, body, condition) for write, body in zip(writes, bodies, strict=True)])
    outcomes.add(attempts)
    winners = [body for body, error in zip(bodies, attempts, strict=True) if error is None]
    if len(winners) > 1:
        return False
    return not winners or scratch.read(key) == winners[0]


def _at_once(attempts: Sequence[Callable[[], Any]]) -> list[S3Error | None]:
    """Run the attempts concurrently; return for each None if it succeeded, else its error: refused, or its response was lost."""
    start = threading.Barrier(len(attempts))

    def run(attempt: Callable[[], Any]) -> S3Error | None:
        start.wait(60)
        try:
            attempt()
        except S3Error as error:
            return error
        return None

    with ContextThreadPool(len(attempts), "messageflux-s3-probe") as executor:
        try:
            return list(executor.map(run, attempts))
        except (
            BaseException
        ):  # an interrupt: MUST NOT leave threads at the barrier, which write when the objects are deleted
            start.abort()
            raise


def _race_deletes(scratch: Scratch) -> Condition:
    connection, bucket = scratch.connection, scratch.bucket_name
    key = scratch.new_key()
    etag = scratch.put(key, _BEFORE)
    if etags.is_weak(etag):
        return "refused"

    def delete(etag: str) -> None:
        connection.call("DeleteObject", Bucket=bucket, Key=key, IfMatch=in_condition(connection, etag))

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
    # Against conditional writes: at most one succeeds. A store that refuses them cannot lose this race, which then shows nothing.
    for _ in range(ROUNDS // 2):
        etag = scratch.put(key, secrets.token_bytes(16))
        condition = {"IfMatch": in_condition(connection, etag)}
        puts = [_writer(scratch, "put_if_match", key) for _ in range(WRITERS // 2)]
        attempts = _at_once(
            [*(partial(put, secrets.token_bytes(16), condition) for put in puts), partial(delete, etag)]
        )
        if attempts.count(None) > 1:
            return "sequential"
    # Against an unconditional write, which always succeeds: whichever comes first, the new object has to be there afterwards.
    outcomes = _Outcomes()
    for _ in range(ROUNDS):
        etag = scratch.put(key, secrets.token_bytes(16))
        body = secrets.token_bytes(16)
        attempts = _at_once([partial(scratch.put, key, body), *[partial(delete, etag)] * (WRITERS // 2)])
        outcomes.add(attempts[:1])
        if attempts[0] is None and scratch.read(key) != body:
            return "sequential"
    return outcomes.verdict(ROUNDS)
