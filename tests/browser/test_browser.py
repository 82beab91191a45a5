"""HTML representations in a real browser: headless Chromium, light and dark, 800 pixels wide."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from datetime import datetime, timezone
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from messageflux_s3 import Capabilities, S3Bucket, SyncPlan, SyncStep
from messageflux_s3._display import treemap
from messageflux_s3._formats import render

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--window-size=800,1200", "--hide-scrollbars",
)  # fmt: skip
DARK = "--blink-settings=preferredColorScheme=0"
LIGHT = "--blink-settings=preferredColorScheme=1"
NASTY = "<script>document.title='owned'</script>"
LOOK = """
<script>
window.addEventListener('load', () => {
  const first = document.querySelector('.mfs3'), style = getComputedStyle(first);
  const seen = {
    width: document.documentElement.scrollWidth,
    wide: [...document.querySelectorAll('.mfs3')].filter(e => e.scrollWidth > e.clientWidth).map(e => e.innerText.slice(0, 60)),
    ink: style.color, paper: style.backgroundColor, title: document.title, text: document.body.innerText,
    scripts: document.querySelectorAll('.mfs3 script, .mfs3 iframe').length,
  };
  const told = document.createElement('pre');
  told.id = 'seen'; told.textContent = JSON.stringify(seen);
  document.body.replaceChildren(told);
});
</script>
"""


@pytest.fixture(scope="module")
def chromium() -> str:
    """The browser: Debian's package."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    assert found is not None, "these tests need Chromium: apt-get install chromium"
    return found


def page_of(bucket: S3Bucket) -> str:
    """Return a page with every HTML representation, with hostile names."""
    bucket.put_objects([(NASTY, "x"), ("long/" + "k" * 400, "x"), (f"t/{NASTY}.csv", f"{NASTY},b\n1,{'w' * 300}\n")])
    bucket.put_object("t/wide.csv", ",".join(f"column{n}" for n in range(40)) + "\n" + ",".join(map(str, range(40))))
    with bucket.store.observe(NASTY) as seen:
        obj = bucket.put_object("o", "x", {"note": NASTY})
    plan = SyncPlan((SyncStep("copy", NASTY + "k" * 400, NASTY, 5, NASTY),), "to_store", bucket.name, NASTY, NASTY * 3)
    shown: list[Any] = [
        bucket.store, bucket, obj, bucket.find(prefix=NASTY), bucket.store.show(), bucket.show(), bucket.find().tree(), bucket.usage(),
        bucket[f"t/{NASTY}.csv"].preview(), bucket["t/wide.csv"].preview(), Capabilities(), bucket.find().browse(), plan, seen,
        render.table(["when"], [[datetime(2026, 1, 1, tzinfo=timezone.utc)]], title=NASTY),
    ]  # fmt: skip
    body = "".join(f"<div>{thing._repr_html_()}</div>" for thing in shown)
    return f"<!doctype html><meta charset=utf-8><title>quiet</title><body>{body}</body>"


def seen_by(chromium: str, page: str, theme: str, folder: Path) -> dict[str, Any]:
    """Return what the browser measures on a page."""
    file = folder / "page.html"
    file.write_text(page + LOOK, encoding="utf-8")
    command = [
        chromium,
        *FLAGS,
        theme,
        f"--user-data-dir={folder / theme[-1]}",
        "--virtual-time-budget=3000",
        "--dump-dom",
        file.as_uri(),
    ]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True).stdout
    told = re.search(r'<pre id="seen">(.*?)</pre>', dom, re.DOTALL)
    assert told is not None, dom[:500]
    seen: dict[str, Any] = json.loads(unescape(told[1]))
    return seen


def brightness(colour: str) -> int:
    """Return the brightness, from 0 for black to 255 * 3 for white."""
    return sum(map(int, re.findall(r"\d+", colour)[:3]))


def test_html_output_fits_800_pixels_in_light_and_dark_themes(
    chromium: str, moto_bucket: S3Bucket, tmp_path: Path
) -> None:
    """Nothing overflows the page, no script runs, and text contrasts with the background in both themes."""
    page = page_of(moto_bucket)
    for theme in (LIGHT, DARK):
        seen = seen_by(chromium, page, theme, tmp_path)
        assert seen["width"] <= 800
        assert [
            text for text in seen["wide"] if "wide.csv" not in text
        ] == []  # twenty columns scroll inside their own frame
        assert seen["title"] == "quiet" and seen["scripts"] == 0
        assert NASTY in seen["text"]
        contrast = brightness(seen["paper"]) - brightness(seen["ink"])
        assert contrast > 400 if theme == LIGHT else contrast < -400


def test_the_theme_of_the_notebook_takes_precedence_over_that_of_the_browser(chromium: str, tmp_path: Path) -> None:
    """Colours set by Jupyter are used, whatever theme the browser prefers."""
    page = "<!doctype html><body style='--jp-content-font-color1:rgb(1,2,3);--jp-layout-color0:rgb(250,251,252)'>"
    seen = seen_by(chromium, page + render.facts("t", [("a", "b")]).html, DARK, tmp_path)
    assert (seen["ink"], seen["paper"]) == ("rgb(1, 2, 3)", "rgb(250, 251, 252)")


def test_the_text_of_a_treemap_contrasts_with_its_rectangles(chromium: str, tmp_path: Path) -> None:
    """In both themes, and where a viewer strips style sheets."""
    drawn = treemap.draw("t", {"images/": 5000, "logs/": 1000}).html
    bare = re.sub(r"<style>.*?</style>| class=\"[^\"]*\"", "", drawn, flags=re.DOTALL).replace(
        "<div>", '<div class="mfs3">', 1
    )
    for theme, paper, ink in ((LIGHT, "#ffffff", "#111111"), (DARK, "#111111", "#eeeeee")):
        for html in (drawn, bare):
            page = (
                f"<!doctype html><meta charset=utf-8><body style='background:{paper};color:{ink}'>{html}</body>{FILLS}"
            )
            seen = seen_by(chromium, page, theme, tmp_path)
            [text, rectangle, opacity] = seen["title"].split("|")
            behind = [
                float(opacity) * front + (1 - float(opacity)) * back
                for front, back in zip(rgb(rectangle), rgb_of_hex(paper), strict=True)
            ]
            assert abs(sum(rgb(text)) - sum(behind)) > 300, (theme, text, rectangle)


FILLS = """
<script>
const style = selector => getComputedStyle(document.querySelector(selector));
document.title = [style('svg text').fill, style('svg rect').fill, style('svg rect').fillOpacity].join('|');
</script>
"""


def rgb(colour: str) -> list[int]:
    return [*map(int, re.findall(r"\d+", colour)[:3])]


def rgb_of_hex(colour: str) -> list[int]:
    return [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
