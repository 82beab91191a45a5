"""Names of buckets and what stands in their place: ARNs of access points, directory buckets, names from before today's rules."""

from __future__ import annotations

import asyncio
import importlib.util
import io
import warnings
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from support.scripted_server import ScriptedServer, refusal

import messageflux_s3 as s3
from messageflux_s3._client.addresses import same_place
from messageflux_s3._client.aws_hosts import own_host
from messageflux_s3._client.exchange import Request, lane_form, lane_state
from messageflux_s3._formats.bucket_names import check_bucket_name, check_new_bucket_name, split_path, zone_of
from messageflux_s3._formats.keys import parse_uri
from messageflux_s3._objects import etag_md5

ACCESS_POINT = "arn:aws:s3:eu-west-1:123456789012:accesspoint/reports"
MULTI_REGION = "arn:aws:s3::123456789012:accesspoint/mfzwi23gnjvgw.mrap"
OBJECT_LAMBDA = "arn:aws:s3-object-lambda:eu-west-1:123456789012:accesspoint/masked"
OUTPOST = "arn:aws:s3-outposts:eu-west-1:123456789012:outpost/op-0a1b2c3d/accesspoint/reports"
DIRECTORY = "invoices--use1-az5--x-s3"

HOSTS = {
    ACCESS_POINT: "reports-123456789012.s3-accesspoint.eu-west-1.amazonaws.com",
    ACCESS_POINT.replace("accesspoint/", "accesspoint:"): "reports-123456789012.s3-accesspoint.eu-west-1.amazonaws.com",
    OBJECT_LAMBDA: "masked-123456789012.s3-object-lambda.eu-west-1.amazonaws.com",
    OUTPOST: "reports-123456789012.op-0a1b2c3d.s3-outposts.eu-west-1.amazonaws.com",
    DIRECTORY: f"{DIRECTORY}.s3express-use1-az5.us-east-1.amazonaws.com",
}
"""The host of each kind, for a client in us-east-1."""

SESSION = (
    b"<CreateSessionResult><Credentials><SessionToken>t</SessionToken><SecretAccessKey>s</SecretAccessKey><AccessKeyId>a</AccessKeyId>"
    b"<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></CreateSessionResult>"
)
_HEAD = {
    "ETag": '"0123456789abcdef0123456789abcdef"',
    "Last-Modified": "Sun, 22 Nov 2026 09:00:00 GMT",
    "Content-Length": "3",
}


class _Body(io.BytesIO):
    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        yield self.read()


class Aws:
    """Amazon S3 in process: answers the requests of a client, and keeps them."""

    def __init__(self, **settings: Any) -> None:
        self.store = s3.connect(
            **{"region": "us-east-1", "access_key": "a", "secret_key": "b", "max_attempts": 1, **settings}
        )
        self.requests: list[Any] = []
        self.keys: list[str] = []
        self.sessions = 0
        self.store.client.meta.events.register("before-send.s3", self._answer)

    def _answer(self, request: Any, **_: Any) -> AWSResponse:
        query = parse_qs(urlsplit(request.url).query, keep_blank_values=True)
        if "session" in query:
            self.sessions += 1
            return AWSResponse(request.url, 200, {}, _Body(SESSION))
        self.requests.append(request)
        if "list-type" in query:
            return AWSResponse(request.url, 200, {}, _Body(self._page({name: each[0] for name, each in query.items()})))
        if "uploads" in query:
            return AWSResponse(
                request.url, 200, {}, _Body(b"<ListMultipartUploadsResult></ListMultipartUploadsResult>")
            )
        if "x-amz-copy-source" in request.headers:
            body = b"<CopyObjectResult><ETag>&quot;e&quot;</ETag></CopyObjectResult>"
            return AWSResponse(request.url, 200, {}, _Body(body))
        return AWSResponse(request.url, 200, _HEAD, _Body(b"abc" if request.method == "GET" else b""))

    def _page(self, query: dict[str, str]) -> bytes:
        """Return a page of two entries, in the order of ``keys``; as AWS documents the listing of a directory bucket."""
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        assert prefix in ("",) or prefix.endswith("/")
        assert delimiter in ("", "/")
        assert "start-after" not in query
        entries: dict[str, None] = {}
        for key in self.keys:
            if key.startswith(prefix):
                folder, mark, _ = key[len(prefix) :].partition("/") if delimiter else ("", "", "")
                entries[f"{prefix}{folder}/" if mark else key] = None
        at = int(query.get("continuation-token", 0))
        shown = [
            f"<CommonPrefixes><Prefix>{escape(entry)}</Prefix></CommonPrefixes>"
            if delimiter and entry.endswith("/")
            else f"<Contents><Key>{escape(entry)}</Key><LastModified>2026-11-22T09:00:00.000Z</LastModified><ETag>&quot;e&quot;</ETag>"
            "<Size>3</Size><StorageClass>EXPRESS_ONEZONE</StorageClass></Contents>"
            for entry in [*entries][at : at + 2]
        ]
        more = f"<NextContinuationToken>{at + 2}</NextContinuationToken>" if at + 2 < len(entries) else ""
        return (
            f"<ListBucketResult><IsTruncated>{'true' if more else 'false'}</IsTruncated>{more}{''.join(shown)}</ListBucketResult>"
        ).encode()

    @property
    def last(self) -> Any:
        return self.requests[-1]


