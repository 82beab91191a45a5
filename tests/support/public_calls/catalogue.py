"""The one list of calls to the public interface, and what each of them covers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Call:
    """One call, or a few that belong together.

    Attributes:
        name: Name in reports and test ids; no two calls have the same.
        members: The public members that it uses, as ``Class.member``.
        run: Function of a :class:`~support.public_calls.place.Place` that makes the call.
    """

    name: str
    members: tuple[str, ...]
    run: Callable[[Any], Any]


CATALOGUE: list[Call] = []


def add(call: Call) -> None:
    """Add a call to the catalogue."""
    assert all(call.name != each.name or type(call) is not type(each) for each in CATALOGUE), call.name
    CATALOGUE.append(call)


VALUES = {
    "BatchResult", "Capabilities", "CorsRule", "Failure", "InjectedFault", "LaneStatus", "LifecycleRule", "Notification", "ObjectEvent",
    "Observation", "Pointer", "PresignedPost", "Rendered", "RequestEvent", "RequestSubscription", "RequestTotals", "S3Config", "SyncStep",
    "Usage",
}  # fmt: skip
"""Public classes that hold data and make no request: their members need no call in the catalogue."""

TESTED_ELSEWHERE = {
    "Faults": "changes how LocalS3 answers: tests/test_faults.py",
    "LocalS3": "runs a server of its own: tests/test_local.py",
    "MessagefluxS3FileSystem": "has the interface of fsspec: tests/test_fs.py",
    "S3MessageStore": "needs messageflux: tests/interop/test_messageflux_stores.py",
    "S3UploadMessageStore": "needs messageflux: tests/interop/test_messageflux_stores.py",
}
"""Other public classes whose members need no call in the catalogue, and why."""
