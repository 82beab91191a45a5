"""?notification: whom a bucket tells of what happens in it. Merged by id."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..errors import S3Error, S3Unsupported
from . import xml
from .base import Change, SubResource, in_place
from .xml import Node, leaf

_KINDS = {
    "sqs": ("QueueConfiguration", "Queue"),
    "sns": ("TopicConfiguration", "Topic"),
    "lambda": ("CloudFunctionConfiguration", "CloudFunction"),
}


@dataclass(frozen=True, slots=True)
class Notification:
    """One target and what it is told.

    Attributes:
        id: What it is called; targets are merged by it.
        arn: The queue, topic or function; its service tells which.
        events: What is told, ``"s3:ObjectCreated:*"``.
        prefix: Only keys that begin so.
        suffix: Only keys that end so.
    """

    id: str
    arn: str
    events: tuple[str, ...] = ("s3:ObjectCreated:*",)
    prefix: str = ""
    suffix: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.events, str):
            raise TypeError("events must be a tuple of texts")
        object.__setattr__(self, "events", tuple(self.events))
        if self._service() not in _KINDS:
            raise ValueError(f"arn must be that of an SQS queue, an SNS topic or a Lambda function, not {self.arn!r}")

    def _service(self) -> str:
        return (self.arn.split(":") + [""] * 3)[2]

    def to_api(self) -> Node:
        """The element that S3 takes."""
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
    """Whom a bucket tells. Elements stay as S3 sent them, so that nothing is lost.

    Attributes:
        targets: The elements, one a target.
    """

    targets: tuple[Node, ...] = ()

    @classmethod
    def from_api(cls, node: Node) -> NotificationConfiguration:
        """From the document that S3 sends."""
        return cls(node.children)

    def to_api(self) -> Node:
        """The document that S3 takes."""
        return Node("NotificationConfiguration", children=self.targets)

    def lines(self) -> list[str]:
        """The targets, as indented text."""
        return [line for node in self.targets for line in node.lines()]

    def with_target(self, target: Notification) -> NotificationConfiguration:
        """These targets, and this one in place of the one with its id."""
        return NotificationConfiguration(
            in_place(self.targets, target.to_api(), lambda node: node.text_of("Id") == target.id)
        )

    def without(self, *ids: str) -> NotificationConfiguration:
        """These targets but those."""
        return NotificationConfiguration(tuple(node for node in self.targets if node.text_of("Id") not in ids))


class Notifications(SubResource[NotificationConfiguration]):
    """``bucket.notifications``: whom the bucket tells of what happens in it, merged by id.

    Example:
        >>> bucket.notifications.get().targets
        ()
    """

    name = "notification"
    _get = "GetBucketNotificationConfiguration"
    _put = "PutBucketNotificationConfiguration"
    _roots = ("NotificationConfiguration", "GetBucketNotificationResponse")
    _put_parameters: ClassVar[dict[str, Any]] = {"NotificationConfiguration": {}}

    def _read(self, document: bytes) -> NotificationConfiguration:
        return NotificationConfiguration.from_api(xml.parse(document))

    def _written(self, value: NotificationConfiguration) -> bytes:
        return xml.write(value.to_api())

    def _nothing(self) -> NotificationConfiguration:  # pragma: no cover - every bucket has this document
        return NotificationConfiguration()

    def _send(self, value: NotificationConfiguration) -> None:
        try:
            super()._send(value)
        except S3Error as error:
            if value.targets or error.code != "MalformedXML":
                raise
            raise S3Unsupported(
                f"{self._where()}: the store does not take an empty ?{self.name} configuration",
                operation=self._put,
                bucket=self._bucket_name,
            ) from error

    def delete(self) -> None:
        """Tell nobody any more; that nobody is told is no error. Requests: 1 read, and 1 write where there is somebody.

        Raises:
            S3Unsupported: The store does not know this setting, or (radosgw) does not take an empty one.
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
        return self._make(lambda known: known.with_target(target), dry_run=dry_run)

    def remove(self, *ids: str) -> None:
        """Tell these no more; that there are none is no error. Requests: 1 read, and 1 write where something goes."""
        self._make(lambda known: known.without(*ids))
