"""Presigned URLs and POST forms, signed locally.

They are always signed with Signature Version 4, for the bucket's own endpoint and region: for a bucket in another region AWS's global
endpoint redirects, and the signature is then invalid.
"""

from __future__ import annotations

import base64
import hmac
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from .._client.addresses import BucketAddress, ObjectAddress
from .._client.connection import Connection
from .._formats.keys import quote_key
from ..errors import S3AuthenticationError, S3Error

MAX_SECONDS = 7 * 24 * 3600
METHODS = ("GET", "HEAD", "PUT", "DELETE")


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
        min_size: The least number of bytes.
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
    content_type: str | None = None,
) -> str:
    """Return a presigned URL for one method on one object.

    Args:
        address: The object, or one of its versions.
        method: ``"GET"``, ``"HEAD"``, ``"PUT"`` or ``"DELETE"``.
        expires_in: Validity in seconds or as a timedelta: 1 second to 7 days.
        response_content_disposition: The Content-Disposition of the response to a GET.
        response_content_type: The Content-Type of the response to a GET.
        content_type: The Content-Type with which a PUT must be sent.

    Raises:
        ValueError: An argument is invalid, does not apply to the method, or contains control characters.
        S3AuthenticationError: There are no credentials to sign with.

    Requests:
        none (on AWS 1 HEAD for each bucket's region, cached)
    """
    if not isinstance(method, str) or method.upper() not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, not {method!r}")
    method = method.upper()
    seconds = _seconds(expires_in)
    answers = {
        "response-content-disposition": response_content_disposition,
        "response-content-type": response_content_type,
    }
    for name, value in {**answers, "content-type": content_type}.items():
        _check_header(name.replace("-", "_"), value)
        if value is not None and any(ord(character) > 255 for character in value):
            raise ValueError(
                f"{name.replace('-', '_')} must be ISO 8859-1, since it is sent as a header, not {value!r}; "
                "for other characters in a file name use the form filename*=UTF-8''%E5%AD%97.csv (see urllib.parse.quote)"
            )
    if method not in ("GET", "HEAD") and any(value is not None for value in answers.values()):
        raise ValueError(f"response_content_disposition and response_content_type are for GET, not {method}")
    if content_type is not None and method != "PUT":
        raise ValueError(f"content_type is for PUT, not {method}; for the response to a GET pass response_content_type")
    credentials = _credentials(address.connection, seconds)
    region = _region(address.bucket)
    base = _base_url(address.bucket, region)
    now = datetime.now(timezone.utc)
    stamp, scope = f"{now:%Y%m%dT%H%M%SZ}", f"{now:%Y%m%d}/{region}/s3/aws4_request"
    headers = {"host": urlsplit(base).netloc, **({"content-type": content_type} if content_type is not None else {})}
    signed_names = ";".join(sorted(headers))
    query: dict[str, str] = {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{credentials.access_key}/{scope}",
        "X-Amz-Date": stamp,
        "X-Amz-Expires": str(seconds),
        "X-Amz-SignedHeaders": signed_names,
        **({"X-Amz-Security-Token": credentials.token} if credentials.token else {}),
        **({"versionId": address.version_id} if address.version_id is not None else {}),
        **{name: value for name, value in answers.items() if value is not None},
    }
    path = f"{urlsplit(base).path}/{quote_key(address.key)}"
    text = "&".join(f"{quote(name, safe='-._~')}={quote(value, safe='-._~')}" for name, value in sorted(query.items()))
    lines = "".join(f"{name}:{' '.join(headers[name].split())}\n" for name in sorted(headers))
    canonical = f"{method}\n{path}\n{text}\n{lines}\n{signed_names}\nUNSIGNED-PAYLOAD"
    to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{sha256(canonical.encode()).hexdigest()}"
    return (
        f"{base}/{quote_key(address.key)}?{text}&X-Amz-Signature={_signature(credentials.secret_key, scope, to_sign)}"
    )


def presigned_post(address: ObjectAddress, expires_in: int | timedelta, policy: PostPolicy) -> PresignedPost:
    """Return a presigned form with which a browser uploads one object.

    Args:
        address: The object. A version ID is ignored, since a form always writes a new object.
        expires_in: Validity in seconds or as a timedelta: 1 second to 7 days.
        policy: The conditions that the upload must meet.

    Raises:
        ValueError: An argument is invalid, or contains control characters.
        S3AuthenticationError: There are no credentials to sign with.

    Requests:
        none (on AWS 1 HEAD for each bucket's region, cached)
    """
    content_type, min_size, max_size, fields, conditions = policy
    seconds = _seconds(expires_in)
    for name, size in (("min_size", min_size), ("max_size", max_size)):
        if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 0):
            raise ValueError(f"{name} must be a whole number of bytes, not {size!r}")
    if max_size is not None and max_size < (min_size or 0):
        raise ValueError(f"max_size must be at least min_size ({min_size}), not {max_size}")
    _check_header("content_type", content_type)
    for name, value in (fields or {}).items():
        _check_header("the name of a field", name)
        if name.lower() != "tagging":  # tags are sent as XML; all other values become headers
            _check_header(f"the field {name}", value)
    credentials = _credentials(address.connection, seconds)
    region = _region(address.bucket)
    now = datetime.now(timezone.utc)
    scope = f"{now:%Y%m%d}/{region}/s3/aws4_request"
    form = {
        "key": address.key,
        **({"Content-Type": content_type} if content_type is not None else {}),
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


def _seconds(expires_in: int | timedelta) -> int:
    if isinstance(expires_in, timedelta):
        seconds: float = expires_in.total_seconds()
    elif isinstance(expires_in, bool) or not isinstance(expires_in, (int, float)):
        raise TypeError(f"expires_in must be seconds or a timedelta, not {type(expires_in).__name__}")
    else:
        seconds = expires_in
    if seconds != int(seconds) or not 1 <= seconds <= MAX_SECONDS:
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
    fact = f"region:{bucket.name}"
    known = connection.facts.get(fact)
    if known is None:
        try:
            known = connection.call("HeadBucket", Bucket=bucket.name).get("BucketRegion") or connection.region
        except S3Error:
            return connection.region  # HeadBucket is not allowed: fall back to the client's region
        connection.facts[fact] = known
    return str(known)


def _base_url(bucket: BucketAddress, region: str) -> str:
    """Return the bucket's URL without a trailing slash."""
    connection, bucket_name = bucket
    if connection.is_aws and connection.config.endpoint_url is None:
        domain = f"s3.{region}.amazonaws.com{'.cn' if region.startswith('cn-') else ''}"
        # A name with a dot does not match the wildcard of the TLS certificate.
        by_path = "." in bucket_name or connection.config.addressing_style == "path"
        return f"https://{domain}/{bucket_name}" if by_path else f"https://{bucket_name}.{domain}"
    parts = urlsplit(connection.endpoint_url)
    style = connection.config.addressing_style
    if style == "auto" and connection.config.capabilities is not None:
        style = connection.config.capabilities.addressing_style or "auto"
    if style == "virtual":
        return f"{parts.scheme}://{bucket_name}.{parts.netloc}{parts.path.rstrip('/')}"
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}/{bucket_name}"


def _signature(secret_key: str, scope: str, text: str) -> str:
    key = f"AWS4{secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()
