"""Usage reports: counts and bytes by prefix, extension, storage class, size and age, from one pass over a listing.

Memory does not grow with the listing. Times are compared as text, which is faster than parsing each.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Literal

from .._bulk.listing import Listed
from .._formats import render
from .._formats.render import Bar, Bytes, Cell, Rendered
from .._formats.times import as_utc, parse_time
from . import treemap

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

MOST_GROUPS = 10_000
"""How many prefixes or extensions are counted separately; all further ones are counted together as OTHERS."""

OTHERS = "(others)"
_ROWS_SHOWN = 20

_SIZE_BORDERS = (1, 2**10, 2**15, 2**20, 2**23, 2**27, 2**30, 2**35)
_SIZE_NAMES = (
    "empty",
    "< 1 KiB",
    "< 32 KiB",
    "< 1 MiB",
    "< 8 MiB",
    "< 128 MiB",
    "< 1 GiB",
    "< 32 GiB",
    "32 GiB and more",
)
_AGE_DAYS = (1, 7, 30, 90, 365, 1095)
_AGE_NAMES = ("< 1 day", "< 1 week", "< 30 days", "< 90 days", "< 1 year", "< 3 years", "3 years and more")

_PALE, _DEEP = (0.83, 0.90, 0.96), (0.18, 0.40, 0.65)
_INK = "#767676"
"""The grey of a figure's text: legible on white (4.5 to 1) and on the black of a dark notebook (4.1 to 1), as the figure is transparent."""

By = Literal["prefix", "extension", "storage_class", "size", "age"]


@dataclass(frozen=True, slots=True)
class Tally:
    """Number and size of a group of objects.

    Attributes:
        count: The number of objects.
        bytes: Their total size.
        oldest: The earliest time of last modification; None if there are no objects.
        newest: The latest time of last modification; None if there are no objects.
    """

    count: int
    bytes: int
    oldest: datetime | None
    newest: datetime | None


