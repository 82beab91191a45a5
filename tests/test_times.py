"""The times in a store's answers: every form that stores write, in listings, headers and events, on every supported Python."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from dateutil.tz import tzoffset
from hypothesis import given
from hypothesis import strategies as some
from support.scripted_server import Answer, Asked, ScriptedServer, document

import messageflux_s3 as s3
from messageflux_s3._formats.times import as_utc, parse_time

MOMENT = datetime(2026, 11, 21, 16, 42, 26, tzinfo=timezone.utc)
FORMS = {
    "2026-11-21T16:42:26Z": MOMENT,
    "2026-11-21T16:42:26.000Z": MOMENT,
    "2026-11-21T16:42:26.3Z": MOMENT.replace(microsecond=300_000),
    "2026-11-21T16:42:26.38+00:00": MOMENT.replace(microsecond=380_000),  # rclone
    "2026-11-21T16:42:26.380123456Z": MOMENT.replace(microsecond=380_123),
    "2026-11-21T18:42:26+02:00": MOMENT,
    "2026-11-21T11:12:26.5-05:30": MOMENT.replace(microsecond=500_000),
    "2026-11-21T16:42:26+0000": MOMENT,
    "2026-11-21T16:42:26+00": MOMENT,
    "2026-11-21T16:42:26": MOMENT,
    "20261121T164226Z": MOMENT,
    "2026-11-21 16:42:26 UTC": MOMENT,
    "Sat, 21 Nov 2026 16:42:26 GMT": MOMENT,
    "Sat, 21 Nov 2026 18:42:26 +0200": MOMENT,
    "Saturday, 21-Nov-26 16:42:26 GMT": MOMENT,
    "Sat Nov 21 16:42:26 2026": MOMENT,
    "1795279346": MOMENT,
    "1795279346.25": MOMENT.replace(microsecond=250_000),
}


@pytest.mark.parametrize(("text", "moment"), FORMS.items(), ids=[*FORMS])
def test_every_form_of_a_time_is_read_in_utc(text: str, moment: datetime) -> None:
    """Any number of digits in the fraction, any zone, HTTP dates in their three forms, seconds since 1970."""
    found = parse_time(text)
    assert (found, found.utcoffset()) == (moment, timedelta(0))


@pytest.mark.parametrize(
    "text", ["", "Z", "yesterday", "2026-11-21", "2026-02-30T00:00:00Z", "2026-11-21T25:00:00Z", "9" * 40, "0,0"]
)
def test_text_that_is_no_time_raises_value_error_with_the_text(text: str) -> None:
    """The message contains the text, shortened."""
    with pytest.raises(ValueError, match="not a time: '"):
        parse_time(text)


@given(
    some.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(9000, 1, 1)),
    some.integers(0, 9),
    some.integers(-14 * 60, 14 * 60),
)
def test_a_written_time_is_read_back(moment: datetime, digits: int, minutes: int) -> None:
    """Fractions are parsed to at most six digits."""
    zone = timezone(timedelta(minutes=minutes))
    written = f"{moment:%Y-%m-%dT%H:%M:%S}"
    fraction = f"{moment.microsecond:06d}000"[:digits]
    offset = f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"
    kept = int(fraction.ljust(6, "0")[:6])
    assert parse_time(f"{written}{'.' * bool(digits)}{fraction}{offset}") == moment.replace(
        microsecond=kept, tzinfo=zone
    )


@pytest.mark.parametrize("lane", [True, False], ids=["lane", "boto3"])
@pytest.mark.parametrize("text", [text for text in FORMS if text[:4] == "2026"])
def test_a_listing_with_this_form_of_time_works_for_all_that_reads_times(
    scripted_server: ScriptedServer, tmp_path: Path, text: str, lane: bool
) -> None:
    """``last_modified``, time windows, ``usage()`` and a plan to copy to a folder."""
    moment = FORMS[text]

    def answer(asked: Asked) -> Answer:
        if asked.method == "HEAD":
            return 200, {"ETag": '"e"', "Last-Modified": "Sat, 21 Nov 2026 05:00:00 GMT"}, b""
        entry = f"<Contents><Key>k</Key><LastModified>{text}</LastModified><ETag>&quot;e&quot;</ETag><Size>3</Size></Contents>"
        return document("ListBucketResult", f"<IsTruncated>false</IsTruncated>{entry}")

    scripted_server.answer = answer
    bucket = scripted_server.bucket(lane=lane)
    assert bucket.object("k").exists()
    second = timedelta(seconds=1)
    (found,) = bucket.find()
    assert found.last_modified == moment
    assert [obj.key for obj in bucket.find(modified_after=moment - second, modified_before=moment + second)] == ["k"]
    assert [*bucket.find(modified_after=moment)] == []
    assert bucket.find().usage().newest == moment
    assert [step.key for step in bucket.sync_to_folder("", tmp_path, dry_run=True).steps] == ["k"]


@pytest.mark.parametrize("lane", [True, False], ids=["lane", "boto3"])
@pytest.mark.parametrize("text", FORMS)
def test_a_last_modified_header_in_this_form_is_read(scripted_server: ScriptedServer, text: str, lane: bool) -> None:
    """HEAD and GET give the time, at least to the second."""
    scripted_server.answer = lambda asked: (200, {"ETag": '"e"', "Last-Modified": text}, b"")
    bucket = scripted_server.bucket(lane=lane)
    for _ in range(2):
        assert abs(bucket.object("k").last_modified - FORMS[text]) <= timedelta(milliseconds=1)
        assert abs(bucket.get_object("k").last_modified - FORMS[text]) <= timedelta(milliseconds=1)


def test_an_event_with_any_form_of_iso_time_is_read() -> None:
    """Events of stores have fractions of any length."""
    for text, moment in FORMS.items():
        if text.startswith("2026-11-21T") and text[19:] and text[-3:] != "+00":
            described = {
                "s3": {"bucket": {"name": "bkt"}, "object": {"key": "k"}},
                "eventName": "ObjectCreated:Put",
                "eventTime": text,
            }
            (event,) = s3.parse_event({"Records": [described]})
            assert event.time == moment, text


@pytest.mark.parametrize(
    "said",
    ["1795237200", "Sat, 21 Nov 2026 07:00:00 +0200", "2026-11-21T07:00:00+02:00", "Sat, 21 Nov 2026 05:00:00 GMT"],
)
@pytest.mark.parametrize("lane", [True, False])
def test_last_modified_is_in_utc_however_the_header_is_written(
    scripted_server: ScriptedServer, said: str, lane: bool
) -> None:
    scripted_server.answer = lambda asked: (200, {"ETag": '"e"', "Last-Modified": said, "Content-Length": "1"}, b"x")
    moment = scripted_server.bucket(lane=lane)["k"].last_modified
    assert moment.tzinfo is timezone.utc
    assert moment == datetime(2026, 11, 21, 5, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    "moment",
    [
        datetime(9999, 12, 31, 23, 59, 59, tzinfo=timezone(-timedelta(hours=23))),
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=23))),
        datetime(2026, 1, 1, tzinfo=tzoffset(None, 99 * 3600)),
    ],
)
def test_a_time_of_boto3_that_is_none_in_utc_raises_value_error(moment: datetime) -> None:
    """boto3 accepts any offset that a store writes."""
    with pytest.raises(ValueError, match="not a time: "):
        as_utc(moment)
