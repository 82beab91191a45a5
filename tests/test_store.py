"""S3Store and its connection: credentials, status, sharing, forks."""

from __future__ import annotations

import multiprocessing
import operator
import pickle
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import boto3
import pytest
from support.scripted_server import Answer, Asked, ScriptedServer, refusal
from support.servers import Server

import messageflux_s3 as s3
from messageflux_s3 import store as store_module
from messageflux_s3._client.core_sessions import new_core_session


def test_stores_with_equal_configs_share_a_client(server: Server) -> None:
    """Closing one does not close the client of the other."""
    one, two = server.connect(), server.connect()
    assert one.client is two.client
    one.close()
    assert two.ping()
    assert one.ping()


def test_clients_of_different_stores_share_the_model_of_s3(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Reading it takes a tenth of a second and 12 MB. With another ``AWS_DATA_PATH`` it may be another one."""

    def model_of(key: str) -> Any:
        client: Any = s3.connect("http://127.0.0.1:9", access_key=key, secret_key="s", region="us-east-1").client
        return client.meta.service_model._service_description

    first = model_of("one")
    assert model_of("two") is first
    assert s3.connect("http://127.0.0.1:9", credentials=dict).client.meta.service_model._service_description is first  # type: ignore[attr-defined]
    loader = new_core_session().get_component("data_loader")
    paths = loader.search_paths
    boto3.Session(botocore_session=new_core_session()).resource("s3", region_name="us-east-1")
    assert loader.search_paths == paths and len({*paths}) == len(paths)
    monkeypatch.setenv("AWS_DATA_PATH", str(tmp_path))
    assert model_of("three") is not first
    assert new_core_session().get_component("data_loader").search_paths[0] == str(tmp_path)


def test_connection_pool_size_is_max_concurrency(moto: Server) -> None:
    """max_pool_connections of botocore."""
    assert moto.connect(max_concurrency=77).client.meta.config.max_pool_connections == 77


def test_default_checksums_are_sent_to_aws_and_probed_stores_only(moto: Server) -> None:
    """Other stores may not support them."""
    careful = moto.connect().client.meta.config
    assert (careful.request_checksum_calculation, careful.response_checksum_validation) == (
        "when_required",
        "when_required",
    )
    assert moto.connect(preset="aws").client.meta.config.request_checksum_calculation == "when_supported"
    told = s3.S3Store(moto.connect().config.replace(capabilities=s3.Capabilities(checksums=True)))
    assert told.client.meta.config.request_checksum_calculation == "when_supported"


def test_checksum_policy_follows_an_endpoint_from_the_environment(
    moto: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """boto3 reads it from its own settings."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", moto.endpoint_url)
    store = s3.connect(access_key=moto.access_key, secret_key=moto.secret_key, region="us-east-1")
    assert store.client.meta.endpoint_url == moto.endpoint_url
    assert store.client.meta.config.request_checksum_calculation == "when_required"
    assert store.ping()


