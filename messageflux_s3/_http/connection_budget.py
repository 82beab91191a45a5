"""How many connections this process may open beyond those with which each batch and each listing begins.

Connections are open files, whose number is limited for the whole process. Batches and listings that run side by side share what may be
added, so that files remain for the rest of the program: an eighth of its limit.
"""

from __future__ import annotations

import sys
from collections import deque

_SHARE = 8
_LARGEST = 1024
_USUAL_FILE_LIMIT = 1024


class ConnectionBudget:
    """A number of connections, shared by all threads. It has no lock, which a forked child could find held.

    Args:
        size: The number.

    Example:
        >>> from messageflux_s3._http.connection_budget import ConnectionBudget
        >>> budget = ConnectionBudget(40)
        >>> budget.take(32), budget.take(32), budget.left
        (True, False, 8)
        >>> budget.give_back(32)
        >>> budget.left
        40
    """

    __slots__ = ("_left",)

    def __init__(self, size: int) -> None:
        self._left = deque(range(size))

    @property
    def left(self) -> int:
        """The number that can be taken."""
        return len(self._left)

    def take(self, count: int) -> bool:
        """Take a number of connections; return whether as many were left. If not, none is taken."""
        taken: list[int] = []
        try:
            for _ in range(count):
                taken.append(self._left.pop())
        except BaseException as failure:  # fewer are left, or an interrupt
            self._left.extend(taken)
            if isinstance(failure, IndexError):
                return False
            raise
        return True

    def give_back(self, count: int) -> None:
        """Return connections that were taken."""
        self._left.extend(range(count))


def _file_limit() -> int:
    """Return the number of files that this process may open."""
    if sys.platform == "win32":
        return _USUAL_FILE_LIMIT
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit


FURTHER = ConnectionBudget(min(_LARGEST, _file_limit() // _SHARE))
"""The budget of this process."""