def _scope(request: Any) -> str:
    """Return the region and the service that a request is signed for."""
    return "/".join(request.headers["Authorization"].decode().split("/aws4_request")[0].split("/")[-2:])


@pytest.fixture
def aws() -> Iterator[Aws]:
    made = Aws()
    yield made
    made.store.close()


# -- names -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["abc", "a" * 63, "0-9", "a.b.c", "1.2.3", "Old_Bucket", "A" * 255, "a..b", "abc-", *HOSTS, MULTI_REGION],
)
def test_names_that_a_bucket_may_have_are_returned_unchanged(name: str) -> None:
    """Today's names, those from before today's rules, and ARNs of access points."""
    assert check_bucket_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "", "a", "-abc", ".abc", "..", "abc\n", "b\u00fc-r", "a b", "a/b", "a" * 256, "arn:aws:s3:::bucket", f"{ACCESS_POINT}/key",
        "arn:aws:s3:eu-west-1:1234:accesspoint/reports", "arn:aws:iam::123456789012:role/reader", "x" + ACCESS_POINT,
    ],
)  # fmt: skip
def test_names_that_no_bucket_has_are_refused(name: str) -> None:
    """The error has the name; that of another ARN says what is right."""
    with pytest.raises(s3.S3InvalidName, match=r"is not a bucket name|is not the ARN of an access point") as caught:
        check_bucket_name(name)
    assert caught.value.bucket == name
    assert ("a bucket is named by its name" in str(caught.value)) is name.startswith("arn:")


@pytest.mark.parametrize(
    "uri",
    [
        "s3://bucket",
        "s3://bucket/key",
        "https://bucket.s3.amazonaws.com/key?X-Amz-Signature=hush",
        "https://reader:hush@minio.example/bucket",
        "https://reader:hush@h@minio.example:9000",
    ],
)
def test_a_uri_in_place_of_a_bucket_name_is_refused_with_a_hint(uri: str) -> None:
    """The query of a presigned URL is not shown, nor a password."""
    with pytest.raises(
        s3.S3InvalidName, match=r"is a URI, not a bucket name; store.object\('s3://bucket/key'\)"
    ) as caught:
        check_bucket_name(uri)
    assert "hush" not in f"{caught.value} {caught.value.bucket}"


