"""Recognise the S3 operation of an HTTP request by its method, path (path style), query and headers."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlencode

from .proxy import ProxyRequest

_SETTINGS = {
    "abac": ("GetBucketAbac", "PutBucketAbac", None),
    "accelerate": ("GetBucketAccelerateConfiguration", "PutBucketAccelerateConfiguration", None),
    "acl": ("GetBucketAcl", "PutBucketAcl", None),
    "analytics": ("ListBucketAnalyticsConfigurations", None, None),
    "analytics&id": (
        "GetBucketAnalyticsConfiguration",
        "PutBucketAnalyticsConfiguration",
        "DeleteBucketAnalyticsConfiguration",
    ),
    "cors": ("GetBucketCors", "PutBucketCors", "DeleteBucketCors"),
    "encryption": ("GetBucketEncryption", "PutBucketEncryption", "DeleteBucketEncryption"),
    "intelligent-tiering": ("ListBucketIntelligentTieringConfigurations", None, None),
    "intelligent-tiering&id": (
        "GetBucketIntelligentTieringConfiguration",
        "PutBucketIntelligentTieringConfiguration",
        "DeleteBucketIntelligentTieringConfiguration",
    ),
    "inventory": ("ListBucketInventoryConfigurations", None, None),
    "inventory&id": (
        "GetBucketInventoryConfiguration",
        "PutBucketInventoryConfiguration",
        "DeleteBucketInventoryConfiguration",
    ),
    "lifecycle": ("GetBucketLifecycleConfiguration", "PutBucketLifecycleConfiguration", "DeleteBucketLifecycle"),
    "location": ("GetBucketLocation", None, None),
    "logging": ("GetBucketLogging", "PutBucketLogging", None),
    "metadataConfiguration": ("GetBucketMetadataConfiguration", None, "DeleteBucketMetadataConfiguration"),
    "metadataTable": ("GetBucketMetadataTableConfiguration", None, "DeleteBucketMetadataTableConfiguration"),
    "metadataAnnotationTable": (None, "UpdateBucketMetadataAnnotationTableConfiguration", None),
    "metadataInventoryTable": (None, "UpdateBucketMetadataInventoryTableConfiguration", None),
    "metadataJournalTable": (None, "UpdateBucketMetadataJournalTableConfiguration", None),
    "metrics": ("ListBucketMetricsConfigurations", None, None),
    "metrics&id": (
        "GetBucketMetricsConfiguration",
        "PutBucketMetricsConfiguration",
        "DeleteBucketMetricsConfiguration",
    ),
    "notification": ("GetBucketNotificationConfiguration", "PutBucketNotificationConfiguration", None),
    "object-lock": ("GetObjectLockConfiguration", "PutObjectLockConfiguration", None),
    "ownershipControls": (
        "GetBucketOwnershipControls",
        "PutBucketOwnershipControls",
        "DeleteBucketOwnershipControls",
    ),
    "policy": ("GetBucketPolicy", "PutBucketPolicy", "DeleteBucketPolicy"),
    "policyStatus": ("GetBucketPolicyStatus", None, None),
    "publicAccessBlock": ("GetPublicAccessBlock", "PutPublicAccessBlock", "DeletePublicAccessBlock"),
    "replication": ("GetBucketReplication", "PutBucketReplication", "DeleteBucketReplication"),
    "requestPayment": ("GetBucketRequestPayment", "PutBucketRequestPayment", None),
    "tagging": ("GetBucketTagging", "PutBucketTagging", "DeleteBucketTagging"),
    "versioning": ("GetBucketVersioning", "PutBucketVersioning", None),
    "website": ("GetBucketWebsite", "PutBucketWebsite", "DeleteBucketWebsite"),
}
"""The settings of a bucket: the operations of GET, PUT and DELETE, by the names in the query."""

_TABLE: dict[tuple[str, str, str], str] = {
    ("service", "GET", ""): "ListBuckets",
    ("bucket", "HEAD", ""): "HeadBucket",
    ("bucket", "PUT", ""): "CreateBucket",
    ("bucket", "DELETE", ""): "DeleteBucket",
    ("bucket", "GET", ""): "ListObjects",
    ("bucket", "GET", "list-type=2"): "ListObjectsV2",
    ("bucket", "GET", "versions"): "ListObjectVersions",
    ("bucket", "GET", "uploads"): "ListMultipartUploads",
    ("bucket", "GET", "session"): "CreateSession",
    ("bucket", "POST", ""): "PostObject",  # a form, as presigned_post describes it; no operation of boto3's
    ("bucket", "POST", "delete"): "DeleteObjects",
    ("bucket", "POST", "metadataConfiguration"): "CreateBucketMetadataConfiguration",
    ("bucket", "POST", "metadataTable"): "CreateBucketMetadataTableConfiguration",
    **{
        ("bucket", method, names): operation
        for names, operations in _SETTINGS.items()
        for method, operation in zip(("GET", "PUT", "DELETE"), operations, strict=True)
        if operation is not None
    },
    ("object", "HEAD", ""): "HeadObject",
    ("object", "GET", ""): "GetObject",
    ("object", "GET", "acl"): "GetObjectAcl",
    ("object", "GET", "annotation"): "ListObjectAnnotations",
    ("object", "GET", "annotation&annotationName"): "GetObjectAnnotation",
    ("object", "GET", "attributes"): "GetObjectAttributes",
    ("object", "GET", "legal-hold"): "GetObjectLegalHold",
    ("object", "GET", "retention"): "GetObjectRetention",
    ("object", "GET", "tagging"): "GetObjectTagging",
    ("object", "GET", "torrent"): "GetObjectTorrent",
    ("object", "GET", "uploadId"): "ListParts",
    ("object", "PUT", ""): "PutObject",
    ("object", "PUT", "copy"): "CopyObject",
    ("object", "PUT", "acl"): "PutObjectAcl",
    ("object", "PUT", "annotation&annotationName"): "PutObjectAnnotation",
    ("object", "PUT", "encryption"): "UpdateObjectEncryption",
    ("object", "PUT", "legal-hold"): "PutObjectLegalHold",
    ("object", "PUT", "renameObject"): "RenameObject",
    ("object", "PUT", "retention"): "PutObjectRetention",
    ("object", "PUT", "tagging"): "PutObjectTagging",
    ("object", "PUT", "uploadId"): "UploadPart",
    ("object", "PUT", "copy&uploadId"): "UploadPartCopy",
    ("object", "POST", "uploads"): "CreateMultipartUpload",
    ("object", "POST", "uploadId"): "CompleteMultipartUpload",
    ("object", "POST", "restore"): "RestoreObject",
    ("object", "POST", "select"): "SelectObjectContent",
    ("object", "DELETE", ""): "DeleteObject",
    ("object", "DELETE", "annotation&annotationName"): "DeleteObjectAnnotation",
    ("object", "DELETE", "tagging"): "DeleteObjectTagging",
    ("object", "DELETE", "uploadId"): "AbortMultipartUpload",
}
"""The operation by the level, the method, and the query's names that distinguish it; "copy" stands for the header of a copy."""

