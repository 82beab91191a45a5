"""Conditional writes: the reported outcome is the actual one, whichever responses are lost."""

from __future__ import annotations

import asyncio
import io
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timezone
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest
from support.memory_connection import (
    Happening,
    Memory,
    cut,
    done_and_lost,
    done_then,
    in_memory,
    lost,
    meanwhile,
    refused,
)
from support.proxy import Fault, run_proxy, scripted
from support.scripted_server import Answer as Scripted
from support.scripted_server import Asked, refusal
from support.seeded_runs import WRITES, Run, connected, outcome, run_faulty_server, run_seeds, upload_in_parts
from support.servers import Server
from support.stateful_server import FAULTS, StatefulStore, run_stateful_server

import messageflux_s3 as s3
from messageflux_s3 import S3Bucket
from messageflux_s3._client.addresses import BucketAddress
from messageflux_s3._client.capabilities import KINDS
from messageflux_s3._client.exchange import Answer, Request
from messageflux_s3._formats.metadata import IDEMPOTENCY_TOKEN
from messageflux_s3._objects import condition_probe, conditional, drivers, versioned
from messageflux_s3._objects.drivers import Sleep, Steps

SEEDS = 12
"""Runs of each kind here; ``tests/attacks/test_conditional_runs.py`` makes thousands."""


# -- what is decided, answer by answer ----------------------------------------------------------------------------------------------


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Memory:
    """A store in memory; the test sets the outcome of each request, and nothing waits."""
    return in_memory(monkeypatch)


def told(action: Any) -> str:
    """Return the reported outcome in a word."""
    try:
        action()
    except s3.S3ObjectExists as error:
        return "exists" if not error.outcome_unknown else "unknown"
    except s3.S3PreconditionFailed as error:
        return (
            "unknown" if error.outcome_unknown else ("met" if "every attempt conflicted" in str(error) else "changed")
        )
    except s3.S3Error as error:
        return f"{type(error).__name__} {error.code}"
    return "done"


def put_ours(memory: Memory, **condition: Any) -> Any:
    extra = {name: condition.pop(name) for name in ("metadata", "content_type") if name in condition}
    wanted = conditional.precondition(**(condition or {"if_absent": True}))
    return conditional.put(memory.address, b"ours", wanted, **extra)


P, H = "PutObject", "HeadObject"


@pytest.mark.parametrize(
    ("puts", "heads", "said", "calls"),
    [
        ([], [], "done", [P]),
        ([lost()], [], "done", [P, H, P]),
        ([done_and_lost], [], "done", [P, H]),
        ([cut], [], "done", [P, H]),
        ([done_then(500)], [], "done", [P, H]),
        ([refused(500)], [], "done", [P, H, P]),
        ([refused(503)], [], "done", [P, H, P]),
        ([lost(s3.S3Error("not understood"))], [], "done", [P, H, P]),
        ([lost(), lost()], [], "done", [P, H, P, H, P]),
        ([lost(), lost(), lost()], [], "unknown", [P, H] * 3),
        ([lost()], [lost()], "unknown", [P, H]),
        ([done_then(412, retried=1)], [], "done", [P, H]),
        ([refused(412, retried=1)], [], "unknown", [P, H]),
        ([done_then(412, retried=1)], [lost()], "unknown", [P, H]),
        ([refused(412)], [], "exists", [P]),
        ([lost(s3.S3PreconditionFailed("an error inside a 200", status=200))], [], "exists", [P]),
        ([lost(), refused(412)], [], "unknown", [P, H, P, H]),
        ([refused(409)], [], "done", [P, P]),
        ([refused(409)] * 3, [], "met", [P, P, P]),
        ([refused(409, retried=1)] * 3, [], "unknown", [P, P, P]),
        ([refused(409, retried=1), refused(409), refused(409)], [], "unknown", [P, P, P]),
        ([refused(409), refused(412)], [], "exists", [P, P]),
        ([refused(409, retried=1), refused(412)], [], "unknown", [P, P, H]),
        ([lost(), refused(409), done_then(412)], [], "done", [P, H, P, P, H]),
        ([refused(403)], [], "S3AccessDenied AccessDenied", [P]),
        ([refused(403, retried=1)], [], "unknown", [P, H]),
        ([lost(), refused(403)], [], "unknown", [P, H, P, H]),
        ([refused(409), refused(403)], [], "S3AccessDenied AccessDenied", [P, P]),
        ([refused(400)], [], "S3Error BadRequest", [P]),
        ([lost(s3.S3ChecksumError("other bytes"))], [], "S3ChecksumError None", [P]),
        ([lost(), lost(s3.S3ChecksumError("other bytes"))], [], "S3ChecksumError None", [P, H, P]),
        ([lost(), lost(s3.S3ChecksumError("refused", status=400))], [], "unknown", [P, H, P, H]),
        ([refused(404)], [], "S3NoSuchItem NoSuchKey", [P]),
        ([refused(404, retried=1)], [], "unknown", [P, H]),
        ([done_then(404, retried=1)], [], "done", [P, H]),
        ([lost(), refused(404)], [], "unknown", [P, H, P, H]),
    ],
)
def test_each_answer_to_a_conditional_create_has_its_outcome(
    memory: Memory, puts: list[Happening], heads: list[Happening], said: str, calls: list[str]
) -> None:
    """Without another client: what is told, and which requests it took."""
    memory.happens = {P: deque(puts), H: deque(heads)}
    assert (told(lambda: put_ours(memory)), memory.calls) == (said, calls)
    assert all(sent["IfNoneMatch"] == "*" and "IfMatch" not in sent for sent in memory.sent if "Body" in sent)
    assert len({sent["Metadata"][IDEMPOTENCY_TOKEN] for sent in memory.sent if "Body" in sent}) == 1


@pytest.mark.parametrize(
    ("puts", "heads", "said", "calls"),
    [
        ([], [], "done", [P]),
        ([lost()], [], "done", [P, H, P]),
        ([done_and_lost], [], "done", [P, H]),
        ([lost(), lost(), lost()], [], "unknown", [P, H] * 3),
        ([done_then(412, retried=1)], [], "done", [P, H]),
        ([refused(412, retried=1)], [], "unknown", [P, H]),
        ([refused(412)], [], "changed", [P]),
        ([refused(404)], [], "changed", [P]),
        ([refused(404, retried=1)], [], "unknown", [P, H]),
        ([refused(404, code="NoSuchUpload")], [], "S3NoSuchItem NoSuchUpload", [P]),
        ([refused(404, code="NoSuchVersion")], [], "changed", [P]),
        ([lost(), refused(403)], [], "unknown", [P, H, P, H]),
        ([refused(409)] * 3, [], "met", [P, P, P]),
    ],
)
def test_each_answer_to_a_conditional_replace_has_its_outcome(
    memory: Memory, puts: list[Happening], heads: list[Happening], said: str, calls: list[str]
) -> None:
    """The same with an etag; the object is ours only if that was reported, or if the outcome is unknown."""
    etag = memory.store("k", b"before", age=3600)
    memory.happens = {P: deque(puts), H: deque(heads)}
    assert (told(lambda: put_ours(memory, if_match=f'"{etag}"')), memory.calls) == (said, calls)
    assert all(sent["IfMatch"] == f'"{etag}"' and "IfNoneMatch" not in sent for sent in memory.sent if "Body" in sent)
    if said != "unknown":
        assert memory.objects["k"].body == (b"ours" if said == "done" else b"before")


