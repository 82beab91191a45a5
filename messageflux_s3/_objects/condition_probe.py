"""Whether a store honours a condition on a write, learned by racing writers on scratch keys.

A store may answer a condition with an error, ignore it and overwrite, or honour it only while nobody else writes. The last is found by a
race alone. This room knows a connection and a bucket's name. It writes below ``.mfs3-probe/`` in that very bucket and removes what it
wrote, whatever happens.
"""

from __future__ import annotations

import copy
import logging
import os
import secrets
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

from .._client.capabilities import Condition
from .._client.connection import Connection
from .._formats import etags
from ..errors import S3ConnectionError, S3Error, S3NoSuchItem, S3PreconditionFailed, S3Unsupported
from . import checksum

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

PREFIX = checksum.SCRATCH_PREFIX

WRITERS = 8
ROUNDS = 8
_PLAIN_FOR_S = 10.0
_QUOTING = "if_match_quoted"
_Write = Callable[[bytes, dict[str, str]], Any]


class _Turn:
    """Of those that would ask a store the same at the same time one asks, and what it meets all have met."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.failure: tuple[float, S3Error] | None = None  # when, and what


_turns: weakref.WeakKeyDictionary[Connection, dict[str, _Turn]] = weakref.WeakKeyDictionary()
_turns_lock = threading.Lock()


def _begin_anew_in_child() -> None:
    global _turns, _turns_lock
    # The parent's may have been taken by a thread that the child does not have.
    _turns, _turns_lock = weakref.WeakKeyDictionary(), threading.Lock()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no forks
    os.register_at_fork(after_in_child=_begin_anew_in_child)


def known(connection: Connection, bucket_name: str, ability: Ability) -> Condition:
    """How the store treats this condition in this kind of bucket: trusted (AWS), told, remembered, or else probed now.

    Args:
        connection: The way to the store.
        bucket_name: The bucket that is to be written to.
        ability: The request and its condition.

    Requests:
        none on AWS, or where the configuration's capabilities say; else 1 GET for each bucket, remembered; and about 150 small ones, once
        for the store, the ability and the kind of bucket
    """
    if connection.is_aws:
        return "honoured"
    versioned = is_versioned(connection, bucket_name)
    # What was told of other abilities than PUT was learned in a bucket without versions, and says nothing of one with them.
    field = f"{ability}_versioned" if versioned else ability
    answer: Condition | None = getattr(connection.config.capabilities, field, None)
    fact = f"condition:{ability}:{'versioned' if versioned else 'plain'}"
    if answer is None:
        answer = connection.recall(fact)
    if answer is None:
        answer = _ask_in_turn(connection, bucket_name, ability, fact)
    return answer


def _ask_in_turn(connection: Connection, bucket_name: str, ability: Ability, fact: str) -> Condition:
    """A pool's first writes come all at once: one of them asks, the others wait for its answer, or its failure."""
    with _turns_lock:
        turn = _turns.setdefault(connection, {}).setdefault(fact, _Turn())
    arrived = time.monotonic()
    with turn.lock:
        answer: Condition | None = connection.recall(fact)
        if answer is None:
            if turn.failure is not None and turn.failure[0] >= arrived:
                raise copy.copy(turn.failure[1]) from turn.failure[
                    1
                ]  # else each would wait for a time-out of its own, in a row
            try:
                answer = race(connection, bucket_name, ability)
            except S3Error as error:
                turn.failure = time.monotonic(), error
                raise
            connection.remember(fact, answer)
            logger.info("%s: %s is %s", connection.endpoint_url, fact, answer)
        return answer


def require(connection: Connection, bucket_name: str, ability: Ability) -> None:
    """Go on only where the store honours this condition, also in a race.

    Raises:
        S3Unsupported: It does not. Nothing was written but scratch objects, and those are gone.

    Requests:
        those of :func:`known`
    """
    answer = known(connection, bucket_name, ability)
    if answer == "honoured":
        return
    request, _, condition = ability.partition("_")
    what = {
        "ignored": "ignores it, and would overwrite",
        "refused": "refuses it",
        "sequential": "honours it only while nobody else writes: of racing writers more than one was told that it had won",
    }[answer]
    raise S3Unsupported(
        f"{request} with {condition} on s3://{bucket_name}: this store {what} ({ability} is {answer!r}). Nothing was written.",
        bucket=bucket_name,
    )


def is_versioned(connection: Connection, bucket_name: str) -> bool:
    """Whether the bucket keeps versions, asked anew from time to time as long as it does not: somebody else may switch them on.

    Requests:
        1 GET, remembered: for good where it keeps versions, else for a few seconds
    """
    fact = f"versioned:{bucket_name}"
    learned: tuple[bool, float] | None = connection.recall(fact)
    if learned is None or not (learned[0] or time.monotonic() - learned[1] < _PLAIN_FOR_S):
        learned = (keeps_versions(connection, bucket_name), time.monotonic())
        connection.remember(fact, learned)
    return learned[0]


