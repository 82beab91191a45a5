"""User metadata is decoded to the text that was encoded."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.scripted_server import Answer, Asked, ScriptedServer, document, refusal
from support.stateful_server import StatefulStore, Stored, StrictStore

import messageflux_s3 as s3
from messageflux_s3._formats import metadata
from messageflux_s3._objects.scratch import scratch_beside

TEXT = st.text(st.characters(exclude_categories=[]), max_size=60)


@given(st.dictionaries(st.from_regex(r"\A[a-z][a-z0-9_-]{0,20}\Z"), TEXT, max_size=4))
@example({"a": "\ud800", "b": "\ud800a", "c": "\ud800ab"})
def test_what_is_encoded_decodes_to_the_same(values: dict[str, str]) -> None:
    """Decoding inverts encoding; encoded values are printable ASCII without leading or trailing blanks."""
    encoded = metadata.encode(values)
    assert metadata.decode(encoded) == values
    assert all(value.isascii() and (value.isprintable()) and value == value.strip() for value in encoded.values())


def test_plain_ascii_metadata_is_sent_unchanged() -> None:
    """Other clients can decode the values."""
    assert metadata.encode({"Source": "erp 7"}) == {"source": "erp 7"}


@pytest.mark.parametrize(
    ("as_sent", "meant"),
    [
        ("ZoÃ«", "Zoë"),
        ("=?UTF-8?Q?Zo=C3=AB?=", "Zoë"),
        ("=?UTF-8?B?Wm/Dqw==?=", "Zoë"),
        ("=?what?X?zz?=", "=?what?X?zz?="),
        ("=?what?Q?zz?=", "=?what?Q?zz?="),
        ("=?UTF-8?B?a?=", "=?UTF-8?B?a?="),
        ("=?UTF-8?Q?=FF?=", "=?UTF-8?Q?=FF?="),
        ("=?utf-8?B?a?=", "=?utf-8?B?a?="),
        ("=?utf-8?B?/w==?=", "=?utf-8?B?/w==?="),
        ("=?utf-8?B?Y*Q==?=", "=?utf-8?B?Y*Q==?="),
        ("=?utf-8?B?YQ==?= =?utf-8?B?Yg==?=", "ab"),
        ("Zo\xeb", "Zo\xeb"),
        ("Жук", "Жук"),
    ],
)
def test_metadata_in_the_encodings_of_other_stores_is_decoded(as_sent: str, meant: str) -> None:
    """UTF-8 decoded as Latin-1 and both RFC 2047 encodings are decoded; other values are unchanged."""
    assert metadata.decode({"Name": as_sent}) == {"name": meant}


def test_metadata_up_to_the_limit_of_s3_is_accepted() -> None:
    """Names are counted too; None is encoded as an empty dict."""
    assert metadata.encode({"a": "x" * 2047}) == {"a": "x" * 2047}
    assert metadata.encode(None) == {}


def test_the_library_s_own_entries_are_hidden() -> None:
    """The library's own entries are hidden."""
    assert metadata.decode({"Mfs3-Write-Id": "x", "a": "b"}) == {"a": "b"}


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        ("text", TypeError, "mapping"),
        ({"a": 1}, TypeError, "'a'"),
        ({1: "a"}, TypeError, "1"),
        ({"ü": "a"}, ValueError, "ü"),
        ({"a b": "c"}, ValueError, "a b"),
        ({"": "c"}, ValueError, "header name"),
        ({"a\r\nx": "c"}, ValueError, "header name"),
        ({"A": "1", "a": "2"}, ValueError, "twice"),
        ({"a": "x" * 2048}, ValueError, "metadata takes 2049 bytes as sent, names included; S3 allows at most 2048"),
    ],
)
def test_invalid_metadata_raises_without_a_request(values: Any, error: type[Exception], words: str) -> None:
    """The error names the entry."""
    with pytest.raises(error, match=words):
        metadata.encode(values)


@pytest.mark.parametrize(
    "value",
    [
        "=?utf-8?B?!!!?=",
        "=?utf-8?B?/w==?=",
        "=?no-such-charset?Q?x?=",
        "=?utf-8?Q?=ff?=",
        "=?undefined?Q?x?=",
        "ÿ\u0100",
    ],
)
def test_undecodable_metadata_is_returned_unchanged(value: str) -> None:
    """A value that only looks like an encoded word is unchanged."""
    assert metadata.decode({"A": value}) == {"a": value}


def _open_exclusively(bucket: s3.S3Bucket, metadata: dict[str, str]) -> None:
    with bucket["new"].open("xb", metadata=metadata) as file:
        file.write(b"x")


def _append(bucket: s3.S3Bucket, metadata: dict[str, str]) -> None:
    with bucket["k"].open("ab", metadata=metadata) as file:
        file.write(b"x")


