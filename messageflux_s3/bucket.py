"""S3Bucket: puts the floors below together. Read this file first.

A bucket keeps the verbs about its objects and about its own existence. Whatever is ``?something`` in S3's URL is a sub-resource
(``bucket.lifecycle``), work over many objects belongs to the query (``bucket.find(…)``), and what one object can do is the object's.
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
from typing import TYPE_CHECKING, Any, cast

from ._bulk import batch
from ._bulk.batch import BatchResult
from ._bulk.progress import Progress, reporting, watched
from ._bulk.versions import abort_uploads, check_deletable, clear_versions
from ._client import buckets
from ._client.connection import Connection
from ._client.service_resource import resource_type
from ._display import show
from ._display.usage import Usage
from ._files import download, file_target, sync, upload
from ._files.sync import SyncPlan
from ._formats import metadata as user_metadata
from ._formats.keys import check_bucket_name, check_existing_bucket_name, check_key, quote_key
from ._formats.metadata import IDEMPOTENCY_TOKEN
from ._formats.render import Rendered
from ._objects import conditional, drivers, operations, put_parameters
from ._objects import lock as locks
from ._objects.bodies import check_body
from ._objects.drivers import Blocking, Steps
from ._objects.lock import S3Lock
from ._objects.multipart import MIN_PART_BYTES
from .errors import Failure, S3AccessDenied, S3BucketExists, S3Error, S3InvalidName, S3NoSuchBucket
from .object import S3Object
from .query import ObjectQuery, criteria
from .subresources.cors import Cors
from .subresources.encryption import BucketEncryption
from .subresources.lifecycle import Lifecycle
from .subresources.notifications import Notifications
from .subresources.policy import Policy
from .subresources.public_access import PublicAccess
from .subresources.tags import Tags
from .subresources.versioning import Versioning

if TYPE_CHECKING:
    from boto3.s3.transfer import TransferConfig
    from mypy_boto3_s3 import S3ServiceResource
    from mypy_boto3_s3.service_resource import Bucket
    from typing_extensions import Self, Unpack

    from ._objects.bodies import Body, Data, UploadSource, Writable
    from ._objects.put_parameters import PutParameters
    from .store import S3Store

logger: logging.Logger = logging.getLogger("messageflux_s3")


class S3Bucket:
    """One bucket. ``store.bucket(name)`` gives one without a request; the constructor is messageflux's and checks that it exists.

    Example:
        >>> bucket.put_object("2026/a.json", b'{"total": 7}', {"source": "erp"})
        S3Object('s3://.../2026/a.json')
        >>> [obj.size for obj in bucket.find(prefix="2026/")]
        [12]
    """

    _connection: Connection
    _name: str
    _store: S3Store | None

    def __init__(self, bucket_name: str, s3_resource: S3ServiceResource | S3Store, auto_create: bool = False) -> None:
        """Make a handle as messageflux does: check that the bucket exists, or create it.

        Args:
            bucket_name: The bucket's name.
            s3_resource: A boto3 S3 resource, used as it is, or an S3Store.
            auto_create: Whether to create the bucket where there is none.

        Raises:
            S3InvalidName: This is no bucket name.
            S3NoSuchBucket: There is no such bucket, and ``auto_create`` is not set.
            S3AccessDenied: The store refuses to say whether there is one, or to create it.
            S3BucketExists: With ``auto_create``: the name is taken by another account.

        Requests:
            1 HEAD (and 1 PUT where the bucket is created)
        """
        self._bind(check_bucket_name(bucket_name), s3_resource)
        if auto_create:
            self._create(exist_ok=True)
        else:
            self._connection.call("HeadBucket", Bucket=bucket_name)

    @classmethod
    def from_boto3(cls, bucket: Bucket) -> Self:
        """Return the handle of a boto3 bucket, around the same client.

        Args:
            bucket: boto3's ``Bucket``, from any S3 resource.

        Returns:
            The handle; its ``store`` uses the client of the boto3 bucket as it is.

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
    def _unchecked(cls, bucket_name: str, s3_resource: S3ServiceResource | S3Store) -> Self:
        """Return a handle without asking whether the bucket exists."""
        self = cls.__new__(cls)
        self._bind(check_bucket_name(bucket_name), s3_resource)
        return self

    @classmethod
    def _existing(cls, bucket_name: str, s3_resource: S3ServiceResource | S3Store) -> Self:
        """Return the handle of a bucket that a store or an event named. Its name may be older than today's rules for names."""
        self = cls.__new__(cls)
        self._bind(check_existing_bucket_name(bucket_name), s3_resource)
        return self

    @classmethod
    def _from_client(cls, bucket_name: str, boto3_object: Any) -> Self:
        """Return a handle that uses the client of a boto3 resource: of the service, a bucket or an object."""
        self = cls.__new__(cls)
        self._connection = Connection.from_resource(boto3_object)
        self._name = check_existing_bucket_name(bucket_name)
        self._store = None
        return self

    def _bind(self, bucket_name: str, s3_resource: S3ServiceResource | S3Store) -> None:
        self._connection = _connection_of(s3_resource)
        self._store = cast("S3Store", s3_resource) if hasattr(s3_resource, "_connection") else None
        self._name = bucket_name

    # -- making and finding buckets ---------------------------------------------------------------------------------------------------

    @classmethod
    def create_bucket(
        cls,
        s3_resource: S3ServiceResource | S3Store,
        bucket_name: str,
        lifetime_in_days: int | None = None,
        allow_public_access: bool = False,
        exist_ok: bool = True,
    ) -> Self:
        """Create a bucket.

        Args:
            s3_resource: A boto3 S3 resource or an S3Store.
            bucket_name: The new bucket's name.
            lifetime_in_days: After how many days its objects expire; None leaves that alone, 0 or less cancels it.
            allow_public_access: Whether everybody may read and list it.
            exist_ok: Whether a bucket of ours that exists already will do.

        Returns:
            The bucket; called on a subclass, one of that class.

        Raises:
            S3BucketExists: The name is taken: by another account, or (with ``exist_ok=False``) by us.
            S3AccessDenied: The store refuses to say whether the bucket exists, or to create it; also with ``exist_ok``.

        Requests:
            1 HEAD (and 1 GET where that is refused), 1 PUT where there is none; those of ``set_lifetime_in_days`` and
            ``allow_public_access`` where asked for

        Example:
            >>> s3.S3Bucket.create_bucket(store, "scratch-1", lifetime_in_days=30)
            S3Bucket('scratch-1')
        """
        bucket = cls._unchecked(bucket_name, s3_resource)
        bucket._create(exist_ok=exist_ok)
        if lifetime_in_days is not None:
            bucket.set_lifetime_in_days(lifetime_in_days)
        if allow_public_access:
            bucket.allow_public_access()
        return bucket

    @classmethod
    def list_buckets(cls, s3_resource: S3ServiceResource | S3Store) -> Iterator[Self]:
        """The buckets of the account, also those whose names are older than today's rules (``Old_Bucket``).

        Args:
            s3_resource: A boto3 S3 resource or an S3Store.

        Requests:
            1 per 10,000 buckets
        """
        for found in buckets.list_all(_connection_of(s3_resource)):
            try:
                bucket = cls._existing(found["Name"], s3_resource)
            except S3InvalidName as error:
                logger.warning("a bucket is left out of the listing, since no S3 client can address it: %s", error)
                continue
            yield bucket

    def _create(self, *, exist_ok: bool) -> None:
        """Create the bucket unless it is there: creating it again would reset its ACL in us-east-1."""
        if self._is_there():
            if exist_ok:
                return
            raise S3BucketExists(
                f"the bucket {self._name!r} exists already; exist_ok=True takes it as it is",
                operation="CreateBucket",
                bucket=self._name,
            )
        try:
            buckets.create(self._connection, self._name)
        except S3BucketExists as error:
            if not (exist_ok and (error.code == "BucketAlreadyOwnedByYou" or self._is_ours())):
                raise

    def _is_there(self) -> bool:
        """Return whether the bucket is there and can be listed.

        Raises:
            S3AccessDenied: The store refuses to say. The bucket may be another account's or ours without s3:ListBucket; on some stores
                it may not exist.
        """
        try:
            self._connection.call("HeadBucket", Bucket=self._name)
            return True
        except S3NoSuchBucket:
            return False
        except S3AccessDenied:
            pass  # a HEAD is refused without a word: a wrong clock or a wrong signature looks the same
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
        """Whether a bucket that some stores call "existing" without saying whose answers us."""
        if self._connection.is_aws:
            return False
        try:
            return self.exists()
        except S3AccessDenied:
            return False

    # -- who it is: no request ----------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The bucket's name. Requests: none."""
        return self._name

    @property
    def boto3(self) -> Bucket:
        """boto3's resource object for the same bucket, made anew at each access. Requests: none."""
        return self._connection.resource.Bucket(self._name)

    @property
    def store(self) -> S3Store:
        """The store that the bucket is in. Requests: none."""
        if self._store is None:
            # Made from boto3's objects, by messageflux's constructor or from_boto3(): there was no store to be handed.
            from .store import S3Store

            self._store = S3Store.from_resource(self._connection.resource)
        return self._store

    # -- its own existence ------------------------------------------------------------------------------------------------------------

    def exists(self) -> bool:
        """Ask whether the bucket is there, now.

        Raises:
            S3AccessDenied: The store refuses to say. Wrong credentials look the same: the answer to a HEAD has no body.

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
            force: Delete everything in it first: objects, versions, unfinished uploads.

        Raises:
            S3BucketNotEmpty: There is something in it, and ``force`` is not set.

        Requests:
            1; with ``force`` those of ``clear_objects(versions=True)`` too
        """
        if force:
            self.clear_objects(versions=True)
        buckets.delete(self._connection, self._name)

    def clear_objects(self, *, versions: bool = False, progress: Progress = None) -> None:
        """Delete all objects; the bucket stays.

        Args:
            versions: Delete old versions, delete markers and unfinished multipart uploads as well.
            progress: How to report progress in objects, see ``Progress``.

        Raises:
            S3BatchError: Some could not be deleted; ``failures`` says which and why.

        Requests:
            2 per 1,000 keys; with ``versions`` also 3, 2 per 1,000 versions and 1 an unfinished upload
        """
        self.delete_objects((obj.key for obj in self.find()), progress=progress)
        if versions:
            clear_versions(self._connection, self._name)
            abort_uploads(self._connection, self._name)

    # -- what is ?something in its URL ------------------------------------------------------------------------------------------------

    @cached_property
    def lifecycle(self) -> Lifecycle:
        """When objects expire. Requests: none."""
        return Lifecycle(self._connection, self._name)

    @cached_property
    def public_access(self) -> PublicAccess:
        """Who may read without a key. Requests: none."""
        return PublicAccess(self._connection, self._name)

    @cached_property
    def policy(self) -> Policy:
        """Who may do what. Requests: none."""
        return Policy(self._connection, self._name)

    @cached_property
    def versioning(self) -> Versioning:
        """Whether versions are kept. Requests: none."""
        return Versioning(self._connection, self._name)

    @cached_property
    def tags(self) -> Tags:
        """The bucket's tags. Requests: none."""
        return Tags(self._connection, self._name)

    @cached_property
    def cors(self) -> Cors:
        """Which web pages may read and write. Requests: none."""
        return Cors(self._connection, self._name)

    @cached_property
    def encryption(self) -> BucketEncryption:
        """The default encryption. Requests: none."""
        return BucketEncryption(self._connection, self._name)

    @cached_property
    def notifications(self) -> Notifications:
        """Whom the bucket tells of what happens in it. Requests: none."""
        return Notifications(self._connection, self._name)

    # -- one object -------------------------------------------------------------------------------------------------------------------

    def object(self, key: str, version_id: str | None = None) -> S3Object:
        """A handle on an object, whether it is there or not.

        Args:
            key: The key.
            version_id: A version of it; None for the current one.

        Raises:
            S3InvalidName: S3 does not take such a key.

        Requests:
            none
        """
        return S3Object._create(self, check_key(key, bucket=self._name), version_id)

    def __getitem__(self, key: str) -> S3Object:
        """``bucket[key]``: a handle. Requests: none."""
        return self.object(key)

    def __contains__(self, key: builtins.object) -> bool:
        """``key in bucket``. Requests: 1 HEAD."""
        if not isinstance(key, str):
            raise TypeError(f"key must be text, not {type(key).__name__}")
        return self.object(key).exists()

    __iter__ = None  # iterating a bucket would hide what it costs: find() is for that

    def get_object(self, key: str) -> S3Object:
        """Get an object now.

        Args:
            key: The key.

        Returns:
            The handle, knowing everything a HEAD would tell, and the body up to 8 MiB.

        Raises:
            S3NoSuchItem: There is no such object.

        Requests:
            1 GET
        """
        obj = self.object(key)
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
            buf: Bytes, text (written as UTF-8), or a readable.
            metadata: User metadata, text to text.
            if_absent: Only if there is no such object.
            if_match: Only if the object has this etag.
            extra: Further parameters: ``content_type``, ``cache_control``, ``storage_class``, ``encryption``, ``tags`` …
                (:class:`~messageflux_s3._objects.put_parameters.PutParameters`), or S3's own names for them, but for those that
                have an argument of their own (``Body``, ``Key``, ``Metadata``, ``IfMatch`` …).

        Returns:
            The handle, knowing size, etag and version.

        Raises:
            TypeError: ``buf`` is not what can be written, or the metadata no mapping of text to text.
            S3InvalidName: S3 does not take such a key.
            S3ObjectExists: With ``if_absent``: the object is there already.
            S3PreconditionFailed: With ``if_match``: the object has another etag; or ``outcome_unknown``.
            S3Unsupported: The store does not honour conditions; nothing was written.

        Requests:
            1 PUT (with a condition once a store those of a probe)
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
        check_key(key, bucket=self._name)
        check_body(buf, "buf")
        if hasattr(buf, "read"):
            upload = partial(self.upload_object, key, buf, metadata, if_absent=if_absent, if_match=if_match, **extra)
            uploaded: S3Object = yield Blocking(upload)
            return uploaded
        put_parameters.check_parameters(extra)
        body = operations.body_bytes(buf, "buf")
        if if_absent or if_match is not None:
            put = partial(
                conditional.put, self._connection, self._name, key, body, if_absent=if_absent, if_match=if_match, metadata=metadata, **extra
            )  # fmt: skip
            written = yield Blocking(put)
        else:
            written = yield from operations.put_steps(self._connection, self._name, key, body, metadata, extra)
        return S3Object._create(self, key, head=written)

    def put_json(
        self,
        key: str,
        value: Any,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
        **extra: Unpack[PutParameters],
    ) -> S3Object:
        """Write a value as JSON, in UTF-8.

        Args:
            key: The key.
            value: Whatever ``json.dumps`` takes.
            if_absent: Only if there is no such object.
            if_match: Only if the object has this etag.
            extra: As for ``put_object``.

        Requests:
            1 PUT
        """
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        typed: PutParameters = {"content_type": "application/json", **extra}
        return self.put_object(key, text, if_absent=if_absent, if_match=if_match, **typed)

    def get_json(self, key: str) -> Any:
        """Read a JSON value.

        Raises:
            S3NoSuchItem: There is no such object.
            S3InvalidContent: It is not JSON. Also a ValueError.

        Requests:
            1 GET
        """
        return self.object(key).json()

    def delete_object(self, key: str) -> None:
        """Delete an object; that there is none is no error.

        Requests:
            1 DELETE
        """
        self.object(key).delete()

    # -- many objects -------------------------------------------------------------------------------------------------------------

    def get_objects(self, keys: Iterable[str | S3Object]) -> Iterator[S3Object]:
        """Get many objects at once, in the order asked.

        Args:
            keys: Keys, or handles (with their versions); any number, taken as there is room.

        Returns:
            Handles that have their bodies (above 8 MiB: the headers only). One that failed raises its error when its ``body`` is
            read, as it would by itself. Leaving the iteration early gives up what is under way.

        Requests:
            1 GET per object

        Example:
            >>> _ = bucket.put_objects([("a", "1"), ("b", "2")])
            >>> [obj.text for obj in bucket.get_objects(["b", "a"])]
            ['2', '1']
        """
        if isinstance(keys, (str, bytes)):
            raise TypeError("keys must be an iterable of keys, not one key")
        handles = (key if isinstance(key, S3Object) else self.object(key) for key in keys)
        wanted = (batch.Wanted(handle.key, handle._version_id, tag=handle) for handle in handles)
        for handle, outcome in batch.get_many(self._connection, self._name, wanted):
            yield S3Object._create(self, handle.key, handle._version_id)._apply_result(outcome)

    def put_objects(
        self,
        items: Iterable[tuple[str, Data] | tuple[str, Data, Mapping[str, str] | None]],
        *,
        raise_errors: bool = True,
        progress: Progress = None,
        **extra: Unpack[PutParameters],
    ) -> BatchResult:
        """Write many objects at once.

        Args:
            items: ``(key, data)`` or ``(key, data, metadata)``, data being bytes or text; any number, taken as there is room. Items with
                the same key are written in this order, one after the other: the last one is what is stored.
            raise_errors: Whether to raise when some failed, rather than leave it to the result.
            progress: How to report progress in objects, see ``Progress``.
            extra: Further parameters of every write, as for ``put_object``.

        Returns:
            Which keys were written, in order, and which were not, with their errors.

        Raises:
            S3BatchError: Some failed; the others were written.
            TypeError: An item is no such tuple; those before it were written.

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
            for key, outcome in watched(batch.put_many(self._connection, self._name, written), report):
                if isinstance(outcome, S3Error):
                    failures.append(Failure(key, None, outcome))
                else:
                    succeeded.append(key)
        result = BatchResult(succeeded, failures)
        return result.raise_for_failures("PutObject") if raise_errors else result

    def delete_objects(
        self, keys: Iterable[str | S3Object], *, raise_errors: bool = True, progress: Progress = None
    ) -> BatchResult:
        """Delete many objects at once; that one is not there is no error.

        Args:
            keys: Keys, or handles (with their versions); any number.
            raise_errors: Whether to raise when some failed, rather than leave it to the result.
            progress: How to report progress in objects, see ``Progress``.

        Returns:
            Which keys are gone, and which are not, with their errors.

        Raises:
            S3BatchError: Some failed; the others are gone.

        Requests:
            1 per 1,000 keys (1 per key where the store has no bulk delete)

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
            if key._version_id is not None and not deletable:
                check_deletable(self._connection, self._name, key._version_id)
                deletable = key._version_id != "null"
            return key.key, key._version_id

        entries = (entry_of(key) for key in keys)
        return batch.deleted(self._connection, self._name, entries, raise_errors=raise_errors, progress=progress)

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
        """Write whatever can be read, of any size, in bounded memory. A readable stays open.

        Args:
            key: The key.
            stream: A readable (read from where it stands), an iterable of bytes, bytes, text, or a ``pathlib.Path``.
            metadata: User metadata, text to text.
            if_absent: Only if there is no such object; in parts the condition stands on their completion.
            if_match: Only if the object has this etag.
            part_size_bytes: The size of a part; None for one that fits.
            verify_checksum: Whether to compare the store's checksum with ours.
            progress: How to report progress in bytes, see ``Progress``.
            ExtraArgs: As in messageflux and boto3: S3's own parameters.
            Callback: As in messageflux and boto3; the same as ``progress``.
            Config: As in messageflux and boto3; its ``multipart_chunksize`` is the part size.
            extra: Further parameters, as for ``put_object``.

        Returns:
            The handle, knowing size, etag and version.

        Raises:
            S3ChecksumError: The store received other bytes than were sent.
            S3ObjectExists: With ``if_absent``: the object is there already.
            S3PreconditionFailed: With ``if_match``: the object has another etag; or ``outcome_unknown``. With ``retryable`` set, another
                write was under way each time, or ``stream`` can be read once only or gave other bytes when it was read again: nothing
                was written.
            S3Unsupported: The store does not honour the condition, of an upload in parts on its completion; no part was sent.
            OSError: ``stream`` is a file that became shorter, or an HTTP response that broke off, while it was read; nothing was written.
            TypeError: ``stream`` is nothing that can be read.

        Requests:
            1 PUT up to 16 MiB, else 1 POST, 1 PUT per part and 1 POST; after a failure 1 DELETE, so that no parts are left. With a
            condition, all of it and 1 HEAD again when the completion meets another write (409) and the source can be read again

        Example:
            >>> bucket.upload_object("lines.txt", (f"{n}\\n".encode() for n in range(3))).text
            '0\\n1\\n2\\n'
        """
        given: dict[str, Any] = {**(ExtraArgs or {}), **extra}
        metadata = given.pop("Metadata", None) if metadata is None else metadata
        if part_size_bytes is None and Config is not None:
            part_size_bytes = max(MIN_PART_BYTES, Config.multipart_chunksize)
        check_key(key, bucket=self._name)
        put_parameters.check_parameters(given)
        call = None
        if if_absent or if_match is not None:
            conditional.check(if_absent=if_absent, if_match=if_match)
            idempotency_token = conditional.new_idempotency_token()
            user_metadata.marked(
                user_metadata.encode(metadata), idempotency_token
            )  # what is too much is refused before anything is sent
            conditional.require(self._connection, self._name, "put_if_absent" if if_absent else "put_if_match")
            metadata = {**(metadata or {}), IDEMPOTENCY_TOKEN: idempotency_token}
            call = conditional.caller(
                self._connection, self._name, key, idempotency_token, if_absent=if_absent, if_match=if_match
            )
        written = upload.upload(
            self._connection, self._name, key, stream, metadata=metadata, call=call, part_size_bytes=part_size_bytes,
            verify_checksum=verify_checksum, progress=Callback if progress is None else progress, **given,
        )  # fmt: skip
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
        """Write an object to anything with ``write``, in order, in bounded memory.

        Args:
            key: The key.
            writable_stream: Where to; it stays open.
            version_id: A version of the object.
            verify_checksum: Whether to compare the object's MD5 with what arrived; None: up to 16 MiB.
            progress: How to report progress in bytes, see ``Progress``.
            ExtraArgs: As in messageflux and boto3: S3's own parameters.
            Callback: As in messageflux and boto3; the same as ``progress``.
            Config: As in messageflux and boto3; it changes nothing here.

        Raises:
            S3NoSuchItem: There is no such object.
            S3ObjectChanged: It was replaced in the middle.

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
            self._connection, self._name, check_key(key, bucket=self._name), writable_stream, version_id=version_id,
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
            metadata: User metadata, text to text.
            if_absent: Only if there is no such object.
            if_match: Only if the object has this etag.
            part_size_bytes: The size of a part; None for one that fits.
            verify_checksum: Whether to compare the store's checksum with ours.
            progress: How to report progress in bytes, see ``Progress``.
            extra: Further parameters, as for ``put_object``.

        Returns:
            The handle, knowing size, etag and version.

        Raises:
            FileNotFoundError: There is no such file.
            S3ChecksumError: The store received other bytes than were sent.

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
        """Download an object to a file, which is whole or not there.

        Args:
            key: The key.
            path: The file; folders above it are made. In a folder (one that exists, or a path that ends with ``/``) the file is named
                after the last part of the key, as ``download_folder`` names it. A link to a file is kept, and the file replaced. Pipes
                and character devices are written through.
            overwrite: Whether a file that is there is replaced.
            resume: Whether to go on where a killed download with ``resume=True`` ended.
            version_id: A version of the object.
            verify_checksum: Whether to compare the object's MD5 with that of what arrived. None: up to 16 MiB, since MD5 is slower than
                the network.
            progress: How to report progress in bytes, see ``Progress``.

        Returns:
            A handle for the object that was downloaded: its etag, size, version and metadata are known.

        Raises:
            FileExistsError: The file is there, and ``overwrite`` is not set; or it is a socket or a block device.
            IsADirectoryError: A folder of the file's name is in the way.
            S3NoSuchItem: There is no such object.
            S3ObjectChanged: It was replaced in the middle.
            S3ChecksumError: What arrived is not the object.

        Requests:
            1 GET up to 16 MiB, else 1 more for each 16 MiB
        """
        file = file_target.file_for(path, check_key(key, bucket=self._name))
        found = download.download(
            self._connection, self._name, key, file, version_id=version_id, overwrite=overwrite,
            resume=resume, verify_checksum=verify_checksum, progress=progress,
        )  # fmt: skip
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
        """Upload every file of a folder, below a prefix.

        Args:
            folder: The folder.
            prefix: ``"photos"`` means ``"photos/"``; ``""`` is the whole bucket.
            include: Globs over the path; only these.
            exclude: Globs over the path; not these.
            metadata: User metadata of every object, text to text.
            part_size_bytes: The size of a part of a large file; None for one that fits.
            verify_checksum: Whether to compare the store's checksum of a large file with ours.
            progress: How to report progress in bytes, see ``Progress``.
            extra: Further parameters of every upload, as for ``put_object``.

        Returns:
            The keys, in the order of the upload.

        Raises:
            FileNotFoundError: There is no such folder.
            S3BatchError: Some files failed; the others are there.

        Requests:
            1 upload per file
        """
        put_parameters.check_parameters(extra)
        return sync.upload_folder(
            self._connection,
            self._name,
            folder,
            prefix,
            include=include,
            exclude=exclude,
            metadata=metadata,
            part_size_bytes=part_size_bytes,
            verify_checksum=verify_checksum,
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
        """Download every object below a prefix into a folder; nothing is written outside it.

        Args:
            prefix: ``"photos"`` means ``"photos/"``; ``""`` is the whole bucket.
            folder: The folder; made where it is missing.
            overwrite: Whether files that are there are replaced.
            include: Globs over what follows the prefix; only these.
            exclude: Globs over what follows the prefix; not these.
            progress: How to report progress in bytes, see ``Progress``.

        Returns:
            The files' paths, relative to the folder, in key order.

        Raises:
            S3InvalidName: Two keys would fall on one file; nothing was downloaded.
            S3BatchError: Some objects failed; the others are there.

        Requests:
            1 per 1,000 keys, and 1 GET per object
        """
        plan = sync.plan_to_folder(
            self._connection, self._name, prefix, folder, compare=None, include=include, exclude=exclude
        )
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
        """Make what is below a prefix like a folder.

        Args:
            folder: The folder.
            prefix: ``"photos"`` means ``"photos/"``; ``""`` is the whole bucket.
            delete: Whether objects without a file are deleted, once everything else has arrived. Kept is what was written since the plan
                was made (a failure says so), and what may have a file behind a link to a folder: such links are not followed.
            dry_run: Whether only to plan; ``plan.apply()`` does it.
            compare: What tells a change, besides the size: ``"etag"`` (the content, by the object's etag or what else the store tells of
                it; what cannot be compared is copied), ``"mtime"``, or ``"size"`` for nothing more.
            include: Globs over the path; only these are copied or deleted.
            exclude: Globs over the path; these are neither copied nor deleted.
            progress: How to report progress in bytes, see ``Progress``.

        Returns:
            The plan: what is copied, skipped, deleted, and why; applied, unless ``dry_run`` is set.

        Raises:
            S3BatchError: Some files failed; the others are there, and nothing was deleted. Or objects changed since the plan was made,
                and were not deleted.

        Requests:
            1 per 1,000 keys, 1 upload per file that changed, and 1 or 2 HEADs for each file whose etag alone does not show that it is
            the same; to delete, 1 per 1,000 keys that begin as the deleted ones do, and 1 per 1,000 objects
        """
        plan = sync.plan_to_store(
            self._connection,
            self._name,
            folder,
            prefix,
            delete=delete,
            compare=compare,
            include=include,
            exclude=exclude,
        )
        return plan if dry_run else plan.apply(progress=progress)

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
        """Make a folder like what is below a prefix; nothing is written or deleted outside it.

        Args:
            prefix: ``"photos"`` means ``"photos/"``; ``""`` is the whole bucket.
            folder: The folder; made where it is missing.
            delete: Whether files without an object are deleted, once everything else has arrived. A file that was written, or has got an
                object, since the plan was made is kept, and a failure says so.
            dry_run: Whether only to plan; ``plan.apply()`` does it.
            compare: As for ``sync_from_folder``.
            include: Globs over what follows the prefix; only these are copied or deleted.
            exclude: Globs over what follows the prefix; these are neither copied nor deleted.
            progress: How to report progress in bytes, see ``Progress``.

        Returns:
            The plan: what is copied, skipped, deleted, and why; applied, unless ``dry_run`` is set.

        Raises:
            S3InvalidName: Two keys would fall on one file; nothing was downloaded.
            S3BatchError: Some objects failed; the others are there, and nothing was deleted.

        Requests:
            1 per 1,000 keys, 1 GET per object that changed, and 1 or 2 HEADs for each file whose etag alone does not show that it is the
            same (for parts of unequal sizes 1 HEAD per part); to delete, 1 per 1,000 keys that begin as those of the deleted files do
        """
        plan = sync.plan_to_folder(
            self._connection,
            self._name,
            prefix,
            folder,
            delete=delete,
            compare=compare,
            include=include,
            exclude=exclude,
        )
        return plan if dry_run else plan.apply(progress=progress)

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
        """Copy an object within the bucket, on the server, at any size.

        Args:
            source_key: The key to copy from.
            dest_key: The key to copy to.
            metadata: User metadata in place of the source's; None keeps it.
            if_absent: Only if there is no object under the new key.
            if_match: Only if the object under the new key has this etag.
            part_size_bytes: How much one request copies of an object above 5 GiB; None for 512 MiB.
            extra: Further parameters in place of the source's, as for ``put_object``.

        Returns:
            The copy's handle.

        Raises:
            S3NoSuchItem: There is no such object.
            S3ObjectExists: With ``if_absent``: the new key is taken already.
            S3PreconditionFailed: With ``if_match``: what is there has another etag; or ``outcome_unknown``.
            S3Unsupported: The store does not honour conditions on copies; nothing was copied.

        Requests:
            1 HEAD, 1 COPY (with a condition once a store those of a probe)
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
        """Take a lease on a key: one holder at a time, taken over when it expires, with a fencing token. Release it, or use ``with``.

        Args:
            key: The key of the lock's object; it stays.
            ttl: For how many seconds the lease is ours after the last renewal; a thread renews it every third of that.
            owner: Who we say we are; the machine and process where nothing is said.
            data: A mapping that JSON can write, for others to read.
            wait: For how many seconds to wait for it.

        Raises:
            S3LockError: Somebody else has it; ``lock_holder`` says who. Or the key holds something that is no lock file; nothing was
                written.
            S3Unsupported: The store does not honour conditional writes; nothing was written.
            ValueError: An argument has no meaning.

        Requests:
            1 GET, 1 PUT (more while it waits; once a store those of a probe)

        Example:
            >>> with bucket.lock("locks/nightly", owner="worker-7") as lock:
            ...     lock.check()
        """
        return S3Lock(self._connection, self._name, key, ttl=ttl, owner=owner, data=data, wait=wait).acquire()

    def acquire_lock(self, key: str, data: Mapping[str, Any] | None = None) -> S3Object:
        """Create a plain lock file, if there is none. It never expires: ``lock()`` does.

        Args:
            key: The key of the lock file.
            data: A mapping that JSON can write; ``user`` or ``owner`` in it says who has the lock. Without data the file names the
                machine and process as ``owner``.

        Raises:
            S3LockError: The lock is held; ``lock_holder`` says by whom. Or the key holds something that is no lock file; nothing was
                written.
            S3Unsupported: The store does not honour conditional writes; nothing was written.

        Requests:
            1 PUT, and 1 GET where it is held

        Example:
            >>> _ = bucket.acquire_lock("job.lock", {"user": "ann"})
            >>> bucket.check_lock("job.lock")
            {'user': 'ann'}
            >>> bucket.release_lock("job.lock")
        """
        return S3Object._create(self, key, head=locks.acquire_lock(self._connection, self._name, key, data))

    def release_lock(self, key: str) -> None:
        """Delete a plain lock file, also one that cannot be read, or free a lease; idempotent. Requests: 1 GET, and 1 DELETE or 1 PUT."""
        locks.release_lock(self._connection, self._name, key)

    def check_lock(self, key: str) -> dict[str, Any] | None:
        """Return what a lock file says.

        Args:
            key: The key of the lock.

        Returns:
            The data of a lock that is held, never empty; None where there is none, or the lease is free.

        Raises:
            S3LockError: The object is no lock file: empty, not JSON, or an object without entries. The lock may be held.

        Requests:
            1 GET
        """
        return locks.check_lock(self._connection, self._name, key)

    # -- finding ------------------------------------------------------------------------------------------------------------------

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
    ) -> ObjectQuery:
        """Which objects: a query, lazy, to be iterated as often as wanted.

        Args:
            prefix: What the key begins with.
            delimiter: Roll up keys that have it after the prefix (``prefixes()``, ``entries()``).
            glob: For the whole key; ``*`` and ``?`` stop at ``/``, ``**`` does not. Its beginning is sent as prefix.
            regex: Searched for anywhere in the key.
            start_after: Only keys after this one.
            modified_after: Only objects written later (a time without a zone is UTC).
            modified_before: Only objects written earlier.
            min_size: Only objects of at least this many bytes.
            max_size: Only objects of at most this many bytes.
            limit: At most so many.
            versions: Every version of every object instead of the current ones.

        Raises:
            TypeError: An argument is of the wrong type.
            ValueError: An argument has no meaning, such as a limit below 1.

        Requests:
            none; iterating the query: 1 per 1,000 keys
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
        """The "folders" right below a prefix.

        Requests:
            1 per 1,000 entries
        """
        return [*self.find(prefix, delimiter=delimiter).prefixes()]

    # -- looking ------------------------------------------------------------------------------------------------------------------

    def show(self) -> Rendered:
        """The bucket's settings (versions, lifecycle, public or not, encryption) and its first entries.

        Raises:
            S3NoSuchBucket: There is no such bucket.

        Requests:
            1 for the entries, 1 for each setting (2 for public access)
        """
        entries = self.find(delimiter="/").limit(show.ENTRIES + 1).entries()
        listed = show.tabulate_entries(entries, show.ENTRIES, "what is in it")  # first: a missing bucket raises here
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
        """Where the bytes are, below a prefix: ``find(prefix).usage(depth)``.

        Args:
            prefix: What keys begin with.
            depth: How many levels below the prefix are told apart.
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
        """Keys after ``bucket["``: those of the first page. 1 request."""
        try:
            return [entry[0] for entry in self.find().limit(1000)._listed()]
        except S3Error:
            return []  # whoever types sees no error

    # -- messageflux's names ------------------------------------------------------------------------------------------------------

    @property
    def s3_resource(self) -> S3ServiceResource:
        """boto3's resource: the one that was given, or the store's. Requests: none."""
        return self._connection.resource

    def compute_url(self, key: str) -> str:
        """Return the quoted HTTP address of a key. Without a signature it works only if the bucket is public.

        Args:
            key: The key.

        Returns:
            An address below ``public_url`` if the store has one (``{bucket}`` in it stands for the name), else below the endpoint.

        Requests:
            none
        """
        quoted = quote_key(check_key(key, bucket=self._name))
        public_url = self._connection.config.public_url
        if public_url is not None:
            return f"{public_url.replace('{bucket}', self._name).rstrip('/')}/{quoted}"
        return f"{self._connection.endpoint_url.rstrip('/')}/{self._name}/{quoted}"

    def set_lifetime_in_days(self, days: int) -> None:
        """Let all objects expire after some days; 0 or less cancels that. Calls ``lifecycle.set_lifetime(days)``. Requests: as there."""
        self.lifecycle.set_lifetime(days)

    def allow_public_access(self) -> None:
        """Let everybody read and list the bucket. Calls ``public_access.allow()``. Requests: as there."""
        self.public_access.allow()

    def find_objects(
        self, prefix: str | None = None, delimiter: str | None = None, max_keys: int = 1000, **kwargs: Any
    ) -> Iterator[S3Object]:
        """Find objects; ``find()`` can do more.

        Args:
            prefix: Beginning of the key.
            delimiter: Keys that contain it after the prefix are left out.
            max_keys: The page size, not a limit, as in messageflux.
            kwargs: Further parameters of the listing; ``Marker`` goes on working.

        Requests:
            1 per ``max_keys`` keys
        """
        if isinstance(max_keys, bool) or not isinstance(max_keys, int) or max_keys < 1:
            raise ValueError(f"max_keys must be a whole number of at least 1, not {max_keys!r}")
        marker = kwargs.pop("Marker", None)
        kwargs.pop("EncodingType", None)  # keys are decoded here in any case
        query = self.find(prefix, delimiter=delimiter, start_after=marker)
        return query._refined(page_size=min(max_keys, 1000), extra=tuple(kwargs.items())).objects()

    def list_objects(self) -> Iterator[S3Object]:
        """List all objects. Calls ``find().objects()``. Requests: 1 per 1,000 keys."""
        return self.find().objects()

    # -- Python's own -------------------------------------------------------------------------------------------------------------

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


def _connection_of(s3_resource: S3ServiceResource | S3Store) -> Connection:
    known = getattr(s3_resource, "_connection", None)
    return known if isinstance(known, Connection) else Connection.from_resource(cast("S3ServiceResource", s3_resource))


def _written(item: Any, bucket_name: str, extra: Mapping[str, Any]) -> batch.Written:
    """What ``put_objects`` was given for one object."""
    if not isinstance(item, (tuple, list)) or not 2 <= len(item) <= 3:
        raise TypeError(f"items must give (key, data) or (key, data, metadata), not {type(item).__name__}")
    key, data, *rest = item
    body = operations.body_bytes(data, f"the data of {key!r}")
    return batch.Written(check_key(key, bucket=bucket_name), body, rest[0] if rest else None, extra)


def _rebuild(cls: type[S3Bucket], connection: Connection, name: str) -> S3Bucket:
    bucket = cls.__new__(cls)
    bucket._connection = connection
    bucket._name = name
    bucket._store = None
    return bucket
