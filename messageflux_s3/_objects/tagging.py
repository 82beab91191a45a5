"""Checks of tags that were sent with a multipart upload or a copy: some stores drop them.

Ceph's radosgw keeps the tags of PutObject, but silently drops those of a multipart upload and of a copy with a tagging directive. So on
stores other than AWS the tags are compared after such a write, and put with PutObjectTagging if they differ.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from .._client.addresses import ObjectAddress
from .._formats import etags
from ..errors import S3AccessDenied, S3Error, S3NoSuchItem
from ..subresources.tags import ObjectTags, TagSet

logger = logging.getLogger("messageflux_s3")

_PARTS_KEEP_TAGS = "uploads in parts keep tags"


def ensure_after_upload(address: ObjectAddress, tagging: str | None, etag: str | None) -> None:
    """Ensure that an object has the tags with which its multipart upload was created.

    Args:
        address: The object; in a versioned bucket the version that was written.
        tagging: The tags as sent with CreateMultipartUpload; None for none.
        etag: The object's ETag; None if the store did not return it.

    Raises:
        S3Error: The tags are missing and could not be put; the object was written.

    Requests:
        none on AWS, without tags, and once the store is known to keep them; else 1 GET, and if they are missing 1 HEAD, 2 GET and 1 PUT
    """
    connection = address.connection
    if not tagging or connection.is_aws or connection.facts.get(_PARTS_KEEP_TAGS):
        return
    is_kept = _ensure(address, tagging, etag)
    if is_kept is not None:
        connection.facts[_PARTS_KEEP_TAGS] = is_kept


def ensure_after_copy(
    address: ObjectAddress, tagging: str, answer: Mapping[str, Any], *, source_is_tagged: bool
) -> None:
    """Ensure that a copy has the tags that were sent to replace its source's tags.

    Every copy is checked: whether a store keeps the tags may depend on the directives and on the source's tags.

    Args:
        address: The copy.
        tagging: The tags as sent with CopyObject; empty for none.
        answer: The response to CopyObject.
        source_is_tagged: Whether the source has tags, which may have been copied in spite of the directive.

    Raises:
        S3Error: The copy's tags differ and could not be put; the copy was made.

    Requests:
        none on AWS, or if neither has tags; else 1 GET, and if the tags differ 1 HEAD, 2 GET and 1 PUT
    """
    if (tagging or source_is_tagged) and not address.connection.is_aws:
        result = answer.get("CopyObjectResult") or answer
        _ensure(address._replace(version_id=answer.get("VersionId")), tagging, result.get("ETag"))


def _ensure(address: ObjectAddress, tagging: str, etag: str | None) -> bool | None:
    """Put the tags if they differ. Return True if they were right already, False if they were put, None if unknown."""
    wanted = TagSet.of(dict(parse_qsl(tagging, keep_blank_values=True)))
    tags = ObjectTags(address)
    try:
        if tags.get().pairs == wanted.pairs:
            return True
        now = address.connection.call("HeadObject", **address.parameters)
        if etag and not etags.same(etags.unquoted(now.get("ETag")), etags.unquoted(etag)):
            return None  # another client has replaced the object: these are the new object's tags
        tags.put(wanted)
    except S3AccessDenied as error:
        if error.operation == "PutObjectTagging":
            raise _missing(address, error) from error
        logger.warning("the tags of %s were not compared with what was sent: %s", address.uri, error)
        return None
    except S3NoSuchItem:
        return None  # another client has deleted the object
    except S3Error as error:
        raise _missing(address, error) from error
    return False


def _missing(address: ObjectAddress, error: S3Error) -> S3Error:
    return type(error)(
        f"{address.uri} was written, but not its tags, which the store dropped: {error}",
        operation=error.operation, bucket=address.bucket_name, key=address.key, code=error.code, status=error.status,
        request_id=error.request_id, retryable=error.retryable,
    )  # fmt: skip
