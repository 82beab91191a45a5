"""Whatever observes boto3 shuts the lane: patched functions, event handlers, debug logging, and settings that only boto3 follows."""

from __future__ import annotations

import functools
import http.client
import logging
from types import SimpleNamespace
from typing import Any
from unittest import mock

import boto3
import botocore.awsrequest
import botocore.client
import botocore.endpoint
import botocore.httpsession
import botocore.parsers
import pytest
import urllib3.connection
import urllib3.connectionpool
from botocore.config import Config

from messageflux_s3._http import patched_code
from messageflux_s3._http.lane import Lane, LaneRequest
from messageflux_s3._http.patched_code import is_pristine, module_of

pytestmark = pytest.mark.lane

OK = 200, {"ETag": '"e"'}, b"hi"


class Proxy:
    """A wrapper as wrapt makes them: it passes for the function that it wraps, and compares equal to it."""

    def __init__(self, wrapped: Any) -> None:
        self.__wrapped__ = wrapped

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return type(self.__wrapped__)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__wrapped__, name)

    def __eq__(self, other: object) -> bool:
        return bool(self.__wrapped__ == other)

    def __hash__(self) -> int:
        return hash(self.__wrapped__)

    def __get__(self, instance: Any, owner: Any) -> Any:
        return type(self)(self.__wrapped__.__get__(instance, owner))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.__wrapped__(*args, **kwargs)


def client_of(url: str = "http://127.0.0.1:9", **settings: Any) -> Any:
    session = boto3.Session("ACCESSKEY01", "SECRETKEY0123456", region_name="us-east-1")
    return session.client("s3", endpoint_url=url, config=Config(s3={"addressing_style": "path"}, **settings))


@pytest.fixture(scope="module")
def client() -> Any:
    return client_of()


@pytest.fixture
def lane(client: Any) -> Lane:
    made = Lane(client)
    assert made.eligibility.can_open(), made.status.reason
    return made


PARTS = [
    (botocore.client.BaseClient, "_make_api_call"),
    (botocore.endpoint.Endpoint, "prepare_request"),
    (botocore.endpoint.Endpoint, "make_request"),
    (botocore.endpoint.Endpoint, "_send"),
    (botocore.parsers.ResponseParser, "parse"),
    (botocore.httpsession.URLLib3Session, "send"),
    (botocore.awsrequest.AWSConnection, "request"),
    (urllib3.connectionpool.HTTPConnectionPool, "urlopen"),
    (urllib3.connection.HTTPConnection, "getresponse"),
    (http.client.HTTPConnection, "_send_request"),
    (http.client.HTTPConnection, "putrequest"),
]


@pytest.mark.parametrize(("owner", "name"), PARTS, ids=[f"{owner.__name__}.{name}" for owner, name in PARTS])
def test_lane_is_shut_while_a_proxy_stands_for_a_function_of_boto3(lane: Lane, owner: Any, name: str) -> None:
    """Also if it was there before the lane was made; it opens again once the original is back."""
    original = vars(owner)[name]
    with mock.patch.object(owner, name, Proxy(original)):
        assert getattr(owner, name) == original and getattr(owner, name).__code__ is original.__code__
        assert str(lane.eligibility.shut_reason()).endswith(f".{name} was replaced")
        assert not Lane(client_of()).eligibility.can_open()
    assert lane.eligibility.can_open()


def test_lane_is_shut_while_the_code_of_a_function_is_replaced_in_place(lane: Lane) -> None:
    """Some tracers rewrite the bytecode, and keep the function."""
    function = botocore.httpsession.URLLib3Session.send
    original = function.__code__
    function.__code__ = (lambda self, request: None).__code__
    try:
        assert lane.eligibility.shut_reason() == "URLLib3Session.send was replaced"
    finally:
        function.__code__ = original
    assert lane.eligibility.can_open()


