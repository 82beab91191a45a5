"""S3Object: a handle on one object. It costs nothing, asks when it must, and remembers what it heard.

What a listing said is not asked again; one HEAD answers everything about the object; one GET brings the body and whatever a HEAD would have
said. ``reload()`` forgets. The handle holds no connection and no open socket, so it pickles and crosses threads and forks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import IO, TYPE_CHECKING, Any, BinaryIO, Literal, TypeVar, cast, overload

from ._bulk import versions
from ._bulk.listing import Listed
from ._bulk.progress import Progress
from ._client.service_resource import resource_type
from ._display import preview, show
from ._files import copying, download, file_target, opening
from ._files.writer import ObjectWriter, TextWriter
from ._formats import etags
from ._formats.decoding import as_json, as_text
from ._formats.head import Head
from ._formats.keys import check_key
from ._formats.render import Bytes, Cell, Rendered
from ._formats.times import as_utc
from ._objects import address, conditional, drivers, operations, presigning, put_parameters, ranged_reader
from ._objects.bodies import check_body
from ._objects.drivers import Blocking, Steps
from .errors import S3AccessDenied, S3Error, S3NoSuchItem
from .subresources.tags import ObjectTags

if TYPE_CHECKING:
    from io import BufferedReader, TextIOWrapper

    from mypy_boto3_s3.service_resource import Object, ObjectSummary, ObjectVersion
    from typing_extensions import Unpack

    from ._files.open_modes import BinaryReadMode, BinaryWriteMode, TextReadMode, TextWriteMode
    from ._objects.bodies import Body, Data
    from ._objects.put_parameters import PutParameters
    from .bucket import S3Bucket

Result = TypeVar("Result")


class S3Object:
    """One object of a bucket, or a version of it. Comes from ``bucket.object(key)``, ``bucket[key]``, or a query, without a request.

    Example:
        >>> obj = bucket.put_object("greeting.txt", "hello", {"language": "en"})
        >>> obj.size, obj.text, obj.metadata
        (5, 'hello', {'language': 'en'})
    """

    __slots__ = ("__weakref__", "_body", "_bucket", "_head", "_key", "_listed", "_pinned_etag", "_version_id")

    _bucket: S3Bucket
    _key: str
    _version_id: str | None  # the version asked for; what is merely known of the current one stands in _head
    _listed: Listed | None
    _head: Head | None
    _body: bytes | S3Error | None
    _pinned_etag: str | None  # of a handle out of a message: it reads this content or none

    def __init__(self, object_summery: ObjectSummary, object_cache: Mapping[str, Any] | None = None) -> None:
        """Make a handle from boto3's ObjectSummary, as messageflux does; ``from_boto3()`` takes more kinds and keeps what is loaded.

        Args:
            object_summery: boto3's summary (spelt as in messageflux).
            object_cache: The result of ``object_summery.get()``, if there is one: its headers and body are kept.

        Requests:
            none
        """
        from .bucket import S3Bucket

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
        """Return the handle of an object of boto3, around the same client.

        Args:
            boto3_object: boto3's ``Object``, ``ObjectSummary`` or ``ObjectVersion``. What a listing of boto3 has loaded into a summary or a
                version (size, etag, time, storage class) is kept.

        Returns:
            The handle; that of an ``ObjectVersion`` is for this version.

        Raises:
            TypeError: ``boto3_object`` is none of these.

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
        key, version_id = (source.object_key, source.id) if kind == "ObjectVersion" else (source.key, None)
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
        """The door of this library: a handle with what is known of its object already."""
        self = cls.__new__(cls)
        self._bucket = bucket
        self._key = key
        self._version_id = version_id
        self._listed = listed
        self._head = head
        self._body = body
        self._pinned_etag = pinned_etag
        return self

    # -- who it is: no request ----------------------------------------------------------------------------------------------------

    @property
    def key(self) -> str:
        """The key, exactly as it was written. Requests: none."""
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
        """The version this handle is for, or that it is known to have met; None where neither is known. Requests: none."""
        head = self._head
        return head.version_id if self._version_id is None and head is not None else self._version_id

    @property
    def uri(self) -> str:
        """``s3://bucket/key``, nothing quoted. Requests: none."""
        return f"s3://{self._bucket.name}/{self._key}"

    @property
    def url(self) -> str:
        """The object's address over HTTP, quoted; it works for everybody only where the bucket is public. Requests: none."""
        return self._bucket.compute_url(self._key)

    @property
    def boto3(self) -> Object | ObjectVersion:
        """boto3's resource object for the same thing, made anew at each access. Requests: none."""
        resource = self._bucket.s3_resource
        if self._version_id is not None:
            return resource.ObjectVersion(self._bucket.name, self._key, self._version_id)
        return resource.Object(self._bucket.name, self._key)

    # -- what it is: from the listing, else one HEAD ------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """The size in bytes. Requests: none after a listing or a write, else 1 HEAD, remembered."""
        if (listed := self._listed) is not None:
            return int(listed[3])
        return cast(int, self._known("size"))

    @property
    def etag(self) -> str:
        """The etag without quotes. Requests: none after a listing or a write, else 1 HEAD, remembered."""
        if (listed := self._listed) is not None and listed[2]:
            return etags.unquoted(listed[2]) or ""
        return cast("str | None", self._known("etag")) or ""

    @property
    def last_modified(self) -> datetime:
        """When the object was written, in UTC. Requests: none after a listing, else 1 HEAD, remembered."""
        if (listed := self._listed) is not None:
            return as_utc(listed[1])
        return cast(datetime, self._known("last_modified"))

    @property
    def storage_class(self) -> str:
        """The storage class, ``"STANDARD"`` mostly. Requests: none after a listing, else 1 HEAD, remembered."""
        if (listed := self._listed) is not None:
            return listed[4] or "STANDARD"
        return cast("str | None", self._known("storage_class")) or "STANDARD"

    @property
    def metadata(self) -> dict[str, str]:
        """The user's metadata, names in lower case. Requests: none after a write or a GET, else 1 HEAD, remembered."""
        return dict(cast("Mapping[str, str] | None", self._known("metadata")) or {})

    @property
    def content_type(self) -> str:
        """The content type. Requests: 1 HEAD, remembered."""
        return cast("str | None", self._known("content_type")) or ""

    def exists(self) -> bool:
        """Ask whether the object is there, now.

        Returns:
            True or False; what was known before does not count. False for a version that is a delete marker.

        Raises:
            S3AccessDenied: The store refuses to say: the object may be there or not.

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
            yield from self._head_steps()
        except S3NoSuchItem:
            return False
        except S3AccessDenied as error:
            error.args = (f"cannot tell whether {self.uri} exists. {error}",)
            raise
        return True

    def reload(self) -> S3Object:
        """Forget what is known, so that the next question is asked anew.

        Returns:
            The handle itself.

        Requests:
            none
        """
        self._listed = self._head = self._body = None
        return self

    def _if_match(self) -> str | None:
        """The etag that a read must meet: the one that a message named, or that of the object as this handle has met it."""
        if self._pinned_etag is not None:
            return self._pinned_etag
        head = self._head
        return head.etag if head is not None and head.last_modified is not None else None

    def _known(self, name: str) -> object:
        """What a HEAD tells under this name: remembered, else asked. Another thread may make the handle forget at any moment."""
        head = self._head
        known = None if head is None else getattr(head, name)
        return getattr(self._ask(), name) if known is None else known

    def _ask(self) -> Head:
        """One HEAD, remembered."""
        return self._run(self._head_steps())

    def _head_steps(self) -> Steps[Head]:
        found = yield from operations.head_steps(
            self._bucket._connection, self._bucket.name, self._key, self._version_id
        )
        self._head = found
        return found

    def _run(self, steps: Steps[Result]) -> Result:
        return drivers.run(self._bucket._connection, steps)

    # -- what is in it: one GET ---------------------------------------------------------------------------------------------------

    @property
    def body(self) -> bytes:
        """The whole content. Requests: 1 GET, remembered, and with it all that a HEAD would tell."""
        known = self._body
        if isinstance(known, bytes):
            return known
        if isinstance(known, S3Error):
            raise known
        return cast(bytes, self._run(self._body_steps()))

    def _body_steps(self) -> Steps[bytes | None]:
        """Read the whole content: that of the object as this handle knows it, so that nothing mixes two versions."""
        found, body = yield from operations.get_steps(
            self._bucket._connection, self._bucket.name, self._key, self._version_id, self._if_match()
        )
        self._apply_result((found, body))
        return body

    def _load_steps(self) -> Steps[None]:
        """Get the object as it is now: the headers, and the body up to 8 MiB."""
        result = yield from operations.get_steps(
            self._bucket._connection, self._bucket.name, self._key, self._version_id, self._pinned_etag,
            at_most=operations.KEPT_BYTES,
        )  # fmt: skip
        self._apply_result(result)

    def _apply_result(self, outcome: tuple[Head, bytes | None] | S3Error | None) -> S3Object:
        """Keep what a verb brought: headers and body, an error to raise when the body is read, or nothing."""
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
            S3InvalidContent: It is not UTF-8. Also a ValueError.

        Requests:
            those of ``body``
        """
        return as_text(self.body, self._bucket.name, self._key)

    def json(self) -> Any:
        """The content as JSON.

        Raises:
            S3InvalidContent: It is not JSON. Also a ValueError.

        Requests:
            those of ``body``

        Example:
            >>> bucket.put_json("a.json", {"total": 7}).json()
            {'total': 7}
        """
        return as_json(self.body, self._bucket.name, self._key)

    @property
    def body_stream(self) -> BinaryIO:
        """A readable over the content, fresh at each access; close it. Requests: 1 GET at each access, not remembered."""
        seen = self._if_match()
        _, stream = ranged_reader.get_stream(
            self._bucket._connection, self._bucket.name, self._key, version_id=self._version_id, if_match=seen
        )
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
        **extra: Unpack[PutParameters],
    ) -> IO[Any]:
        """Open the object like a file, to read (seekable) or to write (as a stream).

        What is written appears when the file is closed, whole; if the ``with`` block raises, nothing does. Without ``with``, nothing is
        written either where ``close()`` is called while an exception raised after the opening is being handled (``finally: f.close()``);
        a warning is logged then. A bare ``raise`` within the ``except`` block in which the file was opened cannot be seen by ``close()``:
        use ``with`` there.

        Args:
            mode: ``r``, ``w``, ``x`` (create only) or ``a`` (append), with ``b`` for bytes or ``t`` for text; bytes unless told.
            buffering: As for the builtin.
            encoding: Of text; UTF-8 unless told.
            errors: As for the builtin.
            newline: As for the builtin.
            metadata: User metadata of what is written.
            extra: Further parameters of a write, as for ``put()``.

        Returns:
            A file, for whatever takes one.

        Raises:
            S3NoSuchItem: To be read, and not there.
            S3ObjectExists: ``x``, and there already.
            S3ObjectChanged: While it was being read, the object was replaced; with ``a``, at the close: others created, replaced or deleted
                it since the opening, and nothing was appended. On a store that does not honour conditional writes the etag is compared
                by HEAD right before the write; a write by others between these two requests is lost.
            S3PreconditionFailed: At the close, with ``x`` or ``a``. With ``retryable``: another write was under way (409), and nothing was
                written. With ``outcome_unknown``: an answer was lost, and what is there does not tell whether it was written.
            ValueError: There is no such mode.

        Requests:
            1 GET to open for reading, then 1 per range; a write is 1 PUT up to 8 MiB, and 1 per part above. ``x`` and ``a`` have 1 HEAD
            before, ``a`` 1 GET as well below 5 MiB, and 1 HEAD at the close where conditions are not honoured; whether they are is
            probed once for a store that is not AWS (about 150 small requests)

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
            self._bucket._connection,
            self._bucket.name,
            self._key,
            mode,
            buffering=buffering,
            encoding=encoding,
            errors=errors,
            newline=newline,
            version_id=self._version_id,
            if_match=None if writes else self._if_match(),
            metadata=metadata,
            **extra,
        )
        if writes:
            self.reload()  # what is known is about to be wrong
            writer = file.writer if isinstance(file, TextWriter) else cast(ObjectWriter, file)
            writer.after_commit = self.reload  # what was read between the opening and the close is
        return file

    # -- bytes of it, files, links, copies ----------------------------------------------------------------------------------------

    def read_range(self, start: int, end: int | None = None) -> bytes:
        """Bytes of the content, as a slice would give them: half-open, from zero, a negative index counts from the end.

        Args:
            start: The first byte.
            end: The byte after the last one; None for all the rest.

        Raises:
            S3ObjectChanged: The object is another by now than the one this handle has met.

        Requests:
            1 GET (1 HEAD before it, remembered, where an index is negative)

        Example:
            >>> obj = bucket.put_object("digits", "0123456789")
            >>> obj.read_range(2, 5), obj.read_range(-3)
            (b'234', b'789')
        """
        start, end = operations.as_int(start), operations.as_int(end)
        for name, value in (("start", start), ("end", end)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
                raise TypeError(f"{name} must be a whole number of bytes, not {type(value).__name__}")
        if start < 0 or (end is not None and end < 0):
            start, end, _ = slice(start, end).indices(self.size)
        return b"".join(self.iter_chunks(start=start, end=end))

    def iter_chunks(self, chunk_size: int = 1024 * 1024, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The content, piece by piece.

        Args:
            chunk_size: Bytes a piece; the last one may be shorter.
            start: The first byte.
            end: The byte after the last one; None for all the rest.

        Raises:
            S3ObjectChanged: The object was replaced in the middle, or since this handle met it.
            ValueError: An argument has no meaning.

        Requests:
            1 GET

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
        try:
            _, stream = ranged_reader.get_stream(
                self._bucket._connection, self._bucket.name, self._key, start=start, end=end, version_id=self._version_id,
                if_match=self._if_match(),
            )  # fmt: skip
        except S3Error as error:
            if error.status == 416:  # the range begins behind the end: nothing, as in a slice
                return
            raise
        with stream:
            while chunk := stream.read(chunk_size):
                yield chunk

    def iter_lines(self) -> Iterator[bytes]:
        """The content, line by line, without the line ends.

        Requests:
            1 GET

        Example:
            >>> [*bucket.put_object("lines", "one\\ntwo\\n").iter_lines()]
            [b'one', b'two']
        """
        begun: list[bytes] = []  # the pieces of a line whose end has not come
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
            path: The file; folders above it are made. In a folder (one that exists, or a path that ends with ``/``) the file is named
                after the last part of the key, as ``download_folder`` names it. A link to a file is kept, and the file replaced. Pipes
                and character devices are written through.
            start: The first byte.
            end: The byte after the last one; None for all the rest.
            overwrite: Whether a file that is there is replaced.
            resume: Whether to go on where a killed download with ``resume=True`` ended.
            verify_checksum: Whether to compare the object's MD5 with that of what arrived; None: up to 16 MiB.
            progress: How to report progress in bytes, see ``Progress``.

        Returns:
            A handle for the object that was downloaded: its etag, size, version and metadata are known.

        Raises:
            FileExistsError: The file is there, and ``overwrite`` is not set; or it is a socket or a block device.
            IsADirectoryError: A folder of the file's name is in the way.
            S3ObjectChanged: The object was replaced during the download, or since this handle last read it.

        Requests:
            1 GET up to 16 MiB, else 1 more for each 16 MiB

        Example:
            >>> import pathlib, tempfile
            >>> path = pathlib.Path(tempfile.mkdtemp(), "a.txt")
            >>> written = bucket.put_object("a.txt", "hello")
            >>> bucket["a.txt"].download_to(path).etag == written.etag, path.read_text()
            (True, 'hello')
        """
        file = file_target.file_for(path, self._key)
        found = download.download(
            self._bucket._connection, self._bucket.name, self._key, file, version_id=self._version_id, start=start, end=end,
            overwrite=overwrite, resume=resume, verify_checksum=verify_checksum, if_match=self._if_match(), progress=progress,
        )  # fmt: skip
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
        """Copy the object: on the server where it can be, at any size, else streamed through here.

        Args:
            target: A key in the same bucket, or a handle: ``obj.copy_to(other[obj.key])``.
            metadata: User metadata in place of this object's; None keeps it.
            if_absent: Only if there is no such object at the target.
            if_match: Only if the object at the target has this etag.
            part_size_bytes: How much one request copies of an object above 5 GiB; None for 512 MiB.
            extra: Further parameters in place of this object's, as for ``put``.

        Returns:
            The copy's handle.

        Raises:
            S3NoSuchItem: There is no such object.
            S3NoSuchBucket: One of the two buckets is missing; ``error.bucket`` says which.
            S3ObjectExists: With ``if_absent``: the target is there already.
            S3PreconditionFailed: With ``if_match``: the target has another etag; or ``outcome_unknown``.
            S3Unsupported: The store does not honour conditions on copies; nothing was copied.

        Requests:
            1 HEAD, 1 COPY (with a condition once a store those of a probe, with other metadata where it is not AWS once 1 HEAD more); above
            5 GiB 1 per 512 MiB; between stores, or where the store would keep the old metadata, 1 GET and an upload

        Example:
            >>> obj = bucket.put_object("a.txt", "hello", {"by": "me"})
            >>> copied = obj.copy_to("b.txt")
            >>> copied.text, copied.metadata
            ('hello', {'by': 'me'})
        """
        there = self._target(target)
        put_parameters.check_parameters(extra)
        call, idempotency_token = None, ""
        if if_absent or if_match is not None:
            conditional.check(if_absent=if_absent, if_match=if_match)
            idempotency_token = conditional.new_idempotency_token()
            call = conditional.caller(
                there._bucket._connection,
                there._bucket.name,
                there._key,
                idempotency_token,
                if_absent=if_absent,
                if_match=if_match,
            )
        copied = copying.copy(
            self._address(),
            there._address(),
            metadata=metadata,
            call=call,
            idempotency_token=idempotency_token,
            part_size_bytes=copying.PART_BYTES if part_size_bytes is None else part_size_bytes,
            **extra,
        )
        return S3Object._create(there._bucket, there._key, head=copied)

    def move_to(
        self, target: str | S3Object, *, metadata: Mapping[str, str] | None = None, **extra: Unpack[PutParameters]
    ) -> S3Object:
        """Copy the object, and delete it here once the copy is there. Moved onto itself it stays, whatever its places are called.

        Where names do not show that the two places differ (another address, another bucket), the copy carries a random id in its metadata,
        hidden from ``metadata``; if the object here then shows it, both are one place, and nothing is deleted. In a versioned bucket a
        delete marker hides what was here. Where the store is not known to honour ``If-Match`` on DELETE, a write that arrives between the
        last look and the DELETE is lost.

        Args:
            target: A key in the same bucket, or a handle.
            metadata: User metadata in place of this object's; None keeps it.
            extra: Further parameters in place of this object's, as for ``put``.

        Returns:
            The handle of where it is now.

        Raises:
            S3ObjectChanged: The object was written while it was being moved: it is still here, and the copy is there.
            S3PreconditionFailed: With ``retryable``: the deletion was refused each time because another write was under way (409); the
                object is still here, and the copy is there. With ``outcome_unknown``: an answer to the deletion was lost.
            S3Unsupported: The store does not show whether both places are one; the object is still here.

        Requests:
            those of ``copy_to``, 2 HEAD (1 within a bucket of AWS), 1 DELETE
        """
        there = self._target(target)
        put_parameters.check_parameters(extra)
        written = copying.move(self._address(), there._address(), metadata=metadata, **extra)
        self.reload()
        return S3Object._create(there._bucket, there._key, head=written)

    def _target(self, target: str | S3Object) -> S3Object:
        if isinstance(target, S3Object):
            return target
        if isinstance(target, str):
            return self._bucket.object(target)
        raise TypeError(f"target must be a key in the same bucket or an S3Object, not {type(target).__name__}")

    def _address(self) -> address.ObjectAddress:
        return address.ObjectAddress(self._bucket._connection, self._bucket.name, self._key, self._version_id)

    def presigned_url(
        self,
        method: str = "GET",
        expires_in: int | timedelta = 3600,
        *,
        response_content_disposition: str | None = None,
        response_content_type: str | None = None,
        content_type: str | None = None,
    ) -> str:
        """A link by which anybody may do one thing with this object, for a while. Always SigV4, always the bucket's own endpoint.

        Args:
            method: ``"GET"``, ``"HEAD"``, ``"PUT"`` or ``"DELETE"``.
            expires_in: Seconds or a timedelta: 1 second to 7 days. A warning tells where the credentials end sooner.
            response_content_disposition: What the answer to a GET says of the file's name.
            response_content_type: What the answer to a GET says of its type.
            content_type: The type that a PUT must be sent with.

        Raises:
            ValueError: An argument has no meaning, or would smuggle a header in.

        Requests:
            none (on AWS 1 HEAD for each bucket, remembered, for its region)

        Example:
            >>> bucket["a b.txt"].presigned_url(expires_in=60).split("?")[0].endswith("/a%20b.txt")
            True
        """
        return presigning.presigned_url(
            self._bucket._connection, self._bucket.name, self._key, method, expires_in, version_id=self._version_id,
            response_content_disposition=response_content_disposition, response_content_type=response_content_type,
            content_type=content_type,
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
        """A form by which a browser stores this object.

        Args:
            expires_in: Seconds or a timedelta: 1 second to 7 days.
            content_type: The type that the form must give.
            min_size: The least number of bytes.
            max_size: The largest number of bytes.
            fields: Further fields that the form must have, exactly so.
            conditions: Further conditions in S3's own form (``["starts-with", "$Content-Type", "image/"]``).

        Returns:
            The form's ``url`` and ``fields``.

        Requests:
            none (on AWS 1 HEAD for each bucket, remembered, for its region)
        """
        return presigning.presigned_post(
            self._bucket._connection, self._bucket.name, self._key, expires_in, content_type=content_type, min_size=min_size,
            max_size=max_size, fields=fields, conditions=conditions,
        )  # fmt: skip

    def preview(self, lines: int = 20) -> Rendered:
        """The beginning of the object as people want to see it: text, JSON, CSV, JSON lines and Parquet as tables, images; through gzip.

        Args:
            lines: How many lines or rows.

        Raises:
            ValueError: ``lines`` is less than 1.
            S3NoSuchItem: There is no such object.

        Requests:
            1 GET of 64 KiB; for an image 1 GET more, up to 8 MiB; for Parquet those of reading its first rows

        Example:
            >>> bucket.put_object("a.csv", "name,total\\nerp,7\\n").preview()
            s3://.../a.csv
            name  total
            ----  -----
            erp   7
            17 B · text/csv
        """
        return preview.preview(
            self._bucket._connection, self._bucket.name, self._key, version_id=self._version_id, lines=lines
        )

    # -- change it ----------------------------------------------------------------------------------------------------------------

    def put(
        self,
        data: Body,
        metadata: Mapping[str, str] | None = None,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
        **extra: Unpack[PutParameters],
    ) -> S3Object:
        """Write the object anew; arguments as for ``bucket.put_object``.

        Returns:
            The handle itself, knowing what was written.

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
        self._apply_result((cast(Head, written._head), None))

    def update(self, function: Callable[[bytes | None], Data]) -> S3Object:
        """Read, change, write only if nobody else has written meanwhile; again until it holds. Metadata and tags stay.

        Args:
            function: Gets the content (None where there is no such object) and returns the new one; the same one is not written again. It
                may be called several times.

        Returns:
            The handle itself, knowing what was written.

        Raises:
            S3PreconditionFailed: Others were faster fifty times; or ``outcome_unknown``.
            S3Unsupported: The store does not honour conditions; nothing was written.

        Requests:
            1 GET and 1 PUT an attempt, 1 GET more where there are tags (once a store those of a probe)

        Example:
            >>> counter = bucket.object("counter")
            >>> counter.update(lambda body: str(int(body or b"0") + 1)).text
            '1'
        """
        self._head, self._body = conditional.update(self._bucket._connection, self._bucket.name, self._key, function)
        self._listed = None
        return self

    def delete(self, *, if_match: str | None = None) -> None:
        """Delete the object, or the version this handle was made for. That it is gone already is no error.

        Args:
            if_match: Only if the object has this etag.

        Raises:
            S3PreconditionFailed: With ``if_match``: the object has another etag; or ``outcome_unknown``.
            S3Unsupported: With ``if_match``: the store does not honour it. Of a version: the bucket keeps none, and the store might delete
                the object itself. Nothing was deleted.

        Requests:
            1 DELETE (of a version, on a store that is not AWS, also 1 GET)
        """
        self._run(self._delete_steps(if_match))

    def _delete_steps(self, if_match: str | None) -> Steps[None]:
        connection, bucket_name, version_id = self._bucket._connection, self._bucket.name, self._version_id
        if if_match is not None:
            yield Blocking(partial(conditional.delete, connection, bucket_name, self._key, if_match=if_match))
        else:
            if version_id is not None:
                yield Blocking(partial(versions.check_deletable, connection, bucket_name, version_id))
            yield from operations.delete_steps(bucket_name, self._key, version_id)
        self.reload()

    # -- tags and versions ------------------------------------------------------------------------------------------------------------

    @property
    def tags(self) -> ObjectTags:
        """The object's tags, a sub-resource. Requests: none; each word of it says its own."""
        return ObjectTags(self._bucket._connection, self._bucket.name, self._key, self._version_id)

    def versions(self) -> Iterator[S3Object]:
        """The versions of the object, the newest first; each can be read, deleted, or made current.

        Requests:
            1 per 1,000 versions

        Example:
            >>> bucket.versioning.enable()
            >>> obj = bucket.put_object("k", "one")
            >>> _ = obj.put("two")
            >>> [version.text for version in obj.versions()]
            ['two', 'one']
        """
        for entry in versions.of_key(self._bucket._connection, self._bucket.name, self._key):
            yield S3Object._create(self._bucket, self._key, entry.version_id, listed=Listed(*entry[:5]))

    def make_current(self) -> S3Object:
        """Make this version the current one, by a copy on the server; all versions stay.

        Returns:
            A handle on the object as it is now.

        Raises:
            ValueError: The handle is for no version in particular.

        Requests:
            1 COPY (more above 5 GiB)
        """
        if self._version_id is None:
            raise ValueError(f"{self.uri} is a handle for no version in particular; take one from versions()")
        return self.copy_to(self._key)

    def undelete(self) -> bool:
        """Take away the delete markers that hide the object, so that its newest version is current again.

        Returns:
            Whether there were any.

        Requests:
            1, and 2 for each marker on top
        """
        taken = versions.undelete(self._bucket._connection, self._bucket.name, self._key)
        self.reload()
        return taken

    # -- Python's own -------------------------------------------------------------------------------------------------------------

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
