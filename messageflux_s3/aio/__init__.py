"""The asyncio API: AsyncS3Store, AsyncS3Bucket, AsyncS3Object.

Operations on one object (get, head, put, delete) are the generators of the synchronous classes, run by an async driver; for everything
else the synchronous method is called on a thread pool. Names, parameters and errors are the same, and tests compare them. Properties never
send a request: ``await obj.load()`` does, and until then, attributes that are not cached raise an error.

Methods that take bytes, keys or items also accept async iterators and objects with an async ``read()``. These are read piece by piece in
the task that awaits the method, as the thread requests them.

A cancelled task raises ``CancelledError``. A cancelled upload or download of a stream, a file or a folder is stopped: no parts and no
partial object are left behind, and an existing file is unchanged. The cancelled task waits up to 5 seconds for this cleanup; if it
takes longer, it is finished on its thread. A batch whose keys or items come from an async iterable or a generator ends before the next
item; other batches, and copies, are completed on their threads; a conditional write completes only the request in progress.

``store.close()`` waits for all these threads, with one exception: when the cancelled task has ended, its thread may still be blocked in
the user's synchronous source, such as a FIFO that nothing writes to. That thread is a daemon, and ends when the source continues.
"""

from .files import AsyncObjectFile
from .handles import AsyncObjectQuery, AsyncS3Bucket, AsyncS3Object, AsyncS3Path, AsyncS3Store, async_connect
from .locks import AsyncS3Lock
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
from .twins import AsyncChange

__all__ = [
    "AsyncBucketEncryption",
    "AsyncChange",
    "AsyncCors",
    "AsyncLifecycle",
    "AsyncNotifications",
    "AsyncObjectAnnotations",
    "AsyncObjectFile",
    "AsyncObjectQuery",
    "AsyncObjectTags",
    "AsyncPolicy",
    "AsyncPresignedParts",
    "AsyncPublicAccess",
    "AsyncS3Bucket",
    "AsyncS3Lock",
    "AsyncS3Object",
    "AsyncS3Path",
    "AsyncS3Store",
    "AsyncSyncPlan",
    "AsyncTags",
    "AsyncVersioning",
    "async_connect",
]
