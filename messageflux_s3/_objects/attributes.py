"""The attributes that every operation keeps when it replaces or copies an object.

S3 replaces an object as a whole. An attribute that a write does not send again is lost, or falls back to the bucket's default. So every
rewrite (``update()``, appending, copies in one request, in parts or through this machine, new metadata, ``make_current()``) starts from the
response to a HEAD or GET, and :func:`kept` returns the attributes to send again:

=========================================================  =======================================================================
attribute                                                  kept
=========================================================  =======================================================================
content type, encoding, language, disposition,             always
cache control, expires
user metadata, tags                                        always (the callers add them: the user may replace them)
storage class                                              in the same store, or another store of the same kind. A class that exists
                                                           in certain buckets only (``EXPRESS_ONEZONE``, …): in the same bucket
website redirect                                           in the same store
encryption, KMS key, bucket key                            in the same bucket: another bucket has its own default, and a KMS key
                                                           belongs to one region and account
object lock: mode, retain-until date, holds                under the same key (a date in the past is left out: S3 rejects it). A copy
                                                           under another key is not locked, as with S3's own copies
=========================================================  =======================================================================

Not kept, since HEAD does not return them: the ACL (the new object has the default one), a KMS encryption context, and annotations (except
in copies that S3 makes in one request, up to 5 GiB). The checksum algorithm is not kept either. AWS returns the number of tags and the
object lock only to those who may read them (s3:GetObjectTagging, s3:GetObjectRetention, s3:GetObjectLegalHold): without these permissions,
``update()`` and appending do not know of them and lose them.
An object encrypted with a customer's key (SSE-C) cannot be rewritten without that key: :func:`kept` raises S3Unsupported.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, Literal

from .._client.addresses import ObjectAddress
from ..errors import S3Unsupported
from . import put_parameters

Scope = Literal["object", "bucket", "store", "kind", "elsewhere"]
"""Where the target of a rewrite is, relative to the source: same key, same bucket, same store, a store of the same kind (preset), or
elsewhere."""

CONTENT_HEADERS = ("ContentType", "ContentEncoding", "ContentLanguage", "ContentDisposition", "CacheControl", "Expires")
"""The attributes that CopyObject copies, unless metadata is replaced; then all of them must be sent again."""

_ENCRYPTION = ("ServerSideEncryption", "SSEKMSKeyId", "BucketKeyEnabled")
_LOCK_PERIOD = ("ObjectLockMode", "ObjectLockRetainUntilDate")
_LOCK = (
    *_LOCK_PERIOD,
    "ObjectLockLegalHoldStatus",
    "ObjectLockEventHold",
    "ObjectLockEventHoldDurationDays",
    "ObjectLockEventHoldDurationYears",
)
_CLASSES_OF_ONE_BUCKET = ("EXPRESS_ONEZONE", "OUTPOSTS", "SNOW", "FSX_OPENZFS", "FSX_ONTAP")
_EPOCH = datetime.fromtimestamp(0, timezone.utc)


def kept(
    address: ObjectAddress, answer: Mapping[str, Any], given: Mapping[str, Any], *, scope: Scope = "object"
) -> dict[str, Any]:
    """Return the parameters for rewriting an object: the object's attributes, updated with the given parameters.

    Args:
        address: The object, for the error.
        answer: boto3's response to a HEAD or GET of the object.
        given: Parameters under S3's own names that replace the object's.
        scope: Where the rewritten object will be.

    Returns:
        Parameters of PutObject, CopyObject or CreateMultipartUpload. The caller adds metadata and tags.

    Raises:
        S3Unsupported: The object is encrypted with a customer's key, and ``given`` has no parameters for its encryption.
    """
    is_encrypted_anew = any(name == "ServerSideEncryption" or name.startswith("SSECustomer") for name in given)
    if answer.get("SSECustomerAlgorithm") and not is_encrypted_anew:
        raise S3Unsupported(
            f"{address.uri} is encrypted with a customer's key (SSE-C), which the store does not keep: a rewrite would "
            "lose that encryption. Nothing was written. Pass encryption=…, or on Amazon S3 SSECustomerAlgorithm and SSECustomerKey.",
            bucket=address.bucket_name,
            key=address.key,
        )
    parameters = {name: answer[name] for name in CONTENT_HEADERS if answer.get(name)}
    if "Expires" not in parameters and answer.get("ExpiresString"):
        parameters["Expires"] = _EPOCH  # an invalid date ("0", "-1") means already expired (RFC 9111, 5.3)
    is_same_bucket = scope in ("object", "bucket")
    storage_class = answer.get("StorageClass")
    if storage_class and scope != "elsewhere" and (is_same_bucket or storage_class not in _CLASSES_OF_ONE_BUCKET):
        parameters["StorageClass"] = storage_class
    if (is_same_bucket or scope == "store") and answer.get("WebsiteRedirectLocation"):
        parameters["WebsiteRedirectLocation"] = answer["WebsiteRedirectLocation"]
    if is_same_bucket and not is_encrypted_anew:
        parameters |= {name: answer[name] for name in _ENCRYPTION if answer.get(name)}
    if scope == "object":
        parameters |= _lock(answer)
    return {**parameters, **given}


def require_whole_metadata(address: ObjectAddress, answer: Mapping[str, Any]) -> None:
    """Raise if a response lacks some of the object's metadata, before a rewrite that sends the metadata again, which would lose them.

    AWS does not return metadata that no header can hold, and says how many there are (``x-amz-missing-meta``).

    Raises:
        S3Unsupported: The response does not have all metadata.
    """
    if missing := answer.get("MissingMeta"):
        raise S3Unsupported(
            f"{address.uri} has {missing} entries of metadata that the store does not return: a rewrite would lose them. Nothing was "
            "written. Replace all metadata first: set_metadata({…}).",
            bucket=address.bucket_name,
            key=address.key,
        )


def _lock(answer: Mapping[str, Any]) -> dict[str, Any]:
    parameters = {name: answer[name] for name in _LOCK if answer.get(name)}
    until = parameters.get("ObjectLockRetainUntilDate")
    is_over = isinstance(until, datetime) and until <= datetime.now(timezone.utc)
    if is_over or not all(name in parameters for name in _LOCK_PERIOD):
        for name in _LOCK_PERIOD:
            parameters.pop(name, None)
    if parameters.get("ObjectLockLegalHoldStatus") != "ON":
        parameters.pop("ObjectLockLegalHoldStatus", None)
    return parameters


def kept_tags(
    address: ObjectAddress, answer: Mapping[str, Any], given: Mapping[str, Any] | None = None
) -> dict[str, str]:
    """Return the tags of an object as a parameter of the write that replaces it; empty if the object has none.

    Args:
        address: The object.
        answer: boto3's response to a GET or HEAD, which has the number of tags.
        given: Parameters of the write; ``RequestPayer`` and ``ExpectedBucketOwner`` are passed on.

    Requests:
        none, or 1 GET if the object has tags
    """
    if not answer.get("TagCount"):
        return {}
    passed_on = {
        name: value for name, value in (given or {}).items() if name in ("RequestPayer", "ExpectedBucketOwner")
    }
    found = address.connection.call("GetObjectTagging", **address.parameters, **passed_on)
    return {"Tagging": put_parameters.encode_tags({tag["Key"]: tag["Value"] for tag in found["TagSet"]})}
