"""The capabilities of a store, found by ``_probe/probe.py`` or set by the preset for this kind of store.

``None`` in a field means that it is unknown.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Literal, NamedTuple, get_args
from urllib.parse import urlsplit

from .._formats import render
from .aws_hosts import is_aws_host

Preset = Literal["auto", "aws", "r2", "minio", "ceph", "gcs", "other"]
PRESETS: tuple[str, ...] = get_args(Preset)

Condition = Literal["honoured", "ignored", "refused", "sequential", "existing"]
"""How a store treats a condition on a write.

``"sequential"``: honoured only without concurrent writes. ``"existing"``: an ETag is compared only where there is an object."""

BulkDelete = Literal["checksum", "md5", "single"]
"""How to delete many keys: DeleteObjects with a checksum, with Content-MD5, or one DeleteObject for each key."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The capabilities of one store. Frozen; pass it to ``S3Config.replace(capabilities=…)``.

    Attributes:
        addressing_style: ``"virtual"`` or ``"path"``, whichever works (virtual where both do).
        checksums: Whether uploads may carry the trailing checksums that boto3 sends by default.
        checksums_compared: Whether the store compares these checksums with the bytes that it receives, and refuses other bytes. Only then
            the library relies on them instead of Content-MD5 and the ETag.
        bulk_delete: How to delete many keys.
        list_v2: Whether ListObjectsV2 works. If not, ListObjects is used.
        start_after_beyond_ascii: Whether a listing can start after a key where keys are not ASCII. If not, it starts at the beginning.
        put_if_absent: ``If-None-Match: *`` on PUT, in a bucket without versions.
        put_if_match: ``If-Match`` on PUT, in a bucket without versions.
        put_if_absent_versioned: ``If-None-Match: *`` on PUT, in a versioned bucket.
        put_if_match_versioned: ``If-Match`` on PUT, in a versioned bucket.
        multipart_if_absent: ``If-None-Match: *`` on CompleteMultipartUpload.
        copy_if_absent: ``If-None-Match: *`` on CopyObject.
        delete_if_match: ``If-Match`` on DELETE.
        multipart_copy: Whether parts of an upload may be copied on the server.
        versioning: Whether buckets can keep versions.
        object_tagging: Whether objects can have tags.
        tags_on_put: Whether tags that are sent with an object are kept.
        bucket_tagging: Whether buckets can have tags.
        policy: Whether buckets can have policies.
        public_access_block: Whether buckets can have a public access block.
        cors: Whether buckets can have CORS rules.
        encryption: Whether buckets can have a default encryption.
        notifications: Whether buckets can have notification settings.
        lifecycle: Whether buckets can have lifecycle rules.
        lifecycle_filters: Whether the store keeps the filters of lifecycle rules.
        post: Whether browser-style POST uploads work.
        ranges: Whether a range of an object can be read.
        suffix_ranges: Whether a suffix range longer than the object returns the whole object.
        server: The product that answered the probe, such as ``"Ceph"`` or ``"MinIO"``, as far as its responses tell. Not compared.
        probed_at: When the probe ended, in UTC; None if the capabilities are not from a probe. Not compared.
        reasons: For each question of a probe that could not be answered its name and why; ``dict(found.reasons)`` is a mapping. Not
            compared: capabilities with other reasons are equal.
    """

    addressing_style: Literal["virtual", "path"] | None = None
    checksums: bool | None = None
    checksums_compared: bool | None = None
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
    tags_on_put: bool | None = None
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
    server: str | None = field(default=None, compare=False)
    probed_at: datetime | None = field(default=None, compare=False)
    reasons: tuple[tuple[str, str], ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        width = max(len(name) for name, _ in self._lines())
        return "\n".join(render.visible(f"{name:<{width}}  {text}") for name, text in self._lines())

    def _repr_html_(self) -> str:
        return render.facts("what the store can do", self._lines()).html

    def _lines(self) -> list[tuple[str, str]]:
        reasons = dict(self.reasons)
        names = [capability.name for capability in fields(self) if capability.name != "reasons"]
        return [(name, _say(getattr(self, name), reasons.get(name))) for name in names]


def _say(value: object, reason: str | None) -> str:
    if value is None:
        return "not asked" if reason is None else f"not answered: {reason}"
    if isinstance(value, datetime):
        return f"{render.time_text(value)} UTC"
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


AWS = Capabilities(
    addressing_style="virtual",
    checksums=True,
    checksums_compared=True,
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
    tags_on_put=True,
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


def in_directory_bucket(known: Capabilities) -> Capabilities:
    """Return the capabilities of Amazon S3 in a directory bucket, as AWS documents them for each operation."""
    return replace(
        known,
        addressing_style="virtual",
        start_after_beyond_ascii=False,
        put_if_absent_versioned=None,
        put_if_match_versioned=None,
        versioning=False,
        object_tagging=False,
        tags_on_put=False,
        bucket_tagging=False,
        public_access_block=False,
        cors=False,
        notifications=False,
        post=False,
    )


class Kind(NamedTuple):
    """What is assumed of a kind of store without a probe.

    Attributes:
        product: Its name.
        capabilities: AWS has all; elsewhere only deviations are set, the rest is None.
        has_quoted_etags: Whether conditions on requests carry ETags with their quotes, as in HTTP. radosgw accepts only ETags without.
        needs_equal_parts: Whether all parts of an upload but the last must have the same size.
        may_split_listings: Whether a long listing may be continued in several places; not where this was not tried.
        lists_in_key_order: Whether listings are known to be in key order. Some stores walk folders: SeaweedFS lists ``a/x`` before ``a-b``.
        region: The region to sign for, if none is configured.
    """

    product: str
    capabilities: Capabilities
    has_quoted_etags: bool = False
    needs_equal_parts: bool = False
    may_split_listings: bool = False
    lists_in_key_order: bool = False
    region: str = "us-east-1"


KINDS: dict[str, Kind] = {
    "aws": Kind("Amazon S3", AWS, has_quoted_etags=True, may_split_listings=True, lists_in_key_order=True),
    "r2": Kind(
        "Cloudflare R2",
        Capabilities(checksums=False, versioning=False, object_tagging=False, policy=False, public_access_block=False),
        has_quoted_etags=True,
        needs_equal_parts=True,
        lists_in_key_order=True,
        region="auto",
    ),
    "minio": Kind(
        "MinIO",
        Capabilities(checksums=False, public_access_block=False),
        may_split_listings=True,
        lists_in_key_order=True,
    ),
    "ceph": Kind(
        "Ceph",
        Capabilities(checksums=False, lifecycle_filters=False),
        may_split_listings=True,
        lists_in_key_order=True,
    ),
    "gcs": Kind(
        "Google Cloud Storage",
        Capabilities(checksums=False, bulk_delete="single"),
        has_quoted_etags=True,
        lists_in_key_order=True,
    ),
    "other": Kind("S3-compatible store", Capabilities(checksums=False), may_split_listings=True),
}
"""The kind of store that each preset but ``"auto"`` means. No other module names a preset, except to ask for AWS or to compare two."""


def preset_for(endpoint_url: str | None) -> Preset:
    """Return the kind of store that the host name indicates; without an endpoint it is AWS."""
    if endpoint_url is None:
        return "aws"
    host = urlsplit(endpoint_url).hostname or ""
    if is_aws_host(host):
        return "aws"
    if host.endswith(".r2.cloudflarestorage.com"):
        return "r2"
    if host == "storage.googleapis.com" or host.endswith(".storage.googleapis.com"):
        return "gcs"
    return "other"


def resolve_preset(preset: Preset, endpoint_url: str | None) -> Preset:
    """Return the preset that ``"auto"`` means for an endpoint, and any other one unchanged."""
    return preset_for(endpoint_url) if preset == "auto" else preset


def describe_kind(endpoint_url: str | None, preset: Preset, found: Capabilities | None) -> str:
    """Return what kind of store this is, and how that is known. No request.

    Args:
        endpoint_url: The configured endpoint; None if boto3's configuration decides.
        preset: The configured preset.
        found: The result of a probe, or the capabilities of the configuration; None if there are none.

    Example:
        >>> from datetime import datetime
        >>> from messageflux_s3._client.capabilities import Capabilities, describe_kind
        >>> describe_kind("https://s3.example.org", "auto", Capabilities(server="Ceph", probed_at=datetime(2026, 11, 21)))
        'Ceph, by probe of 21 Nov 2026'
        >>> describe_kind("https://s3.example.org", "auto", None)
        'S3-compatible store, not probed'
    """
    product = KINDS[resolve_preset(preset, endpoint_url)].product
    if found is not None:
        if found.probed_at is not None:
            return f"{found.server or product}, by probe of {render.date_text(found.probed_at)}"
        return f"{found.server or product}, with the capabilities of the configuration"
    if preset != "auto":
        return f"{product}, as configured; not probed"
    if endpoint_url is None:
        return f"{product}, unless boto3's configuration names another endpoint"
    return f"{product}, by its host name" if product != KINDS["other"].product else f"{product}, not probed"