@pytest.mark.parametrize("name", ["ab", "Old_Bucket", "a_b", "a" * 64, "abc-", "a..b", "1.2.3.4", ACCESS_POINT])
def test_names_of_new_buckets_follow_todays_rules(name: str) -> None:
    with pytest.raises(s3.S3InvalidName, match=r"can be created|not the name of a new bucket") as caught:
        check_new_bucket_name(name)
    assert caught.value.bucket == name


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("bucket/a/b", ("bucket", "a/b")),
        ("bucket", ("bucket", "")),
        (f"{ACCESS_POINT}/a/b", (ACCESS_POINT, "a/b")),
        (ACCESS_POINT, (ACCESS_POINT, "")),
        (f"{ACCESS_POINT}/", (ACCESS_POINT, "")),
        (f"{ACCESS_POINT}//a", (ACCESS_POINT, "/a")),
        (f"{MULTI_REGION}/a", (MULTI_REGION, "a")),
        (f"{OUTPOST}/a/b", (OUTPOST, "a/b")),
        (f"{OBJECT_LAMBDA}/a", (OBJECT_LAMBDA, "a")),
        ("arn:aws:s3:::bucket/a", ("arn:aws:s3:::bucket", "a")),
        (f"{ACCESS_POINT}{'x' * 60}/a", (ACCESS_POINT.partition("/")[0], f"reports{'x' * 60}/a")),
    ],
)
def test_a_path_is_split_after_its_bucket_or_arn(path: str, parts: tuple[str, str]) -> None:
    """As the AWS CLI splits it."""
    assert split_path(path) == parts


def test_a_uri_may_have_an_arn_in_place_of_the_bucket() -> None:
    """``obj.uri`` is such a URI."""
    assert parse_uri(f"s3://{ACCESS_POINT}/2026/a.csv") == (ACCESS_POINT, "2026/a.csv")
    store = s3.connect(region="us-east-1", access_key="a", secret_key="b")
    for arn in (ACCESS_POINT, MULTI_REGION, OBJECT_LAMBDA, OUTPOST):
        obj = store.bucket(arn).object("a//b/")
        assert obj.uri == f"s3://{arn}/a//b/"
        assert store.object(obj.uri) == obj
        assert s3.AsyncS3Store(store).object(obj.uri).uri == obj.uri
    for wrong in (f"s3://{ACCESS_POINT}", f"s3://{ACCESS_POINT}/", "s3://arn:aws:s3:::bucket/key"):
        with pytest.raises(s3.S3InvalidName):
            store.object(wrong)


@pytest.mark.parametrize(
    ("name", "zone"),
    [
        (DIRECTORY, "use1-az5"),
        ("a--usw2-lax1-az1--x-s3", "usw2-lax1-az1"),
        ("point--use1-az5--xa-s3", "use1-az5"),
        ("invoices", None),
        ("invoices-x-s3", None),
        ("--use1-az5--x-s3", None),
    ],
)
def test_the_zone_is_in_the_name_of_a_directory_bucket(name: str, zone: str | None) -> None:
    assert zone_of(name) == zone


# -- names from before today's rules -----------------------------------------------------------------------------------------------


def test_an_old_bucket_is_reached_but_not_created(scripted_server: ScriptedServer) -> None:
    """Creation is refused without a request; the constructor with ``auto_create`` refuses after it has looked."""
    scripted_server.answer = lambda asked: refusal(404, "") if asked.method == "HEAD" else (200, {}, b"")
    store = scripted_server.connect()
    for create in (store.create_bucket, lambda name: s3.S3Bucket.create_bucket(store, name)):
        with pytest.raises(s3.S3InvalidName, match=r"can be created.*store.bucket\(name\)"):
            create("Old_Bucket")
    assert scripted_server.whats == []
    with pytest.raises(s3.S3NoSuchBucket):
        s3.S3Bucket("Old_Bucket", store)
    with pytest.raises(s3.S3InvalidName, match="can be created"):
        s3.S3Bucket("Old_Bucket", store, auto_create=True)
    assert {asked.method for asked in scripted_server.asked} == {"HEAD"}
    scripted_server.answer = lambda asked: (200, {}, b"")
    assert s3.S3Bucket("Old_Bucket", store, auto_create=True) == store.bucket("Old_Bucket") == store["Old_Bucket"]
    assert {asked.method for asked in scripted_server.asked} == {"HEAD"}


