"""Confirmation that a store does what the parameters of a write ask for; each is asked once, on a scratch object.

Many stores accept parameters that they ignore: the object is stored without the encryption, the tags or the storage class, and the response
is a success. Only AWS is trusted. On any other store :func:`steps` and :func:`require` run before each write that has such parameters. The
first time they write a scratch object in the same way (PutObject, CopyObject or an upload in parts: a store may keep a parameter in one of
them only) beside the object, check it, and delete it:

=============================================  ===================================================  ========================================
parameter                                      confirmed by                                         remembered for
=============================================  ===================================================  ========================================
encryption, KMS key, encryption context,       the response to the write: HEAD may return           each bucket, which may have a default,
bucket key                                     whatever was sent                                    and each algorithm
storage class                                  HEAD                                                 each bucket and class
ACL, grants                                    ``GET ?acl``                                         each bucket and value
object lock                                    ``GET ?legal-hold`` of a scratch object under a      each bucket
                                               legal hold, which is removed afterwards: a retention
                                               would outlast the experiment
content headers, expires, website redirect     HEAD                                                 the store
metadata, type and content headers of copies   HEAD; a copy that loses one of them is streamed      the store
tags                                           ``GET ?tagging`` after PutObject; after copies and   the store
                                               uploads in parts ``tagging.py`` compares them
tags that a copy keeps                         ``GET ?tagging``; a copy that loses them is streamed the store
customer's key (SSE-C)                         never: no method that reads an object takes the key  -
event hold                                     never: no other store is known to keep it            -
write offset (append)                          never: sent only to a directory bucket of Amazon     -
                                               S3. Another store may replace the object
=============================================  ===================================================  ========================================

A content type on a write with content is not asked about: most writes have one, guessed from the key.

A store that rejects the storage class of the scratch object does not have it: that is S3Unsupported as well.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from functools import cached_property, partial
from types import MappingProxyType
from typing import Any, NamedTuple

from .._client.addresses import ObjectAddress
from .._client.connection import KNOWS_TAGGING
from ..errors import S3AccessDenied, S3Error, S3InvalidContent, S3Unsupported
from ..subresources.xml import Node, parse
from . import checksum
from .attributes import CONTENT_HEADERS
from .drivers import Blocking, Steps
from .put_parameters import for_every_request
from .scratch import ScratchBeside, scratch_beside
from .single_flight import single_flight

_ENCRYPTION = ("ServerSideEncryption", "SSEKMSKeyId", "SSEKMSEncryptionContext", "BucketKeyEnabled")
_LOCK = ("ObjectLockMode", "ObjectLockRetainUntilDate", "ObjectLockLegalHoldStatus")
_HEADERS: dict[str, Any] = {
    "CacheControl": "max-age=7",
    "ContentDisposition": 'attachment; filename="probe"',
    "ContentEncoding": "compress",
    "ContentLanguage": "nl",
    "Expires": datetime(2040, 1, 1, tzinfo=timezone.utc),
    "WebsiteRedirectLocation": "/probe",
}
"""Parameters that HEAD returns, with the values of the experiment: the user's own value might be normalized, or refused."""
_HEADERS_OF_COPIES: dict[str, Any] = {"ContentType": "text/x-probe", "Metadata": {"mfs3": "probe"}}
_GRANTS = {
    "GrantFullControl": "FULL_CONTROL",
    "GrantRead": "READ",
    "GrantReadACP": "READ_ACP",
    "GrantWriteACP": "WRITE_ACP",
}
_EVERYBODY = "http://acs.amazonaws.com/groups/global/AllUsers"
_ACCOUNTS = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"
_GRANTS_OF_ACL = {
    "private": set[tuple[str, str]](),
    "public-read": {(_EVERYBODY, "READ")},
    "public-read-write": {(_EVERYBODY, "READ"), (_EVERYBODY, "WRITE")},
    "authenticated-read": {(_ACCOUNTS, "READ")},
}
"""The grants to everybody that each canned ACL makes. The others grant access to owners, which a store need not show."""
_CUSTOMER_KEY = "SSECustomer"
_REJECTED_CLASS = ("InvalidStorageClass", "InvalidArgument")
"""Codes with which stores reject a storage class that they do not have; radosgw's is InvalidArgument, which has other causes too."""
_EVENT_HOLD = ("ObjectLockEventHold", "ObjectLockEventHoldDurationDays", "ObjectLockEventHoldDurationYears")
_APPEND = "WriteOffsetBytes"
_ASKED_ABOUT = frozenset(
    {
        _APPEND, *_EVENT_HOLD, *_ENCRYPTION, *_LOCK, *_HEADERS, *_GRANTS, "ACL", "StorageClass", "Tagging",
        "SSECustomerAlgorithm", "SSECustomerKey", "SSECustomerKeyMD5",
    }
)  # fmt: skip
_BODY = b"mfs3"