@pytest.mark.parametrize("condition", ["if_absent", "if_match"])
@pytest.mark.parametrize(
    "put", [lost(), done_and_lost, refused(412, retried=1)], ids=["lost", "done and lost", "retried"]
)
@pytest.mark.parametrize(
    ("age", "etag", "date", "said"),
    [
        (3600, "", "", "conflict"),
        (3600, "0" * 32, "", "conflict"),
        (3600, "f" * 32, "", "conflict"),
        (3, "", "", "conflict"),
        (2.5, "", "", "conflict"),
        (2, "", "", "unknown"),
        (0, "", "", "unknown"),
        (-3600, "", "", "unknown"),
        (3600, "f" * 32 + "-2", "", "unknown"),
        (3600, "", None, "unknown"),
        (3600, "", "no date at all", "unknown"),
    ],
)
def test_after_a_lost_response_an_older_object_is_a_conflict_and_a_newer_one_unknown(
    memory: Memory, condition: str, put: Happening, age: float, etag: str, date: str | None, said: str
) -> None:
    """Another client's object is a conflict if it was written before our first attempt, by the store's clock; else unknown."""
    before = memory.store("k", b"before", age=7200) if condition == "if_match" else None
    memory.date = date
    memory.happens = {P: deque([put]), H: deque([meanwhile(lambda: memory.store("k", b"theirs", age=age, etag=etag))])}
    wanted = {"conflict": "exists" if before is None else "changed", "unknown": "unknown"}[said]
    assert told(lambda: put_ours(memory, if_absent=before is None, if_match=before)) == wanted
    assert memory.calls == [P, H]


def test_an_object_written_during_the_back_off_is_newer_than_the_first_attempt(memory: Memory) -> None:
    """The HEAD comes ten seconds after the first attempt: an object five seconds old was written after that attempt."""
    memory.happens = {P: deque([meanwhile(lambda: memory.wait(10), done_and_lost)])}
    memory.happens[H] = deque([meanwhile(lambda: memory.store("k", b"theirs", age=11.5))])
    assert told(lambda: put_ours(memory)) == "unknown"
    memory.objects.clear()
    memory.happens = {P: deque([meanwhile(lambda: memory.wait(10), done_and_lost)])}
    memory.happens[H] = deque([meanwhile(lambda: memory.store("k", b"theirs", age=12.5))])
    assert told(lambda: put_ours(memory)) == "exists"


@pytest.mark.parametrize("last_modified", [None, 0])
def test_after_a_lost_response_an_object_without_a_date_leaves_the_outcome_unknown(
    memory: Memory, last_modified: object
) -> None:
    """An object without an etag does not either."""
    headers = {"LastModified": None} if last_modified is None else {"ETag": None}
    memory.happens = {P: deque([lost()])}
    memory.happens[H] = deque([meanwhile(lambda: memory.store("k", b"theirs", age=3600, headers=headers))])
    assert told(lambda: put_ours(memory)) == "unknown"


def test_after_a_lost_response_to_if_match_a_missing_object_leaves_the_outcome_unknown(memory: Memory) -> None:
    """After a lost response it may have been deleted after our write: unknown."""
    etag = memory.store("k", b"before")
    memory.happens = {P: deque([meanwhile(lambda: memory.objects.clear(), lost())])}
    assert (told(lambda: put_ours(memory, if_match=etag)), memory.calls) == ("unknown", [P, H])


def test_a_successor_of_the_object_to_be_replaced_is_a_conflict(memory: Memory) -> None:
    """Its idempotency tokens go back to the object that we replace and do not include ours: our write was never applied."""
    for line, said in (
        ("theirs base older", "changed"),
        ("theirs older", "unknown"),
        (None, "unknown"),
        ("theirs based", "unknown"),
    ):
        etag = memory.store("k", b"before")
        theirs = {} if line is None else {IDEMPOTENCY_TOKEN: line}
        memory.happens = {
            P: deque([meanwhile(lambda theirs=theirs: memory.store("k", b"theirs", metadata=theirs), lost())])
        }  # type: ignore[misc]
        assert told(lambda etag=etag: put_ours(memory, if_match=etag, carried="base older")) == said  # type: ignore[misc]
    memory.store("k", b"theirs", metadata={IDEMPOTENCY_TOKEN: "theirs "})
    assert told(lambda: put_ours(memory, if_match="f" * 32)) == "changed"


def test_a_precondition_error_carries_the_fields_of_the_refusal(memory: Memory) -> None:
    """Operation, bucket, key, code, status, request ID and cause are those of the refusal."""
    for condition, happens, said in (
        ({"if_absent": True}, [refused(412)], "s3://b/k was not created: it exists already"),
        ({"if_match": "0" * 32}, [refused(412)], f"s3://b/k was not written: its ETag is no longer {'0' * 32}"),
        (
            {"if_absent": True},
            [refused(409)] * 3,
            "s3://b/k was not written: every attempt conflicted with a concurrent write",
        ),
        (
            {"if_absent": True},
            [refused(412, retried=1)],
            "it is unknown whether s3://b/k was written: a response was lost",
        ),
    ):
        memory.happens = {P: deque(happens)}  # type: ignore[arg-type]
        with pytest.raises(s3.S3PreconditionFailed) as caught:
            put_ours(memory, **condition)  # type: ignore[arg-type]
        error = caught.value
        assert str(error).startswith(said)
        assert (error.operation, error.bucket, error.key, error.request_id) == ("Op", "b", "k", "R1")
        assert (error.code, error.status) == (
            getattr(error.__cause__, "code", 0),
            getattr(error.__cause__, "status", 0),
        )


def test_a_truncated_response_is_the_cause_of_an_unknown_outcome(memory: Memory) -> None:
    """With an unknown outcome; it is marked as retryable."""
    memory.happens = {P: deque([cut]), H: deque([lost()])}
    with pytest.raises(s3.S3PreconditionFailed) as caught:
        put_ours(memory)
    assert "PutObject: the headers of the response were cut off" in str(caught.value)
    lost_one: Any = caught.value.__cause__
    assert str(caught.value).endswith("and the object could not be read: lost")
    assert (type(lost_one), lost_one.operation, lost_one.retryable) == (s3.S3ConnectionError, "PutObject", True)


def test_a_reconciled_lost_response_gives_etag_size_version_and_metadata(memory: Memory) -> None:
    """Etag, size, version and metadata are as from the lost response; no version in a bucket without versioning."""
    for version_id in (None, "v7"):
        memory.version_id = version_id
        for happening in (None, done_and_lost):
            memory.objects.clear()
            memory.happens = {P: deque([happening])}
            head = put_ours(memory, if_absent=True, metadata={"who": "me"}, content_type="text/x-new")
            assert (head.size, head.etag, head.version_id, head.metadata) == (
                4,
                memory.objects["k"].etag,
                version_id,
                {"who": "me"},
            )
            assert memory.sent[0]["ContentType"] == "text/x-new"


def test_the_waits_between_attempts_are_short_and_grow(memory: Memory) -> None:
    """No wait before the first attempt; then random waits below 0.1, 0.2, 0.4 seconds …, at most 2."""
    memory.max_attempts = 10
    waits: list[list[float]] = [[] for _ in range(9)]
    for _ in range(200):
        memory.slept.clear()
        memory.happens = {P: deque([refused(409)] * 10)}
        assert told(lambda: put_ours(memory)) == "met"
        for wait, waited in zip(waits, memory.slept, strict=True):
            wait.append(waited)
    for number, wait in enumerate(waits, 1):
        most = min(2.0, 0.05 * 2**number)
        assert 0 <= min(wait) < most / 4
        assert most * 3 / 4 < max(wait) <= most


@pytest.mark.parametrize(
    ("operation", "of_absent", "of_match"),
    [
        ("PutObject", "put_if_absent", "put_if_match"),
        ("CompleteMultipartUpload", "multipart_if_absent", "multipart_if_match"),
        ("CopyObject", "copy_if_absent", "copy_if_match"),
    ],
)
def test_each_conditional_request_requires_its_own_capability(
    memory: Memory, operation: str, of_absent: str, of_match: str
) -> None:
    """A store may honour one condition and ignore another, which is then not sent."""
    memory.is_aws = False
    memory.facts["versioned:b"] = (True, 0.0)
    for ability, condition in (
        (of_absent, None),
        (of_match, "e"),
    ):
        others = {f"{name}_versioned": "ignored" for pair in conditional._ABILITIES.values() for name in pair}
        memory.config.capabilities = SimpleNamespace(**others)
        call = conditional.ConditionalWrite(memory.address, conditional.Precondition(condition, "id"))  # type: ignore[arg-type]
        with pytest.raises(s3.S3Unsupported, match=ability):
            call(operation, Bucket="b", Key="k", Body=b"x")
        assert memory.calls == []
        memory.config.capabilities = SimpleNamespace(**{**others, f"{ability}_versioned": "honoured"})
        memory.store("k", b"", etag="e")
        if ability == of_absent:
            memory.objects.clear()
        assert call(operation, Bucket="b", Key="k", Body=b"x")["ETag"]
        memory.calls.clear()


