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
