"""Previews of the beginning of an object."""

from __future__ import annotations

import datetime
import gzip
import io
import json
import struct
import sys
import zlib

import pytest
from support.request_counting import Counted

from messageflux_s3 import S3Bucket, S3NoSuchItem


def png(width: int = 2, noise: bytes = b"") -> bytes:
    """Return a PNG, padded to a given length."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, 1, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" + b"\x40\x80\xc0" * width)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", pixels)
        + chunk(b"teXt", noise)
        + chunk(b"IEND", b"")
    )


def body(bucket: S3Bucket, key: str, content: bytes | str, lines: int = 20) -> list[str]:
    """The lines of a preview between its title and its note."""
    return bucket.put_object(key, content).preview(lines).text.splitlines()[1:-1]


def test_text_is_shown_line_by_line(bucket: S3Bucket) -> None:
    """Text is shown line by line; control characters are escaped."""
    assert body(bucket, "a.txt", "one\ntwo\x1b[31m\n<script>\n") == ["one", "two\\x1b[31m", "<script>"]
    shown = bucket["a.txt"].preview(1)
    assert "the first line" in shown.text and "two" not in shown.text
    assert "<script>" not in bucket["a.txt"].preview().html


def test_a_large_text_costs_one_range(counted: Counted) -> None:
    """A preview sends one GET of 64 KiB, whatever the object's size."""
    counted.bucket.put_object("big.log", "é" * 200_000 + "\n" + "x" * 200_000)
    with counted.recording() as requests:
        shown = counted.bucket["big.log"].preview()
    assert [request.method for request in requests] == ["GET"]
    assert "585.9 KiB" in shown.text and len(shown.text) < 2_000


@pytest.mark.parametrize("name", ["a.json", "a.json.gz", "A.JSON.GZ", "no-extension"])
def test_json_is_indented(name: str, bucket: S3Bucket) -> None:
    """JSON is indented, recognised by extension or content, compressed or not."""
    content = json.dumps({"total": 7, "who": "ü"}, ensure_ascii=False).encode()
    packed = gzip.compress(content) if name.lower().endswith(".gz") else content
    assert body(bucket, name, packed) == ["{", '  "total": 7,', '  "who": "ü"', "}"]


def test_invalid_json_is_shown_as_text(bucket: S3Bucket) -> None:
    """Invalid or too deeply nested JSON is shown as text."""
    assert body(bucket, "a.json", "{nonsense") == ["{nonsense"]
    assert len(body(bucket, "deep.json", "[" * 60_000)) == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", 'name,total\n"Smith, J",7\nx,8\n'),
        ("a.tsv", "name\ttotal\nSmith, J\t7\nx\t8\n"),
        ("semi.csv", "name;total\nSmith, J;7\nx;8\n"),
    ],
)
def test_separated_values_are_a_table(name: str, content: str, bucket: S3Bucket) -> None:
    """Rows are shown under their headers, numbers at the right; quotes are parsed."""
    assert body(bucket, name, content) == [
        "name      total",
        "--------  -----",
        "Smith, J      7",
        "x             8",
    ]


@pytest.mark.parametrize("cell", ["7", "-7.50", "+1e-9", "3,5", ".5", "0", "12345678901234567890"])
def test_a_column_of_numbers_is_aligned_at_the_right_with_its_digits_unchanged(
    cell: str, moto_bucket: S3Bucket
) -> None:
    """Empty cells do not count. The digits stay: nothing is rounded, and no separator is added."""
    shown = body(moto_bucket, "a.csv", f'a quantity to measure,b\n"{cell}",x\n,y\n')
    assert shown[2:] == [f"{cell:>21}  x", f"{'':21}  y"]


@pytest.mark.parametrize("cell", ["007", "7.", "-", "1 000", "1.2.3", "2026-11-22", "nan", "٣", "1e9999"])
def test_what_is_not_a_number_is_text(cell: str, moto_bucket: S3Bucket) -> None:
    """Such as an identifier with leading zeros, a date, or a number that only Python would read."""
    assert body(moto_bucket, "a.csv", f"a quantity to measure,b\n{cell},x\n")[2] == f"{cell:<21}  x"


def test_a_row_longer_than_the_headers_is_shown_whole(bucket: S3Bucket) -> None:
    """Values without a column name are shown too."""
    assert body(bucket, "a.csv", "a,b\n1\n1,2,3\n") == ["a  b", "-  -  -", "1", "1  2  3"]


def test_a_range_without_a_complete_row_is_shown_as_text(bucket: S3Bucket) -> None:
    """If the range has no complete row, it is shown as text."""
    assert body(bucket, "a.csv", f'a,b\n"{"z" * 200_000}",1\n')[:2] == ["a,b", f'"{"z" * 498}…']


