"""What a proxy knows about the server's objects: which ones clients have read, and what the latest write to each bucket changed.

So the proxy can show a listing as it was before the latest write, and change an object that was read as another client would.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from urllib.parse import parse_qsl, quote, unquote
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from .proxy import ProxyRequest, ProxyResponse
from .s3_requests import S3Request, recognise

_READS = ("GetObject", "HeadObject", "GetObjectAttributes")
_WRITES = ("PutObject", "CopyObject", "CompleteMultipartUpload", "DeleteObject")
# moto does not check signatures, but refuses unsigned requests to objects.
_AUTHORIZATION = (
    "AWS4-HMAC-SHA256 Credential=faults/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
)


class ObjectHistory:
    """Forward requests to a server, and record what they read and changed.

    Args:
        send: Sends a request to the server; returns None if no response came.
    """

    def __init__(self, send: Callable[[ProxyRequest], ProxyResponse | None]) -> None:
        self._send = send
        self._read: set[tuple[str, str]] = set()
        # By bucket: the keys of the latest write, each with its former entry in a listing (None: there was no object).
        self._latest: dict[str, dict[str, Element | None]] = {}

    def forward(self, request: ProxyRequest) -> ProxyResponse | None:
        """Send a request to the server, and record what the request read or changed."""
        s3 = recognise(request)
        former = self._former(s3, request)
        response = self._send(request)
        if response is None or not response.is_success:
            return response
        if s3.operation in _READS:
            self._read.add((s3.bucket, s3.key))
        elif former is not None:
            self._latest[s3.bucket] = former
            self._read.difference_update((s3.bucket, key) for key in former)
        return response

    def change_object(self, request: ProxyRequest, content: bytes | None = None) -> ProxyRequest | None:
        """Write other content to the object of a request, as another client would.

        Args:
            request: A request about an object.
            content: The other content; None for a line feed and the former content.

        Returns:
            The request; None if the object does not exist, no client has read it since the latest write through the proxy, or the
            request is about a given version. Then nothing was written.
        """
        s3 = recognise(request)
        path, _, query = request.target.partition("?")
        if (s3.bucket, s3.key) not in self._read or "versionId" in dict(parse_qsl(query)):
            return None
        current = self._send(_own_request("GET", path))
        if current is None or not current.is_success:
            return None
        new = b"\n" + current.body if content is None else content
        content_type = current.header("Content-Type") or "binary/octet-stream"
        written = self._send(_own_request("PUT", path, new, f"Content-Type: {content_type}"))
        return request if written is not None and written.is_success else None

    def stale_listing(self, request: ProxyRequest, response: ProxyResponse) -> ProxyResponse | None:
        """Return a listing as it was before the latest write to its bucket; None if that is the same.

        Only the entries of objects are changed, not common prefixes.
        """
        former = self._latest.get(recognise(request).bucket)
        root = _parsed(response) if former else None
        if not former or root is None:
            return None
        page = _Page(root, dict(parse_qsl(request.target.partition("?")[2])))
        changed = [page.undo(key, entry) for key, entry in former.items()]
        if not any(changed):
            return None
        return response.with_body(page.document())

    def _former(self, s3: S3Request, request: ProxyRequest) -> dict[str, Element | None] | None:
        """Return the listing entries that a write is about to change; None if the request is not a write, or if they cannot be read."""
        if s3.is_scratch:
            return None
        if s3.operation in _WRITES:
            keys, listing = [s3.key], f"prefix={quote(s3.key, safe='')}&max-keys=1"
        elif s3.operation == "DeleteObjects":
            keys, listing = _keys_to_delete(request), "max-keys=1000000"
        else:
            return None
        response = self._send(_own_request("GET", f"/{s3.bucket}?list-type=2&{listing}"))
        root = _parsed(response) if response is not None else None
        if root is None:
            return None
        entries = {_text(entry, "Key"): entry for entry in _children(root, "Contents")}
        return {key: entries.get(key) for key in keys}


class _Page:
    """One page of a listing, to be changed.

    Args:
        root: The document.
        query: The query of the request.
    """

    def __init__(self, root: Element, query: dict[str, str]) -> None:
        self.root = root
        self._is_encoded = _text(root, "EncodingType") == "url"
        self._prefix, self._delimiter = query.get("prefix", ""), query.get("delimiter", "")
        names = [self._decoded(_text(entry, "Key")) for entry in _children(root, "Contents")]
        names += [self._decoded(_text(entry, "Prefix")) for entry in _children(root, "CommonPrefixes")]
        self._after = query.get("start-after") or query.get("marker") or ""
        if "continuation-token" in query:  # the token does not say where the page begins
            self._after = min(names, default="\U0010ffff")
        self._until = max(names, default="") if _text(root, "IsTruncated") == "true" else None

    def undo(self, key: str, former: Element | None) -> bool:
        """Show one key as it was; return whether that changes the page."""
        for entry in _children(self.root, "Contents"):
            if self._decoded(_text(entry, "Key")) == key:
                if former is None:
                    self.root.remove(entry)
                    self._count(-1)
                    return True
                return self._replace(entry, former)
        if former is None or not self._has_room_for(key):
            return False
        shown = copy.deepcopy(former)
        for name in _children(shown, "Key"):
            name.text = quote(key) if self._is_encoded else key
        self.root.insert(self._place_of(key), shown)
        self._count(1)
        return True

    def document(self) -> bytes:
        """Return the page as XML."""
        namespace = self.root.tag[1:].partition("}")[0] if self.root.tag.startswith("{") else None
        document: bytes = ElementTree.tostring(self.root, "utf-8", xml_declaration=True, default_namespace=namespace)
        return document

    def _replace(self, entry: Element, former: Element) -> bool:
        """Give an entry the size, the ETag and the time of its former one."""
        is_different = False
        for name in ("Size", "ETag", "LastModified"):
            for old, new in zip(_children(former, name), _children(entry, name), strict=False):
                is_different = is_different or old.text != new.text
                new.text = old.text
        return is_different

    def _has_room_for(self, key: str) -> bool:
        """Return whether a deleted object was on this page, as an entry of its own."""
        rest = key.removeprefix(self._prefix)
        is_grouped = bool(self._delimiter) and self._delimiter in rest
        return (
            key.startswith(self._prefix)
            and not is_grouped
            and key.encode() > self._after.encode()
            and (self._until is None or key.encode() < self._until.encode())
        )

    def _place_of(self, key: str) -> int:
        place = 0
        for number, child in enumerate(self.root):
            is_before = self._decoded(_text(child, "Key")).encode() < key.encode()
            if _name(child) == "Contents" and is_before:
                place = number + 1
        return place

    def _count(self, more: int) -> None:
        for count in _children(self.root, "KeyCount"):
            count.text = str(int(count.text or 0) + more)

    def _decoded(self, name: str) -> str:
        return unquote(name) if self._is_encoded else name


def _own_request(method: str, target: str, body: bytes = b"", *headers: str) -> ProxyRequest:
    lines = [f"{method} {target} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: {_AUTHORIZATION}", *headers]
    head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode("latin-1")
    return ProxyRequest(method, target, head, body)


def _keys_to_delete(request: ProxyRequest) -> list[str]:
    root = _parsed_document(request.body)
    return [_text(entry, "Key") for entry in _children(root, "Object")] if root is not None else []


def _parsed(response: ProxyResponse) -> Element | None:
    return _parsed_document(response.body) if response.is_success else None


def _parsed_document(document: bytes) -> Element | None:
    try:
        return ElementTree.fromstring(document)  # nosec B314  # sent by the embedded server, or by the program under test
    except ElementTree.ParseError:  # a key with a character that XML does not allow
        return None


def _name(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _children(element: Element, name: str) -> list[Element]:
    return [child for child in element if _name(child) == name]


def _text(element: Element, name: str) -> str:
    return next((child.text or "" for child in _children(element, name)), "")