def test_a_completion_and_a_copy_may_lack_the_etag(memory: Memory) -> None:
    """Some stores omit it there; only for a PUT a missing etag means a truncated response."""
    for operation in ("CompleteMultipartUpload", "CopyObject"):
        memory.objects.clear()
        memory.calls.clear()
        memory.happens = {operation: deque([cut])}
        call = conditional.ConditionalWrite(memory.address, conditional.Precondition(None, "id"))
        assert (call(operation, Bucket="b", Key="k", Body=b"x"), memory.calls) == ({}, [operation])


@pytest.mark.parametrize(
    ("operation", "target", "said"),
    [
        ("CopyObject", "as it was", "S3NoSuchItem NoSuchKey"),
        ("CopyObject", "0" * 32, "changed"),
        ("CopyObject", "f" * 32, "changed"),
        ("CopyObject", "gone", "changed"),
        ("PutObject", "as it was", "changed"),
        ("CompleteMultipartUpload", "as it was", "changed"),
    ],
)
def test_a_404_of_a_copy_may_be_its_sources(memory: Memory, operation: str, target: str, said: str) -> None:
    """If the target satisfies the condition, the source is missing, which is not a conflict."""
    etag = memory.store("k", b"before")
    if target == "gone":
        memory.objects.clear()
    elif target != "as it was":
        memory.store("k", b"changed", etag=target)
    memory.happens = {operation: deque([refused(404)])}
    call = conditional.ConditionalWrite(memory.address, conditional.Precondition(etag, "id"))
    assert told(lambda: call(operation, Bucket="b", Key="k", Body=b"x")) == said


def test_a_conditional_upload_in_parts_sends_the_condition_with_its_completion(memory: Memory) -> None:
    """Only if the object does not exist."""
    upload: Any = SimpleNamespace(complete=lambda call: call("CompleteMultipartUpload", Bucket="b", Key="k"))
    done = [
        told(lambda: conditional.complete(memory.address, upload, conditional.Precondition(None, "id")))
        for _ in range(2)
    ]
    assert (done, [sent["IfNoneMatch"] for sent in memory.sent]) == (["done", "exists"], ["*", "*"])


D = "DeleteObject"


@pytest.mark.parametrize(
    ("deletes", "heads", "said", "calls"),
    [
        ([], [], "done", [D]),
        ([refused(404)], [], "done", [D]),
        ([refused(412)], [], "changed", [D]),
        ([refused(403)], [], "S3AccessDenied AccessDenied", [D]),
        ([refused(403, retried=1)] * 3, [], "unknown", [D, H] * 3),
        ([refused(409)], [], "done", [D, D]),
        ([refused(409)] * 3, [], "met", [D, D, D]),
        ([refused(409, retried=1)] * 3, [], "unknown", [D, D, D]),
        ([refused(409, retried=1), refused(412)], [], "done", [D, D, H, D]),
        ([refused(409), refused(412)], [], "changed", [D, D]),
        ([lost()], [], "done", [D, H, D]),
        ([done_and_lost], [], "done", [D, H]),
        ([done_then(500)], [], "done", [D, H]),
        ([done_then(412, retried=1)], [], "done", [D, H]),
        ([lost(), refused(403)], [], "done", [D, H, D, H, D]),
        ([lost()] * 3, [], "unknown", [D, H] * 3),
        ([lost()], [lost()], "unknown", [D, H]),
        ([lost(), refused(409), refused(409)], [], "unknown", [D, H, D, D]),
    ],
)
def test_each_answer_to_a_conditional_delete_has_its_outcome(
    memory: Memory, deletes: list[Happening], heads: list[Happening], said: str, calls: list[str]
) -> None:
    """Without another client: what is told, and which requests it took."""
    etag = memory.store("k", b"before", age=3600)
    memory.happens = {D: deque(deletes), H: deque(heads)}
    assert told(lambda: conditional.delete(memory.address, if_match=f'"{etag}"')) == said
    assert memory.calls == calls
    assert [sent["IfMatch"] for sent in memory.sent if len(sent) == 3] == [f'"{etag}"'] * calls.count(D)
    if said != "unknown":
        assert ("k" in memory.objects) is (
            said != "done" or deletes == [refused(404)] or (calls == [D] and bool(deletes))
        )


@pytest.mark.parametrize("theirs", ["0" * 32, "f" * 32])
@pytest.mark.parametrize(("age", "said"), [(3600, "changed"), (0, "unknown")])
def test_after_a_lost_response_to_a_delete_another_object_is_a_conflict_or_unknown(
    memory: Memory, age: float, said: str, theirs: str
) -> None:
    """Older than our first attempt: a conflict. The words speak of a deletion."""
    etag = memory.store("k", b"before", age=7200)
    memory.happens = {D: deque([meanwhile(lambda: memory.store("k", b"theirs", age=age, etag=theirs), lost())])}
    with pytest.raises(s3.S3PreconditionFailed) as caught:
        conditional.delete(memory.address, if_match=etag)
    assert (told(lambda: (_ for _ in ()).throw(caught.value)), memory.calls, memory.objects["k"].body) == (
        said,
        [D, H],
        b"theirs",
    )
    assert said != "unknown" or "was deleted: a response was lost" in str(caught.value)


def test_the_waits_between_deletions_are_short_and_grow(memory: Memory) -> None:
    """No wait before the first attempt; then below 0.1 and 0.2 seconds, at most 2."""
    memory.max_attempts = 9
    etag = memory.store("k", b"before")
    longest = [0.0] * 8
    for _ in range(200):
        memory.slept.clear()
        memory.happens = {D: deque([refused(409)] * 9)}
        assert told(lambda: conditional.delete(memory.address, if_match=etag)) == "met"
        assert min(memory.slept) >= 0
        longest = [max(pair) for pair in zip(longest, memory.slept, strict=True)]
    for number, waited in enumerate(longest, 1):
        most = min(2.0, 0.05 * 2**number)
        assert most * 3 / 4 < waited <= most


def test_a_conditional_delete_requires_its_own_capability(memory: Memory) -> None:
    """A store that honours conditions on writes may ignore them on deletions."""
    memory.is_aws = False
    memory.facts["versioned:b"] = (True, 0.0)
    memory.config.capabilities = SimpleNamespace(put_if_match_versioned="honoured", delete_if_match_versioned="ignored")
    with pytest.raises(s3.S3Unsupported, match="delete_if_match"):
        conditional.delete(memory.address, if_match="e")
    assert memory.calls == []


def test_the_servers_clock_is_read_from_its_answer() -> None:
    """Without a readable Date header the time is unknown."""

    def said(headers: Any) -> object:
        return conditional.server_time(Answer({"ResponseMetadata": {"HTTPHeaders": headers}}))

    assert str(said({"date": "Sat, 21 Nov 2026 12:00:00 GMT"})) == "2026-11-21 12:00:00+00:00"
    assert [said({}), said(None), said({"date": ""}), said({"date": "soon"})] == [None] * 4
    assert [conditional.server_time(Answer(answer)) for answer in (None, {})] == [None] * 2


def update(memory: Memory, function: Any, **options: Any) -> tuple[Any, bytes]:
    return drivers.run(memory.connection, conditional.update_steps(memory.address, function, **options))


def append(memory: Memory, **options: Any) -> tuple[Any, bytes]:
    return update(memory, lambda body: (body or b"") + b"+", **options)


