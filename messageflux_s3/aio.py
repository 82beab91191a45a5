"""The same objects under asyncio: AsyncS3Store, AsyncS3Bucket, AsyncS3Object.

Thin on purpose. Reading, writing, asking about and deleting one object run on the fast lane's own protocol in the event loop; whatever the
lane leaves, and every verb that is about more than one small request, runs as its twin in the synchronous face on a few threads. Names,
parameters and errors are those of the synchronous face, and a test holds them together. Attributes are properties that never make a
request: ``await obj.load()`` asks, and before that they say so.
"""

from __future__ import annotations

import asyncio
import json as json_module
import os
import re
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from datetime import datetime, timedelta
from itertools import islice
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from ._bulk.progress import Progress
from ._client.config import CONNECT_TIMEOUT, MAX_ATTEMPTS, MAX_CONCURRENCY, READ_TIMEOUT, S3Config
from ._formats import metadata as user_metadata
from ._formats.decoding import as_json, as_text
from ._formats.head import Head
from ._formats.keys import check_key
from ._http.async_lane import AsyncLane
from ._http.lane import LaneRequest, LaneStatus
from ._objects import operations, put_parameters, ranged_reader
from ._objects.bodies import check_body
from .errors import S3ServerError
from .object import S3Object
from .query import Criteria, ObjectQuery, Predicate
from .store import S3Store

if TYPE_CHECKING:
    import boto3
    from typing_extensions import Self, Unpack

    from ._bulk.batch import BatchResult
    from ._client.capabilities import Preset
    from ._client.config import AddressingStyle, CredentialsFunction
    from ._client.connection import Connection
    from ._objects.bodies import Body, Data
    from ._objects.put_parameters import PutParameters
    from .bucket import S3Bucket

Result = TypeVar("Result")

_OBJECTS_A_HOP = 256
_BODIES_A_HOP = 16


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
    """What the handles of one store share: a lane for each event loop, and a few threads."""

    def __init__(self, store: S3Store) -> None:
        self.connection: Connection = store._connection
        self._lanes: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncLane] = weakref.WeakKeyDictionary()
        self._threads: ThreadPoolExecutor | None = None
        self._open_sources: set[Callable[[], None]] = set()
        self._lock = Lock()  # loops may run on several threads
        self._pid = os.getpid()

    @property
    def lane(self) -> AsyncLane:
        loop = asyncio.get_running_loop()
        lane = self._lanes.get(loop)
        if lane is None or self._pid != os.getpid():
            self._forget_after_fork()
            with self._lock:
                # A lane holds its loop: what an ended loop left open is closed now.
                for ended in [other for other in self._lanes if other.is_closed()]:
                    self._lanes.pop(ended).forget()
                connection = self.connection
                lane = self._lanes[loop] = AsyncLane(lambda: connection.started_lane, lambda: connection.lane)
        return lane

    async def run(self, function: Callable[..., Result], *arguments: Any, **named: Any) -> Result:
        """Call something on a thread; no more of them than the connection's ``max_concurrency``."""
        self._forget_after_fork()
        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(
                    self.connection.config.max_concurrency, thread_name_prefix="messageflux-s3-aio"
                )
            threads = self._threads
        return await asyncio.get_running_loop().run_in_executor(threads, lambda: function(*arguments, **named))

    def _forget_after_fork(self) -> None:
        """In a forked child the threads and the loops are the parent's: whoever waited for them would wait for ever."""
        if self._pid != os.getpid():
            self._pid, self._lock, self._threads = os.getpid(), Lock(), None
            self._lanes = weakref.WeakKeyDictionary()
            self._open_sources = set()

    async def run_through_boto3(self, function: Callable[..., Result], *arguments: Any, **named: Any) -> Result:
        """Call something on a thread that the lane has had its try at already."""

        def call() -> Result:
            with self.connection.lane.left_aside():
                return function(*arguments, **named)

        return await self.run(call)

    async def pull(self, source: Iterator[Result], at_once: int) -> AsyncGenerator[Result, None]:
        """Go through a synchronous iterator, advanced on a thread, several items a hop."""
        lock = Lock()  # a cancelled hop may still be running when the iterator is closed

        def take() -> list[Result]:
            with lock:
                return [*islice(source, at_once)]

        def close() -> None:
            with lock:
                getattr(source, "close", lambda: None)()

        self._open_sources.add(close)
        try:
            while items := await self.run(take):
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
            lanes, self._lanes = dict(self._lanes), weakref.WeakKeyDictionary()
            threads, self._threads = self._threads, None
        for loop, lane in lanes.items():
            if loop is asyncio.get_running_loop():
                lane.close()
            elif loop.is_closed():
                lane.forget()
            else:  # another thread's
                loop.call_soon_threadsafe(lane.close)
        if threads is not None:
            await asyncio.to_thread(threads.shutdown)


