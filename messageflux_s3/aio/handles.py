"""AsyncS3Store, AsyncS3Bucket, AsyncObjectQuery and AsyncS3Object."""

from __future__ import annotations

import asyncio
import functools
import inspect
import json as json_module
import os
import re
import weakref
from abc import abstractmethod
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing, suppress
from datetime import datetime, timedelta
from functools import total_ordering
from pathlib import PurePosixPath
from typing import (
    TYPE_CHECKING,
    Any,
    NoReturn,
    TypeVar,
    cast,
    overload,
)

from .._bulk import batch, pipeline
from .._bulk.progress import Progress
from .._client import buckets
from .._client.config import S3Config
from .._display import tables
from .._formats.decoding import as_json, as_text
from .._formats.head import Head
from .._formats.keys import check_key
from .._http.lane import LaneStatus
from .._objects import operations
from .._objects.put_parameters import with_content_type
from ..bucket import S3Bucket
from ..errors import S3AccessDenied, S3ServerError
from ..object import S3Object
from ..path import S3Path
from ..query import Criteria, ObjectQuery, Predicate
from ..store import S3Store

if TYPE_CHECKING:
    from concurrent.futures import Executor

    import boto3
    import pyarrow
    from botocore.config import Config
    from mypy_boto3_s3 import S3Client, S3ServiceResource
    from typing_extensions import Self, Unpack

    from .._bulk.batch import BatchResult
    from .._client.capabilities import Preset
    from .._client.config import AddressingStyle, CredentialsFunction
    from .._client.connection import Connection
    from .._client.observation import RequestSubscription
    from .._client.request_record import RequestEvent
    from .._display.observation import Observation
    from .._files import sync
    from .._objects.bodies import AsyncSource, Body, Data, UploadSource
    from .._objects.presigning import PresignedPost
    from .._objects.put_parameters import PutParameters
    from ..bucket import S3Bucket
from .engine import (
    END,
    AsyncWritable,
    Engine,
    Portal,
    is_async_source,
    is_async_writable,
    is_coroutine_function,
    next_item,
    portal_for,
    stream_portal,
)
from .files import AsyncObjectFile, BytesMode, TextMode
from .locks import AsyncS3Lock, StoppableLock
from .plans import AsyncSyncPlan
from .presigned_parts import AsyncPresignedParts
from .subresources import (
    AsyncBucketEncryption,
    AsyncCors,
    AsyncLifecycle,
    AsyncNotifications,
    AsyncObjectAnnotations,
    AsyncObjectTags,
    AsyncPolicy,
    AsyncPublicAccess,
    AsyncTags,
    AsyncVersioning,
)
from .twins import twin_of, twin_of_write

Result = TypeVar("Result")


_OBJECTS_A_HOP = 256


_BODIES_A_HOP = 16


_TASKS_A_MAP = 16


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
    addressing_style: AddressingStyle | None = None,
    connect_timeout: float | None = None,
    read_timeout: float | None = None,
    max_attempts: int | None = None,
    max_concurrency: int | None = None,
    verify: bool | str = True,
    public_url: str | None = None,
    pickle_secrets: bool = False,
    config: Config | None = None,
    anonymous: bool = False,
    request_payer: bool = False,
    expected_bucket_owner: str | None = None,
    lane: bool = True,
) -> AsyncS3Store:
    """Return a store for use under asyncio; the arguments are those of :func:`~messageflux_s3.connect`.

    Returns:
        The store. Use it in ``async with``, or ``await store.close()``, so that its threads end.

    Requests:
        none
    """
    settings = S3Config(
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
        config=config,
        anonymous=anonymous,
        request_payer=request_payer,
        expected_bucket_owner=expected_bucket_owner,
        lane=lane,
    )
    return AsyncS3Store(S3Store(settings))


async def _objects(
    engine: Engine, source: Iterator[S3Object], at_once: int = _OBJECTS_A_HOP, portal: Portal | None = None
) -> AsyncIterator[AsyncS3Object]:
    async with aclosing(engine.pull(source, at_once, portal)) as found:
        async for obj in found:
            yield AsyncS3Object(obj, engine)


def _sync_handle(given: Any) -> Any:
    """Return the synchronous handle of an async one, and anything else unchanged."""
    return given._twin if isinstance(given, (AsyncS3Bucket, AsyncS3Object, AsyncS3Path)) else given


