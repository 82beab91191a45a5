"""The benchmark: ours and the peers on the same work, on one server, in alternation.

    python benchmarks/run.py [--scale 1.0] [--rounds 3] [--only read list …] [--peers messageflux_s3 obstore_threads …]

Each peer runs in an environment of its own (made on first use under ``~/.cache/messageflux-s3-benchmarks``), in a process of its
own, so that pins do not clash and nothing is shared. The server is rclone's, for listings one with canned pages; those who take a
certificate of our own do some of it over TLS too. Every task runs once with each peer in turn, then again, from another peer on; the
median of the rounds counts. The result is a table of ratios and of client CPU, written to ``docs/explanation/`` with a chart and the raw
figures. A peer that fails or hangs at something says so under the table.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import venv
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support.servers import run_rclone  # noqa: E402 (the checkout has to be found first)

from benchmarks.pages import serve  # noqa: E402

PEERS: dict[str, list[str]] = {
    "messageflux_s3": ["boto3", "httptools", "cachetools"],
    "messageflux_s3_async": ["boto3", "httptools", "cachetools"],
    "boto3_resource": ["boto3"],
    "boto3_threads": ["boto3"],
    "obstore_threads": ["obstore"],
    "obstore_async": ["obstore"],
    "minio": ["minio"],
    "s3fs": ["s3fs"],
    "aioboto3": ["aioboto3"],
    "smart_open": ["smart_open[s3]"],
    "s5cmd": ["s5cmd"],
}
TAKES_A_CERTIFICATE = ("messageflux_s3", "messageflux_s3_async", "boto3_threads", "obstore_threads", "obstore_async")
LONGEST_TASK = 600.0
CACHE = Path.home() / ".cache" / "messageflux-s3-benchmarks"


Figures = dict[str, dict[str, list[dict[str, Any]]]]
"""Task, peer -> what each round took."""


class Peer:
    """A peer's process. Where it does not start, ends or hangs, it answers with that from then on."""

    def __init__(self, name: str, environment: dict[str, str]) -> None:
        self.name = name
        self.tasks: list[str] = []
        self._process: subprocess.Popen[str] | None = None
        self._end = ""
        environment = {**os.environ, **environment, "PYTHONPATH": str(ROOT) if name.startswith("messageflux") else ""}
        try:
            command = [str(python_of(name)), str(ROOT / "benchmarks" / "peers.py"), name]
        except (OSError, subprocess.CalledProcessError) as error:
            self._end = f"it cannot be installed: {error}"
            return
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.tasks = self._answer().get("tasks", [])

    def run(self, task: str, *arguments: Any) -> dict[str, Any]:
        """Have it do a task; the answer has seconds and CPU, or a problem."""
        if self._process is not None and not self._end:
            assert self._process.stdin is not None
            with suppress(BrokenPipeError):
                self._process.stdin.write(json.dumps([task, arguments]) + "\n")
                self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        if self._process is None or self._end:
            return {"problem": self._end}
        assert self._process.stdout is not None
        patience = threading.Timer(LONGEST_TASK, self._process.kill)
        patience.start()
        line = self._process.stdout.readline()
        patience.cancel()
        if not line:
            self._end = f"it ended with {self._process.wait(30)}"
            return {"problem": self._end}
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Let the process end."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()


def python_of(name: str) -> Path:
    """The interpreter of a peer's environment, made if it is not there."""
    folder = CACHE / "-".join(sorted(PEERS[name])).replace("[", "_").replace("]", "")
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not (folder / "ready").exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *PEERS[name]], check=True)
        (folder / "ready").touch()
    return python


Work = tuple[str, str, tuple[Any, ...], int]
"""How a task is called, what it is, with which arguments, and for how many objects it counts."""


