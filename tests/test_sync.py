"""Folders and prefixes: plans, their execution, and confinement to the folder."""

from __future__ import annotations

import base64
import hashlib
import os
import pickle
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from support.request_counting import Counted
from support.scripted_server import Answer, Asked, ScriptedServer, content_of, document, refusal
from support.servers import Server

from messageflux_s3 import S3BatchError, S3Bucket, S3InvalidName, S3ObjectChanged
from messageflux_s3._files import sync


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def fill(folder: Path, files: dict[str, bytes]) -> None:
    """Write files into a folder."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


FILES = {"a.txt": b"1", "sub/b.json": b"22", "sub/deep/c": b"", "z 100%.txt": b"4"}


def test_a_folder_is_uploaded_and_downloaded(bucket: S3Bucket, tmp_path: Path) -> None:
    """Keys in upload order, POSIX separators; back again it is the same folder."""
    fill(tmp_path / "here", FILES)
    keys = bucket.upload_folder(tmp_path / "here", "docs")
    assert keys == ["docs/a.txt", "docs/sub/b.json", "docs/sub/deep/c", "docs/z 100%.txt"]
    paths = bucket.download_folder("docs", tmp_path / "there")
    assert paths == ["a.txt", "sub/b.json", "sub/deep/c", "z 100%.txt"]
    assert tree(tmp_path / "there") == FILES


def test_upload_folder_takes_a_part_size_for_small_and_large_files(moto_bucket: S3Bucket, tmp_path: Path) -> None:
    """The part size and the checksum are about large files; small files are uploaded all the same."""
    large = bytes(6 * 1024 * 1024)
    fill(tmp_path, {"small": b"x", "large": large})
    keys = moto_bucket.upload_folder(tmp_path, "p", part_size_bytes=5 * 1024 * 1024, verify_checksum=False)
    assert keys == ["p/large", "p/small"]
    assert (moto_bucket["p/small"].body, moto_bucket["p/large"].size) == (b"x", len(large))


def test_a_missing_folder_is_named(moto_bucket: S3Bucket, tmp_path: Path) -> None:
    """It raises instead of uploading nothing."""
    with pytest.raises(FileNotFoundError, match="missing"):
        moto_bucket.upload_folder(tmp_path / "missing", "x")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotADirectoryError):
        moto_bucket.sync_from_folder(tmp_path / "file", "x")


def test_a_prefix_is_a_folder(moto_bucket: S3Bucket, tmp_path: Path) -> None:
    """``photos`` is not ``photos2``."""
    moto_bucket.put_objects([("photos/1", "1"), ("photos2/2", "2"), ("photos", "3")])
    assert moto_bucket.download_folder("photos", tmp_path) == ["1"]


def test_sync_copies_only_what_changed(bucket: S3Bucket, tmp_path: Path) -> None:
    """Only changed files are copied; deletions only with delete=True; a dry run changes nothing."""
    here, there = tmp_path / "here", tmp_path / "there"
    fill(here, FILES)
    plan = bucket.sync_from_folder(here, "p", dry_run=True)
    assert ([step.action for step in plan.steps], plan.applied) == (["copy"] * 4, False)
    assert bucket.find(prefix="p/").count() == 0
    assert plan.apply().applied
    assert not bucket.sync_from_folder(here, "p").copied
    (here / "a.txt").write_bytes(b"9")
    (here / "sub/b.json").unlink()
    plan = bucket.sync_from_folder(here, "p")
    assert [(step.key, step.reason) for step in plan.copied] == [("p/a.txt", "different content")]
    assert "p/sub/b.json" in bucket
    assert [step.key for step in bucket.sync_from_folder(here, "p", delete=True).deleted] == ["p/sub/b.json"]
    assert "p/sub/b.json" not in bucket
    fill(there, {"extra": b"x", "a.txt": b"1"})
    plan = bucket.sync_to_folder("p", there, delete=True)
    assert [step.path for step in plan.deleted] == ["extra"]
    assert tree(there) == tree(here)
    assert not bucket.sync_to_folder("p", there).copied


def test_excluded_files_are_neither_copied_nor_deleted(moto_bucket: S3Bucket, tmp_path: Path) -> None:
    """What is excluded is neither copied nor deleted."""
    fill(tmp_path, FILES)
    moto_bucket.put_object("p/keep.log", b"")
    plan = moto_bucket.sync_from_folder(tmp_path, "p", include="sub/**", exclude=["**/c"], delete=True)
    assert [step.key for step in plan.steps] == ["p/sub/b.json"]
    assert "p/keep.log" in moto_bucket


def test_a_plan_prints_as_a_table(moto_bucket: S3Bucket, tmp_path: Path) -> None:
    """Action, size, key and why; HTML is escaped."""
    fill(tmp_path, {"<b>.txt": b"123"})
    plan = moto_bucket.sync_from_folder(tmp_path, "p", dry_run=True)
    assert "copy" in str(plan)
    assert "p/<b>.txt" in str(plan)
    assert "1 to copy, 0 to skip, 0 to delete" in str(plan)
    assert "<b>" not in plan._repr_html_()


HOSTILE = ["../up", "/etc/x", "a//b", "./c", "b/..", "a/../../d", "trail/", "C:/w", "x\\y", "%2E./z"]


def test_every_key_is_downloaded_inside_the_folder(moto_bucket: S3Bucket, tmp_path: Path) -> None:
    """Every unusual key has a file inside the folder, which maps back to the key."""
    for number, key in enumerate(HOSTILE):
        moto_bucket.put_object(f"p/{key}", str(number))
    folder = tmp_path / "in" / "folder"
    paths = moto_bucket.download_folder("p", folder)
    assert len(paths) == len(HOSTILE)
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == {folder / path for path in paths}
    moto_bucket.upload_folder(folder, "q")
    for number, key in enumerate(HOSTILE):
        assert moto_bucket[f"q/{key}"].text == str(number)


def test_symbolic_links_out_of_the_folder_are_not_followed(moto_bucket: S3Bucket, tmp_path: Path) -> None:
    """A link to a folder outside is refused; a link that is the file itself is replaced."""
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    outside.mkdir()
    folder.mkdir()
    (outside / "f").write_bytes(b"mine")
    (folder / "link").symlink_to(outside)
    (folder / "file").symlink_to(outside / "f")
    moto_bucket.put_objects([("p/link/f", "evil"), ("p/file", "new")])
    with pytest.raises(S3BatchError) as caught:
        moto_bucket.download_folder("p", folder)
    assert [failure.key for failure in caught.value.failures] == ["p/link/f"]
    assert (outside / "f").read_bytes() == b"mine"
    assert (folder / "file").read_bytes() == b"new"
    assert not (folder / "file").is_symlink()


def test_keys_with_the_same_file_path_are_refused(
    moto_bucket: S3Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are named, and nothing is written."""
    moto_bucket.put_objects([("p/k", "1"), ("p/k/x", "2")])
    with pytest.raises(S3InvalidName, match=r"'p/k'.*'p/k/x'"):
        moto_bucket.download_folder("p", tmp_path / "t")
    moto_bucket.put_objects([("q/A", "1"), ("q/a", "2")])
    monkeypatch.setattr(sync, "ignores_case", lambda folder: True)
    with pytest.raises(S3InvalidName, match=r"'q/A'.*'q/a'"):
        moto_bucket.download_folder("q", tmp_path / "t")
    assert not (tmp_path / "t").exists()