G = "GetObject"


def test_an_update_of_a_missing_object_creates_it(memory: Memory) -> None:
    """One GET, one PUT if absent; the next update is one under the etag."""
    head, body = append(memory)
    assert (head.etag, body, memory.calls, memory.sent[1]["IfNoneMatch"]) == (
        memory.objects["k"].etag,
        b"+",
        [G, P],
        "*",
    )
    first = head.etag
    head, body = append(memory)
    assert (head.etag, body, memory.sent[3]["IfMatch"]) == (memory.objects["k"].etag, b"++", f'"{first}"')
    assert "IfNoneMatch" not in memory.sent[3]


def test_an_update_that_changes_nothing_writes_nothing(memory: Memory) -> None:
    """The content found is returned; an empty body is written if the object did not exist."""
    etag = memory.store("k", b"same")
    head, body = update(memory, lambda before: before or b"")
    assert (head.etag, body, memory.calls) == (etag, b"same", [G])
    for other in (b"a", b"z"):
        memory.store("k", b"same")
        assert update(memory, lambda before, other=other: other)[1] == other  # type: ignore[misc]
        assert memory.objects["k"].body == other
    memory.objects.clear()
    assert update(memory, lambda before: b"")[1] == b""
    assert memory.objects["k"].body == b""


def test_an_update_sends_the_idempotency_tokens_of_recent_writes(memory: Memory) -> None:
    """Its own token first, then six earlier ones, so that a writer whose response was lost finds its token."""
    memory.store("k", b"", metadata={IDEMPOTENCY_TOKEN: "f e d c b a 9 8"})
    append(memory)
    own, *carried = memory.objects["k"].metadata[IDEMPOTENCY_TOKEN].split(" ")
    assert (len(own), carried) == (24, ["f", "e", "d", "c", "b", "a"])
    memory.store("k", b"")
    append(memory)
    assert len(memory.objects["k"].metadata[IDEMPOTENCY_TOKEN]) == 24


def test_an_update_keeps_the_attributes_of_the_object(memory: Memory) -> None:
    """Under S3's own names; attributes missing from the response are not sent."""
    kept = {"ContentType": "text/x-new", "CacheControl": "no-store", "StorageClass": "STANDARD_IA"}
    memory.store("k", b"", metadata={"who": "me"}, headers={**kept, "ContentLanguage": "", "Expires": None})
    append(memory)
    sent = memory.sent[1]
    assert {name: sent.get(name) for name in (*kept, "ContentLanguage", "Expires")} == {
        **kept,
        "ContentLanguage": None,
        "Expires": None,
    }
    assert sent["Metadata"]["who"] == "me"


def test_an_update_is_repeated_while_other_clients_write(memory: Memory) -> None:
    """Each attempt reads the current content; it stops at an unknown outcome, and after the maximum number of attempts."""
    memory.store("k", b"before")
    memory.happens = {P: deque([meanwhile(lambda: memory.store("k", b"theirs"))])}
    assert (append(memory)[1], memory.calls) == (b"theirs+", [G, P, G, P])
    memory.calls.clear()
    memory.store("k", b"of somebody without write-ids")
    memory.happens = {P: deque([refused(412, retried=1)])}
    assert (told(lambda: append(memory)), memory.calls) == ("unknown", [G, P, H])
    memory.calls.clear()
    memory.happens = {P: deque([refused(412)] * 3)}
    with pytest.raises(
        s3.S3PreconditionFailed, match="s3://b/k was not updated: each of 3 attempts conflicted"
    ) as caught:
        append(memory, attempts=3)
    assert (memory.calls, caught.value.outcome_unknown, caught.value.bucket, caught.value.key) == (
        [G, P] * 3,
        False,
        "b",
        "k",
    )
    assert isinstance(caught.value.__cause__, s3.S3PreconditionFailed)


@pytest.mark.parametrize("took", [0.0, 0.01, 0.1, 3.0])
def test_the_waits_between_attempts_of_an_update_shrink_with_its_age(memory: Memory, took: float) -> None:
    """No wait before the first attempt; then random waits below 16, 8, 4 … times the duration of an attempt; later longer again.

    At most a second first, and at most 2.5 seconds later. Fifty attempts by default.
    """
    memory.store("k", b"before")
    longest = [0.0] * 49
    for _ in range(100):
        memory.slept.clear()
        memory.happens = {P: deque([meanwhile(lambda: memory.wait(took), refused(412))] * 60)}
        with pytest.raises(s3.S3PreconditionFailed, match="each of 50 attempts"):
            append(memory)
        assert min(memory.slept) >= 0
        longest = [max(pair) for pair in zip(longest, memory.slept, strict=True)]
    for number, waited in enumerate(longest, 1):
        unit = took or 0.005
        most = min(2.5, max(min(1, 16 * unit) / 2 ** (number - 1), unit * (number - 4)))
        assert most * 3 / 4 < waited <= most + 1e-9


def test_an_update_raises_after_a_truncated_or_corrupted_read(memory: Memory) -> None:
    """Without an etag the write would be unconditional; a corrupted body is detected."""
    memory.store("k", b"before")
    for headers, error, said in (
        ({"ETag": None}, s3.S3ConnectionError, "they have no ETag"),
        ({}, s3.S3ChecksumError, "the MD5 of the object is"),
    ):
        memory.objects["k"].headers = headers
        memory.happens[G] = deque([lambda act: {**act(), "Body": io.BytesIO(b"befoze")}])
        with pytest.raises(error, match=said) as caught:
            append(memory)
        assert (caught.value.operation, caught.value.bucket, caught.value.key, caught.value.retryable) == (
            G,
            "b",
            "k",
            True,
        )
    assert P not in memory.calls


@pytest.mark.parametrize(
    ("condition", "error", "said"),
    [
        ({}, ValueError, "requires if_absent or if_match"),
        ({"if_absent": False}, ValueError, "requires if_absent or if_match"),
        ({"if_absent": True, "if_match": "e"}, ValueError, "exclude each other"),
        ({"if_match": ""}, ValueError, "if_match is empty"),
        ({"if_match": '""'}, ValueError, "if_match is empty"),
        ({"if_match": 7}, TypeError, "if_match must be an ETag, not int"),
    ],
)
def test_invalid_conditions_raise(condition: dict[str, Any], error: type[Exception], said: str) -> None:
    """Invalid conditions raise before anything is sent; valid ones do not."""
    with pytest.raises(error, match=said):
        conditional.precondition(**condition)
    assert conditional.precondition(if_absent=True).if_match is None
    assert conditional.precondition(if_match="e").if_match == "e"


# -- without I/O: the steps are given their answers --------------------------------------------------------------------------------

_NOW = "Sat, 21 Nov 2026 12:00:00 GMT"
_OLD = datetime(2026, 11, 21, 11, 0, 0, tzinfo=timezone.utc)
_NEW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=timezone.utc)
WRITTEN = Answer({"ETag": '"new"', "VersionId": "v1"})
LOST = s3.S3ConnectionError("lost", operation=P)
ABSENT = s3.S3NoSuchItem("no such key", operation=H, status=404)


def rejected(status: int, *, retried: bool = False) -> s3.S3PreconditionFailed:
    """Return the error of a condition that does not hold (412), or of concurrent writers (409)."""
    return s3.S3PreconditionFailed("rejected", operation=P, status=status, was_retried=retried)


def found(token: str = "", etag: str = "theirs", modified: datetime = _OLD) -> Answer:
    """Return the response to a HEAD."""
    metadata = {IDEMPOTENCY_TOKEN: token} if token else {}
    headers = {"ResponseMetadata": {"HTTPHeaders": {"date": _NOW}}}
    return Answer({"ETag": f'"{etag}"', "LastModified": modified, "Metadata": metadata, "ContentLength": 1, **headers})


