"""A stateful S3 in memory behind the scripted server: it keeps what it is sent, and checks it as AWS documents and LocalStack does."""

from __future__ import annotations

import base64
import hashlib
import re
import threading
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.etree import ElementTree

from support.scripted_server import Answer, Asked, content_of, document, refusal

MIN_PART_BYTES = 5 * 1024 * 1024


def _sha256(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()


def _crc32(body: bytes) -> bytes:
    return zlib.crc32(body).to_bytes(4, "big")


CHECKSUMS = {"crc32": _crc32, "sha256": _sha256}


@dataclass
class Part:
    """One part of an upload, and the checksums that the store knows of it (by lower-case algorithm, base64)."""

    body: bytes
    checksums: dict[str, str]

    @property
    def etag(self) -> str:
        return hashlib.md5(self.body, usedforsecurity=False).hexdigest()


@dataclass
class Upload:
    """One upload in parts under way."""

    key: str
    algorithm: str | None
    checksum_type: str
    headers: Mapping[str, str]
    parts: dict[int, Part] = field(default_factory=dict)


@dataclass
class Kept:
    """One object."""

    body: bytes
    etag: str
    headers: dict[str, str]
    checksum: str | None = None


class StrictS3:
    """Answers the requests of one bucket; set ``scripted_server.answer = StrictS3()``.

    Attributes:
        objects: What is there, by key.
        uploads: The uploads in parts that were neither completed nor aborted, by id.
        conflicts: How many of the next completions are refused with 409; as on AWS the upload is gone then.
    """

    def __init__(self) -> None:
        self.objects: dict[str, Kept] = {}
        self.uploads: dict[str, Upload] = {}
        self.conflicts = 0
        self._count = 0
        self._lock = threading.Lock()

    def __call__(self, asked: Asked) -> Answer:
        with self._lock:
            return self._answer(asked)

    def _answer(self, asked: Asked) -> Answer:
        upload_id = asked.query.get("uploadId")
        if upload_id is not None and upload_id not in self.uploads:
            return refusal(404, "NoSuchUpload")
        if asked.method == "POST" and "uploads" in asked.query:
            return self._create(asked)
        if asked.method == "POST" and upload_id is not None:
            return self._complete(asked, upload_id)
        if asked.method == "PUT" and upload_id is not None:
            return self._part(asked, self.uploads[upload_id])
        if asked.method == "PUT":
            return self._put(asked)
        if asked.method == "DELETE" and upload_id is not None:
            del self.uploads[upload_id]
            return 204, {}, b""
        if asked.method == "DELETE":
            self.objects.pop(asked.key, None)
            return 204, {}, b""
        if "versioning" in asked.query:
            return document("VersioningConfiguration", "")
        found = self.objects.get(asked.key)
        if found is None:
            return refusal(404, "NoSuchKey")
        answer = content_of(asked, found.body, found.etag)
        assert answer is not None
        return answer[0], {**answer[1], **found.headers}, answer[2]

    def _create(self, asked: Asked) -> Answer:
        self._count += 1
        upload_id = f"U{self._count}"
        algorithm = asked.headers.get("x-amz-checksum-algorithm")
        kind = asked.headers.get("x-amz-checksum-type", "COMPOSITE")
        self.uploads[upload_id] = Upload(asked.key, algorithm.lower() if algorithm else None, kind, _metadata(asked))
        return document("InitiateMultipartUploadResult", f"<UploadId>{upload_id}</UploadId>")

    def _part(self, asked: Asked, upload: Upload) -> Answer:
        source = asked.headers.get("x-amz-copy-source")
        sent = {
            name: asked.headers[f"x-amz-checksum-{name}"]
            for name in CHECKSUMS
            if f"x-amz-checksum-{name}" in asked.headers
        }
        body = asked.body
        if source is not None:
            body = self.objects[source.lstrip("/").partition("/")[2]].body
            if wanted := re.fullmatch(r"bytes=(\d+)-(\d+)", asked.headers.get("x-amz-copy-source-range", "")):
                body = body[int(wanted[1]) : int(wanted[2]) + 1]
        elif (wrong := _mismatch(asked)) is not None:
            return wrong
        if sent and upload.algorithm is not None and upload.algorithm not in sent:
            return refusal(400, "InvalidRequest")
        if upload.algorithm is not None:
            sent = {upload.algorithm: base64.b64encode(CHECKSUMS[upload.algorithm](body)).decode()}
        part = upload.parts[int(asked.query["partNumber"])] = Part(body, sent if upload.algorithm else {})
        if source is not None:
            inside = "".join(
                f"<Checksum{name.upper()}>{value}</Checksum{name.upper()}>" for name, value in sent.items()
            )
            return document("CopyPartResult", f"<ETag>&quot;{part.etag}&quot;</ETag>{inside}")
        return 200, {"ETag": f'"{part.etag}"', **{f"x-amz-checksum-{name}": value for name, value in sent.items()}}, b""

    def _complete(self, asked: Asked, upload_id: str) -> Answer:
        upload = self.uploads[upload_id]
        if self.conflicts:
            self.conflicts -= 1
            del self.uploads[upload_id]
            return refusal(409, "ConditionalRequestConflict")
        if (refused := self._condition(asked)) is not None:
            return refused
        bodies = []
        named = [_children(node) for node in ElementTree.fromstring(asked.body)]
        for position, given in enumerate(named, 1):
            part = upload.parts.get(int(given["PartNumber"]))
            checksums = {name[8:].lower(): value for name, value in given.items() if name.startswith("Checksum")}
            if part is None or given["ETag"].strip('"') != part.etag:
                return refusal(400, "InvalidPart")
            if (
                upload.algorithm is not None
                and upload.checksum_type == "COMPOSITE"
                and upload.algorithm not in checksums
            ):
                return refusal(400, "InvalidRequest")
            if any(part.checksums.get(name) != value for name, value in checksums.items()):
                return refusal(400, "InvalidPart")
            if position < len(named) and len(part.body) < MIN_PART_BYTES:
                return refusal(400, "EntityTooSmall")
            bodies.append(part.body)
        body = b"".join(bodies)
        whole = asked.headers.get(f"x-amz-checksum-{upload.algorithm}")
        if whole is not None and whole != base64.b64encode(CHECKSUMS[str(upload.algorithm)](body)).decode():
            return refusal(400, "BadDigest")
        joined = b"".join(bytes.fromhex(upload.parts[int(given["PartNumber"])].etag) for given in named)
        etag = f"{hashlib.md5(joined, usedforsecurity=False).hexdigest()}-{len(named)}"
        del self.uploads[upload_id]
        self.objects[asked.key] = Kept(body, etag, dict(upload.headers), upload.algorithm)
        return document("CompleteMultipartUploadResult", f"<ETag>&quot;{etag}&quot;</ETag>")

    def _put(self, asked: Asked) -> Answer:
        refused = self._condition(asked) or _mismatch(asked)
        if refused is not None:
            return refused
        etag = hashlib.md5(asked.body, usedforsecurity=False).hexdigest()
        self.objects[asked.key] = Kept(asked.body, etag, _metadata(asked))
        return 200, {"ETag": f'"{etag}"'}, b""

    def _condition(self, asked: Asked) -> Answer:
        found = self.objects.get(asked.key)
        if "if-none-match" in asked.headers and found is not None:
            return refusal(412, "PreconditionFailed")
        wanted = asked.headers.get("if-match")
        if wanted is not None and found is None:
            return refusal(404, "NoSuchKey")
        if wanted is not None and found is not None and wanted.strip('"') != found.etag:
            return refusal(412, "PreconditionFailed")
        return None


def _mismatch(asked: Asked) -> Answer:
    """The refusal of a body that is not what its checksums say."""
    given = {name: asked.headers.get(f"x-amz-checksum-{name}") for name in CHECKSUMS}
    if any(value and value != base64.b64encode(CHECKSUMS[name](asked.body)).decode() for name, value in given.items()):
        return refusal(400, "BadDigest")
    md5 = asked.headers.get("content-md5")
    if md5 and md5 != base64.b64encode(hashlib.md5(asked.body, usedforsecurity=False).digest()).decode():
        return refusal(400, "BadDigest")
    return None


def _metadata(asked: Asked) -> dict[str, str]:
    return {name: value for name, value in asked.headers.items() if name.startswith("x-amz-meta-")}


def _children(node: ElementTree.Element) -> dict[str, str]:
    return {child.tag.rpartition("}")[2]: child.text or "" for child in node}
