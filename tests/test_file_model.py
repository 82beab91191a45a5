"""Compare files on objects with Python's own: the same random operations on ``obj.open()`` and on ``io.BytesIO`` or ``open()``.

An operation of ours either does what Python's file does, or raises ``io.UnsupportedOperation`` and changes nothing. A small slice runs
with the tests; more of it by

    SEEDS=2000 python -m pytest tests/test_file_model.py

where ``SEEDS`` is the number of examples of each test.
"""

from __future__ import annotations

import contextlib
import gc
import io
import itertools
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.scripted_server import run_scripted_server
from support.stateful_server import StatefulStore

import messageflux_s3 as s3

EXAMPLES = int(os.environ.get("SEEDS") or 60)
KIB, MIB = 1024, 1024 * 1024
FIRST_BYTES, SMALL_BYTES, PART_BYTES = 64 * KIB, 16 * KIB, 8 * MIB  # sizes at which the way to read or write changes
LARGE = (bytes(range(251)) * (9 * MIB // 251 + 1))[: 9 * MIB]

at_random = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))


class Place(NamedTuple):
    """The object and the local file that are compared."""

    store: StatefulStore
    bucket: s3.S3Bucket
    folder: Path


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with run_scripted_server() as server, tempfile.TemporaryDirectory() as folder:
        bucket = server.bucket(preset="aws")
        yield Place(StatefulStore(server), bucket, Path(folder))
        bucket.store.close()


_numbers = itertools.count()


def fresh(place: Place) -> tuple[s3.S3Object, Path]:
    """Return an object and a file that do not exist yet."""
    place.store.objects.clear()
    name = f"k{next(_numbers)}"
    return place.bucket.object(name), place.folder / name


# -- operations -----------------------------------------------------------------------------------------------------------------------

Step = tuple[str, tuple[Any, ...]]


def both(ours: Any, theirs: Any, step: Step, *, appends: bool) -> None:
    """Perform the same operation on both; compare the results, or that both raise."""
    name, arguments = step
    before = ours.tell()
    assert before == theirs.tell()
    try:
        result = getattr(ours, name)(*arguments)
    except io.UnsupportedOperation:
        assert name in ("seek", "truncate"), step
        assert ours.tell() == before, (step, "changed the position, although it was refused")
        return
    except (ValueError, OSError):
        with pytest.raises((ValueError, OSError)):
            getattr(theirs, name)(*arguments)
    else:
        assert result == getattr(theirs, name)(*arguments), step
    if appends and name.startswith("write"):
        theirs.flush()  # only then does the builtin's tell() say where the end is that it appends to
    assert ours.tell() == theirs.tell(), step


PIECES = st.binary(max_size=12) | st.sampled_from([bytearray(b"array"), memoryview(b"view"), b"", b"x" * 70_000])
OFFSETS = st.integers(-3, 30) | st.sampled_from([70_000, FIRST_BYTES])
BINARY_STEPS: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.just("write"), st.tuples(PIECES)),
    st.tuples(st.just("write"), st.tuples(PIECES)),
    st.tuples(st.just("writelines"), st.tuples(st.lists(st.binary(max_size=5), max_size=3))),
    st.tuples(st.just("seek"), st.tuples(OFFSETS, st.sampled_from([io.SEEK_SET, io.SEEK_END]))),
    st.tuples(st.just("seek"), st.tuples(OFFSETS)),
    st.tuples(st.just("seek"), st.tuples(st.integers(0, 5), st.just(io.SEEK_CUR))),
    st.tuples(st.just("truncate"), st.tuples(st.none() | OFFSETS)),
    st.tuples(st.just("truncate"), st.just(())),
    st.tuples(st.sampled_from(["flush", "tell"]), st.just(())),
)
LETTERS = st.text(st.sampled_from("ab\n\r é日😀\x00"), max_size=8)
TEXT_STEPS: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.just("write"), st.tuples(LETTERS)),
    st.tuples(st.just("write"), st.tuples(LETTERS)),
    st.tuples(st.just("writelines"), st.tuples(st.lists(LETTERS, max_size=3))),
    st.tuples(st.just("seek"), st.sampled_from([(0,), (0, io.SEEK_END)])),
    st.tuples(st.just("truncate"), st.sampled_from([(), (None,), (0,), (4,), (40,)])),
    st.tuples(st.sampled_from(["flush", "tell"]), st.just(())),
)

# -- endings: how a file is closed, and whether its content must be there afterwards ----------------------------------------------------


class Broken(Exception):
    """The exception that interrupts a test's writing."""


Ending = Callable[[Callable[[], Any], Callable[[Any], None]], None]


