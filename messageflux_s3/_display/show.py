"""Representations of stores, buckets, objects and queries: of their cached state for ``repr``, and of responses for ``show()``.

The functions take values, never handles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from .._client.config import S3Config
from .._formats import render
from .._formats.render import Branch, Bytes, Cell, Rendered
from ..errors import S3AccessDenied, S3AuthenticationError, S3ConnectionError, S3Error, S3NoSuchBucket, S3Unsupported

MOST_BUCKETS = 200
ENTRIES = 20


class Entry(Protocol):
    """The attributes of an object that a table or tree shows."""

    @property
    def key(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def last_modified(self) -> datetime: ...
    @property
    def storage_class(self) -> str: ...


# -- without a request ------------------------------------------------------------------------------------------------------------


def summarize_store(config: S3Config, is_online: bool) -> Rendered:
    """Render a store's configuration."""
    return render.facts(
        "S3 store",
        [
            ("endpoint", config.endpoint_url or "from boto3's configuration (AWS)"),
            ("region", config.region),
            ("profile", config.profile),
            ("kind", config.preset),
            ("online", is_online or None),
        ],
        note="show() lists its buckets",
    )


def summarize_bucket(name: str, config: S3Config) -> Rendered:
    """Render a bucket's name and URLs."""
    pairs: list[tuple[str, Cell]] = [("endpoint", config.endpoint_url), ("public URL", config.public_url)]
    return render.facts(f"s3://{name}/", pairs, note="show() requests its settings and first entries")


def summarize_object(
    uri: str, learned: Mapping[str, Cell], metadata: Mapping[str, str], is_described: bool
) -> Rendered:
    """Render an object's cached attributes.

    Args:
        uri: The object's URI.
        learned: Attributes by name; None if not yet requested.
        metadata: User metadata.
        is_described: Whether a listing or a request has filled the attributes.
    """
    pairs = [
        *learned.items(),
        *((f"metadata: {name}", render.shortened(value)) for name, value in sorted(metadata.items())),
    ]
    return render.facts(uri, pairs, note="" if is_described else "not requested yet; preview() shows its beginning")


def summarize_query(bucket_name: str, criteria: Sequence[tuple[str, Cell]]) -> Rendered:
    """Render the criteria of a query."""
    note = "not requested yet; show(n) lists the first objects, iterating lists all"
    return render.facts(f"objects of s3://{bucket_name}/", criteria, note=note)


# -- from answers ------------------------------------------------------------------------------------------------------------------


def tabulate_buckets(buckets: Sequence[Mapping[str, Any]], endpoint_url: str, region: str | None) -> Rendered:
    """Render the buckets in the response of ListBuckets."""
    regions = any(bucket.get("BucketRegion") for bucket in buckets)
    rows: list[list[Cell]] = [
        [bucket["Name"], bucket.get("CreationDate"), *([bucket.get("BucketRegion")] if regions else [])]
        for bucket in buckets[:MOST_BUCKETS]
    ]
    more = len(buckets) - len(rows)
    note = f"and {more:,} more" if more else f"{len(buckets):,} buckets" if len(buckets) != 1 else "1 bucket"
    if not regions and region:
        note += f"; region {region}"
    headers = ["bucket", "created", *(["region"] if regions else [])]
    return render.table(headers, rows, title=endpoint_url, note=note)


def describe_bucket(name: str, settings: Mapping[str, Callable[[], str]], entries: Rendered) -> Rendered:
    """Render a bucket's settings, each read by a call, above its first entries."""
    return render.stack(
        render.facts(f"s3://{name}/", [(each, _answer(ask)) for each, ask in settings.items()]), entries
    )


def _answer(ask: Callable[[], str]) -> str:
    """Return a setting's text, or the reason if the store does not support it or denies access to it."""
    try:
        return ask().replace("\n", "; ")
    except (S3NoSuchBucket, S3ConnectionError, S3AuthenticationError):
        raise
    except S3Unsupported:
        return "not supported by this store"
    except S3AccessDenied:
        return "access denied"
    except S3Error as error:
        return f"failed ({error.code or type(error).__name__})"


def tabulate_entries(entries: Iterable[Entry | str], n: int, title: str) -> Rendered:
    """Render the first n objects and prefixes. One more entry is read, to note whether there are more."""
    rows: list[list[Cell]] = []
    more = ""
    for number, entry in enumerate(entries):
        if number == n:
            more = f"the first {n:,}; there are more"
            break
        if isinstance(entry, str):
            rows.append([entry, None, None, None])
        else:
            rows.append([entry.key, Bytes(entry.size), entry.last_modified, entry.storage_class])
    headers = ["key", "size", "last modified", "storage class"]
    return render.table(headers, rows, title=title, note=more if rows else "nothing found")


Level = Callable[[str, int], Sequence[Entry | str]]
"""A function of a prefix and a number n that returns up to n entries directly below the prefix."""


def draw_tree(bucket_name: str, level: Level, prefix: str, depth: int, entries: int) -> Rendered:
    """Render keys as a tree, level by level."""
    return render.tree(f"s3://{bucket_name}/{prefix}", _branches(level, prefix, depth, entries))


def _branches(level: Level, prefix: str, depth: int, entries: int) -> Iterator[Branch]:
    found = level(prefix, entries + 1)
    for entry in found[:entries]:
        if isinstance(entry, str):
            children: Iterable[Branch] = _branches(level, entry, depth - 1, entries) if depth > 1 else ()
            yield Branch(entry[len(prefix) :], children=tuple(children) if depth > 1 else None)
        else:
            yield Branch(entry.key[len(prefix) :] or "(the prefix itself)", render.size_text(entry.size))
    if len(found) > entries:
        yield Branch("…", "there are more")
