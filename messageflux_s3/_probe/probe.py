"""Detection of what a store supports, by experiments on scratch objects in a scratch bucket, which is deleted afterwards.

Each experiment checks its effect and not only the status: some stores answer "200 OK" to requests that they ignore.
"""

from __future__ import annotations

import ipaddress
import logging
import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, Literal
from urllib.parse import urlsplit

from .._bulk import batch, versions
from .._client import buckets
from .._client.addresses import BucketAddress
from .._client.capabilities import BulkDelete, Capabilities, Condition
from .._client.connection import Connection
from .._objects import condition_probe, presigning
from .._objects.versioned import is_versioned, keeps_versions
from ..errors import S3AccessDenied, S3AuthenticationError, S3ConnectionError, S3Error, S3Unsupported
from ..subresources.cors import Cors, CorsConfiguration, CorsRule
from ..subresources.encryption import BucketEncryption, Encryption
from ..subresources.lifecycle import Lifecycle, LifecycleConfiguration, LifecycleRule
from ..subresources.notifications import Notifications
from ..subresources.policy import BucketPolicy, Policy
from ..subresources.public_access import AccessBlock, AccessBlockSubResource
from ..subresources.tags import ObjectTags, Tags, TagSet
from ..subresources.versioning import Versioning

logger = logging.getLogger("messageflux_s3")

_BODY = b"messageflux-s3 probe"


def probe(connection: Connection, bucket_name: str | None = None) -> Capabilities:
    """Detect what the store supports.

    Args:
        connection: The connection to the store.
        bucket_name: An existing bucket for the scratch objects, if you may not create buckets. Its settings are not changed, so
            capabilities that need a change of settings are not tested.

    Raises:
        S3AccessDenied: You may not create buckets, and ``bucket_name`` is None.
        S3ConnectionError: The store does not respond.

    Requests:
        about 600, half of them concurrent conditional writes; the scratch objects and the scratch bucket are deleted
    """
    if bucket_name is not None:
        return _objects(_Trial(BucketAddress(connection, bucket_name)), Capabilities())
    scratch_bucket = BucketAddress(connection, f"mfs3-probe-{secrets.token_hex(8)}")
    try:
        buckets.create(scratch_bucket)
    except S3AccessDenied as error:
        error.args = (f"{error} Name a bucket for the scratch objects instead: probe(bucket_name=…).",)
        raise
    trial = _Trial(scratch_bucket)
    try:
        return _bucket(trial, _objects(trial, Capabilities()))
    finally:
        _remove(scratch_bucket)


class _Trial:
    """A bucket for experiments, and a random prefix for their keys."""

    def __init__(self, bucket: BucketAddress) -> None:
        self.bucket = bucket
        self.connection, self.bucket_name = bucket
        self.prefix = f"mfs3-probe-{secrets.token_hex(6)}-"

    def key(self, name: str) -> str:
        return self.prefix + name

    def put(self, name: str, body: bytes = _BODY, **parameters: Any) -> str:
        self.connection.call("PutObject", Bucket=self.bucket_name, Key=self.key(name), Body=body, **parameters)
        return self.key(name)

    def get(self, name: str, **parameters: Any) -> bytes:
        where = {"Bucket": self.bucket_name, "Key": self.key(name)}
        answer = self.connection.call("GetObject", **where, **parameters)
        with self.connection.translating("GetObject", self.bucket_name, self.key(name)):
            body: bytes = answer["Body"].read()
        return body

    def keys(self, **parameters: Any) -> list[str]:
        answer = self.connection.call("ListObjectsV2", Bucket=self.bucket_name, Prefix=self.prefix, **parameters)
        return [found["Key"] for found in answer.get("Contents", ()) if found["Key"].startswith(self.prefix)]

    def clean(self) -> None:
        try:
            batch.delete_all(self.bucket, ((key, None) for key in self.keys()))
            if keeps_versions(self.bucket):
                pages = versions.pages(self.bucket, prefix=self.prefix)
                left = [entry for page in pages for entry in (*page.objects, *page.delete_markers)]
                batch.delete_all(self.bucket, ((entry.key, entry.version_id) for entry in left))
        except S3Error as error:
            logger.warning("scratch objects s3://%s/%s* could not be deleted: %s", self.bucket_name, self.prefix, error)


