"""Objects as files: Python's file interface, and failures of the store."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import errno
import gc
import gzip
import io
import logging
import os
import pickle
import random
import re
import signal
import subprocess
import sys
import tarfile
import threading
import uuid
import warnings
import weakref
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.proxy import Fault, run_proxy, scripted
from support.scripted_server import Answer, Asked, ScriptedServer, content_of, document, refusal, upload_in_parts
from support.servers import Server
from support.stateful_server import StatefulStore
from support.waiting import wait_until

import messageflux_s3 as s3
from messageflux_s3._files import writer as object_writer

MIB = 1024 * 1024
BIG = random.Random(7).randbytes(21 * MIB + 13)


class OddObject:
    """One object under every key, whose GETs fail as the test sets.

    Attributes:
        body: The object's content.
        etag: Its etag.
        cut_after: The number of body bytes after which the connection breaks, for each of the next responses.
        ranges: How a range is answered: ``"206"``, ``"200"`` with Content-Range, or ``"ignored"``.
        conditions: Which If-Match holds: the etag ``"unquoted"``, ``"quoted"``, any (``"ignored"``), or ``"never"``.
        fail_with: The statuses of the next responses.
        requests: The headers of every GET that came.
    """

    def __init__(self, server: ScriptedServer) -> None:
        self.body = b""
        self.etag = "e1"
        self.cut_after: list[int] = []
        self.ranges = "206"
        self.conditions = "unquoted"
        self.fail_with: list[int] = []
        self.requests: list[Mapping[str, str]] = []
        self._bucket = server.bucket(max_attempts=3)
        server.answer = self._answer

    def open(self, mode: str = "rb", **arguments: Any) -> Any:
        return self._bucket["k"].open(mode, **arguments)

    def _answer(self, asked: Asked) -> Answer:
        if asked.method == "HEAD":
            return self._with_headers(200, {}, self.body)
        self.requests.append(asked.headers)
        if self.fail_with:
            return self.fail_with.pop(0), {}, b""
        condition = asked.headers.get("if-match")
        known = {"unquoted": self.etag, "quoted": f'"{self.etag}"', "never": ""}
        if condition is not None and self.conditions != "ignored" and condition != known[self.conditions]:
            return refusal(412, "PreconditionFailed")
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", asked.headers.get("range", ""))
        if wanted is None or self.ranges == "ignored":
            return self._with_headers(200, {}, self.body)
        start, end = int(wanted[1]), min(int(wanted[2]) + 1, len(self.body))
        if start >= len(self.body):
            return refusal(416, "InvalidRange")
        served = {"Content-Range": f"bytes {start}-{end - 1}/{len(self.body)}"}
        return self._with_headers(206 if self.ranges == "206" else 200, served, self.body[start:end], self.cut_after)

    def _with_headers(self, status: int, headers: dict[str, str], body: bytes, cuts: Sequence[int] = ()) -> Answer:
        described = {"ETag": f'"{self.etag}"', "Last-Modified": "Mon, 02 Nov 2026 10:00:00 GMT"}
        sent = body[: self.cut_after.pop(0)] if cuts and body else body
        return status, {**described, **headers, "Content-Length": str(len(body))}, sent


@pytest.fixture
def odd(scripted_server: ScriptedServer) -> OddObject:
    return OddObject(scripted_server)


@pytest.fixture(scope="module")
def big(s3_store: s3.S3Store) -> s3.S3Object:
    """A large object of random bytes."""
    return s3_store.create_bucket("test-fileio-big").put_object("big", BIG)


@pytest.fixture
def obj(s3_bucket: s3.S3Bucket) -> s3.S3Object:
    return s3_bucket.object("dir/file")


# -- modes ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["", "b", "rw", "rbt", "q", "rr", "U", "wa", "rbb", "r+w"])
def test_a_bad_mode_is_a_value_error(obj: s3.S3Object, mode: str) -> None:
    """As with the builtin."""
    with pytest.raises(ValueError):
        obj.open(mode)


@pytest.mark.parametrize("mode", ["w+b", "x+b", "r+b", "a+", "r+", "wb+"])
def test_reading_and_writing_at_once_is_unsupported(obj: s3.S3Object, mode: str) -> None:
    """zipfile relies on this very exception to try another mode."""
    with pytest.raises(io.UnsupportedOperation):
        obj.open(mode)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"mode": 1}, TypeError),
        ({"mode": "rb", "encoding": "utf-8"}, ValueError),
        ({"mode": "wb", "newline": ""}, ValueError),
        ({"mode": "w", "newline": "x"}, ValueError),
        ({"mode": "r", "newline": 3}, TypeError),
        ({"mode": "r", "buffering": 0}, ValueError),
        ({"mode": "rb", "buffering": "0"}, TypeError),
        ({"mode": "rb", "metadata": {}}, TypeError),
        ({"mode": "rb", "content_type": "text/plain"}, TypeError),
        ({"mode": "wb", "no_such_parameter": 1}, TypeError),
        ({"mode": "w", "encoding": "no-such-encoding"}, LookupError),
    ],
)
def test_invalid_arguments_raise_before_anything_is_written(
    obj: s3.S3Object, arguments: dict[str, Any], error: type[Exception]
) -> None:
    """Arguments that contradict each other raise before anything is written."""
    with pytest.raises(error):
        obj.open(**arguments)
    assert not obj.exists()


def test_opening_a_missing_object_raises_file_not_found(obj: s3.S3Object) -> None:
    """As a FileNotFoundError, like the builtin's."""
    for mode in ("rb", "r"):
        with pytest.raises(FileNotFoundError):
            obj.open(mode)


def test_files_have_name_and_mode(obj: s3.S3Object) -> None:
    """.name is the key, .mode the mode, for bytes and for text."""
    for mode in ("wb", "rb", "ab", "w", "r", "a"):
        with obj.open(mode) as file:
            assert (file.name, file.mode) == ("dir/file", mode)
            assert file.readable() is (mode[0] == "r")
            assert file.writable() is (mode[0] != "r")
            assert file.seekable() is (mode[0] == "r")
            assert not file.isatty()
            with pytest.raises(OSError):
                file.fileno()
            assert weakref.ref(file)() is file


def test_an_open_file_does_not_pickle(obj: s3.S3Object) -> None:
    """It raises TypeError."""
    obj.put(b"x")
    with obj.open(buffering=0) as file, pytest.raises(TypeError, match="pickle"):
        pickle.dumps(file)


# -- reading ----------------------------------------------------------------------------------------------------------------------


def test_small_and_empty_objects_take_one_get(s3_bucket: s3.S3Bucket, odd: OddObject) -> None:
    """The GET at the opening returns the first 64 KiB."""
    odd.body = b"hello\nworld"
    with odd.open("r") as file:
        assert file.readlines() == ["hello\n", "world"]
    assert len(odd.requests) == 1
    odd.body = b""
    assert odd.open().read() == b""
    with s3_bucket.put_object("empty", b"").open() as file:
        assert (file.read(), file.seek(0, 2), file.read(1)) == (b"", 0, b"")


def test_reads_in_steps_of_any_size_give_the_content(big: s3.S3Object) -> None:
    """In any step, whole, by lines, into a buffer."""
    for step in (10_007, 65_536, 3 * MIB, 20 * MIB):
        with big.open() as file:
            assert b"".join(iter(lambda f=file, n=step: f.read(n), b"")) == BIG  # type: ignore[misc]
    with big.open() as file:
        assert file.read() == BIG
    with big.open(buffering=0) as raw:
        target = bytearray(len(BIG))
        with memoryview(target) as view:
            done = 0
            while count := raw.readinto(view[done:]):
                done += count
        assert bytes(target) == BIG


def test_a_read_larger_than_what_is_fetched_ahead_is_whole(odd: OddObject) -> None:
    """It is assembled from several ranges, from the beginning and from the middle."""
    odd.body = BIG * 4
    with odd.open(buffering=0) as file:
        assert file.read() == odd.body
    with odd.open() as file:
        file.seek(5 * MIB + 1)
        assert file.read(70 * MIB) == odd.body[5 * MIB + 1 : 75 * MIB + 1]
        assert file.tell() == 75 * MIB + 1


def test_no_module_calls_getbuffer() -> None:
    """CPython 3.12.1 crashes where the garbage collector clears a view that BytesIO.getbuffer() returned."""
    modules = [*Path(s3.__file__).parent.rglob("*.py")]
    calls = [
        f"{module.name}:{node.lineno}"
        for module in modules
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr == "getbuffer"
    ]
    assert len(modules) > 40
    assert calls == []


def test_lines_equal_those_of_bytesio(big: s3.S3Object) -> None:
    """Iteration yields the same lines as io.BytesIO."""
    with big.open() as file:
        assert list(file) == list(io.BytesIO(BIG))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.one_of(st.none(), st.integers(-1, 200_000), st.integers(0, 4 * MIB))),
        st.tuples(st.just("read1"), st.integers(0, 100_000)),
        st.tuples(st.just("seek"), st.integers(0, len(BIG) + 100)),
        st.tuples(st.just("near"), st.integers(-70_000, 70_000)),
        st.tuples(st.just("end"), st.integers(-len(BIG), 10)),
        st.tuples(st.just("readinto"), st.integers(0, 2 * MIB)),
        st.tuples(st.just("readline"), st.integers(-1, 1000)),
        st.tuples(st.just("peek"), st.integers(0, 10)),
        st.tuples(st.just("tell"), st.none()),
    ),
    max_size=12,
)


def _step(file: Any, name: str, value: Any) -> Any:
    if name == "near":
        return file.seek(max(0, file.tell() + value))
    if name == "end":
        return file.seek(value, 2)
    if name == "readinto":
        buffer = bytearray(value)
        return file.readinto(buffer), bytes(buffer)
    if name == "tell":
        return file.tell()
    return getattr(file, name)(value)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
def test_it_behaves_like_bytesio(big: s3.S3Object, steps: list[tuple[str, Any]]) -> None:
    """Any seeks and reads give what io.BytesIO gives."""
    model = io.BytesIO(BIG)
    with big.open() as file:
        for name, value in steps:
            if name == "read1":  # may be short, never wrong
                piece = file.read1(value)
                assert piece == model.read(len(piece))
                assert piece or value == 0 or model.tell() >= len(BIG)
            elif name == "peek":
                at = model.tell()
                piece = file.peek(value)
                assert piece == BIG[at : at + len(piece)]
            else:
                assert _step(file, name, value) == _step(model, name, value), (name, value)
    for name in ("read", "tell", "seek"):
        with pytest.raises(ValueError):
            _step(file, name, 0)


def test_a_negative_seek_is_an_os_error(big: s3.S3Object) -> None:
    """zipfile relies on it; the position is unchanged."""
    with big.open() as file:
        file.seek(100)
        for offset, whence in ((-1, 0), (-101, 1), (-len(BIG) - 1, 2)):
            with pytest.raises(OSError):
                file.seek(offset, whence)
        assert file.tell() == 100
        assert file.seek(len(BIG) + 5) == len(BIG) + 5
        assert file.read() == b""


def test_a_random_read_fetches_little_more_than_was_requested(odd: OddObject) -> None:
    """A small read fetches only a small range."""
    odd.body = BIG
    with odd.open() as file:
        for offset in random.Random(1).sample(range(MIB, len(BIG) - 5000), 50):
            file.seek(offset)
            assert file.read(4096) == BIG[offset : offset + 4096]
    asked = sum(
        int(end) - int(start) + 1 for start, end in (request["range"][6:].split("-") for request in odd.requests)
    )
    assert len(odd.requests) == 51
    assert asked <= 64 * 1024 + 50 * 20 * 1024  # twice as much where a read happens to be near to an earlier one


def test_sequential_reads_fetch_larger_and_larger_ranges(odd: OddObject) -> None:
    """Far fewer requests than reads; and every range under If-Match."""
    odd.body = BIG
    with odd.open() as file:
        while file.read(10_000):
            pass
    assert len(odd.requests) <= 24
    assert all(request["if-match"] == "e1" for request in odd.requests[1:])
    assert all("-" in request["range"] and not request["range"].startswith("bytes=-") for request in odd.requests)


def test_closing_a_file_ends_its_read_ahead_threads(big: s3.S3Object) -> None:
    """Read-ahead threads end."""
    file = big.open()
    for _ in range(40):
        file.read(65_536)
    file.close()
    for thread in [thread for thread in threading.enumerate() if "read-ahead" in thread.name]:
        thread.join(10)
    assert [thread for thread in threading.enumerate() if "read-ahead" in thread.name] == []


