"""Previews of the beginning of an object: text, JSON, tables, images; also inside gzip.

A preview reads the first 64 KiB of the object, whatever its size. It also reads the whole of an image of up to 8 MiB, and the first rows
of a Parquet file.
"""

from __future__ import annotations

import csv
import io
import json
import re
import zlib
from collections.abc import Sequence
from itertools import islice
from typing import Any

from .._client.addresses import ObjectAddress
from .._files import opening
from .._formats import render
from .._formats.head import Head
from .._formats.render import Bytes, Cell, Plain, Rendered
from .._objects import operations, ranged_reader
from ..errors import S3Error

FIRST_BYTES = 64 * 1024
"""The number of bytes that are read from the beginning of an object."""

LARGEST_IMAGE = operations.MAX_CACHED_BODY
_MOST_COLUMNS = 20
_LONGEST_LINE = 500
_HEX_BYTES = 256
_NO_TEXT = {*range(32)} - set(b"\t\n\r\f")

_NUMBER = re.compile(r"[+-]?(?:0|[1-9][0-9]{0,30})?(?:[.,][0-9]{1,30})?(?:[eE][+-]?[0-9]{1,3})?(?<=[0-9])")

_IMAGES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
_TABLES = {".csv": ",", ".tsv": "\t", ".tab": "\t", "text/csv": ",", "text/tab-separated-values": "\t"}
_JSON_LINES = {".jsonl", ".ndjson", "application/x-ndjson", "application/jsonl", "application/x-jsonlines"}
_JSON = {".json", ".geojson", ".ipynb", "application/json", "application/geo+json"}


def preview(address: ObjectAddress, *, lines: int = 20, if_match: str | None = None) -> Rendered:
    """Render the beginning of an object.

    Args:
        address: The object, or a version of it.
        lines: How many lines or rows to show.
        if_match: ETag that the object must have.

    Raises:
        TypeError: ``lines`` is not a whole number.
        ValueError: ``lines`` is less than 1.
        S3NoSuchItem: There is no such object.
        S3ObjectChanged: The object has another ETag than ``if_match``.

    Requests:
        1 GET of 64 KiB; for an image 1 more GET, up to 8 MiB; for Parquet the GETs for its first rows
    """
    if isinstance(lines, bool) or not isinstance(lines, int):
        raise TypeError(f"lines must be a whole number, not {type(lines).__name__}")
    if lines < 1:
        raise ValueError(f"lines must be at least 1, not {lines}")
    head, first = _beginning(address, if_match)
    size = head.size if head.size is not None else len(first)
    title = address.uri
    about = [render.size_text(size), head.content_type or ""]

    media_type = next((found for magic, found in _IMAGES if first.startswith(magic)), None)
    if first[:4] == b"RIFF" and first[8:12] == b"WEBP":
        media_type = "image/webp"
    if media_type is not None:
        if size > LARGEST_IMAGE:
            return render.facts(
                title, [("image", media_type), ("size", Bytes(size))], note="too large to be fetched for a preview"
            )
        whole = first
        if size > len(first):
            _, body = operations.get(address, head.etag)
            whole = body or b""
        return render.image(title, media_type, whole, note=_note(about))
    if first.startswith(b"PAR1") and (shown := _parquet(address, lines, title, about, if_match)):
        return shown

    is_whole = len(first) >= size
    name = address.key.lower()
    if (unpacked := _unzipped(first, is_whole)) is not None:
        first, is_whole = unpacked
        name = name.removesuffix(".gz").removesuffix(".gzip")
        about.append("gzip")
    if not first:
        return render.facts(title, [], note=_note(["empty", *about[1:]]))
    kinds = _kinds(name, head)
    text = _decoded(first, is_whole)
    if text is None and (text := _of_one_byte_each(first, kinds)) is not None:
        about.append("not UTF-8, read as Windows-1252")
    if text is None:
        about += [f"the first {_HEX_BYTES} bytes"] if len(first) > _HEX_BYTES else []
        return render.text_block(title, _hex(first[:_HEX_BYTES]), note=_note(about), is_grid=True)
    return _of_text(text, is_whole, kinds, lines, title, about)


