"""Fixtures: real servers over HTTP, and stores and buckets on them."""

from __future__ import annotations

import gc
import os
import platform
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from support import server_differences
from support.scripted_server import ScriptedServer, run_scripted_server
from support.servers import Server, run_localstack, run_moto, run_radosgw, run_rclone

if TYPE_CHECKING:
    from support.request_counting import Counted

    from messageflux_s3 import S3Bucket, S3Store

# No deadline, since the time of an example depends on the machine. Otherwise hypothesis's own profile, with or without CI.
settings.register_profile("untimed", settings(), deadline=None)
settings.load_profile("untimed")

LANE_IS_SHUT = os.environ.get("MFS3_LANE") == "shut"
"""Whether this run uses boto3 only; tests of the lane itself (marked ``lane``) are deselected."""


ONLY_SERVER = os.environ.get("MFS3_SERVER")
"""``localstack`` or ``radosgw``: used in place of moto in this run; tests that use no server, or rclone, are deselected."""


@pytest.fixture(autouse=True)
def no_credentials_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the user's AWS settings from the tests."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)


@pytest.fixture(autouse=True, scope="session")
def lane_as_asked() -> Iterator[None]:
    """With ``MFS3_LANE=shut`` the fast lane of every store in this process is shut."""
    with pytest.MonkeyPatch.context() as patch:
        if LANE_IS_SHUT:
            patch.setattr(
                "messageflux_s3._http.eligibility.Eligibility.shut_reason",
                lambda self: "shut for this run of the tests",
            )
        yield


@pytest.fixture(scope="session")
def moto() -> Iterator[Server]:
    """moto's server, one for all tests of this process."""
    run = {None: run_moto, "localstack": run_localstack, "radosgw": run_radosgw}[ONLY_SERVER]
    with run() as server:
        yield server


@pytest.fixture(scope="session")
def rclone() -> Iterator[Server]:
    """rclone's server, one for all tests of this process."""
    with run_rclone() as server:
        yield server


@pytest.fixture(scope="session")
def localstack() -> Iterator[Server]:
    """LocalStack, one for all tests of this process; skips the test if it is not installed."""
    with run_localstack() as server:
        yield server


@pytest.fixture(scope="session")
def radosgw() -> Iterator[Server]:
    """Ceph's radosgw, one for all tests of this process; skips the test if it is not installed."""
    with run_radosgw() as server:
        yield server


@pytest.fixture
def scripted_server() -> Iterator[ScriptedServer]:
    """A server whose responses the test scripts."""
    with run_scripted_server() as server:
        yield server


@pytest.fixture(params=["moto", "rclone"])
def server(request: pytest.FixtureRequest) -> Server:
    """Each of the servers in turn."""
    found: Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def store(server: Server) -> S3Store:
    """A store on each of the servers in turn."""
    return server.connect()


@pytest.fixture
def moto_store(moto: Server) -> S3Store:
    """A store on moto's server."""
    return moto.connect()


@pytest.fixture
def bucket(server: Server) -> Iterator[S3Bucket]:
    """A fresh bucket on each of the servers in turn."""
    yield from _fresh_bucket(server)


@pytest.fixture
def moto_bucket(moto: Server) -> Iterator[S3Bucket]:
    """A fresh bucket on moto's server."""
    yield from _fresh_bucket(moto)


@pytest.fixture
def rclone_bucket(rclone: Server) -> Iterator[S3Bucket]:
    """A fresh bucket on rclone's server."""
    yield from _fresh_bucket(rclone)


@pytest.fixture
def counted(moto: Server) -> Iterator[Counted]:
    """A store and a fresh bucket on moto's server, behind a proxy that records every request."""
    from support.proxy import run_proxy
    from support.request_counting import Counted

    with_bucket = _fresh_bucket(moto)
    name = next(with_bucket).name
    with run_proxy(moto.endpoint_url) as proxy, moto.connect(endpoint_url=proxy.endpoint_url) as store:
        yield Counted(store, store.bucket(name), proxy)
    next(with_bucket, None)


def _fresh_bucket(server: Server) -> Iterator[S3Bucket]:
    """Created and removed with plain boto3, so that a fault of the library cannot hide another one."""
    client = server.client()
    name = f"t-{uuid.uuid4().hex[:16]}"
    client.create_bucket(Bucket=name)
    yield server.connect().bucket(name)
    # Delete what exists: the store may not support versions, and a test may have removed its bucket.
    try:
        listed = (
            client.list_objects_v2(Bucket=name) if server.name == "rclone" else client.list_object_versions(Bucket=name)
        )
    except client.exceptions.NoSuchBucket:
        return
    answer: Any = listed
    for found in [*answer.get("Contents", ()), *answer.get("Versions", ()), *answer.get("DeleteMarkers", ())]:
        version = {"VersionId": found["VersionId"]} if "VersionId" in found else {}
        client.delete_object(Bucket=name, Key=found["Key"], **version)


# -- the table at the end ---------------------------------------------------------------------------------------------------------


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Count the tests that ran and were skipped, by server and interpreter."""
    rows: dict[str, Counter[str]] = {}
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, ()):
            if outcome == "passed" and getattr(report, "when", "call") != "call":
                continue
            server = dict(getattr(report, "user_properties", ())).get("server", "none")
            rows.setdefault(str(server), Counter())[outcome] += 1
    terminalreporter.section(f"by server, Python {platform.python_version()}")
    terminalreporter.write_line(f"{'server':<10}{'passed':>8}{'failed':>8}{'errors':>8}{'skipped':>9}")
    for name in sorted(rows):
        row = rows[name]
        terminalreporter.write_line(
            f"{name:<10}{row['passed']:>8}{row['failed']:>8}{row['error']:>8}{row['skipped']:>9}"
        )


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over the collected tests, which stay to the end, and run less often: a tenth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 50)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests of the lane if it is shut, and record for the summary which server each test uses."""
    if LANE_IS_SHUT:
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("lane")])
        items[:] = [item for item in items if not item.get_closest_marker("lane")]
    for item in items:
        item.user_properties.append(("server", "+".join(sorted(_servers_of(item))) or "none"))
    if ONLY_SERVER is not None:
        kept = [item for item in items if _servers_of(item) == {ONLY_SERVER}]
        config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
        items[:] = kept
        for item in items:
            module = item.path.stem
            if (reason := server_differences.reason(ONLY_SERVER, module, item.name)) is not None:
                is_race = f"{module}::{item.name}".startswith(server_differences.RACES)
                item.add_marker(pytest.mark.xfail(reason=reason, strict=not is_race))


def _servers_of(item: pytest.Item) -> set[str]:
    """Return the servers that a test uses."""
    names = set(getattr(item, "fixturenames", ()))
    parameter = getattr(getattr(item, "callspec", None), "params", {}).get("server")
    used = {parameter} if parameter else {name for name in ("moto", "rclone", "localstack", "radosgw") if name in names}
    return {ONLY_SERVER if name == "moto" and ONLY_SERVER is not None else name for name in used}
