"""The fault proxy: every kind of fault occurs, and a seed repeats the same faults."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from support.proxy import CORRUPT_REQUEST, DONE, KINDS, NOT_DONE, Fault, Proxy, name_of, run_proxy, scripted, seeded
from support.scripted_server import ScriptedServer
from support.servers import Server
from support.waiting import wait_until

XML = b"<Result><Key>one</Key><Key>two</Key></Result>"


@pytest.fixture
def upstream(scripted_server: ScriptedServer) -> ScriptedServer:
    """The server behind the proxy, which answers with a short document."""
    scripted_server.answer = lambda asked: (200, {"ETag": '"e"', "Content-Type": "application/xml"}, XML)
    return scripted_server


@pytest.fixture
def proxy(upstream: ScriptedServer) -> Iterator[Proxy]:
    """A proxy in front of it."""
    with run_proxy(upstream.endpoint_url) as running:
        yield running


def client(proxy: Proxy, timeout: float = 5) -> http.client.HTTPConnection:
    """A plain client, a connection of its own."""
    return http.client.HTTPConnection("127.0.0.1", int(proxy.endpoint_url.rpartition(":")[2]), timeout=timeout)


def ask(
    proxy: Proxy, method: str = "GET", target: str = "/b/k", body: bytes | None = None, **headers: str
) -> tuple[int, bytes]:
    """One request on a connection of its own: status and body."""
    connection = client(proxy)
    try:
        connection.request(method, target, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def once(proxy: Proxy, fault: Fault | str, method: str = "GET", name: str = "k") -> None:
    """The next request of this name meets the fault."""
    proxy.restart(scripted({(method, name): [fault]}))


def test_without_a_fault_everything_passes(proxy: Proxy, upstream: ScriptedServer) -> None:
    """Bodies in both directions, the client's Host header, several requests on one connection."""
    connection = client(proxy)
    for number in range(3):
        connection.request("PUT", f"/b/k{number}", b"body", {"Expect": "100-continue"} if number else {})
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, XML)
    host = proxy.endpoint_url.removeprefix("http://")
    assert [(asked.method, asked.target, asked.body, asked.headers["host"]) for asked in upstream.asked] == [
        ("PUT", f"/b/k{number}", b"body", host) for number in range(3)
    ]
    assert proxy.counts() == {"none": 3}
    connection.close()


def test_a_chunked_body_passes_whole(proxy: Proxy, upstream: ScriptedServer) -> None:
    """As boto3 sends a stream without a length."""
    connection = client(proxy)
    connection.request("PUT", "/b/k", iter([b"one", b"two"]), encode_chunked=True)
    assert (connection.getresponse().status, upstream.asked[0].body) == (200, b"onetwo")
    connection.close()


def test_a_response_that_the_server_broke_off_is_broken_off(proxy: Proxy, upstream: ScriptedServer) -> None:
    """The client need not wait for the rest until it times out."""
    upstream.answer = lambda asked: (500, {"Content-Length": "100"}, b"cut")
    with pytest.raises(http.client.IncompleteRead):
        ask(proxy)


def test_a_refused_connection_is_refused_for_a_moment(proxy: Proxy, upstream: ScriptedServer) -> None:
    """The connection breaks, the port refuses for a moment, and then serves again."""
    once(proxy, Fault("refuse", seconds=1.5))
    with pytest.raises(ConnectionResetError):
        ask(proxy)
    with pytest.raises(ConnectionRefusedError):
        for _ in range(500):
            with suppress(ConnectionResetError):  # the port was closed between the two steps of connecting
                socket.create_connection(("127.0.0.1", int(proxy.endpoint_url.rpartition(":")[2])), timeout=5).close()
            time.sleep(0.002)

    def serves() -> bool:
        with suppress(ConnectionError):
            return ask(proxy)[0] == 200
        return False

    wait_until(serves)
    assert [asked.method for asked in upstream.asked] == ["GET"]


@pytest.mark.parametrize("kind", ["reset_before", "reset_in_request"])
def test_reset_before_does_not_reach_the_server(proxy: Proxy, upstream: ScriptedServer, kind: str) -> None:
    """The client gets a reset, the server nothing."""
    once(proxy, kind, "PUT")
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        ask(proxy, "PUT", body=bytes(100_000))
    assert upstream.asked == []


def test_a_corrupted_request_reaches_the_server_with_one_changed_byte(proxy: Proxy, upstream: ScriptedServer) -> None:
    """The server receives one changed byte, and its response is unchanged."""
    once(proxy, Fault(CORRUPT_REQUEST, 1.0), "PUT")
    assert ask(proxy, "PUT", body=b"abcd") == (200, XML)
    assert [asked.body for asked in upstream.asked] == [b"abce"]
    assert proxy.counts() == {CORRUPT_REQUEST: 1}


