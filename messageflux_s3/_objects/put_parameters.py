"""Further parameters of a write: this library's names, S3's own, and the validation of both."""

from __future__ import annotations

import difflib
import mimetypes
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, TypeAlias, TypedDict
from urllib.parse import quote, urlencode

from .._formats.plain import plain

Encryption: TypeAlias = Literal["AES256", "aws:kms", "aws:kms:dsse"]
CannedAcl: TypeAlias = Literal[
    "private",
    "public-read",
    "public-read-write",
    "authenticated-read",
    "aws-exec-read",
    "bucket-owner-read",
    "bucket-owner-full-control",
]


class PutParameters(TypedDict, total=False):
    """Further parameters of a write, under this library's names or S3's own; None counts as not given.

    The names below are this library's. S3's own are those of its PutObject (``ContentType``, ``ACL``, ``ObjectLockMode`` …), except for
    those with a separate argument: ``Bucket``, ``Key``, ``Body``, ``ContentLength``, ``Metadata``, ``IfMatch`` and
    ``IfNoneMatch``. Pass a parameter under only one of its two names.

    Attributes:
        content_type: The media type (``ContentType``); by default guessed from the key's extension.
        content_encoding: Such as ``"gzip"`` (``ContentEncoding``).
        content_language: Such as ``"en"`` (``ContentLanguage``).
        content_disposition: How a browser handles the object, such as ``'attachment; filename="report.csv"'`` (``ContentDisposition``).
        cache_control: How long caches keep the object, such as ``"max-age=3600"`` (``CacheControl``).
        expires: When caches drop the object (``Expires``).
        storage_class: Such as ``"STANDARD_IA"`` (``StorageClass``).
        encryption: The server-side encryption (``ServerSideEncryption``).
        kms_key_id: The ID of the KMS key, with ``"aws:kms"`` (``SSEKMSKeyId``).
        tags: Tags, as a mapping or in the format of the header (``Tagging``).

    A store that ignores one of these parameters raises S3Unsupported, and nothing is written (``confirmation.py`` says how that is found
    out). A customer's key (``SSECustomerKey``) is sent to Amazon S3 only, and no method that reads an object takes it: read such an object
    with boto3.
    """

    content_type: str | None
    content_encoding: str | None
    content_language: str | None
    content_disposition: str | None
    cache_control: str | None
    expires: datetime | None
    storage_class: str | None
    encryption: Encryption | None
    kms_key_id: str | None
    tags: Mapping[str, str] | str | None

    ACL: CannedAcl | None
    BucketKeyEnabled: bool | None
    CacheControl: str | None
    ChecksumAlgorithm: str | None
    ChecksumCRC32: str | None
    ChecksumCRC32C: str | None
    ChecksumCRC64NVME: str | None
    ChecksumMD5: str | None
    ChecksumSHA1: str | None
    ChecksumSHA256: str | None
    ChecksumSHA512: str | None
    ChecksumXXHASH128: str | None
    ChecksumXXHASH3: str | None
    ChecksumXXHASH64: str | None
    ContentDisposition: str | None
    ContentEncoding: str | None
    ContentLanguage: str | None
    ContentMD5: str | None
    ContentType: str | None
    ExpectedBucketOwner: str | None
    Expires: datetime | str | None
    GrantFullControl: str | None
    GrantRead: str | None
    GrantReadACP: str | None
    GrantWriteACP: str | None
    ObjectLockEventHold: Literal["ON", "OFF"] | None
    ObjectLockEventHoldDurationDays: int | None
    ObjectLockEventHoldDurationYears: int | None
    ObjectLockLegalHoldStatus: Literal["ON", "OFF"] | None
    ObjectLockMode: Literal["GOVERNANCE", "COMPLIANCE"] | None
    ObjectLockRetainUntilDate: datetime | str | None
    RequestPayer: Literal["requester"] | None
    SSECustomerAlgorithm: str | None
    SSECustomerKey: str | bytes | None
    SSECustomerKeyMD5: str | None
    SSEKMSEncryptionContext: str | None
    SSEKMSKeyId: str | None
    ServerSideEncryption: str | None
    StorageClass: str | None
    Tagging: str | None
    WebsiteRedirectLocation: str | None
    WriteOffsetBytes: int | None


_S3_NAMES = {
    "content_type": "ContentType",
    "content_encoding": "ContentEncoding",
    "content_language": "ContentLanguage",
    "content_disposition": "ContentDisposition",
    "cache_control": "CacheControl",
    "expires": "Expires",
    "storage_class": "StorageClass",
    "encryption": "ServerSideEncryption",
    "kms_key_id": "SSEKMSKeyId",
    "tags": "Tagging",
}

