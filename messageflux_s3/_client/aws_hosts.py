"""Which host names are those of Amazon S3.

The suffixes are those of botocore's ``partitions.json``, for all partitions, IPv4 and dual-stack. A test compares them with the installed
botocore. A suffix alone proves nothing: ``ec2-203-0-113-7.compute-1.amazonaws.com``, a load balancer or a customer's own VPC endpoint
service may be any store. So the labels before the suffix must be those of an endpoint of S3.
"""

from __future__ import annotations

import re
from functools import lru_cache

from .._formats.bucket_names import access_point, zone_of

_PARTITIONS = {
    "cn-": ("amazonaws.com.cn", "api.amazonwebservices.com.cn"),
    "eusc-": ("amazonaws.eu", "api.amazonwebservices.eu"),
    "us-iso-": ("c2s.ic.gov", "api.aws.ic.gov"),
    "us-isob-": ("sc2s.sgov.gov", "api.aws.scloud"),
    "eu-isoe-": ("cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"),
    "us-isof-": ("csp.hci.ic.gov", "api.aws.hci.ic.gov"),
    "": ("amazonaws.com", "api.aws"),
}
"""For each partition the beginning of its regions, and the DNS suffixes: IPv4, dual-stack. The last one has every other region."""

_PARTITION_IDS = {
    "cn-": "aws-cn",
    "eusc-": "aws-eusc",
    "us-gov-": "aws-us-gov",
    "us-iso-": "aws-iso",
    "us-isob-": "aws-iso-b",
    "eu-isoe-": "aws-iso-e",
    "us-isof-": "aws-iso-f",
}
"""The partitions' names in ARNs, by the beginning of their regions; every other region is in ``aws``."""

SUFFIXES = frozenset(suffix for suffixes in _PARTITIONS.values() for suffix in suffixes)
"""The DNS suffixes of AWS's partitions."""

_REGION = r"[a-z]+(?:-[a-z]+)+-\d+"
# The bucket or access point, the service (the region may be a part of it, as in s3-us-west-2), dual-stack, the region, a VPC endpoint.
# botocore names s3-fips.aws-global.amazonaws.com as the endpoint of a client with FIPS in us-east-1.
_S3 = re.compile(
    r"(?:.+\.)?"
    rf"s3(?:express)?(?:-(?:fips|website|external-\d|accelerate|accesspoint|global|outposts|object-lambda|[a-z]+\d-az\d+|{_REGION}))*"
    rf"(?:\.dualstack)?(?:\.(?:aws-global|{_REGION}))?(?:\.vpce)?"
)


@lru_cache(maxsize=256)
def is_aws_host(host: str) -> bool:
    """Return whether a host name is an endpoint of Amazon S3. No request is made.

    Args:
        host: The host name, without a port.

    Example:
        >>> is_aws_host("s3.eu-west-1.api.aws"), is_aws_host("minio.eu-west-1.elb.amazonaws.com")
        (True, False)
    """
    labels = host.lower().rstrip(".").split(".")
    return any(
        ".".join(labels[at:]) in SUFFIXES and _S3.fullmatch(".".join(labels[:at])) is not None
        for at in range(1, len(labels))
    )


def is_regional_endpoint(authority: str, region: str) -> bool:
    """Return whether a host (and port, if any) is a region's endpoint by botocore's rules, not an endpoint that the user has set.

    Example:
        >>> is_regional_endpoint("s3.dualstack.eu-west-1.amazonaws.com", "eu-west-1")
        True
        >>> is_regional_endpoint("vpce-1.s3.eu-west-1.vpce.amazonaws.com", "eu-west-1")
        False
    """
    service = rf"s3(?:-fips)?(?:\.dualstack)?(?:\.(?:aws-global|{re.escape(region)}))?"
    return any(
        authority.endswith(f".{suffix}") and re.fullmatch(service, authority.removesuffix(f".{suffix}")) is not None
        for suffix in SUFFIXES
    )


def dns_suffix(region: str) -> str:
    """Return the DNS suffix of a region's partition.

    Example:
        >>> dns_suffix("eusc-de-east-1")
        'amazonaws.eu'
    """
    return next(suffixes[0] for start, suffixes in _PARTITIONS.items() if region.startswith(start))


def partition_id(region: str) -> str:
    """Return the name of a region's partition, as ARNs contain it.

    Example:
        >>> partition_id("cn-north-1"), partition_id("eu-west-1")
        ('aws-cn', 'aws')
    """
    return next((name for start, name in _PARTITION_IDS.items() if region.startswith(start)), "aws")


def own_host(
    name: str, region: str, endpoint: str | None = None, *, is_fips: bool = False, is_dualstack: bool = False
) -> str | None:
    """Return the host name of an access point or a directory bucket by botocore's endpoint rules; None for any other bucket.

    Args:
        name: The name or the ARN.
        region: The client's region; an ARN names its own.
        endpoint: The host of the endpoint, with its port, if the user gave one.
        is_fips: Whether the client uses FIPS endpoints.
        is_dualstack: Whether the client uses dual-stack endpoints.

    Example:
        >>> own_host("invoices--use1-az5--x-s3", "us-east-1")
        'invoices--use1-az5--x-s3.s3express-use1-az5.us-east-1.amazonaws.com'
    """
    fips, dualstack = "-fips" if is_fips else "", ".dualstack" if is_dualstack else ""
    if (point := access_point(name)) is not None:
        if not point.region:
            return f"{point.name}.accesspoint.s3-global.{dns_suffix('')}"
        outpost = f".{point.outpost}" if point.outpost else ""
        label, region = f"{point.name}-{point.account}{outpost}", point.region
        service = f"{'s3-accesspoint' if point.service == 's3' else point.service}{fips}"
    elif (zone := zone_of(name)) is not None:
        label, service = name, f"s3express{fips}-{zone}"
    else:
        return None
    return f"{label}.{endpoint or f'{service}{dualstack}.{region}.{dns_suffix(region)}'}"