class _Scratch:
    """A scratch object written with the parameters in question, and the response to the write."""

    def __init__(self, requests: ScratchBeside, key: str, answer: Mapping[str, Any]) -> None:
        self.requests = requests
        self.key = key
        self.answer = answer

    @cached_property
    def head(self) -> dict[str, Any]:
        return self.requests.call("HeadObject", self.key)

    def document(self, operation: str, root: str) -> Node | None:
        """Read a sub-resource; None if the store answers with anything else: it may ignore the query, and return the object."""
        try:
            found = parse(self.requests.connection.read_document(operation, **self.requests.where(self.key)))
        except S3InvalidContent:
            return None
        except S3Error as error:
            if error.retryable or isinstance(error, S3AccessDenied):
                raise
            return None
        return found if found.name == root else None


class _Question(NamedTuple):
    """Whether the store keeps one parameter, or several that belong together.

    Attributes:
        what: The parameters, for the message.
        fact: Name of the answer in ``connection.facts``.
        operation: The request to try it with.
        sent: The parameters of the experiment.
        is_kept: Returns the answer, from the scratch object.
        source: For a copy, parameters of the scratch object that is copied.
    """

    what: str
    fact: str
    operation: str
    sent: Mapping[str, Any]
    is_kept: Callable[[_Scratch], bool]
    source: Mapping[str, Any] = MappingProxyType({})


def steps(address: ObjectAddress, operation: str, parameters: Mapping[str, Any]) -> Steps[None]:
    """Raise unless the store is known to do what a write asks for; ask it if that is unknown.

    Args:
        address: The object to write.
        operation: The request that carries the parameters: PutObject, CopyObject or CreateMultipartUpload.
        parameters: Its parameters under S3's names.

    Raises:
        S3Unsupported: The store ignores a parameter, or does not have the storage class. Nothing was written but a scratch object, which
            was deleted.
        S3Error: The store rejects the parameters, or could not be asked.

    Requests:
        none on AWS, without the parameters listed above, and once the answers are known; else 2, and 1 or 2 more for an upload in parts
        or a copy, and 1 for each of HEAD, ``?acl``, ``?tagging`` and ``?legal-hold`` that is needed
    """
    if _ASKED_ABOUT.isdisjoint(parameters):
        return
    _refuse_append(address, operation, parameters)
    if not address.connection.is_aws:
        facts = address.connection.facts
        is_known = all(facts.get(question.fact) for question in _questions(address, operation, parameters))
        if not is_known or _is_for_aws_only(parameters):
            yield Blocking(partial(require, address, operation, parameters))


def require(address: ObjectAddress, operation: str, parameters: Mapping[str, Any]) -> None:
    """Do what :func:`steps` does, blocking."""
    if _ASKED_ABOUT.isdisjoint(parameters):
        return
    _refuse_append(address, operation, parameters)
    if address.connection.is_aws:
        return
    _refuse_customer_key(address, operation, parameters)
    if any(parameters.get(name) is not None for name in _EVENT_HOLD):
        raise _unsupported(
            address, operation, "event holds are sent to Amazon S3 only: no other store is known to keep them"
        )  # fmt: skip
    dropped = _dropped(address, [*_questions(address, operation, parameters)], parameters)
    if dropped:
        raise _unsupported(
            address, operation,
            f"this store does not keep {', '.join(dropped)} in this request, although it reports success: a scratch object showed it. "
            "Leave it out, or use a store that supports it",
        )  # fmt: skip


