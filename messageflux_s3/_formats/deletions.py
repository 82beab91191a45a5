"""The XML documents of DeleteObjects: the request, and the result for each key. Pure: no boto3, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from xml.etree import ElementTree

from .documents import keep_carriage_returns


def delete_document(objects: Iterable[Mapping[str, str]]) -> bytes:
    """Return the request document for the deletion of objects.

    Args:
        objects: Mappings in boto3's form, with ``Key`` and optionally ``VersionId``.

    Example:
        >>> from messageflux_s3._formats.deletions import delete_document
        >>> delete_document([{"Key": "a&b"}])
        b'<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Object><Key>a&amp;b</Key></Object></Delete>'
    """
    entries = []
    for one in objects:
        version = one.get("VersionId")
        named = f"<VersionId>{_escaped(version)}</VersionId>" if version else ""
        entries.append(f"<Object><Key>{_escaped(one['Key'])}</Key>{named}</Object>")
    return f'<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{"".join(entries)}</Delete>'.encode()


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def read_deletions(document: bytes) -> dict[str, Any] | None:
    """Return the deleted keys and the errors, in boto3's form; None if the document is not the result of DeleteObjects.

    Example:
        >>> from messageflux_s3._formats.deletions import read_deletions
        >>> read_deletions(b"<DeleteResult><Deleted><Key>a</Key></Deleted></DeleteResult>")
        {'Deleted': [{'Key': 'a'}], 'Errors': []}
    """
    if (
        b"<!" in document or b"\0" in document
    ):  # "<!" begins a document type; NUL means UTF-16, in which b"<!" would not be found
        return None
    try:
        root = ElementTree.fromstring(  # nosec B314  # without a document type no entity can expand
            keep_carriage_returns(document)
        )
    except (ElementTree.ParseError, LookupError, ValueError):  # LookupError, ValueError: an encoding unknown to Python
        return None
    space = root.tag.rpartition("DeleteResult")[0]
    if root.tag != f"{space}DeleteResult":
        return None
    found: dict[str, list[dict[str, str]]] = {"Deleted": [], "Errors": []}
    lists = {f"{space}Deleted": found["Deleted"], f"{space}Error": found["Errors"]}
    for element in root:
        if (entries := lists.get(element.tag)) is not None:  # any other element does not say that a key was deleted
            entries.append({child.tag.removeprefix(space): child.text or "" for child in element})
    return found
