"""The library's own proxy with the kinds of fault that its tests need, and plans of them; it records every request.

It is :class:`messageflux_s3.local.proxy.Proxy`, as that of ``LocalS3(faults=...)``.

A plan decides which fault the n-th request of a method and target gets. It is a function of these three alone, so a seed gives the same
faults again whatever the timing. A target is named without what changes from run to run: the bucket, upload ids, signatures, tokens.

    with run_proxy(moto.endpoint_url, seeded(7)) as proxy:
        store = moto.connect(endpoint_url=proxy.endpoint_url, read_timeout=1)
        ...
        proxy.counts()  # Counter({"none": 31, "reset_after": 2, ...})
"""

from __future__ import annotations

import random
import re
import socket
import threading
import urllib.parse
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import messageflux_s3.local.proxy
from messageflux_s3.local.fault_kinds import ERROR_IN_200, refused_deletions, with_another_byte
from messageflux_s3.local.proxy import (
    UNTREATED,
    ProxyRequest,
    ProxyResponse,
    Report,
    Treatment,
    error_response,
)
from messageflux_s3.local.s3_requests import recognise

THROTTLED = ("500_before", "502_before", "503_before", "slowdown_before", "429_before")
"""Error responses to a request that is not applied. They come in bursts."""

NOT_DONE = (
    "refuse", "reset_before", "reset_in_request", "stall_before", "redirect_301", "redirect_307", "wrong_region_before", "skewed_before",
    "error_in_200_before", *THROTTLED,
)  # fmt: skip
"""The request does not reach the server.

``refuse``: the connection breaks, and for a moment the port refuses new ones. ``reset_in_request``: after a share of its bytes.
``wrong_region_before``, ``skewed_before``: it was signed for another region, or by a clock that is off.
``error_in_200_before``: 200, and the error is in the document (completing an upload, copying, deleting many).
"""

DONE = (
    "reset_after", "reset_in_response", "cut_head", "cut_body", "cut_unframed", "corrupt", "duplicate", "stall_after", "drip", "delay",
    "500_after", "error_in_200_after", "missing_header", "xml_cut", "xml_huge", "xml_bomb", "xml_external",
)  # fmt: skip
"""The request is applied; its response is damaged.

``cut_head``, ``cut_body``: it ends within, and the connection is closed in good order; ``cut_unframed``: the same in an answer without
Content-Length, so HTTP itself cannot tell. ``corrupt``: one byte of the body is another. ``duplicate``: it is sent twice.
"""

KINDS = (*NOT_DONE, *DONE)

CORRUPT_REQUEST = "corrupt_request"
"""One byte of the request's body is another when it reaches the server. For scripted plans and writes only: in a read it is not noticed."""

_MISSABLE = ("ETag", "Content-Length", "Last-Modified", "Date", "Content-Type", "x-amz-request-id")
_CHANGING = re.compile(
    r"(?i)^(uploadId|versionId|X-Amz-.*|continuation-token|marker|key-marker|version-id-marker|start-after)$"
)
_BOMB = b'<!DOCTYPE b [<!ENTITY a "' + b"lol" * 100 + b'">' + b"".join(
    b'<!ENTITY %c "%s">' % (98 + level, b"&%c;" % (97 + level) * 10) for level in range(9)
) + b"]>"  # fmt: skip
_EXTERNAL = b'<!DOCTYPE b [<!ENTITY x SYSTEM "file:///etc/passwd">]>'


@dataclass(frozen=True)
class Fault:
    """The fault of one request.

    Attributes:
        kind: One of :data:`KINDS`.
        at: The share of the bytes that pass, 0 to 1; also selects the header that is left out.
        seconds: How long a stall, a delay or a drip lasts, or how long the port refuses.
    """

    kind: str
    at: float = 0.5
    seconds: float = 0.05

    def __post_init__(self) -> None:
        if self.kind not in (*KINDS, CORRUPT_REQUEST):
            raise ValueError(f"kind must be one of {KINDS}, not {self.kind!r}")