def test_text_that_is_not_utf_8_is_decoded_as_windows_1252(bucket: S3Bucket) -> None:
    """Text that is not UTF-8 is decoded as Windows-1252, and the note says so."""
    text = "name,größe\nmüller,3\n".encode("cp1252")
    shown = bucket.put_object("a.csv", text).preview().text
    assert "müller      3" in shown and "Windows-1252" in shown
    assert body(bucket, "a.bin", text)[0].startswith("00000000  6e 61")
    assert body(bucket, "b.csv", text + b"\0\xff")[0].startswith("00000000  6e 61")


def test_numbers_are_shown_as_written(bucket: S3Bucket) -> None:
    """A year has no comma, no digit is rounded away, and true is not "yes"."""
    content = '{"year": 2026, "sum": 1234567.891, "ok": true}\n'
    assert body(bucket, "a.jsonl", content) == [
        "year          sum  ok",
        "----  -----------  ----",
        "2026  1234567.891  true",
    ]


def test_concatenated_compressed_files_are_decompressed_to_the_end(bucket: S3Bucket) -> None:
    """Concatenated gzip members are all decompressed."""
    packed = gzip.compress(b"one\n") + gzip.compress(b"two\n")
    assert body(bucket, "a.log.gz", packed) == ["one", "two"]
    assert body(bucket, "b.log.gz", packed[:-3]) == ["one", "two"]


def test_a_character_cut_by_the_range_is_left_out(bucket: S3Bucket) -> None:
    """The range may end inside a character of two, three or four bytes."""
    for character in "ä€😀":
        for shift in range(4):
            text = "x" * shift + character * 40_000
            [line] = body(bucket, "a.txt", text)
            assert line == text[:499] + "…"


def test_json_lines_are_a_table(bucket: S3Bucket) -> None:
    """Each record is a row; columns are all names that occur."""
    content = '{"a": 1, "b": "x"}\n\n{"a": 22, "c": [1, 2]}\n'
    assert body(bucket, "a.jsonl", content) == [" a  b  c", "--  -  ------", " 1  x", "22     [1, 2]"]
    assert body(bucket, "b.jsonl", "[1]\n[2]\n") == ["[1]", "[2]"]


def test_a_record_cut_by_the_range_is_left_out(moto_bucket: S3Bucket) -> None:
    """An incomplete record at the end of the range is not shown."""
    rows = "".join(f"{n},{'x' * 90}\n" for n in range(2_000))
    shown = moto_bucket.put_object("a.csv", "n,x\n" + rows).preview(lines=5_000).text.splitlines()
    assert all(line.endswith("x" * 90) for line in shown[3:-1])
    assert "the first 6" in shown[-1]


def test_parquet_is_a_table(bucket: S3Bucket) -> None:
    """The first rows, how many there are, and no more read than needed."""
    import pyarrow
    from pyarrow import parquet

    buffer = io.BytesIO()
    parquet.write_table(pyarrow.table({"n": range(1000), "name": [f"<b>{n}" for n in range(1000)]}), buffer)
    obj = bucket.put_object("a.parquet", buffer.getvalue())
    shown = obj.preview(lines=2)
    assert shown.text.splitlines()[1:-1] == ["n  name", "-  ----", "0  <b>0", "1  <b>1"]
    assert "1,000 rows, 2 columns" in shown.text
    assert "<b>" not in shown.html


def test_parquet_with_values_that_python_has_not_is_a_table(bucket: S3Bucket) -> None:
    """A time after the year 9999, and two columns of the same name."""
    import pyarrow
    from pyarrow import parquet

    buffer = io.BytesIO()
    late = pyarrow.array([2**62], pyarrow.timestamp("us"))
    parquet.write_table(pyarrow.table([late, late, pyarrow.array([1])], names=["t", "a", "a"]), buffer)
    row = body(bucket, "a.parquet", buffer.getvalue())[-1]
    assert " ".join(row.split()) == "(not a value of Python) (not a value of Python) 1"


def test_content_that_only_begins_like_parquet_is_shown_as_text_or_hexadecimal(bucket: S3Bucket) -> None:
    """A truncated Parquet file does not raise."""
    assert body(bucket, "a.parquet", b"PAR1 garbage") == ["PAR1 garbage"]
    assert body(bucket, "b.parquet", b"PAR1\0\xff")[0].startswith("00000000  50 41 52 31")


