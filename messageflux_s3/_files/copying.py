"""Copy and move objects of any size: within the store if possible, else streamed through this machine.

A copy keeps the object's attributes unless others are given: ``attributes.py`` lists them. S3's own copy drops the storage class and the
encryption, and above 5 GiB all attributes. A move MUST NOT delete its source unless it is proved that source and copy are two objects
(``_client/addresses.py``), and that the source has not changed since it was copied.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

from .._bulk import batch
from .._client.addresses import BucketAddress, ObjectAddress, same_place
from .._client.exchange import Answer, Request
from .._formats import etags
from .._formats import metadata as user_metadata
from .._formats.head import Head
from .._objects import (
    attributes,
    conditional,
    etag_md5,
    operations,
    put_parameters,
    ranged_reader,
    tagging,
)
from .._objects.drivers import Blocking, Steps
from .._objects.multipart import MAX_PARTS, MultipartUpload
from .._objects.versioned import is_versioned
from ..errors import S3Error, S3NoSuchBucket, S3NoSuchItem, S3ObjectChanged, S3PreconditionFailed, S3Unsupported
from ..subresources.tags import ObjectTags
from . import upload
from .upload import Call

MAX_COPIED_AT_ONCE = 5 * 1024**3
PART_BYTES = 512 * 1024 * 1024
_AT_ONCE = 32
_IDENTITY = ("ETag", "ContentLength", "LastModified", "VersionId")
_DESCRIPTION = ("Metadata", "TagCount", *attributes.CONTENT_HEADERS)
"""Attributes that a write can change without a change of the ETag or, within the same second, of LastModified."""
_REPLACES = "metadata of copies is replaced"
_COMPARES_SOURCE = "If-Match on the source of copies is compared rightly"
_KEEPS_TAGS = "tags stay where metadata of copies is replaced"


def copy(
    source: ObjectAddress,
    target: ObjectAddress,
    *,
    metadata: Mapping[str, str] | None = None,
    call: Call | None = None,
    idempotency_token: str = "",
    part_size_bytes: int = PART_BYTES,
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
        extra: Further parameters (:class:`~messageflux_s3._objects.put_parameters.PutParameters`) that replace the source's.

    Returns:
        Size, etag and version ID of the copy.

    Raises:
        S3NoSuchItem: The source does not exist.
        S3ObjectChanged: The source was replaced while it was copied. If the store honours If-Match on the source, nothing was written.

    Requests:
        1 HEAD and 1 COPY; above 5 GiB 1 COPY per 512 MiB and 2 POST; between stores 1 GET and an upload. On a store that is not AWS: if
        metadata is removed 1 more HEAD, once per store; if tags are given 1 more GET, and if the store dropped them 1 HEAD, 2 GET and
        1 PUT
    """
    return _Copying(source, target, metadata, call, idempotency_token, part_size_bytes, extra).make()


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
        self._metadata = metadata
        self._call = call
        self._idempotency_token = idempotency_token
        self._part_size_bytes = part_size_bytes
        self._is_itself = same_place(source, target) is True
        self._is_unchanged = source.version_id is None and metadata is None and not extra and call is None
        self._is_described_anew = (
            False  # True: replace the metadata with the same, since the store rejected a copy that keeps it
        )
        self._given = put_parameters.s3_parameters(target.key, extra) if extra else {}
        if "content_type" not in extra and "ContentType" not in extra:
            self._given.pop("ContentType", None)  # keep the source's type instead of guessing one from the new key
        self.found: Mapping[str, Any] = {}
        """boto3's response to the HEAD of the source."""

    def make(self) -> Head:
        """Make the copy."""
        source, target = self._source, self._target
        self.found = _look(source)
        self._head = Head.from_answer(self.found)
        ranged_reader.check_version(source, self._head)
        if self._is_itself and self._is_unchanged:
            return self._head
        self._parameters = attributes.kept(source, self.found, self._given, scope=_scope(source, target))
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
        if not self._source.is_same_store(target):
            return self._stream
        if (self._head.size or 0) > MAX_COPIED_AT_ONCE:
            return lambda: conditional.sending_again(target.connection, self._in_parts, lambda: True)
        doubts = self._doubts()
        if not doubts:
            return self._at_once
        # Stream instead of trying CopyObject: a conditional copy cannot be retried, and a copy onto itself may lose attributes for good.
        may_try = (
            self._call is None
            and not self._is_itself
            and all(target.connection.facts.get(doubt) is None for doubt in doubts)
        )
        return self._try_at_once if may_try else self._stream

    def _doubts(self) -> list[str]:
        """Return the defects of CopyObject with new metadata that would spoil this copy, and that the store has or may have.

        rclone adds new metadata to the old instead of replacing it; radosgw drops the tags.
        """
        if not self._replaces_metadata or self._target.connection.is_aws:
            return []
        doubts = []
        if self._dropped and not self._is_itself:
            doubts.append(_REPLACES)
        if self.found.get("TagCount") and "Tagging" not in self._given:
            doubts.append(_KEEPS_TAGS)
        return [doubt for doubt in doubts if not self._target.connection.facts.get(doubt)]

    @property
    def _replaces_metadata(self) -> bool:
        is_described = self._is_described_anew or self._metadata is not None or bool(self._idempotency_token)
        return is_described or any(name in self._given for name in attributes.CONTENT_HEADERS)

    @property
    def _dropped(self) -> set[str]:
        """The names of metadata that the source has and the copy must not have."""
        return (
            set()
            if self._metadata is None
            else _raw_metadata(self.found).keys() - {name.lower() for name in self._metadata}
        )

    def _try_at_once(self) -> Head:
        """Copy in one request, check the copy for the possible defects, cache what was found, and stream if the copy has a defect."""
        target, doubts = self._target, self._doubts()
        copied = self._at_once()
        given = put_parameters.for_every_request(self._parameters)
        made = target.connection.call("HeadObject", Bucket=target.bucket_name, Key=target.key, **given)
        rightly = {
            _REPLACES: not self._dropped & _raw_metadata(made).keys(),
            _KEEPS_TAGS: made.get("TagCount") == self.found.get("TagCount"),
        }
        for doubt in doubts:
            target.connection.facts[doubt] = rightly[doubt]
        return copied if all(rightly[doubt] for doubt in doubts) else self._stream()

    def _at_once(self) -> Head:
        target = self._target
        parameters = dict(self._parameters)
        if self._replaces_metadata:
            parameters |= {"Metadata": self._encoded_metadata(), "MetadataDirective": "REPLACE"}
        else:
            parameters = {name: value for name, value in parameters.items() if name not in attributes.CONTENT_HEADERS}
        if "Tagging" in self._given:
            parameters["TaggingDirective"] = "REPLACE"
        answer = self._copy_of_what_was_found(
            {"Bucket": target.bucket_name, "Key": target.key, "CopySource": _copy_source(self._source), **parameters}
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
        source, connection = self._source, self._target.connection
        if self._call is not None:  # a failed condition on the source could not be distinguished from one on the target
            answer = self._call("CopyObject", **parameters)
            self._check_copied(answer)
            return answer
        etag = (
            ranged_reader.etag_for(connection, self._head.etag)
            if connection.facts.get(_COMPARES_SOURCE) is not False
            else None
        )
        condition = {} if etag is None or source.version_id is not None else {"CopySourceIfMatch": etag}
        try:
            answer = connection.call("CopyObject", **parameters, **condition)
        except S3PreconditionFailed as error:
            if not condition:
                raise
            if self._was_replaced():
                raise self._replaced("nothing was written", error.operation) from error
            connection.facts[_COMPARES_SOURCE] = False
            answer = connection.call("CopyObject", **parameters)
        if not (condition and connection.is_aws):
            self._check_copied(answer)
        return answer

    def _check_copied(self, answer: Mapping[str, Any]) -> None:
        """Compare the ETags of copy and source, since the store may have ignored the condition on the source.

        ETags may also differ because the store encrypts the copy, so another HEAD of the source decides.

        Raises:
            S3ObjectChanged: The source was replaced.
        """
        result = {**answer, **(answer.get("CopyObjectResult") or {})}
        before, after = etag_md5.md5_of(self.found), etag_md5.md5_of(result)
        if self._is_itself or self._source.version_id is not None or None in (before, after) or before == after:
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
        parameters = {**self._parameters, **_kept_tags(source, self._given), "Metadata": self._encoded_metadata()}
        part_size = max(self._part_size_bytes, -(-size // MAX_PARTS))
        conditional.require_parts(self._call)
        with MultipartUpload(
            target,
            parameters=parameters,
            concurrency=upload.CONCURRENCY,
            copies_only=True,
        ) as multipart:
            try:
                for start in range(0, size, part_size):
                    multipart.copy_part(_copy_source(source), start, min(start + part_size, size), if_match=etag)
                multipart.settle()
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
        parameters = {**self._parameters, **_kept_tags(source, self._given)}
        kept = dict(
            self._metadata if self._metadata is not None else user_metadata.decode(_raw_metadata(self.found)) or {}
        )
        if self._idempotency_token:
            # Raises the same error as a copy within the store if the metadata is too large.
            user_metadata.marked(user_metadata.encode(kept), self._idempotency_token)
            kept[user_metadata.IDEMPOTENCY_TOKEN] = self._idempotency_token

        def send() -> Head:
            _, stream = ranged_reader.get_stream(source, if_match=self._head.etag)
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
        kept = user_metadata.decode(_raw_metadata(self.found)) if self._metadata is None else self._metadata
        encoded = user_metadata.encode(kept)
        return user_metadata.marked(encoded, self._idempotency_token) if self._idempotency_token else encoded


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
    """One of many copies: the listed source, and the target's key."""

    source: ObjectAddress
    size: int
    storage_class: str
    target_key: str


def is_elsewhere(source: ObjectAddress, bucket: BucketAddress) -> bool:
    """Return whether a bucket is certainly another one than that of an object: the object exists, and the bucket has none with its key.

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
    """Copy many objects into a bucket, unchanged; yield the outcomes in order. Small ones use the fast lane.

    Args:
        bucket: The target bucket.
        copies: The copies, any number, consumed as they are made.

    Returns:
        Each copy with the head of the new object, or with the error.

    Requests:
        1 COPY for a small object, else as :func:`copy`
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
        parameters: dict[str, Any] = {"CopySource": _copy_source(one.source)}
        if one.storage_class != "STANDARD":
            parameters["StorageClass"] = one.storage_class
        answer: Answer = yield Request(
            "CopyObject",
            bucket.name,
            one.target_key,
            parameters,
            fallback=lambda: Answer({}, found=copy(one.source, target)),
        )
        if (result := (answer.parsed or {}).get("CopyObjectResult")) is None:
            return answer.head
        return Head(size=one.size, etag=etags.unquoted(result["ETag"]), version_id=answer.version_id)

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


def _kept_tags(source: ObjectAddress, replaced: Mapping[str, Any]) -> dict[str, str]:
    """Return the source's tags as a parameter of a write; empty if they are replaced, or if the store does not support tags.

    If the target's store would silently drop the tags, the write raises S3Unsupported.
    """
    if "Tagging" in replaced or source.connection.capabilities.object_tagging is False:
        return {}
    try:
        tags = ObjectTags(source).get()
    except S3Unsupported:
        return {}
    return {"Tagging": put_parameters.encode_tags(tags)} if tags else {}


class Move(NamedTuple):
    """A move whose copy is made and whose source is not deleted yet."""

    source: ObjectAddress
    target: ObjectAddress
    found: Mapping[str, Any]
    copied: Head
    idempotency_token: str
    is_itself: bool
    given: Mapping[str, Any]
    """Parameters that a HEAD of the copy needs."""


def move(source: ObjectAddress, target: ObjectAddress, **changes: Any) -> Head:
    """Copy an object and delete the source. An object moved onto itself is kept, even if its bucket or store is named differently there.

    Raises:
        S3ObjectChanged: The source was written meanwhile; source and copy both exist.
        S3PreconditionFailed: It is unknown whether the source was deleted (``outcome_unknown``), or each deletion was rejected because of
            a concurrent write (``retryable``): then source and copy both exist.
        S3Unsupported: It cannot be determined whether source and target are one object; nothing was deleted.
        S3Error: The copy is incomplete; the source was not deleted.

    Requests:
        the requests of ``copy``, 2 HEAD (1 if the store honours If-Match on DELETE and the addresses certainly differ) and 1 DELETE
    """
    return finish_move(begin_move(source, target, **changes))


def begin_move(
    source: ObjectAddress, target: ObjectAddress, *, metadata: Mapping[str, str] | None = None, **extra: Any
) -> Move:
    """Make the copy of a move; nothing is deleted yet.

    If the names cannot prove that the two addresses differ, the copy gets a random ID in its metadata.

    Requests:
        the requests of ``copy``
    """
    same = same_place(source, target)
    idempotency_token = conditional.new_idempotency_token() if same is None else ""
    copying = _Copying(source, target, metadata, None, idempotency_token, PART_BYTES, extra)
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
    the delete marker. If-Match compares only the ETag, so that new metadata or tags with the same content are not noticed; with HEAD,
    metadata, headers and the number of tags are compared too, but not the tags' values.

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
    version = {} if source.version_id is None else {"VersionId": source.version_id}
    etag = etags.unquoted(begun.found.get("ETag"))
    is_conditional = (
        source.version_id is None and etag is not None and not etags.is_weak(etag) and _honours_if_match(source)
    )
    if begun.idempotency_token or not is_conditional:
        try:
            now = source.connection.call("HeadObject", Bucket=source.bucket_name, Key=source.key, **version)
        except S3NoSuchItem:
            return copied  # another client has deleted it
        if (
            begun.idempotency_token
            and begun.idempotency_token in (Head.from_answer(now).idempotency_token or "").split()
        ):
            return copied  # the source is the copy
        # A store may omit an absent value in one response and return 0 in another.
        if any((begun.found.get(name) or None) != (now.get(name) or None) for name in (*_IDENTITY, *_DESCRIPTION)):
            raise _changed(begun)
    if not is_conditional:
        source.connection.call("DeleteObject", Bucket=source.bucket_name, Key=source.key, **version)
        return copied
    try:
        conditional.delete(source, if_match=str(etag))
    except S3PreconditionFailed as error:
        if error.outcome_unknown or error.retryable:  # 409: a concurrent write; the source may be unchanged
            raise
        raise _changed(begun) from error
    return copied


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
