"""Repair of XML documents from S3 servers before an XML parser reads them."""

from __future__ import annotations

import re
from collections.abc import Mapping

_SECTION_WITH_RETURN = re.compile(rb"<![^>]*\r")
COMMENTS = rb"(?:<!--(?:[^-]|-(?!->))*-->\s*)*"
"""Pattern of comments. Each must have one end only: with ``.*?`` a document of many comments would take for ever."""
_HTML = re.compile(rb"(?:\xef\xbb\xbf)?\s*" + COMMENTS + rb"<(?:!doctype\s+html|html)\b", re.IGNORECASE)
_BEFORE_TAG = frozenset({b"<", b"\xef", b" ", b"\t", b"\n", b"\r", b"\v", b"\f"})
_UNUSUAL = re.compile(rb"&#(?:[xX]([0-9A-Fa-f]{1,8})|([0-9]{1,9}));|[\x00-\x08\x0b\x0c\x0e-\x1f]")
_REPLACEMENT = "\ufffd".encode()
_TEXT = re.compile(rb"(<[^<>]*>)([^<]+)(?=<(/?))")


def keep_carriage_returns(document: bytes) -> bytes:
    """Replace carriage returns inside values with character references, which XML parsers preserve.

    Some servers write a carriage return in a key unescaped. XML requires every parser to turn it into a line feed, which changes the key.
    White space between elements is left unchanged.

    Args:
        document: An XML document. Anything else, such as JSON, is returned unchanged.

    Raises:
        ValueError: The document is not UTF-8, or has a carriage return where a reference has no effect, such as in a CDATA section.

    Example:
        >>> from messageflux_s3._formats.documents import keep_carriage_returns
        >>> keep_carriage_returns(b"<Key>a\\rb</Key>")
        b'<Key>a&#13;b</Key>'
    """
    if b"\r" not in document or not document.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return document
    if b"\0" in document:  # UTF-16
        raise ValueError("a carriage return in a document that is not UTF-8")
    kept = _TEXT.sub(_with_references, document)
    if b"<!" in document and (kept != document or _SECTION_WITH_RETURN.search(document)):
        raise ValueError("a carriage return in a document with a CDATA section, a comment or a document type")
    return kept


def replace_invalid_characters(document: bytes) -> bytes:
    """Replace the characters that XML cannot represent, and references to them, with U+FFFD: XML parsers reject the whole document.

    S3 sends them in documents that repeat a key with control characters, such as the result of an upload in parts.

    Example:
        >>> from messageflux_s3._formats.documents import replace_invalid_characters
        >>> replace_invalid_characters(b"<Key>a&#x1;b&#x41;</Key>").decode()
        '<Key>a�b&#x41;</Key>'
    """
    return _UNUSUAL.sub(_with_replacement, document)


def is_html(document: object) -> bool:
    """Return whether a response's body is an HTML page, which no S3 server sends with a success: it is that of a proxy.

    Example:
        >>> from messageflux_s3._formats.documents import is_html
        >>> is_html(b"<!DOCTYPE html><html>"), is_html(b"<DeleteResult/>"), is_html(b"")
        (True, False, False)
    """
    # The first byte tells most bodies, of which every one is looked at.
    return isinstance(document, bytes) and document[:1] in _BEFORE_TAG and _HTML.match(document) is not None


def is_page(headers: Mapping[str, str]) -> bool:
    """Return whether these headers of a success, under lower-case names, are those of a proxy's page, not of an object or a bucket.

    Every store sends an ETag, a time of modification or headers of S3 with them.

    Example:
        >>> from messageflux_s3._formats.documents import is_page
        >>> is_page({"content-type": "text/html"}), is_page({"content-type": "text/html", "etag": "e"})
        (True, False)
    """
    return headers.get("content-type", "").lower().startswith("text/html") and not any(
        name in ("etag", "last-modified") or name.startswith("x-amz-") for name in headers
    )


def _with_replacement(found: re.Match[bytes]) -> bytes:
    in_hex, in_decimal = found.groups()
    if in_hex is None and in_decimal is None:
        return _REPLACEMENT
    code = int(in_hex, 16) if in_hex is not None else int(in_decimal)
    is_valid = code in (9, 10, 13) or 32 <= code < 0xD800 or 0xE000 <= code < 0xFFFE or 0x10000 <= code <= 0x10FFFF
    return found[0] if is_valid else _REPLACEMENT


def _with_references(found: re.Match[bytes]) -> bytes:
    tag, text, slash = found.groups()
    is_value = slash and not tag.startswith((b"</", b"<?")) and not tag.endswith(b"/>")
    if not text.strip(b" \t\r\n") and not is_value:
        return tag + text
    return tag + text.replace(b"\r", b"&#13;")
