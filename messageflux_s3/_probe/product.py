"""The product that a store runs, as far as the headers of its responses tell."""

from __future__ import annotations

import re
from collections.abc import Mapping

_SERVERS = (
    ("Ceph", "Ceph"),
    ("MinIO", "MinIO"),
    ("SeaweedFS", "SeaweedFS"),
    ("UploadServer", "Google Cloud Storage"),
)
"""How the header Server begins. Other names tell nothing: rclone answers "AmazonS3" too, and Cloudflare and nginx stand before stores of
several kinds."""

_CEPH_REQUEST = re.compile(r"tx[0-9a-f]{20,}-[0-9a-f]{8,}-[0-9a-f]+-.+")
"""A request ID of radosgw: transaction, time, gateway, zone. Releases before Reef send no header Server, and proxies replace it."""


def product_of(headers: Mapping[str, str]) -> str | None:
    """Return the product's name; None if the headers do not tell.

    Args:
        headers: A response's headers, by lower-case name.

    Example:
        >>> from messageflux_s3._probe.product import product_of
        >>> product_of({"server": "Ceph Object Gateway (reef)"}), product_of({"server": "nginx"})
        ('Ceph', None)
    """
    server = headers.get("server", "").lower()
    found = next((name for begin, name in _SERVERS if server.startswith(begin.lower())), None)
    if found is None and _CEPH_REQUEST.fullmatch(headers.get("x-amz-request-id", "")):
        return "Ceph"
    return found
