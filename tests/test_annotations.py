"""``obj.annotations``: Amazon S3's annotations; nothing is ever sent to another store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest
from support.scripted_server import Asked, ScriptedServer, document, refusal

from messageflux_s3 import (
    AsyncS3Store,
    S3Bucket,
    S3InvalidContent,
    S3NoSuchItem,
    S3Object,
    S3PreconditionFailed,
    S3ServerError,
    S3Unsupported,
)
from messageflux_s3.subresources.annotations import Annotation

WHEN = datetime(2026, 11, 21, 5, 0, 0, tzinfo=timezone.utc)
CALLS: dict[str, Callable[[S3Object], Any]] = {
    "list": lambda obj: obj.annotations.list(),
    "get": lambda obj: obj.annotations.get("n"),
    "put": lambda obj: obj.annotations.put("n", "text"),
    "delete": lambda obj: obj.annotations.delete("n"),
}


@pytest.fixture
def obj(scripted_server: ScriptedServer) -> S3Object:
    """A version of an object on a server that the library takes for AWS."""
    return scripted_server.bucket(preset="aws").object("k", "v1")


@pytest.fixture(autouse=True)
def newest_botocore(obj: S3Object) -> None:
    """Skip where botocore does not know annotations."""
    if "PutObjectAnnotation" not in obj.bucket.store.client.meta.service_model.operation_names:
        pytest.skip("this botocore does not know annotations")


def entry(name: str) -> str:
    return (
        f"<AnnotationEntry><AnnotationName>{name}</AnnotationName><ETag>&quot;e&quot;</ETag>"
        "<LastModified>2026-11-21T05:00:00.000Z</LastModified><Size>4</Size></AnnotationEntry>"
    )


def test_annotations_are_listed_page_by_page(scripted_server: ScriptedServer, obj: S3Object) -> None:
    def answer(asked: Asked) -> Any:
        if "continuation-token" in asked.query:
            return document("ListObjectAnnotationsOutput", f"<Annotations>{entry('b')}</Annotations>")
        return document(
            "ListObjectAnnotationsOutput",
            f"<Annotations>{entry('a')}</Annotations><NextContinuationToken>next</NextContinuationToken>",
        )

    scripted_server.answer = answer
    assert obj.annotations.list("p") == [Annotation(name, 4, WHEN, "e") for name in "ab"]
    queries = [asked.query for asked in scripted_server.asked]
    assert [(query["annotation-prefix"], query["versionId"], query.get("continuation-token")) for query in queries] == [
        ("p", "v1", None),
        ("p", "v1", "next"),
    ]


def test_a_listing_of_annotations_whose_token_is_repeated_raises(
    scripted_server: ScriptedServer, obj: S3Object
) -> None:
    """Such a listing never ends."""

    def answer(asked: Asked) -> Any:
        assert len(scripted_server.asked) < 10
        return document("ListObjectAnnotationsOutput", "<NextContinuationToken>t</NextContinuationToken>")

    scripted_server.answer = answer
    with pytest.raises(S3ServerError, match="repeats its continuation token"):
        obj.annotations.list()
    assert len(scripted_server.asked) == 2


def test_an_annotation_is_read(scripted_server: ScriptedServer, obj: S3Object) -> None:
    scripted_server.answer = lambda asked: (200, {"ETag": '"e"'}, "zwölf".encode())
    assert obj.annotations.get("n") == "zwölf"
    [asked] = scripted_server.asked
    assert (asked.method, asked.query["annotationName"], asked.query["versionId"]) == ("GET", "n", "v1")
    assert "annotation" in asked.query


def test_an_annotation_that_is_no_text(scripted_server: ScriptedServer, obj: S3Object) -> None:
    scripted_server.answer = lambda asked: (200, {"ETag": '"e"'}, b"\xff")
    with pytest.raises(S3InvalidContent, match="annotation 'n'"):
        obj.annotations.get("n")


def test_an_annotation_is_written_and_deleted(scripted_server: ScriptedServer, obj: S3Object) -> None:
    scripted_server.answer = lambda asked: (200 if asked.method == "PUT" else 204, {"ETag": '"e"'}, b"")
    obj.annotations.put("n", "zwölf", if_match="etag")
    obj.annotations.delete("n", if_match='"etag"')
    written, deleted = scripted_server.asked
    assert "zwölf".encode() in written.body
    for asked, method in ((written, "PUT"), (deleted, "DELETE")):
        assert (asked.method, asked.headers["x-amz-object-if-match"]) == (method, '"etag"')
        assert (asked.query["annotationName"], "annotation" in asked.query) == ("n", True)


def test_missing_annotations(scripted_server: ScriptedServer, obj: S3Object) -> None:
    scripted_server.answer = lambda asked: refusal(404, "NoSuchAnnotation")
    with pytest.raises(S3NoSuchItem) as raised:
        obj.annotations.get("n")
    assert raised.value.code == "NoSuchAnnotation"
    obj.annotations.delete("n")
    scripted_server.answer = lambda asked: refusal(404, "NoSuchKey")
    with pytest.raises(S3NoSuchItem):
        obj.annotations.delete("n")


def test_a_condition_that_does_not_hold(scripted_server: ScriptedServer, obj: S3Object) -> None:
    scripted_server.answer = lambda asked: refusal(412, "PreconditionFailed")
    with pytest.raises(S3PreconditionFailed):
        obj.annotations.put("n", "text", if_match="etag")


@pytest.mark.parametrize("call", CALLS)
def test_nothing_is_sent_to_another_store(scripted_server: ScriptedServer, call: str) -> None:
    with pytest.raises(S3Unsupported, match="only Amazon S3"):
        CALLS[call](scripted_server.bucket()["k"])
    assert scripted_server.asked == []


@pytest.mark.parametrize("call", CALLS)
def test_an_old_botocore_is_named(
    scripted_server: ScriptedServer, obj: S3Object, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = obj.bucket.store.client.meta.service_model
    known = [name for name in model.operation_names if "Annotation" not in name]
    monkeypatch.setattr(model, "operation_names", known)
    with pytest.raises(S3Unsupported, match="pip install -U boto3"):
        CALLS[call](obj)
    assert scripted_server.asked == []


@pytest.mark.parametrize("call", CALLS)
def test_an_object_is_unchanged_on_another_store(rclone_bucket: S3Bucket, call: str) -> None:
    obj = rclone_bucket.put_object("k", "hello")
    with pytest.raises(S3Unsupported):
        CALLS[call](obj)
    assert rclone_bucket["k"].body == b"hello"


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda obj: obj.annotations.put("n", b"bytes"), TypeError),
        (lambda obj: obj.annotations.put("n", ""), ValueError),
        (lambda obj: obj.annotations.put("n", "ä" * 600_000), ValueError),
        (lambda obj: obj.annotations.put("", "text"), ValueError),
        (lambda obj: obj.annotations.put("ä" * 300, "text"), ValueError),
        (lambda obj: obj.annotations.put("n", "text", if_match=""), ValueError),
        (lambda obj: obj.annotations.get(7), TypeError),
        (lambda obj: obj.annotations.delete("n", if_match=b"e"), TypeError),
    ],
)
def test_wrong_arguments_are_rejected_before_anything_is_sent(
    scripted_server: ScriptedServer, obj: S3Object, call: Callable[[S3Object], Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        call(obj)
    assert scripted_server.asked == []


def test_the_async_class_has_them_too(scripted_server: ScriptedServer) -> None:
    scripted_server.answer = lambda asked: (200, {"ETag": '"e"'}, b"text" if asked.method == "GET" else b"")

    async def use() -> str:
        async with AsyncS3Store(scripted_server.connect(preset="aws")) as store:
            annotations = store.bucket("bkt")["k"].annotations
            await annotations.put("n", "text")
            return await annotations.get("n")

    assert asyncio.run(use()) == "text"
