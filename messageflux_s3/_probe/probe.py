"""Detection of what a store supports, by experiments on scratch objects, usually in a scratch bucket; both are deleted afterwards.

Each experiment checks its effect and not only the status: some stores answer "200 OK" to requests that they ignore. A question that cannot
be answered (no response, access denied, a server error) stays open, with the reason; the others are asked all the same.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any, Literal
from urllib.parse import urlencode, urlsplit

from .._bulk import batch, listing, versions
from .._client import buckets
from .._client.addresses import BucketAddress, is_ip_address
from .._client.capabilities import BulkDelete, Capabilities, Condition
from .._client.connection import Connection
from .._formats.times import as_utc
from .._objects import condition_probe, leftovers, presigning
from .._objects.interrupts import run_to_the_end
from .._objects.leftovers import NAME_BESIDE, SCRATCH_BUCKET
from .._objects.scratch import Scratch, require_removal, scratch_objects
from .._objects.versioned import keeps_versions
from ..errors import (
    S3AccessDenied,
    S3AuthenticationError,
    S3ChecksumError,
    S3ConnectionError,
    S3Error,
    S3NoSuchBucket,
    S3Unsupported,
)
from ..subresources.base import SubResource
from ..subresources.cors import Cors, CorsConfiguration, CorsRule
from ..subresources.encryption import BucketEncryption, Encryption
from ..subresources.lifecycle import Lifecycle, LifecycleConfiguration, LifecycleRule
from ..subresources.notifications import Notifications
from ..subresources.policy import BucketPolicy, Policy
from ..subresources.public_access import AccessBlock, AccessBlockSubResource
from ..subresources.tags import ObjectTags, Tags, TagSet
from ..subresources.versioning import Versioning, VersioningConfiguration
from .product import product_of

logger = logging.getLogger("messageflux_s3")

PROBED = "probed"
"""The name under which a connection's facts keep the result of its last probe."""

_BODY = b"messageflux-s3 probe"
_TAGS = {"probe": "yes"}
_WRONG_CRC32 = "AAAAAA=="
"""The CRC-32 of other bytes than _BODY."""


def probe(connection: Connection, bucket_name: str | None = None) -> Capabilities:
    """Detect what the store supports.

    Args:
        connection: The connection to the store.
        bucket_name: An existing bucket for the scratch objects, if you may not create buckets. Its settings are not changed, so
            capabilities that need a change of settings are not tested.

    Returns:
        The capabilities. A question that could not be answered is None, and ``reasons`` says why.

    Raises:
        S3AccessDenied: You may not create buckets, and ``bucket_name`` is None; or you may not write to that bucket.
        S3ConnectionError: The store does not respond.

    Requests:
        about 60, and about 100 for each condition that the store honours, most of them concurrent writes; the scratch objects and the
        scratch bucket are deleted
    """
    if bucket_name is not None:
        named = BucketAddress(connection, bucket_name)
        require_removal(named)
        with scratch_objects(named) as scratch:
            return _noted(connection, _Probe(scratch).of_objects())
    bucket = BucketAddress(connection, f"{NAME_BESIDE}{secrets.token_hex(8)}")
    found, is_empty, is_refused = Capabilities(), True, False
    try:
        try:
            buckets.create(bucket)
        except S3AccessDenied as error:
            error.args = (f"{error} Name a bucket for the scratch objects instead: probe(bucket_name=…).",)
            is_refused = True
            raise
        is_empty = False
        _remove_left_buckets(bucket)
        require_removal(bucket, is_due=False)
        found = _noted(connection, _Probe(Scratch(bucket)).of_objects().of_bucket())
        return found
    finally:
        if not is_refused:  # a failed request may have been carried out although its response was lost
            run_to_the_end(lambda: _remove(bucket, is_versioned=found.versioning or None, is_empty=is_empty))


def _noted(connection: Connection, probe: _Probe) -> Capabilities:
    """Return what was found, with product and time, and keep it for the store's representation."""
    server = product_of(probe.scratch.received_headers)
    found = replace(probe.found, server=server, probed_at=datetime.now(timezone.utc))
    connection.facts[PROBED] = found
    return found