# -- access points -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "host"), HOSTS.items())
def test_requests_are_sent_to_the_host_of_the_access_point_or_bucket(aws: Aws, name: str, host: str) -> None:
    """By boto3: ``url`` and presigned URLs have the same host."""
    bucket = aws.store.bucket(name)
    bucket.put_object("a b/k", b"abc")
    assert bucket["a b/k"].body == b"abc"
    assert bucket["a b/k"].exists()
    assert {urlsplit(request.url).netloc for request in aws.requests} == {host}
    assert [unquote(urlsplit(request.url).path) for request in aws.requests] == ["/a b/k"] * 3
    service = next((name for name in ("s3-object-lambda", "s3-outposts", "s3express") if name in host), "s3")
    assert {_scope(request) for request in aws.requests} == {f"{host.split('.')[-3]}/{service}"}
    assert bucket["a b/k"].url == f"https://{host}/a%20b/k"
    link = bucket["a b/k"].presigned_url(expires_in=60, response_content_type="text/plain")
    assert link.startswith(f"https://{host}/a%20b/k?")
    assert "response-content-type=text%2Fplain" in link
    assert "X-Amz-Signature" in link
    assert lane_state(bucket._address) == "shut"
    assert aws.store._connection.lane.eligibility.hosts == []


def test_a_presigned_put_through_an_arn_has_its_content_type_and_version(aws: Aws) -> None:
    obj = aws.store.bucket(ACCESS_POINT).object("k", "v1")
    assert "content-type" in obj.presigned_url("PUT", content_type="text/csv").lower()
    assert "versionId=v1" in obj.presigned_url("HEAD")
    assert "versionId" not in obj.presigned_url("PUT")
    assert "X-Amz-Expires=60" in obj.presigned_url("DELETE", 60)


@pytest.mark.parametrize("name", [ACCESS_POINT, DIRECTORY])
def test_no_form_is_presigned_for_an_access_point_or_a_directory_bucket(aws: Aws, name: str) -> None:
    """S3 takes forms at general purpose buckets, by their names."""
    with pytest.raises(s3.S3Unsupported, match=r"presigned_url\('PUT'\)"):
        aws.store.bucket(name)["k"].presigned_post()


def test_the_host_at_a_given_endpoint_begins_with_the_access_point() -> None:
    """As botocore has it for VPC endpoints."""
    made = Aws(endpoint_url="https://bucket.vpce-1a2b.s3.us-east-1.vpce.amazonaws.com")
    for name in (ACCESS_POINT, DIRECTORY):
        bucket = made.store.bucket(name)
        assert bucket["k"].exists()
        assert urlsplit(made.last.url).netloc == urlsplit(bucket["k"].url).netloc
    made.store.close()


@pytest.mark.parametrize("name", [ACCESS_POINT, OBJECT_LAMBDA, DIRECTORY])
@pytest.mark.parametrize(
    "settings", [{"use_fips_endpoint": True}, {"use_dualstack_endpoint": True}], ids=["FIPS", "dual-stack"]
)
def test_the_host_follows_the_settings_of_the_client(name: str, settings: dict[str, bool]) -> None:
    """botocore's endpoint rules decide. Object Lambda has no dual-stack endpoints."""
    made = Aws(config=Config(**settings))
    bucket = made.store.bucket(name)
    try:
        if name == OBJECT_LAMBDA and "use_dualstack_endpoint" in settings:
            with pytest.raises(s3.S3Unsupported, match="Dual-stack"):
                bucket["k"].exists()
        else:
            assert bucket["k"].exists()
            assert urlsplit(made.last.url).netloc == urlsplit(bucket["k"].url).netloc
    finally:
        made.store.close()


def test_a_multi_region_access_point_has_a_global_host(aws: Aws) -> None:
    """It is signed with SigV4A, for which botocore needs an extra."""
    host = "mfzwi23gnjvgw.mrap.accesspoint.s3-global.amazonaws.com"
    assert own_host(MULTI_REGION, "eu-west-1") == host
    bucket = aws.store.bucket(MULTI_REGION)
    assert bucket["k"].url == f"https://{host}/k"
    if importlib.util.find_spec("awscrt") is None:
        for call in (bucket["k"].exists, bucket["k"].presigned_url):
            with pytest.raises(s3.S3Unsupported, match=r"botocore\[crt\]"):
                call()
        assert aws.requests == []
    else:
        assert bucket["k"].exists()
        assert urlsplit(aws.last.url).netloc == host
        assert aws.last.headers["Authorization"].startswith(b"AWS4-ECDSA-P256-SHA256")


