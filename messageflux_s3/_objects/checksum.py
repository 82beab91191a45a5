"""Verification of bodies by MD5: sent with a write, and compared with the ETag that the store returns.

If boto3 sends a checksum itself and the store compares it (AWS, and stores that refused other bytes in a probe), nothing is added. A store
may accept checksums and ignore them: there Content-MD5 is sent as well, and the ETag is compared.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import secrets
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from .._client.addresses import BucketAddress, ObjectAddress
from .._client.connection import Connection
from .._formats import etags
from .._formats.keys import MAX_KEY_BYTES
from ..errors import S3AccessDenied, S3ChecksumError, S3Error
from . import etag_md5
from .scratch import scratch_beside
from .single_flight import single_flight

logger = logging.getLogger("messageflux_s3")

_PIECE_BYTES = 1024 * 1024
ONLY_IN_PARTS = ("ChecksumType", "MpuObjectSize")
"""Parameters of CompleteMultipartUpload that PutObject does not accept."""
_DOES_NOT_KNOW_PARTS = (400, 404, 405, 416, 501)


def uniform_parts(size: int, part_size: int) -> list[int]:
    """Return the sizes of an object's parts if all but the last have the same size."""
    return [min(part_size, size - start) for start in range(0, size, part_size)] if size else [0]


def first_part_size(address: ObjectAddress, parameters: Mapping[str, Any] | None = None) -> int | None:
    """Return the size of an object's first part; None if the store does not return it.

    Requests:
        1 HEAD
    """
    return _part_size(address, 1, parameters)


def part_sizes(
    address: ObjectAddress, size: int, count: int, parameters: Mapping[str, Any] | None = None
) -> list[int] | None:
    """Return the size of each part of an object whose parts may differ in size; None if the store does not return them.

    Requests:
        1 HEAD for each part
    """
    sizes: list[int] = []
    for number in range(1, count + 1):
        found = _part_size(address, number, parameters)
        if not found or sum(sizes) + found > size:
            return None
        sizes.append(found)
    return sizes if sum(sizes) == size else None


