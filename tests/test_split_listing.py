"""Listings read in several places at a time: the same keys in the same order, in less time, with few more requests."""

from __future__ import annotations

import bisect
import gc
import itertools
import math
import os
import random
import uuid
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from support.scripted_server import Answer, Asked, refusal
from support.stateful_server import StatefulServer, run_stateful_server
from support.waiting import wait_until

from messageflux_s3 import Capabilities, S3Bucket, S3ServerError, S3Store
from messageflux_s3._bulk import listing, split_listing
from messageflux_s3._bulk.key_spacing import KeySpacing
from messageflux_s3._bulk.split_listing import CONCURRENCY, PAGES_AHEAD, SplitListing
from messageflux_s3._formats.listing_pages import Listed, Page
from messageflux_s3._http.connection_budget import ConnectionBudget

FIRST_PAGES = 3
_numbers = itertools.count()


class SimulatedStore:
    """A store with simulated time: each page takes as long as any other, and all requests under way are served side by side.

    Attributes:
        keys: The keys, in order.
        requests: The starts and tokens of all requests.
        now: The time, in pages.
        waited: The time for which requests were waited for.
        is_serial: Whether the store serves one request after the other.
        most_under_way: The largest number of requests under way at a time.
        change: Changes what is answered to a position; may return None for a failure.
        asked_again: The requests that were made again.
        abandoned: The requests whose pages were not wanted any more.
    """

    def __init__(self, keys: Iterable[str], page_size: int = 10, order: Callable[[str], Any] = str.encode) -> None:
        self.order = order
        self.keys = sorted(keys, key=order)
        self.page_size = page_size
        self.requests: list[str] = []
        self.now = 0.0
        self.most_under_way = 0
        self.change: Callable[[Page, str | None], Page | None] = lambda page, start: page
        self.waited = 0.0
        self.is_serial = False
        self.asked_again: list[str] = []
        self.abandoned: set[int] = set()
        self._under_way: dict[int, tuple[float, str, str | None]] = {}
        self._ready: dict[int, tuple[str, str | None]] = {}

    def listed_after(self, position: str) -> Page:
        at = bisect.bisect_right(self.keys, self.order(position), key=self.order) if position else 0
        found = self.keys[at : at + self.page_size]
        is_truncated = at + self.page_size < len(self.keys)
        objects = [Listed(key, "", "", "1", "STANDARD") for key in found]
        return Page(objects, [], found[-1] if is_truncated else None, is_truncated)

    def begin(self, *, start_after: str = "", token: str | None = None) -> int:
        self.requests.append(token or start_after)
        number = len(self.requests)
        begins = max([end for end, *_ in self._under_way.values()], default=self.now) if self.is_serial else self.now
        self._under_way[number] = (begins + 1, start_after, token)
        self.most_under_way = max(self.most_under_way, len(self._under_way))
        return number

    def advance(self, first: int | None = None) -> None:
        if first is not None and first in self._under_way:
            arrives = max(self.now, min(end for end, *_ in self._under_way.values()))
            self.waited += arrives - self.now
            self.now = arrives
        for number, (end, start, token) in [*self._under_way.items()]:
            if end <= self.now:
                del self._under_way[number]
                self._ready[number] = start, token

    def is_complete(self, begun: int) -> bool:
        return begun in self._ready

    def page(self, begun: int) -> Page | None:
        assert begun not in self.abandoned
        start, token = self._ready.pop(begun)
        return self.change(self.listed_after(token or start), None if token else start)

    def ask_again(self, begun: int) -> Page:
        self.asked_again.append(self.requests[begun - 1])
        self.now += 1
        return self.listed_after(self.requests[begun - 1])

    def abandon(self, begun: int) -> None:
        assert begun not in self.abandoned
        self.abandoned.add(begun)

    def list_split(self, **options: Any) -> list[str]:
        """List all keys as a listing does: the first pages, then the split rest, and if it gives up the remaining pages."""
        return _keys(self.pages_split(**options))

    def pages_split(self, **options: Any) -> Iterator[Page]:
        pages: list[Page] = []
        position = ""
        while len(pages) < FIRST_PAGES:
            page = self._listed_plainly(position)
            yield page
            pages.append(page)
            if not page.is_truncated:
                return
            assert page.token is not None
            position = page.token
        last = yield from SplitListing(self, pages, 1.0, **options).pages()
        while last is not None and last.is_truncated:
            assert last.token is not None
            last = self._listed_plainly(last.token)
            yield last

    def _listed_plainly(self, position: str) -> Page:
        self.requests.append(position)
        self.now += 1
        return self.listed_after(position)

    @property
    def pages_needed(self) -> int:
        return -(-len(self.keys) // self.page_size)


def _keys(pages: Iterable[Page]) -> list[str]:
    return [entry[0] for page in pages for entry in page.objects]


def _dates(count: int) -> list[str]:
    start = datetime(2025, 3, 1)
    return [f"logs/{start + timedelta(minutes=7 * number):%Y/%m/%d/%H-%M}.json" for number in range(count)]


def _users(count: int) -> list[str]:
    chance = random.Random(5)
    return [f"user-{user:04d}/{file:05d}" for user in range(count // 100) for file in range(chance.randrange(1, 200))]


KEY_SETS: dict[str, Callable[[int], list[str]]] = {
    "counter": lambda count: [f"data/{number:09d}.parquet" for number in range(count)],
    "counter without zeros": lambda count: [f"k{number}" for number in range(count)],
    "uuids": lambda count: [str(uuid.UUID(int=random.Random(number).getrandbits(128))) for number in range(count)],
    "dates": _dates,
    "users": _users,
    "two halves": lambda count: [f"{half}/{number:06d}" for half in "az" for number in range(count // 2)],
    "one deep prefix": lambda count: [f"{'deep/' * 30}{number:06x}" for number in range(count)],
}


@pytest.mark.parametrize("name", KEY_SETS)
def test_a_long_listing_has_all_keys_in_order_at_a_quarter_of_the_time(name: str) -> None:
    """100 pages; only keys whose folders have very different sizes take longer. At most 30 % more requests."""
    store = SimulatedStore(KEY_SETS[name](10_000), page_size=100)
    assert store.list_split() == store.keys
    assert len(store.requests) <= 1.3 * store.pages_needed
    assert store.now <= store.pages_needed / (4 if name != "users" else 2)
    assert store.most_under_way <= CONCURRENCY + 1


@pytest.mark.parametrize("name", KEY_SETS)
def test_a_listing_of_any_length_takes_at_most_30_percent_more_requests(name: str) -> None:
    for count in (31, 45, 64, 100, 222, 700):
        store = SimulatedStore(KEY_SETS[name](count))
        assert store.list_split() == store.keys
        assert len(store.requests) <= max(1, 1.3 * store.pages_needed), count


def test_a_very_long_listing_is_at_least_10_times_as_fast_and_few_pages_are_held() -> None:
    store = SimulatedStore(KEY_SETS["counter"](10_000))
    yielded = most_ahead = 0
    for page in store.pages_split():
        yielded += len(page.objects)
        most_ahead = max(most_ahead, len(store.requests) * store.page_size - yielded)
    assert yielded == len(store.keys)
    assert store.now <= store.pages_needed / 10
    assert most_ahead <= (PAGES_AHEAD + 0.3 * store.pages_needed) * store.page_size


@pytest.mark.parametrize("name", KEY_SETS)
def test_a_store_that_serves_one_request_after_the_other_is_asked_for_few_pages_in_vain(name: str) -> None:
    """The store is near, and busy: pages side by side arrive no faster, so that each page in vain is lost time."""
    store = SimulatedStore(KEY_SETS[name](10_000), page_size=50)
    store.is_serial = True
    assert store.list_split() == store.keys
    assert len(store.requests) <= 1.04 * store.pages_needed
    assert store.now <= 1.04 * store.pages_needed


def test_a_consumer_who_stops_has_caused_a_bounded_number_of_requests() -> None:
    store = SimulatedStore(KEY_SETS["counter"](10_000))
    pages = store.pages_split()
    for _ in range(60):
        next(pages)
    pages.close()
    assert len(store.requests) <= 1.3 * (60 + PAGES_AHEAD) + 1


characters = some.one_of(
    some.sampled_from("ab/~-0129"),
    some.sampled_from("é\u07ff\ud7ff\ue000\uffff\U00010000\U0010ffff"),
    some.characters(exclude_categories=["Cs"]),
)  # fmt: skip
texts = some.text(characters, min_size=1, max_size=6)
key_sets = some.one_of(
    some.lists(texts, max_size=300, unique=True),
    some.builds(
        lambda folders, names: [f"{folder}/{name}" for folder in folders for name in names],
        some.lists(texts, min_size=1, max_size=12, unique=True),
        some.lists(texts, min_size=1, max_size=25, unique=True),
    ),
    some.builds(
        lambda name, count, prefix: [prefix + key for key in KEY_SETS[name](count)],
        some.sampled_from([*KEY_SETS]), some.integers(100, 900), some.sampled_from(["", "é/", "a/b/"]),
    ),
)  # fmt: skip


def _utf_16(key: str) -> bytes:
    return key.encode("utf-16-be")


def _by_folders(key: str) -> list[bytes]:
    """The order of a store that walks a tree of folders: all of a/ comes before a-b."""
    return [name.encode() for name in key.split("/")]


def _ignoring_case(key: str) -> tuple[str, str]:
    return key.casefold(), key


@given(key_sets, some.integers(1, 12), some.booleans(), some.booleans())
@settings(max_examples=150, deadline=None)
def test_any_keys_are_listed_as_without_splitting(
    keys: list[str], page_size: int, starts_beyond_ascii: bool, is_compared: bool
) -> None:
    store = SimulatedStore(keys, page_size)
    assert store.list_split(starts_beyond_ascii=starts_beyond_ascii, is_compared=is_compared) == store.keys
    # Those in flight when the share for guesses is spent come on top.
    assert len(store.requests) <= 1.3 * max(store.pages_needed, 1) + CONCURRENCY


@given(key_sets, some.integers(1, 12), some.booleans(), some.sampled_from([_utf_16, _by_folders, _ignoring_case]))
@settings(max_examples=200, deadline=None)
def test_a_store_that_sorts_in_another_order_is_listed_as_without_splitting(
    keys: list[str], page_size: int, starts_beyond_ascii: bool, order: Callable[[str], Any]
) -> None:
    store = SimulatedStore(keys, page_size, order)
    assert store.list_split(starts_beyond_ascii=starts_beyond_ascii) == store.keys


def _keys_beside_folders(seed: int) -> set[str]:
    """Folders of different sizes, and keys named like them, so that a start falls between a/ and a-b."""
    chance = random.Random(seed)
    width, count = chance.randrange(1, 4), chance.choice([3, 10, 30])
    keys = set()
    for number in range(count):
        for mark in chance.sample(["/", "-", "-", "."], chance.randrange(1, 4)):
            size, ending = chance.choice([0, 3, 10, 40]), chance.choice(["", "/x", "-y"])
            keys |= {f"{number:0{width}d}{mark}{at:02d}{ending}" for at in range(size)}
    return keys


@pytest.mark.parametrize("page_size", [1, 2, 3, 5, 8])
def test_no_key_is_lost_by_a_store_that_walks_folders(page_size: int) -> None:
    for seed in range(200):
        store = SimulatedStore(_keys_beside_folders(seed), page_size, _by_folders)
        assert store.list_split() == store.keys, seed


def test_a_listing_from_whose_end_keys_are_deleted_ends_where_they_were() -> None:
    store = SimulatedStore([f"k{number:05d}" for number in range(800)])
    kept = store.keys[:200]

    def change(page: Page, start: str | None) -> Page:
        if len(store.requests) > 12:
            store.keys = kept
        return page

    store.change = change
    found = store.list_split(is_compared=False)
    assert found == sorted(set(found)) and set(kept) <= set(found)


@given(key_sets, some.integers(2, 9), some.randoms(use_true_random=False), some.booleans())
@settings(max_examples=100, deadline=None)
def test_keys_that_exist_throughout_are_listed_once_while_others_come_and_go(
    keys: list[str], page_size: int, chance: random.Random, is_compared: bool
) -> None:
    chance.shuffle(keys)
    kept, passing = keys[: len(keys) * 2 // 3], keys[len(keys) * 2 // 3 :]
    store = SimulatedStore(keys, page_size)

    def change(page: Page, start: str | None) -> Page:
        store.keys = sorted(kept + [key for key in passing if chance.random() < 0.5])
        return page

    store.change = change
    found = store.list_split(is_compared=is_compared)
    assert found == sorted(set(found))
    assert set(kept) <= set(found) <= {*kept, *passing}


def _ignoring_starts(store: SimulatedStore, page: Page, start: str | None) -> Page:
    return page if start is None else store.listed_after("")


def _losing_keys(store: SimulatedStore, page: Page, start: str | None) -> Page:
    return page if start is None else page._replace(objects=page.objects[1::2])


def _without_tokens(store: SimulatedStore, page: Page, start: str | None) -> Page:
    return page if start is None else page._replace(token=None)


def _empty(store: SimulatedStore, page: Page, start: str | None) -> Page:
    return page if start is None else Page([], [])


def _out_of_order(store: SimulatedStore, page: Page, start: str | None) -> Page:
    return page if start is None else page._replace(objects=page.objects[::-1])


def _failing(store: SimulatedStore, page: Page, start: str | None) -> Page | None:
    return None if len(store.requests) % 3 == 0 else page


@pytest.mark.parametrize("fault", [_ignoring_starts, _losing_keys, _without_tokens, _empty, _out_of_order, _failing])
@pytest.mark.parametrize("name", KEY_SETS)
def test_no_key_is_lost_where_starts_do_not_work(
    name: str, fault: Callable[[SimulatedStore, Page, str | None], Page | None]
) -> None:
    store = SimulatedStore(KEY_SETS[name](600))
    store.change = lambda page, start: fault(store, page, start)
    assert store.list_split() == store.keys
    assert len(store.requests) + len(store.asked_again) <= 1.5 * store.pages_needed + PAGES_AHEAD


def test_an_error_is_raised_at_its_position() -> None:
    """The keys before the page that cannot be listed are yielded first."""
    store = SimulatedStore(KEY_SETS["counter"](1000))
    broken = store.keys[499]
    store.change = lambda page, start: None if broken in _keys([page]) else page

    def ask_again(begun: int) -> Page:
        raise S3ServerError("broken")

    store.ask_again = ask_again  # type: ignore[method-assign]
    found: list[str] = []
    with pytest.raises(S3ServerError, match="broken"):
        for page in store.pages_split():
            found += _keys([page])
    assert found == store.keys[: len(found)] and 480 <= len(found) < 500


# -- the estimates


def test_a_counter_is_read_in_base_10_and_hours_in_base_24() -> None:
    spacing = KeySpacing()
    keys = _dates(2000)
    spacing.observe(keys)
    past, last = keys[0], keys[999]
    guess = spacing.ahead(past, last, 1, last, 3)
    assert guess is not None and _dates(3900)[-1] < guess < _dates(4100)[-1]
    assert 2.8 < spacing.pages_between(past, last, 1, last, _dates(4000)[3999]) < 3.2


def test_an_estimate_beyond_the_last_key_does_not_read_a_long_folder_once_per_character(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spacing, read = KeySpacing(), list[str]()
    keys = [f"{'a/' * 450}{number:09d}" for number in range(1000)]
    spacing.observe(keys)
    number = spacing._number
    monkeypatch.setattr(spacing, "_number", lambda key, *given: (read.append(key), number(key, *given))[1])
    assert spacing.ahead(keys[0], keys[-1], 1, keys[-1], 1e12) is None
    assert len(read) <= 30


@given(some.lists(texts, min_size=2, max_size=40, unique=True), some.integers(1, 6), some.floats(1, 6))
@settings(deadline=None)
def test_an_estimate_is_after_its_start(keys: list[str], pages: int, distance: float) -> None:
    spacing, keys = KeySpacing(), sorted(keys)
    spacing.observe(keys)
    guess = spacing.ahead(keys[0], keys[-1], pages, keys[-1], distance)
    assert guess is None or guess > keys[-1]
    assert spacing.pages_between(keys[0], keys[-1], pages, keys[-1], guess) >= 0


# -- real servers


def _random_keys(seed: int) -> dict[str, list[str]]:
    """Sets of keys, by prefix. No key is a folder of another one, which a file system could not hold."""
    chance = random.Random(seed)
    letters = "ab09-é\u07ff\ud7ff\ue000\ufffd\U00010000\U0010fffd"

    def word(most: int) -> str:
        return "".join(chance.choice(letters) for _ in range(chance.randrange(1, most)))

    return {
        "words/": [f"{word(6)}.x" for _ in range(120)],
        "skewed/": [f"{chance.choice('aaaaaaaaz')}/{chance.randrange(10**6):06d}" for _ in range(120)],
        "deep/": [f"{'x/' * 20}{chance.randrange(10**4):04d}" for _ in range(100)],
        "beside/": [f"{chance.choice('abc')}{chance.choice(['/', '-', '.d/'])}{chance.randrange(99):02d}.x" for _ in range(120)],
        "folders/": [f"{word(2)}/{word(4)}.x" for _ in range(120)],
    }  # fmt: skip


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of seven keys; each store counts as distant."""
    monkeypatch.setattr(listing, "_PAGE_SIZE", 7)
    monkeypatch.setattr(listing, "_WAIT_WORTH_SPLITTING", 0.0)
    monkeypatch.setattr(split_listing, "_WORTHWHILE", math.inf)


@pytest.mark.usefixtures("small_pages")
def test_a_server_s_keys_are_listed_as_page_by_page(bucket: S3Bucket) -> None:
    address, is_split, attempts, attempts_by_page = bucket._address, False, 0, 0
    for prefix, names in _random_keys(7).items():
        keys = {prefix + name for name in names}
        bucket.put_objects((key, b"") for key in sorted(keys))
        bucket.find(prefix).first()  # the lane is open
        with bucket.store.observe() as by_page:
            plain = _keys(listing.pages(address, prefix=prefix, sequential=True))
        with bucket.store.observe() as split:
            found = _keys(listing.pages(address, prefix=prefix))
        assert found == plain and sorted(found) == sorted(keys), prefix
        attempts, attempts_by_page = attempts + split.attempts, attempts_by_page + by_page.attempts
        is_split |= split.attempts != by_page.attempts
        start = plain[len(plain) // 3]
        assert _keys(listing.pages(address, prefix=prefix, start_after=start)) == plain[plain.index(start) + 1 :], (
            prefix
        )
    assert is_split is (os.environ.get("MFS3_LANE") != "shut")
    assert attempts <= 1.3 * attempts_by_page  # of all: in a short listing, one page that comes late costs more


@pytest.mark.usefixtures("small_pages")
def test_a_server_s_keys_that_exist_throughout_are_listed_once_while_others_come_and_go(bucket: S3Bucket) -> None:
    chance = random.Random(3)
    keys = [f"k{number:04d}" for number in chance.sample(range(10_000), 200)]
    kept, passing = keys[:150], keys[150:]
    bucket.put_objects((key, b"") for key in keys)
    found: list[str] = []
    for number, page in enumerate(listing.pages(bucket._address)):
        found += _keys([page])
        if number % 2:
            bucket[passing.pop()].delete()
            bucket.put_object(f"k{chance.randrange(10_000):04d}x", b"")
    assert found == sorted(set(found))
    assert set(kept) <= set(found)


# -- over HTTP


@pytest.fixture(scope="module")
def dated() -> Iterator[StatefulServer]:
    with run_stateful_server() as started:
        for key in _dates(1200):
            started.state.put(key, b"")
        yield started


@pytest.fixture
def filled(dated: StatefulServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[StatefulServer]:
    """A store of 60 pages with 20 keys each, which counts as distant."""

    def with_small_pages(asked: Asked) -> Answer:
        if "list-type" in asked.query:
            asked.query["max-keys"] = str(min(20, int(asked.query["max-keys"])))  # type: ignore[index]
        return None

    dated.state.before = with_small_pages
    dated.asked.clear()
    monkeypatch.setattr(listing, "_WAIT_WORTH_SPLITTING", 0.0)
    monkeypatch.setattr(split_listing, "_WORTHWHILE", math.inf)
    yield dated
    dated.state.before = None


def _bucket(server: StatefulServer, **changes: Any) -> S3Bucket:
    """A bucket of a store with a client of its own: equal stores share one, and with it what is known about the store."""
    config = server.connect().config
    return S3Store(config.replace(read_timeout=60 + next(_numbers), **changes)).bucket("bkt")


def _starts(server: StatefulServer) -> int:
    return sum("start-after" in asked.query for asked in server.asked)


@pytest.mark.lane
def test_a_long_listing_is_split(filled: StatefulServer) -> None:
    keys = sorted(filled.state.objects)
    assert [obj.key for obj in _bucket(filled).find()] == keys
    assert _starts(filled) > 5 and 60 < len(filled.asked) <= 78


def test_a_sequential_query_requests_each_page_once(filled: StatefulServer) -> None:
    bucket, keys = _bucket(filled), sorted(filled.state.objects)
    assert [obj.key for obj in bucket.find().sequential()] == keys
    assert (_starts(filled), len(filled.asked)) == (0, 60)
    assert bucket.find().sequential().collect()[-1].key == keys[-1]
    with pytest.raises(ValueError, match="no criteria"):
        bucket.find().sequential().delete()


def test_limits_and_page_sizes_cost_what_they_did(filled: StatefulServer) -> None:
    bucket = _bucket(filled)
    assert bucket.find().first() is not None
    assert len(bucket.find().limit(100).collect()) == 100
    assert len(bucket.find().filter(lambda obj: True).limit(100).collect()) == 100
    assert len([*bucket.find_objects(max_keys=20)]) == 1200
    assert len(bucket.find(delimiter="/").collect()) == 0
    assert _starts(filled) == 0
    assert len(filled.asked) <= 1 + 6 + 6 + 60 + 2


@pytest.mark.parametrize("changes", [
    {"preset": "r2"}, {"preset": "gcs"}, {"capabilities": Capabilities(list_v2=True, start_after_beyond_ascii=False)},
], ids=["r2", "gcs", "starts lose keys"])  # fmt: skip
def test_some_stores_are_never_asked_in_several_places(filled: StatefulServer, changes: dict[str, Any]) -> None:
    assert _bucket(filled, **changes).find().count() == 1200
    assert (_starts(filled), len(filled.asked)) == (0, 60)


def test_pages_that_arrive_in_time_are_requested_one_by_one(
    filled: StatefulServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "_WAIT_WORTH_SPLITTING", 1e6)
    assert _bucket(filled).find().count() == 1200
    assert (_starts(filled), len(filled.asked)) == (0, 60)


@pytest.mark.lane
def test_as_many_listings_are_split_as_the_process_has_connections_for(
    filled: StatefulServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are read page by page, and none holds connections once it has ended or was left."""
    budget = ConnectionBudget(2 * CONCURRENCY + 1)
    monkeypatch.setattr(listing, "FURTHER", budget)
    bucket, keys = _bucket(filled), sorted(filled.state.objects)
    running = [bucket.find().objects() for _ in range(3)]
    begun = [[next(found).key for _ in range(200)] for found in running]
    assert budget.left == 1
    starts = _starts(filled)
    assert begun[2] + [obj.key for obj in running[2]] == keys
    assert (_starts(filled), budget.left) == (starts, 1)
    assert begun[0] + [obj.key for obj in running[0]] == keys
    running[1].close()  # type: ignore[attr-defined]
    assert budget.left == 2 * CONCURRENCY + 1


@pytest.mark.lane
def test_a_store_that_ignores_starts_is_not_asked_again(filled: StatefulServer) -> None:
    small_pages = filled.state.before
    assert small_pages is not None

    def without_start(asked: Asked) -> Answer:
        small_pages(asked)
        if asked.query.get("start-after"):
            asked.query["start-after"] = ""  # type: ignore[index]
        return None

    filled.state.before = without_start
    bucket, keys = _bucket(filled), sorted(filled.state.objects)
    while (
        bucket._address.connection.facts.get(listing._STARTS) is not False
    ):  # a guess that comes late is not looked at
        assert len(filled.asked) < 1000
        assert [obj.key for obj in bucket.find()] == keys
    starts = sum("start-after" in asked.query for asked in filled.asked)
    assert 1 <= starts <= 2 * len(filled.asked) / 60
    assert [obj.key for obj in bucket.find()] == keys
    assert sum("start-after" in asked.query for asked in filled.asked) == starts


@pytest.mark.lane
def test_refused_pages_are_requested_through_boto3_by_their_token_only(filled: StatefulServer) -> None:
    """boto3 requests encoded keys, and some stores compare a start with those."""
    small_pages, refused = filled.state.before, list[str]()
    assert small_pages is not None

    def refusing(asked: Asked) -> Answer:
        if "list-type" in asked.query and "encoding-type" not in asked.query and len(filled.asked) % 4 == 0:
            refused.append(asked.target)
            return refusal(503, "SlowDown")
        return small_pages(asked)

    filled.state.before = refusing
    assert [obj.key for obj in _bucket(filled).find()] == sorted(filled.state.objects)
    assert refused
    assert not any({"encoding-type", "start-after"} <= asked.query.keys() for asked in filled.asked)


def test_a_part_of_a_listing_ends_where_it_should(filled: StatefulServer) -> None:
    bucket, keys = _bucket(filled), sorted(filled.state.objects)
    part = bucket.find(start_after=keys[99])._refined(stop_before=keys[900])
    assert [obj.key for obj in part] == keys[100:900]
    assert len(filled.asked) <= 1.3 * 40 + 2
    assert [obj.key for one in bucket.find().partitions(3) for obj in one] == keys
    assert [obj.key for obj in bucket.find().parallel(3)] == keys
    assert [obj.key for obj in bucket.find(prefix=keys[0][:12])] == [key for key in keys if key[:12] == keys[0][:12]]


def _open_descriptors() -> int:
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def test_an_iteration_that_is_left_closes_its_connections(filled: StatefulServer) -> None:
    bucket = _bucket(filled)
    assert bucket.find().count() == 1200
    before = _open_descriptors()
    for _ in range(10):
        found = iter(bucket.find())
        for _ in range(200):
            next(found)
        del found
    gc.collect()
    wait_until(
        lambda: _open_descriptors() <= before + CONCURRENCY
    )  # the server notices a little later that one is gone


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_goes_on_by_itself(filled: StatefulServer) -> None:
    bucket, keys = _bucket(filled), sorted(filled.state.objects)
    found = bucket.find().objects()
    begun = [next(found).key for _ in range(200)]
    child = os.fork()
    if not child:  # pragma: no cover - in the child
        os._exit(0 if begun + [obj.key for obj in found] == keys else 1)
    rest = [obj.key for obj in found]
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert begun + rest == keys


@pytest.mark.lane
def test_the_async_query_is_split_too(filled: StatefulServer) -> None:
    import asyncio

    from messageflux_s3.aio import async_connect

    keys = sorted(filled.state.objects)

    async def run() -> tuple[list[str], list[str]]:
        settings = {"access_key": "ACCESSKEY01", "secret_key": "SECRETKEY0123456", "region": "us-east-1"}
        async with async_connect(filled.endpoint_url, **settings) as store:
            bucket = store.bucket("bkt")
            split = [obj.key async for obj in bucket.find()]
            starts = _starts(filled)
            assert starts > 5
            sequential = [obj.key async for obj in bucket.find().sequential()]
            assert _starts(filled) == starts
            return split, sequential

    assert asyncio.run(run()) == (keys, keys)


@pytest.mark.lane
def test_a_long_listing_that_is_not_in_key_order_is_listed_as_without_splitting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The splitting ends at the page with which it began: its token is not a repeated one."""
    monkeypatch.setattr(listing, "_WAIT_WORTH_SPLITTING", 0.0)
    keys = [f"{name}{number:02d}" for name in ("a-", "a/", "a.") for number in range(10)]

    def with_small_pages(asked: Asked) -> Answer:
        if "list-type" in asked.query:
            asked.query["max-keys"] = "7"  # type: ignore[index]
        return None

    with run_stateful_server("folders walked") as server:
        for key in keys:
            server.state.put(key, b"")
        server.state.before = with_small_pages
        found = [obj.key for obj in _bucket(server).find()]
    assert found != sorted(found) == sorted(keys)