class _Probe:
    """The questions to a store, and the answers so far.

    Attributes:
        scratch: The scratch objects. Several questions share one, to save requests.
        found: What was found.
    """

    def __init__(self, scratch: Scratch) -> None:
        self.scratch = scratch
        self.found = Capabilities()
        self.written: set[str] = set()

    def of_objects(self) -> _Probe:
        """Ask what can be asked with objects only."""
        scratch, ask, known = self.scratch, self._ask, self._written("list/a")
        ask("addressing_style", lambda: _addressing_style(scratch, known))
        ask("tags_on_put", self._keeps_sent_tags)
        ask("checksums", self._takes_checksums)
        if self.found.checksums:
            ask("checksums_compared", lambda: _compares_checksums(scratch))
        elif self.found.checksums is False:
            self.found = replace(self.found, checksums_compared=False)
        ask("list_v2", lambda: _lists(scratch, [known, self._written("list/b")]))
        ask(
            "start_after_beyond_ascii",
            lambda: _lists_beyond_ascii(scratch, self._written("wide/é"), self._written("wide/☃"), self.found.list_v2),
        )
        ask("multipart_copy", lambda: _copies_parts(scratch, known))
        ask("ranges", lambda: (scratch.read(known, Range="bytes=2-5") or b"")[:4] == _BODY[2:6])
        ask("suffix_ranges", lambda: scratch.read(known, Range="bytes=-1000") == _BODY)
        ask("object_tagging", lambda: _keeps(ObjectTags(scratch.bucket.object(known)), TagSet.of(_TAGS)))
        ask("post", lambda: _takes_posts(scratch))
        ask("bulk_delete", lambda: _bulk_delete(scratch, [known, self._written("list/b")], self.found.list_v2))
        suffix = "_versioned" if scratch.keeps_versions else ""
        self._race("put_if_absent", f"put_if_absent{suffix}")
        self._race("put_if_match", f"put_if_match{suffix}")
        self._race("multipart_if_absent")
        self._race("copy_if_absent")
        self._race("delete_if_match")
        return self

    def of_bucket(self) -> _Probe:
        """Test the capabilities that need a scratch bucket. Test versioning last, since a bucket cannot return to the unversioned state."""
        bucket, ask = self.scratch.bucket, self._ask
        statement = {
            "Sid": "probe",
            "Effect": "Deny",
            "Principal": "*",
            "Action": ["s3:GetObject"],
            "Resource": [f"{bucket.arn}/never"],
        }
        # Disabled: a rule that the store keeps without its filter never deletes anything.
        plain = LifecycleRule("probe", prefix="never/", expire_days=3650, enabled=False)
        filtered = replace(plain, min_size=10**9)
        ask("bucket_tagging", lambda: _keeps(Tags(bucket), TagSet.of(_TAGS)))
        ask("policy", lambda: _keeps(Policy(bucket), BucketPolicy().with_statement(statement)))
        ask("public_access_block", lambda: _blocks_public_access(bucket))
        ask("cors", lambda: _keeps(Cors(bucket), CorsConfiguration((CorsRule("probe", origins=("*",)),))))
        ask("encryption", lambda: _keeps(BucketEncryption(bucket), Encryption("AES256")))
        ask("notifications", lambda: Notifications(bucket).get() is not None)
        ask("lifecycle_filters", lambda: _keeps(Lifecycle(bucket), LifecycleConfiguration((filtered,))))
        if self.found.lifecycle_filters:
            self.found = replace(self.found, lifecycle=True)
        else:
            ask("lifecycle", lambda: _keeps(Lifecycle(bucket), LifecycleConfiguration((plain,))))
        known = "wide/☃" if "wide/☃" in self.written else "versions"  # a store may refuse the former
        ask("versioning", lambda: _keeps_versions(self.scratch, self._written(known)))
        if self.found.versioning:
            self._race("put_if_absent", "put_if_absent_versioned")
            self._race("put_if_match", "put_if_match_versioned")
        return self

    def _written(self, name: str) -> str:
        """Return the key of a scratch object, which is written if no question has needed it before."""
        key = self.scratch.new_key(name)
        if name not in self.written:
            self.scratch.put(key, _BODY)
            self.written.add(name)
        return key

    def _keeps_sent_tags(self) -> bool:
        """Return whether tags that are sent with an object are kept.

        The client is called directly: ``connection.call`` would refuse to send tags to a store that may drop them.
        """
        scratch, key = self.scratch, self.scratch.new_key("list/b")
        with scratch.connection.translating("PutObject", scratch.bucket_name, key):
            scratch.connection.client.put_object(
                Bucket=scratch.bucket_name, Key=key, Body=_BODY, Tagging=urlencode(_TAGS)
            )
        self.written.add("list/b")
        return dict(ObjectTags(scratch.bucket.object(key)).get()) == _TAGS

    def _takes_checksums(self) -> bool:
        """Return whether an upload with boto3's checksum keeps its content: some stores store the trailer in the object."""
        key = self.scratch.new_key("wide/é")
        self.scratch.put(key, _BODY, ChecksumAlgorithm="CRC32")
        self.written.add("wide/é")
        return self.scratch.read(key, ChecksumMode="ENABLED") == _BODY

    def _ask(self, name: str, experiment: Callable[[], object]) -> None:
        """Make an experiment and note its result; an error response means no, unless it says nothing about the capability.

        Raises:
            S3ConnectionError: The store no longer responds to any request.
            S3AuthenticationError: The store no longer accepts the credentials.
        """
        result: object = None
        try:
            self.scratch.deadline.check(self.scratch.bucket)
            result = experiment()
            self.scratch.deadline.check(self.scratch.bucket)
        except S3Error as error:
            logger.debug("probe: %s: %s", name, error)
            result = None
            if not _says_nothing(error):
                result = False
            else:
                if isinstance(error, S3ConnectionError | S3AuthenticationError):
                    _check_alive(self.scratch.bucket)
                reason = f"{type(error).__name__}: {error}"
                self.found = replace(self.found, reasons=(*self.found.reasons, (name, reason)))
        self.found = replace(self.found, **{name: result})  # type: ignore[arg-type]  # name is a field of this type

    def _race(self, ability: condition_probe.Ability, name: str = "") -> None:
        def verdict() -> Condition:
            try:
                return condition_probe.race(self.scratch.bucket, ability)
            except S3Unsupported:
                return "refused"

        self._ask(name or ability, verdict)


