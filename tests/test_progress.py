"""progress= for all long operations, and the log record when one is interrupted."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.scripted_server import ScriptedServer
from support.stateful_server import StrictStore

import messageflux_s3 as s3
from messageflux_s3 import S3Bucket
from messageflux_s3._bulk.progress import reporting, watched

KEYS = 2500

Work = Callable[[S3Bucket, Any, Path], object]
OBJECTS: dict[str, Work] = {
    "put_objects": lambda bucket, progress, _: bucket.put_objects(
        ((f"n/{n}", b"") for n in range(KEYS)), progress=progress
    ),
    "count": lambda bucket, progress, _: bucket.find().count(progress=progress),
    "total_size": lambda bucket, progress, _: bucket.find().total_size(progress=progress),
    "collect": lambda bucket, progress, _: bucket.find().collect(progress=progress),
    "usage": lambda bucket, progress, _: bucket.usage(progress=progress),
    "to_pandas": lambda bucket, progress, _: bucket.find().to_pandas(progress=progress),
    "to_arrow": lambda bucket, progress, _: bucket.find().to_arrow(progress=progress),
    "delete_objects": lambda bucket, progress, _: bucket.delete_objects(
        [obj.key for obj in bucket.find()], progress=progress
    ),
}


def test_operations_on_many_objects_report_each_object_once(rclone_bucket: S3Bucket, tmp_path: Path) -> None:
    """Every operation on many objects reports each object once."""
    for name, work in OBJECTS.items():
        told: list[int] = []
        work(rclone_bucket, told.append, tmp_path)
        assert sum(told) == KEYS, name
        assert len(told) > 1, name


@pytest.mark.parametrize(
    "work",
    [
        lambda bucket, progress, folder: bucket.find("a/").copy_to(bucket, "b/", progress=progress),
        lambda bucket, progress, folder: bucket.find("a/").delete(progress=progress),
        lambda bucket, progress, folder: bucket.clear_objects(progress=progress),
    ],
    ids=["copy_to", "delete", "clear_objects"],
)
def test_query_copies_and_deletions_report_each_object(rclone_bucket: S3Bucket, tmp_path: Path, work: Work) -> None:
    """Copies and deletions, object by object."""
    rclone_bucket.put_objects((f"a/{n}", b"x") for n in range(7))
    told: list[int] = []
    work(rclone_bucket, told.append, tmp_path)
    assert sum(told) == 7


def test_downloads_of_a_query_count_bytes(rclone_bucket: S3Bucket, tmp_path: Path) -> None:
    """The total is known from the listing."""
    rclone_bucket.put_objects((f"a/{n}", b"x" * 100) for n in range(5))
    told: list[int] = []
    rclone_bucket.find("a/").download_to(tmp_path, progress=told.append)
    assert sum(told) == 500


class Cancelled(Exception):
    """Raised by a callback."""


@pytest.mark.parametrize("size", [0, 5, 17 * 1024 * 1024])
@pytest.mark.parametrize(
    "upload",
    [
        lambda bucket, source, **extra: bucket.upload_object("k", source, **extra),
        lambda bucket, source, **extra: bucket.upload_object("k", source, if_absent=True, **extra),
    ],
    ids=["upload_object", "if_absent"],
)
def test_a_callback_that_raises_ends_an_upload_and_nothing_is_written(
    scripted_server: ScriptedServer, upload: Callable[..., object], size: int
) -> None:
    """Uploads in one request and in parts report; nothing is reported for an empty source."""

    def cancel(count: int) -> None:
        raise Cancelled

    scripted_server.answer = store = StrictStore()
    if not size:
        upload(scripted_server.bucket(preset="aws"), b"", progress=cancel)
        assert store.objects["k"].body == b""
        return
    with pytest.raises(Cancelled):
        upload(scripted_server.bucket(preset="aws"), bytes(size), progress=cancel)
    assert not store.objects
    assert not store.uploads


def test_progress_of_a_failed_request_is_subtracted(scripted_server: ScriptedServer) -> None:
    """Its one request was reported before it was sent."""
    told: list[int] = []
    with pytest.raises(s3.S3ServerError):
        scripted_server.bucket().upload_object("k", b"12345", progress=told.append)
    assert told == [5, -5]


def test_an_interruption_logs_the_progress(rclone_bucket: S3Bucket, caplog: pytest.LogCaptureFixture) -> None:
    """Ctrl-C is raised, the log has the progress, and nothing continues in the background."""

    def interrupted() -> Any:
        for number in range(KEYS):
            if number == 2000:
                raise KeyboardInterrupt
            yield f"n/{number}", b""

    with caplog.at_level(logging.WARNING, "messageflux_s3"), pytest.raises(KeyboardInterrupt):
        rclone_bucket.put_objects(interrupted())
    [record] = caplog.records
    assert "interrupted after" in record.getMessage()
    # A file being received when the connection closed may remain partly written, under rclone's own name (".partial").
    there = {obj.key for obj in rclone_bucket.find()} & {f"n/{number}" for number in range(2000)}
    said = int(record.getMessage().split("after ")[1].split()[0].replace(",", ""))
    assert 1000 <= said <= len(there)


def test_progress_has_a_total_if_the_size_is_known(caplog: pytest.LogCaptureFixture) -> None:
    """Of a transfer the size is known."""
    with pytest.raises(KeyboardInterrupt), reporting(None, 10, "report.pdf") as report:
        report(4)
        raise KeyboardInterrupt
    assert caplog.records[0].getMessage() == "report.pdf: interrupted after 4 of 10 bytes"


def test_progress_true_shows_a_tqdm_bar(rclone_bucket: S3Bucket, capsys: pytest.CaptureFixture[str]) -> None:
    """True is tqdm's."""
    rclone_bucket.put_objects([("a", b""), ("b", b"")], progress=True)
    assert "2.00 objects" in capsys.readouterr().err


def test_a_key_in_the_title_of_a_bar_or_in_a_log_record_is_escaped(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """It could control the terminal, or forge a line of a log."""
    nasty = "s3://bkt/a\nERROR forged\x1b[2J\u202e"
    with pytest.raises(KeyboardInterrupt), reporting(True, 1, nasty):
        raise KeyboardInterrupt
    shown = capsys.readouterr().err
    assert "a\\nERROR forged\\x1b[2J\\u202e" in shown and not {"\n", "\u202e"} & {*shown.rstrip("\n")}
    logging.getLogger("messageflux_s3").warning("%s: %s, %d", nasty, s3.S3Error("a\x9bb"), 7)
    assert caplog.messages == [
        "s3://bkt/a\\nERROR forged\\x1b[2J\\u202e: interrupted after 0 of 1 bytes",
        "s3://bkt/a\\nERROR forged\\x1b[2J\\u202e: a\\x9bb, 7",
    ]


def test_progress_without_tqdm_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(ImportError, match=r"messageflux-s3\[progress\]"), reporting(True, None, "x"):
        pass


@pytest.mark.parametrize("wrong", [1, "yes", []])
def test_progress_of_another_type_raises_type_error(wrong: Any) -> None:
    """Neither True, nor a callable, nor None."""
    with pytest.raises(TypeError, match="progress"), reporting(wrong, None, "x"):
        pass


def test_watched_counts_the_items_consumed() -> None:
    """Also if the iteration ends early."""
    told: list[int] = []
    watching = watched(range(10), told.append)
    assert [next(watching) for _ in range(3)] == [0, 1, 2]
    watching.close()  # type: ignore[attr-defined]
    assert sum(told) in (2, 3)
