"""?versioning: whether a bucket keeps former versions of its objects."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from ..errors import S3Unsupported
from . import xml
from .base import Change, SubResource
from .xml import Node, leaf

Status = Literal["Enabled", "Suspended"]


@dataclass(frozen=True, slots=True)
class VersioningConfiguration:
    """The versioning state of a bucket.

    Attributes:
        status: ``"Enabled"``, ``"Suspended"``, or None if versioning was never enabled.
        unknown: Other elements of the document; sent back unchanged.
    """

    status: Status | None = None
    unknown: tuple[Node, ...] = ()

    @classmethod
    def from_api(cls, node: Node) -> VersioningConfiguration:
        """Read a ``VersioningConfiguration`` document."""
        text = node.text_of("Status")
        status: Status | None = "Enabled" if text == "Enabled" else "Suspended" if text == "Suspended" else None
        return cls(status, node.without("Status"))

    def to_api(self) -> Node:
        """Return the ``VersioningConfiguration`` document."""
        # MfaDelete can only be sent together with a code from the MFA device. S3 keeps the setting if it is left out.
        kept = tuple(node for node in self.unknown if node.name != "MfaDelete")
        return Node("VersioningConfiguration", children=((leaf("Status", self.status),) if self.status else ()) + kept)

    def lines(self) -> list[str]:
        """Return the state as one line."""
        return [f"Status: {self.status or 'never enabled'}"]


class Versioning(SubResource[VersioningConfiguration]):
    """``bucket.versioning``: keep former versions of objects.

    Example:
        >>> bucket.versioning.enable().applied
        True
        >>> bucket.versioning.is_enabled()
        True
    """

    name = "versioning"
    _value = VersioningConfiguration
    _get = "GetBucketVersioning"
    _put = "PutBucketVersioning"
    _roots = ("VersioningConfiguration", "GetBucketVersioningResponse")
    _put_parameters: ClassVar[dict[str, Any]] = {"VersioningConfiguration": {}}

    def _from_document(self, document: bytes) -> VersioningConfiguration:
        return VersioningConfiguration.from_api(xml.parse(document))

    def _to_document(self, value: VersioningConfiguration) -> bytes:
        return xml.write(value.to_api())

    def _empty(self) -> VersioningConfiguration:  # pragma: no cover - every bucket has this document
        return VersioningConfiguration()

    def _send_document(self, document: bytes) -> None:
        try:
            super()._send_document(document)
        finally:
            # Conditional requests may behave differently in a versioned bucket: clear the cached state of this bucket. After an error
            # too, since the write may have been applied.
            self._connection.facts[f"versioned:{self._bucket.name}"] = None

    def _write_back(self, before: VersioningConfiguration | None, unread: BaseException | None) -> None:
        if before is None or before.status is None:
            raise S3Unsupported(f"{self._where()}: versioning cannot be undone once it was enabled")
        super()._write_back(before, unread)

    def put(self, value: VersioningConfiguration) -> None:
        """Replace the configuration.

        Raises:
            S3Unsupported: The store does not support versioning. Or the value has no status, but versioning was enabled before: S3
                cannot undo that.

        Requests:
            1; on a store that is not AWS also 2 reads
        """
        self._checked(value)
        if value.status is not None:
            super().put(value)
        elif self.get().status is not None:
            self.delete()

    def delete(self) -> None:
        """Always raise: versioning cannot be deleted. The nearest alternative is ``suspend()``.

        Raises:
            S3Unsupported: Always.

        Requests:
            none
        """
        raise S3Unsupported(
            f"{self._where()}: versioning cannot be deleted once it was enabled; suspend() stops keeping new versions"
        )

    def enable(self, *, dry_run: bool = False) -> Change[VersioningConfiguration]:
        """Keep versions from now on.

        Requests:
            1 read; if something changes and ``dry_run`` is not set 1 write (on a store that is not AWS 2 more reads)
        """
        return self._make(lambda known: replace(known, status="Enabled"), dry_run=dry_run)

    def suspend(self, *, dry_run: bool = False) -> Change[VersioningConfiguration]:
        """Keep no new versions; existing ones stay.

        Requests:
            1 read; if something changes and ``dry_run`` is not set 1 write (on a store that is not AWS 2 more reads)
        """
        return self._make(
            lambda known: known if known.status is None else replace(known, status="Suspended"), dry_run=dry_run
        )

    def is_enabled(self) -> bool:
        """Return whether new versions are kept. Requests: 1."""
        return self.get().status == "Enabled"