def test_endpoint_with_a_password_from_the_environment_is_rejected_without_showing_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """boto3 would show it in every error."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://user:hush@127.0.0.1:9")
    with pytest.raises(ValueError, match="must not hold a user name or password") as caught:
        s3.connect(access_key="A", secret_key="S", region="us-east-1").ping()
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("name", ["access_key", "session_token"])
def test_keys_with_a_line_end_from_a_callable_are_rejected_without_showing_them(name: str) -> None:
    """As in a token read from a file. http.client would show it."""
    keys = {"access_key": "A", "secret_key": "S", "session_token": "T"}
    store = s3.connect(
        "http://127.0.0.1:9", credentials=lambda: keys | {name: "hush\n"}, region="us-east-1", max_attempts=1
    )
    with pytest.raises(ValueError, match=f"{name} must be one line") as caught:
        store.ping()
    assert "hush" not in str(caught.value)


def test_ping_and_is_online(rclone: Server) -> None:
    """True for an answer; False for refused credentials and without an answer."""
    assert rclone.connect().ping() is True
    refused = rclone.connect(secret_key="wrong-secret-key-000")
    assert refused.is_online is False
    assert refused.ping() is False
    silent = s3.connect(
        "http://127.0.0.1:9", access_key="A" * 10, secret_key="S" * 10, max_attempts=1, connect_timeout=1
    )
    assert silent.ping() is False
    assert silent.is_online is False
    store = rclone.connect()
    with pytest.raises(s3.S3NoSuchBucket):
        store.bucket("not-there-at-all").get_object("k")
    assert store.is_online is True


def test_errors_for_wrong_credentials_and_unreachable_endpoints(rclone: Server) -> None:
    """S3AuthenticationError and S3ConnectionError."""
    with pytest.raises(s3.S3AuthenticationError, match=r"SignatureDoesNotMatch|InvalidAccessKeyId|secret"):
        list(rclone.connect(secret_key="wrong-secret-key-000").buckets())
    with pytest.raises(s3.S3ConnectionError, match="no server answers"):
        list(s3.connect("http://127.0.0.1:9", access_key="A" * 10, secret_key="S" * 10, max_attempts=1).buckets())


def test_missing_credentials_raise_authentication_error(moto: Server) -> None:
    """Also a profile that does not exist."""
    with pytest.raises(s3.S3AuthenticationError, match="access_key"):
        list(s3.connect(moto.endpoint_url).buckets())
    with pytest.raises(s3.S3AuthenticationError, match="profile"):
        list(s3.connect(moto.endpoint_url, profile="no-such-profile").buckets())


def test_credentials_callable_is_called_at_first_use_before_expiry_and_on_reload(rclone: Server) -> None:
    """Not by connect()."""
    asked: list[int] = []
    lifetime = timedelta(hours=1)

    def credentials() -> dict[str, object]:
        asked.append(1)
        return {
            "access_key": rclone.access_key,
            "secret_key": rclone.secret_key,
            "expires_at": datetime.now(timezone.utc) + lifetime,
        }

    store = s3.connect(rclone.endpoint_url, credentials=credentials)
    assert asked == []
    assert store.ping()
    assert store.ping()
    assert len(asked) == 1
    lifetime = timedelta(seconds=30)
    store.reload_credentials()
    assert store.ping()
    assert store.ping()
    assert len(asked) >= 3


def test_credentials_callable_without_keys_raises_authentication_error(moto: Server) -> None:
    """It names what is missing."""
    with pytest.raises(s3.S3AuthenticationError, match="access_key"):
        list(s3.connect(moto.endpoint_url, credentials=lambda: {"key": "x"}).buckets())


def test_credentials_from_a_boto3_session_or_a_profile(
    rclone: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the region of the session."""
    session = boto3.Session(rclone.access_key, rclone.secret_key, region_name="eu-west-3")
    store = s3.connect(rclone.endpoint_url, boto3_session=session)
    assert store.ping()
    assert store.client.meta.region_name == "eu-west-3"
    path = tmp_path / "credentials"
    path.write_text(f"[robot]\naws_access_key_id = {rclone.access_key}\naws_secret_access_key = {rclone.secret_key}\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    assert s3.connect(rclone.endpoint_url, profile="robot").ping()


def test_from_resource_uses_the_client_of_the_resource(moto: Server) -> None:
    """Not a new client with the same settings."""
    resource = boto3.resource(
        "s3",
        endpoint_url=moto.endpoint_url,
        aws_access_key_id=moto.access_key,
        aws_secret_access_key=moto.secret_key,
        region_name="us-east-1",
    )
    store = s3.S3Store.from_resource(resource)
    assert store.client is resource.meta.client
    assert store.resource is resource
    bucket = s3.S3Bucket.create_bucket(resource, "users-own")
    assert bucket.s3_resource is resource
    assert bucket.store.client is resource.meta.client
    bucket.put_object("k", "text")
    assert resource.Object("users-own", "k").get()["Body"].read() == b"text"
    with pytest.raises(s3.S3Unsupported, match="your boto3 resource"):
        store.reload_credentials()
    with pytest.raises(TypeError, match="s3_resource"):
        s3.S3Bucket("users-own", "not a resource")  # type: ignore[arg-type]


def test_stores_from_one_resource_register_their_handlers_once(moto: Server) -> None:
    """Closing such a store does not close the client, and a next store adds no further handlers."""
    resource = boto3.resource(
        "s3",
        endpoint_url=moto.endpoint_url,
        aws_access_key_id=moto.access_key,
        aws_secret_access_key=moto.secret_key,
        region_name="us-east-1",
    )

    def listening() -> int:
        return len(resource.meta.client.meta.events._emitter._handlers.prefix_search("before-send.s3.ListBuckets"))

    counts = []
    for _ in range(3):
        with s3.S3Store.from_resource(resource) as store:
            assert store.ping()
            counts.append(listening())
    assert counts == [counts[0]] * 3


def test_pickled_store_never_uses_credentials_of_another_account(moto: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its secrets it accepts credentials with the same access key only."""
    data = pickle.dumps(
        moto.connect(max_concurrency=3)
    )  # a client of its own: another test's may have found credentials
    assert moto.secret_key.encode() not in data
    store = pickle.loads(data)
    with pytest.raises(s3.S3AuthenticationError, match="pickle_secrets"):
        list(store.buckets())
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "SOMEBODYELSE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    with pytest.raises(s3.S3AuthenticationError):
        list(pickle.loads(data).buckets())
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", moto.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", moto.secret_key)
    assert isinstance(list(pickle.loads(data).buckets()), list)


def test_store_pickled_with_pickle_secrets_works(moto: Server) -> None:
    store = pickle.loads(pickle.dumps(moto.connect(pickle_secrets=True)))
    assert store.ping()


def _in_child(bucket: s3.S3Bucket, queue: multiprocessing.Queue[object]) -> None:
    queue.put((bucket.get_object("k").body, bucket.find().count()))


def test_forked_child_makes_its_own_client(bucket: s3.S3Bucket) -> None:
    """The parent's client stays usable."""
    bucket.put_object("k", b"from the parent")
    before = bucket.store.client
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    children = [context.Process(target=_in_child, args=(bucket, queue)) for _ in range(3)]
    for child in children:
        child.start()
    assert [queue.get(timeout=30) for _ in children] == [(b"from the parent", 1)] * 3
    for child in children:
        child.join(30)
        assert child.exitcode == 0
    assert bucket.store.client is before
    assert bucket.get_object("k").body == b"from the parent"


def test_object_by_uri(moto_bucket: s3.S3Bucket) -> None:
    """The key is not unquoted."""
    store = moto_bucket.store
    moto_bucket.put_object("a b/%20", "x")
    assert store.object(f"s3://{moto_bucket.name}/a b/%20").body == b"x"
    for wrong in ("s3://bucket", "http://bucket/key", "s3://bucket/", "s3://B/key", "bucket/key"):
        with pytest.raises(s3.S3InvalidName):
            store.object(wrong)


def test_initialize_sets_the_default_store(moto: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before, default_store() raises."""
    monkeypatch.setattr(store_module, "_default", None)
    assert not s3.is_initialized()
    with pytest.raises(s3.S3NotInitializedError, match="initialize"):
        s3.default_store()
    store = s3.initialize(moto.connect().config)
    assert s3.default_store() is store
    assert s3.is_initialized()


def test_store_is_a_context_manager_and_opens_again_after_close(moto: Server) -> None:
    with moto.connect(read_timeout=7) as store:
        assert store.ping()
    assert store.ping()


def test_closing_a_store_keeps_the_client_that_an_equal_store_uses(moto: Server) -> None:
    """Whichever of the two was made first; the last one closes it."""
    first, second = moto.connect(read_timeout=13), moto.connect(read_timeout=13)
    client = first.client
    second.close()
    assert first.client is client
    third = moto.connect(read_timeout=13)
    first.close()
    assert third.client is client
    third.close()
    assert third.client is not client
    third.close()


def test_reprs_contain_no_secret(moto: Server) -> None:
    """Of the store, its config, or a bucket."""
    store = moto.connect(secret_key="CANARY-canary-canary")
    assert "CANARY" not in repr(store) + repr(store.config) + repr(store.bucket("abc")) + str(vars(store))


def test_verify_false_logs_a_warning(moto: Server, caplog: pytest.LogCaptureFixture) -> None:
    """Also for a boto3 resource with verify=False."""
    s3.connect(moto.endpoint_url, access_key="A" * 10, secret_key="S" * 10, verify=False).ping()
    assert "verification is off" in caplog.text
    caplog.clear()
    resource = boto3.Session("A" * 10, "S" * 10, region_name="us-east-1").resource(
        "s3", endpoint_url=moto.endpoint_url, verify=False
    )
    s3.S3Store.from_resource(resource).ping()
    assert "verification is off" in caplog.text
    caplog.clear()
    moto.connect(max_concurrency=3).ping()
    assert "verification" not in caplog.text


def test_store_raises_type_error_for_an_endpoint_in_place_of_a_config(moto: Server) -> None:
    """The message names connect()."""
    with pytest.raises(TypeError, match="config must be an S3Config, not str; connect"):
        s3.S3Store(moto.endpoint_url)  # type: ignore[arg-type]


@pytest.mark.parametrize(("status", "code"), [(403, "AccessDenied"), (500, "InternalError"), (501, "NotImplemented")])
def test_ping_is_true_for_every_answer_but_refused_credentials(
    scripted_server: ScriptedServer, status: int, code: str
) -> None:
    scripted_server.answer = lambda asked: refusal(status, code)
    assert scripted_server.connect().ping() is True
    scripted_server.answer = lambda asked: refusal(403, "InvalidAccessKeyId")
    assert scripted_server.connect().ping() is False


@pytest.mark.parametrize(("status", "written"), [(403, True), (500, False), (501, False)])
def test_write_with_tags_follows_the_tag_probe(scripted_server: ScriptedServer, status: int, written: bool) -> None:
    """403 for reading tags: the store has them. 500: unknown, and probed again. 501: no tags. The scratch object is deleted."""

    def answer(asked: Asked) -> Answer:
        if asked.method == "GET":
            return refusal(status, {403: "AccessDenied", 500: "InternalError", 501: "NotImplemented"}[status])
        return (204, {}, b"") if asked.method == "DELETE" else (200, {"ETag": '"e"'}, b"")

    scripted_server.answer = answer
    bucket = scripted_server.bucket()
    for _ in range(2):
        if written:
            bucket.put_object("k", b"x", tags={"a": "1"})
        else:
            with pytest.raises(s3.S3Error):
                bucket.put_object("k", b"x", tags={"a": "1"})
    assert scripted_server.whats.count("PUT k") == (2 if written else 0)
    probes = [what for what in scripted_server.whats if what.startswith("PUT mfs3-probe-")]
    assert [what.replace("PUT", "DELETE") for what in probes] == [
        what for what in scripted_server.whats if what.startswith("DELETE")
    ]
    assert len(probes) == (2 if status == 500 else 1)


def test_pickled_store_from_a_resource_has_no_secrets(moto: Server) -> None:
    """It accepts credentials with the same access key only."""
    resource = boto3.resource(
        "s3",
        endpoint_url=moto.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="AK",
        aws_secret_access_key="hush",
    )
    data = pickle.dumps(s3.S3Store.from_resource(resource))
    assert b"hush" not in data
    back = pickle.loads(data)
    assert back.config.access_key == "AK"
    with pytest.raises(s3.S3AuthenticationError, match="pickled without its secrets"):
        list(back.buckets())


def test_checksum_policy_from_the_environment_is_kept(moto: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for a store that is not AWS."""
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_supported")
    assert moto.connect(max_attempts=7).client.meta.config.request_checksum_calculation == "when_supported"


def test_a_store_gives_a_bucket_by_subscript() -> None:
    """As a bucket gives an object; a store is not iterable, since Python would ask for store[0], store[1] …"""
    store = s3.connect("http://127.0.0.1:9", access_key="a", secret_key="b")
    assert store["invoices"] == store.bucket("invoices")
    assert store["invoices"]["2026/a.json"] == store.object("s3://invoices/2026/a.json")
    awaited = s3.AsyncS3Store(store)
    assert awaited["invoices"]["2026/a.json"] == awaited.object("s3://invoices/2026/a.json")
    for opened in (store, awaited):
        with pytest.raises(s3.S3InvalidName):
            opened[""]
        with pytest.raises(TypeError, match="bucket_name must be text, not int"):
            opened[0]  # type: ignore[index]
        with pytest.raises(TypeError, match="not iterable"):
            iter(opened)  # type: ignore[call-overload]
        with pytest.raises(TypeError):
            operator.contains(opened, "invoices")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="not iterable"):  # not "key must be text, not int", of bucket[0]
        operator.contains(awaited["invoices"], "2026/a.json")  # type: ignore[arg-type]
