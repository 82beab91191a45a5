"""S3Config: the settings of a connection, as one frozen value.

It can be compared, hashed (clients are cached by it), printed (without secrets) and pickled (without secrets, by default).
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast
from urllib.parse import urlsplit

from .._formats.plain import plain
from . import client_options
from .capabilities import PRESETS, Capabilities, Preset

if TYPE_CHECKING:
    import boto3
    from botocore.config import Config

CredentialsFunction = Callable[[], Mapping[str, Any]]
"""Returns a mapping: ``access_key``, ``secret_key`` and, if they apply, ``session_token`` and ``expires_at`` (datetime or ISO 8601)."""

AddressingStyle = Literal["auto", "path", "virtual"]

_OPTIONS = {
    "region": "region_name",
    "addressing_style": "s3.addressing_style",
    "connect_timeout": "connect_timeout",
    "read_timeout": "read_timeout",
    "max_attempts": "retries.total_max_attempts",
}
"""The fields that botocore's ``Config`` has too, and their names there."""


@dataclass(frozen=True, slots=True, repr=False)
class S3Config:
    """The settings of a connection. Frozen and hashable; its ``repr`` never contains secrets.

    For a setting that boto3 has too, the first of these places that sets it wins: the field here, ``config``, the default client config of
    ``boto3_session``, the profile or the environment, and finally this library's own default.

    Attributes:
        endpoint_url: ``http(s)://host[:port]`` of the store; None for the endpoint in boto3's own settings, else AWS.
        access_key: Access key ID; must be given together with ``secret_key``.
        secret_key: Secret access key.
        session_token: Session token of temporary keys.
        credentials: A callable in place of keys; called at first use, before the keys expire, and after ``reload_credentials()``.
        region: Region name; None for boto3's own setting, or if there is none and an endpoint is given, ``us-east-1`` (R2: ``auto``).
        profile: Name of an AWS profile.
        boto3_session: A boto3 session to take credentials and settings from.
        preset: The kind of store; ``"auto"`` decides by the host name.
        addressing_style: ``"path"``, ``"virtual"``, or ``"auto"`` for boto3's choice; None for boto3's own settings, else what a probe
            has found.
        connect_timeout: Seconds to wait for a connection; None for boto3's own settings, else 10.
        read_timeout: Seconds to wait for the next bytes of a response; None for boto3's own settings, else 60.
        max_attempts: The largest number of times that boto3 sends a request, including the first. An attempt on the fast lane may precede
            them. None for boto3's own settings
            (``AWS_MAX_ATTEMPTS``, ``max_attempts`` of a profile), else 4.
        max_concurrency: The largest number of requests through boto3, and of parts of one transfer, at a time; for small objects the fast
            lane sends 64, and up to 192 where that is faster. None for ``max_pool_connections`` of ``config``, else 16. The races of a
            probe, also of that before a first conditional write, send 8 requests at a time in any case: fewer would prove nothing.
        verify: True, False, or the path of a CA bundle for TLS.
        public_url: Base URL of public access to the objects (a CDN, say), for ``url``.
        pickle_secrets: Whether pickles of this configuration, and of handles that use it, contain its secrets.
        capabilities: The result of ``probe()``.
        config: A botocore ``Config`` with further settings of the client. Kept as a tuple of the options that were set.
        anonymous: Whether requests are sent unsigned, for public buckets; no credentials are looked for.
        request_payer: Whether all requests say that their sender pays for them, as Requester Pays buckets demand.
        expected_bucket_owner: The account ID, 12 digits, to which every bucket must belong; AWS refuses requests for other buckets.
        lane: Whether the fast lane may be used; if not, all requests go through boto3.

    Example:
        >>> s3.S3Config("https://minio.example", access_key="reader", secret_key="hush")
        S3Config(endpoint_url='https://minio.example', access_key='read…', secret_key='…')
    """

    endpoint_url: str | None = None
    access_key: str | None = None
    secret_key: str | None = None
    session_token: str | None = None
    credentials: CredentialsFunction | None = None
    region: str | None = None
    profile: str | None = None
    boto3_session: boto3.Session | None = None
    preset: Preset = "auto"
    addressing_style: AddressingStyle | None = None
    connect_timeout: float | None = None
    read_timeout: float | None = None
    max_attempts: int | None = None
    max_concurrency: int | None = None
    verify: bool | str = True
    public_url: str | None = None
    pickle_secrets: bool = False
    capabilities: Capabilities | None = None
    config: Config | client_options.Options | None = None
    anonymous: bool = False
    request_payer: bool = False
    expected_bucket_owner: str | None = None
    lane: bool = True
    # True only after unpickling without secrets; then `access_key` is the one that the original store used, if it was known.
    _withheld: bool = field(default=False)

    def __post_init__(self) -> None:
        for entry in fields(self):
            if isinstance(text := getattr(self, entry.name), str):
                object.__setattr__(self, entry.name, plain(text))
        check_url("endpoint_url", self.endpoint_url)
        check_url("public_url", self.public_url)
        for name in ("access_key", "secret_key", "session_token", "region", "profile"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or not value):
                raise TypeError(f"{name} must be text that is not empty, or None, not {type(value).__name__}")
            check_one_line(name, value)
        if not self._withheld and (self.access_key is None) != (self.secret_key is None):
            raise ValueError("access_key and secret_key must be given together")
        if self.session_token is not None and self.access_key is None:
            raise ValueError("session_token needs access_key and secret_key")
        given = [
            name
            for name in ("access_key", "credentials", "profile", "boto3_session")
            if getattr(self, name) is not None
        ]
        if len(given) > 1 and not self._withheld:
            raise ValueError(f"{' and '.join(given)} each give credentials; give one of them")
        if self.credentials is not None and not callable(self.credentials):
            raise TypeError(f"credentials must be a callable that returns keys, not {type(self.credentials).__name__}")
        if self.boto3_session is not None and not hasattr(self.boto3_session, "get_credentials"):
            raise TypeError(f"boto3_session must be a boto3 Session, not {type(self.boto3_session).__name__}")
        if self.preset not in PRESETS:
            raise ValueError(f"preset must be one of {', '.join(PRESETS)}, not {self.preset!r}")
        if self.addressing_style not in (None, "auto", "path", "virtual"):
            raise ValueError(
                f"addressing_style must be 'auto', 'path' or 'virtual', or None, not {self.addressing_style!r}"
            )
        for name in ("connect_timeout", "read_timeout"):
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
                raise ValueError(f"{name} must be a positive number of seconds, not {value!r}")
        for name in ("max_attempts", "max_concurrency"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}")
        if isinstance(self.verify, Path):
            object.__setattr__(self, "verify", str(self.verify))
        if not isinstance(self.verify, (bool, str)):
            raise TypeError(f"verify must be True, False or the path of a CA bundle, not {type(self.verify).__name__}")
        if self.verify == "":
            raise ValueError("verify must be True, False or the path of a CA bundle, not empty text")
        if self.capabilities is not None and not isinstance(self.capabilities, Capabilities):
            raise TypeError(
                f"capabilities must be a Capabilities, as probe() returns it, not {type(self.capabilities).__name__}"
            )
        for name in ("pickle_secrets", "anonymous", "request_payer", "lane"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be True or False, not {getattr(self, name)!r}")
        check_account("expected_bucket_owner", self.expected_bucket_owner)
        if self.config is not None:
            object.__setattr__(self, "config", client_options.canonical(self.config) or None)
            self._check_contradictions()
        self._check_anonymous()

    def _check_anonymous(self) -> None:
        """Check that ``anonymous``, the signature version in ``config``, the keys and ``request_payer`` do not contradict each other.

        Raises:
            ValueError: They contradict each other.
        """
        signature = client_options.find(self._options, "signature_version")
        is_unsigned = signature == (client_options.UNSIGNED,)
        if self.anonymous and signature is not None and not is_unsigned:
            raise ValueError(
                f"anonymous=True contradicts config=Config(signature_version={signature[0]!r}); give one of them"
            )
        if not (self.anonymous or is_unsigned):
            return
        told = "anonymous=True" if self.anonymous else "config=Config(signature_version=UNSIGNED)"
        if self.request_payer and not self._withheld:
            raise ValueError(f"{told} contradicts request_payer=True: an unsigned request names no account to charge")
        keys = [name for name in ("access_key", "credentials") if getattr(self, name) is not None]
        if keys and not self._withheld:
            raise ValueError(f"{told} sends requests without a signature, so {keys[0]} must not be given")

    @property
    def _of_every_request(self) -> dict[str, str]:
        """boto3's parameters for every request whose operation accepts them."""
        found = {"RequestPayer": "requester"} if self.request_payer else {}
        return (
            found
            if self.expected_bucket_owner is None
            else {**found, "ExpectedBucketOwner": self.expected_bucket_owner}
        )

    @property
    def _options(self) -> client_options.Options | None:
        """``config`` in its canonical form."""
        return cast("client_options.Options | None", self.config)

    def _check_contradictions(self) -> None:
        """Check that the fields do not contradict the same settings in ``config``.

        Raises:
            ValueError: They contradict each other.
        """
        for name, path in _OPTIONS.items():
            value, found = getattr(self, name), client_options.find(self._options, path)
            if value is not None and found is not None and found[0] != value:
                option, _, key = path.partition(".")
                there = f"{option}={{{key!r}: {found[0]!r}}}" if key else f"{option}={found[0]!r}"
                raise ValueError(f"{name}={value!r} contradicts config=Config({there}); give one of them")
        pool = client_options.find(self._options, "max_pool_connections")
        if self.max_concurrency is not None and pool is not None and pool[0] < self.max_concurrency:
            raise ValueError(
                f"max_concurrency={self.max_concurrency} contradicts config=Config(max_pool_connections={pool[0]}): so many requests "
                "cannot be sent at a time; give one of them"
            )

    def replace(self, **changes: Any) -> S3Config:
        """Return a copy with some fields changed.

        Args:
            changes: Fields and their new values.

        Raises:
            TypeError: There is no such field.

        Requests:
            none

        Example:
            >>> s3.S3Config(region="eu-central-1").replace(max_attempts=1)
            S3Config(region='eu-central-1', max_attempts=1)
        """
        if self._withheld and {"access_key", "secret_key", "credentials", "profile", "boto3_session"} & changes.keys():
            changes = {"access_key": None, "_withheld": False, **changes}
        return replace(self, **changes)

    def _overriding(self, **changes: Any) -> S3Config:
        """Return a copy with some fields changed. The options of ``config`` that contradict them are dropped."""
        paths = [_OPTIONS[name] for name, value in changes.items() if name in _OPTIONS and value is not None]
        return self.replace(config=client_options.without(self._options, paths), **changes)

    def __repr__(self) -> str:
        shown = []
        for entry in fields(self):
            value = getattr(self, entry.name)
            if value == entry.default or entry.name == "_withheld":
                continue
            if entry.name in ("secret_key", "session_token"):
                shown.append(f"{entry.name}='…'")
            elif entry.name == "access_key":
                shown.append(f"access_key='{value[:4]}…'")
            elif entry.name == "capabilities":
                shown.append("capabilities=Capabilities(…)")
            elif entry.name == "config":
                shown.append(f"config={client_options.describe(value)}")
            elif entry.name == "credentials":  # the repr of a partial or of an object could contain keys
                shown.append(f"credentials={getattr(value, '__qualname__', type(value).__name__)}")
            else:
                shown.append(f"{entry.name}={value!r}")
        return f"S3Config({', '.join(shown)})"

    def __copy__(self) -> S3Config:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> S3Config:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self._portable_fields(),)

    def _portable_fields(self) -> dict[str, Any]:
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        session = values.pop("boto3_session")
        if session is not None:
            self._keep_settings(session, values)
        is_unsigned = self.anonymous or client_options.find(values["config"], "signature_version") == (
            client_options.UNSIGNED,
        )
        if not self.pickle_secrets:
            values["config"] = client_options.without_secrets(values["config"])
        if (
            session is not None
        ):  # a session cannot be pickled: keep its access key, by which the other process recognises the account
            live = None if is_unsigned else session.get_credentials()
            values.update(profile=None, access_key=live.access_key if live else None, _withheld=True)
            if self.pickle_secrets and live:
                frozen = live.get_frozen_credentials()
                values.update(secret_key=frozen.secret_key, session_token=frozen.token, _withheld=False)
            if (
                client_options.find(values["config"], "region_name") is None
            ):  # else that region wins, as in this process
                values["region"] = self.region or session.region_name
        elif self.credentials is not None and not is_picklable(self.credentials):
            values.update(credentials=None, _withheld=True)
        elif self.credentials is not None and not self.pickle_secrets:
            # Pickle the function's name only: cloudpickle (used by Dask) pickles a notebook's function by value, with the keys in it.
            values["credentials"] = (self.credentials.__module__, self.credentials.__qualname__)
        elif self.secret_key is not None and not self.pickle_secrets:
            values.update(secret_key=None, session_token=None, _withheld=True)
        return values

    def _keep_settings(self, session: boto3.Session, values: dict[str, Any]) -> None:
        """Set the fields of a pickle to what the session says: its default client config, its profile, and this environment.

        The other process does not have the session. Without the endpoint of its profile, requests would reach another store.
        """
        core = session._session
        defaults = core.get_default_client_config()
        in_code = client_options.merge(None if defaults is None else client_options.canonical(defaults), None)
        said = [path for name, path in _OPTIONS.items() if values[name] is not None]
        pool = client_options.find(in_code, "max_pool_connections")
        if pool is not None and self.max_concurrency is not None and pool[0] < self.max_concurrency:
            said.append("max_pool_connections")
        kept = client_options.without(client_options.merge(client_options.of_settings(core), in_code), said)
        values["config"] = client_options.merge(kept, self._options) or None
        if self.endpoint_url is None:
            values["endpoint_url"] = client_options.endpoint_of_settings(core, values["config"])
            check_url("the endpoint in boto3's own settings", values["endpoint_url"])


