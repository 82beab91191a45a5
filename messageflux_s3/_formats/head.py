"""The attributes of an object that a response's headers carry."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, cast

from . import etags
from . import metadata as user_metadata
from .times import as_utc, parse_time


@dataclass(frozen=True, slots=True)
class Head:
    """The attributes of an object, from the headers of a response. An attribute that the response does not have is None.

    A HEAD or GET response has all of them (the version ID in versioned buckets only); a PUT gives size, etag, metadata and version ID.
    """

    size: int | None = None
    etag: str | None = None
    last_modified: datetime | None = None
    storage_class: str | None = None
    metadata: Mapping[str, str] | None = None
    content_type: str | None = None
    content_encoding: str | None = None
    version_id: str | None = None
    idempotency_token: str | None = None

    @classmethod
    def from_headers(cls, headers: Mapping[str, str]) -> Head:
        """Make a Head from HTTP headers with lower-case names."""
        raw = {name[11:]: value for name, value in headers.items() if name.startswith("x-amz-meta-")}
        content_range = headers.get("content-range", "")
        total = content_range.rpartition("/")[2] if content_range else headers.get("content-length", "")
        modified = headers.get("last-modified")
        return cls(
            size=int(total) if total.isdigit() else None,
            etag=etags.unquoted(headers.get("etag")),
            last_modified=_http_date(modified) if modified else None,
            storage_class=headers.get("x-amz-storage-class", "STANDARD"),
            metadata=user_metadata.decode(raw),
            content_type=headers.get("content-type", ""),
            content_encoding=headers.get("content-encoding", ""),
            version_id=headers.get("x-amz-version-id"),
            idempotency_token=raw.get(user_metadata.IDEMPOTENCY_TOKEN),
        )

    @classmethod
    def from_answer(cls, answer: Mapping[str, Any]) -> Head:
        """Make a Head from boto3's response to HeadObject or GetObject."""
        raw = {name.lower(): value for name, value in (answer.get("Metadata") or {}).items()}
        content_range = str(answer.get("ContentRange") or "")
        total = content_range.rpartition("/")[2]
        return cls(
            size=int(total) if total.isdigit() else answer.get("ContentLength"),
            etag=etags.unquoted(answer.get("ETag")),
            last_modified=as_utc(answer["LastModified"]) if answer.get("LastModified") else None,
            storage_class=answer.get("StorageClass") or "STANDARD",
            metadata=user_metadata.decode(raw),
            content_type=answer.get("ContentType") or "",
            content_encoding=answer.get("ContentEncoding") or "",
            version_id=answer.get("VersionId"),
            idempotency_token=raw.get(user_metadata.IDEMPOTENCY_TOKEN),
        )

    @classmethod
    def from_write(
        cls, size: int | None, etag: str | None, version_id: str | None, metadata: Mapping[str, str]
    ) -> Head:
        """Make a Head from the response to a write, and from what was sent."""
        shown = user_metadata.decode(metadata)
        return cls(size=size, etag=etags.unquoted(etag), metadata=shown, version_id=version_id)


class _HasHeaders(Protocol):
    @property
    def headers(self) -> Mapping[str, str]: ...


class _LazyHead:
    """A Head that is made at the first access: most bulk reads use only the bodies, and most bulk writes ignore the response."""

    __slots__ = ("_head", "_make")

    def __init__(self, make: Callable[..., Head], *arguments: Any) -> None:
        self._make: tuple[Callable[..., Head], tuple[Any, ...]] | None = make, arguments
        self._head: Head | None = None

    def _made(self) -> Head:
        if self._head is None and (make := self._make) is not None:
            # Concurrent threads may each make a head; all are equal. Set the head before dropping the function that makes it.
            function, arguments = make
            self._head = function(*arguments)
            self._make = None
        return cast(Head, self._head)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._made(), name)

    def __repr__(self) -> str:
        return repr(self._made())

    def __reduce__(self) -> tuple[Any, ...]:
        return copy.copy, (self._made(),)


def lazy_head(response: _HasHeaders) -> Head:
    """Return a :class:`Head` that is decoded from a response's headers at the first access."""
    return cast(Head, _LazyHead(_head_of, response))


def _head_of(response: _HasHeaders) -> Head:
    return Head.from_headers(response.headers)


def lazy_head_of_write(size: int | None, etag: str | None, version_id: str | None, metadata: Mapping[str, str]) -> Head:
    """Return a :class:`Head` that is made at the first access, from the response to a write and from what was sent."""
    return cast(Head, _LazyHead(Head.from_write, size, etag, version_id, metadata))


def _http_date(text: str) -> datetime | None:
    try:
        return parse_time(text)
    except ValueError:
        return None
