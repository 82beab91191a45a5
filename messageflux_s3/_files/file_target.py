"""Local files as the targets of downloads: which file is meant, how it may be written, and what the temporary files are called.

A regular file is replaced as a whole by a temporary file from the same folder. What is no regular file (a device, a pipe) cannot be
replaced without being lost, so it is written through or refused.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from pathlib import Path
from typing import NamedTuple

from .._formats.keys import MAX_FILE_NAME_BYTES, OUR_OWN_FILES, file_name

_RANDOM = ".XXXXXXXX"  # what mkstemp adds
_LONGEST_ENDING = len(_RANDOM) + max(map(len, OUR_OWN_FILES))
_FOLDER_OF_OPEN_FILES = re.compile(r"/proc/[^/]+(/task/[^/]+)?/fd")
_MAX_LINKS = 40
_NO_PLAIN_FILE = (errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.EISDIR)


class Target(NamedTuple):
    """How a file is to be written.

    Attributes:
        path: The file, links followed where they are to be kept.
        is_stream: Whether to open it and write the bytes in order, since it must not be replaced.
    """

    path: Path
    is_stream: bool = False


def file_for(target: str | os.PathLike[str], key: str) -> Path:
    """Return the file that a download of a key to a target writes: in a folder, the file named after the key's last part.

    Args:
        target: A file; or a folder, which exists or is written with a separator (or ``.``) at its end.
        key: The key.

    Raises:
        ValueError: The target is empty.
    """
    text = os.fspath(target)
    if not text:
        raise ValueError("path is empty; give the path of a file, or of a folder ('.' is the current one)")
    path = Path(target)
    if path.is_dir() or text.endswith(("/", os.sep)) or os.path.split(text)[1] in (".", ".."):
        return path.joinpath(*file_name(key).split("/"))
    return path


def check(path: Path, *, overwrite: bool, follow: bool) -> Target:
    """Decide how a file is to be written; refuse what a download must not replace.

    Args:
        path: The file's path.
        overwrite: Whether a file that is there may be replaced.
        follow: Whether a link is kept and what it leads to is written, as ``open(path, "wb")`` does. Otherwise a link to a file is
            replaced by the file, and pipes and devices are refused: the names come from keys, not from the user.

    Raises:
        FileExistsError: The file is there and ``overwrite`` is not set; or it is a socket, say, which cannot be written to.
        IsADirectoryError: A folder is in the way.
        FileNotFoundError: A link leads to a folder that is missing.
    """
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):  # the latter is reported when the folders are made
        return Target(path)
    if not overwrite:
        raise FileExistsError(errno.EEXIST, "the file is there, and overwrite=False", str(path))
    is_link = stat.S_ISLNK(found.st_mode)
    if is_link:
        if follow and _is_open_file(path):
            return Target(path, is_stream=True)
        try:
            found = path.stat()
        except FileNotFoundError:
            real = Path(os.path.realpath(path)) if follow else path
            if not real.parent.is_dir():
                raise FileNotFoundError(errno.ENOENT, "the link leads to a folder that is missing", str(path)) from None
            return Target(real)
        except OSError as error:
            if error.errno != errno.ELOOP or follow:
                raise
            return Target(path)  # a loop of links in the place of a file
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, "a folder is in the way of the file", str(path))
    if stat.S_ISREG(found.st_mode):
        return Target(Path(os.path.realpath(path)) if is_link and follow else path)
    if follow and (stat.S_ISCHR(found.st_mode) or stat.S_ISFIFO(found.st_mode)):
        return Target(path, is_stream=True)
    raise FileExistsError(
        errno.EEXIST, f"{_kind(found.st_mode)} is in the way of the file; it is left as it is", str(path)
    )


def _is_open_file(path: Path) -> bool:
    """Whether a link leads through the open files of a process, as /dev/stdout does: replacing the file would not reach that process."""
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
    return next((name for is_kind, name in kinds if is_kind(mode)), "something that is no regular file")


def open_stream(path: Path) -> int:
    """Open a pipe, a device or a redirected output to write to it; nothing is created, nothing cut off."""
    return os.open(path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_NOCTTY", 0))


def temporary_stem(target: Path) -> str:
    """Return how the names of the temporary files of a target begin; short enough for the file system with any of our endings.

    A name that has to be cut is told apart from others that begin alike by a digest.
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
    except (AttributeError, OSError, ValueError):  # Windows has no such question
        return MAX_FILE_NAME_BYTES
    return min(found, MAX_FILE_NAME_BYTES) if found > 0 else MAX_FILE_NAME_BYTES


def open_own(path: Path) -> int:
    """Open a file of an interrupted download to read and write, or create it.

    Its content will be cut off or continued, so it must be a plain file of this user: in a folder that others write to, a link of this
    name could lead to any file.

    Raises:
        FileExistsError: It is a link, a pipe or a folder, or belongs to another user.
    """
    flags = os.O_RDWR | os.O_CREAT
    for name in ("O_BINARY", "O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC"):
        flags |= getattr(os, name, 0)
    try:
        fd = os.open(path, flags, 0o600)
    except OSError as error:
        if error.errno in _NO_PLAIN_FILE:
            raise _refused(path, "it is a link, or no regular file") from error
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
    """Refuse a file that has another name as well: writing to it would change the file of that name.

    Raises:
        FileExistsError: It has.
    """
    if os.fstat(fd).st_nlink > 1:
        raise _refused(path, "it is a hard link, so that another file would change with it")


def _refused(path: Path, why: str) -> FileExistsError:
    return FileExistsError(
        errno.EEXIST, f"an interrupted download cannot be continued from this file: {why}; remove it", str(path)
    )
