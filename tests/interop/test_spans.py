"""With a tracer provider set, each request is one span: of the lane and of boto3, also beside the instrumentation of botocore."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from typing import Any

import pytest
from support import mixed_operations
from support.proxy import run_proxy, scripted
from support.servers import Server

import messageflux_s3 as s3

pytest.importorskip("opentelemetry.sdk")

from opentelemetry import context, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    """OpenTelemetry's provider can be set once in a process."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture
def bucket(exporter: InMemorySpanExporter, moto_bucket: s3.S3Bucket) -> s3.S3Bucket:
    moto_bucket.put_object("warm", b"")
    exporter.clear()
    return moto_bucket


def operations_of(exporter: InMemorySpanExporter) -> Counter[str]:
    return Counter(str((span.attributes or {})["rpc.method"]) for span in exporter.get_finished_spans())


def test_each_operation_is_a_span(exporter: InMemorySpanExporter, bucket: s3.S3Bucket) -> None:
    with bucket.store.observe() as seen:
        mixed_operations.run(bucket, 40)
    assert operations_of(exporter) == {name: totals.requests for name, totals in seen.operations.items()}


def test_each_operation_of_async_handles_is_a_span(exporter: InMemorySpanExporter, bucket: s3.S3Bucket) -> None:
    async def main() -> Any:
        async with s3.AsyncS3Store(bucket.store) as store:
            with store.observe() as seen:
                await mixed_operations.run_async(store.bucket(bucket.name), 20)
            return seen

    seen = asyncio.run(main())
    assert operations_of(exporter) == {name: totals.requests for name, totals in seen.operations.items()}


@pytest.mark.lane
def test_the_attributes_follow_the_conventions(exporter: InMemorySpanExporter, bucket: s3.S3Bucket) -> None:
    with trace.get_tracer("test").start_as_current_span("outer") as outer:
        bucket.put_object("a/b", b"123")
        bucket["none"].exists()
    assert bucket.store.lane.open
    put, head, _ = exporter.get_finished_spans()
    assert put.name == "S3.PutObject" and put.kind is trace.SpanKind.CLIENT and put.status.is_ok
    assert dict(put.attributes or {}) == {
        "rpc.system": "aws-api",
        "rpc.service": "S3",
        "rpc.method": "PutObject",
        "aws.s3.bucket": bucket.name,
        "aws.s3.key": "a/b",
        "http.response.status_code": 200,
        "http.request.body.size": 3,
        "http.response.body.size": 0,
        "messageflux_s3.way": "lane",
    }
    assert (head.attributes or {})["error.type"] == "NoSuchKey" and head.status.status_code is trace.StatusCode.ERROR
    assert put.parent is not None and put.parent.span_id == outer.get_span_context().span_id
    assert 0 < (put.end_time or 0) - (put.start_time or 0) < 60e9


def test_a_retried_request_is_one_span(exporter: InMemorySpanExporter, moto: Server, moto_bucket: s3.S3Bucket) -> None:
    with run_proxy(moto.endpoint_url) as proxy, moto.connect(endpoint_url=proxy.endpoint_url) as store:
        bucket = store.bucket(moto_bucket.name)
        bucket.put_object("k", b"x")
        proxy.restart(scripted({("GET", "k"): ["slowdown_before"]}))
        exporter.clear()
        assert bucket["k"].body == b"x"
    [span] = exporter.get_finished_spans()
    assert (span.attributes or {})["http.request.resend_count"] == 1
    assert (span.attributes or {})["messageflux_s3.way"] == "boto3"


def test_work_on_the_library_s_threads_belongs_to_the_caller_s_span(
    exporter: InMemorySpanExporter, bucket: s3.S3Bucket
) -> None:
    with trace.get_tracer("test").start_as_current_span("outer") as outer:
        bucket.upload_object("large", iter([b"L" * (17 << 20)]))
    *spans, _ = exporter.get_finished_spans()
    assert operations_of_spans(spans)["UploadPart"] >= 2
    assert {span.parent and span.parent.span_id for span in spans} == {outer.get_span_context().span_id}


def test_the_span_of_a_stream_belongs_to_the_span_in_which_the_request_began(
    exporter: InMemorySpanExporter, bucket: s3.S3Bucket
) -> None:
    """Wherever the body is read, closed or collected."""
    bucket.put_object("long", b"x" * 100_000)
    tracer = trace.get_tracer("test")
    exporter.clear()
    with tracer.start_as_current_span("began") as began:
        read, closed, dropped = (bucket["long"].body_stream for _ in range(3))
        for stream in (read, closed, dropped):
            stream.read(1)
    with tracer.start_as_current_span("another"):
        read.read()
    closed.close()
    del stream, dropped
    spans = [span for span in exporter.get_finished_spans() if span.name == "S3.GetObject"]
    assert [span.parent and span.parent.span_id for span in spans] == [began.get_span_context().span_id] * 3


def operations_of_spans(spans: list[Any]) -> Counter[str]:
    return Counter(str((span.attributes or {})["rpc.method"]) for span in spans)


def test_suppressed_instrumentation_makes_no_spans(exporter: InMemorySpanExporter, bucket: s3.S3Bucket) -> None:
    token = context.attach(context.set_value("suppress_instrumentation", True))
    try:
        bucket.put_object("k", b"x")
    finally:
        context.detach(token)
    assert exporter.get_finished_spans() == ()


def test_beside_the_instrumentation_of_botocore_no_operation_has_two_spans(
    exporter: InMemorySpanExporter, moto: Server, bucket: s3.S3Bucket
) -> None:
    instrumentation = pytest.importorskip("opentelemetry.instrumentation.botocore")
    instrumentation.BotocoreInstrumentor().instrument()
    try:
        assert not bucket.store.lane.open
        keys = [uuid.uuid4().hex for _ in range(5)]
        for key in keys:
            bucket.put_object(key, b"x")
            assert bucket[key].body == b"x"
        assert operations_of(exporter) == {"PutObject": 5, "GetObject": 5}
    finally:
        instrumentation.BotocoreInstrumentor().uninstrument()
    exporter.clear()
    bucket.put_object("k", b"x")
    assert operations_of(exporter) == {"PutObject": 1}


def test_a_stream_has_one_span_although_the_instrumentation_of_botocore_changes_before_its_end(
    exporter: InMemorySpanExporter, bucket: s3.S3Bucket
) -> None:
    instrumentation = pytest.importorskip("opentelemetry.instrumentation.botocore")
    bucket.put_object("long", b"x" * 100_000)
    exporter.clear()
    begun_before = bucket["long"].body_stream
    begun_before.read(1)
    instrumentation.BotocoreInstrumentor().instrument()
    try:
        begun_before.read()
        assert operations_of(exporter) == {"GetObject": 1}
        begun_inside = bucket["long"].body_stream
        begun_inside.read(1)
    finally:
        instrumentation.BotocoreInstrumentor().uninstrument()
    begun_inside.read()
    assert operations_of(exporter) == {"GetObject": 2}


def test_no_secret_is_in_a_span(exporter: InMemorySpanExporter, moto: Server, bucket: s3.S3Bucket) -> None:
    store = moto.connect(access_key="ACCESS-CANARY", secret_key="SECRET-CANARY", session_token="TOKEN-CANARY")
    exporter.clear()
    store.bucket(bucket.name).put_object("k", b"BODY-CANARY", metadata={"m": "METADATA-CANARY"})
    store.bucket(bucket.name)["none"].exists()
    told = "".join(span.to_json() for span in exporter.get_finished_spans())
    assert "PutObject" in told and "CANARY" not in told
