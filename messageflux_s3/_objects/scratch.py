"""Scratch objects for experiments on a store. They are always deleted at the end, also when an experiment fails."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .._client.addresses import BucketAddress
from .._formats import etags
from ..errors import S3Error, S3NoSuchItem
from .versioned import is_versioned

logger = logging.getLogger("messageflux_s3")

SCRATCH_PREFIX = ".mfs3-probe/"
"""Prefix of the scratch objects of probes; they are deleted when the probe ends."""

_SMALL_BODY_TIMEOUT = 10.0
"""Seconds to wait for a body of a few bytes after its headers. After a refused copy, LocalStack announces more bytes than it sends."""


class Scratch:
    """A random prefix for scratch objects, and the requests of a probe."""

    def __init__(self, bucket: BucketAddress) -> None:
        self.connection = bucket.connection
        self.bucket_name = bucket.name
        self.prefix = f"{SCRATCH_PREFIX}{secrets.token_hex(8)}/"
        self.keys: set[str] = set()
        self.uploads: set[tuple[str, str]] = set()
        # Requested before anything is written: the cleanup needs it, and a request at the end might fail.
        self.keeps_versions = is_versioned(bucket)
        self._mutex = threading.Lock()

    def new_key(self) -> str:
        with self._mutex:
            key = f"{self.prefix}{len(self.keys)}"
            self.keys.add(key)
        return key

    def add_upload(self, key: str, upload_id: str) -> None:
        """Register an upload in parts, to be aborted at the end."""
        with self._mutex:
            self.uploads.add((key, upload_id))

    def put(self, key: str, body: bytes, **condition: str) -> str:
        answer = self.connection.call("PutObject", Bucket=self.bucket_name, Key=key, Body=body, **condition)
        return etags.unquoted(answer.get("ETag")) or self.etag(key)

    def etag(self, key: str) -> str:
        return etags.unquoted(self.connection.call("HeadObject", Bucket=self.bucket_name, Key=key).get("ETag")) or ""

    def read(self, key: str) -> bytes | None:
        """Read an object with one GET. RangedReader would resume, but here a truncated body is itself a result of the probe."""
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


@contextmanager
def scratch_objects(bucket: BucketAddress) -> Iterator[Scratch]:
    scratch = Scratch(bucket)
    try:
        yield scratch
    finally:
        try:
            _clean(scratch)
        except S3Error as error:
            logger.warning("scratch objects may be left at s3://%s/%s", bucket.name, scratch.prefix, exc_info=error)


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
