"""The result of ``AsyncS3Object.presigned_parts``."""

from __future__ import annotations

from .._objects.presigned_parts import PresignedParts
from .engine import Engine
from .twins import twin_of_write


class AsyncPresignedParts:
    """An upload in parts through presigned URLs: the async counterpart of ``PresignedParts``."""

    def __init__(self, parts: PresignedParts, engine: Engine) -> None:
        self._parts = parts
        self._engine = engine

    @property
    def _twin(self) -> PresignedParts:
        return self._parts

    @property
    def upload_id(self) -> str:
        """S3's ID of the upload. Requests: none."""
        return self._parts.upload_id

    @property
    def urls(self) -> tuple[str, ...]:
        """The URLs, in the order of the parts. Requests: none."""
        return self._parts.urls

    complete = twin_of_write(PresignedParts.complete)
    """Make the object from its parts. Requests: as ``PresignedParts.complete``."""

    abort = twin_of_write(PresignedParts.abort)
    """Delete the parts and end the upload. Requests: 1 DELETE."""

    def __repr__(self) -> str:
        return f"Async{self._parts!r}"