@pytest.mark.parametrize("size", [200_000, 5 * MIB])
def test_a_broken_connection_is_resumed_at_its_offset(odd: OddObject, size: int) -> None:
    """The bytes received are kept, the rest is requested with If-Match."""
    odd.body = BIG[:size]
    odd.cut_after = [10_000, 30_000, 0, 50_000, 1, 20_000]
    with odd.open() as file:
        assert file.read() == odd.body


def test_server_errors_during_a_read_are_retried(odd: OddObject) -> None:
    """A 500 or 503 during a read does not end it."""
    odd.body = BIG[: 3 * MIB]
    with odd.open() as file:
        odd.fail_with = [500, 503, 500]
        assert file.read() == odd.body


def test_a_connection_that_always_breaks_raises(odd: OddObject) -> None:
    """Never a short read."""
    odd.body = BIG[:MIB]
    with odd.open() as file:
        odd.cut_after = [0] * 100
        with pytest.raises(s3.S3ConnectionError):
            file.read()


@pytest.mark.parametrize("ranges", ["206", "200", "ignored"])
@pytest.mark.parametrize("conditions", ["unquoted", "quoted", "ignored", "never"])
def test_reads_are_right_however_ranges_and_conditions_are_answered(
    odd: OddObject, ranges: str, conditions: str
) -> None:
    """A range answered 200, or not at all; an etag quoted, or conditions ignored: the bytes are right, and a change is noticed."""
    odd.body, odd.ranges, odd.conditions = BIG[: 2 * MIB], ranges, conditions
    with odd.open() as file:
        file.seek(MIB)
        assert file.read(MIB // 2) == BIG[MIB : MIB + MIB // 2]
        file.seek(10)
        assert file.read(100) == BIG[10:110]
        assert file.seek(-7, 2)
        assert file.read() == BIG[2 * MIB - 7 : 2 * MIB]
        odd.etag, odd.body = "e2", bytes(2 * MIB)
        file.seek(100_000)
        with pytest.raises(s3.S3ObjectChanged):
            file.read(10)


def test_an_object_that_changes_while_it_is_read_raises_object_changed(s3_bucket: s3.S3Bucket) -> None:
    """Replaced, made shorter, or deleted: S3ObjectChanged, never a mixture."""
    changes: list[Callable[[s3.S3Object], Any]] = [
        lambda obj: obj.put(bytes(MIB)),
        lambda obj: obj.put(b"short"),
        lambda obj: obj.delete(),
    ]
    for change in changes:
        obj = s3_bucket.put_object("changing", BIG[:MIB])
        with obj.open() as file:
            assert file.read(10) == BIG[:10]
            change(obj)
            file.seek(500_000)
            with pytest.raises(s3.S3ObjectChanged):
                file.read(10)


def test_a_version_is_read_after_the_object_was_replaced(s3_bucket: s3.S3Bucket) -> None:
    """A file opened for a version can be read after the object was replaced."""
    client = s3_bucket.store.client
    client.put_bucket_versioning(Bucket=s3_bucket.name, VersioningConfiguration={"Status": "Enabled"})
    version = client.put_object(Bucket=s3_bucket.name, Key="k", Body=BIG[:MIB])["VersionId"]
    s3_bucket.put_object("k", b"new")
    with s3_bucket.object("k", version).open() as file:
        file.seek(700_000)
        assert file.read(5) == BIG[700_000:700_005]
    with pytest.raises(ValueError, match="version_id"):
        s3_bucket.object("k", version).open("wb")


def test_text_is_decoded(obj: s3.S3Object) -> None:
    """Encodings, newlines and errors are those of the builtin."""
    obj.put("zwölf\r\ndrei\n".encode("latin-1"))
    with obj.open("r", encoding="latin-1") as file:
        assert file.read() == "zwölf\ndrei\n"
    with obj.open("rt", encoding="latin-1", newline="") as file:
        assert list(file) == ["zwölf\r\n", "drei\n"]
    with obj.open("r", errors="replace") as file:
        assert file.readline() == "zw�lf\n"
    with pytest.raises(UnicodeDecodeError), obj.open("r") as file:
        file.read()


# -- writing ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 8 * MIB, 8 * MIB + 1, len(BIG)])
@pytest.mark.parametrize("step", [700_001, 9 * MIB, 64 * MIB])
def test_written_bytes_are_read_back(obj: s3.S3Object, size: int, step: int) -> None:
    """Content of any size in any steps; the object appears only at the close."""
    with obj.open("wb", content_type="image/png", metadata={"who": "me"}) as file:
        for start in range(0, size, step):
            assert file.write(memoryview(BIG)[start : min(start + step, size)]) == min(step, size - start)
        assert file.tell() == size
        assert not obj.exists()
    assert obj.open().read() == BIG[:size]
    assert (obj.content_type, obj.metadata) == ("image/png", {"who": "me"})


def unfinished(bucket: s3.S3Bucket) -> list[Any]:
    """Return the incomplete multipart uploads."""
    return bucket.store.client.list_multipart_uploads(Bucket=bucket.name).get("Uploads", [])


def wrap_text(file: Any) -> Any:
    return io.TextIOWrapper(file)


def wrap_gzip(file: Any) -> Any:
    return gzip.GzipFile(fileobj=file, mode="wb")


def wrap_buffer(file: Any) -> Any:
    return io.BufferedWriter(file)


def wrap_tar(file: Any) -> Any:
    return tarfile.open(fileobj=file, mode="w|gz")


WRAPPERS = [wrap_text, wrap_gzip, wrap_buffer, wrap_tar, lambda file: zipfile.ZipFile(file, "w")]


@pytest.mark.parametrize("size", [10, 9 * MIB])
def test_a_with_block_that_raises_writes_nothing(s3_bucket: s3.S3Bucket, size: int) -> None:
    """No object, no unfinished upload; bytes and text."""
    obj = s3_bucket.object("half")
    for mode in ("wb", "w"):
        with pytest.raises(KeyError), obj.open(mode) as file:
            file.write(BIG[:size] if mode == "wb" else "x" * size)
            raise KeyError
        assert file.closed
        assert not obj.exists()
    assert unfinished(s3_bucket) == []


@pytest.mark.parametrize("wrap", WRAPPERS)
@pytest.mark.parametrize("size", [10, 9 * MIB])
def test_a_wrapper_that_closes_the_file_during_an_exception_does_not_commit(
    s3_bucket: s3.S3Bucket, wrap: Callable[[Any], Any], size: int
) -> None:
    """The wrapper closes the file while the exception propagates; the end of the block decides."""
    obj = s3_bucket.object("half")
    with pytest.raises(KeyError), obj.open("wb") as file, wrap(file):
        file.write(BIG[:size])
        raise KeyError
    assert not obj.exists()
    with pytest.raises(KeyError), wrap(obj.open("wb")) as wrapped:
        if wrap is wrap_text:
            wrapped.write("x" * size)
        raise KeyError
    del wrapped
    assert not obj.exists()
    assert unfinished(s3_bucket) == []


@pytest.mark.parametrize("wrap", [wrap_text, wrap_gzip, wrap_buffer])
def test_a_wrapper_that_ends_without_an_exception_commits(s3_bucket: s3.S3Bucket, wrap: Callable[[Any], Any]) -> None:
    """Also if the wrapper closed the file first."""
    with s3_bucket.object("whole").open("wb") as file, wrap(file) as wrapped:
        wrapped.write("hello" if wrap is wrap_text else b"hello")
    body = s3_bucket.object("whole").body
    assert (gzip.decompress(body) if wrap is wrap_gzip else body) == b"hello"


def test_close_in_a_finally_during_an_exception_does_not_commit(
    obj: s3.S3Object, caplog: pytest.LogCaptureFixture
) -> None:
    """close() during an exception leaves no object, and logs a warning."""
    with pytest.raises(KeyError):
        file = obj.open("wb")
        try:
            file.write(b"half")
            raise KeyError
        finally:
            file.close()
    assert not obj.exists()
    assert "was not written" in caplog.text


def test_a_file_opened_in_a_handler_commits(obj: s3.S3Object) -> None:
    """An exception raised before the opening does not abort the file."""
    try:
        raise KeyError
    except KeyError:
        file = obj.open("wb")
        file.write(b"whole")
        file.close()
    assert obj.body == b"whole"


# -- what decides whether the object appears ------------------------------------------------------------------------------------------


@pytest.fixture
def quick(scripted_server: ScriptedServer) -> StatefulStore:
    """A store in memory whose conditions are honoured; ``quick_object`` opens its one object."""
    return StatefulStore(scripted_server)


@pytest.fixture
def quick_object(scripted_server: ScriptedServer, quick: StatefulStore) -> s3.S3Object:
    return scripted_server.bucket(preset="aws").object("k")


def opened_while_handling(obj: s3.S3Object, mode: str = "wb") -> Any:
    try:
        raise KeyError("before the opening")
    except KeyError:
        return obj.open(mode)


@pytest.mark.parametrize("mode", ["wb", "w"])
def test_a_file_opened_in_a_handler_is_not_committed_by_a_later_exception(
    quick: StatefulStore, quick_object: s3.S3Object, mode: str
) -> None:
    """The later exception reuses the address of the first one, and must still be recognised as another."""
    for _ in range(30):
        file = opened_while_handling(quick_object, mode)
        file.write("half" if mode == "w" else b"half")
        with pytest.raises(KeyError):
            try:
                raise KeyError("after the opening")
            finally:
                file.close()
    assert quick.objects == {}


def test_a_file_opened_in_a_handler_is_not_committed_when_that_exception_is_raised_again_by_name(
    quick: StatefulStore, quick_object: s3.S3Object
) -> None:
    """The exception left the handler after the opening, when the file was partly written."""
    with pytest.raises(KeyError):
        try:
            raise KeyError("before the opening")
        except KeyError as error:
            file = quick_object.open("wb")
            try:
                file.write(b"half")
                raise error
            finally:
                file.close()
    assert quick.objects == {}


def test_a_file_opened_in_a_nested_handler_is_committed_in_the_outer_one(
    quick: StatefulStore, quick_object: s3.S3Object
) -> None:
    """Both exceptions are older than the file."""
    try:
        raise KeyError("outer")
    except KeyError:
        try:
            raise ValueError("inner")
        except ValueError:
            file = quick_object.open("wb")
        file.write(b"whole")
        file.close()
    assert quick.body("k") == b"whole"


def test_a_writer_does_not_keep_the_exception_or_its_frames_alive(quick_object: s3.S3Object) -> None:
    """Neither while it is open nor afterwards: a local variable of the frame that raised is freed with that frame."""

    class Local:
        pass

    def open_while_handling() -> tuple[Any, weakref.ref[Local]]:
        local = Local()
        try:
            raise KeyError
        except KeyError:
            return quick_object.open("wb"), weakref.ref(local)

    gc.disable()
    try:
        file, local = open_while_handling()
        assert local() is None
        with pytest.warns(ResourceWarning, match="without being closed"):
            del file
    finally:
        gc.enable()


@pytest.mark.parametrize("mode", ["wb", "w"])
@pytest.mark.parametrize("opened_in_handler", [False, True])
@pytest.mark.parametrize("raises", [False, True])
def test_exit_without_enter_commits_unless_an_exception_is_passed_to_it(
    quick: StatefulStore, quick_object: s3.S3Object, mode: str, opened_in_handler: bool, raises: bool
) -> None:
    """ExitStack.push() calls __exit__ alone, and so do wrappers that end the file below them (smart_open's)."""
    with contextlib.suppress(LookupError), contextlib.ExitStack() as stack:
        file = opened_while_handling(quick_object, mode) if opened_in_handler else quick_object.open(mode)
        stack.push(file)
        file.write("whole" if mode == "w" else b"whole")
        if raises:
            raise LookupError
    assert file.closed
    assert quick.body("k") == (None if raises else b"whole")


def test_gzip_that_ends_the_file_below_by_its_exit_commits(quick: StatefulStore, quick_object: s3.S3Object) -> None:
    """smart_open ends the outer file, then calls __exit__ of the inner one."""
    inner = quick_object.open("wb")
    outer = gzip.GzipFile(fileobj=inner, mode="wb")
    outer.write(b"whole")
    outer.__exit__(None, None, None)
    inner.__exit__(None, None, None)
    body = quick.body("k")
    assert body is not None and gzip.decompress(body) == b"whole"


def test_nested_with_blocks_are_committed_by_the_outermost(quick: StatefulStore, quick_object: s3.S3Object) -> None:
    """The inner block closes the file, as with the builtin; an exception after it aborts."""
    with contextlib.suppress(KeyError), quick_object.open("wb") as file:
        with file:
            file.write(b"half")
        assert file.closed
        raise KeyError
    assert quick.objects == {}
    with quick_object.open("wb") as file, file:
        file.write(b"whole")
    assert quick.body("k") == b"whole"


SIZES = (0, 1, 70_000, 3 * MIB, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1, 17 * MIB)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.sampled_from(SIZES), st.sampled_from([bytes, bytearray, memoryview])), max_size=4))
def test_any_sequence_of_write_sizes_stores_the_same_bytes(obj: s3.S3Object, steps: list[tuple[int, Any]]) -> None:
    """Writes of any sizes and types, compared with io.BytesIO; the buffer may be changed after write() returns."""
    model = io.BytesIO()
    with obj.open("wb") as file:
        for size, kind in steps:
            data = bytearray(BIG[:size])
            assert file.write(kind(data)) == model.write(data) == size
            assert file.tell() == model.tell()
            data[:] = bytes(size)
    with obj.open() as file:
        assert file.read() == model.getvalue()


