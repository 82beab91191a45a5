"""Settings of boto3: the user's wins over this library's default, wherever boto3 takes it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pickle
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import boto3
import botocore
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import EndpointResolutionError
from botocore.loaders import create_loader
from support.scripted_server import Answer, Asked, ScriptedServer, content_of, document, refusal

import messageflux_s3 as s3
from messageflux_s3 import store as store_module
from messageflux_s3._client import client_options, connection, exchange
from messageflux_s3._files import copying
from messageflux_s3.fs import MessagefluxS3FileSystem

LANE_IS_SHUT = os.environ.get("MFS3_LANE") == "shut"

KEYS = {"aws_access_key_id": "AK", "aws_secret_access_key": "SK"}


class Setting(NamedTuple):
    """One setting: how each place spells it, and where its effective value is found.

    Attributes:
        config: The options of a botocore Config.
        value: Returns the effective value of a client.
        arguments: The arguments of connect(), if it has one of its own.
        profile: The lines in a profile.
        environment: The environment variables.
    """

    config: dict[str, Any]
    value: Callable[[Any], Any]
    arguments: dict[str, Any] | None = None
    profile: str | None = None
    environment: dict[str, str] | None = None


def _option(name: str, key: str | None = None) -> Callable[[Any], Any]:
    def value(client: Any) -> Any:
        found = getattr(client.meta.config, name)
        return (found or {}).get(key) if key is not None else found

    return value


SETTINGS = {
    "path style": Setting(
        {"s3": {"addressing_style": "path"}}, _option("s3", "addressing_style"),
        {"addressing_style": "path"}, "s3 =\n  addressing_style = path",
    ),
    "virtual style": Setting(
        {"s3": {"addressing_style": "virtual"}}, _option("s3", "addressing_style"),
        {"addressing_style": "virtual"}, "s3 =\n  addressing_style = virtual",
    ),
    "attempts": Setting(
        {"retries": {"total_max_attempts": 7}}, _option("retries", "total_max_attempts"),
        {"max_attempts": 7}, "max_attempts = 7", {"AWS_MAX_ATTEMPTS": "7"},
    ),
    "attempts after the first": Setting({"retries": {"max_attempts": 6}}, _option("retries", "total_max_attempts")),
    "adaptive retries": Setting(
        {"retries": {"mode": "adaptive"}}, _option("retries", "mode"), None, "retry_mode = adaptive", {"AWS_RETRY_MODE": "adaptive"}
    ),
    "legacy retries": Setting(
        {"retries": {"mode": "legacy"}}, _option("retries", "mode"), None, "retry_mode = legacy", {"AWS_RETRY_MODE": "legacy"}
    ),
    "connect timeout": Setting({"connect_timeout": 3}, _option("connect_timeout"), {"connect_timeout": 3}),
    "read timeout": Setting({"read_timeout": 3}, _option("read_timeout"), {"read_timeout": 3}),
    "no timeout": Setting({"read_timeout": None, "connect_timeout": None}, _option("read_timeout")),
    "region": Setting(
        {"region_name": "eu-west-3"}, lambda client: client.meta.region_name, {"region": "eu-west-3"},
        "region = eu-west-3", {"AWS_DEFAULT_REGION": "eu-west-3"},
    ),
    "connections": Setting({"max_pool_connections": 5}, _option("max_pool_connections")),
    "user agent": Setting({"user_agent_extra": "tool/1"}, _option("user_agent_extra")),
    "application": Setting(
        {"user_agent_appid": "tool"}, _option("user_agent_appid"), None, "sdk_ua_app_id = tool", {"AWS_SDK_UA_APP_ID": "tool"}
    ),
    "proxy": Setting({"proxies": {"https": "http://proxy.example:3128"}}, _option("proxies")),
    "keep-alive": Setting({"tcp_keepalive": True}, _option("tcp_keepalive")),
    "dual-stack": Setting(
        {"use_dualstack_endpoint": True}, _option("use_dualstack_endpoint"), None,
        "use_dualstack_endpoint = true", {"AWS_USE_DUALSTACK_ENDPOINT": "true"},
    ),
    "dual-stack of S3": Setting(
        {"s3": {"use_dualstack_endpoint": True}}, _option("s3", "use_dualstack_endpoint"), None,
        "s3 =\n  use_dualstack_endpoint = true",
    ),
    "accelerate": Setting(
        {"s3": {"use_accelerate_endpoint": True}}, _option("s3", "use_accelerate_endpoint"), None,
        "s3 =\n  use_accelerate_endpoint = true",
    ),
    "accelerate and dual-stack": Setting(
        {"s3": {"use_accelerate_endpoint": True, "use_dualstack_endpoint": True}}, _option("s3", "use_accelerate_endpoint"), None,
        "s3 =\n  use_accelerate_endpoint = true\n  use_dualstack_endpoint = true",
    ),
    "FIPS": Setting(
        {"use_fips_endpoint": True, "region_name": "us-west-2"}, _option("use_fips_endpoint"), None,
        "use_fips_endpoint = true\nregion = us-west-2", {"AWS_USE_FIPS_ENDPOINT": "true", "AWS_DEFAULT_REGION": "us-west-2"},
    ),
    "unsigned": Setting({"signature_version": botocore.UNSIGNED}, _option("signature_version")),
    "signature": Setting(
        {"signature_version": "s3"}, _option("signature_version"), None, "s3 =\n  signature_version = s3"
    ),
    "checksums": Setting(
        {"request_checksum_calculation": "when_required"}, _option("request_checksum_calculation"), None,
        "request_checksum_calculation = when_required", {"AWS_REQUEST_CHECKSUM_CALCULATION": "when_required"},
    ),
}  # fmt: skip
PLACES = ("argument", "config", "session", "profile", "environment")


def _spelt(setting: Setting, place: str) -> bool:
    return {
        "argument": setting.arguments is not None,
        "profile": setting.profile is not None,
        "environment": setting.environment is not None,
    }.get(place, True)


TABLE = [(name, place) for name, setting in SETTINGS.items() for place in PLACES if _spelt(setting, place)]


class Pair(NamedTuple):
    """A store, and boto3's own client with the same settings."""

    store: s3.S3Store
    client: Any