def copies_rightly(
    target: ObjectAddress,
    parameters: Mapping[str, Any],
    *,
    is_described: bool,
    replaces_metadata: bool,
    keeps_tags: bool,
) -> bool:
    """Return whether CopyObject replaces metadata and content headers, and keeps the source's tags; if not, a copy has to be streamed.

    rclone adds new metadata to the old instead of replacing it; radosgw drops the tags if metadata is replaced.

    Args:
        target: The copy.
        parameters: The parameters of the copy, under S3's names.
        is_described: Whether the user gives metadata or content headers. (An idempotency token alone is compared by the caller.)
        replaces_metadata: Whether metadata and content headers are sent, to replace those of the source.
        keeps_tags: Whether the source has tags that the copy shall have.

    Raises:
        S3Error: The store could not be asked.

    Requests:
        none on AWS, if neither is wanted, and once the answers are known; else 2 PUT (one is the copy), 1 HEAD, 1 GET with tags, 2 DELETE
    """
    if target.connection.is_aws or not (is_described or keeps_tags):
        return True
    _refuse_customer_key(target, "CopyObject", parameters)
    questions: list[_Question] = []
    sent: dict[str, Any]
    if is_described:
        for name, sample in {**_HEADERS, **_HEADERS_OF_COPIES}.items():
            if (name in CONTENT_HEADERS and name in parameters) or name == "Metadata":
                sent = {name: sample, "MetadataDirective": "REPLACE"}
                questions.append(
                    _Question(name, f"CopyObject replaces {name}", "CopyObject", sent, partial(_has, name, sample))
                )
    if keeps_tags:
        sent = {"MetadataDirective": "REPLACE", "Metadata": {"mfs3": "probe"}} if replaces_metadata else {}
        fact = f"CopyObject keeps tags{', replacing metadata' if replaces_metadata else ''}"
        questions.append(
            _Question(
                "tags of the source",
                fact,
                "CopyObject",
                sent,
                partial(_is_tagged, is_sent=False),
                {"Tagging": "mfs3=probe"},
            )
        )
    return not _dropped(target, questions, parameters)


def _is_for_aws_only(parameters: Mapping[str, Any]) -> bool:
    return _has_customer_key(parameters) or any(parameters.get(name) is not None for name in _EVENT_HOLD)


def _has_customer_key(parameters: Mapping[str, Any]) -> bool:
    return any(name.startswith(_CUSTOMER_KEY) for name in parameters)


def _refuse_customer_key(address: ObjectAddress, operation: str, parameters: Mapping[str, Any]) -> None:
    if _has_customer_key(parameters):
        raise _unsupported(
            address, operation,
            "a customer's key (SSE-C) is sent to Amazon S3 only: no method of this library that reads an object takes the key, and many "
            "other stores keep such an object readable without it. Pass encryption='aws:kms' or 'AES256', or write and read the object "
            "with boto3 (store.client)",
        )  # fmt: skip


def _refuse_append(address: ObjectAddress, operation: str, parameters: Mapping[str, Any]) -> None:
    """Raise unless the bucket is a directory bucket: any other one may ignore the offset, and replace the object with its new end."""
    if parameters.get(_APPEND) is not None and not address.bucket.is_directory:
        raise _unsupported(
            address, operation, f"{_APPEND} is sent to directory buckets of Amazon S3 only. open('ab') appends on any store"
        )  # fmt: skip


def _unsupported(address: ObjectAddress, operation: str, why: str) -> S3Unsupported:
    return S3Unsupported(
        f"{operation} on {address.uri}: {why}. Nothing was written.",
        operation=operation, bucket=address.bucket_name, key=address.key,
    )  # fmt: skip


# -- the questions


def _questions(address: ObjectAddress, operation: str, parameters: Mapping[str, Any]) -> Iterator[_Question]:
    """Yield the questions that the parameters of a write raise."""
    given = {name: value for name, value in parameters.items() if value is not None}
    here = f"{operation} to {address.bucket_name} keeps"

    if any(name in given for name in _LOCK):  # first: what follows may raise, and the scratch object must not stay held
        what = ", ".join(name for name in _LOCK if name in given)
        yield _Question(what, f"{here} object locks", operation, {"ObjectLockLegalHoldStatus": "ON"}, _is_held)

    encryption = {name: given[name] for name in _ENCRYPTION if name in given}
    if encryption:
        algorithm = f"ServerSideEncryption={encryption.get('ServerSideEncryption')!r}"
        what = ", ".join([algorithm, *(name for name in encryption if name != "ServerSideEncryption")])
        yield _Question(what, f"{here} {what}", operation, encryption, partial(_is_encrypted, encryption))

    storage_class = given.get("StorageClass", "STANDARD")
    if storage_class != "STANDARD":  # the class of an object whose HEAD names none
        what = f"StorageClass={storage_class!r}"
        yield _Question(
            what, f"{here} {what}", operation, {"StorageClass": storage_class},
            lambda scratch: scratch.head.get("StorageClass") == storage_class,
        )  # fmt: skip

    for name in ("ACL", *_GRANTS):
        if name in given:
            what, one = f"{name}={given[name]!r}", {name: given[name]}
            yield _Question(what, f"{here} {what}", operation, one, partial(_has_acl, name, given[name]))

    for name, sample in _HEADERS.items():
        if name in given:
            fact, sent = f"{operation} keeps {name}", {name: sample}
            if (
                operation == "CopyObject" and name in CONTENT_HEADERS
            ):  # CopyObject ignores them unless it replaces the metadata
                fact, sent = f"CopyObject replaces {name}", {name: sample, "MetadataDirective": "REPLACE"}
            yield _Question(name, fact, operation, sent, partial(_has, name, sample))

    if given.get("Tagging"):
        yield _Question("tags", "keeps_tags", "PutObject", {"Tagging": "mfs3=probe"}, _is_tagged)