@pytest.mark.parametrize(("mode", "half"), [("wb", b"half"), ("w", "half"), ("w", "half" * 20_000)])
def test_a_file_that_is_garbage_collected_unclosed_writes_nothing(
    obj: s3.S3Object, caplog: pytest.LogCaptureFixture, mode: str, half: Any
) -> None:
    """It logs a warning; also for text, even if a part of it has reached the writer."""
    file = obj.open(mode)
    file.write(half)
    with caplog.at_level(logging.WARNING), pytest.warns(ResourceWarning, match="without being closed"):
        del file
        gc.collect()
    assert not obj.exists()
    assert "without being closed" in caplog.text


@pytest.mark.parametrize(
    ("wrap", "half"),
    [
        (io.TextIOWrapper, "half"),
        (io.BufferedWriter, b"half"),
        (lambda below: gzip.GzipFile(fileobj=below, mode="wb"), b"half"),
    ],
    ids=["text", "buffered", "gzip"],
)
def test_a_wrapper_that_is_garbage_collected_unclosed_writes_nothing(
    obj: s3.S3Object, wrap: Callable[[Any], Any], half: Any
) -> None:
    """A wrapper collected unclosed aborts the file below."""
    below = obj.open("wb")
    wrapper = wrap(below)
    wrapper.write(half)
    with pytest.warns(ResourceWarning, match="without being closed"):
        del wrapper, below
        gc.collect()
    assert not obj.exists()


def test_the_collector_does_not_wait_for_the_parts_of_a_file(scripted_server: ScriptedServer) -> None:
    """It may have interrupted a thread that holds a lock which the parts need. The upload is aborted afterwards."""
    arrived, may_answer = threading.Event(), threading.Event()
    answered_in_time = []

    def answer(asked: Asked) -> Answer:
        if asked.method == "PUT":
            arrived.set()
            answered_in_time.append(may_answer.wait(30))
        return (204, {}, b"") if asked.method == "DELETE" else upload_in_parts(asked)

    scripted_server.answer = answer
    cycle: list[Any] = [scripted_server.bucket()["k"].open("wb")]
    cycle.append(cycle)
    cycle[0].write(bytes(17 * MIB))
    assert arrived.wait(60)
    with pytest.warns(ResourceWarning, match="without being closed"):
        del cycle
        gc.collect()
    may_answer.set()
    wait_until(lambda: scripted_server.whats[-1] == "DELETE k?uploadId")
    assert set(answered_in_time) == {True}


