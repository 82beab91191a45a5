"""When the fast lane may be used, and for which host: boto3 is watched, and only what it has done
successfully is repeated.

A gate listens to the boto3 client without changing anything. From each call that succeeded it learns the
host, path and region of that bucket; while anything stands between the client and its server that the lane
would walk past (a stub, a recorder, a wrapper, a proxy, a signature other than plain SigV4), it is shut. All
that this library needs to know about the inside of botocore for the lane's sake stands here, and where
botocore keeps it elsewhere one day, the gate stays shut.
"""

from __future__ import annotations

import os
import re
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import urlsplit

import botocore.awsrequest
import botocore.client
import botocore.httpsession
import urllib3.connectionpool

from .._formats.keys import quote_key
from .signing import Signer

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# A handler at one of these events may change, answer or count a request, so the lane must not walk past it.
_EVENTS = (
    "provide-client-params",
    "before-parameter-build",
    "before-endpoint-resolution",
    "before-call",
    "request-created",
    "choose-signer",
    "before-sign",
    "before-send",
)
_OPERATIONS = ("GetObject", "HeadObject", "PutObject", "CopyObject", "DeleteObject", "DeleteObjects", "ListObjectsV2")

# What recorders and mocks replace: (where, name, home module of the real one).
_PARTS: tuple[tuple[Any, str, str], ...] = (
    (botocore.client.BaseClient, "_make_api_call", "botocore.client"),
    (botocore.awsrequest, "AWSHTTPConnection", "botocore.awsrequest"),
    (botocore.awsrequest, "AWSHTTPSConnection", "botocore.awsrequest"),
    (botocore.awsrequest.AWSHTTPConnectionPool, "ConnectionCls", "botocore.awsrequest"),
    (botocore.awsrequest.AWSHTTPSConnectionPool, "ConnectionCls", "botocore.awsrequest"),
    (botocore.httpsession.URLLib3Session, "send", "botocore.httpsession"),
    (urllib3.connectionpool.HTTPConnectionPool, "urlopen", "urllib3.connectionpool"),
)

_AUTHORIZATION = re.compile(r"AWS4-HMAC-SHA256 Credential=[^,]+/\d{8}/([^/,]+)/([^/,]+)/aws4_request, ")

_REFUSALS_BEFORE_REST = 3
_LONGEST_REST = 60.0


class Identity(NamedTuple):
    """Credentials, frozen for one request."""

    access_key: str
    secret_key: str
    token: str | None

    def __repr__(self) -> str:
        return f"Identity(access_key={self.access_key!r})"


class Endpoint:
    """Where one bucket is, as boto3 was seen to reach it.

    Attributes:
        secure: Whether it is reached over TLS.
        host: The name to connect to.
        port: The port.
        authority: The value of the Host header.
        base: What precedes ``/key`` in the path: ``/bucket`` in path style, nothing where the bucket is in
            the host's name.
        signer: Signs for its region.
    """

    __slots__ = (
        "_refusals",
        "_rest_until",
        "authority",
        "base",
        "host",
        "port",
        "region",
        "secure",
        "signer",
    )

    def __init__(self, secure: bool, host: str, port: int, authority: str, base: str, region: str) -> None:
        self.secure = secure
        self.host = host
        self.port = port
        self.authority = authority
        self.base = base
        self.region = region
        self.signer = Signer(region)
        self._refusals = 0
        self._rest_until = 0.0

    @property
    def address(self) -> tuple[bool, str, int]:
        """What two endpoints share that can share connections."""
        return self.secure, self.host, self.port

    def is_resting(self) -> bool:
        """Whether too many answers in a row were not successes, so that it is boto3's turn for a while."""
        return self._refusals >= _REFUSALS_BEFORE_REST and time.monotonic() < self._rest_until

    def succeeded(self) -> None:
        """Note an answer that was handed over."""
        self._refusals = 0

    def refused(self) -> None:
        """Note an answer that boto3 has to ask for again; several in a row make the endpoint rest, each time
        for longer.
        """
        self._refusals += 1
        rest = (
            min(_LONGEST_REST, 0.5 * 2 ** (self._refusals - _REFUSALS_BEFORE_REST))
            if self._refusals < 32
            else _LONGEST_REST
        )
        self._rest_until = time.monotonic() + rest


