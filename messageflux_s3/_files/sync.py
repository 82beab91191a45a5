"""Synchronisation between a folder and a prefix: plans, and their execution.

Downloads MUST NOT leave the folder: keys are mapped to paths by ``_formats/keys.py``, and symbolic links inside the folder are not
followed.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import re
import stat
import tempfile
import time
import unicodedata
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, TypeAlias, cast

from .._bulk import batch, listing
from .._bulk.progress import Progress, reporting
from .._client.addresses import BucketAddress, ObjectAddress
from .._client.connection import Connection
from .._client.context_threads import ContextThreadPool
from .._formats import etags, render
from .._formats import metadata as user_metadata
from .._formats.etags import unquoted
from .._formats.head import Head
from .._formats.keys import (
    OUR_OWN_FILES,
    check_key,
    check_prefix_of_folder,
    check_text,
    glob_to_pattern,
    key_to_path,
    path_to_key,
)
from .._formats.times import as_utc
from .._objects import checksum, etag_md5
from ..errors import Failure, S3AccessDenied, S3BatchError, S3Error, S3InvalidName, S3NoSuchItem, S3ObjectChanged
from . import download, file_target, partial_file, upload

Compare = Literal["etag", "mtime", "size"]
Direction = Literal["to_store", "to_folder"]
Action = Literal["copy", "skip", "delete"]
Globs: TypeAlias = "str | Sequence[str] | None"

WORKERS = 8
SMALL_BYTES = 1024 * 1024
"""Files up to this size are transferred in batches, in one request each; larger ones by ``upload.py`` and ``download.py``."""
_HELD_BYTES = 64 * 1024 * 1024
_STEPS_SHOWN = 1000
_STEPS_OPEN = 30
_MIB = 1024 * 1024
_PART_SIZES_TRIED = 8
_SETTLED = 2.0
"""An object of at least this age, in seconds, gets another LastModified when it is written again, even in whole seconds."""


class Selection(NamedTuple):
    """The part of a folder or prefix that is transferred, by relative key.

    Attributes:
        include: Globs; only keys that match one are selected. None for all keys.
        exclude: Globs; keys that match one are not selected.
    """

    include: Globs = None
    exclude: Globs = None

    def matcher(self) -> Callable[[str], bool]:
        """Return a function that tests whether a relative key is selected.

        Raises:
            TypeError: The globs are not text.
            ValueError: A glob is invalid, or ``include`` is empty.
        """
        included, excluded = _patterns("include", self.include), _patterns("exclude", self.exclude)
        if self.include is not None and not included:
            raise ValueError("include is an empty list, which no key matches; None matches every key")

        def matches(relative: str) -> bool:
            if included and not any(pattern.fullmatch(relative) for pattern in included):
                return False
            return not any(pattern.fullmatch(relative) for pattern in excluded)

        return matches


EVERYTHING = Selection()


class LocalFile(NamedTuple):
    """A file in a folder."""

    path: Path
    size: int
    modified: float
    dangles: bool = False


class RemoteObject(NamedTuple):
    """An object below a prefix."""

    key: str
    size: int
    etag: str | None
    modified: float
    version_id: str | None = None


@dataclass(frozen=True, slots=True)
class SyncStep:
    """One file or object in a plan.

    Attributes:
        action: ``"copy"``, ``"skip"`` or ``"delete"``.
        key: The key in the bucket.
        path: The file's path, relative to the folder, with ``/`` between names.
        size: The size in bytes of the file or object that is copied, kept or deleted.
        reason: The reason for the action.
        etag: The object's ETag when the plan was made.
        modified: The time of last modification, in seconds since 1970: of the object, or of a file to be deleted.
        version_id: The version to download; None for the current one.
    """

    action: Action
    key: str
    path: str
    size: int
    reason: str
    etag: str | None = None
    modified: float | None = None
    version_id: str | None = None
    _identity: file_target.Identity | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class SyncPlan:
    """The steps that make a prefix equal to a folder, or a folder equal to a prefix. Print the plan, then ``apply()`` it.

    Attributes:
        steps: A step for every file and object concerned, in the order of keys.
        direction: ``"to_store"`` or ``"to_folder"``.
        bucket_name: The bucket.
        prefix: The prefix in it.
        folder: The folder.
        applied: Whether the plan was applied.

    Example:
        >>> import pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (folder / "a.txt").write_text("hello")
        >>> plan = bucket.sync_from_folder(folder, "docs", dry_run=True)
        >>> [(step.action, step.key) for step in plan.steps]
        [('copy', 'docs/a.txt')]
        >>> plan.apply().applied
        True
    """

    steps: tuple[SyncStep, ...]
    direction: Direction
    bucket_name: str
    prefix: str
    folder: str
    applied: bool = False
    _connection: Connection | None = field(default=None, repr=False, compare=False)

    @property
    def copied(self) -> list[SyncStep]:
        """The steps that copy. Requests: none."""
        return [step for step in self.steps if step.action == "copy"]

    @property
    def skipped(self) -> list[SyncStep]:
        """The steps that change nothing. Requests: none."""
        return [step for step in self.steps if step.action == "skip"]

    @property
    def deleted(self) -> list[SyncStep]:
        """The steps that delete. Requests: none."""
        return [step for step in self.steps if step.action == "delete"]

    def apply(self, *, progress: Progress = None) -> SyncPlan:
        """Apply the plan: first all copies, and the deletions only if every copy succeeded.

        Files and objects that were written since the plan was made are neither overwritten nor deleted, but reported as failures, unless
        they have the content that the plan would copy. Files and objects to be deleted are reported too if their counterpart exists by
        now. Files are checked immediately before they are replaced, objects once, before the first upload.

        Args:
            progress: True, a callable or None.

        Returns:
            The same plan, applied.

        Raises:
            S3BatchError: Some steps failed, each with its error; the others were carried out.
            ValueError: The plan was not made by a method of a bucket.

        Requests:
            1 GET or upload per file; for uploads, and for deletions, 1 listing below the keys' common prefix; 1 per 1,000 deleted objects
        """
        return apply(self, progress)

    def __str__(self) -> str:
        ends = (render.visible(self.folder), render.visible(f"s3://{self.bucket_name}/{self.prefix}"))
        source, target = ends if self.direction == "to_store" else ends[::-1]
        rows = [(step.action, f"{step.size:,}", render.visible(step.key), step.reason) for step in self.steps]
        widths = [max((len(row[at]) for row in rows), default=0) for at in range(3)]
        lines = [f"{source} -> {target}{' (applied)' if self.applied else ''}"]
        lines += [f"{a:<{widths[0]}}  {b:>{widths[1]}}  {c:<{widths[2]}}  {d}" for a, b, c, d in rows]
        return "\n".join([*lines, self._summary()])

    def _summary(self) -> str:
        counts = (len(self.copied), len(self.skipped), len(self.deleted))
        words = ("copied", "skipped", "deleted") if self.applied else ("to copy", "to skip", "to delete")
        return ", ".join(f"{count:,} {word}" for count, word in zip(counts, words, strict=True))

    def _repr_html_(self) -> str:
        ends = (self.folder, f"s3://{self.bucket_name}/{self.prefix}")
        source, target = ends if self.direction == "to_store" else ends[::-1]
        title = f"sync plan{' (applied)' if self.applied else ''}"
        total = sum(step.size for step in self.steps) or 1
        groups = (("copy", self.copied), ("delete", self.deleted), ("skip", self.skipped))
        rows = [
            (action, len(steps), render.Bytes(size), render.Bar(size / total))
            for action, steps in groups
            for size in [sum(step.size for step in steps)]
        ]
        parts = [
            render.facts(title, [("from", source), ("to", target)]),
            render.table(["action", "files", "bytes", "share"], rows, note=self._summary()),
        ]
        for action, steps in groups:
            if steps:
                table = render.table(
                    ["key", "size", "why"],
                    [(step.key, render.Bytes(step.size), step.reason) for step in steps[:_STEPS_SHOWN]],
                    note=f"the first {_STEPS_SHOWN:,} steps" if len(steps) > _STEPS_SHOWN else "",
                )
                # What changes something is visible; what is skipped can be opened.
                is_open = action != "skip" and len(steps) <= _STEPS_OPEN
                parts.append(render.section(f"{action}: {len(steps):,}", table, is_open=is_open))
        return render.stack(*parts).html

    def __reduce__(self) -> tuple[Any, ...]:
        state = (self.steps, self.direction, self.bucket_name, self.prefix, self.folder, self.applied, self._connection)
        return SyncPlan, state


def apply(plan: SyncPlan, progress: Progress, *, is_fresh: bool = False) -> SyncPlan:
    """Apply a plan, see :meth:`SyncPlan.apply`.

    Args:
        plan: The plan.
        progress: True, a callable or None.
        is_fresh: Whether the plan was made just now, so that the objects are not listed again before the uploads.
    """
    if plan.applied:
        return replace(plan, applied=True)
    if plan._connection is None:
        raise ValueError(
            "this plan was not made by sync_from_folder() or sync_to_folder(): it has no store to apply it to"
        )
    address, folder = BucketAddress(plan._connection, plan.bucket_name), Path(plan.folder)
    outcomes = _Outcomes("sync")
    total = sum(step.size for step in plan.copied)
    with reporting(progress, total, plan.prefix or plan.bucket_name) as report:
        if plan.direction == "to_store":
            conflicts = {} if is_fresh else _objects_written_since(address, folder, plan.copied)
            steps = _without_conflicts(address, plan.copied, conflicts, outcomes, is_download=False)
            files = [_File(step.key, folder.joinpath(*step.path.split("/")), step.size) for step in steps]
            _send(address, files, report, outcomes)
        else:
            conflicts = _files_written_since(folder, plan.copied)
            steps = _without_conflicts(address, plan.copied, conflicts, outcomes, is_download=True)
            _fetch(address, folder, steps, report, outcomes, overwrite=lambda step: step._identity is not None)
    if plan.direction == "to_store":
        _remove_objects(address, plan.prefix, folder, plan.deleted)
    else:
        _remove_files(address, folder, plan.deleted)
    return replace(plan, applied=True)


# -- planning -------------------------------------------------------------------------------------------------------------------------


def plan_to_store(
    address: BucketAddress,
    folder: str | os.PathLike[str],
    prefix: str,
    *,
    delete: bool = False,
    compare: Compare = "etag",
    selection: Selection = EVERYTHING,
) -> SyncPlan:
    """Return the plan that makes the prefix equal to the folder.

    Requests:
        1 per 1,000 keys below the prefix; 1 or 2 HEADs for each object that cannot be compared by its listed ETag (for parts of
        unequal sizes 1 HEAD per part); once for each bucket 1 GET if recorded MD5s and ETags disagree
    """
    _check_compare(compare)
    wanted = selection.matcher()
    prefix = folder_prefix(prefix)
    folder = _path_of(folder).absolute()  # the plan may be applied after a change of the current directory
    passed_over: set[str] = set()
    files = keys_of_folder(folder, prefix, wanted, passed_over)
    remote = {entry.key: entry for entry in objects_below(address, prefix)}
    pairs = [
        (local, remote[key], local.modified > remote[key].modified)
        for key, (_, local) in files.items()
        if key in remote
    ]
    reasons = _differences(address, pairs, compare, is_download=False)
    steps = []
    for key, (path, local) in files.items():
        reason = reasons[key] if key in remote else _why_no_key(key) or "new"
        entry = remote.get(key)
        steps.append(
            SyncStep(
                "copy" if reason else "skip", key, path, local.size, reason or "identical",
                None if entry is None else entry.etag, None if entry is None else entry.modified,
            )
        )  # fmt: skip
    for key, there in remote.items():
        if not delete or key in files or not wanted(key[len(prefix) :]) or _is_live_marker(there, prefix, folder):
            continue
        if _is_hidden(key[len(prefix) :], passed_over):
            why = "not deleted: the folder has a link, a special file or a partial download of this name"
            steps.append(SyncStep("skip", key, "", there.size, why, there.etag, there.modified))
        else:
            steps.append(SyncStep("delete", key, "", there.size, "not in the folder", there.etag, there.modified))
    steps.sort(key=lambda step: step.key)
    return SyncPlan(tuple(steps), "to_store", address.name, prefix, str(folder), False, address.connection)


def plan_to_folder(
    address: BucketAddress,
    prefix: str,
    folder: str | os.PathLike[str],
    *,
    delete: bool = False,
    compare: Compare = "etag",
    selection: Selection = EVERYTHING,
) -> SyncPlan:
    """Return the plan that makes the folder equal to the prefix.

    Raises:
        S3InvalidName: Two keys have the same file path, or one needs a folder where another is a file; the error names both.

    Requests:
        1 per 1,000 keys below the prefix; 1 or 2 HEADs for each object that cannot be compared by its listed ETag (for parts of
        unequal sizes 1 HEAD per part); once for each bucket 1 GET if recorded MD5s and ETags disagree
    """
    _check_compare(compare)
    wanted = selection.matcher()
    prefix = folder_prefix(prefix)
    root = _folder_to_write(folder)
    paths, steps = _paths_in(root, prefix, objects_below(address, prefix), wanted)
    # Before the comparison: if a file is written while it is compared, its identity then differs from the one recorded here.
    identities = {path: _identity(root / path) for path in paths}
    here = local_files(root) if root.is_dir() else {}
    pairs = [(here[path], entry, entry.modified > here[path].modified) for path, entry in paths.items() if path in here]
    reasons = _differences(address, pairs, compare, is_download=True)
    steps += [
        _step_to_folder(path, entry, reasons.get(entry.key, "new"), identities[path]) for path, entry in paths.items()
    ]
    if delete:
        kept = {path_to_key(path) for path in paths}
        for path, local in here.items():
            relative = path_to_key(path)
            if relative not in kept and wanted(relative):
                steps.append(
                    SyncStep(
                        "delete", prefix + relative, path, local.size, "not below the prefix",
                        modified=local.modified, _identity=file_target.identity(local.path),
                    )
                )  # fmt: skip
    return _plan_to_folder(address, prefix, root, steps)


def plan_download(
    address: BucketAddress,
    prefix: str,
    folder: str | os.PathLike[str],
    *,
    selection: Selection = EVERYTHING,
    objects: Iterable[RemoteObject] | None = None,
) -> SyncPlan:
    """Return the plan that downloads every object below the prefix, whatever the folder holds.

    Args:
        address: The bucket.
        prefix: The prefix.
        folder: The folder.
        selection: The objects to download, by relative key.
        objects: The objects below the prefix; None to list them.

    Raises:
        S3InvalidName: Two keys have the same file path, or one needs a folder where another is a file; the error names both.

    Requests:
        none, or 1 per 1,000 keys below the prefix
    """
    wanted = selection.matcher()
    prefix = folder_prefix(prefix)
    root = _folder_to_write(folder)
    found = objects_below(address, prefix) if objects is None else objects
    paths, steps = _paths_in(root, prefix, found, wanted)
    steps += [_step_to_folder(path, entry, "new") for path, entry in paths.items()]
    return _plan_to_folder(address, prefix, root, steps)


def _folder_to_write(folder: str | os.PathLike[str]) -> Path:
    """Return the folder's absolute path, since the plan may be applied after a change of the current directory."""
    root = _path_of(folder).absolute()
    if root.exists() and not root.is_dir():
        raise FileExistsError(17, "a file has the name of the folder", str(root))
    return root


