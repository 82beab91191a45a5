"""Events from every source and in every envelope, and hostile messages."""

from __future__ import annotations

import json
import pickle
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

import messageflux_s3 as s3
from messageflux_s3 import ObjectEvent, parse_event

SAMPLES = Path(__file__).parent / "data" / "events"

keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)
hexadecimal = st.text("0123456789ABCDEFabcdef", min_size=1, max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


def sample(name: str) -> Any:
    return json.loads((SAMPLES / f"{name}.json").read_text("utf-8"))["message"]


def notification(key: str, **changes: Any) -> dict[str, Any]:
    described = {"key": key, "size": 3, "eTag": "abc", "sequencer": "01", **changes.pop("object", {})}
    content = {"bucket": {"name": "inbox"}, "object": described}
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "s3": content,
        **changes,
    }


def in_sns(text: str) -> dict[str, Any]:
    return {"Type": "Notification", "TopicArn": "arn:aws:sns:::t", "MessageId": "1", "Message": text}


EXPECTED: list[tuple[str, tuple[Any, ...]]] = [
    (
        "aws_put",
        ("created", "amzn-s3-demo-bucket", "HappyFace.jpg", 1024, "d41d8cd98f00b204e9800998ecf8427e"),
    ),
    (
        "minio_put",
        ("created", "images", "test12/DG0890EY2.jpg", 629648, "b7ce786cd89b182bfd5ae765557bbc37"),
    ),
    ("minio_documented", ("created", "images", "myphoto.jpg", 200436, None)),
    (
        "ceph_documented",
        ("created", "mybucket1", "myimage1.jpg", 1024, "37b51d194a7513e45b56f6524f2d51f2"),
    ),
    (
        "ceph_older",
        (
            "created",
            "xraylab-0001",
            "demo_A Person_6580_1947-05-22_2017-04-27.jpeg",
            108622,
            "819c1e1c1b4c7b9853301ba2e6c300f1",
        ),
    ),
    (
        "eventbridge_created",
        ("created", "amzn-s3-demo-bucket1", "example-key", 5, "b1946ac92492d2347c6235b4d2611184"),
    ),
    ("r2_put", ("created", "my-bucket", "my-new-object", 65536, "c846ff7a18f28c2e262116d6e8719ef0")),
]


@pytest.mark.parametrize(("name", "expected"), EXPECTED)
def test_the_documented_sample_of_each_source_is_understood(name: str, expected: tuple[Any, ...]) -> None:
    """Each sample of the sources' documentation gives one event with kind, bucket, key, size and etag."""
    [event] = parse_event(sample(name))
    assert (event.kind, event.bucket, event.key, event.size, event.etag) == expected


def test_every_sample_but_the_test_event_has_an_expected_event() -> None:
    """A sample that is added needs a row above, or says nothing about an object."""
    about_objects = {path.stem for path in SAMPLES.glob("*.json") if parse_event(sample(path.stem))}
    assert about_objects == {name for name, _ in EXPECTED}


def test_every_field_of_a_notification_is_available() -> None:
    """Version, sequencer, time and name come from the record, and the record itself is kept."""
    message = sample("aws_put")
    [event] = parse_event(json.dumps(message).encode())
    assert event.event_name == "ObjectCreated:Put"
    assert event.version_id == "096fKKXTRTtl3on89fVO.nfljtsv6qko"
    assert event.sequencer == "0055AED6DCD90281E5"
    assert event.time == datetime(1970, 1, 1, tzinfo=timezone.utc)
    assert event.raw == message["Records"][0]
    assert pickle.loads(pickle.dumps(event)) == event


def test_event_names_with_and_without_the_s3_prefix_are_the_same() -> None:
    """The name of an event is the same, whether the source writes 's3:' before it or not."""
    assert parse_event(sample("minio_put"))[0].event_name == "ObjectCreated:Put"


def test_the_s3_test_event_gives_no_events() -> None:
    """S3's set-up probe is readable and about no object."""
    assert parse_event(sample("aws_test_event")) == []


