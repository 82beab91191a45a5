"""Removal of scratch objects and unfinished uploads that an experiment left because its process was killed.

All that an experiment writes has a reserved name with a random part, the name of its *run*: ``.mfs3-probe/<16 hexadecimal digits>/…``, or
``mfs3-probe-<12 hexadecimal digits>`` in the folder of an object, or a scratch bucket ``mfs3-probe-<16 hexadecimal digits>``. A later
experiment deletes a run if its newest object is older by :data:`LEFT_AFTER` than an object that the later one has just written. Both times
are the store's own, in one listing; the local clock is not used, and a store whose times are constant keeps everything. No experiment takes
that long: :class:`Deadline` ends it.

An upload in parts keeps its run alive by the time at which it was begun. Some stores report a constant or no time for it, so code that
begins an upload MUST have written an object of the same run before, and delete it after the upload has ended.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, NamedTuple

from .._client.addresses import BucketAddress
from .._formats.times import as_utc
from ..errors import S3AccessDenied, S3Error, S3NoSuchItem, S3Unsupported

logger = logging.getLogger("messageflux_s3")

LONGEST = timedelta(minutes=45)
"""The longest time that an experiment may take."""

LEFT_AFTER = timedelta(hours=1)
"""The age at which what an experiment has written is left over."""

SCRATCH_PREFIX = ".mfs3-probe/"
"""Prefix of the scratch objects of probes and races."""

NAME_BESIDE = "mfs3-probe-"
"""Beginning of the name, without its folder, of a scratch object beside an object."""

SCRATCH_BUCKET = re.compile(r"mfs3-probe-[0-9a-f]{16}")
"""The name of a scratch bucket."""

_RUN_OF_PROBE = re.compile(rf"({re.escape(SCRATCH_PREFIX)}[0-9a-f]{{16}}/).+", re.DOTALL)
_RUN_BESIDE = re.compile(rf"({NAME_BESIDE}[0-9a-f]{{12}})(?:-[0-9]+)?")


class Deadline:
    """The end of an experiment, long before other processes may delete what it has written.

    The wall clock is used, since the monotonic one stands still while a computer sleeps.
    """

    def __init__(self) -> None:
        self._begun = time.time()

    def check(self, bucket: BucketAddress) -> None:
        """Raise if the experiment took too long: its objects may have been deleted, so that its result would be wrong.

        Raises:
            S3Error: More than :data:`LONGEST` has passed.
        """
        if abs(time.time() - self._begun) > LONGEST.total_seconds():
            raise S3Error(
                f"s3://{bucket.name}/: an experiment took longer than {LONGEST}; other processes may delete its scratch objects soon",
                bucket=bucket.name,
                retryable=True,
            )


class Entry(NamedTuple):
    """An object, version or delete marker; its time is None if the store does not say."""

    key: str
    version_id: str | None
    modified: datetime | None


class Upload(NamedTuple):
    """An unfinished upload in parts; some stores give no time, or a constant."""

    key: str
    upload_id: str
    begun: datetime | None


class Place(NamedTuple):
    """Where the scratch objects of one kind are in a bucket.

    Attributes:
        bucket: The bucket.
        folder: The folder with a slash at its end, or "".
        is_beside: Whether the objects are beside an object; False for those of probes and races, which have a folder of their own.
        given: Parameters that every request needs.
    """

    bucket: BucketAddress
    folder: str = ""
    is_beside: bool = False
    given: Mapping[str, Any] = MappingProxyType({})

    @property
    def prefix(self) -> str:
        """The prefix of the keys."""
        return self.folder + (NAME_BESIDE if self.is_beside else SCRATCH_PREFIX)

    def run_of(self, key: str) -> str | None:
        """Return the run that a scratch object belongs to, as the beginning of its key; None for any other object."""
        if not key.startswith(self.folder):
            return None
        pattern = _RUN_BESIDE if self.is_beside else _RUN_OF_PROBE
        found = pattern.fullmatch(key, len(self.folder))
        return None if found is None else key[: found.end(1)]

    def call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """Send a request about the bucket."""
        return self.bucket.connection.call(operation, Bucket=self.bucket.name, **self.given, **parameters)

    def uploads(self, prefix: str) -> list[Upload]:
        """Return every unfinished upload of a run below a prefix; none if the store does not list them.

        Requests:
            1 per 1,000 uploads
        """
        found: list[Upload] = []
        parameters: dict[str, Any] = {"Prefix": prefix}
        positions = set[Any]()
        while True:
            try:
                answer, root = self.bucket.connection.call_with_root(
                    "ListMultipartUploads",
                    "ListMultipartUploadsResult",
                    Bucket=self.bucket.name,
                    **self.given,
                    **parameters,
                )
            except (S3Unsupported, S3NoSuchItem):
                return []  # not supported, or a 404: some stores send that if there are no uploads
            if root != "ListMultipartUploadsResult":
                return []  # the store ignored ?uploads
            found += [
                Upload(one["Key"], one["UploadId"], _time(one, "Initiated"))
                for one in answer.get("Uploads", ())
                if one["Key"].startswith(prefix) and self.run_of(one["Key"]) is not None
            ]
            position = answer.get("NextKeyMarker"), answer.get("NextUploadIdMarker")
            # A store that returns to an earlier page would be asked for ever.
            if not answer.get("IsTruncated") or None in position or position in positions:
                return found
            positions.add(position)
            parameters.update(KeyMarker=position[0], UploadIdMarker=position[1])

    def entries(self, prefix: str, *, is_versioned: bool) -> Iterator[Entry]:
        """Yield the objects of all runs below a prefix; with versioning every version and delete marker.

        Requests:
            1 per 1,000 objects

        Raises:
            S3Error: The request failed, or the listing is not that of the prefix, or does not end.
        """
        is_old = self.bucket.connection.capabilities.list_v2 is False
        operation, position = ("ListObjects", "Marker") if is_old else ("ListObjectsV2", "StartAfter")
        if is_versioned:
            operation = "ListObjectVersions"
        parameters: dict[str, Any] = {"Prefix": prefix}
        positions = set[Any]()
        while True:
            page = self.call(operation, **parameters)
            listed = [*page.get("Contents", ()), *page.get("Versions", ()), *page.get("DeleteMarkers", ())]
            for found in listed:
                # Some stores ignore or alter the prefix.
                if found["Key"].startswith(prefix) and self.run_of(found["Key"]) is not None:
                    yield Entry(found["Key"], found.get("VersionId"), _time(found, "LastModified"))
            if not page.get("IsTruncated"):
                return
            if is_versioned:
                markers = {name: page.get(f"Next{name}") or "" for name in ("KeyMarker", "VersionIdMarker")}
                is_same = not markers["KeyMarker"] or tuple(markers.values()) in positions
                positions.add(tuple(markers.values()))
            else:
                markers = {position: max((found["Key"] for found in listed), default="")}
                # A store that ignores the prefix would list the whole bucket.
                is_same = markers[position] <= parameters.get(position, "") or not markers[position].startswith(prefix)
            if is_same:
                raise S3Error(
                    f"s3://{self.bucket.name}/: {operation} of {prefix!r} does not end", bucket=self.bucket.name
                )
            parameters.update({name: marker for name, marker in markers.items() if marker})

    def delete(self, key: str, version_id: str | None = None) -> dict[str, Any]:
        """Delete a scratch object, or one of its versions; one that is gone already is not an error.

        Requests:
            1; if a version may not be deleted, 1 to end a legal hold and 1 more
        """
        version = {} if version_id is None else {"VersionId": version_id}
        try:
            return self.call("DeleteObject", Key=key, **version)
        except S3NoSuchItem:
            return {}
        except S3AccessDenied:
            if version_id is None:
                raise
        # A process was killed between setting a legal hold, in an experiment with object locks, and ending it. A store that ignores
        # ?legal-hold would overwrite the scratch object, and nothing else.
        self.call("PutObjectLegalHold", Key=key, LegalHold={"Status": "OFF"}, **version)
        return self.call("DeleteObject", Key=key, **version)

    def abort(self, key: str, upload_id: str) -> None:
        """Abort an upload; one that has ended already is not an error. Requests: 1."""
        try:
            self.call("AbortMultipartUpload", Key=key, UploadId=upload_id)
        except S3Error as error:
            if error.status != 404:
                raise

    def abort_all(self, prefix: str) -> None:
        """Abort the uploads of all runs below a prefix. Requests: 1 per 1,000 uploads, and 1 for each upload."""
        for key, upload_id, _ in self.uploads(prefix):
            self.abort(key, upload_id)

    def remove_left(self, own: str, *, is_versioned: bool) -> bool:
        """Delete what experiments whose process was killed have left here. A failure is logged.

        Args:
            own: The run of the present experiment, which has written an object.
            is_versioned: Whether the bucket has versioning.

        Returns:
            Whether that is done, and need not be done again by this process.

        Requests:
            2 if there is nothing, the listings; else also 1 for each upload and object
        """
        try:
            uploads = self.uploads(self.prefix)  # MUST come before the objects: an experiment writes an object first
            by_run: dict[str, list[Entry]] = {}
            for entry in self.entries(self.prefix, is_versioned=is_versioned):
                by_run.setdefault(self.run_of(entry.key) or "", []).append(entry)
            if own not in by_run:
                return False  # nothing to compare the times with
            now = _newest(by_run.pop(own))
            if now is None:
                return True
            before = now - LEFT_AFTER
            newest = {run: _newest(entries) for run, entries in by_run.items()}
            alive = {own, *(run for run, moment in newest.items() if moment is None or moment >= before)}
            alive |= {
                self.run_of(upload.key) or ""
                for upload in uploads
                if upload.begun is not None and upload.begun >= before
            }
        except S3Error as error:  # not allowed to list, or a listing that is not understood
            logger.debug(
                "scratch objects left at s3://%s/%s cannot be listed: %s", self.bucket.name, self.prefix, error
            )
            return not error.retryable
        try:
            for upload in uploads:
                if self.run_of(upload.key) not in alive:
                    self.abort(upload.key, upload.upload_id)
            for run in by_run.keys() - alive:
                logger.info("deleting scratch objects of a process that was killed: s3://%s/%s", self.bucket.name, run)
                for key, version_id, _ in by_run[run]:
                    self.delete(key, version_id)
        except S3Error as error:
            logger.warning(
                "scratch objects of a process that was killed are left at s3://%s/%s: %s",
                self.bucket.name,
                self.prefix,
                error,
            )
        return True


def _newest(entries: list[Entry]) -> datetime | None:
    """Return the latest time; None if one is unknown."""
    known = [entry.modified for entry in entries if entry.modified is not None]
    return max(known) if len(known) == len(entries) else None


def _time(found: Mapping[str, Any], name: str) -> datetime | None:
    try:
        return as_utc(found[name])
    except (KeyError, ValueError):
        return None
