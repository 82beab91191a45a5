"""ObjectQuery: a description of the objects to list, which can be iterated any number of times.

A query is immutable: every refinement returns a new one, each iteration lists again, and nothing is cached. Criteria on key, size and time
are evaluated on the listing alone; the predicate of a ``filter`` may send requests for each object.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial
from heapq import merge
from itertools import chain, islice, pairwise
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ._bulk import batch, listing, partitions, pipeline, versions
from ._bulk.batch import BatchResult
from ._bulk.listing import Listed
from ._bulk.progress import Progress, reporting, watched
from ._bulk.read_ahead import side_by_side
from ._client.addresses import BucketAddress, same_place
from ._display import show, tables
from ._display.browser import Browser
from ._display.usage import Usage, check_depth, measure
from ._files import copying, sync
from ._formats.keys import check_text, glob_to_pattern, globs_to_pattern
from ._formats.render import Bytes, Cell, Rendered
from ._formats.times import as_utc
from ._objects.operations import MAX_CACHED_BODY
from .errors import Failure, S3Error, S3InvalidName
from .object import S3Object

if TYPE_CHECKING:
    from concurrent.futures import Executor

    import pandas
    import pyarrow

    from .bucket import S3Bucket

Predicate = Callable[[S3Object], bool]
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Criteria:
    """The criteria of a query."""

    prefix: str = ""
    delimiter: str = ""
    glob: tuple[str, ...] = ()
    regex: re.Pattern[str] | None = None
    start_after: str = ""
    stop_before: str | None = None
    modified_after: datetime | None = None
    modified_before: datetime | None = None
    min_size: int | None = None
    max_size: int | None = None
    limit: int | None = None
    versions: bool = False
    sequential: bool = False
    predicates: tuple[Predicate, ...] = ()
    page_size: int = 1000
    extra: tuple[tuple[str, Any], ...] = ()


def criteria(
    *,
    prefix: str | None = None,
    delimiter: str | None = None,
    glob: str | Iterable[str] | None = None,
    regex: str | re.Pattern[str] | None = None,
    start_after: str | None = None,
    modified_after: datetime | None = None,
    modified_before: datetime | None = None,
    min_size: int | None = None,
    max_size: int | None = None,
    limit: int | None = None,
    versions: bool = False,
) -> Criteria:
    """Check the arguments of ``find()`` and return them as Criteria.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is invalid.
    """
    prefix = None if prefix is None else check_text("prefix", prefix)
    delimiter = None if delimiter is None else check_text("delimiter", delimiter)
    start_after = None if start_after is None else check_text("start_after", start_after)
    for name, moment in (("modified_after", modified_after), ("modified_before", modified_before)):
        if moment is not None and not isinstance(moment, datetime):
            raise TypeError(f"{name} must be a datetime, not {type(moment).__name__}")
        if moment is not None and moment != moment:  # pandas' NaT is a datetime, and no time is before or after it
            raise ValueError(f"{name} must be a time, not {moment!r}")
    for name, size in (("min_size", min_size), ("max_size", max_size)):
        if size is not None and (isinstance(size, bool) or not isinstance(size, int)):
            raise TypeError(f"{name} must be a whole number of bytes, not {type(size).__name__}")
        if size is not None and size < 0:
            raise ValueError(f"{name} must be at least 0, not {size}")
    return Criteria(
        prefix=prefix or "",
        delimiter=delimiter or "",
        glob=_globs(glob),
        regex=_pattern(regex),
        start_after=start_after or "",
        modified_after=_aware(modified_after),
        modified_before=_aware(modified_before),
        min_size=min_size or None,
        max_size=max_size,
        limit=None if limit is None else check_limit(limit),
        versions=bool(versions),
    )


def check_limit(limit: int, name: str = "limit") -> int:
    """Return the limit if it is a whole number of at least 1; raise TypeError or ValueError, which name the argument, otherwise."""
    if isinstance(limit, bool) or not isinstance(limit, int):
        raise TypeError(f"{name} must be a whole number, not {type(limit).__name__}")
    if limit < 1:
        raise ValueError(f"{name} must be at least 1, not {limit}")
    return limit


def _globs(given: str | Iterable[str] | None) -> tuple[str, ...]:
    """Return the globs as a tuple; empty for None."""
    if given is None:
        return ()
    if isinstance(given, (bytes, os.PathLike)) or not isinstance(given, Iterable):
        raise TypeError(f"glob must be text or an iterable of texts, not {type(given).__name__}")
    globs = (given,) if isinstance(given, str) else tuple(given)
    if not globs:
        raise ValueError("glob is an empty list, which no key matches; None matches every key")
    for glob in globs:
        glob_to_pattern(glob)
    return globs


def _pattern(regex: str | re.Pattern[str] | None) -> re.Pattern[str] | None:
    if regex is None or isinstance(regex, re.Pattern):
        return regex
    if regex == "":
        return None  # it matches every key, and must not count as a criterion of delete()
    if not isinstance(regex, str):
        raise TypeError(f"regex must be text or a compiled pattern, not {type(regex).__name__}")
    try:
        return re.compile(regex)
    except re.error as error:
        raise ValueError(f"regex {regex!r} is not a valid pattern: {error}") from None


def _aware(moment: datetime | None) -> datetime | None:
    """Return an aware datetime; a naive one is taken as UTC, as in S3's listings."""
    return moment.replace(tzinfo=timezone.utc) if moment is not None and moment.tzinfo is None else moment


