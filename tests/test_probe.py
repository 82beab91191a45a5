"""probe(): the actual behaviour of each server, complete cleanup, and use of the result."""

from __future__ import annotations

import base64
import dataclasses
import logging
import ssl
import subprocess
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import boto3
import pytest
from support.scripted_server import Answer, Asked, RawServer, ScriptedServer, content_of, document, refusal
from support.servers import Server
from support.stateful_server import run_stateful_server

import messageflux_s3 as s3
from messageflux_s3._client.addresses import BucketAddress
from messageflux_s3._objects import condition_probe, versioned
from messageflux_s3._objects.scratch import Scratch, scratch_objects
from messageflux_s3._probe import probe as probe_module
from messageflux_s3._probe.product import product_of

TABLE = Path(__file__).parents[1] / "docs" / "explanation" / "servers.md"


def documented(server: str) -> dict[str, str]:
    """A server's column in the table of the docs, without conditions, whose races may need several attempts."""
    rows = [
        [cell.strip(" `") for cell in line.split("|")[1:-1]]
        for line in TABLE.read_text("utf-8").splitlines()
        if line.startswith("|")
    ]
    column = next(number for number, title in enumerate(rows[0]) if title.startswith(server))
    return {row[0]: row[column] for row in rows[2:] if row[0] in UNCONDITIONAL}


UNCONDITIONAL = {
    field.name
    for field in fields(s3.Capabilities)
    if field.compare and not str(field.type).startswith("Condition")  # not compared: about the probe, not the store
}


def said(found: s3.Capabilities) -> dict[str, str]:
    """What a probe found, as it prints."""
    pairs = (line.split(maxsplit=1) for line in str(found).splitlines())
    return {name: value for name, value in pairs if name in UNCONDITIONAL}


