"""The public face as a caller's type checker sees it. Never run: mypy and pyright read it, strictly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import messageflux_s3 as s3

store: s3.S3Store = s3.connect("https://minio.example", access_key="a", secret_key="b")
bucket: s3.S3Bucket = store.create_bucket("scratch", lifetime_in_days=30, allow_public_access=False, exist_ok=True)
same: s3.S3Bucket = store.bucket("scratch")
all_buckets: Iterator[s3.S3Bucket] = store.buckets()
alive: bool = store.ping() and store.is_online
found: s3.Capabilities = store.probe()


class Mine(s3.S3Bucket):
    """A subclass gets its own kind back."""


mine: Mine = Mine.create_bucket(store, "mine")
mine_too: Iterator[Mine] = Mine.list_buckets(store)

obj: s3.S3Object = bucket.put_object("k", b"x", {"a": "b"}, if_absent=True)
handle: s3.S3Object = bucket["k"]
body: bytes = obj.body
text: str = obj.text
size: int = obj.size
metadata: dict[str, str] = obj.metadata
there: bool = "k" in bucket
value: Any = bucket.get_json("k")

query: s3.ObjectQuery = bucket.find("2026/", glob="**/*.json", limit=5).filter(lambda each: each.size > 0)
keys: list[str] = [each.key for each in query]
prefixes: Iterator[str] = query.prefixes()
entries: Iterator[s3.S3Object | str] = query.entries()
first: s3.S3Object | None = query.first()
count: int = query.count() + query.total_size()

with bucket.lock("locks/a", ttl=5, owner="me") as lock:
    token: int = lock.token

try:
    bucket.get_object("missing")
except s3.S3NoSuchItem as error:
    code: str | None = error.code
except s3.S3BatchError as batch_error:
    failed: list[s3.Failure] = batch_error.failures