def test_a_file_left_open_at_interpreter_exit_is_aborted(moto: Server, moto_bucket: s3.S3Bucket) -> None:
    """No partial object and no parts are left, and a warning is logged."""
    program = """
import sys
import messageflux_s3 as s3
endpoint, access, secret, name = sys.argv[1:]
bucket = s3.connect(endpoint, access_key=access, secret_key=secret, region="us-east-1").bucket(name)
large, text = bucket.object("large").open("wb"), bucket.object("text").open("wt")
large.write(bytes(17_000_000))
text.write("half")
"""
    ended = subprocess.run(
        [sys.executable, "-c", program, moto.endpoint_url, moto.access_key, moto.secret_key, moto_bucket.name],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    told = sorted(line.partition(" was not written")[0].rpartition("/")[2] for line in ended.stderr.splitlines())
    assert (ended.returncode, told) == (0, ["large", "text"]), ended.stderr
    assert moto_bucket.find().count() == 0
    assert not moto_bucket._connection.call("ListMultipartUploads", Bucket=moto_bucket.name).get("Uploads")


def test_a_wrapper_left_unclosed_in_a_with_block_is_committed_by_the_block(obj: s3.S3Object) -> None:
    """The usual one-liner: the wrapper is not closed, and the block ends normally."""
    with obj.open("wb") as file:
        io.TextIOWrapper(file).write("whole")
        gc.collect()
    assert obj.body == b"whole"


def test_an_exception_in_a_text_block_commits_nothing(obj: s3.S3Object) -> None:
    """Without a with block it is the file's end with its function that leaves nothing."""

    def write() -> None:
        file = obj.open("w")
        file.write("half")
        raise KeyError

    with pytest.warns(ResourceWarning, match="without being closed"):
        with pytest.raises(KeyError):
            write()
        gc.collect()
    assert not obj.exists()


def test_a_detached_text_wrapper_leaves_a_usable_writer(obj: s3.S3Object) -> None:
    """What was detached is written on after the text around it is gone."""
    text = cast(io.TextIOWrapper, obj.open("w"))
    text.write("a")
    writer = cast(io.BufferedIOBase, text.detach())
    del text
    gc.collect()
    with writer:
        writer.write(b"b")
    assert obj.body == b"ab"


@pytest.mark.parametrize("newline", [None, "", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "shift_jis"])
def test_text_is_written_as_the_builtin_writes_it(
    obj: s3.S3Object, tmp_path: Path, encoding: str, newline: str | None
) -> None:
    """Byte order marks, newlines and positions: the same bytes, then the same text by lines, also where more is appended."""
    path = tmp_path / "text"
    for mode, text in [("w", "a\nb\r\nc"), ("a", "d\ne"), ("w", ""), ("a", "f\n" * 3)]:
        with (
            path.open(mode, encoding=encoding, newline=newline) as theirs,
            obj.open(mode, encoding=encoding, newline=newline) as ours,
        ):
            assert ours.write(text) == theirs.write(text)
            assert ours.tell() == theirs.tell()
        obj.reload()
        assert obj.body == path.read_bytes()
        with (
            path.open(encoding=encoding, newline=newline) as theirs,
            obj.open("r", encoding=encoding, newline=newline) as ours,
        ):
            assert ours.readline() == theirs.readline()
            cookie = theirs.tell()
            assert ours.tell() == cookie
            rest = theirs.read()
            assert ours.read() == rest
            ours.seek(cookie)
            assert ours.read() == rest


def test_writing_to_a_closed_file_raises_value_error(obj: s3.S3Object) -> None:
    """Writing raises ValueError; closing again does nothing; a text file rejects bytes."""
    file = obj.open("wb")
    with pytest.raises(TypeError):
        file.write("text")
    with pytest.raises(io.UnsupportedOperation):
        file.seek(0)
    with pytest.raises(io.UnsupportedOperation):
        file.read()
    file.close()
    file.close()
    for call in (lambda: file.write(b"x"), file.tell, file.__enter__, file.flush):
        with pytest.raises(ValueError):
            call()
    assert obj.body == b""


def test_a_write_that_fails_raises_and_leaves_nothing(s3_store: s3.S3Store) -> None:
    """The close, which sends the request, raises; the file is closed all the same."""
    file = s3_store.bucket("no-such-bucket-at-all").object("k").open("wb")
    file.write(b"x")
    with pytest.raises(s3.S3NoSuchBucket):
        file.close()
    assert file.closed


@pytest.mark.parametrize("mode", ["wb", "w"])
def test_closing_after_a_failed_part_commits_nothing(moto: Server, moto_bucket: s3.S3Bucket, mode: str) -> None:
    """Closing after a failed part, as a wrapper or a finally does, commits nothing of the rest."""
    moto_bucket.put_object("k", b"former")

    def second_part_fails(method: str, name: str, number: int) -> Fault | None:
        return Fault("reset_before") if method == "PUT" and "partNumber=2" in name else None

    with run_proxy(moto.endpoint_url, second_part_fails) as proxy:
        file = (
            moto.connect(endpoint_url=proxy.endpoint_url, max_attempts=1)
            .object(f"s3://{moto_bucket.name}/k")
            .open(mode)
        )
        piece: Any = "x" * MIB if mode == "w" else b"x" * MIB
        with pytest.raises(s3.S3ConnectionError):
            for _ in range(100):
                file.write(piece)
        with pytest.raises(s3.S3ConnectionError):
            file.close()
        assert proxy.counts()["reset_before"] > 0
    assert moto_bucket.get_object("k").body == b"former"


def test_mode_x_creates_a_missing_object_only(s3_bucket: s3.S3Bucket) -> None:
    """Mode x creates a missing object, and raises FileExistsError for an existing one."""
    obj = s3_bucket.object("once")
    with obj.open("xb", metadata={"who": "first"}) as file:
        file.write(b"first")
    for mode in ("xb", "x"):
        with pytest.raises(FileExistsError):
            obj.open(mode)
    assert (obj.body, obj.metadata) == (b"first", {"who": "first"})


@pytest.mark.parametrize("size", [5, 9 * MIB])
def test_mode_x_does_not_overwrite_an_object_created_meanwhile(s3_bucket: s3.S3Bucket, size: int) -> None:
    """An object created between the opening and the close is not overwritten."""
    obj = s3_bucket.object("raced")
    with pytest.raises(FileExistsError), obj.open("xb") as file:
        file.write(BIG[:size])
        s3_bucket.put_object("raced", b"theirs")
    assert s3_bucket.object("raced").body == b"theirs"
    assert unfinished(s3_bucket) == []


@pytest.mark.parametrize("before", [0, 3, 5 * MIB, 9 * MIB])
@pytest.mark.parametrize("more", [0, 4, 9 * MIB])
def test_append_keeps_the_former_content_and_metadata(s3_bucket: s3.S3Bucket, before: int, more: int) -> None:
    """The former content stays at the beginning, with metadata and type, at any size."""
    obj = s3_bucket.put_object("log.bin", BIG[:before], {"kept": "yes"}, content_type="x/y")
    with obj.open("ab") as file:
        assert file.tell() == before
        file.write(BIG[before : before + more])
    assert obj.open().read() == BIG[: before + more]
    assert (obj.metadata, obj.content_type) == ({"kept": "yes"}, "x/y")


@pytest.mark.parametrize("before", [10, 5 * 1024 * 1024])
def test_append_keeps_metadata_and_tags_at_any_size(moto_bucket: s3.S3Bucket, before: int) -> None:
    """For a small object, which is written again, and a larger one, which is copied on the server."""
    obj = moto_bucket.put_object("k", bytes(before), {"m": "é"}, tags={"a": "1"})
    with obj.open("ab") as file:
        file.write(b"more")
    obj.reload()
    assert (obj.size, obj.metadata, dict(obj.tags.get())) == (before + 4, {"m": "é"}, {"a": "1"})


def test_append_to_a_missing_object_creates_it(obj: s3.S3Object) -> None:
    """As the builtin does, for text as well."""
    with obj.open("a") as file:
        file.write("é")
    with obj.open("a") as file:
        file.write("à")
    assert obj.text == "éà"


def test_append_to_a_replaced_object_is_refused(s3_bucket: s3.S3Bucket) -> None:
    """It raises, if the store honours conditions."""
    obj = s3_bucket.put_object("log", BIG[: 6 * MIB])
    with pytest.raises(s3.S3ObjectChanged), obj.open("ab") as file:
        file.write(b"more")
        s3_bucket.put_object("log", b"another")
    assert s3_bucket.object("log").body == b"another"
    assert unfinished(s3_bucket) == []


@pytest.mark.parametrize("size", [5, 9 * MIB], ids=["small", "parts"])
@pytest.mark.parametrize("mode", ["wb", "ab"])
@pytest.mark.parametrize("preset", ["aws", "other"])
def test_open_with_if_match_writes_over_the_object_it_names(
    scripted_server: ScriptedServer, quick: StatefulStore, mode: str, size: int, preset: str
) -> None:
    """The etag may stand in quotes, as everywhere."""
    etag = quick.put("k", b"old").etag
    with scripted_server.bucket(preset=preset)["k"].open(mode, if_match=f'"{etag}"') as file:
        file.write(bytes(size))
    assert quick.body("k") == (b"old" if mode == "ab" else b"") + bytes(size)


@pytest.mark.parametrize("size", [5, 9 * MIB], ids=["small", "parts"])
@pytest.mark.parametrize(("mode", "meanwhile"), [("wb", b"theirs"), ("wb", None), ("w", b"theirs")])
def test_open_with_if_match_keeps_what_others_wrote_before_the_close(
    quick: StatefulStore, quick_object: s3.S3Object, mode: str, meanwhile: bytes | None, size: int
) -> None:
    """A replaced object stays, and a deleted one is not created again."""
    etag = quick.put("k", b"old").etag
    with pytest.raises(s3.S3PreconditionFailed) as raised, quick_object.open(mode, if_match=etag) as file:
        file.write("x" * size if mode == "w" else bytes(size))
        if meanwhile is None:
            del quick.objects["k"]
        else:
            quick.put("k", meanwhile)
    assert (raised.value.key, raised.value.outcome_unknown, quick.body("k"), quick.uploads) == (
        "k",
        False,
        meanwhile,
        {},
    )


@pytest.mark.parametrize("before", [b"theirs", bytes(6 * MIB), None], ids=["small", "large", "missing"])
def test_open_to_append_with_if_match_refuses_another_object(
    quick: StatefulStore, quick_object: s3.S3Object, before: bytes | None
) -> None:
    """At the opening."""
    if before is not None:
        quick.put("k", before)
    with pytest.raises(s3.S3PreconditionFailed, match="nothing is appended"):
        quick_object.open("ab", if_match="0" * 32)
    assert quick.body("k") == before


def test_open_to_read_with_if_match_refuses_another_object(quick: StatefulStore, quick_object: s3.S3Object) -> None:
    """As a handle does that has read the object before."""
    etag = quick.put("k", b"old").etag
    with quick_object.open("rb", if_match=etag) as file:
        assert file.read() == b"old"
    with pytest.raises(s3.S3ObjectChanged):
        quick_object.open("rb", if_match="0" * 32)


@pytest.mark.parametrize(
    ("mode", "if_match", "error", "said"),
    [
        ("xb", "0" * 32, ValueError, "mode 'x' does not overwrite"),
        ("w", "", ValueError, "if_match is empty"),
        ("a", 7, TypeError, "if_match must be an ETag, not int"),
        ("wb", 'W/"etag"', s3.S3Unsupported, "weak ETag"),
    ],
)
def test_open_checks_if_match_before_any_request(
    scripted_server: ScriptedServer,
    quick_object: s3.S3Object,
    mode: str,
    if_match: Any,
    error: type[Exception],
    said: str,
) -> None:
    with pytest.raises(error, match=said):
        quick_object.open(mode, if_match=if_match)
    assert scripted_server.asked == []


def test_open_with_if_match_is_refused_where_the_condition_is_ignored(
    scripted_server: ScriptedServer, quick: StatefulStore
) -> None:
    """At the opening, before anything is written to the object."""
    quick.conditions = "ignored"
    etag = quick.put("k", b"old").etag
    with pytest.raises(s3.S3Unsupported):
        scripted_server.bucket(preset="other")["k"].open("wb", if_match=etag)
    assert quick.body("k") == b"old"


def test_async_open_with_if_match(quick: StatefulStore, quick_object: s3.S3Object) -> None:
    """As the synchronous one."""

    async def write(if_match: str) -> None:
        obj = s3.AsyncS3Store(quick_object.bucket.store).bucket("bkt").object("k")
        async with obj.open("wb", if_match=if_match) as file:
            await file.write(b"new")

    etag = quick.put("k", b"old").etag
    asyncio.run(write(etag))
    assert quick.body("k") == b"new"
    with pytest.raises(s3.S3PreconditionFailed):
        asyncio.run(write(etag))
    assert quick.body("k") == b"new"


Change = Callable[[StatefulStore], object]
OTHERS: dict[str, tuple[int | None, Change]] = {
    "created": (None, lambda store: store.put("k", b"theirs")),
    "replaced": (3, lambda store: store.put("k", b"theirs")),
    "replaced by one of the same size": (3, lambda store: store.put("k", b"abc")),
    "deleted": (3, lambda store: store.objects.pop("k")),
    "replaced (large)": (6 * MIB, lambda store: store.put("k", b"theirs")),
    "deleted (large)": (6 * MIB, lambda store: store.objects.pop("k")),
}


@pytest.mark.parametrize("more", [4, 9 * MIB], ids=["little", "much"])
@pytest.mark.parametrize("honoured", [True, False], ids=["honoured", "ignored"])
@pytest.mark.parametrize(("before", "change"), OTHERS.values(), ids=OTHERS)
def test_append_raises_object_changed_instead_of_overwriting(
    scripted_server: ScriptedServer, quick: StatefulStore, honoured: bool, before: int | None, change: Change, more: int
) -> None:
    """A write by others between the opening and the close is kept; if conditions are ignored, a HEAD detects it."""
    quick.conditions = "honoured" if honoured else "ignored"
    if before is not None:
        quick.put("k", BIG[:before])
    obj = scripted_server.bucket(preset="aws" if honoured else "other")["k"]
    with pytest.raises(s3.S3ObjectChanged, match="while it was open for appending") as raised, obj.open("ab") as file:
        file.write(bytes(more))
        change(quick)
    assert raised.value.key == "k"
    expected = StatefulStore(scripted_server)
    if before is not None:
        expected.put("k", BIG[:before])
    change(expected)
    assert quick.objects.keys() == expected.objects.keys()
    assert quick.body("k") == expected.body("k")
    assert quick.uploads == {}


@pytest.mark.parametrize("more", [4, 9 * MIB], ids=["little", "much"])
@pytest.mark.parametrize("before", [None, 3, 6 * MIB])
def test_append_detects_a_late_write_where_conditions_are_honoured(
    scripted_server: ScriptedServer, quick: StatefulStore, before: int | None, more: int
) -> None:
    """Just before the request that makes the object visible."""
    if before is not None:
        quick.put("k", BIG[:before])

    def replace(asked: Asked) -> Answer:
        is_last = asked.what == "POST k?uploadId" or (asked.what == "PUT k" and not asked.query)
        if is_last:
            quick.put("k", b"theirs")
        return None

    quick.before = replace
    with pytest.raises(s3.S3ObjectChanged), scripted_server.bucket(preset="aws")["k"].open("ab") as file:
        file.write(bytes(more))
    assert quick.body("k") == b"theirs"


@pytest.mark.parametrize("honoured", [True, False], ids=["honoured", "ignored"])
@pytest.mark.parametrize("more", [0, 4, 9 * MIB])
@pytest.mark.parametrize("before", [None, 0, 3, 6 * MIB])
def test_append_adds_to_the_present_content(
    scripted_server: ScriptedServer, quick: StatefulStore, honoured: bool, before: int | None, more: int
) -> None:
    """Under the condition that the store understands; one append after the other, by the same and by other writers."""
    quick.conditions = "honoured" if honoured else "ignored"
    if before is not None:
        quick.put("k", BIG[:before], **{"x-amz-meta-who": "me", "content-type": "x/y"})
    obj = scripted_server.bucket(preset="aws" if honoured else "other")["k"]
    for _ in range(2):
        with obj.open("ab") as file:
            file.write(bytes(more))
    with obj.open("a") as text:
        text.write("é")
    assert quick.body("k") == BIG[: before or 0] + bytes(2 * more) + "é".encode()
    obj.reload()
    assert obj.metadata == ({"who": "me"} if before is not None else {})
    assert quick.uploads == {}


def test_append_probes_a_store_once_and_only_if_something_is_written(
    scripted_server: ScriptedServer, quick: StatefulStore
) -> None:
    """The probe's scratch objects are gone afterwards."""
    obj = scripted_server.bucket()["k"]
    with obj.open("ab"):
        pass
    assert quick.body("k") == b""
    for _ in range(2):
        count = len(scripted_server.asked)
        with obj.open("ab") as file:
            file.write(b"x")
        with obj.open("ab"):
            pass
    assert len(scripted_server.asked) - count <= 6
    assert quick.body("k") == b"xx"
    assert [*quick.objects] == ["k"]


def test_append_compares_by_head_where_the_probe_is_not_allowed(
    scripted_server: ScriptedServer, quick: StatefulStore
) -> None:
    """A policy may forbid the probe's scratch objects: the append then compares by HEAD."""
    quick.before = lambda asked: refusal(403, "AccessDenied") if asked.key.startswith(".mfs3-probe/") else None
    obj = scripted_server.bucket()["k"]
    with obj.open("ab") as file:
        file.write(b"one")
    with pytest.raises(s3.S3ObjectChanged), obj.open("ab") as file:
        file.write(b" two")
        quick.put("k", b"theirs")
    assert quick.body("k") == b"theirs"


@pytest.mark.parametrize("more", [4, 9 * MIB], ids=["little", "much"])
@pytest.mark.parametrize("before", [None, 3, 6 * MIB])
def test_append_whose_response_was_lost_succeeds_once(
    scripted_server: ScriptedServer, quick: StatefulStore, before: int | None, more: int
) -> None:
    """The retry fails because of the first attempt's own write: a success, and the content is appended once."""
    if before is not None:
        quick.put("k", BIG[:before])
    lost: list[str] = []

    def lose_first(asked: Asked) -> bool:
        is_last = asked.what in ("POST k?uploadId", "PUT k")
        if is_last and not lost:
            lost.append(asked.what)
            return True
        return False

    quick.after = lose_first
    with scripted_server.bucket(preset="aws", max_attempts=3)["k"].open("ab") as file:
        file.write(bytes(more))
    assert lost
    assert quick.body("k") == BIG[: before or 0] + bytes(more)


def test_append_whose_response_was_lost_and_whose_object_was_replaced_has_an_unknown_outcome(
    scripted_server: ScriptedServer, quick: StatefulStore
) -> None:
    """The append may have been applied and then replaced: the outcome is reported as unknown."""
    quick.put("k", b"one")

    def lose_and_replace(asked: Asked) -> bool:
        if asked.what != "PUT k":
            return False
        quick.put("k", b"theirs")
        return True

    quick.after = lose_and_replace
    with (
        pytest.raises(s3.S3PreconditionFailed) as raised,
        scripted_server.bucket(preset="aws", max_attempts=2)["k"].open("ab") as file,
    ):
        file.write(b" two")
    assert raised.value.outcome_unknown


@pytest.mark.parametrize("more", [4, 9 * MIB], ids=["little", "much"])
@pytest.mark.parametrize("before", [None, 3, 6 * MIB])
def test_append_that_always_meets_a_concurrent_write_raises_a_retryable_precondition_failed(
    scripted_server: ScriptedServer, quick: StatefulStore, before: int | None, more: int
) -> None:
    """409 says that another write was under way, not that the object was replaced: it is unchanged, and the same append succeeds later."""
    if before is not None:
        quick.put("k", BIG[:before])

    def conflict(asked: Asked) -> Answer:
        if asked.what == "PUT k":
            return refusal(409, "ConditionalRequestConflict")
        if asked.what == "POST k?uploadId":
            quick.uploads.clear()  # as AWS does
            return refusal(409, "ConditionalRequestConflict")
        return None

    quick.before = conflict
    obj = scripted_server.bucket(preset="aws", max_attempts=2)["k"]
    with pytest.raises(s3.S3PreconditionFailed) as raised, obj.open("ab") as file:
        file.write(bytes(more))
    assert (raised.value.status, raised.value.retryable, raised.value.outcome_unknown) == (409, True, False)
    assert not isinstance(raised.value, s3.S3ObjectExists)
    assert quick.body("k") == (None if before is None else BIG[:before])
    quick.before = None
    with obj.open("ab") as file:
        file.write(b"more")
    assert quick.body("k") == BIG[: before or 0] + b"more"
    assert quick.uploads == {}


def test_append_takes_content_and_metadata_from_one_object(
    scripted_server: ScriptedServer, quick: StatefulStore
) -> None:
    """Content and metadata, although it is asked for them in two requests."""
    quick.put("k", b"former", **{"x-amz-meta-of": "former"})

    def replace_after_head(asked: Asked) -> bool:
        if asked.what == "HEAD k":
            quick.after = None
            quick.put("k", b"latter", **{"x-amz-meta-of": "latter"})
        return False

    quick.after = replace_after_head
    with scripted_server.bucket(preset="aws")["k"].open("ab") as file:
        file.write(b"+")
    assert quick.body("k") == b"latter+"
    assert scripted_server.bucket(preset="aws")["k"].metadata == {"of": "latter"}


@pytest.mark.parametrize("before", [10, 6 * MIB])
@pytest.mark.parametrize("name", ["moto", "rclone", "localstack", "radosgw"])
def test_append_to_a_replaced_object_is_refused_on_real_servers(
    request: pytest.FixtureRequest, name: str, before: int
) -> None:
    """An append after opening it again succeeds."""
    server: Server = request.getfixturevalue(name)
    bucket = server.connect().create_bucket(f"t-{uuid.uuid4().hex[:16]}")
    obj = bucket.put_object("k", bytes(before), {"m": "1"})
    with pytest.raises(s3.S3ObjectChanged), obj.open("ab") as file:
        file.write(b"more")
        bucket.put_object("k", b"theirs")
    assert bucket.object("k").body == b"theirs"
    obj = bucket.put_object("k", bytes(before), {"m": "1"})
    with obj.open("ab") as file:
        file.write(b"more")
    obj = bucket.object("k")
    assert obj.body == bytes(before) + b"more"
    assert obj.metadata == {"m": "1"}
    bucket.delete_bucket(force=True)


BUFFERS: dict[str, Callable[[Any], Any]] = {
    "C order": lambda numpy: memoryview(numpy.arange(6, dtype="uint8").reshape(2, 3)),
    "Fortran order": lambda numpy: memoryview(numpy.asfortranarray(numpy.arange(6, dtype="uint8").reshape(2, 3))),
    "Fortran order, larger numbers": lambda numpy: memoryview(
        numpy.asfortranarray(numpy.arange(6, dtype="uint32").reshape(2, 3))
    ),
    "every second byte": lambda numpy: memoryview(b"a.b.c.d.e.f")[::2],
    "empty, of two dimensions": lambda numpy: memoryview(numpy.zeros((0, 3), dtype="uint8")),
    "big-endian numbers": lambda numpy: memoryview(numpy.array([1, 2], dtype=">u2")),
    "an array": lambda numpy: numpy.asfortranarray(numpy.arange(6, dtype="uint8").reshape(2, 3)),
}


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("make", BUFFERS.values(), ids=BUFFERS)
def test_write_takes_every_buffer_and_stores_what_tobytes_gives(
    quick: StatefulStore, quick_object: s3.S3Object, make: Callable[[Any], Any], in_place: bool
) -> None:
    """As put_object() does; also into the temporary file that a seek() makes."""
    buffer = make(pytest.importorskip("numpy"))
    with quick_object.open("wb") as file:
        if in_place:
            file.seek(0, io.SEEK_END)
        assert file.write(buffer) == buffer.nbytes
    assert quick.body("k") == buffer.tobytes()
    quick_object.put(memoryview(buffer))
    assert quick.body("k") == buffer.tobytes()


def in_thread(function: Callable[[], object]) -> BaseException | None:
    """Run a function in a thread of its own; return the exception that it raised."""
    caught: list[BaseException] = []

    def run() -> None:
        try:
            function()
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return caught[0] if caught else None


def end_with_block(file: Any, write: Callable[[Any], object]) -> None:
    with file:
        write(file)


def end_with_close(file: Any, write: Callable[[Any], object]) -> None:
    write(file)
    file.close()


def end_with_exit_stack(file: Any, write: Callable[[Any], object]) -> None:
    with contextlib.ExitStack() as stack:
        stack.push(file)
        write(file)


def end_with_nested_blocks(file: Any, write: Callable[[Any], object]) -> None:
    with file, file:
        write(file)


ENDS = {
    "with": end_with_block,
    "close": end_with_close,
    "ExitStack.push": end_with_exit_stack,
    "nested with": end_with_nested_blocks,
}


@pytest.mark.parametrize("where", ["in a thread", "in the same thread"])
@pytest.mark.parametrize("mode", ["wb", "w", "xb", "ab", "a"])
@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_the_error_of_a_failed_write_is_raised_again_when_the_file_is_closed(
    scripted_server: ScriptedServer, quick: StatefulStore, end: Callable[..., None], mode: str, where: str
) -> None:
    """The write may have failed in a thread, or its error was caught: nothing is stored, so the close must raise."""
    quick.before = lambda asked: refusal(403, "AccessDenied") if asked.what == "POST k?uploads" else None
    failed: list[BaseException | None] = []

    def write(file: Any) -> None:
        data = bytes(9 * MIB) if "b" in mode else "x" * (9 * MIB)
        if where == "in a thread":
            failed.append(in_thread(lambda: file.write(data)))
            return
        try:
            file.write(data)
        except s3.S3AccessDenied as error:
            failed.append(error)

    with pytest.raises(s3.S3AccessDenied) as raised:
        end(scripted_server.bucket(preset="aws")["k"].open(mode), write)
    assert raised.value is failed[0]
    assert quick.objects == quick.uploads == {}


def test_the_error_of_a_failed_write_is_raised_by_close_once_and_is_the_cause_of_later_errors(
    scripted_server: ScriptedServer, quick: StatefulStore
) -> None:
    """A second close() has nothing to do, as with any file."""
    quick.before = lambda asked: refusal(403, "AccessDenied") if asked.what == "POST k?uploads" else None
    file = scripted_server.bucket(preset="aws")["k"].open("wb")
    error = in_thread(lambda: file.write(bytes(9 * MIB)))
    with pytest.raises(ValueError, match="closed file") as raised:
        file.write(b"more")
    assert raised.value.__cause__ is error
    with pytest.raises(s3.S3AccessDenied):
        file.close()
    file.close()


@pytest.mark.parametrize("mode", ["wb", "w"])
def test_a_failed_write_does_not_replace_the_exception_that_ends_the_block(
    scripted_server: ScriptedServer, quick: StatefulStore, mode: str
) -> None:
    """Neither in a block, nor where close() is called while the exception is being handled."""
    quick.before = lambda asked: refusal(403, "AccessDenied") if asked.what == "POST k?uploads" else None
    obj = scripted_server.bucket(preset="aws")["k"]
    data: Any = bytes(9 * MIB) if mode == "wb" else "x" * (9 * MIB)
    with pytest.raises(KeyError), obj.open(mode) as file:
        in_thread(lambda: file.write(data))
        raise KeyError
    file = obj.open(mode)
    in_thread(lambda: file.write(data))
    with pytest.raises(KeyError):
        try:
            raise KeyError
        finally:
            file.close()


def test_a_file_opened_in_a_handler_raises_the_error_of_a_failed_write_there(
    scripted_server: ScriptedServer, quick: StatefulStore
) -> None:
    """The exception that was being handled at the opening is not a reason to be silent at the close."""
    quick.before = lambda asked: refusal(403, "AccessDenied") if asked.what == "POST k?uploads" else None
    try:
        raise KeyError("before the opening")
    except KeyError:
        file = scripted_server.bucket(preset="aws")["k"].open("wb")
        in_thread(lambda: file.write(bytes(9 * MIB)))
        with pytest.raises(s3.S3AccessDenied):
            file.close()


def test_abort_discards_the_error_of_a_failed_write(scripted_server: ScriptedServer, quick: StatefulStore) -> None:
    """After abort() no object is expected."""
    quick.before = lambda asked: refusal(403, "AccessDenied") if asked.what == "POST k?uploads" else None
    with scripted_server.bucket(preset="aws")["k"].open("wb") as file:
        in_thread(lambda: file.write(bytes(9 * MIB)))
        cast(object_writer.ObjectWriter, file).abort()
    file.close()


CUSTOMER_KEY = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32}
EVERYWHERE: dict[str, tuple[dict[str, str], str]] = {
    "SSE-C": (CUSTOMER_KEY, "x-amz-server-side-encryption-customer-key"),
    "RequestPayer": ({"RequestPayer": "requester"}, "x-amz-request-payer"),
    "ExpectedBucketOwner": ({"ExpectedBucketOwner": "111122223333"}, "x-amz-expected-bucket-owner"),
}


