"""Carriage returns in keys, on stores that write them unescaped: XML parsers turn them into line feeds, which is another key."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from support.scripted_server import Answer, Asked, ScriptedServer, document
from support.stateful_server import StatefulServer, Upload, run_stateful_server

import messageflux_s3 as s3

KEYS = ["\r", "a\nb", "a\rb", "a\r\nb", "end\r", "dir\r/x", "dir\n/x", "plain"]


@pytest.fixture(
    params=[
        ("raw carriage returns",),
        ("raw carriage returns, no encoding",),
        ("raw carriage returns", "white space in XML"),
        ("raw carriage returns, no encoding", "white space in XML"),
        ("raw carriage returns, no encoding", "fields in another order"),
    ],
    ids=" and ".join,
)
def odd(request: pytest.FixtureRequest) -> Iterator[StatefulServer]:
    with run_stateful_server(*request.param) as started:
        for key in KEYS:
            started.state.put(key, b"")
        yield started


@pytest.fixture(params=[True, False], ids=["lane", "boto3"])
def bucket(odd: StatefulServer, request: pytest.FixtureRequest) -> s3.S3Bucket:
    made = odd.bucket(lane=request.param)
    assert made.object("plain").exists()
    return made


def test_listings_keep_carriage_returns_in_keys(bucket: s3.S3Bucket) -> None:
    """In one page and in several, of objects, versions and common prefixes."""
    in_order = sorted(KEYS)
    assert [obj.key for obj in bucket.find()] == in_order
    assert [obj.key for obj in bucket.find(versions=True)] == in_order
    assert [*bucket.find(delimiter="/").prefixes()] == ["dir\n/", "dir\r/"]
    assert [obj.key for obj in bucket.find(prefix="a\r")] == ["a\r\nb", "a\rb"]
    assert [obj.key for obj in bucket.find(start_after="a\n")] == in_order[in_order.index("a\nb") :]


def test_deleting_what_was_listed_deletes_no_other_key(bucket: s3.S3Bucket, odd: StatefulServer) -> None:
    """A key with a line feed is not changed."""
    bucket.find(prefix="a\r").delete()
    bucket.delete_objects(["dir\r/x", "end\r", "\r"])
    assert sorted(odd.state.objects) == sorted(["a\nb", "dir\n/x", "plain"])


def test_unfinished_uploads_of_such_keys_are_aborted(bucket: s3.S3Bucket, odd: StatefulServer) -> None:
    """boto3 does not request encoded keys for this listing."""
    odd.state.uploads["u1"] = Upload("a\rb")
    bucket.delete_bucket(force=True)
    aborted = [asked.key for asked in odd.asked if asked.method == "DELETE" and "uploadId" in asked.query]
    assert set(aborted) == {"a\rb"}


@pytest.mark.parametrize("lane", [True, False], ids=["lane", "boto3"])
@pytest.mark.parametrize("kind", ["Contents", "CommonPrefixes"])
def test_a_page_whose_carriage_returns_cannot_be_kept_is_a_server_error(
    scripted_server: ScriptedServer, lane: bool, kind: str
) -> None:
    """In a CDATA section a reference has no effect, so the document is rejected."""
    name = "Key" if kind == "Contents" else "Prefix"
    further = (
        "<LastModified>2026-01-01T00:00:00Z</LastModified><ETag>e</ETag><Size>1</Size>" if kind == "Contents" else ""
    )
    page = document(
        "ListBucketResult",
        f"<IsTruncated>false</IsTruncated><{kind}><{name}><![CDATA[a\rb]]></{name}>{further}</{kind}>",
    )

    def answer(asked: Asked) -> Answer:
        return (
            (200, {"ETag": '"e"', "Last-Modified": "Sat, 21 Nov 2026 05:00:00 GMT"}, b"")
            if asked.method == "HEAD"
            else page
        )

    scripted_server.answer = answer
    bucket = scripted_server.bucket(lane=lane)
    assert bucket.object("k").exists()
    with pytest.raises(s3.S3ServerError, match="carriage return"):
        [*bucket.find().entries()]


def test_tags_keep_carriage_returns_when_written_and_read(scripted_server: ScriptedServer) -> None:
    """Configurations with carriage returns are read and written without changes."""
    sent: list[bytes] = []

    def answer(asked: Asked) -> Answer:
        if asked.method == "PUT":
            sent.append(asked.body)
            return 200, {}, b""
        return document(
            "Tagging", "\r\n<TagSet>\r\n<Tag><Key>k</Key><Value>one\rtwo\r\nthree</Value></Tag></TagSet>\r\n"
        )

    scripted_server.answer = answer
    tags = scripted_server.bucket(preset="aws").object("k").tags
    assert dict(tags.get()) == {"k": "one\rtwo\r\nthree"}
    tags.put({"k": "one\rtwo"})
    assert b"one&#13;two" in sent[0] or b"one&#xD;two" in sent[0]


@given(
    some.lists(
        some.text(some.sampled_from("\r\n\t ab&<>;#13"), min_size=1, max_size=6), min_size=1, max_size=5, unique=True
    ),
    some.sampled_from(["", "\r\n", "\n", "\r\n\t"]),
)
def test_every_mixture_of_line_ends_in_keys_and_between_elements_is_read(keys: list[str], between: str) -> None:
    """White space between elements is not part of a key."""
    from xml.sax.saxutils import escape

    from messageflux_s3._formats.listing_pages import parse_page

    page = between.join(
        ["<ListBucketResult>", "<IsTruncated>false</IsTruncated>"]
        + [
            between.join(["<Contents>", f"<Key>{escape(key)}</Key>", "<LastModified>2026-01-01T00:00:00Z</LastModified>",
                          "<ETag>e</ETag>", "<Size>1</Size>", "</Contents>"])
            for key in keys
        ]
        + ["</ListBucketResult>"]
    )  # fmt: skip
    assert [entry[0] for entry in parse_page(page.encode()).objects] == keys


def test_localstack_lists_and_deletes_keys_with_carriage_returns(localstack: Any) -> None:
    """LocalStack writes them as they are."""
    store = localstack.connect()
    bucket = store.create_bucket(f"cr-{uuid.uuid4().hex[:12]}")
    for key in ("a\rb", "a\nb", "c\r"):
        bucket.put_object(key, b"")
    assert [obj.key for obj in bucket.find()] == ["a\nb", "a\rb", "c\r"]
    assert [obj.key for obj in bucket.find(versions=True)] == ["a\nb", "a\rb", "c\r"]
    bucket.find(prefix="a\r").delete()
    assert [obj.key for obj in bucket.find()] == ["a\nb", "c\r"]
    bucket.delete_bucket(force=True)
