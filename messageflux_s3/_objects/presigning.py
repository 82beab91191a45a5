"""Links that let somebody else do one thing with one object, for a while. Made here, without asking the store.

This room knows a connection, a bucket's name and a key. It always signs by SigV4, for the bucket's own endpoint and region: a link to
the global endpoint of AWS would be redirected, and fail, for a bucket elsewhere.
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
from typing import Any
from urllib.parse import quote, urlsplit

from .._client.connection import Connection
from .._formats.keys import quote_key
from ..errors import S3AuthenticationError, S3Error

MAX_SECONDS = 7 * 24 * 3600
METHODS = ("GET", "HEAD", "PUT", "DELETE")


@dataclass(frozen=True, slots=True)
class PresignedPost:
    """A form that a browser may send to store one object.

    Attributes:
        url: Where to send the form.
        fields: Its fields, all before the file itself, which is called ``file``.
    """

    url: str
    fields: Mapping[str, str]

    def __getitem__(self, name: str) -> Any:
        """``form["url"]`` and ``form["fields"]``, as in boto3's answer."""
        if name not in ("url", "fields"):
            raise KeyError(name)
        return getattr(self, name)

    def __repr__(self) -> str:
        return f"PresignedPost(url={self.url!r}, fields={{{', '.join(repr(name) for name in self.fields)}}})"


@dataclass(frozen=True, slots=True)
class _Identity:
    access_key: str
    secret_key: str
    token: str | None

    def __repr__(self) -> str:
        return "_Identity(…)"