def _paths_in(
    root: Path, prefix: str, found: Iterable[RemoteObject], wanted: Callable[[str], bool]
) -> tuple[dict[str, RemoteObject], list[SyncStep]]:
    """Return the objects by their relative file paths, and a step for each folder marker.

    Raises:
        S3InvalidName: Two keys have the same file path, or one needs a folder where another is a file.
    """
    paths: dict[str, RemoteObject] = {}
    steps = []
    for entry in found:
        relative = entry.key[len(prefix) :]
        if not relative or not wanted(relative):
            continue
        path = _path_in(
            root, relative[:-1] if _is_marker(entry) and relative != "/" and not relative.endswith("//") else relative
        )
        if _is_marker(entry):
            steps.append(SyncStep("skip", entry.key, path, 0, "a folder marker"))
            continue
        other = paths.setdefault(path, entry)
        if other is not entry:
            what = (
                f"several versions of the key {entry.key!r}"
                if other.key == entry.key
                else f"the keys {other.key!r} and {entry.key!r}"
            )
            raise S3InvalidName(f"{what} have the same file path here; download them one by one", key=entry.key)
    keys = {path: entry.key for path, entry in paths.items()}
    try:
        _refuse_collisions(keys, ignore_case=True)
    except S3InvalidName:  # test with a temporary file only if needed: planning should not write anything
        _refuse_collisions(keys, ignore_case=ignores_case(root))
    return paths, steps


