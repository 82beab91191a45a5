"""Libraries that accept a file object: each writes through obj.open(), and reads back what it wrote."""

from __future__ import annotations

import csv
import gzip
import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy
import pandas
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

import messageflux_s3 as s3
from messageflux_s3.fs import MessagefluxS3FileSystem

FRAME = pandas.DataFrame(
    {"n": range(1000), "text": [f"row {n}" for n in range(1000)], "half": [n / 2 for n in range(1000)]}
)


@pytest.fixture
def obj(s3_bucket: s3.S3Bucket) -> s3.S3Object:
    return s3_bucket.object("file")


def test_pandas_csv(obj: s3.S3Object) -> None:
    """As text and as bytes."""
    for mode in ("w", "wb"):
        with obj.open(mode) as file:
            FRAME.to_csv(file, index=False)
        with obj.open(mode.replace("w", "r")) as file:
            pandas.testing.assert_frame_equal(pandas.read_csv(file), FRAME)


def test_pandas_json_lines_parquet_feather_pickle(obj: s3.S3Object) -> None:
    """The other formats that pandas writes to a file."""
    with obj.open("w") as file:
        FRAME.to_json(file, orient="records", lines=True)
    with obj.open("r") as file:
        pandas.testing.assert_frame_equal(
            pandas.read_json(file, orient="records", lines=True), FRAME, check_dtype=False
        )
    for write, read in (
        ("to_parquet", pandas.read_parquet),
        ("to_feather", pandas.read_feather),
        ("to_pickle", pandas.read_pickle),
    ):
        with obj.open("wb") as file:
            getattr(FRAME, write)(file)
        with obj.open() as file:
            pandas.testing.assert_frame_equal(read(file), FRAME)


def test_reading_one_parquet_column_fetches_a_small_part_of_the_file(s3_bucket: s3.S3Bucket) -> None:
    """Reading one of twenty columns fetches a small part of the bytes."""
    table = pyarrow.table({f"c{n}": numpy.random.default_rng(n).random(100_000) for n in range(20)})
    obj = s3_bucket.object("t.parquet")
    with obj.open("wb") as file:
        parquet.write_table(table, file)
    asked: list[str] = []

    def note(request: Any, **_: Any) -> None:
        asked.append(request.headers.get("Range", b"") if request.method == "GET" else b"")

    store = s3_bucket.store
    store.client.meta.events.register("before-send.s3", note)  # it also shuts the lane, so every request is seen
    try:
        with obj.open() as file:
            column = parquet.read_table(file, columns=["c7"])
    finally:
        store.client.meta.events.unregister("before-send.s3", note)
    assert column.column("c7").equals(table.column("c7"))
    ranges = [value.decode() if isinstance(value, bytes) else value for value in asked if value]
    brought = sum(int(end) - int(start) + 1 for start, end in (value[6:].split("-") for value in ranges))
    assert 0 < brought < obj.size / 5


def test_parquet_datasets_by_url(s3_bucket: s3.S3Bucket, s3_store: s3.S3Store) -> None:
    """A partitioned data set is written and read through the file system."""
    fs = MessagefluxS3FileSystem(s3_store)
    table = pyarrow.table({"k": [n % 3 for n in range(100)], "v": list(range(100))})
    parquet.write_to_dataset(table, f"{s3_bucket.name}/set", partition_cols=["k"], filesystem=fs)
    assert len(fs.find(f"{s3_bucket.name}/set")) == 3
    back = parquet.read_table(f"{s3_bucket.name}/set", filesystem=fs, filters=[("k", "=", 1)])
    assert sorted(back.column("v").to_pylist()) == list(range(1, 100, 3))


