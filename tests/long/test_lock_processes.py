"""Many processes use one lock for a long time, while some are killed or stalled beyond the lease; a checker verifies the lock_history.

    SECONDS=720 python -m pytest -s tests/long/test_lock_processes.py

``SECONDS``, ``PROCESSES``, ``TTL`` and ``SEED`` come from the environment. Prints the counts of events.
"""

from __future__ import annotations

import os

import pytest
from support import lock_history
from support.servers import Server

SECONDS = float(os.environ.get("SECONDS", "120"))
PROCESSES = int(os.environ.get("PROCESSES", "8"))
TTL = float(os.environ.get("TTL", "2"))
SEED = int(os.environ.get("SEED", "1"))


@pytest.mark.timeout(SECONDS + 120)
def test_a_lock_has_one_holder_when_processes_are_killed_and_stalled(moto: Server) -> None:
    """No two unexpired holders, no lost update, no decreasing token, takeover within the ttl plus three seconds."""
    verdict = lock_history.run(
        moto.endpoint_url, moto.access_key, moto.secret_key, seconds=SECONDS, processes=PROCESSES, ttl=TTL, seed=SEED
    )
    print(f"\n{PROCESSES} processes, {SECONDS:.0f} s, ttl {TTL} s, seed {SEED}: {verdict}")
    assert verdict.violations == []
    # The run was meaningful: it had acquisitions, writes, and holders that were killed or stalled.
    assert verdict.tokens
    assert verdict.counts["written"]
    assert verdict.takeovers