def _step_to_folder(
    path: str, entry: RemoteObject, reason: str | None, identity: file_target.Identity | None = None
) -> SyncStep:
    """Return the step of an object, which is skipped if there is no reason to copy it."""
    action: Action = "copy" if reason else "skip"
    why = reason or "identical"
    return SyncStep(action, entry.key, path, entry.size, why, entry.etag, entry.modified, entry.version_id, identity)


def _identity(path: Path) -> file_target.Identity | None:
    try:
        return file_target.identity(path)
    except OSError:
        return None  # the name is too long, for example: the copy will raise the error


def _plan_to_folder(address: BucketAddress, prefix: str, root: Path, steps: list[SyncStep]) -> SyncPlan:
    steps.sort(key=lambda step: step.key)
    return SyncPlan(tuple(steps), "to_folder", address.name, prefix, str(root), False, address.connection)


def folder_prefix(prefix: str | None) -> str:
    """Return the prefix with a trailing slash, so that ``photos`` means ``photos/`` and does not match ``photos2/``."""
    if prefix is None:
        return ""
    prefix = check_text("prefix", prefix)
    check_prefix_of_folder(prefix)
    return prefix if not prefix or prefix.endswith("/") else f"{prefix}/"


def _path_of(folder: str | os.PathLike[str]) -> Path:
    """Return a folder's path; raise TypeError or ValueError, which name the argument, if it cannot be one."""
    try:
        path = os.fspath(folder)
    except TypeError:
        raise TypeError(f"folder must be text or a path, not {type(folder).__name__}") from None
    if not isinstance(path, str):
        raise TypeError(f"folder must be text or a path of text, not of {type(path).__name__}")
    if not path:  # Path("") is the current folder, in which a sync that deletes would delete every file
        raise ValueError("folder is empty; pass the path of a folder ('.' is the current one)")
    if "\0" in path:
        raise ValueError("folder contains NUL, which no path can")
    return Path(path)