def _says_nothing(error: S3Error) -> bool:
    """Return whether an error says nothing about the capability in question."""
    return error.retryable or isinstance(error, S3ConnectionError | S3AuthenticationError | S3AccessDenied)


def _check_alive(bucket: BucketAddress) -> None:
    """Raise if the store does not respond at all, so that a probe ends instead of waiting for each of its questions."""
    try:
        bucket.connection.call("HeadBucket", Bucket=bucket.name)
    except (S3ConnectionError, S3AuthenticationError):
        raise
    except S3Error:
        pass


def _remove_left_buckets(own: BucketAddress) -> None:
    """Delete the scratch buckets of probes that were killed: those with nothing else in them, which are older by an hour.

    Args:
        own: The scratch bucket of this probe, which was just made: its age on the store's clock is compared.
    """
    connection = own.connection
    try:
        made = {
            found["Name"]: buckets.created_at(found)
            for found in buckets.list_all(connection)
            if SCRATCH_BUCKET.fullmatch(found["Name"])
        }
        now = made.pop(own.name, None)
        if now is None:
            return
        for name, moment in made.items():
            if moment is not None and moment < now - leftovers.LEFT_AFTER:
                _remove_left_bucket(BucketAddress(connection, name), now - leftovers.LEFT_AFTER)
    except S3Error as error:
        logger.debug("probe: buckets left by other probes cannot be listed: %s", error)


def _remove_left_bucket(bucket: BucketAddress, before: datetime) -> None:
    place = leftovers.Place(bucket)
    try:
        is_versioned = keeps_versions(bucket)
        dated: list[tuple[str, Any]] = []
        if is_versioned:
            for page in versions.pages(bucket):
                dated += [(entry.key, entry.last_modified) for entry in (*page.objects, *page.delete_markers)]
        else:
            dated += [(entry[0], entry[1]) for found in listing.pages(bucket) for entry in found.objects]
        keys = [*(key for key, _ in dated), *(key for key, _ in versions.uploads(bucket))]
    except S3NoSuchBucket:
        return  # another probe has deleted it
    except S3Error as error:
        logger.warning("the scratch bucket %s of a probe that was killed cannot be listed: %s", bucket.name, error)
        return
    if any(place.run_of(key) is None for key in keys):
        logger.warning(
            "the bucket %s has the name of a scratch bucket, but holds other objects: it is not deleted", bucket.name
        )
    elif all(as_utc(moment) < before for _, moment in dated):
        logger.info("deleting the scratch bucket of a probe that was killed: %s", bucket.name)
        _remove(bucket, is_versioned=is_versioned or None, is_empty=False)


