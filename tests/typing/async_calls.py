"""Calls of the asynchronous interface as a caller's type checker reads them. Never run: mypy and pyright check it strictly."""
# mypy: warn-unreachable

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from typing_extensions import assert_type

import messageflux_s3 as s3


async def calls() -> None:
    async with s3.async_connect("https://minio.example", access_key="a", secret_key="b") as store:
        assert_type(store, s3.AsyncS3Store)
        assert_type(store.lane, s3.LaneStatus)
        with store.observe() as seen:
            assert_type(seen.operations, dict[str, s3.RequestTotals])
        bucket = store.bucket("scratch")
        assert_type(bucket, s3.AsyncS3Bucket)
        assert_type(await store.create_bucket("scratch"), s3.AsyncS3Bucket)
        async for each_bucket in store.buckets():
            assert_type(each_bucket, s3.AsyncS3Bucket)

        # writing
        obj = await bucket.put_object("k", b"x", {"a": "b"}, if_absent=True)
        assert_type(obj, s3.AsyncS3Object)
        await bucket.put_object("k", "text", content_type="text/plain")
        await bucket.put_object("k", io.BytesIO(b"x"), ContentType="text/plain", ACL="private")
        await bucket.put_json("k", {"total": 7}, cache_control="no-store")
        assert_type(await bucket.put_objects([("a", b"1"), ("b", "2", None)], tags={"a": "b"}), s3.BatchResult)
        await bucket.upload_file(Path("a.txt"), "k", storage_class="STANDARD_IA", progress=print)
        parameters: s3.PutParameters = {"content_type": "text/plain", "StorageClass": "STANDARD_IA"}
        assert_type(await obj.put(bytearray(b"x"), if_match=obj.etag, **parameters), s3.AsyncS3Object)
        assert_type(await bucket.copy_object("a", "b", CacheControl="no-store"), s3.AsyncS3Object)
        assert_type(await obj.copy_to("b", metadata={}, part_size_bytes=64 * 1024 * 1024), s3.AsyncS3Object)
        assert_type(await obj.move_to("c", cache_control="no-store"), s3.AsyncS3Object)

        # reading
        handle: s3.AsyncS3Object = bucket["k"]
        assert_type(await handle.load(), s3.AsyncS3Object)
        there: bool = await handle.exists()
        body: bytes = handle.body
        size: int = handle.size
        value: Any = await bucket.get_json("k")
        part: bytes = await handle.read_range(0, 5)
        chunks: AsyncIterator[bytes] = handle.iter_chunks()
        async for line in handle.iter_lines():
            assert_type(line, bytes)
        link: str = await handle.presigned_url()
        print(there, body, size, value, part, chunks, link)

        # queries
        query = bucket.find("2026/", glob="**/*.json").filter(lambda each: each.size > 0).limit(5)
        assert_type(query, s3.AsyncObjectQuery)
        async for each in query:
            assert_type(each, s3.AsyncS3Object)
        async for prefix in query.prefixes():
            assert_type(prefix, str)
        assert_type(await query.first(), "s3.AsyncS3Object | None")
        number: int = await query.count(progress=True) + await query.total_size()
        print(number)
        assert_type(await query.collect(), "list[s3.AsyncS3Object]")
        assert_type(await query.delete(), s3.BatchResult)
