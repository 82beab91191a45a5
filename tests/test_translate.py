"""Translation of exceptions: no botocore or urllib3 exception reaches the user."""

from __future__ import annotations

import http.client
import inspect
import pickle
import ssl
from collections.abc import Callable
from typing import Any, cast

import boto3.exceptions
import botocore.exceptions
import pytest
import urllib3.exceptions
from botocore.config import Config
from botocore.exceptions import ClientError
from support.proxy import Fault, run_proxy, scripted
from support.scripted_server import Answer, Asked, ScriptedServer, content_of, document
from support.servers import Server

import messageflux_s3 as s3
from messageflux_s3._client.translate import BY_CODE, BY_EXCEPTION, from_answer, translate, translating

BOTOCORE = [
    cls
    for cls in vars(botocore.exceptions).values()
    if inspect.isclass(cls) and issubclass(cls, (botocore.exceptions.BotoCoreError, ClientError))
]


_LISTED = "<EncodingType>url</EncodingType>"
_ENTRY = "<Size>1</Size><ETag>e</ETag><LastModified>2026-11-01T00:00:00Z</LastModified>"


class _Anything(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return f"<{name}>"


def _made(cls: type[Exception]) -> Exception:
    """Return an instance of any botocore exception, without its constructor: they differ."""
    if issubclass(cls, ClientError):
        return ClientError({"Error": {"Code": "Odd", "Message": "m"}}, "GetObject")
    error = cls.__new__(cls)
    Exception.__init__(error, "from below")
    error.kwargs = _Anything()  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize("cls", BOTOCORE, ids=lambda cls: cls.__name__)
def test_every_botocore_exception_becomes_s3error_or_valueerror(cls: type[Exception]) -> None:
    """ValueError for a wrong argument. The original is the cause."""
    error = _made(cls)
    with pytest.raises((s3.S3Error, ValueError)) as caught, translating("GetObject", "b", "k"):
        raise error
    assert caught.value.__cause__ is error
    assert "GetObject" in str(caught.value)


@pytest.mark.parametrize(
    "name", ["ConnectTimeoutError", "ReadTimeoutError", "EndpointConnectionError", "SSLError", "ConnectionClosedError"]
)
def test_network_errors_become_retryable_connection_errors(name: str) -> None:
    with pytest.raises(s3.S3ConnectionError) as caught, translating("HeadObject", "b", "k"):
        raise _made(getattr(botocore.exceptions, name))
    assert caught.value.retryable


@pytest.mark.parametrize(("code", "cls"), BY_CODE.items(), ids=BY_CODE.keys())
def test_error_code_decides_the_class(code: str, cls: type[s3.S3Error]) -> None:
    """The error has all members of the answer, and pickles."""
    response = {
        "Error": {"Code": code, "Message": "the store's words"},
        "ResponseMetadata": {"HTTPStatusCode": 499, "RequestId": "R1"},
    }
    with pytest.raises(cls) as caught, translating("PutObject", "b", "k"):
        raise ClientError(response, "PutObject")  # type: ignore[arg-type]
    error = pickle.loads(pickle.dumps(caught.value))
    assert type(error) is cls
    assert (error.operation, error.bucket, error.key, error.code, error.status, error.request_id) == (
        "PutObject", "b", "k", code, 499, "R1",
    )  # fmt: skip
    assert "s3://b/k" in str(error)
    assert "the store's words" in str(error)


@pytest.mark.parametrize(("operation", "is_hinted"), [("HeadObject", True), ("HeadBucket", True), ("GetObject", False)])
def test_400_to_a_head_names_the_usual_causes(operation: str, is_hinted: bool) -> None:
    """It has no body: AWS answers so to expired credentials, for which it gives a code elsewhere."""
    answer = {"Error": {"Code": "400"}, "ResponseMetadata": {"HTTPStatusCode": 400, "RequestId": "R1"}}
    error = from_answer(answer, operation, "b", "k" if operation.endswith("Object") else None)
    assert ("credentials have expired" in str(error)) is is_hinted


@pytest.mark.parametrize(
    ("code", "status"), [("PermanentRedirect", 301), ("301", 301), ("AuthorizationHeaderMalformed", 400)]
)
@pytest.mark.parametrize(
    ("header", "hint"), [("eu-west-1", "region='eu-west-1'"), ("", "region=…"), ("eu\x1b[2J", "region=…")]
)
def test_a_bucket_in_another_region_is_named_with_its_region(code: str, status: int, header: str, hint: str) -> None:
    """AWS names it in a header. boto3 follows such a redirect, but not from every endpoint."""
    metadata = {"HTTPStatusCode": status, "RequestId": "R1", "HTTPHeaders": {"x-amz-bucket-region": header}}
    error = from_answer({"Error": {"Code": code}, "ResponseMetadata": metadata}, "HeadObject", "b", "k")
    assert f"connect({hint})" in str(error)
    assert "\x1b" not in str(error)


def test_a_missing_access_point_is_a_missing_bucket() -> None:
    """Not a missing object: nothing can be written there either."""
    answer = {"Error": {"Code": "NoSuchAccessPoint"}, "ResponseMetadata": {"HTTPStatusCode": 404}}
    assert (
        type(from_answer(answer, "PutObject", "arn:aws:s3:eu-west-1:123456789012:accesspoint/a", "k"))
        is s3.S3NoSuchBucket
    )


@pytest.mark.parametrize(
    ("status", "key", "cls"),
    [
        (404, "k", s3.S3NoSuchItem),
        (404, None, s3.S3NoSuchBucket),
        (403, "k", s3.S3AccessDenied),
        (405, "k", s3.S3Unsupported),
        (400, "k", s3.S3Error),
        (499, "k", s3.S3Error),
        (401, "k", s3.S3AuthenticationError),
        (412, "k", s3.S3PreconditionFailed),
        (429, "k", s3.S3Throttled),
        (503, "k", s3.S3Throttled),
        (500, "k", s3.S3ServerError),
        (599, "k", s3.S3ServerError),
        (501, "k", s3.S3Unsupported),
        (418, "k", s3.S3Error),
    ],
)
def test_status_decides_the_class_of_an_error_without_code(status: int, key: str | None, cls: type[s3.S3Error]) -> None:
    """An answer to HEAD has no body; botocore gives the status as its code."""
    answer = {"Error": {"Code": str(status)}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error = from_answer(answer, "HeadObject", "b", key)
    assert type(error) is cls
    assert error.status == status


def test_403_for_a_read_of_a_key_hints_that_the_key_may_be_missing() -> None:
    """Without s3:ListBucket a store answers 403 for a missing key."""
    answer = {"Error": {"Code": "403"}, "ResponseMetadata": {"HTTPStatusCode": 403}}
    assert "s3:ListBucket" in str(from_answer(answer, "HeadObject", "b", "k"))


@pytest.mark.parametrize(
    ("code", "retryable"), [("BadDigest", True), ("InvalidDigest", False), ("OperationAborted", True)]
)
def test_bad_digest_is_retryable_and_invalid_digest_is_not(code: str, retryable: bool) -> None:
    """Damaged bytes may arrive intact the next time; a malformed digest stays malformed."""
    answer = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    assert from_answer(answer, "PutObject", "b", "k").retryable is retryable


@pytest.mark.parametrize("operation", ["PutObject", "DeleteObject", None])
def test_other_errors_do_not_hint_at_a_missing_key(operation: str | None) -> None:
    """Not for writes, not for a bucket, and not where the code says it already."""
    answer = {"Error": {"Code": "403"}, "ResponseMetadata": {"HTTPStatusCode": 403}}
    assert "s3:ListBucket" not in str(from_answer(answer, operation, "b", "k"))
    assert "s3:ListBucket" not in str(from_answer(answer, "HeadObject", "b", None))
    assert "s3:ListBucket" not in str(from_answer({"Error": {"Code": "NoSuchKey"}}, "GetObject", "b", "k"))


def test_404_of_a_head_has_the_error_code_of_a_get() -> None:
    """With a hint that the bucket may be missing. A code in the answer is kept."""
    answer = {"Error": {"Code": "404", "Message": "Not Found"}, "ResponseMetadata": {"HTTPStatusCode": 404}}
    on_key, on_bucket = from_answer(answer, "HeadObject", "b", "k"), from_answer(answer, "HeadBucket", "b", None)
    assert (on_key.code, on_bucket.code) == ("NoSuchKey", "NoSuchBucket")
    assert str(on_key) == (
        "HeadObject on s3://b/k: NoSuchKey (404): Not Found. The bucket may be missing as well: the response to a HEAD does not say which."
    )
    assert str(on_bucket) == "HeadBucket on s3://b/: NoSuchBucket (404): Not Found."
    said = {"Error": {"Code": "NoSuchVersion"}, "ResponseMetadata": {"HTTPStatusCode": 404}}
    assert from_answer(said, "GetObject", "b", "k").code == "NoSuchVersion"
    lost = from_answer({"Error": {"Code": "NoSuchKey"}}, "GetObject", "b", "k")
    assert (str(lost), lost.status) == ("GetObject on s3://b/k: NoSuchKey: no explanation.", None)
    odd = from_answer(
        {"Error": {"Code": "NoSuchTagSet"}, "ResponseMetadata": {"HTTPStatusCode": 404}}, "GetBucketTagging", "b", None
    )
    assert (type(odd), odd.code) == (s3.S3NoSuchBucket, "NoSuchTagSet")
    assert from_answer({"Error": {"Code": "418"}}, "HeadObject", "b", "k").code == "418"


@pytest.mark.parametrize(
    ("code", "operation"),
    [
        ("SlowDown", "HeadObject"),
        ("InternalError", "HeadObject"),
        ("NoSuchKey", "GetObject"),
        ("NoSuchKey", "PutObject"),
    ],
)
def test_only_the_404_of_a_head_hints_that_the_bucket_may_be_missing(code: str, operation: str) -> None:
    """Other answers have a body with the code."""
    assert "bucket may be missing" not in str(from_answer({"Error": {"Code": code}}, operation, "b", "k"))


@pytest.mark.parametrize(
    ("answer", "cls", "code", "status", "said"),
    [
        ({}, s3.S3Error, None, None, "The request on the store: error: no explanation."),
        (
            {"Error": None, "ResponseMetadata": None},
            s3.S3Error,
            None,
            None,
            "The request on the store: error: no explanation.",
        ),
        (
            {"ResponseMetadata": {"HTTPStatusCode": 200}},
            s3.S3Error,
            None,
            200,
            "The request on the store: error (200): OK.",
        ),
        ({"ResponseMetadata": {"HTTPStatusCode": 503}}, s3.S3Throttled, None, 503, "error (503): Service Unavailable."),
        ({"Error": {"Code": "412"}}, s3.S3PreconditionFailed, "412", 412, "412: Precondition Failed."),
        (
            {"Error": {"Code": "500"}, "ResponseMetadata": {"HTTPStatusCode": "x"}},
            s3.S3ServerError,
            "500",
            500,
            ": Internal Server Error.",
        ),
        (
            {"Error": {"Code": "SlowDown"}, "ResponseMetadata": {"HTTPStatusCode": 200}},
            s3.S3Throttled,
            "SlowDown",
            200,
            "OK.",
        ),
        (
            {"Error": {"Code": "Odd", "Message": "x."}, "ResponseMetadata": {"HTTPStatusCode": 499}},
            s3.S3Error,
            "Odd",
            499,
            "(499): x.",
        ),
        ({"ResponseMetadata": {"HTTPStatusCode": 499}}, s3.S3Error, None, 499, "no explanation."),
    ],
)
def test_error_answers_with_missing_members(
    answer: dict[str, object], cls: type[s3.S3Error], code: str | None, status: int | None, said: str
) -> None:
    """The class follows from the members present, and the message is a sentence."""
    error = from_answer(answer, None, None, None)
    assert (type(error), error.code, error.status) == (cls, code, status)
    assert str(error).endswith(said)
    assert ".." not in str(error)


def test_message_is_the_stores_else_the_causes_else_the_status_phrase() -> None:
    def said(message: str, cause_text: str) -> str:
        answer = {"Error": {"Message": message}, "ResponseMetadata": {"HTTPStatusCode": 404}}
        return str(from_answer(answer, "GetObject", "b", "k", cause_text=cause_text))

    assert said("its words", "the cause") == "GetObject on s3://b/k: error (404): its words."
    assert said("", "the cause") == "GetObject on s3://b/k: error (404): the cause."
    assert said("", "") == "GetObject on s3://b/k: error (404): Not Found."


def test_a_status_that_botocore_gives_as_the_code_is_said_once() -> None:
    """As for the response to a HEAD, which has no body; the attribute stays."""
    for status, phrase in ((403, "Forbidden"), (500, "Internal Server Error")):
        answer = {"Error": {"Code": str(status), "Message": phrase}, "ResponseMetadata": {"HTTPStatusCode": status}}
        error = from_answer(answer, "HeadBucket", "b", None)
        assert str(error) == f"HeadBucket on s3://b/: {status}: {phrase}."
        assert (error.code, error.status) == (str(status), status)


def test_a_400_without_a_code_hints_at_a_port_for_https() -> None:
    """S3's own responses have a code or, to a HEAD, a request ID."""
    ours = {"Error": {"Code": "400"}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    assert "the port may be one for https://" in str(from_answer(ours, "HeadBucket", "b", None))
    of_s3 = {"Error": {"Code": "400"}, "ResponseMetadata": {"HTTPStatusCode": 400, "RequestId": "1A2B"}}
    assert "https" not in str(from_answer(of_s3, "HeadBucket", "b", None))
    coded = {"Error": {"Code": "InvalidArgument"}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    assert "https" not in str(from_answer(coded, "HeadBucket", "b", None))


def _closed(reason: str, url: str) -> Exception:
    return botocore.exceptions.ConnectionClosedError(error=f"('Connection aborted.', {reason})", endpoint_url=url)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            botocore.exceptions.SSLError(
                endpoint_url="https://x", error="[SSL: WRONG_VERSION_NUMBER] wrong version number"
            ),
            "does not speak TLS at this port: endpoint_url must begin with http://",
        ),
        (ssl.SSLError("[SSL] record layer failure"), "does not speak TLS at this port"),
        (
            _closed(r"BadStatusLine('\x15\x03\x01\x00\x02\x02F')", "http://x"),
            "speaks TLS at this port: endpoint_url must begin with https://",
        ),
        (
            _closed("ConnectionResetError(104, 'reset')", "http://x"),
            "A port for https:// closes such a connection too.",
        ),
    ],
    ids=["HTTP server", "HTTP server, of a stream", "alert", "closed"],
)
def test_the_wrong_scheme_of_an_endpoint_is_named(error: Exception, said: str) -> None:
    ours = translate(error, "GetObject", "b", "k")
    assert isinstance(ours, s3.S3ConnectionError)
    assert said in str(ours)


def test_a_connection_of_https_that_is_closed_does_not_hint_at_the_scheme() -> None:
    assert "port" not in str(
        translate(_closed("ConnectionResetError(104, 'reset')", "https://x"), "GetObject", "b", "k")
    )


@pytest.mark.parametrize(
    "body",
    [
        b"Client sent an HTTP request to an HTTPS server.\n",
        b"<html><body><h1>The plain HTTP request was sent to HTTPS port</h1></body></html>",
        b"<p>Reason: You're speaking plain HTTP to an SSL-enabled server port.<br />",
    ],
    ids=["Go", "nginx", "Apache"],
)
def test_a_server_that_expects_tls_is_understood(scripted_server: ScriptedServer, body: bytes) -> None:
    """Its own words for an HTTP request, in reply to a GET; the reply to a HEAD has no body."""
    scripted_server.answer = lambda asked: (400, {"Content-Type": "text/html"}, body)
    bucket = scripted_server.connect(max_attempts=1).bucket("bucket")
    with pytest.raises(s3.S3Error, match=r"HttpsPort.*speaks TLS at this port: endpoint_url must begin with https://"):
        bucket.find().first()
    with pytest.raises(s3.S3Error, match=r": 400: Bad Request. If endpoint_url begins with http://"):
        bucket.exists()


def test_message_ends_with_a_hint_for_some_codes() -> None:
    answer = {
        "Error": {"Code": "BucketNotEmpty", "Message": "Not empty"},
        "ResponseMetadata": {"HTTPStatusCode": 409, "RequestId": 7},
    }
    error = from_answer(answer, "DeleteBucket", "b", None)
    assert (
        str(error)
        == "DeleteBucket on s3://b/: BucketNotEmpty (409): Not empty. delete_bucket(force=True) deletes its contents first."
    )
    assert (error.request_id, error.key, error.retryable) == ("7", None, False)
    assert from_answer({}, "DeleteBucket", "b", None).request_id is None


@pytest.mark.parametrize(
    ("code", "retryable"),
    [
        ("SlowDown", True),
        ("InternalError", True),
        ("RequestTimeout", True),
        ("ConditionalRequestConflict", True),
        ("OperationAborted", True),
        ("PreconditionFailed", False),
        ("NoSuchKey", False),
        ("AccessDenied", False),
    ],
)
def test_retryable_error_codes(code: str, retryable: bool) -> None:
    """Those for a busy store or concurrent writers."""
    assert from_answer({"Error": {"Code": code}}, "PutObject", "b", "k").retryable is retryable


@pytest.mark.parametrize(("cls", "ours"), BY_EXCEPTION, ids=lambda cls: cls.__name__)
def test_exception_class_decides_the_class(cls: type[Exception], ours: type[s3.S3Error]) -> None:
    """With operation, bucket and key; connection errors are retryable."""
    error = translate(_made(cls), "GetObject", "b", "k")
    assert isinstance(error, s3.S3Error)
    assert (type(error), error.operation, error.bucket, error.key) == (ours, "GetObject", "b", "k")
    assert error.retryable is (ours is s3.S3ConnectionError)


@pytest.mark.parametrize(
    "error",
    [
        urllib3.exceptions.ProtocolError("cut"),
        http.client.IncompleteRead(b""),
        ssl.SSLError("bad"),
        ConnectionResetError(),
        TimeoutError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_urllib3_and_socket_errors_become_connection_errors(error: Exception) -> None:
    """A body is read from urllib3's response, without botocore. An exception without message is shown by its class name."""
    ours = translate(error, "GetObject", "b", "k")
    assert isinstance(ours, s3.S3ConnectionError)
    assert str(ours) == f"GetObject on s3://b/k: {str(error) or type(error).__name__}"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            botocore.exceptions.EndpointConnectionError(endpoint_url="http://nowhere"),
            "Is the endpoint right, and is the store running",
        ),
        (botocore.exceptions.NoCredentialsError(), "no credentials were found"),
        (botocore.exceptions.SSLError(endpoint_url="https://x", error="bad"), "verify="),
    ],
    ids=lambda value: type(value).__name__,
)
def test_message_says_what_to_do_about_common_failures(error: Exception, said: str) -> None:
    assert said in str(translate(error, "GetObject", "b", "k"))


