"""Texts that callers give, as instances of ``str`` itself."""

from __future__ import annotations


def plain(text: str) -> str:
    """Return a text as an instance of ``str`` itself.

    A subclass may format another text than it contains: a member of ``class Key(str, Enum)`` is its value to boto3, and its name in an
    f-string (from Python 3.12 on), so that an object would be written under one key and read under another.

    Example:
        >>> from enum import Enum
        >>> from messageflux_s3._formats.plain import plain
        >>> class Key(str, Enum):
        ...     REPORT = "reports/a.json"
        >>> f"{plain(Key.REPORT)}"
        'reports/a.json'
    """
    return text if type(text) is str else str.__str__(text)
