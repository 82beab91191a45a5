"""The same objects under asyncio: AsyncS3Store, AsyncS3Bucket, AsyncS3Object.

The verbs of one object (get, head, put, delete) are the generators of the synchronous classes, run by a driver that awaits; everything
else runs as the synchronous method on one of a few threads. Names, parameters and errors are the same, and tests compare them.
Attributes are properties that never make a request: ``await obj.load()`` makes it, and before that they raise an error that says so.

Where bytes, keys or items are taken, async iterators and objects with an async ``read()`` are taken as well. They are pulled in the task
that awaits the method, piece by piece, as the thread asks for them.

A cancelled task raises ``CancelledError``. A cancelled upload or download of a stream, a file or a folder is stopped: no parts and no half
object stay behind, and a file that was there stays as it was. The cancelled task waits up to 5 seconds for that; what takes longer ends
on its thread. Batches, copies and conditional writes that have begun run to their end on their threads. ``store.close()`` waits for all.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import json as json_module
import logging
import os
import re
import sys
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from concurrent.futures import CancelledError as FutureCancelledError
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing, suppress
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from threading import Lock, Thread
from types import TracebackType
from typing import (
    IO,
    TYPE_CHECKING,
    Any,
    AnyStr,
    Concatenate,
    Generic,
    Literal,
    ParamSpec,
    Protocol,
    TypeVar,
    cast,
    overload,
)

from ._bulk import pipeline
from ._bulk.progress import Progress
from ._client.async_exchange import AsyncExchange
from ._client.config import CONNECT_TIMEOUT, MAX_ATTEMPTS, MAX_CONCURRENCY, READ_TIMEOUT, S3Config
from ._display import tables
from ._files.sync import SyncPlan
from ._formats.decoding import as_json, as_text
from ._formats.keys import check_key
from ._http.lane import LaneStatus
from ._objects import operations
from ._objects.drivers import Steps, run_awaited
from ._objects.lock import S3Lock
from .bucket import S3Bucket
from .errors import S3ServerError
from .object import S3Object
from .query import Criteria, ObjectQuery, Predicate
from .store import S3Store
from .subresources.base import Change, Value
from .subresources.cors import Cors
from .subresources.encryption import BucketEncryption
from .subresources.lifecycle import Lifecycle
from .subresources.notifications import Notifications
from .subresources.policy import Policy
from .subresources.public_access import PublicAccess
from .subresources.tags import ObjectTags, Tags
from .subresources.versioning import Versioning

if TYPE_CHECKING:
    from concurrent.futures import Executor

    import boto3
    import pyarrow
    from typing_extensions import Self, Unpack

    from ._bulk.batch import BatchResult
    from ._client.capabilities import Preset
    from ._client.config import AddressingStyle, CredentialsFunction
    from ._client.connection import Connection
    from ._files import sync
    from ._files.sync import SyncStep
    from ._objects.bodies import Body, Data, UploadSource
    from ._objects.presigning import PresignedPost
    from ._objects.put_parameters import PutParameters
    from .bucket import S3Bucket

logger = logging.getLogger("messageflux_s3")

P = ParamSpec("P")
Result = TypeVar("Result")
Item = TypeVar("Item")
V = TypeVar("V", bound=Value)
Twin_co = TypeVar("Twin_co", covariant=True)

_OBJECTS_A_HOP = 256
_BODIES_A_HOP = 16
_PIECE_BYTES = 256 * 1024
"""How much of an async source is gathered before it is handed to the thread that uploads it."""
_CLEANUP_SECONDS = 5.0
"""How long a cancelled task waits for its thread to undo what it began."""
_TASKS_A_MAP = 16
_END: Any = object()

BytesMode = Literal["rb", "wb", "xb", "ab", "br", "bw", "bx", "ba"]
TextMode = Literal["r", "w", "x", "a", "rt", "wt", "xt", "at", "tr", "tw", "tx", "ta"]


def async_connect(
    endpoint_url: str | None = None,
    *,
    access_key: str | None = None,
    secret_key: str | None = None,
    session_token: str | None = None,
    credentials: CredentialsFunction | None = None,
    region: str | None = None,
    profile: str | None = None,
    boto3_session: boto3.Session | None = None,
    preset: Preset = "auto",
    addressing_style: AddressingStyle = "auto",
    connect_timeout: float = CONNECT_TIMEOUT,
    read_timeout: float = READ_TIMEOUT,
    max_attempts: int = MAX_ATTEMPTS,
    max_concurrency: int = MAX_CONCURRENCY,
    verify: bool | str = True,
    public_url: str | None = None,
    pickle_secrets: bool = False,
) -> AsyncS3Store:
    """A store to be used under asyncio; the arguments are those of :func:`~messageflux_s3.connect`.

    Returns:
        The store. Use it in ``async with``, or ``await store.close()``, so that its threads end.

    Requests:
        none
    """
    config = S3Config(
        endpoint_url=endpoint_url,
        access_key=access_key,
        secret_key=secret_key,
        session_token=session_token,
        credentials=credentials,
        region=region,
        profile=profile,
        boto3_session=boto3_session,
        preset=preset,
        addressing_style=addressing_style,
        connect_timeout=connect_timeout,
        read_timeout=read_timeout,
        max_attempts=max_attempts,
        max_concurrency=max_concurrency,
        verify=verify,
        public_url=public_url,
        pickle_secrets=pickle_secrets,
    )
    return AsyncS3Store(S3Store(config))


class _Engine:
    """What the handles of one store share: a lane for each event loop, a pool of threads, and the threads that wait for a task."""

    def __init__(self, store: S3Store) -> None:
        self.connection: Connection = store._connection
        self.exchange = AsyncExchange(self.connection)
        self._threads: ThreadPoolExecutor | None = None
        self._own_threads: list[Thread] = []
        self._open_sources: set[Callable[[], None]] = set()
        self._lock = Lock()  # loops may run on several threads
        self._pid = os.getpid()

    async def perform(self, steps: Steps[Result]) -> Result:
        """Run a verb of the synchronous classes: requests in the event loop, what blocks on a thread."""
        return await run_awaited(steps, partial(self.exchange.send, run=self.run), self.run)

    async def run(self, function: Callable[..., Result], *arguments: Any, **named: Any) -> Result:
        """Call something on a thread of the pool; no more of them than the connection's ``max_concurrency``."""
        return await asyncio.wrap_future(self.start(functools.partial(function, *arguments, **named)))

    def start(self, function: Callable[[], Result], *, alone: bool = False) -> Future[Result]:
        """Begin to call something on a thread, in a copy of the caller's context.

        Args:
            function: What to call.
            alone: Whether it gets a thread of its own. What waits for something other than the store (the user's source, the holder of a
                lock) must not take a thread of the pool: what it waits for may need one.
        """
        self._forget_after_fork()
        context = contextvars.copy_context()

        def call() -> Result:
            return context.run(function)

        if not alone:
            with self._lock:
                if self._threads is None:
                    self._threads = ThreadPoolExecutor(
                        self.connection.config.max_concurrency, thread_name_prefix="messageflux-s3-aio"
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

        thread = Thread(target=finish, name="messageflux-s3-aio-own")
        with self._lock:
            self._own_threads = [*(other for other in self._own_threads if other.is_alive()), thread]
            thread.start()
        return work

    async def run_stoppable(self, function: Callable[..., Result], *arguments: Any, **named: Any) -> Result:
        """Call a transfer that takes ``progress`` on a thread of the pool; it is stopped where the task is cancelled."""
        portal = Portal(self)
        named["progress"] = portal.watch(named.get("progress"))
        return await portal.run(functools.partial(function, *arguments, **named), alone=False)

    def _forget_after_fork(self) -> None:
        """In a forked child the threads and the loops are the parent's: whoever waited for them would wait for ever."""
        if self._pid != os.getpid():
            self._pid, self._lock, self._threads = os.getpid(), Lock(), None
            self._open_sources, self._own_threads = set(), []

    async def pull(
        self, source: Iterator[Result], at_once: int, portal: Portal | None = None
    ) -> AsyncGenerator[Result, None]:
        """Go through a synchronous iterator, advanced on a thread, several items a hop.

        Args:
            source: The iterator.
            at_once: How many items a hop brings at the most.
            portal: What the iterator awaits something by, if it does.
        """
        lock = Lock()  # a cancelled hop may still be running when the iterator is closed

        def take() -> list[Result]:
            with lock:
                return [*islice(source, at_once)]

        def close() -> None:
            with lock:
                getattr(source, "close", lambda: None)()

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
        while self._open_sources:  # loops that were left without being closed
            await self.run(self._open_sources.pop())
        with self._lock:
            threads, self._threads = self._threads, None
            own_threads, self._own_threads = self._own_threads, []
        self.exchange.close()
        if threads is not None:
            await asyncio.to_thread(threads.shutdown)
        for thread in own_threads:
            await asyncio.to_thread(thread.join)


class _Cancelled(BaseException):
    """Raised on a thread whose task was cancelled; the task itself raises CancelledError."""


class Portal:
    """Lets a function on a thread await things in the task that waits for the function.

    The task itself runs them, so an async iterator is advanced as by ``async for``: with its context variables, timeouts and cancel
    scopes, and with no task of ours between. A portal is used by one call of :meth:`run` at a time.
    """

    def __init__(self, engine: _Engine) -> None:
        self._engine = engine
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
        """Call a function on a thread and await what it asks for.

        Where the task is cancelled, the function is told at its next :meth:`call` or :meth:`check`, and the task waits for it up to 5 s.

        Args:
            function: What to call.
            alone: Whether it gets a thread of its own (see ``_Engine.start``).
            undo: Called on a thread with a result that the cancelled task cannot receive any more.
        """
        self._loop, self._wake, ended = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
        self._is_open = True

        def call() -> Result:
            result = function()
            if undo is not None and not self._is_open:
                undo(result)
                raise _Cancelled
            return result

        work = self._engine.start(call, alone=alone)

        def end(_: Future[Result]) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
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
        except FutureCancelledError:  # of a source that awaits something cancelled, or of a pool that was shut down
            raise asyncio.CancelledError from None
        except asyncio.CancelledError:
            self.close()
            if not work.cancel():
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(ended.wait(), _CLEANUP_SECONDS)
                if undo is not None and work.done() and work.exception() is None:
                    undone = self._engine.start(functools.partial(undo, work.result()), alone=True)
                    await asyncio.wait([asyncio.wrap_future(undone)], timeout=_CLEANUP_SECONDS)
            raise
        finally:
            self.close()

    async def _take_step(self, step: Callable[[], Awaitable[Any]], answer: Future[Any]) -> None:
        try:
            result = await step()
        except Exception as error:
            answer.set_exception(error)
        else:
            answer.set_result(result)

    def close(self) -> None:
        """Answer nothing more: what the function asks for raises on its thread."""
        with self._lock:
            self._is_open = False
            self._steps.clear()
            for answer in self._unanswered:
                if not answer.done():
                    answer.set_exception(_Cancelled())
            self._unanswered.clear()

    # -- on the thread

    def call(self, step: Callable[[], Awaitable[Result]]) -> Result:
        """Have the task call something, await it, and return its result.

        Raises:
            _Cancelled: The task was cancelled.
        """
        answer: Future[Result] = Future()
        with self._lock:
            if not self._is_open:
                raise _Cancelled
            self._unanswered.add(answer)
            self._steps.append((step, answer))
            try:
                self._loop.call_soon_threadsafe(self._wake.set)
            except RuntimeError:
                raise _Cancelled from None  # the loop is closed
        try:
            return answer.result()
        finally:
            with self._lock:
                self._unanswered.discard(answer)

    def check(self) -> None:
        """Raise where the task was cancelled.

        Raises:
            _Cancelled: It was.
        """
        if not self._is_open:
            raise _Cancelled

    def watch(self, progress: Progress) -> Progress:
        """Return a ``progress`` that stops a transfer whose task was cancelled. A bar (``True``) cannot be made to."""
        if progress is None or progress is False:
            return lambda _: self.check()
        if progress is True or not callable(progress):
            return progress
        told = progress

        def report(count: int) -> Any:
            self.check()
            return told(count)

        return report

    def source(self, given: Any) -> Any:
        """Return what the synchronous class reads: an async source as an iterator of its pieces, anything else as it is."""
        if not is_async_source(given):
            return given
        if inspect.iscoroutinefunction(getattr(given, "read", None)):
            return self._read(given.read)
        return self._pieces(given.__aiter__())

    def _read(self, read: Callable[[int], Awaitable[Any]]) -> Iterator[Any]:
        while piece := self.call(functools.partial(read, _PIECE_BYTES)):
            yield piece

    def _pieces(self, source: AsyncIterator[Any]) -> Iterator[Any]:
        while pieces := self.call(functools.partial(_gather, source)):
            yield from pieces

    def items(self, given: Iterable[Item] | AsyncIterable[Item]) -> Iterable[Item]:
        """Return keys or items as an iterable for the thread; those of an async iterable are pulled one by one."""
        return self._items(given.__aiter__()) if isinstance(given, AsyncIterable) else given

    def _items(self, source: AsyncIterator[Item]) -> Iterator[Item]:
        while (item := self.call(functools.partial(_next, source))) is not _END:
            yield item


def is_async_source(given: Any) -> bool:
    """Return whether bytes are to be awaited from it: an async iterable, or a readable whose ``read`` is a coroutine function."""
    return isinstance(given, AsyncIterable) or inspect.iscoroutinefunction(getattr(given, "read", None))


def _is_async_writable(given: Any) -> bool:
    """Return whether writing to it awaits: ``write`` is a coroutine function, or ``drain`` as of an ``asyncio.StreamWriter``."""
    return any(inspect.iscoroutinefunction(getattr(given, name, None)) for name in ("write", "drain"))


def _is_coroutine_function(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


async def _gather(source: AsyncIterator[Any]) -> list[Any]:
    """Return the next pieces, 256 KiB of them or those up to the end: a hop to a thread for each tiny piece would be slow."""
    pieces: list[Any] = []
    size = 0
    async for piece in source:
        if isinstance(piece, (bytearray, memoryview)):
            piece = bytes(piece)  # the source may fill its buffer anew
        pieces.append(piece)
        size += len(piece) if isinstance(piece, (bytes, str)) else _PIECE_BYTES  # anything else is refused at once
        if size >= _PIECE_BYTES:
            break
    return pieces


async def _next(source: AsyncIterator[Item]) -> Item:
    try:
        return await source.__anext__()
    except StopAsyncIteration:
        return cast(Item, _END)


class _AsyncWritable:
    """A writable for the thread of a download over one that is awaited."""

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


class _HasTwin(Protocol[Twin_co]):
    """An async class over a synchronous one."""

    _engine: _Engine

    @property
    def _twin(self) -> Twin_co: ...


def _awaited(
    method: Callable[Concatenate[Twin_co, P], Result],
) -> Callable[Concatenate[_HasTwin[Twin_co], P], Coroutine[Any, Any, Result]]:
    """Return the async twin of a method whose arguments and result need no conversion: the method, called on a thread."""

    @functools.wraps(method)
    async def awaited(self: _HasTwin[Twin_co], /, *arguments: P.args, **named: P.kwargs) -> Result:
        return await self._engine.run(
            functools.partial(getattr(self._twin, method.__name__), *arguments, **named)  # as overridden in a subclass
        )

    return awaited


def _awaited_change(
    method: Callable[Concatenate[Twin_co, P], Change[V]],
) -> Callable[Concatenate[_HasTwin[Twin_co], P], Coroutine[Any, Any, AsyncChange[V]]]:
    """Return the async twin of a method that gives a change."""

    @functools.wraps(method)
    async def awaited(self: _HasTwin[Twin_co], /, *arguments: P.args, **named: P.kwargs) -> AsyncChange[V]:
        made = await self._engine.run(functools.partial(getattr(self._twin, method.__name__), *arguments, **named))
        return AsyncChange(made, self._engine)

    return awaited


async def _objects(
    engine: _Engine, source: Iterator[S3Object], at_once: int = _OBJECTS_A_HOP, portal: Portal | None = None
) -> AsyncIterator[AsyncS3Object]:
    async with aclosing(engine.pull(source, at_once, portal)) as found:
        async for obj in found:
            yield AsyncS3Object(obj, engine)


def _sync_handle(given: Any) -> Any:
    """Return the synchronous handle of an async one, and anything else as it is."""
    return given._twin if isinstance(given, (AsyncS3Bucket, AsyncS3Object)) else given


class AsyncS3Store:
    """A store under asyncio. Comes from :func:`async_connect`, or around an S3Store.

    Args:
        store: The synchronous store; it can be used beside this one.
    """

    def __init__(self, store: S3Store) -> None:
        self._store = store
        self._engine = _Engine(store)

    @classmethod
    def _create(cls, store: S3Store, engine: _Engine) -> AsyncS3Store:
        """Internal constructor: a store that shares the threads and connections of a handle."""
        self = cls.__new__(cls)
        self._store, self._engine = store, engine
        return self

    @property
    def _twin(self) -> S3Store:
        return self._store

    @property
    def config(self) -> S3Config:
        """The configuration. Requests: none."""
        return self._store.config

    @property
    def lane(self) -> LaneStatus:
        """Which way small requests go, and why. Requests: none."""
        return self._store.lane

    @property
    def is_online(self) -> bool:
        """Whether the last operation got an answer. Requests: none."""
        return self._store.is_online

    def bucket(self, name: str) -> AsyncS3Bucket:
        """A bucket's handle. Requests: none."""
        return AsyncS3Bucket(self._store.bucket(name), self._engine)

    def object(self, uri: str) -> AsyncS3Object:
        """The handle of ``s3://bucket/key``. Requests: none."""
        return AsyncS3Object(self._store.object(uri), self._engine)

    async def create_bucket(
        self,
        name: str,
        lifetime_in_days: int | None = None,
        allow_public_access: bool = False,
        exist_ok: bool = True,
        region: str | None = None,
    ) -> AsyncS3Bucket:
        """Create a bucket. Requests: as the synchronous face."""
        made = await self._engine.run(
            self._store.create_bucket, name, lifetime_in_days, allow_public_access, exist_ok, region
        )
        return AsyncS3Bucket(made, self._engine)

    async def buckets(self) -> AsyncIterator[AsyncS3Bucket]:
        """The buckets of the account. Requests: 1 per 10,000."""
        async with aclosing(self._engine.pull(iter(self._store.buckets()), _OBJECTS_A_HOP)) as found:
            async for bucket in found:
                yield AsyncS3Bucket(bucket, self._engine)

    async def ping(self) -> bool:
        """Whether anybody answers. Requests: 1."""
        return await self._engine.run(self._store.ping)

    probe = _awaited(S3Store.probe)
    """Find out what the store can do. Requests: as ``S3Store.probe``."""

    show = _awaited(S3Store.show)
    """The buckets of the account as a table. Requests: 1."""

    def reload_credentials(self) -> None:
        """Ask for the credentials again at the next request. Requests: none."""
        self._store.reload_credentials()

    def objects_from(
        self, message: bytes | str | Mapping[str, Any], *, buckets: Iterable[str] | None = None
    ) -> list[AsyncS3Object]:
        """Handles on the objects that a message says are in S3. Requests: none."""
        return [AsyncS3Object(obj, self._engine) for obj in self._store.objects_from(message, buckets=buckets)]

    async def close(self) -> None:
        """Close the connections and end the threads, once the work on them is done, also that of cancelled tasks. Requests: none."""
        await self._engine.close()
        self._store.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"Async{self._store!r}"


class AsyncS3Bucket:
    """A bucket under asyncio. Comes from ``store.bucket(name)``."""

    def __init__(self, bucket: S3Bucket, engine: _Engine) -> None:
        self._bucket = bucket
        self._engine = engine

    @property
    def _twin(self) -> S3Bucket:
        return self._bucket

    @property
    def name(self) -> str:
        """The bucket's name. Requests: none."""
        return self._bucket.name

    @property
    def store(self) -> AsyncS3Store:
        """The store that the bucket is in. Requests: none."""
        return AsyncS3Store._create(self._bucket.store, self._engine)

    def compute_url(self, key: str) -> str:
        """The address of a key over HTTP. Requests: none."""
        return self._bucket.compute_url(key)

    def object(self, key: str, version_id: str | None = None) -> AsyncS3Object:
        """A handle on an object. Requests: none."""
        return AsyncS3Object(self._bucket.object(key, version_id), self._engine)

    def __getitem__(self, key: str) -> AsyncS3Object:
        return self.object(key)

    async def exists(self) -> bool:
        """Ask whether the bucket is there. Requests: 1 HEAD."""
        return await self._engine.run(self._bucket.exists)

    delete_bucket = _awaited(S3Bucket.delete_bucket)
    """Delete the bucket. Requests: 1; with ``force`` those of ``clear_objects(versions=True)`` too."""

    clear_objects = _awaited(S3Bucket.clear_objects)
    """Delete all objects; the bucket stays. Requests: as ``S3Bucket.clear_objects``."""

    # -- sub-resources: each method of them is awaited

    @property
    def lifecycle(self) -> AsyncLifecycle:
        """When objects expire. Requests: none."""
        return AsyncLifecycle(self._bucket.lifecycle, self._engine)

    @property
    def public_access(self) -> AsyncPublicAccess:
        """Who may read without a key. Requests: none."""
        return AsyncPublicAccess(self._bucket.public_access, self._engine)

    @property
    def policy(self) -> AsyncPolicy:
        """Who may do what. Requests: none."""
        return AsyncPolicy(self._bucket.policy, self._engine)

    @property
    def versioning(self) -> AsyncVersioning:
        """Whether versions are kept. Requests: none."""
        return AsyncVersioning(self._bucket.versioning, self._engine)

    @property
    def tags(self) -> AsyncTags:
        """The bucket's tags. Requests: none."""
        return AsyncTags(self._bucket.tags, self._engine)

    @property
    def cors(self) -> AsyncCors:
        """Which web pages may read and write. Requests: none."""
        return AsyncCors(self._bucket.cors, self._engine)

    @property
    def encryption(self) -> AsyncBucketEncryption:
        """The default encryption. Requests: none."""
        return AsyncBucketEncryption(self._bucket.encryption, self._engine)

    @property
    def notifications(self) -> AsyncNotifications:
        """Which queues, topics and functions are told of events in the bucket. Requests: none."""
        return AsyncNotifications(self._bucket.notifications, self._engine)

    # -- one object

    async def get_object(self, key: str) -> AsyncS3Object:
        """Get an object now. Requests: 1 GET."""
        return await self.object(key).load()

    async def put_object(
        self,
        key: str,
        buf: Body,
        metadata: Mapping[str, str] | None = None,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
        **extra: Unpack[PutParameters],
    ) -> AsyncS3Object:
        """Write an object. Requests: 1 PUT; of an async source those of ``upload_object``."""
        if is_async_source(buf):
            check_key(key, bucket=self.name)
            return await self.upload_object(key, buf, metadata, if_absent=if_absent, if_match=if_match, **extra)
        steps = self._bucket._put_steps(key, buf, metadata, if_absent=if_absent, if_match=if_match, **extra)
        written = await self._engine.perform(steps)
        return AsyncS3Object(written, self._engine)

    async def put_json(
        self,
        key: str,
        value: Any,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
        **extra: Unpack[PutParameters],
    ) -> AsyncS3Object:
        """Write a value as JSON. Requests: 1 PUT."""
        text = json_module.dumps(value, ensure_ascii=False, separators=(",", ":"))
        typed: PutParameters = {"content_type": "application/json", **extra}
        return await self.put_object(key, text, if_absent=if_absent, if_match=if_match, **typed)

    async def get_json(self, key: str) -> Any:
        """Read a JSON value. Requests: 1 GET."""
        return await self.object(key).json()

    async def delete_object(self, key: str) -> None:
        """Delete an object. Requests: 1 DELETE."""
        await self.object(key).delete()

    async def copy_object(
        self,
        source_key: str,
        dest_key: str,
        *,
        metadata: Mapping[str, str] | None = None,
        if_absent: bool = False,
        if_match: str | None = None,
        part_size_bytes: int | None = None,
        **extra: Unpack[PutParameters],
    ) -> AsyncS3Object:
        """Copy an object within the bucket. Requests: as the synchronous face."""
        copied = await self._engine.run(
            self._bucket.copy_object,
            source_key,
            dest_key,
            metadata=metadata,
            if_absent=if_absent,
            if_match=if_match,
            part_size_bytes=part_size_bytes,
            **extra,
        )
        return AsyncS3Object(copied, self._engine)

    async def get_objects(
        self, keys: Iterable[str | S3Object | AsyncS3Object] | AsyncIterable[str | S3Object | AsyncS3Object]
    ) -> AsyncIterator[AsyncS3Object]:
        """Get many objects, in the order asked. Requests: 1 GET per object."""
        portal = _portal_for(keys, self._engine)
        wanted = _sync_keys(keys, portal)
        found = _objects(self._engine, self._bucket.get_objects(wanted), _BODIES_A_HOP, portal)
        async with aclosing(cast("AsyncGenerator[AsyncS3Object, None]", found)) as objects:
            async for obj in objects:
                yield obj

    async def put_objects(
        self,
        items: Iterable[tuple[str, Data] | tuple[str, Data, Mapping[str, str] | None]]
        | AsyncIterable[tuple[str, Data] | tuple[str, Data, Mapping[str, str] | None]],
        *,
        raise_errors: bool = True,
        progress: Progress = None,
        **extra: Unpack[PutParameters],
    ) -> BatchResult:
        """Write many objects. Requests: 1 PUT per object."""
        portal = _portal_for(items, self._engine)
        given = cast(Any, items) if portal is None else portal.items(items)
        work = functools.partial(self._bucket.put_objects, given, raise_errors=raise_errors, progress=progress, **extra)
        return await (self._engine.run(work) if portal is None else portal.run(work))

    async def delete_objects(
        self,
        keys: Iterable[str | S3Object | AsyncS3Object] | AsyncIterable[str | S3Object | AsyncS3Object],
        *,
        raise_errors: bool = True,
        progress: Progress = None,
    ) -> BatchResult:
        """Delete many objects. Requests: 1 per 1,000 keys."""
        portal = _portal_for(keys, self._engine)
        wanted = _sync_keys(keys, portal)
        work = functools.partial(self._bucket.delete_objects, wanted, raise_errors=raise_errors, progress=progress)
        return await (self._engine.run(work) if portal is None else portal.run(work))

    # -- streams, files and folders

    async def upload_object(
        self,
        key: str,
        stream: UploadSource | AsyncIterable[Data],
        metadata: Mapping[str, str] | None = None,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
        part_size_bytes: int | None = None,
        verify_checksum: bool = True,
        progress: Progress = None,
        ExtraArgs: Mapping[str, Any] | None = None,
        Callback: Any = None,
        Config: Any = None,
        **extra: Unpack[PutParameters],
    ) -> AsyncS3Object:
        """Write whatever can be read, of any size, in bounded memory. A readable stays open.

        Args:
            key: The key.
            stream: An async iterable of bytes, a readable with an async ``read(size)``, or what ``S3Bucket.upload_object`` takes. An async
                source is pulled in the calling task, as parts leave for the store.
            metadata: User metadata, text to text.
            if_absent: Only if there is no such object.
            if_match: Only if the object has this etag.
            part_size_bytes: The size of a part; None for one that fits.
            verify_checksum: Whether to compare the store's checksum with ours.
            progress: True for a bar, a callable that is told of bytes (on a thread), or None.
            ExtraArgs: As in messageflux and boto3.
            Callback: As in messageflux and boto3.
            Config: As in messageflux and boto3.
            extra: Further parameters, as for ``put_object``.

        Returns:
            The handle, knowing size, etag and version.

        Raises:
            S3Error: As ``S3Bucket.upload_object``. Whatever the source raises; nothing was written then.

        Requests:
            as ``S3Bucket.upload_object``
        """
        portal = Portal(self._engine)
        work = functools.partial(
            self._bucket.upload_object,
            key,
            portal.source(stream),
            metadata,
            if_absent=if_absent,
            if_match=if_match,
            part_size_bytes=part_size_bytes,
            verify_checksum=verify_checksum,
            progress=portal.watch(Callback if progress is None else progress),
            ExtraArgs=ExtraArgs,
            Config=Config,
            **extra,
        )
        return AsyncS3Object(await portal.run(work, alone=is_async_source(stream)), self._engine)

    async def download_object(
        self,
        key: str,
        writable_stream: Any,
        *,
        version_id: str | None = None,
        verify_checksum: bool | None = None,
        progress: Progress = None,
        ExtraArgs: Mapping[str, Any] | None = None,
        Callback: Any = None,
        Config: Any = None,
    ) -> None:
        """Write an object to anything with ``write()``, in order, in bounded memory.

        Args:
            key: The key.
            writable_stream: Where to; it stays open. ``write()`` may be a coroutine function; an ``asyncio.StreamWriter`` is drained.
            version_id: A version of the object.
            verify_checksum: Whether to compare the object's MD5 with what arrived; None: up to 16 MiB.
            progress: True for a bar, a callable that is told of bytes (on a thread), or None.
            ExtraArgs: As in messageflux and boto3.
            Callback: As in messageflux and boto3.
            Config: As in messageflux and boto3; it changes nothing here.

        Raises:
            S3NoSuchItem: There is no such object.
            S3ObjectChanged: It was replaced in the middle.

        Requests:
            1 GET
        """
        portal = Portal(self._engine)
        is_awaited = _is_async_writable(writable_stream)
        work = functools.partial(
            self._bucket.download_object,
            key,
            _AsyncWritable(portal, writable_stream) if is_awaited else writable_stream,
            version_id=version_id,
            verify_checksum=verify_checksum,
            progress=portal.watch(Callback if progress is None else progress),
            ExtraArgs=ExtraArgs,
            Config=Config,
        )
        await portal.run(work, alone=is_awaited)

    async def upload_file(
        self,
        path: str | os.PathLike[str],
        key: str,
        *,
        metadata: Mapping[str, str] | None = None,
        if_absent: bool = False,
        if_match: str | None = None,
        part_size_bytes: int | None = None,
        verify_checksum: bool = True,
        progress: Progress = None,
        **extra: Unpack[PutParameters],
    ) -> AsyncS3Object:
        """Upload a file. Requests: as the synchronous face."""
        uploaded = await self._engine.run_stoppable(
            self._bucket.upload_file,
            path,
            key,
            metadata=metadata,
            if_absent=if_absent,
            if_match=if_match,
            part_size_bytes=part_size_bytes,
            verify_checksum=verify_checksum,
            progress=progress,
            **extra,
        )
        return AsyncS3Object(uploaded, self._engine)

    async def download_file(
        self,
        key: str,
        path: str | os.PathLike[str],
        *,
        overwrite: bool = True,
        resume: bool = False,
        version_id: str | None = None,
        verify_checksum: bool | None = None,
        progress: Progress = None,
    ) -> AsyncS3Object:
        """Download an object to a file. Requests: as the synchronous face."""
        downloaded = await self._engine.run_stoppable(
            self._bucket.download_file,
            key,
            path,
            overwrite=overwrite,
            resume=resume,
            version_id=version_id,
            verify_checksum=verify_checksum,
            progress=progress,
        )
        return AsyncS3Object(downloaded, self._engine)

    async def upload_folder(
        self,
        folder: str | os.PathLike[str],
        prefix: str,
        *,
        include: sync.Globs = None,
        exclude: sync.Globs = None,
        metadata: Mapping[str, str] | None = None,
        part_size_bytes: int | None = None,
        verify_checksum: bool = True,
        progress: Progress = None,
        **extra: Unpack[PutParameters],
    ) -> list[str]:
        """Upload every file of a folder, below a prefix. Requests: 1 upload per file."""
        return await self._engine.run_stoppable(
            self._bucket.upload_folder,
            folder,
            prefix,
            include=include,
            exclude=exclude,
            metadata=metadata,
            part_size_bytes=part_size_bytes,
            verify_checksum=verify_checksum,
            progress=progress,
            **extra,
        )

    async def download_folder(
        self,
        prefix: str,
        folder: str | os.PathLike[str],
        *,
        overwrite: bool = True,
        include: sync.Globs = None,
        exclude: sync.Globs = None,
        progress: Progress = None,
    ) -> list[str]:
        """Download every object below a prefix into a folder. Requests: 1 per 1,000 keys, and 1 GET per object."""
        return await self._engine.run_stoppable(
            self._bucket.download_folder,
            prefix,
            folder,
            overwrite=overwrite,
            include=include,
            exclude=exclude,
            progress=progress,
        )

    async def sync_from_folder(
        self,
        folder: str | os.PathLike[str],
        prefix: str,
        *,
        delete: bool = False,
        dry_run: bool = False,
        compare: sync.Compare = "etag",
        include: sync.Globs = None,
        exclude: sync.Globs = None,
        progress: Progress = None,
    ) -> AsyncSyncPlan:
        """Make what is below a prefix like a folder. Requests: as ``S3Bucket.sync_from_folder``."""
        plan = await self._engine.run_stoppable(
            self._bucket.sync_from_folder,
            folder,
            prefix,
            delete=delete,
            dry_run=dry_run,
            compare=compare,
            include=include,
            exclude=exclude,
            progress=progress,
        )
        return AsyncSyncPlan(plan, self._engine)

    async def sync_to_folder(
        self,
        prefix: str,
        folder: str | os.PathLike[str],
        *,
        delete: bool = False,
        dry_run: bool = False,
        compare: sync.Compare = "etag",
        include: sync.Globs = None,
        exclude: sync.Globs = None,
        progress: Progress = None,
    ) -> AsyncSyncPlan:
        """Make a folder like what is below a prefix. Requests: as ``S3Bucket.sync_to_folder``."""
        plan = await self._engine.run_stoppable(
            self._bucket.sync_to_folder,
            prefix,
            folder,
            delete=delete,
            dry_run=dry_run,
            compare=compare,
            include=include,
            exclude=exclude,
            progress=progress,
        )
        return AsyncSyncPlan(plan, self._engine)

    # -- locks

    def lock(
        self,
        key: str,
        *,
        ttl: float = 30,
        owner: str | None = None,
        data: Mapping[str, Any] | None = None,
        wait: float = 0,
    ) -> AsyncS3Lock:
        """Take a lease on a key: ``async with bucket.lock(…) as lock``, or ``lock = await bucket.lock(…)`` and ``await lock.release()``.

        Arguments, errors and requests are those of ``S3Bucket.lock``. Nothing is asked before the lock is awaited or entered.

        Requests:
            none; awaited or entered 1 GET, 1 PUT (more while it waits)

        Example:
            >>> async def work(bucket):
            ...     async with bucket.lock("locks/nightly", owner="worker-7") as lock:
            ...         lock.check()
        """
        lock = _StoppableLock(
            self._bucket._connection, self._bucket.name, key, ttl=ttl, owner=owner, data=data, wait=wait
        )
        return AsyncS3Lock(lock, self._engine)

    async def acquire_lock(self, key: str, data: Mapping[str, Any] | None = None) -> AsyncS3Object:
        """Create a plain lock file, if there is none. Requests: 1 PUT, and 1 GET where it is held."""
        return AsyncS3Object(await self._engine.run(self._bucket.acquire_lock, key, data), self._engine)

    release_lock = _awaited(S3Bucket.release_lock)
    """Delete a plain lock file, or free a lease; idempotent. Requests: 1 GET, and 1 DELETE or 1 PUT."""

    check_lock = _awaited(S3Bucket.check_lock)
    """Return what a lock file says, or None. Requests: 1 GET."""

    # -- finding

    def find(
        self,
        prefix: str | None = None,
        *,
        delimiter: str | None = None,
        glob: str | None = None,
        regex: str | re.Pattern[str] | None = None,
        start_after: str | None = None,
        modified_after: datetime | None = None,
        modified_before: datetime | None = None,
        min_size: int | None = None,
        max_size: int | None = None,
        limit: int | None = None,
        versions: bool = False,
    ) -> AsyncObjectQuery:
        """Which objects: ``async for obj in bucket.find(…)``. Requests: none; iterating: 1 per 1,000 keys."""
        query = self._bucket.find(
            prefix,
            delimiter=delimiter,
            glob=glob,
            regex=regex,
            start_after=start_after,
            modified_after=modified_after,
            modified_before=modified_before,
            min_size=min_size,
            max_size=max_size,
            limit=limit,
            versions=versions,
        )
        return AsyncObjectQuery(query, self._engine)

    async def list_common_prefixes(self, prefix: str = "", delimiter: str = "/") -> list[str]:
        """The "folders" right below a prefix. Requests: 1 per 1,000 entries."""
        return await self._engine.run(self._bucket.list_common_prefixes, prefix, delimiter)

    def find_objects(
        self, prefix: str | None = None, delimiter: str | None = None, max_keys: int = 1000, **kwargs: Any
    ) -> AsyncIterator[AsyncS3Object]:
        """messageflux's word for ``find``. Requests: 1 per ``max_keys`` keys."""
        return _objects(self._engine, self._bucket.find_objects(prefix, delimiter, max_keys, **kwargs))

    def list_objects(self) -> AsyncIterator[AsyncS3Object]:
        """messageflux's word for ``find()``. Requests: 1 per 1,000 keys."""
        return _objects(self._engine, self._bucket.list_objects())

    show = _awaited(S3Bucket.show)
    """The bucket's settings and its first entries as a table. Requests: as ``S3Bucket.show``."""

    usage = _awaited(S3Bucket.usage)
    """Where the bytes are, below a prefix. Requests: 1 per 1,000 keys."""

    set_lifetime_in_days = _awaited(S3Bucket.set_lifetime_in_days)
    """messageflux's word for ``lifecycle.set_lifetime``. Requests: as there."""

    allow_public_access = _awaited(S3Bucket.allow_public_access)
    """messageflux's word for ``public_access.allow()``. Requests: as there."""

    def __repr__(self) -> str:
        return f"Async{self._bucket!r}"


class AsyncObjectQuery:
    """Objects of one bucket, found lazily. Comes from ``bucket.find(…)``."""

    def __init__(self, query: ObjectQuery, engine: _Engine) -> None:
        self._query = query
        self._engine = engine

    @property
    def _twin(self) -> ObjectQuery:
        return self._query

    @property
    def bucket(self) -> AsyncS3Bucket:
        """The bucket that is asked. Requests: none."""
        return AsyncS3Bucket(self._query.bucket, self._engine)

    def limit(self, n: int) -> AsyncObjectQuery:
        """The same query, ending after ``n`` objects. Requests: none."""
        return AsyncObjectQuery(self._query.limit(n), self._engine)

    def filter(self, predicate: Predicate) -> AsyncObjectQuery:
        """The same query, only with objects for which the predicate (called on a thread) is true. Requests: none."""
        return AsyncObjectQuery(self._query.filter(predicate), self._engine)

    def __aiter__(self) -> AsyncIterator[AsyncS3Object]:
        return self.objects()

    async def objects(self) -> AsyncIterator[AsyncS3Object]:
        """The objects, in key order. Requests: 1 per 1,000 keys."""
        async with aclosing(self._engine.pull(self._query.objects(), self._at_once(_OBJECTS_A_HOP))) as found:
            async for obj in found:
                yield AsyncS3Object(obj, self._engine)

    async def prefixes(self) -> AsyncIterator[str]:
        """The common prefixes. Requests: 1 per 1,000 entries."""
        async with aclosing(self._engine.pull(self._query.prefixes(), self._at_once(_OBJECTS_A_HOP))) as found:
            async for prefix in found:
                yield prefix

    async def entries(self) -> AsyncIterator[AsyncS3Object | str]:
        """Objects and common prefixes together, in key order; a prefix is a ``str``. Requests: 1 per 1,000 entries."""
        async with aclosing(self._engine.pull(self._query.entries(), self._at_once(_OBJECTS_A_HOP))) as found:
            async for entry in found:
                yield entry if isinstance(entry, str) else AsyncS3Object(entry, self._engine)

    @overload
    def map(
        self,
        function: Callable[[AsyncS3Object], Coroutine[Any, Any, Result]],
        executor: None = None,
        *,
        ordered: bool = True,
        on_error: pipeline.OnError = "raise",
        in_flight: int | None = None,
    ) -> AsyncIterator[Result]: ...

    @overload
    def map(
        self,
        function: Callable[[S3Object], Result],
        executor: Executor | None = None,
        *,
        ordered: bool = True,
        on_error: pipeline.OnError = "raise",
        in_flight: int | None = None,
    ) -> AsyncIterator[Result]: ...

    def map(
        self,
        function: Callable[[Any], Any],
        executor: Executor | None = None,
        *,
        ordered: bool = True,
        on_error: pipeline.OnError = "raise",
        in_flight: int | None = None,
    ) -> AsyncIterator[Any]:
        """Apply a function to every object, several at a time: a coroutine function in tasks, another one on threads or an executor.

        Args:
            function: A coroutine function, which gets the async handle; or a function, which gets the synchronous one (on a thread), as
                for ``ObjectQuery.map``.
            executor: For a function only: any ``concurrent.futures.Executor``; None for up to 16 threads.
            ordered: Whether results come in key order, or as they are ready.
            on_error: What to do where the function raises: ``"raise"``; ``"skip"`` the object; or call this with the object and the
                exception, and take what it returns as the result.
            in_flight: How many objects are under way, or done and waiting, at the most; 16 tasks, or four per worker, unless told.

        Returns:
            The results, lazily. Leaving the loop early cancels what is under way.

        Requests:
            1 per 1,000 keys, and whatever the function asks
        """
        if not _is_coroutine_function(function):
            found = self._query.map(function, executor, ordered=ordered, on_error=on_error, in_flight=in_flight)
            return self._engine.pull(found, 1)
        if executor is not None:
            raise ValueError("executor goes with a function: a coroutine function runs in tasks of the event loop")
        pipeline.check_arguments(function, executor, on_error, in_flight)
        return _map_in_tasks(self.objects(), function, ordered, on_error, in_flight or _TASKS_A_MAP)

    async def partitions(self, n: int) -> list[AsyncObjectQuery]:
        """Split the query into several that together give the same objects. Requests: as ``ObjectQuery.partitions``."""
        return [AsyncObjectQuery(part, self._engine) for part in await self._engine.run(self._query.partitions, n)]

    def parallel(self, n: int = 4) -> AsyncIterator[AsyncS3Object]:
        """The objects in key order, listed in ``n`` parts in parallel. Requests: 1 per 1,000 keys, and those of ``partitions``."""
        return _objects(self._engine, self._query.parallel(n), self._at_once(_OBJECTS_A_HOP))

    async def prefetch(self, concurrency: int = 64, max_bytes: int = 256 * 1024 * 1024) -> AsyncIterator[AsyncS3Object]:
        """The objects with their bodies, which arrive ahead. Requests: 1 per 1,000 keys, and 1 GET per object."""
        objects = self._query.prefetch(concurrency, max_bytes)
        async with aclosing(self._engine.pull(objects, self._at_once(_BODIES_A_HOP))) as found:
            async for obj in found:
                yield AsyncS3Object(obj, self._engine)

    async def first(self) -> AsyncS3Object | None:
        """The first object, or None. Requests: 1."""
        found = await self._engine.run(self._query.first)
        return None if found is None else AsyncS3Object(found, self._engine)

    async def count(self, *, progress: Progress = None) -> int:
        """How many objects there are. Requests: 1 per 1,000 keys."""
        return await self._engine.run(self._query.count, progress=progress)

    async def total_size(self, *, progress: Progress = None) -> int:
        """The sum of the sizes. Requests: 1 per 1,000 keys."""
        return await self._engine.run(self._query.total_size, progress=progress)

    async def collect(self, *, progress: Progress = None) -> list[AsyncS3Object]:
        """All objects in a list. Requests: 1 per 1,000 keys."""
        return [
            AsyncS3Object(obj, self._engine) for obj in await self._engine.run(self._query.collect, progress=progress)
        ]

    async def delete(self, *, raise_errors: bool = True, progress: Progress = None) -> BatchResult:
        """Delete all objects of the query. Requests: 2 per 1,000 keys."""
        return await self._engine.run(self._query.delete, raise_errors=raise_errors, progress=progress)

    async def copy_to(
        self, bucket: S3Bucket | AsyncS3Bucket, prefix: str = "", *, progress: Progress = None
    ) -> list[AsyncS3Object]:
        """Copy every object of the query to a bucket. Requests: as ``ObjectQuery.copy_to``."""
        copied = await self._engine.run(self._query.copy_to, _sync_handle(bucket), prefix, progress=progress)
        return [AsyncS3Object(obj, self._engine) for obj in copied]

    async def download_to(
        self, folder: str | os.PathLike[str], *, overwrite: bool = True, progress: Progress = None
    ) -> list[str]:
        """Download every object into a folder. Requests: 1 per 1,000 keys, and 1 GET per object."""
        return await self._engine.run_stoppable(self._query.download_to, folder, overwrite=overwrite, progress=progress)

    show = _awaited(ObjectQuery.show)
    """The first entries as a table. Requests: 1 per 1,000 entries."""

    tree = _awaited(ObjectQuery.tree)
    """The keys as a tree of prefixes. Requests: 1 per prefix that is opened."""

    usage = _awaited(ObjectQuery.usage)
    """Where the bytes are. Requests: 1 per 1,000 keys."""

    to_pandas = _awaited(ObjectQuery.to_pandas)
    """The listing as a DataFrame. Requests: 1 per 1,000 keys."""

    to_arrow = _awaited(ObjectQuery.to_arrow)
    """The listing as an Arrow table. Requests: 1 per 1,000 keys."""

    async def arrow_batches(self, rows: int = tables.ROWS_PER_BATCH) -> AsyncIterator[pyarrow.RecordBatch]:
        """The listing as Arrow's record batches, listed as they are asked for. Requests: 1 per 1,000 keys."""
        batches = iter(self._query.arrow_batches(rows))
        async with aclosing(self._engine.pull(batches, 1)) as found:
            async for batch_of_rows in found:
                yield batch_of_rows

    def _at_once(self, usual: int) -> int:
        criteria: Criteria = self._query._criteria
        return usual if not criteria.predicates else 1

    def __repr__(self) -> str:
        return f"<Async{repr(self._query)[1:]}"


class AsyncS3Object:
    """One object under asyncio. Comes from ``bucket.object(key)``, ``bucket[key]``, or a query."""

    def __init__(self, obj: S3Object, engine: _Engine) -> None:
        self._object = obj
        self._engine = engine

    @property
    def _twin(self) -> S3Object:
        return self._object

    # -- who it is: no request

    @property
    def bucket(self) -> AsyncS3Bucket:
        """The bucket's handle. Requests: none."""
        return AsyncS3Bucket(self._object.bucket, self._engine)

    @property
    def key(self) -> str:
        """The key. Requests: none."""
        return self._object.key

    @property
    def bucket_name(self) -> str:
        """The bucket's name. Requests: none."""
        return self._object.bucket_name

    @property
    def version_id(self) -> str | None:
        """The version that this handle is for, or has met. Requests: none."""
        return self._object.version_id

    @property
    def uri(self) -> str:
        """``s3://bucket/key``. Requests: none."""
        return self._object.uri

    @property
    def url(self) -> str:
        """The object's address over HTTP. Requests: none."""
        return self._object.url

    # -- what it is: known after load(), or from a listing

    @property
    def size(self) -> int:
        """The size in bytes. Requests: none; after ``await load()``, a listing or a write."""
        self._check_known("size", listed=True)
        return self._object.size

    @property
    def etag(self) -> str:
        """The etag without quotes. Requests: none; after ``await load()``, a listing or a write."""
        self._check_known("etag", listed=True)
        return self._object.etag

    @property
    def last_modified(self) -> datetime:
        """When the object was written. Requests: none; after ``await load()`` or a listing."""
        self._check_known("last_modified", listed=True)
        return self._object.last_modified

    @property
    def storage_class(self) -> str:
        """The storage class. Requests: none; after ``await load()`` or a listing."""
        self._check_known("storage_class", listed=True)
        return self._object.storage_class

    @property
    def metadata(self) -> dict[str, str]:
        """The user's metadata. Requests: none; after ``await load()``."""
        self._check_known("metadata")
        return self._object.metadata

    @property
    def content_type(self) -> str:
        """The content type. Requests: none; after ``await load()``."""
        self._check_known("content_type")
        return self._object.content_type

    @property
    def body(self) -> bytes:
        """The content. Requests: none; after ``await load()``, up to 8 MiB (``await read()`` returns any size)."""
        if self._object._body is None:
            raise RuntimeError(
                f"the body of {self.uri} is not here: await obj.load() brings up to 8 MiB, await obj.read() any size"
            )
        return self._object.body

    @property
    def text(self) -> str:
        """The content as UTF-8 text. Requests: none; after ``await load()``."""
        return as_text(self.body, self.bucket_name, self.key)

    def _check_known(self, name: str, *, listed: bool = False) -> None:
        obj = self._object
        head = obj._head
        if (listed and obj._listed is not None) or (head is not None and getattr(head, name) is not None):
            return
        if head is not None and head.content_type is not None:  # it was read, so this should be known
            raise S3ServerError(
                f"the store's answer does not say the {name} of {self.uri}", bucket=obj.bucket_name, key=obj.key
            )
        raise RuntimeError(f"{name} of {self.uri} is not known yet: await obj.load() first")

    async def load(self) -> AsyncS3Object:
        """Get the object: the attributes, and the body up to 8 MiB.

        Returns:
            The handle itself.

        Raises:
            S3NoSuchItem: There is no such object.

        Requests:
            1 GET
        """
        await self._engine.perform(self._object._load_steps())
        return self

    async def exists(self) -> bool:
        """Ask whether the object is there, now. Requests: 1 HEAD."""
        return await self._engine.perform(self._object._exists_steps())

    def reload(self) -> AsyncS3Object:
        """Forget what is known. Requests: none."""
        self._object.reload()
        return self

    async def read(self) -> bytes:
        """Return the whole content, of any size. More than 8 MiB is not kept.

        Raises:
            S3NoSuchItem: There is no such object.
            S3ObjectChanged: The object is another by now than the one this handle has met.

        Requests:
            1 GET, unless the body is here
        """
        if isinstance(kept := self._object._body, bytes):
            return kept
        return await self._engine.run(_read_whole, self._object)

    async def json(self) -> Any:
        """The content as JSON, of any size. Requests: 1 GET, unless it is here (above 8 MiB also those of ``body``)."""
        if self._object._body is None:
            await self.load()
        body = self._object._body
        if body is None:  # larger than load() keeps: read under If-Match of what load() has seen
            body = await self._engine.perform(self._object._body_steps())
        return as_json(body if isinstance(body, bytes) else self.body, self.bucket_name, self.key)

    async def read_range(self, start: int, end: int | None = None) -> bytes:
        """Bytes of the content; arguments as for a slice. Requests: 1 GET."""
        return await self._engine.run(self._object.read_range, start, end)

    async def iter_chunks(
        self, chunk_size: int = 1024 * 1024, start: int = 0, end: int | None = None
    ) -> AsyncIterator[bytes]:
        """The content in pieces, of any size in bounded memory. Requests: 1 GET."""
        async with aclosing(self._engine.pull(self._object.iter_chunks(chunk_size, start, end), 1)) as found:
            async for chunk in found:
                yield chunk

    async def iter_lines(self) -> AsyncIterator[bytes]:
        """The content's lines. Requests: 1 GET."""
        async with aclosing(self._engine.pull(iter(self._object.iter_lines()), _OBJECTS_A_HOP)) as found:
            async for line in found:
                yield line

    @overload
    def open(
        self,
        mode: BytesMode = "rb",
        buffering: int = -1,
        encoding: None = None,
        errors: None = None,
        newline: None = None,
        *,
        metadata: Mapping[str, str] | None = None,
        **extra: Unpack[PutParameters],
    ) -> AsyncObjectFile[bytes]: ...

    @overload
    def open(
        self,
        mode: TextMode,
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        *,
        metadata: Mapping[str, str] | None = None,
        **extra: Unpack[PutParameters],
    ) -> AsyncObjectFile[str]: ...

    @overload
    def open(
        self,
        mode: str,
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        *,
        metadata: Mapping[str, str] | None = None,
        **extra: Unpack[PutParameters],
    ) -> AsyncObjectFile[Any]: ...

    def open(
        self,
        mode: str = "rb",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        *,
        metadata: Mapping[str, str] | None = None,
        **extra: Unpack[PutParameters],
    ) -> AsyncObjectFile[Any]:
        """Open the object like a file: ``async with obj.open("wb") as file: await file.write(…)``.

        Arguments, errors and requests are those of ``S3Object.open``; nothing is asked before the file is awaited or entered. What is
        written appears at the end of the block, whole; if the block raises or is cancelled, nothing does.

        Requests:
            none; awaited or entered as ``S3Object.open``

        Example:
            >>> async def copy(source, target):
            ...     async with source.open("rb") as file, target.open("wb") as copied:
            ...         while piece := await file.read(1024 * 1024):
            ...             await copied.write(piece)
        """
        opening = functools.partial(
            self._object.open, mode, buffering, encoding, errors, newline, metadata=metadata, **extra
        )
        return AsyncObjectFile(opening, self._engine)

    async def put(
        self,
        data: Body,
        metadata: Mapping[str, str] | None = None,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
        **extra: Unpack[PutParameters],
    ) -> AsyncS3Object:
        """Write the object anew. Requests: 1 PUT; of an async source those of ``upload_object``."""
        if is_async_source(data):
            written = await self.bucket.upload_object(
                self.key, data, metadata, if_absent=if_absent, if_match=if_match, **extra
            )
            self.reload()._object._head = written._object._head
            return self
        steps = self._object._put_steps(data, metadata, if_absent=if_absent, if_match=if_match, **extra)
        await self._engine.perform(steps)
        return self

    async def delete(self, *, if_match: str | None = None) -> None:
        """Delete the object. Requests: 1 DELETE."""
        await self._engine.perform(self._object._delete_steps(if_match))

    async def update(self, function: Callable[[bytes | None], bytes | str | Awaitable[bytes | str]]) -> AsyncS3Object:
        """Read, change, write only if the object is unchanged meanwhile; again until it holds. Metadata and tags stay.

        Args:
            function: Gets the content (None where there is no such object) and returns the new one, or an awaitable of it. A coroutine
                function runs in the calling task, another one on a thread. It may be called several times.

        Returns:
            The handle itself, knowing what was written.

        Raises:
            S3PreconditionFailed: Others were faster fifty times; or ``outcome_unknown``.
            S3Unsupported: The store does not honour conditions; nothing was written.

        Requests:
            as ``S3Object.update``
        """
        portal = Portal(self._engine)

        def change(body: bytes | None) -> bytes | str:
            changed = function(body)
            return portal.call(lambda: changed) if inspect.isawaitable(changed) else changed

        await portal.run(functools.partial(self._object.update, change))
        return self

    async def copy_to(
        self,
        target: str | S3Object | AsyncS3Object,
        *,
        metadata: Mapping[str, str] | None = None,
        if_absent: bool = False,
        if_match: str | None = None,
        part_size_bytes: int | None = None,
        **extra: Unpack[PutParameters],
    ) -> AsyncS3Object:
        """Copy the object on the server. Requests: as the synchronous face."""
        copied = await self._engine.run(
            self._object.copy_to,
            _sync_handle(target),
            metadata=metadata,
            if_absent=if_absent,
            if_match=if_match,
            part_size_bytes=part_size_bytes,
            **extra,
        )
        return AsyncS3Object(copied, self._engine)

    async def move_to(
        self,
        target: str | S3Object | AsyncS3Object,
        *,
        metadata: Mapping[str, str] | None = None,
        **extra: Unpack[PutParameters],
    ) -> AsyncS3Object:
        """Copy the object on the server and delete it here. Requests: as the synchronous face."""
        moved = await self._engine.run(self._object.move_to, _sync_handle(target), metadata=metadata, **extra)
        return AsyncS3Object(moved, self._engine)

    async def download_to(
        self,
        path: str | os.PathLike[str],
        *,
        start: int = 0,
        end: int | None = None,
        overwrite: bool = True,
        resume: bool = False,
        verify_checksum: bool | None = None,
        progress: Progress = None,
    ) -> AsyncS3Object:
        """Download the content, or a range of it, to a file. Requests: as the synchronous face."""
        downloaded = await self._engine.run_stoppable(
            self._object.download_to,
            path,
            start=start,
            end=end,
            overwrite=overwrite,
            resume=resume,
            verify_checksum=verify_checksum,
            progress=progress,
        )
        return AsyncS3Object(downloaded, self._engine)

    async def presigned_url(
        self,
        method: str = "GET",
        expires_in: int | timedelta = 3600,
        *,
        response_content_disposition: str | None = None,
        response_content_type: str | None = None,
        content_type: str | None = None,
    ) -> str:
        """A link by which anybody may do one thing with this object. Requests: none (on AWS 1 HEAD a bucket, for its region)."""
        return await self._engine.run(
            self._object.presigned_url,
            method,
            expires_in,
            response_content_disposition=response_content_disposition,
            response_content_type=response_content_type,
            content_type=content_type,
        )

    async def presigned_post(
        self,
        expires_in: int | timedelta = 3600,
        *,
        content_type: str | None = None,
        min_size: int | None = None,
        max_size: int | None = None,
        fields: Mapping[str, str] | None = None,
        conditions: Sequence[Any] = (),
    ) -> PresignedPost:
        """A form by which a browser stores this object. Requests: none (on AWS 1 HEAD a bucket, for its region)."""
        return await self._engine.run(
            self._object.presigned_post,
            expires_in,
            content_type=content_type,
            min_size=min_size,
            max_size=max_size,
            fields=fields,
            conditions=conditions,
        )

    preview = _awaited(S3Object.preview)
    """The beginning of the object as a table, text or image. Requests: as ``S3Object.preview``."""

    # -- tags and versions

    @property
    def tags(self) -> AsyncObjectTags:
        """The object's tags. Requests: none; each method of it is awaited."""
        return AsyncObjectTags(self._object.tags, self._engine)

    def versions(self) -> AsyncIterator[AsyncS3Object]:
        """The versions of the object, the newest first. Requests: 1 per 1,000 versions."""
        return _objects(self._engine, self._object.versions())

    async def make_current(self) -> AsyncS3Object:
        """Make this version the current one, by a copy on the server. Requests: 1 COPY (more above 5 GiB)."""
        return AsyncS3Object(await self._engine.run(self._object.make_current), self._engine)

    undelete = _awaited(S3Object.undelete)
    """Remove the delete markers that hide the object. Requests: 1, and 2 for each marker on top."""

    def __repr__(self) -> str:
        return f"Async{self._object!r}"


def _read_whole(obj: S3Object) -> bytes:
    body = obj.body
    if len(body) > operations.KEPT_BYTES:
        obj._body = None
    return body


def _portal_for(given: Any, engine: _Engine) -> Portal | None:
    return Portal(engine) if isinstance(given, AsyncIterable) else None


def _sync_keys(keys: Any, portal: Portal | None) -> Any:
    """Return keys and handles for the synchronous class, which refuses a single key."""
    if isinstance(keys, (str, bytes)) or not isinstance(keys, (Iterable, AsyncIterable)):
        return keys
    return map(_sync_handle, cast(Any, keys) if portal is None else portal.items(keys))


async def _map_in_tasks(
    objects: AsyncIterator[AsyncS3Object],
    function: Callable[[AsyncS3Object], Coroutine[Any, Any, Any]],
    ordered: bool,
    on_error: pipeline.OnError,
    in_flight: int,
) -> AsyncGenerator[Any, None]:
    """Run a coroutine function over objects, in a bounded number of tasks, which end with the iteration."""
    under_way: dict[asyncio.Task[Any], AsyncS3Object] = {}  # in the order in which they began
    source = cast("AsyncGenerator[AsyncS3Object, None]", objects)
    is_at_end = False
    try:
        while True:
            while not is_at_end and len(under_way) < in_flight:
                obj = await _next(source)
                if is_at_end := obj is _END:
                    break
                under_way[asyncio.ensure_future(function(obj))] = obj
            if not under_way:
                return
            oldest = next(iter(under_way))
            done, _ = await asyncio.wait([oldest] if ordered else under_way, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                obj = under_way.pop(task)
                try:
                    result = task.result()
                except Exception as error:
                    if on_error == "raise":
                        raise
                    if on_error == "skip":
                        continue
                    result = on_error(obj, error)
                    if inspect.isawaitable(result):
                        result = await result
                yield result
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        await source.aclose()


# -- files ------------------------------------------------------------------------------------------------------------------------


class AsyncObjectFile(Generic[AnyStr]):
    """A file whose methods are awaited. Comes from ``obj.open(…)``; ``async with`` or ``await`` opens it.

    One method runs at a time; another one waits. After a cancelled ``read()`` the position is unknown until ``seek()``.

    Without ``async with``, nothing is written where ``close()`` is called while an exception raised after the opening is being handled
    (``finally: await file.close()``); a warning is logged then. In that case ``close()`` must be awaited by the task that handles it.

    Example:
        >>> async def first_line(obj):
        ...     async with obj.open("r") as file:
        ...         return await file.readline()
    """

    def __init__(self, opening: Callable[[], IO[Any]], engine: _Engine) -> None:
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
        # A cancellation must not take this from a queue: half of what was written would stay, or all of it be lost.
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
        """The size in bytes of what is read in bytes mode. Requests: none."""
        return cast(int, self._file.size)  # type: ignore[attr-defined]  # of the reader's class

    def readable(self) -> bool:
        """Return whether it can be read. Requests: none."""
        return self._file.readable()

    def writable(self) -> bool:
        """Return whether it can be written. Requests: none."""
        return self._file.writable()

    def seekable(self) -> bool:
        """Return whether it can be read at any position. Requests: none."""
        return self._file.seekable()

    async def read(self, size: int = -1) -> AnyStr:
        """Return up to ``size`` bytes or characters, or all that is left. Requests: as ``S3Object.open``."""
        return await self._call(self._file.read, size)

    async def readline(self, size: int = -1) -> AnyStr:
        """Return the next line, with its end. Requests: as ``S3Object.open``."""
        return await self._call(self._file.readline, size)

    async def readlines(self, hint: int = -1) -> list[AnyStr]:
        """Return the next lines, about ``hint`` bytes of them, or all that are left. Requests: as ``S3Object.open``."""
        return await self._call(self._file.readlines, hint)

    async def readinto(self, buffer: Any) -> int:
        """Fill a buffer, and return how many bytes that took; bytes mode only. Requests: as ``S3Object.open``."""
        return await self._call(cast(Any, self._file).readinto, buffer)

    def __aiter__(self) -> AsyncIterator[AnyStr]:
        return self

    async def __anext__(self) -> AnyStr:
        if line := await self.readline():
            return line
        raise StopAsyncIteration

    async def write(self, data: AnyStr) -> int:
        """Write, and wait while the parts before are on their way. Requests: 1 PUT per 8 MiB."""
        return await self._call(self._file.write, data)

    async def writelines(self, lines: Iterable[AnyStr] | AsyncIterable[AnyStr]) -> None:
        """Write several pieces; no line ends are added. Requests: 1 PUT per 8 MiB."""
        if not isinstance(lines, AsyncIterable):
            await self._call(self._file.writelines, lines)
            return
        async for line in lines:
            await self.write(line)

    async def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a position, and return it. Requests: none."""
        return await self._call(self._file.seek, offset, whence)

    async def tell(self) -> int:
        """Return the position. Requests: none."""
        return await self._call(self._file.tell)

    async def truncate(self, size: int | None = None) -> int:
        """Cut off at a size; only after a ``seek()``, as of the synchronous file. Requests: none."""
        return await self._call(self._file.truncate, size)

    async def flush(self) -> None:
        """Do nothing: parts are sent as they fill up. Requests: none."""
        await self._call(self._file.flush)

    async def close(self) -> None:
        """Close it; what was written appears, unless an exception raised since the opening is being handled.

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
        """Close it; nothing of what was written appears. Requests: 1 DELETE if parts were sent."""
        self._handled_at_open = None
        await self._call(_give_up, self._file, alone=True)

    def __repr__(self) -> str:
        return f"<AsyncObjectFile {self._opened!r}>" if self._opened is not None else "<AsyncObjectFile, not open yet>"


def _give_up(file: IO[Any]) -> None:
    """Close a file as the end of a block that raised does."""
    error = _Cancelled()
    file.__exit__(type(error), error, None)


# -- locks ------------------------------------------------------------------------------------------------------------------------


class _StoppableLock(S3Lock):
    """A lock whose ``acquire()`` stops waiting where its task was cancelled."""

    portal: Portal | None = None

    def _is_takeable(self, seen: Any, since: float) -> bool:
        if self.portal is not None:
            self.portal.check()
        return super()._is_takeable(seen, since)


class AsyncS3Lock:
    """A lease on a key. Comes from ``bucket.lock(…)``; ``async with`` or ``await`` takes it.

    What is guaranteed is what :class:`~messageflux_s3.S3Lock` says. A thread renews the lease, so an event loop that is blocked for a
    while does not lose it. A cancelled block releases it; a cancelled wait for it leaves nothing held.
    """

    def __init__(self, lock: _StoppableLock, engine: _Engine) -> None:
        self._lock = lock
        self._engine = engine

    @property
    def _twin(self) -> S3Lock:
        return self._lock

    @property
    def key(self) -> str:
        """The key. Requests: none."""
        return self._lock.key

    @property
    def owner(self) -> str:
        """Who we say we are. Requests: none."""
        return self._lock.owner

    @property
    def token(self) -> int:
        """The fencing token: larger for every later holder of this key. Requests: none."""
        return self._lock.token

    @property
    def lost(self) -> bool:
        """Whether the lease is over, or was taken over; False only while it is ours for certain. Requests: none."""
        return self._lock.lost

    def check(self) -> None:
        """Go on only while the lease is ours for certain.

        Raises:
            S3LockError: It is over, taken over, released, or the parent process's.

        Requests:
            none
        """
        self._lock.check()

    async def acquire(self) -> AsyncS3Lock:
        """Take the lock; wait for it as long as was said.

        Returns:
            The lock itself.

        Raises:
            S3LockError: It is held; ``lock_holder`` says by whom.
            S3Unsupported: The store does not honour conditional writes; nothing was written.

        Requests:
            1 GET, 1 PUT (more while it waits; once a store those of a probe)
        """
        portal = self._lock.portal = Portal(self._engine)
        # On a thread of its own: those of the pool are for the holder, which may be waiting for one to release the lock.
        await portal.run(self._lock.acquire, undo=S3Lock.release)
        return self

    renew = _awaited(S3Lock.renew)
    """Renew the lease now; a thread does it by itself. Requests: 1 PUT."""

    async def release(self) -> None:
        """Give the lock back; that it is not ours any more is no error. Requests: 1 PUT where the lock is held, else none."""
        await Portal(self._engine).run(self._lock.release)

    def __await__(self) -> Generator[Any, None, AsyncS3Lock]:
        return self.acquire().__await__()

    async def __aenter__(self) -> AsyncS3Lock:
        return await self.acquire() if self.lost else self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.release()

    def __repr__(self) -> str:
        return f"<Async{repr(self._lock).removeprefix('<')}"


# -- plans ------------------------------------------------------------------------------------------------------------------------


class AsyncSyncPlan:
    """What makes a prefix like a folder, or a folder like a prefix. Print it, then ``await plan.apply()``."""

    def __init__(self, plan: SyncPlan, engine: _Engine) -> None:
        self._plan = plan
        self._engine = engine

    @property
    def steps(self) -> tuple[SyncStep, ...]:
        """Every file and object concerned, in order of their keys. Requests: none."""
        return self._plan.steps

    @property
    def direction(self) -> sync.Direction:
        """``"to_store"`` or ``"to_folder"``. Requests: none."""
        return self._plan.direction

    @property
    def bucket_name(self) -> str:
        """The bucket. Requests: none."""
        return self._plan.bucket_name

    @property
    def prefix(self) -> str:
        """The prefix in it. Requests: none."""
        return self._plan.prefix

    @property
    def folder(self) -> str:
        """The folder. Requests: none."""
        return self._plan.folder

    @property
    def applied(self) -> bool:
        """Whether this was done. Requests: none."""
        return self._plan.applied

    @property
    def copied(self) -> list[SyncStep]:
        """What is copied. Requests: none."""
        return self._plan.copied

    @property
    def skipped(self) -> list[SyncStep]:
        """What stays as it is. Requests: none."""
        return self._plan.skipped

    @property
    def deleted(self) -> list[SyncStep]:
        """What is deleted. Requests: none."""
        return self._plan.deleted

    async def apply(self, *, progress: Progress = None) -> AsyncSyncPlan:
        """Do it: first the copies; the deletions only once every copy has arrived. Requests: as ``SyncPlan.apply``."""
        applied = await self._engine.run_stoppable(self._plan.apply, progress=progress)
        return AsyncSyncPlan(applied, self._engine)

    def __str__(self) -> str:
        return str(self._plan)

    def __repr__(self) -> str:
        return f"Async{self._plan!r}"

    def _repr_html_(self) -> str:
        return self._plan._repr_html_()


class AsyncChange(Generic[V]):
    """A change of a configuration, to be looked at before ``await change.apply()``."""

    def __init__(self, change: Change[V], engine: _Engine) -> None:
        self._change = change
        self._engine = engine

    @property
    def _twin(self) -> Change[V]:
        return self._change

    @property
    def what(self) -> str:
        """Which configuration of which bucket or object. Requests: none."""
        return self._change.what

    @property
    def before(self) -> V:
        """What stands now. Requests: none."""
        return self._change.before

    @property
    def after(self) -> V:
        """What would stand. Requests: none."""
        return self._change.after

    @property
    def is_empty(self) -> bool:
        """Whether nothing would change. Requests: none."""
        return self._change.is_empty

    async def apply(self) -> None:
        """Make the change that was shown, and no other. Requests: as ``Change.apply``."""
        await self._engine.run(self._change.apply)

    def __str__(self) -> str:
        return str(self._change)

    def __repr__(self) -> str:
        return f"<Async{repr(self._change).removeprefix('<')}"

    def _repr_html_(self) -> str:
        return self._change._repr_html_()


# -- sub-resources: the methods of the synchronous ones, each awaited ---------------------------------------------------------------


class _AsyncPart(Generic[Twin_co]):
    """An async sub-resource over the synchronous one."""

    def __init__(self, part: Twin_co, engine: _Engine) -> None:
        self._part = part
        self._engine = engine

    @property
    def _twin(self) -> Twin_co:
        return self._part

    def __repr__(self) -> str:
        return f"<async {repr(self._part).removeprefix('<')}"


class AsyncLifecycle(_AsyncPart[Lifecycle]):
    """``bucket.lifecycle``: the methods of :class:`~messageflux_s3.subresources.lifecycle.Lifecycle`, each awaited."""

    get = _awaited(Lifecycle.get)
    put = _awaited(Lifecycle.put)
    delete = _awaited(Lifecycle.delete)
    change = _awaited_change(Lifecycle.change)
    ensure = _awaited_change(Lifecycle.ensure)
    expire = _awaited(Lifecycle.expire)
    abort_unfinished_uploads = _awaited(Lifecycle.abort_unfinished_uploads)
    transition = _awaited(Lifecycle.transition)
    expire_noncurrent = _awaited(Lifecycle.expire_noncurrent)
    remove = _awaited(Lifecycle.remove)
    set_lifetime = _awaited(Lifecycle.set_lifetime)


class AsyncPublicAccess(_AsyncPart[PublicAccess]):
    """``bucket.public_access``: the methods of :class:`~messageflux_s3.subresources.public_access.PublicAccess`, each awaited."""

    allow = _awaited(PublicAccess.allow)
    block = _awaited(PublicAccess.block)
    status = _awaited(PublicAccess.status)


class AsyncPolicy(_AsyncPart[Policy]):
    """``bucket.policy``: the methods of :class:`~messageflux_s3.subresources.policy.Policy`, each awaited."""

    get = _awaited(Policy.get)
    put = _awaited(Policy.put)
    delete = _awaited(Policy.delete)
    change = _awaited_change(Policy.change)
    ensure = _awaited_change(Policy.ensure)
    remove = _awaited(Policy.remove)


class AsyncVersioning(_AsyncPart[Versioning]):
    """``bucket.versioning``: the methods of :class:`~messageflux_s3.subresources.versioning.Versioning`, each awaited."""

    get = _awaited(Versioning.get)
    put = _awaited(Versioning.put)
    delete = _awaited(Versioning.delete)
    change = _awaited_change(Versioning.change)
    enable = _awaited(Versioning.enable)
    suspend = _awaited(Versioning.suspend)
    is_enabled = _awaited(Versioning.is_enabled)


class AsyncTags(_AsyncPart[Tags]):
    """``bucket.tags``: the methods of :class:`~messageflux_s3.subresources.tags.Tags`, each awaited.

    Python has no awaited ``tags["a"] = "1"``: write ``await tags.update({"a": "1"})``, ``await tags.remove("a")`` and
    ``(await tags.get())["a"]``.
    """

    get = _awaited(Tags.get)
    put = _awaited(Tags.put)
    delete = _awaited(Tags.delete)
    change = _awaited_change(Tags.change)
    ensure = _awaited_change(Tags.ensure)
    update = _awaited(Tags.update)
    remove = _awaited(Tags.remove)


class AsyncObjectTags(AsyncTags):
    """``obj.tags``: as :class:`AsyncTags`."""

    def __init__(self, part: ObjectTags, engine: _Engine) -> None:
        super().__init__(part, engine)


class AsyncCors(_AsyncPart[Cors]):
    """``bucket.cors``: the methods of :class:`~messageflux_s3.subresources.cors.Cors`, each awaited."""

    get = _awaited(Cors.get)
    put = _awaited(Cors.put)
    delete = _awaited(Cors.delete)
    change = _awaited_change(Cors.change)
    ensure = _awaited_change(Cors.ensure)
    remove = _awaited(Cors.remove)


class AsyncBucketEncryption(_AsyncPart[BucketEncryption]):
    """``bucket.encryption``: the methods of :class:`~messageflux_s3.subresources.encryption.BucketEncryption`, each awaited."""

    get = _awaited(BucketEncryption.get)
    put = _awaited(BucketEncryption.put)
    delete = _awaited(BucketEncryption.delete)
    change = _awaited_change(BucketEncryption.change)
    ensure = _awaited_change(BucketEncryption.ensure)


class AsyncNotifications(_AsyncPart[Notifications]):
    """``bucket.notifications``: the methods of :class:`~messageflux_s3.subresources.notifications.Notifications`, each awaited."""

    get = _awaited(Notifications.get)
    put = _awaited(Notifications.put)
    delete = _awaited(Notifications.delete)
    change = _awaited_change(Notifications.change)
    ensure = _awaited_change(Notifications.ensure)
    remove = _awaited(Notifications.remove)
