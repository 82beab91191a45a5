"""ClaimCheck: payloads too large for a message broker are stored in S3, and the message carries a pointer.

The class does not talk to a broker: callers send what it returns and pass in what they received. Messages are untrusted input, so nothing
is read or deleted unless the bucket that a message names is allowed.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any, Literal, NamedTuple, cast, get_args

from .._formats.bucket_names import check_bucket_names
from .._formats.events import load_json
from .._formats.pointers import (
    KEY_HEADER,
    LEGACY_SIZE_ATTRIBUTE,
    MESSAGEFLUX_PREFIX,
    SIZE_ATTRIBUTE,
    SIZE_HEADER,
    Pointer,
    Wire,
    attributes_by_name,
    headers_from_metadata,
    headers_to_metadata,
    is_receipt_handle_of_pointer,
    join_receipt_handle,
    make_payload_key,
    make_pointer,
    make_store_key,
    parse_pointer,
    split_receipt_handle,
    wrap_store_key,
)
from .._objects.source import Source

if TYPE_CHECKING:
    from .._objects.bodies import BytesLike, UploadSource
    from ..bucket import S3Bucket
    from ..object import S3Object

    Headers = Mapping[str, Any] | Sequence[tuple[str, Any]]
    # An SQS or Lambda message, (body, headers), or only a body.
    Message = Mapping[str, Any] | tuple[BytesLike | str, Headers | None] | BytesLike | str

_SPOOLED_BYTES = 8 * 1024 * 1024
_PIECE_BYTES = 1024 * 1024


class Outgoing(NamedTuple):
    """The message to send: ``body, headers = check.check_in(...)``.

    Attributes:
        body: The payload itself, or a pointer to it.
        headers: The headers to send with it, in the form in which they were given.
    """

    body: bytes | str
    headers: Any


class Incoming(NamedTuple):
    """A received message with its payload: ``payload, headers = check.check_out(...)``.

    Attributes:
        payload: The payload.
        headers: The message's headers, in the form in which the broker gave them, without those of the claim
            check.
    """

    payload: bytes
    headers: Any


class _Received(NamedTuple):
    """A message without its envelopes."""

    body: Any
    headers: Any  # None if the message has no headers


class ClaimCheck:
    """Stores large payloads in a bucket and sends a pointer; small payloads are sent unchanged.

    Args:
        bucket: The bucket for payloads.
        threshold: The number of bytes above which a message's payload is stored in the bucket. Body and headers
            (names, types and values) are counted. 0 stores every payload, also an empty one.
        wire: The format to write: ``"sqs-extended"`` for AWS's extended clients for SQS and SNS,
            ``"messageflux"`` for messageflux's message stores. Both formats are read.
        allowed_buckets: Further buckets that received messages may point to; ``bucket`` is always allowed.

    Example:
        >>> check = s3.ClaimCheck(bucket, threshold=10)
        >>> check.check_in(b"small", {}).body
        b'small'
        >>> message = check.check_in(b"too big for this broker", {})
        >>> check.check_out(message).payload
        b'too big for this broker'
        >>> check.discard(message)
        True
    """

    def __init__(
        self,
        bucket: S3Bucket,
        *,
        threshold: int = 262_144,
        wire: Wire = "sqs-extended",
        allowed_buckets: Iterable[str] = (),
    ) -> None:
        """Check the arguments; no request is made.

        Raises:
            TypeError: An argument has the wrong type.
            ValueError: The threshold is negative, the format is unknown, or an allowed bucket's name is invalid.
        """
        from ..bucket import S3Bucket  # not at the top: claim checks are imported by code that needs no boto3

        if not isinstance(
            bucket, S3Bucket
        ):  # the methods of an AsyncS3Bucket would never run: messages without payloads
            hint = "; AsyncClaimCheck takes an AsyncS3Bucket" if type(bucket).__name__ == "AsyncS3Bucket" else ""
            raise TypeError(f"bucket must be an S3Bucket, not {type(bucket).__name__}{hint}")
        if not isinstance(threshold, int) or isinstance(threshold, bool):
            raise TypeError(f"threshold must be a number of bytes, not {type(threshold).__name__}")
        if threshold < 0:
            raise ValueError(f"threshold must be at least 0, not {threshold}; 0 stores every payload in the bucket")
        if wire not in get_args(Wire):
            raise ValueError(f"wire must be one of {', '.join(get_args(Wire))}, not {wire!r}")
        allowed = check_bucket_names("allowed_buckets", allowed_buckets)
        self.bucket = bucket
        self.threshold = threshold
        self.wire: Literal["sqs-extended", "messageflux"] = wire
        self.allowed_buckets: frozenset[str] = allowed | {bucket.name}

    def __repr__(self) -> str:
        return f"ClaimCheck({self.bucket!r}, threshold={self.threshold}, wire={self.wire!r})"

    def check_in(self, payload: UploadSource, headers: Headers | None = None) -> Outgoing:
        """Return the message to send for a payload; a payload that is too large is stored in the bucket.

        A payload that ``check_out()`` or ``discard()`` would misinterpret (one that looks like a claim check, an SNS
        notification or a receipt handle of AWS's extended clients) is stored in the bucket whatever its size. So the
        author of a payload cannot make your consumers read or delete another object, and a forwarded notification
        arrives unchanged.

        Args:
            payload: Bytes, text (sent as UTF-8), a path (``pathlib.Path``), a readable or an iterable of bytes or text. A
                large stream is never held in memory as a whole.
            headers: The message's headers: SQS's message attributes, a mapping of plain values (RabbitMQ), or pairs
                (Kafka). The result has the same form. None means an empty mapping.

        Returns:
            The body and headers to send. If sending fails, ``discard()`` deletes the stored payload.

        Raises:
            TypeError: The payload or the headers have the wrong type.
            OSError: While the payload was read, the file became shorter, or the HTTP response was cut off. Nothing was
                stored.
            ValueError: The headers use a name that is reserved for claim checks, or exceed the threshold by themselves.

        Requests:
            none, or those of one upload
        """
        headers = {} if headers is None else headers
        named = attributes_by_name(headers)
        taken = [name for name in (SIZE_ATTRIBUTE, LEGACY_SIZE_ATTRIBUTE) if name in named]
        if taken:
            raise ValueError(f"headers must not contain {taken[0]!r}: it marks a claim check")
        if SIZE_HEADER in named:  # messageflux leaves this header in messages that it has read
            headers = _without(headers, (SIZE_HEADER,))
            named = attributes_by_name(headers)
        headers_size = _size_of_headers(named)
        if headers_size > self.threshold > 0:
            raise ValueError(
                f"headers take {headers_size} bytes, more than the threshold of {self.threshold}; "
                "only the payload can be stored in the bucket"
            )
        largest_payload = self.threshold - headers_size
        if isinstance(payload, (bytes, bytearray, memoryview, str)):
            data = payload.encode("utf-8") if isinstance(payload, str) else bytes(payload)
            if self.threshold and len(data) <= largest_payload and _is_read_as_itself(data):
                return Outgoing(payload if isinstance(payload, (bytes, str)) else data, headers)
            return self._store(data, headers)
        with tempfile.SpooledTemporaryFile(max_size=_SPOOLED_BYTES) as spooled:
            # The size is known only at the end of the stream, and messageflux's keys contain the payload's MD5: so the
            # stream is written to a temporary file first.
            size = _write(payload, spooled)
            spooled.seek(0)
            if size <= max(largest_payload, _SPOOLED_BYTES):
                return self.check_in(spooled.read(), headers)
            return self._store(cast("IO[bytes]", spooled), headers)

    def check_out(self, message: Message) -> Incoming:
        """Return the payload and headers of a received message, in any known format.

        Args:
            message: An SQS message from ``receive_message()`` or Lambda (with or without SNS's envelope),
                ``(body, headers)``, or a body alone. If there are headers, they decide whether the message is a claim
                check; otherwise the body does.

        Returns:
            The payload as bytes, and the headers.

        Raises:
            S3AccessDenied: The message names a bucket that is not allowed; no request was sent to it. Also a
                ValueError.
            S3NoSuchItem: The payload does not exist any more.
            S3InvalidContent: The headers in the payload's metadata are not JSON. Also a ValueError.
            ValueError: The message is marked as a claim check, but is malformed.
            TypeError: ``message`` has none of these forms.

        Requests:
            none, or 1 GET
        """
        received = _received(message)
        pointer = _pointer(received)
        if pointer is None:
            return Incoming(_as_bytes(received.body), {} if received.headers is None else received.headers)
        if pointer.wire == "sqs-extended":
            payload = self._object(pointer).body
            kept = _without(received.headers or {}, (SIZE_ATTRIBUTE, LEGACY_SIZE_ATTRIBUTE))
            return Incoming(payload, kept)
        stored = self._object(pointer)
        payload = stored.body
        kept = _without(received.headers or {}, (SIZE_HEADER,))
        if isinstance(kept, Mapping):  # headers from the broker win, as in messageflux
            whole = pointer.headers
            if whole is None:
                whole = headers_from_metadata(stored.metadata, pointer.bucket, pointer.key)
            kept = {**whole, **kept}
        return Incoming(payload, kept)

    def payload_object(self, message: Message) -> S3Object | None:
        """Return a handle to the payload's object, to read the payload in pieces.

        Args:
            message: As for ``check_out()``.

        Returns:
            The handle, or None if the message contains its payload.

        Raises:
            S3AccessDenied: The message names a bucket that is not allowed. Also a ValueError.
            ValueError: The message is marked as a claim check, but is malformed.

        Requests:
            none
        """
        pointer = _pointer(_received(message))
        return None if pointer is None else self._object(pointer)

    def discard(self, message: Message) -> bool:
        """Delete a message's payload from the bucket.

        Delete the message first: a payload without a message only wastes space, but a message without its payload can
        never be processed.

        Every ``check_in()`` stores a payload of its own. Copies that the broker makes of one message (a redelivery,
        SNS to several queues) share one payload: discard it when the last copy has been processed.

        Args:
            message: As for ``check_out()``; also a message in the form of AWS's extended clients, or its receipt handle
                alone. If others may write to the queue, pass the whole message: it is impossible to tell whether a
                string alone is a body or a receipt handle.

        Returns:
            Whether the message had a payload in a bucket. If so, the payload no longer exists.

        Raises:
            S3AccessDenied: The message names a bucket that is not allowed; no request was sent to it. Also a
                ValueError.
            ValueError: The message is marked as a claim check, but is malformed.

        Requests:
            none, or 1 DELETE
        """
        handle = message if isinstance(message, str) else None
        if isinstance(message, Mapping):
            handle = message.get("ReceiptHandle", message.get("receiptHandle"))
        pointer = split_receipt_handle(handle)[0] if isinstance(handle, str) else None
        if pointer is None:
            pointer = _pointer(_received(message))
        if pointer is None:
            return False
        self._object(pointer).delete()
        return True

    def receipt_handle(self, message: Mapping[str, Any], *, extended: bool = False) -> str:
        """Return the receipt handle of an SQS message, in the form needed by the client that deletes the message.

        Args:
            message: The message, as received by any client.
            extended: False for the broker's own handle, as boto3 needs it; True for the form of AWS's extended clients,
                which includes the payload's location.

        Returns:
            The handle.

        Raises:
            ValueError: The message has no receipt handle.

        Requests:
            none
        """
        if not isinstance(message, Mapping):
            raise TypeError(f"message must be a message of SQS, as a mapping, not {type(message).__name__}")
        handle = message.get("ReceiptHandle", message.get("receiptHandle"))
        if not isinstance(handle, str):
            raise ValueError("message has no receipt handle: pass a message as SQS delivered it")
        pointer, original = split_receipt_handle(handle)
        if not extended:
            return original
        pointer = pointer or _pointer(_received(message))
        return original if pointer is None else join_receipt_handle(pointer, original)

    def _object(self, pointer: Pointer) -> S3Object:
        pointer.require_bucket(self.allowed_buckets)
        ours = pointer.bucket == self.bucket.name
        return (self.bucket if ours else self.bucket.store.bucket(pointer.bucket)).object(pointer.key)

    def _store(self, data: bytes | IO[bytes], headers: Any) -> Outgoing:
        if self.wire == "sqs-extended":
            key = str(uuid.uuid4())
            size = self._put(key, data, None)
            body, attributes = make_pointer(self.bucket.name, key, size)
            attribute = attributes[SIZE_ATTRIBUTE]
            return Outgoing(body, _with(headers, SIZE_ATTRIBUTE, attribute, attribute["StringValue"]))
        named = attributes_by_name(headers)
        key = make_payload_key(named.get(KEY_HEADER), _md5(data))
        # The broker carries all headers, so it does not matter if some do not fit into the metadata.
        size = self._put(key, data, headers_to_metadata(named)[0])
        wrapped = wrap_store_key(make_store_key(self.bucket.name, key))
        return Outgoing(wrapped, _with(headers, SIZE_HEADER, size, size))

    def _put(self, key: str, data: bytes | IO[bytes], metadata: Mapping[str, str] | None) -> int:
        if isinstance(data, bytes):
            self.bucket.put_object(key, data, metadata)
            return len(data)
        size = data.seek(0, 2)
        data.seek(0)
        self.bucket.upload_object(key, data, metadata)
        return size


def _write(payload: Any, target: IO[bytes]) -> int:
    """Write a payload to a file; return the number of bytes.

    Raises:
        TypeError: The payload is neither bytes nor text, nor a source of them.
        OSError: The payload ended before the size that it had at the start, or the file of a path was rewritten while it was read.
    """
    is_source = isinstance(payload, (os.PathLike, Iterable)) or hasattr(payload, "read")
    if not is_source or isinstance(payload, Mapping):  # iterating over a mapping would store its keys
        raise TypeError(
            f"payload must be bytes, text, a path, a readable or an iterable of bytes, not {type(payload).__name__}"
        )
    with Source(payload) as source:
        while piece := source.take(_PIECE_BYTES):
            target.write(piece)
        size = target.tell()
        source.check_end(size, "the payload")
    return size


def _md5(data: bytes | IO[bytes]) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    for piece in [data] if isinstance(data, bytes) else iter(lambda: data.read(_PIECE_BYTES), b""):
        digest.update(piece)
    return digest.hexdigest()


def _as_bytes(body: Any) -> bytes:
    return body.encode("utf-8", "surrogatepass") if isinstance(body, str) else bytes(body)


def _size_of_headers(named: Mapping[str, Any]) -> int:
    """Return the number of bytes of the names, types and values, as SQS counts them."""
    return sum(_size_of_value(name) + _size_of_value(value) for name, value in named.items())


def _size_of_value(value: Any) -> int:
    if isinstance(value, Mapping):
        return sum(_size_of_value(part) for part in value.values())
    return len(value) if isinstance(value, (bytes, bytearray)) else len(_as_bytes(str(value)))


def _with(headers: Any, name: str, attribute: Any, value: Any) -> Any:
    """Return the headers plus one, in the same form as the others: SQS's attributes, plain values, or Kafka's pairs."""
    if not isinstance(headers, Mapping):
        return [*headers, (name, str(value).encode("ascii"))]
    plain = any(not isinstance(other, Mapping) for other in headers.values())
    return {**headers, name: value if plain else attribute}


def _without(headers: Any, names: tuple[str, ...]) -> Any:
    if isinstance(headers, Mapping):
        return {name: value for name, value in headers.items() if name not in names}
    return [(name, value) for name, value in headers if name not in names]


def _is_read_as_itself(data: bytes) -> bool:
    """Return whether ``check_out()`` returns exactly this payload for a message with this body and no headers.

    Brokers may drop empty headers and deliver bytes as text. So the body is read alone, as bytes and as text, as by ``check_out()``.
    """
    text = data.decode("utf-8", "replace")
    if data.startswith(MESSAGEFLUX_PREFIX) or is_receipt_handle_of_pointer(text):
        return False
    try:
        read = [(body, _received(body)) for body in (data, text)]
    except ValueError:  # it looks like a malformed envelope
        return False
    return all(received.body is body and _pointer(received) is None for body, received in read)


def _pointer(received: _Received) -> Pointer | None:
    if received.headers is None:
        return parse_pointer(received.body)
    named = attributes_by_name(received.headers)
    pointer = parse_pointer(received.body, named)
    if pointer is None and (SIZE_ATTRIBUTE in named or LEGACY_SIZE_ATTRIBUTE in named):
        raise ValueError("message has the attribute of a claim check, but its body is not a pointer to a payload")
    return pointer


def _received(message: Any) -> _Received:
    """Return the body and headers of a message in an envelope of SQS, Lambda or SNS."""
    if isinstance(message, (bytes, bytearray, memoryview, str)):
        received = _Received(message, None)
    elif isinstance(message, Mapping):
        if "Sns" in message:
            return _from_sns(message["Sns"])
        body = message.get("Body", message.get("body"))
        if not isinstance(body, (bytes, str)):
            raise ValueError("message must have a 'Body' (SQS) or 'body' (Lambda) of text; pass one message at a time")
        headers = message.get("MessageAttributes", message.get("messageAttributes"))
        received = _Received(body, headers)
    elif isinstance(message, Sequence) and len(message) == 2:
        body, headers = message
        if not isinstance(body, (bytes, bytearray, memoryview, str)):
            raise TypeError(f"message's body must be bytes or text, not {type(body).__name__}")
        received = _Received(body, headers)
    else:
        raise TypeError(f"message must be one of SQS, (body, headers) or a body, not {type(message).__name__}")
    if received.headers is not None and not isinstance(received.headers, (Mapping, Sequence)):
        raise ValueError(f"message's headers must be a mapping or pairs, not {type(received.headers).__name__}")
    if not received.headers and isinstance(received.body, str) and '"TopicArn"' in received.body:
        try:
            envelope = load_json(received.body)
        except ValueError:
            return received
        if isinstance(envelope, Mapping) and envelope.get("Type") == "Notification":
            return _from_sns(envelope)
    return received


def _from_sns(envelope: Any) -> _Received:
    if not isinstance(envelope, Mapping) or not isinstance(envelope.get("Message"), str):
        raise ValueError("message is an envelope of SNS without a 'Message' of text")
    headers = envelope.get("MessageAttributes")
    if headers is not None and not isinstance(headers, Mapping):
        raise ValueError("message is an envelope of SNS whose 'MessageAttributes' are not a mapping")
    return _Received(envelope["Message"], headers)
