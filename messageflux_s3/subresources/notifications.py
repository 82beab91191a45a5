"""?notification: where a bucket sends its events. A new target replaces the one with the same ID."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from .._formats.plain import plain
from ..errors import S3Error, S3Unsupported
from . import xml
from .base import Change, SubResource, check_entries, check_names, in_place
from .xml import Node, leaf

_KINDS = {
    "sqs": ("QueueConfiguration", "Queue"),
    "sns": ("TopicConfiguration", "Topic"),
    "lambda": ("CloudFunctionConfiguration", "CloudFunction"),
}


@dataclass(frozen=True, slots=True)
class Notification:
    """A target for events.

    Attributes:
        id: The target's ID; ``ensure()`` replaces the target with the same ID.
        arn: ARN of an SQS queue, an SNS topic or a Lambda function.
        events: The events that are sent, such as ``"s3:ObjectCreated:*"``.
        prefix: Only keys with this prefix.
        suffix: Only keys with this suffix.
    """

    id: str
    arn: str
    events: tuple[str, ...] = ("s3:ObjectCreated:*",)
    prefix: str = ""
    suffix: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "events", check_entries("events", self.events, str))
        for name in ("id", "arn", "prefix", "suffix"):
            if not isinstance(getattr(self, name), str):
                raise TypeError(f"{name} must be text, not {type(getattr(self, name)).__name__}")
            object.__setattr__(self, name, plain(getattr(self, name)))
        if not self.id or not self.events:
            raise ValueError(
                "a target of notifications needs an id, by which targets are merged, and at least one event"
            )
        if self._service() not in _KINDS:
            raise ValueError(f"arn must be that of an SQS queue, an SNS topic or a Lambda function, not {self.arn!r}")

    def _service(self) -> str:
        return (self.arn.split(":") + [""] * 3)[2]

    def to_api(self) -> Node:
        """Return the element for this kind of target."""
        outer, inner = _KINDS[self._service()]
        parts = [leaf("Id", self.id), leaf(inner, self.arn), *(leaf("Event", event) for event in self.events)]
        rules = [("prefix", self.prefix)] if self.prefix else []
        rules += [("suffix", self.suffix)] if self.suffix else []
        if rules:
            filters = tuple(
                Node("FilterRule", children=(leaf("Name", name), leaf("Value", value))) for name, value in rules
            )
            parts.append(Node("Filter", children=(Node("S3Key", children=filters),)))
        return Node(outer, children=tuple(parts))


@dataclass(frozen=True, slots=True)
class NotificationConfiguration:
    """The notification targets of a bucket, kept as the XML elements that S3 sent, so that unknown fields are not lost.

    Attributes:
        targets: One element per target.
    """

    targets: tuple[Node, ...] = ()

    def __post_init__(self) -> None:
        hint = "; with_target() adds a Notification"
        object.__setattr__(self, "targets", check_entries("targets", self.targets, Node, hint))

    @classmethod
    def from_api(cls, node: Node) -> NotificationConfiguration:
        """Read a ``NotificationConfiguration`` document."""
        return cls(node.children)

    def to_api(self) -> Node:
        """Return the ``NotificationConfiguration`` document."""
        return Node("NotificationConfiguration", children=self.targets)

    def lines(self) -> list[str]:
        """Return the targets as indented text."""
        return [line for node in self.targets for line in node.lines()]

    def with_target(self, target: Notification) -> NotificationConfiguration:
        """Add a target, or replace the target with the same ID."""
        return NotificationConfiguration(
            in_place(self.targets, target.to_api(), lambda node: node.text_of("Id") == target.id)
        )

    def without(self, *ids: str) -> NotificationConfiguration:
        """Remove the targets with these IDs."""
        return NotificationConfiguration(tuple(node for node in self.targets if node.text_of("Id") not in ids))


class Notifications(SubResource[NotificationConfiguration]):
    """``bucket.notifications``: where the bucket sends its events, merged by target ID.

    Example:
        >>> bucket.notifications.get().targets
        ()
    """

    name = "notification"
    _value = NotificationConfiguration
    _get = "GetBucketNotificationConfiguration"
    _put = "PutBucketNotificationConfiguration"
    _roots = ("NotificationConfiguration", "GetBucketNotificationResponse")
    _put_parameters: ClassVar[dict[str, Any]] = {"NotificationConfiguration": {}}

    def _from_document(self, document: bytes) -> NotificationConfiguration:
        return NotificationConfiguration.from_api(xml.parse(document))

    def _to_document(self, value: NotificationConfiguration) -> bytes:
        return xml.write(value.to_api())

    def _empty(self) -> NotificationConfiguration:  # pragma: no cover - every bucket has this document
        return NotificationConfiguration()

    def _send(self, value: NotificationConfiguration) -> None:
        try:
            super()._send(value)
        except S3Error as error:
            if value.targets or error.code != "MalformedXML":
                raise
            raise S3Unsupported(
                f"{self._where()}: the store does not accept an empty ?{self.name} configuration",
                operation=self._put,
                bucket=self._bucket.name,
            ) from error

    def delete(self) -> None:
        """Delete the configuration. Idempotent.

        Raises:
            S3Unsupported: The store does not support this setting, or does not accept an empty configuration (radosgw).

        Requests:
            1 read; 1 write if there are targets
        """
        self._make(lambda _: NotificationConfiguration())

    def ensure(self, target: Notification, *, dry_run: bool = False) -> Change[NotificationConfiguration]:
        """Add a target, or replace the target with the same ID.

        Args:
            target: The target.
            dry_run: Whether only to plan the change; its ``apply()`` makes it.

        Returns:
            The change, applied unless ``dry_run`` is set.

        Requests:
            1 read; if something changes 1 write (on a store that is not AWS 2 more reads)
        """
        if not isinstance(target, Notification):
            raise TypeError(f"target must be a Notification, not {type(target).__name__}")
        return self._make(lambda known: known.with_target(target), dry_run=dry_run)

    def remove(self, *ids: str, dry_run: bool = False) -> Change[NotificationConfiguration]:
        """Remove the targets with these IDs. Idempotent. Requests: those of ``ensure()``."""
        check_names("ids", ids)
        return self._make(lambda known: known.without(*ids), dry_run=dry_run)
