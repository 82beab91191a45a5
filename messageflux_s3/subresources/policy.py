"""?policy: who may do what with a bucket. A new statement replaces the one with the same Sid; statements without a Sid are kept."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..errors import S3Error
from .base import Change, SubResource, check_entries, check_names, in_place

VERSION = "2012-10-17"
_USUAL = json.dumps({"Version": VERSION})

_TRIAL = "MessagefluxS3Trial"
"""What the Sids of the statements begin with that are written in order to see what the store keeps."""

_NEVER_WRITTEN = ".mfs3-probe/never-written"
"""The key to which these statements apply."""

_ALWAYS_KEPT = frozenset({"Sid", "Effect", "Principal", "Action", "Resource"})
_LISTS = ("Action", "NotAction", "Resource", "NotResource")
_PRINCIPALS = ("Principal", "NotPrincipal")
_CONFIRMED = "policy kinds"

_Kind = tuple[str, ...]
"""The elements of a statement that limit it: ``("Condition", "Condition/IpAddress/aws:SourceIp")``."""


@dataclass(frozen=True, slots=True)
class BucketPolicy:
    """A policy document. It is kept as JSON text, so that the value can be hashed and no field is lost.

    Attributes:
        statements: Each statement as canonical JSON.
        rest: The other members of the document (``Version``, ``Id`` and unknown ones) as canonical JSON.
    """

    statements: tuple[str, ...] = ()
    rest: str = _USUAL

    def __post_init__(self) -> None:
        hint = "; from_api(document) takes a document, with_statement(statement) adds a statement"
        object.__setattr__(self, "statements", check_entries("statements", self.statements, str, hint))

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
    _value = BucketPolicy
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

    def _forms(self, value: BucketPolicy, before: BucketPolicy | None) -> Iterator[BucketPolicy]:
        """Yield the former policy with the new statements for a key that is never written, then the policy.

        That is done for new statements that allow something under a condition or with another limit, unless the store is known to keep
        such limits: without them the statement would permit more.
        """
        known: frozenset[_Kind] = self._connection.facts.get(_CONFIRMED, frozenset())
        present = () if before is None else before.statements
        trials = [
            self._trial(f"{_TRIAL}{number}", json.loads(text))
            for number, text in enumerate(value.statements, 1)
            if text not in present and _kind_of(text) not in (None, *known)
        ]
        if trials:
            yield BucketPolicy((*present, *trials), value.rest)
        yield value

    def _trial(self, sid: str, statement: Mapping[str, Any]) -> str:
        """Return a statement for a key that is never written, with all its limits."""
        named = statement.get("Resource")
        first = named[0] if isinstance(named, list) and named else named
        arn = first if isinstance(first, str) and first.startswith("arn:") else self._bucket.arn
        return canonical({**statement, "Sid": sid, "Resource": f"{arn.partition('/')[0]}/{_NEVER_WRITTEN}"})

    def _may_refuse_form(self, error: S3Error) -> bool:
        # Some stores refuse a statement for a key if its actions are those on a bucket. A store that checks so much leaves out nothing.
        return error.status == 400 and not error.was_retried

    def _confirm(self, value: BucketPolicy) -> None:
        facts, kinds = self._connection.facts, {_kind_of(text) for text in value.statements} - {None}
        facts[_CONFIRMED] = facts.get(_CONFIRMED, frozenset()) - kinds
        super()._confirm(value)
        facts[_CONFIRMED] = facts[_CONFIRMED] | kinds

    def _same(self, one: BucketPolicy | None, other: BucketPolicy | None) -> bool:
        return super()._same(*(None if value is None else _normalized(value) for value in (one, other)))

    def put(self, value: BucketPolicy) -> None:
        """Replace the whole policy; without statements it is deleted. ``ensure()`` keeps the other statements.

        A store that leaves out the condition of a statement would allow more than was asked for. So on a store that is not AWS a new
        statement that allows something under a condition (or with ``NotAction``, ``NotPrincipal`` …) is written for a key that does not
        exist first, beside the former policy, and read back. ``NotResource`` cannot be tried.

        Raises:
            S3Unsupported: The store does not support bucket policies, or stored something else, in which case the former policy was
                restored; or it still has a policy after the deletion.
            S3Error: A request failed. The message says whether the former policy was restored, and else what is in effect.

        Requests:
            1; on a store that is not AWS also 2 reads, and 1 write and 1 read for conditions that are new to this connection
        """
        self._checked(value)
        kept = tuple(text for text in value.statements if not _is_trial(text))  # left by a process that was killed
        if kept:
            super().put(replace(value, statements=kept))
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
            1 read; if something changes those of ``put()``
        """
        BucketPolicy().with_statement(statement)  # raises before anything is sent
        return self._make(lambda known: known.with_statement(statement), dry_run=dry_run)

    def remove(self, *sids: str, dry_run: bool = False) -> Change[BucketPolicy]:
        """Remove the statements with these Sids. Idempotent. Requests: those of ``ensure()``."""
        check_names("sids", sids)
        return self._make(lambda known: known.without(*sids), dry_run=dry_run)


def _is_trial(text: str) -> bool:
    return str(json.loads(text).get("Sid", "")).startswith(_TRIAL)


def _kind_of(text: str) -> _Kind | None:
    """Return the limits of a statement that a store must keep; None if it allows nothing, has none, or cannot be tried."""
    statement = json.loads(text)
    limits = sorted(statement.keys() - _ALWAYS_KEPT)
    if statement.get("Effect") != "Allow" or not limits or "NotResource" in limits:
        return None
    conditions = statement.get("Condition")
    for operator, keys in conditions.items() if isinstance(conditions, Mapping) else ():
        limits += sorted(f"Condition/{operator}/{key}" for key in (keys if isinstance(keys, Mapping) else ()))
    return tuple(limits)


def _normalized(policy: BucketPolicy) -> BucketPolicy:
    """Return a policy in which what means the same is written the same: some stores write lists of one, or an empty Sid."""
    return replace(policy, statements=tuple(canonical(_normal(json.loads(text))) for text in policy.statements))


def _normal(statement: Mapping[str, Any]) -> dict[str, Any]:
    normal = {name: value for name, value in statement.items() if name != "Sid" or value}
    for name in _LISTS:
        if name in normal:
            normal[name] = _as_list(normal[name])
    for name in _PRINCIPALS:
        if name in normal:
            named = {"AWS": "*"} if normal[name] == "*" else normal[name]
            normal[name] = {kind: _as_list(who) for kind, who in named.items()} if isinstance(named, Mapping) else named
    if isinstance(conditions := normal.get("Condition"), Mapping):
        normal["Condition"] = {
            operator: {key: _as_list(values) for key, values in keys.items()} if isinstance(keys, Mapping) else keys
            for operator, keys in conditions.items()
        }
    return normal


def _as_list(value: Any) -> list[Any]:
    return sorted(value if isinstance(value, list) else [value], key=canonical)
