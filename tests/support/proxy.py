"""A proxy on the loopback interface that injects faults in front of a test server, and records what it did.

A plan decides which fault the n-th request of a method and target gets. It is a function of these three alone, so a seed gives the same
faults again whatever the timing. A target is named without what changes from run to run: the bucket, upload ids, signatures, tokens.

    with run_proxy(moto.endpoint_url, seeded(7)) as proxy:
        store = moto.connect(endpoint_url=proxy.endpoint_url, read_timeout=1)
        ...
        proxy.counts()  # Counter({"none": 31, "reset_after": 2, ...})

The head of a request is forwarded unchanged, including the signed Host. A request is read completely before it is forwarded, and a
response before it is sent back.
"""

from __future__ import annotations

import random
import re
import socket
import struct
import threading
import urllib.parse
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

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

_ERROR_IN_200 = ("CompleteMultipartUpload", "CopyObject", "DeleteObjects")
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


# -- one request, one answer ----------------------------------------------------------------------------------------------------------


class _Gone(Exception):
    """The peer closed the connection."""


@dataclass
class _Request:
    head: bytes
    body: bytes
    method: str
    target: str

    def header(self, name: str) -> str | None:
        return _header(self.head, name)

    @property
    def operation(self) -> str:
        """The operations that may fail inside a 200; empty for any other."""
        query = dict(urllib.parse.parse_qsl(self.target.partition("?")[2], keep_blank_values=True))
        if self.method == "POST" and "uploadId" in query:
            return "CompleteMultipartUpload"
        if self.method == "POST" and "delete" in query:
            return "DeleteObjects"
        return (
            "CopyObject"
            if self.method == "PUT" and self.header("x-amz-copy-source") and "uploadId" not in query
            else ""
        )


@dataclass
class _Answer:
    head: bytes
    body: bytes

    @property
    def status(self) -> int:
        found = re.match(rb"HTTP/1\.\d (\d{3})", self.head)
        return int(found[1]) if found else 0

    @property
    def is_xml(self) -> bool:
        return self.body.lstrip()[:1] == b"<" and "xml" in (_header(self.head, "Content-Type") or "xml")

    @property
    def bytes(self) -> bytes:
        return self.head + self.body

    def without(self, name: str) -> _Answer:
        return _Answer(re.sub(rb"(?im)^" + re.escape(name.encode()) + rb":[^\n]*\n", b"", self.head), self.body)

    def with_body(self, body: bytes) -> _Answer:
        plain = self.without("Content-Length").without("Transfer-Encoding")
        return _Answer(plain.head[:-2] + b"Content-Length: %d\r\n\r\n" % len(body), body)


def _header(head: bytes, name: str) -> str | None:
    found = re.search(rb"(?im)^" + re.escape(name.encode()) + rb":[ \t]*([^\r\n]*)", head)
    return found[1].decode("latin-1").strip() if found else None


def _error(status: int, code: str, *headers: str) -> _Answer:
    body = f"<?xml version='1.0' encoding='UTF-8'?>\n<Error><Code>{code}</Code><Message>by the proxy</Message></Error>".encode()
    lines = [f"HTTP/1.1 {status} {code}", "Content-Type: application/xml", "x-amz-request-id: PROXY", *headers]
    return _Answer("\r\n".join([*lines, "", ""]).encode(), b"").with_body(body)


def _error_in_200(request: _Request) -> _Answer:
    answer = _error(200, "InternalError")
    if request.operation != "DeleteObjects":
        return answer
    keys = re.findall(rb"<Key>(.*?)</Key>", request.body, re.DOTALL)
    entries = b"".join(
        b"<Error><Key>%s</Key><Code>InternalError</Code><Message>by the proxy</Message></Error>" % key for key in keys
    )
    return answer.with_body(b"<DeleteResult>" + entries + b"</DeleteResult>")