@pytest.fixture(autouse=True, scope="module")
def shared_data_files() -> Iterator[None]:
    """Let all sessions of this module share boto3's data files: reading them takes longer than the tests."""
    loader = create_loader()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.session.create_loader", lambda *_: loader)
        yield


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set a profile, and the environment. Stores with equal arguments share a client, so earlier ones are forgotten."""
    connection._cache.clear()

    def set_outside(profile: str = "", environment: dict[str, str] | None = None) -> None:
        settings = {"AWS_ACCESS_KEY_ID": "AK", "AWS_SECRET_ACCESS_KEY": "SK", **(environment or {})}
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        region = "" if "region" in profile else "region = eu-central-1\n"
        file = tmp_path / "config"
        file.write_text(f"[default]\n{region}{profile}\n")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(file))

    return set_outside


def pair(setting: Setting, place: str, outside: Callable[..., None]) -> Pair:
    """Return a store with the setting in one place, and boto3's client with the setting in the same place."""
    outside(
        (setting.profile or "") if place == "profile" else "",
        setting.environment if place == "environment" else None,
    )
    session = boto3.Session()
    plain = Config(**setting.config)
    if place == "argument":
        return Pair(s3.connect(**(setting.arguments or {})), session.client("s3", config=plain))
    if place == "config":
        return Pair(s3.connect(config=Config(**setting.config)), session.client("s3", config=plain))
    if place == "session":
        session._session.set_default_client_config(plain)
        return Pair(s3.connect(boto3_session=session), session.client("s3"))
    return Pair(s3.connect(), session.client("s3"))


def sent_urls(client: Any, call: Callable[[], Any]) -> list[str]:
    """Return the URLs of the requests that a call makes; nothing is sent."""
    urls: list[str] = []

    def answer(request: Any, **_: Any) -> AWSResponse:
        urls.append(request.url)
        found = AWSResponse(
            request.url,
            200,
            {"ETag": '"e"', "Content-Length": "0", "Last-Modified": "Sat, 21 Nov 2026 05:00:00 GMT"},
            None,
        )
        found._content = b""
        return found

    client.meta.events.register("before-send.s3", answer)
    try:
        call()
    finally:
        client.meta.events.unregister("before-send.s3", answer)
    return urls


@pytest.mark.parametrize(("name", "place"), TABLE)
def test_a_setting_counts_wherever_boto3_takes_it(name: str, place: str, outside: Callable[..., None]) -> None:
    """The effective value and the URL of a call are those of boto3."""
    setting = SETTINGS[name]
    store, client = pair(setting, place, outside)
    assert setting.value(store.client) == setting.value(client) is not None or name == "no timeout"
    ours = sent_urls(store.client, lambda: store.bucket("bucket")["a b"].exists())
    assert ours == sent_urls(client, lambda: client.head_object(Bucket="bucket", Key="a b"))
    if name != "unsigned":  # an anonymous store makes no links
        assert link_of(store, "bucket") == ours[0]


def link_of(store: s3.S3Store, bucket: str) -> str:
    """Return the link to an object without its query, for a bucket in the store's region."""
    store._connection.facts[f"region:{bucket}"] = store._connection.region
    return store.bucket(bucket)["a b"].presigned_url().partition("?")[0]


VARIANTS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "dual-stack": {"use_dualstack_endpoint": True},
    "path": {"s3": {"addressing_style": "path"}, "use_dualstack_endpoint": True},
    "virtual": {"s3": {"addressing_style": "virtual"}},
    "accelerate": {"s3": {"use_accelerate_endpoint": True, "addressing_style": "path"}},
}
ENDPOINTS = (
    None,
    "https://s3-accelerate.dualstack.amazonaws.com",
    "https://s3.dualstack.eu-central-1.amazonaws.com",
    "https://bucket.vpce-1a2b3c4d-5e6f.s3.eu-central-1.vpce.amazonaws.com",
    "https://s3.example:9000/base",
    "http://s3.example:9000",
    "http://192.0.2.7:9000",
    "http://[2001:db8::7]:9000",
)


@pytest.mark.parametrize("given", ["argument", "environment", "client"])
@pytest.mark.parametrize("endpoint_url", ENDPOINTS)
def test_links_are_made_for_the_client_s_own_host(
    endpoint_url: str | None, given: str, outside: Callable[..., None]
) -> None:
    """For names with and without dots, with each addressing style; what botocore cannot address raises."""
    if given == "environment" and endpoint_url is not None:
        outside(environment={"AWS_ENDPOINT_URL_S3": endpoint_url})
        store_url = None
    else:
        outside()
        store_url = endpoint_url
    session = boto3.Session()
    for variant, options in VARIANTS.items():
        if ".dualstack.eu" in (endpoint_url or "") and options.get("use_dualstack_endpoint"):
            continue  # the endpoint that the setting alone would give: in another style, but the same host
        client = session.client("s3", endpoint_url=store_url, config=Config(**options))
        store = s3.S3Store.from_client(client) if given == "client" else s3.connect(store_url, config=Config(**options))
        for name in ("plain-name", "with.dot"):
            urls = []
            with contextlib.suppress(EndpointResolutionError):
                urls = sent_urls(client, partial(client.head_object, Bucket=name, Key="a b"))
            if urls:
                assert link_of(store, name) == urls[0], variant
            elif endpoint_url is None:
                with pytest.raises(
                    s3.S3Unsupported, match=r"Transfer Acceleration is not available for the bucket 'with\.dot'"
                ):
                    link_of(store, name)


