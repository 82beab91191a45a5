"""Our message stores and messageflux's own read each other's messages."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from messageflux.iodevices.base.common import Message, MessageBundle
from messageflux.iodevices.in_memory_device import InMemoryDeviceManager
from messageflux.iodevices.message_store_device_wrapper.message_store_input_device import (
    MessageStoreInputDeviceManagerWrapper,
)
from messageflux.iodevices.message_store_device_wrapper.message_store_output_device import (
    MessageStoreOutputDeviceManagerWrapper,
)
from messageflux.iodevices.objectstorage import s3_message_store as theirs

from messageflux_s3 import S3Bucket, S3Store
from messageflux_s3.messaging import message_store as ours

NAMES = ("S3MessageStore", "S3UploadMessageStore")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("writers", "readers"), [(ours, theirs), (theirs, ours), (ours, ours)])
def test_a_message_is_sent_and_received_through_messageflux_devices(
    s3_store: S3Store, s3_bucket: S3Bucket, name: str, writers: Any, readers: Any
) -> None:
    """Through messageflux's devices: body and headers arrive, and the commit deletes the payload."""
    queue = InMemoryDeviceManager()
    sender = MessageStoreOutputDeviceManagerWrapper(queue, getattr(writers, name)(s3_store.resource))
    receiver = MessageStoreInputDeviceManagerWrapper(queue, getattr(readers, name)(s3_store.resource))
    sender.get_output_device(s3_bucket.name).send_message(
        Message(b"payload", {"colour": "r\u00f6t", "word": "=?utf-8?Q?x?="})
    )
    result = receiver.get_input_device(s3_bucket.name).read_message(threading.Event(), timeout=1)
    assert result is not None
    assert result.message.bytes == b"payload"
    assert (result.message.headers["colour"], result.message.headers["word"]) == ("r\u00f6t", "=?utf-8?Q?x?=")
    assert len(list(s3_bucket.find())) == 1
    result.commit()
    assert list(s3_bucket.find()) == []


@pytest.mark.parametrize("name", NAMES)
def test_headers_larger_than_metadata_are_kept(s3_store: S3Store, s3_bucket: S3Bucket, name: str) -> None:
    """Our store reads headers of any size; messageflux's own reads the body and the headers that fit. Deleting leaves no object."""
    store = getattr(ours, name)(s3_store)
    headers = {"small": "x", "big": "y" * 100_000, "late": 7}
    key = store.put_message(s3_bucket.name, MessageBundle(Message(b"payload", headers)))
    mine = store.read_message(key).message
    other = getattr(theirs, name)(s3_store.resource).read_message(key).message
    assert (mine.bytes, mine.headers) == (b"payload", headers)
    assert (other.bytes, other.headers) == (b"payload", {"small": "x", "late": 7})
    store.delete_message(key)
    assert list(s3_bucket.find()) == []


def test_no_request_is_sent_to_a_bucket_that_is_not_allowed(s3_store: S3Store) -> None:
    """With allowed_buckets, a message cannot name another."""
    store = ours.S3MessageStore(s3_store, allowed_buckets=["mine-only"])
    for act in (store.read_message, store.delete_message):
        with pytest.raises(PermissionError, match="somebody-elses"):
            act('{"bucket_name": "somebody-elses", "key": "k"}')


@pytest.mark.parametrize(
    "key", ["", "{}", "[" * 100_000, '{"bucket_name": 5, "key": "k"}', '{"bucket_name": "../x", "key": "k"}']
)
def test_a_malformed_message_key_raises_value_error(s3_store: S3Store, key: str) -> None:
    """An invalid store key raises ValueError without a request."""
    with pytest.raises(ValueError):
        ours.S3MessageStore(s3_store).read_message(key)


def test_auto_create_bucket_creates_each_bucket_once(s3_store: S3Store) -> None:
    """The bucket is created once per device, with the formatter's name. Without a resource the store is AWS; no request is sent yet."""

    class Formatter:
        def format_name(self, device_name: str, message_bundle: MessageBundle) -> str:
            return f"bucket-of-{device_name}"

    store = ours.S3MessageStore(s3_store, auto_create_bucket=True, bucket_name_formatter=Formatter())
    keys = [store.put_message("device", MessageBundle(Message(text))) for text in (b"one", b"two")]
    assert [store.read_message(key).message.bytes for key in keys] == [b"one", b"two"]
    assert s3_store.bucket("bucket-of-device").find().count() == 2
    s3_store.bucket("bucket-of-device").delete_bucket(force=True)
    assert ours.S3MessageStore()._store.config.endpoint_url is None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("headers", "device_headers"), [({"__KEY__": "order-7"}, {}), ({}, {"__ITEM_ID__": "order-7"})]
)
def test_deleting_one_of_two_equal_messages_leaves_the_other_readable(
    s3_store: S3Store, s3_bucket: S3Bucket, name: str, headers: dict[str, str], device_headers: dict[str, str]
) -> None:
    """Same name and same body, put twice: two payloads, readable by messageflux's own store as well."""
    store = getattr(ours, name)(s3_store)
    first, second = (
        store.put_message(s3_bucket.name, MessageBundle(Message(b"payload", headers), device_headers)) for _ in range(2)
    )
    store.delete_message(first)
    assert store.read_message(second).message.bytes == b"payload"
    assert getattr(theirs, name)(s3_store.resource).read_message(second).message.bytes == b"payload"
    store.delete_message(second)
    assert list(s3_bucket.find()) == []


def test_allowed_buckets_given_as_one_string_is_one_bucket(s3_store: S3Store) -> None:
    """frozenset("one") would be the set of its letters, and every message would be refused."""
    with pytest.raises(TypeError, match="allowed_buckets must be an iterable of names"):
        ours.S3MessageStore(s3_store, allowed_buckets="one")
    handle: Any = s3_store.bucket("one")
    with pytest.raises(TypeError, match="allowed_buckets must be an iterable of names; it contains S3Bucket"):
        ours.S3MessageStore(s3_store, allowed_buckets=[handle])
