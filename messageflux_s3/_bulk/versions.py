"""List and remove versions, delete markers, incomplete multipart uploads, and empty buckets."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from itertools import chain
from typing import Any, NamedTuple, TypeVar
from urllib.parse import unquote_plus

from .._client import buckets
from .._client.addresses import BucketAddress, ObjectAddress
from .._objects.versioned import forget, keeps_versions
from ..errors import S3BucketNotEmpty, S3Error, S3NoSuchItem, S3ServerError, S3Unsupported
from . import batch, common_prefixes, listing
from .positions import Positions

logger = logging.getLogger("messageflux_s3")

T = TypeVar("T")

_TRIES = 3
"""How often what a store still lists is deleted again."""


class ListedVersion(NamedTuple):
    """The listing entry of a version; the first five fields are the same as in a listing of objects."""

    key: str
    last_modified: str | datetime
    etag: str
    size: str | int
    storage_class: str
    version_id: str
    is_latest: bool


class VersionPage(NamedTuple):
    """One page of a listing of versions."""

    objects: list[ListedVersion]
    prefixes: list[str]
    delete_markers: list[ListedVersion]


def pages(
    bucket: BucketAddress,
    *,
    prefix: str = "",
    delimiter: str = "",
    start_after: str = "",
    extra: Mapping[str, Any] | None = None,
) -> Iterator[VersionPage]:
    """Yield the pages of a listing of versions. The arguments are the same as for a listing of objects.

    Raises:
        S3Unsupported: The store ignored ``?versions`` and sent another listing, or versions without IDs, or does not support the delimiter.

    Requests:
        1 per page
    """
    parameters: dict[str, Any] = {"Bucket": bucket.name, "MaxKeys": 1000, **(extra or {})}
    if start_after <= prefix and not start_after.startswith(prefix):
        start_after = ""  # before all of these keys; MinIO refuses a start that does not begin with the prefix
    for name, value in (("Prefix", prefix), ("Delimiter", delimiter), ("KeyMarker", start_after)):
        if value:
            parameters[name] = value
    positions = Positions()
    while True:
        answer, root = bucket.connection.call_with_root("ListObjectVersions", "ListVersionsResult", **parameters)
        if root is not None and "Version" not in root:  # boto3 would parse it as an empty listing
            raise _unsupported(bucket, f"it ignored ?versions and sent a document {root}")
        # Drop entries that the server should have filtered out: some stores alter the prefix, others begin with the key marker itself.
        versions, markers = (
            [
                _listed(bucket, found)
                for found in answer.get(name, ())
                if found["Key"].startswith(prefix) and found["Key"] > start_after
            ]
            for name in ("Versions", "DeleteMarkers")
        )
        prefixes = [found["Prefix"] for found in answer.get("CommonPrefixes", ()) if found["Prefix"].startswith(prefix)]
        page = VersionPage(versions, prefixes, markers)
        keys = (entry.key for entry in (*page.objects, *page.delete_markers))
        if delimiter and not common_prefixes.are_rolled_up(keys, page.prefixes, prefix, delimiter):
            raise _unsupported(bucket, f"it does not support the delimiter {delimiter!r}")
        yield page
        if not _is_truncated(answer):
            return
        _go_on(parameters, answer, "VersionIdMarker", positions)


def _unsupported(bucket: BucketAddress, why: str) -> S3Unsupported:
    return S3Unsupported(
        f"s3://{bucket.name}/: this store cannot list versions in this way: {why}",
        operation="ListObjectVersions",
        bucket=bucket.name,
    )


def _listed(bucket: BucketAddress, found: Mapping[str, Any]) -> ListedVersion:
    if not found.get("VersionId"):  # a handle without it would be one of the current object
        raise _unsupported(bucket, f"the version of {found['Key']!r} has no ID")
    if not found.get("LastModified"):  # what deletes experiments' objects needs none
        raise S3ServerError(
            f"ListObjectVersions on s3://{bucket.name}/: an entry of the listing has no LastModified: {found['Key']!r}",
            operation="ListObjectVersions",
            bucket=bucket.name,
            retryable=True,
        )
    return ListedVersion(
        found["Key"],
        found["LastModified"],
        found.get("ETag", ""),
        found.get("Size", 0),
        found.get("StorageClass", "STANDARD"),
        found["VersionId"],
        bool(found.get("IsLatest")),
    )


def of_key(address: ObjectAddress) -> Iterator[ListedVersion]:
    """Yield the versions of one object, newest first, without delete markers.

    Requests:
        1 per 1,000 versions
    """
    key = address.key
    for page in pages(address.bucket, prefix=key):
        yield from (entry for entry in page.objects if entry.key == key)
        if any(entry.key > key for entry in page.objects):
            return


def undelete(address: ObjectAddress) -> bool:
    """Delete the delete markers that hide an object, so that its latest version is current again.

    Returns:
        Whether there were any delete markers.

    Raises:
        S3Unsupported: The store did not delete a marker, although it reported success; the object is still hidden.

    Requests:
        1, and 2 for each marker
    """
    (connection, bucket_name), key, _ = address
    deleted: ListedVersion | None = None
    while True:
        # Two entries: a store that ignores the version ID of a deletion puts a new marker above the one that was to be deleted.
        newest = next(pages(address.bucket, prefix=key, extra={"MaxKeys": 2}))
        markers = [entry for entry in newest.delete_markers if entry.key == key]
        if deleted is not None and any(marker.version_id == deleted.version_id for marker in markers):
            raise _not_deleted(address.bucket, deleted.key, deleted.version_id)
        marker = next((entry for entry in markers if entry.is_latest), None)
        if marker is None:
            return deleted is not None
        batch.delete_all(BucketAddress(connection, bucket_name), [(marker.key, marker.version_id)])
        deleted = marker


def _not_deleted(bucket: BucketAddress, key: str, version_id: str) -> S3Unsupported:
    return S3Unsupported(
        f"s3://{bucket.name}/{key}: the store reported version {version_id} as deleted, but still lists it",
        operation="DeleteObject",
        bucket=bucket.name,
        key=key,
    )


def clear_versions(bucket: BucketAddress) -> None:
    """Delete every version and every delete marker; does nothing in a bucket without versioning.

    Raises:
        S3BatchError: Some versions could not be deleted.
        S3ServerError: The store answered the deletions with a success, and still lists a version.

    Requests:
        2, and 2 per 1,000 versions
    """

    def found() -> Iterator[tuple[str, str]]:
        for page in pages(bucket):
            yield from ((entry.key, entry.version_id) for entry in (*page.objects, *page.delete_markers))

    if keeps_versions(bucket):
        _remove_all(bucket, found, lambda entries: batch.delete_all(bucket, entries))


def delete_bucket(bucket: BucketAddress) -> None:
    """Delete an empty bucket.

    Never send DeleteBucket to a store that is not AWS before a listing has shown that the bucket is empty: SeaweedFS by default, and
    gateways that delete a folder, delete it with everything in it.

    Raises:
        S3BucketNotEmpty: The bucket holds objects or versions.

    Requests:
        1; on a store that is not AWS also 1 listing of objects and 1 of versions
    """
    if not bucket.connection.is_aws and (key := _first_key(bucket)) is not None:
        raise S3BucketNotEmpty(
            f"DeleteBucket on s3://{bucket.name}/: the bucket is not empty: it holds {key!r}. Nothing was sent. delete_bucket(force=True) "
            "deletes its contents first.",
            operation="DeleteBucket",
            bucket=bucket.name,
            code="BucketNotEmpty",
        )
    buckets.delete(bucket)
    forget(bucket)


def _first_key(bucket: BucketAddress) -> str | None:
    """Return the key of an object or a version in a bucket; None if it has none, as far as the store can list them."""
    for page in listing.pages(bucket, limit=1, extra={"MaxKeys": 1}):
        for listed in page.objects:
            return listed[0]
    try:
        for found in pages(bucket, extra={"MaxKeys": 1}):
            for entry in (*found.objects, *found.delete_markers):
                return entry.key
    except S3Error as error:
        if error.retryable:
            raise
        logger.debug("versions in %s cannot be listed: %s", bucket.name, error)
    return None


def _remove_all(
    bucket: BucketAddress, found: Callable[[], Iterator[T]], remove: Callable[[Iterator[T]], object]
) -> None:
    """Remove the entries and list again until there are none: some stores cannot continue a listing after a deleted entry.

    Raises:
        S3ServerError: The store still lists an entry after several deletions that it answered with a success.
    """
    last_first: T | None = None
    tries = 0
    while True:
        listing = found()
        first = next(listing, None)
        if first is None:
            return
        tries = tries + 1 if first == last_first else 0
        if tries == _TRIES:
            raise S3ServerError(
                f"s3://{bucket.name}/: the store answered the deletion of {first!r} with a success, and still lists it",
                bucket=bucket.name,
                retryable=True,
            )
        if tries:
            time.sleep(0.1 * 2**tries)  # the listing may be late
        remove(chain([first], listing))
        last_first = first


def check_deletable(bucket: BucketAddress, version_id: str) -> None:
    """Raise unless a version can be deleted safely.

    Never send DELETE ?versionId without this check: in a bucket without versioning some stores delete the object
    itself.

    Raises:
        S3Unsupported: The bucket has no versioning.

    Requests:
        none on AWS, else 1
    """
    if bucket.connection.is_aws or version_id == "null" or keeps_versions(bucket):
        return
    raise S3Unsupported(
        f"s3://{bucket.name}/ has no versioning: deleting version {version_id} might delete the object itself. Nothing was sent.",
        bucket=bucket.name,
    )


def abort_uploads(bucket: BucketAddress) -> None:
    """Abort every incomplete multipart upload.

    Raises:
        S3ServerError: The store answered with a success, and still lists an upload.

    Requests:
        1 per 1,000 uploads, 1 for each upload, and 1 last listing to check that none are left
    """

    def abort(uploads: Iterator[tuple[str, str]]) -> None:
        for key, upload_id in uploads:
            try:
                bucket.connection.call("AbortMultipartUpload", Bucket=bucket.name, Key=key, UploadId=upload_id)
            except S3Error as error:
                if error.code != "NoSuchUpload":
                    raise

    _remove_all(bucket, lambda: uploads(bucket), abort)


def uploads(bucket: BucketAddress) -> Iterator[tuple[str, str]]:
    """Yield the key and the upload ID of every incomplete upload; nothing if the store does not support the listing."""
    parameters: dict[str, Any] = {"Bucket": bucket.name}
    if bucket.connection.is_aws and not bucket.is_directory:  # keys may have characters that XML cannot represent
        parameters["EncodingType"] = "url"
    positions = Positions()
    while True:
        try:
            answer, root = bucket.connection.call_with_root(
                "ListMultipartUploads", "ListMultipartUploadsResult", **parameters
            )
        except (S3Unsupported, S3NoSuchItem):
            return  # not supported, or a 404: some stores send that if there are no uploads
        if root != "ListMultipartUploadsResult":
            return  # the store ignored ?uploads and returned another document
        if answer.get("EncodingType") == "url":
            answer = {**answer, "NextKeyMarker": unquote_plus(answer.get("NextKeyMarker", ""))}
            yield from ((unquote_plus(found["Key"]), found["UploadId"]) for found in answer.get("Uploads", ()))
        else:
            yield from ((found["Key"], found["UploadId"]) for found in answer.get("Uploads", ()))
        if not _is_truncated(answer):
            return
        _go_on(parameters, answer, "UploadIdMarker", positions)


def _is_truncated(answer: Mapping[str, Any]) -> bool:
    """Return whether more pages follow; some stores send the marker of the next page without IsTruncated."""
    return bool(answer.get("IsTruncated", answer.get("NextKeyMarker")))


def _go_on(parameters: dict[str, Any], answer: Mapping[str, Any], second: str, positions: Positions) -> None:
    """Set the markers for the next page.

    Raises:
        S3Error: The page is truncated, but has no markers, or those of an earlier page: the listing would never end.
    """
    markers = {"KeyMarker": answer.get("NextKeyMarker", ""), second: answer.get(f"Next{second}", "")}
    known = {name: parameters.get(name, "") for name in markers}
    if not markers["KeyMarker"] or markers == known or positions.is_repeated(markers):
        raise S3Error(
            f"s3://{parameters['Bucket']}/: the listing is truncated, but has no valid marker for the next page",
            bucket=parameters["Bucket"],
        )
    parameters.pop(second, None)
    parameters.update({name: marker for name, marker in markers.items() if marker})  # AWS rejects empty markers
