"""Split a listing into key ranges of about the same size.

S3 does not count keys, so the range is sampled: each sample requests the first key after some text, which costs one
listing of one key.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import zip_longest
from typing import NamedTuple, TypeAlias

FirstKeyAfter: TypeAlias = Callable[[str], str | None]
"""A function that returns the first key that sorts after a text; None if there is none."""

_COMPARED_CHARACTERS = 4  # the number compared after the common prefix of all keys: enough for some thousand partitions
_DIGITS = 128  # the base: each character is one digit, and characters beyond ASCII are the largest digit


class KeyRange(NamedTuple):
    """The keys after ``start_after`` and before ``stop_before`` (None for no end)."""

    start_after: str
    stop_before: str | None


def key_ranges(
    first_key_after: FirstKeyAfter, n: int, *, prefix: str = "", start_after: str = "", stop_before: str | None = None
) -> list[KeyRange]:
    """Split a range of keys into at most ``n`` adjacent ranges with about the same number of keys.

    Args:
        first_key_after: Requests a key from the store; must only return keys in the range.
        n: The largest number of ranges; there are fewer if the keys do not allow more.
        prefix: A known common prefix of all keys.
        start_after: Where the range begins.
        stop_before: Where the range ends; None for no end.

    Returns:
        The ranges, in key order. Together they contain exactly the keys of the original range.

    Requests:
        about 4 n + 20 calls of ``first_key_after``
    """
    borders = _borders(first_key_after, n, prefix, start_after)
    # Each range but the last is (a, b], where b is a listed key; b + "\0" is the first text after b.
    starts = [start_after, *borders]
    return [
        KeyRange(start, stop_before if border is None else border + "\0")
        for start, border in zip_longest(starts, borders)
    ]


def _borders(first_key_after: FirstKeyAfter, n: int, prefix: str, start_after: str) -> list[str]:
    """Return up to ``n - 1`` keys, sorted, that split the keys into ranges of about the same size."""
    first = first_key_after(start_after) if n > 1 else None
    if first is None:
        return []
    last = _text_near_the_last_key(first_key_after, first, prefix)
    length = shared_length(first, last)
    shared, low, high = first[:length], _as_number(first[length:]), _as_number(last[length:])
    samples: list[str] = []
    for step in range(1, 4 * n):
        key = first_key_after(shared + _as_text(low + (high - low) * step // (4 * n)))
        if key is None:
            break
        if key > first and (not samples or key > samples[-1]):
            samples.append(key)
    step_size = max(1.0, (len(samples) + 1) / n)
    return [samples[int(number * step_size) - 1] for number in range(1, n) if int(number * step_size) <= len(samples)]


def _text_near_the_last_key(first_key_after: FirstKeyAfter, first: str, prefix: str) -> str:
    """Return the common prefix of all keys and the next few characters of the last key, found by bisection."""
    end = prefix
    compared = 0
    while compared < _COMPARED_CHARACTERS:
        at = len(end)
        if not compared and at < len(first):
            following = _next_character(first[at])
            if following is None or first_key_after(end + following) is None:
                end += first[at]  # common to all keys
                continue
        low, high = 31, 126
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if first_key_after(end + chr(middle)) is not None else (low, middle - 1)
        if low < 32:
            break
        end += chr(low)
        compared += 1
    return end


def shared_length(one: str, other: str) -> int:
    """Return the length of the longest common prefix of two texts."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


def _next_character(character: str) -> str | None:
    """Return the next character in the order of UTF-8, which has no surrogates; None after U+10FFFF, the last one."""
    number = ord(character) + 1
    if 0xD800 <= number <= 0xDFFF:
        number = 0xE000
    return chr(number) if number <= sys.maxunicode else None


def _as_number(text: str) -> int:
    """Read the first characters as the digits of a number, so that points between two texts can be computed."""
    number = 0
    for at in range(_COMPARED_CHARACTERS):
        number = number * _DIGITS + (min(ord(text[at]), _DIGITS - 1) if at < len(text) else 0)
    return number


def _as_text(number: int) -> str:
    """Convert a number from ``_as_number`` back to text, in printable ASCII only: some stores reject control characters in a query."""
    characters = []
    for _ in range(_COMPARED_CHARACTERS):
        number, digit = divmod(number, _DIGITS)
        characters.append(chr(min(max(digit, 32), 126)))
    return "".join(reversed(characters))