def _rebuild(values: dict[str, Any]) -> S3Config:
    if isinstance(values["credentials"], tuple):
        found = _named(*values["credentials"])
        values = {**values, "credentials": found, "_withheld": found is None}
    return S3Config(**values)


def _named(module: str, name: str) -> CredentialsFunction | None:
    """Return the function with this name; None if this process has no such function."""
    try:
        found: CredentialsFunction = attrgetter(name)(import_module(module))
    except (ImportError, AttributeError):
        return None
    return found


def is_picklable(function: CredentialsFunction) -> bool:
    """Return whether a callable is pickled by its name alone. The pickle of a partial or a bound method could hold secrets."""
    if getattr(function, "__self__", None) is not None or not hasattr(function, "__qualname__"):
        return False
    try:
        pickle.dumps(function)
    except (pickle.PicklingError, AttributeError, TypeError):
        return False
    return True


def check_one_line(name: str, value: object) -> None:
    """Reject a key or token with a line end or control character: HTTP libraries would show the value in their error message."""
    if isinstance(value, str) and not value.isprintable():
        raise ValueError(
            f"{name} must be one line without control characters; was it read from a file together with its line end?"
        )


def check_account(name: str, account: object) -> None:
    """Check the ID of an AWS account."""
    if account is None:
        return
    if not isinstance(account, str):
        raise TypeError(f"{name} must be text of 12 digits, not {type(account).__name__}; a number loses leading zeros")
    if not (len(account) == 12 and account.isascii() and account.isdecimal()):
        raise ValueError(f"{name} must be the ID of an AWS account, 12 digits without hyphens, not {account!r}")