def test_a_file_in_place_of_a_folder_is_kept_and_reported(moto_bucket: S3Bucket, tmp_path: Path) -> None:
    """It is kept, the error names it, and the other objects are downloaded."""
    fill(tmp_path, {"k": b"mine"})
    moto_bucket.put_objects([("p/k/x", "2"), ("p/other", "3")])
    with pytest.raises(S3BatchError, match="a folder is needed here"):
        moto_bucket.download_folder("p", tmp_path)
    assert tree(tmp_path) == {"k": b"mine", "other": b"3"}


def test_folder_markers_become_folders(moto_bucket: S3Bucket, tmp_path: Path) -> None:
    """The empty objects by which consoles show folders become folders."""
    moto_bucket.put_objects([("p/", ""), ("p/empty/", ""), ("p/f/", ""), ("p/f/x", "1")])
    assert moto_bucket.download_folder("p", tmp_path) == ["f/x"]
    assert (tmp_path / "empty").is_dir()


def test_failed_copies_delete_nothing(moto_bucket: S3Bucket, tmp_path: Path) -> None:
    """Deletions come last, and only if every copy succeeded."""
    fill(tmp_path, {"good": b"1", "gone": b"2"})
    moto_bucket.put_object("p/old", b"")
    plan = moto_bucket.sync_from_folder(tmp_path, "p", delete=True, dry_run=True)
    (tmp_path / "gone").unlink()
    with pytest.raises(S3BatchError) as caught:
        plan.apply()
    assert [failure.key for failure in caught.value.failures] == ["p/gone"]
    assert caught.value.succeeded == ["p/good"]
    assert "p/old" in moto_bucket


