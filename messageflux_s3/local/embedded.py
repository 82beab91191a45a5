"""LocalS3: an embedded S3 server for notebooks, first steps and tests.

LocalS3 runs moto's server in a subprocess (``server.py``). moto is never imported into the user's process, where it would patch every boto3
client. The server holds its data in memory.
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
from .faults import FaultProxy, Faults

if TYPE_CHECKING:
    from ..bucket import S3Bucket
    from ..store import S3Store

_no_proxy = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_PROGRAM = Path(__file__).with_name("server.py")
_KEYS = {"access_key": "local-access-key", "secret_key": "local-secret-key"}
_OTHER_KEYS = frozenset({"access_key", "credentials", "profile", "boto3_session"})


class LocalS3:
    """An embedded S3 server, empty at first, that ends with your process, even if the process is killed.

    It starts at its first use, or on entering ``with``, in about a second. Several servers can run at the same time, each with its
    own buckets. It listens on the loopback interface only, does not check credentials, and is meant for experiments and tests, not for
    speed.

    A forked child can use its parent's server; ``close()`` in the child does not stop it.

    Args:
        start_timeout: Seconds to wait for the server to start.
        faults: Faults to inject into requests to this server from any client: :attr:`endpoint_url` is then the URL of a proxy in front of
            the server. See :class:`Faults`.

    Raises:
        TypeError: ``faults`` is not a :class:`Faults`.
        ValueError: ``start_timeout`` is not a positive number.

    Requests:
        none

    Example:
        >>> with s3.LocalS3() as local:
        ...     _ = local.bucket("reports").put_object("a.txt", b"hello")
        ...     local.connect().object("s3://reports/a.txt").text
        'hello'
    """

    def __init__(self, *, start_timeout: float = 60.0, faults: Faults | None = None) -> None:
        if isinstance(start_timeout, bool) or not isinstance(start_timeout, (int, float)) or not start_timeout > 0:
            raise ValueError(f"start_timeout must be a positive number of seconds, not {start_timeout!r}")
        if faults is not None and not isinstance(faults, Faults):
            raise TypeError(f"faults must be a messageflux_s3.Faults, not {type(faults).__name__}")
        self._start_timeout = start_timeout
        self._faults = faults
        self._proxy: FaultProxy | None = None
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._server_url: str | None = None
        self._log: IO[bytes] | None = None
        self._closed = False
        self._store: S3Store | None = None
        _servers.add(self)

    @property
    def endpoint_url(self) -> str:
        """The URL of the server, or of its proxy if it has faults: ``http://127.0.0.1:port``. Starts the server if it is not running.

        Raises:
            ImportError: The extra ``messageflux-s3[local]`` is not installed.
            S3ConnectionError: The server did not start, or exited; the message includes the end of its error output.
            ValueError: The server was closed.

        Requests:
            none
        """
        server_url = self._running_server_url()
        return self._proxy.endpoint_url if self._proxy is not None else server_url

    def _running_server_url(self) -> str:
        with self._lock:
            if self._closed:
                raise ValueError("this LocalS3 is closed and its data is lost; create a new one")
            if self._server_url is None:
                port = self._start()
                if self._faults is not None:
                    self._proxy = FaultProxy(("127.0.0.1", port), self._faults)
                self._server_url = f"http://127.0.0.1:{port}"
            elif self._owner == os.getpid() and self._process is not None and self._process.poll() is not None:
                raise S3ConnectionError(f"the embedded S3 server exited: {self._error_output()}", operation="LocalS3")
            return self._server_url

    def connect(self, **overrides: Any) -> S3Store:
        """Connect to the server; start it if it is not running.

        Your AWS credentials are not used. Other settings of your AWS profile and environment apply as to any client: if ``AWS_PROFILE``
        names a profile that does not exist, or the profile sets ``use_accelerate_endpoint``, requests fail.

        Args:
            overrides: Arguments of :func:`connect` that replace the defaults.

        Returns:
            A store. No request was sent.

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

        # The keys are not secret: stores and buckets are pickled with them, so that the workers of a pool can use the server too.
        settings: dict[str, Any] = {"endpoint_url": self.endpoint_url, "region": "us-east-1", "pickle_secrets": True}
        if not _OTHER_KEYS & overrides.keys() and not overrides.get("anonymous"):
            settings |= _KEYS
        return connect(**(settings | overrides))

    def bucket(self, name: str) -> S3Bucket:
        """Create a bucket, or return the existing one.

        All buckets returned have one store, so that ``bucket.store.observe()`` counts the requests to each of them.

        Args:
            name: The bucket's name.

        Returns:
            The bucket.

        Raises:
            S3InvalidName: The name is not a valid bucket name.

        Requests:
            1 HEAD, and 1 PUT if the bucket does not exist

        Example:
            >>> with s3.LocalS3() as local:
            ...     local.bucket("scratch").exists()
            True
        """
        store = self.connect()
        with self._lock:
            store = self._store = self._store or store
        return store.create_bucket(name)

    def requests_served(self) -> dict[str, int]:
        """Return how many requests the server has answered since it started, from all clients.

        With faults, the proxy's own requests are counted too: one GET before each request that writes or deletes objects, and a GET
        and a PUT for each changed object.

        Returns:
            The number of requests by HTTP method.

        Raises:
            S3ConnectionError: The server exited.

        Requests:
            1 GET, which is not counted

        Example:
            >>> with s3.LocalS3() as local:
            ...     _ = local.bucket("scratch").put_object("a", b"")
            ...     local.requests_served()
            {'HEAD': 1, 'PUT': 2}
        """
        try:
            with _no_proxy.open(f"{self._running_server_url()}/_served", timeout=10) as answer:
                counts: dict[str, int] = json.load(answer)
        except OSError as error:
            raise S3ConnectionError(f"the embedded S3 server does not respond: {error}", operation="LocalS3") from error
        return counts

    def close(self) -> None:
        """Stop the server; its data is lost. Idempotent.

        Requests:
            none
        """
        with self._lock:
            self._closed = True
            process, self._process = self._process, None
            log, self._log = self._log, None
            proxy, self._proxy = self._proxy, None
            _running.discard(self)
        if proxy is not None:
            proxy.close()
        if log is not None:
            log.close()
        if process is not None and self._owner == os.getpid():
            _end(process)

    def __enter__(self) -> LocalS3:
        self.endpoint_url  # noqa: B018  # starts the server
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<LocalS3 {'closed' if self._closed else self._shown_url() or 'not started'}>"

    def _shown_url(self) -> str | None:
        proxy = self._proxy
        return proxy.endpoint_url if proxy is not None else self._server_url

    def _start(self) -> int:
        if importlib.util.find_spec("moto") is None:
            raise _missing_extra("No module named 'moto'")
        self._log = tempfile.TemporaryFile(prefix="messageflux-s3-local-")  # noqa: SIM115  # open as long as the server runs
        self._process = process = subprocess.Popen(  # nosec B603  # this interpreter, and a file of this package
            [sys.executable, str(_PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            bufsize=0,
            start_new_session=True,  # Ctrl-C and a notebook's interrupt must not reach the server
        )
        self._owner = os.getpid()
        try:
            answer = _ask_port(process, self._start_timeout)
            if "missing" in answer:
                raise _missing_extra(answer["missing"])
            if "port" not in answer:
                why = "did not start" if process.poll() is not None else f"did not start within {self._start_timeout} s"
                raise S3ConnectionError(f"the embedded S3 server {why}: {self._error_output()}", operation="LocalS3")
        except BaseException:
            self._process = None
            _end(process)
            raise
        _running.add(self)
        return int(answer["port"])

    def _error_output(self) -> str:
        if self._log is None:  # pragma: no cover - another thread is closing it
            return "no error output"
        self._log.seek(0)
        text = self._log.read().decode("utf-8", "replace").strip()
        return text[-4000:] or "no error output"

    def _after_fork_in_child(self) -> None:
        self._lock = threading.Lock()
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()  # the child's copy of the pipe: the server must exit when the parent does
        if self._proxy is not None:
            self._proxy.close_in_child()


def _ask_port(process: subprocess.Popen[bytes], timeout: float) -> dict[str, Any]:
    """Send this process's ``sys.path`` to the server and return the server's only message; an empty dict if none comes in time."""
    answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None and stdout is not None

    def ask() -> None:
        try:
            stdin.write(json.dumps([str(folder) for folder in sys.path]).encode() + b"\n")
            answers.put(stdout.readline())
        except OSError:  # pragma: no cover - the server exited before it read its input, a matter of timing
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
# Keeps running servers alive: a server made only for `LocalS3().connect()` must not be collected while the store is in use.
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
