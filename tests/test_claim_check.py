"""ClaimCheck: payloads stored in the bucket and read back, and buckets that a message may not name."""

from __future__ import annotations

import datetime
import hashlib
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import messageflux_s3 as s3
from messageflux_s3 import Pointer, S3AccessDenied, S3Bucket, make_pointer, parse_pointer
from messageflux_s3._formats.pointers import (
    headers_from_metadata,
    headers_to_metadata,
    join_receipt_handle,
    make_store_key,
    parse_store_key,
    split_receipt_handle,
    wrap_store_key,
)
from messageflux_s3._objects.source import Source
from messageflux_s3.messaging import claim_check
from messageflux_s3.messaging.claim_check import ClaimCheck


def test_a_small_payload_is_sent_as_it_is(s3_bucket: S3Bucket) -> None:
    """A payload that the broker can carry is not stored."""
    assert ClaimCheck(s3_bucket, threshold=5).check_in(b"small", {}) == (b"small", {})
    assert list(s3_bucket.find()) == []


@pytest.mark.parametrize("wire", ["sqs-extended", "messageflux"])
def test_a_large_payload_is_stored_in_the_bucket_and_read_back(s3_bucket: S3Bucket, wire: Any) -> None:
    """Payload and headers are returned, without the claim check's own headers; discard deletes the payload."""
    check = ClaimCheck(s3_bucket, threshold=4, wire=wire)
    message = check.check_in(b"too big", {})
    assert b"too big" not in (message.body.encode() if isinstance(message.body, str) else message.body)
    assert ClaimCheck(s3_bucket).check_out(message) == (b"too big", {})
    assert check.discard(message) is True
    assert list(s3_bucket.find()) == []


@pytest.mark.parametrize(("size", "stored"), [(84, False), (85, True)])
def test_the_threshold_counts_names_types_and_values(s3_bucket: S3Bucket, size: int, stored: bool) -> None:
    """Body and attributes together are measured: 84 + 4 + 6 + 6 bytes fit into 100, one more does not."""
    attributes = {"name": {"DataType": "String", "StringValue": "colour"}}
    _body, sent = ClaimCheck(s3_bucket, threshold=100).check_in(b"x" * size, attributes)
    assert ("ExtendedPayloadSize" in sent, len(list(s3_bucket.find())) == 1) == (stored, stored)


@pytest.mark.parametrize("wire", ["sqs-extended", "messageflux"])
@pytest.mark.parametrize("payload", [b"", "", []], ids=["bytes", "text", "no pieces"])
def test_a_threshold_of_0_stores_an_empty_payload_too(s3_bucket: S3Bucket, payload: Any, wire: Any) -> None:
    """SQS takes no empty body."""
    check = ClaimCheck(s3_bucket, threshold=0, wire=wire)
    message = check.check_in(payload, {})
    assert message.body
    assert check.check_out(message) == (b"", {})
    assert check.discard(message) is True


def test_a_payload_that_looks_like_a_claim_check_is_stored_in_the_bucket(s3_bucket: S3Bucket) -> None:
    """A payload cannot make the consumer read another object."""
    check = ClaimCheck(s3_bucket)
    for forged in (make_pointer(s3_bucket.name, "secret", 5)[0], '__MSGSTORE_WRAPPER__|x{"bucket_name":"b"}'):
        sent = check.check_in(forged, {})
        assert check.check_out(sent).payload == forged.encode()


