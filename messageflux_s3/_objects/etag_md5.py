"""Whether an ETag is the MD5 of an object's content, or of the MD5s of its parts.

Only this module judges the form of an ETag, and records the buckets whose ETags are not MD5s. ``checksum.py`` uses it to compare bodies.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .._client.addresses import BucketAddress, ObjectAddress
from .._formats import etags

logger = logging.getLogger("messageflux_s3")

_MD5 = re.compile(r"[0-9a-f]{32}")
_MD5_OF_PARTS = re.compile(r"[0-9a-f]{32}-[1-9][0-9]*")
_WITHOUT_END = 1 << 62


def known_md5(bucket: BucketAddress, answer: Mapping[str, Any]) -> str | None:
    """Return an object's ETag if it is the MD5 of its content, else None.

    On most stores an ETag of 32 hexadecimal digits is an MD5, unless the response names an encryption with a key. Some ETags only look
    like one: in directory buckets, after a restore, on stores that encrypt without a header or use another hash. When such an ETag
    differs from the MD5 of content that is known to be right, the bucket is recorded as one whose ETags are not MD5s.

    Args:
        bucket: The object's bucket.
        answer: Headers of the object under boto3's names, or only its ``ETag``, from a listing.
    """
    return None if are_no_md5s(bucket) else md5_of(answer)


def known_md5_of_parts(bucket: BucketAddress, answer: Mapping[str, Any]) -> str | None:
    """Return the ETag of a multipart object if it is the MD5 of the parts' MD5s with the number of parts, else None."""
    return None if are_no_md5s(bucket) else md5_of_parts(answer)


def are_no_md5s(bucket: BucketAddress) -> bool:
    """Return whether the ETags of this bucket are known not to be MD5s, as in every directory bucket."""
    return bucket.is_directory or bool(bucket.connection.facts.get(fact(bucket)))


def learn(address: ObjectAddress) -> None:
    if not are_no_md5s(address.bucket):
        logger.warning(
            "the ETag of %s is not the MD5 of its content; ETags of this bucket are no longer compared", address.uri
        )
    address.connection.facts[fact(address.bucket)] = True


def fact(bucket: BucketAddress) -> str:
    """Return the key in ``facts`` that is true if the ETags of this bucket are not MD5s."""
    return f"etags_are_no_md5:{bucket.name}"


def md5_of(answer: Mapping[str, Any]) -> str | None:
    """Return the ETag of a response if it looks like an MD5 and no header contradicts that. For a reliable answer use :func:`known_md5`."""
    return _etag_like(_MD5, answer)


def md5_of_parts(answer: Mapping[str, Any]) -> str | None:
    """Return the ETag of a response if it has the form of a multipart object's."""
    return _etag_like(_MD5_OF_PARTS, answer)


def _etag_like(pattern: re.Pattern[str], answer: Mapping[str, Any]) -> str | None:
    etag = etags.unquoted(str(answer.get("ETag") or "")) or ""
    if not pattern.fullmatch(etag) or answer.get("SSECustomerAlgorithm"):
        return None
    return etag if answer.get("ServerSideEncryption") in (None, "AES256") else None


def hash_parts(pieces: Iterable[bytes], part_sizes: Sequence[int]) -> str:
    """Return the etag of a multipart object, computed from its content and the sizes of its parts."""
    digests = []
    waiting = iter(part_sizes)
    left = next(waiting, _WITHOUT_END)  # excess content counts as one more part, which changes the etag
    digest = hashlib.md5(usedforsecurity=False)
    for piece in pieces:
        view = memoryview(piece)
        while view:
            if not left:
                digests.append(digest.digest())
                digest, left = hashlib.md5(usedforsecurity=False), next(waiting, _WITHOUT_END)
            digest.update(view[:left])
            taken = min(left, len(view))
            view, left = view[taken:], left - taken
    digests.append(digest.digest())
    return f"{hashlib.md5(b''.join(digests), usedforsecurity=False).hexdigest()}-{len(digests)}"


def of_parts(part_etags: Sequence[str]) -> str | None:
    """Return the etag of an object made of parts with these etags; None if they are not MD5s."""
    bare = [etags.unquoted(etag) or "" for etag in part_etags]
    if not all(map(_MD5.fullmatch, bare)):
        return None
    return f"{hashlib.md5(bytes.fromhex(''.join(bare)), usedforsecurity=False).hexdigest()}-{len(bare)}"


def is_refuted(bucket: BucketAddress, etag: str | None, body: bytes) -> bool:
    """Return whether an etag has the form of an MD5 but differs from the MD5 of this content. Not conclusive for encrypted objects."""
    md5 = known_md5(bucket, {"ETag": etag})
    return md5 is not None and hashlib.md5(body, usedforsecurity=False).hexdigest() != md5
