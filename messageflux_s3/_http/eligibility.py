"""Whether the fast lane may be used, and for which host, learned by observing the boto3 client.

:class:`Eligibility` listens to the client's events and changes nothing. From each successful call it learns the host, path and region
of that bucket. The lane is shut while it would bypass something between the client and the server: a stub, a recorder, a wrapper, a
proxy, or a signature other than plain SigV4. All dependencies on botocore's internals are in this module; if they differ in a version
of botocore, the lane stays shut.
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

# A handler of one of these events may modify, answer or count a request, and the lane would bypass it.
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

# What recorders and mocks replace: owner, attribute, and the module that defines the original.
_REPLACEABLE: tuple[tuple[Any, str, str], ...] = (
    (botocore.client.BaseClient, "_make_api_call", "botocore.client"),
    (botocore.awsrequest, "AWSHTTPConnection", "botocore.awsrequest"),
    (botocore.awsrequest, "AWSHTTPSConnection", "botocore.awsrequest"),
    (botocore.awsrequest.AWSHTTPConnectionPool, "ConnectionCls", "botocore.awsrequest"),
    (botocore.awsrequest.AWSHTTPSConnectionPool, "ConnectionCls", "botocore.awsrequest"),
    (botocore.httpsession.URLLib3Session, "send", "botocore.httpsession"),
    (urllib3.connectionpool.HTTPConnectionPool, "urlopen", "urllib3.connectionpool"),
)

_AUTHORIZATION = re.compile(r"AWS4-HMAC-SHA256 Credential=[^,]+/\d{8}/([^/,]+)/([^/,]+)/aws4_request, ")

# The circuit breaker of an endpoint.
_FAILURES_TO_OPEN = 3
_LONGEST_OPEN_SECONDS = 60.0


class SigningCredentials(NamedTuple):
    """Credentials, frozen for one request."""

    access_key: str
    secret_key: str
    token: str | None

    def __repr__(self) -> str:
        return f"SigningCredentials(access_key={self.access_key!r})"


class Endpoint:
    """The address to which boto3 sends the requests of one bucket, and the circuit breaker of the lane's own requests to it.

    The circuit is closed until three requests in a row have failed. It is then open, so that requests go through boto3, for half a second,
    and twice as long after each further failure, up to a minute. After that it is half-open: requests are tried again, and a success
    closes it.

    Attributes:
        secure: Whether TLS is used.
        address: TLS, host name and port: endpoints with the same address share connections.
        authority: The value of the Host header.
        base_path: The path before ``/key``: ``/bucket`` in path style, empty if the host name contains the bucket.
        region: The region that boto3 signed for.
        signer: Signs for that region.
    """

    __slots__ = (
        "_failures",
        "_open_until",
        "address",
        "authority",
        "base_path",
        "region",
        "secure",
        "signer",
    )

    def __init__(self, secure: bool, host: str, port: int, authority: str, base_path: str, region: str) -> None:
        self.secure = secure
        self.address = (secure, host, port)
        self.authority = authority
        self.base_path = base_path
        self.region = region
        self.signer = Signer(region)
        self._failures = 0
        self._open_until = 0.0

    def is_circuit_open(self) -> bool:
        """Return whether requests must go through boto3 for now, since too many in a row have failed on the lane."""
        return self._failures >= _FAILURES_TO_OPEN and time.monotonic() < self._open_until

    def record_success(self) -> None:
        """Close the circuit."""
        self._failures = 0

    def record_failure(self) -> None:
        """Count a request that boto3 has to send again; several in a row open the circuit, each time for longer."""
        self._failures += 1
        seconds = (
            min(_LONGEST_OPEN_SECONDS, 0.5 * 2 ** (self._failures - _FAILURES_TO_OPEN))
            if self._failures < 32
            else _LONGEST_OPEN_SECONDS
        )
        self._open_until = time.monotonic() + seconds


class Eligibility:
    """Observes one boto3 client and decides whether the lane may be used.

    Args:
        client: The client; two event handlers are added, which change nothing.

    Attributes:
        verify: The client's TLS verification: True, False or the path of a CA bundle.
        socket_options: The client's socket options.
        reason_not_learned: Why no endpoint has been learned so far.
    """

    def __init__(self, client: S3Client) -> None:
        self._client = cast("Any", client)
        self._pid = os.getpid()
        self._endpoints: dict[str, Endpoint] = {}
        self._latest = threading.local()
        self._fixed_reason: str | None = None
        self._checked_cache: object = None
        self._handler_reason: str | None = None
        self._stubbers: tuple[Any, ...] = ()
        self._originals: list[Any] = [None] * len(_REPLACEABLE)
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
                self._fixed_reason = "the client uses a TLS client certificate"
        except AttributeError as error:
            self._fixed_reason = f"this version of botocore is not supported ({error})"
            return
        observer = _Observer(weakref.ref(self))
        for event, handler in (
            ("before-send.s3", observer.before_send),
            ("after-call.s3", observer.after_call),
        ):
            self._client.meta.events.register(event, handler, unique_id=f"messageflux-s3-lane-{event}-{id(observer)}")

    # -- decisions ---------------------------------------------------------------------------------

    def endpoint(self, bucket: str) -> Endpoint | None:
        """Return the endpoint of the bucket; None if the lane may not be used for it now."""
        endpoint = self._endpoints.get(bucket)
        if endpoint is None or endpoint.is_circuit_open() or self.shut_reason() is not None:
            return None
        return endpoint

    def credentials(self) -> SigningCredentials | None:
        """Return the client's current credentials, None if it has none; refreshed in the caller's thread if they are about to expire."""
        credentials = self._client._get_credentials()
        if credentials is None:
            return None
        frozen = credentials.get_frozen_credentials()
        return SigningCredentials(frozen.access_key, frozen.secret_key, frozen.token)

    def credentials_need_refresh(self) -> bool:
        """Return whether :meth:`credentials` would refresh them now, which may send a request."""
        credentials = self._client._get_credentials()
        needs = getattr(credentials, "refresh_needed", None)
        return bool(needs()) if needs is not None else False

    def shut(self, reason: str) -> None:
        """Shut the lane permanently."""
        self._fixed_reason = reason

    def can_open(self) -> bool:
        """Return whether a successful boto3 call would open the lane."""
        return self.shut_reason() is None

    def is_forked(self) -> bool:
        """Return whether this process was forked from the one that created this object."""
        return os.getpid() != self._pid

    def shut_reason(self) -> str | None:
        """Return why the lane may not be used at all now; None if it may."""
        if self._fixed_reason is not None:
            return self._fixed_reason
        if os.getpid() != self._pid:
            return "this process was forked after the lane was made"
        if self._emitter._lookup_cache is not self._checked_cache:
            self._check_handlers()
        if self._handler_reason is not None:
            return self._handler_reason
        for stubber in self._stubbers:
            if stubber.enabled:
                return f"{type(stubber).__module__} answers for the server"
        client = self._client
        if "_make_api_call" in client.__dict__ or "send" in client._endpoint.http_session.__dict__:
            return "the client's methods are wrapped"
        if type(client._endpoint.http_session) is not botocore.httpsession.URLLib3Session:
            return "the client's HTTP session was replaced"
        for at, (owner, name, module) in enumerate(_REPLACEABLE):
            part = getattr(owner, name)
            if part is not self._originals[at]:
                if not _is_original(part, module):
                    return f"{module}'s {name} was replaced"
                self._originals[at] = part
        return None

    @property
    def hosts(self) -> list[str]:
        """The hosts learned so far, with their ports."""
        return sorted({endpoint.authority for endpoint in list(self._endpoints.values())})

    def _handlers(self) -> list[Any]:
        trie = self._emitter._handlers
        return [trie.prefix_search(f"{event}.s3.{operation}") for event in _EVENTS for operation in _OPERATIONS]

    @staticmethod
    def _split(handlers: Any) -> tuple[list[Any], list[Any]]:
        """Return boto3's handlers and third-party ones; leave out this library's, and stubbers, which shut_reason() checks itself."""
        boto: list[Any] = []
        others: list[Any] = []
        for handler in handlers:
            module = _module_of(handler)
            if module.startswith("messageflux_s3.") or hasattr(handler, "enabled"):
                continue
            is_boto = module.startswith(("botocore.", "boto3.")) and module != "botocore.stub"
            (boto if is_boto else others).append(handler)
        return boto, others

    def _check_handlers(self) -> None:
        cache = self._emitter._lookup_cache
        stubbers: list[Any] = []
        reason: str | None = None
        for expected, handlers in zip(self._expected, self._handlers(), strict=True):
            stubbers += [handler for handler in handlers if hasattr(handler, "enabled")]
            boto, others = self._split(handlers)
            if others:
                reason = f"the client has an event handler of {_module_of(others[0]) or type(others[0]).__name__}"
            elif boto != expected:
                reason = "the client's event handlers were changed"
        self._handler_reason, self._stubbers, self._checked_cache = reason, tuple(stubbers), cache

    # -- learning ----------------------------------------------------------------------------------

    def record_request(self, request: Any) -> None:
        """Store the URL and the Authorization header of boto3's request for this thread."""
        self._latest.request = (request.url, request.headers.get("Authorization", b""))

    def record_answer(self, status: int, operation: str, context: dict[str, Any]) -> None:
        """Learn the bucket's endpoint from a call of this thread that succeeded."""
        url, authorization = getattr(self._latest, "request", ("", b""))
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


