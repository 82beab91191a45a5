"""S3Object: lazy requests, counted at the server for every documented cost."""

from __future__ import annotations

import gc
import io
import pickle
import sys
import threading
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import boto3
import pytest
from support.proxy import Fault, run_proxy, scripted
from support.request_counting import Counted
from support.scripted_server import Answer, Asked, ScriptedServer, content_of, refusal
from support.servers import Server
from support.stateful_server import StatefulStore

import messageflux_s3 as s3

ODD_KEYS = [
    "a//b",
    "/lead",
    "trail/",
    "a/../b",
    ".",
    "a b+c%20d",
    "ünï/☃",
    "k" * 1024,
    "tab\there",
    "q?x=1&y#z",
    "%2F",
    "*",
    "~'()!",
]


def test_creating_a_handle_takes_no_request(counted: Counted) -> None:
    """Creating a handle and reading its name sends no request."""
    obj = counted.bucket.object("k")
    assert (obj.key, obj.bucket_name, obj.version_id, obj.uri) == (
        "k",
        counted.bucket.name,
        None,
        f"s3://{counted.bucket.name}/k",
    )
    assert obj.url.endswith(f"{counted.bucket.name}/k")
    assert repr(counted.bucket["k"]) == repr(obj)
    assert counted.requests() == []


def test_listed_attributes_take_no_further_request(counted: Counted) -> None:
    """Key, size, etag and time of n objects: one request per page."""
    for n in range(7):
        counted.bucket.put_object(f"k{n}", "x" * n)
    with counted.recording() as requests:
        seen = [
            (obj.key, obj.size, obj.etag, obj.last_modified, obj.storage_class)
            for obj in counted.bucket.find_objects(max_keys=3)
        ]
    assert [(key, size) for key, size, *_ in seen] == [(f"k{n}", n) for n in range(7)]
    assert all(moment.tzinfo is not None for *_, moment, _ in seen)
    assert [request.method for request in requests] == ["GET"] * 3


def test_metadata_takes_one_head_and_is_cached(counted: Counted) -> None:
    """Also for a handle from a listing; the HEAD loads all other attributes too."""
    counted.bucket.put_object("k", "text", {"Source": "erp"}, content_type="text/x-odd")
    obj = counted.bucket.find().collect()[0]
    with counted.recording() as requests:
        assert obj.metadata["source"] == "erp"
        assert obj.metadata["source"] == "erp"
        assert obj.content_type == "text/x-odd"
    assert [request.method for request in requests] == ["HEAD"]


def test_attributes_of_a_listing_are_never_those_beside_a_head_of_a_later_object(bucket: s3.S3Bucket) -> None:
    """A listing has no metadata; the HEAD that loads it may find another object than was listed."""
    bucket.put_object("k", "first", {"is": "first"})
    [kept, replaced] = [*bucket.find(), *bucket.find()]
    assert (kept.etag, kept.metadata["is"], kept.size) == (bucket["k"].etag, "first", 5)
    written = bucket.put_object("k", "second one", {"is": "second"})
    assert (replaced.metadata["is"], replaced.etag, replaced.size) == ("second", written.etag, 10)


def test_body_takes_one_get_and_caches_all_attributes(counted: Counted) -> None:
    """After it no attribute needs a request, until reload()."""
    counted.bucket.put_object("k", "text", {"a": "b"})
    obj = counted.bucket.object("k")
    with counted.recording() as requests:
        assert (obj.body, obj.body, obj.text, obj.size, obj.metadata["a"]) == (b"text", b"text", "text", 4, "b")
        assert obj.last_modified <= datetime.now(timezone.utc) + timedelta(seconds=5)
    assert [request.method for request in requests] == ["GET"]
    with counted.recording() as requests:
        assert obj.reload().size == 4
    assert [request.method for request in requests] == ["HEAD"]


