"""The fast lane: which responses it returns, what it leaves to boto3, and when it is shut."""

from __future__ import annotations

import gc
import hashlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import warnings
import weakref
import zlib
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import boto3
import botocore.client
import pytest
from botocore.config import Config
from botocore.credentials import RefreshableCredentials
from botocore.session import get_session
from botocore.stub import Stubber
from support.scripted_server import RawServer, Script
from support.servers import Server, run_rclone
from support.waiting import wait_until

from messageflux_s3._client.exchange import Request, lane_form
from messageflux_s3._http import eligibility
from messageflux_s3._http import stream as stream_module
from messageflux_s3._http.connection_budget import ConnectionBudget
from messageflux_s3._http.connections import is_readable
from messageflux_s3._http.eligibility import Endpoint
from messageflux_s3._http.lane import Lane, LaneRequest
from messageflux_s3._http.stream import Stream

pytestmark = pytest.mark.lane

OK = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nETag: "e"\r\n\r\nhi'


def bodies_of(lane: Lane, requests: Any) -> list[bytes | None]:
    return [response and response.body for _, response in lane.stream(requests)]


def client_of(url: str, *, path_style: bool = True, session: Any = None, **settings: Any) -> Any:
    session = session or boto3.Session("ACCESSKEY01", "SECRETKEY0123456", region_name="us-east-1")
    verify = settings.pop("verify", None)
    config: dict[str, Any] = {
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
        "s3": {"addressing_style": "path" if path_style else "virtual"},
        "read_timeout": 5,
        "connect_timeout": 5,
        "retries": {"total_max_attempts": 1},
    }
    return session.client("s3", endpoint_url=url, verify=verify, config=Config(**(config | settings)))


@pytest.fixture
def scripted() -> Iterator[Callable[..., tuple[RawServer, Any, Lane]]]:
    """Return a function that makes a scripted server, a client of it, and a lane that is open after one GET of the key ``first``."""
    servers: list[RawServer] = []

    def make(script: Script, *, tls: Any = None, family: int = socket.AF_INET, **settings: Any) -> Any:
        def first_or(head: bytes, body: bytes) -> bytes | None:
            return OK if b"/first" in head else script(head, body)

        server = RawServer(first_or, family, tls)
        servers.append(server)
        client = client_of(server.url, **settings)
        lane = Lane(client)
        client.get_object(Bucket="bkt", Key="first")["Body"].read()
        assert lane.status.open, lane.status
        server.requests.clear()
        return server, client, lane

    yield make
    for server in servers:
        server.close()


@pytest.fixture(scope="module")
def rclone() -> Iterator[Server]:
    with run_rclone() as server:
        yield server


@pytest.fixture
def opened(rclone: Server) -> tuple[Any, Lane, str]:
    """A client of rclone, its open lane, and a bucket's name."""
    client = rclone.client()
    lane = Lane(client)
    bucket = f"lane-{os.urandom(4).hex()}"
    client.create_bucket(Bucket=bucket)
    client.put_object(Bucket=bucket, Key="first", Body=b"1")
    assert lane.status.open
    return client, lane, bucket


@pytest.mark.parametrize("operation", ["HeadObject", "GetObject", "PutObject", "CopyObject", "DeleteObject"])
def test_a_request_for_an_object_without_a_key_is_not_one_for_the_bucket(operation: str) -> None:
    """DELETE /bucket deletes the bucket. boto3 refuses the empty key."""
    assert lane_form(Request(operation, "bkt", "k")) is not None
    assert lane_form(Request(operation, "bkt", "")) is None


# -- against a real server


def test_lane_opens_for_a_bucket_after_the_first_successful_boto3_call(rclone: Server) -> None:
    """Before, its status gives the reason."""
    client = rclone.client()
    lane = Lane(client)
    assert lane.send(LaneRequest("GET", "open-later", "k")) is None
    assert "not yet" in lane.status.reason
    client.create_bucket(Bucket="open-later")
    client.head_bucket(Bucket="open-later")
    answer = lane.send(LaneRequest("GET", "open-later", "k"))
    assert answer is not None and answer.status == 404 and b"NoSuchKey" in answer.body
    assert not lane.is_open_for("another-bucket")


@pytest.mark.parametrize("key", ["plain", "a b/+%&=?#", "é/漢😀", "~-._", "q'\"<>;:@!$*(),", "tab\tkey"])
def test_lane_and_boto3_read_each_others_objects_with_special_characters_in_keys(
    opened: tuple[Any, Lane, str], key: str
) -> None:
    """With metadata and content type."""
    client, lane, bucket = opened
    headers = {"x-amz-meta-a": "two  spaces", "content-type": "text/x-odd"}
    written = lane.send(LaneRequest("PUT", bucket, key, "", headers, b"lane"))
    assert written is not None and written.status == 200
    seen = client.get_object(Bucket=bucket, Key=key)
    assert (seen["Body"].read(), seen["ContentType"]) == (b"lane", "text/x-odd")
    assert {name.lower(): value for name, value in seen["Metadata"].items()}["a"] == "two  spaces"
    client.put_object(Bucket=bucket, Key=key, Body=b"boto3")
    read = lane.send(LaneRequest("GET", bucket, key))
    assert read is not None and read.body == b"boto3"
    head = lane.send(LaneRequest("HEAD", bucket, key))
    assert head is not None and (head.body, head.headers["content-length"]) == (b"", "5")
    # The connection can still be used after a HEAD.
    assert lane.send(LaneRequest("GET", bucket, key)) is not None
    gone = lane.send(LaneRequest("DELETE", bucket, key))
    assert gone is not None and gone.status == 204


def test_stream_yields_every_response_in_request_order(opened: tuple[Any, Lane, str]) -> None:
    """400 writes and 402 reads, each with its own bytes, and a 404 for a missing key."""
    _, lane, bucket = opened
    # rclone answers some of several concurrent writes into a new folder with an error: create it first.
    lane.send(LaneRequest("PUT", bucket, "s/folder"))
    bodies = {f"s/{number:04d}": os.urandom(number % 40 * 500) for number in range(400)}
    puts = (LaneRequest("PUT", bucket, key, body=body) for key, body in bodies.items())
    written = list(lane.stream(puts, concurrency=8))
    assert [request.key for request, _ in written] == list(bodies)
    assert all(answer is not None and answer.status == 200 for _, answer in written)
    keys = [*bodies, "s/missing", "s/0001"]
    read = list(lane.stream((LaneRequest("GET", bucket, key) for key in keys), concurrency=8))
    assert [request.key for request, _ in read] == keys
    found = [answer.body if answer and answer.status == 200 else None for _, answer in read]
    assert found == [bodies.get(key) for key in keys]


