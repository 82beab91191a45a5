"""Whether what arrived is what was sent: an MD5 travels with a body, and the one that the store tells is held to it.

This room knows a connection and what goes over it. Where boto3 sends a checksum of its own (to AWS, and wherever the store's probe found
that it takes them) nothing is added: the store compares.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import re
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from .._client.connection import Connection
from .._formats import etags
from .._formats.keys import MAX_KEY_BYTES
from ..errors import S3AccessDenied, S3ChecksumError, S3Error

logger = logging.getLogger("messageflux_s3")

_MD5 = re.compile(r"[0-9a-f]{32}")
_MD5_OF_PARTS = re.compile(r"[0-9a-f]{32}-[1-9][0-9]*")
_PIECE_BYTES = 1024 * 1024
ONLY_IN_PARTS = ("ChecksumType", "MpuObjectSize")
"""What may be said of an upload in parts, and PutObject does not take."""
_WITHOUT_END = 1 << 62
_DOES_NOT_KNOW_PARTS = (400, 404, 405, 416, 501)
SCRATCH_PREFIX = ".mfs3-probe/"
"""Below here lie the scratch objects by which a store is asked how it behaves, while it is being asked."""


def known_md5(connection: Connection, bucket_name: str, answer: Mapping[str, Any]) -> str | None:
    """Return the MD5 of an object's content that its ETag is, or None.

    An ETag of 32 hexadecimal digits is an MD5 on most stores, unless the answer names an encryption with a key. Others look the same and
    are none: of stores that encrypt without saying so, directory buckets, restored objects, stores with another hash. This is found out
    where such an ETag does not match content that is known to be right, and is remembered for the bucket.

    Args:
        connection: The way to the store.
        bucket_name: The bucket.
        answer: Headers of the object, under boto3's names; of a listing the ``ETag`` alone.
    """
    return None if are_no_md5s(connection, bucket_name) else md5_of(answer)


def known_md5_of_parts(connection: Connection, bucket_name: str, answer: Mapping[str, Any]) -> str | None:
    """Return the MD5 of the parts' MD5s, and their number, that the ETag of an object written in parts is, or None."""
    return None if are_no_md5s(connection, bucket_name) else md5_of_parts(answer)


def are_no_md5s(connection: Connection, bucket_name: str) -> bool:
    """Return whether ETags in this bucket were found to be something else than MD5s."""
    return bool(connection.recall(_fact(bucket_name)))


def _learn(connection: Connection, bucket_name: str, key: str) -> None:
    if not are_no_md5s(connection, bucket_name):
        logger.warning(
            "the ETag of s3://%s/%s is not the MD5 of its content; ETags of this bucket are not compared any more",
            bucket_name,
            key,
        )
    connection.remember(_fact(bucket_name), True)


def _fact(bucket_name: str) -> str:
    return f"etags_are_no_md5:{bucket_name}"


def md5_of(answer: Mapping[str, Any]) -> str | None:
    """Return the ETag of an answer if the answer alone does not rule out that it is an MD5. To rely on it, use :func:`known_md5`."""
    return _etag_like(_MD5, answer)


def md5_of_parts(answer: Mapping[str, Any]) -> str | None:
    """Return the ETag of an answer if it has the form of one made of the MD5s of parts."""
    return _etag_like(_MD5_OF_PARTS, answer)


def _etag_like(pattern: re.Pattern[str], answer: Mapping[str, Any]) -> str | None:
    etag = etags.unquoted(str(answer.get("ETag") or "")) or ""
    if not pattern.fullmatch(etag) or answer.get("SSECustomerAlgorithm"):
        return None
    return etag if answer.get("ServerSideEncryption") in (None, "AES256") else None


def hash_parts(pieces: Iterable[bytes], part_sizes: Sequence[int]) -> str:
    """Return the etag of an object made of parts of these sizes, from its content in order."""
    digests = []
    waiting = iter(part_sizes)
    left = next(waiting, _WITHOUT_END)  # what is too much makes one part more, and another etag
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


def uniform_parts(size: int, part_size: int) -> list[int]:
    """Return the sizes of the parts of an object, all of one size but the last."""
    return [min(part_size, size - start) for start in range(0, size, part_size)] if size else [0]


