"""Sub-resources: changes are merged, can be planned first, and do no harm on a store that does not support them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from support.public_calls import sub_resources, subclasses
from support.request_counting import Counted
from support.scripted_server import ScriptedServer, document, refusal
from support.servers import Server
from support.stateful_server import DocumentStore

import messageflux_s3 as s3
from messageflux_s3._objects.condition_probe import is_versioned
from messageflux_s3.subresources import xml
from messageflux_s3.subresources.base import Change, SubResource
from messageflux_s3.subresources.cors import CorsConfiguration
from messageflux_s3.subresources.encryption import Encryption
from messageflux_s3.subresources.lifecycle import LifecycleConfiguration
from messageflux_s3.subresources.notifications import NotificationConfiguration
from messageflux_s3.subresources.policy import BucketPolicy
from messageflux_s3.subresources.public_access import SID
from messageflux_s3.subresources.tags import TagSet
from messageflux_s3.subresources.xml import Node


def test_lifecycle_rules_are_merged_by_id(moto_bucket: s3.S3Bucket) -> None:
    """A second rule does not replace the first, unless it has the same ID."""
    lifecycle = moto_bucket.lifecycle
    lifecycle.expire(days=7, prefix="tmp/")
    lifecycle.abort_unfinished_uploads(days=3)
    lifecycle.transition("GLACIER", days=90, prefix="old/")
    lifecycle.expire_noncurrent(days=5)
    lifecycle.expire(days=8, prefix="tmp/")
    found = {rule.id: rule for rule in lifecycle.get().rules}
    assert len(found) == 4
    assert found["expire tmp/"].expire_days == 8
    assert found["abort uploads"].abort_uploads_days == 3
    assert found["to GLACIER old/"].transitions == ((90, "GLACIER"),)
    assert found["expire old"].noncurrent_days == 5
    lifecycle.remove("expire tmp/", "never there")
    assert lifecycle.get().get("expire tmp/") is None


def test_set_lifetime_keeps_other_rules(moto: Server, moto_bucket: s3.S3Bucket) -> None:
    """The rule with messageflux's ID is replaced."""
    client = moto.client()
    theirs: list[Any] = [
        {"ID": "expire", "Status": "Enabled", "Prefix": "", "Expiration": {"Days": 9}},
        {"ID": "keep", "Status": "Enabled", "Filter": {"Prefix": "x/"}, "Expiration": {"Days": 1}},
    ]
    client.put_bucket_lifecycle_configuration(Bucket=moto_bucket.name, LifecycleConfiguration={"Rules": theirs})
    moto_bucket.set_lifetime_in_days(30)
    rules = client.get_bucket_lifecycle_configuration(Bucket=moto_bucket.name)["Rules"]
    assert sorted((rule["ID"], rule["Expiration"]["Days"]) for rule in rules) == [("expire", 30), ("keep", 1)]
    moto_bucket.set_lifetime_in_days(-1)
    assert [rule.id for rule in moto_bucket.lifecycle.get().rules] == ["keep"]


@pytest.mark.parametrize("days", [0, -1])
def test_expire_refuses_days_below_1(moto_bucket: s3.S3Bucket, days: int) -> None:
    """set_lifetime_in_days, messageflux's name, takes them to cancel the lifetime."""
    with pytest.raises(ValueError, match="at least 1"):
        moto_bucket.lifecycle.expire(days=days)
    with pytest.raises(TypeError, match="days"):
        moto_bucket.lifecycle.expire(days="7")  # type: ignore[arg-type]


def test_a_planned_change_is_made_by_apply(counted: Counted) -> None:
    """It prints as a diff, and nothing is written before apply()."""
    plan = counted.bucket.lifecycle.ensure(s3.LifecycleRule("sweep", abort_uploads_days=3), dry_run=True)
    assert not plan.applied
    assert "+sweep: everything: abort unfinished uploads after 3 days" in str(plan)
    assert {request.method for request in counted.requests()} == {"GET"}
    assert plan.apply().applied
    again = counted.bucket.lifecycle.ensure(s3.LifecycleRule("sweep", abort_uploads_days=3))
    assert again.is_empty
    with counted.recording() as requests:
        again.apply()
    assert requests == []


ENSURE: dict[str, Callable[[s3.S3Bucket, bool], Change[Any]]] = {
    "lifecycle": lambda b, dry_run: b.lifecycle.ensure(s3.LifecycleRule("a", expire_days=3), dry_run=dry_run),
    "policy": lambda b, dry_run: b.policy.ensure(
        {"Sid": "a", "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": f"arn:aws:s3:::{b.name}/x"},
        dry_run=dry_run,
    ),
    "tags": lambda b, dry_run: b.tags.ensure({"a": "1"}, dry_run=dry_run),
    "object tags": lambda b, dry_run: b["k"].tags.ensure({"a": "1"}, dry_run=dry_run),
    "cors": lambda b, dry_run: b.cors.ensure(s3.CorsRule("a", origins=("*",)), dry_run=dry_run),
    "encryption": lambda b, dry_run: b.encryption.ensure("aws:kms", dry_run=dry_run),
}


@pytest.mark.parametrize("name", ENSURE)
def test_ensure_makes_the_change_and_returns_it(counted: Counted, name: str) -> None:
    """A second call reads once and writes nothing; with dry_run nothing is written before apply()."""
    ensure = ENSURE[name]
    counted.bucket.put_object("k", "x")
    before = len(counted.requests())
    planned = ensure(counted.bucket, True)
    assert [request.method for request in counted.requests()[before:]] == ["GET"]
    assert (planned.applied, planned.is_empty) == (False, False)

    made = ensure(counted.bucket, False)
    assert (made.applied, made.is_empty, str(made)) == (True, False, str(planned))
    assert counted.requests()[-1].method == "GET", "the written configuration is read back"
    assert "PUT" in [request.method for request in counted.requests()[before:]]

    with counted.recording() as requests:
        again = ensure(counted.bucket, False)
    assert (again.applied, again.is_empty, [request.method for request in requests]) == (True, True, ["GET"])
    with counted.recording() as requests:
        made.apply()  # as code written for the former ensure() does
    assert requests == []


