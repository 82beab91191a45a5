"""Sync and downloads to a folder: no byte is deleted, merged or overlooked that the plan did not see or could not compare."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from canned import Answer, Asked, Canned, content_of, document, refusal
from test_etags import Strange, md5, no_md5, weak

from messageflux_s3 import S3BatchError, S3Bucket, S3Error, S3InvalidName, S3ObjectChanged

MIB = 1024 * 1024


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder; links to folders are not followed."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def keys(bucket: S3Bucket) -> list[str]:
    return [obj.key for obj in bucket.find()]


def strong(body: bytes) -> str:
    return f'"{md5(body)}"'


# -- names with percent signs ---------------------------------------------------------------------------------------------------------


def test_sync_from_folder_keeps_objects_behind_a_linked_folder_with_an_escape_in_its_name(canned: Canned, tmp_path: Path) -> None:
    canned.answer = store = Strange(strong)
    bucket, folder = canned.bucket(), tmp_path / "folder"
    (folder / "My%20Docs").mkdir(parents=True)
    (folder / "My%20Docs" / "a.txt").write_bytes(b"a")
    bucket.sync_from_folder(folder, "p", delete=True)
    store.objects["p/My%20Docs/"] = b""
    (folder / "My%20Docs").rename(tmp_path / "elsewhere")
    (folder / "My%20Docs").symlink_to(tmp_path / "elsewhere")
    plan = bucket.sync_from_folder(folder, "p", delete=True)
    assert plan.deleted == []
    assert sorted(store.objects) == ["p/My%20Docs/", "p/My%20Docs/a.txt"]


def test_sync_up_and_down_again_leaves_file_names_with_escapes_as_they_are(canned: Canned, tmp_path: Path) -> None:
    canned.answer = Strange(strong)
    bucket = canned.bucket()
    (tmp_path / "My%20Docs").mkdir()
    (tmp_path / "My%20Docs" / "a.txt").write_bytes(b"a")
    bucket.sync_from_folder(tmp_path, "p")
    assert [step.action for step in bucket.sync_to_folder("p", tmp_path, delete=True).steps] == ["skip"]
    assert bucket.download_folder("p", tmp_path) == ["My%20Docs/a.txt"]
    assert tree(tmp_path) == {"My%20Docs/a.txt": b"a"}


# -- links inside the folder ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["b", "."])
def test_downloads_to_a_folder_follow_no_link_inside_it(canned: Canned, tmp_path: Path, target: str) -> None:
    """Two keys would fall on one file. The object behind the link is reported, the other arrives."""
    canned.answer = Strange(strong, {"p/a/x": b"AAAA", "p/b/x": b"BBBB", "p/x": b"CCCC"})
    bucket = canned.bucket()
    (tmp_path / "b").mkdir()
    (tmp_path / "a").symlink_to(target)
    for act in (
        lambda: bucket.download_folder("p", tmp_path),
        lambda: bucket.sync_to_folder("p", tmp_path, delete=True),
        lambda: bucket.sync_to_folder("p", tmp_path),
    ):
        with pytest.raises(S3BatchError, match="link") as caught:
            act()
        assert [failure.key for failure in caught.value.failures] == ["p/a/x"]
        assert (tmp_path / "b" / "x").read_bytes() == b"BBBB"
        assert (tmp_path / "x").read_bytes() == b"CCCC"


def test_loop_of_links_where_a_key_needs_a_folder_fails_for_that_key_alone(canned: Canned, tmp_path: Path) -> None:
    canned.answer = Strange(strong, {"p/a/x": b"1", "p/b": b"2"})
    (tmp_path / "a").symlink_to("a")
    with pytest.raises(S3BatchError) as caught:
        canned.bucket().download_folder("p", tmp_path)
    assert [failure.key for failure in caught.value.failures] == ["p/a/x"]
    assert (tmp_path / "b").read_bytes() == b"2"


# -- deletions --------------------------------------------------------------------------------------------------------------------------


def test_apply_keeps_an_object_whose_file_was_created_since_the_plan(canned: Canned, tmp_path: Path) -> None:
    canned.answer = store = Strange(strong, {"p/k": b"old", "p/My%20Docs/a": b"old", "p/gone": b""})
    (tmp_path / "other").write_bytes(b"x")
    plan = canned.bucket().sync_from_folder(tmp_path, "p", delete=True, dry_run=True)
    (tmp_path / "k").write_bytes(b"old")
    (tmp_path / "My%20Docs").mkdir()
    (tmp_path / "My%20Docs" / "a").write_bytes(b"old")
    with pytest.raises(S3BatchError, match="since the plan was made") as caught:
        plan.apply()
    assert sorted(failure.key for failure in caught.value.failures) == ["p/My%20Docs/a", "p/k"]
    assert all(isinstance(failure.error, S3ObjectChanged) for failure in caught.value.failures)
    assert sorted(store.objects) == ["p/My%20Docs/a", "p/k", "p/other"]


def test_apply_keeps_a_file_whose_object_was_created_since_the_plan(canned: Canned, tmp_path: Path) -> None:
    canned.answer = store = Strange(strong, {"p/o": b"o"})
    for name in ("k", "old"):
        (tmp_path / name).write_bytes(b"mine")
    plan = canned.bucket().sync_to_folder("p", tmp_path, delete=True, dry_run=True)
    store.objects["p/k"] = b"mine"
    with pytest.raises(S3BatchError, match="since the plan was made") as caught:
        plan.apply()
    assert [failure.key for failure in caught.value.failures] == ["p/k"]
    assert tree(tmp_path) == {"k": b"mine", "o": b"o"}


def replaced_by_link(path: Path) -> None:
    path.unlink()
    (path.parent.parent / "elsewhere").mkdir()
    path.symlink_to(path.parent.parent / "elsewhere")


def replaced_with_the_same_size_and_time(path: Path) -> None:
    times = path.stat()
    other = path.with_name("k.new")
    other.write_bytes(b"MINE")
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    other.replace(path)


def rewritten_with_the_same_size_and_time(path: Path) -> None:
    times = path.stat()
    path.write_bytes(b"MINE")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize("replace", [replaced_by_link, replaced_with_the_same_size_and_time, rewritten_with_the_same_size_and_time])
def test_apply_does_not_delete_a_file_that_was_replaced_since_the_plan(
    canned: Canned, tmp_path: Path, replace: Callable[[Path], None]
) -> None:
    canned.answer = Strange(strong, {"p/o": b"o"})
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "k").write_bytes(b"mine")
    plan = canned.bucket().sync_to_folder("p", folder, delete=True, dry_run=True)
    replace(folder / "k")
    with pytest.raises(S3BatchError, match="since the plan was made"):
        plan.apply()
    assert sorted(os.listdir(folder)) == ["k", "o"]


@pytest.mark.parametrize("name", ["x.mfs3-partial", ".x.mfs3-journal"])
def test_sync_from_folder_keeps_objects_named_like_our_unfinished_downloads(canned: Canned, tmp_path: Path, name: str) -> None:
    canned.answer = store = Strange(strong, {f"p/{name}": b"1"})
    (tmp_path / name).write_bytes(b"1")
    canned.bucket().sync_from_folder(tmp_path, "p", delete=True)
    assert sorted(store.objects) == [f"p/{name}"]
    canned.bucket().sync_to_folder("p", tmp_path, delete=True)
    assert (tmp_path / name).read_bytes() == b"1"


def test_batch_error_names_changed_objects_and_refused_deletions_alike(canned: Canned, tmp_path: Path) -> None:
    store = Strange(strong, {"p/a": b"a", "p/b": b"b", "p/c": b"c"})

    def answer(asked: Asked) -> Answer:
        if asked.method == "DELETE" and asked.key == "p/b":
            return refusal(403, "AccessDenied")
        if asked.method == "POST" and "delete" in asked.query:
            return refusal(501, "NotImplemented")
        return store(asked)

    canned.answer = answer
    plan = canned.bucket().sync_from_folder(tmp_path, "p", delete=True, dry_run=True)
    store.objects["p/c"] = b"changed"
    with pytest.raises(S3BatchError) as caught:
        plan.apply()
    assert sorted(failure.key for failure in caught.value.failures) == ["p/b", "p/c"]
    assert list(caught.value.succeeded) == ["p/a"]
    assert sorted(store.objects) == ["p/b", "p/c"]


def test_relative_folder_is_the_same_folder_after_a_change_of_directory(
    canned: Canned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    canned.answer = Strange(strong, {"p/k": b"new"})
    for place in ("one", "two"):
        (tmp_path / place / "f").mkdir(parents=True)
        (tmp_path / place / "f" / "old").write_bytes(b"old")
    monkeypatch.chdir(tmp_path / "one")
    plan = canned.bucket().sync_to_folder("p", "f", delete=True, dry_run=True)
    monkeypatch.chdir(tmp_path / "two")
    plan.apply()
    assert tree(tmp_path) == {"one/f/k": b"new", "two/f/old": b"old"}
