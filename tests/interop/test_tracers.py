"""OpenTelemetry, AWS X-Ray and ddtrace see every request: alone and together, started before a store was made or while it is in use.

Those that are installed are tested: `tox -e tracers` has all of them, `tox -e tracers-xray` X-Ray alone.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import pytest
from support.servers import Server

pytestmark = pytest.mark.lane

COUNT = 20
TIMEOUTS = itertools.count(41)  # a client for each store, since stores with equal settings share one
Spans = Callable[[], int]


@contextmanager
def opentelemetry(instrumentor: Any) -> Iterator[Spans]:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor.instrument(tracer_provider=provider)
    try:
        yield lambda: len(exporter.get_finished_spans())
    finally:
        instrumentor.uninstrument()


def opentelemetry_botocore() -> AbstractContextManager[Spans]:
    from opentelemetry.instrumentation.botocore import BotocoreInstrumentor

    return opentelemetry(BotocoreInstrumentor())


def opentelemetry_urllib3() -> AbstractContextManager[Spans]:
    from opentelemetry.instrumentation.urllib3 import URLLib3Instrumentor

    return opentelemetry(URLLib3Instrumentor())


@contextmanager
def xray() -> Iterator[Spans]:
    import botocore.client
    import botocore.endpoint
    from aws_xray_sdk.core import xray_recorder
    from aws_xray_sdk.ext.botocore import patch

    sent: list[Any] = []
    originals = vars(botocore.client.BaseClient)["_make_api_call"], vars(botocore.endpoint.Endpoint)["prepare_request"]
    xray_recorder.configure(sampling=False, context_missing="IGNORE_ERROR", streaming_threshold=10_000)
    xray_recorder.emitter = SimpleNamespace(send_entity=sent.append)
    patch()
    segment = xray_recorder.begin_segment("test")
    try:
        yield lambda: len(segment.subsegments)
    finally:
        xray_recorder.end_segment()
        botocore.client.BaseClient._make_api_call, botocore.endpoint.Endpoint.prepare_request = originals  # type: ignore[method-assign]
        del botocore.client._xray_enabled  # type: ignore[attr-defined]


@contextmanager
def datadog() -> Iterator[Spans]:
    from ddtrace.contrib.internal.botocore.patch import patch, unpatch
    from ddtrace.trace import TraceFilter, tracer

    seen: list[Any] = []

    class Collect(TraceFilter):
        def process_trace(self, trace: list[Any]) -> None:
            seen.extend(span for span in trace if span.name == "s3.command")

    tracer.configure(trace_processors=[Collect()])
    patch()
    try:
        yield lambda: len(seen)
    finally:
        unpatch()


TRACERS: dict[str, Callable[[], AbstractContextManager[Spans]]] = {
    "opentelemetry-botocore": opentelemetry_botocore,
    "opentelemetry-urllib3": opentelemetry_urllib3,
    "xray": xray,
    "ddtrace": datadog,
}
MODULES = {
    "opentelemetry-botocore": "opentelemetry.instrumentation.botocore",
    "opentelemetry-urllib3": "opentelemetry.instrumentation.urllib3",
    "xray": "aws_xray_sdk.ext",
    "ddtrace": "ddtrace.trace",
}


def is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the package above it is missing
        return False


INSTALLED = [name for name in TRACERS if is_installed(MODULES[name])]
if not INSTALLED:
    pytest.skip("no tracer is installed", allow_module_level=True)
TOGETHER = [INSTALLED] if len(INSTALLED) > 1 else []


@pytest.mark.parametrize("names", [*([name] for name in INSTALLED), *TOGETHER], ids="+".join)
@pytest.mark.parametrize("when", ["before", "after"])
def test_each_tracer_has_a_span_for_each_operation(rclone: Server, names: list[str], when: str) -> None:
    """After the tracers have ended, the lane is open again; but ddtrace leaves an event handler on each client."""
    with rclone.connect(read_timeout=next(TIMEOUTS)) as made_before:
        bucket = made_before.create_bucket(f"traced-{uuid.uuid4().hex[:8]}")
        keys = [f"k{number}" for number in range(COUNT)]
        bucket.put_objects((key, b"x") for key in keys)
        assert made_before.lane.open, made_before.lane
        with ExitStack() as started:
            counts = {name: started.enter_context(TRACERS[name]()) for name in names}
            store = made_before if when == "after" else rclone.connect(read_timeout=next(TIMEOUTS))
            before = {name: count() for name, count in counts.items()}
            for key in keys:
                assert store.bucket(bucket.name)[key].body == b"x"
            assert not store.lane.open
            expected = dict.fromkeys(names, COUNT)
            if "opentelemetry-botocore" in names and "opentelemetry-urllib3" in names:
                expected["opentelemetry-urllib3"] = (
                    0  # the botocore instrumentation suppresses the spans of HTTP requests below it
                )
            assert {name: count() - before[name] for name, count in counts.items()} == expected
            many = [obj.body for obj in store.bucket(bucket.name).get_objects(keys)]
            assert many == [b"x"] * COUNT
        assert bucket["k0"].body == b"x"
        assert made_before.lane.open or ("ddtrace" in names and "ddtrace" in made_before.lane.reason), made_before.lane