@dataclass(frozen=True)
class Seen:
    """One request and its fault.

    Attributes:
        method: GET, PUT, …
        target: Its name: without what changes from run to run.
        number: Its number among those of this method and target, from 0.
        kind: The fault, or ``"none"``; also where the fault does not apply (an answer without a body cannot be cut in its body).
        status: The server's status; 0 if it received nothing or sent no response.
        path: The path as it was sent.
        query: The query as it was sent.
    """

    method: str
    target: str
    number: int
    kind: str
    status: int
    path: str
    query: str


Plan = Callable[[str, str, int], "Fault | None"]
"""A function of method, target's name and number from 0 that returns the fault."""


def no_faults(method: str, target: str, number: int) -> None:
    """Return no fault."""


def seeded(
    seed: int,
    *,
    share: float = 0.3,
    kinds: Iterable[str] = KINDS,
    burst: int = 3,
    seconds: float = 0.05,
    stall: float = 1.5,
) -> Plan:
    """Return a plan in which a share of all requests gets a fault, drawn by the seed.

    Args:
        seed: The same seed gives the same faults.
        share: The share of the requests, 0 to 1.
        kinds: Which faults.
        burst: How many requests of the same method and target in a row a throttling answer befalls, at the most.
        seconds: How long a delay, a drip and a refusal last.
        stall: How long a stall lasts: longer than the client's read_timeout.
    """
    chosen = tuple(kinds)

    def drawn(method: str, target: str, number: int) -> tuple[Fault, int] | None:
        generator = random.Random(f"{seed}|{method}|{target}|{number}")
        if generator.random() >= share:
            return None
        kind = generator.choice(chosen)
        lasts = stall if kind.startswith("stall") else seconds
        return Fault(kind, generator.random(), lasts), generator.randint(1, burst) if kind in THROTTLED else 1

    def plan(method: str, target: str, number: int) -> Fault | None:
        for back in range(burst):
            found = drawn(method, target, number - back) if number >= back else None
            if found is not None and found[1] > back:
                return found[0]
        return None

    return plan


def scripted(script: Mapping[tuple[str, str], Iterable[Fault | str | None]]) -> Plan:
    """Return a plan with exactly these faults: (method, target's name) -> one for each request, none after the last."""
    faults = {
        about: [Fault(fault) if isinstance(fault, str) else fault for fault in row] for about, row in script.items()
    }

    def plan(method: str, target: str, number: int) -> Fault | None:
        row = faults.get((method, target), [])
        return row[number] if number < len(row) else None

    return plan


def name_of(target: str) -> str:
    """Return a target without its bucket and without values that change from run to run: ``/bucket/k?uploadId=7`` -> ``k?uploadId``."""
    path, _, query = target.partition("?")
    key = urllib.parse.unquote(path).lstrip("/").partition("/")[2]
    pairs = sorted(urllib.parse.parse_qsl(query, keep_blank_values=True))
    shown = "&".join(
        name if not value or _CHANGING.match(name) else f"{name}={value}" for name, value in pairs if name != "x-id"
    )
    return f"{key}?{shown}" if shown else key


# -- the kinds of fault ---------------------------------------------------------------------------------------------------------------


def _operation(request: ProxyRequest) -> str:
    return recognise(request).operation


def _error_in_200(request: ProxyRequest) -> ProxyResponse | None:
    """Return a 200 with an error in its document; None for an operation that has none."""
    operation = _operation(request)
    if operation not in ERROR_IN_200:
        return None
    if operation != "DeleteObjects":
        return error_response(200, "InternalError")
    return refused_deletions(request)


