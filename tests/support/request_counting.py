"""A store behind a proxy that records every request actually sent, through the lane or boto3."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from support.proxy import Proxy, Seen

from messageflux_s3 import S3Bucket, S3Store


@dataclass
class Counted:
    """A store and a bucket of it behind a proxy."""

    store: S3Store
    bucket: S3Bucket
    _proxy: Proxy = field(repr=False)

    def requests(self) -> list[Seen]:
        """Return every request since the test began."""
        return [*self._proxy.seen]

    @contextmanager
    def recording(self) -> Iterator[list[Seen]]:
        """Collect the requests of a block; the list is filled when the block ends."""
        before = len(self._proxy.seen)
        seen: list[Seen] = []
        yield seen
        seen.extend([*self._proxy.seen][before:])