def test_pandas_by_url(s3_bucket: s3.S3Bucket, s3_store: s3.S3Store) -> None:
    """mfs3:// with storage options."""
    config = s3_store.config
    options = {
        "endpoint_url": config.endpoint_url,
        "access_key": config.access_key,
        "secret_key": config.secret_key,
        "region": "us-east-1",
    }
    url = f"mfs3://{s3_bucket.name}/by/url.csv.gz"
    FRAME.to_csv(url, index=False, storage_options=options)
    pandas.testing.assert_frame_equal(pandas.read_csv(url, storage_options=options), FRAME)


def test_zipfile(obj: s3.S3Object) -> None:
    """Archives are written as a stream and read by seeking; appending copies them first."""
    with obj.open("wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", b"alpha" * 10_000)
        archive.writestr("b", b"beta")
    with obj.open() as file, zipfile.ZipFile(file) as archive:
        assert archive.namelist() == ["a", "b"]
        assert archive.testzip() is None
        assert archive.read("b") == b"beta"


@pytest.mark.parametrize("kind", ["", "gz", "bz2", "xz"])
def test_tarfile(obj: s3.S3Object, kind: str) -> None:
    """Plain and compressed, written whole or as a stream."""
    for separator in ":|":
        with obj.open("wb") as file, tarfile.open(fileobj=file, mode=f"w{separator}{kind}") as archive:  # type: ignore[call-overload]
            info = tarfile.TarInfo("member")
            info.size = 5
            archive.addfile(info, io.BytesIO(b"hello"))
        with obj.open() as file, tarfile.open(fileobj=file) as archive:
            member = archive.extractfile("member")
            assert member is not None
            assert member.read() == b"hello"


def test_gzip(obj: s3.S3Object) -> None:
    """With an open file passed in, and with a file that gzip opens."""
    with obj.open("wb") as file, gzip.open(file, "wt") as packed:
        packed.write("lines\n" * 1000)
    with obj.open() as file, gzip.open(file, "rt") as packed:
        assert sum(1 for _ in packed) == 1000


def test_the_csv_module_writes_and_reads_rows(obj: s3.S3Object) -> None:
    """With newline='' as the csv module wants it."""
    rows = [["a", "b\nc"], ["ü", '"']]
    with obj.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    with obj.open("r", newline="") as file:
        assert list(csv.reader(file)) == rows


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "GIF", "WEBP", "BMP"])
def test_pillow(obj: s3.S3Object, kind: str) -> None:
    """Pictures of every common kind."""
    picture = Image.new("RGB", (64, 48), (10, 200, 30))
    with obj.open("wb") as file:
        picture.save(file, kind)
    with obj.open() as file, Image.open(file) as back:
        back.load()
        assert (back.format, back.size) == (kind, (64, 48))


def test_h5py(obj: s3.S3Object) -> None:
    """Written in place on the disk until the close, read by seeking."""
    values = numpy.arange(2_000_000)
    with obj.open("wb") as file, h5py.File(file, "w") as data:
        data.create_dataset("values", data=values, chunks=(100_000,), compression="gzip")
        data.attrs["unit"] = "m"
    with obj.open() as file, h5py.File(file, "r") as data:
        assert data.attrs["unit"] == "m"
        assert data["values"][1_500_000] == 1_500_000
        assert (data["values"][:] == values).all()


def test_numpy_saves_and_loads_an_array(obj: s3.S3Object) -> None:
    """save and load."""
    with obj.open("wb") as file:
        numpy.save(file, numpy.arange(10))
    with obj.open() as file:
        assert numpy.load(file).tolist() == list(range(10))


def test_shutil_copies_to_and_from_object_files(obj: s3.S3Object, tmp_path: Path) -> None:
    """copyfileobj, both ways."""
    import shutil

    (tmp_path / "in").write_bytes(b"x" * 1_000_000)
    with (tmp_path / "in").open("rb") as source, obj.open("wb") as target:
        shutil.copyfileobj(source, target)
    with obj.open() as source, (tmp_path / "out").open("wb") as target:
        shutil.copyfileobj(source, target)
    assert (tmp_path / "out").read_bytes() == b"x" * 1_000_000
