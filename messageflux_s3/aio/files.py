"""An open object under asyncio."""

from __future__ import annotations

import logging
import sys
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
)
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

if TYPE_CHECKING:
    pass
from .engine import Cancelled, Engine, Portal

logger = logging.getLogger("messageflux_s3")
Result = TypeVar("Result")


BytesMode = Literal["rb", "wb", "xb", "ab", "br", "bw", "bx", "ba"]


TextMode = Literal["r", "w", "x", "a", "rt", "wt", "xt", "at", "tr", "tw", "tx", "ta"]


class AsyncObjectFile(Generic[AnyStr]):
    """A file with coroutine methods, created by ``obj.open(…)``; ``async with`` or ``await`` opens it.

    Methods run one at a time; concurrent calls wait. After a cancelled ``read()`` the position is unknown until ``seek()``.

    Without ``async with``, nothing is written if ``close()`` is called while an exception raised after the opening is being handled
    (``finally: await file.close()``); a warning is then logged. In that case ``close()`` MUST be awaited by the task that handles it.

    Example:
        >>> async def first_line(obj):
        ...     async with obj.open("r") as file:
        ...         return await file.readline()
    """

    def __init__(self, opening: Callable[[], IO[Any]], engine: Engine) -> None:
        self._opening = opening
        self._engine = engine
        self._opened: IO[Any] | None = None
        self._turn = Lock()
        self._handled_at_open: BaseException | None = None

    def __await__(self) -> Generator[Any, None, AsyncObjectFile[AnyStr]]:
        return self._open().__await__()

    async def _open(self) -> AsyncObjectFile[AnyStr]:
        if self._opened is not None:
            raise ValueError("this file was opened already")
        self._handled_at_open = sys.exc_info()[1]
        self._opened = await Portal(self._engine).run(self._opening, alone=False, undo=_give_up)
        return self

    async def __aenter__(self) -> AsyncObjectFile[AnyStr]:
        if self._opened is None:
            await self._open()
        await self._call(self._file.__enter__)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._handled_at_open = None
        # On a dedicated thread: cancellation would remove a queued call, which leaves partial data or loses all of it.
        await self._call(self._file.__exit__, exc_type, exc, traceback, alone=True)

    @property
    def _file(self) -> IO[Any]:
        if self._opened is None:
            raise ValueError("this file is not open yet: use async with, or await it")
        return self._opened

    async def _call(self, method: Callable[..., Result], *arguments: Any, alone: bool = False) -> Result:
        def call() -> Result:
            with self._turn:
                return method(*arguments)

        return await Portal(self._engine).run(call, alone=True) if alone else await self._engine.run(call)

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
        """Write data; wait while earlier parts are being sent. Requests: 1 PUT per 8 MiB."""
        return await self._call(self._file.write, data)

    async def writelines(self, lines: Iterable[AnyStr] | AsyncIterable[AnyStr]) -> None:
        """Write several lines; no line endings are added. Requests: 1 PUT per 8 MiB."""
        if not isinstance(lines, AsyncIterable):
            await self._call(self._file.writelines, lines)
            return
        async for line in lines:
            await self.write(line)

    async def seek(self, offset: int, whence: int = 0) -> int:
        """Set the position, and return it. Requests: none."""
        return await self._call(self._file.seek, offset, whence)

    async def tell(self) -> int:
        """Return the position. Requests: none."""
        return await self._call(self._file.tell)

    async def truncate(self, size: int | None = None) -> int:
        """Truncate to a size; only after a ``seek()``, as for the synchronous file. Requests: none."""
        return await self._call(self._file.truncate, size)

    async def flush(self) -> None:
        """Do nothing: parts are sent as they fill up. Requests: none."""
        await self._call(self._file.flush)

    async def close(self) -> None:
        """Close the file and write the object, unless an exception raised since the opening is being handled.

        Requests:
            as ``S3Object.open``
        """
        error = sys.exc_info()[1]
        if error is None or error is self._handled_at_open or not self._file.writable() or self._file.closed:
            self._handled_at_open = None
            await self._call(self._file.close, alone=True)
            return
        logger.warning(
            "%s was not written: it was closed while a %s was being handled", self.name, type(error).__name__
        )
        await self.abort()

    async def abort(self) -> None:
        """Close the file and discard everything written. Requests: 1 DELETE if parts were sent."""
        self._handled_at_open = None
        await self._call(_give_up, self._file, alone=True)

    def __repr__(self) -> str:
        return f"<AsyncObjectFile {self._opened!r}>" if self._opened is not None else "<AsyncObjectFile, not open yet>"


def _give_up(file: IO[Any]) -> None:
    """Close a file as if its ``with`` block had raised."""
    error = Cancelled()
    file.__exit__(type(error), error, None)
