"""Any message that says "something happened to an object in S3", read into ObjectEvent.

This room knows formats and nothing else: no request, no handle, no broker's client. Messages are written by
others, so nothing in one is believed before it was looked at: what is not an event about an object is left
out, what claims to be one and is broken is a ValueError.

Where the formats are told: AWS's "Event message structure" and "EventBridge event message structure", MinIO's
and Ceph's pages on bucket notifications, Cloudflare's on R2 event notifications (samples: tests/data/events).
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
from .keys import check_existing_bucket_name, check_key
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

MAX_ENVELOPES = 8
"""So many wrappings around one another are peeled; the deepest in use, SNS in SQS in Lambda, takes four."""

_MOST_MESSAGES = 100_000
"""Envelopes and messages that are looked at in one message; the largest in use, a Lambda batch of SQS, has 10,000 records."""

# S3 notifications (AWS, MinIO, Ceph): the word before the first colon. EventBridge: detail-type. R2: action.
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
    """Something that happened to one object.

    Attributes:
        event_name: What the source calls it, without MinIO's ``s3:`` prefix: ``"ObjectCreated:Put"``,
            ``"Object Created"``, ``"PutObject"``.
        kind: The same in one word for all sources. ``"removed"`` includes a delete marker on top;
            ``"restored"`` is
            the whole family of restores (asked for, completed, its copy expired): ``event_name`` says which.
        bucket: The bucket, as the message names it: written by others, so compare before you touch it.
        key: The key, decoded.
        size: Bytes, where the source says (not of deletions).
        etag: The ETag without quotes, where the source says.
        version_id: The version, in a versioned bucket.
        sequencer: A hexadecimal number that orders the events of one key. Text that is no such number is kept
            as it came, and orders nothing.
        time: When it happened, in UTC; None where the message does not say it in a known form.
        raw: The record as it came, for everything else.

    Example:
        >>> place = {"bucket": {"name": "inbox"}, "object": {"key": "red+flower.jpg", "size": 3}}
        >>> [event] = s3.parse_event({"Records": [{"eventName": "ObjectCreated:Put", "s3": place}]})
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
        """Tell whether this event happened after another one of the same key.

        S3 delivers events more than once and not in order. The sequencers decide. Where one of the events has
        none (R2), or one that is no hexadecimal number, the times do.

        Args:
            other: An event of the same bucket and key.

        Returns:
            True if this one is known to be newer; False if it is older, the same, or nobody can know.

        Raises:
            ValueError: The events are about different objects, whose order S3 does not tell.

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
    """Read a message about objects in S3, whatever it is wrapped in.

    Understood are S3's event notifications (AWS, MinIO, Ceph and others that follow S3), EventBridge and
    Cloudflare
    R2; as they are, or inside SNS, SQS and Lambda envelopes, one in another. A key is decoded once, and only
    where
    the source encodes it: S3 notifications do, EventBridge and R2 do not.

    Args:
        message: JSON as bytes or text, or what it says as a dict: a Lambda event, a message of
            ``receive_message()`` or its whole answer, or a single record (``event.raw``).
        ceph_keys_encoded: Whether your Ceph encodes keys as AWS does. Ceph's own code does not.

    Returns:
        One event for each object; an empty list for a message that is readable and about no object, such as
        S3's
        test event.

    Raises:
        UnreadableEvents: The message is not JSON, or a record of it says that it is an event and is broken. A
            ValueError; it names the records, and ``events`` has the events of the others.
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
    """A message is not JSON, or records of it cannot be read.

    Attributes:
        events: The events of the records that could be read, so that one broken record costs no other.

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
    """Read a stranger's JSON: no NaN, no name twice in an object, no depth that breaks the interpreter."""
    try:
        if not isinstance(text, str):
            text = bytes(text).decode("utf-8")
        constants = None if allow_nan else _refuse_constant
        return json.loads(text, object_pairs_hook=_without_duplicates, parse_constant=constants)
    except RecursionError:
        raise ValueError("message is nested too deeply to be one of S3's") from None
    except ValueError as error:
        raise ValueError(f"message is not JSON: {error}") from None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Two readers may take two different ones: one checks this bucket's name, the other reads from that.
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return result


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


class _TooLarge(ValueError):
    """Ends the reading at once: a dict may contain itself, many times at each level."""