@pytest.mark.parametrize("acquire", [s3.S3Bucket.lock, s3.S3Bucket.acquire_lock])
def test_no_lock_is_acquired_through_a_multi_region_access_point(
    aws: Aws, acquire: Callable[[s3.S3Bucket, str], object]
) -> None:
    """Two clients may be sent to two buckets, and create the lock in both."""
    with pytest.raises(s3.S3Unsupported, match="two clients could hold this lock"):
        acquire(aws.store.bucket(MULTI_REGION), "k")
    assert aws.requests == []


def test_the_source_of_a_copy_may_be_an_access_point(aws: Aws) -> None:
    """The header has a form of its own, which boto3 makes."""
    source, target = aws.store.bucket(ACCESS_POINT), aws.store.bucket("bucket")
    source["a b"].copy_to(target["k"])
    [copied] = [request for request in aws.requests if request.method == "PUT"]
    assert unquote(copied.headers["x-amz-copy-source"].decode()) == f"{ACCESS_POINT}/object/a b"
    for bucket, is_for_lane in ((ACCESS_POINT, False), ("bucket", True)):
        wanted = Request("CopyObject", "target", "k", {"CopySource": {"Bucket": bucket, "Key": "k"}})
        assert (lane_form(wanted) is not None) is is_for_lane


def test_the_lane_learns_nothing_from_a_request_through_an_arn(aws: Aws) -> None:
    """Nor does it say that such a request is why it is shut."""
    eligibility = aws.store._connection.lane.eligibility
    before = eligibility.reason_not_learned
    eligibility.record_answer(200, "GetObject", {"input_params": {"Bucket": ACCESS_POINT, "Key": "k"}})
    assert (eligibility.hosts, eligibility.reason_not_learned) == ([], before)


def test_an_arn_or_an_alias_never_proves_that_two_places_differ() -> None:
    """An access point, its alias and its bucket may hold the same object."""
    store = s3.connect(region="us-east-1", access_key="a", secret_key="b")
    names = [ACCESS_POINT, MULTI_REGION, OBJECT_LAMBDA, "reports-abcdefghijklmnop-s3alias", "reports"]
    for one in names:
        for other in names:
            same = same_place(store.bucket(one)["k"]._address, store.bucket(other)["k"]._address)
            assert same is (True if one == other else None)


def test_the_file_system_and_the_async_classes_take_arns(aws: Aws) -> None:
    """Paths are split after the ARN."""
    from messageflux_s3.fs import MessagefluxS3FileSystem

    fs = MessagefluxS3FileSystem(aws.store)
    assert fs.cat_file(f"mfs3://{ACCESS_POINT}/a/k") == b"abc"
    assert aws.last.url.startswith(f"https://{HOSTS[ACCESS_POINT]}/a/k")
    assert [fs._parent(f"{ACCESS_POINT}{rest}") for rest in ("/a/k", "/a", "")] == [
        f"{ACCESS_POINT}/a",
        ACCESS_POINT,
        "",
    ]
    assert [fs._parent(path) for path in ("b/a/k", "b/k", "b", "")] == ["b/a", "b", "", ""]

    async def read() -> bytes:
        async with s3.AsyncS3Store(aws.store) as store:
            return await store.object(f"s3://{ACCESS_POINT}/a/k").read()

    assert asyncio.run(read()) == b"abc"


# -- directory buckets -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind", "zone"),
    [(DIRECTORY, "AvailabilityZone", "use1-az5"), ("a--usw2-lax1-az1--x-s3", "LocalZone", "usw2-lax1-az1")],
)
def test_a_directory_bucket_is_created_in_its_zone(aws: Aws, name: str, kind: str, zone: str) -> None:
    """In any region; without a location constraint, which is for other buckets."""
    aws.store.client.meta.events.register_first(
        "before-send.s3.HeadBucket", lambda request, **_: AWSResponse(request.url, 404, {}, _Body(b""))
    )
    aws.store.create_bucket(name)
    body = bytes(aws.last.body).decode()
    assert f"<Location><Type>{kind}</Type><Name>{zone}</Name></Location>" in body
    assert "<Bucket>" in body
    assert f"<DataRedundancy>Single{kind}</DataRedundancy>" in body
    assert "LocationConstraint" not in body
    with pytest.raises(s3.S3Unsupported, match="a directory bucket does not support public access"):
        aws.store.create_bucket(name, allow_public_access=True)


