"""Server processes that end with the test process, even if that is killed."""

from __future__ import annotations

import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path

# A second process waits for the end of a pipe and then kills the server: most servers do not notice that their parent has ended.
_WATCHED = 'exec 3<&0; (cat <&3; kill -9 $$) >/dev/null 2>&1 & exec 3<&- </dev/null; exec "$@"'


def start(
    command: Sequence[str], *, log: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a server in a session of its own. It is killed when this process ends.

    Args:
        command: The program and its arguments.
        log: The file for its output; None to inherit ours.
        env: Its environment; None for ours.
    """
    command = ["/bin/sh", "-c", _WATCHED, "sh", *command]
    if log is None:
        return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True, env=env)
    with log.open("ab") as output:
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True, env=env
        )


def stop(process: subprocess.Popen[bytes]) -> None:
    """Kill a server from :func:`start` and wait for its end."""
    assert process.stdin is not None
    process.stdin.close()
    process.wait(10)


def free_port() -> int:
    """Return a port of the loopback interface that is free now, for a server that starts in some seconds.

    It is none of those that the system gives to connections and to servers without a port of their own.
    """
    while True:
        port = 10_000 + secrets.randbelow(22_000)  # not random: tests set its seed
        with socket.socket() as listening, suppress(OSError):
            listening.bind(("127.0.0.1", port))
            return port


def wait_until(is_ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path, *, seconds: float) -> None:
    """Wait until a server is ready.

    Raises:
        RuntimeError: It ended, or was not ready in time; the end of its log is in the message.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        if is_ready():
            return
        time.sleep(0.1)
    output = log.read_text(errors="replace")[-2000:] if log.exists() else "no output"
    happened = f"was not ready in {seconds:.0f} s" if process.poll() is None else f"ended with {process.returncode}"
    raise RuntimeError(f"{Path(process.args[4]).name} {happened}: {output}")  # type: ignore[index]


def answers_http(url: str) -> bool:
    """Return whether a GET receives a response below 500."""
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except urllib.error.HTTPError as error:
        with error:
            return error.code < 500
    except OSError:
        return False
    return True


def command_line(
    name: str,
    install: Callable[[], None],
    missing: Callable[[], str | None],
    run: Callable[[], AbstractContextManager[tuple[str, str, str]]],
) -> None:
    """The program of a server's module: install it, or serve and print its address and keys in one line, until Ctrl-C or a signal."""
    action = sys.argv[1] if len(sys.argv) == 2 else ""
    if action == "install":
        try:
            install()
        except RuntimeError as error:
            sys.exit(str(error))
    elif action == "serve":
        if (reason := missing()) is not None:
            sys.exit(f"{name} is {reason}")
        with run() as address, suppress(KeyboardInterrupt):
            print(*address, flush=True)
            while True:
                time.sleep(3600)
    else:
        sys.exit(f"usage: {sys.argv[0]} install | serve")