OPERATIONS = frozenset(_TABLE.values())
"""The names of all operations: boto3's, and PostObject."""

UNKNOWN = "Unknown"
"""The operation of a request that is none of these."""

_BY_NAMES = {(level, method, frozenset(names.split("&"))): found for (level, method, names), found in _TABLE.items()}
_TELLING = frozenset(part for _, _, names in _TABLE for part in names.split("&") if part) - {"copy"}
# These differ between two runs of one program, or say nothing about the object.
_CHANGING = re.compile(
    r"(?i)(uploadId|upload-id-marker|versionId|version-id-marker|x-id|X-Amz-.*|AWSAccessKeyId|Signature|Expires|continuation-token)"
)


class S3Request(NamedTuple):
    """One request in the terms of S3.

    Attributes:
        operation: Such as ``"PutObject"``; :data:`UNKNOWN` if it is none of :data:`OPERATIONS`.
        bucket: The bucket's name, or ``""``.
        key: The object's key, or ``""``.
        detail: What distinguishes requests of one operation and key: the number of a part, a range, the prefix of a listing.
    """

    operation: str
    bucket: str
    key: str
    detail: str

    @property
    def is_scratch(self) -> bool:
        """Whether the request is about scratch objects or a bucket of this library's own probes, or lists them; these have random names."""
        return "mfs3-probe" in self.key or "mfs3-probe" in self.detail or self.bucket.startswith("mfs3-probe-")


def recognise(request: ProxyRequest) -> S3Request:
    """Return the S3 operation of a request, and its bucket and key."""
    path, _, query = request.target.partition("?")
    bucket, _, key = (unquote(part) for part in path.removeprefix("/").partition("/"))
    level = "object" if key else "bucket" if bucket else "service"
    pairs = sorted(parse_qsl(query, keep_blank_values=True))
    telling = {name for name, _ in pairs} & _TELLING | {f"{name}={value}" for name, value in pairs} & _TELLING
    if level == "object" and request.method == "PUT" and request.header("x-amz-copy-source"):
        telling.add("copy")
    operation = _BY_NAMES.get((level, request.method, frozenset(telling or {""})), UNKNOWN)
    stable = [(name, value) for name, value in pairs if value and not _CHANGING.fullmatch(name)]
    detail = "&".join(filter(None, [urlencode(stable), request.header("Range") or ""]))
    return S3Request(operation, bucket, key, detail)