def _imitations(bucket: str, key: str) -> dict[str, str]:
    """Return payloads that look like claim checks, envelopes or receipt handles."""
    pointer, _ = make_pointer(bucket, key, 5)
    notification = {"Type": "Notification", "TopicArn": "arn:aws:sns:::t"}
    marked = {"ExtendedPayloadSize": {"Type": "Number", "Value": "5"}}
    return {
        "SNS notification with a pointer": json.dumps(
            {**notification, "Message": pointer, "MessageAttributes": marked}
        ),
        "SNS notification without attributes": json.dumps({**notification, "Message": pointer}),
        "harmless SNS notification": json.dumps({**notification, "Message": "hello"}),
        "SNS notification of a broken claim check": json.dumps(
            {**notification, "Message": "-", "MessageAttributes": marked}
        ),
        "SNS notification whose Message is not text": json.dumps({**notification, "Message": 5}),
        "SNS notification whose attributes are text": json.dumps(
            {**notification, "Message": "-", "MessageAttributes": "x"}
        ),
        "receipt handle of an extended client": join_receipt_handle(Pointer(bucket, key), "x"),
        "pointer": pointer,
        "broken receipt handle": "-..s3BucketName..-A!-..s3BucketName..--..s3Key..-k-..s3Key..-x",
    }


@pytest.mark.parametrize("wire", ["sqs-extended", "messageflux"])
@pytest.mark.parametrize("kind", _imitations("bucket", "k"))
@pytest.mark.parametrize("as_bytes", [False, True])
def test_no_payload_causes_another_object_to_be_read_or_deleted(
    s3_bucket: S3Bucket, kind: str, wire: Any, as_bytes: bool
) -> None:
    """In every form of the message check_out returns the payload, and discard deletes no other object."""
    s3_bucket.put_object("victim", b"other")
    payload = _imitations(s3_bucket.name, "victim")[kind]
    check = ClaimCheck(s3_bucket, wire=wire)
    body, headers = check.check_in(payload.encode() if as_bytes else payload, {})
    text = body if isinstance(body, str) else body.decode()
    messages: list[Any] = [
        (body, headers),
        body,
        text,
        {"Body": text, "ReceiptHandle": "rh", "MessageAttributes": headers},
        {"Body": text, "ReceiptHandle": "rh"},
    ]
    for message in messages:
        assert check.check_out(message).payload == payload.encode()
    for message in messages:
        check.discard(message)
    assert [(obj.key, obj.body) for obj in s3_bucket.find()] == [("victim", b"other")]


def test_no_request_is_sent_to_a_bucket_that_is_not_allowed(s3_bucket: S3Bucket) -> None:
    """Reading and deleting are refused before any request; an allowed bucket is reached."""
    body, attributes = make_pointer("somebody-elses", "k", 5)
    check = ClaimCheck(s3_bucket)
    message = {"Body": body, "MessageAttributes": attributes, "ReceiptHandle": "r"}
    for act in (check.check_out, check.discard, check.payload_object):
        with pytest.raises(S3AccessDenied, match="somebody-elses"):
            act(message)
    with pytest.raises(ValueError, match="somebody-elses"):
        check.discard(join_receipt_handle(Pointer("somebody-elses", "k"), "r"))
    allowed = ClaimCheck(s3_bucket, allowed_buckets=["somebody-elses"]).payload_object(message)
    assert allowed is not None and allowed.uri == "s3://somebody-elses/k"


def test_a_name_is_not_allowed_for_being_a_part_of_an_allowed_one(s3_bucket: S3Bucket) -> None:
    """``"payloads" in "payloads-of-others"`` is true."""
    pointer = parse_pointer(*make_pointer("payloads", "k", 5))
    assert pointer is not None
    pointer.require_bucket(["payloads"])
    with pytest.raises(S3AccessDenied, match="payloads"):
        pointer.require_bucket(["payloads-of-others"])
    with pytest.raises(TypeError, match=r"allowed must be an iterable of names: for one bucket, pass \[name\]"):
        pointer.require_bucket("payloads-of-others")


