"""The connection: one boto3 client per process and configuration, and what was learned about the store behind it.

Everything that talks to a store does it through :meth:`Connection.call` (one request, translated, its outcome noted) or through
the client or the lane that the connection hands out. A connection knows no buckets and no objects. It can be pickled (its
secrets stay behind) and used from threads and after a fork: a forked child opens a client of its own.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import re
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

from .._formats.documents import keep_carriage_returns
from .._http.lane import Lane
from ..errors import S3AccessDenied, S3AuthenticationError, S3ConnectionError, S3Error, S3ServerError, S3Unsupported
from . import capabilities as abilities
from . import credentials
from .capabilities import Capabilities, Preset
from .config import S3Config, check_url
from .translate import translating

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client, S3ServiceResource

logger = logging.getLogger("messageflux_s3")

# Headers without which an answer of success is one that broke off.
_NEVER_WITHOUT = {
    "HeadObject": {"etag", "last-modified", "content-length"},
    "PutObject": {"etag"},
    "UploadPart": {"etag"},
}
_WITH_A_DOCUMENT = {"CreateMultipartUpload", "ListBuckets", "ListObjectVersions", "ListMultipartUploads"}
KNOWS_TAGGING = "knows ?tagging of objects"
"""Name of the fact that the store has answered GetObjectTagging with a document of its own."""
_WRITES_OF_OBJECTS = {"PutObject", "CopyObject", "CreateMultipartUpload"}
_DOCUMENT_BYTES = (
    1 << 20
)  # S3's own documents are smaller: policies end at 20 KB, a thousand lifecycle rules stay below
_HTTP_DATE_LENGTH = len("Sat, 1 Nov 2026 11:29:39 GMT")
_LINE_END = re.compile(r"[\r\n\0]")
_ROOT = re.compile(rb"\s*(?:<\?xml[^>]*\?>\s*)?<([A-Za-z][\w.-]*)")

_NO_LENGTH = (
    b"<Error><Code>IncompleteAnswer</Code><Message>the store answered 200 without Content-Length and without chunks: whether the body is "
    b"whole cannot be told</Message></Error>"
)


class _Live(NamedTuple):
    """What exists once a connection was used in a process."""

    resource: S3ServiceResource
    client: S3Client
    lane: Lane


class Connection:
    """One way to one store. Made by :meth:`open` or :meth:`around`, never directly.

    Attributes:
        config: The configuration.
        is_online: Whether the last operation got an answer, whatever it said.
    """

    def __init__(self, config: S3Config, given: S3ServiceResource | None = None) -> None:
        self.config = config
        self.is_online = False
        self._given = given
        self._live: _Live | None = None
        self._learned: dict[str, Any] = {}
        self._stores: weakref.WeakSet[Any] = weakref.WeakSet()
        self._lock = threading.RLock()
        self._wire = threading.local()
        _connections.add(self)

    # -- made ---------------------------------------------------------------------------------------------------------------------

    @classmethod
    def open(cls, config: S3Config) -> Connection:
        """The connection for a configuration: the same one as long as it is in use, in this process."""
        with _cache_lock:
            connection = _cache.get(config)
            if connection is None:
                connection = _cache[config] = cls(config)
            return connection

    @classmethod
    def around(cls, resource: S3ServiceResource) -> Connection:
        """The connection around a boto3 resource (or client) that the user made, kept as it is."""
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
            return cls(config, resource)

    # -- what it hands out --------------------------------------------------------------------------------------------------------

    @property
    def client(self) -> S3Client:
        """The boto3 client; safe to share between threads."""
        return (self._live or self._start()).client

    @property
    def resource(self) -> S3ServiceResource:
        """The boto3 resource around the same client. boto3's resources are not for sharing between threads."""
        return (self._live or self._start()).resource

    @property
    def lane(self) -> Lane:
        """The fast lane beside the client."""
        return (self._live or self._start()).lane

    @property
    def endpoint_url(self) -> str:
        """Where requests go, as the client sees it."""
        return self.client.meta.endpoint_url

    @property
    def access_key(self) -> str | None:
        """The access key that requests are signed with; None for none. May ask for credentials (a callable, a profile, boto3's chain)."""
        if self.config.access_key is not None:
            return self.config.access_key
        with translating("connect"):
            found = self.client._get_credentials()  # type: ignore[attr-defined]  # also of a client that the user made
            return None if found is None else str(found.access_key)

    @property
    def region(self) -> str:
        """The region that requests are signed for."""
        return self.client.meta.region_name

    @property
    def preset(self) -> Preset:
        """Which kind of store this is, never ``"auto"``."""
        return abilities.preset_for(self.endpoint_url) if self.config.preset == "auto" else self.config.preset

    @property
    def is_aws(self) -> bool:
        """Whether this is Amazon S3 itself, the only store trusted unprobed."""
        return self.preset == "aws"

    @property
    def capabilities(self) -> Capabilities:
        """What is known of the store: from the configuration's probe, else from its preset."""
        return self.config.capabilities or abilities.known_of(self.preset)

    @property
    def default_checksum(self) -> str | None:
        """The checksum algorithm that the client adds to uploads by itself; None where it adds none."""
        adds = getattr(self.client.meta.config, "request_checksum_calculation", None) == "when_supported"
        return botocore.httpchecksum.DEFAULT_CHECKSUM_ALGORITHM if adds else None

    @staticmethod
    def can_compute(algorithm: str) -> bool:
        """Whether botocore, as it is installed here, can compute a checksum algorithm: some need ``botocore[crt]``."""
        known = getattr(botocore.httpchecksum, "_SUPPORTED_CHECKSUM_ALGORITHMS", None)
        return known is None or algorithm.lower() in known

    # -- one request --------------------------------------------------------------------------------------------------------------

    def call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """Make one call of the boto3 client.

        Args:
            operation: S3's name of the operation, ``"HeadObject"``.
            parameters: The operation's parameters, as boto3 has them.

        Returns:
            The answer as boto3 gives it.

        Raises:
            S3Error: Whatever went wrong, by cause.
            ValueError: boto3 refuses a parameter.

        Requests:
            1 (and the retries of boto3); a write with tags once a store also 3, unless it is AWS or known by ``probe()``
        """
        if parameters.get("Tagging") and operation in _WRITES_OF_OBJECTS:
            self._require_tags(operation, parameters["Bucket"], parameters["Key"])
        return self._send(operation, parameters)

    def _send(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        with self.translating(operation, parameters.get("Bucket"), parameters.get("Key")):
            answer: dict[str, Any] = getattr(self.client, _method_name(operation))(**parameters)
            return answer

    def read_document(self, operation: str, **parameters: Any) -> bytes:
        """Make one call and return the answer's body as it came: with every field, known to boto3 or not.

        Requests:
            1
        """
        self._wire.received = b""
        self._wire.reading = True
        try:
            self.call(operation, **parameters)
        finally:
            self._wire.reading = False
        received: bytes = self._wire.received
        return received

    def received_header(self, name: str) -> str | None:
        """A header of the answer that :meth:`read_document` was last given in this thread; None where it had none."""
        value: str | None = getattr(self._wire, "headers", {}).get(name)
        return value

    def write_document(self, operation: str, document: bytes, **parameters: Any) -> None:
        """Make one call whose body is this document, as it stands; boto3 signs it and adds whatever checksum the store wants.

        Requests:
            1
        """
        self._wire.to_send = document
        try:
            self.call(operation, **parameters)
        finally:
            self._wire.to_send = None

    def call_with_md5(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """Make one call whose body carries Content-MD5 in place of the checksum that boto3 would choose.

        Requests:
            1
        """
        self._wire.md5 = True
        try:
            return self.call(operation, **parameters)
        finally:
            self._wire.md5 = False

    def call_with_root(self, operation: str, **parameters: Any) -> tuple[dict[str, Any], str | None]:
        """Make one call and also tell the name of the answer's XML root: what the store itself took the request for.

        Returns:
            The answer, and the root's name (None where the body was no XML).
        """
        self._wire.received = b""
        answer = self.call(operation, **parameters)
        return answer, root_name(self._wire.received)

    def _require_tags(self, operation: str, bucket: str, key: str) -> None:
        """Refuse to send tags along with an object to a store that would drop them without a word.

        On a store of which it is not known, an object beside the key is written with a tag, its tags are read, and it is deleted.
        """
        keeps = True if self.is_aws else self.capabilities.object_tagging
        if keeps is None:
            keeps = self.recall("keeps_tags")
        if keeps is None:
            keeps = self._keeps_tags(bucket, key[: key.rfind("/") + 1][-512:] + f"mfs3-probe-{secrets.token_hex(6)}")
            self.remember("keeps_tags", keeps)
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
                self.remember(KNOWS_TAGGING, True)
            return keeps
        except S3AccessDenied:
            return True  # a store that does not know the question would have answered it
        except S3Error as error:
            if error.retryable:
                raise
            return False
        finally:
            self._send("DeleteObject", {"Bucket": bucket, "Key": key, **version})

    def send_form(self, url: str, content_type: str, body: bytes) -> int:
        """POST something unsigned, as a browser would send it, by the client's own TLS settings and proxies.

        Returns:
            The status of the answer.

        Requests:
            1
        """
        headers = {"Content-Type": content_type, "Content-Length": str(len(body))}
        request = AWSRequest(method="POST", url=url, headers=headers, data=body).prepare()
        with self.translating("PostObject"):
            endpoint = self.client._endpoint  # type: ignore[attr-defined]  # nothing public sends what is not an operation
            status: int = endpoint.http_session.send(request).status_code
        return status

    @contextmanager
    def translating(self, operation: str | None, bucket: str | None = None, key: str | None = None) -> Iterator[None]:
        """Stand a call in here that does not go through :meth:`call`: errors are translated, the outcome is noted."""
        try:
            with translating(operation, bucket, key):
                yield
        except S3Error as error:
            self.is_online = error.status is not None or not isinstance(
                error, S3ConnectionError | S3AuthenticationError
            )
            raise
        self.is_online = True

    # -- what was learned ---------------------------------------------------------------------------------------------------------

    def recall(self, fact: str) -> Any:
        """What was learned about the store under this name, or None."""
        return self._learned.get(fact)

    def remember(self, fact: str, value: Any) -> None:
        """Keep what was learned about the store, for as long as the connection lives."""
        self._learned[fact] = value

    # -- life ---------------------------------------------------------------------------------------------------------------------

    def reload_credentials(self) -> None:
        """Ask for the credentials again: the callable, the profile, or boto3's chain.

        Raises:
            S3Unsupported: The client is the user's own.
        """
        if self._given is not None:
            raise S3Unsupported(
                "reload_credentials: this store uses a boto3 resource of yours; renew that one's credentials"
            )
        self._stop()

    def config_in(self, region: str) -> S3Config:
        """Return the configuration for another region of the same store, with the same credentials.

        The configuration made of a boto3 resource holds no credentials; without them boto3 would look for others, perhaps of another
        account.

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
        """Note that a store uses this connection."""
        self._stores.add(store)

    def detach(self, store: object) -> None:
        """Note that a store is done; the sockets are closed with the last one. A later use opens them again."""
        self._stores.discard(store)
        if not self._stores:
            self._stop()

    def _stop(self) -> None:
        with self._lock:
            live = self._live
            if self._given is None:  # a client of the user's lives on, and its lane with it
                self._live = None
        if live is not None:
            live.lane.close()
            if self._given is None:
                live.client.close()

    def _start(self) -> _Live:
        with self._lock:
            if self._live is None:
                with translating("connect"):
                    resource = self._given if self._given is not None else self._make_resource()
                client = resource.meta.client
                session = client._endpoint.http_session  # type: ignore[attr-defined]  # also of a client that the user made
                if not getattr(session, "_verify", True):
                    logger.warning(
                        "TLS verification is off for %s: anybody on the way can read and change what is sent",
                        client.meta.endpoint_url,
                    )
                events = client.meta.events
                events.register("before-parse.s3", self._note_document, unique_id=f"messageflux-s3-read-{id(self)}")
                events.register("before-call.s3", self._adjust_request, unique_id=f"messageflux-s3-write-{id(self)}")
                events.register("needs-retry.s3.HeadBucket", _look_for_region_once, unique_id="messageflux-s3-region")
                self._live = _Live(resource, client, Lane(client))
            return self._live

    def _note_document(self, response_dict: dict[str, Any], operation_model: Any, **_: Any) -> None:
        body = response_dict.get("body")
        if isinstance(body, bytes) and b"\r" in body:
            body = response_dict["body"] = _with_carriage_returns(
                body, operation_model.name, response_dict.get("status_code", 0)
            )
        headers = {name.lower() for name in response_dict.get("headers", {})}
        self._wire.received = body if isinstance(body, bytes) else b""
        self._wire.headers = response_dict.get("headers", {})
        whole = _NEVER_WITHOUT.get(operation_model.name, headers) <= headers
        if operation_model.name in _WITH_A_DOCUMENT:
            whole = bool(body)
        elif operation_model.name == "GetObject":
            whole = bool(headers & {"content-length", "transfer-encoding"})  # else nobody could tell where it was cut
        if 100 <= response_dict.get("status_code", 0) < 200:
            # http.client takes an interim answer (103 Early Hints) for the answer. The one that follows would be read as the answer to
            # the next request on this connection, so the connections that wait for a next request are closed.
            if body is not None and hasattr(body, "close"):
                body.close()
            live = self._live
            if live is not None:
                live.client._endpoint.http_session.close()  # type: ignore[attr-defined]  # as boto3's own close() does
            response_dict["status_code"], response_dict["body"] = 500, b""
        elif response_dict.get("status_code") in (200, 206) and (not whole or _is_cut(self._wire.headers)):
            # urllib3 lets an answer pass that broke off among its headers: to boto3 it is a failure now, which it asks about again.
            if body is not None and hasattr(body, "close"):
                body.close()
            told = _NO_LENGTH if operation_model.name == "GetObject" and not whole else b""
            response_dict["status_code"], response_dict["body"] = 500, told
        elif (
            response_dict.get("status_code", 0) // 100 == 4
            and not operation_model.name.startswith("Head")
            and _broke_off(response_dict)
        ):
            # Which of several things is missing, say, stood in what is lost: boto3 would go by the status, and guess.
            response_dict["status_code"], response_dict["body"] = 500, b""
        elif getattr(self._wire, "reading", False) and "etag" in headers:
            # What has an ETag is an object: a gateway that knows no "?tagging" sends the object itself. Its text may look like
            # tags, or like nothing, which botocore would take for a failure and ask again.
            self._wire.received = response_dict["body"] = b""
            response_dict["status_code"] = 200
        elif getattr(self._wire, "reading", False) and response_dict.get("status_code") in (200, 206):
            response_dict["body"] = b""  # it is read as it came; boto3 would stumble over a number that is none

    def _adjust_request(self, params: dict[str, Any], **_: Any) -> None:
        for name, value in params["headers"].items():
            if isinstance(value, str) and _LINE_END.search(value):
                # It would get no further than the HTTP library, whose error looks like one of the network: it would be tried again.
                raise ValueError(f"{name} must be one line: a line end in it would end the header and begin another")
        if getattr(self._wire, "reading", False) and not self.is_aws:
            # Where the question is unknown, the whole object would come, however large.
            params["headers"]["Range"] = f"bytes=0-{_DOCUMENT_BYTES - 1}"
        document = getattr(self._wire, "to_send", None)
        if document is not None:
            params["body"] = document
        if getattr(self._wire, "md5", False):
            body = params["body"] if isinstance(params["body"], bytes) else str(params["body"]).encode()
            params["headers"]["Content-MD5"] = base64.b64encode(
                hashlib.md5(body, usedforsecurity=False).digest()
            ).decode()
            params["context"].pop("checksum", None)

    def _make_resource(self) -> S3ServiceResource:
        config = self.config
        session = credentials.make_session(config)
        resource = self._resource_of(session, config.endpoint_url)
        effective = resource.meta.client.meta.endpoint_url
        check_url("the endpoint in boto3's own settings", effective)
        if config.endpoint_url is None and abilities.preset_for(effective) != "aws":
            # The endpoint came from boto3's own settings, which only the finished client tells: the checksum policy depends on it.
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


def _look_for_region_once(request_dict: dict[str, Any], response: tuple[Any, dict[str, Any]] | None, **_: Any) -> None:
    """Keep botocore from following a redirect of HeadBucket that names no region.

    botocore follows a redirect to the region that HeadBucket names. Where HeadBucket itself is redirected without one, it would send
    HeadBucket again to find out, without end.
    """
    headers = {} if response is None else response[1].get("ResponseMetadata", {}).get("HTTPHeaders", {})
    if "x-amz-bucket-region" not in headers:
        request_dict["context"].setdefault("s3_redirect", {})["redirected"] = True


def _with_carriage_returns(body: bytes, operation: str, status: int) -> bytes:
    """The document as boto3's parser has to see it, so that no carriage return in a key becomes a line feed."""
    try:
        return keep_carriage_returns(body)
    except ValueError as error:
        if status >= 300:
            return body  # an error's explanation may lose them
        raise S3ServerError(
            f"{operation}: the store's answer cannot be read without changing it: {error}", operation=operation
        ) from None


def root_name(document: bytes) -> str | None:
    """The name of an XML document's root; None where this is no XML."""
    found = _ROOT.match(document)
    return found[1].decode("ascii") if found else None


def _open(config: S3Config) -> Connection:
    """What a pickle calls. A function, since cloudpickle would take a classmethod along by value, with the locks of this module."""
    return Connection.open(config)


def _open_withheld(config: S3Config, access_key: str | None) -> Connection:
    """The connection that a user's own resource becomes in another process: the same place, and the same account or none."""
    return Connection.open(config.replace(access_key=access_key, _withheld=True))


def _is_cut(headers: Mapping[str, str]) -> bool:
    """Whether an etag or a moment has no end: that is where the answer broke off."""
    etag, moment = str(headers.get("etag", "")), str(headers.get("last-modified", "GMT"))
    is_moment_cut = moment[3:4] in (",", "") and not moment.endswith("GMT") and len(moment) < _HTTP_DATE_LENGTH
    return is_moment_cut or (etag.startswith('"') and not etag.endswith('"', 1))


def _broke_off(answer: Mapping[str, Any]) -> bool:
    """Whether an error's document has no end, is shorter than was said, or is missing where nobody said that none would come."""
    body, headers = answer.get("body"), answer.get("headers") or {}
    said = body.strip() if isinstance(body, bytes) else b""
    length = str(headers.get("content-length", ""))
    if length.isdigit() and isinstance(body, bytes) and len(body) < int(length):
        return True
    root = root_name(said)
    if root is not None:
        return not said.endswith((f"</{root}>".encode(), b"/>"))
    return said.startswith(b"<?xml") or not (said or length or "transfer-encoding" in headers)


def _checksums_chosen(session: boto3.Session) -> bool:
    """Whether the user's environment or profile says what to do about checksums."""
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
    """Sockets and locks of the parent are not ours: forget them, close nothing that the parent still uses."""
    global _cache_lock
    _cache_lock = threading.RLock()
    for connection in list(_connections):
        connection._lock = threading.RLock()
        connection._wire = threading.local()
        connection._live = None
        if connection._given is not None:
            connection._given.meta.client._endpoint.http_session.close()  # type: ignore[attr-defined]


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no forks
    os.register_at_fork(after_in_child=_after_fork_in_child)
