"""Local targets of downloads: which file to write, whether it may be written and how, and the names of temporary files.

A regular file is replaced as a whole by a temporary file in the same folder. That would destroy anything else (a device, a pipe), so other
targets are written in place or refused.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from pathlib import Path
from typing import NamedTuple, TypeAlias

from .._formats.keys import MAX_FILE_NAME_BYTES, OUR_OWN_FILES, file_name

_RANDOM = ".XXXXXXXX"  # what mkstemp adds
_LONGEST_ENDING = len(_RANDOM) + max(map(len, OUR_OWN_FILES))
_FOLDER_OF_OPEN_FILES = re.compile(r"/proc/[^/]+(/task/[^/]+)?/fd")
_MAX_LINKS = 40
_NO_PLAIN_FILE = (errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.EISDIR)


Identity: TypeAlias = "tuple[int, ...]"


class Destination(NamedTuple):
    """The file that a download is asked to write, not yet checked.

    Attributes:
        path: The file. Its parent folders are created.
        overwrite: Whether to replace an existing file.
        resume: Whether to continue an interrupted download that had ``resume`` set too.
        follow: Whether to follow symbolic links: True for a path that the user gave, False for one made from a key. If False, a link
            is replaced by the file, and pipes and devices are refused.
        replaces: The :func:`identity` of the only file that may be replaced; None for any file.
    """

    path: str | os.PathLike[str]
    overwrite: bool = True
    resume: bool = False
    follow: bool = True
    replaces: Identity | None = None


class Target(NamedTuple):
    """A file to write, and how.

    Attributes:
        path: The file; symbolic links are resolved if they are to be kept.
        is_stream: Whether to open the file and write the bytes in order, since a pipe, device or redirected output must not be replaced.
    """

    path: Path
    is_stream: bool = False


def file_for(target: str | os.PathLike[str], key: str) -> Path:
    """Return the file to which a key is downloaded: the target or, if that is a folder, a file in it named after the key's last segment.

    Args:
        target: A file, or a folder: one that exists, or a path with a trailing separator (or ``.``).
        key: The key.

    Raises:
        ValueError: The target is empty.
    """
    text = os.fspath(target)
    if not text:
        raise ValueError("path is empty; pass the path of a file, or of a folder ('.' is the current one)")
    path = Path(target)
    if path.is_dir() or text.endswith(("/", os.sep)) or os.path.split(text)[1] in (".", ".."):
        return path.joinpath(*file_name(key).split("/"))
    return path


def destination(
    target: str | os.PathLike[str], key: str, *, overwrite: bool = True, resume: bool = False
) -> Destination:
    """Return where a key is downloaded to, by :func:`file_for`. A link is followed only if it is the target that the user gave.

    Raises:
        ValueError: The target is empty.
    """
    file = file_for(target, key)
    return Destination(file, overwrite, resume, follow=file == Path(target))


def check(path: Path, *, overwrite: bool, follow: bool) -> Target:
    """Return how to write a file; raise if a download must not replace it.

    Args:
        path: The file's path.
        overwrite: Whether an existing file may be replaced.
        follow: Whether to write the target of a symbolic link and keep the link, as ``open(path, "wb")`` does. Otherwise a link to a file
            is replaced by the file, and pipes and devices are refused: the path comes from a key, not from the user.

    Raises:
        FileExistsError: The file exists and ``overwrite`` is not set; or it cannot be written (a socket, for example).
        IsADirectoryError: The path is a folder.
        FileNotFoundError: The target of a link is in a folder that does not exist.
    """
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):  # NotADirectoryError is raised again when the folders are created
        return Target(path)
    if not overwrite:
        raise FileExistsError(errno.EEXIST, "the file exists, and overwrite=False", str(path))
    is_link = stat.S_ISLNK(found.st_mode)
    if is_link:
        if follow and _is_open_file(path):
            return Target(path, is_stream=True)
        try:
            found = path.stat()
        except FileNotFoundError:
            real = Path(os.path.realpath(path)) if follow else path
            if not real.parent.is_dir():
                raise FileNotFoundError(
                    errno.ENOENT, "the link's target is in a folder that does not exist", str(path)
                ) from None
            return Target(real)
        except OSError as error:
            if error.errno != errno.ELOOP or follow:
                raise
            return Target(path)  # a loop of links: the file replaces the link
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, "a folder has the name of the file", str(path))
    if stat.S_ISREG(found.st_mode):
        return Target(Path(os.path.realpath(path)) if is_link and follow else path)
    if follow and (stat.S_ISCHR(found.st_mode) or stat.S_ISFIFO(found.st_mode)):
        return Target(path, is_stream=True)
    raise FileExistsError(
        errno.EEXIST, f"{_kind(found.st_mode)} has the name of the file; it was not changed", str(path)
    )


def identity(path: Path) -> Identity | None:
    """Return values that change if a file is written or replaced, even with the same size and time; None if the file does not exist.

    The first value is the type of the file. Links are not followed: a link that is changed to another target has another inode.
    """
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return stat.S_IFMT(found.st_mode), found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _is_open_file(path: Path) -> bool:
    """Return whether a link leads through a process's open files, as /dev/stdout does: the process would not notice a new file."""
    for _ in range(_MAX_LINKS):
        folder = os.path.realpath(path.parent)
        if _FOLDER_OF_OPEN_FILES.fullmatch(folder):
            return True
        if not path.is_symlink():
            return False
        path = Path(folder, path.readlink())
    return False


