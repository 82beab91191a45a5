"""What can go wrong, one class a cause.

This room holds names only: it knows neither boto3 nor how an error is recognised (that is ``translate.py``). Each class is also the
builtin that a Python programmer would catch for the same thing.

    S3Error                      anything S3 or the way to it answered; also called S3BucketException
    ├── S3NoSuchBucket           (FileNotFoundError)
    ├── S3NoSuchItem             (FileNotFoundError)
    ├── S3AccessDenied           (PermissionError)
    ├── S3AuthenticationError    the credentials are missing, wrong or expired
    ├── S3ConnectionError        (ConnectionError) nobody answered, or not to the end
    ├── S3BucketExists           (FileExistsError)
    ├── S3BucketNotEmpty
    ├── S3InvalidName            (ValueError) a bucket name or key that S3 does not take
    ├── S3PreconditionFailed     a condition did not hold; .outcome_unknown where nobody can know
    │   └── S3ObjectExists       (FileExistsError)
    ├── S3LockError              the lock has another holder (.lock_holder), was lost, or its file cannot be read
    ├── S3ChecksumError          the bytes are not the bytes that were sent
    ├── S3InvalidContent         (ValueError) the content is not the JSON or text that it was read as
    ├── S3ObjectChanged          the object changed while it was being read
    ├── S3ObjectArchived         the object lies in an archive and must be restored first
    ├── S3BatchError             some of many failed: .failures, .succeeded
    ├── S3Throttled              the store asks for fewer requests
    ├── S3ServerError            the store failed
    ├── S3Unsupported            this store cannot do that
    └── S3NotInitializedError    default_store() before initialize()
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


class S3Error(Exception):
    """The root of every error of this library.

    Attributes:
        operation: S3's own name of what was attempted (``"GetObject"``), if one request stood behind it.
        bucket: The bucket concerned.
        key: The key concerned.
        code: S3's error code (``"NoSuchKey"``).
        status: The HTTP status.
        request_id: What the store's operators ask for.
        retryable: Whether the same call may succeed later without any change.

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
    ) -> None:
        if (
            isinstance(key, str) and not key.isprintable()
        ):  # a line end in a key begins no line of a log, an escape acts on no terminal
            message = message.replace(key, repr(key)[1:-1])
        super().__init__(message)
        self.operation = operation
        self.bucket = bucket
        self.key = key
        self.code = code
        self.status = status
        self.request_id = request_id
        self.retryable = retryable
        self._fill_in_builtin()

    def _fill_in_builtin(self) -> None:
        """Give the builtin's own attributes their values, where this is also an OSError."""
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


class S3NoSuchBucket(S3Error, FileNotFoundError):
    """There is no bucket of this name."""

    _errno = errno.ENOENT


class S3NoSuchItem(S3Error, FileNotFoundError):
    """There is no object (or no such version of it) under this key."""

    _errno = errno.ENOENT


class S3AccessDenied(S3Error, PermissionError):
    """The store knows who asks and refuses. A missing key looks the same where ``s3:ListBucket`` is not granted."""

    _errno = errno.EACCES


class S3AuthenticationError(S3Error):
    """The credentials are missing, wrong, expired, or not those of the process that pickled the handle."""


class S3ConnectionError(S3Error, ConnectionError):
    """Nobody answered, or the answer did not arrive whole."""

    _errno = errno.ECONNABORTED


class S3BucketExists(S3Error, FileExistsError):
    """A bucket of this name exists: ours (with ``exist_ok=False``) or somebody else's."""

    _errno = errno.EEXIST


class S3BucketNotEmpty(S3Error):
    """The bucket still holds objects, versions or unfinished uploads."""


class S3InvalidName(S3Error, ValueError):
    """S3 does not take this bucket name or key."""


class S3PreconditionFailed(S3Error):
    """A condition of the request did not hold; nothing was written.

    Attributes:
        outcome_unknown: True where an answer was lost and nobody can know whether the write took place before it was overwritten.
    """

    def __init__(self, message: str = "", *, outcome_unknown: bool = False, **attributes: Any) -> None:
        super().__init__(message, **attributes)
        self.outcome_unknown = outcome_unknown


class S3ObjectExists(S3PreconditionFailed, FileExistsError):
    """The object was to be created and is there already."""

    _errno = errno.EEXIST


class S3LockError(S3Error):
    """The lock has another holder, was lost, or its file cannot be read.

    Attributes:
        lock_holder: Who has it, as far as the lock file says; None where it was lost or cannot be read.
    """

    def __init__(self, message: str = "", *, lock_holder: Any = None, **attributes: Any) -> None:
        super().__init__(message, **attributes)
        self.lock_holder = lock_holder


class S3ChecksumError(S3Error):
    """The bytes that arrived are not the bytes that were sent."""


class S3InvalidContent(S3Error, ValueError):
    """The content is not what it was read as: JSON, text, or a document of S3. ``__cause__`` has the parser's own error."""


class S3ObjectChanged(S3Error):
    """The object was replaced or deleted while it was being read."""


class S3ObjectArchived(S3Error):
    """The object lies in an archive class and must be restored before it can be read."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One key of many that failed.

    Attributes:
        key: The key.
        version_id: The version, where one was named.
        error: What went wrong.
    """

    key: str
    version_id: str | None
    error: S3Error


class S3BatchError(S3Error):
    """Some of many operations failed; the others took place.

    Attributes:
        failures: The keys that failed, each with its error.
        succeeded: The keys that were done.
    """

    def __init__(
        self, message: str = "", *, failures: Sequence[Failure] = (), succeeded: Sequence[str] = (), **attributes: Any
    ) -> None:
        super().__init__(message, **attributes)
        self.failures: list[Failure] = list(failures)
        self.succeeded: list[str] = list(succeeded)


class S3Throttled(S3Error):
    """The store asks for fewer requests, and went on asking after the retries."""


class S3ServerError(S3Error):
    """The store failed, and went on failing after the retries."""


class S3Unsupported(S3Error):
    """This store cannot do that, or cannot be trusted to; nothing was sent that could do harm."""


class S3NotInitializedError(S3Error):
    """default_store() was asked for before initialize()."""
