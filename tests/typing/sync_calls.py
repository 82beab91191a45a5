"""Calls of the synchronous interface as a caller's type checker reads them. Never run: mypy and pyright check it strictly."""
# mypy: warn-unreachable

from __future__ import annotations

import gzip
import io
import mmap
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any, BinaryIO

from typing_extensions import assert_type

import messageflux_s3 as s3
from messageflux_s3.fs import MessagefluxS3FileSystem

# -- the store and its buckets

store = s3.connect("https://minio.example", access_key="a", secret_key="b")
assert_type(store, s3.S3Store)
bucket = store.create_bucket("scratch", lifetime_in_days=30, allow_public_access=False, exist_ok=True)
assert_type(bucket, s3.S3Bucket)
assert_type(store.bucket("scratch"), s3.S3Bucket)
all_buckets: Iterator[s3.S3Bucket] = store.buckets()
alive: bool = store.ping() and store.is_online
assert_type(store.probe(), s3.Capabilities)
assert_type(store.lane, s3.LaneStatus)
with store.observe("nightly") as seen, store.on_request(lambda event: print(event.seconds)) as subscription:
    assert_type(seen, s3.Observation)
    assert_type(subscription, s3.RequestSubscription)
assert_type(seen.rows, list[s3.RequestTotals])
assert_type(seen.cost({"class A": 0.005, "class B": 0.0004}), float)
reason: str = store.lane.reason


class Mine(s3.S3Bucket):
    """A subclass gets its own kind back."""


mine: Mine = Mine.create_bucket(store, "mine")
mine_too: Iterator[Mine] = Mine.list_buckets(store)

# -- writing: what the content may be

path = Path("a.txt")
obj = bucket.put_object("k", b"x", {"a": "b"}, if_absent=True)
assert_type(obj, s3.S3Object)
bucket.put_object("k", "text", if_match=obj.etag)
bucket.put_object("k", bytearray(b"x"))
bucket.put_object("k", memoryview(b"x"))
bucket.put_object("k", io.BytesIO(b"x"))
bucket.put_object("k", io.StringIO("text"))
bucket.put_json("k", {"total": 7}, cache_control="no-store")
assert_type(bucket.put_objects([("a", b"1"), ("b", "2")]), s3.BatchResult)
bucket.put_objects([("a", b"1", {"m": "1"}), ("b", "2", None)], content_type="text/plain")
bucket.put_objects((name, name * 2) for name in "abc")
bucket.upload_object("k", path)
bucket.upload_object("k", iter([b"x", b"y"]))
bucket.upload_object("k", (line for line in ["x", "y"]))
bucket.upload_object("k", sys.stdin)
bucket.upload_object("k", sys.stdin.buffer, Callback=print, progress=True)
bucket.upload_file("a.txt", "k", part_size_bytes=8 * 1024 * 1024)
bucket.upload_folder("folder", "prefix", metadata={"m": "1"}, verify_checksum=False, storage_class="STANDARD_IA")
obj.put(b"x", if_match=obj.etag).put("text", content_type="text/plain")
obj.update(lambda body: (body or b"") + b"x")
obj.update(lambda body: str(int(body or b"0") + 1))

with path.open("rb") as binary, path.open() as text, path.open("rb", buffering=0) as raw, gzip.open(path) as packed:
    for readable in (binary, text, raw, packed):
        bucket.upload_object("k", readable)
    bucket.put_object("k", binary)
    bucket.put_object("k", text)
    bucket.put_object("k", raw)
    bucket.put_object("k", packed)
    bucket.put_object("k", mmap.mmap(binary.fileno(), 0, access=mmap.ACCESS_READ))
with tempfile.TemporaryFile() as temporary, tempfile.SpooledTemporaryFile() as spooled:
    bucket.put_object("k", temporary)
    bucket.put_object("k", spooled)
with urllib.request.urlopen("https://example.org") as response:
    bucket.upload_object("k", response)


class OwnReader:
    def read(self, size: int = -1) -> bytes:
        return b"x" * size


bucket.put_object("k", OwnReader())
bucket.put_object("copy", obj.body_stream)
bucket.put_object("copy", obj.open())

# -- writing: further parameters, under both kinds of names

parameters: s3.PutParameters = {"content_type": "text/plain", "ACL": "private", "tags": {"a": "b"}}
bucket.put_object("k", b"x", **parameters)
bucket.put_object("k", b"x", content_type="text/plain", encryption="aws:kms", kms_key_id="id", expires=None)
bucket.put_object(
    "k", b"x", ContentType="text/plain", ServerSideEncryption="aws:kms", SSEKMSKeyId="id", ACL="public-read"
)
bucket.put_object(
    "k", b"x", ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=datetime(2030, 1, 1, tzinfo=timezone.utc)
)
bucket.upload_file(path, "k", StorageClass="GLACIER", tags="a=b")
bucket.upload_object("k", path, ExtraArgs={"ContentType": "text/plain"})
bucket.copy_object("a", "b", storage_class="STANDARD_IA", part_size_bytes=64 * 1024 * 1024)
assert_type(obj.copy_to("b", CacheControl="no-store"), s3.S3Object)
assert_type(obj.move_to(bucket["c"], cache_control="no-store"), s3.S3Object)
untyped: dict[str, Any] = {"StorageClass": "STANDARD_IA"}
bucket.put_object("k", b"x", **untyped)

