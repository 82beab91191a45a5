"""The formats of claim checks: messages that point to a payload in S3.

Two formats are read and written: the format of AWS's extended clients for SQS and SNS (with its older and its newer names), and the
format of messageflux's message stores. Messages are untrusted input and every field is validated.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time
from typing import Any, Literal

from ..errors import S3AccessDenied, S3InvalidContent, S3InvalidName
from .bucket_names import check_bucket_name, check_bucket_names
from .events import load_json
from .keys import MAX_KEY_BYTES, check_key

Wire = Literal["sqs-extended", "messageflux"]

SIZE_ATTRIBUTE = "ExtendedPayloadSize"
LEGACY_SIZE_ATTRIBUTE = "SQSLargePayloadSize"
SIZE_HEADER = "__ORIGINAL_MESSAGE_SIZE_HEADER__"
KEY_HEADER = "__KEY__"
MESSAGEFLUX_PREFIX = b"__MSGSTORE_WRAPPER__|"
S3_MAGIC = b"__S3_MSGSTORE__"
S3_UPLOAD_MAGIC = b"__S3_UPLOAD_MSGSTORE__"

_POINTER_CLASS = "software.amazon.payloadoffloading.PayloadS3Pointer"
_LEGACY_POINTER_CLASS = "com.amazon.sqs.javamessaging.MessageS3Pointer"
_LONGEST_SQS_POINTER = 65_536  # a pointer has at most 8 KB: a longer body is a payload and is not parsed
_BUCKET_MARKER = "-..s3BucketName..-"
_KEY_MARKER = "-..s3Key..-"
_HEADERS_ENTRY = "originalheaders"
_HEADERS_BUDGET = 2048 - len(_HEADERS_ENTRY) - 128  # S3 allows 2 KB of names and values; leave space for other entries


class ForeignBucket(S3AccessDenied, ValueError):
    """A message names a bucket that is not allowed. Raised before any request is sent."""


@dataclass(frozen=True, slots=True)
class Pointer:
    """The location of a payload in S3, read from a claim check.

    Attributes:
        bucket: The bucket that the message names: untrusted.
        key: The key.
        size: The payload's size in bytes, if the message gives it.
        wire: The format of the message.
        headers: The message's headers, if they did not fit into the object's metadata (S3MessageStore).
    """

    bucket: str
    key: str
    size: int | None = field(default=None, compare=False)
    wire: Wire = field(default="sqs-extended", compare=False)
    headers: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)

    def require_bucket(self, allowed: Collection[str]) -> None:
        """Check that the bucket is one of the allowed ones.

        Args:
            allowed: Names of buckets.

        Raises:
            ForeignBucket: The bucket is not allowed.
            TypeError: ``allowed`` is one name: every part of a text is in the text.
        """
        allowed = check_bucket_names("allowed", allowed)
        if self.bucket not in allowed:
            raise ForeignBucket(
                f"message names the bucket {self.bucket!r}, which is not allowed; allowed: {', '.join(sorted(allowed))}",
                bucket=self.bucket,
                key=self.key,
            )


def make_pointer(bucket: str, key: str, size: int, legacy: bool = False) -> tuple[str, dict[str, dict[str, str]]]:
    """Return a claim check in the format of AWS's extended clients for SQS and SNS.

    Args:
        bucket: The bucket that holds the payload.
        key: The payload's key.
        size: The payload's size in bytes.
        legacy: Whether to use the older names of the class and the attribute, for consumers from before 2021.

    Returns:
        The body to send, and the message attribute to send with it.

    Raises:
        ValueError: The size is negative, or the bucket name or key is invalid.
        TypeError: An argument is of the wrong type.

    Requests:
        none

    Example:
        >>> body, attributes = s3.make_pointer("payloads", "a", 300_000)
        >>> body
        '["software.amazon.payloadoffloading.PayloadS3Pointer", {"s3BucketName": "payloads", "s3Key": "a"}]'
        >>> attributes
        {'ExtendedPayloadSize': {'DataType': 'Number', 'StringValue': '300000'}}
    """
    _check_size(size)
    location = {"s3BucketName": check_bucket_name(bucket), "s3Key": check_key(key)}
    body = json.dumps([_LEGACY_POINTER_CLASS if legacy else _POINTER_CLASS, location])
    name = LEGACY_SIZE_ATTRIBUTE if legacy else SIZE_ATTRIBUTE
    return body, {name: {"DataType": "Number", "StringValue": str(size)}}


def parse_pointer(
    body: object, attributes: Mapping[str, Any] | Iterable[tuple[str, Any]] | None = None
) -> Pointer | None:
    """Parse a claim check of any known format.

    Args:
        body: The message's body: bytes or text.
        attributes: The message's attributes or headers: a mapping (in the form of SQS, SNS or Lambda, or with plain
            values) or pairs (Kafka). If given, they decide whether the message is a claim check; otherwise the body
            does.

    Returns:
        The pointer; None if the message is not a claim check.

    Raises:
        TypeError: The attributes are neither a mapping nor pairs.

    Requests:
        none

    Example:
        >>> body, attributes = s3.make_pointer("payloads", "a", 300_000)
        >>> s3.parse_pointer(body, attributes).size
        300000
        >>> s3.parse_pointer(body, {"colour": {"DataType": "String", "StringValue": "red"}}) is None
        True
    """
    named = None if attributes is None else attributes_by_name(attributes)
    try:
        if isinstance(body, str):
            body = body.encode("utf-8")
        if not isinstance(body, (bytes, bytearray, memoryview)):
            return None
        body = bytes(body)
        if body.startswith(MESSAGEFLUX_PREFIX):
            return _messageflux_pointer(body, named)
        return _sqs_pointer(body, named)
    except ValueError:  # including S3InvalidName
        return None


def attributes_by_name(attributes: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> Mapping[str, Any]:
    """Return message attributes as a mapping. If a name occurs twice, the last value wins."""
    if isinstance(attributes, Mapping):
        return attributes
    try:
        return dict(attributes)
    except (TypeError, ValueError):
        raise TypeError(
            f"attributes must be a mapping or (name, value) pairs, not {type(attributes).__name__}"
        ) from None


def _sqs_pointer(body: bytes, named: Mapping[str, Any] | None) -> Pointer | None:
    size = None
    if named is not None:
        present = [name for name in (SIZE_ATTRIBUTE, LEGACY_SIZE_ATTRIBUTE) if name in named]
        if not present:
            return None
        size = _attribute_number(named[present[0]])
    if len(body) > _LONGEST_SQS_POINTER:
        return None
    content = load_json(body)
    if not isinstance(content, list) or len(content) != 2:
        return None
    pointer_class, location = content
    if pointer_class not in (_POINTER_CLASS, _LEGACY_POINTER_CLASS) or not isinstance(location, Mapping):
        return None
    bucket, key = location.get("s3BucketName"), location.get("s3Key")
    if not isinstance(bucket, str) or not isinstance(key, str):
        return None
    return Pointer(check_bucket_name(bucket), check_key(key), size=size)


def _attribute_number(value: Any) -> int | None:
    """Return the number in an attribute: a mapping of SQS, Lambda or SNS, or a plain value of another broker."""
    if isinstance(value, Mapping):
        value = value.get("StringValue", value.get("stringValue", value.get("Value")))
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    if isinstance(value, str):
        value = int(value) if value.isdecimal() and value.isascii() and len(value) <= 18 else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


# -- receipt handles -----------------------------------------------------------------------------------------


def join_receipt_handle(pointer: Pointer, receipt_handle: str) -> str:
    """Return a receipt handle in the format of AWS's extended clients, which includes the payload's bucket and key."""
    if _KEY_MARKER in pointer.key:
        raise S3InvalidName(
            f"key {pointer.key!r} contains {_KEY_MARKER!r}, which ends a key in a receipt handle",
            bucket=pointer.bucket,
            key=pointer.key,
        )
    bucket = f"{_BUCKET_MARKER}{pointer.bucket}{_BUCKET_MARKER}"
    return f"{bucket}{_KEY_MARKER}{pointer.key}{_KEY_MARKER}{receipt_handle}"


def is_receipt_handle_of_pointer(text: str) -> bool:
    """Return whether a receipt handle begins like a handle of AWS's extended clients, well-formed or not."""
    return text.startswith(_BUCKET_MARKER)


