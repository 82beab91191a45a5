"""Reading one object on stores whose If-Match or ranges deviate from HTTP."""

from __future__ import annotations

import asyncio
import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.proxy import run_proxy, scripted
from support.scripted_server import Answer, Asked, ScriptedServer, content_of, refusal
from support.servers import Server

import messageflux_s3 as s3
from messageflux_s3._bulk import batch
from messageflux_s3._client.addresses import BucketAddress
from messageflux_s3._formats.head import Head
from messageflux_s3._objects import operations, ranged_reader

BODY = b"0123456789" * 100

Store = Callable[[str], tuple[s3.S3Store, Callable[[str], None]]]
Read = Callable[[s3.S3Object, Path], bytes]


@pytest.fixture
def store_that(scripted_server: ScriptedServer) -> Store:
    """A store with one object under every key, with configurable treatment of If-Match; and a function that changes the object's etag."""

    def start(manner: str) -> tuple[s3.S3Store, Callable[[str], None]]:
        etag = ["first"]

        def answer(asked: Asked) -> Answer:
            headers = {
                "ETag": f'"{etag[0]}"',
                "Content-Type": "text/plain",
                "Last-Modified": "Sat, 21 Nov 2026 05:00:00 GMT",
            }
            if asked.method == "GET" and manner == "misreads" and "if-match" in asked.headers:
                return 412, headers, b""
            if "list-type" in asked.query:
                return 200, {}, b"<Nothing/>"
            if asked.method == "GET" and manner == "cuts":
                return b'HTTP/1.1 200 OK\r\nETag: "first"\r\nConnection: close\r\n\r\n' + BODY[:100]
            return 200, headers, BODY

        scripted_server.answer = answer
        return scripted_server.connect(), lambda new: etag.__setitem__(0, new)

    return start


def _downloaded(obj: s3.S3Object, path: Path, **options: int) -> bytes:
    obj.download_to(path, **options)
    return path.read_bytes()