@dataclass(frozen=True, slots=True)
class Usage:
    """The usage of a bucket, a prefix or a query. Notebooks display it as a treemap and tables; ``plot()`` draws it.

    Attributes:
        where: The bucket, prefix or query that was measured.
        count: The number of objects.
        bytes: Their total size.
        oldest: The earliest time of last modification; None if there are no objects.
        newest: The latest time of last modification; None if there are no objects.
        by_prefix: A tally for each prefix, in key order.
        by_extension: A tally for each extension (``".json"``; empty for none), the largest first.
        by_storage_class: A tally for each storage class, the largest first.
        by_size: A tally for each range of sizes.
        by_age: A tally for each range of ages.
    """

    where: str
    count: int
    bytes: int
    oldest: datetime | None
    newest: datetime | None
    by_prefix: Mapping[str, Tally]
    by_extension: Mapping[str, Tally]
    by_storage_class: Mapping[str, Tally]
    by_size: Mapping[str, Tally]
    by_age: Mapping[str, Tally]

    def to_pandas(self, by: By = "prefix") -> pandas.DataFrame:
        """Return one of the tables as a DataFrame.

        Args:
            by: ``"prefix"``, ``"extension"``, ``"storage_class"``, ``"size"`` or ``"age"``.

        Returns:
            A DataFrame with the groups in a column named like ``by``, and the columns ``count``, ``bytes``, ``oldest``, ``newest``.

        Raises:
            ValueError: ``by`` is none of these.
            ImportError: The extra ``messageflux-s3[pandas]`` is not installed.

        Requests:
            none
        """
        groups = self._groups(by)
        try:
            import pandas
        except ImportError as error:
            raise ImportError("to_pandas() needs pandas: pip install 'messageflux-s3[pandas]'") from error
        frame = pandas.DataFrame(
            {
                by: pandas.Series([*groups], dtype="string"),
                "count": pandas.Series([tally.count for tally in groups.values()], dtype="int64"),
                "bytes": pandas.Series([tally.bytes for tally in groups.values()], dtype="int64"),
            }
        )
        for name in ("oldest", "newest"):
            frame[name] = pandas.to_datetime([getattr(tally, name) for tally in groups.values()], utc=True)
        return frame

    def plot(self) -> Figure:
        """Draw a treemap of the prefixes by bytes, and histograms of sizes and ages.

        Returns:
            A matplotlib figure, which a notebook displays; ``figure.savefig(path)`` saves it. Its background is transparent, and its
            text is legible on white and on black.

        Raises:
            ImportError: The extra ``messageflux-s3[plot]`` is not installed.

        Requests:
            none
        """
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise ImportError("plot() needs matplotlib: pip install 'messageflux-s3[plot]'") from error
        figure: Any = Figure(figsize=(8, 5), layout="constrained")
        figure.patch.set_alpha(0)
        title = f"{_plain(self.where)}: {self.count:,} objects, {render.size_text(self.bytes)}"
        figure.suptitle(title, color=_INK)
        axes = figure.subplot_mosaic([["map", "map"], ["sizes", "ages"]], height_ratios=[3, 2])
        _draw_treemap(axes["map"], {name: tally.bytes for name, tally in self.by_prefix.items()})
        for name, groups, title in (("sizes", self.by_size, "bytes by size"), ("ages", self.by_age, "bytes by age")):
            axis = axes[name]
            filled = _from_first_to_last(groups)
            axis.bar([*filled], [tally.bytes for tally in filled.values()], width=0.6, color="#4c8fd6")
            axis.patch.set_alpha(0)
            axis.set_title(title, fontsize=10, color=_INK)
            axis.set_xlim(-0.7, max(len(filled), 3) - 0.3)  # keep a single bar narrow
            axis.tick_params(labelsize=8, colors=_INK)
            axis.tick_params(axis="x", labelrotation=25 if len(filled) > 3 else 0)
            axis.set_yticks(
                [max((tally.bytes for tally in filled.values()), default=0) * half / 2 for half in range(3)]
            )
            axis.yaxis.set_major_formatter(lambda value, _: render.size_text(int(value)))
            axis.spines[["top", "right"]].set_visible(False)
            axis.spines[["left", "bottom"]].set_color(_INK)

        def as_png() -> Any:
            buffer = io.BytesIO()
            figure.savefig(buffer, format="png", dpi=100)
            return buffer.getvalue()

        figure._repr_png_ = as_png  # notebooks display it, whether or not pyplot was imported
        return figure  # type: ignore[no-any-return,unused-ignore]  # untyped if matplotlib is not installed

    def _groups(self, by: str) -> Mapping[str, Tally]:
        if by not in ("prefix", "extension", "storage_class", "size", "age"):
            raise ValueError(f"by must be 'prefix', 'extension', 'storage_class', 'size' or 'age', not {by!r}")
        found: Mapping[str, Tally] = getattr(self, f"by_{by}")
        return found

    def _shown(self) -> Rendered:
        parts = [
            render.facts(
                f"usage of {self.where}",
                [
                    ("objects", self.count),
                    ("bytes", Bytes(self.bytes)),
                    ("oldest", self.oldest),
                    ("newest", self.newest),
                ],
            )
        ]
        sizes = {name: tally.bytes for name, tally in self.by_prefix.items() if tally.bytes}
        if len(sizes) > 1:
            parts.append(treemap.draw(f"Bytes by prefix in {self.where}", sizes))
        if self.count:
            largest = dict(sorted(self.by_prefix.items(), key=lambda item: -item[1].bytes))
            parts += [
                self._table("prefix", {name or "(no prefix)": tally for name, tally in largest.items()}),
                self._table("extension", self.by_extension),
                self._table("storage class", self.by_storage_class),
                self._table("size", _from_first_to_last(self.by_size)),
                self._table("age", _from_first_to_last(self.by_age)),
            ]
        return render.stack(*parts)

    def _table(self, name: str, groups: Mapping[str, Tally]) -> Rendered:
        rows: list[Sequence[Cell]] = [
            (
                render.shortened(group) or "(none)",
                tally.count,
                Bytes(tally.bytes),
                Bar(tally.bytes / (self.bytes or 1)),
                tally.newest,
            )
            for group, tally in [*groups.items()][:_ROWS_SHOWN]
        ]
        left = len(groups) - len(rows)
        return render.table(
            [name, "objects", "bytes", "share", "newest"],
            rows,
            note=f"and {left:,} more, smaller ones" if left > 0 else "",
        )

    def __repr__(self) -> str:
        return self._shown().text

    def _repr_html_(self) -> str:
        return self._shown().html


class _Count:
    """Running totals, from which a :class:`Tally` is made at the end."""

    __slots__ = ("bytes", "count", "newest", "oldest")

    def __init__(self) -> None:
        self.count = 0
        self.bytes = 0
        self.oldest = "~"
        self.newest = ""

    def add(self, size: int, moment: str) -> None:
        self.count += 1
        self.bytes += size
        if moment < self.oldest:
            self.oldest = moment
        if moment > self.newest:
            self.newest = moment

    def done(self) -> Tally:
        if not self.count:
            return Tally(0, 0, None, None)
        return Tally(self.count, self.bytes, _moment(self.oldest), _moment(self.newest))


