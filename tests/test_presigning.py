"""Presigned URLs and forms, used with a plain HTTP client."""

from __future__ import annotations

import base64
import datetime
import hmac
import json
import urllib.error
import urllib.parse
import urllib.request
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from support.scripted_server import Answer, Asked, ScriptedServer, refusal
from support.servers import Server

import messageflux_s3 as s3
from messageflux_s3 import S3Bucket
from messageflux_s3._objects import presigning


def fetch(
    url: str, method: str = "GET", data: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, bytes, dict[str, str]]:
    """One request without any library of S3."""
    request = urllib.request.Request(url, data, headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read(), {k.lower(): v for k, v in answer.headers.items()}
    except urllib.error.HTTPError as error:
        return error.code, error.read(), {}


@pytest.mark.parametrize("key", ["a.txt", "a b+c%20é.txt", "x/y~z='(1)'.txt"])
def test_a_presigned_url_reads_the_object(bucket: S3Bucket, key: str) -> None:
    """A plain client reads the object; the strict server checks the signature."""
    bucket.put_object(key, b"hello")
    assert fetch(bucket[key].presigned_url())[:2] == (200, b"hello")


def test_a_presigned_url_with_a_wrong_signature_is_refused(rclone_bucket: S3Bucket) -> None:
    """The signature is verified: the same URL for another key is rejected."""
    rclone_bucket.put_objects([("a", "1"), ("b", "2")])
    url = rclone_bucket["a"].presigned_url()
    assert fetch(url.replace("/a?", "/b?"))[0] == 403


def test_a_presigned_url_writes_the_object(bucket: S3Bucket) -> None:
    """A PUT with the content type that was signed."""
    url = bucket["up.txt"].presigned_url("PUT", datetime.timedelta(minutes=5), content_type="text/x")
    assert fetch(url, "PUT", b"data", {"Content-Type": "text/x"})[0] == 200
    assert bucket["up.txt"].body == b"data"


def test_a_presigned_put_requires_its_content_type(rclone_bucket: S3Bucket) -> None:
    """Another type than the signed one, or none, is refused, and nothing is stored."""
    url = rclone_bucket["up.html"].presigned_url("PUT", content_type="text/plain")
    for headers in ({"Content-Type": "text/html"}, {"Content-Type": "text/plain; charset=x"}, {"Content-Type": ""}):
        assert fetch(url, "PUT", b"data", headers)[0] == 403
    assert not rclone_bucket["up.html"].exists()
    assert fetch(url, "PUT", b"data", {"Content-Type": "text/plain"})[0] == 200


def test_a_presigned_put_of_a_version_writes_a_new_object(rclone_bucket: S3Bucket) -> None:
    """A version cannot be overwritten, and S3 refuses a PUT that names one. The other methods are for the version."""
    version = rclone_bucket.object("up.txt", "v1")
    assert fetch(version.presigned_url("PUT"), "PUT", b"data")[0] == 200
    assert "versionId" not in version.presigned_url("put")
    for method in ("GET", "HEAD", "DELETE"):
        assert "versionId=v1" in version.presigned_url(method)


@pytest.mark.parametrize("name", ["Übersicht 字.csv", 'a"b\\c; filename=x', "%41+&=?#", "'*"])
def test_a_presigned_url_sets_a_file_name(bucket: S3Bucket, name: str) -> None:
    """The version ID is in the signed query: the strict server rejects a changed one."""
    bucket.put_object("a", b"x")
    disposition = f"attachment; filename*=UTF-8''{urllib.parse.quote(name, safe='')}; size=1 é"
    url = bucket["a"].presigned_url(response_content_disposition=disposition)
    assert url.isascii()
    assert urllib.parse.parse_qs(urllib.parse.urlsplit(url).query)["response-content-disposition"] == [disposition]
    status, body, headers = fetch(url)
    assert (status, body) == (200, b"x")
    if bucket.store.config.access_key == "ACCESSKEY01":
        assert fetch(url.replace("attachment", "inline"))[0] == 403
    else:
        assert headers["content-disposition"] == disposition


def test_a_file_name_that_no_header_can_hold_is_refused(moto_bucket: S3Bucket) -> None:
    """S3 rejects such a URL; the error names the form that S3 accepts."""
    with pytest.raises(ValueError, match=r"response_content_disposition.*filename\*=UTF-8''"):
        moto_bucket["a"].presigned_url(response_content_disposition='attachment; filename="字.csv"')


def test_a_presigned_url_sets_disposition_and_content_type(moto_bucket: S3Bucket) -> None:
    """Content-Disposition and Content-Type of the response to a GET."""
    moto_bucket.put_object("a", b"x")
    url = moto_bucket["a"].presigned_url(
        response_content_disposition='attachment; filename="ä b.txt"', response_content_type="text/x"
    )
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(url).query)
    assert query["response-content-disposition"] == ['attachment; filename="ä b.txt"']
    assert fetch(url)[2]["content-type"] == "text/x"


