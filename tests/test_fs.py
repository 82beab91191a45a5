"""The fsspec file system: fsspec's own abstract test suite, and further tests."""

from __future__ import annotations

import contextlib
import gc
import io
import pickle
import random
import shutil
import threading
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import fsspec
import pytest
from fsspec.tests import abstract
from support.scripted_server import Answer, Asked, ScriptedServer, content_of, document, refusal
from support.servers import Server
from support.stateful_server import StatefulStore

import messageflux_s3 as s3
from messageflux_s3._objects.source import Source
from messageflux_s3.fs import MessagefluxS3FileSystem, register_as_s3


class Fixtures(abstract.AbstractFixtures):
    """The fixtures that fsspec's suite requires."""

    @pytest.fixture
    def fs(self, s3_store: s3.S3Store) -> MessagefluxS3FileSystem:
        return MessagefluxS3FileSystem(s3_store)

    @pytest.fixture
    def fs_path(self, s3_bucket: s3.S3Bucket) -> str:
        return s3_bucket.name

    @pytest.fixture
    def fs_join(self) -> Any:
        return lambda *parts: "/".join(parts)

    @pytest.fixture
    def supports_empty_directories(self) -> bool:
        return False


class TestCopy(abstract.AbstractCopyTests, Fixtures):
    """fsspec's own tests of copying."""


class TestGet(abstract.AbstractGetTests, Fixtures):
    """fsspec's own tests of getting files."""


class TestPut(abstract.AbstractPutTests, Fixtures):
    """fsspec's own tests of putting files."""


class TestPipe(abstract.AbstractPipeTests, Fixtures):
    """fsspec's own tests of writing bytes."""


class TestOpen(abstract.AbstractOpenTests, Fixtures):
    """fsspec's own tests of opening files."""


class OnRclone:
    """The same on rclone's server, whose buckets are folders."""

    @pytest.fixture
    def fs(self, rclone: Server) -> MessagefluxS3FileSystem:
        return MessagefluxS3FileSystem(rclone.connect())

    @pytest.fixture
    def fs_path(self, rclone: Server) -> Iterator[str]:
        name = f"test-{uuid.uuid4().hex[:16]}"
        rclone.connect().create_bucket(name)
        yield name
        assert rclone.root is not None
        shutil.rmtree(rclone.root / name)


class TestCopyOnRclone(OnRclone, TestCopy):
    """fsspec's own tests of copying."""


class TestGetOnRclone(OnRclone, TestGet):
    """fsspec's own tests of getting files."""


class TestPutOnRclone(OnRclone, TestPut):
    """fsspec's own tests of putting files."""


@pytest.fixture
def fs(s3_store: s3.S3Store) -> MessagefluxS3FileSystem:
    return MessagefluxS3FileSystem(s3_store)


@pytest.fixture
def root(s3_bucket: s3.S3Bucket) -> str:
    return s3_bucket.name


def test_listings_are_not_cached(fs: MessagefluxS3FileSystem, s3_bucket: s3.S3Bucket, root: str) -> None:
    """No listing is cached."""
    assert fs.ls(root) == []
    s3_bucket.put_object("a/b.txt", b"1")
    assert [entry["name"] for entry in fs.ls(root)] == [f"{root}/a"]
    assert fs.isdir(f"{root}/a")
    s3_bucket.delete_object("a/b.txt")
    assert fs.ls(root) == []
    assert not fs.exists(f"{root}/a")


def test_missing_paths_raise_file_not_found(fs: MessagefluxS3FileSystem, root: str) -> None:
    """Every method raises FileNotFoundError for a missing path."""
    for ask in (fs.info, fs.ls, fs.cat_file, fs.open, fs.rm, fs.modified):
        with pytest.raises(FileNotFoundError):
            ask(f"{root}/nothing")
    with pytest.raises(FileNotFoundError):
        fs.info("no-such-bucket-here")
    assert not fs.exists(f"{root}/nothing")


def test_info_has_size_type_etag_and_metadata(fs: MessagefluxS3FileSystem, s3_bucket: s3.S3Bucket, root: str) -> None:
    """Size, type, etag and metadata are the object's."""
    obj = s3_bucket.put_object("a.json", b"{}", {"source": "erp"})
    info = fs.info(f"{root}/a.json")
    assert (info["name"], info["size"], info["type"], info["ETag"]) == (f"{root}/a.json", 2, "file", obj.etag)
    assert info["metadata"] == {"source": "erp"}
    assert fs.ukey(f"{root}/a.json") == obj.etag
    assert fs.info(root)["type"] == fs.info("")["type"] == "directory"
    assert root in fs.ls("", detail=False)


def test_find_and_walk_agree(fs: MessagefluxS3FileSystem, root: str) -> None:
    """The flat listing and the walk agree, with folders and without, to any depth."""
    for key in ("a/1", "a/b/2", "a/b/c/3", "d", "a.txt"):
        fs.pipe(f"{root}/{key}", b"x")
    walked = sorted(f"{folder}/{name}" for folder, _, names in fs.walk(root) for name in names)
    assert fs.find(root) == walked == sorted(f"{root}/{key}" for key in ("a/1", "a/b/2", "a/b/c/3", "d", "a.txt"))
    assert fs.find(f"{root}/a", maxdepth=1) == [f"{root}/a/1"]
    assert fs.find(f"{root}/a", maxdepth=2, withdirs=True) == [
        f"{root}/a",
        f"{root}/a/1",
        f"{root}/a/b",
        f"{root}/a/b/2",
        f"{root}/a/b/c",
    ]
    assert fs.find(f"{root}/d") == [f"{root}/d"]
    assert fs.glob(f"{root}/**/2") == [f"{root}/a/b/2"]
    assert fs.du(root) == 5


@pytest.mark.parametrize(("start", "end"), [(None, None), (2, 5), (-3, None), (None, -2), (4, 100), (5, 2), (20, 30)])
def test_ranges_have_the_meaning_of_slices(
    fs: MessagefluxS3FileSystem, root: str, start: int | None, end: int | None
) -> None:
    """cat_file has the meaning of a slice, and cat_ranges that of many."""
    data = b"0123456789"
    fs.pipe(f"{root}/d", data)
    assert fs.cat_file(f"{root}/d", start, end) == data[start:end]
    assert fs.cat_ranges([f"{root}/d"] * 2, [start, 1], [end, 2]) == [data[start:end], b"1"]


def test_fsspec_open_accepts_mfs3_urls(local_url: dict[str, Any], s3_bucket: s3.S3Bucket) -> None:
    """fsspec.open takes mfs3://, with the settings of connect() as storage options."""
    fsspec.register_implementation("mfs3", MessagefluxS3FileSystem, clobber=True)
    with fsspec.open(f"mfs3://{s3_bucket.name}/ü/x.txt", "w", **local_url) as file:
        file.write("hello")
    assert s3_bucket.object("ü/x.txt").text == "hello"
    with fsspec.open(f"mfs3://{s3_bucket.name}/y.gz", "wb", compression="gzip", **local_url) as file:
        file.write(b"packed")
    with fsspec.open(f"mfs3://{s3_bucket.name}/y.gz", "rb", compression="infer", **local_url) as file:
        assert file.read() == b"packed"


@pytest.fixture
def local_url(s3_store: s3.S3Store) -> dict[str, Any]:
    config = s3_store.config
    return {
        "endpoint_url": config.endpoint_url,
        "access_key": config.access_key,
        "secret_key": config.secret_key,
        "region": "us-east-1",
    }


def test_a_with_block_that_raises_writes_nothing(fs: MessagefluxS3FileSystem, root: str) -> None:
    """For bytes and text, compressed or not."""
    for mode, compression in (("wb", None), ("w", None), ("wb", "gzip"), ("w", "gzip")):
        with pytest.raises(KeyError), fs.open(f"{root}/half", mode, compression=compression) as file:
            file.write(b"half" if "b" in mode else "half")
            raise KeyError
        assert not fs.exists(f"{root}/half")


def test_a_transaction_commits_all_files_or_none(fs: MessagefluxS3FileSystem, root: str) -> None:
    """Files of a transaction appear at its end; none does if it raises."""
    with fs.transaction:
        for name in "ab":
            with fs.open(f"{root}/{name}", "wb") as file:
                file.write(b"x")
        assert fs.ls(root) == []
    assert fs.find(root) == [f"{root}/a", f"{root}/b"]
    with pytest.raises(KeyError), fs.transaction:
        with fs.open(f"{root}/c", "wb") as file:
            file.write(b"x")
        raise KeyError
    assert not fs.exists(f"{root}/c")


@pytest.mark.parametrize("compression", ["gzip", "bz2", "xz", "zip", "infer"])
@pytest.mark.parametrize("in_transaction", [False, True])
@pytest.mark.parametrize("mode", ["wb", "w", "xb"])
def test_a_compressed_file_is_written(
    fs: MessagefluxS3FileSystem, root: str, mode: str, compression: str, in_transaction: bool
) -> None:
    """By close() and at the end of the block, whether or not the compressor closes the underlying file."""
    whole: Any = "whole" * 1000 if mode == "w" else b"whole" * 1000
    path = f"{root}/k.gz" if compression == "infer" else f"{root}/k"
    with fs.transaction if in_transaction else contextlib.nullcontext():
        with fs.open(path, mode, compression=compression) as file:
            file.write(whole)
        file = fs.open(f"{path}2", mode, compression="gzip" if compression == "infer" else compression)
        file.write(whole)
        file.close()
        assert file.closed
        with contextlib.suppress(KeyError), fs.open(f"{path}3", mode, compression="gzip") as file:
            file.write(whole)
            raise KeyError
        with contextlib.suppress(KeyError):
            file = fs.open(f"{path}4", mode, compression="gzip")
            try:
                file.write(whole)
                raise KeyError
            finally:
                file.close()
    assert fs.find(root) == [path, f"{path}2"]
    for name in (path, f"{path}2"):
        with fs.open(
            name, "r" if mode == "w" else "rb", compression="gzip" if compression == "infer" else compression
        ) as file:
            assert file.read() == whole


