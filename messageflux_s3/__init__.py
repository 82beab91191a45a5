"""S3 as Python objects: lazy handles to buckets and objects, on top of boto3.

Making a handle sends no request. A property sends at most one and caches the result. Each method documents the requests it sends.
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
    from ._bulk.batch import BatchResult
    from ._bulk.progress import Progress
    from ._client.capabilities import Capabilities
    from ._client.config import S3Config
    from ._client.observation import RequestSubscription
    from ._client.request_record import RequestEvent
    from ._display.observation import Observation, RequestTotals
    from ._display.usage import Usage
    from ._files.sync import SyncPlan, SyncStep
    from ._formats.bucket_names import BUCKET_NAME_VALIDATOR
    from ._formats.events import ObjectEvent, parse_event
    from ._formats.pointers import Pointer, make_pointer, parse_pointer
    from ._formats.render import Rendered
    from ._http.lane import LaneStatus
    from ._objects.lock import S3Lock
    from ._objects.presigned_parts import PresignedParts
    from ._objects.presigning import PresignedPost
    from ._objects.put_parameters import PutParameters
    from .aio import AsyncObjectQuery, AsyncS3Bucket, AsyncS3Object, AsyncS3Store, async_connect
    from .bucket import S3Bucket
    from .local.embedded import LocalS3
    from .local.faults import Faults, InjectedFault
    from .messaging.async_claim_check import AsyncClaimCheck
    from .messaging.claim_check import ClaimCheck
    from .messaging.message_store import S3MessageStore, S3UploadMessageStore
    from .object import S3Object
    from .path import S3Path
    from .query import ObjectQuery
    from .store import S3Store, connect, default_store, initialize, is_initialized
    from .subresources.base import Change
    from .subresources.cors import CorsRule
    from .subresources.lifecycle import LifecycleRule
    from .subresources.notifications import Notification

__version__ = "0.1.0"

# Lazy exports (PEP 562), by module: `import messageflux_s3` does not import boto3.
_EXPORTS = {
    "aio": ("AsyncObjectQuery", "AsyncS3Bucket", "AsyncS3Object", "AsyncS3Store", "async_connect"),
    "_bulk.batch": ("BatchResult",),
    "bucket": ("S3Bucket",),
    "_client.capabilities": ("Capabilities",),
    "messaging.async_claim_check": ("AsyncClaimCheck",),
    "messaging.claim_check": ("ClaimCheck",),
    "_client.config": ("S3Config",),
    "_client.observation": ("RequestSubscription",),
    "_client.request_record": ("RequestEvent",),
    "_display.observation": ("Observation", "RequestTotals"),
    "_formats.events": ("ObjectEvent", "parse_event"),
    "_formats.bucket_names": ("BUCKET_NAME_VALIDATOR",),
    "local": ("Faults", "InjectedFault", "LocalS3"),
    "_objects.lock": ("S3Lock",),
    "messaging.message_store": ("S3MessageStore", "S3UploadMessageStore"),
    "object": ("S3Object",),
    "path": ("S3Path",),
    "_formats.pointers": ("Pointer", "make_pointer", "parse_pointer"),
    "query": ("ObjectQuery",),
    "store": ("S3Store", "connect", "default_store", "initialize", "is_initialized"),
    "subresources.cors": ("CorsRule",),
    "subresources.lifecycle": ("LifecycleRule",),
    "subresources.notifications": ("Notification",),
    "_files.sync": ("SyncPlan", "SyncStep"),
    "_bulk.progress": ("Progress",),
    "_display.usage": ("Usage",),
    "_formats.render": ("Rendered",),
    "_http.lane": ("LaneStatus",),
    "_objects.presigned_parts": ("PresignedParts",),
    "_objects.presigning": ("PresignedPost",),
    "_objects.put_parameters": ("PutParameters",),
    "subresources.base": ("Change",),
}
_MODULE_OF = {name: module for module, names in _EXPORTS.items() for name in names}

__all__ = [  # noqa: RUF022 (plainly sorted, as sorted() does)
    "AsyncClaimCheck",
    "AsyncObjectQuery",
    "AsyncS3Bucket",
    "AsyncS3Object",
    "AsyncS3Store",
    "BUCKET_NAME_VALIDATOR",
    "BatchResult",
    "Capabilities",
    "Change",
    "ClaimCheck",
    "CorsRule",
    "Failure",
    "Faults",
    "InjectedFault",
    "LaneStatus",
    "LifecycleRule",
    "LocalS3",
    "Notification",
    "ObjectEvent",
    "ObjectQuery",
    "Observation",
    "Pointer",
    "PresignedParts",
    "PresignedPost",
    "Progress",
    "PutParameters",
    "Rendered",
    "RequestEvent",
    "RequestSubscription",
    "RequestTotals",
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
    "S3Path",
    "S3PreconditionFailed",
    "S3ServerError",
    "S3Store",
    "S3Throttled",
    "S3Unsupported",
    "S3UploadMessageStore",
    "SyncPlan",
    "SyncStep",
    "Usage",
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
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{module}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