def _objects(trial: _Trial, found: Capabilities) -> Capabilities:
    """Test the capabilities that need objects only."""
    try:
        trial.put("known")
        found = replace(
            found,
            addressing_style=_addressing_style(trial),
            checksums=_holds(lambda: _takes_checksums(trial)),
            list_v2=_holds(lambda: _lists(trial)),
            start_after_beyond_ascii=_holds(lambda: _lists_beyond_ascii(trial)),
            bulk_delete=_bulk_delete(trial),
            multipart_copy=_holds(lambda: _copies_parts(trial)),
            ranges=_holds(lambda: trial.get("known", Range="bytes=2-5")[:4] == _BODY[2:6]),
            suffix_ranges=_holds(lambda: trial.get("known", Range="bytes=-1000") == _BODY),
            object_tagging=_holds(lambda: _takes_object_tags(trial)),
            post=_holds(lambda: _takes_posts(trial)),
        )
        kinds: tuple[
            Literal["put_if_absent", "put_if_match", "multipart_if_absent", "copy_if_absent", "delete_if_match"], ...
        ]
        kinds = ("put_if_absent", "put_if_match", "multipart_if_absent", "copy_if_absent", "delete_if_match")
        versioned = is_versioned(trial.bucket)
        conditions: dict[str, Any] = {
            f"{kind}_versioned" if versioned and kind.startswith("put") else kind: _race(trial, kind) for kind in kinds
        }
        return replace(found, **conditions)
    finally:
        trial.clean()


def _bucket(trial: _Trial, found: Capabilities) -> Capabilities:
    """Test the capabilities that need a scratch bucket; versioning last, since it cannot be undone."""
    bucket = trial.bucket
    statement = {
        "Sid": "probe",
        "Effect": "Deny",
        "Principal": "*",
        "Action": ["s3:GetObject"],
        "Resource": [f"arn:aws:s3:::{bucket.name}/never"],
    }
    plain = LifecycleConfiguration((LifecycleRule("probe", prefix="never/", expire_days=3650),))
    filtered = LifecycleConfiguration((LifecycleRule("probe", prefix="never/", min_size=10**9, expire_days=3650),))
    found = replace(
        found,
        bucket_tagging=_holds(lambda: _keeps(Tags(bucket), TagSet.of({"probe": "yes"}))),
        policy=_holds(lambda: _keeps(Policy(bucket), BucketPolicy().with_statement(statement))),
        public_access_block=_holds(lambda: _keeps(AccessBlockSubResource(bucket), AccessBlock(True, True, True, True))),
        cors=_holds(lambda: _keeps(Cors(bucket), CorsConfiguration((CorsRule("probe", origins=("*",)),)))),
        encryption=_holds(lambda: _keeps(BucketEncryption(bucket), Encryption("AES256"))),
        notifications=_holds(lambda: Notifications(bucket).get() is not None),
        lifecycle=_holds(lambda: _keeps(Lifecycle(bucket), plain)),
        lifecycle_filters=_holds(lambda: _keeps(Lifecycle(bucket), filtered)),
    )
    found = replace(found, versioning=_holds(lambda: _keeps_versions(trial)))
    if found.versioning:
        found = replace(
            found,
            put_if_absent_versioned=_race(trial, "put_if_absent"),
            put_if_match_versioned=_race(trial, "put_if_match"),
        )
    return found


def _holds(experiment: Callable[[], bool]) -> bool:
    """Return whether an experiment succeeds; an error response means no. Connection and authentication errors are raised."""
    try:
        return experiment()
    except (S3ConnectionError, S3AuthenticationError):
        raise
    except S3Error as error:
        logger.debug("probe: %s", error)
        return False


def _race(trial: _Trial, kind: Any) -> Condition:
    try:
        return condition_probe.race(trial.bucket, kind)
    except S3Unsupported:
        return "refused"


def _addressing_style(trial: _Trial) -> Literal["virtual", "path"]:
    connection = trial.connection
    host = urlsplit(connection.endpoint_url).hostname or ""
    if connection.is_aws:
        return "virtual"
    try:
        ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        return "path"  # a bucket's name cannot be a subdomain of an IP address
    config = connection.config.replace(
        addressing_style="virtual", max_attempts=1, connect_timeout=3.0, read_timeout=5.0
    )
    virtual = _Trial(BucketAddress(Connection(config), trial.bucket_name))
    virtual.prefix = trial.prefix
    try:
        # Compare the body: a store that ignores the host name answers 200 too, with another resource.
        return "virtual" if virtual.get("known") == _BODY else "path"
    except S3Error:
        return "path"