_INSTEAD: dict[str, ProxyResponse] = {
    "500_before": error_response(500, "InternalError"),
    "502_before": ProxyResponse(b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\n\r\n").with_body(
        b"<html>Bad Gateway</html>"
    ),
    "503_before": error_response(503, "ServiceUnavailable"),
    "slowdown_before": error_response(503, "SlowDown", "Retry-After: 0"),
    "429_before": error_response(429, "TooManyRequests"),
    "wrong_region_before": error_response(400, "AuthorizationHeaderMalformed", "x-amz-bucket-region: eu-west-3"),
    "skewed_before": error_response(403, "RequestTimeTooSkewed", "Date: Wed, 01 Jan 2020 00:00:00 GMT"),
    "redirect_301": error_response(301, "PermanentRedirect", "x-amz-bucket-region: us-east-1"),
}


def _cut_head(response: ProxyResponse, at: float) -> bytes:
    return response.head[: int(at * (len(response.head) - 4))]


def _cut_body(response: ProxyResponse, at: float) -> bytes:
    return response.head + response.body[: int(at * len(response.body))]


def _if_it_has_a_body(request: ProxyRequest, response: ProxyResponse) -> ProxyResponse | None:
    return response if response.body and request.method != "HEAD" else None


def _unframed(request: ProxyRequest, response: ProxyResponse) -> ProxyResponse | None:
    unframed = response.without("Content-Length").without("Transfer-Encoding")
    return _if_it_has_a_body(request, unframed)


def _corrupted(at: float, request: ProxyRequest, response: ProxyResponse) -> ProxyResponse | None:
    found = _if_it_has_a_body(request, response)
    return replace(found, body=with_another_byte(found.body, at)) if found else None


def _corrupted_request(at: float, request: ProxyRequest) -> ProxyRequest | None:
    return replace(request, body=with_another_byte(request.body, at)) if request.body else None


def _without_a_header(at: float, request: ProxyRequest, response: ProxyResponse) -> ProxyResponse | None:
    there = [name for name in _MISSABLE if response.header(name) is not None]
    return response.without(there[int(at * len(there)) % len(there)]) if there else None


def _malformed(kind: str, at: float, request: ProxyRequest, response: ProxyResponse) -> ProxyResponse | None:
    body = response.body
    is_xml = body.lstrip()[:1] == b"<" and "xml" in (response.header("Content-Type") or "xml")
    if not is_xml or request.method == "HEAD":
        return None
    if kind == "xml_cut":
        return response.with_body(body[: int(at * len(body))])
    root = re.search(rb"<[A-Za-z][^>]*?>", body)
    if root is None:
        return response
    if kind == "xml_huge":
        padding = b"<Padding>" + b"x" * (8 << 20) + b"</Padding>"
        return response.with_body(body[: root.end()] + padding + body[root.end() :])
    doctype, entity = (_BOMB, b"&j;") if kind == "xml_bomb" else (_EXTERNAL, b"&x;")
    inner = body[: root.start()] + doctype + body[root.start() : root.end()] + b"<Name>" + entity + b"</Name>"
    return response.with_body(inner + body[root.end() :])


