"""Conditional writes with a definite outcome: done, not done, or (rarely) explicitly unknown.

If the first attempt writes the object but the response is lost, the retry fails, since the condition no longer holds. So every conditional
write puts a random idempotency token into the object's metadata, hidden from users:

- rejected without an earlier retry: a conflict, final;
- rejected after an attempt of unknown outcome: if HEAD returns our token, the write was done;
- HEAD returns an object from before our first attempt: a conflict, final;
- anything else: ``S3PreconditionFailed`` with ``outcome_unknown`` set. The write is not retried blindly.

The operations are generators (``put_steps``), run by the drivers of ``drivers.py``. The version ID of an address is ignored: a write makes
the current version.

Conditional writes never use the fast lane, which does not record its retries. ``condition_probe.py`` checks first whether the store
honours the condition.
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple, TypeVar

from .._client.addresses import BucketAddress, ObjectAddress
from .._client.connection import Connection
from .._client.exchange import Answer, Request
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
from . import (
    attributes,
    checksum,
    condition_probe,
    confirmation,
    drivers,
    metadata_names,
    operations,
    put_parameters,
    ranged_reader,
)
from .bodies import Data
from .condition_probe import Ability
from .drivers import Blocking, Callback, Sleep, Steps
from .etag_conditions import in_condition
from .multipart import UPLOAD_IS_LEFT, MultipartUpload
from .versioned import is_versioned, is_versioned_now, sent_version_id

Written = TypeVar("Written")

CARRIED = 6
"""Number of earlier idempotency tokens that an update keeps, so that a writer whose response was lost can still find its own token."""

_ABILITIES: dict[str, tuple[Ability, Ability]] = {
    "PutObject": ("put_if_absent", "put_if_match"),
    "CompleteMultipartUpload": ("multipart_if_absent", "multipart_if_match"),
    "CopyObject": ("copy_if_absent", "copy_if_match"),
}


class Precondition(NamedTuple):
    """The condition of one write, and the tokens that show whether this write made the object.

    Attributes:
        if_match: The ETag that the object must have; None: the object must not exist.
        token: The idempotency token: a random ID, used for all attempts.
        carried: Earlier idempotency tokens to keep in the metadata, the latest first, separated by blanks.
        is_optional: Whether the write is better with the condition than without it also where the store creates a missing object.
    """

    if_match: str | None
    token: str
    carried: str = ""
    is_optional: bool = False


def precondition(*, if_absent: bool = False, if_match: str | None = None, carried: str = "") -> Precondition:
    """Validate the arguments of a conditional write, and return its precondition, with a new idempotency token.

    Raises:
        ValueError: Both conditions are given, or none, or the ETag is empty.
        TypeError: The ETag is not a string.
    """
    if if_match is not None:
        etags.check(if_match)
    if if_absent and if_match is not None:
        raise ValueError("if_absent and if_match exclude each other")
    if not if_absent and if_match is None:
        raise ValueError("a conditional write requires if_absent or if_match")
    return Precondition(if_match, new_idempotency_token(), carried)


def strong(etag: str, address: ObjectAddress) -> str:
    """Return an ETag without its quotes, for a condition on a write.

    Raises:
        S3Unsupported: The ETag is weak; If-Match never matches it.
    """
    if etags.is_weak(etag):
        raise S3Unsupported(
            f"s3://{address.bucket_name}/{address.key} has the weak ETag {etag}, which If-Match never matches: an intermediary (a CDN, a "
            "compressing proxy) changes the ETags. Connect to the store directly for conditional writes. Nothing was written.",
            bucket=address.bucket_name, key=address.key,
        )  # fmt: skip
    return etags.opaque(etag)


def new_idempotency_token() -> str:
    """Return a random ID for one write, used for all its attempts."""
    return secrets.token_hex(12)


def put(
    address: ObjectAddress,
    body: bytes,
    condition: Precondition,
    metadata: Mapping[str, str] | None = None,
    **extra: Any,
) -> Head:
    """Write bytes if the object does not exist, or if it still has this etag.

    Args:
        address: The object.
        body: The content.
        condition: The condition (:func:`precondition`).
        metadata: User metadata, a mapping of text to text.
        extra: Further parameters (:class:`~messageflux_s3._objects.put_parameters.PutParameters`).

    Raises:
        S3ObjectExists: The object exists already.
        S3PreconditionFailed: The etag differs, or the object does not exist; or each attempt conflicted with a concurrent write; or
            ``outcome_unknown``.
        S3Unsupported: The store does not honour the condition, or ignores a parameter; nothing was written.

    Requests:
        1 PUT, and 1 HEAD after a lost response; once per store also the requests of the probe, and those of :func:`confirmation.steps`
    """
    return drivers.run(address.connection, put_steps(address, body, condition, metadata, extra))


def put_steps(
    address: ObjectAddress,
    body: bytes,
    condition: Precondition,
    metadata: Mapping[str, str] | None,
    extra: Mapping[str, Any],
) -> Steps[Head]:
    """The steps of :func:`put`."""
    encoded = user_metadata.marked(user_metadata.encode(metadata), condition.token, condition.carried)
    if metadata and not metadata_names.are_known_to_return(address.connection, metadata):
        yield Blocking(partial(metadata_names.require, address, metadata))
    write = ConditionalWrite(address, condition)
    parameters = {"Metadata": encoded, **put_parameters.s3_parameters(address.key, extra)}
    answer = yield from write.steps("PutObject", parameters, body)
    if parameters.get("WriteOffsetBytes"):
        return Head.from_append(answer.get("ETag"), answer.get("VersionId"))
    return Head.from_write(len(body), answer.get("ETag"), answer.get("VersionId"), encoded)


def complete(address: ObjectAddress, upload: MultipartUpload, condition: Precondition) -> dict[str, Any]:
    """Complete a multipart upload if the condition holds.

    The metadata of the upload must hold the token of the condition, then the earlier tokens, under
    :data:`~messageflux_s3._formats.metadata.IDEMPOTENCY_TOKEN`.

    Raises:
        S3ObjectExists: The object exists already.
        S3PreconditionFailed: The etag differs, or the object was deleted; or ``outcome_unknown``. With ``retryable``: there was a
            concurrent write (409), nothing was written, and the whole upload may be sent again.
        S3Unsupported: The store does not honour the condition; nothing was written.

    Requests:
        1 POST, and 1 HEAD after a lost response
    """
    return upload.complete(ConditionalWrite(address, condition))


class SourceDiffers(Exception):
    """The source returned different bytes when read again. Raised within :func:`sending_again`, before the upload is completed."""


def sending_again(connection: Connection, write: Callable[[], Written], can_repeat: Callable[[], bool]) -> Written:
    """Run a multipart upload; run it again if its completion conflicted with a concurrent write.

    On 409 ``ConditionalRequestConflict`` AWS discards the upload, and requires a new one with all parts sent again.

    Args:
        connection: The connection to the store.
        write: Creates an upload, sends its parts, and completes it; raises ``SourceDiffers`` instead of completing it if the source
            returned other bytes than the first time.
        can_repeat: Called before each repetition: prepares the source to be read again, and returns whether that was possible.

    Returns:
        The result of ``write``.

    Raises:
        S3PreconditionFailed: Every attempt conflicted with a concurrent write; or the source can be read only once, or returned different
            bytes when read again. ``retryable`` is set, and also ``outcome_unknown`` if the response to an earlier completion was lost.
    """
    conflict: S3PreconditionFailed | None = None
    for attempt in range(1, connection.max_attempts + 1):
        try:
            return write()
        except S3PreconditionFailed as error:
            is_conflict = error.operation == "CompleteMultipartUpload" and error.status == 409 and error.retryable
            if not is_conflict or attempt == connection.max_attempts or not can_repeat():
                raise
            conflict = error
        except SourceDiffers as differing:
            if conflict is None:  # pragma: no cover - only a repeated upload can differ
                raise
            raise S3PreconditionFailed(
                f"{conflict} When the source was read again for that, it returned other bytes, which were not written.",
                operation=conflict.operation, bucket=conflict.bucket, key=conflict.key, code=conflict.code, status=conflict.status,
                request_id=conflict.request_id, outcome_unknown=conflict.outcome_unknown, retryable=True,
            ) from differing  # fmt: skip
        time.sleep(_pause(attempt))
    raise AssertionError("unreachable: the last attempt returns or raises")  # pragma: no cover


def require(bucket: BucketAddress, kind: Ability) -> None:
    """Raise S3Unsupported unless the store honours the condition (see :mod:`~messageflux_s3._objects.condition_probe`)."""
    condition_probe.require(bucket, kind)


def honours(bucket: BucketAddress, kind: Ability) -> bool:
    """Return whether the store honours the condition, even with concurrent writers; False if probing is not permitted.

    For callers that have an alternative to the condition. It is worse also where the condition is honoured only if there is an object.
    Requests: those of :func:`condition_probe.known`.
    """
    try:
        return condition_probe.known(bucket, kind) in ("honoured", "existing")
    except S3AccessDenied:
        return False


class ConditionalWrite:
    """One conditional write with all its attempts: sends the request that makes the object, and determines the outcome.

    The instance is called in place of ``connection.call``, with PutObject, CompleteMultipartUpload or CopyObject. If an upload has to be
    sent again as a whole, the same instance is called again.

    Args:
        address: The object.
        condition: The condition.

    Raises:
        S3Unsupported: The condition has a weak ETag.
    """

    def __init__(self, address: ObjectAddress, condition: Precondition) -> None:
        self._address = address
        self._is_creation = condition.if_match is None
        self._etag = "" if condition.if_match is None else strong(condition.if_match, address)
        self._token = condition.token
        self._is_optional = condition.is_optional
        self._replaces = condition.carried.partition(" ")[0]
        self._began: float  # monotonic time of the first attempt
        self._doubtful: S3Error | None = None  # error of an attempt that may have written; kept across repeated uploads
        self._is_sent_again = False  # whether the whole upload is repeated after a conflict
        self._is_versioned = False  # whether the condition was probed for buckets with versioning
        self._looked_at: datetime | None = None
        self._given: dict[str, Any] = {}  # parameters of the write that a HEAD of the object needs too

    def require(self, operation: str) -> None:
        """Check that the store honours the condition on this operation.

        Raises:
            S3Unsupported: The store does not honour it.

        Requests:
            none on AWS; else those of :func:`condition_probe.known`
        """
        bucket = self._address.bucket
        if not bucket.connection.is_aws:
            self._is_versioned = is_versioned(bucket)
            ability = self._ability(operation)
            if not (self._is_optional and honours(bucket, ability)):
                require(bucket, ability)

    def _ability(self, operation: str) -> Ability:
        if operation == "DeleteObject":
            return "delete_if_match"
        if_absent, if_match = _ABILITIES[operation]
        return if_absent if self._is_creation else if_match

    def __call__(self, operation: str, **parameters: Any) -> dict[str, Any]:
        body = parameters.pop("Body", b"")
        others = {name: value for name, value in parameters.items() if name not in ("Bucket", "Key")}
        return drivers.run(self._address.connection, self.steps(operation, others, body))

    def steps(self, operation: str, parameters: Mapping[str, Any], body: bytes = b"") -> Steps[dict[str, Any]]:
        """Send the request under the condition.

        Args:
            operation: PutObject, CompleteMultipartUpload or CopyObject.
            parameters: Its parameters under boto3's names, without the bucket, the key and the body.
            body: The body of a PutObject.

        Returns:
            boto3's response; after a lost response only ETag and version ID.
        """
        if not self._address.connection.is_aws:  # would only take a thread under asyncio
            yield Blocking(partial(self.require, operation))
        if operation != "CompleteMultipartUpload":  # the parameters came with the creation of the upload
            yield from confirmation.steps(self._address, operation, parameters)
        request = self._request(operation, parameters, body)
        self._given = put_parameters.for_every_request(parameters)
        if self._doubtful is None:
            self._began = time.monotonic()
        for attempt in range(self._address.connection.max_attempts):
            if attempt:
                yield Sleep(_pause(attempt))
            try:
                answer: Answer = yield request
            except S3Error as error:
                last = error
            else:
                if operation != "PutObject" or answer.etag:
                    if not (yield from self._was_taken_back(operation, answer.version_id)):
                        return dict(answer.parsed or {})
                    last = S3PreconditionFailed(f"{operation}: versioning was enabled meanwhile", operation=operation)
                    continue
                last = S3ConnectionError(
                    f"{operation}: the headers of the response were cut off", operation=operation, retryable=True
                )
            found = yield from self._after(operation, last)
            if found is None:
                continue
            made = found.get("VersionId")
            # "null" was written before versioning was enabled, when the condition held.
            if made == "null" or not (yield from self._was_taken_back(operation, made)):
                return found
            last = S3PreconditionFailed(f"{operation}: versioning was enabled meanwhile", operation=operation)
        if self._doubtful is None:
            raise self._always_conflicted(last) from last
        raise self._unknown(last) from last

    def _was_taken_back(self, operation: str, version_id: str | None) -> Steps[bool]:
        """Take back a write that made a version in a bucket that had no versioning when the condition was probed.

        Some stores honour the condition only without versioning, and anybody may enable that at any time. So the version is deleted, the
        condition is probed for buckets with versioning, and the request may be sent again.

        Requests:
            none, or once for each bucket 1 GET, 1 DELETE and those of the probe

        Returns:
            Whether the write was taken back; False if it stands, since the condition held.

        Raises:
            S3Unsupported: The store does not honour the condition in buckets with versioning. Nothing is left of the write.
            S3PreconditionFailed: The upload in parts has to be sent again as a whole; nothing is left of it.
        """
        if version_id is None or not (yield from self._is_news(version_id, operation)):
            return False
        bucket = self._address.bucket
        if version_id == "null":  # versioning is suspended: what this write replaced is gone
            raise S3PreconditionFailed(
                f"{self._place} was written in a bucket whose versioning was changed meanwhile: whether the condition held is unknown",
                operation=operation, bucket=bucket.name, key=self._address.key, outcome_unknown=True,
            )  # fmt: skip
        where: dict[str, Any] = {"VersionId": version_id}
        where |= {name: self._given[name] for name in ("RequestPayer", "ExpectedBucketOwner") if name in self._given}
        try:
            yield Request("DeleteObject", bucket.name, self._address.key, where, is_for_boto3=True)
        except S3Error as error:
            raise S3PreconditionFailed(
                f"{self._place} was written as version {version_id}, although versioning of the bucket was enabled meanwhile, so that it "
                f"is unknown whether the condition held; the version could not be deleted again: {error}",
                outcome_unknown=True, **self._facts(error),
            ) from error  # fmt: skip
        yield Blocking(partial(self.require, operation))
        if operation != "CompleteMultipartUpload":
            return True
        raise S3PreconditionFailed(
            f"{self._place} was not written: versioning of the bucket was enabled meanwhile. The whole upload must be sent again.",
            operation=operation, bucket=bucket.name, key=self._address.key, status=409, retryable=True,
        )  # fmt: skip

    def delete_steps(self) -> Steps[None]:
        """Delete the object conditionally. A deletion leaves no token; if the object no longer exists, it counts as done."""
        request = self._request("DeleteObject", {})
        self._began = time.monotonic()
        is_doubtful = False
        for attempt in range(self._address.connection.max_attempts):
            if attempt:
                yield Sleep(_pause(attempt))
            try:
                answer: Answer = yield request
            except S3NoSuchItem:
                return
            except S3Error as error:
                last = error
            else:
                if not (yield from self._was_deletion_taken_back(answer.version_id)):
                    return
                last = S3PreconditionFailed("DeleteObject: versioning was enabled meanwhile", operation="DeleteObject")
                continue
            is_doubtful = is_doubtful or _is_doubtful(last) or last.was_retried
            if last.status == 409:
                continue
            if not is_doubtful:
                raise self._conflict(last) if isinstance(last, S3PreconditionFailed) else last
            found = yield from self._look(last)
            if found is None:
                yield from self._check_hidden(last)
                return
            if not etags.same(found.etag, self._etag):
                raise self._rejected(found, last) from last
        raise (self._unknown(last) if is_doubtful else self._always_conflicted(last)) from last

    def _was_deletion_taken_back(self, version_id: str | None) -> Steps[bool]:
        """Take back a deletion that made a delete marker in a bucket that had no versioning when the condition was probed.

        A store that honours the condition only without versioning has put the marker over whatever object there was, also over a newer
        one. So the marker is deleted, the condition is probed for buckets with versioning, and the deletion may be sent again.

        Requests:
            none, or once for each bucket 1 GET, 1 DELETE and those of the probe

        Returns:
            Whether the deletion was taken back; False if it stands, since the condition held.

        Raises:
            S3Unsupported: The store does not honour the condition in buckets with versioning. The object is there again.
        """
        if version_id is None or not (yield from self._is_news(version_id, "DeleteObject")):
            return False
        bucket = self._address.bucket
        if version_id == "null":  # versioning is suspended: the object that the marker replaced may be gone
            raise S3PreconditionFailed(
                f"{self._place} was deleted in a bucket whose versioning was changed meanwhile: whether the condition held is unknown",
                operation="DeleteObject", bucket=bucket.name, key=self._address.key, outcome_unknown=True,
            )  # fmt: skip
        try:
            yield Request("DeleteObject", bucket.name, self._address.key, {"VersionId": version_id}, is_for_boto3=True)
        except S3Error as error:
            raise S3PreconditionFailed(
                f"{self._place} was hidden by the delete marker {version_id}, although versioning of the bucket was enabled meanwhile, so "
                f"that it is unknown whether the condition held; the marker could not be deleted again: {error}",
                outcome_unknown=True, **self._facts(error),
            ) from error  # fmt: skip
        yield Blocking(partial(self.require, "DeleteObject"))
        return True

    def _check_hidden(self, error: S3Error) -> Steps[None]:
        """Check, after a lost response, that a missing object is not hidden by our delete marker, although the condition did not hold.

        Raises:
            S3PreconditionFailed: Versioning was enabled since the condition was probed: ``outcome_unknown``.

        Requests:
            1 GET, on a store that is not AWS, in a bucket that had no versioning
        """
        if (yield from self._is_news("", "DeleteObject")):
            raise S3PreconditionFailed(
                f"a response was lost ({error}), and versioning of the bucket was enabled meanwhile: it is unknown whether the condition "
                f"held when {self._place} was deleted; a version of it may be hidden by a delete marker",
                outcome_unknown=True, **self._facts(error),
            ) from error  # fmt: skip

    def _is_news(self, version_id: str, operation: str) -> Steps[bool]:
        """Return whether versioning was enabled since the condition was probed, and the condition may not hold with versioning.

        Args:
            version_id: The version ID in a response; empty if there is none.
            operation: The request that had the condition.

        Raises:
            S3PreconditionFailed: The store could not be asked: ``outcome_unknown``.
        """
        bucket = self._address.bucket
        if bucket.connection.is_aws or self._is_versioned:
            return False
        try:
            is_now = yield Blocking(partial(sent_version_id if version_id else is_versioned_now, bucket))
        except S3Error as error:
            raise S3PreconditionFailed(
                f"it is unknown whether the condition held when {self._place} was {self._done}: versioning of the bucket may have been "
                f"enabled meanwhile, which could not be found out: {error}",
                outcome_unknown=True, **self._facts(error),
            ) from error  # fmt: skip
        if not is_now:
            return False
        return not condition_probe.is_known_in_versioned(bucket, self._ability(operation))

    def _request(self, operation: str, parameters: Mapping[str, Any], body: bytes = b"") -> Request:
        connection, bucket_name = self._address.bucket
        key = self._address.key
        condition = {"IfNoneMatch": "*"} if self._is_creation else {"IfMatch": in_condition(connection, self._etag)}
        parameters = {**parameters, **condition}

        def with_checksum() -> Answer:
            whole = {"Bucket": bucket_name, "Key": key, "Body": body, **parameters}
            return Answer(checksum.call(connection, operation, whole))

        fallback = with_checksum if operation == "PutObject" else None
        return Request(operation, bucket_name, key, parameters, body, fallback=fallback, is_for_boto3=True)

    def _after(self, operation: str, error: S3Error) -> Steps[dict[str, Any] | None]:
        """After a failed attempt, return the result if the write was done, None if the request is to be sent again; else raise."""
        if isinstance(error, S3PreconditionFailed):
            if error.status == 409:  # concurrent writers: this attempt failed, but the condition may still hold
                self._doubtful = self._doubtful or (error if error.was_retried else None)
                if operation == "CompleteMultipartUpload":
                    return (yield from self._after_conflict(error))
                return None
            if self._is_final(error):
                raise self._conflict(error) from error
            return (yield from self._reconcile(error))
        if isinstance(error, S3NoSuchItem):
            # If-Match on a deleted object returns 404; so does an upload that is already completed.
            if not self._is_final(error):
                return (yield from self._reconcile(error))
            is_other = self._is_creation or error.code == "NoSuchUpload"
            if is_other or (operation == "CopyObject" and (yield from self._still_there())):
                raise error  # the bucket, the source or the upload is missing: not a failed condition
            raise self._conflict(error) from error
        if isinstance(error, S3ChecksumError) and error.status is None:
            raise error  # wrong bytes were written: a matching idempotency token MUST NOT make this a success
        if _is_doubtful(error):
            self._doubtful = error
            return (yield from self._after_lost_response(error))
        if self._is_final(error):
            raise error
        return (yield from self._reconcile(error))  # e.g. access denied meanwhile: an earlier attempt may have written

    def _is_final(self, error: S3Error) -> bool:
        """Return whether none of the attempts so far, including boto3's own retries, can have written the object."""
        return self._doubtful is None and not error.was_retried

    def _after_conflict(self, error: S3PreconditionFailed) -> Steps[dict[str, Any]]:
        """Determine the outcome after a 409 to a completion: our write was done, the condition fails, or the upload must be repeated.

        The completion itself is not retried: AWS has discarded the upload, and would return NoSuchUpload.
        """
        if self._doubtful is not None:
            found = yield from self._after_lost_response(error)
            if found is not None:
                return found
        else:
            try:
                there = yield from self._head()
            except S3Error:  # the repeated upload determines whether the condition holds
                raise self._conflicted(error) from error
            is_free = there is None if self._is_creation else there is not None and etags.same(there.etag, self._etag)
            if not is_free:
                raise self._conflict(error) from error
        self._is_sent_again = True
        raise self._conflicted(error) from error

    def _still_there(self) -> Steps[bool]:
        """Return whether the object still has the etag of the condition."""
        found = yield from self._head()
        return found is not None and etags.same(found.etag, self._etag)

    def _after_lost_response(self, error: S3Error) -> Steps[dict[str, Any] | None]:
        """After a lost response: return the result if our request wrote the object, None to retry if the condition holds; else raise."""
        found = yield from self._look(error)
        if found is None:
            if self._is_creation:
                return None
            raise self._unknown(error) from error
        if self._is_ours(found):
            return self._result(found)
        if etags.same(found.etag, self._etag):
            return None
        raise self._rejected(found, error) from error

    def _reconcile(self, error: S3Error) -> Steps[dict[str, Any]]:
        """After a rejection that our own write may have caused: return the result if our request wrote the object; else raise."""
        found = yield from self._look(error)
        if found is None:
            raise self._unknown(error) from error
        if self._is_ours(found):
            return self._result(found)
        raise self._rejected(found, error) from error

    def _look(self, error: S3Error) -> Steps[Head | None]:
        """Return the head of the object after a failed request, None if it does not exist.

        Raises:
            S3PreconditionFailed: HEAD failed too: ``outcome_unknown``.
        """
        try:
            return (yield from self._head())
        except S3Error as unreadable:
            raise self._unknown(error, unreadable) from error

    def _head(self) -> Steps[Head | None]:
        try:
            answer: Answer = yield Request(
                "HeadObject", self._address.bucket_name, self._address.key, self._given, is_for_boto3=True
            )
        except S3NoSuchItem:
            return None
        self._looked_at = server_time(answer)
        return answer.head

    def _is_ours(self, found: Head) -> bool:
        return self._token in (found.idempotency_token or "").split()

    def _result(self, found: Head) -> dict[str, Any]:
        """Return the ETag and version ID that the lost response would have held."""
        result: dict[str, Any] = {"ETag": found.etag}
        if found.version_id:
            result["VersionId"] = found.version_id
        if self._is_sent_again:
            result[UPLOAD_IS_LEFT] = True
        return result

    def _rejected(self, found: Head, error: S3Error) -> S3PreconditionFailed:
        """Return a conflict if the object predates our first attempt, else an error with ``outcome_unknown``."""
        if self._replaces and self._replaces in (found.idempotency_token or "").split():
            return self._conflict(error)  # another client has replaced the object: our token is missing
        if etags.same(found.etag, self._etag):
            return self._unknown(error)  # unchanged so far: neither we nor others have replaced it
        # On AWS the date of a multipart object is that of the upload's creation, which proves nothing.
        if self._looked_at is None or found.last_modified is None or "-" in (found.etag or "-"):
            return self._unknown(error)
        if found.last_modified < self._looked_at - timedelta(seconds=time.monotonic() - self._began + 2):
            return self._conflict(error)
        return self._unknown(error)

    @property
    def _place(self) -> str:
        return f"s3://{self._address.bucket_name}/{self._address.key}"

    def _conflict(self, error: S3Error) -> S3PreconditionFailed:
        if self._is_creation:
            return S3ObjectExists(f"{self._place} was not created: it exists already", **self._facts(error))
        return S3PreconditionFailed(
            f"{self._place} was not {self._done}: its ETag is no longer {self._etag}. Read it again before you repeat the change.",
            **self._facts(error),
        )

    def _conflicted(self, error: S3Error) -> S3PreconditionFailed:
        outcome = (
            f"{self._place} was not written"
            if self._doubtful is None
            else f"a response was lost, so that {self._place} may have been written"
        )
        return S3PreconditionFailed(
            f"{outcome}: the completion of the upload conflicted with a concurrent write (409). The whole upload must be sent again, from "
            "a source that can be read again.",
            outcome_unknown=self._doubtful is not None,
            **self._facts(error),
            retryable=True,
        )

    def _always_conflicted(self, error: S3Error) -> S3PreconditionFailed:
        return S3PreconditionFailed(
            f"{self._place} was not {self._done}: every attempt conflicted with a concurrent write", **self._facts(error), retryable=True
        )  # fmt: skip

    def _unknown(self, error: S3Error, unreadable: S3Error | None = None) -> S3PreconditionFailed:
        found = "the object does not show it" if unreadable is None else f"the object could not be read: {unreadable}"
        return S3PreconditionFailed(
            f"it is unknown whether {self._place} was {self._done}: a response was lost ({error}), and {found}",
            outcome_unknown=True,
            **self._facts(error),
        )

    @property
    def _done(self) -> str:
        return "written" if self._token else "deleted"

    def _facts(self, error: S3Error) -> dict[str, Any]:
        return {
            "operation": error.operation,
            "bucket": self._address.bucket_name,
            "key": self._address.key,
            "code": error.code,
            "status": error.status,
            "request_id": error.request_id,
        }


