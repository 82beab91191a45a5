"""The program that LocalS3 runs in a process of its own: moto's S3 server, on a free port of this machine, for as long as its parent lives.

``embedded.py`` starts this file by its path and never imports it; nothing here is for users. The two talk over pipes: the parent writes its
``sys.path`` as one line of JSON to our standard input and keeps that pipe open as a sign of life; we answer with one line of JSON,
the port or what is missing.
"""

from __future__ import annotations

import sys

del sys.path[0]  # this file's own folder: its modules must not stand in front of the standard library's

import io  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
import threading  # noqa: E402
from collections import Counter  # noqa: E402
from collections.abc import Callable, Iterable  # noqa: E402
from typing import Any  # noqa: E402

COUNTS_PATH = "/_served"  # no bucket can have this name


def _end_with_parent() -> None:
    while os.read(0, 1024):
        pass  # pragma: no cover - the parent sends nothing more
    os._exit(0)


def serve() -> None:
    """Bind a free port, tell the parent which, and serve until the parent's end of the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C, or a notebook's interrupt, is meant for the parent alone
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what moto prints must neither be taken for our answer nor fill a pipe that nobody reads
    with open(
        0, "rb", buffering=0, closefd=False
    ) as told:  # unbuffered: what comes after the line is not for us to take
        sys.path[:] = json.loads(told.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()

    try:
        from moto.moto_server.werkzeug_app import MotoRequestHandler, create_backend_app
        from werkzeug.serving import make_server
    except ImportError as missing:
        print(json.dumps({"missing": str(missing)}), file=answer, flush=True)
        return

    moto = create_backend_app("s3")
    served: Counter[str] = Counter()
    counting = threading.Lock()
    writing = threading.Lock()

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == COUNTS_PATH:
            start_response("200 OK", [("Content-Type", "application/json")])
            return [json.dumps(served).encode()]
        with counting:
            served[environ["REQUEST_METHOD"]] += 1
        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return moto(environ, start_response)
        # moto looks at a condition and then writes: of racing writers two might win. A slow body is read before the turn, not in it.
        length = None if environ.get("wsgi.input_terminated") else int(environ.get("CONTENT_LENGTH") or 0)
        environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read(length))
        with writing:
            return moto(environ, start_response)

    class QuietHandler(MotoRequestHandler):
        def log(self, type: str, message: str, *args: Any) -> None:
            """Say nothing of single requests; what goes wrong inside moto still shows on standard error."""

    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=QuietHandler)
    print(json.dumps({"port": server.server_port}), file=answer, flush=True)
    answer.close()
    server.serve_forever()


if __name__ == "__main__":  # pragma: no branch - it is never imported
    serve()
