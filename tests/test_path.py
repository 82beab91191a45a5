"""S3Path: what is named as in pathlib works as there, and a key stays as it is."""

from __future__ import annotations

import asyncio
import os
import pickle
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from support.request_counting import Counted

import messageflux_s3 as s3
from messageflux_s3 import AsyncS3Store, S3Bucket, S3InvalidContent, S3InvalidName, S3NoSuchItem, S3Path

NAMES = ("name", "stem", "suffix", "suffixes")
KEYS = ("a.txt", "deep/b.txt", "deep/er/c.csv.gz", "deep/er/.hidden", "deeper.txt", "marker/", "marker/x")


@pytest.fixture
def offline() -> S3Bucket:
    """A bucket that is never asked."""
    return s3.connect("http://127.0.0.1:9", access_key="key", secret_key="hush", region="us-east-1").bucket("bkt")


@pytest.fixture
def tree(bucket: S3Bucket, request: pytest.FixtureRequest) -> S3Bucket:
    """A bucket with :data:`KEYS`; rclone cannot keep the marker of a folder."""
    bucket.put_objects(
        (key, key.encode()) for key in KEYS if "rclone" not in request.node.name or not key.endswith("/")
    )
    return bucket


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The same tree on the disk."""
    for key in KEYS:
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        if not key.endswith("/"):
            (tmp_path / key).write_bytes(key.encode())
        else:
            (tmp_path / key).mkdir(exist_ok=True)
    return tmp_path


def keys(paths: Any) -> list[str]:
    return sorted(path.key for path in paths)


# -- names


@pytest.mark.parametrize("key", ["a.txt", "a/b.tar.gz", "a/.hidden", "a/b", "a/b.", "x/y.z/w", "a/b/"])
def test_names_are_those_of_pathlib(offline: S3Bucket, key: str) -> None:
    path, pure = offline.path(key), PurePosixPath(key)
    assert {name: getattr(path, name) for name in NAMES} == {name: getattr(pure, name) for name in NAMES}
    assert path.parts == pure.parts
    assert [parent.key or "." for parent in path.parents] == [str(parent) for parent in pure.parents]
    assert (path.parent.key or ".") == str(pure.parent)


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path / "x",
        lambda path: path / "x/y",
        lambda path: path / "./x",
        lambda path: path / ".",
        lambda path: path.joinpath("x", "y"),
        lambda path: path.joinpath(),
        lambda path: path.with_name("x.y"),
        lambda path: path.with_stem("x"),
        lambda path: path.with_suffix(".x"),
        lambda path: path.with_suffix(""),
    ],
)
@pytest.mark.parametrize("key", ["a.txt", "a/b.tar.gz", "a/b"])
def test_changed_names_are_those_of_pathlib(offline: S3Bucket, key: str, change: Callable[[Any], Any]) -> None:
    assert change(offline.path(key)).key == str(change(PurePosixPath(key)))


@pytest.mark.parametrize("key", ["a//b", "a/", "//", "a/./b", "a/../b", " a", "ä/ö"])
def test_a_key_is_kept_as_it_is(offline: S3Bucket, key: str) -> None:
    assert offline[key].path.key == offline.path(key).object.key == key


def test_the_root_is_the_bucket(offline: S3Bucket) -> None:
    root = offline.path()
    assert (root.key, root.name, root.parts, root.parents, root.parent) == ("", "", (), (), root)
    assert (root.uri, str(root / "a"), root / "a") == ("s3://bkt/", "s3://bkt/a", offline.path("a"))
    for use in (lambda: root.object, lambda: root.with_name("a"), lambda: root.with_suffix(".a"), root.read_bytes):
        with pytest.raises(ValueError, match="root of a bucket"):
            use()


@pytest.mark.parametrize(
    ("segment", "error"),
    [("/a", ValueError), ("../a", ValueError), ("a/..", ValueError), (1, TypeError), (b"a", TypeError)],
)
def test_segments_that_have_no_meaning_are_rejected(offline: S3Bucket, segment: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        offline.path("x") / segment
    with pytest.raises(error):
        offline.path("x").joinpath(segment)


@pytest.mark.parametrize("name", ["", "a/b", ".", ".."])
def test_a_name_is_one_part(offline: S3Bucket, name: str) -> None:
    with pytest.raises(ValueError, match="not a name"):
        offline.path("x").with_name(name)


def test_a_folder_with_a_slash_at_its_end_has_the_same_children(offline: S3Bucket) -> None:
    assert offline.path("a/") / "b" == offline.path("a") / "b"


def test_relative_paths(offline: S3Bucket) -> None:
    path = offline.path("a/b/c.txt")
    assert path.relative_to(offline.path("a")) == PurePosixPath("b/c.txt")
    assert path.relative_to(offline.path()) == PurePosixPath("a/b/c.txt")
    assert path.is_relative_to(offline.path("a/b"))
    assert not offline.path("ab").is_relative_to(offline.path("a"))
    for other in (offline.path("b"), offline.store.bucket("other").path("a")):
        with pytest.raises(ValueError, match="not below"):
            path.relative_to(other)


@pytest.mark.parametrize(
    ("key", "other"), [("a/x/../../b", "a"), ("a/./b", "a"), ("a//b", "a"), ("/b", ""), ("a/b//", "a"), ("a/..", "a")]
)
def test_a_key_that_is_no_relative_path_is_not_made_one(offline: S3Bucket, key: str, other: str) -> None:
    """Two keys would have the same relative path, or a local path would lead out of its folder."""
    with pytest.raises(ValueError, match="not a relative path"):
        offline.path(key).relative_to(offline.path(other))


def test_an_empty_name_is_a_folder_of_its_own(offline: S3Bucket) -> None:
    assert not offline.path("a//b").is_relative_to(offline.path("a/b"))
    assert offline.path("a//b").relative_to(offline.path("a//")) == PurePosixPath("b")
    assert offline.path("a//b.txt").with_suffix(".x").key == "a//b.x"
    assert offline.path("/b").with_name("c").key == "/c"
    assert offline.path("a/b/").with_name("c").key == "a/c"
    with pytest.raises(ValueError, match="has no name"):
        offline.path("//").with_name("c")
    with pytest.raises(ValueError, match="empty name"):
        offline.path() / ".//a"


def test_a_relative_path_is_joined_to_another_folder(offline: S3Bucket) -> None:
    relative = offline.path("a/b/c.txt").relative_to(offline.path("a"))
    assert (offline.path("z") / relative).key == "z/b/c.txt"
    with pytest.raises(ValueError, match="begins with a slash"):
        offline.path("z") / PurePosixPath("/etc")


def test_a_path_is_made_of_a_bucket_and_gives_keys(offline: S3Bucket) -> None:
    wrong: Any = AsyncS3Store(offline.store).bucket("bkt")
    with pytest.raises(TypeError, match="must be an S3Bucket, not AsyncS3Bucket"):
        S3Path(wrong, "a")
    path: Any = offline.path("a")
    with pytest.raises(TypeError, match="pass its attribute key"):
        offline.object(path)


def test_async_paths_are_ordered_and_joined_as_paths_are(offline: S3Bucket) -> None:
    folder = AsyncS3Store(offline.store).bucket("bkt").path("a")
    relative = (folder / "b/c").relative_to(folder)
    assert (folder / "z" / relative).key == "a/z/b/c"
    assert folder <= folder / "b" > folder
    assert sorted([folder / "c", folder / "b"]) == [folder / "b", folder / "c"]


def test_an_object_and_a_folder_of_the_same_name_are_one_path(moto_bucket: S3Bucket) -> None:
    for key in ("a", "a-b", "a/x", "a/x/y", "b/y"):
        moto_bucket.put_object(key, "1")
    root = moto_bucket.path()
    assert [path.key for path in root.iterdir()] == ["a", "a-b", "b"]
    assert [path.key for path in root.glob("*")] == ["a", "a-b", "b"]
    assert [path.key for path in root.rglob("*")] == ["a", "a-b", "a/x", "a/x/y", "b", "b/y"]


def test_equality_order_hash_and_pickles(offline: S3Bucket) -> None:
    path = offline.path("a/b")
    assert path == offline.path("a") / "b" != offline.path("a/c")
    assert path != offline.store.bucket("other").path("a/b")
    assert path != "s3://bkt/a/b"
    assert {path, offline.path("a/b")} == {path}
    assert sorted([offline.path("b"), path]) == [path, offline.path("b")]
    assert pickle.loads(pickle.dumps(path)).uri == path.uri
    assert repr(path) == "S3Path('s3://bkt/a/b')"


def test_a_path_is_not_a_local_file(offline: S3Bucket) -> None:
    for use in (os.fspath, open):
        with pytest.raises(TypeError, match=r"s3://bkt/a is not a local file: open it with path\.open"):
            use(offline.path("a"))  # type: ignore[operator]
    with pytest.raises(TypeError):  # from Python 3.12 on with a text of pathlib's own
        Path(offline.path("a"))  # type: ignore[arg-type]


def test_only_paths_have_the_operator(offline: S3Bucket) -> None:
    for handle in (offline, offline["a"]):
        with pytest.raises(TypeError):
            handle / "b"  # type: ignore[operator]


def test_wrong_arguments_are_rejected(offline: S3Bucket) -> None:
    with pytest.raises(TypeError, match="key must be text"):
        offline.path(b"a")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="bucket must be an S3Bucket"):
        S3Path("bkt", "a")  # type: ignore[arg-type]
    with pytest.raises(S3InvalidName):
        offline.path("a" * 2000)
    with pytest.raises(ValueError, match="relative"):
        offline.path("a").glob("/b")
    with pytest.raises(ValueError, match="empty"):
        offline.path("a").glob("")


# -- what exists


@pytest.mark.parametrize("key", ["a.txt", "deep", "deep/er", "deep/none", "marker"])
def test_existence_is_that_of_pathlib(tree: S3Bucket, folder: Path, key: str) -> None:
    path, local = tree.path(key), folder / key
    assert (path.exists(), path.is_file(), path.is_dir()) == (local.exists(), local.is_file(), local.is_dir())


def test_iterdir_is_that_of_pathlib(tree: S3Bucket, folder: Path) -> None:
    for key in ("", "deep", "deep/er", "marker"):
        wanted = sorted(path.relative_to(folder).as_posix() for path in (folder / key).iterdir())
        assert keys(tree.path(key).iterdir()) == wanted
    with pytest.raises(FileNotFoundError):
        [*tree.path("none").iterdir()]
    assert tree.path().exists()


def test_iterdir_of_a_folder_with_nothing_but_empty_names_is_empty(moto_bucket: S3Bucket) -> None:
    """The folder exists, also by is_dir()."""
    moto_bucket.put_object("a//b", "1")
    path = moto_bucket.path("a")
    assert path.is_dir()
    assert [*path.iterdir()] == [*path.glob("*")] == []


@pytest.mark.parametrize(
    ("key", "pattern"),
    [
        ("", "*"), ("", "*.txt"), ("", "deep*"), ("", "?.txt"), ("", "[ad]*.txt"), ("", "**/*.txt"), ("", "**/*"), ("", "deep/*"),
        ("", "*/*"), ("deep", "*"), ("deep", "**/*.gz"), ("deep", "er/*.gz"), ("", "a.txt"), ("", "none*"), ("none", "*"), ("", "*/er"),
    ],
)  # fmt: skip
def test_glob_is_that_of_pathlib(tree: S3Bucket, folder: Path, key: str, pattern: str) -> None:
    wanted = sorted(path.relative_to(folder).as_posix() for path in (folder / key).glob(pattern))
    assert keys(tree.path(key).glob(pattern)) == wanted
    assert keys(tree.path(key).rglob(pattern)) == sorted(
        {path.relative_to(folder).as_posix() for path in (folder / key).rglob(pattern)}
    )


def test_a_flat_glob_lists_one_level_only(counted: Counted) -> None:
    counted.bucket.put_objects((f"in/deep/{number}", b"x") for number in range(5))
    with counted.recording() as seen:
        assert keys(counted.bucket.path("in").glob("d*")) == ["in/deep"]
    [request] = seen
    assert "delimiter=%2F" in request.query
    assert "prefix=in%2Fd" in request.query


# -- content


def test_content_is_written_and_read(bucket: S3Bucket, tmp_path: Path) -> None:
    path, local = bucket.path("a/b.txt"), tmp_path / "b.txt"
    for each in (path, local):
        assert each.write_bytes(b"one") == 3
        assert each.read_bytes() == b"one"
        assert each.write_text("zwölf") == 5
        assert (each.read_text(encoding="utf-8"), each.read_bytes()) == ("zwölf", "zwölf".encode())
        assert each.write_text("ä\nö", encoding="latin-1", newline="\r\n") == 3
        assert (each.read_bytes(), each.read_text(encoding="latin-1")) == (b"\xe4\r\n\xf6", "ä\nö")
        assert each.read_text(encoding="ascii", errors="replace") == "\ufffd\n\ufffd"
        with pytest.raises(ValueError, match="utf-8"):
            each.read_text(encoding="utf-8")
        for wrong in (lambda each=each: each.write_bytes("text"), lambda each=each: each.write_text(b"bytes")):
            with pytest.raises(TypeError):
                wrong()
    assert path.read_text(encoding="latin-1", newline="") == "ä\r\nö"
    with pytest.raises(S3InvalidContent):
        path.read_text()


def test_open_is_text_by_default(bucket: S3Bucket) -> None:
    path = bucket.path("a.txt")
    with path.open("w") as file:
        file.write("one\ntwo\n")
    with path.open() as file:
        assert [*file] == ["one\n", "two\n"]
    with path.open("rb") as file:
        assert file.read() == b"one\ntwo\n"


def test_a_missing_object_is_a_file_not_found(bucket: S3Bucket) -> None:
    path = bucket.path("none")
    for use in (path.read_bytes, path.read_text, path.open, path.unlink):
        with pytest.raises(FileNotFoundError):
            use()
    path.unlink(missing_ok=True)


def test_unlink_deletes_the_object(bucket: S3Bucket) -> None:
    path = bucket.path("a")
    path.write_bytes(b"x")
    path.unlink()
    assert not path.exists()
    with pytest.raises(S3NoSuchItem):
        path.read_bytes()


def test_a_path_caches_nothing(counted: Counted) -> None:
    path = counted.bucket.path("a")
    with counted.recording() as seen:
        path.write_bytes(b"one")
        assert path.read_bytes() == b"one"
        path.write_bytes(b"two")
        assert path.read_bytes() == b"two"
    assert [request.method for request in seen] == ["PUT", "GET", "PUT", "GET"]


def test_async_paths(moto_bucket: S3Bucket) -> None:
    async def use() -> list[Any]:
        async with AsyncS3Store(moto_bucket.store) as store:
            folder = store.bucket(moto_bucket.name).path("in")
            path = folder / "a.txt"
            await path.write_text("one")
            async with path.with_name("b.txt").open("w") as file:
                await file.write("two")
            found = [await each.read_text() async for each in folder.glob("*.txt")]
            names = [each.name async for each in folder.iterdir()]
            assert (repr(path), str(path)) == (f"Async{moto_bucket.path('in/a.txt')!r}", path.uri)
            assert pickle.loads(pickle.dumps(path)).key == "in/a.txt"
            assert path < folder / "b.txt"
            assert path.relative_to(folder) == PurePosixPath("a.txt")
            with pytest.raises(TypeError, match="not a local file"):
                os.fspath(path)
            await path.unlink()
            return [found, names, await path.exists(), await folder.is_dir()]

    assert asyncio.run(use()) == [["one", "two"], ["a.txt", "b.txt"], False, True]
