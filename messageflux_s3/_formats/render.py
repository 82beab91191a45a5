"""Rendering of tables, name-value lists, trees and bars, as text for a terminal and as HTML for a notebook.

All values are escaped: markup in HTML, and in both forms control characters, since a key may contain terminal escape sequences or
bidirectional overrides. The HTML loads nothing from the network and follows the notebook's theme, or the browser's light or dark mode.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TypeAlias

from ..errors import visible as visible  # errors.py imports nothing from the library

_BAR_CELLS = 12
_LONGEST_CELL = 200
_SHORT_TEXT = 14
_MANY_COLUMNS = 5
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _theme(ink: str, faint: str, paper: str, line: str, bar: str) -> str:
    """Return CSS variables for the colours: those of Jupyter or VS Code if they are set, else the given ones."""
    return (
        f"--mf-ink:var(--jp-content-font-color1,var(--vscode-editor-foreground,{ink}));"
        f"--mf-faint:var(--jp-content-font-color2,var(--vscode-descriptionForeground,{faint}));"
        f"--mf-paper:var(--jp-layout-color0,var(--vscode-editor-background,{paper}));"
        f"--mf-line:var(--jp-border-color2,var(--vscode-widget-border,{line}));"
        f"--mf-bar:var(--jp-brand-color2,{bar})"
    )


# The class is repeated three times so that the rules are more specific than a notebook's own rules for tables. Tables have a class, and
# <details> is styled in full, because sites (such as MkDocs Material) style tables without a class and all <details>.
_STYLE = (
    f".mfs3{{{_theme('#1f2328', '#59636e', '#ffffff', '#d1d9e0', '#4c8fd6')};"
    "color:var(--mf-ink);font:13px/1.5 system-ui,sans-serif;padding:.5em .75em;margin:0;"
    "max-width:100%;box-sizing:border-box;overflow-x:auto;color-scheme:light dark;background:"
    # Where the content is wider: shadows at the edges, covered at the ends by backgrounds that scroll with the content.
    "linear-gradient(90deg,var(--mf-paper) 40%,transparent) 0 0/2em 100% no-repeat local,"
    "linear-gradient(270deg,var(--mf-paper) 40%,transparent) 100% 0/2em 100% no-repeat local,"
    "linear-gradient(90deg,#8886,transparent) 0 0/.7em 100% no-repeat,linear-gradient(270deg,#8886,transparent) 100% 0/.7em 100% no-repeat,"
    "var(--mf-paper)}"
    f"@media(prefers-color-scheme:dark){{.mfs3{{{_theme('#e6edf3', '#9198a1', '#0d1117', '#3d444d', '#3f7fc4')}}}}}"
    ".mfs3.mfs3.mfs3 .mf-title{font-weight:600;overflow-wrap:anywhere}"
    ".mfs3.mfs3.mfs3 .mf-note{color:var(--mf-faint);overflow-wrap:anywhere}"
    ".mfs3.mfs3.mfs3 table{border-collapse:collapse;margin:.4em 0;width:auto;max-width:100%;font-size:13px;border:0;background:none;"
    "color:inherit}"
    ".mfs3.mfs3.mfs3 th,.mfs3.mfs3.mfs3 td{padding:.2em .8em .2em 0;text-align:left;vertical-align:top;border:0;"
    "border-bottom:1px solid var(--mf-line);background:none;color:inherit;white-space:pre-wrap;"
    "overflow-wrap:anywhere;max-width:32em;min-width:2em}"
    ".mfs3.mfs3.mfs3 th:first-child:not(.mf-number),.mfs3.mfs3.mfs3 td:first-child:not(.mf-number){min-width:7em}"
    ".mfs3.mfs3.mfs3 tr{background:none}"
    ".mfs3.mfs3.mfs3 th{color:var(--mf-faint);font-weight:600;overflow-wrap:normal}"
    ".mfs3.mfs3.mfs3 .mf-number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap;overflow-wrap:normal;"
    "padding-right:1.4em}"
    # Tables with shares often stand one below the other, so that their columns should be as wide.
    ".mfs3.mfs3.mfs3 .mf-shares th:first-child:not(.mf-number){min-width:11em}.mfs3.mfs3.mfs3 .mf-shares .mf-number{min-width:4.6em}"
    ".mfs3.mfs3.mfs3 .mf-bar{display:inline-block;width:8em;height:.7em;border-radius:2px;background:var(--mf-line);overflow:hidden}"
    ".mfs3.mfs3.mfs3 .mf-share{display:inline-block;white-space:nowrap;min-width:3.9em;text-align:right;font-variant-numeric:tabular-nums}"
    ".mfs3.mfs3.mfs3 .mf-part{white-space:nowrap}.mfs3.mfs3.mfs3 .mf-whole{white-space:nowrap;overflow-wrap:normal}"
    "@media(max-width:640px){.mfs3.mfs3.mfs3 .mf-bar,.mfs3.mfs3.mfs3 .mf-shares .mf-time,.mfs3.mfs3.mfs3 .mf-many .mf-part{display:none}"
    ".mfs3.mfs3.mfs3 table{font-size:12px}.mfs3.mfs3.mfs3 .mf-many{font-size:11px}"
    ".mfs3.mfs3.mfs3 th,.mfs3.mfs3.mfs3 td,.mfs3.mfs3.mfs3 .mf-number{padding-right:.55em}"
    ".mfs3.mfs3.mfs3 .mf-part{text-align:right}.mfs3.mfs3.mfs3 .mf-share{min-width:0}.mfs3.mfs3.mfs3 th.mf-number{white-space:normal}"
    ".mfs3.mfs3.mfs3 .mf-shares th:first-child:not(.mf-number),.mfs3.mfs3.mfs3 .mf-shares td:first-child:not(.mf-number){min-width:5em}"
    ".mfs3.mfs3.mfs3 .mf-shares .mf-number{min-width:0}}"
    ".mfs3.mfs3.mfs3 .mf-bar i{display:block;height:100%;background:var(--mf-bar)}"
    ".mfs3.mfs3.mfs3 pre{margin:.4em 0;padding:0;white-space:pre-wrap;overflow-wrap:anywhere;font:12px/1.5 ui-monospace,monospace;"
    "background:none;color:inherit;border:0}.mfs3.mfs3.mfs3 .mf-grid{white-space:pre;overflow-x:auto}"
    ".mfs3.mfs3.mfs3 img{max-width:100%;height:auto;margin:.4em 0}"
    ".mfs3.mfs3.mfs3 .mf-map{margin:.4em 0;padding:0;container-type:inline-size}"
    ".mfs3.mfs3.mfs3 .mf-map svg{max-width:none}.mfs3.mfs3.mfs3 .mf-map>svg{display:block}"
    ".mfs3.mfs3.mfs3 .mf-map rect{fill:var(--mf-bar);stroke:var(--mf-paper);stroke-opacity:1;stroke-width:2}"
    "@container(max-width:520px){.mfs3 .mf-middle{display:none}}@container(max-width:900px){.mfs3 .mf-narrow{display:none}}"
    ".mfs3.mfs3.mfs3 ul{list-style:none;margin:0;padding:0}.mfs3.mfs3.mfs3 ul ul{padding:0 0 0 .2em}"
    ".mfs3.mfs3.mfs3 li{margin:0;padding:0;list-style:none}.mfs3.mfs3.mfs3 li::before,.mfs3.mfs3.mfs3 li::marker{content:none}"
    ".mfs3.mfs3.mfs3 summary:focus-visible{outline:2px solid var(--mf-bar);outline-offset:1px}"
    ".mfs3.mfs3.mfs3 details{margin:0;padding:0 0 0 1.2em;border:0;background:none;box-shadow:none;font-size:inherit}"
    ".mfs3.mfs3.mfs3 summary{display:list-item;margin:0 0 0 -1.2em;padding:0;border:0;background:none;font-weight:inherit;"
    "list-style:disclosure-closed inside;cursor:pointer}"
    ".mfs3.mfs3.mfs3 details[open]>summary{list-style-type:disclosure-open}"
    ".mfs3.mfs3.mfs3 summary::before,.mfs3.mfs3.mfs3 summary::after{content:none}"
    ".mfs3.mfs3.mfs3 summary::marker{color:var(--mf-faint);font-size:.8em}"
    ".mfs3.mfs3.mfs3 .mf-head{font-weight:600;overflow-wrap:anywhere}.mfs3.mfs3.mfs3 .mfs3{padding:0;overflow-x:visible;background:none}"
    ".mfs3.mfs3.mfs3 .mf-leaf{overflow-wrap:anywhere}.mfs3.mfs3.mfs3 div.mf-leaf{margin:0 0 0 .95em}"
    ".mfs3.mfs3.mfs3 bdi{white-space:pre-wrap}"
)
_STYLE_TAG = f"<style>{_STYLE}</style>"


@dataclass(frozen=True, slots=True, repr=False)
class Rendered:
    """A rendered table, tree or preview: its ``repr`` is the text, and notebooks display the HTML.

    Attributes:
        text: Text for a terminal.
        html: Self-contained HTML for a notebook.
    """

    text: str
    html: str

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return self.html


@dataclass(frozen=True, slots=True)
class Bar:
    """A share of the whole, from 0 to 1, drawn as a bar."""

    share: float


@dataclass(frozen=True, slots=True)
class Bytes:
    """A number of bytes, shown with a suitable unit."""

    count: int


@dataclass(frozen=True, slots=True)
class Plain:
    """A number from the user's data, shown unchanged, without thousands separators."""

    digits: str


