"""S3Object: a lazy handle on one object that caches what its requests return.

Attributes from a listing need no further request; one HEAD loads all attributes of the object; one GET loads the body and everything that
a HEAD returns. ``reload()`` clears the cache. The handle holds no connection and no open socket, so it can be pickled and used across
threads and forks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import IO, TYPE_CHECKING, Any, BinaryIO, Literal, TypeVar, cast, overload

from ._bulk import versions
from ._bulk.listing import Listed
from ._bulk.progress import Progress
from ._client.addresses import ObjectAddress
from ._client.service_resource import resource_type
from ._display import preview, show
from ._files import copying, download, file_target, opening, upload
from ._files.writer import ObjectWriter, TextWriter
from ._formats import etags, version_ids
from ._formats.decoding import as_json, as_text
from ._formats.head import Head
from ._formats.keys import check_key
from ._formats.render import Bytes, Cell, Rendered
from ._formats.times import as_utc, parse_time
from ._objects import (
    conditional,
    drivers,
    operations,
    presigned_parts,
    presigning,
    put_parameters,
    ranged_reader,
    restoring,
)
from ._objects.bodies import check_body
from ._objects.drivers import Blocking, Steps
from .errors import S3AccessDenied, S3Error, S3NoSuchItem
from .path import S3Path
from .subresources.annotations import ObjectAnnotations
from .subresources.tags import ObjectTags

if TYPE_CHECKING:
    from io import BufferedReader, TextIOWrapper

    from mypy_boto3_s3.service_resource import Object, ObjectSummary, ObjectVersion
    from typing_extensions import Unpack

    from ._files.open_modes import BinaryReadMode, BinaryWriteMode, TextReadMode, TextWriteMode
    from ._objects.bodies import Body, Data
    from ._objects.presigned_parts import PresignedParts
    from ._objects.put_parameters import PutParameters
    from ._objects.restoring import RestoreTier
    from .bucket import S3Bucket

Result = TypeVar("Result")


class S3Object:
    """One object of a bucket, or one version of it. ``bucket.object(key)``, ``bucket[key]`` and queries return it without a request.

    Example:
        >>> obj = bucket.put_object("greeting.txt", "hello", {"language": "en"})
        >>> obj.size, obj.text, obj.metadata
        (5, 'hello', {'language': 'en'})
    """

    __slots__ = ("__weakref__", "_body", "_bucket", "_head", "_key", "_listed", "_pinned_etag", "_version_id")

    _bucket: S3Bucket
    _key: str
    _version_id: str | None  # the pinned version; the version ID of the last response is in _head
    _listed: Listed | None
    _head: Head | None
    _body: bytes | S3Error | None
    _pinned_etag: str | None  # ETag from an event message, sent as If-Match with reads

    def __init__(self, object_summery: ObjectSummary, object_cache: Mapping[str, Any] | None = None) -> None:
        """Create a handle from boto3's ObjectSummary, as in messageflux; ``from_boto3()`` takes more types and keeps loaded attributes.

        Args:
            object_summery: boto3's summary (spelt as in messageflux).
            object_cache: The result of ``object_summery.get()``, if available; its headers and body are cached.

        Raises:
            TypeError: ``object_summery`` is not an ObjectSummary.

        Requests:
            none
        """
        from .bucket import S3Bucket

        if not hasattr(object_summery, "bucket_name"):
            raise TypeError(
                f"object_summery must be boto3's ObjectSummary, not {type(object_summery).__name__}; bucket[key] returns a handle"
            )
        self._bucket = S3Bucket._from_client(object_summery.bucket_name, object_summery)
        self._key = check_key(object_summery.key, bucket=object_summery.bucket_name)
        self._version_id = None
        self._pinned_etag = None
        self._listed = None
        self._head = None
        self._body = None
        if object_cache is not None:
            self._head = Head.from_answer(object_cache)
            self._body = object_cache["Body"].read() if "Body" in object_cache else None

    @classmethod
    def from_boto3(cls, boto3_object: Object | ObjectSummary | ObjectVersion) -> S3Object:
        """Return a handle for a boto3 object; the handle uses the same client.

        Args:
            boto3_object: boto3's ``Object``, ``ObjectSummary`` or ``ObjectVersion``. Attributes that a boto3 listing has loaded into
                a summary or a version (size, etag, time, storage class) are kept.

        Returns:
            The handle; for an ``ObjectVersion``, a handle on that version.

        Raises:
            TypeError: ``boto3_object`` has another type.

        Requests:
            none

        Example:
            >>> _ = bucket.put_object("a.txt", "hello")
            >>> [s3.S3Object.from_boto3(summary).size for summary in bucket.boto3.objects.all()]
            [5]
        """
        from .bucket import S3Bucket

        kind, source = resource_type(boto3_object), cast(Any, boto3_object)
        if kind not in ("Object", "ObjectSummary", "ObjectVersion"):
            raise TypeError(
                f"boto3_object must be an Object, ObjectSummary or ObjectVersion of boto3, not {type(boto3_object).__name__}"
            )
        key, version_id = (
            (source.object_key, version_ids.check(source.id)) if kind == "ObjectVersion" else (source.key, None)
        )
        bucket = S3Bucket._from_client(source.bucket_name, source)
        loaded = {} if kind == "Object" else source.meta.data or {}
        listed = None
        if loaded.keys() >= {"LastModified", "ETag", "Size"}:
            listed = Listed(
                key, loaded["LastModified"], loaded["ETag"], loaded["Size"], loaded.get("StorageClass") or "STANDARD"
            )
        return cls._create(bucket, check_key(key, bucket=bucket.name), version_id, listed=listed)

    @classmethod
    def _create(
        cls,
        bucket: S3Bucket,
        key: str,
        version_id: str | None = None,
        *,
        listed: Listed | None = None,
        head: Head | None = None,
        body: bytes | S3Error | None = None,
        pinned_etag: str | None = None,
    ) -> S3Object:
        """Internal constructor; seeds the cached attributes."""
        self = cls.__new__(cls)
        self._bucket = bucket
        self._key = key
        self._version_id = version_id
        self._listed = listed
        self._head = head
        self._body = body
        self._pinned_etag = pinned_etag
        return self

    # -- identity: no request -----------------------------------------------------------------------------------------------------

    @property
    def key(self) -> str:
        """The key, exactly as given. Requests: none."""
        return self._key

    @property
    def bucket(self) -> S3Bucket:
        """The bucket's handle. Requests: none."""
        return self._bucket

    @property
    def bucket_name(self) -> str:
        """The bucket's name. Requests: none."""
        return self._bucket.name

    @property
    def version_id(self) -> str | None:
        """The pinned version ID, else that of the last response; None if neither is known. Requests: none."""
        head = self._head
        return head.version_id if self._version_id is None and head is not None else self._version_id

    @property
    def uri(self) -> str:
        """``s3://bucket/key``, not percent-encoded. Requests: none."""
        return f"s3://{self._bucket.name}/{self._key}"

    @property
    def url(self) -> str:
        """The object's HTTP URL, percent-encoded, unsigned; anonymous access works only if the bucket is public. Requests: none."""
        return self._bucket.compute_url(self._key)

    @property
    def fs_uri(self) -> str:
        """``mfs3://bucket/key``, for libraries that accept URLs; give them ``store.storage_options`` too. A version ID is left out.

        fsspec drops a slash at the end of a key, and reads ``::`` in a key as a chain of file systems. Open such an object with ``open()``.

        Requests:
            none

        Example:
            >>> import pandas
            >>> obj = bucket.put_object("a.csv", "name,total\\nerp,7\\n")
            >>> pandas.read_csv(obj.fs_uri, storage_options=store.storage_options)["total"].tolist()
            [7]
        """
        return f"mfs3://{self._bucket.name}/{self._key}"

    @property
    def path(self) -> S3Path:
        """The key as a path, with the names of ``pathlib``: ``obj.path.parent / "b.txt"``. A version ID is left out. Requests: none."""
        return S3Path(self._bucket, self._key)

    @property
    def boto3(self) -> Object | ObjectVersion:
        """boto3's resource for the same object or version, created at each access. Requests: none."""
        resource = self._bucket.s3_resource
        if self._version_id is not None:
            return resource.ObjectVersion(self._bucket.name, self._key, self._version_id)
        return resource.Object(self._bucket.name, self._key)

    # -- attributes: from the listing, else one HEAD ------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """The size in bytes. Requests: none after a listing or a write, else 1 HEAD, cached."""
        if (listed := self._listed) is not None:
            return int(listed[3])
        return cast(int, self._known("size"))

    @property
    def etag(self) -> str:
        """The ETag without quotes. Requests: none after a listing or a write, else 1 HEAD, cached."""
        if (listed := self._listed) is not None and listed[2]:
            return etags.unquoted(listed[2]) or ""
        return cast("str | None", self._known("etag")) or ""

    @property
    def last_modified(self) -> datetime:
        """When the object was written, in UTC. Requests: none after a listing, else 1 HEAD, cached."""
        if (listed := self._listed) is not None:
            return as_utc(listed[1])
        return cast(datetime, self._known("last_modified"))

    @property
    def storage_class(self) -> str:
        """The storage class, usually ``"STANDARD"``. Requests: none after a listing, else 1 HEAD, cached."""
        if (listed := self._listed) is not None:
            return listed[4] or "STANDARD"
        return cast("str | None", self._known("storage_class")) or "STANDARD"

    @property
    def metadata(self) -> dict[str, str]:
        """The user metadata, names in lower case. Requests: none after a write or a GET, else 1 HEAD, cached."""
        return dict(cast("Mapping[str, str] | None", self._known("metadata")) or {})

    @property
    def content_type(self) -> str:
        """The content type. Requests: none after a GET, else 1 HEAD, cached."""
        return cast("str | None", self._known("content_type")) or ""

    @property
    def content_encoding(self) -> str | None:
        """The content encoding, such as ``"gzip"``; None if it has none. Requests: none after a GET, else 1 HEAD, cached."""
        # botocore sends "aws-chunked" with uploads, and some stores keep it as part of the encoding.
        tokens = (token.strip() for token in (cast("str | None", self._known("content_encoding")) or "").split(","))
        return ", ".join(token for token in tokens if token.lower() not in ("", "aws-chunked")) or None

    @property
    def content_language(self) -> str | None:
        """The content language, such as ``"en"``; None if it has none. Requests: none after a GET, else 1 HEAD, cached."""
        return self._further("content-language")

    @property
    def content_disposition(self) -> str | None:
        """How a browser handles the object, such as ``"attachment"``; None if not set. Requests: none after a GET, else 1 HEAD, cached."""
        return self._further("content-disposition")

    @property
    def cache_control(self) -> str | None:
        """How long caches keep the object, such as ``"max-age=3600"``; None if not set. Requests: none after a GET, else 1 HEAD, cached."""
        return self._further("cache-control")

    @property
    def expires(self) -> datetime | None:
        """When caches drop the object, in UTC; None if not set. Requests: none after a GET, else 1 HEAD, cached.

        A value that is not a date, such as ``"never"``, means already expired in HTTP: it is returned as 1 January 1970.
        """
        text = self._further("expires")
        try:
            return None if text is None else parse_time(text)
        except ValueError:
            return datetime.fromtimestamp(0, timezone.utc)

    @property
    def encryption(self) -> str | None:
        """The server-side encryption: ``"AES256"``, ``"aws:kms"`` or ``"aws:kms:dsse"``; None if the store states none.

        Requests:
            none after a GET, else 1 HEAD, cached
        """
        return self._further("x-amz-server-side-encryption")

    @property
    def kms_key_id(self) -> str | None:
        """The ID or ARN of the KMS key; None if the object is not encrypted by KMS. Requests: none after a GET, else 1 HEAD, cached."""
        return self._further("x-amz-server-side-encryption-aws-kms-key-id")

    @property
    def checksums(self) -> dict[str, str]:
        """The checksums that the store keeps, by S3's name of the algorithm; empty if there are none.

        The values are in Base64, as S3 sends them: ``{"CRC32": "NhCmhg=="}``. A value that ends with a hyphen and a number was computed
        from the checksums of that many parts. For an object encrypted by KMS, this property needs the permission kms:Decrypt.

        Requests:
            none after ``get_object``, else 1 HEAD, cached (even if the other attributes are cached already)

        Example:
            >>> bucket.put_object("a.txt", "hello", ChecksumAlgorithm="SHA256").checksums["SHA256"]
            'LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ='
        """
        head = self._head
        known = None if head is None else head.checksums
        return dict(self._run(self._checksums_steps()) if known is None else known)

    def _checksums_steps(self) -> Steps[Mapping[str, str]]:
        found = yield from operations.head_steps_with_checksums(self._address)
        self._check_pinned(found)
        self._apply_head(found)
        self._listed = None
        return cast("Mapping[str, str]", found.checksums)

    def _further(self, name: str) -> str | None:
        return cast("Mapping[str, str]", self._known("further")).get(name)

    def exists(self) -> bool:
        """Return whether the object exists now.

        Returns:
            True or False; cached attributes are ignored. False for a version that is a delete marker.

        Raises:
            S3AccessDenied: The store denies access, so the object may or may not exist.

        Requests:
            1 HEAD

        Example:
            >>> bucket.object("missing").exists()
            False
        """
        return self._run(self._exists_steps())

    def _exists_steps(self) -> Steps[bool]:
        self.reload()
        try:
            found = yield from operations.head_steps(self._address)
        except S3NoSuchItem:
            return False
        except S3AccessDenied as error:
            error.args = (f"cannot tell whether {self.uri} exists. {error}",)
            raise
        if self._pinned_etag is None or etags.same(found.etag, self._pinned_etag):
            self._apply_head(found)
        return True

    def reload(self) -> S3Object:
        """Clear the cached attributes and body, so that the next access sends a request.

        Returns:
            The handle itself.

        Requests:
            none
        """
        self._listed = self._head = self._body = None
        return self

    def _if_match(self) -> str | None:
        """ETag sent as If-Match with reads: the pinned one, else the one cached from a read."""
        if self._pinned_etag is not None:
            return self._pinned_etag
        head = self._head
        return head.etag if head is not None and head.last_modified is not None else None

    def _known(self, name: str) -> object:
        """Return an attribute of the HEAD response, cached or requested; read the cache only once, as another thread may clear it."""
        head = self._head
        known = None if head is None else getattr(head, name)
        return getattr(self._ask(), name) if known is None else known

    def _ask(self) -> Head:
        """Send one HEAD and cache the result."""
        return self._run(self._head_steps())

    def _head_steps(self) -> Steps[Head]:
        found = yield from operations.head_steps(self._address)
        self._check_pinned(found)
        self._apply_head(found)
        return found

    def _check_pinned(self, found: Head) -> None:
        """Raise S3ObjectChanged if the handle is pinned to another ETag than that of the response."""
        if self._pinned_etag is not None:  # else do not access `found`, which is decoded at the first access
            ranged_reader.check_etag(self._address, found.etag, self._pinned_etag)

    def _apply_head(self, found: Head) -> None:
        """Cache the result of a HEAD. Drop what is cached of another object: a body that another thread or task has read, the listing."""
        head, listed = self._head, self._listed
        if head is not None and head.etag != found.etag:
            self._body = None
        self._head = found
        if listed is not None and not etags.same(etags.unquoted(listed[2]), found.etag):
            self._listed = None

    def _run(self, steps: Steps[Result]) -> Result:
        return drivers.run(self._bucket._connection, steps)

    # -- content: one GET ---------------------------------------------------------------------------------------------------------

    @property
    def body(self) -> bytes:
        """The whole content. Requests: 1 GET, cached together with everything that a HEAD returns."""
        known = self._body
        if isinstance(known, bytes):
            return known
        if isinstance(known, S3Error):
            raise known
        return cast(bytes, self._run(self._body_steps()))

    @property
    def _size_if_known(self) -> int | None:
        """The size; None if a request would be needed for it."""
        listed, head = self._listed, self._head
        return int(listed[3]) if listed is not None else None if head is None else head.size

    @property
    def _etag_if_known(self) -> str | None:
        """The ETag; None if a request would be needed for it."""
        listed, head = self._listed, self._head
        return etags.unquoted(listed[2]) if listed is not None else None if head is None else head.etag

    def _body_steps(self) -> Steps[bytes | None]:
        """Read the whole content, conditional on the known ETag, so that body and cached attributes belong to one version."""
        found, body = yield from operations.get_steps(self._address, self._if_match())
        self._apply_result((found, body))
        return body

    def _load_if_changed_steps(self, etag: str) -> Steps[bool]:
        """Load the current object as ``_load_steps`` does, unless its ETag is still this one; return whether it was loaded."""
        etags.check(etag, "if_none_match")
        result = yield from operations.get_if_changed_steps(
            self._address, cast(str, etags.unquoted(etag)), self._pinned_etag, at_most=operations.MAX_CACHED_BODY
        )
        self._apply_result(result)
        return result is not None

    def _load_steps(self) -> Steps[None]:
        """Load the current object: the headers, and the body unless it is above 8 MiB."""
        result = yield from operations.get_steps(
            self._address, self._pinned_etag, at_most=operations.MAX_CACHED_BODY, with_checksums=True
        )
        self._apply_result(result)

    def _apply_result(self, outcome: tuple[Head, bytes | None] | S3Error | None) -> S3Object:
        """Cache the result of an operation: headers and body, an error to raise when the body is read, or nothing."""
        if isinstance(outcome, S3Error):
            self._body = outcome
        elif outcome is not None:
            self._head, self._body = outcome
            self._listed = None
        return self

    @property
    def text(self) -> str:
        """The content as UTF-8 text.

        Raises:
            S3InvalidContent: The content is not UTF-8. The error is also a ValueError.

        Requests:
            those of ``body``
        """
        return as_text(self.body, self._bucket.name, self._key)

    def json(self) -> Any:
        """Parse the content as JSON.

        Raises:
            S3InvalidContent: The content is not JSON. The error is also a ValueError.

        Requests:
            those of ``body``

        Example:
            >>> bucket.put_json("a.json", {"total": 7}).json()
            {'total': 7}
        """
        return as_json(self.body, self._bucket.name, self._key)

    @property
    def body_stream(self) -> BinaryIO:
        """A new readable stream over the content at each access; the caller closes it. Requests: 1 GET at each access, not cached."""
        seen = self._if_match()
        _, stream = ranged_reader.get_stream(self._address, if_match=seen)
        return cast(BinaryIO, stream)

    @overload
    def open(
        self,
        mode: BinaryReadMode = "rb",
        buffering: Literal[-1, 1] = -1,
        encoding: None = None,
        errors: None = None,
        newline: None = None,
        *,
        metadata: None = None,
        if_match: str | None = None,
    ) -> BufferedReader: ...

    @overload
    def open(
        self,
        mode: BinaryReadMode = "rb",
        buffering: int = -1,
        encoding: None = None,
        errors: None = None,
        newline: None = None,
        *,
        metadata: None = None,
        if_match: str | None = None,
    ) -> BinaryIO: ...

    @overload
    def open(
        self,
        mode: BinaryWriteMode,
        buffering: int = -1,
        encoding: None = None,
        errors: None = None,
        newline: None = None,
        *,
        metadata: Mapping[str, str] | None = None,
        if_match: str | None = None,
        **extra: Unpack[PutParameters],
    ) -> BinaryIO: ...

    @overload
    def open(
        self,
        mode: TextReadMode,
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        *,
        metadata: None = None,
        if_match: str | None = None,
    ) -> TextIOWrapper: ...

    @overload
    def open(
        self,
        mode: TextWriteMode,
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        *,
        metadata: Mapping[str, str] | None = None,
        if_match: str | None = None,
        **extra: Unpack[PutParameters],
    ) -> TextIOWrapper: ...

    @overload
    def open(
        self,
        mode: str,
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        *,
        metadata: Mapping[str, str] | None = None,
        if_match: str | None = None,
        **extra: Unpack[PutParameters],
    ) -> IO[Any]: ...

    def open(
        self,
        mode: str = "rb",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        *,
        metadata: Mapping[str, str] | None = None,
        if_match: str | None = None,
        **extra: Unpack[PutParameters],
    ) -> IO[Any]:
        """Open the object as a file, for reading (seekable) or for writing (a stream).

        The object is written as a whole when the file is closed, and not at all if the ``with`` block raises. Without ``with``,
        nothing is written and a warning is logged if ``close()`` is called while an exception raised after the opening is being handled
        (``finally: f.close()``). If the file was opened within an ``except`` block, ``close()`` cannot detect that a bare ``raise``
        raised the same exception again: use ``with`` there.

        Args:
            mode: ``r``, ``w``, ``x`` (create only) or ``a`` (append), with ``b`` for bytes or ``t`` for text; bytes by default.
            buffering: As for the builtin.
            encoding: Text encoding; UTF-8 by default.
            errors: As for the builtin.
            newline: As for the builtin.
            metadata: User metadata of the written object.
            if_match: ETag that the object must have: with ``r``, when it is read; with ``w``, when the file is closed, so that a concurrent
                write is not overwritten; with ``a``, when it is opened (later writes are detected in any case). Not allowed with ``x``.
            extra: Further parameters of a write, as for ``put()``.

        Returns:
            A file object.

        Raises:
            S3NoSuchItem: In a read mode: there is no such object.
            S3ObjectExists: With ``x``: the object already exists.
            S3ObjectChanged: The object was replaced while it was being read; with ``a``, raised by ``close()``: the object was created,
                replaced or deleted since it was opened; nothing was appended. On a store that does not honour conditional writes the ETag
                is compared by HEAD right before the write; a concurrent write between these two requests is lost.
            S3PreconditionFailed: The object's ETag is not ``if_match``: raised by ``close()`` with ``w``, by ``open()`` with ``a``.
                Or, with a condition (``if_match``, ``x``, ``a``), raised by ``close()`` with ``retryable``: another write was in progress
                (409), and nothing was written; or with ``outcome_unknown``: a response was lost, and the object does not show whether it
                was written.
            S3Unsupported: With ``x``, or ``w`` and ``if_match``: the store does not honour the condition. Nothing was sent.
            ValueError: The mode is invalid, or ``if_match`` is given with ``x``.

        Requests:
            1 GET to open for reading, then 1 per range; a write is 1 PUT up to 8 MiB, and 1 per part above. ``x`` and ``a`` send 1 HEAD
            first, ``a`` also 1 GET below 5 MiB, and 1 HEAD at the close if conditions are not honoured; any store
            other than AWS is probed once for conditional writes (about 150 small requests)

        Example:
            >>> with bucket.object("lines.txt").open("w") as file:
            ...     _ = file.write("one\\ntwo\\n")
            >>> with bucket.object("lines.txt").open("r") as file:
            ...     [line.strip() for line in file]
            ['one', 'two']
        """
        writes = not isinstance(mode, str) or "r" not in mode
        if writes:
            put_parameters.check_parameters(extra)
        file = opening.open_object(
            self._address,
            mode,
            buffering=buffering,
            encoding=encoding,
            errors=errors,
            newline=newline,
            if_match=if_match if writes or if_match is not None else self._if_match(),
            metadata=metadata,
            **extra,
        )
        if writes:
            self.reload()  # the cached attributes are about to become stale
            writer = file.writer if isinstance(file, TextWriter) else cast(ObjectWriter, file)
            writer.after_commit = self._after_commit  # attributes cached between open and close are stale too
        return file

    # -- ranges, files, presigned URLs, copies ------------------------------------------------------------------------------------

    def read_range(self, start: int, end: int | None = None) -> bytes:
        """Return a slice of the content: half-open, zero-based, a negative index counts from the end.

        Args:
            start: The first byte.
            end: The byte after the last one; None for the rest.

        Raises:
            S3ObjectChanged: The object was replaced since this handle last read it; or, if an index is negative, it has another size than
                when it was listed or written.

        Requests:
            1 GET; before it 1 HEAD, cached, if an index is negative; 1 more GET if the range starts past the end, or if the rest of an
            object is above 64 MiB; if it starts past the end, also 1 HEAD, on a store that is not AWS, if this handle has read the object

        Example:
            >>> obj = bucket.put_object("digits", "0123456789")
            >>> obj.read_range(2, 5), obj.read_range(-3)
            (b'234', b'789')
        """
        return self._run(self._range_steps(start, end))

    def _range_steps(self, start: int, end: int | None) -> Steps[bytes]:
        start, end = operations.as_int(start), operations.as_int(end)
        for name, value in (("start", start), ("end", end)):
            if (value is not None or name == "start") and (isinstance(value, bool) or not isinstance(value, int)):
                raise TypeError(f"{name} must be a whole number of bytes, not {type(value).__name__}")
        size: int | None = None
        if start < 0 or (end is not None and end < 0):
            size = self._size_if_known
            if size is None:
                size = (yield from self._head_steps()).size
            start, end, _ = slice(start, end).indices(cast(int, size))
        # Positions counted from the end are those of an object of this size: one of another size has other bytes there.
        content = yield from operations.range_steps(self._address, start, end, self._if_match(), size)
        return content

    def iter_chunks(self, chunk_size: int = 1024 * 1024, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Yield the content in chunks.

        Args:
            chunk_size: Bytes per chunk; the last one may be shorter.
            start: The first byte.
            end: The byte after the last one; None for the rest.

        Raises:
            S3ObjectChanged: The object was replaced during the read, or since this handle last read it.
            ValueError: An argument is invalid.

        Requests:
            1 GET; if the range starts past the end, also 1 HEAD, on a store that is not AWS, if this handle has read the object

        Example:
            >>> [*bucket.put_object("digits", "0123456789").iter_chunks(4)]
            [b'0123', b'4567', b'89']
        """
        chunk_size, start, end = operations.as_int(chunk_size), operations.as_int(start), operations.as_int(end)
        if isinstance(chunk_size, bool) or not isinstance(chunk_size, int) or chunk_size < 1:
            raise ValueError(f"chunk_size must be a whole number of bytes, at least 1, not {chunk_size!r}")
        download.check_range(start, end)
        return self._chunks(chunk_size, start, end)

    def _chunks(self, chunk_size: int, start: int, end: int | None) -> Iterator[bytes]:
        if end is not None and end <= start:
            return
        reader = ranged_reader.RangedReader(self._address, self._if_match())
        try:
            stream = reader.open(start, end)
        except S3Error as error:
            if error.status == 416:  # the range starts past the end: empty, as for a slice
                operations.check_beyond_end(reader, start, error)
                return
            raise
        with stream:
            while chunk := stream.read(chunk_size):
                yield chunk

    def iter_lines(self) -> Iterator[bytes]:
        """Yield the lines of the content, without line endings.

        Requests:
            1 GET

        Example:
            >>> [*bucket.put_object("lines", "one\\ntwo\\n").iter_lines()]
            [b'one', b'two']
        """
        begun: list[bytes] = []  # the pieces of an incomplete line
        for chunk in self.iter_chunks():
            *lines, rest = chunk.split(b"\n")
            if lines:
                lines[0] = b"".join([*begun, lines[0]])
                begun = []
            for line in lines:
                yield line[:-1] if line.endswith(b"\r") else line
            begun.append(rest)
        if last := b"".join(begun):
            yield last

    def download_to(
        self,
        path: str | os.PathLike[str],
        *,
        start: int = 0,
        end: int | None = None,
        overwrite: bool = True,
        resume: bool = False,
        verify_checksum: bool | None = None,
        progress: Progress = None,
    ) -> S3Object:
        """Download the content, or a range of it, to a file. The file appears under its name once it is complete.

        Args:
            path: The file; missing parent folders are created. If it is a folder (one that exists, or a path that ends with ``/``),
                the file is named after the last part of the key, as in ``download_folder``. A symbolic link to a file is kept, and its
                target replaced. Pipes and character devices are written to directly.
            start: The first byte.
            end: The byte after the last one; None for the rest.
            overwrite: Whether to replace an existing file.
            resume: Whether to continue a killed download that also had ``resume=True``.
            verify_checksum: Whether to compare the object's MD5 with that of the downloaded bytes; None compares up to 16 MiB.
            progress: How to report progress in bytes, see ``Progress``.

        Returns:
            A handle for the downloaded object, with its etag, size, version and metadata cached.

        Raises:
            FileExistsError: The file exists, and ``overwrite`` is not set; or it is a socket or a block device.
            IsADirectoryError: A folder has the file's name.
            S3ObjectChanged: The object was replaced during the download, or since this handle last read it.

        Requests:
            1 GET up to 16 MiB, else 1 for each 5 to 8 MiB

        Example:
            >>> import pathlib, tempfile
            >>> path = pathlib.Path(tempfile.mkdtemp(), "a.txt")
            >>> written = bucket.put_object("a.txt", "hello")
            >>> bucket["a.txt"].download_to(path).etag == written.etag, path.read_text()
            (True, 'hello')
        """
        target = file_target.destination(path, self._key, overwrite=overwrite, resume=resume)
        found = download.download(
            self._address,
            target,
            span=download.ByteRange(start, end),
            verify_checksum=verify_checksum,
            if_match=self._if_match(),
            progress=progress,
        )
        return S3Object._create(self._bucket, self._key, self._version_id, head=found, pinned_etag=self._pinned_etag)

    def copy_to(
        self,
        target: str | S3Object,
        *,
        metadata: Mapping[str, str] | None = None,
        if_absent: bool = False,
        if_match: str | None = None,
        part_size_bytes: int | None = None,
        **extra: Unpack[PutParameters],
    ) -> S3Object:
        """Copy the object, at any size: on the server if possible, else streamed through this process.

        Args:
            target: A key in the same bucket, or a handle: ``obj.copy_to(other[obj.key])``.
            metadata: User metadata in place of this object's; None keeps it.
            if_absent: Copy only if the target does not exist.
            if_match: Copy only if the object at the target has this etag.
            part_size_bytes: The number of bytes per request for an object above 5 GiB; None for 512 MiB.
            extra: Further parameters in place of this object's, as for ``put``.

        Returns:
            A handle for the copy.

        Raises:
            S3InvalidName: ``target`` is a text that begins with ``s3://`` or ``mfs3://``: ``store.object(uri)`` takes a URI.
            S3NoSuchItem: There is no such object.
            S3ObjectChanged: The object was replaced while it was being copied. Or the handle is pinned to an ETag by an event, and the
                object was replaced since: nothing was written.
            S3NoSuchBucket: One of the two buckets is missing; ``error.bucket`` names it.
            S3ObjectExists: With ``if_absent``: the target already exists.
            S3PreconditionFailed: With ``if_match``: the target has another etag. With ``outcome_unknown`` set: a response was lost, and the
                object may have been copied.
            S3Unsupported: The store does not honour conditions on copies; nothing was copied.

        Requests:
            1 HEAD, 1 COPY (with a condition, also those of a probe, once per store; with new metadata, 1 more HEAD, once per store that
            is not AWS); above 5 GiB, 1 per 512 MiB; between stores, or if the store would keep the old metadata, 1 GET and an upload

        Example:
            >>> obj = bucket.put_object("a.txt", "hello", {"by": "me"})
            >>> copied = obj.copy_to("b.txt")
            >>> copied.text, copied.metadata
            ('hello', {'by': 'me'})
        """
        there = self._target(target)
        put_parameters.check_parameters(extra)
        upload.UploadConfig(part_size_bytes).check()
        call, idempotency_token = None, ""
        if if_absent or if_match is not None:
            condition = conditional.precondition(if_absent=if_absent, if_match=if_match)
            call, idempotency_token = conditional.ConditionalWrite(there._address, condition), condition.token
        copied = copying.copy(
            self._address,
            there._bucket._address.object(there._key),
            metadata=metadata,
            call=call,
            idempotency_token=idempotency_token,
            part_size_bytes=copying.PART_BYTES if part_size_bytes is None else part_size_bytes,
            etag=self._pinned_etag,
            **extra,
        )
        return S3Object._create(there._bucket, there._key, head=copied)

    def move_to(
        self, target: str | S3Object, *, metadata: Mapping[str, str] | None = None, **extra: Unpack[PutParameters]
    ) -> S3Object:
        """Copy the object, then delete the source. An object moved onto itself is kept, even if the two addresses differ.

        If source and target may be the same object under another endpoint or bucket name, the copy gets a random ID in its metadata,
        hidden from ``metadata``; if the source then has that ID, both are the same object, and nothing is deleted. In a versioned bucket
        the source is hidden by a delete marker. If the store is not known to honour ``If-Match`` on DELETE, a write between the last HEAD
        and the DELETE is lost.

        Args:
            target: A key in the same bucket, or a handle.
            metadata: User metadata in place of this object's; None keeps it.
            extra: Further parameters in place of this object's, as for ``put``.

        Returns:
            A handle for the moved object.

        Raises:
            S3InvalidName: ``target`` is a text that begins with ``s3://`` or ``mfs3://``, as for ``copy_to``.
            S3ObjectChanged: The source was written during the move; both the source and the copy exist. Or the handle is pinned to an ETag
                by an event, and the object was replaced since: nothing was written.
            S3PreconditionFailed: With ``retryable``: each DELETE was refused because another write was in progress (409); both the source
                and the copy exist. With ``outcome_unknown``: a response to the DELETE was lost.
            S3Unsupported: The store does not show whether source and target are the same object; the source was not deleted.

        Requests:
            those of ``copy_to``, 2 HEAD (1 within a bucket of AWS), 1 DELETE
        """
        there = self._target(target)
        put_parameters.check_parameters(extra)
        target_address = there._bucket._address.object(there._key)
        written = copying.move(self._address, target_address, metadata=metadata, etag=self._pinned_etag, **extra)
        self.reload()
        return S3Object._create(there._bucket, there._key, head=written)

    def _target(self, target: str | S3Object) -> S3Object:
        if isinstance(target, S3Object):
            return target
        if isinstance(target, str):
            return self._bucket[target]  # a URI is refused: the copy would be in this bucket, under the URI as its key
        raise TypeError(f"target must be a key in the same bucket or an S3Object, not {type(target).__name__}")

    @property
    def _address(self) -> ObjectAddress:
        return ObjectAddress(self._bucket._address, self._key, self._version_id)

    def presigned_url(
        self,
        method: str = "GET",
        expires_in: int | timedelta = 3600,
        *,
        response_content_disposition: str | None = None,
        response_content_type: str | None = None,
        response_cache_control: str | None = None,
        response_content_encoding: str | None = None,
        response_content_language: str | None = None,
        response_expires: datetime | str | None = None,
        content_type: str | None = None,
    ) -> str:
        """Return a presigned URL for one HTTP method on this object, signed with SigV4 for the bucket's own endpoint.

        Args:
            method: ``"GET"``, ``"HEAD"``, ``"PUT"`` or ``"DELETE"``. A PUT writes a new object, even if this handle is a version.
            expires_in: Seconds or a timedelta: 1 second to 7 days. A warning is issued if the credentials expire sooner; in a directory
                bucket those are of a session, which lasts five minutes.
            response_content_disposition: ``Content-Disposition`` of the response to a GET.
            response_content_type: ``Content-Type`` of the response to a GET.
            response_cache_control: ``Cache-Control`` of the response to a GET.
            response_content_encoding: ``Content-Encoding`` of the response to a GET.
            response_content_language: ``Content-Language`` of the response to a GET.
            response_expires: ``Expires`` of the response to a GET; a datetime without a zone is in UTC.
            content_type: ``Content-Type`` that a PUT must send.

        Raises:
            ValueError: An argument is invalid, or would inject a header.

        Requests:
            none (on AWS 1 HEAD for each bucket, cached, for its region)

        Example:
            >>> bucket["a b.txt"].presigned_url(expires_in=60).split("?")[0].endswith("/a%20b.txt")
            True
        """
        return presigning.presigned_url(
            self._address, method, expires_in,
            response_content_disposition=response_content_disposition, response_content_type=response_content_type,
            response_cache_control=response_cache_control, response_content_encoding=response_content_encoding,
            response_content_language=response_content_language, response_expires=response_expires, content_type=content_type,
        )  # fmt: skip

    def presigned_post(
        self,
        expires_in: int | timedelta = 3600,
        *,
        content_type: str | None = None,
        min_size: int | None = None,
        max_size: int | None = None,
        fields: Mapping[str, str] | None = None,
        conditions: Sequence[Any] = (),
    ) -> presigning.PresignedPost:
        """Return a presigned POST form with which a browser uploads this object.

        Args:
            expires_in: Seconds or a timedelta: 1 second to 7 days.
            content_type: The content type that the form must send.
            min_size: The smallest number of bytes.
            max_size: The largest number of bytes.
            fields: Further form fields, with the exact values required; not those of the key and the signature.
            conditions: Further conditions in S3's policy syntax (``["starts-with", "$Content-Type", "image/"]``).

        Returns:
            The form's ``url`` and ``fields``.

        Raises:
            ValueError: An argument is invalid, or ``fields`` contains a field that the form has anyway, such as ``key``.

        Requests:
            none (on AWS 1 HEAD for each bucket, cached, for its region)
        """
        policy = presigning.PostPolicy(content_type, min_size, max_size, fields, conditions)
        return presigning.presigned_post(self._address, expires_in, policy)

    def presigned_parts(
        self,
        count: int,
        expires_in: int | timedelta = 3600,
        metadata: Mapping[str, str] | None = None,
        *,
        upload_id: str | None = None,
        **extra: Unpack[PutParameters],
    ) -> PresignedParts:
        """Begin an upload in parts, and return presigned URLs through which others send the parts without credentials.

        Args:
            count: The largest number of parts: 1 to 10,000. A part has at most 5 GiB and, unless it is the last, at least 5 MiB.
            expires_in: Seconds or a timedelta: 1 second to 7 days.
            metadata: User metadata of the object.
            upload_id: ID of an upload to continue (``PresignedParts.upload_id``): in another process, or after its URLs have expired.
            extra: Further parameters of the object, as for ``put()``, except checksums and a customer's key (SSE-C).

        Returns:
            The upload, with its ``urls`` and the methods ``complete(etags)`` and ``abort()``.

        Raises:
            TypeError: An argument is of the wrong type.
            ValueError: An argument is invalid, or the handle is for a version.

        Requests:
            1 POST, none with ``upload_id`` (on AWS also 1 HEAD for each bucket, cached, for its region)

        Example:
            >>> import urllib.request
            >>> obj = bucket.object("video.mp4")
            >>> parts = obj.presigned_parts(2)
            >>> def send(url, piece):
            ...     request = urllib.request.Request(url, piece, {"Content-Type": "video/mp4"}, method="PUT")
            ...     with urllib.request.urlopen(request) as answer:
            ...         return answer.headers["ETag"]
            >>> parts.complete([send(url, piece) for url, piece in zip(parts.urls, [bytes(5 << 20), b"end"])])
            >>> obj.size
            5242883
        """
        if self._version_id is not None:
            raise ValueError(f"a version of {self.uri} cannot be written: use a handle without a version")
        return presigned_parts.presigned_parts(self._address, count, expires_in, metadata, upload_id, extra)

    def preview(self, lines: int = 20) -> Rendered:
        """Preview the beginning of an object: text, JSON, an image, or a table (CSV, JSON lines, Parquet). Gzip is decompressed.

        Args:
            lines: Number of lines or rows.

        Raises:
            ValueError: ``lines`` is less than 1.
            S3NoSuchItem: There is no such object.
            S3ObjectChanged: The handle is pinned to an ETag by an event, and the object was replaced since.

        Requests:
            1 GET of 64 KiB; for an image 1 more GET, up to 8 MiB; for Parquet those needed to read its first rows

        Example:
            >>> bucket.put_object("a.csv", "name,total\\nerp,7\\n").preview()
            s3://.../a.csv
            name  total
            ----  -----
            erp       7
            17 B · text/csv
        """
        return preview.preview(self._address, lines=lines, if_match=self._pinned_etag)

    # -- writes -------------------------------------------------------------------------------------------------------------------

    def put(
        self,
        data: Body,
        metadata: Mapping[str, str] | None = None,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
        **extra: Unpack[PutParameters],
    ) -> S3Object:
        """Write the object, replacing its content; arguments as for ``bucket.put_object``.

        Returns:
            The handle itself, with the attributes of the written object cached. A handle for a version still describes that version.

        Requests:
            1 PUT
        """
        self._run(self._put_steps(data, metadata, if_absent=if_absent, if_match=if_match, **extra))
        return self

    def _put_steps(
        self,
        data: Body,
        metadata: Mapping[str, str] | None = None,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
        **extra: Unpack[PutParameters],
    ) -> Steps[None]:
        check_body(data, "data")
        written = yield from self._bucket._put_steps(
            self._key, data, metadata, if_absent=if_absent, if_match=if_match, **extra
        )
        self._apply_write((cast(Head, written._head), None))

    def _apply_write(self, outcome: tuple[Head, bytes | None]) -> None:
        """Cache what was written: the current object. A handle for a version goes on describing the version."""
        self._forget_replaced()
        if self._version_id is None:
            self._apply_result(outcome)

    def _after_commit(self, is_written: bool) -> None:
        if is_written:
            self._forget_replaced()
        else:
            self.reload()

    def _forget_replaced(self) -> None:
        """Forget what was cached of the object that was replaced, and its ETag if the handle was pinned to it."""
        self._pinned_etag = None
        self.reload()

    def set_metadata(
        self,
        metadata: Mapping[str, str] | None = None,
        *,
        if_match: str | None = None,
        **extra: Unpack[PutParameters],
    ) -> S3Object:
        """Replace the user metadata, and other attributes if given, by copying the object onto itself. Tags and other attributes are kept.

        The ACL, a KMS encryption context and (above 5 GiB) annotations are not kept, since no HEAD returns them; without ``ACL=`` the
        object gets the default ACL. On AWS an object lock is kept only with the permissions ``s3:GetObjectRetention`` and
        ``s3:GetObjectLegalHold``, without which a HEAD does not show it.

        The object is written again, so ``last_modified`` changes, and a versioned bucket gets a new version.
        If the store's copies do not accept new metadata, the content passes through this process. In that case, and above 5 GiB, a
        concurrent write by another client is lost if the store does not honour conditions on writes.

        Args:
            metadata: The whole new user metadata; None keeps the present one. ``{**obj.metadata, "by": "me"}`` adds to it.
            if_match: ETag that the object must have. None: the ETag, version ID and date that this handle has read, if any.
            extra: Further parameters in place of the object's, as for ``put()``: ``content_type``, ``cache_control`` …

        Returns:
            The handle itself, with the attributes of the written object cached.

        Raises:
            TypeError: Neither metadata nor a parameter is given.
            ValueError: The handle is for a version, which cannot be changed.
            S3NoSuchItem: There is no such object.
            S3ObjectChanged: The object was replaced since this handle last read it, or by a concurrent write. Nothing was written, unless
                the message says that a response was lost. On a store that ignores conditions on copies, a concurrent write is not
                noticed, and the new content gets this metadata.
            S3PreconditionFailed: With ``outcome_unknown``: a response was lost, so it is unknown whether the object was written.
            S3Unsupported: The object is encrypted with a customer's key (SSE-C), or the store ignores a parameter; nothing was written.

        Requests:
            1 HEAD, 1 COPY; above 5 GiB, or if the content passes through this process, as a conditional ``copy_to``

        Example:
            >>> obj = bucket.put_object("a.txt", "hello", {"by": "me"}, cache_control="no-cache")
            >>> obj.set_metadata({**obj.metadata, "reviewed": "yes"}).metadata
            {'by': 'me', 'reviewed': 'yes'}
            >>> obj.text, obj.cache_control
            ('hello', 'no-cache')
        """
        if metadata is None and not any(value is not None for value in extra.values()):
            raise TypeError("set_metadata needs metadata or a further parameter, such as content_type=")
        if if_match is not None:
            etags.check(if_match)
        if self._version_id is not None:
            raise ValueError(
                f"version {self._version_id} of {self.uri} cannot be changed: use a handle without a version for the current object, or "
                "copy_to(key, metadata=…) to write a new one"
            )
        put_parameters.check_parameters(extra)
        head = self._head if if_match is None and self._pinned_etag is None else None
        read = head if head is not None and head.last_modified is not None else None  # None after a write
        etag = if_match if if_match is not None else self._if_match()
        written = copying.set_metadata(self._address, metadata, etag, read, **extra)
        self._pinned_etag = None  # the copy may have another ETag, for example if the object was uploaded in parts
        return self._apply_result((written, None))

    def update(self, function: Callable[[bytes | None], Data]) -> S3Object:
        """Read, modify and write the object under If-Match; retry on a concurrent write. Metadata and tags are kept.

        On AWS, tags and object lock are kept only if the credentials may read them (``s3:GetObjectTagging``, ``s3:GetObjectRetention``,
        ``s3:GetObjectLegalHold``): without these permissions, S3 does not tell that the object has any.

        Args:
            function: Takes the content (None if there is no such object) and returns the new content; identical content is not written. It
                may be called several times.

        Returns:
            The handle itself, with the attributes of the written object cached. A handle for a version still describes that version.

        Raises:
            S3PreconditionFailed: Fifty attempts failed because of concurrent writes. With ``outcome_unknown`` set: a response was lost, and
                the object may have been written.
            S3Unsupported: The store does not honour conditions; nothing was written.

        Requests:
            1 GET and 1 PUT per attempt, 1 more GET if there are tags (also those of a probe, once per store; and on a store that is not AWS
            1 GET, which tells whether the bucket has versioning, and whose result is cached for a few seconds)

        Example:
            >>> counter = bucket.object("counter")
            >>> counter.update(lambda body: str(int(body or b"0") + 1)).text
            '1'
        """
        self._run(self._update_steps(function))
        return self

    def _update_steps(self, function: Callable[[bytes | None], Any]) -> Steps[None]:
        written = yield from conditional.update_steps(self._address, function)
        self._apply_write(written)

    def delete(self, *, if_match: str | None = None) -> None:
        """Delete the object, or the version this handle is pinned to; idempotent.

        Args:
            if_match: Delete only if the object has this etag. Where there is no object, AWS succeeds; some stores refuse.

        Raises:
            ValueError: ``if_match`` is given for a version: stores compare it with the current object, not with the version.
            S3PreconditionFailed: With ``if_match``: the object has another etag. With ``outcome_unknown`` set: a response was lost, and the
                object may have been deleted; or versioning was enabled meanwhile, and the delete marker could not be deleted again.
            S3Unsupported: With ``if_match``: the store does not honour it. If it does so only without versioning, and versioning was
                enabled in the last 10 seconds, the delete marker was deleted again. For a version: the bucket is not versioned, and the
                store might delete the object itself. Nothing was deleted.

        Requests:
            1 DELETE (for a version, on a store that is not AWS, also 1 GET; with ``if_match``, if versioning was enabled meanwhile, 1 GET
            and 1 DELETE more, and once per store those of a probe)
        """
        self._run(self._delete_steps(if_match))

    def _delete_steps(self, if_match: str | None) -> Steps[None]:
        if if_match is not None:
            if self._version_id is not None:
                raise ValueError(
                    f"if_match would be compared with the current object, not with version {self._version_id} of {self.uri}: "
                    "delete the version without it, or the object by a handle without a version"
                )
            yield from conditional.delete_steps(self._address, if_match)
        else:
            if self._version_id is not None:
                yield Blocking(partial(versions.check_deletable, self._bucket._address, self._version_id))
            yield from operations.delete_steps(self._address)
        self.reload()

    # -- tags and versions ------------------------------------------------------------------------------------------------------------

    @property
    def tags(self) -> ObjectTags:
        """The object's tags, a sub-resource. Requests: none; each of its methods documents its own."""
        return ObjectTags(self._address)

    @property
    def annotations(self) -> ObjectAnnotations:
        """The object's annotations, on Amazon S3 only. Requests: none; each of its methods documents its own."""
        return ObjectAnnotations(self._address)

    def versions(self) -> Iterator[S3Object]:
        """Yield the versions of the object, newest first; each can be read, deleted, or made current.

        Requests:
            1 per 1,000 versions

        Example:
            >>> _ = bucket.versioning.enable()
            >>> obj = bucket.put_object("k", "one")
            >>> _ = obj.put("two")
            >>> [version.text for version in obj.versions()]
            ['two', 'one']
        """
        for entry in versions.of_key(self._address):
            yield S3Object._create(self._bucket, self._key, entry.version_id, listed=Listed(*entry[:5]))

    def make_current(self) -> S3Object:
        """Make this version the current one, by a copy on the server; all versions are kept.

        If versioning is suspended, the copy replaces the version ``"null"``, as every write does.

        Returns:
            A handle on the current object.

        Raises:
            ValueError: The handle is not pinned to a version.
            S3Unsupported: The store ignores version IDs; nothing was written.

        Requests:
            1 HEAD, 1 COPY (more above 5 GiB). On a store that is not AWS once for each bucket also those that find out whether versions
            are copied; if not, 1 GET and an upload in place of the COPY
        """
        if self._version_id is None:
            raise ValueError(f"{self.uri} is not a handle for a version; versions() returns such handles")
        return self.copy_to(self._bucket.object(self._key))

    def restore(self, days: int | None, *, tier: RestoreTier = "Standard") -> None:
        """Ask the store to restore this archived object (``GLACIER``, ``DEEP_ARCHIVE`` or archived ``INTELLIGENT_TIERING``).

        The call returns at once, but restoring usually takes hours, and until it is complete reading the object raises
        ``S3ObjectArchived``. S3 reports completion with the event ``ObjectRestore:Completed``. Calling this while the object is being
        restored does nothing; calling this when a restored copy exists keeps that copy for ``days`` from now.

        Args:
            days: Number of days for which the restored copy is kept; None for an object of ``INTELLIGENT_TIERING``, which is moved back.
            tier: ``"Standard"``, ``"Bulk"`` (slower and cheaper) or ``"Expedited"`` (minutes; not from ``DEEP_ARCHIVE``).

        Raises:
            TypeError: ``days`` is not a whole number.
            ValueError: ``days`` is less than 1, or the tier is unknown.
            S3NoSuchItem: There is no such object.
            S3Unsupported: The store, which is not AWS, does not archive this object or does not restore objects. Nothing was changed.
            S3Error: The object is not archived.

        Requests:
            1 POST; on a store that is not AWS also 1 HEAD before it and 1 after it

        Example:
            >>> obj = bucket.put_object("old.log", "hello", storage_class="GLACIER")
            >>> obj.restore(days=7)
        """
        restoring.restore(self._address, days, tier)

    def undelete(self) -> bool:
        """Remove the delete markers that hide the object, so that its newest version is current again.

        Returns:
            Whether there were delete markers to remove.

        Raises:
            S3Unsupported: The store did not delete a marker, although it reported success; the object is still hidden.

        Requests:
            1, and 2 for each of the topmost delete markers
        """
        taken = versions.undelete(self._address)
        self.reload()
        return taken

    # -- special methods ----------------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        version = f", version_id={self._version_id!r}" if self._version_id is not None else ""
        return f"S3Object({self.uri!r}{version})"

    def _repr_html_(self) -> str:
        listed, head = self._listed, self._head

        def knows(attribute: str) -> bool:
            return listed is not None or (head is not None and getattr(head, attribute) is not None)

        learned: dict[str, Cell] = {
            "size": Bytes(self.size) if knows("size") else None,
            "last modified": self.last_modified if knows("last_modified") else None,
            "content type": (head.content_type or None) if head is not None else None,
            "storage class": self.storage_class if knows("storage_class") else None,
            "etag": self.etag
            if (listed is not None and listed[2]) or (head is not None and head.etag is not None)
            else None,
            "version": self.version_id,
        }
        metadata = head.metadata if head is not None and head.metadata else {}
        return show.summarize_object(self.uri, learned, metadata, listed is not None or head is not None).html

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, S3Object):
            return NotImplemented
        return (self._bucket, self._key, self._version_id) == (other._bucket, other._key, other._version_id)

    def __hash__(self) -> int:
        return hash((self._bucket.name, self._key, self._version_id))

    def __reduce__(self) -> tuple[Any, ...]:
        known = self._body if isinstance(self._body, bytes) else None
        return _rebuild, (
            type(self),
            self._bucket,
            self._key,
            self._version_id,
            self._listed,
            self._head,
            known,
            self._pinned_etag,
        )


def _rebuild(
    cls: type[S3Object],
    bucket: S3Bucket,
    key: str,
    version_id: str | None,
    listed: Listed | None,
    head: Head | None,
    body: bytes | None,
    pinned_etag: str | None = None,
) -> S3Object:
    return cls._create(bucket, key, version_id, listed=listed, head=head, body=body, pinned_etag=pinned_etag)
