"""S3Config: validation, and no secrets in reprs and pickles."""

from __future__ import annotations

import ast
import contextlib
import copy
import itertools
import json
import pickle
import re
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore.session
import pytest
from botocore.endpoint_provider import EndpointProvider
from botocore.exceptions import EndpointProviderError

import messageflux_s3 as s3
from messageflux_s3._client.aws_hosts import SUFFIXES, dns_suffix, partition_id
from messageflux_s3._client.capabilities import AWS, KINDS, PRESETS, preset_for


@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        ({"endpoint_url": "localhost:9000"}, ValueError, "endpoint_url"),
        ({"endpoint_url": "ftp://x"}, ValueError, "endpoint_url"),
        ({"endpoint_url": "http://"}, ValueError, "endpoint_url"),
        ({"endpoint_url": "http://host:99999"}, ValueError, "endpoint_url"),
        ({"endpoint_url": "http://user:hush@host"}, ValueError, "access_key"),
        ({"endpoint_url": 7}, TypeError, "endpoint_url"),
        ({"public_url": "http://host/?a=hush"}, ValueError, "public_url must end with its host, port or path"),
        ({"access_key": "a"}, ValueError, "secret_key"),
        ({"secret_key": "s"}, ValueError, "access_key"),
        ({"session_token": "t"}, ValueError, "session_token"),
        ({"access_key": "a", "secret_key": "s", "profile": "p"}, ValueError, "profile"),
        ({"access_key": "", "secret_key": "s"}, TypeError, "access_key"),
        ({"access_key": "a\n", "secret_key": "hush"}, ValueError, "access_key must be one line"),
        ({"access_key": "a", "secret_key": "hush\n"}, ValueError, "secret_key must be one line"),
        (
            {"access_key": "a", "secret_key": "s", "session_token": "hush\r\nX: y"},
            ValueError,
            "session_token must be one line",
        ),
        ({"credentials": "not callable"}, TypeError, "credentials"),
        ({"boto3_session": "default"}, TypeError, "boto3_session"),
        ({"pickle_secrets": "false"}, TypeError, "pickle_secrets"),
        ({"preset": "azure"}, ValueError, "preset"),
        ({"addressing_style": "sideways"}, ValueError, "addressing_style"),
        ({"read_timeout": 0}, ValueError, "read_timeout"),
        ({"connect_timeout": "1"}, ValueError, "connect_timeout"),
        ({"max_attempts": 0}, ValueError, "max_attempts"),
        ({"max_concurrency": 1.5}, ValueError, "max_concurrency"),
        ({"verify": 1.5}, TypeError, "verify"),
        ({"verify": ""}, ValueError, "verify"),
        ({"capabilities": {}}, TypeError, "capabilities"),
    ],
)
def test_invalid_field_raises_naming_the_argument_without_secrets(
    fields: dict[str, Any], error: type[Exception], words: str
) -> None:
    """The error never shows the value of a URL, which may hold a password."""
    with pytest.raises(error, match=words) as caught:
        s3.S3Config(**fields)
    assert "hush" not in str(caught.value)


def test_config_is_frozen_comparable_and_hashable() -> None:
    """replace() returns a new one."""
    one, two = (
        s3.S3Config(region="r", access_key="a", secret_key="s"),
        s3.S3Config(region="r", access_key="a", secret_key="s"),
    )
    assert one == two
    assert hash(one) == hash(two)
    changed = one.replace(region="q")
    assert (changed.region, one.region) == ("q", "r")
    with pytest.raises(AttributeError):
        one.region = "x"  # type: ignore[misc]


def test_replace_raises_for_an_unknown_field() -> None:
    """As any function does for an unknown keyword."""
    with pytest.raises(TypeError, match="reigon"):
        s3.S3Config().replace(reigon="eu")


def test_repr_and_pickle_contain_no_secrets() -> None:
    """Neither the secret key nor the token, also not those of a store."""
    config = s3.S3Config(access_key="ACCESSKEY01", secret_key="CANARY-secret", session_token="CANARY-token")
    assert "CANARY" not in repr(config)
    assert b"CANARY" not in pickle.dumps(config)
    assert b"CANARY" not in pickle.dumps(s3.connect(access_key="A", secret_key="CANARY-2"))