class ObjectQuery:
    """A lazy listing of objects in one bucket, made by ``bucket.find(…)``.

    Every iteration lists again. "1 per 1,000 keys" in a docstring is the cost of a listing page by page. Of more than 3,000 keys on a
    distant store, pages are requested in several places at a time, at about a tenth more requests, unless the query is ``sequential()``.
    ``count()`` returns the number of objects. There is no ``__len__``, because ``list(query)`` would call it, and the objects would be
    listed twice.

    A directory bucket (``name--zone--x-s3``) lists its keys in no particular order; results that are otherwise in key order come in that
    order.

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
        """The bucket that is listed. Requests: none."""
        return self._bucket

    # -- refinements: each returns a new query, without a request ------------------------------------------------------------------

    def limit(self, n: int) -> ObjectQuery:
        """Return the same query, ending after ``n`` objects (or prefixes, or entries).

        Raises:
            ValueError: ``n`` is less than 1.

        Requests:
            none
        """
        check_limit(n)
        known = self._criteria.limit
        return self._refined(limit=n if known is None else min(n, known))

    def filter(self, predicate: Predicate) -> ObjectQuery:
        """Return the same query, limited to objects for which a predicate is true.

        Args:
            predicate: A function of the object. Attributes that are not in the listing cost a request per object.

        Raises:
            TypeError: ``predicate`` is not callable, or is a coroutine function. Raised by the iteration if the predicate
                returns an awaitable.

        Requests:
            none

        Example:
            >>> _ = bucket.put_object("big", b"x" * 100)
            >>> [obj.key for obj in bucket.find().filter(lambda obj: obj.size > 50)]
            ['big']
        """
        if not callable(predicate):
            raise TypeError(f"predicate must be callable, not {type(predicate).__name__}")
        if inspect.iscoroutinefunction(predicate):
            raise TypeError(_AWAITABLE_PREDICATE)
        return self._refined(predicates=(*self._criteria.predicates, predicate))

    def sequential(self) -> ObjectQuery:
        """Return the same query, listed page by page: each page is requested after the one before it.

        Otherwise a query without a limit, delimiter or versions, whose pages take longer to arrive than to process, requests up to 16
        pages at a time: it continues the listing in several places ahead. The objects and their order are the same. It takes about a tenth
        more requests, at most 30 % and 16. Up to 96 pages are listed ahead and held in memory (some 40 MB, with keys of 1,024 bytes
        130 MB); they are listed in vain if the loop is left early, and listed again if, on a store other than Amazon S3, a key is written
        or deleted just where two of the places meet.

        Requests:
            none

        Example:
            >>> _ = bucket.put_objects((f"{n:03d}", b"") for n in range(3))
            >>> bucket.find().sequential().count()
            3
        """
        return self._refined(sequential=True)

    def _refined(self, **changes: Any) -> ObjectQuery:
        return ObjectQuery(self._bucket, replace(self._criteria, **changes))

    # -- listing: 1 request per 1,000 keys -----------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[S3Object]:
        return self.objects()

    def objects(self) -> Iterator[S3Object]:
        """Iterate over the objects, in key order.

        Requests:
            1 per 1,000 keys; more if pages are requested in several places, see ``sequential``
        """
        found = (obj for page in self._pages() for obj in self._objects_of(page))
        return islice(found, self._criteria.limit) if self._criteria.limit is not None else found

    def prefixes(self) -> Iterator[str]:
        """Iterate over the common prefixes ("folders"), in key order. Needs a delimiter.

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
        """Iterate over objects and common prefixes together, in key order; a prefix is a ``str``.

        Requests:
            1 per 1,000 entries
        """
        found = (entry for page in self._pages() for entry in self._entries_of(page))
        return islice(found, self._criteria.limit)

    def first(self) -> S3Object | None:
        """Return the first object, or None.

        Requests:
            1 (more if filters drop all objects of a page)
        """
        return next(self.limit(1).objects(), None)

    def count(self, *, progress: Progress = None) -> int:
        """Return the number of objects.

        Args:
            progress: How to report progress in objects, see ``Progress``.

        Requests:
            1 per 1,000 keys
        """
        with self._watched(progress, self.objects()) as found:
            return sum(1 for _ in found)

    def total_size(self, *, progress: Progress = None) -> int:
        """Return the sum of the sizes in bytes.

        Args:
            progress: How to report progress in objects, see ``Progress``.

        Requests:
            1 per 1,000 keys
        """
        with self._watched(progress, self.objects()) as found:
            return sum(obj.size for obj in found)

    def collect(self, *, progress: Progress = None) -> list[S3Object]:
        """Return all objects as a list.

        Args:
            progress: How to report progress in objects, see ``Progress``.

        Requests:
            1 per 1,000 keys
        """
        with self._watched(progress, self.objects()) as found:
            return [*found]

    def map(
        self,
        function: Callable[[S3Object], Result],
        executor: Executor | None = None,
        *,
        ordered: bool = True,
        on_error: pipeline.OnError = "raise",
        in_flight: int | None = None,
    ) -> Iterator[Result]:
        """Apply a function to every object, several at a time, on threads or on any executor.

        Args:
            function: A function of the object. For processes and clusters it must be picklable, as the objects are.
            executor: Any ``concurrent.futures.Executor``: processes, Dask's ``client.get_executor()``, Ray's, MPI's. It stays
                open. None for up to 16 threads, which end with the iteration.
            ordered: Whether results are returned in key order, or as they complete.
            on_error: What to do if the function raises: ``"raise"``, ``"skip"`` the object, or a function of the object and the
                exception that returns the result to use.
            in_flight: The largest number of objects submitted whose results are not consumed yet; by default four per worker.

        Returns:
            The results, lazily.

        Raises:
            TypeError: An argument is of the wrong type, such as a coroutine function.
            ValueError: An argument is invalid.

        Requests:
            1 per 1,000 keys, and those of the function

        Example:
            >>> for name in ("a", "b"):
            ...     _ = bucket.put_object(f"m/{name}", name * 3)
            >>> list(bucket.find(prefix="m/").map(lambda obj: obj.text))
            ['aaa', 'bbb']
        """
        return pipeline.run(function, self.objects(), executor, ordered=ordered, on_error=on_error, in_flight=in_flight)

    # -- bulk work -----------------------------------------------------------------------------------------------------------------

    def prefetch(self, concurrency: int = batch.CONCURRENCY, max_bytes: int = batch.MAX_BYTES) -> Iterator[S3Object]:
        """Iterate over the objects while their bodies are read ahead in parallel.

        Args:
            concurrency: The largest number of requests at a time. It begins with at most 64, and takes more where that is faster.
            max_bytes: The largest number of bytes of bodies that are read ahead.

        Returns:
            The objects in key order, with their bodies (above 8 MiB the body is requested when it is read). If a request failed,
            reading ``body`` raises the error; iterating does not. Leaving the loop early cancels the outstanding requests.

        Requests:
            1 per 1,000 keys, and 1 GET per object

        Example:
            >>> _ = bucket.put_objects((f"n/{n}", str(n)) for n in range(3))
            >>> [obj.text for obj in bucket.find(prefix="n/").prefetch()]
            ['0', '1', '2']
        """
        batch.check_bounds(concurrency, max_bytes)
        wanted = (batch.GetItem(obj.key, obj._version_id, obj.size <= MAX_CACHED_BODY, obj) for obj in self.objects())
        found = batch.get_many(self._bucket._address, wanted, concurrency=concurrency, max_bytes=max_bytes)
        return (obj._apply_result(outcome) for obj, outcome in found)

    def partitions(self, n: int) -> list[ObjectQuery]:
        """Split the query into adjacent queries that together list exactly the same objects.

        Args:
            n: The largest number of queries; there are fewer if the keys do not allow more. A directory bucket cannot be
                listed from a given key on, so it gets one query; nor can a store that walks folders, as SeaweedFS does.

        Raises:
            ValueError: The query has a limit, which cannot be split, or ``n`` is less than 1.

        Requests:
            about 4 per part and 20 more, each a listing of one key; on a store that is not known to list in key order also those of
            ``find(start_after=…)`` for each part

        Example:
            >>> _ = bucket.put_objects((f"{n:03d}", b"") for n in range(40))
            >>> parts = bucket.find().partitions(4)
            >>> [obj.key for part in parts for obj in part] == [obj.key for obj in bucket.find()]
            True
        """
        if isinstance(n, bool) or not isinstance(n, int):
            raise TypeError(f"n must be a whole number, not {type(n).__name__}")
        if n < 1:
            raise ValueError(f"n must be at least 1, not {n}")
        wanted = self._criteria
        if wanted.limit is not None:
            raise ValueError(
                "a query with a limit cannot be split, since each part would have the limit; split first, then limit"
            )
        if wanted.versions or wanted.delimiter or self._bucket._address.is_directory:
            return [self]
        if not listing.starts_in_key_order(self._bucket._address):
            return [self]
        ranges = partitions.key_ranges(
            self._key_after,
            n,
            prefix=self._sent_prefix() or "",
            start_after=wanted.start_after,
            stop_before=wanted.stop_before,
        )
        # The folders beside the borders, which a store that walks folders lists elsewhere: keys would be in no part.
        borders, begin = [start for start, _ in ranges[1:]], len(self._sent_prefix() or "")
        folders = [start[:at] for start in borders for at in range(begin, len(start)) if start[at] <= "/"]
        if not listing.starts_in_key_order(self._bucket._address, dict.fromkeys(folders)):
            return [self]
        return [self._refined(start_after=start, stop_before=stop) for start, stop in ranges]

    def parallel(self, n: int = 4) -> Iterator[S3Object]:
        """Iterate over the objects in key order, listed in ``n`` parts in parallel.

        This is faster for very many keys on a store with a high latency. Each part is listed on its own thread, at most a few pages
        ahead. Leaving the loop early ends the threads.

        Args:
            n: The number of parts.

        Requests:
            1 per 1,000 keys, and those of ``partitions``
        """
        pages = side_by_side([part._listed_pages() for part in self.sequential().partitions(n)])
        try:
            for page in pages:
                yield from page
        finally:
            pages.close()

    def delete(self, *, raise_errors: bool = True, progress: Progress = None) -> BatchResult:
        """Delete all objects of the query (or, with ``versions=True``, all versions; delete markers stay).

        Args:
            raise_errors: Whether to raise if some deletions failed; otherwise only the result reports them.
            progress: How to report progress in objects, see ``Progress``.

        Returns:
            The keys that were deleted, and those that were not, with their errors.

        Raises:
            ValueError: The query has no criteria; ``bucket.clear_objects()`` deletes everything.
            S3BatchError: Some deletions failed; the others were done.

        Requests:
            2 per 1,000 keys

        Example:
            >>> _ = bucket.put_objects([("tmp/a", "1"), ("tmp/b", "2"), ("kept", "3")])
            >>> bucket.find(prefix="tmp/").delete().succeeded
            ['tmp/a', 'tmp/b']
        """
        if replace(self._criteria, versions=False, sequential=False, page_size=1000) == Criteria():
            raise ValueError(
                "this query has no criteria; to delete everything in the bucket, call bucket.clear_objects()"
            )
        entries = ((obj.key, obj._version_id) for obj in self.objects())
        return batch.delete_all(self._bucket._address, entries, raise_errors=raise_errors, progress=progress)

    def copy_to(self, bucket: S3Bucket, prefix: str = "", *, progress: Progress = None) -> list[S3Object]:
        """Copy every object of the query to a bucket, under the prefix followed by its key. An object is not copied onto itself.

        If the target is the same bucket, or may be the same under another name or endpoint, all keys are listed before anything is copied,
        so that no copy is copied again. A small object is copied by the server, and gets the target bucket's default encryption and no
        website redirect.

        To rename a folder, call ``obj.move_to`` for each object of the listing: to delete the query's objects after this call would also
        delete the copies that lie below its prefix, and objects that were written meanwhile.

        Args:
            bucket: The target bucket.
            prefix: Text to put before the whole key of each object; no slash is added.
            progress: How to report progress in objects, see ``Progress``.

        Returns:
            Handles of the copies, in key order.

        Raises:
            TypeError: ``bucket`` is not an S3Bucket, or ``prefix`` is not text.
            ValueError: A copy would replace an object that is to be copied too. Nothing was copied.
            S3InvalidName: With ``versions=True``: several versions of one key would be copied to one key. Nothing was copied.
            S3BatchError: Some copies failed; the others were made.

        Requests:
            1 per 1,000 keys, and 1 COPY per object; above 8 MiB, or between stores, as ``obj.copy_to``. With a prefix 1 or 2 HEAD if the
            names of the two buckets do not show whether they are the same

        Example:
            >>> _ = bucket.put_objects([("2026/a", "1"), ("2026/b", "2")])
            >>> [copy.key for copy in bucket.find("2026/").copy_to(bucket, "backup/")]
            ['backup/2026/a', 'backup/2026/b']
        """
        if not isinstance(getattr(bucket, "_address", None), BucketAddress):
            raise TypeError(f"bucket must be an S3Bucket, not {type(bucket).__name__}")
        prefix = check_text("prefix", prefix)
        made: list[S3Object] = []
        result = BatchResult([], [])
        found = (
            copying.Copy(obj._address, obj.size, obj.storage_class, prefix + obj.key, obj._etag_if_known)
            for obj in self.objects()
        )
        copies: Iterable[copying.Copy] = found
        if self._criteria.versions:
            copies = [*found]
            _refuse_several_versions(copies)
        if prefix and (first := next(iter(copies), None)) is not None:
            if copies is found:
                copies = chain([first], found)
            same = same_place(first.source, bucket._address.object(first.source.key))
            if same or (same is None and not copying.is_elsewhere(first.source, bucket._address)):
                copies = [*copies]
                _refuse_replacing_sources(copies)
        with reporting(progress, None, f"copy to {bucket.name}", unit="objects") as report:
            for copy, outcome in copying.copy_many(bucket._address, copies):
                if isinstance(outcome, S3Error):
                    result.failures.append(Failure(copy.source.key, copy.source.version_id, outcome))
                else:
                    result.succeeded.append(copy.source.key)
                    made.append(S3Object._create(bucket, copy.target_key, head=outcome))
                    report(1)
        result.raise_for_failures("copy_to")
        return made

    def download_to(
        self, folder: str | os.PathLike[str], *, overwrite: bool = True, progress: Progress = None
    ) -> list[str]:
        """Download every object of the query into a folder, each under its whole key. Nothing is written outside the folder.

        Args:
            folder: The folder; created if it is missing.
            overwrite: Whether existing files are replaced.
            progress: How to report progress in bytes, see ``Progress``.

        Returns:
            The paths of the files, relative to the folder, in key order.

        Raises:
            S3InvalidName: Two keys would be written to the same file. Nothing was downloaded.
            S3BatchError: Some downloads failed; the others were done.

        Requests:
            1 per 1,000 keys, and 1 GET per object
        """
        found = (
            sync.RemoteObject(obj.key, obj.size, obj.etag, obj.last_modified.timestamp(), obj.version_id)
            for obj in self.objects()
        )
        plan = sync.plan_download(self._bucket._address, "", folder, objects=found)
        return sync.download_objects(plan, overwrite=overwrite, progress=progress)

    # -- display -------------------------------------------------------------------------------------------------------------------

    def show(self, n: int = 20) -> Rendered:
        """Return the first entries as a table of key, size, time and storage class: text in a terminal, HTML in a notebook.

        Args:
            n: The number of entries.

        Requests:
            1 per 1,000 entries

        Example:
            >>> _ = bucket.put_object("a.txt", "hello")
            >>> print(bucket.find().show().text.splitlines()[-1].split()[:3])
            ['a.txt', '5', 'B']
        """
        count = check_limit(n)
        return show.tabulate_entries(self.limit(count + 1).entries(), count, self._title)

    def tree(self, depth: int = 2, *, entries: int = 20) -> Rendered:
        """Return the keys as a tree of prefixes. Only the levels that are shown are listed.

        In HTML the branches can be opened and closed, and beside a prefix stand the number and size of the objects below it, as far as
        they were listed: "…" for what was not. At most 100 prefixes are listed, those of the upper levels first.

        Args:
            depth: The number of levels.
            entries: The number of entries to show for each prefix.

        Raises:
            ValueError: ``depth`` or ``entries`` is less than 1, or the query is for versions.

        Requests:
            1 per prefix whose entries are shown, at most 100; more if the query has filters that the store does not apply, such as a
            glob, and a prefix has more than 1,000 keys

        Example:
            >>> _ = bucket.put_objects([("a/1", "x"), ("a/b/2", "x"), ("c", "x")])
            >>> print(bucket.find().tree())
            s3://.../
            ├── a/
            │   ├── 1  1 B
            │   └── b/
            └── c  1 B
        """
        if self._criteria.versions:
            raise ValueError("a tree shows objects, not versions: call it on a query without versions=True")
        depth, entries = check_depth(depth, least=1), check_limit(entries, "entries")
        # Where the store applies all criteria, one request returns a page of a prefix, whose entries are counted beyond those shown.
        page = _TREE_PAGE if self._test() is None and not self._criteria.predicates else 0
        return show.draw_tree(self._bucket.name, self._level, self._criteria.prefix, depth, entries, page)

    def browse(self, *, entries: int = 100) -> Browser:
        """Return a tree for a notebook that lists a prefix when it is opened, and previews an object when it is chosen.

        It is a widget where ipywidgets is installed (extra ``messageflux-s3[notebook]``), else the static tree of the first level.

        Args:
            entries: The number of entries to show for each prefix.

        Raises:
            ValueError: ``entries`` is less than 1, or the query is for versions.

        Requests:
            1; in the widget 1 for each prefix that is opened for the first time, and for an object those of ``preview()``

        Example:
            >>> _ = bucket.put_objects([("a/1", "x"), ("c", "x")])
            >>> print(bucket.find().browse())
            s3://.../
            ├── a/
            └── c  1 B
        """
        if self._criteria.versions:
            raise ValueError("browse() shows objects, not versions: call it on a query without versions=True")
        return Browser(
            self._bucket.name,
            self._level,
            self._criteria.prefix,
            check_limit(entries, "entries"),
            lambda key: self._bucket.object(key).preview(),
        )

    def usage(self, depth: int = 1, *, progress: Progress = None) -> Usage:
        """Count objects and bytes by prefix, extension, storage class, size and age, in one pass over the listing and bounded memory.

        Args:
            depth: The number of levels below the prefix that are counted separately.
            progress: How to report progress in objects, see ``Progress``.

        Raises:
            ValueError: ``depth`` is negative.

        Requests:
            1 per 1,000 keys

        Example:
            >>> _ = bucket.put_objects([("a/1.txt", "xx"), ("a/2.txt", "xx"), ("b/3.csv", "x")])
            >>> usage = bucket.find().usage()
            >>> usage.count, usage.bytes, {name: tally.bytes for name, tally in usage.by_prefix.items()}
            (3, 5, {'a/': 4, 'b/': 1})
        """
        check_depth(depth, least=0)
        prefix = self._criteria.prefix
        with self._watched(progress, self._listed()) as listed:
            return measure(listed, where=f"s3://{self._bucket.name}/{prefix}", prefix=prefix, depth=depth)

    def to_pandas(self, *, progress: Progress = None) -> pandas.DataFrame:
        """Return the listing as a DataFrame with typed columns.

        The columns are key, size, last_modified, etag and storage_class, and for versions also version_id and is_latest.

        Args:
            progress: How to report progress in objects, see ``Progress``.

        Raises:
            ImportError: The extra ``messageflux-s3[pandas]`` is not installed.

        Requests:
            1 per 1,000 keys

        Example:
            >>> _ = bucket.put_objects([("a", "x"), ("b", "xyz")])
            >>> int(bucket.find().to_pandas()["size"].sum())
            4
        """
        with self._watched(progress, self._listed()) as listed:
            return tables.to_pandas(listed, versions=self._criteria.versions)

    def to_arrow(self, *, progress: Progress = None) -> pyarrow.Table:
        """Return the listing as an Arrow table, with the columns of ``to_pandas``.

        Args:
            progress: How to report progress in objects, see ``Progress``.

        Raises:
            ImportError: The extra ``messageflux-s3[arrow]`` is not installed.

        Requests:
            1 per 1,000 keys
        """
        with self._watched(progress, self._listed()) as listed:
            return tables.arrow_batches(listed, versions=self._criteria.versions).read_all()

    def arrow_batches(self, rows: int = tables.ROWS_PER_BATCH) -> pyarrow.RecordBatchReader:
        """Return a reader of Arrow record batches that requests the listing as it is read, for listings larger than memory.

        Args:
            rows: The number of rows per batch.

        Raises:
            ImportError: The extra ``messageflux-s3[arrow]`` is not installed.

        Requests:
            1 per 1,000 keys

        Example:
            >>> _ = bucket.put_objects((f"{n}", b"") for n in range(5))
            >>> [batch.num_rows for batch in bucket.find().arrow_batches(rows=2)]
            [2, 2, 1]
        """
        return tables.arrow_batches(self._listed(), rows, versions=self._criteria.versions)

    @contextmanager
    def _watched(self, progress: Progress, found: Iterator[Result]) -> Iterator[Iterator[Result]]:
        """Yield an iterator over the same entries that reports progress as they are consumed."""
        where = f"s3://{self._bucket.name}/{self._criteria.prefix}"
        with reporting(progress, None, f"listing {where}", unit="objects") as report:
            yield watched(found, report)

    def _listed(self) -> Iterator[Any]:
        """Iterate over the entries of the listing, without making handles unless a predicate needs them."""
        test, predicates = self._test(), self._criteria.predicates
        pages = self._pages()
        listed: Iterator[Any] = (entry for page in pages for entry in page.objects)
        found = listed if test is None else filter(test, listed)
        if predicates:
            make: Callable[[S3Bucket, Any], S3Object] = _versioned if self._criteria.versions else _current
            pairs = ((entry, make(self._bucket, entry)) for entry in found)
            found = (
                _entry_of(entry, obj)
                for entry, obj in pairs
                if all(_is_true(predicate, obj) for predicate in predicates)
            )
        return islice(found, self._criteria.limit) if self._criteria.limit is not None else found

    def _below(self, prefix: str) -> ObjectQuery:
        return self._refined(prefix=prefix, delimiter="/", limit=None)

    def _level(self, prefix: str, n: int) -> list[S3Object | str]:
        """Return up to ``n`` entries directly below a prefix.

        The queries of ``partitions()`` have a start or end key. The prefixes that contain these keys are listed
        separately, to check that they have keys in range: stores differ in whether they return the start key's prefix,
        and all keys of the end key's prefix may be after the end.

        Requests:
            1, and 1 for each of these two prefixes
        """
        level, found = self._below(prefix), list[S3Object | str]()
        start, stop, sent = self._criteria.start_after, self._criteria.stop_before, level._sent_prefix()
        first = ""
        if sent is not None and start.startswith(sent) and "/" in start[len(sent) :]:
            first = sent + start[len(sent) :].partition("/")[0] + "/"
            if self._has_keys_below(first):
                found.append(first)
        for entry in level.limit(n + 2).entries():
            if isinstance(entry, str) and (
                entry == first or (stop is not None and stop.startswith(entry) and not self._has_keys_below(entry))
            ):
                continue
            found.append(entry)
        return found[:n]

    def _has_keys_below(self, prefix: str) -> bool:
        return self._refined(prefix=prefix, delimiter="")._key_after("") is not None

    def _described(self) -> list[tuple[str, Cell]]:
        """Return the criteria that differ from the defaults, as pairs of argument name and value."""
        wanted, plain = self._criteria, Criteria()
        pairs: list[tuple[str, Cell]] = []
        for name in Criteria.__slots__:
            value = getattr(wanted, name)
            if value != getattr(plain, name) and name not in ("predicates", "extra"):
                shown = value.pattern if isinstance(value, re.Pattern) else value
                shown = Bytes(shown) if name in ("min_size", "max_size") else shown
                pairs.append((name, ", ".join(shown) if isinstance(shown, tuple) else shown))
        return [*pairs, *([("filters", len(wanted.predicates))] if wanted.predicates else [])]

    def _repr_html_(self) -> str:
        return show.summarize_query(self._bucket.name, self._described()).html

    # -- internals -----------------------------------------------------------------------------------------------------------------

    def _pages(self) -> Iterator[listing.Page | versions.VersionPage]:
        wanted = self._criteria
        prefix = self._sent_prefix()
        if prefix is None:
            return
        page_size = wanted.page_size
        hint: dict[str, Any] = {}
        if not wanted.versions:
            hint = {"sequential": wanted.sequential or wanted.limit is not None, "stop_before": wanted.stop_before}
        if wanted.limit is not None and self._test() is None and not wanted.predicates:
            page_size = min(page_size, wanted.limit)
            if not wanted.versions:
                hint["limit"] = wanted.limit
        pages: Callable[..., Iterator[listing.Page | versions.VersionPage]]
        pages = versions.pages if wanted.versions else listing.pages
        found = pages(
            self._bucket._address,
            prefix=prefix,
            delimiter=wanted.delimiter,
            start_after=wanted.start_after,
            extra={"MaxKeys": page_size, **dict(wanted.extra)},
            **hint,
        )
        for page in found:
            stop = wanted.stop_before
            if stop is not None and (
                (page.objects and page.objects[-1][0] >= stop) or (page.prefixes and page.prefixes[-1] >= stop)
            ):
                before = [cast(Listed, entry) for entry in page.objects if entry[0] < stop]
                yield listing.Page(before, [prefix for prefix in page.prefixes if prefix < stop])
                return
            yield page

    def _listed_pages(self) -> Iterator[list[S3Object]]:
        for page in self._pages():
            yield [*self._objects_of(page)]

    def _key_after(self, text: str) -> str | None:
        """Return the first key after a text, within the prefix and range of the query; the query's filters are ignored.

        None also if the store turns out not to start there in key order: it would be asked for every key before the text.
        """
        wanted, address = self._criteria, self._bucket._address
        pages = listing.pages(
            address,
            prefix=self._sent_prefix() or "",
            start_after=max(text, wanted.start_after),
            limit=1,
            is_start_checked=True,
            extra={"MaxKeys": 1, **dict(wanted.extra)},
        )
        for page in pages:
            for entry in page.objects:
                return None if wanted.stop_before is not None and entry[0] >= wanted.stop_before else entry[0]
            if not listing.starts_in_key_order(address):
                break
        return None

    def _sent_prefix(self) -> str | None:
        """Return the prefix to send to the store; None if no key can match both the prefix and one of the globs."""
        wanted = self._criteria
        if not wanted.glob:
            return wanted.prefix
        found = globs_to_pattern(wanted.glob, wanted.prefix)
        return None if found is None else found[0]

    def _entries_of(self, page: listing.Page | versions.VersionPage) -> Iterator[S3Object | str]:
        both: list[Iterable[S3Object | str]] = [self._objects_of(page), page.prefixes]
        return merge(*both, key=_sort_key)

    def _objects_of(self, page: listing.Page | versions.VersionPage) -> Iterator[S3Object]:
        test = self._test()
        entries: Iterable[Any] = page.objects if test is None else filter(test, page.objects)
        make: Callable[[S3Bucket, Any], S3Object] = _versioned if self._criteria.versions else _current
        objects: Iterator[S3Object] = (make(self._bucket, entry) for entry in entries)
        for predicate in self._criteria.predicates:
            objects = filter(partial(_is_true, predicate), objects)
        return objects

    def _test(self) -> Callable[[Listed], bool] | None:
        """Combine the criteria that need only the listing into one function; None if there are none."""
        wanted = self._criteria
        tests: list[Callable[[Listed], bool]] = []
        if wanted.glob and (found := globs_to_pattern(wanted.glob, wanted.prefix)) is not None:
            matches = found[1].fullmatch
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

    # -- special methods -----------------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return f"<ObjectQuery {self._title}>"

    @property
    def _title(self) -> str:
        wanted, plain = self._criteria, Criteria()
        shown = [
            f"{name}={_shown(getattr(wanted, name))}"
            for name in Criteria.__slots__
            if getattr(wanted, name) != getattr(plain, name) and name not in ("predicates", "extra")
        ]
        filters = f".filter(…)×{len(wanted.predicates)}" if wanted.predicates else ""
        return f"s3://{self._bucket.name}/ find({', '.join(shown)}){filters}"

    def __reduce__(self) -> tuple[Any, ...]:
        return ObjectQuery, (self._bucket, self._criteria)