def block(open_it: Callable[[], Any], write: Callable[[Any], None]) -> None:
    with open_it() as file:
        write(file)


def block_that_closes(open_it: Callable[[], Any], write: Callable[[Any], None]) -> None:
    with open_it() as file:
        write(file)
        file.close()


def block_that_raises(open_it: Callable[[], Any], write: Callable[[Any], None]) -> None:
    with contextlib.suppress(Broken), open_it() as file:
        write(file)
        raise Broken


def block_that_closes_and_raises(open_it: Callable[[], Any], write: Callable[[Any], None]) -> None:
    with contextlib.suppress(Broken), open_it() as file:
        write(file)
        file.close()
        raise Broken


def close(open_it: Callable[[], Any], write: Callable[[Any], None]) -> None:
    file = open_it()
    write(file)
    file.close()
    file.close()


def close_after_a_handled_exception(open_it: Callable[[], Any], write: Callable[[Any], None]) -> None:
    file = open_it()
    with contextlib.suppress(Broken):
        raise Broken
    write(file)
    file.close()


def close_in_finally_without_exception(open_it: Callable[[], Any], write: Callable[[Any], None]) -> None:
    file = open_it()
    try:
        write(file)
    finally:
        file.close()


def close_in_finally_of_an_exception(open_it: Callable[[], Any], write: Callable[[Any], None]) -> None:
    file = open_it()
    with contextlib.suppress(Broken):
        try:
            write(file)
            raise Broken
        finally:
            file.close()


def opened_and_closed_in_a_handler(open_it: Callable[[], Any], write: Callable[[Any], None]) -> None:
    try:
        raise Broken
    except Broken:
        close(open_it, write)


def opened_in_a_handler_and_closed_after_it(open_it: Callable[[], Any], write: Callable[[Any], None]) -> None:
    try:
        raise Broken
    except Broken:
        file = open_it()
    write(file)
    file.close()


def opened_in_a_handler_and_closed_in_a_later_exception(
    open_it: Callable[[], Any], write: Callable[[Any], None]
) -> None:
    try:
        raise Broken
    except Broken:
        file = open_it()
    with contextlib.suppress(Broken):
        try:
            write(file)
            raise Broken
        finally:
            file.close()


def enter_context(open_it: Callable[[], Any], write: Callable[[Any], None]) -> None:
    with contextlib.ExitStack() as stack:
        write(stack.enter_context(open_it()))


def push(open_it: Callable[[], Any], write: Callable[[Any], None]) -> None:
    with contextlib.ExitStack() as stack:
        file = open_it()
        stack.push(file)
        write(file)


def push_that_raises(open_it: Callable[[], Any], write: Callable[[Any], None]) -> None:
    with contextlib.suppress(Broken), contextlib.ExitStack() as stack:
        file = open_it()
        stack.push(file)
        write(file)
        raise Broken


def closing(open_it: Callable[[], Any], write: Callable[[Any], None]) -> None:
    with contextlib.closing(open_it()) as file:
        write(file)


def closing_that_raises(open_it: Callable[[], Any], write: Callable[[Any], None]) -> None:
    with contextlib.suppress(Broken), contextlib.closing(open_it()) as file:
        write(file)
        raise Broken