# -- open(), by mode

assert_type(obj.open(), "io.BufferedReader")
assert_type(obj.open("rb"), "io.BufferedReader")
assert_type(obj.open("rb", buffering=0), BinaryIO)
assert_type(obj.open("wb", metadata={"a": "b"}, content_type="text/plain"), BinaryIO)
assert_type(obj.open("xb"), BinaryIO)
assert_type(obj.open("ab"), BinaryIO)
assert_type(obj.open("r", encoding="utf-8"), "io.TextIOWrapper")
assert_type(obj.open("w", newline="\n", ContentType="text/csv"), "io.TextIOWrapper")


def open_in(mode: str) -> IO[Any]:
    """A mode that is known at run time only."""
    file = obj.open(mode)
    assert_type(file, IO[Any])
    return file


with obj.open("r") as lines:
    first_line: str = lines.readline()
with obj.open("wb") as file:
    count_written: int = file.write(b"x")

# -- reading

handle: s3.S3Object = bucket["k"]
body: bytes = obj.body
content: str = obj.text
size: int = obj.size
metadata: dict[str, str] = obj.metadata
modified: datetime = obj.last_modified
there: bool = "k" in bucket
value: Any = bucket.get_json("k")
chunks: Iterator[bytes] = obj.iter_chunks()
stream: BinaryIO = obj.body_stream
bucket.download_object("k", io.BytesIO())
with path.open("wb") as target:
    bucket.download_object("k", target, Callback=print)
assert_type(obj.presigned_post(max_size=1024), s3.PresignedPost)
form: Mapping[str, str] = obj.presigned_post().fields
assert_type(obj.preview(), s3.Rendered)
assert_type(bucket.show(), s3.Rendered)

# -- queries

query = bucket.find("2026/", glob="**/*.json", limit=5).filter(lambda each: each.size > 0)
assert_type(query, s3.ObjectQuery)
keys: list[str] = [each.key for each in query]
prefixes: Iterator[str] = query.prefixes()
entries: Iterator[s3.S3Object | str] = query.entries()
assert_type(query.first(), "s3.S3Object | None")
number: int = query.count() + query.total_size()
lengths: Iterator[int] = query.map(lambda each: len(each.body))
assert_type(query.usage(), s3.Usage)
assert_type(bucket.usage(depth=2), s3.Usage)
assert_type(query.delete(raise_errors=False), s3.BatchResult)


def told(progress: s3.Progress) -> int:
    """Progress can be passed on."""
    return query.count(progress=progress)


told(True)
told(print)
told(None)

# -- folders

plan = bucket.sync_from_folder("folder", "prefix", dry_run=True)
assert_type(plan, s3.SyncPlan)
steps: list[s3.SyncStep] = [*plan.copied]

# -- locks and errors

with bucket.lock("locks/a", ttl=5, owner="me") as lock:
    assert_type(lock, s3.S3Lock)
    token: int = lock.token

try:
    bucket.get_object("missing")
except s3.S3NoSuchItem as error:
    code: str | None = error.code
except s3.S3BatchError as batch_error:
    failed: list[s3.Failure] = batch_error.failures

# -- attributes, paths, links

assert_type(bucket.get_object("key"), s3.S3Object)
assert_type(bucket.get_object("key", if_none_match="etag"), s3.S3Object | None)
language: str | None = bucket["key"].content_language
stored: dict[str, str] = bucket["key"].set_metadata({"a": "1"}, content_type="text/plain").checksums
assert_type(bucket.path("a") / "b", s3.S3Path)
sibling: str = (bucket["key"].path.parent / "b").read_text()
assert_type([*bucket.path("a").glob("*.txt")], list[s3.S3Path])
sent_parts: s3.PresignedParts = bucket["key"].presigned_parts(3, content_type="video/mp4")
sent_parts.complete(["etag"])
bucket["key"].restore(7, tier="Bulk")
noted: str = bucket["key"].annotations.get("name")

# -- messages

check = s3.ClaimCheck(bucket, threshold=1024)
message = check.check_in(b"payload", {"a": "b"})
pieces: list[bytes | bytearray] = [b"piece", bytearray(b"piece")]
check.check_in(iter(pieces))
check.check_in(io.BytesIO(b"payload"))
payload: bytes = check.check_out(message).payload
payload = check.check_out({"Body": "text"}).payload
payload = check.check_out(("text", None)).payload
events: list[s3.ObjectEvent] = s3.parse_event(b"{}")

# -- fsspec

files = MessagefluxS3FileSystem(store)
assert_type(files.open("bucket/key"), BinaryIO)
assert_type(files.open("bucket/key", "wb", content_type="text/plain"), BinaryIO)
assert_type(files.open("bucket/key", "r", encoding="utf-8"), "io.TextIOWrapper")