def test_a_compressed_file_that_is_garbage_collected_unclosed_writes_nothing(
    fs: MessagefluxS3FileSystem, root: str
) -> None:
    """Like an uncompressed one; also for text."""
    for mode, half in (("wb", b"half"), ("w", "half")):
        file = fs.open(f"{root}/k", mode, compression="gzip")
        file.write(half)
        with pytest.warns(ResourceWarning, match="without being closed"):
            del file
            gc.collect()
    assert fs.find(root) == []


@pytest.mark.parametrize(("mode", "compression"), [("wb", None), ("w", None), ("wb", "gzip"), ("w", "gzip")])
def test_a_transaction_commits_the_whole_content_of_a_file_that_is_still_open(
    moto_bucket: s3.S3Bucket, mode: str, compression: str | None
) -> None:
    """The text or compressed data that a file around the object's file still holds belongs to the object."""
    fs, path = MessagefluxS3FileSystem(moto_bucket.store), f"{moto_bucket.name}/k"
    with fs.transaction:
        file = fs.open(path, mode, compression=compression)
        file.write("content" if mode == "w" else b"content")
    with fs.open(path, "rb", compression=compression) as read:
        assert read.read() == b"content"
    assert file.closed


def test_a_transaction_does_not_commit_a_file_whose_end_cannot_be_written(moto_bucket: s3.S3Bucket) -> None:
    """Nothing of the file is visible."""
    fs, path = MessagefluxS3FileSystem(moto_bucket.store), f"{moto_bucket.name}/k"
    with pytest.raises(RuntimeError, match="no end"), fs.transaction:
        file = fs.open(path, "w", compression="gzip")
        file.write("begin")
        file.flush()
        file.buffer.close = _fail_at_the_end  # type: ignore[method-assign]
    assert not moto_bucket["k"].exists()


def _fail_at_the_end() -> None:
    raise RuntimeError("no end")


@pytest.mark.parametrize("way", ["transaction", "compression", "one request"])
def test_a_file_that_is_cut_while_it_is_uploaded_is_not_stored(
    moto_bucket: s3.S3Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Also where the object is written through open()."""
    monkeypatch.setattr("messageflux_s3.fs.PART_BYTES", 1000)
    fs, name, file = MessagefluxS3FileSystem(moto_bucket.store), moto_bucket.name, tmp_path / "f"
    file.write_bytes(b"x" * 3000)

    class Cut(fsspec.Callback):  # type: ignore[misc]  # fsspec publishes no types
        def relative_update(self, inc: int = 1) -> None:
            file.write_bytes(b"x" * 1000)

    if way == "one request":
        monkeypatch.setattr("messageflux_s3._objects.source.Source.take", _cutting(Source.take, file))
    settings = {"compression": "gzip"} if way == "compression" else {}
    with pytest.raises(OSError, match="was cut"), fs.transaction if way == "transaction" else contextlib.nullcontext():
        fs.put_file(file, f"{name}/k", callback=Cut(), **settings)
    assert not moto_bucket["k"].exists()


def _cutting(
    take: Callable[[Source, int], bytes | bytearray], file: Path
) -> Callable[[Source, int], bytes | bytearray]:
    def cutting(self: Source, size: int) -> bytes | bytearray:
        file.write_bytes(b"x" * 1000)
        return take(self, size)

    return cutting


@pytest.mark.parametrize("way", ["context", "calls"])
def test_a_transaction_ends_although_a_commit_fails(
    moto_bucket: s3.S3Bucket, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Older versions of fsspec would go on with the transaction: later writes would not be committed, and raise no error."""

    def complete_of_2023(self: Any, commit: bool = True) -> None:
        for file in self.files:
            file.commit() if commit else file.discard()
        self.files, self.fs._intrans = [], False

    monkeypatch.setattr(fsspec.transaction.Transaction, "complete", complete_of_2023)
    fs, name = MessagefluxS3FileSystem(moto_bucket.store), moto_bucket.name
    with pytest.raises(s3.S3NoSuchBucket):
        if way == "context":
            with fs.transaction:
                _pipe_around_a_failure(fs, name)
        else:
            fs.start_transaction()
            _pipe_around_a_failure(fs, name)
            fs.end_transaction()
    fs.pipe(f"{name}/later", b"3")
    assert [obj.key for obj in moto_bucket.find()] == ["before", "later"]


def _pipe_around_a_failure(fs: MessagefluxS3FileSystem, name: str) -> None:
    fs.pipe(f"{name}/before", b"1")
    fs.pipe(f"missing-{uuid.uuid4().hex}/k", b"2")
    fs.pipe(f"{name}/after", b"2")


@pytest.mark.parametrize("mode", ["wb", "w"])
def test_a_transaction_does_not_commit_a_file_that_was_closed_by_an_exception(
    fs: MessagefluxS3FileSystem, root: str, mode: str
) -> None:
    """The exception is caught within the transaction, which ends normally."""
    half: Any = b"half" if mode == "wb" else "half"
    with fs.transaction:
        with contextlib.suppress(KeyError):
            file = fs.open(f"{root}/half", mode)
            try:
                file.write(half)
                raise KeyError
            finally:
                file.close()
        with contextlib.suppress(KeyError), fs.open(f"{root}/half-in-a-block", mode) as file:
            file.write(half)
            raise KeyError
        with fs.open(f"{root}/whole", mode) as file:
            file.write(half)
    assert fs.find(root) == [f"{root}/whole"]


@pytest.mark.parametrize("mode", ["ab", "ba", "a"])
@pytest.mark.parametrize("in_transaction", [False, True])
def test_append_adds_or_raises_object_changed(
    fs: MessagefluxS3FileSystem, root: str, mode: str, in_transaction: bool
) -> None:
    """A write by others in between is kept; in a transaction the error is raised at its end."""
    more: Any = " more" if mode == "a" else b" more"
    fs.pipe(f"{root}/k", b"first")
    with fs.transaction if in_transaction else contextlib.nullcontext(), fs.open(f"{root}/k", mode) as file:
        file.write(more)
    assert fs.cat(f"{root}/k") == b"first more"
    file = None
    with pytest.raises(s3.S3ObjectChanged), fs.transaction if in_transaction else contextlib.nullcontext():  # noqa: SIM117
        with fs.open(f"{root}/k", mode) as file:
            file.write(more)
            fs._object(f"{root}/k").put(b"theirs")
    assert fs.cat(f"{root}/k") == b"theirs"


@pytest.mark.parametrize("in_transaction", [False, True])
def test_a_mode_to_read_and_write_at_once_is_refused(
    fs: MessagefluxS3FileSystem, root: str, in_transaction: bool
) -> None:
    """Within a transaction as outside of one."""
    with fs.transaction if in_transaction else contextlib.nullcontext():
        for mode in ("w+b", "a+b"):
            with pytest.raises(io.UnsupportedOperation):
                fs.open(f"{root}/k", mode)


def test_exit_without_enter_leaves_the_commit_to_the_transaction(fs: MessagefluxS3FileSystem, root: str) -> None:
    """ExitStack.push() ends the file before the transaction decides."""
    with pytest.raises(KeyError), fs.transaction:
        with contextlib.ExitStack() as stack:
            stack.push(fs.open(f"{root}/k", "wb")).write(b"x")
        assert not fs.exists(f"{root}/k")
        raise KeyError
    assert not fs.exists(f"{root}/k")


def test_pickles_contain_the_endpoint_and_no_secrets() -> None:
    """A pickled file system keeps its endpoint, and its pickle has no secret."""
    fs = MessagefluxS3FileSystem(
        endpoint_url="http://127.0.0.1:9", access_key="AKEY", secret_key="hush-hush", region="us-east-1"
    )
    pickled = pickle.dumps(fs)
    assert b"hush-hush" not in pickled
    assert "hush-hush" not in repr(fs)
    assert len(pickled) < 1000
    assert pickle.loads(pickled).store.config.endpoint_url == "http://127.0.0.1:9"


def test_fsspec_s_serialized_forms_contain_no_secret() -> None:
    """fsspec's to_json(), to_dict() and storage_options hold no secret, and reading them back never uses other credentials."""
    settings = {
        "endpoint_url": "http://127.0.0.1:9",
        "access_key": "AKEY",
        "secret_key": "hush-hush",
        "session_token": "hush-token",
    }
    fs = fsspec.filesystem("mfs3", **settings)
    for shown in (fs.to_json(), repr(fs.to_dict()), repr(fs.storage_options), repr(fs.storage_args), repr(vars(fs))):
        assert "hush" not in shown
    assert fs.store.config.secret_key == "hush-hush"
    with pytest.raises(ValueError, match="access_key and secret_key must be given together"):
        fsspec.AbstractFileSystem.from_json(fs.to_json())


def test_fsspec_s_serialized_forms_omit_callables_with_secrets() -> None:
    """The repr of a partial would show its arguments; the placeholder is rejected when it is read back."""
    fs = MessagefluxS3FileSystem(
        endpoint_url="http://127.0.0.1:9", credentials=partial(dict, access_key="AKEY", secret_key="hush-hush")
    )
    for shown in (fs.to_json(), repr(fs.to_dict()), repr(fs.storage_options), repr(vars(fs)), repr(fs)):
        assert "hush" not in shown
    with pytest.raises(TypeError, match="credentials must be a callable"):
        fsspec.AbstractFileSystem.from_json(fs.to_json())


def test_pickle_secrets_includes_secrets_in_serialized_forms() -> None:
    """With pickle_secrets=True what fsspec writes down makes the same file system again."""
    settings = {
        "endpoint_url": "http://127.0.0.1:9",
        "access_key": "AKEY",
        "secret_key": "hush-hush",
        "pickle_secrets": True,
    }
    fs = fsspec.filesystem("mfs3", **settings)
    assert fsspec.AbstractFileSystem.from_json(fs.to_json()).store.config.secret_key == "hush-hush"


def test_register_as_s3_registers_the_s3_protocol(fs: MessagefluxS3FileSystem, s3_bucket: s3.S3Bucket) -> None:
    """register_as_s3() makes s3:// ours, and paths with it are understood."""
    register_as_s3()
    assert fsspec.get_filesystem_class("s3") is MessagefluxS3FileSystem
    s3_bucket.put_object("k", b"v")
    assert fs.cat(f"s3://{s3_bucket.name}/k") == fs.cat(f"mfs3://{s3_bucket.name}/k") == b"v"
    assert fs.unstrip_protocol(f"{s3_bucket.name}/k") == f"mfs3://{s3_bucket.name}/k"


def test_mkdir_and_rmdir_create_and_delete_buckets(fs: MessagefluxS3FileSystem) -> None:
    """mkdir makes a bucket, rmdir deletes an empty one, and folders need neither."""
    fs.mkdir("fs-made-bucket")
    assert "fs-made-bucket" in fs.ls("", detail=False)
    with pytest.raises(FileExistsError):
        fs.makedirs("fs-made-bucket")
    fs.makedirs("fs-made-bucket", exist_ok=True)
    fs.makedirs("fs-made-bucket/folder")
    assert fs.ls("fs-made-bucket") == []
    fs.rmdir("fs-made-bucket/folder")
    fs.rmdir("fs-made-bucket")
    assert not fs.exists("fs-made-bucket")


def test_put_and_get_keep_names_and_content(fs: MessagefluxS3FileSystem, root: str, tmp_path: Path) -> None:
    """put and get keep names and bytes."""
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / "sub" / "a").write_bytes(b"1")
    (tmp_path / "in" / "b").write_bytes(b"22")
    fs.put(str(tmp_path / "in"), f"{root}/copy", recursive=True)
    fs.get(f"{root}/copy", str(tmp_path / "out"), recursive=True)
    assert (tmp_path / "out" / "sub" / "a").read_bytes() + (tmp_path / "out" / "b").read_bytes() == b"122"


