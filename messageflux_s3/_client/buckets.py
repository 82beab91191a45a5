"""Create, delete and list buckets, through the actions of boto3's resource.

Object data is sent through the resource's client, because boto3's resources must not be shared between threads. These three operations are
rare, so each call creates a boto3 object of its own, which no other thread uses.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..errors import S3BucketExists, S3Error, S3NoSuchBucket
from .addresses import BucketAddress
from .connection import Connection

_REGIONS_WITHOUT_CONSTRAINT = ("us-east-1", "aws-global", "auto", "", None)


def create(bucket: BucketAddress) -> None:
    """Create a bucket in the region of its connection.

    Raises:
        S3BucketExists: The name is taken.

    Requests:
        1; 1 more on a store other than AWS that has no region of this name
    """
    connection = bucket.connection
    region: Any = connection.region
    if region in _REGIONS_WITHOUT_CONSTRAINT:
        _create(bucket)
        return
    try:
        _create(bucket, CreateBucketConfiguration={"LocationConstraint": region})
    except S3BucketExists:
        raise
    except S3Error as error:
        if error.code != "InvalidLocationConstraint" or connection.is_aws:
            raise
        _create(bucket)  # the store uses other region names, or none


def _create(bucket: BucketAddress, **parameters: Any) -> None:
    with bucket.connection.translating("CreateBucket", bucket.name):
        bucket.connection.resource.Bucket(bucket.name).create(**parameters)


def delete(bucket: BucketAddress) -> None:
    """Delete an empty bucket.

    Raises:
        S3NoSuchBucket: The bucket does not exist.
        S3BucketNotEmpty: The bucket holds objects, versions or unfinished uploads.

    Requests:
        1
    """
    try:
        with bucket.connection.translating("DeleteBucket", bucket.name):
            bucket.connection.resource.Bucket(bucket.name).delete()
    except S3NoSuchBucket as error:
        if not error.was_retried:
            raise
        # Retried: an earlier attempt whose response was lost has deleted the bucket.


def list_all(connection: Connection) -> Iterator[dict[str, Any]]:
    """List the buckets of the account, each as ListBuckets describes it (``Name``, ``CreationDate`` …).

    Requests:
        1 per 10,000 buckets
    """
    pages = connection.resource.buckets.pages()
    while True:
        was_online = connection.is_online
        with connection.translating("ListBuckets"):
            page = next(pages, None)
        if page is None:
            connection.is_online = was_online  # restore it: the last next() sent no request
            return
        for bucket in page:
            yield {**(bucket.meta.data or {}), "Name": bucket.name}