@pytest.mark.parametrize(
    "error", [FileNotFoundError("moved"), PermissionError("chroot"), ImportError("no source")], ids=repr
)
def test_lane_is_shut_and_requests_succeed_if_the_files_of_botocore_cannot_be_read(
    scripted_server: Any, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """As after chroot(), or while botocore is being upgraded."""
    scripted_server.answer = lambda request: OK
    bucket = scripted_server.bucket()
    monkeypatch.setattr(botocore.endpoint.__spec__.loader, "get_code", mock.Mock(side_effect=error))
    monkeypatch.setattr(patched_code, "_originals", [None] * len(patched_code._originals))
    patched_code._codes.cache_clear()
    try:
        for _ in range(2):
            assert bucket.get_object("k").body == b"hi"
        assert "was replaced" in bucket.store.lane.reason
    finally:
        patched_code._codes.cache_clear()


def test_function_that_copies_the_names_of_the_original_is_not_taken_for_it() -> None:
    original = botocore.httpsession.URLLib3Session.send

    @functools.wraps(original)
    def traced(*args: Any) -> Any:
        return original(*args)

    assert is_pristine(original) and not is_pristine(traced) and not is_pristine(Proxy(original))


@pytest.mark.parametrize("where", ["client", "class"])
def test_lane_is_shut_while_a_method_of_the_client_is_replaced(client: Any, lane: Lane, where: str) -> None:
    with mock.patch.object(client if where == "client" else type(client), "get_object"):
        assert lane.eligibility.shut_reason() == "the client's methods are wrapped"
    assert lane.eligibility.can_open()


@pytest.mark.parametrize(
    "event", ["after-call", "after-call-error", "before-parse", "response-received", "needs-retry"]
)
def test_lane_is_shut_while_a_handler_observes_responses(client: Any, lane: Lane, event: str) -> None:
    def handler(**_: Any) -> None: ...

    handler.__module__ = "botocore.handlers"
    for name in (f"{event}.s3.GetObject", f"{event}.s3", f"{event}.*.*"):
        client.meta.events.register(name, handler)
        assert lane.eligibility.shut_reason() == f"the client has an event handler of {__name__}"
        client.meta.events.unregister(name, handler)
        assert lane.eligibility.can_open(), name


def test_module_of_a_handler_is_that_of_its_code() -> None:
    handler = boto3.Session.client
    assert module_of(handler) == module_of(functools.partial(handler)) == module_of(boto3.Session().client)
    assert module_of(handler) == "boto3.session" and module_of(Proxy(handler)) == __name__
    assert module_of(SimpleNamespace(__module__="boto3.session")) == "types"


@pytest.mark.parametrize("name", ["", "botocore", "botocore.endpoint", "urllib3"])
def test_lane_is_shut_while_boto3_logs_each_request(lane: Lane, name: str) -> None:
    """As after boto3.set_stream_logger(name)."""
    logger, handler = logging.getLogger(name), logging.NullHandler()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        assert "level DEBUG" in lane.status.reason and not lane.eligibility.can_open()
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
    assert lane.eligibility.can_open()


def test_lane_is_shut_for_a_client_in_adaptive_retry_mode() -> None:
    lane = Lane(client_of(retries={"mode": "adaptive"}))
    assert "adaptive" in lane.status.reason and not lane.eligibility.can_open()


@pytest.mark.parametrize("setting", ["user_agent", "user_agent_extra", "user_agent_appid"])
def test_user_agent_of_the_user_is_sent_by_the_lane(scripted_server: Any, setting: str) -> None:
    scripted_server.answer = lambda request: OK
    client = client_of(scripted_server.endpoint_url, **{setting: "billing-7"})
    lane = Lane(client)
    client.get_object(Bucket="bkt", Key="k")["Body"].read()
    _, data = lane.prepare(LaneRequest("GET", "bkt", "k")) or pytest.fail(lane.status.reason)
    assert b"billing-7" in next(line for line in data.split(b"\r\n") if line.startswith(b"user-agent: "))
