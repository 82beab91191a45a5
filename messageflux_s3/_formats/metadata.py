"""Lossless encoding of user metadata as HTTP headers, and decoding.

Plain ASCII values are sent unchanged. A value that a header would damage (non-ASCII characters, line ends, leading or trailing blanks)
is sent as an RFC 2047 encoded word, the form in which S3 itself returns such values. Some servers return raw UTF-8 instead; that is
decoded too.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from email.errors import HeaderParseError
from email.header import decode_header, make_header

from .plain import plain

IDEMPOTENCY_TOKEN = "mfs3-write-id"
"""Name of the metadata entry for the idempotency token of a conditional write, a random ID. The entry is hidden from users."""

CONTENT_MD5 = "mfs3-md5"
"""Name of the metadata entry in which a sync records a file's MD5 if the bucket's ETags are not MD5s. The entry is hidden from users."""

_OUR_OWN = (IDEMPOTENCY_TOKEN, CONTENT_MD5)
MAX_BYTES = 2048

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PLAIN = re.compile(r"(?:[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)?")
_WORDS = re.compile(r"=\?[\w.-]+\?[bBqQ]\?[^?\s]*\?=(?:\s+=\?[\w.-]+\?[bBqQ]\?[^?\s]*\?=)*")


def encode(metadata: Mapping[str, str] | None) -> dict[str, str]:
    """Check user metadata and encode it for HTTP headers.

    Args:
        metadata: Names and values. Names must be valid in HTTP headers (letters, digits, ``-``, ``_`` and others); S3 ignores their case.

    Returns:
        Names in lower case and values in ASCII.

    Raises:
        TypeError: The metadata is not a mapping of text to text.
        ValueError: A name is not valid in a header, a name is given twice, or all entries together exceed 2,048 bytes.

    Example:
        >>> from messageflux_s3._formats import metadata
        >>> metadata.encode({"Name": "Zoë"})
        {'name': '=?utf-8?B?Wm/Dqw==?='}
    """
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise TypeError(f"metadata must be a mapping of text to text, not {type(metadata).__name__}")
    encoded: dict[str, str] = {}
    for name, value in metadata.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"metadata must be a mapping of text to text; the entry {name!r} is {type(value).__name__}")
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"metadata name {name!r} is not an HTTP header name: use ASCII letters, digits, '-' and '_'"
            )
        lowered = name.lower()
        if lowered in encoded:
            raise ValueError(f"metadata name {name!r} is given twice; S3 ignores upper and lower case")
        encoded[lowered] = _encode_value(value)
    if (size := _size(encoded)) > MAX_BYTES:
        raise ValueError(f"metadata takes {size} bytes as sent, names included; S3 allows at most {MAX_BYTES}")
    return encoded


def marked(encoded: Mapping[str, str], idempotency_token: str, carried: str = "") -> dict[str, str]:
    """Add the idempotency token of a conditional write to encoded metadata.

    Args:
        encoded: The result of :func:`encode`.
        idempotency_token: The token.
        carried: Tokens of earlier writes, the latest first, separated by blanks; those that do not fit into S3's limit are left out.

    Raises:
        ValueError: The token does not fit into S3's limit for metadata.
    """
    ids = [idempotency_token, *carried.split()]
    taken = _size(encoded) + len(IDEMPOTENCY_TOKEN)
    if taken + len(idempotency_token) > MAX_BYTES:
        added = len(IDEMPOTENCY_TOKEN) + len(idempotency_token)
        raise ValueError(
            f"metadata takes {_size(encoded)} bytes as sent, names included, and a conditional write adds {added} "
            f"of its own; S3 allows at most {MAX_BYTES}"
        )
    while taken + len(" ".join(ids)) > MAX_BYTES:
        ids.pop()
    return {**encoded, IDEMPOTENCY_TOKEN: " ".join(ids)}


def _size(encoded: Mapping[str, str]) -> int:
    """Return the number of bytes that count against S3's limit for metadata."""
    return sum(len(name) + len(value) for name, value in encoded.items())


def decode(metadata: Mapping[str, str]) -> dict[str, str]:
    """Decode metadata from a response: names in lower case, without the library's own entries."""
    return {name.lower(): _decode_value(value) for name, value in metadata.items() if name.lower() not in _OUR_OWN}


def _encode_value(value: str) -> str:
    if _PLAIN.fullmatch(value) and "=?" not in value:
        return plain(value)
    return f"=?utf-8?B?{base64.b64encode(value.encode('utf-8', 'surrogatepass')).decode('ascii')}?="


def _decode_value(value: str) -> str:
    if value.isascii():
        if not _WORDS.fullmatch(value):
            return value
        if value.startswith("=?utf-8?B?") and len(value.split()) == 1:
            try:  # the form that encode() writes; email.header would reject lone surrogates
                return base64.b64decode(value[10:-2], validate=True).decode("utf-8", "surrogatepass")
            except (binascii.Error, UnicodeDecodeError):
                return value
        try:
            return str(make_header(decode_header(value)))
        except (HeaderParseError, LookupError, ValueError):  # ValueError: bytes that the charset does not allow
            return value
    try:
        return value.encode("latin-1").decode("utf-8")  # raw UTF-8, which HTTP libraries decode as Latin-1
    except (UnicodeEncodeError, UnicodeDecodeError):
        return value