@pytest.mark.parametrize("legacy", [False, True])
def test_messages_in_sqs_sns_and_lambda_envelopes_are_checked_out(s3_bucket: S3Bucket, legacy: bool) -> None:
    """The payload is returned from every envelope."""
    s3_bucket.put_object("k", b"payload")
    body, attributes = make_pointer(s3_bucket.name, "k", 7, legacy)
    [(name, value)] = attributes.items()
    in_sns = {"Type": "Notification", "TopicArn": "arn:aws:sns:::t", "Message": body}
    in_sns |= {"MessageAttributes": {name: {"Type": "Number", "Value": "7"}}}
    check = ClaimCheck(s3_bucket)
    for message in (
        (body, attributes),
        (body, [(name, b"7")]),
        {"Body": body, "MessageAttributes": attributes},
        {
            "body": body,
            "messageAttributes": {name: {"dataType": "Number", "stringValue": value["StringValue"]}},
        },
        {"Body": json.dumps(in_sns)},
        {"Sns": in_sns},
        body,
    ):
        assert check.check_out(message).payload == b"payload"


def test_message_attributes_decide_whether_a_body_is_a_claim_check() -> None:
    """With attributes that say nothing of a claim check, a body that looks like one is a payload."""
    body, attributes = make_pointer("bucket", "k", 5)
    store_key = wrap_store_key('{"bucket_name": "bucket", "key": "k"}')
    assert parse_pointer(body) == parse_pointer(body, attributes) == Pointer("bucket", "k")
    assert parse_pointer(store_key) == Pointer("bucket", "k")
    assert [parse_pointer(body, {}), parse_pointer(store_key, {"a": 1}), parse_pointer(body, [])] == [None] * 3


@given(
    st.binary(max_size=60) | st.text(max_size=60),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
)
def test_parse_pointer_returns_a_pointer_or_none_for_any_bytes(body: bytes | str, attributes: dict[str, int]) -> None:
    """Any body gives a pointer or None, and random bodies give None."""
    assert parse_pointer(body) is None
    assert parse_pointer(body, attributes | {"ExtendedPayloadSize": 5}) is None
    assert (
        parse_pointer(b"__MSGSTORE_WRAPPER__|" + (body.encode("utf-8", "replace") if isinstance(body, str) else body))
        is None
    )


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40), st.text(max_size=40))
def test_receipt_handles_are_read_back_unchanged(key: str, original: str) -> None:
    """The original is all that follows the marker, with every '-' that it contains."""
    assert split_receipt_handle(join_receipt_handle(Pointer("bucket", key), original)) == (
        Pointer("bucket", key),
        original,
    )


def test_payloads_may_be_streams_and_iterables(s3_bucket: S3Bucket) -> None:
    """A readable and an iterable of bytes are what their bytes are."""
    for wire in ("sqs-extended", "messageflux"):
        check = ClaimCheck(s3_bucket, threshold=4, wire=wire)  # type: ignore[arg-type]  # a loop's str
        for payload in (io.BytesIO(b"too big"), iter([b"too ", b"big"])):
            assert check.check_out(check.check_in(payload, {})).payload == b"too big"
        assert check.check_in(io.BytesIO(b"tiny"), {}).body == b"tiny"


def test_a_marked_message_without_a_pointer_is_an_error(s3_bucket: S3Bucket) -> None:
    """A message with a claim check's attribute and without a pointer raises."""
    with pytest.raises(ValueError, match="not a pointer to a payload"):
        ClaimCheck(s3_bucket).check_out(("[]", {"ExtendedPayloadSize": {"DataType": "Number", "StringValue": "5"}}))


