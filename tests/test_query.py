"""find() and ObjectQuery: lazy, immutable, iterable any number of times."""

from __future__ import annotations

import asyncio
import functools
import pickle
import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from support.request_counting import Counted
from support.scripted_server import ScriptedServer
from support.stateful_server import StatefulStore

import messageflux_s3 as s3

KEYS = ["2026/10/a.json", "2026/11/a.json", "2026/11/b.csv", "2026/a.json", "other/z.json", "top.json"]


@pytest.fixture
def filled(bucket: s3.S3Bucket) -> s3.S3Bucket:
    for n, key in enumerate(KEYS):
        bucket.put_object(key, "x" * n)
    return bucket


def keys(query: s3.ObjectQuery) -> list[str]:
    return [obj.key for obj in query]


def test_a_query_makes_no_request_until_it_is_iterated(counted: Counted) -> None:
    """Each iteration sends its requests again: nothing is cached (row 14)."""
    query = counted.bucket.find("a").filter(lambda obj: True).limit(5)
    assert counted.requests() == []
    assert keys(query) == []
    counted.bucket.put_object("a1", "x")
    assert keys(query) == ["a1"]
    assert keys(query) == ["a1"]
    assert [request.method for request in counted.requests()] == ["GET", "PUT", "GET", "GET"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, KEYS),
        ({"prefix": "2026/11/"}, ["2026/11/a.json", "2026/11/b.csv"]),
        ({"glob": "2026/*.json"}, ["2026/a.json"]),
        ({"glob": "2026/**/*.json"}, ["2026/10/a.json", "2026/11/a.json", "2026/a.json"]),
        ({"glob": "**/*.json"}, ["2026/10/a.json", "2026/11/a.json", "2026/a.json", "other/z.json", "top.json"]),
        ({"glob": "2026/1?/[!b]*"}, ["2026/10/a.json", "2026/11/a.json"]),
        ({"glob": "top.json"}, ["top.json"]),
        ({"glob": ["top.json", "other/*"]}, ["other/z.json", "top.json"]),
        (
            {"glob": ("2026/1?/a.json", "2026/1?/*", "2026/a*")},
            ["2026/10/a.json", "2026/11/a.json", "2026/11/b.csv", "2026/a.json"],
        ),
        ({"glob": ["other/*", "2026/11/*"], "prefix": "2026/"}, ["2026/11/a.json", "2026/11/b.csv"]),
        ({"glob": ["2026/*.json"], "regex": "b"}, []),
        ({"prefix": "2026/", "glob": "other/*"}, []),
        ({"prefix": "2026/11", "glob": "2026/*/a.json"}, ["2026/11/a.json"]),
        ({"regex": r"\.csv$"}, ["2026/11/b.csv"]),
        ({"regex": re.compile("Z", re.IGNORECASE)}, ["other/z.json"]),
        ({"start_after": "2026/11/a.json"}, KEYS[2:]),
        ({"min_size": 4}, KEYS[4:]),
        ({"max_size": 1}, KEYS[:2]),
        ({"min_size": 1, "max_size": 2, "glob": "**.csv"}, ["2026/11/b.csv"]),
        ({"limit": 2}, KEYS[:2]),
        ({"prefix": "2026/", "glob": "**a*", "limit": 2}, ["2026/10/a.json", "2026/11/a.json"]),
    ],
)
def test_filters_find_exactly_the_matching_objects(
    filled: s3.S3Bucket, arguments: dict[str, Any], expected: list[str]
) -> None:
    """On either server, in key order."""
    query = filled.find(**arguments)
    assert keys(query) == expected
    assert query.count() == len(expected)
    assert query.total_size() == sum(KEYS.index(key) for key in expected)
    assert [obj.key for obj in query.collect()] == expected


