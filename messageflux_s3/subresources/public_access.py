"""Anonymous read access to a bucket: its public access block and this library's statement in its policy; other statements are kept."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from .._client.addresses import BucketAddress
from ..errors import S3AccessDenied, S3Error, S3Unsupported
from . import xml
from .base import SubResource, add_text, in_place, was_refused
from .policy import BucketPolicy, Policy, canonical
from .xml import Node, leaf

SID = "MessagefluxS3PublicRead"
_PAUSES_S = (0.25, 0.5, 1.0, 2.0, 4.0)
_MAX_ATTEMPTS = 3  # of block(), after failures that may be temporary and after interrupts

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
        block_public_acls: Refuse new ACLs that grant public access.
        ignore_public_acls: Ignore existing public ACLs.
        block_public_policy: Refuse new policies that grant public access.
        restrict_public_buckets: Restrict access granted by an existing public policy.
        unknown: Other elements of the document; sent back unchanged.
    """

    block_public_acls: bool = False
    ignore_public_acls: bool = False
    block_public_policy: bool = False
    restrict_public_buckets: bool = False
    unknown: tuple[Node, ...] = ()

    @classmethod
    def from_api(cls, node: Node) -> AccessBlock:
        """Read a ``PublicAccessBlockConfiguration`` document."""
        flags = {ours: (node.text_of(theirs) or "").lower() == "true" for ours, theirs in _FLAGS.items()}
        return cls(**flags, unknown=node.without(*_FLAGS.values()))

    def to_api(self) -> Node:
        """Return the ``PublicAccessBlockConfiguration`` document."""
        flags = tuple(leaf(theirs, getattr(self, ours)) for ours, theirs in _FLAGS.items())
        return Node("PublicAccessBlockConfiguration", children=(*flags, *self.unknown))

    def lines(self) -> list[str]:
        """Return one line per flag."""
        return [line for node in self.to_api().children for line in node.lines()]


class AccessBlockSubResource(SubResource[AccessBlock]):
    """The public access block of a bucket."""

    name = "publicAccessBlock"
    _value = AccessBlock
    _get = "GetPublicAccessBlock"
    _put = "PutPublicAccessBlock"
    _delete = "DeletePublicAccessBlock"
    _roots = ("PublicAccessBlockConfiguration", "BlockPublicAccessBlockConfiguration")  # the latter is radosgw's
    _absent = ("NoSuchPublicAccessBlockConfiguration",)
    _put_parameters: ClassVar[dict[str, Any]] = {"PublicAccessBlockConfiguration": {}}

    def _from_document(self, document: bytes) -> AccessBlock:
        return AccessBlock.from_api(xml.parse(document))

    def _to_document(self, value: AccessBlock) -> bytes:
        return xml.write(value.to_api())

    def _empty(self) -> AccessBlock:
        return AccessBlock()


@dataclass(frozen=True, slots=True)
class PublicAccessStatus:
    """Whether a bucket is public, and why.

    Attributes:
        is_public: Whether a statement of the policy grants public access, and the block does not restrict it.
        is_allowed_by_policy: Whether the policy contains the statement of this library or of messageflux.
        block: The public access block; None if the store does not support it.
        other_public_statements: The number of other statements that grant public access; ``block()`` does not remove them.
    """

    is_public: bool
    is_allowed_by_policy: bool
    block: AccessBlock | None
    other_public_statements: int

    def __str__(self) -> str:
        others = f", {self.other_public_statements} other public statement(s)" if self.other_public_statements else ""
        return f"{'public' if self.is_public else 'not public'}{others}"