@pytest.mark.parametrize("wire", ["sqs-extended", "messageflux"])
def test_a_payload_larger_than_8_mib_is_stored_and_read_back_unchanged(s3_bucket: S3Bucket, wire: Any) -> None:
    """Above 8 MB it is buffered in a file, and read back unchanged."""
    payload = bytes(range(256)) * (36 * 1024)
    check = ClaimCheck(s3_bucket, threshold=4, wire=wire)
    sent = check.check_in((payload[at : at + 1_000_003] for at in range(0, len(payload), 1_000_003)), {})
    assert check.check_out(sent).payload == payload
    assert [obj.size for obj in s3_bucket.find()] == [len(payload)]


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (7, "payload must be bytes, text, a path, a readable or an iterable of bytes, not int"),
        ({"name": "value"}, "payload must be .* not dict"),
        (iter([7]), "an iterable to upload must give bytes or text, not int"),
    ],
)
def test_a_payload_that_gives_no_bytes_is_refused(s3_bucket: S3Bucket, payload: Any, said: str) -> None:
    """It raises, and nothing is stored."""
    with pytest.raises(TypeError, match=said):
        ClaimCheck(s3_bucket, threshold=0).check_in(payload, {})
    assert list(s3_bucket.find()) == []


@pytest.mark.parametrize("threshold", [0, 100])
@pytest.mark.parametrize(
    "make",
    [
        lambda path: path,
        lambda path: io.StringIO("zoë"),
        lambda path: iter(["zo", "ë"]),
        lambda path: [bytearray(b"zo"), memoryview("ë".encode())],
    ],
    ids=["path", "text readable", "text", "buffers"],
)
def test_check_in_reads_every_source_that_an_upload_reads(
    s3_bucket: S3Bucket, tmp_path: Path, threshold: int, make: Callable[[Path], Any]
) -> None:
    """Paths and text as well; text is encoded as UTF-8."""
    path = tmp_path / "payload"
    path.write_text("zoë", encoding="utf-8")
    check = ClaimCheck(s3_bucket, threshold=threshold)
    assert check.check_out(check.check_in(make(path), {})).payload == "zoë".encode()


