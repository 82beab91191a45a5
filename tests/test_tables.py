"""Listings as tables of typed columns."""

from __future__ import annotations

import sys
from datetime import datetime, timezone

import pytest

from messageflux_s3 import S3Bucket
from messageflux_s3._bulk.listing import Listed
from messageflux_s3._display import tables

MIXED = [
    Listed("a", "2026-01-02T03:04:05.678Z", '"e1"', "3", "STANDARD"),
    Listed("b", datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc), "e2", 5_000_000_000, ""),
    Listed("ü<script>", "2026-01-02T03:04:05Z", "", "0", "GLACIER"),
]


def test_pandas_columns_are_typed() -> None:
    """Text as a listing gives it, and values as boto3 gives them, become the same columns."""
    frame = tables.to_pandas(MIXED)
    assert [*frame.columns] == ["key", "size", "last_modified", "etag", "storage_class"]
    assert [str(dtype) for dtype in frame.dtypes] == ["string", "int64", "datetime64[us, UTC]", "string", "category"]
    assert frame["key"].tolist() == ["a", "b", "ü<script>"]
    assert frame["size"].tolist() == [3, 5_000_000_000, 0]
    assert frame["last_modified"].iloc[0] == datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=timezone.utc)
    assert frame["etag"].tolist() == ["e1", "e2", ""]
    assert frame["storage_class"].tolist() == ["STANDARD", "STANDARD", "GLACIER"]


def test_batches_are_joined_into_one_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows keep their order and types over the borders of batches."""
    monkeypatch.setattr(tables, "ROWS_PER_BATCH", 2)
    frame = tables.to_pandas(MIXED)
    assert frame["key"].tolist() == ["a", "b", "ü<script>"]
    assert frame.index.tolist() == [0, 1, 2]
    assert str(frame["storage_class"].dtype) == "category"


def test_an_empty_listing_gives_an_empty_table_with_the_same_columns() -> None:
    """An empty listing has the same typed columns."""
    assert [str(dtype) for dtype in tables.to_pandas([]).dtypes] == [
        str(dtype) for dtype in tables.to_pandas(MIXED).dtypes
    ]
    assert tables.arrow_batches([]).read_all().schema == tables.arrow_batches(MIXED).read_all().schema


def test_arrow_columns_are_typed() -> None:
    """Arrow's columns have the same values as pandas'."""
    table = tables.arrow_batches(MIXED, 2).read_all()
    assert {field.name: str(field.type) for field in table.schema} == {
        "key": "string",
        "size": "int64",
        "last_modified": "timestamp[us, tz=UTC]",
        "etag": "string",
        "storage_class": "string",
    }
    frame = tables.to_pandas(MIXED)
    for name in table.column_names:
        assert table[name].to_pylist() == frame[name].tolist()


def test_batches_are_read_on_demand() -> None:
    """A reader takes no more rows than its batches so far."""
    taken = []

    def entries() -> object:
        for n in range(10):
            taken.append(n)
            yield MIXED[0]

    reader = tables.arrow_batches(entries(), 3)  # type: ignore[arg-type]
    assert reader.read_next_batch().num_rows == 3
    assert len(taken) == 3


def test_versions_have_their_ids(moto_bucket: S3Bucket) -> None:
    """A table of versions has the columns version_id and is_latest."""
    moto_bucket.versioning.enable()
    moto_bucket.put_object("k", "one")
    moto_bucket.put_object("k", "three")
    frame = moto_bucket.find(versions=True).to_pandas()
    assert frame["version_id"].nunique() == 2
    assert dict(zip(frame["size"], frame["is_latest"], strict=True)) == {5: True, 3: False}
    assert moto_bucket.find(versions=True).to_arrow()["version_id"].to_pylist() == frame["version_id"].tolist()


@pytest.mark.parametrize("is_loaded", [False, True], ids=["listed", "loaded"])
def test_a_filter_keeps_which_version_is_the_latest(moto_bucket: S3Bucket, is_loaded: bool) -> None:
    """A program that deletes all versions but the latest ones of such a table would delete these too."""
    moto_bucket.versioning.enable()
    for text in ("one", "x", "three"):
        moto_bucket.put_object("k", text)
    query = moto_bucket.find(versions=True).filter(lambda obj: (len(obj.body) if is_loaded else obj.size) > 1)
    frame, rows = query.to_pandas(), query.to_arrow().to_pylist()
    assert [(row["size"], row["is_latest"]) for row in rows] == [(5, True), (3, False)]
    assert frame["is_latest"].tolist() == [True, False]
    assert query.limit(1).to_pandas()["is_latest"].tolist() == [True]


def test_tables_have_the_attributes_of_listed_objects(bucket: S3Bucket) -> None:
    """The tables of a bucket have the attributes of its objects."""
    bucket.put_objects((f"{n:03d}", "x" * n) for n in range(5))
    objects = bucket.find().collect()
    frame = bucket.find().to_pandas()
    table = bucket.find(min_size=2).to_arrow()
    assert frame["key"].tolist() == [obj.key for obj in objects]
    assert frame["etag"].tolist() == [obj.etag for obj in objects]
    assert [moment.to_pydatetime() for moment in frame["last_modified"]] == [obj.last_modified for obj in objects]
    assert table["size"].to_pylist() == [2, 3, 4]


@pytest.mark.parametrize(("module", "extra"), [("pandas", "pandas"), ("pyarrow", "arrow")])
def test_a_missing_extra_is_named(
    module: str, extra: str, moto_bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing library raises an error that names the extra to install."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"pip install 'messageflux-s3\[{extra}\]'"):
        moto_bucket.find().to_pandas() if module == "pandas" else moto_bucket.find().to_arrow()


@pytest.mark.parametrize(("rows", "error"), [(0, ValueError), (1.5, TypeError), (True, TypeError)])
def test_an_invalid_batch_size_raises(rows: object, error: type[Exception]) -> None:
    """Invalid arguments raise errors that name the argument."""
    with pytest.raises(error, match="rows"):
        tables.arrow_batches([], rows)  # type: ignore[arg-type]
