"""Message stores for messageflux: its devices store large messages in S3 and send a pointer.

The format, written and read, is that of messageflux's own S3 stores. Headers may have any size: those that do not fit into the object's
metadata are stored in the store key. Importing this module needs the extra ``messageflux``.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from .._formats.bucket_names import check_bucket_names, check_new_bucket_name
from .._formats.pointers import (
    KEY_HEADER,
    S3_MAGIC,
    S3_UPLOAD_MAGIC,
    Pointer,
    headers_from_metadata,
    headers_to_metadata,
    make_payload_key,
    make_store_key,
    parse_store_key,
)
from ..store import S3Store, connect

try:
    from messageflux.iodevices.base.common import Message, MessageBundle
    from messageflux.iodevices.message_store_device_wrapper.message_store_base import MessageStoreBase
except ImportError as error:
    raise ImportError("S3MessageStore needs messageflux: pip install 'messageflux-s3[messageflux]'") from error

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client, S3ServiceResource

    from ..bucket import S3Bucket

_ITEM_ID = "__ITEM_ID__"
_NOT_IN_A_BUCKET_NAME = re.compile(r"[^a-z0-9.\-]")
_PIECE_BYTES = 1024 * 1024


class BucketNameFormatter(Protocol):
    """An object that returns the name of a device's bucket."""

    def format_name(self, device_name: str, message_bundle: MessageBundle, /) -> str:
        """Return the bucket's name."""


class S3MessageStore(MessageStoreBase):
    """A messageflux message store in S3 that replaces the class of the same name in ``messageflux.iodevices.objectstorage``.

    Args:
        s3_resource: An S3Store, or a boto3 resource or client; None for boto3's default configuration.
        magic: The bytes that mark this store's messages on the broker.
        auto_create_bucket: Whether to create a device's bucket if it does not exist.
        bucket_name_formatter: An object whose ``format_name(device_name, message_bundle)`` returns the bucket's
            name; None for the device's name in lower case, with ``-`` for each character that a bucket name cannot have.
        put_object_extra_args: Further parameters of each upload, such as ``{"StorageClass": "STANDARD_IA"}``.
        allowed_buckets: The buckets that messages may name. None allows any bucket, as in messageflux; name the
            buckets if others can write to your broker.
    """

    def __init__(
        self,
        s3_resource: S3ServiceResource | S3Client | S3Store | None = None,
        magic: bytes = S3_MAGIC,
        auto_create_bucket: bool = False,
        bucket_name_formatter: BucketNameFormatter | None = None,
        put_object_extra_args: Mapping[str, Any] | None = None,
        *,
        allowed_buckets: Iterable[str] | None = None,
    ) -> None:
        self._allowed = None if allowed_buckets is None else check_bucket_names("allowed_buckets", allowed_buckets)
        if s3_resource is None:
            s3_resource = connect()
        self._store = s3_resource if isinstance(s3_resource, S3Store) else S3Store.from_resource(s3_resource)
        self._magic = magic
        self._auto_create_bucket = auto_create_bucket
        self._formatter = bucket_name_formatter
        self._extra = dict(put_object_extra_args or {})
        self._created: set[str] = set()

    @property
    def magic(self) -> bytes:
        """The bytes that mark this store's messages on the broker. Requests: none."""
        return self._magic

    def put_message(self, device_name: str, message_bundle: MessageBundle) -> str:
        """Store a message in the device's bucket.

        Returns:
            The store key, to be sent in place of the message.

        Requests:
            1 upload; with ``auto_create_bucket``, for the first message of a bucket also those of creating the bucket
        """
        name = self._bucket_name(device_name, message_bundle)
        bucket = self._store.bucket(name)
        if self._auto_create_bucket and name not in self._created:
            self._store.create_bucket(name)
            self._created.add(name)
        message = message_bundle.message
        # messageflux looks for the item's ID in these two headers, in the same order.
        item = message.headers.get(KEY_HEADER) or message_bundle.device_headers.get(_ITEM_ID)
        key = make_payload_key(item, _md5(message.stream))
        metadata, whole = headers_to_metadata(message.headers)
        self._upload(bucket, key, message.stream, metadata)
        return make_store_key(name, key, None if whole else message.headers)

    def read_message(self, key: str) -> MessageBundle:
        """Return a message that was stored by this store or by one of messageflux's own S3 stores.

        Raises:
            ValueError: The key is not a store key, or names a bucket that is not allowed (the error is then also an S3AccessDenied).
            S3NoSuchItem: The message does not exist any more.
            S3InvalidContent: The headers in the message's metadata are not JSON. The error is also a ValueError.

        Requests:
            1 GET
        """
        pointer = self._pointer(key)
        found = self._store.bucket(pointer.bucket).get_object(pointer.key)
        body = found.body
        if pointer.headers is not None:
            headers = dict(pointer.headers)
        else:
            headers = headers_from_metadata(found.metadata, pointer.bucket, pointer.key)
        return MessageBundle(Message(io.BytesIO(body), headers), {KEY_HEADER: pointer.key})

    def delete_message(self, key: str) -> None:
        """Delete a message. Idempotent. Requests: 1 DELETE."""
        pointer = self._pointer(key)
        self._store.bucket(pointer.bucket).delete_object(pointer.key)

    def _bucket_name(self, device_name: str, message_bundle: MessageBundle) -> str:
        if self._formatter is not None:
            return check_new_bucket_name(self._formatter.format_name(device_name, message_bundle))
        return check_new_bucket_name(_NOT_IN_A_BUCKET_NAME.sub("-", device_name.lower()))

    def _pointer(self, key: str) -> Pointer:
        pointer = parse_store_key(key)
        if self._allowed is not None:
            pointer.require_bucket(self._allowed)
        return pointer

    def _upload(self, bucket: S3Bucket, key: str, stream: Any, metadata: Mapping[str, str]) -> None:
        bucket.put_object(key, stream.read(), metadata, **self._extra)
        stream.seek(0)


class S3UploadMessageStore(S3MessageStore):
    """A message store for messages of any size: they are uploaded in parts, so that memory stays bounded.

    Args:
        s3_resource: As for S3MessageStore.
        magic: As for S3MessageStore.
        auto_create_bucket: As for S3MessageStore.
        bucket_name_formatter: As for S3MessageStore.
        upload_extra_args: Arguments of each upload, as in messageflux: ``ExtraArgs``, ``Callback``, ``Config``.
        allowed_buckets: As for S3MessageStore.
    """

    def __init__(
        self,
        s3_resource: S3ServiceResource | S3Client | S3Store | None = None,
        magic: bytes = S3_UPLOAD_MAGIC,
        auto_create_bucket: bool = False,
        bucket_name_formatter: BucketNameFormatter | None = None,
        upload_extra_args: Mapping[str, Any] | None = None,
        *,
        allowed_buckets: Iterable[str] | None = None,
    ) -> None:
        super().__init__(
            s3_resource,
            magic,
            auto_create_bucket,
            bucket_name_formatter,
            upload_extra_args,
            allowed_buckets=allowed_buckets,
        )

    def _upload(self, bucket: S3Bucket, key: str, stream: Any, metadata: Mapping[str, str]) -> None:
        bucket.upload_object(key, stream, metadata, **self._extra)


def _md5(stream: Any) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    stream.seek(0)
    while piece := stream.read(_PIECE_BYTES):
        digest.update(piece)
    stream.seek(0)
    return digest.hexdigest()
