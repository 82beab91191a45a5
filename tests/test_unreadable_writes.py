"""Writes to a store whose ETags are no MD5s, where what was written cannot be read back: they are done, and reported so."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from support.scripted_server import Answer, Asked, ScriptedServer, refusal
from test_etags import Strange, able, no_md5

from messageflux_s3 import S3Bucket

MIB = 1024 * 1024
LARGE = random.Random(3).randbytes(10 * MIB)


def put(bucket: S3Bucket, folder: Path) -> bytes:
    bucket.put_object("d/k", b"x")
    return b"x"


def put_if_absent(bucket: S3Bucket, folder: Path) -> bytes:
    bucket.put_object("d/k", b"x", if_absent=True)
    return b"x"


def uploaded(bucket: S3Bucket, folder: Path) -> bytes:
    bucket.upload_object("d/k", b"y")
    return b"y"


def uploaded_in_parts(bucket: S3Bucket, folder: Path) -> bytes:
    bucket.upload_object("d/k", LARGE, part_size_bytes=5 * MIB)
    return LARGE


def written_as_file(bucket: S3Bucket, folder: Path) -> bytes:
    with bucket["d/k"].open("wb") as file:
        file.write(LARGE + LARGE)
    return LARGE + LARGE


def synced(bucket: S3Bucket, folder: Path) -> bytes:
    (folder / "k").write_bytes(b"1")
    bucket.sync_from_folder(folder, "d")
    return b"1"


ACTS = (put, put_if_absent, uploaded, uploaded_in_parts, written_as_file, synced)


def may_not_read(store: Strange, asked: Asked) -> Answer:
    return refusal(403, "AccessDenied") if asked.method in ("GET", "HEAD") and asked.key else store(asked)


def cut_off(store: Strange, asked: Asked) -> Answer:
    return None if asked.method == "GET" and asked.key else store(asked)


def may_write_below_one_prefix(store: Strange, asked: Asked) -> Answer:
    return refusal(403, "AccessDenied") if asked.key and not asked.key.startswith("d/") else store(asked)


@pytest.mark.parametrize("lane", [True, False], ids=["lane open", "lane shut"])
@pytest.mark.parametrize("limited", [may_not_read, cut_off, may_write_below_one_prefix])
@pytest.mark.parametrize("act", ACTS)
def test_a_write_that_may_not_be_read_back_succeeds(
    scripted_server: ScriptedServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, lane: bool, act: Callable[[S3Bucket, Path], bytes],
    limited: Callable[[Strange, Asked], Answer],
) -> None:  # fmt: skip
    store = Strange(no_md5)
    scripted_server.answer = lambda asked: limited(store, asked)
    with caplog.at_level(logging.WARNING, "messageflux_s3"):
        body = act(able(scripted_server, lane=lane), tmp_path)
    assert store.objects == {"d/k": body}
    warnings = [record for record in caplog.records if "could not be read back" in record.message]
    assert len(warnings) == (limited is not may_write_below_one_prefix)
    assert all(
        "content-md5" in asked.headers
        for asked in scripted_server.asked
        if asked.method == "PUT" and "partNumber" in asked.query
    )