@pytest.mark.parametrize(
    ("event_name", "kind"),
    [
        ("ObjectCreated:CompleteMultipartUpload", "created"),
        ("ObjectRemoved:Delete", "removed"),
        ("ObjectRemoved:DeleteMarkerCreated", "removed"),
        ("ObjectRestore:Completed", "restored"),
        ("ObjectTagging:Put", "tagged"),
        ("LifecycleExpiration:Delete", "expired"),
        ("ObjectLifecycle:Expiration:Current", "expired"),
        ("s3:ObjectLifecycle:Transition:Current", "transitioned"),
        ("LifecycleTransition", "transitioned"),
        ("ObjectAcl:Put", "acl"),
        ("s3:ObjectAccessed:Get", "accessed"),
        ("ReducedRedundancyLostObject", "lost"),
        ("SomethingNew:Today", "other"),
    ],
)
def test_event_kinds_are_the_same_for_all_sources(event_name: str, kind: str) -> None:
    """Names of AWS, MinIO and Ceph, known or not, have a kind."""
    assert [event.kind for event in parse_event({"Records": [notification("a", eventName=event_name)]})] == [kind]


@pytest.mark.parametrize(
    ("detail_type", "reason", "kind"),
    [
        ("Object Created", "PutObject", "created"),
        ("Object Deleted", "DeleteObject", "removed"),
        ("Object Deleted", "Lifecycle Expiration", "expired"),
        ("Object Restore Completed", "", "restored"),
        ("Object Tags Added", "", "tagged"),
    ],
)
def test_eventbridge_has_the_same_kinds(detail_type: str, reason: str, kind: str) -> None:
    """EventBridge says in two fields what a notification says in one."""
    message = sample("eventbridge_created")
    message["detail-type"] = detail_type
    message["detail"]["reason"] = reason
    assert parse_event(message)[0].kind == kind


@pytest.mark.parametrize("action", ["PutObject", "CopyObject", "CompleteMultipartUpload"])
def test_r2_creation_events_have_the_kind_created(action: str) -> None:
    """Each of R2's ways to create is an object created."""
    assert parse_event(sample("r2_put") | {"action": action})[0].kind == "created"


@pytest.mark.parametrize("version", ["2.0", "2.1", "2.2", "2.3", "2.4", "2.5", "2.6", "2.31"])
def test_every_minor_version_is_read(version: str) -> None:
    """Only the major version matters; unknown fields are ignored."""
    record = notification("a", eventVersion=version, novelty={"x": 1})
    assert parse_event({"Records": [record]})[0].key == "a"


def test_another_major_version_is_refused() -> None:
    """Version 3 raises, since its key encoding is unknown."""
    with pytest.raises(ValueError, match="eventVersion"):
        parse_event({"Records": [notification("a", eventVersion="3.0")]})


@given(keys)
def test_keys_of_notifications_are_decoded_exactly_once(key: str) -> None:
    """Every key is decoded to the key in the bucket, with S3's and MinIO's encoding."""
    for encoded in (quote_plus(key, safe="/"), quote_plus(key)):
        assert parse_event({"Records": [notification(encoded)]})[0].key == key


@given(keys)
def test_keys_of_eventbridge_and_r2_are_not_decoded(key: str) -> None:
    """EventBridge and R2 write the key as it is, so 'a+b' and '%41' stay what they are."""
    bridge, r2 = sample("eventbridge_created"), sample("r2_put")
    bridge["detail"]["object"]["key"] = r2["object"]["key"] = key
    assert [parse_event(bridge)[0].key, parse_event(r2)[0].key] == [key, key]


@given(keys)
def test_the_encoding_of_ceph_is_selectable(key: str) -> None:
    """Ceph's code writes the raw key; a Ceph that encodes is read with ceph_keys_encoded."""
    raw = {"Records": [notification(key, eventSource="ceph:s3")]}
    encoded = {"Records": [notification(quote(key, safe="/"), eventSource="ceph:s3")]}
    assert parse_event(raw)[0].key == key
    assert parse_event(encoded, ceph_keys_encoded=True)[0].key == key


@pytest.mark.parametrize("key", ["red flower.jpg", "a+b", "100%", "../../etc/passwd", "line\nend", "/lead//x/", "é"])
def test_unusual_keys_are_decoded_from_every_envelope(key: str) -> None:
    """SNS, SQS, Lambda and EventBridge's own way: the same key at the end of each."""
    bare = json.dumps({"Records": [notification(quote_plus(key))]})
    sns = json.dumps(in_sns(bare))
    for message in (
        bare,
        in_sns(bare),
        {"MessageId": "1", "ReceiptHandle": "r", "Body": bare},
        {"MessageId": "1", "ReceiptHandle": "r", "Body": sns},
        {"Messages": [{"MessageId": "1", "ReceiptHandle": "r", "Body": sns}]},
        {"Records": [{"eventSource": "aws:sqs", "messageId": "1", "body": bare}]},
        {"Records": [{"eventSource": "aws:sqs", "messageId": "1", "body": sns}]},
        {"Records": [{"EventSource": "aws:sns", "Sns": in_sns(bare)}]},
    ):
        as_text = message if isinstance(message, str) else json.dumps(message)
        for form in (message, as_text, as_text.encode(), bytearray(as_text.encode())):
            assert [event.key for event in parse_event(form)] == [key]  # type: ignore[arg-type]  # bytearray