def local_files(folder: str | os.PathLike[str], passed_over: set[str] | None = None) -> dict[str, LocalFile]:
    """Return the files of a folder by their relative paths, sorted. Links to files are followed; links to folders are not.

    A dangling link counts as a file that cannot be read: if it were ignored, a sync that deletes would delete its object.

    Args:
        folder: The folder.
        passed_over: A set to which this function adds the relative paths of entries that may hide files: links to folders, dangling
            links, special files, and names that end like the library's partial downloads.

    Raises:
        FileNotFoundError: The folder does not exist.
        NotADirectoryError: ``folder`` is a file.
    """
    root = _path_of(folder)
    if not root.exists():
        raise FileNotFoundError(2, "the folder does not exist", str(root))
    if not root.is_dir():
        raise NotADirectoryError(20, "this is a file, not a folder", str(root))
    found: dict[str, LocalFile] = {}
    passed_over = set() if passed_over is None else passed_over
    waiting = [(str(root), "")]
    while waiting:
        current, above = waiting.pop()
        try:
            with os.scandir(current) as listed:
                entries = [*listed]
        except FileNotFoundError:
            if not above:
                raise
            passed_over.add(above[:-1])  # deleted or moved while the folder was being read
            continue
        for entry in entries:
            name = f"{above}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                waiting.append((entry.path, f"{name}/"))
                continue
            try:
                status = entry.stat(follow_symlinks=False)
                dangles = False
                if stat.S_ISLNK(status.st_mode):
                    try:
                        status = Path(entry.path).stat()
                    except OSError:  # a dangling link, a loop of links, or a folder that this user cannot read
                        dangles = True
            except FileNotFoundError:
                passed_over.add(name)
                continue
            is_file = dangles or stat.S_ISREG(status.st_mode)
            if dangles or not is_file or entry.name.endswith(OUR_OWN_FILES):
                passed_over.add(name)
            if is_file and not entry.name.endswith(OUR_OWN_FILES):
                found[name] = LocalFile(Path(entry.path), status.st_size, status.st_mtime, dangles)
    return dict(sorted(found.items()))


def keys_of_folder(
    folder: str | os.PathLike[str],
    prefix: str,
    wanted: Callable[[str], bool] = lambda _: True,
    passed_over: set[str] | None = None,
) -> dict[str, tuple[str, LocalFile]]:
    """Return the keys that the files of a folder get below a prefix; for each key the file's relative path, and the file.

    A file name that is not UTF-8, or is too long, makes a key that is not valid in S3; the upload of such a file fails.

    Raises:
        S3InvalidName: The prefix is not valid in S3, or two files have the same key.
    """
    if prefix:
        check_key(prefix)
    keys: dict[str, tuple[str, LocalFile]] = {}
    for path, local in local_files(folder, passed_over).items():
        relative = path_to_key(path)
        if not wanted(relative):
            continue
        key = prefix + relative
        if key in keys:
            raise S3InvalidName(f"the files {keys[key][0]!r} and {path!r} would both become the key {key!r}", key=key)
        keys[key] = (path, local)
    return keys


def _why_no_key(key: str) -> str | None:
    """Return why a key is not valid in S3; None if it is."""
    try:
        check_key(key)
    except S3InvalidName as error:
        return str(error)
    return None


def objects_below(address: BucketAddress, prefix: str) -> Iterator[RemoteObject]:
    """Yield the objects below a prefix, as listed."""
    for page in listing.pages(address, prefix=prefix):
        for entry in page.objects:
            yield RemoteObject(entry[0], int(entry[3]), unquoted(entry[2]), _seconds(entry[1]))


def _seconds(moment: str | datetime) -> float:
    return as_utc(moment).timestamp()


def _is_hidden(relative: str, passed_over: set[str]) -> bool:
    """Return whether the file of a key may exist behind a link that is not followed, or as a special file that is not read."""
    return bool(passed_over) and any(
        "/".join(path.split("/")[:count]) in passed_over
        for path in (key_to_path(relative), relative)  # path_to_key() keeps unescaped names: try both
        for count in range(1, path.count("/") + 2)
    )


def _path_in(folder: Path, relative: str) -> str:
    """Return the relative path of the file that a key has in a folder.

    Usually :func:`~messageflux_s3._formats.keys.key_to_path` gives the path. But a local file may have a name that this function never
    produces, such as ``My%20Docs/a.txt``. The key of such a file is the name itself: if the folder has the file, return its name.
    """
    path = key_to_path(relative)
    if path == relative or os.path.lexists(folder.joinpath(*path.split("/"))) or not _is_plain_path(relative):
        return path
    is_there = path_to_key(relative) == relative and os.path.lexists(folder.joinpath(*relative.split("/")))
    return relative if is_there else path


def _is_plain_path(relative: str) -> bool:
    """Return whether a key can be used unescaped as a relative path that stays in the folder and is not a partial download."""
    names = relative.split("/")
    return (
        all(name not in ("", ".", "..") and not name.lower().endswith(OUR_OWN_FILES) for name in names)
        and "\0" not in relative
        and not (os.name == "nt" and any(character in relative for character in "\\:"))
    )


def _is_marker(entry: RemoteObject) -> bool:
    """Return whether this is a folder marker: an empty object whose key ends with a slash."""
    return entry.key.endswith("/") and entry.size == 0


def _is_live_marker(entry: RemoteObject, prefix: str, folder: Path) -> bool:
    relative = entry.key[len(prefix) :].rstrip("/")
    return _is_marker(entry) and (not relative or (folder / _path_in(folder, relative)).is_dir())


