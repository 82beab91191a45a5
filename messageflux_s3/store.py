"""S3Store and connect(): one account of one S3 service. A store returns buckets by name and objects by URI."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from ._client import buckets
from ._client.capabilities import Capabilities, Preset
from ._client.config import AddressingStyle, CredentialsFunction, S3Config
from ._client.connection import Connection
from ._client.observation import RequestSubscription, subscribe
from ._client.request_record import RequestEvent
from ._client.service_resource import client_of
from ._display import show
from ._display.observation import Observation
from ._formats.bucket_names import check_bucket_names
from ._formats.events import parse_event
from ._formats.head import Head
from ._formats.keys import parse_uri
from ._formats.render import Rendered
from ._http.lane import LaneStatus
from ._probe.probe import PROBED, probe
from .bucket import S3Bucket
from .errors import S3AuthenticationError, S3ConnectionError, S3Error, S3NotInitializedError
from .object import S3Object

if TYPE_CHECKING:
    import boto3
    from botocore.config import Config
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
    addressing_style: AddressingStyle | None = None,
    connect_timeout: float | None = None,
    read_timeout: float | None = None,
    max_attempts: int | None = None,
    max_concurrency: int | None = None,
    verify: bool | str = True,
    public_url: str | None = None,
    pickle_secrets: bool = False,
    config: Config | None = None,
    anonymous: bool = False,
    request_payer: bool = False,
    expected_bucket_owner: str | None = None,
    lane: bool = True,
) -> S3Store:
    """Return a store. Without arguments, the store is AWS S3 with credentials from boto3's chain.

    Args:
        endpoint_url: ``http(s)://host[:port]`` of the store; None for the endpoint in boto3's settings, else AWS.
        access_key: Access key ID; needs ``secret_key``.
        secret_key: Secret access key.
        session_token: Session token of temporary keys.
        credentials: A callable in place of keys. It returns a mapping with ``access_key``, ``secret_key`` and optionally
            ``session_token`` and ``expires_at``; it is called at first use, before expiry and after ``reload_credentials()``.
        region: Region name.
        profile: Name of an AWS profile.
        boto3_session: A boto3 session that provides credentials and settings.
        preset: The kind of store; ``"auto"`` derives it from the host name.
        addressing_style: ``"path"``, ``"virtual"``, or ``"auto"`` for boto3's choice; None for the style in boto3's own settings.
        connect_timeout: Seconds to wait for a connection; None for boto3's own settings, else 10.
        read_timeout: Seconds to wait for the next bytes of a response; None for boto3's own settings, else 60.
        max_attempts: The largest number of times that boto3 sends a request, including the first; an attempt on the fast lane may precede
            them. None for boto3's own settings, else 4.
        max_concurrency: The largest number of requests through boto3, and of parts of one transfer, at a time; for small objects the fast
            lane sends 64, and up to 192 where that is faster. None for ``max_pool_connections`` of ``config``, else 16. The races of a
            probe, also of that before a first conditional write, send 8 requests at a time in any case: fewer would prove nothing.
        verify: True, False, or the path of a CA bundle for TLS.
        public_url: Public base address of the objects, for ``url``; ``{bucket}`` in it stands for the name of the bucket.
        pickle_secrets: Whether pickles of the store and its handles contain its secrets.
        config: A botocore ``Config`` with further settings of the client: proxies, retries, dual-stack … A setting that is also an
            argument here may be given in one place only. Settings that are given in neither place come from the default client config of
            ``boto3_session``, from the profile or from the environment.
        anonymous: Whether to send unsigned requests, for public buckets. Credentials are not searched for and must not be given. URLs
            cannot be signed: ``presigned_url`` raises :class:`S3AuthenticationError`; use the plain ``url``.
        request_payer: Whether requests and presigned URLs state that the requester pays, as buckets with Requester Pays demand.
        expected_bucket_owner: The account ID (12 digits) that must own every bucket. AWS refuses requests for other buckets
            (:class:`S3AccessDenied`); other stores may ignore the ID. Every request that can carry it does, and so do presigned URLs.
        lane: Whether the fast lane may be used; with False all requests go through boto3.

    Returns:
        The store. Stores with the same configuration share one client.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is invalid, or two contradict each other.

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
            config=config,
            anonymous=anonymous,
            request_payer=request_payer,
            expected_bucket_owner=expected_bucket_owner,
            lane=lane,
        )
    )