def require_parts(call: Callable[..., dict[str, Any]] | None) -> None:
    """Check before a multipart upload that the store honours its condition; otherwise it would fail only after all parts were sent.

    Args:
        call: A :class:`ConditionalWrite`; anything else, or None, means an upload without a condition.

    Raises:
        S3Unsupported: The store does not honour the condition. Nothing was sent.
    """
    if isinstance(call, ConditionalWrite):
        call.require("CompleteMultipartUpload")


def _pause(attempt: int) -> float:
    """Return the seconds to wait before a repetition: longer each time, with jitter."""
    return random.uniform(0, min(2.0, 0.05 * 2**attempt))


def _is_doubtful(error: S3Error) -> bool:
    """Return whether the request may have taken effect: no response, a server error, or a response that cannot be parsed."""
    return isinstance(error, (S3ConnectionError, S3ServerError, S3Throttled)) or (
        type(error) is S3Error and error.status is None
    )


def server_time(answer: Answer) -> datetime | None:
    """Return the Date header of a response; None if it is missing. The local clock may be hours off."""
    text = (answer.headers or {}).get("date")
    try:
        return parse_time(text) if text else None
    except ValueError:
        return None


def delete(address: ObjectAddress, *, if_match: str) -> None:
    """Delete an object if it still has this etag. An object that does not exist counts as deleted.

    After a lost response, a HEAD decides. A missing object is a success. An object that still has this ETag is deleted again. An object
    with another ETag is a conflict if it was written before our first attempt; if it was written later, we may have deleted the object
    that was there before it: ``outcome_unknown``.

    If versioning was enabled since the condition was probed, the delete marker is deleted again, unless the condition is known to hold
    with versioning too.

    Raises:
        S3PreconditionFailed: The etag differs; or ``outcome_unknown``.
        S3Unsupported: The store does not honour the condition; nothing was deleted.

    Requests:
        1 DELETE, and 1 HEAD after a lost response (on a store that is not AWS also 1 GET if the object is missing); once per store also
        the requests of the probe; once per bucket, if versioning was enabled meanwhile, 1 GET, 1 DELETE and those of the probe
    """
    drivers.run(address.connection, delete_steps(address, if_match))


