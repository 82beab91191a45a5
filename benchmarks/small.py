"""Many small objects, near and far: ours and the peers in alternation, with the least time that the distance allows.

    python benchmarks/small.py [--objects 4000] [--rounds 3] [--round-trips 0 1 20 80] [--rate 0]
                               [--peers messageflux_s3 messageflux_s3_async obstore_threads obstore_async boto3_threads s5cmd]

All peers at their defaults, except that those without a bulk operation have 16 threads, or 64 coroutines: see ``peers.py``. The server
(``distant_server.py``) has canned answers, so that what is measured is the client and the distance. The limit is that of a client with 64
connections (one, where requests follow each other), without the time that the machine itself needs. The asynchronous peers are compared
with each other, the others with each other. With ``--rate`` the server refuses what exceeds that many requests a second, and the share of
refused requests is printed too.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from benchmarks.distance import load  # noqa: E402 (the checkout has to be found first)
from benchmarks.distant_server import LISTED, run_distant_server  # noqa: E402
from benchmarks.run import Peer  # noqa: E402

CONNECTIONS = 64
SIZE = 1024


def work(objects: int, round_trip: float) -> list[tuple[str, str, tuple[Any, ...], int, float]]:
    """Return the tasks: name, the peers' name for it, its arguments, the number of objects, and the least seconds."""
    one_by_one = 200 if round_trip else 1000
    return [
        ("read many", "read", (objects, SIZE), objects, objects * round_trip / CONNECTIONS),
        ("write many", "write", (objects, SIZE), objects, objects * round_trip / CONNECTIONS),
        ("read one by one", "get one", (one_by_one, SIZE), one_by_one, one_by_one * round_trip),
        ("write one by one", "put one", (one_by_one, SIZE), one_by_one, one_by_one * round_trip),
        ("list", "list", (), LISTED, LISTED / 1000 * round_trip),
    ]


def counts(url: str) -> tuple[int, int]:
    """Return how many requests were served and refused since the last call."""
    with urllib.request.urlopen(f"{url}/-counts") as answer:
        served, refused = answer.read().split()
    return int(served), int(refused)


def measure(options: argparse.Namespace, round_trip: float) -> None:
    """Print the medians of one distance."""
    with run_distant_server(round_trip, options.rate) as url:
        environment = {
            "BENCH_URL": url, "BENCH_LIST_URL": url, "BENCH_BUCKET": "bench", "BENCH_ACCESS": "ACCESSKEY01",
            "BENCH_SECRET": "SECRETKEY0123456",
        }  # fmt: skip
        peers = [Peer(name, environment) for name in options.peers]
        tasks = {peer: [task for task in peer.tasks if (task, peer.name) != ("read", "s5cmd")] for peer in peers}
        for peer in peers:  # s5cmd reads only what is listed
            for task in ("write", "read", "put one", "get one"):
                if task in tasks[peer]:
                    peer.run(task, 50, SIZE)
        for label, task, arguments, objects, limit in work(options.objects, round_trip):
            if options.only and task not in options.only:
                continue
            figures: dict[str, list[dict[str, Any]]] = {}
            answered: dict[str, list[tuple[int, int]]] = {}
            for turn in range(options.rounds):
                first = turn * len(peers) // options.rounds  # nobody always follows the same one
                for peer in peers[first:] + peers[:first]:
                    if task not in tasks[peer]:
                        continue
                    counts(url)
                    answer = peer.run(task, *arguments)
                    if answer["problem"]:
                        print(f"{peer.name}: {label}: {answer['problem']}", flush=True)
                        continue
                    figures.setdefault(peer.name, []).append(answer)
                    answered.setdefault(peer.name, []).append(counts(url))
            report(options, round_trip, label, objects, limit, figures, answered)
        for peer in peers:
            peer.close()


def report(
    options: argparse.Namespace,
    round_trip: float,
    label: str,
    objects: int,
    limit: float,
    figures: dict[str, list[dict[str, Any]]],
    answered: dict[str, list[tuple[int, int]]],
) -> None:
    """Print the row of one task."""
    medians = {name: statistics.median(each["seconds"] for each in found) for name, found in figures.items()}
    shown, ratios = [], []
    for name, seconds in medians.items():
        cpu = statistics.median(each["cpu"] for each in figures[name]) / objects * 1e6
        requests = sum(map(sum, answered[name])) / len(answered[name])
        share = f", {sum(refused for _, refused in answered[name]) / sum(map(sum, answered[name])):.1%} refused"
        more = share if options.rate else f", {requests:.0f} requests" if label == "list" else ""
        shown.append(f"{name} {seconds:.2f} s ({cpu:,.0f} µs{more})")
    for ours in ("messageflux_s3", "messageflux_s3_async"):
        is_async = ours.endswith("_async")
        others = [
            value
            for name, value in medians.items()
            if not name.startswith("messageflux") and name.endswith("_async") is is_async
        ]
        if ours in medians and others:
            ratios.append(f"{ours}: {min(others) / medians[ours]:.2f} x the best other")
    distance = f"{round_trip * 1000:.0f} ms" if round_trip else "near"
    if options.rate:
        limit = max(limit, objects / options.rate)
    print(
        f"{distance:<6} {label:<17} limit {limit:.2f} s  {'  '.join(shown)}  {'; '.join(ratios)}  [{load()}]",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--round-trips", type=float, nargs="*", default=[0, 1, 20, 80])
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--only", nargs="*", help="tasks, by the peers' names for them, such as read and 'put one'")
    parser.add_argument(
        "--peers",
        nargs="*",
        default=[
            "messageflux_s3", "messageflux_s3_async", "obstore_threads", "obstore_async", "boto3_threads", "s5cmd",
        ],
    )  # fmt: skip
    options = parser.parse_args()
    for milliseconds in options.round_trips:
        measure(options, milliseconds / 1000)


if __name__ == "__main__":
    main()