def _treatment(fault: Fault, proxy: Proxy) -> Treatment:
    """Return what the proxy does for a fault."""
    kind, at, seconds = fault.kind, fault.at, fault.seconds
    treatments: dict[str, dict[str, Any]] = {
        "refuse": {"reset_at": 0.0, "after_reset": partial(proxy.refuse_for, seconds)},
        "reset_before": {"reset_at": 0.0},
        "reset_in_request": {"reset_at": at},
        "stall_before": {"is_forwarded": False, "delay": seconds, "ending": "close"},
        "redirect_307": {
            "instead": lambda request: error_response(
                307, "TemporaryRedirect", f"Location: {proxy.endpoint_url}{request.target}"
            )
        },
        "error_in_200_before": {"instead": _error_in_200},
        "error_in_200_after": {"change_response": lambda request, response: _error_in_200(request)},
        "500_after": {"change_response": lambda request, response: error_response(500, "InternalError")},
        "reset_after": {"send": lambda response: b"", "ending": "reset"},
        "reset_in_response": {
            "send": lambda response: response.raw[: int(at * len(response.raw))],
            "ending": "reset",
        },
        "cut_head": {"send": partial(_cut_head, at=at), "ending": "close"},
        "cut_body": {"change_response": _if_it_has_a_body, "send": partial(_cut_body, at=at), "ending": "close"},
        "cut_unframed": {"change_response": _unframed, "send": partial(_cut_body, at=at), "ending": "close"},
        "corrupt": {"change_response": partial(_corrupted, at)},
        CORRUPT_REQUEST: {"change_request": partial(_corrupted_request, at)},
        "duplicate": {"send": lambda response: response.raw * 2},
        "stall_after": {"delay": seconds, "send": lambda response: b"", "ending": "close"},
        "drip": {"delay": seconds, "pieces": 8},
        "delay": {"delay": seconds},
        "missing_header": {"change_response": partial(_without_a_header, at)},
    }
    if kind in _INSTEAD:
        return Treatment(kind, instead=lambda request: _INSTEAD[kind])
    if kind.startswith("xml"):
        return Treatment(kind, change_response=partial(_malformed, kind, at))
    return Treatment(kind, **treatments[kind])


# -- the proxy ------------------------------------------------------------------------------------------------------------------------


class Proxy(messageflux_s3.local.proxy.Proxy):
    """A running proxy; :func:`run_proxy` makes one.

    Attributes:
        plan: The plan of faults; may be replaced at any time, see :meth:`restart`.
        seen: Every request so far, in the order of their ends.
    """

    def __init__(self, upstream: tuple[str, int], plan: Plan = no_faults) -> None:
        self.plan = plan
        self.seen: deque[Seen] = deque()
        self._numbers: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._mutex = threading.Lock()
        self._port = threading.Lock()
        # Bound and never listening: it keeps the port ours while the socket that listens is closed, so that "refused" is real.
        self._address = ("127.0.0.1", 0)
        self._keeper = self._bound()
        super().__init__(upstream, self._keeper.getsockname())

    def choose(self, request: ProxyRequest) -> tuple[Treatment, Report]:
        method, name = request.method, name_of(request.target)
        with self._mutex:
            number = self._numbers[method, name]
            self._numbers[method, name] += 1
            fault = self.plan(method, name, number)
        treatment = _treatment(fault, self) if fault else UNTREATED

        def report(applied: bool, status: int) -> None:
            path, _, query = request.target.partition("?")
            self.seen.append(Seen(method, name, number, treatment.kind if applied else "none", status, path, query))

        return treatment, report

    def counts(self) -> Counter[str]:
        """Return how often each kind of fault occurred, including ``"none"``."""
        return Counter(seen.kind for seen in [*self.seen])

    def restart(self, plan: Plan = no_faults) -> None:
        """Reset all counts and records, and use this plan."""
        with self._mutex:
            self.plan = plan
            self._numbers.clear()
            self.seen.clear()

    def refuse_for(self, seconds: float) -> None:
        """Refuse connections for a moment."""
        with self._port:
            if self._over.is_set():
                return
            self._stop_listening()
            self._over.wait(seconds)
            if not self._over.is_set():
                self._listen()

    def close(self) -> None:
        """Stop the proxy, including stalled requests and open connections."""
        self._over.set()
        with self._port:
            super().close()
        self._keeper.close()

    def _bound(self) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(self._address)
        return sock


@contextmanager
def run_proxy(endpoint_url: str, plan: Plan = no_faults) -> Iterator[Proxy]:
    """Run a proxy in front of a server during the block."""
    parts = urllib.parse.urlsplit(endpoint_url)
    proxy = Proxy((parts.hostname or "127.0.0.1", parts.port or 80), plan)
    try:
        yield proxy
    finally:
        proxy.close()
