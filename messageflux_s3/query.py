"""ObjectQuery: which objects, said once, asked as often as wanted.

A query is a value. Every refinement gives a new one, iterating asks the store again, and nothing is cached. What can be decided from the
listing alone (key, size, time) is; a ``filter`` may look at more, and pays for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from . import listing, pipeline, versions
from .keys import glob_to_pattern
from .listing import Listed
from .object import S3Object, parse_time

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from .bucket import S3Bucket

Predicate = Callable[[S3Object], bool]
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Criteria:
    """What a query asks for."""

    prefix: str = ""
    delimiter: str = ""
    glob: str | None = None
    regex: re.Pattern[str] | None = None
    start_after: str = ""
    stop_before: str | None = None
    modified_after: datetime | None = None
    modified_before: datetime | None = None
    min_size: int | None = None
    max_size: int | None = None
    limit: int | None = None
    versions: bool = False
    predicates: tuple[Predicate, ...] = ()
    page_size: int = 1000
    extra: tuple[tuple[str, Any], ...] = ()


def criteria(
    *,
    prefix: str | None = None,
    delimiter: str | None = None,
    glob: str | None = None,
    regex: str | re.Pattern[str] | None = None,
    start_after: str | None = None,
    modified_after: datetime | None = None,
    modified_before: datetime | None = None,
    min_size: int | None = None,
    max_size: int | None = None,
    limit: int | None = None,
    versions: bool = False,
) -> Criteria:
    """Check what ``find()`` was given and put it into a value.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument has no meaning.
    """
    for name, text in (("prefix", prefix), ("delimiter", delimiter), ("start_after", start_after)):
        if text is not None and not isinstance(text, str):
            raise TypeError(f"{name} must be text, not {type(text).__name__}")
    if glob is not None:
        glob_to_pattern(glob)
    for name, moment in (("modified_after", modified_after), ("modified_before", modified_before)):
        if moment is not None and not isinstance(moment, datetime):
            raise TypeError(f"{name} must be a datetime, not {type(moment).__name__}")
    for name, size in (("min_size", min_size), ("max_size", max_size)):
        if size is not None and (isinstance(size, bool) or not isinstance(size, int)):
            raise TypeError(f"{name} must be a whole number of bytes, not {type(size).__name__}")
        if size is not None and size < 0:
            raise ValueError(f"{name} must not be negative, it is {size}")
    return Criteria(
        prefix=prefix or "",
        delimiter=delimiter or "",
        glob=glob,
        regex=_pattern(regex),
        start_after=start_after or "",
        modified_after=_aware(modified_after),
        modified_before=_aware(modified_before),
        min_size=min_size,
        max_size=max_size,
        limit=None if limit is None else check_limit(limit),
        versions=bool(versions),
    )


def check_limit(limit: int) -> int:
    """Return a limit that makes sense; raise TypeError or ValueError otherwise."""
    if isinstance(limit, bool) or not isinstance(limit, int):
        raise TypeError(f"limit must be a whole number, not {type(limit).__name__}")
    if limit < 1:
        raise ValueError(f"limit must be at least 1, it is {limit}")
    return limit


def _pattern(regex: str | re.Pattern[str] | None) -> re.Pattern[str] | None:
    if regex is None or isinstance(regex, re.Pattern):
        return regex
    if not isinstance(regex, str):
        raise TypeError(f"regex must be text or a compiled pattern, not {type(regex).__name__}")
    try:
        return re.compile(regex)
    except re.error as error:
        raise ValueError(f"regex {regex!r} is not understood: {error}") from None


def _aware(moment: datetime | None) -> datetime | None:
    """A time without a zone is taken as UTC, as S3's own are."""
    return moment.replace(tzinfo=timezone.utc) if moment is not None and moment.tzinfo is None else moment


