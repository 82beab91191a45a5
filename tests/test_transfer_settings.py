"""The settings of connect() hold for the parts of large uploads and downloads, through the lane and through boto3."""

from __future__ import annotations

import base64
import hashlib
import io
import threading
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config
from support.scripted_server import Answer, Asked, ScriptedServer, content_of, document

from messageflux_s3 import S3Bucket
from messageflux_s3._http.eligibility import USER_AGENT

BODY = bytes(range(256)) * 4096 * 17 + b"the rest"
OWNER = "123456789012"

both_ways = pytest.mark.parametrize("lane", [pytest.param(True, marks=pytest.mark.lane), False])


class Store:
    """Answers the requests of uploads and downloads, and counts how many of a method it answers at the same time."""

    def __init__(self) -> None:
        self.most: Counter[str] = Counter()
        self._running: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, asked: Asked) -> Answer:
        with self._lock:
            self._running[asked.method] += 1
            self.most[asked.method] = max(self.most[asked.method], self._running[asked.method])
        try:
            threading.Event().wait(0.002)
            return self._answer(asked)
        finally:
            with self._lock:
                self._running[asked.method] -= 1

    def _answer(self, asked: Asked) -> Answer:
        if asked.method == "POST" and "uploads" in asked.query:
            return document("InitiateMultipartUploadResult", "<UploadId>U</UploadId>")
        if asked.method == "POST":
            return document("CompleteMultipartUploadResult", "<ETag>whole</ETag>")
        if asked.method == "PUT":
            echoed = {name: value for name, value in asked.headers.items() if name == "x-amz-checksum-crc32"}
            return 200, {"ETag": f'"{hashlib.md5(asked.body).hexdigest()}"', **echoed}, b""
        return content_of(asked, BODY, "e-4")


def transfer(bucket: S3Bucket, folder: Path) -> None:
    """Upload and download an object in parts."""
    bucket.upload_object("k", io.BytesIO(BODY))
    bucket.download_file("k", folder / "k")
    assert (folder / "k").read_bytes() == BODY


def parts(scripted_server: ScriptedServer) -> list[Asked]:
    """Return the requests for parts; the first GET of a download asks for the whole object, through boto3."""
    return [asked for asked in scripted_server.asked if "partNumber" in asked.query or "range" in asked.headers]


def transferred(scripted_server: ScriptedServer, folder: Path, *, lane: bool, **settings: Any) -> list[Asked]:
    """Upload and download with these settings; return the requests for parts."""
    scripted_server.answer = Store()
    transfer(scripted_server.connect(lane=lane, **settings).bucket("bkt"), folder)
    found = parts(scripted_server)
    assert Counter(asked.method for asked in found) == {"PUT": 4, "GET": 3}
    assert all((asked.headers["user-agent"] == USER_AGENT) is lane for asked in found)
    return found


@both_ways
def test_every_request_names_the_payer_and_the_owner(
    scripted_server: ScriptedServer, tmp_path: Path, lane: bool
) -> None:
    transferred(scripted_server, tmp_path, lane=lane, request_payer=True, expected_bucket_owner=OWNER, preset="aws")
    for asked in scripted_server.asked:
        assert asked.headers["x-amz-request-payer"] == "requester"
        assert asked.headers["x-amz-expected-bucket-owner"] == OWNER


@both_ways
def test_requests_of_an_anonymous_store_are_unsigned(
    scripted_server: ScriptedServer, tmp_path: Path, lane: bool
) -> None:
    transferred(scripted_server, tmp_path, lane=lane, anonymous=True, boto3_session=None)
    assert not [asked for asked in scripted_server.asked if "authorization" in asked.headers]


@both_ways
@pytest.mark.parametrize("most", [1, 2])
def test_no_more_parts_than_max_concurrency_are_in_flight(
    scripted_server: ScriptedServer, tmp_path: Path, lane: bool, most: int
) -> None:
    transferred(scripted_server, tmp_path, lane=lane, max_concurrency=most)
    assert isinstance(scripted_server.answer, Store)
    assert max(scripted_server.answer.most.values()) <= most


@both_ways
def test_parts_have_the_checksum_that_the_settings_ask_for(
    scripted_server: ScriptedServer, tmp_path: Path, lane: bool
) -> None:
    """By default the CRC32 where the store compares it, and the object's checksums with a download."""
    for asked in transferred(scripted_server, tmp_path, lane=lane, preset="aws"):
        if asked.method == "PUT":
            crc32 = base64.b64encode(zlib.crc32(asked.body).to_bytes(4, "big")).decode()
            assert asked.headers["x-amz-checksum-crc32"] == crc32
        else:
            assert asked.headers["x-amz-checksum-mode"] == "ENABLED"


@both_ways
def test_parts_have_no_checksum_if_the_settings_ask_for_none(
    scripted_server: ScriptedServer, tmp_path: Path, lane: bool
) -> None:
    config = Config(request_checksum_calculation="when_required", response_checksum_validation="when_required")
    for asked in transferred(scripted_server, tmp_path, lane=lane, preset="aws", config=config):
        assert not [name for name in asked.headers if name.startswith("x-amz-checksum")]
        if asked.method == "PUT":
            assert asked.headers["x-amz-content-sha256"] == hashlib.sha256(asked.body).hexdigest()