class DemandingStore(StatefulStore):
    """A store in memory that refuses requests about the object "k" without a header, and loses the first answer to a write."""

    def __init__(self, server: ScriptedServer, header: str) -> None:
        super().__init__(server)
        self.header = header
        self.loses = False
        self.before = self.check
        self.after = self.lose

    def check(self, asked: Asked) -> Answer:
        is_customer_key = self.header.endswith("customer-key")
        is_absent = asked.method in ("HEAD", "GET") and asked.key not in self.objects
        if asked.key != "k" or asked.method == "DELETE" or (is_customer_key and is_absent):
            return None
        wanted = [self.header]
        if is_customer_key and "x-amz-copy-source" in asked.headers:
            wanted.append("x-amz-copy-source-server-side-encryption-customer-key")
        if all(header in asked.headers for header in wanted):
            return None
        return refusal(400 if is_customer_key else 403, "InvalidRequest")

    def lose(self, asked: Asked) -> bool:
        loses = self.loses and asked.what in ("PUT k", "POST k?uploadId")
        self.loses = self.loses and not loses
        return loses


LOST: dict[str, Callable[[s3.S3Bucket, dict[str, str]], object]] = {
    "put_object": lambda bucket, given: bucket.put_object("k", b"ours", if_absent=True, **given),
    "put_object(readable)": lambda bucket, given: bucket.put_object("k", io.BytesIO(b"ours"), if_absent=True, **given),
    "upload_object in parts": lambda bucket, given: bucket.upload_object(
        "k", BIG[: 6 * MIB], part_size_bytes=5 * MIB, if_absent=True, **given
    ),
}


@pytest.mark.parametrize(("given", "header"), EVERYWHERE.values(), ids=EVERYWHERE)
@pytest.mark.parametrize("write", LOST.values(), ids=LOST)
def test_a_lost_response_is_reconciled_with_the_parameters_of_the_write(
    scripted_server: ScriptedServer,
    write: Callable[[s3.S3Bucket, dict[str, str]], object],
    given: dict[str, str],
    header: str,
) -> None:
    """A HEAD without the customer's key is refused (400), one without the payer as well (403), and would leave the outcome unknown."""
    store = DemandingStore(scripted_server, header)
    store.loses = True
    write(scripted_server.bucket(preset="aws", max_attempts=2), given)
    assert store.body("k") is not None
    assert not store.loses


@pytest.mark.parametrize(("given", "header"), EVERYWHERE.values(), ids=EVERYWHERE)
def test_mode_x_checks_with_the_parameters_of_the_write(
    scripted_server: ScriptedServer, given: dict[str, str], header: str
) -> None:
    """A missing object is created; an existing one raises S3ObjectExists."""
    store = DemandingStore(scripted_server, header)
    obj = scripted_server.bucket(preset="aws")["k"]
    with obj.open("xb", **given) as file:
        file.write(b"first")
    with pytest.raises(s3.S3ObjectExists):
        obj.open("xb", **given)
    assert store.body("k") == b"first"


@pytest.mark.parametrize("preset", ["aws", "r2", "other"])
@pytest.mark.parametrize("before", [None, 0, 3, 6 * MIB])
@pytest.mark.parametrize(("given", "header"), EVERYWHERE.values(), ids=EVERYWHERE)
def test_append_reads_and_copies_with_the_parameters_of_the_write(
    scripted_server: ScriptedServer, given: dict[str, str], header: str, before: int | None, preset: str
) -> None:
    """R2 is sent the former content again; another store is compared by HEAD. A customer's key is for AWS only."""
    store = DemandingStore(scripted_server, header)
    store.conditions = "honoured" if preset != "other" else "ignored"
    if before is not None:
        store.put("k", BIG[:before])
    bucket = scripted_server.bucket(preset=preset)
    bucket.put_object("opens the lane", b"")
    is_refused = preset != "aws" and given is CUSTOMER_KEY
    with contextlib.ExitStack() as outcome:
        if is_refused:
            outcome.enter_context(pytest.raises(s3.S3Unsupported, match="SSE-C"))
        file = outcome.enter_context(bucket["k"].open("ab", **given))
        file.write(b"more")
    former = None if before is None else BIG[:before]
    assert store.body("k") == (former if is_refused else (former or b"") + b"more")