def test_defaults_of_this_library_count_where_nothing_is_set(outside: Callable[..., None]) -> None:
    """As the docstring of connect() says."""
    outside()
    settings = s3.connect().client.meta.config
    assert (settings.connect_timeout, settings.read_timeout, settings.max_pool_connections) == (10, 60, 16)
    assert settings.retries == {"mode": "standard", "total_max_attempts": 4}
    assert (settings.signature_version, settings.user_agent_extra) == ("s3v4", "messageflux-s3")


def test_settings_of_s3_and_retries_are_merged_by_key(outside: Callable[..., None]) -> None:
    """An argument, config=, the session's default and the profile each set another key."""
    outside("s3 =\n  use_dualstack_endpoint = true\nretry_mode = legacy")
    session = boto3.Session()
    session._session.set_default_client_config(
        Config(s3={"payload_signing_enabled": True, "us_east_1_regional_endpoint": "legacy"}, read_timeout=7)
    )
    store = s3.connect(
        boto3_session=session,
        addressing_style="path",
        config=Config(s3={"us_east_1_regional_endpoint": "regional"}, retries={"total_max_attempts": 2}),
    )
    settings = store.client.meta.config
    assert settings.s3 == {
        "use_dualstack_endpoint": True,
        "payload_signing_enabled": True,
        "us_east_1_regional_endpoint": "regional",
        "addressing_style": "path",
    }
    assert settings.retries == {"mode": "legacy", "total_max_attempts": 2}
    assert settings.read_timeout == 7


def test_each_place_wins_over_the_later_ones(outside: Callable[..., None]) -> None:
    """Argument, config=, the session's default client config, environment."""
    outside("max_attempts = 9", {"AWS_MAX_ATTEMPTS": "8"})
    session = boto3.Session()
    session._session.set_default_client_config(Config(retries={"max_attempts": 6}, read_timeout=7))
    said = {"config": Config(retries={"total_max_attempts": 6})}
    for settings, attempts in (
        ({"boto3_session": session, "max_attempts": 5}, 5),
        ({"boto3_session": session, **said}, 6),
        ({"boto3_session": session}, 7),
        ({}, 8),
    ):
        store = s3.connect(**settings)
        assert store.client.meta.config.retries["total_max_attempts"] == attempts
        assert store._connection.max_attempts == attempts


def test_probed_addressing_style_gives_way_to_the_users() -> None:
    """The probe's result is a default."""
    known = s3.Capabilities(addressing_style="virtual")
    base = s3.S3Config("https://s3.example", access_key="A", secret_key="S", region="r", capabilities=known)
    assert s3.S3Store(base)._connection.addressing_style == "virtual"
    for changes in ({"addressing_style": "path"}, {"config": Config(s3={"addressing_style": "path"})}):
        assert s3.S3Store(base.replace(**changes))._connection.addressing_style == "path"


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        ({"region": "r"}, {"region_name": "q"}, r"region='r' contradicts config=Config\(region_name='q'\)"),
        ({"connect_timeout": 1}, {"connect_timeout": 2}, "connect_timeout"),
        ({"read_timeout": 1}, {"read_timeout": None}, "read_timeout=1 contradicts .*read_timeout=None"),
        ({"max_attempts": 3}, {"retries": {"max_attempts": 3}}, r"max_attempts=3 contradicts .*'total_max_attempts': 4"),
        ({"addressing_style": "path"}, {"s3": {"addressing_style": "auto"}}, "addressing_style='path' contradicts .*'auto'"),
        ({"max_concurrency": 9}, {"max_pool_connections": 8}, "max_concurrency=9 contradicts .*max_pool_connections=8"),
    ],
)  # fmt: skip
def test_argument_and_config_that_contradict_each_other_raise(
    arguments: dict[str, Any], options: dict[str, Any], words: str
) -> None:
    """The error names both."""
    with pytest.raises(ValueError, match=words):
        s3.connect(**arguments, config=Config(**options))


def test_argument_and_config_may_say_the_same() -> None:
    """Attempts are compared as the total."""
    config = Config(
        region_name="r", retries={"max_attempts": 2}, s3={"addressing_style": "path"}, max_pool_connections=9
    )
    s3.connect(region="r", max_attempts=3, addressing_style="path", max_concurrency=9, config=config)


@pytest.mark.parametrize("value", [{"read_timeout": 3}, "read_timeout=3", 3, boto3])
def test_config_that_is_no_botocore_config_is_a_type_error(value: Any) -> None:
    """The error says what is expected."""
    with pytest.raises(TypeError, match=r"config must be a botocore\.config\.Config, not"):
        s3.connect(config=value)


def test_config_is_kept_as_a_tuple_of_the_options_that_were_set() -> None:
    """Sorted, nested mappings too, and UNSIGNED by its name."""
    given = Config(
        signature_version=botocore.UNSIGNED,
        retries={"mode": "legacy", "max_attempts": 1},
        s3={"b": 1, "a": None},
        proxies={},
    )
    given.user_agent_extra = "assigned"
    assert s3.S3Config(config=given).config == (
        ("retries", (("mode", "legacy"), ("total_max_attempts", 2))),
        ("s3", (("b", 1),)),
        ("signature_version", "UNSIGNED"),
        ("user_agent_extra", "assigned"),
    )
    assert s3.S3Config(config=Config()) == s3.S3Config()


def test_equal_configs_share_a_client_and_differing_ones_do_not() -> None:
    """Compared by value; the order of the keys does not matter."""

    def connected(**options: Any) -> s3.S3Store:
        return s3.connect("http://127.0.0.1:9", access_key="A", secret_key="S", config=Config(**options))

    one = connected(s3={"addressing_style": "path", "payload_signing_enabled": True}, retries={"max_attempts": 1})
    two = connected(retries={"total_max_attempts": 2}, s3={"payload_signing_enabled": True, "addressing_style": "path"})
    assert one == two
    assert one.client is two.client
    assert one != connected(retries={"total_max_attempts": 3})


