"""Actions that an interrupt must not prevent, such as the release of a lock or the removal of what an experiment has written."""

from __future__ import annotations

from collections.abc import Callable


def run_to_the_end(action: Callable[[], object]) -> None:
    """Run an action that may be repeated; if it is interrupted, run it once more before the interrupt is raised."""
    try:
        action()
    except Exception:
        raise
    except BaseException:
        action()
        raise
