"""An fsspec file system on a store: ``mfs3://bucket/key`` for pandas, Dask, zarr, DuckDB and other libraries that accept URLs.

The first part of a path is the bucket, the rest is the key. S3 has no folders: a folder exists as long as a key begins with its name and a
slash, and ``mkdir`` only creates buckets. Listings are never cached, so that other processes' writes are visible at once.
"""

from __future__ import annotations

import contextlib
import io
import os
import unicodedata
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from glob import has_magic
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast, overload

from ._bulk.versions import delete_bucket
from ._client import client_options
from ._client.config import is_picklable
from ._client.context_threads import ContextThreadPool
from ._files import copying, download, file_target, opening, partial_file, sync
from ._files.reader import BufferedObjectReader, ObjectReader
from ._files.writer import PART_BYTES, ObjectWriter, TextWriter
from ._formats import version_ids
from ._formats.bucket_names import split_path
from ._objects import operations, ranged_reader
from ._objects.source import Source
from .errors import S3AccessDenied, S3BucketExists, S3Error, S3InvalidName, S3NoSuchBucket, S3NoSuchItem, S3ObjectExists
from .object import S3Object
from .store import S3Store, connect

if TYPE_CHECKING:
    from ._client.connection import Connection
    from ._files.open_modes import BinaryReadMode, BinaryWriteMode, TextReadMode, TextWriteMode
    from .bucket import S3Bucket

try:
    import fsspec
    from fsspec.callbacks import DEFAULT_CALLBACK
    from fsspec.compression import compr
    from fsspec.core import get_compression
    from fsspec.implementations.local import LocalFileSystem, make_path_posix
    from fsspec.spec import AbstractFileSystem
    from fsspec.transaction import Transaction
    from fsspec.utils import other_paths
except ImportError as error:
    raise ImportError("the file system needs fsspec: pip install 'messageflux-s3[fsspec]'") from error

__all__ = ["MessagefluxS3FileSystem", "register_as_s3"]

_SECRETS = ("secret_key", "session_token")
_CACHE_OPTIONS = ("cache_type", "fill_cache", "size")
"""Arguments for the read caches of other file systems; ignored here."""


class _Transaction(Transaction):  # type: ignore[misc]  # fsspec publishes no types
    """A transaction that ends although a commit fails. In older versions of fsspec it goes on, so that later writes are never committed."""

    def complete(self, commit: bool = True) -> None:
        """Commit or discard the files; if a commit fails, discard those that follow."""
        files = deque(self.files)
        self.files.clear()
        try:
            while files:
                file = files.popleft()
                if commit:
                    file.commit()
                else:
                    file.discard()
        finally:
            self.fs._intrans = False
            self.fs._transaction = None
            for file in files:
                file.discard()


class _Touched:
    """A file of a transaction that is created only if there is no such object at the end, by then perhaps from the same transaction."""

    def __init__(self, file: ObjectWriter) -> None:
        self._file = file

    def commit(self) -> None:
        with contextlib.suppress(S3ObjectExists):
            self._file.commit()

    def discard(self) -> None:
        self._file.discard()


