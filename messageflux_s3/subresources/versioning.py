"""?versioning: whether a bucket keeps the versions of its objects."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from ..errors import S3Unsupported
from . import xml
from .base import SubResource
from .xml import Node, leaf

Status = Literal["Enabled", "Suspended"]


@dataclass(frozen=True, slots=True)
class VersioningConfiguration:
    """Whether versions are kept.

    Attributes:
        status: ``"Enabled"``, ``"Suspended"``, or None where versions never were kept.
        unknown: Whatever else the document says; kept as it is.
    """

    status: Status | None = None
    unknown: tuple[Node, ...] = ()

    @classmethod
    def from_api(cls, node: Node) -> VersioningConfiguration:
        """From the document that S3 sends."""
        text = node.text_of("Status")
        status: Status | None = "Enabled" if text == "Enabled" else "Suspended" if text == "Suspended" else None
        return cls(status, node.without("Status"))

    def to_api(self) -> Node:
        """The document that S3 takes."""
        # MfaDelete can only be sent together with a device's code; what is left out stays as it is.
        kept = tuple(node for node in self.unknown if node.name != "MfaDelete")
        return Node("VersioningConfiguration", children=((leaf("Status", self.status),) if self.status else ()) + kept)

    def lines(self) -> list[str]:
        """The state in a line."""
        return [f"Status: {self.status or 'never enabled'}"]


class Versioning(SubResource[VersioningConfiguration]):
    """``bucket.versioning``: keep every version of every object.

    Example:
        >>> bucket.versioning.enable()
        >>> bucket.versioning.is_enabled()
        True
    """

    name = "versioning"
    _get = "GetBucketVersioning"
    _put = "PutBucketVersioning"
    _roots = ("VersioningConfiguration", "GetBucketVersioningResponse")
    _put_parameters: ClassVar[dict[str, Any]] = {"VersioningConfiguration": {}}

    def _read(self, document: bytes) -> VersioningConfiguration:
        return VersioningConfiguration.from_api(xml.parse(document))

    def _written(self, value: VersioningConfiguration) -> bytes:
        return xml.write(value.to_api())

    def _nothing(self) -> VersioningConfiguration:  # pragma: no cover - every bucket has this document
        return VersioningConfiguration()

    def _send_document(self, document: bytes) -> None:
        super()._send_document(document)
        # What was learned of conditions in a bucket without versions says nothing of one with them: ask again which one this is.
        self._connection.remember(f"versioned:{self._bucket_name}", None)

    def put(self, value: VersioningConfiguration) -> None:
        """Replace the configuration. One without a status is no change where versions never were kept, and cannot be had elsewhere.

        Raises:
            S3Unsupported: The store does not keep versions; or the value says that they never were kept, and they were.

        Requests:
            1; on a store that is not AWS also 2 reads
        """
        if not isinstance(value, VersioningConfiguration):
            raise TypeError(f"value must be a VersioningConfiguration, not {type(value).__name__}")
        if value.status is not None:
            super().put(value)
        elif self.get().status is not None:
            self.delete()

    def delete(self) -> None:
        """Versioning cannot be deleted; the nearest is ``suspend()``.

        Raises:
            S3Unsupported: Always.
        """
        raise S3Unsupported(
            f"{self._where()}: versioning cannot be deleted once it was on; suspend() stops keeping new versions"
        )

    def enable(self) -> None:
        """Keep versions from now on. Requests: 1 read, and 1 write where that changes something."""
        self._make(lambda known: replace(known, status="Enabled"))

    def suspend(self) -> None:
        """Keep no new versions; those that are there stay. Requests: 1 read, and 1 write where that changes something."""
        self._make(lambda known: known if known.status is None else replace(known, status="Suspended"))

    def is_enabled(self) -> bool:
        """Whether new versions are kept. Requests: 1."""
        return self.get().status == "Enabled"
