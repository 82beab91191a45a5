"""Draws dask-run.svg: the job of examples/dask_job.py on three workers, one of them killed in the middle.

python docs/img/dask_run.py
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent.parent), str(HERE.parent.parent / "examples")]

import dask_job  # noqa: E402
from dask.distributed import Client, LocalCluster, get_task_stream  # noqa: E402

import messageflux_s3 as s3  # noqa: E402

LEFT, WIDTH, ROW = 90, 640, 34


def draw(tasks: list[dict[str, Any]], killed_at: float) -> str:
    """The picture: a row for each worker, a bar for each task."""
    bars = [
        (task["worker"], span["start"], span["stop"], task["key"])
        for task in tasks
        for span in task["startstops"]
        if span["action"] == "compute"
    ]
    workers = sorted(
        {worker for worker, *_ in bars}, key=lambda worker: min(start for name, start, *_ in bars if name == worker)
    )
    first, last = min(start for _, start, *_ in bars), max(stop for _, _, stop, _ in bars)
    scale = WIDTH / (last - first)
    height = ROW * len(workers) + 70
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 20}" height="{height}" font-family="sans-serif" font-size="12">',
        f'<rect width="100%" height="100%" fill="white"/><text x="{LEFT}" y="16">{last - first:.1f} seconds, {len(bars)} tasks</text>',
    ]
    for row, worker in enumerate(workers):
        y = 28 + row * ROW
        parts.append(f'<text x="8" y="{y + 18}">worker {row + 1}</text>')
        for name, start, stop, key in bars:
            if name == worker:
                colour = "#d08020" if "write_day" in key else "#3070b0"
                x, wide = LEFT + (start - first) * scale, max(1.0, (stop - start) * scale - 0.5)
                parts.append(f'<rect x="{x:.1f}" y="{y}" width="{wide:.1f}" height="{ROW - 10}" fill="{colour}"/>')
    x = LEFT + (killed_at - first) * scale
    y = 28 + len(workers) * ROW
    parts.append(
        f'<line x1="{x:.1f}" y1="22" x2="{x:.1f}" y2="{y}" stroke="#c00000" stroke-width="2" stroke-dasharray="4 3"/>'
    )
    parts.append(f'<text x="{x + 4:.1f}" y="{y + 14}" fill="#c00000">a worker is killed</text>')
    legend = '<tspan fill="#3070b0">■</tspan> parse a log   <tspan fill="#d08020">■</tspan> write a day'
    parts.append(f'<text x="{LEFT}" y="{y + 32}">{legend}</text>')
    return "\n".join([*parts, "</svg>", ""])


def main() -> None:
    import time

    with s3.LocalS3() as local:
        bucket = local.connect(pickle_secrets=True).create_bucket("dask-picture")
        for day in range(6):
            for hour in range(24):
                bucket.put_object(
                    f"raw/2026-11-{day + 1:02}/{hour:02}.csv", "".join(f"{200 + n % 4},{n}\n" for n in range(20_000))
                )
        with (
            LocalCluster(n_workers=3, threads_per_worker=1, dashboard_address=None) as cluster,
            Client(cluster) as client,
        ):
            killed: list[float] = []

            def kill_one(done: int) -> None:
                if done >= 48 and not killed:
                    os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)
                    killed.append(time.time())

            with get_task_stream(client) as stream:
                dask_job.run(bucket, client.get_executor(), kill_one)
            (HERE / "dask-run.svg").write_text(draw(stream.data, killed[0]), encoding="utf-8")


if __name__ == "__main__":
    main()
