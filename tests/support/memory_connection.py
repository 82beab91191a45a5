"""A connection to a store in memory, to test the decisions of conditional writes and locks without HTTP.

HTTP itself is tested on servers. Here a test sets the outcome of each request, and the time; nothing waits, so
that a table of a hundred cases costs nothing.
"""

from __future__ import annotations

import hashlib
import io
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

import messageflux_s3 as s3
from messageflux_s3._client.addresses import BucketAddress, ObjectAddress
from messageflux_s3._client.capabilities import KINDS
from messageflux_s3._client.connection import Connection
from messageflux_s3._client.observation import Observers
from messageflux_s3._objects import conditional, drivers, lock, ranged_reader

Answer = dict[str, Any]
Happening = Callable[[Callable[[], Answer]], Answer]
"""The outcome of one request; receives the function that applies it to the store."""


@dataclass
class Stored:
    """A stored object."""

    body: bytes
    modified: datetime
    metadata: dict[str, str] = field(default_factory=dict)
    etag: str = ""
    headers: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.etag = self.etag or hashlib.md5(self.body, usedforsecurity=False).hexdigest()


class Memory:
    """Stands in for a :class:`Connection`; its clock advances only by calls of ``sleep`` and :meth:`wait`."""

    kind = KINDS["aws"]
    default_checksum = "CRC32"

    def __init__(self) -> None:
        self.is_aws = True
        self.observers = Observers()
        self.shared = self
        self.endpoint_url = "http://s3.test"
        self.config = SimpleNamespace(capabilities=None)
        self.max_attempts = 3
        self.capabilities = s3.Capabilities(checksums_compared=True)  # no MD5 is added
        self.objects: dict[str, Stored] = {}
        self.happens: dict[str, deque[Happening | None]] = {}
        self.calls: list[str] = []
        self.sent: list[Answer] = []
        self.slept: list[float] = []
        self.seconds = 1000.0
        self.server_now = datetime(2026, 11, 21, 12, 0, 0, tzinfo=timezone.utc)
        self.date: str | None = ""  # "": the server's clock
        self.facts: dict[str, Any] = {}
        self.version_id: str | None = None

    @property
    def connection(self) -> Connection:
        return cast(Connection, self)

    @property
    def address(self) -> ObjectAddress:
        """The address of the object "k" in the bucket "b"."""
        return BucketAddress(self.connection, "b").object("k")

    def store(self, key: str, body: bytes, *, age: float = 0, **what: Any) -> str:
        """Store an object, and return its etag."""
        self.objects[key] = Stored(body, self.server_now - timedelta(seconds=age), **what)
        return self.objects[key].etag

    @contextmanager
    def translating(self, operation: str, bucket: str | None = None, key: str | None = None) -> Iterator[None]:
        try:
            yield
        except ConnectionError as error:
            raise s3.S3ConnectionError(str(error), retryable=True) from error

    # -- the clock ------------------------------------------------------------------------------------------------------------------

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        assert len(self.slept) < 10_000, "this would never end"
        self.wait(seconds)

    def wait(self, seconds: float) -> None:
        self.seconds += seconds
        self.server_now += timedelta(seconds=seconds)

    # -- requests -------------------------------------------------------------------------------------------------------------------

    def call(self, operation: str, **parameters: Any) -> Answer:
        self.calls.append(operation)
        self.sent.append(parameters)
        waiting = self.happens.get(operation)
        happening = waiting.popleft() if waiting else None

        def act() -> Answer:
            return self._act(operation, parameters)

        return act() if happening is None else happening(act)

    def call_with_root(self, operation: str, expected: str, **parameters: Any) -> tuple[Answer, str]:
        return self.call(operation, **parameters), expected

    def _act(self, operation: str, parameters: Answer) -> Answer:
        if operation == "ListObjectsV2":
            keys = sorted(key for key in self.objects if key.startswith(parameters["Prefix"]))
            return {"Contents": [{"Key": key, "LastModified": self.objects[key].modified} for key in keys]}
        if operation in ("GetBucketVersioning", "ListMultipartUploads"):
            return {}
        key = parameters["Key"]
        found = self.objects.get(key)
        if "IfNoneMatch" in parameters and found is not None:
            raise refusal(412)
        if "IfMatch" in parameters and found is None:
            raise refusal(404)
        if "IfMatch" in parameters and found is not None and parameters["IfMatch"] != f'"{found.etag}"':
            raise refusal(412)
        if operation in ("PutObject", "CopyObject", "CompleteMultipartUpload"):
            stored = Stored(
                parameters.get("Body", b"made"), self.server_now.replace(microsecond=0), parameters.get("Metadata", {})
            )
            self.objects[key] = stored
            return {"ETag": f'"{stored.etag}"'} | ({"VersionId": self.version_id} if self.version_id else {})
        if operation == "DeleteObject":
            self.objects.pop(key, None)
            return {}
        if found is None:
            raise refusal(404)
        date = format_datetime(self.server_now.replace(microsecond=0), usegmt=True) if self.date == "" else self.date
        return {
            "ETag": f'"{found.etag}"',
            "LastModified": found.modified,
            "Metadata": found.metadata,
            "Body": io.BytesIO(found.body),
            "ContentLength": len(found.body),
            "ResponseMetadata": {"HTTPHeaders": {"date": date} if date is not None else {}},
            **({"VersionId": self.version_id} if self.version_id else {}),
            **found.headers,
        }