class S3Store:
    """One account of one S3 service, made by :func:`connect`, from an :class:`S3Config`, or from a boto3 client or resource.

    Example:
        >>> store.create_bucket("scratch-7").put_object("a.txt", "hello").uri
        's3://scratch-7/a.txt'
        >>> store.object("s3://scratch-7/a.txt").text
        'hello'
    """

    _connection: Connection

    def __init__(self, config: S3Config) -> None:
        """Make a store for a configuration. Requests: none.

        Args:
            config: The configuration.
        """
        if not isinstance(config, S3Config):
            raise TypeError(
                f"config must be an S3Config, not {type(config).__name__}; connect() takes the fields themselves"
            )
        self._connection = Connection.open(config).for_store()
        self._connection.attach(self)

    @classmethod
    def from_resource(cls, boto3_s3_resource: S3ServiceResource | S3Client) -> Self:
        """Return a store that uses the client of a boto3 resource, unchanged.

        Args:
            boto3_s3_resource: A boto3 S3 resource or client.

        Raises:
            TypeError: ``boto3_s3_resource`` is neither a boto3 S3 resource nor a client.

        Requests:
            none
        """
        return cls._from_connection(Connection.from_boto3(boto3_s3_resource).for_store())

    @classmethod
    def from_client(cls, client: S3Client) -> Self:
        """Return a store that uses a boto3 client, unchanged: its credentials, settings and event handlers.

        Args:
            client: The client, as ``boto3.client("s3")`` returns it.

        Raises:
            TypeError: ``client`` is not a boto3 S3 client.

        Requests:
            none

        Example:
            >>> s3.S3Store.from_client(store.client).bucket("invoices")
            S3Bucket('invoices')
        """
        return cls._from_connection(Connection.from_boto3(client, "client").for_store())

    @classmethod
    def _from_connection(cls, connection: Connection) -> Self:
        self = cls.__new__(cls)
        self._connection = connection
        connection.attach(self)
        return self

    # -- connection ----------------------------------------------------------------------------------------------------------------

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
        """The boto3 resource with the same client. boto3's resources must not be shared between threads. Requests: none."""
        return self._connection.resource

    @property
    def lane(self) -> LaneStatus:
        """Whether small requests and the parts of large transfers use the fast lane (this library's HTTP client) or boto3, and why.

        Requests:
            none
        """
        return self._connection.lane.status

    @property
    def storage_options(self) -> dict[str, Any]:
        """The options with which fsspec, and libraries that use it, reach this store: ``pd.read_parquet(obj.fs_uri, storage_options=…)``.

        The options contain the store itself, so their ``repr`` shows no secrets; their pickles contain secrets if ``pickle_secrets=True``.

        Requests:
            none

        Example:
            >>> import fsspec
            >>> with fsspec.open(bucket["a.txt"].fs_uri, "w", **store.storage_options) as file:
            ...     _ = file.write("hello")
            >>> bucket["a.txt"].text
            'hello'
        """
        return {"store": self}

    @property
    def is_online(self) -> bool:
        """Whether the last operation received a response, even an error; False before the first one. Requests: none."""
        return self._connection.is_online

    def ping(self) -> bool:
        """Send a request to find out whether the store responds and accepts the credentials.

        Returns:
            True, even if listing buckets is denied; False if no response is received or the credentials are rejected.

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
        """Find out what this store supports, by experiments on scratch objects in a scratch bucket. Both are deleted afterwards.

        What an earlier probe left because its process was killed is deleted too, if it is an hour old by the store's own clock.

        Args:
            bucket_name: An existing bucket for the scratch objects, if these credentials may not create one. Its settings are not
                changed, so capabilities that need a change of settings stay unknown.

        Returns:
            The capabilities. ``S3Store(store.config.replace(capabilities=…))`` returns a store that relies on them. A question that
            could not be answered is None, and ``reasons`` says why.

        Raises:
            S3AccessDenied: These credentials may not create a bucket, and ``bucket_name`` is not given; or they may not write to it.
            S3ConnectionError: The store does not respond.

        Requests:
            about 60, and about 100 for each condition that the store honours, most of them concurrent writes; those of deleting what
            an earlier probe left

        Example:
            >>> store.probe().put_if_absent
            'honoured'
        """
        return probe(self._connection, bucket_name)

    def observe(self, tag: str | None = None) -> Observation:
        """Count the requests that the handles of this store send in a ``with`` block.

        Requests of other stores are not counted, even if those stores share this store's client. Requests that you send through ``client``
        or ``resource`` are not counted either. Blocks may be nested and may overlap.

        Args:
            tag: A name for the observation. With a name, it counts only operations that the block's own thread or task begins inside the
                block, or threads and tasks that the library or asyncio starts there. With None, it counts operations that any thread or
                task begins while the block is open.

        Returns:
            The observation, which is a context manager. ``print()`` or a notebook shows it as a table.

        Raises:
            TypeError: ``tag`` is neither a str nor None.

        Requests:
            none

        Example:
            >>> with store.observe() as seen:
            ...     objects = bucket.put_objects([("a", b"1"), ("b", b"2")])
            ...     found = [obj.body for obj in bucket.find()]
            >>> {name: totals.requests for name, totals in seen.operations.items()}
            {'GetObject': 2, 'ListObjectsV2': 1, 'PutObject': 2}
        """
        return Observation(self._connection.observers, tag)

    def on_request(self, callback: Callable[[RequestEvent], builtins.object]) -> RequestSubscription:
        """Call a function after each request that the handles of this store send.

        The function is called on the thread that received the response, which may run an event loop, so it should return quickly. An
        exception that it raises does not affect the request; the first one is logged. It is not called for requests that it sends itself.

        Args:
            callback: Called with one :class:`RequestEvent`; not a coroutine function.

        Returns:
            The subscription: its ``close()``, or the end of a ``with`` block, removes the callback.

        Raises:
            TypeError: ``callback`` cannot be called, or is a coroutine function.

        Requests:
            none

        Example:
            >>> events = []
            >>> subscription = store.on_request(events.append)
            >>> "a.txt" in bucket
            False
            >>> subscription.close()
            >>> [(event.operation, event.status, event.attempts) for event in events]
            [('HeadObject', 404, 1)]
        """
        return subscribe(self._connection.observers, callback)

    def reload_credentials(self) -> None:
        """Reload the credentials at the next request, from the callable, the profile, or boto3's chain.

        Raises:
            S3Unsupported: The store was made from a boto3 client or resource, which has its own credentials.

        Requests:
            none
        """
        self._connection.reload_credentials()

    def close(self) -> None:
        """Close the connections, unless another store uses the same client. A later request opens new ones. Requests: none."""
        self._connection.detach(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: builtins.object) -> None:
        self.close()

    # -- buckets and objects -------------------------------------------------------------------------------------------------------

    def bucket(self, name: str) -> S3Bucket:
        """Return the handle of a bucket, which may or may not exist.

        Args:
            name: The name of the bucket, also an old one (before 2018) with capitals or ``_``. Or the ARN of an access point, as
                boto3 accepts it: of a bucket, multi-region (needs ``botocore[crt]``), on Outposts, or of Object Lambda. boto3
                sends the requests through an ARN, never the fast lane.

        Raises:
            S3InvalidName: The name is not a valid bucket name.

        Requests:
            none
        """
        return S3Bucket._unchecked(name, self)

    def __getitem__(self, name: str) -> S3Bucket:
        """``store[name]``: the handle of a bucket. Requests: none."""
        return self.bucket(name)

    __iter__ = None  # not iterable: Python would call store[0], store[1] …; buckets() lists the buckets

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
            name: The name of the new bucket.
            lifetime_in_days: Number of days after which objects expire; None changes nothing, 0 or less cancels a lifetime.
            allow_public_access: Whether everybody may read and list the bucket.
            exist_ok: Whether to return the bucket if it exists already and belongs to this account.
            region: The region; None for that of the store.

        Raises:
            S3InvalidName: No bucket of this name can be created. Nothing was sent.
            S3BucketExists: The name is taken by another account or, with ``exist_ok=False``, by this one; or on AWS by a bucket in
                another region than ``region``.
            S3AccessDenied: The store denies access to the bucket or its creation, even with
                ``exist_ok``.
            S3Unsupported: The store, which is not AWS, names another region for the bucket than ``region``, or none. A bucket that
                this call has made is deleted again.
            S3Error: The lifetime or public access cannot be set, or the region cannot be read. A bucket that this call has made is
                deleted again, unless the error is temporary; the message says if it stands. In a bucket that existed before, the
                former lifecycle rules are restored; the message says if they are not.

        Requests:
            1 HEAD, 1 PUT if the bucket does not exist, and those of the lifetime and public access if requested; if these fail, 1 GET
            and 1 DELETE for a new bucket, and up to 4 reads and 3 writes to restore the lifecycle rules of another; for ``region`` 1
            GET on a store that is not AWS, and on AWS 1 HEAD if the bucket existed before
        """
        there = self
        if region is not None and region != self._connection.region:
            other = Connection.open(self._connection.config_in(region))
            there = S3Store._from_connection(other.for_store(self._connection.observers))
        return S3Bucket._make(there, name, lifetime_in_days, allow_public_access, exist_ok, region)

    def buckets(self, prefix: str | None = None, region: str | None = None) -> Iterator[S3Bucket]:
        """List the buckets of the account. The list of S3 does not include directory buckets: open them by name.

        Args:
            prefix: Prefix of the names; None for all buckets.
            region: The region of the buckets; None for all regions.

        Returns:
            The handles, with the creation dates cached.

        Raises:
            TypeError: An argument is not text.

        Requests:
            1 per 10,000 buckets; with ``region``, on a store whose list does not name regions, also 1 HEAD for each bucket, and 1 GET if
            the response does not name the region, both cached

        Example:
            >>> _ = store.create_bucket("reports-2026")
            >>> [bucket.name for bucket in store.buckets(prefix="reports-", region="us-east-1")]
            ['reports-2026']
        """
        for name, value in (("prefix", prefix), ("region", region)):
            if value is not None and not isinstance(value, str):
                raise TypeError(f"{name} must be text, not {type(value).__name__}")
        return S3Bucket._list(self, prefix or "", region)

    def object(self, uri: str) -> S3Object:
        """Return the handle of the object that a URI names.

        Args:
            uri: ``s3://bucket/key``. It is not percent-decoded: ``%20`` stands for itself. The ARN of an access point takes
                the place of the bucket, as in the AWS CLI: ``s3://arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME/key``.

        Raises:
            S3InvalidName: ``uri`` is not a valid S3 URI.

        Requests:
            none
        """
        bucket_name, key = parse_uri(uri)
        return self.bucket(bucket_name).object(key)

    def objects_from(
        self, message: bytes | str | Mapping[str, Any], *, buckets: Iterable[str] | None = None
    ) -> list[S3Object]:
        """Return handles of the objects in an event message, each pinned to the version or the etag in the message.

        Args:
            message: A message in a format that :func:`~messageflux_s3.parse_event` supports.
            buckets: Names of the expected buckets; events of other buckets are skipped. None accepts every bucket that
                a message names.

        Returns:
            One handle per event, but none for deleted, expired or lost objects. A handle is pinned to the version ID in the event; without
            one, reads, copies and moves raise S3ObjectChanged if the object no longer has the event's etag. Size and etag are cached if the
            message contains them.

        Raises:
            TypeError: The message is neither bytes, text nor a mapping, or ``buckets`` is not an iterable of names.
            S3InvalidName: ``buckets`` contains what cannot be a bucket's name.
            ValueError: The message is not JSON, or a record is invalid. The error's ``events`` are those of the other records
                (``objects_from(event.raw)`` returns their handles).

        Requests:
            none

        Example:
            >>> place = {"bucket": {"name": "inbox"}, "object": {"key": "red+flower.jpg", "size": 3, "eTag": "abc"}}
            >>> [obj] = store.objects_from({"Records": [{"eventName": "ObjectCreated:Put", "s3": place}]}, buckets=["inbox"])
            >>> obj.key, obj.size, obj.etag
            ('red flower.jpg', 3, 'abc')
        """
        wanted = None if buckets is None else check_bucket_names("buckets", buckets)
        return [
            S3Object._create(
                S3Bucket._unchecked(event.bucket, self),
                event.key,
                event.version_id,
                head=Head(size=event.size, etag=event.etag, version_id=event.version_id),
                # Writes without versioning replace the version "null", so that it does not identify the content.
                pinned_etag=event.etag if event.version_id in (None, "null") else None,
            )
            for event in parse_event(message)
            if event.kind not in ("removed", "expired", "lost") and (wanted is None or event.bucket in wanted)
        ]

    def show(self) -> Rendered:
        """Return a table of the buckets of the account, with their creation dates and regions.

        Raises:
            S3AccessDenied: These credentials may not list buckets.

        Requests:
            1 per 10,000 buckets
        """
        connection = self._connection
        return show.tabulate_buckets([*buckets.list_all(connection)], connection.endpoint_url, connection.region)

    def _repr_html_(self) -> str:
        return show.summarize_store(self.config, self.is_online, self._connection.facts.get(PROBED)).html

    # -- special methods -----------------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return f"S3Store({self.config!r})"

    def __eq__(self, other: builtins.object) -> bool:
        return self._connection.is_same_as(other._connection) if isinstance(other, S3Store) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.config)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self._connection)


def _rebuild(cls: type[S3Store], connection: Connection) -> S3Store:
    return cls._from_connection(connection)


_default: S3Store | None = None


def initialize(config_or_store: S3Config | S3Store | S3Client | S3ServiceResource) -> S3Store:
    """Set the store that ``default_store()`` returns in this process.

    Args:
        config_or_store: A store, a configuration, or a boto3 client or resource, which is used unchanged.

    Returns:
        The store.

    Raises:
        TypeError: The argument is none of these.

    Requests:
        none
    """
    global _default
    if isinstance(config_or_store, S3Store):
        _default = config_or_store
    elif client_of(config_or_store) is not None:
        _default = S3Store._from_connection(Connection.from_boto3(config_or_store, "config_or_store").for_store())
    else:
        _default = S3Store(cast("S3Config", config_or_store))
    return _default


def default_store() -> S3Store:
    """Return the store that ``initialize()`` set.

    Raises:
        S3NotInitializedError: ``initialize()`` was not called.

    Requests:
        none
    """
    if _default is None:
        raise S3NotInitializedError("no default store yet: call initialize(config_or_store) first")
    return _default


def is_initialized() -> bool:
    """Return whether ``initialize()`` was called. Requests: none."""
    return _default is not None