def test_probe_finds_the_capabilities_of_moto(moto: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """With at most 60 requests besides the races, and 120 for a race."""
    store = moto.connect(read_timeout=63)  # a separate connection, for which nothing is known yet
    races, race = [], condition_probe.race

    def counting_race(bucket: BucketAddress, ability: Any) -> Any:
        before = seen.attempts
        try:
            return race(bucket, ability)
        finally:
            races.append(seen.attempts - before)

    monkeypatch.setattr(condition_probe, "race", counting_race)
    with store.observe() as seen:
        found = store.probe()
    assert found.reasons == ()
    assert seen.attempts - sum(races) <= 60
    assert max(races) <= 120
    assert (found.put_if_absent, found.put_if_match, found.put_if_absent_versioned) == ("honoured",) * 3
    assert (found.versioning, found.policy, found.object_tagging, found.post, found.ranges) == (True,) * 5
    assert found.bulk_delete == "checksum"
    assert found.addressing_style == "path"
    assert said(found) == documented("moto")


def test_probe_finds_silently_unsupported_features_of_rclone(rclone: Server) -> None:
    """Every feature that rclone silently ignores is detected, and the store is unchanged."""
    assert rclone.root is not None
    before = sorted(rclone.root.rglob("*"))
    found = rclone.connect().probe()
    assert {found.put_if_absent, found.put_if_match, found.multipart_if_absent, found.delete_if_match} == {"ignored"}
    assert {
        found.policy,
        found.lifecycle,
        found.object_tagging,
        found.versioning,
        found.cors,
        found.multipart_copy,
    } == {False}
    assert (found.list_v2, found.ranges) == (True, True)
    assert sorted(rclone.root.rglob("*")) == before
    assert said(found) == documented("rclone")


def test_probe_leaves_no_bucket_and_no_object(server: Server) -> None:
    """Neither a bucket nor an object, also in a bucket that was named."""
    store = server.connect()
    client = server.client()
    before = {found["Name"] for found in client.list_buckets()["Buckets"]}
    bucket = store.create_bucket("named-for-the-probe")
    found = store.probe(bucket.name)
    assert found.ranges is True
    assert found.lifecycle is None
    assert bucket.find().count() == 0
    assert "Uploads" not in client.list_multipart_uploads(Bucket=bucket.name) if server.name == "moto" else True
    bucket.delete_bucket()
    store.probe()
    assert {found["Name"] for found in client.list_buckets()["Buckets"]} == before


def test_a_failed_probe_deletes_its_scratch_bucket(moto: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """After any failure the scratch bucket is deleted."""
    from messageflux_s3._probe import probe as probe_module

    def broken(*_: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(probe_module, "_takes_posts", broken)
    client = moto.client()
    before = {found["Name"] for found in client.list_buckets()["Buckets"]}
    with pytest.raises(KeyboardInterrupt):
        moto.connect().probe()
    assert {found["Name"] for found in client.list_buckets()["Buckets"]} == before


def test_configured_capabilities_replace_probes(moto: Server) -> None:
    """Capabilities in the configuration are used: no probe if honoured, S3Unsupported if ignored."""
    config = moto.connect().config
    believing = s3.S3Store(
        config.replace(capabilities=s3.Capabilities(put_if_absent="honoured", put_if_absent_versioned="honoured"))
    )
    bucket = believing.create_bucket("relies-on-what-it-knows")
    assert bucket.put_object("k", "x", if_absent=True).size == 1
    doubting = s3.S3Store(config.replace(capabilities=s3.Capabilities(put_if_absent="sequential")))
    with pytest.raises(s3.S3Unsupported):
        doubting.bucket(bucket.name).put_object("k2", "x", if_absent=True)
    assert not bucket.object("k2").exists()
    bucket.delete_bucket(force=True)


def test_probe_of_an_unreachable_store_raises() -> None:
    """An unreachable store raises; it is not reported as unsupporting."""
    store = s3.connect("http://127.0.0.1:9", access_key="A" * 10, secret_key="S" * 10, max_attempts=1)
    with pytest.raises(s3.S3ConnectionError):
        store.probe()


def test_capabilities_print_every_field() -> None:
    """One line for each capability; "not asked" if it was not tested, and why if it could not be."""
    found = s3.Capabilities(versioning=True, policy=False, put_if_absent="ignored", reasons=(("cors", "S3Error:\nno"),))
    for text in (str(found), found._repr_html_()):
        assert "not asked" in text
        assert "not answered: S3Error:\\nno" in text
    assert len(str(found).splitlines()) == len(fields(s3.Capabilities)) - 1  # the reasons stand beside the capabilities
    assert "versioning                yes" in str(found)
    known = s3.Capabilities(server="Ceph", probed_at=datetime(2026, 11, 21, 8, tzinfo=timezone.utc))
    assert "server                    Ceph" in str(known) and "2026-11-21 08:00:00" in str(known)


def test_reasons_do_not_distinguish_configurations() -> None:
    """They are about one probe: a configuration with other reasons, or of another time, shares its client."""
    moment = datetime(2026, 11, 21, tzinfo=timezone.utc)
    first = s3.Capabilities(cors=True, reasons=(("post", "a"),), server="Ceph", probed_at=moment)
    second = s3.Capabilities(cors=True)
    assert (first, hash(first)) == (second, hash(second))


def test_probing_a_given_bucket_keeps_its_configuration_and_versions(moto: Server, moto_bucket: s3.S3Bucket) -> None:
    """In a versioned bucket the answers are about versioned buckets, and no scratch version stays behind."""
    moto_bucket.versioning.enable()
    moto_bucket.put_object("mine", "x")
    found = moto_bucket.store.probe(moto_bucket.name)
    assert (found.put_if_absent, found.put_if_absent_versioned) == (None, "honoured")
    assert found.lifecycle is None
    listed = moto.client().list_object_versions(Bucket=moto_bucket.name)
    assert [one["Key"] for one in [*listed["Versions"], *listed.get("DeleteMarkers", ())]] == ["mine"]


def test_a_probed_store_is_found_the_same_by_another_probe(rclone: Server) -> None:
    """boto3 then asks for checksums, and rclone sends the whole object's beside a range: ranges looked unsupported."""
    found = rclone.connect().probe()
    again = s3.S3Store(rclone.connect().config.replace(capabilities=found)).probe()
    assert found.ranges is True
    assert dataclasses.replace(again, probed_at=found.probed_at) == found


def test_probe_uses_the_credentials_of_a_given_boto3_resource(rclone: Server) -> None:
    """rclone refuses everybody else."""
    session = boto3.Session(rclone.access_key, rclone.secret_key, region_name="us-east-1")
    found = s3.S3Store.from_resource(session.resource("s3", endpoint_url=rclone.endpoint_url)).probe()
    assert (found.checksums, found.list_v2) == (True, True)


# -- the form is sent as everything else is ------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that no client trusts by default, and its key."""
    folder = tmp_path_factory.mktemp("certificate")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


@pytest.fixture
def private(certificate: tuple[Path, Path]) -> Iterator[tuple[str, Path]]:
    """A server with that certificate, and the certificate."""
    cert, key = certificate
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    server = RawServer(lambda head, body: b"HTTP/1.1 204 No Content\r\n\r\n", tls=context)
    yield server.url, cert
    server.close()


def test_a_form_is_posted_by_the_tls_settings_of_the_store(private: tuple[str, Path]) -> None:
    """A private certificate is trusted where the store trusts it; elsewhere nothing is sent."""
    url, cert = private
    keys = {"access_key": "ACCESSKEY01", "secret_key": "SECRETKEY0123456", "region": "us-east-1"}
    assert s3.connect(url, verify=str(cert), **keys)._connection.send_form(url, "text/plain", b"x") == 204
    with pytest.raises(s3.S3ConnectionError):
        s3.connect(url, max_attempts=1, **keys)._connection.send_form(url, "text/plain", b"x")


# -- answers that no test server gives ------------------------------------------------------------------------------------------------


def test_probe_without_permission_to_create_buckets_asks_for_a_bucket_name(scripted_server: ScriptedServer) -> None:
    """It was asked for where the client's region is."""
    scripted_server.answer = lambda asked: refusal(403, "AccessDenied")
    with pytest.raises(
        s3.S3AccessDenied, match=r"Name a bucket for the scratch objects instead: probe\(bucket_name=…\)"
    ):
        scripted_server.connect(region="eu-west-1").probe()
    [asked] = scripted_server.asked
    assert b"<LocationConstraint>eu-west-1</LocationConstraint>" in asked.body


def scratch_in(connection: Any) -> Scratch:
    """Scratch objects in a bucket that is known to have no versioning: no request."""
    connection.facts["versioned:bkt"] = (False, time.monotonic())
    return Scratch(BucketAddress(connection, "bkt"))


def connected_to(server: ScriptedServer, endpoint_url: str = "", **settings: Any) -> Any:
    keys = {"access_key": "ACCESSKEY01", "secret_key": "SECRETKEY0123456", "region": "us-east-1", "max_attempts": 1}
    return s3.connect(endpoint_url or server.endpoint_url, **{**keys, **settings})._connection


def test_scratch_objects_that_cannot_be_deleted_are_logged(
    scripted_server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The probe's own result, or its own error, is what the user gets."""
    scripted_server.answer = lambda asked: refusal(403, "AccessDenied")
    connection = scripted_server.connect()._connection
    prefix = scratch_in(connection).prefix.split("/")[0]
    with caplog.at_level(logging.WARNING, "messageflux_s3"):
        with scratch_objects(BucketAddress(connection, "bkt")) as scratch:
            scratch.new_key()
        probe_module._remove(BucketAddress(connection, "bkt"))
    assert caplog.messages[0] == f"scratch objects may be left at s3://bkt/{scratch.prefix}"
    assert scratch.prefix.startswith(f"{prefix}/")
    assert "the scratch bucket bkt could not be deleted" in caplog.messages[1]


def test_bulk_delete_counts_as_supported_only_if_the_objects_are_deleted(scripted_server: ScriptedServer) -> None:
    """ "200 OK", with the objects still there, is no bulk delete, with neither checksum."""
    scratch = scratch_in(scripted_server.connect()._connection)
    keys = [scratch.key("list/a"), scratch.key("list/b")]

    def answer(asked: Asked) -> Answer:
        if asked.method == "POST":
            return document("DeleteResult")
        return document("ListBucketResult", "".join(f"<Contents><Key>{key}</Key></Contents>" for key in keys))

    scripted_server.answer = answer
    assert probe_module._bulk_delete(scratch, keys) == "single"
    asked = [asked.headers for asked in scripted_server.asked if asked.method == "POST"]
    assert ["content-md5" in headers for headers in asked] == [False, True]


def test_an_endless_or_repeating_listing_counts_as_unsupported(scripted_server: ScriptedServer) -> None:
    """One that always has another page."""
    scripted_server.answer = lambda asked: document(
        "ListBucketResult", "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"
    )
    assert probe_module._lists(scratch_in(scripted_server.connect()._connection), ["a", "b"]) is False
    assert len(scripted_server.asked) == 3


def test_a_connection_closed_on_a_form_counts_as_unsupported(scripted_server: ScriptedServer) -> None:
    """Only ``post`` is no; everything else is detected."""
    scripted_server.answer = lambda asked: None
    assert probe_module._takes_posts(scratch_in(scripted_server.connect()._connection)) is False


def test_a_refused_conditional_race_is_recorded_as_refused(
    scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not an error of the probe."""

    def unsupported(*_: object) -> str:
        raise s3.S3Unsupported("no")

    monkeypatch.setattr(condition_probe, "race", unsupported)
    questions = probe_module._Probe(scratch_in(scripted_server.connect()._connection))
    questions._race("put_if_absent")
    assert questions.found.put_if_absent == "refused"


def test_virtual_hosted_style_is_tested_by_the_content_of_the_response(scripted_server: ScriptedServer) -> None:
    """A store that supports virtual-hosted addressing returns the object; others return something else, or nothing."""
    port = scripted_server.server_port
    keys = {"access_key": "ACCESSKEY01", "secret_key": "SECRETKEY0123456", "region": "us-east-1"}
    scratch = scratch_in(s3.connect(f"http://localhost:{port}", **keys)._connection)
    # The names below it need not lead anywhere on this machine; what is asked there is what counts.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe_module, "Connection", lambda config: scratch.connection)
        for body, style in ((probe_module._BODY, "virtual"), (b"another", "path")):
            scripted_server.answer = lambda asked, body=body: (200, {"ETag": '"e"'}, body)
            assert probe_module._addressing_style(scratch, "k") == style
        scripted_server.answer = lambda asked: refusal(404, "NoSuchKey")
        assert probe_module._addressing_style(scratch, "k") == "path"
    assert probe_module._addressing_style(scratch_in(s3.connect(**keys)._connection), "k") == "virtual"


def test_virtual_hosted_style_is_tested_with_the_credentials_of_a_given_boto3_resource(
    scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Credentials of the environment may belong to another account."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ENVIRONMENT1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    connection = probe_module.Connection
    # Names below localhost need not lead to this machine: the request is sent by path style.
    monkeypatch.setattr(probe_module, "Connection", lambda config: connection(config.replace(addressing_style="path")))
    scripted_server.answer = lambda asked: (200, {"ETag": '"e"'}, probe_module._BODY)
    resource = boto3.resource(
        "s3",
        endpoint_url=f"http://localhost:{scripted_server.server_port}",
        region_name="us-east-1",
        aws_access_key_id="RESOURCE0001",
        aws_secret_access_key="secret",
    )
    scratch = scratch_in(s3.S3Store.from_resource(resource)._connection)
    assert probe_module._addressing_style(scratch, "k") == "virtual"
    [asked] = scripted_server.asked
    assert "Credential=RESOURCE0001/" in asked.headers["authorization"]


def refusing_other_trailers(asked: Asked) -> Answer:
    if "x-amz-trailer" not in asked.headers:
        return None
    size, _, rest = asked.body.partition(b"\r\n")
    checksum = base64.b64encode(zlib.crc32(rest[: int(size, 16)]).to_bytes(4, "big"))
    return None if rest.endswith(b"x-amz-checksum-crc32:" + checksum + b"\r\n\r\n") else refusal(400, "BadDigest")


@pytest.mark.parametrize("compares", [True, False])
@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_checksums_are_compared_only_by_a_store_that_refuses_others(
    compares: bool, tls: bool, certificate: tuple[Path, Path]
) -> None:
    """With a wrong checksum, and with a byte changed behind a right one: over TLS that is a trailer."""
    with run_stateful_server() as server:
        server.state.checks = compares
        server.state.before = refusing_other_trailers if compares else None
        settings: dict[str, Any] = {}
        if tls:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(*certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
            settings = {"endpoint_url": f"https://127.0.0.1:{server.server_port}", "verify": str(certificate[0])}
        scratch = scratch_in(connected_to(server, **settings))
        assert probe_module._compares_checksums(scratch) is compares
        assert server.state.uploads == {}
        is_stored = {key: stored.body for key, stored in server.state.objects.items()}
        assert is_stored == ({} if compares else {scratch.key("changed"): probe_module._BODY})


def test_a_question_without_an_answer_is_none_and_the_others_stand() -> None:
    """The connection breaks at one request, and another one is denied: both are named with the reason."""

    def before(asked: Asked) -> Answer:
        if "x-amz-tagging" in asked.headers:
            return b"HTTP/1.1 2"
        return refusal(403, "AccessDenied") if "x-amz-copy-source" in asked.headers else None

    with run_stateful_server(conditions="ignored") as server:
        server.state.before = before
        found = server.connect().probe("bkt")
        assert server.state.objects == {}
    assert (found.tags_on_put, found.copy_if_absent, found.multipart_copy) == (None, None, None)
    assert (found.ranges, found.list_v2, found.put_if_match) == (True, True, "ignored")
    reasons = dict(found.reasons)
    assert sorted(reasons) == ["copy_if_absent", "multipart_copy", "tags_on_put"]
    assert reasons["tags_on_put"].startswith("S3ConnectionError: ")
    assert "tags_on_put               not answered: S3ConnectionError: PutObject on s3://bkt/" in str(found)


def test_a_store_that_ends_during_the_probe_ends_the_probe() -> None:
    """It does not wait for a time-out at each question."""
    with run_stateful_server(conditions="ignored") as server:
        server.state.before = lambda asked: b"HTTP/1.1 2" if len(server.asked) > 6 else None
        with pytest.raises(s3.S3ConnectionError):
            server.connect().probe("bkt")
        assert len(server.asked) < 20


def test_a_store_that_lists_by_version_1_only_is_probed_by_version_1() -> None:
    """The other questions that need a listing are answered with it."""

    def before(asked: Asked) -> Answer:
        if "list-type" in asked.query:
            return refusal(501, "NotImplemented")
        if asked.method == "GET" and not asked.key and "prefix" in asked.query:
            query = {**asked.query, "start-after": asked.query.get("marker", "")}
            return server.state._list(replace(asked, query=query), "ListBucketResult", "Contents", "")
        return None

    with run_stateful_server(conditions="ignored") as server:
        server.state.before = before
        found = server.connect().probe("bkt")
        assert server.state.objects == {}
    assert (found.list_v2, found.bulk_delete, found.start_after_beyond_ascii) == (False, "checksum", True)


def test_a_store_that_refuses_keys_beyond_ascii_keeps_no_scratch_bucket(
    moto: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Versioning is recognized by a key in ASCII, so that the versions in the scratch bucket are deleted."""
    put = Scratch.put

    def ascii_only(scratch: Scratch, key: str, body: bytes, **parameters: str) -> str:
        if not key.isascii():
            raise s3.S3Error("KeyNotAscii", status=400, code="InvalidArgument")
        return put(scratch, key, body, **parameters)

    monkeypatch.setattr(Scratch, "put", ascii_only)
    monkeypatch.setattr(probe_module._Probe, "_race", lambda *_: None)
    client = moto.client()
    before = {found["Name"] for found in client.list_buckets()["Buckets"]}
    assert moto.connect().probe().versioning is True
    assert {found["Name"] for found in client.list_buckets()["Buckets"]} == before


def test_a_scratch_bucket_with_versions_is_deleted_although_versioning_was_not_recognized(
    moto: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The question enables versioning before it is answered with no."""
    keeps_versions = probe_module._keeps_versions
    monkeypatch.setattr(probe_module, "_keeps_versions", lambda *given: not keeps_versions(*given))
    monkeypatch.setattr(probe_module._Probe, "_race", lambda *_: None)
    client = moto.client()
    before = {found["Name"] for found in client.list_buckets()["Buckets"]}
    assert moto.connect().probe().versioning is False
    assert {found["Name"] for found in client.list_buckets()["Buckets"]} == before


class _DropsSentTags:
    """A store with ?tagging that drops the tags that are sent with an object, as s3rver does."""

    def __init__(self) -> None:
        self.tags: dict[str, bytes] = {}

    def __call__(self, asked: Asked) -> Answer:
        if "tagging" not in asked.query:
            return None
        if asked.method == "PUT":
            self.tags[asked.key] = asked.body
            return 200, {}, b""
        return 200, {"Content-Type": "application/xml"}, self.tags.get(asked.key, b"<Tagging><TagSet/></Tagging>")


def test_tags_sent_with_an_object_are_refused_with_and_without_a_probe() -> None:
    """That objects take tags does not show that a PUT keeps them."""
    with run_stateful_server(conditions="ignored") as server:
        server.state.before = _DropsSentTags()
        store = server.connect()
        found = store.probe("bkt")
        assert (found.object_tagging, found.tags_on_put) == (True, False)
        for known in (None, found, s3.Capabilities(object_tagging=True)):
            bucket = s3.S3Store(store.config.replace(capabilities=known)).bucket("bkt")
            with pytest.raises(s3.S3Unsupported, match="does not keep tags"):
                bucket.put_object("k", b"", tags={"a": "b"})
        assert server.state.objects == {}


def test_an_interrupted_race_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The writers at the barrier do not write after the scratch objects are deleted."""

    def interrupted(self: Any, function: Any, attempts: Any) -> Any:
        started = [self.submit(function, attempt) for attempt in attempts[:-1]]
        assert started
        raise KeyboardInterrupt

    with run_stateful_server() as server:
        monkeypatch.setattr(ThreadPoolExecutor, "map", interrupted)
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            server.connect().probe("bkt")
        assert time.monotonic() - began < 30
        assert (server.state.objects, server.state.uploads) == ({}, {})


def test_a_scratch_bucket_with_more_than_a_page_of_objects_is_deleted(rclone: Server) -> None:
    """1,000 objects stand on one page of a listing."""
    store = rclone.connect()
    bucket = store.create_bucket("more-than-a-page")
    bucket.put_objects((f"k{number}", b"") for number in range(1001))
    probe_module._remove(bucket._address)
    assert not bucket.exists()


def test_a_store_without_versioning_is_recognized(scripted_server: ScriptedServer) -> None:
    """It says so by an error; or by a listing."""
    connection = scripted_server.connect()._connection
    for answer in (refusal(501, "NotImplemented"), document("ListBucketResult")):
        scripted_server.answer = lambda asked, answer=answer: answer
        assert versioned.keeps_versions(BucketAddress(connection, "bkt")) is False


@pytest.mark.parametrize("ability", ["put_if_absent", "put_if_match", "copy_if_absent", "delete_if_match"])
def test_a_store_that_refuses_conditions_is_probed_without_a_race(
    scripted_server: ScriptedServer, ability: Any
) -> None:
    """It answers that it does not know them: nothing depends on chance then."""
    stored: dict[str, bytes] = {}

    def answer(asked: Asked) -> Answer:
        if {"if-match", "if-none-match"} & asked.headers.keys():
            return refusal(501, "NotImplemented")
        if (
            "list-type" in asked.query
            or "versioning" in asked.query
            or "uploads" in asked.query
            or asked.method == "POST"
        ):
            return document("ListBucketResult", "<IsTruncated>false</IsTruncated>")
        if asked.method == "PUT":
            stored[asked.key] = asked.body
            return (
                document("CopyObjectResult", "<ETag>e</ETag>")
                if "x-amz-copy-source" in asked.headers
                else (200, {"ETag": '"e"'}, b"")
            )
        if asked.method == "DELETE":
            stored.pop(asked.key, None)
            return 204, {}, b""
        return content_of(asked, stored[asked.key]) if asked.key in stored else refusal(404, "NoSuchKey")

    scripted_server.answer = answer
    assert condition_probe.race(scripted_server.connect().bucket("bkt")._address, ability) == "refused"


class _OverwritesWhatItRefuses:
    """A store whose conditional copy answers 412 after it has overwritten the content, which then ends early: LocalStack's fault."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.broken: set[str] = set()

    def __call__(self, asked: Asked) -> Answer:
        if "versioning" in asked.query:
            return document("VersioningConfiguration")
        if asked.method == "PUT" and "x-amz-copy-source" in asked.headers and asked.key in self.objects:
            self.broken.add(asked.key)
            return refusal(412, "PreconditionFailed")
        if asked.method == "PUT":
            self.objects[asked.key] = asked.body
            return 200, {"ETag": '"e"'}, b""
        if asked.method == "DELETE":
            self.objects.pop(asked.key, None)
            return 204, {}, b""
        if asked.key not in self.objects:
            return refusal(404, "NoSuchKey")
        answer = content_of(asked, self.objects[asked.key])
        if answer is not None and asked.method == "GET" and asked.key in self.broken:
            return answer[0], {**answer[1], "Content-Length": str(len(answer[2]))}, answer[2][:-1]
        return answer


def test_a_condition_is_not_honoured_where_a_refused_copy_overwrites(scripted_server: ScriptedServer) -> None:
    """The object that the refused copy was to replace cannot be read: nothing but scratch objects is put at risk."""
    scripted_server.answer = _OverwritesWhatItRefuses()
    bucket = scripted_server.bucket()
    source = bucket.put_object("source", b"new")
    bucket.put_object("target", b"kept")
    with pytest.raises(s3.S3Unsupported, match="copy_if_absent is 'ignored'"):
        source.copy_to("target", if_absent=True)
    assert bucket["target"].body == b"kept"


def test_localstack_is_not_trusted_with_conditional_copies(localstack: Server) -> None:
    """It overwrites the object although it refuses the request."""
    bucket = localstack.connect(read_timeout=2).create_bucket(
        "conditional-copies"
    )  # the body that ends early never comes
    bucket.put_object("source", b"new")
    bucket.put_object("target", b"kept")
    with pytest.raises(s3.S3Unsupported, match="copy_if_absent"):
        bucket["source"].copy_to("target", if_absent=True)
    assert bucket["target"].body == b"kept"


# -- the product, and the time -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "product"),
    [
        ({"server": "AmazonS3"}, None),  # rclone answers that too
        ({"server": "Ceph Object Gateway (reef)"}, "Ceph"),
        ({"server": "nginx", "x-amz-request-id": "tx00000d8ab2c8c9f2f1a5b-0064a7f2c1-5e3b-default"}, "Ceph"),
        ({"server": "MinIO"}, "MinIO"),
        ({"server": "UploadServer"}, "Google Cloud Storage"),
        ({"server": "cloudflare", "x-amz-request-id": "9E26D08072A8EF9E"}, None),
        ({}, None),
    ],
)
def test_a_product_is_known_by_its_headers(headers: dict[str, str], product: str | None) -> None:
    assert product_of(headers) == product


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ({}, "Amazon S3, unless boto3&#x27;s configuration names another endpoint"),
        ({"endpoint_url": "https://s3.eu-central-1.amazonaws.com"}, "Amazon S3, by its host name"),
        ({"endpoint_url": "https://s3.example.org"}, "S3-compatible store, not probed"),
        ({"endpoint_url": "https://s3.example.org", "preset": "minio"}, "MinIO, as configured; not probed"),
        (
            {
                "endpoint_url": "https://s3.example.org",
                "capabilities": s3.Capabilities(
                    server="Ceph",
                    probed_at=datetime(2026, 11, 21, 23, tzinfo=timezone.utc),
                    versioning=True,
                    reasons=(("post", "S3ServerError: no"),),
                ),
            },
            "Ceph, by probe of 21 Nov 2026",
        ),
    ],
)
def test_the_card_of_a_store_says_what_kind_it_is_and_how_that_is_known(config: dict[str, Any], kind: str) -> None:
    card = s3.S3Store(s3.S3Config(**config))._repr_html_()
    assert kind in card and ">auto<" not in card
    assert ("not answered" in card and "post" in card) == ("capabilities" in config)


def test_the_card_of_a_probed_store_says_when_it_was_probed(rclone_bucket: s3.S3Bucket) -> None:
    """And that the store does not rely on it until it is made with these capabilities."""
    store = s3.S3Store(rclone_bucket.store.config.replace(read_timeout=61))  # a connection of its own
    before = datetime.now(timezone.utc)
    found = store.probe(rclone_bucket.name)
    assert found.server is None  # it answers as "AmazonS3"
    assert found.probed_at is not None and before <= found.probed_at <= datetime.now(timezone.utc)
    kind = f"S3-compatible store, by probe of {found.probed_at.day} "
    assert kind in store._repr_html_() and "relies on" in store._repr_html_()
    relying = s3.S3Store(store.config.replace(capabilities=found))
    assert kind in relying._repr_html_() and "relies on" not in relying._repr_html_()