@pytest.mark.parametrize("kind", ["reset_after", "reset_in_response"])
def test_reset_after_happens_after_the_server_has_acted(proxy: Proxy, upstream: ScriptedServer, kind: str) -> None:
    """The request was applied; the client gets a reset, or a truncated response."""
    once(proxy, kind)
    with pytest.raises((ConnectionResetError, http.client.HTTPException)):
        ask(proxy)
    assert (len(upstream.asked), [seen.status for seen in proxy.seen]) == (1, [200])


def test_a_response_cut_in_its_headers_is_closed_cleanly(proxy: Proxy, upstream: ScriptedServer) -> None:
    """Closed normally within the headers: Python's client accepts the truncated headers."""
    once(proxy, Fault("cut_head", 0.6))
    connection = client(proxy)
    connection.request("GET", "/b/k")
    answer = connection.getresponse()
    assert (answer.getheader("Content-Length"), len(upstream.asked)) == (None, 1)
    connection.close()


def test_a_response_cut_in_its_body_is_shorter_than_its_content_length(proxy: Proxy) -> None:
    """With a Content-Length the client can tell."""
    once(proxy, "cut_body")
    with pytest.raises(http.client.IncompleteRead):
        ask(proxy)


def test_a_response_cut_without_a_content_length_seems_complete(proxy: Proxy) -> None:
    """Without one it cannot: half of the body arrives as if it were the whole."""
    once(proxy, "cut_unframed")
    assert ask(proxy) == (200, XML[: len(XML) // 2])


def test_a_corrupted_response_has_one_changed_byte(proxy: Proxy) -> None:
    """One byte of the body is another."""
    once(proxy, "corrupt")
    status, body = ask(proxy)
    differing = [number for number, (sent, came) in enumerate(zip(XML, body, strict=True)) if sent != came]
    assert (status, differing) == (200, [len(XML) // 2])


def test_a_duplicated_response_is_sent_twice(proxy: Proxy, upstream: ScriptedServer) -> None:
    """It is sent twice, so that a careless client takes the second copy for the response to its next request."""
    once(proxy, "duplicate")
    with socket.create_connection(("127.0.0.1", int(proxy.endpoint_url.rpartition(":")[2])), timeout=5) as sock:
        sock.sendall(b"GET /b/k HTTP/1.1\r\nHost: h\r\n\r\n")
        came = b""
        while came.count(XML) < 2:
            came += sock.recv(65536)
    assert (came.count(b"HTTP/1.1 200"), len(upstream.asked)) == (2, 1)


@pytest.mark.parametrize(("kind", "reached"), [("stall_before", 0), ("stall_after", 1)])
def test_a_stall_lasts_until_the_client_times_out(
    proxy: Proxy, upstream: ScriptedServer, kind: str, reached: int
) -> None:
    """Nothing comes until the client gives up, whether the server has acted or not."""
    once(proxy, Fault(kind, seconds=30))
    connection = client(proxy, timeout=0.4)
    connection.request("GET", "/b/k")
    with pytest.raises(TimeoutError):
        connection.getresponse()
    connection.close()
    assert len(upstream.asked) == reached


@pytest.mark.parametrize("kind", ["drip", "delay"])
def test_a_delayed_response_is_complete(proxy: Proxy, kind: str) -> None:
    """Slow or delayed, but complete."""
    once(proxy, Fault(kind, seconds=0.3))
    began = time.monotonic()
    assert (ask(proxy), time.monotonic() - began > 0.25) == ((200, XML), True)


@pytest.mark.parametrize(
    ("kind", "status", "said"),
    [
        ("500_before", 500, b"InternalError"), ("502_before", 502, b"Bad Gateway"), ("503_before", 503, b"ServiceUnavailable"),
        ("slowdown_before", 503, b"SlowDown"), ("429_before", 429, b"TooManyRequests"), ("500_after", 500, b"InternalError"),
        ("redirect_301", 301, b"PermanentRedirect"), ("redirect_307", 307, b"TemporaryRedirect"),
        ("wrong_region_before", 400, b"AuthorizationHeaderMalformed"), ("skewed_before", 403, b"RequestTimeTooSkewed"),
    ],
)  # fmt: skip
def test_an_error_of_the_proxy_keeps_the_connection_usable(
    proxy: Proxy, upstream: ScriptedServer, kind: str, status: int, said: bytes
) -> None:
    """An error document with its status; on the same connection the next request is served."""
    once(proxy, kind)
    connection = client(proxy)
    connection.request("GET", "/b/k")
    answer = connection.getresponse()
    assert (answer.status, said in answer.read()) == (status, True)
    connection.request("GET", "/b/k")
    assert connection.getresponse().read() == XML
    assert len(upstream.asked) == (2 if kind == "500_after" else 1)
    connection.close()


def test_an_error_to_a_head_has_no_body(proxy: Proxy) -> None:
    """Otherwise the client would take the body for its next response."""
    once(proxy, "500_before", "HEAD")
    connection = client(proxy)
    connection.request("HEAD", "/b/k")
    assert connection.getresponse().read() == b""
    connection.request("GET", "/b/k")
    assert connection.getresponse().read() == XML
    connection.close()


@pytest.mark.parametrize(("when", "reached"), [("before", 0), ("after", 1)])
@pytest.mark.parametrize(
    ("method", "target", "name", "headers"),
    [
        ("POST", "/b/k?uploadId=7", "k?uploadId", {}),
        ("POST", "/b?delete", "?delete", {}),
        ("PUT", "/b/k", "k", {"x_amz_copy_source": "b/s"}),
    ],
    ids=["complete", "delete many", "copy"],
)
def test_an_error_document_may_have_status_200(
    proxy: Proxy,
    upstream: ScriptedServer,
    method: str,
    target: str,
    name: str,
    headers: dict[str, str],
    when: str,
    reached: int,
) -> None:
    """The status is a success, the document an error; the request may have been applied."""
    once(proxy, f"error_in_200_{when}", method, name)
    status, body = ask(proxy, method, target, b"<Delete><Object><Key>one</Key></Object></Delete>", **headers)
    assert (status, b"<Error>" in body, b"<Key>one</Key>" in body, len(upstream.asked)) == (
        200,
        True,
        target == "/b?delete",
        reached,
    )


def test_a_required_header_may_be_missing(proxy: Proxy) -> None:
    """One of those that S3's clients rely on."""
    once(proxy, Fault("missing_header", 0.0))
    connection = client(proxy)
    connection.request("GET", "/b/k")
    answer = connection.getresponse()
    assert (answer.getheader("ETag"), answer.read()) == (None, XML)
    connection.close()


@pytest.mark.parametrize(
    ("kind", "is_so"),
    [
        ("xml_cut", lambda body: body == XML[: len(XML) // 2]),
        ("xml_huge", lambda body: len(body) > 8 << 20 and body.endswith(b"two</Key></Result>")),
        ("xml_bomb", lambda body: b"<!ENTITY j" in body and b"&j;" in body),
        ("xml_external", lambda body: b"file:///etc/passwd" in body and b"&x;" in body),
    ],
)
def test_a_malformed_document_is_framed_correctly(proxy: Proxy, kind: str, is_so: Any) -> None:
    """Truncated, huge, an entity bomb, an external entity: all with correct framing."""
    once(proxy, kind)
    status, body = ask(proxy)
    assert (status, is_so(body)) == (200, True)


def test_every_kind_is_listed_once() -> None:
    """Before or after the server has acted, never both."""
    assert len(set(KINDS)) == len(KINDS) == len(NOT_DONE) + len(DONE)


def test_the_same_seed_does_the_same_again() -> None:
    """The plan depends on the seed, the method, the target and the count; another seed is another plan."""
    requests = [(method, f"k{number % 5}", number // 5) for method in ("GET", "PUT") for number in range(200)]
    first, again, other = ([seeded(seed)(*request) for request in requests] for seed in (1, 1, 2))
    assert (first == again, first == other) == (True, False)
    assert {fault.kind for seed in range(40) for request in requests if (fault := seeded(seed)(*request))} == set(KINDS)


def test_throttling_comes_in_bursts() -> None:
    """The same answer several times in a row, to the same request."""
    plan = seeded(3, kinds=["slowdown_before"], share=0.1, burst=4)
    hit = [plan("GET", "k", number) is not None for number in range(2000)]
    assert "1111" in "".join(str(int(one)) for one in hit)


def test_a_normalized_target_omits_bucket_ids_and_signatures() -> None:
    """The bucket and the values of ids and signatures are left out."""
    assert name_of("/t-123/a%20b/c?uploadId=77&partNumber=2") == "a b/c?partNumber=2&uploadId"
    assert name_of("/t-123?list-type=2&prefix=p&continuation-token=zz") == "?continuation-token&list-type=2&prefix=p"


def test_a_store_works_through_the_proxy_without_faults(server: Server) -> None:
    """moto and rclone through the proxy, signatures and all."""
    with run_proxy(server.endpoint_url) as proxy:
        store = server.connect(endpoint_url=proxy.endpoint_url)
        bucket = store.create_bucket("behind-a-proxy")
        bucket.put_objects((f"k{number}", b"x" * number) for number in range(20))
        assert [obj.body for obj in bucket.find().prefetch()] == [b"x" * obj.size for obj in bucket.find()]
        bucket.delete_bucket(force=True)
        assert set(proxy.counts()) == {"none"}
        store.close()