SETTLING: dict[str, tuple[str | None, list[Answer | s3.S3Error], str, list[str]]] = {
    "answered": (None, [WRITTEN], "done", [P]),
    "rejected": (None, [rejected(412)], "exists", [P]),
    "lost, and the object is ours": (None, [LOST, found("ours", "new")], "done", [P, H]),
    "lost, and the object is our predecessor's successor": ("old", [LOST, found("theirs base")], "changed", [P, H]),
    "lost before the store received it": (None, [LOST, ABSENT, WRITTEN], "done", [P, H, P]),
    "lost, and the object is unchanged": ("old", [LOST, found(etag="old"), WRITTEN], "done", [P, H, P]),
    "lost, and the object is older than the attempt": (None, [LOST, found()], "exists", [P, H]),
    "lost, and the object is younger than the attempt": (None, [LOST, found(modified=_NEW)], "unknown", [P, H]),
    "lost, and the object is deleted": ("old", [LOST, ABSENT], "unknown", [P, H]),
    "lost, and the object cannot be read": (None, [LOST, LOST], "unknown", [P, H]),
    "rejected on boto3's retry by our own object": (None, [rejected(412, retried=True), found("ours")], "done", [P, H]),
    "rejected on boto3's retry, and absent": (None, [rejected(412, retried=True), ABSENT], "unknown", [P, H]),
    "concurrent writers each time": (None, [rejected(409)] * 3, "met", [P, P, P]),
}


def conditional_steps(if_match: str | None) -> Steps[Any]:
    """Return the steps of a write to a store that needs no probe."""
    connection: Any = SimpleNamespace(
        is_aws=True,
        kind=KINDS["aws"],
        facts={},
        max_attempts=3,
        config=SimpleNamespace(),
        endpoint_url="https://s3.test",
    )
    condition = conditional.Precondition(if_match, "ours", "base" if if_match else "")
    return conditional.put_steps(BucketAddress(connection, "b").object("k"), b"body", condition, None, {})


@pytest.mark.parametrize(
    ("etag", "is_sent_again"),
    [("old", True), ('W/"old"', True), ("new", False)],
    ids=["unchanged", "marked as weak", "changed"],
)
def test_after_a_rejected_completion_an_unchanged_object_lets_the_upload_be_sent_again(
    etag: str, is_sent_again: bool
) -> None:
    """The HEAD may pass a proxy that marks ETags as weak."""
    connection: Any = SimpleNamespace(
        is_aws=True,
        kind=KINDS["aws"],
        facts={},
        max_attempts=3,
        config=SimpleNamespace(),
        endpoint_url="https://s3.test",
    )
    write = conditional.ConditionalWrite(
        BucketAddress(connection, "b").object("k"), conditional.Precondition("old", "ours", "base")
    )
    steps = write.steps("CompleteMultipartUpload", {"UploadId": "u"}, b"")
    assert isinstance(next(steps), Request)
    assert isinstance(steps.throw(rejected(409)), Request)
    answer = found()
    answer.parsed = {**(answer.parsed or {}), "ETag": etag if etag.startswith("W/") else f'"{etag}"'}
    with pytest.raises(s3.S3PreconditionFailed) as raised:
        steps.send(answer)
    assert raised.value.retryable is is_sent_again


@pytest.mark.parametrize(("if_match", "outcomes", "said", "requests"), SETTLING.values(), ids=SETTLING)
@pytest.mark.parametrize("is_awaited", [False, True], ids=["by hand", "awaited"])
def test_settling_needs_no_io(
    is_awaited: bool, if_match: str | None, outcomes: list[Answer | s3.S3Error], said: str, requests: list[str]
) -> None:
    """The steps alone decide: they are given one outcome for each request, by hand or by the async driver."""
    left = iter(outcomes)
    sent: list[Request] = []
    pauses: list[float] = []

    def answer(request: Request) -> Answer:
        sent.append(request)
        outcome = next(left)
        if isinstance(outcome, s3.S3Error):
            raise outcome
        return outcome

    def by_hand() -> Any:
        steps = conditional_steps(if_match)
        effect = next(steps)
        while True:
            try:
                if isinstance(effect, Sleep):
                    pauses.append(effect.seconds)
                    effect = steps.send(None)
                    continue
                assert isinstance(effect, Request)
                try:
                    outcome = answer(effect)
                except s3.S3Error as error:
                    effect = steps.throw(error)
                else:
                    effect = steps.send(outcome)
            except StopIteration as end:
                return end.value

    async def send(request: Request) -> Answer:
        return answer(request)

    async def perform(effect: object) -> None:
        assert isinstance(effect, Sleep)
        pauses.append(effect.seconds)

    def awaited() -> Any:
        return asyncio.run(drivers.run_awaited(conditional_steps(if_match), send, perform))

    written: list[Any] = []
    assert told(lambda: written.append(awaited() if is_awaited else by_hand())) == said
    assert [request.operation for request in sent] == requests
    assert len(pauses) == requests.count(P) - 1
    assert next(left, None) is None
    if said == "done":
        assert written[0].size == 4
        assert written[0].etag == conditional.etags.unquoted(cast(Answer, outcomes[-1]).etag)


# -- over HTTP, answers lost ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def faulty() -> Iterator[tuple[str, StatefulStore]]:
    """A server that honours conditions and drops responses on command."""
    with run_faulty_server() as served:
        yield served


@pytest.fixture
def faulty_bucket(faulty: tuple[str, StatefulStore]) -> S3Bucket:
    """A bucket on that server."""
    return connected(faulty[0])


@pytest.mark.parametrize("run", WRITES, ids=lambda run: run.__name__)
def test_reported_outcomes_match_what_the_server_applied(faulty: tuple[str, StatefulStore], run: Run) -> None:
    """With responses lost at every step: no conflict with our own write, and no false success."""
    url, state = faulty
    bucket = connected(url)
    bucket.put_object(f"warm/{time.monotonic_ns()}", b"", if_absent=True)
    told = run_seeds(run, bucket, state, range(SEEDS if run is not upload_in_parts else SEEDS // 4))
    assert told["done"] > 0, told


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "late"])
def test_one_writer_alone_always_succeeds(
    faulty: tuple[str, StatefulStore], faulty_bucket: S3Bucket, fault: str
) -> None:
    """Without other writers a lost response never gives a conflict: the object found is the writer's own."""
    key = f"alone/{fault}"
    faulty[1].faults[key] = deque([fault])
    etag = faulty_bucket.put_object(key, b"one", if_absent=True).etag
    faulty[1].faults[key] = deque([fault])
    faulty_bucket.put_object(key, b"two", if_match=etag)
    assert faulty[1].applied[key] == [b"one", b"two"]


def test_a_lost_response_whose_object_was_overwritten_is_unknown(
    faulty: tuple[str, StatefulStore], faulty_bucket: S3Bucket
) -> None:
    """If our response was lost and another client's object exists, the outcome is unknown, and the error says so."""
    state = faulty[1]
    state.after = partial(_overwritten, state, "overwritten")
    with pytest.raises(s3.S3PreconditionFailed) as caught:
        faulty_bucket.put_object("overwritten", b"ours", if_absent=True)
    assert caught.value.outcome_unknown is True


def _overwritten(state: StatefulStore, key: str, asked: Asked) -> bool:
    """Let another client overwrite the object as soon as it is written, and lose the response to that first write."""
    if (asked.method, asked.key) != ("PUT", key):
        return False
    state.after = None
    state.objects[key].headers = {}
    state.objects[key].etag = "f" * 32
    return True


def test_an_object_older_than_a_lost_request_is_a_conflict(
    faulty: tuple[str, StatefulStore], faulty_bucket: S3Bucket
) -> None:
    """If our first attempt was lost and the object is older, it is a definite conflict."""
    state = faulty[1]
    faulty_bucket.put_object("older", b"theirs")
    state.objects["older"].modified -= 60
    state.faults["older"] = deque(["reset_before"])
    with pytest.raises(s3.S3ObjectExists) as caught:
        faulty_bucket.put_object("older", b"ours", if_absent=True)
    assert caught.value.outcome_unknown is False


