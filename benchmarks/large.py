"""Large transfers, near and far: ours and the peers in alternation, with the least time that the distance allows.

    python benchmarks/large.py [--mebibytes 192] [--rounds 3] [--server memory] [--round-trips 0 20 80] [--bandwidths 40 0]
                               [--peers messageflux_s3 boto3_resource obstore_threads s5cmd]

The server keeps everything in memory and takes parts side by side, or is rclone's (which writes the parts of an upload through one
handle). A round-trip time (in milliseconds) of 0 is measured without the proxy; a bandwidth (in MB/s, of each connection) of 0 is none.
The limit is that of a client with 16 connections: three requests that follow each other, and the bytes over all connections. The time
that the machine itself needs is not in it: client, proxy and server share its cores. On a busy machine compare the client's processor
time. The memory is the largest of the process so far.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support.servers import run_rclone  # noqa: E402 (the checkout has to be found first)

from benchmarks.distance import Distance, load, run_distant  # noqa: E402
from benchmarks.memory_server import ACCESS_KEY, SECRET_KEY, run_memory_server  # noqa: E402
from benchmarks.run import Peer  # noqa: E402

MIB = 1024 * 1024
LIMIT_CONNECTIONS = 16
ROUND_TRIPS = 3


@contextmanager
def running(server: str) -> Iterator[str]:
    """Run a server with the bucket ``bench``, and yield its URL."""
    if server == "memory":
        with run_memory_server() as url:
            yield url
    else:
        with run_rclone() as started:
            assert started.root is not None
            (started.root / "bench").mkdir()
            yield started.endpoint_url


def measure(options: argparse.Namespace, distance: Distance, large: Path, target: Path) -> None:
    """Print the medians of one distance."""
    seconds: dict[tuple[str, str], list[float]] = {}
    cpu: dict[tuple[str, str], list[float]] = {}
    memory: dict[str, float] = {}
    with running(options.server) as near, run_distant(near, distance) as url:
        environment = {
            "BENCH_URL": url,
            "BENCH_LIST_URL": url,
            "BENCH_BUCKET": "bench",
            "BENCH_ACCESS": ACCESS_KEY,
            "BENCH_SECRET": SECRET_KEY,
        }
        peers = [Peer(name, environment) for name in options.peers]
        for turn in range(options.rounds + 1):  # the first round is for warming up
            for peer in peers[turn % len(peers) :] + peers[: turn % len(peers)]:
                for task, path in (("upload", large), ("download", target)):
                    answer = peer.run(task, str(path))
                    if answer["problem"]:
                        print(f"{peer.name}: {task}: {answer['problem']}")
                    elif turn:
                        seconds.setdefault((task, peer.name), []).append(answer["seconds"])
                        cpu.setdefault((task, peer.name), []).append(answer["cpu"])
                        memory[peer.name] = answer["memory"]
                if target.exists() and target.stat().st_size != large.stat().st_size:
                    print(f"{peer.name}: what came back has another size")
                target.unlink(missing_ok=True)
        for peer in peers:
            peer.close()
    limit = distance.least_seconds(ROUND_TRIPS, large.stat().st_size, LIMIT_CONNECTIONS)
    for task in ("upload", "download"):
        medians = {name: statistics.median(found) for (kind, name), found in seconds.items() if kind == task}
        others = [value for name, value in medians.items() if name != "messageflux_s3"]
        ours = medians.get("messageflux_s3")
        ratio = f"{min(others) / ours:.2f} x the best other" if ours and others else ""
        shown = "  ".join(
            f"{name} {value:.2f} s (CPU {statistics.median(cpu[task, name]):.2f} s, {memory[name]:.0f} MiB)"
            for name, value in medians.items()
        )
        print(f"{distance!s:<34} {task:<9} limit {limit:.2f} s  {shown}  {ratio}  [{load()}]", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mebibytes", type=int, default=192)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--server", choices=("memory", "rclone"), default="memory")
    parser.add_argument("--round-trips", type=float, nargs="*", default=[0, 20, 80])
    parser.add_argument("--bandwidths", type=float, nargs="*", default=[40, 0])
    parser.add_argument("--peers", nargs="*", default=["messageflux_s3", "boto3_resource", "obstore_threads", "s5cmd"])
    options = parser.parse_args()
    in_memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # the disk is not what is measured
    with tempfile.TemporaryDirectory(dir=in_memory) as folder:
        large, target = Path(folder, "large"), Path(folder, "down")
        with large.open("wb") as file:
            for _ in range(options.mebibytes):
                file.write(os.urandom(MIB))
        distances = [Distance()] if 0 in options.round_trips else []
        for milliseconds in options.round_trips:
            for megabytes in options.bandwidths if milliseconds else []:
                distances.append(Distance(milliseconds / 1000, megabytes * 1e6 or float("inf")))
        for distance in distances:
            measure(options, distance, large, target)


if __name__ == "__main__":
    main()
