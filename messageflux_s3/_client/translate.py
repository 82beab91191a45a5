"""Translation of botocore's exceptions into this library's: by S3's error code, else by HTTP status, else by exception class."""

from __future__ import annotations

import binascii
import http.client
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import boto3.exceptions
import botocore.exceptions
import urllib3.exceptions

from ..errors import (
    S3AccessDenied,
    S3AuthenticationError,
    S3BucketExists,
    S3BucketNotEmpty,
    S3ChecksumError,
    S3ConnectionError,
    S3Error,
    S3InvalidName,
    S3NoSuchBucket,
    S3NoSuchItem,
    S3ObjectArchived,
    S3PreconditionFailed,
    S3ServerError,
    S3Throttled,
    S3Unsupported,
)

BY_CODE: dict[str, type[S3Error]] = {
    "NoSuchBucket": S3NoSuchBucket,
    "NoSuchAccessPoint": S3NoSuchBucket,
    "NoSuchMultiRegionAccessPoint": S3NoSuchBucket,
    "NoSuchKey": S3NoSuchItem,
    "NoSuchVersion": S3NoSuchItem,
    "NoSuchUpload": S3NoSuchItem,
    "AccessDenied": S3AccessDenied,
    "AllAccessDisabled": S3AccessDenied,
    "AccountProblem": S3AccessDenied,
    "AccessForbidden": S3AccessDenied,
    "UnauthorizedAccess": S3AccessDenied,
    "CrossLocationLoggingProhibited": S3AccessDenied,
    "NotSignedUp": S3AccessDenied,
    "InvalidPayer": S3AccessDenied,
    "InvalidObjectState": S3ObjectArchived,
    "ObjectNotInActiveTierError": S3ObjectArchived,
    "ObjectAlreadyInActiveTierError": S3Error,
    "InvalidAccessKeyId": S3AuthenticationError,
    "SignatureDoesNotMatch": S3AuthenticationError,
    "ExpiredToken": S3AuthenticationError,
    "ExpiredTokenException": S3AuthenticationError,
    "InvalidToken": S3AuthenticationError,
    "InvalidClientTokenId": S3AuthenticationError,
    "UnrecognizedClientException": S3AuthenticationError,
    "TokenRefreshRequired": S3AuthenticationError,
    "InvalidSecurity": S3AuthenticationError,
    "CredentialsNotSupported": S3AuthenticationError,
    "MissingSecurityHeader": S3AuthenticationError,
    "MissingAuthenticationToken": S3AuthenticationError,
    "AuthorizationHeaderMalformed": S3AuthenticationError,
    "AuthorizationQueryParametersError": S3AuthenticationError,
    "RequestTimeTooSkewed": S3AuthenticationError,
    "RequestExpired": S3AuthenticationError,
    "BucketAlreadyExists": S3BucketExists,
    "BucketAlreadyOwnedByYou": S3BucketExists,
    "BucketNotEmpty": S3BucketNotEmpty,
    "InvalidBucketName": S3InvalidName,
    "KeyTooLongError": S3InvalidName,
    "InvalidURI": S3InvalidName,
    "XMinioInvalidObjectName": S3InvalidName,
    "XMinioParentIsObject": S3InvalidName,
    "PreconditionFailed": S3PreconditionFailed,
    "ConditionalRequestConflict": S3PreconditionFailed,
    "BadDigest": S3ChecksumError,
    "InvalidDigest": S3ChecksumError,
    "XAmzContentSHA256Mismatch": S3ChecksumError,
    "XAmzContentChecksumMismatch": S3ChecksumError,
    "SlowDown": S3Throttled,
    "SlowDownRead": S3Throttled,
    "SlowDownWrite": S3Throttled,
    "Throttling": S3Throttled,
    "ThrottlingException": S3Throttled,
    "RequestThrottled": S3Throttled,
    "RequestLimitExceeded": S3Throttled,
    "RequestThrottledException": S3Throttled,
    "TooManyRequests": S3Throttled,
    "TooManyRequestsException": S3Throttled,
    "BandwidthLimitExceeded": S3Throttled,
    "InternalError": S3ServerError,
    "InternalServerError": S3ServerError,
    "ServiceUnavailable": S3ServerError,
    "BadGateway": S3ServerError,
    "GatewayTimeout": S3ServerError,
    "RequestTimeout": S3ConnectionError,
    "RequestTimeoutException": S3ConnectionError,
    "IncompleteBody": S3ConnectionError,
    "NotImplemented": S3Unsupported,
    "XNotImplemented": S3Unsupported,
    "UnsupportedOperation": S3Unsupported,
    "MethodNotAllowed": S3Unsupported,
    "UnsupportedArgument": S3Unsupported,
}
"""The exception class for each error code of S3 and of S3-compatible stores."""

