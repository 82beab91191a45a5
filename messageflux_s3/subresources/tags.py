"""?tagging: the tags of a bucket or an object, merged by name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from .._client.connection import KNOWS_TAGGING
from .._formats import version_ids
from .._formats.plain import plain
from ..errors import S3Error, S3Unsupported
from . import xml
from .base import Change, SubResource, check_entries, check_names
from .xml import Node, leaf

_UNCLEAR = re.compile("[='\"]")


@dataclass(frozen=True, slots=True)
class TagSet(Mapping[str, str]):
    """Tags, as a frozen mapping.

    Attributes:
        pairs: Pairs of name and value, sorted by name.
        unknown: Other elements of the document and of its tags; sent back unchanged.
    """

    pairs: tuple[tuple[str, str], ...] = ()
    unknown: tuple[Node, ...] = ()

    def __post_init__(self) -> None:
        hint = "; TagSet.of(tags) takes a mapping"
        pairs = check_entries("pairs", self.pairs, tuple, hint)
        for pair in pairs:
            if len(pair) != 2 or not all(isinstance(text, str) for text in pair):
                raise TypeError(
                    f"pairs must be a tuple of pairs of name and value, both text; it contains {pair!r}{hint}"
                )
        object.__setattr__(self, "pairs", tuple((plain(name), plain(value)) for name, value in pairs))

    @classmethod
    def of(cls, tags: Mapping[str, str]) -> TagSet:
        """Make a set of tags from a mapping of text to text.

        Raises:
            TypeError: ``tags`` is not such a mapping.
            ValueError: A name is empty or longer than 128 characters, or a value longer than 256.
        """
        if not isinstance(tags, Mapping):
            raise TypeError(f"tags must be a mapping of text to text, not {type(tags).__name__}")
        for name, value in tags.items():
            if not isinstance(name, str) or not isinstance(value, str):
                raise TypeError(f"tags must be a mapping of text to text; the entry {name!r} is {type(value).__name__}")
            if not 0 < len(name) <= 128 or len(value) > 256:
                raise ValueError(f"tag {name[:40]!r}: a name must have 1 to 128 characters, a value at most 256")
        return cls(tuple(sorted(tags.items())))

    @classmethod
    def from_api(cls, node: Node) -> TagSet:
        """Read a ``Tagging`` document."""
        inside = node.get("TagSet") or Node("TagSet")
        pairs = tuple(sorted((tag.text_of("Key") or "", tag.text_of("Value") or "") for tag in inside.all("Tag")))
        say_more = tuple(tag for tag in inside.all("Tag") if tag.without("Key", "Value"))
        return cls(pairs, (*say_more, *inside.without("Tag"), *node.without("TagSet")))

    def to_api(self) -> Node:
        """Return the ``Tagging`` document."""
        more = {tag.text_of("Key"): tag.without("Key", "Value") for tag in self.unknown if tag.name == "Tag"}
        tags = tuple(
            Node("Tag", children=(leaf("Key", name), leaf("Value", value), *more.get(name, ())))
            for name, value in self.pairs
        )
        return Node(
            "Tagging", children=(Node("TagSet", children=tags), *(node for node in self.unknown if node.name != "Tag"))
        )

    def lines(self) -> list[str]:
        """Return one line per tag. A name that contains ``=`` is quoted: the tag ``a=b`` with ``c`` is not ``a`` with ``b=c``."""
        return [f"{name!r}={value}" if _UNCLEAR.search(name) else f"{name}={value}" for name, value in self.pairs]

    def with_tags(self, tags: Mapping[str, str]) -> TagSet:
        """Add tags, or replace the values of those that exist."""
        return replace(self, pairs=tuple(sorted({**self, **tags}.items())))

    def without(self, *names: str) -> TagSet:
        """Remove the tags with these names."""
        return replace(self, pairs=tuple(pair for pair in self.pairs if pair[0] not in names))

    def __getitem__(self, name: str) -> str:
        return dict(self.pairs)[name]

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)


class Tags(SubResource[TagSet]):
    """``bucket.tags`` and ``obj.tags``: tags, merged by name. Each access sends a request; call ``get()`` to read several.

    Example:
        >>> obj = bucket.put_object("k", "x", tags={"a": "1"})
        >>> obj.tags["b"] = "2"
        >>> dict(obj.tags.get())
        {'a': '1', 'b': '2'}
        >>> del obj.tags["a"]
        >>> obj.tags["b"]
        '2'
    """

    name = "tagging"
    _value = TagSet
    _roots = ("Tagging",)
    _absent = ("NoSuchTagSet", "NoSuchTagSetError")
    _put_parameters: ClassVar[dict[str, Any]] = {"Tagging": {"TagSet": []}}
    _get = "GetBucketTagging"
    _put = "PutBucketTagging"
    _delete = "DeleteBucketTagging"

    def _from_document(self, document: bytes) -> TagSet:
        return TagSet.from_api(xml.parse(document))

    def _to_document(self, value: TagSet) -> bytes:
        return xml.write(value.to_api())

    def _empty(self) -> TagSet:
        return TagSet()

    def put(self, value: TagSet | Mapping[str, str]) -> None:
        """Replace all tags. ``update()`` keeps the other tags.

        Requests:
            1; on a store that is not AWS also 2 reads
        """
        tags = self._checked(value)
        if tags.pairs:
            super().put(tags)
        else:
            self.delete()

    def change(self, value: TagSet | Mapping[str, str]) -> Change[TagSet]:
        """Plan the replacement of all tags, without making it; ``apply()`` of the change makes it. Requests: 1 read."""
        return super().change(self._checked(value))

    def _checked(self, value: TagSet | Mapping[str, str]) -> TagSet:
        return value if isinstance(value, TagSet) else TagSet.of(value)

    def ensure(self, tags: Mapping[str, str], *, dry_run: bool = False) -> Change[TagSet]:
        """Add tags, or replace the values of those that exist. Other tags stay.

        Args:
            tags: Values by name.
            dry_run: Whether only to plan the change; its ``apply()`` makes it.

        Returns:
            The change, applied unless ``dry_run`` is set.

        Raises:
            TypeError: ``tags`` is not a mapping of text to text.
            ValueError: A name or a value is longer than S3 allows, or a name is empty.

        Requests:
            1 read; if something changes 1 write (on a store that is not AWS 2 more reads)

        Example:
            >>> bucket.tags.ensure({"team": "erp"}).applied
            True
        """
        added = TagSet.of(tags)
        return self._make(lambda known: known.with_tags(added), dry_run=dry_run)

    def update(self, tags: Mapping[str, str], *, dry_run: bool = False) -> Change[TagSet]:
        """Add tags, or replace the values of those that exist, as ``ensure()`` does. Requests: those of ``ensure()``."""
        return self.ensure(tags, dry_run=dry_run)

    def remove(self, *names: str, dry_run: bool = False) -> Change[TagSet]:
        """Remove the tags with these names. Idempotent. Requests: those of ``ensure()``."""
        check_names("names", names)
        return self._make(lambda known: known.without(*names), dry_run=dry_run)

    def __getitem__(self, name: str) -> str:
        """Return the value of a tag: ``tags["a"]``. Requests: 1."""
        return self.get()[name]

    def __setitem__(self, name: str, value: str) -> None:
        """Set a tag: ``tags["a"] = "b"``. Requests: those of ``update()``."""
        self.update({name: value})

    def __delitem__(self, name: str) -> None:
        """Remove a tag: ``del tags["a"]``. Requests: 1 read, and those of ``put()``.

        Raises:
            KeyError: There is no such tag.
        """
        known = self.get()
        if name not in known:
            raise KeyError(name)
        self.put(known.without(name))

    __iter__ = None  # iterating would hide a request; get() returns a mapping


class ObjectTags(Tags):
    """The tags of an object, or of one of its versions.

    On a store that is not AWS the tags of a version are used only if the response names that version, or if the store has refused to
    return the tags of a version that does not exist: others ignore the version ID. That is asked once for each bucket.
    """

    _get = "GetObjectTagging"
    _put = "PutObjectTagging"
    _delete = "DeleteObjectTagging"

    def _fetch(self, *, may_be_empty: bool = False) -> bytes | None:
        document = super()._fetch(may_be_empty=may_be_empty)
        version_id = self._target.get("VersionId")
        if version_id is None or self._connection.is_aws:
            return document
        confirmed = None if document is None else self._connection.received_header("x-amz-version-id")
        if confirmed != version_id and (confirmed or not self._knows_versions(version_id)):
            raise S3Unsupported(
                f"{self._where()}: asked for the tags of version {version_id}, the store sent those of "
                f"{f'version {confirmed}' if confirmed else 'the current object'}. Nothing was written.",
                operation=self._get,
                bucket=self._bucket.name,
                key=self._key,
            )
        return document

    def _knows_versions(self, version_id: str) -> bool:
        """Return whether the store refuses to return the tags of a version that does not exist. Requests: 1 for each bucket."""
        facts, fact = self._connection.facts, f"tags of versions:{self._bucket.name}"
        known: bool | None = facts.get(fact)
        if known is None:
            missing = {**self._target, "VersionId": version_ids.missing(version_id)}
            try:
                self._connection.read_document(self._get, **missing)
                known = False
            except S3Error as error:
                if error.retryable:
                    raise
                known = (
                    error.status in (400, 403, 404) and error.code not in self._absent
                )  # 403: without the right to list
            facts[fact] = known
        return known

    def _is_own(self, document: bytes) -> bool:
        if super()._is_own(document):
            self._connection.facts[KNOWS_TAGGING] = True
            return True
        # Two cases have an empty response: radosgw sends it for a copy that lost its tags, and a store that ignores ?tagging sends it
        # for an empty object. Accept it only if the store is known to support ?tagging.
        is_known = self._connection.capabilities.object_tagging or self._connection.facts.get(KNOWS_TAGGING)
        return not document and self._connection.received_header("etag") is None and bool(is_known)

    def _parse(self, document: bytes) -> TagSet:
        return super()._parse(document) if document else TagSet()
