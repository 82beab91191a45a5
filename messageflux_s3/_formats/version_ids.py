"""Version IDs: those that callers give, and those that do not exist, with which a store is asked whether it looks at version IDs at all."""

from __future__ import annotations

from .plain import plain


def check(version_id: str | None) -> str | None:
    """Return the version ID that a caller gives; None stands for the current object.

    An empty one is rejected: a bulk deletion would delete the current object, and some stores read it.

    Raises:
        TypeError: It is not text.
        ValueError: It is empty.
    """
    if version_id is not None and not isinstance(version_id, str):
        raise TypeError(f"version_id must be text, not {type(version_id).__name__}")
    if version_id == "":
        raise ValueError("version_id is empty; None stands for the current object")
    return None if version_id is None else plain(version_id)


def missing(version_id: str) -> str:
    """Return a version ID of the same form that does not exist.

    Example:
        >>> missing("abc"), missing("1")
        ('cba', '10')
    """
    backwards = version_id[::-1]
    return backwards if backwards != version_id else f"{version_id}0"