CONDITIONAL: dict[str, Callable[[s3.S3Bucket, dict[str, str]], object]] = {
    "put_object": lambda bucket, metadata: bucket.put_object("new", b"x", metadata, if_absent=True),
    "put_object, if_match": lambda bucket, metadata: bucket.put_object("k", b"x", metadata, if_match=bucket["k"].etag),
    "put_object of a readable": lambda bucket, metadata: bucket.put_object(
        "new", io.BytesIO(b"x"), metadata, if_absent=True
    ),
    "upload_object": lambda bucket, metadata: bucket.upload_object("new", b"x", metadata, if_absent=True),
    "open('xb')": _open_exclusively,
    "open('ab')": _append,
    "copy_to": lambda bucket, metadata: bucket["k"].copy_to("new", metadata=metadata, if_absent=True),
}


@pytest.mark.parametrize("preset", ["aws", "auto"])
@pytest.mark.parametrize("write", CONDITIONAL)
def test_metadata_too_large_for_the_idempotency_token_is_refused_before_a_write(
    scripted_server: ScriptedServer, write: str, preset: Any
) -> None:
    """All writes raise the same error, which names the size of the library's own entry."""
    scripted_server.answer = store = StrictStore()
    store.objects["k"] = Stored(b"before", "e", {})
    with pytest.raises(
        ValueError,
        match="metadata takes 2020 bytes as sent, names included, and a conditional write adds 37 of its own",
    ):
        CONDITIONAL[write](scripted_server.bucket(preset=preset), {"a": "x" * 2019})
    assert not [asked for asked in scripted_server.asked if asked.method not in ("GET", "HEAD")]


@pytest.mark.parametrize("write", CONDITIONAL)
def test_metadata_that_fits_with_the_idempotency_token_is_written(scripted_server: ScriptedServer, write: str) -> None:
    """The most that S3 allows, with the ID."""
    scripted_server.answer = store = StrictStore()
    bucket = scripted_server.bucket(preset="aws")
    bucket.put_object("k", b"before")
    CONDITIONAL[write](bucket, {"a": "x" * 2010})
    written = store.objects["new" if "new" in store.objects else "k"]
    metadata = {
        name.removeprefix("x-amz-meta-"): value
        for name, value in written.headers.items()
        if name.startswith("x-amz-meta-")
    }
    assert sum(len(name) + len(value) for name, value in metadata.items()) == 2048


def test_idempotency_tokens_of_former_writes_are_omitted_if_metadata_is_full(
    scripted_server: ScriptedServer,
) -> None:
    """IDs of former writes are optional: they must not make an update fail."""
    scripted_server.answer = store = StrictStore()
    bucket = scripted_server.bucket(preset="aws")
    bucket.put_object("k", b"0", {"a": "x" * 1950}, if_absent=True)
    for number in range(1, 5):
        bucket["k"].update(lambda before, number=number: f"{number}")
    written = store.objects["k"]
    assert (written.body, written.headers["x-amz-meta-a"]) == (b"4", "x" * 1950)
    assert len(written.headers["x-amz-meta-mfs3-write-id"].split()) == 3


class _Renaming:
    """A store that returns ``_`` in the names of metadata as ``-``, as radosgw does, and rejects ``!``."""

    def __init__(self, server: ScriptedServer) -> None:
        self.store = StatefulStore()
        server.answer = self

    def __call__(self, asked: Asked) -> Answer:
        if any(name.startswith("x-amz-meta-") and "!" in name for name in asked.headers):
            return refusal(400, "InvalidArgument")
        return self.store(
            replace(asked, headers={name.replace("_", "-"): text for name, text in asked.headers.items()})
        )


@pytest.mark.parametrize("is_open", [True, False], ids=["lane", "boto3"])
def test_metadata_that_would_come_back_under_another_name_is_refused(
    scripted_server: ScriptedServer, is_open: bool
) -> None:
    """Nothing is written; each character is tried once for the store."""
    store = _Renaming(scripted_server).store
    bucket = scripted_server.bucket(lane=is_open)
    bucket.put_object("folder/k", "text", {"a-b": "1", "a.b": "2"})
    store.applied.clear()
    written, obj = {"a_b": "1"}, bucket["folder/k"]

    async def put() -> None:
        async with s3.AsyncS3Store(bucket.store) as asynchronous:
            await asynchronous.bucket("bkt").put_object("folder/k", "other", written)

    writes: list[Callable[[], object]] = [
        lambda: bucket.put_object("folder/k", "other", written),
        lambda: bucket.put_object("folder/k", "other", {"a!b": "1"}),
        lambda: bucket.upload_object("folder/k", io.BytesIO(b"other"), written),
        lambda: obj.copy_to("folder/copy", metadata=written),
        lambda: obj.open("wb", metadata=written),
        lambda: asyncio.run(put()),
    ]
    for write in writes:
        with pytest.raises(
            s3.S3Unsupported, match=r"does not return names with '[_!]' as they were sent\. Nothing was written"
        ):
            write()
    assert [
        failure.key for failure in bucket.put_objects([("folder/k", "x", written)], raise_errors=False).failures
    ] == ["folder/k"]
    assert [key for key in store.applied if "mfs3-probe" not in key] == []
    assert store.objects.keys() == {"folder/k"}
    probes = [asked.key for asked in scripted_server.asked if asked.method == "PUT" and "mfs3-probe" in asked.key]
    assert len(probes) == 3 and all(key.startswith("folder/") for key in probes)  # '.', '_' and '!'
    assert obj.reload().metadata == {"a-b": "1", "a.b": "2"}


