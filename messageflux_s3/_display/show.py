"""Representations of stores, buckets, objects and queries: the cached state for ``_repr_html_``, responses for ``show()``.

The functions take values, never handles.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from .._client.capabilities import Capabilities, describe_kind
from .._client.config import S3Config
from .._formats import render
from .._formats.render import Branch, Bytes, Cell, Rendered
from ..errors import S3AccessDenied, S3AuthenticationError, S3ConnectionError, S3Error, S3NoSuchBucket, S3Unsupported

MOST_BUCKETS = 200
ENTRIES = 20
MOST_LISTED = 100
"""How many prefixes a tree lists."""
_LINES_OPEN = 40
_NOT_RELIED_ON = (
    "show() lists its buckets; S3Store(store.config.replace(capabilities=found)) relies on what the probe has found"
)


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


def summarize_store(config: S3Config, is_online: bool, probed: Capabilities | None = None) -> Rendered:
    """Render a store's configuration, and what a probe has found out.

    Args:
        config: The configuration.
        is_online: Whether the store has answered.
        probed: The result of this process's last probe; None if there was none.
    """
    found = probed or config.capabilities
    pairs: list[tuple[str, Cell]] = [
        ("endpoint", config.endpoint_url or "from boto3's configuration (AWS)"),
        ("region", config.region),
        ("profile", config.profile),
        ("kind", describe_kind(config.endpoint_url, config.preset, found)),
        ("credentials", "none: requests are unsigned" if config.anonymous else None),
        ("online", is_online or None),
    ]
    if found is not None:
        pairs += [
            ("writes only if absent", found.put_if_absent),
            ("writes only if unchanged", found.put_if_match),
            ("versions", found.versioning),
            ("tags of objects", found.object_tagging),
            ("not answered", render.shortened(", ".join(name for name, _ in found.reasons)) or None),
        ]
    is_relied_on = probed is None or probed == config.capabilities
    note = "show() lists its buckets" if is_relied_on else _NOT_RELIED_ON
    return render.facts("S3 store", pairs, note=note)


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
    """Render a bucket's settings above its first entries. Each setting is a function that requests it."""
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
    """Render the first n objects and prefixes. One more entry is read, to tell whether there are more."""
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


@dataclass(frozen=True, slots=True)
class _Totals:
    """The objects below a prefix, as far as they were listed.

    Attributes:
        count: Their number.
        size: Their bytes.
        is_whole: Whether everything below the prefix was listed.
    """

    count: int
    size: int
    is_whole: bool

    def __str__(self) -> str:
        told = f"{self.count:,} object{'s' if self.count != 1 else ''}, {render.size_text(self.size)}"
        return told if self.is_whole else f"{told} and more …" if self.count else "…"


def draw_tree(bucket_name: str, level: Level, prefix: str, depth: int, entries: int, page: int = 0) -> Rendered:
    """Render keys as a tree, level by level. At most :data:`MOST_LISTED` prefixes are listed, those of the upper levels first.

    Args:
        bucket_name: The bucket.
        level: Lists a level.
        prefix: The prefix at the root.
        depth: The number of levels.
        entries: The number of entries to show for each prefix.
        page: The number of entries that one request returns; more are counted than shown.
    """
    read = max(entries + 1, page)
    found: dict[str, Sequence[Entry | str]] = {}
    waiting = deque([(prefix, 1)])
    is_short = False
    while waiting:
        each, at = waiting.popleft()
        if len(found) == MOST_LISTED:
            is_short = True
            break
        found[each] = level(each, read)
        if at < depth:
            waiting.extend((entry, at + 1) for entry in found[each][:entries] if isinstance(entry, str))
    # Open branches from the root on, as long as the tree stays short enough to be looked at.
    is_open, lines = set[str](), 0
    for each, listed in found.items():
        lines += min(len(listed), entries + 1)
        if lines > _LINES_OPEN and is_open:
            break
        is_open.add(each)
    note = f"the first {MOST_LISTED} prefixes were listed" if is_short else ""
    return tree_of(bucket_name, prefix, found, entries, read, is_open, note)


def tree_of(
    bucket_name: str,
    prefix: str,
    found: Mapping[str, Sequence[Entry | str]],
    entries: int,
    read: int,
    is_open: Container[str],
    note: str = "",
) -> Rendered:
    """Render the levels that were listed as a tree.

    Args:
        bucket_name: The bucket.
        prefix: The prefix at the root.
        found: The entries directly below each prefix that was listed.
        entries: The number of entries to show for each prefix.
        read: The number of entries that were asked for; a prefix with as many may have more.
        is_open: The prefixes whose entries are visible at first.
        note: Text below the tree.
    """
    tree = _Tree(found, entries, read, is_open)
    note = note if found[prefix] else "nothing found"
    return render.tree(f"s3://{bucket_name}/{prefix}", tree.branches(prefix), note=note)


def totals_of(found: Mapping[str, Sequence[Entry | str]], read: int, prefix: str) -> str:
    """Return the number and size of the objects below a prefix, as far as they were listed, as text; "…" if none was.

    Args:
        found: The entries directly below each prefix that was listed.
        read: The number of entries that were asked for; a prefix with as many may have more.
        prefix: The prefix.
    """
    return str(_Tree(found, 0, read, ()).totals(prefix))


class _Tree(NamedTuple):
    """The entries that were listed, by prefix, and how they are shown."""

    found: Mapping[str, Sequence[Entry | str]]
    entries: int
    read: int
    is_open: Container[str]

    def branches(self, prefix: str) -> Iterator[Branch]:
        found = self.found[prefix]
        for entry in found[: self.entries]:
            if not isinstance(entry, str):
                yield Branch(entry.key[len(prefix) :] or "(the prefix itself)", render.size_text(entry.size))
            elif entry in self.found and entry != prefix:
                about, is_open = str(self.totals(entry)), entry in self.is_open
                yield Branch(entry[len(prefix) :], children=(*self.branches(entry),), about=about, is_open=is_open)
            else:
                yield Branch(entry[len(prefix) :], about="…")
        if len(found) > self.entries:
            yield Branch("…", "there are more")

    def totals(self, prefix: str) -> _Totals:
        found = self.found.get(prefix)
        if found is None:
            return _Totals(0, 0, False)
        own = [entry.size for entry in found if not isinstance(entry, str)]
        below = [self.totals(entry) for entry in found if isinstance(entry, str)]
        return _Totals(
            len(own) + sum(each.count for each in below),
            sum(own) + sum(each.size for each in below),
            len(found) < self.read and all(each.is_whole for each in below),
        )