STATEMENT = {"Sid": "a", "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "arn:aws:s3:::x"}
Prepare = Callable[[s3.S3Bucket], object]
MERGING: dict[str, tuple[Prepare | None, Callable[[s3.S3Bucket, bool], Change[Any]]]] = {
    "expire": (None, lambda b, dry_run: b.lifecycle.expire(days=3, dry_run=dry_run)),
    "abort": (None, lambda b, dry_run: b.lifecycle.abort_unfinished_uploads(days=3, dry_run=dry_run)),
    "transition": (None, lambda b, dry_run: b.lifecycle.transition("GLACIER", days=3, dry_run=dry_run)),
    "noncurrent": (None, lambda b, dry_run: b.lifecycle.expire_noncurrent(days=3, dry_run=dry_run)),
    "set_lifetime": (None, lambda b, dry_run: b.lifecycle.set_lifetime(3, dry_run=dry_run)),
    "no lifetime": (lambda b: b.lifecycle.set_lifetime(3), lambda b, dry_run: b.lifecycle.set_lifetime(0, dry_run=dry_run)),
    "remove rule": (lambda b: b.lifecycle.expire(days=3, id="a"), lambda b, dry_run: b.lifecycle.remove("a", dry_run=dry_run)),
    "remove statement": (lambda b: b.policy.ensure(STATEMENT), lambda b, dry_run: b.policy.remove("a", dry_run=dry_run)),
    "remove origin": (
        lambda b: b.cors.ensure(s3.CorsRule("a", origins=("*",))), lambda b, dry_run: b.cors.remove("a", dry_run=dry_run)
    ),
    "update tags": (None, lambda b, dry_run: b.tags.update({"a": "1"}, dry_run=dry_run)),
    "remove tag": (lambda b: b.tags.update({"a": "1"}), lambda b, dry_run: b.tags.remove("a", dry_run=dry_run)),
    "enable": (None, lambda b, dry_run: b.versioning.enable(dry_run=dry_run)),
    "suspend": (lambda b: b.versioning.enable(), lambda b, dry_run: b.versioning.suspend(dry_run=dry_run)),
}  # fmt: skip


@pytest.mark.parametrize("name", MERGING)
def test_every_method_that_changes_an_entry_can_only_plan_the_change(counted: Counted, name: str) -> None:
    """With dry_run one read is sent and no write; apply() of the plan, or the call without dry_run, makes the change."""
    prepare, method = MERGING[name]
    if prepare is not None:
        prepare(counted.bucket)
    with counted.recording() as requests:
        planned = method(counted.bucket, True)
    assert [request.method for request in requests] == ["GET"]
    assert (planned.applied, planned.is_empty) == (False, False)
    assert planned.apply().applied
    with counted.recording() as requests:
        again = method(counted.bucket, False)
    assert (again.applied, again.is_empty, [request.method for request in requests]) == (True, True, ["GET"])


def test_notification_targets_can_be_removed_in_a_plan(counted: Counted) -> None:
    target = s3.Notification("a", "arn:aws:sqs:us-east-1:123456789012:q")
    planned = counted.bucket.notifications.ensure(target, dry_run=True)
    with counted.recording() as requests:
        removal = counted.bucket.notifications.remove("a", dry_run=True)
    assert (planned.is_empty, removal.is_empty, removal.applied) == (False, True, False)
    assert [request.method for request in requests] == ["GET"]


STRANGE = b"""<?xml version="1.0" encoding="UTF-8"?>
<LifecycleConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Rule><ID>future</ID><Filter><Prefix>a/</Prefix></Filter>
<Status>Enabled</Status><Teleport><Days>4</Days></Teleport><Expiration><Days>3</Days><Mood>blue</Mood></Expiration>
<Transition><Days>1</Days><StorageClass>X</StorageClass><How>softly</How></Transition></Rule></LifecycleConfiguration>"""


def test_unknown_elements_survive_a_merge() -> None:
    """Elements that neither boto3 nor this library has a field for are sent back unchanged."""
    known = LifecycleConfiguration.from_api(xml.parse(STRANGE))
    merged = xml.write(known.with_rule(s3.LifecycleRule("ours", expire_days=1)).to_api())
    for part in (b"<Teleport><Days>4</Days></Teleport>", b"<Mood>blue</Mood>", b"<How>softly</How>", b"<ID>ours</ID>"):
        assert part in merged
    assert LifecycleConfiguration.from_api(xml.parse(merged)).rules[0] == known.rules[0]


def test_boto3_sends_unknown_elements(counted: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    """The document is sent as it was given, although boto3 has no names for some elements."""
    sent: list[bytes] = []
    events = counted.store.client.meta.events

    def catch(request: Any, **_: Any) -> None:
        if request.method == "PUT":
            sent.append(request.body if isinstance(request.body, bytes) else request.body.read())

    events.register("before-send.s3.PutBucketLifecycleConfiguration", catch)
    value = LifecycleConfiguration.from_api(xml.parse(STRANGE))
    with pytest.raises(s3.S3Error):  # moto stores only known elements, so the configuration read back differs
        counted.bucket.lifecycle.put(value)
    events.unregister("before-send.s3.PutBucketLifecycleConfiguration", catch)
    assert b"<Teleport><Days>4</Days></Teleport>" in sent[0]


def test_a_configuration_that_is_stored_differently_is_restored(moto_bucket: s3.S3Bucket) -> None:
    """moto drops unknown elements, as radosgw drops size filters: the former configuration is put back."""
    moto_bucket.lifecycle.expire(days=7, prefix="tmp/")
    before = moto_bucket.lifecycle.get()
    strange = s3.LifecycleRule("odd", expire_days=1, unknown=(Node("Teleport", children=(xml.leaf("Days", 4),)),))
    with pytest.raises(s3.S3Unsupported, match="was restored"):
        moto_bucket.lifecycle.ensure(strange)
    assert moto_bucket.lifecycle.get() == before


def test_public_access_is_allowed_and_blocked(moto: Server, moto_bucket: s3.S3Bucket) -> None:
    """Only our own statement is added and removed. The block is lifted and set."""
    client = moto.client()
    foreign = {
        "Sid": "audit", "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::123456789012:root"},
        "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{moto_bucket.name}/*",
    }  # fmt: skip
    moto_bucket.policy.ensure(foreign)
    client.put_public_access_block(
        Bucket=moto_bucket.name,
        PublicAccessBlockConfiguration={
            "BlockPublicAcls": True, "IgnorePublicAcls": True, "BlockPublicPolicy": True, "RestrictPublicBuckets": True,
        },
    )  # fmt: skip
    assert not moto_bucket.public_access.status().is_public
    moto_bucket.public_access.allow()
    moto_bucket.allow_public_access()
    statements = json.loads(client.get_bucket_policy(Bucket=moto_bucket.name)["Policy"])["Statement"]
    assert sorted(statement["Sid"] for statement in statements) == [SID, "audit"]
    assert moto_bucket.public_access.status().is_public
    block = client.get_public_access_block(Bucket=moto_bucket.name)["PublicAccessBlockConfiguration"]
    assert (block["BlockPublicPolicy"], block["RestrictPublicBuckets"], block["BlockPublicAcls"]) == (
        False,
        False,
        True,
    )
    moto_bucket.public_access.block()
    statements = json.loads(client.get_bucket_policy(Bucket=moto_bucket.name)["Policy"])["Statement"]
    assert [statement["Sid"] for statement in statements] == ["audit"]
    assert set(client.get_public_access_block(Bucket=moto_bucket.name)["PublicAccessBlockConfiguration"].values()) == {
        True
    }
    assert not moto_bucket.public_access.status().is_public


def test_messageflux_s_own_public_statement_is_recognised(moto: Server, moto_bucket: s3.S3Bucket) -> None:
    """A bucket that messageflux made public does not stay public after block()."""
    arn = f"arn:aws:s3:::{moto_bucket.name}"
    statement = {
        "Effect": "Allow",
        "Principal": "*",
        "Action": ["s3:GetObject", "s3:ListBucket"],
        "Resource": [arn, f"{arn}/*"],
    }
    moto.client().put_bucket_policy(Bucket=moto_bucket.name, Policy=json.dumps({"Statement": [statement]}))
    assert moto_bucket.public_access.status().is_public
    moto_bucket.public_access.block()
    assert not moto_bucket.public_access.status().is_public
    assert moto_bucket.policy.get().statements == ()


def test_tags_are_merged(moto_bucket: s3.S3Bucket) -> None:
    """Of the bucket and of an object."""
    obj = moto_bucket.put_object("k", "x", tags={"a": "1 + 2"})
    for tags in (moto_bucket.tags, obj.tags):
        tags.put({"a": "1 + 2"})
        tags["b"] = "ü"
        assert dict(tags.get()) == {"a": "1 + 2", "b": "ü"}
        del tags["a"]
        assert tags["b"] == "ü"
        with pytest.raises(KeyError):
            del tags["a"]
        tags.remove("b", "never there")
        assert tags.get() == TagSet()
        tags.update({"c": "d"})
        tags.delete()
        assert len(tags.get()) == 0
        with pytest.raises(TypeError, match="tags"):
            tags.put({"a": 1})  # type: ignore[dict-item]
    assert obj.reload().body == b"x"


def test_versioning_is_enabled_and_suspended_but_not_deleted(moto_bucket: s3.S3Bucket) -> None:
    """It is enabled and suspended, and cannot be deleted."""
    assert not moto_bucket.versioning.is_enabled()
    moto_bucket.versioning.suspend()
    assert moto_bucket.versioning.get().status is None
    moto_bucket.versioning.enable()
    assert moto_bucket.versioning.is_enabled()
    moto_bucket.versioning.suspend()
    assert moto_bucket.versioning.get().status == "Suspended"
    with pytest.raises(s3.S3Unsupported, match="suspend"):
        moto_bucket.versioning.delete()


def test_versioning_without_a_status_is_not_sent(moto_bucket: s3.S3Bucket) -> None:
    """It changes nothing in a bucket that never had versioning, and is an error in others."""
    never = moto_bucket.versioning.get()
    moto_bucket.versioning.put(never)
    assert moto_bucket.versioning.change(never).is_empty
    moto_bucket.versioning.enable()
    with pytest.raises(s3.S3Unsupported, match="suspend"):
        moto_bucket.versioning.put(never)
    assert moto_bucket.versioning.is_enabled()
    with pytest.raises(TypeError, match="VersioningConfiguration"):
        moto_bucket.versioning.put("Enabled")  # type: ignore[arg-type]


def test_changing_versioning_forgets_whether_the_bucket_is_versioned(moto_bucket: s3.S3Bucket) -> None:
    """A condition that is honoured without versions may not be honoured with them."""
    assert not is_versioned(moto_bucket._address)
    moto_bucket.versioning.enable()
    assert is_versioned(moto_bucket._address)


def test_versioning_enabled_by_another_client_is_noticed(
    moto: Server, moto_bucket: s3.S3Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That a bucket is not versioned is cached for seconds only."""
    assert not is_versioned(moto_bucket._address)
    moto.client().put_bucket_versioning(Bucket=moto_bucket.name, VersioningConfiguration={"Status": "Enabled"})
    later = time.monotonic() + 60
    monkeypatch.setattr("time.monotonic", lambda: later)
    assert is_versioned(moto_bucket._address)


def test_cors_rules_are_merged_by_id(moto_bucket: s3.S3Bucket) -> None:
    """Invalid rules are refused before a request."""
    moto_bucket.cors.ensure(
        s3.CorsRule("a", origins=("https://a.example",), methods=("GET", "PUT"), max_age_seconds=60)
    )
    moto_bucket.cors.ensure(s3.CorsRule("b", origins=("*",), headers=("x-*",), expose=("etag",)))
    found = moto_bucket.cors.get().rules
    assert sorted(rule.origins[0] for rule in found) == ["*", "https://a.example"]
    moto_bucket.cors.delete()
    assert moto_bucket.cors.get().rules == ()
    with pytest.raises(ValueError, match="methods"):
        s3.CorsRule("a", origins=("*",), methods=("PATCH",))
    with pytest.raises(TypeError, match="origins"):
        s3.CorsRule("a", origins="*")  # type: ignore[arg-type]


def test_encryption_is_set_read_and_deleted(moto_bucket: s3.S3Bucket) -> None:
    """Set, read and deleted."""
    moto_bucket.encryption.ensure("aws:kms", kms_key_id="alias/key", bucket_key=True)
    found = moto_bucket.encryption.get()
    assert (found.algorithm, found.kms_key_id, found.bucket_key) == ("aws:kms", "alias/key", True)
    moto_bucket.encryption.delete()
    with pytest.raises(ValueError, match="algorithm"):
        moto_bucket.encryption.ensure("rot13")  # type: ignore[arg-type]


def test_notifications_are_merged_by_id(moto: Server, moto_bucket: s3.S3Bucket) -> None:
    """A target with another ID stays."""
    import boto3

    sqs = boto3.client(
        "sqs",
        endpoint_url=moto.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="A" * 10,
        aws_secret_access_key="S" * 10,
    )
    for name in ("one", "two"):
        sqs.create_queue(QueueName=name)
        arn = f"arn:aws:sqs:us-east-1:123456789012:{name}"
        moto_bucket.notifications.ensure(s3.Notification(name, arn, prefix="in/", suffix=".json"))
    known = moto.client().get_bucket_notification_configuration(Bucket=moto_bucket.name)["QueueConfigurations"]
    assert sorted(target["Id"] for target in known) == ["one", "two"]
    moto_bucket.notifications.remove("one")
    assert [node.text_of("Id") for node in moto_bucket.notifications.get().targets] == ["two"]
    with pytest.raises(ValueError, match="arn"):
        s3.Notification("x", "arn:aws:ec2:::nothing")


EVERY_CALL: dict[str, Callable[[s3.S3Bucket], object]] = {
    "lifecycle.get": lambda bucket: bucket.lifecycle.get(),
    "lifecycle.expire": lambda bucket: bucket.lifecycle.expire(days=1),
    "lifecycle.put": lambda bucket: bucket.lifecycle.put(
        LifecycleConfiguration((s3.LifecycleRule("r", expire_days=1),))
    ),
    "lifecycle.delete": lambda bucket: bucket.lifecycle.delete(),
    "set_lifetime": lambda bucket: bucket.set_lifetime_in_days(1),
    "unset_lifetime": lambda bucket: bucket.set_lifetime_in_days(0),
    "public_access.allow": lambda bucket: bucket.public_access.allow(),
    "public_access.block": lambda bucket: bucket.public_access.block(),
    "public_access.status": lambda bucket: bucket.public_access.status(),
    "policy.get": lambda bucket: bucket.policy.get(),
    "policy.ensure": lambda bucket: bucket.policy.ensure({"Sid": "a", "Effect": "Allow"}),
    "policy.delete": lambda bucket: bucket.policy.delete(),
    "versioning.enable": lambda bucket: bucket.versioning.enable(),
    "tags.put": lambda bucket: bucket.tags.put({"a": "b"}),
    "tags.delete": lambda bucket: bucket.tags.delete(),
    "object tags.put": lambda bucket: bucket["kept.txt"].tags.put({"a": "b"}),
    "object tags.delete": lambda bucket: bucket["kept.txt"].tags.delete(),
    "cors.ensure": lambda bucket: bucket.cors.ensure(s3.CorsRule("a", origins=("*",))),
    "cors.delete": lambda bucket: bucket.cors.delete(),
    "encryption.ensure": lambda bucket: bucket.encryption.ensure("AES256"),
    "encryption.delete": lambda bucket: bucket.encryption.delete(),
    "notifications.delete": lambda bucket: bucket.notifications.delete(),
}


def test_every_sub_resource_of_a_bucket_is_among_these_calls() -> None:
    """A write of each, and its deletion if there is an operation for it."""
    attributes = sub_resources(s3.S3Bucket)
    written = {name.partition(".")[0] for name in EVERY_CALL if not name.endswith((".get", ".delete", ".status"))}
    assert attributes.keys() - written == {"notifications"}  # emptied by its delete(), which writes
    deleted = {name for name, cls in attributes.items() if issubclass(cls, SubResource) and cls._delete}
    assert {f"{name}.delete" for name in deleted} - EVERY_CALL.keys() == set()


@pytest.mark.parametrize(
    "content",
    [b"kept", b'{"Statement": []}', b"<Tagging><TagSet/></Tagging>", b""],
    ids=["text", "json", "xml", "empty"],
)
@pytest.mark.parametrize("name", EVERY_CALL)
def test_a_store_without_the_sub_resource_is_not_changed(
    rclone: Server, rclone_bucket: s3.S3Bucket, name: str, content: bytes
) -> None:
    """On rclone PUT ?tagging overwrites the object and DELETE ?policy deletes the bucket: S3Unsupported, and neither is sent."""
    rclone_bucket.put_object("kept.txt", content)
    with pytest.raises(s3.S3Unsupported):
        EVERY_CALL[name](rclone_bucket)
    assert rclone.root is not None
    folder = rclone.root / rclone_bucket.name
    assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [("kept.txt", content)]


@pytest.mark.parametrize("name", [name for name in EVERY_CALL if not name.startswith("object")])
def test_an_empty_bucket_is_not_deleted(rclone: Server, rclone_bucket: s3.S3Bucket, name: str) -> None:
    """On rclone DELETE bucket?policy deletes an empty bucket."""
    with pytest.raises(s3.S3Unsupported):
        EVERY_CALL[name](rclone_bucket)
    assert rclone_bucket.exists()


def test_documents_are_read_and_written_without_loss() -> None:
    """Attributes, namespaces and special characters included; a DOCTYPE is refused."""
    text = b'<A xmlns:xsi="http://w/x"><B xsi:type="Group">a &amp; b</B><C/></A>'
    node = xml.parse(text)
    assert xml.parse(xml.write(node)) == node
    with pytest.raises(s3.S3Error, match="DOCTYPE"):
        xml.parse(b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>')
    with pytest.raises(s3.S3Error, match="DOCTYPE"):
        xml.parse('<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>'.encode("utf-16"))
    for text in (
        b"nonsense",
        b'<?xml version="1.0" encoding="utg-8"?><x/>',
        b'<?xml version="1.0" encoding="big5"?><x/>',
    ):
        with pytest.raises(s3.S3Error, match="not XML"):
            xml.parse(text)


# -- a store that keeps every document as it was sent ---------------------------------------------------------------------------------


@pytest.fixture
def keeper(scripted_server: ScriptedServer) -> DocumentStore:
    """A store that keeps every document as it was sent."""
    return DocumentStore(scripted_server)


@pytest.fixture
def kept(keeper: DocumentStore) -> s3.S3Bucket:
    """A bucket on it."""
    return keeper.bucket()


STRANGERS: dict[str, tuple[bytes, Callable[[s3.S3Bucket], object], list[bytes]]] = {
    "lifecycle": (
        b"<LifecycleConfiguration><Rule><ID>x</ID><Status>Enabled</Status><Filter><Prefix>a</Prefix><Hue>1</Hue></Filter>"
        b"<Expiration><Days>1</Days><Softly>yes</Softly></Expiration><Mood>blue</Mood></Rule></LifecycleConfiguration>",
        lambda bucket: bucket.lifecycle.expire(days=3, prefix="tmp/"),
        [b"<Hue>1</Hue>", b"<Softly>yes</Softly>", b"<Mood>blue</Mood>"],
    ),
    "cors": (
        b"<CORSConfiguration><CORSRule><ID>x</ID><AllowedMethod>GET</AllowedMethod><AllowedOrigin>*</AllowedOrigin><Mood>blue</Mood>"
        b"</CORSRule></CORSConfiguration>",
        lambda bucket: bucket.cors.ensure(s3.CorsRule("y", origins=("https://a.example",))),
        [b"<Mood>blue</Mood>"],
    ),
    "notification": (
        b"<NotificationConfiguration><EventBridgeConfiguration/><QueueConfiguration><Id>x</Id><Queue>arn:aws:sqs:r:1:q</Queue>"
        b"<Event>s3:ObjectCreated:*</Event><Mood>blue</Mood></QueueConfiguration></NotificationConfiguration>",
        lambda bucket: bucket.notifications.ensure(s3.Notification("y", "arn:aws:sqs:us-east-1:1:queue")),
        [b"EventBridgeConfiguration", b"<Mood>blue</Mood>"],
    ),
    "encryption": (
        b"<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm>"
        b"</ApplyServerSideEncryptionByDefault><BlockedEncryptionTypes><EncryptionType>SSE-C</EncryptionType></BlockedEncryptionTypes>"
        b"</Rule></ServerSideEncryptionConfiguration>",
        lambda bucket: bucket.encryption.ensure("aws:kms", kms_key_id="k"),
        [b"<BlockedEncryptionTypes><EncryptionType>SSE-C</EncryptionType></BlockedEncryptionTypes>"],
    ),
    "policy": (
        b'{"Version": "2012-10-17", "Id": "mine", "Mood": "blue", "Statement": [{"Sid": "x", "Effect": "Deny", "Principal": "*", '
        b'"Action": "s3:*", "Resource": "*", "Hue": 1}]}',
        lambda bucket: bucket.policy.ensure(
            {"Sid": "y", "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "*"}
        ),
        [b'"Id"', b'"Mood"', b'"Hue"'],
    ),
    "versioning": (
        b"<VersioningConfiguration><Mood>blue</Mood></VersioningConfiguration>",
        lambda bucket: bucket.versioning.enable(),
        [b"<Mood>blue</Mood>", b"<Status>Enabled</Status>"],
    ),
    "tagging": (
        b"<Tagging><TagSet><Tag><Key>x</Key><Value>1</Value><Mood>blue</Mood></Tag></TagSet><Hue>1</Hue></Tagging>",
        lambda bucket: bucket.tags.update({"y": "2"}),
        [b"<Mood>blue</Mood>", b"<Hue>1</Hue>"],
    ),
    "publicAccessBlock": (
        b"<PublicAccessBlockConfiguration><BlockPublicPolicy>true</BlockPublicPolicy><Mood>blue</Mood></PublicAccessBlockConfiguration>",
        lambda bucket: bucket.public_access.allow(),
        [b"<Mood>blue</Mood>"],
    ),
}


def test_every_sub_resource_has_a_document_with_unknown_fields() -> None:
    """By the name in the query of its URL."""
    assert STRANGERS.keys() == {cls.name for cls in subclasses(SubResource) if issubclass(cls, SubResource)}


@pytest.mark.parametrize("name", STRANGERS)
def test_unknown_fields_survive_every_merge(keeper: DocumentStore, kept: s3.S3Bucket, name: str) -> None:
    """Elements without a field are sent back with the merged ones."""
    document, merge, parts = STRANGERS[name]
    keeper.documents[name] = document
    merge(kept)
    assert keeper.documents[name] != document
    for part in parts:
        assert part in keeper.documents[name]


def test_merging_a_lifecycle_rule_keeps_the_minimum_size_for_transitions(
    keeper: DocumentStore, kept: s3.S3Bucket
) -> None:
    """It is sent in a header and not in the document."""
    name = "x-amz-transition-default-minimum-object-size"
    keeper.documents["lifecycle"] = STRANGERS["lifecycle"][0]
    keeper.sent_along[name] = "varies_by_storage_class"
    kept.lifecycle.expire(days=3, prefix="tmp/")
    assert keeper.headers["lifecycle"][name] == "varies_by_storage_class"
    del keeper.sent_along[name]
    kept.lifecycle.expire(days=4, prefix="tmp/")
    assert name not in keeper.headers["lifecycle"]


def test_a_rule_without_an_id_replaces_no_other_one(moto_bucket: s3.S3Bucket) -> None:
    """Rules that were made in the console often have none: the first was replaced, the others were dropped."""
    rules = [
        {"AllowedMethods": ["GET"], "AllowedOrigins": [origin]} for origin in ("https://a.example", "https://b.example")
    ]
    moto_bucket.store.client.put_bucket_cors(Bucket=moto_bucket.name, CORSConfiguration={"CORSRules": rules})  # type: ignore[typeddict-item]
    first, second = moto_bucket.cors.get().rules
    with pytest.raises(ValueError, match="must have an id"):
        moto_bucket.cors.ensure(replace(first, max_age_seconds=5))
    assert moto_bucket.cors.get().rules == (first, second)


def test_another_minimum_size_for_transitions_is_a_change(keeper: DocumentStore, kept: s3.S3Bucket) -> None:
    """It was taken for none, so that apply() reported it as made. This store drops it."""
    keeper.documents["lifecycle"] = STRANGERS["lifecycle"][0]
    known = kept.lifecycle.get()
    assert kept.lifecycle.change(replace(known, smallest_to_move="all_storage_classes_128K")).is_empty
    change = kept.lifecycle.change(replace(known, smallest_to_move="varies_by_storage_class"))
    assert "+smallest object to move: varies_by_storage_class" in str(change)
    with pytest.raises(s3.S3Unsupported, match="stored another lifecycle configuration"):
        change.apply()
    keeper.sent_along["x-amz-transition-default-minimum-object-size"] = "varies_by_storage_class"
    assert kept.lifecycle.change(known).is_empty is False


def test_applying_a_plan_keeps_later_changes_by_others(moto_bucket: s3.S3Bucket) -> None:
    """The change is merged into the configuration at the time of apply()."""
    plan = moto_bucket.lifecycle.ensure(s3.LifecycleRule("ours", prefix="a/", expire_days=1), dry_run=True)
    moto_bucket.lifecycle.expire(days=9, prefix="theirs/")
    plan.apply()
    assert [rule.id for rule in moto_bucket.lifecycle.get().rules] == ["expire theirs/", "ours"]


def test_a_plan_is_refused_if_others_changed_the_same_rule(moto_bucket: s3.S3Bucket) -> None:
    """The rule that another client wrote since the plan was made is kept."""
    moto_bucket.lifecycle.put(LifecycleConfiguration((s3.LifecycleRule("shared", expire_days=1),)))
    plan = moto_bucket.lifecycle.ensure(s3.LifecycleRule("shared", expire_days=2), dry_run=True)
    whole = moto_bucket.lifecycle.change(LifecycleConfiguration((s3.LifecycleRule("new", expire_days=5),)))
    theirs = LifecycleConfiguration((s3.LifecycleRule("shared", expire_days=30),))
    moto_bucket.lifecycle.put(theirs)
    for late in (plan, whole):
        with pytest.raises(s3.S3PreconditionFailed, match="Plan the change again"):
            late.apply()
    assert moto_bucket.lifecycle.get() == theirs


def test_set_lifetime_keeps_a_foreign_rule_of_the_same_id(moto_bucket: s3.S3Bucket) -> None:
    """A rule with that ID that does something else is not ours."""
    theirs = s3.LifecycleRule("expire", prefix="logs/", expire_days=3)
    moto_bucket.lifecycle.put(LifecycleConfiguration((theirs,)))
    moto_bucket.set_lifetime_in_days(30)
    assert theirs in moto_bucket.lifecycle.get().rules
    assert [rule.expire_days for rule in moto_bucket.lifecycle.get().rules] == [3, 30]
    moto_bucket.set_lifetime_in_days(0)
    assert moto_bucket.lifecycle.get().rules == (theirs,)


def test_allow_retries_while_the_lifted_block_is_still_in_effect(keeper: DocumentStore, kept: s3.S3Bucket) -> None:
    """The policy is sent again. radosgw's name for the root element of the block is accepted."""
    names = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    flags = "".join(f"<{name}>true</{name}>" for name in names)
    root = "BlockPublicAccessBlockConfiguration"
    keeper.documents["publicAccessBlock"] = f"<{root}>{flags}</{root}>".encode()
    keeper.refusals["policy"] = 2
    kept.public_access.allow()
    assert b"<BlockPublicPolicy>false</BlockPublicPolicy>" in keeper.documents["publicAccessBlock"]
    assert SID.encode() in keeper.documents["policy"]
    assert kept.public_access.status().is_public


@pytest.mark.parametrize(
    ("region", "preset", "partition"),
    [
        ("us-gov-west-1", "aws", "aws-us-gov"),
        ("cn-north-1", "aws", "aws-cn"),
        ("eu-west-1", "aws", "aws"),
        ("cn-north-1", "other", "aws"),
    ],
)
def test_the_public_statement_names_the_bucket_by_the_arn_of_its_partition(
    keeper: DocumentStore, scripted_server: ScriptedServer, region: str, preset: str, partition: str
) -> None:
    """AWS refuses a policy with an ARN of another partition. Other stores have one partition, whatever they call their region."""
    bucket = scripted_server.bucket(lane=False, region=region, preset=preset)
    bucket.public_access.allow()
    [statement] = json.loads(keeper.documents["policy"])["Statement"]
    assert statement["Resource"] == [f"arn:{partition}:s3:::bkt", f"arn:{partition}:s3:::bkt/*"]
    assert bucket.public_access.status().is_allowed_by_policy
    bucket.public_access.block()
    assert "policy" not in keeper.documents


def test_allow_restores_the_block_if_the_policy_is_refused(
    keeper: DocumentStore, kept: s3.S3Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The block of the account cannot be lifted here: nothing is changed in the end."""
    monkeypatch.setattr("messageflux_s3.subresources.public_access._PAUSES_S", (0.01, 0.01))
    block = (
        b"<PublicAccessBlockConfiguration><BlockPublicPolicy>TRUE</BlockPublicPolicy></PublicAccessBlockConfiguration>"
    )
    keeper.documents["publicAccessBlock"] = block
    keeper.refusals["policy"] = 1000
    with pytest.raises(s3.S3AccessDenied):
        kept.public_access.allow()
    assert keeper.refusals["policy"] == 997
    assert b"<BlockPublicPolicy>true</BlockPublicPolicy>" in keeper.documents["publicAccessBlock"]


def test_allow_writes_nothing_if_the_bucket_is_public(keeper: DocumentStore, kept: s3.S3Bucket) -> None:
    """Our statement keeps its position before those of others."""
    kept.public_access.allow()
    kept.policy.ensure({"Sid": "z", "Effect": "Deny"})
    keeper.headers.clear()
    kept.public_access.allow()
    assert keeper.headers == {}


@pytest.mark.parametrize(
    ("who", "public"),
    [
        ({"Principal": "*"}, 1),
        ({"Principal": {"AWS": "*"}}, 1),
        ({"Principal": {"AWS": ["arn:aws:iam::123456789012:root", "*"]}}, 1),
        ({"NotPrincipal": {"AWS": "arn:aws:iam::123456789012:root"}}, 1),
        ({"Principal": {"AWS": ["arn:aws:iam::123456789012:root"]}}, 0),
        ({"Principal": {"Service": "cloudtrail.amazonaws.com"}}, 0),
        ({"Principal": "*", "Condition": {"StringEquals": {"aws:SourceVpc": "vpc-1"}}}, 0),
    ],
)
def test_status_finds_everybody_among_several_principals(
    keeper: DocumentStore, kept: s3.S3Bucket, who: dict[str, Any], public: int
) -> None:
    """Everybody may also stand beside accounts, or be all but an account."""
    statement = {"Sid": "x", "Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::bkt/*", **who}
    keeper.documents["policy"] = json.dumps({"Version": "2012-10-17", "Statement": [statement]}).encode()
    status = kept.public_access.status()
    assert (status.is_public, status.other_public_statements) == (bool(public), public)


def test_allow_does_not_retry_if_no_block_was_lifted(keeper: DocumentStore, kept: s3.S3Bucket) -> None:
    """Access is denied for another reason then."""
    keeper.refusals["policy"] = 1
    with pytest.raises(s3.S3AccessDenied):
        kept.public_access.allow()
    assert "policy" not in keeper.documents


WRONG: dict[str, tuple[Callable[[s3.S3Bucket], object], type[Exception], str]] = {
    "cors: a rule of nothing": (lambda b: s3.CorsRule("x", origins=()), ValueError, "at least one origin and one method"),
    "cors: origins of text": (lambda b: s3.CorsRule("x", origins="*"), TypeError, "origins must be a tuple of strings"),
    "cors: a method": (lambda b: s3.CorsRule("x", origins=("*",), methods=("COPY",)), ValueError, "methods must be among .* not 'COPY'"),
    "cors: a list": (lambda b: b.cors.put([]), TypeError, "value must be a CorsConfiguration, not list"),
    "encryption: a key alone": (lambda b: Encryption(kms_key_id="k"), ValueError, "kms_key_id needs algorithm 'aws:kms'"),
    "lifecycle: no id": (lambda b: s3.LifecycleRule(""), ValueError, "id must be text of 1 to 255 characters"),
    "lifecycle: a prefix": (lambda b: s3.LifecycleRule("x", prefix=7), TypeError, "prefix must be text, not int"),
    "lifecycle: a size": (lambda b: s3.LifecycleRule("x", min_size=-1), ValueError, "min_size must be a number of bytes, not -1"),
    "lifecycle: a list": (lambda b: b.lifecycle.put([]), TypeError, "value must be a LifecycleConfiguration, not list"),
    "lifecycle: no days": (lambda b: b.lifecycle.expire(days=None), TypeError, "days must be a whole number of days, not None"),
    "lifecycle: no days, uploads": (lambda b: b.lifecycle.abort_unfinished_uploads(days=None), TypeError, "days must be a whole number"),
    "lifecycle: no days, versions": (lambda b: b.lifecycle.expire_noncurrent(days=None), TypeError, "days must be a whole number"),
    "lifecycle: no days, class": (lambda b: b.lifecycle.transition("GLACIER", days=None), TypeError, "days must be a whole number"),
    "lifecycle: tags of text": (lambda b: b.lifecycle.expire(days=1, tags="a"), TypeError, "tags must be a mapping of text"),
    "lifecycle: a mapping of tags": (lambda b: s3.LifecycleRule("x", tags={"ab": "c"}), TypeError, "tags must be a tuple of pairs"),
    "lifecycle: tags of numbers": (lambda b: b.lifecycle.expire(days=1, tags={"a": 1}), TypeError, "tags must be a tuple of pairs"),
    "lifecycle: one transition": (lambda b: s3.LifecycleRule("x", transitions=(1, "GLACIER")), TypeError, "transitions must be a tuple"),
    "lifecycle: no rule": (lambda b: b.lifecycle.ensure("x"), TypeError, "rule must be a LifecycleRule, not str"),
    "lifecycle: a list to remove": (lambda b: b.lifecycle.remove(["x"]), TypeError, "ids must be text, not list"),
    "cors: a list to remove": (lambda b: b.cors.remove(["x"]), TypeError, "ids must be text, not list"),
    "notifications: a list to remove": (lambda b: b.notifications.remove(["x"]), TypeError, "ids must be text, not list"),
    "policy: a list to remove": (lambda b: b.policy.remove(["x"]), TypeError, "sids must be text, not list"),
    "tags: a list to remove": (lambda b: b.tags.remove(["x"]), TypeError, "names must be text, not list"),
    "tags of an object: a list to remove": (lambda b: b["k"].tags.remove(["x"]), TypeError, "names must be text, not list"),
    "cors: no id": (lambda b: b.cors.ensure(s3.CorsRule("(no id)", origins=("*",))), ValueError, "rule must have an id"),
    "lifecycle: a rule without id": (
        lambda b: b.lifecycle.ensure(s3.LifecycleRule("(no id)", expire_days=1)), ValueError, "rule must have an id"
    ),
    "cors: no rule": (lambda b: b.cors.ensure({"id": "x"}), TypeError, "rule must be a CorsRule, not dict"),
    "notifications: no target": (lambda b: b.notifications.ensure("x"), TypeError, "target must be a Notification, not str"),
    "notifications: a list": (lambda b: b.notifications.put([]), TypeError, "value must be a NotificationConfiguration, not list"),
    "encryption: text": (lambda b: b.encryption.put("AES256"), TypeError, "value must be an Encryption, not str"),
    "encryption: a planned text": (lambda b: b.encryption.change("AES256"), TypeError, "value must be an Encryption, not str"),
    "versioning: a planned text": (lambda b: b.versioning.change("Enabled"), TypeError, "value must be a VersioningConfiguration, not str"),
    "tags: a planned list": (lambda b: b.tags.change(["a"]), TypeError, "tags must be a mapping of text to text, not list"),
    "lifecycle: days of text": (lambda b: b.set_lifetime_in_days("7"), TypeError, "days must be a whole number of days, not str"),
    "notifications: events": (lambda b: s3.Notification("x", "arn:aws:sqs:r:1:q", events="a"), TypeError, "events must be a tuple"),
    "notifications: no arn": (lambda b: s3.Notification("x", None), TypeError, "arn must be text, not NoneType"),
    "notifications: an arn": (lambda b: s3.Notification("x", "arn:aws:s3:::b"), ValueError, "arn must be that of an SQS queue"),
    "policy: no Sid": (lambda b: b.policy.ensure({"Effect": "Deny"}), ValueError, "statement must be a mapping with a Sid"),
    "policy: a list": (lambda b: b.policy.put([]), TypeError, "value must be a BucketPolicy, not list"),
    "tags: a list": (lambda b: b.tags.put(["a"]), TypeError, "tags must be a mapping of text to text, not list"),
    "tags: a number": (lambda b: b.tags.put({"a": 1}), TypeError, "the entry 'a' is int"),
    "tags: a mapping as a set": (lambda b: b.tags.put(TagSet({"id": "7"})), TypeError, r"pairs must be .* not dict; TagSet.of\(tags\)"),
    "tags: texts as a set": (lambda b: b.tags.put(TagSet(("id",))), TypeError, r"pairs must be .* contains str; TagSet.of\(tags\)"),
    "tags: a set of numbers": (lambda b: b.tags.put(TagSet((("a", 5),))), TypeError, r"pairs must be .* contains \('a', 5\)"),
    "lifecycle: no tuple": (lambda b: LifecycleConfiguration(s3.LifecycleRule("x")), TypeError, "rules must be .* not LifecycleRule"),
    "lifecycle: no rules": (lambda b: LifecycleConfiguration(None), TypeError, "rules must be a tuple of LifecycleRule, not NoneType"),
    "lifecycle: text as rules": (lambda b: LifecycleConfiguration("x"), TypeError, "rules must be a tuple of LifecycleRule, not str"),
    "cors: text among the rules": (lambda b: CorsConfiguration(["x"]), TypeError, "rules must be a tuple of CorsRule; it contains str"),
    "cors: an id": (lambda b: b.cors.ensure(s3.CorsRule(5, origins=("*",))), TypeError, "id must be text, not int"),
    "cors: None as id": (lambda b: b.cors.ensure(s3.CorsRule(None, origins=("*",))), TypeError, "id must be text, not NoneType"),
    "cors: no origins": (lambda b: s3.CorsRule("x", origins=None), TypeError, "origins must be a tuple of strings, not NoneType"),
    "cors: an age": (lambda b: s3.CorsRule("x", origins=("*",), max_age_seconds=-5), ValueError, "max_age_seconds must be .* not -5"),
    "cors: an age of text": (lambda b: s3.CorsRule("x", origins=("*",), max_age_seconds="60"), ValueError, "max_age_seconds .* '60'"),
    "notifications: an id": (lambda b: s3.Notification(None, "arn:aws:sqs:r:1:q"), TypeError, "id must be text, not NoneType"),
    "notifications: no id": (lambda b: s3.Notification("", "arn:aws:sqs:r:1:q"), ValueError, "needs an id"),
    "notifications: no events": (lambda b: s3.Notification("x", "arn:aws:sqs:r:1:q", events=[]), ValueError, "at least one event"),
    "notifications: a suffix": (lambda b: s3.Notification("x", "arn:aws:sqs:r:1:q", suffix=5), TypeError, "suffix must be text, not int"),
    "notifications: a target": (
        lambda b: NotificationConfiguration([s3.Notification("x", "arn:aws:sqs:r:1:q")]), TypeError, "Notification; with_target"
    ),
    "policy: a statement": (lambda b: BucketPolicy(({"Sid": "x"},)), TypeError, "statements must be .* contains dict; from_api"),
    "tags: a long name": (lambda b: b.tags.put({"a" * 129: ""}), ValueError, "a name must have 1 to 128 characters"),
}  # fmt: skip


@pytest.mark.parametrize(("act", "error", "said"), WRONG.values(), ids=WRONG)
def test_invalid_values_are_refused(
    scripted_server: ScriptedServer, act: Any, error: type[Exception], said: str
) -> None:
    """Before anything is sent. The message names the argument and the value."""
    with pytest.raises(error, match=said):
        act(scripted_server.connect().bucket("bkt"))
    assert scripted_server.asked == []


def test_a_generator_of_entries_is_read_once(moto_bucket: s3.S3Bucket) -> None:
    """The first of several readings left nothing for the next: all rules of the bucket were deleted, which was reported as success."""
    moto_bucket.lifecycle.expire(days=3, prefix="former/")
    entries: Any = (s3.LifecycleRule(f"r{number}", prefix=f"{number}/", expire_days=1) for number in range(3))
    moto_bucket.lifecycle.put(LifecycleConfiguration(entries))
    assert [rule.id for rule in moto_bucket.lifecycle.get().rules] == ["r0", "r1", "r2"]
    entries = (s3.CorsRule(f"r{number}", origins=("*",), headers=(name for name in ["a"])) for number in range(2))  # type: ignore[arg-type]
    moto_bucket.cors.put(CorsConfiguration(entries))
    assert [(rule.id, rule.headers) for rule in moto_bucket.cors.get().rules] == [("r0", ("a",)), ("r1", ("a",))]
    entries = (pair for pair in [("a", "1"), ("b", "2")])
    moto_bucket.tags.put(TagSet(entries))
    assert dict(moto_bucket.tags.get()) == {"a": "1", "b": "2"}


def test_an_equals_sign_in_the_name_of_a_tag_is_not_the_one_behind_it(moto_bucket: s3.S3Bucket) -> None:
    """The tag ``a=b`` with ``c`` was taken for ``a`` with ``b=c``: there was nothing to change."""
    for former, tags in (({"a=b": "c"}, {"a": "b=c"}), ({"a": "b=c"}, {"a=b": "c"}), ({"'a": "b'=c"}, {"a=b": "c"})):
        assert TagSet.of(former).lines() != TagSet.of(tags).lines()
    moto_bucket.tags.put({"a=b": "c"})
    assert not moto_bucket.tags.change({"a": "b=c"}).apply().is_empty
    assert dict(moto_bucket.tags.get()) == {"a": "b=c"}


def test_tags_can_be_planned_as_a_mapping(moto_bucket: s3.S3Bucket) -> None:
    """As put() takes them."""
    assert moto_bucket.tags.change({"a": "1"}).apply().applied
    assert dict(moto_bucket.tags.get()) == {"a": "1"}


def test_an_empty_default_encryption_is_a_deletion(moto_bucket: s3.S3Bucket) -> None:
    """It was written as AES256."""
    moto_bucket.encryption.ensure("aws:kms")
    moto_bucket.encryption.put(Encryption())
    assert moto_bucket.encryption.get() == Encryption()
    assert moto_bucket.encryption.change(Encryption("AES256")).apply().applied
    assert moto_bucket.encryption.change(Encryption()).apply().applied
    assert moto_bucket.encryption.get() == Encryption()


def test_size_filters_are_not_sent_to_a_store_that_drops_them(scripted_server: ScriptedServer) -> None:
    """Known from its probe: without the filter the rule would apply to all objects."""
    store = s3.S3Store(scripted_server.connect().config.replace(capabilities=s3.Capabilities(lifecycle_filters=False)))
    rule = s3.LifecycleRule("big", max_size=5, expire_days=1)
    with pytest.raises(s3.S3Unsupported, match="'big' would then apply to all sizes"):
        store.bucket("bkt").lifecycle.put(LifecycleConfiguration((rule,)))
    assert scripted_server.asked == []


@pytest.mark.parametrize(("code", "error"), [("MalformedXML", s3.S3Unsupported), ("AccessDenied", s3.S3AccessDenied)])
def test_deleting_notifications_is_an_error_where_an_empty_configuration_is_refused(
    scripted_server: ScriptedServer, code: str, error: type[Exception]
) -> None:
    """radosgw refuses it: the targets stay."""
    said = "<QueueConfiguration><Id>n</Id><Queue>arn:aws:sqs:us-east-1:1:q</Queue><Event>s3:ObjectCreated:*</Event></QueueConfiguration>"
    scripted_server.answer = lambda asked: (
        document("NotificationConfiguration", said) if asked.method == "GET" else refusal(400, code)
    )
    with pytest.raises(error):
        scripted_server.bucket().notifications.delete()


def test_sub_resource_reprs(moto_bucket: s3.S3Bucket) -> None:
    """The repr of each sub-resource, and an empty change."""
    assert repr(moto_bucket.lifecycle) == f"<lifecycle of s3://{moto_bucket.name}/>"
    assert repr(moto_bucket.public_access) == f"<public access of s3://{moto_bucket.name}/>"
    assert str(moto_bucket.policy.get()) == "no policy"
    moto_bucket.policy.ensure({"Sid": "x", "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "*"})
    assert json.loads(str(moto_bucket.policy.get()))["Statement"][0]["Sid"] == "x"
    assert str(moto_bucket.tags.change(moto_bucket.tags.get())).endswith("no change")


def test_tags_of_a_version_are_read_with_its_version_id(moto_bucket: s3.S3Bucket) -> None:
    """They are read with the version ID."""
    moto_bucket.versioning.enable()
    first = moto_bucket.put_object("k", "one", tags={"a": "1"})
    moto_bucket.put_object("k", "two")
    assert dict(moto_bucket.object("k", first.version_id).tags.get()) == {"a": "1"}
    assert dict(moto_bucket["k"].tags.get()) == {}


def test_public_access_on_a_store_without_access_blocks(scripted_server: ScriptedServer) -> None:
    """Many stores support policies only: the policy decides."""
    scripted_server.answer = lambda asked: (
        refusal(404, "NoSuchBucketPolicy") if "policy" in asked.query else refusal(501, "NotImplemented")
    )
    status = scripted_server.bucket().public_access.status()
    assert (status.is_public, status.block) == (False, None)
    scripted_server.bucket().public_access.block()
    assert {asked.method for asked in scripted_server.asked} == {"GET"}