REFUSED: dict[str, Callable[[s3.S3Bucket], object]] = {
    "tags of the bucket": lambda bucket: bucket.tags.update({"a": "b"}),
    "tags of an object": lambda bucket: bucket["k"].tags.update({"a": "b"}),
    "an object with tags": lambda bucket: bucket.put_object("k", b"x", tags={"a": "b"}),
    "an object with a redirect": lambda bucket: bucket.put_object("k", b"x", WebsiteRedirectLocation="/x"),
    "versions": lambda bucket: bucket.find(versions=True).first(),
    "versions of an object": lambda bucket: list(bucket["k"].versions()),
    "CORS rules": lambda bucket: bucket.cors.get(),
}


@pytest.mark.parametrize("call", REFUSED.values(), ids=REFUSED)
def test_what_a_directory_bucket_does_not_support_is_refused_without_a_request(
    aws: Aws, call: Callable[[s3.S3Bucket], object]
) -> None:
    """By what AWS documents."""
    with pytest.raises(s3.S3Unsupported, match="directory buckets do not support"):
        call(aws.store.bucket(DIRECTORY))
    assert aws.requests == []


def test_requests_to_a_directory_bucket_are_signed_with_a_session(aws: Aws) -> None:
    """As boto3 does, also in presigned URLs; one session serves all. Copies have none."""
    bucket = aws.store.bucket(DIRECTORY)
    bucket.put_object("k", b"abc")
    assert bucket["k"].body == b"abc"
    assert [request.headers["x-amz-s3session-token"] for request in aws.requests] == [b"t"] * 2
    assert "X-Amz-S3session-Token=t" in bucket["k"].presigned_url(expires_in=300)
    assert aws.sessions == 1
    bucket["k"].copy_to("j")
    assert "x-amz-s3session-token" not in aws.last.headers
    assert {_scope(request) for request in aws.requests} == {"us-east-1/s3express"}


@pytest.mark.parametrize(
    "append",
    [
        lambda bucket: bucket.put_object("k", b"c", WriteOffsetBytes=2),
        lambda bucket: bucket.put_object("k", b"c", if_match="e", WriteOffsetBytes=2),
        lambda bucket: bucket.upload_object("k", io.BytesIO(b"c"), WriteOffsetBytes=2),
    ],
    ids=["put_object", "put_object if_match", "upload_object"],
)
def test_a_handle_of_what_was_appended_to_has_the_size_of_the_whole_object(
    aws: Aws, append: Callable[[s3.S3Bucket], s3.S3Object]
) -> None:
    """Not that of the new end; its metadata are those of the object too."""
    appended = append(aws.store.bucket(DIRECTORY))
    assert aws.last.headers["x-amz-write-offset-bytes"] in ("2", b"2")
    assert (appended.etag, appended.size) == ("0123456789abcdef0123456789abcdef", 3)
    assert aws.last.method == "HEAD"


def test_a_link_into_a_directory_bucket_warns_that_the_session_ends_before_it(aws: Aws) -> None:
    """AWS ends a session after five minutes, and what is signed with it."""
    with pytest.warns(UserWarning, match="signed with a session of the directory bucket, which AWS ends after 300 s"):
        aws.store.bucket(DIRECTORY)["k"].presigned_url()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        aws.store.bucket(DIRECTORY)["k"].presigned_url(expires_in=300)
        aws.store.bucket(ACCESS_POINT)["k"].presigned_url()


def test_etags_of_a_directory_bucket_are_not_compared(aws: Aws, caplog: pytest.LogCaptureFixture) -> None:
    """They look like MD5s: a write whose ETag differs is not sent again, and no warning is logged."""
    bucket = aws.store.bucket(DIRECTORY)
    assert etag_md5.are_no_md5s(bucket._address)
    assert not etag_md5.are_no_md5s(aws.store.bucket("invoices")._address)
    bucket.put_object("k", b"abc")
    bucket.upload_object("k", io.BytesIO(b"abc"))
    assert [request.method for request in aws.requests] == ["PUT", "PUT"]
    assert caplog.records == []


