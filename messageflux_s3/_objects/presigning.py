"""Presigned URLs and POST forms, signed locally.

They are always signed with Signature Version 4, for the bucket's own endpoint and region: AWS's global endpoint redirects
requests for a bucket in another region, and the signature is then invalid.
"""

from __future__ import annotations

import base64
import hmac
import json
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from .._client import buckets
from .._client.addresses import BucketAddress, ObjectAddress, is_ip_address
from .._client.aws_hosts import dns_suffix
from .._client.connection import HEADERS, Connection
from .._formats.keys import quote_key
from .._formats.times import as_utc
from .._http.signing import UNSIGNED_PAYLOAD, key_of, text_to_sign
from ..errors import S3AuthenticationError, S3Error, S3Unsupported

MAX_SECONDS = 7 * 24 * 3600
_SESSION_SECONDS = 300
METHODS = ("GET", "HEAD", "PUT", "DELETE")
_SIGNED = "it belongs to the signature"
_OWN_FIELDS = {
    "key": "the handle says where the object is written",
    "bucket": "the handle says where the object is written",
    "file": "it is the content",
    **dict.fromkeys(
        ("policy", "x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature", "x-amz-security-token"),
        _SIGNED,
    ),
}
"""Fields of a form that are rejected: they would override, or be overridden by, what this library puts into the form."""
_HOST_LABEL = re.compile(r"[a-z0-9][a-z0-9-]{0,61}[a-z0-9]")


@dataclass(frozen=True, slots=True)
class PresignedPost:
    """A presigned form with which a browser uploads one object.

    Attributes:
        url: The URL to which the form is sent.
        fields: The fields of the form. They must precede the file's field, which is named ``file``.
    """

    url: str
    fields: Mapping[str, str]

    def __getitem__(self, name: str) -> Any:
        """Return ``form["url"]`` or ``form["fields"]``, as with the dict that boto3 returns."""
        if name not in ("url", "fields"):
            raise KeyError(name)
        return getattr(self, name)

    def __repr__(self) -> str:
        return f"PresignedPost(url={self.url!r}, fields={{{', '.join(repr(name) for name in self.fields)}}})"


@dataclass(frozen=True, slots=True)
class _SigningCredentials:
    access_key: str
    secret_key: str
    token: str | None

    def __repr__(self) -> str:
        return "_SigningCredentials(…)"


class PostPolicy(NamedTuple):
    """The conditions that an upload with a presigned form must meet.

    Attributes:
        content_type: The Content-Type that the form must have.
        min_size: The smallest number of bytes.
        max_size: The largest number of bytes.
        fields: Further fields that the form must have with exactly these values.
        conditions: Further conditions in S3's own form (``["starts-with", "$Content-Type", "image/"]``).
    """

    content_type: str | None = None
    min_size: int | None = None
    max_size: int | None = None
    fields: Mapping[str, str] | None = None
    conditions: Sequence[Any] = ()


