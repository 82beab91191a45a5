"""Usage reports, and the representations of stores, buckets, objects and queries."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from support.request_counting import Counted

from messageflux_s3 import BatchResult, Capabilities, Failure, LifecycleRule, S3Bucket, S3Error, S3NoSuchBucket
from messageflux_s3._bulk.listing import Listed
from messageflux_s3._display import usage
from messageflux_s3._display.usage import Tally, measure

NOW = datetime(2026, 11, 1, tzinfo=timezone.utc)


def entry(
    key: str, size: int, moment: str | datetime = "2026-10-31T12:00:00.000Z", storage_class: str = "STANDARD"
) -> Listed:
    """An entry as the listing gives it: text."""
    return Listed(key, moment, "etag", str(size), storage_class)


def test_usage_sums_by_prefix_extension_storage_class_size_and_age() -> None:
    """Count, bytes, times; by prefix, extension, storage class, size and age."""
    found = measure(
        [
            entry("a/1.JSON", 10, "2026-10-31T12:00:00.000Z"),
            entry("a/b/2.json", 2000, "2020-01-01T00:00:00.000Z", "GLACIER"),
            entry("c/.hidden", 0, "2026-09-01T00:00:00.000Z"),
            entry("top", 5_000_000, datetime(2026, 1, 1, tzinfo=timezone.utc), ""),
        ],
        where="here",
        now=NOW,
    )
    assert (found.count, found.bytes) == (4, 5_002_010)
    assert (found.oldest, found.newest) == (
        datetime(2020, 1, 1, tzinfo=timezone.utc),
        datetime(2026, 10, 31, 12, tzinfo=timezone.utc),
    )
    assert {name: (tally.count, tally.bytes) for name, tally in found.by_prefix.items()} == {
        "a/": (2, 2010),
        "c/": (1, 0),
        "": (1, 5_000_000),
    }
    assert {name: tally.count for name, tally in found.by_extension.items()} == {"": 2, ".json": 2}
    assert {name: tally.count for name, tally in found.by_storage_class.items()} == {"STANDARD": 3, "GLACIER": 1}
    assert {name: tally.count for name, tally in found.by_size.items() if tally.count} == {
        "empty": 1,
        "< 1 KiB": 1,
        "< 32 KiB": 1,
        "< 8 MiB": 1,
    }
    assert {name: tally.count for name, tally in found.by_age.items() if tally.count} == {
        "< 1 day": 1,
        "< 90 days": 1,
        "< 1 year": 1,
        "3 years and more": 1,
    }


@pytest.mark.parametrize(
    ("prefix", "depth", "groups"),
    [
        ("", 0, {""}),
        ("", 1, {"2025/", "2026/"}),
        ("", 2, {"2025/12/", "2026/01/"}),
        ("", 9, {"2025/12/", "2026/01/"}),
        ("20", 1, {"2025/", "2026/"}),
        ("2026/", 1, {"2026/01/"}),
        ("2026/01/", 1, {"2026/01/"}),
    ],
)
def test_depth_counts_levels_from_the_prefix(prefix: str, depth: int, groups: set[str]) -> None:
    """depth is the number of levels below the prefix that are counted separately."""
    keys = [key for key in ("2025/12/a", "2026/01/b", "2026/01/c") if key.startswith(prefix)]
    assert {*measure([entry(key, 1) for key in keys], where="", prefix=prefix, depth=depth).by_prefix} == groups


@pytest.mark.parametrize(
    ("age", "name"), [(timedelta(0), "< 1 day"), (timedelta(days=2), "< 1 week"), (timedelta(days=400), "< 3 years")]
)
def test_each_age_falls_into_its_range(age: timedelta, name: str) -> None:
    """An age falls into its range."""
    found = measure([entry("k", 1, NOW - age)], where="", now=NOW)
    assert [group for group, tally in found.by_age.items() if tally.count] == [name]


def test_prefixes_beyond_the_limit_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefixes beyond the limit are counted together, and nothing is lost."""
    monkeypatch.setattr(usage, "MOST_GROUPS", 3)
    found = measure((entry(f"{n}/x", 1) for n in range(10)), where="")
    assert {name: tally.count for name, tally in found.by_prefix.items()} == {
        "0/": 1,
        "1/": 1,
        "2/": 1,
        usage.OTHERS: 7,
    }


