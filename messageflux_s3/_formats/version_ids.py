"""Version IDs that do not exist, with which a store is asked whether it looks at version IDs at all."""

from __future__ import annotations


def missing(version_id: str) -> str:
    """Return a version ID of the same form that does not exist.

    Example:
        >>> missing("abc"), missing("1")
        ('cba', '10')
    """
    backwards = version_id[::-1]
    return backwards if backwards != version_id else f"{version_id}0"
