"""Take screenshots of the notebook views in headless Chromium: each view, light and dark, 360 and 1200 pixels wide.

    python docs/img/screenshots.py FOLDER          # all of them, to look at
    python docs/img/screenshots.py FOLDER usage    # one view
    python docs/img/screenshots.py --docs          # the pictures that the documentation shows, into docs/img

With ``--stripped`` the pages have no style sheets and no style attributes, as in viewers that remove them. The views are made with
LocalS3, from the same data in every run. Needs Chromium, pandas, pyarrow, and Pillow, which matplotlib installs.
"""

from __future__ import annotations

import argparse
import io
import random
import re
import shutil
import subprocess
import tempfile
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas
from PIL import Image, ImageChops

import messageflux_s3 as s3
from messageflux_s3._client.observation import Observers
from messageflux_s3._display import observation, show, usage

HERE = Path(__file__).parent
WIDTHS = (360, 1200)
THEMES = {"light": ("1", "#ffffff", "#1f2328"), "dark": ("0", "#0d1117", "#e6edf3")}
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars",
)  # fmt: skip
TALLEST = 3000
WIDEST = 8000
IN_DOCS = ("tree", "usage")
HARD_KEYS = (
    "a/very/long/key/" + "with-a-name-that-has-no-place-to-break-" * 8 + ".csv",
    "一月/数据/观测记录.csv",
    "תצפיות/ינואר/טמפרטורה.csv",
    "קלט/a-מדידה-b.csv",
    "emoji/🌧️ rain 👩‍🔬.json",
    "control/a\x1b[31m\u202ered.txt",
    "space/ leading and trailing ",
    "markup/<b>bold</b>&amp;.html",
    "//double//slash",
    "Ångström/naïve.txt",
)
View = Callable[[], str]


class Shot(NamedTuple):
    """A screenshot to take: a page, its width in pixels and the file."""

    html: str
    width: int
    target: Path


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
        hard = store.create_bucket("hard-names")
        hard.put_objects((key, b"x" * size) for size, key in enumerate(HARD_KEYS, 1))
        rules = store.create_bucket("rules")
        rules.lifecycle.expire(days=7, prefix="tmp/")
        rules.lifecycle.abort_unfinished_uploads(days=3)
        planned = rules.lifecycle.ensure(s3.LifecycleRule("archive", transitions=((30, "GLACIER"),)), dry_run=True)
        others = store.create_bucket("samples")
        described = others.put_object(
            "described.txt", "Described.", {"station": "Zugspitze", "observer": "Ångström, 李"}
        )
        others.put_objects(samples())
        absent = s3.S3NoSuchItem("s3://field-station/none.nc does not exist", code="NoSuchKey", status=404)
        failed = s3.BatchResult(succeeded=(), failures=(s3.Failure("none.nc", None, absent),) * 3)
        yield {
            "store": lambda: known._repr_html_(),
            "bucket": lambda: bucket.show().html,
            "cards": lambda: "".join(
                each._repr_html_()
                for each in (store, store.show(), bucket, described, bucket.find("logs/", min_size=5))
            ),
            "rules": lambda: rules.show().html + rules.lifecycle.get()._repr_html_() + planned._repr_html_(),
            "capabilities": lambda: probed._repr_html_(),
            "empty": lambda: empty_views(store.create_bucket("empty")),
            "hard": lambda: hard.show().html + hard.find().tree(depth=3).html + hard.usage()._repr_html_(),
            "browse": lambda: bucket.find().browse()._repr_html_(),
            "large": large_views,
            "failures": lambda: failed._repr_html_() + refused_settings(),
            "samples": lambda: "".join(others[key].preview(lines=6).html for key, _ in samples()),
            "plot": lambda: (
                f'<img src="data:image/png;base64,{b64encode(bucket.usage().plot()._repr_png_()).decode()}">'
            ),
            "tree": lambda: bucket.find().tree(depth=4, entries=8).html,
            "usage": lambda: bucket.usage()._repr_html_(),
            "plan": lambda: plan._repr_html_(),
            "observation": lambda: seen._repr_html_(),
            "preview": lambda: bucket["stations.csv"].preview().html,
        }


def samples() -> list[tuple[str, bytes | str]]:
    """Return an object of each kind that has a preview."""
    picture, table = io.BytesIO(), io.BytesIO()
    Image.linear_gradient("L").resize((320, 80)).save(picture, "PNG")
    frame = pandas.DataFrame({"station": ["Zugspitze", "Potsdam"], "height": [2962, 81], "mean": [-4.1, 9.25]})
    frame.to_parquet(table)
    wide = (
        ",".join(f"column {n}" for n in range(30)) + "\n" + "\n".join(",".join(map(str, range(30))) for _ in range(9))
    )
    return [
        ("samples/forecast.json", '{"station": "Potsdam", "hours": [6, 12, 18], "level": {"metres": 81}}'),
        ("samples/events.jsonl", '{"id": 1, "note": "frost", "ok": true}\n{"id": 20, "note": null, "ok": false}\n'),
        ("samples/wide.csv", wide),
        ("samples/station.parquet", table.getvalue()),
        ("samples/picture.png", picture.getvalue()),
        ("samples/notes.txt", "\n".join(f"{n:>4}  a note on the sounding of this hour, " * 4 for n in range(20))),
        ("samples/raw.bin", bytes(range(256)) * 2),
        ("samples/none.txt", b""),
    ]


