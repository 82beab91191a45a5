"""Thousands of seeded runs of every lock transition, with responses lost before and after the server acted.

    SEEDS=1000 python -m pytest -s tests/attacks/test_lock_runs.py

``SEEDS`` and ``FIRST_SEED`` come from the environment. Prints the outcomes that the contenders received, and how often each fault occurred.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from support.seeded_runs import LOCKS, Run, connected, run_faulty_server, run_seeds
from support.stateful_server import StatefulStore

SEEDS = int(os.environ.get("SEEDS", "100"))
FIRST_SEED = int(os.environ.get("FIRST_SEED", "0"))


@pytest.fixture(scope="module")
def faulty() -> Iterator[tuple[str, StatefulStore]]:
    """A server that honours conditions and drops responses on command."""
    with run_faulty_server() as served:
        yield served


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("run", LOCKS, ids=lambda run: run.__name__)
def test_a_lock_has_one_holder_when_answers_are_lost_at_any_transition(
    faulty: tuple[str, StatefulStore], run: Run
) -> None:
    """One holder at a time, increasing tokens, no client blocked by its own write, and no false success."""
    before = faulty[1].happened.copy()
    told = run_seeds(run, connected(faulty[0]), faulty[1], range(FIRST_SEED, FIRST_SEED + SEEDS), workers=24)
    print(
        f"\n{run.__name__}: {SEEDS} seeds, contenders were told {dict(told)}; faults {dict(faulty[1].happened - before)}"
    )
    assert told["held"] + told["done"] > SEEDS // 2
