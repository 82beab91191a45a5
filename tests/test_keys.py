"""Names: validation, globs, and the mapping of keys to files, which stays inside the folder and is reversible."""

from __future__ import annotations

import ntpath
import os
import posixpath
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from messageflux_s3._formats.bucket_names import check_bucket_name
from messageflux_s3._formats.keys import (
    check_key,
    glob_to_pattern,
    globs_to_pattern,
    key_to_path,
    parse_uri,
    path_to_key,
    quote_key,
)
from messageflux_s3.errors import S3InvalidName

HOSTILE = [
    "/", "//", ".", "..", "../", "%", "%2F", "%2E", "%-", "\0", ":", "\\", "C:", "con", "NUL.txt", ".mfs3-journal", " ", "a", "é",
    "字" * 40,
]  # fmt: skip
KEYS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300),
    st.lists(st.sampled_from(HOSTILE), min_size=1, max_size=40).map("".join),
)


@pytest.mark.parametrize("key", ["k", "a" * 1024, "\u00fc" * 512, "a" * 257, "\u00fc", "..", "/", "\0"])
def test_valid_keys_are_returned_unchanged(key: str) -> None:
    """Every key of up to 1,024 bytes is returned unchanged."""
    assert check_key(key, bucket="b") is key


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("", "key is empty"),
        ("a" * 1025, "takes 1025 bytes .* at most 1024: '" + "a" * 40 + "'…$"),
        ("\u00fc" * 513, "takes 1026 bytes"),
        ("\ud800", "UTF-8"),
    ],
)
def test_invalid_keys_raise(key: str, said: str) -> None:
    """The error says why, and has bucket and key."""
    with pytest.raises(S3InvalidName, match=said) as caught:
        check_key(key, bucket="b")
    assert (caught.value.bucket, caught.value.key) == ("b", key)


def test_a_subclass_of_str_is_accepted_as_a_key() -> None:
    """Subclasses of str, such as members of an enumeration, are checked too."""

    class Text(str):
        __slots__ = ()

    assert check_key(Text("k")) == "k"
    with pytest.raises(S3InvalidName):
        check_key(Text(""))


def test_keys_of_another_type_raise() -> None:
    """The error names the argument and what it got."""
    with pytest.raises(TypeError, match="bucket_name must be text, not int"):
        check_bucket_name(7)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="key must be text, not bytes"):
        check_key(b"k")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"uri must be text .* not int"):
        parse_uri(7)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="glob must be text, not int"):
        glob_to_pattern(7)  # type: ignore[arg-type]


def test_a_key_is_quoted_as_the_signature_requires() -> None:
    """Slashes stay, ``+`` and blanks do not."""
    assert quote_key("a/b c+d~e-f_g.h\u00fc%") == "a/b%20c%2Bd~e-f_g.h%C3%BC%25"


@pytest.mark.parametrize("key", ["k", "a/b", "/lead", "a//b", "x?y#z", "s3://other/k"])
def test_a_uri_is_split_at_its_first_slash(key: str) -> None:
    """What follows is the key, whatever it is."""
    assert parse_uri(f"s3://bucket/{key}") == ("bucket", key)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "s3",
        "bucket/k",
        "s3:/bucket/k",
        "s3://bucket",
        "s3://bucket/",
        "s3:///k",
        "s4://bucket/k",
        "s2://bucket/k",
        "s3://B/k",
    ],
)
def test_an_invalid_uri_raises(uri: str) -> None:
    """Another scheme, or a missing bucket or key, raises."""
    with pytest.raises(S3InvalidName):
        parse_uri(uri)


