"""Files on S3, side by side: messageflux_s3's open(), s3fs, smart_open, obstore's fsspec; on this machine.

    python benchmarks/files.py [--rounds 3] [--server rclone] [--only messageflux_s3 s3fs …]

The server is rclone's, or (since obstore refuses rclone's answers to ranges, which are 200 instead of 206) a plain one that sends
files with ``sendfile`` and checks nothing, which is also the faster of the two.

Every task runs once with each peer in turn, then again; the best of the rounds counts. In brackets is the best client CPU, of all
threads, in seconds: on a busy machine it says more than the time. A peer that is not installed is left out.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parent.parent), str(Path(__file__).resolve().parent.parent / "tests")]

from support.servers import Server, run_rclone  # noqa: E402

MIB = 1024 * 1024
LARGE = 256 * MIB
LINES = 400_000
READS = 300

Open = Callable[[str], Any]


def serve(folder: str, connection: Any) -> None:
    """GET and HEAD of the files in a folder."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = Path(folder + self.path.partition("?")[0])
            if not path.is_file():
                self.send_response(404)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
                start, end = (int(asked[1]), min(int(asked[2] or size) + 1, size)) if asked else (0, size)
                head = [
                    f"HTTP/1.1 {'206 Partial Content' if asked else '200 OK'}",
                    f'ETag: "{md5(bytes(path)).hexdigest()}"',
                    "Last-Modified: Mon, 02 Nov 2026 10:00:00 GMT",
                    "Accept-Ranges: bytes",
                    f"Content-Length: {end - start}",
                    *([f"Content-Range: bytes {start}-{end - 1}/{size}"] if asked else []),
                ]
                self.wfile.write("\r\n".join([*head, "", ""]).encode())
                while self.command == "GET" and start < end:
                    start += os.sendfile(self.connection.fileno(), file.fileno(), start, end - start)

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            pass  # clients that hang up

    with Quiet(("127.0.0.1", 0), Handler) as server:
        connection.send(server.server_port)
        server.serve_forever()


@contextmanager
def run_plain() -> Iterator[Server]:
    """The plain server, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(target=serve, args=(folder, theirs), daemon=True)
        process.start()
        try:
            yield Server("plain", f"http://127.0.0.1:{ours.recv()}", "ACCESSKEY01", "SECRETKEY0123456", Path(folder))
        finally:
            process.terminate()
            process.join()


def peers(server: Server) -> dict[str, Open]:
    """How each of them opens bucket/key to read."""
    found: dict[str, Open] = {}
    store = server.connect()
    found["messageflux_s3"] = lambda path: store.object(f"s3://{path}").open("rb")
    try:
        import s3fs

        files = s3fs.S3FileSystem(key=server.access_key, secret=server.secret_key, endpoint_url=server.endpoint_url)
        found["s3fs"] = lambda path: files.open(path, "rb")
    except ImportError:
        pass
    try:
        import smart_open

        client = server.client()
        found["smart_open"] = lambda path: smart_open.open(f"s3://{path}", "rb", transport_params={"client": client})
    except ImportError:
        pass
    try:
        from obstore.fsspec import FsspecStore

        obstore = FsspecStore(
            "s3",
            endpoint=server.endpoint_url,
            access_key_id=server.access_key,
            secret_access_key=server.secret_key,
            region="us-east-1",
            client_options={"allow_http": True},
            virtual_hosted_style_request=False,
        )
        found["obstore"] = lambda path: obstore.open(path, "rb")
    except ImportError:
        pass
    return found


def sequential(open_: Open) -> None:
    total = 0
    with open_("bench/large") as file:
        while piece := file.read(MIB):
            total += len(piece)
    assert total == LARGE


def small_steps(open_: Open) -> None:
    total = 0
    with open_("bench/large") as file:
        while total < 64 * MIB:
            total += len(file.read(16 * 1024))


def small_steps_to_the_end(open_: Open) -> None:
    total = 0
    with open_("bench/large") as file:
        while piece := file.read(16 * 1024):
            total += len(piece)
    assert total == LARGE


def whole(open_: Open) -> None:
    with open_("bench/large") as file:
        assert len(file.read()) == LARGE


def random_reads(open_: Open) -> None:
    offsets = random.Random(5)
    with open_("bench/large") as file:
        for _ in range(READS):
            file.seek(offsets.randrange(LARGE - 4096))
            assert len(file.read(4096)) == 4096


def lines(open_: Open) -> None:
    with open_("bench/lines") as file:
        assert sum(1 for _ in file) == LINES


def parquet_column(open_: Open) -> None:
    import pyarrow.parquet as parquet

    with open_("bench/table.parquet") as file:
        assert parquet.read_table(file, columns=["c3"]).num_rows == 1_000_000


TASKS = [
    (sequential, "256 MiB, 1 MiB at a time"),
    (small_steps, "64 MiB of 256, 16 KiB at a time"),
    (small_steps_to_the_end, "256 MiB, 16 KiB at a time"),
    (whole, "256 MiB at one go"),
    (random_reads, f"{READS} random reads of 4 KiB"),
    (lines, f"{LINES:,} lines of 80 bytes"),
    (parquet_column, "one column of ten, parquet, 1,000,000 rows"),
]


def prepare(server: Server) -> None:
    """Lay the objects straight into the server's folder."""
    assert server.root is not None
    folder = server.root / "bench"
    folder.mkdir()
    with (folder / "large").open("wb") as file:
        for _ in range(LARGE // MIB):
            file.write(os.urandom(MIB))
    (folder / "lines").write_bytes(b"".join(b"%079d\n" % n for n in range(LINES)))
    try:
        import numpy
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError:
        TASKS.pop()
        return
    table = pyarrow.table({f"c{n}": numpy.random.default_rng(n).random(1_000_000) for n in range(10)})
    parquet.write_table(table, folder / "table.parquet", row_group_size=100_000)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="peers")
    parser.add_argument("--tasks", nargs="*", help="names of the tasks' functions")
    parser.add_argument("--server", choices=("plain", "rclone"), default="plain")
    options = parser.parse_args()
    with run_plain() if options.server == "plain" else run_rclone() as server:
        prepare(server)
        chosen = {name: open_ for name, open_ in peers(server).items() if not options.only or name in options.only}
        print(f"{'seconds, best of ' + str(options.rounds):<44}" + "".join(f"{name:>16}" for name in chosen))
        for task, label in TASKS:
            if options.tasks and task.__name__ not in options.tasks:
                continue
            best = dict.fromkeys(chosen, float("inf"))
            least = dict.fromkeys(chosen, float("inf"))
            for _ in range(options.rounds):
                for name, open_ in chosen.items():
                    started, used = time.perf_counter(), time.process_time()
                    try:
                        task(open_)
                    except OSError as error:
                        print(f"{name}: {type(error).__name__}: {error}"[:140], file=sys.stderr)
                        continue
                    best[name] = min(best[name], time.perf_counter() - started)
                    least[name] = min(least[name], time.process_time() - used)
            print(
                f"{label:<44}" + "".join(f"{f'{best[name]:.3f} ({least[name]:.3f})':>16}" for name in chosen),
                flush=True,
            )


if __name__ == "__main__":
    main()