_BY_STATUS: dict[int, type[S3Error]] = {
    401: S3AuthenticationError,
    403: S3AccessDenied,
    405: S3Unsupported,
    412: S3PreconditionFailed,
    429: S3Throttled,
    501: S3Unsupported,
    503: S3Throttled,
}

BY_EXCEPTION: tuple[tuple[type[Exception], type[S3Error]], ...] = (
    # The first match counts, so subclasses come before their base classes.
    (botocore.exceptions.FlexibleChecksumError, S3ChecksumError),
    (botocore.exceptions.ChecksumError, S3ChecksumError),
    (binascii.Error, S3ChecksumError),  # the store's checksum is not Base64
    (botocore.exceptions.HTTPClientError, S3ConnectionError),
    (botocore.exceptions.ConnectionError, S3ConnectionError),
    (botocore.exceptions.IncompleteReadError, S3ConnectionError),
    (botocore.exceptions.NoCredentialsError, S3AuthenticationError),
    (botocore.exceptions.PartialCredentialsError, S3AuthenticationError),
    (botocore.exceptions.CredentialRetrievalError, S3AuthenticationError),
    (botocore.exceptions.UnknownCredentialError, S3AuthenticationError),
    (botocore.exceptions.RefreshWithMFAUnsupportedError, S3AuthenticationError),
    (botocore.exceptions.ProfileNotFound, S3AuthenticationError),
    (botocore.exceptions.NoAuthTokenError, S3AuthenticationError),
    (botocore.exceptions.TokenRetrievalError, S3AuthenticationError),
    (botocore.exceptions.SSOError, S3AuthenticationError),
    (botocore.exceptions.MetadataRetrievalError, S3AuthenticationError),
    (botocore.exceptions.InfiniteLoopConfigError, S3AuthenticationError),
    (botocore.exceptions.UnsupportedS3ConfigurationError, S3Unsupported),
    (botocore.exceptions.UnsupportedS3ArnError, S3Unsupported),
    (botocore.exceptions.MissingDependencyException, S3Unsupported),  # a multi-region access point needs botocore[crt]
    (botocore.exceptions.UnsupportedS3AccesspointConfigurationError, S3Unsupported),
    (boto3.exceptions.RetriesExceededError, S3ConnectionError),
    (urllib3.exceptions.HTTPError, S3ConnectionError),
    (http.client.HTTPException, S3ConnectionError),
    (ssl.SSLError, S3ConnectionError),
    (ConnectionError, S3ConnectionError),
    (TimeoutError, S3ConnectionError),
)

_WRONG_ARGUMENTS = (
    botocore.exceptions.ParamValidationError,
    botocore.exceptions.ValidationError,
    botocore.exceptions.MissingParametersError,
    botocore.exceptions.UnknownParameterError,
)

_OF_ANSWERS = {
    "botocore.endpoint": ("_needs_retry", "_add_modeled_error_fields"),
    "botocore.handlers": ("decode_list_object", "decode_list_object_v2", "decode_list_object_versions"),
    "botocore.httpchecksum": ("_validate_checksum",),
}
"""botocore's functions that process a response, beside all those of ``botocore.parsers``."""