def _is_encrypted(sent: Mapping[str, Any], scratch: _Scratch) -> bool:
    def is_confirmed(name: str, value: Any) -> bool:
        found = scratch.answer.get(name)
        if name == "SSEKMSEncryptionContext":
            return bool(found)  # AWS adds to it
        if name == "SSEKMSKeyId":  # an ID is answered with the key's ARN, an alias with another name
            key = str(found or "")
            return bool(key) and ("alias/" in value or key.endswith(value) or value.endswith(key))
        return (found or False) == (value or False)

    return all(is_confirmed(name, value) for name, value in sent.items())


def _has(name: str, sample: Any, scratch: _Scratch) -> bool:
    found = scratch.head.get(name)
    if name == "Metadata":
        names = {word.lower(): value for word, value in (found or {}).items()}
        return names.get("mfs3") == "probe" and "former" not in names
    return bool(found == sample)


def _has_acl(name: str, value: str, scratch: _Scratch) -> bool:
    found = scratch.document("GetObjectAcl", "AccessControlPolicy")
    if found is None:
        return False
    listed = found.get("AccessControlList")
    grants = set[tuple[str, str]]()
    for grant in () if listed is None else listed.all("Grant"):
        grantee = grant.get("Grantee")
        if grantee is not None:
            grants |= {(child.text, grant.text_of("Permission") or "") for child in grantee.children}
    if name == "ACL":
        to_groups = {grant for grant in grants if grant[0] in (_EVERYBODY, _ACCOUNTS)}
        wanted = _GRANTS_OF_ACL.get(value)
        return to_groups == wanted if wanted is not None else _EVERYBODY not in {who for who, _ in to_groups}
    permission = _GRANTS[name]
    for one in value.split(","):
        kind, _, who = one.strip().partition("=")
        who = who.strip().strip('"')
        if kind.strip().lower() == "emailaddress":  # the store answers with the account's ID
            if all(granted != permission for _, granted in grants):
                return False
        elif (who, permission) not in grants:
            return False
    return True


def _is_held(scratch: _Scratch) -> bool:
    def release() -> None:
        scratch.requests.call("PutObjectLegalHold", scratch.key, LegalHold={"Status": "OFF"})

    try:
        found = scratch.document("GetObjectLegalHold", "LegalHold")
    except BaseException:
        with suppress(S3Error):
            release()
        raise
    if found is None or found.text_of("Status") != "ON":
        return False
    release()
    return True


def _is_tagged(scratch: _Scratch, *, is_sent: bool = True) -> bool:
    try:
        found = scratch.document("GetObjectTagging", "Tagging")
    except S3AccessDenied:
        return is_sent or bool(
            scratch.head.get("TagCount")
        )  # a store that ignores ?tagging would have returned the object
    tags = None if found is None else found.get("TagSet")
    is_kept = tags is not None and any(tag.text_of("Key") == "mfs3" for tag in tags.all("Tag"))
    if is_kept:
        scratch.requests.connection.facts[KNOWS_TAGGING] = True
    return is_kept


# -- the experiment


def _dropped(address: ObjectAddress, questions: list[_Question], parameters: Mapping[str, Any]) -> list[str]:
    """Return what the store does not keep; ask it the questions of which the answer is unknown."""
    connection = address.connection
    given = {name: value for name, value in for_every_request(parameters).items() if not name.startswith(_CUSTOMER_KEY)}
    if any(question.what == "tags" for question in questions) and False in (
        connection.capabilities.object_tagging,
        connection.capabilities.tags_on_put,
    ):
        return ["tags"]
    if any(question.fact not in connection.facts for question in questions):
        with single_flight(connection, "parameters of writes") as turn:
            unknown = [question for question in questions if question.fact not in connection.facts]
            if unknown:
                facts = frozenset(question.fact for question in unknown)
                turn.ask(partial(_experiments, address, unknown, given), details=(address.bucket_name, facts))
    return [question.what for question in questions if not connection.facts[question.fact]]