def test_modified_after_and_before_limit_by_time(filled: s3.S3Bucket) -> None:
    """A time without a zone is UTC."""
    now = datetime.now(timezone.utc)
    assert filled.find(modified_after=now - timedelta(hours=1), modified_before=now + timedelta(hours=1)).count() == 6
    assert filled.find(modified_before=(now - timedelta(hours=1)).replace(tzinfo=None)).count() == 0
    assert filled.find(modified_after=now + timedelta(hours=1)).first() is None


def test_prefixes_and_entries_are_complete(filled: s3.S3Bucket) -> None:
    """Row 17: common prefixes, alone or among the objects, in key order."""
    query = filled.find("2026/", delimiter="/")
    assert list(query.prefixes()) == ["2026/10/", "2026/11/"]
    assert [entry if isinstance(entry, str) else entry.key for entry in query.entries()] == [
        "2026/10/",
        "2026/11/",
        "2026/a.json",
    ]
    assert keys(query) == ["2026/a.json"]
    assert filled.list_common_prefixes() == ["2026/", "other/"]
    with pytest.raises(ValueError, match="delimiter"):
        filled.find().prefixes()


def test_every_refinement_is_a_new_query(filled: s3.S3Bucket) -> None:
    """The first one is not changed by the second."""
    query = filled.find("2026/")
    small = query.filter(lambda obj: obj.size < 2).limit(1)
    assert (query.count(), small.count()) == (4, 1)
    assert query.limit(3).limit(5).count() == 3


def test_the_literal_start_of_a_glob_is_sent_as_prefix(counted: Counted) -> None:
    """Keys that the store can filter are not listed; contradictory criteria need no request."""
    counted.bucket.find(glob="2026/11/**.json").first()
    assert "prefix=2026%2F11%2F" in counted.requests()[-1].query
    with counted.recording() as requests:
        assert counted.bucket.find("a/", glob="b/*").count() == 0
    assert requests == []


def test_the_literal_start_that_several_globs_share_is_sent_as_prefix(counted: Counted) -> None:
    """A glob that contradicts the prefix does not count."""
    for arguments, prefix in (
        ({"glob": ["2026/11/*", "2026/12/*.csv"]}, "2026/1"),
        ({"glob": ["2026/11/*", "old/*"], "prefix": "2026/"}, "2026/11/"),
        ({"glob": ["a/b*", "a/b"], "prefix": "a/b/c"}, "a/b/c"),
    ):
        counted.bucket.find(**arguments).first()
        assert f"prefix={quote(prefix, safe='')}" in counted.requests()[-1].query.split("&")
    with counted.recording() as requests:
        assert counted.bucket.find("a/", glob=["b/*", "c/*"]).count() == 0
    assert requests == []


def test_a_query_shows_its_globs_as_they_were_given(bucket: s3.S3Bucket) -> None:
    """One glob as text, several as a list."""
    assert "find(glob='a*')" in repr(bucket.find(glob="a*"))
    assert "find(glob=['a*', 'b*'])" in repr(bucket.find(glob=("a*", "b*")))
    assert "a*, b*" in bucket.find(glob=["a*", "b*"])._repr_html_()


def test_a_query_with_several_globs_can_be_pickled_and_split(bucket: s3.S3Bucket) -> None:
    """The parts list the same keys."""
    bucket.put_objects((f"{letter}/{n}", b"") for letter in "abc" for n in range(20))
    query = bucket.find(glob=["a/*", "c/*"])
    keys = [obj.key for obj in bucket.find() if obj.key[0] in "ac"]
    assert [obj.key for part in query.partitions(3) for obj in part] == keys
    assert repr(pickle.loads(pickle.dumps(query))) == repr(query)


def test_a_small_limit_requests_a_small_page(counted: Counted) -> None:
    """first() fetches one key, not a thousand."""
    counted.bucket.put_object("k", "x")
    with counted.recording() as requests:
        assert counted.bucket.find().first() == counted.bucket.object("k")
    assert len(requests) == 1
    assert "max-keys=1" in requests[0].query.split("&")


