"""Estimate where in key order a number of pages ahead lies, from keys that were listed.

The keys at two page borders give the width of a page, if keys are read as numbers: each position of a key is a digit with a base of its
own. The digits at a position are the characters seen there, if keys have been seen to run through all of them (the hours of a date), and
else all characters in which neighbouring keys differ: so a counter is read in base 10 and a UUID in base 16. An estimate may be wrong in
either direction; the caller must not rely on it.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

from .partitions import shared_length

_COMPARED_KEYS = 29  # of a page; a prime, so that the steps do not fall in with those of a counter
_COMPARED_CHARACTERS = 12  # after the common prefix of a page


class KeySpacing:
    """What is known of the keys of one listing.

    Args:
        prefix: A known common prefix of all keys.
    """

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self._seen: set[str] = set()
        self._digits: list[str] = []
        self._seen_at: list[set[str]] = []
        self._digits_at: list[list[str]] = []
        self._cycled: set[int] = set()  # the positions at which a digit has started again from a lower one

    def observe(self, keys: Sequence[str]) -> None:
        """Learn from the keys of a page.

        Args:
            keys: The keys, in order.
        """
        sample = [*keys[:: max(1, len(keys) // _COMPARED_KEYS)], *keys[-1:]]
        if not sample:
            return
        start = shared_length(sample[0], sample[-1])
        end = start + _COMPARED_CHARACTERS
        self._note(sample[0], 0, end)
        for one, other in pairwise(sample):
            at = start + shared_length(one[start:end], other[start:end])
            self._seen.update(one[at : at + 1], other[at : at + 1])
            self._note(other, at, end)
            for position, (before, after) in enumerate(zip(one[at:end], other[at:end], strict=False), at):
                if after < before:
                    self._cycled.add(position)
        if len(self._seen) > len(self._digits):
            self._digits = sorted(self._seen)

    def _note(self, key: str, start: int, end: int) -> None:
        for position, character in enumerate(key[start:end], start):
            if position >= len(self._seen_at):
                self._seen_at.extend(set[str]() for _ in range(position + 1 - len(self._seen_at)))
                self._digits_at.extend([] for _ in range(position + 1 - len(self._digits_at)))
            seen = self._seen_at[position]
            if character not in seen:
                seen.add(character)
                self._digits_at[position] = sorted(seen)

    def pages_between(self, past: str, last: str, pages: int, start: str, end: str | None) -> float:
        """Estimate the number of pages between two texts.

        Args:
            past: A key some pages before ``last``.
            last: A key.
            pages: The number of pages between them.
            start: Where to begin; at or after ``last``.
            end: Where to end; None for the end of the listing.

        Returns:
            The estimate; infinite if nothing is known about the keys before ``end``.
        """
        if end is None:
            return math.inf
        nearest = past[: shared_length(past, last)]
        shared = nearest[: min(shared_length(nearest, start), shared_length(nearest, end))]
        until = len(nearest) + _COMPARED_CHARACTERS
        width = self._number(last, shared, until) - self._number(past, shared, until)
        if width <= 0 or not self._are_digits(nearest, len(shared)):
            return math.inf
        return (self._number(end, shared, until) - self._number(start, shared, until)) * pages / width

    def ahead(self, past: str, last: str, pages: int, start: str, distance: float) -> str | None:
        """Return a text that is about a number of pages after another one.

        Args:
            past: A key some pages before ``last``.
            last: A key.
            pages: The number of pages between them.
            start: Where to begin; at or after ``last``.
            distance: The number of pages.

        Returns:
            A text after ``start`` that begins with the common prefix of all keys; None if there is no estimate.

        Example:
            >>> from messageflux_s3._bulk.key_spacing import KeySpacing
            >>> spacing = KeySpacing()
            >>> spacing.observe([f"k{number:05}" for number in range(1000)])
            >>> "k03900" < spacing.ahead("k00000", "k00999", 1, "k00999", 3) < "k04100"
            True
        """
        nearest = past[: shared_length(past, last)]
        shared = nearest[: shared_length(nearest, start)]
        if not self._are_digits(nearest, len(shared)):
            return None
        until = len(nearest) + _COMPARED_CHARACTERS
        while True:
            width = self._number(last, shared, until) - self._number(past, shared, until)
            if width <= 0:
                return None
            number = self._number(start, shared, until) + max(1, round(width * distance / pages))
            if number < math.prod(len(self._alphabet(position)) for position in range(len(shared), until)):
                text = (shared + self._text(number, len(shared), until))[: len(last)]
                return text if text > start else None
            at = len(shared) - 1
            # The number is too large at a position with the last digit as well.
            while at >= len(self._prefix) and [shared[at]] == self._alphabet(at)[-1:]:
                at -= 1
            if at < len(self._prefix) or shared[at] not in self._alphabet(at):
                return self._after_all_with(shared[: at + 1])
            shared = shared[:at]

    def _after_all_with(self, shared: str) -> str | None:
        """Return a text after all keys with a prefix, by the next digit in place of the prefix's last character that has one."""
        for at in range(len(shared) - 1, len(self._prefix) - 1, -1):
            following = bisect_right(self._digits, shared[at])
            if following < len(self._digits):
                return shared[:at] + self._digits[following]
        return None

    def _alphabet(self, position: int) -> list[str]:
        """Return the digits at a position; a separator that is always the same is the only digit there."""
        if position < len(self._digits_at):
            digits = self._digits_at[position]
            if position in self._cycled or (len(digits) == 1 and digits[0] not in self._seen):
                return digits
        return self._digits

    def _are_digits(self, text: str, start: int) -> bool:
        return all(text[position] in self._alphabet(position) for position in range(start, len(text)))

    def _number(self, key: str, shared: str, until: int) -> int:
        """Read the characters after a prefix as the digits of a number."""
        number = 0
        for position in range(len(shared), until):
            digits = self._alphabet(position)
            digit = bisect_right(digits, key[position]) - 1 if position < len(key) else 0
            number = number * len(digits) + max(0, digit)
        return number

    def _text(self, number: int, start: int, until: int) -> str:
        """Convert a number back to text."""
        characters = []
        for position in range(until - 1, start - 1, -1):
            digits = self._alphabet(position)
            number, digit = divmod(number, len(digits))
            characters.append(digits[digit])
        return "".join(reversed(characters))