def _beginning(address: ObjectAddress, if_match: str | None) -> tuple[Head, bytes]:
    try:
        head, stream = ranged_reader.get_stream(address, start=0, end=FIRST_BYTES, if_match=if_match)
    except S3Error as error:
        if error.status != 416:  # 416: an empty object has no first byte
            raise
        found = operations.head(address)
        ranged_reader.check_etag(address, found.etag, if_match)
        return found, b""
    with stream:
        return head, stream.read(FIRST_BYTES)


def _unzipped(data: bytes, is_whole: bool) -> tuple[bytes, bool] | None:
    """Decompress at most FIRST_BYTES, as gzip may expand a thousandfold. Return (data, is_whole), or None if the data is not gzip."""
    out, left = b"", data
    while left.startswith(b"\x1f\x8b") and len(out) < FIRST_BYTES:  # logs are often several gzip files, concatenated
        unpack = zlib.decompressobj(wbits=31)
        try:
            out += unpack.decompress(left, FIRST_BYTES - len(out))
        except zlib.error:
            return (out, False) if out else None
        if not unpack.eof:
            return out, False
        left = unpack.unused_data
    return None if left is data else (out, is_whole and not left)


def _decoded(data: bytes, is_whole: bool) -> str | None:
    """Decode bytes as text; return None if they are not text. An incomplete character at the end of the range is left out."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if is_whole or error.start < len(data) - 3:
            return None
        text = data[: error.start].decode("utf-8-sig")
    return None if "\0" in text else text


def _of_one_byte_each(data: bytes, kinds: Sequence[str]) -> str | None:
    """Decode Windows-1252, which spreadsheets still write; None if no kind (extension, type) is text, or a byte is a control character."""
    if not any(kind == ".txt" or kind.startswith("text/") or kind in _TABLES for kind in kinds) or set(data) & _NO_TEXT:
        return None
    return data.decode("cp1252", "replace")


def _kinds(name: str, head: Head) -> list[str]:
    """Return the key's extension and the content type, from which the format is guessed."""
    last = name.rpartition("/")[2]
    extension = f".{last.rpartition('.')[2]}" if "." in last else ""
    return [extension, (head.content_type or "").partition(";")[0].strip().lower()]


def _of_text(text: str, is_whole: bool, kinds: Sequence[str], lines: int, title: str, about: list[str]) -> Rendered:
    shown = None
    if any(kind in _JSON_LINES for kind in kinds):
        shown = _json_lines(text, is_whole, lines, title, about)
    elif delimiter := next((_TABLES[kind] for kind in kinds if kind in _TABLES), None):
        shown = _separated(text, is_whole, delimiter, lines, title, about)
    elif is_whole and (any(kind in _JSON for kind in kinds) or text.lstrip()[:1] in ("{", "[")):
        shown = _json(text, lines, title, about)
    return shown or _lines(text, is_whole, lines, title, about)


def _lines(text: str, is_whole: bool, lines: int, title: str, about: list[str]) -> Rendered:
    split = text.splitlines()
    kept = "\n".join(render.shortened(line, _LONGEST_LINE) for line in split[:lines])
    note = [*about, _first(min(lines, len(split)), "line")] if len(split) > lines or not is_whole else about
    return render.text_block(title, kept, note=_note(note))


def _json(text: str, lines: int, title: str, about: list[str]) -> Rendered | None:
    try:
        pretty = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return None
    return _lines(pretty, True, lines, title, [*about, "JSON"])


def _json_lines(text: str, is_whole: bool, lines: int, title: str, about: list[str]) -> Rendered | None:
    split = [line for line in _complete(text, is_whole) if line.strip()]
    try:
        records = [json.loads(line) for line in split[:lines]]
    except (ValueError, RecursionError):
        return None
    if not records or not all(isinstance(record, dict) for record in records):
        return None
    names = [*dict.fromkeys(name for record in records for name in record)]
    rows = [[_cell(record.get(name)) for name in names] for record in records]
    return _table(names, rows, len(split) > len(rows) or not is_whole, title, [*about, "JSON lines"])


