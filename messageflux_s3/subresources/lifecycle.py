"""?lifecycle: when objects expire, move to another class, or are cleaned up behind failed uploads. Merged by rule id."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from .._formats import render
from ..errors import S3Unsupported
from . import xml
from .base import Change, SubResource, in_place
from .xml import Node, leaf

_LIFETIME_IDS = ("expire", "expire bucket", "expire whole bucket")
# The id of the rule that set_lifetime writes: messageflux's own, so that a bucket it made does not end up with two lifetimes; the next
# one where somebody else's rule is called so.

_SMALLEST_TO_MOVE = "x-amz-transition-default-minimum-object-size"

_KNOWN = (
    "ID", "Status", "Prefix", "Filter", "Expiration", "NoncurrentVersionExpiration", "AbortIncompleteMultipartUpload", "Transition",
)  # fmt: skip


def _days(name: str, days: int | None) -> int | None:
    if days is None:
        return None
    if isinstance(days, bool) or not isinstance(days, int):
        raise TypeError(f"{name} must be a whole number of days, not {type(days).__name__}")
    if days < 1:
        raise ValueError(f"{name} must be at least 1 day, it is {days}")
    return days


@dataclass(frozen=True, slots=True)
class LifecycleRule:
    """One lifecycle rule. None: the rule does not speak of it.

    Attributes:
        id: What it is called; rules are merged by it.
        prefix: Only objects whose key begins so; empty for all.
        tags: Only objects that have all these tags, as name and value.
        min_size: Only objects larger than this many bytes.
        max_size: Only objects smaller than this many bytes.
        enabled: Whether it is in force.
        expire_days: After how many days an object is deleted.
        abort_uploads_days: After how many days an unfinished multipart upload is aborted.
        noncurrent_days: After how many days a version that is no longer current is deleted.
        transitions: Storage class by days.
        unknown: Whatever else the rule says; kept as it is.
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
        for name in ("expire_days", "abort_uploads_days", "noncurrent_days"):
            _days(name, getattr(self, name))
        for name in ("min_size", "max_size"):
            size = getattr(self, name)
            if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 0):
                raise ValueError(f"{name} must be a number of bytes, not {size!r}")

    @classmethod
    def from_api(cls, node: Node) -> LifecycleRule:
        """From the element that S3 sends. What only this library does not know stays in ``unknown``."""
        expiration, noncurrent = node.get("Expiration"), node.get("NoncurrentVersionExpiration")
        abort = node.get("AbortIncompleteMultipartUpload")
        unknown = [*node.without(*_KNOWN)]
        # An element that says more than the field for it can hold is kept whole.
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
            id=node.text_of("ID") or "(no id)",
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
        """The element that S3 takes."""
        parts = [] if self.id == "(no id)" else [leaf("ID", self.id)]
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
        """Whether the rule says nothing but after how many days everything expires."""
        return (
            self == LifecycleRule(self.id, enabled=self.enabled, expire_days=self.expire_days)
            and self.expire_days is not None
        )

    def __str__(self) -> str:
        says = [f"delete after {self.expire_days} days"] if self.expire_days is not None else []
        says += [f"to {storage_class} after {days} days" for days, storage_class in self.transitions]
        says += [f"old versions go after {self.noncurrent_days} days"] if self.noncurrent_days is not None else []
        says += (
            [f"unfinished uploads go after {self.abort_uploads_days} days"]
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


def _int_of(element: Node | None, inner: str) -> int | None:
    text = element.text_of(inner) if element is not None else None
    return int(text) if text is not None and text.isdecimal() else None


def _filter_from(
    rule: Node,
) -> tuple[str, tuple[tuple[str, str], ...], tuple[int | None, int | None], tuple[Node, ...]]:
    """Prefix, tags, sizes, and the filter itself where it says more than these."""
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
    """The rules of a bucket.

    Attributes:
        rules: The rules.
        smallest_to_move: What S3 calls the default minimum object size for transitions, which travels in a header; None: not said.
        unknown: Whatever stands beside the rules; kept as it is.
    """

    rules: tuple[LifecycleRule, ...] = ()
    smallest_to_move: str | None = field(default=None, compare=False)
    unknown: tuple[Node, ...] = ()

    @classmethod
    def from_api(cls, node: Node, smallest_to_move: str | None = None) -> LifecycleConfiguration:
        """From the document that S3 sends, and its header."""
        return cls(
            tuple(LifecycleRule.from_api(rule) for rule in node.all("Rule")), smallest_to_move, node.without("Rule")
        )

    def to_api(self) -> Node:
        """The document that S3 takes."""
        return Node("LifecycleConfiguration", children=(*(rule.to_api() for rule in self.rules), *self.unknown))

    def lines(self) -> list[str]:
        """One line a rule."""
        return [*(str(rule) for rule in self.rules), *(line for node in self.unknown for line in node.lines())]

    def get(self, id: str) -> LifecycleRule | None:
        """The rule of this id, or None."""
        return next((rule for rule in self.rules if rule.id == id), None)

    def with_rule(self, rule: LifecycleRule) -> LifecycleConfiguration:
        """These rules, and this one in place of the one with its id."""
        return replace(self, rules=in_place(self.rules, rule, lambda known: known.id == rule.id))

    def without(self, *ids: str) -> LifecycleConfiguration:
        """These rules but those."""
        return replace(self, rules=tuple(rule for rule in self.rules if rule.id not in ids))

    def __str__(self) -> str:
        return "\n".join(map(render.visible, self.lines())) or "no lifecycle rules"

    def _repr_html_(self) -> str:
        return render.text_block("lifecycle", str(self)).html


class Lifecycle(SubResource[LifecycleConfiguration]):
    """``bucket.lifecycle``: the bucket's lifecycle rules, merged by id.

    Example:
        >>> bucket.lifecycle.expire(days=7, prefix="tmp/")
        >>> print(bucket.lifecycle.get())
        expire tmp/: keys that begin with 'tmp/': delete after 7 days
        >>> print(bucket.lifecycle.ensure(s3.LifecycleRule("sweep", abort_uploads_days=3), dry_run=True))
        lifecycle of s3://.../:
        --- now
        +++ then
        @@ -1 +1,2 @@
         expire tmp/: keys that begin with 'tmp/': delete after 7 days
        +sweep: everything: unfinished uploads go after 3 days
    """

    name = "lifecycle"
    _get = "GetBucketLifecycleConfiguration"
    _put = "PutBucketLifecycleConfiguration"
    _delete = "DeleteBucketLifecycle"
    _roots = ("LifecycleConfiguration",)
    _absent = ("NoSuchLifecycleConfiguration",)
    _put_parameters: ClassVar[dict[str, Any]] = {"LifecycleConfiguration": {"Rules": []}}

    def _read(self, document: bytes) -> LifecycleConfiguration:
        return LifecycleConfiguration.from_api(xml.parse(document), self._connection.received_header(_SMALLEST_TO_MOVE))

    def _written(self, value: LifecycleConfiguration) -> bytes:
        return xml.write(value.to_api())

    def _send(self, value: LifecycleConfiguration) -> None:
        size = {} if value.smallest_to_move is None else {"TransitionDefaultMinimumObjectSize": value.smallest_to_move}
        self._connection.write_document(self._put, self._written(value), **self._target, **self._put_parameters, **size)

    def _nothing(self) -> LifecycleConfiguration:
        return LifecycleConfiguration()

    def put(self, value: LifecycleConfiguration) -> None:
        """Replace all rules; none at all means that the configuration is deleted. The other words merge.

        Requests:
            1; on a store that is not AWS also 2 reads
        """
        if not isinstance(value, LifecycleConfiguration):
            raise TypeError(f"value must be a LifecycleConfiguration, not {type(value).__name__}")
        if not value.rules:
            self.delete()
            return
        if not self._connection.is_aws and self._connection.capabilities.lifecycle_filters is False:
            for rule in value.rules:
                if rule.min_size is not None or rule.max_size is not None:
                    raise S3Unsupported(
                        f"{self._where()}: this store forgets size filters of lifecycle rules; {rule.id!r} would then mean everything"
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
            S3Unsupported: The store does not support lifecycle rules, or stored something else.

        Requests:
            1 read; if something changes 1 write (on a store that is not AWS 2 more reads)

        Example:
            >>> change = bucket.lifecycle.ensure(s3.LifecycleRule("sweep", abort_uploads_days=3), dry_run=True)
            >>> change.is_empty, change.applied
            (False, False)
            >>> change.apply().applied
            True
            >>> bucket.lifecycle.ensure(s3.LifecycleRule("sweep", abort_uploads_days=3)).is_empty
            True
        """
        return self._make(lambda known: known.with_rule(rule), dry_run=dry_run)

    def expire(
        self, *, days: int, prefix: str = "", tags: Mapping[str, str] | None = None, id: str | None = None
    ) -> None:
        """Delete objects so many days after they were written.

        Args:
            days: How many, at least 1.
            prefix: Only keys that begin so.
            tags: Only objects with these tags.
            id: The rule's id; by default one that tells the prefix.

        Raises:
            ValueError: ``days`` is less than 1.
            S3Unsupported: The store has no lifecycle rules, or keeps them as something else.

        Requests:
            1 read, 1 write
        """
        if days is None:
            raise TypeError("days must be a whole number of days, not None")
        wanted = tuple((tags or {}).items())
        self._put_rule(LifecycleRule(id or f"expire {prefix}".rstrip(), prefix=prefix, tags=wanted, expire_days=days))

    def abort_unfinished_uploads(self, *, days: int, prefix: str = "", id: str | None = None) -> None:
        """Abort multipart uploads that nobody finished within so many days. Requests: 1 read, 1 write."""
        self._put_rule(LifecycleRule(id or f"abort uploads {prefix}".rstrip(), prefix=prefix, abort_uploads_days=days))

    def transition(self, storage_class: str, *, days: int, prefix: str = "", id: str | None = None) -> None:
        """Move objects to another storage class after so many days. Requests: 1 read, 1 write."""
        _days("days", days)
        name = id or f"to {storage_class} {prefix}".rstrip()
        self._put_rule(LifecycleRule(name, prefix=prefix, transitions=((days, storage_class),)))

    def expire_noncurrent(self, *, days: int, prefix: str = "", id: str | None = None) -> None:
        """Delete versions so many days after they were replaced. Requests: 1 read, 1 write."""
        self._put_rule(LifecycleRule(id or f"expire old {prefix}".rstrip(), prefix=prefix, noncurrent_days=days))

    def remove(self, *ids: str) -> None:
        """Drop the rules of these ids; that there are none is no error. Requests: 1 read, and 1 write where something goes."""
        self._make(lambda known: known.without(*ids))

    def set_lifetime(self, days: int) -> None:
        """Let everything expire after so many days; 0 or less cancels that. The rule is messageflux's own.

        Requests:
            1 read, and 1 write where something changes
        """
        if isinstance(days, bool) or not isinstance(days, int):
            raise TypeError(f"days must be a whole number of days, not {type(days).__name__}")

        def merged(known: LifecycleConfiguration) -> LifecycleConfiguration:
            others = tuple(rule for rule in known.rules if not _is_ours(rule))
            if days <= 0:
                return replace(known, rules=others)
            taken = {rule.id for rule in others}
            id = next((id for id in _LIFETIME_IDS if id not in taken), _LIFETIME_IDS[-1])
            return replace(known, rules=in_place(known.rules, LifecycleRule(id, expire_days=days), _is_ours))

        self._make(merged)

    def _put_rule(self, rule: LifecycleRule) -> None:
        self._make(lambda known: known.with_rule(rule))


def _is_ours(rule: LifecycleRule) -> bool:
    """Whether a rule is ours by its id, and by what it says: the lifetime of the whole bucket and nothing else."""
    return rule.id in _LIFETIME_IDS and rule.is_whole_bucket_lifetime