def test_check_in_of_a_file_that_is_cut_while_it_is_read_raises(
    s3_bucket: S3Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of the payload is not stored as if it were the whole."""

    class Truncating(Source):
        def take(self, size: int) -> bytes | bytearray:
            piece = super().take(size)
            os.truncate(path, 1024 * 1024)
            return piece

    path = tmp_path / "payload"
    path.write_bytes(bytes(3 * 1024 * 1024))
    monkeypatch.setattr(claim_check, "Source", Truncating)
    with pytest.raises(OSError, match="the payload ended after 1,048,576 of 3,145,728 bytes"):
        ClaimCheck(s3_bucket, threshold=0).check_in(path, {})
    assert list(s3_bucket.find()) == []


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"threshold": "1"}, TypeError, "threshold must be a number of bytes, not str"),
        ({"threshold": True}, TypeError, "threshold must be a number of bytes, not bool"),
        ({"threshold": -1}, ValueError, "threshold must be at least 0, not -1"),
        ({"wire": "kafka"}, ValueError, "wire must be one of .* not 'kafka'"),
        ({"allowed_buckets": "one"}, TypeError, "allowed_buckets must be an iterable of names"),
        ({"bucket": "one"}, TypeError, "bucket must be an S3Bucket, not str$"),
    ],
)
def test_invalid_claim_check_settings_raise(
    s3_bucket: S3Bucket, arguments: dict[str, Any], error: type[Exception], said: str
) -> None:
    """Refused at once, by an error that names the argument."""
    with pytest.raises(error, match=said):
        ClaimCheck(**{"bucket": s3_bucket, **arguments})


def test_an_async_bucket_is_refused(s3_bucket: S3Bucket) -> None:
    """Its coroutines were never run: the message had a pointer, and the bucket no payload."""
    bucket: Any = s3.AsyncS3Store(s3_bucket.store).bucket(s3_bucket.name)
    with pytest.raises(TypeError, match="not AsyncS3Bucket; AsyncClaimCheck takes"):
        ClaimCheck(bucket)


def test_headers_that_mark_a_claim_check_are_refused(s3_bucket: S3Bucket) -> None:
    """What marks a claim check, and headers that alone are more than the broker carries."""
    number = {"DataType": "Number", "StringValue": "5"}
    for name in ("ExtendedPayloadSize", "SQSLargePayloadSize"):
        with pytest.raises(ValueError, match=f"headers must not contain '{name}'"):
            ClaimCheck(s3_bucket).check_in(b"x", {name: number})
    with pytest.raises(ValueError, match="more than the threshold of 10"):
        ClaimCheck(s3_bucket, threshold=10).check_in(b"x", {"name": {"DataType": "String", "StringValue": "y" * 20}})


NO_MESSAGE: dict[str, tuple[Any, type[Exception], str]] = {
    "a number": (7, TypeError, "message must be one of SQS, .* not int"),
    "a mapping without a body": ({"Records": []}, ValueError, "must have a 'Body' .* one message at a time"),
    "a pair without a body": ((7, {}), TypeError, "message's body must be bytes or text, not int"),
    "headers of a number": (("x", 7), ValueError, "message's headers must be a mapping or pairs, not int"),
    "an envelope without a message": ({"Sns": {"Message": 5}}, ValueError, "an envelope of SNS without a 'Message'"),
    "an envelope of nothing": ({"Sns": None}, ValueError, "an envelope of SNS without a 'Message'"),
    "an envelope with a list": ({"Sns": {"Message": "x", "MessageAttributes": []}}, ValueError, "'MessageAttributes' are not a mapping"),
}  # fmt: skip


@pytest.mark.parametrize(("message", "error", "said"), NO_MESSAGE.values(), ids=NO_MESSAGE)
def test_check_out_of_something_else_than_a_message_raises(
    s3_bucket: S3Bucket, message: Any, error: type[Exception], said: str
) -> None:
    """It raises TypeError or ValueError."""
    for act in (ClaimCheck(s3_bucket).check_out, ClaimCheck(s3_bucket).discard):
        with pytest.raises(error, match=said):
            act(message)


@pytest.mark.parametrize("body", ['{"TopicArn": broken', '{"TopicArn": 1, "Type": "Other"}', '["TopicArn"]'])
def test_a_payload_that_resembles_an_envelope_is_returned_unchanged(s3_bucket: S3Bucket, body: str) -> None:
    """The payload is returned unchanged."""
    assert ClaimCheck(s3_bucket).check_out({"Body": body}) == (body.encode(), {})
    assert ClaimCheck(s3_bucket).discard({"Body": body}) is False


def test_receipt_handles_are_accepted_in_both_forms(s3_bucket: S3Bucket) -> None:
    """boto3 takes the broker's own, AWS's extended clients the one that says where the payload is."""
    check = ClaimCheck(s3_bucket)
    body, attributes = make_pointer(s3_bucket.name, "k", 5)
    marked = {"Body": body, "MessageAttributes": attributes, "ReceiptHandle": "r"}
    extended = check.receipt_handle(marked, extended=True)
    assert extended == join_receipt_handle(Pointer(s3_bucket.name, "k"), "r")
    assert check.receipt_handle({**marked, "ReceiptHandle": extended}) == "r"
    assert check.receipt_handle({"Body": "plain", "receiptHandle": "r"}, extended=True) == "r"
    with pytest.raises(ValueError, match="no receipt handle"):
        check.receipt_handle({"Body": "plain"})


@pytest.mark.parametrize("headers", [{"__ORIGINAL_MESSAGE_SIZE_HEADER__": 9, "a": "1"}, [("a", b"1")]])
def test_messageflux_headers_of_any_shape_are_read(s3_bucket: S3Bucket, headers: Any) -> None:
    """Headers of an earlier claim check are removed; pairs are returned as pairs."""
    check = ClaimCheck(s3_bucket, threshold=60, wire="messageflux")
    back = check.check_out(check.check_in(b"x" * 99, headers))
    assert back == (b"x" * 99, {"a": "1"} if isinstance(headers, dict) else [("a", b"1")])


# -- the formats ----------------------------------------------------------------------------------------------------------------------

NO_POINTER: dict[str, Any] = {
    "a number": 7,
    "a payload too long to be one": '["software.amazon.payloadoffloading.PayloadS3Pointer", {}]' + " " * 70_000,
    "three things": "[1, 2, 3]",
    "a class of somebody else": '["com.example.Pointer", {"s3BucketName": "bucket", "s3Key": "k"}]',
    "no place": '["software.amazon.payloadoffloading.PayloadS3Pointer", "k"]',
    "no key": '["software.amazon.payloadoffloading.PayloadS3Pointer", {"s3BucketName": "bucket"}]',
    "no bucket's name": '["software.amazon.payloadoffloading.PayloadS3Pointer", {"s3BucketName": "B", "s3Key": "k"}]',
    "messageflux's mark and no more": b"__MSGSTORE_WRAPPER__|__S3_MSGSTORE__",
    "messageflux's mark and a list": wrap_store_key('[{"bucket_name": "bucket"}]'),
    "messageflux's mark and a number for a key": wrap_store_key('{"bucket_name": "bucket", "key": 1}'),
}


@pytest.mark.parametrize("body", NO_POINTER.values(), ids=NO_POINTER)
def test_parse_pointer_returns_none_for_other_bodies(body: Any) -> None:
    """Also for bodies that resemble claim checks."""
    assert parse_pointer(body) is None


WRONG: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "attributes of a number": (lambda: parse_pointer(b"", 7), TypeError, "attributes must be a mapping or .* pairs, not int"),  # type: ignore[arg-type]
    "a size of text": (lambda: make_pointer("bucket", "k", "5"), TypeError, "size must be a number of bytes, not str"),  # type: ignore[arg-type]
    "a negative size": (lambda: make_pointer("bucket", "k", -1), ValueError, "size must be at least 0, not -1"),
    "a key that would end itself": (
        lambda: join_receipt_handle(Pointer("bucket", "a-..s3Key..-b"), "r"), ValueError, "which ends a key in a receipt handle",
    ),
    "a store key of a list": (lambda: parse_store_key("[]"), ValueError, "must be an object with 'bucket_name' and 'key'"),
    "a store key without one": (lambda: parse_store_key("{}"), ValueError, "must name its 'bucket_name' and 'key'"),
    "headers of a list": (lambda: headers_from_metadata({"originalheaders": "[]"}), ValueError, "must be a JSON object, not a list"),
    "headers without a bottom": (lambda: headers_from_metadata({"originalheaders": "[" * 100_000}), ValueError, "nested too deeply"),
}  # fmt: skip


@pytest.mark.parametrize(("act", "error", "said"), WRONG.values(), ids=WRONG)
def test_formats_that_cannot_be_written_or_read_say_why(
    act: Callable[[], object], error: type[Exception], said: str
) -> None:
    """The error names the part and what is wrong with it."""
    with pytest.raises(error, match=said):
        act()


HALVES = (
    "-..s3BucketName..-bucket",
    "-..s3BucketName..-bucket-..s3BucketName..-k",
    "-..s3BucketName..-b-..s3BucketName..--..s3Key..-k",
)


@pytest.mark.parametrize("handle", HALVES)
def test_a_receipt_handle_without_bucket_or_key_is_that_of_the_broker(handle: str) -> None:
    """A handle without bucket or key is treated as the broker's own."""
    assert split_receipt_handle(handle) == (None, handle)


def test_headers_without_a_json_form_are_written_as_messageflux_does() -> None:
    """Such as times, bytes, and objects with ``str()``."""
    headers = {
        "date": datetime.date(2026, 11, 21), "moment": datetime.datetime(2026, 11, 21, 12, 30), "time": datetime.time(12, 30),
        "bytes": b"a\xff", "other": 1j, "word": "=?x",
    }  # fmt: skip
    metadata, whole = headers_to_metadata(headers)
    assert whole
    assert "=?" not in metadata["originalheaders"]
    assert headers_from_metadata(metadata) == {
        "date": "2026-11-21", "moment": "2026-11-21T12:30:00", "time": "12:30", "bytes": "a\\xff", "other": "1j", "word": "=?x",
    }  # fmt: skip


def test_headers_larger_than_metadata_are_stored_in_the_key() -> None:
    """As many as fit go into the metadata, and all of them into the key."""
    headers = {"small": "1", "large": "x" * 3000, "last": "2"}
    metadata, whole = headers_to_metadata(headers)
    assert (headers_from_metadata(metadata), whole) == ({"small": "1", "last": "2"}, False)
    pointer = parse_pointer(wrap_store_key(make_store_key("bucket", "k", headers)))
    assert pointer is not None
    assert (pointer.bucket, pointer.key, pointer.headers) == ("bucket", "k", headers)


@pytest.mark.parametrize(
    ("value", "size"),
    [({"stringValue": "5"}, 5), ({"Value": "5"}, 5), (b"5", 5), (5, 5), ("five", None), (True, None), (-1, None)],
)
def test_the_payload_size_is_read_from_any_broker(value: Any, size: int | None) -> None:
    """In the forms of SQS, Lambda, SNS, RabbitMQ and Kafka; anything but a number is None."""
    pointer = parse_pointer(make_pointer("bucket", "k", 5)[0], {"ExtendedPayloadSize": value})
    assert pointer is not None and pointer.size == size


# -- no two messages share a payload ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", ["sqs-extended", "messageflux"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"__KEY__": "order-7"},
        {"__KEY__": b"order-7"},
        {"__KEY__": {"DataType": "String", "StringValue": "order-7"}},
        [("__KEY__", b"order-7")],
        {"__ITEM_ID__": "order-7"},
    ],
    ids=repr,
)
def test_discarding_one_of_two_equal_messages_leaves_the_other_readable(
    s3_bucket: S3Bucket, wire: Any, headers: Any
) -> None:
    """Same headers and same payload, sent twice (also by a producer that retries): each message has a payload of its own."""
    check = s3.ClaimCheck(s3_bucket, threshold=100, wire=wire)
    first, second = check.check_in(b"x" * 200, headers), check.check_in(b"x" * 200, headers)
    assert len(list(s3_bucket.find())) == 2
    assert check.discard(first) is True
    assert check.check_out(second).payload == b"x" * 200
    assert check.discard(second) is True
    assert list(s3_bucket.find()) == []


