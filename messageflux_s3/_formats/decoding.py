"""Decoding of an object's content as text or JSON, with errors that name the object."""

from __future__ import annotations

import json
from typing import Any

from ..errors import S3InvalidContent


def as_text(body: bytes, bucket: str, key: str) -> str:
    """Decode an object's content as UTF-8.

    Raises:
        S3InvalidContent: The content is not UTF-8.
    """
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _invalid("UTF-8 text", str(error), bucket, key) from error


def as_json(body: bytes, bucket: str, key: str) -> Any:
    """Parse an object's content as JSON, in the encodings that JSON allows.

    Raises:
        S3InvalidContent: The content is not JSON, or is nested too deeply for Python's parser.
    """
    try:
        return json.loads(body)
    except RecursionError as error:
        raise _invalid("JSON that can be read", "it is nested too deeply", bucket, key) from error
    except ValueError as error:  # JSONDecodeError, UnicodeDecodeError, or a number with too many digits
        raise _invalid("JSON", str(error) if body else "it is empty", bucket, key) from error


def _invalid(kind: str, reason: str, bucket: str, key: str) -> S3InvalidContent:
    return S3InvalidContent(
        f"the content of s3://{bucket}/{key} is not {kind}: {reason}", operation="GetObject", bucket=bucket, key=key
    )