KEYS = ["b/2", "a", "b-1/x", "b/1", "c/d/2", "b-2", "c/d/1"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, KEYS),
        ({"prefix": "b/"}, ["b/2", "b/1"]),
        ({"prefix": "b"}, ["b/2", "b-1/x", "b/1", "b-2"]),
        ({"prefix": "c/d/1"}, ["c/d/1"]),
        ({"start_after": "b/1"}, ["b/2", "c/d/2", "c/d/1"]),
        ({"delimiter": "/"}, ["a", "b-2", "b-1/", "b/", "c/"]),
        ({"prefix": "b", "delimiter": "/"}, ["b-2", "b-1/", "b/"]),
        ({"prefix": "c/d", "delimiter": "/"}, ["c/d/"]),
        ({"delimiter": "-"}, ["a", "b/1", "b/2", "c/d/1", "c/d/2", "b-"]),
        ({"delimiter": "/", "start_after": "b0"}, ["c/"]),
        ({"glob": ["c/*/1", "c/d*/2"]}, ["c/d/2", "c/d/1"]),
        ({"glob": "b*"}, ["b-2"]),
    ],
)
def test_a_listing_of_a_directory_bucket_is_complete(aws: Aws, arguments: dict[str, Any], expected: list[str]) -> None:
    """In the store's order. What the store cannot do (other prefixes and delimiters, a start) is done here; see ``Aws._page``."""
    aws.keys = KEYS
    bucket = aws.store.bucket(DIRECTORY)
    found = [entry if isinstance(entry, str) else entry.key for entry in bucket.find(**arguments).entries()]
    if "delimiter" in arguments:
        assert sorted(found) == sorted(expected)
    else:
        assert found == expected
    first = bucket.find(**arguments).first()
    assert (first is None) is (
        "delimiter" in arguments and expected == [*filter(lambda entry: entry.endswith("/"), expected)]
    )
    assert bucket.find(**arguments).partitions(4)[0].count() == bucket.find(**arguments).count()


def test_a_path_in_a_directory_bucket_yields_each_entry_once(aws: Aws) -> None:
    """Also if entries of other folders, or other objects, come between those of a folder."""
    aws.keys = ["x/a", "y/b/1", "a", "x/c", "y/d", "a/1", "y/b/2"]
    root = aws.store.bucket(DIRECTORY).path("")
    assert [path.key for path in root.iterdir()] == ["x", "y", "a"]
    assert [path.key for path in root.glob("*")] == ["x", "y", "a"]
    assert [path.key for path in root.rglob("*")] == [
        "x",
        "x/a",
        "y",
        "y/b",
        "y/b/1",
        "a",
        "x/c",
        "y/d",
        "a/1",
        "y/b/2",
    ]
    assert [path.key for path in root.glob("**/b")] == ["y/b"]


def test_a_query_of_a_directory_bucket_is_not_split(aws: Aws) -> None:
    """Its listing cannot start after a key."""
    aws.keys = KEYS
    query = aws.store.bucket(DIRECTORY).find()
    assert query.partitions(4) == [query]
    assert [obj.key for obj in query.parallel(4)] == KEYS


def test_a_directory_bucket_is_emptied_and_deleted_without_asking_for_versions(aws: Aws) -> None:
    """It has none."""
    aws.store.bucket(DIRECTORY).delete_bucket(force=True)
    assert [request.method for request in aws.requests] == ["GET", "GET", "DELETE"]
    assert "versions" not in "".join(request.url for request in aws.requests)


def test_a_storage_class_is_not_copied_to_or_from_a_directory_bucket(aws: Aws) -> None:
    """Those of a directory bucket exist nowhere else."""
    aws.keys = ["k"]
    aws.store.bucket(DIRECTORY).find().copy_to(aws.store.bucket("invoices"))
    [copied] = [request for request in aws.requests if request.method == "PUT"]
    assert "x-amz-storage-class" not in copied.headers


def test_the_name_of_a_directory_bucket_means_nothing_on_another_store(scripted_server: ScriptedServer) -> None:
    """Only Amazon S3 has them."""
    bucket = scripted_server.connect().bucket(DIRECTORY)
    assert not bucket._address.is_directory
    assert bucket["k"].url == f"{scripted_server.endpoint_url}/{DIRECTORY}/k"
    assert bucket._address.capabilities == bucket.store._connection.capabilities