def test_parquet_without_pyarrow_names_the_extra(moto_bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pyarrow the preview names the format and the extra to install."""
    obj = moto_bucket.put_object("a.parquet", b"PAR1....PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "messageflux-s3[arrow]" in obj.preview().text


def test_images_are_shown_by_content_with_one_or_two_requests(counted: Counted) -> None:
    """An image is shown as one, whatever its name says; one GET if it is small, one more if not."""
    for content, most in ((png(), 1), (png(noise=b"x" * 100_000), 2)):
        counted.bucket.put_object("picture", content)
        with counted.recording() as requests:
            shown = counted.bucket["picture"].preview()
        assert "data:image/png;base64,iVBOR" in shown.html
        assert [request.method for request in requests] == ["GET"] * most
        assert "image/png" in shown.text


def test_an_image_that_is_too_large_is_not_fetched(counted: Counted) -> None:
    """A preview never brings more than 8 MiB."""
    counted.bucket.put_object("huge.png", png(noise=b"x" * (9 * 1024 * 1024)))
    with counted.recording() as requests:
        shown = counted.bucket["huge.png"].preview()
    assert len(requests) == 1 and "too large" in shown.text and "<img" not in shown.html


def test_an_svg_is_text(moto_bucket: S3Bucket) -> None:
    """An SVG may contain a script, so it is shown as text."""
    shown = moto_bucket.put_object("a.svg", "<svg><script>alert(1)</script></svg>").preview()
    assert "<script" not in shown.html and "<img" not in shown.html and "<svg><script>" in shown.text


def test_decompression_bombs_are_expanded_to_the_preview_size_only(moto_bucket: S3Bucket) -> None:
    """Compressed data is decompressed only as far as the preview shows it."""
    shown = moto_bucket.put_object("bomb.gz", gzip.compress(b"a" * 200_000_000, 1)).preview()
    assert len(shown.text) < 2_000 and "gzip" in shown.text


def test_binary_content_is_shown_in_hexadecimal(bucket: S3Bucket) -> None:
    """Binary data is shown in hexadecimal."""
    [row] = body(bucket, "a.bin", b"\0\x01AB\xff")
    assert row.split() == ["00000000", "00", "01", "41", "42", "ff", "..AB."]
    assert body(bucket, "fake.gz", b"\x1f\x8bnonsense")[0].startswith("00000000  1f 8b")


def test_preview_of_an_empty_and_of_a_missing_object(bucket: S3Bucket) -> None:
    """An empty object is empty; one that is not there is an error."""
    assert "empty" in bucket.put_object("empty", b"").preview().text
    with pytest.raises(S3NoSuchItem):
        bucket["missing"].preview()


@pytest.mark.parametrize(("lines", "error"), [(0, ValueError), ("5", TypeError), (True, TypeError)])
def test_an_invalid_number_of_lines_raises(lines: object, error: type[Exception], moto_bucket: S3Bucket) -> None:
    """Invalid arguments raise errors that name the argument."""
    with pytest.raises(error, match="lines"):
        moto_bucket["k"].preview(lines)  # type: ignore[arg-type]


def test_a_webp_image_is_recognized(bucket: S3Bucket) -> None:
    """Its signature has two parts."""
    shown = bucket.put_object("a", b"RIFF\x00\x00\x00\x00WEBPVP8 " + b"x" * 20).preview()
    assert "data:image/webp;base64," in shown.html


def test_utf_16_text_is_shown_as_text(bucket: S3Bucket) -> None:
    """As some spreadsheets write it."""
    assert body(bucket, "a.txt", "eins\nzwei".encode("utf-16")) == ["eins", "zwei"]


def test_a_table_shows_at_most_20_columns(bucket: S3Bucket) -> None:
    """A table shows at most 20 columns."""
    shown = bucket.put_object(
        "a.csv", ",".join(f"c{n}" for n in range(80)) + "\n" + ",".join("1" * 80) + "\n"
    ).preview()
    assert "of 80 columns" in shown.text
    assert "c79" not in shown.text


@pytest.mark.parametrize(
    ("key", "content"), [("a.jsonl", "not json"), ("a.jsonl", "[" * 100_000), ("a.csv", 'a,b\n"' + "x" * 200_000)]
)
def test_content_that_does_not_match_its_extension_is_shown_as_text(bucket: S3Bucket, key: str, content: str) -> None:
    """The content decides, not the name."""
    shown = bucket.put_object(key, content).preview(3)
    assert content[:5] in shown.text


def test_parquet_values_without_a_json_form_are_shown(moto_bucket: S3Bucket) -> None:
    """Such as dates in a Parquet file."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    out = io.BytesIO()
    parquet.write_table(pyarrow.table({"day": [datetime.date(2026, 11, 21)], "many": [[1, 2]], "none": [None]}), out)
    assert "2026-11-21" in moto_bucket.put_object("a.parquet", out.getvalue()).preview().text