def test_config_survives_pickling_and_replace() -> None:
    """Also as a part of a store; the tuple can be given again."""
    config = Config(signature_version=botocore.UNSIGNED, s3={"use_dualstack_endpoint": True}, client_cert=("c", "k"))
    kept = s3.S3Config(config=config)
    assert pickle.loads(pickle.dumps(kept)) == kept
    assert s3.S3Config(config=kept.config) == kept
    assert kept.replace(region="r").config == kept.config
    store = pickle.loads(pickle.dumps(s3.connect(config=Config(signature_version=botocore.UNSIGNED))))
    assert store.client.meta.config.signature_version is botocore.UNSIGNED


def test_pickle_of_a_session_keeps_its_default_client_config() -> None:
    """What an argument or config= says still wins."""
    session = boto3.Session("AK", "SK", region_name="r")
    session._session.set_default_client_config(
        Config(read_timeout=3, connect_timeout=3, retries={"max_attempts": 3, "mode": "legacy"}, region_name="q")
    )
    config = s3.S3Config(boto3_session=session, region="r", max_attempts=2, config=Config(connect_timeout=4))
    back = pickle.loads(pickle.dumps(config.replace(pickle_secrets=True)))
    settings = s3.S3Store(back).client.meta.config
    assert (settings.read_timeout, settings.connect_timeout, back.region) == (3, 4, "r")
    assert settings.retries == {"total_max_attempts": 2, "mode": "legacy"}


def test_pickle_of_a_session_keeps_the_region_of_its_default_client_config() -> None:
    """It wins over the region of the session, in the other process too."""
    session = boto3.Session("AK", "SK", region_name="r")
    session._session.set_default_client_config(Config(region_name="q"))
    store = s3.connect(boto3_session=session, pickle_secrets=True)
    back = pickle.loads(pickle.dumps(store))
    assert (store.client.meta.region_name, back.client.meta.region_name) == ("q", "q")


def test_pickle_of_a_session_keeps_the_settings_of_its_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the endpoint, the other process would send the requests to Amazon S3."""
    (tmp_path / "config").write_text(
        "[profile inhouse]\nregion = eu-x-1\nendpoint_url = http://127.0.0.1:9\nmax_attempts = 7\nretry_mode = legacy\n"
        "use_fips_endpoint = true\ns3 =\n  addressing_style = path\n  payload_signing_enabled = true\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    session = boto3.Session(profile_name="inhouse")
    store = s3.connect(boto3_session=session, anonymous=True, max_attempts=2)
    pickled = pickle.dumps(store)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    back = pickle.loads(pickled).client.meta
    assert (back.endpoint_url, back.region_name) == ("http://127.0.0.1:9", "eu-x-1")
    assert back.config.retries == {"total_max_attempts": 2, "mode": "legacy"}
    assert (
        back.config.s3 == store.client.meta.config.s3 == {"addressing_style": "path", "payload_signing_enabled": True}
    )
    assert back.config.use_fips_endpoint


def test_pickle_of_a_session_leaves_an_endpoint_that_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """As boto3 does."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    config = s3.S3Config(boto3_session=boto3.Session(**KEYS), pickle_secrets=True)
    assert pickle.loads(pickle.dumps(config)).endpoint_url == "http://127.0.0.1:9"
    ignoring = config.replace(config=Config(ignore_configured_endpoint_urls=True))
    assert pickle.loads(pickle.dumps(ignoring)).endpoint_url is None


def test_pickle_of_a_session_keeps_its_pool() -> None:
    """Unless max_concurrency= needs a larger one."""
    session = boto3.Session(**KEYS)
    session._session.set_default_client_config(Config(max_pool_connections=4))
    for given, found in ((None, 4), (2, 2), (8, 8)):
        store = s3.connect(boto3_session=session, max_concurrency=given, pickle_secrets=True)
        assert (
            store._connection.max_concurrency == pickle.loads(pickle.dumps(store))._connection.max_concurrency == found
        )


@pytest.mark.parametrize("proxy", ["http://user:hush@proxy:3128", "user:hush@proxy:3128"])
def test_passwords_of_proxies_are_in_no_repr_and_no_pickle(proxy: str) -> None:
    """The pickle keeps them with pickle_secrets=True, as it keeps keys."""
    config = s3.S3Config(config=Config(proxies={"http": proxy}, read_timeout=3))
    assert repr(config) == "S3Config(config=Config(proxies=…, read_timeout=3))"
    assert b"hush" not in pickle.dumps(config)
    back = pickle.loads(pickle.dumps(config))
    assert dict(dict(back.config)["proxies"])["http"] == proxy.replace("user:hush@", "")
    secret = config.replace(pickle_secrets=True)
    assert pickle.loads(pickle.dumps(secret)) == secret


def test_a_user_s_client_keeps_its_settings_in_other_regions_and_processes() -> None:
    """Proxies, retry mode, dual-stack and the rest."""
    config = Config(
        proxies={"https": "http://proxy:1"}, retries={"mode": "adaptive", "max_attempts": 5}, use_dualstack_endpoint=True,
        connect_timeout=3, s3={"addressing_style": "path"}, user_agent_extra="tool/1", max_pool_connections=5,
    )  # fmt: skip
    resource = boto3.Session(**KEYS, region_name="eu-west-1").resource("s3", config=config)
    store = s3.S3Store.from_resource(resource)
    assert store._connection.max_attempts == 6
    assert store._connection.max_concurrency == 5
    elsewhere = s3.S3Store(store._connection.config_in("eu-west-2")).client.meta
    settings = elsewhere.config
    assert elsewhere.endpoint_url == "https://s3.dualstack.eu-west-2.amazonaws.com"
    assert settings.proxies == {"https": "http://proxy:1"}
    assert settings.retries == {"mode": "adaptive", "total_max_attempts": 6}
    assert (settings.connect_timeout, settings.user_agent_extra) == (3, "tool/1")
    assert pickle.loads(pickle.dumps(store)).config.config == store.config.config


