"""The exceptions of the library, one class for each cause.

Each class also derives from the builtin exception for the same cause, if there is one. ``_client/translate.py`` maps the
errors of boto3 to these classes.

    S3Error                      base class of all; S3BucketException is messageflux's name for it
    ├── S3NoSuchBucket           (FileNotFoundError)
    ├── S3NoSuchItem             (FileNotFoundError)
    ├── S3AccessDenied           (PermissionError)
    ├── S3AuthenticationError    the credentials are missing, wrong or expired
    ├── S3ConnectionError        (ConnectionError) no response, or an incomplete one
    ├── S3BucketExists           (FileExistsError)
    ├── S3BucketNotEmpty
    ├── S3InvalidName            (ValueError) an invalid bucket name or key
    ├── S3PreconditionFailed     a condition did not hold; .outcome_unknown if a response was lost
    │   └── S3ObjectExists       (FileExistsError)
    ├── S3LockError              the lock has another holder (.lock_holder), was lost, or its file cannot be read
    ├── S3ChecksumError          the bytes received are not the bytes that were sent
    ├── S3InvalidContent         (ValueError) the content is not valid JSON, text or XML
    ├── S3ObjectChanged          the object changed while it was being read
    ├── S3ObjectArchived         the object is archived and must be restored first
    ├── S3BatchError             some operations of a batch failed: .failures, .succeeded
    ├── S3Throttled              the store limits the rate of requests
    ├── S3ServerError            the store failed (HTTP status 5xx)
    ├── S3Unsupported            the store does not support the operation
    └── S3NotInitializedError    default_store() was called before initialize()
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


def visible(text: str) -> str:
    """Escape characters that are not printable: control characters, bidirectional marks, lone surrogates.

    Example:
        >>> from messageflux_s3.errors import visible
        >>> visible("a\\x1b[31m")
        'a\\\\x1b[31m'
    """
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


class S3Error(Exception):
    """The base class of all errors of this library.

    Attributes:
        operation: S3's name of the operation (``"GetObject"``), if a single request failed.
        bucket: The bucket concerned.
        key: The key concerned.
        code: S3's error code (``"NoSuchKey"``).
        status: The HTTP status.
        request_id: The request's ID, which the operator of the store may ask for.
        retryable: Whether the same call may succeed later without any change.
        was_retried: Whether boto3 sent the request more than once. An earlier attempt may have succeeded although its response was lost.

    Example:
        >>> try:
        ...     bucket.get_object("missing")
        ... except s3.S3Error as error:
        ...     print(type(error).__name__, error.code, error.status)
        S3NoSuchItem NoSuchKey 404
    """

    _errno: ClassVar[int | None] = None

    def __init__(
        self,
        message: str = "",
        *,
        operation: str | None = None,
        bucket: str | None = None,
        key: str | None = None,
        code: str | None = None,
        status: int | None = None,
        request_id: str | None = None,
        retryable: bool = False,
        was_retried: bool = False,
    ) -> None:
        # Keys, and the texts of a store or of another client, could forge lines of a log, or control a terminal.
        super().__init__(visible(message) if isinstance(message, str) else message)
        self.operation = operation
        self.bucket = bucket
        self.key = key
        self.code = code
        self.status = status
        self.request_id = request_id
        self.retryable = retryable
        self.was_retried = was_retried
        self._fill_in_builtin()

    def _fill_in_builtin(self) -> None:
        """Set ``errno`` and ``filename`` if the error is also an OSError."""
        if isinstance(self, OSError):
            where = None if self.bucket is None else f"s3://{self.bucket}/{self.key or ''}"
            for name, value in (("errno", self._errno), ("filename", where)):
                setattr(self, name, value)

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""

    def __reduce__(self) -> tuple[Any, ...]:
        # OSError's own pickling would drop the attributes and call __init__ with an errno.
        return _rebuild, (type(self), self.args, self.__dict__.copy())


def _rebuild(cls: type[S3Error], args: tuple[Any, ...], attributes: dict[str, Any]) -> S3Error:
    error = cls(*args)
    error.__dict__.update(attributes)
    error._fill_in_builtin()
    return error


S3BucketException = S3Error
"""messageflux's name for :class:`S3Error`: the same class."""


