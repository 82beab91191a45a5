"""S3Store and connect(): the account level.

A store is a connection with words: buckets by name, objects by URI, and whether anybody is there.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ._client import buckets
from ._client.capabilities import Capabilities, Preset
from ._client.config import (
    CONNECT_TIMEOUT,
    MAX_ATTEMPTS,
    MAX_CONCURRENCY,
    READ_TIMEOUT,
    AddressingStyle,
    CredentialsFunction,
    S3Config,
)
from ._client.connection import Connection
from ._display import show
from ._formats.events import parse_event
from ._formats.head import Head
from ._formats.keys import parse_uri
from ._formats.render import Rendered
from ._http.lane import LaneStatus
from ._probe.probe import probe
from .bucket import S3Bucket
from .errors import S3AuthenticationError, S3ConnectionError, S3Error, S3NotInitializedError
from .object import S3Object

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_s3 import S3Client, S3ServiceResource
    from typing_extensions import Self


def connect(
    endpoint_url: str | None = None,
    *,
    access_key: str | None = None,
    secret_key: str | None = None,
    session_token: str | None = None,
    credentials: CredentialsFunction | None = None,
    region: str | None = None,
    profile: str | None = None,
    boto3_session: boto3.Session | None = None,
    preset: Preset = "auto",
    addressing_style: AddressingStyle = "auto",
    connect_timeout: float = CONNECT_TIMEOUT,
    read_timeout: float = READ_TIMEOUT,
    max_attempts: int = MAX_ATTEMPTS,
    max_concurrency: int = MAX_CONCURRENCY,
    verify: bool | str = True,
    public_url: str | None = None,
    pickle_secrets: bool = False,
) -> S3Store:
    """A store, by whatever it takes to reach it. Without arguments: AWS, and boto3's own chain of credentials.

    Args:
        endpoint_url: ``http(s)://host[:port]`` of the store; None for AWS, or whatever boto3's own settings say.
        access_key: Access key id; together with ``secret_key``.
        secret_key: Secret access key.
        session_token: Session token of temporary keys.
        credentials: A callable in place of keys: returns a mapping with ``access_key``, ``secret_key`` and, where they apply,
            ``session_token`` and ``expires_at``; asked at first use, before expiry and on ``reload_credentials()``.
        region: Region name.
        profile: Name of an AWS profile.
        boto3_session: A session of yours to take credentials and settings from.
        preset: Which kind of store this is; ``"auto"`` tells by the host name.
        addressing_style: ``"path"``, ``"virtual"``, or ``"auto"`` for boto3's choice.
        connect_timeout: Seconds to wait for a connection.
        read_timeout: Seconds to wait for the next bytes of an answer.
        max_attempts: How often a request is sent at the most, the first time included.
        max_concurrency: How many requests are under way at once at the most.
        verify: True, False, or the path of a CA bundle for TLS.
        public_url: Where the objects are visible to everybody, for ``url``; ``{bucket}`` in it stands for the bucket's name.
        pickle_secrets: Whether pickles of the store and its handles carry its secrets.

    Returns:
        The store. Stores of the same configuration share one client.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument has no meaning, or two contradict each other.

    Requests:
        none

    Example:
        >>> s3.connect("https://minio.example", access_key="reader", secret_key="hush").bucket("invoices")
        S3Bucket('invoices')
    """
    return S3Store(
        S3Config(
            endpoint_url=endpoint_url,
            access_key=access_key,
            secret_key=secret_key,
            session_token=session_token,
            credentials=credentials,
            region=region,
            profile=profile,
            boto3_session=boto3_session,
            preset=preset,
            addressing_style=addressing_style,
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            max_attempts=max_attempts,
            max_concurrency=max_concurrency,
            verify=verify,
            public_url=public_url,
            pickle_secrets=pickle_secrets,
        )
    )


class S3Store:
    """One account of one store. Comes from :func:`connect`, from an :class:`S3Config`, or from a boto3 resource.

    Example:
        >>> store.create_bucket("scratch-7").put_object("a.txt", "hello").uri
        's3://scratch-7/a.txt'
        >>> store.object("s3://scratch-7/a.txt").text
        'hello'
    """

    _connection: Connection

    def __init__(self, config: S3Config) -> None:
        """A store for a configuration. Requests: none.

        Args:
            config: How to reach it.
        """
        if not isinstance(config, S3Config):
            raise TypeError(
                f"config must be an S3Config, not {type(config).__name__}; connect() takes the fields themselves"
            )
        self._connection = Connection.open(config)
        self._connection.attach(self)

    @classmethod
    def from_resource(cls, boto3_s3_resource: S3ServiceResource) -> Self:
        """A store around a boto3 resource of yours; its client is used as it is.

        Args:
            boto3_s3_resource: The resource.

        Raises:
            TypeError: This is no boto3 S3 resource.

        Requests:
            none
        """
        self = cls.__new__(cls)
        self._connection = Connection.around(boto3_s3_resource)
        self._connection.attach(self)
        return self

    # -- how it is reached ------------------------------------------------------------------------------------------------------------

    @property
    def config(self) -> S3Config:
        """The configuration. Requests: none."""
        return self._connection.config

    @property
    def client(self) -> S3Client:
        """The boto3 client, safe to share between threads. Requests: none."""
        return self._connection.client

    @property
    def resource(self) -> S3ServiceResource:
        """The boto3 resource around the same client; boto3's resources are not for sharing between threads. Requests: none."""
        return self._connection.resource

    @property
    def lane(self) -> LaneStatus:
        """Which way bulk work goes, and why. Requests: none."""
        return self._connection.lane.status

    @property
    def is_online(self) -> bool:
        """Whether the last operation got an answer, whatever it said; False before the first one. Requests: none."""
        return self._connection.is_online

    def ping(self) -> bool:
        """Ask whether the store is there and knows us, now.

        Returns:
            True, also where listing buckets is denied; False where nobody answers or the credentials are refused.

        Requests:
            1
        """
        try:
            self._connection.call("ListBuckets")
        except (S3ConnectionError, S3AuthenticationError):
            return False
        except S3Error as error:
            return error.status is not None
        return True

    def probe(self, bucket_name: str | None = None) -> Capabilities:
        """Find out what this store can do, by small experiments on scratch objects, in a scratch bucket, which are deleted.

        Args:
            bucket_name: A bucket of yours for the scratch objects, where you may not create one. Its settings are not touched;
                what only they would tell stays unasked.

        Returns:
            A frozen, printable value; ``S3Store(store.config.replace(capabilities=…))`` relies on it.

        Raises:
            S3AccessDenied: No bucket can be created here, and none was named.
            S3ConnectionError: Nobody answers.

        Requests:
            about 600, half of them racing writers

        Example:
            >>> store.probe().put_if_absent
            'honoured'
        """
        return probe(self._connection, bucket_name)

    def reload_credentials(self) -> None:
        """Ask for the credentials again at the next request: the callable, the profile, or boto3's chain.

        Raises:
            S3Unsupported: The store uses a boto3 resource of yours.

        Requests:
            none
        """
        self._connection.reload_credentials()

    def close(self) -> None:
        """Close the sockets, unless another store uses the same ones. A later use opens new ones. Requests: none."""
        self._connection.detach(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: builtins.object) -> None:
        self.close()

    # -- what is in it ----------------------------------------------------------------------------------------------------------------

    def bucket(self, name: str) -> S3Bucket:
        """A handle on a bucket, whether it is there or not.

        Args:
            name: The bucket's name.

        Raises:
            S3InvalidName: This is no bucket name.

        Requests:
            none
        """
        return S3Bucket._unchecked(name, self)

    def create_bucket(
        self,
        name: str,
        lifetime_in_days: int | None = None,
        allow_public_access: bool = False,
        exist_ok: bool = True,
        region: str | None = None,
    ) -> S3Bucket:
        """Create a bucket.

        Args:
            name: The new bucket's name.
            lifetime_in_days: After how many days its objects expire; None leaves that alone, 0 or less cancels it.
            allow_public_access: Whether everybody may read and list it.
            exist_ok: Whether a bucket of ours that exists already will do.
            region: Where; None for the store's own region.

        Raises:
            S3BucketExists: The name is taken: by another account, or (with ``exist_ok=False``) by us.
            S3AccessDenied: The store refuses to say whether the bucket exists, or to create it; also with ``exist_ok``.

        Requests:
            1 HEAD, 1 PUT where there is no such bucket, and those of the settings asked for
        """
        there = (
            self if region is None or region == self._connection.region else S3Store(self._connection.config_in(region))
        )
        return S3Bucket.create_bucket(there, name, lifetime_in_days, allow_public_access, exist_ok)

    def buckets(self) -> Iterator[S3Bucket]:
        """The buckets of the account.

        Requests:
            1 per 10,000 buckets
        """
        return S3Bucket.list_buckets(self)

    def object(self, uri: str) -> S3Object:
        """A handle on an object by its URI.

        Args:
            uri: ``s3://bucket/key``; nothing in it is unquoted.

        Raises:
            S3InvalidName: This is no such URI.

        Requests:
            none
        """
        bucket_name, key = parse_uri(uri)
        return self.bucket(bucket_name).object(key)

    def objects_from(
        self, message: bytes | str | Mapping[str, Any], *, buckets: Iterable[str] | None = None
    ) -> list[S3Object]:
        """Handles on the objects that a message says are in S3, each pinned to what the message is about.

        Args:
            message: What :func:`~messageflux_s3.parse_event` reads.
            buckets: The buckets of interest; events of others are left out. None for all: messages are written by others, so name yours.

        Returns:
            One handle for each event whose object is there: none for deletions and expiries. Each is for the version that the event names,
            or reads under If-Match with its etag; size and etag are known as far as the message tells them.

        Raises:
            TypeError: The message is neither bytes, text nor a mapping, or ``buckets`` is one text.
            ValueError: The message is not JSON, or a record of it is broken; its ``events`` are those of the other records
                (``objects_from(event.raw)`` gives their handles).

        Requests:
            none

        Example:
            >>> place = {"bucket": {"name": "inbox"}, "object": {"key": "red+flower.jpg", "size": 3, "eTag": "abc"}}
            >>> [obj] = store.objects_from({"Records": [{"eventName": "ObjectCreated:Put", "s3": place}]}, buckets=["inbox"])
            >>> obj.key, obj.size, obj.etag
            ('red flower.jpg', 3, 'abc')
        """
        if isinstance(buckets, (str, bytes)):
            raise TypeError("buckets must be several names: for one, write [name]")
        wanted = None if buckets is None else frozenset(buckets)
        return [
            S3Object._of(
                S3Bucket._existing(event.bucket, self),
                event.key,
                event.version_id,
                head=Head(size=event.size, etag=event.etag, version_id=event.version_id),
                pinned_etag=event.etag if event.version_id is None else None,
            )
            for event in parse_event(message)
            if event.kind not in ("removed", "expired", "lost") and (wanted is None or event.bucket in wanted)
        ]

    def show(self) -> Rendered:
        """The buckets of the account, with their creation dates and regions.

        Raises:
            S3AccessDenied: These credentials may not list buckets.

        Requests:
            1 per 10,000 buckets
        """
        connection = self._connection
        return show.tabulate_buckets([*buckets.list_all(connection)], connection.endpoint_url, connection.region)

    def _repr_html_(self) -> str:
        return show.summarize_store(self.config, self.is_online).html

    # -- Python's own -------------------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return f"S3Store({self.config!r})"

    def __eq__(self, other: builtins.object) -> bool:
        return self._connection is other._connection if isinstance(other, S3Store) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.config)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self._connection)


def _rebuild(cls: type[S3Store], connection: Connection) -> S3Store:
    store = cls.__new__(cls)
    store._connection = connection
    connection.attach(store)
    return store


_default: S3Store | None = None


def initialize(config_or_store: S3Config | S3Store) -> S3Store:
    """Set the store that ``default_store()`` gives everywhere in this process.

    Args:
        config_or_store: A store, or the configuration of one.

    Returns:
        The store.

    Requests:
        none
    """
    global _default
    _default = config_or_store if isinstance(config_or_store, S3Store) else S3Store(config_or_store)
    return _default


def default_store() -> S3Store:
    """The store that ``initialize()`` set.

    Raises:
        S3NotInitializedError: Nobody has called ``initialize()`` yet.

    Requests:
        none
    """
    if _default is None:
        raise S3NotInitializedError("no default store yet: call initialize(config_or_store) first")
    return _default


def is_initialized() -> bool:
    """Whether ``initialize()`` was called. Requests: none."""
    return _default is not None