def test_region_of_config_gives_way_to_a_bucket_s_region() -> None:
    """create_bucket(region=) makes a client for another region."""
    store = s3.connect(access_key="A", secret_key="S", config=Config(region_name="eu-west-1", read_timeout=3))
    elsewhere = store._connection.config_in("eu-west-2")
    assert (elsewhere.region, elsewhere.config) == ("eu-west-2", (("read_timeout", 3),))


def test_concurrency_follows_the_pool_of_config() -> None:
    """No client is built to find out."""
    store = s3.connect("http://127.0.0.1:9", access_key="A", secret_key="S", config=Config(max_pool_connections=3))
    assert store._connection.max_concurrency == 3
    assert store._connection.started_lane is None
    session = boto3.Session(**KEYS)
    session._session.set_default_client_config(Config(max_pool_connections=4))
    assert s3.connect(boto3_session=session)._connection.max_concurrency == 4


def test_requests_without_a_time_limit_use_the_lane(scripted_server: ScriptedServer) -> None:
    """None as a timeout of botocore means no limit."""
    scripted_server.answer = lambda asked: content_of(asked, b"body")
    bucket = scripted_server.bucket(config=Config(read_timeout=None, connect_timeout=None))
    assert bucket["a"].body == b"body"
    assert [obj.body for obj in bucket.get_objects(["a", "b"])] == [b"body"] * 2


def test_attempts_of_the_environment_are_those_of_reads(
    scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library's own repetitions follow the same setting as boto3's."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    scripted_server.answer = lambda asked: refusal(500, "InternalError")
    with pytest.raises(s3.S3ServerError):
        scripted_server.bucket(max_attempts=None)["k"].exists()
    assert len(scripted_server.asked) == 2


def test_a_tuple_of_options_is_checked_as_a_config_is() -> None:
    """An option that botocore does not know is its TypeError."""
    with pytest.raises(TypeError, match="unknown_option"):
        client_options.canonical((("unknown_option", 1),))
    with pytest.raises(TypeError, match="plain values"):
        s3.S3Config(config=Config(client_context_params={"a": {1, 2}}))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((("nope", 1),), TypeError),
        ((("s3", "x"),), ValueError),
        ((("s3", (("addressing_style", "x"),)),), ValueError),
        ((("retries", (("max_attempts", -1),)),), ValueError),
    ],
)
def test_wrong_options_in_a_tuple_raise_an_error_that_names_the_argument(
    options: client_options.Options, expected: type[Exception]
) -> None:
    """botocore's own exceptions do not say which argument of connect() is wrong, and some are neither TypeError nor ValueError."""
    with pytest.raises(expected, match=r"^config "):
        s3.S3Config(config=options)


def test_json_of_options_is_plain() -> None:
    """No botocore object is left in the tuple."""
    resource = boto3.Session(**KEYS, region_name="r").resource("s3")
    assert json.dumps(s3.S3Store.from_resource(resource).config.config)


def answer_reads_and_writes(asked: Asked) -> Answer:
    """Answer a read with an object, and a write with the ETag of what was written."""
    if asked.method in ("GET", "HEAD"):
        return content_of(asked, b"body")
    return 200, {"ETag": f'"{hashlib.md5(asked.body, usedforsecurity=False).hexdigest()}"'}, b""


# -- anonymous stores, and stores without the lane


@pytest.fixture
def without_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail if botocore looks for credentials."""

    def look(self: Any) -> None:
        raise AssertionError("credentials were looked for")

    monkeypatch.setattr("botocore.credentials.CredentialResolver.load_credentials", look)


@pytest.mark.usefixtures("without_credentials")
@pytest.mark.parametrize("lane", [True, False])
def test_requests_of_an_anonymous_store_are_unsigned(scripted_server: ScriptedServer, lane: bool) -> None:
    """On the lane and through boto3; nothing in them names a key or a time."""
    scripted_server.answer = answer_reads_and_writes
    store = s3.connect(scripted_server.endpoint_url, anonymous=True, lane=lane)
    bucket = store.bucket("bkt")
    assert bucket["a"].exists()
    assert bucket["a b"].body == b"body"
    bucket.put_object("c", b"new")
    assert [obj.body for obj in bucket.get_objects(["d", "e"])] == [b"body"] * 2
    assert store.lane.open is (lane and not LANE_IS_SHUT)
    for asked in scripted_server.asked:
        assert not {"authorization", "x-amz-date", "x-amz-security-token"} & asked.headers.keys()
        assert "X-Amz" not in asked.target
    assert len(scripted_server.asked) == 5
    through_boto3 = ["boto3" in asked.headers["user-agent"].lower() for asked in scripted_server.asked]
    assert through_boto3 == ([True, False, False, False, False] if store.lane.open else [True] * 5)


@pytest.mark.usefixtures("without_credentials")
def test_a_session_s_unsigned_clients_are_anonymous_stores(scripted_server: ScriptedServer) -> None:
    """Also a client of the user's."""
    scripted_server.answer = lambda asked: content_of(asked, b"body")
    unsigned = Config(signature_version=botocore.UNSIGNED)
    session = boto3.Session(region_name="r")
    session._session.set_default_client_config(unsigned)
    url = scripted_server.endpoint_url
    for store in (
        s3.connect(url, boto3_session=session),
        s3.connect(url, config=unsigned),
        s3.S3Store.from_resource(boto3.Session(region_name="r").resource("s3", endpoint_url=url, config=unsigned)),
        pickle.loads(pickle.dumps(s3.connect(url, anonymous=True))),
        pickle.loads(pickle.dumps(s3.connect(url, boto3_session=session))),
        pickle.loads(pickle.dumps(s3.connect(url, boto3_session=session, pickle_secrets=True))),
    ):
        assert store.bucket("bkt")["k"].body == b"body"
        assert store._connection.is_anonymous
    assert not any("authorization" in asked.headers for asked in scripted_server.asked)