class MessagefluxS3FileSystem(AbstractFileSystem):  # type: ignore[misc]  # fsspec publishes no types
    """The buckets of one store as an fsspec file system.

    Args:
        store: The store; or give the arguments of :func:`~messageflux_s3.connect` instead.
        settings: Arguments of ``connect()``: ``endpoint_url``, ``access_key``, …

    Pickles, and the output of fsspec's ``to_json()``, do not include secrets; connect with ``pickle_secrets=True`` to send them to
    workers.

    Requests:
        none

    Example:
        >>> fs = MessagefluxS3FileSystem(store)
        >>> fs.pipe(f"{bucket.name}/a/b.txt", b"hello")
        >>> fs.cat(f"{bucket.name}/a/b.txt")
        b'hello'
        >>> [name.partition("/")[2] for name in fs.find(bucket.name)]
        ['a/b.txt']
    """

    protocol: tuple[str, str] = ("mfs3", "s3")
    root_marker = ""
    transaction_type = _Transaction
    _transaction: Any  # None outside of a transaction
    cachable = False  # connections are shared already, and fsspec's cache would distinguish stores only by their repr

    def __init__(self, store: S3Store | None = None, **settings: Any) -> None:
        if settings.pop("asynchronous", False):
            raise ValueError("asynchronous=True is not supported by this file system; use messageflux_s3.async_connect")
        for name in ("loop", "skip_instance_cache", "use_listings_cache"):  # fsspec's own arguments; ignored here
            settings.pop(name, None)
        if store is not None and settings:
            raise TypeError(f"pass either a store or settings for connect() ({', '.join(settings)}), not both")
        if store is not None and not isinstance(store, S3Store):
            raise TypeError(f"store must be an S3Store, not {type(store).__name__}")
        super().__init__()
        self.store: S3Store = connect(**settings) if store is None else store

    @property
    def storage_options(self) -> dict[str, Any]:
        """The settings passed to the constructor. Secrets are left out unless ``pickle_secrets=True``. Requests: none."""
        return self._storage_options

    @storage_options.setter
    def storage_options(self, given: dict[str, Any]) -> None:
        # fsspec sets this after __init__, and writes it into to_dict() and to_json(). The access key is kept: connect() rejects it without
        # a secret key, while settings without any key would silently use the credentials of the process that reads them.
        kept = (
            given
            if given.get("pickle_secrets")
            else {name: value for name, value in given.items() if name not in _SECRETS}
        )
        if callable(kept.get("credentials")) and kept is not given and not is_picklable(kept["credentials"]):
            kept["credentials"] = "left behind"  # not callable, so that connect() rejects it
        if kept.get("config") is not None:
            options = client_options.canonical(kept["config"])  # plain values, for JSON
            kept = {**kept, "config": options if kept is given else client_options.without_secrets(options)}
        self._storage_options = kept

    @property
    def transaction(self) -> Any:
        """The context in which writes become visible at the end, or not at all if it raises. Requests: none."""
        if self._transaction is None:
            self._transaction = _Transaction(self)
        return self._transaction

    def start_transaction(self) -> Any:
        """Begin a transaction, which ``end_transaction()`` commits. Requests: none."""
        self._transaction = None
        self._intrans = True
        return self.transaction

    # -- paths ----------------------------------------------------------------------------------------------------------------------

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(each) for each in path]
        text = os.fspath(path)
        for protocol in cls.protocol:
            if text.startswith(f"{protocol}://"):
                text = text[len(protocol) + 3 :]
                break
        return text.strip("/")

    def unstrip_protocol(self, name: str) -> str:
        """Return the path with the prefix ``mfs3://``. Requests: none."""
        return f"mfs3://{self._strip_protocol(name)}"

    def _split(self, path: Any) -> tuple[str, str]:
        return split_path(self._strip_protocol(path))

    @classmethod
    def _parent(cls, path: Any) -> str:
        bucket_name, key = split_path(cls._strip_protocol(path))
        folder = key.rpartition("/")[0]
        return f"{bucket_name}/{folder}" if folder else bucket_name if key else cls.root_marker

    def _object(self, path: Any) -> S3Object:
        bucket_name, key = self._split(path)
        if not bucket_name or not key:
            raise ValueError(f"{path!r} does not name an object: a path is bucket/key")
        if _is_folder_path(path):
            raise IsADirectoryError(f"{path!r} names a folder, not an object: it ends with a slash")
        return self.store.bucket(bucket_name).object(key)

    @property
    def _connection(self) -> Connection:
        return self.store._connection

    # -- listing and metadata -------------------------------------------------------------------------------------------------------

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """Return the entries directly under a path; for an object's path, the object.

        Raises:
            FileNotFoundError: The path does not exist.

        Requests:
            1 per 1,000 entries; 1 more HEAD if there is nothing under the path
        """
        bucket_name, key = self._split(path)
        if not bucket_name:
            entries = [_folder(bucket.name) for bucket in self.store.buckets()]
        else:
            bucket = self.store.bucket(bucket_name)
            entries = [*self._children(bucket, f"{key}/" if key else "")]
            if not entries and key:
                entries = [self.info(path)]
                if entries[0]["type"] == "directory":
                    entries = []
        return entries if detail else [entry["name"] for entry in entries]

    def _children(self, bucket: S3Bucket, prefix: str) -> Iterator[dict[str, Any]]:
        for entry in bucket.find(prefix=prefix, delimiter="/").entries():
            if isinstance(entry, str):
                if not entry.endswith("//"):  # an empty folder name cannot be represented in a path
                    yield _folder(f"{bucket.name}/{entry[:-1]}")
            elif entry.key != prefix:
                yield _file(entry)

    def info(self, path: str, *, version_id: str | None = None, **_: Any) -> dict[str, Any]:
        """Return an object's size, etag, time and other attributes, or an entry that marks the path as a folder.

        A path with a slash at the end names a folder only.

        Args:
            path: The path.
            version_id: A version of the object.

        Raises:
            FileNotFoundError: The path does not exist, or there is no such version.

        Requests:
            1 HEAD; if there is no such object, 1 listing
        """
        version_ids.check(version_id)
        bucket_name, key = self._split(path)
        if not bucket_name:
            return _folder("")
        bucket = self.store.bucket(bucket_name)
        if not key:
            if not bucket.exists():
                raise FileNotFoundError(path)
            return _folder(bucket_name)
        head = None
        if not _is_folder_path(path):
            with contextlib.suppress(S3NoSuchItem):
                head = operations.head(bucket._address.object(key, version_id))
        if head is None:
            if version_id is not None or bucket.find(prefix=f"{key}/").first() is None:
                raise FileNotFoundError(path)
            return _folder(f"{bucket_name}/{key}")
        return {
            "name": f"{bucket_name}/{key}",
            "size": head.size,
            "type": "file",
            "ETag": head.etag,
            "LastModified": head.last_modified,
            "StorageClass": head.storage_class,
            "ContentType": head.content_type,
            "VersionId": head.version_id,
            "metadata": dict(head.metadata or {}),
        }

    def exists(self, path: str, *, version_id: str | None = None, **_: Any) -> bool:
        """Return whether the path is an object, a folder or a bucket. Requests: those of ``info``."""
        try:
            self.info(path, version_id=version_id)
        except FileNotFoundError:
            return False
        return True

    def isdir(self, path: str) -> bool:
        """Return whether the path is a folder or a bucket; False if access to it is denied. Requests: those of ``info``."""
        return self._type_of(path) == "directory"

    def isfile(self, path: str) -> bool:
        """Return whether the path is an object; False if access to it is denied. Requests: those of ``info``."""
        return self._type_of(path) == "file"

    def _type_of(self, path: str) -> str | None:
        """Return the type of an entry, None if it does not exist. fsspec's own methods also hide that the store could not be asked."""
        try:
            return cast(str, self.info(path)["type"])
        except (FileNotFoundError, S3AccessDenied, S3InvalidName):
            return None

    def walk(
        self, path: str, maxdepth: int | None = None, topdown: bool = True, on_error: Any = None, **kwargs: Any
    ) -> Iterator[Any]:
        """Yield (path, folders, files) for each folder.

        The arguments are fsspec's, except that without ``on_error`` only what does not exist, or may not be listed, is left out: any other
        error is raised. Versions of fsspec that do not know ``on_error`` leave out whatever cannot be listed.

        Requests:
            1 per 1,000 entries of each folder
        """
        # fsspec's walk() does not pass on_error on to the folders below; it passes on the arguments of ls(), which ignores this one.
        inherited = kwargs.pop("inherited_on_error", None)
        chosen = on_error or inherited or _raise_unless_left_out
        return cast(
            "Iterator[Any]",
            super().walk(path, maxdepth, topdown=topdown, on_error=chosen, inherited_on_error=chosen, **kwargs),
        )

    def find(
        self,
        path: str,
        maxdepth: int | None = None,
        withdirs: bool = False,
        detail: bool = False,
        prefix: str = "",
        **_: Any,
    ) -> Any:
        """Return all objects under a path, from one flat listing. For all buckets (``""``) without those to which access is denied.

        Requests:
            1 per 1,000 keys; if there are none also those of ``info``
        """
        if maxdepth is not None and maxdepth < 1:
            raise ValueError("maxdepth must be at least 1")
        bucket_name, key = self._split(path)
        if not bucket_name:
            return super().find(path, maxdepth=maxdepth, withdirs=withdirs, detail=detail)
        base = f"{key}/" if key else ""
        found: dict[str, dict[str, Any]] = {}
        try:
            for obj in self.store.bucket(bucket_name).find(prefix=base + prefix):
                below = obj.key[len(base) :].split("/")
                if withdirs:
                    for depth in range(1, len(below)):
                        if maxdepth is None or depth <= maxdepth:
                            name = f"{bucket_name}/{base}{'/'.join(below[:depth])}"
                            found.setdefault(name, _folder(name))
                if obj.key != base and not obj.key.endswith("/") and (maxdepth is None or len(below) <= maxdepth):
                    found[f"{bucket_name}/{obj.key}"] = _file(obj)
        except S3NoSuchBucket:
            return {} if detail else []
        if not found and key and not prefix:
            try:
                info = self.info(path)
            except FileNotFoundError:
                info = {"type": "nothing"}
            if info["type"] == "file":
                found = {info["name"]: info}
        elif withdirs and key and not prefix:
            found.setdefault(f"{bucket_name}/{key}", _folder(f"{bucket_name}/{key}"))
        found = dict(sorted(found.items()))
        return found if detail else list(found)

    def expand_path(
        self,
        path: Any,
        recursive: bool = False,
        maxdepth: int | None = None,
        assume_literal: bool = False,
        **kwargs: Any,
    ) -> list[str]:
        """Expand patterns and folders as fsspec does, but never treat the path of an existing object or folder as a pattern.

        A path or a pattern with a slash at the end names folders only.

        Raises:
            FileNotFoundError: None of the paths exists.

        Requests:
            1 per 1,000 keys below each folder; for a path that looks like a pattern also 1 HEAD and, if there is no such object, 1 listing
        """
        exists = (lambda _: True) if assume_literal else self._is_literal
        return _expand(self, path, recursive, maxdepth, exists, **kwargs)[0]

    def _is_literal(self, path: str) -> bool:
        """Return whether a path that looks like a pattern (``x[1].txt``) is the path of an object or a folder."""
        bucket_name, key = self._split(path)
        if not key or has_magic(bucket_name):  # bucket names contain no wildcards
            return False
        try:
            return self.exists(path)
        except S3AccessDenied:
            # HEAD of a missing key is denied without s3:ListBucket on the whole bucket; listing below a prefix may still be allowed.
            bucket = self.store.bucket(bucket_name)
            first = bucket.find(prefix=key).first()
            return (first is not None and first.key == key) or bucket.find(prefix=f"{key}/").first() is not None

    def modified(self, path: str) -> datetime:
        """Return an object's time of last modification. Requests: 1 HEAD."""
        return self._object(path).last_modified

    created = modified
    """The same: S3 keeps no other time. Requests: 1 HEAD."""

    def ukey(self, path: str) -> str:
        """Return the etag, which changes with the content. Requests: 1 HEAD."""
        return self._object(path).etag

    def checksum(self, path: str) -> int:
        """Return the etag as a number. Requests: 1 HEAD."""
        return int.from_bytes(self.ukey(path).encode("ascii"), "big")

    def sign(self, path: str, expiration: int = 100, *, version_id: str | None = None, **_: Any) -> str:
        """Return a URL that reads the object without credentials for ``expiration`` seconds.

        Raises:
            ValueError: ``expiration`` is not 1 second to 7 days.

        Requests:
            those of ``obj.presigned_url``
        """
        obj = self._object(path)
        return obj.bucket.object(obj.key, version_id).presigned_url(expires_in=expiration)

    # -- reading and writing ----------------------------------------------------------------------------------------------------------

    @overload
    def open(
        self,
        path: str,
        mode: BinaryReadMode | BinaryWriteMode = "rb",
        block_size: Any = None,
        cache_options: Any = None,
        compression: str | None = None,
        **kwargs: Any,
    ) -> BinaryIO: ...

    @overload
    def open(
        self,
        path: str,
        mode: TextReadMode | TextWriteMode,
        block_size: Any = None,
        cache_options: Any = None,
        compression: str | None = None,
        **kwargs: Any,
    ) -> io.TextIOWrapper: ...

    @overload
    def open(
        self,
        path: str,
        mode: str,
        block_size: Any = None,
        cache_options: Any = None,
        compression: str | None = None,
        **kwargs: Any,
    ) -> IO[Any]: ...

    def open(
        self,
        path: str,
        mode: str = "rb",
        block_size: Any = None,
        cache_options: Any = None,
        compression: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """Open a file. The arguments are fsspec's; a write also accepts the further parameters of ``put_object``.

        Block sizes and caches are ignored; the library's reader has its own buffering.

        Raises:
            IsADirectoryError: The path ends with a slash.

        Requests:
            those of :func:`~messageflux_s3._files.opening.open_object`
        """
        self._object(path)  # check the path here: fsspec's open() removes the slash at the end of a folder's path
        if compression is not None and "b" in mode and "r" not in mode:
            name = get_compression(path, compression)
            writer = cast(ObjectWriter, super().open(path, mode, block_size, cache_options, None, **kwargs))
            return (
                writer if name is None else _CompressedWriter(writer, compr[name](writer, mode=mode.replace("b", "")))
            )
        if "b" in mode or compression is not None:
            file = super().open(path, mode, block_size, cache_options, compression, **kwargs)
            if isinstance(file, io.TextIOWrapper) and isinstance(file.buffer, (ObjectWriter, _CompressedWriter)):
                file.buffer.wrapped_in(file)
            return file
        if self._intrans and "r" not in mode:
            action = opening.write_action(mode)
            text = {name: kwargs.pop(name, None) for name in ("encoding", "errors", "newline", "buffering")}
            writer = cast(ObjectWriter, super().open(path, f"{action}b", block_size, cache_options, None, **kwargs))
            try:
                encoding = text["encoding"] or "utf-8"
                return TextWriter(writer, encoding, text["errors"], text["newline"], text["buffering"] == 1, mode=mode)
            except BaseException:
                writer.abort()
                raise
        return self._open(self._strip_protocol(path), mode, **kwargs)

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: Any = None,
        autocommit: bool = True,
        cache_options: Any = None,
        **kwargs: Any,
    ) -> IO[Any]:
        for name in _CACHE_OPTIONS:
            kwargs.pop(name, None)
        address = self._object(path)._address
        if not autocommit and "r" not in mode:
            mode = f"{opening.write_action(mode)}b"  # "ba" means "ab"
            return cast("IO[Any]", ObjectWriter(address, mode, autocommit=False, **kwargs))
        address = address._replace(version_id=version_ids.check(kwargs.pop("version_id", None)))
        file = opening.open_object(address, mode, **kwargs)
        if isinstance(file, BufferedObjectReader):
            file.path = path  # fsspec's caches read this attribute when the file is closed
        return file

    def cat_file(
        self, path: str, start: int | None = None, end: int | None = None, *, version_id: str | None = None, **_: Any
    ) -> bytes:
        """Return an object's content, or a range of it; negative positions count from the end.

        Args:
            path: The object.
            start: The first byte.
            end: The byte after the last one.
            version_id: A version of the object.

        Requests:
            1 GET (1 more GET if a position is negative)
        """
        address = self._object(path)._address._replace(version_id=version_ids.check(version_id))
        if start is None and end is None:
            return cast(bytes, operations.get(address)[1])
        first = start or 0
        if first >= 0 and (end is None or end > first):
            try:
                stream = ranged_reader.get_stream(address, start=first, end=end)[1]
            except S3Error as error:
                if error.status == 416:
                    return b""  # the range is beyond the end
                raise
            with stream:  # a 416 from here on means that the object was replaced
                return stream.read()
        with cast("io.RawIOBase", self.open(path, "rb", buffering=0, version_id=version_id)) as file:
            size = cast(ObjectReader, file).size
            first, last, _step = slice(start, end).indices(size)
            file.seek(first)
            wanted = bytearray(max(0, last - first))
            done = 0
            with memoryview(wanted) as view:
                while done < len(view):
                    done += file.readinto(view[done:]) or 0
            return bytes(wanted)

    def cat_ranges(
        self,
        paths: list[str],
        starts: Any,
        ends: Any,
        max_gap: int | None = None,
        on_error: str = "return",
        **kwargs: Any,
    ) -> list[Any]:
        """Return many ranges, read concurrently. Requests: 1 GET each."""
        starts = [starts] * len(paths) if not isinstance(starts, Iterable) else list(starts)
        ends = [ends] * len(paths) if not isinstance(ends, Iterable) else list(ends)
        if not len(paths) == len(starts) == len(ends):
            raise ValueError("paths, starts and ends must have the same length")

        def one(path: str, start: int | None, end: int | None) -> Any:
            try:
                return self.cat_file(path, start, end, **kwargs)
            except (S3Error, OSError) as error:
                if on_error == "return":
                    return error
                raise

        with ContextThreadPool(min(16, self.store._connection.max_concurrency), "messageflux-s3-ranges") as pool:
            return list(pool.map(one, paths, starts, ends))

    def get(
        self,
        rpath: Any,
        lpath: Any,
        recursive: bool = False,
        callback: Any = DEFAULT_CALLBACK,
        maxdepth: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Download objects to files. Each file is written completely or not at all.

        A symbolic link in a folder that has the name of an object's file is replaced; one that is given as ``lpath`` is kept.

        Raises:
            ValueError: Two objects would be written to one file (``a//b`` and ``a/b``); nothing was downloaded.

        Requests:
            1 per 1,000 keys below the paths, and those of :meth:`get_file` for each object
        """
        rpath, lpath = _listed(rpath), _listed(lpath)
        if isinstance(rpath, list) and isinstance(lpath, list):
            sources, targets = rpath, lpath
        else:
            found = _find_sources(self, rpath, recursive, maxdepth, self._is_literal)
            if not found.paths:
                return
            # Folders given with a slash at the end keep the slash, so that an object of the same name is not downloaded.
            sources, targets = [f"{each}/" if each in found.folders else each for each in found.paths], lpath
            if not isinstance(lpath, list):
                target = make_path_posix(os.fspath(lpath))
                targets = [
                    each if each == target else _NamedAfterKey(each)
                    for each in found.targets(target, target.endswith("/") or Path(target).is_dir())
                ]
        pairs = _pair(sources, targets)
        for source, target in pairs:
            self._refuse_parent_folder(source, target)
        self._refuse_merged_files(pairs)
        callback.set_size(len(pairs))
        for source, target in callback.wrap(pairs):
            with callback.branched(source, target) as child:
                self.get_file(source, target, callback=child, **kwargs)

    def _refuse_parent_folder(self, source: str, target: Any) -> None:
        if (
            isinstance(target, (str, os.PathLike))
            and ".." in Path(self._split(source)[1]).parts
            and ".." in Path(target).parts
        ):
            raise ValueError(
                f"{source!r} would be written to {os.fspath(target)!r}; download_folder() has a safe name for every key"
            )

    def _refuse_merged_files(self, pairs: list[tuple[str, Any]]) -> None:
        sources: dict[str, list[str]] = {}
        for source, target in pairs:
            if isinstance(target, (str, os.PathLike)):
                # Two paths name the same file if they differ only by "//", "." or a link to a folder, and on some file systems by case.
                path = unicodedata.normalize("NFC", os.path.realpath(target)).casefold()
                sources.setdefault(path, []).append(source)
        targets = dict(pairs)
        for several in sources.values():
            names = [*dict.fromkeys(several)]
            if len(names) < 2:
                continue
            paths = {os.path.realpath(targets[name]) for name in names}
            if len(paths) == len(names) and not sync.ignores_case(Path(targets[names[0]])):
                continue
            if all(self.isdir(name) for name in names):
                continue
            raise ValueError(
                f"{names[0]!r} and {names[1]!r} would both be written to {os.fspath(targets[names[1]])!r}; "
                "download_folder() makes a file for every key"
            )

    def get_file(
        self, rpath: str, lpath: Any = None, callback: Any = DEFAULT_CALLBACK, outfile: Any = None, **kwargs: Any
    ) -> None:
        """Download an object to a file, which is written completely or not at all.

        A symbolic link to a file is kept, and its target is replaced. Pipes and character devices are written in place.

        Args:
            rpath: The object.
            lpath: The file's path, or an open file to write to.
            callback: fsspec's callback for the number of bytes.
            outfile: An open file to write to instead.
            kwargs: Parameters of :meth:`open`. Block sizes and caches are ignored.

        Raises:
            BlockingIOError: The open file is in non-blocking mode and takes no data now.
            FileExistsError: The file is a socket or a block device.
            IsADirectoryError: The file's path is a folder.
            ValueError: The key contains ``..`` and the file would be outside of the given folder.

        Requests:
            1 GET up to 16 MiB, else 1 for each 5 to 8 MiB; 1 HEAD
        """
        self._refuse_parent_folder(rpath, lpath)
        if outfile is not None or not isinstance(lpath, (str, os.PathLike)):
            self._read_into(lpath if outfile is None else outfile, rpath, callback, kwargs)
            return
        found = self.info(rpath, version_id=kwargs.get("version_id"))
        if found["type"] == "directory":
            Path(lpath).mkdir(parents=True, exist_ok=True)
            return
        settings = {name: value for name, value in kwargs.items() if name not in _READER_SETTINGS and value is not None}
        follows = not isinstance(lpath, _NamedAfterKey)
        if settings:
            # Never let fsspec open the target itself: it truncates the file before the first byte has been received.
            partial_file.write_target(
                lpath, lambda file: self._read_into(file, rpath, callback, settings), follow=follows
            )
            return
        callback.set_size(found["size"])
        target = file_target.Destination(lpath, follow=follows)
        download.download(self._object(rpath)._address, target, progress=callback.relative_update)

    def _read_into(self, target: Any, rpath: str, callback: Any, settings: dict[str, Any]) -> None:
        """Write an object's content to an open file. fsspec's loop ignores that a raw file may accept fewer bytes than given."""
        with self.open(rpath, "rb", **settings) as source:
            callback.set_size(getattr(source, "size", None))
            while piece := source.read(self.blocksize):
                download._write_all(target, piece)
                callback.relative_update(len(piece))

    def put(
        self,
        lpath: Any,
        rpath: Any,
        recursive: bool = False,
        callback: Any = DEFAULT_CALLBACK,
        maxdepth: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Upload files. The arguments are fsspec's. The path of an existing file or folder is never read as a pattern.

        Raises:
            IsADirectoryError: In a list of targets, the target of a file ends with a slash; nothing was uploaded.
            ValueError: Two files would become one object (``a/x`` and ``b/x`` in a folder); nothing was uploaded.

        Requests:
            those of ``info`` for the target, and those of :meth:`put_file` for each file
        """
        lpath, rpath = _listed(lpath), _listed(rpath)
        if isinstance(lpath, list) and isinstance(rpath, list):
            sources, targets = lpath, rpath
        else:
            local = LocalFileSystem()
            given = make_path_posix(os.fspath(lpath)) if isinstance(lpath, (str, os.PathLike)) else lpath
            found = _find_sources(local, given, recursive, maxdepth, local.exists)
            if not found.paths:
                return
            sources, targets = found.paths, rpath
            if not isinstance(rpath, list):
                target = os.fspath(rpath)
                targets = found.targets(self._strip_protocol(target), target.endswith("/") or self.isdir(target))
        pairs = _pair(sources, targets)
        self._refuse_merged_objects(pairs)
        callback.set_size(len(pairs))
        for source, target in callback.wrap(pairs):
            with callback.branched(source, target) as child:
                self.put_file(source, target, callback=child, **kwargs)

    def _refuse_merged_objects(self, pairs: list[tuple[Any, Any]]) -> None:
        sources: dict[str, Any] = {}
        for source, target in pairs:
            if Path(source).is_dir():
                continue
            self._object(target)  # checks the path
            other = sources.setdefault(self._strip_protocol(target), source)
            if other != source:
                raise ValueError(f"{other!r} and {source!r} have the same target {target!r}; nothing was uploaded")

    def put_file(
        self, lpath: Any, rpath: str, callback: Any = DEFAULT_CALLBACK, mode: str = "overwrite", **kwargs: Any
    ) -> None:
        """Upload a file; for a folder, only create the target bucket.

        Files in ``/sys``, which have less content than their reported size, are uploaded too. Within a transaction, or with
        ``compression``, the object is written through ``open()``.

        Args:
            lpath: The file.
            rpath: The path of the object.
            callback: fsspec's callback for the number of bytes sent.
            mode: ``"overwrite"``, or ``"create"`` to write only if there is no such object, even with concurrent writers.
            kwargs: Further parameters of the write.

        Raises:
            FileExistsError: ``mode="create"`` and the object exists; it was not changed.
            IsADirectoryError: The object's path ends with a slash.
            OSError: The file became shorter while it was read; nothing was written.
            S3Unsupported: ``mode="create"`` and the store does not honour conditional writes; nothing was written.

        Requests:
            1 HEAD of the bucket; 1 PUT up to 16 MiB, else 1 POST, 1 PUT per part and 1 POST; with ``mode="create"`` 1 more HEAD, and
            those of a probe once per store that is not AWS
        """
        is_new = _is_create(mode)
        path = Path(lpath)
        if path.is_dir():
            self.makedirs(rpath, exist_ok=True)
            return
        obj = self._object(rpath)
        for name in ("block_size", "cache_options", *_CACHE_OPTIONS):
            kwargs.pop(name, None)
        if self._intrans or kwargs.keys() & {"compression", "autocommit"}:
            self._stream_file(path, rpath, callback, "xb" if is_new else "wb", kwargs)
            return
        callback.set_size(path.stat().st_size)  # raises for a missing file before the bucket is created
        self.makedirs(self._parent(rpath), exist_ok=True)
        if is_new:
            self._refuse_existing(obj)
        self.store.bucket(obj.bucket_name).upload_file(
            path, obj.key, if_absent=is_new, progress=callback.relative_update, **kwargs
        )

    def _stream_file(self, path: Path, rpath: str, callback: Any, mode: str, kwargs: dict[str, Any]) -> None:
        with Source(path) as source:
            callback.set_size(source.size)
            self.makedirs(self._parent(rpath), exist_ok=True)
            with self.open(rpath, mode, **kwargs) as target:
                count = 0
                while piece := source.take(PART_BYTES):
                    target.write(piece)
                    count += len(piece)
                    callback.relative_update(len(piece))
                source.check_end(count, str(path))

    def _refuse_existing(self, obj: S3Object) -> None:
        """Raise if the object exists, before a large body is sent needlessly. The condition of the write itself prevents overwriting."""
        with contextlib.suppress(S3AccessDenied):  # writing may be allowed without reading
            if obj.exists():
                raise S3ObjectExists(
                    f"{obj.uri} exists already; mode='create' does not overwrite", bucket=obj.bucket_name, key=obj.key
                )

    def pipe(self, path: Any, value: Any = None, **kwargs: Any) -> None:
        """Write an object, or several given as a mapping of paths to bytes. Requests: those of :meth:`pipe_file` for each."""
        for each in path if isinstance(path, dict) else [path]:
            self._object(each)  # check the path here: fsspec's pipe() removes the slash at the end of a folder's path
        super().pipe(path, value, **kwargs)

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        """Write an object; with ``mode="create"`` only if it does not exist. Requests: 1 PUT; more above 8 MiB."""
        with self.open(path, "xb" if _is_create(mode) else "wb", **kwargs) as file:
            file.write(value)

    def touch(self, path: str, truncate: bool = True, **kwargs: Any) -> None:
        """Create an empty object; with ``truncate=False`` an existing object is never changed, even with concurrent writers.

        Raises:
            S3Unsupported: ``truncate=False``, the object does not exist, and the store does not honour conditional writes.

        Requests:
            1 PUT; with ``truncate=False`` those of ``info``, and those of ``open(path, "xb")`` if the object does not exist
        """
        if truncate:
            self.pipe_file(path, b"", **kwargs)
        elif not self.exists(path):
            with contextlib.suppress(S3ObjectExists):
                self.pipe_file(path, b"", mode="create", **kwargs)
                if self._intrans:
                    files = self.transaction.files
                    files.append(_Touched(files.pop()))

    # -- copying, moving, deleting ----------------------------------------------------------------------------------------------------

    def cp_file(self, path1: str, path2: str, *, version_id: str | None = None, **_: Any) -> None:
        """Copy an object, or a version of it, within the store, with all its attributes; does nothing for a folder.

        Requests:
            1 HEAD, 1 COPY (more above 5 GiB); for a folder 2 HEAD and 1 listing
        """
        version_ids.check(version_id)
        if (_is_folder_path(path1) or not (self._split(path1)[1] and self._split(path2)[1])) and self.isdir(path1):
            return
        source, target = self._object(path1), self._object(path2)
        try:
            copying.copy(source._address._replace(version_id=version_id), target._address)
        except S3NoSuchItem as error:
            if error.operation != "HeadObject" or not self.isdir(
                path1
            ):  # after the HEAD: the object was deleted meanwhile
                raise

    def copy(
        self,
        path1: Any,
        path2: Any,
        recursive: bool = False,
        maxdepth: int | None = None,
        on_error: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Copy objects. The arguments are fsspec's.

        Copying an object onto itself does nothing. As in fsspec, copying a folder without ``recursive`` does nothing either. A source
        with a slash at the end names a folder only, not an object of the same name.

        Raises:
            ValueError: A folder would be copied into itself, two objects would be copied to one path, or a copy would replace an object
                that is to be copied too; nothing was copied.
            FileNotFoundError: The path does not exist. Objects deleted during a recursive copy are ignored unless ``on_error="raise"``.
            S3NoSuchBucket: The target's bucket does not exist.

        Requests:
            those of expanding the paths, and 1 HEAD and 1 COPY per object
        """
        pairs, folders = self._pairs(_listed(path1), _listed(path2), recursive, maxdepth)
        for source, target in pairs:
            if source in folders:
                continue
            try:
                self.cp_file(source, target, **kwargs)
            except S3NoSuchItem:  # not S3NoSuchBucket, which is always raised
                if on_error == "raise" or (on_error is None and not recursive):
                    raise

    def mv(
        self,
        path1: Any,
        path2: Any,
        recursive: bool = False,
        maxdepth: int | None = None,
        *,
        version_id: str | None = None,
        **_: Any,
    ) -> None:
        """Move objects. The arguments are fsspec's. Moving an object onto itself does nothing.

        A source with a slash at the end names a folder only, not an object of the same name.

        All objects are copied first; then the sources are deleted one by one, with the checks of ``obj.move_to()``. The marker of a folder
        (the empty object ``folder/`` that some programs write) is moved too. A bucket that is moved as a whole is deleted at the end.

        Raises:
            ValueError: A folder would be moved into itself, two objects would be moved to one path, or a move would replace an object that
                is to be moved too; or ``version_id`` is given: only the current version can be moved. Nothing was moved.
            FileNotFoundError: The path does not exist.
            IsADirectoryError: A path is a folder or a bucket, or a pattern that matches folders only, and ``recursive`` is not set;
                nothing was moved.
            S3ObjectChanged: An object was written while it was being moved: it was not deleted.
            S3BucketNotEmpty: A bucket that is moved as a whole still has objects that no path can name; it was not deleted.
            S3Error: A copy failed, and nothing was deleted; or a deletion failed, and the copies and the remaining sources exist.

        Requests:
            those of expanding the paths, for a list 1 HEAD per path, and per object those of ``obj.move_to()``
        """
        if version_id is not None:
            raise ValueError("a version cannot be moved: copy it with copy(path1, path2, version_id=…)")
        path1, path2 = _listed(path1), _listed(path2)
        pairs, folders = self._pairs(path1, path2, recursive, maxdepth)
        if (
            not pairs
            and not recursive
            and isinstance(path1, (str, os.PathLike))
            and isinstance(path2, (str, os.PathLike))
        ):
            source, target = self._strip_protocol(path1), self._strip_protocol(path2)
            is_itself = source in (target, f"{target}/{source.rpartition('/')[2]}")
            if has_magic(source) and not self._is_literal(os.fspath(path1)):
                self._refuse_only_folders(path1, maxdepth)
            elif not is_itself:
                self._refuse_folder(os.fspath(path1))
        if not recursive and not isinstance(path1, (str, os.PathLike)):
            given = set(self._strip_protocol(list(path1)))
            for source, _target in pairs:
                if source in given:
                    self._refuse_folder(f"{source}/" if source in folders else source)
        for source, _target in pairs:
            if not recursive and not self._split(source)[1]:
                self._refuse_folder(source)  # a bucket whose type could not be read: there is no object to move
        if recursive and maxdepth is None:
            pairs += self._markers_of(pairs)
        moves = [
            begun
            for source, target in pairs
            if source not in folders and (begun := self._begin_move(source, target)) is not None
        ]
        for begun in moves:
            copying.finish_move(begun)
        if recursive and maxdepth is None:
            for source, _target in pairs:
                if not self._split(source)[1]:
                    self.rmdir(source)

    def _begin_move(self, source: str, target: str) -> copying.Move | None:
        """Copy an object that is to be moved; return None for a folder, or for a folder marker whose target is a bucket."""
        (source_bucket, source_key), (target_bucket, target_key) = split_path(source), split_path(target)
        if not source_key:
            return None
        if not target_key:
            if source_key.endswith("/") or self.isdir(source):
                return None
            raise ValueError(f"{target!r} does not name an object: a path is bucket/key")
        try:
            return copying.begin_move(
                self.store.bucket(source_bucket).object(source_key)._address,
                self.store.bucket(target_bucket).object(target_key)._address,
            )
        except S3NoSuchItem as error:
            if error.operation != "HeadObject" or not self.isdir(source):
                raise
            return None

    def _pairs(
        self, path1: Any, path2: Any, recursive: bool, maxdepth: int | None
    ) -> tuple[list[tuple[str, str]], set[str]]:
        """Return (source, target) pairs by fsspec's own rules, including folders, but without pairs whose source and target are the same.

        Returns:
            The pairs, and the sources that name only a folder, not an object of the same name.

        Raises:
            IsADirectoryError: In a list of targets, the target of an object ends with a slash.
            ValueError: A folder would be copied into itself, or a copy would replace another copy or another source.
        """
        if isinstance(path1, list) and isinstance(path2, list):
            sources, targets = self._strip_protocol(path1), self._strip_protocol(path2)
            folders = set(sources) - {self._strip_protocol(each) for each in path1 if not _is_folder_path(each)}
            for folder in folders:
                self.info(f"{folder}/")  # raises if there is no such folder
        else:
            is_single = isinstance(path1, (str, os.PathLike))
            if is_single and not isinstance(path2, list) and self._strip_protocol(path1) == self._strip_protocol(path2):
                return [], set()
            found = _find_sources(self, path1, recursive, maxdepth, self._is_literal)
            sources, folders = found.paths, found.folders
            if not sources:
                return [], set()
            if isinstance(path2, list):
                targets = self._strip_protocol(path2)
            else:
                target = os.fspath(path2)
                targets = found.targets(self._strip_protocol(target), target.endswith("/") or self.isdir(target))
        pairs = _pair(sources, targets)
        if isinstance(path2, list):
            for source, target in zip(sources, path2, strict=True):
                if _is_folder_path(target) and source not in folders and not self.isdir(source):
                    self._object(target)  # raises IsADirectoryError
        self._check_apart(pairs, recursive)
        return [(source, target) for source, target in pairs if source != target], folders

    def _check_apart(self, pairs: list[tuple[str, str]], recursive: bool) -> None:
        sources, seen = {source for source, _ in pairs}, dict[str, str]()
        for source, target in pairs:
            if recursive and target.startswith(f"{source}/") and (self.isdir(source) or not self._split(source)[1]):
                raise ValueError(
                    f"{source!r} cannot be copied or moved into itself, to {target!r}; nothing was changed"
                )
            if target in sources and target != source and self.isfile(target) and self.isfile(source):
                raise ValueError(
                    f"{source!r} would replace {target!r}, which is to be copied or moved too; nothing was changed"
                )
            other = seen.setdefault(target, source)
            if other != source and self.isfile(source) and self.isfile(other):
                raise ValueError(f"{other!r} and {source!r} have the same target {target!r}; nothing was changed")

    def _markers_of(self, pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Return (marker, target) pairs: the folder marker ``source/`` of each source that has one."""
        targets = dict(pairs)
        found = []
        for root in _roots(targets):
            for marker in self._below(root):
                if marker.endswith("/") and marker[:-1] in targets:
                    found.append((marker, f"{targets[marker[:-1]]}/"))
        return found

    def _refuse_folder(self, path: str) -> None:
        """Raise if the path is a folder or a bucket, or does not exist."""
        if self.info(path)["type"] == "directory":
            raise IsADirectoryError(
                f"{path!r} is a folder: pass recursive=True to include everything in it; nothing was changed"
            )

    def _refuse_only_folders(self, pattern: str | os.PathLike[str], maxdepth: int | None) -> None:
        """Raise if a pattern matches folders and no object: nothing would be done."""
        found = self.glob(self._strip_protocol(pattern), maxdepth=maxdepth, detail=True).values()
        if {entry["type"] for entry in found} == {"directory"}:
            raise IsADirectoryError(
                f"{os.fspath(pattern)!r} matches folders only: pass recursive=True to include everything in them; nothing was changed"
            )

    def _below(self, root: str) -> Iterator[str]:
        """Yield the paths of all keys under a folder, including folder markers. Requests: 1 per 1,000 keys."""
        bucket_name, key = self._split(root)
        try:
            for obj in self.store.bucket(bucket_name).find(prefix=f"{key}/" if key else ""):
                yield f"{bucket_name}/{obj.key}"
        except S3NoSuchBucket:
            return

    def rm_file(self, path: str) -> None:
        """Delete one object, or a bucket; the path is never read as a pattern. Requests: 1 DELETE."""
        bucket_name, key = self._split(path)
        if key:
            self.store.bucket(bucket_name).delete_object(self._object(path).key)
        elif bucket_name:
            self.rmdir(path)

    _rm = rm_file

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:
        """Delete objects, folders with everything in them and their markers (``folder/``), or buckets.

        The path of an existing object or folder is never read as a pattern (``x[1].txt``). A path or a pattern with a
        slash at the end names folders only: ``rm("bucket/d/", recursive=True)`` does not delete the object ``d``.

        In a list of several paths without ``recursive``, a missing object or a folder without a slash at the end is not noticed, since S3
        reports the deletion of any key as done.

        Raises:
            FileNotFoundError: The path does not exist.
            IsADirectoryError: The path is a folder or a bucket, or a pattern that matches folders only, and ``recursive`` is not set;
                nothing was deleted.

        Requests:
            those of expanding the paths, with ``recursive`` 1 more listing per folder; for a pattern without ``recursive`` 1 HEAD and, if
            that finds no object, those of expanding it again; and 1 per 1,000 objects (1 per object if the store does not support bulk
            deletes)
        """
        expanded, folders = _expand(self, path, recursive, maxdepth, self._is_literal)
        if not recursive:
            checked = [each for each in expanded if each in folders or not self._split(each)[1]]
            is_literal = not isinstance(path, (str, os.PathLike)) or expanded == [self._strip_protocol(path)]
            if len(expanded) == 1 and is_literal:
                checked = expanded  # also raises if the path does not exist, where S3 reports success
            for each in checked:
                self._refuse_folder(f"{each}/" if each in folders else each)
            if not checked and isinstance(path, (str, os.PathLike)) and not self.isfile(expanded[0]):
                self._refuse_only_folders(path, maxdepth)
        keys: dict[str, set[str]] = {}
        for each in expanded:
            bucket_name, key = self._split(each)
            if key and each not in folders:
                keys.setdefault(bucket_name, set()).add(key)
        if recursive and maxdepth is None:
            for root in _roots(expanded):
                for found in self._below(root):
                    bucket_name, key = split_path(found)
                    keys.setdefault(bucket_name, set()).add(key)
        for bucket_name, its_keys in keys.items():
            # In reverse order, so that a folder's marker is deleted after the folder's content.
            self.store.bucket(bucket_name).delete_objects(sorted(its_keys, reverse=True))
        if recursive:
            for each in expanded:
                if not self._split(each)[1]:
                    self.rmdir(each)

    def mkdir(self, path: str, create_parents: bool = True, **_: Any) -> None:
        """Create a bucket; for a folder, create its bucket if missing.

        Requests:
            1 HEAD, and 1 PUT to create the bucket (for a folder 1 more HEAD)
        """
        bucket_name, key = self._split(path)
        try:
            if bucket_name and (not key or (create_parents and not self.exists(bucket_name))):
                self.store.create_bucket(bucket_name, exist_ok=False)
        except (S3BucketExists, S3AccessDenied):
            if not key:
                raise
            # For a folder nothing needs to be created; if writing is not allowed, the write itself raises.

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Create the bucket of a path, unless it exists.

        Raises:
            S3BucketExists: The path is a bucket that exists, and ``exist_ok`` is not set.

        Requests:
            those of ``mkdir``
        """
        bucket_name, key = self._split(path)
        if not bucket_name:
            return
        if key:
            self.mkdir(path)
        else:
            self.store.create_bucket(bucket_name, exist_ok=exist_ok)

    def rmdir(self, path: str) -> None:
        """Delete an empty bucket. Does nothing for a folder, which exists only while it has objects.

        Requests:
            none, or those of ``S3Bucket.delete_bucket()``
        """
        bucket_name, key = self._split(path)
        if bucket_name and not key:
            delete_bucket(self.store.bucket(bucket_name)._address)

    def invalidate_cache(self, path: str | None = None) -> None:
        """Do nothing: listings are not cached. Requests: none."""

    # -- special methods --------------------------------------------------------------------------------------------------------------

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MessagefluxS3FileSystem) and self.store == other.store

    def __hash__(self) -> int:
        return hash((type(self), self.store))

    def __dask_tokenize__(self) -> tuple[str, int, int]:
        # Stores of two boto3 clients have equal hashes if only their credentials differ: Dask would take one's data for the other's.
        return "messageflux_s3.fs", hash(self), id(self._connection.shared)

    def __repr__(self) -> str:
        return f"MessagefluxS3FileSystem({self.store!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.store,)


class _CompressedWriter(io.BufferedIOBase):
    """A writable file that compresses into an S3 object. A compressor does not close the file that it writes to; this class closes both."""

    def __init__(self, writer: ObjectWriter, compressor: IO[bytes]) -> None:
        super().__init__()
        self._writer = writer
        self._compressor = compressor
        self.wrapped_in(cast("IO[bytes]", self))

    def wrapped_in(self, file: IO[Any]) -> None:
        """Set the wrapper of this file that the user writes to, see :meth:`~messageflux_s3._files.writer.ObjectWriter.wrapped_in`."""
        self._writer.wrapped_in(file)

    name = property(lambda self: self._writer.name)
    mode = property(lambda self: self._writer.mode)

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return self._compressor.write(data)

    def flush(self) -> None:
        if not self._compressor.closed:  # close() calls flush() after the compressor was closed
            self._compressor.flush()

    def tell(self) -> int:
        """Return the position in the uncompressed data, as counted by the compressor."""
        return self._compressor.tell()

    def seekable(self) -> bool:
        return self._compressor.seekable()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._compressor.seek(offset, whence)

    def __enter__(self) -> _CompressedWriter:
        self._writer.__enter__()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with contextlib.nullcontext() if exc_type is None else contextlib.suppress(Exception):
            self._end_compressor()
        self._writer.__exit__(exc_type, exc, traceback)
        super().close()

    def close(self) -> None:
        """Write the end of the compressed data and commit, as :meth:`~messageflux_s3._files.writer.ObjectWriter.close` does."""
        if not self.closed:
            self._end_compressor()
            self._writer.close()
            super().close()

    def _end_compressor(self) -> None:
        try:
            self._compressor.close()
        except BaseException:
            try:
                self._writer.raise_failure()  # raise the error that closed the writer, not "closed file"
            finally:
                self._writer.abort()
                super().close()
            raise

    def _dealloc_warn(self, source: object) -> None:
        self._writer._dealloc_warn(source)

    def __del__(self) -> None:
        if not self.closed:
            with contextlib.suppress(Exception):
                self._compressor.close()  # otherwise its finalizer would write to a closed file
            self._writer.drop()


def register_as_s3() -> None:
    """Register this file system for ``s3://`` in the current process. Requests: none.

    Example:
        >>> import fsspec
        >>> register_as_s3()
        >>> fsspec.get_filesystem_class("s3").__name__
        'MessagefluxS3FileSystem'
    """
    fsspec.register_implementation("s3", MessagefluxS3FileSystem, clobber=True)


_READER_SETTINGS = ("block_size", "cache_type", "cache_options", "fill_cache", "size", "autocommit")


class _NamedAfterKey(str):
    """The path of a file whose name comes from a key, not from the user: a link of this name is replaced, not followed."""

    __slots__ = ()


class _Sources(NamedTuple):
    """The expanded sources of a ``copy``, ``get`` or ``put``."""

    paths: list[str]
    given: str | None
    """The path as it was given; None for a list of paths."""
    is_pattern: bool
    folders: set[str]
    """The paths that name only a folder, not an object of the same name."""

    def targets(self, target: str, is_folder: bool) -> list[str]:
        """Return each source's target by fsspec's rules: if the target is a folder, a path without a slash at the end is put into it."""
        is_into = is_folder and self.given is not None and not self.is_pattern and not self.given.endswith("/")
        is_only_match = self.is_pattern and len(self.paths) == 1
        return cast(
            "list[str]", other_paths(self.paths, target, exists=is_into or is_only_match, flatten=self.given is None)
        )


def _find_sources(
    fs: AbstractFileSystem, path: Any, recursive: bool, maxdepth: int | None, exists: Callable[[str], bool]
) -> _Sources:
    """Expand a path, a pattern or a list of them. Except for a list, leave out folders unless ``recursive`` is set without ``maxdepth``."""
    paths, folders = _expand(fs, path, recursive, maxdepth, exists)
    if not isinstance(path, (str, os.PathLike)):
        return _Sources(paths, None, False, folders)
    given = os.fspath(path)
    is_pattern = has_magic(given) and fs._strip_protocol(given) not in paths
    if not recursive or maxdepth is not None:
        paths = [each for each in paths if each not in folders and not fs.isdir(each)]
    return _Sources(paths, given, is_pattern, folders)


def _expand(
    fs: AbstractFileSystem,
    path: Any,
    recursive: bool,
    maxdepth: int | None,
    exists: Callable[[str], bool],
    **kwargs: Any,
) -> tuple[list[str], set[str]]:
    """Expand paths as fsspec's ``expand_path`` does, but never treat a path that exists as a pattern.

    A path or a pattern with a slash at the end names folders only; fsspec's version removes the slash and also returns a file of that name.

    Args:
        fs: The file system of the paths.
        path: A path or pattern, or several.
        recursive: Whether to include everything below a folder.
        maxdepth: The number of levels below a path; None for all.
        exists: A function that returns whether a file or a folder has exactly this path.
        kwargs: Passed to ``glob`` and ``find``.

    Returns:
        The paths, and the subset that names only folders, not objects of the same name.
    """
    if maxdepth is not None and maxdepth < 1:
        raise ValueError("maxdepth must be at least 1")
    found, folders, others = set[str](), set[str](), set[str]()
    for each in [path] if isinstance(path, (str, os.PathLike)) else path:
        name = fs._strip_protocol(each)
        slash = "/" if _is_folder_path(each) else ""
        is_pattern = has_magic(name) and not exists(f"{name}{slash}")
        roots = fs.glob(name, maxdepth=maxdepth, **kwargs) if is_pattern else [name]
        if is_pattern and slash:
            roots = [root for root in roots if fs.isdir(f"{root}/")]
        if recursive and not roots:
            raise FileNotFoundError(each)
        (folders if slash else others).update(roots)
        depth = maxdepth - 1 if is_pattern and maxdepth is not None else maxdepth  # glob() has gone down one level
        for root in roots:
            if recursive and depth != 0:
                below = fs.find(f"{root}{slash}", maxdepth=depth, withdirs=True, **kwargs)
                found.update(below)
                others.update(set(below) - {root})
            is_unchecked = is_pattern or not (recursive or slash) or root in found
            if is_unchecked or (fs.isdir(f"{root}/") if slash else fs.exists(root)):
                found.add(root)
    if not found:
        raise FileNotFoundError(path)
    return sorted(found), folders - others


def _raise_unless_left_out(error: OSError) -> None:
    """Raise the error of a listing, unless there is no such folder or bucket, or access to the bucket is denied."""
    is_denied = isinstance(error, S3AccessDenied) and error.bucket
    if not (is_denied or isinstance(error, FileNotFoundError)):
        raise error


def _is_folder_path(path: Any) -> bool:
    return bool(os.fspath(path).endswith("/"))


def _listed(paths: Any) -> Any:
    """Return several paths as a list, a single one unchanged: fsspec pairs only lists in their order, and sorts other iterables."""
    if isinstance(paths, (str, bytes, os.PathLike)) or not isinstance(paths, Iterable):
        return paths
    return [*paths]


def _pair(sources: list[Any], targets: list[Any]) -> list[tuple[Any, Any]]:
    if len(sources) != len(targets):
        raise ValueError(
            f"{len(sources)} paths cannot be copied to {len(targets)} others: pass the same number, or one folder"
        )
    return list(dict.fromkeys(zip(sources, targets, strict=True)))


def _roots(paths: Iterable[str]) -> list[str]:
    """Return the paths that are not below another path of the list."""
    roots: list[str] = []
    for path in sorted(paths, key=lambda path: path.split("/")):
        if path and not (roots and path.startswith(f"{roots[-1]}/")):
            roots.append(path)
    return roots


def _is_create(mode: str) -> bool:
    """Return whether fsspec's write mode is ``"create"``.

    Raises:
        ValueError: The mode is neither ``"create"`` nor ``"overwrite"``.
    """
    if mode not in ("create", "overwrite"):
        raise ValueError(f"mode must be 'create' or 'overwrite', not {mode!r}")
    return mode == "create"


def _folder(name: str) -> dict[str, Any]:
    return {"name": name, "size": 0, "type": "directory"}


def _file(obj: S3Object) -> dict[str, Any]:
    return {
        "name": f"{obj.bucket_name}/{obj.key}",
        "size": obj.size,
        "type": "file",
        "ETag": obj.etag,
        "LastModified": obj.last_modified,
        "StorageClass": obj.storage_class,
    }