def _kind(mode: int) -> str:
    kinds = (
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISBLK, "a block device"),
        (stat.S_ISCHR, "a device"),
    )
    return next((name for is_kind, name in kinds if is_kind(mode)), "something other than a regular file")


def open_stream(path: Path) -> int:
    """Open an existing pipe, device or redirected output for writing, without truncation."""
    return os.open(path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_NOCTTY", 0))


def temporary_stem(target: Path) -> str:
    """Return the stem of the names of a target's temporary files. With any suffix it is short enough for the file system.

    A name that has to be cut gets a digest, so that it differs from other names with the same beginning.
    """
    whole = os.fsencode(f".{target.name}")
    limit = _longest_name(target.parent) - _LONGEST_ENDING
    if len(whole) <= limit:
        return f".{target.name}"
    digest = hashlib.sha256(whole).hexdigest()[:16]
    return f"{whole[: limit - len(digest) - 1].decode('utf-8', 'ignore')}-{digest}"


def _longest_name(folder: Path) -> int:
    try:
        found = os.pathconf(folder, "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):  # not available on Windows
        return MAX_FILE_NAME_BYTES
    return min(found, MAX_FILE_NAME_BYTES) if found > 0 else MAX_FILE_NAME_BYTES


def open_own(path: Path) -> int:
    """Open the partial file of an interrupted download for reading and writing, or create it.

    The file will be overwritten, so it MUST be a regular file of this user: in a folder that others can write to, a link of this
    name could point to any file.

    Raises:
        FileExistsError: The path is a link, a pipe or a folder, or belongs to another user.
    """
    flags = os.O_RDWR | os.O_CREAT
    for name in ("O_BINARY", "O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC"):
        flags |= getattr(os, name, 0)
    try:
        fd = os.open(path, flags, 0o600)
    except OSError as error:
        if error.errno in _NO_PLAIN_FILE:
            raise _refused(path, "it is a link, or not a regular file") from error
        raise
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise _refused(path, f"it is {_kind(found.st_mode)}")
        if hasattr(os, "geteuid") and found.st_uid != os.geteuid():
            raise _refused(path, "it belongs to another user")
    except BaseException:
        os.close(fd)
        raise
    return fd


def check_single_name(fd: int, path: Path) -> None:
    """Raise if a file has further hard links: a write would change the file under those names too.

    Raises:
        FileExistsError: The file has several names.
    """
    if os.fstat(fd).st_nlink > 1:
        raise _refused(path, "it has several hard links, and another file would be changed too")


def _refused(path: Path, why: str) -> FileExistsError:
    return FileExistsError(
        errno.EEXIST, f"an interrupted download cannot be continued from this file: {why}; remove it", str(path)
    )
