"""One log line for each finished request, and the filter that keeps each record of this library on one line."""

from __future__ import annotations

import logging

from .._formats.render import visible
from .request_record import RequestRecord

logger = logging.getLogger("messageflux_s3")

SLOW_SECONDS = 5.0
"""A request that takes at least as long is logged at level INFO."""


def _escape(record: logging.LogRecord) -> bool:
    """Escape line ends and control characters: keys and the texts of stores could forge lines of a log, or control a terminal."""
    text = record.getMessage()
    if not text.isprintable():
        record.msg, record.args = visible(text), None
    return True


logger.addFilter(_escape)


def log(record: RequestRecord) -> None:
    """Log a finished request: at INFO if it was slow or sent more than once, else at DEBUG."""
    is_remarkable = record.attempts > 1 or record.seconds >= SLOW_SECONDS
    level = logging.INFO if is_remarkable else logging.DEBUG
    if not logger.isEnabledFor(level):
        return
    outcome = str(record.status or "no response") if record.error is None else f"{record.status or ''} {record.error}"
    logger.log(
        level,
        "%s s3://%s/%s: %s, %d bytes sent, %d bytes received, %.1f ms, %d %s, %s",
        record.operation,
        record.bucket,
        record.key,
        outcome.strip(),
        record.bytes_sent,
        record.bytes_received,
        1000 * record.seconds,
        record.attempts,
        "attempt" if record.attempts == 1 else "attempts",
        record.way,
    )
