"""Annotations of an object: named texts that Amazon S3 keeps with the object, and that can change without a new version of the object.

Only Amazon S3 has them. A store that ignores ``?annotation`` would overwrite the object on a write, delete the object on a deletion, and
return the object's content on a read. So never send these requests to another store, not even a read.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .._client.addresses import ObjectAddress
from .._formats import etags
from .._formats.times import as_utc
from ..errors import S3InvalidContent, S3NoSuchItem, S3ServerError, S3Unsupported, visible

MAX_BYTES = 1024 * 1024
"""The largest annotation, in bytes of UTF-8."""


@dataclass(frozen=True, slots=True)
class Annotation:
    """An entry in the list of annotations, without the text.

    Attributes:
        name: The name.
        size: The size in bytes of UTF-8.
        last_modified: When the annotation was written, in UTC.
        etag: The ETag without quotes.
    """

    name: str
    size: int
    last_modified: datetime
    etag: str


class ObjectAnnotations:
    """``obj.annotations``: up to 1,000 named texts of up to 1 MiB each, on Amazon S3 only.

    They belong to one version of the object. A copy on the server keeps them, up to 5 GiB; after any other write (also ``update()``) the
    object has no annotations. On another store each method raises S3Unsupported and sends nothing.
    """

    def __init__(self, address: ObjectAddress) -> None:
        self._address = address

    def list(self, prefix: str = "") -> builtins.list[Annotation]:
        """Return the annotations of the object, without their texts.

        Args:
            prefix: Prefix of the names.

        Raises:
            S3NoSuchItem: There is no such object.
            S3Unsupported: The store is not Amazon S3, or the installed boto3 is too old.

        Requests:
            1 per 1,000 annotations
        """
        return [*self._entries(prefix)]

    def _entries(self, prefix: str) -> Iterator[Annotation]:
        further = {"AnnotationPrefix": prefix} if prefix else {}
        while True:
            answer = self._call("ListObjectAnnotations", **further)
            for entry in answer.get("Annotations", ()):
                yield Annotation(
                    entry["AnnotationName"],
                    entry.get("Size", 0),
                    as_utc(entry["LastModified"]),
                    etags.unquoted(entry.get("ETag")) or "",
                )
            token = answer.get("NextContinuationToken")
            if not token:
                return
            if token == further.get("ContinuationToken"):
                raise S3ServerError(
                    f"{self._address.uri}: the listing of annotations never ends: the store repeats its continuation token",
                    operation="ListObjectAnnotations",
                    bucket=self._address.bucket_name,
                    key=self._address.key,
                )
            further["ContinuationToken"] = token

    def get(self, name: str) -> str:
        """Return the text of an annotation.

        Args:
            name: The name.

        Raises:
            S3NoSuchItem: There is no such object, or it has no such annotation.
            S3InvalidContent: The annotation is not UTF-8 text.
            S3Unsupported: The store is not Amazon S3, or the installed boto3 is too old.

        Requests:
            1
        """
        address = self._address
        answer = self._call("GetObjectAnnotation", AnnotationName=_checked(name))
        with address.connection.translating("GetObjectAnnotation", address.bucket_name, address.key):
            payload: bytes = answer["AnnotationPayload"].read()
        try:
            return payload.decode("utf-8")
        except UnicodeDecodeError as error:
            raise S3InvalidContent(
                f"the annotation {name!r} of {address.uri} is not UTF-8 text: {error}",
                operation="GetObjectAnnotation",
                bucket=address.bucket_name,
                key=address.key,
            ) from error

    def put(self, name: str, text: str, *, if_match: str | None = None) -> None:
        """Write an annotation; replace one of the same name.

        Args:
            name: The name, up to 512 bytes; it must not begin with ``aws`` or ``s3``.
            text: The text: 1 byte to 1 MiB in UTF-8.
            if_match: Write only if the object, not the annotation, has this etag.

        Raises:
            TypeError: An argument is not text.
            ValueError: An argument is empty or too large.
            S3NoSuchItem: There is no such object.
            S3PreconditionFailed: With ``if_match``: the object has another etag.
            S3Unsupported: The store is not Amazon S3, or the installed boto3 is too old. Nothing was sent.

        Requests:
            1
        """
        if not isinstance(text, str):
            raise TypeError(f"text must be text, not {type(text).__name__}")
        payload = text.encode("utf-8")
        if not 1 <= len(payload) <= MAX_BYTES:
            raise ValueError(f"text must have 1 byte to {MAX_BYTES:,} bytes of UTF-8, not {len(payload):,}")
        self._call(
            "PutObjectAnnotation", AnnotationName=_checked(name), AnnotationPayload=payload, **_condition(if_match)
        )

    def delete(self, name: str, *, if_match: str | None = None) -> None:
        """Delete an annotation; succeeds if no annotation has this name.

        Args:
            name: The name.
            if_match: Delete only if the object, not the annotation, has this etag.

        Raises:
            S3NoSuchItem: There is no such object.
            S3PreconditionFailed: With ``if_match``: the object has another etag.
            S3Unsupported: The store is not Amazon S3, or the installed boto3 is too old. Nothing was sent.

        Requests:
            1
        """
        try:
            self._call("DeleteObjectAnnotation", AnnotationName=_checked(name), **_condition(if_match))
        except S3NoSuchItem as error:
            if error.code != "NoSuchAnnotation":
                raise

    def _call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        address = self._address
        connection = address.connection
        if not connection.is_aws:
            raise self._unsupported(operation, "only Amazon S3 has annotations. Nothing was sent")
        if operation not in connection.client.meta.service_model.operation_names:
            raise self._unsupported(operation, "the installed botocore does not know annotations: pip install -U boto3")
        return connection.call(operation, **address.parameters, **parameters)

    def _unsupported(self, operation: str, why: str) -> S3Unsupported:
        address = self._address
        return S3Unsupported(
            f"{operation} on {address.uri}: {why}.", operation=operation, bucket=address.bucket_name, key=address.key
        )

    def __repr__(self) -> str:
        return visible(f"<annotations of {self._address.uri}>")


def _checked(name: str) -> str:
    if not isinstance(name, str):
        raise TypeError(f"name must be text, not {type(name).__name__}")
    if not 1 <= len(name.encode("utf-8")) <= 512:
        raise ValueError(f"name must have 1 to 512 bytes of UTF-8, not {len(name.encode('utf-8')):,}")
    return name


def _condition(if_match: str | None) -> dict[str, str]:
    if if_match is None:
        return {}
    etags.check(if_match)
    return {"ObjectIfMatch": f'"{etags.opaque(if_match)}"'}