class _Handle:
    """Base class of the async handles, which makes them picklable.

    In each process, the unpickled handles of one store share threads and connections.
    """

    _engine: Engine

    @property
    @abstractmethod
    def _twin(self) -> Any:
        """The synchronous handle."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self._twin)


class _Value(_Handle):
    """Base class of handles that compare equal if their synchronous handles are equal."""

    def __eq__(self, other: object) -> bool:
        return bool(self._twin == other._twin) if isinstance(other, _Value) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._twin)


_engines: weakref.WeakValueDictionary[Connection, Engine] = weakref.WeakValueDictionary()
"""The engine of the first async store of each client, for unpickled handles."""


def _engine_of(store: S3Store) -> Engine:
    return _engines.setdefault(store._connection.shared, Engine(store))


def _rebuild(cls: type[Any], twin: Any) -> Any:
    """Return an async handle for an unpickled synchronous one."""
    if isinstance(twin, S3Store):
        return cls._create(twin, _engine_of(twin))
    bucket = twin if isinstance(twin, S3Bucket) else twin.bucket
    return cls(twin, _engine_of(bucket.store))


class AsyncS3Store(_Value):
    """A store under asyncio, created by :func:`async_connect` or from an S3Store.

    Args:
        store: The synchronous store; it can be used alongside this one.
    """

    def __init__(self, store: S3Store) -> None:
        self._store = store
        self._engine = Engine(store)
        _engines.setdefault(store._connection.shared, self._engine)

    @classmethod
    def from_resource(cls, boto3_s3_resource: S3ServiceResource | S3Client) -> Self:
        """Return a store that uses the client of a boto3 resource, unchanged. Requests: none."""
        return cls(S3Store.from_resource(boto3_s3_resource))

    @classmethod
    def from_client(cls, client: S3Client) -> Self:
        """Return a store that uses a boto3 client, unchanged. Requests: none."""
        return cls(S3Store.from_client(client))

    @classmethod
    def _create(cls, store: S3Store, engine: Engine) -> AsyncS3Store:
        """Internal constructor; shares the threads and connections of a handle."""
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
        """Whether small requests and the parts of large transfers use the fast lane (this library's HTTP client) or boto3, and why.

        If read before the first request, it builds boto3's client. Requests: none.
        """
        return self._store.lane

    @property
    def storage_options(self) -> dict[str, Any]:
        """The options with which fsspec, and libraries that use it, reach this store. Requests: none."""
        return self._store.storage_options

    @property
    def is_online(self) -> bool:
        """Whether the last operation got a response. Requests: none."""
        return self._store.is_online

    def bucket(self, name: str) -> AsyncS3Bucket:
        """Return a handle on a bucket. Requests: none."""
        return AsyncS3Bucket(self._store.bucket(name), self._engine)

    def __getitem__(self, name: str) -> AsyncS3Bucket:
        return self.bucket(name)

    __iter__ = None  # not iterable: Python would call store[0], store[1] …

    def object(self, uri: str) -> AsyncS3Object:
        """Return a handle on ``s3://bucket/key``. Requests: none."""
        return AsyncS3Object(self._store.object(uri), self._engine)

    async def create_bucket(
        self,
        name: str,
        lifetime_in_days: int | None = None,
        allow_public_access: bool = False,
        exist_ok: bool = True,
        region: str | None = None,
    ) -> AsyncS3Bucket:
        """Create a bucket. Requests: as ``S3Store.create_bucket``."""
        made = await self._engine.run_write(
            self._store.create_bucket, name, lifetime_in_days, allow_public_access, exist_ok, region
        )
        return AsyncS3Bucket(made, self._engine)

    async def buckets(self, prefix: str | None = None, region: str | None = None) -> AsyncIterator[AsyncS3Bucket]:
        """Yield the buckets of the account. Requests: 1 per 10,000; with ``region`` as ``S3Store.buckets``."""
        async with aclosing(self._engine.pull(self._store.buckets(prefix, region), _OBJECTS_A_HOP)) as found:
            async for bucket in found:
                yield AsyncS3Bucket(bucket, self._engine)

    async def ping(self) -> bool:
        """Return whether the store responds. Requests: 1."""
        return await self._engine.run(self._store.ping)

    probe = twin_of(S3Store.probe)
    """Probe the store's capabilities. Requests: as ``S3Store.probe``."""

    show = twin_of(S3Store.show)
    """Return the buckets of the account as a table. Requests: 1 per 10,000 buckets."""

    def observe(self, tag: str | None = None) -> Observation:
        """Count the requests that the handles of this store send in a ``with`` block; see ``S3Store.observe``. Requests: none."""
        return self._store.observe(tag)

    def on_request(self, callback: Callable[[RequestEvent], Any]) -> RequestSubscription:
        """Call a function after each request, on a thread or in the event loop; see ``S3Store.on_request``. Requests: none."""
        return self._store.on_request(callback)

    def reload_credentials(self) -> None:
        """Reload the credentials at the next request. Requests: none."""
        self._store.reload_credentials()

    def objects_from(
        self, message: bytes | str | Mapping[str, Any], *, buckets: Iterable[str] | None = None
    ) -> list[AsyncS3Object]:
        """Return handles on the S3 objects named in a message. Requests: none."""
        return [AsyncS3Object(obj, self._engine) for obj in self._store.objects_from(message, buckets=buckets)]

    async def close(self) -> None:
        """Wait for the work in progress, including that of cancelled tasks, then close connections and threads. Requests: none."""
        await self._engine.close()
        self._store.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"Async{self._store!r}"


class AsyncS3Bucket(_Value):
    """A bucket under asyncio, created by ``store.bucket(name)``."""

    def __init__(self, bucket: S3Bucket, engine: Engine) -> None:
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

    @property
    def uri(self) -> str:
        """``s3://bucket``. Requests: none."""
        return self._bucket.uri

    @property
    def url(self) -> str:
        """The bucket's HTTP URL. Requests: none. An access before the first request builds boto3's client."""
        return self._bucket.url

    @property
    def region(self) -> str:
        """The region of the bucket, available after ``await load()``. Requests: none."""
        if not buckets.is_region_known(self._bucket._address):
            raise RuntimeError(f"region of {self.uri} is not loaded: call await bucket.load() first")
        return self._bucket.region

    @property
    def creation_date(self) -> datetime | None:
        """When the bucket was created, available after ``await load()``, or from ``store.buckets()``. Requests: none."""
        if self._bucket._created is None:
            raise RuntimeError(
                f"creation_date of {self.uri} is not loaded: call await bucket.load() first; it stays unknown if these credentials "
                "are not allowed to list buckets"
            )
        return self._bucket.creation_date

    async def load(self) -> AsyncS3Bucket:
        """Load the region and, if these credentials may list buckets, the creation date.

        Returns:
            The handle itself.

        Raises:
            S3NoSuchBucket: The bucket does not exist.
            S3AccessDenied: Access is denied, and the response does not name the region (AWS names it).

        Requests:
            1 HEAD for the region and 1 GET for the creation date, unless cached (on a store that is not AWS as ``S3Bucket.region`` and
            ``S3Bucket.creation_date``)
        """
        await self._engine.run(_load_bucket, self._bucket)
        return self

    def compute_url(self, key: str) -> str:
        """Return the HTTP URL of a key. Requests: none. A call before the first request builds boto3's client."""
        return self._bucket.compute_url(key)

    def object(self, key: str, version_id: str | None = None) -> AsyncS3Object:
        """Return a handle on an object. Requests: none."""
        return AsyncS3Object(self._bucket.object(key, version_id), self._engine)

    def path(self, key: str = "") -> AsyncS3Path:
        """Return a key as a path, with the names of ``pathlib``. Requests: none."""
        return AsyncS3Path(self._bucket.path(key), self._engine)

    def __getitem__(self, key: str) -> AsyncS3Object:
        return AsyncS3Object(self._bucket[key], self._engine)

    __iter__ = None  # not iterable: Python would call bucket[0], bucket[1] …, also for `key in bucket`

    async def exists(self) -> bool:
        """Return whether the bucket exists. Requests: 1 HEAD."""
        return await self._engine.run(self._bucket.exists)

    delete_bucket = twin_of_write(S3Bucket.delete_bucket)
    """Delete the bucket. Requests: 1; with ``force`` also those of ``clear_objects(versions=True)``."""

    clear_objects = twin_of(S3Bucket.clear_objects)
    """Delete all objects, but not the bucket. Requests: as ``S3Bucket.clear_objects``."""

    # -- sub-resources: all their methods are coroutines

    @property
    def lifecycle(self) -> AsyncLifecycle:
        """The lifecycle rules: when objects expire. Requests: none."""
        return AsyncLifecycle(self._bucket.lifecycle, self._engine)

    @property
    def public_access(self) -> AsyncPublicAccess:
        """Anonymous read access. Requests: none."""
        return AsyncPublicAccess(self._bucket.public_access, self._engine)

    @property
    def policy(self) -> AsyncPolicy:
        """The bucket policy. Requests: none."""
        return AsyncPolicy(self._bucket.policy, self._engine)

    @property
    def versioning(self) -> AsyncVersioning:
        """The versioning of the bucket. Requests: none."""
        return AsyncVersioning(self._bucket.versioning, self._engine)

    @property
    def tags(self) -> AsyncTags:
        """The bucket's tags. Requests: none."""
        return AsyncTags(self._bucket.tags, self._engine)

    @property
    def cors(self) -> AsyncCors:
        """The CORS rules. Requests: none."""
        return AsyncCors(self._bucket.cors, self._engine)

    @property
    def encryption(self) -> AsyncBucketEncryption:
        """The default encryption. Requests: none."""
        return AsyncBucketEncryption(self._bucket.encryption, self._engine)

    @property
    def notifications(self) -> AsyncNotifications:
        """The event notifications: which queues, topics and functions receive events. Requests: none."""
        return AsyncNotifications(self._bucket.notifications, self._engine)

    # -- one object

    @overload
    async def get_object(self, key: str, *, if_none_match: None = None) -> AsyncS3Object: ...

    @overload
    async def get_object(self, key: str, *, if_none_match: str | None) -> AsyncS3Object | None: ...

    async def get_object(self, key: str, *, if_none_match: str | None = None) -> AsyncS3Object | None:
        """Request an object and return its handle; None if it still has the ETag ``if_none_match``. Requests: 1 GET."""
        obj = self.object(key)
        if if_none_match is None:
            return await obj.load()
        return obj if await self._engine.perform(obj._object._load_if_changed_steps(if_none_match)) else None

    async def put_object(
        self,
        key: str,
        buf: Body | AsyncSource,
        metadata: Mapping[str, str] | None = None,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
        **extra: Unpack[PutParameters],
    ) -> AsyncS3Object:
        """Write an object. Requests: 1 PUT; for a readable or an async source those of ``upload_object``."""
        if hasattr(buf, "read") or is_async_source(buf):  # an upload stops reading the source if the task is cancelled
            key = check_key(key, bucket=self.name)
            return await self.upload_object(key, buf, metadata, if_absent=if_absent, if_match=if_match, **extra)
        steps = self._bucket._put_steps(key, buf, metadata, if_absent=if_absent, if_match=if_match, **extra)
        written = await self._engine.perform(steps)
        return AsyncS3Object(written, self._engine)

    async def put_json(
        self,
        key: str,
        value: Any,
        metadata: Mapping[str, str] | None = None,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
        **extra: Unpack[PutParameters],
    ) -> AsyncS3Object:
        """Write a value as JSON. Requests: 1 PUT.

        The value is encoded in the event loop: ``json`` does not release the GIL, so a thread would block the loop just as long.
        """
        text = json_module.dumps(value, ensure_ascii=False, separators=(",", ":"))
        typed = with_content_type("application/json", extra)
        return await self.put_object(key, text, metadata, if_absent=if_absent, if_match=if_match, **typed)

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
        """Copy an object within the bucket. Requests: as ``S3Bucket.copy_object``."""
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
        """Get many objects, in the order of the keys. Requests: 1 GET per object."""
        portal = portal_for(keys, self._engine)
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
        portal = portal_for(items, self._engine)
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
        portal = portal_for(keys, self._engine)
        wanted = _sync_keys(keys, portal)
        work = functools.partial(self._bucket.delete_objects, wanted, raise_errors=raise_errors, progress=progress)
        return await (self._engine.run(work) if portal is None else portal.run(work))

    # -- streams, files and folders

    async def upload_object(
        self,
        key: str,
        stream: UploadSource | AsyncSource,
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
        """Upload a stream of any size in bounded memory. A readable object stays open.

        Args:
            key: The key.
            stream: An async iterable of bytes, a readable with an async ``read(size)``, or any source for ``S3Bucket.upload_object``.
                An async source is read in the calling task, while parts are sent to the store.
            metadata: User metadata, a mapping of text to text.
            if_absent: Write only if the object does not exist.
            if_match: Write only if the object has this etag.
            part_size_bytes: The size of a part; None for a suitable one.
            verify_checksum: Whether to compare the store's checksum with the local one.
            progress: True for a bar, a callable that gets byte counts (on a thread), or None.
            ExtraArgs: As in messageflux and boto3.
            Callback: As in messageflux and boto3.
            Config: As in messageflux and boto3.
            extra: Further parameters, as for ``put_object``.

        Returns:
            A handle with size, etag and version cached.

        Raises:
            S3Error: As ``S3Bucket.upload_object``. An exception raised by the source propagates, and nothing is written.

        Requests:
            as ``S3Bucket.upload_object``
        """
        portal = await stream_portal(stream, self._engine)
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
        """Download an object to anything with ``write()``, in order, in bounded memory.

        Args:
            key: The key.
            writable_stream: The target; it is not closed. ``write()`` may be a coroutine function; an ``asyncio.StreamWriter`` is drained.
            version_id: A version of the object.
            verify_checksum: Whether to compare the object's MD5 with that of the downloaded bytes; None compares up to 16 MiB.
            progress: True for a bar, a callable that gets byte counts (on a thread), or None.
            ExtraArgs: As in messageflux and boto3.
            Callback: As in messageflux and boto3.
            Config: As in messageflux and boto3; ignored here.

        Raises:
            S3NoSuchItem: There is no such object.
            S3ObjectChanged: The object was replaced during the download.
            BlockingIOError: The target is a raw file in non-blocking mode and takes no data now.

        Requests:
            1 GET
        """
        portal = await stream_portal(writable_stream, self._engine)
        is_awaited = is_async_writable(writable_stream)
        work = functools.partial(
            self._bucket.download_object,
            key,
            AsyncWritable(portal, writable_stream) if is_awaited else writable_stream,
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
        """Upload a file. Requests: as ``S3Bucket.upload_file``."""
        uploaded = await self._engine.run_stoppable(
            self._bucket.upload_file,
            path,
            key,
            file=path,
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
        """Download an object to a file. Requests: as ``S3Bucket.download_file``."""
        downloaded = await self._engine.run_stoppable(
            self._bucket.download_file,
            key,
            path,
            file=path,
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
        """Upload every file of a folder under a prefix. Requests: 1 upload per file."""
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
        """Download every object under a prefix into a folder. Requests: 1 per 1,000 keys, and 1 GET per object."""
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
        """Synchronize a prefix from a folder. Requests: as ``S3Bucket.sync_from_folder``."""
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
        """Synchronize a folder from a prefix. Requests: as ``S3Bucket.sync_to_folder``."""
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

        Arguments, errors and requests are those of ``S3Bucket.lock``. No request is made before the lock is awaited or entered.

        Requests:
            none; 1 GET and 1 PUT when awaited or entered (more while it waits)

        Example:
            >>> async def work(bucket):
            ...     async with bucket.lock("locks/nightly", owner="worker-7") as lock:
            ...         lock.check()
        """
        lock = StoppableLock(
            self._bucket._address.object(check_key(key, bucket=self.name)), ttl=ttl, owner=owner, data=data, wait=wait
        )
        return AsyncS3Lock(lock, self._engine)

    async def acquire_lock(self, key: str, data: Mapping[str, Any] | None = None) -> AsyncS3Object:
        """Create a lock file if there is none; if the task is cancelled, release the lock. Requests: 1 PUT, and 1 GET if it is held."""
        acquired = await Portal(self._engine).run(
            functools.partial(self._bucket.acquire_lock, key, data),
            alone=False,
            undo=lambda _: self._bucket.release_lock(key),
        )
        return AsyncS3Object(acquired, self._engine)

    release_lock = twin_of_write(S3Bucket.release_lock)
    """Release a lease, or delete any other lock file; idempotent. Requests: 1 GET, and 1 DELETE or 1 PUT."""

    check_lock = twin_of(S3Bucket.check_lock)
    """Return the data of a lock, or None if the lock is not held. Requests: 1 GET."""

    # -- queries

    def find(
        self,
        prefix: str | None = None,
        *,
        delimiter: str | None = None,
        glob: str | Iterable[str] | None = None,
        regex: str | re.Pattern[str] | None = None,
        start_after: str | None = None,
        modified_after: datetime | None = None,
        modified_before: datetime | None = None,
        min_size: int | None = None,
        max_size: int | None = None,
        limit: int | None = None,
        versions: bool = False,
    ) -> AsyncObjectQuery:
        """Return a query: ``async for obj in bucket.find(…)``. Requests: none; iterating: 1 per 1,000 keys."""
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
        """Return the "folders" directly under a prefix. Requests: 1 per 1,000 entries."""
        return await self._engine.run(self._bucket.list_common_prefixes, prefix, delimiter)

    def find_objects(
        self, prefix: str | None = None, delimiter: str | None = None, max_keys: int = 1000, **kwargs: Any
    ) -> AsyncIterator[AsyncS3Object]:
        """messageflux's name for ``find``. Requests: 1 per ``max_keys`` keys."""
        return _objects(self._engine, self._bucket.find_objects(prefix, delimiter, max_keys, **kwargs))

    def list_objects(self) -> AsyncIterator[AsyncS3Object]:
        """messageflux's name for ``find()``. Requests: 1 per 1,000 keys."""
        return _objects(self._engine, self._bucket.list_objects())

    show = twin_of(S3Bucket.show)
    """Return the bucket's settings and its first entries as a table. Requests: as ``S3Bucket.show``."""

    usage = twin_of(S3Bucket.usage)
    """Count the objects and bytes under a prefix. Requests: 1 per 1,000 keys."""

    set_lifetime_in_days = twin_of_write(S3Bucket.set_lifetime_in_days)
    """messageflux's name for ``lifecycle.set_lifetime``. Requests: as that method."""

    allow_public_access = twin_of_write(S3Bucket.allow_public_access)
    """messageflux's name for ``public_access.allow()``. Requests: as that method."""

    def __repr__(self) -> str:
        return f"Async{self._bucket!r}"


class AsyncObjectQuery(_Handle):
    """A lazy query over the objects of one bucket, created by ``bucket.find(…)``."""

    def __init__(self, query: ObjectQuery, engine: Engine) -> None:
        self._query = query
        self._engine = engine

    @property
    def _twin(self) -> ObjectQuery:
        return self._query

    @property
    def bucket(self) -> AsyncS3Bucket:
        """The bucket that is queried. Requests: none."""
        return AsyncS3Bucket(self._query.bucket, self._engine)

    def limit(self, n: int) -> AsyncObjectQuery:
        """Return the same query, limited to ``n`` objects. Requests: none."""
        return AsyncObjectQuery(self._query.limit(n), self._engine)

    def filter(self, predicate: Predicate) -> AsyncObjectQuery:
        """Return the same query, filtered by a plain function, called on a thread with the synchronous handle. Requests: none.

        A coroutine function is rejected with TypeError: use ``async for`` and ``if await …`` instead.
        """
        return AsyncObjectQuery(self._query.filter(predicate), self._engine)

    def sequential(self) -> AsyncObjectQuery:
        """Return the same query, listed page by page, as ``ObjectQuery.sequential``. Requests: none."""
        return AsyncObjectQuery(self._query.sequential(), self._engine)

    def __aiter__(self) -> AsyncIterator[AsyncS3Object]:
        return self.objects()

    async def objects(self) -> AsyncIterator[AsyncS3Object]:
        """Yield the objects, in key order. Requests: 1 per 1,000 keys."""
        async with aclosing(self._engine.pull(self._query.objects(), self._at_once(_OBJECTS_A_HOP))) as found:
            async for obj in found:
                yield AsyncS3Object(obj, self._engine)

    async def prefixes(self) -> AsyncIterator[str]:
        """Yield the common prefixes. Requests: 1 per 1,000 entries."""
        async with aclosing(self._engine.pull(self._query.prefixes(), self._at_once(_OBJECTS_A_HOP))) as found:
            async for prefix in found:
                yield prefix

    async def entries(self) -> AsyncIterator[AsyncS3Object | str]:
        """Yield objects and common prefixes, in key order; a prefix is a ``str``. Requests: 1 per 1,000 entries."""
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
        """Apply a function to every object concurrently: a coroutine function in tasks, a plain function on threads or an executor.

        Args:
            function: A coroutine function, which gets the async handle; or a plain function, which gets the synchronous one (on a thread),
                as for ``ObjectQuery.map``.
            executor: For a plain function only: any ``concurrent.futures.Executor``; None for up to 16 threads.
            ordered: Whether results come in key order, or as they are ready.
            on_error: What to do if the function raises: ``"raise"``; ``"skip"`` the object; or a callable that gets the object and the
                exception, and returns the result to use.
            in_flight: Maximum number of objects in progress, or done and not yet consumed; by default 16 tasks, or four per worker.

        Returns:
            The results, lazily. Leaving the loop early cancels the calls in progress.

        Requests:
            1 per 1,000 keys, and those of the function
        """
        if not is_coroutine_function(function):
            found = self._query.map(function, executor, ordered=ordered, on_error=on_error, in_flight=in_flight)
            return self._engine.pull(found, 1)
        if executor is not None:
            raise ValueError("executor must be None for a coroutine function, which runs in tasks of the event loop")
        pipeline.check_arguments(function, executor, on_error, in_flight)
        return _map_in_tasks(self.objects(), function, ordered, on_error, in_flight or _TASKS_A_MAP)

    async def partitions(self, n: int) -> list[AsyncObjectQuery]:
        """Split the query into several that together list the same objects. Requests: as ``ObjectQuery.partitions``."""
        return [AsyncObjectQuery(part, self._engine) for part in await self._engine.run(self._query.partitions, n)]

    def parallel(self, n: int = 4) -> AsyncIterator[AsyncS3Object]:
        """Yield the objects in key order, listed in ``n`` parallel parts. Requests: 1 per 1,000 keys, and those of ``partitions``."""
        return _objects(self._engine, self._query.parallel(n), self._at_once(_OBJECTS_A_HOP))

    async def prefetch(
        self, concurrency: int = batch.CONCURRENCY, max_bytes: int = batch.MAX_BYTES
    ) -> AsyncIterator[AsyncS3Object]:
        """Yield the objects with their bodies, read ahead. Requests: 1 per 1,000 keys, and 1 GET per object."""
        objects = self._query.prefetch(concurrency, max_bytes)
        async with aclosing(self._engine.pull(objects, self._at_once(_BODIES_A_HOP))) as found:
            async for obj in found:
                yield AsyncS3Object(obj, self._engine)

    async def first(self) -> AsyncS3Object | None:
        """Return the first object, or None. Requests: 1."""
        found = await self._engine.run(self._query.first)
        return None if found is None else AsyncS3Object(found, self._engine)

    async def count(self, *, progress: Progress = None) -> int:
        """Return the number of objects. Requests: 1 per 1,000 keys."""
        return await self._engine.run(self._query.count, progress=progress)

    async def total_size(self, *, progress: Progress = None) -> int:
        """Return the sum of the sizes. Requests: 1 per 1,000 keys."""
        return await self._engine.run(self._query.total_size, progress=progress)

    async def collect(self, *, progress: Progress = None) -> list[AsyncS3Object]:
        """Return all objects in a list. Requests: 1 per 1,000 keys."""
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

    show = twin_of(ObjectQuery.show)
    """Return the first entries as a table. Requests: 1 per 1,000 entries."""

    tree = twin_of(ObjectQuery.tree)
    """Return the keys as a tree of prefixes. Requests: 1 per expanded prefix."""

    browse = twin_of(ObjectQuery.browse)
    """Return a tree for a notebook that lists a prefix when it is opened. Requests: 1, and 1 per prefix that is opened."""

    usage = twin_of(ObjectQuery.usage)
    """Count objects and bytes by prefix and other properties. Requests: 1 per 1,000 keys."""

    to_pandas = twin_of(ObjectQuery.to_pandas)
    """Return the listing as a DataFrame. Requests: 1 per 1,000 keys."""

    to_arrow = twin_of(ObjectQuery.to_arrow)
    """Return the listing as an Arrow table. Requests: 1 per 1,000 keys."""

    async def arrow_batches(self, rows: int = tables.ROWS_PER_BATCH) -> AsyncIterator[pyarrow.RecordBatch]:
        """Yield the listing as Arrow record batches, listed lazily. Requests: 1 per 1,000 keys."""
        batches = iter(self._query.arrow_batches(rows))
        async with aclosing(self._engine.pull(batches, 1)) as found:
            async for batch_of_rows in found:
                yield batch_of_rows

    def _at_once(self, usual: int) -> int:
        criteria: Criteria = self._query._criteria
        return usual if not criteria.predicates else 1

    def __repr__(self) -> str:
        return f"<Async{repr(self._query)[1:]}"


class AsyncS3Object(_Value):
    """One object under asyncio, created by ``bucket.object(key)``, ``bucket[key]`` or a query."""

    def __init__(self, obj: S3Object, engine: Engine) -> None:
        self._object = obj
        self._engine = engine

    @property
    def _twin(self) -> S3Object:
        return self._object

    # -- identity: no request

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
        """The pinned version ID, else that of the last response. Requests: none."""
        return self._object.version_id

    @property
    def uri(self) -> str:
        """``s3://bucket/key``. Requests: none."""
        return self._object.uri

    @property
    def url(self) -> str:
        """The object's HTTP URL. Requests: none. An access before the first request builds boto3's client."""
        return self._object.url

    @property
    def fs_uri(self) -> str:
        """``mfs3://bucket/key``, for libraries that accept URLs. Requests: none."""
        return self._object.fs_uri

    @property
    def path(self) -> AsyncS3Path:
        """The key as a path, with the names of ``pathlib``. Requests: none."""
        return AsyncS3Path(self._object.path, self._engine)

    # -- attributes: available after load(), or from a listing

    @property
    def size(self) -> int:
        """The size in bytes, available after ``await load()``, a listing or a write. Requests: none."""
        self._check_known("size", listed=True)
        return self._object.size

    @property
    def etag(self) -> str:
        """The ETag without quotes, available after ``await load()``, a listing or a write. Requests: none."""
        listed = self._object._listed
        self._check_known("etag", listed=listed is None or bool(listed[2]))  # some stores list objects without ETags
        return self._object.etag

    @property
    def last_modified(self) -> datetime:
        """When the object was written, available after ``await load()`` or a listing. Requests: none."""
        self._check_known("last_modified", listed=True)
        return self._object.last_modified

    @property
    def storage_class(self) -> str:
        """The storage class, available after ``await load()`` or a listing. Requests: none."""
        self._check_known("storage_class", listed=True)
        return self._object.storage_class

    @property
    def metadata(self) -> dict[str, str]:
        """The user metadata, available after ``await load()``. Requests: none."""
        self._check_known("metadata")
        return self._object.metadata

    @property
    def content_type(self) -> str:
        """The content type, available after ``await load()``. Requests: none."""
        self._check_known("content_type")
        return self._object.content_type

    @property
    def content_encoding(self) -> str | None:
        """The content encoding, available after ``await load()``. Requests: none."""
        self._check_known("content_encoding")
        return self._object.content_encoding

    @property
    def content_language(self) -> str | None:
        """The content language, available after ``await load()``. Requests: none."""
        self._check_known("content_language", field="further")
        return self._object.content_language

    @property
    def content_disposition(self) -> str | None:
        """How a browser handles the object, available after ``await load()``. Requests: none."""
        self._check_known("content_disposition", field="further")
        return self._object.content_disposition

    @property
    def cache_control(self) -> str | None:
        """How long caches keep the object, available after ``await load()``. Requests: none."""
        self._check_known("cache_control", field="further")
        return self._object.cache_control

    @property
    def expires(self) -> datetime | None:
        """When caches drop the object, available after ``await load()``. Requests: none."""
        self._check_known("expires", field="further")
        return self._object.expires

    @property
    def encryption(self) -> str | None:
        """The server-side encryption, available after ``await load()``. Requests: none."""
        self._check_known("encryption", field="further")
        return self._object.encryption

    @property
    def kms_key_id(self) -> str | None:
        """The ID or ARN of the KMS key, available after ``await load()``. Requests: none."""
        self._check_known("kms_key_id", field="further")
        return self._object.kms_key_id

    @property
    def checksums(self) -> dict[str, str]:
        """The checksums that the store keeps, by algorithm, available after ``await load()``. Requests: none."""
        head = self._object._head
        if head is None or head.checksums is None:
            raise RuntimeError(f"checksums of {self.uri} are not loaded: call await obj.load() first")
        return self._object.checksums

    @property
    def body(self) -> bytes:
        """The content, available after ``await load()`` if not above 8 MiB; ``await read()`` returns any size. Requests: none."""
        if self._object._body is None:
            raise RuntimeError(
                f"the body of {self.uri} is not loaded: await obj.load() loads up to 8 MiB, await obj.read() returns any size"
            )
        return self._object.body

    @property
    def text(self) -> str:
        """The content as UTF-8 text, available after ``await load()``. Requests: none."""
        return as_text(self.body, self.bucket_name, self.key)

    def _check_known(self, name: str, *, listed: bool = False, field: str = "") -> None:
        """Raise unless an attribute is known. Pass ``field`` if the field of the head that holds it has another name."""
        obj = self._object
        head = obj._head
        if (listed and obj._listed is not None) or (head is not None and getattr(head, field or name) is not None):
            return
        if (
            head is not None and head.content_type is not None
        ):  # the object was requested, but the response lacked this attribute
            raise S3ServerError(
                f"the store's response lacks the {name} of {self.uri}", bucket=obj.bucket_name, key=obj.key
            )
        raise RuntimeError(f"{name} of {self.uri} is not loaded: call await obj.load() first")

    async def load(self) -> AsyncS3Object:
        """Load the object: the attributes, and the body unless it is above 8 MiB.

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
        """Return whether the object exists now. Requests: 1 HEAD."""
        return await self._engine.perform(self._object._exists_steps())

    def reload(self) -> AsyncS3Object:
        """Clear the cached attributes and body. Requests: none."""
        self._object.reload()
        return self

    async def read(self) -> bytes:
        """Return the whole content, of any size. A body above 8 MiB is not cached.

        Raises:
            S3NoSuchItem: There is no such object.
            S3ObjectChanged: The object was replaced since this handle last read it.

        Requests:
            1 GET, unless the body is cached
        """
        obj = self._object
        if obj._body is not None:  # or the error with which a batch has read it
            return obj.body
        if (
            obj._size_if_known or 0
        ) > operations.MAX_CACHED_BODY:  # on a thread: such a body would hold up the event loop
            body = cast(bytes, await self._engine.run(getattr, obj, "body"))
        else:
            body = cast(bytes, await self._engine.perform(obj._body_steps()))
        if len(body) > operations.MAX_CACHED_BODY:
            obj._body = None
        return body

    async def json(self) -> Any:
        """Parse the content, of any size, as JSON, in the event loop: ``json`` does not release the GIL, so a thread would block it too.

        Raises:
            S3ObjectChanged: The object was replaced since this handle last read it.
            S3InvalidContent: The content is not JSON. Also a ValueError.

        Requests:
            1 GET, unless the body is cached
        """
        body = self._object._body
        if body is None:
            body = await self._engine.perform(self._object._body_steps())
        return as_json(body if isinstance(body, bytes) else self.body, self.bucket_name, self.key)

    async def read_range(self, start: int, end: int | None = None) -> bytes:
        """Return a range of the content; arguments as for a slice. Requests: 1 GET."""
        return await self._engine.perform(self._object._range_steps(start, end))

    async def iter_chunks(
        self, chunk_size: int = 1024 * 1024, start: int = 0, end: int | None = None
    ) -> AsyncIterator[bytes]:
        """Yield the content in chunks, in bounded memory whatever its size. Requests: 1 GET."""
        async with aclosing(self._engine.pull(self._object.iter_chunks(chunk_size, start, end), 1)) as found:
            async for chunk in found:
                yield chunk

    async def iter_lines(self) -> AsyncIterator[bytes]:
        """Yield the lines of the content. Requests: 1 GET."""
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
        if_match: str | None = None,
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
        if_match: str | None = None,
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
        if_match: str | None = None,
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
        if_match: str | None = None,
        **extra: Unpack[PutParameters],
    ) -> AsyncObjectFile[Any]:
        """Open the object as a file: ``async with obj.open("wb") as file: await file.write(…)``.

        Arguments, errors and requests are those of ``S3Object.open``; no request is made before the file is awaited or entered. The object
        is written as a whole at the end of the block, and not at all if the block raises or is cancelled.

        Requests:
            none; those of ``S3Object.open`` when awaited or entered

        Example:
            >>> async def copy(source, target):
            ...     async with source.open("rb") as file, target.open("wb") as copied:
            ...         while piece := await file.read(1024 * 1024):
            ...             await copied.write(piece)
        """
        opening = functools.partial(
            self._object.open, mode, buffering, encoding, errors, newline, metadata=metadata, if_match=if_match, **extra
        )
        return AsyncObjectFile(opening, self._engine)

    async def put(
        self,
        data: Body | AsyncSource,
        metadata: Mapping[str, str] | None = None,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
        **extra: Unpack[PutParameters],
    ) -> AsyncS3Object:
        """Write the object, replacing its content. Requests: 1 PUT; for a readable or an async source those of ``upload_object``."""
        if hasattr(data, "read") or is_async_source(data):
            written = await self.bucket.put_object(
                self.key, data, metadata, if_absent=if_absent, if_match=if_match, **extra
            )
            self._object._apply_write((cast(Head, written._object._head), None))
            return self
        steps = self._object._put_steps(cast("Body", data), metadata, if_absent=if_absent, if_match=if_match, **extra)
        await self._engine.perform(steps)
        return self

    async def delete(self, *, if_match: str | None = None) -> None:
        """Delete the object. Requests: 1 DELETE."""
        await self._engine.perform(self._object._delete_steps(if_match))

    async def update(self, function: Callable[[bytes | None], bytes | str | Awaitable[bytes | str]]) -> AsyncS3Object:
        """Read, modify and write the object under If-Match; retry on a concurrent write. Metadata and tags are kept.

        On AWS, tags and object lock are kept only if the credentials may read them (``s3:GetObjectTagging``, ``s3:GetObjectRetention``,
        ``s3:GetObjectLegalHold``): without these permissions, S3 does not tell that the object has any.

        Args:
            function: Takes the content (None if there is no such object) and returns the new content, or an awaitable of it. A coroutine
                function runs in the calling task, a plain function on a thread. It may be called several times.

        Returns:
            The handle itself, with the attributes of the written object cached. A handle for a version still describes that version.

        Raises:
            S3PreconditionFailed: Fifty attempts failed because of concurrent writes. With ``outcome_unknown`` set: a response was lost, and
                the object may have been written.
            S3Unsupported: The store does not honour conditions; nothing was written.

        Requests:
            as ``S3Object.update``
        """
        await self._engine.perform(self._object._update_steps(function))
        return self

    async def set_metadata(
        self,
        metadata: Mapping[str, str] | None = None,
        *,
        if_match: str | None = None,
        **extra: Unpack[PutParameters],
    ) -> AsyncS3Object:
        """Replace the user metadata, and other attributes if given; the rest is kept. Requests: as ``S3Object.set_metadata``."""
        await self._engine.run_write(self._object.set_metadata, metadata, if_match=if_match, **extra)
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
        """Copy the object on the server. Requests: as ``S3Object.copy_to``."""
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
        """Copy the object on the server, then delete the source. Requests: as ``S3Object.move_to``."""
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
        """Download the content, or a range of it, to a file. Requests: as ``S3Object.download_to``."""
        downloaded = await self._engine.run_stoppable(
            self._object.download_to,
            path,
            file=path,
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
        response_cache_control: str | None = None,
        response_content_encoding: str | None = None,
        response_content_language: str | None = None,
        response_expires: datetime | str | None = None,
        content_type: str | None = None,
    ) -> str:
        """Return a presigned URL for one method on this object. Requests: none (on AWS 1 HEAD per bucket, for its region)."""
        return await self._engine.run(
            self._object.presigned_url,
            method,
            expires_in,
            response_content_disposition=response_content_disposition,
            response_content_type=response_content_type,
            response_cache_control=response_cache_control,
            response_content_encoding=response_content_encoding,
            response_content_language=response_content_language,
            response_expires=response_expires,
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
        """Return a presigned POST form for uploads from a browser. Requests: none (on AWS 1 HEAD per bucket, for its region)."""
        return await self._engine.run(
            self._object.presigned_post,
            expires_in,
            content_type=content_type,
            min_size=min_size,
            max_size=max_size,
            fields=fields,
            conditions=conditions,
        )

    async def presigned_parts(
        self,
        count: int,
        expires_in: int | timedelta = 3600,
        metadata: Mapping[str, str] | None = None,
        *,
        upload_id: str | None = None,
        **extra: Unpack[PutParameters],
    ) -> AsyncPresignedParts:
        """Begin an upload whose parts others send through presigned URLs. Requests: as ``S3Object.presigned_parts``."""
        begun = await self._engine.run(
            self._object.presigned_parts, count, expires_in, metadata, upload_id=upload_id, **extra
        )
        return AsyncPresignedParts(begun, self._engine)

    preview = twin_of(S3Object.preview)
    """Preview the object's beginning as a table, text or image. Requests: as ``S3Object.preview``."""

    # -- tags and versions

    @property
    def tags(self) -> AsyncObjectTags:
        """The object's tags. Requests: none; all its methods are coroutines."""
        return AsyncObjectTags(self._object.tags, self._engine)

    @property
    def annotations(self) -> AsyncObjectAnnotations:
        """The object's annotations, on Amazon S3 only. Requests: none; all its methods are coroutines."""
        return AsyncObjectAnnotations(self._object.annotations, self._engine)

    def versions(self) -> AsyncIterator[AsyncS3Object]:
        """Yield the versions of the object, newest first. Requests: 1 per 1,000 versions."""
        return _objects(self._engine, self._object.versions())

    async def make_current(self) -> AsyncS3Object:
        """Make this version the current one, by a copy on the server. Requests: 1 HEAD, 1 COPY (more above 5 GiB)."""
        return AsyncS3Object(await self._engine.run(self._object.make_current), self._engine)

    restore = twin_of_write(S3Object.restore)
    """Ask the store to restore this archived object. Requests: as ``S3Object.restore``."""

    undelete = twin_of_write(S3Object.undelete)
    """Remove the delete markers that hide the object. Requests: 1, and 2 for each of the topmost delete markers."""

    def __repr__(self) -> str:
        return f"Async{self._object!r}"


@total_ordering
class AsyncS3Path(_Value):
    """A key as a path under asyncio, created by ``bucket.path(key)`` and ``obj.path``: the async counterpart of ``S3Path``."""

    def __init__(self, path: S3Path, engine: Engine) -> None:
        self._path = path
        self._engine = engine

    @property
    def _twin(self) -> S3Path:
        return self._path

    # -- names: no request

    @property
    def bucket(self) -> AsyncS3Bucket:
        """The bucket's handle. Requests: none."""
        return AsyncS3Bucket(self._path.bucket, self._engine)

    @property
    def key(self) -> str:
        """The key; empty for the root. Requests: none."""
        return self._path.key

    @property
    def object(self) -> AsyncS3Object:
        """A new handle for the object with this key. Requests: none."""
        return AsyncS3Object(self._path.object, self._engine)

    @property
    def uri(self) -> str:
        """``s3://bucket/key``. Requests: none."""
        return self._path.uri

    @property
    def name(self) -> str:
        """The last part of the key; empty for the root. Requests: none."""
        return self._path.name

    @property
    def stem(self) -> str:
        """The name without its suffix. Requests: none."""
        return self._path.stem

    @property
    def suffix(self) -> str:
        """The last suffix of the name. Requests: none."""
        return self._path.suffix

    @property
    def suffixes(self) -> list[str]:
        """All suffixes of the name. Requests: none."""
        return self._path.suffixes

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of the key between its slashes. Requests: none."""
        return self._path.parts

    @property
    def parent(self) -> AsyncS3Path:
        """The folder of this path; the root is its own parent. Requests: none."""
        return self._with(self._path.parent)

    @property
    def parents(self) -> tuple[AsyncS3Path, ...]:
        """The folders of this path, the nearest first and the root last. Requests: none."""
        return tuple(self._with(path) for path in self._path.parents)

    def joinpath(self, *segments: str | PurePosixPath) -> AsyncS3Path:
        """Return the path below this one. Requests: none."""
        return self._with(self._path.joinpath(*segments))

    def __truediv__(self, segment: str | PurePosixPath) -> AsyncS3Path:
        """``path / "a"``: the path below this one. Requests: none."""
        return self.joinpath(segment) if isinstance(segment, (str, PurePosixPath)) else NotImplemented

    def with_name(self, name: str) -> AsyncS3Path:
        """Return the path with another name in the same folder. Requests: none."""
        return self._with(self._path.with_name(name))

    def with_stem(self, stem: str) -> AsyncS3Path:
        """Return the path with another stem and the same suffix. Requests: none."""
        return self._with(self._path.with_stem(stem))

    def with_suffix(self, suffix: str) -> AsyncS3Path:
        """Return the path with another suffix. Requests: none."""
        return self._with(self._path.with_suffix(suffix))

    def relative_to(self, other: AsyncS3Path | S3Path) -> PurePosixPath:
        """Return this path relative to a folder above it. Requests: none."""
        return self._path.relative_to(_sync_handle(other))

    def is_relative_to(self, other: AsyncS3Path | S3Path) -> bool:
        """Return whether this path is ``other`` or is below it. Requests: none."""
        return self._path.is_relative_to(_sync_handle(other))

    # -- requests

    exists = twin_of(S3Path.exists)
    """Return whether there is an object or a folder with this name. Requests: as ``S3Path.exists``."""

    is_file = twin_of(S3Path.is_file)
    """Return whether there is an object with this key. Requests: 1 HEAD."""

    is_dir = twin_of(S3Path.is_dir)
    """Return whether a key begins with this name and a slash. Requests: 1."""

    read_bytes = twin_of(S3Path.read_bytes)
    """Return the content. Requests: 1 GET."""

    read_text = twin_of(S3Path.read_text)
    """Return the content as text. Requests: 1 GET."""

    write_bytes = twin_of_write(S3Path.write_bytes)
    """Write the object, and return the number of bytes. Requests: 1 PUT."""

    write_text = twin_of_write(S3Path.write_text)
    """Write the object as text, and return the number of characters. Requests: 1 PUT."""

    unlink = twin_of_write(S3Path.unlink)
    """Delete the object. Requests: as ``S3Path.unlink``."""

    def iterdir(self) -> AsyncIterator[AsyncS3Path]:
        """Yield the objects and folders directly in this folder. Requests: 1 per 1,000 entries."""
        return self._paths(self._path.iterdir())

    def glob(self, pattern: str) -> AsyncIterator[AsyncS3Path]:
        """Yield the objects and folders that match a pattern. Requests: as ``S3Path.glob``."""
        return self._paths(self._path.glob(pattern))

    def rglob(self, pattern: str) -> AsyncIterator[AsyncS3Path]:
        """Yield the objects and folders at any depth that match a pattern. Requests: 1 per 1,000 keys below the folder."""
        return self._paths(self._path.rglob(pattern))

    def open(
        self,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> AsyncObjectFile[Any]:
        """Open the object as a file, as text by default: ``async with path.open() as file``. Requests: those of ``S3Object.open``."""
        return self.object.open(mode, buffering, encoding, errors, newline)

    async def _paths(self, source: Iterator[S3Path]) -> AsyncIterator[AsyncS3Path]:
        async with aclosing(self._engine.pull(source, _OBJECTS_A_HOP)) as found:
            async for path in found:
                yield self._with(path)

    def _with(self, path: S3Path) -> AsyncS3Path:
        return AsyncS3Path(path, self._engine)

    def __lt__(self, other: AsyncS3Path) -> bool:
        return self._path < other._path if isinstance(other, AsyncS3Path) else NotImplemented

    def __fspath__(self) -> NoReturn:
        """Raise TypeError: a path in a bucket is not a local file. Requests: none."""
        self._path.__fspath__()

    def __str__(self) -> str:
        return self.uri

    def __repr__(self) -> str:
        return f"Async{self._path!r}"


def _load_bucket(bucket: S3Bucket) -> None:
    _ = bucket.region
    with suppress(S3AccessDenied):
        _ = bucket.creation_date


def _sync_keys(keys: Any, portal: Portal | None) -> Any:
    """Convert keys and handles for the synchronous class. A single key is passed on, so that the synchronous class rejects it."""
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
    """Run a coroutine function over objects in a bounded number of tasks, which are cancelled when the iteration ends."""
    under_way: dict[asyncio.Task[Any], AsyncS3Object] = {}  # in the order in which the tasks were started
    source = cast("AsyncGenerator[AsyncS3Object, None]", objects)
    is_at_end = False
    try:
        while True:
            while not is_at_end and len(under_way) < in_flight:
                obj = await next_item(source)
                if is_at_end := obj is END:
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
