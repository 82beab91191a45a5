"""The ranges of an object that a file has read, in bounded memory: going back to them costs no request."""

from __future__ import annotations

from concurrent.futures import Future

_MOST = 256  # ranges; they are searched one after the other


class Range:
    """Bytes of an object that are in memory or being fetched.

    Attributes:
        start: The offset of the first byte.
        end: The offset after the last byte.
        data: The bytes; None until :meth:`content` has returned them.
    """

    __slots__ = ("_future", "data", "end", "start")

    def __init__(
        self, start: int, end: int, data: bytes | bytearray | None, future: Future[bytearray] | None = None
    ) -> None:
        self.start = start
        self.end = end
        self.data = data
        self._future = future

    def __len__(self) -> int:
        return self.end - self.start

    def content(self) -> bytes | bytearray:
        """Return the bytes; wait until they are fetched."""
        if self.data is None:
            assert self._future is not None
            self.data, self._future = self._future.result(), None
        return self.data

    def cancel(self) -> bool:
        """Cancel the fetch of the bytes; return False if it has begun already, or if there is none."""
        return self._future is not None and self._future.cancel()


class KeptRanges:
    """The ranges that were used last.

    A call that is interrupted may forget a range, and never returns wrong bytes.

    Args:
        limit: The number of bytes that are kept. The memory of one more range is kept to be used again.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._ranges: dict[int, Range] = {}  # by their starts; those used last come last
        self._spare: bytearray | None = None

    def add(self, added: Range) -> None:
        """Keep a range, and drop those that were used longest ago, as many as the limit requires."""
        same = self._ranges.pop(added.start, None)
        self._ranges[added.start] = same if same is not None and len(same) > len(added) else added
        size = sum(map(len, self._ranges.values()))
        while (size > self._limit or len(self._ranges) > _MOST) and len(self._ranges) > 1:
            oldest = next(iter(self._ranges.values()))
            size -= len(oldest)
            self.drop(oldest)

    def drop(self, dropped: Range) -> None:
        """Stop keeping a range."""
        self._ranges.pop(dropped.start, None)
        dropped.cancel()
        if isinstance(dropped.data, bytearray):
            self._spare = dropped.data

    def find(self, position: int) -> Range | None:
        """Return a range with the byte at a position."""
        for kept in reversed([*self._ranges.values()]):
            if kept.start <= position < kept.end:
                self._ranges.pop(kept.start, None)
                self._ranges[kept.start] = kept
                return kept
        return None

    def neighbours(self, position: int) -> tuple[Range | None, Range | None]:
        """Return the range that ends last before a position without a kept byte, and the one that starts first after it."""
        kept = [*self._ranges.values()]
        before = max((one for one in kept if one.end <= position), key=lambda one: one.end, default=None)
        return before, min((one for one in kept if one.start > position), key=lambda one: one.start, default=None)

    def take_spare(self, size: int) -> bytearray | None:
        """Return memory of exactly this size that is not used any more, if there is some."""
        if self._spare is None or len(self._spare) != size:
            return None
        spare, self._spare = self._spare, None
        return spare

    def clear(self) -> None:
        """Drop everything."""
        for kept in [*self._ranges.values()]:
            self.drop(kept)
        self._spare = None
