"""The capabilities of a store, found by ``_probe/probe.py`` or set by the preset for this kind of store.

``None`` in a field means that it is unknown.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal
from urllib.parse import urlsplit

from .._formats import render

Preset = Literal["auto", "aws", "r2", "minio", "ceph", "gcs", "other"]
PRESETS: tuple[str, ...] = ("auto", "aws", "r2", "minio", "ceph", "gcs", "other")

Condition = Literal["honoured", "ignored", "refused", "sequential"]
"""How a store treats a condition on a write. ``"sequential"``: honoured only without concurrent writes."""

BulkDelete = Literal["checksum", "md5", "single"]
"""How to delete many keys: DeleteObjects with a checksum, with Content-MD5, or one DeleteObject for each key."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The capabilities of one store. Frozen; pass it to ``S3Config.replace(capabilities=…)``.

    Attributes:
        addressing_style: ``"virtual"`` or ``"path"``, whichever works (virtual where both do).
        checksums: Whether uploads may carry the trailing checksums that boto3 sends by default.
        bulk_delete: How to delete many keys.
        list_v2: Whether ListObjectsV2 works.
        start_after_beyond_ascii: Whether a listing can start after a key that is not ASCII.
        put_if_absent: ``If-None-Match: *`` on PUT, in a bucket without versions.
        put_if_match: ``If-Match`` on PUT, in a bucket without versions.
        put_if_absent_versioned: ``If-None-Match: *`` on PUT, in a versioned bucket.
        put_if_match_versioned: ``If-Match`` on PUT, in a versioned bucket.
        multipart_if_absent: ``If-None-Match: *`` on CompleteMultipartUpload.
        copy_if_absent: ``If-None-Match: *`` on CopyObject.
        delete_if_match: ``If-Match`` on DELETE.
        multipart_copy: Whether parts of an upload may be copied on the server.
        versioning: Whether buckets keep versions.
        object_tagging: Whether objects take tags.
        bucket_tagging: Whether buckets take tags.
        policy: Whether buckets take policies.
        public_access_block: Whether buckets have a public access block.
        cors: Whether buckets take CORS rules.
        encryption: Whether buckets take a default encryption.
        notifications: Whether buckets take notification settings.
        lifecycle: Whether buckets take lifecycle rules.
        lifecycle_filters: Whether the store keeps the filters of lifecycle rules.
        post: Whether browser-style POST uploads work.
        ranges: Whether a range of an object can be read.
        suffix_ranges: Whether a suffix range longer than the object returns the whole object.
    """

    addressing_style: Literal["virtual", "path"] | None = None
    checksums: bool | None = None
    bulk_delete: BulkDelete | None = None
    list_v2: bool | None = None
    start_after_beyond_ascii: bool | None = None
    put_if_absent: Condition | None = None
    put_if_match: Condition | None = None
    put_if_absent_versioned: Condition | None = None
    put_if_match_versioned: Condition | None = None
    multipart_if_absent: Condition | None = None
    copy_if_absent: Condition | None = None
    delete_if_match: Condition | None = None
    multipart_copy: bool | None = None
    versioning: bool | None = None
    object_tagging: bool | None = None
    bucket_tagging: bool | None = None
    policy: bool | None = None
    public_access_block: bool | None = None
    cors: bool | None = None
    encryption: bool | None = None
    notifications: bool | None = None
    lifecycle: bool | None = None
    lifecycle_filters: bool | None = None
    post: bool | None = None
    ranges: bool | None = None
    suffix_ranges: bool | None = None

    def __str__(self) -> str:
        width = max(len(field.name) for field in fields(self))
        return "\n".join(f"{field.name:<{width}}  {_say(getattr(self, field.name))}" for field in fields(self))

    def _repr_html_(self) -> str:
        pairs = [(field.name, _say(getattr(self, field.name))) for field in fields(self)]
        return render.facts("what the store can do", pairs).html


def _say(value: object) -> str:
    return (
        "not asked"
        if value is None
        else {True: "yes", False: "no"}.get(value, str(value))
        if isinstance(value, bool)
        else str(value)
    )


AWS = Capabilities(
    addressing_style="virtual",
    checksums=True,
    bulk_delete="checksum",
    list_v2=True,
    start_after_beyond_ascii=True,
    put_if_absent="honoured",
    put_if_match="honoured",
    put_if_absent_versioned="honoured",
    put_if_match_versioned="honoured",
    multipart_if_absent="honoured",
    copy_if_absent="honoured",
    delete_if_match="honoured",
    multipart_copy=True,
    versioning=True,
    object_tagging=True,
    bucket_tagging=True,
    policy=True,
    public_access_block=True,
    cors=True,
    encryption=True,
    notifications=True,
    lifecycle=True,
    lifecycle_filters=True,
    post=True,
    ranges=True,
    suffix_ranges=True,
)
"""Amazon S3: the only store whose capabilities are assumed without a probe."""

_AVOID: dict[str, Capabilities] = {
    "aws": AWS,
    "r2": Capabilities(
        checksums=False, versioning=False, object_tagging=False, policy=False, public_access_block=False
    ),
    "minio": Capabilities(checksums=False, public_access_block=False),
    "ceph": Capabilities(checksums=False, lifecycle_filters=False),
    "gcs": Capabilities(checksums=False, bulk_delete="single"),
    "other": Capabilities(checksums=False),
}


def preset_for(endpoint_url: str | None) -> Preset:
    """Return the kind of store that the host name shows; no endpoint means AWS."""
    if endpoint_url is None:
        return "aws"
    host = urlsplit(endpoint_url).hostname or ""
    if host.endswith((".amazonaws.com", ".amazonaws.com.cn")) or host == "s3.amazonaws.com":
        return "aws"
    if host.endswith(".r2.cloudflarestorage.com"):
        return "r2"
    if host == "storage.googleapis.com" or host.endswith(".storage.googleapis.com"):
        return "gcs"
    return "other"


def known_of(preset: str) -> Capabilities:
    """Return the capabilities assumed for a preset without a probe: all on AWS; elsewhere only deviations are set, the rest is None."""
    return _AVOID[preset]
