"""A delete marker named by its version: stores answer 405 with ``x-amz-delete-marker: true``, which means that nothing is there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.scripted_server import ScriptedServer
from support.stateful_server import MARKER_VERSION, StatefulServer, run_stateful_server

import messageflux_s3 as s3

READERS: dict[str, Callable[[s3.S3Object, Path], Any]] = {
    "body": lambda obj, _: obj.body,
    "text": lambda obj, _: obj.text,
    "size": lambda obj, _: obj.size,
    "read_range": lambda obj, _: obj.read_range(1, 3),
    "iter_chunks": lambda obj, _: [*obj.iter_chunks()],
    "iter_lines": lambda obj, _: [*obj.iter_lines()],
    "body_stream": lambda obj, _: obj.body_stream.read(),
    "open": lambda obj, _: obj.open("rb").read(),
    "download_to": lambda obj, folder: obj.download_to(folder / "file"),
}


@pytest.fixture
def server() -> Iterator[StatefulServer]:
    with run_stateful_server() as started:
        started.state.put("k", b"content")
        started.state.delete_markers.add("k")
        yield started


@pytest.fixture(params=[True, False], ids=["lane", "boto3"])
def bucket(server: StatefulServer, request: pytest.FixtureRequest) -> s3.S3Bucket:
    made = server.bucket(lane=request.param)
    assert made.object("k").exists()
    return made


def test_exists_is_false_for_a_delete_marker_named_by_its_version(bucket: s3.S3Bucket) -> None:
    """HEAD has no body: the header alone tells."""
    assert not bucket.object("k", MARKER_VERSION).exists()
    assert bucket.object("k").exists()


@pytest.mark.parametrize("reader", READERS)
def test_reading_a_delete_marker_raises_no_such_item(bucket: s3.S3Bucket, tmp_path: Path, reader: str) -> None:
    """By every way to read, and no file is left behind."""
    with pytest.raises(s3.S3NoSuchItem) as caught:
        READERS[reader](bucket.object("k", MARKER_VERSION), tmp_path)
    assert (caught.value.code, caught.value.status, caught.value.key) == ("MethodNotAllowed", 405, "k")
    assert "delete marker" in str(caught.value)
    assert [*tmp_path.iterdir()] == []


def test_get_objects_gives_no_such_item_for_a_delete_marker(bucket: s3.S3Bucket) -> None:
    """The other objects of the batch arrive."""
    good, marker = bucket.get_objects([bucket.object("k"), bucket.object("k", MARKER_VERSION)])
    assert good.body == b"content"
    with pytest.raises(s3.S3NoSuchItem):
        _ = marker.body


def test_async_handles_treat_a_delete_marker_as_a_missing_object(server: StatefulServer) -> None:
    """``exists`` is False, ``load`` raises."""

    async def ask() -> None:
        for lane in (True, False):
            store = s3.AsyncS3Store(server.connect())
            if not lane:
                store._engine.connection.lane.shut("shut for this test")
            assert await store.bucket("bkt").object("k").exists()
            marker = store.bucket("bkt").object("k", MARKER_VERSION)
            assert not await marker.exists()
            with pytest.raises(s3.S3NoSuchItem):
                await marker.load()
            await store.close()

    asyncio.run(ask())


def test_fsspec_opens_no_delete_marker(server: StatefulServer) -> None:
    """Reading one is a FileNotFoundError."""
    from messageflux_s3.fs import MessagefluxS3FileSystem

    with pytest.raises(FileNotFoundError):
        MessagefluxS3FileSystem(server.connect()).open("bkt/k", "rb", version_id=MARKER_VERSION)


@pytest.mark.parametrize("header", [{}, {"x-amz-delete-marker": "false"}])
@pytest.mark.parametrize("lane", [True, False], ids=["lane", "boto3"])
def test_method_not_allowed_without_a_delete_marker_raises_unsupported(
    scripted_server: ScriptedServer, lane: bool, header: dict[str, str]
) -> None:
    """Without the header the store merely refuses the method."""
    scripted_server.answer = lambda asked: (
        405,
        header,
        b"" if asked.method == "HEAD" else b"<Error><Code>MethodNotAllowed</Code></Error>",
    )
    obj = scripted_server.bucket(lane=lane).object("k")
    for ask in (obj.exists, lambda: obj.body):
        with pytest.raises(s3.S3Unsupported):
            ask()
