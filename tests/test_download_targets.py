"""Where a download writes: existing folders, links, devices and pipes, long names, and the files of an interrupted download."""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest
from support.scripted_server import Answer, Asked, ScriptedServer, content_of, document, refusal

from messageflux_s3 import S3BatchError, S3Bucket, S3ChecksumError, S3Object

BODY = b"what the object holds"
CUT: Answer = (
    200,
    {"ETag": '"e"', "Last-Modified": "Sat, 21 Nov 2026 05:00:00 GMT", "Content-Length": "1000"},
    b"short",
)


@pytest.fixture
def bucket(scripted_server: ScriptedServer) -> S3Bucket:
    """A bucket in which every key but "missing" has the same content, and whose listing names p/a."""

    def answer(asked: Asked) -> Answer:
        if not asked.key or "list-type" in asked.query:
            entry = (
                f"<Key>p/a</Key><LastModified>2026-11-21T05:00:00Z</LastModified><ETag>e</ETag><Size>{len(BODY)}</Size>"
            )
            return document("ListBucketResult", f"<Contents>{entry}</Contents><IsTruncated>false</IsTruncated>")
        return refusal(404, "NoSuchKey") if asked.key.endswith("missing") else content_of(asked, BODY)

    scripted_server.answer = answer
    return scripted_server.bucket()


Download = Callable[[S3Bucket, str, "str | Path"], object]


def get_through_fsspec(bucket: S3Bucket, key: str, path: str | Path) -> None:
    fs = fsspec.filesystem("mfs3", store=bucket.store, skip_instance_cache=True)
    fs.get_file(f"{bucket.name}/{key}", str(path))


SINGLE: dict[str, Download] = {
    "download_file": lambda bucket, key, path: bucket.download_file(key, path),
    "download_to": lambda bucket, key, path: bucket[key].download_to(path),
    "fsspec get_file": get_through_fsspec,
}
FOLDER: dict[str, Callable[[S3Bucket, Path], object]] = {
    "download_folder": lambda bucket, folder: bucket.download_folder("p", folder),
    "sync_to_folder": lambda bucket, folder: bucket.sync_to_folder("p", folder),
    "query download_to": lambda bucket, folder: bucket.find(prefix="p/").download_to(folder.parent),
}


def names(folder: Path) -> list[str]:
    """The names in a folder, hidden ones too."""
    return sorted(path.name for path in folder.iterdir())


# -- devices, pipes, sockets --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("download", SINGLE.values(), ids=SINGLE)
def test_download_to_a_pipe_writes_through_it(bucket: S3Bucket, tmp_path: Path, download: Download) -> None:
    """The reader gets the content; the pipe stays a pipe, and no temporary file is left."""
    os.mkfifo(tmp_path / "pipe")
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append((tmp_path / "pipe").read_bytes()), daemon=True)
    reader.start()
    try:
        download(bucket, "k", tmp_path / "pipe")
        reader.join(10)
    finally:
        if reader.is_alive():  # nothing was written: let it end
            with (tmp_path / "pipe").open("r+b", buffering=0):
                pass
    assert received == [BODY]
    assert stat.S_ISFIFO((tmp_path / "pipe").lstat().st_mode)
    assert names(tmp_path) == ["pipe"]


