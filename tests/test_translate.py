"""The translation: nothing from below reaches the user untranslated."""

from __future__ import annotations

import inspect
import pickle

import botocore.exceptions
import pytest
from botocore.exceptions import ClientError
from proxy import Fault, run_proxy, scripted
from servers import Server

import messageflux_s3 as s3
from messageflux_s3.translate import BY_CODE, from_answer, translating

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


@pytest.mark.parametrize(("code", "retryable"), [("BadDigest", True), ("InvalidDigest", False), ("OperationAborted", True)])
def test_what_was_damaged_on_its_way_may_be_sent_again(code: str, retryable: bool) -> None:
    """Bytes that changed may arrive the next time; a digest that is none never does."""
    answer = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    assert from_answer(answer, "PutObject", "b", "k").retryable is retryable


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


@pytest.mark.parametrize("call", ["buckets", "a loop", "a date"])
def test_an_answer_that_botocore_stumbles_over_is_an_error_of_the_tree(call: str, moto: Server) -> None:
    """A redirect without a bucket in it, one that leads back to itself, a date that is none: whatever Python raised there."""
    with run_proxy(moto.endpoint_url, lambda *_: None if call == "a date" else Fault("redirect_307")) as proxy:
        store = moto.connect(endpoint_url=proxy.endpoint_url, max_attempts=1)
        if call == "a date":
            answer = b"<R><Buckets><Bucket><Name>b</Name><CreationDate>never</CreationDate></Bucket></Buckets></R>"
            client_events = store.client.meta.events
            client_events.register("before-parse.s3.ListBuckets", lambda response_dict, **_: response_dict.update(body=answer))
        with pytest.raises(s3.S3ConnectionError) as caught:
            store.bucket("a-bucket").get_object("k") if call == "a loop" else list(store.buckets())
        assert caught.value.retryable
        assert caught.value.__cause__ is not None
        store.close()


@pytest.mark.parametrize(
    "fault",
    [
        Fault("cut_head", 0.3), Fault("cut_unframed"), Fault("cut_unframed", 0.1), Fault("cut_body", 0.0), Fault("xml_cut", 0.9),
        Fault("xml_bomb"),
    ],
    ids=str,
)  # fmt: skip
def test_an_error_that_broke_off_is_not_guessed_from_its_status(fault: Fault, moto: Server, moto_bucket: s3.S3Bucket) -> None:
    """A 404 that was about the missing rules said nothing of the bucket: it is asked again."""
    with run_proxy(moto.endpoint_url, scripted({("GET", "?lifecycle"): [fault]})) as proxy:
        patient = moto.connect(endpoint_url=proxy.endpoint_url, max_attempts=2)
        assert patient.bucket(moto_bucket.name).lifecycle.get().rules == ()
        assert proxy.counts()[fault.kind] == 1
        proxy.restart(scripted({("GET", "?lifecycle"): [fault]}))
        with pytest.raises((s3.S3ServerError, s3.S3ConnectionError)):
            moto.connect(endpoint_url=proxy.endpoint_url, max_attempts=1).bucket(moto_bucket.name).lifecycle.get()
