"""Uploads and downloads of files and streams, complete or not at all, on real servers."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.proxy import run_proxy, scripted
from support.scripted_server import Answer, Asked, ScriptedServer, content_of, refusal, upload_in_parts
from support.servers import Server
from support.stateful_server import StrictStore

from messageflux_s3 import (
    AsyncS3Store,
    S3Bucket,
    S3ChecksumError,
    S3ConnectionError,
    S3Error,
    S3NoSuchItem,
    S3ObjectChanged,
)
from messageflux_s3._client.addresses import BucketAddress
from messageflux_s3._files import download, partial_file, upload
from messageflux_s3._files.file_target import Destination
from messageflux_s3._objects import etag_md5, ranged_reader
from messageflux_s3._objects.source import Source

MIB = 1024 * 1024
LARGE = random.Random(7).randbytes(40 * MIB + 12345)  # several parts, the last one short


def unfinished_uploads(bucket: S3Bucket) -> list[str]:
    """The keys of uploads in parts that were neither completed nor aborted."""
    answer = bucket._connection.call("ListMultipartUploads", Bucket=bucket.name)
    return [upload["Key"] for upload in answer.get("Uploads", ())]


@pytest.mark.parametrize("size", [0, 1, 5 * MIB, 16 * MIB, 16 * MIB + 1, len(LARGE)])
def test_a_file_is_uploaded_and_downloaded(bucket: S3Bucket, tmp_path: Path, size: int) -> None:
    """Below, at and above the multipart threshold the downloaded content is that uploaded."""
    source = tmp_path / "source.bin"
    source.write_bytes(LARGE[:size])
    obj = bucket.upload_file(source, "dir/file.bin", metadata={"name": "Zoë"})
    assert obj.size == size
    assert obj.etag
    found = bucket.download_file("dir/file.bin", tmp_path / "new" / "target.bin")
    assert (tmp_path / "new" / "target.bin").read_bytes() == LARGE[:size]
    assert found.metadata["name"] == "Zoë"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["target.bin"]


def test_an_iterator_of_unknown_length_is_uploaded(bucket: S3Bucket) -> None:
    """Pieces of any size, empty ones too, become one object."""
    pieces = (LARGE[at : at + 999_983] for at in range(0, len(LARGE), 999_983))
    obj = bucket.upload_object("stream", (piece for found in pieces for piece in (b"", found)))
    assert hashlib.sha256(bucket["stream"].body).digest() == hashlib.sha256(LARGE).digest()
    assert obj.size == len(LARGE)


def test_an_uploaded_file_object_is_read_from_its_position_and_not_closed(bucket: S3Bucket) -> None:
    """The caller's file is neither rewound nor closed."""
    stream = io.BytesIO(b"0123456789")
    stream.seek(4)
    bucket.upload_object("tail", stream)
    assert bucket["tail"].body == b"456789"
    assert not stream.closed


def test_a_failed_upload_leaves_no_parts(moto_bucket: S3Bucket) -> None:
    """The source's exception is raised, the object is unchanged, and the parts are deleted; also for Ctrl-C."""
    for error in (OSError("disk"), KeyboardInterrupt()):

        def source(error: BaseException = error) -> object:
            yield LARGE[: 35 * MIB]
            raise error

        with pytest.raises(type(error)):
            moto_bucket.upload_object("broken", source())
    assert unfinished_uploads(moto_bucket) == []
    assert not moto_bucket["broken"].exists()


@pytest.mark.parametrize("wrong", [42, None, object(), [1, 2], ["text", None]])
def test_a_source_that_is_not_readable_raises_type_error(moto_bucket: S3Bucket, wrong: object) -> None:
    """A source that gives no bytes is a TypeError, and nothing is written."""
    with pytest.raises(TypeError):
        moto_bucket.upload_object("wrong", wrong)
    assert not moto_bucket["wrong"].exists()


def test_headers_are_passed_as_keyword_arguments(moto_bucket: S3Bucket) -> None:
    """Content type guessed or given, other headers, tags: for one request and for parts."""
    for key, data in (("small.json", b"{}"), ("large.json", LARGE[: 17 * MIB])):
        moto_bucket.upload_object(key, data, {"a": "ä"}, cache_control="no-store", tags={"t": "1 2"})
        answer = moto_bucket._connection.call("HeadObject", Bucket=moto_bucket.name, Key=key)
        assert (answer["ContentType"], answer["CacheControl"]) == ("application/json", "no-store")
        tags = moto_bucket._connection.call("GetObjectTagging", Bucket=moto_bucket.name, Key=key)["TagSet"]
        assert tags == [{"Key": "t", "Value": "1 2"}]
        assert moto_bucket[key].metadata == {"a": "ä"}


def test_messageflux_arguments_still_work(moto_bucket: S3Bucket) -> None:
    """ExtraArgs, Callback and Config, as boto3's own upload_fileobj has them."""
    from boto3.s3.transfer import TransferConfig

    told: list[int] = []
    extra = {"ContentType": "text/x", "Metadata": {"m": "1"}}
    moto_bucket.upload_object("k", io.BytesIO(b"abc"), ExtraArgs=extra, Callback=told.append, Config=TransferConfig())
    target = io.BytesIO()
    moto_bucket.download_object("k", target, Callback=told.append, Config=TransferConfig(), ExtraArgs={})
    assert (target.getvalue(), told) == (b"abc", [3, 3])
    assert (moto_bucket["k"].content_type, moto_bucket["k"].metadata) == ("text/x", {"m": "1"})


@pytest.mark.parametrize("part", [{"Range": "bytes=0-0"}, {"PartNumber": 1}], ids=str)
def test_download_object_refuses_parameters_of_a_part(scripted_server: ScriptedServer, part: dict[str, Any]) -> None:
    """It reads the whole object, and would ignore them. boto3's download_fileobj refuses them too."""
    target = io.BytesIO()
    with pytest.raises(ValueError, match="the whole object is downloaded"):
        scripted_server.bucket().download_object("k", target, ExtraArgs=part)
    assert (target.getvalue(), scripted_server.asked) == (b"", [])


