"""Libraries that accept URLs: each writes to and reads from ``mfs3://`` URLs."""

from __future__ import annotations

from typing import Any

import dask.dataframe
import duckdb
import fsspec
import pandas
import polars
import pyarrow.dataset
import pytest

import messageflux_s3 as s3
from messageflux_s3.fs import MessagefluxS3FileSystem

FRAME = pandas.DataFrame(
    {"n": range(1000), "text": [f"row {n}" for n in range(1000)], "half": [n / 2 for n in range(1000)]}
)


@pytest.fixture
def url(s3_bucket: s3.S3Bucket) -> str:
    return f"mfs3://{s3_bucket.name}"


@pytest.fixture
def options(s3_store: s3.S3Store) -> dict[str, Any]:
    return {
        "endpoint_url": s3_store.config.endpoint_url,
        "access_key": "me",
        "secret_key": "hush",
        "region": "us-east-1",
    }


@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "t.feather", "t.json", "t.csv.gz", "folder/of a/ü%.parquet"])
def test_pandas(url: str, options: dict[str, Any], name: str) -> None:
    """Every format that pandas can both write and read."""
    kind = name.removesuffix(".gz").rpartition(".")[2]
    more = {"index": False} if kind == "csv" else {"orient": "records"} if kind == "json" else {}
    getattr(FRAME, f"to_{kind}")(f"{url}/{name}", storage_options=options, **more)
    read = getattr(pandas, f"read_{kind}")
    pandas.testing.assert_frame_equal(read(f"{url}/{name}", storage_options=options), FRAME, check_dtype=False)


def test_dask_writes_and_reads_partitions_as_files_of_a_folder(url: str, options: dict[str, Any]) -> None:
    """Partitions are written and read as files of a folder."""
    dask.dataframe.from_pandas(FRAME, npartitions=4).to_parquet(f"{url}/parts", storage_options=options)
    found = dask.dataframe.read_parquet(f"{url}/parts", storage_options=options).compute(scheduler="threads")
    pandas.testing.assert_frame_equal(found.reset_index(drop=True), FRAME, check_dtype=False)


def test_polars_reads_and_writes_fsspec_files(s3_bucket: s3.S3Bucket, url: str, options: dict[str, Any]) -> None:
    """polars supports only its own URL schemes: files opened with fsspec are read and written."""
    with fsspec.open(f"{url}/t.parquet", "wb", **options) as file:
        polars.from_pandas(FRAME).write_parquet(file)
    with fsspec.open(f"{url}/t.parquet", "rb", **options) as file:
        assert polars.read_parquet(file).equals(polars.from_pandas(FRAME))
    s3_bucket.put_object("t.csv", FRAME.to_csv(index=False))
    with fsspec.open(f"{url}/t.csv", "rb", **options) as file:
        assert polars.read_csv(file).shape == FRAME.shape


def test_duckdb(s3_store: s3.S3Store, url: str) -> None:
    """With the file system registered, SQL reads globs and writes files."""
    connection = duckdb.connect()
    connection.register_filesystem(MessagefluxS3FileSystem(s3_store))
    connection.register("frame", FRAME)
    connection.execute(f"COPY (SELECT * FROM frame WHERE n < 500) TO '{url}/parts/a.parquet' (FORMAT parquet)")
    connection.execute(f"COPY (SELECT * FROM frame WHERE n >= 500) TO '{url}/parts/b.parquet' (FORMAT parquet)")
    assert connection.execute(f"SELECT count(*), sum(half) FROM '{url}/parts/*.parquet'").fetchone() == (
        1000,
        FRAME["half"].sum(),
    )


def test_pyarrow_dataset(s3_store: s3.S3Store, s3_bucket: s3.S3Bucket) -> None:
    """A partitioned data set, read back with a filter."""
    fs = MessagefluxS3FileSystem(s3_store)
    table = pyarrow.Table.from_pandas(FRAME.assign(half_of=FRAME["n"] % 2))
    pyarrow.dataset.write_dataset(
        table, f"{s3_bucket.name}/set", format="parquet", partitioning=["half_of"], filesystem=fs
    )
    found = pyarrow.dataset.dataset(f"{s3_bucket.name}/set", format="parquet", partitioning=["half_of"], filesystem=fs)
    assert found.count_rows(filter=pyarrow.dataset.field("half_of") == 1) == 500