def presigned_url(
    connection: Connection,
    bucket_name: str,
    key: str,
    method: str = "GET",
    expires_in: int | timedelta = 3600,
    *,
    version_id: str | None = None,
    response_content_disposition: str | None = None,
    response_content_type: str | None = None,
    content_type: str | None = None,
) -> str:
    """A link for one method on one object.

    Args:
        connection: The way to the store.
        bucket_name: The bucket.
        key: The key.
        method: ``"GET"``, ``"HEAD"``, ``"PUT"`` or ``"DELETE"``.
        expires_in: Seconds, or a timedelta, from now: 1 second to 7 days.
        version_id: A version of the object.
        response_content_disposition: What the answer to a GET says of the file's name.
        response_content_type: What the answer to a GET says of its type.
        content_type: The type that a PUT must be sent with.

    Raises:
        ValueError: An argument has no meaning, or would smuggle a header in.
        S3AuthenticationError: There are no credentials to sign with.

    Requests:
        none (on AWS 1 HEAD, remembered, for the region of a bucket)
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
                f"{name.replace('-', '_')} must be ISO 8859-1, as a header's value is, not {value!r}; "
                "a file's name may hold any letter in the form filename*=UTF-8''%E5%AD%97.csv (urllib.parse.quote makes it)"
            )
    if method not in ("GET", "HEAD") and any(value is not None for value in answers.values()):
        raise ValueError(f"response_content_disposition and response_content_type are for GET, not {method}")
    if content_type is not None and method != "PUT":
        raise ValueError(f"content_type is for PUT, not {method}; response_content_type says what a GET answers")
    identity = _identity(connection, seconds)
    region = _region(connection, bucket_name)
    base = _base_url(connection, bucket_name, region)
    now = datetime.now(timezone.utc)
    stamp, scope = f"{now:%Y%m%dT%H%M%SZ}", f"{now:%Y%m%d}/{region}/s3/aws4_request"
    headers = {"host": urlsplit(base).netloc, **({"content-type": content_type} if content_type is not None else {})}
    signed_names = ";".join(sorted(headers))
    query: dict[str, str] = {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{identity.access_key}/{scope}",
        "X-Amz-Date": stamp,
        "X-Amz-Expires": str(seconds),
        "X-Amz-SignedHeaders": signed_names,
        **({"X-Amz-Security-Token": identity.token} if identity.token else {}),
        **({"versionId": version_id} if version_id is not None else {}),
        **{name: value for name, value in answers.items() if value is not None},
    }
    path = f"{urlsplit(base).path}/{quote_key(key)}"
    text = "&".join(f"{quote(name, safe='-._~')}={quote(value, safe='-._~')}" for name, value in sorted(query.items()))
    lines = "".join(f"{name}:{' '.join(headers[name].split())}\n" for name in sorted(headers))
    canonical = f"{method}\n{path}\n{text}\n{lines}\n{signed_names}\nUNSIGNED-PAYLOAD"
    to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{sha256(canonical.encode()).hexdigest()}"
    return f"{base}/{quote_key(key)}?{text}&X-Amz-Signature={_signature(identity.secret_key, scope, to_sign)}"


def presigned_post(
    connection: Connection,
    bucket_name: str,
    key: str,
    expires_in: int | timedelta = 3600,
    *,
    content_type: str | None = None,
    min_size: int | None = None,
    max_size: int | None = None,
    fields: Mapping[str, str] | None = None,
    conditions: Sequence[Any] = (),
) -> PresignedPost:
    """A form by which a browser stores one object.

    Args:
        connection: The way to the store.
        bucket_name: The bucket.
        key: The key.
        expires_in: Seconds, or a timedelta, from now: 1 second to 7 days.
        content_type: The type that the form must give.
        min_size: The least number of bytes.
        max_size: The largest number of bytes.
        fields: Further fields that the form must have, exactly so.
        conditions: Further conditions in S3's own form (``["starts-with", "$Content-Type", "image/"]``).

    Raises:
        ValueError: An argument has no meaning, or would smuggle a header in.
        S3AuthenticationError: There are no credentials to sign with.

    Requests:
        none (on AWS 1 HEAD, remembered, for the region of a bucket)
    """
    seconds = _seconds(expires_in)
    for name, size in (("min_size", min_size), ("max_size", max_size)):
        if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 0):
            raise ValueError(f"{name} must be a whole number of bytes, not {size!r}")
    if max_size is not None and max_size < (min_size or 0):
        raise ValueError(f"max_size must be at least min_size, {min_size}; it is {max_size}")
    _check_header("content_type", content_type)
    for name, value in (fields or {}).items():
        _check_header("the name of a field", name)
        if name.lower() != "tagging":  # a document; what stands in the others becomes headers
            _check_header(f"the field {name}", value)
    identity = _identity(connection, seconds)
    region = _region(connection, bucket_name)
    now = datetime.now(timezone.utc)
    scope = f"{now:%Y%m%d}/{region}/s3/aws4_request"
    form = {
        "key": key,
        **({"Content-Type": content_type} if content_type is not None else {}),
        **(fields or {}),
        "x-amz-algorithm": "AWS4-HMAC-SHA256",
        "x-amz-credential": f"{identity.access_key}/{scope}",
        "x-amz-date": f"{now:%Y%m%dT%H%M%SZ}",
        **({"x-amz-security-token": identity.token} if identity.token else {}),
    }
    demands: list[Any] = [{"bucket": bucket_name}, *({name: value} for name, value in form.items()), *conditions]
    if min_size is not None or max_size is not None:
        demands.append(["content-length-range", min_size or 0, 5 * 1024**3 if max_size is None else max_size])
    policy = {"expiration": f"{now + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%SZ}", "conditions": demands}
    encoded = base64.b64encode(json.dumps(policy).encode()).decode("ascii")
    form |= {"policy": encoded, "x-amz-signature": _signature(identity.secret_key, scope, encoded)}
    return PresignedPost(_base_url(connection, bucket_name, region), form)


def _seconds(expires_in: int | timedelta) -> int:
    if isinstance(expires_in, timedelta):
        seconds: float = expires_in.total_seconds()
    elif isinstance(expires_in, bool) or not isinstance(expires_in, (int, float)):
        raise TypeError(f"expires_in must be seconds or a timedelta, not {type(expires_in).__name__}")
    else:
        seconds = expires_in
    if seconds != int(seconds) or not 1 <= seconds <= MAX_SECONDS:
        raise ValueError(f"expires_in must be 1 to {MAX_SECONDS:,} whole seconds (7 days), it is {seconds:,}")
    return int(seconds)


def _check_header(name: str, value: str | None) -> None:
    if value is None:
        return
    if not isinstance(value, str):
        raise TypeError(f"{name} must be text, not {type(value).__name__}")
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise ValueError(f"{name} must not hold control characters: {value!r} would end the header and begin another")


def _identity(connection: Connection, seconds: int) -> _Identity:
    with connection.translating("presign"):
        live = connection.client._get_credentials()  # type: ignore[attr-defined]  # also of a client that the user made
        frozen = live.get_frozen_credentials() if live is not None else None
    if frozen is None:
        raise S3AuthenticationError(
            "no credentials were found, so a link cannot be signed. Give access_key and secret_key, or a profile."
        )
    expiry = getattr(live, "_expiry_time", None)
    if isinstance(expiry, datetime):
        left = (expiry - datetime.now(timezone.utc)).total_seconds()
        if left < seconds:
            warnings.warn(
                f"the link is to hold for {seconds:,} s, but it ends with the credentials it is signed with, in {max(0, int(left)):,} s",
                stacklevel=4,
            )
    return _Identity(frozen.access_key, frozen.secret_key, frozen.token)


def _region(connection: Connection, bucket_name: str) -> str:
    if not connection.is_aws:
        return connection.region
    fact = f"region:{bucket_name}"
    known = connection.recall(fact)
    if known is None:
        try:
            known = connection.call("HeadBucket", Bucket=bucket_name).get("BucketRegion") or connection.region
        except S3Error:
            return connection.region  # no leave to ask: what the client was made for
        connection.remember(fact, known)
    return str(known)


def _base_url(connection: Connection, bucket_name: str, region: str) -> str:
    """The bucket's own address, without a slash at the end."""
    if connection.is_aws and connection.config.endpoint_url is None:
        domain = f"s3.{region}.amazonaws.com{'.cn' if region.startswith('cn-') else ''}"
        by_path = (
            "." in bucket_name or connection.config.addressing_style == "path"
        )  # a dot would not match the certificate
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
