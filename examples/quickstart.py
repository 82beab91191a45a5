"""A small ETL job over the source of your Python's standard library, on an embedded S3 server.

It uploads the files to a bucket, lists them, reads a selection, writes a result, and prints the number of requests of each step.
"""

from __future__ import annotations

import re
import sysconfig
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import messageflux_s3 as s3

STDLIB = Path(sysconfig.get_path("stdlib"))
LEFT_OUT = {"__pycache__", "site-packages", "dist-packages", "lib-dynload"}
IMPORT = re.compile(r"^\s*(?:from|import)\s+(\w+)", re.MULTILINE)


def source_files() -> Iterator[Path]:
    for path in sorted(STDLIB.rglob("*.py")):
        if not LEFT_OUT & set(path.relative_to(STDLIB).parts):
            yield path


@contextmanager
def step(local: s3.LocalS3, title: str) -> Iterator[None]:
    """Print the requests of a step, as counted by the server."""
    before, started = Counter(local.requests_served()), time.perf_counter()
    yield
    seconds, spent = time.perf_counter() - started, Counter(local.requests_served()) - before
    cost = ", ".join(f"{count:,} {method}" for method, count in sorted(spent.items())) or "none"
    print(f"  [{title}: requests {cost}; {seconds:.1f} s]\n")


def main() -> None:
    with s3.LocalS3() as local:
        store = local.connect()

        print("1. Load: every source file into a bucket whose objects live for 30 days, with metadata")
        with step(local, "load"), ThreadPoolExecutor(16) as pool:
            bucket = store.create_bucket("quickstart", lifetime_in_days=30)

            def load(path: Path) -> int:
                key = f"stdlib/{path.relative_to(STDLIB).as_posix()}"
                text = path.read_bytes()
                bucket.put_object(key, text, {"lines": str(text.count(b"\n")), "source": STDLIB.name})
                return len(text)

            sizes = list(pool.map(load, source_files()))
            print(f"   {len(sizes):,} files, {sum(sizes) / 1e6:.1f} MB")

        print("2. Look: the biggest packages, from the listing alone")
        with step(local, "look"):
            packages: Counter[str] = Counter()
            files: Counter[str] = Counter()
            for obj in bucket.find(prefix="stdlib/", glob="stdlib/*/**"):
                package = obj.key.split("/")[1]
                packages[package] += obj.size
                files[package] += 1
            for package, size in packages.most_common(8):
                print(
                    f"   {package:<16} {files[package]:>6,} files {size / 1e6:>7.2f} MB  {'█' * (size * 40 // max(packages.values()))}"
                )

        print("3. Read: which modules do the top-level modules import most?")
        with step(local, "read"):
            imported: Counter[str] = Counter()
            for obj in bucket.find(prefix="stdlib/", glob="stdlib/*.py"):
                imported.update(set(IMPORT.findall(obj.body.decode("utf-8", "replace"))))
            for module, count in imported.most_common(8):
                print(f"   {module:<16} in {count:>4} modules  {'█' * (count * 40 // max(imported.values()))}")

        print("4. Write: the result goes back as an object, and its handle knows it already")
        with step(local, "write"):
            result = bucket.put_json("results/imports.json", dict(imported.most_common()))
            print(f"   {result.uri}: {result.size:,} bytes, etag {result.etag}")

        print("5. Ask twice: metadata is one HEAD, then remembered")
        with step(local, "ask twice"):
            obj = bucket["stdlib/json/__init__.py"]
            print(f"   {obj.key}: {obj.metadata['lines']} lines, from {obj.metadata['source']}")


if __name__ == "__main__":
    main()