READS: dict[str, Read] = {
    "body": lambda obj, folder: obj.body,
    "body_stream": lambda obj, folder: obj.body_stream.read(),
    "open": lambda obj, folder: obj.open().read(),
    "read_range": lambda obj, folder: obj.read_range(0, None),
    "iter_chunks": lambda obj, folder: b"".join(obj.iter_chunks(64)),
    "download_to": lambda obj, folder: _downloaded(obj, folder / "t"),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_an_ignored_if_match_is_checked_by_the_client(store_that: Store, read: Read, tmp_path: Path) -> None:
    """An object replaced since the handle was pinned raises on any store, and leaves no file."""
    store, become = store_that("ignores")
    obj = store.bucket("bkt").object("k")
    assert obj.content_type == "text/plain"
    assert read(obj, tmp_path) == BODY
    obj.reload()
    assert obj.content_type == "text/plain"
    become("second")
    with pytest.raises(s3.S3ObjectChanged, match=r"first.*second"):
        read(obj, tmp_path / "new")
    assert not list(tmp_path.rglob("new/*"))


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_an_if_match_that_the_store_misreads_is_not_sent_again(store_that: Store, read: Read, tmp_path: Path) -> None:
    """If the store rejects the etag that its HEAD returns, it misreads conditions; the object has not changed."""
    store, become = store_that("misreads")
    obj = store.bucket("bkt").object("k")
    assert obj.content_type == "text/plain"
    assert read(obj, tmp_path) == BODY
    obj.reload()
    assert obj.content_type == "text/plain"
    become("second")
    with pytest.raises(s3.S3ObjectChanged):
        read(obj, tmp_path)


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_a_body_without_content_length_raises(store_that: Store, read: Read, tmp_path: Path) -> None:
    """Without a length or chunks a truncated response could not be recognised."""
    store, _ = store_that("cuts")
    with pytest.raises(s3.S3Error):
        read(store.bucket("bkt").object("k"), tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.is_file()]


def test_a_document_that_is_no_listing_raises(store_that: Store) -> None:
    """boto3 parses any document as an empty listing; keys would be lost silently."""
    store, _ = store_that("ignores")
    with pytest.raises(s3.S3ServerError, match="is not a listing"):
        list(store.bucket("bkt").find())


# -- ranges and versions that a store does not know ---------------------------------------------------------------------------------

RANGES: dict[str, Read] = {
    "read_range": lambda obj, folder: obj.read_range(100, 200),
    "iter_chunks": lambda obj, folder: b"".join(obj.iter_chunks(64, start=100, end=200)),
    "open": lambda obj, folder: _from_100_to_200(obj),
    "download_to": lambda obj, folder: _downloaded(obj, folder / "t", start=100, end=200),
}


def _from_100_to_200(obj: s3.S3Object) -> bytes:
    with obj.open() as file:
        file.seek(100)
        return bytes(file.read(100))


@pytest.mark.parametrize("read", RANGES.values(), ids=RANGES)
def test_a_range_is_cut_out_if_the_store_sends_the_whole_object(store_that: Store, read: Read, tmp_path: Path) -> None:
    """If the store sends the whole object, the requested range is cut out of it."""
    store, _ = store_that("ignores")
    assert read(store.bucket("bkt").object("k"), tmp_path) == BODY[100:200]


@pytest.mark.parametrize("read", RANGES.values(), ids=RANGES)
def test_the_rest_of_a_short_range_is_requested(scripted_server: ScriptedServer, read: Read, tmp_path: Path) -> None:
    """A store may return a shorter range; the rest is requested as well."""
    short = [1]

    def answer(asked: Asked) -> Answer:
        whole = content_of(asked, BODY)
        assert whole is not None
        status, headers, body = whole
        if status != 206 or not short[0]:
            return whole
        short[0] -= 1
        first = headers["Content-Range"].removeprefix("bytes ").partition("-")[0]
        return 206, {**headers, "Content-Range": f"bytes {first}-{int(first) + 29}/{len(BODY)}"}, body[:30]

    scripted_server.answer = answer
    assert read(scripted_server.bucket(max_attempts=2, lane=False)["k"], tmp_path) == BODY[100:200]
    assert short == [0]


def _as_it_stands(asked: Asked) -> Answer:
    headers = {"ETag": '"e"', "Last-Modified": "Sat, 21 Nov 2026 05:00:00 GMT", "x-amz-version-id": "v2"}
    return 200, {**headers, **({"Content-Length": str(len(BODY))} if asked.method == "HEAD" else {})}, BODY


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_a_response_with_another_version_raises(scripted_server: ScriptedServer, read: Read, tmp_path: Path) -> None:
    """A store that ignores the version ID returns the current object, which is rejected."""
    scripted_server.answer = _as_it_stands
    with pytest.raises(s3.S3Unsupported, match="version v1"):
        read(scripted_server.bucket().object("k", version_id="v1"), tmp_path / "new")
    assert not list(tmp_path.rglob("new/*"))


@pytest.mark.lane
def test_a_response_with_another_version_raises_on_the_lane(scripted_server: ScriptedServer) -> None:
    """Sequential, concurrent and awaited reads reject another version than the requested one."""
    scripted_server.answer = _as_it_stands
    bucket = scripted_server.bucket()
    assert bucket["k"].body == BODY  # from here on the lane is open
    connection = bucket._connection
    [(_, outcome)] = batch.get_many(BucketAddress(connection, "bkt"), [batch.GetItem("k", "v1")])
    assert isinstance(outcome, s3.S3Unsupported)
    for read in (operations.head, operations.get):
        with pytest.raises(s3.S3Unsupported, match="version v1"):
            read(bucket._address.object("k", "v1"))
        assert read(bucket._address.object("k", "v2"))

    async def awaited() -> None:
        obj = s3.AsyncS3Store(bucket.store).bucket("bkt").object("k", version_id="v1")
        for act in (obj.load, obj.exists):
            with pytest.raises(s3.S3Unsupported, match="version v1"):
                await act()

    asyncio.run(awaited())


def test_an_invalid_last_modified_is_none() -> None:
    """Only ``last_modified`` is missing then."""
    found = Head.from_headers({"etag": '"e"', "last-modified": "yesterday", "content-length": "7"})
    assert (found.size, found.etag, found.last_modified) == (7, "e", None)


def test_a_chunked_response_needs_no_content_length(scripted_server: ScriptedServer, tmp_path: Path) -> None:
    """There is no length, but the end of the body is marked."""
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (BODY[:300], BODY[300:])) + b"0\r\n\r\n"
    scripted_server.answer = lambda asked: (200, {"ETag": '"e"', "Transfer-Encoding": "chunked"}, chunks)
    address = scripted_server.bucket()._address.object("k")
    assert ranged_reader.get_stream(address)[1].read() == BODY
    assert ranged_reader.get_stream(address)[1].read(5000) == BODY


