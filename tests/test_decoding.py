"""Content that is not valid JSON, text or a configuration: the error names the object, for every way to read it."""

from __future__ import annotations

import asyncio
import json
import pickle
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from support.public_calls import sub_resources
from support.scripted_server import Asked, ScriptedServer, content_of, document

import messageflux_s3 as s3

NOT_JSON: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is not JSON: it is empty"),
    "text": (b"not JSON", r"is not JSON: Expecting value: line 1 column 1"),
    "half": (b'{"a": 1', r"is not JSON: Expecting ',' delimiter"),
    "two": (b"{}{}", "is not JSON: Extra data"),
    "binary": (b"\xff\xfe\xfd", "is not JSON: "),
    "latin-1": ('"ü"'.encode("latin-1"), "is not JSON: 'utf-8' codec can't decode byte 0xfc"),
    "too deep": (b"[" * 200_000, "is not JSON that can be read: it is nested too deeply"),
    "too many digits": (b"1" * 10_000, "is not JSON: Exceeds the limit"),
}
NOT_TEXT: dict[str, tuple[bytes, str]] = {
    "binary": (b"\xff\xfe\xfd", "is not UTF-8 text: 'utf-8' codec can't decode byte 0xff in position 0"),
    "latin-1": (b"caf\xe9", "is not UTF-8 text: 'utf-8' codec can't decode byte 0xe9 in position 3"),
    "cut in the middle": ("aü".encode()[:-1], "is not UTF-8 text: .* unexpected end of data"),
    "a surrogate": (b"\xed\xa0\x80", "is not UTF-8 text: "),
}


async def _loaded(bucket: s3.AsyncS3Bucket) -> s3.AsyncS3Object:
    return await bucket.get_object("folder/k")


async def _async_text(bucket: s3.AsyncS3Bucket) -> Any:
    return (await _loaded(bucket)).text


async def _async_loaded_json(bucket: s3.AsyncS3Bucket) -> Any:
    return await (await _loaded(bucket)).json()


JSON_WAYS: dict[str, Callable[[s3.S3Bucket], Any]] = {
    "bucket.get_json()": lambda bucket: bucket.get_json("folder/k"),
    "bucket[key].json()": lambda bucket: bucket["folder/k"].json(),
    "get_object().json()": lambda bucket: bucket.get_object("folder/k").json(),
    "get_objects()": lambda bucket: next(iter(bucket.get_objects(["folder/k"]))).json(),
}
TEXT_WAYS: dict[str, Callable[[s3.S3Bucket], Any]] = {
    "bucket[key].text": lambda bucket: bucket["folder/k"].text,
    "get_object().text": lambda bucket: bucket.get_object("folder/k").text,
    "get_objects()": lambda bucket: next(iter(bucket.get_objects(["folder/k"]))).text,
}
ASYNC_JSON_WAYS: dict[str, Callable[[s3.AsyncS3Bucket], Awaitable[Any]]] = {
    "await bucket.get_json()": lambda bucket: bucket.get_json("folder/k"),
    "await obj.json()": lambda bucket: bucket["folder/k"].json(),
    "await loaded.json()": _async_loaded_json,
}
ASYNC_TEXT_WAYS: dict[str, Callable[[s3.AsyncS3Bucket], Awaitable[Any]]] = {"loaded.text": _async_text}


@pytest.fixture(params=[True, False], ids=["lane", "boto3"])
def bucket(request: pytest.FixtureRequest, scripted_server: ScriptedServer) -> Iterator[s3.S3Bucket]:
    """A bucket whose objects all have the body that the test names."""
    yield scripted_server.bucket(lane=request.param)


def serve(scripted_server: ScriptedServer, body: bytes) -> None:
    scripted_server.answer = lambda asked: content_of(asked, body)


