"""Conversion of a listing to a pandas DataFrame or to Arrow record batches.

The text fields of a listing are put into columns unparsed; pandas and pyarrow parse numbers and times for a whole column at once, which is
much faster than one Python object for each value.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from .._bulk.listing import Listed

if TYPE_CHECKING:
    import pandas
    import pyarrow

ROWS_PER_BATCH = 20_000
_QUOTED = '^"(.*)"$'  # does not match a weak ETag, W/"…", which is kept unchanged
COLUMNS = ("key", "last_modified", "etag", "size", "storage_class", "version_id", "is_latest")
"""Column names in the order of an entry's fields; the last two only for listings of versions."""


def to_pandas(entries: Iterable[Listed], *, versions: bool = False) -> pandas.DataFrame:
    """Return a DataFrame: key and etag as strings, size as int64, last_modified as UTC times, storage_class as a category.

    Raises:
        ImportError: The extra ``messageflux-s3[pandas]`` is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise ImportError("to_pandas() needs pandas: pip install 'messageflux-s3[pandas]'") from error

    def frame(columns: dict[str, Sequence[Any]]) -> pandas.DataFrame:
        typed: dict[str, Any] = {
            "key": pandas.array(columns["key"], dtype="string"),
            "size": pandas.array(columns["size"], dtype="string").astype("int64"),
            "last_modified": pandas.to_datetime(columns["last_modified"], utc=True, format="ISO8601").as_unit("us"),
            "etag": pandas.Series(columns["etag"], dtype="string").str.replace(_QUOTED, r"\1", regex=True),
            "storage_class": pandas.Series(columns["storage_class"], dtype="string").replace("", "STANDARD"),
        }
        if versions:
            typed["version_id"] = pandas.array(columns["version_id"], dtype="string")
            typed["is_latest"] = pandas.array(columns["is_latest"], dtype="bool")
        return pandas.DataFrame(typed)

    parts = [frame(columns) for columns in _batches(entries, versions, ROWS_PER_BATCH)]
    whole = pandas.concat(parts, ignore_index=True) if parts else frame({name: [] for name in COLUMNS})
    whole["storage_class"] = whole["storage_class"].astype("category")
    return whole


def arrow_batches(
    entries: Iterable[Listed], rows: int = ROWS_PER_BATCH, *, versions: bool = False
) -> pyarrow.RecordBatchReader:
    """Return a reader of Arrow record batches, each made when it is read.

    Raises:
        TypeError: ``rows`` is not a whole number.
        ValueError: ``rows`` is less than 1.
        ImportError: The extra ``messageflux-s3[arrow]`` is not installed.
    """
    if isinstance(rows, bool) or not isinstance(rows, int):
        raise TypeError(f"rows must be a whole number, not {type(rows).__name__}")
    if rows < 1:
        raise ValueError(f"rows must be at least 1, not {rows}")
    try:
        import pyarrow
        import pyarrow.compute
    except ImportError as error:
        raise ImportError("to_arrow() needs pyarrow: pip install 'messageflux-s3[arrow]'") from error

    text, when = pyarrow.string(), pyarrow.timestamp("us", tz="UTC")
    fields = [
        ("key", text),
        ("size", pyarrow.int64()),
        ("last_modified", when),
        ("etag", text),
        ("storage_class", text),
    ]
    schema = pyarrow.schema(fields + ([("version_id", text), ("is_latest", pyarrow.bool_())] if versions else []))

    def batch(columns: dict[str, Sequence[Any]]) -> Any:
        typed = {
            "key": pyarrow.array(columns["key"], text),
            "size": pyarrow.array(columns["size"], text).cast(pyarrow.int64()),
            "last_modified": pyarrow.array(columns["last_modified"], text).cast(when),
            "etag": pyarrow.compute.replace_substring_regex(pyarrow.array(columns["etag"], text), _QUOTED, r"\1"),
            "storage_class": _standard(pyarrow.array(columns["storage_class"], text)),
        }
        if versions:
            typed["version_id"] = pyarrow.array(columns["version_id"], text)
            typed["is_latest"] = pyarrow.array(columns["is_latest"], pyarrow.bool_())
        return pyarrow.RecordBatch.from_arrays([typed[field.name] for field in schema], schema=schema)

    def _standard(classes: Any) -> Any:
        return pyarrow.compute.if_else(pyarrow.compute.equal(classes, ""), "STANDARD", classes)

    return pyarrow.RecordBatchReader.from_batches(
        schema, (batch(columns) for columns in _batches(entries, versions, rows))
    )


def _batches(entries: Iterable[Listed], versions: bool, rows: int) -> Iterator[dict[str, Sequence[Any]]]:
    """Yield batches of up to ``rows`` rows, each as a mapping of column names to values."""
    waiting = iter(entries)
    names = COLUMNS if versions else COLUMNS[:5]
    while taken := [*islice(waiting, rows)]:
        columns: dict[str, Sequence[Any]] = dict(zip(names, zip(*taken, strict=True), strict=True))
        # Entries parsed by boto3 already contain numbers and times.
        columns["size"] = _texts(columns["size"], str)
        columns["last_modified"] = _texts(columns["last_modified"], datetime.isoformat)
        yield columns


def _texts(values: Sequence[Any], text_of: Any) -> Sequence[str]:
    if all(isinstance(value, str) for value in values):
        return values
    return [value if isinstance(value, str) else text_of(value) for value in values]
