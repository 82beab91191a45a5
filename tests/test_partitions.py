"""Partitions of a listing: disjoint and complete for any keys, in the order of their UTF-8 bytes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some
from support.scripted_server import Answer, Asked, ScriptedServer, document
from support.stateful_server import StatefulServer, run_stateful_server

from messageflux_s3 import S3Unsupported
from messageflux_s3._bulk.partitions import key_ranges

# Characters at the borders of what text can hold: before and behind the surrogates, the last one, those that XML cannot carry.
BORDERS = "\x01\x7f\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010fffe\U0010ffff"
characters = some.one_of(
    some.sampled_from(BORDERS), some.sampled_from("ab/~"), some.characters(exclude_categories=["Cs"])
)
texts = some.text(characters.filter(lambda character: character not in "\0\ufffd"), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def server() -> Iterator[StatefulServer]:
    with run_stateful_server() as started:
        yield started


@given(
    names=some.lists(some.text(some.sampled_from("ab/~é"), max_size=6), max_size=40, unique=True), n=some.integers(1, 9)
)
def test_partitions_contain_every_key_once_and_take_few_requests(names: list[str], n: int) -> None:
    """About 4 samples per range and 20 to find the last key, besides one for each character that all keys share."""
    keys, asked = sorted(names, key=str.encode), 0

    def first_key_after(text: str) -> str | None:
        nonlocal asked
        asked += 1
        return next((key for key in keys if key > text), None)

    ranges = key_ranges(first_key_after, n)
    parts = [
        [key for key in keys if key > start and (stop is None or key < stop)] if start else
        [key for key in keys if stop is None or key < stop]
        for start, stop in ranges
    ]  # fmt: skip
    assert 1 <= len(ranges) <= n
    assert [key for part in parts for key in part] == keys
    assert asked <= 4 * n + 4 * 7 + 8


@pytest.mark.parametrize("lane", [True, False], ids=["lane", "boto3"])
@given(shared=texts, endings=some.lists(texts, max_size=12, unique=True), n=some.integers(1, 5))
@settings(max_examples=12, deadline=None)
@example(shared="\ud7ff", endings=["a", "b", "\ud7ff"], n=3)
@example(shared="\U0010ffff", endings=["a", "\U0010ffff", "\U0010ffff\U0010ffff"], n=3)
@example(shared="\U0010ffff\ud7ff", endings=["\ud7ff", "\ue000", "\uffff", "\U00010000"], n=4)
def test_partitions_are_disjoint_and_complete_in_the_order_of_utf8(
    server: StatefulServer, lane: bool, shared: str, endings: list[str], n: int
) -> None:
    """Also where all keys share the last character before the surrogates, or the last one of all, which has no successor."""
    server.state.objects.clear()
    for ending in endings:
        server.state.put(shared + ending, b"")
    bucket = server.bucket(lane=lane)
    if endings:
        assert bucket.object(shared + endings[0]).exists()
    in_order = sorted((shared + ending for ending in endings), key=str.encode)
    parts = [[obj.key for obj in part] for part in bucket.find().partitions(n)]
    assert len(parts) <= n
    assert [key for part in parts for key in part] == in_order
    assert [obj.key for obj in bucket.find().parallel(n)] == in_order
    assert [obj.key for part in bucket.find(prefix=shared).partitions(n) for obj in part] == in_order


def test_keys_that_share_a_character_beyond_ascii_are_still_cut_into_parts(server: StatefulServer) -> None:
    """The shared beginning is found, so that the borders lie among the keys."""
    for shared in ("\ud7ff", "\U0010ffff", "a\U0010ffff\ud7ff"):
        server.state.objects.clear()
        for number in range(100):
            server.state.put(f"{shared}{number:02d}", b"")
        counts = [len([*part]) for part in server.bucket().find().partitions(4)]
        assert sum(counts) == 100
        assert max(counts) < 50


@pytest.mark.parametrize("lane", [True, False], ids=["lane", "boto3"])
def test_no_key_is_lost_by_a_store_that_walks_folders(lane: bool) -> None:
    """After ``a-b`` SeaweedFS lists nothing of ``a/``, which comes later in key order: a part that begins there would lose it all."""
    keys = ["0", *(f"{name}{number:02d}" for name in ("a/", "a-b", "a.c/", "d/e/", "d/e-") for number in range(30))]
    with run_stateful_server("folders walked") as server:
        for key in keys:
            server.state.put(key, b"")
        for n in (2, 3, 5):
            assert sorted(obj.key for part in server.bucket(lane=lane).find().partitions(n) for obj in part) == sorted(
                keys
            )
            assert sorted(obj.key for obj in server.bucket(lane=lane).find("d/").parallel(n)) == sorted(keys[-60:])
        for start in ("a-b15", "a/15", "a.c/", "a.", "a", "d/e-15", "d/e/15", "d"):
            bucket = server.bucket(lane=lane)
            for _ in range(2):
                assert sorted(obj.key for obj in bucket.find(start_after=start)) == sorted(
                    key for key in keys if key > start
                )
        bucket = server.bucket(lane=lane)
        with pytest.raises(S3Unsupported, match="cannot list prefixes after a key"):
            list(bucket.find(start_after="a-b15", delimiter="/").entries())


def test_a_store_in_key_order_is_asked_once() -> None:
    """A folder beside the start has to have keys to show the order; until then each listing with such a start asks."""
    keys = ("a-b", "a-c", "a/x", "c")
    with run_stateful_server() as server:
        for key in keys:
            server.state.put(key, b"")
        bucket = server.bucket()
        for start, requests in (("c", 1), ("c-d", 2), ("a-b", 3), ("a-b", 1), ("c-d", 1)):
            server.asked.clear()
            assert [obj.key for obj in bucket.find(start_after=start)] == [key for key in keys if key > start]
            assert len(server.asked) == requests, start


@pytest.mark.parametrize("n", [2, 3, 5, 8])
def test_the_trees_of_the_parts_show_every_prefix_that_has_keys_in_them(
    scripted_server: ScriptedServer, n: int
) -> None:
    """On stores that list the prefix in which ``start_after`` lies, and on those that leave it out."""
    keys = sorted(f"{top}/{number:02d}" for top in "abc" for number in range(12))

    for is_first_listed in (True, False):

        def answer(asked: Asked, is_first_listed: bool = is_first_listed) -> Answer:
            prefix, start = asked.query.get("prefix", ""), asked.query.get("start-after", "")
            delimiter, most = asked.query.get("delimiter", ""), int(asked.query.get("max-keys", "1000"))
            found: list[str] = []
            for key in keys:
                rest = key[len(prefix) :]
                name = prefix + rest.partition("/")[0] + "/" if delimiter and "/" in rest else key
                if key.startswith(prefix) and (key if is_first_listed else name) > start and name not in found:
                    found.append(name)
            inside = "".join(
                f"<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>"
                if name.endswith("/")
                else f"<Contents><Key>{name}</Key><LastModified>2026-11-21T05:00:00.000Z</LastModified>"
                f"<ETag>e</ETag><Size>1</Size><StorageClass>STANDARD</StorageClass></Contents>"
                for name in found[:most]
            )
            return document("ListBucketResult", f"<IsTruncated>false</IsTruncated>{inside}")

        scripted_server.answer = answer
        for part in scripted_server.bucket().find().partitions(n):
            its_keys = [obj.key for obj in part]
            text = part.tree(entries=50).text
            assert [line.split()[-1] for line in text.splitlines() if line.endswith("/")][1:] == sorted(
                {key[:2] for key in its_keys}
            )
            assert text.count(" 1 B") == len(its_keys)
