"""Run blocking functions on threads; the task that waits for a function also awaits coroutines for it."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import io
import logging
import mmap
import os
import stat
import threading
import weakref
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Iterator,
)
from concurrent.futures import CancelledError as FutureCancelledError
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from functools import partial
from itertools import islice
from threading import Lock, Thread
from typing import (
    TYPE_CHECKING,
    Any,
    TypeVar,
    cast,
)

from .._bulk.progress import Checked, Progress
from .._client.async_exchange import AsyncExchange
from .._objects.drivers import Blocking, Callback, Sleep, Steps, run_awaited
from ..store import S3Store

if TYPE_CHECKING:
    from .._client.connection import Connection


logger = logging.getLogger("messageflux_s3")

Result = TypeVar("Result")
Item = TypeVar("Item")

_PIECE_BYTES = 256 * 1024
"""Bytes of an async source collected before they are passed to the uploading thread."""

_CLEANUP_SECONDS = 5.0
"""Seconds that a cancelled task waits for its thread to clean up."""

_JOIN_SECONDS = 0.1
"""Seconds between the checks of ``close()`` whether a thread that it waits for was abandoned."""

_EXIT_SECONDS = 1.0
"""Seconds between the checks of a thread that waits for its task whether the program has ended."""

END: Any = object()


class Engine:
    """State shared by the handles of one store: HTTP connections for each event loop, a thread pool, and dedicated threads."""

    def __init__(self, store: S3Store) -> None:
        self.connection: Connection = store._connection
        self.exchange = AsyncExchange(self.connection)
        self._threads: ThreadPoolExecutor | None = None
        # Dedicated threads by the future of their function. Keys are weak: a result is freed once its thread has ended and no task waits.
        self._own_threads: weakref.WeakKeyDictionary[Future[Any], Thread] = weakref.WeakKeyDictionary()
        self._open_sources: set[Callable[[], None]] = set()
        self._lock = Lock()  # event loops on several threads may share this engine
        self._pid = os.getpid()

    async def perform(self, steps: Steps[Result]) -> Result:
        """Run an operation of the synchronous classes: requests in the event loop, blocking calls on a thread."""
        await self.exchange.start()
        send = partial(self.exchange.send, run=self.run, run_write=self.run_write)
        return await run_awaited(steps, send, self._perform_effect)

    async def run_write(self, function: Callable[..., Result], *arguments: Any, **named: Any) -> Result:
        """Call a function that writes on a pool thread. If the task is cancelled, it waits up to 5 s for the function.

        So a cancelled write does not take effect after a later one.
        """
        return await Portal(self).run(partial(function, *arguments, **named), alone=False)

    async def _perform_effect(self, effect: Blocking | Callback | Sleep) -> Any:
        if isinstance(effect, Sleep):
            return await asyncio.sleep(effect.seconds)
        if isinstance(effect, Blocking):
            return await self.run(effect.function)
        result = await Portal(self, waits_for_user=True).run(effect.function)
        return await result if inspect.isawaitable(result) else result

    async def run(self, function: Callable[..., Result], *arguments: Any, **named: Any) -> Result:
        """Call a function on a pool thread; the pool has at most the connection's ``max_concurrency`` threads."""
        return await asyncio.wrap_future(self.start(functools.partial(function, *arguments, **named)))

    def start(self, function: Callable[[], Result], *, alone: bool = False, daemon: bool = False) -> Future[Result]:
        """Start a function on a thread, in a copy of the caller's context.

        Args:
            function: The function.
            alone: Whether to use a dedicated thread. A function that waits for anything other than the store (the user's source, the holder
                of a lock) MUST NOT take a pool thread: whatever it waits for may need one.
            daemon: Whether the dedicated thread is a daemon, for a function that may be blocked in the user's code for ever.
        """
        self._forget_after_fork()
        context = contextvars.copy_context()

        def call() -> Result:
            return context.run(function)

        if not alone:
            with self._lock:
                if self._threads is None:
                    self._threads = ThreadPoolExecutor(
                        self.connection.max_concurrency, thread_name_prefix="messageflux-s3-aio"
                    )
                return self._threads.submit(call)
        work: Future[Result] = Future()
        work.set_running_or_notify_cancel()

        def finish() -> None:
            try:
                result = call()
            except BaseException as error:
                work.set_exception(error)
            else:
                work.set_result(result)

        thread = Thread(target=finish, name="messageflux-s3-aio-own", daemon=daemon)
        with self._lock:
            thread.start()  # before it is tracked: close() cannot join a thread that was refused by the system
            self._own_threads[work] = thread
        return work

    def abandon(self, work: Future[Any]) -> None:
        """Stop tracking a dedicated thread, so that ``close()`` does not wait for it."""
        with self._lock:
            self._own_threads.pop(work, None)

    async def run_stoppable(
        self,
        function: Callable[..., Result],
        *arguments: Any,
        file: str | os.PathLike[str] | None = None,
        **named: Any,
    ) -> Result:
        """Run a transfer on a thread. Through its ``progress`` argument, the transfer is stopped if the task is cancelled.

        Args:
            function: The transfer.
            arguments: Its arguments.
            file: The path of the file that the transfer reads or writes, if there is only one. A FIFO needs a dedicated thread.
            named: Its keyword arguments.
        """
        may_be_blocked = file is not None and await self.run(_is_special_file, file)
        portal = Portal(self, waits_for_user=may_be_blocked)
        named["progress"] = portal.watch(named.get("progress"))
        return await portal.run(functools.partial(function, *arguments, **named), alone=False)

    def _forget_after_fork(self) -> None:
        """Drop the threads and sources in a forked child: they belong to the parent, and waiting for them would never end."""
        if self._pid != os.getpid():
            self._pid, self._lock, self._threads = os.getpid(), Lock(), None
            self._open_sources, self._own_threads = set(), weakref.WeakKeyDictionary()

    async def pull(
        self, source: Iterator[Result], at_once: int, portal: Portal | None = None
    ) -> AsyncGenerator[Result, None]:
        """Iterate over a synchronous iterator on a thread, several items per thread call.

        Args:
            source: The iterator.
            at_once: Maximum number of items per thread call. The first call takes one item, each further call up to twice as many as
                the one before, so that a loop that is left early has listed little more than it used.
            portal: The portal through which the iterator awaits coroutines, if it does so.
        """
        lock = Lock()  # a cancelled thread call may still be running when the iterator is closed
        count = 1

        def take() -> list[Result]:
            nonlocal count
            with lock:
                items = [*islice(source, count)]
                count = min(2 * count, at_once)
                return items

        def close() -> None:
            if lock.acquire(
                timeout=_CLEANUP_SECONDS
            ):  # on a timeout, the source is blocked in the user's code, and ends when that continues
                try:
                    getattr(source, "close", lambda: None)()
                finally:
                    lock.release()

        self._open_sources.add(close)
        try:
            while items := await (self.run(take) if portal is None else portal.run(take, alone=True)):
                for item in items:
                    yield item
        finally:
            if close in self._open_sources:
                self._open_sources.discard(close)
                await self.run(close)

    async def close(self) -> None:
        self._forget_after_fork()
        while self._open_sources:  # iterators that were abandoned without being closed
            await self.run(self._open_sources.pop())
        with self._lock:
            threads, self._threads = self._threads, None
        self.exchange.close()
        if threads is not None:
            await asyncio.to_thread(threads.shutdown)
        while own_threads := self._tracked_threads():
            for work, thread in own_threads:
                await asyncio.to_thread(
                    thread.join, _JOIN_SECONDS
                )  # with a timeout: the thread may be abandoned meanwhile
                if not thread.is_alive():
                    self.abandon(work)

    def _tracked_threads(self) -> list[tuple[Future[Any], Thread]]:
        with self._lock:  # event loops of other threads may start threads meanwhile
            return [*self._own_threads.items()]


