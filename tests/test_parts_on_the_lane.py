"""Parts of an upload that the fast lane sends: their checksums and signatures, and what happens if the store refuses one."""

from __future__ import annotations

import base64
import hashlib
import threading
import zlib
from typing import Any

import pytest
from support.scripted_server import Answer, Asked, ScriptedServer, document, refusal

from messageflux_s3 import S3Bucket, S3ChecksumError
from messageflux_s3._http.connections import LaneConnection
from messageflux_s3._http.eligibility import USER_AGENT
from messageflux_s3._objects import multipart
from messageflux_s3._objects.multipart import MultipartUpload
from messageflux_s3._objects.parallelism import Parallelism

pytestmark = pytest.mark.lane

BODIES = [bytes([number]) * 100_000 for number in range(6)]


def good(asked: Asked) -> Answer:
    """Return the correct responses to an upload."""
    if asked.method == "POST" and "uploads" in asked.query:
        return document("InitiateMultipartUploadResult", "<UploadId>U</UploadId>")
    if asked.method == "POST":
        return document("CompleteMultipartUploadResult", "<ETag>whole</ETag>")
    echoed = {name: value for name, value in asked.headers.items() if name == "x-amz-checksum-crc32"}
    return (204, {}, b"") if asked.method == "DELETE" else (200, {"ETag": f'"{md5_of(asked)}"', **echoed}, b"")


def md5_of(asked: Asked) -> str:
    return hashlib.md5(asked.body).hexdigest()


def send(bucket: S3Bucket, bodies: list[bytes] = BODIES, **settings: Any) -> dict[str, Any]:
    with MultipartUpload(bucket._address.object("k"), **settings) as upload:
        for body in bodies:
            upload.add_part(body)
        return upload.complete()


def parts(scripted_server: ScriptedServer) -> list[Asked]:
    """Return the requests for parts, in the order of their numbers."""
    found = [asked for asked in scripted_server.asked if asked.method == "PUT"]
    return sorted(found, key=lambda asked: int(asked.query["partNumber"]))


def test_the_lane_sends_parts_with_a_signed_md5_and_no_other_hash(scripted_server: ScriptedServer) -> None:
    """The payload hash is left out: the MD5 is signed and covers the body."""
    scripted_server.answer = good
    send(scripted_server.bucket())
    sent = parts(scripted_server)
    assert [asked.body for asked in sent] == BODIES
    for asked in sent:
        assert asked.headers["user-agent"] == USER_AGENT
        assert base64.b64decode(asked.headers["content-md5"]).hex() == md5_of(asked)
        assert "content-md5" in asked.headers["authorization"]
        assert asked.headers["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"
    assert sent[0].query == {"partNumber": "1", "uploadId": "U"}


def test_parts_without_a_checksum_have_their_hash_signed(scripted_server: ScriptedServer) -> None:
    scripted_server.answer = good
    send(scripted_server.bucket(), verify_checksum=False)
    for asked in parts(scripted_server):
        assert asked.headers["user-agent"] == USER_AGENT
        assert asked.headers["x-amz-content-sha256"] == hashlib.sha256(asked.body).hexdigest()


def test_a_store_that_compares_checksums_gets_the_crc32(scripted_server: ScriptedServer) -> None:
    """The same checksum as boto3 sends; the completion lists it. Without TLS the payload hash is signed too: a CRC32 is easily forged."""
    scripted_server.answer = good
    send(scripted_server.bucket(preset="aws"))
    sent = parts(scripted_server)
    for asked in sent:
        crc32 = base64.b64encode(zlib.crc32(asked.body).to_bytes(4, "big")).decode()
        assert asked.headers["user-agent"] == USER_AGENT
        assert asked.headers["x-amz-checksum-crc32"] == crc32
        assert asked.headers["x-amz-content-sha256"] == hashlib.sha256(asked.body).hexdigest()
        assert "content-md5" not in asked.headers
        assert f"<ChecksumCRC32>{crc32}<".encode() in scripted_server.asked[-1].body


@pytest.mark.parametrize("verify_checksum", [True, False])
def test_parts_name_the_payer_and_the_owner_of_the_bucket(
    scripted_server: ScriptedServer, verify_checksum: bool
) -> None:
    """These headers are not taken for a checksum of the body."""
    scripted_server.answer = good
    parameters = {"RequestPayer": "requester", "ExpectedBucketOwner": "123456789012"}
    send(scripted_server.bucket(), parameters=parameters, verify_checksum=verify_checksum)
    for asked in parts(scripted_server):
        assert asked.headers["user-agent"] == USER_AGENT
        assert asked.headers["x-amz-request-payer"] == "requester"
        assert asked.headers["x-amz-expected-bucket-owner"] == "123456789012"
        hashed = "UNSIGNED-PAYLOAD" if verify_checksum else hashlib.sha256(asked.body).hexdigest()
        assert asked.headers["x-amz-content-sha256"] == hashed


_CUSTOMER_KEY = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "0" * 32}