# -- which responses are returned


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nhi" + RawServer.CLOSE, "no length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi" + RawServer.CLOSE, "cut short"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", "object in chunks"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhix", "two lengths"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
            "length and chunks",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiMORE", "more bytes than Content-Length"),
        (
            b"HTTP/1.1 206 Partial\r\nContent-Length: 2\r\nContent-Range: bytes 0-1/9\r\n\r\nhi",
            "range not requested",
        ),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "no content"),
        (b"HTTP/1.1 301 Moved\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", "redirect"),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "denied"),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", "server error"),
        (b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n", "throttled"),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "upgrade"),
        (b"garbage\r\n\r\n", "not HTTP"),
        (RawServer.CLOSE, "connection closed"),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_incomplete_or_unsuccessful_responses_are_left_to_boto3(
    scripted: Any, answer: bytes, why: str, streamed: bool
) -> None:
    """send() and stream() return None for it, and the next request succeeds."""
    _, _, lane = scripted(lambda head, body: answer if b"/bad" in head else OK)
    requests = [LaneRequest("GET", "bkt", key) for key in ("a", "bad", "b")]
    if streamed:
        got = [response and response.body for _, response in lane.stream(requests)]
    else:
        got = [response and response.body for response in map(lane.send, requests)]
    assert got == [b"hi", None, b"hi"], why


def test_head_response_has_content_length_and_no_body(scripted: Any) -> None:
    """The connection can be used for the next request."""
    long = b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n"
    server, _, lane = scripted(lambda head, body: long if head.startswith(b"HEAD") else OK)
    before = server.connections
    requests = [LaneRequest(method, "bkt", "a") for method in ("HEAD", "GET", "HEAD")]
    single = [lane.send(request) for request in requests]
    many = [response for _, response in lane.stream(requests, concurrency=1)]
    assert [response and response.body for response in single + many] == [b"", b"hi", b""] * 2
    assert single[0] is not None and single[0].headers["content-length"] == "999"
    assert server.connections == before + 1


def test_1xx_responses_are_skipped(scripted: Any) -> None:
    """With their headers."""
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n"
    _, _, lane = scripted(lambda head, body: interim + OK)
    answer = lane.send(LaneRequest("PUT", "bkt", "a", body=b"x"))
    assert answer is not None
    assert (answer.status, answer.body, answer.headers.get("link")) == (200, b"hi", None)


def test_404_is_returned_with_its_body_also_if_chunked(scripted: Any) -> None:
    missing = b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    _, _, lane = scripted(lambda head, body: missing)
    answer = lane.send(LaneRequest("GET", "bkt", "a"))
    assert answer is not None and (answer.status, answer.body) == (404, b"abc")


_LONG = 1 << 20


@pytest.mark.parametrize(
    "answer",
    {
        "headers": b"HTTP/1.1 200 OK\r\n" + b"x-a: b\r\n" * (_LONG // 8) + b"Content-Length: 2\r\n\r\nhi",
        "one header": b"HTTP/1.1 200 OK\r\nx-a: " + b"b" * _LONG + b"\r\nContent-Length: 2\r\n\r\nhi",
        "reason": b"HTTP/1.1 200 " + b"b" * _LONG + b"\r\nContent-Length: 2\r\n\r\nhi",
        "interim responses": b"HTTP/1.1 100 Continue\r\n\r\n" * (_LONG // 25) + OK,
        "extension of a chunk": b"HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n1;"
        + b"b" * _LONG
        + b"\r\na\r\n0\r\n\r\n",
        "chunks": b"HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"1\r\na\r\n" * (_LONG // 6)
        + b"0\r\n\r\n",
        "trailers": b"HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
        + b"x-a: b\r\n" * (_LONG // 8)
        + b"\r\n",
    }.items(),
    ids=lambda answer: answer[0],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_responses_with_endless_headers_or_framing_are_left_to_boto3(
    scripted: Any, answer: tuple[str, bytes], streamed: bool
) -> None:
    """A megabyte stands for a response without an end: it is refused before it is complete."""
    _, _, lane = scripted(lambda head, body: answer[1])
    request = LaneRequest("GET", "bkt", "a")
    assert (next(lane.stream([request]))[1] if streamed else lane.send(request)) is None


def test_chunks_of_a_few_bytes_are_read(scripted: Any) -> None:
    """They are unusual, but their framing is not larger than the limit."""
    chunks = b"2\r\nhi\r\n" * 20_000 + b"0\r\n\r\n"
    _, _, lane = scripted(lambda head, body: b"HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
    answer = lane.send(LaneRequest("GET", "bkt", "a"))
    assert answer is not None and answer.body == b"hi" * 20_000


def test_body_above_the_limit_is_not_read(scripted: Any) -> None:
    """With headers_if_larger the headers are returned, else None."""
    large = b'HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\nETag: "x"\r\n\r\n' + b"x" * 5000
    _, _, lane = scripted(lambda head, body: large)
    assert lane.send(LaneRequest("GET", "bkt", "a")) is None
    answer = lane.send(LaneRequest("GET", "bkt", "a"), headers_if_larger=True)
    assert answer is not None and answer.too_large and (answer.body, answer.headers["etag"]) == (b"", '"x"')
    assert [response for _, response in lane.stream([LaneRequest("GET", "bkt", "a")])] == [None]
    [(_, one_of_many)] = lane.stream([LaneRequest("GET", "bkt", "a")], headers_if_larger=True)
    assert one_of_many is not None and one_of_many.too_large and one_of_many.headers == answer.headers


def test_body_above_max_bytes_alone_is_left_to_boto3(scripted: Any) -> None:
    """headers_if_larger concerns bodies above body_limit, not those above the memory limit of a stream."""
    _, _, lane = scripted(lambda head, body: b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000)
    stream = lane.stream([LaneRequest("GET", "bkt", "a")], max_bytes=4000, headers_if_larger=True)
    assert [response for _, response in stream] == [None]


def test_range_answered_with_the_whole_object_is_left_to_boto3(scripted: Any) -> None:
    _, _, lane = scripted(lambda head, body: OK)
    assert lane.send(LaneRequest("GET", "bkt", "a", headers={"range": "bytes=0-0"})) is None


@pytest.mark.parametrize("header", ["if-match", "if-none-match"])
def test_conditional_writes_are_left_to_boto3(scripted: Any, header: str) -> None:
    """The lane sends nothing. It does send conditional reads."""
    server, _, lane = scripted(lambda head, body: OK)
    assert lane.send(LaneRequest("PUT", "bkt", "a", headers={header: "*"}, body=b"x")) is None
    assert server.requests == []
    assert lane.send(LaneRequest("GET", "bkt", "a", headers={header: '"e"'})) is not None


@pytest.mark.parametrize("length", [b"", b"Content-Length: 5\r\n", b"Content-Length: 0\r\n"])
def test_not_modified_is_returned_to_a_request_with_if_none_match(scripted: Any, length: bytes) -> None:
    """It may have the object's Content-Length, but has no body: the next response follows on the same connection."""
    not_modified = b'HTTP/1.1 304 Not Modified\r\nETag: "e"\r\n' + length + b"\r\n"
    server, _, lane = scripted(lambda head, body: not_modified if b"if-none-match" in head else OK)
    before = server.connections
    for _ in range(2):
        answer = lane.send(LaneRequest("GET", "bkt", "a", headers={"if-none-match": '"e"'}))
        assert answer is not None
        assert (answer.status, answer.body) == (304, b"")
        plain = lane.send(LaneRequest("GET", "bkt", "a"))
        assert plain is not None
        assert plain.body == b"hi"
    assert server.connections <= before + 1


def test_not_modified_without_a_condition_is_left_to_boto3(scripted: Any) -> None:
    _, _, lane = scripted(
        lambda head, body: OK if b"/first" in head else b"HTTP/1.1 304 Not Modified\r\nContent-Length: 0\r\n\r\n"
    )
    assert lane.send(LaneRequest("GET", "bkt", "a")) is None


@pytest.mark.parametrize("value", ["a\r\nx-injected: 1", "é", "a\0b"])
def test_headers_with_control_or_non_ascii_characters_are_left_to_boto3(scripted: Any, value: str) -> None:
    """The lane sends nothing."""
    server, _, lane = scripted(lambda head, body: OK)
    assert lane.send(LaneRequest("PUT", "bkt", "a", headers={"x-amz-meta-a": value}, body=b"x")) is None
    assert server.requests == []


def test_body_that_differs_from_its_checksum_is_left_to_boto3(scripted: Any) -> None:
    """Where the client validates response checksums, the lane requests them."""
    good = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nx-amz-checksum-crc32: 2Ds5qA==\r\n\r\nhi"
    crc = b64encode(zlib.crc32(b"hi").to_bytes(4, "big"))
    script = lambda head, body: good.replace(b"2Ds5qA==", crc) if b"/good" in head else good  # noqa: E731
    server, _, lane = scripted(script, response_checksum_validation="when_supported")
    answer = lane.send(LaneRequest("GET", "bkt", "good"))
    assert answer is not None and answer.body == b"hi"
    assert b"x-amz-checksum-mode: ENABLED" in server.requests[-1]
    assert lane.send(LaneRequest("GET", "bkt", "bad")) is None


# -- connections


def test_consecutive_requests_share_a_connection(scripted: Any) -> None:
    server, _, lane = scripted(lambda head, body: OK)
    before = server.connections
    for _ in range(5):
        assert lane.send(LaneRequest("GET", "bkt", "a")) is not None
    assert server.connections == before + 1


@pytest.mark.parametrize("streamed", [False, True])
def test_request_on_a_connection_closed_while_idle_is_sent_again_on_a_new_one(scripted: Any, streamed: bool) -> None:
    server, _, lane = scripted(lambda head, body: OK + RawServer.CLOSE)  # without "Connection: close"
    for _ in range(4):
        if streamed:
            assert bodies_of(lane, [LaneRequest("GET", "bkt", "a")]) == [b"hi"]
        else:
            answer = lane.send(LaneRequest("GET", "bkt", "a"))
            assert answer is not None and answer.body == b"hi"
        time.sleep(0.05)
    assert len(server.requests) == 4


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("secure", [False, True])
def test_bytes_after_the_end_of_a_body_are_not_the_next_response(
    scripted: Any, tmp_path: Path, secure: bool, streamed: bool
) -> None:
    """The body of a large object is longer than its Content-Length, and goes on with what looks like a response."""
    length, settings = 100_000, dict[str, Any]()
    if secure:
        cert, key = certificate(tmp_path)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(cert, key)
        settings = {"tls": context, "verify": str(cert)}
    more = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong"
    long = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s%s" % (length, bytes(length), more)
    _, _, lane = scripted(lambda head, body: long if b"/long" in head else OK, **settings)
    target = memoryview(bytearray(length))
    assert lane.send(LaneRequest("GET", "bkt", "long"), target=target) is not None
    [idle] = lane.pool._idle
    wait_until(lambda: idle.sock.pending() > 0 if secure else is_readable(idle.sock))
    if streamed:
        assert bodies_of(lane, [LaneRequest("GET", "bkt", "a")]) == [b"hi"]
    else:
        answer = lane.send(LaneRequest("GET", "bkt", "a"))
        assert answer is not None and answer.body == b"hi"


@pytest.mark.parametrize("secure", [False, True])
def test_bytes_after_a_response_of_a_stream_are_not_its_next_response(
    scripted: Any, tmp_path: Path, secure: bool
) -> None:
    """They arrive while the caller holds the first response, and look like a response."""
    settings = dict[str, Any]()
    if secure:
        cert, key = certificate(tmp_path)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(cert, key)
        settings = {"tls": context, "verify": str(cert)}
    long = OK + RawServer.LATER + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong"
    server, _, lane = scripted(lambda head, body: long if b"/long" in head else OK, **settings)
    stream = lane.open_stream(concurrency=1, body_limit=1000)
    for key in ("long", "a"):
        entry = stream.submit(LaneRequest("GET", "bkt", key))
        stream.advance(entry)
        assert entry.response is not None and entry.response.body == b"hi"
        [idle] = stream._idle
        server.goes_on.set()
        if key == "long":
            wait_until(lambda sock=idle.connection.sock: is_readable(sock))
            time.sleep(0.01)  # the selector's answer is taken to hold for a millisecond
    stream.close()


@pytest.mark.parametrize("secure", [False, True])
def test_bytes_that_arrive_together_with_a_response_of_a_stream_are_not_its_next_response(
    scripted: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, secure: bool
) -> None:
    """They are behind what one call has received, as the next record is over TLS."""
    settings = dict[str, Any]()
    if secure:
        cert, key = certificate(tmp_path)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(cert, key)
        settings = {"tls": context, "verify": str(cert)}
    long = b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n" + bytes(3000)
    monkeypatch.setattr(stream_module, "_RECEIVE_SIZE", len(long))
    more = long + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong"
    _, _, lane = scripted(lambda head, body: more if b"/long" in head else OK, **settings)
    stream = lane.open_stream(concurrency=1, body_limit=10_000)
    stream.advance(stream.submit(LaneRequest("GET", "bkt", "a")))
    [idle] = stream._idle
    entry = stream.submit(LaneRequest("GET", "bkt", "long"))
    wait_until(lambda: is_readable(idle.connection.sock))
    stream.advance(entry)
    assert entry.response is not None and entry.response.body == bytes(3000)
    entry = stream.submit(LaneRequest("GET", "bkt", "b"))
    stream.advance(entry)
    assert entry.response is not None and entry.response.body == b"hi"
    stream.close()


def test_post_on_a_connection_closed_while_idle_is_left_to_boto3(scripted: Any) -> None:
    _, _, lane = scripted(lambda head, body: OK + RawServer.CLOSE)
    assert lane.send(LaneRequest("GET", "bkt", "a")) is not None
    time.sleep(0.1)
    assert lane.send(LaneRequest("POST", "bkt", "", "delete=", body=b"<x/>")) is None


@pytest.mark.parametrize("streamed", [False, True])
def test_request_without_response_ends_after_the_read_timeout(scripted: Any, streamed: bool) -> None:
    """The lane sends it once."""
    given_up = threading.Event()

    def silent(head: bytes, body: bytes) -> bytes:
        if b"/slow" in head:
            given_up.wait(60)
        return OK

    server, _, lane = scripted(silent, read_timeout=0.4)
    began = time.monotonic()
    if streamed:
        requests = [LaneRequest("GET", "bkt", key) for key in ("a", "slow", "b")]
        got = [response and response.body for _, response in lane.stream(requests)]
        assert got == [b"hi", None, b"hi"]
    else:
        assert lane.send(LaneRequest("GET", "bkt", "slow")) is None
    assert time.monotonic() - began > 0.3
    given_up.set()
    assert sum(b"/slow" in request for request in server.requests) == 1


def test_requests_of_a_stream_that_stall_together_time_out_together(
    scripted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a NAT gateway has dropped all connections. Each has a timeout from its own last byte on, and not the whole one again."""
    goes_on, waited = threading.Event(), list[float]()

    def stalled(head: bytes, body: bytes) -> None:
        goes_on.wait(60)

    server, _, lane = scripted(stalled, read_timeout=1000)
    wait_in_fact = Stream._select

    def select(stream: Stream, left: float | None) -> Any:
        """Wait in fact until all requests have arrived, then let the clock go on by the time to wait."""
        ready = wait_in_fact(stream, 0.01)
        if not ready and len(server.requests) == 6:
            waited.append(left or 0.0)
            ready = wait_in_fact(stream, 0)
        return ready

    monkeypatch.setattr(Stream, "_select", select)
    monkeypatch.setattr(stream_module, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + sum(waited)))
    requests = [LaneRequest("GET", "bkt", f"k{number}") for number in range(6)]
    assert [response for _, response in lane.stream(requests)] == [None] * 6
    goes_on.set()
    assert 900 < sum(waited) < 1300


def test_a_response_that_arrives_while_the_caller_is_busy_is_not_too_late(
    scripted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time that the caller takes for an earlier response does not count."""
    _, _, lane = scripted(lambda head, body: OK, read_timeout=5)
    offset = [0.0]
    monkeypatch.setattr(stream_module, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + offset[0]))
    stream = Stream(lane, (LaneRequest("GET", "bkt", f"k{number}") for number in range(6)), 6, 1 << 20, 1 << 20)

    def has_arrived() -> bool:
        """Return whether there is a response to each request that was sent."""
        sent = [each.connection.sock for each in stream._channels if each.entry and each.outgoing is None]
        return all(sock is not None and is_readable(sock) for sock in sent)

    answered = []
    for _, response in stream.run():
        answered.append(response is not None)
        wait_until(has_arrived)
        offset[0] += 100.0
    assert answered == [True] * 6


def test_three_failures_in_a_row_open_the_circuit(scripted: Any) -> None:
    """The lane sends nothing while the circuit is open."""
    server, _, lane = scripted(lambda head, body: b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")
    for _ in range(20):
        assert lane.send(LaneRequest("GET", "bkt", "a")) is None
    assert len(server.requests) == 3


def test_circuit_closes_after_a_success_and_stays_open_longer_after_each_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Open for half a second, then for one; half-open in between: one success closes it."""
    now = 1000.0
    monkeypatch.setattr(eligibility, "time", SimpleNamespace(monotonic=lambda: now))
    endpoint = Endpoint(False, "h", 80, "h", "/bkt", "us-east-1")
    for _ in range(3):
        assert not endpoint.is_circuit_open()
        endpoint.record_failure()
    assert endpoint.is_circuit_open()
    now += 0.5
    assert not endpoint.is_circuit_open()
    endpoint.record_failure()
    now += 0.75
    assert endpoint.is_circuit_open()
    now += 0.25
    assert not endpoint.is_circuit_open()
    endpoint.record_success()
    for _ in range(2):
        endpoint.record_failure()
    assert not endpoint.is_circuit_open()


def connections_to(server: RawServer) -> int:
    """Return how many sockets of this process are connected to the server, without the server's own ends."""
    port = int(server.url.rpartition(":")[2])
    count = 0
    for found in gc.get_objects():
        if issubclass(type(found), socket.socket) and found.fileno() != -1:  # isinstance would wake proxies
            with suppress(OSError):  # it is not connected
                count += found.getpeername()[1:2] == (port,)
    return count


def test_closing_a_stream_closes_its_connections_in_use(scripted: Any) -> None:
    """There is no ResourceWarning, and the lane can be used afterwards."""
    held = threading.Event()

    def script(head: bytes, body: bytes) -> bytes:
        if b"/held" in head:
            held.wait(5)
        return OK

    server, _, lane = scripted(script)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stream = lane.stream(LaneRequest("GET", "bkt", "a" if number < 3 else "held") for number in range(50))
        assert next(stream)[1] is not None
        assert connections_to(server) > 10
        stream.close()
        gc.collect()
        assert connections_to(server) <= 4  # boto3's own, and those of the three completed requests
    held.set()
    assert lane.send(LaneRequest("GET", "bkt", "a")) is not None


def test_stream_reads_ahead_in_its_requests_no_further_than_its_window(scripted: Any) -> None:
    """The iterable may be endless."""
    taken = 0

    def endless() -> Iterator[LaneRequest]:
        nonlocal taken
        while True:
            taken += 1
            yield LaneRequest("GET", "bkt", "a")

    _, _, lane = scripted(lambda head, body: OK)
    stream = lane.stream(endless(), concurrency=4)
    for _ in range(10):
        next(stream)
    assert 10 <= taken <= 10 + 2 * 4
    stream.close()


THROTTLINGS = (b"503 Slow Down", b"429 Too Many Requests")


def _refused_at_first(times: int, status: bytes = THROTTLINGS[0]) -> Callable[[bytes, bytes], bytes]:
    """Return a script that throttles requests for keys with ``refused`` this many times each."""
    left: dict[bytes, int] = {}

    def script(head: bytes, body: bytes) -> bytes:
        key = head.split(b" ")[1]
        left[key] = left.get(key, times if b"refused" in key else 0) - 1
        return OK if left[key] < 0 else b"HTTP/1.1 " + status + b"\r\nContent-Length: 4\r\n\r\nslow"

    return script


@pytest.mark.parametrize("status", THROTTLINGS)
def test_a_stream_has_half_as_many_requests_in_flight_after_the_store_has_throttled(
    scripted: Any, status: bytes
) -> None:
    """No request is sent while more are in flight. With windows of responses more may be, up to the number before."""
    _, _, lane = scripted(_refused_at_first(1, status))
    sizes: list[int] = []

    def requests() -> Iterator[LaneRequest]:
        for number in range(2000):
            sizes.append(stream._concurrency.size)
            assert stream._in_flight < sizes[-1]
            yield LaneRequest("GET", "bkt", "refused" if number == 100 else "a")

    stream = Stream(lane, requests(), 64, 1 << 28, 8 << 20)
    assert all(response is not None for _, response in stream.run())
    steps = [after - before for before, after in pairwise(sizes)]
    halved = next(at for at, step in enumerate(steps) if step)
    assert sizes[0] == 64 and 1 <= sizes[halved + 1] <= 32
    assert set(steps[halved + 1 :]) <= {0, *range(1, 9)} and sizes[-1] > sizes[halved + 1] + 10


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_throttled_requests_of_a_stream_are_sent_again_on_their_connections(scripted: Any, method: str) -> None:
    """Not by boto3, which would send them again at once, from threads. Those after them do not wait; the order is kept."""
    server, _, lane = scripted(_refused_at_first(2))
    keys = [f"refused{number}" if number % 10 == 0 else f"k{number}" for number in range(40)]
    requests = [LaneRequest(method, "bkt", key, body=b"body" if method == "PUT" else b"") for key in keys]
    answered = [(request.key, response is not None) for request, response in lane.stream(requests, concurrency=8)]
    assert answered == [(key, True) for key in keys]
    sent = Counter(head.split(b" ")[1].rpartition(b"/")[2].decode() for head in server.requests)
    assert all(sent[key] == (3 if "refused" in key else 1) for key in keys)
    assert server.connections <= 9  # one of boto3's, which opened the lane


def test_a_request_that_is_throttled_again_and_again_is_left_to_boto3(scripted: Any) -> None:
    server, _, lane = scripted(_refused_at_first(100))
    requests = [LaneRequest("GET", "bkt", key) for key in ("a", "refused", "b")]
    assert [response is not None for _, response in lane.stream(requests)] == [True, False, True]
    assert sum(b"refused" in head for head in server.requests) == 6


def test_a_throttled_request_that_may_not_be_repeated_is_left_to_boto3(scripted: Any) -> None:
    server, _, lane = scripted(_refused_at_first(1))
    assert [response for _, response in lane.stream([LaneRequest("POST", "bkt", "refused")])] == [None]
    assert sum(b"refused" in head for head in server.requests) == 1


def test_a_throttled_request_does_not_wait_for_others_in_flight(scripted: Any) -> None:
    """The store answers those only later: nothing but the response that is waited for has a timeout."""
    script, goes_on = _refused_at_first(1), threading.Event()

    def stalling(head: bytes, body: bytes) -> bytes:
        if b"stalled" in head:
            goes_on.wait(60)
        return script(head, body)

    _, _, lane = scripted(stalling)
    keys = ["refused", *(f"stalled{number}" for number in range(7))]
    stream = lane.stream([LaneRequest("GET", "bkt", key) for key in keys], concurrency=8)
    request, response = next(stream)
    assert (request.key, response is not None, goes_on.is_set()) == ("refused", True, False)
    goes_on.set()
    assert all(response is not None for _, response in stream)


def test_an_overloaded_store_is_left_to_boto3_after_few_requests(scripted: Any) -> None:
    """It refuses all, even one at a time: boto3 decides how often, and the lane stays shut for a while."""
    server, _, lane = scripted(_refused_at_first(1000))
    requests = [LaneRequest("GET", "bkt", f"refused{number}") for number in range(300)]
    assert [response for _, response in lane.stream(requests)] == [None] * 300
    assert len(server.requests) < 300


def test_a_stream_can_be_closed_while_throttled_requests_wait(scripted: Any) -> None:
    """Their connections are kept, and nothing is sent any more."""
    server, _, lane = scripted(_refused_at_first(100))
    stream = lane.open_stream(concurrency=2, body_limit=1000)
    stream.submit(LaneRequest("GET", "bkt", "refused"))
    wait_until(lambda: (stream.advance(), stream._delayed)[1])
    stream.close()
    sent, kept = len(server.requests), lane.pool.idle_count
    time.sleep(0.3)
    assert (len(server.requests), kept) == (sent, 1)


def test_a_throttled_request_beside_others_is_sent_again(scripted: Any) -> None:
    """Of those whose responses are taken in any order."""
    _, _, lane = scripted(_refused_at_first(2))
    stream = lane.open_stream(concurrency=4, body_limit=1000)
    entries = [stream.submit(LaneRequest("GET", "bkt", key)) for key in ("refused", "a")]
    deadline = time.monotonic() + 20
    while not all(entry.is_done for entry in entries):
        stream.advance()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    stream.close()
    assert [entry.response is not None for entry in entries] == [True, True]


def test_a_throttled_request_that_is_abandoned_is_done(scripted: Any) -> None:
    """A split listing counts those under way until they are."""
    _, _, lane = scripted(_refused_at_first(100))
    stream = lane.open_stream(concurrency=2, body_limit=1000)
    entry = stream.submit(LaneRequest("GET", "bkt", "refused"))
    wait_until(lambda: (stream.advance(), stream._delayed)[1])
    stream.abandon(entry)
    assert entry.is_done and entry.response is None and not stream._delayed and stream._in_flight == 0
    stream.close()


def test_an_interrupt_at_the_end_of_a_stream_costs_no_connections_of_the_budget(
    scripted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of those by which it has grown."""
    _, _, lane = scripted(lambda head, body: OK)
    stream = Stream(lane, [LaneRequest("GET", "bkt", "a")], 64, 1 << 20, 1 << 20)
    responses = stream.run()
    assert next(responses)[1] is not None
    budget = ConnectionBudget(5)
    stream._concurrency._budget, stream._concurrency._taken = budget, 5
    assert budget.take(5)
    monkeypatch.setattr(lane.pool, "put_back", mock.Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        responses.close()
    assert budget.left == 5


def test_stream_yields_outstanding_responses_before_an_exception_of_its_requests(scripted: Any) -> None:
    def failing() -> Iterator[LaneRequest]:
        yield LaneRequest("GET", "bkt", "a")
        yield LaneRequest("GET", "bkt", "b")
        raise LookupError("the end")

    _, _, lane = scripted(lambda head, body: OK)
    got = []
    with pytest.raises(LookupError, match="the end"):
        for request, response in lane.stream(failing()):
            got.append((request.key, response is not None))
    assert got == [("a", True), ("b", True)]


def test_stream_holds_at_most_max_bytes_and_one_body(scripted: Any) -> None:
    """Also while complete responses wait to be yielded; every response arrives."""
    size = 300_000
    body = b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + b"x" * size
    _, _, lane = scripted(lambda head, _: body)
    requests = [LaneRequest("GET", "bkt", f"k{number}") for number in range(60)]
    stream = Stream(lane, requests, 16, 3 * size, 8 << 20)
    most = 0
    for number, (_, response) in enumerate(stream.run()):
        assert response is not None and len(response.body) == size
        most = max(most, stream._held_bytes)
        if number == 5:
            time.sleep(0.2)
    assert size < most <= 4 * size


def test_bodies_larger_than_the_socket_buffer_are_sent_while_responses_arrive(scripted: Any) -> None:
    def measured(head: bytes, body: bytes) -> bytes:
        size = str(len(body)).encode()
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(size), size)

    _, _, lane = scripted(measured)
    sizes = [3_000_000, 10, 2_000_000, 0, 5_000_000]
    requests = [LaneRequest("PUT", "bkt", f"k{size}", body=b"z" * size) for size in sizes]
    assert bodies_of(lane, requests) == [str(size).encode() for size in sizes]


# -- transport


def certificate(folder: Path) -> tuple[Path, Path]:
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "cert.pem", folder / "key.pem"


@pytest.mark.parametrize("trust", ["ca", False, "other"])
def test_tls_uses_the_verify_setting_of_the_client(scripted: Any, tmp_path: Path, trust: str | bool) -> None:
    """A private certificate is accepted with its CA or with verify=False, and refused with another CA."""
    cert, key = certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    verify = False if trust is False else str(cert)
    _, _, lane = scripted(lambda head, body: OK, tls=context, verify=verify)
    if trust == "other":
        (tmp_path / "b").mkdir()
        lane.eligibility.verify = str(certificate(tmp_path / "b")[0])
    expected = None if trust == "other" else b"hi"
    assert [(lane.send(LaneRequest("GET", "bkt", "a")) or mock.Mock(body=None)).body] == [expected]
    if trust != "other":
        assert bodies_of(lane, (LaneRequest("GET", "bkt", "a") for _ in range(40))) == [b"hi"] * 40


def test_a_signed_crc32_replaces_the_signature_of_the_body_over_tls_only(scripted: Any, tmp_path: Path) -> None:
    """Without TLS a body can be changed so that its CRC32 stays the same; not so with an MD5, whose second preimages are unknown."""
    cert, key = certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    body = bytes(200_000)
    signed = f"x-amz-content-sha256: {hashlib.sha256(body).hexdigest()}".encode()
    crc32, md5 = {"x-amz-checksum-crc32": "x"}, {"content-md5": "x"}
    for tls, headers, is_signed in (
        (context, crc32, False), (None, crc32, True), (None, md5, False), (None, {**crc32, **md5}, False),
    ):  # fmt: skip
        server, _, lane = scripted(lambda head, body: OK, tls=tls, verify=str(cert))
        part = LaneRequest("PUT", "bkt", "a", "partNumber=1&uploadId=U", headers, body, is_body_covered=True)
        assert lane.send(part) is not None
        assert (signed in server.requests[-1]) is is_signed
        assert (b"x-amz-content-sha256: UNSIGNED-PAYLOAD" in server.requests[-1]) is not is_signed


def test_session_tickets_do_not_make_an_idle_tls_connection_look_closed(scripted: Any, tmp_path: Path) -> None:
    """They arrive after the handshake, without a request."""
    cert, key = certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    server, _, lane = scripted(lambda head, body: OK, tls=context, verify=str(cert))
    lane.close()
    lane.connect_ahead("bkt")
    [idle] = lane.pool._idle
    assert idle.sock.version() == "TLSv1.3"
    wait_until(lambda: is_readable(idle.sock))  # the tickets
    assert not idle.was_closed_by_server()
    assert idle.sock.gettimeout() == lane.pool.read_timeout
    body = bytes(200_000)
    assert lane.send(LaneRequest("PUT", "bkt", "a", body=body)) is not None
    assert [*lane.pool._idle] == [idle]
    assert server.requests[-1].startswith(b"PUT ")


def test_ipv6_endpoint(scripted: Any) -> None:
    """The signed Host header has the address in brackets."""
    server, _, lane = scripted(lambda head, body: OK, family=socket.AF_INET6)
    assert lane.send(LaneRequest("GET", "bkt", "a")) is not None
    assert bodies_of(lane, [LaneRequest("GET", "bkt", "a")]) == [b"hi"]
    assert b"host: [::1]:" in server.requests[-1]


def test_virtual_hosted_style_path_has_no_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bucket is in the host name."""
    resolve = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda _, *rest, **more: resolve("127.0.0.1", *rest, **more))
    server = RawServer(lambda head, body: OK)
    port = server.url.rpartition(":")[2]
    client = client_of(f"http://localhost:{port}", path_style=False)
    lane = Lane(client)
    client.get_object(Bucket="bkt", Key="a/first")["Body"].read()
    answer = lane.send(LaneRequest("GET", "bkt", "x y"))
    assert answer is not None and answer.body == b"hi"
    assert server.requests[-1].startswith(b"GET /x%20y HTTP/1.1\r\nhost: bkt.localhost:")
    assert lane.send(LaneRequest("GET", "bkt", "", "list-type=2")) is not None
    assert server.requests[-1].startswith(b"GET /?list-type=2 HTTP/1.1")
    server.close()


def test_credentials_are_refreshed_before_a_request_when_they_expire(scripted: Any) -> None:
    """The session token is sent."""
    server = RawServer(lambda head, body: OK)
    asked = 0

    def refresh() -> dict[str, str]:
        nonlocal asked
        asked += 1
        expiry = "2000-01-01T00:00:00Z" if asked == 1 else "2100-01-01T00:00:00Z"
        return {"access_key": f"AK{asked}", "secret_key": "s", "token": f"T{asked}", "expiry_time": expiry}

    core = get_session()
    first = {"access_key": "AK0", "secret_key": "s", "token": "T0", "expiry_time": "2100-01-01T00:00:00Z"}
    core._credentials = RefreshableCredentials.create_from_metadata(first, refresh, "test")
    client = client_of(server.url, session=boto3.Session(botocore_session=core, region_name="us-east-1"))
    lane = Lane(client)
    client.get_object(Bucket="bkt", Key="a")["Body"].read()
    assert lane.send(LaneRequest("GET", "bkt", "a")) is not None
    assert b"x-amz-security-token: T0" in server.requests[-1] and b"Credential=AK0/" in server.requests[-1]
    from datetime import datetime, timezone

    core._credentials._expiry_time = datetime(2000, 1, 1, tzinfo=timezone.utc)
    asked = 1
    assert lane.send(LaneRequest("GET", "bkt", "a")) is not None
    assert b"x-amz-security-token: T2" in server.requests[-1] and b"Credential=AK2/" in server.requests[-1]
    server.close()


# -- when it is shut


def test_lane_is_shut_while_a_stubber_is_active(opened: tuple[Any, Lane, str]) -> None:
    client, lane, bucket = opened
    with Stubber(client):
        assert not lane.status.open
        assert lane.send(LaneRequest("GET", bucket, "first")) is None
    assert lane.send(LaneRequest("GET", bucket, "first")) is not None


@pytest.mark.parametrize(
    "event", ["before-parameter-build", "before-call", "request-created", "before-sign", "before-send"]
)
def test_lane_is_shut_while_the_client_has_a_foreign_event_handler(opened: tuple[Any, Lane, str], event: str) -> None:
    """Whether it is registered for one operation, for S3 or for all services; the lane opens again when it is unregistered."""
    client, lane, _ = opened

    def handler(**_: Any) -> None: ...

    for name in (f"{event}.s3.GetObject", f"{event}.s3", f"{event}.*.*"):
        client.meta.events.register(name, handler)
        assert not lane.status.open and "handler" in lane.status.reason
        client.meta.events.unregister(name, handler)
        assert lane.status.open, name


def test_lane_is_shut_by_an_event_handler_registered_before_it_was_made(rclone: Server) -> None:
    client = rclone.client()
    client.meta.events.register("before-call.s3", lambda **_: None)
    lane = Lane(client)
    client.create_bucket(Bucket="handled")
    client.head_bucket(Bucket="handled")
    assert not lane.is_open_for("handled") and "handler" in lane.status.reason


class Switched:
    """A handler like moto's, which every client has once moto is imported, whether a mock is active or not."""

    __module__ = "moto.core.botocore_stubber"
    enabled = False

    def __call__(self, **_: Any) -> None:
        return None


def test_lane_is_shut_while_a_handler_that_can_be_enabled_is_enabled(opened: tuple[Any, Lane, str]) -> None:
    """As moto's is while a mock is active."""
    client, lane, _ = opened
    switched = Switched()
    client.meta.events.register("before-send", switched)
    assert lane.status.open
    switched.enabled = True
    assert not lane.status.open
    switched.enabled = False
    assert lane.status.open


def test_lane_is_shut_while_make_api_call_is_wrapped(opened: tuple[Any, Lane, str]) -> None:
    """Tracers and mocks wrap it to see every request."""
    client, lane, _ = opened
    original = botocore.client.BaseClient._make_api_call

    def traced(self: Any, *arguments: Any) -> Any:
        return original(self, *arguments)

    traced.__wrapped__, traced.__module__ = original, original.__module__  # as functools.wraps does
    with mock.patch.object(botocore.client.BaseClient, "_make_api_call", traced):
        assert not lane.status.open
    assert lane.status.open
    with mock.patch.object(client, "_make_api_call", traced):
        assert not lane.status.open
    assert lane.status.open


@pytest.mark.parametrize("part", ["AWSHTTPConnection", "AWSHTTPSConnection"])
def test_lane_is_shut_while_a_recorder_replaces_botocores_http_classes(
    opened: tuple[Any, Lane, str], part: str
) -> None:
    import botocore.awsrequest

    _, lane, _ = opened
    with mock.patch.object(botocore.awsrequest, part, type("Recorder", (), {})):
        assert not lane.status.open
    assert lane.status.open
    with mock.patch.object(botocore.awsrequest.AWSHTTPConnectionPool, "ConnectionCls", type("R", (), {})):
        assert not lane.status.open
    with mock.patch("urllib3.connectionpool.HTTPConnectionPool.urlopen"):
        assert not lane.status.open
    with mock.patch("botocore.httpsession.URLLib3Session.send"):
        assert not lane.status.open
    assert lane.status.open


def test_lane_is_shut_for_a_client_with_a_proxy(rclone: Server) -> None:
    client = client_of("http://store.invalid", proxies={"http": rclone.endpoint_url})
    lane = Lane(client)
    seen = {"Authorization": authorization()}
    lane.eligibility.record_request(mock.Mock(url="http://store.invalid/bkt/k", headers=seen))
    lane.eligibility.record_answer(200, "GetObject", {"input_params": {"Bucket": "bkt", "Key": "k"}})
    assert not lane.is_open_for("bkt") and "proxy" in lane.status.reason


def authorization(service: str = "s3", algorithm: str = "AWS4-HMAC-SHA256") -> bytes:
    scope = f"20260101/us-east-1/{service}/aws4_request"
    return f"{algorithm} Credential=AK/{scope}, SignedHeaders=host, Signature=0".encode()


@pytest.mark.parametrize(
    ("url", "bucket", "key", "signed"),
    [
        ("http://h/bkt/k", "bkt", "k", b""),
        ("http://h/bkt/k", "bkt", "k", b"AWS AK:signature"),
        ("http://h/bkt/k", "bkt", "k", authorization("s3express")),
        ("http://h/bkt/k", "bkt", "k", authorization("s3-outposts")),
        ("http://h/bkt/k", "bkt", "k", authorization(algorithm="AWS4-ECDSA-P256-SHA256")),
        ("http://ap-1.h/k", "arn:aws:s3:us-east-1:1:accesspoint/ap", "k", authorization()),
        ("http://h/other/k", "bkt", "k", authorization()),
    ],
)
def test_endpoint_is_learned_only_from_plain_sigv4_requests(url: str, bucket: str, key: str, signed: bytes) -> None:
    """Anonymous, SigV2, S3 Express, Outposts, SigV4A, access points."""
    lane = Lane(client_of("http://h"))
    lane.eligibility.record_request(mock.Mock(url=url, headers={"Authorization": signed}))
    lane.eligibility.record_answer(200, "GetObject", {"input_params": {"Bucket": bucket, "Key": key}})
    assert not lane.is_open_for(bucket)
    assert "boto3" in lane.status.reason or "signed" in lane.status.reason


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_child_leaves_everything_to_boto3(opened: tuple[Any, Lane, str]) -> None:
    """Also the rest of a stream that the parent began."""
    _, lane, bucket = opened
    stream = lane.stream(LaneRequest("GET", bucket, "first") for _ in range(300))
    assert next(stream)[1] is not None
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # it must not outlive a test that fails
        try:
            rest = [response for _, response in stream]
            shut = lane.send(LaneRequest("GET", bucket, "first")) is None
            os._exit(0 if shut and rest and rest[-1] is None else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert all(response is not None for _, response in stream)


def test_threads_that_share_a_lane_get_their_own_responses(opened: tuple[Any, Lane, str]) -> None:
    _, lane, bucket = opened
    bodies = {f"t{number}": os.urandom(50) for number in range(16)}
    wrong: list[str] = []

    def work(key: str) -> None:
        for _ in range(20):
            written = lane.send(LaneRequest("PUT", bucket, key, body=bodies[key]))
            read = lane.send(LaneRequest("GET", bucket, key))
            if written is None or read is None or read.body != bodies[key]:
                wrong.append(key)

    threads = [threading.Thread(target=work, args=(key,)) for key in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_resolve_returns_all_addresses_in_concurrent_threads(opened: tuple[Any, Lane, str]) -> None:
    _, lane, _ = opened
    address = next(iter(lane.eligibility._endpoints.values())).address
    found: list[int] = []

    def work() -> None:
        found.extend(len(lane.pool.resolve(address)) for _ in range(3000))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert len(found) == 12_000 and set(found) == {1}


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_stream_closed_in_a_forked_child_continues_in_the_parent(opened: tuple[Any, Lane, str]) -> None:
    """The sockets are copies, but the epoll registration is shared between parent and child."""
    _, lane, bucket = opened
    stream = lane.stream(LaneRequest("GET", bucket, "first") for _ in range(300))
    assert next(stream)[1] is not None
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # it must not outlive a test that fails
        stream.close()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert sum(1 for _, response in stream if response is not None) == 299


def test_logs_and_reprs_contain_no_secret(opened: tuple[Any, Lane, str], caplog: pytest.LogCaptureFixture) -> None:
    """Neither the secret key nor a signature."""
    _, lane, bucket = opened
    caplog.set_level("DEBUG", logger="messageflux_s3")
    request = LaneRequest("PUT", bucket, "k", headers={"if-match": "x"})
    lane.send(request)
    credentials = lane.eligibility.credentials()
    shown = caplog.text + repr(request) + repr(credentials) + repr(lane.status)
    assert "left to boto3" in caplog.text
    assert "SECRETKEY" not in shown and "Signature" not in shown


def test_shut_is_permanent_and_reports_its_reason(opened: tuple[Any, Lane, str]) -> None:
    _, lane, bucket = opened
    lane.shut("a test wants boto3")
    assert (lane.status.open, lane.status.reason) == (False, "a test wants boto3")
    assert lane.send(LaneRequest("GET", bucket, "first")) is None
    assert [response for _, response in lane.stream([LaneRequest("GET", bucket, "first")])] == [None]


# -- what happens to connections ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["fresh", "kept", "begun"])
def test_connection_interrupted_by_ctrl_c_is_not_used_again(
    scripted: Any, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """The next request opens a new one."""
    server, _, lane = scripted(lambda head, body: OK)
    request = LaneRequest("GET", "bkt", "k")
    if way == "kept":
        assert lane.send(request) is not None

    def interrupt(response: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(lane, "check", interrupt)
        if way == "begun":
            lane.begin(request).result()
        else:
            lane.send(request)
    before = server.connections
    answer = lane.send(request)
    assert answer is not None and answer.body == b"hi"
    assert server.connections == before + 1


def test_begun_request_is_sent_again_if_its_connection_was_closed_while_idle(scripted: Any) -> None:
    """Closed before the request was sent, or before its response was read."""
    hang_up = [False]
    _, _, lane = scripted(lambda head, body: None if hang_up.pop() else OK)
    request = LaneRequest("GET", "bkt", "k")
    assert lane.send(request) is not None
    lane.pool._idle[-1].sock.shutdown(socket.SHUT_RDWR)
    hang_up[:] = [False]
    answer = lane.begin(request).result()
    assert answer is not None and answer.body == b"hi"
    hang_up[:] = [False, True]
    answer = lane.begin(request).result()
    assert answer is not None and answer.body == b"hi"


@pytest.mark.parametrize("streamed", [False, True])
def test_request_is_left_to_boto3_if_the_connection_is_refused(scripted: Any, streamed: bool) -> None:
    server, _, lane = scripted(lambda head, body: OK)
    server._listener.shutdown(socket.SHUT_RDWR)  # or the accepting thread would accept one more connection
    for connection in [*lane.pool._idle]:
        lane.pool._idle.remove(connection)
        connection.close()
    request = LaneRequest("GET", "bkt", "k")
    if streamed:
        assert bodies_of(lane, [request, request]) == [None, None]
    else:
        assert (lane.begin(request), lane.send(request)) == (None, None)


def test_stream_tries_the_next_address_of_a_host_if_one_refuses(scripted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine whose IPv6 has no route; without a further address the request is left to boto3."""
    server, _, lane = scripted(lambda head, body: OK)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        refusing = closed.getsockname()
    there = ("127.0.0.1", int(server.url.rpartition(":")[2]))
    addresses = [(socket.AF_INET, ("255.255.255.255", 1)), (socket.AF_INET, refusing), (socket.AF_INET, there)]
    monkeypatch.setattr(lane.pool, "resolve", lambda address: [*addresses])
    assert bodies_of(lane, [LaneRequest("GET", "bkt", "k")] * 3) == [b"hi"] * 3
    addresses[2:] = []
    lane.close()
    assert bodies_of(lane, [LaneRequest("GET", "bkt", "other")]) == [None]


def test_pool_keeps_at_most_max_idle_connections_and_uses_those_to_the_same_host(
    scripted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, _, lane = scripted(lambda head, body: OK)
    from messageflux_s3._http.connections import LaneConnection

    request = LaneRequest("GET", "bkt", "k")
    assert lane.send(request) is not None
    other = LaneConnection((False, "elsewhere", 1))
    other.idle_since = time.monotonic()
    lane.pool._idle.append(other)
    before = server.connections
    assert lane.send(request) is not None
    assert bodies_of(lane, [request]) == [b"hi"]
    assert server.connections == before
    monkeypatch.setattr(lane.pool, "_max_idle", 0)
    assert lane.send(request) is not None
    assert lane.send(request) is not None
    assert server.connections == before + 1


def test_head_with_a_body_and_chunks_above_the_limit_are_left_to_boto3(scripted: Any) -> None:
    chunks = (
        b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n" + b"100\r\n" + b"x" * 256 + b"\r\n0\r\n\r\n"
    )
    _, _, lane = scripted(lambda head, body: OK if head.startswith(b"HEAD") else chunks)
    assert lane.send(LaneRequest("HEAD", "bkt", "k")) is None
    assert lane.send(LaneRequest("GET", "bkt", "k"), body_limit=100) is None
    found = lane.send(LaneRequest("GET", "bkt", "k"), body_limit=1000)
    assert repr(found) == "LaneResponse(404, 256 bytes)"


def test_request_is_left_to_boto3_without_credentials(scripted: Any) -> None:
    server, client, lane = scripted(lambda head, body: OK)
    client._request_signer._credentials = None
    assert lane.send(LaneRequest("GET", "bkt", "k")) is None
    assert server.requests == []


def test_lane_is_shut_for_clients_with_unsupported_internals_or_a_client_certificate() -> None:
    """Its status gives the reason."""
    client = client_of("http://127.0.0.1:9")
    session = client._endpoint.http_session
    assert "boto3 has not yet" in Lane(client).status.reason
    session._cert_file = "client.pem"
    assert "uses a TLS client certificate" in Lane(client).status.reason
    session._cert_file = None
    lane = Lane(client)
    client._endpoint.http_session = type("Other", (), {})()
    assert "HTTP session was replaced" in lane.status.reason
    assert "is not supported" in Lane(client).status.reason
    client._endpoint.http_session = session


def test_lane_is_shut_when_a_botocore_handler_is_unregistered(opened: tuple[Any, Lane, str]) -> None:
    client, lane, bucket = opened
    from botocore import handlers

    client.meta.events.unregister("before-parameter-build.s3", handlers.validate_bucket_name)
    answer = lane.send(LaneRequest("GET", bucket, "first"))
    assert (answer is None) == (not lane.status.open)


def test_client_keeps_no_reference_to_its_lane(scripted: Any) -> None:
    """The lane's event handlers then do nothing."""
    _, client, lane = scripted(lambda head, body: OK)
    watched = weakref.ref(lane.eligibility)
    del lane
    gc.collect()
    assert watched() is None
    assert client.get_object(Bucket="bkt", Key="k")["Body"].read() == b"hi"
