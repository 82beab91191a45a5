"""?encryption: the default encryption of a bucket, for objects written without an encryption setting."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from .._formats.plain import plain
from . import xml
from .base import Change, SubResource
from .xml import Node, leaf

Algorithm = Literal["AES256", "aws:kms", "aws:kms:dsse"]


@dataclass(frozen=True, slots=True)
class Encryption:
    """A bucket's default encryption.

    Attributes:
        algorithm: ``"AES256"``, ``"aws:kms"`` …; None if there is no default encryption.
        kms_key_id: ID, ARN or alias of the KMS key.
        bucket_key: Whether S3 uses one data key for the bucket, which saves calls to KMS.
        unknown: Other elements of the rule; sent back unchanged.
        unknown_by_default: Other elements of ``ApplyServerSideEncryptionByDefault``; sent back unchanged.
        unknown_beside: Other elements of the document; sent back unchanged.
    """

    algorithm: str | None = None
    kms_key_id: str | None = None
    bucket_key: bool = False
    unknown: tuple[Node, ...] = ()
    unknown_by_default: tuple[Node, ...] = ()
    unknown_beside: tuple[Node, ...] = ()

    def __post_init__(self) -> None:
        for name in ("algorithm", "kms_key_id"):
            if isinstance(text := getattr(self, name), str):
                object.__setattr__(self, name, plain(text))
        if self.kms_key_id is not None and not (self.algorithm or "").startswith("aws:kms"):
            raise ValueError("kms_key_id needs algorithm 'aws:kms' or 'aws:kms:dsse'")

    @classmethod
    def from_api(cls, node: Node) -> Encryption:
        """Read a ``ServerSideEncryptionConfiguration`` document."""
        rule = node.get("Rule") or Node("Rule")
        default = rule.get("ApplyServerSideEncryptionByDefault") or Node("")
        algorithm, key = default.text_of("SSEAlgorithm"), default.text_of("KMSMasterKeyID")
        has_key = bool(key) and (algorithm or "").startswith("aws:kms")
        return cls(
            algorithm,
            key if has_key else None,
            (rule.text_of("BucketKeyEnabled") or "").lower() == "true",
            rule.without("ApplyServerSideEncryptionByDefault", "BucketKeyEnabled"),
            default.without("SSEAlgorithm", *(["KMSMasterKeyID"] if has_key or not key else [])),
            tuple(child for child in node.children if child is not rule),
        )

    def to_api(self) -> Node:
        """Return the ``ServerSideEncryptionConfiguration`` document."""
        default = [leaf("SSEAlgorithm", self.algorithm or "AES256")]
        default += [leaf("KMSMasterKeyID", self.kms_key_id)] if self.kms_key_id else []
        parts = [Node("ApplyServerSideEncryptionByDefault", children=(*default, *self.unknown_by_default))]
        parts += [leaf("BucketKeyEnabled", True)] if self.bucket_key else []
        rule = Node("Rule", children=(*parts, *self.unknown))
        return Node("ServerSideEncryptionConfiguration", children=(rule, *self.unknown_beside))

    def lines(self) -> list[str]:
        """Return one line per setting."""
        if self.algorithm is None:
            return []
        said = [f"algorithm: {self.algorithm}"]
        said += [f"key: {self.kms_key_id}"] if self.kms_key_id else []
        said += ["bucket key: yes"] if self.bucket_key else []
        unknown = (*self.unknown, *self.unknown_by_default, *self.unknown_beside)
        return [*said, *(line for node in unknown for line in node.lines())]


class BucketEncryption(SubResource[Encryption]):
    """``bucket.encryption``: the bucket's default encryption.

    Example:
        >>> _ = bucket.encryption.ensure("AES256")
        >>> bucket.encryption.get().algorithm
        'AES256'
    """

    name = "encryption"
    _value = Encryption
    _get = "GetBucketEncryption"
    _put = "PutBucketEncryption"
    _delete = "DeleteBucketEncryption"
    _roots = ("ServerSideEncryptionConfiguration",)
    _absent = ("ServerSideEncryptionConfigurationNotFoundError",)
    _put_parameters: ClassVar[dict[str, Any]] = {"ServerSideEncryptionConfiguration": {"Rules": []}}

    def _from_document(self, document: bytes) -> Encryption:
        return Encryption.from_api(xml.parse(document))

    def _to_document(self, value: Encryption) -> bytes:
        return xml.write(value.to_api())

    def _empty(self) -> Encryption:
        return Encryption()

    def put(self, value: Encryption) -> None:
        """Replace the default encryption; an empty ``Encryption()`` deletes it.

        Raises:
            TypeError: ``value`` is not an Encryption.
            S3Unsupported: The store does not support this setting; or it stored something else, and the former configuration was
                restored; or it still has a configuration after the deletion.
            S3Error: A request failed. The message says whether the former configuration was restored, and else what is in effect.

        Requests:
            1; on a store that is not AWS also 2 reads
        """
        if self._checked(value) == Encryption():  # it has no document of its own: to_api() would be that of AES256
            self.delete()
        else:
            super().put(value)

    def _is_deleted(self, before: Encryption | None, now: Encryption) -> bool:
        # A deletion may return the bucket to AES256, the default of the store, as on AWS. AES256 before and after may have been kept.
        is_default = now == Encryption("AES256") and before is not None and before.algorithm != "AES256"
        return is_default or super()._is_deleted(before, now)

    def ensure(
        self,
        algorithm: Algorithm,
        *,
        kms_key_id: str | None = None,
        bucket_key: bool = False,
        dry_run: bool = False,
    ) -> Change[Encryption]:
        """Set the default encryption.

        Args:
            algorithm: ``"AES256"``, ``"aws:kms"`` or ``"aws:kms:dsse"``.
            kms_key_id: ID, ARN or alias of the KMS key; None for the account's default key.
            bucket_key: Whether S3 uses one data key for the bucket, which saves calls to KMS.
            dry_run: Whether only to plan the change; its ``apply()`` makes it.

        Returns:
            The change, applied unless ``dry_run`` is set.

        Raises:
            ValueError: The algorithm is unknown, or ``kms_key_id`` is given without KMS.
            S3Unsupported: The store does not support this setting, or stored something else.

        Requests:
            1 read; if something changes 1 write (on a store that is not AWS 2 more reads)
        """
        if algorithm not in ("AES256", "aws:kms", "aws:kms:dsse"):
            raise ValueError(f"algorithm must be 'AES256', 'aws:kms' or 'aws:kms:dsse', not {algorithm!r}")
        return self._make(
            lambda known: replace(known, algorithm=algorithm, kms_key_id=kms_key_id, bucket_key=bucket_key),
            dry_run=dry_run,
        )