class _Observer:
    """The two event handlers. The client may outlive the lane, so they hold the eligibility by a weak reference."""

    def __init__(self, eligibility: weakref.ref[Eligibility]) -> None:
        self._eligibility = eligibility

    def before_send(self, request: Any, **_: Any) -> None:
        eligibility = self._eligibility()
        if eligibility is not None:
            eligibility.record_request(request)

    def after_call(self, http_response: Any, model: Any, context: dict[str, Any], **_: Any) -> None:
        eligibility = self._eligibility()
        if eligibility is not None:
            eligibility.record_answer(http_response.status_code, model.name, context)


def _endpoint_of(scheme: str, url: str, bucket: str, key: str | None, authorization: str) -> Endpoint | str:
    """Return the endpoint that a request was sent to, or the reason why the lane cannot use it."""
    signed = _AUTHORIZATION.match(authorization)
    if signed is None or signed[2] != "s3":
        return "requests are not signed with plain SigV4 for S3"
    parts = urlsplit(url)
    host = parts.hostname or ""
    base_path = parts.path.rstrip("/") if key is None else parts.path.removesuffix("/" + quote_key(key))
    if key is not None and base_path == parts.path:
        return "boto3 addresses objects in a way that the lane does not support"
    if not base_path.endswith("/" + bucket) and not host.startswith(bucket + "."):
        return "boto3 addresses the bucket in a way that the lane does not support"
    secure = scheme == "https"
    port = parts.port or (443 if secure else 80)
    name = f"[{host}]" if ":" in host else host
    authority = name if port == (443 if secure else 80) else f"{name}:{port}"
    return Endpoint(secure, host, port, authority, base_path, signed[1])


def _module_of(handler: Any) -> str:
    return cast("str", getattr(handler, "__module__", None) or "")


def _is_original(part: Any, module: str) -> bool:
    """Return whether a class or function is the one that its module defines, not a replacement that copied its name."""
    package = f"{os.sep}{module.partition('.')[0]}{os.sep}"
    layer = part
    while layer is not None:  # botocore wraps some of its own methods; the code of other wrappers is in other files
        code = getattr(layer, "__code__", None)
        if (code is None and not isinstance(layer, type)) or (code is not None and package not in code.co_filename):
            return False
        layer = getattr(layer, "__wrapped__", None)
    return _module_of(part) == module
