"""S3Config: the settings of a connection, as one frozen value.

It can be compared, hashed (clients are cached by it), printed (without secrets) and pickled (without secrets, by default).
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from .capabilities import PRESETS, Capabilities, Preset

if TYPE_CHECKING:
    import boto3

CredentialsFunction = Callable[[], Mapping[str, Any]]
"""Returns a mapping: ``access_key``, ``secret_key`` and, if they apply, ``session_token`` and ``expires_at`` (datetime or ISO 8601)."""

AddressingStyle = Literal["auto", "path", "virtual"]

CONNECT_TIMEOUT = 10.0
READ_TIMEOUT = 60.0
MAX_ATTEMPTS = 4
MAX_CONCURRENCY = 16


@dataclass(frozen=True, slots=True, repr=False)
class S3Config:
    """The settings of a connection. Frozen and hashable; its ``repr`` never contains secrets.

    Attributes:
        endpoint_url: ``http(s)://host[:port]`` of the store; None for the endpoint in boto3's own settings, else AWS.
        access_key: Access key id; together with ``secret_key``.
        secret_key: Secret access key.
        session_token: Session token of temporary keys.
        credentials: A callable in place of keys; called at first use, before expiry and on ``reload_credentials()``.
        region: Region name; None for boto3's own choice (``us-east-1`` on other endpoints).
        profile: Name of an AWS profile.
        boto3_session: A boto3 session to take credentials and settings from.
        preset: The kind of store; ``"auto"`` decides by the host name.
        addressing_style: ``"path"``, ``"virtual"``, or ``"auto"`` for boto3's choice.
        connect_timeout: Seconds to wait for a connection.
        read_timeout: Seconds to wait for the next bytes of a response.
        max_attempts: The largest number of times that a request is sent, including the first.
        max_concurrency: The largest number of requests through boto3 at a time, and the size of its connection pool; the fast lane sends
            up to 64.
        verify: True, False, or the path of a CA bundle for TLS.
        public_url: Base URL of public access to the objects (a CDN, say), for ``url``.
        pickle_secrets: Whether pickles of this configuration, and of handles that use it, contain its secrets.
        capabilities: The result of ``probe()``.

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
    addressing_style: AddressingStyle = "auto"
    connect_timeout: float = CONNECT_TIMEOUT
    read_timeout: float = READ_TIMEOUT
    max_attempts: int = MAX_ATTEMPTS
    max_concurrency: int = MAX_CONCURRENCY
    verify: bool | str = True
    public_url: str | None = None
    pickle_secrets: bool = False
    capabilities: Capabilities | None = None
    # True only after unpickling without secrets; then `access_key` is the one that the original store used, if it was known.
    _withheld: bool = field(default=False)

    def __post_init__(self) -> None:
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
        if self.preset not in PRESETS:
            raise ValueError(f"preset must be one of {', '.join(PRESETS)}, not {self.preset!r}")
        if self.addressing_style not in ("auto", "path", "virtual"):
            raise ValueError(f"addressing_style must be 'auto', 'path' or 'virtual', not {self.addressing_style!r}")
        for name in ("connect_timeout", "read_timeout"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
                raise ValueError(f"{name} must be a positive number of seconds, not {value!r}")
        for name in ("max_attempts", "max_concurrency"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
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
        if (
            session is not None
        ):  # a session does not pickle: take its access key, by which the other process recognises the account
            live = session.get_credentials()
            values.update(profile=None, access_key=live.access_key if live else None, _withheld=True)
            if self.pickle_secrets and live:
                frozen = live.get_frozen_credentials()
                values.update(secret_key=frozen.secret_key, session_token=frozen.token, _withheld=False)
            values["region"] = self.region or session.region_name
        elif self.credentials is not None and not is_picklable(self.credentials):
            values.update(credentials=None, _withheld=True)
        elif self.credentials is not None and not self.pickle_secrets:
            # Pickle the function's name only: cloudpickle (used by Dask) pickles a notebook's function by value, with the keys in it.
            values["credentials"] = (self.credentials.__module__, self.credentials.__qualname__)
        elif self.secret_key is not None and not self.pickle_secrets:
            values.update(secret_key=None, session_token=None, _withheld=True)
        return values


def _rebuild(values: dict[str, Any]) -> S3Config:
    if isinstance(values["credentials"], tuple):
        found = _named(*values["credentials"])
        values = {**values, "credentials": found, "_withheld": found is None}
    return S3Config(**values)


def _named(module: str, name: str) -> CredentialsFunction | None:
    """Return the function of this name; None if this process has none."""
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
    """Reject a key or token with a line end or control character: HTTP libraries would show the value in their error."""
    if isinstance(value, str) and not value.isprintable():
        raise ValueError(
            f"{name} must be one line without control characters; was it read from a file together with its line end?"
        )


def check_url(name: str, url: str | None) -> None:
    """Validate a URL; never echo it, it may hold credentials."""
    if url is None:
        return
    if not isinstance(url, str):
        raise TypeError(f"{name} must be text like 'https://host:port', not {type(url).__name__}")
    try:
        parts = urlsplit(url)
        well_formed = (
            parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
        )
    except ValueError:
        well_formed = False
    if not well_formed:
        raise ValueError(f"{name} must look like 'https://host:port'; this does not")
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"{name} must not hold a user name or password; give access_key and secret_key")
    if parts.query or parts.fragment:
        raise ValueError(f"{name} must end with its host, port or path: no '?' or '#'")