RESPONSE_HEADERS = {
    "response_cache_control": "max-age=7, private",
    "response_content_disposition": "attachment",
    "response_content_encoding": "identity",
    "response_content_language": "de, en",
    "response_content_type": "text/x",
    "response_expires": "Sun, 02 Jan 2033 03:04:05 GMT",
}


def test_a_presigned_url_sets_all_six_response_headers(moto_bucket: S3Bucket) -> None:
    moto_bucket.put_object("a", b"x")
    _, body, headers = fetch(moto_bucket["a"].presigned_url(**RESPONSE_HEADERS))
    assert body == b"x"
    found = {name: headers.get(name.removeprefix("response_").replace("_", "-")) for name in RESPONSE_HEADERS}
    assert found == RESPONSE_HEADERS


def test_a_strict_server_accepts_the_signature_of_all_six_response_headers(rclone_bucket: S3Bucket) -> None:
    rclone_bucket.put_object("a", b"x")
    url = rclone_bucket["a"].presigned_url(**RESPONSE_HEADERS)
    assert fetch(url)[:2] == (200, b"x")
    assert fetch(url.replace("private", "public"))[0] == 403


@pytest.mark.parametrize("zone", [None, datetime.timezone.utc, datetime.timezone(datetime.timedelta(hours=2))])
def test_expires_may_be_a_datetime(moto_bucket: S3Bucket, zone: datetime.tzinfo | None) -> None:
    hour = 5 if zone is not None and zone.utcoffset(None) else 3
    moment = datetime.datetime(2033, 1, 2, hour, 4, 5, tzinfo=zone)
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(moto_bucket["a"].presigned_url(response_expires=moment)).query)
    assert query["response-expires"] == ["Sun, 02 Jan 2033 03:04:05 GMT"]


@pytest.mark.parametrize("wrong", [0, -1, 604_801, 1.5, datetime.timedelta(days=8)])
def test_an_invalid_expiry_raises(moto_bucket: S3Bucket, wrong: int) -> None:
    """One second to seven days."""
    with pytest.raises(ValueError, match="expires_in"):
        moto_bucket["a"].presigned_url(expires_in=wrong)


@pytest.mark.parametrize("name", [*RESPONSE_HEADERS])
def test_line_ends_in_headers_are_refused(moto_bucket: S3Bucket, name: str) -> None:
    """A line end in a header's value is refused."""
    with pytest.raises(ValueError, match=name):
        moto_bucket["a"].presigned_url(**{name: "x\r\nSet-Cookie: a=b"})


def test_contradicting_arguments_raise(moto_bucket: S3Bucket) -> None:
    """The content type of a PUT is not that of the response to a GET."""
    with pytest.raises(ValueError, match="PUT"):
        moto_bucket["a"].presigned_url("GET", content_type="text/x")
    with pytest.raises(ValueError, match="GET"):
        moto_bucket["a"].presigned_url("PUT", response_content_type="text/x")
    with pytest.raises(ValueError, match="response_cache_control and response_expires are for GET, not DELETE"):
        moto_bucket["a"].presigned_url("DELETE", response_cache_control="no-cache", response_expires="0")
    with pytest.raises(ValueError, match="method"):
        moto_bucket["a"].presigned_url("PATCH")


def test_a_presigned_form_uploads_an_object(moto_bucket: S3Bucket) -> None:
    """A browser's form stores the object."""
    form = moto_bucket["posted.txt"].presigned_post(content_type="text/x", max_size=100)
    border = "x-border-x"
    parts = [
        f'--{border}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in form.fields.items()
    ]
    parts.append(
        f'--{border}\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nhello\r\n--{border}--\r\n'
    )
    status, _, _ = fetch(
        form.url, "POST", "".join(parts).encode(), {"Content-Type": f"multipart/form-data; boundary={border}"}
    )
    assert status in (200, 201, 204)
    assert moto_bucket["posted.txt"].body == b"hello"
    assert form.fields["x-amz-signature"] not in repr(form)


