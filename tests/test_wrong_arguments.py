"""Writes with wrong arguments raise TypeError, name the argument, and send nothing: sync and async."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

import messageflux_s3 as s3
from messageflux_s3.fs import MessagefluxS3FileSystem

ENDPOINT = "http://127.0.0.1:9"  # no server there: a request would raise S3ConnectionError
MISSPELT = "'content_tpye' is not a parameter of a write; did you mean 'content_type'\\?"

Extra = dict[str, Any]


@pytest.fixture(scope="module")
def bucket() -> Iterator[s3.S3Bucket]:
    with s3.connect(ENDPOINT, access_key="a", secret_key="b", max_attempts=1) as store:
        yield store.bucket("bucket")


# Every write of the bucket and of the object. The path is that of a folder with one file, "file".
WRITES: dict[str, Callable[[s3.S3Bucket, Path, Extra], object]] = {
    "put_object": lambda bucket, path, extra: bucket.put_object("k", b"x", **extra),
    "put_object, if_absent": lambda bucket, path, extra: bucket.put_object("k", b"x", if_absent=True, **extra),
    "put_object of a readable": lambda bucket, path, extra: bucket.put_object("k", (path / "file").open("rb"), **extra),
    "put_json": lambda bucket, path, extra: bucket.put_json("k", {}, **extra),
    "put_objects": lambda bucket, path, extra: bucket.put_objects([("k", b"x")], **extra),
    "put_objects of nothing": lambda bucket, path, extra: bucket.put_objects([], **extra),
    "upload_object": lambda bucket, path, extra: bucket.upload_object("k", b"x", **extra),
    "upload_object, ExtraArgs": lambda bucket, path, extra: bucket.upload_object("k", b"x", ExtraArgs=extra),
    "upload_file": lambda bucket, path, extra: bucket.upload_file(path / "file", "k", **extra),
    "upload_folder": lambda bucket, path, extra: bucket.upload_folder(path, "p", **extra),
    "copy_object": lambda bucket, path, extra: bucket.copy_object("a", "b", **extra),
    "put": lambda bucket, path, extra: bucket["k"].put(b"x", **extra),
    "open('wb')": lambda bucket, path, extra: bucket["k"].open("wb", **extra),
    "open('a')": lambda bucket, path, extra: bucket["k"].open("a", **extra),
    "copy_to": lambda bucket, path, extra: bucket["k"].copy_to("b", **extra),
    "move_to": lambda bucket, path, extra: bucket["k"].move_to("b", **extra),
}
ASYNC_WRITES: dict[str, Callable[[s3.AsyncS3Bucket, Path, Extra], Awaitable[object]]] = {
    "put_object": lambda bucket, path, extra: bucket.put_object("k", b"x", **extra),
    "put_object, if_absent": lambda bucket, path, extra: bucket.put_object("k", b"x", if_absent=True, **extra),
    "put_object of a readable": lambda bucket, path, extra: bucket.put_object("k", (path / "file").open("rb"), **extra),
    "put_json": lambda bucket, path, extra: bucket.put_json("k", {}, **extra),
    "put_objects": lambda bucket, path, extra: bucket.put_objects([("k", b"x")], **extra),
    "put_objects of nothing": lambda bucket, path, extra: bucket.put_objects([], **extra),
    "upload_file": lambda bucket, path, extra: bucket.upload_file(path / "file", "k", **extra),
    "copy_object": lambda bucket, path, extra: bucket.copy_object("a", "b", **extra),
    "put": lambda bucket, path, extra: bucket["k"].put(b"x", **extra),
    "copy_to": lambda bucket, path, extra: bucket["k"].copy_to("b", **extra),
    "move_to": lambda bucket, path, extra: bucket["k"].move_to("b", **extra),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(b"x")
    return tmp_path


def in_loop(call: Callable[[s3.AsyncS3Bucket], Awaitable[object]]) -> None:
    async def run() -> None:
        async with s3.async_connect(ENDPOINT, access_key="a", secret_key="b", max_attempts=1) as store:
            await call(store.bucket("bucket"))

    asyncio.run(run())


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_misspelt_parameter_raises_type_error_naming_the_nearest(
    bucket: s3.S3Bucket, folder: Path, write: Callable[[s3.S3Bucket, Path, Extra], object]
) -> None:
    """Also where the value is None, and where there is nothing to write."""
    for value in ("text/plain", None):
        with pytest.raises(TypeError, match=MISSPELT):
            write(bucket, folder, {"content_tpye": value})


@pytest.mark.parametrize("write", ASYNC_WRITES.values(), ids=ASYNC_WRITES)
def test_a_misspelt_parameter_raises_type_error_naming_the_nearest_async(
    folder: Path, write: Callable[[s3.AsyncS3Bucket, Path, Extra], Awaitable[object]]
) -> None:
    """As the sync methods do."""
    with pytest.raises(TypeError, match=MISSPELT):
        in_loop(lambda bucket: write(bucket, folder, {"content_tpye": "text/plain"}))


# Content that another method takes, and the method.
TAKEN_ELSEWHERE: dict[str, tuple[Any, str]] = {
    "a path": (Path("x"), "upload_file"),
    "a generator": ((piece for piece in [b"x"]), "upload_object"),
    "a mapping": ({"a": 1}, "put_json"),
    "a list": ([b"x"], "put_json.*upload_object"),
}
PUTS: dict[str, Callable[[s3.S3Bucket, Any], object]] = {
    "put_object": lambda bucket, data: bucket.put_object("k", data),
    "put_object, if_absent": lambda bucket, data: bucket.put_object("k", data, if_absent=True),
    "put_objects": lambda bucket, data: bucket.put_objects([("k", data)]),
    "put": lambda bucket, data: bucket["k"].put(data),
}
ASYNC_PUTS: dict[str, Callable[[s3.AsyncS3Bucket, Any], Awaitable[object]]] = {
    "put_object": lambda bucket, data: bucket.put_object("k", data),
    "put_objects": lambda bucket, data: bucket.put_objects([("k", data)]),
    "put": lambda bucket, data: bucket["k"].put(data),
}


@pytest.mark.parametrize(("data", "method"), TAKEN_ELSEWHERE.values(), ids=TAKEN_ELSEWHERE)
@pytest.mark.parametrize("put", PUTS.values(), ids=PUTS)
def test_the_error_names_the_method_that_takes_such_content(
    bucket: s3.S3Bucket, put: Callable[[s3.S3Bucket, Any], object], data: Any, method: str
) -> None:
    """Every method of the name exists."""
    with pytest.raises(TypeError, match=f"must be bytes.*{method}"):
        put(bucket, data)
    assert all(hasattr(bucket, name) for name in method.split(".*"))


@pytest.mark.parametrize(("data", "method"), TAKEN_ELSEWHERE.values(), ids=TAKEN_ELSEWHERE)
@pytest.mark.parametrize("put", ASYNC_PUTS.values(), ids=ASYNC_PUTS)
def test_the_error_names_the_method_that_takes_such_content_async(
    put: Callable[[s3.AsyncS3Bucket, Any], Awaitable[object]], data: Any, method: str
) -> None:
    """As the sync methods do."""
    with pytest.raises(TypeError, match=f"must be bytes.*{method}"):
        in_loop(lambda bucket: put(bucket, data))


def test_content_that_no_method_takes_is_refused_without_a_hint(bucket: s3.S3Bucket) -> None:
    """The order of a set is not defined; a number has no form as bytes."""
    wrong: Any
    for wrong in (42, {b"x"}, None):
        with pytest.raises(TypeError, match=f"not {type(wrong).__name__}$"):
            bucket.put_object("k", wrong)


def test_a_path_as_a_key_is_refused_with_the_reason(bucket: s3.S3Bucket) -> None:
    """A Path of Windows has backslashes, and every Path drops parts of a key."""
    key: Any = Path("a/b")
    for call in (lambda: bucket.put_object(key, b""), lambda: bucket[key], lambda: key in bucket):
        with pytest.raises(TypeError, match=r"key must be text, not PosixPath: .*as_posix"):
            call()


@pytest.mark.parametrize("uri", ["s3://b/k", "mfs3://b/k"])
def test_a_uri_in_place_of_a_key_is_refused_with_a_hint(bucket: s3.S3Bucket, uri: str) -> None:
    """``bucket.object`` takes it: a key may begin in this way."""
    awaited = s3.AsyncS3Store(bucket.store).bucket("bucket")
    obj = bucket["k"]
    for call in (
        lambda: bucket[uri],
        lambda: uri in bucket,
        lambda: awaited[uri],
        lambda: obj.copy_to(uri),
        lambda: obj.move_to(uri),  # it deleted the object, whose copy was in the same bucket
        lambda: bucket.copy_object("k", uri),
        lambda: asyncio.run(awaited["k"].copy_to(uri)),
    ):
        with pytest.raises(s3.S3InvalidName, match=r"is a URI, not a key: store.object") as caught:
            call()
        assert (caught.value.bucket, caught.value.key) == ("bucket", uri)
    assert bucket.object(uri).key == awaited.object(uri).key == uri
    assert bucket["s3:/b/k"].key == "s3:/b/k"


BAD_CONTENTS: dict[str, tuple[Callable[[s3.S3Bucket], object], str]] = {
    "put_object": (lambda bucket: bucket.put_object("k", 42), "buf must be .*, not int"),
    "put_object, if_absent": (lambda bucket: bucket.put_object("k", 42, if_absent=True), "buf must be .*, not int"),
    "put_object of a path": (lambda bucket: bucket.put_object("k", Path("x")), "buf must be .*, not PosixPath"),
    "put_object of a list": (lambda bucket: bucket.put_object("k", [b"x"]), "buf must be .*, not list"),
    "put_objects": (lambda bucket: bucket.put_objects([("k", 42)]), "the data of 'k' must be bytes or text, not int"),
    "upload_object": (lambda bucket: bucket.upload_object("k", 42), "stream must be .*, not int"),
    "upload_file": (lambda bucket: bucket.upload_file(42, "k"), "path must be .*, not int"),
    "put": (lambda bucket: bucket["k"].put(42), "data must be .*, not int"),
    "metadata of numbers": (lambda bucket: bucket.put_object("k", b"x", {"a": 1}), "metadata"),
    "metadata of numbers, copy_to": (lambda bucket: bucket["k"].copy_to("l", metadata={"a": 1}), "metadata"),
    "metadata of numbers, move_to": (lambda bucket: bucket["k"].move_to("l", metadata={"a": 1}), "metadata"),
    "metadata of numbers, set_metadata": (lambda bucket: bucket["k"].set_metadata({"a": 1}), "metadata"),
    "tags of numbers": (lambda bucket: bucket.put_object("k", b"x", tags={"a": 1}), "tags must be"),
    "update": (lambda bucket: bucket["k"].update(None), "function must .*, not be NoneType"),
}
ASYNC_BAD_CONTENTS: dict[str, tuple[Callable[[s3.AsyncS3Bucket], Awaitable[object]], str]] = {
    "put_object": (lambda bucket: bucket.put_object("k", 42), "buf must be .*, not int"),
    "put_object, if_absent": (lambda bucket: bucket.put_object("k", 42, if_absent=True), "buf must be .*, not int"),
    "put_object of a path": (lambda bucket: bucket.put_object("k", Path("x")), "buf must be .*, not PosixPath"),
    "put_objects": (lambda bucket: bucket.put_objects([("k", 42)]), "the data of 'k' must be bytes or text, not int"),
    "upload_file": (lambda bucket: bucket.upload_file(42, "k"), "path must be .*, not int"),
    "put": (lambda bucket: bucket["k"].put(42), "data must be .*, not int"),
    "metadata of numbers": (lambda bucket: bucket.put_object("k", b"x", {"a": 1}), "metadata"),
    "metadata of numbers, copy_to": (lambda bucket: bucket["k"].copy_to("l", metadata={"a": 1}), "metadata"),
    "metadata of numbers, move_to": (lambda bucket: bucket["k"].move_to("l", metadata={"a": 1}), "metadata"),
    "metadata of numbers, set_metadata": (lambda bucket: bucket["k"].set_metadata({"a": 1}), "metadata"),
    "tags of numbers": (lambda bucket: bucket.put_object("k", b"x", tags={"a": 1}), "tags must be"),
    "update": (lambda bucket: bucket["k"].update(None), "function must .*, not be NoneType"),
}


@pytest.mark.parametrize(("write", "message"), BAD_CONTENTS.values(), ids=BAD_CONTENTS)
def test_content_of_another_type_raises_type_error_naming_the_argument(
    bucket: s3.S3Bucket, write: Callable[[s3.S3Bucket], object], message: str
) -> None:
    """Before anything is sent."""
    with pytest.raises(TypeError, match=message):
        write(bucket)


@pytest.mark.parametrize(("write", "message"), ASYNC_BAD_CONTENTS.values(), ids=ASYNC_BAD_CONTENTS)
def test_content_of_another_type_raises_type_error_naming_the_argument_async(
    write: Callable[[s3.AsyncS3Bucket], Awaitable[object]], message: str
) -> None:
    """As the sync methods do."""
    with pytest.raises(TypeError, match=message):
        in_loop(write)


def test_update_names_what_the_function_returned(moto_bucket: s3.S3Bucket) -> None:
    """Nothing is written."""
    wrong: Any = lambda before: 42  # noqa: E731 - as a user might
    with pytest.raises(TypeError, match="the function returns must be bytes or text, not int"):
        moto_bucket["k"].update(wrong)
    assert "k" not in moto_bucket


async def coroutine_function(*_: object) -> None:
    raise AssertionError("it is never run")


# Arguments that failed inside the library or another one, each with the name that the error must contain.
LONE, FOREVER = "\ud800", float("inf")
NAMED: dict[str, tuple[str, Callable[[s3.S3Bucket, Any], object]]] = {
    "find": ("prefix", lambda bucket, path: bucket.find(LONE)),
    "find, delimiter": ("delimiter", lambda bucket, path: bucket.find(delimiter=LONE)),
    "find, start_after": ("start_after", lambda bucket, path: bucket.find(start_after=LONE)),
    "usage": ("prefix", lambda bucket, path: bucket.usage(LONE)),
    "list_common_prefixes": ("prefix", lambda bucket, path: bucket.list_common_prefixes(LONE)),
    "download_folder, prefix": ("prefix", lambda bucket, path: bucket.download_folder(LONE, path)),
    "sync_to_folder, prefix": ("prefix", lambda bucket, path: bucket.sync_to_folder(LONE, path)),
    "sync_from_folder, prefix": ("prefix", lambda bucket, path: bucket.sync_from_folder(path, LONE)),
    "get_object": ("if_none_match", lambda bucket, path: bucket.get_object("k", if_none_match=LONE)),
    "put_object": ("if_match", lambda bucket, path: bucket.put_object("k", b"", if_match=LONE)),
    "put_object of any": ("if_match", lambda bucket, path: bucket.put_object("k", b"", if_match="*")),
    "upload_object of any": ("if_match", lambda bucket, path: bucket.upload_object("k", b"", if_match='"*"')),
    "copy_to any": ("if_match", lambda bucket, path: bucket["k"].copy_to("l", if_match="*")),
    "delete of any": ("if_match", lambda bucket, path: bucket["k"].delete(if_match="*")),
    "open of any": ("if_match", lambda bucket, path: bucket["k"].open("wb", if_match="*")),
    "get_object of any": ("if_none_match", lambda bucket, path: bucket.get_object("k", if_none_match="*")),
    "set_metadata": ("if_match", lambda bucket, path: bucket["k"].set_metadata({}, if_match=LONE)),
    "open": ("if_match", lambda bucket, path: bucket["k"].open("rb", if_match=cast("Any", 1))),
    "open to write": ("if_match", lambda bucket, path: bucket["k"].open("wb", if_match=cast("Any", 1))),
    "presigned_url": ("expires_in", lambda bucket, path: bucket["k"].presigned_url(expires_in=cast("Any", FOREVER))),
    "presigned_post": ("expires_in", lambda bucket, path: bucket["k"].presigned_post(expires_in=cast("Any", FOREVER))),
    "presigned_post, fields": ("fields", lambda bucket, path: bucket["k"].presigned_post(fields=cast("Any", 1))),
    "receipt_handle": ("message", lambda bucket, path: s3.ClaimCheck(bucket).receipt_handle(cast("Any", None))),
    "presigned_post, conditions": (
        "conditions",
        lambda bucket, path: bucket["k"].presigned_post(conditions=cast("Any", {"acl": "private"})),
    ),
    "find().map": ("function", lambda bucket, path: bucket.find().map(coroutine_function)),
    "find().map, on_error": ("on_error", lambda bucket, path: bucket.find().map(len, on_error=coroutine_function)),  # type: ignore[arg-type]
    "find().copy_to": ("prefix", lambda bucket, path: bucket.find().copy_to(bucket, cast("Any", None))),
    "delete of a query": ("no criteria", lambda bucket, path: bucket.find(regex="", min_size=0).delete()),
    "with_stem": ("stem", lambda bucket, path: bucket.path("a").with_stem(cast("Any", None))),
    "with_suffix": ("suffix", lambda bucket, path: bucket.path("a").with_suffix(cast("Any", [".b"]))),
    "rglob": ("glob", lambda bucket, path: bucket.path("a").rglob(cast("Any", None))),
    "rglob of nothing": ("glob", lambda bucket, path: bucket.path("a").rglob("")),
    "apply": ("plan", lambda bucket, path: s3.SyncPlan((), "to_folder", "bucket", "", str(path)).apply()),
    "copy_to, parts": ("part_size_bytes", lambda bucket, path: bucket["k"].copy_to("l", part_size_bytes=1)),
    "copy_object, parts": (
        "part_size_bytes",
        lambda bucket, path: bucket.copy_object("k", "l", part_size_bytes=cast("Any", "1")),
    ),
    "upload_object, Config": ("Config", lambda bucket, path: bucket.upload_object("k", b"", Config=cast("Any", {}))),
    "upload_file": (
        "part_size_bytes",
        lambda bucket, path: bucket.upload_file(path / "file", "k", part_size_bytes=10**24),
    ),
}
WITH_FOLDER: dict[str, Callable[[s3.S3Bucket, Any], object]] = {
    "download_folder": lambda bucket, folder: bucket.download_folder("p", folder),
    "upload_folder": lambda bucket, folder: bucket.upload_folder(folder, "p"),
    "sync_to_folder": lambda bucket, folder: bucket.sync_to_folder("p", folder),
    "sync_from_folder": lambda bucket, folder: bucket.sync_from_folder(folder, "p"),
    "download_to": lambda bucket, folder: bucket.find().download_to(folder),
}


@pytest.mark.parametrize(("name", "call"), NAMED.values(), ids=NAMED)
def test_an_argument_that_cannot_be_right_is_named(
    bucket: s3.S3Bucket, folder: Path, name: str, call: Callable[[s3.S3Bucket, Path], object]
) -> None:
    """Lone surrogates, infinite times, numbers in place of texts; before anything is sent."""
    with pytest.raises((TypeError, ValueError), match=name) as caught:
        call(bucket, folder)
    assert not isinstance(caught.value, UnicodeError)


@pytest.mark.parametrize("wrong", [None, b"bytes", 1, "a\0b", ""])
@pytest.mark.parametrize("call", WITH_FOLDER.values(), ids=WITH_FOLDER)
def test_a_folder_that_cannot_be_one_is_named(
    bucket: s3.S3Bucket, call: Callable[[s3.S3Bucket, Any], object], wrong: object
) -> None:
    """Before anything is sent."""
    with pytest.raises((TypeError, ValueError), match="folder"):
        call(bucket, wrong)


def test_an_empty_folder_is_not_the_current_one(
    moto_bucket: s3.S3Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sync that deletes would delete the files of the current folder, or the objects that have no file there."""
    (tmp_path / "kept").write_text("x")
    monkeypatch.chdir(tmp_path)
    moto_bucket.put_object("site/kept", b"x")
    with pytest.raises(ValueError, match="folder is empty"):
        moto_bucket.sync_to_folder("nothing", "", delete=True)
    with pytest.raises(ValueError, match="folder is empty"):
        moto_bucket.sync_from_folder("", "site", delete=True)
    assert ((tmp_path / "kept").exists(), "site/kept" in moto_bucket) == (True, True)


