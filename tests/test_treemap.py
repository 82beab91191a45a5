"""Treemaps: the areas of their rectangles, and the SVG with and without style sheets."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from messageflux_s3._display import treemap
from messageflux_s3._display.usage import Usage, measure


def usage_of(sizes: dict[str, int]) -> Usage:
    moment = "2026-10-31T12:00:00.000Z"
    return measure([(key, moment, "etag", str(size), "STANDARD") for key, size in sizes.items()], where="s3://b/")  # type: ignore[misc]


@given(st.dictionaries(st.text(max_size=4), st.integers(0, 2**50), max_size=40))
def test_areas_are_in_proportion_to_sizes_and_fill_the_map_without_overlap(sizes: dict[str, int]) -> None:
    placed = treemap.boxes(sizes)
    assert len(placed) <= 25
    total = sum(sizes.values())
    assert sum(box.size for box in placed) == total
    for box in placed:
        assert box.width * box.height == pytest.approx(box.size / total, abs=1e-9)
        assert box.left >= -1e-9 and box.top >= -1e-9
        assert box.left + box.width <= 1 + 1e-6 and box.top + box.height <= 1 + 1e-6
    for at, one in enumerate(placed):
        for other in placed[:at]:
            across = min(one.left + one.width, other.left + other.width) - max(one.left, other.left)
            down = min(one.top + one.height, other.top + other.height) - max(one.top, other.top)
            assert across < 1e-6 or down < 1e-6


def test_a_usage_report_shows_a_treemap_that_has_no_colour_of_its_own() -> None:
    """Where a viewer strips style sheets, text and rectangles have the colour of the text around: legible on white and on black."""
    html = usage_of({"images/a": 5000, "logs/b": 3000, "README": 10})._repr_html_()
    drawing = re.search(r"<svg .*</svg>", html, re.DOTALL)
    assert drawing is not None and "<style" not in drawing[0] and "style=" not in drawing[0]
    assert {*re.findall(r'(?:fill|stroke)="([^"]*)"', drawing[0])} == {"currentColor"}
    assert html.count("<style>") == 1
    for name in ("images/", "logs/", "(no prefix)"):
        assert name in drawing[0]


def test_a_treemap_tells_a_screen_reader_its_name_and_its_largest_groups() -> None:
    html = usage_of({"images/a": 3000, "logs/b": 1000})._repr_html_()
    assert 'role="img" aria-label="Bytes by prefix in s3://b/: images/ 75%, logs/ 25%"' in html
    assert "<title>Bytes by prefix in s3://b/: images/ 75%, logs/ 25%</title>" in html
    assert "<title>images/: 2.9 KiB · 75.0%</title>" in html


@pytest.mark.parametrize("sizes", [{}, {"a/b": 5}, {"a/b": 0, "c/d": 0}])
def test_there_is_no_treemap_of_less_than_two_groups_with_bytes(sizes: dict[str, int]) -> None:
    assert "<svg" not in usage_of(sizes)._repr_html_()


def test_labels_leave_out_the_folder_that_all_groups_are_in() -> None:
    drawn = treemap.draw("t", {"data/2025/": 1, "data/2026/": 2}).html
    assert ">2026/</text>" in drawn and "<title>data/2026/: 2 B · 66.7%</title>" in drawn
    assert ">a/</text>" in treemap.draw("t", {"a/": 1, "": 1}).html


def test_names_in_a_treemap_are_escaped() -> None:
    drawn = treemap.draw("</title><b>", {"<script>\x1b": 5, '"><img>': 5}).html
    assert not re.search(r"<(script|b|img)\b|\x1b", drawn)
    assert "&lt;script&gt;\\x1b" in drawn


def test_a_plot_has_a_transparent_background() -> None:
    """A figure with a white background is a white slab in a dark notebook."""
    image = pytest.importorskip("PIL.Image")
    png = usage_of({"images/a": 5000, "logs/b": 3000}).plot()._repr_png_()  # type: ignore[attr-defined]
    with image.open(io.BytesIO(png)) as drawn:
        assert drawn.convert("RGBA").getpixel((2, 2))[3] == 0
        assert drawn.convert("RGBA").getpixel((2, drawn.height - 2))[3] == 0
