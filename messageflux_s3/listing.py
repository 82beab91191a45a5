"""Pages of keys and prefixes, in key order, by ListObjectsV2.

This room knows a connection and a bucket's name. An entry stays the tuple of what the store said; nothing is decoded before somebody looks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from .connection import Connection


class Listed(NamedTuple):
    """What a listing says of one object. Text as the store sent it, or what boto3 made of it."""

    key: str
    last_modified: str | datetime
    etag: str
    size: str | int
    storage_class: str


class Page(NamedTuple):
    """One answer of the store."""

    objects: list[Listed]
    prefixes: list[str]


def pages(
    connection: Connection,
    bucket_name: str,
    *,
    prefix: str = "",
    delimiter: str = "",
    start_after: str = "",
    page_size: int = 1000,
    extra: Mapping[str, Any] | None = None,
) -> Iterator[Page]:
    """The pages of a listing, one after the other.

    Args:
        connection: The way to the store.
        bucket_name: The bucket.
        prefix: What every key begins with.
        delimiter: Keys that have it after the prefix are rolled up into common prefixes.
        start_after: Only keys after this one.
        page_size: Entries a page, 1,000 at the most.
        extra: Further parameters of ListObjectsV2.

    Requests:
        1 per page
    """
    parameters: dict[str, Any] = {"Bucket": bucket_name, "MaxKeys": page_size, **(extra or {})}
    if prefix:
        parameters["Prefix"] = prefix
    if delimiter:
        parameters["Delimiter"] = delimiter
    if start_after:
        parameters["StartAfter"] = start_after
    while True:
        answer = connection.call("ListObjectsV2", **parameters)
        yield Page(
            [
                Listed(found["Key"], found["LastModified"], found.get("ETag", ""), found["Size"], found.get("StorageClass", "STANDARD"))
                for found in answer.get("Contents", ())
                if found["Key"] > start_after
            ],
            [found["Prefix"] for found in answer.get("CommonPrefixes", ())],
        )
        token = answer.get("NextContinuationToken")
        if not answer.get("IsTruncated") or not token:
            return
        parameters["ContinuationToken"] = token