def empty_views(bucket: s3.S3Bucket) -> str:
    """Return the views of a bucket without objects."""
    with bucket.store.observe() as seen:
        pass
    plan = s3.SyncPlan((), "to_store", bucket.name, "", "/data/empty")
    shown = (
        bucket.show(),
        bucket.find().show(),
        bucket.find().tree(),
        bucket.find().browse(),
        bucket.usage(),
        plan,
        seen,
    )
    return "".join(each._repr_html_() for each in shown)


def refused_settings() -> str:
    """Return the view of a bucket whose settings the store refuses or does not support."""

    def refuse(error: Exception) -> str:
        raise error

    errors = (
        s3.S3AccessDenied("denied", code="AccessDenied", status=403),
        s3.S3Unsupported("no such setting"),
        s3.S3Error("broken", code="InternalError", status=500),
    )
    settings = {
        name: partial(refuse, error) for name, error in zip(("versioning", "lifecycle", "public"), errors, strict=True)
    }
    return show.describe_bucket("not-mine", settings, show.tabulate_entries([], 20, "what is in it")).html


def large_views() -> str:
    """Return the usage of a million objects, a plan of many files and the requests of a long run."""
    chance = random.Random(3)
    classes = ("STANDARD", "STANDARD", "GLACIER_IR", "DEEP_ARCHIVE")
    entries = (
        (
            f"{'archive/' if number % 3 else 'raw/'}{number % 40:02d}/{number}.{('parquet', 'json', 'tif')[number % 3]}",
            f"202{number % 7}-0{1 + number % 9}-11T10:00:00",
            "",
            str(int(1.7 ** chance.randrange(45))),
            classes[number % 4],
        )
        for number in range(1_000_000)
    )
    measured = usage.measure(entries, where="s3://archive/", depth=2, now=datetime(2026, 11, 22, tzinfo=timezone.utc))
    steps = tuple(s3.SyncStep("copy", f"archive/{n:07d}.tif", f"{n:07d}.tif", n * 1001, "new") for n in range(120_000))
    plan = s3.SyncPlan(steps, "to_store", "archive", "", "/data/archive")
    seen = s3.Observation(Observers())
    for operation, size in (("CompleteMultipartUpload", 0), ("UploadPart", 8 << 20), ("ListObjectsV2", 300_000)):
        for number in range(3000):
            seen._sums.setdefault((operation, "lane"), observation._Sums()).add(
                [(operation, "lane", 1 + (number % 50 == 0), 0, None if number % 90 else "x", size, 0, number / 700)]
            )
    return measured._repr_html_() + plan._repr_html_() + seen._repr_html_()


def stripped(html: str) -> str:
    """Return the HTML without style sheets, scripts, and attributes that style."""
    html = re.sub(r"<(style|script)\b.*?</\1>", "", html, flags=re.DOTALL)
    return re.sub(r"""\s(?:style|class)=("[^"]*"|'[^']*')""", "", html)


def take(shots: Sequence[Shot], theme: str) -> None:
    """Write screenshots as PNGs, without the empty space below. One start of the browser takes several, side by side."""
    scheme, paper, ink = THEMES[theme]
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("screenshots need Chromium: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder:
        frames, left = "", 0
        for number, shot in enumerate(shots):
            # Each page stands in a frame, because a browser's window cannot be as narrow as a phone.
            page = (
                f"<!doctype html><meta charset=utf-8><style>html{{color-scheme:{theme}}}"
                f"body{{margin:0;padding:8px;background:{paper};color:{ink};font:14px system-ui}}</style><body>{shot.html}</body>"
            )
            (Path(folder) / f"{number}.html").write_text(page, encoding="utf-8")
            place = f"position:absolute;top:0;left:{left}px;border:0"
            frames += f"<iframe src={number}.html width={shot.width} height={TALLEST} style='{place}'></iframe>"
            left += shot.width
        (Path(folder) / "outer.html").write_text(
            f"<!doctype html><body style='margin:0;background:{paper}'>{frames}", encoding="utf-8"
        )
        picture = Path(folder) / "shot.png"
        command = [
            chromium, *FLAGS, f"--blink-settings=preferredColorScheme={scheme}", f"--user-data-dir={folder}/profile",
            f"--window-size={max(left, 800)},{TALLEST}", f"--screenshot={picture}", (Path(folder) / "outer.html").as_uri(),
        ]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True, timeout=300)
        with Image.open(picture) as image:
            seen = image.convert("RGB")
    left = 0
    for shot in shots:
        part = seen.crop((left, 0, left + shot.width, TALLEST))
        left += shot.width
        background = Image.new("RGB", part.size, part.getpixel((1, TALLEST - 2)))
        used = ImageChops.difference(part, background).getbbox()
        cut = part.crop((0, 0, shot.width, min((used[3] if used else 0) + 12, TALLEST)))
        shot.target.parent.mkdir(parents=True, exist_ok=True)
        cut.quantize(128).save(shot.target, optimize=True)


def side_by_side(shots: Sequence[Shot]) -> Iterator[list[Shot]]:
    """Yield groups of screenshots that fit into one window."""
    group: list[Shot] = []
    for shot in shots:
        if group and sum(each.width for each in group) + shot.width > WIDEST:
            yield group
            group = []
        group.append(shot)
    if group:
        yield group


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
                take([Shot(html, 1000, HERE / f"notebook-{theme}.png")], theme)
            return
        wanted = {name: found[name]() for name in asked.views or found}
    for theme in THEMES:
        shots = [
            Shot(stripped(html) if asked.stripped else html, width, asked.folder / f"{name}-{theme}-{width}.png")
            for name, html in wanted.items()
            for width in asked.width or WIDTHS
        ]
        for group in side_by_side(shots):
            take(group, theme)
    print(f"{asked.folder}: {datetime.now(timezone.utc) - began}")


if __name__ == "__main__":
    main()
