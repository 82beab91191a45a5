"""A stateful S3 server in memory, on top of the scripted one: stores objects, and can drop responses or respond unusually.

:class:`StatefulStore` answers the requests of any :class:`~support.scripted_server.ScriptedServer`: objects, ranges, conditions, copies,
uploads in parts, listings; of versions only delete markers. :func:`run_stateful_server` starts a server with a store of its own:
``run_stateful_server("aligned ranges", "weak etags")`` has two oddities.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
import threading
import time
import zlib
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import formatdate
from typing import Any
from urllib.parse import quote, unquote
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from support.scripted_server import FRAMINGS, Answer, Asked, ScriptedServer, refusal, run_server

from messageflux_s3 import S3Bucket

ODDITIES = {
    "aligned ranges": "a range is answered with the whole blocks of 256 bytes around it",
    "short ranges": "a range is answered with its first half",
    "shifted ranges": "a range is answered with the bytes behind its beginning",
    "ranges as 200": "a range is answered with status 200, and Content-Range",
    "ranges ignored": "a range is answered with the whole object",
    "ranges without total": "Content-Range ends in /*",
    "ranges without Content-Range": "a range is answered with 206 and no Content-Range",
    "first half as 206": "a GET without a range is answered with 206 and the first half",
    "second half as 206": "a GET without a range is answered with 206 and the second half",
    "whole as 206": "a GET without a range is answered with 206 and all bytes",
    "part as 200": "a GET without a range is answered with 200, Content-Range, and the first half",
    "weak etags": 'every etag is W/"…"',
    "etags without quotes": "every etag stands without its quotes",
    "etags that are no MD5": "etags are 32 hexadecimal digits, and not the MD5",
    "completes checked": "Complete refuses checksums that Create did not announce, as AWS does",
    "delete markers 405": "an object of the name marked is a delete marker, named by its version",
    "write conflicts": "the first conditional write of each key is refused with 409 ConditionalRequestConflict",
    "white space in XML": "XML is indented with tabs and CRLF",
    "fields in another order": "the fields of each element in XML stand in reverse order",
    "raw carriage returns": "a carriage return in XML stands as it is",
    "raw carriage returns, no encoding": "the same, and encoding-type=url is ignored",
    "Last-Modified as ISO 8601": "2026-11-21T05:00:00.5Z",
    "Last-Modified as RFC 850": "Saturday, 21-Nov-26 05:00:00 GMT",
    "Last-Modified as asctime": "Sat Nov 21 05:00:00 2026",
    "Last-Modified in seconds": "1795237200",
    "no Last-Modified": "the header is missing",
    "folders walked": "a listing is in the order of a walk through folders, as SeaweedFS's: all of a/ comes before a-b",
    "errors in 200": "copies and Completes are answered with 200 and an error document",
    **FRAMINGS,
}
"""Valid but unusual HTTP and S3 responses that no other test server sends."""

FAULTS = ("reset_before", "drop_after", "truncate_after", "500_before", "500_after", "503_before", "409", "late")
"""The faults that a store can apply to one request.

