"""Copies: made by the store where it can, at any size; streamed through here between stores.

This room knows connections, buckets' names and keys. A copy keeps content type and headers, metadata, tags and storage class unless told
otherwise: S3 itself forgets the storage class always, and everything else for objects above 5 GiB.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from . import batch, conditional, content, transfer
from . import metadata as user_metadata
from .connection import Connection
from .content import Head
from .errors import S3Error, S3ObjectChanged, S3PreconditionFailed, S3Unsupported
from .lane import LaneRequest, LaneResponse
from .multipart import MAX_PARTS, MultipartUpload
from .subresources.tags import ObjectTags
from .transfer import Call

MAX_COPIED_AT_ONCE = 5 * 1024**3
PART_BYTES = 512 * 1024 * 1024
_AT_ONCE = 32
_ETAG = re.compile(rb"<ETag>(?:&quot;|&#34;|\")?([0-9A-Za-z-]+)")
_REPLACES = "metadata of copies is replaced"
_HEADERS = ("ContentType", "ContentEncoding", "ContentLanguage", "ContentDisposition", "CacheControl", "Expires")


class Place(NamedTuple):
    """Where an object is, or will be."""

    connection: Connection
    bucket_name: str
    key: str
    version_id: str | None = None

    def is_same_store(self, other: Place) -> bool:
        """Whether one request can name both."""
        if self.connection is other.connection:
            return True
        mine, theirs = self.connection.config, other.connection.config
        return (
            self.connection.endpoint_url == other.connection.endpoint_url
            and mine.access_key is not None
            and mine.access_key == theirs.access_key
        )


def copy(
    source: Place,
    target: Place,
    *,
    metadata: Mapping[str, str] | None = None,
    call: Call | None = None,
    write_id: str = "",
    part_size_bytes: int = PART_BYTES,
    **extra: Any,
) -> Head:
    """Copy an object.

    Args:
        source: From where.
        target: To where; its version means nothing.
        metadata: User metadata in place of that of the source; None keeps it.
        call: Makes the request that makes the copy, in place of ``connection.call``, with the same arguments (under a condition).
        write_id: Goes into the copy's metadata, so that ``call`` finds its own.
        part_size_bytes: What one request copies of an object above 5 GiB.
        extra: Further parameters (:class:`~messageflux_s3.content.PutParameters`) in place of the source's.

    Returns:
        Size, etag and version of the copy.

    Raises:
        S3NoSuchItem: There is no such object.
        S3ObjectChanged: It was replaced in the middle.

    Requests:
        1 HEAD, and 1 COPY on the server; above 5 GiB 1 per 512 MiB and 2; between stores 1 GET and an upload; where metadata is left out,
        once a store that is not AWS 1 HEAD more
    """
    version = {} if source.version_id is None else {"VersionId": source.version_id}
    found = source.connection.call("HeadObject", Bucket=source.bucket_name, Key=source.key, **version)
    head = Head.from_answer(found)
    itself = source.connection is target.connection and source[1:3] == target[1:3]
    if itself and source.version_id is None and metadata is None and not extra and call is None:
        return head
    replaced = content.s3_parameters(target.key, extra) if extra else {}
    if "content_type" not in extra and "ContentType" not in extra:
        replaced.pop("ContentType", None)  # the source's own, not one guessed from the new name
    if not source.is_same_store(target):
        return _stream(source, target, found, head, metadata, replaced, call, write_id)
    if (head.size or 0) > MAX_COPIED_AT_ONCE:
        return conditional.sending_again(
            target.connection,
            lambda: _copy_in_parts(source, target, found, head, metadata, replaced, call, write_id, part_size_bytes),
            lambda: True,
        )
    dropped = set() if metadata is None or itself else _raw_metadata(found).keys() - {name.lower() for name in metadata}
    if not dropped or target.connection.is_aws or target.connection.recall(_REPLACES):
        return _copy_at_once(source, target, found, head, metadata, replaced, call, write_id)
    # Not every store replaces metadata: rclone adds the new to the old. Under a condition there is no second try, so that nothing is tried.
    if call is None and target.connection.recall(_REPLACES) is None:
        copied = _copy_at_once(source, target, found, head, metadata, replaced, call, write_id)
        kept = dropped & (content.head(target.connection, target.bucket_name, target.key).metadata or {}).keys()
        target.connection.remember(_REPLACES, not kept)
        if not kept:
            return copied
    return _stream(source, target, found, head, metadata, replaced, call, write_id)


class Copy(NamedTuple):
    """One of many copies: what a listing said of the source, and the new key."""

    source: Place
    size: int
    storage_class: str
    target_key: str


def copy_many(connection: Connection, bucket_name: str, copies: Iterable[Copy]) -> Generator[tuple[Copy, Head | S3Error], None, None]:
    """Copy many objects into a bucket as they are; their outcomes come in order. Small ones go through the fast lane.

    Args:
        connection: The way to the store that takes the copies.
        bucket_name: The bucket that takes them.
        copies: The copies, any number, taken as there is room.

    Returns:
        For each what is known of the copy, or its error.

    Requests:
        1 COPY for a small object, else as :func:`copy`
    """

    def request_of(one: Copy) -> LaneRequest:
        target = Place(connection, bucket_name, one.target_key)
        if one.size > content.KEPT_BYTES or not one.source.is_same_store(target) or one.source[1:3] == target[1:3]:
            return LaneRequest("PUT", "", tag=one)
        query = content.version_query(one.source.version_id)
        path = f"{one.source.bucket_name}/{quote(one.source.key, safe='/-._~')}"
        headers = {"x-amz-copy-source": f"{path}?{query}" if query else path}
        if one.storage_class != "STANDARD":
            headers["x-amz-storage-class"] = one.storage_class
        return LaneRequest("PUT", bucket_name, one.target_key, "", headers, b"", tag=one)

    def from_lane(request: LaneRequest, response: LaneResponse) -> Head:
        etag = _ETAG.search(response.body)
        if etag is None or not response.body.rstrip().endswith(b"CopyObjectResult>"):  # an error may come inside a success
            return from_boto3(request)
        return Head(size=request.tag.size, etag=etag[1].decode("ascii"), version_id=response.headers.get("x-amz-version-id"))

    def from_boto3(request: LaneRequest) -> Head:
        one: Copy = request.tag
        return copy(one.source, Place(connection, bucket_name, one.target_key))

    outcomes = batch.send_many(
        connection, bucket_name, map(request_of, copies), from_lane, from_boto3, concurrency=_AT_ONCE
    )
    return ((request.tag, outcome) for request, outcome in outcomes)


def _copy_source(source: Place) -> dict[str, str]:
    version = {} if source.version_id is None else {"VersionId": source.version_id}
    return {"Bucket": source.bucket_name, "Key": source.key, **version}


def _copy_at_once(
    source: Place,
    target: Place,
    found: Mapping[str, Any],
    head: Head,
    metadata: Mapping[str, str] | None,
    replaced: dict[str, Any],
    call: Call | None,
    write_id: str,
) -> Head:
    parameters = dict(replaced)
    if found.get("StorageClass"):
        parameters.setdefault("StorageClass", found["StorageClass"])
    if metadata is not None or write_id or any(name in replaced for name in _HEADERS):
        parameters = {**_described(found, metadata, write_id), **parameters, "MetadataDirective": "REPLACE"}
    if "Tagging" in replaced:
        parameters["TaggingDirective"] = "REPLACE"
    make = call or target.connection.call
    answer = make("CopyObject", Bucket=target.bucket_name, Key=target.key, CopySource=_copy_source(source), **parameters)
    result = answer.get("CopyObjectResult") or answer
    written = user_metadata.encode(metadata) if metadata is not None else _raw_metadata(found)
    return Head.from_write(head.size, result.get("ETag"), answer.get("VersionId"), written)


def _copy_in_parts(
    source: Place,
    target: Place,
    found: Mapping[str, Any],
    head: Head,
    metadata: Mapping[str, str] | None,
    replaced: dict[str, Any],
    call: Call | None,
    write_id: str,
    part_size_bytes: int,
) -> Head:
    size = head.size or 0
    parameters = {**_described(found, metadata, write_id), **_kept_tags(source, replaced), **replaced}
    if found.get("StorageClass"):
        parameters.setdefault("StorageClass", found["StorageClass"])
    part_size = max(part_size_bytes, -(-size // MAX_PARTS))
    with MultipartUpload(
        target.connection, target.bucket_name, target.key, parameters=parameters, concurrency=transfer.CONCURRENCY, copies_only=True
    ) as multipart:
        try:
            for start in range(0, size, part_size):
                multipart.copy_part(_copy_source(source), start, min(start + part_size, size), if_match=head.etag)
            multipart.settle()
        except S3PreconditionFailed as error:
            raise S3ObjectChanged(
                f"s3://{source.bucket_name}/{source.key} changed while it was being copied: its etag is no longer {head.etag}",
                operation="UploadPartCopy",
                bucket=source.bucket_name,
                key=source.key,
            ) from error
        answer = multipart.complete(call)
    return Head.from_write(size, answer.get("ETag"), answer.get("VersionId"), parameters["Metadata"])


def _stream(
    source: Place,
    target: Place,
    found: Mapping[str, Any],
    head: Head,
    metadata: Mapping[str, str] | None,
    replaced: dict[str, Any],
    call: Call | None,
    write_id: str,
) -> Head:
    parameters = {**_described(found, metadata), **_kept_tags(source, replaced), **replaced}
    parameters.pop("Metadata")
    if found.get("StorageClass") and source.connection.preset == target.connection.preset:
        parameters.setdefault("StorageClass", found["StorageClass"])
    kept = dict(metadata if metadata is not None else user_metadata.decode(_raw_metadata(found)) or {})
    if write_id:
        kept[user_metadata.WRITE_ID] = write_id

    def send() -> Head:
        _, stream = content.get_stream(
            source.connection, source.bucket_name, source.key, version_id=source.version_id, if_match=head.etag
        )
        with stream:
            return transfer.upload(target.connection, target.bucket_name, target.key, stream, metadata=kept, call=call, **parameters)

    return conditional.sending_again(target.connection, send, lambda: True)


def _raw_metadata(found: Mapping[str, Any]) -> dict[str, str]:
    return {name.lower(): value for name, value in (found.get("Metadata") or {}).items() if name.lower() != user_metadata.WRITE_ID}


def _described(found: Mapping[str, Any], metadata: Mapping[str, str] | None, write_id: str = "") -> dict[str, Any]:
    """What a HEAD said of the source, as parameters of a write."""
    kept = user_metadata.decode(_raw_metadata(found)) if metadata is None else metadata
    headers = {name: found[name] for name in _HEADERS if found.get(name)}
    mark = {user_metadata.WRITE_ID: write_id} if write_id else {}
    return {**headers, "Metadata": {**user_metadata.encode(kept), **mark}}


def _kept_tags(source: Place, replaced: Mapping[str, Any]) -> dict[str, str]:
    """The source's tags, as a parameter of a write; none where others take their place, or the store knows no tags.

    The write refuses them on a store that would drop them without a word.
    """
    if "Tagging" in replaced or source.connection.capabilities.object_tagging is False:
        return {}
    try:
        tags = ObjectTags(source.connection, source.bucket_name, source.key, source.version_id).get()
    except S3Unsupported:
        return {}
    return {"Tagging": content.encode_tags(tags)} if tags else {}


def move(source: Place, target: Place, **changes: Any) -> Head:
    """Copy an object and delete it where it was. Moved onto itself, nothing happens.

    Raises:
        S3Error: The copy did not arrive whole; the source is still there.

    Requests:
        those of ``copy``, 1 HEAD and 1 DELETE
    """
    if source.connection is target.connection and source[1:3] == target[1:3]:
        return copy(source, target, **changes)
    written = copy(source, target, **changes)
    arrived = content.head(target.connection, target.bucket_name, target.key)
    if arrived.size != written.size:
        raise S3Error(
            f"s3://{target.bucket_name}/{target.key} has {arrived.size} bytes, its source {written.size}: the source was not deleted",
            operation="CopyObject",
            bucket=target.bucket_name,
            key=target.key,
        )
    version = {} if source.version_id is None else {"VersionId": source.version_id}
    source.connection.call("DeleteObject", Bucket=source.bucket_name, Key=source.key, **version)
    return written