def split_receipt_handle(receipt_handle: str) -> tuple[Pointer | None, str]:
    """Split a receipt handle into the payload's location (or None) and the broker's own handle.

    Raises:
        S3InvalidName: The bucket name or key in the handle is invalid.
    """
    if is_receipt_handle_of_pointer(receipt_handle):
        bucket, found, rest = receipt_handle[len(_BUCKET_MARKER) :].partition(_BUCKET_MARKER)
        if found and rest.startswith(_KEY_MARKER):
            # The broker's handle is everything after the second marker: the handle may itself contain a '-'.
            key, found, original = rest[len(_KEY_MARKER) :].partition(_KEY_MARKER)
            if found:
                return Pointer(check_bucket_name(bucket), check_key(key)), original
    return None, receipt_handle


# -- messageflux ---------------------------------------------------------------------------------------------


def make_payload_key(name: Any, md5_hex: str) -> str:
    """Return a new, unique key for a payload, similar to the keys of messageflux's stores.

    messageflux's own keys are ``<name>.<MD5>``: two messages with the same name and the same body share one
    object, and deleting one message deletes the payload of the other. So this function adds a random suffix.
    Consumers follow the pointer and do not depend on the form of the key.

    Args:
        name: The message's ``__KEY__`` or ``__ITEM_ID__``: text, bytes or a message attribute of SQS. A name that is
            too long is shortened. None or empty for a random name.
        md5_hex: The MD5 of the payload, in hexadecimal.
    """
    if isinstance(name, Mapping):
        name = name.get("StringValue", name.get("stringValue", name.get("Value")))
    if isinstance(name, bytes):
        name = name.decode("utf-8", "backslashreplace")
    if name is None or name == "":
        return f"{uuid.uuid4().hex}.{md5_hex}"
    suffix = f".{md5_hex}.{uuid.uuid4().hex}"
    encoded = str(name).encode("utf-8", "surrogatepass")[: MAX_KEY_BYTES - len(suffix)]
    return encoded.decode("utf-8", "ignore") + suffix


