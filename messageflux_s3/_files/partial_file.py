"""Write a local file under a temporary name in the target's folder, and rename it to the target when complete."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, cast

from . import file_target

_fcntl: ModuleType | None
try:
    import fcntl as _fcntl
except ImportError:  # pragma: no cover - Windows, where a file that is open for writing cannot be replaced
    _fcntl = None

_PIECE_BYTES = 1024 * 1024


def write_file(
    target: Path, body: bytes, *, overwrite: bool = True, replaces: file_target.Identity | None = None
) -> None:
    """Write a file atomically. A link at the target is replaced.

    Raises:
        FileExistsError: The file exists, and ``overwrite`` is not set; or it is not a regular file, or not the one in ``replaces``.
        IsADirectoryError: The target is a folder.
    """
    file_target.check(target, overwrite=overwrite, follow=False)
    _replace(target, lambda file: file.write(body), overwrite=overwrite, replaces=replaces)


def write_target(target: str | os.PathLike[str], write: Callable[[BinaryIO], object], *, follow: bool = True) -> None:
    """Write a file atomically: ``write`` is called with an open binary file. Links, pipes and devices are handled as in :func:`download`.

    Raises:
        FileExistsError: The target is a socket or a block device; or, unless ``follow`` is set, a pipe or a device.
        IsADirectoryError: The target is a folder.
    """
    path, is_stream = file_target.check(Path(target), overwrite=True, follow=follow)
    if is_stream:
        # Buffered: write() of a raw file may write less than it is given, and callers ignore the count.
        with open(file_target.open_stream(path), "wb") as stream:  # noqa: PTH123 - a descriptor, not a path
            write(stream)
    else:
        _replace(path, write, overwrite=True)


def _replace(
    target: Path,
    write: Callable[[BinaryIO], object],
    *,
    overwrite: bool,
    replaces: file_target.Identity | None = None,
) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    fd, name = tempfile.mkstemp(
        prefix=f"{file_target.temporary_stem(target)}.", suffix=".mfs3-partial", dir=target.parent
    )
    try:
        with os.fdopen(fd, "wb") as file:
            write(file)
            _set_usual_mode(fd, target)
        _give_name(Path(name), target, overwrite=overwrite, replaces=replaces)
    except BaseException:
        with suppress(FileNotFoundError):
            Path(name).unlink()
        raise


def _give_name(partial: Path, target: Path, *, overwrite: bool, replaces: file_target.Identity | None) -> None:
    """Rename a complete file to the target atomically."""
    if overwrite:
        if replaces is not None and file_target.identity(target) not in (None, replaces):
            raise FileExistsError(errno.EEXIST, "the file was written meanwhile; it was not changed", str(target))
        file_target.check(target, overwrite=True, follow=False)  # check again: by now the target may be a pipe
        partial.replace(target)
    elif os.name == "nt":  # pragma: no cover - Windows only
        partial.rename(target)  # on Windows it fails if the target exists
    else:
        try:
            os.link(partial, target)  # unlike rename(), fails if the target exists
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            file_target.check(target, overwrite=False, follow=False)  # FAT has no hard links: check, then rename
            partial.rename(target)
        else:
            partial.unlink()


_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class PartialFile:
    """The temporary file of a download, in the target's folder, and the journal of its complete parts.

    Args:
        target: The file to write.
        content: The heading of the journal: the object, its ETag, the range and the part size. A journal with another heading is not
            continued. None to start a new file with a unique name, without a journal.

    Attributes:
        done: The numbers of the parts that are already in the file.
    """

    def __init__(self, target: Path, content: Mapping[str, Any] | None) -> None:
        self._target = target
        self._journal: BinaryIO | None = None
        self._is_published = False
        self._lock = threading.Lock()
        self._fd = -1
        self.done: set[int] = set()
        stem = file_target.temporary_stem(target)
        self.path = target.with_name(f"{stem}.mfs3-partial")
        is_alone = False
        try:
            if content is not None and self._open_alone():
                is_alone = True
                self._journal_path = target.with_name(f"{stem}.mfs3-journal")
                file_target.check_single_name(self._fd, self.path)
                self._take_up(content)
        except BaseException:
            self._close_file()
            raise
        if not is_alone:
            self._fd, name = tempfile.mkstemp(prefix=f"{stem}.", suffix=".mfs3-partial", dir=target.parent)
            self.path = Path(name)

    def _open_alone(self) -> bool:
        """Open and lock the file that a journal may describe; return False if another download has locked it."""
        while True:
            self._fd = file_target.open_own(self.path)
            if _fcntl is None:  # pragma: no cover - Windows only
                return True
            try:
                _fcntl.flock(self._fd, _fcntl.LOCK_EX | _fcntl.LOCK_NB)
            except OSError:
                self._close_file()
                return False
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(self._fd), self.path.stat()):
                    return True
            self._close_file()  # the other download just ended and renamed the file to the target

    def _take_up(self, description: Mapping[str, Any]) -> None:
        """Continue where the journal ends, if it describes the same bytes of the same object; else start anew."""
        journal = cast(BinaryIO, os.fdopen(file_target.open_own(self._journal_path), "r+b", buffering=0))
        try:
            file_target.check_single_name(journal.fileno(), self._journal_path)
            known = journal.read()
        except BaseException:
            journal.close()
            raise
        self._journal = journal
        heading = json.dumps(description).encode() + b"\n"
        size = description["end"] - description["start"]
        # Ignore the journal if its file is missing or has another size: the parts that it lists are not in the file.
        if known.startswith(heading) and description["etag"] and os.fstat(self._fd).st_size == size:
            whole = known.rfind(b"\n") + 1  # the text after the last newline is incomplete
            self.done = {int(line) for line in known[len(heading) : whole].splitlines() if line.isdigit()}
            journal.truncate(whole)
            journal.seek(whole)
            return
        if known:
            # Empty the journal first, with fsync: after a power loss the old journal would name parts that the file no longer has.
            journal.truncate(0)
            os.fsync(journal.fileno())
        os.ftruncate(self._fd, 0)
        self.set_size(size)
        journal.seek(0)
        journal.write(heading)

    def set_size(self, size: int) -> None:
        """Give the file its final size, so that pieces written out of order do not extend it again and again."""
        try:
            os.ftruncate(self._fd, size)
        except OverflowError:  # a response may announce any size
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(self.path)) from None

    def write(self, piece: bytes | memoryview, at: int) -> None:
        _write_at(self._fd, piece, at, self._lock)

    def note(self, number: int) -> None:
        """Record a complete part in the journal, after an fsync of the file, so that the journal is correct even after a power loss."""
        if self._journal is None:
            return
        os.fsync(self._fd)
        line = b"%d\n" % number
        with self._lock:
            start = self._journal.tell()
            if self._journal.write(line) != len(line):
                # The disk is full. With the beginning of this line, the next one would name another part, which the file does not have.
                self._journal.truncate(start)
                self._journal.seek(start)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._journal_path))

    def hash_into(self, digest: Any, start: int, end: int) -> None:
        at = start
        buffer = memoryview(bytearray(min(_PIECE_BYTES, max(1, end - start))))
        while at < end and (count := _read_at(self._fd, buffer[: end - at], at, self._lock)):
            digest.update(buffer[:count])
            at += count

    def pieces(self, size: int) -> Iterator[bytes]:
        """Yield the content of the file from the beginning."""
        at = 0
        buffer = bytearray(_PIECE_BYTES)
        while at < size and (count := _read_at(self._fd, memoryview(buffer)[: size - at], at, self._lock)):
            yield bytes(memoryview(buffer)[:count])
            at += count

    def md5(self) -> str:
        digest = hashlib.md5(usedforsecurity=False)
        self.hash_into(digest, 0, os.fstat(self._fd).st_size)
        return digest.hexdigest()

    def publish(self, *, overwrite: bool, replaces: file_target.Identity | None = None) -> None:
        """Rename the complete file to the target atomically."""
        _set_usual_mode(self._fd, self._target)
        if os.name == "nt":  # pragma: no cover - Windows only
            self._close_file()  # Windows cannot rename an open file; elsewhere keep the lock until the rename
        self._forget_journal()  # before the rename: a journal left behind would be applied to the next partial file
        _give_name(self.path, self._target, overwrite=overwrite, replaces=replaces)
        self._is_published = True

    def close(self, *, keep: bool) -> None:
        if os.name == "nt":  # pragma: no cover - Windows only
            self._close_file()
        if not self._is_published and not (keep and self._journal is not None):
            self._forget_journal()
            with suppress(FileNotFoundError):
                self.path.unlink()
        if self._journal is not None:
            self._journal.close()
        self._close_file()  # last: the lock keeps other downloads from continuing a file that is being deleted

    def _close_file(self) -> None:
        if self._fd != -1:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def _forget_journal(self) -> None:
        if self._journal is not None:
            self._journal.close()
            with suppress(FileNotFoundError):
                self._journal_path.unlink()


def _set_usual_mode(fd: int, target: Path) -> None:
    """Give a new file the mode of the file that it replaces, else the default mode of new files."""
    mode = 0o666 & ~_UMASK
    with suppress(OSError):
        mode = target.stat().st_mode & 0o777
    with suppress(AttributeError, PermissionError):
        os.fchmod(fd, mode)


def _read_umask() -> int:
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


_UMASK = (
    _read_umask()
)  # read once, at import: os.umask() can read the mask only by changing it, briefly and for all threads

if hasattr(os, "pwrite") and hasattr(os, "preadv"):

    def _write_at(fd: int, piece: bytes | memoryview, at: int, lock: threading.Lock) -> None:
        written = os.pwrite(fd, piece, at)
        while written < len(piece):
            written += os.pwrite(fd, memoryview(piece)[written:], at + written)

    def _read_at(fd: int, buffer: memoryview, at: int, lock: threading.Lock) -> int:
        return os.preadv(fd, [buffer], at)

else:  # pragma: no cover - Windows only

    def _write_at(fd: int, piece: bytes | memoryview, at: int, lock: threading.Lock) -> None:
        with lock:
            os.lseek(fd, at, os.SEEK_SET)
            written = 0
            while written < len(piece):
                written += os.write(fd, memoryview(piece)[written:])

    def _read_at(fd: int, buffer: memoryview, at: int, lock: threading.Lock) -> int:
        with lock:
            os.lseek(fd, at, os.SEEK_SET)
            piece = os.read(fd, len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)
