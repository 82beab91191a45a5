"""zarr on the fsspec file system, with zarr's own test suite for stores."""

from __future__ import annotations

from typing import Any

import fsspec.implementations.asyn_wrapper
import numpy
import pytest
import zarr
from zarr.core.buffer import Buffer, cpu
from zarr.storage import FsspecStore
from zarr.testing.store import StoreTests

import messageflux_s3 as s3
from messageflux_s3.fs import MessagefluxS3FileSystem


def wrapped(store: s3.S3Store) -> Any:
    """The file system wrapped as an asynchronous one, as zarr requires."""
    return fsspec.implementations.asyn_wrapper.AsyncFileSystemWrapper(MessagefluxS3FileSystem(store), asynchronous=True)


class TestOurStore(StoreTests[FsspecStore, cpu.Buffer]):
    """zarr's own suite."""

    store_cls = FsspecStore
    buffer_cls = cpu.Buffer

    @pytest.fixture
    def store_kwargs(self, s3_store: s3.S3Store, s3_bucket: s3.S3Bucket) -> dict[str, Any]:
        return {"fs": wrapped(s3_store), "path": s3_bucket.name, "read_only": False}

    @pytest.fixture
    async def store(self, store_kwargs: dict[str, Any]) -> FsspecStore:
        return self.store_cls(**store_kwargs)

    async def set(self, store: FsspecStore, key: str, value: Buffer) -> None:
        store.fs.sync_fs.pipe_file(f"{store.path}/{key}", value.to_bytes())

    async def get(self, store: FsspecStore, key: str) -> Buffer:
        return self.buffer_cls.from_bytes(store.fs.sync_fs.cat_file(f"{store.path}/{key}"))

    def test_store_repr(self, store: FsspecStore) -> None:
        assert "FsspecStore" in repr(store)

    def test_store_supports_writes(self, store: FsspecStore) -> None:
        assert store.supports_writes

    def test_store_supports_listing(self, store: FsspecStore) -> None:
        assert store.supports_listing


def test_a_zarr_array_is_written_and_read(s3_bucket: s3.S3Bucket, s3_store: s3.S3Store) -> None:
    """Written in chunks, read back by another."""
    path = f"{s3_bucket.name}/a.zarr"
    array = zarr.create_array(FsspecStore(wrapped(s3_store), path=path), shape=(100, 100), chunks=(10, 100), dtype="i4")
    array[:] = numpy.arange(10_000).reshape(100, 100)
    back = zarr.open_array(FsspecStore(wrapped(s3_store), path=path), mode="r")
    assert back[57, 3] == 5703
    assert s3_bucket.find(prefix="a.zarr/c/").count() == 10