@pytest.mark.parametrize("is_open", [True, False], ids=["lane", "boto3"])
def test_names_of_metadata_with_other_characters_are_written_without_the_permission_to_delete(
    scripted_server: ScriptedServer, caplog: pytest.LogCaptureFixture, is_open: bool
) -> None:
    """The scratch object stays, and a warning names it."""
    store = StatefulStore(scripted_server)
    store.before = lambda asked: refusal(403, "AccessDenied") if asked.method == "DELETE" else None
    bucket = scripted_server.bucket(lane=is_open)
    bucket.put_object("folder/k", "text", {"a_b": "1"})
    assert store.objects["folder/k"].headers["x-amz-meta-a_b"] == "1"
    (left,) = store.objects.keys() - {"folder/k"}
    assert left.startswith("folder/mfs3-probe-")
    assert [record.getMessage() for record in caplog.records if left in record.getMessage()] == [
        f"a scratch object may be left at s3://bkt/{left}"
    ]


def test_a_scratch_object_whose_response_was_lost_leaves_no_version(scripted_server: ScriptedServer) -> None:
    """A deletion without the version would hide it below a delete marker."""
    left: dict[str, str] = {}

    def entry(kind: str, key: str, version_id: str) -> str:
        return f"<{kind}><Key>{key}</Key><VersionId>{version_id}</VersionId><IsLatest>true</IsLatest></{kind}>"

    def answer(asked: Asked) -> Answer:
        if asked.method == "PUT":
            left["v1"] = asked.key
            return b""
        if "versions" in asked.query:
            key = asked.query["prefix"]
            inside = entry("Version", key, "v1") + entry("DeleteMarker", key, "m1") + entry("Version", f"{key}-2", "v2")
            return document("ListVersionsResult", inside)
        if "versionId" in asked.query:
            del left[asked.query["versionId"]]
            return 204, {}, b""
        left["m1"] = asked.key
        return 204, {"x-amz-version-id": "m1", "x-amz-delete-marker": "true"}, b""

    scripted_server.answer = answer
    with pytest.raises(s3.S3ConnectionError):
        scripted_server.bucket().put_object("folder/k", "text", {"a_b": "1"})
    assert left == {}
    assert len(scripted_server.asked) == 5


def test_an_interrupt_during_the_deletion_of_scratch_objects_is_raised_after_all_were_deleted(
    scripted_server: ScriptedServer,
) -> None:
    """The deletion that was interrupted is sent again."""
    store = StatefulStore(scripted_server)
    bucket, sent = scripted_server.bucket(lane=False), list[str]()
    with pytest.raises(KeyboardInterrupt), scratch_beside(bucket._address.object("folder/k"), {}) as scratch:
        for _ in range(3):
            scratch.write("PutObject", scratch.new_key(), Body=b"")

        def interrupt(request: Any, **_: Any) -> None:
            sent.append(request.url)
            if len(sent) == 1:
                raise KeyboardInterrupt

        bucket._connection.client.meta.events.register("before-send.s3.DeleteObject", interrupt)
    assert len(sent) == 4
    assert store.objects == {}


@pytest.mark.parametrize("is_open", [True, False], ids=["lane", "boto3"])
def test_concurrent_writes_share_one_experiment_with_a_character_in_names_of_metadata(
    scripted_server: ScriptedServer, is_open: bool
) -> None:
    """The first experiment is held up until a second one begins, which should not happen."""
    store, second = StatefulStore(scripted_server), threading.Barrier(2)

    def hold_up(asked: Asked) -> None:
        if asked.method == "PUT" and "mfs3-probe" in asked.key:
            with suppress(threading.BrokenBarrierError):
                second.wait(0.3)

    store.before = hold_up
    bucket = scripted_server.bucket(lane=is_open)
    with ThreadPoolExecutor(4) as pool:
        written = [*pool.map(lambda key: bucket.put_object(key, b"x", {"a_b": "1"}), "klmn")]
    probes = [asked.key for asked in scripted_server.asked if asked.method == "PUT" and "mfs3-probe" in asked.key]
    assert (len(probes), store.objects.keys()) == (1, {obj.key for obj in written})


def test_names_of_metadata_are_not_tried_on_aws(scripted_server: ScriptedServer) -> None:
    """Nor where all characters are letters, digits and ``-``."""
    StatefulStore(scripted_server)
    scripted_server.bucket(preset="aws").put_object("k", "text", {"a_b": "1"})
    scripted_server.bucket().put_object("k", "text", {"A-1": "1"})
    assert scripted_server.whats == ["PUT k", "PUT k"]