@dataclass(frozen=True, slots=True)
class Branch:
    """A node of a tree.

    Attributes:
        label: Its name.
        detail: Text beside the name.
        children: The nodes below it; None for a leaf.
        about: Text beside the name in HTML only.
        is_open: Whether the nodes below it are visible in HTML before the branch is opened.
    """

    label: str
    detail: str = ""
    children: tuple[Branch, ...] | None = None
    about: str = ""
    is_open: bool = True


Cell: TypeAlias = "str | int | float | bool | datetime | Bytes | Plain | Bar | None"


def size_text(count: int) -> str:
    """Format a number of bytes for display.

    Example:
        >>> from messageflux_s3._formats.render import size_text
        >>> size_text(512), size_text(1536), size_text(5 * 1024**3)
        ('512 B', '1.5 KiB', '5.0 GiB')
    """
    if count < 1024:
        return f"{count:,} B"
    size, units = count / 1024, ["PiB", "TiB", "GiB", "MiB", "KiB"]
    while round(size, 1) >= 1024 and len(units) > 1:
        size /= 1024
        units.pop()
    return f"{size:,.1f} {units[-1]}"


def time_text(moment: datetime) -> str:
    """Format a time for display, in UTC, to the second."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    return aware.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M:%S")


def date_text(moment: datetime) -> str:
    """Format a date for display, in UTC and in English, whatever the locale.

    Example:
        >>> from datetime import datetime
        >>> from messageflux_s3._formats.render import date_text
        >>> date_text(datetime(2026, 11, 1, 23))
        '1 Nov 2026'
    """
    day = (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).astimezone(timezone.utc)
    return f"{day.day} {_MONTHS[day.month - 1]} {day.year}"


def table(headers: Sequence[str], rows: Iterable[Sequence[Cell]], *, title: str = "", note: str = "") -> Rendered:
    """Render a table. Columns of numbers are right-aligned.

    Args:
        headers: The columns' names.
        rows: The cells.
        title: Text above the table.
        note: Text below the table.
    """
    kept = [[*row] for row in rows]
    right = [
        any(_is_number(row[at]) for row in kept) and all(row[at] is None or _is_number(row[at]) for row in kept)
        for at in range(len(headers))
    ]
    texts = [[_cell_text(cell) for cell in row] for row in kept]
    names = [
        visible(name) + (" (UTC)" if any(isinstance(row[at], datetime) for row in kept) else "")
        for at, name in enumerate(headers)
    ]
    parts = [any(isinstance(row[at], Bar) for row in kept) for at in range(len(headers))]
    widths = [max([len(name), *(len(row[at]) for row in texts)]) for at, name in enumerate(names)]

    def line(cells: Sequence[str]) -> str:
        placed = (
            cell.rjust(width) if at_right else cell.ljust(width)
            for cell, width, at_right in zip(cells, widths, right, strict=True)
        )
        return "  ".join(placed).rstrip()

    text = [visible(title)] if title else []
    text += [line(names), "  ".join("-" * width for width in widths), *(line(row) for row in texts)]
    text += [visible(note)] if note else []

    kinds = ["mf-number" if right[at] else "mf-part" if parts[at] else "" for at in range(len(headers))]

    def tag(name: str, content: str, kind: str) -> str:
        attributes = (' scope="col"' if name == "th" else "") + (f' class="{kind}"' if kind else "")
        return f"<{name}{attributes}>{content}</{name}>"

    head = "".join(tag("th", html.escape(name), kind) for name, kind in zip(names, kinds, strict=True))
    body = "".join(
        "<tr>"
        + "".join(tag("td", _cell_html(cell), kind or _kind_of(cell)) for cell, kind in zip(row, kinds, strict=True))
        + "</tr>"
        for row in kept
    )
    look = "mf-table" + (" mf-shares" if any(parts) else "") + (" mf-many" if len(headers) > _MANY_COLUMNS else "")
    return Rendered(
        "\n".join(text),
        _framed(
            f"{_titled(title)}<table class='{look}'{_named(title)}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
            + _noted(note)
        ),
    )


def facts(title: str, pairs: Iterable[tuple[str, Cell]], *, note: str = "") -> Rendered:
    """Render a list of names and values; values that are None are left out.

    Args:
        title: Text above the list.
        pairs: Names and values.
        note: Text below the list.
    """
    known = [(visible(name), cell) for name, cell in pairs if cell is not None]
    width = max((len(name) for name, _ in known), default=0)
    text = [
        visible(title),
        *(f"  {name:<{width}}  {_cell_text(cell)}{_zone(cell)}" for name, cell in known),
        *([visible(note)] if note else []),
    ]
    rows = "".join(
        f'<tr><th scope="row">{html.escape(name)}</th><td>{_cell_html(cell)}{_zone(cell)}</td></tr>'
        for name, cell in known
    )
    table = f"<table class='mf-table'{_named(title)}><tbody>{rows}</tbody></table>" if rows else ""
    return Rendered("\n".join(text), _framed(_titled(title) + table + _noted(note)))


def tree(title: str, branches: Iterable[Branch], *, note: str = "") -> Rendered:
    """Render a tree; in HTML its branches can be folded.

    Args:
        title: The root.
        branches: The branches below it.
        note: Text below the tree.
    """
    roots = [*branches]
    text = [visible(title), *_tree_lines(roots, ""), *([visible(note)] if note else [])]
    return Rendered("\n".join(text), _framed(_titled(title) + _list_html(roots, title) + _noted(note)))


def section(summary: str, *parts: Rendered, is_open: bool = True) -> Rendered:
    """Put rendered parts below a summary; in HTML they can be folded.

    Args:
        summary: The text that remains visible.
        parts: What is below it.
        is_open: Whether the parts are visible in HTML before the section is opened.
    """
    inside = "".join(part.html.replace(_STYLE_TAG, "") for part in parts)
    head = f'<summary class="mf-head">{html.escape(visible(summary))}</summary>'
    text = "\n".join([visible(summary), *(part.text for part in parts)])
    return Rendered(text, _framed(f"<details{' open' if is_open else ''}>{head}{inside}</details>"))


def text_block(title: str, text: str, *, note: str = "", is_grid: bool = False) -> Rendered:
    """Render preformatted text.

    Args:
        title: Text above it.
        text: The text.
        note: Text below it.
        is_grid: Whether its columns have a meaning, so that its lines must not wrap.
    """
    look = ' class="mf-grid"' if is_grid else ""
    clean = "\n".join(visible(line.replace("\t", "    ")) for line in text.split("\n"))
    parts = [visible(title), clean, *([visible(note)] if note else [])]
    return Rendered("\n".join(parts), _framed(f"{_titled(title)}<pre{look}>{html.escape(clean)}</pre>{_noted(note)}"))


def image(title: str, media_type: str, content: bytes, *, note: str = "") -> Rendered:
    """Render an image: the HTML embeds it, the text gives its type and size."""
    data = base64.b64encode(content).decode("ascii")
    source = f"data:{html.escape(media_type)};base64,{data}"
    text = [visible(title), f"({visible(media_type)}, {size_text(len(content))})", *([visible(note)] if note else [])]
    alt = html.escape(visible(title))
    return Rendered("\n".join(text), _framed(f'{_titled(title)}<img alt="{alt}" src="{source}">{_noted(note)}'))


def drawing(svg: str) -> Rendered:
    """Render a drawing without text. Its names must have been escaped."""
    return Rendered("", _framed(svg))


def stack(*parts: Rendered) -> Rendered:
    """Join several rendered parts, one below the other."""
    first, *others = [part.html for part in parts]
    # The style sheet stands in the first part only. Names cannot contain it, since they are escaped.
    return Rendered(
        "\n\n".join(part.text for part in parts if part.text),
        first + "".join(html.replace(_STYLE_TAG, "") for html in others),
    )


def shortened(text: str, longest: int = _LONGEST_CELL) -> str:
    """Shorten text to the length of a cell."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