def dropped(open_it: Callable[[], Any], write: Callable[[Any], None]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        file = open_it()
        write(file)
        del file
        gc.collect(0)


COMMITTED: list[Ending] = [
    block, block_that_closes, close, close_after_a_handled_exception, close_in_finally_without_exception, opened_and_closed_in_a_handler,
    opened_in_a_handler_and_closed_after_it, enter_context, push, closing,
]  # fmt: skip
GIVEN_UP: list[Ending] = [
    block_that_raises, block_that_closes_and_raises, close_in_finally_of_an_exception, opened_in_a_handler_and_closed_in_a_later_exception,
    push_that_raises, closing_that_raises, dropped,
]  # fmt: skip
ENDINGS = st.sampled_from(COMMITTED) | st.sampled_from(COMMITTED + GIVEN_UP)


def write_both(
    place: Place, obj: s3.S3Object, path: Path, mode: str, steps: list[Step], ending: Ending, **arguments: Any
) -> None:
    """Open, write and close both; afterwards both have the same content, or ours the content from before."""
    before = path.read_bytes() if path.exists() else None
    with path.open(mode, **arguments) as theirs:

        def write(ours: Any) -> None:
            for step in steps:
                both(ours, theirs, step, appends="a" in mode)

        ending(lambda: obj.open(mode, **arguments), write)
    if ending in GIVEN_UP:
        path.unlink()
        if before is not None:
            path.write_bytes(before)
    assert place.store.body(obj.key) == (path.read_bytes() if path.exists() else None)
    assert place.store.uploads == {}


@at_random
@example(
    rounds=[("w", block, [("write", (b"draft draft",)), ("seek", (0,)), ("truncate", ()), ("write", (b"final",))])]
)
@example(rounds=[("w", push, [("write", (b"whole",))])])
@given(
    rounds=st.lists(
        st.tuples(st.sampled_from("wax"), ENDINGS, st.lists(BINARY_STEPS, max_size=10)), min_size=1, max_size=3
    )
)
def test_binary_writers_behave_like_files(place: Place, rounds: list[tuple[str, Ending, list[Step]]]) -> None:
    """Written, written again or appended to, and closed in every way."""
    obj, path = fresh(place)
    for action, ending, steps in rounds:
        if action == "x" and path.exists():
            with pytest.raises(FileExistsError):
                obj.open("xb")
        else:
            write_both(place, obj, path, action + "b", steps, ending)


ENCODINGS = st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
NEWLINES = st.sampled_from([None, "", "\n", "\r", "\r\n"])


@at_random
@example(
    rounds=[("w", block, [("write", ("draft draft",)), ("seek", (0,)), ("truncate", ()), ("write", ("final",))])],
    encoding="utf-8",
    newline=None,
)
@example(rounds=[("w", push, [("write", ("whole",))])], encoding="utf-8", newline=None)
@given(
    rounds=st.lists(
        st.tuples(st.sampled_from("wa"), ENDINGS, st.lists(TEXT_STEPS, max_size=10)), min_size=1, max_size=3
    ),
    encoding=ENCODINGS,
    newline=NEWLINES,
)
def test_text_writers_behave_like_files(
    place: Place, rounds: list[tuple[str, Ending, list[Step]]], encoding: str, newline: str | None
) -> None:
    """With byte order marks and line ends; what was written is read back as the builtin reads it."""
    obj, path = fresh(place)
    for action, ending, steps in rounds:
        write_both(place, obj, path, action, steps, ending, encoding=encoding, newline=newline)
    if path.exists():
        obj.reload()
        arguments: Any = {"encoding": encoding, "errors": "replace", "newline": newline}
        with obj.open("r", **arguments) as ours, path.open(**arguments) as theirs:
            assert outcome(ours, "readlines", ()) == outcome(theirs, "readlines", ())


@settings(parent=at_random, max_examples=max(4, EXAMPLES // 15))
@given(
    ending=ENDINGS,
    before=st.sampled_from([None, b"", b"former", LARGE[: 5 * MIB], LARGE]),
    mode=st.sampled_from(["wb", "ab"]),
    sizes=st.lists(
        st.sampled_from([0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, len(LARGE)]), min_size=1, max_size=2
    ),
    step=st.sampled_from([("tell", ()), ("seek", (0,)), ("seek", (0, io.SEEK_END)), ("truncate", (PART_BYTES + 1,))]),
)
def test_writers_behave_like_files_at_part_borders(
    place: Place, ending: Ending, before: bytes | None, mode: str, sizes: list[int], step: Step
) -> None:
    """Content around the size of a part, and of what is copied within the store."""
    obj, path = fresh(place)
    if before is not None:
        place.store.put(obj.key, before)
        path.write_bytes(before)
    steps: list[Step] = [("write", (LARGE[:size],)) for size in sizes]
    write_both(place, obj, path, mode, [*steps, step, ("write", (b"end",))], ending)


# -- reading --------------------------------------------------------------------------------------------------------------------------

SIZES = [0, 1, SMALL_BYTES, FIRST_BYTES - 1, FIRST_BYTES, FIRST_BYTES + 1, 300_000]
NEAR = st.sampled_from([border + more for border in (0, SMALL_BYTES, FIRST_BYTES, 300_000) for more in (-1, 0, 1)])
COUNTS = st.integers(-1, 200) | NEAR.filter(lambda count: count >= -1) | st.integers(0, 310_000)
READS: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.sampled_from(["read", "readline"]), st.tuples(st.none() | COUNTS)),
    st.tuples(
        st.sampled_from(["read1", "peek", "readinto", "readinto1"]), st.tuples(st.integers(0, 200) | st.just(100_000))
    ),
    st.tuples(st.just("readlines"), st.tuples(st.integers(1, 1000))),
    st.tuples(st.just("seek"), st.tuples(st.integers(0, 310_000) | NEAR, st.just(io.SEEK_SET))),
    st.tuples(
        st.just("seek"), st.tuples(st.integers(-70_000, 70_000) | NEAR, st.sampled_from([io.SEEK_CUR, io.SEEK_END]))
    ),
    st.tuples(st.sampled_from(["tell", "__next__", "read", "readable", "seekable", "writable"]), st.just(())),
)


def content_of_lines(size: int) -> bytes:
    """Return lines of growing length that contain their own position."""
    lines = io.BytesIO()
    number = 0
    while lines.tell() < size:
        lines.write(b"%d " % lines.tell() + b"." * (number % 97) + (b"\r\n" if number % 3 else b"\n"))
        number += 1
    return lines.getvalue()[:size]


@at_random
@given(size=st.sampled_from(SIZES), buffering=st.sampled_from([-1, -1, 0, 100]), steps=st.lists(READS, max_size=15))
def test_binary_readers_behave_like_files(place: Place, size: int, buffering: int, steps: list[Step]) -> None:
    """With Python's buffer, a small one and none; a short read is never wrong, and empty only at the end."""
    obj, _ = fresh(place)
    body = content_of_lines(size)
    place.store.put(obj.key, body)
    theirs = io.BufferedReader(io.BytesIO(body))  # BytesIO itself reads one line less for some hints of readlines()
    with obj.open("rb", buffering) as ours:
        for name, arguments in steps:
            if name == "writable":
                assert not ours.writable()
                continue
            if buffering == 0 and name in ("read1", "peek", "readinto1"):
                continue  # a raw file has none of them
            if name == "seek":
                target = arguments[0] + (0, theirs.tell(), size)[arguments[1]]
                if target < 0:
                    with pytest.raises(OSError):
                        ours.seek(*arguments)
                else:
                    assert ours.seek(*arguments) == theirs.seek(target)
            elif name == "peek":
                piece = ours.peek(*arguments)
                assert piece == body[theirs.tell() : theirs.tell() + len(piece)]
                assert piece or theirs.tell() >= size
            elif name in ("readinto", "readinto1"):
                buffer = bytearray(arguments[0])
                count = getattr(ours, name)(buffer)
                assert bytes(buffer[:count]) == theirs.read(count)
                assert not any(buffer[count:])
                assert count or not arguments[0] or theirs.tell() >= size
            elif name == "read1" or (name == "read" and buffering == 0 and arguments and (arguments[0] or 0) > 0):
                piece = getattr(ours, name)(*arguments)
                assert piece == theirs.read(len(piece))
                assert piece or not arguments[0] or theirs.tell() >= size
            else:
                assert outcome(ours, name, arguments) == outcome(theirs, name, arguments), (name, arguments)
            assert ours.tell() == theirs.tell(), (name, arguments)


def outcome(file: Any, name: str, arguments: tuple[Any, ...]) -> Any:
    """Return the result of an operation, or its kind of exception: StopIteration, OSError or UnicodeError."""
    try:
        return getattr(file, name)(*arguments)
    except (StopIteration, OSError, UnicodeError) as error:
        return type(error)


TEXT_READS: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.just("read"), st.tuples(st.none() | st.integers(-1, 300) | st.just(100_000))),
    st.tuples(st.just("readline"), st.tuples(st.integers(-1, 300))),
    st.tuples(st.sampled_from(["readlines"]), st.tuples(st.integers(1, 2000))),
    st.tuples(st.sampled_from(["tell", "back", "end", "start"]), st.just(())),
)


