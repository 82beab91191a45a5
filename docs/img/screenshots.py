"""Take screenshots of the notebook views in headless Chromium: each view, light and dark, 360 and 1200 pixels wide.

    python docs/img/screenshots.py FOLDER          # all of them, to look at
    python docs/img/screenshots.py FOLDER usage    # one view
    python docs/img/screenshots.py --docs          # the pictures that the documentation shows, into docs/img

With ``--stripped`` the pages have no style sheets and no style attributes, as in viewers that remove them. The views are made with
LocalS3, from the same data in every run. Needs Chromium and Pillow, which matplotlib installs.
"""

from __future__ import annotations

import argparse
import random
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from PIL import Image, ImageChops

import messageflux_s3 as s3

HERE = Path(__file__).parent
WIDTHS = (360, 1200)
THEMES = {"light": ("1", "#ffffff", "#1f2328"), "dark": ("0", "#0d1117", "#e6edf3")}
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars",
)  # fmt: skip
TALLEST = 3000
IN_DOCS = ("tree", "usage")
View = Callable[[], str]


@contextmanager
def views() -> Iterator[dict[str, View]]:
    """Yield a function for each view that returns its HTML."""
    with s3.LocalS3() as local, tempfile.TemporaryDirectory() as temporary:
        store = local.connect()
        bucket = store.create_bucket("field-station")
        chance = random.Random(7)
        bucket.put_objects(
            (f"{folder}/2026/{month:02d}/{n:03d}{extension}", bytes(chance.randrange(size)))
            for folder, extension, size, count in (
                ("soundings", ".nc", 90_000, 14),
                ("images", ".png", 60_000, 9),
                ("tables", ".parquet", 40_000, 5),
                ("logs", ".log.gz", 9_000, 6),
            )
            for month in range(1, 7)
            for n in range(count)
        )
        bucket.put_objects(
            [
                ("README.md", "# Field station\n\nSoundings, images, tables.\n"),
                (
                    "stations.csv",
                    "station,height,since\nZugspitze,2962,1900\nHohenpeissenberg,977,1781\nPotsdam,81,1893\n",
                ),
            ]
        )
        folder = Path(temporary) / "soundings"
        folder.mkdir()
        for number in range(12):
            (folder / f"{number:03d}.nc").write_bytes(bytes(chance.randrange(90_000)))
        bucket.upload_file(folder / "000.nc", "new/000.nc")
        bucket.put_object("new/gone.nc", b"x" * 4000)
        plan = bucket.sync_from_folder(folder, "new", dry_run=True, delete=True)
        with store.observe() as seen:
            bucket.upload_folder(folder, "observed")
            for obj in bucket.find("observed/").prefetch():
                assert obj.body is not None
            bucket["observed/none"].exists()
        bucket.find("observed/").delete()
        probed = s3.Capabilities(
            versioning=True,
            put_if_absent="honoured",
            put_if_match="honoured",
            object_tagging=True,
            server="Ceph",
            probed_at=datetime(2026, 11, 21, tzinfo=timezone.utc),
        )
        known = s3.S3Store(s3.S3Config("https://s3.example.org", region="eu-central-1", capabilities=probed))
        yield {
            "store": lambda: known._repr_html_(),
            "bucket": lambda: bucket.show().html,
            "tree": lambda: bucket.find().tree(depth=4, entries=8).html,
            "usage": lambda: bucket.usage()._repr_html_(),
            "plan": lambda: plan._repr_html_(),
            "observation": lambda: seen._repr_html_(),
            "preview": lambda: bucket["stations.csv"].preview().html,
        }


def stripped(html: str) -> str:
    """Return the HTML without style sheets, scripts, and attributes that style."""
    html = re.sub(r"<(style|script)\b.*?</\1>", "", html, flags=re.DOTALL)
    return re.sub(r"""\s(?:style|class)=("[^"]*"|'[^']*')""", "", html)


def take(html: str, target: Path, theme: str, width: int) -> None:
    """Write a screenshot as PNG, without the empty space below."""
    scheme, paper, ink = THEMES[theme]
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("screenshots need Chromium: apt-get install chromium")
    # The page stands in a frame, because a browser's window cannot be as narrow as a phone.
    page = (
        f"<!doctype html><meta charset=utf-8><style>html{{color-scheme:{theme}}}"
        f"body{{margin:0;padding:8px;background:{paper};color:{ink};font:14px system-ui}}</style><body>{html}</body>"
    )
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "page.html").write_text(page, encoding="utf-8")
        frame = f"<iframe src=page.html width={width} height={TALLEST} style='border:0'>"
        outer = f"<!doctype html><body style='margin:0;background:{paper}'>{frame}"
        (Path(folder) / "outer.html").write_text(outer, encoding="utf-8")
        shot = Path(folder) / "shot.png"
        command = [
            chromium, *FLAGS, f"--blink-settings=preferredColorScheme={scheme}", f"--user-data-dir={folder}/profile",
            f"--window-size={max(width, 800)},{TALLEST}", f"--screenshot={shot}", (Path(folder) / "outer.html").as_uri(),
        ]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        with Image.open(shot) as image:
            seen = image.convert("RGB").crop((0, 0, width, TALLEST))
    background = Image.new("RGB", seen.size, seen.getpixel((1, TALLEST - 2)))
    used = ImageChops.difference(seen, background).getbbox()
    cut = seen.crop((0, 0, width, min((used[3] if used else 0) + 12, TALLEST)))
    cut.quantize(128).save(target, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("views", nargs="*")
    parser.add_argument("--docs", action="store_true", help="write the pictures of the documentation")
    parser.add_argument("--stripped", action="store_true", help="without style sheets and style attributes")
    parser.add_argument("--width", type=int, action="append", help="a width in pixels; else 360 and 1200")
    asked = parser.parse_args()
    if asked.docs == (asked.folder is not None):
        parser.error("name a folder, or --docs")
    began = datetime.now(timezone.utc)
    with views() as found:
        if asked.docs:
            html = "".join(found[name]() for name in IN_DOCS)
            for theme in THEMES:
                take(html, HERE / f"notebook-{theme}.png", theme, 1000)
            return
        asked.folder.mkdir(parents=True, exist_ok=True)
        wanted = {name: found[name]() for name in asked.views or found}
    for name, html in wanted.items():
        for theme in THEMES:
            for width in asked.width or WIDTHS:
                take(
                    stripped(html) if asked.stripped else html,
                    asked.folder / f"{name}-{theme}-{width}.png",
                    theme,
                    width,
                )
    print(f"{asked.folder}: {datetime.now(timezone.utc) - began}")


if __name__ == "__main__":
    main()
