"""Pages of keys and prefixes, in key order, by ListObjectsV2: the next page is requested while the current one is consumed.

A long listing whose pages are waited for is read in several places at a time (:mod:`~messageflux_s3._bulk.split_listing`).

Entries are tuples of the values as they are in the response; callers convert them when needed. A page that
:mod:`~messageflux_s3._formats.listing_pages` cannot parse is requested again through boto3, which has its own parser.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from typing import Any

from .._client.addresses import BucketAddress
from .._client.connection import Connection
from .._client.exchange import Answer, Begun, ConcurrentRequests, Request, Sent, ask_boto3, begin, lane_state
from .._formats.listing_pages import Listed, Page, Unreadable, next_token, parse_page
from .._http.connection_budget import FURTHER
from ..errors import S3ServerError, S3Unsupported
from . import common_prefixes, split_listing
from .positions import Positions

__all__ = ["Listed", "Page", "pages"]

_LARGEST_PAGE = 64 * 1024 * 1024
_PAGE_SIZE = 1000
_POSITIONS = ("ContinuationToken", "StartAfter")

_PAGES_BEFORE_SPLITTING = 3
_WAIT_WORTH_SPLITTING = (
    0.01  # seconds for a page that was requested ahead: a page of 1,000 keys takes a third of it to process
)
_STARTS = "ListObjectsV2 starts after any text"  # key in `facts`
_BEFORE_SLASH = ".~~~~"  # of the texts between a key `a` and the keys `a/…` one of the last


def pages(
    bucket: BucketAddress,
    *,
    prefix: str = "",
    delimiter: str = "",
    start_after: str = "",
    limit: int | None = None,
    stop_before: str | None = None,
    sequential: bool = False,
    is_start_checked: bool = False,
    extra: Mapping[str, Any] | None = None,
) -> Iterator[Page]:
    """Yield the pages of a listing.

    Args:
        bucket: The bucket.
        prefix: Prefix of the keys.
        delimiter: Keys that contain it after the prefix are rolled up into common prefixes.
        start_after: Only keys after this one.
        limit: The number of entries needed; pages beyond it are not requested ahead.
        stop_before: The key at which the caller stops reading; pages beyond it are not requested ahead.
        sequential: Whether to request one page after the other, rather than several at a time if the listing is long.
        is_start_checked: Whether ``start_after`` is sent without asking whether the store starts there in key order.
        extra: Further parameters of ListObjectsV2, under boto3's names; ``MaxKeys`` is 1,000 by default.

    Returns:
        The pages, in key order (of a directory bucket, in the store's own order). Closing the iterator cancels the outstanding request.

    Raises:
        S3ServerError: The response is not a listing, or is truncated and has no position to continue from, so that keys
            would be lost silently, or has a continuation token with which a page was requested, so that the listing would never end.
        S3Unsupported: ``start_after`` and ``delimiter`` are given, and the store cannot start after a key, as far as that is known.

    Requests:
        1 per page; 1 more for the page requested ahead if the iteration ends early.
        With ``start_after`` also those of :func:`starts_in_key_order`.
        If pages are requested in several places, about a tenth more, at most 30 % and 16; and up to 96 requested ahead, in vain if the
            iteration ends early or neighbouring chains differ.
        On a store that does not support the delimiter, 1 per 1,000 keys
    """
    if bucket.is_directory:
        yield from _of_directory_bucket(bucket, prefix, delimiter, start_after, limit, extra)
        return
    if start_after <= prefix and not start_after.startswith(prefix):
        start_after = (
            ""  # before all of these keys; MinIO and SeaweedFS compare only a start that begins with the prefix
        )
    if not is_start_checked:
        starts_in_key_order(bucket, _folders_beside(start_after, len(prefix)))
    if not delimiter:
        may_split = not sequential and limit is None and _can_split(bucket, extra)
        yield from _sent(bucket, prefix, "", start_after, limit, extra, may_split=may_split, stop_before=stop_before)
        return
    if bucket.connection.is_aws:
        yield from _sent(bucket, prefix, delimiter, start_after, limit, extra)
        return
    fact = f"delimiter {delimiter}"
    last = start_after
    former = set[str]()
    if bucket.connection.facts.get(fact) is not False:
        with closing(_sent(bucket, prefix, delimiter, start_after, limit, extra)) as found:
            for page in found:
                if not common_prefixes.are_rolled_up(
                    (entry[0] for entry in page.objects), page.prefixes, prefix, delimiter
                ):
                    bucket.connection.facts[fact] = False
                    break
                last = max([last, *page.prefixes[-1:], *(entry[0] for entry in page.objects[-1:])])
                # s3rver goes on after the last key of a page, and sends the prefixes behind it again.
                former, prefixes = {*page.prefixes}, [common for common in page.prefixes if common not in former]
                yield page._replace(prefixes=prefixes)
            else:
                return
    whole = {name: value for name, value in (extra or {}).items() if name != "MaxKeys"}
    with closing(_sent(bucket, prefix, "", last, None, whole)) as found:
        yield from common_prefixes.rolled_up(found, prefix, delimiter, after=last if last != start_after else "")


def _of_directory_bucket(
    bucket: BucketAddress,
    prefix: str,
    delimiter: str,
    start_after: str,
    limit: int | None,
    extra: Mapping[str, Any] | None,
) -> Generator[Page, None, None]:
    """Yield the pages of a directory bucket.

    Such a bucket lists keys in no particular order, accepts only prefixes that end with ``/`` and the delimiter ``/``, and cannot start
    after a key. So the request names the folder of the prefix, and the entries are filtered and rolled up here.
    """
    folder = prefix[: prefix.rfind("/") + 1]
    if (
        folder != prefix or start_after or delimiter not in ("", "/")
    ):  # entries are dropped below, so request whole pages
        limit, extra = None, {**(extra or {}), "MaxKeys": 1000}
    start, seen = len(prefix), set[str]()
    with closing(_sent(bucket, folder, delimiter if delimiter == "/" else "", "", limit, extra)) as found:
        for page in found:
            objects = [entry for entry in page.objects if entry[0].startswith(prefix) and entry[0] > start_after]
            prefixes = [common for common in page.prefixes if common.startswith(prefix) and common > start_after]
            if delimiter not in ("", "/"):
                kept = []
                for entry in objects:
                    common, mark, _ = entry[0][start:].partition(delimiter)
                    if not mark:
                        kept.append(entry)
                    elif (rolled := f"{prefix}{common}{mark}") not in seen and rolled > start_after:
                        prefixes.append(rolled)
                        seen.add(rolled)
                objects = kept
            yield page._replace(objects=objects, prefixes=prefixes)


def _folders_beside(start: str, begin: int) -> list[str]:
    """Return the folders after a start in key order that a store which walks folders lists before it."""
    return [start[:at] for at in range(begin, len(start)) if start[at] < "/"]


def starts_in_key_order(bucket: BucketAddress, folders: Iterable[str] = ()) -> bool:
    """Return whether the store starts a listing after any text in key order, as far as these folders show.

    A store that walks folders, such as SeaweedFS, lists all of ``a/`` before ``a-b``, and after ``a-b`` nothing of ``a/``, although ``-``
    comes before ``/``: a listing that starts there would lose keys. Only a folder beside the start with keys in it can be lost, and it
    shows the order.

    Args:
        bucket: The bucket.
        folders: The folders, without the slash at the end.

    Requests:
        none without folders, on AWS and other kinds of stores that are known, and once the answer is known; else 1 for each folder up to
        the first one with keys, and 1 or 2 for that one
    """
    connection = bucket.connection
    known: bool | None = connection.facts.get(_STARTS)
    if known is not None:
        return known
    if connection.kind.lists_in_key_order or connection.capabilities.start_after_beyond_ascii is False:
        return True
    for folder in folders:
        key = _first_key(bucket, f"{folder}/")
        if key is None:
            continue
        found = _first_key(bucket, folder, f"{folder}{_BEFORE_SLASH}")
        if found is not None and found <= key:
            connection.facts[_STARTS] = True
            return True
        if _first_key(bucket, f"{folder}/") == key:  # it was not deleted meanwhile
            connection.facts[_STARTS] = False
            return False
    return True


def _first_key(bucket: BucketAddress, prefix: str, start_after: str = "") -> str | None:
    """Return the first key with this prefix after a text, as the store sends it. Requests: 1."""
    with closing(_sent(bucket, prefix, "", start_after, 1, {"MaxKeys": 1})) as pages:
        return next((entry[0] for entry in next(pages).objects), None)


def _can_split(bucket: BucketAddress, extra: Mapping[str, Any] | None) -> bool:
    """Return whether nothing known of the store and the parameters speaks against starting the listing in several places."""
    connection = bucket.connection
    return (
        {"MaxKeys": _PAGE_SIZE, **(extra or {})} == {"MaxKeys": _PAGE_SIZE}
        and connection.facts.get(_STARTS) is not False
        and connection.kind.may_split_listings
        and connection.capabilities.list_v2 is not False
        and connection.capabilities.start_after_beyond_ascii is not False
    )


def _sent(
    bucket: BucketAddress,
    prefix: str,
    delimiter: str,
    start_after: str,
    limit: int | None,
    extra: Mapping[str, Any] | None,
    *,
    may_split: bool = False,
    stop_before: str | None = None,
) -> Generator[Page, None, None]:
    """Yield the pages that the store sends, without entries that it should have filtered out."""
    connection, bucket_name = bucket
    parameters: dict[str, Any] = {"Bucket": bucket_name, "MaxKeys": _PAGE_SIZE, **(extra or {})}
    if prefix:
        parameters["Prefix"] = prefix
    if delimiter:
        parameters["Delimiter"] = delimiter
    # Version 1 of the API has no tokens: each page is asked for by the last key of the page before it.
    position = "Marker" if connection.capabilities.list_v2 is False else "StartAfter"
    is_sent = (
        connection.capabilities.start_after_beyond_ascii is not False and connection.facts.get(_STARTS) is not False
    )
    if start_after and is_sent:
        parameters[position] = start_after
    elif start_after and delimiter:
        raise S3Unsupported(
            f"s3://{bucket_name}/: this store cannot list prefixes after a key: it would leave out keys, such as those that are not ASCII",
            operation="ListObjectsV2",
            bucket=bucket_name,
        )
    elif (
        start_after
    ):  # the store would leave out keys: list all of them, in whole pages, and drop those before the start
        parameters["MaxKeys"] = _PAGE_SIZE
    seen = 0
    positions = Positions()
    ahead: Begun | None = None
    first_pages: list[Page] = []
    page_wait = 0.0  # the longest time that a page was waited for which was requested ahead
    while True:
        begun = ahead if ahead is not None else begin(connection, _request(connection, parameters))
        ahead = None
        waited = time.perf_counter()
        with closing(begun):
            answer = begun.result()
        waited = time.perf_counter() - waited
        page_wait = max(page_wait, waited) if first_pages else 0.0
        page: Page | None = None
        # Where a page has arrived by the time it is needed, there is nothing to gain.
        may_split = may_split and (not first_pages or waited >= _WAIT_WORTH_SPLITTING)
        is_split = (
            may_split
            and len(first_pages) + 1 == _PAGES_BEFORE_SPLITTING
            and lane_state(bucket) == "open"
            and FURTHER.left >= split_listing.CONCURRENCY
        )
        if answer.body is not None:
            token = next_token(answer.body)
            is_new = token is not None and token != parameters.get("ContinuationToken")
            if is_new and not is_split and (limit is None or seen + parameters["MaxKeys"] < limit):
                ahead = begin(connection, _request(connection, {**parameters, "ContinuationToken": token}))
            try:
                page = parse_page(answer.body)
            except Unreadable:
                if ahead is not None:
                    ahead.close()
                    ahead = None
                answer = ask_boto3(connection, begun.request)
        if page is None:
            page = _from_answer(answer.parsed or {}, bucket_name)
        seen += len(page.objects) + len(page.prefixes)
        wanted = _only_what_was_asked(page, prefix, start_after)
        if position in parameters and any(entry[0] <= start_after for entry in page.objects):
            connection.facts[_STARTS] = False
        if may_split:
            first_pages.append(wanted)
            may_split = len(first_pages) < _PAGES_BEFORE_SPLITTING
        elif first_pages:
            first_pages.clear()
        is_split = is_split and page.token is not None and page.is_truncated
        try:
            # Before the page is yielded: it may be the former one again.
            following = _following(page, parameters, position, positions)
            if not is_split:
                yield wanted
        except BaseException:
            if ahead is not None:
                ahead.close()
            raise
        if is_split:
            latest = yield from _split(bucket, parameters, first_pages, page_wait, stop_before)
            if latest is None:
                return
            if latest is not wanted:  # else the listing goes on after this page, whose token is noted already
                following = _following(latest, parameters, position, positions)
        if not following:
            return
        parameters.pop("ContinuationToken", None)
        parameters.update(following)


def _following(page: Page, parameters: Mapping[str, Any], position: str, positions: Positions) -> dict[str, str]:
    """Return the parameter with which the next page is requested; empty for the last page.

    Args:
        page: The page.
        parameters: The parameters with which it was requested.
        position: The name of the parameter for a key after which the listing starts.
        positions: The continuation tokens of the pages before.

    Raises:
        S3ServerError: The page is truncated, and does not say where the listing goes on, or says that it goes on where an earlier page
            began. A store that ignores the position sends the same page again.
    """
    if not page.is_truncated:
        return {}
    if page.token and page.token != parameters.get("ContinuationToken") and not positions.is_repeated(page.token):
        return {"ContinuationToken": page.token}
    last = max([entry[0] for entry in page.objects[-1:]] + page.prefixes[-1:], default="")
    if not page.token and last > parameters.get(position, ""):
        return {position: last}  # some stores truncate without a token, as version 1 of the API did
    why = (
        "never ends: the store repeats its continuation token"
        if page.token
        else "is truncated, but has no continuation token and no further key"
    )
    raise S3ServerError(
        f"s3://{parameters['Bucket']}/: the listing {why}", operation="ListObjectsV2", bucket=parameters["Bucket"]
    )


def _split(
    bucket: BucketAddress,
    parameters: Mapping[str, Any],
    first_pages: list[Page],
    page_wait: float,
    stop_before: str | None,
) -> Generator[Page, None, Page | None]:
    """Yield the last of the first pages and those after it, requested in several places.

    Returns:
        None at the end of the listing; else the page after which the listing has to go on page by page.
    """
    connection = bucket.connection
    requests = _ConcurrentPages(connection, parameters)
    with _further_connections(split_listing.CONCURRENCY), closing(requests):
        rest = split_listing.SplitListing(
            requests,
            first_pages,
            page_wait,
            prefix=parameters.get("Prefix", ""),
            start_after=parameters.get("StartAfter", ""),
            stop_before=stop_before,
            starts_beyond_ascii=connection.capabilities.start_after_beyond_ascii is True,
            is_compared=not connection.is_aws,
        )
        yield first_pages.pop()
        first_pages.clear()
        last = yield from rest.pages()
        if rest.starts_are_wrong:
            connection.facts[_STARTS] = False
        return last


@contextmanager
def _further_connections(count: int) -> Generator[None, None, None]:
    """Take connections from the budget of the process for as long as they may be open."""
    taken = count if FURTHER.take(count) else 0  # another thread may have taken the last ones just now
    try:
        yield
    finally:
        FURTHER.give_back(taken)


class _ConcurrentPages:
    """The requests of a split listing; see :class:`~messageflux_s3._bulk.split_listing.PageRequests`."""

    def __init__(self, connection: Connection, parameters: Mapping[str, Any]) -> None:
        self._connection = connection
        self._parameters = {name: value for name, value in parameters.items() if name not in _POSITIONS}
        self.waited = 0.0
        self._requests = ConcurrentRequests(connection, concurrency=split_listing.CONCURRENCY, limit=_LARGEST_PAGE)

    def begin(self, *, start_after: str = "", token: str | None = None) -> Sent:
        parameters = dict(self._parameters)
        if start_after:
            parameters["StartAfter"] = start_after
        if token is not None:
            parameters["ContinuationToken"] = token
        return self._requests.begin(_request(self._connection, parameters))

    def advance(self, first: Sent | None = None) -> None:
        began = time.perf_counter()
        self._requests.advance(first)
        self.waited += time.perf_counter() - began

    def is_complete(self, begun: Sent) -> bool:
        return begun.is_complete

    def page(self, begun: Sent) -> Page | None:
        answer = self._requests.answer(begun)
        if answer is None or answer.body is None:
            return None
        try:
            return self._wanted(parse_page(answer.body), begun)
        except Unreadable:
            return None

    def ask_again(self, begun: Sent) -> Page:
        answer = ask_boto3(self._connection, begun.request)
        return self._wanted(_from_answer(answer.parsed or {}, begun.request.bucket), begun)

    def abandon(self, begun: Sent) -> None:
        self._requests.abandon(begun)

    def _wanted(self, page: Page, begun: Sent) -> Page:
        start = (
            begun.request.parameters.get("StartAfter", "") if "ContinuationToken" in begun.request.parameters else ""
        )
        return _only_what_was_asked(page, self._parameters.get("Prefix", ""), start)

    def close(self) -> None:
        self._requests.close()


def _only_what_was_asked(page: Page, prefix: str, start_after: str) -> Page:
    """Drop entries that the server should have filtered out: some sort keys differently after start-after, or ignore the prefix ``/``.

    Every entry is checked, since a deletion deletes what is listed: that the first and the last one have the prefix proves nothing of a
    store that does not sort its entries.
    """
    objects, prefixes = page.objects, page.prefixes
    if start_after:
        objects = [entry for entry in objects if entry[0] > start_after]
    if prefix:
        objects = [entry for entry in objects if entry[0].startswith(prefix)]
        prefixes = [rolled_up for rolled_up in prefixes if rolled_up.startswith(prefix)]
    return page._replace(objects=objects, prefixes=prefixes)


def _request(connection: Connection, parameters: Mapping[str, Any]) -> Request:
    further = {name: value for name, value in parameters.items() if name != "Bucket"}
    return Request(
        _operation(connection),
        parameters["Bucket"],
        parameters=further,
        limit=_LARGEST_PAGE,
        fallback=partial(_asked_of_boto3, connection, dict(parameters)),
    )


def _operation(connection: Connection) -> str:
    return "ListObjects" if connection.capabilities.list_v2 is False else "ListObjectsV2"


def _asked_of_boto3(connection: Connection, parameters: Mapping[str, Any]) -> Answer:
    """Send the request through boto3. It takes any other document for an empty listing, so check the root element of an empty result."""
    for _ in range(connection.max_attempts):
        answer, root = connection.call_with_root(_operation(connection), "ListBucketResult", **parameters)
        if answer.get("Contents") or answer.get("CommonPrefixes") or root == "ListBucketResult":
            return Answer(answer)
    raise S3ServerError(
        f"ListObjectsV2 on s3://{parameters['Bucket']}/: the response is not a listing",
        operation="ListObjectsV2",
        bucket=parameters["Bucket"],
        retryable=True,
    )


def _from_answer(answer: Mapping[str, Any], bucket_name: str) -> Page:
    """Return a page made from the response that boto3 has parsed.

    Raises:
        S3ServerError: An entry has no ``LastModified`` or no ``Size``.
    """
    for found in answer.get("Contents", ()):
        for name in ("LastModified", "Size"):
            if name not in found:
                raise S3ServerError(
                    f"s3://{bucket_name}/: the listing's entry of {found['Key']!r} has no {name}",
                    operation="ListObjectsV2",
                    bucket=bucket_name,
                )
    token = answer.get("NextContinuationToken") or None
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
        token,
        bool(answer.get("IsTruncated", token is not None)),  # some stores do not send it
    )