@pytest.mark.parametrize("offset", [-3600.0, 3600.0])
def test_an_overwritten_object_is_unknown_however_far_the_clocks_differ(offset: float) -> None:
    """Only the store's clock decides whether an object is older; the local clock may be hours off."""
    with run_faulty_server() as (url, state):
        state.clock_offset = offset
        bucket = connected(url)
        bucket.put_object(f"warm/{time.monotonic_ns()}", b"", if_absent=True)
        state.faults["k"] = deque([None, "reset_before", "reset_before"])
        state.after = partial(_overwritten, state, "k")
        with pytest.raises(s3.S3PreconditionFailed) as caught:
            bucket.put_object("k", b"ours", if_absent=True)
    assert caught.value.outcome_unknown is True


@pytest.mark.parametrize("fault", ["drop_after", "500_after", "truncate_after", "reset_before"])
def test_a_lost_response_to_a_conditional_completion_is_reconciled(
    faulty: tuple[str, StatefulStore], faulty_bucket: S3Bucket, fault: str
) -> None:
    """In parts, the condition stands on the completion, and its lost answer is settled as that of a PUT."""
    state, key = faulty[1], f"parts/{fault}"
    faulty_bucket.put_object(f"warm/{time.monotonic_ns()}", b"", if_absent=True)
    body = bytes(6 * 1024 * 1024)
    state.faults[key] = deque([None, None, None, fault])  # begun, two parts, and the completion
    written = faulty_bucket.upload_object(key, io.BytesIO(body), part_size_bytes=5 * 1024 * 1024, if_absent=True)
    assert (state.applied[key], written.etag) == ([body], state.objects[key].etag)


def test_a_conditional_upload_in_parts_keeps_an_existing_object(
    faulty: tuple[str, StatefulStore], faulty_bucket: S3Bucket
) -> None:
    """The completion is refused: the object is unchanged, and no parts are left."""
    state = faulty[1]
    faulty_bucket.put_object("there", b"theirs")
    with pytest.raises(s3.S3ObjectExists):
        faulty_bucket.upload_object(
            "there", io.BytesIO(bytes(6 * 1024 * 1024)), part_size_bytes=5 * 1024 * 1024, if_absent=True
        )
    assert (state.objects["there"].body, state.uploads) == (b"theirs", {})


def test_repeated_409_is_not_reported_as_object_exists(
    faulty: tuple[str, StatefulStore], faulty_bucket: S3Bucket
) -> None:
    """With 409 for each attempt nothing was written, and the error is not S3ObjectExists."""
    key = f"met/{time.monotonic_ns()}"
    faulty[1].faults[key] = deque(["409"] * 3)
    with pytest.raises(s3.S3PreconditionFailed) as caught:
        faulty_bucket.put_object(key, b"x", if_absent=True)
    assert (type(caught.value), caught.value.outcome_unknown, faulty[1].applied[key]) == (
        s3.S3PreconditionFailed,
        False,
        [],
    )


@pytest.mark.parametrize(("lost", "told"), [("drop_after", "done"), ("reset_before", "unknown")])
def test_access_denied_after_a_lost_response_does_not_decide_the_outcome(lost: str, told: str) -> None:
    """If the first response was lost and the second attempt is denied, a HEAD decides whether the first one wrote.

    The server is a new one, so that boto3's retries have not been used up by the faults of other tests.
    """
    key = f"denied/{lost}"
    with run_faulty_server() as (url, state):
        bucket = connected(url)
        state.faults[key] = deque([lost, "403_before"])
        assert outcome(lambda: bucket.put_object(key, b"x", if_absent=True)) == told
        state.faults[key] = deque(["403_before"])
        with pytest.raises(s3.S3AccessDenied):
            bucket.put_object(key, b"x", if_absent=True)


def test_an_update_does_not_write_back_a_corrupted_byte(moto: Server, moto_bucket: S3Bucket) -> None:
    """update() compares the content that it read with its etag."""
    moto_bucket.put_object("k", b"before")
    with run_proxy(moto.endpoint_url) as proxy:
        behind = moto.connect(endpoint_url=proxy.endpoint_url).bucket(moto_bucket.name)
        proxy.restart(scripted({("GET", "k"): ["corrupt"]}))
        with pytest.raises(s3.S3ChecksumError):
            behind["k"].update(lambda body: (body or b"") + b"!")
        assert behind["k"].update(lambda body: (body or b"") + b"!").body == b"before!"


# -- copies and deletions ---------------------------------------------------------------------------------------------------------


def test_the_loser_of_a_conditional_copy_changes_nothing(
    faulty: tuple[str, StatefulStore], faulty_bucket: S3Bucket
) -> None:
    """If absent and if unchanged; a refused copy changes nothing, metadata is copied, tokens stay hidden."""
    source = faulty_bucket.put_object("from", b"new", {"who": "me"}, content_type="text/x-new")
    copied = source.copy_to("to", if_absent=True)
    with pytest.raises(s3.S3ObjectExists):
        faulty_bucket.copy_object("from", "to", if_absent=True)
    other = faulty_bucket.put_object("other", b"other")
    other.copy_to("to", if_match=copied.etag)
    with pytest.raises(s3.S3PreconditionFailed) as caught:
        source.copy_to("to", if_match=copied.etag)
    assert (copied.metadata, faulty_bucket["to"].body, caught.value.outcome_unknown) == ({"who": "me"}, b"other", False)
    source.copy_to("third", if_absent=True)
    assert (faulty_bucket["third"].metadata, faulty_bucket["third"].content_type) == ({"who": "me"}, "text/x-new")


def test_a_conditional_copy_of_a_missing_source_raises_no_such_item(faulty_bucket: S3Bucket) -> None:
    """A missing source is no conflict at the target."""
    target = faulty_bucket.put_object("target", b"x")
    source = faulty_bucket.put_object("gone-soon", b"y")
    source.delete()
    with pytest.raises(s3.S3NoSuchItem):
        source.copy_to("target", if_match=target.etag)


@pytest.mark.parametrize("fault", ["drop_after", "500_after", "truncate_after", "reset_before"])
def test_a_lost_response_to_a_conditional_copy_is_reconciled(
    faulty: tuple[str, StatefulStore], faulty_bucket: S3Bucket, fault: str
) -> None:
    """The object found is its own copy: a success."""
    key = f"doubtful-copy/{fault}"
    faulty_bucket.put_object("source", b"x")
    faulty[1].faults[key] = deque([fault])
    copied = faulty_bucket.copy_object("source", key, if_absent=True)
    assert (faulty[1].applied[key], copied.etag) == ([b"x"], faulty[1].objects[key].etag)


def test_a_store_that_ignores_the_condition_on_copies_is_refused(
    moto_bucket: S3Bucket, rclone_bucket: S3Bucket
) -> None:
    """moto and rclone overwrite: nothing is copied."""
    for bucket in (moto_bucket, rclone_bucket):
        source = bucket.put_object("a", b"new")
        target = bucket.put_object("b", b"old")
        for condition in ({"if_absent": True}, {"if_match": target.etag}):
            with pytest.raises(s3.S3Unsupported):
                source.copy_to("b", **condition)
            with pytest.raises(s3.S3Unsupported):
                bucket.copy_object("a", "c", **condition)
        assert [(obj.key, obj.body) for obj in bucket.find()] == [("a", b"new"), ("b", b"old")]


def test_delete_if_unchanged(moto_bucket: S3Bucket) -> None:
    """Only an object with this etag is deleted; a missing one is a success."""
    obj = moto_bucket.put_object("k", b"old")
    moto_bucket.put_object("k", b"new")
    with pytest.raises(s3.S3PreconditionFailed) as caught:
        moto_bucket["k"].delete(if_match=obj.etag)
    assert (caught.value.outcome_unknown, moto_bucket["k"].body) == (False, b"new")
    moto_bucket["k"].delete(if_match=moto_bucket["k"].etag)
    assert moto_bucket["k"].exists() is False
    moto_bucket["k"].delete(if_match=obj.etag)