class Cancelled(BaseException):
    """Raised on a thread whose task was cancelled; the task itself raises CancelledError."""


def _undo(undo: Callable[[Result], object], result: Result) -> None:
    """Undo the call whose result a cancelled task can no longer receive, and log a failure, which no caller would see."""
    try:
        undo(result)
    except Exception:
        logger.warning("what a cancelled task had acquired could not be released: %r", result, exc_info=True)


class Portal:
    """Lets a function on a thread run coroutines in the task that waits for the function.

    The task itself runs the coroutines, so an async iterator is advanced as by ``async for``: with the task's context variables, timeouts
    and cancel scopes, and without an additional task. A portal is used by one call of :meth:`run` at a time.

    Args:
        engine: The engine.
        waits_for_user: Whether the function waits for the user's synchronous code, such as a generator or a readable over a pipe. The
            function then gets its own daemon thread. If that thread is still blocked in the user's code when its cancelled task has ended,
            ``Engine.close()`` does not wait for it.
    """

    def __init__(self, engine: Engine, *, waits_for_user: bool = False) -> None:
        self._engine = engine
        self._waits_for_user = waits_for_user
        self._thread_id: int | None = None
        self._has_noticed = False  # the function knows that the task was cancelled, and is cleaning up
        self._lock = Lock()
        self._is_open = False
        self._steps: deque[tuple[Callable[[], Awaitable[Any]], Future[Any]]] = deque()
        self._unanswered: set[Future[Any]] = set()
        self._loop: asyncio.AbstractEventLoop
        self._wake: asyncio.Event

    # -- in the task

    async def run(
        self, function: Callable[[], Result], *, alone: bool = True, undo: Callable[[Result], object] | None = None
    ) -> Result:
        """Call a function on a thread, and await the steps that the function passes to :meth:`call`.

        If the task is cancelled, the function's next :meth:`call` or :meth:`check` raises, and the task waits up to 5 s for the function.

        Args:
            function: The function.
            alone: Whether to use a dedicated thread (see ``Engine.start``).
            undo: Called on a thread with a result that the cancelled task can no longer receive.
        """
        self._loop, self._wake, ended = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
        self._is_open = True

        def call() -> Result:
            self._thread_id = threading.get_ident()
            result = function()
            if undo is not None and not self._is_open:
                _undo(undo, result)
                raise Cancelled
            return result

        work = self._engine.start(call, alone=alone or self._waits_for_user, daemon=self._waits_for_user)

        def end(_: Future[Result]) -> None:
            with suppress(RuntimeError):  # the loop is closed: no task is waiting
                self._loop.call_soon_threadsafe(ended.set)
                self._loop.call_soon_threadsafe(self._wake.set)

        work.add_done_callback(end)
        try:
            while not work.done():
                await self._wake.wait()
                self._wake.clear()
                while self._steps:
                    await self._take_step(*self._steps.popleft())
            return work.result()
        except FutureCancelledError:  # the source awaited something that was cancelled, or the pool was shut down
            raise asyncio.CancelledError from None
        except asyncio.CancelledError:
            self.close()
            if not work.cancel():
                await self._clean_up(work, ended, undo)
            raise
        finally:
            self.close()

    async def _clean_up(
        self, work: Future[Result], ended: asyncio.Event, undo: Callable[[Result], object] | None
    ) -> None:
        """Wait for the function of a cancelled task, and undo a result that came too late, even if the task is cancelled again."""
        undone: Future[None] | None = None
        try:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(ended.wait(), _CLEANUP_SECONDS)
        finally:
            if not work.done():
                if self._waits_for_user and not self._has_noticed:
                    self._engine.abandon(work)
            elif undo is not None and work.exception() is None:
                undone = self._engine.start(functools.partial(_undo, undo, work.result()), alone=True)
        if undone is not None:
            await asyncio.wait([asyncio.wrap_future(undone)], timeout=_CLEANUP_SECONDS)

    async def _take_step(self, step: Callable[[], Awaitable[Any]], answer: Future[Any]) -> None:
        try:
            result = await step()
        except Exception as error:
            answer.set_exception(error)
        else:
            answer.set_result(result)

    def close(self) -> None:
        """Run no further steps: on the function's thread, pending and later calls raise Cancelled."""
        with self._lock:
            self._is_open = False
            self._steps.clear()
            for answer in self._unanswered:
                if not answer.done():
                    answer.set_exception(Cancelled())
            self._unanswered.clear()

    # -- on the thread

    def call(self, step: Callable[[], Awaitable[Result]]) -> Result:
        """Have the task call and await a step; return the step's result.

        Raises:
            Cancelled: The task was cancelled.
        """
        answer: Future[Result] = Future()
        with self._lock:
            if not self._is_open:
                raise Cancelled
            self._unanswered.add(answer)
            self._steps.append((step, answer))
            try:
                self._loop.call_soon_threadsafe(self._wake.set)
            except RuntimeError:
                raise Cancelled from None  # the loop is closed
        try:
            return self._wait_for(answer)
        finally:
            with self._lock:
                self._unanswered.discard(answer)

    def _wait_for(self, answer: Future[Result]) -> Result:
        """Return the answer of the task.

        Raises:
            Cancelled: The task was cancelled; or the program has ended, and the loop has stopped without cancelling its tasks. Python waits
                at its exit for this thread, which would wait for ever.
        """
        while True:
            try:
                return answer.result(_EXIT_SECONDS)
            except FutureTimeoutError:
                if answer.done():  # since then, or the step itself has raised this error
                    return answer.result()
            if not threading.main_thread().is_alive() and not self._loop.is_running():
                raise Cancelled

    def check(self) -> None:
        """Raise if the task was cancelled.

        Raises:
            Cancelled: The task was cancelled.
        """
        if not self._is_open:
            if threading.get_ident() == self._thread_id:  # not a thread that transfers one of its parts
                self._has_noticed = True
            raise Cancelled

    def watch(self, progress: Progress) -> Any:
        """Return a ``progress`` that stops a transfer whose task was cancelled."""
        return Checked(self.check, progress)

    def source(self, given: Any) -> Any:
        """Return a source for the synchronous class: an async source as a readable or an iterator, any other source unchanged."""
        if not is_async_source(given):
            return given
        if inspect.iscoroutinefunction(getattr(given, "read", None)):
            return AsyncReadable(self, given)
        return self._pieces(given.__aiter__())

    def _pieces(self, source: AsyncIterator[Any]) -> Iterator[Any]:
        while pieces := self.call(functools.partial(_gather, source)):
            yield from pieces

    def items(self, given: Iterable[Item] | AsyncIterable[Item]) -> Iterable[Item]:
        """Return an iterable of the keys or items for the function's thread; iterating raises Cancelled if the task was cancelled.

        An async iterable is read one item at a time.
        """
        return self._items(given.__aiter__()) if isinstance(given, AsyncIterable) else self._checked(given)

    def _checked(self, source: Iterable[Item]) -> Iterator[Item]:
        for item in source:
            self.check()
            yield item

    def _items(self, source: AsyncIterator[Item]) -> Iterator[Item]:
        while (item := self.call(functools.partial(next_item, source))) is not END:
            yield item


