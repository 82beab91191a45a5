"""The sub-resources under asyncio: the methods of the synchronous classes as coroutines."""

from __future__ import annotations

from typing import (
    TYPE_CHECKING,
    Generic,
    TypeVar,
)

from ..subresources.annotations import ObjectAnnotations
from ..subresources.cors import Cors
from ..subresources.encryption import BucketEncryption
from ..subresources.lifecycle import Lifecycle
from ..subresources.notifications import Notifications
from ..subresources.policy import Policy
from ..subresources.public_access import PublicAccess
from ..subresources.tags import ObjectTags, Tags
from ..subresources.versioning import Versioning

if TYPE_CHECKING:
    pass
from .engine import Engine
from .twins import twin_of, twin_of_change, twin_of_write

Twin_co = TypeVar("Twin_co", covariant=True)


class _AsyncPart(Generic[Twin_co]):
    """An async sub-resource that wraps the synchronous one."""

    def __init__(self, part: Twin_co, engine: Engine) -> None:
        self._part = part
        self._engine = engine

    @property
    def _twin(self) -> Twin_co:
        return self._part

    def __repr__(self) -> str:
        return f"<async {repr(self._part).removeprefix('<')}"


class AsyncLifecycle(_AsyncPart[Lifecycle]):
    """``bucket.lifecycle``: the methods of :class:`~messageflux_s3.subresources.lifecycle.Lifecycle`, each awaited."""

    get = twin_of(Lifecycle.get)
    put = twin_of_write(Lifecycle.put)
    delete = twin_of_write(Lifecycle.delete)
    change = twin_of_change(Lifecycle.change)
    ensure = twin_of_change(Lifecycle.ensure)
    expire = twin_of_change(Lifecycle.expire)
    abort_unfinished_uploads = twin_of_change(Lifecycle.abort_unfinished_uploads)
    transition = twin_of_change(Lifecycle.transition)
    expire_noncurrent = twin_of_change(Lifecycle.expire_noncurrent)
    remove = twin_of_change(Lifecycle.remove)
    set_lifetime = twin_of_change(Lifecycle.set_lifetime)


class AsyncPublicAccess(_AsyncPart[PublicAccess]):
    """``bucket.public_access``: the methods of :class:`~messageflux_s3.subresources.public_access.PublicAccess`, each awaited."""

    allow = twin_of_write(PublicAccess.allow)
    block = twin_of_write(PublicAccess.block)
    status = twin_of(PublicAccess.status)


class AsyncPolicy(_AsyncPart[Policy]):
    """``bucket.policy``: the methods of :class:`~messageflux_s3.subresources.policy.Policy`, each awaited."""

    get = twin_of(Policy.get)
    put = twin_of_write(Policy.put)
    delete = twin_of_write(Policy.delete)
    change = twin_of_change(Policy.change)
    ensure = twin_of_change(Policy.ensure)
    remove = twin_of_change(Policy.remove)


class AsyncVersioning(_AsyncPart[Versioning]):
    """``bucket.versioning``: the methods of :class:`~messageflux_s3.subresources.versioning.Versioning`, each awaited."""

    get = twin_of(Versioning.get)
    put = twin_of_write(Versioning.put)
    delete = twin_of_write(Versioning.delete)
    change = twin_of_change(Versioning.change)
    enable = twin_of_change(Versioning.enable)
    suspend = twin_of_change(Versioning.suspend)
    is_enabled = twin_of(Versioning.is_enabled)


class AsyncTags(_AsyncPart[Tags]):
    """``bucket.tags``: the methods of :class:`~messageflux_s3.subresources.tags.Tags`, each awaited.

    Python cannot await ``tags["a"] = "1"``. Use ``await tags.update({"a": "1"})``, ``await tags.remove("a")`` and
    ``(await tags.get())["a"]`` instead.
    """

    get = twin_of(Tags.get)
    put = twin_of_write(Tags.put)
    delete = twin_of_write(Tags.delete)
    change = twin_of_change(Tags.change)
    ensure = twin_of_change(Tags.ensure)
    update = twin_of_change(Tags.update)
    remove = twin_of_change(Tags.remove)


class AsyncObjectTags(AsyncTags):
    """``obj.tags``, with the methods of :class:`AsyncTags`."""

    def __init__(self, part: ObjectTags, engine: Engine) -> None:
        super().__init__(part, engine)


class AsyncObjectAnnotations(_AsyncPart[ObjectAnnotations]):
    """``obj.annotations``: the methods of :class:`~messageflux_s3.subresources.annotations.ObjectAnnotations`, each awaited."""

    list = twin_of(ObjectAnnotations.list)
    get = twin_of(ObjectAnnotations.get)
    put = twin_of_write(ObjectAnnotations.put)
    delete = twin_of_write(ObjectAnnotations.delete)


class AsyncCors(_AsyncPart[Cors]):
    """``bucket.cors``: the methods of :class:`~messageflux_s3.subresources.cors.Cors`, each awaited."""

    get = twin_of(Cors.get)
    put = twin_of_write(Cors.put)
    delete = twin_of_write(Cors.delete)
    change = twin_of_change(Cors.change)
    ensure = twin_of_change(Cors.ensure)
    remove = twin_of_change(Cors.remove)


class AsyncBucketEncryption(_AsyncPart[BucketEncryption]):
    """``bucket.encryption``: the methods of :class:`~messageflux_s3.subresources.encryption.BucketEncryption`, each awaited."""

    get = twin_of(BucketEncryption.get)
    put = twin_of_write(BucketEncryption.put)
    delete = twin_of_write(BucketEncryption.delete)
    change = twin_of_change(BucketEncryption.change)
    ensure = twin_of_change(BucketEncryption.ensure)


class AsyncNotifications(_AsyncPart[Notifications]):
    """``bucket.notifications``: the methods of :class:`~messageflux_s3.subresources.notifications.Notifications`, each awaited."""

    get = twin_of(Notifications.get)
    put = twin_of_write(Notifications.put)
    delete = twin_of_write(Notifications.delete)
    change = twin_of_change(Notifications.change)
    ensure = twin_of_change(Notifications.ensure)
    remove = twin_of_change(Notifications.remove)