def presigned_url(
    address: ObjectAddress,
    method: str = "GET",
    expires_in: int | timedelta = 3600,
    *,
    response_content_disposition: str | None = None,
    response_content_type: str | None = None,
    response_cache_control: str | None = None,
    response_content_encoding: str | None = None,
    response_content_language: str | None = None,
    response_expires: datetime | str | None = None,
    content_type: str | None = None,
) -> str:
    """Return a presigned URL for one method on one object.

    Args:
        address: The object, or one of its versions. A PUT always writes a new object, so it ignores the version ID.
        method: ``"GET"``, ``"HEAD"``, ``"PUT"`` or ``"DELETE"``.
        expires_in: Validity in seconds or as a timedelta: 1 second to 7 days.
        response_content_disposition: The Content-Disposition of the response to a GET.
        response_content_type: The Content-Type of the response to a GET.
        response_cache_control: The Cache-Control of the response to a GET.
        response_content_encoding: The Content-Encoding of the response to a GET.
        response_content_language: The Content-Language of the response to a GET.
        response_expires: The Expires of the response to a GET; a datetime without a zone is in UTC.
        content_type: The Content-Type with which a PUT must be sent.

    Raises:
        ValueError: An argument is invalid, does not apply to the method, or contains control characters.
        S3AuthenticationError: There are no credentials to sign with, or the store is anonymous.

    Requests:
        none (on AWS 1 HEAD for each bucket's region, cached; for a directory bucket 1 for a session that boto3 keeps for five minutes)
    """
    if not isinstance(method, str) or method.upper() not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, not {method!r}")
    method = method.upper()
    seconds = seconds_of(expires_in)
    if isinstance(response_expires, datetime):
        response_expires = format_datetime(as_utc(response_expires), usegmt=True)
    answers = {
        "response-content-disposition": response_content_disposition,
        "response-content-type": response_content_type,
        "response-cache-control": response_cache_control,
        "response-content-encoding": response_content_encoding,
        "response-content-language": response_content_language,
        "response-expires": response_expires,
    }
    for name, value in {**answers, "content-type": content_type}.items():
        _check_header(name.replace("-", "_"), value)
        if value is not None and any(ord(character) > 255 for character in value):
            raise ValueError(
                f"{name.replace('-', '_')} must be ISO 8859-1, since it is sent as a header, not {value!r}; "
                "for other characters in a file name use the form filename*=UTF-8''%E5%AD%97.csv (see urllib.parse.quote)"
            )
    given = [name.replace("-", "_") for name, value in answers.items() if value is not None]
    if method not in ("GET", "HEAD") and given:
        raise ValueError(f"{' and '.join(given)} {'is' if len(given) == 1 else 'are'} for GET, not {method}")
    if content_type is not None and method != "PUT":
        raise ValueError(f"content_type is for PUT, not {method}; for the response to a GET pass response_content_type")
    further = {name: value for name, value in answers.items() if value is not None}
    if address.bucket.own_url is not None:
        check_credentials(address.bucket, seconds)
        parameters = {"".join(word.title() for word in name.split("-")): value for name, value in further.items()}
        parameters |= {"ContentType": content_type} if content_type is not None else {}
        parameters |= address.version_parameters if method != "PUT" else {}
        return presigned_by_boto3(address, f"{method.lower()}_object", seconds, parameters)
    if address.version_id is not None and method != "PUT":  # a version cannot be overwritten: a PUT makes a new one
        further["versionId"] = address.version_id
    return Signer(address, seconds).url(method, further, content_type)


class Signer:
    """A signer of URLs for one object; all of them have the same credentials and time.

    Args:
        address: The object.
        seconds: How long the URLs are valid.

    Raises:
        S3AuthenticationError: There are no credentials to sign with, or the store is anonymous.

    Requests:
        none (on AWS 1 HEAD for each bucket's region, cached)
    """

    def __init__(self, address: ObjectAddress, seconds: int) -> None:
        self._credentials = _credentials(address.connection, seconds)
        region = _region(address.bucket)
        self._base = _base_url(address.bucket, region)
        # S3 also accepts its own headers in the query; a browser that follows a link cannot send them as headers.
        of_every_request = address.connection.config._of_every_request
        self._of_every_request = {HEADERS[name]: value for name, value in of_every_request.items()}
        self._key = quote_key(address.key)
        now = datetime.now(timezone.utc)
        self._seconds, self._stamp = seconds, f"{now:%Y%m%dT%H%M%SZ}"
        self._scope = f"{now:%Y%m%d}/{region}/s3/aws4_request"

    def url(self, method: str, further: Mapping[str, str], content_type: str | None = None) -> str:
        """Return a presigned URL.

        Args:
            method: The HTTP method.
            further: Query parameters besides those of the signature.
            content_type: The Content-Type with which the request must be sent.
        """
        credentials, base = self._credentials, self._base
        headers = {
            "host": urlsplit(base).netloc,
            **({"content-type": content_type} if content_type is not None else {}),
        }
        signed_names = ";".join(sorted(headers))
        query: dict[str, str] = {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"{credentials.access_key}/{self._scope}",
            "X-Amz-Date": self._stamp,
            "X-Amz-Expires": str(self._seconds),
            "X-Amz-SignedHeaders": signed_names,
            **({"X-Amz-Security-Token": credentials.token} if credentials.token else {}),
            **self._of_every_request,
            **further,
        }
        path = f"{urlsplit(base).path}/{self._key}"
        text = "&".join(
            f"{quote(name, safe='-._~')}={quote(value, safe='-._~')}" for name, value in sorted(query.items())
        )
        lines = "".join(f"{name}:{' '.join(headers[name].split())}\n" for name in sorted(headers))
        canonical = f"{method}\n{path}\n{text}\n{lines}\n{signed_names}\n{UNSIGNED_PAYLOAD}"
        signature = _signature(credentials.secret_key, self._scope, text_to_sign(self._stamp, self._scope, canonical))
        return f"{base}/{self._key}?{text}&X-Amz-Signature={signature}"