def test_append_to_an_object_with_a_customers_key_on_localstack(localstack: Server) -> None:
    """Small ones are read and written again, large ones are copied within the store; on AWS only."""
    bucket = localstack.connect(preset="aws").create_bucket(f"t-{uuid.uuid4().hex[:16]}")
    for size in (10, 6 * MIB):
        obj = bucket.put_object("k", BIG[:size], **CUSTOMER_KEY)
        with obj.open("ab", **CUSTOMER_KEY) as file:
            file.write(b"more")
        answer = bucket.store.client.get_object(Bucket=bucket.name, Key="k", **CUSTOMER_KEY)
        assert answer["Body"].read() == BIG[:size] + b"more"
    with pytest.raises(s3.S3ObjectExists):
        bucket["k"].open("xb", **CUSTOMER_KEY)
    bucket.delete_bucket(force=True)


def test_a_zip_file_is_written_as_a_stream(obj: s3.S3Object) -> None:
    """Written member by member without seeking, read with it."""
    with obj.open("wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", "alpha" * 1000)
        with archive.open("big", "w") as member:
            member.write(BIG[: 10 * MIB])
    with zipfile.ZipFile(obj.open()) as archive:
        assert archive.testzip() is None
        assert archive.read("a.txt") == b"alpha" * 1000
        assert archive.read("big") == BIG[: 10 * MIB]


def test_a_write_handle_that_seeks_to_the_end_first_is_seekable(obj: s3.S3Object) -> None:
    """HDF5 writes in place: it gets a file on the disk until the close."""
    with obj.open("wb") as file:
        assert file.seek(0, 2) == 0
        file.write(b"0123456789")
        file.seek(2)
        file.write(b"xx")
        file.seek(0)
        assert (file.readinto(piece := bytearray(4)), bytes(piece)) == (4, b"01xx")
        assert file.truncate(12) == 12
    assert obj.body == b"01xx456789\0\0"


@pytest.mark.parametrize("mode", ["wb", "w"])
def test_truncate_leaves_the_position_where_it_is(quick: StatefulStore, quick_object: s3.S3Object, mode: str) -> None:
    """As Python's files do: after seek(0) the next write begins at 0, also after a truncation or an extension."""
    text: Callable[[str], Any] = str if mode == "w" else str.encode
    with quick_object.open(mode) as file:
        file.write(text("draft draft"))
        file.seek(0)
        assert (file.truncate(), file.tell()) == (0, 0)
        file.write(text("final"))
        assert (file.truncate(20), file.tell()) == (20, 5)
        file.write(text("."))
        assert (file.truncate(2), file.tell()) == (2, 6)
        file.write(text("!"))
    assert quick.body("k") == b"fi\0\0\0\0!"


