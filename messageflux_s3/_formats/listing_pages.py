"""A fast parser for pages of ListObjectsV2.

A page of the usual form is read by one strict pattern that must match each entry in full; the fields stay text. Any other page goes to
an XML parser. A page that the XML parser rejects, or that might mislead it (a document type), raises :class:`Unreadable`; the caller
then lists through boto3.
"""

from __future__ import annotations

import re
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple, cast
from urllib.parse import unquote_plus
from xml.etree import ElementTree

from .documents import keep_carriage_returns
from .etags import unquoted


class Listed(NamedTuple):
    """An object's entry in a listing. Fields are text as the server sent it, or values parsed by boto3."""

    key: str
    last_modified: str | datetime
    etag: str
    size: str | int
    storage_class: str


class Page(NamedTuple):
    """One page of a listing.

    Attributes:
        objects: The objects, in key order; each a :class:`Listed`, or a plain tuple of the same fields.
        prefixes: The common prefixes, in order.
        token: The continuation token; None on the last page.
        is_truncated: Whether the server reports more pages.
    """

    objects: list[Listed]
    prefixes: list[str]
    token: str | None = None
    is_truncated: bool = False


class Unreadable(ValueError):
    """The page is not a listing, or this parser cannot read it safely."""


_OWNER = r"(?:<Owner>(?:<ID>[^<]*</ID>|<ID/>)?(?:<DisplayName>[^<]*</DisplayName>|<DisplayName/>)?</Owner>)?"
_ENTRY = re.compile(
    r"<Contents><Key>([^<]+)</Key>"
    r"<LastModified>([\d:.TZ+-]+)</LastModified>"
    r"<ETag>([^<]*)</ETag>"
    r"(?:<ChecksumAlgorithm>\w*</ChecksumAlgorithm>)*(?:<ChecksumType>\w*</ChecksumType>)?"
    r"<Size>(\d+)</Size>"
    rf"{_OWNER}(?:<StorageClass>(\w*)</StorageClass>)?{_OWNER}(?:<Type>\w*</Type>)?"
)
_PREFIX = re.compile(r"<CommonPrefixes><Prefix>([^<]+)</Prefix>")
_FRAME = re.compile(
    r"\ufeff?(?:<\?xml [^<>]*\?>\s*)?<ListBucketResult(?: xmlns=[\"'][^\"'<>]*[\"'])?>"
    r"(?:<(?:Name|Prefix|KeyCount|MaxKeys|Delimiter|IsTruncated|StartAfter|ContinuationToken|NextContinuationToken"
    r"|Marker|NextMarker|EncodingType)(?:>[^<]*</\w+>|\s*/>))*"
    r"</ListBucketResult>\s*"
)
_FIELD = re.compile(r"<(\w+)>([^<]*)</(\w+)>")
_CONTENT = re.compile(r'>(?:(?<=<ETag>)(&quot;|&#34;|"))?[^<]+<')
_ELEMENT = re.compile(r'<(\w+)>(|&quot;|&#34;|")(?:\2)</\1>')
_VALUES = {
    "Key": "([^<]+)",
    "LastModified": "([0-9T:.Z+-]+)",
    "ETag": "([^<&]*)",
    "Size": "([0-9]+)",
    "StorageClass": "([A-Z_0-9]*)",
}
_REFERENCE = re.compile(r"&(?:#x([0-9A-Fa-f]{1,6})|#(\d{1,7})|(\w+));|&")
_NAMED = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}


def parse_page(body: bytes) -> Page:
    """Parse a page.

    Args:
        body: The body of the response.

    Returns:
        The page.

    Raises:
        Unreadable: The body is not a listing, or this parser cannot read it safely.

    Example:
        >>> from messageflux_s3._formats.listing_pages import parse_page
        >>> page = parse_page(b'<ListBucketResult><Contents><Key>a&amp;b</Key><LastModified>2026-01-01T00:00:00Z'
        ...     b'</LastModified><ETag>"e"</ETag><Size>3</Size></Contents></ListBucketResult>')
        >>> page.objects[0]
        ('a&b', '2026-01-01T00:00:00Z', 'e', '3', '')
    """
    try:
        text = keep_carriage_returns(body).decode("utf-8")
    except UnicodeDecodeError:
        raise Unreadable("the page is not UTF-8") from None
    except ValueError as error:
        raise Unreadable(str(error)) from None
    if "!" in text and "<!" in text:
        raise Unreadable("the page has a document type, a comment or a CDATA section")
    if "\ufffd" in text:
        raise Unreadable("the server replaced characters that XML cannot represent")
    page = _by_pattern(text)
    return page if page is not None else _by_parser(text)


def next_token(body: bytes) -> str | None:
    """Return the continuation token without parsing the page; None if there is none."""
    start = body.find(b"<NextContinuationToken>")
    if start < 0:
        return None
    end = body.find(b"<", start + 23)
    try:
        return _plain(body[start + 23 : end].decode("utf-8")) or None
    except ValueError:
        return None


def _by_pattern(text: str) -> Page | None:
    """Parse a page of the usual form; return None for any other."""
    if ">\n  <" in text and text.count("<") == text.count(">"):  # the page is indented, and no key contains '>'
        text = text.replace(">\n    <", "><").replace(">\n  <", "><").replace(">\n<", "><")
    try:
        text, section = _cut(text, "Contents")
        entries = _entries(section) if section else []
        text, section = _cut(text, "CommonPrefixes")
        prefixes = [_plain(prefix) for prefix in _each(_PREFIX, section, "CommonPrefixes")] if section else []
        if not _FRAME.fullmatch(text):
            return None
        fields: dict[str, str] = {}
        for name, value, closing in _FIELD.findall(text):
            if name != closing or name in fields:
                return None
            fields[name] = _plain(value)
    except Unreadable:
        return None
    if fields.get("EncodingType"):
        return None
    token = fields.get("NextContinuationToken") or None
    return Page(cast("list[Listed]", entries), prefixes, token, _is_truncated(fields.get("IsTruncated", ""), token))


