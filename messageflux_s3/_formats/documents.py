"""Repair of XML documents from S3 servers before an XML parser reads them."""

from __future__ import annotations

import re

_SECTION_WITH_RETURN = re.compile(rb"<![^>]*\r")
_HTML = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html)\b", re.DOTALL | re.IGNORECASE)
_TEXT_WITH_RETURN = re.compile(rb"(<[^<>]*>)([^<]*\r[^<]*)(?=<(/?))")


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
    kept = _TEXT_WITH_RETURN.sub(_with_references, document)
    if b"<!" in document and (kept != document or _SECTION_WITH_RETURN.search(document)):
        raise ValueError("a carriage return in a document with a CDATA section, a comment or a document type")
    return kept


def is_html(document: object) -> bool:
    """Return whether a response's body is an HTML page, which no S3 server sends with a success: it is that of a proxy.

    Example:
        >>> from messageflux_s3._formats.documents import is_html
        >>> is_html(b"<!DOCTYPE html><html>"), is_html(b"<DeleteResult/>"), is_html(b"")
        (True, False, False)
    """
    return isinstance(document, bytes) and _HTML.match(document) is not None


def _with_references(found: re.Match[bytes]) -> bytes:
    tag, text, slash = found.groups()
    is_value = slash and not tag.startswith((b"</", b"<?")) and not tag.endswith(b"/>")
    if not text.strip(b" \t\r\n") and not is_value:
        return tag + text
    return tag + text.replace(b"\r", b"&#13;")