class AsyncS3Store:
    """A store under asyncio. Comes from :func:`async_connect`, or around an S3Store.

    A cancelled task raises ``CancelledError`` at once. Work that it began on a thread (uploads, downloads, batches, copies, conditional
    writes) runs on to its end all the same; ``close()`` waits for it.

    Args:
        store: The synchronous store; it can be used beside this one.
    """

    def __init__(self, store: S3Store) -> None:
        self._store = store
        self._engine = _Engine(store)

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
    def name(self) -> str:
        """The bucket's name. Requests: none."""
        return self._bucket.name

    def object(self, key: str, version_id: str | None = None) -> AsyncS3Object:
        """A handle on an object. Requests: none."""
        return AsyncS3Object(self._bucket.object(key, version_id), self._engine)

    def __getitem__(self, key: str) -> AsyncS3Object:
        return self.object(key)

    async def exists(self) -> bool:
        """Ask whether the bucket is there. Requests: 1 HEAD."""
        return await self._engine.run(self._bucket.exists)

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
        """Write an object. Requests: 1 PUT."""
        check_key(key, bucket=self.name)
        check_body(buf, "buf")
        if not hasattr(buf, "read") and not if_absent and if_match is None:
            body = operations.body_bytes(buf, "buf")
            encoded = user_metadata.encode(metadata)
            request = operations.put_request(self.name, key, body, encoded, put_parameters.s3_parameters(key, extra))
            answered = await self._engine.lane.send(request) if request is not None else None
            if request is not None and answered is not None:
                head = operations.head_of_put(self._engine.connection, answered, request, encoded)
                if head is not None:
                    return AsyncS3Object(S3Object._of(self._bucket, key, head=head), self._engine)
        written = await self._engine.run_through_boto3(
            self._bucket.put_object, key, buf, metadata, if_absent=if_absent, if_match=if_match, **extra
        )
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

    async def get_objects(self, keys: Iterable[str | S3Object]) -> AsyncIterator[AsyncS3Object]:
        """Get many objects, in the order asked. Requests: 1 GET per object."""
        async with aclosing(self._engine.pull(self._bucket.get_objects(keys), _BODIES_A_HOP)) as found:
            async for obj in found:
                yield AsyncS3Object(obj, self._engine)

    async def put_objects(
        self,
        items: Iterable[tuple[str, Data] | tuple[str, Data, Mapping[str, str] | None]],
        *,
        raise_errors: bool = True,
        progress: Progress = None,
        **extra: Unpack[PutParameters],
    ) -> BatchResult:
        """Write many objects. Requests: 1 PUT per object."""
        return await self._engine.run(
            self._bucket.put_objects, items, raise_errors=raise_errors, progress=progress, **extra
        )

    async def delete_objects(
        self, keys: Iterable[str | S3Object], *, raise_errors: bool = True, progress: Progress = None
    ) -> BatchResult:
        """Delete many objects. Requests: 1 per 1,000 keys."""
        return await self._engine.run(self._bucket.delete_objects, keys, raise_errors=raise_errors, progress=progress)

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
        uploaded = await self._engine.run(
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
        downloaded = await self._engine.run(
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

    def __repr__(self) -> str:
        return f"Async{self._bucket!r}"


class AsyncObjectQuery:
    """Objects of one bucket, found lazily. Comes from ``bucket.find(…)``."""

    def __init__(self, query: ObjectQuery, engine: _Engine) -> None:
        self._query = query
        self._engine = engine

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

    # -- who it is: no request

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
        """The content. Requests: none; after ``await load()``, up to 8 MiB (``iter_chunks`` reads any size)."""
        if self._object._body is None:
            raise RuntimeError(
                f"the body of {self.uri} is not here: await obj.load() brings up to 8 MiB, iter_chunks() any size"
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
        obj = self._object
        request = LaneRequest("GET", obj.bucket_name, obj.key, operations.version_query(obj._version_id))
        answered = await self._engine.lane.send(request) if obj._pinned_etag is None else None
        if answered is None:
            await self._engine.run_through_boto3(obj._fetch)
        elif answered.status == 404:
            raise operations.lane_error(answered, "GetObject", obj.bucket_name, obj.key)
        else:
            found = operations.head_and_body(answered)
            ranged_reader.check_version(obj._bucket._connection, found[0], obj.bucket_name, obj.key, obj._version_id)
            obj._got(found)
        return self

    async def exists(self) -> bool:
        """Ask whether the object is there, now. Requests: 1 HEAD."""
        obj = self._object
        request = LaneRequest("HEAD", obj.bucket_name, obj.key, operations.version_query(obj._version_id))
        answered = await self._engine.lane.send(request)
        if answered is None or answered.status == 404:
            # boto3 tells a missing object from a missing bucket
            return await self._engine.run_through_boto3(obj.exists) if answered is None else False
        found = Head.from_headers(answered.headers)
        ranged_reader.check_version(obj._bucket._connection, found, obj.bucket_name, obj.key, obj._version_id)
        obj.reload()._head = found
        return True

    def reload(self) -> AsyncS3Object:
        """Forget what is known. Requests: none."""
        self._object.reload()
        return self

    async def json(self) -> Any:
        """The content as JSON, of any size. Requests: 1 GET, unless it is here (above 8 MiB also those of ``body``)."""
        if self._object._body is None:
            await self.load()
        body = self._object._body
        if body is None:  # larger than load() keeps: read under If-Match of what load() has seen
            body = await self._engine.run(lambda: self._object.body)
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

    async def put(
        self,
        data: Body,
        metadata: Mapping[str, str] | None = None,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
        **extra: Unpack[PutParameters],
    ) -> AsyncS3Object:
        """Write the object anew. Requests: 1 PUT."""
        await self._engine.run(self._object.put, data, metadata, if_absent=if_absent, if_match=if_match, **extra)
        return self

    async def delete(self, *, if_match: str | None = None) -> None:
        """Delete the object. Requests: 1 DELETE."""
        obj = self._object
        request = LaneRequest("DELETE", obj.bucket_name, obj.key, operations.version_query(obj._version_id))
        answered = await self._engine.lane.send(request) if if_match is None else None
        if answered is None or answered.status == 404:
            await self._engine.run_through_boto3(obj.delete, if_match=if_match)
        obj.reload()

    async def copy_to(
        self,
        target: str | S3Object,
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
            target,
            metadata=metadata,
            if_absent=if_absent,
            if_match=if_match,
            part_size_bytes=part_size_bytes,
            **extra,
        )
        return AsyncS3Object(copied, self._engine)

    async def move_to(
        self, target: str | S3Object, *, metadata: Mapping[str, str] | None = None, **extra: Unpack[PutParameters]
    ) -> AsyncS3Object:
        """Copy the object on the server and delete it here. Requests: as the synchronous face."""
        moved = await self._engine.run(self._object.move_to, target, metadata=metadata, **extra)
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
        downloaded = await self._engine.run(
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

    def __repr__(self) -> str:
        return f"Async{self._object!r}"