def wrap_store_key(store_key: str, magic: bytes = S3_MAGIC) -> bytes:
    """Return the body that messageflux's store transformers send in place of the payload."""
    return MESSAGEFLUX_PREFIX + magic + store_key.encode("utf-8")


def make_store_key(bucket: str, key: str, headers: Mapping[str, Any] | None = None) -> str:
    """Return a store key in the format of messageflux's S3 stores.

    messageflux reads ``bucket_name`` and ``key`` and ignores other entries. So headers that do not fit into the
    object's metadata are put into the store key, which avoids a second object and a second request.
    """
    entries: dict[str, Any] = {"bucket_name": bucket, "key": key}
    if headers is not None:
        entries["headers"] = headers
    return json.dumps(entries, default=_as_text)


def parse_store_key(store_key: str) -> Pointer:
    """Parse a store key of messageflux's S3 stores.

    Raises:
        ValueError: This is not a store key, or its bucket name or key is invalid.
    """
    entries = load_json(store_key, allow_nan=True)  # messageflux writes NaN as Python's json does
    if not isinstance(entries, Mapping):
        raise ValueError("store key must be an object with 'bucket_name' and 'key'")
    bucket, key, headers = entries.get("bucket_name"), entries.get("key"), entries.get("headers")
    if not isinstance(bucket, str) or not isinstance(key, str):
        raise ValueError("store key must name its 'bucket_name' and 'key' as text")
    return Pointer(
        check_bucket_name(bucket),
        check_key(key),
        wire="messageflux",
        headers=headers if isinstance(headers, Mapping) else None,
    )


def _messageflux_pointer(body: bytes, named: Mapping[str, Any] | None) -> Pointer | None:
    if named is not None and SIZE_HEADER not in named:
        return None
    # The magic bytes may differ between store classes, but JSON always follows them.
    start = body.find(b"{", len(MESSAGEFLUX_PREFIX))
    if start < 0:
        return None
    pointer = parse_store_key(body[start:].decode("utf-8"))
    size = _attribute_number(named[SIZE_HEADER]) if named is not None else None
    return Pointer(pointer.bucket, pointer.key, size=size, wire="messageflux", headers=pointer.headers)


def headers_to_metadata(headers: Mapping[str, Any]) -> tuple[dict[str, str], bool]:
    """Encode headers as user metadata, in messageflux's form: as many headers as fit into S3's limit.

    Returns:
        The metadata, and whether all headers are in it.
    """
    whole = _headers_as_json(headers)
    if len(whole) <= _HEADERS_BUDGET:
        return {_HEADERS_ENTRY: whole}, True
    fitting: dict[str, Any] = {}
    used = len("{}")
    for name, value in headers.items():
        cost = len(_headers_as_json({name: value})) - len("{}") + len(", ")
        if used + cost <= _HEADERS_BUDGET:
            fitting[name] = value
            used += cost
    return {_HEADERS_ENTRY: _headers_as_json(fitting)}, False


def headers_from_metadata(
    metadata: Mapping[str, str], bucket: str | None = None, key: str | None = None
) -> dict[str, Any]:
    """Decode the headers that a messageflux store wrote into an object's metadata.

    Args:
        metadata: The object's user metadata.
        bucket: The object's bucket, for the error.
        key: The object's key, for the error.

    Raises:
        S3InvalidContent: The metadata entry is not a JSON object. The error is also a ValueError.
    """
    cause: Exception | None = None
    try:
        headers = json.loads(metadata.get(_HEADERS_ENTRY, "{}"))
        if isinstance(headers, dict):
            return headers
        reason = f"must be a JSON object, not a {type(headers).__name__}"
    except RecursionError as error:
        cause, reason = error, "is nested too deeply"
    except ValueError as error:
        cause, reason = error, f"is not JSON: {error}"
    where = "" if bucket is None else f" of s3://{bucket}/{key}"
    raise S3InvalidContent(
        f"metadata entry {_HEADERS_ENTRY!r}{where} {reason}", operation="GetObject", bucket=bucket, key=key
    ) from cause


def _headers_as_json(headers: Mapping[str, Any]) -> str:
    # "=?" looks like an RFC 2047 encoded word to readers of the header; "=\u003f" means the same in JSON.
    return json.dumps(headers, default=_as_text).replace("=?", "=\\u003f")


def _as_text(value: Any) -> str:
    """Convert a value that JSON cannot represent to text, as messageflux does."""
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, time):
        return value.strftime("%H:%M")
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return str(value)


def _check_size(size: int) -> None:
    if not isinstance(size, int) or isinstance(size, bool):
        raise TypeError(f"size must be a number of bytes, not {type(size).__name__}")
    if size < 0:
        raise ValueError(f"size must be at least 0, not {size}")
