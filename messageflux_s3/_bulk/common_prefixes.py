"""Common prefixes, for stores that do not support the delimiter of a listing: they ignore it, or know only ``/``.

rclone takes every delimiter for ``/``. So each page of a listing with a delimiter is checked, and if it is wrong the keys are listed
without a delimiter and rolled up here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .._formats.listing_pages import Listed, Page


def are_rolled_up(keys: Iterable[str], prefixes: Iterable[str], prefix: str, delimiter: str) -> bool:
    """Return whether a page with these keys and common prefixes is one of a listing with this delimiter.

    No key has the delimiter after the prefix, and each common prefix ends with its first delimiter after the prefix.
    """
    start, width = len(prefix), len(delimiter)
    return not any(delimiter in key[start:] for key in keys) and all(
        common.find(delimiter, start) == len(common) - width >= start for common in prefixes
    )


def rolled_up(pages: Iterable[Page], prefix: str, delimiter: str, *, after: str = "") -> Iterator[Page]:
    """Roll up the keys of a listing without a delimiter into common prefixes, each yielded once.

    Args:
        pages: The pages, in key order, of keys that begin with the prefix.
        prefix: The prefix of the listing.
        delimiter: The delimiter.
        after: The last entry of the pages before these: a key, or a common prefix, whose keys are left out.
    """
    start, width = len(prefix), len(delimiter)
    last = after if after[start:].endswith(delimiter) else None
    for page in pages:
        objects: list[Listed] = []
        prefixes: list[str] = []
        for entry in page.objects:
            key = entry[0]
            at = key.find(delimiter, start)
            if at < 0:
                objects.append(entry)
            elif (common := key[: at + width]) != last:
                prefixes.append(common)
                last = common
        yield Page(objects, prefixes)
