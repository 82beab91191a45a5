"""An upload in parts through presigned URLs: others send the parts, without credentials, and the owner completes the upload."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from .._client.addresses import ObjectAddress
from .._formats import etags as etag_text
from .._formats import metadata as user_metadata
from ..errors import S3NoSuchItem
from . import metadata_names
from .multipart import MAX_PARTS, MultipartUpload
from .presigning import Signer, check_credentials, presigned_by_boto3, seconds_of
from .put_parameters import FOR_EVERY_REQUEST, s3_parameters


@dataclass(frozen=True, slots=True, repr=False)
class PresignedParts:
    """An upload in parts, and the presigned URLs to which its parts are sent with PUT; returned by ``obj.presigned_parts(count)``.

    Each part but the last must have at least 5 MiB; the last URLs may stay unused. The response to each PUT has a header ``ETag``: pass
    these ETags to :meth:`complete`, or call :meth:`abort`, since the store keeps and charges for the parts of an unfinished upload. Keep
    the URLs secret: anyone who has one can send that part.

    Attributes:
        upload_id: S3's ID of the upload. Another process can continue with it: ``obj.presigned_parts(count, upload_id=…)``.
        urls: The URLs, in the order of the parts.
    """

    upload_id: str
    urls: tuple[str, ...]
    _address: ObjectAddress = field(compare=False)
    _parameters: Mapping[str, Any] = field(compare=False)

    def complete(self, etags: Sequence[str]) -> None:
        """Make the object from its parts.

        Args:
            etags: The ETags of the responses to the PUTs, in the order of the URLs; fewer than the URLs if the last ones were not used.

        Raises:
            TypeError: ``etags`` is not a sequence of text.
            ValueError: There are no ETags, or more than URLs, or one is empty.
            S3NoSuchItem: The upload was already completed or aborted.
            S3Error: A part is missing or too small, or has another ETag; the upload still exists.

        Requests:
            1 POST; in rare cases more, as when ``upload_object`` completes an upload
        """
        if isinstance(etags, (str, bytes)) or not isinstance(etags, Sequence):
            raise TypeError(f"etags must be a sequence of ETags, not {type(etags).__name__}")
        if not 1 <= len(etags) <= len(self.urls):
            raise ValueError(f"etags must be those of 1 to {len(self.urls)} parts, not {len(etags)}")
        parts = []
        for number, etag in enumerate(etags, 1):
            if not isinstance(etag, str):
                raise TypeError(f"etags must be text: that of part {number} is {type(etag).__name__}")
            if not etag_text.opaque(etag):
                raise ValueError(
                    f"the ETag of part {number} is empty: did the response to its PUT have the header ETag?"
                )
            parts.append({"PartNumber": number, "ETag": f'"{etag_text.opaque(etag)}"'})
        MultipartUpload.existing(self._address, self.upload_id, parts, self._parameters).complete()

    def abort(self) -> None:
        """Delete the parts and end the upload; succeeds if the upload has already ended. Requests: 1 DELETE."""
        try:
            self._address.connection.call("AbortMultipartUpload", UploadId=self.upload_id, **self._address.parameters)
        except S3NoSuchItem:
            return

    def __repr__(self) -> str:
        return f"PresignedParts({self._address.uri!r}, {len(self.urls)} parts)"


def presigned_parts(
    address: ObjectAddress,
    count: int,
    expires_in: int | timedelta,
    metadata: Mapping[str, str] | None,
    upload_id: str | None,
    extra: Mapping[str, Any],
) -> PresignedParts:
    """Begin an upload in parts, or continue one, and sign the URLs of its parts.

    Args:
        address: The object, without a version.
        count: The number of parts.
        expires_in: Validity in seconds or as a timedelta: 1 second to 7 days.
        metadata: User metadata of the object.
        upload_id: ID of an existing upload; None for a new one.
        extra: Further parameters (:class:`PutParameters`) of the object.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is invalid, or cannot be combined with ``upload_id``.
        S3AuthenticationError: There are no credentials to sign with.

    Requests:
        1 POST, none with ``upload_id`` (on AWS also 1 HEAD for each bucket's region, cached)
    """
    if isinstance(count, bool) or not isinstance(count, int):
        raise TypeError(f"count must be a whole number of parts, not {type(count).__name__}")
    if not 1 <= count <= MAX_PARTS:
        raise ValueError(f"count must be 1 to {MAX_PARTS:,} parts, not {count:,}")
    if upload_id is not None and not isinstance(upload_id, str):
        raise TypeError(f"upload_id must be text, not {type(upload_id).__name__}")
    if upload_id is not None and not upload_id:
        # A store may ignore an empty uploadId, and write or delete the object itself.
        raise ValueError("upload_id is empty; PresignedParts.upload_id is the ID of an upload")
    if upload_id is not None and (metadata is not None or extra):
        raise ValueError(
            "an existing upload keeps the metadata and parameters that it was begun with: leave them out with upload_id="
        )
    encoded = user_metadata.encode(metadata)
    parameters = {"Metadata": encoded, **s3_parameters(address.key, extra)}
    for name in parameters:
        if name in FOR_EVERY_REQUEST or name.startswith("Checksum") or name == "ContentMD5":
            raise ValueError(
                f"{name} cannot be used here: the requests that send the parts would have to contain it too"
            )
    seconds = seconds_of(expires_in)
    signer = Signer(address, seconds) if address.bucket.own_url is None else None
    if signer is None:
        check_credentials(address.bucket, seconds)

    def urls(upload_id: str) -> tuple[str, ...]:
        numbers = range(1, count + 1)
        if signer is not None:
            return tuple(signer.url("PUT", {"partNumber": str(number), "uploadId": upload_id}) for number in numbers)
        return tuple(
            presigned_by_boto3(address, "upload_part", seconds, {"PartNumber": number, "UploadId": upload_id})
            for number in numbers
        )

    if upload_id is not None:
        return PresignedParts(upload_id, urls(upload_id), address, parameters)
    if encoded:
        metadata_names.require(address, encoded)
    with MultipartUpload(address, parameters=parameters, copies_only=True) as upload:  # aborted if signing fails
        upload_id = upload.begin()
        begun = PresignedParts(upload_id, urls(upload_id), address, parameters)
        upload.leave_open()
    return begun