def answer_for_bucket(asked: Asked) -> Answer:
    """What an empty bucket answers to a HEAD and to a listing; None for requests to an object."""
    if asked.key or "versioning" in asked.query:
        return None
    return (
        (200, {}, b"") if asked.method == "HEAD" else document("ListBucketResult", "<IsTruncated>false</IsTruncated>")
    )


WRITES_NEW: dict[str, Any] = {
    "put_file": lambda fs, local: fs.put_file(local, "bkt/k", mode="create"),
    "put": lambda fs, local: fs.put(local, "bkt/k", mode="create"),
    "put_file, compressed": lambda fs, local: fs.put_file(local, "bkt/k", mode="create", compression="gzip"),
    "pipe_file": lambda fs, local: fs.pipe_file("bkt/k", b"ours", mode="create"),
    "touch": lambda fs, local: fs.touch("bkt/k", truncate=False),
}


@pytest.mark.parametrize("in_transaction", [False, True])
@pytest.mark.parametrize("write", WRITES_NEW.values(), ids=WRITES_NEW)
def test_create_only_does_not_replace_what_others_create_meanwhile(
    scripted_server: ScriptedServer, tmp_path: Path, write: Any, in_transaction: bool
) -> None:
    """Another client creates the object between the HEAD and the write."""
    store = StatefulStore(scripted_server)

    def create_before_put(asked: Asked) -> Answer:
        if asked.what == "PUT k":
            store.put("k", b"theirs")
        return answer_for_bucket(asked)

    store.before = create_before_put
    local = tmp_path / "ours"
    local.write_bytes(b"ours")
    fs = MessagefluxS3FileSystem(scripted_server.connect(preset="aws"))
    is_silent = write is WRITES_NEW["touch"]
    with contextlib.nullcontext() if is_silent else pytest.raises(FileExistsError):  # noqa: SIM117
        with fs.transaction if in_transaction else contextlib.nullcontext():
            write(fs, str(local))
    assert store.body("k") == b"theirs"


def test_put_file_with_mode_create_refuses_what_is_there_before_it_sends_anything(
    scripted_server: ScriptedServer, tmp_path: Path
) -> None:
    """The object is unchanged, and no body is sent."""
    store = StatefulStore(scripted_server)
    store.before = answer_for_bucket
    store.put("k", b"theirs")
    (tmp_path / "ours").write_bytes(b"ours")
    with pytest.raises(FileExistsError):
        MessagefluxS3FileSystem(scripted_server.connect(preset="aws")).put_file(
            str(tmp_path / "ours"), "bkt/k", mode="create"
        )
    assert store.body("k") == b"theirs"
    assert "PUT k" not in scripted_server.whats


@pytest.mark.parametrize("name", ["put_file", "pipe_file"])
def test_a_mode_that_does_not_exist_is_refused_instead_of_overwriting(
    fs: MessagefluxS3FileSystem, root: str, tmp_path: Path, name: str
) -> None:
    """A mistyped "create" must not replace the object."""
    (tmp_path / "f").write_bytes(b"x")
    fs.pipe(f"{root}/k", b"there")
    with pytest.raises(ValueError, match="mode must be 'create' or 'overwrite', not 'creat'"):
        if name == "put_file":
            fs.put_file(str(tmp_path / "f"), f"{root}/k", mode="creat")
        else:
            fs.pipe_file(f"{root}/k", b"x", mode="creat")
    assert fs.cat_file(f"{root}/k") == b"there"


@pytest.mark.parametrize("how", [{}, {"compression": "gzip"}])
@pytest.mark.skipif(not Path("/sys/class/net/lo/mtu").is_file(), reason="needs Linux")
def test_put_file_of_a_file_shorter_than_its_size_ends(
    fs: MessagefluxS3FileSystem, root: str, how: dict[str, Any]
) -> None:
    """Files of /sys say 4096 bytes and give a few."""
    path = Path("/sys/class/net/lo/mtu")
    assert path.stat().st_size != len(path.read_bytes())
    fs.put_file(str(path), f"{root}/mtu", **how)
    with fs.open(f"{root}/mtu", compression=how.get("compression")) as file:
        assert file.read() == path.read_bytes()


def test_put_file_of_a_file_that_is_truncated_meanwhile_ends(scripted_server: ScriptedServer, tmp_path: Path) -> None:
    """It fails, and leaves nothing: neither an object nor parts."""
    store, local = StatefulStore(scripted_server), tmp_path / "f"
    local.write_bytes(bytes(49 * 1024 * 1024))

    def truncate(asked: Asked) -> Answer:
        if asked.what == "POST k?uploads":
            local.write_bytes(b"")
        return answer_for_bucket(asked)

    store.before = truncate
    with pytest.raises(OSError, match="cut while it was read"):
        MessagefluxS3FileSystem(scripted_server.connect(preset="aws")).put_file(str(local), "bkt/k")
    assert store.objects == store.uploads == {}


def test_put_file_tells_its_callback_of_size_and_bytes(fs: MessagefluxS3FileSystem, root: str, tmp_path: Path) -> None:
    """Parameters of the write are passed on; fsspec's cache options have no effect."""
    (tmp_path / "f").write_bytes(b"12345")
    callback = fsspec.callbacks.Callback()
    fs.put_file(tmp_path / "f", f"{root}/a/f", callback=callback, block_size=1, metadata={"m": "1"}, content_type="x/y")
    assert (callback.size, callback.value) == (5, 5)
    found = fs.info(f"{root}/a/f")
    assert (found["size"], found["metadata"], found["ContentType"]) == (5, {"m": "1"}, "x/y")
    with pytest.raises(FileNotFoundError):
        fs.put_file(tmp_path / "missing", f"{root}/a/missing")


@pytest.mark.parametrize("in_transaction", [False, True])
@pytest.mark.parametrize("compression", [None, "gzip", "bz2"])
def test_the_error_of_a_write_that_failed_in_a_thread_is_raised_at_the_end_of_the_block(
    scripted_server: ScriptedServer, compression: str | None, in_transaction: bool
) -> None:
    """Nothing is stored, so it must raise."""
    store = StatefulStore(scripted_server)
    store.before = lambda asked: refusal(403, "AccessDenied") if asked.what == "POST k?uploads" else None
    fs = MessagefluxS3FileSystem(scripted_server.connect(preset="aws"))
    data = random.Random(1).randbytes(9 * 1024 * 1024)
    failed: list[BaseException] = []

    def write(file: Any) -> None:
        try:
            file.write(data)
        except s3.S3Error as error:
            failed.append(error)

    with pytest.raises(s3.S3AccessDenied), fs.transaction if in_transaction else contextlib.nullcontext():  # noqa: SIM117
        with fs.open("bkt/k", "wb", compression=compression) as file:
            thread = threading.Thread(target=write, args=(file,))
            thread.start()
            thread.join()
            assert failed
    assert store.objects == store.uploads == {}