def test_a_link_that_leads_nowhere_is_an_error_and_deletes_nothing(moto_bucket: S3Bucket, tmp_path: Path) -> None:
    """A file that cannot be read does not count as deleted."""
    moto_bucket.put_objects([("p/a", "content"), ("p/old", "old")])
    (tmp_path / "a").symlink_to(tmp_path / "nowhere")
    (tmp_path / "b").write_bytes(b"new")
    with pytest.raises(S3BatchError, match="p/a") as caught:
        moto_bucket.sync_from_folder(tmp_path, "p", delete=True)
    assert caught.value.succeeded == ["p/b"]
    assert [obj.key for obj in moto_bucket.find(prefix="p/")] == ["p/a", "p/b", "p/old"]
    assert moto_bucket["p/a"].body == b"content"


def test_an_empty_folder_deletes_only_when_asked_and_a_missing_one_never(moto_bucket: S3Bucket, tmp_path: Path) -> None:
    """Syncing from a missing folder must not delete everything."""
    moto_bucket.put_objects([("p/a", "1"), ("q/b", "2")])
    with pytest.raises(FileNotFoundError):
        moto_bucket.sync_from_folder(tmp_path / "missing", "p", delete=True)
    (tmp_path / "empty").mkdir()
    assert moto_bucket.sync_from_folder(tmp_path / "empty", "p").steps == ()
    plan = moto_bucket.sync_from_folder(tmp_path / "empty", "p", delete=True)
    assert [(step.action, step.key) for step in plan.steps] == [("delete", "p/a")]
    assert [obj.key for obj in moto_bucket.find()] == ["q/b"]


def test_compare_selects_how_changes_are_detected(moto_bucket: S3Bucket, tmp_path: Path) -> None:
    """By default the content, also of an upload in parts; the times or the sizes alone where asked for."""
    path = tmp_path / "big"
    path.write_bytes(bytes(6 * 1024 * 1024))
    moto_bucket.upload_file(path, "p/big", part_size_bytes=5 * 1024 * 1024)
    written = moto_bucket.get_object("p/big").last_modified.timestamp()

    def reasons(age: float, compare: sync.Compare) -> list[tuple[str, str]]:
        os.utime(path, (written + age, written + age))
        plan = moto_bucket.sync_from_folder(tmp_path, "p", compare=compare, dry_run=True)
        return [(step.action, step.reason) for step in plan.steps]

    for age in (-10, +10):
        assert reasons(age, "etag") == reasons(age, "size") == [("skip", "identical")]
    assert reasons(-10, "mtime") == [("skip", "identical")]
    assert reasons(+10, "mtime") == [("copy", "newer")]
    path.write_bytes(b"short")
    assert reasons(-10, "size") == [("copy", "different size")]


def test_small_files_are_transferred_through_the_lane(counted: Counted, tmp_path: Path) -> None:
    """One request each, many concurrently; failures are named, the others succeed."""
    fill(tmp_path / "here", {f"{number:03}": b"x" * number for number in range(40)})
    counted.bucket.put_objects([(f"w{number}", b"") for number in range(4)])
    with counted.recording() as requests:
        counted.bucket.upload_folder(tmp_path / "here", "p", metadata={"origin": "Zoë"})
    assert [request.method for request in requests] == ["PUT"] * 40
    with counted.recording() as requests:
        counted.bucket.download_folder("p", tmp_path / "there")
    assert [request.method for request in requests] == ["GET"] * 41
    assert tree(tmp_path / "there") == tree(tmp_path / "here")
    assert counted.bucket.get_object("p/007").metadata["origin"] == "Zoë"
    (tmp_path / "there" / "007").unlink()
    with counted.recording() as requests, pytest.raises(S3BatchError) as caught:
        counted.bucket.download_folder("p", tmp_path / "there", overwrite=False)
    assert (len(caught.value.failures), len(requests)) == (39, 2)  # objects with an existing file are not requested
    assert (tmp_path / "there" / "007").read_bytes() == b"x" * 7


