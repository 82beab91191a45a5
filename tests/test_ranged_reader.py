"""The one retry rule of reading, held by every way to read an object."""

from __future__ import annotations

import io
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.scripted_server import Answer, Asked, ScriptedServer, content_of, refusal
from support.stateful_server import StatefulStore

import messageflux_s3 as s3

BODY = bytes(range(250)) * 4
STEP = 150
"""The number of bytes of each truncated response."""


def read_stream(obj: s3.S3Object, folder: Path) -> bytes:
    with obj.body_stream as stream:
        return stream.read()


def read_file(obj: s3.S3Object, folder: Path) -> bytes:
    with obj.open("rb") as file:
        return bytes(file.read())


def read_file_unbuffered(obj: s3.S3Object, folder: Path) -> bytes:
    with obj.open("rb", buffering=0) as file:
        return bytes(file.read())


def download(obj: s3.S3Object, folder: Path) -> bytes:
    obj.download_to(folder / "file")
    return (folder / "file").read_bytes()


def download_to_writable(obj: s3.S3Object, folder: Path) -> bytes:
    written = io.BytesIO()
    obj.bucket.download_object(obj.key, written)
    return written.getvalue()


def read_through_fsspec(obj: s3.S3Object, folder: Path) -> bytes:
    from messageflux_s3.fs import MessagefluxS3FileSystem

    found: bytes = MessagefluxS3FileSystem(obj.bucket.store).cat_file(f"{obj.bucket.name}/{obj.key}", 0, len(BODY))
    return found


READERS: dict[str, Callable[[s3.S3Object, Path], bytes]] = {
    "body": lambda obj, folder: obj.body,
    "body_stream": read_stream,
    "iter_chunks": lambda obj, folder: b"".join(obj.iter_chunks(99)),
    "open": read_file,
    "open, unbuffered": read_file_unbuffered,
    "download_to": download,
    "download_object": download_to_writable,
    "fsspec": read_through_fsspec,
}
each_reader = pytest.mark.parametrize("read", READERS.values(), ids=READERS)


