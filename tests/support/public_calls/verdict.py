"""Makes one call on one store, and tells by plain boto3 whether it did what it is for, and nothing else."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from botocore.exceptions import BotoCoreError, ClientError
from support.blocking import Blocking

import messageflux_s3 as s3

from .catalogue import Call
from .place import Place

SEED: dict[str, bytes] = {
    "kept/a.txt": b"alpha",
    "kept/b.json": b'{"n": 1}',
    "kept/looks-like-tags": b"<Tagging><TagSet></TagSet></Tagging>",
    "kept/long.txt": b"line\n" * 2000,
    "side-1": b"s",
}
"""The objects in ``site.bucket`` before a call, unless the bucket is empty."""

FILES: dict[str, bytes] = {"in/f": b"file", "in/deep/g": b"another file"}
"""The files in ``site.folder`` before a call."""

SETTINGS = (
    "bucket_lifecycle_configuration", "bucket_policy", "public_access_block", "bucket_versioning", "bucket_tagging", "bucket_cors",
    "bucket_encryption", "bucket_notification_configuration",
)  # fmt: skip

_HEADERS = (
    "ContentType", "CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "ExpiresString", "StorageClass",
    "ServerSideEncryption", "SSEKMSKeyId", "WebsiteRedirectLocation",
)  # fmt: skip

Kind = Literal["right", "S3Unsupported", "S3Error", "wrong"]
Snapshot = dict[str, Any]
_number = itertools.count()


@dataclass
class Site(Place):
    """Two buckets on a store, and a folder; the first bucket holds :data:`SEED` or is empty.

    Attributes:
        sync_store: The synchronous store; ``store`` may be an async one, wrapped.
        is_empty: Whether the first bucket is empty.
    """

    sync_store: s3.S3Store = None  # type: ignore[assignment]
    is_empty: bool = False

    @property
    def seed(self) -> dict[str, bytes]:
        """The objects in the first bucket before the call."""
        return {} if self.is_empty else SEED

    def renew(self) -> None:
        """Create new buckets and files."""
        self.clear()
        self.state.clear()
        self.stem = f"mfs3-table-{uuid.uuid4().hex[:8]}-{next(_number):04}"
        for name in (self.name, f"{self.stem}-b"):
            self.client.create_bucket(Bucket=name)
        for key, body in self.seed.items():
            self.put(key, body, ContentType="text/plain", Metadata={"m": "1"})
        self.put("theirs", b"another bucket's", f"{self.stem}-b")
        shutil.rmtree(self.folder, ignore_errors=True)
        for path, body in FILES.items():
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).write_bytes(body)

    def clear(self) -> None:
        """Remove the buckets."""
        if not self.stem:
            return
        for name in self.names():
            # moto fails on some states, and a policy or the kind of server may keep something: the names are random.
            with suppress(ClientError, BotoCoreError):
                if self.server.root is None:
                    self.client.delete_bucket_policy(Bucket=name)
            with suppress(ClientError, BotoCoreError):
                for upload in self.client.list_multipart_uploads(Bucket=name).get("Uploads", ()):
                    self.client.abort_multipart_upload(Bucket=name, Key=upload["Key"], UploadId=upload["UploadId"])
                for row in self._rows(name):
                    version = {"VersionId": row["VersionId"]} if "VersionId" in row else {}
                    self.client.delete_object(Bucket=name, Key=row["Key"], **version)
                self.client.delete_bucket(Bucket=name)

    # -- what is really there -----------------------------------------------------------------------------------------------------

    def content(self, key: str, name: str | None = None, **parameters: Any) -> bytes | None:
        """Return the content of an object, None if there is none."""
        try:
            answer = self.client.get_object(Bucket=name or self.name, Key=key, **parameters)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                return None
            raise
        body: bytes = answer["Body"].read()
        return body

    def head(self, key: str, name: str | None = None) -> dict[str, Any]:
        answer: dict[str, Any] = self.client.head_object(Bucket=name or self.name, Key=key)
        return answer

    def keys(self, name: str | None = None) -> list[str]:
        listed = self.client.list_objects_v2(Bucket=name or self.name).get("Contents", ())
        return sorted(found["Key"] for found in listed)

    def setting(self, name: str, bucket: str | None = None, **of_object: str) -> dict[str, Any]:
        """Return a configuration of the first bucket, or of an object in it; empty if there is none."""
        try:
            answer: dict[str, Any] = getattr(self.client, f"get_{name}")(Bucket=bucket or self.name, **of_object)
        except (ClientError, BotoCoreError):
            return {}
        answer.pop("ResponseMetadata", None)
        return answer

    def tags(self, key: str | None = None) -> dict[str, str]:
        """Return the tags of the first bucket, or of an object in it."""
        answer = self.setting("object_tagging", Key=key) if key is not None else self.setting("bucket_tagging")
        return {tag["Key"]: tag["Value"] for tag in answer.get("TagSet", ())}

    def snapshot(self) -> Snapshot:
        """Read everything on the store and in the folder, as units each of which a call may change or not."""
        found: Snapshot = {}
        for name in self.names():
            end = name.removeprefix(self.stem)
            found[f"bucket {end}"] = True
            rows: dict[str, list[Any]] = {}
            for row in self._rows(name):
                version = row.get("VersionId", "null"), row.get("IsLatest", True), row.get("ETag", "marker")
                rows.setdefault(row["Key"], []).append(version)
            for key, versions in rows.items():
                found[f"object {end}/{key}"] = [sorted(versions), self._object(name, key)]
            if self.server.root is not None:
                folder = self.server.root / name
                for path in (path for path in folder.rglob("*") if path.is_file()):
                    found[f"object {end}/{path.relative_to(folder).as_posix()} on disk"] = _digest(path.read_bytes())
                continue  # it has no settings: the answers are listings
            for setting in SETTINGS:
                found[f"setting {end} {setting}"] = self._readable(self.setting(setting, name))
            uploads = self.setting_of_uploads(name)
            if uploads:
                found[f"uploads {end}"] = uploads
        for path in self.folder.rglob("*"):
            if path.is_file():
                found[f"file {path.relative_to(self.folder).as_posix()}"] = _digest(path.read_bytes())
        return found

    def setting_of_uploads(self, name: str) -> list[str]:
        """Return the keys of the unfinished uploads in a bucket."""
        return [upload["Key"] for upload in self.client.list_multipart_uploads(Bucket=name).get("Uploads", ())]

    def _rows(self, name: str) -> list[dict[str, Any]]:
        """List the versions of the objects in a bucket, or the objects on a store without versions."""
        if self.server.root is None:
            with suppress(ClientError, BotoCoreError):
                listed = self.client.list_object_versions(Bucket=name)
                return [*listed.get("Versions", ()), *listed.get("DeleteMarkers", ())]
        return [*self.client.list_objects_v2(Bucket=name).get("Contents", ())]

    def _object(self, name: str, key: str) -> Any:
        try:
            answer = self.client.get_object(Bucket=name, Key=key)
            body = _digest(answer["Body"].read())
        except ClientError as error:
            return error.response["Error"]["Code"]
        metadata = {word.lower(): text for word, text in answer["Metadata"].items()}
        tags = self.setting("object_tagging", name, Key=key) if self.server.root is None else {}
        return [
            body,
            metadata,
            [str(answer.get(header)) for header in _HEADERS],
            sorted(map(str, tags.get("TagSet", ()))),
        ]

    def _readable(self, answer: dict[str, Any]) -> str:
        return json.dumps(answer, sort_keys=True, default=str).replace(self.stem, "…")


def _digest(body: bytes) -> str:
    return f"{len(body)} bytes, {hashlib.md5(body).hexdigest()}"


@dataclass(frozen=True)
class StoreCall(Call):
    """A call of the table of all stores.

    Attributes:
        right: Asserts with plain boto3, given the site and what the call returned, that the call did what it is for.
        changes: Patterns of the units of a snapshot that the call may change.
        left: Patterns of the units that it may also change if it raises.
        needs_objects: Whether it needs the objects of :data:`SEED`; in an empty bucket it has to raise then.
        prepare: Sets up what the call needs, with plain boto3.
        is_sync_only: Whether the async interface does not have it.
        is_slow: Whether it makes hundreds of requests.
    """

    right: Callable[[Any, Any], object] = lambda site, result: None
    changes: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    needs_objects: bool = False
    prepare: Callable[[Any], object] | None = None
    is_sync_only: bool = False
    is_slow: bool = False


@dataclass(frozen=True)
class Verdict:
    """What became of a call.

    Attributes:
        kind: ``"right"``, ``"S3Unsupported"``, ``"S3Error"`` (another one), or ``"wrong"``.
        why: The error, or what is wrong.
    """

    kind: Kind
    why: str = ""


@contextmanager
def model_of(site: Site, store: s3.S3Store, *, is_async: bool) -> Iterator[None]:
    """During the block, the site's store is this one, through its synchronous or its async interface."""
    site.sync_store = store
    if not is_async:
        site.store = store
        yield
        return
    loop = asyncio.new_event_loop()
    opened = s3.AsyncS3Store(store)
    site.store = Blocking(opened, loop)  # type: ignore[assignment]
    try:
        yield
    finally:
        loop.run_until_complete(opened.close())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def judge(site: Site, call: StoreCall, before: Snapshot) -> tuple[Verdict, Snapshot]:
    """Make a call, and compare the store with what it was.

    Returns:
        The verdict, and the snapshot after the call.
    """
    raised: Exception | None = None
    result: Any = None
    try:
        result = call.run(site)
    except Exception as error:
        raised = error
    after = site.snapshot()
    allowed = call.changes if raised is None else call.left
    changed = sorted(unit for unit in before.keys() | after.keys() if before.get(unit) != after.get(unit))
    unexpected = [unit for unit in changed if not any(fnmatchcase(unit, pattern) for pattern in allowed)]
    return _verdict(site, call, raised, result, unexpected), after


def _verdict(site: Site, call: StoreCall, raised: Exception | None, result: Any, unexpected: list[str]) -> Verdict:
    said = f"{type(raised).__name__}: {raised}" if raised is not None else "it returned"
    if unexpected:
        return Verdict("wrong", f"{said}, and changed {unexpected}")
    if raised is not None:
        if call.needs_objects and site.is_empty and isinstance(raised, FileNotFoundError):
            return Verdict("right", said)
        if not isinstance(raised, s3.S3Error):
            return Verdict("wrong", said)
        return Verdict("S3Unsupported" if isinstance(raised, s3.S3Unsupported) else "S3Error", said)
    if call.needs_objects and site.is_empty:
        return Verdict("wrong", "it returned although the object does not exist")
    try:
        call.right(site, result)
    except (AssertionError, ClientError, BotoCoreError, KeyError, IndexError, AttributeError, TypeError) as error:
        return Verdict("wrong", f"{type(error).__name__}: {error}; returned {result!r}"[:1500])
    return Verdict("right")
