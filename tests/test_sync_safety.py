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