def test_a_file_that_cannot_be_read_does_not_stop_the_others(moto_bucket: S3Bucket, tmp_path: Path) -> None:
    """Each failure with its key, its cause kept."""
    fill(tmp_path, {"a": b"1", "b": b"2", "c": b"3"})
    listed = sync.local_files(tmp_path)
    (tmp_path / "b").unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sync, "local_files", lambda *_: listed)
        with pytest.raises(S3BatchError) as caught:
            moto_bucket.upload_folder(tmp_path, "p")
    assert [(failure.key, type(failure.error.__cause__)) for failure in caught.value.failures] == [
        ("p/b", FileNotFoundError)
    ]
    assert [obj.key for obj in moto_bucket.find()] == ["p/a", "p/c"]


def test_a_query_downloads_what_it_finds(moto_bucket: S3Bucket, tmp_path: Path) -> None:
    """Each object under its whole key."""
    moto_bucket.put_objects([("d/1.txt", "1"), ("d/2.csv", "2")])
    assert moto_bucket.find(glob="**/*.txt").download_to(tmp_path) == ["d/1.txt"]
    assert tree(tmp_path) == {"d/1.txt": b"1"}


WRONG: dict[str, tuple[Callable[[S3Bucket, Path], object], type[Exception], str]] = {
    "a prefix of a number": (lambda b, p: b.sync_from_folder(p, 7), TypeError, "prefix must be text, not int"),
    "a way to compare": (lambda b, p: b.sync_from_folder(p, "x", compare="md5"), ValueError, "compare must be 'etag', 'mtime' or 'size'"),
    "globs of numbers": (lambda b, p: b.sync_from_folder(p, "x", include=[7]), TypeError, "include must be a glob or an iterable of globs"),
    "no globs": (lambda b, p: b.sync_to_folder("x", p, include=[], delete=True), ValueError, "include is an empty list"),
    "no globs, an upload": (lambda b, p: b.upload_folder(p, "x", include=()), ValueError, "include is an empty list"),
    "no globs, a download": (lambda b, p: b.download_folder("x", p, include=()), ValueError, "include is an empty list"),
    "a file for a folder": (lambda b, p: b.sync_to_folder("x", p / "file"), FileExistsError, "a file has the name of the folder"),
    "a file to send": (lambda b, p: b.sync_from_folder(p / "file", "x"), NotADirectoryError, "this is a file, not a folder"),
}  # fmt: skip


@pytest.mark.parametrize(("act", "error", "said"), WRONG.values(), ids=WRONG)
def test_invalid_arguments_raise_an_error_that_names_them(
    scripted_server: ScriptedServer,
    tmp_path: Path,
    act: Callable[[S3Bucket, Path], object],
    error: type[Exception],
    said: str,
) -> None:
    """Before anything is asked or written."""
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(error, match=said):
        act(scripted_server.bucket(), tmp_path)
    assert scripted_server.asked == []


def test_compare_size_ignores_content(moto_bucket: S3Bucket, tmp_path: Path) -> None:
    """Other content of the same size then counts as identical."""
    fill(tmp_path, {"a": b"1", "b": b"22"})
    moto_bucket.put_objects([("p/a", b"9"), ("p/b", b"9")])
    plan = moto_bucket.sync_from_folder(tmp_path, "p", compare="size", dry_run=True)
    assert [(step.action, step.key) for step in plan.steps] == [("skip", "p/a"), ("copy", "p/b")]


def test_a_plan_is_picklable_and_applied_once(moto: Server, moto_bucket: S3Bucket, tmp_path: Path) -> None:
    """Pickled it is the same plan; one that was applied is left alone."""
    fill(tmp_path, {"a": b"1"})
    bucket = moto.connect(pickle_secrets=True).bucket(moto_bucket.name)
    plan = pickle.loads(pickle.dumps(bucket.sync_from_folder(tmp_path, "p", dry_run=True)))
    done = plan.apply()
    assert (moto_bucket["p/a"].body, done.applied, plan.applied) == (b"1", True, False)
    moto_bucket["p/a"].delete()
    assert done.apply().applied
    assert not moto_bucket["p/a"].exists()