@pytest.mark.parametrize("limit", [0, -1, 1.5, "3", True])
def test_an_invalid_limit_is_refused_before_a_request(bucket: s3.S3Bucket, limit: Any) -> None:
    """In find() and in limit()."""
    with pytest.raises((TypeError, ValueError), match="limit"):
        bucket.find(limit=limit)
    with pytest.raises((TypeError, ValueError), match="limit"):
        bucket.find().limit(limit)


class NotATime(datetime):
    """As pandas' NaT, which max() of an empty column is: a datetime that no time is before, after or equal to."""

    __hash__ = datetime.__hash__

    def __eq__(self, other: object) -> bool:
        return False

    def __ne__(self, other: object) -> bool:
        return True


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"prefix": 7}, TypeError),
        ({"glob": ""}, ValueError),
        ({"glob": []}, ValueError),
        ({"glob": ["a", ""]}, ValueError),
        ({"glob": ["a", 7]}, TypeError),
        ({"glob": b"a"}, TypeError),
        ({"glob": Path("a")}, TypeError),
        ({"regex": "("}, ValueError),
        ({"regex": 7}, TypeError),
        ({"modified_after": "2026"}, TypeError),
        ({"modified_after": NotATime(2026, 1, 1)}, ValueError),
        ({"modified_before": NotATime(2026, 1, 1)}, ValueError),
        ({"min_size": -1}, ValueError),
        ({"max_size": "1"}, TypeError),
    ],
)
def test_invalid_arguments_raise_an_error_that_names_them(
    bucket: s3.S3Bucket, arguments: dict[str, Any], error: type[Exception]
) -> None:
    """The error names the argument and what was wrong."""
    with pytest.raises(error, match=next(iter(arguments))):
        bucket.find(**arguments)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"prefix": "a", "Prefix": "b"}, "Prefix is given twice"),
        ({"delimiter": "/", "Delimiter": "-"}, "Delimiter is given twice"),
        ({"Marker": "a", "StartAfter": "b"}, "StartAfter is given twice"),
        ({"Bucket": "other"}, "lists this bucket"),
    ],
    ids=str,
)
def test_find_objects_refuses_contradicting_parameters(
    scripted_server: ScriptedServer, arguments: dict[str, Any], said: str
) -> None:
    """It ignored one of two, and listed the keys of another bucket as its own."""
    with pytest.raises(TypeError, match=said):
        scripted_server.bucket().find_objects(**arguments)
    assert scripted_server.asked == []


def test_find_objects_checks_keys_against_parameters_under_the_names_of_boto3(rclone_bucket: s3.S3Bucket) -> None:
    """rclone ignores the prefix "/", and lists every key."""
    rclone_bucket.put_object("a", "1")
    assert [*rclone_bucket.find_objects(Prefix="/")] == []
    assert [obj.key for obj in rclone_bucket.find_objects(Prefix="a", StartAfter="Z", Delimiter="/")] == ["a"]


def test_find_objects_accepts_the_arguments_of_messageflux(filled: s3.S3Bucket) -> None:
    """max_keys is the page size there, Marker goes on working."""
    assert [obj.key for obj in filled.find_objects("2026/", max_keys=1)] == KEYS[:4]
    assert [obj.key for obj in filled.find_objects(Marker="2026/a.json")] == KEYS[4:]
    assert [obj.key for obj in filled.find_objects(prefix="2026/", delimiter="/")] == ["2026/a.json"]
    assert [obj.key for obj in filled.list_objects()] == KEYS
    with pytest.raises(ValueError, match="max_keys"):
        filled.find_objects(max_keys=0)


def test_a_query_pickles(filled: s3.S3Bucket) -> None:
    """The unpickled query lists the same."""
    query = filled.find("2026/", regex="json", min_size=1)
    data = pickle.dumps(query)
    assert len(data) < 1500
    assert repr(pickle.loads(data)) == repr(query)


def test_a_missing_bucket_raises_when_the_query_is_iterated(store: s3.S3Store) -> None:
    """It raises when it is iterated, not before."""
    query = store.bucket("no-such-bucket-77").find()
    with pytest.raises(s3.S3NoSuchBucket):
        query.collect()


