"""Trees in a notebook: what tree() counts, and the widget that lists a prefix when it is opened."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from support.request_counting import Counted

from messageflux_s3 import S3Bucket


def rows_of(html: str) -> dict[str, str]:
    """Return the text beside each name in a tree's HTML."""
    return dict(re.findall(r'class="mf-leaf"><bdi dir="ltr">([^<]*?)</bdi> <span class="mf-note">([^<]*)</span>', html))


def test_a_tree_gives_number_and_size_of_the_prefixes_that_were_listed(moto_bucket: S3Bucket) -> None:
    moto_bucket.put_objects((f"a/{n}/x", "12") for n in range(3))
    moto_bucket.put_objects((f"b/{n:04d}", "1") for n in range(30))
    rows = rows_of(moto_bucket.find().tree(depth=3, entries=5).html)
    assert rows["a/"] == "3 objects, 6 B" and rows["0/"] == "1 object, 2 B"
    assert rows["b/"] == "30 objects, 30 B"  # five are shown, all were listed by the same request
    assert rows_of(moto_bucket.find().tree(depth=2).html)["a/"] == "…"  # its prefixes were not listed
    assert rows_of(moto_bucket.find().tree(depth=1).html)["a/"] == "…"


def test_a_prefix_of_which_only_a_part_was_listed_is_not_counted_as_whole(moto_bucket: S3Bucket) -> None:
    moto_bucket.put_objects((f"a/{n:04d}", "1") for n in range(1005))
    moto_bucket.put_objects((f"b/{n}", "1") for n in range(9))
    rows = rows_of(moto_bucket.find().tree(entries=3).html)
    assert rows["a/"] == "998 objects, 998 B and more …" and rows["b/"] == "9 objects, 9 B"
    filtered = rows_of(moto_bucket.find(min_size=1).tree(entries=3).html)
    assert filtered["b/"] == "4 objects, 4 B and more …"  # a filter of ours ends a listing at the entries shown


def test_a_tree_lists_at_most_a_hundred_prefixes_the_upper_levels_first(counted: Counted) -> None:
    counted.bucket.put_objects((f"{a:02d}/{b:02d}/x", "") for a in range(12) for b in range(12))
    with counted.recording() as requests:
        shown = counted.bucket.find().tree(depth=4)
    assert len(requests) == 100
    assert "the first 100 prefixes were listed" in shown.html
    rows = re.findall(r'<summary class="mf-leaf"><bdi dir="ltr">(\d\d/)', shown.html)
    assert {f"{a:02d}/" for a in range(12)} <= {*rows}


def test_a_large_tree_is_folded_below_its_first_lines(moto_bucket: S3Bucket) -> None:
    moto_bucket.put_objects((f"{a}/{b}/x{c}", "") for a in range(5) for b in range(5) for c in range(3))
    html = moto_bucket.find().tree(depth=3).html
    assert html.count("<details") == 30
    assert html.count("<details open>") == 8  # the five prefixes of the first level, and three of the second: 39 lines
    assert re.search(r'<ul aria-label="s3://[^"]*/">', html)


# -- browse() ----------------------------------------------------------------------------------------------------------------------------


def pressable(widget: Any) -> Iterator[Any]:
    """Yield the buttons of a widget that are visible."""
    if type(widget).__name__ == "Button":
        yield widget
    for child in getattr(widget, "children", ()):
        if child.layout.display != "none":
            yield from pressable(child)


def button(browser: Any, begin: str) -> Any:
    return next(each for each in pressable(browser._widget) if each.description[2:].startswith(begin))


@pytest.fixture
def widgets() -> Any:
    return pytest.importorskip("ipywidgets")


