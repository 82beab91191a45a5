"""Rendering of tables, name-value lists, trees and bars as text and HTML."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from html.parser import HTMLParser

import pytest

from messageflux_s3._formats import render
from messageflux_s3._formats.render import Bar, Branch, Bytes

NASTY = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</style></div><b>",
    "a\x1b[31mred",
    "\u202egnp.exe",
    "a\nb\r\tc\0",
    "half \ud83d pair",
    "&amp;",
]


class Reader(HTMLParser):
    """The tags that a browser would see, and the text between them."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(html: str) -> Reader:
    """Read HTML as a browser does; tags that are not closed in order are an error."""
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader


@pytest.mark.parametrize("nasty", NASTY)
def test_names_are_escaped_in_every_kind_of_output(nasty: str) -> None:
    """Names are shown as text in every kind of output, whatever they contain."""
    plain = [
        render.table(["x"], [["x"]], title="x", note="x"),
        render.facts("x", [("x", "x")], note="x"),
        render.tree("x", [Branch("x", "x", (Branch("x", "x"),))], note="x"),
        render.text_block("x", "x", note="x"),
        render.image("x", "image/png", b"", note="x"),
    ]
    bad = [
        render.table([nasty], [[nasty]], title=nasty, note=nasty),
        render.facts(nasty, [(nasty, nasty)], note=nasty),
        render.tree(nasty, [Branch(nasty, nasty, (Branch(nasty, nasty),))], note=nasty),
        render.text_block(nasty, nasty, note=nasty),
        render.image(nasty, "image/png", b"", note=nasty),
    ]
    for one, other in zip(plain, bad, strict=True):
        assert read(one.html).tags == read(other.html).tags
        assert render.visible(nasty.split("\n")[0]) in read(other.html).text
        other.html.encode("utf-8")
        assert all(character.isprintable() or character == "\n" for character in other.text)


def test_html_refers_to_no_external_resource() -> None:
    """No script, no font, no image from elsewhere."""
    html = render.table(["key"], [["a"]], title="t").html
    assert not {"script", "link", "iframe", "img"} & {*read(html).tags}
    assert "http" not in html and "url(" not in html and "@import" not in html
    assert "prefers-color-scheme:dark" in html and "--jp-" in html


def test_a_table_aligns_numbers_to_the_right() -> None:
    """Columns of numbers are right-aligned."""
    shown = render.table(["key", "size"], [["a", Bytes(1)], ["bbb", Bytes(2048)]], title="two", note="end")
    assert shown.text.splitlines() == [
        "two",
        "key     size",
        "---  -------",
        "a        1 B",
        "bbb  2.0 KiB",
        "end",
    ]
    assert repr(shown) == shown.text and shown._repr_html_() == shown.html


def test_each_type_of_value_has_its_format() -> None:
    """Each type of value has its own format."""
    noon = datetime(2026, 1, 2, 12, tzinfo=timezone(timedelta(hours=2)))
    cells = [True, 1234567, 0.5, noon, None, Bar(0.5), Bar(0.001), "text"]
    row = render.table([str(n) for n in range(8)], [cells]).text.splitlines()[-1].split("  ")
    assert [cell.strip() for cell in row if cell.strip()] == [
        "yes",
        "1,234,567",
        "0.5",
        "2026-01-02 10:00:00",
        "██████",
        "█",
        "text",
    ]


SIZES = [(0, "0 B"), (1023, "1,023 B"), (1024, "1.0 KiB"), (1024**2 - 1, "1.0 MiB"), (2**60, "1,024.0 PiB")]


@pytest.mark.parametrize(("count", "said"), SIZES)
def test_sizes_are_shown_with_a_fitting_unit(count: int, said: str) -> None:
    """The unit fits the number, at its borders too."""
    assert render.size_text(count) == said


def test_facts_omit_values_that_are_none() -> None:
    """Values that are None are left out."""
    assert render.facts("obj", [("size", Bytes(3)), ("etag", None)]).text == "obj\n  size  3 B"


def test_a_tree_connects_branches_with_lines() -> None:
    """Lines connect a branch with its children."""
    shown = render.tree("root", [Branch("a/", "2", (Branch("b"), Branch("c"))), Branch("d")])
    assert shown.text.splitlines() == ["root", "├── a/  2", "│   ├── b", "│   └── c", "└── d"]
    assert read(shown.html).tags.count("details") == 1