def test_a_lambda_batch_gives_every_event_in_order() -> None:
    """Several messages, each with several records, come out as one list."""
    bodies = [json.dumps({"Records": [notification("a"), notification("b")]}), json.dumps({"Records": []})]
    records = [{"eventSource": "aws:sqs", "messageId": "1", "body": body} for body in [*bodies, bodies[0]]]
    assert [event.key for event in parse_event({"Records": records})] == ["a", "b", "a", "b"]


def test_a_json_array_gives_the_events_of_all_its_messages() -> None:
    """As EventBridge Pipes pass batches on; also inside an envelope. A malformed message does not lose the others."""
    sent = {"messageId": "1", "body": json.dumps({"Records": [notification("a"), notification("b")]})}
    batch = json.dumps([sent, notification("c"), [notification("nested")], 7, "text"])
    for message in (batch, {"Body": batch}, {"Records": [{"messageId": "2", "body": batch}]}):
        assert [event.key for event in parse_event(message)] == ["a", "b", "c"]
    with pytest.raises(ValueError, match=r"^batch\[0\]: ") as caught:
        parse_event(json.dumps([{"s3": 5, "eventName": "x", "eventVersion": "2.1"}, notification("c")]))
    assert [event.key for event in caught.value.events] == ["c"]  # type: ignore[attr-defined]


@given(keys, hexadecimal, hexadecimal)
def test_sequencers_order_the_events_of_a_key(key: str, one: str, other: str) -> None:
    """The shorter is padded on the right with zeros; exactly one of two different ones is newer, neither of two equal ones."""
    first = ObjectEvent("ObjectCreated:Put", "created", "inbox", key, sequencer=one)
    second = ObjectEvent("ObjectCreated:Put", "created", "inbox", key, sequencer=other)
    width = max(len(one), len(other))
    left, right = int(one.ljust(width, "0"), 16), int(other.ljust(width, "0"), 16)
    assert first.is_newer_than(second) == (left > right)
    assert second.is_newer_than(first) == (right > left)


def test_events_without_sequencers_are_ordered_by_time() -> None:
    """R2 has no sequencer: the times are compared; without times neither event is newer."""
    early = ObjectEvent("PutObject", "created", "b", "k", time=datetime(2026, 1, 1, tzinfo=timezone.utc))
    late = ObjectEvent("PutObject", "created", "b", "k", time=datetime(2026, 1, 2, tzinfo=timezone.utc))
    unknown = ObjectEvent("PutObject", "created", "b", "k")
    assert (late.is_newer_than(early), early.is_newer_than(late)) == (True, False)
    assert (unknown.is_newer_than(late), late.is_newer_than(unknown)) == (False, False)


@pytest.mark.parametrize(("bucket", "key"), [("other", "k"), ("b", "other")])
def test_events_of_different_objects_have_no_order(bucket: str, key: str) -> None:
    """S3 orders the events of one key only, so asking for more is an error."""
    event = ObjectEvent("PutObject", "created", "b", "k", sequencer="1")
    with pytest.raises(ValueError, match="one object only"):
        event.is_newer_than(ObjectEvent("PutObject", "created", bucket, key, sequencer="0"))


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xff\xfe",
        "not JSON",
        "[" * 100_000,
        '{"Records":' * 100_000,
        '{"a": NaN}',
        '{"Records": [], "Records": []}',
        {"Body": "plain text"},
        {"Type": "Notification", "Message": "{"},
        {"Records": [{"s3": 5}]},
        {"Records": [notification("a", s3={"bucket": {"name": "inbox"}})]},
        {"Records": [notification("a", s3={"bucket": "inbox", "object": {"key": "a"}})]},
        {"Records": [notification("a", s3={"bucket": {"name": "../etc"}, "object": {"key": "a"}})]},
        {"Records": [notification("a", s3={"bucket": {"name": "in/box"}, "object": {"key": "a"}})]},
        {"Records": [notification("")]},
        {"Records": [notification("k" * 1025)]},
        {"Records": [notification("100%")]},
        {"Records": [notification("%FF")]},
        {"Records": [notification("\ud800")]},
        {"Records": [notification(["a"])]},  # type: ignore[arg-type]  # wrong on purpose
        {"Records": [notification("a", object={"size": -1})]},
        {"Records": [notification("a", object={"size": True})]},
        {"Records": [notification("a", object={"size": float("nan")})]},
        {"Records": [notification("a", object={"size": "many"})]},
        {"Records": [notification("a", object={"eTag": 5})]},
        {"Records": [notification("a", object={"versionId": {}})]},
        {"Records": [notification("a", eventTime=["now"])]},
        {"Records": [notification("a", eventVersion=2)]},
    ],
    ids=lambda message: repr(message)[:50],
)
def test_an_undecodable_message_raises_value_error(message: Any) -> None:
    """Broken, forged and nested without end: one error, and never a wrong key."""
    with pytest.raises(ValueError):
        parse_event(message)


