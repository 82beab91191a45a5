"""Treemaps: rectangles whose areas are in proportion to sizes, as SVG for a notebook.

The SVG has no colours of its own where a viewer strips style sheets: text and rectangles have the colour of the surrounding text, the
rectangles translucent. Widths are percentages, so that text keeps its size in a narrow cell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from .._formats import render
from .._formats.render import Rendered

ASPECT = 3.0
"""The width of a treemap, in heights, for which its rectangles come out as nearly square as possible."""

_MOST_BOXES = 24
_HEIGHT = 260
_WIDEST = 1100
_CHARACTER = 7.5


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of a treemap. Positions and sizes are shares of the map's width and height.

    Attributes:
        name: The group's name.
        size: The group's bytes.
        share: The group's share of all bytes.
        left: The left edge.
        top: The upper edge.
        width: The width.
        height: The height.
    """

    name: str
    size: int
    share: float
    left: float
    top: float
    width: float
    height: float


def boxes(sizes: Mapping[str, int]) -> list[Box]:
    """Place a rectangle for each group, the largest first; small groups share one, named "others". Groups without bytes are left out.

    Rows are filled as long as that makes their rectangles more square (Bruls, Huizing and van Wijk, "Squarified Treemaps").

    Example:
        >>> from messageflux_s3._display.treemap import boxes
        >>> [(box.name, box.left, box.top, box.width, box.height) for box in boxes({"a": 2, "b": 1, "c": 1})]
        [('a', 0.0, 0.0, 0.5, 1.0), ('b', 0.5, 0.0, 0.25, 1.0), ('c', 0.75, 0.0, 0.25, 1.0)]
    """
    ranked = sorted(((size, name) for name, size in sizes.items() if size > 0), key=lambda item: (-item[0], item[1]))
    rest = sum(size for size, _ in ranked[_MOST_BOXES:])
    ranked = [*ranked[:_MOST_BOXES], *([(rest, "others")] if rest else [])]
    total = sum(size for size, _ in ranked)
    waiting = [(size / total * ASPECT, size, name) for size, name in ranked]
    left, top, width, height = 0.0, 0.0, ASPECT, 1.0
    placed: list[Box] = []
    while waiting:
        side, count = min(width, height), 1
        while count < len(waiting) and _worst(waiting[: count + 1], side) <= _worst(waiting[:count], side):
            count += 1
        row, waiting = waiting[:count], waiting[count:]
        row_area = sum(area for area, _, _ in row)
        thick = row_area / side if side else 0.0
        if not waiting:
            thick = max(width, height)  # what is left; computed from the area, it would be wrong where the area is tiny
        along = 0.0
        for area, size, name in row:
            long = side * area / row_area if row_area else 0.0
            if width >= height:
                x, y, wide, high = left, top + along, thick, long
            else:
                x, y, wide, high = left + along, top, long, thick
            placed.append(Box(name, size, size / total, x / ASPECT, y, wide / ASPECT, high))
            along += long
        if width >= height:
            left, width = left + thick, max(width - thick, 0.0)
        else:
            top, height = top + thick, max(height - thick, 0.0)
    return placed


def _worst(row: Sequence[tuple[float, int, str]], side: float) -> float:
    """Return the ratio of the sides of a row's least square rectangle."""
    thick = sum(area for area, _, _ in row) / side if side else 0.0
    if not thick:
        return 0.0
    return max(max(thick / (area / thick), (area / thick) / thick) for area, _, _ in row)


def draw(title: str, sizes: Mapping[str, int]) -> Rendered:
    """Render a treemap; its text is empty, since the tables beside it give the same numbers.

    Args:
        title: The name of the drawing for a screen reader.
        sizes: Bytes by group.
    """
    placed = boxes(sizes)
    common = _common_folder([box.name for box in placed])
    largest = max((box.share for box in placed), default=1.0)
    inside = "".join(_drawn(box, common, largest) for box in placed)
    spoken = ", ".join(f"{box.name or '(no prefix)'} {box.share:.0%}" for box in placed[:5])
    name = escape(render.visible(f"{title}: {spoken}"))
    return render.drawing(
        f'<div class="mf-map"><svg role="img" aria-label="{name}" width="100%" height="{_HEIGHT}" '
        f'font-family="system-ui,sans-serif" font-size="12" fill="currentColor"><title>{name}</title>{inside}</svg></div>'
    )


def _drawn(box: Box, common: str, largest: float) -> str:
    """Return a rectangle and its label: an <svg> within the <svg>, which clips a label that is too long for it."""
    full = render.visible(box.name) or "(no prefix)"
    about = f"{render.size_text(box.size)} · {box.share:.1%}"
    fits = int((box.width * _WIDEST - 12) / _CHARACTER)
    label = render.visible(box.name.removeprefix(common)) or "(no prefix)"
    high = box.height * _HEIGHT
    # The classes hide labels in cells that are too narrow to show a few letters of them.
    width = "mf-narrow" if box.width < 0.07 else "mf-middle" if box.width < 0.16 else "mf-broad"
    texts = ""
    if fits >= 4 and high >= 20:
        texts += f'<text class="{width}" x="7" y="17" font-weight="600">{escape(render.shortened(label, fits))}</text> '
    size = render.size_text(box.size)
    if fits >= len(size) and high >= 38:
        hidden = "mf-middle" if box.width < 0.35 else "mf-broad"
        share = f' <tspan class="{hidden}">· {box.share:.1%}</tspan>' if fits >= len(about) else ""
        texts += f'<text class="{width}" x="7" y="33">{size}{share}</text> '
    opacity = 0.1 + 0.3 * box.share / largest
    return (
        f'<svg x="{box.left:.3%}" y="{box.top:.3%}" width="{box.width:.3%}" height="{box.height:.3%}">'
        f"<title>{escape(f'{full}: {about}')}</title>"
        f'<rect width="100%" height="100%" fill-opacity="{opacity:.2f}" stroke="currentColor" stroke-opacity=".35"/>'
        f"{texts}</svg>"
    )


def _common_folder(names: Sequence[str]) -> str:
    """Return the folder that all names but "others" begin with; labels leave it out."""
    listed = [name for name in names if name != "others"]
    if len(listed) < 2:
        return ""
    first, last = min(listed), max(listed)
    length = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return first[: first.rfind("/", 0, length) + 1]
