"""Detection of code that observes or replaces boto3's own on the way from a client's method to the socket.

Tracers, recorders and mocks patch functions and classes of botocore, urllib3 and http.client. What they put in place often passes for the
original: a proxy of wrapt returns the original's type, module, name and code as its own attributes, and compares equal to it. So a
function is taken for the original only if its real type is that of a function, and its code equals the code that its module was compiled
to; from then on it is compared by identity.
"""

from __future__ import annotations

import http.client
import logging
import sys
from functools import cache, partial
from operator import attrgetter, is_
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, SimpleNamespace
from typing import Any

import botocore.awsrequest
import botocore.client
import botocore.endpoint
import botocore.hooks
import botocore.httpsession
import botocore.parsers
import urllib3.connection
import urllib3.connectionpool

_OWNERS = SimpleNamespace(
    client=botocore.client.BaseClient,
    endpoint=botocore.endpoint.Endpoint,
    parser=botocore.parsers.ResponseParser,
    aliaser=botocore.hooks.EventAliaser,
    emitter=botocore.hooks.HierarchicalEmitter,
    session=botocore.httpsession.URLLib3Session,
    awsrequest=botocore.awsrequest,
    plain_pool=botocore.awsrequest.AWSHTTPConnectionPool,
    tls_pool=botocore.awsrequest.AWSHTTPSConnectionPool,
    connection=botocore.awsrequest.AWSConnection,
    urllib3=urllib3.connection.HTTPConnection,
    http=http.client.HTTPConnection,
)
# The parts whose replacement means that somebody observes, answers or counts requests. They are looked up on the class that boto3 uses, so
# that a replacement on a class that it inherits from is seen too.
_REQUIRED = (
    "client._make_api_call",
    "client._make_api_call.__code__",
    "session.send",
    "session.send.__code__",
    "awsrequest.AWSHTTPConnection",
    "awsrequest.AWSHTTPSConnection",
    "plain_pool.ConnectionCls",
    "tls_pool.ConnectionCls",
    "plain_pool.urlopen",
    "plain_pool.urlopen.__code__",
    "tls_pool.urlopen",
    "endpoint.make_request",
    "endpoint.prepare_request",
)
_OPTIONAL = (
    "client._make_request",
    "endpoint.create_request",
    "endpoint._send_request",
    "endpoint._get_response",
    "endpoint._do_get_response",
    "endpoint._send",
    "parser.parse",
    "aliaser.emit",
    "emitter._emit",
    "plain_pool._make_request",
    "connection.request",
    "urllib3.request",
    "urllib3.putrequest",
    "urllib3.getresponse",
    "http.request",
    "http._send_request",
    "http.putrequest",
    "http.endheaders",
    "http.send",
    "http.getresponse",
)
_LOGGERS = tuple(
    map(logging.getLogger, ("botocore.endpoint", "botocore.parsers", "botocore.auth", "urllib3.connectionpool"))
)


def _exists(path: str) -> bool:
    try:
        attrgetter(path)(_OWNERS)
    except AttributeError:
        return False
    return True


_PATHS = _REQUIRED + tuple(path for path in _OPTIONAL if _exists(path))
_find_parts = attrgetter(*_PATHS)
_originals: list[Any] = [None] * len(_PATHS)
"""The parts that were found to be the originals. Shared by all clients, since they share the classes."""


def replaced_part() -> str | None:
    """Return the name of a part of botocore, urllib3 or http.client that is not the original now; None if all are."""
    try:
        parts = _find_parts(_OWNERS)
    except (
        AttributeError
    ) as error:  # a replacement that has no code, or a part that this version of botocore does not have
        return f"a part of botocore ({error})"
    if all(map(is_, parts, _originals)):  # never by ==, which a proxy answers as the original would
        return None
    for at, (path, part) in enumerate(zip(_PATHS, parts, strict=True)):
        if part is not _originals[at]:
            of_code = path.removesuffix(".__code__")
            if not is_pristine(part if of_code == path else attrgetter(of_code)(_OWNERS)):
                owner, _, name = of_code.partition(".")
                found = getattr(_OWNERS, owner)
                return f"{getattr(found, '__qualname__', found.__name__)}.{name}"
            _originals[at] = part
    return None


def debug_logger() -> str | None:
    """Return the name of a logger that shows each of boto3's requests in detail now; None if none does."""
    for logger in _LOGGERS:
        if logger.isEnabledFor(logging.DEBUG) and logger.hasHandlers():
            return logger.name
    return None


def is_pristine(part: Any) -> bool:
    """Return whether a function or class is as botocore, urllib3 or the standard library defines it.

    Args:
        part: The function or class.
    """
    kind = type(part)
    if kind is FunctionType:
        module = part.__globals__.get("__name__", "")
        if not _is_known(module) or part.__code__ not in _codes(module):
            return False
        cells = [cell.cell_contents for cell in part.__closure__ or ()]  # what one of botocore's own decorators wraps
        return all(is_pristine(inner) for inner in cells if callable(inner) and type(inner) is not type)
    if kind in (staticmethod, classmethod):
        return is_pristine(part.__func__)
    if kind is partial:
        return is_pristine(part.func)
    if kind is type:
        return part is object or (
            _is_known(part.__module__)
            and all(map(_is_pristine_member, vars(part).values()))
            and all(map(is_pristine, part.__bases__))
        )
    return False


def _is_pristine_member(value: Any) -> bool:
    if type(value) in (staticmethod, classmethod):
        value = value.__func__
    kind = type(value)
    if kind is FunctionType:
        return is_pristine(value)
    return issubclass(kind, (BuiltinFunctionType, type)) or not callable(value)


def _is_known(module: str) -> bool:
    return module.partition(".")[0] in ("botocore", "urllib3", "http")


@cache
def _codes(module: str) -> frozenset[CodeType]:
    """Return the code of all functions of a module as it was compiled; nothing if its loader does not have it."""
    spec = getattr(sys.modules.get(module), "__spec__", None)
    get_code = getattr(getattr(spec, "loader", None), "get_code", None)
    try:
        code = get_code(module) if get_code is not None else None
    except (ImportError, OSError):  # the files were moved, or this process may no longer read them
        code = None
    found: set[CodeType] = set()
    pending = [code] if code is not None else []
    while pending:
        inner = [constant for constant in pending.pop().co_consts if type(constant) is CodeType]
        found.update(inner)
        pending += inner
    return frozenset(found)


def is_moto_active() -> bool:
    """Return whether a mock of moto (``mock_aws``) answers boto3's requests in this process now. Never imports moto."""
    stubber = getattr(sys.modules.get("moto.core.models"), "botocore_stubber", None)
    return getattr(stubber, "enabled", False) is True


def module_of(handler: Any) -> str:
    """Return the module that defines an event handler: where its code runs, not what it says of itself.

    Args:
        handler: A function, a method, a partial, or an object that can be called.
    """
    while True:
        kind: Any = type(handler)
        if kind is MethodType:
            handler = handler.__func__
        elif kind is partial:
            handler = handler.func
        elif kind is FunctionType:
            return str(handler.__globals__.get("__name__", ""))
        else:
            return str(kind.__module__)