_USER_INFO = re.compile(r"//[^\s'\"<>]*@")
_HEADER = re.compile(r"(Invalid header (?:value|name)) b?(['\"]).*\2", re.DOTALL)  # http.client's text
_AUTHORITY = re.compile(r"(['\"]).*\1( is not a valid host or port)", re.DOTALL)  # urllib3's, about a proxy's URL

_NO_TLS = re.compile(r"WRONG_VERSION_NUMBER|UNKNOWN_PROTOCOL|HTTP_REQUEST|record layer failure")
"""OpenSSL's names for an answer that is not TLS."""
_TLS_ALERT = r"BadStatusLine('\x15\x03"
"""How http.client reports a TLS alert in place of an HTTP response."""

_RETRYABLE = (S3ConnectionError, S3Throttled, S3ServerError)
_RETRYABLE_CODES = (
    "ConditionalRequestConflict", "OperationAborted", "BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch",
)  # fmt: skip

_READS = ("GetObject", "HeadObject", "GetObjectTagging", "CopyObject")

_IN_ANOTHER_REGION = ("AuthorizationHeaderMalformed", "PermanentRedirect", "301")
"""Codes of responses whose header x-amz-bucket-region may name the region; the last one is that of a HEAD."""
_REGION = re.compile(r"[a-z0-9-]{1,40}")

_HINTS: dict[str, str] = {
    "InvalidAccessKeyId": "The store has no such access key: does it belong to another store or account?",
    "SignatureDoesNotMatch": "The secret key does not belong to the access key, or a proxy changed the request.",
    "ExpiredToken": "The temporary credentials have expired: reload_credentials() loads new ones.",
    "RequestTimeTooSkewed": "This machine's clock is off; set it.",
    "AuthorizationHeaderMalformed": "The bucket is probably in another region: connect(region=…).",
    "PermanentRedirect": "The bucket is in another region: connect(region=…).",
    "301": "The bucket is in another region: connect(region=…).",
    "BucketNotEmpty": "delete_bucket(force=True) deletes its contents first.",
    "InvalidObjectState": "The object is in an archive storage class: restore it first.",
    "ObjectNotInActiveTierError": "The object is in an archive storage class: restore it first.",
    "BucketAlreadyExists": "A bucket of another account has this name; all accounts of a store share the bucket names.",
}


