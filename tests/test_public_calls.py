"""The catalogue of public calls is complete: a public class or member that is added needs a call there."""

from __future__ import annotations

import inspect

from support.public_calls import (
    CATALOGUE,
    INTERNAL,
    TESTED_ELSEWHERE,
    TWINS,
    VALUES,
    checked_calls,
    compared_calls,
    member_names,
    public_classes,
    sub_resources,
    subclasses,
)
from support.public_calls.compared import NO_REQUEST, SHARED_WITH_THE_SYNCHRONOUS_CLASS

import messageflux_s3 as s3
from messageflux_s3.subresources.base import SubResource

CLASSES = [cls for cls in public_classes() if cls.__name__ not in {*VALUES, *TESTED_ELSEWHERE}]
MEMBERS = member_names(CLASSES)


def test_every_public_member_has_a_checked_call() -> None:
    """tests/test_any_store.py and tests/attacks/test_secrets.py run the checked calls."""
    assert MEMBERS - {name for call in checked_calls() for name in call.members} == set()


def test_every_public_member_that_makes_a_request_has_a_compared_call() -> None:
    """tests/attacks/test_wire.py runs the compared calls under faults.

    An async method without a call of its own shares the code of the synchronous one, which has a call; tests/test_parity.py and
    tests/test_aio_parity.py compare the two, and tests/test_aio_streams.py cancels what an async method does in addition.
    """
    compared = {name for call in compared_calls() for name in call.members} | NO_REQUEST
    shared = {name for name in MEMBERS if name.startswith("Async") and name.removeprefix("Async") in compared}
    missing = MEMBERS - compared - shared
    assert {name for name in missing if name.partition(".")[0] not in SHARED_WITH_THE_SYNCHRONOUS_CLASS} == set()


def test_the_catalogue_names_existing_members_only() -> None:
    named = {name for call in CATALOGUE for name in call.members if "." in name}
    assert (named | NO_REQUEST) - MEMBERS == set()


def test_exempt_classes_are_public_classes() -> None:
    """The classes that need messageflux exist where it is installed only."""
    missing = {*VALUES, *TESTED_ELSEWHERE} - {cls.__name__ for cls in public_classes()}
    assert {name for name in missing if "messageflux" not in TESTED_ELSEWHERE.get(name, "")} <= {
        "MessagefluxS3FileSystem"
    }


def test_values_have_no_async_methods_and_no_async_counterpart() -> None:
    """A class that makes requests is not exempt as a value."""
    twins = {cls.__name__ for pair in TWINS for cls in pair}
    for cls in public_classes():
        if cls.__name__ in VALUES:
            assert cls.__name__ not in twins
            assert not any(inspect.iscoroutinefunction(value) for value in vars(cls).values())


def test_every_exported_class_has_an_async_counterpart_or_makes_no_request() -> None:
    """Two exceptions: the file that AsyncS3Object.open returns, and classes that are tested elsewhere."""
    paired = {cls.__name__ for pair in TWINS for cls in pair}
    assert {cls.__name__ for cls in CLASSES if member_names([cls])} - paired == {"AsyncObjectFile"}


def test_every_sub_resource_is_an_attribute_of_a_handle_and_of_its_async_counterpart() -> None:
    """The async attribute has the same name, and its class is the counterpart in ``TWINS``."""
    twin_of = dict(TWINS)
    reached = set()
    for own, theirs in ((s3.S3Bucket, s3.AsyncS3Bucket), (s3.S3Object, s3.AsyncS3Object)):
        attributes = sub_resources(own)
        assert {name: twin_of.get(cls) for name, cls in attributes.items()} == sub_resources(theirs)
        reached |= {*attributes.values()}
    assert {cls for cls in subclasses(SubResource) if cls.__name__ not in INTERNAL} - reached == set()


def test_every_sub_resource_can_be_deleted_or_says_that_it_cannot() -> None:
    """Without an operation in ``_delete`` the class needs a ``delete`` of its own."""
    for cls in subclasses(SubResource):
        assert issubclass(cls, SubResource)
        assert cls._delete or cls.delete is not SubResource.delete, cls