def test_pickle_of_a_user_s_anonymous_client_stays_anonymous() -> None:
    """No credentials are looked for there."""
    unsigned = Config(signature_version=botocore.UNSIGNED, read_timeout=3)
    store = s3.S3Store.from_resource(boto3.Session(region_name="r").resource("s3", config=unsigned))
    assert store.config.anonymous
    assert pickle.loads(pickle.dumps(store)).config == store.config


@pytest.mark.usefixtures("without_credentials")
def test_an_anonymous_store_finds_the_region_of_a_bucket_on_aws() -> None:
    """No region is set; AWS redirects to the region of the bucket, and names it in a header."""
    store = s3.connect(anonymous=True, lane=False)
    urls: list[str] = []

    def answer(request: Any, **_: Any) -> AWSResponse:
        urls.append(request.url)
        is_there = "eu-south-1" in request.url
        headers = {"ETag": '"e"', "Content-Length": "0", "Last-Modified": "Sat, 21 Nov 2026 05:00:00 GMT"}
        found = AWSResponse(
            request.url, 200 if is_there else 301, headers if is_there else {"x-amz-bucket-region": "eu-south-1"}, None
        )
        found._content = b""
        return found

    store.client.meta.events.register("before-send.s3", answer)
    assert store.bucket("open-data")["k"].exists()
    assert urls == ["https://open-data.s3.amazonaws.com/k", "https://open-data.s3.eu-south-1.amazonaws.com/k"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"access_key": "AK", "secret_key": "SK"}, "anonymous=True .* so access_key must not be given"),
        ({"credentials": dict}, "anonymous=True .* so credentials must not be given"),
        ({"config": Config(signature_version="s3v4")}, "anonymous=True contradicts .*'s3v4'"),
    ],
)
def test_anonymous_beside_keys_or_a_signature_is_a_value_error(arguments: dict[str, Any], words: str) -> None:
    """The error names both."""
    with pytest.raises(ValueError, match=words):
        s3.connect(anonymous=True, **arguments)


def test_unsigned_config_beside_keys_is_a_value_error() -> None:
    """boto3 would ignore the keys."""
    with pytest.raises(ValueError, match=r"UNSIGNED\) .* so access_key must not be given"):
        s3.connect(access_key="A", secret_key="S", config=Config(signature_version=botocore.UNSIGNED))


def test_presigning_by_an_anonymous_store_names_the_plain_url() -> None:
    """A link that does not expire is not what was asked for."""
    obj = s3.connect("http://127.0.0.1:9", anonymous=True).bucket("bkt")["k"]
    for presign in (obj.presigned_url, obj.presigned_post):
        with pytest.raises(s3.S3AuthenticationError, match=r"anonymous, .* its plain `url` works"):
            presign()
    assert obj.url == "http://127.0.0.1:9/bkt/k"


@pytest.mark.parametrize("name", ["anonymous", "lane"])
def test_a_switch_that_is_not_a_bool_is_a_type_error(name: str) -> None:
    """The error names the argument."""
    with pytest.raises(TypeError, match=f"{name} must be True or False, not 'yes'"):
        s3.connect(**{name: "yes"})


def test_a_store_without_the_lane_says_why(scripted_server: ScriptedServer) -> None:
    """Also after the credentials are reloaded, which makes a new client."""
    scripted_server.answer = lambda asked: content_of(asked, b"body")
    store = scripted_server.connect(lane=False)
    for _ in range(2):
        assert store.bucket("bkt")["k"].body == b"body"
        assert store.bucket("bkt")["k"].body == b"body"
        assert store.lane.reason == "lane=False was passed to connect()" or LANE_IS_SHUT
        assert not store.lane.open
        store.reload_credentials()
    assert all("boto3" in asked.headers["user-agent"].lower() for asked in scripted_server.asked)


# -- requester pays, and the expected owner of the buckets

OWNER = "123456789012"
PAYER_AND_OWNER = {"x-amz-request-payer": "requester", "x-amz-expected-bucket-owner": OWNER}


def headers_of(asked: Asked) -> dict[str, str]:
    """Return the headers about payer and owner in a request."""
    return {name: value for name, value in asked.headers.items() if "request-payer" in name or "bucket-owner" in name}


def answer_anything(asked: Asked) -> Answer:
    """Answer reads, writes, copies, listings, deletions and uploads in parts."""
    if "list-type" in asked.query or "versions" in asked.query:
        root = "ListBucketResult" if "list-type" in asked.query else "ListVersionsResult"
        return document(root, "<IsTruncated>false</IsTruncated><KeyCount>0</KeyCount>")
    if "delete" in asked.query:
        return document("DeleteResult", "<Deleted><Key>a</Key></Deleted><Deleted><Key>b</Key></Deleted>")
    if "policy" in asked.query and asked.method == "GET":
        return refusal(404, "NoSuchBucketPolicy")
    if "x-amz-copy-source" in asked.headers:
        root = "CopyPartResult" if "partNumber" in asked.query else "CopyObjectResult"
        return document(root, '<ETag>"e"</ETag><LastModified>2026-11-21T05:00:00Z</LastModified>')
    if "uploads" in asked.query:
        return document("InitiateMultipartUploadResult", "<Bucket>bkt</Bucket><Key>k</Key><UploadId>u</UploadId>")
    if asked.method == "POST":
        return document("CompleteMultipartUploadResult", '<Location>x</Location><ETag>"e-1"</ETag>')
    return answer_reads_and_writes(asked)