@pytest.mark.parametrize(
    "name", ["ParamValidationError", "ValidationError", "MissingParametersError", "UnknownParameterError"]
)
def test_botocore_validation_errors_become_value_errors(name: str) -> None:
    """botocore raises them before it sends anything."""
    error = translate(_made(getattr(botocore.exceptions, name)), "GetObject", "b", "k")
    assert type(error) is ValueError
    assert str(error) == "GetObject on s3://b/k: from below"


def test_error_wrapped_by_boto3_transfers_is_unwrapped() -> None:
    """The original is its cause, or its context."""

    def wrapped(inner: Exception, *, explicitly: bool) -> Exception:
        try:
            try:
                raise inner
            except Exception as error:
                if explicitly:
                    raise boto3.exceptions.S3UploadFailedError("wrapped") from error
                raise boto3.exceptions.S3UploadFailedError("wrapped")  # noqa: B904
        except boto3.exceptions.S3UploadFailedError as error:
            return error

    denied = ClientError({"Error": {"Code": "AccessDenied"}}, "PutObject")
    for explicitly in (True, False):
        assert type(translate(wrapped(denied, explicitly=explicitly), "PutObject", "b", "k")) is s3.S3AccessDenied
    for nothing_known in (wrapped(KeyError("x"), explicitly=True), boto3.exceptions.S3UploadFailedError("wrapped")):
        error = translate(nothing_known, "PutObject", "b", "k")
        assert (type(error), str(error)) == (s3.S3Error, "PutObject on s3://b/k: wrapped")
        assert isinstance(error, s3.S3Error)
        assert (error.operation, error.bucket, error.key) == ("PutObject", "b", "k")


