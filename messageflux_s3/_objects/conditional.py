"""Conditional writes with a definite outcome: done, not done, or (rarely) explicitly unknown.

If the response to the first attempt is lost although it wrote, the condition of the retry fails on our own object. So every conditional
write has a random idempotency token in its metadata, which users never see:

- rejected without an earlier retry: a conflict, final;
- rejected after an attempt of unknown outcome: if HEAD returns our token, the write was done;
- HEAD returns an object from before our first attempt: a conflict, final;
- anything else: ``S3PreconditionFailed`` with ``outcome_unknown`` set. The write is not retried blindly.

Conditional writes never use the fast lane, which does not record its retries. ``condition_probe.py`` checks first whether the store
honours the condition.
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, TypeVar

from .._client.addresses import BucketAddress
from .._client.connection import Connection
from .._formats import etags
from .._formats import metadata as user_metadata
from .._formats.head import Head
from .._formats.times import parse_time
from ..errors import (
    S3AccessDenied,
    S3ChecksumError,
    S3ConnectionError,
    S3Error,
    S3NoSuchItem,
    S3ObjectExists,
    S3PreconditionFailed,
    S3ServerError,
    S3Throttled,
    S3Unsupported,
)
from . import attributes, checksum, condition_probe, operations, put_parameters, ranged_reader
from .bodies import Data
from .condition_probe import Ability
from .multipart import UPLOAD_IS_LEFT, MultipartUpload

Written = TypeVar("Written")

CARRIED = 6
"""Number of earlier idempotency tokens that an update keeps, so that a writer whose response was lost can still find its own."""

_ABILITIES: dict[str, tuple[Ability, Ability]] = {
    "PutObject": ("put_if_absent", "put_if_match"),
    "CompleteMultipartUpload": ("multipart_if_absent", "multipart_if_match"),
    "CopyObject": ("copy_if_absent", "copy_if_match"),
}


def check(*, if_absent: bool, if_match: str | None) -> None:
    """Validate the arguments of a condition.

    Raises:
        ValueError: Both are given, or the etag is empty.
        TypeError: The etag is not a string.
    """
    if if_match is not None and not isinstance(if_match, str):
        raise TypeError(f"if_match must be an etag, not {type(if_match).__name__}")
    if if_match is not None and not etags.opaque(if_match):
        raise ValueError("if_match is empty; an object's etag is obj.etag")
    if if_absent and if_match is not None:
        raise ValueError("if_absent and if_match exclude each other")
    if not if_absent and if_match is None:
        raise ValueError("a conditional write wants if_absent or if_match")


def strong(etag: str, bucket_name: str, key: str) -> str:
    """Return an ETag without its quotes, for a condition on a write.

    Raises:
        S3Unsupported: The ETag is weak; If-Match never matches it.
    """
    if etags.is_weak(etag):
        raise S3Unsupported(
            f"s3://{bucket_name}/{key} has the weak ETag {etag}, which If-Match never matches: something before the store (a CDN, a proxy "
            "that compresses) changes its ETags. Connect to the store itself to write under a condition. Nothing was written.",
            bucket=bucket_name, key=key,
        )  # fmt: skip
    return etags.opaque(etag)


def new_idempotency_token() -> str:
    """Return a random ID for one write, used for all its attempts."""
    return secrets.token_hex(12)


def put(
    connection: Connection,
    bucket_name: str,
    key: str,
    body: bytes,
    *,
    if_absent: bool = False,
    if_match: str | None = None,
    metadata: Mapping[str, str] | None = None,
    carried: str = "",
    **extra: Any,
) -> Head:
    """Write bytes if the object does not exist, or if it still has this etag.

    Args:
        connection: The connection to the store.
        bucket_name: The bucket.
        key: The key.
        body: The content.
        if_absent: Write only if the object does not exist.
        if_match: Write only if the object has this etag.
        metadata: User metadata, a mapping of text to text.
        carried: Earlier idempotency tokens to keep in the metadata.
        extra: Further parameters (:class:`~messageflux_s3._objects.put_parameters.PutParameters`).

    Raises:
        S3ObjectExists: The object exists already.
        S3PreconditionFailed: The etag differs, or the object does not exist; or each attempt conflicted with a concurrent write; or
            ``outcome_unknown``.
        S3Unsupported: The store does not honour the condition; nothing was written.

    Requests:
        1 PUT, and 1 HEAD after a lost response; those of the probe once per store
    """
    check(if_absent=if_absent, if_match=if_match)
    idempotency_token = new_idempotency_token()
    encoded = user_metadata.marked(user_metadata.encode(metadata), idempotency_token, carried)
    call = caller(
        connection, bucket_name, key, idempotency_token, if_absent=if_absent, if_match=if_match, carried=carried
    )
    answer = call(
        "PutObject",
        Bucket=bucket_name,
        Key=key,
        Body=body,
        Metadata=encoded,
        **put_parameters.s3_parameters(key, extra),
    )
    return Head.from_write(len(body), answer.get("ETag"), answer.get("VersionId"), encoded)


def complete(
    connection: Connection,
    bucket_name: str,
    key: str,
    upload: MultipartUpload,
    *,
    idempotency_token: str,
    if_match: str | None = None,
    carried: str = "",
) -> dict[str, Any]:
    """Complete a multipart upload if the object still has this etag; without ``if_match``, if the object does not exist.

    The metadata of the upload holds ``idempotency_token``, then ``carried``, under
    :data:`~messageflux_s3._formats.metadata.IDEMPOTENCY_TOKEN`.

    Raises:
        S3ObjectExists: The object exists already.
        S3PreconditionFailed: The etag differs, or the object was deleted; or ``outcome_unknown``. With ``retryable``: there was a
            concurrent write (409), nothing was written, and the whole upload may be sent again.
        S3Unsupported: The store does not honour the condition; nothing was written.

    Requests:
        1 POST, and 1 HEAD after a lost response
    """
    call = caller(
        connection, bucket_name, key, idempotency_token, if_absent=if_match is None, if_match=if_match, carried=carried
    )
    return upload.complete(call)


class SourceDiffers(Exception):
    """The source returned different bytes when read again. Raised within :func:`sending_again`, before the upload is completed."""


def sending_again(connection: Connection, write: Callable[[], Written], can_repeat: Callable[[], bool]) -> Written:
    """Run a multipart upload; run it again if its completion conflicted with a concurrent write.

    On 409 ``ConditionalRequestConflict`` AWS discards the upload, and requires a new one with all parts sent again.

    Args:
        connection: The connection to the store.
        write: Creates an upload, sends its parts, and completes it; raises ``SourceDiffers`` instead of completing it with other bytes
            than the first time.
        can_repeat: Called before each repetition: prepares the source to be read again, and returns whether that was possible.

    Returns:
        The result of ``write``.

    Raises:
        S3PreconditionFailed: Every attempt conflicted with a concurrent write, or the source can be read only once, or returned different
            bytes when read again: ``retryable`` is set, and also ``outcome_unknown`` if the response to an earlier completion was lost.
    """
    conflict: S3PreconditionFailed | None = None
    for attempt in range(1, connection.config.max_attempts + 1):
        try:
            return write()
        except S3PreconditionFailed as error:
            is_met = error.operation == "CompleteMultipartUpload" and error.status == 409 and error.retryable
            if not is_met or attempt == connection.config.max_attempts or not can_repeat():
                raise
            conflict = error
        except SourceDiffers as differing:
            if conflict is None:  # pragma: no cover - nothing to differ from
                raise
            raise S3PreconditionFailed(
                f"{conflict} When the source was read again for that, it gave other bytes; they were not written.",
                operation=conflict.operation, bucket=conflict.bucket, key=conflict.key, code=conflict.code, status=conflict.status,
                request_id=conflict.request_id, outcome_unknown=conflict.outcome_unknown, retryable=True,
            ) from differing  # fmt: skip
        _pause(attempt)
    raise AssertionError("unreachable: the last attempt returns or raises")  # pragma: no cover


def require(bucket: BucketAddress, kind: Ability) -> None:
    """Raise S3Unsupported unless the store honours the condition (see :mod:`~messageflux_s3._objects.condition_probe`)."""
    condition_probe.require(bucket, kind)


def honours(bucket: BucketAddress, kind: Ability) -> bool:
    """Return whether the store honours the condition, also with concurrent writers; False if unknown because probing is not permitted.

    For callers with an alternative to the condition. Requests: those of :func:`condition_probe.known`.
    """
    try:
        return condition_probe.known(bucket, kind) == "honoured"
    except S3AccessDenied:
        return False


class ConditionalCall:
    """Callable that sends the one request that creates the object, with the condition; resolves the outcome after a lost response.

    Used in place of ``connection.call`` for PutObject, CompleteMultipartUpload and CopyObject. Created by :func:`caller`.
    """

    def __init__(self, connection: Connection, bucket_name: str, if_absent: bool, etag: str, write: _Write) -> None:
        self._connection = connection
        self._bucket_name = bucket_name
        self._if_absent = if_absent
        self._etag = etag
        self._write = write

    def require(self, operation: str) -> None:
        """Check that the store honours the condition on this operation.

        Raises:
            S3Unsupported: It does not.
        """
        of_absent, of_match = _ABILITIES[operation]
        require(BucketAddress(self._connection, self._bucket_name), of_absent if self._if_absent else of_match)

    def __call__(self, operation: str, **parameters: Any) -> dict[str, Any]:
        self.require(operation)
        condition = (
            {"IfNoneMatch": "*"}
            if self._if_absent
            else {"IfMatch": condition_probe.quoted(self._connection, self._etag)}
        )
        return self._write.make(operation, {**parameters, **condition})


def require_parts(call: Callable[..., dict[str, Any]] | None) -> None:
    """Check before a multipart upload that the store honours its condition; otherwise it would fail only after all parts were sent.

    Args:
        call: The result of :func:`caller`; anything else, or None, means an upload without a condition.

    Raises:
        S3Unsupported: It does not. Nothing was sent.
    """
    if isinstance(call, ConditionalCall):
        call.require("CompleteMultipartUpload")


def caller(
    connection: Connection,
    bucket_name: str,
    key: str,
    idempotency_token: str,
    *,
    if_absent: bool,
    if_match: str | None,
    carried: str = "",
) -> ConditionalCall:
    """Return a callable that sends the one request that creates the object, with the condition.

    It resolves the outcome after a lost response, and is used in place of ``connection.call`` for PutObject, CompleteMultipartUpload
    and CopyObject.
    """
    etag = strong(if_match, bucket_name, key) if if_match is not None else ""
    write = _Write(connection, bucket_name, key, idempotency_token, if_absent, etag, carried)
    return ConditionalCall(connection, bucket_name, if_absent, etag, write)


class _Write:
    """One conditional write with all its attempts."""

    def __init__(
        self,
        connection: Connection,
        bucket_name: str,
        key: str,
        idempotency_token: str,
        if_absent: bool,
        if_match: str,
        carried: str,
    ) -> None:
        self._connection = connection
        self._bucket_name = bucket_name
        self._key = key
        self._idempotency_token = idempotency_token
        self._if_absent = if_absent
        self._if_match = if_match
        self._replaces = carried.partition(" ")[0]
        self._began: float  # monotonic time of the first attempt
        self._doubtful: S3Error | None = None  # error of an attempt that may have written; kept across repeated uploads
        self._is_sent_again = False  # whether the whole upload is repeated after a conflict
        self._looked_at: datetime | None = None
        self._given: dict[str, Any] = {}  # parameters of the write that a HEAD of the object needs too

    def make(self, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        self._given = put_parameters.for_every_request(parameters)
        if self._doubtful is None:
            self._began = time.monotonic()
        for attempt in range(self._connection.config.max_attempts):
            if attempt:
                _pause(attempt)
            try:
                if operation != "PutObject":
                    return self._connection.call(operation, **parameters)
                answer = checksum.call(self._connection, operation, parameters)
                if answer.get("ETag"):
                    return answer
                raise S3ConnectionError(
                    f"the answer to {operation} was cut off within its headers", operation=operation, retryable=True
                )
            except S3PreconditionFailed as error:
                if error.status == 409:  # concurrent writers: neither attempt is known to have failed for good
                    self._doubtful = self._doubtful or (error if error.was_retried else None)
                    if operation == "CompleteMultipartUpload":
                        return self._after_conflict(error)
                    last: S3Error = error
                    continue
                if self._doubtful is None and not error.was_retried:
                    raise self._conflict(error) from error
                return self._reconcile(error)
            except S3NoSuchItem as error:
                # If-Match on a deleted object returns 404; so does an upload that is already completed.
                if self._doubtful is None and not error.was_retried:
                    if (
                        self._if_absent
                        or error.code == "NoSuchUpload"
                        or (operation == "CopyObject" and self._still_there())
                    ):
                        raise  # the bucket, the source or the upload is missing: not a failed condition
                    raise self._conflict(error) from error
                return self._reconcile(error)
            except S3Error as error:
                if isinstance(error, S3ChecksumError) and error.status is None:
                    raise  # wrong bytes were written: a matching idempotency token MUST NOT make this a success
                if _is_doubtful(error):
                    self._doubtful = last = error
                    found = self._look(error)
                    if found is not None:
                        return found
                    continue
                if self._doubtful is None and not error.was_retried:
                    raise
                return self._reconcile(error)  # e.g. access denied meanwhile: an earlier attempt may have written
        if self._doubtful is None:
            raise self._always_met(last) from last
        raise self._unknown(last) from last

    def remove(self) -> None:
        """Delete the object conditionally. A deletion leaves no token; if the object no longer exists, it counts as done."""
        condition = {"IfMatch": condition_probe.quoted(self._connection, self._if_match)}
        self._began = time.monotonic()
        is_doubtful = False
        for attempt in range(self._connection.config.max_attempts):
            if attempt:
                _pause(attempt)
            try:
                self._connection.call("DeleteObject", Bucket=self._bucket_name, Key=self._key, **condition)
                return
            except S3NoSuchItem:
                return
            except S3Error as error:
                last = error
            is_doubtful = is_doubtful or _is_doubtful(last) or last.was_retried
            if last.status == 409:
                continue
            if not is_doubtful:
                raise self._conflict(last) if isinstance(last, S3PreconditionFailed) else last
            try:
                found = self._head()
            except S3Error as unreachable:
                raise self._unknown(last) from unreachable
            if found is None:
                return
            if not etags.same(found.etag, self._if_match):
                raise self._refused(found, last) from last
        raise (self._unknown(last) if is_doubtful else self._always_met(last)) from last

    def _after_conflict(self, error: S3PreconditionFailed) -> dict[str, Any]:
        """Determine the outcome of a completion rejected with 409: our write was done, the condition fails, or all must be sent again.

        The completion itself is not retried: AWS has discarded the upload, and would return NoSuchUpload.
        """
        if self._doubtful is not None:
            found = self._look(error)
            if found is not None:
                return found
        else:
            try:
                there = self._head()
            except S3Error:
                raise self._met(error) from error  # the repeated upload determines whether the condition holds
            if there is not None if self._if_absent else there is None or there.etag != self._if_match:
                raise self._conflict(error) from error
        self._is_sent_again = True
        raise self._met(error) from error

    def _met(self, error: S3Error) -> S3PreconditionFailed:
        where = f"s3://{self._bucket_name}/{self._key}"
        said = (
            f"{where} was not written"
            if self._doubtful is None
            else f"an answer was lost, so that {where} may have been written"
        )
        return S3PreconditionFailed(
            f"{said}: another write to it was under way when the upload was completed (409). The whole upload has to be sent again, "
            "from a source that can be read again.",
            outcome_unknown=self._doubtful is not None,
            **self._facts(error),
            retryable=True,
        )

    def _still_there(self) -> bool:
        """Return whether the object still has the etag of the condition."""
        found = self._head()
        return found is not None and etags.same(found.etag, self._if_match)

    def _look(self, error: S3Error) -> dict[str, Any] | None:
        """After a lost response, return the result if the object is ours, None to retry if the condition still holds; else raise."""
        try:
            found = self._head()
        except S3Error as unreachable:
            raise self._unknown(error) from unreachable
        if found is None:
            if self._if_absent:
                return None
            raise self._unknown(error) from error
        if self._is_ours(found):
            return self._settled(found)
        if etags.same(found.etag, self._if_match):
            return None
        raise self._refused(found, error) from error

    def _reconcile(self, error: S3Error) -> dict[str, Any]:
        """After a rejection that our own object may have caused, return the result if the object is ours; else raise."""
        try:
            found = self._head()
        except S3Error as unreachable:
            raise self._unknown(error) from unreachable
        if found is None:
            raise self._unknown(error) from error
        if self._is_ours(found):
            return self._settled(found)
        raise self._refused(found, error) from error

    def _refused(self, found: Head, error: S3Error) -> S3PreconditionFailed:
        """Return a conflict if the object predates our first attempt, else an error with ``outcome_unknown``."""
        if self._replaces and self._replaces in (found.idempotency_token or "").split():
            return self._conflict(error)  # it descends from the object that we meant to replace, without our token
        if etags.same(found.etag, self._if_match):
            return self._unknown(error)  # unchanged: replaced neither by others nor, so far, by us
        # On AWS the date of a multipart object is that of the upload's start, which proves nothing.
        if self._looked_at is None or found.last_modified is None or "-" in (found.etag or "-"):
            return self._unknown(error)
        if found.last_modified < self._looked_at - timedelta(seconds=time.monotonic() - self._began + 2):
            return self._conflict(error)
        return self._unknown(error)

    def _settled(self, found: Head) -> dict[str, Any]:
        return {**_answer(found), UPLOAD_IS_LEFT: True} if self._is_sent_again else _answer(found)

    def _head(self) -> Head | None:
        try:
            answer = self._connection.call("HeadObject", Bucket=self._bucket_name, Key=self._key, **self._given)
        except S3NoSuchItem:
            return None
        self._looked_at = server_time(answer)
        return Head.from_answer(answer)

    def _is_ours(self, found: Head) -> bool:
        return self._idempotency_token in (found.idempotency_token or "").split()

    def _conflict(self, error: S3Error) -> S3PreconditionFailed:
        where = f"s3://{self._bucket_name}/{self._key}"
        if self._if_absent:
            return S3ObjectExists(f"{where} was not created: it is there already", **self._facts(error))
        return S3PreconditionFailed(
            f"{where} was not changed: its etag is no longer {self._if_match}. Read it again and decide anew.",
            **self._facts(error),
        )

    def _always_met(self, error: S3Error) -> S3PreconditionFailed:
        return S3PreconditionFailed(
            f"s3://{self._bucket_name}/{self._key} was not changed: each time others were writing it as well", **self._facts(error),
            retryable=True,
        )  # fmt: skip

    def _unknown(self, error: S3Error) -> S3PreconditionFailed:
        return S3PreconditionFailed(
            f"nobody can know whether s3://{self._bucket_name}/{self._key} was {'written' if self._idempotency_token else 'deleted'}: "
            f"an answer was lost, and what stands there now does not tell ({error})",
            outcome_unknown=True,
            **self._facts(error),
        )

    def _facts(self, error: S3Error) -> dict[str, Any]:
        return {
            "operation": error.operation,
            "bucket": self._bucket_name,
            "key": self._key,
            "code": error.code,
            "status": error.status,
            "request_id": error.request_id,
        }


def _pause(attempt: int) -> None:
    """Wait before a repetition, longer each time, with jitter."""
    time.sleep(random.uniform(0, min(2.0, 0.05 * 2**attempt)))


def _answer(found: Head) -> dict[str, Any]:
    """Return the ETag and version ID that the lost response would have held."""
    return {"ETag": found.etag, "VersionId": found.version_id} if found.version_id else {"ETag": found.etag}


def _is_doubtful(error: S3Error) -> bool:
    """Return whether the request may have taken effect: no response, a server error, or a response that cannot be parsed."""
    return isinstance(error, (S3ConnectionError, S3ServerError, S3Throttled)) or (
        type(error) is S3Error and error.status is None
    )


def server_time(answer: Mapping[str, Any] | None) -> datetime | None:
    """Return the Date header of a boto3 response; None if it is missing. The local clock may be hours off."""
    text = (((answer or {}).get("ResponseMetadata") or {}).get("HTTPHeaders") or {}).get("date")
    try:
        return parse_time(text) if text else None
    except ValueError:
        return None


def delete(connection: Connection, bucket_name: str, key: str, *, if_match: str) -> None:
    """Delete an object if it still has this etag. An object that does not exist counts as deleted.

    After a lost response: a missing object is a success, one with this etag is deleted again, and another one that was written before
    our first attempt is a conflict. If it was written later, it is unknown whether we deleted its predecessor: ``outcome_unknown``.

    Raises:
        S3PreconditionFailed: The etag differs; or ``outcome_unknown``.
        S3Unsupported: The store does not honour the condition; nothing was deleted.

    Requests:
        1 DELETE, and 1 HEAD after a lost response; those of the probe once per store
    """
    check(if_absent=False, if_match=if_match)
    etag = strong(if_match, bucket_name, key)
    require(BucketAddress(connection, bucket_name), "delete_if_match")
    _Write(connection, bucket_name, key, "", if_absent=False, if_match=etag, carried="").remove()


def update(
    connection: Connection,
    bucket_name: str,
    key: str,
    function: Callable[[bytes | None], Data],
    *,
    attempts: int = 50,
) -> tuple[Head, bytes]:
    """Read an object, change its content, and write it if unchanged since; repeat on conflict.

    Args:
        connection: The connection to the store.
        bucket_name: The bucket.
        key: The key.
        function: Receives the content (None if the object does not exist) and returns the new one; it may be called several times.
        attempts: The maximum number of attempts.

    Returns:
        The object's head after the update, and its content.

    Raises:
        S3PreconditionFailed: Every attempt conflicted with another write; or ``outcome_unknown``.
        S3Unsupported: The store does not honour conditions; nothing was written.

    Requests:
        1 GET and 1 PUT per attempt
    """
    conflict: S3PreconditionFailed | None = None
    for attempt in range(attempts):
        if attempt:
            time.sleep(random.uniform(0, 0.02 * 2 ** min(attempt, 7)))
        found, before, kept = _read(connection, bucket_name, key)
        after = operations.body_bytes(function(before), "what the function returns")
        if before is not None and after == before:
            return found, before
        carried = " ".join((found.idempotency_token or "").split()[:CARRIED])
        try:
            written = put(
                connection,
                bucket_name,
                key,
                after,
                if_absent=before is None,
                if_match=found.etag,
                carried=carried,
                **kept,
            )
        except S3PreconditionFailed as error:
            if error.outcome_unknown:
                raise
            conflict = error
            continue
        return written, after
    raise S3PreconditionFailed(
        f"s3://{bucket_name}/{key} was not updated: others were faster {attempts} times", bucket=bucket_name, key=key
    ) from conflict


def _read(connection: Connection, bucket_name: str, key: str) -> tuple[Head, bytes | None, dict[str, Any]]:
    """Return an object's head, its content, and its attributes as parameters of the write that replaces it."""
    address = BucketAddress(connection, bucket_name).object(key)
    try:
        answer = connection.call("GetObject", Bucket=bucket_name, Key=key)
        ranged_reader.check_whole(address, answer)
        with connection.translating("GetObject", bucket_name, key):
            before: bytes = answer["Body"].read()
    except S3NoSuchItem:
        return Head(), None, {}
    found = Head.from_answer(answer)
    if found.etag is None:  # truncated headers: without the etag the write would be unconditional
        raise S3ConnectionError(
            f"GetObject on s3://{bucket_name}/{key}: the answer did not arrive whole", operation="GetObject", bucket=bucket_name, key=key,
            retryable=True,
        )  # fmt: skip
    strong(found.etag, bucket_name, key)  # before the function runs: with a weak ETag its result could not be written
    checksum.check_received(address, answer, before)
    kept = attributes.kept(address, answer, {})
    return (
        found,
        before,
        {**kept, **attributes.kept_tags(address, answer), "metadata": found.metadata},
    )