def test_case_sensitivity_of_a_read_only_folder_is_that_of_the_platform(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether names that differ by case are one file: where nothing may be written, as on this kind of system."""
    monkeypatch.setattr(
        sync.tempfile, "NamedTemporaryFile", lambda **_: (_ for _ in ()).throw(PermissionError(13, "no"))
    )
    assert sync.ignores_case(tmp_path / "not" / "there") is (os.name == "nt")


def test_sockets_and_pipes_are_not_uploaded(moto_bucket: S3Bucket, tmp_path: Path) -> None:
    """Opening them would block forever."""
    fill(tmp_path, {"a": b"1"})
    os.mkfifo(tmp_path / "pipe")
    assert moto_bucket.upload_folder(tmp_path, "p") == ["p/a"]


def test_an_object_that_fails_does_not_stop_the_others(scripted_server: ScriptedServer, tmp_path: Path) -> None:
    """Each failure with its key; the others are there."""
    names = [f"{number:02}" for number in range(20)]

    def answer(asked: Asked) -> Answer:
        if "list-type" in asked.query:
            entry = "<Contents><Key>p/{}</Key><LastModified>2026-11-21T05:00:00Z</LastModified><ETag>e</ETag><Size>1</Size></Contents>"
            return document("ListBucketResult", "".join(map(entry.format, names)) + "<IsTruncated>false</IsTruncated>")
        return refusal(403, "AccessDenied") if asked.key == "p/07" else content_of(asked, b"x")

    scripted_server.answer = answer
    with pytest.raises(S3BatchError) as caught:
        scripted_server.bucket().download_folder("p", tmp_path)
    assert [failure.key for failure in caught.value.failures] == ["p/07"]
    assert sorted(tree(tmp_path)) == [name for name in names if name != "07"]


def test_large_files_are_transferred_one_by_one(
    moto_bucket: S3Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is transferred in parallel parts; small files before and after them are batched."""
    monkeypatch.setattr(sync, "SMALL_BYTES", 3)
    monkeypatch.setattr(sync.upload, "THRESHOLD_BYTES", 5)
    files = {f"{number:02}": b"x" * (number % 8) for number in range(40)}
    fill(tmp_path / "here", files)
    assert len(moto_bucket.upload_folder(tmp_path / "here", "p")) == 40
    assert len(moto_bucket.download_folder("p", tmp_path / "there")) == 40
    assert tree(tmp_path / "there") == files


def test_a_failed_large_file_is_reported_by_key(
    moto_bucket: S3Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An OSError is the failure of its key; any other exception is raised."""
    monkeypatch.setattr(sync, "SMALL_BYTES", 0)
    fill(tmp_path / "here", {"a": b"1", "b": b"2"})
    moto_bucket.upload_folder(tmp_path / "here", "p")
    fill(tmp_path / "there", {"a/x": b""})
    with pytest.raises((S3BatchError, S3InvalidName, IsADirectoryError)):
        moto_bucket.download_folder("p", tmp_path / "there")
    outcomes = sync._Outcomes("sync")
    with pytest.raises(ZeroDivisionError):
        outcomes.run([("k", 0, lambda: 1 // 0)])


def test_a_file_that_cannot_be_deleted_is_named(moto_bucket: S3Bucket, tmp_path: Path) -> None:
    """The other files are deleted."""
    fill(tmp_path, {"a": b"1", "b": b"2"})
    moto_bucket.put_object("p/c", b"3")
    plan = moto_bucket.sync_to_folder("p", tmp_path, delete=True, dry_run=True)
    (tmp_path / "a").unlink()
    (tmp_path / "a").mkdir()
    with pytest.raises(S3BatchError) as caught:
        plan.apply()
    assert [failure.key for failure in caught.value.failures] == ["p/a"]
    assert not (tmp_path / "b").exists()


def test_no_prefix_is_the_whole_bucket(moto_bucket: S3Bucket, tmp_path: Path) -> None:
    """As an empty one."""
    fill(tmp_path, {"a": b"1"})
    plan = moto_bucket.sync_from_folder(tmp_path, None, dry_run=True)
    assert [(step.action, step.key) for step in plan.steps] == [("copy", "a")]


# -- what a sync must not miss, and must not delete -----------------------------------------------------------------------------------

MIB = 1024 * 1024


@pytest.mark.parametrize("part_size", [5 * MIB, 6 * MIB + 17, 11 * MIB])
def test_changed_file_of_the_same_size_and_an_older_time_is_copied_over_an_upload_in_parts(
    bucket: S3Bucket, tmp_path: Path, part_size: int
) -> None:
    """The ETag of a multipart object is computed from the file with the part size that the store returns, in both directions."""
    (tmp_path / "here").mkdir()
    path = tmp_path / "here" / "big"
    path.write_bytes(bytes(11 * MIB + 5))
    bucket.upload_file(path, "p/big", part_size_bytes=part_size)
    bucket.download_folder("p", tmp_path / "there")
    if part_size == 5 * MIB:
        assert not bucket.sync_from_folder(tmp_path / "here", "p", dry_run=True).copied
        assert not bucket.sync_to_folder("p", tmp_path / "there", dry_run=True).copied
    for folder in ("here", "there"):
        with (tmp_path / folder / "big").open("r+b") as file:
            file.seek(7 * MIB)
            file.write(b"changed")
    os.utime(path, (1e9, 1e9))
    assert [step.key for step in bucket.sync_to_folder("p", tmp_path / "there", dry_run=True).copied] == ["p/big"]
    assert [step.key for step in bucket.sync_from_folder(tmp_path / "here", "p").copied] == ["p/big"]
    assert bucket["p/big"].read_range(7 * MIB, 7 * MIB + 7) == b"changed"


def link_to_folder(folder: Path, elsewhere: Path) -> None:
    elsewhere.mkdir()
    (elsewhere / "x").write_bytes(b"1")
    (folder / "sub").symlink_to(elsewhere)


def link_to_nowhere(folder: Path, elsewhere: Path) -> None:
    (folder / "sub").symlink_to(elsewhere)


def pipe(folder: Path, elsewhere: Path) -> None:
    os.mkfifo(folder / "sub")


@pytest.mark.parametrize("lay", [link_to_folder, link_to_nowhere, pipe])
def test_sync_from_folder_does_not_delete_what_may_be_behind_a_link(
    moto_bucket: S3Bucket, tmp_path: Path, lay: Callable[[Path, Path], None]
) -> None:
    """Linked folders are not entered, so their files are unknown; other objects without a file are deleted."""
    folder = tmp_path / "folder"
    folder.mkdir()
    lay(folder, tmp_path / "elsewhere")
    moto_bucket.put_objects([("p/sub/x", b"1"), ("p/sub/deep/y", b"2"), ("p/sub2", b"3")])
    plan = moto_bucket.sync_from_folder(folder, "p", delete=True, exclude="sub", dry_run=True)
    assert [(step.action, step.key) for step in plan.steps] == [
        ("skip", "p/sub/deep/y"), ("skip", "p/sub/x"), ("delete", "p/sub2"),
    ]  # fmt: skip
    plan.apply()
    assert [obj.key for obj in moto_bucket.find()] == ["p/sub/deep/y", "p/sub/x"]


def test_apply_does_not_delete_an_object_that_was_written_since_the_plan(bucket: S3Bucket, tmp_path: Path) -> None:
    """The changed object is reported; the others are deleted, and one that was deleted already is not reported."""
    bucket.put_objects([("p/changed", b"1"), ("p/old", b"2"), ("p/gone", b"3")])
    plan = bucket.sync_from_folder(tmp_path, "p", delete=True, dry_run=True)
    bucket.put_object("p/changed", b"9")
    bucket["p/gone"].delete()
    with pytest.raises(S3BatchError, match="since the plan was made") as caught:
        plan.apply()
    assert [failure.key for failure in caught.value.failures] == ["p/changed"]
    assert isinstance(caught.value.failures[0].error, S3ObjectChanged)
    assert [(obj.key, obj.body) for obj in bucket.find()] == [("p/changed", b"9")]


def test_apply_does_not_delete_a_file_that_was_written_since_the_plan(moto_bucket: S3Bucket, tmp_path: Path) -> None:
    """Neither one of another size nor one of another time."""
    fill(tmp_path, {"longer": b"1", "newer": b"2", "old": b"3", "gone": b"4"})
    plan = moto_bucket.sync_to_folder("p", tmp_path, delete=True, dry_run=True)
    times = (tmp_path / "longer").stat()
    fill(tmp_path, {"longer": b"11", "newer": b"9"})
    os.utime(tmp_path / "longer", ns=(times.st_atime_ns, times.st_mtime_ns))
    os.utime(tmp_path / "newer", (2e9, 2e9))
    (tmp_path / "gone").unlink()
    with pytest.raises(S3BatchError, match="since the plan was made") as caught:
        plan.apply()
    assert [failure.key for failure in caught.value.failures] == ["p/longer", "p/newer"]
    assert tree(tmp_path) == {"longer": b"11", "newer": b"9"}


class _StrangeEtags:
    """A store in memory whose ETags look like MD5s but are not. HEAD returns the headers in ``told``."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, dict[str, str]]] = {}
        self.told: dict[str, str] = {}

    def __call__(self, asked: Asked) -> Answer:
        if "list-type" in asked.query:
            entry = "<Contents><Key>{}</Key><LastModified>2026-11-21T05:00:00Z</LastModified><ETag>{}</ETag><Size>{}</Size></Contents>"
            prefix = asked.query["prefix"]
            found = [
                entry.format(key, _etag(body), len(body))
                for key, (body, _) in sorted(self.objects.items())
                if key.startswith(prefix)
            ]
            return document("ListBucketResult", "".join(found) + "<IsTruncated>false</IsTruncated>")
        if asked.method == "PUT":
            kept = {name: value for name, value in asked.headers.items() if name.startswith("x-amz-meta-")}
            self.objects[asked.key] = asked.body, kept
            return 200, {"ETag": f'"{_etag(asked.body)}"'}, b""
        body, kept = self.objects[asked.key]
        status, headers, sent = content_of(asked, body, _etag(body)) or (0, {}, b"")
        return status, {**headers, **kept, **self.told}, sent


def _etag(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()[:32]


def test_sync_compares_recorded_md5s_if_etags_are_not_md5s(scripted_server: ScriptedServer, tmp_path: Path) -> None:
    """A sync records the MD5 of what it uploads, unseen by users, and compares it the next time; a download leaves the object's time."""
    scripted_server.answer = store = _StrangeEtags()
    bucket = scripted_server.bucket()
    here, there = tmp_path / "here", tmp_path / "there"
    fill(here, {f"{number}": b"content %d" % number for number in range(5)})
    bucket.put_object("teacher", b"x")
    for expected in (5, 0):
        assert len(bucket.sync_from_folder(here, "p").copied) == expected
    assert bucket.get_object("p/1").metadata == {}
    (here / "1").write_bytes(b"CONTENT 1")
    os.utime(here / "1", (1e9, 1e9))
    assert [step.key for step in bucket.sync_from_folder(here, "p").copied] == ["p/1"]
    assert store.objects["p/1"][0] == b"CONTENT 1"
    store.objects = {key: (body, {}) for key, (body, _) in store.objects.items()}  # nothing recorded
    for expected in (5, 0):
        assert len(bucket.sync_to_folder("p", there).copied) == expected
    (there / "2").write_bytes(b"CONTENT 2")
    assert [step.key for step in bucket.sync_to_folder("p", there).copied] == ["p/2"]
    assert (there / "2").read_bytes() == b"content 2"


CHECKSUMS: dict[str, Callable[[bytes], bytes]] = {
    "x-amz-checksum-sha256": lambda body: hashlib.sha256(body).digest(),
    "x-amz-checksum-sha1": lambda body: hashlib.sha1(body).digest(),
    "x-amz-checksum-crc32": lambda body: zlib.crc32(body).to_bytes(4, "big"),
}


@pytest.mark.parametrize(("header", "digest"), CHECKSUMS.items(), ids=CHECKSUMS)
@pytest.mark.parametrize("etag", ["kms", "parts"])
def test_sync_compares_checksums_if_etags_are_not_md5s(
    scripted_server: ScriptedServer, tmp_path: Path, header: str, digest: Callable[[bytes], bytes], etag: str
) -> None:
    """Equal is skipped whatever the times say, another is copied."""
    scripted_server.answer = store = _StrangeEtags()
    store.objects["p/k"] = b"content", {}
    store.told = {header: base64.b64encode(digest(b"content")).decode()}
    if etag == "kms":
        store.told["x-amz-server-side-encryption"] = "aws:kms"
    else:
        store.told["x-amz-checksum-type"] = "FULL_OBJECT"
    for body, actions in ((b"content", []), (b"CONTENT", ["p/k"])):
        for time in (1e9, 2e9):
            fill(tmp_path, {"k": body})
            os.utime(tmp_path / "k", (time, time))
            for plan in (
                scripted_server.bucket().sync_from_folder(tmp_path, "p", dry_run=True),
                scripted_server.bucket().sync_to_folder("p", tmp_path, dry_run=True),
            ):
                assert [step.key for step in plan.copied] == actions
