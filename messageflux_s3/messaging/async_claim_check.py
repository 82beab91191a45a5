"""AsyncClaimCheck: the claim check for asyncio, with an AsyncS3Bucket."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterable, Iterable, Mapping
from typing import IO, TYPE_CHECKING, Any

from ..aio import AsyncS3Bucket, AsyncS3Object
from ..aio.engine import is_async_source, stream_portal
from .claim_check import ClaimCheck, Incoming, Outgoing

if TYPE_CHECKING:
    from .._formats.pointers import Wire
    from .claim_check import Headers


class AsyncClaimCheck:
    """Send large payloads through a bucket, small ones inline. Arguments and formats are those of :class:`ClaimCheck`.

    Args:
        bucket: The bucket that stores payloads.
        threshold: The number of bytes, of body and headers together, above which the payload is stored in the bucket; 0 stores all.
        wire: The format to write; both formats are read.
        allowed_buckets: Further buckets from which payloads may be read; ``bucket`` is always allowed.

    Example:
        >>> async def send(bucket, payload):
        ...     check = s3.AsyncClaimCheck(bucket, threshold=10)
        ...     body, headers = await check.check_in(payload, {})
        ...     return (await check.check_out((body, headers))).payload
    """

    def __init__(
        self,
        bucket: AsyncS3Bucket,
        *,
        threshold: int = 262_144,
        wire: Wire = "sqs-extended",
        allowed_buckets: Iterable[str] = (),
    ) -> None:
        """Validate the arguments; no request is made.

        Raises:
            TypeError: An argument has the wrong type.
            ValueError: The threshold is negative, ``wire`` is unknown, or the name of an allowed bucket is invalid.
        """
        if not isinstance(bucket, AsyncS3Bucket):
            raise TypeError(
                f"bucket must be an AsyncS3Bucket, not {type(bucket).__name__}; ClaimCheck takes an S3Bucket"
            )
        self.bucket = bucket
        self._check = ClaimCheck(bucket._twin, threshold=threshold, wire=wire, allowed_buckets=allowed_buckets)
        self._engine = bucket._engine

    @property
    def threshold(self) -> int:
        """The number of bytes above which a payload is stored in the bucket. Requests: none."""
        return self._check.threshold

    @property
    def wire(self) -> Wire:
        """The format to write. Requests: none."""
        return self._check.wire

    @property
    def allowed_buckets(self) -> frozenset[str]:
        """The buckets from which payloads may be read. Requests: none."""
        return self._check.allowed_buckets

    async def check_in(
        self,
        payload: bytes | str | IO[bytes] | Iterable[bytes] | AsyncIterable[bytes] | Any,
        headers: Headers | None = None,
    ) -> Outgoing:
        """Convert a payload into a message to send; upload it to the bucket if it is too large.

        Args:
            payload: Anything that ``ClaimCheck.check_in`` takes, an async iterable of bytes, or a readable with an async ``read(size)``.
                A stream is never held in memory as a whole.
            headers: The message's headers, in any form that ``ClaimCheck.check_in`` takes.

        Returns:
            The body and headers to send. If sending fails, ``discard()`` deletes the payload. If the task is cancelled, the payload is
            deleted.

        Raises:
            TypeError: The payload or the headers have the wrong type.
            ValueError: The headers use a name reserved by the claim check, or are larger than the threshold by themselves.

        Requests:
            none, or those of one upload
        """
        portal = await stream_portal(payload, self._engine)
        store = functools.partial(self._check.check_in, portal.source(payload), headers)
        return await portal.run(store, alone=is_async_source(payload), undo=self._check.discard)

    async def check_out(self, message: Any) -> Incoming:
        """Return the payload and headers of a message. Arguments and errors as ``ClaimCheck.check_out``. Requests: none, or 1 GET."""
        return await self._engine.run(functools.partial(self._check.check_out, message))

    def payload_object(self, message: Any) -> AsyncS3Object | None:
        """Return a handle on the payload, or None if the message contains it inline. Requests: none."""
        found = self._check.payload_object(message)
        return None if found is None else AsyncS3Object(found, self._engine)

    async def discard(self, message: Any) -> bool:
        """Delete a message's payload from the bucket. Arguments and errors as ``ClaimCheck.discard``. Requests: none, or 1 DELETE."""
        return await self._engine.run_write(self._check.discard, message)

    def receipt_handle(self, message: Mapping[str, Any], *, extended: bool = False) -> str:
        """Return the receipt handle of an SQS message, in the form needed to delete the message. Requests: none."""
        return self._check.receipt_handle(message, extended=extended)

    def __repr__(self) -> str:
        return f"AsyncClaimCheck({self.bucket!r}, threshold={self.threshold}, wire={self.wire!r})"