class S3NoSuchBucket(S3Error, FileNotFoundError):
    """The bucket does not exist."""

    _errno = errno.ENOENT


class S3NoSuchItem(S3Error, FileNotFoundError):
    """The object, or this version of it, does not exist."""

    _errno = errno.ENOENT


class S3AccessDenied(S3Error, PermissionError):
    """The credentials are valid, but do not permit the operation.

    S3 also returns this error for a missing key if ``s3:ListBucket`` is not granted.
    """

    _errno = errno.EACCES


class S3AuthenticationError(S3Error):
    """The credentials are missing, wrong or expired, or differ from those with which the handle was pickled."""


class S3ConnectionError(S3Error, ConnectionError):
    """The store did not respond, or the response was incomplete."""

    _errno = errno.ECONNABORTED


class S3BucketExists(S3Error, FileExistsError):
    """A bucket of this name exists: your own (with ``exist_ok=False``), or one of another account."""

    _errno = errno.EEXIST


class S3BucketNotEmpty(S3Error):
    """The bucket still contains objects, versions or incomplete multipart uploads."""


class S3InvalidName(S3Error, ValueError):
    """The bucket name or key is not valid in S3."""


class S3PreconditionFailed(S3Error):
    """A condition of the request did not hold, or it cannot be determined whether the request was carried out.

    Unless ``outcome_unknown`` is set, nothing was written or deleted. ``retryable`` is set if concurrent writes prevented every attempt:
    the condition may still hold.

    Attributes:
        outcome_unknown: True if the request may have been carried out: its response was lost, and the object does not show whether it
            was. Read the object before you repeat the call, or repeat only a change that does no harm if it is made twice.

    Example:
        >>> obj = bucket.put_object("a", "1")
        >>> try:
        ...     obj.put("2", if_match="other-etag")
        ... except s3.S3PreconditionFailed as error:
        ...     print(error.status, error.outcome_unknown, obj.reload().text)
        412 False 1
    """

    def __init__(self, message: str = "", *, outcome_unknown: bool = False, **attributes: Any) -> None:
        super().__init__(message, **attributes)
        self.outcome_unknown = outcome_unknown


class S3ObjectExists(S3PreconditionFailed, FileExistsError):
    """The object was to be created, but it exists already."""

    _errno = errno.EEXIST


class S3LockError(S3Error):
    """The lock has another holder, was lost, or its file cannot be read.

    Attributes:
        lock_holder: The holder that the lock file names; None if the lock was lost or its file cannot be read.
    """

    def __init__(self, message: str = "", *, lock_holder: Any = None, **attributes: Any) -> None:
        super().__init__(message, **attributes)
        self.lock_holder = lock_holder


class S3ChecksumError(S3Error):
    """The bytes received are not the bytes that were sent."""


class S3InvalidContent(S3Error, ValueError):
    """The content is not valid JSON, text or XML. ``__cause__`` is the parser's error."""


class S3ObjectChanged(S3Error):
    """The object was replaced or deleted while it was being read."""


class S3ObjectArchived(S3Error):
    """The object is in an archive storage class and must be restored before it can be read."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A key on which an operation of a batch failed.

    Attributes:
        key: The key.
        version_id: The version ID, if one was given.
        error: The error.
    """

    key: str
    version_id: str | None
    error: S3Error


class S3BatchError(S3Error):
    """Some operations of a batch failed; the others were carried out.

    Attributes:
        failures: The keys that failed, each with its error.
        succeeded: The keys that succeeded.
    """

    def __init__(
        self, message: str = "", *, failures: Sequence[Failure] = (), succeeded: Sequence[str] = (), **attributes: Any
    ) -> None:
        super().__init__(message, **attributes)
        self.failures: list[Failure] = list(failures)
        self.succeeded: list[str] = list(succeeded)


class S3Throttled(S3Error):
    """The store rejected the request and all its retries in order to limit the request rate."""


class S3ServerError(S3Error):
    """The store answered the request and all its retries with a status of 5xx."""


class S3Unsupported(S3Error):
    """The store does not support the operation, or cannot carry it out safely. No harmful request was sent."""


class S3NotInitializedError(S3Error):
    """default_store() was called before initialize()."""
