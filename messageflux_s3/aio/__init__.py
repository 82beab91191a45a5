"""The asyncio API: AsyncS3Store, AsyncS3Bucket, AsyncS3Object.

Operations on one object (get, head, put, delete) are the generators of the synchronous classes, run by an async driver; everything else
runs as the synchronous method on a thread pool. Names, parameters and errors are the same, and tests compare them. Properties never
send a request: ``await obj.load()`` does, and before it, attributes that are not cached raise an error.

Methods that take bytes, keys or items also accept async iterators and objects with an async ``read()``. These are read piece by piece in
the task that awaits the method, as the thread requests them.

A cancelled task raises ``CancelledError``. A cancelled upload or download of a stream, a file or a folder is stopped: no parts and no
partial object are left behind, and an existing file is unchanged. The cancelled task waits up to 5 seconds for that; longer cleanup
finishes on its thread. A batch whose keys or items come from an async iterable or a generator ends before the next one; other batches and
copies in progress are completed on their threads; of a conditional write, only the request in progress is completed. ``store.close()``
waits for all, except for a thread that is blocked in a synchronous source of the user's, such as a FIFO that nothing writes to, when its
cancelled task has ended: that thread is a daemon, and stops if the source goes on.
"""

from .files import AsyncObjectFile
from .handles import AsyncObjectQuery, AsyncS3Bucket, AsyncS3Object, AsyncS3Store, async_connect
from .locks import AsyncS3Lock
from .plans import AsyncSyncPlan
from .subresources import (
    AsyncBucketEncryption,
    AsyncCors,
    AsyncLifecycle,
    AsyncNotifications,
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
    "AsyncObjectFile",
    "AsyncObjectQuery",
    "AsyncObjectTags",
    "AsyncPolicy",
    "AsyncPublicAccess",
    "AsyncS3Bucket",
    "AsyncS3Lock",
    "AsyncS3Object",
    "AsyncS3Store",
    "AsyncSyncPlan",
    "AsyncTags",
    "AsyncVersioning",
    "async_connect",
]