def test_a_412_to_an_unconditional_request_raises(scripted_server: ScriptedServer) -> None:
    """A 412 to an unconditional GET raises, and does not cause a loop."""
    scripted_server.answer = lambda asked: (
        refusal(412, "PreconditionFailed") if asked.method == "GET" else _as_it_stands(asked)
    )
    with pytest.raises(s3.S3PreconditionFailed):
        ranged_reader.get_stream(scripted_server.bucket()._address.object("k"))
    assert scripted_server.whats == ["GET k"]


# -- the stream of one GET ----------------------------------------------------------------------------------------------------------


def test_a_stream_is_a_raw_file(moto_bucket: s3.S3Bucket) -> None:
    """It works as an io.RawIOBase: reads of pieces, into buffers, and to the end."""
    obj = moto_bucket.put_object("k", BODY)
    with obj.body_stream as stream:
        assert stream.readable()
        assert stream.read(0) == b""
        held = bytearray(7)
        assert stream.readinto(held) == 7
        assert bytes(held) + stream.read(3) + stream.readall() == BODY
        assert (stream.read(), stream.read(5), stream.readinto(held)) == (b"", b"", 0)
    with pytest.raises(ValueError, match="closed"):
        stream.read()
    with io.BufferedReader(ranged_reader.get_stream(obj._address, start=1)[1]) as buffered:
        assert buffered.read() == BODY[1:]


@pytest.mark.parametrize("size", [-1, 600])
def test_a_stream_resumes_where_the_connection_broke(moto: Server, moto_bucket: s3.S3Bucket, size: int) -> None:
    """The rest alone is requested, under If-Match. Attempts that bring nothing are counted; a byte restores them."""
    moto_bucket.put_object("k", BODY)
    for faults in (["cut_body"], ["cut_body", "reset_in_response"]):
        with run_proxy(moto.endpoint_url, scripted({("GET", "k"): faults})) as proxy:
            bucket = moto.connect(endpoint_url=proxy.endpoint_url, max_attempts=3).bucket(moto_bucket.name)
            stream = ranged_reader.get_stream(bucket["k"]._address)[1]
            assert stream.read(size) == BODY[: size if size > 0 else None]
            assert len(proxy.seen) == len(faults) + 1
    with run_proxy(moto.endpoint_url, scripted({("GET", "k"): ["cut_body"] * 5})) as proxy:
        bucket = moto.connect(endpoint_url=proxy.endpoint_url, max_attempts=2).bucket(moto_bucket.name)
        assert ranged_reader.get_stream(bucket["k"]._address)[1].read() == BODY  # each attempt returns a part
        assert len(proxy.seen) == 6
    with run_proxy(moto.endpoint_url, scripted({("GET", "k"): ["cut_body", *["reset_in_response"] * 9]})) as proxy:
        bucket = moto.connect(endpoint_url=proxy.endpoint_url, max_attempts=2).bucket(moto_bucket.name)
        with pytest.raises(s3.S3ConnectionError):
            ranged_reader.get_stream(bucket["k"]._address)[1].read()


