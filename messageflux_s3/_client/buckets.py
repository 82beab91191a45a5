"""Create, delete and list buckets, through the actions of boto3's resource.

Object data is sent through the resource's client, because boto3's resources must not be shared between threads. These three operations are
rare, so each call creates a boto3 object of its own, which no other thread uses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from xml.etree.ElementTree import ParseError

from .._formats.bucket_names import zone_of
from .._formats.times import as_utc
from ..errors import S3AccessDenied, S3BucketExists, S3Error, S3NoSuchBucket, S3Unsupported
from .addresses import BucketAddress
from .connection import Connection

_NO_REGIONS = ("aws-global", "auto", "", None)
_REGIONS_WITHOUT_CONSTRAINT = ("us-east-1", *_NO_REGIONS)
_BUCKETS_A_PAGE = 10_000


def create(bucket: BucketAddress) -> bool:
    """Create a bucket in the region of its connection; a directory bucket in the zone that its name contains.

    Returns:
        Whether this call is certain to have made it, if the bucket was missing just before: not after a retry, since some stores
        answer 200 for one's own bucket.

    Raises:
        S3BucketExists: The name is taken.

    Requests:
        1; 1 more on a store other than AWS that has no region of this name
    """
    connection = bucket.connection
    region: Any = connection.region
    if bucket.is_directory:
        zone = zone_of(bucket.name) or ""
        kind = "LocalZone" if zone.count("-") > 1 else "AvailabilityZone"  # usw2-lax1-az1, use1-az5
        location: Any = {
            "Location": {"Type": kind, "Name": zone},
            "Bucket": {"Type": "Directory", "DataRedundancy": f"Single{kind}"},
        }
        return _create(bucket, CreateBucketConfiguration=location)
    if region in _REGIONS_WITHOUT_CONSTRAINT:
        return _create(bucket)
    try:
        return _create(bucket, CreateBucketConfiguration={"LocationConstraint": region})
    except S3BucketExists:
        raise
    except S3Error as error:
        if error.code != "InvalidLocationConstraint" or connection.is_aws:
            raise
        return _create(bucket)  # the store uses other region names, or none


def _create(bucket: BucketAddress, **parameters: Any) -> bool:
    with bucket.connection.translating("CreateBucket", bucket.name):
        answer: Any = bucket.connection.resource.Bucket(bucket.name).create(**parameters)
    return not answer.get("ResponseMetadata", {}).get("RetryAttempts")


def require_region(bucket: BucketAddress, region: str, *, is_new: bool) -> None:
    """Raise unless a bucket is in the region in which it was to be created. AWS is trusted to create it there.

    Many stores accept any region and ignore it, and :func:`create` omits a region that the store rejects.

    Args:
        bucket: The bucket, which stands.
        region: The region; a word that names none ("auto") is not compared.
        is_new: Whether the bucket was certainly made by this call.

    Raises:
        S3Unsupported: The store, which is not AWS, names another region, or none.
        S3BucketExists: The bucket existed before, on AWS, in another region.

    Requests:
        1 GET; on AWS 1 HEAD, cached, or none for a new bucket
    """
    is_aws = bucket.connection.is_aws
    if region in _NO_REGIONS or (is_aws and is_new):
        return
    found = region_of(bucket) if is_aws else _location(bucket)
    if (found or "").lower() == region.lower() or (found, region) == ("EU", "eu-west-1"):
        return
    where = "does not say where it is" if found is None else f"says that it is in {found!r}"
    error = S3BucketExists if is_aws else S3Unsupported
    raise error(
        f"CreateBucket: the bucket {bucket.name!r} was to be created in the region {region!r}, but the store {where}. Leave out region= to "
        "accept that",
        operation="CreateBucket", bucket=bucket.name,
    )  # fmt: skip


def _location(bucket: BucketAddress) -> str | None:
    """Return the region that GetBucketLocation names; None if the store does not say. Requests: 1."""
    try:
        answer, root = bucket.connection.call_with_root("GetBucketLocation", "LocationConstraint", Bucket=bucket.name)
        if root == "LocationConstraint":
            return answer.get("LocationConstraint") or "us-east-1"
    except ParseError:
        pass  # botocore parses this document itself; a store without ?location may answer with anything
    except S3Error as error:
        if error.retryable:
            raise
    return None


def region_of(bucket: BucketAddress) -> str:
    """Return the region of a bucket; that of the connection if the store does not say.

    Raises:
        S3NoSuchBucket: The bucket does not exist.
        S3AccessDenied: Access is denied, and the response does not name the region (that of AWS does).

    Requests:
        1 HEAD, cached (on a store that is not AWS 1 GET more if the response does not name the region)
    """
    connection = bucket.connection
    fact = _region_fact(bucket.name)
    known = connection.facts.get(fact)
    if known is None:
        known = _region_in_head(bucket)
        if known is None and not connection.is_aws:
            known = _location(bucket)
        known = "eu-west-1" if known == "EU" else known or connection.region
        connection.facts[fact] = known
    return str(known)


def is_region_known(bucket: BucketAddress) -> bool:
    """Return whether :func:`region_of` makes no request. Requests: none."""
    return bucket.connection.facts.get(_region_fact(bucket.name)) is not None


def _region_fact(bucket_name: str) -> str:
    """Return the name of the cached fact that holds a bucket's region."""
    return f"region:{bucket_name}"


