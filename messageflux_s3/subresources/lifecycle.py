"""?lifecycle: when objects expire or change storage class, and unfinished uploads are aborted. A new rule replaces one with the same ID."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from .._formats import render
from .._formats.keys import check_text
from .._formats.plain import plain
from ..errors import S3Error, S3Unsupported
from . import xml
from .base import NO_ID, Change, SubResource, add_text, check_entries, check_id, check_names, in_place
from .xml import Node, leaf

_LIFETIME_IDS = ("expire", "expire bucket", "expire whole bucket")
# IDs for the rule of set_lifetime. The first is messageflux's, so that a bucket made by messageflux does not end up with two lifetimes.
# An ID that belongs to another kind of rule is skipped.

_SMALLEST_TO_MOVE = "x-amz-transition-default-minimum-object-size"
_USUAL_SMALLEST = "all_storage_classes_128K"  # what S3 sets if the header is left out

_KNOWN = (
    "ID", "Status", "Prefix", "Filter", "Expiration", "NoncurrentVersionExpiration", "AbortIncompleteMultipartUpload", "Transition",
)  # fmt: skip


def _days(name: str, days: int | None) -> int | None:
    if days is None:
        return None
    _check_days(days, name)
    return days


def _check_days(days: int, name: str = "days") -> None:
    """Check the number of days of a rule. None is wrong for a new rule, which would do nothing without it."""
    check_lifetime(name, days)
    if days < 1:
        raise ValueError(f"{name} must be at least 1 day, not {days}")


def check_lifetime(name: str, days: object) -> None:
    """Check the argument of set_lifetime.

    Raises:
        TypeError: It is not a whole number.
    """
    if isinstance(days, bool) or not isinstance(days, int):
        raise TypeError(f"{name} must be a whole number of days, not {type(days).__name__}")


@dataclass(frozen=True, slots=True)
class LifecycleRule:
    """A lifecycle rule. None means that the rule does not contain the setting.

    Attributes:
        id: The rule's ID; ``ensure()`` replaces the rule with the same ID.
        prefix: Applies only to keys with this prefix; empty for all.
        tags: Applies only to objects with all these tags (name and value).
        min_size: Applies only to objects larger than this many bytes.
        max_size: Applies only to objects smaller than this many bytes.
        enabled: Whether the rule is enabled.
        expire_days: After how many days an object is deleted.
        abort_uploads_days: After how many days an unfinished multipart upload is aborted.
        noncurrent_days: After how many days a version that is no longer current is deleted.
        transitions: Days and storage class of each transition.
        unknown: Elements that this library has no field for; sent back unchanged.
    """

    id: str
    prefix: str = ""
    tags: tuple[tuple[str, str], ...] = ()
    min_size: int | None = None
    max_size: int | None = None
    enabled: bool = True
    expire_days: int | None = None
    abort_uploads_days: int | None = None
    noncurrent_days: int | None = None
    transitions: tuple[tuple[int, str], ...] = ()
    unknown: tuple[Node, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not 0 < len(self.id) <= 255:
            raise ValueError("id must be text of 1 to 255 characters")
        if not isinstance(self.prefix, str):
            raise TypeError(f"prefix must be text, not {type(self.prefix).__name__}")
        for name in ("id", "prefix"):
            object.__setattr__(self, name, plain(getattr(self, name)))
        for name in ("expire_days", "abort_uploads_days", "noncurrent_days"):
            _days(name, getattr(self, name))
        for name in ("min_size", "max_size"):
            size = getattr(self, name)
            if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 0):
                raise ValueError(f"{name} must be a number of bytes, not {size!r}")
        # The letters of a text and the names of a mapping would be taken for pairs: a filter of other objects.
        for name, types, pair_of in (
            ("tags", (str, str), "name and value"),
            ("transitions", (int, str), "days and storage class"),
        ):
            pairs = getattr(self, name)
            if not isinstance(pairs, (tuple, list)) or not all(_is_pair(pair, types) for pair in pairs):
                raise TypeError(f"{name} must be a tuple of pairs of {pair_of}, not {pairs!r}")
            texts = tuple(tuple(plain(part) if isinstance(part, str) else part for part in pair) for pair in pairs)
            object.__setattr__(self, name, texts)

    @classmethod
    def from_api(cls, node: Node) -> LifecycleRule:
        """Read a ``Rule`` element. Elements without a field here are kept in ``unknown``."""
        expiration, noncurrent = node.get("Expiration"), node.get("NoncurrentVersionExpiration")
        abort = node.get("AbortIncompleteMultipartUpload")
        unknown = [*node.without(*_KNOWN)]
        # An element that contains more than its field can hold is kept as a whole, in unknown.
        plain: dict[str, Node | None] = {}
        for name, element, inner in (
            ("expire_days", expiration, "Days"),
            ("noncurrent_days", noncurrent, "NoncurrentDays"),
            ("abort_uploads_days", abort, "DaysAfterInitiation"),
        ):
            plain[name] = (
                element if element is not None and not element.without(inner) and _int_of(element, inner) else None
            )
            if element is not None and plain[name] is None:
                unknown.append(element)
        transitions = []
        for transition in node.all("Transition"):
            days, storage_class = transition.text_of("Days"), transition.text_of("StorageClass")
            if (
                days is not None
                and days.isdecimal()
                and storage_class
                and not transition.without("Days", "StorageClass")
            ):
                transitions.append((int(days), storage_class))
            else:
                unknown.append(transition)
        prefix, tags, sizes, strange = _filter_from(node)
        return cls(
            id=node.text_of("ID") or NO_ID,
            prefix=prefix,
            tags=tags,
            min_size=sizes[0],
            max_size=sizes[1],
            enabled=node.text_of("Status") == "Enabled",
            expire_days=_int_of(plain["expire_days"], "Days"),
            abort_uploads_days=_int_of(plain["abort_uploads_days"], "DaysAfterInitiation"),
            noncurrent_days=_int_of(plain["noncurrent_days"], "NoncurrentDays"),
            transitions=tuple(transitions),
            unknown=(*unknown, *strange),
        )

    def to_api(self) -> Node:
        """Return the ``Rule`` element."""
        parts = [] if self.id == NO_ID else [leaf("ID", self.id)]
        if not any(node.name == "Filter" for node in self.unknown):
            parts.append(self._filter())
        parts.append(leaf("Status", "Enabled" if self.enabled else "Disabled"))
        parts += [
            Node("Transition", children=(leaf("Days", days), leaf("StorageClass", storage_class)))
            for days, storage_class in self.transitions
        ]
        for outer, inner, days in (
            ("Expiration", "Days", self.expire_days),
            ("NoncurrentVersionExpiration", "NoncurrentDays", self.noncurrent_days),
            ("AbortIncompleteMultipartUpload", "DaysAfterInitiation", self.abort_uploads_days),
        ):
            if days is not None:
                parts.append(Node(outer, children=(leaf(inner, days),)))
        return Node("Rule", children=(*parts, *self.unknown))

    def _filter(self) -> Node:
        conditions = [leaf("Prefix", self.prefix)] if self.prefix else []
        conditions += [Node("Tag", children=(leaf("Key", name), leaf("Value", value))) for name, value in self.tags]
        conditions += [leaf("ObjectSizeGreaterThan", self.min_size)] if self.min_size is not None else []
        conditions += [leaf("ObjectSizeLessThan", self.max_size)] if self.max_size is not None else []
        if len(conditions) > 1:
            conditions = [Node("And", children=tuple(conditions))]
        return Node("Filter", children=tuple(conditions or [leaf("Prefix", "")]))

    @property
    def is_whole_bucket_lifetime(self) -> bool:
        """Whether the rule does nothing but expire all objects after some days."""
        return (
            self == LifecycleRule(self.id, enabled=self.enabled, expire_days=self.expire_days)
            and self.expire_days is not None
        )

    def __str__(self) -> str:
        says = [f"delete after {self.expire_days} days"] if self.expire_days is not None else []
        says += [f"to {storage_class} after {days} days" for days, storage_class in self.transitions]
        says += [f"delete old versions after {self.noncurrent_days} days"] if self.noncurrent_days is not None else []
        says += (
            [f"abort unfinished uploads after {self.abort_uploads_days} days"]
            if self.abort_uploads_days is not None
            else []
        )
        says += [" ".join(part.strip() for part in node.lines()) for node in self.unknown]
        scope = [f"keys that begin with {self.prefix!r}"] if self.prefix else []
        scope += [f"tag {name}={value}" for name, value in self.tags]
        scope += [f"larger than {self.min_size} bytes"] if self.min_size is not None else []
        scope += [f"smaller than {self.max_size} bytes"] if self.max_size is not None else []
        state = "" if self.enabled else " (disabled)"
        return f"{self.id}{state}: {', '.join(scope) or 'everything'}: {'; '.join(says) or 'nothing'}"


def _is_pair(pair: object, types: tuple[type, type]) -> bool:
    return isinstance(pair, (tuple, list)) and len(pair) == 2 and all(map(isinstance, pair, types))


def _int_of(element: Node | None, inner: str) -> int | None:
    text = element.text_of(inner) if element is not None else None
    return int(text) if text is not None and text.isdecimal() else None


def _filter_from(
    rule: Node,
) -> tuple[str, tuple[tuple[str, str], ...], tuple[int | None, int | None], tuple[Node, ...]]:
    """Return prefix, tags and sizes of a rule's filter, or the whole filter as unknown if it has other conditions."""
    filter_ = rule.get("Filter")
    if filter_ is None:
        return rule.text_of("Prefix") or "", (), (None, None), ()
    inside = filter_.get("And") or filter_
    if inside.without("Prefix", "Tag", "ObjectSizeGreaterThan", "ObjectSizeLessThan"):
        return "", (), (None, None), (filter_,)
    larger, smaller = inside.text_of("ObjectSizeGreaterThan"), inside.text_of("ObjectSizeLessThan")
    if not all(size is None or size.isdecimal() for size in (larger, smaller)):
        return "", (), (None, None), (filter_,)
    tags = tuple((tag.text_of("Key") or "", tag.text_of("Value") or "") for tag in inside.all("Tag"))
    return (
        inside.text_of("Prefix") or "",
        tags,
        (int(larger) if larger else None, int(smaller) if smaller else None),
        (),
    )