def _check_compare(compare: str) -> None:
    if compare not in ("etag", "mtime", "size"):
        raise ValueError(f"compare must be 'etag', 'mtime' or 'size', not {compare!r}")


Pair: TypeAlias = "tuple[LocalFile, RemoteObject, bool]"
"""A file, its object, and whether the source of the sync is newer than its target."""


def _differences(
    address: BucketAddress, pairs: Sequence[Pair], compare: Compare, *, is_download: bool
) -> dict[str, str | None]:
    """Return for each key the difference between file and object; None if they are identical."""
    found: dict[str, str | None] = {}
    undecided: list[Pair] = []
    for pair in pairs:
        local, remote, source_is_newer = pair
        if local.dangles:
            found[remote.key] = "dangling link"
        elif local.size != remote.size:
            found[remote.key] = "different size"
        elif compare == "size":
            found[remote.key] = None
        elif compare == "mtime":
            found[remote.key] = "newer" if source_is_newer else None
        elif remote.etag is not None and etag_md5.md5_of({"ETag": remote.etag}) and _has_md5(local.path, remote.etag):
            found[remote.key] = None  # equal MD5s are conclusive, even if other ETags of the bucket are not MD5s
        else:
            undecided.append(pair)

    def look(pair: Pair) -> str | None:
        try:
            return _difference(address, pair[0], pair[1], is_download=is_download)
        except OSError:
            return "cannot be compared"  # the copy will raise the file's error

    with ContextThreadPool(WORKERS, "messageflux-s3-sync") as executor:
        for (_, remote, _), reason in zip(undecided, executor.map(look, undecided), strict=True):
            found[remote.key] = reason
    return found


def _difference(bucket: BucketAddress, local: LocalFile, remote: RemoteObject, *, is_download: bool) -> str | None:
    """Compare a file with an object of the same size whose listed ETag is not conclusive; return the difference, or None.

    The store's own values decide: checksums of the whole object, else an ETag that is the MD5, else the ETag of a multipart object
    together with the sizes of its parts. Only if none of them can be compared, use the MD5 that an earlier sync recorded (the weakest
    evidence, since a program that rewrites an object may keep its metadata), and for downloads the modification time that a download set
    on the file. A file that cannot be compared is copied.
    """
    address = bucket.object(remote.key, remote.version_id)
    has_etag_of_parts = None
    try:
        if remote.etag is not None and etag_md5.md5_of_parts({"ETag": remote.etag}):
            has_etag_of_parts = _has_etag_of_parts(address, local, str(remote.etag))
            if has_etag_of_parts:
                return None
        head = address.connection.call("HeadObject", **address.parameters, ChecksumMode="ENABLED")
    except (S3AccessDenied, S3NoSuchItem):
        return "cannot be compared"  # HEAD is not allowed, or the object was deleted meanwhile
    if not etags.same(etags.unquoted(head.get("ETag")), remote.etag) or head.get("ContentLength") != remote.size:
        return "changed meanwhile"
    if digests := [*_stored_digests(head)]:
        return None if all(digest(local.path) == value for value, digest in digests) else "different content"
    if has_etag_of_parts is False and etag_md5.known_md5_of_parts(address.bucket, head) is not None:
        return "different content"
    recorded = {name.lower(): value for name, value in (head.get("Metadata") or {}).items()}.get(
        user_metadata.CONTENT_MD5
    )
    # A proxy may mark the ETag as weak in one response and not in the other.
    strong = next(
        (etag for etag in (remote.etag, etags.unquoted(head.get("ETag"))) if etag and not etags.is_weak(etag)), None
    )
    md5 = etag_md5.known_md5(address.bucket, {**head, "ETag": strong})
    if md5 is not None:
        ours = _md5(local.path)
        if ours == md5:
            return None
        # Either the object was rewritten with its old metadata, or the bucket's ETags are not MD5s: compare the content.
        is_same = ours == recorded and checksum.is_content(address, md5, ours)
        return None if is_same else "different content"
    if recorded:
        return None if _has_md5(local.path, recorded) else "different content"
    if is_download and local.modified == remote.modified:
        return None  # a download sets this time, unless the object could still be written again with the same time
    return "cannot be compared"


def _stored_digests(head: Mapping[str, Any]) -> Iterator[tuple[str, Callable[[Path], str]]]:
    """Yield the whole-object checksums in a HEAD response, each with the function that computes it from a file."""
    if head.get("ChecksumType") == "COMPOSITE":
        return
    ways: tuple[tuple[str, Callable[[Path], str]], ...] = (
        ("ChecksumSHA256", partial(_digest, "sha256")), ("ChecksumSHA1", partial(_digest, "sha1")), ("ChecksumCRC32", _crc32),
    )  # fmt: skip
    for name, digest in ways:
        if (value := head.get(name)) and "-" not in value:
            yield value, digest


def _has_etag_of_parts(address: ObjectAddress, local: LocalFile, etag: str) -> bool | None:
    """Return whether a file has the ETag of a multipart object, computed with the same parts; None if the sizes of the parts are unknown.

    Requests:
        1 HEAD; if the ETag differs 1 more HEAD, or for parts of unequal sizes 1 for each
    """
    count = int(etag.rpartition("-")[2])
    told = checksum.told_part_sizes(address, local.size, count)
    is_known = False
    for sizes in told:
        is_known = True
        if etag_md5.hash_parts(_pieces(local.path), sizes) == etag:
            return True
    if is_known:
        return False
    likely = (checksum.uniform_parts(local.size, size) for size in _likely_part_sizes(local.size, count))
    return True if any(etag_md5.hash_parts(_pieces(local.path), sizes) == etag for sizes in likely) else None