@at_random
@given(
    size=st.sampled_from([0, 10, 3000, 40_000]),
    encoding=ENCODINGS,
    newline=NEWLINES,
    steps=st.lists(TEXT_READS, max_size=12),
)
def test_text_readers_behave_like_files(
    place: Place, size: int, encoding: str, newline: str | None, steps: list[Step]
) -> None:
    """Seeking to positions of tell() works; the line ends are those of the builtin."""
    obj, path = fresh(place)
    path.write_bytes((content_of_lines(size).decode() + "é日😀\rlast").encode(encoding))
    place.store.put(obj.key, path.read_bytes())
    with (
        obj.open("r", encoding=encoding, newline=newline) as ours,
        path.open(encoding=encoding, newline=newline) as theirs,
    ):
        cookies = [0]
        for name, arguments in steps:
            if name == "tell":
                cookie = outcome(theirs, "tell", ())
                assert outcome(ours, "tell", ()) == cookie
                if cookie is not OSError:  # after readlines() with a hint there is no telling
                    cookies.append(cookie)
            elif name in ("back", "start"):
                cookie = cookies[-1] if name == "back" else 0
                assert ours.seek(cookie) == theirs.seek(cookie)
            elif name == "end":
                assert ours.seek(0, io.SEEK_END) == theirs.seek(0, io.SEEK_END)
            else:
                assert getattr(ours, name)(*arguments) == getattr(theirs, name)(*arguments), (name, arguments)
        assert list(ours) == list(theirs)