class ObjectQuery:
    """Objects of one bucket, found lazily. Comes from ``bucket.find(…)``.

    Iterating it asks the store, page by page; iterating it again asks again. It has no length: ``count()`` says what it costs.

    Example:
        >>> for name in ("a/1.txt", "a/2.json", "b/3.txt"):
        ...     _ = bucket.put_object(name, "x")
        >>> [obj.key for obj in bucket.find(glob="**/*.txt")]
        ['a/1.txt', 'b/3.txt']
    """

    __slots__ = ("_bucket", "_criteria")

    def __init__(self, bucket: S3Bucket, wanted: Criteria) -> None:
        self._bucket = bucket
        self._criteria = wanted

    @property
    def bucket(self) -> S3Bucket:
        """The bucket that is asked. Requests: none."""
        return self._bucket

    # -- refinements: each a new query, no request --------------------------------------------------------------------------------

    def limit(self, n: int) -> ObjectQuery:
        """The same query, ending after ``n`` objects (or prefixes, or entries).

        Raises:
            ValueError: ``n`` is less than 1.

        Requests:
            none
        """
        check_limit(n)
        known = self._criteria.limit
        return self._refined(limit=n if known is None else min(n, known))

    def filter(self, predicate: Predicate) -> ObjectQuery:
        """The same query, only with objects for which the predicate is true.

        Args:
            predicate: Gets the object; whatever it asks of it beyond the listing costs what it costs there.

        Requests:
            none

        Example:
            >>> _ = bucket.put_object("big", b"x" * 100)
            >>> [obj.key for obj in bucket.find().filter(lambda obj: obj.size > 50)]
            ['big']
        """
        if not callable(predicate):
            raise TypeError(f"predicate must be callable, not {type(predicate).__name__}")
        return self._refined(predicates=(*self._criteria.predicates, predicate))

    def _refined(self, **changes: Any) -> ObjectQuery:
        return ObjectQuery(self._bucket, replace(self._criteria, **changes))

    # -- asking: 1 request per 1,000 keys -----------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[S3Object]:
        return self.objects()

    def objects(self) -> Iterator[S3Object]:
        """The objects, in key order.

        Requests:
            1 per 1,000 keys
        """
        found = (obj for page in self._pages() for obj in self._objects_of(page))
        return islice(found, self._criteria.limit) if self._criteria.limit is not None else found

    def prefixes(self) -> Iterator[str]:
        """The common prefixes ("folders"), in key order; needs a delimiter.

        Raises:
            ValueError: The query has no delimiter.

        Requests:
            1 per 1,000 entries

        Example:
            >>> _ = bucket.put_object("logs/a", "x")
            >>> list(bucket.find(delimiter="/").prefixes())
            ['logs/']
        """
        if not self._criteria.delimiter:
            raise ValueError("prefixes() needs a delimiter: find(delimiter='/')")
        found = (prefix for page in self._pages() for prefix in page.prefixes)
        return islice(found, self._criteria.limit)

    def entries(self) -> Iterator[S3Object | str]:
        """Objects and common prefixes together, in key order; a prefix is a ``str``.

        Requests:
            1 per 1,000 entries
        """
        found = (entry for page in self._pages() for entry in self._entries_of(page))
        return islice(found, self._criteria.limit)

    def first(self) -> S3Object | None:
        """The first object, or None.

        Requests:
            1 (more where filters pass over whole pages)
        """
        return next(self.limit(1).objects(), None)

    def count(self) -> int:
        """How many objects there are.

        Requests:
            1 per 1,000 keys
        """
        return sum(1 for _ in self.objects())

    def total_size(self) -> int:
        """The sum of the sizes, in bytes.

        Requests:
            1 per 1,000 keys
        """
        return sum(obj.size for obj in self.objects())

    def collect(self) -> list[S3Object]:
        """All objects in a list.

        Requests:
            1 per 1,000 keys
        """
        return [*self.objects()]

    def map(
        self,
        function: Callable[[S3Object], Result],
        executor: Executor | None = None,
        *,
        ordered: bool = True,
        on_error: pipeline.OnError = "raise",
        in_flight: int | None = None,
    ) -> Iterator[Result]:
        """Apply a function to every object, several at a time: on threads, or on any executor.

        Args:
            function: Gets the object. For processes and clusters it must pickle; the objects do.
            executor: Any ``concurrent.futures.Executor``: processes, Dask's ``client.get_executor()``, Ray's, MPI's. It stays
                open. None: up to 16 threads, which end with the iteration.
            ordered: Whether results come in key order, or as they are ready.
            on_error: What to do where the function raises: ``"raise"``; ``"skip"`` the object; or call this with the object and
                the exception, and take what it returns as the result.
            in_flight: How many objects are under way, or done and waiting, at the most; four per worker unless told.

        Returns:
            The results, lazily.

        Requests:
            1 per 1,000 keys, and whatever the function asks

        Example:
            >>> for name in ("a", "b"):
            ...     _ = bucket.put_object(f"m/{name}", name * 3)
            >>> list(bucket.find(prefix="m/").map(lambda obj: obj.text))
            ['aaa', 'bbb']
        """
        return pipeline.run(function, self.objects(), executor, ordered=ordered, on_error=on_error, in_flight=in_flight)

    # -- how --------------------------------------------------------------------------------------------------------------------------

    def _pages(self) -> Iterator[listing.Page | versions.VersionPage]:
        wanted = self._criteria
        prefix = wanted.prefix
        if wanted.glob is not None:
            stem, _ = glob_to_pattern(wanted.glob)
            if not (stem.startswith(prefix) or prefix.startswith(stem)):
                return
            prefix = max(prefix, stem, key=len)
        page_size = wanted.page_size
        hint: dict[str, Any] = {}
        if wanted.limit is not None and self._test() is None and not wanted.predicates:
            page_size = min(page_size, wanted.limit)
            hint = {} if wanted.versions else {"limit": wanted.limit}
        pages: Callable[..., Iterator[listing.Page | versions.VersionPage]]
        pages = versions.pages if wanted.versions else listing.pages
        found = pages(
            self._bucket._connection,
            self._bucket.name,
            prefix=prefix,
            delimiter=wanted.delimiter,
            start_after=wanted.start_after,
            page_size=page_size,
            extra=dict(wanted.extra),
            **hint,
        )
        for page in found:
            stop = wanted.stop_before
            if stop is not None and page.objects and page.objects[-1][0] >= stop:
                yield listing.Page([entry for entry in page.objects if entry[0] < stop], [])
                return
            yield page

    def _entries_of(self, page: listing.Page | versions.VersionPage) -> Iterator[S3Object | str]:
        both: list[Iterable[S3Object | str]] = [self._objects_of(page), page.prefixes]
        return merge(*both, key=_sort_key)

    def _objects_of(self, page: listing.Page | versions.VersionPage) -> Iterator[S3Object]:
        test = self._test()
        entries: Iterable[Any] = page.objects if test is None else filter(test, page.objects)
        make: Callable[[S3Bucket, Any], S3Object] = _versioned if self._criteria.versions else _current
        objects: Iterator[S3Object] = (make(self._bucket, entry) for entry in entries)
        for predicate in self._criteria.predicates:
            objects = filter(predicate, objects)
        return objects

    def _test(self) -> Callable[[Listed], bool] | None:
        """What the listing alone decides, as one function; None where everything passes."""
        wanted = self._criteria
        tests: list[Callable[[Listed], bool]] = []
        if wanted.glob is not None:
            matches = glob_to_pattern(wanted.glob)[1].fullmatch
            tests.append(lambda entry: matches(entry[0]) is not None)
        if wanted.regex is not None:
            search = wanted.regex.search
            tests.append(lambda entry: search(entry[0]) is not None)
        if (least := wanted.min_size) is not None:
            tests.append(lambda entry: int(entry[3]) >= least)
        if (most := wanted.max_size) is not None:
            tests.append(lambda entry: int(entry[3]) <= most)
        if (after := wanted.modified_after) is not None:
            tests.append(lambda entry: _moment(entry) > after)
        if (before := wanted.modified_before) is not None:
            tests.append(lambda entry: _moment(entry) < before)
        if not tests:
            return None
        return tests[0] if len(tests) == 1 else lambda entry: all(test(entry) for test in tests)

    # -- Python's own -------------------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        wanted, plain = self._criteria, Criteria()
        shown = [
            f"{name}={getattr(wanted, name).pattern if name == 'regex' else getattr(wanted, name)!r}"
            for name in Criteria.__slots__
            if getattr(wanted, name) != getattr(plain, name) and name not in ("predicates", "extra")
        ]
        filters = f".filter(…)×{len(wanted.predicates)}" if wanted.predicates else ""
        return f"<ObjectQuery s3://{self._bucket.name}/ find({', '.join(shown)}){filters}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return ObjectQuery, (self._bucket, self._criteria)


def _moment(entry: Listed) -> datetime:
    moment = entry[1]
    return moment if isinstance(moment, datetime) else parse_time(moment)


def _sort_key(entry: S3Object | str) -> str:
    return entry if isinstance(entry, str) else entry.key


def _current(bucket: S3Bucket, entry: Listed, new: Callable[[type[S3Object]], S3Object] = S3Object.__new__) -> S3Object:
    """A handle for a listed object: written out, because a listing makes a million of them."""
    obj = new(S3Object)
    obj._bucket = bucket
    obj._key = entry[0]
    obj._version_id = None
    obj._listed = entry
    obj._head = None
    obj._body = None
    return obj


def _versioned(bucket: S3Bucket, entry: versions.ListedVersion) -> S3Object:
    return S3Object._of(bucket, entry.key, entry.version_id, listed=listing.Listed(*entry[:5]))
