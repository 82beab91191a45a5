"""Convert the options of a botocore ``Config`` to a tuple that can be compared, hashed and pickled, and back.

Only the options that were set are kept. A nested mapping (``s3``, ``retries``, ``proxies`` …) becomes a sorted tuple of its items, and
``botocore.UNSIGNED`` becomes its name. So equal settings are equal tuples, whatever objects they came from.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, TypeGuard
from urllib.parse import urlsplit, urlunsplit

import botocore
import botocore.exceptions
from botocore.config import Config
from botocore.configprovider import ConfiguredEndpointProvider

if TYPE_CHECKING:
    import botocore.session

Options = tuple[tuple[str, Any], ...]
"""The options that were set, sorted by name."""

UNSIGNED = "UNSIGNED"
"""The value of ``signature_version`` that stands for ``botocore.UNSIGNED``."""

_MAPPINGS = frozenset({"client_context_params", "proxies", "proxies_config", "retries", "s3"})
_MERGED = ("retries", "s3")
_MAY_BE_NONE = ("connect_timeout", "read_timeout")  # None is a value: no limit


def canonical(config: object) -> Options:
    """Return the options that were set in a botocore ``Config``.

    Args:
        config: The ``Config``, or the tuple that this function returned for one, or that tuple as a list (after a round trip through JSON).

    Raises:
        TypeError: The argument is neither, it names an unknown option, or an option has a value that cannot be hashed.
        ValueError: A tuple gives an option a value that botocore rejects.
    """
    if _is_options(config):
        try:
            config = to_config(config)  # checks the names and values
        except TypeError as error:
            raise TypeError(f"config does not hold the options of a botocore.config.Config: {error}") from error
        except (ValueError, botocore.exceptions.BotoCoreError) as error:
            raise ValueError(f"config does not hold the options of a botocore.config.Config: {error}") from error
    if not isinstance(config, Config):
        raise TypeError(f"config must be a botocore.config.Config, not {type(config).__name__}")
    given: Mapping[str, Any] = config._user_provided_options  # type: ignore[attr-defined]  # not in the stubs
    found = {
        name: getattr(config, name)
        for name, default in Config.OPTION_DEFAULTS.items()
        if name in given or (name != "inject_host_prefix" and getattr(config, name) != default)  # or assigned later
    }
    if isinstance(retries := found.get("retries"), Mapping):
        found["retries"] = _with_total_attempts(retries)
    options = tuple(
        (name, _freeze(value))
        for name, value in sorted(found.items())
        if (value is not None or name in _MAY_BE_NONE) and value != {}
    )
    try:
        hash(options)
    except TypeError as error:
        raise TypeError(f"config must hold plain values, mappings and lists: {error}") from None
    return options


def of_settings(session: botocore.session.Session) -> Options:
    """Return the options that a session's profile and the environment set: retries, FIPS, dual-stack, and those of the profile's ``s3``."""
    retries = {"total_max_attempts": session.get_config_variable("max_attempts")}
    if (
        "retry_mode" in session.get_scoped_config() or "AWS_RETRY_MODE" in os.environ
    ):  # else it is a default of botocore
        retries["mode"] = session.get_config_variable("retry_mode")
    found = {"retries": retries}
    for name in ("s3", "use_dualstack_endpoint", "use_fips_endpoint"):
        found[name] = session.get_config_variable(name)
    options = tuple((name, _freeze(value)) for name, value in sorted(found.items()) if value is not None)
    return tuple((name, value) for name, value in options if value != ())


def endpoint_of_settings(session: botocore.session.Session, options: Options | None) -> str | None:
    """Return the endpoint of S3 that a session's profile or the environment sets; None if neither does, or they are to be ignored."""
    ignored = find(options, "ignore_configured_endpoint_urls")
    if ignored[0] if ignored else session.get_config_variable("ignore_configured_endpoint_urls"):
        return None
    found: str | None = ConfiguredEndpointProvider(session.full_config, session.get_scoped_config(), "s3").provide()
    return found


