"""Where an object is, and whether two places are one and the same.

Names can show that two places are the same, but never that they differ: one store answers under several addresses (``localhost`` and
``127.0.0.1``, a proxy, an access point), one bucket under several names (aliases, links in a file system behind a gateway), and some
stores normalize keys (``a/`` is ``a``; on a file system that ignores case, ``A`` is ``a``; others ignore
invisible characters). Two places with different etags or times are no proof either. So :func:`same_place` answers yes, no, or unknown; what
destroys a source must treat unknown as yes until it is shown otherwise (``copying.py`` marks the copy with a random id, and looks whether
the source shows it).
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote_plus, urlsplit

from .._client.connection import Connection
from ..errors import S3Error

_HANGUL_FILLERS = "\u115f\u1160\u3164\uffa0"
"""Letters by their category, and shown as nothing: the only such ones."""
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Place(NamedTuple):
    """Where an object is, or will be."""

    connection: Connection
    bucket_name: str
    key: str
    version_id: str | None = None

    def is_same_store(self, other: Place) -> bool:
        """Return whether one request can name both."""
        return is_same_store(self.connection, other.connection)


def is_same_store(one: Connection, other: Connection) -> bool:
    """Return whether two connections certainly reach the same store with the same credentials, so that one request can name places of both.

    Requests:
        none
    """
    if one is other:
        return True
    if normalized_endpoint(one.endpoint_url) != normalized_endpoint(other.endpoint_url):
        return False
    try:
        mine, theirs = one.access_key, other.access_key
    except S3Error:  # the credentials cannot be had; the request itself will say so
        return False
    return mine is not None and mine == theirs


def same_place(one: Place, other: Place) -> bool | None:
    """Return whether two places are one and the same: True, False, or None where that cannot be known without asking.

    Versions are not compared: an object and its versions are in the same place.

    Requests:
        none
    """
    if one.bucket_name != other.bucket_name or not one.is_same_store(other):
        return None
    if one.key == other.key:
        return True
    if one.connection.is_aws:
        return False
    if _leads_up(one.key) or _leads_up(other.key):
        return None
    return None if _folded(one.key) == _folded(other.key) else False


@lru_cache(maxsize=256)
def normalized_endpoint(url: str) -> str:
    """Return an endpoint URL in one spelling: lower case, without the default port, a final dot of the host, or a final slash."""
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    host = (parts.hostname or "").rstrip(".")
    port = parts.port if parts.port is not None else _DEFAULT_PORTS.get(scheme)
    return f"{scheme}://{host}:{port}{parts.path.rstrip('/')}"


def _folded(key: str) -> str:
    """Return what is left of a key after every normalization that stores and file systems are known to make, and more.

    Too coarse a form costs a copy that carries an id; too fine a form costs the object. So all marks, blanks, control and format
    characters are dropped, and characters that this Python does not know, and a key that looks percent-encoded is decoded.
    """
    plain = _visible(unquote_plus(_visible(key)))
    return "/".join(segment for raw in re.split(r"[/\\]", plain) if (segment := raw.rstrip(".")))


def _visible(key: str) -> str:
    """Return a key without case, compatibility forms, accents and whatever is not shown."""
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", key).upper().casefold())
    return "".join(
        char for char in folded if unicodedata.category(char)[0] not in "MZC" and char not in _HANGUL_FILLERS
    )


def _leads_up(key: str) -> bool:
    """Return whether a segment of a key may mean the folder above: then nothing is known of where it leads."""
    return any(segment == ".." for segment in re.split(r"[/\\]", _visible(unquote_plus(_visible(key)))))