def is_async_source(given: Any) -> bool:
    """Return whether the argument is an async iterable, or a readable whose ``read`` is a coroutine function."""
    return isinstance(given, AsyncIterable) or inspect.iscoroutinefunction(getattr(given, "read", None))


def is_async_writable(given: Any) -> bool:
    """Return whether ``write`` or ``drain`` (as of an ``asyncio.StreamWriter``) is a coroutine function."""
    return any(inspect.iscoroutinefunction(getattr(given, name, None)) for name in ("write", "drain"))


def is_coroutine_function(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


async def _gather(source: AsyncIterator[Any]) -> list[Any]:
    """Return the next pieces, up to 256 KiB or the end: a thread call for each small piece would be slow."""
    pieces: list[Any] = []
    size = 0
    async for piece in source:
        if isinstance(piece, (bytearray, memoryview)):
            piece = bytes(piece)  # the source may reuse its buffer
        pieces.append(piece)
        size += (
            len(piece) if isinstance(piece, (bytes, str)) else _PIECE_BYTES
        )  # any other type ends the batch: the upload rejects it
        if size >= _PIECE_BYTES:
            break
    return pieces


async def next_item(source: AsyncIterator[Item]) -> Item:
    try:
        return await source.__anext__()
    except StopAsyncIteration:
        return cast(Item, END)


class AsyncReadable:
    """Wraps an async readable as a synchronous one, for the thread of an upload."""

    def __init__(self, portal: Portal, given: Any) -> None:
        self._portal = portal
        self._given = given

    def read(self, size: int) -> Any:
        return self._portal.call(functools.partial(self._given.read, min(size, _PIECE_BYTES)))


class AsyncWritable:
    """Wraps an async writable as a synchronous one, for the thread of a download."""

    def __init__(self, portal: Portal, given: Any) -> None:
        self._portal = portal
        self._given = given

    def write(self, data: Any) -> int | None:
        return self._portal.call(functools.partial(self._write, bytes(data)))

    async def _write(self, data: bytes) -> int | None:
        told = self._given.write(data)
        if inspect.isawaitable(told):
            told = await told
        if inspect.iscoroutinefunction(drain := getattr(self._given, "drain", None)):
            await drain()
        return told if isinstance(told, int) else None


def portal_for(given: Any, engine: Engine) -> Portal | None:
    """Return a portal for reading keys or items; None if reading them never waits."""
    if isinstance(given, AsyncIterable):
        return Portal(engine)
    return Portal(engine, waits_for_user=True) if isinstance(given, Iterable) and may_wait(given) else None


async def stream_portal(given: Any, engine: Engine) -> Portal:
    """Return a portal for a transfer from or to a stream."""
    waits = await engine.run(may_wait, given) if isinstance(given, os.PathLike) else may_wait(given)
    return Portal(engine, waits_for_user=waits)


_FILES = io.FileIO, io.BufferedReader, io.BufferedWriter, io.BufferedRandom, io.TextIOWrapper


def may_wait(given: Any) -> bool:
    """Return whether a thread that reads or writes a source or target may have to wait for the user's code or another process.

    True for pipes, sockets, generators and user-defined classes; False for content in memory and regular files, and for async sources and
    targets, which are awaited in the task.
    """
    if isinstance(given, (Collection, memoryview)) or type(given) in (io.BytesIO, io.StringIO, mmap.mmap):
        return False
    if isinstance(given, os.PathLike):
        return _is_special_file(given)
    if type(given) in _FILES:
        try:
            return _is_special_file(given.fileno())
        except (OSError, ValueError):  # closed, or without a descriptor
            return True
    return not is_async_source(given) and not is_async_writable(given)


def _is_special_file(path: str | os.PathLike[str] | int) -> bool:
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - also takes a descriptor
    except (OSError, TypeError, ValueError):
        return False  # the transfer raises a more specific error
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)
