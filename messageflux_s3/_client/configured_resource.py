"""The boto3 resource of a configuration, and the order of precedence of its settings.

The order is: a field of ``S3Config``, its ``config``, the default client config of the boto3 session, the profile or the environment, and
finally this library's own defaults. botocore itself reads the profile and the environment, but only for settings that the client's
``Config`` does not have. So a default of this library is put into the ``Config`` only if no other place has that setting.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import botocore
from botocore.config import Config

from .._http.eligibility import USER_AGENT
from . import capabilities as abilities
from . import client_options, credentials
from .config import S3Config, check_url

if TYPE_CHECKING:
    import boto3
    import botocore.session
    from mypy_boto3_s3 import S3ServiceResource

_CONNECT_TIMEOUT = 10.0
_MAX_ATTEMPTS = 4
_MAX_CONCURRENCY = 16
_FEWEST_CONNECTIONS = 10
_CHECKSUMS = {
    "request_checksum_calculation": "AWS_REQUEST_CHECKSUM_CALCULATION",
    "response_checksum_validation": "AWS_RESPONSE_CHECKSUM_VALIDATION",
}
"""The two checksum policies, and the environment variable of each."""


def make(config: S3Config) -> S3ServiceResource:
    """Return a new boto3 resource with a new client.

    Requests:
        none
    """
    session = credentials.make_session(config)
    resource = _make(config, session, config.endpoint_url)
    endpoint_url = resource.meta.client.meta.endpoint_url
    check_url("the endpoint in boto3's own settings", endpoint_url)
    if config.endpoint_url is None and abilities.preset_for(endpoint_url) != "aws":
        # The endpoint comes from boto3's own settings and is known only now; the checksum policy depends on it.
        resource = _make(config, session, endpoint_url)
    return resource


def max_concurrency(config: S3Config) -> int:
    """Return the largest number of requests through boto3 at a time. No client is built."""
    if config.max_concurrency is not None:
        return config.max_concurrency
    core = None if config.boto3_session is None else config.boto3_session._session
    pool = client_options.find(_chosen_in_code(config, core), "max_pool_connections")
    return _MAX_CONCURRENCY if pool is None else max(1, int(pool[0]))


def _chosen_in_code(config: S3Config, core: botocore.session.Session | None) -> client_options.Options:
    """Return the options of ``config``, and those of the session's default client config that ``config`` does not set."""
    defaults = None if core is None else core.get_default_client_config()
    return client_options.merge(None if defaults is None else client_options.canonical(defaults), config._options)


def _make(config: S3Config, session: boto3.Session, endpoint_url: str | None) -> S3ServiceResource:
    kind = abilities.KINDS[abilities.resolve_preset(config.preset, endpoint_url)]
    core = session._session
    options = client_options.to_mapping(_chosen_in_code(config, core))
    region = config.region
    if region is None and endpoint_url is not None and not (options.get("region_name") or session.region_name):
        region = kind.region
    _set_fields(options, config)
    _set_defaults(options, config, core, config.capabilities or kind.capabilities)
    return session.resource(
        "s3",
        endpoint_url=endpoint_url,
        region_name=region,
        verify=None if config.verify is True else config.verify,
        config=Config(**options),
    )


def _set_fields(options: dict[str, Any], config: S3Config) -> None:
    """Set the options that are fields of the configuration."""
    for name in ("connect_timeout", "read_timeout"):
        if getattr(config, name) is not None:
            options[name] = getattr(config, name)
    if config.max_attempts is not None:
        options.setdefault("retries", {})["total_max_attempts"] = config.max_attempts
    if config.anonymous:
        options["signature_version"] = botocore.UNSIGNED
    if config.addressing_style is not None:
        options.setdefault("s3", {})["addressing_style"] = config.addressing_style
    if config.max_concurrency is not None:
        options["max_pool_connections"] = max(
            config.max_concurrency, options.get("max_pool_connections") or _FEWEST_CONNECTIONS
        )


def _set_defaults(
    options: dict[str, Any], config: S3Config, core: botocore.session.Session, known: abilities.Capabilities
) -> None:
    """Set this library's defaults for settings that are not in the options, the profile or the environment."""
    of_profile = core.get_scoped_config()
    of_s3 = core.get_config_variable("s3") or {}

    def is_set(name: str, variable: str) -> bool:
        return name in options or variable in os.environ or name in of_profile or name in core.instance_variables()

    retries, s3 = options.setdefault("retries", {}), options.setdefault("s3", {})
    options.setdefault("user_agent_extra", USER_AGENT)
    options.setdefault("max_pool_connections", _MAX_CONCURRENCY)
    if not is_set("defaults_mode", "AWS_DEFAULTS_MODE"):  # a defaults mode sets the timeout and the retry mode
        options.setdefault("connect_timeout", _CONNECT_TIMEOUT)
        if not is_set("retry_mode", "AWS_RETRY_MODE"):
            retries.setdefault("mode", "standard")
    if not is_set("max_attempts", "AWS_MAX_ATTEMPTS"):
        retries.setdefault("total_max_attempts", _MAX_ATTEMPTS)
    if not is_set("auth_scheme_preference", "AWS_AUTH_SCHEME_PREFERENCE") and not of_s3.get("signature_version"):
        options.setdefault("signature_version", "s3v4")
    if config.capabilities is not None and config.capabilities.addressing_style and not of_s3.get("addressing_style"):
        s3.setdefault("addressing_style", config.capabilities.addressing_style)
    if not known.checksums:
        for name, variable in _CHECKSUMS.items():
            if not is_set(name, variable):
                options[name] = "when_required"