def test_a_query_has_no_length(bucket: s3.S3Bucket) -> None:
    """list() would call it and list twice; a bucket is not iterable at all."""
    with pytest.raises(TypeError):
        len(bucket.find())  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        iter(bucket)  # type: ignore[call-overload]


WRONG: dict[str, tuple[Any, type[Exception], str]] = {
    "a predicate of text": (lambda query: query.filter("x"), TypeError, "predicate must be callable, not str"),
    "parts of text": (lambda query: query.partitions("4"), TypeError, "n must be a whole number, not str"),
    "no parts": (lambda query: query.partitions(0), ValueError, "n must be at least 1, not 0"),
    "parts of a limited query": (
        lambda query: query.limit(5).partitions(2),
        ValueError,
        "a query with a limit cannot be split",
    ),
}


@pytest.mark.parametrize(("act", "error", "said"), WRONG.values(), ids=WRONG)
def test_invalid_filters_raise_an_error_that_names_them(
    moto_bucket: s3.S3Bucket, act: Any, error: type[Exception], said: str
) -> None:
    """The error names the argument and its value."""
    with pytest.raises(error, match=said):
        act(moto_bucket.find())


def test_a_query_that_cannot_be_split_is_one_partition(moto_bucket: s3.S3Bucket) -> None:
    """Versions, folders, an empty bucket, one key: the parts together list the same keys."""
    moto_bucket.put_object("k", "x")
    for query in (
        moto_bucket.find(versions=True),
        moto_bucket.find(delimiter="/"),
        moto_bucket.find(),
        moto_bucket.find("none"),
    ):
        parts = query.partitions(3)
        assert [obj.key for part in parts for obj in part] == keys(query)
    assert len(moto_bucket.find(versions=True).partitions(3)) == 1


async def is_wanted(obj: s3.S3Object) -> bool:
    return obj.key == "top.json"


class IsWanted:
    async def __call__(self, obj: s3.S3Object) -> bool:
        return obj.key == "top.json"


AWAITED_PREDICATES: dict[str, Any] = {
    "a coroutine function": is_wanted,
    "a partial of one": functools.partial(is_wanted),
    "a function that returns a coroutine": lambda obj: is_wanted(obj),
    "an object with an async __call__": IsWanted(),
}
USES: dict[str, Callable[[Any], Any]] = {
    "delete": lambda query: query.delete(),
    "count": lambda query: query.count(),
    "download_to": lambda query: query.download_to("/nonexistent"),
    "collect": lambda query: query.collect(),
    "usage": lambda query: query.usage(),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize("predicate", AWAITED_PREDICATES.values(), ids=AWAITED_PREDICATES)
def test_a_predicate_that_returns_an_awaitable_raises_type_error(
    scripted_server: ScriptedServer, predicate: Any, use: Callable[[Any], Any]
) -> None:
    """An awaitable is true, so every object would pass: sync and async, nothing is deleted."""
    memory = StatefulStore(scripted_server)
    for key in KEYS:
        memory.put(key, b"x")
    store = scripted_server.connect()
    with pytest.raises(TypeError, match="not an awaitable"):
        use(store.bucket("bkt").find().filter(predicate))

    async def main() -> None:
        async with s3.AsyncS3Store(store) as asynchronous:
            with pytest.raises(TypeError, match="not an awaitable"):
                await use(asynchronous.bucket("bkt").find().filter(predicate))

    asyncio.run(main())
    assert sorted(memory.objects) == sorted(KEYS)


def test_an_async_query_takes_several_globs(filled: s3.S3Bucket) -> None:
    """As the sync one does."""

    async def run() -> list[str]:
        async with s3.AsyncS3Store(filled.store) as store:
            return [obj.key async for obj in store.bucket(filled.name).find(glob=["top.json", "other/*"])]

    assert asyncio.run(run()) == ["other/z.json", "top.json"]
