"""ETags: removal of quotes, comparison, and recognition of weak ones.

A proxy that may change a body (by compressing it, for example) marks the ETag as weak: ``W/"…"``. A weak ETag never satisfies If-Match
(RFC 9110, 13.1.1), and is never an MD5.
"""

from __future__ import annotations

_WEAK = 'W/"'


def check(etag: object, name: str = "if_match") -> None:
    """Check an ETag that the caller gives for a condition.

    Raises:
        TypeError: It is not text.
        ValueError: It is empty, ``*`` (any object, where a store takes ETags without quotes), or cannot be sent in a header.
    """
    if not isinstance(etag, str):
        raise TypeError(f"{name} must be an ETag, not {type(etag).__name__}")
    if not opaque(etag):
        raise ValueError(f"{name} is empty; an object's ETag is obj.etag")
    if opaque(etag) == "*":
        raise ValueError(f"{name} must be the ETag of an object, such as obj.etag, not {etag!r}")
    if not etag.isprintable():
        raise ValueError(f"{name} must be an ETag, as in obj.etag; {etag[:80]!r} cannot be sent in a header")


def unquoted(etag: str | None) -> str | None:
    """Return an ETag without its quotes. A weak one (``W/"…"``) is returned unchanged; an empty one becomes None."""
    if not etag:
        return None
    if etag.startswith(_WEAK):
        return etag
    return etag.strip('"') or None


def is_weak(etag: str | None) -> bool:
    """Return whether this is a weak ETag. Never send a weak ETag as If-Match: the condition is always false."""
    return etag is not None and etag.startswith(_WEAK)


def opaque(etag: str) -> str:
    """Return the opaque tag: the text between the quotes of a strong or weak ETag."""
    return etag.removeprefix("W/").strip('"')


def same(one: str | None, other: str | None) -> bool:
    """Return whether two ETags are equal by HTTP's weak comparison: a proxy may mark only one of two responses as weak."""
    if one is None or other is None:
        return one is other
    return one == other or opaque(one) == opaque(other)