@pytest.mark.parametrize("delete", [False, True])
def test_a_uri_in_place_of_a_prefix_is_refused(moto_bucket: s3.S3Bucket, tmp_path: Path, delete: bool) -> None:
    """As the AWS CLI takes one. No object is below such a prefix: a sync that deletes would delete all files, or all would be uploaded."""
    (tmp_path / "kept").write_text("x")
    moto_bucket.put_object("site/other", b"x")
    uri = f"s3://{moto_bucket.name}/site"
    for call in (
        lambda: moto_bucket.sync_to_folder(uri, tmp_path, delete=delete),
        lambda: moto_bucket.sync_from_folder(tmp_path, uri, delete=delete),
        lambda: moto_bucket.upload_folder(tmp_path, uri),
        lambda: moto_bucket.download_folder(uri, tmp_path),
    ):
        with pytest.raises(s3.S3InvalidName, match=f"'{uri}' is a URI, not a prefix"):
            call()
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert [obj.key for obj in moto_bucket.find()] == ["site/other"]


WITH_VERSION: dict[str, Callable[[s3.S3Bucket, Any, Any], object]] = {
    "object": lambda bucket, path, version: bucket.object("k", version),
    "object, async": lambda bucket, path, version: s3.AsyncS3Store(bucket.store).bucket("bucket").object("k", version),
    "delete_objects": lambda bucket, path, version: bucket.delete_objects([bucket.object("k", version)]),
    "download_object": lambda bucket, path, version: bucket.download_object("k", io.BytesIO(), version_id=version),
    "download_file": lambda bucket, path, version: bucket.download_file("k", path / "new", version_id=version),
    "from_boto3": lambda bucket, path, version: s3.S3Object.from_boto3(
        bucket.s3_resource.ObjectVersion("bucket", "k", version)
    ),
    "fs.info": lambda bucket, path, version: MessagefluxS3FileSystem(bucket.store).info("bucket/k", version_id=version),
    "fs.open": lambda bucket, path, version: MessagefluxS3FileSystem(bucket.store).open("bucket/k", version_id=version),
    "fs.cat_file": lambda bucket, path, version: MessagefluxS3FileSystem(bucket.store).cat_file(
        "bucket/k", version_id=version
    ),
    "fs.cp_file": lambda bucket, path, version: MessagefluxS3FileSystem(bucket.store).cp_file(
        "bucket/k", "bucket/l", version_id=version
    ),
    "fs.sign": lambda bucket, path, version: MessagefluxS3FileSystem(bucket.store).sign("bucket/k", version_id=version),
}


@pytest.mark.parametrize(("wrong", "error"), [("", ValueError), (5, TypeError), (b"v1", TypeError)])
@pytest.mark.parametrize("call", WITH_VERSION.values(), ids=WITH_VERSION)
def test_a_version_id_that_cannot_be_one_is_named(
    bucket: s3.S3Bucket,
    tmp_path: Path,
    call: Callable[[s3.S3Bucket, Any, Any], object],
    wrong: object,
    error: type[Exception],
) -> None:
    """Before anything is sent. An empty one was left out of a bulk deletion, which then deleted the current object."""
    with pytest.raises(error, match="version_id"):
        call(bucket, tmp_path, wrong)
    assert [*tmp_path.iterdir()] == []