def _takes_checksums(trial: _Trial) -> bool:
    """Return whether an upload with boto3's default checksum keeps its content: some stores store the trailer in the object."""
    trial.put("checksummed", ChecksumAlgorithm="CRC32")
    return trial.get("checksummed") == _BODY and trial.get("checksummed", ChecksumMode="ENABLED") == _BODY


def _lists(trial: _Trial) -> bool:
    for name in ("list-1", "list-2", "list-3"):
        trial.put(name)
    seen: list[str] = []
    parameters: dict[str, Any] = {"Bucket": trial.bucket_name, "Prefix": trial.key("list-"), "MaxKeys": 1}
    for _ in range(4):
        answer = trial.connection.call("ListObjectsV2", **parameters)
        seen += [found["Key"] for found in answer.get("Contents", ())]
        if not answer.get("NextContinuationToken"):
            break
        parameters["ContinuationToken"] = answer["NextContinuationToken"]
    return seen == [trial.key(name) for name in ("list-1", "list-2", "list-3")]


def _lists_beyond_ascii(trial: _Trial) -> bool:
    first, second, third = (trial.put(name) for name in ("é-1", "é-2", "☃"))
    return trial.keys(StartAfter=first) == [second, third]


def _bulk_delete(trial: _Trial) -> BulkDelete:
    for way in ("checksum", "md5"):
        keys = [trial.put(f"bulk-{way}-{number}") for number in (1, 2)]
        wanted = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
        call = trial.connection.call if way == "checksum" else trial.connection.call_with_md5

        def done(call: Any = call, wanted: Any = wanted, keys: list[str] = keys) -> bool:
            call("DeleteObjects", Bucket=trial.bucket_name, Delete=wanted)
            return not set(keys) & set(trial.keys())

        if _holds(done):
            return "checksum" if way == "checksum" else "md5"
    return "single"


def _copies_parts(trial: _Trial) -> bool:
    call = trial.connection.call
    where = {"Bucket": trial.bucket_name, "Key": trial.key("copied")}
    upload = {**where, "UploadId": call("CreateMultipartUpload", **where)["UploadId"]}
    try:
        source = {"Bucket": trial.bucket_name, "Key": trial.key("known")}
        part = call("UploadPartCopy", **upload, PartNumber=1, CopySource=source).get("CopyPartResult", {})
        if "ETag" not in part:
            raise S3Unsupported("the store answered UploadPartCopy without a copy result")
        call("CompleteMultipartUpload", **upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
    except S3Error:
        call("AbortMultipartUpload", **upload)
        raise
    return trial.get("copied") == _BODY


def _takes_object_tags(trial: _Trial) -> bool:
    key = trial.put("tagged")
    tags = ObjectTags(trial.bucket.object(key))
    tags.put({"probe": "yes"})
    return dict(tags.get()) == {"probe": "yes"} and trial.get("tagged") == _BODY


def _takes_posts(trial: _Trial) -> bool:
    key = trial.key("posted")
    address = trial.bucket.object(key)
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
        status = trial.connection.send_form(form.url, f"multipart/form-data; boundary={boundary}", body)
    except (
        S3ConnectionError
    ) as error:  # all other requests were answered: the store closed the connection because of the form
        logger.debug("probe: a POST upload failed: %s", error)
        return False
    if status >= 300:
        logger.debug("probe: a POST upload failed with status %d", status)
        return False
    return trial.get("posted") == _BODY


def _keeps(sub_resource: Any, value: Any) -> bool:
    """Put a configuration, read it back, delete it; return whether it came back equal."""
    sub_resource.put(value)
    kept = sorted(sub_resource.get().lines()) == sorted(value.lines())
    sub_resource.delete()
    return kept


def _keeps_versions(trial: _Trial) -> bool:
    Versioning(trial.bucket).enable()
    key = trial.put("versions", b"one")
    trial.put("versions", b"two")
    return len([*versions.of_key(trial.bucket.object(key))]) == 2


def _remove(bucket: BucketAddress) -> None:
    connection, bucket_name = bucket
    try:
        batch.delete_all(
            bucket,
            (
                (found["Key"], None)
                for found in connection.call("ListObjectsV2", Bucket=bucket_name).get("Contents", ())
            ),
        )
        versions.clear_versions(bucket)
        versions.abort_uploads(bucket)
        buckets.delete(bucket)
    except S3Error as error:
        logger.warning("the scratch bucket %s could not be deleted: %s", bucket_name, error)