def test_operation_is_the_callers_else_botocores() -> None:
    error = ClientError({"Error": {"Code": "AccessDenied"}}, "PutObject")
    told = [translate(error, operation, "b", "k") for operation in ("UploadPart", None)]
    assert [one.operation for one in told if isinstance(one, s3.S3Error)] == ["UploadPart", "PutObject"]


def test_was_retried_follows_botocores_retry_attempts() -> None:
    """An error without an answer was not retried. The field is pickled."""

    def retried(answer: object) -> bool:
        error = translate(ClientError(answer, "PutObject"), "PutObject", "b", "k")  # type: ignore[arg-type]
        assert isinstance(error, s3.S3Error)
        assert pickle.loads(pickle.dumps(error)).was_retried is error.was_retried
        return error.was_retried

    assert [retried({"ResponseMetadata": {"RetryAttempts": count}}) for count in (0, 1, 2)] == [False, True, True]
    assert [retried({"ResponseMetadata": {}}), retried({}), s3.S3Error("x").was_retried] == [False] * 3


def test_s3errors_are_not_translated() -> None:
    error = s3.S3LockError("mine")
    with pytest.raises(s3.S3LockError) as caught, translating("GetObject", "b", "k"):
        raise error
    assert caught.value is error


def test_other_exceptions_are_not_translated() -> None:
    """Such as one raised by a user's callback."""
    with pytest.raises(ZeroDivisionError), translating("GetObject", "b", "k"):
        _ = 1 / 0


