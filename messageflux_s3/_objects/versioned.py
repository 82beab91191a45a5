"""Whether a bucket keeps versions."""

from __future__ import annotations

import time

from .._client.addresses import BucketAddress
from ..errors import S3Unsupported

_PLAIN_FOR_S = 10.0
"""Seconds for which "without versioning" is cached: versioning may be enabled at any time, but never removed again."""

_SENDS_IDS = "sends version IDs without versioning"


def is_versioned(bucket: BucketAddress) -> bool:
    """Return whether the bucket has or had versioning. False is cached for a few seconds only, since versioning may be enabled at any time.

    Requests:
        1 GET; none while the result is cached
    """
    facts, fact = bucket.connection.facts, f"versioned:{bucket.name}"
    learned: tuple[bool, float] | None = facts.get(fact)
    if learned is None or not (learned[0] or time.monotonic() - learned[1] < _PLAIN_FOR_S):
        learned = (keeps_versions(bucket), time.monotonic())
        facts[fact] = learned
    return learned[0]


def forget(bucket: BucketAddress) -> None:
    """Forget whether a bucket is versioned, since it was deleted: a new one of its name has no versioning. Requests: none."""
    bucket.connection.facts.pop(f"versioned:{bucket.name}", None)


def is_versioned_now(bucket: BucketAddress) -> bool:
    """Return whether the bucket is versioned; a cached "without versioning" does not count.

    Requests:
        1 GET; none if the bucket is known to be versioned
    """
    facts, fact = bucket.connection.facts, f"versioned:{bucket.name}"
    learned: tuple[bool, float] | None = facts.get(fact)
    if learned is not None and not learned[0]:
        facts[fact] = None
    return is_versioned(bucket)


def sent_version_id(bucket: BucketAddress) -> bool:
    """Return whether the bucket is versioned, after a response with a version ID, for a bucket that had no versioning before.

    Requests:
        1 GET; none if the bucket is known to be versioned by now, or the store is known to send version IDs without versioning
    """
    facts, fact = bucket.connection.facts, f"versioned:{bucket.name}"
    learned: tuple[bool, float] | None = facts.get(fact)
    if learned is not None and learned[0]:
        return True
    if facts.get(_SENDS_IDS):
        return False
    found = keeps_versions(bucket)
    facts[fact] = found, time.monotonic()
    if not found:
        facts[_SENDS_IDS] = True
    return found


def keeps_versions(bucket: BucketAddress) -> bool:
    """Return whether the bucket has or had versioning; False if the store does not support ``?versioning``.

    Amazon S3 does, but refuses to tell through an access point, or to another account than the owner's. There versions are assumed.

    Requests:
        1 GET
    """
    try:
        answer, root = bucket.connection.call_with_root(
            "GetBucketVersioning", "VersioningConfiguration", Bucket=bucket.name
        )
    except S3Unsupported:
        return bucket.connection.is_aws and not bucket.is_directory
    return root in ("VersioningConfiguration", "GetBucketVersioningResponse") and bool(answer.get("Status"))
