"""OpenTelemetry: one span for each finished request, once the program has set a tracer provider.

The package ``opentelemetry`` is never imported here first: a provider can only be set by a program that has imported it.
"""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import Any

from .request_record import Observer, RequestRecord

_INSTRUMENTATION = "opentelemetry.instrumentation.botocore"
_SUPPRESSED = "suppress_instrumentation"
"""The key under which OpenTelemetry's ``suppress_instrumentation()`` marks the current context."""


def is_on() -> bool:
    """Return whether a tracer provider is set."""
    trace: Any = sys.modules.get("opentelemetry.trace")
    # While that module is being imported on another thread, it does not have its names yet.
    get_provider = getattr(trace, "get_tracer_provider", None)
    return get_provider is not None and not isinstance(get_provider(), trace.ProxyTracerProvider)


def recorder() -> Observer | None:
    """Return the observer that records a request which begins now as a span, a child of the span that is current now.

    The response may arrive elsewhere: a streamed body is often read in another span.

    Returns:
        The observer; None if there is to be no span: instrumentation is suppressed, or the instrumentation of botocore records the request.
    """
    from opentelemetry import context

    current = context.get_current()
    if context.get_value(_SUPPRESSED, current) or _is_botocore_instrumented():
        return None
    return partial(_record_span, current)


def _record_span(parent: Any, record: RequestRecord) -> None:
    """Record a finished request as a span.

    Args:
        parent: The context with the span's parent.
        record: The request.
    """
    from opentelemetry import trace

    started = time.time_ns() - int((time.perf_counter() - record.clock) * 1e9)
    attributes: dict[str, Any] = {
        "rpc.system": "aws-api",
        "rpc.service": "S3",
        "rpc.method": record.operation,
        "messageflux_s3.way": record.way,
        "http.request.body.size": record.bytes_sent,
        "http.response.body.size": record.bytes_received,
    }
    if record.bucket:
        attributes["aws.s3.bucket"] = record.bucket
    if record.key:
        # A lone surrogate cannot be exported.
        attributes["aws.s3.key"] = record.key.encode("utf-8", "backslashreplace").decode("utf-8")
    if record.status is not None:
        attributes["http.response.status_code"] = record.status
    if record.attempts > 1:
        attributes["http.request.resend_count"] = record.attempts - 1
    if record.error is not None:
        attributes["error.type"] = record.error
    tracer = trace.get_tracer("messageflux_s3")
    span = tracer.start_span(
        f"S3.{record.operation}", parent, kind=trace.SpanKind.CLIENT, attributes=attributes, start_time=started
    )
    if record.error is not None:
        span.set_status(trace.Status(trace.StatusCode.ERROR, record.error))
    span.end(started + int(record.seconds * 1e9))


def _is_botocore_instrumented() -> bool:
    """Return whether OpenTelemetry's own instrumentation of botocore is active: it records each of boto3's requests."""
    instrumentor: Any = getattr(sys.modules.get(_INSTRUMENTATION), "BotocoreInstrumentor", None)
    return instrumentor is not None and bool(instrumentor().is_instrumented_by_opentelemetry)