def test_usage_of_an_empty_prefix_is_empty() -> None:
    """An empty prefix has no oldest object."""
    found = measure([], where="here")
    assert (found.count, found.bytes, found.oldest, found.newest) == (0, 0, None, None)
    assert found.by_size["empty"] == Tally(0, 0, None, None)
    assert "objects  0" in repr(found)
    assert found.plot() is not None
    assert len(found.to_pandas()) == 0


@pytest.mark.parametrize(("depth", "error"), [(-1, ValueError), (True, TypeError), ("1", TypeError)])
def test_an_invalid_depth_raises(depth: object, error: type[Exception]) -> None:
    """Invalid arguments raise errors that name the argument."""
    with pytest.raises(error, match="depth"):
        measure([], where="", depth=depth)  # type: ignore[arg-type]


def test_usage_of_a_bucket_sums_its_objects_on_real_servers(bucket: S3Bucket) -> None:
    """A bucket's usage on real servers, also of filtered queries."""
    bucket.put_objects([("a/1.txt", "xx"), ("a/2.csv", "xxx"), ("b/3.txt", "x")])
    found = bucket.usage()
    assert (found.count, found.bytes, [*found.by_prefix]) == (3, 6, ["a/", "b/"])
    assert found.newest is not None and abs(datetime.now(timezone.utc) - found.newest) < timedelta(hours=1)
    assert bucket.usage("a/").bytes == 5
    assert bucket.find(glob="**/*.txt").usage().count == 2
    assert bucket.find(limit=2).usage().count == 2
    assert bucket.find().filter(lambda obj: obj.text == "x").usage().bytes == 1


def test_usage_tables_are_typed_data_frames() -> None:
    """Each table is a DataFrame with typed columns."""
    found = measure([entry("a/1.txt", 2), entry("b/2.csv", 3)], where="")
    frame = found.to_pandas()
    assert frame["prefix"].tolist() == ["a/", "b/"] and frame["bytes"].tolist() == [2, 3]
    assert str(frame["newest"].dtype).endswith("UTC]")
    assert found.to_pandas("extension")["extension"].tolist() == [".csv", ".txt"]
    with pytest.raises(ValueError, match="by must be"):
        found.to_pandas("colour")  # type: ignore[arg-type]


def test_plot_draws_an_image() -> None:
    """The drawing is an image, dollar signs and control characters in names included."""
    found = measure([entry(f"{n}$x^{{/{n}\x1b", 10 * n) for n in range(40)], where="$s3")
    image = found.plot()._repr_png_()  # type: ignore[attr-defined]
    assert image.startswith(b"\x89PNG") and len(image) > 10_000


