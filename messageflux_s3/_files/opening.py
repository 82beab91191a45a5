"""Open an object as the builtin ``open`` opens a file: check the mode, and select the reader or writer."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import IO, Any, cast

from .._client.addresses import ObjectAddress
from .._formats import etags
from .reader import BUFFER_BYTES, BufferedObjectReader, ObjectReader
from .writer import ObjectWriter, TextWriter


def open_object(
    address: ObjectAddress,
    mode: str = "rb",
    *,
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    if_match: str | None = None,
    metadata: Mapping[str, str] | None = None,
    **extra: Any,
) -> IO[Any]:
    """Open an object like a file; arguments as for the builtin ``open``.

    Args:
        address: The object; for reading also one of its versions.
        mode: ``r``, ``w``, ``x`` (create only) or ``a``, with ``b`` for bytes or ``t`` for text.
        buffering: 0 for none (bytes only), 1 for line buffering (text only), else the size of the reader's buffer.
        encoding: The encoding of text; UTF-8 by default.
        errors: How to handle encoding and decoding errors, as for the builtin.
        newline: As for the builtin.
        if_match: ETag that the object must have: when it is read, when it is replaced (at the close), or when it is opened for appending.
            Not allowed with ``x``.
        metadata: The metadata to write.
        extra: Further parameters of a write (:class:`~messageflux_s3._objects.put_parameters.PutParameters`).

    Raises:
        ValueError: The mode is invalid, or an argument is not allowed with it.
        io.UnsupportedOperation: The mode would both read and write.
        S3NoSuchItem: The object to read does not exist.
        S3ObjectChanged: The object to read has another ETag; or the object to append to was replaced each time it was read, or was
            changed by others between the opening and the close.
        S3ObjectExists: The object to create already exists.
        S3PreconditionFailed: At the opening: the object to append to has another ETag than ``if_match``. At the close: the object to
            replace has another ETag; or another write was in progress and nothing was written (409, ``retryable``); or it is unknown
            whether the object was written (``outcome_unknown``).
        S3Unsupported: The mode is ``x``, or ``w`` with ``if_match``, and the store does not honour the condition.

    Requests:
        1 GET to read (then one per range); see :class:`ObjectWriter` for writing
    """
    action, is_text = _parse_mode(mode)
    if isinstance(buffering, bool) or not isinstance(buffering, int):
        raise TypeError(f"buffering must be a whole number, not {type(buffering).__name__}")
    if is_text and buffering == 0:
        raise ValueError("can't have unbuffered text I/O")
    if not is_text:
        for name, value in (("encoding", encoding), ("errors", errors), ("newline", newline)):
            if value is not None:
                raise ValueError(f"binary mode doesn't take an {name} argument")
    elif not (newline is None or isinstance(newline, str)):
        raise TypeError(f"newline must be text or None, not {type(newline).__name__}")
    elif newline not in (None, "", "\n", "\r", "\r\n"):
        raise ValueError(f"illegal newline value: {newline!r}")  # raised here, before any request is sent
    if if_match is not None:
        etags.check(if_match)
    if action == "r":
        if metadata is not None or extra:
            raise TypeError(
                f"{'metadata' if metadata is not None else next(iter(extra))} goes with writing, not with mode {mode!r}"
            )
        raw = ObjectReader(address, if_match)
        if buffering == 0:
            return cast("IO[Any]", raw)
        buffered = BufferedObjectReader(raw, buffering if buffering > 1 else BUFFER_BYTES)
        if not is_text:
            return buffered
        text = io.TextIOWrapper(buffered, encoding or "utf-8", errors, newline)
        text.mode = mode  # type: ignore[misc]  # as the builtin does
        return text
    if address.version_id is not None:
        raise ValueError(f"version_id goes with reading, not with mode {mode!r}: a write makes a new version")
    writer = ObjectWriter(address, action + "b", metadata=metadata, if_match=if_match, **extra)
    if not is_text:
        return cast("IO[Any]", writer)
    try:
        return TextWriter(writer, encoding or "utf-8", errors, newline, buffering == 1, mode=mode)
    except BaseException:
        writer.abort()
        raise


def write_action(mode: str) -> str:
    """Return the letter of a write mode: ``w``, ``x`` or ``a``.

    Raises:
        ValueError: The mode is invalid, or a read mode.
        io.UnsupportedOperation: The mode would both read and write.
    """
    action, _ = _parse_mode(mode)
    if action == "r":
        raise ValueError(f"mode {mode!r} does not write")
    return action


def _parse_mode(mode: str) -> tuple[str, bool]:
    """Return the action letter, and whether the mode is text."""
    if not isinstance(mode, str):
        raise TypeError(f"mode must be text, not {type(mode).__name__}")
    letters = set(mode)
    actions = letters & set("rwxa")
    if letters - set("rwxabt+") or len(letters) != len(mode) or not mode:
        raise ValueError(f"invalid mode: {mode!r}")
    if {"b", "t"} <= letters:
        raise ValueError("can't have text and binary mode at once")
    if len(actions) != 1:
        raise ValueError("must have exactly one of create/read/write/append mode")
    if "+" in letters:
        raise io.UnsupportedOperation(
            f"mode {mode!r}: an object cannot be read and written at once; open it once for each"
        )
    return actions.pop(), "b" not in letters
