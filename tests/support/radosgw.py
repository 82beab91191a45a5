"""Ceph's object gateway (radosgw) over a cluster of one host that keeps its objects in memory.

    python tests/support/radosgw.py install    # Debian's packages, as root
    python tests/support/radosgw.py serve      # until Ctrl-C; prints ENDPOINT ACCESS_KEY SECRET_KEY

The tests start their own gateway if the programs are installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import processes

PACKAGES = ["ceph-mon", "ceph-osd", "radosgw", "ceph-common"]
ACCESS_KEY = "RGWACCESSKEY00000001"
SECRET_KEY = "rgwSecretKey00000000000000000000000000001"
_PROGRAMS = ["ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin"]
_STORE_BYTES = 4 << 30

# One monitor and one storage daemon without authentication, on loopback only; small, quick to start, quiet.
_CONFIGURATION = """\
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{mon_port}]
mon initial members = a
public addr = 127.0.0.1
cluster addr = 127.0.0.1
public network = 127.0.0.0/8
cluster network = 127.0.0.0/8
auth cluster required = none
auth service required = none
auth client required = none
auth allow insecure global id reclaim = false
ms bind ipv6 = false
ms mon client mode = crc
keyring = {folder}/keyring
run dir = {folder}
crash dir = {folder}
admin socket = {folder}/$name.$pid.asok
pid file =
log file = {folder}/$name.log
mon cluster log file = {folder}/cluster.log
debug ms = 0/0
debug osd = 0/0
debug mon = 0/0
debug paxos = 0/0
mon allow pool size one = true
mon warn on pool no redundancy = false
mon max pg per osd = 1000
mon data avail warn = 1
mon data avail crit = 0
paxos propose interval = 0.05
paxos min wait = 0.01
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
[mon]
mon data = {folder}/mon-$id
[osd]
osd data = {folder}/osd-$id
osd objectstore = memstore
osd class load list = *
osd class default list = *
memstore device bytes = {store_bytes}
[client.rgw]
rgw data = {folder}/rgw
rgw frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw thread pool size = 64
rgw s3 auth use keystone = false
rgw crypt require ssl = false
debug rgw = 0/0
"""


def missing() -> str | None:
    """Return what is missing to run it here; None if nothing is."""
    programs = [program for program in _PROGRAMS if shutil.which(program) is None]
    return f"not installed: {', '.join(programs)} (python tests/support/radosgw.py install)" if programs else None


def install() -> None:
    """Install it from Debian's packages, without letting them start any service.

    Raises:
        RuntimeError: This is not Debian, not root, or the packages cannot be had.
    """
    if missing() is None:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise RuntimeError("installing radosgw needs root on Debian")
    policy = Path("/usr/sbin/policy-rc.d")  # invoke-rc.d asks it before it starts a service
    is_ours = not policy.exists()
    if is_ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *PACKAGES]
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        if subprocess.run(command, env=env, stdout=sys.stderr).returncode:
            subprocess.run(["apt-get", "update", "-q"], env=env, stdout=sys.stderr)
            if subprocess.run(command, env=env, stdout=sys.stderr).returncode:
                raise RuntimeError("apt-get could not install radosgw")
    finally:
        if is_ours:
            policy.unlink()


@contextmanager
def run() -> Iterator[tuple[str, str, str]]:
    """A new gateway; yields its endpoint, access key and secret key."""
    with (
        tempfile.TemporaryDirectory(prefix="mfs3-radosgw-", ignore_cleanup_errors=True) as folder,
        ExitStack() as started,
    ):
        cluster = _Cluster(Path(folder))
        cluster.prepare_monitor()
        cluster.start(started, "ceph-mon", "-f", "-i", "a")
        cluster.run("ceph", "osd", "stat", timeout=60)
        cluster.prepare_storage()
        storage = cluster.start(started, "ceph-osd", "-f", "-i", "0")
        processes.wait_until(
            lambda: b"1 up" in cluster.run("ceph", "osd", "stat"), storage, cluster.log("ceph-osd"), seconds=60
        )
        gateway = cluster.start(started, "radosgw", "-f", "-n", "client.rgw")
        endpoint = f"http://127.0.0.1:{cluster.port}"
        processes.wait_until(lambda: processes.answers_http(endpoint), gateway, cluster.log("radosgw"), seconds=120)
        cluster.run(
            "radosgw-admin", "-n", "client.rgw", "user", "create", "--uid=main", "--display-name=Main",
            f"--access-key={ACCESS_KEY}", f"--secret-key={SECRET_KEY}", timeout=60,
        )  # fmt: skip
        yield endpoint, ACCESS_KEY, SECRET_KEY


class _Cluster:
    """The folder of one cluster, and its programs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = processes.free_port()
        self.monitor_port = processes.free_port()
        self.fsid = str(uuid.uuid4())
        self.configuration = folder / "ceph.conf"
        self.configuration.write_text(
            _CONFIGURATION.format(
                fsid=self.fsid, folder=folder, port=self.port, mon_port=self.monitor_port, store_bytes=_STORE_BYTES
            )
        )
        (folder / "keyring").touch()
        for name in ("mon-a", "osd-0", "rgw"):
            (folder / name).mkdir()

    def log(self, program: str) -> Path:
        return self.folder / f"{program}.out"

    def run(self, *command: str, timeout: float = 30) -> bytes:
        """Run one command to its end; its standard output."""
        finished = subprocess.run([*command, "-c", str(self.configuration)], capture_output=True, timeout=timeout)
        if finished.returncode:
            raise RuntimeError(f"{' '.join(command)}: {finished.stderr.decode(errors='replace')[-2000:]}")
        return finished.stdout

    def start(self, started: ExitStack, *command: str) -> subprocess.Popen[bytes]:
        """Start a daemon, to be stopped when ``started`` is left."""
        process = processes.start([*command, "-c", str(self.configuration)], log=self.log(command[0]))
        started.callback(processes.stop, process)
        return process

    def prepare_monitor(self) -> None:
        """Make the map of monitors and the monitor's own store."""
        addresses = f"[v2:127.0.0.1:{self.monitor_port}]"
        made = ["--create", "--clobber", "--fsid", self.fsid, "--addv", "a", addresses, "--enable-all-features"]
        monitor_map = str(self.folder / "monmap")
        subprocess.run(["monmaptool", *made, monitor_map], check=True, capture_output=True)
        self.run("ceph-mon", "-i", "a", "--mkfs", "--fsid", self.fsid, "--monmap", monitor_map)

    def prepare_storage(self) -> None:
        """Announce the storage daemon to the monitor and make its store."""
        identity = str(uuid.uuid4())
        self.run("ceph", "osd", "new", identity, "0")
        self.run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", identity)


if __name__ == "__main__":
    processes.command_line("radosgw", install, missing, run)