@pytest.mark.parametrize("lane", [True, False])
def test_payer_and_owner_are_in_every_request_that_knows_them(scripted_server: ScriptedServer, lane: bool) -> None:
    """Objects, listings, copies, uploads in parts and settings of the bucket; on the lane and through boto3."""
    scripted_server.answer = answer_anything
    store = scripted_server.connect(request_payer=True, expected_bucket_owner=OWNER, lane=lane, preset="aws")
    bucket = store.bucket("bkt")
    assert bucket.exists()
    assert bucket["a"].body == b"body"
    bucket["a"].read_range(0, 2)
    bucket.put_object("b", b"new")
    bucket["a"].copy_to("c")
    assert list(bucket.find()) == []
    bucket.delete_objects(["a", "b"])
    bucket["a"].delete()
    assert [obj.body for obj in bucket.get_objects(["a", "b"])] == [b"body"] * 2
    for operation, parameters in (
        ("CreateMultipartUpload", {}),
        ("UploadPart", {"UploadId": "u", "PartNumber": 1, "Body": b"part"}),
        ("CompleteMultipartUpload", {"UploadId": "u", "MultipartUpload": {"Parts": [{"ETag": "e", "PartNumber": 1}]}}),
    ):
        store._connection.call(operation, Bucket="bkt", Key="big", **parameters)
    if not LANE_IS_SHUT:
        assert store.lane.open is lane
    copies = [asked for asked in scripted_server.asked if "x-amz-copy-source" in asked.headers]
    assert copies
    for asked in scripted_server.asked:
        source = {"x-amz-source-expected-bucket-owner": OWNER} if asked in copies else {}
        payer = {} if asked.what == "HEAD " else {"x-amz-request-payer": "requester"}
        assert headers_of(asked) == {"x-amz-expected-bucket-owner": OWNER, **source, **payer}, asked.what
    scripted_server.asked.clear()
    bucket.policy.get()
    assert [headers_of(asked) for asked in scripted_server.asked] == [{"x-amz-expected-bucket-owner": OWNER}]


@pytest.mark.parametrize("lane", [True, False])
def test_payer_and_owner_of_one_call_win(scripted_server: ScriptedServer, lane: bool) -> None:
    """Those of the store are defaults."""
    scripted_server.answer = answer_anything
    bucket = scripted_server.connect(expected_bucket_owner=OWNER, lane=lane, preset="aws").bucket("bkt")
    for _ in range(2):
        bucket.put_object("b", b"new", ExpectedBucketOwner="210987654321", RequestPayer="requester")
    own = [headers_of(asked) for asked in scripted_server.asked if asked.method == "PUT"]
    assert own == [{**PAYER_AND_OWNER, "x-amz-expected-bucket-owner": "210987654321"}] * 2
    bucket.store.client.head_object(Bucket="bkt", Key="k", ExpectedBucketOwner="210987654321")
    assert headers_of(scripted_server.asked[-1]) == {"x-amz-expected-bucket-owner": "210987654321"}


@pytest.mark.parametrize("many", [False, True])
def test_a_copy_between_stores_names_the_owner_and_payer_of_each(scripted_server: ScriptedServer, many: bool) -> None:
    """One request, through the target's store."""
    scripted_server.answer = answer_anything
    public = scripted_server.connect(request_payer=True, expected_bucket_owner="210987654321", preset="aws").bucket(
        "src"
    )
    own = scripted_server.connect(preset="aws").bucket("bkt")
    owned = scripted_server.connect(preset="aws", expected_bucket_owner=OWNER).bucket("bkt")
    for target, owner in ((own, {}), (owned, {"x-amz-expected-bucket-owner": OWNER})):
        if many:
            [*copying.copy_many(target._address, [copying.Copy(public["a"]._address, 4, "STANDARD", "b")])]
        else:
            public["a"].copy_to(target["b"])
        copied = [asked for asked in scripted_server.asked if "x-amz-copy-source" in asked.headers]
        assert headers_of(copied[-1]) == {
            "x-amz-source-expected-bucket-owner": "210987654321",
            "x-amz-request-payer": "requester",
            **owner,
        }
    public["a"].copy_to(own["b"])
    own["a"].copy_to(owned["c"])
    assert headers_of(scripted_server.asked[-1]) == {"x-amz-expected-bucket-owner": OWNER}


def test_links_name_payer_and_owner_in_the_signed_query(scripted_server: ScriptedServer) -> None:
    """A browser that follows the link sends no headers of S3's."""
    store = scripted_server.connect(request_payer=True, expected_bucket_owner=OWNER)
    obj = store.bucket("bkt")["k"]
    for method in ("GET", "PUT"):
        query = dict(parse_qsl(urlsplit(obj.presigned_url(method)).query))
        assert {name: query[name] for name in PAYER_AND_OWNER} == PAYER_AND_OWNER
        assert query["X-Amz-SignedHeaders"] == "host"
    form = obj.presigned_post()
    assert form.fields["x-amz-request-payer"] == "requester"
    plain = scripted_server.connect().bucket("bkt")["k"]
    assert "x-amz-re" not in plain.presigned_url()
    assert "x-amz-request-payer" not in plain.presigned_post().fields


