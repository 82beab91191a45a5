"""S3 as Python objects: lazy handles on buckets and objects, on boto3.

A handle is free, a property costs at most one request and remembers it, a method says what it costs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import (
    Failure,
    S3AccessDenied,
    S3AuthenticationError,
    S3BatchError,
    S3BucketException,
    S3BucketExists,
    S3BucketNotEmpty,
    S3ChecksumError,
    S3ConnectionError,
    S3Error,
    S3InvalidContent,
    S3InvalidName,
    S3LockError,
    S3NoSuchBucket,
    S3NoSuchItem,
    S3NotInitializedError,
    S3ObjectArchived,
    S3ObjectChanged,
    S3ObjectExists,
    S3PreconditionFailed,
    S3ServerError,
    S3Throttled,
    S3Unsupported,
)

if TYPE_CHECKING:
    from .aio import AsyncObjectQuery, AsyncS3Bucket, AsyncS3Object, AsyncS3Store, async_connect
    from .batch import BatchResult
    from .bucket import S3Bucket
    from .capabilities import Capabilities
    from .claim_check import ClaimCheck
    from .config import S3Config
    from .events import ObjectEvent, parse_event
    from .keys import BUCKET_NAME_VALIDATOR
    from .local import LocalS3
    from .lock import S3Lock
    from .message_store import S3MessageStore, S3UploadMessageStore
    from .object import S3Object
    from .pointers import Pointer, make_pointer, parse_pointer
    from .query import ObjectQuery
    from .store import S3Store, connect, default_store, initialize, is_initialized
    from .subresources.cors import CorsRule
    from .subresources.lifecycle import LifecycleRule
    from .subresources.notifications import Notification
    from .sync import SyncPlan

__version__ = "0.1.0"

# The room of each name. A room opens when one of its names is first used: whoever wants the errors or an event does not wait for boto3.
_ROOMS = {
    "aio": ("AsyncObjectQuery", "AsyncS3Bucket", "AsyncS3Object", "AsyncS3Store", "async_connect"),
    "batch": ("BatchResult",),
    "bucket": ("S3Bucket",),
    "capabilities": ("Capabilities",),
    "claim_check": ("ClaimCheck",),
    "config": ("S3Config",),
    "events": ("ObjectEvent", "parse_event"),
    "keys": ("BUCKET_NAME_VALIDATOR",),
    "local": ("LocalS3",),
    "lock": ("S3Lock",),
    "message_store": ("S3MessageStore", "S3UploadMessageStore"),
    "object": ("S3Object",),
    "pointers": ("Pointer", "make_pointer", "parse_pointer"),
    "query": ("ObjectQuery",),
    "store": ("S3Store", "connect", "default_store", "initialize", "is_initialized"),
    "subresources.cors": ("CorsRule",),
    "subresources.lifecycle": ("LifecycleRule",),
    "subresources.notifications": ("Notification",),
    "sync": ("SyncPlan",),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = [  # noqa: RUF022 (plainly sorted, as sorted() does)
    "AsyncObjectQuery",
    "AsyncS3Bucket",
    "AsyncS3Object",
    "AsyncS3Store",
    "BUCKET_NAME_VALIDATOR",
    "BatchResult",
    "Capabilities",
    "ClaimCheck",
    "CorsRule",
    "Failure",
    "LifecycleRule",
    "LocalS3",
    "Notification",
    "ObjectEvent",
    "ObjectQuery",
    "Pointer",
    "S3AccessDenied",
    "S3AuthenticationError",
    "S3BatchError",
    "S3Bucket",
    "S3BucketException",
    "S3BucketExists",
    "S3BucketNotEmpty",
    "S3ChecksumError",
    "S3Config",
    "S3ConnectionError",
    "S3Error",
    "S3InvalidContent",
    "S3InvalidName",
    "S3Lock",
    "S3LockError",
    "S3MessageStore",
    "S3NoSuchBucket",
    "S3NoSuchItem",
    "S3NotInitializedError",
    "S3Object",
    "S3ObjectArchived",
    "S3ObjectChanged",
    "S3ObjectExists",
    "S3PreconditionFailed",
    "S3ServerError",
    "S3Store",
    "S3Throttled",
    "S3Unsupported",
    "S3UploadMessageStore",
    "SyncPlan",
    "async_connect",
    "connect",
    "default_store",
    "initialize",
    "is_initialized",
    "make_pointer",
    "parse_event",
    "parse_pointer",
]


def __getattr__(name: str) -> Any:
    room = _ROOM_OF.get(name)
    if room is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{room}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