_INSTEAD: dict[str, _Answer] = {
    "500_before": _error(500, "InternalError"),
    "502_before": _Answer(b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\n\r\n", b"").with_body(
        b"<html>Bad Gateway</html>"
    ),
    "503_before": _error(503, "ServiceUnavailable"),
    "slowdown_before": _error(503, "SlowDown", "Retry-After: 0"),
    "429_before": _error(429, "TooManyRequests"),
    "500_after": _error(500, "InternalError"),
    "wrong_region_before": _error(400, "AuthorizationHeaderMalformed", "x-amz-bucket-region: eu-west-3"),
    "skewed_before": _error(403, "RequestTimeTooSkewed", "Date: Wed, 01 Jan 2020 00:00:00 GMT"),
}


class _Line:
    """One client's connection: bytes in, bytes out."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self._held = b""

    def until(self, mark: bytes) -> bytes:
        while mark not in self._held:
            self._fill()
        end = self._held.index(mark) + len(mark)
        found, self._held = self._held[:end], self._held[end:]
        return found

    def exactly(self, size: int) -> bytes:
        while len(self._held) < size:
            self._fill()
        found, self._held = self._held[:size], self._held[size:]
        return found

    def _fill(self) -> None:
        piece = self.sock.recv(1 << 18)
        if not piece:
            raise _Gone
        self._held += piece

    def reset(self) -> None:
        """Close with RST: bytes sent but not yet read are lost as well."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


# -- the proxy ------------------------------------------------------------------------------------------------------------------------


