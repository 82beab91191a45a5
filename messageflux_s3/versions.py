"""Versions of objects: listing them. This room knows a connection and a bucket's name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from .connection import Connection


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
        parameters["KeyMarker"] = answer["NextKeyMarker"]
        parameters["VersionIdMarker"] = answer.get("NextVersionIdMarker", "")


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