@pytest.mark.parametrize("parameters", [{"ChecksumAlgorithm": "SHA256"}, _CUSTOMER_KEY])
def test_parts_with_other_parameters_go_through_boto3(
    scripted_server: ScriptedServer, parameters: dict[str, str]
) -> None:
    scripted_server.answer = good
    send(scripted_server.bucket(preset="aws"), parameters=parameters)
    assert [asked.body for asked in parts(scripted_server)] == BODIES
    assert not [asked for asked in parts(scripted_server) if asked.headers["user-agent"] == USER_AGENT]


def test_a_store_that_requires_signed_payloads_gets_them_after_the_first_refusal(
    scripted_server: ScriptedServer,
) -> None:
    """boto3 sends the refused parts; later ones take the lane again."""
    scripted_server.answer = lambda asked: (
        refusal(403, "AccessDenied") if asked.headers.get("x-amz-content-sha256") == "UNSIGNED-PAYLOAD" else good(asked)
    )
    bucket = scripted_server.bucket()
    send(bucket, concurrency=1)
    first = len(scripted_server.asked)
    send(bucket)
    assert first == 2 + len(BODIES) + 1
    assert len(scripted_server.asked) == first + 2 + len(BODIES)
    for asked in [asked for asked in scripted_server.asked[first:] if asked.method == "PUT"]:
        assert asked.headers["user-agent"] == USER_AGENT
        assert asked.headers["x-amz-content-sha256"] == hashlib.sha256(asked.body).hexdigest()


@pytest.mark.parametrize("lane", [True, False])
@pytest.mark.parametrize("status", [429, 503])
def test_a_throttled_part_is_sent_again_and_fewer_are_in_flight(
    scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, status: int, lane: bool
) -> None:
    """Whether the lane or boto3 has sent it first."""
    troubles: list[object] = []
    monkeypatch.setattr(Parallelism, "note_trouble", lambda self: troubles.append(self))
    refused: list[Asked] = []

    def answer(asked: Asked) -> Answer:
        if not refused and asked.query.get("partNumber") == "3":
            refused.append(asked)
            return refusal(status, "SlowDown")
        return good(asked)

    scripted_server.answer = answer
    send(scripted_server.bucket(lane=lane, max_attempts=3))
    assert [(asked.headers["user-agent"] == USER_AGENT) for asked in refused] == [lane]
    assert len(troubles) == 1
    assert len(parts(scripted_server)) == len(BODIES) + 1


@pytest.mark.parametrize("code", ["BadDigest", "XAmzContentChecksumMismatch"])
def test_a_part_that_arrived_damaged_is_not_sent_again(scripted_server: ScriptedServer, code: str) -> None:
    """Some stores drop the upload then, and would answer the second attempt with NoSuchUpload."""
    scripted_server.answer = lambda asked: refusal(400, code) if asked.method == "PUT" else good(asked)
    with pytest.raises(S3ChecksumError) as caught:
        send(scripted_server.bucket(max_attempts=3), BODIES[:1])
    assert (caught.value.operation, caught.value.status) == ("UploadPart", 400)
    assert scripted_server.whats == ["POST k?uploads", "PUT k?partNumber&uploadId", "DELETE k?uploadId"]


def test_a_response_with_the_etag_of_other_bytes_fails_the_upload(scripted_server: ScriptedServer) -> None:
    """A store may accept Content-MD5 without comparing it."""

    def answer(asked: Asked) -> Answer:
        if asked.method == "PUT" and asked.query.get("partNumber") == "2":
            return 200, {"ETag": f'"{"0" * 32}"'}, b""
        return good(asked)

    scripted_server.answer = answer
    with pytest.raises(S3ChecksumError, match="UploadPart"):
        send(scripted_server.bucket())
    assert scripted_server.whats[-1] == "DELETE k?uploadId"
    assert "POST k?uploadId" not in scripted_server.whats


def test_an_idle_connection_that_the_server_closed_is_not_used_for_a_part(scripted_server: ScriptedServer) -> None:
    """A large body would be sent in vain, and boto3 would have to send it again."""
    scripted_server.answer = good
    scripted_server.oddities = {"connections closed unsaid"}
    bucket = scripted_server.bucket()
    failures: list[object] = []
    bucket._connection.lane.give_up = lambda *told: failures.append(told)  # type: ignore[method-assign]
    with MultipartUpload(bucket._address.object("k"), concurrency=1) as upload:
        for body in BODIES:
            upload.add_part(body)
            upload.settle()
            for idle in list(bucket._connection.lane.pool._idle):
                while not idle.was_closed_by_server():
                    threading.Event().wait(0.001)
        upload.complete()
    assert [asked.body for asked in parts(scripted_server)] == BODIES
    assert failures == []


