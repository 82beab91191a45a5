"""Who may read a bucket without a key: the public access block lifted or set, our own statement in the policy, nothing else touched."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from .._client.connection import Connection
from ..errors import S3AccessDenied, S3Error, S3Unsupported
from . import xml
from .base import SubResource, in_place
from .policy import BucketPolicy, Policy, canonical
from .xml import Node, leaf

SID = "MessagefluxS3PublicRead"
_PAUSES_S = (0.25, 0.5, 1.0, 2.0, 4.0)

_FLAGS = {
    "block_public_acls": "BlockPublicAcls",
    "ignore_public_acls": "IgnorePublicAcls",
    "block_public_policy": "BlockPublicPolicy",
    "restrict_public_buckets": "RestrictPublicBuckets",
}


@dataclass(frozen=True, slots=True)
class AccessBlock:
    """A bucket's public access block.

    Attributes:
        block_public_acls: Refuse ACLs that would make something public.
        ignore_public_acls: Ignore those that stand.
        block_public_policy: Refuse policies that would make the bucket public.
        restrict_public_buckets: Ignore the public part of those that stand.
        unknown: Whatever else the document says; kept as it is.
    """

    block_public_acls: bool = False
    ignore_public_acls: bool = False
    block_public_policy: bool = False
    restrict_public_buckets: bool = False
    unknown: tuple[Node, ...] = ()

    @classmethod
    def from_api(cls, node: Node) -> AccessBlock:
        """From the document that S3 sends."""
        flags = {ours: (node.text_of(theirs) or "").lower() == "true" for ours, theirs in _FLAGS.items()}
        return cls(**flags, unknown=node.without(*_FLAGS.values()))

    def to_api(self) -> Node:
        """The document that S3 takes."""
        flags = tuple(leaf(theirs, getattr(self, ours)) for ours, theirs in _FLAGS.items())
        return Node("PublicAccessBlockConfiguration", children=(*flags, *self.unknown))

    def lines(self) -> list[str]:
        """One line a switch."""
        return [line for node in self.to_api().children for line in node.lines()]


class AccessBlockSubResource(SubResource[AccessBlock]):
    """The block itself."""

    name = "publicAccessBlock"
    _get = "GetPublicAccessBlock"
    _put = "PutPublicAccessBlock"
    _delete = "DeletePublicAccessBlock"
    _roots = ("PublicAccessBlockConfiguration", "BlockPublicAccessBlockConfiguration")  # the latter is radosgw's
    _absent = ("NoSuchPublicAccessBlockConfiguration",)
    _put_parameters: ClassVar[dict[str, Any]] = {"PublicAccessBlockConfiguration": {}}

    def _read(self, document: bytes) -> AccessBlock:
        return AccessBlock.from_api(xml.parse(document))

    def _written(self, value: AccessBlock) -> bytes:
        return xml.write(value.to_api())

    def _nothing(self) -> AccessBlock:
        return AccessBlock()


@dataclass(frozen=True, slots=True)
class PublicAccessStatus:
    """Whether a bucket is public, and why.

    Attributes:
        is_public: Whether our statement (or messageflux's) stands and no block stops it.
        is_allowed_by_policy: Whether that statement stands.
        block: The public access block; None where the store has none.
        other_public_statements: How many other statements allow something to everybody; they are not ours to drop.
    """

    is_public: bool
    is_allowed_by_policy: bool
    block: AccessBlock | None
    other_public_statements: int

    def __str__(self) -> str:
        others = f", {self.other_public_statements} other public statement(s)" if self.other_public_statements else ""
        return f"{'public' if self.is_public else 'not public'}{others}"


class PublicAccess:
    """``bucket.public_access``: let everybody read and list a bucket, and take it back.

    Example:
        >>> bucket.public_access.allow()
        >>> print(bucket.public_access.status())
        public
        >>> bucket.public_access.block()
        >>> print(bucket.public_access.status())
        not public
    """

    def __init__(self, connection: Connection, bucket_name: str) -> None:
        self._bucket_name = bucket_name
        self._policy = Policy(connection, bucket_name)
        self._block = AccessBlockSubResource(connection, bucket_name)

    def allow(self) -> None:
        """Let everybody read and list the bucket: lift this bucket's own block, merge our statement into the policy.

        Where the policy is refused, the block is set again as it was.

        Raises:
            S3Unsupported: The store has no bucket policies; nothing was sent.
            S3AccessDenied: The account's own block forbids it; said after some seconds, which a block just lifted may take.

        Requests:
            2 reads, up to 2 writes (on a store that is not AWS each write is read back)
        """
        before = self._policy.get()
        block = self._known_block()
        stands_in_the_way = block is not None and (block.block_public_policy or block.restrict_public_buckets)
        if block is not None and stands_in_the_way:
            self._block.put(replace(block, block_public_policy=False, restrict_public_buckets=False))
        wanted = replace(before, statements=in_place(before.statements, canonical(self._statement()), self._is_ours))
        if wanted == before:
            return
        try:
            self._put_policy(wanted, _PAUSES_S if stands_in_the_way else ())
        except S3Error:
            if block is not None and stands_in_the_way:
                self._block.put(block)
            raise

    def _put_policy(self, policy: BucketPolicy, pauses: Sequence[float]) -> None:
        """Write it; a block that was lifted just now may stop it for a few seconds more."""
        for pause in pauses:
            try:
                self._policy.put(policy)
                return
            except S3AccessDenied:
                time.sleep(pause)
        self._policy.put(policy)

    def block(self) -> None:
        """Take it back: drop our statement (and messageflux's) from the policy, and set this bucket's block where the store has one.

        Raises:
            S3Unsupported: The store has no bucket policies; nothing was sent.

        Requests:
            2 reads, up to 2 writes (on a store that is not AWS each write is read back)
        """
        before = self._policy.get()
        kept = BucketPolicy(tuple(text for text in before.statements if not self._is_ours(text)), before.rest)
        if kept != before:
            self._policy.put(kept)
        block = self._known_block()
        if block is not None:
            wanted = AccessBlock(True, True, True, True, block.unknown)
            if wanted != block:
                self._block.put(wanted)

    def status(self) -> PublicAccessStatus:
        """Whether the bucket is public, and why.

        Requests:
            2
        """
        policy = self._policy.get()
        block = self._known_block()
        ours = any(self._is_ours(text) for text in policy.statements)
        others = sum(1 for text in policy.statements if not self._is_ours(text) and _is_public(json.loads(text)))
        stopped = block is not None and block.restrict_public_buckets
        return PublicAccessStatus((ours or others > 0) and not stopped, ours, block, others)

    def _known_block(self) -> AccessBlock | None:
        """The block; None where the store has no such thing (many have policies alone)."""
        try:
            return self._block.get()
        except S3Unsupported:
            return None

    def _statement(self) -> dict[str, Any]:
        arn = f"arn:aws:s3:::{self._bucket_name}"
        return {
            "Sid": SID,
            "Effect": "Allow",
            "Principal": "*",
            "Action": ["s3:GetObject", "s3:ListBucket"],
            "Resource": [arn, f"{arn}/*"],
        }

    def _is_ours(self, text: str) -> bool:
        """Ours by its Sid, or messageflux's: the same statement without one."""
        statement = json.loads(text)
        if statement.get("Sid") == SID:
            return True
        bare = {name: value for name, value in self._statement().items() if name != "Sid"}
        if statement.get("Sid") or statement.keys() - {"Sid"} != bare.keys():
            return False
        principal = statement["Principal"]
        return (
            statement["Effect"] == "Allow"
            and (principal == "*" or principal == {"AWS": "*"} or principal == {"AWS": ["*"]})
            and sorted(statement["Action"]) == sorted(bare["Action"])
            and sorted(statement["Resource"]) == sorted(bare["Resource"])
        )

    def __repr__(self) -> str:
        return f"<public access of s3://{self._bucket_name}/>"


def _is_public(statement: Mapping[str, Any]) -> bool:
    principal = statement.get("Principal")
    everybody = principal == "*" or (isinstance(principal, Mapping) and principal.get("AWS") in ("*", ["*"]))
    return statement.get("Effect") == "Allow" and everybody and not statement.get("Condition")