def test_pickle_secrets_includes_the_secrets_in_pickles() -> None:
    """The unpickled config is equal."""
    config = s3.S3Config(access_key="A", secret_key="S", session_token="T", pickle_secrets=True)
    assert pickle.loads(pickle.dumps(config)) == config


def test_copies_keep_the_secrets() -> None:
    """copy and deepcopy return the config itself."""
    config = s3.S3Config(access_key="A", secret_key="S")
    assert copy.deepcopy(config) is config
    assert copy.copy(config) is config


def test_pickle_omits_a_partial_with_secrets() -> None:
    """A partial would pickle its arguments."""
    config = s3.S3Config(credentials=partial(dict, access_key="A", secret_key="CANARY"))
    assert b"CANARY" not in pickle.dumps(config)
    assert repr(config) == "S3Config(credentials=partial)"


def current_keys() -> dict[str, str]:
    return {"access_key": "A", "secret_key": "CANARY"}


def test_pickle_contains_only_the_name_of_a_credentials_function(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not its code. Where the function does not exist, no other credentials are used."""
    config = s3.S3Config(credentials=current_keys)
    assert repr(config) == "S3Config(credentials=current_keys)"
    assert current_keys not in config.__reduce__()[1][0].values()
    assert pickle.loads(pickle.dumps(config)) == config
    pickled = pickle.dumps(s3.connect("http://127.0.0.1:9", credentials=current_keys, max_attempts=1))
    monkeypatch.delitem(globals(), "current_keys")
    elsewhere = pickle.loads(pickled)
    assert elsewhere.config.credentials is None
    with pytest.raises(s3.S3AuthenticationError):
        elsewhere.bucket("bucket")["k"].exists()


def test_pickle_omits_the_secrets_of_a_boto3_session() -> None:
    """The region is kept."""
    config = s3.S3Config(boto3_session=boto3.Session("AKIA1", "CANARY", region_name="eu-west-1"))
    back = pickle.loads(pickle.dumps(config))
    assert b"CANARY" not in pickle.dumps(config)
    assert back.region == "eu-west-1"


def test_replace_restores_keys_that_the_pickle_omitted() -> None:
    """As a worker process can do."""
    back = pickle.loads(pickle.dumps(s3.S3Config(access_key="A", secret_key="S", region="r")))
    assert back.replace(access_key="A", secret_key="S") == s3.S3Config(access_key="A", secret_key="S", region="r")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("127.0.0.1:9000", "http://127.0.0.1:9000"),
        ("localhost:9000", "http://localhost:9000"),
        ("localhost", "http://localhost"),
        ("minio:9000", "http://minio:9000"),
        ("[::1]:9000", "http://[::1]:9000"),
        ("10.0.0.7", "http://10.0.0.7"),
        ("10.0.0.7:443", "https://10.0.0.7:443"),
        ("s3.example.org", "https://s3.example.org"),
        ("s3.example.org:9000/", "https://s3.example.org:9000/"),
    ],
)
def test_a_host_without_a_scheme_is_refused_with_the_url_that_is_meant(given: str, meant: str) -> None:
    """For the public URL as well."""
    wanted: Any
    for name in ("endpoint_url", "public_url"):
        wanted = {name: given}
        with pytest.raises(
            ValueError, match=re.escape(f"{name} must look like 'https://host:port'; did you mean '{meant}'?")
        ):
            s3.S3Config(**wanted)
    assert s3.S3Config(endpoint_url=meant).endpoint_url == meant


@pytest.mark.parametrize("name", ["endpoint_url", "public_url"])
@pytest.mark.parametrize("character", ["\n", "\r", "\t", "\0", " ", "\x9b", "\u202e", "\ud800", "\\"])
def test_a_url_with_a_blank_a_control_character_or_a_backslash_is_refused(name: str, character: str) -> None:
    """urlsplit() drops some of them silently; the URL that is sent or shown would still contain them."""
    for url in (
        f"http://example.com{character}.org",
        f"http://example.com/{character}path",
        f"http://example.com{character}",
    ):
        with pytest.raises(ValueError, match=name) as caught:
            s3.S3Config(**{name: url})
        assert "example.com" not in str(caught.value)


@pytest.mark.parametrize(
    "given",
    [
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "AKIAIOSFODNN7EXAMPLE",
        "hush:hush@host",
        "ann:hush",
        "user:1@host.example",
    ],
)
def test_an_endpoint_that_may_be_a_secret_is_not_shown(given: str) -> None:
    """A key passed as the wrong argument, or a password before the host."""
    with pytest.raises(ValueError, match="endpoint_url must look like") as caught:
        s3.S3Config(endpoint_url=given)
    assert given not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "preset"),
    [
        (None, "aws"),
        ("https://s3.eu-central-1.amazonaws.com", "aws"),
        ("https://s3.cn-north-1.amazonaws.com.cn", "aws"),
        ("https://S3.us-east-1.amazonaws.com.:443", "aws"),
        ("https://s3.us-east-1.api.aws", "aws"),
        ("https://s3.eusc-de-east-1.amazonaws.eu", "aws"),
        ("https://s3.dualstack.eusc-de-east-1.amazonaws.eu", "aws"),
        ("https://s3-us-west-2.amazonaws.com", "aws"),
        ("https://s3-external-1.amazonaws.com", "aws"),
        ("https://bucket.vpce-1a2b3c4d-5e6f.s3.us-east-1.vpce.amazonaws.com", "aws"),
        ("https://minio.vpce-svc-1a2b3c4d.us-east-1.vpce.amazonaws.com", "other"),
        ("https://s3-store-1234567890.us-east-1.elb.amazonaws.com", "other"),
        ("https://ec2-203-0-113-7.compute-1.amazonaws.com:9000", "other"),
        ("https://abc123.execute-api.us-east-1.amazonaws.com", "other"),
        ("https://abc.r2.cloudflarestorage.com", "r2"),
        ("https://storage.googleapis.com", "gcs"),
        ("http://127.0.0.1:9000", "other"),
        ("https://amazonaws.com.evil.example", "other"),
    ],
)
def test_preset_is_decided_by_the_host_name(url: str | None, preset: str) -> None:
    """A host name that merely contains amazonaws.com is not AWS."""
    assert preset_for(url) == preset


def test_suffixes_are_those_of_botocore_s_partitions() -> None:
    """A partition that a later botocore adds has to be added here."""
    partitions = json.loads(Path(botocore.__file__).with_name("data").joinpath("partitions.json").read_text())
    outputs = [partition["outputs"] for partition in partitions["partitions"]]
    assert {output[name] for output in outputs for name in ("dnsSuffix", "dualStackDnsSuffix")} <= SUFFIXES
    assert [dns_suffix(output["implicitGlobalRegion"]) for output in outputs] == [
        output["dnsSuffix"] for output in outputs
    ]
    assert [partition_id(output["implicitGlobalRegion"]) for output in outputs] == [
        partition["id"] for partition in partitions["partitions"]
    ]


def _resolved_endpoints() -> set[str]:
    """The hosts that botocore makes of its rules, for a region of each partition and each kind of bucket name."""
    loader = botocore.session.Session().get_component("data_loader")
    rules = loader.load_service_model("s3", "endpoint-rule-set-1")
    provider = EndpointProvider(rules, loader.load_data("partitions"))
    regions = [
        "us-east-1",
        "us-west-2",
        "cn-north-1",
        "us-gov-west-1",
        "eusc-de-east-1",
        "us-iso-east-1",
        "us-isob-east-1",
    ]
    regions += ["eu-isoe-west-1", "us-isof-south-1", "ap-southeast-7"]
    hosts = set()
    for region, dual_stack, fips, accelerate in itertools.product(regions, (False, True), (False, True), (False, True)):
        partition = {"cn": "aws-cn", "eusc": "aws-eusc", "us-gov": "aws-us-gov"}.get(
            region.rpartition("-")[0].split("-")[0], "aws"
        )
        arn = f"arn:{partition}:s3:{region}:123456789012:accesspoint/name"
        outposts = f"arn:{partition}:s3-outposts:{region}:123456789012:outpost/op-01ac5d28a6a232904/accesspoint/name"
        multi_region = "arn:aws:s3::123456789012:accesspoint/mfzwi23gnjvgw.mrap"
        for bucket in (None, "name", "a.b", "name--use1-az4--x-s3", arn, outposts, multi_region):
            asked = {"Region": region, "UseFIPS": fips, "UseDualStack": dual_stack, "Accelerate": accelerate}
            asked |= {"ForcePathStyle": False, "DisableMultiRegionAccessPoints": False, "UseArnRegion": True}
            with contextlib.suppress(EndpointProviderError):  # not every combination exists
                found = provider.resolve_endpoint(**asked, **({} if bucket is None else {"Bucket": bucket}))
                hosts.add(str(urlsplit(found.url).hostname))
    return hosts


def test_every_endpoint_of_botocore_s_rules_is_aws() -> None:
    """Buckets, access points, outposts, multi-region access points, directory buckets; dual-stack, FIPS, accelerated."""
    hosts = _resolved_endpoints()
    assert len(hosts) > 100
    assert [host for host in sorted(hosts) if preset_for(f"https://{host}") != "aws"] == []


def test_presets_other_than_aws_assume_no_capabilities() -> None:
    """They only say what to avoid."""
    assert KINDS["aws"].capabilities is AWS
    for preset in KINDS.keys() - {"aws"}:
        assert KINDS[preset].capabilities.put_if_absent is None
        assert KINDS[preset].capabilities.checksums is False


def test_every_preset_has_a_kind_of_store() -> None:
    """A preset that is added needs an entry of ``KINDS``, and nothing else than a host name if it has one."""
    assert KINDS.keys() == {*PRESETS} - {"auto"}


def test_no_other_module_decides_by_the_name_of_a_preset() -> None:
    """What is known of a kind of store is a field of ``Kind``, so that a new preset is described in one place."""
    names = KINDS.keys() - {"aws", "other"}
    package = Path(s3.__file__).parent
    for path in package.rglob("*.py"):
        if path.relative_to(package).as_posix() != "_client/capabilities.py":
            texts = {
                node.value for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Constant)
            }
            assert not names & {text for text in texts if isinstance(text, str)}, path


def test_verify_accepts_a_path_and_repr_abbreviates_capabilities(tmp_path: Path) -> None:
    """The path is stored as text."""
    config = s3.S3Config(verify=tmp_path / "ca.pem", capabilities=s3.Capabilities())  # type: ignore[arg-type]
    assert config.verify == str(tmp_path / "ca.pem")
    assert repr(config).endswith("capabilities=Capabilities(…))")


def test_pickle_secrets_includes_the_keys_of_a_boto3_session() -> None:
    """In place of the session, which does not pickle."""
    session = boto3.Session("AK", "hush", "token", "eu-x-1")
    back = pickle.loads(pickle.dumps(s3.S3Config(boto3_session=session, pickle_secrets=True)))
    assert (back.access_key, back.secret_key, back.session_token, back.region) == ("AK", "hush", "token", "eu-x-1")
    assert back.boto3_session is None


def test_pickle_omits_a_lambda() -> None:
    """It cannot be found by name, and pickled by value it would contain its keys."""
    hush = {"access_key": "AK", "secret_key": "hush"}
    assert b"hush" not in pickle.dumps(s3.S3Config(credentials=lambda: hush))


@pytest.mark.parametrize(
    "expires_at", [None, "2036-01-01T00:00:00Z", datetime(2036, 1, 1), datetime(2036, 1, 1, tzinfo=timezone.utc)]
)
def test_credentials_callable_may_return_any_form_of_expires_at(expires_at: Any) -> None:
    """A datetime with or without a time zone, text, or None."""
    store = s3.connect("http://127.0.0.1:9", region="r", credentials=lambda: {
        "access_key": "AK", "secret_key": "hush", "expires_at": expires_at,
    })  # fmt: skip
    found = store.client._get_credentials().get_frozen_credentials()  # type: ignore[attr-defined]
    assert (found.access_key, found.secret_key, found.token) == ("AK", "hush", None)
