"""docs/howto/dataframes.md, exactly as printed: the blocks for Polars and DuckDB need more than the extra ``test``."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import polars
import pytest

import messageflux_s3 as s3

PAGE = Path(__file__).parents[2] / "docs/howto/dataframes.md"
BLOCK = re.compile(r"^```py(?:thon)?\n(.*?)^```\n(?:\n```text\n(.*?)^```)?", re.MULTILINE | re.DOTALL)


def test_the_page_prints_what_it_shows(s3_bucket: s3.S3Bucket) -> None:
    """Block by block, in one namespace."""
    blocks = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    assert {"duckdb", "polars"} <= {name for code, _ in blocks for name in ("duckdb", "polars") if name in code}
    namespace: dict[str, Any] = {"s3": s3, "store": s3_bucket.store, "bucket": s3_bucket}
    for code, shown in blocks:
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(compile(code, str(PAGE), "exec"), namespace)
        assert said.getvalue().split() == shown.split(), code
    assert s3_bucket["out.parquet"].exists()


def test_polars_takes_a_url_of_fsspec_for_a_local_path(s3_bucket: s3.S3Bucket) -> None:
    """As the page says. Once this fails, Polars has learned more URLs."""
    with pytest.raises(FileNotFoundError, match="No such file or directory"):
        polars.scan_parquet(f"mfs3://{s3_bucket.name}/a.parquet").collect()
    with pytest.raises(FileNotFoundError, match="No such file or directory"):
        polars.DataFrame({"n": [1]}).write_parquet(f"mfs3://{s3_bucket.name}/a.parquet")


def test_polars_native_scan_reads_what_this_library_wrote(s3_bucket: s3.S3Bucket) -> None:
    """With endpoint, region and keys under the names that the page gives."""
    with s3_bucket["a.parquet"].open("wb") as file:
        polars.DataFrame({"n": [1, 2, 3]}).write_parquet(file)
    options = {
        "aws_endpoint_url": s3_bucket.store.config.endpoint_url or "",
        "aws_region": "us-east-1",
        "aws_access_key_id": "me",
        "aws_secret_access_key": "hush",
        "aws_allow_http": "true",
    }
    found = polars.scan_parquet(f"s3://{s3_bucket.name}/*.parquet", storage_options=options).collect()
    assert found["n"].to_list() == [1, 2, 3]