def test_a_write_returns_a_handle_with_its_attributes(counted: Counted) -> None:
    """Row 22: size, etag and metadata without another request."""
    with counted.recording() as requests:
        obj = counted.bucket.put_object("k", b"12345", {"A": "b"})
        assert (obj.size, len(obj.etag), obj.metadata) == (5, 32, {"a": "b"})
    assert [request.method for request in requests] == ["PUT"]


def test_get_object_takes_one_get(counted: Counted) -> None:
    """The body of a small object is kept."""
    counted.bucket.put_object("k", "text")
    with counted.recording() as requests:
        assert counted.bucket.get_object("k").body == b"text"
    assert [request.method for request in requests] == ["GET"]
    with pytest.raises(s3.S3NoSuchItem, match="missing"):
        counted.bucket.get_object("missing")


def test_get_object_does_not_keep_a_body_above_8_mib(moto_bucket: s3.S3Bucket) -> None:
    """Above 8 MiB only the headers are cached; the body is requested again, with If-Match."""
    big = b"x" * (8 * 1024 * 1024 + 1)
    moto_bucket.put_object("big", big)
    obj = moto_bucket.get_object("big")
    assert obj.size == len(big)
    assert obj._body is None
    moto_bucket.put_object("big", b"other")
    with pytest.raises(s3.S3ObjectChanged):
        _ = obj.body
    assert obj.reload().body == b"other"


@pytest.mark.parametrize("key", ODD_KEYS)
def test_keys_are_stored_and_listed_unchanged(moto_bucket: s3.S3Bucket, key: str) -> None:
    """put, find, get and delete use exactly the same key."""
    moto_bucket.put_object(key, key.encode(), {"k": "v"})
    assert [obj.key for obj in moto_bucket.find()] == [key]
    assert moto_bucket.get_object(key).text == key
    assert moto_bucket.object(key).metadata == {"k": "v"}
    assert key in moto_bucket
    moto_bucket.delete_object(key)
    assert key not in moto_bucket


@pytest.mark.parametrize("key", ["a b+c%20d", "ünï/☃", "q?x=1&y#z", "%2F", "deep/er/x", "~'()!", "*"])
def test_keys_are_stored_and_listed_unchanged_on_rclone(rclone_bucket: s3.S3Bucket, key: str) -> None:
    """Keys that a file system can represent."""
    rclone_bucket.put_object(key, "text")
    assert [obj.key for obj in rclone_bucket.find()] == [key]
    assert rclone_bucket.get_object(key).text == "text"
    rclone_bucket.delete_object(key)
    assert not rclone_bucket.object(key).exists()


def test_metadata_is_read_back_unchanged(bucket: s3.S3Bucket) -> None:
    """Non-ASCII values, line ends and blanks; no other entries are returned."""
    given = {"name": "Zoë ☃", "lines": "a\r\nb", "blank": " x ", "plain": "erp", "mime": "=?utf-8?B?eA==?="}
    bucket.put_object("k", "x", given)
    got = bucket.object("k").metadata
    assert {name: got[name] for name in given} == given


@pytest.mark.parametrize(
    ("key", "error"),
    [
        ("", s3.S3InvalidName),
        ("k" * 1025, s3.S3InvalidName),
        ("ü" * 513, s3.S3InvalidName),
        (7, TypeError),
        ("\ud800", s3.S3InvalidName),
    ],
)
def test_an_invalid_key_is_refused_before_a_request(moto_store: s3.S3Store, key: Any, error: type[Exception]) -> None:
    """Before any request."""
    with pytest.raises(error, match="key"):
        moto_store.bucket("some-bucket").object(key)


@pytest.mark.parametrize("data", [7, None, ["x"], object()])
def test_put_of_another_type_raises_type_error(moto_store: s3.S3Store, data: Any) -> None:
    """A number in place of content."""
    with pytest.raises(TypeError, match="buf"):
        moto_store.bucket("some-bucket").put_object("k", data)


