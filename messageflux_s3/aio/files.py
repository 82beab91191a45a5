"""An open object under asyncio."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import deque
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
)
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from threading import Lock
from types import TracebackType
from typing import (
    IO,
    TYPE_CHECKING,
    Any,
    AnyStr,
    Generic,
    Literal,
    TypeVar,
    cast,
)

from .._files.writer import handled_now, raised_since
from ..errors import S3Error
from .engine import Cancelled, Engine, Portal

if TYPE_CHECKING:
    from .._files.writer import Handled

logger = logging.getLogger("messageflux_s3")
Result = TypeVar("Result")


BytesMode = Literal["rb", "wb", "xb", "ab", "br", "bw", "bx", "ba"]


TextMode = Literal["r", "w", "x", "a", "rt", "wt", "xt", "at", "tr", "tw", "tx", "ta"]


class _Calls:
    """Calls that run one at a time, in the order in which they were added, on whichever threads run them."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self._turn = Lock()

    def add(self, function: Callable[[], Result], on_skip: Callable[[], object] = int) -> Future[Result]:
        """Add a call, to be run in a copy of the caller's context.

        Args:
            function: The call.
            on_skip: Called instead of the function if the future was cancelled before the call's turn; int() is a no-op.
        """
        work: Future[Result] = Future()
        context = contextvars.copy_context()

        def perform() -> None:
            if not work.set_running_or_notify_cancel():
                on_skip()
                return
            try:
                result = context.run(function)
            except BaseException as error:
                work.set_exception(error)
            else:
                work.set_result(result)

        self._waiting.append(perform)
        return work

    def run(self) -> None:
        """Run the queued calls, or return at once if another thread is running them, so that no thread blocks."""
        while self._waiting and self._turn.acquire(blocking=False):
            try:
                while self._waiting:
                    self._waiting.popleft()()
            finally:
                self._turn.release()  # the outer loop runs a call that was added meanwhile