def _likely_part_sizes(size: int, count: int) -> list[int]:
    """Return part sizes in whole MiB that result in this number of parts, common defaults first. Used if the store returns no sizes."""
    smallest = -(-size // count)
    largest = size if count == 1 else -(-size // (count - 1)) - 1
    usual = [mebibytes * _MIB for mebibytes in (16, 8, 5, 10, 15, 32, 50, 64, 100)]
    whole = range(-(-smallest // _MIB) * _MIB, min(largest, smallest + 64 * _MIB) + 1, _MIB)
    found = [each for each in dict.fromkeys([*usual, *whole]) if smallest <= each <= largest]
    return (found or [smallest] if count > 1 else [size])[:_PART_SIZES_TRIED]


def _pieces(path: Path) -> Iterator[bytes]:
    with _open_regular(path) as file:
        while piece := file.read(_MIB):
            yield piece


def _open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading. O_NONBLOCK is set: if a pipe has replaced the file, opening it would block otherwise.

    Raises:
        OSError: The path is not a regular file.
    """
    fd = os.open(
        path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    )
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "not a regular file any more", str(path))
        return cast(BinaryIO, os.fdopen(fd, "rb", buffering=0))
    except BaseException:
        os.close(fd)
        raise


def _digest(algorithm: str, path: Path) -> str:
    digest = hashlib.new(algorithm, usedforsecurity=False)
    for piece in _pieces(path):
        digest.update(piece)
    return base64.b64encode(digest.digest()).decode("ascii")


def _crc32(path: Path) -> str:
    value = 0
    for piece in _pieces(path):
        value = zlib.crc32(piece, value)
    return base64.b64encode(value.to_bytes(4, "big")).decode("ascii")


def _has_md5(path: Path, md5: str) -> bool:
    try:
        return _md5(path) == md5
    except OSError:
        return False  # the copy will raise the file's error


def _md5(path: Path) -> str:
    return _hexadecimal_md5(_pieces(path))


def _hexadecimal_md5(pieces: Iterable[bytes]) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def _patterns(name: str, globs: Globs) -> list[re.Pattern[str]]:
    if globs is None:
        return []
    given = [globs] if isinstance(globs, str) else [*globs]
    if not all(isinstance(glob, str) for glob in given):
        raise TypeError(f"{name} must be a glob or an iterable of globs, as text")
    return [glob_to_pattern(glob)[1] for glob in given]


def _refuse_collisions(keys: dict[str, str], *, ignore_case: bool) -> None:
    """Raise S3InvalidName if two keys have the same file path, or one needs a folder where another is a file."""

    def folded(path: str) -> str:
        return unicodedata.normalize("NFC", path).casefold() if ignore_case else path

    files: dict[str, str] = {}
    for path, key in keys.items():
        other = files.setdefault(folded(path), key)
        if other != key:
            raise S3InvalidName(
                f"the keys {other!r} and {key!r} have the same file path here; download them to two folders", key=key
            )
    for path, key in keys.items():
        above = folded(path)
        while (at := above.rfind("/")) != -1:
            above = above[:at]
            if above in files:
                raise S3InvalidName(
                    f"the key {files[above]!r} is a file where {key!r} needs a folder; download them to two folders",
                    key=key,
                )


def ignores_case(folder: Path) -> bool:
    """Return whether the folder's file system ignores case; tested with a temporary file, since it differs between mounts."""
    existing = folder
    while not existing.is_dir():
        existing = existing.parent
    try:
        with tempfile.NamedTemporaryFile(prefix=".mfs3-Case", suffix=OUR_OWN_FILES[0], dir=existing) as probe:
            return Path(probe.name).with_name(Path(probe.name).name.swapcase()).exists()
    except OSError:
        return os.name == "nt"


# -- execution ------------------------------------------------------------------------------------------------------------------------

Job: TypeAlias = "tuple[str, int, Callable[[], object]]"


class _Outcomes:
    """The outcome of each key; errors are collected and raised at the end."""

    def __init__(self, operation: str) -> None:
        self.operation = operation
        self.succeeded: list[str] = []
        self.failures: list[Failure] = []

    def note(self, key: str, error: Exception | None = None) -> None:
        """Record that a key succeeded or failed. An error that is neither S3Error nor OSError is raised at once: it concerns all keys."""
        if error is None:
            self.succeeded.append(key)
        elif isinstance(error, S3Error):
            self.failures.append(Failure(key, None, error))
        elif isinstance(error, OSError):
            wrapped = S3Error(f"{key!r}: {error}", operation=self.operation, key=key)
            wrapped.__cause__ = error
            self.failures.append(Failure(key, None, wrapped))
        else:
            raise error

    def run(self, jobs: Iterable[Job]) -> None:
        """Run jobs: small ones concurrently, large ones one by one (each of them sends its parts concurrently)."""
        waiting: deque[tuple[str, Future[object]]] = deque()

        def collect() -> None:
            key, future = waiting.popleft()
            try:
                future.result()
            except Exception as error:
                self.note(key, error)
            else:
                self.note(key)

        executor = ContextThreadPool(WORKERS, "messageflux-s3-sync")
        try:
            for key, size, job in jobs:
                if size > upload.THRESHOLD_BYTES:
                    while waiting:
                        collect()
                waiting.append((key, executor.submit(job)))
                if size > upload.THRESHOLD_BYTES or len(waiting) >= WORKERS * 4:
                    collect()
            while waiting:
                collect()
        finally:
            executor.shutdown(wait=True, cancel_futures=True)

    def settle(self) -> None:
        """Raise an error if any key failed.

        Raises:
            S3BatchError: Some keys failed.
        """
        if self.failures:
            first = self.failures[0]
            raise S3BatchError(
                f"{len(self.failures)} of {len(self.failures) + len(self.succeeded)} failed, first {first.key!r}: {first.error}",
                operation=self.operation,
                failures=self.failures,
                succeeded=self.succeeded,
            )


class _File(NamedTuple):
    """A file to send, and its key."""

    key: str
    path: Path
    size: int


def _send(
    address: BucketAddress,
    files: Sequence[_File],
    report: Callable[[int], None],
    outcomes: _Outcomes,
    metadata: Mapping[str, str] | None = None,
    config: upload.UploadConfig = upload.DEFAULT_CONFIG,
    **extra: Any,
) -> None:
    """Upload files: first the small ones in batches, then the others."""
    connection, bucket_name = address
    files = [*_with_keys(files, outcomes)]

    def with_md5(digest: Callable[[], str]) -> Mapping[str, str] | None:
        """Return the metadata; in a sync, if the bucket's ETags are not MD5s, add the MD5, which the next sync compares."""
        if outcomes.operation != "sync" or not etag_md5.are_no_md5s(BucketAddress(connection, bucket_name)):
            return metadata
        return {**(metadata or {}), user_metadata.CONTENT_MD5: digest()}

    def read() -> Iterator[batch.PutItem]:
        for file in files:
            if file.size <= SMALL_BYTES:
                try:
                    with _open_regular(file.path) as opened:
                        body = opened.read()
                    yield batch.PutItem(file.key, body, with_md5(partial(_hexadecimal_md5, [body])), extra)
                except OSError as error:
                    outcomes.note(file.key, error)

    with closing(batch.put_many(BucketAddress(connection, bucket_name), read(), max_bytes=_HELD_BYTES)) as written:
        for key, outcome in written:
            if isinstance(outcome, S3Error):
                outcomes.note(key, outcome)
            else:
                outcomes.note(key)
                report(outcome.size or 0)

    def job(file: _File) -> Callable[[], object]:
        return lambda: _upload(file)

    def _upload(file: _File) -> None:
        before = file.path.stat()
        if not stat.S_ISREG(before.st_mode):
            raise OSError(errno.EINVAL, "not a regular file any more", str(file.path))
        recorded = with_md5(partial(_md5, file.path))
        target = address.object(file.key)
        upload.upload(target, file.path, metadata=recorded, config=config, progress=report, **extra)
        after = file.path.stat()
        if recorded is not metadata and (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            # The file was written meanwhile: the recorded MD5 may not match the uploaded content.
            upload.upload(target, file.path, metadata=metadata, config=config, **extra)

    outcomes.run((file.key, file.size, job(file)) for file in files if file.size > SMALL_BYTES)
    outcomes.settle()


def _with_keys(files: Iterable[_File], outcomes: _Outcomes) -> Iterator[_File]:
    """Yield the files whose keys are valid in S3; record the others as failed."""
    for file in files:
        try:
            check_key(file.key)
        except S3InvalidName as error:
            outcomes.note(file.key, error)
        else:
            yield file


def _fetch(
    address: BucketAddress,
    folder: Path,
    steps: Sequence[SyncStep],
    report: Callable[[int], None],
    outcomes: _Outcomes,
    *,
    overwrite: Callable[[SyncStep], bool],
) -> None:
    """Download objects: first the small ones in batches, then the others. ``overwrite`` tells whether to replace the file of a step."""
    connection, bucket_name = address

    def fetch_one(step: SyncStep) -> None:
        target = inside(folder, step.path)
        head = download.download(
            address.object(step.key, step.version_id),
            file_target.Destination(target, overwrite(step), follow=False, replaces=step._identity),
            progress=report,
        )
        _set_time(target, head, step)

    def write(step: SyncStep, outcome: tuple[Head, bytes | None] | S3Error | None) -> None:
        if isinstance(outcome, S3Error):
            raise outcome
        head, body = outcome or (Head(), None)
        if body is None or etag_md5.is_refuted(BucketAddress(connection, bucket_name), head.etag, body):
            fetch_one(step)  # the file exists, the object has grown, or the body does not match its ETag
            return
        target = inside(folder, step.path)
        partial_file.write_file(target, body, overwrite=overwrite(step), replaces=step._identity)
        _set_time(target, head, step)
        report(len(body))

    def small() -> Iterator[batch.GetItem]:
        for step in steps:
            if step.size <= SMALL_BYTES:
                is_free = overwrite(step) or not os.path.lexists(folder.joinpath(*step.path.split("/")))
                yield batch.GetItem(step.key, step.version_id, is_free, step)

    with closing(batch.get_many(BucketAddress(connection, bucket_name), small(), max_bytes=_HELD_BYTES)) as read:
        for step, outcome in read:
            try:
                write(step, outcome)
            except (S3Error, OSError) as error:
                outcomes.note(step.key, error)
            else:
                outcomes.note(step.key)

    def job(step: SyncStep) -> Callable[[], object]:
        return lambda: fetch_one(step)

    outcomes.run((step.key, step.size, job(step)) for step in steps if step.size > SMALL_BYTES)
    outcomes.settle()


def _set_time(target: Path, head: Head, step: SyncStep) -> None:
    """Set the file's time to the object's time in listings, which may have fractions of a second: the next plan compares it."""
    moment = head.last_modified.timestamp() if head.last_modified is not None else step.modified
    if moment is None:
        return
    if step.modified is not None and int(step.modified) == moment and step.etag and etags.same(head.etag, step.etag):
        moment = step.modified
    if moment.is_integer() and time.time() - moment < _SETTLED:
        moment -= 0.001  # the object may be written again with the same time: make the file older, so that the next plan copies again
    os.utime(target, (moment, moment))


def upload_folder(
    address: BucketAddress,
    folder: str | os.PathLike[str],
    prefix: str,
    *,
    selection: Selection = EVERYTHING,
    progress: Progress = None,
    **extra: Any,
) -> list[str]:
    """Upload every file of a folder.

    Returns:
        The keys, in the order of the files' paths.

    Requests:
        1 upload per file
    """
    found = keys_of_folder(folder, folder_prefix(prefix), selection.matcher())
    files = [_File(key, local.path, local.size) for key, (_, local) in found.items()]
    with reporting(progress, sum(file.size for file in files), Path(folder).name) as report:
        _send(address, files, report, _Outcomes("upload_folder"), **extra)
    return [file.key for file in files]


def download_objects(plan: SyncPlan, *, overwrite: bool = True, progress: Progress = None) -> list[str]:
    """Download the objects of a plan, and create a folder for each folder marker.

    Returns:
        The files' paths, relative to the folder, in key order.
    """
    assert plan._connection is not None
    address, folder = BucketAddress(plan._connection, plan.bucket_name), Path(plan.folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = {step.path for step in plan.copied}
    outcomes = _Outcomes("download_folder")
    for step in plan.skipped:  # plan_download() skips only folder markers
        names = step.path.split("/")
        if any("/".join(names[:count]) in files for count in range(1, len(names) + 1)):
            continue  # the object "a" takes the path of the folder for the markers "a/" and "a/b/"
        try:
            inside(folder, step.path).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            outcomes.note(step.key, error)
    with reporting(progress, sum(step.size for step in plan.copied), plan.prefix or plan.bucket_name) as report:
        _fetch(address, folder, plan.copied, report, outcomes, overwrite=lambda _: overwrite)
    return [step.path for step in plan.copied]


def inside(folder: Path, path: str) -> Path:
    """Return the path of a file in a folder.

    Raises:
        FileExistsError: A link or a file has the name of a folder that is needed. Links that stay within the folder are refused too: with
            them two keys could be written to one file.
    """
    target = folder.joinpath(*path.split("/"))
    for parent in (*reversed(target.relative_to(folder).parents[:-1]),):
        above = folder / parent
        try:
            mode = above.lstat().st_mode
        except FileNotFoundError:
            break
        if stat.S_ISLNK(mode):
            raise FileExistsError(
                17, "a folder is needed here, but this is a link; links in the folder are not followed", str(above)
            )
        if not stat.S_ISDIR(mode):
            raise FileExistsError(17, "a folder is needed here, but this is a file", str(above))
    return target


def _common_prefix(steps: Sequence[SyncStep]) -> str:
    """Return a prefix of all the keys, for a listing. It ends before a byte that is not UTF-8: file names may have one, keys never do."""
    common = os.path.commonprefix([step.key for step in steps])  # noqa: RUF071 - by characters, as prefixes of keys are
    return re.split("[\ud800-\udfff]", common, maxsplit=1)[0]


def _remove_objects(address: BucketAddress, prefix: str, folder: Path, steps: Sequence[SyncStep]) -> None:
    """Delete objects that have not changed since the plan was made, and still have no file."""
    connection, bucket_name = address
    if not steps:
        return
    outcomes = _Outcomes("sync")
    common = _common_prefix(steps)
    now = {entry.key: entry for entry in objects_below(address, common)}
    passed_over: set[str] = set()
    files = {prefix + path_to_key(path) for path in local_files(folder, passed_over)}
    unchanged = []
    for step in steps:
        found = now.get(step.key)
        if found is None:
            outcomes.note(step.key)
        elif (found.etag, found.size, found.modified) != (step.etag, step.size, step.modified):
            outcomes.note(step.key, _changed(f"s3://{bucket_name}/{step.key}", bucket_name, step.key))
        elif (
            step.key in files
            or _is_hidden(step.key[len(prefix) :], passed_over)
            or _is_live_marker(found, prefix, folder)
        ):
            outcomes.note(step.key, _changed(f"the file of s3://{bucket_name}/{step.key}", bucket_name, step.key))
        else:
            unchanged.append(step.key)
    result = batch.delete_all(
        BucketAddress(connection, bucket_name), ((key, None) for key in unchanged), raise_errors=False
    )
    outcomes.succeeded.extend(result.succeeded)
    outcomes.failures.extend(result.failures)
    outcomes.settle()


def _changed(what: str, bucket_name: str | None, key: str, kept: str = "deleted") -> S3ObjectChanged:
    return S3ObjectChanged(
        f"{what} was written since the plan was made: it is not {kept}", operation="sync", bucket=bucket_name, key=key
    )


def _objects_written_since(address: BucketAddress, folder: Path, steps: Sequence[SyncStep]) -> dict[str, Pair]:
    """Return, by key, the objects written since the plan was made that uploads would overwrite, each with the file to upload."""
    found: dict[str, Pair] = {}
    if not steps:
        return found
    common = _common_prefix(steps)
    now = {entry.key: entry for entry in objects_below(address, common)}
    for step in steps:
        there = now.get(step.key)
        if there is not None and (there.etag, there.modified) != (step.etag, step.modified):
            found[step.key] = _local_file(folder.joinpath(*step.path.split("/"))), there, False
    return found


def _files_written_since(folder: Path, steps: Sequence[SyncStep]) -> dict[str, Pair]:
    """Return, by key, the files written since the plan was made that downloads would overwrite, each with the object to download."""
    found: dict[str, Pair] = {}
    for step in steps:
        try:
            path = inside(folder, step.path)
            now = file_target.identity(path)
        except OSError:
            continue  # the download will raise the error
        if now not in (None, step._identity) and (stat.S_ISREG(now[0]) or stat.S_ISLNK(now[0])):
            entry = RemoteObject(step.key, step.size, step.etag, step.modified or 0.0, step.version_id)
            found[step.key] = _local_file(path), entry, False
    return found


def _local_file(path: Path) -> LocalFile:
    try:
        found = path.stat()
    except OSError:
        return LocalFile(path, 0, 0.0, dangles=True)
    return LocalFile(path, found.st_size, found.st_mtime)


def _without_conflicts(
    address: BucketAddress,
    steps: Sequence[SyncStep],
    conflicts: Mapping[str, Pair],
    outcomes: _Outcomes,
    *,
    is_download: bool,
) -> list[SyncStep]:
    """Return the steps whose targets were not written since the plan was made.

    The others succeed if the target already has the content (after an earlier ``apply()`` in which some steps failed); else they fail.
    """
    reasons = _differences(address, [*conflicts.values()], "etag", is_download=is_download)
    for key, (local, _, _) in conflicts.items():
        what = f"the file {local.path}" if is_download else f"s3://{address.name}/{key}"
        outcomes.note(key, _changed(what, address.name, key, "overwritten") if reasons[key] else None)
    return [step for step in steps if step.key not in conflicts]


def _remove_files(address: BucketAddress, folder: Path, steps: Sequence[SyncStep]) -> None:
    """Delete files that have not changed since the plan was made, and still have no object."""
    if not steps:
        return
    outcomes = _Outcomes("sync")
    common = _common_prefix(steps)
    objects = {entry.key for entry in objects_below(address, common)}
    for step in steps:
        try:
            path = inside(folder, step.path)
            found = file_target.identity(path)
            if found is not None and found != step._identity and not stat.S_ISDIR(found[0]):
                raise _changed(f"the file {path}", None, step.key)
            if found is not None and step.key in objects:
                raise _changed(f"the object of the file {path}", address.name, step.key)
            path.unlink(missing_ok=True)
        except (OSError, S3Error) as error:
            outcomes.note(step.key, error)
        else:
            outcomes.note(step.key)
    outcomes.settle()