def measure(
    entries: Iterable[Listed], *, where: str, prefix: str = "", depth: int = 1, now: datetime | None = None
) -> Usage:
    """Compute the usage from a listing.

    Args:
        entries: The entries of a listing.
        where: A title: the bucket, prefix or query that was listed.
        prefix: The prefix below which levels are counted.
        depth: How many levels below the prefix are counted separately.
        now: The time at which ages are computed; None for the present.

    Raises:
        TypeError: ``depth`` is not a whole number.
        ValueError: ``depth`` is negative.

    Requests:
        only those made by iterating ``entries``
    """
    check_depth(depth, least=0)
    present = now or datetime.now(timezone.utc)
    # The boundaries of the age ranges, in ascending order for bisect. Times in this text form sort by time.
    age_borders = [_text(present - timedelta(days=days)) for days in reversed(_AGE_DAYS)]
    prefixes: dict[str, _Count] = {}
    extensions: dict[str, _Count] = {}
    classes: dict[str, _Count] = {}
    sizes = [_Count() for _ in _SIZE_NAMES]
    ages = [_Count() for _ in _AGE_NAMES]
    begin = len(prefix)
    for entry in entries:
        key, size, modified = entry[0], int(entry[3]), entry[1]
        moment = modified[:-1] if isinstance(modified, str) and modified[-1] == "Z" else _text(modified)
        *folders, _ = key[begin:].split("/", depth) if depth else ("",)
        name = key[key.rfind("/") + 1 :]
        dot = name.rfind(".")
        _group(prefixes, f"{prefix}{'/'.join(folders)}/" if folders else prefix).add(size, moment)
        _group(extensions, name[dot:].lower() if dot > 0 else "").add(size, moment)
        _group(classes, entry[4] or "STANDARD").add(size, moment)
        sizes[bisect_right(_SIZE_BORDERS, size)].add(size, moment)
        ages[bisect_right(age_borders, moment)].add(size, moment)
    whole = [count.done() for count in sizes]
    ages.reverse()
    return Usage(
        where=where,
        count=sum(tally.count for tally in whole),
        bytes=sum(tally.bytes for tally in whole),
        oldest=min((tally.oldest for tally in whole if tally.oldest), default=None),
        newest=max((tally.newest for tally in whole if tally.newest), default=None),
        by_prefix={name: count.done() for name, count in prefixes.items()},
        by_extension=_largest_first(extensions),
        by_storage_class=_largest_first(classes),
        by_size=dict(zip(_SIZE_NAMES, whole, strict=True)),
        by_age={name: count.done() for name, count in zip(_AGE_NAMES, ages, strict=True)},
    )


def check_depth(depth: int, *, least: int) -> int:
    """Return the depth if it is a whole number of at least ``least``; raise TypeError or ValueError otherwise."""
    if isinstance(depth, bool) or not isinstance(depth, int):
        raise TypeError(f"depth must be a whole number, not {type(depth).__name__}")
    if depth < least:
        raise ValueError(f"depth must be at least {least}, not {depth}")
    return depth


def _group(groups: dict[str, _Count], name: str) -> _Count:
    count = groups.get(name)
    if count is None:
        name = name if len(groups) < MOST_GROUPS else OTHERS
        count = groups.setdefault(name, _Count())
    return count


def _largest_first(groups: Mapping[str, _Count]) -> dict[str, Tally]:
    return {name: count.done() for name, count in sorted(groups.items(), key=lambda item: -item[1].bytes)}


def _from_first_to_last(groups: Mapping[str, Tally]) -> dict[str, Tally]:
    """Return the ranges of a histogram without the empty ones at its ends."""
    filled = [number for number, tally in enumerate(groups.values()) if tally.count]
    return dict([*groups.items()][filled[0] : filled[-1] + 1]) if filled else {}


def _text(moment: str | datetime) -> str:
    """Return a time as text that sorts by time: ISO 8601 in UTC, without a zone."""
    return as_utc(moment).astimezone(timezone.utc).replace(tzinfo=None).isoformat()


def _moment(text: str) -> datetime:
    return parse_time(text)


# -- drawing ----------------------------------------------------------------------------------------------------------------------------


def _plain(text: str) -> str:
    """Escape text for matplotlib, where a dollar sign begins a formula."""
    return render.visible(text).replace("$", r"\$")


def _draw_treemap(axis: Any, sizes: Mapping[str, int]) -> None:
    """Draw a treemap with matplotlib."""
    axis.set_axis_off()
    axis.set_xlim(0, 1)
    axis.set_ylim(1, 0)
    placed = treemap.boxes(sizes)
    largest = max((box.share for box in placed), default=1.0)
    for box in placed:
        weight = box.share / largest
        colour = [pale + (deep - pale) * weight for pale, deep in zip(_PALE, _DEEP, strict=True)]
        axis.bar(box.left, box.height, box.width, bottom=box.top, align="edge", color=tuple(colour))
        if box.width > 0.08 and box.height > 0.12:
            is_narrow = box.width < 0.16
            share = "" if is_narrow else f" ({box.share:.0%})"
            name = render.shortened(_plain(box.name or "(top)"), max(int(box.width * 85), 4))
            axis.text(
                box.left + box.width / 2,
                box.top + box.height / 2,
                f"{name}\n{render.size_text(box.size)}{share}",
                ha="center",
                va="center",
                fontsize=7 if is_narrow else 9,
                color="white" if weight > 0.5 else "black",
            )
    # Lines over the boxes, as gaps between them would show nothing where the figure is transparent.
    for box in placed:
        axis.bar(
            box.left, box.height, box.width, bottom=box.top, align="edge", fill=False, edgecolor=_INK, linewidth=0.8
        )
