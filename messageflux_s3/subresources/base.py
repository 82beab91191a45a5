"""Reading, merging and writing of a sub-resource: a configuration that S3 keeps under ``?something`` in the URL of a bucket or object.

Some stores ignore a query string that they do not support: there ``PUT key?tagging`` overwrites the object, and ``DELETE bucket?policy``
deletes the bucket. So on a store that is not AWS nothing is ever written before a read has shown that the store supports the sub-resource,
by the root element of the response or by the error code for a missing configuration. Every write to such a store is read back.
"""

from __future__ import annotations

import difflib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from .._client.addresses import BucketAddress, ObjectAddress
from .._client.connection import Connection
from .._client.hooks import root_name
from .._formats import render
from ..errors import S3Error, S3InvalidContent, S3PreconditionFailed, S3Unsupported


class Value(Protocol):
    """A configuration as a frozen value."""

    def to_api(self) -> Any:
        """Return the configuration in the form that S3 expects."""

    def lines(self) -> list[str]:
        """Return the configuration as text, one entry after the other; lines that continue an entry are indented."""


V = TypeVar("V", bound=Value)


@dataclass(frozen=True)
class Change(Generic[V]):
    """A change to a configuration. Print it to see it as a diff.

    Attributes:
        what: The setting and the bucket or object that it belongs to.
        before: The configuration that was read.
        after: The configuration with the change.
        applied: Whether the change was made.
    """

    what: str
    before: V
    after: V
    _merged: Callable[[V], V]
    _read: Callable[[], V]
    _write: Callable[[V], None]
    applied: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether ``before`` and ``after`` are the same."""
        return self.before.lines() == self.after.lines()

    def apply(self) -> Change[V]:
        """Make exactly this change. Does nothing if the change is empty or applied already.

        The configuration is read again first, so that entries which other clients have changed in the meantime are kept.

        Returns:
            The same change, applied.

        Raises:
            S3PreconditionFailed: Another client has changed the same entries since ``before`` was read. Nothing was written.

        Requests:
            none, or 1 read and 1 write (on a store that is not AWS 2 more reads)
        """
        if self.applied or self.is_empty:
            return replace(self, applied=True)
        now = self._read()
        wanted = self._merged(now)
        if _changes(now, wanted) != _changes(self.before, self.after):
            raise S3PreconditionFailed(
                f"{self.what} was changed since this change was planned; nothing was written. Plan the change again."
            )
        self._write(wanted)
        return replace(self, applied=True)

    def __str__(self) -> str:
        if self.is_empty:
            return render.visible(f"{self.what}: no change")
        diff = difflib.unified_diff(self.before.lines(), self.after.lines(), "now", "then", n=2, lineterm="")
        return "\n".join(render.visible(line) for line in [f"{self.what}:", *diff])

    def __repr__(self) -> str:
        return f"<Change {self}>"

    def _repr_html_(self) -> str:
        return render.text_block("", str(self)).html


def _changes(before: Value, after: Value) -> tuple[list[str], list[str]]:
    """Return the entries that are removed and those that are added."""
    old, new = _entries(before), _entries(after)
    return [entry for entry in old if entry not in new], [entry for entry in new if entry not in old]


def _entries(value: Value) -> list[str]:
    """Split the lines into entries: an entry is a line and the indented lines after it."""
    lines = value.lines()
    return re.split(r"\n(?! )", "\n".join(lines)) if lines else []


T = TypeVar("T")


def in_place(entries: tuple[T, ...], entry: T, is_same: Callable[[T], bool]) -> tuple[T, ...]:
    """Put ``entry`` in place of the first entry with ``is_same``, or at the end; drop others with ``is_same``. Order may matter."""
    at = next((number for number, known in enumerate(entries) if is_same(known)), len(entries))
    after = tuple(known for known in entries[at:] if not is_same(known))
    return (*entries[:at], entry, *after)


class SubResource(ABC, Generic[V]):
    """A configuration of a bucket or an object."""

    name: ClassVar[str]
    _get: ClassVar[str]
    _put: ClassVar[str]
    _delete: ClassVar[str] = ""
    _roots: ClassVar[tuple[str, ...]]  # root elements of the document; some servers name it after the operation
    _absent: ClassVar[tuple[str, ...]] = ()  # error codes for a missing configuration
    _put_parameters: ClassVar[dict[str, Any]] = {}

    def __init__(self, address: BucketAddress | ObjectAddress) -> None:
        self._bucket = address.bucket if isinstance(address, ObjectAddress) else address
        self._key = address.key if isinstance(address, ObjectAddress) else None
        self._target: dict[str, str] = {"Bucket": self._bucket.name}
        if isinstance(address, ObjectAddress):
            self._target["Key"] = address.key
            if address.version_id is not None:
                self._target["VersionId"] = address.version_id

    @property
    def _connection(self) -> Connection:
        return self._bucket.connection

    @abstractmethod
    def _from_document(self, document: bytes) -> V:
        """Return the value that a document describes."""

    @abstractmethod
    def _to_document(self, value: V) -> bytes:
        """Return the document that describes a value."""

    @abstractmethod
    def _empty(self) -> V:
        """Return the value that represents a missing configuration."""

    def get(self) -> V:
        """Return the current configuration; an empty value if there is none.

        Raises:
            S3Unsupported: The store does not support this setting.
            S3InvalidContent: The store sent a document that cannot be read.

        Requests:
            1
        """
        document = self._fetch()
        return self._empty() if document is None else self._parse(document)

    def put(self, value: V) -> None:
        """Replace the whole configuration. The other methods change single entries and keep the rest.

        Args:
            value: The configuration.

        Raises:
            S3Unsupported: The store does not support this setting, or stored something else, in which case the former configuration was
                restored.

        Requests:
            1; on a store that is not AWS also 2 reads
        """
        if self._connection.is_aws:
            self._send(value)
            return
        document = self._fetch()
        before = None if document is None else self._parse(document)
        self._send(value)
        stored = self._fetch()
        if (stored is None and self._same(value, self._empty())) or (
            stored is not None and self._same(self._parse(stored), value)
        ):
            return
        if before is None:
            self._remove()
        else:
            self._send(before)
        raise S3Unsupported(
            f"{self._where()}: the store stored another {self.name} configuration than the one it was sent; the former one was restored",
            operation=self._put,
            bucket=self._bucket.name,
            key=self._key,
        )

    def delete(self) -> None:
        """Delete the whole configuration. Idempotent.

        Raises:
            S3Unsupported: The store does not support this setting.

        Requests:
            1; on a store that is not AWS also 1 read
        """
        if not self._connection.is_aws and self._fetch() is None:
            return
        self._remove()

    def change(self, value: V) -> Change[V]:
        """Plan the replacement of the whole configuration, without making it.

        Args:
            value: The new configuration.

        Returns:
            The change; ``apply()`` makes it.

        Requests:
            1 read
        """
        return self._plan(lambda _: value)

    # -- internals -----------------------------------------------------------------------------------------------------------------

    def _plan(self, merged: Callable[[V], V]) -> Change[V]:
        """Return the change that a function makes to the current configuration. Requests: 1 read."""
        before = self.get()
        return Change(f"{self.name} of {self._where()}", before, merged(before), merged, self.get, self.put)

    def _make(self, merged: Callable[[V], V], *, dry_run: bool = False) -> Change[V]:
        """Plan a change and, unless ``dry_run`` is set, make it. Requests: 1 read, and those of ``put`` if it changes something."""
        change = self._plan(merged)
        if dry_run:
            return change
        if not change.is_empty:
            self.put(change.after)
        return replace(change, applied=True)

    def _fetch(self) -> bytes | None:
        """Return the stored document, None if there is none. Raises S3Unsupported if the store does not support the sub-resource."""
        try:
            document = self._connection.read_document(self._get, **self._target)
        except S3Error as error:
            if error.code in self._absent:
                return None
            if error.status != 416:  # 416: the store ignored ?name and the object is empty; a document never is
                raise
            document = b""
        if not self._is_own(document):
            raise S3Unsupported(
                f"{self._where()}: this store does not support ?{self.name}: its response is another document. Nothing was written.",
                operation=self._get,
                bucket=self._bucket.name,
                key=self._key,
            )
        return document

    def _parse(self, document: bytes) -> V:
        """Return the value of a document that the store sent.

        Raises:
            S3InvalidContent: The document has the right root element, but cannot be read otherwise.
        """
        try:
            return self._from_document(document)
        except (S3InvalidContent, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise S3InvalidContent(
                f"{self._where()}: the {self.name} configuration that the store sent cannot be read: {error}",
                operation=self._get,
                bucket=self._bucket.name,
                key=self._key,
            ) from error

    def _is_own(self, document: bytes) -> bool:
        return root_name(document) in self._roots

    def _send(self, value: V) -> None:
        self._send_document(self._to_document(value))

    def _send_document(self, document: bytes) -> None:
        self._connection.write_document(self._put, document, **self._target, **self._put_parameters)

    def _remove(self) -> None:
        self._connection.call(self._delete, **self._target)

    def _same(self, one: V, other: V) -> bool:
        return sorted(one.lines()) == sorted(other.lines())

    def _where(self) -> str:
        return f"s3://{self._bucket.name}/{self._key or ''}"

    def __repr__(self) -> str:
        return f"<{self.name} of {self._where()}>"
