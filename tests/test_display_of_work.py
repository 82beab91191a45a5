"""Plans of a sync and observations as HTML: the numbers, and what is visible before a section is opened."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from messageflux_s3 import S3Bucket, SyncPlan, SyncStep

TAG = re.compile(r"<style>.*?</style>|<[^>]*>", re.DOTALL)


def words_of(html: str) -> str:
    """Return the text that remains if a viewer strips every tag and style sheet."""
    return re.sub(r"\s+", " ", TAG.sub(" ", html))


def test_a_plan_shows_numbers_bytes_and_reasons_by_action(moto_bucket: S3Bucket, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"x" * 512)
    moto_bucket.upload_file(tmp_path / "a", "p/a")
    moto_bucket.put_object("p/gone", b"x" * 1024)
    plan = moto_bucket.sync_from_folder(tmp_path, "p", dry_run=True, delete=True)
    html = plan._repr_html_()
    words = words_of(html)
    assert f"from {tmp_path} to s3://{moto_bucket.name}/p" in words
    assert "copy 1 512 B 25.0% delete 1 1.0 KiB 50.0% skip 1 512 B 25.0%" in words
    assert "1 to copy, 1 to skip, 1 to delete" in words
    assert "p/gone 1.0 KiB not in the folder" in words
    sections = re.findall(r"<details( open)?><summary[^>]*>([^<]*)</summary>", html)
    assert sections == [(" open", "copy: 1"), (" open", "delete: 1"), ("", "skip: 1")]
    done = words_of(plan.apply()._repr_html_())
    assert "sync plan (applied)" in done and "1 copied, 1 skipped, 1 deleted" in done


@pytest.mark.parametrize("count", [0, 2000])
def test_an_empty_and_a_long_plan_are_shown_in_bounded_space(count: int) -> None:
    steps = tuple(SyncStep("copy", f"{n:04d}", f"{n:04d}", 0, "new") for n in range(count))
    html = SyncPlan(steps, "to_folder", "b", "p", "/f")._repr_html_()
    assert html.count("<tr>") <= 1010
    assert ("the first 1,000 steps" in html) == bool(count) and "<details open>" not in html
    assert f"{count:,} to copy" in html and "from s3://b/p to /f" in words_of(html)


def test_an_observation_shows_its_totals_and_operations(moto_bucket: S3Bucket) -> None:
    moto_bucket.put_object("warm", b"")
    with moto_bucket.store.observe() as seen:
        for n in range(3):
            moto_bucket.put_object(f"{n}", b"x" * 1024)
        moto_bucket["none"].exists()
    words = words_of(seen._repr_html_())
    assert "requests 4 sent again 0 throttled 0 failed 1 sent 3.0 KiB" in words
    assert re.search(r"PutObject 3 75\.0% 0 3\.0 KiB [\d.]+ m?s [\d.]+ m?s HeadObject 1 25\.0% 1 ", words)
    assert "<details><summary" in seen._repr_html_() and "by way" in words


def test_an_observation_without_requests_has_no_empty_table(moto_bucket: S3Bucket) -> None:
    with moto_bucket.store.observe() as seen:
        pass
    assert "requests 0" in words_of(seen._repr_html_()) and "<details" not in seen._repr_html_()
