"""Whether a bucket keeps versions."""

from __future__ import annotations

import time

from .._client.addresses import BucketAddress
from ..errors import S3Unsupported

_PLAIN_FOR_S = 10.0
"""Seconds for which "without versioning" is cached: anybody may enable versioning at any time, and nobody can undo it."""


def is_versioned(bucket: BucketAddress) -> bool:
    """Return whether the bucket has or had versioning. False is cached for a few seconds only, since versioning may be enabled any time.

    Requests:
        1 GET; none while the result is cached
    """
    facts, fact = bucket.connection.facts, f"versioned:{bucket.name}"
    learned: tuple[bool, float] | None = facts.get(fact)
    if learned is None or not (learned[0] or time.monotonic() - learned[1] < _PLAIN_FOR_S):
        learned = (keeps_versions(bucket), time.monotonic())
        facts[fact] = learned
    return learned[0]


def keeps_versions(bucket: BucketAddress) -> bool:
    """Return whether the bucket has or had versioning; False if the store does not support ``?versioning``.

    Requests:
        1 GET
    """
    try:
        answer, root = bucket.connection.call_with_root("GetBucketVersioning", Bucket=bucket.name)
    except S3Unsupported:
        return False
    return root in ("VersioningConfiguration", "GetBucketVersioningResponse") and bool(answer.get("Status"))