_HOST = re.compile(
    r"localhost(:\d{1,5})?/?|[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63}){1,10}(:\d{1,5})?/?|(\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9-]{1,63}):\d{1,5}/?"
)
"""A host with a dot or a port, without a scheme."""


def _with_scheme(host: str) -> str:
    """Return the URL that a host without a scheme most likely means: HTTP for an IP address or a name without dots, except at port 443."""
    name, _, port = host.rstrip("/").rpartition(":")
    if not port.isdigit():
        name, port = host.rstrip("/"), ""
    is_local = "." not in name or re.fullmatch(r"[\d.]+", name) is not None
    return f"{'http' if is_local and port != '443' else 'https'}://{host}"


def check_url(name: str, url: str | None) -> None:
    """Validate a URL; never echo it, it may hold credentials."""
    if url is None:
        return
    if not isinstance(url, str):
        raise TypeError(f"{name} must be text like 'https://host:port', not {type(url).__name__}")
    if (
        not url.isprintable() or " " in url or "\\" in url
    ):  # urlsplit() drops line ends; a browser takes a backslash for a slash
        raise ValueError(
            f"{name} must look like 'https://host:port', without blanks, control characters or backslashes"
        )
    try:
        parts = urlsplit(url)
        well_formed = (
            parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
        )
    except ValueError:
        well_formed = False
    if not well_formed:
        # Only what is certainly a host is shown: any other text may be a key, passed as the wrong argument.
        meant = f"did you mean '{_with_scheme(url)}'?" if _HOST.fullmatch(url) else "this does not"
        raise ValueError(f"{name} must look like 'https://host:port'; {meant}")
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"{name} must not hold a user name or password; give access_key and secret_key")
    if parts.query or parts.fragment:
        raise ValueError(f"{name} must end with its host, port or path: no '?' or '#'")
