"""Every type of source with every write method, at every size threshold.

The stored content must be exactly that of the source. A small slice always runs; ``SOURCES=all`` runs everything.
"""

from __future__ import annotations

import array
import asyncio
import bz2
import codecs
import gzip
import hashlib
import io
import lzma
import mmap
import os
import socket
import tarfile
import tempfile
import threading
import tracemalloc
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from support.scripted_server import RawServer, ScriptedServer
from support.stateful_server import StrictStore

import messageflux_s3 as s3
from messageflux_s3 import S3Bucket
from messageflux_s3._objects.source import Source

MIB = 1024 * 1024
PART = 5 * MIB
ALL = os.environ.get("SOURCES") == "all"
BORDERS = [0, 1, PART - 1, PART, PART + 1, 2 * PART, 2 * PART + 1, 16 * MIB - 1, 16 * MIB, 16 * MIB + 1]
SMALL = 70_001


def text_of(size: int) -> str:
    """Text of so many bytes in UTF-8: characters of two bytes lie across most borders."""
    return "aé" * (size // 3) + "abc"[: size % 3]


def bytes_of(size: int) -> bytes:
    return text_of(size).encode()


class Reader:
    """A readable with only ``read``, which returns more or less than requested."""

    def __init__(self, content: bytes | str, given: Callable[[int], int]) -> None:
        self._content = content
        self._at = 0
        self._given = given

    def read(self, size: int) -> bytes | str:
        count = self._given(size)
        piece = self._content[self._at : self._at + count]
        self._at += count
        return piece


def cut(content: Any, *sizes: int) -> Iterator[Any]:
    """The content in pieces of these sizes, in turn."""
    at = number = 0
    while at < len(content):
        size = sizes[number % len(sizes)]
        yield content[at : at + size]
        at, number = at + size, number + 1


def strided(content: bytes) -> memoryview:
    """A view that is not contiguous."""
    doubled = bytearray(2 * len(content))
    doubled[::2] = content
    return memoryview(doubled)[::2]


def of_shorts(content: bytes) -> memoryview:
    """A view whose items are of two bytes, where that is possible."""
    return memoryview(array.array("H", content)) if len(content) % 2 == 0 else memoryview(content).cast("c")


def of_two_dimensions(content: bytes) -> memoryview:
    return (
        memoryview(content).cast("B", (len(content) // 2, 2))
        if content and len(content) % 2 == 0
        else memoryview(content)
    )


def refilled(content: bytes) -> Iterator[bytearray]:
    """Pieces in one buffer, which is cleared and filled anew for each of them."""
    buffer = bytearray()
    for piece in cut(content, 1 * MIB, 3):
        buffer.clear()
        buffer += piece
        yield buffer


def file_with(content: bytes, folder: Path) -> Path:
    path = folder / "source"
    path.write_bytes(content)
    return path


def skipped(content: bytes, folder: Path) -> Any:
    """A file that does not stand at its start."""
    file = file_with(b"before" + content, folder).open("rb")
    file.seek(len(b"before"))
    return file


def pipe(content: bytes, folder: Path) -> Any:
    read_end, write_end = os.pipe()

    def fill() -> None:
        with os.fdopen(write_end, "wb") as file:
            file.write(content)

    threading.Thread(target=fill, daemon=True).start()
    return os.fdopen(read_end, "rb", buffering=0)


def socket_file(content: bytes, folder: Path) -> Any:
    here, there = socket.socketpair()

    def fill() -> None:
        with there:
            there.sendall(content)

    threading.Thread(target=fill, daemon=True).start()
    file = here.makefile("rb", buffering=0)
    here.close()  # closed with the file
    return file


class Sniffer:
    """Has read the beginning of a file to detect its type; passes on the file's other methods."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._sniffed = file.read(4)

    def read(self, size: int = -1) -> bytes:
        piece = self._sniffed[:size] if size >= 0 else self._sniffed
        self._sniffed = self._sniffed[len(piece) :]
        return piece + bytes(self._file.read(size - len(piece) if size >= 0 else -1))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


_BEFORE = "first line é\n"


def after_a_line(reader: Any) -> Any:
    assert reader.readline() == _BEFORE
    return reader


def in_utf_16(content: bytes) -> bytes:
    return content.decode().encode("utf-16-le")


def opened(module: Any, *arguments: Any, **named: Any) -> Any:
    """A file of gzip, bz2, lzma or codecs; the caller closes it."""
    return module.open(*arguments, **named)


def mapped(content: bytes, folder: Path) -> Any:
    with file_with(b"before" + content, folder).open("rb") as file:
        found = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    found.seek(len(b"before"))
    return found


def in_zip(content: bytes, folder: Path) -> Any:
    with zipfile.ZipFile(folder / "source.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("member", content)
    return zipfile.ZipFile(folder / "source.zip").open("member")


def in_tar(content: bytes, folder: Path) -> Any:
    path = folder / "source.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(file_with(content, folder), "member")
    return tarfile.open(path).extractfile("member")


def from_server(content: bytes, folder: Path, *, missing: int = 0) -> Any:
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(content) + missing}\r\n\r\n".encode()
    server = RawServer(lambda *request: head + content + RawServer.CLOSE)
    opened = urllib.request.urlopen(server.url)
    server.close()
    return opened


def spooled(content: bytes, max_size: int) -> Any:
    file = tempfile.SpooledTemporaryFile(max_size=max_size)  # noqa: SIM115
    file.write(b"before" + content)
    file.seek(len(b"before"))
    return file


def named(content: bytes, folder: Path) -> Any:
    file = tempfile.NamedTemporaryFile(dir=folder)  # noqa: SIM115
    file.write(content)
    file.seek(0)
    return file


Make = Callable[[bytes, Path], Any]
BYTES: dict[str, Make] = {
    "bytes": lambda content, folder: content,
    "bytearray": lambda content, folder: bytearray(content),
    "memoryview": lambda content, folder: memoryview(content),
    "memoryview, not contiguous": lambda content, folder: strided(content),
    "memoryview of shorts": lambda content, folder: of_shorts(content),
    "memoryview of two dimensions": lambda content, folder: of_two_dimensions(content),
}
TEXT: dict[str, Make] = {"text": lambda content, folder: content.decode()}
READABLES: dict[str, Make] = {
    "BytesIO": lambda content, folder: io.BytesIO(content),
    "StringIO": lambda content, folder: io.StringIO(content.decode()),
    "text file": lambda content, folder: file_with(content, folder).open(encoding="utf-8", newline=""),
    "binary file": lambda content, folder: file_with(content, folder).open("rb"),
    "unbuffered file": lambda content, folder: file_with(content, folder).open("rb", buffering=0),
    "file not at its start": skipped,
    "pipe": pipe,
    "socket file": socket_file,
    "reader that returns less": lambda content, folder: Reader(content, lambda size: min(size, 65_537)),
    "reader that returns more": lambda content, folder: Reader(content, lambda size: size + 7),
    "text reader that returns more": lambda content, folder: Reader(content.decode(), lambda size: size + 7),
    "reader that returns one byte": lambda content, folder: Reader(content, lambda size: 1),
    "reader of all at once": lambda content, folder: Reader(content, lambda size: len(content) + 1),
    "gzip file": lambda content, folder: opened(gzip, file_with(gzip.compress(content, 1), folder)),
    "gzip over a pipe": lambda content, folder: opened(gzip, pipe(gzip.compress(content, 1), folder)),
    "gzip over a buffered pipe": lambda content, folder: opened(
        gzip, io.BufferedReader(pipe(gzip.compress(content, 1), folder))
    ),
    "gzip text over a pipe": lambda content, folder: opened(
        gzip, pipe(gzip.compress(content, 1), folder), "rt", encoding="utf-8", newline=""
    ),
    "gzip over a pipe, after a line": lambda content, folder: after_a_line(
        opened(gzip, pipe(gzip.compress(_BEFORE.encode() + content, 1), folder), "rt", encoding="utf-8", newline="")
    ),
    "gzip over an HTTP response": lambda content, folder: gzip.GzipFile(
        fileobj=from_server(gzip.compress(content, 1), folder)
    ),
    "bz2 file": lambda content, folder: opened(bz2, file_with(bz2.compress(content, 1), folder)),
    "bz2 over a pipe": lambda content, folder: opened(bz2, pipe(bz2.compress(content, 1), folder)),
    "lzma file": lambda content, folder: opened(lzma, file_with(lzma.compress(content, preset=0), folder)),
    "lzma over a pipe": lambda content, folder: opened(lzma, pipe(lzma.compress(content, preset=0), folder)),
    "codecs.open": lambda content, folder: opened(codecs, file_with(content, folder), encoding="utf-8"),
    "codecs.open, after a line": lambda content, folder: after_a_line(
        opened(codecs, file_with(_BEFORE.encode() + content, folder), encoding="utf-8")
    ),
    "codecs.getreader, after a line": lambda content, folder: after_a_line(
        codecs.getreader("utf-8")(file_with(_BEFORE.encode() + content, folder).open("rb"))
    ),
    "codecs.getreader over a pipe": lambda content, folder: codecs.getreader("utf-8")(pipe(content, folder)),
    "codecs.getreader of single bytes": lambda content, folder: codecs.getreader("utf-8")(
        Reader(content, lambda size: 1)  # type: ignore[arg-type]
    ),
    "codecs.EncodedFile": lambda content, folder: codecs.EncodedFile(
        file_with(in_utf_16(content), folder).open("rb"), "utf-8", "utf-16-le"
    ),
    "file that was sniffed": lambda content, folder: Sniffer(file_with(content, folder).open("rb")),
    "zip member": in_zip,
    "tar member": in_tar,
    "HTTP response": from_server,
    "SpooledTemporaryFile in memory": lambda content, folder: spooled(content, 1 << 30),
    "SpooledTemporaryFile on disk": lambda content, folder: spooled(content, 1),
    "NamedTemporaryFile": named,
    "mmap": mapped,
}
PIECES: dict[str, Make] = {
    "pieces of one byte": lambda content, folder: cut(content, 1),
    "pieces of 16 bytes": lambda content, folder: cut(content, 16),
    "pieces of 5 MiB": lambda content, folder: cut(content, PART),
    "uneven pieces, some empty": lambda content, folder: cut(content, 3, 1 * MIB, 1, 6 * MIB, 65_536),
    "pieces, some empty": lambda content, folder: (piece for half in cut(content, MIB) for piece in (b"", half, b"")),
    "text pieces": lambda content, folder: cut(content.decode(), 1 * MIB, 7),
    "text and bytes by turns": lambda content, folder: (
        piece if number % 2 else piece.encode() for number, piece in enumerate(cut(content.decode(), 99_999))
    ),
    "one buffer that is refilled": lambda content, folder: refilled(content),
    "a list": lambda content, folder: list(cut(content, 1 * MIB)),
}
PATHS: dict[str, Make] = {"path": lambda content, folder: file_with(content, folder)}

SLOW = {"reader that returns one byte", "pieces of one byte", "codecs.getreader of single bytes"}

Write = Callable[[S3Bucket, Any], object]


def put_if_match(bucket: S3Bucket, source: Any) -> None:
    former = bucket.put_object("k", b"before")
    bucket.put_object("k", source, if_match=former.etag)


def upload_if_match(bucket: S3Bucket, source: Any) -> None:
    former = bucket.put_object("k", b"before")
    bucket.upload_object("k", source, if_match=former.etag, part_size_bytes=PART)


def written(bucket: S3Bucket, source: Any) -> None:
    with bucket["k"].open(
        "w" if isinstance(source, str) else "wb", **({"newline": ""} if isinstance(source, str) else {})
    ) as file:
        file.write(source)


def written_in_lines(bucket: S3Bucket, source: Any) -> None:
    with bucket["k"].open("wb") as file:
        file.writelines(piece if isinstance(piece, bytes) else str(piece).encode() for piece in source)


def piped(bucket: S3Bucket, source: Any) -> None:
    fs = pytest.importorskip("messageflux_s3.fs")
    fs.MessagefluxS3FileSystem(bucket.store).pipe(f"{bucket.name}/k", source)


def sent_as_message(bucket: S3Bucket, source: Any) -> None:
    pytest.importorskip("messageflux")
    from messageflux.iodevices.base.common import Message, MessageBundle

    from messageflux_s3.messaging.message_store import S3UploadMessageStore

    key = S3UploadMessageStore(bucket.store).put_message(bucket.name, MessageBundle(Message(source), {}))
    bucket["k"].put(S3UploadMessageStore(bucket.store).read_message(key).message.stream.read())


def asynchronous(verb: str, *before: Any) -> Write:
    def write(bucket: S3Bucket, source: Any) -> None:
        async def run() -> None:
            async with s3.AsyncS3Store(bucket.store) as store:
                target = store.bucket(bucket.name)
                if verb == "upload_file":
                    await target.upload_file(source, "k", part_size_bytes=PART)
                elif verb == "put":
                    await target.object("k").put(source)
                else:
                    await target.put_object("k", source)

        asyncio.run(run())

    return write


WRITES: dict[str, tuple[Write, dict[str, Make]]] = {
    "put_object": (lambda bucket, source: bucket.put_object("k", source), {**BYTES, **TEXT, **READABLES}),
    "put_object, if_absent": (
        lambda bucket, source: bucket.put_object("k", source, if_absent=True),
        {**BYTES, **TEXT, **READABLES},
    ),
    "put_object, if_match": (put_if_match, {**BYTES, **TEXT, **READABLES}),
    "obj.put": (lambda bucket, source: bucket["k"].put(source), {**BYTES, **TEXT, **READABLES}),
    "put_objects": (lambda bucket, source: bucket.put_objects([("k", source)]), {**BYTES, **TEXT}),
    "upload_object": (
        lambda bucket, source: bucket.upload_object("k", source, part_size_bytes=PART),
        {**BYTES, **TEXT, **READABLES, **PIECES, **PATHS},
    ),
    "upload_object, if_absent": (
        lambda bucket, source: bucket.upload_object("k", source, if_absent=True, part_size_bytes=PART),
        {**BYTES, **TEXT, **READABLES, **PIECES, **PATHS},
    ),
    "upload_object, if_match": (upload_if_match, {**BYTES, **TEXT, **READABLES, **PIECES, **PATHS}),
    "upload_object, its own part size": (
        lambda bucket, source: bucket.upload_object("k", source),
        {**BYTES, **TEXT, **READABLES, **PIECES, **PATHS},
    ),
    "upload_file": (lambda bucket, source: bucket.upload_file(source, "k", part_size_bytes=PART), PATHS),
    "open().write": (written, {**BYTES, **TEXT}),
    "open().writelines": (
        written_in_lines,
        {name: make for name, make in PIECES.items() if not name.startswith(("text", "one buffer"))},
    ),
    "fs.pipe": (piped, BYTES),
    "S3UploadMessageStore": (sent_as_message, {name: READABLES[name] for name in ("BytesIO", "binary file")}),
    "async put_object": (asynchronous("put_object"), {**BYTES, **TEXT, **READABLES}),
    "async put": (asynchronous("put"), {**BYTES, **TEXT, **READABLES}),
    "async upload_file": (asynchronous("upload_file"), PATHS),
}
_CROSSED = [(verb, source) for verb, (_, sources) in WRITES.items() for source in sources]


def write_and_compare(scripted_server: ScriptedServer, folder: Path, verb: str, source: str, size: int) -> None:
    """Write one source with one verb, and compare what the store keeps with what was given."""
    write, sources = WRITES[verb]
    scripted_server.answer = store = StrictStore()
    content = bytes_of(size)
    given = sources[source](content, folder)
    try:
        write(scripted_server.bucket(preset="aws"), given)
    finally:
        if hasattr(given, "close"):
            given.close()
    stored = store.objects["k"].body
    assert len(stored) == size
    assert hashlib.sha256(stored).digest() == hashlib.sha256(content).digest()
    assert not store.uploads


@pytest.mark.parametrize(("verb", "source"), _CROSSED)
def test_every_verb_writes_every_source_byte_for_byte(
    scripted_server: ScriptedServer, tmp_path: Path, verb: str, source: str
) -> None:
    """One size for all, with text among them whose characters are of two bytes."""
    write_and_compare(scripted_server, tmp_path, verb, source, SMALL)


@pytest.mark.parametrize("size", [0, 1])
@pytest.mark.parametrize("source", sorted(WRITES["upload_object"][1]))
def test_the_smallest_sources_are_written_whole(
    scripted_server: ScriptedServer, tmp_path: Path, source: str, size: int
) -> None:
    """Nothing at all, and one byte."""
    write_and_compare(scripted_server, tmp_path, "upload_object", source, size)


@pytest.mark.parametrize("source", sorted({*WRITES["upload_object"][1]} - SLOW))
def test_every_source_is_written_whole_across_the_border_of_a_part(
    scripted_server: ScriptedServer, tmp_path: Path, source: str
) -> None:
    """The last part has one byte."""
    write_and_compare(scripted_server, tmp_path, "upload_object", source, PART + 1)


@pytest.mark.parametrize("size", [PART - 1, PART, 2 * PART, 16 * MIB + 1])
@pytest.mark.parametrize(
    "source", ["text reader that returns more", "reader that returns more", "uneven pieces, some empty"]
)
def test_sources_with_pieces_of_any_size_are_written_whole_at_part_borders(
    scripted_server: ScriptedServer, tmp_path: Path, source: str, size: int
) -> None:
    """Part borders that fall inside a piece, inside a character, and at the end of both."""
    write_and_compare(scripted_server, tmp_path, "upload_object", source, size)


@pytest.mark.parametrize(
    "verb",
    ["put_object", "put_object, if_absent", "put_object, if_match", "obj.put", "upload_object, its own part size"],
)
def test_text_above_16_mib_is_not_cut_short(scripted_server: ScriptedServer, tmp_path: Path, verb: str) -> None:
    """A text readable counts characters; what is stored is counted in bytes."""
    write_and_compare(scripted_server, tmp_path, verb, "StringIO", 17 * MIB)


@pytest.mark.parametrize(
    ("verb", "source", "size"), [(*pair, size) for pair in _CROSSED for size in BORDERS] if ALL else []
)
def test_every_verb_writes_every_source_at_every_border(
    scripted_server: ScriptedServer, tmp_path: Path, verb: str, source: str, size: int
) -> None:
    """The whole table."""
    write_and_compare(scripted_server, tmp_path, verb, source, size)


# -- memory and time ---------------------------------------------------------------------------------------------------------------


def test_tiny_pieces_are_held_as_their_bytes_not_as_objects(scripted_server: ScriptedServer) -> None:
    """A list of a million pieces of one byte would take 33 times their size, and a join of it as long again."""
    scripted_server.answer = store = StrictStore()
    tracemalloc.start()
    try:
        scripted_server.bucket().upload_object("k", (b"x" for _ in range(MIB)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert store.objects["k"].body == b"x" * MIB
    assert peak < 12 * MIB  # the server that keeps the object is in this process too


@pytest.mark.parametrize("given", [iter([b"x" * 300 * 1024]), Reader(b"x" * 300 * 1024, lambda size: 10**9)])
def test_a_single_large_piece_needs_no_second_read(scripted_server: ScriptedServer, given: Any) -> None:
    """What came in one piece is written as it came."""
    scripted_server.answer = store = StrictStore()
    scripted_server.bucket().upload_object("k", given)
    assert len(store.objects["k"].body) == 300 * 1024


# -- sources that cannot be written -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (3, "not int"),
        ([1, 2], "not int"),
        ({"alpha": 1, "beta": 2}, "not dict.*put_json"),
        ({}, "not dict.*put_json"),
        (MappingProxyType({"alpha": b"1"}), "not mappingproxy.*put_json"),
        ({b"one", b"two"}, "not set: its order is not defined"),
        (frozenset([b"one"]), "not frozenset: its order is not defined"),
        (Reader([1] * 9, lambda size: size), "read.. of a source to upload must return bytes or text, not list"),  # type: ignore[arg-type]
    ],
)
def test_a_source_that_gives_no_bytes_is_a_type_error_and_nothing_is_written(
    scripted_server: ScriptedServer, source: Any, told: str
) -> None:
    """The error names the type that came."""
    scripted_server.answer = store = StrictStore()
    with pytest.raises(TypeError, match=told):
        scripted_server.bucket().upload_object("k", source)
    assert not store.objects
    assert not store.uploads


def test_a_source_that_fails_in_the_middle_leaves_no_object_and_no_parts(scripted_server: ScriptedServer) -> None:
    """Also when parts of it were sent."""

    def failing() -> Iterator[bytes]:
        yield bytes(2 * PART + 1)
        raise RuntimeError("the source broke")

    scripted_server.answer = store = StrictStore()
    with pytest.raises(RuntimeError, match="the source broke"):
        scripted_server.bucket().upload_object("k", failing(), part_size_bytes=PART)
    assert not store.objects
    assert not store.uploads


def test_text_with_a_lone_surrogate_is_refused_and_nothing_is_written(scripted_server: ScriptedServer) -> None:
    """It has no form in UTF-8."""
    scripted_server.answer = store = StrictStore()
    with pytest.raises(UnicodeEncodeError):
        scripted_server.bucket().upload_object("k", io.StringIO("a" * PART + "\ud800"), part_size_bytes=PART)
    assert not store.objects
    assert not store.uploads


def test_a_nonblocking_readable_without_data_is_refused(scripted_server: ScriptedServer) -> None:
    """A file in non-blocking mode gives None: that is not its end."""
    scripted_server.answer = store = StrictStore()
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    with os.fdopen(read_end, "rb", buffering=0) as source, os.fdopen(write_end, "wb"), pytest.raises(BlockingIOError):
        scripted_server.bucket().upload_object("k", source)
    assert not store.objects


@pytest.mark.parametrize("size", [SMALL, PART + 1])
def test_an_http_response_that_breaks_off_is_an_error_and_nothing_is_written(
    scripted_server: ScriptedServer, tmp_path: Path, size: int
) -> None:
    """http.client ends such a response as if it were whole."""
    scripted_server.answer = store = StrictStore()
    with (
        from_server(bytes_of(size), tmp_path, missing=9) as source,
        pytest.raises(OSError, match=f"after {size:,} of {size + 9:,} bytes"),
    ):
        scripted_server.bucket().upload_object("k", source, part_size_bytes=PART)
    assert not store.objects
    assert not store.uploads


@pytest.mark.parametrize("make", [lambda path: path, lambda path: path.open("rb")], ids=["path", "file"])
def test_a_file_of_sys_whose_size_is_nominal_is_written(
    scripted_server: ScriptedServer, make: Callable[[Path], Any]
) -> None:
    """Its size is that of a page, its content is shorter."""
    path = Path("/sys/class/net/lo/mtu")
    if not path.exists():
        pytest.skip("UNTESTED: no /sys here")
    scripted_server.answer = store = StrictStore()
    scripted_server.bucket().upload_object("k", make(path))
    assert store.objects["k"].body == path.read_bytes()


def test_a_readable_may_reuse_the_bytearray_that_its_read_returned(scripted_server: ScriptedServer) -> None:
    """It is copied: a view of it would make clear() a BufferError."""

    class OneBuffer:
        def __init__(self) -> None:
            self._buffer = bytearray()
            self._pieces = cut(bytes_of(SMALL), 10_000)

        def read(self, size: int) -> bytearray:
            self._buffer.clear()
            self._buffer += next(self._pieces, b"")
            return self._buffer

    scripted_server.answer = store = StrictStore()
    scripted_server.bucket().upload_object("k", OneBuffer())
    assert store.objects["k"].body == bytes_of(SMALL)


@pytest.mark.parametrize(
    "write",
    [lambda bucket, buffer: bucket.upload_object("k", buffer), lambda bucket, buffer: bucket.put_object("k", buffer)],
)
@pytest.mark.parametrize("size", [9, 17 * MIB])
def test_a_bytearray_can_be_cleared_when_its_upload_failed(
    scripted_server: ScriptedServer, write: Write, size: int
) -> None:
    """Also while the error is handled, whose traceback keeps what the upload held."""
    buffer = bytearray(size)
    with pytest.raises(s3.S3Error):
        try:
            write(scripted_server.bucket(), buffer)
        except s3.S3Error:
            buffer.clear()
            raise


@pytest.mark.parametrize("through", ["path", "opened"])
def test_a_pipe_given_as_a_path_has_no_size(scripted_server: ScriptedServer, tmp_path: Path, through: str) -> None:
    """A size of 0 would make its parts too small for more than 156 GiB; and progress has no total."""
    scripted_server.answer = store = StrictStore()
    path = tmp_path / "fifo"
    os.mkfifo(path)
    threading.Thread(target=path.write_bytes, args=(bytes_of(SMALL),), daemon=True).start()
    with Source(path if through == "path" else path.open("rb")) as source:
        assert source.size is None
        scripted_server.bucket().upload_object("k", iter(lambda: source.take(MIB), b""))
    assert store.objects["k"].body == bytes_of(SMALL)