class PublicAccess:
    """``bucket.public_access``: allow or block anonymous reading and listing of a bucket.

    Example:
        >>> bucket.public_access.allow()
        >>> print(bucket.public_access.status())
        public
        >>> bucket.public_access.block()
        >>> print(bucket.public_access.status())
        not public
    """

    def __init__(self, address: BucketAddress) -> None:
        self._bucket = address
        self._policy = Policy(address)
        self._block = AccessBlockSubResource(address)

    def allow(self) -> None:
        """Let everybody read and list the bucket: lift its public access block and add a statement to its policy.

        If one of the two fails, the former block and policy are restored.

        Raises:
            S3Unsupported: The store does not support bucket policies. Nothing was sent.
            S3AccessDenied: The account's own public access block forbids that. Raised after some seconds of retries, because lifting the
                bucket's block takes effect with a delay.

        Requests:
            2 reads, up to 2 writes (on a store that is not AWS 2 more reads for each write)
        """
        before = self._policy.get()
        block = self._current_block()
        lifted = None if block is None else replace(block, block_public_policy=False, restrict_public_buckets=False)
        wanted = replace(before, statements=in_place(before.statements, canonical(self._statement()), self._is_ours))
        is_lifted = False
        try:
            if lifted is not None and lifted != block:
                self._block.put(lifted)
                is_lifted = True
            if wanted != before:
                self._put_policy(wanted, _PAUSES_S if is_lifted else ())
        except BaseException as error:
            # On a store that is not AWS, put() restores what it failed to write.
            is_unknown = self._bucket.connection.is_aws and not was_refused(error)
            try:
                if is_unknown and (is_lifted or lifted in (None, block)):
                    self._policy._undo(before, wanted, error)
            finally:
                if lifted is not None and (is_lifted or (is_unknown and lifted != block)):
                    self._block._undo(block, lifted, error)
            raise

    def _put_policy(self, policy: BucketPolicy, pauses: Sequence[float]) -> None:
        """Write the policy; retry while it is refused, since a block that was just lifted may still be in effect."""
        for pause in pauses:
            try:
                self._policy.put(policy)
                return
            except S3AccessDenied:
                time.sleep(pause)
        self._policy.put(policy)

    def block(self) -> None:
        """Block public access: remove the statement of this library or messageflux, and set the bucket's block if the store supports it.

        Raises:
            S3Unsupported: The store does not support bucket policies. Nothing was sent.
            S3Error: One of the two failed. A statement that was removed is not put back: the bucket would be public again.

        Requests:
            2 reads, up to 2 writes (on a store that is not AWS 2 more reads for each write)
        """
        before = self._policy.get()
        block = self._current_block()
        kept = BucketPolicy(tuple(text for text in before.statements if not self._is_ours(text)), before.rest)
        wanted = None if block is None else AccessBlock(True, True, True, True, block.unknown)
        interrupt: BaseException | None = None
        is_removed = False
        # A half of it is neither the state before nor the one asked for. So an interrupt is raised at the end.
        for number in range(1, _MAX_ATTEMPTS + 1):
            try:
                if kept != before and not is_removed:
                    self._policy.put(kept)
                    is_removed = True
                if wanted is not None and wanted != block:
                    self._block.put(wanted)
                break
            except BaseException as error:
                if isinstance(error, Exception):
                    may_succeed = isinstance(error, S3Error) and error.retryable
                else:
                    interrupt, may_succeed = error, True
                if number == _MAX_ATTEMPTS or not may_succeed:
                    if is_removed:
                        add_text(error, "the statement that made the bucket public was removed from its policy")
                    raise
        if interrupt is not None:
            raise interrupt

    def status(self) -> PublicAccessStatus:
        """Return whether the bucket is public, and why.

        Requests:
            2
        """
        policy = self._policy.get()
        block = self._current_block()
        ours = any(self._is_ours(text) for text in policy.statements)
        others = sum(1 for text in policy.statements if not self._is_ours(text) and _is_public(json.loads(text)))
        stopped = block is not None and block.restrict_public_buckets
        return PublicAccessStatus((ours or others > 0) and not stopped, ours, block, others)

    def _current_block(self) -> AccessBlock | None:
        """Return the block; None if the store does not support it (many support policies only)."""
        try:
            return self._block.get()
        except S3Unsupported:
            return None

    def _statement(self) -> dict[str, Any]:
        arn = self._bucket.arn
        return {
            "Sid": SID,
            "Effect": "Allow",
            "Principal": "*",
            "Action": ["s3:GetObject", "s3:ListBucket"],
            "Resource": [arn, f"{arn}/*"],
        }

    def _is_ours(self, text: str) -> bool:
        """Return whether this library wrote a statement (by its Sid), or messageflux (the same statement without a Sid)."""
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
        return f"<public access of s3://{self._bucket.name}/>"


def _is_public(statement: Mapping[str, Any]) -> bool:
    principal = statement.get("Principal")
    named = principal.get("AWS") if isinstance(principal, Mapping) else principal
    everybody = named == "*" or (isinstance(named, list) and "*" in named) or "NotPrincipal" in statement
    return statement.get("Effect") == "Allow" and everybody and not statement.get("Condition")