# -- what is said of an object when it is written -----------------------------------------------------------------------------------

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a name of nothing": ({"nonsense": "x"}, "'nonsense' is not a parameter of a write; these are: content_type, "),
    "misspelt": (
        {"content_tpye": "text/x"},
        "'content_tpye' is not a parameter of a write; did you mean 'content_type'?",
    ),
    "misspelt, without a value": ({"content_tpye": None}, "did you mean 'content_type'?"),
    "S3's name misspelt": ({"ContentTpye": "text/x"}, "did you mean 'ContentType'?"),
    "S3's name in lower case": ({"acl": "private"}, "did you mean 'ACL'?"),
    "an argument misspelt": ({"if_abscent": True}, "did you mean 'if_absent'?"),
    "an argument of its own": ({"Metadata": {}}, "Metadata is not a further parameter of a write: give metadata="),
    "twice": ({"content_type": "text/x", "ContentType": "text/y"}, "ContentType is given twice"),
    "tags as a list": ({"tags": ["a"]}, "tags must be a mapping"),
    "tags of numbers": ({"tags": {"a": 1}}, "tags must be a mapping of text to text"),
}


@pytest.mark.parametrize(("extra", "said"), WRONG.values(), ids=WRONG)
def test_invalid_parameters_are_refused_before_a_request(
    scripted_server: ScriptedServer, extra: dict[str, Any], said: str
) -> None:
    """Which one, and what is wrong with it."""
    with pytest.raises(TypeError, match=said):
        scripted_server.bucket().put_object("k", b"x", **extra)
    assert scripted_server.asked == []


async def _put_async(bucket: s3.S3Bucket, extra: dict[str, Any]) -> None:
    async with s3.AsyncS3Store(bucket.store) as store:
        await store.bucket(bucket.name).put_object("k", b"x", **extra)


WRITES: dict[str, Callable[[s3.S3Bucket, dict[str, Any]], object]] = {
    "put_object": lambda bucket, extra: bucket.put_object("k", b"x", **extra),
    "put_object of a readable": lambda bucket, extra: bucket.put_object("k", io.BytesIO(b"x"), **extra),
    "put_object, if_absent": lambda bucket, extra: bucket.put_object("k", b"x", if_absent=True, **extra),
    "put_json": lambda bucket, extra: bucket.put_json("k", 1, **extra),
    "put_objects": lambda bucket, extra: bucket.put_objects([("k", b"x")], **extra),
    "obj.put": lambda bucket, extra: bucket["k"].put(b"x", **extra),
    "upload_object": lambda bucket, extra: bucket.upload_object("k", b"x", **extra),
    "upload_object, if_match": lambda bucket, extra: bucket.upload_object("k", b"x", if_match="e", **extra),
    "upload_object, ExtraArgs": lambda bucket, extra: bucket.upload_object("k", b"x", ExtraArgs=extra),
    "upload_file": lambda bucket, extra: bucket.upload_file(__file__, "k", **extra),
    "upload_folder": lambda bucket, extra: bucket.upload_folder(
        Path(__file__).parent, "p/", include="conftest.py", **extra
    ),
    "open('wb')": lambda bucket, extra: bucket["k"].open("wb", **extra).close(),
    "open('w')": lambda bucket, extra: bucket["k"].open("w", **extra).close(),
    "copy_to": lambda bucket, extra: bucket["k"].copy_to("l", **extra),
    "copy_object": lambda bucket, extra: bucket.copy_object("k", "l", **extra),
    "move_to": lambda bucket, extra: bucket["k"].move_to("l", **extra),
    "async put_object": lambda bucket, extra: asyncio.run(_put_async(bucket, extra)),
}