def keeps_versions(connection: Connection, bucket_name: str) -> bool:
    """Whether the bucket has or had versioning; a store that does not know ``?versioning`` has not.

    Requests:
        1
    """
    try:
        answer, root = connection.call_with_root("GetBucketVersioning", Bucket=bucket_name)
    except S3Unsupported:
        return False
    return root in ("VersioningConfiguration", "GetBucketVersioningResponse") and bool(answer.get("Status"))


def quoted(connection: Connection, etag: str) -> str:
    """An etag as this store wants it in ``If-Match``: AWS takes it both ways, radosgw without quotes only."""
    bare = etags.opaque(etag)
    learned = connection.recall(_QUOTING)
    with_quotes = learned if learned is not None else connection.preset in ("aws", "r2", "gcs")
    return f'"{bare}"' if with_quotes else bare


def race(connection: Connection, bucket_name: str, ability: Ability) -> Condition:
    """Ask the store itself: first one write after the other, then many at once.

    Args:
        connection: The way to the store.
        bucket_name: The bucket in which the scratch objects are written.
        ability: The request and its condition.

    Returns:
        ``"honoured"``, ``"ignored"``, ``"refused"``, or ``"sequential"``: honoured one after the other, not in the race.

    Raises:
        S3AccessDenied: Writing below ``.mfs3-probe/`` is not allowed.

    Requests:
        about 5 where the condition is ignored or refused, else about 150
    """
    with _scratch(connection, bucket_name) as scratch:
        if ability == "delete_if_match":
            return _race_deletes(scratch)
        verdict = _in_sequence(scratch, ability)
        if verdict != "honoured":
            return verdict
        rounds = ROUNDS if ability.startswith("put") else ROUNDS // 2
        return "honoured" if all(_round_holds(scratch, ability) for _ in range(rounds)) else "sequential"


_SMALL_BODY_TIMEOUT = 10.0
"""Seconds to wait for a body of a few bytes after its headers. LocalStack announces more bytes than it sends after a copy it refused."""


class _Scratch:
    """A prefix of our own, and the few requests a probe makes there."""

    def __init__(self, connection: Connection, bucket_name: str) -> None:
        self.connection = connection
        self.bucket_name = bucket_name
        self.prefix = f"{PREFIX}{secrets.token_hex(8)}/"
        self.keys: set[str] = set()
        self.uploads: set[tuple[str, str]] = set()
        self.keeps_versions = is_versioned(
            connection, bucket_name
        )  # asked before anything is written: cleaning must not depend on it
        self._mutex = threading.Lock()

    def new_key(self) -> str:
        with self._mutex:
            key = f"{self.prefix}{len(self.keys)}"
            self.keys.add(key)
        return key

    def put(self, key: str, body: bytes, **condition: str) -> str:
        answer = self.connection.call("PutObject", Bucket=self.bucket_name, Key=key, Body=body, **condition)
        return etags.unquoted(answer.get("ETag")) or self.etag(key)

    def etag(self, key: str) -> str:
        return etags.unquoted(self.connection.call("HeadObject", Bucket=self.bucket_name, Key=key).get("ETag")) or ""

    def read(self, key: str) -> bytes | None:
        try:
            answer = self.connection.call("GetObject", Bucket=self.bucket_name, Key=key)
        except S3NoSuchItem:
            return None
        with self.connection.translating("GetObject", self.bucket_name, key):
            if answer["ContentLength"]:
                answer["Body"].set_socket_timeout(min(_SMALL_BODY_TIMEOUT, self.connection.config.read_timeout))
            body: bytes = answer["Body"].read()
        answer["Body"].close()
        return body

    def writer(self, ability: Ability, key: str) -> _Write:
        """A function that makes the request under test: with a body and a condition. What needs preparing is prepared here."""
        where = {"Bucket": self.bucket_name, "Key": key}
        if ability.startswith("put"):
            return lambda body, condition: self.connection.call("PutObject", **where, Body=body, **condition)
        if ability.startswith("copy"):
            source = self.new_key()

            def copy(body: bytes, condition: dict[str, str]) -> Any:
                self.put(source, body)
                return self.connection.call("CopyObject", **where, CopySource={**where, "Key": source}, **condition)

            return copy
        algorithm = checksum.algorithm_of_parts(self.connection, {})
        created = {} if algorithm is None else {"ChecksumAlgorithm": algorithm}
        upload_id = str(self.connection.call("CreateMultipartUpload", **where, **created)["UploadId"])
        with self._mutex:
            self.uploads.add((key, upload_id))

        def complete(body: bytes, condition: dict[str, str]) -> Any:
            part = self.connection.call("UploadPart", **where, UploadId=upload_id, PartNumber=1, Body=body)
            return self.connection.call(
                "CompleteMultipartUpload",
                **where,
                UploadId=upload_id,
                MultipartUpload={
                    "Parts": [{"PartNumber": 1, "ETag": part["ETag"], **checksum.of_part(algorithm, part)}]
                },
                **condition,
            )

        return complete