@pytest.mark.parametrize(
    "call",
    [
        lambda store: MessagefluxS3FileSystem(store, region="x"),
        lambda store: MessagefluxS3FileSystem("http://x"),
        lambda store: MessagefluxS3FileSystem(no_such_setting=1),
    ],
)
def test_contradicting_or_unknown_settings_raise_type_error(s3_store: s3.S3Store, call: Any) -> None:
    """Settings that contradict or do not exist are a TypeError."""
    with pytest.raises(TypeError):
        call(s3_store)


WRONG: dict[str, tuple[Any, str]] = {
    "an event loop": (
        lambda fs: MessagefluxS3FileSystem(fs.store, asynchronous=True),
        "use messageflux_s3.async_connect",
    ),
    "a bucket for an object": (
        lambda fs: fs.cat_file("bucket"),
        "'bucket' does not name an object: a path is bucket/key",
    ),
    "no depth": (lambda fs: fs.find("bucket", maxdepth=0), "maxdepth must be at least 1"),
    "ranges of two lengths": (lambda fs: fs.cat_ranges(["b/a"], [0, 1], [1]), "must have the same length"),
}


@pytest.mark.parametrize(("act", "said"), WRONG.values(), ids=WRONG)
def test_invalid_arguments_raise_an_error_that_names_them(fs: MessagefluxS3FileSystem, act: Any, said: str) -> None:
    """Invalid arguments raise an error that names valid ones."""
    with pytest.raises(ValueError, match=said):
        act(fs)


def test_find_below_a_missing_path_is_empty(fs: MessagefluxS3FileSystem, root: str) -> None:
    """A missing bucket, a missing folder; all buckets are walked from the top."""
    assert fs.find("no-such-bucket-here") == []
    assert fs.find("no-such-bucket-here", detail=True) == {}
    assert fs.find(f"{root}/nothing") == []
    fs.pipe(f"{root}/a/b", b"x")
    assert f"{root}/a/b" in fs.find("")
    assert fs.find(f"{root}/a/b") == [f"{root}/a/b"]


def test_folders_with_an_empty_name_are_not_listed(
    fs: MessagefluxS3FileSystem, s3_bucket: s3.S3Bucket, root: str
) -> None:
    """Keys with empty names have no path of their own; a folder's marker is not listed as a file."""
    s3_bucket.put_objects([("a/", b""), ("a//x", b"1"), ("a/b", b"2")])
    assert [entry["name"] for entry in fs.ls(f"{root}/a")] == [f"{root}/a/b"]
    s3_bucket.put_object("empty/", b"")
    assert fs.ls(f"{root}/empty") == []


def test_checksum_changes_with_the_content_and_sign_gives_a_url(fs: MessagefluxS3FileSystem, root: str) -> None:
    """checksum() changes with the content; sign() gives a URL that needs no credentials."""
    fs.pipe(f"{root}/k", b"one")
    before = fs.checksum(f"{root}/k")
    assert fs.checksum(f"{root}/k") == before
    with urllib.request.urlopen(fs.sign(f"{root}/k"), timeout=20) as answer:
        assert answer.read() == b"one"
    fs.pipe(f"{root}/k", b"two")
    assert fs.checksum(f"{root}/k") != before


PAIRED: dict[str, Callable[[MessagefluxS3FileSystem, Callable[[list[str]], Any], str, Path], list[bytes]]] = {
    "copy": lambda fs, kind, root, path: copied(fs, fs.copy, kind, root),
    "mv": lambda fs, kind, root, path: copied(fs, fs.mv, kind, root),
    "put": lambda fs, kind, root, path: uploaded(fs, kind, root, path),
    "get": lambda fs, kind, root, path: downloaded(fs, kind, root, path),
}


def copied(
    fs: MessagefluxS3FileSystem, way: Callable[..., object], kind: Callable[[list[str]], Any], root: str
) -> list[bytes]:
    way(kind([f"{root}/z", f"{root}/a"]), kind([f"{root}/1", f"{root}/2"]))
    return [fs.cat_file(f"{root}/{name}") for name in "12"]


def uploaded(fs: MessagefluxS3FileSystem, kind: Callable[[list[str]], Any], root: str, path: Path) -> list[bytes]:
    for name in "za":
        (path / name).write_bytes(name.encode())
    fs.put(kind([str(path / "z"), str(path / "a")]), kind([f"{root}/1", f"{root}/2"]))
    return [fs.cat_file(f"{root}/{name}") for name in "12"]


def downloaded(fs: MessagefluxS3FileSystem, kind: Callable[[list[str]], Any], root: str, path: Path) -> list[bytes]:
    fs.get(kind([f"{root}/z", f"{root}/a"]), kind([str(path / "1"), str(path / "2")]))
    return [(path / name).read_bytes() for name in "12"]


@pytest.mark.parametrize("kind", [list, tuple, iter])
@pytest.mark.parametrize("way", PAIRED.values(), ids=PAIRED)
def test_each_of_several_paths_has_the_target_at_its_place(
    fs: MessagefluxS3FileSystem, root: str, tmp_path: Path, way: Any, kind: Callable[[list[str]], Any]
) -> None:
    """A tuple or an iterator was sorted first, and got the targets of other paths."""
    fs.pipe({f"{root}/z": b"z", f"{root}/a": b"a"})
    assert way(fs, kind, root, tmp_path) == [b"z", b"a"]


def test_an_iterator_of_paths_with_a_folder_is_not_moved_in_part(fs: MessagefluxS3FileSystem, root: str) -> None:
    """As a list of them. The folder was left where it was."""
    fs.pipe({f"{root}/d/x": b"x", f"{root}/a": b"a"})
    with pytest.raises(IsADirectoryError):
        fs.mv(iter([f"{root}/d", f"{root}/a"]), f"{root}/new/")
    assert fs.find(root) == [f"{root}/a", f"{root}/d/x"]


@pytest.mark.parametrize("expiration", [0, -1, 8 * 86_400, True, "100", None])
def test_sign_refuses_what_is_no_time(fs: MessagefluxS3FileSystem, expiration: Any) -> None:
    """It returned a URL that no store accepts."""
    with pytest.raises((TypeError, ValueError), match="expires_in"):
        fs.sign("bucket/k", expiration)


ASKING: dict[str, Callable[[MessagefluxS3FileSystem], object]] = {
    "isdir": lambda fs: fs.isdir("bkt/d"),
    "isfile": lambda fs: fs.isfile("bkt/d"),
    "find of everything": lambda fs: fs.find(""),
    "du of everything": lambda fs: fs.du(""),
    "mv of a bucket": lambda fs: fs.mv("bkt", "other/d"),
}


@pytest.mark.parametrize("ask", ASKING.values(), ids=ASKING)
def test_a_store_that_does_not_answer_is_no_empty_one(ask: Callable[[MessagefluxS3FileSystem], object]) -> None:
    """isdir() and isfile() were False, find("") empty, and mv() reported success."""
    fs = MessagefluxS3FileSystem(endpoint_url="http://127.0.0.1:9", access_key="a", secret_key="b", max_attempts=1)
    with pytest.raises(s3.S3ConnectionError):
        ask(fs)


@pytest.mark.parametrize("theirs", ["AccessDenied", "NoSuchBucket", "broken"])
def test_a_listing_of_all_buckets_leaves_out_those_that_may_not_be_listed_only(
    scripted_server: ScriptedServer, theirs: str
) -> None:
    """And those that are deleted meanwhile. A bucket whose listing broke off was left out too."""

    def answer(asked: Asked) -> Answer:
        bucket_name = asked.target.partition("?")[0].strip("/")
        if not bucket_name:
            names = "".join(f"<Bucket><Name>{name}</Name></Bucket>" for name in ("mine", "theirs"))
            return document("ListAllMyBucketsResult", f"<Buckets>{names}</Buckets>")
        if bucket_name != "theirs":
            return None
        return b"HTTP" if theirs == "broken" else refusal(403 if theirs == "AccessDenied" else 404, theirs)

    store = StatefulStore(scripted_server)
    store.put("d/k", b"x")
    store.before = answer
    fs = MessagefluxS3FileSystem(scripted_server.connect(max_attempts=1))
    for find in (
        lambda: fs.find(""),
        lambda: fs.glob("*/d/*"),
        lambda: [f"{path}/{name}" for path, _, names in fs.walk("") for name in names],
    ):
        if theirs == "broken":
            with pytest.raises(s3.S3ConnectionError):
                find()
        else:
            assert find() == ["mine/d/k"]
    assert [path for path, *_ in fs.walk("", on_error="omit")] == ["", "mine", "mine/d"]
    store.before = lambda asked: refusal(403, "AccessDenied")
    with pytest.raises(s3.S3AccessDenied):
        fs.find("")