@dataclass
class Proxy:
    """A running proxy; :func:`run_proxy` makes one.

    Attributes:
        upstream: The server behind it: host and port.
        plan: The plan of faults; may be replaced at any time, see :meth:`restart`.
        seen: Every request so far, in the order of their ends.
    """

    upstream: tuple[str, int]
    plan: Plan = no_faults
    seen: deque[Seen] = field(default_factory=deque)
    _numbers: defaultdict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int), repr=False)
    _mutex: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _port: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _over: threading.Event = field(default_factory=threading.Event, repr=False)
    _clients: set[socket.socket] = field(default_factory=set, repr=False)

    def __post_init__(self) -> None:
        # Bound and never listening: it keeps the port ours while the socket that listens is closed, so that "refused" is real.
        self._keeper = self._bound(("127.0.0.1", 0))
        self._address: tuple[str, int] = self._keeper.getsockname()
        self.endpoint_url = f"http://127.0.0.1:{self._address[1]}"
        self._listen()

    def counts(self) -> Counter[str]:
        """Return how often each kind of fault occurred, including ``"none"``."""
        return Counter(seen.kind for seen in [*self.seen])

    def restart(self, plan: Plan = no_faults) -> None:
        """Reset all counts and records, and use this plan."""
        with self._mutex:
            self.plan = plan
            self._numbers.clear()
            self.seen.clear()

    def close(self) -> None:
        """Stop the proxy, including stalled requests and open connections."""
        self._over.set()
        with self._port:
            self._stop_listening()
        with self._mutex:
            for client in self._clients:
                with suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)
        self._keeper.close()

    def _bound(self, address: tuple[str, int]) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(address)
        return sock

    def _listen(self) -> None:
        self._listener = self._bound(self._address)
        self._listener.listen(512)
        threading.Thread(target=self._accept, args=(self._listener,), name="proxy", daemon=True).start()

    def _stop_listening(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with self._mutex:
                self._clients.add(client)
            threading.Thread(target=self._serve, args=(client,), name="proxy", daemon=True).start()

    def _refuse_for(self, seconds: float) -> None:
        with self._port:
            if self._over.is_set():
                return
            self._stop_listening()
            self._over.wait(seconds)
            if not self._over.is_set():
                self._listen()

    def _serve(self, client: socket.socket) -> None:
        line = _Line(client)
        try:
            while self._one(line):
                pass
        except (_Gone, OSError):
            pass
        finally:
            with self._mutex:
                self._clients.discard(client)
            client.close()

    def _one(self, line: _Line) -> bool:
        """Handle one request and its response; return whether the connection stays open."""
        head = line.until(b"\r\n\r\n")
        method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
        name = name_of(target)
        with self._mutex:
            number = self._numbers[method, name]
            self._numbers[method, name] += 1
            fault = self.plan(method, name, number)
        kind = fault.kind if fault else "none"

        def note(status: int, kind: str = kind) -> None:
            path, _, query = target.partition("?")
            self.seen.append(Seen(method, name, number, kind, status, path, query))

        if fault is not None and kind in ("refuse", "reset_before", "reset_in_request"):
            if kind == "reset_in_request":
                line.exactly(int(fault.at * int(_header(head, "Content-Length") or 0)))
            note(0)
            line.reset()
            if kind == "refuse":
                self._refuse_for(fault.seconds)
            return False
        request = _Request(head, self._body(line, head), method, target)
        if fault is not None and kind == CORRUPT_REQUEST and request.body:
            request = _Request(head, _with_another_byte(request.body, fault.at), method, target)
        if fault is not None and kind == "stall_before":
            note(0)
            self._over.wait(fault.seconds)
            return False
        instead = self._instead(request, kind)
        answer = instead if kind in NOT_DONE and instead is not None else self._ask(request)
        if answer is None:
            note(0, "none")
            line.reset()
            return False
        status = 0 if kind in NOT_DONE and instead is not None else answer.status
        if kind.endswith("_after") and instead is not None:
            answer = instead
        if method == "HEAD":
            answer = _Answer(answer.head, b"")
        if fault is None or kind == CORRUPT_REQUEST or not _applies(kind, request, answer, instead):
            note(status, kind if kind == CORRUPT_REQUEST and request.body else "none")
            line.sock.sendall(answer.bytes)
            return _stays_open(request, answer)
        note(status)
        return self._send_badly(line, request, answer, fault)

    def _body(self, line: _Line, head: bytes) -> bytes:
        if (_header(head, "Expect") or "").lower() == "100-continue":
            line.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if "chunked" not in (_header(head, "Transfer-Encoding") or "").lower():
            return line.exactly(int(_header(head, "Content-Length") or 0))
        body = b""
        while True:
            size = line.until(b"\r\n")
            body += size + line.exactly(int(size.split(b";")[0], 16) + 2)
            if int(size.split(b";")[0], 16) == 0:
                return body

    def _instead(self, request: _Request, kind: str) -> _Answer | None:
        """Return a response of the proxy's own."""
        if kind == "redirect_301":
            return _error(301, "PermanentRedirect", "x-amz-bucket-region: us-east-1")
        if kind == "redirect_307":
            return _error(307, "TemporaryRedirect", f"Location: {self.endpoint_url}{request.target}")
        if kind.startswith("error_in_200"):
            return _error_in_200(request) if request.operation in _ERROR_IN_200 else None
        return _INSTEAD.get(kind)

    def _ask(self, request: _Request) -> _Answer | None:
        """Forward a request on a new connection; None if the server closed it without a response."""
        head = re.sub(rb"(?im)^(Connection|Expect):[^\n]*\n", b"", request.head)
        head = head[:-2] + b"Connection: close\r\n\r\n"
        said = b""
        try:
            with socket.create_connection(self.upstream) as server:
                server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                server.sendall(head + request.body)
                while piece := server.recv(1 << 18):
                    said += piece
        except OSError:
            if b"\r\n\r\n" not in said:
                return None
        head, end, body = said.partition(b"\r\n\r\n")
        answer = _Answer(head + end, body).without("Connection")
        return answer if end else None

    def _send_badly(self, line: _Line, request: _Request, answer: _Answer, fault: Fault) -> bool:
        """Send the response, damaged by the fault; return whether the connection stays open."""
        sock, kind = line.sock, fault.kind
        if kind in ("delay", "stall_after"):
            self._over.wait(fault.seconds)
        if kind == "stall_after":
            return False
        if kind in ("reset_after", "reset_in_response"):
            sock.sendall(answer.bytes[: int(fault.at * len(answer.bytes))] if kind == "reset_in_response" else b"")
            line.reset()
            return False
        if kind in ("cut_head", "cut_body"):
            passed = (
                int(fault.at * (len(answer.head) - 4))
                if kind == "cut_head"
                else len(answer.head) + int(fault.at * len(answer.body))
            )
            sock.sendall(answer.bytes[:passed])
            return False
        if kind == "cut_unframed":
            unframed = answer.without("Content-Length").without("Transfer-Encoding")
            sock.sendall(unframed.head + answer.body[: int(fault.at * len(answer.body))])
            return False
        if kind == "drip":
            pieces = 8
            size = len(answer.bytes) // pieces + 1
            for begin in range(0, len(answer.bytes), size):
                sock.sendall(answer.bytes[begin : begin + size])
                self._over.wait(fault.seconds / pieces)
            return _stays_open(request, answer)
        if kind == "missing_header":
            lacking = answer.without(_missing(answer, fault.at))
            sock.sendall(lacking.bytes)
            return _stays_open(request, lacking)
        sent = _rewritten(kind, answer, fault.at)
        sock.sendall(sent.bytes * (2 if kind == "duplicate" else 1))
        return _stays_open(request, sent)


def _applies(kind: str, request: _Request, answer: _Answer, instead: _Answer | None) -> bool:
    if kind.startswith("error_in_200"):
        return instead is not None
    if kind in ("cut_body", "cut_unframed", "corrupt"):
        return bool(answer.body) and request.method != "HEAD"
    if kind.startswith("xml"):
        return answer.is_xml and request.method != "HEAD"
    return kind != "missing_header" or bool(_missing(answer, 0))


def _with_another_byte(body: bytes, at: float) -> bytes:
    where = min(int(at * len(body)), len(body) - 1)
    return body[:where] + bytes([body[where] ^ 1]) + body[where + 1 :]


def _missing(answer: _Answer, at: float) -> str:
    """Return the header to leave out."""
    there = [name for name in _MISSABLE if _header(answer.head, name) is not None]
    return there[int(at * len(there)) % len(there)] if there else ""


def _rewritten(kind: str, answer: _Answer, at: float) -> _Answer:
    body = answer.body
    if kind == "corrupt":
        return _Answer(answer.head, _with_another_byte(body, at))
    if kind == "xml_cut":
        return answer.with_body(body[: int(at * len(body))])
    root = re.search(rb"<[A-Za-z][^>]*?>", body)
    if root is None:
        return answer
    if kind == "xml_huge":
        return answer.with_body(
            body[: root.end()] + b"<Padding>" + b"x" * (8 << 20) + b"</Padding>" + body[root.end() :]
        )
    doctype, entity = (_BOMB, b"&j;") if kind == "xml_bomb" else (_EXTERNAL, b"&x;")
    if kind in ("xml_bomb", "xml_external"):
        inner = body[: root.start()] + doctype + body[root.start() : root.end()] + b"<Name>" + entity + b"</Name>"
        return answer.with_body(inner + body[root.end() :])
    return answer


def _stays_open(request: _Request, answer: _Answer) -> bool:
    """Whether the client can tell where the response ends."""
    framed = (
        request.method == "HEAD" or answer.status in (204, 304) or _header(answer.head, "Content-Length") is not None
    )
    chunked = "chunked" in (_header(answer.head, "Transfer-Encoding") or "").lower()
    asked_to_close = (request.header("Connection") or "").lower() == "close"
    return (framed or chunked) and answer.head.startswith(b"HTTP/1.1") and not asked_to_close


@contextmanager
def run_proxy(endpoint_url: str, plan: Plan = no_faults) -> Iterator[Proxy]:
    """Run a proxy in front of a server during the block."""
    parts = urllib.parse.urlsplit(endpoint_url)
    proxy = Proxy((parts.hostname or "127.0.0.1", parts.port or 80), plan)
    try:
        yield proxy
    finally:
        proxy.close()
