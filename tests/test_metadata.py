"""User metadata: whatever text goes in comes back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from messageflux_s3 import metadata

TEXT = st.text(st.characters(exclude_categories=[]), max_size=60)


@given(st.dictionaries(st.from_regex(r"\A[a-z][a-z0-9_-]{0,20}\Z"), TEXT, max_size=4))
@example({"a": "\ud800", "b": "\ud800a", "c": "\ud800ab"})
def test_what_is_encoded_decodes_to_the_same(values: dict[str, str]) -> None:
    """The law of this room; what travels is printable ASCII without blanks at its borders."""
    encoded = metadata.encode(values)
    assert metadata.decode(encoded) == values
    assert all(value.isascii() and (value.isprintable()) and value == value.strip() for value in encoded.values())


def test_plain_text_travels_as_it_is() -> None:
    """Other clients read what we wrote."""
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
def test_what_other_stores_send_is_understood(as_sent: str, meant: str) -> None:
    """Raw UTF-8 read as Latin-1, RFC 2047 of either kind; what is neither stays as it is."""
    assert metadata.decode({"Name": as_sent}) == {"name": meant}


def test_as_much_as_s3_takes() -> None:
    """Names included; none at all is none."""
    assert metadata.encode({"a": "x" * 2047}) == {"a": "x" * 2047}
    assert metadata.encode(None) == {}


def test_our_own_entry_is_never_shown() -> None:
    """The write-id is nobody's business."""
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
        ({"a": "x" * 2048}, ValueError, "metadata takes 2049 bytes as sent, names included; S3 takes 2048 at the most"),
    ],
)
def test_what_cannot_be_metadata_is_refused_at_once(values: Any, error: type[Exception], words: str) -> None:
    """The error names the entry."""
    with pytest.raises(error, match=words):
        metadata.encode(values)


@pytest.mark.parametrize("value", ["=?utf-8?B?!!!?=", "=?utf-8?B?/w==?=", "=?no-such-charset?Q?x?=", "=?utf-8?Q?=ff?=", "ÿ\u0100"])
def test_what_no_one_can_decode_is_given_as_it_stands(value: str) -> None:
    """Somebody else's text may look like an encoded word."""
    assert metadata.decode({"A": value}) == {"a": value}