def _experiments(address: ObjectAddress, questions: list[_Question], given: Mapping[str, Any]) -> None:
    for operation in dict.fromkeys(question.operation for question in questions):
        _experiment(address, operation, [question for question in questions if question.operation == operation], given)


def _experiment(address: ObjectAddress, operation: str, questions: list[_Question], given: Mapping[str, Any]) -> None:
    """Write a scratch object with the parameters of all questions, and put the answers into the connection's facts."""
    sent: dict[str, Any] = {}
    source: dict[str, Any] = {}
    for question in questions:
        sent |= question.sent
        source |= question.source
    try:
        with scratch_beside(address, given) as requests:
            key = requests.new_key()
            scratch = _Scratch(requests, key, _WRITES[operation](requests, key, sent, source))
            answers = {question.fact: question.is_kept(scratch) for question in questions}
    except S3Error as error:
        _refuse_rejected_class(address, operation, questions, given, error)
        what = ", ".join(question.what for question in questions)
        raise type(error)(
            f"{operation} on {address.uri}: whether this store keeps {what} could not be found out with a scratch object: {error}. "
            "Nothing was written.",
            operation=error.operation, bucket=address.bucket_name, key=address.key, code=error.code, status=error.status,
            request_id=error.request_id, retryable=error.retryable,
        ) from error  # fmt: skip
    address.connection.facts.update(answers)


def _refuse_rejected_class(
    address: ObjectAddress, operation: str, questions: list[_Question], given: Mapping[str, Any], error: S3Error
) -> None:
    """Raise S3Unsupported if the store rejected an experiment because it does not have the storage class."""
    if error.code not in _REJECTED_CLASS:
        return
    of_class = [question for question in questions if "StorageClass" in question.sent]
    if not of_class:
        return
    if len(questions) > 1 and error.code != "InvalidStorageClass":
        _experiment(address, operation, of_class, given)  # raises if the class alone is rejected as well
        return
    raise S3Unsupported(
        f"{operation} on {address.uri}: this store rejects {of_class[0].what}: a scratch object showed it ({error}) "
        "Leave it out, or pass a storage class that the store has. Nothing was written.",
        operation=operation, bucket=address.bucket_name, key=address.key, code=error.code, status=error.status,
        request_id=error.request_id,
    ) from error  # fmt: skip


def _put(requests: ScratchBeside, key: str, sent: Mapping[str, Any], _: Mapping[str, Any]) -> dict[str, Any]:
    digest = hashlib.md5(_BODY, usedforsecurity=False).digest()
    md5 = base64.b64encode(digest).decode("ascii")  # S3 requires it with an object lock
    return requests.write("PutObject", key, Body=_BODY, ContentMD5=md5, **sent)


def _copy(requests: ScratchBeside, key: str, sent: Mapping[str, Any], source: Mapping[str, Any]) -> dict[str, Any]:
    copied = requests.new_key()
    requests.write("PutObject", copied, Body=_BODY, Metadata={"former": "probe"}, **source)
    where = {"Bucket": requests.where(copied)["Bucket"], "Key": copied}
    return requests.write("CopyObject", key, CopySource=where, **sent)


def _send_in_parts(requests: ScratchBeside, key: str, sent: Mapping[str, Any], _: Mapping[str, Any]) -> dict[str, Any]:
    algorithm = checksum.algorithm_of_parts(requests.connection, {})
    announced = {} if algorithm is None else {"ChecksumAlgorithm": algorithm}
    created = requests.begin_upload(key, **announced, **sent)
    part = requests.call("UploadPart", key, UploadId=created["UploadId"], PartNumber=1, Body=_BODY)
    parts = [{"PartNumber": 1, "ETag": part["ETag"], **checksum.of_part(algorithm, part)}]
    return {**created, **requests.complete(key, MultipartUpload={"Parts": parts})}


_WRITES: dict[str, Callable[[ScratchBeside, str, Mapping[str, Any], Mapping[str, Any]], dict[str, Any]]] = {
    "PutObject": _put,
    "CopyObject": _copy,
    "CreateMultipartUpload": _send_in_parts,
}
