"""S3Bucket: the main class, which combines the internal packages. Read this file first.

A bucket has the operations on its objects and on the bucket itself. Sub-resources, ``?name`` in S3's URLs, are
attributes (``bucket.lifecycle``). Listing, and operations on the listed objects, are methods of the query
(``bucket.find(…)``). Operations on one object are methods of ``S3Object``.
"""

from __future__ import annotations

import builtins
import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, overload

from ._bulk import batch
from ._bulk.batch import BatchResult
from ._bulk.progress import Progress, reporting, watched
from ._bulk.versions import abort_uploads, check_deletable, clear_versions, delete_bucket
from ._client import buckets
from ._client.addresses import BucketAddress, normalized_endpoint
from ._client.connection import Connection
from ._client.service_resource import resource_type
from ._display import show
from ._display.usage import Usage
from ._files import download, file_target, sync, upload
from ._files.sync import SyncPlan
from ._formats import metadata as user_metadata
from ._formats import version_ids
from ._formats.bucket_names import check_bucket_name, check_new_bucket_name
from ._formats.keys import check_key, check_subscript, quote_key
from ._formats.metadata import IDEMPOTENCY_TOKEN
from ._formats.render import Rendered
from ._objects import conditional, drivers, operations, put_parameters
from ._objects import lock as locks
from ._objects.bodies import check_body
from ._objects.drivers import Blocking, Steps
from ._objects.lock import S3Lock
from ._objects.multipart import MIN_PART_BYTES
from .errors import Failure, S3AccessDenied, S3BucketExists, S3Error, S3InvalidName, S3NoSuchBucket, S3Unsupported
from .object import S3Object
from .path import S3Path
from .query import ObjectQuery, criteria
from .subresources.base import Change, add_text
from .subresources.cors import Cors
from .subresources.encryption import BucketEncryption
from .subresources.lifecycle import Lifecycle, LifecycleConfiguration, check_lifetime
from .subresources.notifications import Notifications
from .subresources.policy import Policy
from .subresources.public_access import PublicAccess
from .subresources.tags import Tags
from .subresources.versioning import Versioning

if TYPE_CHECKING:
    from boto3.s3.transfer import TransferConfig
    from mypy_boto3_s3 import S3Client, S3ServiceResource
    from mypy_boto3_s3.service_resource import Bucket
    from typing_extensions import Self, Unpack

    from ._objects.bodies import Body, Data, UploadSource, Writable
    from ._objects.put_parameters import PutParameters
    from .store import S3Store

logger: logging.Logger = logging.getLogger("messageflux_s3")