class AsyncObjectFile(Generic[AnyStr]):
    """A file with coroutine methods, created by ``obj.open(…)``; ``async with`` or ``await`` opens it.

    Methods run one at a time, in the order of the calls. After a cancelled ``read()`` the position is unknown until ``seek()``.

    A cancelled ``write()``, ``writelines()``, ``seek()`` or ``truncate()`` of a file open for writing fails the file, since it is unknown
    how much of the data was taken: further calls and the end of the block (or ``close()``) raise ``S3Error``, and nothing is written.

    Without ``async with``, nothing is written and a warning is logged if ``close()`` is called while an exception raised after the opening
    is being handled (``finally: await file.close()``). The task that handles the exception MUST be the one that awaits ``close()``. As
    with ``S3Object.open``, if the file was opened within an ``except`` block, a bare ``raise`` in that block is not detected.

    Example:
        >>> async def first_line(obj):
        ...     async with obj.open("r") as file:
        ...         return await file.readline()
    """

    def __init__(self, opening: Callable[[], IO[Any]], engine: Engine) -> None:
        self._opening = opening
        self._engine = engine
        self._opened: IO[Any] | None = None
        self._calls = _Calls()
        self._blocks = 0
        self._handled_at_open: list[Handled] = []
        self._failure: S3Error | None = None  # set when a call that changes the file is cancelled
        self._is_over = False

    def __await__(self) -> Generator[Any, None, AsyncObjectFile[AnyStr]]:
        return self._open().__await__()

    async def _open(self) -> AsyncObjectFile[AnyStr]:
        if self._opened is not None:
            raise ValueError("this file was opened already")
        self._handled_at_open = handled_now()
        self._opened = await Portal(self._engine).run(self._opening, alone=False, undo=_give_up)
        return self

    async def __aenter__(self) -> AsyncObjectFile[AnyStr]:
        if self._opened is None:
            await self._open()
        await self._call(self._file.__enter__)
        self._blocks += 1
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._blocks -= 1
        await self._end(self._file.__exit__, exc_type, exc, traceback, is_abort=exc_type is not None)

    @property
    def _file(self) -> IO[Any]:
        if self._opened is None:
            raise ValueError("this file is not open yet: use async with, or await it")
        return self._opened

    @property
    def _is_for_writing(self) -> bool:
        return "r" not in self._file.mode

    async def _call(
        self, method: Callable[..., Result], *arguments: Any, on_skip: Callable[[], object] = int
    ) -> Result:
        if self._failure is not None:
            raise self._failure
        work = self._calls.add(partial(method, *arguments), on_skip)
        self._engine.start(self._calls.run)
        return await asyncio.wrap_future(work)

    async def _change(self, method: Callable[..., Result], *arguments: Any) -> Result:
        """Call a method that changes the content or the position; if the call is cancelled, a file open for writing has failed."""
        with self._failing():
            # If the call is skipped, on_skip fails the file before the next queued call runs, which may be the one that ends the file.
            return await self._call(method, *arguments, on_skip=self._fail)

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except asyncio.CancelledError:
            self._fail()
            raise

    def _fail(self) -> None:
        if self._is_for_writing and not self._is_over:
            self._failure = S3Error(
                f"{self.name} was not written: a call that writes was cancelled, and some of the data may be missing",
                key=self.name,
            )

    async def _end(self, method: Callable[..., Result], *arguments: Any, is_abort: bool = False) -> None:
        """Call a method that ends the file. If the file has failed, abort it first, and raise the failure unless the method aborts too.

        The call has a dedicated thread and cannot be removed from the queue: otherwise a cancelled task would leave the file neither
        committed nor aborted.
        """

        def end() -> None:
            self._is_over = True
            failure, self._failure = self._failure, None
            if failure is not None:
                _give_up(self._file)
            method(*arguments)
            if failure is not None and not is_abort:
                raise failure

        work = self._calls.add(end)

        def wait() -> None:
            self._calls.run()
            work.result()

        await Portal(self._engine).run(wait)

    @property
    def name(self) -> str:
        """The key. Requests: none."""
        return cast(str, self._file.name)

    @property
    def mode(self) -> str:
        """The mode. Requests: none."""
        return self._file.mode

    @property
    def closed(self) -> bool:
        """Whether the file was closed. Requests: none."""
        return self._opened is not None and self._opened.closed

    @property
    def size(self) -> int:
        """The object's size in bytes, if opened for reading in bytes mode. Requests: none."""
        return cast(int, self._file.size)  # type: ignore[attr-defined]  # of the reader's class

    def readable(self) -> bool:
        """Return whether the file is open for reading. Requests: none."""
        return self._file.readable()

    def writable(self) -> bool:
        """Return whether the file is open for writing. Requests: none."""
        return self._file.writable()

    def seekable(self) -> bool:
        """Return whether the file can be read at any position. Requests: none."""
        return self._file.seekable()

    async def read(self, size: int = -1) -> AnyStr:
        """Return up to ``size`` bytes or characters, or the rest. Requests: as ``S3Object.open``."""
        return await self._call(self._file.read, size)

    async def readline(self, size: int = -1) -> AnyStr:
        """Return the next line, with its line ending. Requests: as ``S3Object.open``."""
        return await self._call(self._file.readline, size)

    async def readlines(self, hint: int = -1) -> list[AnyStr]:
        """Return the next lines, about ``hint`` bytes of them, or the rest. Requests: as ``S3Object.open``."""
        return await self._call(self._file.readlines, hint)

    async def readinto(self, buffer: Any) -> int:
        """Read into a buffer, and return the number of bytes read; bytes mode only. Requests: as ``S3Object.open``."""
        return await self._call(cast(Any, self._file).readinto, buffer)

    def __aiter__(self) -> AsyncIterator[AnyStr]:
        return self

    async def __anext__(self) -> AnyStr:
        if line := await self.readline():
            return line
        raise StopAsyncIteration

    async def write(self, data: AnyStr) -> int:
        """Write data; wait while earlier parts are being sent. Requests: as ``S3Object.open``."""
        return await self._change(self._file.write, data)

    async def writelines(self, lines: Iterable[AnyStr] | AsyncIterable[AnyStr]) -> None:
        """Write several lines; no line endings are added. Requests: as ``S3Object.open``."""
        if not isinstance(lines, AsyncIterable):
            await self._change(self._file.writelines, lines)
            return
        with self._failing():
            async for line in lines:
                await self.write(line)

    async def seek(self, offset: int, whence: int = 0) -> int:
        """Set the position, and return it. Requests: none."""
        return await self._change(self._file.seek, offset, whence)

    async def tell(self) -> int:
        """Return the position. Requests: none."""
        return await self._call(self._file.tell)

    async def truncate(self, size: int | None = None) -> int:
        """Truncate to a size. Allowed only after a ``seek()``, as for the synchronous file. Requests: none."""
        return await self._change(self._file.truncate, size)

    async def flush(self) -> None:
        """Do nothing: parts are sent as they fill up. Requests: none."""
        await self._call(self._file.flush)

    async def close(self) -> None:
        """Close the file and write the object, unless an exception raised after the file was opened is being handled.

        Requests:
            as ``S3Object.open``
        """
        if self._blocks:
            await self._call(self._file.close)  # the end of the block commits or aborts
            return
        error = raised_since(self._handled_at_open) if self._is_for_writing else None
        if error is None:
            await self._end(self._file.close)
            return
        if not self.closed:
            logger.warning(
                "%s was not written: it was closed while a %s was being handled", self.name, type(error).__name__
            )
        await (
            self.abort()
        )  # after a failed write, close() would raise the write's error instead of the one being handled

    async def abort(self) -> None:
        """Close the file and discard everything written. Requests: 1 DELETE if parts were sent."""
        await self._end(_give_up, self._file, is_abort=True)

    def __repr__(self) -> str:
        return f"<AsyncObjectFile {self._opened!r}>" if self._opened is not None else "<AsyncObjectFile, not open yet>"


def _give_up(file: IO[Any]) -> None:
    """Close a file as if its ``with`` block had raised."""
    error = Cancelled()
    file.__exit__(type(error), error, None)