def from_answer(
    response: Mapping[str, Any], operation: str | None, bucket: str | None, key: str | None, *, cause_text: str = ""
) -> S3Error:
    """Return the error for an error response of the store.

    Args:
        response: What botocore parsed: ``Error`` and ``ResponseMetadata``.
        operation: S3's name of the operation.
        bucket: The request's bucket.
        key: The request's key.
        cause_text: The explanation to use if the response has none.
    """
    error = response.get("Error") or {}
    metadata = response.get("ResponseMetadata") or {}
    code = str(error.get("Code") or "")
    status = metadata.get("HTTPStatusCode")
    if not isinstance(status, int):
        status = int(code) if code.isdigit() else 0
    cls = BY_CODE.get(code) or _by_status(status, key)
    if code.isdigit() and cls is S3NoSuchItem:
        code = "NoSuchKey"  # a response to HEAD has no body, so botocore uses the status as the code
    elif code.isdigit() and cls is S3NoSuchBucket:
        code = "NoSuchBucket"
    if (
        status == 405
        and key
        and str((metadata.get("HTTPHeaders") or {}).get("x-amz-delete-marker", "")).lower() == "true"
    ):
        # The version is a delete marker, on which S3 allows DELETE only: there is no object.
        cls, code, error = S3NoSuchItem, "MethodNotAllowed", {"Message": "this version is a delete marker"}
    # botocore gives the status as the code if the response has none: say it once.
    label = f"{code or 'error'}{f' ({status})' if status and code != str(status) else ''}"
    said = str(error.get("Message") or cause_text or http.client.responses.get(status, "no explanation"))
    hint = _HINTS.get(code, "")
    if cls is S3AccessDenied and key and operation in _READS:
        hint = "The key may also be missing: without s3:ListBucket a store returns 403 for that as well."
    elif code == "NoSuchKey" and operation == "HeadObject":
        hint = "The bucket may be missing as well: the response to a HEAD does not say which."
    request_id = metadata.get("RequestId")
    region = str((metadata.get("HTTPHeaders") or {}).get("x-amz-bucket-region", ""))
    if code in _IN_ANOTHER_REGION:
        hint = (
            f"The bucket is in the region {region}: connect(region={region!r})." if _REGION.fullmatch(region) else hint
        )
    if status == http.HTTPStatus.BAD_REQUEST and code in ("", "400"):
        if not request_id:  # not a response of S3
            hint = "If endpoint_url begins with http://, the port may be one for https://."
        elif (operation or "").startswith("Head"):
            hint = (
                "The response to a HEAD does not say why. Usual causes: the temporary credentials have expired, the version ID is invalid, "
                "or the object is encrypted with a customer's key (SSE-C)."
            )
    message = f"{_what(operation, bucket, key)}: {label}: {said.rstrip('.')}."
    return cls(
        f"{message} {hint}".rstrip(),
        operation=operation,
        bucket=bucket,
        key=key,
        code=code or None,
        status=status or None,
        request_id=str(request_id) if request_id else None,
        retryable=cls in _RETRYABLE or code in _RETRYABLE_CODES or status == http.HTTPStatus.TEMPORARY_REDIRECT,
        was_retried=bool(metadata.get("RetryAttempts")),
    )


def _by_status(status: int, key: str | None) -> type[S3Error]:
    if status == 404:
        return S3NoSuchItem if key else S3NoSuchBucket
    return _BY_STATUS.get(status, S3ServerError if status >= 500 else S3Error)


def _what(operation: str | None, bucket: str | None, key: str | None) -> str:
    where = f"s3://{bucket}/{key or ''}" if bucket else "the store"
    return f"{operation or 'The request'} on {where}"


def translate(error: BaseException, operation: str | None, bucket: str | None, key: str | None) -> Exception | None:
    """Return the error to raise in place of an exception from boto3 or a library that boto3 uses; None for any other exception."""
    if isinstance(error, S3Error):
        return None
    if isinstance(error, botocore.exceptions.ClientError):
        return from_answer(error.response, operation or error.operation_name, bucket, key)
    if isinstance(error, (boto3.exceptions.S3UploadFailedError, boto3.exceptions.S3TransferFailedError)):
        inner = error.__cause__ or error.__context__
        if inner is not None and (known := translate(inner, operation, bucket, key)) is not None:
            return known
    # A time that in UTC is after the year 9999.
    is_wrong_time = isinstance(error, OverflowError) and _raised_in(error) == "botocore.utils"
    if (isinstance(error, _WRONG_ARGUMENTS) or is_wrong_time) and not _is_about_an_answer(error):
        return ValueError(f"{_what(operation, bucket, key)}: {_masked(str(error))}")
    for cls, ours in BY_EXCEPTION:
        if isinstance(error, cls):
            return ours(
                f"{_what(operation, bucket, key)}: {_masked(_explain(error))}",
                operation=operation,
                bucket=bucket,
                key=key,
                retryable=ours in _RETRYABLE,
            )
    if _is_about_an_answer(error):
        return S3ConnectionError(
            f"{_what(operation, bucket, key)}: the answer cannot be parsed ({type(error).__name__}: {_masked(str(error))})",
            operation=operation,
            bucket=bucket,
            key=key,
            retryable=True,
        )
    if isinstance(error, RuntimeError) and _raised_in(error) == "botocore.credentials":
        return S3AuthenticationError(
            f"{_what(operation, bucket, key)}: the credentials have expired, and those that replaced them have expired as well. If "
            "they are new, this machine's clock is off.",
            operation=operation,
            bucket=bucket,
            key=key,
        )
    if isinstance(error, (botocore.exceptions.BotoCoreError, boto3.exceptions.Boto3Error)):
        return S3Error(
            f"{_what(operation, bucket, key)}: {_masked(str(error))}", operation=operation, bucket=bucket, key=key
        )
    return None