TAKEN = (
    *("Body", "Bucket", "Key", "ContentLength", "IfMatch", "IfNoneMatch", "Metadata"),
    *("condition", "call", "carried", "autocommit", "idempotency_token", "body", "connection"),
)
MAY_BE_METADATA = ("upload_object", "upload_file", "put_object of a readable")
"""As messageflux passes metadata in its ExtraArgs."""


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (write, name)
        for write in WRITES
        for name in TAKEN
        if name != "Metadata" or not write.startswith(MAY_BE_METADATA)
    ],
)
def test_parameters_that_would_replace_key_body_or_condition_are_refused(
    scripted_server: ScriptedServer, write: str, name: str
) -> None:
    """Names that would replace the content, the key or the condition."""
    with pytest.raises(TypeError, match=name):
        WRITES[write](scripted_server.bucket(), {name: "z"})
    assert scripted_server.asked == []


@pytest.mark.parametrize(
    ("name", "instead"), [("IfNoneMatch", "if_absent=True"), ("IfMatch", "if_match="), ("Metadata", "metadata=")]
)
def test_the_error_names_the_argument_to_use_instead(scripted_server: ScriptedServer, name: str, instead: str) -> None:
    """The argument with the intended effect."""
    with pytest.raises(TypeError, match=instead):
        scripted_server.bucket().put_object("k", b"x", **{name: "*"})


def test_tags_may_be_a_query_string_and_none_is_ignored(moto_bucket: s3.S3Bucket) -> None:
    """As boto3 takes them; None leaves a parameter to the store."""
    obj = moto_bucket.put_object("k.txt", b"x", tags="a=1&b=%20", content_type=None)
    assert dict(obj.tags.get()) == {"a": "1", "b": " "}
    obj.reload()
    assert obj.content_type == "text/plain"


def test_handles_read_through_the_lane_pickle_and_print_like_others(bucket: s3.S3Bucket) -> None:
    """Heads that are not decoded yet are pickled and shown like decoded ones."""
    bucket.put_object("k", b"x", {"a": "b"})
    [obj] = bucket.get_objects(["k"])
    back = pickle.loads(pickle.dumps(obj))
    assert (back.size, back.etag, back.metadata) == (1, obj.etag, {"a": "b"})
    assert repr(obj._head) == repr(back._head)


@pytest.mark.parametrize("size", [-1, 3_000_000], ids=["all the rest", "a number of bytes"])
@pytest.mark.parametrize("again", [-1, 1_000, 3_000_000])
def test_a_stream_read_that_fails_returns_the_same_bytes_when_it_is_called_again(
    scripted_server: ScriptedServer, size: int, again: int
) -> None:
    """The bytes received before the failure are kept, for any size of the next read."""
    body = os.urandom(3_000_000)
    cut = 2_500_000
    is_down = True

    def answer(asked: Asked) -> Answer:
        start = int(asked.headers.get("range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        if is_down and start >= cut:
            return refusal(503, "SlowDown")
        answered = content_of(asked, body)
        assert answered is not None
        if not is_down:
            return answered
        return answered[0], {**answered[1], "Content-Length": str(len(answered[2]))}, answered[2][: cut - start]

    scripted_server.answer = answer
    with scripted_server.bucket(max_attempts=3)["k"].body_stream as stream:
        assert stream.read(10) == body[:10]
        with pytest.raises(s3.S3Error) as raised:
            stream.read(size)
        assert raised.value.retryable
        is_down = False
        got = stream.read(again)
        assert got == (body[10:] if again < 0 else body[10 : 10 + again])
        assert got + stream.read() == body[10:]


def test_a_stream_without_an_etag_is_not_resumed_after_a_failure(scripted_server: ScriptedServer) -> None:
    """Nothing shows whether the object is still the same."""
    scripted_server.answer = lambda asked: (200, {"Content-Length": "1000"}, b"x" * 600)
    with scripted_server.bucket(max_attempts=3)["k"].body_stream as stream:
        for _ in range(3):
            with pytest.raises(s3.S3ConnectionError):
                stream.read()
