"""Failures of LocalS3: the error names the cause, and no process is left behind."""

from __future__ import annotations

import importlib.metadata
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
    "ends": ("import sys; sys.exit('no space on this machine')", "did not start: no space on this machine"),
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


def test_buckets_of_a_local_server_have_one_store() -> None:
    """observe() on the store of one of them counts the requests of the others too."""
    with s3.LocalS3() as local:
        first, second = local.bucket("first"), local.bucket("second")
        assert first.store is second.store
        with first.store.observe() as seen:
            second.put_object("k", b"x")
        assert seen.requests == 1
    with pytest.raises(ValueError, match="closed"):
        local.bucket("first")


def test_a_local_server_is_reached_without_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys of connect() are defaults, which anonymous=True replaces."""
    local = s3.LocalS3()
    monkeypatch.setattr(s3.LocalS3, "endpoint_url", "http://127.0.0.1:9")
    assert local.connect(anonymous=True).config == s3.S3Config(
        "http://127.0.0.1:9", region="us-east-1", pickle_secrets=True, anonymous=True
    )
    assert local.connect(anonymous=False).config.access_key is not None


def test_a_local_server_ends_with_its_program() -> None:
    """Also without a call of close()."""
    program = "import messageflux_s3 as s3; print(s3.LocalS3().connect().config.endpoint_url)"
    url = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.strip()
    keys = {"access_key": "AK", "secret_key": "SK", "region": "us-east-1"}
    assert s3.connect(url, **keys, max_attempts=1, connect_timeout=2).ping() is False


TESTS_WITH_FAULTS = """
import pytest

def test_faults_reach_the_bucket_and_stay_in_their_test(s3_bucket, s3_faults):
    s3_faults.next("PutObject", lost_answer=True)
    s3_bucket.put_object("k", b"body", if_absent=True)
    assert [fault.kind for fault in s3_faults.injected] == ["lost_answer"]
    s3_faults.next(forbidden=True, times=100)
    s3_faults.on(forbidden=1).__enter__()
    with pytest.raises(PermissionError):
        s3_bucket["k"].body

def test_the_next_test_begins_without_faults(s3_faults, s3_bucket):
    assert (s3_faults.injected, s3_faults.pending, repr(s3_faults)) == ([], [], "Faults(seed=0)")
    s3_bucket.put_object("k", b"body")
    s3_faults.restart(seed=7)

def test_a_test_without_the_fixture_has_no_faults(s3_bucket, s3_store):
    s3_bucket.put_object("k", b"body")
    assert {bucket.name for bucket in s3_store.buckets()} == {s3_bucket.name}
"""


def test_the_faults_fixture_injects_faults_into_one_test(tmp_path: Path) -> None:
    """They reach the bucket and the store of the session, and end with the test, whatever it leaves behind."""
    (tmp_path / "test_it.py").write_text(TESTS_WITH_FAULTS)
    said = run_pytest(tmp_path)
    assert "3 passed" in said, said


def test_the_faults_fixture_has_to_be_an_argument(tmp_path: Path) -> None:
    """Else the server runs without a proxy, as where no test uses the fixture."""
    (tmp_path / "test_it.py").write_text(
        "def test_it(s3_store, request):\n"
        "    assert request.getfixturevalue('_s3_session_faults') is None\n"
        "    request.getfixturevalue('s3_faults')\n"
    )
    said = run_pytest(tmp_path)
    assert "RuntimeError: s3_faults must be an argument" in said, said


def run_pytest(folder: Path) -> str:
    """Run the tests of a folder in a process of their own; return what pytest printed."""
    plugin = (
        []
        if importlib.metadata.entry_points(group="pytest11", name="messageflux_s3")
        else ["-p", "messageflux_s3.testing"]
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugin, str(folder)]
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env={**os.environ, "PYTHONPATH": path}
    ).stdout