def test_a_download_with_if_match_in_its_arguments_continues_after_a_broken_connection(
    scripted_server: ScriptedServer,
) -> None:
    """The request that continues it sends If-Match once."""

    def answer(asked: Asked) -> Answer:
        found = content_of(asked, b"0123456789")
        if len(scripted_server.asked) > 1 or not isinstance(found, tuple):
            return found
        return found[0], {**found[1], "Content-Length": "10"}, found[2][:4]

    scripted_server.answer = answer
    target = io.BytesIO()
    scripted_server.bucket(max_attempts=3).download_object("k", target, ExtraArgs={"IfMatch": '"e"'})
    assert target.getvalue() == b"0123456789"
    assert [asked.headers["if-match"].strip('"') for asked in scripted_server.asked] == ["e", "e"]


def test_overwrite_false_refuses_an_existing_file(bucket: S3Bucket, tmp_path: Path) -> None:
    """An existing file is kept, also one that appears during the download."""
    bucket.put_object("k", b"new")
    target = tmp_path / "t"
    target.write_bytes(b"old")
    with pytest.raises(FileExistsError):
        bucket.download_file("k", target, overwrite=False)
    target.unlink()
    with pytest.raises(FileExistsError):
        download.download(
            bucket.object("k")._address,
            Destination(target, overwrite=False),
            progress=lambda count: target.write_bytes(b"racer"),
        )
    assert target.read_bytes() == b"racer"
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


def test_ranges_are_half_open(bucket: S3Bucket, tmp_path: Path) -> None:
    """A range of a download, and of a read, is that of a slice."""
    obj = bucket.put_object("digits", b"0123456789")
    for start, end in [(0, None), (2, 5), (5, 5), (7, 99), (10, None), (50, None), (6, 2)]:
        obj.download_to(tmp_path / "t", start=start, end=end)
        assert (tmp_path / "t").read_bytes() == b"0123456789"[start:end]
        assert obj.read_range(start, end) == b"0123456789"[start:end]
    assert obj.read_range(-3, -1) == b"78"
    assert [*obj.iter_chunks(4, start=1, end=8)] == [b"1234", b"567"]
    with pytest.raises(ValueError, match="negative"):
        obj.download_to(tmp_path / "t", start=-1)


def test_downloading_an_object_that_changes_raises_and_keeps_the_target(bucket: S3Bucket, tmp_path: Path) -> None:
    """An object replaced during the download raises; the target is unchanged."""
    bucket.upload_object("k", LARGE)
    target = tmp_path / "t"
    target.write_bytes(b"old")
    replaced = []

    def replace(count: int) -> None:
        if not replaced:
            replaced.append(bucket._connection.call("PutObject", Bucket=bucket.name, Key="k", Body=LARGE[::-1]))

    connection = bucket.store.config.replace(max_concurrency=1)
    slow = type(bucket._connection).open(connection)
    with pytest.raises(S3ObjectChanged):
        download.download(BucketAddress(slow, bucket.name).object("k"), Destination(target), progress=replace)
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


def test_downloading_a_missing_object_leaves_no_file(bucket: S3Bucket, tmp_path: Path) -> None:
    """No file, no temporary file, and the error says what is missing."""
    with pytest.raises(S3NoSuchItem):
        bucket.download_file("missing", tmp_path / "t")
    assert [*tmp_path.iterdir()] == []