class S3Bucket:
    """One bucket. ``store.bucket(name)`` returns it without a request; the messageflux-compatible constructor checks that it exists.

    Example:
        >>> bucket.put_object("2026/a.json", b'{"total": 7}', {"source": "erp"})
        S3Object('s3://.../2026/a.json')
        >>> [obj.size for obj in bucket.find(prefix="2026/")]
        [12]
    """

    _connection: Connection
    _name: str
    _store: S3Store | None
    _created: tuple[datetime | None] | None = None  # a tuple once it is known, since the date may be None

    def __init__(
        self, bucket_name: str, s3_resource: S3ServiceResource | S3Client | S3Store, auto_create: bool = False
    ) -> None:
        """messageflux-compatible constructor: check that the bucket exists, or create it.

        Args:
            bucket_name: The bucket's name.
            s3_resource: A boto3 S3 resource or client, used unchanged, or an S3Store.
            auto_create: Whether to create the bucket if it does not exist.

        Raises:
            S3InvalidName: The name is not a valid bucket name; or, with ``auto_create``, the bucket does not exist, and no
                bucket of this name can be created.
            S3NoSuchBucket: The bucket does not exist, and ``auto_create`` is not set.
            S3AccessDenied: The store denies access to the bucket, or its creation.
            S3BucketExists: With ``auto_create``: the name is taken by another account.

        Requests:
            1 HEAD (and 1 PUT if the bucket is created)
        """
        self._bind(check_bucket_name(bucket_name), s3_resource)
        if auto_create:
            self._create(exist_ok=True)
        else:
            self._connection.call("HeadBucket", Bucket=self._name)

    @classmethod
    def from_boto3(cls, bucket: Bucket) -> Self:
        """Return a handle for a boto3 ``Bucket``; the handle uses the same client.

        Args:
            bucket: boto3's ``Bucket``, from any S3 resource.

        Returns:
            The handle; its ``store`` uses the boto3 bucket's own client.

        Raises:
            TypeError: ``bucket`` is not a boto3 ``Bucket``.

        Requests:
            none

        Example:
            >>> s3.S3Bucket.from_boto3(store.resource.Bucket("invoices"))
            S3Bucket('invoices')
        """
        if resource_type(bucket) != "Bucket":
            raise TypeError(f"bucket must be a boto3 Bucket, not {type(bucket).__name__}")
        return cls._from_client(bucket.name, bucket)

    @classmethod
    def _unchecked(cls, bucket_name: str, s3_resource: S3ServiceResource | S3Client | S3Store) -> Self:
        """Return a handle without checking that the bucket exists."""
        self = cls.__new__(cls)
        self._bind(check_bucket_name(bucket_name), s3_resource)
        return self

    @classmethod
    def _from_client(cls, bucket_name: str, boto3_object: Any) -> Self:
        """Return a handle that uses the client of a boto3 resource (service, bucket or object)."""
        self = cls.__new__(cls)
        self._connection = Connection.from_boto3(boto3_object).for_store()
        self._name = check_bucket_name(bucket_name)
        self._store = None
        return self

    def _bind(self, bucket_name: str, s3_resource: S3ServiceResource | S3Client | S3Store) -> None:
        self._connection = _connection_of(s3_resource)
        self._store = cast("S3Store", s3_resource) if hasattr(s3_resource, "_connection") else None
        self._name = bucket_name

    # -- creating and listing buckets -------------------------------------------------------------------------------------------------

    @classmethod
    def create_bucket(
        cls,
        s3_resource: S3ServiceResource | S3Client | S3Store,
        bucket_name: str,
        lifetime_in_days: int | None = None,
        allow_public_access: bool = False,
        exist_ok: bool = True,
    ) -> Self:
        """Create a bucket.

        Args:
            s3_resource: A boto3 S3 resource or client, or an S3Store.
            bucket_name: The new bucket's name, which must follow the current naming rules.
            lifetime_in_days: Number of days after which objects expire; None changes nothing, 0 or less cancels a
                lifetime.
            allow_public_access: Whether everybody may read and list the bucket.
            exist_ok: Whether to return the bucket if it exists already and belongs to this account.

        Returns:
            The bucket; an instance of the subclass if called on one.

        Raises:
            S3InvalidName: No bucket of this name can be created. Nothing was sent.
            S3BucketExists: The name is taken by another account or, with ``exist_ok=False``, by this one.
            S3AccessDenied: The store denies access to the bucket or its creation, even with
                ``exist_ok``.
            S3Error: The lifetime or public access cannot be set. A bucket that this call has made is deleted again,
                unless the error is temporary; the message says if it stands. In a bucket that existed before, the
                former lifecycle rules are restored; the message says if they are not.

        Requests:
            1 HEAD (and 1 GET if that is denied), 1 PUT if the bucket does not exist; those of ``set_lifetime_in_days``
            and ``allow_public_access`` if requested; if these fail, 1 GET and 1 DELETE for a new bucket, and up to 4
            reads and 3 writes to restore the lifecycle rules of another

        Example:
            >>> s3.S3Bucket.create_bucket(store, "scratch-1", lifetime_in_days=30)
            S3Bucket('scratch-1')
        """
        return cls._make(s3_resource, bucket_name, lifetime_in_days, allow_public_access, exist_ok)

    @classmethod
    def _make(
        cls,
        s3_resource: S3ServiceResource | S3Client | S3Store,
        bucket_name: str,
        lifetime_in_days: int | None,
        allow_public_access: bool,
        exist_ok: bool,
        region: str | None = None,
    ) -> Self:
        """Create a bucket, in a region that is confirmed if it is given: all that was asked for, or the state before."""
        bucket = cls._unchecked(check_new_bucket_name(bucket_name), s3_resource)
        bucket._check_settings(lifetime_in_days, allow_public_access)
        is_new = bucket._create(exist_ok=exist_ok)
        lifetime: Change[LifecycleConfiguration] | None = None
        try:
            if region is not None:
                buckets.require_region(bucket._address, region, is_new=is_new)
            if lifetime_in_days is not None:
                lifetime = bucket.lifecycle.set_lifetime(lifetime_in_days)
            if allow_public_access:
                bucket.allow_public_access()
        except BaseException as error:
            if is_new:
                bucket._undo_creation(error)
            else:
                try:
                    if lifetime is not None:
                        bucket.lifecycle._take_back(lifetime, error)
                finally:
                    add_text(error, f"the bucket {bucket_name!r} stands; it may have existed before")
            raise
        return bucket

    @classmethod
    def list_buckets(cls, s3_resource: S3ServiceResource | S3Client | S3Store) -> Iterator[Self]:
        """Iterate over the buckets of the account, including those whose names predate the current rules (``Old_Bucket``).

        Args:
            s3_resource: A boto3 S3 resource or client, or an S3Store.

        Requests:
            1 per 10,000 buckets
        """
        return cls._list(s3_resource)

    @classmethod
    def _list(
        cls, s3_resource: S3ServiceResource | S3Client | S3Store, prefix: str = "", region: str | None = None
    ) -> Iterator[Self]:
        for found in buckets.list_all(_connection_of(s3_resource), prefix=prefix, region=region):
            try:
                bucket = cls._unchecked(found["Name"], s3_resource)
            except S3InvalidName as error:
                logger.warning("a bucket is left out of the listing, since no S3 client can address it: %s", error)
                continue
            bucket._created = (buckets.created_at(found),)
            yield bucket

    def _check_settings(self, lifetime_in_days: int | None, allow_public_access: bool) -> None:
        """Check the settings of a new bucket, before it is created."""
        if lifetime_in_days is not None:
            check_lifetime("lifetime_in_days", lifetime_in_days)
        known = self._address.capabilities
        for name, is_wanted, is_known in (
            ("lifecycle rules", lifetime_in_days is not None and lifetime_in_days > 0, known.lifecycle),
            ("bucket policies", allow_public_access, known.policy),
            ("public access", allow_public_access, not self._address.is_directory),
        ):
            if is_wanted and is_known is False:
                what = "a directory bucket" if self._address.is_directory else "this store"
                raise S3Unsupported(
                    f"{what} does not support {name}; the bucket {self._name!r} was not created", bucket=self._name
                )

    def _undo_creation(self, cause: BaseException) -> None:
        """Delete the empty bucket that this call has made and could not set up, and say so in the message of the error."""
        if isinstance(cause, S3Error) and cause.retryable:
            # Such as OperationAborted: another client sets up the bucket too, which on some stores "made" it at the same time.
            add_text(cause, f"the bucket {self._name!r} stands; call again")
            return
        text, interrupt = f"the bucket {self._name!r} was made by this call and stands: it is not empty", None
        is_sent = False
        for _ in range(2):
            try:
                # Some gateways over a file system may delete a folder with its contents.
                if not self._connection.call("ListObjectsV2", Bucket=self._name, MaxKeys=1).get("Contents"):
                    is_sent = True
                    buckets.delete(self._address)
                    text = f"the bucket {self._name!r}, made by this call, was deleted again"
                break
            except S3NoSuchBucket as error:
                if is_sent:  # an earlier attempt has deleted it
                    text = f"the bucket {self._name!r}, made by this call, was deleted again"
                    break
                text = f"the bucket {self._name!r} was made by this call and stands; deleting it failed: {error}"
            except BaseException as error:
                text = f"the bucket {self._name!r} was made by this call and stands; deleting it failed: {error}"
                if not isinstance(error, Exception):
                    interrupt = error
        add_text(cause, text)
        if interrupt is not None and isinstance(cause, Exception):
            add_text(interrupt, text)
            raise interrupt

    def _create(self, *, exist_ok: bool) -> bool:
        """Create the bucket unless it exists: creating it again would reset its ACL in us-east-1.

        Returns:
            Whether this call is certain to have made it.
        """
        if self._is_there():
            if exist_ok:
                return False
            raise S3BucketExists(
                f"the bucket {self._name!r} exists already; exist_ok=True returns it unchanged",
                operation="CreateBucket",
                bucket=self._name,
            )
        check_new_bucket_name(self._name)
        try:
            return buckets.create(self._address)
        except S3BucketExists as error:
            if not (exist_ok and (error.code == "BucketAlreadyOwnedByYou" or self._is_ours())):
                raise
            return False

    def _is_there(self) -> bool:
        """Return whether the bucket exists and can be listed.

        Raises:
            S3AccessDenied: Access is denied. The bucket may belong to another account, or these credentials may lack
                s3:ListBucket; some stores also deny access to a bucket that does not exist.
        """
        try:
            self._connection.call("HeadBucket", Bucket=self._name)
            return True
        except S3NoSuchBucket:
            return False
        except S3AccessDenied:
            pass  # a 403 to HEAD has no error code, so a wrong clock or signature looks the same; GET tells which it is
        try:
            self._connection.call("ListObjectsV2", Bucket=self._name, MaxKeys=1)
            return True
        except S3NoSuchBucket:
            return False
        except S3AccessDenied as error:
            error.args = (
                f"cannot tell whether the bucket {self._name!r} exists and is ours; nothing was created. {error} Where these credentials "
                f"may write to it but not list it, store.bucket({self._name!r}) gives the bucket without a request.",
            )
            raise

    def _is_ours(self) -> bool:
        """Return whether an "already existing" bucket of unknown owner is one that we can access."""
        if self._connection.is_aws:
            return False
        try:
            return self.exists()
        except S3AccessDenied:
            return False

    # -- properties: no request ---------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The bucket's name. Requests: none."""
        return self._name

    @property
    def uri(self) -> str:
        """``s3://bucket``. Requests: none."""
        return f"s3://{self._name}"

    @property
    def url(self) -> str:
        """The bucket's HTTP URL, without a trailing slash; ``compute_url(key)`` returns that of a key. Requests: none."""
        public_url = self._connection.config.public_url
        if public_url is not None:
            return public_url.replace("{bucket}", self._name).rstrip("/")
        return self._address.own_url or f"{self._connection.endpoint_url.rstrip('/')}/{self._name}"

    # -- properties: one request, cached ------------------------------------------------------------------------------------------

    @property
    def region(self) -> str:
        """The region of the bucket; the store's own setting (``region=``) if the responses do not name one.

        Raises:
            S3NoSuchBucket: The bucket does not exist.
            S3AccessDenied: Access is denied, and the response does not name the region (AWS names it).

        Requests:
            1 HEAD, cached (on a store that is not AWS also 1 GET if the response does not name the region)

        Example:
            >>> bucket.region
            'us-east-1'
        """
        return buckets.region_of(self._address)

    @property
    def creation_date(self) -> datetime | None:
        """When the bucket was created, in UTC; None if the account's list of buckets does not contain it.

        Raises:
            S3NoSuchBucket: The bucket does not exist.
            S3AccessDenied: These credentials are not allowed to list buckets.

        Requests:
            none for a bucket from ``store.buckets()``, else 1, cached (on a store that is not AWS 1 per 10,000 buckets), and 1 HEAD if
            the bucket is not listed

        Example:
            >>> bucket.creation_date.tzinfo
            datetime.timezone.utc
        """
        if self._created is None:
            self._created = (buckets.creation_date(self._address),)
        return self._created[0]

    @property
    def _address(self) -> BucketAddress:
        return BucketAddress(self._connection, self._name)

    @property
    def boto3(self) -> Bucket:
        """boto3's ``Bucket`` resource for the same bucket, created at each access. Requests: none."""
        return self._connection.resource.Bucket(self._name)

    @property
    def store(self) -> S3Store:
        """The store of the bucket. Requests: none."""
        if self._store is None:
            # The bucket was unpickled, or made from a boto3 object by the constructor or from_boto3(), and has no store yet.
            from .store import S3Store

            self._store = S3Store._from_connection(self._connection)
        return self._store

    # -- existence and deletion -------------------------------------------------------------------------------------------------------

    def exists(self) -> bool:
        """Send a request to find out whether the bucket exists.

        Raises:
            S3AccessDenied: Access is denied. Wrong credentials look the same: the response to a HEAD has no body.

        Requests:
            1 HEAD
        """
        try:
            self._connection.call("HeadBucket", Bucket=self._name)
        except S3NoSuchBucket:
            return False
        return True

    def delete_bucket(self, force: bool = False) -> None:
        """Delete the bucket.

        Args:
            force: Delete its contents first: objects, versions, incomplete multipart uploads.

        Raises:
            S3BucketNotEmpty: The bucket is not empty, and ``force`` is not set.

        Requests:
            1; on a store that is not AWS 2 more, to check that it is empty; with ``force`` also those of
            ``clear_objects(versions=True)``
        """
        if force:
            self.clear_objects(versions=True)
        delete_bucket(self._address)

    def clear_objects(self, *, versions: bool = False, progress: Progress = None) -> None:
        """Delete all objects, but not the bucket.

        Args:
            versions: Also delete old versions, delete markers and incomplete multipart uploads.
            progress: How to report progress in objects, see ``Progress``.

        Raises:
            S3BatchError: Some objects could not be deleted; ``failures`` lists them with their errors.
            S3ServerError: The store still lists versions or uploads, although it answered their deletion with a success.

        Requests:
            2 per 1,000 keys; with ``versions`` 3 more, plus 2 per 1,000 versions and 1 per incomplete upload
        """
        self.delete_objects((obj.key for obj in self.find()), progress=progress)
        if versions:
            clear_versions(self._address)
            abort_uploads(self._address)

    # -- sub-resources (?name in the URL) ---------------------------------------------------------------------------------------------

    @cached_property
    def lifecycle(self) -> Lifecycle:
        """The lifecycle rules: when objects expire. Requests: none."""
        return Lifecycle(self._address)

    @cached_property
    def public_access(self) -> PublicAccess:
        """Anonymous access. Requests: none."""
        return PublicAccess(self._address)

    @cached_property
    def policy(self) -> Policy:
        """The bucket policy. Requests: none."""
        return Policy(self._address)

    @cached_property
    def versioning(self) -> Versioning:
        """The versioning of the bucket. Requests: none."""
        return Versioning(self._address)

    @cached_property
    def tags(self) -> Tags:
        """The bucket's tags. Requests: none."""
        return Tags(self._address)

    @cached_property
    def cors(self) -> Cors:
        """The CORS rules: which web pages may read and write. Requests: none."""
        return Cors(self._address)

    @cached_property
    def encryption(self) -> BucketEncryption:
        """The default encryption. Requests: none."""
        return BucketEncryption(self._address)

    @cached_property
    def notifications(self) -> Notifications:
        """The event notifications of the bucket. Requests: none."""
        return Notifications(self._address)

    # -- one object -------------------------------------------------------------------------------------------------------------------

    def object(self, key: str, version_id: str | None = None) -> S3Object:
        """Return the handle of an object, which may or may not exist.

        Args:
            key: The key.
            version_id: A version of the object; None for the current one.

        Raises:
            S3InvalidName: The key is not a valid S3 key.
            TypeError: An argument is not text.
            ValueError: ``version_id`` is empty.

        Requests:
            none
        """
        return S3Object._create(self, check_key(key, bucket=self._name), version_ids.check(version_id))

    def path(self, key: str = "") -> S3Path:
        """Return a key as a path, with the names of ``pathlib``: ``bucket.path("a") / "b.txt"``.

        Args:
            key: The key; empty for the root.

        Raises:
            S3InvalidName: The key is not a valid S3 key.

        Requests:
            none
        """
        return S3Path(self, key)

    def __getitem__(self, key: str) -> S3Object:
        """``bucket[key]``: the handle of an object. Requests: none.

        Raises:
            S3InvalidName: The key is not a valid S3 key, or begins with ``s3://`` or ``mfs3://``. ``store.object(uri)`` takes
                an S3 URI, ``bucket.object(key)`` takes any key.
        """
        return self.object(check_subscript(key, bucket=self._name))

    def __contains__(self, key: builtins.object) -> bool:
        """``key in bucket``. Requests: 1 HEAD."""
        return self.object(check_subscript(cast("str", key), bucket=self._name)).exists()

    __iter__ = None  # not iterable, because that would hide the cost; use find()

    @overload
    def get_object(self, key: str, *, if_none_match: None = None) -> S3Object: ...

    @overload
    def get_object(self, key: str, *, if_none_match: str | None) -> S3Object | None: ...

    def get_object(self, key: str, *, if_none_match: str | None = None) -> S3Object | None:
        """Request an object and return its handle.

        Args:
            key: The key.
            if_none_match: ETag of content that you already have. If the object still has this ETag, None is returned, and the store
                does not send the body (unless it ignores the condition). None for no condition.

        Returns:
            The handle, with all attributes that a HEAD would return, and the body if it is not larger than 8 MiB. With
            ``if_none_match``, None if the object is unchanged.

        Raises:
            S3NoSuchItem: The object does not exist.

        Requests:
            1 GET

        Example:
            >>> obj = bucket.put_object("config", "v1")
            >>> bucket.get_object("config", if_none_match=obj.etag) is None
            True
            >>> _ = bucket.put_object("config", "v2")
            >>> bucket.get_object("config", if_none_match=obj.etag).text
            'v2'
        """
        obj = self.object(key)
        if if_none_match is not None:
            return obj if drivers.run(self._connection, obj._load_if_changed_steps(if_none_match)) else None
        drivers.run(self._connection, obj._load_steps())
        return obj

    def put_object(
        self,
        key: str,
        buf: Body,
        metadata: Mapping[str, str] | None = None,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
        **extra: Unpack[PutParameters],
    ) -> S3Object:
        """Write an object.

        Args:
            key: The key.
            buf: Bytes, text (encoded as UTF-8), or a readable object.
            metadata: User metadata, a mapping of text to text.
            if_absent: Write only if the object does not exist.
            if_match: Write only if the object has this etag.
            extra: Further parameters: ``content_type``, ``cache_control``, ``storage_class``, ``encryption``, ``tags``
                … (:class:`~messageflux_s3._objects.put_parameters.PutParameters`), or S3's own names for them, except
                those that have an argument of their own (``Body``, ``Key``, ``Metadata``, ``IfMatch`` …).

        Returns:
            The handle, with size, etag and version.

        Raises:
            TypeError: ``buf`` has an unsupported type, or the metadata is not a mapping of text to text.
            S3InvalidName: The key is not a valid S3 key.
            S3ObjectExists: With ``if_absent``: the object exists already.
            S3PreconditionFailed: With ``if_match``: the object has another etag. With ``outcome_unknown`` set: a response was
                lost, and the object may have been written.
            S3Unsupported: The store does not honour conditions; nothing was written.

        Requests:
            1 PUT (with a condition also those of a probe, once per store; and on a store that is not AWS 1 GET, which tells whether the
            bucket has versioning, and whose result is cached for a few seconds)
        """
        steps = self._put_steps(key, buf, metadata, if_absent=if_absent, if_match=if_match, **extra)
        return drivers.run(self._connection, steps)

    def _put_steps(
        self,
        key: str,
        buf: Any,
        metadata: Mapping[str, str] | None = None,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
        **extra: Any,
    ) -> Steps[S3Object]:
        key = check_key(key, bucket=self._name)
        check_body(buf, "buf")
        if hasattr(buf, "read"):
            upload = partial(self.upload_object, key, buf, metadata, if_absent=if_absent, if_match=if_match, **extra)
            uploaded: S3Object = yield Blocking(upload)
            return uploaded
        put_parameters.check_parameters(extra)
        body = operations.body_bytes(buf, "buf")
        if if_absent or if_match is not None:
            condition = conditional.precondition(if_absent=if_absent, if_match=if_match)
            written = yield from conditional.put_steps(self._address.object(key), body, condition, metadata, extra)
        else:
            written = yield from operations.put_steps(self._address.object(key), body, metadata, extra)
        return S3Object._create(self, key, head=written)

    def put_json(
        self,
        key: str,
        value: Any,
        metadata: Mapping[str, str] | None = None,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
        **extra: Unpack[PutParameters],
    ) -> S3Object:
        """Write a value as JSON, in UTF-8.

        Args:
            key: The key.
            value: A value that ``json.dumps`` accepts.
            metadata: User metadata, a mapping of text to text.
            if_absent: Write only if the object does not exist.
            if_match: Write only if the object has this etag.
            extra: As for ``put_object``; the content type is ``application/json`` unless another one is given.

        Requests:
            1 PUT
        """
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        typed = put_parameters.with_content_type("application/json", extra)
        return self.put_object(key, text, metadata, if_absent=if_absent, if_match=if_match, **typed)

    def get_json(self, key: str) -> Any:
        """Read a JSON value.

        Raises:
            S3NoSuchItem: The object does not exist.
            S3InvalidContent: The content is not JSON. The error is also a ValueError.

        Requests:
            1 GET
        """
        return self.object(key).json()

    def delete_object(self, key: str) -> None:
        """Delete an object; succeeds if it does not exist.

        Requests:
            1 DELETE
        """
        self.object(key).delete()

    # -- many objects -------------------------------------------------------------------------------------------------------------

    def get_objects(self, keys: Iterable[str | S3Object]) -> Iterator[S3Object]:
        """Get many objects in parallel, in the order of the keys.

        Args:
            keys: Keys, or handles of this bucket (with their versions, or the ETags of events); any number, consumed lazily.

        Returns:
            Handles with their bodies; a body above 8 MiB is requested when it is read. If a request failed, reading
            ``body`` raises the error; iterating does not. Leaving the loop early cancels the outstanding requests.

        Raises:
            ValueError: A handle belongs to another bucket.

        Requests:
            1 GET per object

        Example:
            >>> _ = bucket.put_objects([("a", "1"), ("b", "2")])
            >>> [obj.text for obj in bucket.get_objects(["b", "a"])]
            ['2', '1']
        """
        if isinstance(keys, (str, bytes)):
            raise TypeError("keys must be an iterable of keys, not one key")
        handles = (self._own(key) if isinstance(key, S3Object) else self.object(key) for key in keys)
        wanted = (
            batch.GetItem(handle.key, handle._version_id, tag=handle, if_match=handle._pinned_etag)
            for handle in handles
        )
        for handle, outcome in batch.get_many(self._address, wanted):
            read = S3Object._create(self, handle.key, handle._version_id, pinned_etag=handle._pinned_etag)
            yield read._apply_result(outcome)

    def put_objects(
        self,
        items: Iterable[tuple[str, Data] | tuple[str, Data, Mapping[str, str] | None]],
        *,
        raise_errors: bool = True,
        progress: Progress = None,
        **extra: Unpack[PutParameters],
    ) -> BatchResult:
        """Write many objects in parallel.

        Args:
            items: ``(key, data)`` or ``(key, data, metadata)``, data being bytes or text; any number, consumed lazily.
                Items with the same key are written one after the other, in the given order, so that the last one is stored.
            raise_errors: Whether to raise if some failed; otherwise only the result reports them.
            progress: How to report progress in objects, see ``Progress``.
            extra: Further parameters of every write, as for ``put_object``.

        Returns:
            The keys that were written, in order, and those that were not, with their errors.

        Raises:
            S3BatchError: Some writes failed; the others were done.
            TypeError: An item is not one of these tuples; the items before it were written.

        Requests:
            1 PUT per object

        Example:
            >>> bucket.put_objects((f"n/{n}", str(n)) for n in range(3)).succeeded
            ['n/0', 'n/1', 'n/2']
        """
        put_parameters.check_parameters(extra)
        succeeded: list[str] = []
        failures: list[Failure] = []
        written = (_written(item, self._name, extra) for item in items)
        with reporting(progress, None, f"write to {self._name}", unit="objects") as report:
            for key, outcome in watched(batch.put_many(self._address, written), report):
                if isinstance(outcome, S3Error):
                    failures.append(Failure(key, None, outcome))
                else:
                    succeeded.append(key)
        result = BatchResult(succeeded, failures)
        return result.raise_for_failures("PutObject") if raise_errors else result

    def delete_objects(
        self, keys: Iterable[str | S3Object], *, raise_errors: bool = True, progress: Progress = None
    ) -> BatchResult:
        """Delete many objects in bulk. An object that does not exist counts as deleted.

        Args:
            keys: Keys, or handles of this bucket (with their versions); any number, consumed a thousand at a time.
            raise_errors: Whether to raise if some failed; otherwise only the result reports them.
            progress: How to report progress in objects, see ``Progress``.

        Returns:
            The keys that were deleted, and those that were not, with their errors.

        Raises:
            S3BatchError: Some deletions failed; the others were done.
            ValueError: A handle belongs to another bucket. Its batch of a thousand keys and all later keys were not deleted.

        Requests:
            1 per 1,000 keys (1 per key if the store has no bulk delete)

        Example:
            >>> _ = bucket.put_objects([("a", "1"), ("b", "2")])
            >>> bucket.delete_objects(["a", "b"]).succeeded
            ['a', 'b']
        """
        if isinstance(keys, (str, bytes)):
            raise TypeError("keys must be an iterable of keys, not one key")
        deletable = False

        def entry_of(key: str | S3Object) -> tuple[str, str | None]:
            nonlocal deletable
            if not isinstance(key, S3Object):
                return check_key(key, bucket=self._name), None
            self._own(key)
            if key._version_id is not None and not deletable:
                check_deletable(self._address, key._version_id)
                deletable = key._version_id != "null"
            return key.key, key._version_id

        entries = (entry_of(key) for key in keys)
        return batch.delete_all(self._address, entries, raise_errors=raise_errors, progress=progress)

    def _own(self, obj: S3Object) -> S3Object:
        """Return the handle if it belongs to this bucket.

        Raises:
            ValueError: It belongs to a bucket with another name, or to a store with another endpoint.
        """
        mine, theirs = self._address, obj._address.bucket
        if mine != theirs:
            here, there = mine.connection.endpoint_url, theirs.connection.endpoint_url
            # On AWS, bucket names are unique across endpoints, so two endpoints do not mean two buckets.
            is_same_store = mine.connection.is_aws and theirs.connection.is_aws
            if mine.name != theirs.name or not (
                is_same_store or normalized_endpoint(here) == normalized_endpoint(there)
            ):
                raise ValueError(
                    f"{obj.uri} is in the bucket {theirs.name!r} at {there}, not in {mine.name!r} at {here}: "
                    "use the methods of its own bucket"
                )
        return obj

    # -- files and folders ------------------------------------------------------------------------------------------------------------

    def upload_object(
        self,
        key: str,
        stream: UploadSource,
        metadata: Mapping[str, str] | None = None,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
        part_size_bytes: int | None = None,
        verify_checksum: bool = True,
        progress: Progress = None,
        ExtraArgs: Mapping[str, Any] | None = None,
        Callback: Callable[[int], builtins.object] | None = None,
        Config: TransferConfig | None = None,
        **extra: Unpack[PutParameters],
    ) -> S3Object:
        """Upload a file or stream of any size, in bounded memory. A readable object stays open.

        Args:
            key: The key.
            stream: A readable object (read from its current position), an iterable of bytes, bytes, text, or a
                ``pathlib.Path``.
            metadata: User metadata, a mapping of text to text.
            if_absent: Write only if the object does not exist; a multipart upload sends the condition when it completes.
            if_match: Write only if the object has this etag.
            part_size_bytes: The size of a part; None for a suitable one.
            verify_checksum: Whether to compare the store's checksum with a local one.
            progress: How to report progress in bytes, see ``Progress``.
            ExtraArgs: As in messageflux and boto3: S3's own parameters.
            Callback: As in messageflux and boto3; the same as ``progress``.
            Config: As in messageflux and boto3; its ``multipart_chunksize`` is the part size.
            extra: Further parameters, as for ``put_object``.

        Returns:
            The handle, with size, etag and version.

        Raises:
            S3ChecksumError: The store did not receive the bytes that were sent.
            S3ObjectExists: With ``if_absent``: the object exists already.
            S3PreconditionFailed: With ``if_match``: the object has another etag. With ``outcome_unknown`` set: a response was
                lost, and the object may have been written. With ``retryable`` set: another write was in progress,
                and all retries failed too, or ``stream`` could not be read again with the same content; nothing was
                written.
            S3Unsupported: The store does not honour the condition (for a multipart upload: when it completes); no part was
                sent.
            OSError: While ``stream`` was read, the file became shorter, or the HTTP response was cut off; nothing was
                written.
            TypeError: ``stream`` has an unsupported type.

        Requests:
            1 PUT up to 16 MiB, else 1 POST, 1 PUT per part and 1 POST; after a failure 1 DELETE, so that no parts are
            left. With a condition, if the completion conflicts with another write (409) and the source can be read
            again: for each retry 1 HEAD and all of these again

        Example:
            >>> bucket.upload_object("lines.txt", (f"{n}\\n".encode() for n in range(3))).text
            '0\\n1\\n2\\n'
        """
        given: dict[str, Any] = {**(ExtraArgs or {}), **extra}
        metadata = given.pop("Metadata", None) if metadata is None else metadata
        if part_size_bytes is None and Config is not None:
            chunk_size = getattr(Config, "multipart_chunksize", None)
            if not isinstance(chunk_size, int):
                raise TypeError(f"Config must be a TransferConfig of boto3, not {type(Config).__name__}")
            part_size_bytes = max(MIN_PART_BYTES, chunk_size)
        key = check_key(key, bucket=self._name)
        put_parameters.check_parameters(given)
        call = None
        if if_absent or if_match is not None:
            condition = conditional.precondition(if_absent=if_absent, if_match=if_match)
            user_metadata.marked(
                user_metadata.encode(metadata), condition.token
            )  # reject metadata that is too large before any request
            conditional.require(self._address, "put_if_absent" if if_absent else "put_if_match")
            metadata = {**(metadata or {}), IDEMPOTENCY_TOKEN: condition.token}
            call = conditional.ConditionalWrite(self._address.object(key), condition)
        config = upload.UploadConfig(part_size_bytes, verify_checksum)
        reported = Callback if progress is None else progress
        written = upload.upload(
            self._address.object(key), stream, metadata=metadata, call=call, config=config, progress=reported, **given
        )
        return S3Object._create(self, key, head=written)

    def download_object(
        self,
        key: str,
        writable_stream: Writable,
        *,
        version_id: str | None = None,
        verify_checksum: bool | None = None,
        progress: Progress = None,
        ExtraArgs: Mapping[str, Any] | None = None,
        Callback: Callable[[int], builtins.object] | None = None,
        Config: TransferConfig | None = None,
    ) -> None:
        """Download an object to a writable stream, in order, in bounded memory.

        Args:
            key: The key.
            writable_stream: An object with ``write``; it stays open.
            version_id: A version of the object.
            verify_checksum: Whether to compare the object's MD5 with that of the received bytes; None compares objects up to 16 MiB.
            progress: How to report progress in bytes, see ``Progress``.
            ExtraArgs: As in messageflux and boto3: S3's own parameters.
            Callback: As in messageflux and boto3; the same as ``progress``.
            Config: As in messageflux and boto3; ignored.

        Raises:
            S3NoSuchItem: The object does not exist.
            S3ObjectChanged: The object was replaced during the download.
            BlockingIOError: The target is a raw file in non-blocking mode and takes no data now.
            ValueError: ``ExtraArgs`` names a part of the object (``Range``, ``PartNumber``); the whole object is downloaded.

        Requests:
            1 GET

        Example:
            >>> import io
            >>> _ = bucket.put_object("a", "hello")
            >>> target = io.BytesIO()
            >>> bucket.download_object("a", target)
            >>> target.getvalue()
            b'hello'
        """
        download.download_to_writable(
            self._address.object(check_key(key, bucket=self._name), version_ids.check(version_id)), writable_stream,
            verify_checksum=verify_checksum, progress=Callback if progress is None else progress, **(ExtraArgs or {}),
        )  # fmt: skip

    def upload_file(
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
    ) -> S3Object:
        """Upload a file.

        Args:
            path: The file.
            key: The key.
            metadata: User metadata, a mapping of text to text.
            if_absent: Write only if the object does not exist.
            if_match: Write only if the object has this etag.
            part_size_bytes: The size of a part; None for a suitable one.
            verify_checksum: Whether to compare the store's checksum with a local one.
            progress: How to report progress in bytes, see ``Progress``.
            extra: Further parameters, as for ``put_object``.

        Returns:
            The handle, with size, etag and version.

        Raises:
            FileNotFoundError: The file does not exist.
            S3ChecksumError: The store did not receive the bytes that were sent.

        Requests:
            those of ``upload_object``

        Example:
            >>> import pathlib, tempfile
            >>> path = pathlib.Path(tempfile.mkdtemp(), "a.txt")
            >>> _ = path.write_text("hello")
            >>> bucket.upload_file(path, "docs/a.txt").size
            5
        """
        if not isinstance(path, (str, os.PathLike)):
            raise TypeError(f"path must be text or a path (os.PathLike), not {type(path).__name__}")
        return self.upload_object(
            key, Path(path), metadata, if_absent=if_absent, if_match=if_match, part_size_bytes=part_size_bytes,
            verify_checksum=verify_checksum, progress=progress, **extra,
        )  # fmt: skip

    def download_file(
        self,
        key: str,
        path: str | os.PathLike[str],
        *,
        overwrite: bool = True,
        resume: bool = False,
        version_id: str | None = None,
        verify_checksum: bool | None = None,
        progress: Progress = None,
    ) -> S3Object:
        """Download an object to a file, which appears under its name only when complete.

        Args:
            key: The key.
            path: The file; parent folders are created. If it is a folder (one that exists, or a path that ends with
                ``/``), the file in it is named after the last part of the key, as by ``download_folder``. A link to a
                file is kept, and its target is replaced. Pipes and character devices are written to directly.
            overwrite: Whether an existing file is replaced.
            resume: Whether to continue a killed download that was started with ``resume=True``.
            version_id: A version of the object.
            verify_checksum: Whether to compare the object's MD5 with that of the received bytes. None compares
                objects up to 16 MiB, since MD5 is slower than the network.
            progress: How to report progress in bytes, see ``Progress``.

        Returns:
            The handle of the downloaded object, with its etag, size, version and metadata.

        Raises:
            FileExistsError: The file exists, and ``overwrite`` is not set; or it is a socket or a block device.
            IsADirectoryError: A folder with the name of the file exists.
            S3NoSuchItem: The object does not exist.
            S3ObjectChanged: The object was replaced during the download.
            S3ChecksumError: The received bytes are not those of the object.

        Requests:
            1 GET up to 16 MiB, else 1 for each 5 to 8 MiB
        """
        key, version_id = check_key(key, bucket=self._name), version_ids.check(version_id)
        target = file_target.destination(path, key, overwrite=overwrite, resume=resume)
        found = download.download(
            self._address.object(key, version_id),
            target,
            verify_checksum=verify_checksum,
            progress=progress,
        )
        return S3Object._create(self, key, version_id, head=found)

    def upload_folder(
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
        """Upload every file of a folder, under a prefix.

        Args:
            folder: The folder.
            prefix: ``"photos"`` means ``"photos/"``; ``""`` is the whole bucket.
            include: Globs for the path below the folder; only files that match are uploaded.
            exclude: Globs for the path below the folder; files that match are not uploaded.
            metadata: User metadata of every object, a mapping of text to text.
            part_size_bytes: The size of a part of a large file; None for a suitable one.
            verify_checksum: Whether to compare the store's checksum of a large file with a local one.
            progress: How to report progress in bytes, see ``Progress``.
            extra: Further parameters of every upload, as for ``put_object``.

        Returns:
            The keys, in upload order.

        Raises:
            S3InvalidName: The prefix is not valid in S3, or is a URI (``s3://…``).
            FileNotFoundError: The folder does not exist.
            S3BatchError: Some uploads failed; the others were done. A file whose name is not UTF-8 or too long for a key fails.

        Requests:
            1 upload per file
        """
        put_parameters.check_parameters(extra)
        return sync.upload_folder(
            self._address,
            folder,
            prefix,
            selection=sync.Selection(include, exclude),
            metadata=metadata,
            config=upload.UploadConfig(part_size_bytes, verify_checksum),
            progress=progress,
            **extra,
        )

    def download_folder(
        self,
        prefix: str,
        folder: str | os.PathLike[str],
        *,
        overwrite: bool = True,
        include: sync.Globs = None,
        exclude: sync.Globs = None,
        progress: Progress = None,
    ) -> list[str]:
        """Download every object under a prefix into a folder. Nothing is written outside the folder.

        Args:
            prefix: ``"photos"`` means ``"photos/"``; ``""`` is the whole bucket.
            folder: The folder; created if it is missing.
            overwrite: Whether existing files are replaced.
            include: Globs for the rest of the key after the prefix; only objects that match are downloaded.
            exclude: Globs for the rest of the key after the prefix; objects that match are not downloaded.
            progress: How to report progress in bytes, see ``Progress``.

        Returns:
            The paths of the files, relative to the folder, in key order.

        Raises:
            S3InvalidName: Two keys would be written to the same file, or the prefix is a URI (``s3://…``). Nothing was downloaded.
            S3BatchError: Some downloads failed; the others were done.

        Requests:
            1 per 1,000 keys, and 1 GET per object
        """
        plan = sync.plan_download(self._address, prefix, folder, selection=sync.Selection(include, exclude))
        return sync.download_objects(plan, overwrite=overwrite, progress=progress)

    def sync_from_folder(
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
    ) -> SyncPlan:
        """Make the objects under a prefix match a folder.

        Args:
            folder: The folder.
            prefix: ``"photos"`` means ``"photos/"``; ``""`` is the whole bucket.
            delete: Whether objects without a file are deleted, after all uploads succeeded. Objects that were written
                since the plan was made are kept and reported as failures. Objects whose file may be behind a symbolic
                link to a folder are kept, because such links are not followed.
            dry_run: Whether to return the plan without applying it; ``plan.apply()`` applies it.
            compare: How changes are detected, besides the size: ``"etag"`` (the content, by the object's etag or other
                data from the store; files that cannot be compared are copied), ``"mtime"``, or ``"size"`` for the size
                only.
            include: Globs for the path below the folder; only what matches is copied or deleted.
            exclude: Globs for the path below the folder; what matches is neither copied nor deleted.
            progress: How to report progress in bytes, see ``Progress``.

        Returns:
            The plan: which files are copied, skipped and deleted, and why; already applied unless ``dry_run`` is set.

        Raises:
            S3InvalidName: The prefix is not valid in S3, or is a URI (``s3://…``).
            S3BatchError: Some uploads failed; the others were done, and nothing was deleted. Or objects changed since
                the plan was made, and were not deleted.

        Requests:
            1 per 1,000 keys, 1 upload per changed file, and 1 or 2 HEADs for each file if the etag alone does
            not show that it is unchanged; to delete, 1 per 1,000 keys under the common prefix of the objects to delete, and 1
            per 1,000 of these objects
        """
        plan = sync.plan_to_store(
            self._address,
            folder,
            prefix,
            delete=delete,
            compare=compare,
            selection=sync.Selection(include, exclude),
        )
        return plan if dry_run else sync.apply(plan, progress, is_fresh=True)

    def sync_to_folder(
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
    ) -> SyncPlan:
        """Make a folder match the objects under a prefix. Nothing is written or deleted outside the folder.

        Args:
            prefix: ``"photos"`` means ``"photos/"``; ``""`` is the whole bucket.
            folder: The folder; created if it is missing.
            delete: Whether files without an object are deleted, after all downloads succeeded. A file is kept and reported
                as a failure if the file was written, or its object was created, since the plan was made.
            dry_run: Whether to return the plan without applying it; ``plan.apply()`` applies it.
            compare: As for ``sync_from_folder``.
            include: Globs for the rest of the key after the prefix; only what matches is copied or deleted.
            exclude: Globs for the rest of the key after the prefix; what matches is neither copied nor deleted.
            progress: How to report progress in bytes, see ``Progress``.

        Returns:
            The plan: which files are copied, skipped and deleted, and why; already applied unless ``dry_run`` is set.

        Raises:
            S3InvalidName: Two keys would be written to the same file, or the prefix is a URI (``s3://…``). Nothing was downloaded.
            S3BatchError: Some downloads failed; the others were done, and nothing was deleted.

        Requests:
            1 per 1,000 keys, 1 GET per changed object, and 1 or 2 HEADs for each file if the etag alone does not show
            that it is unchanged (1 HEAD per part if the object has parts of unequal sizes); to delete, 1 per 1,000 keys
            under the common prefix of the keys of the deleted files
        """
        plan = sync.plan_to_folder(
            self._address,
            prefix,
            folder,
            delete=delete,
            compare=compare,
            selection=sync.Selection(include, exclude),
        )
        return plan if dry_run else sync.apply(plan, progress, is_fresh=True)

    def copy_object(
        self,
        source_key: str,
        dest_key: str,
        *,
        metadata: Mapping[str, str] | None = None,
        if_absent: bool = False,
        if_match: str | None = None,
        part_size_bytes: int | None = None,
        **extra: Unpack[PutParameters],
    ) -> S3Object:
        """Copy an object of any size within the bucket, on the server.

        Args:
            source_key: The key to copy from.
            dest_key: The key to copy to.
            metadata: User metadata to replace that of the source; None keeps it.
            if_absent: Copy only if no object with the new key exists.
            if_match: Copy only if the object with the new key has this etag.
            part_size_bytes: The number of bytes per request for an object above 5 GiB; None for 512 MiB.
            extra: Further parameters to replace those of the source, as for ``put_object``.

        Returns:
            The handle of the copy.

        Raises:
            S3InvalidName: ``dest_key`` begins with ``s3://`` or ``mfs3://``, as for ``copy_to``.
            S3NoSuchItem: The object does not exist.
            S3ObjectExists: With ``if_absent``: an object with the new key exists already.
            S3PreconditionFailed: With ``if_match``: the existing object has another etag. With ``outcome_unknown`` set: a
                response was lost, and the object may have been copied.
            S3Unsupported: The store does not honour conditions on copies; nothing was copied.

        Requests:
            1 HEAD, 1 COPY (with a condition also those of a probe, once per store)
        """
        return self.object(source_key).copy_to(
            dest_key,
            metadata=metadata,
            if_absent=if_absent,
            if_match=if_match,
            part_size_bytes=part_size_bytes,
            **extra,
        )

    # -- locks ------------------------------------------------------------------------------------------------------------------------

    def lock(
        self,
        key: str,
        *,
        ttl: float = 30,
        owner: str | None = None,
        data: Mapping[str, Any] | None = None,
        wait: float = 0,
    ) -> S3Lock:
        """Acquire a lease on a key: one holder at a time, with a fencing token; others may take it over after it expires.

        Use ``with``, or call ``release()`` on the lock.

        Args:
            key: The key of the lock object, which is not deleted on release.
            ttl: Seconds that the lease lasts after its last renewal; a thread renews it every ``ttl / 3`` seconds.
            owner: The name of the holder; None for the machine and process.
            data: A JSON-serializable mapping, for others to read.
            wait: Seconds to wait for the lock.

        Raises:
            S3LockError: The lock is held; ``lock_holder`` is its holder. Or the object is not a lock file; nothing was
                written.
            S3Unsupported: The store does not honour conditional writes; nothing was written.
            ValueError: An argument is invalid.

        Requests:
            1 GET, 1 PUT (more while it waits; also those of a probe, once per store)

        Example:
            >>> with bucket.lock("locks/nightly", owner="worker-7") as lock:
            ...     lock.check()
        """
        return S3Lock(
            self._address.object(check_key(key, bucket=self._name)), ttl=ttl, owner=owner, data=data, wait=wait
        ).acquire()

    def acquire_lock(self, key: str, data: Mapping[str, Any] | None = None) -> S3Object:
        """Create a lock file if none exists. Unlike the lease of ``lock()``, this lock never expires.

        Args:
            key: The key of the lock file.
            data: A JSON-serializable mapping; ``user`` or ``owner`` in it is the holder of the lock. Without data the
                file names the machine and process as ``owner``.

        Raises:
            S3LockError: The lock is held; ``lock_holder`` is its holder. Or the object is not a lock file; nothing was
                written.
            S3Unsupported: The store does not honour conditional writes; nothing was written.

        Requests:
            1 PUT, and 1 GET if the lock is held

        Example:
            >>> _ = bucket.acquire_lock("job.lock", {"user": "ann"})
            >>> bucket.check_lock("job.lock")
            {'user': 'ann'}
            >>> bucket.release_lock("job.lock")
        """
        key = check_key(key, bucket=self._name)
        return S3Object._create(self, key, head=locks.acquire_lock(self._address.object(key), data))

    def release_lock(self, key: str) -> None:
        """Release a lease, or delete any other lock file, even an invalid one; idempotent. Requests: 1 GET, and 1 DELETE or 1 PUT."""
        locks.release_lock(self._address.object(check_key(key, bucket=self._name)))

    def check_lock(self, key: str) -> dict[str, Any] | None:
        """Return the data of a lock.

        Args:
            key: The key of the lock.

        Returns:
            The data, never empty, if the lock is held; None if it does not exist or the lease is free.

        Raises:
            S3LockError: The object is not a lock file: empty, not JSON, or a JSON object without entries. The lock may
                be held.

        Requests:
            1 GET
        """
        return locks.check_lock(self._address.object(check_key(key, bucket=self._name)))

    # -- finding ------------------------------------------------------------------------------------------------------------------

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
    ) -> ObjectQuery:
        """Return a lazy query for objects, which can be iterated any number of times.

        Args:
            prefix: Prefix of the keys.
            delimiter: Roll up keys that contain this text after the prefix into common prefixes (``prefixes()``,
                ``entries()``).
            glob: Pattern for the whole key, also beside ``prefix``, or a list of patterns, at least one of which must match;
                ``*`` and ``?`` do not match ``/``, ``**`` does, and ``**/`` also matches no folder. The literal beginning that
                all patterns share is sent as prefix.
            regex: Regular expression, searched for anywhere in the key.
            start_after: Only keys after this one.
            modified_after: Only objects modified later (a naive time is UTC).
            modified_before: Only objects modified earlier.
            min_size: Only objects of at least this many bytes.
            max_size: Only objects of at most this many bytes.
            limit: The largest number of results.
            versions: List all versions of each object instead of the current one.

        Raises:
            TypeError: An argument is of the wrong type.
            ValueError: An argument is invalid, such as a limit below 1.

        Requests:
            none; iterating the query: 1 per 1,000 keys, and about a tenth more for a long listing of a distant store, unless the query is
            ``sequential()``; with ``start_after``, on a store that is not known to list in key order, 1 more for each character in it that
            comes before ``/``
        """
        return ObjectQuery(
            self,
            criteria(
                prefix=prefix,
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
            ),
        )

    def list_common_prefixes(self, prefix: str = "", delimiter: str = "/") -> list[str]:
        """Return the common prefixes ("folders") directly under a prefix.

        Requests:
            1 per 1,000 entries
        """
        return [*self.find(prefix, delimiter=delimiter).prefixes()]

    # -- display ------------------------------------------------------------------------------------------------------------------

    def show(self) -> Rendered:
        """Return a table of the bucket's settings (versioning, lifecycle, public access, encryption) and a table of its first entries.

        Raises:
            S3NoSuchBucket: The bucket does not exist.

        Requests:
            1 for the entries, 1 for each setting (2 for public access)
        """
        entries = self.find(delimiter="/").limit(show.ENTRIES + 1).entries()
        listed = show.tabulate_entries(
            entries, show.ENTRIES, "what is in it"
        )  # must come first: raises if the bucket is missing
        return show.describe_bucket(
            self.name,
            {
                "versioning": lambda: self.versioning.get().status or "never enabled",
                "lifecycle": lambda: str(self.lifecycle.get()),
                "public": lambda: str(self.public_access.status()),
                "encryption": lambda: "; ".join(self.encryption.get().lines()) or "none by default",
            },
            listed,
        )

    def usage(self, prefix: str = "", depth: int = 1, *, progress: Progress = None) -> Usage:
        """Count the objects and bytes under a prefix. Calls ``find(prefix).usage(depth)``.

        Args:
            prefix: Prefix of the keys.
            depth: The number of levels below the prefix that are counted separately.
            progress: How to report progress in objects, see ``Progress``.

        Requests:
            1 per 1,000 keys

        Example:
            >>> _ = bucket.put_objects([("a/1", "xx"), ("b/2", "x")])
            >>> [*bucket.usage().by_prefix]
            ['a/', 'b/']
        """
        return self.find(prefix).usage(depth, progress=progress)

    def _repr_html_(self) -> str:
        return show.summarize_bucket(self.name, self._connection.config).html

    def _ipython_key_completions_(self) -> list[str]:
        """Return the keys of the first page, as completions of ``bucket["``. 1 request."""
        try:
            return [entry[0] for entry in self.find().limit(1000)._listed()]
        except S3Error:
            return []  # no errors while typing

    # -- names from messageflux ---------------------------------------------------------------------------------------------------

    @property
    def s3_resource(self) -> S3ServiceResource:
        """The boto3 resource: the one passed to the constructor, or that of the store. Requests: none."""
        return self._connection.resource

    def compute_url(self, key: str) -> str:
        """Return the quoted HTTP URL of a key. It is unsigned, so it works only if the bucket is public.

        Args:
            key: The key.

        Returns:
            A URL under ``public_url`` if the store has one (``{bucket}`` in it stands for the name), else under the
            endpoint. An access point or a directory bucket has a host of its own.

        Requests:
            none
        """
        return f"{self.url}/{quote_key(check_key(key, bucket=self._name))}"

    def set_lifetime_in_days(self, days: int) -> None:
        """Expire all objects after this many days; 0 or less cancels that. Requests: those of ``lifecycle.set_lifetime(days)``."""
        self.lifecycle.set_lifetime(days)

    def allow_public_access(self) -> None:
        """Let everybody read and list the bucket. Requests: those of ``public_access.allow()``."""
        self.public_access.allow()

    def find_objects(
        self, prefix: str | None = None, delimiter: str | None = None, max_keys: int = 1000, **kwargs: Any
    ) -> Iterator[S3Object]:
        """Iterate over objects; ``find()`` has more criteria.

        Args:
            prefix: Prefix of the keys.
            delimiter: Keys that contain this text after the prefix are left out.
            max_keys: The page size, not a limit, as in messageflux.
            kwargs: Further parameters of the listing; ``Marker`` is still supported.

        Raises:
            TypeError: An argument is given twice (``prefix`` and ``Prefix``), or ``kwargs`` names another bucket.
            ValueError: An argument is invalid.

        Requests:
            1 per ``max_keys`` keys
        """
        if isinstance(max_keys, bool) or not isinstance(max_keys, int) or max_keys < 1:
            raise ValueError(f"max_keys must be a whole number of at least 1, not {max_keys!r}")
        if "Bucket" in kwargs:
            raise TypeError("find_objects lists this bucket: Bucket= cannot be given")
        # Pass these on as criteria, not as parameters: the keys in the response are checked against the criteria.
        for name, given in (("Prefix", prefix), ("Delimiter", delimiter), ("StartAfter", kwargs.get("Marker"))):
            if name in kwargs and given is not None:
                raise TypeError(f"{name} is given twice")
        prefix, delimiter = kwargs.pop("Prefix", prefix), kwargs.pop("Delimiter", delimiter)
        marker = kwargs.pop("StartAfter", kwargs.pop("Marker", None))
        kwargs.pop("EncodingType", None)  # keys are decoded here in any case
        query = self.find(prefix, delimiter=delimiter, start_after=marker)
        return query._refined(page_size=min(max_keys, 1000), extra=tuple(kwargs.items())).objects()

    def list_objects(self) -> Iterator[S3Object]:
        """Iterate over all objects. Calls ``find().objects()``. Requests: 1 per 1,000 keys."""
        return self.find().objects()

    # -- special methods ----------------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name!r})"

    def __eq__(self, other: builtins.object) -> bool:
        if not isinstance(other, S3Bucket):
            return NotImplemented
        return (
            self._name == other._name and self._connection.config.endpoint_url == other._connection.config.endpoint_url
        )

    def __hash__(self) -> int:
        return hash(self._name)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self._connection, self._name)


def _connection_of(s3_resource: S3ServiceResource | S3Client | S3Store) -> Connection:
    known = getattr(s3_resource, "_connection", None)
    return known if isinstance(known, Connection) else Connection.from_boto3(s3_resource).for_store()


def _written(item: Any, bucket_name: str, extra: Mapping[str, Any]) -> batch.PutItem:
    """Validate one item of ``put_objects``."""
    if not isinstance(item, (tuple, list)) or not 2 <= len(item) <= 3:
        raise TypeError(f"items must give (key, data) or (key, data, metadata), not {type(item).__name__}")
    key, data, *rest = item
    body = operations.body_bytes(data, f"the data of {key!r}")
    return batch.PutItem(check_key(key, bucket=bucket_name), body, rest[0] if rest else None, extra)


def _rebuild(cls: type[S3Bucket], connection: Connection, name: str) -> S3Bucket:
    bucket = cls.__new__(cls)
    bucket._connection = connection
    bucket._name = name
    bucket._store = None
    return bucket