def _separated(text: str, is_whole: bool, delimiter: str, lines: int, title: str, about: list[str]) -> Rendered | None:
    if delimiter == "," and text.partition("\n")[0].count(";") > text.partition("\n")[0].count(","):
        delimiter = ";"  # spreadsheets write semicolons where the comma is the decimal separator
    source = text if is_whole else text[: text.rfind("\n") + 1]
    try:
        rows = [
            row for row in islice(csv.reader(io.StringIO(source, newline=""), delimiter=delimiter), lines + 2) if row
        ]
    except csv.Error:
        return None
    if not rows or (len(rows) == 1 and not is_whole):
        return None
    records = rows[1 : lines + 1]
    width = max(map(len, rows[: lines + 1]))
    names = [*rows[0], *[""] * (width - len(rows[0]))]
    cells: list[list[Cell]] = [[*map(_separated_cell, row), *[None] * (width - len(row))] for row in records]
    return _table(names, cells, len(rows) > lines + 1 or not is_whole, title, about)


def _parquet(address: ObjectAddress, lines: int, title: str, about: list[str], if_match: str | None) -> Rendered | None:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        note = "a Parquet file; its rows are shown with pyarrow: pip install 'messageflux-s3[arrow]'"
        return render.facts(title, [], note=_note([*about, note]))
    try:
        with opening.open_object(address, "rb", if_match=if_match) as file:
            opened: Any = parquet.ParquetFile(file, pre_buffer=False, buffer_size=FIRST_BYTES)
            total, names = opened.metadata.num_rows, opened.schema_arrow.names[:_MOST_COLUMNS]
            columns = len(opened.schema_arrow.names)
            batch = next(opened.iter_batches(batch_size=lines, columns=names), None)
            values = [] if batch is None else [[*map(_of_arrow, column)] for column in batch.columns]
    except S3Error:
        raise
    except (pyarrow.ArrowException, OSError):
        return None  # begins with Parquet's magic, but is not a Parquet file
    rows = [[*map(_cell, row)] for row in zip(*values, strict=True)]
    return _table(names, rows, total > len(rows), title, [*about, "Parquet", f"{total:,} rows, {columns} columns"])


def _complete(text: str, is_whole: bool) -> list[str]:
    """Return the lines, without an incomplete one at the end of the range."""
    return text.split("\n") if is_whole else text.split("\n")[:-1]


def _table(
    names: Sequence[str], rows: Sequence[Sequence[Cell]], is_cut: bool, title: str, about: list[str]
) -> Rendered:
    notes = [*about, *([_first(len(rows), "row")] if is_cut else [])]
    if len(names) > _MOST_COLUMNS:
        notes.append(f"{_MOST_COLUMNS} of {len(names)} columns")
    headers = [render.shortened(name) for name in names[:_MOST_COLUMNS]]
    return render.table(headers, [row[:_MOST_COLUMNS] for row in rows], title=title, note=_note(notes))


def _cell(value: Any) -> Cell:
    """Return a value as a cell. Numbers are not formatted: the year 2026 must not become 2,026, and no digit is rounded away."""
    if value is None:
        return None
    if isinstance(value, str):
        return render.shortened(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return Plain(str(value))
    if isinstance(value, (bool, dict, list)):
        return render.shortened(json.dumps(value, ensure_ascii=False, default=str))
    return render.shortened(str(value))


def _separated_cell(text: str) -> Cell:
    """Return a number as a number, so that its column is right-aligned; its digits are shown as they are. Empty text is no value."""
    if not text:
        return None
    return Plain(text) if _NUMBER.fullmatch(text) else render.shortened(text)


def _of_arrow(scalar: Any) -> Any:
    """Return a value of Arrow's as one of Python's."""
    try:
        return scalar.as_py()
    except (ValueError, OverflowError):  # a time after the year 9999, for example
        return "(not a value of Python)"


def _hex(data: bytes) -> str:
    rows = (data[at : at + 16] for at in range(0, len(data), 16))
    return "\n".join(
        f"{number * 16:08x}  {row.hex(' '):<47}  {''.join(chr(byte) if 32 <= byte < 127 else '.' for byte in row)}"
        for number, row in enumerate(rows)
    )


def _note(parts: Sequence[str]) -> str:
    return " · ".join(part for part in parts if part)


def _first(count: int, what: str) -> str:
    return f"the first {what}" if count == 1 else f"the first {count} {what}s"
