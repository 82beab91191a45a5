"""What the nouns say of themselves: what is known, without a request (for ``_repr_html_``), and what ``show()`` asks.

A noun is passed in and never imported. How things are drawn is ``render``'s affair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from . import render
from .errors import (
    S3AccessDenied,
    S3AuthenticationError,
    S3ConnectionError,
    S3Error,
    S3NoSuchBucket,
    S3Unsupported,
)
from .render import Branch, Bytes, Cell, Shown

if TYPE_CHECKING:
    from .bucket import S3Bucket
    from .object import S3Object
    from .query import ObjectQuery
    from .store import S3Store

MOST_BUCKETS = 200
ENTRIES = 20


# -- what is known: no request ----------------------------------------------------------------------------------------------------------


def known_store(store: S3Store) -> Shown:
    """The store as it was configured."""
    config = store.config
    return render.facts(
        "S3 store",
        [
            ("endpoint", config.endpoint_url or "as boto3 is set up (AWS)"),
            ("region", config.region),
            ("profile", config.profile),
            ("kind", config.preset),
            ("online", store.is_online or None),
        ],
        note="show() asks for its buckets",
    )


def known_bucket(bucket: S3Bucket) -> Shown:
    """The bucket by name."""
    config = bucket._connection.config
    pairs: list[tuple[str, Cell]] = [("endpoint", config.endpoint_url), ("public URL", config.public_url)]
    return render.facts(f"s3://{bucket.name}/", pairs, note="show() asks for its settings and first entries")


def known_object(obj: S3Object) -> Shown:
    """What the handle has learned so far."""
    listed, head = obj._listed, obj._head
    is_described = listed is not None or head is not None
    pairs: list[tuple[str, Cell]] = [
        ("size", Bytes(obj.size) if listed is not None or (head is not None and head.size is not None) else None),
        (
            "last modified",
            obj.last_modified if listed is not None or (head is not None and head.last_modified is not None) else None,
        ),
        ("content type", (head.content_type or None) if head is not None else None),
        (
            "storage class",
            obj.storage_class if listed is not None or (head is not None and head.storage_class is not None) else None,
        ),
        (
            "etag",
            obj.etag if (listed is not None and listed[2]) or (head is not None and head.etag is not None) else None,
        ),
        ("version", obj.version_id),
    ]
    metadata = head.metadata if head is not None and head.metadata else {}
    pairs += [(f"metadata: {name}", render.shortened(value)) for name, value in sorted(metadata.items())]
    return render.facts(
        obj.uri, pairs, note="" if is_described else "nothing was asked yet; preview() shows its beginning"
    )


def known_query(query: ObjectQuery) -> Shown:
    """What the query asks for."""
    return render.facts(
        f"objects of s3://{query.bucket.name}/",
        query._described(),
        note="nothing was asked; show(n) lists the first, iterating lists all",
    )


# -- what is asked ----------------------------------------------------------------------------------------------------------------------


def asked_store(store: S3Store) -> Shown:
    """The store's buckets, by one request."""
    answer = store._connection.call("ListBuckets")
    found: list[Any] = [*answer.get("Buckets", ())]
    regions = any(bucket.get("BucketRegion") for bucket in found)
    rows: list[list[Cell]] = [
        [bucket["Name"], bucket.get("CreationDate"), *([bucket.get("BucketRegion")] if regions else [])]
        for bucket in found[:MOST_BUCKETS]
    ]
    more = len(found) - len(rows)
    note = f"and {more:,} more" if more else f"{len(found):,} buckets" if len(found) != 1 else "1 bucket"
    if not regions and store._connection.region:
        note += f"; region {store._connection.region}"
    headers = ["bucket", "created", *(["region"] if regions else [])]
    return render.table(headers, rows, title=store._connection.endpoint_url, note=note)


def asked_bucket(bucket: S3Bucket) -> Shown:
    """The bucket's settings and its first entries."""
    entries = asked_query(
        bucket.find(delimiter="/"), ENTRIES, "what is in it"
    )  # first: a bucket that is not there says so here
    settings: list[tuple[str, Callable[[], str]]] = [
        ("versioning", lambda: bucket.versioning.get().status or "never enabled"),
        ("lifecycle", lambda: str(bucket.lifecycle.get())),
        ("public", lambda: str(bucket.public_access.status())),
        ("encryption", lambda: "; ".join(bucket.encryption.get().lines()) or "none by default"),
    ]
    return render.stack(render.facts(f"s3://{bucket.name}/", [(name, _answer(ask)) for name, ask in settings]), entries)


def _answer(ask: Callable[[], str]) -> str:
    """What a setting says; a store that does not know it, or does not tell us, is no error here."""
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


def asked_query(query: ObjectQuery, n: int, title: str = "") -> Shown:
    """The first entries of a query."""
    entries = query.limit(n + 1).entries()
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
    return render.table(
        headers, rows, title=title or repr(query)[len("<ObjectQuery ") : -1], note=more if rows else "nothing found"
    )


def asked_tree(query: ObjectQuery, prefix: str, depth: int, entries: int) -> Shown:
    """The query's keys as a tree, level by level."""
    return render.tree(f"s3://{query.bucket.name}/{prefix}", _branches(query, prefix, depth, entries))


def _branches(query: ObjectQuery, prefix: str, depth: int, entries: int) -> Iterator[Branch]:
    found = query._level(prefix, entries + 1)
    for entry in found[:entries]:
        if isinstance(entry, str):
            children: Iterable[Branch] = _branches(query, entry, depth - 1, entries) if depth > 1 else ()
            yield Branch(entry[len(prefix) :], children=tuple(children) if depth > 1 else None)
        else:
            yield Branch(entry.key[len(prefix) :] or "(the prefix itself)", render.size_text(entry.size))
    if len(found) > entries:
        yield Branch("…", "there are more")