@pytest.mark.parametrize(
    ("glob", "stem", "matching", "others"),
    [
        ("a.json", "a.json", ["a.json"], ["a-json", "a.json5", "b/a.json"]),
        ("a/*.json", "a/", ["a/b.json", "a/.json", "a/b\n.json"], ["a/b/c.json", "a/b-json", "x/a/b.json"]),
        ("a?c", "a", ["abc", "a.c"], ["a/c", "ac", "abbc"]),
        ("**", "", ["a", "a/b", "/", "a\nb"], []),
        ("**/x", "", ["x", "a/x", "a/b/x", "/x"], ["ax", "a/bx"]),
        ("a/**/x", "a/", ["a/x", "a/b/x", "a/b/c/x"], ["ax", "a/bx", "b/a/x"]),
        ("a-**/x", "a-", ["a-b/x", "a-/x"], ["a-x"]),
        ("A1]", "A1]", ["A1]"], ["1", "A1"]),
        ("a**/x", "a", ["ab/x", "a/b/x", "a/x"], ["ax", "x"]),
        ("a/**", "a/", ["a/", "a/b", "a/b/c"], ["a", "ab"]),
        ("**.csv", "", ["a.csv", "a/b.csv"], ["csv"]),
        ("[abc]x", "", ["ax", "cx"], ["dx", "x", "[abc]x"]),
        ("a[!bc]x", "a", ["adx", "a!x"], ["abx", "a/x", "ax"]),
        ("a[b-d]", "a", ["ab", "ac", "ad"], ["ae", "a-", "a"]),
        ("a[.-9]b", "a", ["a.b", "a0b"], ["a/b"]),
        ("[*]", "", ["*"], ["a", "[*]"]),
        ("[?]?", "", ["?a"], ["aa"]),
        ("a[]b]", "a", ["a]", "ab"], ["a", "a[]b]"]),
        ("a[!]b]", "a", ["ac", "a!"], ["a]", "ab", "a"]),
        ("a[b", "a", ["a[b"], ["ab"]),
        ("a[", "a", ["a["], ["a"]),
        ("a[!]", "a", ["a[!]"], ["a]", "ab"]),
        ("[]", "", ["[]"], ["]"]),
        ("[[]x", "", ["[x"], ["x"]),
        ("[a^]", "", ["a", "^"], ["b"]),
        ("[^a]", "", ["a", "^"], ["b"]),
        ("[a\\d]", "", ["a", "\\", "d"], ["7"]),
        ("[&&||~~]x", "", ["&x", "|x", "~x"], ["x"]),
        ("a+b(c)", "a+b(c)", ["a+b(c)"], ["aab(c)", "a+bc"]),
    ],
)
def test_globs_match_whole_keys(glob: str, stem: str, matching: list[str], others: list[str]) -> None:
    """A glob matches the whole key; the part before its first wildcard is the prefix for the listing."""
    found, pattern = glob_to_pattern(glob)
    assert (found, [key for key in [*matching, *others] if pattern.fullmatch(key)]) == (stem, matching)


@pytest.mark.parametrize(
    ("globs", "prefix", "stem", "matching", "others"),
    [
        (["a/*.json"], "", "a/", ["a/b.json"], ["a/b.csv"]),
        (["a/*.json", "a/*.csv"], "", "a/", ["a/b.json", "a/b.csv"], ["a/b/c.csv", "xa/b.csv", "a/b.csvx"]),
        (["ab*", "ac*"], "", "a", ["ab", "acx"], ["a", "ad"]),
        (["a", "abc"], "", "a", ["a", "abc"], ["ab", "b"]),
        (["x", "y"], "", "", ["x", "y"], ["xy", ""]),
        (["a/b*", "c*"], "a/", "a/b", ["a/bc"], ["c"]),
        (["a*", "**/x"], "a/b/", "a/b/", ["ax", "a/b/x"], ["b"]),
        (["a|b", "c"], "", "", ["a|b", "c"], ["a", "b"]),
    ],
)
def test_several_globs_match_keys_that_any_of_them_matches(
    globs: list[str], prefix: str, stem: str, matching: list[str], others: list[str]
) -> None:
    """The prefix is what their literal beginnings share. A glob that no key with the prefix can match does not count."""
    found = globs_to_pattern(globs, prefix)
    assert found is not None
    assert (found[0], [key for key in [*matching, *others] if found[1].fullmatch(key)]) == (stem, matching)


def test_no_pattern_is_made_if_no_glob_can_match_the_prefix() -> None:
    assert globs_to_pattern(["a*", "b*"], "c/") is None


def test_invalid_globs_raise() -> None:
    """An empty glob, and a range in descending order, raise."""
    with pytest.raises(ValueError, match="glob is empty"):
        glob_to_pattern("")
    with pytest.raises(ValueError, match=r"glob '\[z-a\]' is not valid"):
        glob_to_pattern("[z-a]")


