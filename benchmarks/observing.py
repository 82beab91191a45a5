"""What observing costs: the client's CPU for bulk GETs of 1 KiB, without an observer and with each kind, in alternation.

    python benchmarks/observing.py [--requests 20000] [--rounds 9]

The server answers every GET with the same canned object, in a process of its own, and counts for nothing. Each round measures every kind
once, beginning with another one each time; what counts is the median over the rounds of the user and system time of this process. Run it
on an idle machine: the differences are about a microsecond per request.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import resource
import socket
import statistics
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import messageflux_s3 as s3

BODY = b"x" * 1024
ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 1024\r\nETag: \"0f343b0931126a20f133d67c2b018a3b\"\r\n"
    b"Last-Modified: Sat, 01 Jan 2022 00:00:00 GMT\r\nContent-Type: binary/octet-stream\r\n\r\n" + BODY
)  # fmt: skip


def serve(told: Any) -> None:
    """Serve the object under every key for good; the port is sent to ``told``."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    told.send(listener.getsockname()[1])

    def answer(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        received = b""
        while data := connection.recv(65536):
            received += data
            while (end := received.find(b"\r\n\r\n")) >= 0:
                received = received[end + 4 :]
                connection.sendall(ANSWER)

    while True:
        threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()


def cpu() -> float:
    """Return the CPU seconds of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@contextmanager
def logging_at_info() -> Any:
    logger = logging.getLogger("messageflux_s3")
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(logging.NOTSET)


def take(event: s3.RequestEvent) -> None:
    """A callback that does nothing."""


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--requests", type=int, default=20_000)
    options.add_argument("--rounds", type=int, default=9)
    asked = options.parse_args()
    told, tells = multiprocessing.Pipe(duplex=False)
    server = multiprocessing.Process(target=serve, args=(tells,), daemon=True)
    server.start()
    store = s3.connect(f"http://127.0.0.1:{told.recv()}", access_key="a", secret_key="s", region="us-east-1")
    bucket = store.bucket("bench")
    keys = [f"key/{number:06d}" for number in range(asked.requests)]
    kinds: dict[str, Callable[[], AbstractContextManager[Any]]] = {
        "no observer": nullcontext,
        "observe()": store.observe,
        "observe(tag)": lambda: store.observe("tag"),
        "on_request(callback)": lambda: store.on_request(take),
        "log at INFO": logging_at_info,
    }

    def measure(kind: str) -> float:
        begun = cpu()
        with kinds[kind]() as seen:
            for _ in bucket.get_objects(keys):
                continue
            if isinstance(seen, s3.Observation):
                assert seen.requests == len(keys)
        return (cpu() - begun) / len(keys) * 1e6

    assert bucket["warm"].body == BODY
    measure("no observer")
    assert store.lane.open, store.lane
    figures: dict[str, list[float]] = {kind: [] for kind in kinds}
    names = [*kinds]
    for turn in range(asked.rounds):
        for kind in names[turn % len(names) :] + names[: turn % len(names)]:
            figures[kind].append(measure(kind))
    # The paired differences within a round vary less than the figures themselves.
    base = figures["no observer"]
    print(f"{'':22}  µs of CPU per GET   more than without")
    for kind, found in figures.items():
        share = statistics.median([each / alone - 1 for each, alone in zip(found, base, strict=True)])
        print(f"{kind:22}  {statistics.median(found):17.2f}   {share:+16.1%}")
    server.terminate()


if __name__ == "__main__":
    main()