def test_wrong_bytes_are_an_error_that_names_both_checksums(
    moto_bucket: S3Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store whose etag is another MD5 than that of what arrived."""
    moto_bucket.put_object("k", b"right")
    theirs, ours = hashlib.md5(b"right").hexdigest(), hashlib.md5(b"wrong").hexdigest()
    monkeypatch.setattr(download._Fetch, "pieces", lambda self, start, end: iter([b"wrong"]))
    with pytest.raises(S3ChecksumError) as caught:
        moto_bucket.download_file("k", tmp_path / "t")
    assert theirs in str(caught.value)
    assert ours in str(caught.value)
    assert [*tmp_path.iterdir()] == []
    moto_bucket.download_file("k", tmp_path / "t", verify_checksum=False)
    assert (tmp_path / "t").read_bytes() == b"wrong"


def test_a_corrupted_byte_is_detected_in_a_download_in_parts(
    moto: Server, moto_bucket: S3Bucket, tmp_path: Path
) -> None:
    """With verify_checksum a multipart download is compared with the etag of its parts; corrupted content never becomes the target."""
    obj = moto_bucket.upload_object("k", LARGE, part_size_bytes=8 * MIB)
    assert obj.etag.endswith("-6")
    moto_bucket.download_file("k", tmp_path / "whole", verify_checksum=True)
    assert (tmp_path / "whole").read_bytes() == LARGE
    with run_proxy(moto.endpoint_url, scripted({("GET", "k"): [None, "corrupt"]})) as proxy:
        bucket = moto.connect(endpoint_url=proxy.endpoint_url).bucket(moto_bucket.name)
        with pytest.raises(S3ChecksumError, match=obj.etag):
            bucket.download_file("k", tmp_path / "target", verify_checksum=True)
        assert proxy.counts()["corrupt"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["whole"]


@pytest.mark.parametrize("resume", [False, True])
def test_overwrite_false_keeps_a_file_created_meanwhile(
    moto_bucket: S3Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resume: bool
) -> None:
    """With overwrite=False, also on a file system without hard links; no temporary file is left."""

    def no_links(source: object, target: object) -> None:
        raise OSError(1, "no links here")

    moto_bucket.put_object("k", b"new")
    monkeypatch.setattr(os, "link", no_links)
    moto_bucket.download_file("k", tmp_path / "t", overwrite=False, resume=resume)
    assert (tmp_path / "t").read_bytes() == b"new"
    pieces = download._Fetch.pieces

    def meanwhile(self: download._Fetch, start: int, end: int) -> object:
        (tmp_path / "u").write_bytes(b"theirs")
        return pieces(self, start, end)

    monkeypatch.setattr(download._Fetch, "pieces", meanwhile)
    with pytest.raises(FileExistsError):
        moto_bucket.download_file("k", tmp_path / "u", overwrite=False, resume=resume)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"t": b"new", "u": b"theirs"}


def test_a_completion_whose_response_was_lost_succeeds_if_the_etag_matches(
    moto: Server, rclone: Server, moto_bucket: S3Bucket, rclone_bucket: S3Bucket
) -> None:
    """rclone forgets a completed upload, so a retry fails: the result is never S3NoSuchItem, and a success only if the etag shows it."""
    lost = {("POST", "k?uploadId"): ["reset_after"]}
    with run_proxy(moto.endpoint_url, scripted(lost)) as proxy:
        bucket = moto.connect(endpoint_url=proxy.endpoint_url).bucket(moto_bucket.name)
        assert bucket.upload_object("k", LARGE).etag == moto_bucket.get_object("k").etag
        assert proxy.counts()["reset_after"] == 1
    with run_proxy(rclone.endpoint_url, scripted(lost)) as proxy:
        bucket = rclone.connect(endpoint_url=proxy.endpoint_url).bucket(rclone_bucket.name)
        with pytest.raises(S3ConnectionError, match="the response was lost") as caught:
            bucket.upload_object("k", LARGE)
        assert caught.value.retryable
        proxy.restart(scripted(lost))
        etag = etag_md5.of_parts(
            [hashlib.md5(LARGE[at : at + 5 * MIB]).hexdigest() for at in range(0, len(LARGE), 5 * MIB)]
        )
        events = bucket._connection.client.meta.events
        events.register(
            "after-call.s3.HeadObject", lambda parsed, **_: parsed.update(ETag=f'"{etag}"')
        )  # as MinIO's would be
        assert bucket.upload_object("k", LARGE).etag == etag
        assert proxy.counts()["reset_after"] == 1
    assert rclone_bucket.get_object("k").size == len(LARGE)


def test_a_resumed_download_continues_where_it_failed(rclone_bucket: S3Bucket, tmp_path: Path) -> None:
    """After a failure with resume=True only the rest is requested, and no temporary file is left."""
    rclone_bucket.upload_object("k", LARGE)
    target = tmp_path / "t"

    class Stop(Exception):
        pass

    got = [0]

    def stop(count: int) -> None:
        got[0] += count
        if got[0] > 34 * MIB:
            raise Stop

    with pytest.raises(Stop):
        rclone_bucket.download_file("k", target, resume=True, progress=stop)
    assert not target.exists()
    told: list[int] = []
    rclone_bucket.download_file("k", target, resume=True, progress=told.append)
    assert target.read_bytes() == LARGE
    assert sum(told) == len(LARGE)
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


def test_the_journal_names_a_part_after_it_is_on_the_disk(
    rclone_bucket: S3Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power loss, a journal entry for data not on disk would leave a hole in the file."""
    rclone_bucket.upload_object("k", LARGE)
    size = download.part_size_of(len(LARGE))
    parts = {at // size: LARGE[at : at + size] for at in range(0, len(LARGE), size)}
    on_disk, too_early = set[int](), set[int]()
    really = os.fsync

    def fsync(file: int) -> None:
        named = {int(line) for line in (tmp_path / ".t.mfs3-journal").read_text().splitlines()[1:]}
        too_early.update(named - on_disk)
        written = {number for number, part in parts.items() if os.pread(file, len(part), number * size) == part}
        really(file)
        on_disk.update(written)

    monkeypatch.setattr(os, "fsync", fsync)
    rclone_bucket.download_file("k", tmp_path / "t", resume=True)
    assert on_disk == parts.keys()
    assert not too_early


def test_a_resumed_download_of_a_replaced_object_starts_again(rclone_bucket: S3Bucket, tmp_path: Path) -> None:
    """A journal for another etag is ignored."""
    (tmp_path / ".t.mfs3-journal").write_text('{"etag": "other"}\n0\n1\n2\n')
    (tmp_path / ".t.mfs3-partial").write_bytes(b"rubbish" * MIB)
    rclone_bucket.upload_object("k", LARGE)
    rclone_bucket.download_file("k", tmp_path / "t", resume=True)
    assert (tmp_path / "t").read_bytes() == LARGE
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


def test_a_journal_without_its_partial_file_is_ignored(rclone_bucket: S3Bucket, tmp_path: Path) -> None:
    """If the process is killed between the rename and the deletion of the journal, the next download fetches every part."""
    rclone_bucket.upload_object("k", LARGE)
    obj = rclone_bucket.object("k")
    part = download.part_size_of(len(LARGE))
    heading = {"object": f"s3://{rclone_bucket.name}/k", "etag": obj.etag, "start": 0, "end": len(LARGE), "part": part}
    parts = "".join(f"{number}\n" for number in range(-(-len(LARGE) // part)))
    (tmp_path / ".t.mfs3-journal").write_text(f"{json.dumps(heading)}\n{parts}")
    rclone_bucket.download_file("k", tmp_path / "t", resume=True)
    assert (tmp_path / "t").read_bytes() == LARGE


class _Killed(BaseException):
    """Stands for the end of the process."""


class _KilledAt:
    """Ends the process before a given one of the calls that change the partial file or its journal.

    Attributes:
        on_disk: What a power loss leaves of the journal: its content at the last fsync.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, journal: Path, at: int) -> None:
        self._left = at
        self.on_disk = journal.read_bytes()
        killed = self

        class Journal(io.FileIO):
            def write(self, data: Any, /) -> int:
                killed.count()
                return super().write(data)

            def truncate(self, size: int | None = None, /) -> int:
                killed.count()
                return super().truncate(size)

        def before(call: Callable[..., Any]) -> Callable[..., Any]:
            def counted(*arguments: Any) -> Any:
                self.count()
                result = call(*arguments)
                if call is fsync and os.path.sameopenfile(arguments[0], opened[-1].fileno()):
                    self.on_disk = journal.read_bytes()
                return result

            return counted

        opened: list[Journal] = []
        fsync = os.fsync
        monkeypatch.setattr(os, "fdopen", lambda fd, mode, **_: opened.append(Journal(fd, mode)) or opened[-1])
        monkeypatch.setattr(os, "fsync", before(os.fsync))
        monkeypatch.setattr(os, "ftruncate", before(os.ftruncate))

    def count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise _Killed


@pytest.mark.parametrize("is_power_loss", [False, True], ids=["killed", "power loss"])
@pytest.mark.parametrize("other_etag", ["f", "f" * 40, "f" * 36, "f" * 38], ids=len)
@pytest.mark.parametrize("at", range(9))
def test_journal_never_names_parts_that_are_not_in_the_file(
    tmp_path: Path, at: int, other_etag: str, is_power_loss: bool
) -> None:
    """A download of another object of the same size takes over the files of an interrupted one, and ends before any of its steps."""
    size, target, journal = 30, tmp_path / "t", tmp_path / ".t.mfs3-journal"
    bodies = {"e" * 40: b"e" * size, other_etag: b"f" * size}

    def begun(etag: str) -> partial_file.PartialFile:
        return partial_file.PartialFile(target, {"etag": etag, "start": 0, "end": size})

    def interrupted(etag: str, part: int) -> None:
        file = begun(etag)
        try:
            file.write(bodies[etag][:10], part * 10)
            file.note(part)
        finally:
            file.close(keep=True)

    interrupted("e" * 40, 0)
    interrupted("e" * 40, 2)
    with pytest.MonkeyPatch.context() as monkeypatch:
        killed = _KilledAt(monkeypatch, journal, at)
        with contextlib.suppress(_Killed):
            interrupted(other_etag, 1)
    if is_power_loss:
        journal.write_bytes(killed.on_disk)
    left = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for etag, body in bodies.items():
        for name, content in left.items():
            (tmp_path / name).write_bytes(content)
        file = begun(etag)
        found = (tmp_path / ".t.mfs3-partial").read_bytes()
        file.close(keep=True)
        assert all(found[part * 10 : part * 10 + 10] == body[:10] for part in file.done), (etag, file.done)


def test_a_line_of_the_journal_that_the_disk_has_no_space_for_names_no_other_part(tmp_path: Path) -> None:
    """Of the line "12" the disk took the "1"; after it "7" was read as 17, a part that the file did not have."""
    resource = pytest.importorskip("resource")
    heading = {"etag": "e", "start": 0, "end": 100}
    partial = partial_file.PartialFile(tmp_path / "file", heading)
    [journal] = tmp_path.glob("*.mfs3-journal")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (journal.stat().st_size + 1, before[1]))
    try:
        with pytest.raises(OSError, match="No space left"):
            partial.note(12)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    partial.note(7)
    partial.close(keep=True)
    again = partial_file.PartialFile(tmp_path / "file", heading)
    assert again.done == {7}
    again.close(keep=False)


def test_two_resumed_downloads_to_one_target_do_not_mix(rclone_bucket: S3Bucket, tmp_path: Path) -> None:
    """The second finds the partial file locked and uses another one; both end with a complete file, without temporary files."""
    rclone_bucket.upload_object("k", LARGE)
    target, begun, go_on = tmp_path / "t", threading.Event(), threading.Event()

    def hold(count: int) -> None:
        begun.set()
        assert go_on.wait(60)

    first = threading.Thread(
        target=rclone_bucket.download_file, args=("k", target), kwargs={"resume": True, "progress": hold}
    )
    first.start()
    assert begun.wait(60)
    other = LARGE[::-1]
    rclone_bucket.upload_object("other", other)
    rclone_bucket.download_file("other", target, resume=True)
    assert target.read_bytes() == other
    go_on.set()
    first.join()
    assert target.read_bytes() == LARGE
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


KILLED = """
import sys
import messageflux_s3 as s3
endpoint, access, secret, bucket, target = sys.argv[1:]
store = s3.connect(endpoint, access_key=access, secret_key=secret, region="us-east-1")
print("go", flush=True)
while True:
    store.bucket(bucket).download_file("k", target, resume=True)
"""


def test_a_killed_download_leaves_the_old_or_the_new_file(
    rclone: Server, rclone_bucket: S3Bucket, tmp_path: Path
) -> None:
    """kill -9 at random moments: the target is always complete, and a resumed run removes temporary files."""
    rclone_bucket.upload_object("k", LARGE)
    target = tmp_path / "t"
    target.write_bytes(b"old")
    moments = random.Random(20)
    for _ in range(4):
        arguments = [rclone.endpoint_url, rclone.access_key, rclone.secret_key, rclone_bucket.name, str(target)]
        root = str(Path(download.__file__).parents[2])
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, *arguments], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": root}
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"go\n"
        time.sleep(moments.uniform(0.02, 0.5))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert target.read_bytes() in (b"old", LARGE)
    rclone_bucket.download_file("k", target, resume=True)
    assert target.read_bytes() == LARGE
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


def test_progress_reports_every_byte(moto_bucket: S3Bucket, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A callable gets the bytes; True draws a bar; anything else is refused."""
    told: list[int] = []
    moto_bucket.upload_object("k", LARGE[: 20 * MIB], progress=told.append)
    assert sum(told) == 20 * MIB
    moto_bucket.download_file("k", tmp_path / "t", progress=True)
    assert "100%" in capsys.readouterr().err
    with pytest.raises(TypeError, match="progress"):
        moto_bucket.download_file("k", tmp_path / "t", progress="yes")  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [5 * MIB - 1, 5 * 1024 * MIB + 1])
def test_parts_below_5_mib_or_above_5_gib_are_refused(moto_bucket: S3Bucket, size: int) -> None:
    """S3's limits."""
    with pytest.raises(ValueError, match="part_size_bytes must be 5,242,880 to 5,368,709,120"):
        moto_bucket.upload_object("k", b"", part_size_bytes=size)


def test_memory_is_bounded(rclone: Server, rclone_bucket: S3Bucket, tmp_path: Path) -> None:
    """256 MiB from an iterator and back: far less than 200 MiB more than at the start."""
    program = """
import resource, sys
import messageflux_s3 as s3
endpoint, access, secret, bucket, target = sys.argv[1:]
bucket = s3.connect(endpoint, access_key=access, secret_key=secret, region="us-east-1").bucket(bucket)
bucket.put_object("warm", b"x")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
piece = bytes(1 << 20)
bucket.upload_object("big", (piece for _ in range(256)))
bucket.download_file("big", target)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    arguments = [rclone.endpoint_url, rclone.access_key, rclone.secret_key, rclone_bucket.name, str(tmp_path / "t")]
    root = str(Path(download.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert int(done.stdout) < 200
    assert (tmp_path / "t").stat().st_size == 256 * MIB


def test_transfers_from_a_missing_bucket_raise_no_such_bucket(moto_store: object, tmp_path: Path) -> None:
    """A bucket that is missing fails both ways with our own error."""
    bucket = moto_store.bucket("not-there-at-all")  # type: ignore[attr-defined]
    with pytest.raises(S3Error):
        bucket.upload_object("k", b"x")
    with pytest.raises(S3Error):
        bucket.download_file("k", tmp_path / "t")


# -- what cannot be meant, and what a source may do ----------------------------------------------------------------------------------

WRONG: dict[str, tuple[Callable[[S3Bucket, Path], object], type[Exception], str]] = {
    "a part size of text": (lambda b, p: b.upload_object("k", b"x", part_size_bytes="5"), TypeError, "part_size_bytes .*not str"),
    "a part size of truth": (lambda b, p: b.upload_object("k", b"x", part_size_bytes=True), TypeError, "part_size_bytes .*not bool"),
    "a start of text": (lambda b, p: b["k"].download_to(p / "t", start="1"), TypeError, "start must be a whole number .*not str"),
    "an end of truth": (lambda b, p: b["k"].download_to(p / "t", end=True), TypeError, "end must be a whole number .*not bool"),
    "a start from the end": (lambda b, p: b["k"].download_to(p / "t", start=-1), ValueError, "start=-1"),
    "into nothing": (lambda b, p: b.download_object("k", object()), TypeError, r"must have write\(\), object has not"),
    "onto a folder": (lambda b, p: ((p / "k").mkdir(), b.download_file("k", p)), IsADirectoryError, "a folder has the name"),
}  # fmt: skip


@pytest.mark.parametrize(("act", "error", "said"), WRONG.values(), ids=WRONG)
def test_invalid_arguments_raise_before_anything_is_sent(
    scripted_server: ScriptedServer,
    tmp_path: Path,
    act: Callable[[S3Bucket, Path], object],
    error: type[Exception],
    said: str,
) -> None:
    """Which argument, and what is wrong with it."""
    with pytest.raises(error, match=said):
        act(scripted_server.bucket(), tmp_path)
    assert scripted_server.asked == []


class _Source:
    """A readable that gives what it was told to, one thing a time."""

    def __init__(self, *pieces: object) -> None:
        self._pieces = iter(pieces)

    def read(self, size: int) -> object:
        return next(self._pieces, b"")


def test_text_is_uploaded_as_utf_8(bucket: S3Bucket) -> None:
    """As a whole, from an iterable and from a file that was opened for text."""
    for source in ("zwölf", iter(["zw", "", "ölf".encode()]), _Source("zw", "ölf")):
        bucket.upload_object("k", source)
        assert bucket["k"].body == "zwölf".encode()


@pytest.mark.parametrize(
    ("piece", "error", "said"), [(None, BlockingIOError, "non-blocking"), (5, TypeError, "not int")]
)
def test_a_source_that_gives_no_bytes_raises_before_a_request(
    scripted_server: ScriptedServer, piece: object, error: type[Exception], said: str
) -> None:
    """And nothing is sent of it."""
    with pytest.raises(error, match=said):
        scripted_server.bucket().upload_object("k", _Source(b"x", piece))
    assert scripted_server.asked == []


@pytest.mark.parametrize("as_path", [True, False])
def test_a_file_truncated_during_its_upload_creates_no_object(
    scripted_server: ScriptedServer, tmp_path: Path, as_path: bool
) -> None:
    """A shorter object would be no copy of it."""
    path = tmp_path / "source"
    path.write_bytes(LARGE)

    def answer(asked: Asked) -> Answer:
        if "uploads" in asked.query:
            os.truncate(path, 6 * MIB)
        return store(asked)

    store = StrictStore()
    scripted_server.answer = answer
    with path.open("rb") as file, pytest.raises(OSError, match=f"ended after {6 * MIB:,} of {len(LARGE):,} bytes"):
        scripted_server.bucket().upload_object("k", path if as_path else file, part_size_bytes=5 * MIB)
    assert not store.objects
    assert not store.uploads


@pytest.mark.parametrize("size", [6 * MIB, 1 * MIB])
def test_a_file_rewritten_during_its_upload_creates_no_object(
    scripted_server: ScriptedServer, tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be partly old and partly new. In parts and in one request."""
    path = tmp_path / "source"
    path.write_bytes(LARGE[:size])
    store = scripted_server.answer = StrictStore()
    is_first = True
    take = Source.take

    def rewriting(self: Source, count: int) -> bytes | bytearray:
        nonlocal is_first
        taken = take(self, count)
        if is_first:
            is_first = False
            path.write_bytes(bytes(size))
            os.utime(path, ns=(0, 1))  # another time, whatever the resolution of the file system's
        return taken

    monkeypatch.setattr(Source, "take", rewriting)
    with pytest.raises(OSError, match="was written while it was read: what was read may be partly old"):
        scripted_server.bucket().upload_file(path, "k", part_size_bytes=5 * MIB)
    assert not store.objects
    assert not store.uploads


def test_a_file_that_grows_during_its_upload_is_stored(scripted_server: ScriptedServer, tmp_path: Path) -> None:
    """A log, for example: what is stored is its content at one time."""
    path = tmp_path / "source"
    path.write_bytes(LARGE[: 6 * MIB])

    def answer(asked: Asked) -> Answer:
        if "uploads" in asked.query:
            with path.open("ab") as file:
                file.write(b"more")
        return store(asked)

    store = StrictStore()
    scripted_server.answer = answer
    scripted_server.bucket().upload_file(path, "k", part_size_bytes=5 * MIB)
    assert store.objects["k"].body.startswith(LARGE[: 6 * MIB])


@pytest.mark.parametrize(("preset", "sizes"), [("aws", [10, 20, 40, 30]), ("r2", [10] * 10)])
def test_the_parts_of_a_source_of_unknown_size_grow(
    scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, preset: str, sizes: list[int]
) -> None:
    """R2 requires parts of equal size."""
    monkeypatch.setattr(upload, "THRESHOLD_BYTES", 10)
    monkeypatch.setattr(upload, "_FIRST_PART_BYTES_OF_UNKNOWN_SIZE", 10)
    monkeypatch.setattr(upload.parallelism, "growing_part_size", lambda first, number: first * 2**number)

    scripted_server.answer = upload_in_parts
    scripted_server.bucket(preset=preset).upload_object("k", iter([bytes(100)]))
    parts = {
        int(asked.query["partNumber"]): len(asked.body) for asked in scripted_server.asked if asked.method == "PUT"
    }
    assert [parts[number] for number in sorted(parts)] == sizes


def test_more_than_10000_parts_are_refused(moto_bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """The maximum number of parts works; one byte more raises an error with the remedy, and writes nothing."""
    monkeypatch.setattr(upload, "MAX_PARTS", 2)
    assert moto_bucket.upload_object("k", LARGE[: 10 * MIB], part_size_bytes=5 * MIB).size == 10 * MIB
    for source in (LARGE[: 10 * MIB + 1], iter([LARGE[: 10 * MIB + 1]])):
        with pytest.raises(ValueError, match="longer than 2 parts of this size; make them larger"):
            moto_bucket.upload_object("k", source, part_size_bytes=5 * MIB)
    assert unfinished_uploads(moto_bucket) == []


# -- downloads that meet something --------------------------------------------------------------------------------------------------

BODY = random.Random(9).randbytes(3000)
MD5 = hashlib.md5(BODY).hexdigest()


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of a thousand bytes, so that three thousand are many."""
    monkeypatch.setattr(download, "ONE_REQUEST_BYTES", 1000)
    monkeypatch.setattr(download, "PART_BYTES", 1000)
    monkeypatch.setattr(download, "LEAST_PART_BYTES", 1000)
    monkeypatch.setattr(download, "_PIECE_BYTES", 100)


class _Slow:
    """Writes three bytes at a time, or does not return the number."""

    def __init__(self, *, says: bool) -> None:
        self.got = b""
        self._says = says

    def write(self, piece: memoryview) -> int | None:
        taken = bytes(piece[:3]) if self._says else bytes(piece)
        self.got += taken
        return len(taken) if self._says else None


@pytest.mark.parametrize("says", [True, False])
def test_a_writable_may_accept_fewer_bytes_than_offered(scripted_server: ScriptedServer, says: bool) -> None:
    """Like a raw file or a socket: the rest is written again."""
    scripted_server.answer = lambda asked: content_of(asked, BODY)
    writable = _Slow(says=says)
    scripted_server.bucket().download_object("k", writable)
    assert writable.got == BODY


class _Raw(io.RawIOBase):
    """Takes the given counts of bytes, one after the other, and then all; None: it takes nothing, as a raw file in non-blocking mode."""

    def __init__(self, counts: Sequence[int | None]) -> None:
        self.got = b""
        self._counts = iter(counts)

    def writable(self) -> bool:
        return True

    def write(self, piece: Any) -> int | None:
        count = next(self._counts, len(piece))
        self.got += bytes(piece[: count or 0])
        return count


class _NonBlocking:
    """A pipe or socket in non-blocking mode whose buffer is smaller than the object; its other end is not read."""

    def __init__(self, kind: str) -> None:
        if kind == "pipe":
            end, start = os.pipe()
            os.set_blocking(start, False)
            self.ends: tuple[Any, Any] = os.fdopen(start, "wb", buffering=0), os.fdopen(end, "rb")
        else:
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            self.ends = ours.makefile("wb", buffering=0), theirs
            ours.close()

    def __enter__(self) -> Any:
        return self.ends[0]

    def __exit__(self, *exc: object) -> None:
        for end in self.ends:
            end.close()


def download_async(bucket: S3Bucket, writable: Any) -> None:
    async def main() -> None:
        async with AsyncS3Store(bucket.store) as store:
            await store.bucket(bucket.name).download_object("k", writable)

    asyncio.run(main())


TO_WRITABLE: dict[str, Callable[[S3Bucket, Any], None]] = {
    "sync": lambda bucket, writable: bucket.download_object("k", writable),
    "async": download_async,
}


@pytest.mark.parametrize("to_writable", TO_WRITABLE.values(), ids=TO_WRITABLE)
@pytest.mark.parametrize("counts", [[], [1], [0, 7], [3] * 20, [2999, 0, 1]])
def test_raw_writable_is_offered_again_what_it_did_not_take(
    scripted_server: ScriptedServer, to_writable: Callable[[S3Bucket, Any], None], counts: list[int]
) -> None:
    scripted_server.answer = lambda asked: content_of(asked, BODY)
    writable = _Raw(counts)
    to_writable(scripted_server.bucket(), writable)
    assert writable.got == BODY


@pytest.mark.parametrize("to_writable", TO_WRITABLE.values(), ids=TO_WRITABLE)
@pytest.mark.parametrize("counts", [[None], [7, None], [3, 0, 4, None, 5]])
def test_raw_writable_that_takes_nothing_now_raises_blocking_io_error(
    scripted_server: ScriptedServer, to_writable: Callable[[S3Bucket, Any], None], counts: list[int | None]
) -> None:
    """``None`` from ``io.RawIOBase.write`` means that nothing was written."""
    scripted_server.answer = lambda asked: content_of(asked, BODY)
    writable = _Raw(counts)
    with pytest.raises(BlockingIOError, match="non-blocking"):
        to_writable(scripted_server.bucket(), writable)
    assert writable.got == BODY[: sum(count or 0 for count in counts[: counts.index(None)])]


@pytest.mark.parametrize("to_writable", TO_WRITABLE.values(), ids=TO_WRITABLE)
@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_full_non_blocking_pipe_or_socket_raises_blocking_io_error(
    scripted_server: ScriptedServer, to_writable: Callable[[S3Bucket, Any], None], kind: str
) -> None:
    scripted_server.answer = lambda asked: content_of(asked, bytes(4 * MIB))
    with _NonBlocking(kind) as writable, pytest.raises(BlockingIOError):
        to_writable(scripted_server.bucket(), writable)


def test_write_target_gives_a_buffered_file_for_a_pipe(tmp_path: Path) -> None:
    """Its user may ignore the counts that ``write`` returns; a raw file may write less than it is given."""
    os.mkfifo(tmp_path / "pipe")
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append((tmp_path / "pipe").read_bytes()), daemon=True)
    reader.start()
    kinds: list[object] = []
    partial_file.write_target(tmp_path / "pipe", lambda file: (kinds.append(file), file.write(BODY)))
    reader.join(10)
    assert received == [BODY]
    assert isinstance(kinds[0], io.BufferedWriter)


def changed_at_first(etag: str) -> Callable[[Asked], Answer]:
    """A store whose first answer to a GET has a changed byte."""
    answered: list[str] = []

    def answer(asked: Asked) -> Answer:
        if asked.method == "GET":
            answered.append(asked.key)
        return content_of(asked, BODY if len(answered) > 1 else BODY[1:] + b"x", etag)

    return answer


def test_bytes_written_to_a_stream_are_compared_with_the_etag(scripted_server: ScriptedServer) -> None:
    """The bytes cannot be taken back, but it raises S3ChecksumError."""
    scripted_server.answer = changed_at_first(MD5)
    with pytest.raises(S3ChecksumError, match=MD5):
        scripted_server.bucket().download_object("k", io.BytesIO())
    scripted_server.answer = changed_at_first(MD5)
    scripted_server.bucket().download_object("k", io.BytesIO(), verify_checksum=False)


@pytest.mark.usefixtures("small_parts")
def test_a_version_is_downloaded_in_parts(moto_bucket: S3Bucket, tmp_path: Path) -> None:
    """Each part is asked of the version."""
    moto_bucket.versioning.enable()
    first = moto_bucket.put_object("k", BODY)
    moto_bucket.put_object("k", b"newer")
    moto_bucket.object("k", version_id=first.version_id).download_to(tmp_path / "t")
    assert (tmp_path / "t").read_bytes() == BODY


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("etag", [MD5, "0" * 32, "0" * 32 + "-2", "0" * 32 + "-3"])
def test_a_download_that_reads_the_same_twice_ignores_an_etag_that_is_no_md5(
    scripted_server: ScriptedServer, tmp_path: Path, etag: str
) -> None:
    """An ETag that is not the MD5 of it, nor that of its parts, is none: the download succeeds."""

    def answer(asked: Asked) -> Answer:
        if "partNumber" in asked.query:
            return content_of(asked, BODY[:1000], etag) if etag.endswith("-3") else refusal(400, "InvalidArgument")
        return content_of(asked, BODY, etag)

    scripted_server.answer = answer
    scripted_server.bucket().download_file("k", tmp_path / "t", verify_checksum=True)
    assert (tmp_path / "t").read_bytes() == BODY


@pytest.mark.usefixtures("small_parts")
def test_a_download_in_parts_is_compared_with_the_etag(scripted_server: ScriptedServer, tmp_path: Path) -> None:
    """A changed byte leaves no file."""
    scripted_server.answer = changed_at_first(MD5)
    with pytest.raises(S3ChecksumError, match=MD5):
        scripted_server.bucket().download_file("k", tmp_path / "t", verify_checksum=True)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.usefixtures("small_parts")
def test_parts_of_unequal_length_are_not_checked(scripted_server: ScriptedServer, tmp_path: Path) -> None:
    """If the parts have unequal sizes, it is unknown where they begin."""
    scripted_server.answer = lambda asked: content_of(
        asked, BODY[: 2000 if "partNumber" in asked.query else None], "0" * 32 + "-3"
    )
    scripted_server.bucket().download_file("k", tmp_path / "t", verify_checksum=True)
    assert (tmp_path / "t").read_bytes() == BODY


@pytest.mark.usefixtures("small_parts")
def test_a_resumed_download_is_compared_with_the_etag(scripted_server: ScriptedServer, tmp_path: Path) -> None:
    """With the parts that an earlier one left: of the right bytes a file, of wrong ones an error."""
    missing = {"bytes=2000-2999"}
    scripted_server.answer = lambda asked: (
        None if asked.headers.get("range") in missing else content_of(asked, BODY, MD5)
    )
    for spoiled in (False, True):
        missing = {"bytes=2000-2999"}
        with pytest.raises(S3ConnectionError):
            scripted_server.bucket().download_file("k", tmp_path / "t", resume=True)
        missing = set()
        scripted_server.asked.clear()
        if spoiled:
            with (tmp_path / ".t.mfs3-partial").open("r+b") as file:
                file.write(b"spoiled")
            with pytest.raises(S3ChecksumError):
                scripted_server.bucket().download_file("k", tmp_path / "t", resume=True, verify_checksum=True)
        else:
            scripted_server.bucket().download_file("k", tmp_path / "t", resume=True, verify_checksum=True)
            assert (tmp_path / "t").read_bytes() == BODY
            assert "bytes=2000-2999" in [asked.headers.get("range") for asked in scripted_server.asked]
            (tmp_path / "t").unlink()
    assert [*tmp_path.iterdir()] == []


def _cut(asked: Asked) -> Answer:
    """The first 1,500 bytes of the object, and then the connection is closed."""
    whole = content_of(asked, BODY, MD5)
    assert whole is not None
    return whole[0], {**whole[1], "Content-Length": str(len(BODY))}, BODY[:1500]


@pytest.mark.parametrize(
    "second",
    [lambda asked: content_of(asked, BODY, MD5), lambda asked: (200, {"ETag": f'"{MD5}"'}, BODY)],
    ids=["a range", "the whole"],
)
def test_a_download_resumes_after_a_broken_connection(
    scripted_server: ScriptedServer, tmp_path: Path, second: Callable[[Asked], Answer]
) -> None:
    """At its offset; also where the store knows no ranges and sends everything again."""
    scripted_server.answer = lambda asked: _cut(asked) if len(scripted_server.asked) == 1 else second(asked)
    scripted_server.bucket(max_attempts=2).download_file("k", tmp_path / "t")
    assert (tmp_path / "t").read_bytes() == BODY
    assert scripted_server.asked[1].headers["range"] == "bytes=1500-2999"


def test_a_download_is_resumed_after_an_attempt_that_failed_immediately(
    scripted_server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store may be away for a moment when the download wants to go on."""
    scripted_server.answer = lambda asked: (
        _cut(asked) if len(scripted_server.asked) == 1 else content_of(asked, BODY, MD5)
    )
    request, away = ranged_reader.RangedReader.request, [False, True, False]

    def get_or_fail(*args: Any) -> Any:
        if away.pop(0):
            raise S3ConnectionError("away", retryable=True)
        return request(*args)

    monkeypatch.setattr(ranged_reader.RangedReader, "request", get_or_fail)
    scripted_server.bucket(max_attempts=3).download_file("k", tmp_path / "t")
    assert (tmp_path / "t").read_bytes() == BODY
    assert away == []


def test_an_object_deleted_during_its_download_raises_object_changed(
    scripted_server: ScriptedServer, tmp_path: Path
) -> None:
    """Not merely missing: a part of it had come."""
    scripted_server.answer = lambda asked: _cut(asked) if len(scripted_server.asked) == 1 else refusal(404, "NoSuchKey")
    with pytest.raises(S3ObjectChanged, match="was deleted while it was being read"):
        scripted_server.bucket(max_attempts=3).download_file("k", tmp_path / "t")
    assert [*tmp_path.iterdir()] == []


@pytest.mark.usefixtures("small_parts")
def test_when_one_part_fails_the_others_stop(
    scripted_server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other parts are stopped while reading; none of them is recorded as complete."""
    fetches: list[download._Fetch] = []

    class Seen(download._Fetch):
        def __enter__(self) -> download._Fetch:
            fetches.append(self)
            return super().__enter__()

    monkeypatch.setattr(download, "_Fetch", Seen)
    scripted_server.answer = lambda asked: content_of(asked, BODY, MD5)
    first = threading.Lock()

    def progress(count: int) -> None:
        if count and first.acquire(blocking=False):
            raise RuntimeError("enough")
        if count:
            assert fetches[0].stopped.wait(60)

    with pytest.raises(RuntimeError, match="enough"):
        scripted_server.bucket().download_file("k", tmp_path / "t", resume=True, progress=progress)
    assert (tmp_path / ".t.mfs3-journal").read_bytes().count(b"\n") == 1  # the heading


def test_short_writes_to_disk_are_continued(
    scripted_server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a full disk or after a signal: the rest is written as well."""
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, piece, at: pwrite(fd, piece[:700], at))
    scripted_server.answer = lambda asked: content_of(asked, BODY, MD5)
    scripted_server.bucket().download_file("k", tmp_path / "t")
    assert (tmp_path / "t").read_bytes() == BODY


def test_a_partial_file_that_became_the_target_meanwhile_is_not_written(
    scripted_server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another download may finish between the opening and the lock: its partial file is then the target, and must not be written to."""
    import fcntl

    flock = fcntl.flock
    target, partial = tmp_path / "t", tmp_path / ".t.mfs3-partial"

    def lock(fd: int, flags: int) -> None:
        if not target.exists():
            partial.rename(target)
            target.write_bytes(b"whole")
        flock(fd, flags)

    monkeypatch.setattr(fcntl, "flock", lock)
    scripted_server.answer = lambda asked: content_of(asked, BODY, MD5)
    with pytest.raises(S3ConnectionError):
        download.download(
            scripted_server.bucket().object("k")._address,
            Destination(target, resume=True),
            if_match=MD5,
            progress=_lose,
        )
    assert target.read_bytes() == b"whole"


def _lose(count: int) -> None:
    if count:
        raise S3ConnectionError("lost")


def test_a_download_that_cannot_be_renamed_leaves_no_file(tmp_path: Path) -> None:
    """Also for a small file: the old or the new one exists, and no temporary file."""
    target = tmp_path / "t"

    def link(*_: object) -> None:
        target.write_bytes(b"racer")
        raise FileExistsError(17, "it is there")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "link", link)
        with pytest.raises(FileExistsError):
            partial_file.write_file(target, b"x", overwrite=False)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"t": b"racer"}
