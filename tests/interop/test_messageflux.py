"""messageflux's own message stores, with this library's bucket class in place of their own: they put, read and delete."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO

import pytest
from messageflux.iodevices.base.common import Message, MessageBundle
from messageflux.iodevices.objectstorage import s3_message_store as theirs

import messageflux_s3 as s3


@pytest.fixture
def resource(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """A boto3 resource on a server of its own; messageflux's module now has our S3Bucket."""
    monkeypatch.setattr(theirs, "S3Bucket", s3.S3Bucket)
    monkeypatch.setattr(theirs, "BUCKET_NAME_VALIDATOR", s3.BUCKET_NAME_VALIDATOR)
    with s3.LocalS3() as server:
        yield server.connect().resource


@pytest.mark.parametrize("cls", [theirs.S3MessageStore, theirs.S3UploadMessageStore])
@pytest.mark.parametrize("body", [b"hello", b"x" * 9_000_000, b""], ids=["small", "large", "empty"])
def test_messageflux_s_own_message_store_works_on_s3bucket(resource: object, cls: type, body: bytes) -> None:
    """Put, read back with its headers, delete."""
    store = cls(s3_resource=resource, auto_create_bucket=True)
    sent = MessageBundle(Message(BytesIO(body), {"name": "Zoë", "n": 1}))
    key = store.put_message("My_Device", sent)
    read = store.read_message(key)
    assert read.message.bytes == body
    assert read.message.headers == {"name": "Zoë", "n": 1}
    store.delete_message(key)
    with pytest.raises(s3.S3NoSuchItem):
        store.read_message(key)


def test_a_missing_bucket_raises_messageflux_s_error(resource: object) -> None:
    """Without auto_create_bucket."""
    store = theirs.S3MessageStore(s3_resource=resource)
    with pytest.raises(s3.S3BucketException):
        store.put_message("nowhere-to-be-found", MessageBundle(Message(BytesIO(b"x"), {})))
