"""The file object behind ``open("wb")``, ``"xb"`` and ``"ab"``: a stream whose object becomes visible at the close, complete or not at all.

Content up to 8 MiB is sent in one PUT, larger content in parts as they fill up. If the ``with`` block raises, nothing is written.
"""

from __future__ import annotations

import _thread
import atexit
import contextlib
import io
import logging
import operator
import os
import sys
import tempfile
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import IO, Any, Literal, NamedTuple, cast

from .._client.addresses import ObjectAddress
from .._client.connection import Connection
from .._client.garbage_collection import is_collecting
from .._formats import etags
from .._formats import metadata as user_metadata
from .._formats.head import Head
from .._objects import attributes, checksum, conditional, confirmation, metadata_names, operations, put_parameters
from .._objects.condition_probe import Ability
from .._objects.multipart import MIN_PART_BYTES, MultipartUpload
from .._objects.parallelism import growing_part_size
from .._objects.ranged_reader import RangedReader
from .._objects.source import as_bytes
from ..errors import (
    S3Error,
    S3NoSuchItem,
    S3ObjectChanged,
    S3ObjectExists,
    S3PreconditionFailed,
    S3Unsupported,
    visible,
)
from .reader import checked_seek

logger = logging.getLogger("messageflux_s3")

PART_BYTES = 8 * 1024 * 1024
"""The size of the first parts; content up to this size is sent in one PUT."""

_ATTEMPTS_TO_READ_BASE = 5
_COPIED_PART_BYTES = 512 * 1024 * 1024
_MOST_COPIED_PARTS = 2000  # of the 10,000 parts of an upload


class _Base(NamedTuple):
    """The object that is appended to: its size, its ETag, and the idempotency tokens in its metadata, which are carried forward."""

    size: int
    etag: str | None
    carried: str


_dict_of = BaseException.__dict__["__dict__"].__get__


class Handled(NamedTuple):
    """Identifies an exception that is being handled, without a reference to its traceback, which would keep frames and files alive.

    Builtin exceptions do not support weak references, and an ``id()`` may be reused. So the exception's attribute dictionary is kept: no
    other exception has the same one while it is referenced. Raising the exception again gives it another traceback.
    """

    attributes: dict[str, Any]
    traceback: tuple[int, int, int] | None

    @classmethod
    def of(cls, error: BaseException) -> Handled:
        traceback = error.__traceback__
        # Include the instruction and the frame: the traceback is not referenced, so its id() may be reused.
        told = None if traceback is None else (id(traceback), traceback.tb_lasti, id(traceback.tb_frame))
        return cls(_dict_of(error), told)

    def is_same(self, former: Handled) -> bool:
        """Return whether this is the former exception and it was not raised again: its traceback is the same, or was removed."""
        return self.attributes is former.attributes and self.traceback in (None, former.traceback)


def handled_now() -> list[Handled]:
    """Return the exceptions that are being handled in this thread or task, the innermost first."""
    found: dict[int, Handled] = {}
    error = sys.exc_info()[1]
    while error is not None and id(error) not in found:
        found[id(error)] = Handled.of(error)
        error = error.__context__
    return [*found.values()]


def raised_since(before: list[Handled]) -> BaseException | None:
    """Return the exception that is being handled in this thread or task, unless it was already being handled at an earlier time.

    Args:
        before: What ``handled_now()`` returned at that time.
    """
    error = sys.exc_info()[1]
    return None if error is None or any(Handled.of(error).is_same(former) for former in before) else error