def work(scale: float, large: str, target: str) -> list[Work]:
    """The tasks."""
    many, one, listed = max(50, int(10_000 * scale)), max(50, int(2_000 * scale)), max(1, int(100 * scale)) * 1000
    mebibytes = Path(large).stat().st_size >> 20
    return [
        ("write 1 KiB", "write", (many, 1024), many),
        ("read 1 KiB", "read", (many, 1024), many),
        ("write 64 KiB", "write", (many, 65536), many),
        ("read 64 KiB", "read", (many, 65536), many),
        ("list", "list", (), listed),
        ("put, one by one", "put one", (one, 1024), one),
        ("get, one by one", "get one", (one, 1024), one),
        ("head, one by one", "head one", (one, 1024), one),
        ("find, read, write back", "etl", (many // 4, 1024), many // 4),
        (f"upload {mebibytes} MiB", "upload", (large,), 1),
        (f"download {mebibytes} MiB", "download", (target,), 1),
    ]


def work_over_tls(scale: float) -> list[Work]:
    """The tasks that are done over TLS as well."""
    many, one = max(50, int(10_000 * scale)), max(50, int(2_000 * scale))
    return [
        ("write 1 KiB over TLS", "write", (many, 1024), many),
        ("read 1 KiB over TLS", "read", (many, 1024), many),
        ("put over TLS, one by one", "put one", (one, 1024), one),
        ("get over TLS, one by one", "get one", (one, 1024), one),
    ]


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for this machine that nobody vouches for, and its key."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


def measure(
    names: list[str],
    environment: dict[str, str],
    tasks: list[Work],
    rounds: int,
    figures: Figures,
    problems: dict[str, None],
) -> None:
    """Have the peers do the tasks, in alternation, round after round."""
    peers = [Peer(name, environment) for name in names]
    for peer in peers:  # connections made, modules loaded, code paths seen
        for task in ("write", "read", "put one", "get one"):
            if task in peer.tasks:
                peer.run(task, 50, 1024)
        if "list" in peer.tasks:
            peer.run("list")
        if not peer.tasks:
            problems[f"{peer.name}: {peer.run('read')['problem']}"] = None
    for label, task, arguments, objects in tasks:
        for turn in range(rounds):
            first = turn * len(peers) // rounds  # nobody always follows the same one
            for peer in peers[first:] + peers[:first]:
                if task not in peer.tasks:
                    continue
                if hasattr(os, "sync"):
                    os.sync()  # nobody waits for the disk on account of another
                answer = peer.run(task, *arguments)
                if answer["problem"]:
                    problems[f"{label}: {peer.name}: {answer['problem']}"] = None
                    continue
                answer["objects"] = objects
                figures.setdefault(label, {}).setdefault(peer.name, []).append(answer)
    for peer in peers:
        peer.close()


def import_time(name: str, statement: str) -> float:
    """Seconds that an import takes in a fresh interpreter, the best of seven, without the interpreter's own start."""
    python = str(python_of(name))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # as installed: with bytecode

    def once(code: str) -> float:
        began = time.perf_counter()
        subprocess.run([python, "-c", code], check=True, env=environment)
        return time.perf_counter() - began

    return min(once(statement) for _ in range(7)) - min(once("pass") for _ in range(7))


def chart(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """Bars of each peer's speed relative to ours, task by task, as SVG."""
    bar, gap, left, width = 14, 26, 190, 520
    rows: list[str] = []
    y = 10
    for task, found in results.items():
        rows.append(f'<text x="0" y="{y + 12}" font-weight="bold">{task}</text>')
        best = max(entry["rate"] for entry in found.values())
        y += 20
        for peer, entry in sorted(found.items(), key=lambda item: -item[1]["rate"]):
            length = max(1, round(width * entry["rate"] / best))
            colour = "#1f77b4" if peer == "messageflux_s3" else "#bbbbbb"
            rows.append(f'<text x="10" y="{y + 11}">{peer}</text>')
            rows.append(f'<rect x="{left}" y="{y}" width="{length}" height="{bar - 2}" fill="{colour}"/>')
            rows.append(
                f'<text x="{left + length + 6}" y="{y + 11}">{entry["rate"]:,.{0 if entry["rate"] >= 10 else 2}f}/s</text>'
            )
            y += bar
        y += gap
    style = "font: 11px sans-serif; fill: #333"
    return f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 90}" height="{y}" style="{style}">{"".join(rows)}</svg>\n'


def table(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """The figures as Markdown."""
    lines = [
        "| task | peer | per second | ours is × faster | client CPU, µs each | memory, MiB |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for task, found in results.items():
        ours = found.get("messageflux_s3", {}).get("rate", 0.0)
        for peer, entry in sorted(found.items(), key=lambda item: -item[1]["rate"]):
            numbers = (
                f"{entry['rate']:,.1f}",
                f"{ours / entry['rate']:.2f}",
                f"{entry['cpu'] * 1e6:,.0f}",
                f"{entry['memory']:,.0f}",
            )
            lines.append(f"| {task} | {peer} | {' | '.join(numbers)} |")
    return "\n".join(lines)


def machine() -> str:
    model = "an unnamed processor"
    if Path("/proc/cpuinfo").exists():
        names = [
            line.partition(": ")[2]
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ]
        model = names[0] if names else model
    return f"{os.cpu_count()} cores of {model}, {platform.system()} {platform.release()}, Python {platform.python_version()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="how much of the work, 1 being all of it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="tasks by the beginning of their names")
    parser.add_argument("--peers", nargs="*", default=[*PEERS], choices=[*PEERS])
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "explanation")
    options = parser.parse_args()
    figures: Figures = {}
    problems: dict[str, None] = {}  # a set that keeps its order
    with run_rclone() as server, tempfile.TemporaryDirectory() as folder:
        assert server.root is not None
        (server.root / "bench").mkdir()
        pages, told = max(1, int(100 * options.scale)), multiprocessing.Pipe(duplex=False)
        listing = multiprocessing.Process(target=serve, args=(pages, told[1]), daemon=True)
        listing.start()
        large = Path(folder, "large")
        with large.open("wb") as file:
            for _ in range(max(16, int(1024 * options.scale))):
                file.write(os.urandom(1 << 20))
        environment = {
            "BENCH_URL": server.endpoint_url,
            "BENCH_ACCESS": server.access_key,
            "BENCH_SECRET": server.secret_key,
            "BENCH_BUCKET": "bench",
            "BENCH_LIST_URL": f"http://127.0.0.1:{told[0].recv()}",
        }

        def wanted(tasks: list[Work]) -> list[Work]:
            return [
                task for task in tasks if not options.only or any(task[0].startswith(begin) for begin in options.only)
            ]

        tasks = wanted(work(options.scale, str(large), str(Path(folder, "down"))))
        measure(options.peers, environment, tasks, options.rounds, figures, problems)
        if tasks_over_tls := wanted(work_over_tls(options.scale)):
            paths = certificate(Path(folder))
            with run_rclone(certificate=paths) as secure:
                assert secure.root is not None
                (secure.root / "bench").mkdir()
                environment |= {"BENCH_URL": secure.endpoint_url, "BENCH_CERTIFICATE": str(paths[0])}
                names = [name for name in options.peers if name in TAKES_A_CERTIFICATE]
                measure(names, environment, tasks_over_tls, options.rounds, figures, problems)
        listing.terminate()
    results = {
        label: {
            peer: {
                "rate": statistics.median(one["objects"] / one["seconds"] for one in found),
                "cpu": statistics.median(one["cpu"] / one["objects"] for one in found),
                "memory": max(one["memory"] for one in found),
            }
            for peer, found in by_peer.items()
        }
        for label, by_peer in figures.items()
    }
    ours, theirs = import_time("messageflux_s3", "import messageflux_s3"), import_time("messageflux_s3", "import boto3")
    settings = "'http://127.0.0.1:9', access_key='a', secret_key='b', region='us-east-1'"
    first = import_time("messageflux_s3", f"import messageflux_s3; messageflux_s3.connect({settings}).client")
    given = "'s3', 'us-east-1', endpoint_url='http://127.0.0.1:9', aws_access_key_id='a', aws_secret_access_key='b'"
    their_first = import_time("messageflux_s3", f"import boto3; boto3.resource({given})")
    failed = "".join(f"- Not done: {problem}\n" for problem in problems) + ("\n" if problems else "")
    text = (
        f"Measured on {date.today()}, {machine()}, load {os.getloadavg()[0]:.1f}; rclone's server on the same machine; "
        f"scale {options.scale}, the median of {options.rounds} rounds in alternation.\n\n"
        f"{table(results)}\n\n{failed}`import messageflux_s3` takes {ours * 1000:.0f} ms, {ours / theirs:.2f} × `import boto3`; "
        f"with the first store made {first * 1000:.0f} ms, {first / their_first:.2f} × boto3 with its first resource.\n"
    )
    print(text)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "benchmark.md").write_text(text)
    (options.output / "benchmark.svg").write_text(chart(results))
    (options.output / "benchmark.json").write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
