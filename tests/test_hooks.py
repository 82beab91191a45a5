"""Requests that an older botocore would send wrongly or not at all: an empty body, unknown conditions, headers true and false, retries."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import md5
from typing import Any

import botocore.exceptions
import pytest
from botocore.config import Config
from support import scripted_server
from support.scripted_server import Answer, Asked, ScriptedServer, run_scripted_server

from messageflux_s3 import S3Bucket, S3Throttled

ETAG = '"d41d8cd98f00b204e9800998ecf8427e"'
COPIED = f"<CopyObjectResult><ETag>{ETAG}</ETag><LastModified>2026-11-01T00:00:00Z</LastModified></CopyObjectResult>"
CONDITIONS = {"IfMatch": ("If-Match", "0" * 32), "IfNoneMatch": ("If-None-Match", "*")}


class _Handler(scripted_server._Handler):
    """Answers an empty body without 100 Continue, as the servers of Go's standard library do."""

    def handle_expect_100(self) -> bool:
        return self.headers["Content-Length"] == "0" or super().handle_expect_100()


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    def answer(asked: Asked) -> Answer:
        is_copy = "x-amz-copy-source" in asked.headers
        return 200, {"ETag": f'"{md5(asked.body).hexdigest()}"'}, COPIED.encode() if is_copy else b""

    with run_scripted_server() as server:
        server.RequestHandlerClass = _Handler
        server.answer = answer
        yield server


@pytest.fixture
def old_bucket(server: ScriptedServer) -> S3Bucket:
    """A bucket whose client does not know the conditions of CopyObject, as with botocore before 1.41."""
    bucket = server.bucket(lane=False)
    members = bucket.store._connection.client.meta.service_model.operation_model("CopyObject").input_shape.members
    for name in CONDITIONS:
        members.pop(name, None)
    return bucket


@pytest.mark.parametrize("bodies", [(b"", b"full"), (b"", b"", b"full", b""), (b"full", b"", b"full")])
def test_writes_after_an_empty_one_get_their_own_answers(server: ScriptedServer, bodies: tuple[bytes, ...]) -> None:
    """botocore before 1.43.77 hung here: it waited for 100 Continue, and kept the status line that came in its place."""
    bucket = server.bucket(lane=False, read_timeout=10)
    for body in bodies:
        bucket.put_object("k", body)
    puts = [asked for asked in server.asked if asked.method == "PUT"]
    assert [asked.body for asked in puts] == list(bodies)
    assert ["expect" in asked.headers for asked in puts] == [bool(body) for body in bodies]


@pytest.mark.parametrize("name", CONDITIONS)
def test_condition_of_a_copy_is_sent_by_a_client_that_does_not_know_it(
    old_bucket: S3Bucket, server: ScriptedServer, name: str
) -> None:
    header, value = CONDITIONS[name]
    connection = old_bucket.store._connection
    source = {"Bucket": "bkt", "Key": "a"}
    connection.call("CopyObject", Bucket="bkt", Key="b", CopySource=source, **{name: value})
    connection.call("CopyObject", Bucket="bkt", Key="b", CopySource=source)
    with_condition, without = server.asked[-2:]
    assert with_condition.headers[header.lower()] == value
    assert header.lower() in with_condition.headers["authorization"]
    assert header.lower() not in without.headers


def test_presigned_copy_with_an_unknown_condition_is_refused(old_bucket: S3Bucket) -> None:
    """A link without the condition would overwrite what the condition protects."""
    client = old_bucket.store._connection.client
    parameters = {"Bucket": "bkt", "Key": "b", "CopySource": "bkt/a", "IfNoneMatch": "*"}
    with pytest.raises(botocore.exceptions.ParamValidationError, match="IfNoneMatch"):
        client.generate_presigned_url("copy_object", parameters)


@pytest.mark.parametrize("spelling", ["True", "true", "False", "false"])
def test_boolean_header_is_sent_in_lower_case(server: ScriptedServer, spelling: str) -> None:
    """botocore 1.36 sends True and False, which stores other than AWS need not accept. Metadata is sent unchanged."""
    bucket = server.bucket(lane=False)
    header = "x-amz-server-side-encryption-bucket-key-enabled"

    def spell(params: dict[str, Any], **_: Any) -> None:
        params["headers"][header] = spelling

    connection = bucket.store._connection
    connection.client.meta.events.register_first("before-call.s3.PutObject", spell)
    connection.call("PutObject", Bucket="bkt", Key="k", Metadata={"flag": "True"}, BucketKeyEnabled=True)
    headers = server.asked[-1].headers
    assert headers[header] == spelling.lower()
    assert header in headers["authorization"]
    assert headers["x-amz-meta-flag"] == "True"


@pytest.mark.parametrize("mode", ["standard", "adaptive", "legacy"])
@pytest.mark.parametrize("refusals", [1, 2])
def test_status_429_is_retried_whatever_its_error_code(server: ScriptedServer, mode: Any, refusals: int) -> None:
    """botocore's standard mode, this library's default, did so in its legacy mode only."""

    def answer(asked: Asked) -> Answer:
        if len(server.asked) <= refusals:
            return scripted_server.refusal(429, "TooMuchConcurrency")
        return 200, {"ETag": ETAG, "Last-Modified": "Sat, 21 Nov 2026 05:00:00 GMT"}, b"body"

    server.answer = answer
    bucket = server.bucket(lane=False, max_attempts=2, config=Config(retries={"mode": mode}))
    if refusals == 1:
        assert bucket["k"].body == b"body"
    else:
        with pytest.raises(S3Throttled) as caught:
            _ = bucket["k"].body
        assert (caught.value.status, caught.value.code, caught.value.retryable) == (429, "TooMuchConcurrency", True)
    assert len(server.asked) == 2
