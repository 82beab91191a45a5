"""A write or a deletion of a sub-resource that fails at any request leaves the configuration before it or the one asked for, never a third.

The faults are connections cut before and after a request was applied, and interrupts (Ctrl-C) before it is sent and after its response.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from support.public_calls import sub_resources
from support.scripted_server import Answer, Asked, ScriptedServer, refusal
from support.stateful_server import DocumentStore

import messageflux_s3 as s3
from messageflux_s3.subresources.base import SubResource
from messageflux_s3.subresources.cors import CorsConfiguration
from messageflux_s3.subresources.encryption import Encryption
from messageflux_s3.subresources.lifecycle import LifecycleConfiguration, _kind_of
from messageflux_s3.subresources.notifications import NotificationConfiguration
from messageflux_s3.subresources.policy import BucketPolicy
from messageflux_s3.subresources.public_access import AccessBlock, AccessBlockSubResource
from messageflux_s3.subresources.versioning import VersioningConfiguration

FAULTS = ("cut before", "cut after", "interrupt before", "interrupt after", "cut after, then interrupt before")
MOST_REQUESTS = 30


class Faulty:
    """A store that keeps documents, and raises a fault at chosen requests.

    Attributes:
        keeper: The store.
        bucket: Its bucket; each request is sent once.
        history: All documents after each write.
    """

    def __init__(self, server: ScriptedServer) -> None:
        self.keeper = DocumentStore(server)
        self.bucket = self.keeper.bucket()
        self.history: list[dict[str, bytes]] = []
        self._faults: dict[int, str] = {}
        self._number = 0
        server.answer = self._answer
        events = self.bucket._connection.client.meta.events
        events.register("before-send.s3", self._before_send)
        events.register("before-parse.s3", self._before_parse)

    def reset(self, documents: dict[str, bytes]) -> None:
        """Start again with these documents, and with a connection that has learned nothing."""
        self.keeper.documents = dict(documents)
        self.bucket._connection.facts.clear()
        self.history.clear()

    @contextmanager
    def fault(self, kind: str, number: int) -> Iterator[Callable[[], bool]]:
        """Raise a fault at the n-th request of the block; yields a function that says whether there was such a request."""
        first, _, second = kind.partition(", then ")
        self._number, self._faults = 0, {number: first, number + 1: second}
        yield lambda: self._number >= number
        self._faults = {}

    def snapshot(self) -> dict[str, list[str]]:
        """Return what each stored document says; a document that says nothing is left out."""
        parts: list[SubResource[Any]] = [
            cls(self.bucket._address) for cls in (*sub_resources(s3.S3Bucket).values(), AccessBlockSubResource)
            if issubclass(cls, SubResource)
        ]  # fmt: skip
        documents = self.keeper.documents
        said = {
            part.name: sorted(part._parse(documents[part.name]).lines()) for part in parts if part.name in documents
        }
        return {name: lines for name, lines in said.items() if lines}

    def _answer(self, asked: Asked) -> Answer:
        kind = self._faults.get(self._number)
        if kind == "cut before":
            return b""
        answer = self.keeper._answer(asked)
        self.history.append(dict(self.keeper.documents))
        return b"" if kind == "cut after" else answer

    def _before_send(self, **_: Any) -> None:
        self._number += 1
        if self._faults.get(self._number) == "interrupt before":
            raise KeyboardInterrupt

    def _before_parse(self, **_: Any) -> None:
        if self._faults.get(self._number) == "interrupt after":
            raise KeyboardInterrupt


@pytest.fixture
def faulty(scripted_server: ScriptedServer) -> Faulty:
    """A store with faults."""
    return Faulty(scripted_server)


ALLOW = '{"Statement": [{"Sid": "x", "Effect": "Allow", "Principal": {"AWS": "1"}, "Action": "s3:GetObject", "Resource": "*"}]}'
PUBLIC = (
    '{"Statement": [{"Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject", "s3:ListBucket"], '
    '"Resource": ["arn:aws:s3:::bkt", "arn:aws:s3:::bkt/*"]}]}'
)
BLOCK = "<PublicAccessBlockConfiguration><BlockPublicPolicy>true</BlockPublicPolicy></PublicAccessBlockConfiguration>"
TARGETS = (
    "<NotificationConfiguration><QueueConfiguration><Id>q</Id><Queue>arn:aws:sqs:r:1:q</Queue><Event>s3:ObjectCreated:*</Event>"
    "</QueueConfiguration></NotificationConfiguration>"
)
RULE = s3.LifecycleRule("ours", prefix="tmp/", min_size=10, expire_days=3)
TAGGED = "<Tagging><TagSet><Tag><Key>b</Key><Value>2</Value></Tag></TagSet></Tagging>"
SUSPENDED = "<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>"
ENABLED = VersioningConfiguration("Enabled")
STATEMENT = {"Sid": "y", "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "*"}
THEIRS = (
    "<LifecycleConfiguration><Rule><ID>x</ID><Status>Enabled</Status><Filter><Prefix>a</Prefix></Filter>"
    "<Expiration><Days>9</Days></Expiration></Rule></LifecycleConfiguration>"
)

LIMITED = {
    "Sid": "limited", "Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::bkt/*"],
    "Condition": {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}},
}  # fmt: skip
PAGES = (
    "<CORSConfiguration><CORSRule><ID>x</ID><AllowedOrigin>https://a.example</AllowedOrigin><AllowedMethod>GET</AllowedMethod>"
    "</CORSRule></CORSConfiguration>"
)
KMS = (
    "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>aws:kms</SSEAlgorithm>"
    "</ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>"
)

# Name -> the sub-resource, its document, and the call that deletes it.
DELETIONS: dict[str, tuple[str, str, Callable[[s3.S3Bucket], object]]] = {
    "lifecycle": ("lifecycle", THEIRS, lambda b: b.lifecycle.delete()),
    "policy": ("policy", ALLOW, lambda b: b.policy.delete()),
    "last statement": ("policy", ALLOW, lambda b: b.policy.remove("x")),
    "tags": ("tagging", TAGGED, lambda b: b.tags.delete()),
    "object tags": ("tagging", TAGGED, lambda b: b["k"].tags.delete()),
    "cors": ("cors", PAGES, lambda b: b.cors.delete()),
    "encryption": ("encryption", KMS, lambda b: b.encryption.delete()),
    "notifications": ("notification", TARGETS, lambda b: b.notifications.delete()),
    "access block": ("publicAccessBlock", BLOCK, lambda b: AccessBlockSubResource(b._address).delete()),
    "public access": ("policy", PUBLIC, lambda b: b.public_access.block()),
}

# Name -> the documents before, and the call.
CASES: dict[str, tuple[dict[str, str], Callable[[s3.S3Bucket], object]]] = {
    "lifecycle": ({}, lambda b: b.lifecycle.put(LifecycleConfiguration((RULE,)))),
    "lifecycle of others": ({"lifecycle": THEIRS}, lambda b: b.lifecycle.ensure(RULE)),
    "policy": ({}, lambda b: b.policy.put(BucketPolicy().with_statement(STATEMENT))),
    "policy of others": ({"policy": ALLOW}, lambda b: b.policy.put(BucketPolicy().with_statement(STATEMENT))),
    "tags": ({}, lambda b: b.tags.put({"a": "1"})),
    "tags of others": ({"tagging": TAGGED}, lambda b: b.tags.put({"a": "1"})),
    "cors": ({}, lambda b: b.cors.put(CorsConfiguration((s3.CorsRule("y", origins=("*",)),)))),
    "encryption": ({}, lambda b: b.encryption.put(Encryption("AES256"))),
    "encryption without a rule": ({"encryption": "<ServerSideEncryptionConfiguration/>"}, lambda b: b.encryption.put(Encryption("AES256"))),
    "notifications": ({"notification": TARGETS}, lambda b: b.notifications.put(NotificationConfiguration())),
    "versioning": ({"versioning": "<VersioningConfiguration/>"}, lambda b: b.versioning.put(ENABLED)),
    "versioning again": ({"versioning": SUSPENDED}, lambda b: b.versioning.put(ENABLED)),
    "access block": ({"publicAccessBlock": BLOCK}, lambda b: AccessBlockSubResource(b._address).put(AccessBlock(True, True, True, True))),
    "allow public access": ({"publicAccessBlock": BLOCK, "policy": ALLOW}, lambda b: b.public_access.allow()),
    "block public access": ({"publicAccessBlock": BLOCK.replace("true", "false"), "policy": PUBLIC}, lambda b: b.public_access.block()),
    "cors of others": ({"cors": PAGES}, lambda b: b.cors.ensure(s3.CorsRule("y", origins=("https://b.example",)))),
    "encryption again": ({"encryption": KMS}, lambda b: b.encryption.ensure("AES256")),
    "notifications of others": ({"notification": TARGETS}, lambda b: b.notifications.ensure(s3.Notification("ours", "arn:aws:sns:r:1:t"))),
    "limited policy": ({}, lambda b: b.policy.ensure(LIMITED)),
    "limited policy of others": ({"policy": ALLOW}, lambda b: b.policy.ensure(LIMITED)),
    "object tags": ({"tagging": TAGGED}, lambda b: b["k"].tags.put({"a": "1"})),
    "one tag": ({"tagging": TAGGED}, lambda b: b["k"].tags.remove("b")),
    **{f"{name} deleted": ({part: text}, act) for name, (part, text, act) in DELETIONS.items()},
}  # fmt: skip


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("name", CASES)
def test_a_fault_at_any_request_leaves_the_state_before_or_the_state_asked_for(
    faulty: Faulty, name: str, kind: str
) -> None:
    """An interrupt reaches the caller; after a success the state is the one asked for."""
    documents, act = CASES[name]
    encoded = {about: text.encode() for about, text in documents.items()}
    faulty.reset(encoded)
    before = faulty.snapshot()
    act(faulty.bucket)
    wanted = faulty.snapshot()
    for number in range(1, MOST_REQUESTS):
        faulty.reset(encoded)
        raised: BaseException | None = None
        with faulty.fault(kind, number) as was_reached:
            try:
                act(faulty.bucket)
            except (s3.S3Error, KeyboardInterrupt) as error:
                raised = error
        if not was_reached():
            break
        found = faulty.snapshot()
        assert found in (before, wanted), number
        assert raised is not None or found == wanted, number
        assert isinstance(raised, KeyboardInterrupt) or not kind.startswith("interrupt"), number
    else:
        pytest.fail("too many requests")


def assert_never_stored(faulty: Faulty, name: str, kind: str, is_wrong: Callable[[dict[str, bytes]], bool]) -> None:
    """Make a write that the store changes, with a fault at each request in turn: it fails, and what is wrong is never in effect."""
    documents, act = CASES[name]
    encoded = {about: text.encode() for about, text in documents.items()}
    faulty.reset(encoded)
    before = faulty.snapshot()
    for number in range(1, MOST_REQUESTS):
        faulty.reset(encoded)
        with faulty.fault(kind, number) as was_reached, pytest.raises((s3.S3Error, KeyboardInterrupt)):
            act(faulty.bucket)
        assert not any(map(is_wrong, faulty.history)), number
        if kind == "none" or not was_reached():
            break
        assert faulty.snapshot() == before, number
    else:
        pytest.fail("too many requests")
    assert faulty.snapshot() == before


# -- a store that drops filters by size, as radosgw does --------------------------------------------------------------------------------


def without_sizes(document: bytes) -> bytes:
    return re.sub(rb"<ObjectSize\w+>\d+</ObjectSize\w+>", b"", document)


def is_harmful(documents: dict[str, bytes]) -> bool:
    """Return whether our rule is enabled."""
    found = documents.get("lifecycle", b"")
    return any(b"<ID>ours</ID>" in rule and b"Enabled" in rule for rule in found.split(b"<Rule>"))


@pytest.mark.parametrize("kind", ["none", *FAULTS])
@pytest.mark.parametrize("name", ["lifecycle", "lifecycle of others"])
def test_a_rule_that_loses_its_filter_is_never_enabled(faulty: Faulty, name: str, kind: str) -> None:
    """It would delete what the filter excludes, from the write until it is undone. A fault changes nothing about that."""
    faulty.keeper.stored = without_sizes
    assert_never_stored(faulty, name, kind, is_harmful)


def without_conditions(document: bytes) -> bytes:
    policy = json.loads(document)
    for statement in policy["Statement"]:
        statement.pop("Condition", None)
    return json.dumps(policy).encode()


def permits_more(documents: dict[str, bytes]) -> bool:
    """Return whether our statement applies without its condition to an object that may exist."""
    statements = json.loads(documents.get("policy", b'{"Statement": []}'))["Statement"]
    ours = [one for one in statements if "GetObject" in str(one["Action"]) and one["Principal"] == "*"]
    return any("Condition" not in one and not str(one["Resource"]).endswith("/never-written") for one in ours)


@pytest.mark.parametrize("kind", ["none", *FAULTS])
@pytest.mark.parametrize("name", ["limited policy", "limited policy of others"])
def test_a_statement_that_loses_its_condition_never_permits_more(faulty: Faulty, name: str, kind: str) -> None:
    """It would open the bucket to everybody, from the write until it is undone. A fault changes nothing about that."""
    faulty.keeper.stored = without_conditions
    assert_never_stored(faulty, name, kind, permits_more)


# What other stores may make of each write.
CHANGED: dict[str, Callable[[bytes], bytes]] = {
    "policy of others": lambda document: document.replace(b"s3:*", b"s3:Get*"),
    "tags of others": lambda document: document.replace(b"<Value>1", b"<Value>one"),
    "object tags": lambda document: document.replace(b"<Value>1", b"<Value>one"),
    "cors of others": lambda document: document.replace(b"https://b.example", b"*"),
    "encryption": lambda document: document.replace(b"AES256", b"aws:kms"),
    "notifications of others": lambda document: document.replace(b"arn:aws:sns:r:1:t", b"arn:aws:sns:r:1:all"),
    "access block": lambda document: document.replace(b"<BlockPublicAcls>true", b"<BlockPublicAcls>false"),
    "allow public access": lambda document: document.replace(b'"s3:ListBucket"', b'"s3:*"'),
    "block public access": lambda document: document.replace(b"<RestrictPublicBuckets>true", b"<RestrictPublicBuckets>false"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["none", *FAULTS])
@pytest.mark.parametrize("name", CHANGED)
def test_a_fault_at_any_request_leaves_nothing_that_was_not_asked_for(faulty: Faulty, name: str, kind: str) -> None:
    """The store stores something else than what it is sent. The former configuration, which it keeps, is restored."""
    documents, act = CASES[name]
    encoded = {about: text.encode() for about, text in documents.items()}
    faulty.keeper.stored = lambda document: CHANGED[name](document)
    faulty.reset(encoded)
    before = faulty.snapshot()
    allowed = [before]
    if name == "block public access":
        allowed.append({key: lines for key, lines in before.items() if key != "policy"})  # never made public again
    for number in range(1, MOST_REQUESTS):
        faulty.reset(encoded)
        with faulty.fault(kind, number) as was_reached, pytest.raises((s3.S3Error, KeyboardInterrupt)):
            act(faulty.bucket)
        assert faulty.snapshot() in allowed, number
        if kind == "none" or not was_reached():
            break
    else:
        pytest.fail("too many requests")


def test_limits_of_a_confirmed_kind_are_written_once(faulty: Faulty) -> None:
    """The first statement with a kind of condition costs a write and a read more; a denial or a plain permission never does."""
    policy, writes = faulty.bucket.policy, faulty.keeper.writes
    policy.ensure(LIMITED)
    assert [(b"never-written" in body, b"bkt/*" in body) for _, _, body in writes] == [(True, False), (False, True)]
    policy.ensure({**LIMITED, "Sid": "another", "Condition": {"IpAddress": {"aws:SourceIp": ["198.51.100.0/24"]}}})
    assert len(writes) == 3
    policy.ensure(
        {**LIMITED, "Sid": "denial", "Effect": "Deny", "Condition": {"Bool": {"aws:SecureTransport": "false"}}}
    )
    policy.ensure({name: value for name, value in LIMITED.items() if name != "Condition"} | {"Sid": "plain"})
    assert len(writes) == 5
    policy.ensure({**LIMITED, "Sid": "third", "Condition": {"IpAddress": {"aws:VpcSourceIp": "10.0.0.0/8"}}})
    assert len(writes) == 7
    assert len(policy.get().statements) == 5


def test_a_store_that_refuses_the_trial_of_a_statement_gets_the_statement(faulty: Faulty) -> None:
    """MinIO refuses a statement for a key with an action on the bucket. What is stored then is still read back."""
    listing = {**LIMITED, "Action": ["s3:ListBucket"], "Resource": ["arn:aws:s3:::bkt"]}
    usual = faulty.keeper._answer

    def answer(asked: Asked) -> Answer:
        return refusal(400, "MalformedPolicy") if b"never-written" in asked.body else usual(asked)

    faulty.keeper.server.answer = answer
    faulty.bucket.policy.ensure(listing)
    assert faulty.bucket.policy.get().get("limited") == listing


def test_a_statement_that_a_killed_process_left_behind_is_removed_with_the_next_write(faulty: Faulty) -> None:
    """The process was killed between the trial and the policy."""
    with pytest.raises(KeyboardInterrupt), faulty.fault("interrupt before", 4):
        faulty.keeper.answers = lambda method, query: b"" if method != "GET" and faulty.keeper.writes[1:] else None
        faulty.bucket.policy.ensure(LIMITED)
    assert b"never-written" in faulty.keeper.documents["policy"]
    faulty.keeper.answers = lambda method, query: None
    faulty.bucket.policy.ensure(STATEMENT)
    assert [one.get("Sid") for one in map(json.loads, faulty.bucket.policy.get().statements)] == ["y"]


def test_a_policy_that_is_written_otherwise_and_means_the_same_is_kept(faulty: Faulty) -> None:
    """MinIO returns lists of one, {"AWS": ["*"]} for everybody, and an empty Sid."""

    def stored(document: bytes) -> bytes:
        if not document.startswith(b"{"):
            return document
        policy = json.loads(document)
        for statement in policy["Statement"]:
            statement["Action"] = (
                [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"][::-1]
            )
            statement["Principal"] = {"AWS": ["*"]}
            statement.setdefault("Sid", "")
        return json.dumps(policy).encode()

    faulty.keeper.stored = stored
    faulty.bucket.public_access.allow()
    faulty.bucket.policy.ensure({"Sid": "y", "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "*"})
    assert faulty.bucket.public_access.status().is_public
    faulty.bucket.public_access.block()
    assert len(faulty.bucket.policy.get().statements) == 1


def test_rules_of_a_confirmed_kind_are_written_once(faulty: Faulty) -> None:
    """The first write of a kind on a connection costs a write and a read more. The ID does not count, an odd prefix does."""
    lifecycle, writes = faulty.bucket.lifecycle, faulty.keeper.writes
    lifecycle.expire(days=3, prefix="tmp/")
    assert [(b"Disabled" in body, b"Enabled" in body) for _, _, body in writes] == [(True, False), (False, True)]
    lifecycle.expire(days=4, prefix="logs/")
    assert len(writes) == 3
    lifecycle.put(LifecycleConfiguration((s3.LifecycleRule("off", max_size=7, enabled=False, expire_days=1),)))
    assert len(writes) == 4, "a disabled rule needs no confirmation"
    lifecycle.expire(days=4, prefix="ü/")
    assert len(writes) == 6


def test_kinds_of_rules_differ_in_elements_and_odd_values() -> None:
    """A store that keeps one prefix and one size may still mangle other ones."""
    kinds = [
        _kind_of(s3.LifecycleRule("a", **what))  # type: ignore[arg-type]
        for what in (
            {"expire_days": 1}, {"prefix": "a"}, {"prefix": "a b"}, {"prefix": "a", "expire_days": 1}, {"min_size": 1},
            {"max_size": 1}, {"min_size": 1 << 40}, {"tags": (("a", "b"),)}, {"tags": (("a", "b"), ("c", "d"))},
            {"transitions": ((1, "GLACIER"),)}, {"transitions": ((1, "STANDARD_IA"),)},
        )
    ]  # fmt: skip
    assert len(set(kinds)) == len(kinds)
    assert _kind_of(s3.LifecycleRule("b", prefix="c/d", expire_days=30)) == kinds[3]


def test_what_probe_found_saves_the_first_write(scripted_server: ScriptedServer) -> None:
    """Only for the kinds of rules that it tests."""
    keeper = DocumentStore(scripted_server)
    known = s3.Capabilities(lifecycle=True, lifecycle_filters=True)
    bucket = s3.S3Store(scripted_server.connect().config.replace(capabilities=known)).bucket("bkt")
    bucket.lifecycle.put(LifecycleConfiguration((RULE, s3.LifecycleRule("b", prefix="b/", expire_days=1))))
    assert len(keeper.writes) == 1
    bucket.lifecycle.put(LifecycleConfiguration((s3.LifecycleRule("c", max_size=3, expire_days=1),)))
    assert len(keeper.writes) == 3


# -- what the message says --------------------------------------------------------------------------------------------------------------


def test_an_error_says_what_is_in_effect_if_the_former_configuration_cannot_be_restored(faulty: Faulty) -> None:
    """The store refuses the former tags, which it had kept."""
    faulty.reset({"tagging": TAGGED.encode()})
    faulty.keeper.stored = lambda document: document.replace(b"<Value>1", b"<Value>one")
    answers = iter([None, refusal(403, "AccessDenied"), refusal(403, "AccessDenied"), refusal(403, "AccessDenied")])
    faulty.keeper.answers = lambda method, query: next(answers) if method == "PUT" else None
    with pytest.raises(s3.S3Unsupported, match=r"could not be restored: .*AccessDenied.* In effect now: a=one$"):
        faulty.bucket.tags.put({"a": "1"})


def test_an_error_says_what_was_sent_last_if_nothing_can_be_read(faulty: Faulty) -> None:
    """The store is gone after the write."""
    is_gone = False

    def answer(method: str, query: str) -> Answer:
        nonlocal is_gone
        was_gone, is_gone = is_gone, is_gone or method == "PUT"
        return b"" if was_gone else None

    faulty.keeper.answers = answer
    with pytest.raises(
        s3.S3ConnectionError, match=r"could not be restored.*In effect now: unknown; sent last: ours \(disabled\)"
    ):
        faulty.bucket.lifecycle.ensure(RULE)


def test_the_former_configuration_is_restored_where_nothing_can_be_read_back(faulty: Faulty) -> None:
    """Reads fail from the first write on, writes do not."""
    faulty.reset({"lifecycle": THEIRS.encode()})
    before = faulty.snapshot()
    faulty.keeper.answers = lambda method, query: (
        refusal(500, "InternalError") if method == "GET" and faulty.keeper.writes else None
    )
    with pytest.raises(s3.S3ServerError, match="was sent again, but could not be read back"):
        faulty.bucket.lifecycle.ensure(RULE)
    assert faulty.snapshot() == before


SIZED = "<ObjectSizeGreaterThan>10</ObjectSizeGreaterThan>"


def _without_disabled_rules(document: bytes) -> bytes:
    rules = re.split(rb"(<Rule>.*?</Rule>)", document)
    return b"".join(part for part in rules if b"<Status>Disabled<" not in part)


def test_existing_rules_are_restored_on_a_store_that_leaves_out_disabled_rules(faulty: Faulty) -> None:
    """The former rules are enabled, so they are sent again, although their disabled form could not be confirmed."""
    faulty.reset({"lifecycle": THEIRS.encode()})
    before = faulty.snapshot()
    faulty.keeper.stored = _without_disabled_rules
    with pytest.raises(s3.S3Unsupported, match="the former lifecycle configuration was restored"):
        faulty.bucket.lifecycle.expire(days=7, prefix="tmp/")
    assert faulty.snapshot() == before


def test_former_rules_that_lose_a_filter_are_deleted_on_a_store_that_leaves_out_disabled_rules(faulty: Faulty) -> None:
    """A rule without its filter would expire more objects than the former one."""
    faulty.reset({"lifecycle": THEIRS.replace("<Prefix>a</Prefix>", SIZED).encode()})
    faulty.keeper.stored = lambda document: without_sizes(_without_disabled_rules(document))
    with pytest.raises(s3.S3Unsupported, match="could not be restored"):
        faulty.bucket.lifecycle.expire(days=7, prefix="tmp/")
    assert faulty.snapshot() == {}


def test_an_outdated_read_after_an_accepted_write_does_not_count_as_the_former_configuration(faulty: Faulty) -> None:
    """The first two reads after the first write return the former tags; the store has the new ones."""
    faulty.reset({"tagging": TAGGED.encode()})
    before = faulty.snapshot()
    outdated = iter([(200, {"Content-Type": "application/xml"}, TAGGED.encode())] * 2)
    faulty.keeper.answers = lambda method, query: (
        next(outdated, None) if method == "GET" and faulty.keeper.writes else None
    )
    with pytest.raises(s3.S3Unsupported, match="the former tagging configuration was restored"):
        faulty.bucket.tags.put({"a": "1"})
    assert next(outdated, None) is None
    assert faulty.snapshot() == before


def test_nothing_is_deleted_if_the_store_suddenly_answers_with_another_document(faulty: Faulty) -> None:
    """A gateway that ignores the query string would delete the bucket."""
    listing = (200, {"Content-Type": "application/xml"}, b"<ListBucketResult/>")
    faulty.keeper.answers = lambda method, query: listing if method == "GET" and faulty.keeper.writes else None
    with pytest.raises(s3.S3Unsupported, match=r"could not be restored"):
        faulty.bucket.cors.put(CorsConfiguration((s3.CorsRule("y", origins=("*",)),)))
    assert [method for method, _, _ in faulty.keeper.writes] == ["PUT"]


def test_a_block_that_is_refused_leaves_the_bucket_private(faulty: Faulty) -> None:
    """Putting the public statement back would be worse than half a success; the error says it."""
    documents, act = CASES["block public access"]
    faulty.reset({about: text.encode() for about, text in documents.items()})
    faulty.keeper.refusals["publicAccessBlock"] = 5
    with pytest.raises(s3.S3AccessDenied, match="public was removed from its policy"):
        act(faulty.bucket)
    assert "policy" not in faulty.snapshot()


def test_on_aws_a_lost_answer_to_the_policy_restores_policy_and_block(scripted_server: ScriptedServer) -> None:
    """AWS may return an old configuration: nothing is read back, the former ones are sent."""
    keeper = DocumentStore(scripted_server)
    bucket = keeper.bucket(preset="aws")
    keeper.documents = {"publicAccessBlock": BLOCK.encode(), "policy": ALLOW.encode()}
    lost = iter([True])

    def answer(asked: Asked) -> Answer:
        usual = keeper._answer(asked)
        return b"" if asked.method == "PUT" and "policy" in asked.query and next(lost, False) else usual

    scripted_server.answer = answer
    with pytest.raises(
        s3.S3ConnectionError, match=r"policy configuration was sent again; .*Block configuration was sent again"
    ):
        bucket.public_access.allow()
    assert bucket.policy.get().get("x") is not None
    assert len(bucket.policy.get().statements) == 1
    assert b"<BlockPublicPolicy>true<" in keeper.documents["publicAccessBlock"]


def test_a_failed_write_of_versioning_clears_the_cached_state(faulty: Faulty) -> None:
    """The write may have been applied: a condition that is honoured without versions may be ignored with them."""
    faulty.reset({"versioning": b"<VersioningConfiguration/>"})
    facts = faulty.bucket._connection.facts
    facts["versioned:bkt"] = (False, float("inf"))
    with faulty.fault("cut after", 2), pytest.raises(s3.S3ConnectionError):
        faulty.bucket.versioning.put(VersioningConfiguration("Enabled"))
    assert facts["versioned:bkt"] is None


# -- deletions ------------------------------------------------------------------------------------------------------------------------


def ignoring_deletions(method: str, query: str) -> Answer:
    """The script of a store that answers a deletion with a success and does nothing."""
    return (204, {}, b"") if method == "DELETE" else None


@pytest.mark.parametrize("name", [name for name in DELETIONS if name != "notifications"])
def test_a_deletion_that_the_store_ignores_raises_unsupported(faulty: Faulty, name: str) -> None:
    """The store answers 204 and keeps the configuration. Notifications are not deleted, but written without targets."""
    part, text, act = DELETIONS[name]
    faulty.reset({part: text.encode()})
    before = faulty.snapshot()
    faulty.keeper.answers = ignoring_deletions
    with pytest.raises(s3.S3Unsupported, match="with a success, and still has one; in effect now: "):
        act(faulty.bucket)
    assert faulty.snapshot() == before


def test_notifications_that_the_store_keeps_raise_unsupported(faulty: Faulty) -> None:
    """The write without targets is read back."""
    faulty.reset({"notification": TARGETS.encode()})
    faulty.keeper.stored = lambda document: TARGETS.encode()
    with pytest.raises(s3.S3Unsupported, match="stored another notification configuration"):
        faulty.bucket.notifications.delete()


@pytest.mark.parametrize("name", [name for name in DELETIONS if name not in ("notifications", "public access")])
def test_a_deletion_costs_two_reads_more_except_on_aws(scripted_server: ScriptedServer, name: str) -> None:
    """One to learn whether the store supports the setting, one to confirm. AWS may return an old configuration for minutes."""
    part, text, act = DELETIONS[name]
    for preset in ("other", "aws"):
        keeper = DocumentStore(scripted_server)
        keeper.documents = {part: text.encode()}
        act(keeper.bucket(preset=preset))
        read_to_merge = 1 if name == "last statement" else 0
        assert len(keeper.reads) == read_to_merge + (0 if preset == "aws" else 2)
        assert [method for method, _, _ in keeper.writes] == ["DELETE"]
        assert part not in keeper.documents


def test_a_deletion_of_what_is_not_there_sends_only_a_read(faulty: Faulty) -> None:
    """Idempotent, and nothing is confirmed that was not sent."""
    faulty.bucket.cors.delete()
    assert (faulty.keeper.reads, faulty.keeper.writes) == (["cors"], [])


def test_a_deletion_that_leaves_a_part_is_undone(faulty: Faulty) -> None:
    """What is left is neither the former configuration nor none."""
    two = THEIRS.replace(
        "</LifecycleConfiguration>", THEIRS.partition("<LifecycleConfiguration>")[2].replace("<ID>x", "<ID>z")
    )
    faulty.reset({"lifecycle": two.encode()})
    before = faulty.snapshot()

    def answer(method: str, query: str) -> Answer:
        if method == "DELETE":
            faulty.keeper.documents["lifecycle"] = THEIRS.encode()
            return 204, {}, b""
        return None

    faulty.keeper.answers = answer
    with pytest.raises(s3.S3Unsupported, match="and still has one; the former lifecycle configuration was restored"):
        faulty.bucket.lifecycle.delete()
    assert faulty.snapshot() == before


def test_a_configuration_that_cannot_be_read_is_deleted(faulty: Faulty) -> None:
    """And a store that keeps it raises."""
    broken = b'{"Statement": 5}'
    faulty.reset({"policy": broken})
    faulty.bucket.policy.delete()
    assert faulty.keeper.documents == {}
    faulty.reset({"policy": broken})
    faulty.keeper.answers = ignoring_deletions
    with pytest.raises(s3.S3Unsupported, match="still has one; it cannot be read"):
        faulty.bucket.policy.delete()


def test_encryption_may_return_to_the_default_of_the_store(faulty: Faulty) -> None:
    """As on AWS, where every bucket has AES256 at least. AES256 that was there before may have been kept."""
    default = KMS.replace("aws:kms", "AES256").encode()

    def answer(method: str, query: str) -> Answer:
        if method == "DELETE":
            faulty.keeper.documents["encryption"] = default
            return 204, {}, b""
        return None

    faulty.reset({"encryption": KMS.encode()})
    faulty.keeper.answers = answer
    faulty.bucket.encryption.delete()
    with pytest.raises(s3.S3Unsupported, match="in effect now: algorithm: AES256"):
        faulty.bucket.encryption.delete()


@pytest.mark.parametrize(
    ("after", "error", "said"),
    [
        (
            refusal(404, "NoSuchBucket"),
            s3.S3NoSuchBucket,
            "the store had accepted the deletion of the cors configuration",
        ),
        (refusal(403, "AccessDenied"), s3.S3AccessDenied, "which could not be read back"),
        ((200, {}, b"<ListBucketResult/>"), s3.S3Unsupported, "which it accepted, the store sent another document"),
    ],
)
def test_the_error_of_a_failed_read_after_a_deletion_says_so(
    faulty: Faulty, after: Answer, error: type[s3.S3Error], said: str
) -> None:
    """For example where the store took the deletion of the setting for one of the bucket."""
    faulty.reset({"cors": PAGES.encode()})
    faulty.keeper.answers = lambda method, query: after if method == "GET" and faulty.keeper.writes else None
    with pytest.raises(error, match=said):
        faulty.bucket.cors.delete()