def in_memory(monkeypatch: pytest.MonkeyPatch, store: Memory | None = None) -> Memory:
    """Return a store in memory whose clock replaces that of the modules."""
    made = store if store is not None else Memory()
    monkeypatch.setattr(conditional, "time", made)
    monkeypatch.setattr(drivers, "time", made)
    monkeypatch.setattr(ranged_reader, "time", made)
    monkeypatch.setattr(lock, "time", made)
    monkeypatch.setattr(lock, "clock", made.monotonic)
    return made


# -- what may befall a request --------------------------------------------------------------------------------------------------------

_KINDS: dict[int, tuple[type[s3.S3Error], str]] = {
    400: (s3.S3Error, "BadRequest"),
    403: (s3.S3AccessDenied, "AccessDenied"),
    404: (s3.S3NoSuchItem, "NoSuchKey"),
    409: (s3.S3PreconditionFailed, "ConditionalRequestConflict"),
    412: (s3.S3PreconditionFailed, "PreconditionFailed"),
    500: (s3.S3ServerError, "InternalError"),
    503: (s3.S3Throttled, "SlowDown"),
}


def refusal(status: int, *, code: str | None = None, retried: int = 0) -> s3.S3Error:
    """Return an error response of the store; ``retried``: boto3 had sent the request before."""
    cls, usual = _KINDS[status]
    return cls(
        f"{status}", operation="Op", code=code or usual, status=status, request_id="R1", was_retried=bool(retried)
    )


def refused(status: int, *, code: str | None = None, retried: int = 0) -> Happening:
    """The request is not applied, and fails."""

    def happen(act: Callable[[], Answer]) -> Answer:
        raise refusal(status, code=code, retried=retried)

    return happen


def done_then(status: int, *, retried: int = 0) -> Happening:
    """The request is applied, and the response is an error."""

    def happen(act: Callable[[], Answer]) -> Answer:
        act()
        raise refusal(status, retried=retried)

    return happen


def lost(error: s3.S3Error | None = None) -> Happening:
    """The request is lost: not applied, no response."""

    def happen(act: Callable[[], Answer]) -> Answer:
        raise error or s3.S3ConnectionError("lost", operation="Op")

    return happen


def done_and_lost(act: Callable[[], Answer]) -> Answer:
    """The request is applied, and its response is lost."""
    act()
    raise s3.S3ConnectionError("lost", operation="Op")


def cut(act: Callable[[], Answer]) -> Answer:
    """The request is applied; the response has a status and no headers."""
    act()
    return {}


def meanwhile(change: Callable[[], object], then: Happening | None = None) -> Happening:
    """Another client acts just before the request."""

    def happen(act: Callable[[], Answer]) -> Answer:
        change()
        return act() if then is None else then(act)

    return happen
