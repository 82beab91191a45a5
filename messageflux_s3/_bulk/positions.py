"""Detection of a listing that never ends, because it returns to a position at which it has been."""

from __future__ import annotations


class Positions:
    """The positions at which the pages of a listing begin, of which one is held in memory (Brent's cycle detection).

    Example:
        >>> from messageflux_s3._bulk.positions import Positions
        >>> positions = Positions()
        >>> [positions.is_repeated(token) for token in ("a", "b", "c", "b", "c")]
        [False, False, False, False, True]
    """

    __slots__ = ("_held", "_pages", "_pages_to_hold")

    def __init__(self) -> None:
        self._held: object = None
        self._pages = 0
        self._pages_to_hold = 1

    def is_repeated(self, position: object) -> bool:
        """Note the position of the next page; return whether it is known to be an earlier one.

        Args:
            position: What the store calls the position, such as a continuation token; not None.
        """
        if position == self._held:
            return True
        self._pages += 1
        if self._pages == self._pages_to_hold:
            self._held, self._pages, self._pages_to_hold = position, 0, 2 * self._pages_to_hold
        return False