def test_a_stack_shows_its_parts_in_order() -> None:
    """Several things stand one below the other."""
    both = render.stack(render.facts("one", []), render.facts("two", []))
    assert both.text == "one\n\ntwo"
    assert both.html.index("one") < both.html.index("two")


def test_long_text_is_shortened() -> None:
    """Long cells are shortened."""
    assert render.shortened("abcdef", 4) == "abc…"
    assert render.shortened("abcd", 4) == "abcd"


def test_times_say_that_they_are_in_utc() -> None:
    """In a table the column does, once; beside a name the value does."""
    moment = datetime(2026, 11, 22, 13, tzinfo=timezone(timedelta(hours=1)))
    table = render.table(["newest", "size"], [[None, 1], [moment, 2]])
    assert table.text.startswith("newest (UTC)") and "2026-11-22 12:00:00 " in table.text
    assert ">newest (UTC)</th>" in table.html and ">size</th>" in table.html
    facts = render.facts("one", [("newest", moment), ("size", 3)])
    assert "2026-11-22 12:00:00 UTC" in facts.text and "12:00:00</span> UTC</td>" in facts.html


def test_a_share_that_is_small_is_not_shown_as_nothing() -> None:
    html = render.table(["share"], [[Bar(1e-9)], [Bar(0.0)], [Bar(0.0005)]]).html
    assert [part.partition("<")[0] for part in html.split('mf-share">')[1:]] == ["&lt; 0.1%", "0.0%", "0.1%"]


def test_names_written_from_right_to_left_do_not_move_what_stands_beside_them() -> None:
    """Without isolation "תצפיות/ 3 objects" is shown as "3 /תצפיות objects"."""
    html = render.tree("root", [Branch("תצפיות/", children=(), about="3 objects"), Branch("א.csv", "1 B")]).html
    assert '<bdi dir="ltr">תצפיות/</bdi>' in html and '<bdi dir="ltr">א.csv</bdi>' in html


# -- screen readers, and viewers that strip style sheets --------------------------------------------------------------------------


def test_tables_have_a_name_and_the_scope_of_their_headers() -> None:
    html = render.table(["key", "size"], [["a", Bytes(1)]], title="<two>").html
    assert 'aria-label="&lt;two&gt;"><thead><tr><th scope="col">key</th>' in html
    assert '<div class="mf-title">&lt;two&gt;</div>' in html
    html = render.facts("one", [("size", Bytes(3))]).html
    assert 'aria-label="one"><tbody>' in html and '<th scope="row">size</th>' in html


def test_a_bar_gives_its_share_as_text() -> None:
    """The bar itself is drawn by styles, and hidden from screen readers."""
    html = render.table(["share"], [[Bar(0.25)]]).html
    assert '<span class="mf-bar" aria-hidden="true">' in html and ">25.0%</span>" in html


def test_a_tree_is_a_list_of_lists() -> None:
    """Without style sheets a list indents its levels, and a screen reader tells how many entries it has."""
    html = render.tree(
        "root", [Branch("a/", children=(Branch("b"),), about="1 object", is_open=False), Branch("d")]
    ).html
    tags = [tag for tag in read(html).tags if tag != "style"]
    leaf = ["li", "div", "bdi"]
    assert tags == ["div", "div", "ul", "li", "details", "summary", "bdi", "span", "ul", *leaf, *leaf]
    assert '<ul aria-label="root">' in html and "<details><summary" in html


def test_what_html_only_says_does_not_change_the_text() -> None:
    branch = Branch("a/", children=(), about="1 object", is_open=False)
    assert render.tree("root", [branch]).text == "root\n└── a/"
    assert "1 object" in render.tree("root", [branch]).html


def test_a_section_can_be_folded() -> None:
    inner = render.facts("inside", [("a", 1)])
    shown = render.section("more <b>", inner, is_open=False)
    assert '<details><summary class="mf-head">more &lt;b&gt;</summary>' in shown.html
    assert "<details open>" in render.section("more", inner).html
    assert shown.html.count("<style>") == 1 and shown.text.splitlines()[0] == "more <b>"
    assert read(shown.html).tags.count("table") == 1
