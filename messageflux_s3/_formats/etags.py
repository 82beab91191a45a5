"""ETags as HTTP writes them: without their quotes, compared, and told apart from weak ones.

A proxy that may change a body (by compressing it, say) marks its ETags as weak: ``W/"…"``. A weak ETag never satisfies If-Match
(RFC 9110, 13.1.1), and is no MD5 of anything.
"""

from __future__ import annotations

_WEAK = 'W/"'


def unquoted(etag: str | None) -> str | None:
    """Return an ETag without its quotes, a weak one as it is (``W/"…"``), None for none."""
    if not etag:
        return None
    if etag.startswith(_WEAK):
        return etag
    return etag.strip('"') or None


def is_weak(etag: str | None) -> bool:
    """Return whether this is a weak ETag. Never send it in If-Match: the condition could not hold."""
    return etag is not None and etag.startswith(_WEAK)


def opaque(etag: str) -> str:
    """Return what is between the quotes, of a weak ETag too."""
    return etag.removeprefix("W/").strip('"')


def same(one: str | None, other: str | None) -> bool:
    """Return whether two ETags name the same content, by HTTP's weak comparison: a proxy may mark one answer as weak, not the other."""
    if one is None or other is None:
        return one is other
    return one == other or opaque(one) == opaque(other)