def delete_steps(address: ObjectAddress, if_match: str) -> Steps[None]:
    """The steps of :func:`delete`."""
    condition = precondition(if_match=if_match)
    deletion = ConditionalWrite(address, condition._replace(token=""))  # nosec B106  # no idempotency token: a deletion cannot store one
    if not address.connection.is_aws:
        yield Blocking(partial(deletion.require, "DeleteObject"))
    yield from deletion.delete_steps()


def update_steps(
    address: ObjectAddress, function: Callable[[bytes | None], Data], *, attempts: int = 50
) -> Steps[tuple[Head, bytes]]:
    """Read an object, change its content, and write it if the object has not changed since; repeat on conflict.

    Args:
        address: The object.
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
    if not callable(function):
        raise TypeError(f"function must take the content and return the new one, not be {type(function).__name__}")
    address = address._replace(version_id=None)  # read the current object, since that is the one to be replaced
    conflict: S3PreconditionFailed | None = None
    took = 0.0
    for attempt in range(attempts):
        if attempt:
            yield Sleep(random.uniform(0, _longest_pause_of_update(attempt, took)))
        began = time.monotonic()
        found, before, kept = yield Blocking(partial(_read, address))
        changed = yield Callback(partial(function, before))
        after = operations.body_bytes(changed, "what the function returns")
        if before is not None and after == before:
            return found, before
        carried = " ".join((found.idempotency_token or "").split()[:CARRIED])
        condition = precondition(if_absent=before is None, if_match=found.etag, carried=carried)
        try:
            written = yield from put_steps(address, after, condition, found.metadata, kept)
        except S3PreconditionFailed as error:
            if error.outcome_unknown:
                raise
            conflict, took = error, time.monotonic() - began
            continue
        return written, after
    raise S3PreconditionFailed(
        f"s3://{address.bucket_name}/{address.key} was not updated: each of {attempts} attempts conflicted with a concurrent write",
        bucket=address.bucket_name, key=address.key,
    ) from conflict  # fmt: skip


def _longest_pause_of_update(conflicts: int, took: float) -> float:
    """Return the most seconds to wait before an update is repeated.

    The first pause is long enough for several other writers. Each later pause is half as long as the one before, so that an update that has
    waited longer is repeated sooner. (If the pauses only grew, new updates would always be faster than old ones.) Many conflicts mean that
    there are many writers: the pauses then grow again, slowly.

    Args:
        conflicts: How many attempts have conflicted.
        took: The seconds that the last attempt took. It is the unit of all pauses, since writers only conflict if their attempts overlap.
    """
    took = max(took, 0.005)
    shrinking = min(1.0, 16 * took) * 0.5 ** (conflicts - 1)
    return float(min(2.5, max(shrinking, took * (conflicts - 4))))


def _read(address: ObjectAddress) -> tuple[Head, bytes | None, dict[str, Any]]:
    """Return an object's head, its content, and its attributes as parameters of the write that replaces it."""
    try:
        answer, before = ranged_reader.read_whole(address)
    except S3NoSuchItem:
        return Head(), None, {}
    found = Head.from_answer(answer)
    attributes.require_whole_metadata(address, answer)
    strong(found.etag or "", address)  # before the function runs: a weak ETag would make the write impossible
    return found, before, {**attributes.kept(address, answer, {}), **attributes.kept_tags(address, answer)}
