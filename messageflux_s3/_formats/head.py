"""The attributes of an object that a response's headers carry."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from typing import Any, Protocol, cast

from . import etags
from . import metadata as user_metadata
from .times import as_utc, parse_time

_FURTHER = {
    "CacheControl": "cache-control",
    "ContentDisposition": "content-disposition",
    "ContentLanguage": "content-language",
    "ServerSideEncryption": "x-amz-server-side-encryption",
    "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
}
"""Optional headers of an object, by boto3's names. ``Expires`` is another one, which boto3 parses."""
_FURTHER_HEADERS = frozenset({*_FURTHER.values(), "expires"})
_CHECKSUM = "x-amz-checksum-"
_NOT_CHECKSUMS = ("TYPE", "ALGORITHM", "MODE")


@dataclass(frozen=True, slots=True)
class Head:
    """The attributes of an object, from the headers of a response or from what a write sent. An unknown attribute is None.

    After a HEAD or GET all are set, except that the version ID is None in an unversioned bucket, the idempotency token is None if the
    object has none, and the checksums are None if the response has none: most stores send them only when asked. After a write, only etag
    and version ID (from the response) and size and metadata (from the request) are set.

    ``further`` has those of the headers in :data:`_FURTHER_HEADERS` that the object has, by their lower-case names.
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
    further: Mapping[str, str] | None = None
    checksums: Mapping[str, str] | None = None

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
            further={name: headers[name] for name in _FURTHER_HEADERS & headers.keys()},
            # The checksum of a range may be that of a part.
            checksums=None
            if content_range
            else _checksums({name[15:]: value for name, value in headers.items() if name.startswith(_CHECKSUM)}),
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
            further={
                **{header: answer[name] for name, header in _FURTHER.items() if answer.get(name)},
                **_expires(answer),
            },
            checksums=None
            if content_range
            else _checksums({name[8:]: value for name, value in answer.items() if name.startswith("Checksum")}),
        )

    @classmethod
    def from_write(
        cls, size: int | None, etag: str | None, version_id: str | None, metadata: Mapping[str, str]
    ) -> Head:
        """Make a Head from the response to a write, and from what was sent."""
        shown = user_metadata.decode(metadata)
        return cls(size=size, etag=etags.unquoted(etag), metadata=shown, version_id=version_id)

    @classmethod
    def from_append(cls, etag: str | None, version_id: str | None) -> Head:
        """Make a Head from the response to a write at an offset. The object keeps its metadata, and is larger than what was sent."""
        return cls(etag=etags.unquoted(etag), version_id=version_id)


def _checksums(found: Mapping[str, str]) -> Mapping[str, str] | None:
    """Return checksums by S3's names of their algorithms (``"CRC32"``); None if there are none."""
    named = {name.upper(): value for name, value in found.items()} if found else {}
    return {name: value for name, value in named.items() if name not in _NOT_CHECKSUMS} or None


def _expires(answer: Mapping[str, Any]) -> dict[str, str]:
    """Return the header ``Expires`` as it was received, or formatted from the time that boto3 parsed."""
    if text := answer.get("ExpiresString"):
        return {"expires": text}
    parsed = answer.get("Expires")
    return {"expires": format_datetime(as_utc(parsed), usegmt=True)} if isinstance(parsed, datetime) else {}


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


def lazy_head_with_checksums(found: Head) -> Head:
    """Return the head of a response for which the checksums were requested: if the response has none, the object has none."""
    return cast(Head, _LazyHead(_with_checksums, found))


def _with_checksums(found: Head) -> Head:
    return Head(**{name: getattr(found, name) for name in Head.__slots__} | {"checksums": found.checksums or {}})


def _http_date(text: str) -> datetime | None:
    try:
        return parse_time(text)
    except ValueError:
        return None
