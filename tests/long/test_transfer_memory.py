"""Large transfers in bounded memory: upload of a file and of an iterator, and download to a file.

By hand with 2 GiB: ``MFS3_TRANSFER_MIB=2048 python -m pytest -q -s tests/long/test_transfer_memory.py``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.servers import Server

from messageflux_s3 import S3Bucket

SIZE_MIB = int(os.environ.get("MFS3_TRANSFER_MIB", "256"))
LIMIT_MIB = 200

BEGIN = """
import itertools, resource, sys
from pathlib import Path
import messageflux_s3 as s3
endpoint, access, secret, name, folder, size_mib = sys.argv[1:7]
bucket = s3.connect(endpoint, access_key=access, secret_key=secret, region="us-east-1").bucket(name)
folder, size_mib = Path(folder), int(size_mib)
bucket.put_object("first", b"x")
bucket.get_object("first")
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
before = peak()
"""

PROGRAMS = {
    "upload of a file": 'bucket.upload_file(folder / "source", "up")',
    "upload of an iterator": 'bucket.upload_object("iterated", itertools.repeat(b"0123456789abcdef" * 65536, size_mib))',
    "download": 'bucket.download_file("up", folder / "down")',
    "sequential read": """
with bucket.object("up").open("rb") as file:
    while file.read(1 << 20): pass
""",
    "sequential write": """
with bucket.object("written").open("wb") as file:
    for _ in range(size_mib): file.write(b"0123456789abcdef" * 65536)
""",
}


@pytest.mark.timeout(3600)
def test_memory_is_bounded(rclone: Server, rclone_bucket: S3Bucket, tmp_path: Path) -> None:
    """The peak memory of the process does not depend on the object's size."""
    with (tmp_path / "source").open("wb") as file:
        for number in range(SIZE_MIB):
            file.write(number.to_bytes(4, "big") * (1 << 18))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    arguments = [
        rclone.endpoint_url,
        rclone.access_key,
        rclone.secret_key,
        rclone_bucket.name,
        str(tmp_path),
        str(SIZE_MIB),
    ]
    for name, program in PROGRAMS.items():
        command = [sys.executable, "-c", f"{BEGIN}\n{program}\nprint(peak() - before)", *arguments]
        grown = int(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)
        print(f"\n{name} of {SIZE_MIB} MiB: {grown} MiB above the start")
        assert grown < LIMIT_MIB, name
    sizes = {obj.key: obj.size for obj in rclone_bucket.find()}
    assert sizes == {"first": 1, "up": SIZE_MIB << 20, "iterated": SIZE_MIB << 20, "written": SIZE_MIB << 20}
    assert (tmp_path / "down").stat().st_size == SIZE_MIB << 20
    with (tmp_path / "source").open("rb") as source, (tmp_path / "down").open("rb") as down:
        while piece := source.read(1 << 20):
            assert down.read(1 << 20) == piece