def test_a_path_that_may_not_be_read_is_neither_a_file_nor_a_folder(
    scripted_server: ScriptedServer, tmp_path: Path
) -> None:
    """As in fsspec. Files can be uploaded with the permission to write alone, but a bucket is not moved in silence."""
    written = []

    def answer(asked: Asked) -> Answer:
        if asked.method == "PUT":
            written.append(asked.key)
            return 200, {"ETag": '"e"'}, b""
        return refusal(403, "AccessDenied")

    scripted_server.answer = answer
    fs = MessagefluxS3FileSystem(scripted_server.connect(preset="aws"))
    assert (fs.isdir("bkt/d"), fs.isfile("bkt/d"), fs.isdir("bkt")) == (False, False, False)
    (tmp_path / "file").write_bytes(b"x")
    fs.put(str(tmp_path / "file"), "bkt/d/file")
    assert written == ["d/file"]
    with pytest.raises(s3.S3AccessDenied):
        fs.mv("bkt", "other/d")


def test_cat_ranges_returns_or_raises_errors(fs: MessagefluxS3FileSystem, root: str) -> None:
    """As fsspec has it: one for each range, or the first."""
    fs.pipe(f"{root}/k", b"0123456789")
    found = fs.cat_ranges([f"{root}/k", f"{root}/nothing"], 2, [5, None])
    assert found[0] == b"234"
    assert isinstance(found[1], FileNotFoundError)
    with pytest.raises(FileNotFoundError):
        fs.cat_ranges([f"{root}/nothing"], [0], [1], on_error="raise")


def test_touch_without_truncate_keeps_what_its_own_transaction_wrote(fs: MessagefluxS3FileSystem, root: str) -> None:
    """It raised at the end of the transaction, which then discarded all later files."""
    with fs.transaction:
        fs.pipe(f"{root}/a", b"1")
        fs.touch(f"{root}/a", truncate=False)
        fs.touch(f"{root}/new", truncate=False)
        fs.pipe(f"{root}/b", b"2")
    assert [fs.cat(f"{root}/{name}") for name in ("a", "new", "b")] == [b"1", b"", b"2"]
    with contextlib.suppress(RuntimeError), fs.transaction:
        fs.touch(f"{root}/discarded", truncate=False)
        raise RuntimeError
    assert not fs.exists(f"{root}/discarded")


def test_touch_without_truncate_keeps_the_content(fs: MessagefluxS3FileSystem, root: str) -> None:
    """touch() creates a missing object."""
    fs.pipe(f"{root}/k", b"x")
    fs.touch(f"{root}/k", truncate=False)
    assert fs.cat_file(f"{root}/k") == b"x"
    fs.touch(f"{root}/new", truncate=False)
    fs.touch(f"{root}/k")
    assert (fs.cat_file(f"{root}/new"), fs.cat_file(f"{root}/k")) == (b"", b"")


def test_large_files_are_copied_in_parts(
    fs: MessagefluxS3FileSystem, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its content, under the etag of the beginning."""
    fs.pipe(f"{root}/a", b"x" * 1000)
    monkeypatch.setattr("messageflux_s3._files.copying.MAX_COPIED_AT_ONCE", 999)
    fs.cp_file(f"{root}/a", f"{root}/b")
    assert fs.cat_file(f"{root}/b") == b"x" * 1000


def test_buckets_are_made_and_removed_as_folders(fs: MessagefluxS3FileSystem) -> None:
    """Creating a bucket twice raises unless exist_ok; deleting its content needs recursive."""
    name = f"test-{uuid.uuid4().hex[:16]}"
    fs.makedirs("")
    fs.mkdir(f"{name}/folder")  # creates the bucket as the parent
    fs.mkdir(f"{name}/folder")
    fs.makedirs(f"{name}/folder/below")
    fs.makedirs(name, exist_ok=True)
    for make in (fs.mkdir, fs.makedirs):
        with pytest.raises(FileExistsError):
            make(name)
    fs.pipe(f"{name}/k", b"x")
    fs.rm_file(f"{name}/k")
    fs.rm_file("")
    assert fs.ls(name) == []
    fs.rm_file(name)
    assert not fs.exists(name)
    fs.mkdir(name)
    fs.pipe({f"{name}/a/b": b"x", f"{name}/c": b"y"})
    fs.rm(name, recursive=True)
    assert not fs.exists(name)


def test_mkdir_accepts_a_bucket_that_was_created_meanwhile(fs: MessagefluxS3FileSystem, root: str) -> None:
    """mkdir() of a folder accepts a bucket that another client has created meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MessagefluxS3FileSystem, "exists", lambda self, path: False)
        fs.mkdir(f"{root}/folder")
        with pytest.raises(FileExistsError):
            fs.mkdir(root)


def test_makedirs_succeeds_without_permission_for_the_bucket(scripted_server: ScriptedServer) -> None:
    """Libraries call makedirs() before they write; with rights on a prefix alone that must not fail. The bucket itself is refused."""
    scripted_server.answer = lambda asked: refusal(403, "AccessDenied")
    fs = MessagefluxS3FileSystem(scripted_server.connect())
    fs.mkdir("bkt/folder")
    fs.makedirs("bkt/folder/below", exist_ok=True)
    for make in (lambda: fs.mkdir("bkt"), lambda: fs.makedirs("bkt"), lambda: fs.makedirs("bkt", exist_ok=True)):
        with pytest.raises(s3.S3AccessDenied):
            make()
    assert {asked.method for asked in scripted_server.asked} == {"HEAD", "GET"}


def test_file_systems_of_one_store_are_equal(fs: MessagefluxS3FileSystem, root: str) -> None:
    """Equal, of one hash, and one to Dask; paths are stripped in lists as well."""
    other = MessagefluxS3FileSystem(fs.store)
    assert (fs == other, hash(fs) == hash(other), fs == 1) == (True, True, False)
    assert fs.__dask_tokenize__() == other.__dask_tokenize__()
    assert fs._strip_protocol([f"mfs3://{root}/a", f"s3://{root}/b/"]) == [f"{root}/a", f"{root}/b"]


def test_file_systems_of_two_clients_have_different_dask_tokens(scripted_server: ScriptedServer) -> None:
    """The clients may have credentials of two tenants, for whom one bucket name means two buckets."""
    stores = [
        scripted_server.connect(boto3_session=None, access_key=key, secret_key="SECRETKEY0123456")
        for key in ("ACCESSKEY01", "ACCESSKEY02")
    ]
    one, other = (MessagefluxS3FileSystem(s3.S3Store.from_client(store.client)) for store in stores)
    assert one != other
    assert one.__dask_tokenize__() != other.__dask_tokenize__()


@pytest.mark.parametrize("key", ["p/../victim", "p/../../../victim"])
def test_get_writes_nothing_outside_the_target_folder(key: str, moto_bucket: s3.S3Bucket, tmp_path: Path) -> None:
    """Its ".." would address another file; with an explicit file name it can be downloaded."""
    moto_bucket.put_object(key, b"evil")
    folder = tmp_path / "deep" / "folder"
    folder.mkdir(parents=True)
    victims = [tmp_path / "victim", folder / "victim"]
    for victim in victims:
        victim.write_bytes(b"mine")
    fs = MessagefluxS3FileSystem(moto_bucket.store)
    with pytest.raises(ValueError, match=r"download_folder|outside"):
        fs.get(f"{moto_bucket.name}/p", str(folder), recursive=True)
    assert [victim.read_bytes() for victim in victims] == [b"mine"] * 2
    fs.get_file(f"{moto_bucket.name}/{key}", str(folder / "own"))
    assert (folder / "own").read_bytes() == b"evil"


# -- moving and copying: nothing is lost ---------------------------------------------------------------------------------------------


TREE = {"d/": "", "d/a": "1", "d/sub/": "", "d/sub/b": "2", "e/c": "3", "f": "4"}


@pytest.fixture
def tree(s3_bucket: s3.S3Bucket) -> dict[str, str]:
    """Some objects, and the markers of folders."""
    s3_bucket.put_objects(TREE.items())
    return dict(TREE)


def everything(bucket: s3.S3Bucket) -> dict[str, str]:
    return {obj.key: obj.text for obj in bucket.find()}


ONTO_THEMSELVES: list[tuple[Any, Any]] = [
    ("d", "d"), ("d", "d/"), ("d/", "d"), ("d/", "d/"), ("mfs3://d", "d"), ("f", "f"), ("f", "f/"), ("d/a", "d/"), ("d/a", "d"),
    ("d/sub", "d"), ("d/sub/b", "d/sub"), ("d", ""), ("", ""), (["d/a"], "d/"), (["d/a", "d/sub/b"], ["d/a", "d/sub/b"]),
    ("d/a*", "d/"),
]  # fmt: skip


@pytest.mark.parametrize("recursive", [True, False])
@pytest.mark.parametrize("verb", ["mv", "rename", "copy"])
def test_copy_and_move_onto_itself_keep_the_object(
    fs: MessagefluxS3FileSystem, s3_bucket: s3.S3Bucket, tree: dict[str, str], verb: str, recursive: bool
) -> None:
    """For every way to write the two paths."""

    def path(text: str) -> str:
        protocol, _, rest = text.rpartition("://")
        return f"{protocol}://{s3_bucket.name}/{rest}" if protocol else f"{s3_bucket.name}/{text}"

    for source, target in ONTO_THEMSELVES:
        ends = [[path(each) for each in end] if isinstance(end, list) else path(end) for end in (source, target)]
        getattr(fs, verb)(*ends, recursive=recursive)
        assert (source, target, everything(s3_bucket)) == (source, target, tree)


