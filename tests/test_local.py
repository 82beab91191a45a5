"""Failures of LocalS3: the error names the cause, and no process is left behind."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import messageflux_s3 as s3
from messageflux_s3.local import embedded

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("wrong", [0, -1, True, "60"])
def test_an_invalid_start_timeout_raises(wrong: Any) -> None:
    """It raises before a process is started."""
    with pytest.raises(ValueError, match="start_timeout must be a positive number of seconds"):
        s3.LocalS3(start_timeout=wrong)


PROGRAMS = {
    "ends": ("import sys; sys.exit('no room on this machine')", "did not start: no room on this machine"),
    "ends without a word": ("", "did not start: no error output"),
    "says nothing in time": ("import sys; sys.stdin.read()", "did not start within 0.3 s: no error output"),
}


@pytest.mark.parametrize(("program", "said"), PROGRAMS.values(), ids=PROGRAMS)
def test_an_error_for_a_server_that_does_not_start_has_its_output(
    program: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error has the server's error output, the process has ended, and another attempt is possible."""
    path = tmp_path / "program.py"
    path.write_text(program)
    monkeypatch.setattr(embedded, "_PROGRAM", path)
    server = s3.LocalS3(start_timeout=0.3 if "within" in said else 60)
    for _ in range(2):
        with pytest.raises(s3.S3ConnectionError, match=said):
            server.endpoint_url  # noqa: B018  # starts it
        assert server._process is None
    server.close()
    with pytest.raises(ValueError, match="closed"):
        server.connect()
    assert repr(server) == "<LocalS3 closed>"


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether moto is missing, or one of its dependencies in the subprocess."""
    path = tmp_path / "program.py"
    path.write_text("""import sys; sys.stdin.readline(); print('{"missing": "No module named flask"}')""")
    monkeypatch.setattr(embedded, "_PROGRAM", path)
    with pytest.raises(ImportError, match=r"pip install 'messageflux-s3\[local\]' \(No module named flask\)"):
        s3.LocalS3().connect()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'messageflux-s3\[local\]' \(No module named 'moto'\)"):
        s3.LocalS3().connect()


def test_a_server_process_reports_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server imports with the parent's sys.path, and reports a missing package."""
    monkeypatch.setattr("sys.path", [os.path.dirname(os.__file__)])  # noqa: PTH120  # the standard library alone
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    with pytest.raises(ImportError, match="No module named 'moto'"):
        s3.LocalS3().connect()


def test_using_a_server_that_has_exited_raises_an_error_that_says_so() -> None:
    """Later calls report that the server exited, not a refused connection."""
    with s3.LocalS3() as server:
        assert server.requests_served() == {}
        assert server._process is not None
        server._process.kill()
        server._process.wait()
        with pytest.raises(s3.S3ConnectionError, match="exited"):
            server.connect()
        server._process = None
        with pytest.raises(s3.S3ConnectionError, match="does not respond"):
            server.requests_served()


def test_a_server_that_does_not_end_is_killed() -> None:
    """close() kills a server that does not exit within a few seconds."""
    did: list[str] = []

    class Stubborn:
        stdin = stdout = None

        def wait(self, timeout: float | None = None) -> None:
            did.append(f"wait {timeout}")
            if timeout is not None:
                raise subprocess.TimeoutExpired("server", timeout)

        def kill(self) -> None:
            did.append("kill")

    embedded._end(Stubborn())  # type: ignore[arg-type]
    assert did == ["wait 5", "kill", "wait None"]


def test_the_bucket_fixture_accepts_a_bucket_deleted_by_the_test(s3_bucket: s3.S3Bucket) -> None:
    """The fixture's cleanup does not fail."""
    s3_bucket.delete_bucket(force=True)
    assert not s3_bucket.exists()


def test_a_local_server_accepts_any_credentials(s3_store: s3.S3Store) -> None:
    """The server checks no keys; a server that was never started can be closed."""
    with s3.LocalS3() as server:
        store = server.connect(access_key="AK", secret_key="SK")
        assert (store.config.access_key, store.ping()) == ("AK", True)
    never = s3.LocalS3()
    never.close()
    never.close()
    assert repr(never) == "<LocalS3 closed>"


def test_a_local_server_ends_with_its_program() -> None:
    """Also without a call of close()."""
    program = "import messageflux_s3 as s3; print(s3.LocalS3().connect().config.endpoint_url)"
    url = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.strip()
    keys = {"access_key": "AK", "secret_key": "SK", "region": "us-east-1"}
    assert s3.connect(url, **keys, max_attempts=1, connect_timeout=2).ping() is False