def _shown(value: object) -> str:
    """Return the value of a criterion as its argument would be written."""
    if isinstance(value, re.Pattern):
        return str(value.pattern)
    return repr((value[0] if len(value) == 1 else [*value]) if isinstance(value, tuple) else value)


_TREE_PAGE = 998
"""How many entries of a prefix ``tree()`` counts: with the 2 that may be left out, the largest page that S3 returns."""
_AWAITABLE_PREDICATE = "predicate must return True or False, not an awaitable: it would be true for every object"


def _is_true(predicate: Predicate, obj: S3Object) -> bool:
    """Call a predicate.

    Raises:
        TypeError: The predicate returned an awaitable, which is true whatever its result would be.
    """
    found = predicate(obj)
    if found is True or found is False:
        return found
    if inspect.isawaitable(found):
        getattr(found, "close", lambda: None)()  # Python warns about a coroutine that is never awaited
        raise TypeError(_AWAITABLE_PREDICATE)
    return bool(found)


def _entry_of(entry: Any, obj: S3Object) -> Any:
    """Return the listing entry of an object; rebuild the entry if a predicate has loaded the object."""
    if obj._listed is not None:
        return entry
    # A handle does not say which version is the latest, so that is taken from the listing.
    return (obj.key, obj.last_modified, obj.etag, obj.size, obj.storage_class, *entry[5:])