@pytest.mark.parametrize(
    ("module", "function", "is_about_an_answer"),
    [
        ("botocore.parsers", "_parse", True),
        ("botocore.a", "_parse", False),
        ("botocore.z", "_parse", False),
        ("botocore.endpoint", "_needs_retry", True),
        ("botocore.endpoint", "_add_modeled_error_fields", True),
        ("botocore.handlers", "decode_list_object_v2", True),
        ("botocore.handlers", "sse_md5", False),
        ("botocore.httpchecksum", "_validate_checksum", True),
        ("botocore.endpoint", "_a", False),
        ("botocore.endpoint", "_z", False),
        ("botocore.a", "_needs_retry", False),
        ("botocore.z", "_needs_retry", False),
    ],
)
def test_exception_raised_in_botocores_parsers_is_a_connection_error(
    module: str, function: str, is_about_an_answer: bool
) -> None:
    """And retryable. Raised elsewhere, it is a wrong argument, or not translated."""
    for raised, otherwise in (("RuntimeError()", type(None)), ("ParamValidationError(report='x')", ValueError)):
        functions: dict[str, Any] = {
            "__name__": module,
            "ParamValidationError": botocore.exceptions.ParamValidationError,
        }
        exec(f"def {function}():\n    raise {raised}", functions)
        with pytest.raises(Exception) as caught:
            functions[function]()
        ours = translate(caught.value, "GetObject", "b", "k")
        assert type(ours) is (s3.S3ConnectionError if is_about_an_answer else otherwise)
        assert getattr(ours, "retryable", None) is (True if is_about_an_answer else None)