def check_credentials(bucket: BucketAddress, seconds: int) -> None:
    """Check that there are credentials to sign with, since boto3 returns an unsigned URL if there are none.

    Args:
        bucket: The access point or directory bucket.
        seconds: How long the URL will be valid. A warning is issued if the credentials, or those of a session, expire sooner.

    Raises:
        S3AuthenticationError: There are no credentials, or the store is anonymous.
    """
    _credentials(bucket.connection, seconds)
    if bucket.is_directory and seconds > _SESSION_SECONDS:
        warnings.warn(
            f"the presigned URL is to expire in {seconds:,} s, but it is signed with a session of the directory bucket, which AWS ends "
            f"after {_SESSION_SECONDS} s",
            stacklevel=4,
        )


def presigned_by_boto3(address: ObjectAddress, operation: str, seconds: int, parameters: Mapping[str, Any]) -> str:
    """Return a presigned URL for an access point or a directory bucket, whose requests are signed in other ways.

    Args:
        address: The object.
        operation: The name of the client's method, such as ``get_object``.
        seconds: How long the URL is valid.
        parameters: The operation's parameters besides bucket and key.
    """
    with address.connection.translating("presign", address.bucket_name, address.key):
        return address.connection.client.generate_presigned_url(
            operation, Params={"Bucket": address.bucket_name, "Key": address.key, **parameters}, ExpiresIn=seconds
        )


def presigned_post(address: ObjectAddress, expires_in: int | timedelta, policy: PostPolicy) -> PresignedPost:
    """Return a presigned form with which a browser uploads one object.

    Args:
        address: The object. A version ID is ignored, since a form always writes a new object.
        expires_in: Validity in seconds or as a timedelta: 1 second to 7 days.
        policy: The conditions that the upload must meet.

    Raises:
        ValueError: An argument is invalid, or contains control characters.
        S3AuthenticationError: There are no credentials to sign with, or the store is anonymous.
        S3Unsupported: The bucket is a directory bucket, or is addressed by the ARN of an access point.

    Requests:
        none (on AWS 1 HEAD for each bucket's region, cached)
    """
    if address.bucket.own_url is not None:
        raise S3Unsupported(
            f"presigned_post on {address.uri}: only a general purpose bucket, addressed by its name, takes forms; for an upload "
            "link use presigned_url('PUT')",
            bucket=address.bucket_name,
            key=address.key,
        )
    content_type, min_size, max_size, fields, conditions = policy
    seconds = seconds_of(expires_in)
    for name, size in (("min_size", min_size), ("max_size", max_size)):
        if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 0):
            raise ValueError(f"{name} must be a whole number of bytes, not {size!r}")
    if max_size is not None and max_size < (min_size or 0):
        raise ValueError(f"max_size must be at least min_size ({min_size}), not {max_size}")
    _check_header("content_type", content_type)
    if fields is not None and not isinstance(fields, Mapping):
        raise TypeError(f"fields must be a mapping of names to values, not {type(fields).__name__}")
    if isinstance(conditions, (str, bytes, Mapping)):  # its letters or names would be taken for the conditions
        raise TypeError(f"conditions must be a sequence of conditions, not {type(conditions).__name__}")
    for name, value in (fields or {}).items():
        _check_header("the name of a field", name)
        if name.lower() in _OWN_FIELDS:
            raise ValueError(f"fields must not contain {name!r}: {_OWN_FIELDS[name.lower()]}")
        if name.lower() == "content-type" and content_type is not None:
            raise ValueError(f"fields must not contain {name!r} beside content_type={content_type!r}")
        if name.lower() != "tagging":  # tags are sent as XML; all other values become headers
            _check_header(f"the field {name}", value)
    credentials = _credentials(address.connection, seconds)
    region = _region(address.bucket)
    now = datetime.now(timezone.utc)
    scope = f"{now:%Y%m%d}/{region}/s3/aws4_request"
    form = {
        "key": address.key,
        **({"Content-Type": content_type} if content_type is not None else {}),
        **({"x-amz-request-payer": "requester"} if address.connection.config.request_payer else {}),
        **(fields or {}),
        "x-amz-algorithm": "AWS4-HMAC-SHA256",
        "x-amz-credential": f"{credentials.access_key}/{scope}",
        "x-amz-date": f"{now:%Y%m%dT%H%M%SZ}",
        **({"x-amz-security-token": credentials.token} if credentials.token else {}),
    }
    demands: list[Any] = [
        {"bucket": address.bucket_name},
        *({name: value} for name, value in form.items()),
        *conditions,
    ]
    if min_size is not None or max_size is not None:
        demands.append(["content-length-range", min_size or 0, 5 * 1024**3 if max_size is None else max_size])
    document = {"expiration": f"{now + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%SZ}", "conditions": demands}
    encoded = base64.b64encode(json.dumps(document).encode()).decode("ascii")
    form |= {"policy": encoded, "x-amz-signature": _signature(credentials.secret_key, scope, encoded)}
    return PresignedPost(_base_url(address.bucket, region), form)