def test_line_ends_in_headers_are_refused(counted: Counted) -> None:
    """A line end in any value sent as a header raises ValueError in every write, before anything is sent."""
    bucket, wrong = counted.bucket, "x\r\nX-Amz-Acl: public-read"
    bucket.put_object("k", b"1")
    for parameter in (
        "content_type",
        "content_disposition",
        "cache_control",
        "storage_class",
        "ACL",
        "WebsiteRedirectLocation",
    ):
        with counted.recording() as seen, pytest.raises(ValueError, match="must be one line"):
            bucket.put_object("new", b"", **{parameter: wrong})
        assert seen == []
    for write in (
        lambda: bucket.put_objects([("new", b"")], content_type=wrong),
        lambda: bucket.upload_object("new", [b"x"], content_type=wrong),
        lambda: bucket.put_object("new", b"", if_absent=True, content_type=wrong),
        lambda: bucket["new"].open("wb", content_type=wrong).close(),
        lambda: bucket["k"].copy_to("new", content_type=wrong),
    ):
        with pytest.raises(ValueError, match="must be one line"):
            write()
    assert "new" not in bucket


def test_unknown_parameters_of_a_write_are_refused(moto_bucket: s3.S3Bucket) -> None:
    """Under our names and under S3's."""
    with pytest.raises(TypeError, match="contenttype"):
        moto_bucket.put_object("k", "x", contenttype="a/b")
    with pytest.raises(ValueError, match="NoSuchThing"):
        moto_bucket.put_object("k", "x", NoSuchThing=1)


def test_bytes_like_text_and_readables_are_written(bucket: s3.S3Bucket) -> None:
    """Every type of content is written unchanged."""
    for data in (b"abc", bytearray(b"abc"), memoryview(b"abc"), "abc", io.BytesIO(b"abc")):
        assert bucket.put_object("k", data).reload().body == b"abc"


def test_json_is_written_and_read(bucket: s3.S3Bucket) -> None:
    """As UTF-8, with its content type."""
    obj = bucket.put_json("k.json", {"name": "Zoë", "n": [1, 2]})
    assert (bucket.get_json("k.json"), obj.reload().json(), obj.content_type) == ({"name": "Zoë", "n": [1, 2]},) * 2 + (
        "application/json",
    )
    assert bucket.put_json("k.json", {}, {"by": "me"}).reload().metadata == {"by": "me"}
    bucket.put_object("bad", "{")
    with pytest.raises(ValueError, match="Expecting"):
        bucket.get_json("bad")


def test_exists_always_makes_a_request(bucket: s3.S3Bucket) -> None:
    """Cached attributes are ignored."""
    obj = bucket.put_object("k", "x")
    assert obj.exists()
    bucket.object("k").delete()
    assert not obj.exists()


def test_delete_is_idempotent(bucket: s3.S3Bucket) -> None:
    """A missing object is a success; a missing bucket raises."""
    bucket.delete_object("never-there")
    with pytest.raises(s3.S3NoSuchBucket):
        bucket.store.bucket("no-such-bucket-here").get_object("k")


def test_body_stream_makes_a_request_at_each_access(bucket: s3.S3Bucket) -> None:
    """Also after ``body`` was read."""
    obj = bucket.put_object("k", b"0123456789")
    assert obj.body == b"0123456789"
    with obj.body_stream as one, obj.body_stream as two:
        assert (one.read(3), two.read(4), one.read(), two.read()) == (b"012", b"0123", b"3456789", b"456789")
    assert io.TextIOWrapper(obj.body_stream).read() == "0123456789"


def test_unread_streams_return_their_connection_to_the_pool(moto_bucket: s3.S3Bucket) -> None:
    """Row 7: abandoning more streams than the pool has connections does not block."""
    obj = moto_bucket.put_object("k", b"x" * 300_000)
    for _ in range(40):
        obj.body_stream.read(1)
    gc.collect()
    assert obj.reload().size == 300_000


