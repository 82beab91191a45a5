"""A tree that lists a prefix when it is opened: a widget where ipywidgets is installed, else the static tree of the first level."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from .._formats import render
from .._formats.render import Rendered
from ..errors import S3Error
from . import show
from .show import Entry, Level

Preview = Callable[[str], Rendered]
"""A function that returns the preview of an object, by its key."""

_INDENT = "1.4em"
_ISOLATE, _END_ISOLATE = "\u2066", "\u2069"


def _is_right_to_left(character: str) -> bool:
    return unicodedata.bidirectional(character) in ("R", "AL")


class Browser:
    """The result of ``query.browse()``: notebooks display it as a widget, or without ipywidgets as a static tree; ``print`` as text.

    In the widget a prefix is listed when it is opened for the first time, and an object is previewed when it is chosen. Every row is a
    button, so that the keyboard reaches it.
    """

    def __init__(self, bucket_name: str, level: Level, prefix: str, entries: int, preview: Preview) -> None:
        """List the first level. 1 request."""
        self._bucket_name, self._prefix, self._entries = bucket_name, prefix, entries
        self._level, self._preview = level, preview
        self._found: dict[str, Sequence[Entry | str]] = {}
        self._widget: Any = None
        self._list(prefix)

    def _list(self, prefix: str) -> Sequence[Entry | str]:
        """Return the entries directly below a prefix, which are requested once."""
        if prefix not in self._found:
            self._found[prefix] = self._level(prefix, self._entries + 1)
        return self._found[prefix]

    def _shown(self) -> Rendered:
        """Render what was listed so far. No request."""
        return show.tree_of(self._bucket_name, self._prefix, self._found, self._entries, self._entries + 1, self._found)

    def __repr__(self) -> str:
        return self._shown().text

    def _repr_html_(self) -> str:
        return self._shown().html

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        """Return the widget where ipywidgets is installed, and HTML and text for viewers without it. No request."""
        static = self._shown()
        bundle: dict[str, Any] = {"text/plain": static.text, "text/html": static.html}
        try:
            import ipywidgets
        except ImportError:
            return bundle
        if self._widget is None:
            title = render.facts(f"s3://{self._bucket_name}/{self._prefix}", [])
            rows = _Rows(ipywidgets, self).below(self._prefix)
            self._widget = ipywidgets.VBox([ipywidgets.HTML(title.html), *rows])
        return {**self._widget._repr_mimebundle_(), **bundle}


class _Rows:
    """Makes the widgets of a browser's rows."""

    def __init__(self, widgets: Any, browser: Browser) -> None:
        self._widgets, self._browser = widgets, browser

    def below(self, prefix: str) -> list[Any]:
        """Return the rows of the entries directly below a prefix. 1 request if it was not listed before."""
        found, most = self._browser._list(prefix), self._browser._entries
        rows = []
        for entry in found[:most]:
            if isinstance(entry, str):
                row = self._folded(entry[len(prefix) :], "", partial(self.below, entry), partial(self._told, entry))
                rows.append(row)
            else:
                label, size = entry.key[len(prefix) :] or "(the prefix itself)", render.size_text(entry.size)
                rows.append(self._folded(label, size, partial(self._previewed, entry.key)))
        if len(found) > most:
            rows.append(self._html(render.facts("", [], note="… there are more")))
        return rows or [self._html(render.facts("", [], note="nothing found"))]

    def _told(self, prefix: str) -> str:
        """Return the number and size of the objects below a prefix, as far as they were listed. No request."""
        told = show.totals_of(self._browser._found, self._browser._entries + 1, prefix)
        return "" if told == "…" else told  # an open row needs no sign that there is more

    def _previewed(self, key: str) -> list[Any]:
        """Return an object's preview. The requests of ``preview()``."""
        return [self._html(self._browser._preview(key))]

    def _html(self, rendered: Rendered) -> Any:
        return self._widgets.HTML(rendered.html)

    def _folded(
        self, label: str, detail: str, content: Callable[[], list[Any]], told: Callable[[], str] | None = None
    ) -> Any:
        """Return a row that shows its content, requested when it is opened for the first time, below a button.

        Args:
            label: The name.
            detail: Text beside the name.
            content: Returns the rows below it.
            told: Returns the text beside the name as soon as the content was requested; None if it stays.
        """
        name = render.visible(label)
        is_filled = False
        # Isolated, since beside a name in Hebrew or Arabic the arrow and the size would change places.
        shown = f"{_ISOLATE}{name}{_END_ISOLATE}" if any(map(_is_right_to_left, name)) else name

        def described(*, opens: bool) -> str:
            about = told() if told is not None and is_filled else detail
            return f"{'▾' if opens else '▸'} {shown}" + (f"  {about}" if about else "")

        # As wide as its text: a button centres its text, and a tree needs it at the left.
        button = self._widgets.Button(
            description=described(opens=False),
            tooltip=f"Open {name}",
            layout={"width": "auto", "max_width": "100%", "margin": "0", "align_self": "flex-start"},
            style={"button_color": "transparent"},
        )
        below = self._widgets.VBox([], layout={"display": "none", "margin": f"0 0 0 {_INDENT}"})

        def toggle(_: object) -> None:
            nonlocal is_filled
            opens = below.layout.display == "none"
            if opens and not is_filled:
                try:
                    below.children = content()
                    is_filled = True
                except S3Error as error:  # shown in its place; the next click tries again
                    below.children = [self._html(render.facts("", [], note=str(error)))]
            below.layout.display = None if opens else "none"
            button.description = described(opens=opens)
            button.tooltip = f"{'Close' if opens else 'Open'} {name}"

        button.on_click(toggle)
        return self._widgets.VBox([button, below], layout={"align_items": "stretch"})
