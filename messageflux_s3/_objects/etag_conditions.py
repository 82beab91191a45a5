"""How an ETag is written in a condition on a request: with its quotes, as in HTTP, or without them.

Amazon S3 accepts both forms; radosgw accepts only ETags without quotes.
"""

from __future__ import annotations

from .._client.connection import Connection
from .._formats import etags

_HAS_QUOTES = "if_match_quoted"


def learn(connection: Connection, has_quotes: bool | None) -> None:
    """Note the form that a probe tries, or has found to work; None if it has found none."""
    connection.facts[_HAS_QUOTES] = has_quotes


def learned(connection: Connection) -> bool | None:
    """Return the form that a probe has found to work; None if there is none."""
    known: bool | None = connection.facts.get(_HAS_QUOTES)
    return known


def in_condition(connection: Connection, etag: str) -> str:
    """Return an ETag in the form that this store is known, or else assumed, to accept. A weak one loses its mark."""
    bare, has_quotes = etags.opaque(etag), learned(connection)
    return f'"{bare}"' if (connection.kind.has_quoted_etags if has_quotes is None else has_quotes) else bare