def test_handles_pickle_small_and_keep_cached_attributes(moto_store: s3.S3Store, moto_bucket: s3.S3Bucket) -> None:
    """Row 12."""
    obj = moto_bucket.put_object("k", "x", {"a": "b"})
    data = pickle.dumps(obj)
    back = pickle.loads(data)
    assert len(data) < 1500
    assert (back.key, back.size, back.etag, back.metadata) == ("k", 1, obj.etag, {"a": "b"})
    assert back == obj


def test_reload_is_safe_while_other_threads_read_attributes(moto_bucket: s3.S3Bucket) -> None:
    """With reload() at any moment, other threads request the attributes again and never see partial state."""
    obj = moto_bucket.put_object("k", b"payload", {"a": "b"})
    wrong: list[object] = []
    head, ask = obj._ask(), lambda: obj.__setattr__("_head", head) or head
    is_over = threading.Event()

    def forget() -> None:
        while not is_over.is_set():
            obj.reload()

    def look() -> None:
        try:
            for _ in range(1500):
                seen = (
                    obj.size,
                    obj.etag,
                    obj.metadata,
                    obj.content_type,
                    obj.storage_class,
                    obj.last_modified,
                    obj.version_id,
                )
                if seen[:3] != (7, head.etag, {"a": "b"}):
                    wrong.append(seen)
        except Exception as error:
            wrong.append(error)

    class Remembering(type(obj)):  # type: ignore[misc]
        """Replaces the request: only the order of cache accesses matters here."""

        __slots__ = ()

        def _ask(self) -> object:
            return ask()

    obj.__class__ = Remembering
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    threads = [threading.Thread(target=look) for _ in range(3)]
    forgetting = threading.Thread(target=forget)
    try:
        for thread in (forgetting, *threads):
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        is_over.set()
        forgetting.join()
        sys.setswitchinterval(interval)
    assert wrong == []