# -- cells ------------------------------------------------------------------------------------------------------------------------------


def _is_number(cell: Cell) -> bool:
    return isinstance(cell, (int, float, Bytes, Plain)) and not isinstance(cell, bool)


def _cell_text(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, int):
        return f"{cell:,}"
    if isinstance(cell, float):
        return f"{cell:,g}"
    if isinstance(cell, Bytes):
        return size_text(cell.count)
    if isinstance(cell, Plain):
        return cell.digits
    if isinstance(cell, datetime):
        return time_text(cell)
    if isinstance(cell, Bar):
        return "█" * max(round(_BAR_CELLS * cell.share), int(cell.share > 0))
    return visible(cell)


def _cell_html(cell: Cell) -> str:
    if isinstance(cell, Bar):
        percent = f"{min(max(cell.share, 0.0), 1.0):.1%}"
        told = "&lt; 0.1%" if 0 < cell.share < 0.0005 else percent  # "0.0%" would say that there is nothing
        return f'<span class="mf-bar" aria-hidden="true"><i style="width:{percent}"></i></span> <span class="mf-share">{told}</span>'
    if isinstance(cell, datetime):
        day, clock = time_text(cell).split(" ")
        return f'<span class="mf-whole">{day}</span> <span class="mf-whole mf-time">{clock}</span>'
    if isinstance(cell, Bytes):
        return f'<span title="{cell.count:,} bytes">{size_text(cell.count)}</span>'
    return html.escape(_cell_text(cell))