@pytest.mark.parametrize(
    "message",
    [
        "null",
        "[]",
        '"text"',
        "7",
        {},
        {"Records": []},
        {"Records": "none"},
        {"Records": [None, 5, "x", []]},
        {"Records": [{"eventSource": "aws:dynamodb"}]},
        {"source": "aws.ec2", "detail-type": "Object Created"},
        {"source": "aws.s3", "detail-type": "AWS API Call via CloudTrail", "detail": {}},
        {"Type": "SubscriptionConfirmation", "Message": "You have chosen to subscribe"},
        {"Records": [{"eventName": "s3:BucketCreated:*", "s3": {"bucket": {"name": "b"}, "object": {"key": ""}}}]},
    ],
    ids=repr,
)
def test_messages_about_no_object_give_no_events(message: Any) -> None:
    """Valid messages that are not about S3 objects give an empty list."""
    assert parse_event(message) == []


@pytest.mark.parametrize("message", [None, 5, ["a"], object()])
def test_parse_event_of_another_type_raises_type_error(message: Any) -> None:
    """Neither bytes, text nor a dict: the caller's mistake."""
    with pytest.raises(TypeError, match="message must be"):
        parse_event(message)


def test_deeply_nested_envelopes_raise() -> None:
    """Deeply nested and self-referencing messages raise."""
    message: Any = {}
    for _ in range(100):
        message = {"Body": message}
    itself: dict[str, Any] = {}
    itself["Body"] = itself
    for endless in (message, itself):
        with pytest.raises(ValueError, match="envelopes"):
            parse_event(endless)


@given(json_values, json_values)
def test_parse_event_of_any_message_returns_events_or_raises_value_error(one: Any, other: Any) -> None:
    """Any values in a message give events or a ValueError."""
    record = notification("a")
    for message in (
        {"Records": [record | {"s3": one}]},
        {"Records": [record | {"s3": {"bucket": one, "object": other}}]},
        {"Records": [notification("a", object={"size": one, "eTag": other, "key": one})], "eventTime": other},
        {"Records": one, "Type": "Notification", "Message": other},
        {"source": "aws.s3", "detail-type": "Object Created", "detail": one, "time": other},
        {"account": one, "action": "PutObject", "bucket": one, "object": other},
        {"Body": one, "Messages": other},
    ):
        try:
            events = parse_event(message)
        except ValueError:
            continue
        assert all(isinstance(event, ObjectEvent) and event.key for event in events)


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_parse_event_of_any_bytes_returns_events_or_raises_value_error(message: bytes | str) -> None:
    """Bytes and text of any kind are a ValueError or no events."""
    try:
        assert parse_event(message) == []
    except ValueError as error:
        assert "JSON" in str(error)


@pytest.mark.parametrize("time", ["2026-02-30T00:00:00.000Z", "0001-01-01T00:00:00.000+14:00", "yesterday", 1e300])
def test_an_invalid_event_time_is_none(time: Any) -> None:
    """What is in S3 does not depend on it."""
    place = {"bucket": {"name": "inbox"}, "object": {"key": "a"}}
    [event] = parse_event({"Records": [{"eventName": "ObjectCreated:Put", "eventTime": time, "s3": place}]})
    assert event.time is None


def test_is_newer_than_accepts_events_only() -> None:
    """And than nothing else."""
    with pytest.raises(TypeError, match="other must be an ObjectEvent, not str"):
        ObjectEvent("ObjectCreated:Put", "created", "inbox", "a").is_newer_than("yesterday")  # type: ignore[arg-type]


