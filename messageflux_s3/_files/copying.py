"""Copy and move objects of any size: within the store if possible, else streamed through this machine.

A copy keeps the object's attributes unless others are given: ``attributes.py`` lists them. S3's own copy drops the storage class and the
encryption, and above 5 GiB all attributes. A move MUST NOT delete its source unless it is proved that source and copy are two objects
(``_client/addresses.py``), and that the source has not changed since it was copied.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

from .._bulk import batch, versions
from .._client.addresses import BucketAddress, ObjectAddress, same_place
from .._client.exchange import Answer, Request
from .._formats import etags
from .._formats import metadata as user_metadata
from .._formats.head import Head
from .._objects import (
    attributes,
    conditional,
    confirmation,
    etag_md5,
    metadata_names,
    operations,
    put_parameters,
    ranged_reader,
    source_versions,
    tagging,
)
from .._objects.condition_probe import Ability
from .._objects.drivers import Blocking, Steps
from .._objects.multipart import MAX_PARTS, MultipartUpload
from .._objects.versioned import is_versioned
from ..errors import (
    S3AccessDenied,
    S3Error,
    S3NoSuchBucket,
    S3NoSuchItem,
    S3ObjectChanged,
    S3PreconditionFailed,
    S3Unsupported,
)
from ..subresources.tags import ObjectTags
from . import upload
from .upload import Call

MAX_COPIED_AT_ONCE = 5 * 1024**3
PART_BYTES = 512 * 1024 * 1024
CONCURRENCY = 6
"""The number of parts that the store copies in parallel."""
_AT_ONCE = 32
_IDENTITY = ("ETag", "ContentLength", "LastModified", "VersionId")
_DESCRIPTION = ("Metadata", "TagCount", *attributes.CONTENT_HEADERS)
"""Attributes that a write can change while the ETag (and, within the same second, LastModified) stays the same."""
_COMPARES_SOURCE = "If-Match on the source of copies is compared rightly"


def copy(
    source: ObjectAddress,
    target: ObjectAddress,
    *,
    metadata: Mapping[str, str] | None = None,
    call: Call | None = None,
    idempotency_token: str = "",
    part_size_bytes: int = PART_BYTES,
    etag: str | None = None,
    **extra: Any,
) -> Head:
    """Copy an object.

    Args:
        source: The object to copy.
        target: The address of the copy; its version ID is ignored.
        metadata: User metadata that replaces the source's; None keeps it.
        call: Called instead of ``connection.call`` for the request that makes the copy, with the same arguments (for a conditional copy).
        idempotency_token: ID to put into the copy's metadata, by which ``call`` recognises its own write.
        part_size_bytes: The size of a part for objects above 5 GiB.
        etag: ETag that the source must have.
        extra: Further parameters (:class:`~messageflux_s3._objects.put_parameters.PutParameters`) that replace the source's.

    Returns:
        Size, etag and version ID of the copy.

    Raises:
        S3NoSuchItem: The source does not exist.
        S3ObjectChanged: The source was replaced while it was copied. If the store honours If-Match on the source, nothing was written.
        S3Unsupported: The source is a version, and the store ignored its ID; nothing was written.

    Requests:
        1 HEAD and 1 COPY; above 5 GiB 1 COPY per 512 MiB and 2 POST; between stores 1 GET and an upload.

        Also, on a store that is not AWS:

        - above 5 GiB, 1 more HEAD
        - if tags are given, 1 GET; if the store dropped them, 1 HEAD, 2 GET and 1 PUT
        - once per store, if metadata is replaced or the source has tags, 2 PUT, 1 COPY, up to 5 GET and 2 DELETE of scratch objects
        - the requests of :func:`~messageflux_s3._objects.confirmation.steps`
        - if the source is a version, the requests of :func:`~messageflux_s3._objects.source_versions.are_copied`; if that returns
          False, 1 GET and an upload instead of the COPY
    """
    copying = _Copying(_current(source), target, metadata, call, idempotency_token, part_size_bytes, extra)
    copying.require_etag(etag)
    return copying.make()


def set_metadata(
    address: ObjectAddress,
    metadata: Mapping[str, str] | None,
    if_match: str | None,
    known: Head | None = None,
    **extra: Any,
) -> Head:
    """Replace the metadata of an object by copying the object onto itself; other attributes are kept.

    Args:
        address: The object, not a version.
        metadata: The new user metadata; None keeps it.
        if_match: ETag that the object must still have.
        known: Head of an earlier response. The object must still have its date and version ID, because the ETag stays the same when
            another client writes the same content or other metadata.
        extra: Further parameters, which replace the object's own.

    Returns:
        Size, etag, version ID and metadata of the object.

    Raises:
        S3ObjectChanged: The object was replaced. Nothing was written, unless the message says that a response was lost. A write between
            the HEAD and the copy is noticed only if the store honours If-Match on the source of a copy.
        S3PreconditionFailed: With ``outcome_unknown``: the object is copied in parts or as a stream, and a response was lost.

    Requests:
        as :func:`copy`; for a copy in parts or as a stream also those of :func:`~messageflux_s3._objects.conditional.honours`
    """
    copying = _Copying(address, address, metadata, None, "", PART_BYTES, extra)
    copying.describe_anew(if_match, known)
    return copying.make()


class _Copying:
    """One copy: the source's HEAD response, the parameters of the copy, and the methods that carry it out."""

    def __init__(
        self,
        source: ObjectAddress,
        target: ObjectAddress,
        metadata: Mapping[str, str] | None,
        call: Call | None,
        idempotency_token: str,
        part_size_bytes: int,
        extra: Mapping[str, Any],
    ) -> None:
        self._source = source
        self._target = target
        if metadata is not None:
            user_metadata.encode(metadata)  # raises before anything is sent
        self._metadata = metadata
        self._call = call
        self._idempotency_token = idempotency_token
        self._part_size_bytes = part_size_bytes
        self._is_itself = same_place(source, target) is True
        given = {name for name, value in extra.items() if value is not None}
        self._is_unchanged = source.version_id is None and metadata is None and not given and call is None
        self._is_described_anew = (
            False  # True after the store rejected a copy that keeps the metadata: send the same metadata as new
        )
        self._given = put_parameters.s3_parameters(target.key, extra) if extra else {}
        if not given & {"content_type", "ContentType"}:
            self._given.pop("ContentType", None)  # keep the source's type instead of guessing one from the new key
        self._is_rewrite = False
        self._etag_of_source: str | None = None
        self._known: Head | None = None
        self.found: Mapping[str, Any] = {}
        """boto3's response to the HEAD of the source."""

    def describe_anew(self, if_match: str | None, known: Head | None) -> None:
        """Send the metadata as new even if unchanged, and copy only if the object still matches this ETag and this head.

        S3 refuses to copy an object onto itself unless the copy replaces the metadata or changes the storage class or the encryption.
        """
        self._is_described_anew = self._is_rewrite = True
        self._known = known
        self.require_etag(if_match)

    def require_etag(self, etag: str | None) -> None:
        """Copy only if the source has this ETag; None for any."""
        self._etag_of_source = etag

    def make(self) -> Head:
        """Make the copy."""
        source, target = self._source, self._target
        self.found = _look(source)
        self._head = Head.from_answer(self.found)
        ranged_reader.check_version(source, self._head)
        self._check_is_known()
        if self._is_itself and self._is_unchanged:
            return self._head
        self._parameters = attributes.kept(source, self.found, self._given, scope=_scope(source, target))
        if self._metadata is not None or self._idempotency_token:
            self._encoded_metadata()  # raises before anything is written, even a scratch object
        try:
            return self._make_or_describe_anew()
        except S3NoSuchBucket as error:
            if error.operation not in ("CopyObject", "UploadPartCopy") or target.bucket_name == source.bucket_name:
                raise
            missing = _missing_bucket(source, error)
            if missing is None:
                raise
            raise missing from error
        except S3NoSuchItem as error:
            if (
                self._call is not None
                or error.operation not in ("CopyObject", "UploadPartCopy")
                or error.code == "NoSuchUpload"
            ):
                raise
            raise S3NoSuchItem(
                f"s3://{source.bucket_name}/{source.key} was deleted while it was being copied", operation=error.operation,
                bucket=source.bucket_name, key=source.key, code=error.code, status=error.status, request_id=error.request_id,
            ) from error  # fmt: skip

    def _check_is_known(self) -> None:
        """Raise S3ObjectChanged if the HEAD response shows another object than the one that the caller has read."""
        source, found, known = self._source, self._head, self._known
        if self._etag_of_source is not None and not etags.same(found.etag, self._etag_of_source):
            how = f"its etag was {self._etag_of_source}, now it is {found.etag}"
        elif known is not None and _differ(known.version_id, found.version_id):
            how = f"its version ID was {known.version_id}, now it is {found.version_id}"
        elif known is not None and _differ(known.last_modified, found.last_modified):
            how = f"it was written at {known.last_modified}, and again at {found.last_modified}"
        else:
            return
        raise S3ObjectChanged(
            f"{source.uri} was replaced: {how}; nothing was written",
            operation="CopyObject", bucket=source.bucket_name, key=source.key,
        )  # fmt: skip

    def _make_or_describe_anew(self) -> Head:
        try:
            return self._choose()()
        except S3Error as error:
            is_restored = self._is_itself and self._source.version_id is not None
            if error.code != "InvalidRequest" or not is_restored or self._replaces_metadata:
                raise
            # On AWS a version copied onto its own key, without other changes, becomes the current one. LocalStack and others reject that:
            # copy again, and replace the metadata with the same metadata.
            self._is_described_anew = True
            return self._choose()()

    def _choose(self) -> Callable[[], Head]:
        """Return the function that makes the copy: in one request, in parts, or as a stream."""
        target = self._target
        if not self._source.is_same_store(target) or not source_versions.are_copied(self._source, target):
            return self._stream
        if (self._head.size or 0) > MAX_COPIED_AT_ONCE:
            return lambda: self._rewrite(
                lambda: conditional.sending_again(target.connection, self._in_parts, lambda: True), "multipart_if_match"
            )
        keeps_tags = bool(self.found.get("TagCount")) and "Tagging" not in self._given
        if not confirmation.copies_rightly(
            target,
            self._parameters,
            is_described=self._is_described,
            replaces_metadata=self._replaces_metadata,
            keeps_tags=keeps_tags,
        ):
            return lambda: self._rewrite(self._stream, *self._of_stream)
        return self._at_once

    @property
    def _of_stream(self) -> tuple[Ability, ...]:
        """The conditions that an upload of this size may need."""
        is_small = (self._head.size or 0) <= upload.THRESHOLD_BYTES
        return ("put_if_match",) if is_small else ("put_if_match", "multipart_if_match")

    def _rewrite(self, make: Callable[[], Head], *abilities: Ability) -> Head:
        """Make a copy in several requests; set_metadata replaces the object only if its ETag is still that of the HEAD response.

        This needs a store that honours these conditions. Without a condition, a write by another client between the first and the last
        request is lost.
        """
        target, etag = self._target, self._head.etag
        if (
            not self._is_rewrite
            or etag is None
            or etags.is_weak(etag)
            or not all(conditional.honours(target.bucket, ability) for ability in abilities)
        ):
            return make()
        condition = conditional.precondition(if_match=etag)._replace(is_optional=True)
        self._call, self._idempotency_token = conditional.ConditionalWrite(target, condition), condition.token
        try:
            return make()
        except S3PreconditionFailed as error:
            if error.outcome_unknown or error.retryable:
                raise
            raise self._replaced("nothing was written", error.operation) from error

    @property
    def _is_fixed(self) -> bool:
        """Whether the source is a version, which never changes. The version "null" does: writes without versioning replace it."""
        return self._source.version_id not in (None, "null")

    @property
    def _replaces_metadata(self) -> bool:
        return self._is_described or self._is_described_anew or bool(self._idempotency_token)

    @property
    def _is_described(self) -> bool:
        """Whether the user gives metadata or content headers."""
        return self._metadata is not None or any(name in self._given for name in attributes.CONTENT_HEADERS)

    def _at_once(self) -> Head:
        target = self._target
        parameters = dict(self._parameters)
        undescribed = {name: value for name, value in parameters.items() if name not in attributes.CONTENT_HEADERS}
        confirmation.require(target, "CopyObject", undescribed)
        if self._replaces_metadata:
            parameters |= {"Metadata": self._encoded_metadata(), "MetadataDirective": "REPLACE"}
        else:
            parameters = undescribed
        if "Tagging" in self._given:
            parameters["TaggingDirective"] = "REPLACE"
        answer = self._copy_of_what_was_found(
            {
                "Bucket": target.bucket_name,
                "Key": target.key,
                "CopySource": _copy_source(self._source),
                **target.connection.source_parameters(self._source.connection),
                **parameters,
            }
        )
        if "Tagging" in self._given:
            tagging.ensure_after_copy(
                target, self._given["Tagging"], answer, source_is_tagged=bool(self.found.get("TagCount"))
            )
        result = answer.get("CopyObjectResult") or answer
        written = user_metadata.encode(self._metadata) if self._metadata is not None else _raw_metadata(self.found)
        return Head.from_write(self._head.size, result.get("ETag"), answer.get("VersionId"), written)

    def _copy_of_what_was_found(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Send CopyObject on condition that the source has not changed since the HEAD, whose headers are sent with the copy.

        Raises:
            S3ObjectChanged: The source was replaced. If the store honours the condition, nothing was written.
        """
        connection = self._target.connection
        if self._call is not None:  # a failed condition on the source could not be distinguished from one on the target
            answer = self._call("CopyObject", **parameters)
            self._check_copied(answer)
            return answer
        etag = (
            ranged_reader.etag_for(connection, self._head.etag)
            if connection.facts.get(_COMPARES_SOURCE) is not False
            else None
        )
        condition = {} if etag is None or self._is_fixed else {"CopySourceIfMatch": etag}
        try:
            answer = connection.call("CopyObject", **parameters, **condition)
        except S3PreconditionFailed as error:
            if not condition:
                raise
            if self._is_rewrite and error.was_retried and (made := self._found_made(parameters)) is not None:
                return made
            if self._was_replaced():
                outcome = (
                    "a response was lost, so it may have been copied before"
                    if error.was_retried
                    else "nothing was written"
                )
                raise self._replaced(outcome, error.operation) from error
            connection.facts[_COMPARES_SOURCE] = False
            answer = connection.call("CopyObject", **parameters)
        if not (condition and connection.is_aws):
            self._check_copied(answer)
        return answer

    def _found_made(self, parameters: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return a HEAD response in place of the lost response to a copy onto itself; None if the object is not that copy.

        The copy's ETag may differ from the source's (if the source was uploaded in parts, or is encrypted by KMS). The condition then
        rejects the retry, although the first attempt has succeeded.
        """
        found = _look(self._target)
        sent = {
            name: parameters[name] for name in attributes.CONTENT_HEADERS if name in parameters and name != "Expires"
        }
        is_as_sent = all((found.get(name) or "") == value for name, value in sent.items())
        is_same_size = found.get("ContentLength") == self.found.get("ContentLength")
        is_new = any(found.get(name) != self.found.get(name) for name in _IDENTITY)
        is_ours = is_as_sent and is_same_size and is_new and _raw_metadata(found) == parameters["Metadata"]
        return found if is_ours else None

    def _check_copied(self, answer: Mapping[str, Any]) -> None:
        """Compare the ETags of copy and source, since the store may have ignored the condition on the source.

        ETags may also differ because the store encrypts the copy, so another HEAD of the source decides.

        Raises:
            S3ObjectChanged: The source was replaced.
        """
        result = {**answer, **(answer.get("CopyObjectResult") or {})}
        before, after = etag_md5.md5_of(self.found), etag_md5.md5_of(result)
        if self._is_itself or self._is_fixed or None in (before, after) or before == after:
            return
        if self._was_replaced():
            raise self._replaced("the copy has the content of the new one; copy it again", "CopyObject")

    def _was_replaced(self) -> bool:
        try:
            now = _look(self._source)
        except S3NoSuchItem:
            return True
        return any(self.found.get(name) != now.get(name) for name in _IDENTITY)

    def _replaced(self, outcome: str, operation: str | None) -> S3ObjectChanged:
        source = self._source
        return S3ObjectChanged(
            f"s3://{source.bucket_name}/{source.key} changed while it was being copied: its etag is no longer {self._head.etag}; {outcome}",
            operation=operation, bucket=source.bucket_name, key=source.key,
        )  # fmt: skip

    def _in_parts(self) -> Head:
        source, target, size, etag = self._source, self._target, self._head.size or 0, self._head.etag
        parameters = {
            **self._parameters,
            **_kept_tags(source, self.found, self._given),
            "Metadata": self._encoded_metadata(),
        }
        part_size = max(self._part_size_bytes, -(-size // MAX_PARTS))
        conditional.require_parts(self._call)
        with MultipartUpload(
            target,
            parameters=parameters,
            concurrency=CONCURRENCY,
            copies_only=True,
        ) as multipart:
            try:
                for start in range(0, size, part_size):
                    multipart.copy_part(
                        _copy_source(source),
                        start,
                        min(start + part_size, size),
                        if_match=etag,
                        **target.connection.source_parameters(source.connection),
                    )
                multipart.settle()
                # Stores other than AWS may ignore the condition of a part: then the parts may be of two contents.
                if not target.connection.is_aws and not self._is_fixed and self._was_replaced():
                    raise self._replaced("nothing was written", "UploadPartCopy")
            except S3PreconditionFailed as error:
                raise S3ObjectChanged(
                    f"s3://{source.bucket_name}/{source.key} changed while it was being copied: its etag is no longer {etag}",
                    operation="UploadPartCopy",
                    bucket=source.bucket_name,
                    key=source.key,
                ) from error
            answer = multipart.complete(self._call)
        return Head.from_write(size, answer.get("ETag"), answer.get("VersionId"), parameters["Metadata"])

    def _stream(self) -> Head:
        source, target = self._source, self._target
        if self._metadata is None:
            attributes.require_whole_metadata(source, self.found)
        parameters = {**self._parameters, **_kept_tags(source, self.found, self._given)}
        kept = dict(
            self._metadata if self._metadata is not None else user_metadata.decode(_raw_metadata(self.found)) or {}
        )
        if self._idempotency_token:
            # Check the size: if the metadata is too large, this raises the same error as a copy within the store.
            user_metadata.marked(user_metadata.encode(kept), self._idempotency_token)
            kept[user_metadata.IDEMPOTENCY_TOKEN] = self._idempotency_token

        def send() -> Head:
            _, stream = ranged_reader.get_stream(source, if_match=self._head.etag, size=self._head.size)
            with stream:
                return upload.upload(
                    target,
                    stream,
                    metadata=kept,
                    call=self._call,
                    **parameters,
                )

        return conditional.sending_again(target.connection, send, lambda: True)

    def _encoded_metadata(self) -> dict[str, str]:
        if self._metadata is None:
            attributes.require_whole_metadata(self._source, self.found)
        kept = user_metadata.decode(_raw_metadata(self.found)) if self._metadata is None else self._metadata
        encoded = user_metadata.encode(kept)
        if self._metadata is not None:
            metadata_names.require(self._target, encoded)
        return user_metadata.marked(encoded, self._idempotency_token) if self._idempotency_token else encoded


def _differ(one: object, other: object) -> bool:
    """Return whether both values are known and differ."""
    return None not in (one, other) and one != other


def _current(source: ObjectAddress) -> ObjectAddress:
    """Return the address without the version "null" where that is the current object: in a bucket without versioning.

    A copy of it onto itself would be a rewrite, by which some stores lose the metadata.

    Requests:
        none on AWS or for another version; else 1 GET, cached for a few seconds
    """
    if source.version_id != "null" or source.connection.is_aws:
        return source
    try:
        is_kept = is_versioned(source.bucket)
    except S3AccessDenied:  # these credentials may read versions, but not the bucket's settings
        is_kept = True
    return source if is_kept else source._replace(version_id=None)


def _look(source: ObjectAddress) -> dict[str, Any]:
    """Send HEAD for the source.

    Raises:
        S3NoSuchBucket: The bucket does not exist (a HEAD of an object alone cannot distinguish that from a missing object).
    """
    version = {} if source.version_id is None else {"VersionId": source.version_id}
    try:
        return source.connection.call("HeadObject", Bucket=source.bucket_name, Key=source.key, **version)
    except S3NoSuchItem as error:
        missing = _missing_bucket(source, error)
        if missing is None:
            raise
        raise missing from error


def _missing_bucket(source: ObjectAddress, error: S3Error) -> S3NoSuchBucket | None:
    """Return S3NoSuchBucket if the source's bucket does not exist, else None. The store's error names the target's bucket, or no bucket.

    Requests:
        1 HEAD
    """
    try:
        source.connection.call("HeadBucket", Bucket=source.bucket_name)
    except S3NoSuchBucket as missing:
        return S3NoSuchBucket(
            f"{error.operation} on s3://{source.bucket_name}/{source.key}: there is no bucket {source.bucket_name!r} to copy from",
            operation=error.operation, bucket=source.bucket_name, key=source.key, code="NoSuchBucket", status=404,
            request_id=missing.request_id,
        )  # fmt: skip
    except S3Error:
        pass
    return None


def _scope(source: ObjectAddress, target: ObjectAddress) -> attributes.Scope:
    """Return where the copy will be, relative to its source."""
    if source.bucket_name == target.bucket_name and (
        source.is_same_store(target) or _is_likely_one_bucket(source, target)
    ):
        return "object" if source.key == target.key else "bucket"
    if source.bucket.is_directory != target.bucket.is_directory:
        return "elsewhere"  # directory buckets and other buckets have different storage classes
    if source.is_same_store(target):
        return "store"
    return "kind" if source.connection.preset == target.connection.preset else "elsewhere"


def _is_likely_one_bucket(source: ObjectAddress, target: ObjectAddress) -> bool:
    """Return whether these are probably two addresses of one bucket; a copy within one bucket must keep the encryption.

    If the guess is wrong, the other store rejects the copy because it does not have the KMS key, and nothing is lost.
    """
    try:
        key = source.connection.access_key
        return (
            key is not None
            and key == target.connection.access_key
            and source.connection.preset == target.connection.preset
        )
    except S3Error:
        return False


class Copy(NamedTuple):
    """One of many copies: the listed source, and the target's key. The ETag is None if the listing has none."""

    source: ObjectAddress
    size: int
    storage_class: str
    target_key: str
    etag: str | None = None

    def size_of(self, etag: str | None) -> int | None:
        """Return the size of a copy with this ETag; None if the source may have been replaced since it was listed.

        Stores that encrypt the copy, or have received the source in parts, give the copy another ETag too: then a HEAD tells the size.
        """
        is_as_listed = self.source.version_id is not None or self.etag is None or etags.same(self.etag, etag)
        return self.size if is_as_listed else None


def is_elsewhere(source: ObjectAddress, bucket: BucketAddress) -> bool:
    """Return whether a bucket certainly is not that of an object: the object exists, but the bucket has no object with this key.

    Requests:
        1 or 2 HEAD
    """
    try:
        operations.head(bucket.object(source.key))
        return False
    except S3NoSuchItem:
        pass
    except S3Error:
        return False
    try:
        operations.head(source.bucket.object(source.key))
    except S3Error:
        return False
    return True


def copy_many(bucket: BucketAddress, copies: Iterable[Copy]) -> Generator[tuple[Copy, Head | S3Error], None, None]:
    """Copy many objects into a bucket without changes; yield the outcomes in order. Small objects use the fast lane.

    Args:
        bucket: The target bucket.
        copies: The copies to make, any number, consumed lazily.

    Returns:
        Each copy with the head of the new object, or with the error.

    Requests:
        1 COPY for a small object (for versions, on a store that is not AWS, first those of
        :func:`~messageflux_s3._objects.source_versions.are_copied`), else as :func:`copy`
    """

    def steps_of(one: Copy) -> Steps[Head]:
        target = bucket.object(one.target_key)
        if (
            one.size > operations.MAX_CACHED_BODY
            or not one.source.is_same_store(target)
            or same_place(one.source, target)
        ):
            copied: Head = yield Blocking(partial(copy, one.source, target))
            return copied
        if one.source.version_id is not None and not bucket.connection.is_aws:
            source = yield Blocking(partial(_current, one.source))
            if not (yield Blocking(partial(source_versions.are_copied, source, target))):
                copied = yield Blocking(partial(copy, source, target))
                return copied
            one = one._replace(source=source)
        parameters: dict[str, Any] = {"CopySource": _copy_source(one.source)}
        if one.storage_class != "STANDARD" and one.source.bucket.is_directory == bucket.is_directory:
            parameters["StorageClass"] = one.storage_class
            yield from confirmation.steps(target, "CopyObject", parameters)
        parameters |= target.connection.source_parameters(one.source.connection)
        answer: Answer = yield Request(
            "CopyObject",
            bucket.name,
            one.target_key,
            parameters,
            fallback=lambda: Answer({}, found=copy(one.source, target)),
        )
        if (result := (answer.parsed or {}).get("CopyObjectResult")) is None:
            return answer.head
        etag = etags.unquoted(result["ETag"])
        return Head(size=one.size_of(etag), etag=etag, version_id=answer.version_id)

    return batch.run_many(bucket, copies, steps_of, concurrency=_AT_ONCE)


def _copy_source(source: ObjectAddress) -> dict[str, str]:
    version = {} if source.version_id is None else {"VersionId": source.version_id}
    return {"Bucket": source.bucket_name, "Key": source.key, **version}


def _raw_metadata(found: Mapping[str, Any]) -> dict[str, str]:
    return {
        name.lower(): value
        for name, value in (found.get("Metadata") or {}).items()
        if name.lower() != user_metadata.IDEMPOTENCY_TOKEN
    }


def _kept_tags(source: ObjectAddress, found: Mapping[str, Any], replaced: Mapping[str, Any]) -> dict[str, str]:
    """Return the source's tags as a parameter of a write; empty if they are replaced, or if the source's store does not support tags.

    If the target's store would silently drop the tags, the write raises S3Unsupported.

    Raises:
        S3Unsupported: The source has tags (``found`` is its HEAD), and the store does not return those of this version.
    """
    if "Tagging" in replaced or source.bucket.capabilities.object_tagging is False:
        return {}
    try:
        tags = ObjectTags(source).get()
    except S3Unsupported:
        if source.version_id is not None and found.get("TagCount"):
            raise
        return {}
    return {"Tagging": put_parameters.encode_tags(tags)} if tags else {}


class Move(NamedTuple):
    """A move whose copy has been made and whose source has not been deleted yet."""

    source: ObjectAddress
    target: ObjectAddress
    found: Mapping[str, Any]
    copied: Head
    idempotency_token: str
    is_itself: bool
    given: Mapping[str, Any]
    """Parameters that a HEAD of the copy needs."""


def move(source: ObjectAddress, target: ObjectAddress, **changes: Any) -> Head:
    """Copy an object and delete the source. An object moved onto itself is kept, even if the two addresses look different.

    Raises:
        S3ObjectChanged: The source was written meanwhile; source and copy both exist.
        S3PreconditionFailed: It is unknown whether the source was deleted (``outcome_unknown``); or every deletion was rejected because of
            a concurrent write (``retryable``), and source and copy both exist.
        S3Unsupported: It cannot be determined whether source and target are one object; nothing was deleted.
        S3Error: The copy is incomplete; the source was not deleted.

    Requests:
        the requests of ``copy``, 2 HEAD (1 if the store honours If-Match on DELETE and the addresses certainly differ) and 1 DELETE
    """
    return finish_move(begin_move(source, target, **changes))


def begin_move(
    source: ObjectAddress,
    target: ObjectAddress,
    *,
    metadata: Mapping[str, str] | None = None,
    etag: str | None = None,
    **extra: Any,
) -> Move:
    """Make the copy of a move; nothing is deleted yet.

    If the names cannot prove that the two addresses differ, the copy gets a random ID in its metadata.

    Raises:
        S3ObjectChanged: The source has another ETag than ``etag``, or was replaced while it was copied.

    Requests:
        the requests of ``copy``; for a version, on a store that is not AWS, also 1 GET
    """
    source = _current(source)
    if source.version_id is not None:
        versions.check_deletable(source.bucket, source.version_id)
    same = same_place(source, target)
    idempotency_token = conditional.new_idempotency_token() if same is None else ""
    copying = _Copying(source, target, metadata, None, idempotency_token, PART_BYTES, extra)
    copying.require_etag(etag)
    copied = copying.make()
    return Move(
        source,
        target,
        copying.found,
        copied,
        idempotency_token,
        same is True,
        put_parameters.for_every_request(copying._given),
    )


def finish_move(begun: Move) -> Head:
    """Delete the source of a move, if the copy exists, the source is another object, and the source has not changed since the copy.

    Without If-Match on DELETE, a write between the last HEAD and the DELETE is lost; in a versioned bucket it remains as a version below
    the delete marker. If-Match compares only the ETag, so new metadata or tags with the same content are not noticed. The HEAD that is
    otherwise sent also shows changes of metadata, headers and the number of tags, but not of the tags' values.

    If the store honours If-Match only without versioning, and versioning was enabled meanwhile, the source is compared by a HEAD.

    Requests:
        2 HEAD (1 if the store honours If-Match on DELETE and the addresses certainly differ) and 1 DELETE
    """
    source, target, copied = begun.source, begun.target, begun.copied
    if begun.is_itself:
        return copied
    arrived = operations.head(target, begun.given)
    if arrived.size != copied.size:
        raise _not_deleted(begun, f"has {arrived.size} bytes, its source {copied.size}")
    if begun.idempotency_token and begun.idempotency_token not in (arrived.idempotency_token or "").split():
        raise _not_deleted(
            begun, "does not have the ID that was written with it, so that it may be the source itself", S3Unsupported
        )
    etag = etags.unquoted(begun.found.get("ETag"))
    is_conditional = (
        source.version_id is None and etag is not None and not etags.is_weak(etag) and _honours_if_match(source)
    )
    if begun.idempotency_token and not _is_unchanged(begun):
        return copied
    if is_conditional:
        try:
            conditional.delete(source, if_match=str(etag))
            return copied
        except S3PreconditionFailed as error:
            if error.outcome_unknown or error.retryable:  # 409: a concurrent write; the source may be unchanged
                raise
            raise _changed(begun) from error
        except S3Unsupported:  # versioning was enabled meanwhile, and the store does not honour the condition with it
            pass
    if (is_conditional or not begun.idempotency_token) and not _is_unchanged(begun):
        return copied
    source.connection.call("DeleteObject", **source.parameters)
    return copied


def _is_unchanged(begun: Move) -> bool:
    """Return whether the source is there, and another object than the copy.

    Raises:
        S3ObjectChanged: The source was written meanwhile.

    Requests:
        1 HEAD
    """
    source = begun.source
    try:
        now = source.connection.call("HeadObject", **source.parameters)
    except S3NoSuchItem:
        return False  # another client has deleted the source
    if begun.idempotency_token and begun.idempotency_token in (Head.from_answer(now).idempotency_token or "").split():
        return False  # the source is the copy
    # A store may omit an absent value in one response and return 0 in another.
    if any((begun.found.get(name) or None) != (now.get(name) or None) for name in (*_IDENTITY, *_DESCRIPTION)):
        raise _changed(begun)
    return True


def _honours_if_match(source: ObjectAddress) -> bool:
    """Return whether the store is known to honour If-Match on DELETE. Not probed: a probe costs more than most moves."""
    connection = source.connection
    if connection.is_aws:
        return True
    if connection.capabilities.delete_if_match != "honoured":
        return False
    return not is_versioned(source.bucket)


def _changed(begun: Move) -> S3ObjectChanged:
    source, target = begun.source, begun.target
    return S3ObjectChanged(
        f"s3://{source.bucket_name}/{source.key} was written while it was being moved to s3://{target.bucket_name}/{target.key}: "
        "it was not deleted. Move it again.",
        operation="DeleteObject",
        bucket=source.bucket_name,
        key=source.key,
    )


def _not_deleted(begun: Move, why: str, error: type[S3Error] = S3Error) -> S3Error:
    target = begun.target
    return error(
        f"s3://{target.bucket_name}/{target.key} {why}: the source was not deleted",
        operation="CopyObject",
        bucket=target.bucket_name,
        key=target.key,
    )
