"""S3Path: a key as a path, with the names of ``pathlib`` and the operator ``/``."""

from __future__ import annotations

import builtins
import io
import re
from collections.abc import Iterable, Iterator
from functools import total_ordering
from itertools import chain
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING, Any, NoReturn

from ._formats.keys import check_key, glob_to_pattern
from .errors import S3InvalidContent, S3NoSuchItem

if TYPE_CHECKING:
    from .bucket import S3Bucket
    from .object import S3Object


@total_ordering
class S3Path:
    """A key of a bucket as a path; made by ``bucket.path("a/b")`` and ``obj.path``. Names taken from ``pathlib`` work as they do there.

    A path is only a name: it caches nothing, and no object needs to have it. S3 has no folders: a folder exists as long as a key begins
    with the folder's name and a slash. The key is not normalized: ``"a//b"`` and ``"a/"`` are keys of their own.

    Args:
        bucket: The bucket.
        key: The key; empty for the root, which stands for the bucket itself.

    Raises:
        TypeError: An argument is of the wrong type.
        S3InvalidName: The key is not a valid S3 key.

    Requests:
        none

    Example:
        >>> folder = bucket.path("reports")
        >>> path = folder / "2026" / "total.csv"
        >>> path.write_text("erp,7\\n")
        6
        >>> path.name, path.stem, path.suffix, path.parent == folder / "2026"
        ('total.csv', 'total', '.csv', True)
        >>> [found.key for found in folder.glob("**/*.csv")]
        ['reports/2026/total.csv']
    """

    __slots__ = ("_bucket", "_key")

    _bucket: S3Bucket
    _key: str

    def __init__(self, bucket: S3Bucket, key: str = "") -> None:
        if not (
            hasattr(bucket, "compute_url") and hasattr(bucket, "_connection")
        ):  # AsyncS3Bucket has only compute_url
            raise TypeError(f"bucket must be an S3Bucket, not {type(bucket).__name__}: bucket.path(key) makes a path")
        if not isinstance(key, str):
            raise TypeError(f"key must be text, not {type(key).__name__}")
        self._bucket = bucket
        self._key = check_key(key, bucket=bucket.name) if key else ""

    # -- names: no request --------------------------------------------------------------------------------------------------------

    @property
    def bucket(self) -> S3Bucket:
        """The bucket's handle. Requests: none."""
        return self._bucket

    @property
    def key(self) -> str:
        """The key; empty for the root. Requests: none."""
        return self._key

    @property
    def object(self) -> S3Object:
        """A new handle for the object with this key, for what a path does not offer: metadata, tags, copies, links …

        Raises:
            ValueError: This is the root of the bucket.

        Requests:
            none
        """
        if not self._key:
            raise ValueError(f"{self.uri} is the root of a bucket, not an object")
        return self._bucket.object(self._key)

    @property
    def uri(self) -> str:
        """``s3://bucket/key``, not percent-encoded. Requests: none."""
        return f"{self._bucket.uri}/{self._key}"

    @property
    def name(self) -> str:
        """The last part of the key; empty for the root. Requests: none."""
        return self._key.rstrip("/").rpartition("/")[2]

    @property
    def stem(self) -> str:
        """The name without its suffix. Requests: none."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """The last suffix of the name, such as ``".gz"``; empty if it has none. Requests: none."""
        return PurePosixPath(self.name).suffix

    @property
    def suffixes(self) -> list[str]:
        """All suffixes of the name, such as ``[".csv", ".gz"]``. Requests: none."""
        return PurePosixPath(self.name).suffixes

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of the key between its slashes. Requests: none."""
        return tuple(part for part in self._key.split("/") if part)

    @property
    def parent(self) -> S3Path:
        """The folder of this path; the root is its own parent. Requests: none."""
        return self._with_key(self._key.rstrip("/").rpartition("/")[0])

    @property
    def parents(self) -> tuple[S3Path, ...]:
        """The folders of this path, the nearest first and the root last. Requests: none."""
        found: list[S3Path] = []
        path = self
        while path._key:
            path = path.parent
            found.append(path)
        return tuple(found)

    def joinpath(self, *segments: str | PurePosixPath) -> S3Path:
        """Return the path below this one; ``path / "a"`` is ``path.joinpath("a")``.

        Args:
            segments: Relative paths, such as ``"a"``, ``"a/b"``, or a result of ``relative_to``.

        Raises:
            TypeError: A segment is neither text nor a PurePosixPath.
            ValueError: A segment begins with a slash, or contains ``..``, which has no meaning in a key: use ``parent``.

        Requests:
            none
        """
        key = self._key
        for given in segments:
            segment = str(given) if isinstance(given, PurePosixPath) else given
            if not isinstance(segment, str):
                raise TypeError(f"a segment of an S3Path must be text, not {type(segment).__name__}")
            if segment.startswith("/"):
                raise ValueError(f"{segment!r} begins with a slash: paths below {self.uri} are relative")
            parts = segment.split("/")
            if ".." in parts:
                raise ValueError(f"{segment!r} contains '..', which has no meaning in a key: use parent")
            below = "/".join(part for part in parts if part != ".")
            if below.startswith("/"):
                raise ValueError(f"{segment!r} begins with an empty name: paths below {self.uri} are relative")
            if below:
                key = f"{key}{'' if not key or key.endswith('/') else '/'}{below}"
        return S3Path(self._bucket, key)

    def __truediv__(self, segment: str | PurePosixPath) -> S3Path:
        """``path / "a"``: the path below this one. Requests: none."""
        return self.joinpath(segment) if isinstance(segment, (str, PurePosixPath)) else NotImplemented

    def with_name(self, name: str) -> S3Path:
        """Return the path with another name in the same folder. The rest of the key does not change: ``a//b`` becomes ``a//c``.

        Raises:
            ValueError: The name is empty, ``.`` or ``..``, or contains a slash; or this path has no name.

        Requests:
            none
        """
        if not isinstance(name, str):
            raise TypeError(f"name must be text, not {type(name).__name__}")
        if not name or "/" in name or name in (".", ".."):
            raise ValueError(f"{name!r} is not a name")
        self._check_named()
        key = self._key.rstrip("/")
        return S3Path(self._bucket, key[: key.rfind("/") + 1] + name)

    def with_stem(self, stem: str) -> S3Path:
        """Return the path with another stem and the same suffix. Requests: none."""
        if not isinstance(stem, str):
            raise TypeError(f"stem must be text, not {type(stem).__name__}")
        return self.with_name(f"{stem}{self.suffix}")

    def with_suffix(self, suffix: str) -> S3Path:
        """Return the path with another suffix; an empty one removes the suffix.

        Raises:
            ValueError: The suffix does not begin with a dot, or this path has no name.

        Requests:
            none
        """
        if not isinstance(suffix, str):
            raise TypeError(f"suffix must be text, not {type(suffix).__name__}")
        self._check_named()
        return self.with_name(PurePosixPath(self.name).with_suffix(suffix).name)

    def relative_to(self, other: S3Path) -> PurePosixPath:
        """Return this path relative to a folder, for example to name a local file: ``target / path.relative_to(folder)``.

        Raises:
            TypeError: ``other`` is not an S3Path.
            ValueError: This path is not below ``other``; or the relative path would contain an empty name, ``.`` or ``..``, and so be
                the same as that of another key, or lead out of a local folder.

        Requests:
            none
        """
        if not self.is_relative_to(other):
            raise ValueError(f"{self.uri} is not below {other.uri if isinstance(other, S3Path) else repr(other)}")
        rest = self._prefix[len(other._prefix) :].removesuffix("/")
        if rest and any(name in ("", ".", "..") for name in rest.split("/")):
            raise ValueError(f"{rest!r} in {self.uri} is not a relative path: a name in it is empty, '.' or '..'")
        return PurePosixPath(rest)

    def is_relative_to(self, other: S3Path) -> bool:
        """Return whether this path is ``other`` or is below it. Requests: none."""
        if not isinstance(other, S3Path):
            raise TypeError(f"other must be an S3Path, not {type(other).__name__}")
        return self._bucket == other._bucket and self._prefix.startswith(other._prefix)

    # -- what exists --------------------------------------------------------------------------------------------------------------

    def exists(self) -> bool:
        """Return whether there is an object or a folder with this name. Requests: 1 HEAD, and 1 more if there is no such object."""
        return self.is_file() or self.is_dir()

    def is_file(self) -> bool:
        """Return whether there is an object with this key; False for a key with a slash at the end. Requests: 1 HEAD."""
        return bool(self._key) and not self._key.endswith("/") and self.object.exists()

    def is_dir(self) -> bool:
        """Return whether a key begins with this name and a slash; for the root, whether the bucket exists. Requests: 1."""
        if not self._key:
            return self._bucket.exists()
        return self._bucket.find(prefix=self._prefix).first() is not None

    def iterdir(self) -> Iterator[S3Path]:
        """Yield the objects and folders directly in this folder, in the order of their keys.

        A name that is both an object and a folder (``"a"`` if there is also ``"a/b"``) is yielded once. Keys that contain an empty name,
        such as ``"a//b"``, are left out; ``bucket.find()`` lists all keys.

        Raises:
            S3NoSuchItem: There is no such folder. The error is also a FileNotFoundError.

        Requests:
            1 per 1,000 entries

        Example:
            >>> for name in ("in/a.txt", "in/deep/b.txt"):
            ...     _ = bucket.put_object(name, "x")
            >>> [path.name for path in bucket.path("in").iterdir()]
            ['a.txt', 'deep']
        """
        entries = self._entries("")
        first = next(entries, None)
        if first is None:
            if self._key:
                raise S3NoSuchItem(f"there is no folder {self.uri}", bucket=self._bucket.name, key=self._key)
            return
        for key in self._once(_named(chain([first], entries))):
            if key != self._prefix:  # skip the marker of this folder
                yield self._with_key(key)

    def glob(self, pattern: str) -> Iterator[S3Path]:
        """Yield the objects and folders whose path relative to this folder matches a pattern, in the order of their keys.

        Args:
            pattern: ``*`` and ``?`` do not match a slash, ``**/`` matches any number of folders, as in ``bucket.find(glob=…)``. Wildcards
                also match names that begin with a dot.

        Raises:
            ValueError: The pattern is empty, or begins with a slash.

        Requests:
            1 per 1,000 entries of the folder; for a pattern with a slash or ``**`` 1 per 1,000 keys at any depth. Only keys that begin with
            the part of the pattern before the first wildcard are listed
        """
        stem, wanted = self._checked_pattern(pattern)
        is_flat = "/" not in pattern and "**" not in pattern
        return self._matching(_named(self._entries(stem)) if is_flat else self._entries_below(stem), wanted)

    def rglob(self, pattern: str) -> Iterator[S3Path]:
        """Yield the objects and folders at any depth below this folder that match a pattern.

        Raises:
            ValueError: The pattern is empty, or begins with a slash.

        Requests:
            1 per 1,000 keys below the folder
        """
        self._checked_pattern(pattern)
        return self.glob(f"**/{pattern}")

    def _checked_pattern(self, pattern: str) -> tuple[str, re.Pattern[str]]:
        """Return the literal beginning of a pattern, and the regular expression for it.

        Raises:
            TypeError: The pattern is not text.
            ValueError: It is empty, or begins with a slash.
        """
        compiled = glob_to_pattern(pattern)
        if pattern.startswith("/"):
            raise ValueError(f"{pattern!r} begins with a slash: patterns are relative to {self.uri}")
        return compiled

    def _once(self, keys: Iterator[str]) -> Iterator[str]:
        return _once(keys, are_ordered=not self._bucket._address.is_directory)

    def _matching(self, keys: Iterator[str], wanted: Any) -> Iterator[S3Path]:
        start = len(self._prefix)
        for key in self._once(keys):
            if key != self._prefix and wanted.fullmatch(key[start:]):
                yield self._with_key(key)

    def _entries(self, stem: str) -> Iterator[S3Object | str]:
        """Iterate over this folder's entries whose names begin with ``stem``; a folder is its key with the slash at the end."""
        return self._bucket.find(prefix=self._prefix + stem, delimiter="/").entries()

    def _entries_below(self, stem: str) -> Iterator[str]:
        """Yield the keys of the objects below this folder whose relative paths begin with ``stem``, and of the folders that hold them."""
        start, last = len(self._prefix), ""
        for obj in self._bucket.find(prefix=self._prefix + stem):
            folders = obj.key[start:].split("/")[:-1]
            for depth in range(1, len(folders) + 1):
                folder = self._prefix + "/".join(folders[:depth])
                if folders[depth - 1] and not f"{last}/".startswith(f"{folder}/"):
                    yield folder
            last = obj.key[: start + len("/".join(folders))]
            if not obj.key.endswith("/"):
                yield obj.key

    # -- content ------------------------------------------------------------------------------------------------------------------

    def open(
        self,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> IO[Any]:
        """Open the object as a file, as ``S3Object.open`` does, but as text by default. Requests: those of ``S3Object.open``."""
        return self.object.open(mode, buffering, encoding, errors, newline)

    def read_bytes(self) -> bytes:
        """Return the content.

        Raises:
            S3NoSuchItem: There is no such object. The error is also a FileNotFoundError.

        Requests:
            1 GET
        """
        return self.object.body

    def read_text(self, encoding: str | None = None, errors: str | None = None, newline: str | None = None) -> str:
        """Return the content as text.

        Args:
            encoding: The encoding; UTF-8 by default.
            errors: What to do with invalid bytes, as for the builtin ``open``.
            newline: Which line ends become ``"\\n"``, as for the builtin ``open``; all of them by default.

        Raises:
            S3NoSuchItem: There is no such object.
            S3InvalidContent: The content is not text in this encoding. The error is also a ValueError.

        Requests:
            1 GET
        """
        file = io.TextIOWrapper(io.BytesIO(self.read_bytes()), encoding or "utf-8", errors, newline)
        try:
            return file.read()
        except UnicodeDecodeError as error:
            raise S3InvalidContent(
                f"the content of {self.uri} is not text in {file.encoding}: {error}",
                bucket=self._bucket.name,
                key=self._key,
            ) from error

    def write_bytes(self, data: bytes) -> int:
        """Write the object, replacing its content, and return the number of bytes. Requests: 1 PUT."""
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"data must be bytes, not {type(data).__name__}; write_text writes text")
        written = bytes(data)
        self.object.put(written)
        return len(written)

    def write_text(
        self, data: str, encoding: str | None = None, errors: str | None = None, newline: str | None = None
    ) -> int:
        """Write the object as text, replacing its content, and return the number of characters.

        Args:
            data: The text.
            encoding: The encoding; UTF-8 by default.
            errors: What to do with characters that the encoding does not have, as for the builtin ``open``.
            newline: What to write for ``"\\n"``; ``"\\n"`` itself by default, on every platform.

        Requests:
            1 PUT
        """
        if not isinstance(data, str):
            raise TypeError(f"data must be text, not {type(data).__name__}; write_bytes writes bytes")
        if newline not in (None, "", "\n", "\r", "\r\n"):
            raise ValueError(f"newline must be None, '', '\\n', '\\r' or '\\r\\n', not {newline!r}")
        lines = data.replace("\n", newline) if newline in ("\r", "\r\n") else data
        self.write_bytes(lines.encode(encoding or "utf-8", errors or "strict"))
        return len(data)

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete the object.

        Args:
            missing_ok: Whether to succeed if there is no such object.

        Raises:
            S3NoSuchItem: There is no such object, and ``missing_ok`` is not set. The error is also a FileNotFoundError.

        Requests:
            1 DELETE; without ``missing_ok`` also 1 HEAD before it, since S3 does not say whether a DELETE removed an object
        """
        obj = self.object
        if not missing_ok and not obj.exists():
            raise S3NoSuchItem(f"there is no object {self.uri}", bucket=self._bucket.name, key=self._key)
        obj.delete()

    # -- special methods ----------------------------------------------------------------------------------------------------------

    @property
    def _prefix(self) -> str:
        """Prefix of the keys in this folder."""
        return self._key if not self._key or self._key.endswith("/") else f"{self._key}/"

    def _check_named(self) -> None:
        if not self.name:
            raise ValueError(
                f"{self.uri} {'has no name' if self._key else 'is the root of a bucket, which has no name'}"
            )

    def _with_key(self, key: str) -> S3Path:
        path = S3Path.__new__(S3Path)
        path._bucket, path._key = self._bucket, key
        return path

    def __fspath__(self) -> NoReturn:
        """Raise TypeError: a path in a bucket is not a local file. Requests: none."""
        raise TypeError(
            f"{self.uri} is not a local file: open it with path.open(), download it with path.object.download_to(file), or give a library "
            "that accepts URLs path.object.fs_uri and store.storage_options"
        )

    def __str__(self) -> str:
        return self.uri

    def __repr__(self) -> str:
        return f"S3Path({self.uri!r})"

    def __eq__(self, other: builtins.object) -> bool:
        if not isinstance(other, S3Path):
            return NotImplemented
        return (self._bucket, self._key) == (other._bucket, other._key)

    def __lt__(self, other: builtins.object) -> bool:
        if not isinstance(other, S3Path):
            return NotImplemented
        return (self._bucket.name, self._key) < (other._bucket.name, other._key)

    def __hash__(self) -> int:
        return hash((self._bucket.name, self._key))

    def __reduce__(self) -> tuple[Any, ...]:
        return S3Path, (self._bucket, self._key)


def _named(entries: Iterable[S3Object | str]) -> Iterator[str]:
    """Yield the keys of entries, without the slash at the end of a folder's key; leave out folders without a name."""
    for entry in entries:
        if not isinstance(entry, str):
            yield entry.key
        elif not entry.endswith("//"):
            yield entry[:-1]


def _once(keys: Iterator[str], *, are_ordered: bool) -> Iterator[str]:
    """Leave out a folder with the same key as an earlier object. Other keys may come between the two: ``a``, ``a-b``, ``a/``.

    Args:
        keys: The keys.
        are_ordered: Whether they come in order. If not, all of them are held in memory.
    """
    if not are_ordered:
        seen = set[str]()
        for key in keys:
            if key not in seen:
                seen.add(key)
                yield key
        return
    before: list[
        str
    ] = []  # each key begins with the previous one, so there are at most as many as a key has characters
    for key in keys:
        while before and not key.startswith(before[-1]):
            before.pop()
        if key not in before:
            before.append(key)
            yield key