# -- one odd record among good ones ----------------------------------------------------------------------------------------------------

ODD_SEQUENCERS = ["Happy Sequencer", "zz", "0x1F", "55AED6 ", "-1", "\u0661", "", None, 7, 1.5, True, ["01"], {}]


@pytest.mark.parametrize("sequencer", ODD_SEQUENCERS, ids=repr)
def test_an_event_with_an_invalid_sequencer_is_read(sequencer: Any) -> None:
    """aws-lambda-go's own sample has "Happy Sequencer": the event is read, text is kept as it came."""
    records = [notification("a"), notification("b", object={"sequencer": sequencer}), notification("c")]
    bridged = sample("eventbridge_created")
    bridged["detail"]["object"]["sequencer"] = sequencer
    kept = sequencer if isinstance(sequencer, str) and sequencer else None
    assert [(event.key, event.sequencer) for event in parse_event({"Records": records})] == [
        ("a", "01"),
        ("b", kept),
        ("c", "01"),
    ]
    assert [event.sequencer for event in parse_event(bridged)] == [kept]


@pytest.mark.parametrize("one", ["Happy Sequencer", "zz", "\u0661", None])
@pytest.mark.parametrize("other", ["0055AED6", "Sad Sequencer", None])
def test_events_with_an_invalid_sequencer_are_ordered_by_time_or_not_at_all(one: str | None, other: str | None) -> None:
    """A sequencer that is not hexadecimal is not compared; without times neither event is newer."""
    early, late = datetime(2026, 1, 1, tzinfo=timezone.utc), datetime(2026, 1, 2, tzinfo=timezone.utc)

    def event(sequencer: str | None, time: datetime | None) -> ObjectEvent:
        return ObjectEvent("ObjectCreated:Put", "created", "inbox", "k", sequencer=sequencer, time=time)

    for first, second in ((one, other), (other, one)):
        assert event(first, late).is_newer_than(event(second, early))
        assert not event(first, early).is_newer_than(event(second, late))
        assert not event(first, early).is_newer_than(event(second, early))
        assert not event(first, None).is_newer_than(event(second, None))
    assert not event("same text", late).is_newer_than(event("same text", early)), "one event, delivered twice"


@pytest.mark.parametrize("name", sorted(path.stem for path in SAMPLES.glob("*.json")))
def test_the_raw_record_of_an_event_is_read_as_the_same_event(name: str) -> None:
    """``parse_event(event.raw)`` gives the event again, whatever its source, as a dict and as JSON."""
    for event in parse_event(sample(name)):
        for message in (event.raw, json.dumps(event.raw), json.dumps(event.raw).encode()):
            assert parse_event(message) == [event]


@given(keys, st.sampled_from(["Body", "Records", "Messages", "Type", "source", "account", "eventName"]), json_values)
def test_a_single_record_is_read_whatever_other_fields_it_has(key: str, name: str, value: Any) -> None:
    """What parse_event took for a record among Records it takes for one alone, too."""
    record = {**notification(quote_plus(key)), name: value}
    try:
        [event] = parse_event({"Records": [record]})
    except ValueError:
        return
    assert parse_event(record) == [event]


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "size": (notification("a", object={"size": "many"}), "size must be a number of bytes, not 'many'"),
    "key": (notification("100%"), "key '100%' is not URL-encoded"),
    "no key": (notification("a", s3={"bucket": {"name": "inbox"}, "object": {}}), "key must be text, not None"),
    "no object": (notification("a", s3={"bucket": {"name": "inbox"}}), "object must be an object, not None"),
    "bucket": (
        notification("a", s3={"bucket": {"name": ".."}, "object": {"key": "a"}}),
        "bucket must be a bucket's name",
    ),
    "version": (notification("a", object={"versionId": {}}), "versionId must be text"),
    "time": (notification("a", eventTime=["now"]), "time must be text like"),
}