class Gate:
    """Watches one boto3 client.

    Args:
        client: The client; it is left as it is, but for two passive event handlers.
    """

    def __init__(self, client: S3Client) -> None:
        self._client = cast("Any", client)
        self._pid = os.getpid()
        self._endpoints: dict[str, Endpoint] = {}
        self._seen = threading.local()
        self._fixed_reason: str | None = None
        self._checked_cache: object = None
        self._foreign: str | None = None
        self._switches: tuple[Any, ...] = ()
        self._genuine: list[Any] = [None] * len(_PARTS)
        self.reason_not_learned = "boto3 has not yet succeeded with this client"
        try:
            session = self._client._endpoint.http_session
            self._emitter = self._client.meta.events._emitter
            self._expected = [handlers for handlers, _ in map(self._split, self._handlers())]
            _ = self._client._get_credentials
            self.verify: bool | str = session._verify
            self.socket_options: list[tuple[int, int, int]] = list(session._socket_options)
            self._proxy_url_for = session._proxy_config.proxy_url_for
            if session._cert_file is not None:
                self._fixed_reason = "the client presents a TLS certificate of its own"
        except AttributeError as error:
            self._fixed_reason = f"this botocore cannot be looked into ({error})"
            return
        watcher = _Watcher(weakref.ref(self))
        for event, handler in (
            ("before-send.s3", watcher.before_send),
            ("after-call.s3", watcher.after_call),
        ):
            self._client.meta.events.register(event, handler, unique_id=f"messageflux-s3-lane-{event}-{id(watcher)}")

    # -- may we? -----------------------------------------------------------------------------------

    def endpoint(self, bucket: str) -> Endpoint | None:
        """Where the bucket is, if the lane may go there now."""
        endpoint = self._endpoints.get(bucket)
        if endpoint is None or endpoint.is_resting() or self.shut_reason() is not None:
            return None
        return endpoint

    def identity(self) -> Identity | None:
        """The credentials as of now, asked in the caller's thread, refreshed when they are about to expire."""
        credentials = self._client._get_credentials()
        if credentials is None:
            return None
        frozen = credentials.get_frozen_credentials()
        return Identity(frozen.access_key, frozen.secret_key, frozen.token)

    def credentials_need_refresh(self) -> bool:
        """Whether asking for the credentials now would ask somebody else for them."""
        credentials = self._client._get_credentials()
        needs = getattr(credentials, "refresh_needed", None)
        return bool(needs()) if needs is not None else False

    def shut(self, reason: str) -> None:
        """Shut the gate for good."""
        self._fixed_reason = reason

    def can_open(self) -> bool:
        """Whether a success of boto3 would open the lane."""
        return self.shut_reason() is None

    def is_forked(self) -> bool:
        """Whether this is not the process that the gate was made in."""
        return os.getpid() != self._pid

    def shut_reason(self) -> str | None:
        """Why the lane may not be used at all at this moment, or None."""
        if self._fixed_reason is not None:
            return self._fixed_reason
        if os.getpid() != self._pid:
            return "this process was forked after the lane was made"
        if self._emitter._lookup_cache is not self._checked_cache:
            self._check_handlers()
        if self._foreign is not None:
            return self._foreign
        for switch in self._switches:
            if switch.enabled:
                return f"{type(switch).__module__} answers for the server"
        client = self._client
        if "_make_api_call" in client.__dict__ or "send" in client._endpoint.http_session.__dict__:
            return "the client's methods are wrapped"
        if type(client._endpoint.http_session) is not botocore.httpsession.URLLib3Session:
            return "the client's HTTP session was replaced"
        for at, (owner, name, home) in enumerate(_PARTS):
            part = getattr(owner, name)
            if part is not self._genuine[at]:
                if not _is_of(part, home):
                    return f"{home}'s {name} was replaced"
                self._genuine[at] = part
        return None

    @property
    def hosts(self) -> list[str]:
        """The hosts learned so far."""
        return sorted({endpoint.authority for endpoint in list(self._endpoints.values())})

    def _handlers(self) -> list[Any]:
        trie = self._emitter._handlers
        return [trie.prefix_search(f"{event}.s3.{operation}") for event in _EVENTS for operation in _OPERATIONS]

    @staticmethod
    def _split(handlers: Any) -> tuple[list[Any], list[Any]]:
        """botocore's own handlers and those of others; this library's and those with a switch are neither."""
        own: list[Any] = []
        others: list[Any] = []
        for handler in handlers:
            room = _module_of(handler)
            if room.startswith("messageflux_s3.") or hasattr(handler, "enabled"):
                continue
            is_own = room.startswith(("botocore.", "boto3.")) and room != "botocore.stub"
            (own if is_own else others).append(handler)
        return own, others

    def _check_handlers(self) -> None:
        cache = self._emitter._lookup_cache
        switches: list[Any] = []
        foreign: str | None = None
        for expected, handlers in zip(self._expected, self._handlers(), strict=True):
            switches += [handler for handler in handlers if hasattr(handler, "enabled")]
            own, others = self._split(handlers)
            if others:
                foreign = f"the client has an event handler of {_module_of(others[0]) or type(others[0]).__name__}"
            elif own != expected:
                foreign = "the client's event handlers were changed"
        self._foreign, self._switches, self._checked_cache = foreign, tuple(switches), cache

    # -- learning ----------------------------------------------------------------------------------

    def note_request(self, request: Any) -> None:
        """Keep, for this thread, where boto3's request went and how it was signed."""
        self._seen.request = (request.url, request.headers.get("Authorization", b""))

    def note_answer(self, status: int, operation: str, context: dict[str, Any]) -> None:
        """Learn from a call that came to its end."""
        url, authorization = getattr(self._seen, "request", ("", b""))
        parameters = context.get("input_params") or {}
        bucket = parameters.get("Bucket")
        if not (200 <= status < 300) or not isinstance(bucket, str) or operation == "CreateBucket":
            return
        parts = urlsplit(url)
        known = self._endpoints.get(bucket)
        if known is not None and known.authority == parts.netloc:
            return
        if isinstance(authorization, bytes):
            authorization = authorization.decode("latin-1")
        endpoint = _endpoint_of(parts.scheme, url, bucket, parameters.get("Key"), authorization)
        if isinstance(endpoint, str):
            self.reason_not_learned = endpoint
        elif self._proxy_url_for(url):
            self.reason_not_learned = "the client uses a proxy"
        elif self.shut_reason() is None:
            self._endpoints[bucket] = endpoint


