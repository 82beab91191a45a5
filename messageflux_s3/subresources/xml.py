"""Configuration documents as frozen values that keep every element, including those that this library has no field for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from .._formats.plain import plain
from ..errors import S3InvalidContent

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


@dataclass(frozen=True, slots=True)
class Node:
    """An XML element.

    Attributes:
        name: The element's name, without its namespace.
        text: Its text; empty if it has children.
        children: Its child elements, in order.
        attributes: Name and value of its attributes, with namespaces in braces (``{http://…}type``).
    """

    name: str
    text: str = ""
    children: tuple[Node, ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()

    def all(self, name: str) -> Iterator[Node]:
        """Iterate over the children with this name."""
        return (child for child in self.children if child.name == name)

    def get(self, name: str) -> Node | None:
        """Return the first child with this name, or None."""
        return next(self.all(name), None)

    def text_of(self, name: str) -> str | None:
        """Return the text of the first child with this name, or None."""
        child = self.get(name)
        return None if child is None else child.text

    def without(self, *names: str) -> tuple[Node, ...]:
        """Return the children with other names."""
        return tuple(child for child in self.children if child.name not in names)

    def lines(self, indent: str = "") -> list[str]:
        """Return the element as indented text."""
        if not self.children:
            return [f"{indent}{self.name}: {self.text}" if self.text else f"{indent}{self.name}"]
        return [f"{indent}{self.name}:", *(line for child in self.children for line in child.lines(indent + "  "))]


# XML parsers turn these characters into a line feed or a space unless they are written as references.
_LINE_ENDS = {"\r": "&#13;", "\n": "&#10;", "\t": "&#9;"}


def leaf(name: str, value: object) -> Node:
    """Return an element that contains only text. True and False become ``true`` and ``false``, as S3 writes them."""
    if isinstance(value, str):
        return Node(name, plain(value))
    return Node(name, {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value))


def parse(document: bytes) -> Node:
    """Parse a document.

    Raises:
        S3InvalidContent: The document is not XML, or has a DOCTYPE, which no store needs and which may declare entities.
    """
    if (
        b"<!DOCTYPE" in document or b"<!ENTITY" in document or b"\0" in document
    ):  # NUL means UTF-16, in which the other two would not be found
        raise S3InvalidContent("the store sent an XML document with a DOCTYPE; it was not read")
    try:
        return _node(ElementTree.fromstring(document))  # nosec B314  # there are no entities: checked above
    except (
        ElementTree.ParseError,
        LookupError,
        ValueError,
        RecursionError,
    ) as error:  # LookupError, ValueError: an encoding unknown to Python
        raise S3InvalidContent(f"the store sent a configuration that is not XML: {error}") from error


def _node(element: ElementTree.Element) -> Node:
    children = tuple(_node(child) for child in element)
    text = "" if children else (element.text or "")
    return Node(element.tag.rpartition("}")[2], text, children, tuple(element.attrib.items()))


def write(root: Node) -> bytes:
    """Serialize an element as an XML document in S3's namespace."""
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{_element_text(root, f" xmlns={NAMESPACE!r}")}'.encode()


def _element_text(node: Node, namespace: str = "") -> str:
    attributes = ""
    for number, (name, value) in enumerate(node.attributes):
        uri, _, local = name.rpartition("}")
        quoted = escape(value, {'"': "&quot;", **_LINE_ENDS})
        attributes += f' xmlns:a{number}="{uri[1:]}" a{number}:{local}="{quoted}"' if uri else f' {local}="{quoted}"'
    inside = "".join(_element_text(child) for child in node.children) or escape(node.text, {"\r": "&#13;"})
    return f"<{node.name}{namespace}{attributes}>{inside}</{node.name}>"