@dataclass(frozen=True, slots=True)
class LifecycleConfiguration:
    """The lifecycle rules of a bucket.

    Attributes:
        rules: The rules.
        smallest_to_move: S3's default minimum object size for transitions, which is sent in a header; None if it was not sent.
        unknown: Other elements of the document; sent back unchanged.
    """

    rules: tuple[LifecycleRule, ...] = ()
    smallest_to_move: str | None = field(default=None, compare=False)
    unknown: tuple[Node, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "rules", check_entries("rules", self.rules, LifecycleRule))

    @classmethod
    def from_api(cls, node: Node, smallest_to_move: str | None = None) -> LifecycleConfiguration:
        """Read a ``LifecycleConfiguration`` document and the header that belongs to it."""
        return cls(
            tuple(LifecycleRule.from_api(rule) for rule in node.all("Rule")), smallest_to_move, node.without("Rule")
        )

    def to_api(self) -> Node:
        """Return the ``LifecycleConfiguration`` document."""
        return Node("LifecycleConfiguration", children=(*(rule.to_api() for rule in self.rules), *self.unknown))

    def lines(self) -> list[str]:
        """Return one line per rule, and one for the minimum size for transitions if it is not S3's default."""
        smallest = [f"smallest object to move: {self.smallest_to_move}"]
        beside = smallest if self.smallest_to_move not in (None, _USUAL_SMALLEST) else []
        unknown = (line for node in self.unknown for line in node.lines())
        return [*(str(rule) for rule in self.rules), *beside, *unknown]

    def get(self, id: str) -> LifecycleRule | None:
        """Return the rule with this ID, or None."""
        return next((rule for rule in self.rules if rule.id == id), None)

    def with_rule(self, rule: LifecycleRule) -> LifecycleConfiguration:
        """Add a rule, or replace the rule with the same ID.

        Raises:
            ValueError: The rule has no ID.
        """
        check_id(rule.id)
        return replace(self, rules=in_place(self.rules, rule, lambda known: known.id == rule.id))

    def without(self, *ids: str) -> LifecycleConfiguration:
        """Remove the rules with these IDs."""
        return replace(self, rules=tuple(rule for rule in self.rules if rule.id not in ids))

    def __str__(self) -> str:
        return "\n".join(map(render.visible, self.lines())) or "no lifecycle rules"

    def _repr_html_(self) -> str:
        return render.text_block("lifecycle", str(self)).html


