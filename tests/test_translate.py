"""The translation: nothing from below reaches the user untranslated."""

from __future__ import annotations

import http.client
import inspect
import pickle
import ssl
from typing import Any

import boto3.exceptions
import botocore.exceptions
import pytest
import urllib3.exceptions
from botocore.exceptions import ClientError
from support.proxy import Fault, run_proxy, scripted
from support.scripted_server import ScriptedServer
from support.servers import Server

import messageflux_s3 as s3
from messageflux_s3._client.translate import BY_CODE, BY_EXCEPTION, from_answer, translate, translating, was_retried

BOTOCORE = [
    cls
    for cls in vars(botocore.exceptions).values()
    if inspect.isclass(cls) and issubclass(cls, (botocore.exceptions.BotoCoreError, ClientError))
]


class _Anything(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return f"<{name}>"


def _made(cls: type[Exception]) -> Exception:
    """An instance of any botocore exception; their constructors differ."""
    if issubclass(cls, ClientError):
        return ClientError({"Error": {"Code": "Odd", "Message": "m"}}, "GetObject")
    error = cls.__new__(cls)
    Exception.__init__(error, "from below")
    error.kwargs = _Anything()  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize("cls", BOTOCORE, ids=lambda cls: cls.__name__)
def test_no_exception_of_botocore_reaches_the_user(cls: type[Exception]) -> None:
    """Every class that botocore defines becomes one of ours (or a ValueError for a wrong argument), its cause kept."""
    error = _made(cls)
    with pytest.raises((s3.S3Error, ValueError)) as caught, translating("GetObject", "b", "k"):
        raise error
    assert caught.value.__cause__ is error
    assert "GetObject" in str(caught.value)


@pytest.mark.parametrize(
    "name", ["ConnectTimeoutError", "ReadTimeoutError", "EndpointConnectionError", "SSLError", "ConnectionClosedError"]
)
def test_trouble_on_the_way_is_a_connection_error(name: str) -> None:
    """Nobody answered: worth another try."""
    with pytest.raises(s3.S3ConnectionError) as caught, translating("HeadObject", "b", "k"):
        raise _made(getattr(botocore.exceptions, name))
    assert caught.value.retryable


@pytest.mark.parametrize(("code", "cls"), BY_CODE.items(), ids=BY_CODE.keys())
def test_every_code_of_the_table_becomes_its_class(code: str, cls: type[s3.S3Error]) -> None:
    """The error carries everything that the store said, and pickles."""
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
def test_a_head_has_no_body_so_the_status_decides(status: int, key: str | None, cls: type[s3.S3Error]) -> None:
    """botocore gives the status as the code of a HEAD."""
    answer = {"Error": {"Code": str(status)}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error = from_answer(answer, "HeadObject", "b", key)
    assert type(error) is cls
    assert error.status == status


def test_a_403_on_a_key_says_that_it_may_be_missing() -> None:
    """Row 10: without s3:ListBucket a missing key answers 403."""
    answer = {"Error": {"Code": "403"}, "ResponseMetadata": {"HTTPStatusCode": 403}}
    assert "s3:ListBucket" in str(from_answer(answer, "HeadObject", "b", "k"))


@pytest.mark.parametrize(
    ("code", "retryable"), [("BadDigest", True), ("InvalidDigest", False), ("OperationAborted", True)]
)
def test_what_was_damaged_on_its_way_may_be_sent_again(code: str, retryable: bool) -> None:
    """Bytes that changed may arrive the next time; a digest that is none never does."""
    answer = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    assert from_answer(answer, "PutObject", "b", "k").retryable is retryable


@pytest.mark.parametrize("operation", ["PutObject", "DeleteObject", None])
def test_a_403_on_what_is_no_read_says_nothing_of_that(operation: str | None) -> None:
    """Whoever writes is not told that the key may be missing; and a bucket's 403 is just that."""
    answer = {"Error": {"Code": "403"}, "ResponseMetadata": {"HTTPStatusCode": 403}}
    assert "s3:ListBucket" not in str(from_answer(answer, operation, "b", "k"))
    assert "s3:ListBucket" not in str(from_answer(answer, "HeadObject", "b", None))
    assert "s3:ListBucket" not in str(from_answer({"Error": {"Code": "NoSuchKey"}}, "GetObject", "b", "k"))


def test_a_heads_404_gets_the_code_that_a_get_would_have() -> None:
    """And says that it cannot tell the bucket from the key; a code that was said is left alone, however odd."""
    answer = {"Error": {"Code": "404", "Message": "Not Found"}, "ResponseMetadata": {"HTTPStatusCode": 404}}
    on_key, on_bucket = from_answer(answer, "HeadObject", "b", "k"), from_answer(answer, "HeadBucket", "b", None)
    assert (on_key.code, on_bucket.code) == ("NoSuchKey", "NoSuchBucket")
    assert str(on_key) == (
        "HeadObject on s3://b/k: NoSuchKey (404): Not Found. The bucket may be missing as well: a HEAD does not tell them apart."
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
def test_only_a_heads_404_speaks_of_the_bucket(code: str, operation: str) -> None:
    """Whoever has a body to say it in has said which of them is missing."""
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
        ({"Error": {"Code": "412"}}, s3.S3PreconditionFailed, "412", 412, "412 (412): Precondition Failed."),
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
def test_whatever_is_missing_from_an_answer(
    answer: dict[str, object], cls: type[s3.S3Error], code: str | None, status: int | None, said: str
) -> None:
    """What is there decides, and the text is a sentence all the same."""
    error = from_answer(answer, None, None, None)
    assert (type(error), error.code, error.status) == (cls, code, status)
    assert str(error).endswith(said)
    assert ".." not in str(error)


def test_what_the_store_said_comes_before_what_we_would_say() -> None:
    """Its own words, else those of the cause, else the status in words."""

    def said(message: str, cause_text: str) -> str:
        answer = {"Error": {"Message": message}, "ResponseMetadata": {"HTTPStatusCode": 404}}
        return str(from_answer(answer, "GetObject", "b", "k", cause_text=cause_text))

    assert said("its words", "the cause") == "GetObject on s3://b/k: error (404): its words."
    assert said("", "the cause") == "GetObject on s3://b/k: error (404): the cause."
    assert said("", "") == "GetObject on s3://b/k: error (404): Not Found."


def test_a_hint_follows_where_something_can_be_done() -> None:
    """The code decides which."""
    answer = {
        "Error": {"Code": "BucketNotEmpty", "Message": "Not empty"},
        "ResponseMetadata": {"HTTPStatusCode": 409, "RequestId": 7},
    }
    error = from_answer(answer, "DeleteBucket", "b", None)
    assert (
        str(error)
        == "DeleteBucket on s3://b/: BucketNotEmpty (409): Not empty. delete_bucket(force=True) deletes what is in it first."
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
def test_which_answers_are_worth_another_try(code: str, retryable: bool) -> None:
    """The store was busy, or two writers met; what was refused stays refused."""
    assert from_answer({"Error": {"Code": code}}, "PutObject", "b", "k").retryable is retryable


@pytest.mark.parametrize(("cls", "ours"), BY_EXCEPTION, ids=lambda cls: cls.__name__)
def test_every_exception_of_the_table_becomes_its_class(cls: type[Exception], ours: type[s3.S3Error]) -> None:
    """With everything that is known of the call; only what may go better next time is retryable."""
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
def test_what_comes_from_below_botocore_is_a_connection_error(error: Exception) -> None:
    """A body is read from urllib3's response, which knows nothing of botocore. What has no words is called by its name."""
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
def test_what_went_wrong_on_the_way_is_explained(error: Exception, said: str) -> None:
    """Each in a way that says what to do."""
    assert said in str(translate(error, "GetObject", "b", "k"))


@pytest.mark.parametrize(
    "name", ["ParamValidationError", "ValidationError", "MissingParametersError", "UnknownParameterError"]
)
def test_a_wrong_argument_is_a_value_error(name: str) -> None:
    """botocore found it before anything was sent."""
    error = translate(_made(getattr(botocore.exceptions, name)), "GetObject", "b", "k")
    assert type(error) is ValueError
    assert str(error) == "GetObject on s3://b/k: from below"


def test_what_boto3_wraps_is_unwrapped() -> None:
    """Its transfers hide the answer in a sentence: the cause, or the context, tells."""

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


def test_the_operation_is_the_callers_name_of_it() -> None:
    """botocore's is taken where the caller did not say."""
    error = ClientError({"Error": {"Code": "AccessDenied"}}, "PutObject")
    told = [translate(error, operation, "b", "k") for operation in ("UploadPart", None)]
    assert [one.operation for one in told if isinstance(one, s3.S3Error)] == ["UploadPart", "PutObject"]


def test_only_what_boto3_says_counts_as_a_retry() -> None:
    """It counts the attempts in its answer; an error without an answer behind it was not retried."""

    def told(answer: object) -> bool:
        error = s3.S3Error("x")
        error.__cause__ = ClientError(answer, "PutObject")  # type: ignore[arg-type]
        return was_retried(error)

    assert [told({"ResponseMetadata": {"RetryAttempts": number}}) for number in (0, 1, 2)] == [False, True, True]
    assert [told({"ResponseMetadata": {}}), told({}), was_retried(s3.S3Error("x"))] == [False] * 3


def test_our_own_errors_pass_through_untouched() -> None:
    """Nothing is translated twice."""
    error = s3.S3LockError("mine")
    with pytest.raises(s3.S3LockError) as caught, translating("GetObject", "b", "k"):
        raise error
    assert caught.value is error


def test_what_is_not_from_below_passes_through() -> None:
    """A bug in a callback of the user's stays his."""
    with pytest.raises(ZeroDivisionError), translating("GetObject", "b", "k"):
        _ = 1 / 0


@pytest.mark.parametrize(
    ("module", "function", "is_about_an_answer"),
    [
        ("botocore.parsers", "_parse", True),
        ("botocore.a", "_parse", False),
        ("botocore.z", "_parse", False),
        ("botocore.endpoint", "_needs_retry", True),
        ("botocore.endpoint", "_a", False),
        ("botocore.endpoint", "_z", False),
        ("botocore.a", "_needs_retry", False),
        ("botocore.z", "_needs_retry", False),
    ],
)
def test_where_it_was_raised_tells_what_it_is_about(module: str, function: str, is_about_an_answer: bool) -> None:
    """In what reads the answer: about the answer, and worth another try; anywhere else it is a wrong argument, or somebody's bug."""
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


@pytest.mark.parametrize("call", ["buckets", "a date"])
def test_an_answer_that_botocore_stumbles_over_is_an_error_of_the_tree(call: str, moto: Server) -> None:
    """A redirect without a bucket in it, a date that is none: whatever Python raised there."""
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
def test_a_redirect_back_to_itself_is_asked_about_once(operation: str, moto: Server) -> None:
    """Without a region in it, botocore asks HeadBucket for one; each HeadBucket that was redirected too led to a next, 78 in all."""
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
def test_an_error_that_broke_off_is_not_guessed_from_its_status(
    fault: Fault, moto: Server, moto_bucket: s3.S3Bucket
) -> None:
    """A 404 that was about the missing rules said nothing of the bucket: it is asked again."""
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
    ],
)
@pytest.mark.parametrize("kind", ["http", "proxy", "botocore"])
def test_no_secret_of_a_lower_layer_is_shown(text: str, kind: str) -> None:
    """What is masked are values of headers, and users with their passwords in URLs."""
    error: Exception = {
        "http": botocore.exceptions.HTTPClientError(error=ValueError(text)),
        "proxy": botocore.exceptions.ProxyConnectionError(proxy_url=text, error=text),
        "botocore": boto3.exceptions.Boto3Error(text),
    }[kind]
    translated = translate(error, "GetObject", "b", "k")
    assert translated is not None and "SEKRET" not in str(translated) and "s3://b/k" in str(translated)


def test_a_token_with_a_line_end_is_not_shown(scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The HTTP library refuses the header, and quotes it."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ACCESSKEY01")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SECRETKEY0123456")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a\nSEKRET")
    with pytest.raises(s3.S3Error) as caught:
        s3.connect(scripted_server.endpoint_url, region="us-east-1", max_attempts=1).bucket("bkt").get_object("k")
    assert "SEKRET" not in str(caught.value)