def check(caught: pytest.ExceptionInfo[s3.S3InvalidContent], bucket: s3.S3Bucket) -> None:
    error = caught.value
    assert isinstance(error, s3.S3Error) and isinstance(error, ValueError)
    for seen in (error, pickle.loads(pickle.dumps(error))):
        assert type(seen) is s3.S3InvalidContent
        assert (seen.bucket, seen.key, seen.operation) == (bucket.name, "folder/k", "GetObject")
        assert (seen.code, seen.status, seen.retryable) == (None, None, False)
        assert f"s3://{bucket.name}/folder/k" in str(seen)
    assert isinstance(error.__cause__, (ValueError, RecursionError))


def awaited(bucket: s3.S3Bucket, read: Callable[[s3.AsyncS3Bucket], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        store = s3.AsyncS3Store(bucket.store)
        try:
            return await read(store.bucket(bucket.name))
        finally:
            await store.close()

    return asyncio.run(main())


@pytest.mark.parametrize("way", JSON_WAYS.values(), ids=JSON_WAYS)
@pytest.mark.parametrize(("body", "said"), NOT_JSON.values(), ids=NOT_JSON)
def test_invalid_json_raises_an_error_that_names_the_object(
    scripted_server: ScriptedServer, bucket: s3.S3Bucket, way: Callable[[s3.S3Bucket], Any], body: bytes, said: str
) -> None:
    """S3InvalidContent, also a ValueError; the parser's own error is its cause."""
    serve(scripted_server, body)
    with pytest.raises(s3.S3InvalidContent, match=said) as caught:
        way(bucket)
    check(caught, bucket)
    if "Expecting" in said:
        assert isinstance(caught.value.__cause__, json.JSONDecodeError)


@pytest.mark.parametrize("way", TEXT_WAYS.values(), ids=TEXT_WAYS)
@pytest.mark.parametrize(("body", "said"), NOT_TEXT.values(), ids=NOT_TEXT)
def test_undecodable_text_raises_an_error_that_names_the_object(
    scripted_server: ScriptedServer, bucket: s3.S3Bucket, way: Callable[[s3.S3Bucket], Any], body: bytes, said: str
) -> None:
    """The same for text; UnicodeDecodeError is the cause."""
    serve(scripted_server, body)
    with pytest.raises(s3.S3InvalidContent, match=said) as caught:
        way(bucket)
    check(caught, bucket)
    assert isinstance(caught.value.__cause__, UnicodeDecodeError)
    assert bucket["folder/k"].body == body, "the bytes themselves can still be read"


@pytest.mark.parametrize("name", [*NOT_JSON, *(name for name in NOT_TEXT if name != "a surrogate")])
def test_the_async_classes_raise_the_same_errors(
    scripted_server: ScriptedServer, bucket: s3.S3Bucket, name: str
) -> None:
    """json(), get_json() and text under asyncio."""
    for table, ways in ((NOT_JSON, ASYNC_JSON_WAYS), (NOT_TEXT, ASYNC_TEXT_WAYS)):
        if name not in table:
            continue
        body, said = table[name]
        serve(scripted_server, body)
        for way in ways.values():
            with pytest.raises(s3.S3InvalidContent, match=said) as caught:
                awaited(bucket, way)
            check(caught, bucket)


def test_json_above_the_cached_size_is_read_under_asyncio(scripted_server: ScriptedServer, bucket: s3.S3Bucket) -> None:
    """get_json() of 8 MiB and more, with one GET; it raised RuntimeError "the body is not loaded"."""
    body = json.dumps(["x" * (8 * 1024 * 1024)]).encode()
    serve(scripted_server, body)
    assert awaited(bucket, lambda bucket: bucket.get_json("folder/k")) == json.loads(body)
    assert [(asked.method, asked.headers.get("if-match")) for asked in scripted_server.asked] == [("GET", None)]


def test_text_files_raise_the_errors_of_the_builtin(scripted_server: ScriptedServer, bucket: s3.S3Bucket) -> None:
    """open("r") raises UnicodeDecodeError and honours errors=; iter_lines() gives bytes; preview() shows whatever is there."""
    serve(scripted_server, b"caf\xe9\n\xff")
    with pytest.raises(UnicodeDecodeError), bucket["k"].open("r") as file:
        file.read()
    with bucket["k"].open("r", errors="replace") as file:
        assert file.read() == "caf\ufffd\n\ufffd"
    assert [*bucket["k"].iter_lines()] == [b"caf\xe9", b"\xff"]
    for body, _ in (*NOT_JSON.values(), *NOT_TEXT.values()):
        serve(scripted_server, body)
        for key in ("k.json", "k.jsonl", "k.txt", "k.csv"):
            str(bucket[key].preview())


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ("{", "is not JSON: Expecting"),
        ("[]", "must be a JSON object, not a list"),
        ("7", "must be a JSON object, not a int"),
    ],
)
def test_unreadable_headers_of_a_claim_check_name_the_payload(
    scripted_server: ScriptedServer, bucket: s3.S3Bucket, headers: str, said: str
) -> None:
    """messageflux keeps a message's headers in the object's metadata."""
    pointer = '__MSGSTORE_WRAPPER__|__S3_MSGSTORE__{"bucket_name": "bkt", "key": "folder/k"}'

    def answer(asked: Asked) -> Any:
        status, known, body = content_of(asked, b"payload") or (500, {}, b"")
        return status, {**known, "x-amz-meta-originalheaders": headers}, body

    scripted_server.answer = answer
    with pytest.raises(s3.S3InvalidContent, match=said) as caught:
        s3.ClaimCheck(bucket).check_out((pointer, {"__ORIGINAL_MESSAGE_SIZE_HEADER__": 7}))
    assert (caught.value.bucket, caught.value.key, caught.value.operation) == ("bkt", "folder/k", "GetObject")
    assert "s3://bkt/folder/k" in str(caught.value)