class Lifecycle(SubResource[LifecycleConfiguration]):
    """``bucket.lifecycle``: the bucket's lifecycle rules, merged by ID.

    Example:
        >>> bucket.lifecycle.expire(days=7, prefix="tmp/").applied
        True
        >>> print(bucket.lifecycle.get())
        expire tmp/: keys that begin with 'tmp/': delete after 7 days
        >>> print(bucket.lifecycle.ensure(s3.LifecycleRule("sweep", abort_uploads_days=3), dry_run=True))
        lifecycle of s3://.../:
        --- now
        +++ then
        @@ -1 +1,2 @@
         expire tmp/: keys that begin with 'tmp/': delete after 7 days
        +sweep: everything: abort unfinished uploads after 3 days
    """

    name = "lifecycle"
    _value = LifecycleConfiguration
    _get = "GetBucketLifecycleConfiguration"
    _put = "PutBucketLifecycleConfiguration"
    _delete = "DeleteBucketLifecycle"
    _roots = ("LifecycleConfiguration",)
    _absent = ("NoSuchLifecycleConfiguration",)
    _put_parameters: ClassVar[dict[str, Any]] = {"LifecycleConfiguration": {"Rules": []}}

    def _from_document(self, document: bytes) -> LifecycleConfiguration:
        return LifecycleConfiguration.from_api(xml.parse(document), self._connection.received_header(_SMALLEST_TO_MOVE))

    def _to_document(self, value: LifecycleConfiguration) -> bytes:
        return xml.write(value.to_api())

    def _send(self, value: LifecycleConfiguration) -> None:
        size = {} if value.smallest_to_move is None else {"TransitionDefaultMinimumObjectSize": value.smallest_to_move}
        self._connection.write_document(
            self._put, self._to_document(value), **self._target, **self._put_parameters, **size
        )

    def _empty(self) -> LifecycleConfiguration:
        return LifecycleConfiguration()

    def _forms(
        self, value: LifecycleConfiguration, before: LifecycleConfiguration | None
    ) -> Iterator[LifecycleConfiguration]:
        """Yield the configuration with all rules disabled, unless the store is known to keep such rules; then the configuration."""
        if not self._is_confirmed(value):
            yield _disabled(value)
        yield value

    def _confirm(self, value: LifecycleConfiguration) -> None:
        facts, kinds = self._connection.facts, {_kind_of(rule) for rule in value.rules}
        facts[_CONFIRMED] = facts.get(_CONFIRMED, frozenset()) - kinds
        super()._confirm(value)
        facts[_CONFIRMED] = facts[_CONFIRMED] | kinds

    def _is_confirmed(self, value: LifecycleConfiguration) -> bool:
        """Return whether the store is known to keep rules of these kinds as they are sent. A disabled rule needs no confirmation."""
        known = self._connection.capabilities
        confirmed: set[_Kind] = {*self._connection.facts.get(_CONFIRMED, ())}
        confirmed |= {_PREFIX_KIND} if known.lifecycle else set()
        confirmed |= {_SIZE_KIND} if known.lifecycle_filters else set()
        return all(not rule.enabled or _kind_of(rule) in confirmed for rule in value.rules)

    def _write_back(self, before: LifecycleConfiguration | None, unread: BaseException | None) -> None:
        # Restoring is a write too: the store may drop a part of the former rules as well. If nothing can be read, nothing can be
        # confirmed, and the former rules are better than others.
        if before is not None and unread is None and not self._is_confirmed(before):
            self._send(_disabled(before))
            try:
                self._confirm(_disabled(before))
            except S3Unsupported:
                kept = self._stored()
                if kept is not None and not {*kept.lines()} <= {*_disabled(before).lines()}:
                    raise
                # Disabled rules were left out, not changed, and this store itself returned the former rules: they can be tried.
                self._send(before)
                if not self._same(self._stored(), before):
                    self._remove()
                    raise
                return
        super()._write_back(before, unread)

    def put(self, value: LifecycleConfiguration) -> None:
        """Replace all rules; with no rules the configuration is deleted. The other methods keep the other rules.

        A store that drops the filter of a rule would apply the rule to all objects. So on a store that is not AWS rules of a kind that
        this store was not seen to keep are written with all rules disabled first. They are enabled once they were read back unchanged.

        Raises:
            S3Unsupported: The store does not support lifecycle rules, or stored something else, in which case the former rules were
                restored.
            S3Error: A request failed. The message says whether the former rules were restored, and else what is in effect.

        Requests:
            1; on a store that is not AWS also 2 reads, and 1 write and 1 read for a kind of rule that is new to this connection
        """
        self._checked(value)
        if not value.rules:
            self.delete()
            return
        if not self._connection.is_aws and self._connection.capabilities.lifecycle_filters is False:
            for rule in value.rules:
                if rule.min_size is not None or rule.max_size is not None:
                    raise S3Unsupported(
                        f"{self._where()}: this store drops size filters of lifecycle rules; {rule.id!r} would then apply to all sizes"
                    )
        super().put(value)

    def ensure(self, rule: LifecycleRule, *, dry_run: bool = False) -> Change[LifecycleConfiguration]:
        """Add a rule, or replace the rule with the same ID.

        Args:
            rule: The rule.
            dry_run: Whether only to plan the change; its ``apply()`` makes it.

        Returns:
            The change, applied unless ``dry_run`` is set.

        Raises:
            TypeError: ``rule`` is not a LifecycleRule.
            ValueError: The rule has no ID.
            S3Unsupported: The store does not support lifecycle rules, or stored something else.

        Requests:
            1 read; if something changes those of ``put()``

        Example:
            >>> change = bucket.lifecycle.ensure(s3.LifecycleRule("sweep", abort_uploads_days=3), dry_run=True)
            >>> change.is_empty, change.applied
            (False, False)
            >>> change.apply().applied
            True
            >>> bucket.lifecycle.ensure(s3.LifecycleRule("sweep", abort_uploads_days=3)).is_empty
            True
        """
        if not isinstance(rule, LifecycleRule):
            raise TypeError(f"rule must be a LifecycleRule, not {type(rule).__name__}")
        check_id(rule.id)
        return self._make(lambda known: known.with_rule(rule), dry_run=dry_run)

    def expire(
        self,
        *,
        days: int,
        prefix: str = "",
        tags: Mapping[str, str] | None = None,
        id: str | None = None,
        dry_run: bool = False,
    ) -> Change[LifecycleConfiguration]:
        """Delete objects some days after they were written.

        Args:
            days: The number of days, at least 1.
            prefix: Only keys with this prefix.
            tags: Only objects with all these tags.
            id: The rule's ID; by default ``expire`` followed by the prefix. A rule with the same ID is replaced.
            dry_run: Whether only to plan the change; its ``apply()`` makes it.

        Returns:
            The change, applied unless ``dry_run`` is set.

        Raises:
            ValueError: ``days`` is less than 1.
            S3Unsupported: The store does not support lifecycle rules, or stored something else.

        Requests:
            1 read; if something changes those of ``put()``
        """
        _check_days(days)
        prefix = check_text("prefix", prefix)
        if tags is not None and not isinstance(tags, Mapping):
            raise TypeError(f"tags must be a mapping of text to text, not {type(tags).__name__}")
        wanted = tuple((tags or {}).items())
        rule = LifecycleRule(id or f"expire {prefix}".rstrip(), prefix=prefix, tags=wanted, expire_days=days)
        return self.ensure(rule, dry_run=dry_run)

    def abort_unfinished_uploads(
        self, *, days: int, prefix: str = "", id: str | None = None, dry_run: bool = False
    ) -> Change[LifecycleConfiguration]:
        """Abort multipart uploads that are unfinished after some days. Requests: those of ``ensure()``."""
        _check_days(days)
        prefix = check_text("prefix", prefix)
        rule = LifecycleRule(id or f"abort uploads {prefix}".rstrip(), prefix=prefix, abort_uploads_days=days)
        return self.ensure(rule, dry_run=dry_run)

    def transition(
        self, storage_class: str, *, days: int, prefix: str = "", id: str | None = None, dry_run: bool = False
    ) -> Change[LifecycleConfiguration]:
        """Move objects to another storage class after some days. Requests: those of ``ensure()``."""
        _check_days(days)
        prefix, storage_class = check_text("prefix", prefix), check_text("storage_class", storage_class)
        name = id or f"to {storage_class} {prefix}".rstrip()
        return self.ensure(LifecycleRule(name, prefix=prefix, transitions=((days, storage_class),)), dry_run=dry_run)

    def expire_noncurrent(
        self, *, days: int, prefix: str = "", id: str | None = None, dry_run: bool = False
    ) -> Change[LifecycleConfiguration]:
        """Delete versions some days after they were replaced. Requests: those of ``ensure()``."""
        _check_days(days)
        prefix = check_text("prefix", prefix)
        rule = LifecycleRule(id or f"expire old {prefix}".rstrip(), prefix=prefix, noncurrent_days=days)
        return self.ensure(rule, dry_run=dry_run)

    def remove(self, *ids: str, dry_run: bool = False) -> Change[LifecycleConfiguration]:
        """Remove the rules with these IDs. Idempotent. Requests: those of ``ensure()``."""
        check_names("ids", ids)
        return self._make(lambda known: known.without(*ids), dry_run=dry_run)

    def set_lifetime(self, days: int, *, dry_run: bool = False) -> Change[LifecycleConfiguration]:
        """Expire all objects after this many days; 0 or less removes the rule. Also replaces the lifetime rule of messageflux.

        Args:
            days: The number of days.
            dry_run: Whether only to plan the change; its ``apply()`` makes it.

        Returns:
            The change, applied unless ``dry_run`` is set.

        Requests:
            1 read; if something changes those of ``put()``
        """
        check_lifetime("days", days)

        def merged(known: LifecycleConfiguration) -> LifecycleConfiguration:
            others = tuple(rule for rule in known.rules if not _is_ours(rule))
            if days <= 0:
                return replace(known, rules=others)
            taken = {rule.id for rule in others}
            id = next((id for id in _LIFETIME_IDS if id not in taken), _LIFETIME_IDS[-1])
            return replace(known, rules=in_place(known.rules, LifecycleRule(id, expire_days=days), _is_ours))

        return self._make(merged, dry_run=dry_run)

    def _take_back(self, change: Change[LifecycleConfiguration], cause: BaseException) -> None:
        """Restore the rules before a change, since what was to follow it has failed, and say so in the message of the error.

        Rules that another client has changed since then stay; on AWS, which may return old rules for minutes, that is not found out.

        Requests:
            none if nothing was changed; else up to 5 reads and 3 writes
        """
        if change.is_empty:
            return
        try:
            is_ours = self._connection.is_aws or self._same(self._stored(), change.after)
        except S3Error:
            is_ours = True
        if is_ours:
            self._undo(change.before, change.after, cause, was_accepted=True)
        else:
            add_text(cause, "the lifetime stays set, since the lifecycle rules were changed by another client")


