"""What stores, buckets, objects and queries show of themselves: what is known without a request, and what ``show()`` asked for.

The functions are given values, never handles. ``render`` draws them.
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
    """What a table or tree tells of an object."""

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
    """Show how the store was configured."""
    return render.facts(
        "S3 store",
        [
            ("endpoint", config.endpoint_url or "as boto3 is set up (AWS)"),
            ("region", config.region),
            ("profile", config.profile),
            ("kind", config.preset),
            ("online", is_online or None),
        ],
        note="show() asks for its buckets",
    )


def summarize_bucket(name: str, config: S3Config) -> Rendered:
    """Show the bucket's name and where it is."""
    pairs: list[tuple[str, Cell]] = [("endpoint", config.endpoint_url), ("public URL", config.public_url)]
    return render.facts(f"s3://{name}/", pairs, note="show() asks for its settings and first entries")


def summarize_object(
    uri: str, learned: Mapping[str, Cell], metadata: Mapping[str, str], is_described: bool
) -> Rendered:
    """Show what a handle has learned so far.

    Args:
        uri: The object's URI.
        learned: Attributes by name; None for what is not known.
        metadata: User metadata.
        is_described: Whether the object was listed or asked for.
    """
    pairs = [
        *learned.items(),
        *((f"metadata: {name}", render.shortened(value)) for name, value in sorted(metadata.items())),
    ]
    return render.facts(uri, pairs, note="" if is_described else "nothing was asked yet; preview() shows its beginning")


def summarize_query(bucket_name: str, criteria: Sequence[tuple[str, Cell]]) -> Rendered:
    """Show what a query asks for."""
    note = "nothing was asked; show(n) lists the first, iterating lists all"
    return render.facts(f"objects of s3://{bucket_name}/", criteria, note=note)


# -- from answers ------------------------------------------------------------------------------------------------------------------


def tabulate_buckets(buckets: Sequence[Mapping[str, Any]], endpoint_url: str, region: str | None) -> Rendered:
    """Show the buckets of an account as ListBuckets described them."""
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
    """Show a bucket's settings, each read by a call, above its first entries."""
    return render.stack(
        render.facts(f"s3://{name}/", [(each, _answer(ask)) for each, ask in settings.items()]), entries
    )


def _answer(ask: Callable[[], str]) -> str:
    """Return a setting's text, or why it is not known where the store does not support it or denies access to it."""
    try:
        return ask().replace("\n", "; ")
    except (S3NoSuchBucket, S3ConnectionError, S3AuthenticationError):
        raise
    except S3Unsupported:
        return "not known to this store"
    except S3AccessDenied:
        return "access denied"
    except S3Error as error:
        return f"no answer ({error.code or type(error).__name__})"


def tabulate_entries(entries: Iterable[Entry | str], n: int, title: str) -> Rendered:
    """Show the first n objects and prefixes. One more is taken, to say whether there are more."""
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
"""Returns up to so many entries directly below a prefix."""


def draw_tree(bucket_name: str, level: Level, prefix: str, depth: int, entries: int) -> Rendered:
    """Show keys as a tree, level by level."""
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