@pytest.mark.parametrize(
    "name",
    ["order-7", b"order-7", {"DataType": "String", "StringValue": "order-7"}, {"stringValue": "order-7"}],
    ids=repr,
)
def test_a_messageflux_payload_key_begins_with_the_name_and_the_md5(s3_bucket: S3Bucket, name: Any) -> None:
    """The name from the headers, in any form of a broker, then the MD5 as in messageflux."""
    s3.ClaimCheck(s3_bucket, threshold=100, wire="messageflux").check_in(b"x" * 200, {"__KEY__": name})
    [obj] = s3_bucket.find()
    assert obj.key.startswith(f"order-7.{hashlib.md5(b'x' * 200).hexdigest()}.")


@pytest.mark.parametrize("name", ["n" * 1024, "é" * 512, "n" * 992])
def test_a_name_that_fills_a_whole_key_is_shortened(s3_bucket: S3Bucket, name: str) -> None:
    """S3's limit of 1,024 bytes holds for the name and its suffixes together; the message is sent all the same."""
    check = s3.ClaimCheck(s3_bucket, threshold=4000, wire="messageflux")
    sent = check.check_in(b"x" * 9000, {"__KEY__": name})
    [obj] = s3_bucket.find()
    assert name.startswith(obj.key.split(".")[0]) and len(obj.key.encode()) <= 1024
    assert check.check_out(sent).payload == b"x" * 9000