def _disabled(value: LifecycleConfiguration) -> LifecycleConfiguration:
    return replace(value, rules=tuple(replace(rule, enabled=False) for rule in value.rules))


_Kind = tuple[tuple[str, str], ...]
"""The elements of a rule, without ID and status: path and text. The usual texts of a path are replaced by a placeholder."""

_CONFIRMED = "lifecycle kinds"
_FREE_TEXT = ("Prefix", "Key", "Value")
_USUAL_TEXT = re.compile(r"[A-Za-z0-9/._-]{1,64}")
_MAX_INT32 = (1 << 31) - 1


def _kind_of(rule: LifecycleRule) -> _Kind:
    """Return what a store must be able to keep in order to keep a rule: its elements, and texts and numbers out of the ordinary."""

    def texts(node: Node, path: str) -> Iterator[tuple[str, str]]:
        for child in node.children:
            inner = f"{path}/{child.name}"
            yield inner, _kind_of_text(child)
            yield from texts(child, inner)

    return tuple(sorted(texts(replace(rule, id="(no id)", enabled=False).to_api(), "")))


def _kind_of_text(node: Node) -> str:
    if node.attributes:
        return repr(node)
    if node.text.isdecimal() and int(node.text) <= _MAX_INT32:
        return "number"
    return "text" if node.name in _FREE_TEXT and _USUAL_TEXT.fullmatch(node.text) else node.text


# What probe() tests for Capabilities.lifecycle and lifecycle_filters.
_PREFIX_KIND = _kind_of(LifecycleRule("probe", prefix="never/", expire_days=3650))
_SIZE_KIND = _kind_of(LifecycleRule("probe", prefix="never/", min_size=10**9, expire_days=3650))


def _is_ours(rule: LifecycleRule) -> bool:
    """Return whether set_lifetime or messageflux wrote a rule: its ID is one of theirs, and it does nothing but expire all objects."""
    return rule.id in _LIFETIME_IDS and rule.is_whole_bucket_lifetime