class _Reading:
    """What has been found in a message so far: events, and what is wrong with the records that gave none."""

    def __init__(self, ceph_keys_encoded: bool) -> None:
        self.ceph_keys_encoded = ceph_keys_encoded
        self.events: list[ObjectEvent] = []
        self.broken: list[str] = []
        self._left = _MOST_MESSAGES

    def summary(self) -> str:
        """What is wrong, as the text of one error; the first three records in full."""
        if len(self.broken) == 1:
            return self.broken[0]
        more = f"; and {len(self.broken) - 3} more" if len(self.broken) > 3 else ""
        return f"{len(self.broken)} of the message's records cannot be read: {'; '.join(self.broken[:3])}{more}"

    def read(self, message: Any, place: str, envelopes_left: int) -> None:
        """Read a message or what an envelope holds.

        Args:
            message: JSON, or what it says.
            place: Where in the whole message it stands: ``"Records[0]: "``.
            envelopes_left: How many envelopes it may lie in.

        Raises:
            ValueError: It cannot be read. What is wrong with one of several is kept in ``broken`` instead.
        """
        self._left -= 1
        if self._left < 0:
            raise _TooLarge(f"message contains more than {_MOST_MESSAGES:,} envelopes and messages")
        if envelopes_left == 0:
            raise ValueError(f"message lies in more than {MAX_ENVELOPES} envelopes")
        if isinstance(message, (bytes, bytearray, memoryview, str)):
            message = load_json(message)
        if not isinstance(message, Mapping):
            return
        if _is_record(message):
            self.events.extend(_notification(message, self.ceph_keys_encoded))
            return
        contents = _envelope_contents(message)
        if isinstance(contents, list):
            self._read_several(contents, f"{place}Messages", envelopes_left)
        elif contents is not None:
            self.read(contents.content, place, envelopes_left - 1)
        elif isinstance(message.get("Records"), list):
            self._read_several(message["Records"], f"{place}Records", envelopes_left)
        elif message.get("source") == "aws.s3" and str(message.get("detail-type")).startswith("Object "):
            self.events.append(_eventbridge(message))
        elif "account" in message and "object" in message and isinstance(message.get("action"), str):
            self.events.append(_r2(message))

    def _read_several(self, messages: list[Any], name: str, envelopes_left: int) -> None:
        for number, message in enumerate(messages):
            place = f"{name}[{number}]: "
            try:
                if isinstance(message, Mapping) and "s3" in message:
                    self.events.extend(_notification(message, self.ceph_keys_encoded))
                elif isinstance(message, Mapping) or name.endswith("Messages"):  # text in Records is no record
                    self.read(message, place, envelopes_left - 1)
            except _TooLarge:
                raise
            except ValueError as error:
                self.broken.append(f"{place}{error}")


def _is_record(message: Mapping[str, Any]) -> bool:
    """Return whether this is a record of an S3 notification by itself, such as ``event.raw``."""
    if "s3" in message and "eventName" in message and "eventVersion" in message:
        return True  # what is under "s3" is broken otherwise, and is to be named as such
    content = message.get("s3")
    return isinstance(content, Mapping) and "bucket" in content and ("object" in content or "eventName" in message)


class _Content(NamedTuple):
    """The one thing that an envelope holds."""

    content: Any


def _envelope_contents(message: Mapping[str, Any]) -> _Content | list[Any] | None:
    """Return what an envelope holds, or the messages of a whole answer; None if this is no envelope."""
    if message.get("Type") == "Notification" and "Message" in message:  # SNS, over HTTP or in SQS
        return _Content(message["Message"])
    if isinstance(message.get("Sns"), Mapping):  # a record of SNS in Lambda
        return _Content(message["Sns"].get("Message"))
    if "Body" in message:  # a message of SQS
        return _Content(message["Body"])
    if "body" in message and "messageId" in message:  # a record of SQS in Lambda
        return _Content(message["body"])
    if isinstance(message.get("Messages"), list):  # the answer of SQS's ReceiveMessage
        return list(message["Messages"])
    return None


def _notification(record: Mapping[str, Any], ceph_keys_encoded: bool) -> Iterator[ObjectEvent]:
    version = _text(record, "eventVersion")
    if version is not None and version.partition(".")[0] != "2":
        raise ValueError(f"eventVersion is {version!r}; versions 2.x are known")
    name = (_text(record, "eventName") or "").removeprefix("s3:")
    if name.startswith("Bucket"):  # MinIO tells of buckets as well
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
        return check_existing_bucket_name(value)
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
                f"key {_shown(value)} is not encoded as S3 encodes keys: no hexadecimal follows the '%' "
                f"at {broken.start()}"
            )
        try:
            value = unquote_plus(value, errors="strict")
        except UnicodeDecodeError:
            raise ValueError(f"key {_shown(value)} does not decode to UTF-8") from None
    return _key(value)


def _size(value: Any) -> int | None:
    if value is None or value == "":
        return None
    if isinstance(value, str) and _DIGITS.fullmatch(value):  # Ceph's documentation shows text
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ValueError(f"size must be a number of bytes, not {_shown(value)}")


def _etag(described: Mapping[str, Any]) -> str | None:
    # Older Ceph spells it as EventBridge does, and moto's EventBridge as notifications do.
    etag = _text(described, "eTag") or _text(described, "etag")
    return etags.unquoted(etag)


def _sequencer(described: Mapping[str, Any]) -> str | None:
    # It only orders events, and is_newer_than() looks at its form: an odd one is no reason to lose an event.
    value = described.get("sequencer")
    return value if isinstance(value, str) and value else None


def _time(value: Any) -> datetime | None:
    """The moment, in UTC; None for text that is no moment: what is in S3 does not depend on it."""
    try:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            return datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=value)
        if value is None or isinstance(value, str):
            return parse_time(value) if value is not None and _TIME.fullmatch(value) else None
    except (ValueError, OverflowError):  # the thirtieth of February, or the year 9999 west of Greenwich
        return None
    raise ValueError(f"time must be text like '2026-11-21T12:00:00Z', not {_shown(value)}")


def _shown(value: Any) -> str:
    """A value of a stranger, short enough for an error message."""
    if isinstance(value, (Mapping, list, tuple)):
        return f"a {type(value).__name__}"
    if isinstance(value, str) and ("://" in value or "x-amz-" in value.lower()):
        return "a URL or part of one"  # a presigned URL is a secret
    text = repr(value[:80] if isinstance(value, str) else value)
    return text if len(text) <= 100 else text[:100] + "…"