def test_every_operation_of_the_lane_knows_payer_and_owner() -> None:
    """The lane sends both headers with every request."""
    model = boto3.Session(**KEYS, region_name="r").client("s3").meta.service_model
    for name in exchange._FORMS:
        assert {"RequestPayer", "ExpectedBucketOwner"} <= model.operation_model(name).input_shape.members.keys()


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"expected_bucket_owner": 12345678901}, TypeError, "text of 12 digits, not int"),
        ({"expected_bucket_owner": "1234-5678-9012"}, ValueError, "12 digits without hyphens, not '1234-5678-9012'"),
        ({"expected_bucket_owner": ""}, ValueError, "12 digits"),
        ({"request_payer": "requester"}, TypeError, "request_payer must be True or False, not 'requester'"),
        ({"request_payer": True, "anonymous": True}, ValueError, "anonymous=True contradicts request_payer=True"),
        (
            {"request_payer": True, "config": Config(signature_version=botocore.UNSIGNED)},
            ValueError,
            r"signature_version=UNSIGNED\) contradicts request_payer=True",
        ),
    ],
)
def test_invalid_payer_or_owner_raises(arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    """Before any request."""
    with pytest.raises(error, match=words):
        s3.connect(**arguments)


# -- clients in place of resources


def test_a_client_is_taken_wherever_a_resource_is(
    scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is used unchanged; stores on the same client are equal."""
    monkeypatch.setattr(store_module, "_default", None)
    listed = document("ListAllMyBucketsResult", "<Buckets><Bucket><Name>bkt</Name></Bucket></Buckets>")
    scripted_server.answer = lambda asked: listed if asked.what == "GET " else answer_reads_and_writes(asked)
    client = boto3.Session(**KEYS, region_name="r").client("s3", endpoint_url=scripted_server.endpoint_url)
    store = s3.S3Store.from_client(client)
    assert store.client is client
    assert store.resource.meta.client is client
    for other in (
        s3.S3Store.from_resource(client),
        s3.S3Store.from_resource(store.resource),
        s3.S3Bucket("bkt", client).store,
        s3.S3Bucket.create_bucket(client, "bkt").store,
        next(iter(s3.S3Bucket.list_buckets(client))).store,
        s3.AsyncS3Store.from_client(client)._store,
        s3.AsyncS3Store.from_resource(store.resource)._store,
        s3.initialize(client),
        s3.initialize(store.resource),
    ):
        assert other == store
    assert s3.default_store() == store
    assert store.bucket("bkt")["k"].body == b"body"


@pytest.mark.parametrize(
    "endpoint_url",
    [
        "https://bucket.vpce-1a2b.s3.eu-west-1.vpce.amazonaws.com",
        "https://s3-accelerate.amazonaws.com",
        "https://s3.us-west-2.amazonaws.com",  # not the client's region
        "https://s3.eu-west-1.amazonaws.com:8443",
    ],
)
def test_pickles_keep_an_endpoint_on_aws_that_the_user_set_for_a_client(
    endpoint_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the other process would send requests to the public endpoint of the region."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AK")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SK")
    client = boto3.client("s3", endpoint_url=endpoint_url, region_name="eu-west-1")
    back = pickle.loads(pickle.dumps(s3.S3Store.from_client(client)))
    assert back.client.meta.endpoint_url == endpoint_url


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1", "cn-north-1", "us-gov-west-1", "us-iso-east-1"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_fips_endpoint": True},
        {"use_dualstack_endpoint": True},
        {"use_fips_endpoint": True, "use_dualstack_endpoint": True},
        {"s3": {"use_accelerate_endpoint": True}},
    ],
)
def test_pickles_leave_the_endpoint_of_a_region_to_boto3(
    region: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """boto3 does not take its own endpoint together with a setting that has led to it."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AK")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SK")
    client = boto3.client("s3", region_name=region, config=Config(**options))
    store = s3.S3Store.from_client(client)
    assert store.config.endpoint_url is None
    assert pickle.loads(pickle.dumps(store)).client.meta.endpoint_url == client.meta.endpoint_url


def test_fips_in_us_east_1_is_amazon_s3() -> None:
    """botocore's name for this client's endpoint, s3-fips.aws-global.amazonaws.com, is not a host; requests go to that of the region."""
    config = Config(use_fips_endpoint=True)
    store = s3.connect(access_key="AK", secret_key="SK", region="us-east-1", config=config)
    assert store._connection.is_aws
    assert store._connection.has_regional_endpoint
    sent: list[str] = []

    def answer(request: Any, **_: Any) -> AWSResponse:
        sent.append(urlsplit(request.url).netloc)
        response = AWSResponse(request.url, 200, {"x-amz-bucket-region": "us-east-1"}, None)
        response._content = b""
        return response

    store.client.meta.events.register("before-send.s3", answer)
    obj = store.bucket("bkt")["k"]
    link = obj.presigned_url()
    assert [*sent, urlsplit(link).netloc] == ["bkt.s3-fips.us-east-1.amazonaws.com"] * 2
    assert obj.url == "https://s3-fips.us-east-1.amazonaws.com/bkt/k"


@pytest.mark.parametrize("wrong", [boto3, "s3", None, {}])
def test_what_has_no_s3_client_is_a_type_error(wrong: Any) -> None:
    """The error names the argument, and what would be right."""
    with pytest.raises(TypeError, match="client must be a boto3 S3 client or resource, or an S3Store, not"):
        s3.S3Store.from_client(wrong)
    with pytest.raises(TypeError, match="s3_resource must be a boto3 S3 client or resource, or an S3Store, not"):
        s3.S3Bucket("bkt", wrong)


def test_a_client_of_another_service_is_a_type_error() -> None:
    """Before any request."""
    queue = boto3.Session(**KEYS, region_name="eu-west-1").client("sqs")
    with pytest.raises(TypeError, match="client must be a boto3 S3 client or resource, or an S3Store, not SQS"):
        s3.S3Store.from_client(queue)


def test_fsspec_keeps_config_as_plain_values_without_passwords_of_proxies() -> None:
    """to_json() and from_json() give the same settings."""
    config = Config(proxies={"http": "http://user:hush@proxy:1"}, read_timeout=3, s3={"addressing_style": "path"})
    fs = MessagefluxS3FileSystem(endpoint_url="http://127.0.0.1:9", anonymous=True, config=config)
    told = fs.to_json()
    assert "hush" not in told
    back = MessagefluxS3FileSystem.from_json(told)
    assert back.store.config.anonymous
    assert dict(back.store.config.config)["s3"] == (("addressing_style", "path"),)
    assert back.store.client.meta.config.read_timeout == 3