@contextmanager
def _scratch(connection: Connection, bucket_name: str) -> Iterator[_Scratch]:
    scratch = _Scratch(connection, bucket_name)
    try:
        yield scratch
    finally:
        try:
            _clean(scratch)
        except S3Error as error:
            logger.warning("scratch objects may be left at s3://%s/%s", bucket_name, scratch.prefix, exc_info=error)


def _clean(scratch: _Scratch) -> None:
    """Remove every scratch object with its versions; the writers are all done when this runs."""
    connection, bucket = scratch.connection, scratch.bucket_name
    for key, upload_id in scratch.uploads:
        try:
            connection.call("AbortMultipartUpload", Bucket=bucket, Key=key, UploadId=upload_id)
        except S3Error:
            continue  # completed: there is nothing to abort any more
    entries: list[dict[str, str]] = [{"Key": key} for key in sorted(scratch.keys)]
    if scratch.keeps_versions:
        parameters: dict[str, Any] = {"Bucket": bucket, "Prefix": scratch.prefix}
        entries = []
        while True:
            page = connection.call("ListObjectVersions", **parameters)
            for found in [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]:
                if found["Key"].startswith(scratch.prefix):  # not every store takes a prefix as it stands
                    entries.append({"Key": found["Key"], "VersionId": found["VersionId"]})
            if not page.get("IsTruncated"):
                break
            parameters.update(KeyMarker=page["NextKeyMarker"], VersionIdMarker=page.get("NextVersionIdMarker", ""))
    failed: S3Error | None = None
    for entry in entries:
        try:
            connection.call("DeleteObject", Bucket=bucket, **entry)
        except S3NoSuchItem:
            continue
        except S3Error as error:
            failed = error
    if failed is not None:
        raise failed


def _condition(scratch: _Scratch, ability: Ability, etag: str) -> dict[str, str]:
    if ability.endswith("absent"):
        return {"IfNoneMatch": "*"}
    return {"IfMatch": quoted(scratch.connection, etag)}


def _in_sequence(scratch: _Scratch, ability: Ability) -> Condition:
    """One write that must fail, one that must succeed, nobody else about."""
    key = scratch.new_key()
    etag = scratch.put(key, b"before")
    if not ability.endswith("absent") and etags.is_weak(etag):
        return "refused"
    must_fail = _condition(scratch, ability, "0" * 32)
    try:
        scratch.writer(ability, key)(b"after", must_fail)
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
            scratch.connection.remember(_QUOTING, form)
        try:
            scratch.writer(ability, key)(b"after", _condition(scratch, ability, etag))
        except S3Error as error:
            _raise_if_no_verdict(error)
            continue
        return "honoured" if scratch.read(key) == b"after" else "refused"
    return "refused"


def _still_reads(scratch: _Scratch, key: str, body: bytes) -> bool:
    """Return whether an object is what it was before a write that the store refused.

    LocalStack refuses a conditional copy with 412 after it has overwritten the content: the body then breaks off, each time.
    """
    try:
        return scratch.read(key) == body
    except S3ConnectionError:
        scratch.etag(key)  # raises where the store cannot be reached at all
    try:
        return scratch.read(key) == body
    except S3ConnectionError:
        return False


def _raise_if_no_verdict(error: S3Error) -> None:
    """An error that says nothing about the condition: not allowed, nobody there, too busy."""
    if error.retryable or error.status in (401, 403) or error.code in ("NoSuchBucket", None):
        raise error


def _round_holds(scratch: _Scratch, ability: Ability) -> bool:
    """Many writers at once: at most one may be told that it won, and then its content must stand there."""
    key = scratch.new_key()
    etag = "" if ability.endswith("absent") else scratch.put(key, b"before")
    condition = _condition(scratch, ability, etag)
    writers = WRITERS if ability.startswith("put") else WRITERS // 2
    writes = [scratch.writer(ability, key) for _ in range(writers)]
    bodies = [secrets.token_bytes(16) for _ in writes]
    won = _at_once([partial(write, body, condition) for write, body in zip(writes, bodies, strict=True)])
    winners = [body for body, has_won in zip(bodies, won, strict=True) if has_won]
    if len(winners) > 1:
        return False
    return not winners or scratch.read(key) == winners[0]


def _at_once(attempts: Sequence[Callable[[], Any]]) -> list[bool]:
    """Make the attempts in one moment; tell which were told that they succeeded."""
    start = threading.Barrier(len(attempts))

    def run(attempt: Callable[[], Any]) -> bool:
        start.wait(60)
        try:
            attempt()
        except S3Error:
            return False  # a loser, or one whose answer was lost: neither was told that it won
        return True

    with ThreadPoolExecutor(len(attempts), "messageflux-s3-probe") as executor:
        return list(executor.map(run, attempts))


def _race_deletes(scratch: _Scratch) -> Condition:
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
        puts = [scratch.writer("put_if_match", key) for _ in range(WRITERS // 2)]
        won = _at_once([*(partial(put, secrets.token_bytes(16), condition) for put in puts), partial(delete, etag)])
        if sum(won) > 1:
            return "sequential"
    return "honoured"
