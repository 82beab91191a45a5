"""S3 as Python objects: lazy handles on buckets and objects, on boto3.

A handle is free, a property costs at most one request and remembers it, a method says what it costs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .batch import BatchResult
from .bucket import S3Bucket
from .capabilities import Capabilities
from .config import S3Config
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
from .keys import BUCKET_NAME_VALIDATOR
from .object import S3Object
from .query import ObjectQuery
from .store import S3Store, connect, default_store, initialize, is_initialized

if TYPE_CHECKING:
    from .aio import AsyncObjectQuery, AsyncS3Bucket, AsyncS3Object, AsyncS3Store, async_connect
    from .claim_check import ClaimCheck
    from .events import ObjectEvent, parse_event
    from .local import LocalS3
    from .lock import S3Lock
    from .message_store import S3MessageStore, S3UploadMessageStore
    from .pointers import Pointer, make_pointer, parse_pointer
    from .subresources.cors import CorsRule
    from .subresources.lifecycle import LifecycleRule
    from .subresources.notifications import Notification
    from .sync import SyncPlan

__version__ = "0.1.0"

_LATE = {
    "AsyncObjectQuery": "aio",
    "AsyncS3Bucket": "aio",
    "AsyncS3Object": "aio",
    "AsyncS3Store": "aio",
    "async_connect": "aio",
    "CorsRule": "subresources.cors",
    "LifecycleRule": "subresources.lifecycle",
    "Notification": "subresources.notifications",
    "ClaimCheck": "claim_check",
    "LocalS3": "local",
    "ObjectEvent": "events",
    "Pointer": "pointers",
    "S3Lock": "lock",
    "S3MessageStore": "message_store",
    "S3UploadMessageStore": "message_store",
    "make_pointer": "pointers",
    "SyncPlan": "sync",
    "parse_event": "events",
    "parse_pointer": "pointers",
}
"""What loads on first use: the rooms of the top floor, and vocabulary that only message handlers need."""

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
    module = _LATE.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{module}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