def seconds_of(expires_in: int | timedelta) -> int:
    """Return the validity of a presigned request in seconds; raise TypeError or ValueError if it is not 1 second to 7 days."""
    if isinstance(expires_in, timedelta):
        seconds: float = expires_in.total_seconds()
    elif isinstance(expires_in, bool) or not isinstance(expires_in, (int, float)):
        raise TypeError(f"expires_in must be seconds or a timedelta, not {type(expires_in).__name__}")
    else:
        seconds = expires_in
    if not 1 <= seconds <= MAX_SECONDS or seconds != int(seconds):  # infinity has no int()
        raise ValueError(f"expires_in must be 1 to {MAX_SECONDS:,} whole seconds (7 days), not {seconds:,}")
    return int(seconds)


def _check_header(name: str, value: str | None) -> None:
    if value is None:
        return
    if not isinstance(value, str):
        raise TypeError(f"{name} must be text, not {type(value).__name__}")
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise ValueError(f"{name} must not contain control characters: {value!r} could inject a header")


def _credentials(connection: Connection, seconds: int) -> _SigningCredentials:
    if connection.is_anonymous:
        raise S3AuthenticationError(
            "this store is anonymous, so it has no key with which to sign a URL. If the object is public, its plain `url` works without "
            "a signature."
        )
    with connection.translating("presign"):
        live = connection.client._get_credentials()  # type: ignore[attr-defined]  # works for the user's own clients too
        frozen = live.get_frozen_credentials() if live is not None else None
    if frozen is None:
        raise S3AuthenticationError(
            "no credentials were found, so a URL cannot be signed. Pass access_key and secret_key, or a profile."
        )
    expiry = getattr(live, "_expiry_time", None)
    if isinstance(expiry, datetime):
        left = (expiry - datetime.now(timezone.utc)).total_seconds()
        if left < seconds:
            warnings.warn(
                f"the presigned URL is to expire in {seconds:,} s, but the credentials it is signed with expire in {max(0, int(left)):,} s",
                stacklevel=4,
            )
    return _SigningCredentials(frozen.access_key, frozen.secret_key, frozen.token)


def _region(bucket: BucketAddress) -> str:
    connection = bucket.connection
    if not connection.is_aws:
        return connection.region
    try:
        return buckets.region_of(bucket)
    except S3Error:
        # HeadBucket is not allowed: fall back to the client's region. The global endpoint signs for us-east-1.
        return "us-east-1" if connection.region == "aws-global" else connection.region


def _base_url(bucket: BucketAddress, region: str) -> str:
    """Return the bucket's URL without a trailing slash: on the host of the client's endpoint, or on AWS's host for the bucket's region.

    Raises:
        S3Unsupported: The client uses Transfer Acceleration, and the bucket's name cannot be a part of a host name.
    """
    connection, name = bucket
    parts = urlsplit(connection.endpoint_url)
    host = parts.netloc
    is_label = _HOST_LABEL.fullmatch(name) is not None  # TLS certificates do not match names with dots
    # No name can stand before an IP address, so boto3 sends requests to one in path style, unless the bucket's name has dots.
    style = "path" if is_label and is_ip_address(parts.hostname or "") else connection.addressing_style
    in_host = style == "virtual" or (style == "auto" and host.startswith("s3-accelerate."))
    if connection.has_regional_endpoint:
        suffix = ".dualstack" if ".dualstack." in host else ""
        in_host = style != "path"
        if connection.is_accelerated:
            if not is_label:
                raise S3Unsupported(
                    f"Transfer Acceleration is not available for the bucket {name!r}: its name cannot be a part of a host name",
                    bucket=name,
                )
            in_host, host = True, f"s3-accelerate{suffix}.amazonaws.com"
        else:
            host = f"{'s3-fips' if host.startswith('s3-fips.') else 's3'}{suffix}.{region}.{dns_suffix(region)}"
    elif parts.scheme == "http":
        is_label = all(_HOST_LABEL.fullmatch(label) for label in name.split("."))
    base = f"{parts.scheme}://{name}.{host}" if in_host and is_label else f"{parts.scheme}://{host}"
    path = parts.path.rstrip("/")
    return f"{base}{path}" if in_host and is_label else f"{base}{path}/{name}"


def _signature(secret_key: str, scope: str, text: str) -> str:
    return hmac.digest(key_of(secret_key, scope), text.encode(), "sha256").hex()
