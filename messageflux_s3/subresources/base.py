"""Reading, merging and writing of a sub-resource: a configuration that S3 keeps under ``?something`` in the URL of a bucket or object.

Some stores ignore a query string that they do not support: there ``PUT key?tagging`` overwrites the object, and ``DELETE bucket?policy``
deletes the bucket. So on a store that is not AWS nothing is ever written before a read has shown that the store supports the sub-resource,
by the root element of the response or by the error code for a missing configuration. Every write and every deletion is read back on such a
store, and whatever fails after a write was sent, the former configuration is restored.
"""

from __future__ import annotations

import difflib
import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, Protocol, TypeVar, cast

from .._client.addresses import BucketAddress, ObjectAddress
from .._client.connection import Connection
from .._client.hooks import root_name
from .._formats import render
from .._formats.plain import plain
from ..errors import S3ConnectionError, S3Error, S3InvalidContent, S3PreconditionFailed, S3Unsupported

logger = logging.getLogger("messageflux_s3")

_RESTORE_READS = 4
"""How often the configuration is read to see whether it was restored; before each read but the first it is written."""

_MAX_RESTORE_FAILURES = 3
"""Failed requests and interrupts after which restoring is given up, so that a user can still end the process."""

_MAX_SHOWN = 500
"""Characters of a configuration that are shown in a message."""


class Value(Protocol):
    """A configuration as a frozen value."""

    def to_api(self) -> Any:
        """Return the configuration in the form that S3 expects."""

    def lines(self) -> list[str]:
        """Return the configuration as text, one entry after the other; lines that continue an entry are indented."""


V = TypeVar("V", bound=Value)


