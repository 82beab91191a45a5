"""Parsing of the times in S3 responses to aware datetimes.

Listings carry ISO 8601 and headers carry HTTP dates; some gateways write either form, or seconds since 1970, in both places.
``datetime.fromisoformat`` is not enough: on Python 3.10 it rejects ``Z``, and fractions of other than three or six digits.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime

_ISO = re.compile(
    r"(\d{4})-?(\d\d)-?(\d\d)[Tt ](\d\d):?(\d\d)(?::?(\d\d)(?:[.,](\d+))?)? ?(?:[Zz]|GMT|UTC|([+-])(\d\d):?(\d\d)?)?",
    re.ASCII,
)
_HTTP = re.compile(
    r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (\d\d) (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) ([1-9]\d{3}) (\d\d):(\d\d):(\d\d) GMT",
    re.ASCII,
)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_SECONDS = re.compile(r"-?\d{1,12}(?:\.\d+)?", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def parse_time(text: str) -> datetime:
    """Parse a time in any form that S3 servers write.

    Args:
        text: ISO 8601 with any number of digits in the fraction, an HTTP date, or seconds since 1970. No time zone means UTC.

    Returns:
        The time in UTC, truncated to microseconds.

    Raises:
        ValueError: The text is not a time in one of these forms.

    Example:
        >>> from messageflux_s3._formats.times import parse_time
        >>> parse_time("2026-11-21T16:42:26.38+00:00")
        datetime.datetime(2026, 11, 21, 16, 42, 26, 380000, tzinfo=datetime.timezone.utc)
        >>> parse_time("2026-11-21T16:42:26Z") == parse_time("Sat, 21 Nov 2026 16:42:26 GMT")
        True
    """
    if text[-1:] == "Z" and text[10:11] == "T":  # the usual form; fromisoformat() is ten times as fast
        try:
            return datetime.fromisoformat(f"{text[:-1]}+00:00")
        except ValueError:  # not a time, or on Python 3.10 a fraction of other than three or six digits
            pass
    try:
        return _parse(text.strip())
    except (ValueError, OverflowError, TypeError):  # such as 30 February, or a time that in UTC is after the year 9999
        raise ValueError(f"not a time: {text[:80]!r}") from None


def as_utc(moment: str | datetime) -> datetime:
    """Return a time from a response (text, or a datetime that boto3 parsed) in UTC.

    boto3 returns a naive datetime if the server gave no zone, keeps an offset from the server, and uses the local zone for seconds since
    1970.

    Raises:
        ValueError: The text is not a time, or the time has no equivalent in UTC.
    """
    if isinstance(moment, str):
        return parse_time(moment)
    try:
        return _in_utc(moment)
    except (ValueError, OverflowError):  # an offset of more than a day, or a time that in UTC is after the year 9999
        raise ValueError(f"not a time: {moment.replace(tzinfo=None)} with a time zone that is not valid here") from None


def _in_utc(moment: datetime) -> datetime:
    return moment.astimezone(timezone.utc) if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def _parse(text: str) -> datetime:
    match = _ISO.fullmatch(text)
    if match is not None:
        year, month, day, hour, minute, second, fraction, sign, zone_hours, zone_minutes = match.groups()
        microsecond = int((fraction or "").ljust(6, "0")[:6])
        moment = datetime(
            int(year), int(month), int(day), int(hour), int(minute), int(second or 0), microsecond, timezone.utc
        )
        if sign is None:
            return moment
        offset = timedelta(hours=int(zone_hours), minutes=int(zone_minutes or 0))
        return moment - offset if sign == "+" else moment + offset
    match = _HTTP.fullmatch(text)
    if match is not None:  # the usual form in headers; the parser of e-mails takes four times as long
        day, name, year, hour, minute, second = match.groups()
        return datetime(
            int(year), 1 + _MONTHS.index(name), int(day), int(hour), int(minute), int(second), 0, timezone.utc
        )
    if _SECONDS.fullmatch(text):
        return _EPOCH + timedelta(seconds=float(text))
    return _in_utc(parsedate_to_datetime(text))
