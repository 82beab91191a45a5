"""Names of buckets, and what boto3 takes in place of a name: the ARN of an access point.

The name shows what kind of bucket it is: a directory bucket (S3 Express One Zone) has a suffix that no other bucket of Amazon S3 has.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from ..errors import S3InvalidName
from .plain import plain

BUCKET_NAME_VALIDATOR = re.compile(r"^[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9]\Z")
"""Pattern of the name of a bucket that can be created; messageflux's message stores call its ``.match``."""

_EXISTING = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
"""Pattern of the name of a bucket that may exist: before March 2018 Amazon S3 allowed capitals, underscores and up to 255 characters."""
_IP_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")
# Like botocore's pattern (handlers.VALID_S3_ARN), with a named group for each part.
_ARN = re.compile(
    r"arn:(?P<partition>aws[a-z-]*):"
    r"(?:(?P<service>s3|s3-object-lambda):(?P<region>[a-z0-9-]*):(?P<account>[0-9]{12}):accesspoint[/:](?P<name>[A-Za-z0-9.-]{1,63})"
    r"|s3-outposts:(?P<outpost_region>[a-z0-9-]+):(?P<owner>[0-9]{12}):outpost[/:](?P<outpost>[A-Za-z0-9-]{1,63})"
    r"[/:]accesspoint[/:](?P<outpost_name>[A-Za-z0-9-]{1,63}))"
)
_DIRECTORY = re.compile(r".+--(?P<zone>[a-z0-9-]+)--xa?-s3")


class AccessPoint(NamedTuple):
    """The parts of the ARN of an access point.

    Attributes:
        service: ``s3``, ``s3-object-lambda`` or ``s3-outposts``.
        region: The region; empty for a multi-region access point.
        account: The account's 12 digits.
        name: The name of the access point, or the alias of a multi-region one (``….mrap``).
        outpost: The ID of the outpost, if the service is ``s3-outposts``.
    """

    service: str
    region: str
    account: str
    name: str
    outpost: str = ""


def check_bucket_name(name: str) -> str:
    """Return the name if it can be a bucket's name or an access point's ARN; raise S3InvalidName (or TypeError) otherwise.

    Names from before today's rules are valid here: such a bucket may exist, but cannot be created now.
    """
    if not isinstance(name, str):
        raise TypeError(f"bucket_name must be text, not {type(name).__name__}")
    if _EXISTING.fullmatch(name) or _ARN.fullmatch(name):
        return plain(name)
    shown = without_secrets(name)
    if name.startswith("arn:"):
        text = (
            "is not the ARN of an access point, such as 'arn:aws:s3:eu-west-1:123456789012:accesspoint/name'; a bucket is named by its "
            "name, not by its ARN"
        )
    elif "://" in name:
        text = "is a URI, not a bucket name; store.object('s3://bucket/key') takes a URI"
    else:
        text = (
            "is not a bucket name: a name has 3 to 63 lower-case letters, digits, '-' and single '.' (before 2018 also capitals, '_' and "
            "up to 255 characters), and begins with a letter or digit"
        )
    raise S3InvalidName(f"{shown!r} {text}", bucket=shown)


def check_bucket_names(argument: str, names: Iterable[str]) -> frozenset[str]:
    """Return the names if each can be a bucket's name; raise TypeError or ValueError, which name the argument, otherwise.

    A handle, or None from a setting that is missing, would be equal to no name in a message: the message would be skipped.
    """
    if isinstance(names, (str, bytes)) or not isinstance(names, Iterable):
        raise TypeError(f"{argument} must be an iterable of names: for one bucket, pass [name]")
    found = set()
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"{argument} must be an iterable of names; it contains {type(name).__name__}")
        try:
            found.add(check_bucket_name(name))
        except S3InvalidName as error:
            raise S3InvalidName(f"{argument}: {error}", bucket=error.bucket) from None
    return frozenset(found)


def check_new_bucket_name(name: str) -> str:
    """Return the name if a bucket of this name can be created; raise S3InvalidName (or TypeError) otherwise."""
    name = check_bucket_name(name)
    if BUCKET_NAME_VALIDATOR.match(name) and ".." not in name and not _IP_ADDRESS.fullmatch(name):
        return name
    if is_arn(name):
        raise S3InvalidName(f"{name!r} is the ARN of an access point, not the name of a new bucket", bucket=name)
    raise S3InvalidName(
        f"{name!r} is not a bucket name that can be created: a name has 3 to 63 lower-case letters, digits, '-' and single '.', "
        "begins and ends with a letter or digit, and is not an IP address. An existing bucket with this name is reached with "
        "store.bucket(name)",
        bucket=name,
    )


def is_arn(name: str) -> bool:
    """Return whether a valid bucket name is an ARN."""
    return name.startswith("arn:")


def access_point(name: str) -> AccessPoint | None:
    """Return the parts of an access point's ARN; None for the name of a bucket."""
    found = _ARN.fullmatch(name)
    if found is None:
        return None
    if found["outpost"]:
        return AccessPoint(
            "s3-outposts", found["outpost_region"], found["owner"], found["outpost_name"], found["outpost"]
        )
    return AccessPoint(found["service"], found["region"], found["account"], found["name"])


def zone_of(name: str) -> str | None:
    """Return the zone in the name of a directory bucket of Amazon S3, or of an access point of one; None for another name.

    Example:
        >>> from messageflux_s3._formats.bucket_names import zone_of
        >>> zone_of("invoices--use1-az5--x-s3"), zone_of("invoices")
        ('use1-az5', None)
    """
    if not name.endswith("-s3"):
        return None
    found = _DIRECTORY.fullmatch(name)
    return found["zone"] if found else None


def split_path(path: str) -> tuple[str, str]:
    """Split ``bucket/key`` at its first slash, or after an ARN, as the AWS CLI does. Neither part is checked.

    Example:
        >>> from messageflux_s3._formats.bucket_names import split_path
        >>> split_path("arn:aws:s3:eu-west-1:123456789012:accesspoint/reports/2026/a.csv")
        ('arn:aws:s3:eu-west-1:123456789012:accesspoint/reports', '2026/a.csv')
    """
    found = _ARN.match(path) if path.startswith("arn:") else None
    if found is not None and path[found.end() : found.end() + 1] in ("", "/"):
        return found[0], path[found.end() + 1 :]
    bucket, _, key = path.partition("/")
    return bucket, key


def without_secrets(text: str) -> str:
    """Return the text without a URL's query and password, for error messages: the query of a presigned URL holds its signature."""
    if "://" not in text:
        return text
    start, mark, _ = text.partition("?")
    scheme, _, rest = start.partition("://")
    authority, slash, path = rest.partition("/")
    _, at, host = authority.rpartition("@")
    return f"{scheme}://{'…@' if at else ''}{host}{slash}{path}{'?…' if mark else ''}"
