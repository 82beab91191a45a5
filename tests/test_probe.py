"""probe(): the actual behaviour of each server, complete cleanup, and use of the result."""

from __future__ import annotations

import logging
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from support.scripted_server import Answer, Asked, RawServer, ScriptedServer, content_of, document, refusal
from support.servers import Server

import messageflux_s3 as s3
from messageflux_s3._client.addresses import BucketAddress
from messageflux_s3._objects import condition_probe, versioned
from messageflux_s3._probe import probe as probe_module

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


UNCONDITIONAL = {field.name for field in fields(s3.Capabilities) if not str(field.type).startswith("Condition")}


def said(found: s3.Capabilities) -> dict[str, str]:
    """What a probe found, as it prints."""
    pairs = (line.split(maxsplit=1) for line in str(found).splitlines())
    return {name: value for name, value in pairs if name in UNCONDITIONAL}


def test_probe_finds_the_capabilities_of_moto(moto: Server) -> None:
    """And forgets size filters of lifecycle rules or not: whatever it says, it was tried."""
    found = moto.connect().probe()
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
    """One line for each capability; "not asked" if it was not tested."""
    text = str(s3.Capabilities(versioning=True, policy=False, put_if_absent="ignored"))
    assert len(text.splitlines()) == len(fields(s3.Capabilities))
    assert "versioning                yes" in text
    assert "not asked" in text


def test_probing_a_given_bucket_keeps_its_configuration_and_versions(moto: Server, moto_bucket: s3.S3Bucket) -> None:
    """In a versioned bucket the answers are about versioned buckets, and no scratch version stays behind."""
    moto_bucket.versioning.enable()
    moto_bucket.put_object("mine", "x")
    found = moto_bucket.store.probe(moto_bucket.name)
    assert (found.put_if_absent, found.put_if_absent_versioned) == (None, "honoured")
    assert found.lifecycle is None
    listed = moto.client().list_object_versions(Bucket=moto_bucket.name)
    assert [one["Key"] for one in [*listed["Versions"], *listed.get("DeleteMarkers", ())]] == ["mine"]


def test_probe_uses_the_credentials_of_a_given_boto3_resource(rclone: Server) -> None:
    """rclone refuses everybody else."""
    import boto3

    session = boto3.Session(rclone.access_key, rclone.secret_key, region_name="us-east-1")
    found = s3.S3Store.from_resource(session.resource("s3", endpoint_url=rclone.endpoint_url)).probe()
    assert (found.checksums, found.list_v2) == (True, True)


# -- the form is sent as everything else is ------------------------------------------------------------------------------------------


@pytest.fixture
def private(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A server with a certificate that nobody else trusts, and that certificate."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
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


def test_scratch_objects_that_cannot_be_deleted_are_logged(
    scripted_server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The probe's own result, or its own error, is what the user gets."""
    scripted_server.answer = lambda asked: refusal(403, "AccessDenied")
    connection = scripted_server.connect()._connection
    with caplog.at_level(logging.WARNING, "messageflux_s3"):
        probe_module._Trial(BucketAddress(connection, "bkt")).clean()
        probe_module._remove(BucketAddress(connection, "bkt"))
    assert "could not be deleted" in caplog.messages[0]
    assert "the scratch bucket bkt could not be deleted" in caplog.messages[1]


def test_bulk_delete_counts_as_supported_only_if_the_objects_are_deleted(scripted_server: ScriptedServer) -> None:
    """ "200 OK", with the objects still there, is no bulk delete, with neither checksum."""

    def answer(asked: Asked) -> Answer:
        if asked.method == "POST":
            return document("DeleteResult")
        kept = "".join(
            f"<Contents><Key>{other.key}</Key></Contents>" for other in scripted_server.asked if other.method == "PUT"
        )
        return document("ListBucketResult", kept) if asked.method == "GET" else (200, {"ETag": '"e"'}, b"")

    scripted_server.answer = answer
    assert (
        probe_module._bulk_delete(probe_module._Trial(BucketAddress(scripted_server.connect()._connection, "bkt")))
        == "single"
    )
    asked = [asked.headers for asked in scripted_server.asked if asked.method == "POST"]
    assert ["content-md5" in headers for headers in asked] == [False, True]


def test_an_endless_or_repeating_listing_counts_as_unsupported(scripted_server: ScriptedServer) -> None:
    """One that always has another page, and one that has the keys twice."""
    scripted_server.answer = lambda asked: (
        document("ListBucketResult", "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>")
        if asked.method == "GET"
        else (200, {"ETag": '"e"'}, b"")
    )
    assert (
        probe_module._lists(probe_module._Trial(BucketAddress(scripted_server.connect()._connection, "bkt"))) is False
    )
    assert len([asked for asked in scripted_server.asked if asked.method == "GET"]) == 4


def test_a_connection_closed_on_a_form_counts_as_unsupported(scripted_server: ScriptedServer) -> None:
    """Only ``post`` is no; everything else is detected."""
    scripted_server.answer = lambda asked: None
    assert (
        probe_module._takes_posts(probe_module._Trial(BucketAddress(scripted_server.connect()._connection, "bkt")))
        is False
    )


def test_a_refused_conditional_race_is_recorded_as_refused(moto: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not an error of the probe."""

    def unsupported(*_: object) -> str:
        raise s3.S3Unsupported("no")

    monkeypatch.setattr(condition_probe, "race", unsupported)
    assert (
        probe_module._race(probe_module._Trial(BucketAddress(moto.connect()._connection, "bkt")), "put_if_absent")
        == "refused"
    )


def test_virtual_hosted_style_is_tested_by_the_content_of_the_response(scripted_server: ScriptedServer) -> None:
    """A store that supports virtual-hosted addressing returns the object; others return something else, or nothing."""
    port = scripted_server.server_port
    keys = {"access_key": "ACCESSKEY01", "secret_key": "SECRETKEY0123456", "region": "us-east-1"}
    trial = probe_module._Trial(BucketAddress(s3.connect(f"http://localhost:{port}", **keys)._connection, "bkt"))
    # The names below it need not lead anywhere on this machine; what is asked there is what counts.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe_module, "Connection", lambda config: trial.connection)
        for body, style in ((probe_module._BODY, "virtual"), (b"another", "path")):
            scripted_server.answer = lambda asked, body=body: (200, {"ETag": '"e"'}, body)
            assert probe_module._addressing_style(trial) == style
        scripted_server.answer = lambda asked: refusal(404, "NoSuchKey")
        assert probe_module._addressing_style(trial) == "path"
    assert (
        probe_module._addressing_style(probe_module._Trial(BucketAddress(s3.connect(**keys)._connection, "bkt")))
        == "virtual"
    )


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
