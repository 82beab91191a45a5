"""Whether the fast lane may be used, and for which host, learned by observing the boto3 client.

:class:`Eligibility` listens to the client's events and changes nothing. From each successful call it learns the host, path and region
of that bucket. The lane is shut while it would bypass something between the client and the server (a stub, a recorder, a wrapper, a
proxy), and if the client does not sign with plain SigV4. All dependencies on botocore's internals are in this module; if they differ in a
version of botocore, the lane stays shut.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
import weakref
from operator import attrgetter, is_
from types import MethodType
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import urlsplit

import botocore
import botocore.endpoint
import botocore.httpsession

from .._formats.bucket_names import is_arn
from .._formats.keys import quote_key
from .patched_code import debug_logger, module_of, replaced_part
from .signing import Signer

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

logger = logging.getLogger("messageflux_s3")

# A handler of one of these events may modify, answer or observe a request, and the lane would bypass it.
_EVENTS = (
    "provide-client-params",
    "before-parameter-build",
    "before-endpoint-resolution",
    "before-call",
    "request-created",
    "choose-signer",
    "before-sign",
    "before-send",
    "response-received",
    "before-parse",
    "needs-retry",
    "after-call",
    "after-call-error",
)
_MOTO = "moto.core.botocore_stubber"
"""Module of the handler that every client has once moto is imported; its ``enabled`` says whether a mock is active."""
_OPERATIONS = (
    "GetObject", "HeadObject", "PutObject", "UploadPart", "CopyObject", "DeleteObject", "DeleteObjects", "ListObjectsV2"
)  # fmt: skip

USER_AGENT = "messageflux-s3"
"""The User-Agent of the lane's requests, and the end of that of boto3's, unless the user's settings name another."""

_AUTHORIZATION = re.compile(r"AWS4-HMAC-SHA256 Credential=[^,]+/\d{8}/([^/,]+)/([^/,]+)/aws4_request, ")

_find_methods = attrgetter(
    "get_object", "head_object", "put_object", "upload_part", "copy_object", "delete_object", "list_objects_v2"
)

# The circuit breaker of an endpoint: the failures in a row that open it, and the longest time that it stays open.
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

    The circuit opens after three failed requests in a row: for half a second, requests go through boto3. Then it is half-open: requests are
    tried on the lane again. A success closes the circuit; each further failure opens it for twice as long as before, up to a minute.

    Attributes:
        secure: Whether TLS is used.
        address: TLS, host name and port: endpoints with the same address share connections.
        authority: The value of the Host header.
        base_path: The path before ``/key``: ``/bucket`` in path style, empty if the host name contains the bucket.
        region: The region that boto3 signed for; empty if it sends unsigned requests.
        signer: Signs for that region.
        user_agent: The value of the User-Agent header.
        throttled: The number of the lane's own requests that were answered with 429 or 503.
        takes_unsigned_bodies: Whether a request whose body's hash is not signed may be sent; False once one was refused.
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
        "takes_unsigned_bodies",
        "throttled",
        "user_agent",
    )

    def __init__(self, secure: bool, host: str, port: int, authority: str, base_path: str, region: str) -> None:
        self.user_agent = USER_AGENT
        self.takes_unsigned_bodies = True
        self.throttled = 0
        self.secure = secure
        self.address = (secure, host, port)
        self.authority = authority
        self.base_path = base_path
        self.region = region
        self.signer = Signer(region)
        self._failures = 0
        self._open_until = 0.0

    def is_circuit_open(self) -> bool:
        """Return whether requests must go through boto3 for now, because too many in a row have failed on the lane."""
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


class Admission(NamedTuple):
    """What the lane needs to send requests to one bucket; it holds for the moment only.

    Attributes:
        endpoint: The endpoint.
        credentials: The credentials to sign with; None if the client is anonymous.
    """

    endpoint: Endpoint
    credentials: SigningCredentials | None


