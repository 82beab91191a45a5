"""Whether what arrived is what was sent: an MD5 travels with a body, and the one that the store tells is held to it.

This room knows a connection and what goes over it. Where boto3 sends a checksum of its own (to AWS, and wherever the store's probe found
that it takes them) nothing is added: the store compares.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from .connection import Connection
from .errors import S3ChecksumError

_MD5 = re.compile(r"[0-9a-f]{32}")
_MD5_OF_PARTS = re.compile(r"[0-9a-f]{32}-[1-9][0-9]*")
_ETAGS_ARE_OTHERS = "etags_are_no_md5"
_PIECE_BYTES = 1024 * 1024


def md5_of(answer: Mapping[str, Any]) -> str | None:
    """The MD5 that an answer tells of an object; None where its etag is none, as of parts or of what is encrypted with a key of its own."""
    return _etag_like(_MD5, answer)


def md5_of_parts(answer: Mapping[str, Any]) -> str | None:
    """The MD5 of its parts' MD5s, and their number, that an answer tells of an object written in parts; else None."""
    return _etag_like(_MD5_OF_PARTS, answer)


def _etag_like(pattern: re.Pattern[str], answer: Mapping[str, Any]) -> str | None:
    etag = str(answer.get("ETag") or "").strip('"')
    if not pattern.fullmatch(etag) or answer.get("SSECustomerAlgorithm"):
        return None
    return etag if answer.get("ServerSideEncryption") in (None, "AES256") else None


def of_parts(etags: Sequence[str]) -> str | None:
    """The etag of an object made of parts with these etags; None where they are no MD5s."""
    bare = [etag.strip('"') for etag in etags]
    if not all(map(_MD5.fullmatch, bare)):
        return None
    return f"{hashlib.md5(bytes.fromhex(''.join(bare)), usedforsecurity=False).hexdigest()}-{len(bare)}"


def is_refuted(etag: str | None, body: bytes) -> bool:
    """Whether an etag is an MD5, and not this content's. Of an object that is encrypted it may be so without any harm."""
    return etag is not None and _MD5.fullmatch(etag) is not None and hashlib.md5(body, usedforsecurity=False).hexdigest() != etag


def is_wanted(connection: Connection, parameters: Mapping[str, Any]) -> bool:
    """Whether a write has to be checked here: boto3 sends no checksum, and the user none."""
    return not connection.capabilities.checksums and not any(name.startswith(("Checksum", "ContentMD5")) for name in parameters)


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


def call(connection: Connection, operation: str, parameters: Mapping[str, Any], *, encrypted: bool = False) -> dict[str, Any]:
    """Send a body with its MD5, by which most stores refuse what changed on the way, and compare the MD5 that the store tells.

    Args:
        connection: The way to the store.
        operation: PutObject or UploadPart.
        parameters: Its parameters, a ``Body`` of bytes among them.
        encrypted: Whether the store was told earlier to encrypt (an upload in parts).

    Returns:
        The store's answer.

    Raises:
        S3ChecksumError: Something else arrived than was sent.

    Requests:
        1; after a PutObject whose etag is another MD5 also 1 GET, which finds out what the store's etags are
    """
    body = parameters["Body"]
    if not is_wanted(connection, parameters):
        return connection.call(operation, **parameters)
    digest = hashlib.md5(body, usedforsecurity=False)
    answer = connection.call(operation, **parameters, ContentMD5=base64.b64encode(digest.digest()).decode("ascii"))
    ours, theirs = digest.hexdigest(), md5_of(answer)
    if theirs in (None, ours) or encrypted or is_encrypted(parameters) or connection.recall(_ETAGS_ARE_OTHERS):
        return answer
    if operation == "PutObject" and _is_stored(connection, parameters, str(theirs), ours):
        connection.remember(_ETAGS_ARE_OTHERS, True)
        return answer
    raise _error(
        operation, parameters["Bucket"], parameters["Key"],
        f"the MD5 of what was sent is {ours}, that of what arrived there is {theirs}",
    )  # fmt: skip


def _is_stored(connection: Connection, parameters: Mapping[str, Any], etag: str, md5: str) -> bool:
    """Whether under this very etag the content is what was sent: then the store's etags are something else than MD5s."""
    stored = connection.call("GetObject", Bucket=parameters["Bucket"], Key=parameters["Key"])
    with stored["Body"] as body, connection.translating("GetObject", parameters["Bucket"], parameters["Key"]):
        digest = hashlib.md5(usedforsecurity=False)
        while piece := body.read(_PIECE_BYTES):
            digest.update(piece)
    return md5_of(stored) == etag and digest.hexdigest() == md5


def is_other(connection: Connection, headers: Mapping[str, str], body: bytes) -> bool:
    """Whether the fast lane's answer to a PUT tells of another content than was sent, or of none: then boto3 has to write it again.

    The content is looked at without TLS only, which lets no changed byte pass.
    """
    if "etag" not in headers:
        return True
    if connection.endpoint_url.startswith("https"):
        return False
    etag = headers["etag"].strip('"')
    if etag == hashlib.md5(body, usedforsecurity=False).hexdigest():
        return False  # as a rule; what follows is about stores whose etag is something else
    if connection.capabilities.checksums or connection.recall(_ETAGS_ARE_OTHERS):
        return False
    return md5_of({"ETag": etag, "ServerSideEncryption": headers.get("x-amz-server-side-encryption")}) is not None


def check_received(answer: Mapping[str, Any], body: bytes, bucket_name: str, key: str) -> None:
    """Hold what was read to its etag, where that is an MD5.

    Raises:
        S3ChecksumError: They differ.
    """
    theirs = md5_of(answer)
    if theirs is not None:
        compare_received(theirs, hashlib.md5(body, usedforsecurity=False).hexdigest(), bucket_name, key)


def compare_received(theirs: str, ours: str, bucket_name: str, key: str) -> None:
    """Compare the MD5 of an object with that of what arrived.

    Raises:
        S3ChecksumError: They differ.
    """
    if theirs != ours:
        raise _error("GetObject", bucket_name, key, f"the MD5 of the object is {theirs}, that of what arrived is {ours}")


def _error(operation: str, bucket_name: str, key: str, message: str) -> S3ChecksumError:
    return S3ChecksumError(
        f"{operation} on s3://{bucket_name}/{key}: {message}", operation=operation, bucket=bucket_name, key=key, retryable=True
    )