@pytest.mark.parametrize(
    ("module", "call", "extra"), [("pandas", "to_pandas", "pandas"), ("matplotlib.figure", "plot", "plot")]
)
def test_a_missing_extra_is_named(module: str, call: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing library raises an error that names the extra to install."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"pip install 'messageflux-s3\[{extra}\]'"):
        getattr(measure([], where=""), call)()


# -- show -------------------------------------------------------------------------------------------------------------------------------


def test_reprs_send_no_request(counted: Counted) -> None:
    """repr and _repr_html_ send no request."""
    obj = counted.bucket.put_object("<script>.txt", "hello", {"who": "<b>me</b>"})
    listed = counted.bucket.find().first()
    query = counted.bucket.find(prefix="<i>", glob="<i>*", min_size=3).filter(lambda _: True)
    with counted.recording() as requests:
        for thing in (counted.store, counted.bucket, obj, listed, counted.bucket["other"], query):
            assert repr(thing)
            html = thing._repr_html_()  # type: ignore[union-attr]
            assert 'class="mfs3"' in html
            assert "<script" not in html and "<i>*" not in html
    assert requests == []
    assert "5 B" in obj._repr_html_()


def test_show_sends_the_documented_number_of_requests(counted: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    """show() sends the documented number of requests."""
    monkeypatch.setattr(
        "messageflux_s3._display.show.MOST_BUCKETS", 10**6
    )  # other tests' buckets are still there, hundreds by now
    counted.bucket.put_objects([("a/1", "x"), ("b", "xyz")])
    with counted.recording() as requests:
        assert counted.bucket.name in counted.store.show().text
    assert len(requests) == 1
    with counted.recording() as requests:
        shown = counted.bucket.show()
    assert len(requests) <= 7
    for word in ("versioning", "lifecycle", "public", "encryption", "a/", "3 B"):
        assert word in shown.text
    with counted.recording() as requests:
        assert "there are more" in counted.bucket.find().show(1).text
    assert len(requests) == 1
    assert "nothing found" in counted.bucket.find("zzz").show().text


def test_show_reports_unsupported_settings_and_raises_for_a_missing_bucket(bucket: S3Bucket) -> None:
    """An unsupported setting is shown as such; a missing bucket raises."""
    bucket.put_object("k", "v")
    assert "k" in bucket.show().text
    missing = bucket.store.bucket("no-such-bucket-anywhere")
    with pytest.raises(S3NoSuchBucket):
        missing.show()


def test_a_tree_lists_only_what_it_shows(counted: Counted) -> None:
    """One request for each prefix that is opened."""
    counted.bucket.put_objects((f"{top}/{n}/x", "12") for top in "ab" for n in range(5))
    with counted.recording() as requests:
        shown = counted.bucket.find().tree(depth=1)
    assert shown.text.splitlines()[1:] == ["├── a/", "└── b/"]
    assert len(requests) == 1
    with counted.recording() as requests:
        shown = counted.bucket.find(prefix="a/").tree(depth=2, entries=2)
    assert shown.text.splitlines()[1:] == [
        "├── 0/",
        "│   └── x  2 B",
        "├── 1/",
        "│   └── x  2 B",
        "└── …  there are more",
    ]
    assert len(requests) == 3
    assert "<details open>" in shown.html
    with pytest.raises(ValueError, match="versions"):
        counted.bucket.find(versions=True).tree()
    with pytest.raises(ValueError, match="depth"):
        counted.bucket.find().tree(0)


def test_completion_is_bounded(counted: Counted) -> None:
    """Completion of bucket["… lists one page; for a missing bucket it returns nothing."""
    counted.bucket.put_objects((f"{n:04d}", b"") for n in range(1200))
    with counted.recording() as requests:
        assert counted.bucket._ipython_key_completions_() == [f"{n:04d}" for n in range(1000)]
    assert len(requests) == 1
    assert counted.store.bucket("no-such-bucket-here")._ipython_key_completions_() == []


def test_results_and_settings_have_html_representations(moto_bucket: S3Bucket, tmp_path: Path) -> None:
    """Results, plans, rules, changes and capabilities have HTML representations, in which hostile names are escaped."""
    nasty = "<script>alert(1)<"
    (tmp_path / nasty).write_text("x")
    error = S3Error(nasty, code="SlowDown", bucket="b", key=nasty)
    change = moto_bucket.lifecycle.ensure(LifecycleRule(nasty, prefix=nasty, expire_days=3), dry_run=True)
    shown = [
        BatchResult([], [Failure(nasty, None, error)])._repr_html_(),
        moto_bucket.sync_from_folder(tmp_path, "docs", dry_run=True)._repr_html_(),
        change._repr_html_(),
        change.after._repr_html_(),
    ]
    for html in shown:
        assert "<script" not in html and "&lt;script&gt;alert(1)&lt;" in html
    assert "not asked" in Capabilities()._repr_html_()
    assert "succeeded" in BatchResult(["a"], [])._repr_html_()
    many = BatchResult([f"{n}" for n in range(100_000)], [Failure("k", None, error)])
    assert repr(many) == f"<BatchResult: 100,000 succeeded, 1 failed; the first: {error}>"


@pytest.mark.parametrize("moment", ["2026-01-01T01:00:00+01:00", "2026-01-01T00:00:00"])
def test_times_in_any_form_are_compared_in_utc(moment: str) -> None:
    """As it is compared."""
    assert usage._text(moment) == "2026-01-01T00:00:00"