def test_a_form_s_conditions_are_in_its_signed_policy(moto: Server) -> None:
    """The policy has all conditions in S3's form, and the signature covers it."""
    store = moto.connect(session_token="token")
    conditions = [["starts-with", "$x-amz-meta-a", "b"], {"success_action_status": "201"}]
    form = store.bucket("bucket")["in/k é"].presigned_post(
        600, content_type="text/x", min_size=1, max_size=9, fields={"Cache-Control": "no-store"}, conditions=conditions
    )
    policy = json.loads(base64.b64decode(form.fields["policy"]))
    wanted = [
        {"bucket": "bucket"}, {"key": "in/k é"}, {"Content-Type": "text/x"}, {"Cache-Control": "no-store"},
        {"x-amz-security-token": "token"}, ["content-length-range", 1, 9], *conditions,
    ]  # fmt: skip
    assert [condition for condition in wanted if condition not in policy["conditions"]] == []
    # S3 refuses every field that no condition names; the file, the policy and its signature need none.
    named = {name for condition in policy["conditions"] if isinstance(condition, dict) for name in condition}
    assert form.fields.keys() - named == {"policy", "x-amz-signature"}
    left = datetime.datetime.fromisoformat(policy["expiration"].replace("Z", "+00:00")) - datetime.datetime.now(
        datetime.timezone.utc
    )
    assert 500 < left.total_seconds() <= 600
    key = b"AWS4" + moto.secret_key.encode()
    for part in form.fields["x-amz-credential"].split("/")[1:]:
        key = hmac.new(key, part.encode(), "sha256").digest()
    assert form.fields["x-amz-signature"] == hmac.new(key, form.fields["policy"].encode(), "sha256").hexdigest()


@pytest.mark.parametrize("fields", [{"x-amz-meta-a": "b\r\nx: y"}, {"a\nb": "c"}, {"Content-Disposition": "a\0"}])
def test_line_ends_in_form_fields_are_refused(moto_bucket: S3Bucket, fields: dict[str, str]) -> None:
    """The form's fields become the object's headers."""
    with pytest.raises(ValueError, match="control characters"):
        moto_bucket["a"].presigned_post(fields=fields)


@pytest.mark.parametrize(
    "name", ["key", "Key", "bucket", "file", "policy", "x-amz-signature", "X-Amz-Date", "x-amz-credential"]
)
def test_a_form_is_for_the_object_of_its_handle(moto_bucket: s3.S3Bucket, name: str) -> None:
    """A field ``key``, perhaps passed on from a request, made a form that writes another object."""
    with pytest.raises(ValueError, match=f"fields must not contain '{name}': "):
        moto_bucket["a"].presigned_post(fields={name: "other"})
    with pytest.raises(ValueError, match="fields must not contain 'content-type' beside content_type='text/csv'"):
        moto_bucket["a"].presigned_post(content_type="text/csv", fields={"content-type": "text/html"})
    assert moto_bucket["a"].presigned_post(fields={"Content-Type": "text/html"}).fields["Content-Type"] == "text/html"


def test_a_url_that_outlives_its_credentials_warns() -> None:
    """A warning is issued if the credentials expire earlier; none without an expiry."""
    soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=30)
    keys = {"access_key": "AK", "secret_key": "SK", "session_token": "T"}
    store = s3.connect("http://127.0.0.1:9", credentials=lambda: {**keys, "expires_at": soon}, region="eu-x-1")
    with pytest.warns(UserWarning, match="credentials"):
        url = store.bucket("bucket")["k"].presigned_url(expires_in=3600)
    assert "X-Amz-Security-Token=T" in url
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store.bucket("bucket")["k"].presigned_url(expires_in=60)


