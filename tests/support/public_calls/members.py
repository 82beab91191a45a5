"""The public classes of the library, sync and async, and their public members."""

from __future__ import annotations

import importlib
import inspect
from contextlib import suppress
from functools import cached_property
from typing import Any

import messageflux_s3 as s3
from messageflux_s3 import aio
from messageflux_s3.subresources.annotations import ObjectAnnotations
from messageflux_s3.subresources.base import Change, SubResource
from messageflux_s3.subresources.cors import Cors
from messageflux_s3.subresources.encryption import BucketEncryption
from messageflux_s3.subresources.lifecycle import Lifecycle
from messageflux_s3.subresources.notifications import Notifications
from messageflux_s3.subresources.policy import Policy
from messageflux_s3.subresources.public_access import PublicAccess
from messageflux_s3.subresources.tags import ObjectTags, Tags
from messageflux_s3.subresources.versioning import Versioning

TWINS: list[tuple[type, type]] = [
    (s3.S3Store, s3.AsyncS3Store),
    (s3.S3Bucket, s3.AsyncS3Bucket),
    (s3.S3Object, s3.AsyncS3Object),
    (s3.ObjectQuery, s3.AsyncObjectQuery),
    (s3.S3Path, aio.AsyncS3Path),
    (s3.PresignedParts, aio.AsyncPresignedParts),
    (s3.S3Lock, aio.AsyncS3Lock),
    (s3.ClaimCheck, s3.AsyncClaimCheck),
    (s3.SyncPlan, aio.AsyncSyncPlan),
    (Change, aio.AsyncChange),
    (Lifecycle, aio.AsyncLifecycle),
    (PublicAccess, aio.AsyncPublicAccess),
    (Policy, aio.AsyncPolicy),
    (Versioning, aio.AsyncVersioning),
    (Tags, aio.AsyncTags),
    (ObjectTags, aio.AsyncObjectTags),
    (ObjectAnnotations, aio.AsyncObjectAnnotations),
    (Cors, aio.AsyncCors),
    (BucketEncryption, aio.AsyncBucketEncryption),
    (Notifications, aio.AsyncNotifications),
]
"""Each synchronous class that makes requests, with its async counterpart."""

INTERNAL = {"SubResource", "AccessBlockSubResource"}
"""Base class of the sub-resources, and the part of PublicAccess that reads and writes the access block: no attribute returns them."""


def public_classes() -> list[type]:
    """Return every class that the package, ``aio`` or ``fs`` exports, every sub-resource, and every class in :data:`TWINS`."""
    exported: list[Any] = [getattr(aio, name) for name in aio.__all__]
    for name in s3.__all__:
        with suppress(ImportError):  # messageflux, an extra, is not installed for every interpreter
            exported.append(getattr(s3, name))
    with suppress(ImportError):  # fsspec is an extra
        exported.append(importlib.import_module("messageflux_s3.fs").MessagefluxS3FileSystem)
    found = [*exported, *subclasses(SubResource), *(cls for pair in TWINS for cls in pair)]
    return [*dict.fromkeys(cls for cls in found if inspect.isclass(cls) and cls.__name__ not in INTERNAL)]


def subclasses(cls: type) -> list[type]:
    """Return the subclasses of a class, and theirs."""
    return [each for direct in cls.__subclasses__() for each in (direct, *subclasses(direct))]


def sub_resources(cls: type) -> dict[str, type]:
    """Return the class of each attribute of a handle that is a sub-resource, by the name of the attribute."""
    folder = "messageflux_s3.aio.subresources" if cls.__name__.startswith("Async") else "messageflux_s3.subresources."
    names = vars(importlib.import_module(cls.__module__))
    found = {}
    for name, value in public_members(cls).items():
        getter = getattr(value, "fget", None) or (value.func if isinstance(value, cached_property) else None)
        returned = None if getter is None else names.get(getter.__annotations__["return"])
        if inspect.isclass(returned) and returned.__module__.startswith(folder):
            found[name] = returned
    return found


def public_members(cls: type) -> dict[str, Any]:
    """Return the methods, properties and slots that the library defines for a class, unbound; constants are left out."""
    found = {}
    for owner in reversed(cls.__mro__):
        if owner.__module__.startswith("messageflux_s3"):
            for name in vars(owner):
                value = inspect.getattr_static(cls, name)
                if not name.startswith("_") and not isinstance(value, (str, int, float, tuple, type(None))):
                    found[name] = value
    return found


def owner_of(cls: type, name: str) -> type:
    """Return the class that defines a member of this class."""
    return next(owner for owner in cls.__mro__ if name in vars(owner))


def member_names(classes: list[type]) -> set[str]:
    """Return the public members of these classes as ``Class.member``."""
    return {f"{cls.__name__}.{name}" for cls in classes for name in public_members(cls)}
