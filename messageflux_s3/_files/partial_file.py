"""Write a local file under a temporary name beside its target, and give it the target's name when it is complete."""

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
except ImportError:  # pragma: no cover - Windows, where a file that is open for writing is not taken from under us
    _fcntl = None

_PIECE_BYTES = 1024 * 1024


def write_file(target: Path, body: bytes, *, overwrite: bool = True) -> None:
    """Give a file of a folder its content: whole, or not at all. A link of its name is replaced.

    Raises:
        FileExistsError: The file is there, and ``overwrite`` is not set; or it is no regular file.
        IsADirectoryError: A folder is in its way.
    """
    file_target.check(target, overwrite=overwrite, follow=False)
    _replace(target, lambda file: file.write(body), overwrite=overwrite)


def write_target(target: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> None:
    """Let a function write a file, which is whole afterwards or as it was before. Links, pipes and devices are as in :func:`download`.

    Raises:
        FileExistsError: It is a socket or a block device.
        IsADirectoryError: A folder is in the way.
    """
    path, is_stream = file_target.check(Path(target), overwrite=True, follow=True)
    if is_stream:
        with open(file_target.open_stream(path), "wb", buffering=0) as stream:  # noqa: PTH123 - a descriptor, not a path
            write(cast(BinaryIO, stream))
    else:
        _replace(path, write, overwrite=True)


def _replace(target: Path, write: Callable[[BinaryIO], object], *, overwrite: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    fd, name = tempfile.mkstemp(
        prefix=f"{file_target.temporary_stem(target)}.", suffix=".mfs3-partial", dir=target.parent
    )
    try:
        with os.fdopen(fd, "wb") as file:
            write(file)
            _set_usual_mode(fd, target)
        _give_name(Path(name), target, overwrite=overwrite)
    except BaseException:
        with suppress(FileNotFoundError):
            Path(name).unlink()
        raise


def _give_name(partial: Path, target: Path, *, overwrite: bool) -> None:
    """Give a whole file its name, at once."""
    if overwrite:
        file_target.check(target, overwrite=True, follow=False)  # once more: it may have become a pipe since
        partial.replace(target)
    elif os.name == "nt":  # pragma: no cover - Windows only
        partial.rename(target)  # refuses there what exists
    else:
        try:
            os.link(partial, target)  # unlike a rename, refuses what exists
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            file_target.check(target, overwrite=False, follow=False)  # FAT has no links: the next best
            partial.rename(target)
        else:
            partial.unlink()


_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class PartialFile:
    """The temporary file beside a target in which a download arrives, and the journal of the parts that it holds.

    Args:
        target: The file to be written in the end.
        content: What the journal must name to be continued: the object, its ETag, the range and the part size. None to begin anew under a
            name of its own, without a journal.

    Attributes:
        done: The numbers of the parts that are in the file already.
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
        if content is not None and self._open_alone():
            self._journal_path = target.with_name(f"{stem}.mfs3-journal")
            try:
                file_target.check_single_name(self._fd, self.path)
                self._take_up(content)
            except BaseException:
                self._close_file()
                raise
        else:
            self._fd, name = tempfile.mkstemp(prefix=f"{stem}.", suffix=".mfs3-partial", dir=target.parent)
            self.path = Path(name)

    def _open_alone(self) -> bool:
        """Open the file that a journal may be about; False while another download is at it, which then keeps it for itself."""
        while True:
            self._fd = file_target.open_own(self.path)
            if _fcntl is None:  # pragma: no cover - Windows only
                return True
            try:
                _fcntl.flock(self._fd, _fcntl.LOCK_EX | _fcntl.LOCK_NB)
            except OSError:
                os.close(self._fd)
                return False
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(self._fd), self.path.stat()):
                    return True
            os.close(self._fd)  # the other one ended just now, and the file has the target's name

    def _take_up(self, description: Mapping[str, Any]) -> None:
        """Go on where the journal ends, if it is about the same bytes of the same object; else begin anew."""
        journal = cast(BinaryIO, os.fdopen(file_target.open_own(self._journal_path), "r+b", buffering=0))
        try:
            file_target.check_single_name(journal.fileno(), self._journal_path)
            known = journal.read()
        except BaseException:
            journal.close()
            raise
        self._journal = journal
        lines = known.split(b"\n")
        heading = json.dumps(description).encode()
        # A journal without its file, or with one too short for it, counts for nothing: the parts it tells of are not there.
        whole = os.fstat(self._fd).st_size == description["end"] - description["start"]
        if lines[0] == heading and description["etag"] and whole:
            self.done = {int(line) for line in lines[1:-1] if line.isdigit()}  # what follows the last line end was cut
        else:
            os.ftruncate(self._fd, 0)
            os.ftruncate(self._fd, description["end"] - description["start"])
            known = heading + b"\n"
        kept = known[: known.rfind(b"\n") + 1]
        journal.seek(0)
        journal.write(kept)
        journal.truncate()

    def write(self, piece: bytes, at: int) -> None:
        _write_at(self._fd, piece, at, self._lock)

    def note(self, number: int) -> None:
        """A part is in the file, whole; on the disk before the journal says so, since a machine that loses its power loses what is not."""
        if self._journal is not None:
            os.fsync(self._fd)
            self._journal.write(b"%d\n" % number)

    def hash_into(self, digest: Any, start: int, end: int) -> None:
        at = start
        buffer = memoryview(bytearray(min(_PIECE_BYTES, max(1, end - start))))
        while at < end and (count := _read_at(self._fd, buffer[: end - at], at, self._lock)):
            digest.update(buffer[:count])
            at += count

    def pieces(self, size: int) -> Iterator[bytes]:
        """Read the file back from its beginning."""
        at = 0
        buffer = bytearray(_PIECE_BYTES)
        while at < size and (count := _read_at(self._fd, memoryview(buffer)[: size - at], at, self._lock)):
            yield bytes(memoryview(buffer)[:count])
            at += count

    def md5(self) -> str:
        digest = hashlib.md5(usedforsecurity=False)
        self.hash_into(digest, 0, os.fstat(self._fd).st_size)
        return digest.hexdigest()

    def publish(self, *, overwrite: bool) -> None:
        """Give the file its name, at once and whole."""
        _set_usual_mode(self._fd, self._target)
        if os.name == "nt":  # pragma: no cover - Windows only
            self._close_file()  # an open file keeps its name there; elsewhere the lock on it is kept until it has the new one
        self._forget_journal()  # first: a journal that outlived its file would vouch for the parts of the next one
        _give_name(self.path, self._target, overwrite=overwrite)
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
        self._close_file()  # last: nobody takes up a file that is about to go

    def _close_file(self) -> None:
        if self._fd != -1:  # pragma: no branch - closed twice on Windows only
            os.close(self._fd)
            self._fd = -1

    def _forget_journal(self) -> None:
        if self._journal is not None:
            self._journal.close()
            with suppress(FileNotFoundError):
                self._journal_path.unlink()


def _set_usual_mode(fd: int, target: Path) -> None:
    """Give a new file the mode of the one that it replaces, else what any new file here gets."""
    mode = 0o666 & ~_UMASK
    with suppress(OSError):
        mode = target.stat().st_mode & 0o777
    with suppress(AttributeError, PermissionError):
        os.fchmod(fd, mode)


def _read_umask() -> int:
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


_UMASK = _read_umask()  # once, at import: asking changes it for a moment, for all threads

if hasattr(os, "pwrite") and hasattr(os, "preadv"):

    def _write_at(fd: int, piece: bytes, at: int, lock: threading.Lock) -> None:
        written = os.pwrite(fd, piece, at)
        while written < len(piece):
            written += os.pwrite(fd, memoryview(piece)[written:], at + written)

    def _read_at(fd: int, buffer: memoryview, at: int, lock: threading.Lock) -> int:
        return os.preadv(fd, [buffer], at)

else:  # pragma: no cover - Windows only

    def _write_at(fd: int, piece: bytes, at: int, lock: threading.Lock) -> None:
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