@pytest.mark.parametrize("download", SINGLE.values(), ids=SINGLE)
@pytest.mark.parametrize("through_link", [False, True])
def test_download_to_a_device_writes_to_it(
    bucket: S3Bucket, tmp_path: Path, download: Download, through_link: bool
) -> None:
    """A node like /dev/null, made for this test, takes the bytes and stays."""
    try:
        os.mknod(tmp_path / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        (tmp_path / "null").write_bytes(b"x")
    except OSError:
        pytest.skip("UNTESTED: device nodes cannot be made or opened here")
    target = tmp_path / "null"
    if through_link:
        target = tmp_path / "link"
        target.symlink_to("null")
    before = names(tmp_path)
    download(bucket, "k", target)
    assert stat.S_ISCHR((tmp_path / "null").lstat().st_mode)
    assert target.is_symlink() is through_link
    assert names(tmp_path) == before


@pytest.mark.parametrize("download", SINGLE.values(), ids=SINGLE)
def test_download_to_a_socket_is_refused(
    bucket: S3Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, download: Download
) -> None:
    """A socket cannot be opened as a file; it stays."""
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        with pytest.raises(FileExistsError, match="socket"):
            download(bucket, "k", tmp_path / "socket")
        assert stat.S_ISSOCK((tmp_path / "socket").lstat().st_mode)
    assert names(tmp_path) == ["socket"]


@pytest.mark.parametrize("download", FOLDER.values(), ids=FOLDER)
def test_folder_download_refuses_a_pipe_in_place_of_a_file(
    bucket: S3Bucket, tmp_path: Path, download: Callable[[S3Bucket, Path], object]
) -> None:
    """It is reported for its key; the pipe is neither replaced nor opened."""
    folder = tmp_path / "p"
    folder.mkdir()
    os.mkfifo(folder / "a")
    with pytest.raises(S3BatchError, match="pipe"):
        download(bucket, folder)
    assert stat.S_ISFIFO((folder / "a").lstat().st_mode)
    assert names(folder) == ["a"]


def test_resume_to_a_pipe_is_refused(bucket: S3Bucket, scripted_server: ScriptedServer, tmp_path: Path) -> None:
    """Bytes written to a pipe cannot be resumed; no request is sent."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="resume=True needs a regular file"):
        bucket.download_file("k", tmp_path / "pipe", resume=True)
    assert scripted_server.asked == []


# -- links --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("download", SINGLE.values(), ids=SINGLE)
@pytest.mark.parametrize("exists", [True, False])
def test_download_to_a_link_writes_the_linked_file_and_keeps_the_link(
    bucket: S3Bucket, tmp_path: Path, download: Download, exists: bool
) -> None:
    """As open(path, "wb") does; a link to nothing makes the file that it names."""
    (tmp_path / "real").mkdir()
    if exists:
        (tmp_path / "real" / "file").write_bytes(b"before")
    (tmp_path / "link").symlink_to("real/file")
    download(bucket, "k", tmp_path / "link")
    assert (tmp_path / "link").readlink() == Path("real/file")
    assert (tmp_path / "real" / "file").read_bytes() == BODY
    assert (names(tmp_path), names(tmp_path / "real")) == (["link", "real"], ["file"])


INTO_A_FOLDER: dict[str, Callable[[S3Bucket, Path], object]] = {
    "download_file": lambda bucket, folder: bucket.download_file("k", folder),
    "download_to": lambda bucket, folder: bucket["k"].download_to(folder),
    "download_to, resume": lambda bucket, folder: bucket["k"].download_to(folder, resume=True),
}


@pytest.mark.parametrize("download", INTO_A_FOLDER.values(), ids=INTO_A_FOLDER)
@pytest.mark.parametrize("exists", [True, False])
def test_download_into_a_folder_replaces_a_link_with_the_name_of_the_key(
    bucket: S3Bucket, tmp_path: Path, download: Callable[[S3Bucket, Path], object], exists: bool
) -> None:
    """The name comes from the key: the writer of the object must not choose a file outside of the folder."""
    (tmp_path / "real").mkdir()
    (tmp_path / "folder").mkdir()
    if exists:
        (tmp_path / "real" / "file").write_bytes(b"before")
    (tmp_path / "folder" / "k").symlink_to("../real/file")
    download(bucket, tmp_path / "folder")
    assert not (tmp_path / "folder" / "k").is_symlink() and (tmp_path / "folder" / "k").read_bytes() == BODY
    assert [path.read_bytes() for path in (tmp_path / "real").iterdir()] == [b"before"] * exists


@pytest.mark.parametrize("download", SINGLE.values(), ids=SINGLE)
def test_failed_download_keeps_the_existing_file(bucket: S3Bucket, tmp_path: Path, download: Download) -> None:
    """Also through a link."""
    (tmp_path / "file").write_bytes(b"before")
    (tmp_path / "link").symlink_to("file")
    for target in ("file", "link"):
        with pytest.raises(FileNotFoundError):
            download(bucket, "missing", tmp_path / target)
    assert (tmp_path / "file").read_bytes() == b"before"
    assert names(tmp_path) == ["file", "link"]


@pytest.mark.parametrize("download", SINGLE.values(), ids=SINGLE)
def test_corrupted_download_keeps_the_existing_file(
    scripted_server: ScriptedServer, tmp_path: Path, download: Download
) -> None:
    """A truncated body does not replace the existing file."""
    scripted_server.answer = lambda asked: content_of(asked, bytes(1000)) if asked.method == "HEAD" else CUT
    (tmp_path / "file").write_bytes(b"before")
    with pytest.raises(ConnectionError):
        download(scripted_server.bucket(), "k", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"before"


def test_download_to_standard_output_goes_where_it_was_redirected_to(bucket: S3Bucket, tmp_path: Path) -> None:
    """The bytes are appended to the open file, which is not replaced by another file."""
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("UNTESTED: this system has no /proc/self/fd")
    with (tmp_path / "out").open("w+b", buffering=0) as out:
        out.write(b"before|")
        bucket.download_file("k", f"/proc/self/fd/{out.fileno()}")
        assert os.path.samestat(os.fstat(out.fileno()), (tmp_path / "out").stat())
        assert (tmp_path / "out").read_bytes() == b"before|" + BODY
    assert names(tmp_path) == ["out"]


# -- folders as targets ---------------------------------------------------------------------------------------------------------------

LAST_NAMES = {
    "a/b.txt": "b.txt",
    "k": "k",
    "a/dir/": "dir%2F",
    "a/..": "%2E.",
    ".": "%2E",
    "a//b": "%2Fb",
    "x.mfs3-journal": "x.mfs3-journa%6C",
    "a/" + "n" * 300: "n" * 247 + "%-/" + "n" * 53,
}


@pytest.mark.parametrize(("key", "name"), LAST_NAMES.items(), ids=range(len(LAST_NAMES)))
@pytest.mark.parametrize("resume", [False, True])
def test_download_to_a_folder_uses_the_last_part_of_the_key(
    bucket: S3Bucket, tmp_path: Path, key: str, name: str, resume: bool
) -> None:
    """The name is the one that download_folder would give the file."""
    bucket[key].download_to(tmp_path, resume=resume)
    assert (tmp_path / name).read_bytes() == BODY
    bucket.download_file(key, tmp_path, resume=resume)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / name]


@pytest.mark.parametrize("download", ["download_file", "download_to", "a range", "a version"])
def test_a_download_returns_a_handle_with_etag_size_and_metadata(
    moto_bucket: S3Bucket, tmp_path: Path, download: str
) -> None:
    """Etag, size, version and metadata are known without another request."""
    moto_bucket.versioning.enable()
    written = moto_bucket.put_object("k", BODY, {"source": "erp"})
    downloads: dict[str, Callable[[Path], S3Object]] = {
        "download_file": lambda path: moto_bucket.download_file("k", path),
        "download_to": lambda path: moto_bucket["k"].download_to(path),
        "a range": lambda path: moto_bucket["k"].download_to(path, start=1, end=3),
        "a version": lambda path: moto_bucket.object("k", written.version_id).download_to(path),
    }
    found = downloads[download](tmp_path / "file")
    moto_bucket.object("k").delete()  # a HEAD would be answered 404 from here on
    assert (found.key, found.etag, found.size, found.version_id) == ("k", written.etag, len(BODY), written.version_id)
    assert found.metadata == {"source": "erp"}
    assert found == moto_bucket.object("k", written.version_id if download == "a version" else None)


def test_path_that_ends_with_a_slash_is_a_folder(bucket: S3Bucket, tmp_path: Path) -> None:
    """It is made where it is missing."""
    bucket["a/b.txt"].download_to(f"{tmp_path}/new/")
    assert names(tmp_path / "new") == ["b.txt"]


def test_overwrite_false_checks_the_file_in_the_folder(bucket: S3Bucket, tmp_path: Path) -> None:
    """It applies to the file in the folder, or to a folder of that name, not to the target folder itself."""
    bucket.download_file("a/b.txt", tmp_path, overwrite=False)
    with pytest.raises(FileExistsError, match=r"b\.txt"):
        bucket.download_file("a/b.txt", tmp_path, overwrite=False)
    (tmp_path / "c").mkdir()
    with pytest.raises(IsADirectoryError, match="c'"):
        bucket.download_file("c", tmp_path)


def test_empty_path_is_refused(bucket: S3Bucket, scripted_server: ScriptedServer) -> None:
    """An empty path would mean the current folder."""
    with pytest.raises(ValueError, match="path is empty"):
        bucket.download_file("k", "")
    assert scripted_server.asked == []


# -- long names -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["あ" * 85, "x" * 255, "é" * 127, "\U0001f600" * 63, "あ" * 78 + "b"])
@pytest.mark.parametrize("resume", [False, True])
def test_names_up_to_the_limit_of_the_file_system_can_be_downloaded(
    bucket: S3Bucket, tmp_path: Path, name: str, resume: bool
) -> None:
    """255 bytes, however many characters these are."""
    bucket.download_file("k", tmp_path / name, resume=resume)
    assert (tmp_path / name).read_bytes() == BODY
    assert names(tmp_path) == [name]


def test_folder_download_of_a_long_name(scripted_server: ScriptedServer, tmp_path: Path) -> None:
    """Small objects of a folder are written by other code than single files."""
    name = "あ" * 85

    def answer(asked: Asked) -> Answer:
        if "list-type" in asked.query:
            entry = f"<Key>p/{name}</Key><LastModified>2026-11-21T05:00:00Z</LastModified><ETag>e</ETag><Size>{len(BODY)}</Size>"
            return document("ListBucketResult", f"<Contents>{entry}</Contents><IsTruncated>false</IsTruncated>")
        return content_of(asked, BODY)

    scripted_server.answer = answer
    assert scripted_server.bucket().download_folder("p", tmp_path) == [name]
    assert names(tmp_path) == [name]


def test_long_names_that_begin_alike_have_different_temporary_files(
    scripted_server: ScriptedServer, tmp_path: Path
) -> None:
    """Two interrupted downloads to such names keep what each of them has."""
    scripted_server.answer = lambda asked: CUT
    for last in "ab":
        with pytest.raises(ConnectionError):
            scripted_server.bucket().download_file("k", tmp_path / ("x" * 254 + last), resume=True)
    assert len([name for name in names(tmp_path) if name.endswith(".mfs3-partial")]) == 2
    assert len([name for name in names(tmp_path) if name.endswith(".mfs3-journal")]) == 2


# -- the files of an interrupted download ---------------------------------------------------------------------------------------------


def _symbolic_link(trap: Path, path: Path) -> None:
    path.symlink_to(trap)


def _hard_link(trap: Path, path: Path) -> None:
    path.hardlink_to(trap)


def _pipe(trap: Path, path: Path) -> None:
    os.mkfifo(path)


def _folder(trap: Path, path: Path) -> None:
    path.mkdir()


def _somebody_elses(trap: Path, path: Path) -> None:
    path.write_bytes(b"")
    try:
        os.chown(path, 12345, 12345)
    except OSError:
        pytest.skip("UNTESTED: only root can give a file away")


@pytest.mark.parametrize("name", [".t.mfs3-journal", ".t.mfs3-partial"])
@pytest.mark.parametrize("lay", [_symbolic_link, _hard_link, _pipe, _folder, _somebody_elses])
def test_resume_refuses_files_that_are_not_plain_files_of_the_user(
    bucket: S3Bucket, tmp_path: Path, name: str, lay: Callable[[Path, Path], None]
) -> None:
    """The target of a link is not written; the error names the file to remove. Without resume these files are not used."""
    trap = tmp_path / "trap"
    trap.write_bytes(b"mine")
    lay(trap, tmp_path / name)
    with pytest.raises(FileExistsError, match="remove it") as caught:
        bucket.download_file("k", tmp_path / "t", resume=True)
    assert caught.value.filename == str(tmp_path / name)
    assert trap.read_bytes() == b"mine"
    assert not (tmp_path / "t").exists()
    bucket.download_file("k", tmp_path / "t")
    assert (tmp_path / "t").read_bytes() == BODY
    assert trap.read_bytes() == b"mine"


def test_checksum_mismatch_into_a_pipe_is_reported(scripted_server: ScriptedServer, tmp_path: Path) -> None:
    """The bytes cannot be taken back, but the call raises."""
    bodies = iter([BODY, b"something else", b"a third thing"])
    scripted_server.answer = lambda asked: content_of(asked, next(bodies), "0" * 32)
    os.mkfifo(tmp_path / "pipe")
    threading.Thread(target=(tmp_path / "pipe").read_bytes, daemon=True).start()
    with pytest.raises(S3ChecksumError):
        scripted_server.bucket().download_file("k", tmp_path / "pipe")
