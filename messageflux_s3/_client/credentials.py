"""Sources of a connection's credentials: keys, a callable, a profile, or (after unpickling without secrets) this process's own."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import boto3
import botocore
import botocore.session
from botocore.credentials import CredentialProvider, Credentials, DeferredRefreshableCredentials

from ..errors import S3AuthenticationError
from .config import CredentialsFunction, S3Config, check_one_line
from .core_sessions import new_core_session

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_NEVER_EXPIRES = "9999-12-31T23:59:59Z"


def make_session(config: S3Config) -> boto3.Session:
    """Return the boto3 session that holds a configuration's credentials: the user's own session, or a new one.

    Args:
        config: The configuration.

    Returns:
        The session. If the credentials are a callable, it is first called when a request is signed.
    """
    if config.boto3_session is not None:
        return config.boto3_session
    if config.access_key is not None and config.secret_key is not None:
        keys = (config.access_key, config.secret_key, config.session_token, config.region)
        return boto3.Session(*keys, botocore_session=new_core_session())
    core = new_core_session(config.profile)
    if config._withheld:
        provider: CredentialProvider = _SameAccountProvider(config.access_key, core)
    elif config.credentials is not None:
        provider = _CallableProvider(config.credentials)
    else:
        return boto3.Session(botocore_session=core)
    core.get_component("credential_provider").providers.insert(0, provider)
    return boto3.Session(botocore_session=core)


def function_for(client: S3Client) -> CredentialsFunction:
    """Return a callable for ``S3Config.credentials``; each call of it returns the client's current credentials.

    Args:
        client: The boto3 client.

    Raises:
        S3AuthenticationError: The client has no credentials.
    """
    source = client._get_credentials()  # type: ignore[attr-defined]
    if source is None or getattr(client.meta.config, "signature_version", None) is botocore.UNSIGNED:
        raise S3AuthenticationError("the boto3 resource has no credentials with which to act in another region")

    def credentials() -> dict[str, Any]:
        frozen = source.get_frozen_credentials()
        return {
            "access_key": frozen.access_key,
            "secret_key": frozen.secret_key,
            "session_token": frozen.token,
            "expires_at": getattr(source, "_expiry_time", None),
        }

    return credentials


class _CallableProvider(CredentialProvider):
    """A botocore credential provider that calls the user's function at first use and again before each expiry."""

    METHOD = "messageflux-s3-callable"
    CANONICAL_NAME = "messageflux-s3-callable"

    def __init__(self, function: CredentialsFunction) -> None:
        self._function = function

    def load(self) -> DeferredRefreshableCredentials:
        return DeferredRefreshableCredentials(self._fetch, self.METHOD)

    def _fetch(self) -> dict[str, Any]:
        returned = self._function()
        if not isinstance(returned, Mapping) or not returned.get("access_key") or not returned.get("secret_key"):
            raise S3AuthenticationError(
                "credentials must return a mapping with access_key and secret_key (and session_token, expires_at where they apply)"
            )
        for name in ("access_key", "secret_key", "session_token"):
            check_one_line(name, returned.get(name))
        expires = returned.get("expires_at") or _NEVER_EXPIRES
        if isinstance(expires, datetime):
            expires = (expires if expires.tzinfo else expires.replace(tzinfo=timezone.utc)).isoformat()
        return {
            "access_key": returned["access_key"],
            "secret_key": returned["secret_key"],
            "token": returned.get("session_token"),
            "expiry_time": expires,
        }


class _SameAccountProvider(CredentialProvider):
    """A botocore credential provider for a store that was pickled without its secrets.

    It accepts this process's own credentials only if their access key is the pickled one: with credentials of another
    account, requests would silently read and write that account's data.
    """

    METHOD = "messageflux-s3-withheld"
    CANONICAL_NAME = "messageflux-s3-withheld"

    def __init__(self, access_key: str | None, core: botocore.session.Session) -> None:
        self._access_key = access_key
        self._core = core

    def load(self) -> Credentials:
        for provider in self._core.get_component("credential_provider").providers:
            found = None if provider is self else provider.load()
            if found is not None and self._access_key is not None and found.access_key == self._access_key:
                return found  # type: ignore[no-any-return]
            if found is not None:
                break
        raise S3AuthenticationError(
            "this store was pickled without its secrets, and this process has no credentials with the same access key. "
            "Connect with pickle_secrets=True, set up the same credentials here, or connect again."
        )
