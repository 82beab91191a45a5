"""LocalStack 4.14, S3 only: the last release that runs without an account. It checks checksums as AWS does, and no credentials.

    python tests/support/localstack.py install    # into a virtual environment of its own; needs Python 3.13
    python tests/support/localstack.py serve      # until Ctrl-C; prints ENDPOINT ACCESS_KEY SECRET_KEY

The tests start their own server if it is installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import processes

FOLDER = Path(__file__).resolve().parents[2] / ".cache" / "localstack"
"""The virtual environment."""

ACCESS_KEY = "LOCALSTACKACCESSKEY"
SECRET_KEY = "localstack-secret-key"

# 4.14 fails with later versions of cbor2, pyOpenSSL and cryptography.
_REQUIREMENTS = [
    "localstack-core[base-runtime]==4.14.0", "localstack-twisted==25.5.0", "moto-ext[s3]==5.1.25", "cbor2==5.8.0", "pyopenssl==25.3.0",
    "cryptography==46.0.5", "service_identity", "setuptools",
]  # fmt: skip

# Its server ignores the host of GATEWAY_LISTEN and would listen on every interface.
_PROGRAM = """\
import functools, os, runpy
from twisted.internet import endpoints
endpoints.TCP4ServerEndpoint = functools.partial(endpoints.TCP4ServerEndpoint, interface="127.0.0.1")
runpy.run_module("localstack.runtime.main", run_name="__main__")
"""


def missing() -> str | None:
    """Return what is missing to run it here; None if nothing is."""
    return None if (FOLDER / ".complete").exists() else "not installed (python tests/support/localstack.py install)"


def install() -> None:
    """Install it, if it is not.

    Raises:
        RuntimeError: There is no Python 3.13, or the packages cannot be had.
    """
    if missing() is None:
        return
    FOLDER.parent.mkdir(parents=True, exist_ok=True)
    for command in (
        [_python313(), "-m", "venv", "--clear", str(FOLDER)],
        [str(FOLDER / "bin" / "pip"), "install", "-q", *_REQUIREMENTS],
    ):
        if subprocess.run(command, stdout=sys.stderr).returncode:
            raise RuntimeError(f"LocalStack cannot be installed: {command[0]} failed")
    (FOLDER / ".complete").touch()


def _python313() -> str:
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for python in ("python3.13", *sorted(map(str, pyenv.glob("versions/3.13.*/bin/python")))):
        try:
            finished = subprocess.run(
                [python, "-c", "import sys; print(sys.version_info[:2] == (3, 13))"], capture_output=True
            )
        except OSError:
            continue
        if finished.stdout.strip() == b"True":
            return python
    raise RuntimeError("LocalStack needs Python 3.13, and there is none here")


@contextmanager
def run() -> Iterator[tuple[str, str, str]]:
    """A new server; yields its endpoint, access key and secret key."""
    with tempfile.TemporaryDirectory(prefix="mfs3-localstack-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        endpoint = f"127.0.0.1:{processes.free_port()}"
        program = folder / "serve.py"
        program.write_text(_PROGRAM)
        settings = {
            "HOME": name, "TMPDIR": name, "XDG_CACHE_HOME": str(folder / "cache"),
            "SERVICES": "s3", "EAGER_SERVICE_LOADING": "1", "GATEWAY_LISTEN": endpoint,
            "DISABLE_EVENTS": "1", "SKIP_SSL_CERT_DOWNLOAD": "1", "DNS_ADDRESS": "0",
        }  # fmt: skip
        env = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PYTHON"))} | settings
        log = folder / "log"
        process = processes.start([str(FOLDER / "bin" / "python"), str(program)], log=log, env=env)
        try:
            processes.wait_until(lambda: processes.answers_http(f"http://{endpoint}"), process, log, seconds=90)
            yield f"http://{endpoint}", ACCESS_KEY, SECRET_KEY
        finally:
            processes.stop(process)


if __name__ == "__main__":
    processes.command_line("LocalStack", install, missing, run)