def _addressing_style(scratch: Scratch, known: str) -> Literal["virtual", "path"]:
    connection = scratch.connection
    host = urlsplit(connection.endpoint_url).hostname or ""
    if connection.is_aws:
        return "virtual"
    if is_ip_address(host):
        return "path"
    try:
        # config_in: with the credentials of the user's boto3 resource, not those that boto3 finds elsewhere
        config = connection.config_in(connection.region)._overriding(
            addressing_style="virtual", max_attempts=1, connect_timeout=3.0, read_timeout=5.0
        )
        virtual = Connection(config)
        virtual.observers = connection.observers
        answer = virtual.call("GetObject", Bucket=scratch.bucket_name, Key=known)
        with virtual.translating("GetObject", scratch.bucket_name, known):
            # Compare the body: a store that ignores the host name answers 200 too, with another resource.
            return "virtual" if answer["Body"].read() == _BODY else "path"
    except S3Error:
        return "path"


def _compares_checksums(scratch: Scratch) -> bool:
    """Return whether the store refuses an object, and a part of an upload, that are not the bytes of the checksum.

    A wrong checksum shows that the store compares it, and not only the hash in the signature. A byte changed on its way does so for the
    form in which boto3 sends checksums by default, which over TLS is a trailer.
    """
    connection, key = scratch.connection, scratch.new_key("changed")
    where: dict[str, Any] = {"Bucket": scratch.bucket_name, "Key": key}
    algorithm = {"ChecksumAlgorithm": "CRC32"}
    for request in (
        lambda: connection.call("PutObject", **where, Body=_BODY, ChecksumCRC32=_WRONG_CRC32),
        lambda: connection.call_with_changed_byte("PutObject", **where, Body=_BODY, **algorithm),
    ):
        refusal = _refusal(request)
        if refusal is None:
            return False
        if not isinstance(refusal, S3ChecksumError) and scratch.read(key) is not None:
            return False  # refused, and stored all the same
    upload_id = scratch.begin_upload(key, **algorithm)
    part: dict[str, Any] = {**where, "UploadId": upload_id, "PartNumber": 1, **algorithm}
    refusal = _refusal(lambda: connection.call_with_changed_byte("UploadPart", Body=_BODY, **part))
    connection.call("AbortMultipartUpload", **where, UploadId=upload_id)
    return refusal is not None


def _refusal(request: Callable[[], object]) -> S3Error | None:
    """Make a request; return the error with which the store refused it, None if it was accepted."""
    try:
        request()
    except S3Error as error:
        if error.retryable and not isinstance(error, S3ChecksumError):
            raise
        return error
    return None


def _lists(scratch: Scratch, keys: list[str]) -> bool:
    """Return whether a listing in pages of one key lists these keys once, in order."""
    seen: list[str] = []
    parameters: dict[str, Any] = {"Bucket": scratch.bucket_name, "Prefix": scratch.key("list/"), "MaxKeys": 1}
    for _ in range(len(keys) + 1):
        answer = scratch.connection.call("ListObjectsV2", **parameters)
        seen += [found["Key"] for found in answer.get("Contents", ())]
        if not answer.get("NextContinuationToken"):
            break
        parameters["ContinuationToken"] = answer["NextContinuationToken"]
    return seen == keys


def _lists_beyond_ascii(scratch: Scratch, first: str, second: str, list_v2: bool | None) -> bool:
    """Return whether two keys beyond ASCII are listed after an ASCII key, and one after the other."""
    return _listed(scratch, "wide/", scratch.key("wide/a"), list_v2=list_v2) == [first, second] and (
        _listed(scratch, "wide/", first, list_v2=list_v2) == [second]
    )


def _listed(scratch: Scratch, name: str, start_after: str = "", *, list_v2: bool | None = None) -> list[str]:
    prefix = scratch.key(name)
    operation, position = ("ListObjects", "Marker") if list_v2 is False else ("ListObjectsV2", "StartAfter")
    parameters = {"Prefix": prefix, position: start_after} if start_after else {"Prefix": prefix}
    answer = scratch.connection.call(operation, Bucket=scratch.bucket_name, **parameters)
    return [found["Key"] for found in answer.get("Contents", ()) if found["Key"].startswith(prefix)]


