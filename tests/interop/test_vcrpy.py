"""vcrpy records a store's answers and plays them back when the store is gone: as docs/howto/testing-your-code.md says."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
import vcr

import messageflux_s3 as s3

PAGE = Path(__file__).parents[2] / "docs/howto/testing-your-code.md"


def run_page(store: s3.S3Store) -> Any:
    """Run the page's block for vcrpy in this folder; return its namespace."""
    found = re.search(r"^```py\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert found is not None
    namespace: dict[str, Any] = {"s3": s3, "store": store}
    exec(compile(found[1], str(PAGE), "exec"), namespace)
    return namespace


def test_the_page_counts_the_same_without_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No credentials are in the cassette."""
    monkeypatch.chdir(tmp_path)
    with s3.LocalS3() as local:
        bucket = local.bucket("reports")
        bucket.put_objects([("reports/may", b"7"), ("reports/june", b"8"), ("other", b"9")])
        store = local.connect()
        run_page(store)
    run_page(store)
    assert capsys.readouterr().out == "2\n2\n"
    cassette = Path("reports.yaml").read_text()
    assert "list-type=2" in cassette and "AWS4-HMAC" not in cassette


def test_calls_of_all_kinds_are_played_back(tmp_path: Path) -> None:
    """Bulk calls, one request at a time, and conditional writes, if the library need not find out whether the store honours them."""
    known = s3.Capabilities(put_if_absent="honoured", put_if_match="honoured")

    def work(store: s3.S3Store) -> list[Any]:
        bucket = store.create_bucket("recorded")
        bucket.put_object("k", b"hello", {"a": "b"})
        bucket.put_objects([(f"many/{number}", b"x" * number) for number in range(9)])
        found = [
            bucket["k"].body,
            bucket["k"].metadata,
            bucket["none"].exists(),
            sorted((obj.key, len(obj.body)) for obj in bucket.find("many/").prefetch()),
            bucket["k"].read_range(1, 3),
            bucket.upload_object("stream", io.BytesIO(bytes(1000))).etag,
            bucket.put_object("new", b"1", if_absent=True).etag,
            bucket.put_object("new", b"2", if_match=bucket["new"].etag).etag,
            bucket.find("many/").delete().succeeded,
        ]
        with pytest.raises(s3.S3ObjectExists):
            bucket.put_object("k", b"", if_absent=True)
        return found

    path = str(tmp_path / "cassette.yaml")
    with s3.LocalS3() as local:
        store = s3.S3Store(local.connect(max_concurrency=1).config.replace(capabilities=known))
        with vcr.use_cassette(path):
            first = work(store)
    with vcr.use_cassette(path, record_mode="none") as cassette:
        assert work(store) == first
        assert cassette.play_count > 20
