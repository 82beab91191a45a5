"""Addresses of buckets and objects, and whether two addresses mean the same object.

Equal names prove that two addresses mean the same object, but different names seldom prove the opposite: a store has several host names
(``localhost`` and ``127.0.0.1``, a proxy, an access point), a bucket may have several names (aliases, links in a file system behind a
gateway), and some stores normalize keys (``a/`` is ``a``; on a case-insensitive file system ``A`` is ``a``; others ignore invisible
characters). Different etags or times prove nothing. So :func:`same_place` returns True, False, or None if it cannot tell. An operation that
deletes or overwrites a source MUST treat None as True until it is proved otherwise (``copying.py`` marks the copy with a random ID and
checks that the source does not show it).
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote_plus, urlsplit

from .._formats.bucket_names import is_arn, zone_of
from ..errors import S3Error
from .aws_hosts import own_host, partition_id
from .capabilities import Capabilities, in_directory_bucket
from .connection import Connection

_HANGUL_FILLERS = "\u115f\u1160\u3164\uffa0"
"""The characters that Unicode classifies as letters although they are invisible."""
_DEFAULT_PORTS = {"http": 80, "https": 443}


class BucketAddress(NamedTuple):
    """The address of a bucket, which need not exist."""

    connection: Connection
    name: str

    @property
    def is_directory(self) -> bool:
        """Whether this is a directory bucket of Amazon S3, or an access point of one; no other store has them."""
        return zone_of(self.name) is not None and self.connection.is_aws

    @property
    def capabilities(self) -> Capabilities:
        """The store's capabilities, without those that a directory bucket lacks if this is one."""
        known = self.connection.capabilities
        return in_directory_bucket(known) if self.is_directory else known

    @property
    def own_url(self) -> str | None:
        """The URL of an access point or a directory bucket, which have hosts of their own; None for any other bucket."""
        if not (is_arn(self.name) or self.is_directory):
            return None
        connection = self.connection
        given = urlsplit(connection.config.endpoint_url or "https://")
        host = own_host(
            self.name,
            connection.region,
            given.netloc,
            is_fips=connection.is_fips,
            is_dualstack=connection.is_dualstack,
        )
        return f"{given.scheme}://{host}{given.path.rstrip('/')}"

    @property
    def arn(self) -> str:
        """The bucket's ARN, for policies; on a store that is not AWS, ``arn:aws:s3:::name``, whatever its region."""
        partition = partition_id(self.connection.region) if self.connection.is_aws else "aws"
        return f"arn:{partition}:s3:::{self.name}"

    def object(self, key: str, version_id: str | None = None) -> ObjectAddress:
        """Return the address of an object in this bucket, or of one of its versions."""
        return ObjectAddress(self, key, version_id)


class ObjectAddress(NamedTuple):
    """The address of an object or of one of its versions, which need not exist."""

    bucket: BucketAddress
    key: str
    version_id: str | None = None

    @property
    def connection(self) -> Connection:
        """The connection to the store that holds the bucket."""
        return self.bucket.connection

    @property
    def bucket_name(self) -> str:
        """The name of the bucket."""
        return self.bucket.name

    @property
    def uri(self) -> str:
        """``s3://bucket/key``, not percent-encoded."""
        return f"s3://{self.bucket.name}/{self.key}"

    @property
    def parameters(self) -> dict[str, str]:
        """boto3's parameters for the object: ``Bucket``, ``Key`` and, for a version, ``VersionId``."""
        return {"Bucket": self.bucket.name, "Key": self.key, **self.version_parameters}

    @property
    def version_parameters(self) -> dict[str, str]:
        """boto3's parameter ``VersionId``; empty without a version."""
        return {} if self.version_id is None else {"VersionId": self.version_id}

    def is_same_store(self, other: ObjectAddress) -> bool:
        """Return whether one request can address both objects."""
        return is_same_store(self.connection, other.connection)


def is_same_store(one: Connection, other: Connection) -> bool:
    """Return whether two connections certainly use the same store and credentials, so that one request can address objects of both.

    Requests:
        none
    """
    if one.shared is other.shared:
        return True
    if normalized_endpoint(one.endpoint_url) != normalized_endpoint(other.endpoint_url):
        return False
    try:
        mine, theirs = one.access_key, other.access_key
    except S3Error:  # no credentials: the request itself will raise the error
        return False
    return mine is not None and mine == theirs


def same_place(one: ObjectAddress, other: ObjectAddress) -> bool | None:
    """Return whether two addresses mean the same object: True, False, or None if that cannot be known from the names.

    Version IDs are not compared: an object and its versions have the same address here.

    Requests:
        none
    """
    if one.bucket_name != other.bucket_name or not one.is_same_store(other):
        return None
    if one.key == other.key:
        return True
    if one.connection.is_aws:
        return False
    if _leads_up(one.key) or _leads_up(other.key):
        return None
    return None if _folded(one.key) == _folded(other.key) else False


@lru_cache(maxsize=256)
def normalized_endpoint(url: str) -> str:
    """Normalize an endpoint URL: lower-case scheme and host, explicit port, no dot after the host, no trailing slash."""
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    host = (parts.hostname or "").rstrip(".")
    port = parts.port if parts.port is not None else _DEFAULT_PORTS.get(scheme)
    return f"{scheme}://{host}:{port}{parts.path.rstrip('/')}"


def _folded(key: str) -> str:
    """Normalize a key at least as much as any known store or file system does.

    If two different keys become equal, the only effect is an extra metadata entry in a copy. If two names of one object stay different, a
    move may delete the object. So all accents, blanks, control, format and unassigned characters are dropped, and a key that looks
    percent-encoded is decoded.
    """
    plain = _visible(unquote_plus(_visible(key)))
    return "/".join(segment for raw in re.split(r"[/\\]", plain) if (segment := raw.rstrip(".")))


def _visible(key: str) -> str:
    """Return a key without case, compatibility forms, accents and invisible characters."""
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", key).upper().casefold())
    return "".join(
        char for char in folded if unicodedata.category(char)[0] not in "MZC" and char not in _HANGUL_FILLERS
    )


def _leads_up(key: str) -> bool:
    """Return whether a segment of a key may mean the parent folder; then it is unknown which object the key means."""
    return any(segment == ".." for segment in re.split(r"[/\\]", _visible(unquote_plus(_visible(key)))))


def is_ip_address(host: str) -> bool:
    """Return whether a host is an IP address, before which no bucket's name can stand: requests to it use path style."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
