"""Pages of keys and prefixes, in key order, by ListObjectsV2: the next page is requested while this one is consumed.

Entries are tuples of the values in the response, decoded on access. A page that
:mod:`~messageflux_s3._formats.listing_pages` cannot parse is requested again through boto3, which has its own parser.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from functools import partial
from typing import Any

from .._client.addresses import BucketAddress
from .._client.connection import Connection
from .._client.exchange import Answer, Begun, Request, ask_boto3, begin
from .._formats.listing_pages import Listed, Page, Unreadable, next_token, parse_page
from ..errors import S3ServerError

__all__ = ["Listed", "Page", "pages"]

_LARGEST_PAGE = 64 * 1024 * 1024


def pages(
    bucket: BucketAddress,
    *,
    prefix: str = "",
    delimiter: str = "",
    start_after: str = "",
    limit: int | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Iterator[Page]:
    """Yield the pages of a listing.

    Args:
        bucket: The bucket.
        prefix: Prefix of the keys.
        delimiter: Keys that contain it after the prefix are rolled up into common prefixes.
        start_after: Only keys after this one.
        limit: The number of entries needed; pages beyond it are not requested ahead.
        extra: Further parameters of ListObjectsV2, under boto3's names; ``MaxKeys`` is 1,000 by default.

    Returns:
        The pages. Closing the iterator cancels the outstanding request.

    Raises:
        S3ServerError: The response is not a listing, or is truncated without a position to continue from: keys would be
            lost silently.

    Requests:
        1 per page; one page more if the iteration ends early
    """
    connection, bucket_name = bucket
    parameters: dict[str, Any] = {"Bucket": bucket_name, "MaxKeys": 1000, **(extra or {})}
    if prefix:
        parameters["Prefix"] = prefix
    if delimiter:
        parameters["Delimiter"] = delimiter
    if start_after:
        parameters["StartAfter"] = start_after
    seen = 0
    ahead: Begun | None = None
    while True:
        begun = ahead if ahead is not None else begin(connection, _request(connection, parameters))
        ahead = None
        with closing(begun):
            answer = begun.result()
        page: Page | None = None
        if answer.body is not None:
            token = next_token(answer.body)
            if token is not None and (limit is None or seen + parameters["MaxKeys"] < limit):
                ahead = begin(connection, _request(connection, {**parameters, "ContinuationToken": token}))
            try:
                page = parse_page(answer.body)
            except Unreadable:
                if ahead is not None:
                    ahead.close()
                    ahead = None
                answer = ask_boto3(connection, begun.request)
        if page is None:
            page = _from_answer(answer.parsed or {})
        objects = page.objects
        seen += len(objects) + len(page.prefixes)
        try:
            yield _only_what_was_asked(page, prefix, start_after)
        except BaseException:
            if ahead is not None:
                ahead.close()
            raise
        if not page.is_truncated:
            return
        if page.token:
            parameters["ContinuationToken"] = page.token
        else:  # some stores truncate without a token, as version 1 of the API did
            last = max([entry[0] for entry in objects[-1:]] + page.prefixes[-1:], default="")
            if last <= parameters.get("StartAfter", ""):
                raise S3ServerError(
                    f"s3://{bucket_name}/: the listing is truncated, but has no continuation token and no further key",
                    operation="ListObjectsV2",
                    bucket=bucket_name,
                )
            parameters.pop("ContinuationToken", None)
            parameters["StartAfter"] = last


def _only_what_was_asked(page: Page, prefix: str, start_after: str) -> Page:
    """Drop entries that the server should have filtered out: some compare start-after differently or ignore the prefix ``/``.

    Entries are sorted: if the first and the last have the prefix, all between them have it too.
    """
    objects, prefixes = page.objects, page.prefixes
    if start_after and objects and objects[0][0] <= start_after:
        objects = [entry for entry in objects if entry[0] > start_after]
    if objects and not (objects[0][0].startswith(prefix) and objects[-1][0].startswith(prefix)):
        objects = [entry for entry in objects if entry[0].startswith(prefix)]
    if prefixes and not (prefixes[0].startswith(prefix) and prefixes[-1].startswith(prefix)):
        prefixes = [rolled_up for rolled_up in prefixes if rolled_up.startswith(prefix)]
    return page._replace(objects=objects, prefixes=prefixes)


def _request(connection: Connection, parameters: Mapping[str, Any]) -> Request:
    further = {name: value for name, value in parameters.items() if name != "Bucket"}
    return Request(
        "ListObjectsV2",
        parameters["Bucket"],
        parameters=further,
        limit=_LARGEST_PAGE,
        fallback=partial(_asked_of_boto3, connection, dict(parameters)),
    )


def _asked_of_boto3(connection: Connection, parameters: Mapping[str, Any]) -> Answer:
    """Send the request through boto3. boto3 parses any document as an empty listing, so check the root element of an empty one."""
    for _ in range(connection.config.max_attempts):
        answer, root = connection.call_with_root("ListObjectsV2", **parameters)
        if answer.get("Contents") or answer.get("CommonPrefixes") or root == "ListBucketResult":
            return Answer(answer)
    raise S3ServerError(
        f"ListObjectsV2 on s3://{parameters['Bucket']}/: the response is not a listing",
        operation="ListObjectsV2",
        bucket=parameters["Bucket"],
        retryable=True,
    )


def _from_answer(answer: Mapping[str, Any]) -> Page:
    return Page(
        [
            Listed(
                found["Key"],
                found["LastModified"],
                found.get("ETag", ""),
                found["Size"],
                found.get("StorageClass", "STANDARD"),
            )
            for found in answer.get("Contents", ())
        ],
        [found["Prefix"] for found in answer.get("CommonPrefixes", ())],
        answer.get("NextContinuationToken") or None,
        bool(answer.get("IsTruncated")),
    )