def test_a_file_whose_temporary_file_does_not_fit_on_the_disk_is_not_committed(
    quick: StatefulStore, quick_object: s3.S3Object
) -> None:
    """truncate() moves the content to the disk; what did not fit there was missing in the object, whose close() succeeded."""
    resource = pytest.importorskip("resource")
    quick.objects.clear()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    file = quick_object.open("wb")
    file.write(bytes(3 * MIB))
    file.seek(0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, before[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            file.truncate(20 * MIB)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    with pytest.raises(OSError, match="too large"):
        file.close()
    assert quick.objects == {}


@pytest.mark.parametrize("step", ["truncate", "seek"])
def test_a_gap_that_is_larger_than_a_part_is_written_as_zeros(
    quick: StatefulStore, quick_object: s3.S3Object, step: str
) -> None:
    """The content is on disk, not in memory, until the close."""
    with quick_object.open("wb") as file:
        file.write(b"begin")
        file.seek(1)
        if step == "truncate":
            assert file.truncate(9 * MIB) == 9 * MIB
        else:
            file.seek(9 * MIB - 1)
            file.write(b"\0")
    assert quick.body("k") == b"begin".ljust(9 * MIB, b"\0")


def test_a_write_to_a_full_disk_raises_and_commits_nothing(
    quick: StatefulStore, quick_object: s3.S3Object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is raised at once, and again by a later close(), which does not commit what is left."""
    file = quick_object.open("wb")
    file.write(b"draft")
    file.seek(0)

    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tempfile.SpooledTemporaryFile.write", full)
    with pytest.raises(OSError, match="No space left"):
        file.write(b"final")
    with pytest.raises(OSError, match="No space left"):
        file.close()
    assert quick.objects == {}


def test_a_write_in_place_accepts_buffers_that_are_not_contiguous(
    quick: StatefulStore, quick_object: s3.S3Object
) -> None:
    """As a write to the stream does."""
    with quick_object.open("wb") as file:
        file.write(b"....")
        file.seek(1)
        assert file.write(memoryview(b"axbx")[::2]) == 2
    assert quick.body("k") == b".ab."


class IntLike:
    """A number in the sense of ``operator.index``, and no int."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


def test_sizes_and_offsets_may_be_any_object_with_index(quick: StatefulStore, quick_object: s3.S3Object) -> None:
    """As CPython's own tests of files ask; of a reader with and without a buffer, a text, a stream, and a writer."""
    body = bytes(range(256)) * 400  # more than the opening brings
    quick.put("k", body)
    for size in (3, 20_000, 70_000):
        with quick_object.open() as file:
            assert file.read(IntLike(size)) == body[:size]
            assert file.seek(IntLike(size), IntLike(io.SEEK_SET)) == size
            assert file.read(IntLike(-1)) == body[size:]
            assert file.seek(IntLike(-5), io.SEEK_END) == len(body) - 5
            assert file.read1(IntLike(2)) == body[-5:-3]
            assert file.readline(IntLike(1)) == body[-3:-2]
            assert file.readlines(IntLike(1)) == [body[-2:]]
        with quick_object.open(buffering=0) as raw:
            assert raw.read(IntLike(size)) == body[: min(size, 65_536)]
            assert raw.seek(IntLike(size), IntLike(io.SEEK_SET)) == size
            assert raw.read(None) == body[size:]
            raw.seek(size)
            assert raw.readline(IntLike(1)) == body[size : size + 1]
        with quick_object.body_stream as stream:
            assert stream.read(IntLike(size)) == body[:size]  # type: ignore[arg-type]
        with quick_object.open("r", encoding="latin-1", newline="") as text:
            assert text.read(IntLike(size)) == body[:size].decode("latin-1")
        assert quick_object.read_range(IntLike(2), IntLike(size)) == body[2:size]  # type: ignore[arg-type]
        assert next(quick_object.iter_chunks(IntLike(size), IntLike(1))) == body[1 : size + 1]  # type: ignore[arg-type]
    with quick_object.open("wb") as file:
        file.write(b"0123456789")
        assert file.seek(IntLike(5), IntLike(io.SEEK_SET)) == 5
        assert file.truncate(IntLike(4)) == 4
    assert quick.body("k") == b"0123"


@pytest.mark.parametrize("mode", ["rb", "wb"])
@pytest.mark.parametrize("buffering", [-1, 0])
def test_sizes_and_offsets_that_are_not_integers_raise_type_error(
    quick: StatefulStore, quick_object: s3.S3Object, mode: str, buffering: int
) -> None:
    """With a TypeError, and the position stays."""
    quick.put("k", b"0123456789")
    with quick_object.open(mode, buffering) as file:
        if mode == "wb":
            file.write(b"0123")
            file.seek(1)
        calls = [lambda: file.seek(1.5), lambda: file.seek("1"), lambda: file.seek(0, 1.5)]
        calls += [lambda: file.truncate(1.5)] if mode == "wb" else [lambda: file.read(1.5), lambda: file.readline(1.5)]
        for call in calls:
            with pytest.raises(TypeError):
                call()
        assert file.tell() == (1 if mode == "wb" else 0)
    assert quick.body("k") == (b"0123" if mode == "wb" else b"0123456789")


def test_seeking_back_before_anything_was_sent_is_allowed(obj: s3.S3Object) -> None:
    """Seeking back works before a part is sent; later it raises, and nothing is written."""
    with obj.open("wb") as file:
        file.write(b"....body")
        assert file.seek(8) == 8
        file.seek(0)
        file.write(b"head")
    assert obj.body == b"headbody"
    with pytest.raises(io.UnsupportedOperation), obj.open("wb") as file:
        file.write(BIG[: 9 * MIB])
        file.seek(0)
    assert obj.body == b"headbody"


def test_large_random_reads_take_one_request(odd: OddObject) -> None:
    """Not one per buffer, and no read-ahead."""
    odd.body = BIG
    with odd.open() as file:
        for offset in (3 * MIB, 11 * MIB + 1, 7 * MIB):
            before = len(odd.requests)
            file.seek(offset)
            assert file.read(300_001) == BIG[offset : offset + 300_001]
            assert len(odd.requests) == before + 1


@pytest.mark.parametrize("number", [0, 1, 2], ids=["first", "second", "third"])
def test_a_response_without_an_etag_does_not_count_as_another_object(
    number: int, server: Server, bucket: s3.S3Bucket
) -> None:
    """A missing etag does not mean that it was replaced; a later etag is still compared."""
    data = os.urandom(3 * 1024 * 1024)
    bucket.put_object("k", data)
    faults = [None] * number + [Fault("missing_header", 0.0)]
    with run_proxy(server.endpoint_url, scripted({("GET", "k"): faults})) as proxy:
        store = server.connect(endpoint_url=proxy.endpoint_url)
        with store.bucket(bucket.name)["k"].open("rb") as file:
            assert file.read(10) == data[:10]
            file.seek(1024 * 1024)
            assert file.read(300_000) == data[1024 * 1024 :][:300_000]
            file.seek(2 * 1024 * 1024)
            assert file.read(10) == data[2 * 1024 * 1024 :][:10]
            bucket.put_object("k", data[::-1])
            file.seek(-100_000, os.SEEK_END)
            with pytest.raises(s3.S3ObjectChanged):
                file.read()
        store.close()


# -- what befalls a reader on the way -------------------------------------------------------------------------------------------------

FAR = random.Random(5).randbytes(300_000)  # more than the opening brings

BEFALLS: dict[str, tuple[Answer, type[Exception], str]] = {
    "deleted": (refusal(404, "NoSuchKey"), s3.S3ObjectChanged, "was deleted while it was being read"),
    "shorter by now": (refusal(416, "InvalidRange"), s3.S3ObjectChanged, "was replaced by a shorter one"),
    "forbidden by now": (refusal(403, "AccessDenied"), s3.S3AccessDenied, "AccessDenied"),
}


@pytest.mark.parametrize("lane", [True, False])
@pytest.mark.parametrize(("answer", "error", "said"), BEFALLS.values(), ids=BEFALLS)
def test_failures_in_the_middle_of_a_read_raise_their_own_error(
    scripted_server: ScriptedServer, answer: Answer, error: type[Exception], said: str, lane: bool
) -> None:
    """After a successful opening the actual error is raised."""
    scripted_server.answer = lambda asked: content_of(asked, FAR) if len(scripted_server.asked) == 1 else answer
    with scripted_server.bucket(lane=lane)["k"].open() as file:
        assert file.read(10) == FAR[:10]
        file.seek(200_000)
        with pytest.raises(error, match=said):
            file.read(10)


def test_a_broken_response_that_ignored_the_range_is_resumed(scripted_server: ScriptedServer) -> None:
    """The connection breaks while skipped bytes are read: the next attempt starts again."""
    cut = (200, {"ETag": '"e"', "Content-Length": str(len(FAR))}, FAR[:100_000])
    scripted_server.answer = lambda asked: cut if len(scripted_server.asked) == 2 else (200, {"ETag": '"e"'}, FAR)
    with scripted_server.bucket(max_attempts=3, lane=False)["k"].open() as file:
        file.seek(200_000)
        assert file.read(10) == FAR[200_000:200_010]


def test_a_large_read_with_one_failed_range_returns_nothing(scripted_server: ScriptedServer) -> None:
    """Of ranges that are fetched at the same time one is refused: no half of it is given."""
    whole = bytes(5 * MIB)

    def answer(asked: Asked) -> Answer:
        first = int(asked.headers.get("range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        return refusal(403, "AccessDenied") if first >= 2 * MIB else content_of(asked, whole)

    scripted_server.answer = answer
    with scripted_server.bucket()["k"].open(buffering=0) as file:
        file.seek(MIB)
        with pytest.raises(s3.S3AccessDenied):
            file.readinto(bytearray(4 * MIB))


@pytest.mark.parametrize("action", [lambda file: file.seek(0, 3), lambda file: file.seek(0, -1)])
def test_seek_with_an_invalid_whence_raises(obj: s3.S3Object, action: Callable[[Any], object]) -> None:
    """As with the builtin."""
    obj.put(b"0123")
    with obj.open(buffering=0) as file, pytest.raises(ValueError, match="whence must be 0, 1 or 2"):
        action(file)


def test_closing_a_file_twice_is_allowed(obj: s3.S3Object) -> None:
    """``closed`` is True."""
    obj.put(b"0123")
    file = obj.open(buffering=0)
    assert repr(file) == "<ObjectReader name='k'>".replace("'k'", repr(obj.key))
    file.close()
    file.close()
    assert repr(file).endswith(" closed>")


def test_a_forked_child_continues_reading(rclone: Server, rclone_bucket: s3.S3Bucket) -> None:
    """The child sends its own requests; those in progress belong to the parent."""
    rclone_bucket.put_object("k", BIG)
    with rclone_bucket["k"].open() as file:
        assert file.read(2 * MIB) + file.read(3 * MIB) == BIG[: 5 * MIB]  # sequential, so that it reads ahead
        child = os.fork()
        if not child:
            ok = file.read(MIB) == BIG[5 * MIB : 6 * MIB]
            file.close()
            os._exit(0 if ok else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert file.read(MIB) == BIG[5 * MIB : 6 * MIB]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("buffering", [-1, 0])
def test_a_forked_child_reads_a_file_that_a_thread_of_its_parent_is_reading(
    quick: StatefulStore, quick_object: s3.S3Object, buffering: int
) -> None:
    """The thread, which holds the file's lock, does not exist in the child."""
    quick_object.put(BIG)
    file: Any = quick_object.open("rb", buffering=buffering)
    raw = file if buffering == 0 else file.raw
    is_held, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        with raw._lock, file._lock:  # as a read in progress does
            is_held.set()
            may_end.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    assert is_held.wait(60)
    child = os.fork()
    if child == 0:  # pragma: no cover - in the child
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(20)  # a child that hangs is killed
        file.seek(3 * MIB)
        os._exit(0 if file.read(MIB) == BIG[3 * MIB : 4 * MIB] else 1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    may_end.set()
    holder.join(60)
    file.close()
    assert code == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("read", ["read", "readinto", "readline"])
def test_a_forked_child_reads_a_file_whose_buffer_a_thread_of_its_parent_is_filling(
    quick: StatefulStore, quick_object: s3.S3Object, read: str
) -> None:
    """A small read holds the lock of Python's own buffering too, for as long as its request takes."""
    quick_object.put(BIG)
    file: Any = quick_object.open("rb")
    is_asked, may_end = threading.Event(), threading.Event()

    def stall_once(asked: Asked) -> Answer:
        if not is_asked.is_set():
            is_asked.set()
            may_end.wait(60)
        return None

    def small_read() -> bytes:
        if read == "readinto":
            piece = bytearray(100)
            return bytes(piece[: file.readinto(piece)])
        return bytes(file.read(100) if read == "read" else file.readline(100))

    file.seek(9 * MIB)
    quick.before = stall_once
    reader = threading.Thread(target=small_read)
    reader.start()
    assert is_asked.wait(60)
    child = os.fork()
    if child == 0:  # pragma: no cover - in the child
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(60)  # a child that hangs is killed
        file.seek(3 * MIB)
        piece = small_read()
        os._exit(0 if piece and BIG.startswith(piece, 3 * MIB) and file.tell() == 3 * MIB + len(piece) else 1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    may_end.set()
    reader.join(60)
    file.close()
    assert code == 0


# -- what befalls a writer ------------------------------------------------------------------------------------------------------------


def test_a_write_stream_is_not_readable_or_truncatable_before_it_is_seekable(obj: s3.S3Object) -> None:
    """Reading and truncating need a seek to the end first; then both work."""
    with obj.open("wb", buffering=0) as file:
        file.write(b"0123")
        with pytest.raises(io.UnsupportedOperation, match="not readable"):
            file.readinto(bytearray(2))
        with pytest.raises(io.UnsupportedOperation, match="cannot be truncated"):
            file.truncate(2)
        file.seek(2)
        file.truncate()
        file.seek(0, io.SEEK_END)
        file.write(b"9")
    assert obj.reload().body == b"019"


def test_writes_after_a_failed_block_are_ignored(obj: s3.S3Object) -> None:
    """After a block that raised, a later flush of a wrapper raises no second error."""
    with pytest.raises(RuntimeError, match="enough"), obj.open("wb") as file:
        buffered = io.BufferedWriter(file)  # type: ignore[arg-type]
        buffered.write(b"half")
        raise RuntimeError("enough")
    with pytest.raises(ValueError, match="closed"):
        buffered.flush()
    assert not obj.exists()


def test_a_text_file_whose_last_write_fails_raises_and_commits_nothing(
    scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of the block raises, and nothing is committed."""
    monkeypatch.setattr(object_writer, "PART_BYTES", 10)
    scripted_server.answer = lambda asked: refusal(403, "AccessDenied")
    with pytest.raises(s3.S3AccessDenied), scripted_server.bucket()["k"].open("w") as file:
        file.write("more than a part")
    assert "PUT k" not in scripted_server.whats


@pytest.mark.parametrize(("preset", "sizes"), [("aws", [10, 20, 40, 30]), ("r2", [10] * 10)])
def test_the_parts_of_a_long_file_grow(
    scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, preset: str, sizes: list[int]
) -> None:
    """An object has at most 10,000 parts. R2 requires parts of equal size."""
    monkeypatch.setattr(object_writer, "PART_BYTES", 10)
    monkeypatch.setattr(object_writer, "growing_part_size", lambda first, number: first * 2**number)

    scripted_server.answer = upload_in_parts
    with scripted_server.bucket(preset=preset)["k"].open("wb") as file:
        file.write(bytes(15))
        file.write(bytes(85))
    parts = {
        int(asked.query["partNumber"]): len(asked.body) for asked in scripted_server.asked if asked.method == "PUT"
    }
    assert [parts[number] for number in sorted(parts)] == sizes


def test_append_may_replace_the_metadata(s3_bucket: s3.S3Bucket) -> None:
    """Given metadata replaces the former metadata."""
    obj = s3_bucket.put_object("k", "one", {"a": "1"})
    with obj.open("ab", metadata={"b": "2"}) as file:
        file.write(b" two")
    found = s3_bucket.get_object("k")
    assert (found.body, found.metadata) == (b"one two", {"b": "2"})


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("size", [0, 3, 6 * MIB])
def test_append_of_nothing_changes_the_attributes_that_are_given(
    moto_bucket: s3.S3Bucket, size: int, text: bool
) -> None:
    obj = moto_bucket.put_object("k", bytes(size), {"a": "1"}, cache_control="no-cache")
    before = obj.reload().last_modified, obj.etag
    mode = "a" if text else "ab"
    with obj.open(mode), obj.open(mode, ExpectedBucketOwner="123456789012"):
        pass  # nothing is given that belongs to the object
    assert (obj.reload().last_modified, obj.etag) == before
    with obj.open(mode, metadata={"b": "2"}):
        pass
    found = moto_bucket.get_object("k")
    assert (found.body, found.metadata) == (bytes(size), {"b": "2"})
    with obj.open(mode, cache_control="max-age=5"):
        pass
    found = moto_bucket.get_object("k")
    assert (found.body, found.metadata) == (bytes(size), {"b": "2"})
    assert moto_bucket._connection.call("HeadObject", Bucket=moto_bucket.name, Key="k")["CacheControl"] == "max-age=5"


def test_append_to_a_large_object_copies_its_parts(moto_bucket: s3.S3Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """In several parts, none below the minimum size."""
    monkeypatch.setattr(object_writer, "_COPIED_PART_BYTES", 5 * MIB)
    obj = moto_bucket.put_object("k", BIG[: 11 * MIB])
    with obj.open("ab") as file:
        file.write(b"tail")
    assert obj.reload().body == BIG[: 11 * MIB] + b"tail"
    assert obj.etag.endswith("-3")


def test_append_sends_the_content_again_where_parts_cannot_be_copied(rclone_bucket: s3.S3Bucket) -> None:
    """rclone does not support UploadPartCopy: the former content is read and written again."""
    obj = rclone_bucket.put_object("k", BIG[: 9 * MIB])
    with obj.open("ab") as file:
        file.write(b"tail")
    assert obj.reload().body == BIG[: 9 * MIB] + b"tail"
    with pytest.raises(s3.S3ObjectChanged, match="while it was open for appending"), obj.open("ab") as file:
        file.write(b"late")
        rclone_bucket.put_object("k", BIG[: 6 * MIB])
    assert obj.reload().size == 6 * MIB


@pytest.mark.parametrize("preset", ["r2", "other"])
def test_append_keeps_the_order_where_the_content_is_sent_again(
    scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, preset: Any
) -> None:
    """The former content comes first, whether a write or the close sends the first part. R2 requires parts of equal size."""
    monkeypatch.setattr(object_writer, "PART_BYTES", 8)
    monkeypatch.setattr(object_writer, "MIN_PART_BYTES", 5)
    store = StatefulStore(scripted_server)
    store.before = lambda asked: refusal(501, "NotImplemented") if "x-amz-copy-source" in asked.headers else None
    obj = scripted_server.bucket(lane=False, preset=preset)["k"]
    body = bytes(range(100))

    def is_part(asked: Asked) -> bool:
        return asked.key == "k" and "partNumber" in asked.query and bool(asked.body)

    for size in (5, 8, 9, 12, 16, 33):
        for pieces in ([1], [9], [40], [3, 3, 3], [8, 1], [7, 30, 2]):
            store.put("k", body[:size])
            scripted_server.asked.clear()
            end = size
            with obj.open("ab") as file:
                for count in pieces:
                    file.write(body[end : end + count])
                    end += count
            assert store.body("k") == body[:end], (size, pieces)
            parts = {
                int(asked.query["partNumber"]): len(asked.body) for asked in scripted_server.asked if is_part(asked)
            }
            assert {count for number, count in parts.items() if number < max(parts)} <= {8}, (size, pieces)


@pytest.mark.parametrize(("is_there", "error"), [(True, s3.S3AccessDenied), (False, s3.S3ObjectChanged)])
def test_append_whose_copy_is_refused_checks_whether_the_object_changed(
    scripted_server: ScriptedServer, is_there: bool, error: type[Exception]
) -> None:
    """If the object is unchanged, the refusal is raised; if it is missing, S3ObjectChanged."""

    def answer(asked: Asked) -> Answer:
        if asked.method == "HEAD":
            return (
                content_of(asked, bytes(6 * MIB))
                if is_there or scripted_server.whats.count("HEAD k") == 1
                else refusal(404, "")
            )
        if asked.method == "POST":
            return document("InitiateMultipartUploadResult", "<UploadId>U</UploadId>")
        return (204, {}, b"") if asked.method == "DELETE" else refusal(403, "AccessDenied")

    scripted_server.answer = answer
    with pytest.raises(error), scripted_server.bucket()["k"].open("ab") as file:
        file.write(b"tail")
    assert scripted_server.whats[-1] == "DELETE k?uploadId"


def test_append_copies_no_parts_on_a_store_known_not_to_support_it(moto: Server, moto_bucket: s3.S3Bucket) -> None:
    """If the probe found no support, UploadPartCopy is not tried."""
    obj = moto_bucket.put_object("k", BIG[: 9 * MIB])
    store = s3.S3Store(moto.connect().config.replace(capabilities=s3.Capabilities(multipart_copy=False)))
    with store.bucket(moto_bucket.name)["k"].open("ab") as file:
        file.write(b"tail")
    assert obj.reload().body == BIG[: 9 * MIB] + b"tail"


def test_sequential_reads_of_medium_size_give_the_content(big: s3.S3Object) -> None:
    """Reads between the small size and the buffer size return the object's bytes."""
    with big.open() as file:
        assert b"".join(file.read(20_000) for _ in range(300)) == BIG[: 300 * 20_000]


def test_a_commit_after_abort_writes_nothing(moto_bucket: s3.S3Bucket) -> None:
    """A commit after abort() does nothing."""
    writer = object_writer.ObjectWriter(moto_bucket.object("k")._address, "wb", autocommit=False)
    writer.write(b"x")
    writer.abort()
    writer.commit()
    assert not moto_bucket["k"].exists()


# -- reads that fail, are interrupted, or share a reader ---------------------------------------------------------------------------------

LONG = random.Random(11).randbytes(3_000_000)


def _start_of(asked: Asked) -> int:
    return int(asked.headers.get("range", "bytes=0-").removeprefix("bytes=").partition("-")[0])


READS: dict[str, Callable[[Any, int], bytes]] = {
    "read()": lambda file, size: file.read(),
    "read(size)": lambda file, size: file.read(size),
    "readinto()": lambda file, size: (lambda buffer: bytes(buffer[: file.readinto(buffer)]))(bytearray(size)),
}


@pytest.mark.parametrize("buffering", [-1, 0, 1_000_000], ids=["buffered", "unbuffered", "large buffer"])
@pytest.mark.parametrize("size", [100, 20_000, 100_000, 2_000_000])
@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_a_read_that_fails_leaves_the_position_and_returns_the_bytes_when_called_again(
    scripted_server: ScriptedServer, read: Callable[[Any, int], bytes], size: int, buffering: int
) -> None:
    is_down = False
    scripted_server.answer = lambda asked: (
        refusal(503, "SlowDown") if is_down and _start_of(asked) > 0 else content_of(asked, LONG)
    )
    with scripted_server.bucket()["k"].open(buffering=buffering) as file:
        file.seek(900_000)
        file.read(50)  # the buffer holds more than these
        is_down, position = True, 900_050
        for _ in range(100):  # what the buffer holds is returned first
            try:
                piece = read(file, size)
            except s3.S3Throttled:
                break
            assert piece == LONG[position : position + len(piece)]
            position += len(piece)
        assert file.tell() == position
        is_down = False
        got = read(file, size)
        assert got == LONG[position : position + len(got)]
        assert len(got) >= (min(size, len(LONG) - position) if buffering else 1)


def test_a_read_above_32_mib_that_fails_returns_everything_when_called_again(scripted_server: ScriptedServer) -> None:
    body = random.Random(12).randbytes(1000) * 36_000
    is_down = True
    scripted_server.answer = lambda asked: (
        refusal(503, "SlowDown") if is_down and _start_of(asked) > 34_000_000 else content_of(asked, body)
    )
    with scripted_server.bucket()["k"].open() as file:
        file.seek(100_000)
        with pytest.raises(s3.S3Throttled):
            file.read()
        is_down = False
        assert file.tell() == 100_000
        assert file.read() == body[100_000:]


@pytest.mark.parametrize("step", [10_000, 70_000])
def test_a_failed_read_ahead_is_requested_again(scripted_server: ScriptedServer, step: int) -> None:
    """Its error is raised once, not for ever."""
    is_down = False
    scripted_server.answer = lambda asked: refusal(503, "SlowDown") if is_down else content_of(asked, LONG)
    with scripted_server.bucket()["k"].open() as file:
        got = file.read(100_000)
        is_down = True
        with pytest.raises(s3.S3Throttled):
            while True:
                got += file.read(step)
        is_down = False
        before = len(scripted_server.asked)
        got += file.read(step)
        assert len(scripted_server.asked) > before
        assert got + file.read() == LONG


class Interrupted(Exception):
    """Raised by a signal's handler."""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers here")
@pytest.mark.parametrize("how", ["readinto", "raw readinto", "large buffer"])
def test_an_interrupted_read_does_not_write_to_its_buffer_afterwards(scripted_server: ScriptedServer, how: str) -> None:
    """Its threads may still run, while the memory is used for something else."""
    body = b"\xaa" * 4_000_000
    go_on = threading.Event()

    def answer(asked: Asked) -> Answer:
        if _start_of(asked) > 70_000:
            go_on.wait(10)
        return content_of(asked, body)

    def interrupt(*_: object) -> None:
        raise Interrupted

    scripted_server.answer = answer
    buffering = {"readinto": -1, "raw readinto": 0, "large buffer": 3_900_000}[how]
    file = scripted_server.bucket()["k"].open(buffering=buffering)
    file.seek(70_000)
    mine = bytearray(3_900_000)
    former = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(Interrupted):
            file.read(1000) if how == "large buffer" else file.readinto(mine)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)
    raw = file.detach() if buffering else file
    del file  # frees its buffer
    gc.collect()
    before = mine.count(0)
    fresh = bytearray(3_900_000)  # usually at the same address
    threads = [thread for thread in threading.enumerate() if "read-ahead" in thread.name]
    go_on.set()
    raw.close()
    for thread in threads:
        thread.join(10)
    assert mine.count(0) == before
    assert not any(fresh)


def test_a_read_whose_threads_cannot_start_does_not_write_to_its_buffer_afterwards(
    scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = b"\xaa" * 4_000_000
    go_on = threading.Event()

    def answer(asked: Asked) -> Answer:
        if _start_of(asked) > 70_000:
            go_on.wait(10)
        return content_of(asked, body)

    started: list[threading.Thread] = []
    begin = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if "read-ahead" in thread.name:
            if started:
                raise RuntimeError("can't start new thread")
            started.append(thread)
        begin(thread)

    scripted_server.answer = answer
    file = scripted_server.bucket()["k"].open(buffering=3_900_000)
    file.seek(70_000)
    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        file.read(1000)
    monkeypatch.undo()
    raw = file.detach()
    del file  # frees its buffer
    gc.collect()
    fresh = bytearray(3_900_000)
    go_on.set()
    raw.close()
    for thread in started:
        thread.join(10)
    assert not any(fresh)


@pytest.mark.parametrize("sizes", [(100_000,) * 4, (20_000, 3_000, 100_000, 65_536)], ids=["equal", "mixed"])
def test_threads_that_share_a_reader_get_every_byte_once(
    scripted_server: ScriptedServer, sizes: tuple[int, ...]
) -> None:
    body = b"".join(number.to_bytes(4, "big") for number in range(500_000))
    scripted_server.answer = lambda asked: content_of(asked, body)
    got: list[bytes] = []

    with scripted_server.bucket()["k"].open() as file:

        def read(size: int) -> None:
            while piece := file.read(size):
                got.append(piece)

        threads = [threading.Thread(target=read, args=(size,)) for size in sizes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert file.tell() == len(body)
    assert b"".join(sorted(got)) == body


def test_a_read_that_is_interrupted_at_any_line_does_not_move_what_is_read_next(
    scripted_server: ScriptedServer,
) -> None:
    """The position that tell() names is the one that the next read begins at."""
    body = random.Random(13).randbytes(400_000)
    scripted_server.answer = lambda asked: content_of(asked, body)
    obj = scripted_server.bucket()["k"]
    former = sys.gettrace()
    for number in range(1, 400):
        lines = 0

        def trace(frame: Any, event: str, _: Any, number: int = number) -> Any:
            nonlocal lines
            if not frame.f_code.co_filename.endswith(("_files/reader.py", "_objects/ranged_reader.py")):
                return None
            if event == "line":
                lines += 1
                if lines == number:
                    raise Interrupted
            return trace

        with obj.open() as file:
            file.read(50)
            file.seek(200_000)
            file.read(50)
            is_interrupted = False
            sys.settrace(trace)
            try:
                file.read(70_000)
            except Interrupted:
                is_interrupted = True
            finally:
                sys.settrace(former)
            position = file.tell()
            assert file.read(4_000) + file.read(100) == body[position : position + 4_100], number
        if not is_interrupted:
            return
    raise AssertionError("the read has more lines than were tried")


@pytest.mark.parametrize("how", ["closed", "in a block", "text"])
def test_a_file_opened_in_a_handler_commits_after_the_traceback_was_removed(
    quick: StatefulStore, quick_object: s3.S3Object, how: str
) -> None:
    try:
        raise ValueError("former")
    except ValueError as error:
        file = quick_object.open("w" if how == "text" else "wb")
        error.__traceback__ = None
        file.write("content" if how == "text" else b"content")
        file.close()
    assert quick_object.body == b"content"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_does_not_warn_of_a_file_that_its_parent_writes(quick_object: s3.S3Object) -> None:
    file = quick_object.open("wb")
    file.write(b"content")
    child = os.fork()
    if child == 0:  # pragma: no cover - in the child
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            del file
            gc.collect()
        os._exit(len([each for each in told if each.category is ResourceWarning]))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    file.close()
    assert quick_object.reload().body == b"content"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_writes_nothing_into_the_temporary_file_of_its_parent(
    quick: StatefulStore, quick_object: s3.S3Object
) -> None:
    """Both processes have the bytes that were not written to the disk yet, and share the position in the file."""
    content = BIG[: 9 * MIB]
    file = quick_object.open("wb")
    file.write(b"x")
    file.seek(0)  # the content is kept in a temporary file, on the disk above 8 MiB
    for start in range(0, len(content), 1000):
        file.write(content[start : start + 1000])
    child = os.fork()
    if child == 0:  # pragma: no cover - in the child
        del file
        gc.collect()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    file.write(b"end")
    file.close()
    assert quick.body("k") == content + b"end"


@pytest.mark.parametrize("later", ["write", "seek", "truncate"])
def test_a_call_that_waits_while_another_thread_closes_the_file_raises(
    scripted_server: ScriptedServer, quick: StatefulStore, quick_object: s3.S3Object, later: str
) -> None:
    """It is refused, not taken and dropped: the object is complete already."""
    is_sent, may_answer = threading.Event(), threading.Event()

    def before(asked: Asked) -> Answer:
        if asked.method == "PUT":
            is_sent.set()
            assert may_answer.wait(60)
        return None

    quick.before = before
    file = quick_object.open("wb")
    file.write(b"first")
    calls: dict[str, Callable[[], object]] = {
        "write": lambda: file.write(b"second"), "seek": lambda: file.seek(0, io.SEEK_END), "truncate": lambda: file.truncate(0),
    }  # fmt: skip
    told: list[BaseException | None] = []

    def call() -> None:
        try:
            calls[later]()
        except BaseException as error:
            told.append(error)
        else:
            told.append(None)

    closing, calling = threading.Thread(target=file.close), threading.Thread(target=call)
    closing.start()
    assert is_sent.wait(60)
    calling.start()
    calling.join(0.2)  # long enough for it to wait; if it is late, it finds a closed file
    may_answer.set()
    closing.join(60)
    calling.join(60)
    assert [type(error) for error in told] == [ValueError]
    assert quick.body("k") == b"first"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("size", [10, len(BIG)])
@pytest.mark.parametrize("call", ["write", "close", "end of the block"])
def test_a_forked_child_can_neither_write_nor_close_a_file_of_its_parent(
    scripted_server: ScriptedServer, quick: StatefulStore, quick_object: s3.S3Object, size: int, call: str
) -> None:
    """Its threads are the parent's, also one that held the file's lock at the fork; the parent's object is complete."""
    file = quick_object.open("wb")
    file.write(BIG[:size])
    is_held, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        with file._lock:  # type: ignore[attr-defined]  # as a write in progress does
            is_held.set()
            may_end.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    assert is_held.wait(60)
    child = os.fork()
    if child == 0:  # pragma: no cover - in the child
        signal.alarm(60)  # a child that hangs is killed
        code = 1
        try:
            if call == "write":
                file.write(b"x" * size)
            elif call == "close":
                file.close()
            else:
                with file:
                    pass
        except RuntimeError:
            file.abort()  # type: ignore[attr-defined]  # returns
            code = 0
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    may_end.set()
    holder.join(60)
    assert code == 0
    file.close()
    assert quick.body("k") == BIG[:size]
    assert not quick.uploads


@pytest.mark.parametrize("mode", ["w", "wb"])
def test_a_handle_read_while_its_file_is_open_shows_the_new_object_after_the_close(
    quick: StatefulStore, quick_object: s3.S3Object, mode: str
) -> None:
    quick_object.put(b"former")
    with quick_object.open(mode) as file:
        file.write("later" * 2 if mode == "w" else b"later" * 2)
        assert (quick_object.size, quick_object.body) == (6, b"former")
    assert (quick_object.size, quick_object.body) == (10, b"laterlater")


def test_a_response_without_a_length_raises_an_error_that_says_so(scripted_server: ScriptedServer) -> None:
    scripted_server.answer = lambda asked: b'HTTP/1.1 200 OK\r\nETag: "e"\r\n\r\ncontent'
    with pytest.raises(s3.S3ServerError, match="without Content-Length"):
        scripted_server.bucket(lane=False)["k"].body_stream.read()