def test_a_slow_part_does_not_keep_later_ones_from_being_sent(scripted_server: ScriptedServer) -> None:
    """A free place is taken as soon as any part has been sent, not the oldest one."""
    last_came = threading.Event()

    def answer(asked: Asked) -> Answer:
        if asked.query.get("partNumber") == "1":
            assert last_came.wait(60)
        if asked.query.get("partNumber") == str(len(BODIES)):
            last_came.set()
        return good(asked)

    scripted_server.answer = answer
    send(scripted_server.bucket(), concurrency=2)
    listed = scripted_server.asked[-1].body
    assert [listed.index(hashlib.md5(body).hexdigest().encode()) for body in BODIES] == sorted(
        listed.index(hashlib.md5(body).hexdigest().encode()) for body in BODIES
    )


def test_a_failed_part_ends_the_upload_while_an_older_one_is_being_sent(scripted_server: ScriptedServer) -> None:
    """The error is raised at the next part that is added, and the upload is aborted once the older part has ended."""
    second_failed = threading.Event()

    def answer(asked: Asked) -> Answer:
        if asked.query.get("partNumber") == "1":
            assert second_failed.wait(60)
        if asked.query.get("partNumber") == "2":
            return refusal(400, "BadDigest")
        return good(asked)

    scripted_server.answer = answer
    with (
        pytest.raises(S3ChecksumError),
        MultipartUpload(scripted_server.bucket()._address.object("k"), concurrency=2) as upload,
    ):
        try:
            for body in BODIES:
                upload.add_part(body)
            upload.settle()
        finally:
            second_failed.set()
    assert scripted_server.whats[-1] == "DELETE k?uploadId"
    assert len(parts(scripted_server)) < len(BODIES)


def test_connections_to_a_far_store_are_opened_while_the_upload_is_created(scripted_server: ScriptedServer) -> None:
    """So that the parts do not wait for them."""
    scripted_server.answer = good
    bucket = scripted_server.bucket()
    send(bucket, BODIES[:1])
    lane, opened = bucket._connection.lane, threading.Event()
    lane.close()
    bucket._connection.facts[multipart._LATENCY] = 0.1

    def answer(asked: Asked) -> Answer:
        if "uploads" in asked.query:
            while lane.pool.idle_count < 3 and not opened.wait(0.01):
                pass
        return good(asked)

    scripted_server.answer = answer
    timer = threading.Timer(60, opened.set)
    timer.start()
    send(bucket, concurrency=3)
    timer.cancel()
    assert not opened.is_set()
    assert lane.pool.idle_count == 3


def test_a_connection_that_cannot_be_opened_ahead_does_not_fail_the_upload(scripted_server: ScriptedServer) -> None:
    scripted_server.answer = good
    bucket = scripted_server.bucket()
    send(bucket, BODIES[:1])
    bucket._connection.facts[multipart._LATENCY] = 0.1
    lane = bucket._connection.lane
    lane.close()
    connect, failed = lane.pool.connect, threading.Event()

    def fail_at_first(connection: LaneConnection) -> None:
        if not failed.is_set():
            failed.set()
            raise ConnectionRefusedError
        connect(connection)

    lane.pool.connect = fail_at_first  # type: ignore[method-assign]
    send(bucket, concurrency=2)
    assert failed.is_set()


def test_a_store_that_does_not_know_unsigned_payloads_gets_signed_ones(scripted_server: ScriptedServer) -> None:
    """Its error says that the hash differs from UNSIGNED-PAYLOAD, not that the part arrived damaged."""
    scripted_server.answer = lambda asked: (
        refusal(400, "XAmzContentSHA256Mismatch")
        if asked.headers.get("x-amz-content-sha256") == "UNSIGNED-PAYLOAD"
        else good(asked)
    )
    send(scripted_server.bucket(), concurrency=1)
    sent = parts(scripted_server)
    hashes = [hashlib.sha256(asked.body).hexdigest() for asked in sent]
    assert [asked.headers["x-amz-content-sha256"] for asked in sent] == ["UNSIGNED-PAYLOAD", *hashes[1:]]
    assert len(sent) == len(BODIES) + 1


def test_a_signed_hash_that_differs_fails_the_upload(scripted_server: ScriptedServer) -> None:
    """Then the part arrived damaged, and is not sent again."""
    scripted_server.answer = lambda asked: (
        refusal(400, "XAmzContentSHA256Mismatch") if asked.method == "PUT" else good(asked)
    )
    with pytest.raises(S3ChecksumError):
        send(scripted_server.bucket(preset="aws", max_attempts=3), BODIES[:1])
    assert scripted_server.whats == ["POST k?uploads", "PUT k?partNumber&uploadId", "DELETE k?uploadId"]


def test_a_part_without_its_checksum_is_left_to_boto3(
    scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the lane opens just after it was found shut: the completion has to list a checksum of every part."""
    monkeypatch.setattr(multipart, "lane_state", lambda bucket: "opens")
    scripted_server.answer = good
    send(scripted_server.bucket(preset="aws"))
    assert {asked.headers["user-agent"] == USER_AGENT for asked in parts(scripted_server)} == {False}
    assert scripted_server.asked[-1].body.count(b"<ChecksumCRC32>") == len(BODIES)