def _is_truncated(said: str, token: str | None) -> bool:
    """Return whether more pages follow: some stores write ``True``, or send a continuation token without IsTruncated."""
    word = said.strip().lower()
    return word == "true" or (word != "false" and token is not None)


def _cut(text: str, name: str) -> tuple[str, str]:
    """Cut the elements with this name out of the text; return the remaining text and the elements."""
    start = text.find(f"<{name}>")
    if start < 0:
        return text, ""
    end = text.rfind(f"</{name}>") + len(name) + 3
    if end < start:
        raise Unreadable(f"a {name} without a closing tag")
    return text[:start] + text[end:], text[start:end]


def _entries(section: str) -> list[tuple[str, ...]]:
    """Return the fields of each entry. Usually all have the same form, and a pattern made from the first matches all of them."""
    first = section[: section.index("</Contents>")]
    pattern, tags = _pattern_like(_CONTENT.sub(_blank, first))
    found: list[tuple[str, ...]] = pattern.findall(section)
    # Each match has as many tags as the pattern; if the section has no more, every tag belongs to a match.
    if len(found) * tags != section.count("<"):
        found = [
            (key, modified, unquoted(_plain(etag)) or "", size, storage_class)
            for key, modified, etag, size, storage_class in _each(_ENTRY, section, "Contents")
        ]
    if "&" in section:
        found = [(_plain(entry[0]), *entry[1:]) if "&" in entry[0] else entry for entry in found]
    return found


def _each(pattern: re.Pattern[str], section: str, name: str) -> list[Any]:
    """Match each of several adjacent elements in full against the pattern; return the groups of each match."""
    matches = [*map(pattern.fullmatch, section.removesuffix(f"</{name}>").split(f"</{name}>"))]
    if None in matches:
        raise Unreadable(f"a {name} of unusual form")
    found = [match.groups("") for match in cast("list[re.Match[str]]", matches)]
    return [groups[0] for groups in found] if pattern.groups == 1 else found


def _blank(content: re.Match[str]) -> str:
    """Remove the content between two tags, but keep the quotes around an etag."""
    quote = content[1] or ""
    return f">{quote}{quote}<"


@lru_cache(maxsize=256)
def _pattern_like(skeleton: str) -> tuple[re.Pattern[str], int]:
    """Return a pattern for entries with the same elements as this entry without values, and the number of tags in each entry.

    Raises:
        Unreadable: The parser does not support these elements.
    """
    sample = skeleton.replace("<Key><", "<Key>k<").replace("<LastModified><", "<LastModified>0<")
    if not _ENTRY.fullmatch(sample.replace("<Size><", "<Size>0<")):
        raise Unreadable("an entry of unusual form")
    source = _ELEMENT.sub(_captured, skeleton)
    if "<StorageClass>" not in skeleton:
        source += "()"
    return re.compile(f"{source}</Contents>"), skeleton.count("<") + 1


def _captured(element: re.Match[str]) -> str:
    name, quote = element[1], element[2]
    return f"<{name}>{quote}{_VALUES.get(name, '[^<]*')}{quote}</{name}>"


def _plain(text: str) -> str:
    """Resolve character references without an XML parser: parsers reject ``&#x01;``, for example, which servers write in keys."""
    return _REFERENCE.sub(_character, text) if "&" in text else text


def _character(reference: re.Match[str]) -> str:
    in_hex, in_decimal, name = reference.groups()
    try:
        character = chr(int(in_hex, 16) if in_hex else int(in_decimal)) if in_hex or in_decimal else _NAMED[name]
        character.encode("utf-8")
    except (KeyError, ValueError, OverflowError):
        raise Unreadable(f"the reference {reference[0]!r}") from None
    return character


def _by_parser(text: str) -> Page:
    """Parse a page of any form with an XML parser. The page has no document type, so no entity can expand."""
    try:
        root = ElementTree.fromstring(text)  # nosec B314  # without a document type no entity can expand
    except ElementTree.ParseError as error:
        raise Unreadable(f"the page is not XML: {error}") from None
    space = root.tag[: -len("ListBucketResult")]
    if root.tag != f"{space}ListBucketResult":
        raise Unreadable(f"the document is a {root.tag}")

    def value(element: ElementTree.Element, name: str) -> str:
        return element.findtext(f"{space}{name}") or ""

    is_encoded = value(root, "EncodingType") == "url"

    def name(element: ElementTree.Element, tag: str) -> str:
        text = value(element, tag)
        return unquote_plus(text) if is_encoded else text

    objects = [
        Listed(
            name(entry, "Key"), value(entry, "LastModified"), value(entry, "ETag"), value(entry, "Size"),
            value(entry, "StorageClass"),
        )
        for entry in root.findall(f"{space}Contents")
    ]  # fmt: skip
    if not all(entry.key and cast("str", entry.size).isdigit() and entry.last_modified for entry in objects):
        raise Unreadable("an entry without key, size or time")
    prefixes = [name(entry, "Prefix") for entry in root.findall(f"{space}CommonPrefixes")]
    if not all(prefixes):
        raise Unreadable("a common prefix without text")
    token = value(root, "NextContinuationToken") or None
    return Page(objects, prefixes, token, _is_truncated(value(root, "IsTruncated"), token))
