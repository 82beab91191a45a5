"""A multipart upload with concurrent parts.

The callers (``_files``) read the source and choose the parts' sizes.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Any

from .._client.addresses import ObjectAddress
from .._client.context_threads import ContextThreadPool
from .._client.exchange import Request, connect_ahead, connections_ahead, exchange, lane_state
from .._formats import etags
from ..errors import S3ConnectionError, S3Error, S3NoSuchItem, S3Unsupported
from . import checksum, confirmation, etag_md5, put_parameters, tagging
from .etag_conditions import in_condition
from .interrupts import run_to_the_end
from .parallelism import Parallelism, first_for, most_bytes_for

logger = logging.getLogger("messageflux_s3")

MIN_PART_BYTES = 5 * 1024 * 1024
"""Minimum size of all parts but the last."""
MAX_PART_BYTES = 5 * 1024**3
"""The largest part that S3 accepts."""
MAX_PARTS = 10_000

UPLOAD_IS_LEFT = "UploadIsLeft"
"""Key in the result of a conditional completion: an earlier upload of the same content made the object, so this upload is aborted."""


_LATENCY = "seconds_to_create_an_upload"
"""The fact of a connection that tells how long the latest CreateMultipartUpload took."""
_FAR_SECONDS = 0.005


class MultipartUpload:
    """A multipart upload. It is created when the first part is added, and ends with :meth:`complete` or :meth:`abort`.

    Parts are numbered in the order in which they are added. The number of parts in flight adapts to the throughput. As a context manager
    it aborts the upload if the block did not complete it, since the store keeps and charges for the parts of an incomplete upload.

    Args:
        address: The object to make; it has no version ID.
        parameters: Parameters of PutObject or CreateMultipartUpload, under S3's own names (``Metadata`` already encoded). The requests for
            parts and the completion get those that they need: a customer key, the checksum algorithm, a checksum of the whole object.
        concurrency: The maximum number of parts that are sent at the same time, and held in memory; one more is being added.
        verify_checksum: Whether to send each part's MD5 and compare the returned ETag, if boto3 sends no checksum itself.
        copies_only: Whether all parts will be copied by the store. Then no checksum algorithm is set unless the user gives one.

    Requests:
        1 POST at the first part, 1 PUT per part, 1 POST to complete or 1 DELETE to abort; on a store that is not AWS also those of
        :func:`~messageflux_s3._objects.confirmation.steps`.
    """

    def __init__(
        self,
        address: ObjectAddress,
        *,
        parameters: Mapping[str, Any] | None = None,
        concurrency: int = 4,
        verify_checksum: bool = True,
        copies_only: bool = False,
    ) -> None:
        self._address = address
        self._parameters = dict(parameters or {})
        self._of_whole = checksum.of_whole(self._parameters)
        if self._of_whole:
            self._parameters["ChecksumType"] = "FULL_OBJECT"  # as boto3's own transfers do
        self._copies_only = copies_only
        self._algorithm: str | None = None  # the checksum algorithm that the upload is created with
        self._verify_checksum = verify_checksum
        self._concurrency = max(1, min(concurrency, address.connection.max_concurrency))
        self._parallelism = Parallelism(self._concurrency, self._concurrency)
        self._executor: ThreadPoolExecutor | None = None
        self._pid = os.getpid()
        self._waiting: deque[Future[dict[str, Any]]] = deque()
        self._parts: list[dict[str, Any]] = []
        self._next_number = 1
        self._first_size = 0  # of the first part that was not copied
        self._upload_id: str | None = None
        self._is_over = False
        self.on_sent: Callable[[int], None] | None = None
        """Called with the size of each part that was sent, in the thread that sent it. An exception that it raises fails the upload."""

    @classmethod
    def existing(
        cls, address: ObjectAddress, upload_id: str, parts: list[dict[str, Any]], parameters: Mapping[str, Any]
    ) -> MultipartUpload:
        """Return an existing upload, whose parts others have sent, to complete or abort it.

        Args:
            address: The object to make.
            upload_id: The ID of the upload.
            parts: The number and the ETag of each part, as CompleteMultipartUpload takes them.
            parameters: The parameters with which the upload was created.
        """
        upload = cls(address, parameters=parameters, copies_only=True)
        upload._upload_id, upload._parts = upload_id, parts
        return upload

    def begin(self) -> str:
        """Create the upload if it does not exist yet.

        Returns:
            The upload ID.

        Raises:
            S3Unsupported: The store ignores a parameter of uploads in parts; nothing was sent.
        """
        if self._upload_id is None:
            confirmation.require(self._address, "CreateMultipartUpload", self._parameters)
            created = self._parameters_of_creation()
            connection = self._address.connection
            _ = connection.client  # building it is not a part of the latency
            if not self._copies_only:
                self._connect_ahead()
            began = time.monotonic()
            answer = connection.call("CreateMultipartUpload", **self._address.parameters, **created)
            latency = connection.facts[_LATENCY] = time.monotonic() - began
            if not answer.get("UploadId"):
                raise S3ConnectionError(
                    f"CreateMultipartUpload on {self._address.uri}: the response was incomplete",
                    operation="CreateMultipartUpload", bucket=self._address.bucket_name, key=self._address.key, retryable=True,
                )  # fmt: skip
            # Set this first: an upload whose ID was lost by an interrupt cannot be aborted.
            self._upload_id = str(answer["UploadId"])
            if not self._copies_only:
                self._parallelism = Parallelism(self._concurrency, first_for(latency))
        return self._upload_id

    def _connect_ahead(self) -> None:
        """Open the lane's connections for the first parts while the upload is being created, if the store is known to be far away."""
        latency, bucket = self._address.connection.facts.get(_LATENCY, 0.0), self._address.bucket
        if latency < _FAR_SECONDS or lane_state(bucket) != "open":
            return
        for _ in range(min(self._concurrency, first_for(latency)) - connections_ahead(bucket)):
            self._threads().submit(connect_ahead, bucket)

    def _threads(self) -> ThreadPoolExecutor:
        if self._executor is None:
            self._executor = ContextThreadPool(self._concurrency, "messageflux-s3-parts")
        return self._executor

    def _parameters_of_creation(self) -> dict[str, Any]:
        created = {
            name: value
            for name, value in self._parameters.items()
            if name != "MpuObjectSize" and name not in self._of_whole
        }
        if self._of_whole or "ChecksumAlgorithm" in self._parameters or not self._copies_only:
            self._algorithm = checksum.algorithm_of_parts(self._address.connection, self._parameters)
        if self._algorithm is not None:
            if not self._copies_only and not self._address.connection.can_compute(self._algorithm):
                raise ImportError(
                    f"an upload in parts with {self._algorithm.upper()} needs the checksum of each part, which botocore computes only with "
                    "its extra crt: pip install 'botocore[crt]', or pass ChecksumCRC32 or ChecksumAlgorithm='SHA256'"
                )
            created["ChecksumAlgorithm"] = self._algorithm
        return created

    def add_part(self, body: Any, **parameters: Any) -> None:
        """Send a part in the background; wait first until fewer than the allowed number of parts are being sent.

        Args:
            body: Bytes. They must not be changed until the upload has ended.
            parameters: Further parameters of UploadPart.

        Raises:
            S3Error: An earlier part failed.
        """
        if self._of_whole or "ChecksumAlgorithm" in self._parameters:
            parameters = {
                "ChecksumAlgorithm": checksum.algorithm_of_parts(self._address.connection, self._parameters),
                **parameters,
            }
        self._submit("UploadPart", Body=body, **parameters)

    def copy_part(
        self, source: Mapping[str, str], start: int, end: int, *, if_match: str | None = None, **parameters: Any
    ) -> None:
        """Let the store copy a range of an object into a part.

        Args:
            source: boto3's ``CopySource``.
            start: The first byte.
            end: The byte after the last one.
            if_match: ETag of the source, without quotes, sent as the condition of the copy.
            parameters: Further parameters of UploadPartCopy.

        Raises:
            S3Error: An earlier part failed.
        """
        # A proxy may have marked the ETag as weak: send it without the mark. If the store has another ETag, it rejects the copy.
        condition = {} if if_match is None else {"CopySourceIfMatch": in_condition(self._address.connection, if_match)}
        self._submit(
            "UploadPartCopy",
            CopySource=dict(source),
            CopySourceRange=f"bytes={start}-{end - 1}",
            **condition,
            **parameters,
        )

    def _submit(self, operation: str, **parameters: Any) -> None:
        if self._is_over:
            raise ValueError("this upload has ended; parts cannot be added")
        if self._next_number > MAX_PARTS:
            raise ValueError(f"an object has at most {MAX_PARTS:,} parts; use larger parts")
        upload_id = self.begin()
        parameters = {**self._given(put_parameters.FOR_EVERY_REQUEST), **parameters}
        md5: Any = None
        if self._parallelism.is_full and operation == "UploadPart" and self._wants_md5(parameters):
            md5 = hashlib.md5(parameters["Body"], usedforsecurity=False)  # rather than only wait
        if operation == "UploadPart":
            self._wait_for_memory(len(parameters["Body"]))
        self._parallelism.acquire()
        try:
            self._collect_done()
            number, self._next_number = self._next_number, self._next_number + 1
            parameters = {"UploadId": upload_id, "PartNumber": number, **self._address.parameters, **parameters}
            self._waiting.append(self._threads().submit(self._send, operation, parameters, md5))
        except BaseException:
            self._parallelism.release()
            raise

    def _wait_for_memory(self, size: int) -> None:
        """Wait until the parts in flight, with this one, have at most the largest size. Parts that grow would else need more and more."""
        self._first_size = self._first_size or size
        while self._waiting and (len(self._waiting) + 1) * size > most_bytes_for(self._first_size):
            wait(self._waiting, return_when=FIRST_COMPLETED)
            self._collect_done()

    def _wants_md5(self, parameters: Mapping[str, Any]) -> bool:
        return self._verify_checksum and checksum.is_wanted(self._address.connection, parameters)

    def _send(self, operation: str, parameters: dict[str, Any], md5: Any) -> dict[str, Any]:
        try:
            return self._sent(operation, parameters, md5)
        finally:
            self._parallelism.release()

    def _sent(self, operation: str, parameters: dict[str, Any], md5: Any) -> dict[str, Any]:
        connection = self._address.connection
        if operation == "UploadPart" and self._wants_md5(parameters):
            encrypted = checksum.is_encrypted(self._parameters)
            answer = checksum.call(
                connection, operation, parameters, encrypted=encrypted, md5=md5, send=self._upload_part
            )
        elif operation == "UploadPart":
            answer = self._upload_part(operation, **parameters)
        else:
            answer = connection.call(operation, **parameters)
        result = answer.get("CopyPartResult", {}) if operation == "UploadPartCopy" else answer
        if "ETag" not in result:
            raise S3Unsupported(f"{operation} on {self._address.uri}: the store answered without an ETag")
        if self.on_sent is not None and operation == "UploadPart":
            self.on_sent(len(parameters["Body"]))
        return {
            "PartNumber": parameters["PartNumber"],
            "ETag": result["ETag"],
            **checksum.of_part(self._algorithm, result),
        }

    def _given(self, names: tuple[str, ...]) -> dict[str, Any]:
        return {name: self._parameters[name] for name in names if name in self._parameters}

    def _upload_part(self, operation: str, *, Bucket: str, Key: str, Body: Any, **parameters: Any) -> dict[str, Any]:
        """Send a part through the lane or boto3, and record how it went."""
        parallelism = self._parallelism
        connection = self._address.connection
        gives_checksum = any(name.startswith("Checksum") for name in parameters)
        if self._algorithm == "CRC32" and not gives_checksum and lane_state(self._address.bucket) == "open":
            parameters["ChecksumCRC32"] = checksum.crc32_of(Body)  # boto3 would add it; the lane does not
            gives_checksum = True
        # boto3 must add every checksum that was not computed here, even if the lane becomes usable between lane_state() and exchange().
        is_for_boto3 = self._algorithm is not None and not gives_checksum
        answer = exchange(
            connection,
            Request(operation, Bucket, Key, parameters, Body, is_for_boto3=is_for_boto3, progress=parallelism.note),
        )
        if not answer.is_of_lane:
            parallelism.note(len(Body))
        if answer.was_repeated:
            parallelism.note_trouble()
        return dict(answer.parsed or {})

    def _collect_done(self) -> None:
        """Take the results of the parts that were sent; raise the error of one that failed."""
        for sent in [sent for sent in self._waiting if sent.done()]:
            self._waiting.remove(sent)
            try:
                self._parts.append(sent.result())
            except S3NoSuchItem as error:
                raise self._cause_in_another_part(error) or error  # noqa: B904 - another part's error has its own cause

    def _cause_in_another_part(self, error: S3NoSuchItem) -> BaseException | None:
        """Return why the upload is gone, if another part was refused: some stores drop an upload with a part whose checksum differs."""
        if error.code != "NoSuchUpload":
            return None
        started = [sent for sent in self._waiting if not sent.cancel()]
        failures = (sent.exception() for sent in started)
        return next((one for one in failures if one is not None and getattr(one, "code", None) != error.code), None)

    def settle(self) -> None:
        """Wait until every part added so far has been sent.

        Raises:
            S3Error: A part failed.
        """
        wait(self._waiting, return_when=FIRST_EXCEPTION)
        self._collect_done()
        self._parts.sort(key=lambda part: int(part["PartNumber"]))

    def complete(self, finish: Callable[..., dict[str, Any]] | None = None, **parameters: Any) -> dict[str, Any]:
        """Wait for the parts and complete the upload.

        Args:
            finish: Called in place of ``connection.call``, with the same arguments (for a conditional completion).
            parameters: Further parameters of CompleteMultipartUpload.

        Returns:
            boto3's response. If it has no ETag, the ETag is added, unless it cannot be determined.

        Raises:
            S3Error: A part or the completion failed: abort the upload. Or the object was made, but its tags could not be put.

        Requests:
            1 POST, and 1 HEAD if a response was lost and the retry failed with NoSuchUpload, or if the response and the parts do not give
            the ETag; with tags, on a store that is not AWS, those
            of :func:`~messageflux_s3._objects.tagging.ensure_after_upload`
        """
        upload_id = self.begin()
        self.settle()
        call = finish or self._address.connection.call
        try:
            answer = call(
                "CompleteMultipartUpload",
                UploadId=upload_id,
                MultipartUpload={"Parts": self._parts},
                **self._address.parameters,
                **{
                    **self._given(put_parameters.FOR_EVERY_REQUEST + checksum.ONLY_IN_PARTS),
                    **self._of_whole,
                    **parameters,
                },
            )
        except S3NoSuchItem as error:
            if finish is not None or error.code != "NoSuchUpload" or not error.was_retried:
                raise
            answer = self._found_made(error)
        if answer.get(UPLOAD_IS_LEFT):
            self.abort()
        self._end()
        written = self._address._replace(version_id=answer.get("VersionId"))
        if etags.unquoted(answer.get("ETag")) is None:  # radosgw may complete an upload without returning the ETag
            answer = {**answer, "ETag": self._etag_of(written)}
        tagging.ensure_after_upload(written, self._parameters.get("Tagging"), answer["ETag"])
        return answer

    def _etag_of(self, written: ObjectAddress) -> str | None:
        """Return the completed object's ETag: computed from the parts' ETags, else from a HEAD; None if the HEAD fails."""
        if not checksum.is_encrypted(self._parameters):
            computed = etag_md5.of_parts([part["ETag"] for part in self._parts])
            if computed is not None:
                return f'"{computed}"'
        try:
            found = written.connection.call(
                "HeadObject", **written.parameters, **self._given(put_parameters.FOR_EVERY_REQUEST)
            )
        except S3Error:  # the object was made: a missing ETag is no failure
            return None
        return str(found["ETag"])

    def _found_made(self, error: S3NoSuchItem) -> dict[str, Any]:
        """Return the object's HEAD response in place of the lost response to the completion, whose retry failed with NoSuchUpload.

        Raises:
            S3ConnectionError: The object's ETag does not show that it was made of these parts.
        """
        answer = self._address.connection.call(
            "HeadObject", **self._address.parameters, **self._given(put_parameters.FOR_EVERY_REQUEST)
        )
        if etag_md5.md5_of_parts(answer) == etag_md5.of_parts([part["ETag"] for part in self._parts]) is not None:
            return answer
        raise S3ConnectionError(
            f"CompleteMultipartUpload on {self._address.uri}: the response was lost, and the upload "
            "no longer exists: it was completed, or another client has aborted it",
            operation="CompleteMultipartUpload", bucket=self._address.bucket_name, key=self._address.key, retryable=True,
        ) from error  # fmt: skip

    def abort(self) -> None:
        """Abort the upload: drop the parts not yet sent, and delete the others. Errors of the store are logged, not raised.

        If it is interrupted, the parts that are being sent are not waited for any longer, but the upload is aborted all the same.
        """
        if self._is_over:
            return
        pending, executor = list(self._waiting), self._executor
        if self._pid != os.getpid() or self._upload_id is None:
            if self._pid == os.getpid():  # in a forked child, a thread that it does not have may hold a future's lock
                for waiting in pending:
                    waiting.cancel()
            self._end()
            return  # nothing was sent, or the upload belongs to the parent process
        self._is_over = True
        try:
            # A part that arrives after the abort would be kept by the store. Wait for the threads, not only for the parts in _waiting: an
            # interrupt while a thread was started leaves a part that is not there.
            if executor is not None:
                executor.shutdown(wait=True, cancel_futures=True)
            for sent in pending:  # where this runs on one of the threads, shutdown() does not wait
                if not sent.cancelled():
                    sent.exception()
        finally:
            self._end()
            run_to_the_end(self._send_abort)

    def _send_abort(self) -> None:
        try:
            given = self._given(("RequestPayer", "ExpectedBucketOwner"))
            self._address.connection.call(
                "AbortMultipartUpload", UploadId=self._upload_id, **self._address.parameters, **given
            )
        except S3NoSuchItem:
            return  # the upload is gone already: AWS deletes it when a conditional completion fails
        except S3Error as error:
            logger.warning("the incomplete upload of %s could not be aborted", self._address.uri, exc_info=error)

    def leave_open(self) -> None:
        """Release this instance without ending the upload, whose parts others will send. Requests: none."""
        self._end()

    def _end(self) -> None:
        self._is_over = True
        self._waiting.clear()
        executor, self._executor = self._executor, None
        if executor is not None and self._pid == os.getpid():
            executor.shutdown(wait=False)

    def __enter__(self) -> MultipartUpload:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.abort()
