"""A connection: one boto3 client per process and configuration, and the cached facts about its store.

Requests go through :meth:`Connection.call`, which translates errors and updates ``is_online``, or through the connection's client or
lane. A connection does not belong to a bucket or an object. It can be pickled (without secrets, unless the configuration allows it) and
used by threads and after a fork: a forked child opens a client of its own.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import botocore
import botocore.httpchecksum
from botocore.awsrequest import AWSRequest
from cachetools import LRUCache

from .._http.lane import Lane
from .._http.patched_code import is_moto_active
from ..errors import S3AuthenticationError, S3ConnectionError, S3Error, S3ServerError, S3Unsupported
from . import capabilities as abilities
from . import client_options, configured_resource, credentials
from .aws_hosts import dns_suffix, is_regional_endpoint
from .capabilities import Capabilities, Preset
from .config import S3Config
from .hooks import Hooks, root_name
from .observation import Observers, begin
from .request_record import RequestRecord
from .service_resource import client_of, service_resource_of
from .translate import translating

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client, S3ServiceResource

logger = logging.getLogger("messageflux_s3")

HEADERS = {
    "RequestPayer": "x-amz-request-payer",
    "ExpectedBucketOwner": "x-amz-expected-bucket-owner",
    "ExpectedSourceBucketOwner": "x-amz-source-expected-bucket-owner",
}
"""The headers of the parameters that say who pays for a request and who must own its buckets."""

KNOWS_TAGGING = "knows ?tagging of objects"
"""Key in ``facts``: the store has answered GetObjectTagging with a tag document, not with the object."""


_OF_OBJECTS: dict[str, tuple[str, ...]] = {"Contents": ("Key",), "CommonPrefixes": ("Prefix",)}
_MEMBERS_OF_ENTRIES: dict[str, dict[str, tuple[str, ...]]] = {
    "ListObjects": _OF_OBJECTS,
    "ListObjectsV2": _OF_OBJECTS,
    "ListObjectVersions": {
        "Versions": ("Key",),
        "DeleteMarkers": ("Key",),
        "CommonPrefixes": ("Prefix",),
    },
    "ListMultipartUploads": {"Uploads": ("Key", "UploadId")},
    "ListObjectAnnotations": {"Annotations": ("AnnotationName", "LastModified")},
}
"""What each entry of a listing must have. botocore leaves out what is missing. A DELETE with an empty key would be one of the bucket."""


class _Live(NamedTuple):
    """The boto3 resource, its client, and the fast lane: created when a connection is first used in a process."""

    resource: S3ServiceResource
    client: S3Client
    lane: Lane
    max_attempts: int


class Connection:
    """The connection to one store. Made by :meth:`open` or :meth:`from_boto3`, never directly.

    Attributes:
        config: The configuration.
        is_online: Whether the last operation received a response, even an error.
        facts: What requests have shown about the store, by name; kept as long as the connection.
        observers: The observers of the requests that are sent through this connection object.
        shared: The connection whose client and whole state this one uses: itself, unless it was made by :meth:`for_store`.
    """

    # Connections made by for_store() share one __dict__; only the slots are their own.
    __slots__ = ("__dict__", "__weakref__", "observers", "shared")

    def __init__(self, config: S3Config, given: S3ServiceResource | None = None) -> None:
        self.observers = Observers()
        self.shared = self
        self.config = config
        self.is_online: bool = False
        self._given = given
        self._live: _Live | None = None
        self.facts: dict[str, Any] = {}
        # By identity: two stores of equal configuration are equal, and each of them keeps the client open.
        self._stores: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        self._lock = threading.RLock()
        self._hooks = Hooks(lambda: self.is_aws, self._close_idle_connections)
        with _cache_lock:  # from_boto3() iterates over them
            _connections.add(self)

    # -- constructors -------------------------------------------------------------------------------------------------------------

    @classmethod
    def open(cls, config: S3Config) -> Connection:
        """Return this process's connection for a configuration; equal configurations share one.

        While a mock of moto is active, each call returns a new connection. A shared client that was made before moto was imported would
        reach the real store, and a client made within the mock would keep the mock's credentials after the mock ends.
        """
        if is_moto_active():
            return cls(config)
        with _cache_lock:
            connection = _cache.get(config)
            if connection is None:
                connection = _cache[config] = cls(config)
            return connection

    @classmethod
    def from_boto3(cls, boto3_object: Any, argument: str = "s3_resource") -> Connection:
        """Return the connection that uses the user's client unchanged: the argument, or the client of a boto3 resource, bucket or object.

        Args:
            boto3_object: A boto3 S3 client, or a resource, bucket or object, which has one.
            argument: The name of the argument, for the error.

        Raises:
            TypeError: The argument is not an S3 client and does not have one.
        """
        client = client_of(boto3_object)
        if client is None or client.meta.service_model.service_name != "s3":
            raise TypeError(
                f"{argument} must be a boto3 S3 client or resource, or an S3Store, not {type(boto3_object).__name__}"
            )
        with _cache_lock:
            for known in _connections:
                if known._given is not None and known._given.meta.client is client:
                    return known
            return cls(_config_of(client), service_resource_of(boto3_object))

    def for_store(self, observers: Observers | None = None) -> Connection:
        """Return a connection with the same client and state, but with its own observers.

        Stores with equal configurations share a client, but each store observes only the requests of its own handles.

        Args:
            observers: The observers of the store that the requests belong to; None for new ones.
        """
        own = object.__new__(type(self))
        own.shared = self.shared
        own.__dict__ = self.shared.__dict__
        own.observers = Observers() if observers is None else observers
        return own

    def is_same_as(self, other: Connection) -> bool:
        """Return whether both connections share a client, or were opened with equal configurations.

        Equal configurations have different clients if a mock is active, or if the cache has dropped one of the connections.
        """
        if self.shared is other.shared:
            return True
        return self._given is None and other._given is None and self.config == other.config

    # -- properties ---------------------------------------------------------------------------------------------------------------

    @property
    def client(self) -> S3Client:
        """The boto3 client; safe to share between threads."""
        return (self._live or self._start()).client

    @property
    def resource(self) -> S3ServiceResource:
        """The boto3 resource with the same client. boto3 resources must not be shared between threads."""
        return (self._live or self._start()).resource

    @property
    def lane(self) -> Lane:
        """The fast lane that belongs to the client."""
        return (self._live or self._start()).lane

    @property
    def started_lane(self) -> Lane | None:
        """The fast lane; None if the client is not built yet, which takes half a second and may request credentials."""
        live = self._live
        return None if live is None else live.lane

    @property
    def endpoint_url(self) -> str:
        """The client's endpoint."""
        # For a client with FIPS in us-east-1, botocore reports a host that does not exist, but sends the requests to this one.
        return self.client.meta.endpoint_url.replace("//s3-fips.aws-global.", "//s3-fips.us-east-1.")

    @property
    def access_key(self) -> str | None:
        """The access key that requests are signed with; None without credentials. May load them (a callable, a profile, boto3's chain)."""
        if self.config.access_key is not None:
            return self.config.access_key
        with translating("connect"):
            found = self.client._get_credentials()  # type: ignore[attr-defined]  # not in the stubs
            return None if found is None else str(found.access_key)

    @property
    def is_anonymous(self) -> bool:
        """Whether requests are sent unsigned. Builds the client."""
        return self.client.meta.config.signature_version is botocore.UNSIGNED  # type: ignore[attr-defined]

    @property
    def region(self) -> str:
        """The region that requests are signed for."""
        return self.client.meta.region_name

    @property
    def preset(self) -> Preset:
        """The kind of store, never ``"auto"``."""
        return abilities.resolve_preset(self.config.preset, self.endpoint_url)

    @property
    def kind(self) -> abilities.Kind:
        """What is assumed of this kind of store without a probe."""
        return abilities.KINDS[self.preset]

    @property
    def is_aws(self) -> bool:
        """Whether this is Amazon S3, the only store whose capabilities are assumed without a probe."""
        return self.preset == "aws"

    @property
    def capabilities(self) -> Capabilities:
        """The store's capabilities: from ``probe()``, if the configuration has its result, else from the preset."""
        return self.config.capabilities or self.kind.capabilities

    @property
    def max_attempts(self) -> int:
        """The largest number of times that the client sends a request, including the first. Builds the client."""
        return (self._live or self._start()).max_attempts

    @property
    def max_concurrency(self) -> int:
        """The largest number of requests through boto3 at a time."""
        return configured_resource.max_concurrency(self.config)

    @property
    def read_timeout(self) -> float | None:
        """Seconds that the client waits for the next bytes of a response; None for no limit. Builds the client."""
        found: float | None = self.client.meta.config.read_timeout  # type: ignore[attr-defined]
        return found

    @property
    def addressing_style(self) -> str:
        """The client's addressing style: ``"path"``, ``"virtual"`` or ``"auto"``. Builds the client."""
        return str((self.client.meta.config.s3 or {}).get("addressing_style") or "auto")  # type: ignore[attr-defined]

    @property
    def has_regional_endpoint(self) -> bool:
        """Whether the endpoint is AWS's for the client's region, not one that the user has set. Builds the client."""
        if not self.is_aws or self.config.endpoint_url is not None:
            return False
        name = f"{'s3-fips' if self.is_fips else 's3'}{'.dualstack' if self.is_dualstack else ''}"
        hosts = {f"{name}.{self.region}.{dns_suffix(self.region)}", f"{name}.amazonaws.com"}
        return urlsplit(self.endpoint_url).netloc in hosts

    @property
    def is_fips(self) -> bool:
        """Whether the client uses FIPS endpoints. Builds the client."""
        return bool(getattr(self.client.meta.config, "use_fips_endpoint", None))

    @property
    def is_dualstack(self) -> bool:
        """Whether the client uses dual-stack endpoints. Builds the client."""
        settings: Any = self.client.meta.config
        is_set = getattr(settings, "use_dualstack_endpoint", None)
        return bool(is_set or (settings.s3 or {}).get("use_dualstack_endpoint"))

    @property
    def is_accelerated(self) -> bool:
        """Whether the client sends requests to the endpoint of Transfer Acceleration. Builds the client."""
        return bool((self.client.meta.config.s3 or {}).get("use_accelerate_endpoint"))  # type: ignore[attr-defined]

    @property
    def default_checksum(self) -> str | None:
        """The checksum algorithm that the client adds to uploads by default; None if it adds none."""
        adds = getattr(self.client.meta.config, "request_checksum_calculation", None) == "when_supported"
        return botocore.httpchecksum.DEFAULT_CHECKSUM_ALGORITHM if adds else None

    @staticmethod
    def can_compute(algorithm: str) -> bool:
        """Return whether the installed botocore can compute a checksum algorithm: some need ``botocore[crt]``."""
        known = getattr(botocore.httpchecksum, "_SUPPORTED_CHECKSUM_ALGORITHMS", None)
        return known is None or algorithm.lower() in known

    # -- one request --------------------------------------------------------------------------------------------------------------

    def call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """Make one call of the boto3 client.

        Args:
            operation: S3's name of the operation, such as ``"HeadObject"``.
            parameters: The operation's parameters, under boto3's names.

        Returns:
            boto3's response.

        Raises:
            S3Error: The request failed; the class gives the cause.
            ValueError: boto3 rejects a parameter.

        Requests:
            1, and boto3's retries
        """
        with self.translating(operation, parameters.get("Bucket"), parameters.get("Key")):
            answer: dict[str, Any] = getattr(self.client, _method_name(operation))(**parameters)
            _check_entries(operation, parameters.get("Bucket"), answer)
            return answer

    def read_document(self, operation: str, **parameters: Any) -> bytes:
        """Make one call and return the response's body unparsed, including elements that boto3 does not know.

        Requests:
            1
        """
        with self._hooks.capturing_document():
            self.call(operation, **parameters)
        return self._hooks.document

    def received_header(self, name: str) -> str | None:
        """Return a header of the response that :meth:`read_document` last received in this thread; None if it has no such header."""
        return self._hooks.header(name)

    def write_document(self, operation: str, document: bytes, **parameters: Any) -> None:
        """Make one call with this document as its body, unchanged; boto3 signs it and adds the checksum that S3 requires.

        Requests:
            1
        """
        with self._hooks.sending(document):
            self.call(operation, **parameters)

    def call_with_md5(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """Make one call whose body carries Content-MD5 in place of the checksum that boto3 would choose.

        Requests:
            1
        """
        with self._hooks.sending_md5():
            return self.call(operation, **parameters)

    def asking_for_checksums(self) -> AbstractContextManager[None]:
        """Return a context in which this thread's GETs ask for the object's checksums; boto3 validates them only if its settings say so."""
        return self._hooks.asking_for_checksums()

    def call_with_changed_byte(self, operation: str, *, Body: bytes, **parameters: Any) -> dict[str, Any]:
        """Make one call whose body is changed on its way, after boto3 has computed its checksums: a store that compares them refuses it.

        Requests:
            1
        """
        with self._hooks.changing(self.client, Body):
            return self.call(operation, Body=Body, **parameters)

    def call_with_root(self, operation: str, expected: str, **parameters: Any) -> tuple[dict[str, Any], str | None]:
        """Make one call, and also return the name of the response's root element, which shows which operation the store carried out.

        Args:
            operation: S3's name of the operation.
            expected: The root to return if there is no document because a Stubber answers in place of the store.
            parameters: The operation's parameters, under boto3's names.

        Returns:
            The response, and the root's name (None if the body is not XML).
        """
        self._hooks.clear_document()
        answer = self.call(operation, **parameters)
        return answer, root_name(self._hooks.document) if self._hooks.has_document else expected

    def send_form(self, url: str, content_type: str, body: bytes) -> int:
        """Send an unsigned POST as a browser would, with the client's TLS settings and proxies.

        Returns:
            The status of the response.

        Requests:
            1
        """
        headers = {"Content-Type": content_type, "Content-Length": str(len(body))}
        request = AWSRequest(method="POST", url=url, headers=headers, data=body).prepare()
        with self.translating("PostObject"):
            endpoint = self.client._endpoint  # type: ignore[attr-defined]  # boto3 has no public way to send anything but its operations
            record = begin(self.observers, "PostObject", "", "")
            if record is None:
                status: int = endpoint.http_session.send(request).status_code
                return status
            record.way = "boto3"
            record.sending(len(body))
            try:
                status = endpoint.http_session.send(request).status_code
            except BaseException as error:
                record.end(error=type(error).__name__)
                raise
            record.received(status, 0)
            record.end()
        return status

    @contextmanager
    def translating(self, operation: str | None, bucket: str | None = None, key: str | None = None) -> Iterator[None]:
        """Translate the errors of a request made within the block, observe it, and update ``is_online``. :meth:`call` does all that."""
        outer = self._hooks.begin_observing(self.observers)
        try:
            with translating(operation, bucket, key):
                yield
        except S3Error as error:
            self.is_online = error.status is not None or not isinstance(
                error, S3ConnectionError | S3AuthenticationError
            )
            raise
        finally:
            self._hooks.end_observing(outer)
        self.is_online = True

    def continuing(self, record: RequestRecord) -> AbstractContextManager[None]:
        """Have boto3's next call within the block continue the record of a request that the lane has sent without success."""
        return self._hooks.continuing(record)

    # -- life cycle ---------------------------------------------------------------------------------------------------------------

    def reload_credentials(self) -> None:
        """Load the credentials again from the callable, the profile, or boto3's chain.

        Raises:
            S3Unsupported: The client is that of the user's own boto3 resource.
        """
        if self._given is not None:
            raise S3Unsupported(
                "reload_credentials: this store uses your boto3 resource; renew the credentials of that resource"
            )
        self._stop()

    def config_in(self, region: str) -> S3Config:
        """Return the configuration for another region of the same store, with the same credentials.

        A connection that uses the user's boto3 resource has no credentials in its configuration. boto3 would search its own chain, and
        might find credentials of another account. So the resource's credentials are passed on.

        Raises:
            S3AuthenticationError: The boto3 resource has no credentials.
        """
        if self._given is None:
            return self.config._overriding(region=region)
        client = self._given.meta.client
        verify = getattr(getattr(getattr(client, "_endpoint", None), "http_session", None), "_verify", True)
        return self.config._overriding(
            region=region,
            credentials=credentials.function_for(client),
            verify=verify if isinstance(verify, (bool, str)) else True,
        )

    def source_parameters(self, source: Connection) -> dict[str, str]:
        """Return boto3's parameters for a copy through this connection from a bucket of another: the source's owner, and who pays."""
        owner, pays = source.config.expected_bucket_owner, source.config.request_payer
        found = {} if owner is None else {"ExpectedSourceBucketOwner": owner}
        return {**found, "RequestPayer": "requester"} if pays and not self.config.request_payer else found

    def attach(self, store: object) -> None:
        """Count a store as a user of this connection."""
        self._stores[id(store)] = store

    def detach(self, store: object) -> None:
        """Stop counting a store as a user; close the sockets if it was the last one. A later request opens new sockets."""
        self._stores.pop(id(store), None)
        if not self._stores:
            self._stop()

    def _stop(self) -> None:
        with self._lock:
            live = self._live
            if self._given is None:  # the user's client is not closed, and its lane is kept
                self._live = None
        if live is not None:
            live.lane.close()
            if self._given is None:
                live.client.close()

    def _close_idle_connections(self) -> None:
        live = self._live
        if live is not None:
            live.client._endpoint.http_session.close()  # type: ignore[attr-defined]  # as boto3's own close() does

    def _start(self) -> _Live:
        with self._lock:
            if self._live is None:
                with translating("connect"):
                    resource = self._given if self._given is not None else self._make_resource()
                client = resource.meta.client
                session = client._endpoint.http_session  # type: ignore[attr-defined]  # the user's own client may skip verification
                if not getattr(session, "_verify", True):
                    logger.warning(
                        "TLS verification is off for %s: a machine between here and there can read and change requests",
                        client.meta.endpoint_url,
                    )
                self._hooks.register(client)
                parameters = self.config._of_every_request
                if parameters:
                    self._hooks.register_parameters(client, parameters)
                headers = {HEADERS[name]: value for name, value in parameters.items()}
                self._live = _Live(resource, client, Lane(client, headers), _max_attempts(client))
                if not self.config.lane:
                    self._live.lane.shut("lane=False was passed to connect()")
            return self._live

    def _make_resource(self) -> S3ServiceResource:
        return configured_resource.make(self.config)

    def __deepcopy__(self, memo: dict[int, Any]) -> Connection:
        return self  # a copy of a handle belongs to the same store

    def __reduce__(self) -> tuple[Any, ...]:
        if self._given is None or self.config.anonymous:
            return _open, (self.config,)
        signer = self._given.meta.client._get_credentials()  # type: ignore[attr-defined]
        return _open_withheld, (self.config, signer.access_key if signer is not None else None)


def _check_entries(operation: str, bucket: str | None, answer: Mapping[str, Any]) -> None:
    """Raise S3ServerError if an entry of a listing has no key, prefix, time or ID."""
    for name, members in _MEMBERS_OF_ENTRIES.get(operation, {}).items():
        for entry in answer.get(name, ()):
            missing = next((member for member in members if not entry.get(member)), None)
            if missing is not None:
                raise S3ServerError(
                    f"{operation} on s3://{bucket}/: an entry of the listing ({name}) has no {missing}",
                    operation=operation,
                    bucket=bucket,
                    retryable=True,
                )


def _config_of(client: S3Client) -> S3Config:
    """Return the settings of a user's client, for this store's ``config``, its pickles, and clients for other regions."""
    endpoint_url, region = client.meta.endpoint_url, client.meta.region_name
    options = client_options.without(
        client_options.canonical(client.meta.config),
        # The first two are the fields region and max_concurrency. The client derives the User-Agent header from other settings.
        ("region_name", "max_pool_connections", "user_agent"),
    )
    is_anonymous = client_options.find(options, "signature_version") == (client_options.UNSIGNED,)
    return S3Config(
        # An endpoint of the user's, such as that of a VPC, is kept: the public one may be out of reach, or not allowed.
        endpoint_url=None if is_regional_endpoint(urlsplit(endpoint_url).netloc, region) else endpoint_url,
        region=region if region != "aws-global" else None,
        max_concurrency=client.meta.config.max_pool_connections,  # type: ignore[attr-defined]
        config=client_options.without(options, ["signature_version"]) if is_anonymous else options,
        anonymous=is_anonymous,
    )


def _max_attempts(client: S3Client) -> int:
    retries = client.meta.config.retries or {}  # type: ignore[attr-defined]
    return max(1, retries.get("total_max_attempts") or (5 if retries.get("mode") == "legacy" else 3))


def _open(config: S3Config) -> Connection:
    """Unpickle a connection. Not a classmethod: cloudpickle would pickle a classmethod by value, with this module's locks."""
    return Connection.open(config).for_store()  # with observers of its own: it belongs to no store of this process


def _open_withheld(config: S3Config, access_key: str | None) -> Connection:
    """Unpickle the connection of a user's boto3 resource. It uses this process's credentials if their access key is the same."""
    return Connection.open(config.replace(access_key=access_key, _withheld=True)).for_store()


_cache: LRUCache[S3Config, Connection] = LRUCache(maxsize=64)
_cache_lock = threading.RLock()
_connections: weakref.WeakSet[Connection] = weakref.WeakSet()
_method_names: dict[str, str] = {}


def _method_name(operation: str) -> str:
    name = _method_names.get(operation)
    if name is None:
        name = _method_names[operation] = botocore.xform_name(operation)
    return name


def _after_fork_in_child() -> None:
    """Replace locks and clients in a forked child: the parent may have held the locks, and still uses the sockets."""
    global _cache_lock
    _cache_lock = threading.RLock()
    for connection in list(_connections):
        connection._lock = threading.RLock()
        connection._hooks.reset()
        connection._live = None
        if connection._given is not None:
            connection._given.meta.client._endpoint.http_session.close()  # type: ignore[attr-defined]


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no forks
    os.register_at_fork(after_in_child=_after_fork_in_child)
