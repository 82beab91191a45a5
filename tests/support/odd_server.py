"""A small S3 in memory, over real HTTP, whose answers can be made odd: legal HTTP and legal S3 that no server of the other tests sends.

Without oddities it is a plain store: objects, ranges, conditions, listings, copies, uploads in parts, versions as delete markers only.
Every oddity is a name in :data:`ODDITIES`; ``run_odd_server("aligned ranges", "weak etags")`` starts a server with two of them.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import format_datetime
from urllib.parse import quote, unquote
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from support.scripted_server import Asked, ScriptedServer, _Handler

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
    "header names in odd case": "header names in upper and lower case by turns",
    "Last-Modified as ISO 8601": "2026-11-21T05:00:00.5Z",
    "Last-Modified as RFC 850": "Saturday, 21-Nov-26 05:00:00 GMT",
    "Last-Modified as asctime": "Sat Nov 21 05:00:00 2026",
    "Last-Modified in seconds": "1795237200",
    "no Last-Modified": "the header is missing",
    "errors in 200": "copies and Completes are answered with 200 and an error document",
    "chunked": "bodies come in chunks, without a length",
    "HTTP/1.0": "HTTP/1.0, and the connection is closed",
    "HTTP/1.0 without length": "HTTP/1.0, and the end of the connection is the end of the body",
    "connections closed": "the connection is closed after each answer, which says so",
    "connections closed unsaid": "the connection is closed after each answer, which does not say so",
    "pieces": "answers come in pieces of a few bytes",
    "interim answers": "100 Continue and 103 Early Hints come before each answer",
}
MODIFIED = datetime(2026, 11, 21, 5, 0, 0, tzinfo=timezone.utc)
MARKER_VERSION = "delete-marker-1"
_NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"
_BLOCK = 256


@dataclass
class Stored:
    """One object."""

    body: bytes
    etag: str
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Upload:
    """One unfinished upload in parts."""

    key: str
    algorithm: str
    headers: dict[str, str]
    parts: dict[int, bytes] = field(default_factory=dict)


@dataclass
class Reply:
    """An answer before it is written."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class OddServer(ScriptedServer):
    """The server; :func:`run_odd_server` makes one.

    Attributes:
        oddities: The names of what is odd; may be changed at any time.
        objects: What is stored.
        delete_markers: Keys that are delete markers under :data:`MARKER_VERSION`.
    """

    def __init__(self, *oddities: str) -> None:
        unknown = set(oddities) - set(ODDITIES)
        if unknown:
            raise ValueError(f"no such oddity: {', '.join(sorted(unknown))}")
        super().__init__()
        self.RequestHandlerClass = _OddHandler
        self.oddities = set(oddities)
        self.objects: dict[str, Stored] = {}
        self.uploads: dict[str, Upload] = {}
        self.delete_markers: set[str] = set()
        self._conflicts: set[str] = set()
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients drop connections whose answer is not worth reading to its end."""

    def store(self, key: str, body: bytes, **headers: str) -> str:
        """Put an object there; return its etag without quotes."""
        digest = hashlib.md5(body, usedforsecurity=False).hexdigest()
        if "etags that are no MD5" in self.oddities:
            digest = hashlib.sha256(body).hexdigest()[:32]
        self.objects[key] = Stored(body, digest, headers)
        return digest

    def handle_request_odd(self, asked: Asked) -> Reply:
        """What the store answers."""
        with self._lock:
            if not asked.key:
                return self._bucket(asked)
            if asked.query.get("versionId") == MARKER_VERSION and asked.key in self.delete_markers:
                return self._delete_marker(asked)
            if asked.method in ("GET", "HEAD"):
                return self._read(asked)
            if "uploadId" in asked.query or "uploads" in asked.query:
                return self._multipart(asked)
            if asked.method == "PUT":
                return self._write(asked)
            if asked.method == "DELETE":
                self.objects.pop(asked.key, None)
                return Reply(204)
            return _error(405, "MethodNotAllowed")

    # -- objects --------------------------------------------------------------------------------------------------------------------

    def _etag(self, etag: str) -> str:
        if "etags without quotes" in self.oddities:
            return etag
        return f'W/"{etag}"' if "weak etags" in self.oddities else f'"{etag}"'

    def _matches(self, condition: str, etag: str) -> bool:
        """If-Match; with strong etags compared strongly, with weak ones loosely, or such a store could not be read under a condition."""
        return condition == "*" or condition.strip().removeprefix("W/").strip('"') == etag

    def _delete_marker(self, asked: Asked) -> Reply:
        headers = {"x-amz-delete-marker": "true", "x-amz-version-id": MARKER_VERSION, "Allow": "DELETE"}
        if asked.method not in ("GET", "HEAD"):
            return Reply(204, headers)
        refused = _error(405, "MethodNotAllowed")
        return Reply(405, {**refused.headers, **headers}, refused.body)

    def _read(self, asked: Asked) -> Reply:
        found = self.objects.get(asked.key)
        if found is None:
            return _error(404, "NoSuchKey")
        if "tagging" in asked.query:
            return _xml("Tagging", "<TagSet></TagSet>")
        if "if-match" in asked.headers and not self._matches(asked.headers["if-match"], found.etag):
            return _error(412, "PreconditionFailed")
        headers = {**found.headers, "ETag": self._etag(found.etag), "Accept-Ranges": "bytes"}
        headers["Content-Type"] = found.headers.get("Content-Type", "application/octet-stream")
        modified = self._last_modified()
        if modified is not None:
            headers["Last-Modified"] = modified
        body, size = found.body, len(found.body)
        wanted = asked.headers.get("range", "")
        if not wanted.startswith("bytes=") or asked.method == "HEAD" or "ranges ignored" in self.oddities:
            half = size // 2
            if asked.method == "GET" and size and "whole as 206" in self.oddities:
                return Reply(206, {**headers, "Content-Range": f"bytes 0-{size - 1}/{size}"}, body)
            if asked.method == "GET" and half and {"first half as 206", "part as 200"} & self.oddities:
                status = 206 if "first half as 206" in self.oddities else 200
                return Reply(status, {**headers, "Content-Range": f"bytes 0-{half - 1}/{size}"}, body[:half])
            if asked.method == "GET" and half and "second half as 206" in self.oddities:
                return Reply(206, {**headers, "Content-Range": f"bytes {half}-{size - 1}/{size}"}, body[half:])
            return Reply(200, headers, body)
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        start = int(first) if first else max(0, size - int(last))
        end = min(int(last), size - 1) + 1 if last and first else size
        if start >= size:
            refused = _error(416, "InvalidRange")
            return Reply(416, {**refused.headers, "Content-Range": f"bytes */{size}"}, refused.body)
        if "aligned ranges" in self.oddities:
            start, end = start // _BLOCK * _BLOCK, min(-(-end // _BLOCK) * _BLOCK, size)
        if "short ranges" in self.oddities:
            end = start + -(-(end - start) // 2)
        if "shifted ranges" in self.oddities and end - start > 1:
            start += 1
        total = "*" if "ranges without total" in self.oddities else str(size)
        if "ranges without Content-Range" not in self.oddities:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{total}"
        return Reply(200 if "ranges as 200" in self.oddities else 206, headers, body[start:end])

    def _last_modified(self) -> str | None:
        for name, value in (
            ("Last-Modified as ISO 8601", "2026-11-21T05:00:00.5Z"),
            ("Last-Modified as RFC 850", "Saturday, 21-Nov-26 05:00:00 GMT"),
            ("Last-Modified as asctime", "Sat Nov 21 05:00:00 2026"),
            ("Last-Modified in seconds", str(int(MODIFIED.timestamp()))),
            ("no Last-Modified", None),
        ):
            if name in self.oddities:
                return value
        return format_datetime(MODIFIED, usegmt=True)

    def _refusal(self, asked: Asked) -> Reply | None:
        """Why a conditional write is refused; None where it is not."""
        found = self.objects.get(asked.key)
        if not {"if-match", "if-none-match"} & set(asked.headers):
            return None
        if "write conflicts" in self.oddities and asked.key not in self._conflicts:
            self._conflicts.add(asked.key)
            return _error(409, "ConditionalRequestConflict")
        if "if-none-match" in asked.headers and found is not None:
            return _error(412, "PreconditionFailed")
        if "if-match" in asked.headers and found is None:
            return _error(404, "NoSuchKey")
        if (
            found is not None
            and "if-match" in asked.headers
            and not self._matches(asked.headers["if-match"], found.etag)
        ):
            return _error(412, "PreconditionFailed")
        return None

    def _write(self, asked: Asked) -> Reply:
        source = asked.headers.get("x-amz-copy-source")
        if source is not None:
            return self._copy(asked, unquote(source).lstrip("/").partition("/")[2].partition("?versionId=")[0])
        refused = self._refusal(asked)
        if refused is not None:
            return refused
        kept = {name: value for name, value in asked.headers.items() if name.startswith("x-amz-meta-")}
        kept |= {"Content-Type": asked.headers["content-type"]} if "content-type" in asked.headers else {}
        return Reply(200, {"ETag": self._etag(self.store(asked.key, _unchunked(asked), **kept))})

    def _copy(self, asked: Asked, source: str) -> Reply:
        found = self.objects.get(source)
        if found is None:
            return _error(404, "NoSuchKey")
        if "errors in 200" in self.oddities:
            return Reply(200, {"Content-Type": "application/xml"}, _error(500, "InternalError").body)
        condition = asked.headers.get("x-amz-copy-source-if-match")
        if condition is not None and not self._matches(condition, found.etag):
            return _error(412, "PreconditionFailed")
        kept = dict(found.headers)
        if asked.headers.get("x-amz-metadata-directive") == "REPLACE":
            kept = {name: value for name, value in asked.headers.items() if name.startswith("x-amz-meta-")}
        etag = escape(self._etag(self.store(asked.key, found.body, **kept)), {'"': "&quot;"})
        return _xml("CopyObjectResult", f"<LastModified>2026-11-21T05:00:00.000Z</LastModified><ETag>{etag}</ETag>")

    # -- uploads in parts -------------------------------------------------------------------------------------------------------------

    def _multipart(self, asked: Asked) -> Reply:
        if "uploads" in asked.query:
            upload_id = f"upload-{next(self._numbers)}"
            algorithm = asked.headers.get("x-amz-checksum-algorithm", "").lower()
            kept = {name: value for name, value in asked.headers.items() if name.startswith("x-amz-meta-")}
            self.uploads[upload_id] = Upload(asked.key, algorithm, kept)
            return _xml("InitiateMultipartUploadResult", f"<Bucket>bkt</Bucket><UploadId>{upload_id}</UploadId>")
        upload = self.uploads.get(asked.query["uploadId"])
        if upload is None:
            return _error(404, "NoSuchUpload")
        if asked.method == "DELETE":
            del self.uploads[asked.query["uploadId"]]
            return Reply(204)
        if asked.method == "PUT":
            body = _unchunked(asked)
            if (source := asked.headers.get("x-amz-copy-source")) is not None:
                first, _, last = asked.headers["x-amz-copy-source-range"].removeprefix("bytes=").partition("-")
                body = self.objects[unquote(source).lstrip("/").partition("/")[2]].body[int(first) : int(last) + 1]
            upload.parts[int(asked.query["partNumber"])] = body
            etag = self._etag(hashlib.md5(body, usedforsecurity=False).hexdigest())
            if source is not None:
                return _xml("CopyPartResult", f"<ETag>{escape(etag)}</ETag>")
            return Reply(200, {"ETag": etag, "x-amz-checksum-crc32": _crc32(body)})
        if "errors in 200" in self.oddities:
            return Reply(200, {"Content-Type": "application/xml"}, _error(500, "InternalError").body)
        named = [
            (int(part.findtext(f"{_NAMESPACE}PartNumber") or 0), {child.tag.removeprefix(_NAMESPACE) for child in part})
            for part in ElementTree.fromstring(asked.body)
        ]
        if "completes checked" in self.oddities:
            for _, fields in named:
                checksums = {name.removeprefix("Checksum").lower() for name in fields if name.startswith("Checksum")}
                if checksums - {upload.algorithm}:
                    return _error(400, "InvalidPart")
        refused = self._refusal(asked)
        if refused is not None:
            return refused
        whole = b"".join(upload.parts[number] for number, _ in named)
        del self.uploads[asked.query["uploadId"]]
        self.store(asked.key, whole, **upload.headers)
        parts = b"".join(hashlib.md5(upload.parts[number], usedforsecurity=False).digest() for number, _ in named)
        etag = f"{hashlib.md5(parts, usedforsecurity=False).hexdigest()}-{len(named)}"
        self.objects[asked.key].etag = etag
        return _xml(
            "CompleteMultipartUploadResult", f"<Key>{escape(asked.key)}</Key><ETag>{escape(self._etag(etag))}</ETag>"
        )

    # -- the bucket ---------------------------------------------------------------------------------------------------------------------

    def _bucket(self, asked: Asked) -> Reply:
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
            return Reply(200)
        if asked.method == "DELETE" and not asked.query:
            return Reply(204)
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
        return _error(405, "MethodNotAllowed")

    def _list(self, asked: Asked, root: str, element: str, further: str) -> Reply:
        url = asked.query.get("encoding-type") == "url" and "raw carriage returns, no encoding" not in self.oddities
        prefix, delimiter = asked.query.get("prefix", ""), asked.query.get("delimiter", "")
        after = (
            unquote(asked.query.get("continuation-token") or "")
            or asked.query.get("start-after")
            or asked.query.get("key-marker", "")
        )
        at_most = int(asked.query.get("max-keys", "1000"))
        keys = [key for key in sorted(self.objects, key=lambda key: key.encode()) if key.startswith(prefix)]
        entries: dict[str, str] = {}
        for key in keys:
            rest, mark, _ = key[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            name = f"{prefix}{rest}{mark}" if mark else key
            if name.encode() > after.encode() and not (mark and after.startswith(name)):
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
                "<LastModified>2026-11-21T05:00:00.000Z</LastModified>",
                self._field("ETag", self._etag(found.etag)),
                f"<Size>{len(found.body)}</Size>",
                "<StorageClass>STANDARD</StorageClass>",
            ]
            if "fields in another order" in self.oddities:
                fields.reverse()
            inside += f"<{element}>{''.join(fields)}{further}</{element}>"
        return self._document(root, inside)

    def _field(self, name: str, value: str, *, url: bool = False) -> str:
        text = quote(value) if url else escape(value, {'"': "&quot;"})
        keeps_cr = {"raw carriage returns", "raw carriage returns, no encoding"} & self.oddities
        referenced = {*map(chr, range(32)), "\ufffe", "\uffff"} - ({"\r"} if keeps_cr else set())
        text = "".join(f"&#x{ord(character):x};" if character in referenced else character for character in text)
        return f"<{name}>{text}</{name}>"

    def _document(self, root: str, inside: str) -> Reply:
        return _xml(root, inside, spaced="white space in XML" in self.oddities)


class _OddHandler(_Handler):
    """Writes an answer as the oddities say."""

    server: OddServer
    wbufsize = 0  # 100 Continue goes out at once: botocore waits a second for it

    def _serve(self) -> None:
        path, _, query = self.path.partition("?")
        length = int(self.headers.get("Content-Length") or 0)
        pairs = [pair.partition("=") for pair in query.split("&") if pair]
        asked = Asked(
            self.command,
            unquote(path).lstrip("/").partition("/")[2],
            {unquote(name): unquote(value.replace("+", " ")) for name, _, value in pairs},
            {name.lower(): value for name, value in self.headers.items()},
            self.rfile.read(length),
        )
        self.server.asked.append(asked)
        odd = self.server.oddities
        reply = self.server.handle_request_odd(asked)
        headers = {**reply.headers, "x-amz-request-id": f"R{len(self.server.asked)}"}
        body, version = reply.body, "HTTP/1.1"
        self.close_connection = False
        has_body = self.command != "HEAD" and reply.status not in (204, 304)
        if "HTTP/1.0" in odd or "HTTP/1.0 without length" in odd:
            version, self.close_connection = "HTTP/1.0", True
        if "chunked" in odd and has_body:
            headers["Transfer-Encoding"] = "chunked"
            pieces = [body[at : at + 700] for at in range(0, len(body), 700)] if len(body) < 1 << 16 else [body]
            body = b"".join(f"{len(piece):x}\r\n".encode() + piece + b"\r\n" for piece in pieces) + b"0\r\n\r\n"
        elif not ("HTTP/1.0 without length" in odd and has_body):
            headers["Content-Length"] = str(len(body)) if reply.status != 204 else "0"
        if "connections closed" in odd:
            headers["Connection"], self.close_connection = "close", True
        if "connections closed unsaid" in odd:
            self.close_connection = True
        if "header names in odd case" in odd:
            headers = {
                "".join(c.upper() if at % 2 else c.lower() for at, c in enumerate(name)): value
                for name, value in headers.items()
            }
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        before = (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
            if "interim answers" in odd
            else ""
        )
        data = f"{before}{version} {reply.status} {'Whatever' if reply.status != 200 else 'OK'}\r\n{lines}\r\n".encode(
            "latin-1"
        )
        data += body if has_body else b""
        if "pieces" in odd and len(data) < 1 << 16:
            for at in range(0, len(data), 97):
                self.connection.sendall(data[at : at + 97])
        else:
            self.connection.sendall(data)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve


def _error(status: int, code: str) -> Reply:
    body = f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
    return Reply(status, {"Content-Type": "application/xml"}, body)


def _xml(root: str, inside: str, *, spaced: bool = False) -> Reply:
    declaration = '<?xml version="1.0" encoding="UTF-8"?>'
    text = f'{declaration}<{root} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{inside}</{root}>'
    if spaced:  # but not between an opening tag and its own end, where it would be a value
        text = re.sub(r"(?:</\w+>|/>|\?>)(?=<)|<[^/?][^<>]*>(?=<[^/])", "\\g<0>\r\n\t", text)
    return Reply(200, {"Content-Type": "application/xml"}, text.encode())


def _unchunked(asked: Asked) -> bytes:
    """A body without the framing of aws-chunked."""
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


def _crc32(body: bytes) -> str:
    return base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode("ascii")


@contextmanager
def run_odd_server(*oddities: str) -> Iterator[OddServer]:
    """A server on a port of its own."""
    server = OddServer(*oddities)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()
