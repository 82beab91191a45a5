"""Names: keys as files. Whatever a key is called, its file is inside the folder, and tells the key."""

from __future__ import annotations

import ntpath
import posixpath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from messageflux_s3.errors import S3InvalidName
from messageflux_s3.keys import check_bucket_name, key_to_path, parse_uri, path_to_key

HOSTILE = [
    "/", "//", ".", "..", "../", "%", "%2F", "%2E", "%-", "\0", ":", "\\", "C:", "con", "NUL.txt", ".mfs3-journal", " ", "a", "é",
    "字" * 40,
]  # fmt: skip
KEYS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300),
    st.lists(st.sampled_from(HOSTILE), min_size=1, max_size=40).map("".join),
)


@given(KEYS, st.booleans())
@example("a" * 255 + "/b", False)
@example("a" * 256 + "%-", False)
@example("a" * 246 + ".", False)
@example("x%-/y", False)
@example(".k.mfs3-partial", False)
@example("a" * 230 + ".MFS3-JOURNAL" + "b" * 20, True)
@example("aux.txt. ", True)
@example("a" * 243 + "%2F" + "b" * 20, False)
@example("a" * 242 + "%2F" + "b" * 20, False)
def test_every_key_comes_back_from_its_path(key: str, windows: bool) -> None:
    """The mapping is reversible: no key is lost, and so no two keys share a path."""
    assert path_to_key(key_to_path(key, windows=windows), windows=windows) == key


@given(KEYS)
def test_no_path_leaves_its_folder(key: str) -> None:
    """Joined to a folder, every path is under it, and every name in it is one that a file system takes."""
    path = key_to_path(key, windows=False)
    assert not path.startswith("/")
    for name in path.split("/"):
        assert name not in ("", ".", "..")
        assert "\0" not in name
        assert len(name.encode()) <= 255
    assert posixpath.normpath(posixpath.join("/folder", path)) == f"/folder/{path}"


@given(KEYS)
def test_no_path_leaves_its_folder_on_windows(key: str) -> None:
    """No drive, no backslash, no device, no trailing dot or blank, which Windows would drop."""
    path = key_to_path(key, windows=True)
    assert ntpath.splitdrive(path)[0] == ""
    for name in path.split("/"):
        assert name
        assert not set(name) & set('\\:*?"<>|\0')
        assert not name.endswith((".", " "))
        assert name.split(".")[0].rstrip(" ").lower() not in ("con", "prn", "aux", "nul", "com1", "lpt9")


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_a_path_of_somebody_else_is_taken_as_it_stands(path: str) -> None:
    """A path is either that of the key it is turned into, or is itself the key."""
    key = path_to_key(path, windows=False)
    assert key == path or key_to_path(key, windows=False) == path


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("2026/11/a.json", "2026/11/a.json"),
        ("12:30 100%.txt", "12:30 100%.txt"),
        ("../../etc/passwd", "%2E./%2E./etc/passwd"),
        ("/lead", "%2Flead"),
        ("a//b", "a/%2Fb"),
        ("a///b", "a/%2F/b"),
        ("trail/", "trail%2F"),
        ("/", "%2F"),
        ("nul\0", "nul%00"),
        ("100%25", "100%2525"),
        ("a/.b.mfs3-journal", "a/.b.mfs3-journa%6C"),
    ],
)
def test_paths_of_particular_keys(key: str, path: str) -> None:
    """Ordinary keys are their own path; the escapes of the others are these, for ever."""
    assert key_to_path(key, windows=False) == path


@pytest.mark.parametrize(
    ("key", "path"),
    [("C:/x", "C%3A/x"), ("a\\b", "a%5Cb"), ("con", "%63on"), ("aux.txt", "%61ux.txt"), ("dot.", "dot%2E"), ("..", "%2E%2E")],
)
def test_paths_of_particular_keys_on_windows(key: str, path: str) -> None:
    """What Windows would take for a drive, a folder or a device is escaped there."""
    assert key_to_path(key, windows=True) == path


def test_no_signature_is_shown_where_a_link_is_taken_for_a_name() -> None:
    """A presigned link given by mistake is shown without its query, and not kept with it either."""
    link = "https://host/bucket/key?X-Amz-Signature=hush"
    for door in (parse_uri, check_bucket_name):
        with pytest.raises(S3InvalidName, match="host/bucket/key") as caught:
            door(link)
        assert "hush" not in f"{caught.value!r} {vars(caught.value)}"


def test_an_empty_key_has_no_path() -> None:
    """There is no such object."""
    with pytest.raises(S3InvalidName, match="empty"):
        key_to_path("")