def cut(asked: Asked, body: bytes = BODY) -> Answer:
    """The beginning of the right answer; then the connection is closed."""
    answered = content_of(asked, body)
    assert answered is not None
    status, headers, content = answered
    return status, {**headers, "Content-Length": str(len(content))}, content[:STEP]


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between attempts, which take no time here."""
    found: list[float] = []
    monkeypatch.setattr(time, "sleep", found.append)
    return found


@each_reader
def test_received_bytes_reset_the_number_of_attempts(
    scripted_server: ScriptedServer, tmp_path: Path, pauses: list[float], read: Callable[[s3.S3Object, Path], bytes]
) -> None:
    """With more interruptions than attempts, each after some bytes, the whole object is read, resumed at each offset."""
    scripted_server.answer = lambda asked: content_of(asked, BODY) if asked.method == "HEAD" else cut(asked)
    obj = scripted_server.bucket(max_attempts=2, lane=False).object("k")
    assert read(obj, tmp_path) == BODY
    resumed = [asked for asked in scripted_server.asked if asked.headers.get("range", "bytes=0-")[:8] != "bytes=0-"]
    starts = [int(asked.headers["range"].removeprefix("bytes=").partition("-")[0]) for asked in resumed]
    assert starts == [*range(STEP, len(BODY), STEP)]
    assert {asked.headers["if-match"] for asked in resumed} == {"e"}
    assert set(pauses) == {0.1}


@each_reader
def test_attempts_without_progress_end_with_an_error(
    scripted_server: ScriptedServer, tmp_path: Path, pauses: list[float], read: Callable[[s3.S3Object, Path], bytes]
) -> None:
    """The allowed number of attempts, with growing pauses; then an error, never a short read."""
    answers = 0

    def answer(asked: Asked) -> Answer:
        nonlocal answers
        if asked.method == "HEAD":
            return content_of(asked, BODY)
        answers += 1
        status, headers, content = cut(asked) or (0, {}, b"")
        return status, headers, content if answers == 1 else b""

    scripted_server.answer = answer
    obj = scripted_server.bucket(max_attempts=4, lane=False).object("k")
    with pytest.raises(s3.S3ConnectionError):
        read(obj, tmp_path)
    assert pauses[-3:] == [0.1, 0.2, 0.4]
    assert not (tmp_path / "file").exists()


CHANGES: dict[str, tuple[Callable[[Asked], Answer], str]] = {
    "deleted": (lambda asked: refusal(404, "NoSuchKey"), "was deleted while it was being read"),
    "shorter": (lambda asked: refusal(416, "InvalidRange"), "was replaced by a shorter one"),
    "another etag": (lambda asked: content_of(asked, BODY, "f"), "was replaced while it was being read"),
    "another size": (lambda asked: content_of(asked, BODY + b"more"), "was replaced while it was being read"),
}


@each_reader
@pytest.mark.parametrize(("then", "said"), CHANGES.values(), ids=CHANGES)
def test_an_object_that_changes_between_two_requests_raises_object_changed(
    scripted_server: ScriptedServer,
    tmp_path: Path,
    pauses: list[float],
    read: Callable[[s3.S3Object, Path], bytes],
    then: Callable[[Asked], Answer],
    said: str,
) -> None:
    """Whichever response shows the change; bytes of two objects are never mixed."""
    gets = 0

    def answer(asked: Asked) -> Answer:
        nonlocal gets
        gets += asked.method == "GET"
        return cut(asked) if gets == 1 else then(asked)

    scripted_server.answer = answer
    obj = scripted_server.bucket(max_attempts=3, lane=False).object("k")
    with pytest.raises(s3.S3ObjectChanged, match=said):
        read(obj, tmp_path)


@pytest.mark.parametrize("read", [read_file, read_file_unbuffered, download, download_to_writable])
@pytest.mark.parametrize("told", [0, 1, len(BODY) - 1])
def test_a_body_in_chunks_that_is_longer_than_the_head_said_is_not_cut_off(
    scripted_server: ScriptedServer, tmp_path: Path, read: Callable[[s3.S3Object, Path], bytes], told: int
) -> None:
    """The size of a response without Content-Length is that of a HEAD; which of the two is right cannot be told."""

    def answer(asked: Asked) -> Answer:
        if asked.method == "HEAD":
            return content_of(asked, BODY[:told])
        chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
        return 200, {"ETag": '"e"', "Transfer-Encoding": "chunked"}, chunks

    scripted_server.answer = answer
    with pytest.raises(s3.S3ServerError, match=f"goes on after the {told} bytes"):
        read(scripted_server.bucket(lane=False).object("k"), tmp_path)


def append(obj: s3.S3Object) -> None:
    with obj.open("ab") as file:
        file.write(b"more")


@pytest.mark.parametrize(
    "write", [append, lambda obj: obj.update(lambda body: (body or b"") + b"more")], ids=["append", "update"]
)
def test_a_body_in_chunks_that_ends_early_is_not_written_back(
    scripted_server: ScriptedServer, pauses: list[float], write: Callable[[s3.S3Object], object]
) -> None:
    """Its end looks right, and the write's condition holds: only the size that a HEAD tells shows that bytes are missing."""
    store = StatefulStore(scripted_server)
    store.put("k", BODY).etag = f"{'0' * 32}-2"  # of an object in parts, which is not the MD5 of its content

    def before(asked: Asked) -> Answer:
        answer = store._apply(asked) if asked.method == "GET" else None
        if not isinstance(answer, tuple) or answer[0] != 200:
            return answer
        chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (STEP, answer[2][:STEP])
        headers = {name: value for name, value in answer[1].items() if name != "Content-Length"}
        return 200, {**headers, "Transfer-Encoding": "chunked"}, chunks

    store.before = before
    obj = scripted_server.bucket(preset="aws", lane=False).object("k")
    try:
        write(obj)
    except s3.S3Error:
        assert store.body("k") == BODY
    else:
        assert store.body("k") == BODY + b"more"


def pieces_of_stream(obj: s3.S3Object) -> Iterator[bytes]:
    with obj.body_stream as stream:
        yield from iter(lambda: stream.read(100_000), b"")


ITERATIONS: dict[str, Callable[[s3.S3Object], Iterator[bytes]]] = {
    "body_stream": pieces_of_stream,
    "iter_chunks": lambda obj: obj.iter_chunks(100_000),
    "iter_lines": lambda obj: (line + b"\n" for line in obj.iter_lines()),
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("iteration", ITERATIONS.values(), ids=ITERATIONS)
def test_a_forked_child_reads_a_stream_of_its_parent_from_a_connection_of_its_own(
    scripted_server: ScriptedServer, iteration: Callable[[s3.S3Object], Iterator[bytes]]
) -> None:
    """On a shared connection each lost the bytes that the other one read, without an error."""
    body = b"".join(b"%07d\n" % number for number in range(500_000))
    scripted_server.answer = lambda asked: content_of(asked, body)
    pieces = iteration(scripted_server.bucket(lane=False, read_timeout=5)["k"])
    read = next(pieces)
    child = os.fork()
    if child == 0:  # pragma: no cover - in the child
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(60)  # a child that hangs is killed
        while len(read) < len(body) // 4 * 3:
            read += next(pieces)
        os._exit(0 if body.startswith(read) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert read + b"".join(pieces) == body
