"""Usage and tables over one million listed keys: seconds, and memory at its highest.

The entries are made here, as the parser of a listing makes them, so that what is measured is this side alone. Run it from the repository:
python benchmarks/tables_and_usage.py
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from messageflux_s3._bulk.listing import Listed
from messageflux_s3._display import tables
from messageflux_s3._display.usage import measure

KEYS = 1_000_000


def entries() -> Iterator[Listed]:
    """A million entries, a thousand at a time as pages give them."""
    for n in range(KEYS):
        yield Listed(
            f"data/{n % 500:03d}/{n:09d}.json",
            f"2026-{n % 12 + 1:02d}-01T00:00:00.000Z",
            f"{n:032x}",
            str(n % 100_000),
            "STANDARD",
        )


def listing() -> None:
    """The entries alone: what the others cost is above this."""
    for _ in entries():
        continue


def usage() -> None:
    """One pass, memory that does not grow."""
    assert measure(entries(), where="", prefix="data/").count == KEYS


def pandas() -> None:
    """A whole DataFrame."""
    assert len(tables.to_pandas(entries())) == KEYS


def arrow() -> None:
    """A whole Arrow table."""
    assert tables.arrow_batches(entries()).read_all().num_rows == KEYS


def batches() -> None:
    """Arrow's batches, each let go before the next."""
    assert sum(batch.num_rows for batch in tables.arrow_batches(entries())) == KEYS


TASKS = {function.__name__: function for function in (listing, usage, pandas, arrow, batches)}


def main() -> None:
    """Each task in a process of its own, since the highest memory of a process never falls."""
    if len(sys.argv) > 1:
        if sys.argv[1] == "pandas":
            import pandas  # noqa: F401  # the import is not what is measured
        if sys.argv[1] in ("arrow", "batches"):
            import pyarrow.compute  # noqa: F401
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.perf_counter()
        TASKS[sys.argv[1]]()
        seconds = time.perf_counter() - start
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        print(f"{sys.argv[1]:<8}  {seconds:5.1f} s  {grown:6.0f} MiB more than before")
        return
    for name in TASKS:
        subprocess.run([sys.executable, __file__, name], check=True)


if __name__ == "__main__":
    main()