@pytest.mark.parametrize("fault", ["drop_after", "500_after", "truncate_after", "reset_before", "500_before"])
def test_a_lost_response_to_a_conditional_delete_is_reconciled(
    faulty: tuple[str, StatefulStore], faulty_bucket: S3Bucket, fault: str
) -> None:
    """A missing object is a success; one that still exists is deleted again."""
    key = f"doubtful-delete/{fault}"
    etag = faulty_bucket.put_object(key, b"x").etag
    faulty[1].faults[key] = deque([fault])
    faulty_bucket[key].delete(if_match=etag)
    assert faulty[1].applied[key] == [b"x", b"<deleted>"]


@pytest.mark.parametrize(("age", "is_unknown"), [(0.0, True), (60.0, False)], ids=["young", "old"])
def test_a_conditional_delete_of_another_object_is_a_conflict_or_unknown(
    faulty: tuple[str, StatefulStore], faulty_bucket: S3Bucket, age: float, is_unknown: bool
) -> None:
    """An object written before our first attempt is a conflict; a younger one leaves the outcome unknown."""
    key = f"met-another/{age}"
    etag = faulty_bucket.put_object(key, b"old").etag
    faulty_bucket.put_object(key, b"theirs")
    faulty[1].objects[key].modified -= age
    faulty[1].faults[key] = deque(["reset_before"])
    with pytest.raises(s3.S3PreconditionFailed) as caught:
        faulty_bucket[key].delete(if_match=etag)
    assert (caught.value.outcome_unknown, faulty[1].objects[key].body) == (is_unknown, b"theirs")


# -- stores that do not mean it -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["ignored", "refused", "sequential"])
def test_conditional_calls_raise_unsupported_where_conditions_have_no_effect(mode: str) -> None:
    """Only scratch objects were written, and they are deleted."""
    with run_faulty_server(mode) as (url, state):
        bucket = connected(url, max_attempts=1)
        bucket.put_object("k", b"before")
        for action in (
            lambda: bucket.put_object("new", b"x", if_absent=True),
            lambda: bucket.put_object("k", b"x", if_match=bucket["k"].etag),
            lambda: bucket["k"].update(lambda body: b"x"),
            lambda: bucket.lock("lock").__enter__(),
            lambda: bucket.acquire_lock("plain", {"user": "me"}),
            lambda: bucket.copy_object("k", "copy", if_absent=True),
            lambda: bucket["k"].delete(if_match=bucket["k"].etag),
            lambda: bucket.upload_object("k", io.BytesIO(bytes(6 << 20)), part_size_bytes=5 << 20, if_absent=True),
        ):
            with pytest.raises(s3.S3Unsupported):
                action()
        assert {key: stored.body for key, stored in state.objects.items()} == {"k": b"before"}
        assert state.uploads == {}


def test_the_condition_probe_runs_once_for_a_store(faulty: tuple[str, StatefulStore]) -> None:
    """The result of the probe is cached: a later write is one request."""
    bucket = connected(faulty[0])
    bucket.put_object("asked/1", b"", if_absent=True)
    before = faulty[1].happened.total()
    bucket.put_object("asked/2", b"", if_absent=True)
    assert faulty[1].happened.total() - before == 1


def test_concurrent_conditional_writes_share_one_probe() -> None:
    """Of concurrent first conditional writes one probes, and the others wait for its result."""
    with run_faulty_server() as (url, state):
        bucket = connected(url)
        with ThreadPoolExecutor(16) as executor:
            list(executor.map(lambda number: bucket.put_object(f"k{number}", b"", if_absent=True), range(16)))
        probed = {key.split("/")[1] for key in state.applied if key.startswith(".mfs3-probe/")}
        assert len(probed) == 1


def test_a_stalled_probe_does_not_delay_other_stores(moto: Server, moto_bucket: S3Bucket) -> None:
    """While the probe of one store stalls, another store can be written to."""
    stalled = threading.Event()

    def plan(method: str, name: str, number: int) -> Fault | None:
        if ".mfs3-probe" in name:
            stalled.set()
            return Fault("stall_before", seconds=30)
        return None

    with run_proxy(moto.endpoint_url, plan) as proxy, ThreadPoolExecutor(1) as executor:
        slow = moto.connect(endpoint_url=proxy.endpoint_url, read_timeout=30, max_attempts=1)
        waiting = executor.submit(slow.bucket(moto_bucket.name).put_object, "slow", b"", if_absent=True)
        assert stalled.wait(30)
        assert moto_bucket.put_object("quick", b"", if_absent=True).exists()
        assert not waiting.done()
        proxy.close()
        with pytest.raises(s3.S3ConnectionError):
            waiting.result()


def test_callers_that_wait_for_a_failing_probe_fail_with_it(moto: Server, moto_bucket: S3Bucket) -> None:
    """They do not wait for one time-out each, in sequence."""
    writers, behind = 8, threading.Barrier(8)

    def plan(method: str, name: str, number: int) -> Fault | None:
        return Fault("stall_before", seconds=30) if ".mfs3-probe" in name else None

    with run_proxy(moto.endpoint_url, plan) as proxy, ThreadPoolExecutor(writers) as executor:
        store = moto.connect(endpoint_url=proxy.endpoint_url, read_timeout=1, max_attempts=1)
        bucket = store.bucket(moto_bucket.name)
        assert not versioned.is_versioned(bucket._address)

        def write(number: int) -> s3.S3Error:
            behind.wait(30)
            with pytest.raises(s3.S3ConnectionError) as caught:
                bucket.put_object(f"k{number}", b"", if_absent=True)
            return caught.value

        errors = [*executor.map(write, range(writers))]
        assert len({id(error) for error in errors}) == writers
        probes = [seen for seen in proxy.seen if seen.method == "PUT" and ".mfs3-probe" in seen.target]
        assert len(probes) <= 3
        proxy.close()
        store.close()


def test_conditional_writes_on_rclone_are_refused_and_change_nothing(rclone_bucket: S3Bucket, rclone: Any) -> None:
    """A real gateway that ignores conditions: nothing was overwritten, nothing is left on its disk."""
    rclone_bucket.put_object("k", b"before")
    for action in (
        lambda: rclone_bucket.put_object("k", b"x", if_absent=True),
        lambda: rclone_bucket.put_object("k", b"x", if_match="0" * 32),
        lambda: rclone_bucket["k"].update(lambda body: b"x"),
        lambda: rclone_bucket.lock("lock").__enter__(),
        lambda: rclone_bucket.acquire_lock("plain", {"user": "me"}),
        lambda: rclone_bucket["k"].delete(if_match="0" * 32),
        lambda: rclone_bucket.upload_object("k", io.BytesIO(bytes(6 << 20)), part_size_bytes=5 << 20, if_absent=True),
    ):
        with pytest.raises(s3.S3Unsupported):
            action()
    files = [path for path in (rclone.root / rclone_bucket.name).rglob("*") if path.is_file()]
    assert [(path.name, path.read_bytes()) for path in files] == [("k", b"before")]


@pytest.mark.parametrize("step", range(0, 8, 2))
def test_a_condition_probe_that_fails_leaves_nothing(rclone: Server, rclone_bucket: S3Bucket, step: int) -> None:
    """If the store fails at any step of the probe: an error, no cached result, no write, and the scratch objects are deleted."""
    failing = ["reset_before"] * 2  # both attempts
    counted = iter(range(10_000))
    with run_proxy(rclone.endpoint_url) as proxy:
        bucket = rclone.connect(endpoint_url=proxy.endpoint_url, max_attempts=2).bucket(rclone_bucket.name)

        def plan(method: str, name: str, number: int) -> Fault | None:
            if method == "DELETE" or next(counted) // len(failing) != step:
                return None
            return Fault("reset_before")

        proxy.restart(plan)
        with pytest.raises((s3.S3ConnectionError, s3.S3Unsupported)):
            bucket.put_object("k", b"x", if_match="0" * 32)
    assert [path for path in (rclone.root / rclone_bucket.name).rglob("*") if path.is_file()] == []  # type: ignore[operator]


