"""The kinds of fault that :class:`~messageflux_s3.local.faults.Faults` injects: to which operations each applies, and what happens."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from email.utils import formatdate
from functools import partial
from typing import NamedTuple

from .object_history import ObjectHistory
from .proxy import ProxyRequest, ProxyResponse, Treatment, error_response
from .s3_requests import OPERATIONS, recognise

ERROR_IN_200 = frozenset({"CompleteMultipartUpload", "CopyObject", "DeleteObjects"})
"""Operations whose response can be an error with status 200."""

_WRITES = frozenset(
    name
    for name in OPERATIONS
    if re.match("Put|Post|Create|Update|Delete|Complete|Copy|Upload|Rename|Restore", name) and name != "CreateSession"
)
_WITH_BODY = frozenset(name for name in OPERATIONS if name.startswith(("Get", "List")))


class FaultKind(NamedTuple):
    """One kind of fault.

    Attributes:
        name: Its name in ``Faults.next`` and in ``InjectedFault.kind``.
        rate: Its name in ``Faults`` and ``Faults.on``.
        operations: The operations to which the fault can apply; None for all.
    """

    name: str
    rate: str
    operations: frozenset[str] | None = None

    def suits(self, operation: str) -> bool:
        """Return whether the fault can apply to an operation."""
        return self.operations is None or operation in self.operations


KINDS: dict[str, FaultKind] = {
    kind.name: kind
    for kind in (
        FaultKind("lost_answer", "lost_answers"),
        FaultKind("reset", "reset"),
        FaultKind("throttle", "throttle"),
        FaultKind("server_error", "server_error"),
        FaultKind("error_in_200", "error_in_200", ERROR_IN_200),
        FaultKind("forbidden", "forbidden"),
        FaultKind("conflict", "conflict", _WRITES),
        FaultKind("clock_skew", "clock_skew"),
        FaultKind("slow", "slow"),
        FaultKind("cut", "cut", _WITH_BODY),
        FaultKind("corrupt", "corrupt", frozenset({"GetObject"})),
        FaultKind(
            "changed_object",
            "changed_object",
            frozenset(
                {"GetObject", "HeadObject", "PutObject", "CopyObject", "CompleteMultipartUpload", "DeleteObject"}
            ),
        ),
        FaultKind("stale_listing", "stale_listing", frozenset({"ListObjects", "ListObjectsV2"})),
    )
}
"""All kinds by name, in the order in which they are drawn."""


def treatment(
    kind: str, history: ObjectHistory, *, at: float, seconds: float, content: bytes | None = None
) -> Treatment:
    """Return what the proxy does for a fault.

    Args:
        kind: A name of :data:`KINDS`.
        history: What the proxy knows about the server's objects.
        at: Where a body is cut or corrupted, as a share of its length; at least 0 and less than 1.
        seconds: How long a slow response is delayed.
        content: What another client writes (changed_object); None for a line feed and the former content.
    """
    if kind == "lost_answer":
        return Treatment(kind, send=lambda response: b"", ending="reset")
    if kind == "reset":
        return Treatment(kind, reset_at=0.0)
    if kind == "server_error":
        return Treatment(kind, change_response=lambda request, response: error_response(500, "InternalError"))
    if kind == "slow":
        return Treatment(kind, delay=seconds)
    if kind == "cut":
        return Treatment(kind, change_response=_successful_body, send=partial(_cut_body, at), ending="close")
    if kind == "corrupt":
        return Treatment(kind, change_response=partial(_corrupted, at))
    if kind == "changed_object":
        return Treatment(kind, change_request=partial(history.change_object, content=content))
    if kind == "stale_listing":
        return Treatment(kind, change_response=history.stale_listing)
    return Treatment(kind, instead={
        "throttle": lambda request: error_response(503, "SlowDown", message="Please reduce your request rate."),
        "forbidden": lambda request: error_response(403, "AccessDenied", message="Access Denied"),
        "conflict": _conflict,
        "clock_skew": _clock_skew,
        "error_in_200": _error_in_200,
    }[kind])  # fmt: skip


def with_another_byte(body: bytes, at: float) -> bytes:
    """Return a body with one byte changed, at this share of the body's length."""
    where = min(int(at * len(body)), len(body) - 1)
    return body[:where] + bytes([body[where] ^ 1]) + body[where + 1 :]


def refused_deletions(request: ProxyRequest) -> ProxyResponse:
    """Return a response to DeleteObjects in which no key was deleted."""
    entries = b"".join(
        b"<Error><Key>%s</Key><Code>InternalError</Code><Message>Injected by the proxy.</Message></Error>" % key
        for key in re.findall(rb"<Key>(.*?)</Key>", request.body, re.DOTALL)
    )
    return error_response(200, "InternalError").with_body(b"<DeleteResult>" + entries + b"</DeleteResult>")


def _error_in_200(request: ProxyRequest) -> ProxyResponse:
    is_deletion = recognise(request).operation == "DeleteObjects"
    return refused_deletions(request) if is_deletion else error_response(200, "InternalError")


def _conflict(request: ProxyRequest) -> ProxyResponse:
    is_conditional = request.header("If-Match") is not None or request.header("If-None-Match") is not None
    return error_response(409, "ConditionalRequestConflict" if is_conditional else "OperationAborted")


def _clock_skew(request: ProxyRequest) -> ProxyResponse:
    date = formatdate(time.time() + 3600, usegmt=True)
    return error_response(403, "RequestTimeTooSkewed", f"Date: {date}")


def _successful_body(request: ProxyRequest, response: ProxyResponse) -> ProxyResponse | None:
    return response if response.is_success and response.body else None


def _cut_body(at: float, response: ProxyResponse) -> bytes:
    return response.head + response.body[: int(at * len(response.body))]


def _corrupted(at: float, request: ProxyRequest, response: ProxyResponse) -> ProxyResponse | None:
    found = _successful_body(request, response)
    return replace(found, body=with_another_byte(found.body, at)) if found else None