class ObjectWriter(io.BufferedIOBase):
    """A file open for writing. The object becomes visible at the close, complete or not at all.

    A failed ``write()`` aborts the file. Its error is raised again at the end of the ``with`` block or by ``close()``, unless another
    exception is already propagating, so that a failure in another thread, or one that was caught, is not mistaken for success.

    In a ``with`` block the end of the (outermost) block decides: after an exception nothing is written, even if a wrapper such as
    TextIOWrapper closed the file while the exception propagated. ``__exit__`` without ``__enter__``, as ``ExitStack.push`` calls it,
    decides in the same way. Otherwise ``close()`` commits, unless it is called while an exception is being handled that was raised after
    the opening: then nothing is written, and a warning is logged. A file that is collected unclosed leaves no object.

    Threads may share the file: each ``write()`` is taken as a whole, or raises ValueError if another thread has closed the file. A forked
    child cannot write to it (``RuntimeError``), and leaves it to the parent.

    In two cases ``close()`` cannot see the exception, and commits what was written so far: a file opened in an ``except`` block,
    outside of ``with``, and closed in a ``finally`` after a bare ``raise`` in the same function; a ``close`` that runs on another thread
    than the exception, such as ``await asyncio.to_thread(file.close)`` in a ``finally``. Use ``with`` there, or call ``abort()``.

    In two cases ``close()`` mistakes an exception for a new one, and aborts with a warning: a file opened in an ``except`` block and
    closed there after the same exception was raised again and caught; or opened where the exception's ``__context__`` had been set to
    None, and closed in the outer handler. Use ``with`` there as well.

    A TextIOWrapper around the file omits the byte order mark of UTF-16 and UTF-32, since the file is not seekable: open it in text
    mode instead, with ``encoding``.

    The file is a stream and not seekable. If a library seeks anyway before the first part is sent (HDF5 begins with a seek to the end),
    the content is kept in a temporary file (on disk above 8 MiB), which is sent at the close.

    Mode ``a`` writes the former content and the added content as one new object, with the former attributes unless others are given (on
    AWS, tags and object lock only if the credentials may read them, see :meth:`~messageflux_s3.S3Object.update`). If the
    object exists and nothing was added, it is written only if attributes are given. If others created, replaced or deleted the object
    meanwhile, ``S3ObjectChanged`` is raised at the close and their write is kept. If the store honours conditional writes, this check is
    atomic. On a conflict with another write in progress (409), ``S3PreconditionFailed`` is raised with ``retryable`` set: nothing
    was appended, and the append can be retried. On other stores the ETag is compared by HEAD immediately before the request that makes
    the object visible: a write by others between these two requests is lost.

    An object has at most 10,000 parts. So from 6 GiB on the parts are larger than 8 MiB, up to 1 GiB each: 10,000 of them hold 5 TiB. On
    R2, which requires parts of equal size, 78 GiB can be written.

    With ``if_match`` mode ``w`` replaces the object only if it still has this ETag at the close, as ``put(if_match=…)`` does; mode ``a``
    appends only if the object has this ETag at the opening, and has not changed at the close.

    Requests:
        at the close 1 PUT up to 8 MiB; above that 1 POST, 1 PUT per 8 MiB, 1 POST. ``x`` sends 1 HEAD before; ``a`` sends 1 HEAD,
        and 1 GET below 5 MiB or a copy within the store above; at the close 1 HEAD more if conditions are not honoured. On a store
        that is not AWS the first ``x`` or ``a`` probes whether they are: about 150 small requests, once for the store
    """

    _is_over = True
    """Whether the file was committed or aborted; True until the constructor is done, since ``__del__`` reads it."""

    def __init__(
        self,
        address: ObjectAddress,
        mode: str = "wb",
        *,
        metadata: Mapping[str, str] | None = None,
        autocommit: bool = True,
        if_match: str | None = None,
        **extra: Any,
    ) -> None:
        self._failure: BaseException | None = None  # the error of a failed write or commit
        self._is_failure_told = False
        super().__init__()
        self.name = address.key
        self.mode = mode
        self._address = address
        self._if_match = if_match
        self._parameters = {
            "Metadata": user_metadata.encode(metadata),
            **put_parameters.s3_parameters(address.key, extra),
        }
        self._given = {"metadata": metadata, **extra}
        self._buffer = bytearray()
        self._part_size = PART_BYTES  # of the next part
        self._parts_sent = 0
        self._position = 0
        self._upload: MultipartUpload | None = None
        self._local: tempfile.SpooledTemporaryFile[bytes] | None = None
        self._base: _Base | None = None  # the object that is appended to
        self._changes_attributes = False  # whether the caller gave attributes that replace those of the base
        self._blocks = 0
        self._autocommit = autocommit
        self._is_given_up = False
        self._is_dropped = False
        # Called when the object may have changed, with whether it certainly has; int() is a no-op.
        self.after_commit: Callable[[bool], object] = int
        self._takes_text = False
        self._outermost: weakref.ref[IO[Any]] | None = None  # the file around this one that the user writes to
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._handled_at_open = handled_now()
        self._idempotency_token = conditional.new_idempotency_token()
        self._check_if_match()
        metadata_names.require(address, self._parameters["Metadata"])
        if mode == "xb":
            self._marked_parameters()  # raises if the metadata is too large, before anything is sent
            self._refuse_if_there()
        elif mode == "ab":
            self._find_base()
            self._marked_parameters()
        elif if_match is not None:
            self._marked_parameters()
            conditional.require(self._address.bucket, "put_if_match")
        self._is_over = False
        _unclosed.add(self)

    @property
    def _connection(self) -> Connection:
        return self._address.connection

    @property
    def _bucket_name(self) -> str:
        return self._address.bucket_name

    def _check_if_match(self) -> None:
        if self._if_match is None:
            return
        if self.mode == "xb":
            raise ValueError("if_match goes with an object that exists already; mode 'x' does not overwrite")
        conditional.precondition(if_match=self._if_match)
        if self.mode == "wb":
            conditional.strong(self._if_match, self._address)

    def _refuse_if_there(self) -> None:
        try:
            operations.head(self._address, self._for_every_request)
        except S3NoSuchItem:
            conditional.require(self._address.bucket, "put_if_absent")
            return
        raise S3ObjectExists(
            f"s3://{self._bucket_name}/{self.name} exists already; mode 'x' does not overwrite",
            operation="HeadObject",
            bucket=self._bucket_name,
            key=self.name,
        )

    def _find_base(self) -> None:
        """Look up the object that is appended to: read a small one completely, but only the headers of a larger one.

        Raises:
            S3ObjectChanged: The object was replaced each time it was read.
            S3PreconditionFailed: ``if_match`` is set, and the object does not exist or has another ETag.
        """
        for _ in range(_ATTEMPTS_TO_READ_BASE):
            try:
                answer = self._connection.call(
                    "HeadObject", Bucket=self._bucket_name, Key=self.name, **self._for_every_request
                )
            except S3NoSuchItem:
                self._check_base(None)
                return
            base = Head.from_answer(answer)
            self._check_base(base)
            size = base.size or 0
            if not 0 < size < MIN_PART_BYTES:
                break
            try:
                body = self._read_small_base(base.etag)
            except (S3NoSuchItem, S3ObjectChanged):
                continue  # replaced since the HEAD: content and metadata must be of the same object
            if len(body) != size:
                continue  # replaced, or a gateway has ended a body in chunks early
            self._buffer += body
            break
        else:
            raise S3ObjectChanged(
                f"s3://{self._bucket_name}/{self.name} was replaced each time it was read, to append to it",
                bucket=self._bucket_name,
                key=self.name,
            )
        self._base = _Base(size, base.etag, " ".join((base.idempotency_token or "").split()[: conditional.CARRIED]))
        self._position = size
        # Keep the attributes of the object unless others are given.
        asked = put_parameters.s3_parameters(
            "", {name: value for name, value in self._given.items() if name != "metadata"}
        )
        asks_attributes = bool(asked.keys() - put_parameters.for_every_request(asked).keys())
        if "Tagging" not in asked:
            asked |= attributes.kept_tags(self._address, answer, self._parameters)
        is_described = self._given["metadata"] is not None
        if not is_described:
            attributes.require_whole_metadata(self._address, answer)
        self._changes_attributes = is_described or asks_attributes
        asked["Metadata"] = self._parameters["Metadata"] if is_described else user_metadata.encode(base.metadata)
        self._parameters = attributes.kept(self._address, answer, asked)

    def _check_base(self, base: Head | None) -> None:
        """Compare the ETag of the object that is appended to with ``if_match``; ``base`` is None if the object does not exist."""
        if self._if_match is not None and (base is None or not etags.same(base.etag, self._if_match)):
            state = "does not exist" if base is None else f"has the ETag {base.etag}, not {self._if_match}"
            raise S3PreconditionFailed(
                f"s3://{self._bucket_name}/{self.name} {state}: nothing is appended",
                operation="HeadObject",
                bucket=self._bucket_name,
                key=self.name,
            )

    @property
    def _for_every_request(self) -> dict[str, Any]:
        return put_parameters.for_every_request(self._parameters)

    def _read_small_base(self, etag: str | None) -> bytes:
        if self._for_every_request:
            with self._base_reader(etag).open() as stream:
                return stream.read()
        return operations.get(self._address, etag)[1] or b""

    def _base_reader(self, etag: str | None) -> RangedReader:
        return RangedReader(self._address, etag, self._for_every_request)

    # -- file methods --------------------------------------------------------------------------------------------------------------

    def writable(self) -> bool:
        self._check_open()
        return True

    def seekable(self) -> bool:
        self._check_open()
        return self._local is not None or self._takes_text

    def tell(self) -> int:
        self._check_open()
        return self._position if self._local is None else self._local.tell()

    def write(self, data: Any) -> int:
        """Write bytes. They are sent as soon as they fill a part.

        Raises:
            S3Error: A part could not be sent; the file is closed, and nothing of it is visible. The end of the ``with`` block, or
                ``close()``, raises the same error again, since it may have been raised in another thread; ``abort()`` discards it.
        """
        self._check_open()
        if isinstance(data, str):
            raise TypeError("a bytes-like object is required, not 'str'")
        self._check_process()
        with self._lock, memoryview(data) as given:
            self._check_open()  # again: another thread may have closed the file while this one waited
            with memoryview(as_bytes(given, "data must be bytes-like")) as view:
                try:
                    if self._local is not None:
                        self._write_local(view)
                    else:
                        self._take(view)
                        self._position += view.nbytes
                except BaseException as error:
                    self._fail(error)  # some of the data is lost: a later close must not commit the rest
                    raise
                return view.nbytes

    def _take(self, view: memoryview) -> None:
        """Append to the buffer; send each part that is full."""
        if len(self._buffer) + view.nbytes > self._part_size:
            self._begun_upload()  # before a part is cut: it may put the object that is appended to before what the buffer holds
        done = 0
        while len(self._buffer) + view.nbytes - done > self._part_size:
            missing = self._part_size - len(self._buffer)
            if not self._buffer:
                part: Any = bytes(view[done : done + missing])
            else:
                self._buffer += view[done : done + missing]
                part, self._buffer = self._buffer, bytearray()
            done += missing
            self._begun_upload().add_part(part)
            self._parts_sent += 1
            if not self._connection.kind.needs_equal_parts:
                self._part_size = growing_part_size(PART_BYTES, self._parts_sent)
        self._buffer += view[done:]

    def _write_local(self, view: memoryview) -> None:
        """Write to the temporary file; move it to disk before it exceeds a part, so that a gap left by a seek is not filled in memory."""
        assert self._local is not None
        if self.mode == "ab" and view.nbytes:
            self._local.seek(0, io.SEEK_END)  # as with the builtin, every write appends
        if self._local.tell() + view.nbytes > PART_BYTES:
            self._local.rollover()
        self._local.write(view)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position. Seeking elsewhere is possible only before a part is sent, and moves the content into a temporary file.

        ``seek(0)`` before the first write is refused: ``zipfile`` thus tests whether it can seek back later, and streams if it cannot.

        Raises:
            io.UnsupportedOperation: Some of the content has already been sent, or an existing object is appended to.
            ValueError: The target is before the beginning.
        """
        self._check_open()
        offset, whence = checked_seek(offset, whence)
        with self._lock:
            return self._seek(offset, whence)

    def _seek(self, offset: int, whence: int) -> int:
        self._check_open()
        if self._local is None:
            target = offset if whence == io.SEEK_SET else self._position + offset
            if target == self._position > 0:
                return target
            if self._upload is not None or self._base is not None or (self._position == 0 and whence != io.SEEK_END):
                raise io.UnsupportedOperation("an object is written as a stream: not seekable")
            if target < 0:
                raise ValueError(f"cannot seek to {target}, before the beginning of {self.name!r}")
            local = tempfile.SpooledTemporaryFile(max_size=PART_BYTES)  # noqa: SIM115
            local.write(self._buffer)
            self._local, self._buffer = local, bytearray()
        target = offset
        if whence != io.SEEK_SET:
            position = self._local.tell()
            target += self._local.seek(0, io.SEEK_END) if whence == io.SEEK_END else position
            self._local.seek(position)
        if target < 0:
            raise ValueError(f"cannot seek to {target}, before the beginning of {self.name!r}")
        return self._local.seek(target)

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer. Possible only while the content is in a temporary file (see ``seek``)."""
        with self._lock:
            self._check_open()
            if self._local is None:
                raise io.UnsupportedOperation("not readable")
            piece = self._local.read(len(memoryview(buffer).cast("B")))
        memoryview(buffer).cast("B")[: len(piece)] = piece
        return len(piece)

    def truncate(self, size: int | None = None) -> int:
        """Truncate to ``size`` (default: the position), or extend with zeros. The position does not change. Possible only after a ``seek``.

        Raises:
            io.UnsupportedOperation: The file is a stream (see ``seek``).
            OSError: The content could not be written to the disk, such as a full one; the file is closed, and nothing of it is visible.
            ValueError: The size is negative.
        """
        self._check_open()
        if size is not None and (size := operator.index(size)) < 0:
            raise ValueError(f"cannot truncate to {size} bytes: the size must not be negative")
        with self._lock:
            return self._truncate(size)

    def _truncate(self, size: int | None) -> int:
        self._check_open()
        if self._local is None:
            raise io.UnsupportedOperation("an object is written as a stream: it cannot be truncated")
        position = self._local.tell()
        size = position if size is None else size
        if size > PART_BYTES:
            try:
                self._local.rollover()
            except BaseException as error:
                self._fail(error)  # the file on disk has only a part of the content, such as at a full disk
                raise
        self._local.truncate(size)
        if size > self._local.seek(0, io.SEEK_END):  # truncate() does not extend a file in memory
            self._local.seek(size - 1)
            self._local.write(b"\0")
        self._local.seek(position)
        return size

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file.") from self._failure

    def _check_process(self) -> None:
        """Raise in a forked child: the file's threads and parts are the parent's, and both would make the same object visible."""
        if self._pid != os.getpid():
            raise RuntimeError(
                f"the file {self.name!r} was opened in the parent process, which writes it; open one in this process"
            )

    def flush(self) -> None:
        """Do nothing: parts are sent as they fill up, and the object becomes visible at the close."""
        if not self._is_given_up:
            self._check_open()

    def __enter__(self) -> ObjectWriter:
        self._check_open()
        self._blocks += 1
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._blocks = max(
                0, self._blocks - 1
            )  # ExitStack.push() and some wrappers call __exit__ without __enter__
            if exc_type is not None:
                self.abort()
            elif self._blocks or not self._autocommit:
                super().close()
                self.raise_failure()
            else:
                self._finish()
        except Exception:
            raise
        except (
            BaseException
        ):  # an interrupt, perhaps before the commit: the file would stay open, and its parts would be sent
            self.abort()
            raise

    def close(self) -> None:
        """Commit, unless an exception raised after the opening is being handled; in a ``with`` block the end of the block commits.

        Raises:
            S3Error: The object could not be written, now or by an earlier ``write()``; raised once. Nothing of it is visible, unless the
                response to the last request was lost (``S3ConnectionError``, ``S3ServerError``, or ``outcome_unknown``): then the complete
                object may exist; check whether it does. A partial object never exists.
        """
        if self._is_over:
            super().close()
            if not self._is_failure_told and self._raised_since_opening() is None:
                self.raise_failure()
        elif self._blocks:
            super().close()  # no more writes; the end of the block commits or aborts
        elif (error := self._raised_since_opening()) is not None:
            logger.warning(
                "s3://%s/%s was not written: it was closed while a %s was being handled",
                self._bucket_name,
                self.name,
                type(error).__name__,
            )
            self.abort()
        elif not self._autocommit:
            super().close()  # until commit() or discard() is called
        elif self._is_dropped:
            self.drop()
        else:
            self._finish()

    def _raised_since_opening(self) -> BaseException | None:
        return raised_since(self._handled_at_open)

    def commit(self) -> None:
        """Make the object visible. For files with ``autocommit=False``, as in fsspec's transactions.

        A file around this one that is still open, for text or compression, is closed first, since it may hold some of the content.
        """
        outermost = None if self._outermost is None else self._outermost()
        if outermost is not None and not outermost.closed:
            try:
                outermost.close()
            except BaseException:
                self.abort()
                raise
        self._blocks = 0
        self._finish()

    def wrapped_in(self, file: IO[Any]) -> None:
        """Set the wrapper of this file that the user writes to; ``commit()`` closes it first."""
        self._outermost = weakref.ref(file)

    def abort(self) -> None:
        """Abort: nothing that was written becomes visible or is left behind. Requests: 1 DELETE if parts were sent."""
        with self._lock:
            self._give_up()
            self._failure = None
            self._handled_at_open.clear()

    def _fail(self, error: BaseException) -> None:
        """Abort because of an error, which is raised again when the file is closed."""
        with self._lock:
            if not self._is_over:
                self._failure = error
            self._give_up()

    def raise_failure(self) -> None:
        """Raise the error of an earlier write or of the commit, if there is one."""
        if self._failure is not None:
            self._is_failure_told = True
            raise self._failure

    def _give_up(self) -> None:
        with self._lock:
            upload, self._upload = self._upload, None
            is_first, self._is_over = not self._is_over, True
            self._is_given_up = True
            self._buffer = bytearray()
            self._close_local()
            super().close()
            if is_first and upload is not None:
                upload.abort()

    discard = abort

    def drop(self) -> None:
        """Abort with a warning, because the file is no longer referenced. In a forked child do nothing: the file belongs to the parent."""
        if not self._is_over and self._pid == os.getpid():
            told = f"s3://{self._bucket_name}/{self.name} was not written: the file was dropped without being closed"
            logger.warning(told)
            if is_collecting():  # the abort waits for parts that are being sent, and sends a request
                _thread.start_new_thread(self.abort, ())  # not a Thread, whose start() would wait for it
            else:
                self.abort()
            warnings.warn(visible(told), ResourceWarning, stacklevel=2, source=self)

    def _dealloc_warn(self, source: object) -> None:
        # io's wrappers call this when they are collected unclosed, before they close the file: abort, never commit a partial text.
        self._is_dropped = True

    def __del__(self) -> None:
        self.drop()

    # -- the commit -----------------------------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        self._check_process()
        with self._lock:
            if self._is_over:
                super().close()
                self.raise_failure()
                return
            is_done = False
            try:
                self._commit()
                is_done = True
            except BaseException as error:
                self._is_failure_told = True
                self._fail(error)
                raise
            finally:
                self.after_commit(is_done)
            self._is_over = True
            self._handled_at_open.clear()
            self._buffer = bytearray()
            self._close_local()
            super().close()

    def _close_local(self) -> None:
        local, self._local = self._local, None
        if local is not None:
            local.close()

    def leave_local(self) -> None:
        """In a forked child, close the descriptor of the temporary file, without writing what its buffer still holds.

        The parent writes these bytes too, and both processes share the position in the file.
        """
        raw = getattr(getattr(self._local, "_file", None), "raw", None)  # None while the content is in memory
        if raw is not None:
            raw.close()

    def _commit(self) -> None:
        if self._local is not None:
            self._local.seek(0)
            while piece := self._local.read(PART_BYTES):
                self._take(memoryview(piece))
        if self._base is not None and self._position == self._base.size and not self._changes_attributes:
            return  # nothing was appended
        if self._upload is None and (self._base is None or self._base.size < MIN_PART_BYTES):
            self._put(bytes(self._buffer))
            return
        upload = self._begun_upload()
        if self._buffer:  # pragma: no branch - usually true: a full part is sent only when more data follows
            upload.add_part(self._buffer)
        upload.settle()  # the object that is appended to is checked after the last part
        with self._base_changes():
            if self._is_conditional("multipart"):
                conditional.complete(self._address, upload, self._precondition)
            else:
                upload.complete()

    def _put(self, body: bytes) -> None:
        parameters = self._marked_parameters()
        confirmation.require(self._address, "PutObject", parameters)
        whole = {"Bucket": self._bucket_name, "Key": self.name, "Body": body, **parameters}
        with self._base_changes():
            if self._is_conditional("put"):
                conditional.ConditionalWrite(self._address, self._precondition)("PutObject", **whole)
            else:
                checksum.call(self._connection, "PutObject", whole)

    @property
    def _precondition(self) -> conditional.Precondition:
        """The condition of the request that makes the object visible: the existing object is unchanged, or there is none."""
        if_match = self._if_match if self._base is None else self._base.etag
        return conditional.Precondition(if_match, self._idempotency_token, self._carried, is_optional=self.mode == "ab")

    @property
    def _carried(self) -> str:
        return "" if self._base is None else self._base.carried

    def _is_conditional(self, request: Literal["put", "multipart"]) -> bool:
        """Return whether the request that makes the object visible is conditional: If-None-Match, or If-Match.

        If the store does not honour the condition of an append, compare the object here by HEAD, and return False.

        Raises:
            S3ObjectChanged: The object that is appended to was deleted or replaced.
        """
        if self.mode != "ab":
            return self.mode == "xb" or self._if_match is not None
        base = self._base
        ability = cast(Ability, f"{request}_if_absent" if base is None else f"{request}_if_match")
        has_etag = base is None or base.etag is not None
        if has_etag and conditional.honours(self._address.bucket, ability):
            return True
        if not self._is_there(base):
            raise self._base_changed(base)
        return False

    @contextlib.contextmanager
    def _base_changes(self) -> Iterator[None]:
        """Raise S3ObjectChanged if the condition of an append fails within the block.

        Leave a retryable error (409: another write was in progress) unchanged: it does not mean that the object was replaced.
        """
        try:
            yield
        except S3PreconditionFailed as error:
            if self.mode != "ab" or error.outcome_unknown or error.retryable:
                raise
            raise self._base_changed(self._base) from error

    def _marked_parameters(self) -> dict[str, Any]:
        """Return the parameters of the object; for a conditional write, add the idempotency token that identifies the write."""
        if self.mode == "wb" and self._if_match is None:
            return self._parameters
        return {
            **self._parameters,
            "Metadata": user_metadata.marked(self._parameters["Metadata"], self._idempotency_token, self._carried),
        }

    def _begun_upload(self) -> MultipartUpload:
        """Return the multipart upload, started if necessary; an append begins with the former content."""
        if self._upload is None:
            self._upload = self._new_upload()
            if self._base is not None and self._base.size >= MIN_PART_BYTES:
                self._bring_base(self._base)
        return self._upload

    def _new_upload(self) -> MultipartUpload:
        # Check before parts are sent: if the store honours the condition on PutObject only, all parts would be discarded.
        if self.mode == "xb":
            conditional.require(self._address.bucket, "multipart_if_absent")
        elif self.mode == "wb" and self._if_match is not None:
            conditional.require(self._address.bucket, "multipart_if_match")
        parameters = self._marked_parameters()
        confirmation.require(self._address, "CreateMultipartUpload", parameters)  # before the former content is read
        return MultipartUpload(self._address, parameters=parameters)

    def _bring_base(self, base: _Base) -> None:
        """Make the former content the first parts: copy it within the store, or read it and send it again if the store cannot copy."""
        assert self._upload is not None
        if self._connection.capabilities.multipart_copy is not False and not self._connection.kind.needs_equal_parts:
            try:
                source, start = {"Bucket": self._bucket_name, "Key": self.name}, 0
                customer_key = {
                    f"CopySource{name}": value
                    for name, value in self._for_every_request.items()
                    if name.startswith("SSECustomer")
                }
                step = max(_COPIED_PART_BYTES, -(-base.size // _MOST_COPIED_PARTS))
                while start < base.size:
                    end = min(start + step, base.size)
                    if base.size - end < MIN_PART_BYTES:
                        end = base.size  # leave no small rest: only the upload's last part may be small
                    self._upload.copy_part(source, start, end, if_match=base.etag, **customer_key)
                    start = end
                self._upload.settle()
            except S3Unsupported:
                self._upload.abort()
                self._upload = self._new_upload()
            except S3Error as error:
                if self._is_there(base):
                    raise
                raise self._base_changed(base) from error
            else:
                # Stores other than AWS may ignore the condition of a copy.
                if not self._connection.is_aws and not self._is_there(base):
                    raise self._base_changed(base)
                return
        reader = self._base_reader(None)
        operations.learn_size(reader)
        if not etags.same(reader.etag, base.etag):
            raise self._base_changed(base)
        mine, self._buffer = self._buffer, bytearray()
        for start in range(0, base.size, PART_BYTES):
            with memoryview(bytearray(min(PART_BYTES, base.size - start))) as view:
                operations.read_into(reader, start, view)
                self._take(view)
        self._take(memoryview(mine))

    def _is_there(self, base: _Base | None) -> bool:
        """Return whether the object is still the one that is appended to; if there was none, whether the object still does not exist."""
        try:
            found = operations.head(self._address, self._for_every_request)
        except S3NoSuchItem:
            return base is None
        return base is not None and found.size == base.size and etags.same(found.etag, base.etag)

    def _base_changed(self, base: _Base | None) -> S3ObjectChanged:
        how = "created" if base is None else "replaced or deleted"
        return S3ObjectChanged(
            f"s3://{self._bucket_name}/{self.name} was {how} by others while it was open for appending; nothing was appended",
            bucket=self._bucket_name,
            key=self.name,
        )


_unclosed: weakref.WeakSet[ObjectWriter] = weakref.WeakSet()


def _drop_unclosed() -> None:
    """Abort the files that are still open at exit, while the interpreter still works."""
    for writer in list(_unclosed):
        writer.drop()


def _leave_to_parent() -> None:
    """In a forked child, forget the files: the parent closes them, and a thread that the child does not have may have held their locks."""
    for writer in list(_unclosed):
        writer._lock = threading.RLock()
        writer.leave_local()
    _unclosed.clear()


atexit.register(_drop_unclosed)
if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no forks
    os.register_at_fork(after_in_child=_leave_to_parent)


class TextWriter(io.TextIOWrapper):
    """Writes text to an :class:`ObjectWriter`; its ``with`` block commits or aborts like the writer's."""

    def __init__(
        self,
        writer: ObjectWriter,
        encoding: str,
        errors: str | None,
        newline: str | None,
        line_buffering: bool,
        *,
        mode: str,
    ) -> None:
        # TextIOWrapper needs tell() to decide whether to write a byte order mark. Without tell() it would omit the mark for UTF-16, and
        # for utf-8-sig write it again in the middle of an appended object.
        self._writer = self.writer = writer
        writer._takes_text = True
        try:
            super().__init__(cast("IO[bytes]", writer), encoding, errors, newline, line_buffering)
        finally:
            writer._takes_text = False
        self.mode = mode  # type: ignore[misc]  # as the builtin does
        writer.wrapped_in(self)

    def close(self) -> None:
        """Flush the text and close the writer; if an earlier write closed it, raise that write's error."""
        super().close()
        self._writer.close()

    def __enter__(self) -> TextWriter:
        self._writer.__enter__()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exc_type is None:
            try:
                self.close()  # flushes the text to the writer, which commits at its own __exit__
            except BaseException:
                self._writer.abort()
                raise
        self._writer.__exit__(exc_type, exc, traceback)
