"""fsspec's ``get``: a failed download leaves the file as it was, and no two objects become one file."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fsspec.callbacks import DEFAULT_CALLBACK
from support.scripted_server import Answer, Asked, ScriptedServer, content_of, document, refusal
from support.stateful_server import run_stateful_server
from test_etags import Strange, md5

from messageflux_s3 import S3Error
from messageflux_s3.fs import MessagefluxS3FileSystem

WAYS: dict[str, Callable[[Any, str], None]] = {
    "get_file": lambda fs, target: fs.get_file("bkt/k", target),
    "callback by position": lambda fs, target: fs.get_file("bkt/k", target, DEFAULT_CALLBACK),
    "outfile=None": lambda fs, target: fs.get_file("bkt/k", target, outfile=None),
    "block_size": lambda fs, target: fs.get("bkt/k", target, block_size=1 << 20),
    "cache_type": lambda fs, target: fs.get_file("bkt/k", target, cache_type="none"),
    "compression": lambda fs, target: fs.get_file("bkt/k", target, compression="gzip"),
}


@pytest.mark.parametrize("get", WAYS.values(), ids=WAYS)
def test_failed_get_keeps_the_existing_file(
    scripted_server: ScriptedServer, tmp_path: Path, get: Callable[[Any, str], None]
) -> None:
    body = bytes(17 * 1024 * 1024)

    def answer(asked: Asked) -> Answer:
        if asked.method == "GET" and asked.key and not asked.headers.get("range", "bytes=0-").startswith("bytes=0-"):
            return refusal(403, "AccessDenied")
        return (
            content_of(asked, body, md5(body))
            if asked.key
            else document("ListBucketResult", "<IsTruncated>false</IsTruncated>")
        )

    scripted_server.answer = answer
    target = tmp_path / "t"
    target.write_bytes(b"what was there")
    with pytest.raises((S3Error, OSError)):
        get(MessagefluxS3FileSystem(scripted_server.connect()), str(target))
    assert target.read_bytes() == b"what was there"
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


@pytest.mark.parametrize("get", WAYS.values(), ids=WAYS)
def test_get_replaces_the_file_and_keeps_a_link(
    scripted_server: ScriptedServer, tmp_path: Path, get: Callable[[Any, str], None]
) -> None:
    scripted_server.answer = Strange(lambda body: f'"{md5(body)}"', {"k": gzip.compress(b"content")})
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    get(MessagefluxS3FileSystem(scripted_server.connect()), str(tmp_path / "link"))
    assert (tmp_path / "link").is_symlink()
    found = (tmp_path / "real").read_bytes()
    assert (found if found == b"content" else gzip.decompress(found)) == b"content"


FOLDER_WAYS: dict[str, Callable[[Any, str], None]] = {
    "object": lambda fs, target: fs.get("bkt/d/k", f"{target}/"),
    "objects": lambda fs, target: fs.get(["bkt/d/k"], target),
    "folder": lambda fs, target: fs.get("bkt/d/", target, recursive=True),
    "pattern": lambda fs, target: fs.get("bkt/d/*", target),
    "compression": lambda fs, target: fs.get("bkt/d/k", f"{target}/", compression="gzip"),
}


@pytest.mark.parametrize("get", FOLDER_WAYS.values(), ids=FOLDER_WAYS)
def test_get_into_a_folder_replaces_a_link_with_the_name_of_the_key(
    tmp_path: Path, get: Callable[[Any, str], None]
) -> None:
    """The key chose which file outside of the folder was overwritten. download_to() replaces such links too."""
    (tmp_path / "mine").write_bytes(b"mine")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "k").symlink_to(tmp_path / "mine")
    with run_stateful_server() as server:
        server.state.put("d/k", gzip.compress(b"content"))
        get(MessagefluxS3FileSystem(server.connect()), str(folder))
    assert (tmp_path / "mine").read_bytes() == b"mine"
    assert not (folder / "k").is_symlink()
    found = (folder / "k").read_bytes()
    assert (found if found == b"content" else gzip.decompress(found)) == b"content"


def test_get_file_writes_to_an_open_file(scripted_server: ScriptedServer, tmp_path: Path) -> None:
    scripted_server.answer = Strange(lambda body: f'"{md5(body)}"', {"k": b"content"})
    fs = MessagefluxS3FileSystem(scripted_server.connect())
    for number, place in enumerate(("lpath", "outfile")):
        with (tmp_path / f"{number}").open("wb") as file:
            fs.get_file("bkt/k", **{"lpath": str(tmp_path / "unused"), place: file})
        assert (tmp_path / f"{number}").read_bytes() == b"content"


class RawTarget(io.RawIOBase):
    """A raw file that accepts a limited number of bytes at a time, and none at all after a number of calls."""

    def __init__(self, most: int, calls: int | None = None) -> None:
        self.most = most
        self.calls = calls
        self.content = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int | None:
        if self.calls is not None:
            if not self.calls:
                return None
            self.calls -= 1
        taken = bytes(data[: self.most])
        self.content += taken
        return len(taken)


CONTENT = bytes(range(256)) * 1000
RAW_WAYS: dict[str, Callable[[Any, Any], None]] = {
    "lpath": lambda fs, target: fs.get_file("bkt/k", target),
    "outfile": lambda fs, target: fs.get_file("bkt/k", "unused", outfile=target),
    "get": lambda fs, target: fs.get(["bkt/k"], [target]),
    "block_size": lambda fs, target: fs.get_file("bkt/k", target, block_size=1 << 20),
    "compression": lambda fs, target: fs.get_file("bkt/k.gz", target, compression="infer"),
}


@pytest.fixture
def with_content(scripted_server: ScriptedServer) -> MessagefluxS3FileSystem:
    objects = {"k": CONTENT, "k.gz": gzip.compress(CONTENT)}
    scripted_server.answer = Strange(lambda body: f'"{md5(body)}"', objects)
    return MessagefluxS3FileSystem(scripted_server.connect())


@pytest.mark.parametrize("most", [1000, 65_536, len(CONTENT)])
@pytest.mark.parametrize("get", RAW_WAYS.values(), ids=RAW_WAYS)
def test_raw_file_that_accepts_a_part_gets_the_rest(
    with_content: MessagefluxS3FileSystem, get: Callable[[Any, Any], None], most: int
) -> None:
    target = RawTarget(most)
    get(with_content, target)
    assert bytes(target.content) == CONTENT


@pytest.mark.parametrize("calls", [0, 1, 2])
@pytest.mark.parametrize("get", RAW_WAYS.values(), ids=RAW_WAYS)
def test_raw_file_that_accepts_nothing_raises_blocking_io_error(
    with_content: MessagefluxS3FileSystem, get: Callable[[Any, Any], None], calls: int
) -> None:
    target = RawTarget(65_536, calls)
    with pytest.raises(BlockingIOError):
        get(with_content, target)
    assert bytes(target.content) == CONTENT[: 65_536 * calls]


@pytest.mark.parametrize("other", ["p/a//b", "p/./a/b", "p/link/b"])
def test_recursive_get_refuses_two_objects_for_one_file(
    scripted_server: ScriptedServer, tmp_path: Path, other: str
) -> None:
    scripted_server.answer = Strange(lambda body: f'"{md5(body)}"', {"p/a/b": b"ONE", other: b"TWO", "p/c": b"3"})
    out = tmp_path / "out"
    (out / "p" / "a").mkdir(parents=True)
    (out / "p" / "link").symlink_to("a")
    fs = MessagefluxS3FileSystem(scripted_server.connect())
    with pytest.raises(ValueError, match="both be written"):
        fs.get("bkt/p", str(out), recursive=True)
    assert not [path for path in out.rglob("*") if path.is_file()]
