"""A small S3 store in memory, over real HTTP: objects, ranges, uploads in parts, and conditions that it honours or ignores."""

from __future__ import annotations

import hashlib
import re
import threading
import urllib.parse
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass, field

from support.scripted_server import Answer, Asked, ScriptedServer, document, refusal


@dataclass
class Stored:
    """One object.

    Attributes:
        body: Its content.
        etag: Its etag, without quotes.
        headers: The headers that describe it and its metadata, as they were sent.
    """

    body: bytes
    etag: str
    headers: dict[str, str] = field(default_factory=dict)


class HttpStore:
    """Answers the requests of a :class:`~support.scripted_server.ScriptedServer` server as S3 documents them.

    Args:
        server: The server whose answers it takes over.

    Attributes:
        objects: Every object, by key.
        uploads: Unfinished uploads in parts, by upload ID: the key, the headers and the parts.
        honours: Whether ``If-Match`` and ``If-None-Match`` on writes are honoured; otherwise they are ignored.
        before: Called with each request before it takes effect; what it returns, unless None, is the answer.
        after: Called with each request after it took effect; where it returns True, the answer is lost.
    """

    def __init__(self, server: ScriptedServer) -> None:
        self.objects: dict[str, Stored] = {}
        self.uploads: dict[str, tuple[str, dict[str, str], dict[int, bytes]]] = {}
        self.honours = True
        self.before: Callable[[Asked], Answer] | None = None
        self.after: Callable[[Asked], bool] | None = None
        self._lock = threading.RLock()
        self._begun = 0
        server.answer = self._answer

    def put(self, key: str, body: bytes, **headers: str) -> Stored:
        """Store an object directly."""
        self.objects[key] = stored = Stored(body, hashlib.md5(body, usedforsecurity=False).hexdigest(), headers)
        return stored

    def body(self, key: str) -> bytes | None:
        """The content of an object; None where there is none."""
        found = self.objects.get(key)
        return None if found is None else found.body

    def _answer(self, asked: Asked) -> Answer:
        if self.before is not None and (answer := self.before(asked)) is not None:
            return answer
        with self._lock:
            answer = self._act(asked)
        if self.after is not None and self.after(asked):
            return None
        return answer

    def _act(self, asked: Asked) -> Answer:
        if not asked.key:
            if "versioning" in asked.query:
                return document("VersioningConfiguration")
            return refusal(501, "NotImplemented")
        upload_id = asked.query.get("uploadId")
        if asked.method == "POST" and "uploads" in asked.query:
            self._begun += 1
            self.uploads[f"U{self._begun}"] = (asked.key, _described(asked), {})
            return document("InitiateMultipartUploadResult", f"<UploadId>U{self._begun}</UploadId>")
        if upload_id is not None and upload_id not in self.uploads:
            return refusal(404, "NoSuchUpload")
        if upload_id is not None and asked.method == "PUT":
            return self._take_part(asked, self.uploads[upload_id][2])
        if upload_id is not None and asked.method == "DELETE":
            del self.uploads[upload_id]
            return 204, {}, b""
        if asked.method in ("PUT", "POST") and (failed := self._failed_condition(asked)) is not None:
            return failed
        if asked.method == "POST" and upload_id is not None:
            _, headers, parts = self.uploads.pop(upload_id)
            numbers = [
                int(found.text or "") for found in ET.fromstring(asked.body).iter() if found.tag.endswith("PartNumber")
            ]
            pieces = [parts[number] for number in numbers]
            digests = b"".join(hashlib.md5(piece, usedforsecurity=False).digest() for piece in pieces)
            etag = f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(pieces)}"
            self.objects[asked.key] = Stored(b"".join(pieces), etag, headers)
            return document("CompleteMultipartUploadResult", f"<ETag>&quot;{etag}&quot;</ETag>")
        if asked.method == "PUT":
            stored = self.put(asked.key, asked.body, **_described(asked))
            return 200, {"ETag": f'"{stored.etag}"'}, b""
        if asked.method == "DELETE":
            self.objects.pop(asked.key, None)
            return 204, {}, b""
        return self._read(asked)

    def _failed_condition(self, asked: Asked) -> Answer:
        found = self.objects.get(asked.key)
        if self.honours and "if-none-match" in asked.headers and found is not None:
            return refusal(412, "PreconditionFailed")
        wanted = asked.headers.get("if-match")
        if self.honours and wanted is not None and found is None:
            return refusal(404, "NoSuchKey")
        if self.honours and wanted is not None and found is not None and wanted.strip('"') != found.etag:
            return refusal(412, "PreconditionFailed")
        return None

    def _take_part(self, asked: Asked, parts: dict[int, bytes]) -> Answer:
        number, source = int(asked.query["partNumber"]), asked.headers.get("x-amz-copy-source")
        parts[number] = asked.body
        if source is not None:
            found = self.objects.get(urllib.parse.unquote(source).lstrip("/").partition("/")[2])
            if found is None:
                return refusal(404, "NoSuchKey")
            if asked.headers.get("x-amz-copy-source-if-match", found.etag).strip('"') != found.etag:
                return refusal(412, "PreconditionFailed")
            first, last = _range(asked.headers["x-amz-copy-source-range"], len(found.body))
            parts[number] = found.body[first : last + 1]
        etag = hashlib.md5(parts[number], usedforsecurity=False).hexdigest()
        if source is not None:
            return document("CopyPartResult", f"<ETag>&quot;{etag}&quot;</ETag>")
        return 200, {"ETag": f'"{etag}"'}, b""

    def _read(self, asked: Asked) -> Answer:
        found = self.objects.get(asked.key)
        if found is None:
            return refusal(404, "NoSuchKey") if asked.method == "GET" else (404, {}, b"")
        if asked.headers.get("if-match", found.etag).strip('"') != found.etag:
            return refusal(412, "PreconditionFailed")
        headers = {**found.headers, "ETag": f'"{found.etag}"', "Last-Modified": "Sat, 21 Nov 2026 05:00:00 GMT"}
        if asked.method == "HEAD":
            return 200, {**headers, "Content-Length": str(len(found.body))}, b""
        if "range" not in asked.headers:
            return 200, headers, found.body
        first, last = _range(asked.headers["range"], len(found.body))
        if first >= len(found.body):
            return refusal(416, "InvalidRange")
        return (
            206,
            {**headers, "Content-Range": f"bytes {first}-{last}/{len(found.body)}"},
            found.body[first : last + 1],
        )


def _described(asked: Asked) -> dict[str, str]:
    return {
        name: value for name, value in asked.headers.items() if name.startswith("x-amz-meta-") or name == "content-type"
    }


def _range(text: str, size: int) -> tuple[int, int]:
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", text)
    assert found is not None, text
    return int(found[1]), min(int(found[2] or size), size - 1)