def told_part_sizes(
    address: ObjectAddress, size: int, count: int, parameters: Mapping[str, Any] | None = None
) -> Iterator[list[int]]:
    """Yield candidates for the sizes of an object's parts, the cheapest first.

    In the first candidate, all parts but the last have the size of the first part. The second candidate has the size of each part as the
    store returns it; it is left out if the size of the last part confirms the first candidate. Nothing is yielded if the store does not
    return part sizes.

    Requests:
        1 HEAD; after the first candidate 1 more, and 1 for each part if their sizes differ
    """
    first = first_part_size(address, parameters)
    if not first:
        return
    if -(-size // first) == count:
        alike = uniform_parts(size, first)
        yield alike
        if _part_size(address, count, parameters) == alike[-1]:
            return
    told = part_sizes(address, size, count, parameters)
    if told is not None:
        yield told


def _part_size(address: ObjectAddress, number: int, parameters: Mapping[str, Any] | None) -> int | None:
    try:
        # Without If-Match: some stores compare it with the part's own etag.
        answer = address.connection.call("HeadObject", **address.parameters, PartNumber=number, **(parameters or {}))
    except S3Error as error:
        if error.status not in _DOES_NOT_KNOW_PARTS:
            raise
        return None
    found: int | None = answer.get("ContentLength")
    return found


def compare_received_parts(
    address: ObjectAddress,
    theirs: str,
    pieces: Callable[[], Iterable[bytes]],
    size: int,
    parameters: Mapping[str, Any] | None = None,
) -> None:
    """Compare the etag of a multipart object with the bytes received, if the store returns the sizes of the parts.

    Args:
        address: The object, or the version that was read.
        theirs: The etag, from :func:`known_md5_of_parts`.
        pieces: Yields the bytes received, from the beginning; it may be called several times.
        size: The object's size.
        parameters: Further parameters of the GET.

    Raises:
        S3ChecksumError: The bytes received are not the object's.

    Requests:
        1 HEAD; if the etag differs or the parts have different sizes also 1 HEAD for each part, and if it still differs 1 GET
    """
    count = int(theirs.rpartition("-")[2])
    ours = None
    for sizes in told_part_sizes(address, size, count, parameters):
        ours = etag_md5.hash_parts(pieces(), sizes)
        if ours == theirs:
            return
    if ours is None:
        return  # the store does not return part sizes
    stored = address.connection.call("GetObject", **address.parameters, **(parameters or {}))
    with stored["Body"] as body, address.connection.translating("GetObject", address.bucket_name, address.key):
        again = (
            etag_md5.hash_parts(iter(lambda: body.read(_PIECE_BYTES), b""), sizes)
            if etag_md5.md5_of_parts(stored) == theirs
            else None
        )
    if again != ours:
        raise mismatch(address, theirs, ours)
    etag_md5.learn(address)


def is_wanted(connection: Connection, parameters: Mapping[str, Any]) -> bool:
    """Return whether this library must send an MD5 with a write.

    It need not if the user sends a checksum, or if boto3 sends one that the store is known to compare.
    """
    return not _is_compared(connection) and not any(name.startswith(("Checksum", "ContentMD5")) for name in parameters)


def _is_compared(connection: Connection) -> bool:
    """Return whether boto3 sends a checksum by default, and the store compares it with the bytes received."""
    return bool(connection.capabilities.checksums_compared) and (
        connection.is_aws or connection.default_checksum is not None
    )


def is_encrypted(parameters: Mapping[str, Any]) -> bool:
    """Return whether a write requests encryption; then its etag is not treated as an MD5."""
    return any(name.startswith(("SSE", "ServerSideEncryption")) for name in parameters)


def algorithm_of_parts(connection: Connection, parameters: Mapping[str, Any]) -> str | None:
    """Return the checksum algorithm with which to create a multipart upload, so that its parts may have checksums.

    S3 rejects parts, or the completion, with checksums of another algorithm than the upload was created with. An upload created with an
    algorithm needs the checksum of every part at its completion.

    Args:
        connection: The connection to the store.
        parameters: The user's parameters of the upload, under S3's own names.

    Returns:
        The algorithm of ``ChecksumAlgorithm``, or of a checksum of the whole object (``ChecksumCRC32``), else the client's default.
    """
    if parameters.get("ChecksumAlgorithm"):
        return str(parameters["ChecksumAlgorithm"])
    for name in of_whole(parameters):
        return name.removeprefix("Checksum")
    return connection.default_checksum


def of_whole(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Return the checksum of the whole object (``ChecksumCRC32``) among the parameters of a write; empty if there is none."""
    others = ("ChecksumType", "ChecksumAlgorithm")
    return {name: value for name, value in parameters.items() if name.startswith("Checksum") and name not in others}


def of_part(algorithm: str | None, answer: Mapping[str, Any]) -> dict[str, str]:
    """Return the checksum of a part as a parameter of the completion; empty if the store did not return it."""
    member = f"Checksum{algorithm.upper()}" if algorithm else ""
    return {member: answer[member]} if member in answer else {}


Send = Callable[..., dict[str, Any]]
"""Sends one request, with the same arguments as ``connection.call``."""


def crc32_of(body: bytes | bytearray) -> str:
    """Return the CRC32 of a body as S3 represents it."""
    return base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode("ascii")


def with_default(connection: Connection, parameters: Mapping[str, Any], body: bytes) -> Mapping[str, Any]:
    """Return the parameters of a PutObject of the lane: on AWS with the CRC32 that boto3 would add by default; the lane adds none itself.

    AWS rejects a write without a checksum in a bucket whose objects are locked by default (``x-amz-content-sha256`` does not count), and
    keeps the checksum as one of the object's.
    """
    if connection.default_checksum != "CRC32" or not connection.is_aws:  # the quicker question first
        return parameters
    if any(name.startswith(("Checksum", "ContentMD5")) for name in parameters):
        return parameters
    return {**parameters, "ChecksumCRC32": crc32_of(body)}


def call(
    connection: Connection,
    operation: str,
    parameters: Mapping[str, Any],
    *,
    encrypted: bool = False,
    md5: Any = None,
    send: Send | None = None,
) -> dict[str, Any]:
    """Send a body with Content-MD5, so that most stores reject a corrupted body, and compare the returned ETag.

    Args:
        connection: The connection to the store.
        operation: PutObject or UploadPart.
        parameters: Its parameters, including a ``Body`` of bytes. For PutObject, parameters of multipart uploads are left out.
        encrypted: Whether the multipart upload was created with encryption.
        md5: The digest object of the body's MD5, if the caller has computed it already.
        send: Called in place of ``connection.call``.

    Returns:
        boto3's response.

    Raises:
        S3ChecksumError: The bytes that the store received are not the bytes that were sent. If that cannot be verified (for example
            without permission to read), a warning is logged instead: the store itself could compare Content-MD5.

    Requests:
        1; if the ETag is another MD5, once for each bucket also 1 GET of the object, or for a part 1 PUT, 1 GET and 1 DELETE of a
        scratch object in the same folder, to find out whether the bucket's ETags are MD5s
    """
    body = parameters["Body"]
    if operation == "PutObject":
        parameters = {name: value for name, value in parameters.items() if name not in ONLY_IN_PARTS}
    address = BucketAddress(connection, parameters["Bucket"]).object(parameters["Key"])
    send = send or connection.call
    if not is_wanted(connection, parameters):
        answer = send(operation, **parameters)
        # The store has compared the bytes, so an ETag that differs is no MD5. Otherwise each write of the lane, which compares ETags, would
        # be repeated.
        is_compared = (
            operation == "PutObject" and _is_compared(connection) and not connection.endpoint_url.startswith("https")
        )
        if is_compared and etag_md5.is_refuted(address.bucket, etag_md5.md5_of(answer), body):
            etag_md5.learn(address)
        return answer
    digest = md5 or hashlib.md5(body, usedforsecurity=False)
    answer = send(operation, **parameters, ContentMD5=base64.b64encode(digest.digest()).decode("ascii"))
    ours, theirs = digest.hexdigest(), etag_md5.known_md5(address.bucket, answer)
    if theirs is None or theirs == ours or encrypted or is_encrypted(parameters):
        return answer
    # The object is written. MUST NOT report the write as failed only because the object cannot be read back.
    has_other_etags = _look_at_written(address, theirs, ours) if operation == "PutObject" else _has_other_etags(address)
    if has_other_etags is None:
        _warn_unchecked(address)
    if has_other_etags in (True, None):
        return answer
    raise _error(
        operation, address,
        f"the MD5 of the bytes sent is {ours}, but the store received bytes with the MD5 {theirs}",
    )  # fmt: skip


def _is_stored(address: ObjectAddress, etag: str, md5: str, parameters: Mapping[str, Any] | None = None) -> bool:
    """Read an object; return whether its ETag is still ``etag`` and the MD5 of its content is ``md5``.

    Callers pass two different values. If the result is True, the store's ETag is not the MD5 of the content.
    """
    stored = address.connection.call("GetObject", **address.parameters, **(parameters or {}))
    with stored["Body"] as body, address.connection.translating("GetObject", address.bucket_name, address.key):
        digest = hashlib.md5(usedforsecurity=False)
        while piece := body.read(_PIECE_BYTES):
            digest.update(piece)
    return etag_md5.md5_of(stored) == etag and digest.hexdigest() == md5


def is_content(address: ObjectAddress, etag: str, md5: str, parameters: Mapping[str, Any] | None = None) -> bool:
    """Read an object whose ETag looks like an MD5; return whether its content has the given, other MD5.

    If so, the bucket is recorded as one whose ETags are not MD5s.

    Requests:
        1 GET; none once the ETags of the bucket are known not to be MD5s
    """
    # Of several parts that are uploaded concurrently, one is read back, and the others wait for what that shows.
    with single_flight(address.connection, etag_md5.fact(address.bucket)):
        if etag_md5.are_no_md5s(address.bucket):
            return True
        try:
            found = _is_stored(address, etag, md5, parameters)
        except S3Error as error:
            logger.info("%s could not be read to compare it: %s", address.uri, error)
            return False
        if found:
            etag_md5.learn(address)
        return found


def _look_at_written(address: ObjectAddress, theirs: str, ours: str) -> bool | None:
    """Return whether the bucket's etags are not MD5s, by reading the object just written; None if it cannot be read."""
    try:
        if not _is_stored(address, theirs, ours):
            return False
    except S3Error as error:
        logger.info("%s could not be read back: %s", address.uri, error)
        return None
    etag_md5.learn(address)
    return True


def _warn_unchecked(address: ObjectAddress) -> None:
    facts, fact = address.connection.facts, f"etags_not_looked_up:{address.bucket_name}"
    with single_flight(address.connection, fact):
        is_first = not facts.get(fact)
        facts[fact] = True
    if is_first:
        logger.warning(
            "the ETag of %s is not the MD5 of the bytes sent, and the object could not be read back to compare it; "
            "Content-MD5 was sent for the store to compare",
            address.uri,
        )  # fmt: skip


def _has_other_etags(address: ObjectAddress) -> bool | None:
    """Return whether the bucket's etags are not MD5s, by writing a scratch object in the same folder (same permissions).

    A scratch object is needed because a part cannot be read before the upload is completed.

    Returns:
        None if the scratch object cannot be written or read.

    Requests:
        1 PUT, 1 GET if the etag is not the MD5, 1 DELETE; once for each folder also those of ``ScratchBeside.remove_left``
    """
    connection, key = address.connection, address.key
    prefix = key[: key.rfind("/") + 1].encode()[: MAX_KEY_BYTES - 32].decode("utf-8", "ignore")
    denied = f"etags_may_not_be_looked_up:{address.bucket_name}/{prefix}"
    with single_flight(connection, etag_md5.fact(address.bucket)) as turn:
        if etag_md5.are_no_md5s(address.bucket):
            return True
        if connection.facts.get(denied):
            return None
        body = secrets.token_bytes(32)
        ours = hashlib.md5(body, usedforsecurity=False).hexdigest()

        def look() -> bool:
            with scratch_beside(address, {}) as requests:
                scratch = address.bucket.object(requests.new_key())
                theirs = etag_md5.md5_of(requests.write("PutObject", scratch.key, Body=body))
                if theirs is None or theirs == ours or not _is_stored(scratch, theirs, ours):
                    return False
                etag_md5.learn(scratch)
                return True

        try:
            return turn.ask(look, details=prefix)
        except S3Error as error:
            logger.info("whether the ETags of %s are MD5s could not be found out: %s", address.bucket_name, error)
            if isinstance(error, S3AccessDenied):
                connection.facts[denied] = True
            return None


def is_other(bucket: BucketAddress, headers: Mapping[str, str], body: bytes) -> bool:
    """Return whether the fast lane's response to a PUT has no ETag, or the ETag of other content: then boto3 must write again.

    The ETag is compared only if the connection has no TLS, which would detect corruption itself. It is compared also on a store that
    compares checksums, since the lane sends one to AWS only.
    """
    if "etag" not in headers:
        return True
    connection = bucket.connection
    if connection.endpoint_url.startswith("https"):
        return False
    etag = etags.unquoted(headers["etag"])
    if etag == hashlib.md5(body, usedforsecurity=False).hexdigest():
        return False  # the usual case; the rest is for stores whose etag is not an MD5
    answer = {"ETag": etag, "ServerSideEncryption": headers.get("x-amz-server-side-encryption")}
    return etag_md5.known_md5(bucket, answer) is not None


def check_received(address: ObjectAddress, answer: Mapping[str, Any], body: bytes) -> None:
    """Compare a body with the object's ETag, if that is an MD5.

    Raises:
        S3ChecksumError: They differ, and a second GET did not return the same bytes.

    Requests:
        none; 1 GET if they differ
    """
    theirs = etag_md5.known_md5(address.bucket, answer)
    if theirs is not None:
        compare_received(address, theirs, hashlib.md5(body, usedforsecurity=False).hexdigest())


def compare_received(
    address: ObjectAddress, theirs: str, ours: str, parameters: Mapping[str, Any] | None = None
) -> None:
    """Compare the etag of an object with the MD5 of the bytes received. If they differ, read the object again.

    If both reads return the same bytes, the bytes were not corrupted on the way: the ETag is not an MD5, which is recorded for the bucket.

    Args:
        address: The object, or the version that was read.
        theirs: The etag, from :func:`known_md5`.
        ours: The MD5 of the bytes received.
        parameters: Parameters with which the object was read (a customer key), for the second GET.

    Raises:
        S3ChecksumError: The bytes received are not the object's.

    Requests:
        none; 1 GET if they differ
    """
    if theirs == ours:
        return
    if not _is_stored(address, theirs, ours, parameters):
        raise mismatch(address, theirs, ours)
    etag_md5.learn(address)


def mismatch(address: ObjectAddress, theirs: str, ours: str) -> S3ChecksumError:
    """Return the error to raise if the bytes received are not the object's."""
    return _error("GetObject", address, f"the MD5 of the object is {theirs}, that of the bytes received is {ours}")


def _error(operation: str, address: ObjectAddress, message: str) -> S3ChecksumError:
    return S3ChecksumError(
        f"{operation} on {address.uri}: {message}",
        operation=operation,
        bucket=address.bucket_name,
        key=address.key,
        retryable=True,
    )