def _zone(cell: Cell) -> str:
    return " UTC" if isinstance(cell, datetime) else ""


def _kind_of(cell: Cell) -> str:
    """Return the class of a cell. A short text, such as a storage class, is not broken in a narrow table."""
    return "mf-whole" if isinstance(cell, str) and len(cell) <= _SHORT_TEXT else ""


def _framed(inside: str) -> str:
    return f'<div class="mfs3">{_STYLE_TAG}{inside}</div>'


def _titled(title: str) -> str:
    return f'<div class="mf-title">{html.escape(visible(title))}</div>' if title else ""


def _named(title: str) -> str:
    """Return the name of a table for screen readers. A caption would be as narrow as its table, and break after every few letters."""
    return f' aria-label="{html.escape(visible(title))}"' if title else ""


def _noted(note: str) -> str:
    return f'<div class="mf-note">{html.escape(visible(note))}</div>' if note else ""


def _tree_lines(branches: Sequence[Branch], indent: str) -> Iterable[str]:
    for at, branch in enumerate(branches):
        is_last = at == len(branches) - 1
        detail = f"  {visible(branch.detail)}" if branch.detail else ""
        yield f"{indent}{'└── ' if is_last else '├── '}{visible(branch.label)}{detail}"
        yield from _tree_lines(branch.children or (), indent + ("    " if is_last else "│   "))


def _list_html(branches: Sequence[Branch], title: str = "") -> str:
    name = f' aria-label="{html.escape(visible(title))}"' if title else ""
    return f"<ul{name}>{''.join(f'<li>{_branch_html(branch)}</li>' for branch in branches)}</ul>" if branches else ""


def _branch_html(branch: Branch) -> str:
    # Isolated, since after a name in Hebrew or Arabic the number beside it would be shown before it.
    label = f'<bdi dir="ltr">{html.escape(visible(branch.label))}</bdi>'
    if detail := branch.detail or branch.about:
        label += f' <span class="mf-note">{html.escape(visible(detail))}</span>'
    if branch.children is None:
        return f'<div class="mf-leaf">{label}</div>'
    inside, is_open = _list_html(branch.children), " open" if branch.is_open else ""
    return f'<details{is_open}><summary class="mf-leaf">{label}</summary>{inside}</details>'