@dataclass(frozen=True)
class Change(Generic[V]):
    """A change to a configuration. Print it to see it as a diff.

    Attributes:
        what: The setting and the bucket or object that it belongs to.
        before: The configuration that was read.
        after: The configuration with the change.
        applied: Whether the change was made.
    """

    what: str
    before: V
    after: V
    _merged: Callable[[V], V]
    _read: Callable[[], V]
    _write: Callable[[V], None]
    applied: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether ``before`` and ``after`` are the same."""
        return self.before.lines() == self.after.lines()

    def apply(self) -> Change[V]:
        """Make exactly this change. Does nothing if the change is empty or applied already.

        The configuration is read again first, so that entries which other clients have changed in the meantime are kept.

        Returns:
            The same change, applied.

        Raises:
            S3PreconditionFailed: Another client has changed the same entries since ``before`` was read. Nothing was written.

        Requests:
            none, or 1 read and 1 write (on a store that is not AWS 2 more reads)
        """
        if self.applied or self.is_empty:
            return replace(self, applied=True)
        now = self._read()
        wanted = self._merged(now)
        if _changes(now, wanted) != _changes(self.before, self.after):
            raise S3PreconditionFailed(
                f"{self.what} was changed since this change was planned; nothing was written. Plan the change again."
            )
        self._write(wanted)
        return replace(self, applied=True)

    def __str__(self) -> str:
        if self.is_empty:
            return render.visible(f"{self.what}: no change")
        diff = difflib.unified_diff(self.before.lines(), self.after.lines(), "now", "then", n=2, lineterm="")
        return "\n".join(render.visible(line) for line in [f"{self.what}:", *diff])

    def __repr__(self) -> str:
        return f"<Change {self}>"

    def _repr_html_(self) -> str:
        title, _, diff = str(self).partition("\n")
        return render.text_block(title.removesuffix(":"), diff).html if diff else render.facts(title, []).html


def _changes(before: Value, after: Value) -> tuple[list[str], list[str]]:
    """Return the entries that a change removes, and those that it adds."""
    old, new = _entries(before), _entries(after)
    return [entry for entry in old if entry not in new], [entry for entry in new if entry not in old]


def _entries(value: Value) -> list[str]:
    """Split the lines into entries: an entry is a line and the indented lines after it."""
    lines = value.lines()
    return re.split(r"\n(?! )", "\n".join(lines)) if lines else []


T = TypeVar("T")


def in_place(entries: tuple[T, ...], entry: T, is_same: Callable[[T], bool]) -> tuple[T, ...]:
    """Put ``entry`` in place of the first entry for which ``is_same`` is true, else at the end; drop the other ones. Order may matter."""
    at = next((number for number, known in enumerate(entries) if is_same(known)), len(entries))
    after = tuple(known for known in entries[at:] if not is_same(known))
    return (*entries[:at], entry, *after)


def check_entries(name: str, entries: object, kind: type[T], hint: str = "") -> tuple[T, ...]:
    """Return the entries of a configuration as a tuple. A generator is read here, once: a second reading would find nothing.

    Raises:
        TypeError: These are no entries of this class. The letters of a text, and the names of a mapping, would be taken for entries.
    """
    what = f"{name} must be a tuple of {'strings' if kind is str else kind.__name__}"
    if isinstance(entries, (str, bytes, Mapping)) or not isinstance(entries, Iterable):
        raise TypeError(f"{what}, not {type(entries).__name__}{hint}")
    found = tuple(entries)
    for entry in found:
        if not isinstance(entry, kind):
            raise TypeError(f"{what}; it contains {type(entry).__name__}{hint}")
    return cast("tuple[T, ...]", tuple(map(plain, cast("tuple[str, ...]", found)))) if kind is str else found


NO_ID = "(no id)"
"""Stands for the ID of a rule that has none."""


def check_id(id: object) -> None:
    """Check the ID of a rule to be merged: without an ID it would replace every rule that has none.

    Raises:
        ValueError: There is no ID.
    """
    if id in ("", NO_ID):
        raise ValueError("rule must have an id: rules are merged by it; put() replaces all of them")


def check_names(what: str, names: tuple[object, ...]) -> None:
    """Check the arguments of ``remove()``: a list in place of several arguments would remove nothing, and report success.

    Raises:
        TypeError: One of them is not text.
    """
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"{what} must be text, not {type(name).__name__}; pass several as separate arguments")


class SubResource(ABC, Generic[V]):
    """A configuration of a bucket or an object."""

    name: ClassVar[str]
    _value: ClassVar[type]  # class of the values
    _get: ClassVar[str]
    _put: ClassVar[str]
    _delete: ClassVar[str] = ""
    _roots: ClassVar[tuple[str, ...]]  # possible root elements; some servers name the root after the operation
    _absent: ClassVar[tuple[str, ...]] = ()  # error codes for a missing configuration
    _put_parameters: ClassVar[dict[str, Any]] = {}

    def __init__(self, address: BucketAddress | ObjectAddress) -> None:
        self._bucket = address.bucket if isinstance(address, ObjectAddress) else address
        self._key = address.key if isinstance(address, ObjectAddress) else None
        self._target: dict[str, str] = {"Bucket": self._bucket.name}
        if isinstance(address, ObjectAddress):
            self._target["Key"] = address.key
            if address.version_id is not None:
                self._target["VersionId"] = address.version_id

    @property
    def _connection(self) -> Connection:
        return self._bucket.connection

    @abstractmethod
    def _from_document(self, document: bytes) -> V:
        """Return the value that a document describes."""

    @abstractmethod
    def _to_document(self, value: V) -> bytes:
        """Return the document that describes a value."""

    @abstractmethod
    def _empty(self) -> V:
        """Return the value that represents a missing configuration."""

    def get(self) -> V:
        """Return the current configuration; an empty value if there is none.

        Raises:
            S3Unsupported: The store does not support this setting.
            S3InvalidContent: The store sent a document that cannot be read.

        Requests:
            1
        """
        stored = self._stored()
        return self._empty() if stored is None else stored

    def put(self, value: V) -> None:
        """Replace the whole configuration. The other methods change single entries and keep the rest.

        Args:
            value: The configuration.

        Raises:
            TypeError: ``value`` is not a configuration of this setting.
            S3Unsupported: The store does not support this setting; or it stored something else, and the former configuration was
                restored.
            S3Error: A request failed. The message says whether the former configuration was restored, and else what is in effect.

        Requests:
            1; on a store that is not AWS also 2 reads
        """
        self._checked(value)
        if self._connection.is_aws:
            self._send(value)
            return
        before = self._stored()
        form, is_written = value, False
        try:
            for form in self._forms(value, before):
                try:
                    self._send(form)
                except S3Error as error:
                    if form is value or not self._may_refuse_form(error):
                        raise
                    continue
                is_written = True
                self._confirm(form)
        except BaseException as error:  # KeyboardInterrupt too: what was sent may be in effect, and mean something else
            if is_written or not was_refused(error):
                self._undo(before, form, error, was_accepted=is_written)
            raise

    def delete(self) -> None:
        """Delete the whole configuration. Idempotent.

        Raises:
            S3Unsupported: The store does not support this setting; or it answered the deletion with a success and still has a
                configuration. The message says what is in effect.
            S3Error: A request failed. If it is the read after the deletion, the message says so.

        Requests:
            1; on a store that is not AWS also 2 reads
        """
        if self._connection.is_aws:
            self._remove()
            return
        document = self._fetch()
        if document is None:
            return
        before = self._readable(document)
        self._remove()
        self._confirm_deletion(before)

    def change(self, value: V) -> Change[V]:
        """Plan the replacement of the whole configuration, without making it.

        Args:
            value: The new configuration.

        Returns:
            The change; ``apply()`` makes it.

        Raises:
            TypeError: ``value`` is not a configuration of this setting.

        Requests:
            1 read
        """
        checked = self._checked(value)
        return self._plan(lambda _: checked)

    # -- internals -----------------------------------------------------------------------------------------------------------------

    def _checked(self, value: V) -> V:
        """Return a configuration that a caller gives.

        Raises:
            TypeError: It is of another class.
        """
        if not isinstance(value, self._value):
            article = "an" if self._value.__name__[0] in "AE" else "a"
            raise TypeError(f"value must be {article} {self._value.__name__}, not {type(value).__name__}")
        return value

    def _plan(self, merged: Callable[[V], V]) -> Change[V]:
        """Return the change that a function makes to the current configuration. Requests: 1 read."""
        before = self.get()
        return Change(f"{self.name} of {self._where()}", before, merged(before), merged, self.get, self.put)

    def _make(self, merged: Callable[[V], V], *, dry_run: bool = False) -> Change[V]:
        """Plan a change and, unless ``dry_run`` is set, make it. Requests: 1 read, and those of ``put`` if it changes something."""
        change = self._plan(merged)
        if dry_run:
            return change
        if not change.is_empty:
            self.put(change.after)
        return replace(change, applied=True)

    def _forms(self, value: V, before: V | None) -> Iterator[V]:
        """Yield what is written in place of a value, one after the other; each is read back before the next is written.

        Where a store that leaves out a part of the configuration could do harm (delete more objects, permit more), the first form has
        no effect, and the value itself comes last. The other sub-resources have no such form: S3 has no disabled CORS rule, target of
        notifications or encryption, and tags have no effect.

        Args:
            value: The value.
            before: The former configuration; None if there was none.
        """
        yield value

    def _may_refuse_form(self, error: S3Error) -> bool:
        """Return whether a store that refused a form with this error may be sent the next one."""
        return False

    def _confirm(self, value: V) -> None:
        """Read the configuration back.

        Raises:
            S3Unsupported: It is not the one that was sent.
        """
        if not self._same(self._stored(), value):
            raise self._unsupported(
                self._put, f"the store stored another {self.name} configuration than the one it was sent"
            )

    def _confirm_deletion(self, before: V | None) -> None:
        """Read whether a configuration is gone. One that is neither the former nor an empty one is replaced by the former.

        Args:
            before: The configuration before the deletion; None if it could not be read.

        Raises:
            S3Unsupported: The store still has a configuration.
        """
        try:
            left = self._fetch(may_be_empty=True)  # LocalStack's response after a deletion of the encryption
        except S3Unsupported as error:
            raise self._unsupported(
                self._delete,
                f"after the deletion of the {self.name} configuration, which it accepted, the store sent another document",
            ) from error
        except S3Error as error:
            add_text(
                error,
                f"the store had accepted the deletion of the {self.name} configuration, which could not be read back",
            )
            raise
        if left is None:
            return
        now = self._readable(left)
        if now is not None and self._is_deleted(before, now):
            return
        why = f"the store answered the deletion of the {self.name} configuration with a success, and still has one"
        if before is None or now is None or self._same(before, now):
            shown = "it cannot be read" if now is None else f"in effect now: {_shown(now)}"
            raise self._unsupported(self._delete, f"{why}; {shown}")
        kept = self._unsupported(self._delete, why)
        self._undo(before, now, kept, was_accepted=True)
        raise kept

    def _readable(self, document: bytes) -> V | None:
        """Return the value of a document; None if it cannot be read."""
        try:
            return self._parse(document)
        except S3InvalidContent:
            return None

    def _is_deleted(self, before: V | None, now: V) -> bool:
        """Return whether what a store returns after a deletion means that there is no configuration.

        Args:
            before: The configuration before the deletion; None if it could not be read.
            now: The configuration after it.
        """
        return self._same(now, None)

    def _undo(self, before: V | None, sent: V, cause: BaseException, *, was_accepted: bool = False) -> None:
        """Write a former configuration again after a failed write, unless it is in effect, and say so in the message of the error.

        No exception ends this at once, not even KeyboardInterrupt: the new configuration would stay in effect. On AWS nothing is read,
        since AWS may return the old configuration for minutes.

        Args:
            before: The former configuration; None if there was none.
            sent: The configuration that was sent last.
            cause: The exception of the failed write; its message is extended.
            was_accepted: Whether the store answered the write with a success: a read may then still return what was there before.

        Raises:
            KeyboardInterrupt: It was raised while this ran; raised at the end.

        Requests:
            up to 4 reads and 3 writes; on AWS up to 3 writes
        """
        failures: list[BaseException] = []
        text = self._restore(before, sent, failures, was_accepted)
        add_text(cause, text)
        for failure in failures:
            if not isinstance(failure, Exception) and isinstance(cause, Exception):
                add_text(failure, text)
                raise failure

    def _restore(self, before: V | None, sent: V, failures: list[BaseException], was_accepted: bool) -> str:
        """Restore a configuration; return what was done and what is in effect."""
        is_sent = False
        for number in range(_RESTORE_READS):
            unread: BaseException | None = None
            try:
                if not self._connection.is_aws:
                    stored = self._stored()
                    # None: MUST NOT send DELETE ?name. A gateway that took PUT ?name for the creation of the bucket would delete it.
                    if self._same(stored, before) and (is_sent or not was_accepted or stored is None):
                        return f"the former {self.name} configuration {'was restored' if is_sent else 'is in effect'}"
                    is_sent = False
            except BaseException as error:
                unread = error
                failures.append(error)
            if len(failures) >= _MAX_RESTORE_FAILURES or number == _RESTORE_READS - 1:
                break
            try:
                self._write_back(before, unread)
                is_sent = True
                if self._connection.is_aws:
                    return f"the former {self.name} configuration was sent again"
            except BaseException as error:
                failures.append(error)
                if isinstance(error, S3Unsupported):
                    break
        reason = f": {str(failures[-1]).rstrip('.') or type(failures[-1]).__name__}" if failures else ""
        if is_sent:
            text = f"the former {self.name} configuration was sent again, but could not be read back{reason}"
        else:
            text = f"the former {self.name} configuration could not be restored{reason}. In effect now: {self._in_effect(sent)}"
        logger.error("%s: %s", self._where(), text)
        return text

    def _write_back(self, before: V | None, unread: BaseException | None) -> None:
        """Write a former configuration, or delete the present one if there was none.

        Args:
            before: The former configuration.
            unread: The exception of the read before; None if the present configuration was read and is another.
        """
        if self._delete and (before is None or not before.lines()):
            if isinstance(unread, S3Unsupported):
                # The gateway ignores the query string: it would take DELETE ?name for a deletion of the bucket or the object.
                raise unread
            self._remove()
        else:
            self._send(self._empty() if before is None else before)

    def _in_effect(self, sent: V) -> str:
        """Describe the present configuration; if it cannot be read, the one that was sent last."""
        try:
            return _shown(self._stored())
        except Exception:
            return f"unknown; sent last: {_shown(sent)}"

    def _stored(self) -> V | None:
        """Return the stored configuration, None if there is none."""
        document = self._fetch()
        return None if document is None else self._parse(document)

    def _fetch(self, *, may_be_empty: bool = False) -> bytes | None:
        """Return the stored document; None if there is none. Raise S3Unsupported if the store does not support the sub-resource.

        Args:
            may_be_empty: Whether a success without a document means that there is none.
        """
        try:
            document = self._connection.read_document(self._get, **self._target)
        except S3Error as error:
            if error.code in self._absent:
                return None
            if error.status != 416:  # 416: the store ignored ?name and the object is empty; a document is never empty
                raise
            document = b""
        if not document and may_be_empty:
            return None
        if not self._is_own(document):
            raise self._unsupported(
                self._get,
                f"this store does not support ?{self.name}: its response is another document. Nothing was written.",
            )
        return document

    def _parse(self, document: bytes) -> V:
        """Return the value of a document that the store sent.

        Raises:
            S3InvalidContent: The document has the right root element, but cannot be read otherwise.
        """
        try:
            return self._from_document(document)
        except (S3InvalidContent, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise S3InvalidContent(
                f"{self._where()}: the {self.name} configuration that the store sent cannot be read: {error}",
                operation=self._get,
                bucket=self._bucket.name,
                key=self._key,
            ) from error

    def _is_own(self, document: bytes) -> bool:
        return root_name(document) in self._roots

    def _send(self, value: V) -> None:
        self._send_document(self._to_document(value))

    def _send_document(self, document: bytes) -> None:
        self._connection.write_document(self._put, document, **self._target, **self._put_parameters)

    def _remove(self) -> None:
        self._connection.call(self._delete, **self._target)

    def _same(self, one: V | None, other: V | None) -> bool:
        """Return whether two configurations mean the same; None is a missing one."""
        first, second = (self._empty() if value is None else value for value in (one, other))
        return sorted(first.lines()) == sorted(second.lines())

    def _unsupported(self, operation: str, why: str) -> S3Unsupported:
        return S3Unsupported(f"{self._where()}: {why}", operation=operation, bucket=self._bucket.name, key=self._key)

    def _where(self) -> str:
        return f"s3://{self._bucket.name}/{self._key or ''}"

    def __repr__(self) -> str:
        return render.visible(f"<{self.name} of {self._where()}>")


def _shown(value: Value | None) -> str:
    text = "; ".join(map(render.visible, [] if value is None else value.lines()))
    return (text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…") or "none"


def was_refused(error: BaseException) -> bool:
    """Return whether the store's response shows that a write was not applied."""
    return (
        isinstance(error, S3Error)
        and error.status is not None
        and 400 <= error.status < 500
        and not (error.was_retried or isinstance(error, S3ConnectionError))
    )


def add_text(error: BaseException, text: str) -> None:
    """Append a text to the message of an S3Error. Another exception gets it as a note, where Python has notes (3.11)."""
    if isinstance(error, S3Error):
        error.args = (f"{str(error).rstrip('.')}; {text}",)
    elif hasattr(error, "add_note"):
        error.add_note(text)
