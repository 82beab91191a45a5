"""Restore an archived object for some days: RestoreObject."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from .._client.addresses import ObjectAddress
from ..errors import S3Error, S3Unsupported

RestoreTier: TypeAlias = Literal["Standard", "Bulk", "Expedited"]
"""How fast S3 restores: usually within 3 to 12 hours, 5 to 48 hours, or minutes (not from DEEP_ARCHIVE)."""

TIERS: tuple[str, ...] = ("Standard", "Bulk", "Expedited")
# Error codes of RestoreObject. A GET of an archived object fails with InvalidObjectState too; translate.py makes S3ObjectArchived of it.
_NOT_RESTORABLE = ("InvalidObjectState", "ObjectAlreadyInActiveTierError")
_NEVER_ARCHIVED = ("STANDARD", "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "GLACIER_IR", "EXPRESS_ONEZONE")


def restore(address: ObjectAddress, days: int | None, tier: RestoreTier) -> None:
    """Ask the store to restore an archived object.

    Args:
        address: The object, or one of its versions.
        days: Number of days for which the restored copy is kept; None for an object of INTELLIGENT_TIERING, which is moved back.
        tier: The speed of the restoration.

    Raises:
        TypeError: ``days`` is not a whole number.
        ValueError: ``days`` is less than 1, or the tier is unknown.
        S3NoSuchItem: There is no such object.
        S3Unsupported: The store, which is not AWS, does not archive this object or does not restore objects. Nothing was changed.
        S3Error: The object is not archived.

    Requests:
        1 POST; on a store that is not AWS also 1 HEAD before it and 1 after it
    """
    if days is not None and (isinstance(days, bool) or not isinstance(days, int)):
        raise TypeError(f"days must be a whole number, not {type(days).__name__}")
    if days is not None and days < 1:
        raise ValueError(f"days must be at least 1, not {days}")
    if tier not in TIERS:
        raise ValueError(f"tier must be one of {', '.join(TIERS)}, not {tier!r}")
    connection = address.connection
    if not connection.is_aws:
        # A store that ignores ?restore may take the POST for another operation, so send it only for an archived object.
        _check_archived(address)
    wanted: dict[str, Any] = {"GlacierJobParameters": {"Tier": tier}}
    if days is not None:
        wanted["Days"] = days
    try:
        connection.call("RestoreObject", **address.parameters, RestoreRequest=wanted)
    except S3Error as error:
        if error.code == "RestoreAlreadyInProgress":
            return
        if error.code not in _NOT_RESTORABLE:
            raise
        raise S3Error(
            f"RestoreObject on {address.uri}: the object is not archived, or this request cannot restore it: {error}",
            operation="RestoreObject", bucket=address.bucket_name, key=address.key, code=error.code, status=error.status,
            request_id=error.request_id,
        ) from error  # fmt: skip
    if not connection.is_aws and not _head(address).get("Restore"):
        raise _unsupported(address, "answered, but does not restore the object")


def _check_archived(address: ObjectAddress) -> None:
    storage_class = _head(address).get("StorageClass") or "STANDARD"
    if storage_class in _NEVER_ARCHIVED:
        raise _unsupported(address, f"does not archive this object: its storage class is {storage_class}")


def _head(address: ObjectAddress) -> dict[str, Any]:
    return address.connection.call("HeadObject", **address.parameters)


def _unsupported(address: ObjectAddress, why: str) -> S3Unsupported:
    return S3Unsupported(
        f"RestoreObject on {address.uri}: the store {why}",
        operation="RestoreObject", bucket=address.bucket_name, key=address.key,
    )  # fmt: skip
