"""A lock under asyncio."""

from __future__ import annotations

from collections.abc import (
    Generator,
)
from types import TracebackType
from typing import (
    Any,
)

from .._objects.lock import S3Lock
from .engine import Engine, Portal
from .twins import twin_of


class StoppableLock(S3Lock):
    """A lock whose ``acquire()`` stops waiting if its task was cancelled."""

    portal: Portal | None = None

    def _is_takeable(self, seen: Any, since: float) -> bool:
        if self.portal is not None:
            self.portal.check()
        return super()._is_takeable(seen, since)


class AsyncS3Lock:
    """A lease on a key, created by ``bucket.lock(…)``; ``async with`` or ``await`` acquires it.

    The guarantees are those of :class:`~messageflux_s3.S3Lock`. A thread renews the lease, so an event loop that is blocked for a while
    does not lose it. A cancelled block releases the lease; a cancelled wait leaves no lease held.
    """

    def __init__(self, lock: StoppableLock, engine: Engine) -> None:
        self._lock = lock
        self._engine = engine

    @property
    def _twin(self) -> S3Lock:
        return self._lock

    @property
    def key(self) -> str:
        """The key. Requests: none."""
        return self._lock.key

    @property
    def owner(self) -> str:
        """The owner's name, as written into the lock. Requests: none."""
        return self._lock.owner

    @property
    def token(self) -> int:
        """The fencing token: larger for every later holder of this key. Requests: none."""
        return self._lock.token

    @property
    def lost(self) -> bool:
        """Whether the lease expired or was taken over; False only while it is certainly held by this lock. Requests: none."""
        return self._lock.lost

    def check(self) -> None:
        """Raise unless the lease is certainly held by this lock.

        Raises:
            S3LockError: The lease expired, was taken over or released, or belongs to the parent process.

        Requests:
            none
        """
        self._lock.check()

    async def acquire(self) -> AsyncS3Lock:
        """Acquire the lock; wait up to ``wait`` seconds.

        Returns:
            The lock itself.

        Raises:
            S3LockError: The lock is held; ``lock_holder`` names the holder.
            S3Unsupported: The store does not honour conditional writes; nothing was written.

        Requests:
            1 GET, 1 PUT (more while it waits; also those of a probe, once per store)
        """
        portal = self._lock.portal = Portal(self._engine)
        # On a dedicated thread: the holder may need a pool thread to release the lock.
        await portal.run(self._lock.acquire, undo=S3Lock.release)
        return self

    renew = twin_of(S3Lock.renew)
    """Renew the lease now; a thread also renews it automatically. Requests: 1 PUT."""

    async def release(self) -> None:
        """Release the lock. Does nothing if it is no longer held. Requests: 1 PUT if the lock is held, else none."""
        await Portal(self._engine).run(self._lock.release)

    def __await__(self) -> Generator[Any, None, AsyncS3Lock]:
        return self.acquire().__await__()

    async def __aenter__(self) -> AsyncS3Lock:
        self._lock._begin_block()
        try:
            return await self.acquire() if self.lost else self
        except BaseException:
            self._lock._end_block()
            raise

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.release()

    def __repr__(self) -> str:
        return f"<Async{repr(self._lock).removeprefix('<')}"