def first_part_size(
    connection: Connection, bucket_name: str, key: str, parameters: Mapping[str, Any] | None = None
) -> int | None:
    """Return how long the first part of an object is; None where the store does not say.

    Requests:
        1 HEAD
    """
    return _part_size(connection, bucket_name, key, 1, parameters)


def part_sizes(
    connection: Connection,
    bucket_name: str,
    key: str,
    size: int,
    count: int,
    parameters: Mapping[str, Any] | None = None,
) -> list[int] | None:
    """Return the size of each part of an object whose parts may differ in size; None where the store does not say.

    Requests:
        1 HEAD for each part
    """
    sizes: list[int] = []
    for number in range(1, count + 1):
        found = _part_size(connection, bucket_name, key, number, parameters)
        if not found or sum(sizes) + found > size:
            return None
        sizes.append(found)
    return sizes if sum(sizes) == size else None


def told_part_sizes(
    connection: Connection,
    bucket_name: str,
    key: str,
    size: int,
    count: int,
    parameters: Mapping[str, Any] | None = None,
) -> Iterator[list[int]]:
    """Yield the sizes of an object's parts, as far as the store tells them: first as the first part suggests, all alike but the last;
    then, if that was not right, those of all parts. Nothing where the store does not tell.

    Requests:
        1 HEAD; when asked to go on 1 HEAD, and 1 HEAD for each part where they are not alike
    """
    first = first_part_size(connection, bucket_name, key, parameters)
    if not first:
        return
    if -(-size // first) == count:
        alike = uniform_parts(size, first)
        yield alike
        if _part_size(connection, bucket_name, key, count, parameters) == alike[-1]:
            return
    told = part_sizes(connection, bucket_name, key, size, count, parameters)
    if told is not None:
        yield told


def _part_size(
    connection: Connection, bucket_name: str, key: str, number: int, parameters: Mapping[str, Any] | None
) -> int | None:
    try:
        # Without If-Match: some stores compare it with the part's own etag.
        answer = connection.call("HeadObject", Bucket=bucket_name, Key=key, PartNumber=number, **(parameters or {}))
    except S3Error as error:
        if error.status not in _DOES_NOT_KNOW_PARTS:
            raise
        return None
    found: int | None = answer.get("ContentLength")
    return found


def compare_received_parts(
    connection: Connection,
    theirs: str,
    pieces: Callable[[], Iterable[bytes]],
    size: int,
    bucket_name: str,
    key: str,
    parameters: Mapping[str, Any] | None = None,
) -> None:
    """Compare the etag of an object written in parts with what arrived, where the store says how long the parts are.

    Args:
        connection: The way to the store.
        theirs: The etag, from :func:`known_md5_of_parts`.
        pieces: Reads what arrived, from its beginning; it may be called several times.
        size: The object's size.
        bucket_name: The bucket.
        key: The key.
        parameters: What the GET had besides.

    Raises:
        S3ChecksumError: What arrived is not the object.

    Requests:
        1 HEAD; where they differ or the parts are of unequal length also 1 HEAD for each part, and where they differ 1 GET
    """
    count = int(theirs.rpartition("-")[2])
    ours = None
    for sizes in told_part_sizes(connection, bucket_name, key, size, count, parameters):
        ours = hash_parts(pieces(), sizes)
        if ours == theirs:
            return
    if ours is None:
        return  # the store does not tell
    stored = connection.call("GetObject", Bucket=bucket_name, Key=key, **(parameters or {}))
    with stored["Body"] as body, connection.translating("GetObject", bucket_name, key):
        again = (
            hash_parts(iter(lambda: body.read(_PIECE_BYTES), b""), sizes) if md5_of_parts(stored) == theirs else None
        )
    if again != ours:
        raise mismatch(theirs, ours, bucket_name, key)
    _learn(connection, bucket_name, key)


def of_parts(part_etags: Sequence[str]) -> str | None:
    """The etag of an object made of parts with these etags; None where they are no MD5s."""
    bare = [etags.unquoted(etag) or "" for etag in part_etags]
    if not all(map(_MD5.fullmatch, bare)):
        return None
    return f"{hashlib.md5(bytes.fromhex(''.join(bare)), usedforsecurity=False).hexdigest()}-{len(bare)}"


def is_refuted(connection: Connection, bucket_name: str, etag: str | None, body: bytes) -> bool:
    """Return whether an etag may be an MD5, and is not that of this content; of an encrypted object that proves nothing."""
    md5 = known_md5(connection, bucket_name, {"ETag": etag})
    return md5 is not None and hashlib.md5(body, usedforsecurity=False).hexdigest() != md5


def is_wanted(connection: Connection, parameters: Mapping[str, Any]) -> bool:
    """Whether a write has to be checked here: boto3 sends no checksum, and the user none."""
    return not connection.capabilities.checksums and not any(
        name.startswith(("Checksum", "ContentMD5")) for name in parameters
    )


def is_encrypted(parameters: Mapping[str, Any]) -> bool:
    """Whether a write asks for encryption: no etag is taken for an MD5 then."""
    return any(name.startswith(("SSE", "ServerSideEncryption")) for name in parameters)


def algorithm_of_parts(connection: Connection, parameters: Mapping[str, Any]) -> str | None:
    """Return the checksum algorithm to name when an upload in parts is created, so that its parts may carry checksums.

    A store that checks refuses the completion, or the parts, when they carry checksums that the upload was not created with. An upload
    created with an algorithm needs the checksum of every part at its completion.

    Args:
        connection: The way to the store.
        parameters: What the user asked of the upload, under S3's own names.

    Returns:
        That of ``ChecksumAlgorithm``, or of a checksum of the whole object (``ChecksumCRC32``), else what the client adds by itself.
    """
    if parameters.get("ChecksumAlgorithm"):
        return str(parameters["ChecksumAlgorithm"])
    for name in of_whole(parameters):
        return name.removeprefix("Checksum")
    return connection.default_checksum


def of_whole(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Return the checksum of the whole object among the parameters of a write (``ChecksumCRC32``), where the user gave one."""
    others = ("ChecksumType", "ChecksumAlgorithm")
    return {name: value for name, value in parameters.items() if name.startswith("Checksum") and name not in others}


def of_part(algorithm: str | None, answer: Mapping[str, Any]) -> dict[str, str]:
    """Return the checksum of a part as the completion names it: the one that the upload was created with, where the store told it."""
    member = f"Checksum{algorithm.upper()}" if algorithm else ""
    return {member: answer[member]} if member in answer else {}


def call(
    connection: Connection, operation: str, parameters: Mapping[str, Any], *, encrypted: bool = False
) -> dict[str, Any]:
    """Send a body with its MD5, by which most stores refuse what changed on the way, and compare the MD5 that the store tells.

    Args:
        connection: The way to the store.
        operation: PutObject or UploadPart.
        parameters: Its parameters, a ``Body`` of bytes among them. Those of an upload in parts are left out of a PutObject.
        encrypted: Whether the store was told earlier to encrypt (an upload in parts).

    Returns:
        The store's answer.

    Raises:
        S3ChecksumError: Something else arrived than was sent. Where that cannot be looked up (for want of the right to read, say), a
            warning is logged: the MD5 that was sent along is what the store had to compare.

    Requests:
        1; where the etag is another MD5, once a bucket also 1 GET of what was written, or for a part 1 PUT, 1 GET and 1 DELETE of a
        scratch object beside the key, which find out what the bucket's etags are
    """
    body = parameters["Body"]
    if operation == "PutObject":
        parameters = {name: value for name, value in parameters.items() if name not in ONLY_IN_PARTS}
    if not is_wanted(connection, parameters):
        return connection.call(operation, **parameters)
    digest = hashlib.md5(body, usedforsecurity=False)
    answer = connection.call(operation, **parameters, ContentMD5=base64.b64encode(digest.digest()).decode("ascii"))
    bucket_name, key = parameters["Bucket"], parameters["Key"]
    ours, theirs = digest.hexdigest(), known_md5(connection, bucket_name, answer)
    if theirs is None or theirs == ours or encrypted or is_encrypted(parameters):
        return answer
    # The write is done. Never report it as failed for the reason that it may not, or cannot just now, be looked at.
    if operation == "PutObject":
        has_other_etags = _look_at_written(connection, bucket_name, key, theirs, ours)
    else:
        has_other_etags = _has_other_etags(connection, bucket_name, key)
    if has_other_etags is None:
        _warn_unchecked(connection, bucket_name, key)
    if has_other_etags in (True, None):
        return answer
    raise _error(
        operation, bucket_name, key,
        f"the MD5 of what was sent is {ours}, that of what arrived there is {theirs}",
    )  # fmt: skip


def _is_stored(
    connection: Connection, bucket_name: str, key: str, etag: str, md5: str, parameters: Mapping[str, Any] | None = None
) -> bool:
    """Read an object; return whether its content has this MD5 under this very etag, which therefore is no MD5."""
    stored = connection.call("GetObject", Bucket=bucket_name, Key=key, **(parameters or {}))
    with stored["Body"] as body, connection.translating("GetObject", bucket_name, key):
        digest = hashlib.md5(usedforsecurity=False)
        while piece := body.read(_PIECE_BYTES):
            digest.update(piece)
    return md5_of(stored) == etag and digest.hexdigest() == md5


def is_content(
    connection: Connection, bucket_name: str, key: str, etag: str, md5: str, parameters: Mapping[str, Any] | None = None
) -> bool:
    """Read an object whose ETag may be an MD5; return whether its content has another, given MD5. Then the ETags of the bucket are no MD5s,
    which is remembered.

    Requests:
        1 GET; none once the ETags of the bucket are known to be no MD5s
    """
    with _finding_out:
        if are_no_md5s(connection, bucket_name):
            return True
        try:
            found = _is_stored(connection, bucket_name, key, etag, md5, parameters)
        except S3Error as error:
            logger.info("s3://%s/%s could not be read to compare it: %s", bucket_name, key, error)
            return False
        if found:
            _learn(connection, bucket_name, key)
        return found


# Parts travel side by side: one of them finds out, the others wait for its answer.
_finding_out = threading.Lock()


def _begin_anew_in_child() -> None:
    global _finding_out
    _finding_out = threading.Lock()  # the parent's may have been held by a thread that the child does not have


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no forks
    os.register_at_fork(after_in_child=_begin_anew_in_child)


def _look_at_written(connection: Connection, bucket_name: str, key: str, theirs: str, ours: str) -> bool | None:
    """Return whether the bucket's etags are no MD5s, from what was just written; None where it cannot be read."""
    try:
        if not _is_stored(connection, bucket_name, key, theirs, ours):
            return False
    except S3Error as error:
        logger.info("s3://%s/%s could not be read back: %s", bucket_name, key, error)
        return None
    _learn(connection, bucket_name, key)
    return True


def _warn_unchecked(connection: Connection, bucket_name: str, key: str) -> None:
    fact = f"etags_not_looked_up:{bucket_name}"
    with _finding_out:
        is_first = not connection.recall(fact)
        connection.remember(fact, True)
    if is_first:
        logger.warning(
            "the ETag of s3://%s/%s is not the MD5 of what was sent, and what was written could not be read back to compare it; "
            "an MD5 was sent along for the store to compare",
            bucket_name, key,
        )  # fmt: skip


def _has_other_etags(connection: Connection, bucket_name: str, key: str) -> bool | None:
    """Find out whether the bucket's etags are no MD5s by writing a scratch object beside a key, where the same rights hold.

    A part cannot be read back before it is an object.

    Returns:
        None where the scratch object cannot be written or read.

    Requests:
        1 PUT, 1 GET where the etag is no MD5, 1 DELETE
    """
    prefix = key[: key.rfind("/") + 1].encode()[: MAX_KEY_BYTES - 32].decode("utf-8", "ignore")
    denied = f"etags_may_not_be_looked_up:{bucket_name}/{prefix}"
    with _finding_out:
        if are_no_md5s(connection, bucket_name):
            return True
        if connection.recall(denied):
            return None
        scratch = f"{prefix}mfs3-probe-{secrets.token_hex(8)}"
        body = secrets.token_bytes(32)
        ours = hashlib.md5(body, usedforsecurity=False).hexdigest()
        found: bool | None = False
        try:
            answer = connection.call("PutObject", Bucket=bucket_name, Key=scratch, Body=body)
        except S3Error as error:
            logger.info(
                "s3://%s/%s could not be written to find out what the ETags of this bucket are: %s",
                bucket_name,
                scratch,
                error,
            )
            if isinstance(error, S3AccessDenied):
                connection.remember(denied, True)
            return None
        try:
            theirs = md5_of(answer)
            if theirs is not None and theirs != ours and _is_stored(connection, bucket_name, scratch, theirs, ours):
                _learn(connection, bucket_name, scratch)
                found = True
        except S3Error as error:
            logger.info("s3://%s/%s could not be read back: %s", bucket_name, scratch, error)
            if isinstance(error, S3AccessDenied):
                connection.remember(denied, True)
            found = None
        finally:
            version = {"VersionId": answer["VersionId"]} if answer.get("VersionId") else {}
            try:
                connection.call("DeleteObject", Bucket=bucket_name, Key=scratch, **version)
            except S3Error as error:
                logger.warning("a scratch object may be left at s3://%s/%s", bucket_name, scratch, exc_info=error)
        return found


def is_other(connection: Connection, bucket_name: str, headers: Mapping[str, str], body: bytes) -> bool:
    """Whether the fast lane's answer to a PUT tells of another content than was sent, or of none: then boto3 has to write it again.

    The content is looked at without TLS only, which lets no changed byte pass.
    """
    if "etag" not in headers:
        return True
    if connection.endpoint_url.startswith("https"):
        return False
    etag = etags.unquoted(headers["etag"])
    if etag == hashlib.md5(body, usedforsecurity=False).hexdigest():
        return False  # as a rule; what follows is about stores whose etag is something else
    if connection.capabilities.checksums:
        return False
    answer = {"ETag": etag, "ServerSideEncryption": headers.get("x-amz-server-side-encryption")}
    return known_md5(connection, bucket_name, answer) is not None


def check_received(connection: Connection, answer: Mapping[str, Any], body: bytes, bucket_name: str, key: str) -> None:
    """Compare what was read with its etag, where that is an MD5.

    Raises:
        S3ChecksumError: They differ, and so does what a second GET brings.

    Requests:
        none; 1 GET where they differ
    """
    theirs = known_md5(connection, bucket_name, answer)
    if theirs is not None:
        compare_received(connection, theirs, hashlib.md5(body, usedforsecurity=False).hexdigest(), bucket_name, key)


def compare_received(
    connection: Connection,
    theirs: str,
    ours: str,
    bucket_name: str,
    key: str,
    parameters: Mapping[str, Any] | None = None,
) -> None:
    """Compare the etag of an object with the MD5 of what arrived. Where they differ, read once more.

    Content that is the same twice was not changed on its way: then the etag is no MD5, which is remembered for the bucket.

    Args:
        connection: The way to the store.
        theirs: The etag, from :func:`known_md5`.
        ours: The MD5 of what arrived.
        bucket_name: The bucket.
        key: The key.
        parameters: What the first GET had besides (version, customer key).

    Raises:
        S3ChecksumError: What arrived is not the object.

    Requests:
        none; 1 GET where they differ
    """
    if theirs == ours:
        return
    if not _is_stored(connection, bucket_name, key, theirs, ours, parameters):
        raise mismatch(theirs, ours, bucket_name, key)
    _learn(connection, bucket_name, key)


def mismatch(theirs: str, ours: str, bucket_name: str, key: str) -> S3ChecksumError:
    """Return the error that says that something else arrived than the object."""
    return _error("GetObject", bucket_name, key, f"the MD5 of the object is {theirs}, that of what arrived is {ours}")


def _error(operation: str, bucket_name: str, key: str, message: str) -> S3ChecksumError:
    return S3ChecksumError(
        f"{operation} on s3://{bucket_name}/{key}: {message}",
        operation=operation,
        bucket=bucket_name,
        key=key,
        retryable=True,
    )
