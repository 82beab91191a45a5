"""A synchronization plan under asyncio."""

from __future__ import annotations

from typing import (
    TYPE_CHECKING,
)

from .._bulk.progress import Progress
from .._files.sync import SyncPlan

if TYPE_CHECKING:
    from .._files import sync
    from .._files.sync import SyncStep
from .engine import Engine


class AsyncSyncPlan:
    """The steps that synchronize a prefix from a folder, or a folder from a prefix. Print it, then ``await plan.apply()``."""

    def __init__(self, plan: SyncPlan, engine: Engine) -> None:
        self._plan = plan
        self._engine = engine

    @property
    def steps(self) -> tuple[SyncStep, ...]:
        """Every file and object concerned, in key order. Requests: none."""
        return self._plan.steps

    @property
    def direction(self) -> sync.Direction:
        """``"to_store"`` or ``"to_folder"``. Requests: none."""
        return self._plan.direction

    @property
    def bucket_name(self) -> str:
        """The bucket's name. Requests: none."""
        return self._plan.bucket_name

    @property
    def prefix(self) -> str:
        """The prefix in the bucket. Requests: none."""
        return self._plan.prefix

    @property
    def folder(self) -> str:
        """The folder. Requests: none."""
        return self._plan.folder

    @property
    def applied(self) -> bool:
        """Whether the plan was applied. Requests: none."""
        return self._plan.applied

    @property
    def copied(self) -> list[SyncStep]:
        """The steps that copy. Requests: none."""
        return self._plan.copied

    @property
    def skipped(self) -> list[SyncStep]:
        """The steps that change nothing. Requests: none."""
        return self._plan.skipped

    @property
    def deleted(self) -> list[SyncStep]:
        """The steps that delete. Requests: none."""
        return self._plan.deleted

    async def apply(self, *, progress: Progress = None) -> AsyncSyncPlan:
        """Apply the plan: copy first, and delete only if every copy succeeded. Requests: as ``SyncPlan.apply``."""
        applied = await self._engine.run_stoppable(self._plan.apply, progress=progress)
        return AsyncSyncPlan(applied, self._engine)

    def __str__(self) -> str:
        return str(self._plan)

    def __repr__(self) -> str:
        return f"Async{self._plan!r}"

    def _repr_html_(self) -> str:
        return self._plan._repr_html_()