def _region_in_head(bucket: BucketAddress) -> str | None:
    """Return the region in the response to HeadBucket, even with status 403; None if the response names no region."""
    try:
        answer: Any = bucket.connection.call("HeadBucket", Bucket=bucket.name)
    except S3AccessDenied as error:
        answer = getattr(error.__cause__, "response", {})
        if (found := _header_of(answer)) is None:
            raise
        return found
    return answer.get("BucketRegion") or _header_of(answer)


def _header_of(answer: Mapping[str, Any]) -> str | None:
    return answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("x-amz-bucket-region") or None


def creation_date(bucket: BucketAddress) -> datetime | None:
    """Return the creation date of a bucket, as ListBuckets reports it; None for a bucket of another account.

    Raises:
        S3NoSuchBucket: The bucket does not exist.

    Requests:
        1 (on a store that is not AWS 1 per 10,000 buckets); 1 HEAD more if the bucket is not listed
    """
    for found in list_all(bucket.connection, prefix=bucket.name):
        if found["Name"] == bucket.name:
            return created_at(found)
    bucket.connection.call("HeadBucket", Bucket=bucket.name)
    return None


def created_at(listed: Mapping[str, Any]) -> datetime | None:
    """Return the creation date of a listed bucket, in UTC; None if the store does not say."""
    moment = listed.get("CreationDate")
    return None if moment is None else as_utc(moment)


def delete(bucket: BucketAddress) -> None:
    """Delete an empty bucket.

    Raises:
        S3NoSuchBucket: The bucket does not exist.
        S3BucketNotEmpty: The bucket holds objects, versions or unfinished uploads.

    Requests:
        1
    """
    bucket.connection.facts.pop(_region_fact(bucket.name), None)  # a new bucket of this name may be elsewhere
    try:
        with bucket.connection.translating("DeleteBucket", bucket.name):
            bucket.connection.resource.Bucket(bucket.name).delete()
    except S3NoSuchBucket as error:
        if not error.was_retried:
            raise
        # Retried: an earlier attempt whose response was lost has deleted the bucket.


def list_all(connection: Connection, *, prefix: str = "", region: str | None = None) -> Iterator[dict[str, Any]]:
    """List the buckets of the account, each as ListBuckets describes it (``Name``, ``CreationDate`` …); directory buckets are not listed.

    Args:
        connection: The connection.
        prefix: What the names begin with.
        region: The region of the buckets; None for all regions.

    Requests:
        1 per 10,000 buckets; with ``region``, on a store whose list has no regions, also those of :func:`region_of` for each bucket
    """
    for found in _list(connection, prefix, region):
        if not found["Name"].startswith(prefix):
            continue
        named = found.get("BucketRegion")
        if named:
            connection.facts[_region_fact(found["Name"])] = named
        if region is not None:
            try:
                named = named or region_of(BucketAddress(connection, found["Name"]))
            except S3NoSuchBucket:  # deleted since it was listed
                continue
            if named.lower() != region.lower():
                continue
        yield found


def _list(connection: Connection, prefix: str, region: str | None) -> Iterator[dict[str, Any]]:
    parameters: dict[str, Any] = {}
    if connection.is_aws:  # other stores may mistake a request with an unknown parameter for another operation
        # AWS rejects a request without a page size for an account that may have more buckets than one page, and names the buckets'
        # regions only if the request has a parameter.
        parameters["MaxBuckets"] = _BUCKETS_A_PAGE
        if prefix:
            parameters["Prefix"] = prefix
        if region is not None and region == connection.region:
            parameters["BucketRegion"] = region  # AWS accepts only the region of the endpoint
    collection: Any = connection.resource.buckets
    pages = collection.filter(**parameters).pages() if parameters else collection.pages()
    while True:
        was_online = connection.is_online
        with connection.translating("ListBuckets"):
            page = next(pages, None)
        if page is None:
            connection.is_online = was_online  # restore it: the last next() sent no request
            return
        for bucket in page:
            yield {**(bucket.meta.data or {}), "Name": bucket.name}