def _bulk_delete(scratch: Scratch, keys: list[str], list_v2: bool | None = None) -> BulkDelete:
    deletion = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
    ways: tuple[BulkDelete, ...] = ("checksum", "md5")
    for way in ways:
        call = scratch.connection.call if way == "checksum" else scratch.connection.call_with_md5
        try:
            call("DeleteObjects", Bucket=scratch.bucket_name, Delete=deletion)
            if not set(keys) & set(_listed(scratch, "list/", list_v2=list_v2)):
                return way
        except S3Error as error:
            if _says_nothing(error):
                raise
            logger.debug("probe: DeleteObjects with %s: %s", way, error)
    return "single"


def _copies_parts(scratch: Scratch, source: str) -> bool:
    call = scratch.connection.call
    where = {"Bucket": scratch.bucket_name, "Key": scratch.new_key("copied")}
    upload = {**where, "UploadId": scratch.begin_upload(where["Key"])}
    try:
        copied = {"Bucket": scratch.bucket_name, "Key": source}
        part = call("UploadPartCopy", **upload, PartNumber=1, CopySource=copied).get("CopyPartResult", {})
        if "ETag" not in part:
            raise S3Unsupported("the store answered UploadPartCopy without a copy result")
        call("CompleteMultipartUpload", **upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
    except S3Error:
        call("AbortMultipartUpload", **upload)
        raise
    return scratch.read(upload["Key"]) == _BODY


def _takes_posts(scratch: Scratch) -> bool:
    key = scratch.new_key("posted")
    address = scratch.bucket.object(key)
    form = presigning.presigned_post(address, timedelta(minutes=5), presigning.PostPolicy())
    boundary = secrets.token_hex(16)
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in form.fields.items()
    ]
    parts.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="probe"\r\n\r\n{_BODY.decode()}\r\n'
    )
    body = ("".join(parts) + f"--{boundary}--\r\n").encode()
    try:
        status = scratch.connection.send_form(form.url, f"multipart/form-data; boundary={boundary}", body)
    except (
        S3ConnectionError
    ) as error:  # all other requests were answered: the store closed the connection because of the form
        logger.debug("probe: a POST upload failed: %s", error)
        return False
    if status >= 300:
        logger.debug("probe: a POST upload failed with status %d", status)
        return False
    return scratch.read(key) == _BODY


def _keeps(sub_resource: SubResource[Any], value: Any) -> bool:
    """Write a configuration, and return whether it is stored as it was sent. It is deleted together with the scratch bucket."""
    sub_resource.get()  # raises S3Unsupported if the store does not know the sub-resource: nothing is written then
    sub_resource._send(value)
    stored = sub_resource._stored()
    return stored is not None and sub_resource._same(stored, value)


def _blocks_public_access(bucket: BucketAddress) -> bool:
    keeps = _keeps(AccessBlockSubResource(bucket), AccessBlock(True, True, True, True))
    # Not left until the bucket is deleted: where public ACLs are blocked, radosgw refuses every PutObject.
    bucket.connection.call("DeletePublicAccessBlock", Bucket=bucket.name)
    return keeps


def _keeps_versions(scratch: Scratch, key: str) -> bool:
    Versioning(scratch.bucket).put(VersioningConfiguration("Enabled"))
    scratch.put(key, b"another version")
    return len([*versions.of_key(scratch.bucket.object(key))]) == 2


def _remove(bucket: BucketAddress, *, is_versioned: bool | None = None, is_empty: bool = False) -> None:
    """Delete the scratch bucket with all that is in it, or log that it is left.

    Args:
        bucket: The bucket.
        is_versioned: Whether it keeps versions; None if that is unknown.
        is_empty: Whether nothing was written to it.
    """
    try:
        if not is_empty:
            # All pages first: some stores cannot continue a listing after a deleted entry.
            entries: list[tuple[str, str | None]] = []
            if is_versioned:
                for page in versions.pages(bucket):
                    entries += [(entry.key, entry.version_id) for entry in (*page.objects, *page.delete_markers)]
            else:
                entries += [(entry[0], None) for page in listing.pages(bucket) for entry in page.objects]
            batch.delete_all(bucket, entries)
            if is_versioned is None:
                versions.clear_versions(bucket)
            versions.abort_uploads(bucket)
        buckets.delete(bucket)
    except S3NoSuchBucket:
        return
    except Exception as error:
        logger.warning("the scratch bucket %s could not be deleted: %s", bucket.name, error)
        if not isinstance(error, S3Error):
            raise
