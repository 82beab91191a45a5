"""Interoperability with AWS's extended client, and S3 notifications through SQS and SNS, on one moto server."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from sqs_extended_client import SQSExtendedClientSession

from messageflux_s3 import S3Bucket, S3Store, connect, parse_event
from messageflux_s3.messaging.claim_check import ClaimCheck


@pytest.fixture(scope="session")
def s3_store() -> Iterator[S3Store]:
    """A whole moto server: LocalS3 serves S3 only."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stderr=subprocess.DEVNULL
    )
    try:
        address = f"http://127.0.0.1:{port}"
        store = connect(address, access_key="local", secret_key="local-secret", region="us-east-1")
        deadline = time.monotonic() + 30
        while not store.ping():
            assert time.monotonic() < deadline, "moto's server does not answer"
            time.sleep(0.1)
        yield store
    finally:
        server.terminate()
        server.wait()


def arguments(store: S3Store) -> dict[str, Any]:
    return {"endpoint_url": store.config.endpoint_url, "region_name": "us-east-1"}


@pytest.fixture
def keys(s3_store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extended client creates its own S3 client from the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_store.config.access_key or "")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_store.config.secret_key or "")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_store.config.endpoint_url or "")


@pytest.fixture
def queue(s3_store: S3Store, keys: None) -> tuple[Any, str]:
    sqs = boto3.client("sqs", **arguments(s3_store))
    return sqs, sqs.create_queue(QueueName=f"q-{uuid.uuid4().hex}")["QueueUrl"]


@pytest.fixture
def extended(s3_store: S3Store, s3_bucket: S3Bucket, keys: None) -> Any:
    client: Any = SQSExtendedClientSession().client("sqs", **arguments(s3_store))
    client.large_payload_support = s3_bucket.name
    client.always_through_s3 = True
    client.delete_payload_from_s3 = True
    return client


@pytest.mark.parametrize("legacy", [False, True])
def test_a_message_of_the_sqs_extended_client_is_checked_out(
    s3_bucket: S3Bucket, queue: Any, extended: Any, legacy: bool
) -> None:
    """We read both of its formats; the message is deleted first, then the payload."""
    sqs, url = queue
    extended.use_legacy_attribute = legacy
    extended.send_message(QueueUrl=url, MessageBody="payload")
    [message] = sqs.receive_message(QueueUrl=url, MessageAttributeNames=["All"])["Messages"]
    check = ClaimCheck(s3_bucket)
    assert check.check_out(message) == (b"payload", {})
    sqs.delete_message(QueueUrl=url, ReceiptHandle=check.receipt_handle(message))
    assert check.discard(message) is True
    assert list(s3_bucket.find()) == []


def test_the_sqs_extended_client_reads_a_checked_in_message(s3_bucket: S3Bucket, queue: Any, extended: Any) -> None:
    """The extended client reads our payload, and deletes it by its receipt handle."""
    sqs, url = queue
    body, attributes = ClaimCheck(s3_bucket, threshold=0).check_in("payload", {})
    sqs.send_message(QueueUrl=url, MessageBody=body, MessageAttributes=attributes)
    [message] = extended.receive_message(QueueUrl=url, MessageAttributeNames=["All"])["Messages"]
    assert message["Body"] == "payload"
    extended.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    assert list(s3_bucket.find()) == []


def test_discard_accepts_a_receipt_handle_of_the_sqs_extended_client(
    s3_bucket: S3Bucket, queue: Any, extended: Any
) -> None:
    """Its receipt handle contains the payload's location and the broker's handle."""
    sqs, url = queue
    extended.send_message(QueueUrl=url, MessageBody="payload")
    [message] = extended.receive_message(QueueUrl=url, MessageAttributeNames=["All"])["Messages"]
    check = ClaimCheck(s3_bucket)
    sqs.delete_message(QueueUrl=url, ReceiptHandle=check.receipt_handle(message))
    assert check.discard(message) is True
    assert list(s3_bucket.find()) == []


@pytest.mark.parametrize("way", ["SQS", "SNS", "SNS, raw"])
def test_bucket_notifications_from_sqs_and_sns_become_handles(
    s3_store: S3Store, s3_bucket: S3Bucket, queue: Any, way: str
) -> None:
    """Direct, and through SNS with and without envelope: the handle has size and etag, and reads the content of the event."""
    sqs, url = queue
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    target: dict[str, Any] = {"QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}]}
    if way != "SQS":
        sns = boto3.client("sns", **arguments(s3_store))
        topic = sns.create_topic(Name=f"t-{uuid.uuid4().hex}")["TopicArn"]
        raw = {"RawMessageDelivery": "true"} if way == "SNS, raw" else {}
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes=raw)
        target = {"TopicConfigurations": [{"TopicArn": topic, "Events": ["s3:ObjectCreated:*"]}]}
    s3_store.client.put_bucket_notification_configuration(Bucket=s3_bucket.name, NotificationConfiguration=target)
    s3_bucket.put_object("red flower+1%.txt", b"hello")
    messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    [message] = [one for one in messages if parse_event(one)]
    [obj] = s3_store.objects_from(json.dumps(message), buckets=[s3_bucket.name])
    assert (obj.key, obj.size, obj.etag) == ("red flower+1%.txt", 5, "5d41402abc4b2a76b9719d911017c592")
    assert obj.body == b"hello"
    assert s3_store.objects_from(message, buckets=["another-one"]) == []
