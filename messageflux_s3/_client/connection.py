"""A connection: one boto3 client per process and configuration, and the cached facts about its store.

Requests go through :meth:`Connection.call`, which translates errors and updates ``is_online``, or through the connection's client or
lane. A connection refers to no bucket and no object. It can be pickled (without secrets, unless the configuration allows it) and used by
threads and after a fork: a forked child opens a client of its own.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import boto3
import botocore
import botocore.config
import botocore.httpchecksum
from botocore.awsrequest import AWSRequest
from cachetools import LRUCache

from .._http.lane import Lane
from ..errors import S3AccessDenied, S3AuthenticationError, S3ConnectionError, S3Error, S3Unsupported
from . import capabilities as abilities
from . import credentials
from .capabilities import Capabilities, Preset
from .config import S3Config, check_url
from .hooks import Hooks, root_name
from .service_resource import service_resource_of
from .translate import translating

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client, S3ServiceResource

logger = logging.getLogger("messageflux_s3")

KNOWS_TAGGING = "knows ?tagging of objects"
"""Name of the fact that the store has answered GetObjectTagging with a tag document, not with the object."""

_WRITES_WITH_TAGS = frozenset({"PutObject", "CopyObject", "CreateMultipartUpload"})


class _Live(NamedTuple):
    """The objects that a connection makes at its first use in a process."""

    resource: S3ServiceResource
    client: S3Client
    lane: Lane


class Connection:
    """The connection to one store. Made by :meth:`open` or :meth:`from_resource`, never directly.

    Attributes:
        config: The configuration.
        is_online: Whether the last operation received a response, even an error.
        facts: What requests have shown about the store, by name; kept as long as the connection.
    """

    def __init__(self, config: S3Config, given: S3ServiceResource | None = None) -> None:
        self.config = config
        self.is_online: bool = False
        self._given = given
        self._live: _Live | None = None
        self.facts: dict[str, Any] = {}
        self._stores: weakref.WeakSet[Any] = weakref.WeakSet()
        self._lock = threading.RLock()
        self._hooks = Hooks(lambda: self.is_aws, self._close_idle_connections)
        _connections.add(self)

    # -- constructors -------------------------------------------------------------------------------------------------------------

    @classmethod
    def open(cls, config: S3Config) -> Connection:
        """Return this process's connection for a configuration; equal configurations share one."""
        with _cache_lock:
            connection = _cache.get(config)
            if connection is None:
                connection = _cache[config] = cls(config)
            return connection

    @classmethod
    def from_resource(cls, resource: S3ServiceResource) -> Connection:
        """Return the connection that uses the client of the user's boto3 resource, bucket or object, unchanged.

        Raises:
            TypeError: The argument has no S3 client.
        """
        client = getattr(getattr(resource, "meta", None), "client", None)
        if client is None or client.meta.service_model.service_name != "s3":
            raise TypeError(f"s3_resource must be a boto3 S3 resource or an S3Store, not {type(resource).__name__}")
        with _cache_lock:
            for known in _connections:
                if known._given is not None and known._given.meta.client is client:
                    return known
            settings = client.meta.config
            endpoint_url = client.meta.endpoint_url
            config = S3Config(
                endpoint_url=None if abilities.preset_for(endpoint_url) == "aws" else endpoint_url,
                region=client.meta.region_name if client.meta.region_name != "aws-global" else None,
                addressing_style=(settings.s3 or {}).get("addressing_style") or "auto",
                max_concurrency=settings.max_pool_connections,
                connect_timeout=settings.connect_timeout,
                read_timeout=settings.read_timeout,
                max_attempts=max(1, (settings.retries or {}).get("total_max_attempts") or 5),
            )
            return cls(config, service_resource_of(resource))

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
        """The fast lane beside the client."""
        return (self._live or self._start()).lane

    @property
    def started_lane(self) -> Lane | None:
        """The fast lane; None if the client is not built yet, which takes half a second and may request credentials."""
        live = self._live
        return None if live is None else live.lane

    @property
    def endpoint_url(self) -> str:
        """The client's endpoint."""
        return self.client.meta.endpoint_url

    @property
    def access_key(self) -> str | None:
        """The access key that requests are signed with; None without credentials. May load them (a callable, a profile, boto3's chain)."""
        if self.config.access_key is not None:
            return self.config.access_key
        with translating("connect"):
            found = self.client._get_credentials()  # type: ignore[attr-defined]  # not in the stubs
            return None if found is None else str(found.access_key)

    @property
    def region(self) -> str:
        """The region that requests are signed for."""
        return self.client.meta.region_name

    @property
    def preset(self) -> Preset:
        """The kind of store, never ``"auto"``."""
        return abilities.preset_for(self.endpoint_url) if self.config.preset == "auto" else self.config.preset

    @property
    def is_aws(self) -> bool:
        """Whether this is Amazon S3, the only store whose capabilities are assumed without a probe."""
        return self.preset == "aws"

    @property
    def capabilities(self) -> Capabilities:
        """The store's capabilities: from ``probe()``, if the configuration has its result, else from the preset."""
        return self.config.capabilities or abilities.known_of(self.preset)

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
            1, and boto3's retries; 3 more for the first write with tags, unless the store is AWS or was probed
        """
        if parameters.get("Tagging") and operation in _WRITES_WITH_TAGS:
            self._require_tags(operation, parameters["Bucket"], parameters["Key"])
        return self._send(operation, parameters)

    def _send(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        with self.translating(operation, parameters.get("Bucket"), parameters.get("Key")):
            answer: dict[str, Any] = getattr(self.client, _method_name(operation))(**parameters)
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

    def call_with_root(self, operation: str, **parameters: Any) -> tuple[dict[str, Any], str | None]:
        """Make one call, and also return the name of the document's root element: it says which operation the store carried out.

        Returns:
            The response, and the root's name (None if the body is not XML).
        """
        self._hooks.clear_document()
        answer = self.call(operation, **parameters)
        return answer, root_name(self._hooks.document)

    def _require_tags(self, operation: str, bucket: str, key: str) -> None:
        """Refuse to send tags along with an object to a store that drops them without an error.

        If it is unknown whether the store keeps tags, write a tagged scratch object in the same folder, read its tags, and delete it.
        """
        keeps = True if self.is_aws else self.capabilities.object_tagging
        if keeps is None:
            keeps = self.facts.get("keeps_tags")
        if keeps is None:
            keeps = self._keeps_tags(bucket, key[: key.rfind("/") + 1][-512:] + f"mfs3-probe-{secrets.token_hex(6)}")
            self.facts["keeps_tags"] = keeps
        if not keeps:
            raise S3Unsupported(
                f"{operation} on s3://{bucket}/{key}: this store does not keep tags; nothing was written",
                operation=operation,
                bucket=bucket,
                key=key,
            )

    def _keeps_tags(self, bucket: str, key: str) -> bool:
        written = self._send("PutObject", {"Bucket": bucket, "Key": key, "Body": b"", "Tagging": "mfs3=probe"})
        version = {"VersionId": written["VersionId"]} if "VersionId" in written else {}
        try:
            keeps = b"<Key>mfs3</Key>" in self.read_document("GetObjectTagging", Bucket=bucket, Key=key)
            if keeps:
                self.facts[KNOWS_TAGGING] = True
            return keeps
        except S3AccessDenied:
            return True  # a store that ignores ?tagging would have returned the object
        except S3Error as error:
            if error.retryable:
                raise
            return False
        finally:
            self._send("DeleteObject", {"Bucket": bucket, "Key": key, **version})

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
            status: int = endpoint.http_session.send(request).status_code
        return status

    @contextmanager
    def translating(self, operation: str | None, bucket: str | None = None, key: str | None = None) -> Iterator[None]:
        """Translate the errors of a request made within the block, and update ``is_online``. :meth:`call` does both itself."""
        try:
            with translating(operation, bucket, key):
                yield
        except S3Error as error:
            self.is_online = error.status is not None or not isinstance(
                error, S3ConnectionError | S3AuthenticationError
            )
            raise
        self.is_online = True

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
            return self.config.replace(region=region)
        client = self._given.meta.client
        verify = getattr(getattr(getattr(client, "_endpoint", None), "http_session", None), "_verify", True)
        return self.config.replace(
            region=region,
            credentials=credentials.function_for(client),
            verify=verify if isinstance(verify, (bool, str)) else True,
        )

    def attach(self, store: object) -> None:
        """Count a store as a user of this connection."""
        self._stores.add(store)

    def detach(self, store: object) -> None:
        """Stop counting a store; after the last one the sockets are closed. A later request opens them again."""
        self._stores.discard(store)
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
                self._live = _Live(resource, client, Lane(client))
            return self._live

    def _make_resource(self) -> S3ServiceResource:
        config = self.config
        session = credentials.make_session(config)
        resource = self._resource_of(session, config.endpoint_url)
        effective = resource.meta.client.meta.endpoint_url
        check_url("the endpoint in boto3's own settings", effective)
        if config.endpoint_url is None and abilities.preset_for(effective) != "aws":
            # The endpoint comes from boto3's own settings and is known only now; the checksum policy depends on it.
            resource = self._resource_of(session, effective)
        return resource

    def _resource_of(self, session: boto3.Session, endpoint_url: str | None) -> S3ServiceResource:
        config = self.config
        preset = abilities.preset_for(endpoint_url) if config.preset == "auto" else config.preset
        known = config.capabilities or abilities.known_of(preset)
        settings: dict[str, Any] = {}
        if not known.checksums and not _checksums_chosen(session):
            settings = {
                "request_checksum_calculation": "when_required",
                "response_checksum_validation": "when_required",
            }
        addressing_style = config.addressing_style
        if (
            addressing_style == "auto"
            and config.capabilities is not None
            and config.capabilities.addressing_style is not None
        ):
            addressing_style = config.capabilities.addressing_style
        region = config.region
        if region is None and endpoint_url is not None and not session.region_name:
            region = "auto" if preset == "r2" else "us-east-1"
        return session.resource(
            "s3",
            endpoint_url=endpoint_url,
            region_name=region,
            verify=None if config.verify is True else config.verify,
            config=botocore.config.Config(
                signature_version="s3v4",
                connect_timeout=config.connect_timeout,
                read_timeout=config.read_timeout,
                max_pool_connections=max(10, config.max_concurrency),
                retries={"mode": "standard", "total_max_attempts": config.max_attempts},
                s3={"addressing_style": addressing_style},
                user_agent_extra="messageflux-s3",
                **settings,
            ),
        )

    def __reduce__(self) -> tuple[Any, ...]:
        if self._given is None:
            return _open, (self.config,)
        signer = self._given.meta.client._get_credentials()  # type: ignore[attr-defined]
        return _open_withheld, (self.config, signer.access_key if signer is not None else None)


def _open(config: S3Config) -> Connection:
    """Unpickle a connection. Not a classmethod, because cloudpickle would pickle that by value, with this module's locks."""
    return Connection.open(config)


def _open_withheld(config: S3Config, access_key: str | None) -> Connection:
    """Unpickle the connection of a user's boto3 resource. It uses this process's credentials, only if they have the same access key."""
    return Connection.open(config.replace(access_key=access_key, _withheld=True))


def _checksums_chosen(session: boto3.Session) -> bool:
    """Return whether the user's environment or profile sets the checksum policy."""
    if "AWS_REQUEST_CHECKSUM_CALCULATION" in os.environ:
        return True
    return "request_checksum_calculation" in session._session.get_scoped_config()


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