class _Watcher:
    """The two passive handlers. They hold the gate weakly: the client may well outlive it."""

    def __init__(self, gate: weakref.ref[Gate]) -> None:
        self._gate = gate

    def before_send(self, request: Any, **_: Any) -> None:
        gate = self._gate()
        if gate is not None:
            gate.note_request(request)

    def after_call(self, http_response: Any, model: Any, context: dict[str, Any], **_: Any) -> None:
        gate = self._gate()
        if gate is not None:
            gate.note_answer(http_response.status_code, model.name, context)


def _endpoint_of(scheme: str, url: str, bucket: str, key: str | None, authorization: str) -> Endpoint | str:
    """The endpoint that a request went to, or why the lane cannot go there."""
    signed = _AUTHORIZATION.match(authorization)
    if signed is None or signed[2] != "s3":
        return "requests are not signed with plain SigV4 for S3"
    parts = urlsplit(url)
    host = parts.hostname or ""
    base = parts.path.rstrip("/") if key is None else parts.path.removesuffix("/" + quote_key(key))
    if key is not None and base == parts.path:
        return "boto3 addresses objects in a way the lane does not know"
    if not base.endswith("/" + bucket) and not host.startswith(bucket + "."):
        return "boto3 addresses the bucket in a way the lane does not know"
    secure = scheme == "https"
    port = parts.port or (443 if secure else 80)
    name = f"[{host}]" if ":" in host else host
    authority = name if port == (443 if secure else 80) else f"{name}:{port}"
    return Endpoint(secure, host, port, authority, base, signed[1])


def _module_of(handler: Any) -> str:
    return cast("str", getattr(handler, "__module__", None) or "")


def _is_of(part: Any, home: str) -> bool:
    """Whether a class or function is the one its module was written with, and no wrapper that took over its
    name.
    """
    package = f"{os.sep}{home.partition('.')[0]}{os.sep}"
    layer = part
    while layer is not None:  # botocore wraps some of its own methods; a wrapper from elsewhere has its code elsewhere
        code = getattr(layer, "__code__", None)
        if (code is None and not isinstance(layer, type)) or (code is not None and package not in code.co_filename):
            return False
        layer = getattr(layer, "__wrapped__", None)
    return _module_of(part) == home