@pytest.mark.parametrize("verb", ["mv", "copy"])
@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        ("d", "d/sub", "moved into itself"), ("d", "d/new", "moved into itself"), ("d/", "d/sub/", "moved into itself"),
        ("", "d", "moved into itself"), (["d/a", "x/a"], "e/", "have the same target"), (["d/a", "f"], ["f", "g"], "would replace"),
        (["d/a", "f"], ["f", "d/a"], "would replace"), (["d/a", "f"], ["x"], "cannot be copied to 1 others"),
    ],
)  # fmt: skip
def test_copies_and_moves_that_would_lose_an_object_are_refused(
    fs: MessagefluxS3FileSystem,
    s3_bucket: s3.S3Bucket,
    tree: dict[str, str],
    verb: str,
    source: Any,
    target: Any,
    said: str,
) -> None:
    """A folder into itself, two objects onto one, or one onto another that is to go elsewhere: before anything is changed."""
    tree["x/a"] = "other"
    s3_bucket.put_object("x/a", "other")
    root = s3_bucket.name
    ends = [
        [f"{root}/{each}" for each in end] if isinstance(end, list) else f"{root}/{end}" for end in (source, target)
    ]
    with pytest.raises(ValueError, match=said):
        getattr(fs, verb)(*ends, recursive=True)
    assert everything(s3_bucket) == tree


@pytest.mark.parametrize(
    ("source", "target", "moved"),
    [
        ("d", "n", {"n/": "", "n/a": "1", "n/sub/": "", "n/sub/b": "2"}),
        ("d", "e", {"e/d/": "", "e/d/a": "1", "e/d/sub/": "", "e/d/sub/b": "2"}),
        ("d", "n/", {"n/d/": "", "n/d/a": "1", "n/d/sub/": "", "n/d/sub/b": "2"}),
        ("d/", "n", {"n/": "", "n/a": "1", "n/sub/": "", "n/sub/b": "2"}),
        ("d/sub/", "d", {"d/": "", "d/a": "1", "d/b": "2"}),
    ],
)
def test_moving_a_folder_moves_its_markers(
    fs: MessagefluxS3FileSystem,
    s3_bucket: s3.S3Bucket,
    tree: dict[str, str],
    source: str,
    target: str,
    moved: dict[str, str],
) -> None:
    """The source folder is empty afterwards."""
    fs.mv(f"{s3_bucket.name}/{source}", f"{s3_bucket.name}/{target}", recursive=True)
    stays = {key: text for key, text in tree.items() if not key.startswith(f"{source.strip('/')}/")}
    assert everything(s3_bucket) == {**stays, **moved}


def test_removing_a_folder_removes_its_markers(
    fs: MessagefluxS3FileSystem, s3_bucket: s3.S3Bucket, tree: dict[str, str]
) -> None:
    """Afterwards there is no such folder."""
    s3_bucket.put_object("d/x//", "")
    fs.rm(f"{s3_bucket.name}/d", recursive=True)
    assert everything(s3_bucket) == {"e/c": "3", "f": "4"}
    assert not fs.exists(f"{s3_bucket.name}/d")
    with pytest.raises(FileNotFoundError):
        fs.rm(f"{s3_bucket.name}/d", recursive=True)


def test_moving_a_bucket_moves_all_objects_and_deletes_it(fs: MessagefluxS3FileSystem, s3_store: s3.S3Store) -> None:
    """The bucket is deleted afterwards."""
    one, two = (s3_store.create_bucket(f"t-{uuid.uuid4().hex[:16]}") for _ in range(2))
    one.put_objects(TREE.items())
    fs.mv(one.name, f"{two.name}/all", recursive=True)
    assert everything(two) == {f"all/{key}": text for key, text in TREE.items() if key}
    assert not one.exists()


