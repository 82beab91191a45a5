"""Scratch objects for experiments on a store. They are always deleted at the end, even if an experiment fails or is interrupted.

What is left because a process was killed, a later experiment deletes: see ``leftovers.py``.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from operator import attrgetter
from typing import Any

from .._client.addresses import BucketAddress, ObjectAddress
from .._formats import etags
from .._formats.keys import MAX_KEY_BYTES
from ..errors import S3Error, S3NoSuchItem
from . import leftovers
from .interrupts import run_to_the_end
from .leftovers import NAME_BESIDE, SCRATCH_PREFIX
from .versioned import is_versioned

logger = logging.getLogger("messageflux_s3")

_SMALL_BODY_TIMEOUT = 10.0
"""Seconds to wait for a body of a few bytes after its headers. After a refused copy, LocalStack announces more bytes than it sends."""

_MOST_OF_RANGE = 64 * 1024

_socket_of = attrgetter("_raw_stream._fp.fp.raw._sock")  # of botocore's StreamingBody


def require_removal(bucket: BucketAddress, *, is_due: bool = True) -> None:
    """Let the next experiment in this bucket delete what was left there; or not, in a bucket that is new. Requests: none."""
    bucket.connection.facts[_fact(leftovers.Place(bucket))] = not is_due


def _fact(place: leftovers.Place) -> str:
    return f"left scratch objects are deleted:{place.bucket.name}/{place.prefix}"


class Scratch:
    """A random prefix for scratch objects, and the requests of a probe. Every key has to come from :meth:`new_key`, to be deleted."""

    def __init__(self, bucket: BucketAddress) -> None:
        self.bucket = bucket
        self.connection = bucket.connection
        self.bucket_name = bucket.name
        self.prefix = f"{SCRATCH_PREFIX}{secrets.token_hex(8)}/"
        self.keys: set[str] = set()
        self.uploads: set[tuple[str, str]] = set()
        self.deadline = leftovers.Deadline()
        self.place = leftovers.Place(bucket)
        self._unanswered = 0
        self.received_headers: Mapping[str, str] = {}
        """The headers of the first response to a write, by lower-case name; empty if they are unknown."""
        # Ask before anything is written: the cleanup needs the answer, and a request at the end might fail.
        self.keeps_versions = is_versioned(bucket)
        self._mutex = threading.Lock()

    def key(self, name: str) -> str:
        """Return the key of a scratch object by its name."""
        return self.prefix + name

    def new_key(self, name: str = "") -> str:
        """Return a key for an object, which will be deleted at the end; without a name a number is chosen."""
        with self._mutex:
            key = f"{self.prefix}{name or len(self.keys)}"
            self.keys.add(key)
        return key

    def begin_upload(self, key: str, **parameters: Any) -> str:
        """Create an upload in parts, which will be aborted at the end, and return its ID. An object MUST have been written before."""
        self._unanswered += 1
        answer = self.connection.call("CreateMultipartUpload", Bucket=self.bucket_name, Key=key, **parameters)
        upload_id = str(answer["UploadId"])
        with self._mutex:
            self.uploads.add((key, upload_id))
        self._unanswered -= 1
        return upload_id

    def put(self, key: str, body: bytes, **parameters: str) -> str:
        """Write an object; return its ETag."""
        answer = self.connection.call("PutObject", Bucket=self.bucket_name, Key=key, Body=body, **parameters)
        self.received_headers = self.received_headers or answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        return etags.unquoted(answer.get("ETag")) or self.etag(key)

    def etag(self, key: str) -> str:
        return etags.unquoted(self.connection.call("HeadObject", Bucket=self.bucket_name, Key=key).get("ETag")) or ""

    def read(self, key: str, **parameters: str) -> bytes | None:
        """Read an object with one GET; None if it is missing. RangedReader would resume, but here a truncated body is itself a result."""
        try:
            answer = self.connection.call("GetObject", Bucket=self.bucket_name, Key=key, **parameters)
        except S3NoSuchItem:
            return None
        with self.connection.translating("GetObject", self.bucket_name, key):
            # There is no socket if the body is empty, or the response comes from a mock or a recorder.
            with suppress(AttributeError):
                # Not Body.set_socket_timeout(), which logs an exception before it raises.
                _socket_of(answer["Body"]).settimeout(
                    min(_SMALL_BODY_TIMEOUT, self.connection.read_timeout or _SMALL_BODY_TIMEOUT)
                )
            # Read without a size, boto3 would compare a range with the checksum of the whole object, which some stores send beside it.
            body: bytes = answer["Body"].read(_MOST_OF_RANGE) if "Range" in parameters else answer["Body"].read()
        answer["Body"].close()
        return body

    def clean(self) -> None:
        """Delete every scratch object with its versions, and abort the uploads. All writers must have finished.

        Requests:
            1 for each object and upload; with versioning, and after an upload whose response was lost, also 1 for the listing
        """
        failed: S3Error | None = None
        try:
            for upload in sorted(self.uploads):
                self.place.abort(*upload)
            if self._unanswered:
                self.place.abort_all(self.prefix)
        except S3Error as error:
            failed = error
        entries: list[tuple[str, str | None]] = [(key, None) for key in sorted(self.keys)]
        if self.keeps_versions:
            entries = []
            try:
                for entry in self.place.entries(self.prefix, is_versioned=True):
                    entries.append(entry[:2])
            except S3Error as error:  # delete what was listed before
                failed = error
        for key, version_id in entries:
            try:
                self.place.delete(key, version_id)
            except S3Error as error:
                failed = error
        if failed is not None:
            raise failed


@contextmanager
def scratch_objects(bucket: BucketAddress) -> Iterator[Scratch]:
    """Yield a prefix for scratch objects; at the end, also after an interrupt, delete them, or log where they are left.

    Raises:
        S3Error: The experiment took too long.

    Requests:
        those of :func:`~messageflux_s3._objects.versioned.is_versioned` and :meth:`Scratch.clean`; 2 once for each bucket, for what
        earlier experiments have left
    """
    scratch = Scratch(bucket)
    facts, fact = bucket.connection.facts, _fact(scratch.place)
    # Decided here: of experiments within each other the outermost one deletes what was left.
    is_due = not facts.get(fact)
    facts[fact] = True

    def clean() -> None:
        try:
            scratch.clean()
        except Exception as error:
            logger.warning("scratch objects may be left at s3://%s/%s", bucket.name, scratch.prefix, exc_info=error)
            if not isinstance(error, S3Error):
                raise

    try:
        yield scratch
        scratch.deadline.check(bucket)
        if is_due:
            facts[fact] = scratch.place.remove_left(scratch.prefix, is_versioned=scratch.keeps_versions)
    except BaseException:
        facts[fact] = not is_due
        raise
    finally:
        run_to_the_end(clean)


class ScratchBeside:
    """Scratch objects in the folder of an object, where the same permissions apply; sends the requests of one experiment.

    Attributes:
        connection: The connection to the store.
    """

    def __init__(self, address: ObjectAddress, given: Mapping[str, Any]) -> None:
        self.connection = address.connection
        self.deadline = leftovers.Deadline()
        folder = address.key[: address.key.rfind("/") + 1].encode()[: MAX_KEY_BYTES - 40].decode("utf-8", "ignore")
        self.place = leftovers.Place(address.bucket, folder, is_beside=True, given=given)
        self.prefix = f"{folder}{NAME_BESIDE}{secrets.token_hex(6)}"
        self._count = 0
        self._made: dict[str, str | None] = {}  # key: version ID
        self._uploads: dict[str, str | None] = {}  # key: upload ID

    def new_key(self) -> str:
        self._count += 1
        return self.prefix if self._count == 1 else f"{self.prefix}-{self._count}"

    def where(self, key: str) -> dict[str, Any]:
        """Return the parameters that every request for a scratch object has."""
        return {"Bucket": self.place.bucket.name, "Key": key, **self.place.given}

    def call(self, operation: str, key: str, **parameters: Any) -> dict[str, Any]:
        """Send a request about a scratch object."""
        return self.connection.call(operation, **self.where(key), **parameters)

    def write(self, operation: str, key: str, **parameters: Any) -> dict[str, Any]:
        """Send a request that makes a scratch object. The version that it makes is deleted at the end."""
        self._made[key] = None
        try:
            answer = self.call(operation, key, **parameters)
        except S3Error as error:
            if error.status is not None and error.status < 500 and not error.was_retried:
                del self._made[key]  # refused: a DELETE would leave a delete marker in a versioned bucket
            raise
        if not answer.get("ResponseMetadata", {}).get(
            "RetryAttempts"
        ):  # else an earlier attempt may have made a version too
            self._made[key] = answer.get("VersionId")
        return answer

    def begin_upload(self, key: str, **parameters: Any) -> dict[str, Any]:
        """Create an upload in parts, which will be aborted at the end unless it is completed by :meth:`complete`.

        Before it an object is written, which shows other processes that this experiment is not over: see ``leftovers.py``. A store that
        refuses it, since a policy asks for encryption for instance, may still take the upload.

        Requests:
            2
        """
        with suppress(S3Error):
            self.write("PutObject", self.new_key(), Body=b"")
        self._uploads[key] = None
        answer = self.call("CreateMultipartUpload", key, **parameters)
        self._uploads[key] = answer["UploadId"]
        return answer

    def complete(self, key: str, **parameters: Any) -> dict[str, Any]:
        """Complete an upload."""
        answer = self.write("CompleteMultipartUpload", key, UploadId=self._uploads[key], **parameters)
        del self._uploads[key]
        return answer

    def remove_left(self) -> None:
        """Delete what earlier experiments in this folder have left, unless this process has done so before.

        Requests:
            2 listings, and 1 for what :func:`~messageflux_s3._objects.versioned.is_versioned` asks
        """
        facts, fact = self.connection.facts, _fact(self.place)
        if self._made and not facts.get(fact):
            try:
                facts[fact] = self.place.remove_left(self.prefix, is_versioned=is_versioned(self.place.bucket))
            except S3Error as error:
                logger.debug("whether %s keeps versions is unknown: %s", self.place.bucket.name, error)

    def clean(self) -> None:
        """Abort the uploads and delete the scratch objects; a failure is logged. May be called again after an interrupt.

        Requests:
            1 for each object and upload; in a bucket with versions 1 more, and 1 for each version, for an object whose write had no
            response; 1 more for an upload whose creation had no response
        """
        for key, upload_id in [*self._uploads.items()]:
            with self._logging_failure(key):
                if upload_id is None:
                    self.place.abort_all(key)
                else:
                    self.place.abort(key, upload_id)
            del self._uploads[key]
        for key, version_id in [*self._made.items()]:
            with self._logging_failure(key):
                self._delete(key, version_id)
            del self._made[key]

    @contextmanager
    def _logging_failure(self, key: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            logger.warning("a scratch object may be left at s3://%s/%s", self.place.bucket.name, key, exc_info=error)

    def _delete(self, key: str, version_id: str | None) -> None:
        answer = self.place.delete(key, version_id)
        if version_id is not None or not answer.get("DeleteMarker"):
            return
        # The response to the write was lost, and the bucket keeps versions: the object is hidden below a delete marker.
        for entry in self.place.entries(key, is_versioned=True):
            if entry.key == key:
                self.place.delete(key, entry.version_id)


@contextmanager
def scratch_beside(address: ObjectAddress, given: Mapping[str, Any]) -> Iterator[ScratchBeside]:
    """Make scratch objects beside an object, and delete them at the end.

    Args:
        address: The object.
        given: Parameters that every request about the object needs (``RequestPayer``, ``ExpectedBucketOwner``).

    Raises:
        S3Error: The experiment took too long.

    Requests:
        those of :meth:`ScratchBeside.clean`; those of :meth:`ScratchBeside.remove_left` once for each folder
    """
    scratch = ScratchBeside(address, given)
    try:
        yield scratch
        scratch.deadline.check(address.bucket)
        scratch.remove_left()
    finally:
        run_to_the_end(scratch.clean)
