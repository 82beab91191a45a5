"""Many different operations on a bucket, and the count of the requests that a proxy saw of each operation of S3."""

from __future__ import annotations

import random
import urllib.parse
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import messageflux_s3 as s3

from .proxy import Fault, Plan, Seen

_LARGE = b"L" * (17 << 20) + b"the rest"
_BY_QUERY = {
    ("GET", "list-type"): "ListObjectsV2",
    ("GET", "location"): "GetBucketLocation",
    ("GET", "tagging"): "GetObjectTagging",
    ("GET", "uploads"): "ListMultipartUploads",
    ("GET", "versioning"): "GetBucketVersioning",
    ("GET", "versions"): "ListObjectVersions",
    ("POST", "delete"): "DeleteObjects",
    ("POST", "uploads"): "CreateMultipartUpload",
    ("POST", "uploadId"): "CompleteMultipartUpload",
    ("PUT", "partNumber"): "UploadPart",
    ("DELETE", "uploadId"): "AbortMultipartUpload",
}


def operation_of(seen: Seen) -> str:
    """Return S3's name of the operation of a request. A copy is recognised by its key, which contains ``copied``."""
    for name in urllib.parse.parse_qs(seen.query, keep_blank_values=True):
        if (seen.method, name) in _BY_QUERY:
            return _BY_QUERY[seen.method, name]
    bucket, _, key = seen.path.lstrip("/").partition("/")
    if not bucket:
        return "ListBuckets"
    if key and seen.method == "PUT":
        return "CopyObject" if "copied" in key else "PutObject"
    return {"GET": "Get", "HEAD": "Head", "PUT": "Create", "DELETE": "Delete"}[seen.method] + (
        "Object" if key else "Bucket"
    )


def counted_by_operation(seen: Iterable[Seen]) -> Counter[str]:
    """Return how many requests of each operation arrived."""
    return Counter(map(operation_of, seen))


def failing_first(every: int, kinds: tuple[str, ...] = ("slowdown_before", "429_before", "500_before")) -> Plan:
    """Return a plan in which the first request of one in ``every`` targets gets an error response; the second one succeeds."""

    def plan(method: str, target: str, number: int) -> Fault | None:
        chance = random.Random(f"{method}|{target}")
        return Fault(chance.choice(kinds)) if number == 0 and chance.randrange(every) == 0 else None

    return plan


def _put(bucket: s3.S3Bucket, key: str) -> Any:
    return bucket.put_object(key, b"x" * 1024, metadata={"n": "1"})


def _get(bucket: s3.S3Bucket, key: str) -> Any:
    return bucket.put_object(key, b"y" * 300).reload() or bucket.get_object(key).body


def _missing(bucket: s3.S3Bucket, key: str) -> Any:
    return bucket[key + "-missing"].exists()


def _range(bucket: s3.S3Bucket, key: str) -> Any:
    return bucket.put_object(key, b"z" * 300) and bucket[key].read_range(10, 20)


def _stream(bucket: s3.S3Bucket, key: str) -> Any:
    bucket.put_object(key, b"a" * 2000)
    return [*bucket[key].iter_chunks(chunk_size=700)]


def _file(bucket: s3.S3Bucket, key: str) -> Any:
    with bucket[key].open("wb") as file:
        file.write(b"written")
    with bucket[key].open("rb") as file:
        return file.read()


def _copy(bucket: s3.S3Bucket, key: str) -> Any:
    return bucket.put_object(key, b"b") and bucket.copy_object(key, key + "-copied")


def _many(bucket: s3.S3Bucket, key: str) -> Any:
    # Not in a folder of their own: rclone loses one of several objects that are written at once into a new folder, about once in 5,000.
    bucket.put_objects((f"{key}-{number}", b"m" * 100) for number in range(10))
    found = [obj.body for obj in bucket.find(key + "-").prefetch()]
    bucket.delete_objects([f"{key}-{number}" for number in range(10)])
    return found


def _upload(bucket: s3.S3Bucket, key: str) -> Any:
    return bucket.upload_object(key, iter([_LARGE]))


def _delete(bucket: s3.S3Bucket, key: str) -> Any:
    return bucket.delete_object(key)


def _list(bucket: s3.S3Bucket, key: str) -> Any:
    return bucket.find(key).count()


_SMALL: list[Callable[[s3.S3Bucket, str], Any]] = [
    _put, _get, _missing, _range, _stream, _file, _copy, _many, _delete, _list,
]  # fmt: skip


def run(bucket: s3.S3Bucket, count: int, seed: int = 1) -> None:
    """Run that many operations of this library, each with one request or a few; one in 200 is an upload in parts."""
    chance = random.Random(seed)
    for number in range(count):
        function = _upload if number % 200 == 20 else chance.choice(_SMALL)
        function(bucket, f"mixed/{number}")


async def run_async(bucket: s3.AsyncS3Bucket, count: int, seed: int = 1) -> None:
    """Run that many operations through the async handles."""

    async def many(key: str) -> None:
        await bucket.put_objects([(f"{key}-{at}", b"m" * 100) for at in range(10)])
        _ = [obj.body async for obj in bucket.find(key + "-").prefetch()]
        await bucket.delete_objects([f"{key}-{at}" for at in range(10)])

    async def file(key: str) -> None:
        async with bucket[key].open("wb") as writing:
            await writing.write(b"written")
        async with bucket[key].open("rb") as reading:
            await reading.read()

    async def copy(key: str) -> None:
        await bucket.put_object(key, b"b")
        await bucket.copy_object(key, key + "-copied")

    async def read(key: str) -> None:
        await bucket.put_object(key, b"z" * 300)
        await bucket[key].read()
        await bucket[key].read_range(10, 20)

    small: list[Callable[[str], Awaitable[Any]]] = [
        lambda key: bucket.put_object(key, b"x" * 1024),
        lambda key: bucket[key].exists(),
        lambda key: bucket.find(key).count(),
        bucket.delete_object,
        many, file, copy, read,
    ]  # fmt: skip
    chance = random.Random(seed)
    for number in range(count):
        if number % 200 == 20:
            await bucket.upload_object(f"mixed/{number}", iter([_LARGE]))
        else:
            await chance.choice(small)(f"mixed/{number}")
