"""?policy: who may do what with a bucket. A new statement replaces the one with the same Sid; statements without a Sid are kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .base import Change, SubResource, in_place

VERSION = "2012-10-17"
_USUAL = json.dumps({"Version": VERSION})


@dataclass(frozen=True, slots=True)
class BucketPolicy:
    """A policy document. It is kept as JSON text, so that the value can be hashed and no field is lost.

    Attributes:
        statements: Each statement as canonical JSON.
        rest: The other members of the document (``Version``, ``Id`` and unknown ones) as canonical JSON.
    """

    statements: tuple[str, ...] = ()
    rest: str = _USUAL

    @classmethod
    def from_api(cls, document: Mapping[str, Any]) -> BucketPolicy:
        """Read S3's JSON document.

        Raises:
            ValueError: ``Statement`` is neither a statement nor a list of them.
        """
        listed = document.get("Statement", [])
        statements = [listed] if isinstance(listed, Mapping) else listed
        if not isinstance(statements, (list, tuple)) or not all(
            isinstance(statement, Mapping) for statement in statements
        ):
            raise ValueError("the policy's Statement must be a statement or a list of them, each a mapping")
        rest = {name: value for name, value in document.items() if name != "Statement"}
        return cls(tuple(canonical(statement) for statement in statements), canonical(rest))

    def to_api(self) -> dict[str, Any]:
        """Return S3's JSON document."""
        return {**json.loads(self.rest), "Statement": [json.loads(statement) for statement in self.statements]}

    def lines(self) -> list[str]:
        """Return one line per statement, preceded by a line with the other members unless they are the default."""
        beside = [self.rest] if self.rest != _USUAL else []
        return [*beside, *self.statements] if self.statements else []

    def get(self, sid: str) -> dict[str, Any] | None:
        """Return the statement with this Sid, or None."""
        found = [statement for statement in map(json.loads, self.statements) if statement.get("Sid") == sid]
        return found[0] if found else None

    def with_statement(self, statement: Mapping[str, Any]) -> BucketPolicy:
        """Add a statement, or replace the statement with the same Sid.

        Raises:
            ValueError: The statement has no Sid.
        """
        if not isinstance(statement, Mapping) or not statement.get("Sid"):
            raise ValueError("statement must be a mapping with a Sid: statements are merged by it")
        sid = statement["Sid"]
        return BucketPolicy(
            in_place(self.statements, canonical(statement), lambda text: json.loads(text).get("Sid") == sid), self.rest
        )

    def without(self, *sids: str) -> BucketPolicy:
        """Remove the statements with these Sids."""
        return BucketPolicy(
            tuple(text for text in self.statements if json.loads(text).get("Sid") not in sids), self.rest
        )

    def __str__(self) -> str:
        return json.dumps(self.to_api(), indent=2) if self.statements else "no policy"


def canonical(value: object) -> str:
    """Return JSON text that is equal for equal values."""
    return json.dumps(value, sort_keys=True)


class Policy(SubResource[BucketPolicy]):
    """``bucket.policy``: the bucket's policy, merged by Sid.

    Example:
        >>> statement = {"Sid": "audit", "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::123456789012:root"},
        ...              "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket.name}/*"}
        >>> _ = bucket.policy.ensure(statement)
        >>> bucket.policy.get().get("audit")["Action"]
        's3:GetObject'
    """

    name = "policy"
    _get = "GetBucketPolicy"
    _put = "PutBucketPolicy"
    _delete = "DeleteBucketPolicy"
    _roots = ()
    _absent = ("NoSuchBucketPolicy", "NoSuchPolicy")

    def _is_own(self, document: bytes) -> bool:
        try:
            found = json.loads(document)
        except ValueError:
            return False
        return isinstance(found, dict) and "Statement" in found

    def _from_document(self, document: bytes) -> BucketPolicy:
        return BucketPolicy.from_api(json.loads(document))

    def _to_document(self, value: BucketPolicy) -> bytes:
        return json.dumps(value.to_api()).encode()

    def _empty(self) -> BucketPolicy:
        return BucketPolicy()

    def _send_document(self, document: bytes) -> None:
        self._connection.call(self._put, **self._target, Policy=document.decode())

    def put(self, value: BucketPolicy) -> None:
        """Replace the whole policy; without statements it is deleted. ``ensure()`` keeps the other statements.

        Requests:
            1; on a store that is not AWS also 2 reads
        """
        if not isinstance(value, BucketPolicy):
            raise TypeError(f"value must be a BucketPolicy, not {type(value).__name__}")
        if value.statements:
            super().put(value)
        else:
            self.delete()

    def ensure(self, statement: Mapping[str, Any], *, dry_run: bool = False) -> Change[BucketPolicy]:
        """Add a statement, or replace the statement with the same Sid.

        Args:
            statement: The statement, as in S3's JSON; it needs a ``Sid``.
            dry_run: Whether only to plan the change; its ``apply()`` makes it.

        Returns:
            The change, applied unless ``dry_run`` is set.

        Raises:
            ValueError: The statement has no ``Sid``.

        Requests:
            1 read; if something changes 1 write (on a store that is not AWS 2 more reads)
        """
        return self._make(lambda known: known.with_statement(statement), dry_run=dry_run)

    def remove(self, *sids: str) -> None:
        """Remove the statements with these Sids. Idempotent. Requests: 1 read; 1 write if something changes."""
        self._make(lambda known: known.without(*sids))