@pytest.mark.parametrize(("record", "said"), BROKEN.values(), ids=BROKEN)
def test_a_broken_record_is_named_and_the_events_of_the_others_are_kept(record: dict[str, Any], said: str) -> None:
    """The error says which record and why, and has the events of those that could be read; in every envelope."""
    batch = {"Records": [notification("first"), record, notification("last")]}
    in_sqs = {
        "Records": [{"messageId": str(number), "body": json.dumps(body)} for number, body in enumerate([batch, batch])]
    }
    for message, place, found in (
        (batch, "Records[1]: ", ["first", "last"]),
        (json.dumps(batch), "Records[1]: ", ["first", "last"]),
        ({"Body": json.dumps(batch)}, "Records[1]: ", ["first", "last"]),
        (in_sqs, "Records[0]: Records[1]: ", ["first", "last"] * 2),
        (
            {"Messages": [{"Body": json.dumps(batch)}, {"Body": "no JSON"}, "text"]},
            "Messages[0]: Records[1]: ",
            ["first", "last"],
        ),
        (record, "", []),
    ):
        with pytest.raises(ValueError) as caught:
            parse_event(message)
        assert place + said in str(caught.value)
        for error in (caught.value, pickle.loads(pickle.dumps(caught.value))):
            assert [event.key for event in error.events] == found  # type: ignore[attr-defined]
            assert str(error) == str(caught.value)


def test_objects_from_reads_the_records_that_are_not_broken(moto_store: s3.S3Store) -> None:
    """The error of objects_from() has the events as well, and each record gives its handle."""
    batch = {
        "Records": [
            notification("first"),
            notification("100%"),
            notification("last", object={"sequencer": "Happy Sequencer"}),
        ]
    }
    with pytest.raises(ValueError, match=r"^Records\[1\]: key '100%'") as caught:
        moto_store.objects_from(batch)
    found = [obj for event in caught.value.events for obj in moto_store.objects_from(event.raw)]  # type: ignore[attr-defined]
    assert [(obj.key, obj.size, obj.etag) for obj in found] == [("first", 3, "abc"), ("last", 3, "abc")]


def test_a_message_of_many_broken_records_says_how_many() -> None:
    """The first three are told, the others are counted: an error message stays short."""
    with pytest.raises(
        ValueError, match=r"7 of the message's records cannot be read: .*Records\[2\].*; and 4 more"
    ) as caught:
        parse_event({"Records": [notification("100%")] * 7})
    assert "Records[3]" not in str(caught.value)


def test_self_referencing_records_raise() -> None:
    """Each level holds the list of all of them: the depth ends the reading at once, not after every combination."""
    itself: dict[str, Any] = {}
    itself["Records"] = [itself] * 100
    with pytest.raises(ValueError, match="envelopes"):
        parse_event(itself)


_GOOD = {
    "eventVersion": "2.1",
    "eventName": "ObjectCreated:Put",
    "s3": {"bucket": {"name": "inbox"}, "object": {"key": "k"}},
}


def test_a_record_in_too_many_envelopes_does_not_affect_other_records() -> None:
    """It is named as broken; the record after it is read."""
    deep = json.dumps({"Records": [_GOOD]})
    for _ in range(9):
        deep = json.dumps({"Type": "Notification", "Message": deep})
    good = json.dumps({"Records": [_GOOD]})
    with pytest.raises(ValueError, match=r"Records\[0\]: message is nested in more than 8 envelopes") as caught:
        s3.parse_event({"Records": [{"messageId": "0", "body": deep}, {"messageId": "1", "body": good}]})
    assert [event.key for event in caught.value.events] == ["k"]  # type: ignore[attr-defined]


def test_a_message_that_contains_itself_many_times_raises() -> None:
    """Every level would multiply the work."""
    records: list[Any] = [_GOOD]
    message = {"Records": records}
    records.extend([message] * 100)
    with pytest.raises(ValueError, match="more than"):
        s3.parse_event(message)


@pytest.mark.parametrize("content", [None, [], "inbox", {"bucket": {"name": "inbox"}}])
def test_a_single_broken_record_is_an_error_as_it_is_among_others(content: Any) -> None:
    """An empty list would say that the message is about no object."""
    for message in ({**_GOOD, "s3": content}, {"Records": [{**_GOOD, "s3": content}]}):
        with pytest.raises(ValueError, match=r"s3 must be an object|object must be an object"):
            s3.parse_event(message)


def test_no_signature_of_a_url_is_shown() -> None:
    """A presigned URL in place of a bucket's name is not quoted in the error."""
    url = "https://h/?X-Amz-Signature=SEKRET"
    with pytest.raises(ValueError) as caught:
        s3.parse_event({"Records": [{**_GOOD, "s3": {"bucket": {"name": url}, "object": {"key": "k"}}}]})
    assert "SEKRET" not in str(caught.value)