class Eligibility:
    """Observes one boto3 client and decides whether the lane may be used.

    Args:
        client: The client; two event handlers are added, which change nothing.

    Attributes:
        is_anonymous: Whether the client sends unsigned requests.
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
        self.is_anonymous = False
        self.reason_not_learned = "boto3 has not yet succeeded with this client"
        try:
            session = self._client._endpoint.http_session
            settings = self._client.meta.config
            self.is_anonymous = settings.signature_version is botocore.UNSIGNED
            self._events = self._client.meta.events
            self._emitter = self._events._emitter
            self._attributes = frozenset(self._client.__dict__)
            self._endpoint_attributes = frozenset(self._client._endpoint.__dict__)
            self._methods = _find_methods(type(self._client))
            self._sends_boto3_user_agent = _is_user_agent_set(self._client)
            self._expected = [handlers for handlers, _ in map(self._split, self._handlers())]
            _ = self._client._get_credentials
            self.verify: bool | str = session._verify
            self.socket_options: list[tuple[int, int, int]] = list(session._socket_options)
            self._proxy_url_for = session._proxy_config.proxy_url_for
            if session._cert_file is not None:
                self._fixed_reason = "the client uses a TLS client certificate"
            elif (settings.retries or {}).get("mode") == "adaptive":
                self._fixed_reason = "the client's adaptive retry mode limits the rate of its requests"
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

    def admission(self, bucket: str) -> Admission | None:
        """Return what is needed to send requests to the bucket now; None if they must go through boto3.

        It takes half as long as signing a request: many small requests that are sent together may share it.
        """
        endpoint = self.endpoint(bucket)
        if endpoint is None:
            return None
        if self.is_anonymous:
            return Admission(endpoint, None)
        try:
            credentials = self.credentials()
        except Exception as error:  # of any kind: boto3 tries again, and its error is translated
            logger.debug("lane: requests to %s are left to boto3: no credentials (%s)", bucket, type(error).__name__)
            return None
        return None if credentials is None else Admission(endpoint, credentials)

    def endpoint(self, bucket: str) -> Endpoint | None:
        """Return the endpoint of the bucket; None if the lane may not be used for it now."""
        endpoint = self._endpoints.get(bucket)
        if endpoint is None or endpoint.is_circuit_open() or self.shut_reason() is not None:
            return None
        return endpoint

    def credentials(self) -> SigningCredentials | None:
        """Return the client's current credentials, or None. If they expire soon, they are refreshed first, in the caller's thread.

        Raises:
            Exception: They cannot be refreshed. botocore raises a BotoCoreError or a RuntimeError, STS's refusal is a ClientError, and a
                function of the user may raise anything.
        """
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
        endpoint = client._endpoint
        if client.__dict__.keys() != self._attributes or client.meta.events is not self._events:
            return "the client's methods are wrapped"
        if type(endpoint.http_session) is not botocore.httpsession.URLLib3Session:
            return "the client's HTTP session was replaced"
        if "send" in endpoint.http_session.__dict__ or endpoint.__dict__.keys() != self._endpoint_attributes:
            return "the client's methods are wrapped"
        if not all(map(is_, _find_methods(type(client)), self._methods)):
            return "the client's methods are wrapped"
        if (part := replaced_part()) is not None:
            return f"{part} was replaced"
        if (name := debug_logger()) is not None:
            return f"the logger {name} is to show boto3's requests at level DEBUG"
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
        """Return boto3's handlers and third-party ones; leave out this library's, and moto's, which shut_reason() checks itself."""
        boto: list[Any] = []
        others: list[Any] = []
        for handler in handlers:
            module = module_of(handler)
            if module.startswith("messageflux_s3.") or module == _MOTO:
                continue
            is_boto = module.startswith(("botocore.", "boto3.")) and module != "botocore.stub"
            (boto if is_boto else others).append(handler)
        return boto, others

    def _check_handlers(self) -> None:
        cache = self._emitter._lookup_cache
        stubbers: list[Any] = []
        reason: str | None = None
        for expected, handlers in zip(self._expected, self._handlers(), strict=True):
            stubbers += [handler for handler in handlers if module_of(handler) == _MOTO]
            boto, others = self._split(handlers)
            if others:
                reason = f"the client has an event handler of {module_of(others[0])}"
            elif len(boto) != len(expected) or not all(map(_is_same_handler, boto, expected)):
                reason = "the client's event handlers were changed"
        self._handler_reason, self._stubbers, self._checked_cache = reason, tuple(stubbers), cache

    # -- learning ----------------------------------------------------------------------------------

    def record_request(self, request: Any) -> None:
        """Store the URL and the Authorization header of boto3's request for this thread."""
        headers = request.headers
        self._latest.request = (request.url, headers.get("Authorization", b""), headers.get("User-Agent", b""))

    def record_answer(self, status: int, operation: str, context: dict[str, Any]) -> None:
        """Learn the bucket's endpoint from a call of this thread that succeeded."""
        url, authorization, user_agent = getattr(self._latest, "request", ("", b"", b""))
        parameters = context.get("input_params") or {}
        bucket = parameters.get("Bucket")
        if not (200 <= status < 300) or not isinstance(bucket, str) or operation == "CreateBucket" or is_arn(bucket):
            return
        parts = urlsplit(url)
        known = self._endpoints.get(bucket)
        if known is not None and known.authority == parts.netloc:
            return
        region = "" if self.is_anonymous and not authorization else _signing_region(_text(authorization))
        endpoint = (
            "requests are not signed with plain SigV4 for S3"
            if region is None
            else _endpoint_of(url, bucket, parameters.get("Key"), region)
        )
        if self._sends_boto3_user_agent and not isinstance(endpoint, str):
            endpoint.user_agent = _text(user_agent)
            if not (endpoint.user_agent.isascii() and endpoint.user_agent.isprintable()):
                endpoint = "the client's User-Agent is not plain ASCII"
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