def test_browse_lists_a_prefix_when_it_is_opened_and_only_once(widgets: Any, counted: Counted) -> None:
    counted.bucket.put_objects([("a/1", "x"), ("a/<b>/2", "x"), ("c.csv", "n\n7\n")])
    with counted.recording() as requests:
        browser = counted.bucket.find().browse()
    assert len(requests) == 1
    with counted.recording() as requests:
        bundle = browser._repr_mimebundle_()
    assert requests == []
    assert {"text/plain", "text/html", "application/vnd.jupyter.widget-view+json"} == {*bundle}
    assert [each.description for each in pressable(browser._widget)] == ["▸ a/", "▸ c.csv  4 B"]
    folder = button(browser, "a/")
    with counted.recording() as requests:
        for _ in range(3):
            folder.click()
    assert len(requests) == 1
    told = "a/  1 object, 1 B and more …"
    assert folder.description == f"▾ {told}" and folder.tooltip == "Close a/"
    assert [each.description[2:] for each in pressable(browser._widget)] == [told, "1  1 B", "<b>/", "c.csv  4 B"]
    folder.click()
    assert [each.description for each in pressable(browser._widget)] == [f"▸ {told}", "▸ c.csv  4 B"]
    assert "<b>/" not in browser._repr_html_() and "&lt;b&gt;/" in browser._repr_html_()


def test_rows_of_a_browser_begin_at_the_left(widgets: Any, moto_bucket: S3Bucket) -> None:
    """A button centres its text, so that it must be as wide as its text; and names from right to left stay where they are."""
    moto_bucket.put_objects([("a", "x"), ("קלט/b", "x")])
    browser = moto_bucket.find().browse()
    browser._repr_mimebundle_()
    rows = [*pressable(browser._widget)]
    assert [(row.layout.width, row.layout.align_self) for row in rows] == [("auto", "flex-start")] * 2
    assert [row.description for row in rows] == ["▸ a  1 B", "▸ \u2066קלט/\u2069"]
    rows[1].click()
    assert rows[1].description == "▾ \u2066קלט/\u2069  1 object, 1 B"


def test_browse_previews_an_object_when_it_is_chosen(widgets: Any, counted: Counted) -> None:
    counted.bucket.put_object("c.csv", "<b>n</b>\n7\n")
    browser = counted.bucket.find().browse()
    browser._repr_mimebundle_()
    with counted.recording() as requests:
        button(browser, "c.csv").click()
    assert len(requests) == 1
    shown = browser._widget.children[1].children[1].children[0].value
    assert "&lt;b&gt;n" in shown and "<td" in shown


def test_browse_shows_an_error_in_its_place_and_tries_again(widgets: Any, moto_bucket: S3Bucket) -> None:
    obj = moto_bucket.put_object("gone", "x")
    browser = moto_bucket.find().browse()
    browser._repr_mimebundle_()
    obj.delete()
    row = browser._widget.children[1]
    button(browser, "gone").click()
    assert "NoSuchKey" in row.children[1].children[0].value
    moto_bucket.put_object("gone", "back again")
    for _ in range(2):
        button(browser, "gone").click()
    assert "back again" in row.children[1].children[0].value


def test_browse_is_a_static_tree_without_ipywidgets(moto_bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    moto_bucket.put_objects([("a/1", "x"), ("c", "x"), ("d", "x")])
    browser = moto_bucket.find().browse(entries=2)
    bundle = browser._repr_mimebundle_()
    assert {*bundle} == {"text/plain", "text/html"}
    assert repr(browser).splitlines()[1:] == ["├── a/", "├── c  1 B", "└── …  there are more"]


def test_browse_refuses_versions_and_invalid_numbers(moto_bucket: S3Bucket) -> None:
    with pytest.raises(ValueError, match="versions"):
        moto_bucket.find(versions=True).browse()
    with pytest.raises(ValueError, match="entries"):
        moto_bucket.find().browse(entries=0)
    with pytest.raises(TypeError, match="entries"):
        moto_bucket.find().tree(entries="5")  # type: ignore[arg-type]


def test_a_tree_without_entries_says_so(moto_bucket: S3Bucket) -> None:
    """As a tree and as a browser, in a terminal and in a notebook."""
    for shown in (moto_bucket.find("none/").tree(), moto_bucket.find("none/").browse()):
        assert repr(shown).endswith("nothing found") and "nothing found" in shown._repr_html_()
