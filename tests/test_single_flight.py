"""Questions that a store is asked once although several threads need the answer: who waits for whom, and who gets which error."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from support.scripted_server import Answer, Asked, ScriptedServer, refusal, run_scripted_server
from support.stateful_server import StatefulStore
from test_versions import V1, _VersionedStore

import messageflux_s3 as s3
from messageflux_s3._objects.single_flight import single_flight

Call = Callable[[s3.S3Bucket, str], object]

QUESTIONS: dict[str, Call] = {
    "a condition": lambda bucket, key: bucket.put_object(key, b"", if_absent=True),
    "a parameter of a write": lambda bucket, key: bucket.put_object(key, b"", encryption="AES256"),
    "a character in names of metadata": lambda bucket, key: bucket.put_object(key, b"", {"a_b": "1"}),
    "the version of a copied source": lambda bucket, key: bucket.object("k", V1).copy_to(key),
}
"""Calls that put a question to the store first, by writing or copying to a scratch key."""


def store_for(server: ScriptedServer, question: str) -> Callable[[Asked], Answer]:
    """Script a store that can answer the question; return what answers."""
    if question == "the version of a copied source":
        return _VersionedStore(server)
    StatefulStore(server)
    return server.answer


def is_question(asked: Asked) -> bool:
    return asked.method == "PUT" and "mfs3-probe" in asked.key


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_that_one_store_does_not_answer_delays_no_other_store(
    scripted_server: ScriptedServer, question: str
) -> None:
    """The answer of one store is held up until another one has answered the same question."""
    respond, call = store_for(scripted_server, question), QUESTIONS[question]
    begun, answered, in_time = threading.Event(), threading.Event(), list[bool]()

    def answer(asked: Asked) -> Answer:
        if is_question(asked) and "/us-east-1/" in asked.headers["authorization"]:
            begun.set()
            in_time.append(answered.wait(60))
        return respond(asked)

    scripted_server.answer = answer
    with ThreadPoolExecutor(1) as pool:
        held_up = pool.submit(_caught, call, scripted_server.bucket(lane=False), "one")
        assert begun.wait(60)
        _caught(call, scripted_server.bucket(lane=False, region="eu-west-1"), "two")
        answered.set()
        held_up.result()
    assert in_time and all(in_time)


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_caller_that_waits_for_a_failing_question_gets_its_error(
    scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, question: str
) -> None:
    """It does not ask again, which could mean another time-out for each caller."""
    respond, call = store_for(scripted_server, question), QUESTIONS[question]
    begun, waiting, times = threading.Event(), threading.Event(), itertools.count(1)
    refused: list[str] = []

    def monotonic() -> float:
        if next(times) == 2:  # the first two times are those at which the callers arrive
            waiting.set()
        return time.monotonic()

    def answer(asked: Asked) -> Answer:
        if not is_question(asked):
            return respond(asked)
        refused.append(asked.key)
        begun.set()
        assert waiting.wait(60)
        return refusal(503, "SlowDown")

    scripted_server.answer = answer
    monkeypatch.setattr("messageflux_s3._objects.single_flight.time", SimpleNamespace(monotonic=monotonic))
    bucket = scripted_server.bucket(lane=False)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(_caught, call, bucket, "one")
        assert begun.wait(60)
        second = _caught(call, bucket, "two")
        assert isinstance(first.result(), s3.S3Error)
    assert isinstance(second, s3.S3Error) and second is not first.result()
    assert len(refused) == 1


def test_a_later_caller_asks_again_after_a_failure(scripted_server: ScriptedServer) -> None:
    """Only callers that waited share the error; so do only those that ask the same."""
    connection, answers = scripted_server.bucket()._connection, iter([s3.S3ServerError("down"), "up"])

    def ask() -> str:
        found = next(answers)
        if isinstance(found, Exception):
            raise found
        return found

    with pytest.raises(s3.S3ServerError, match="down"), single_flight(connection, "question") as turn:
        turn.ask(ask)
    with single_flight(connection, "question") as turn:
        assert turn.ask(ask) == "up"


def _caught(call: Call, bucket: s3.S3Bucket, key: str) -> s3.S3Error | None:
    try:
        call(bucket, key)
    except s3.S3Error as error:
        return error
    return None


REENTERED = ("a condition", "a parameter of a write", "a character in names of metadata")


@pytest.mark.parametrize("question", REENTERED)
def test_a_signal_handler_can_write_while_its_thread_asks_the_store(question: str) -> None:
    """The handler's write asks the same: it asks again, and does not wait for the code that it interrupted."""
    with run_scripted_server() as server:
        state = StatefulStore(server)
        bucket = server.bucket(lane=False)
        is_first = True

        def handle(**_: object) -> None:
            nonlocal is_first
            if is_first:
                is_first = False
                QUESTIONS[question](bucket, "of the handler")

        bucket.store.client.meta.events.register("before-send.s3.PutObject", handle)
        told: list[BaseException] = []

        def write() -> None:
            try:
                QUESTIONS[question](bucket, "interrupted")
            except BaseException as error:
                told.append(error)

        thread = threading.Thread(target=write, daemon=True)
        thread.start()
        thread.join(120)
        assert not thread.is_alive(), "it waits for itself"
        if question == "a parameter of a write":  # which this server does not keep
            assert [type(error) for error in told] == [s3.S3Unsupported]
        else:
            assert told == []
            assert sorted(state.objects) == ["interrupted", "of the handler"]