# -- keys as files ------------------------------------------------------------------------------------------------------------------


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
def test_every_key_is_recovered_from_its_path(key: str, windows: bool) -> None:
    """The mapping is reversible, so no two keys have the same path."""
    assert path_to_key(key_to_path(key, windows=windows), windows=windows) == key


@given(KEYS)
def test_every_path_stays_inside_its_folder(key: str) -> None:
    """Every path stays inside the folder, and consists of valid file names."""
    path = key_to_path(key, windows=False)
    assert not path.startswith("/")
    for name in path.split("/"):
        assert name not in ("", ".", "..")
        assert "\0" not in name
        assert len(name.encode()) <= 255
    assert posixpath.normpath(posixpath.join("/folder", path)) == f"/folder/{path}"


@given(KEYS)
def test_every_path_stays_inside_its_folder_on_windows(key: str) -> None:
    """No drive, no backslash, no device, no trailing dot or blank, which Windows would drop."""
    path = key_to_path(key, windows=True)
    assert ntpath.splitdrive(path)[0] == ""
    for name in path.split("/"):
        assert name
        assert not set(name) & set('\\:*?"<>|\0')
        assert not name.endswith((".", " "))
        assert name.split(".")[0].rstrip(" ").lower() not in ("con", "prn", "aux", "nul", "com1", "lpt9")


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_a_path_is_mapped_to_its_key_or_used_as_the_key(path: str) -> None:
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
        ("100%", "100%"),
        ("%-", "%25-"),
        ("a" * 250, "a" * 250),
        ("a" * 255, "a" * 255),
        ("a" * 256, "a" * 247 + "%-/" + "a" * 9),
        ("a" * 600, "a" * 247 + "%-/" + "a" * 247 + "%-/" + "a" * 106),
        ("字" * 86, "字" * 82 + "%-/" + "字" * 4),
    ],
)
def test_ordinary_keys_are_their_own_paths_and_escapes_are_stable(key: str, path: str) -> None:
    """Ordinary keys are their own path; the escapes of other keys must never change."""
    assert key_to_path(key, windows=False) == path


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("C:/x", "C%3A/x"),
        ("a\\b", "a%5Cb"),
        ("con", "%63on"),
        ("aux.txt", "%61ux.txt"),
        ("dot.", "dot%2E"),
        ("..", "%2E%2E"),
        ("a\0b\x01c\x1fd e!", "a%00b%01c%1Fd e!"),
    ],
)
def test_drives_and_device_names_are_escaped_on_windows(key: str, path: str) -> None:
    """On Windows, drives, folders and device names are escaped."""
    assert key_to_path(key, windows=True) == path


def test_an_error_for_a_presigned_url_does_not_contain_its_query() -> None:
    """The error for a presigned URL, passed by mistake, does not contain its query."""
    link = "https://host/bucket/key?X-Amz-Signature=hush"
    for parse in (parse_uri, check_bucket_name):
        with pytest.raises(S3InvalidName, match="host/bucket/key") as caught:
            parse(link)
        assert "hush" not in f"{caught.value!r} {vars(caught.value)}"
    for whole in ("what?is", "https://host/bucket/key"):
        for parse in (parse_uri, check_bucket_name):
            with pytest.raises(S3InvalidName, match=re.escape(repr(whole))):
                parse(whole)


@pytest.mark.parametrize("path", ["x%2Fy", "%24", "%61", "%-/", "a%-/b", "a//b", "%2f"])
def test_a_path_that_no_key_maps_to_is_not_unescaped(path: str) -> None:
    """A path that no key is mapped to is not unescaped."""
    assert path_to_key(path, windows=False) == path


def test_paths_follow_the_current_platform_by_default() -> None:
    """A backslash is an ordinary character except on Windows."""
    is_windows = os.name == "nt"
    assert key_to_path("a\\b") == ("a%5Cb" if is_windows else "a\\b")
    assert path_to_key("a%5Cb") == ("a\\b" if is_windows else "a%5Cb")


def test_an_empty_key_raises() -> None:
    """An empty key raises."""
    with pytest.raises(S3InvalidName, match="empty"):
        key_to_path("")