@pytest.mark.parametrize("step", [3, 40])
@pytest.mark.parametrize("ability", ["put_if_match", "multipart_if_absent", "copy_if_absent", "delete_if_match"])
def test_a_condition_probe_that_loses_its_connection_leaves_nothing(
    ability: condition_probe.Ability, step: int
) -> None:
    """The connection fails permanently at some request, except for deletions: no object and no upload is left."""
    counted = iter(range(10_000))

    def plan(method: str, name: str, number: int) -> Fault | None:
        return Fault("reset_before") if method != "DELETE" and next(counted) >= step else None

    with run_faulty_server() as (url, state), run_proxy(url, plan) as proxy:
        bucket = connected(proxy.endpoint_url, max_attempts=1)
        with suppress(s3.S3ConnectionError):
            condition_probe.race(bucket._address, ability)
        assert (state.objects, state.uploads) == ({}, {})


def refusing_conditional_puts(asked: Asked) -> Scripted:
    return refusal(501, "NotImplemented") if asked.method == "PUT" and "if-match" in asked.headers else None


@pytest.mark.parametrize(("conditions", "verdict"), [("sequential", "sequential"), ("honoured", "honoured")])
def test_conditional_deletions_race_with_unconditional_writes(conditions: str, verdict: str) -> None:
    """Swift refuses If-Match on PUT: no conditional writer can win there, and a race with them alone cannot be lost."""
    with run_stateful_server(conditions=conditions) as server:
        server.state.before = refusing_conditional_puts
        assert condition_probe.race(server.bucket()._address, "delete_if_match") == verdict
        assert server.state.objects == {}


def test_a_condition_that_is_compared_only_where_there_is_an_object_is_not_relied_on() -> None:
    """On MinIO before September 2025 a write under If-Match brought back an object that was deleted. An append is better with it."""
    with run_stateful_server(conditions="existing") as server:
        bucket = server.bucket()
        for ability in ("put_if_match", "multipart_if_match"):
            assert condition_probe.race(bucket._address, ability) == "existing"
        etag = bucket.put_object("gone", b"x").etag
        bucket.delete_object("gone")
        bucket.put_object("k", b"x")
        for action in (
            lambda: bucket.put_object("gone", b"y", if_match=etag),
            lambda: bucket["k"].update(lambda body: b"y"),
            lambda: bucket.lock("lock").__enter__(),
        ):
            with pytest.raises(s3.S3Unsupported, match="would create one that was deleted"):
                action()
        with bucket["k"].open("ab") as file:
            file.write(b"z")
        assert "if-match" in next(asked for asked in reversed(server.asked) if asked.method == "PUT").headers
        assert {key: stored.body for key, stored in server.state.objects.items() if "lock" not in key} == {"k": b"xz"}


def test_a_race_has_all_its_writers_whatever_max_concurrency_is() -> None:
    """Writers one after the other would find that the store honours the condition."""
    with run_stateful_server(conditions="sequential") as server:
        bucket = server.bucket(max_concurrency=1)
        assert condition_probe.race(bucket._address, "put_if_absent") == "sequential"


@pytest.mark.parametrize("ability", ["put_if_absent", "put_if_match", "multipart_if_absent", "delete_if_match"])
def test_a_race_that_no_writer_wins_is_not_honoured(ability: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that honours conditions in sequence and refuses every concurrent writer shows nothing; one that fails gives no verdict."""
    errors: list[s3.S3Error] = [s3.S3PreconditionFailed("412"), s3.S3Throttled("503", retryable=True)]
    with run_stateful_server() as server:
        monkeypatch.setattr(condition_probe, "_at_once", lambda attempts: errors[:1] * len(attempts))
        assert condition_probe.race(server.bucket()._address, ability) == "sequential"
        monkeypatch.setattr(condition_probe, "_at_once", lambda attempts: errors[1:] * len(attempts))
        with pytest.raises(s3.S3Throttled):
            condition_probe.race(server.bucket()._address, ability)


def test_conditional_writes_work_on_real_servers(moto_bucket: S3Bucket) -> None:
    """Create once, replace only what was read; refused writes change nothing, and tokens stay hidden."""
    first = moto_bucket.put_object("k", "one", {"who": "me"}, if_absent=True)
    with pytest.raises(s3.S3ObjectExists):
        moto_bucket.put_object("k", "two", if_absent=True)
    moto_bucket.put_object("k", "three", {"who": "you"}, if_match=first.etag)
    with pytest.raises(s3.S3PreconditionFailed) as caught:
        moto_bucket.put_object("k", "four", if_match=first.etag)
    found = moto_bucket["k"]
    assert (found.text, found.metadata, caught.value.outcome_unknown) == ("three", {"who": "you"}, False)
    assert [obj.key for obj in moto_bucket.find()] == ["k"]


def test_replacing_a_missing_object_raises_precondition_failed(moto_bucket: S3Bucket) -> None:
    """S3 returns 404; for the caller that is the same as another etag."""
    with pytest.raises(s3.S3PreconditionFailed) as caught:
        moto_bucket.put_object("gone", "x", if_match="0" * 32)
    assert caught.value.outcome_unknown is False


def test_the_condition_probe_leaves_no_version_in_a_versioned_bucket(moto_bucket: S3Bucket, moto: Any) -> None:
    """Scratch objects go with all their versions and delete markers."""
    client = moto.client()
    client.put_bucket_versioning(Bucket=moto_bucket.name, VersioningConfiguration={"Status": "Enabled"})
    fresh = moto.connect(max_attempts=5).bucket(moto_bucket.name)
    fresh.put_object("k", "one", if_absent=True)
    answer = client.list_object_versions(Bucket=moto_bucket.name)
    assert ([found["Key"] for found in answer["Versions"]], answer.get("DeleteMarkers", [])) == (["k"], [])


def test_update_reads_changes_and_writes(moto_bucket: S3Bucket) -> None:
    """Concurrent updates are each applied once; the object's attributes are kept."""
    moto_bucket.put_object("n", "0", {"unit": "pieces"}, content_type="text/x-number")
    with ThreadPoolExecutor(4) as executor:
        list(executor.map(lambda _: moto_bucket["n"].update(lambda body: str(int(body or b"0") + 1)), range(20)))
    found = moto_bucket["n"]
    assert (found.text, found.metadata, found.content_type) == ("20", {"unit": "pieces"}, "text/x-number")


def test_an_update_keeps_the_tags(moto_bucket: S3Bucket) -> None:
    """S3 replaces an object completely, so the tags are written again."""
    obj = moto_bucket.put_object("k", b"1", {"m": "é"}, tags={"a": "1", "ä b": "2"}).update(
        lambda data: (data or b"") + b"2"
    )
    assert (obj.reload().body, obj.metadata, dict(obj.tags.get())) == (b"12", {"m": "é"}, {"a": "1", "ä b": "2"})


def test_update_of_a_missing_object_passes_none(moto_bucket: S3Bucket) -> None:
    """The function learns that there is no object, and what it returns is created."""
    seen: list[bytes | None] = []

    def change(body: bytes | None) -> bytes:
        seen.append(body)
        return b"new"

    moto_bucket["k"].update(change)
    assert (seen, moto_bucket["k"].body) == ([None], b"new")


def test_invalid_conditions_are_refused_before_a_request(moto_bucket: S3Bucket) -> None:
    """Both conditions at once, an empty etag, or an etag of another type: nothing is sent."""
    with pytest.raises(ValueError, match="if_absent"):
        moto_bucket.put_object("k", b"", if_absent=True, if_match="0" * 32)
    with pytest.raises(ValueError, match="if_match"):
        moto_bucket.put_object("k", b"", if_match="")
    with pytest.raises(TypeError, match="if_match"):
        moto_bucket.put_object("k", b"", if_match=7)  # type: ignore[arg-type]
