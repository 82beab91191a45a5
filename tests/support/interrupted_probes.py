"""Run an experiment on a store again and again, each time in a process that gets a signal at another request, and at each of them.

    python interrupted_probes.py ENDPOINT ACCESS_KEY SECRET_KEY BUCKET WORK SIGNAL MOMENT STEP

``WORK`` is one of :data:`WORK`. ``MOMENT`` is ``before`` the request is sent or ``after`` its response was received. Every ``STEP``-th
request gets the signal. ``SIGTERM`` raises SystemExit, as in a program that ends in an orderly way. The races are short. Prints how many
processes got the signal.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import messageflux_s3 as s3
from messageflux_s3._objects import condition_probe

PARTS = b"x" * (5 << 20)
KEY = "folder/k"


def _try(*works: Callable[[], object]) -> None:
    for work in works:
        with suppress(s3.S3Unsupported, s3.S3ObjectExists):  # a process before has written it
            work()


def _race(bucket: s3.S3Bucket) -> None:
    _try(
        lambda: bucket.put_object(KEY, b"x", if_absent=True),
        lambda: bucket.upload_object("folder/l", iter([PARTS, b"end"]), part_size_bytes=5 << 20, if_absent=True),
    )


def _write_with_parameters(bucket: s3.S3Bucket) -> None:
    _try(
        lambda: bucket.put_object(KEY, b"x", {"a_b": "1"}),
        lambda: bucket.put_object(KEY, b"x", cache_control="no-store"),
        lambda: bucket.object(KEY).copy_to("folder/copy", metadata={"a": "b"}),
        lambda: bucket.upload_object("folder/l", iter([PARTS, b"end"]), part_size_bytes=5 << 20, cache_control="no-store"),
    )  # fmt: skip


WORK: dict[str, Callable[[s3.S3Bucket], object]] = {
    "probe": lambda bucket: bucket.store.probe(),
    "probe of a bucket": lambda bucket: bucket.store.probe(bucket.name),
    "race": _race,
    "write": _write_with_parameters,
}
"""What writes scratch objects: probes, the races before a first conditional write, the questions before a write with parameters."""


def run(server: Any, bucket: str, work: str, sent: str, moment: str = "before", step: int = 1) -> int:
    """Run this program; return how many processes got the signal."""
    command = [
        sys.executable,
        __file__,
        server.endpoint_url,
        server.access_key,
        server.secret_key,
        bucket,
        work,
        sent,
        moment,
        str(step),
    ]
    env = {**os.environ, "PYTHONPATH": str(Path(s3.__file__).parents[1])}
    finished = subprocess.run(command, capture_output=True, text=True, env=env)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return int(finished.stdout.split()[-1])


def scratch_of(server: Any, bucket: str) -> list[str]:
    """Scratch buckets, and scratch objects, versions and uploads in a bucket, found with plain boto3."""
    client: Any = server.client()
    found = [one["Name"] for one in client.list_buckets()["Buckets"] if one["Name"].startswith("mfs3-probe-")]
    found += [one["Key"] for one in client.list_objects_v2(Bucket=bucket).get("Contents", ())]
    with suppress(client.exceptions.NoSuchUpload):  # rclone's answer if there are none
        found += [one["Key"] for one in client.list_multipart_uploads(Bucket=bucket).get("Uploads", ())]
    if server.name != "rclone":
        listed = client.list_object_versions(Bucket=bucket)
        found += [one["Key"] for one in (*listed.get("Versions", ()), *listed.get("DeleteMarkers", ()))]
    return [name for name in found if "mfs3-probe" in name]


def _end(*_: object) -> None:
    sys.exit(143)


def _run_once(store: s3.S3Store, bucket: str, work: str, sent: signal.Signals, moment: str, at: int) -> None:
    left = itertools.count(1)

    def send_signal(**_: Any) -> None:
        if next(left) == at:
            os.kill(os.getpid(), sent)

    event = {"before": "before-send.s3", "after": "response-received.s3"}[moment]
    store.client.meta.events.register(event, send_signal)
    WORK[work](store.bucket(bucket))


def main() -> None:
    """Fork a process for each request."""
    endpoint_url, access_key, secret_key, bucket, work, name, moment, step = sys.argv[1:]
    sent = signal.Signals[name]
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what is started in the background ignores it
    condition_probe.ROUNDS = condition_probe.WRITERS = 2
    store = s3.connect(endpoint_url, access_key=access_key, secret_key=secret_key, region="us-east-1")
    for count, at in enumerate(itertools.count(1, int(step))):
        pid = os.fork()
        if not pid:
            status = 1
            try:
                _run_once(store, bucket, work, sent, moment, at)
                status = 0
            except BaseException as error:
                status = 9 if isinstance(error, (KeyboardInterrupt, SystemExit)) else 1
                if status == 1:
                    print(f"at request {at}: {error!r}", file=sys.stderr)
            finally:
                sys.stderr.flush()
                os._exit(status)
        ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if ended == 0:
            print(count)
            return
        if ended != (-signal.SIGKILL if sent is signal.SIGKILL else 9):
            sys.exit(f"the process with a signal at request {at} ended with {ended}")


if __name__ == "__main__":
    main()
