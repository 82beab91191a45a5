"""?cors: which web pages may read and write a bucket. A new rule replaces the one with the same ID."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from .._formats.plain import plain
from . import xml
from .base import NO_ID, Change, SubResource, check_entries, check_id, check_names, in_place
from .xml import Node, leaf

_METHODS = ("GET", "PUT", "POST", "DELETE", "HEAD")


@dataclass(frozen=True, slots=True)
class CorsRule:
    """A CORS rule.

    Attributes:
        id: The rule's ID; ``ensure()`` replaces the rule with the same ID.
        origins: Allowed origins, ``"https://app.example"`` or ``"*"``.
        methods: Allowed methods.
        headers: Allowed request headers.
        expose: Response headers that a page may read.
        max_age_seconds: Seconds for which a browser may cache the response to a preflight request.
        unknown: Elements that this library has no field for; sent back unchanged.
    """

    id: str
    origins: tuple[str, ...]
    methods: tuple[str, ...] = ("GET",)
    headers: tuple[str, ...] = ()
    expose: tuple[str, ...] = ()
    max_age_seconds: int | None = None
    unknown: tuple[Node, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.id, str):
            raise TypeError(f"id must be text, not {type(self.id).__name__}")
        object.__setattr__(self, "id", plain(self.id))
        for name in ("origins", "methods", "headers", "expose"):
            object.__setattr__(self, name, check_entries(name, getattr(self, name), str))
        age = self.max_age_seconds
        if age is not None and (isinstance(age, bool) or not isinstance(age, int) or age < 0):
            raise ValueError(f"max_age_seconds must be a number of seconds, not {age!r}")
        if not self.unknown and not (self.origins and self.methods):
            raise ValueError("a CORS rule needs at least one origin and one method")
        if wrong := [method for method in self.methods if method not in _METHODS]:
            raise ValueError(f"methods must be among {', '.join(_METHODS)}, not {wrong[0]!r}")

    @classmethod
    def from_api(cls, node: Node) -> CorsRule:
        """Read a ``CORSRule`` element."""

        def texts(name: str) -> tuple[str, ...]:
            return tuple(child.text for child in node.all(name))

        age = node.text_of("MaxAgeSeconds") or ""
        names = ["ID", "AllowedOrigin", "AllowedMethod", "AllowedHeader", "ExposeHeader"]
        # Kept as unknown elements: methods that S3 does not have (radosgw has COPY), and an age that is not a number.
        own = tuple(child for child in node.all("AllowedMethod") if child.text not in _METHODS)
        return cls(
            node.text_of("ID") or NO_ID,
            texts("AllowedOrigin"),
            tuple(method for method in texts("AllowedMethod") if method in _METHODS),
            texts("AllowedHeader"),
            texts("ExposeHeader"),
            int(age) if age.isdecimal() else None,
            (*own, *node.without(*names, *(["MaxAgeSeconds"] if age.isdecimal() else []))),
        )

    def to_api(self) -> Node:
        """Return the ``CORSRule`` element."""
        parts = [] if self.id == NO_ID else [leaf("ID", self.id)]
        for name, values in (
            ("AllowedOrigin", self.origins),
            ("AllowedMethod", self.methods),
            ("AllowedHeader", self.headers),
            ("ExposeHeader", self.expose),
        ):
            parts += [leaf(name, value) for value in values]
        parts += [leaf("MaxAgeSeconds", self.max_age_seconds)] if self.max_age_seconds is not None else []
        return Node("CORSRule", children=(*parts, *self.unknown))

    def __str__(self) -> str:
        said = [f"{self.id}: {' '.join(self.methods)} from {' '.join(self.origins)}"]
        said += [f"headers {' '.join(self.headers)}"] if self.headers else []
        said += [f"exposes {' '.join(self.expose)}"] if self.expose else []
        said += [f"for {self.max_age_seconds} s"] if self.max_age_seconds is not None else []
        said += [" ".join(line.strip() for line in node.lines()) for node in self.unknown]
        return ", ".join(said)


@dataclass(frozen=True, slots=True)
class CorsConfiguration:
    """The CORS rules of a bucket.

    Attributes:
        rules: The rules; the first that matches a request applies.
        unknown: Other elements of the document; sent back unchanged.
    """

    rules: tuple[CorsRule, ...] = ()
    unknown: tuple[Node, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "rules", check_entries("rules", self.rules, CorsRule))

    @classmethod
    def from_api(cls, node: Node) -> CorsConfiguration:
        """Read a ``CORSConfiguration`` document."""
        return cls(tuple(CorsRule.from_api(rule) for rule in node.all("CORSRule")), node.without("CORSRule"))

    def to_api(self) -> Node:
        """Return the ``CORSConfiguration`` document."""
        return Node("CORSConfiguration", children=(*(rule.to_api() for rule in self.rules), *self.unknown))

    def lines(self) -> list[str]:
        """Return one line per rule."""
        return [*(str(rule) for rule in self.rules), *(line for node in self.unknown for line in node.lines())]

    def with_rule(self, rule: CorsRule) -> CorsConfiguration:
        """Add a rule, or replace the rule with the same ID.

        Raises:
            ValueError: The rule has no ID.
        """
        check_id(rule.id)
        return replace(self, rules=in_place(self.rules, rule, lambda known: known.id == rule.id))

    def without(self, *ids: str) -> CorsConfiguration:
        """Remove the rules with these IDs."""
        return replace(self, rules=tuple(rule for rule in self.rules if rule.id not in ids))


class Cors(SubResource[CorsConfiguration]):
    """``bucket.cors``: which web pages may read and write the bucket, merged by rule ID.

    Example:
        >>> print(bucket.cors.ensure(s3.CorsRule("app", origins=("https://app.example",), methods=("GET", "PUT"))))
        cors of s3://.../:
        --- now
        +++ then
        @@ -0,0 +1 @@
        +app: GET PUT from https://app.example
    """

    name = "cors"
    _value = CorsConfiguration
    _get = "GetBucketCors"
    _put = "PutBucketCors"
    _delete = "DeleteBucketCors"
    _roots = ("CORSConfiguration",)
    _absent = ("NoSuchCORSConfiguration",)
    _put_parameters: ClassVar[dict[str, Any]] = {"CORSConfiguration": {"CORSRules": []}}

    def _from_document(self, document: bytes) -> CorsConfiguration:
        return CorsConfiguration.from_api(xml.parse(document))

    def _to_document(self, value: CorsConfiguration) -> bytes:
        return xml.write(value.to_api())

    def _empty(self) -> CorsConfiguration:
        return CorsConfiguration()

    def put(self, value: CorsConfiguration) -> None:
        """Replace all rules; with no rules the configuration is deleted. ``ensure()`` keeps the other rules.

        Requests:
            1; on a store that is not AWS also 2 reads
        """
        self._checked(value)
        if value.rules:
            super().put(value)
        else:
            self.delete()

    def ensure(self, rule: CorsRule, *, dry_run: bool = False) -> Change[CorsConfiguration]:
        """Add a rule, or replace the rule with the same ID.

        Args:
            rule: The rule.
            dry_run: Whether only to plan the change; its ``apply()`` makes it.

        Returns:
            The change, applied unless ``dry_run`` is set.

        Raises:
            TypeError: ``rule`` is not a CorsRule.
            ValueError: The rule has no ID.

        Requests:
            1 read; if something changes 1 write (on a store that is not AWS 2 more reads)
        """
        if not isinstance(rule, CorsRule):
            raise TypeError(f"rule must be a CorsRule, not {type(rule).__name__}")
        check_id(rule.id)
        return self._make(lambda known: known.with_rule(rule), dry_run=dry_run)

    def remove(self, *ids: str, dry_run: bool = False) -> Change[CorsConfiguration]:
        """Remove the rules with these IDs. Idempotent. Requests: those of ``ensure()``."""
        check_names("ids", ids)
        return self._make(lambda known: known.without(*ids), dry_run=dry_run)