CONFIGURATIONS = {
    "lifecycle": "LifecycleConfiguration",
    "versioning": "VersioningConfiguration",
    "tags": "Tagging",
    "cors": "CORSConfiguration",
    "encryption": "ServerSideEncryptionConfiguration",
    "notifications": "NotificationConfiguration",
}


def test_every_sub_resource_of_a_bucket_has_an_unreadable_document() -> None:
    """A policy, which is JSON, has tests of its own; public access consists of a policy and a small document."""
    assert sub_resources(s3.S3Bucket).keys() == {*CONFIGURATIONS, "policy", "public_access"}


@pytest.mark.parametrize("preset", ["aws", "other"])
@pytest.mark.parametrize(("name", "root"), CONFIGURATIONS.items(), ids=CONFIGURATIONS)
def test_an_unreadable_configuration_raises_an_error_that_names_its_bucket(
    scripted_server: ScriptedServer, preset: str, name: str, root: str
) -> None:
    """Too deeply nested content raises S3InvalidContent, not RecursionError."""
    scripted_server.answer = lambda asked: document(root, "<a>" * 20_000 + "</a>" * 20_000)
    with pytest.raises(
        s3.S3InvalidContent, match=r"s3://bkt/: the .* configuration that the store sent cannot be read"
    ) as caught:
        getattr(scripted_server.bucket(preset=preset), name).get()
    assert (caught.value.bucket, caught.value.key, str(caught.value.operation)[:9]) == ("bkt", None, "GetBucket")


@pytest.mark.parametrize("preset", ["aws", "other"])
@pytest.mark.parametrize("statement", ["5", '"x"', "[5]", "null", '["x"]', "true"])
def test_a_malformed_policy_raises_an_error_that_names_its_bucket(
    scripted_server: ScriptedServer, preset: str, statement: str
) -> None:
    """A malformed policy raises S3InvalidContent, not TypeError or AttributeError."""
    scripted_server.answer = lambda asked: (
        200,
        {"Content-Type": "application/json"},
        f'{{"Statement": {statement}}}'.encode(),
    )
    for act in (lambda b: b.policy.get(), lambda b: b.policy.ensure({"Sid": "a", "Effect": "Allow"})):
        with pytest.raises(
            s3.S3InvalidContent, match="s3://bkt/: the policy configuration that the store sent cannot be read"
        ) as caught:
            act(scripted_server.bucket(preset=preset))
        assert (caught.value.bucket, caught.value.operation) == ("bkt", "GetBucketPolicy")
    assert {asked.method for asked in scripted_server.asked} == {"GET"}, "nothing was written"