def test_a_move_that_fails_half_way_deletes_nothing(
    fs: MessagefluxS3FileSystem, s3_bucket: s3.S3Bucket, tree: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All objects are copied before any is deleted."""
    call = s3_bucket._connection.call

    def failing(operation: str, **parameters: Any) -> Any:
        if operation == "CopyObject" and parameters["Key"] == "n/sub/b":
            raise s3.S3AccessDenied("no", operation=operation)
        return call(operation, **parameters)

    monkeypatch.setattr(fs._connection, "call", failing)
    with pytest.raises(PermissionError):
        fs.mv(f"{s3_bucket.name}/d", f"{s3_bucket.name}/n", recursive=True)
    assert tree.items() <= everything(s3_bucket).items()


def test_a_copied_file_keeps_its_attributes(fs: MessagefluxS3FileSystem, s3_bucket: s3.S3Bucket) -> None:
    """Copied and moved, its storage class as well."""
    s3_bucket.put_object("k", "x", {"m": "1"}, storage_class="STANDARD_IA", tags={"t": "1"}, content_type="text/x")
    fs.cp(f"{s3_bucket.name}/k", f"{s3_bucket.name}/copy")
    fs.mv(f"{s3_bucket.name}/k", f"{s3_bucket.name}/moved")
    for key in ("copy", "moved"):
        obj = s3_bucket[key]
        head = (obj.content_type, obj.metadata, dict(obj.tags.get()), obj.reload().storage_class)
        assert head == ("text/x", {"m": "1"}, {"t": "1"}, "STANDARD_IA")
    assert not fs.exists(f"{s3_bucket.name}/k")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("mode", ["w", "a"])
def test_text_written_in_a_transaction_has_the_byte_order_mark_of_the_builtin(
    moto_bucket: s3.S3Bucket, tmp_path: Path, mode: str, encoding: str
) -> None:
    fs = MessagefluxS3FileSystem(moto_bucket.store)
    local = tmp_path / "f"
    local.write_bytes("ab".encode(encoding))
    moto_bucket.put_object("f", "ab".encode(encoding))
    with local.open(mode, encoding=encoding) as file:
        file.write("cd")
    with fs.transaction:
        with fs.open(f"{moto_bucket.name}/f", mode, encoding=encoding) as file:
            file.write("cd")
        assert moto_bucket["f"].body == "ab".encode(encoding)
    assert moto_bucket["f"].body == local.read_bytes()
    with pytest.raises(ZeroDivisionError), fs.transaction:
        with fs.open(f"{moto_bucket.name}/f", "w") as file:
            file.write("gone")
        raise ZeroDivisionError
    assert moto_bucket["f"].body == local.read_bytes()


def test_read_block_and_the_block_cache_read_an_object(moto_bucket: s3.S3Bucket, tmp_path: Path) -> None:
    lines = b"".join(b"%06d\n" % number for number in range(30_000))
    moto_bucket.put_object("lines", lines)
    fs = MessagefluxS3FileSystem(moto_bucket.store)
    path = f"{moto_bucket.name}/lines"
    assert fs.read_block(path, 70_001, 20, delimiter=b"\n") == lines[70_007:70_028]
    assert fs.read_block(path, 209_990, 100) == lines[209_990:]
    cached = fsspec.filesystem("blockcache", fs=fs, cache_storage=str(tmp_path))
    with cached.open(path) as file:
        assert file.size == len(lines)
        file.seek(100_000)
        assert file.read(100) == lines[100_000:100_100]


@pytest.mark.parametrize(
    ("start", "end"),
    [(200_000, 200_100), (10, None), (None, 150_000), (299_000, 400_000), (400_000, None), (300_000, 300_001)],
)
def test_a_range_of_a_file_takes_one_get(scripted_server: ScriptedServer, start: int | None, end: int | None) -> None:
    body = bytes(range(250)) * 1200

    def answer(asked: Asked) -> Answer:
        first = int(asked.headers.get("range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        return refusal(416, "InvalidRange") if first >= len(body) else content_of(asked, body)

    scripted_server.answer = answer
    fs = MessagefluxS3FileSystem(scripted_server.connect())
    assert fs.cat_file("bkt/k", start, end) == body[start:end]
    assert len(scripted_server.asked) == 1


def test_a_recursive_copy_to_a_missing_bucket_is_an_error(s3_store: s3.S3Store, s3_bucket: s3.S3Bucket) -> None:
    """Only objects deleted meanwhile may be skipped."""
    s3_bucket.put_object("d/x", b"1")
    fs = MessagefluxS3FileSystem(s3_store)
    for on_error in (None, "ignore"):
        with pytest.raises(s3.S3NoSuchBucket):
            fs.copy(f"{s3_bucket.name}/d", "no-such-bucket-here/d", recursive=True, on_error=on_error)


@pytest.mark.parametrize("way", ["cp_file", "mv"])
def test_copying_an_object_deleted_meanwhile_raises_despite_a_folder_of_its_name(
    scripted_server: ScriptedServer, way: str
) -> None:
    """The folder ``d`` does not stand for the object ``d``, which the HEAD has shown."""

    def serve(asked: Asked) -> Answer:
        if asked.method == "HEAD" and not any(earlier.method == "PUT" for earlier in scripted_server.asked):
            return content_of(asked, b"x") if asked.key in ("d", "") else refusal(404, "NoSuchKey")
        if asked.method == "GET":
            found = "<Key>d/x</Key><LastModified>2026-11-21T05:00:00Z</LastModified><ETag>e</ETag><Size>1</Size>"
            return document("ListBucketResult", f"<Contents>{found}</Contents>")
        return refusal(404, "NoSuchKey")

    scripted_server.answer = serve
    fs = MessagefluxS3FileSystem(scripted_server.connect())
    with pytest.raises(s3.S3NoSuchItem):
        getattr(fs, way)("bkt/d", "bkt/copy")


def test_a_path_that_names_an_object_is_not_treated_as_a_glob(s3_store: s3.S3Store, s3_bucket: s3.S3Bucket) -> None:
    """``x[1].txt`` matches ``x1.txt`` only if there is no object ``x[1].txt``."""
    fs, name = MessagefluxS3FileSystem(s3_store), s3_bucket.name
    for delete in (fs.rm, lambda path: fs.rm([path]), lambda path: fs.rm(path, recursive=True)):
        s3_bucket.put_objects([("x[1].txt", b"literal"), ("x1.txt", b"other")])
        delete(f"{name}/x[1].txt")
        assert [obj.key for obj in s3_bucket.find()] == ["x1.txt"]
    s3_bucket.put_object("x[1].txt", b"literal")
    fs.copy(f"{name}/x[1].txt", f"{name}/copy")
    assert s3_bucket["copy"].body == b"literal"
    fs.mv(f"{name}/x[1].txt", f"{name}/moved")
    assert [(obj.key, obj.body) for obj in s3_bucket.find()] == [
        ("copy", b"literal"),
        ("moved", b"literal"),
        ("x1.txt", b"other"),
    ]
    fs.rm(f"{name}/x[1].txt")
    assert not s3_bucket["x1.txt"].exists()


@pytest.mark.parametrize(
    "given", [["{}/d/"], ["{}/d"], ["{}"], ["{}/f", "{}/d/"], ["{}/f", "{}"], "{}/*/", "{}/d"], ids=str
)
def test_rm_refuses_folders_and_buckets_unless_recursive(moto_bucket: s3.S3Bucket, given: str | list[str]) -> None:
    """Also in a list and for a pattern of folders, and before anything is deleted."""
    fs, name = MessagefluxS3FileSystem(moto_bucket.store), moto_bucket.name
    moto_bucket.put_objects([("d/x", b"1"), ("f", b"2")])
    with pytest.raises(IsADirectoryError, match="nothing was changed"):
        fs.rm([path.format(name) for path in given] if isinstance(given, list) else given.format(name))
    assert [obj.key for obj in moto_bucket.find()] == ["d/x", "f"]


@pytest.mark.parametrize("act", ["rm", "mv"])
def test_a_pattern_that_matches_folders_only_needs_recursive(moto_bucket: s3.S3Bucket, act: str) -> None:
    """Without it nothing would be done, and success reported. Objects that match are deleted or moved, without the folders."""
    fs, name = MessagefluxS3FileSystem(moto_bucket.store), moto_bucket.name
    moto_bucket.put_objects([("a/x", b"1"), ("b/y", b"2")])
    with pytest.raises(IsADirectoryError, match="matches folders only"):
        fs.rm(f"{name}/?") if act == "rm" else fs.mv(f"{name}/?", f"{name}/target")
    assert [obj.key for obj in moto_bucket.find()] == ["a/x", "b/y"]
    moto_bucket.put_object("c", b"3")
    fs.rm(f"{name}/?") if act == "rm" else fs.mv(f"{name}/?", f"{name}/target/")
    assert [obj.key for obj in moto_bucket.find()] == ["a/x", "b/y", *(["target/c"] if act == "mv" else [])]


@pytest.mark.parametrize("folder", ["d", "d/"])
def test_mv_of_a_list_refuses_folders_unless_recursive(moto_bucket: s3.S3Bucket, folder: str) -> None:
    """Before anything is moved; the folder was left where it was, and success reported."""
    fs, name = MessagefluxS3FileSystem(moto_bucket.store), moto_bucket.name
    moto_bucket.put_objects([("d/x", b"1"), ("f", b"2")])
    with pytest.raises(IsADirectoryError, match="nothing was changed"):
        fs.mv([f"{name}/f", f"{name}/{folder}"], f"{name}/target/")
    with pytest.raises(FileNotFoundError):
        fs.mv([f"{name}/f", f"{name}/missing"], [f"{name}/g", f"{name}/h"])
    assert [obj.key for obj in moto_bucket.find()] == ["d/x", "f"]
    fs.mv([f"{name}/f", f"{name}/d/x"], f"{name}/target/")
    assert [obj.key for obj in moto_bucket.find()] == ["target/f", "target/x"]


def test_mv_refuses_a_version(moto_bucket: s3.S3Bucket) -> None:
    """A move deletes its source, so an ignored version ID would move the current object away."""
    fs, name = MessagefluxS3FileSystem(moto_bucket.store), moto_bucket.name
    moto_bucket.put_object("k", b"current")
    with pytest.raises(ValueError, match="version"):
        fs.mv(f"{name}/k", f"{name}/n", version_id="v1")
    assert [obj.key for obj in moto_bucket.find()] == ["k"]


LIKE_PATTERNS = {"x[1]": "x1", "x?": "xy", "x*": "xyz", "[x]": "x"}
"""Names that look like a pattern, each with another name that it matches."""


@pytest.fixture(params=LIKE_PATTERNS.items(), ids=lambda item: item[0])
def like_pattern(request: pytest.FixtureRequest) -> tuple[str, str]:
    return cast("tuple[str, str]", request.param)


@pytest.fixture(params=["", "/sub/f"], ids=["object", "folder"])
def below(request: pytest.FixtureRequest) -> str:
    """What follows the name in the key of the object."""
    return str(request.param)


def changed_by(bucket: s3.S3Bucket, change: Callable[[], object]) -> tuple[set[str], dict[str, str]]:
    """Return the keys that a function deletes, and the objects that it creates."""
    before = everything(bucket)
    change()
    after = everything(bucket)
    assert {key: after[key] for key in after.keys() & before.keys()}.items() <= before.items()
    return before.keys() - after.keys(), {key: after[key] for key in after.keys() - before.keys()}


@pytest.mark.parametrize("is_list", [False, True])
def test_existing_path_is_not_a_pattern(
    moto_bucket: s3.S3Bucket, tmp_path: Path, like_pattern: tuple[str, str], below: str, is_list: bool
) -> None:
    """An object or a folder of exactly this name is meant, not those that match the name as a pattern."""
    name, matched = like_pattern
    bucket, fs = moto_bucket, MessagefluxS3FileSystem(moto_bucket.store)
    bucket.put_objects([(f"{name}{below}", "right"), (f"{matched}{below}", "WRONG")])
    path = f"{bucket.name}/{name}"
    given: Any = [path] if is_list else path
    for maxdepth in (None, 3) if below else (None,):
        options: dict[str, Any] = {"recursive": bool(below), "maxdepth": maxdepth}
        assert fs.expand_path(given, **options)[0] == path
        assert f"{bucket.name}/{matched}{below}" not in fs.expand_path(given, **options)
        _, copied = changed_by(bucket, lambda options=options: fs.copy(given, f"{bucket.name}/to", **options))
        assert list(copied.values()) == ["right"]
        bucket.delete_objects(copied)
        fs.get(given, str(tmp_path / f"to{maxdepth}"), **options)
        assert [file.read_text() for file in tmp_path.rglob("*") if file.is_file()] == ["right"] * (
            2 if maxdepth else 1
        )
    if not is_list:
        assert (tmp_path / f"toNone{below}").read_text() == "right"
    if not below:
        assert fs.cat(given) == ({path: b"right"} if is_list else b"right")
    deleted, created = changed_by(bucket, lambda: fs.mv(given, f"{bucket.name}/to", recursive=bool(below)))
    assert (deleted, list(created.values())) == ({f"{name}{below}"}, ["right"])
    bucket.put_object(f"{name}{below}", "right")
    assert changed_by(bucket, lambda: fs.rm(given, recursive=bool(below))) == ({f"{name}{below}"}, {})
    assert fs.expand_path(path) == [f"{bucket.name}/{matched}"]  # a pattern again


def test_existing_local_path_is_not_a_pattern(
    moto_bucket: s3.S3Bucket, tmp_path: Path, like_pattern: tuple[str, str], below: str
) -> None:
    for name, text in zip(like_pattern, ("right", "WRONG"), strict=True):
        file = Path(f"{tmp_path / name}{below}")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    given = str(tmp_path / like_pattern[0])
    fs = MessagefluxS3FileSystem(moto_bucket.store)
    fs.put(given, f"{moto_bucket.name}/to", recursive=bool(below))
    fs.put([given], f"{moto_bucket.name}/list", recursive=bool(below))
    assert everything(moto_bucket).pop(f"to{below}") == "right"
    assert "WRONG" not in everything(moto_bucket).values()


@pytest.mark.parametrize("act", ["rm", "mv"])
def test_folder_that_looks_like_a_pattern_needs_recursive(moto_bucket: s3.S3Bucket, act: str) -> None:
    moto_bucket.put_objects([("d[1]/f", "1"), ("d1/f", "2"), ("d1", "3")])
    fs = MessagefluxS3FileSystem(moto_bucket.store)
    before = everything(moto_bucket)
    with pytest.raises(IsADirectoryError, match="recursive=True"):
        getattr(fs, act)(f"{moto_bucket.name}/d[1]", *([f"{moto_bucket.name}/to"] if act == "mv" else []))
    assert everything(moto_bucket) == before


@pytest.mark.parametrize("literal", ["a/x*", "a/x*/f", "other"])
def test_patterns_work_below_a_prefix_that_alone_may_be_listed(
    scripted_server: ScriptedServer, tmp_path: Path, literal: str
) -> None:
    """Without s3:ListBucket on the whole bucket the HEAD of a missing key is denied."""
    keys = ["a/xy", literal]

    def serve(asked: Asked) -> Answer:
        if asked.method == "HEAD" or asked.key:
            return content_of(asked, asked.key.encode()) if asked.key in keys else refusal(403, "AccessDenied")
        prefix = asked.query["prefix"]
        if not prefix.startswith("a/"):
            return refusal(403, "AccessDenied")
        found = "".join(
            f"<Contents><Key>{key}</Key><LastModified>2026-11-21T05:00:00Z</LastModified><ETag>e</ETag><Size>1</Size></Contents>"
            for key in sorted(keys)
            if key.startswith(prefix)
        )
        return document("ListBucketResult", f"<IsTruncated>false</IsTruncated>{found}")

    scripted_server.answer = serve
    fs = MessagefluxS3FileSystem(scripted_server.connect())
    assert fs.expand_path("bkt/a/x*") == (["bkt/a/xy"] if literal == "other" else ["bkt/a/x*"])


@pytest.mark.parametrize("ends", [(["bkt/a", "bkt/b"], ["x"]), (["bkt/a"], ["x", "y"]), ("bkt/a", ["x", "y"])])
@pytest.mark.parametrize("verb", ["get", "put"])
def test_lists_of_different_lengths_are_refused(
    scripted_server: ScriptedServer, tmp_path: Path, verb: str, ends: tuple[Any, Any]
) -> None:
    """Never transfer the first ones only."""
    scripted_server.answer = lambda asked: content_of(asked, b"")
    (tmp_path / "bkt").mkdir()
    (tmp_path / "bkt" / "a").write_bytes(b"")
    source = ends[0]
    if verb == "put":
        source = [str(tmp_path / each) for each in source] if isinstance(source, list) else str(tmp_path / source)
    with pytest.raises(ValueError, match="cannot be copied to"):
        getattr(MessagefluxS3FileSystem(scripted_server.connect()), verb)(source, ends[1])
    assert not [asked for asked in scripted_server.asked if asked.method == "PUT"]


WITH_SLASH: dict[str, Callable[[MessagefluxS3FileSystem, str, str], object]] = {
    "open to write": lambda fs, path, _: fs.open(path, "wb"),
    "open to read": lambda fs, path, _: fs.open(path),
    "open text": lambda fs, path, _: fs.open(path, "w"),
    "open compressed": lambda fs, path, _: fs.open(path, "wb", compression="gzip"),
    "touch": lambda fs, path, _: fs.touch(path),
    "pipe": lambda fs, path, _: fs.pipe(path, b"new"),
    "pipe several": lambda fs, path, _: fs.pipe({path.replace("/d/", "/other"): b"1", path: b"2"}),
    "pipe_file": lambda fs, path, _: fs.pipe_file(path, b"new"),
    "write_bytes": lambda fs, path, _: fs.write_bytes(path, b"new"),
    "write_text": lambda fs, path, _: fs.write_text(path, "new"),
    "put_file": lambda fs, path, local: fs.put_file(local, path),
    "put_file, compressed": lambda fs, path, local: fs.put_file(local, path, compression="gzip"),
    "put lists": lambda fs, path, local: fs.put([local, local], [path.replace("/d/", "/other"), path]),
    "cp_file": lambda fs, path, _: fs.cp_file(path.replace("/d/", "/f"), path),
    "copy lists": lambda fs, path, _: fs.copy([path.replace("/d/", "/f")], [path]),
    "mv lists": lambda fs, path, _: fs.mv([path.replace("/d/", "/f")], [path]),
    "rm": lambda fs, path, _: fs.rm(path),
    "rm_file": lambda fs, path, _: fs.rm_file(path),
    "mv": lambda fs, path, _: fs.mv(path, path.replace("/d/", "/n")),
    "cat_file": lambda fs, path, _: fs.cat_file(path),
    "modified": lambda fs, path, _: fs.modified(path),
}


@pytest.mark.parametrize("with_folder", [True, False])
def test_path_with_a_slash_at_the_end_does_not_name_an_object(
    moto_bucket: s3.S3Bucket, tmp_path: Path, with_folder: bool
) -> None:
    moto_bucket.put_objects({"d": "OBJECT", "f": "other", **({"d/x": "in"} if with_folder else {})}.items())
    before = everything(moto_bucket)
    fs = MessagefluxS3FileSystem(moto_bucket.store)
    for name, act in WITH_SLASH.items():
        (tmp_path / "local").mkdir(exist_ok=True)
        local = tmp_path / "local" / name
        local.write_text("local")
        with pytest.raises((IsADirectoryError, FileNotFoundError)):
            act(fs, f"{moto_bucket.name}/d/", str(local))
        assert (name, everything(moto_bucket)) == (name, before)
    assert fs.isdir(f"{moto_bucket.name}/d/") is fs.exists(f"{moto_bucket.name}/d/") is with_folder
    assert fs.isfile(f"{moto_bucket.name}/d")


@pytest.mark.parametrize("path", ["d/", "d*/", ["d/"], ["d*/"], ["d/", "d/x"]])
def test_folder_named_with_a_slash_excludes_the_object_of_its_name(
    moto_bucket: s3.S3Bucket, tmp_path: Path, path: Any
) -> None:
    """A pattern with a slash at the end matches folders only, as in a shell."""
    objects = {"d": "OBJECT", "d/": "", "d/x": "in", "d1": "OBJECT", "f": "other"}
    moto_bucket.put_objects(objects.items())
    fs, root = MessagefluxS3FileSystem(moto_bucket.store), moto_bucket.name
    given = [f"{root}/{each}" for each in path] if isinstance(path, list) else f"{root}/{path}"
    fs.get(given, str(tmp_path / "to"), recursive=True)
    assert [file.read_text() for file in tmp_path.rglob("*") if file.is_file()] == ["in"]
    fs.copy(given, f"{root}/copy", recursive=True)
    assert sorted(everything(moto_bucket).values()) == sorted([*objects.values(), "in"])
    fs.rm(f"{root}/copy", recursive=True)
    fs.mv(given, f"{root}/moved", recursive=True)
    left = everything(moto_bucket)
    assert "d/x" not in left
    assert {key: left.get(key) for key in ("d", "d1", "f")} == {"d": "OBJECT", "d1": "OBJECT", "f": "other"}
    moto_bucket.put_objects({"d/": "", "d/x": "in"}.items())
    fs.rm(f"{root}/moved", recursive=True)
    fs.rm(given, recursive=True)
    assert everything(moto_bucket) == {"d": "OBJECT", "d1": "OBJECT", "f": "other"}


def test_object_within_a_folder_that_is_also_given_with_a_slash_is_deleted(moto_bucket: s3.S3Bucket) -> None:
    moto_bucket.put_objects({"a/d": "1", "a/d/x": "2", "a": "OBJECT"}.items())
    MessagefluxS3FileSystem(moto_bucket.store).rm(
        [f"{moto_bucket.name}/{each}" for each in ("a/", "a/d/")], recursive=True
    )
    assert everything(moto_bucket) == {"a": "OBJECT"}


@pytest.mark.parametrize("target", ["bkt/m/", "bkt/m", ["bkt/m/x", "bkt/m/x"], ["bkt/m/x", "mfs3://bkt/m/x"]])
def test_put_refuses_two_files_for_one_object(scripted_server: ScriptedServer, tmp_path: Path, target: Any) -> None:
    """As get, copy and mv do; nothing is uploaded."""
    scripted_server.answer = lambda asked: answer_for_bucket(asked) or refusal(404, "NoSuchKey")
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text(name)
    sources = [str(tmp_path / name / "x") for name in "ab"]
    fs = MessagefluxS3FileSystem(scripted_server.connect())
    with pytest.raises(ValueError, match="have the same target"):
        fs.put(sources, target)
    assert not [asked for asked in scripted_server.asked if asked.method in ("PUT", "POST")]


def test_a_folder_is_deleted_or_moved_with_recursive_only(s3_store: s3.S3Store, s3_bucket: s3.S3Bucket) -> None:
    """Without recursive=True nothing is changed, and IsADirectoryError is raised."""
    fs, folder = MessagefluxS3FileSystem(s3_store), f"{s3_bucket.name}/d"
    s3_bucket.put_object("d/x", b"1")
    for path in (folder, f"{folder}/", s3_bucket.name):
        with pytest.raises(IsADirectoryError, match="recursive=True"):
            fs.rm(path)
        with pytest.raises(IsADirectoryError, match="recursive=True"):
            fs.mv(path, f"{s3_bucket.name}/e")
    assert [obj.key for obj in s3_bucket.find()] == ["d/x"]


def test_a_version_is_read_and_copied_by_its_id(moto_bucket: s3.S3Bucket, tmp_path: Path) -> None:
    """Every method that reads an object takes version_id; before, only open() did, and the others used the current object."""
    moto_bucket.versioning.enable()
    old = moto_bucket.put_object("k", "old one").version_id
    moto_bucket.put_object("k", "now")
    fs = MessagefluxS3FileSystem(moto_bucket.store)
    path = f"{moto_bucket.name}/k"
    assert fs.cat_file(path, version_id=old) == b"old one"
    assert (fs.cat_file(path, 1, 3, version_id=old), fs.cat_file(path, -3, version_id=old)) == (b"ld", b"one")
    assert fs.cat_ranges([path], 0, 3, version_id=old) == [b"old"]
    assert (fs.info(path, version_id=old)["size"], fs.info(path)["size"]) == (7, 3)
    assert not fs.exists(path, version_id="00000000-0000-0000-0000-000000000000")
    fs.get_file(path, tmp_path / "k", version_id=old)
    fs.cp_file(path, f"{path}2", version_id=old)
    assert (tmp_path / "k").read_text() == moto_bucket["k2"].text == "old one"
    assert f"versionId={old}" in fs.sign(path, version_id=old)