def test_a_handle_can_be_used_by_many_threads(moto_bucket: s3.S3Bucket) -> None:
    """Row 3: one client, shared."""
    obj = moto_bucket.put_object("k", b"payload")
    wrong: list[object] = []

    def hammer() -> None:
        for _ in range(10):
            if moto_bucket.object("k").body != b"payload" or obj.reload().size != 7:
                wrong.append(1)

    threads = [threading.Thread(target=hammer) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_the_messageflux_constructor_builds_an_object(moto_store: s3.S3Store, moto_bucket: s3.S3Bucket) -> None:
    """From boto3's summary, and from what its get() returned."""
    moto_bucket.put_object("k", "text", {"a": "b"})
    summary = moto_store.resource.ObjectSummary(moto_bucket.name, "k")
    obj = s3.S3Object(object_summery=summary)
    assert (obj.body, obj.metadata["a"], obj.size) == (b"text", "b", 4)
    assert s3.S3Object(summary, summary.get()).body == b"text"
    wrong: Any
    for wrong in (moto_bucket, "k"):
        with pytest.raises(TypeError, match=r"object_summery must be .*, not (S3Bucket|str); bucket\[key\]"):
            s3.S3Object(wrong, "k")  # type: ignore[arg-type]


def test_a_handle_of_boto3_s_objects_needs_no_request(counted: Counted) -> None:
    """Attributes that a listing has loaded into a summary or version are cached; the client is that of the boto3 object."""
    bucket = counted.bucket
    bucket.versioning.enable()
    first, second = bucket.put_object("k", "first"), bucket.put_object("k", "second one")
    boto3_bucket = boto3.resource(
        "s3",
        endpoint_url=counted.store.config.endpoint_url,
        aws_access_key_id=counted.store.config.access_key,
        aws_secret_access_key=counted.store.config.secret_key,
        region_name="us-east-1",
    ).Bucket(bucket.name)
    [summary] = boto3_bucket.objects.all()
    listed_versions = {version.id: version for version in boto3_bucket.object_versions.all()}
    with counted.recording() as requests:
        made = s3.S3Bucket.from_boto3(boto3_bucket)
        from_object = s3.S3Object.from_boto3(boto3_bucket.Object("k"))
        from_summary = s3.S3Object.from_boto3(summary)
        versions = [s3.S3Object.from_boto3(listed_versions[written.version_id]) for written in (first, second)]
        unloaded = s3.S3Object.from_boto3(boto3_bucket.Object("k").Version(first.version_id))
        assert (from_summary.etag, from_summary.size, from_summary.storage_class) == (second.etag, 10, "STANDARD")
        assert from_summary.last_modified == summary.last_modified
        assert [(obj.version_id, obj.size, obj.etag) for obj in versions] == [
            (first.version_id, 5, first.etag),
            (second.version_id, 10, second.etag),
        ]
        assert made.store.client is made.s3_resource.meta.client is boto3_bucket.meta.client
        assert (made.name, made.boto3, from_object.boto3) == (bucket.name, boto3_bucket, boto3_bucket.Object("k"))
        assert from_object == made["k"]
    assert requests == []
    assert (from_object.text, from_summary.text, unloaded.text) == ("second one", "second one", "first")
    assert [obj.text for obj in versions] == ["first", "second one"]
    assert pickle.loads(pickle.dumps(from_summary)).size == 10
    assert made.name in [each.name for each in made.store.buckets()]


@pytest.mark.parametrize("wrong", ["text", None, 7, "Bucket", "MultipartUpload", "s3"])
def test_from_boto3_of_another_type_raises_type_error(moto_bucket: s3.S3Bucket, wrong: Any) -> None:
    """The message names the type that was given."""
    resource = moto_bucket.s3_resource
    things: dict[Any, Any] = {
        "Bucket": moto_bucket.boto3,
        "MultipartUpload": resource.MultipartUpload(moto_bucket.name, "k", "id"),
        "s3": resource,
    }
    thing = things.get(wrong, wrong)
    with pytest.raises(TypeError, match=rf"of boto3, not .*{type(thing).__name__}"):
        s3.S3Object.from_boto3(thing)
    if wrong != "Bucket":
        with pytest.raises(TypeError, match=rf"a boto3 Bucket, not .*{type(thing).__name__}"):
            s3.S3Bucket.from_boto3(thing)


def test_an_object_from_the_messageflux_constructor_has_a_working_bucket_and_store(
    moto: Server, moto_bucket: s3.S3Bucket
) -> None:
    """ObjectSummary has a client but no resource; bucket.store, s3_resource and boto3 work all the same."""
    resource = boto3.resource(
        "s3",
        endpoint_url=moto.endpoint_url,
        aws_access_key_id=moto.access_key,
        aws_secret_access_key=moto.secret_key,
        region_name="us-east-1",
    )
    moto_bucket.put_object("k", "text")
    bucket = s3.S3Object(resource.ObjectSummary(moto_bucket.name, "k")).bucket
    assert bucket.store.bucket(bucket.name)["k"].text == "text"
    assert bucket.boto3 == resource.Bucket(bucket.name)
    assert bucket["k"].boto3.get()["Body"].read() == b"text"
    assert bucket.s3_resource.meta.client is resource.meta.client


def test_boto3_returns_the_boto3_object(moto_bucket: s3.S3Bucket) -> None:
    """obj.boto3 is boto3's own object for the same thing."""
    moto_bucket.put_object("k", "text")
    assert moto_bucket["k"].boto3.get()["Body"].read() == b"text"
    assert moto_bucket.boto3.name == moto_bucket.name


TAGGED_WRITES: dict[str, Callable[[s3.S3Bucket], object]] = {
    "put_object": lambda bucket: bucket.put_object("in/k", b"x", tags={"a": "1"}),
    "put": lambda bucket: bucket.object("in/k").put(b"x", tags={"a": "1"}),
    "upload_object": lambda bucket: bucket.upload_object("in/k", io.BytesIO(b"x"), tags={"a": "1"}),
    "upload_object in parts": lambda bucket: bucket.upload_object("in/k", io.BytesIO(bytes(17 << 20)), tags={"a": "1"}),
    "copy": lambda bucket: bucket.object("source").copy_to("in/k", tags={"a": "1"}),
}


@pytest.mark.parametrize("write", TAGGED_WRITES.values(), ids=TAGGED_WRITES)
def test_tags_of_a_write_are_stored_or_refused(
    server: Server, bucket: s3.S3Bucket, write: Callable[[s3.S3Bucket], object]
) -> None:
    """A store that silently drops tags is detected first, and nothing is written."""
    bucket.put_object("source", b"x")
    try:
        write(bucket)
    except s3.S3Unsupported:
        assert server.name == "rclone"
        assert [obj.key for obj in bucket.find()] == ["source"]
    else:
        assert server.name != "rclone"
        assert dict(bucket.object("in/k").tags.get()) == {"a": "1"}
        assert [obj.key for obj in bucket.find()] == ["in/k", "source"]


HEADERS_AT = {"ETag": 0.0, "Content-Length": 0.2, "Last-Modified": 0.4}
"""The position of each header in the proxy's list of headers that may be left out."""


@pytest.mark.parametrize("at", HEADERS_AT.values(), ids=HEADERS_AT)
def test_a_response_without_required_headers_is_requested_again(at: float, server: Server, bucket: s3.S3Bucket) -> None:
    """If it happens once, the request is retried; if always, it raises instead of returning None or a guess."""
    whole = bucket.put_object("k", b"five!").reload()
    with run_proxy(server.endpoint_url, scripted({("HEAD", "k"): [Fault("missing_header", at)]})) as proxy:
        obj = server.connect(endpoint_url=proxy.endpoint_url, max_attempts=2).bucket(bucket.name)["k"]
        assert (obj.size, obj.etag, obj.last_modified) == (5, whole.etag, whole.last_modified)
        assert proxy.counts()["missing_header"] == 1
        proxy.restart(lambda *_: Fault("missing_header", at))
        obj.reload()
        with pytest.raises(s3.S3ServerError):
            _ = obj.size, obj.etag, obj.last_modified


@pytest.mark.parametrize("how", ["stream", "download"])
def test_a_truncated_etag_header_is_never_used(
    how: str, server: Server, bucket: s3.S3Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A response truncated at any header is retried or raises an incomplete response, but never S3ObjectChanged."""
    # The waits before retries would be most of the test's time.
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
    data = b"five!" * 100
    etag = bucket.put_object("k", data).etag
    outcomes = Counter[str]()
    with run_proxy(server.endpoint_url) as proxy:
        obj = server.connect(endpoint_url=proxy.endpoint_url, max_attempts=2).bucket(bucket.name)["k"]
        for cut in range(1, 100, 4):
            fault = Fault("cut_head", cut / 100)
            proxy.restart(scripted({("GET", "k"): [fault], ("HEAD", "k"): [fault]}))
            obj.reload()
            try:
                with obj.body_stream as stream:
                    if how == "stream":
                        assert stream.read() == data
                    else:
                        obj.download_to(tmp_path / "k")
                        assert (tmp_path / "k").read_bytes() == data
                outcomes["right"] += 1
            except s3.S3ConnectionError:
                outcomes["broken off"] += 1
            assert obj.reload().etag == etag
    assert outcomes["right"] >= 12


def test_iter_lines_finds_line_ends_across_chunks(moto_bucket: s3.S3Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Line ends at every position in a piece and across two pieces; a line of many pieces; with and without a final line end."""
    obj = moto_bucket["k"]
    for text in (b"one\r\ntwo\n\nthree\r\r\nfour", b"\n\n", b"\r\n", b"a" * 50 + b"\n" + b"b" * 50, b"", b"end\n"):
        wanted = [line[:-1] if line.endswith(b"\r") else line for line in text.split(b"\n")[:-1]]
        wanted += [last] if (last := text.rpartition(b"\n")[2]) else []
        for size in (1, 2, 3, 7, 100):
            pieces = [text[at : at + size] for at in range(0, len(text), size)]
            monkeypatch.setattr(s3.S3Object, "iter_chunks", lambda *_, pieces=pieces: iter(pieces))
            assert [*obj.iter_lines()] == wanted


WRONG: dict[str, tuple[Callable[[s3.S3Object], object], type[Exception], str]] = {
    "no start": (lambda obj: obj.read_range(None, 2), TypeError, "start must be a whole number of bytes, not NoneType"),
    "a start of text": (lambda obj: obj.read_range("1"), TypeError, "start must be a whole number of bytes, not str"),
    "an end of truth": (lambda obj: obj.read_range(0, True), TypeError, "end must be a whole number of bytes, not bool"),
    "pieces of nothing": (lambda obj: obj.iter_chunks(0), ValueError, "chunk_size must be a whole number of bytes, at least 1, not 0"),
    "no version": (lambda obj: obj.make_current(), ValueError, "is not a handle for a version"),
}  # fmt: skip


@pytest.mark.parametrize(("act", "error", "said"), WRONG.values(), ids=WRONG)
def test_invalid_arguments_raise_an_error_that_names_them(
    moto_bucket: s3.S3Bucket, act: Any, error: type[Exception], said: str
) -> None:
    """At once, before any request."""
    with pytest.raises(error, match=said):
        act(moto_bucket["k"])


def test_exists_raises_access_denied_instead_of_returning_false(scripted_server: ScriptedServer) -> None:
    """A 403 does not show whether the object exists, and the error says so (row 10)."""
    scripted_server.answer = lambda asked: refusal(403, "AccessDenied")
    with pytest.raises(s3.S3AccessDenied, match="cannot tell whether s3://bkt/k exists"):
        scripted_server.bucket()["k"].exists()


def test_read_range_beyond_the_end_is_empty_and_other_failures_raise(scripted_server: ScriptedServer) -> None:
    """Only status 416 gives an empty range."""
    scripted_server.answer = lambda asked: (
        refusal(416, "InvalidRange") if asked.method == "GET" else content_of(asked, b"x")
    )
    assert scripted_server.bucket()["k"].read_range(5, 9) == b""
    scripted_server.answer = lambda asked: refusal(403, "AccessDenied")
    with pytest.raises(s3.S3AccessDenied):
        scripted_server.bucket()["k"].read_range(5, 9)


def test_a_handle_of_a_version_has_bucket_and_boto3(moto_bucket: s3.S3Bucket) -> None:
    """The same bucket, and boto3's handle of the same version."""
    moto_bucket.versioning.enable()
    obj = moto_bucket.put_object("k", "one")
    version = moto_bucket.object("k", obj.version_id)
    assert version.bucket is moto_bucket
    assert version.boto3.id == obj.version_id  # type: ignore[union-attr]


def test_a_404_to_a_delete_counts_as_deleted(scripted_server: ScriptedServer) -> None:
    """Some stores return 404 where S3 returns a success."""
    scripted_server.answer = lambda asked: refusal(404, "NoSuchKey")
    scripted_server.bucket()["k"].delete()
    assert scripted_server.whats == ["DELETE k"]


@pytest.mark.parametrize("is_loaded", [False, True], ids=["listed", "listed and loaded"])
def test_a_listed_handle_reads_a_range_from_the_end(counted: Counted, is_loaded: bool) -> None:
    """Its size comes from the listing, which the fast lane reads as text."""
    counted.bucket.put_object("k", b"0123456789")
    [obj] = counted.bucket.find("k")
    if is_loaded:
        assert obj.metadata == {}
    with counted.recording() as requests:
        assert (obj.read_range(-3), obj.read_range(-5, -2)) == (b"789", b"567")
    assert [request.method for request in requests] == ["GET", "GET"]


@pytest.mark.parametrize("lane", [True, False], ids=["lane", "boto3"])
@pytest.mark.parametrize("now", [b"abcdefghijklmnop", b"abcd", b""], ids=["longer", "shorter", "empty"])
def test_a_range_counted_from_the_end_is_never_one_of_an_object_of_another_size(
    scripted_server: ScriptedServer, lane: bool, now: bytes
) -> None:
    """The handle has the size from a listing or from its own write, and the object has been replaced since."""
    store = StatefulStore(scripted_server)
    bucket = scripted_server.bucket(lane=lane)
    store.put("listed", b"0123456789")
    handles = [*bucket.find(), bucket.put_object("written", b"0123456789")]
    store.put("listed", now)
    store.put("written", now)
    for obj in handles:
        for start, end in ((-3, None), (-7, -6), (0, -1)):
            with pytest.raises(s3.S3ObjectChanged, match=r"was replaced .*its size was 10"):
                obj.read_range(start, end)
        assert obj.reload().read_range(-3) == now[-3:]


@pytest.mark.parametrize("lane", [True, False], ids=["lane", "boto3"])
@pytest.mark.parametrize("now", ["abcd", ""], ids=["shorter", "empty"])
def test_a_range_past_the_end_of_a_later_object_is_not_empty_content(
    server: Server, bucket: s3.S3Bucket, lane: bool, now: str
) -> None:
    """rclone looks at the range before If-Match. A loop that reads range after range would end there, as if it had read all."""
    bucket = server.connect(lane=lane).bucket(bucket.name)
    bucket.put_object("k", "0123456789")
    read, unread = bucket.get_object("k"), bucket["k"]
    assert read.read_range(12) == unread.read_range(12) == b""
    bucket.put_object("k", now)
    for call in (lambda: read.read_range(5, 8), lambda: [*read.iter_chunks(4, 5)]):
        with pytest.raises(s3.S3ObjectChanged):
            call()
    assert (unread.read_range(5), [*unread.iter_chunks(4, 5)]) == (b"", [])


@pytest.mark.parametrize("lane", [True, False], ids=["lane", "boto3"])
def test_a_refused_range_of_an_object_that_has_these_bytes_is_not_empty_content(
    scripted_server: ScriptedServer, lane: bool, tmp_path: Path
) -> None:
    """A part of the store may still have an earlier, shorter object: the read ended there, as if it had read all."""
    content = b"0123456789"

    def answer(asked: Asked) -> Answer:
        if asked.headers.get("range"):
            return refusal(416, "InvalidRange")
        return content_of(asked, content)

    scripted_server.answer = answer
    obj = scripted_server.bucket(lane=lane).get_object("k")
    for call in (
        lambda: obj.read_range(5),
        lambda: [*obj.iter_chunks(4, 5)],
        lambda: obj.download_to(tmp_path / "k", start=5),
        lambda: obj.reload().download_to(tmp_path / "k", start=5),
    ):
        with pytest.raises(s3.S3Error) as raised:
            call()
        assert raised.value.status == 416
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("ask", ["exists", "etag", "load"])
def test_a_body_read_by_another_thread_meanwhile_is_never_cached_with_attributes_of_a_later_object(
    scripted_server: ScriptedServer, ask: str
) -> None:
    """A write under ``if_match=obj.etag``, of content made from ``obj.body``, would undo the write in between."""
    state = StatefulStore(scripted_server)
    state.put("k", b"former")
    obj = scripted_server.bucket().object("k")
    read: list[bytes] = []

    def before(asked: Asked) -> Answer:
        if not read and (asked.method == "HEAD" or ask == "load"):
            read.append(b"")
            read.append(obj.body)  # in the server's thread, while the other request is under way
            state.put("k", b"later")
        return None

    state.before = before
    if ask == "exists":
        assert obj.exists()
    elif ask == "etag":
        assert obj.etag
    else:
        assert obj.reload().body
    assert read[-1] == b"former"
    assert (obj.etag, obj.body) == (state.objects["k"].etag, b"later")