def test_on_aws_urls_use_the_regional_endpoint_of_the_bucket() -> None:
    """Never the global endpoint; a bucket name with a dot is put into the path, since the certificate would not match."""
    store = s3.connect(access_key="AK", secret_key="SK", region="eu-central-1")
    for name, start in (
        ("plain-name", "https://plain-name.s3.eu-north-1.amazonaws.com/k?"),
        ("with.dot", "https://s3.eu-north-1.amazonaws.com/with.dot/k?"),
    ):
        store._connection.facts[f"region:{name}"] = "eu-north-1"
        url = store.bucket(name)["k"].presigned_url()
        assert url.startswith(start)
        assert "%2Feu-north-1%2Fs3%2Faws4_request" in url


WRONG: dict[str, tuple[Callable[[s3.S3Object], object], type[Exception], str]] = {
    "text for seconds": (lambda obj: obj.presigned_url(expires_in="60"), TypeError, "expires_in must be seconds or a timedelta, not str"),
    "a number for a type": (lambda obj: obj.presigned_post(content_type=5), TypeError, "content_type must be text, not int"),
    "truth for a size": (lambda obj: obj.presigned_post(min_size=True), ValueError, "min_size must be a whole number of bytes, not True"),
    "a negative size": (lambda obj: obj.presigned_post(max_size=-1), ValueError, "max_size must be a whole number of bytes, not -1"),
    "no size at all": (lambda obj: obj.presigned_post(min_size=5, max_size=4), ValueError, "at least min_size .5., not 4"),
}  # fmt: skip


@pytest.mark.parametrize(("act", "error", "said"), WRONG.values(), ids=WRONG)
def test_invalid_arguments_raise_an_error_that_names_them(
    moto_bucket: S3Bucket, act: Any, error: type[Exception], said: str
) -> None:
    """The error names the argument and its value."""
    with pytest.raises(error, match=said):
        act(moto_bucket["k"])


def test_a_form_can_be_indexed_like_the_result_of_boto3(moto_bucket: S3Bucket) -> None:
    """``form["url"]`` and ``form["fields"]``, and nothing else."""
    form = moto_bucket["k"].presigned_post(max_size=9)
    assert (form["url"], form["fields"]) == (form.url, form.fields)
    with pytest.raises(KeyError, match="policy"):
        form["policy"]
    assert "SECRET" not in repr(presigning._SigningCredentials("AK", "SECRET", None))


def test_presigning_without_credentials_raises() -> None:
    """The error is raised before anything is sent, and names the arguments to pass."""
    with pytest.raises(s3.S3AuthenticationError, match="Pass access_key and secret_key"):
        s3.connect("http://127.0.0.1:9", region="eu-x-1").bucket("bucket")["k"].presigned_url()


@pytest.mark.parametrize(("known", "region"), [(True, "eu-north-1"), (False, "us-east-1")])
def test_the_region_of_a_bucket_is_requested_once_on_aws(
    scripted_server: ScriptedServer, known: bool, region: str
) -> None:
    """The region is cached; without permission for HeadBucket the client's region is used."""

    def answer(asked: Asked) -> Answer:
        return (200, {"x-amz-bucket-region": "eu-north-1"}, b"") if known else refusal(403, "AccessDenied")

    scripted_server.answer = answer
    bucket = scripted_server.bucket(preset="aws")
    for key in ("a", "b"):
        assert f"%2F{region}%2Fs3%2Faws4_request" in bucket[key].presigned_url()
    assert scripted_server.whats == ["HEAD "] if known else ["HEAD "] * 2


def test_a_virtual_hosted_style_store_gives_virtual_hosted_style_urls() -> None:
    """The addressing style of the configuration or of its capabilities is used."""
    keys = {"access_key": "AK", "secret_key": "SK", "region": "eu-x-1"}
    for settings in ({"addressing_style": "virtual"}, {"capabilities": s3.Capabilities(addressing_style="virtual")}):
        store = s3.S3Store(s3.S3Config("https://s3.example/base", **keys, **settings))
        assert store.bucket("bucket")["k"].presigned_url().startswith("https://bucket.s3.example/base/k?")
    store = s3.connect("https://s3.example", **keys)
    assert store.bucket("bucket")["k"].presigned_url().startswith("https://s3.example/bucket/k?")


def test_tags_in_a_form_are_sent_as_xml(moto_bucket: S3Bucket) -> None:
    """The tagging field may have line ends, since it is not sent as a header."""
    tags = "<Tagging>\n<TagSet/>\n</Tagging>"
    assert moto_bucket["k"].presigned_post(fields={"tagging": tags}).fields["tagging"] == tags
