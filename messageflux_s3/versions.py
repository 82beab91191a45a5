"""Versions of objects, and what else a bucket keeps out of sight. This room knows a connection and a bucket's name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from . import batch
from .condition_probe import keeps_versions
from .connection import Connection
from .errors import S3Error, S3NoSuchItem, S3Unsupported


class ListedVersion(NamedTuple):
    """What a listing says of one version; begins as an entry of a plain listing does."""

    key: str
    last_modified: str | datetime
    etag: str
    size: str | int
    storage_class: str
    version_id: str
    is_latest: bool


class VersionPage(NamedTuple):
    """One answer of the store."""

    objects: list[ListedVersion]
    prefixes: list[str]
    delete_markers: list[ListedVersion]


def pages(
    connection: Connection,
    bucket_name: str,
    *,
    prefix: str = "",
    delimiter: str = "",
    start_after: str = "",
    page_size: int = 1000,
    extra: Mapping[str, Any] | None = None,
) -> Iterator[VersionPage]:
    """The pages of a listing of versions: arguments as for a plain listing.

    Requests:
        1 per page
    """
    parameters: dict[str, Any] = {"Bucket": bucket_name, "MaxKeys": page_size, **(extra or {})}
    for name, value in (("Prefix", prefix), ("Delimiter", delimiter), ("KeyMarker", start_after)):
        if value:
            parameters[name] = value
    while True:
        answer = connection.call("ListObjectVersions", **parameters)
        yield VersionPage(
            [_listed(found) for found in answer.get("Versions", ())],
            [found["Prefix"] for found in answer.get("CommonPrefixes", ())],
            [_listed(found) for found in answer.get("DeleteMarkers", ())],
        )
        if not answer.get("IsTruncated"):
            return
        _go_on(parameters, answer, "VersionIdMarker")


def _listed(found: Mapping[str, Any]) -> ListedVersion:
    return ListedVersion(
        found["Key"],
        found["LastModified"],
        found.get("ETag", ""),
        found.get("Size", 0),
        found.get("StorageClass", "STANDARD"),
        found["VersionId"],
        bool(found.get("IsLatest")),
    )


def of_key(connection: Connection, bucket_name: str, key: str) -> Iterator[ListedVersion]:
    """The versions of one object, the newest first; delete markers are left out.

    Requests:
        1 per 1,000 versions
    """
    for page in pages(connection, bucket_name, prefix=key):
        yield from (entry for entry in page.objects if entry.key == key)
        if any(entry.key > key for entry in page.objects):
            return


def undelete(connection: Connection, bucket_name: str, key: str) -> bool:
    """Take away the delete markers that stand on top of an object.

    Returns:
        Whether there were any.

    Requests:
        1 per 1,000 versions, and 1 a marker
    """
    newest = None
    markers: list[ListedVersion] = []
    for page in pages(connection, bucket_name, prefix=key):
        newest = newest or next((entry for entry in page.objects if entry.key == key), None)
        markers += [entry for entry in page.delete_markers if entry.key == key]
    on_top = [marker for marker in markers if newest is None or _time(marker) >= _time(newest)]
    if not any(marker.is_latest for marker in on_top):
        return False
    batch.deleted(connection, bucket_name, ((marker.key, marker.version_id) for marker in on_top))
    return True


def _time(entry: ListedVersion) -> str:
    moment = entry.last_modified
    return moment if isinstance(moment, str) else moment.isoformat()


def clear_versions(connection: Connection, bucket_name: str) -> None:
    """Delete every version and every delete marker. On a store that keeps none there is nothing to do.

    Raises:
        S3BatchError: Some could not be deleted.

    Requests:
        2 per 1,000 versions
    """
    if not keeps_versions(connection, bucket_name):
        return
    found = (
        (entry.key, entry.version_id)
        for page in pages(connection, bucket_name)
        for entry in (*page.objects, *page.delete_markers)
    )
    batch.deleted(connection, bucket_name, found)


def check_deletable(connection: Connection, bucket_name: str, version_id: str) -> None:
    """Let the deletion of a version through only where versions are kept: elsewhere some stores delete the object itself.

    Raises:
        S3Unsupported: The bucket keeps no versions.

    Requests:
        none on AWS, else 1
    """
    if connection.is_aws or version_id == "null" or keeps_versions(connection, bucket_name):
        return
    raise S3Unsupported(
        f"s3://{bucket_name}/ keeps no versions: to delete version {version_id} there might delete the object itself. Nothing was sent.",
        bucket=bucket_name,
    )


def abort_uploads(connection: Connection, bucket_name: str) -> None:
    """Abort every unfinished multipart upload.

    Requests:
        1 per 1,000 uploads, and 1 an upload
    """
    parameters: dict[str, Any] = {"Bucket": bucket_name}
    while True:
        try:
            answer, root = connection.call_with_root("ListMultipartUploads", **parameters)
        except (S3Unsupported, S3NoSuchItem):
            return  # the store has no such listing, or says so when it is empty
        if root != "ListMultipartUploadsResult":
            return  # the store does not know ?uploads and sent something else
        for found in answer.get("Uploads", ()):
            try:
                connection.call("AbortMultipartUpload", Bucket=bucket_name, Key=found["Key"], UploadId=found["UploadId"])
            except S3Error as error:
                if error.code != "NoSuchUpload":
                    raise
        if not answer.get("IsTruncated"):
            return
        _go_on(parameters, answer, "UploadIdMarker")


def _go_on(parameters: dict[str, Any], answer: Mapping[str, Any], second: str) -> None:
    """Set the markers for the next page.

    Raises:
        S3Error: The store says that there is more, and not where, or where this page began already: to ask on would never end.
    """
    markers = {"KeyMarker": answer.get("NextKeyMarker", ""), second: answer.get(f"Next{second}", "")}
    known = {name: parameters.get(name, "") for name in markers}
    if not markers["KeyMarker"] or markers == known:
        raise S3Error(f"s3://{parameters['Bucket']}/: the store says that its listing goes on, and not where", bucket=parameters["Bucket"])
    parameters.pop(second, None)
    parameters.update({name: marker for name, marker in markers.items() if marker})  # AWS refuses an empty one