def _moment(entry: Listed) -> datetime:
    return as_utc(entry[1])


def _sort_key(entry: S3Object | str) -> str:
    return entry if isinstance(entry, str) else entry.key


def _current(bucket: S3Bucket, entry: Listed, new: Callable[[type[S3Object]], S3Object] = S3Object.__new__) -> S3Object:
    """Return a handle for a listed object. Sets the attributes directly, because a listing makes millions of handles."""
    obj = new(S3Object)
    obj._bucket = bucket
    obj._key = entry[0]
    obj._version_id = None
    obj._listed = entry
    obj._head = None
    obj._body = None
    obj._pinned_etag = None
    return obj


def _versioned(bucket: S3Bucket, entry: versions.ListedVersion) -> S3Object:
    return S3Object._create(bucket, entry.key, entry.version_id, listed=listing.Listed(*entry[:5]))


def _refuse_several_versions(copies: list[copying.Copy]) -> None:
    """Raise S3InvalidName if two of the copies, in key order, have the same target."""
    for one, other in pairwise(copies):
        if one.target_key == other.target_key:
            raise S3InvalidName(
                f"several versions of the key {one.source.key!r} would be copied to {one.target_key!r}; copy them one by one",
                key=one.source.key,
            )


def _refuse_replacing_sources(copies: list[copying.Copy]) -> None:
    """Raise ValueError if the target of a copy is the source of another one."""
    keys = {copy.source.key for copy in copies}
    for copy in copies:
        if copy.target_key in keys:
            raise ValueError(
                f"{copy.source.key!r} would replace {copy.target_key!r}, which is to be copied too; nothing was copied"
            )