``*_before``: not applied. ``*_after``: applied, and the response is lost. ``409``: a concurrent write, not applied. ``late``: the
connection breaks, and the request is applied after the next one to the same key.
"""

MODIFIED = datetime(2026, 11, 21, 5, 0, 0, tzinfo=timezone.utc)
"""Last-Modified of every object in a store without a running clock."""

MARKER_VERSION = "delete-marker-1"
MIN_PART_BYTES = 5 * 1024 * 1024
_NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"
_BLOCK = 256


def _sha256(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()


def _crc32(body: bytes) -> bytes:
    return zlib.crc32(body).to_bytes(4, "big")


_CHECKSUMS = {"crc32": _crc32, "sha256": _sha256}


@dataclass
class Stored:
    """One object.

    Attributes:
        body: Its content.
        etag: Its etag, without quotes.
        headers: The headers that describe it and its metadata, as they were sent.
        checksum: The algorithm of its checksum, in lower case.
        modified: When it was written, in seconds since the epoch.
    """

    body: bytes
    etag: str
    headers: dict[str, str] = field(default_factory=dict)
    checksum: str | None = None
    modified: float = MODIFIED.timestamp()


@dataclass
class Part:
    """One part of an upload, and its checksums (by lower-case algorithm, in base64)."""

    body: bytes
    checksums: dict[str, str]

    @property
    def etag(self) -> str:
        return _md5(self.body)


@dataclass
class Upload:
    """A multipart upload in progress."""

    key: str
    headers: dict[str, str] = field(default_factory=dict)
    algorithm: str | None = None
    checksum_type: str = "COMPOSITE"
    parts: dict[int, Part] = field(default_factory=dict)


class StatefulStore:
    """Answers the requests of one bucket.

    Args:
        server: The server whose answers it takes over; without one set ``server.answer = store``.
        oddities: Names of :data:`ODDITIES`. Those of :data:`FRAMINGS` have an effect on a :class:`StatefulServer` only.
        conditions: How If-Match and If-None-Match on writes are treated: ``"honoured"``, ``"ignored"``, ``"refused"`` with 501, or
            ``"sequential"``: compared first and written a moment later, so that two writers can both succeed; or ``"existing"``: If-Match
            is compared only if there is an object.
        clock_offset: The error of the clock in seconds; None for a clock fixed at :data:`MODIFIED` and no Date header.

    Attributes:
        objects: Every object, by key.
        uploads: Every unfinished upload in parts, by upload ID.
        delete_markers: Keys that are delete markers under :data:`MARKER_VERSION`.
        before: Called with each request before it takes effect; what it returns, unless None, is the answer.
        after: Called with each request after it took effect; where it returns True, the answer is lost.
        faults: What happens to the next requests to a key: names of :data:`FAULTS`, or None for none.
        happened: The number of requests with each fault, or ``"none"``.
        applied: The bodies actually written to each key, in order; ``b"<deleted>"`` for a deletion.
        conflicts: How many of the next completions are refused with 409; as on AWS the upload is gone then.
        mutex: Held while a request takes effect.
    """

    checks = False
    """Whether checksums and the sizes of parts are checked."""

    def __init__(
        self,
        server: ScriptedServer | None = None,
        *,
        oddities: tuple[str, ...] = (),
        conditions: str = "honoured",
        clock_offset: float | None = None,
    ) -> None:
        unknown = set(oddities) - set(ODDITIES)
        if unknown:
            raise ValueError(f"no such oddity: {', '.join(sorted(unknown))}")
        self.oddities = set(oddities)
        self.conditions = conditions
        self.clock_offset = clock_offset
        self.objects: dict[str, Stored] = {}
        self.uploads: dict[str, Upload] = {}
        self.delete_markers: set[str] = set()
        self.before: Callable[[Asked], Answer] | None = None
        self.after: Callable[[Asked], bool] | None = None
        self.faults: dict[str, deque[str | None]] = {}
        self.happened: Counter[str] = Counter()
        self.applied: dict[str, list[bytes]] = defaultdict(list)
        self.conflicts = 0
        self.mutex = threading.RLock()
        self._late: dict[str, list[Asked]] = defaultdict(list)
        self._met_conflict: set[str] = set()
        self._numbers = itertools.count(1)
        if server is not None:
            server.answer = self

    def clear(self) -> None:
        """Forget everything that is stored."""
        self.objects.clear()
        self.uploads.clear()
        self.delete_markers.clear()
        self._met_conflict.clear()

    def put(self, key: str, body: bytes, **headers: str) -> Stored:
        """Store an object directly."""
        digest = _md5(body)
        if "etags that are no MD5" in self.oddities:
            digest = hashlib.sha256(body).hexdigest()[:32]
        self.objects[key] = stored = Stored(body, digest, headers, modified=self._now())
        return stored

    def body(self, key: str) -> bytes | None:
        """Return the content of an object, or None where there is none."""
        found = self.objects.get(key)
        return None if found is None else found.body

    def __call__(self, asked: Asked) -> Answer:
        if self.before is not None and (answer := self.before(asked)) is not None:
            return answer
        answer = self._answer_with_faults(asked)
        if self.after is not None and self.after(asked):
            return None
        if self.clock_offset is not None and isinstance(answer, tuple):
            return answer[0], {"Date": formatdate(self._now(), usegmt=True), **answer[1]}, answer[2]
        return answer

    def _now(self) -> float:
        return MODIFIED.timestamp() if self.clock_offset is None else time.time() + self.clock_offset

    def _answer_with_faults(self, asked: Asked) -> Answer:
        with self.mutex:
            waiting = self.faults.get(asked.key)
            fault = waiting.popleft() if waiting else None
            self.happened[fault or "none"] += 1
            overdue, self._late[asked.key] = self._late[asked.key], []
        if fault == "reset_before":
            return None
        if fault in ("403_before", "500_before", "503_before"):
            status = int(fault[:3])
            return refusal(status, {403: "AccessDenied", 500: "InternalError", 503: "SlowDown"}[status])
        if fault == "409" and {"if-match", "if-none-match"} & asked.headers.keys():
            return refusal(409, "ConditionalRequestConflict")
        answer = None
        if fault == "late":
            with self.mutex:
                self._late[asked.key].append(asked)
        else:
            answer = self._act(asked)
        for late in overdue:
            self._act(late)
        if fault == "drop_after":
            return None
        if fault == "truncate_after" and isinstance(answer, tuple):
            return f"HTTP/1.1 {answer[0]} OK\r\nContent-Le".encode()
        return refusal(500, "InternalError") if fault == "500_after" else answer

    def _act(self, asked: Asked) -> Answer:
        is_conditional = asked.method not in ("GET", "HEAD") and {"if-match", "if-none-match"} & asked.headers.keys()
        if self.conditions == "sequential" and is_conditional:
            with self.mutex:
                failed = self._failed_condition(asked)
            if failed is not None:
                return failed
            time.sleep(0.3)  # between the comparison above and the write below another writer may write
        with self.mutex:
            return self._apply(asked)

    def _apply(self, asked: Asked) -> Answer:
        if not asked.key:
            return self._bucket(asked)
        if asked.query.get("versionId") == MARKER_VERSION and asked.key in self.delete_markers:
            return self._delete_marker(asked)
        if "uploadId" in asked.query or "uploads" in asked.query:
            return self._multipart(asked)
        if asked.method in ("GET", "HEAD"):
            return self._read(asked)
        if asked.method == "PUT":
            return self._put(asked)
        if asked.method == "DELETE":
            return self._delete(asked)
        return refusal(405, "MethodNotAllowed")

    # -- objects --------------------------------------------------------------------------------------------------------------------

    def _quoted(self, etag: str) -> str:
        if "etags without quotes" in self.oddities:
            return etag
        return f'W/"{etag}"' if "weak etags" in self.oddities else f'"{etag}"'

    def _matches(self, condition: str, etag: str) -> bool:
        """Compare an If-Match; weak etags loosely, or a store that has only those could not be read under a condition."""
        return condition == "*" or condition.strip().removeprefix("W/").strip('"') == etag

    def _failed_condition(self, asked: Asked) -> Answer:
        """Return the error response if the condition of a write does not hold; None if it holds."""
        found, wanted = self.objects.get(asked.key), asked.headers.get("if-match")
        if asked.method in ("GET", "HEAD") or not {"if-match", "if-none-match"} & asked.headers.keys():
            return None
        if self.conditions == "refused":
            return refusal(501, "NotImplemented")
        if "write conflicts" in self.oddities and asked.key not in self._met_conflict:
            self._met_conflict.add(asked.key)
            return refusal(409, "ConditionalRequestConflict")
        if "if-none-match" in asked.headers and found is not None:
            return refusal(412, "PreconditionFailed")
        if wanted is not None and found is None:
            return None if self.conditions == "existing" else refusal(404, "NoSuchKey")
        if wanted is not None and found is not None and not self._matches(wanted, found.etag):
            return refusal(412, "PreconditionFailed")
        return None

    def _condition(self, asked: Asked) -> Answer:
        return None if self.conditions in ("ignored", "sequential") else self._failed_condition(asked)

    def _delete_marker(self, asked: Asked) -> Answer:
        headers = {"x-amz-delete-marker": "true", "x-amz-version-id": MARKER_VERSION, "Allow": "DELETE"}
        if asked.method not in ("GET", "HEAD"):
            return 204, headers, b""
        return _with_headers(refusal(405, "MethodNotAllowed"), headers)

    def _read(self, asked: Asked) -> Answer:
        found = self.objects.get(asked.key)
        if found is None:
            return refusal(404, "NoSuchKey")
        if "tagging" in asked.query:
            return _xml("Tagging", "<TagSet></TagSet>")
        if "if-match" in asked.headers and not self._matches(asked.headers["if-match"], found.etag):
            return refusal(412, "PreconditionFailed")
        headers = {"content-type": "application/octet-stream", **found.headers}
        headers |= {"ETag": self._quoted(found.etag), "Accept-Ranges": "bytes"}
        modified = self._last_modified(found)
        if modified is not None:
            headers["Last-Modified"] = modified
        body, size = found.body, len(found.body)
        wanted = asked.headers.get("range", "")
        if not wanted.startswith("bytes=") or asked.method == "HEAD" or "ranges ignored" in self.oddities:
            half = size // 2
            if asked.method == "GET" and size and "whole as 206" in self.oddities:
                return 206, {**headers, "Content-Range": f"bytes 0-{size - 1}/{size}"}, body
            if asked.method == "GET" and half and {"first half as 206", "part as 200"} & self.oddities:
                status = 206 if "first half as 206" in self.oddities else 200
                return status, {**headers, "Content-Range": f"bytes 0-{half - 1}/{size}"}, body[:half]
            if asked.method == "GET" and half and "second half as 206" in self.oddities:
                return 206, {**headers, "Content-Range": f"bytes {half}-{size - 1}/{size}"}, body[half:]
            return 200, headers, body
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        start = int(first) if first else max(0, size - int(last))
        end = min(int(last), size - 1) + 1 if last and first else size
        if start >= size:
            return _with_headers(refusal(416, "InvalidRange"), {"Content-Range": f"bytes */{size}"})
        if "aligned ranges" in self.oddities:
            start, end = start // _BLOCK * _BLOCK, min(-(-end // _BLOCK) * _BLOCK, size)
        if "short ranges" in self.oddities:
            end = start + -(-(end - start) // 2)
        if "shifted ranges" in self.oddities and end - start > 1:
            start += 1
        total = "*" if "ranges without total" in self.oddities else str(size)
        if "ranges without Content-Range" not in self.oddities:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{total}"
        return 200 if "ranges as 200" in self.oddities else 206, headers, body[start:end]

    def _last_modified(self, found: Stored) -> str | None:
        modified = datetime.fromtimestamp(found.modified, timezone.utc)
        for name, value in (
            ("Last-Modified as ISO 8601", modified.strftime("%Y-%m-%dT%H:%M:%S.5Z")),
            ("Last-Modified as RFC 850", modified.strftime("%A, %d-%b-%y %H:%M:%S GMT")),
            ("Last-Modified as asctime", modified.strftime("%a %b %d %H:%M:%S %Y")),
            ("Last-Modified in seconds", str(int(found.modified))),
            ("no Last-Modified", None),
        ):
            if name in self.oddities:
                return value
        return formatdate(found.modified, usegmt=True)

    def _store(self, key: str, body: bytes, headers: Mapping[str, str]) -> Stored:
        self.applied[key].append(body)
        return self.put(key, body, **headers)

    def _put(self, asked: Asked) -> Answer:
        if (failed := self._condition(asked)) is not None:
            return failed
        source = asked.headers.get("x-amz-copy-source")
        if source is not None:
            return self._copy(asked, _named(source))
        if self.checks and (failed := _mismatch(asked)) is not None:
            return failed
        stored = self._store(asked.key, _unchunked(asked), _described(asked))
        return 200, {"ETag": self._quoted(stored.etag)}, b""

    def _copy(self, asked: Asked, source: str) -> Answer:
        found = self.objects.get(source)
        if found is None:
            return refusal(404, "NoSuchKey")
        if "errors in 200" in self.oddities:
            return _in_200(refusal(500, "InternalError"))
        condition = asked.headers.get("x-amz-copy-source-if-match")
        if condition is not None and not self._matches(condition, found.etag):
            return refusal(412, "PreconditionFailed")
        replaces = asked.headers.get("x-amz-metadata-directive") == "REPLACE"
        stored = self._store(asked.key, found.body, _described(asked) if replaces else found.headers)
        etag = escape(self._quoted(stored.etag), {'"': "&quot;"})
        return _xml("CopyObjectResult", f"<LastModified>{_iso(stored)}</LastModified><ETag>{etag}</ETag>")

    def _delete(self, asked: Asked) -> Answer:
        if (failed := self._condition(asked)) is not None:
            return failed
        if self.objects.pop(asked.key, None) is not None:
            self.applied[asked.key].append(b"<deleted>")
        return 204, {}, b""

    # -- uploads in parts -------------------------------------------------------------------------------------------------------------

    def _multipart(self, asked: Asked) -> Answer:
        if "uploads" in asked.query:
            return self._create(asked)
        upload_id = asked.query["uploadId"]
        if upload_id not in self.uploads:
            return refusal(404, "NoSuchUpload")
        if asked.method == "DELETE":
            del self.uploads[upload_id]
            return 204, {}, b""
        if asked.method == "PUT":
            return self._take_part(asked, self.uploads[upload_id])
        return self._complete(asked, upload_id)

    def _create(self, asked: Asked) -> Answer:
        upload_id = f"U{next(self._numbers)}"
        algorithm = asked.headers.get("x-amz-checksum-algorithm", "").lower() or None
        kind = asked.headers.get("x-amz-checksum-type", "COMPOSITE")
        self.uploads[upload_id] = Upload(asked.key, _described(asked), algorithm, kind)
        return _xml("InitiateMultipartUploadResult", f"<Bucket>bkt</Bucket><UploadId>{upload_id}</UploadId>")

    def _take_part(self, asked: Asked, upload: Upload) -> Answer:
        source = asked.headers.get("x-amz-copy-source")
        body = _unchunked(asked)
        if source is not None:
            found = self.objects.get(_named(source))
            if found is None:
                return refusal(404, "NoSuchKey")
            if not self._matches(asked.headers.get("x-amz-copy-source-if-match", "*"), found.etag):
                return refusal(412, "PreconditionFailed")
            first, _, last = asked.headers.get("x-amz-copy-source-range", "").removeprefix("bytes=").partition("-")
            body = found.body[int(first) : int(last) + 1] if last else found.body
        elif self.checks and (failed := _mismatch(asked)) is not None:
            return failed
        sent = {name for name in _CHECKSUMS if f"x-amz-checksum-{name}" in asked.headers}
        if self.checks and sent and upload.algorithm is not None and upload.algorithm not in sent:
            return refusal(400, "InvalidRequest")
        told = sent if self.checks else {"crc32"}
        if self.checks and upload.algorithm is not None:
            told = {upload.algorithm}
        checksums = {name: base64.b64encode(_CHECKSUMS[name](body)).decode("ascii") for name in told}
        part = Part(body, checksums if upload.algorithm is not None else {})
        upload.parts[int(asked.query["partNumber"])] = part
        if source is not None:
            kept = checksums.items() if self.checks else ()
            inside = "".join(f"<Checksum{name.upper()}>{value}</Checksum{name.upper()}>" for name, value in kept)
            return _xml("CopyPartResult", f"<ETag>{escape(self._quoted(part.etag))}</ETag>{inside}")
        headers = {f"x-amz-checksum-{name}": value for name, value in checksums.items()}
        return 200, {"ETag": self._quoted(part.etag), **headers}, b""

    def _complete(self, asked: Asked, upload_id: str) -> Answer:
        upload = self.uploads[upload_id]
        if self.conflicts:
            self.conflicts -= 1
            del self.uploads[upload_id]
            return refusal(409, "ConditionalRequestConflict")
        if "errors in 200" in self.oddities:
            return _in_200(refusal(500, "InternalError"))
        named = [_children(node) for node in ElementTree.fromstring(asked.body)]
        failed = self._wrong_checksums(upload, named) or self._condition(asked)
        if failed is None and self.checks:
            failed = self._wrong_parts(upload, named)
        if failed is not None:
            return failed
        body = b"".join(upload.parts[int(given["PartNumber"])].body for given in named)
        whole = asked.headers.get(f"x-amz-checksum-{upload.algorithm}")
        if self.checks and whole is not None:
            computed = _CHECKSUMS[str(upload.algorithm)](body)
            if whole != base64.b64encode(computed).decode("ascii"):
                return refusal(400, "BadDigest")
        digests = b"".join(bytes.fromhex(upload.parts[int(given["PartNumber"])].etag) for given in named)
        del self.uploads[upload_id]
        stored = self._store(upload.key, body, upload.headers)
        stored.etag, stored.checksum = f"{_md5(digests)}-{len(named)}", upload.algorithm
        inside = f"<Key>{escape(upload.key)}</Key><ETag>{escape(self._quoted(stored.etag))}</ETag>"
        return _xml("CompleteMultipartUploadResult", inside)

    def _wrong_checksums(self, upload: Upload, named: list[dict[str, str]]) -> Answer:
        """Return the error response for checksums with which the upload was not created; None if there are none."""
        if "completes checked" not in self.oddities:
            return None
        given = {name.removeprefix("Checksum").lower() for one in named for name in one if name.startswith("Checksum")}
        return refusal(400, "InvalidPart") if given - {upload.algorithm} else None

    def _wrong_parts(self, upload: Upload, named: list[dict[str, str]]) -> Answer:
        """Return AWS's error response for parts that are missing, too small or different from the completion; None if they are valid."""
        for position, given in enumerate(named, 1):
            part = upload.parts.get(int(given["PartNumber"]))
            checksums = {name[8:].lower(): value for name, value in given.items() if name.startswith("Checksum")}
            if part is None or given["ETag"].strip('"') != part.etag:
                return refusal(400, "InvalidPart")
            is_composite = upload.algorithm is not None and upload.checksum_type == "COMPOSITE"
            if is_composite and upload.algorithm not in checksums:
                return refusal(400, "InvalidRequest")
            if any(part.checksums.get(name) != value for name, value in checksums.items()):
                return refusal(400, "InvalidPart")
            if position < len(named) and len(part.body) < MIN_PART_BYTES:
                return refusal(400, "EntityTooSmall")
        return None

    # -- the bucket ---------------------------------------------------------------------------------------------------------------------

    def _bucket(self, asked: Asked) -> Answer:
        if asked.method == "POST" and "delete" in asked.query:
            keys = [
                found.findtext(f"{_NAMESPACE}Key") or ""
                for found in ElementTree.fromstring(asked.body).iter(f"{_NAMESPACE}Object")
            ]
            for key in keys:
                self.objects.pop(key, None)
            return self._document(
                "DeleteResult", "".join(f"<Deleted>{self._field('Key', key)}</Deleted>" for key in keys)
            )
        if asked.method == "HEAD":
            return 200, {}, b""
        if asked.method == "DELETE" and not asked.query:
            return 204, {}, b""
        if asked.method == "GET" and "versioning" in asked.query:
            return _xml("VersioningConfiguration", "")
        if asked.method == "GET" and "uploads" in asked.query:
            found = "".join(
                f"<Upload>{self._field('Key', upload.key)}<UploadId>{name}</UploadId></Upload>"
                for name, upload in self.uploads.items()
            )
            return self._document("ListMultipartUploadsResult", f"<IsTruncated>false</IsTruncated>{found}")
        if asked.method == "GET" and "versions" in asked.query:
            return self._list(
                asked, "ListVersionsResult", "Version", "<VersionId>null</VersionId><IsLatest>true</IsLatest>"
            )
        if asked.method == "GET" and asked.query.get("list-type") == "2":
            return self._list(asked, "ListBucketResult", "Contents", "")
        return refusal(405, "MethodNotAllowed")

    def _list(self, asked: Asked, root: str, element: str, further: str) -> Answer:
        url = asked.query.get("encoding-type") == "url" and "raw carriage returns, no encoding" not in self.oddities
        prefix, delimiter = asked.query.get("prefix", ""), asked.query.get("delimiter", "")
        after = (
            unquote(asked.query.get("continuation-token") or "")
            or asked.query.get("start-after")
            or asked.query.get("key-marker", "")
        )
        at_most = int(asked.query.get("max-keys", "1000"))
        keys = [key for key in sorted(self.objects, key=self._order) if key.startswith(prefix)]
        entries: dict[str, str] = {}
        for key in keys:
            rest, mark, _ = key[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            name = f"{prefix}{rest}{mark}" if mark else key
            if (not after or self._order(name) > self._order(after)) and not (mark and after.startswith(name)):
                entries.setdefault(name, "CommonPrefixes" if mark else element)
        page = [*entries.items()][:at_most]
        is_truncated = len(entries) > len(page) > 0
        inside = f"<Name>bkt</Name><IsTruncated>{str(is_truncated).lower()}</IsTruncated>"
        if url:
            inside += "<EncodingType>url</EncodingType>"
        if is_truncated and root == "ListBucketResult":
            inside += f"<NextContinuationToken>{quote(page[-1][0])}</NextContinuationToken>"
        elif is_truncated:
            inside += f"{self._field('NextKeyMarker', page[-1][0], url=url)}"
        for name, kind in page:
            if kind == "CommonPrefixes":
                inside += f"<CommonPrefixes>{self._field('Prefix', name, url=url)}</CommonPrefixes>"
                continue
            found = self.objects[name]
            fields = [
                self._field("Key", name, url=url),
                f"<LastModified>{_iso(found)}</LastModified>",
                self._field("ETag", self._quoted(found.etag)),
                f"<Size>{len(found.body)}</Size>",
                "<StorageClass>STANDARD</StorageClass>",
            ]
            if "fields in another order" in self.oddities:
                fields.reverse()
            inside += f"<{element}>{''.join(fields)}{further}</{element}>"
        return self._document(root, inside)

    def _order(self, key: str) -> list[bytes]:
        return [part.encode() for part in (key.split("/") if "folders walked" in self.oddities else [key])]

    def _field(self, name: str, value: str, *, url: bool = False) -> str:
        text = quote(value) if url else escape(value, {'"': "&quot;"})
        keeps_cr = {"raw carriage returns", "raw carriage returns, no encoding"} & self.oddities
        referenced = {*map(chr, range(32)), "\ufffe", "\uffff"} - ({"\r"} if keeps_cr else set())
        text = "".join(f"&#x{ord(character):x};" if character in referenced else character for character in text)
        return f"<{name}>{text}</{name}>"

    def _document(self, root: str, inside: str) -> Answer:
        return _xml(root, inside, spaced="white space in XML" in self.oddities)


class StrictStore(StatefulStore):
    """Checks checksums and the sizes of parts, as AWS documents and LocalStack does."""

    checks = True


class StatefulServer(ScriptedServer):
    """A scripted server whose answers are those of a store; :func:`run_stateful_server` makes one.

    Attributes:
        state: The store.
    """

    def __init__(self, state: StatefulStore) -> None:
        self.state, oddities = state, state.oddities
        super().__init__()  # sets no oddities
        self.oddities = oddities
        self.answer = state

    @property
    def oddities(self) -> set[str]:
        """The unusual properties of the responses; may be changed at any time."""
        return self.state.oddities

    @oddities.setter
    def oddities(self, names: set[str]) -> None:
        self.state.oddities = names


@contextmanager
def run_stateful_server(*oddities: str, keeps_requests: bool = True, **settings: Any) -> Iterator[StatefulServer]:
    """Run a server with a store of its own.

    Args:
        oddities: Names of :data:`ODDITIES`.
        keeps_requests: Whether ``asked`` is kept; not in runs of thousands of requests.
        settings: Those of :class:`StatefulStore`.
    """
    server = StatefulServer(StatefulStore(oddities=oddities, **settings))
    server.keeps_requests = keeps_requests
    with run_server(server):
        yield server


class DocumentStore:
    """Stores the document of each sub-resource unchanged; a test can replace responses or drop documents.

    Args:
        server: The server whose answers it takes over.

    Attributes:
        server: That server.
        documents: The documents, by the name of the sub-resource.
        headers: The headers that each document came with.
        stored: A function that changes a document before it is stored.
        sent_along: Further headers of every response.
        refusals: How many of the next writes of a document are refused with 403.
        answers: Scripted responses by method and query; None for the usual one.
        writes: Every request other than GET and HEAD: method, target, body.
        reads: The query of every GET and HEAD.
        ranges: The Range of every GET and HEAD.
    """

    def __init__(self, server: ScriptedServer) -> None:
        self.server = server
        self.documents: dict[str, bytes] = {}
        self.headers: dict[str, Mapping[str, str]] = {}
        self.stored: Callable[[bytes], bytes] = lambda document: document
        self.sent_along: dict[str, str] = {}
        self.refusals: Counter[str] = Counter()
        self.answers: Callable[[str, str], Answer] = lambda method, query: None
        self.writes: list[tuple[str, str, bytes]] = []
        self.reads: list[str] = []
        self.ranges: list[str | None] = []
        server.answer = self._answer

    def bucket(self, **changes: Any) -> S3Bucket:
        """Return a bucket on it."""
        return self.server.bucket(**changes)

    def _answer(self, asked: Asked) -> Answer:
        query = asked.target.partition("?")[2]
        name = query.partition("&")[0].removesuffix("=")
        if asked.method in ("GET", "HEAD"):
            self.reads.append(query)
            self.ranges.append(asked.headers.get("range"))
        else:
            self.writes.append((asked.method, asked.target, asked.body))
        scripted = self.answers(asked.method, query)
        if scripted is not None:
            return scripted
        if asked.method == "DELETE":
            self.documents.pop(name, None)
            return 204, self.sent_along, b""
        if asked.method == "PUT" and self.refusals[name] > 0:
            self.refusals[name] -= 1
            return refusal(403, "AccessDenied")
        if asked.method == "PUT":
            self.documents[name] = self.stored(asked.body)
            self.headers[name] = asked.headers
            return 200, self.sent_along, b""
        if name not in self.documents:
            return refusal(404, _ABSENT.get(name, "NoSuchThing"))
        return 200, {"Content-Type": "application/xml", **self.sent_along}, self.documents[name]


_ABSENT = {
    "cors": "NoSuchCORSConfiguration", "lifecycle": "NoSuchLifecycleConfiguration", "tagging": "NoSuchTagSet",
    "policy": "NoSuchBucketPolicy", "encryption": "ServerSideEncryptionConfigurationNotFoundError",
    "publicAccessBlock": "NoSuchPublicAccessBlockConfiguration",
}  # fmt: skip


def _md5(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


def _iso(found: Stored) -> str:
    return datetime.fromtimestamp(found.modified, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _named(source: str) -> str:
    """Return the key in a copy source."""
    return unquote(source.partition("?versionId=")[0]).lstrip("/").partition("/")[2]


def _described(asked: Asked) -> dict[str, str]:
    return {
        name: value for name, value in asked.headers.items() if name.startswith("x-amz-meta-") or name == "content-type"
    }


def _children(node: ElementTree.Element) -> dict[str, str]:
    return {child.tag.rpartition("}")[2]: child.text or "" for child in node}


def _with_headers(answer: Answer, headers: dict[str, str]) -> Answer:
    assert isinstance(answer, tuple)
    return answer[0], {**answer[1], **headers}, answer[2]


def _in_200(answer: Answer) -> Answer:
    assert isinstance(answer, tuple)
    return 200, answer[1], answer[2]


def _mismatch(asked: Asked) -> Answer:
    """Return the error response for a body that does not match its checksums; None if it does."""
    for name, compute in _CHECKSUMS.items():
        given = asked.headers.get(f"x-amz-checksum-{name}")
        if given and given != base64.b64encode(compute(asked.body)).decode("ascii"):
            return refusal(400, "BadDigest")
    md5 = asked.headers.get("content-md5")
    if md5 and md5 != base64.b64encode(bytes.fromhex(_md5(asked.body))).decode("ascii"):
        return refusal(400, "BadDigest")
    return None


def _unchunked(asked: Asked) -> bytes:
    """Return a body without the framing of aws-chunked."""
    if "aws-chunked" not in asked.headers.get("content-encoding", ""):
        return asked.body
    body, rest = b"", asked.body
    while rest:
        line, _, rest = rest.partition(b"\r\n")
        size = int(line.partition(b";")[0], 16)
        if not size:
            break
        body, rest = body + rest[:size], rest[size + 2 :]
    return body


def _xml(root: str, inside: str, *, spaced: bool = False) -> Answer:
    declaration = '<?xml version="1.0" encoding="UTF-8"?>'
    text = f'{declaration}<{root} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{inside}</{root}>'
    if spaced:  # but not between an opening tag and its closing tag, where it would be a value
        text = re.sub(r"(?:</\w+>|/>|\?>)(?=<)|<[^/?][^<>]*>(?=<[^/])", "\\g<0>\r\n\t", text)
    return 200, {"Content-Type": "application/xml"}, text.encode()
