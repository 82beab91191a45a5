"""The error tree: its shape, its builtins, its pickles."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError

import pytest

import messageflux_s3 as s3
from messageflux_s3 import errors

BUILTINS = {
    s3.S3NoSuchBucket: FileNotFoundError,
    s3.S3NoSuchItem: FileNotFoundError,
    s3.S3AccessDenied: PermissionError,
    s3.S3ConnectionError: ConnectionError,
    s3.S3BucketExists: FileExistsError,
    s3.S3ObjectExists: FileExistsError,
    s3.S3InvalidName: ValueError,
    s3.S3InvalidContent: ValueError,
}

ALL = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, s3.S3Error)]


def test_the_root_keeps_its_name_from_messageflux() -> None:
    """S3BucketException is the same class as S3Error."""
    assert s3.S3BucketException is s3.S3Error


@pytest.mark.parametrize(("cls", "builtin"), BUILTINS.items(), ids=lambda cls: cls.__name__)
def test_errors_are_subclasses_of_builtin_exceptions(cls: type[s3.S3Error], builtin: type[Exception]) -> None:
    """The errors can be caught as builtin exceptions."""
    with pytest.raises(builtin, match="what happened"):
        raise cls("what happened", bucket="b", key="k")


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("again", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy], ids=["pickle", "copy"])
def test_errors_keep_their_attributes_when_pickled(cls: type[s3.S3Error], again: object) -> None:
    """Errors keep their attributes when they are pickled."""
    error = cls(
        "text", operation="GetObject", bucket="b", key="k", code="C", status=418, request_id="r", retryable=True
    )
    back = again(error)  # type: ignore[operator]
    assert type(back) is cls
    assert str(back) == "text"
    assert vars(back) == vars(error)
    if isinstance(error, OSError):
        assert (back.errno, back.filename) == (error.errno, "s3://b/k")


def test_control_characters_in_keys_are_escaped_in_messages() -> None:
    """Line ends and escapes in it are written out in the message; the attribute is the key itself."""
    key = "a\nERROR forged\x1b[2J"
    error = s3.S3NoSuchItem(f"GetObject on s3://bucket/{key}: gone", bucket="bucket", key=key)
    assert str(error) == "GetObject on s3://bucket/a\\nERROR forged\\x1b[2J: gone"
    assert (error.key, error.filename) == (key, f"s3://bucket/{key}")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_control_characters_from_elsewhere_are_escaped_in_messages() -> None:
    """The text of a store's error, another key, the holder of a lock: no error shows any of them as it came."""
    for character in ("\n", "\r", "\x1b", "\x9b", "\u2028", "\u202e", "\ud800"):
        error = s3.S3ServerError(f"GetObject: it said {character}forged", key="another")
        assert str(error) == f"GetObject: it said {ascii(character)[1:-1]}forged"
        assert str(error).isprintable() and str(pickle.loads(pickle.dumps(error))) == str(error)


def test_errors_with_further_attributes_keep_them_when_pickled() -> None:
    """failures, lock_holder and outcome_unknown are pickled too."""
    failure = s3.Failure("k", None, s3.S3NoSuchItem("gone", key="k"))
    batch = pickle.loads(pickle.dumps(s3.S3BatchError("1 of 2", failures=[failure], succeeded=["j"])))
    assert (batch.failures[0].key, str(batch.failures[0].error), batch.succeeded) == ("k", "gone", ["j"])
    assert pickle.loads(pickle.dumps(s3.S3LockError("taken", lock_holder="ann"))).lock_holder == "ann"
    assert pickle.loads(pickle.dumps(s3.S3PreconditionFailed("?", outcome_unknown=True))).outcome_unknown is True


def test_errors_are_not_retryable_and_known_by_default() -> None:
    """By default retryable and outcome_unknown are False, and later changes of args do not change the message."""
    error = s3.S3PreconditionFailed("said")
    assert (error.retryable, error.outcome_unknown) == (False, False)
    error.args = ("said", "noted later")
    assert str(error) == "said"


def test_a_failure_is_immutable() -> None:
    """Failure is frozen and has slots."""
    failure = errors.Failure("k", None, s3.S3Error("said"))
    with pytest.raises(FrozenInstanceError):
        failure.key = "another"  # type: ignore[misc]
    assert not hasattr(failure, "__dict__")


def test_the_module_docstring_lists_every_class() -> None:
    """The tree in the module's docstring has all classes."""
    assert [cls.__name__ for cls in ALL if cls.__name__ not in (errors.__doc__ or "")] == []
