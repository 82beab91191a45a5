"""The program that LocalS3 runs in a subprocess: moto's S3 server on a free port of the loopback interface.

``embedded.py`` starts this file by its path and never imports it. The parent writes its ``sys.path`` as one line of JSON to standard input
and keeps that pipe open; the server writes one line of JSON, with its port or a missing package's name, and exits when the pipe is closed.
"""

from __future__ import annotations

import sys

del sys.path[0]  # this file's folder: its modules must not shadow those of the standard library

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
    """Bind a free port, write it to the parent, and serve until the parent's end of the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C, or a notebook's interrupt, must interrupt the parent only
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # moto's output must neither be parsed as this program's answer nor fill a pipe that is not read
    with open(0, "rb", buffering=0, closefd=False) as stdin:  # unbuffered: must not read beyond the first line
        sys.path[:] = json.loads(stdin.readline())
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
        # moto checks a condition and then writes, so two racing writers could both succeed: serialise the writes. The body is read before
        # taking the lock, since a client may send it slowly.
        length = None if environ.get("wsgi.input_terminated") else int(environ.get("CONTENT_LENGTH") or 0)
        environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read(length))
        with writing:
            return moto(environ, start_response)

    class QuietHandler(MotoRequestHandler):
        def log(self, type: str, message: str, *args: Any) -> None:
            """Do not log individual requests; moto's own errors still go to standard error."""

    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=QuietHandler)
    print(json.dumps({"port": server.server_port}), file=answer, flush=True)
    answer.close()
    server.serve_forever()


if __name__ == "__main__":  # pragma: no branch - it is never imported
    serve()