def _is_about_an_answer(error: BaseException) -> bool:
    """Return whether botocore failed to process a response, such as a malformed date, a listing whose entry has no key, or a redirect
    without a bucket or to the same URL.

    botocore does not wrap those exceptions. Only the traceback distinguishes them from exceptions for a wrong argument.
    """
    trace = error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_name
        module = trace.tb_frame.f_globals.get("__name__")
        if module == "botocore.parsers" or name in _OF_ANSWERS.get(str(module), ()):
            return True
        trace = trace.tb_next
    return False


def _raised_in(error: BaseException) -> str | None:
    """Return the name of the module that raised an exception itself, not in a function that it called."""
    trace, name = error.__traceback__, None
    while trace is not None:
        name, trace = trace.tb_frame.f_globals.get("__name__"), trace.tb_next
    return name


def _masked(text: str) -> str:
    """Return the text of an exception without possible secrets: users and passwords in URLs, values of headers."""
    return _AUTHORITY.sub(r"(not shown)\2", _HEADER.sub(r"\1 (not shown)", _USER_INFO.sub("//***@", text)))


def _may_show_secrets(error: BaseException) -> bool:
    """Return whether the text of an exception, or of one that it was raised from, may contain a secret."""
    waiting: list[BaseException | None] = [error]
    seen: list[BaseException] = []
    while waiting:
        each = waiting.pop()
        if each is None or any(each is other for other in seen):
            continue
        seen.append(each)
        text = str(each)
        if _masked(text) != text:
            return True
        waiting += [each.__cause__, each.__context__]
    return False


def _explain(error: BaseException) -> str:
    if isinstance(error, botocore.exceptions.EndpointConnectionError):
        return f"no server answers at the endpoint. Is the endpoint right, and is the store running? ({error})"
    if isinstance(error, botocore.exceptions.NoCredentialsError):
        return "no credentials were found. Give access_key and secret_key, a profile, or set up boto3's own chain."
    if isinstance(error, (botocore.exceptions.SSLError, ssl.SSLError)) and _NO_TLS.search(str(error)):
        return (
            f"the server does not speak TLS at this port: endpoint_url must begin with http://, not https://. ({error})"
        )
    if isinstance(error, botocore.exceptions.ConnectionClosedError):
        settings = error.kwargs
        if _TLS_ALERT in str(settings.get("error")):
            return f"the server speaks TLS at this port: endpoint_url must begin with https://, not http://. ({error})"
        if str(settings.get("endpoint_url")).startswith("http://"):
            return f"{error} A port for https:// closes such a connection too."
    if isinstance(error, botocore.exceptions.SSLError):
        return f"the TLS connection failed. verify= takes the path of the store's own CA. ({error})"
    return str(error) or type(error).__name__


@contextmanager
def translating(operation: str | None, bucket: str | None = None, key: str | None = None) -> Iterator[None]:
    """Translate the exceptions of a request that is made within the block.

    The original is the ``__cause__``, unless its text may contain a secret, which a traceback would show.
    """
    try:
        yield
    except Exception as error:
        ours = translate(error, operation, bucket, key)
        if ours is None:
            raise
        if not _may_show_secrets(error):
            raise ours from error
        try:
            raise ours from None
        finally:
            ours.__context__ = None  # "from None" only hides it