def to_mapping(options: Options | None) -> dict[str, Any]:
    """Return the options as a new mapping, with new nested mappings, and with ``botocore.UNSIGNED`` itself."""
    found = {name: dict(value) if name in _MAPPINGS else value for name, value in options or ()}
    if found.get("signature_version") == UNSIGNED:
        found["signature_version"] = botocore.UNSIGNED
    return found


def to_config(options: Options) -> Config:
    """Return a new botocore ``Config`` with these options."""
    return Config(**to_mapping(options))


def merge(defaults: Options | None, options: Options | None) -> Options:
    """Return the options of both. Where both set one, the second wins; ``s3`` and ``retries`` are merged by key."""
    merged, later = dict(defaults or ()), dict(options or ())
    for name in _MERGED:
        if name in merged and name in later:
            later[name] = tuple(sorted({**dict(merged[name]), **dict(later[name])}.items()))
    return tuple(sorted({**merged, **later}.items()))


def find(options: Options | None, path: str) -> tuple[Any] | None:
    """Return an option's value in a tuple; None if it was not set.

    Args:
        options: The options.
        path: The option's name, or the names of a mapping and of a key in it: ``"s3.addressing_style"``.
    """
    name, _, key = path.partition(".")
    found = dict(options or ())
    if name not in found:
        return None
    if not key:
        return (found[name],)
    inner = dict(found[name])
    return (inner[key],) if inner.get(key) is not None else None


def without(options: Options | None, paths: Collection[str]) -> Options | None:
    """Return the options except some; None if none is left.

    Args:
        options: The options.
        paths: Paths of the options to leave out, as for :func:`find`.
    """
    left: dict[str, Any] = {}
    for name, value in options or ():
        if name in paths:
            continue
        kept = tuple(item for item in value if f"{name}.{item[0]}" not in paths) if name in _MAPPINGS else value
        if kept != ():
            left[name] = kept
    return tuple(left.items()) or None


def without_secrets(options: Options | None) -> Options | None:
    """Return the options without the user names and passwords of proxies."""
    if options is None:
        return None
    return tuple(
        (name, tuple((scheme, _without_user(url)) for scheme, url in value) if name == "proxies" else value)
        for name, value in options
    )


def describe(options: Options) -> str:
    """Return the options as text. The addresses of proxies are left out, since they may hold passwords."""
    shown = {
        name: "…" if name == "proxies" else repr(dict(value) if name in _MAPPINGS else value) for name, value in options
    }
    return f"Config({', '.join(f'{name}={value}' for name, value in shown.items())})"


def _is_options(value: object) -> TypeGuard[Options]:
    """Return whether a value is a tuple of options, or the list that JSON makes of it."""
    return isinstance(value, (tuple, list)) and all(
        isinstance(item, (tuple, list)) and len(item) == 2 and isinstance(item[0], str) for item in value
    )


def _freeze(value: Any) -> Any:
    if value is botocore.UNSIGNED:
        return UNSIGNED
    if isinstance(value, Mapping):
        return tuple(sorted((name, _freeze(inner)) for name, inner in value.items() if inner is not None))
    if isinstance(value, str):
        return str(value)  # the config of a client may hold botocore's own subclass of str
    return tuple(map(_freeze, value)) if isinstance(value, (list, tuple)) else value


def _with_total_attempts(retries: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``retries`` with ``total_max_attempts`` in place of ``max_attempts``, which does not count the first attempt."""
    found = {name: value for name, value in retries.items() if value is not None}
    again = found.pop("max_attempts", None)
    if again is not None:
        found.setdefault("total_max_attempts", again + 1)
    return found


def _without_user(url: Any) -> Any:
    if not isinstance(url, str) or "@" not in url:
        return url
    if "://" not in url:
        return url.rpartition("@")[2]
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
