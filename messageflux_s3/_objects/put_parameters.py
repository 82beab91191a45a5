"""Further parameters of a write: our names, S3's own, and what each is called in a request."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, TypedDict
from urllib.parse import quote, urlencode


class PutParameters(TypedDict, total=False):
    """What may be said of an object when it is written. S3's own names (``ContentType``) work as well.

    Attributes:
        content_type: The media type; guessed from the key's extension where nothing is said.
        content_encoding: Such as ``"gzip"``.
        content_language: Such as ``"en"``.
        content_disposition: What a browser does with it, such as ``'attachment; filename="report.csv"'``.
        cache_control: How long others may keep it, such as ``"max-age=3600"``.
        expires: When caches forget it.
        storage_class: Such as ``"STANDARD_IA"``.
        encryption: Which encryption the store uses for it.
        kms_key_id: Which key, with ``"aws:kms"``.
        tags: Its tags.
    """

    content_type: str
    content_encoding: str
    content_language: str
    content_disposition: str
    cache_control: str
    expires: datetime
    storage_class: str
    encryption: Literal["AES256", "aws:kms", "aws:kms:dsse"]
    kms_key_id: str
    tags: Mapping[str, str]


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

_SAID_OTHERWISE = {
    "Bucket": "an object is written where its handle and its key say",
    "Key": "an object is written where its handle and its key say",
    "Body": "the content has an argument of its own",
    "ContentLength": "the length is that of the content",
    "Metadata": "give metadata=, a mapping of text to text",
    "IfMatch": "give if_match=, which also settles a lost answer",
    "IfNoneMatch": "give if_absent=True, which also settles a lost answer",
}
"""S3's names that are no further parameters of a write: they would take the place of what this library sends."""


def check_parameters(extra: Mapping[str, Any]) -> None:
    """Refuse what is no further parameter of a write, before anything is sent.

    Raises:
        TypeError: There is no such parameter, it is given under both names, or it has an argument of its own.
    """
    s3_parameters("", extra)


def s3_parameters(key: str, extra: Mapping[str, Any]) -> dict[str, Any]:
    """Further parameters of a write, under S3's own names; the content type guessed from the key where none is given.

    Raises:
        TypeError: There is no such parameter, it is given under both names, or it has an argument of its own.
    """
    parameters: dict[str, Any] = {}
    for name, value in extra.items():
        if value is None:
            continue
        official = _S3_NAMES.get(name, name)
        if official == name and not name[:1].isupper():
            raise TypeError(
                f"{name!r} is no parameter of a write; these are: {', '.join(_S3_NAMES)}, and S3's own names (ContentType …)"
            )
        if official in _SAID_OTHERWISE:
            raise TypeError(f"{name} is no further parameter of a write: {_SAID_OTHERWISE[official]}")
        if official in parameters:
            raise TypeError(f"{official} is given twice")
        parameters[official] = encode_tags(value) if name == "tags" else value
    if "ContentType" not in parameters and (guessed := guess_content_type(key)) is not None:
        parameters["ContentType"] = guessed
    return parameters


FOR_EVERY_REQUEST = (
    "SSECustomerAlgorithm",
    "SSECustomerKey",
    "SSECustomerKeyMD5",
    "RequestPayer",
    "ExpectedBucketOwner",
)
"""Parameters that every request about an object needs, reads included, where a write needs them."""


def for_every_request(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return those parameters of a write, under S3's own names, that a HEAD or a GET of the object needs as well."""
    return {name: parameters[name] for name in FOR_EVERY_REQUEST if name in parameters}


def guess_content_type(name: str) -> str | None:
    """The content type that a name's ending stands for; a compressed file is a compressed file, not what is in it."""
    content_type, encoding = mimetypes.guess_type(name.rpartition("/")[2], strict=False)
    if encoding is not None:
        return {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}.get(encoding)
    return content_type


def encode_tags(tags: Mapping[str, str] | str) -> str:
    """Tags as the header of a write has them."""
    if isinstance(tags, str):
        return tags
    if not isinstance(tags, Mapping) or not all(isinstance(part, str) for pair in tags.items() for part in pair):
        raise TypeError("tags must be a mapping of text to text")
    return urlencode(dict(tags), quote_via=quote)
