"""Whether a store returns the names of user metadata as they were sent.

Every store keeps letters, digits and ``-``. Ceph's radosgw turns ``_`` into ``-``, and some proxies drop a header with ``_`` in its name.
So on a store that is not AWS each other character is tried once, in the metadata of a scratch object, before a name with it is sent.
Metadata that would come back under another name is refused; what other clients wrote is read under the name that the store returns.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import partial

from .._client.addresses import ObjectAddress
from .._client.connection import Connection
from ..errors import S3Error, S3Unsupported
from .scratch import scratch_beside
from .single_flight import single_flight

_FACT = "characters in names of metadata"
_OTHER = re.compile(r"[^A-Za-z0-9-]")


def are_known_to_return(connection: Connection, names: Iterable[str]) -> bool:
    """Return whether no request and no error is due: the names are plain, or the store is known to return them. Requests: none."""
    characters = set(_OTHER.findall("".join(names)))
    return not characters or connection.is_aws or all(map(_kept(connection).get, characters))


def require(address: ObjectAddress, names: Iterable[str]) -> None:
    """Raise unless the store returns these names of metadata unchanged.

    Args:
        address: The object that is to be written; the scratch object is in the same folder.
        names: The names.

    Raises:
        S3Unsupported: It returns a name changed, or not at all, or rejects it. Nothing was written.

    Requests:
        none for letters, digits and ``-``, and on AWS; else 1 PUT, 1 HEAD and 1 DELETE for each other character, once for each store, and
        once for each folder 3 GET (see ``leftovers.py``)
    """
    names = list(names)
    if are_known_to_return(address.connection, names):
        return
    kept = _kept(address.connection)
    for name in names:
        for character in _OTHER.findall(name):
            if character not in kept:
                with single_flight(address.connection, _FACT) as turn:
                    if character not in kept:
                        returns = partial(_returns, address, f"mfs3{character}name")
                        kept[character] = turn.ask(returns, details=(address.bucket_name, character))
            if not kept[character]:
                raise S3Unsupported(
                    f"metadata name {name!r} of {address.uri}: this store does not return names with {character!r} as they were sent. "
                    "Nothing was written. Use letters, digits and '-'.",
                    operation="PutObject",
                    bucket=address.bucket_name,
                    key=address.key,
                )


def _kept(connection: Connection) -> dict[str, bool]:
    kept: dict[str, bool] = connection.facts.setdefault(_FACT, {})
    return kept


def _returns(address: ObjectAddress, name: str) -> bool:
    """Write a scratch object with this name in its metadata, and return whether a HEAD has the name."""
    with scratch_beside(address, {}) as requests:
        key = requests.new_key()
        try:
            requests.write("PutObject", key, Body=b"", Metadata={name: "1"})
            found = requests.call("HeadObject", key).get("Metadata") or {}
        except S3Error as error:
            if error.retryable or error.status != 400:  # 400: the store rejects the name itself
                raise
            return False
    return name in map(str.lower, found)