def _signing_region(authorization: str) -> str | None:
    """Return the region in an Authorization header; None if it is not a SigV4 signature for S3."""
    signed = _AUTHORIZATION.match(authorization)
    return signed[1] if signed is not None and signed[2] == "s3" else None


def _endpoint_of(url: str, bucket: str, key: str | None, region: str) -> Endpoint | str:
    """Return the endpoint that a request was sent to, or the reason why the lane cannot use it."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    base_path = parts.path.rstrip("/") if key is None else parts.path.removesuffix("/" + quote_key(key))
    if key is not None and base_path == parts.path:
        return "boto3 addresses objects in a way that the lane does not support"
    if not base_path.endswith("/" + bucket) and not host.startswith(bucket + "."):
        return "boto3 addresses the bucket in a way that the lane does not support"
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    name = f"[{host}]" if ":" in host else host
    authority = name if port == (443 if secure else 80) else f"{name}:{port}"
    return Endpoint(secure, host, port, authority, base_path, region)


def _text(header: bytes | str) -> str:
    return header.decode("latin-1") if isinstance(header, bytes) else header


def _is_user_agent_set(client: Any) -> bool:
    """Return whether the settings of the user's client, session, profile or environment name an application in the User-Agent."""
    settings = client.meta.config
    of_session = getattr(client, "_user_agent_creator", None)
    return (
        # botocore puts the header that it has made from the other settings here, if the user has set none
        not (settings.user_agent or "Boto3/").startswith(("Boto3/", "Botocore/"))
        or settings.user_agent_extra not in (None, "", USER_AGENT, "Resource")
        or bool(getattr(settings, "user_agent_appid", None))
        # boto3 adds botocore's version
        or getattr(of_session, "_session_user_agent_extra", None) not in (None, "", f"Botocore/{botocore.__version__}")
        or getattr(of_session, "_session_user_agent_name", None) not in (None, "", "Boto3", "Botocore")
    )


def _is_same_handler(one: Any, other: Any) -> bool:
    """Compare by identity: a proxy may compare equal to the handler that it wraps. A method is a new object at each access."""
    if type(one) is MethodType and type(other) is MethodType:
        return one.__func__ is other.__func__ and one.__self__ is other.__self__
    return one is other
