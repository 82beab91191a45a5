"""The body that boto3 returns as a stream for an observed request."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from .request_record import RequestRecord

if TYPE_CHECKING:
    from typing_extensions import Self


class ObservedBody:
    """boto3's streamed body: the request ends when the body has been read, or is closed or collected.

    Args:
        body: boto3's StreamingBody.
        record: The record of its request; the response's headers have arrived.
        length: Content-Length; None if unknown.
    """

    def __init__(self, body: Any, record: RequestRecord, length: int | None) -> None:
        self._body = body
        self._record = record
        self._left = length
        self._seconds = time.perf_counter() - record.clock

    def read(self, amt: int | None = None) -> bytes:
        """Read like boto3's body."""
        begun = time.perf_counter()
        try:
            piece: bytes = self._body.read(amt)
        except BaseException as error:
            self._seconds += time.perf_counter() - begun
            self._end(type(error).__name__)
            raise
        self._seconds += time.perf_counter() - begun
        self._record.bytes_received += len(piece)
        if self._left is not None:
            self._left -= len(piece)
        if self._left == 0 or (not piece and amt != 0) or amt is None:
            self._end()
        return piece

    def close(self) -> None:
        """Close the body."""
        self._body.close()
        self._end()

    def _end(self, error: str | None = None) -> None:
        if self._record.observers:
            self._record.seconds = self._seconds
            self._record.end(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._body, name)

    def __del__(self) -> None:
        self._end()