def _list(bucket: s3.S3Bucket) -> object:
    return list(bucket.find())


def _list_versions(bucket: s3.S3Bucket) -> object:
    return list(bucket.find(versions=True))


MALFORMED: dict[str, tuple[Callable[[s3.S3Bucket], object], Answer]] = {
    "listed object without a key": (_list, document("ListBucketResult", f"{_LISTED}<Contents>{_ENTRY}</Contents>")),
    "common prefix without text": (
        _list,
        document("ListBucketResult", f"{_LISTED}<CommonPrefixes><Prefix/></CommonPrefixes>"),
    ),
    "version without a key": (_list_versions, document("ListVersionsResult", f"{_LISTED}<Version>{_ENTRY}</Version>")),
    "two ETags of a version": (
        _list_versions,
        document(
            "ListVersionsResult", f"<Version><Key>k</Key><VersionId>v</VersionId>{_ENTRY}<ETag>f</ETag></Version>"
        ),
    ),
    "two names of a bucket": (
        lambda bucket: list(bucket.store.buckets()),
        document("R", "<Buckets><Bucket><Name>a</Name><Name>b</Name></Bucket></Buckets>"),
    ),
    "two keys of an upload": (
        lambda bucket: bucket.clear_objects(versions=True),
        document("ListMultipartUploadsResult", "<Upload><Key>a</Key><Key>b</Key><UploadId>u</UploadId></Upload>"),
    ),
    "two ETags of a copy": (
        lambda bucket: bucket["k"].copy_to("l"),
        document("CopyObjectResult", "<ETag>e</ETag><ETag>f</ETag>"),
    ),
    "error code with an element": (
        lambda bucket: bucket["k"].put(b"x"),
        (403, {}, b"<Error><Code><b>AccessDenied</b></Code></Error>"),
    ),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_document_raises_an_error_of_this_library(scripted_server: ScriptedServer, name: str) -> None:
    """boto3 raises KeyError, AttributeError or TypeError, or returns XML elements in place of text."""
    call, answer = MALFORMED[name]

    def answered(asked: Asked) -> Answer:
        if asked.method == "HEAD":
            return content_of(asked, b"x")
        if "versioning" in asked.query or ("list-type" in asked.query and name == "two keys of an upload"):
            return document("VersioningConfiguration" if "versioning" in asked.query else "ListBucketResult")
        return answer

    scripted_server.answer = answered
    with pytest.raises(s3.S3Error) as caught:
        call(scripted_server.bucket(lane=False, preset="aws"))
    assert caught.value.retryable


def test_a_checksum_that_is_not_base64_is_a_checksum_error(scripted_server: ScriptedServer) -> None:
    """boto3 raises an exception of its Base64 decoder."""
    scripted_server.answer = lambda asked: (200, {"ETag": '"e"', "x-amz-checksum-crc32": "abc"}, b"x")
    with pytest.raises(s3.S3ChecksumError):
        _ = scripted_server.bucket(lane=False, preset="aws")["k"].body


@pytest.mark.parametrize("header", ["Expires", "x-amz-object-lock-retain-until-date"])
def test_a_time_without_equivalent_in_utc_is_a_value_error(scripted_server: ScriptedServer, header: str) -> None:
    """A rewrite would send it again; boto3 raises OverflowError."""
    odd = {header: "Fri, 31 Dec 9999 23:59:59 -2359", "x-amz-object-lock-mode": "GOVERNANCE"}

    def answer(asked: Asked) -> Answer:
        status, headers, body = cast("tuple[int, dict[str, str], bytes]", content_of(asked, b"x"))
        return status, {**headers, **odd}, body

    scripted_server.answer = answer
    with pytest.raises(ValueError, match="out of range"):
        scripted_server.bucket(lane=False, preset="aws")["k"].update(lambda _: b"y")
    assert {asked.method for asked in scripted_server.asked} == {"GET"}


@pytest.mark.parametrize("call", ["buckets", "a date"])
def test_answer_that_botocore_cannot_process_raises_connection_error(call: str, moto: Server) -> None:
    """A redirect without a bucket, a malformed date."""
    with run_proxy(moto.endpoint_url, lambda *_: None if call == "a date" else Fault("redirect_307")) as proxy:
        store = moto.connect(endpoint_url=proxy.endpoint_url, max_attempts=1)
        if call == "a date":
            answer = b"<R><Buckets><Bucket><Name>b</Name><CreationDate>never</CreationDate></Bucket></Buckets></R>"
            client_events = store.client.meta.events
            client_events.register(
                "before-parse.s3.ListBuckets", lambda response_dict, **_: response_dict.update(body=answer)
            )
        with pytest.raises(s3.S3ConnectionError) as caught:
            list(store.buckets())
        assert caught.value.retryable
        assert caught.value.__cause__ is not None
        store.close()


@pytest.mark.parametrize("operation", ["GetObject", "HeadObject", "HeadBucket", "PutObject"])
def test_redirect_to_the_same_url_sends_one_head_bucket(operation: str, moto: Server) -> None:
    """botocore sends HeadBucket to learn the region, and would send one more for each HeadBucket that is redirected, 78 in all."""
    with run_proxy(moto.endpoint_url, lambda *_: Fault("redirect_307")) as proxy:
        store = moto.connect(endpoint_url=proxy.endpoint_url, max_attempts=1)
        bucket = store.bucket("a-bucket")
        with pytest.raises(s3.S3Error) as caught:
            {
                "GetObject": lambda: bucket.get_object("k"),
                "HeadObject": bucket["k"].exists,
                "HeadBucket": bucket.exists,
                "PutObject": lambda: bucket.put_object("k", b"body"),
            }[operation]()
        assert (caught.value.status, caught.value.retryable) == (307, True)
        assert proxy.counts()["redirect_307"] <= 3, (
            "the request, through the lane and through boto3, and one HeadBucket"
        )
        store.close()


@pytest.mark.parametrize(
    "fault",
    [
        Fault("cut_head", 0.3), Fault("cut_unframed"), Fault("cut_unframed", 0.1), Fault("cut_body", 0.0), Fault("xml_cut", 0.9),
        Fault("xml_bomb"),
    ],
    ids=str,
)  # fmt: skip
def test_truncated_error_document_is_retried(fault: Fault, moto: Server, moto_bucket: s3.S3Bucket) -> None:
    """The code in the lost part says that the rules are missing; the status alone would mean the bucket."""
    with run_proxy(moto.endpoint_url, scripted({("GET", "?lifecycle"): [fault]})) as proxy:
        patient = moto.connect(endpoint_url=proxy.endpoint_url, max_attempts=2)
        assert patient.bucket(moto_bucket.name).lifecycle.get().rules == ()
        assert proxy.counts()[fault.kind] == 1
        proxy.restart(scripted({("GET", "?lifecycle"): [fault]}))
        with pytest.raises((s3.S3ServerError, s3.S3ConnectionError)):
            moto.connect(endpoint_url=proxy.endpoint_url, max_attempts=1).bucket(moto_bucket.name).lifecycle.get()


@pytest.mark.parametrize(
    "text",
    [
        "Invalid header value b'a\\nSEKRET'",
        'Invalid header value b"a\\n\'SEKRET"',
        'Failed to connect to proxy URL: "socks5://user:SEKRET@h:1"',
        "Failed to connect to proxy URL: http://user:SEK/SEKRET@h:1",
        "Failed to parse: 'user:SEKRET' is not a valid host or port",
    ],
)
@pytest.mark.parametrize("kind", ["http", "proxy", "botocore"])
def test_message_masks_header_values_and_url_credentials(text: str, kind: str) -> None:
    """User names and passwords in URLs."""
    error: Exception = {
        "http": botocore.exceptions.HTTPClientError(error=ValueError(text)),
        "proxy": botocore.exceptions.ProxyConnectionError(proxy_url=text, error=text),
        "botocore": boto3.exceptions.Boto3Error(text),
    }[kind]
    translated = translate(error, "GetObject", "b", "k")
    assert translated is not None and "SEKRET" not in str(translated) and "s3://b/k" in str(translated)


def assert_shows_nowhere(error: BaseException, secret: str) -> None:
    """Fail if the text of the exception, or of any that it was raised from, contains the secret."""
    waiting: list[BaseException | None] = [error]
    while waiting:
        if (each := waiting.pop()) is not None:
            assert secret not in f"{each} {each!r}"
            waiting += [each.__cause__, each.__context__]


def test_error_for_a_token_with_a_line_end_does_not_contain_it(
    scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """http.client rejects the header and quotes its value; a traceback shows the exceptions that the error was raised from too."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ACCESSKEY01")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SECRETKEY0123456")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a\nSEKRET")
    with pytest.raises(s3.S3Error) as caught:
        s3.connect(scripted_server.endpoint_url, region="us-east-1", max_attempts=1).bucket("bkt").get_object("k")
    assert_shows_nowhere(caught.value, "SEKRET")


@pytest.mark.parametrize(
    "url", ["http://user:SEKRET/x@h:1", "http://user:SEKRET@h:99999", "HTTP://user:SEKRET@127.0.0.1:9"]
)
def test_error_for_a_proxy_whose_url_is_not_valid_does_not_contain_its_password(url: str) -> None:
    """urllib3 and botocore quote such a URL, or a part of it, in the exceptions that the error was raised from."""
    settings = Config(proxies={"http": url})
    store = s3.connect("http://s3.example.com", access_key="a", secret_key="b", max_attempts=1, config=settings)
    with pytest.raises(s3.S3Error) as caught:
        store.bucket("bkt").get_object("k")
    assert_shows_nowhere(caught.value, "SEKRET")


def test_an_error_without_secrets_keeps_its_cause() -> None:
    with pytest.raises(s3.S3ConnectionError) as caught, translating("GetObject", "b", "k"):
        raise botocore.exceptions.HTTPClientError(error=ValueError("what happened"))
    assert isinstance(caught.value.__cause__, botocore.exceptions.HTTPClientError)
