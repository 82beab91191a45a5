"""Parsing of S3 event notifications, in all known formats and envelopes, into ObjectEvent.

Messages are untrusted input and every field is validated: anything that is not an event about an object is left out; a
malformed record of an object event raises ValueError.

The formats are documented in AWS's "Event message structure" and "EventBridge event message structure", in MinIO's and Ceph's pages on
bucket notifications, and in Cloudflare's page on R2 event notifications (samples: tests/data/events).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, Literal, NamedTuple
from urllib.parse import unquote_plus

from ..errors import S3InvalidName
from . import etags
from .bucket_names import check_bucket_name
from .keys import check_key
from .times import parse_time

EventKind = Literal[
    "created",
    "removed",
    "expired",
    "restored",
    "tagged",
    "acl",
    "transitioned",
    "replicated",
    "lost",
    "accessed",
    "other",
]
"""What happened to the object, in the same words for every source of events."""

MAX_ENVELOPES = 8
"""The maximum depth of nested envelopes; the deepest nesting in use (SNS in SQS in Lambda) needs four."""

_MOST_MESSAGES = 100_000
"""The maximum number of envelopes and records in one message; the largest in use, a Lambda batch of SQS, has 10,000 records."""

# The keys are values from the events. S3 notifications (AWS, MinIO, Ceph): the part of eventName before the first colon, for
# ObjectLifecycle before the second. EventBridge events: detail-type. R2 events: action.
_KINDS: dict[str, EventKind] = {
    "ObjectCreated": "created",
    "ObjectRemoved": "removed",
    "LifecycleExpiration": "expired",
    "ObjectRestore": "restored",
    "ObjectTagging": "tagged",
    "ObjectAcl": "acl",
    "LifecycleTransition": "transitioned",
    "IntelligentTiering": "transitioned",
    "ObjectTransition": "transitioned",
    "Replication": "replicated",
    "ObjectSynced": "replicated",
    "ReducedRedundancyLostObject": "lost",
    "ObjectAccessed": "accessed",
    "ObjectLifecycle:Expiration": "expired",
    "ObjectLifecycle:Transition": "transitioned",
    "Object Created": "created",
    "Object Deleted": "removed",
    "Object Restore Initiated": "restored",
    "Object Restore Completed": "restored",
    "Object Restore Expired": "restored",
    "Object Tags Added": "tagged",
    "Object Tags Deleted": "tagged",
    "Object ACL Updated": "acl",
    "Object Storage Class Changed": "transitioned",
    "Object Access Tier Changed": "transitioned",
    "PutObject": "created",
    "CopyObject": "created",
    "CompleteMultipartUpload": "created",
    "DeleteObject": "removed",
    "LifecycleDeletion": "expired",
}

_SEQUENCER = re.compile(r"[0-9A-Fa-f]+")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d)", re.ASCII)
_DIGITS = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class ObjectEvent:
    """An event that happened to one object.

    Attributes:
        event_name: The source's name for the event, without MinIO's ``s3:`` prefix: ``"ObjectCreated:Put"``,
            ``"Object Created"``, ``"PutObject"``.
        kind: The kind of event, with the same names for all sources. ``"removed"`` includes the creation of a delete marker;
            ``"restored"`` covers requested, completed and expired restores, which ``event_name`` distinguishes.
        bucket: The bucket that the message names. The message is untrusted: compare the name before you use it.
        key: The key, decoded.
        size: The object's size in bytes, if the source gives it (deletions have none).
        etag: The ETag without quotes, if the source gives it.
        version_id: The version ID, in a versioned bucket.
        sequencer: A hexadecimal number that orders the events of one key. Any other text is kept, but not used
            for ordering.
        time: When the event happened, in UTC; None if the message has no time in a known form.
        raw: The record, unchanged, for all other fields.

    Example:
        >>> content = {"bucket": {"name": "inbox"}, "object": {"key": "red+flower.jpg", "size": 3}}
        >>> [event] = s3.parse_event({"Records": [{"eventName": "ObjectCreated:Put", "s3": content}]})
        >>> event.kind, event.bucket, event.key, event.size
        ('created', 'inbox', 'red flower.jpg', 3)
    """

    event_name: str
    kind: EventKind
    bucket: str
    key: str
    size: int | None = None
    etag: str | None = None
    version_id: str | None = None
    sequencer: str | None = None
    time: datetime | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def is_newer_than(self, other: ObjectEvent) -> bool:
        """Return whether this event happened after another one of the same key.

        S3 delivers events more than once and out of order. The sequencers are compared. If one of the events has no
        sequencer (R2), or one that is not a hexadecimal number, the times are compared.

        Args:
            other: An event of the same bucket and key.

        Returns:
            True if this event is known to be newer; False if it is older, the same, or if the order is unknown.

        Raises:
            ValueError: The events are about different objects, which S3 does not order.

        Requests:
            none

        Example:
            >>> first = s3.ObjectEvent("ObjectCreated:Put", "created", "inbox", "a", sequencer="55AED6")
            >>> second = s3.ObjectEvent("ObjectRemoved:Delete", "removed", "inbox", "a", sequencer="55AED7")
            >>> second.is_newer_than(first), first.is_newer_than(second), first.is_newer_than(first)
            (True, False, False)
        """
        if not isinstance(other, ObjectEvent):
            raise TypeError(f"other must be an ObjectEvent, not {type(other).__name__}")
        if (self.bucket, self.key) != (other.bucket, other.key):
            raise ValueError(
                f"other is about s3://{other.bucket}/{other.key}, this event is about "
                f"s3://{self.bucket}/{self.key}; S3 orders the events of one object only"
            )
        ours, theirs = self.sequencer, other.sequencer
        if ours is not None and theirs is not None:
            if _SEQUENCER.fullmatch(ours) and _SEQUENCER.fullmatch(theirs):
                width = max(len(ours), len(theirs))
                return ours.lower().ljust(width, "0") > theirs.lower().ljust(width, "0")
            if ours == theirs:
                return False  # the same event, delivered twice
        return self.time is not None and other.time is not None and self.time > other.time


def parse_event(message: bytes | str | Mapping[str, Any], *, ceph_keys_encoded: bool = False) -> list[ObjectEvent]:
    """Parse a notification about objects in S3.

    Supported formats: S3 event notifications (AWS, MinIO, Ceph and other compatible servers), EventBridge and
    Cloudflare R2, each by itself or inside SNS, SQS and Lambda envelopes, also nested, or several in a JSON array. A key
    is decoded once, and only if the source encodes it: S3 notifications do, EventBridge and R2 do not.

    Args:
        message: JSON as bytes or text, or the parsed dict: a Lambda event, a message of ``receive_message()`` or its
            whole response, or a single record (``event.raw``).
        ceph_keys_encoded: Whether your Ceph encodes keys as AWS does. Unmodified Ceph does not.

    Returns:
        One event for each object; an empty list for a valid message that is not about an object, such as S3's test
        event.

    Raises:
        UnreadableEvents: The message is not JSON, or an event record in it is malformed. The exception is a
            ValueError, names the malformed records, and has the events of the other records in ``events``.
        TypeError: The message is neither bytes, text nor a mapping.

    Requests:
        none

    Example:
        >>> s3.parse_event('{"Service": "Amazon S3", "Event": "s3:TestEvent"}')
        []
    """
    if not isinstance(message, (bytes, bytearray, memoryview, str, Mapping)):
        raise TypeError(f"message must be bytes, text or a dict, not {type(message).__name__}")
    reading = _Reading(ceph_keys_encoded)
    try:
        reading.read(message, "", MAX_ENVELOPES)
    except ValueError as error:
        raise UnreadableEvents(str(error), reading.events) from error
    if reading.broken:
        raise UnreadableEvents(reading.summary(), reading.events)
    return reading.events


class UnreadableEvents(ValueError):
    """A message is not JSON, or some of its records cannot be read.

    Attributes:
        events: The events of the records that could be read, so that one malformed record does not lose the others.

    Example:
        >>> try:
        ...     events = s3.parse_event("not JSON")
        ... except ValueError as error:
        ...     events = error.events
        >>> events
        []
    """

    def __init__(self, message: str, events: list[ObjectEvent]) -> None:
        super().__init__(message)
        self.events = events

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.events)


def load_json(text: bytes | bytearray | memoryview | str, *, allow_nan: bool = False) -> Any:
    """Parse untrusted JSON. NaN, duplicate names in an object and excessive nesting raise ValueError."""
    try:
        if not isinstance(text, str):
            text = bytes(text).decode("utf-8")
        constants = None if allow_nan else _refuse_constant
        return json.loads(text, object_pairs_hook=_without_duplicates, parse_constant=constants)
    except RecursionError:
        raise ValueError("message is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"message is not JSON: {error}") from None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Parsers differ in which duplicate wins: a check might see one bucket name, and the code that uses the bucket another.
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("an object has two members of the same name")
    return result


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


class _TooLarge(ValueError):
    """The message has too many envelopes or records. This ends the parsing at once, since a dict may contain itself."""


class _Reading:
    """State while one message is parsed: the events found, and the errors of malformed records."""

    def __init__(self, ceph_keys_encoded: bool) -> None:
        self.ceph_keys_encoded = ceph_keys_encoded
        self.events: list[ObjectEvent] = []
        self.broken: list[str] = []
        self._left = _MOST_MESSAGES

    def summary(self) -> str:
        """Return the text of one error for all malformed records; it quotes the first three."""
        if len(self.broken) == 1:
            return self.broken[0]
        more = f"; and {len(self.broken) - 3} more" if len(self.broken) > 3 else ""
        return f"{len(self.broken)} of the message's records cannot be read: {'; '.join(self.broken[:3])}{more}"

    def read(self, message: Any, path: str, envelopes_left: int) -> None:
        """Parse a message or the content of an envelope, and add its events to ``events``.

        Args:
            message: JSON, or the parsed value.
            path: Its path in the whole message, for errors: ``"Records[0]: "``.
            envelopes_left: How many more nested envelopes to unwrap.

        Raises:
            ValueError: The message is malformed. Errors of single records in a list are added to ``broken`` instead.
        """
        self._left -= 1
        if self._left < 0:
            raise _TooLarge(f"message contains more than {_MOST_MESSAGES:,} envelopes and messages")
        if envelopes_left == 0:
            raise ValueError(f"message is nested in more than {MAX_ENVELOPES} envelopes")
        if isinstance(message, (bytes, bytearray, memoryview, str)):
            message = load_json(message)
        if isinstance(message, list):  # a batch, as EventBridge Pipes pass it on
            self._read_several(message, f"{path}batch", envelopes_left)
            return
        if not isinstance(message, Mapping):
            return
        if _is_record(message):
            self.events.extend(_notification(message, self.ceph_keys_encoded))
            return
        contents = _envelope_contents(message)
        if isinstance(contents, list):
            self._read_several(contents, f"{path}Messages", envelopes_left)
        elif contents is not None:
            self.read(contents.content, path, envelopes_left - 1)
        elif isinstance(message.get("Records"), list):
            self._read_several(message["Records"], f"{path}Records", envelopes_left)
        elif message.get("source") == "aws.s3" and str(message.get("detail-type")).startswith("Object "):
            self.events.append(_eventbridge(message))
        elif "account" in message and "object" in message and isinstance(message.get("action"), str):
            self.events.append(_r2(message))

    def _read_several(self, messages: list[Any], name: str, envelopes_left: int) -> None:
        for number, message in enumerate(messages):
            path = f"{name}[{number}]: "
            try:
                if isinstance(message, Mapping) and "s3" in message:
                    self.events.extend(_notification(message, self.ceph_keys_encoded))
                elif isinstance(message, Mapping) or name.endswith("Messages"):  # a text in Records is no record
                    self.read(message, path, envelopes_left - 1)
            except _TooLarge:
                raise
            except ValueError as error:
                self.broken.append(f"{path}{error}")


def _is_record(message: Mapping[str, Any]) -> bool:
    """Return whether this is a single record of an S3 notification, such as ``event.raw``."""
    if "s3" in message and "eventName" in message and "eventVersion" in message:
        return True  # if "s3" is malformed, parsing it raises an error that names it
    content = message.get("s3")
    return isinstance(content, Mapping) and "bucket" in content and ("object" in content or "eventName" in message)


class _Content(NamedTuple):
    """The content of an envelope; wrapped, because the content itself may be None or a list."""

    content: Any


def _envelope_contents(message: Mapping[str, Any]) -> _Content | list[Any] | None:
    """Return the content of an envelope, or the messages of a whole response; None if this is not an envelope."""
    if message.get("Type") == "Notification" and "Message" in message:  # SNS, over HTTP or in SQS
        return _Content(message["Message"])
    if isinstance(message.get("Sns"), Mapping):  # a record of SNS in Lambda
        return _Content(message["Sns"].get("Message"))
    if "Body" in message:  # a message of SQS
        return _Content(message["Body"])
    if "body" in message and "messageId" in message:  # a record of SQS in Lambda
        return _Content(message["body"])
    if isinstance(message.get("Messages"), list):  # the response of SQS's ReceiveMessage
        return list(message["Messages"])
    return None


def _notification(record: Mapping[str, Any], ceph_keys_encoded: bool) -> Iterator[ObjectEvent]:
    version = _text(record, "eventVersion")
    if version is not None and version.partition(".")[0] != "2":
        raise ValueError(f"eventVersion is {version!r}; only versions 2.x are supported")
    name = (_text(record, "eventName") or "").removeprefix("s3:")
    if name.startswith("Bucket"):  # MinIO sends events about buckets too
        return
    content = _mapping(record, "s3")
    described = _mapping(content, "object")
    encoded = ceph_keys_encoded if record.get("eventSource") == "ceph:s3" else True
    family, _, rest = name.partition(":")
    if family == "ObjectLifecycle":
        family = f"{family}:{rest.partition(':')[0]}"
    yield ObjectEvent(
        event_name=name,
        kind=_KINDS.get(family, "other"),
        bucket=_bucket(_mapping(content, "bucket").get("name")),
        key=_decoded_key(described.get("key")) if encoded else _key(described.get("key")),
        size=_size(described.get("size")),
        etag=_etag(described),
        version_id=_text(described, "versionId"),
        sequencer=_sequencer(described),
        time=_time(record.get("eventTime")),
        raw=record,
    )


def _eventbridge(message: Mapping[str, Any]) -> ObjectEvent:
    name = str(message["detail-type"])
    detail = _mapping(message, "detail")
    described = _mapping(detail, "object")
    kind = _KINDS.get(name, "other")
    if kind == "removed" and detail.get("reason") == "Lifecycle Expiration":
        kind = "expired"
    return ObjectEvent(
        event_name=name,
        kind=kind,
        bucket=_bucket(_mapping(detail, "bucket").get("name")),
        key=_key(described.get("key")),
        size=_size(described.get("size")),
        etag=_etag(described),
        version_id=_text(described, "version-id"),
        sequencer=_sequencer(described),
        time=_time(message.get("time")),
        raw=message,
    )


def _r2(message: Mapping[str, Any]) -> ObjectEvent:
    described = _mapping(message, "object")
    return ObjectEvent(
        event_name=message["action"],
        kind=_KINDS.get(message["action"], "other"),
        bucket=_bucket(message.get("bucket")),
        key=_key(described.get("key")),
        size=_size(described.get("size")),
        etag=_etag(described),
        time=_time(message.get("eventTime")),
        raw=message,
    )


def _mapping(parent: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = parent.get(name)
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} must be an object, not {_shown(value)}")
    return value


def _text(parent: Mapping[str, Any], name: str) -> str | None:
    value = parent.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise ValueError(f"{name} must be text, not {_shown(value)}")
    return value


def _bucket(value: Any) -> str:
    try:
        return check_bucket_name(value)
    except (TypeError, S3InvalidName):
        raise ValueError(f"bucket must be a bucket's name, not {_shown(value)}") from None


def _key(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"key must be text, not {_shown(value)}")
    return check_key(value)


def _decoded_key(value: Any) -> str:
    if isinstance(value, str):
        broken = _BROKEN_ESCAPE.search(value)
        if broken:
            raise ValueError(
                f"key {_shown(value)} is not URL-encoded as S3 encodes keys: the '%' at {broken.start()} "
                "is not followed by two hexadecimal digits"
            )
        try:
            value = unquote_plus(value, errors="strict")
        except UnicodeDecodeError:
            raise ValueError(f"key {_shown(value)} does not decode to UTF-8") from None
    return _key(value)


def _size(value: Any) -> int | None:
    if value is None or value == "":
        return None
    if isinstance(value, str) and _DIGITS.fullmatch(value):  # Ceph's documentation shows the size as text
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ValueError(f"size must be a number of bytes, not {_shown(value)}")


def _etag(described: Mapping[str, Any]) -> str | None:
    # Older Ceph versions spell it "etag", as EventBridge does; moto's EventBridge spells it "eTag", as notifications do.
    etag = _text(described, "eTag") or _text(described, "etag")
    return etags.unquoted(etag)


def _sequencer(described: Mapping[str, Any]) -> str | None:
    # The sequencer only orders events, and is_newer_than() checks its form: keep an event with an unusual sequencer.
    value = described.get("sequencer")
    return value if isinstance(value, str) and value else None


def _time(value: Any) -> datetime | None:
    """Return the time in UTC; None for text that is not a time, since an event without a time is still useful."""
    try:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            return datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=value)
        if value is None or isinstance(value, str):
            return parse_time(value) if value is not None and _TIME.fullmatch(value) else None
    except (ValueError, OverflowError):  # such as 30 February, or a time that in UTC is after the year 9999
        return None
    raise ValueError(f"time must be text like '2026-11-21T12:00:00Z', not {_shown(value)}")


def _shown(value: Any) -> str:
    """Describe an untrusted value for an error message; long values are shortened."""
    if isinstance(value, (Mapping, list, tuple)):
        return f"a {type(value).__name__}"
    if isinstance(value, str) and ("://" in value or "x-amz-" in value.lower()):
        return "a URL or part of one"  # a presigned URL is a secret
    text = repr(value[:80] if isinstance(value, str) else value)
    return text if len(text) <= 100 else text[:100] + "…"
