"""Every public method of a synchronous class that makes a request has an async twin with the same parameters."""

from __future__ import annotations

import inspect
import re
from functools import cached_property
from typing import Any

import pytest
from support.public_calls import TWINS, public_members

NAMES = [twin.__name__ for _, twin in TWINS]

# Sync methods without an async twin of the same name: why, and what to use instead.
WITHOUT_TWIN = {
    "S3Bucket.create_bucket": "takes a boto3 resource, as in messageflux: await store.create_bucket(name)",
    "S3Bucket.list_buckets": "takes a boto3 resource, as in messageflux: async for bucket in store.buckets()",
    "S3Object.body_stream": "a property that makes a request at each access: obj.open(), obj.iter_chunks()",
    "S3Object.from_boto3": "makes a handle, and no request",
    "S3Bucket.from_boto3": "makes a handle, and no request",
}
# Properties that send a request if the attribute is not cached. In the async class they raise until ``await obj.load()``.
KNOWN_AFTER_LOAD = {
    "size", "etag", "last_modified", "storage_class", "metadata", "content_type", "content_encoding", "content_language",
    "content_disposition", "cache_control", "expires", "encryption", "kms_key_id", "checksums", "body", "text", "region", "creation_date",
}  # fmt: skip
# Python has no awaited form of these operators.
OPERATORS = {
    "S3Bucket.__contains__": "await bucket[key].exists()",
    "Tags.__getitem__": "(await tags.get())[name]",
    "Tags.__setitem__": "await tags.update({name: value})",
    "Tags.__delitem__": "await tags.remove(name)",
    "ObjectTags.__getitem__": "(await tags.get())[name]",
    "ObjectTags.__setitem__": "await tags.update({name: value})",
    "ObjectTags.__delitem__": "await tags.remove(name)",
}
# Dunder methods that make no request, or have an async form: __aenter__, __aiter__.
WITHOUT_REQUEST = {
    "__class_getitem__", "__delattr__", "__dir__", "__enter__", "__eq__", "__exit__", "__format__", "__ge__", "__getattribute__",
    "__getstate__", "__gt__", "__hash__", "__init__", "__init_subclass__", "__iter__", "__le__", "__lt__", "__ne__", "__new__",
    "__reduce__", "__reduce_ex__", "__replace__", "__repr__", "__setattr__", "__setstate__", "__sizeof__", "__str__", "__subclasshook__",
}  # fmt: skip


def makes_requests(value: Any) -> bool:
    """Read the section "Requests" of a docstring; without one, assume that requests are made."""
    told = re.search(r"Requests:\s*(none(?! after)\b)?", inspect.getdoc(value) or "")
    return told is None or told[1] is None


def function_of(value: Any) -> Any:
    return value.__func__ if isinstance(value, (classmethod, staticmethod)) else value


@pytest.mark.parametrize(("face", "twin"), TWINS, ids=NAMES)
def test_every_method_that_makes_requests_has_an_async_counterpart(face: type, twin: type) -> None:
    """Each has the same name; methods stay methods, and properties stay properties."""
    missing = []
    for name, value in public_members(face).items():
        if f"{face.__name__}.{name}" in WITHOUT_TWIN or hasattr(twin, name):
            continue
        described = value.func if isinstance(value, cached_property) else function_of(value)
        if inspect.isdatadescriptor(value) and type(value).__name__ == "member_descriptor":
            continue  # a slot
        if makes_requests(described):
            missing.append(name)
    assert missing == []


@pytest.mark.parametrize(("face", "twin"), TWINS, ids=NAMES)
def test_async_counterparts_are_awaited_and_have_the_same_parameters(face: type, twin: type) -> None:
    """A method that makes requests returns an awaitable or an async iterator; its parameters are those of the sync one."""
    for name, value in public_members(face).items():
        if not hasattr(twin, name) or not inspect.isfunction(value):
            continue
        theirs = inspect.getattr_static(twin, name)
        assert inspect.isfunction(theirs), name
        shapes = [
            [(one.name, one.kind, one.default) for one in inspect.signature(method).parameters.values()]
            for method in (value, theirs)
        ]
        assert shapes[0] == shapes[1], name
        told = str(inspect.signature(theirs, follow_wrapped=False).return_annotation)
        is_awaited = inspect.iscoroutinefunction(theirs) or inspect.isasyncgenfunction(theirs)
        is_awaited_later = told.startswith(("AsyncIterator", "AsyncObjectFile", "AsyncS3Lock", "AsyncObjectQuery"))
        if makes_requests(value):
            assert is_awaited or is_awaited_later, name


@pytest.mark.parametrize(("face", "twin"), TWINS, ids=NAMES)
def test_properties_of_the_async_classes_make_no_request(face: type, twin: type) -> None:
    """Properties that make a request in the sync class raise in the async class until load() was awaited."""
    for name, value in public_members(twin).items():
        if isinstance(value, property):
            assert not makes_requests(value) or name in KNOWN_AFTER_LOAD, name


@pytest.mark.parametrize(("face", "twin"), TWINS, ids=NAMES)
def test_every_operator_that_makes_a_request_has_a_documented_alternative(face: type, twin: type) -> None:
    """Every operator that makes a request is in the list above, with its replacement."""
    own = {name for cls in face.__mro__[:-1] for name in vars(cls) if re.fullmatch(r"__\w+__", name)}
    methods = {name for name in own if inspect.isfunction(inspect.getattr_static(face, name))}
    for name in methods - WITHOUT_REQUEST:
        assert f"{face.__name__}.{name}" in OPERATORS or not makes_requests(getattr(face, name)), name
