"""Scratch objects for experiments on a store. They are always deleted at the end, even if an experiment fails."""

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
from .versioned import is_versioned

logger = logging.getLogger("messageflux_s3")

SCRATCH_PREFIX = ".mfs3-probe/"
"""Prefix of the scratch objects of probes; they are deleted when the probe ends."""

_SMALL_BODY_TIMEOUT = 10.0
"""Seconds to wait for a body of a few bytes after its headers. After a refused copy, LocalStack announces more bytes than it sends."""

_socket_of = attrgetter("_raw_stream._fp.fp.raw._sock")  # of botocore's StreamingBody


class Scratch:
    """A random prefix for scratch objects, and the requests of a probe. Every key has to come from :meth:`new_key`, to be deleted."""

    def __init__(self, bucket: BucketAddress) -> None:
        self.bucket = bucket
        self.connection = bucket.connection
        self.bucket_name = bucket.name
        self.prefix = f"{SCRATCH_PREFIX}{secrets.token_hex(8)}/"
        self.keys: set[str] = set()
        self.uploads: set[tuple[str, str]] = set()
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

    def add_upload(self, key: str, upload_id: str) -> None:
        """Register an upload in parts, to be aborted at the end."""
        with self._mutex:
            self.uploads.add((key, upload_id))

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
            body: bytes = answer["Body"].read()
        answer["Body"].close()
        return body


@contextmanager
def scratch_objects(bucket: BucketAddress) -> Iterator[Scratch]:
    """Yield a prefix for scratch objects; at the end, also after an interrupt, delete them, or log where they are left."""
    scratch = Scratch(bucket)
    try:
        yield scratch
    finally:
        try:
            _clean(scratch)
        except BaseException as error:
            logger.warning("scratch objects may be left at s3://%s/%s", bucket.name, scratch.prefix, exc_info=error)
            if not isinstance(error, S3Error):
                raise


def _clean(scratch: Scratch) -> None:
    """Delete every scratch object with its versions. All writers must have finished."""
    connection, bucket = scratch.connection, scratch.bucket_name
    for key, upload_id in scratch.uploads:
        try:
            connection.call("AbortMultipartUpload", Bucket=bucket, Key=key, UploadId=upload_id)
        except S3Error:
            continue  # the upload was completed
    entries: list[dict[str, str]] = [{"Key": key} for key in sorted(scratch.keys)]
    if scratch.keeps_versions:
        parameters: dict[str, Any] = {"Bucket": bucket, "Prefix": scratch.prefix}
        entries = []
        while True:
            page = connection.call("ListObjectVersions", **parameters)
            for found in [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]:
                if found["Key"].startswith(scratch.prefix):  # some stores ignore or alter the prefix
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


class ScratchBeside:
    """Scratch objects in the folder of an object, where the same permissions apply; sends the requests of one experiment.

    Attributes:
        connection: The connection to the store.
    """

    def __init__(self, address: ObjectAddress, given: Mapping[str, Any]) -> None:
        self.connection = address.connection
        self._bucket_name = address.bucket_name
        folder = address.key[: address.key.rfind("/") + 1].encode()[: MAX_KEY_BYTES - 40].decode("utf-8", "ignore")
        self._prefix = f"{folder}mfs3-probe-{secrets.token_hex(6)}"
        self._given = given
        self._count = 0
        self._made: dict[str, str | None] = {}  # key: version ID

    def new_key(self) -> str:
        self._count += 1
        return self._prefix if self._count == 1 else f"{self._prefix}-{self._count}"

    def where(self, key: str) -> dict[str, Any]:
        """Return the parameters that every request for a scratch object has."""
        return {"Bucket": self._bucket_name, "Key": key, **self._given}

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
        self._made[key] = answer.get("VersionId")
        return answer

    def clean(self) -> None:
        """Delete the scratch objects; a failure is logged. An interrupt is raised after all were tried.

        Requests:
            1 for each object; in a bucket with versions 1 more, and 1 for each version, for an object whose write had no response
        """
        interrupt: BaseException | None = None
        for key, version_id in self._made.items():
            try:
                self._delete(key, version_id)
            except S3NoSuchItem:
                continue
            except BaseException as error:
                logger.warning("a scratch object may be left at s3://%s/%s", self._bucket_name, key, exc_info=error)
                if not isinstance(error, Exception):
                    interrupt = interrupt or error
        if interrupt is not None:
            raise interrupt

    def _delete(self, key: str, version_id: str | None) -> None:
        version = {} if version_id is None else {"VersionId": version_id}
        answer = self.call("DeleteObject", key, **version)
        if version_id is not None or not answer.get("DeleteMarker"):
            return
        # The response to the write was lost, and the bucket keeps versions: the object is hidden below a delete marker.
        found = self.connection.call("ListObjectVersions", Bucket=self._bucket_name, Prefix=key, **self._given)
        for entry in (*found.get("Versions", ()), *found.get("DeleteMarkers", ())):
            if entry["Key"] == key:
                self.call("DeleteObject", key, VersionId=entry["VersionId"])


@contextmanager
def scratch_beside(address: ObjectAddress, given: Mapping[str, Any]) -> Iterator[ScratchBeside]:
    """Make scratch objects beside an object, and delete them at the end.

    Args:
        address: The object.
        given: Parameters that every request about the object needs (``RequestPayer``, ``ExpectedBucketOwner``).
    """
    scratch = ScratchBeside(address, given)
    try:
        yield scratch
    finally:
        scratch.clean()
