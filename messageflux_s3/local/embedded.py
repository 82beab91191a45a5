"""LocalS3: an S3 server that comes with the library, for notebooks, first steps and tests.

It is moto's server, started as a process of its own: moto is never imported here, since that would hook every boto3 client of the
user's process. What the server keeps is gone when it ends. This room starts and stops that process and knows how to connect to
it; what runs inside is ``server.py``.
"""

from __future__ import annotations

import atexit
import importlib.util
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import urllib.request
import weakref
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

from ..errors import S3ConnectionError

if TYPE_CHECKING:
    from ..bucket import S3Bucket
    from ..store import S3Store

_no_proxy = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_PROGRAM = Path(__file__).with_name("server.py")
_KEYS = {"access_key": "local-access-key", "secret_key": "local-secret-key"}
_OTHER_KEYS = frozenset({"access_key", "credentials", "profile", "boto3_session"})


class LocalS3:
    """An S3 server of your own, empty at first, that ends with your process however that ends.

    It starts when it is first used, or at ``with``, and takes a second. Any number can run side by side, each with its own
    buckets. It listens on this machine
    only, checks no credentials, and is meant for trying things out and for tests, not for speed.

    A forked child may go on using its parent's server; ``close()`` there leaves it running.

    Args:
        start_timeout: Seconds to wait for the server to start.

    Raises:
        ValueError: ``start_timeout`` is not a positive number.

    Requests:
        none

    Example:
        >>> with s3.LocalS3() as local:
        ...     _ = local.bucket("reports").put_object("a.txt", b"hello")
        ...     local.connect().object("s3://reports/a.txt").text
        'hello'
    """

    def __init__(self, *, start_timeout: float = 60.0) -> None:
        if isinstance(start_timeout, bool) or not isinstance(start_timeout, (int, float)) or not start_timeout > 0:
            raise ValueError(f"start_timeout must be a positive number of seconds, not {start_timeout!r}")
        self._start_timeout = start_timeout
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._endpoint_url: str | None = None
        self._log: IO[bytes] | None = None
        self._closed = False
        _servers.add(self)

    @property
    def endpoint_url(self) -> str:
        """Where the server listens: ``http://127.0.0.1:port``. Starts it if need be.

        Raises:
            ImportError: The extra ``messageflux-s3[local]`` is not installed.
            S3ConnectionError: The server did not start, or ended by itself; its last words are in the message.
            ValueError: It was closed.

        Requests:
            none
        """
        with self._lock:
            if self._closed:
                raise ValueError("this LocalS3 is closed, and what it kept is gone; make a new one")
            if self._endpoint_url is None:
                self._endpoint_url = self._start()
            elif self._owner == os.getpid() and self._process is not None and self._process.poll() is not None:
                raise S3ConnectionError(
                    f"The embedded S3 server ended by itself: {self._last_words()}", operation="LocalS3"
                )
            return self._endpoint_url

    def connect(self, **overrides: Any) -> S3Store:
        """Connect to the server, starting it if need be. Your AWS profile and credentials play no part.

        Args:
            overrides: Whatever :func:`connect` takes, to differ from the ordinary.

        Returns:
            A store; nothing was sent.

        Raises:
            ImportError: The extra ``messageflux-s3[local]`` is not installed.
            S3ConnectionError: The server did not start.
            TypeError: ``connect`` has no such argument.

        Requests:
            none

        Example:
            >>> with s3.LocalS3() as local:
            ...     local.connect(max_concurrency=4).ping()
            True
        """
        from ..store import connect

        # The keys are no secret: stores and buckets pickle with them, so that the workers of a pool can use the server as well.
        settings: dict[str, Any] = {"endpoint_url": self.endpoint_url, "region": "us-east-1", "pickle_secrets": True}
        if not _OTHER_KEYS & overrides.keys():
            settings |= _KEYS
        return connect(**(settings | overrides))

    def bucket(self, name: str) -> S3Bucket:
        """Create a bucket, or take the one that is there.

        Args:
            name: The bucket's name.

        Returns:
            The bucket.

        Raises:
            S3InvalidName: No bucket may have this name.

        Requests:
            1 PUT

        Example:
            >>> with s3.LocalS3() as local:
            ...     local.bucket("scratch").exists()
            True
        """
        return self.connect().create_bucket(name)

    def requests_served(self) -> dict[str, int]:
        """Count the requests that the server has answered since it started, by whomever, over any way; this question is not counted.

        Returns:
            The number of requests by HTTP method.

        Raises:
            S3ConnectionError: The server ended by itself.

        Requests:
            none that is counted

        Example:
            >>> with s3.LocalS3() as local:
            ...     _ = local.bucket("scratch").put_object("a", b"")
            ...     local.requests_served()
            {'HEAD': 1, 'PUT': 2}
        """
        try:
            with _no_proxy.open(f"{self.endpoint_url}/_served", timeout=10) as answer:
                counts: dict[str, int] = json.load(answer)
        except OSError as error:
            raise S3ConnectionError(f"The embedded S3 server does not answer: {error}", operation="LocalS3") from error
        return counts

    def close(self) -> None:
        """End the server; what it kept is gone. Closing it again does nothing.

        Requests:
            none
        """
        with self._lock:
            self._closed = True
            process, self._process = self._process, None
            log, self._log = self._log, None
            _running.discard(self)
        if log is not None:
            log.close()
        if process is not None and self._owner == os.getpid():
            _end(process)

    def __enter__(self) -> LocalS3:
        self.endpoint_url  # noqa: B018  # starts it
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<LocalS3 {'closed' if self._closed else self._endpoint_url or 'not started'}>"

    def _start(self) -> str:
        if importlib.util.find_spec("moto") is None:
            raise _missing_extra("No module named 'moto'")
        self._log = tempfile.TemporaryFile(prefix="messageflux-s3-local-")  # noqa: SIM115  # lives as long as the server
        self._process = process = subprocess.Popen(  # nosec B603  # this interpreter and a file of ours
            [sys.executable, str(_PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            bufsize=0,
            start_new_session=True,  # Ctrl-C and a notebook's interrupt go to our process group, not to the server
        )
        self._owner = os.getpid()
        try:
            answer = _ask_port(process, self._start_timeout)
            if "missing" in answer:
                raise _missing_extra(answer["missing"])
            if "port" not in answer:
                why = "did not start" if process.poll() is not None else f"did not start within {self._start_timeout} s"
                raise S3ConnectionError(f"The embedded S3 server {why}: {self._last_words()}", operation="LocalS3")
        except BaseException:
            self._process = None
            _end(process)
            raise
        _running.add(self)
        return f"http://127.0.0.1:{answer['port']}"

    def _last_words(self) -> str:
        if self._log is None:  # pragma: no cover - another thread closes it just now
            return "it said nothing"
        self._log.seek(0)
        said = self._log.read().decode("utf-8", "replace").strip()
        return said[-4000:] or "it said nothing"

    def _after_fork_in_child(self) -> None:
        self._lock = threading.Lock()
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()  # our copy of the sign of life: the server lives and dies with the parent


def _ask_port(process: subprocess.Popen[bytes], timeout: float) -> dict[str, Any]:
    """Tell the server where to import from, and wait for its one answer; empty when there is none in time."""
    answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None and stdout is not None

    def ask() -> None:
        try:
            stdin.write(json.dumps([str(place) for place in sys.path]).encode() + b"\n")
            answers.put(stdout.readline())
        except OSError:  # pragma: no cover - it died before it listened, which is a matter of moments
            answers.put(b"")

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    try:
        answer = answers.get(timeout=timeout)
    except queue.Empty:
        return {}
    if not answer:
        process.wait(timeout)
        return {}
    parsed: dict[str, Any] = json.loads(answer)
    return parsed


def _end(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _missing_extra(what: str) -> ImportError:
    return ImportError(f"LocalS3 needs moto's server: pip install 'messageflux-s3[local]' ({what})")


_servers: weakref.WeakSet[LocalS3] = weakref.WeakSet()
# A server that runs is held here: one that was made just for `LocalS3().connect()` must not end while that store is in use.
_running: set[LocalS3] = set()


def _close_all() -> None:
    for server in list(_running):
        server.close()


def _after_fork_in_child() -> None:
    for server in list(_servers):
        server._after_fork_in_child()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no forks
    os.register_at_fork(after_in_child=_after_fork_in_child)