_OWN_ARGUMENTS = {
    "Bucket": "the handle says where the object is written",
    "Key": "the handle and the key say where the object is written",
    "Body": "the content has an argument of its own",
    "ContentLength": "the length is that of the content",
    "Metadata": "give metadata=, a mapping of text to text",
    "IfMatch": "give if_match=, which also determines the outcome after a lost response",
    "IfNoneMatch": "give if_absent=True, which also determines the outcome after a lost response",
}
"""S3's names that are rejected as further parameters: they would override what this library sends."""

_NAMES = frozenset(PutParameters.__annotations__) | frozenset(_OWN_ARGUMENTS)
_LINE_END = re.compile(r"[\r\n\0]")
_ARGUMENTS = ("metadata", "if_absent", "if_match")
"""Arguments of most writes, for suggestions in error messages."""


def check_parameters(extra: Mapping[str, Any]) -> None:
    """Validate the further parameters of a write before anything is sent.

    Raises:
        TypeError: A parameter does not exist, is given under both names, or has a separate argument.
        ValueError: A parameter that is sent as a header contains a line end.
    """
    s3_parameters("", extra)


def s3_parameters(key: str, extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return the further parameters of a write under S3's names, with a content type guessed from the key if none is given.

    Raises:
        TypeError: A parameter does not exist, is given under both names, or has a separate argument.
        ValueError: A parameter that is sent as a header contains a line end.
    """
    parameters: dict[str, Any] = {}
    for name, value in extra.items():
        if name not in _NAMES:
            _check_unknown(name)
        if value is None:
            continue
        s3_name = _S3_NAMES.get(name, name)
        if s3_name in _OWN_ARGUMENTS:
            raise TypeError(f"{name} is not a further parameter of a write: {_OWN_ARGUMENTS[s3_name]}")
        if s3_name in parameters:
            raise TypeError(f"{s3_name} is given twice")
        if isinstance(value, str) and s3_name != "SSECustomerKey" and _LINE_END.search(value):  # boto3 encodes the key
            raise ValueError(f"{name} must be one line: a line end in it would end the header and begin another")
        if isinstance(value, str):
            value = plain(value)
        parameters[s3_name] = encode_tags(value) if name == "tags" else value
    if "ContentType" not in parameters and (guessed := guess_content_type(key)) is not None:
        parameters["ContentType"] = guessed
    return parameters


def with_content_type(content_type: str, extra: PutParameters) -> PutParameters:
    """Return the further parameters of a write; add this content type if they have none under either name."""
    if extra.get("content_type") is not None or extra.get("ContentType") is not None:
        return extra
    return {**extra, "content_type": content_type}


def _check_unknown(name: str) -> None:
    """Reject an unknown name, unless it may be an S3 parameter that a newer boto3 supports: boto3 checks those.

    Raises:
        TypeError: The name is misspelt.
    """
    may_be_new = name[:1].isupper()
    # content_type and ContentType have the same letters. The dict keeps the later one; by the order of `known`
    # that is the one in the style of `name`.
    known = sorted({*PutParameters.__annotations__, *_ARGUMENTS} - {name}, reverse=may_be_new)
    by_letters = {_letters(other): other for other in known if not may_be_new or _digits(other) == _digits(name)}
    nearest = difflib.get_close_matches(_letters(name), by_letters, 1, 0.9 if may_be_new else 0.6)
    if nearest:
        raise TypeError(f"{name!r} is not a parameter of a write; did you mean {by_letters[nearest[0]]!r}?")
    if not may_be_new:
        raise TypeError(
            f"{name!r} is not a parameter of a write; these are: {', '.join(_S3_NAMES)}, and S3's own names (ContentType …)"
        )


def _letters(name: str) -> str:
    return name.replace("_", "").lower()


def _digits(name: str) -> str:
    return "".join(filter(str.isdigit, name))


FOR_EVERY_REQUEST = (
    "SSECustomerAlgorithm",
    "SSECustomerKey",
    "SSECustomerKeyMD5",
    "RequestPayer",
    "ExpectedBucketOwner",
)
"""Parameters of a write that every later request for the object needs too, even a read."""


def for_every_request(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a write, under S3's own names, that a HEAD or a GET of the object needs too."""
    return {name: parameters[name] for name in FOR_EVERY_REQUEST if name in parameters}


def guess_content_type(name: str) -> str | None:
    """Return the content type for a name's extension. For ``a.csv.gz`` it is that of the compression format: ``application/gzip``."""
    name = name.rpartition("/")[2]
    if "." not in name:
        return None
    content_type, encoding = mimetypes.guess_type(name, strict=False)
    if encoding is not None:
        return {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}.get(encoding)
    return content_type


def encode_tags(tags: Mapping[str, str] | str) -> str:
    """Return tags in the format of the header x-amz-tagging."""
    if isinstance(tags, str):
        return tags
    if not isinstance(tags, Mapping) or not all(isinstance(part, str) for pair in tags.items() for part in pair):
        raise TypeError("tags must be a mapping of text to text")
    return urlencode({plain(name): plain(value) for name, value in tags.items()}, quote_via=quote)
