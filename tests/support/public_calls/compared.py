"""Single calls whose result and effects are compared with those of a run without faults.

The expected result is not written here: a test makes each call once without faults, and compares what it returns and what it leaves on
the store and on the disk with every run under faults. A call therefore returns values that are the same each time.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import itertools
import json
import shutil
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import messageflux_s3 as s3
from messageflux_s3._formats.metadata import IDEMPOTENCY_TOKEN
from messageflux_s3.subresources.cors import CorsConfiguration
from messageflux_s3.subresources.encryption import Encryption
from messageflux_s3.subresources.lifecycle import LifecycleConfiguration
from messageflux_s3.subresources.policy import BucketPolicy
from messageflux_s3.subresources.tags import Tags

from .catalogue import CATALOGUE, Call, add
from .place import Place

SEED: dict[str, bytes] = {
    "kept/a.txt": b"alpha",
    "kept/b.json": b'{"n": 1}',
    "kept/c.bin": bytes(range(256)) * 16,
    "kept/long.txt": b"".join(b"line %d\n" % number for number in range(20_000)),
    "other/x": b"x",
}
"""The objects in ``place.bucket`` before each call."""

FILES: dict[str, bytes] = {"in/f": b"file", "in/deep/g": b"another file", "there": b"before"}
"""The files in ``place.folder`` before each call."""

PARTS = b"p" * (5 << 20) + b"the rest"
_MiB = 1 << 20
_PROBES = ("object -b/", "object -a/.mfs3-probe/")
_number = itertools.count()


class ComparedPlace(Place):
    """A place that can be set up anew, and whose state can be recorded."""

    def renew(self) -> None:
        """Create new buckets with the initial objects, and reset the folder."""
        self.clear()
        self.stem = f"wire-{next(_number):05}"
        for end in ("-a", "-b"):
            self.client.create_bucket(Bucket=self.stem + end)
        for key, body in SEED.items():
            self.put(key, body, ContentType="text/plain", Metadata={"m": "1"})
        self.renew_folder()

    def renew_folder(self) -> None:
        """Reset the folder to the initial files."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for name, body in FILES.items():
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_bytes(body)

    def clear(self) -> None:
        """Remove the buckets, so that the server does not fill up."""
        if not self.stem:
            return
        for name in self.names():
            # A late request may have written again, and moto fails on some states that a fault has left.
            with suppress(self.client.exceptions.ClientError):
                if self.server.root is not None:
                    for key in self._on_disk(name):
                        self.client.delete_object(Bucket=name, Key=key)
                else:
                    listed = self.client.list_object_versions(Bucket=name)
                    for found in [*listed.get("Versions", ()), *listed.get("DeleteMarkers", ())]:
                        self.client.delete_object(Bucket=name, Key=found["Key"], VersionId=found["VersionId"])
                self.client.delete_bucket(Bucket=name)

    # -- the truth ----------------------------------------------------------------------------------------------------------------

    def snapshot(self, *, settings: bool) -> dict[str, Any]:
        """Read everything on the store and on the disk, without the proxy, as units each of which must be old or new."""
        found: dict[str, Any] = {}
        for name in self.names():
            end = name.removeprefix(self.stem)
            found[f"bucket {end}"] = True
            objects = self._on_disk(name) if self.server.root is not None else self._in_memory(name)
            found |= {f"object {end}/{key}": what for key, what in objects.items()}
        for path in sorted(self.folder.rglob("*")):
            if path.is_file():
                found[f"file {path.relative_to(self.folder).as_posix()}"] = _digest(path.read_bytes())
        return found | (self._settings() if settings else {})

    def _on_disk(self, name: str) -> dict[str, Any]:
        assert self.server.root is not None
        folder = self.server.root / name
        return {
            path.relative_to(folder).as_posix(): _digest(path.read_bytes())
            for path in folder.rglob("*")
            if path.is_file()
        }

    def _in_memory(self, name: str) -> dict[str, Any]:
        listed = self.client.list_object_versions(Bucket=name)
        found: dict[str, Any] = {}
        rows = [*listed.get("Versions", ()), *listed.get("DeleteMarkers", ())]
        for row in sorted(rows, key=lambda row: (row["IsLatest"], row["LastModified"]), reverse=True):
            versions, version = found.setdefault(row["Key"], []), (row.get("ETag", "marker"), row.get("Size"))
            if versions[-1:] != [
                version
            ]:  # a retry makes a second, identical version: S3 cannot know that it is a retry
                versions.append(version)
        for key in found.keys() - SEED.keys():
            if found[key][0][0] == "marker":
                continue
            head = self.client.head_object(Bucket=name, Key=key)
            if head.get("StorageClass") == "GLACIER":  # its body cannot be read before it is restored
                found[key] += ["restored" if "Restore" in head else "archived", head["Metadata"]]
                continue
            answer = self.client.get_object(Bucket=name, Key=key)
            body, metadata = (
                answer["Body"].read(),
                {name: text for name, text in answer["Metadata"].items() if name != IDEMPOTENCY_TOKEN},
            )
            lease = _lease_in(body)
            if lease is not None:  # leave out what differs each time: token, nonce, time
                found[key] = ["lease", lease["state"], lease["owner"]]
            else:
                found[key] += [_digest(body), metadata, answer["ContentType"]]
        return found

    def _settings(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name in (
            "bucket_lifecycle_configuration", "bucket_policy", "public_access_block", "bucket_versioning", "bucket_tagging", "bucket_cors",
            "bucket_encryption", "bucket_notification_configuration", "object_tagging",
        ):  # fmt: skip
            of_object = {"Key": "kept/a.txt"} if name.startswith("object") else {}
            try:
                answer = getattr(self.client, f"get_{name}")(Bucket=self.name, **of_object)
            except self.client.exceptions.ClientError as error:
                answer = {"none": error.response["Error"]["Code"]}
            answer.pop("ResponseMetadata", None)
            found[f"setting {name}"] = json.dumps(answer, sort_keys=True, default=str).replace(self.stem, "…")
        return found


def _lease_in(body: bytes) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] | None = json.loads(body).get("_lease")
    except (ValueError, AttributeError):
        return None  # no lock, or one with a corrupted byte
    return found if isinstance(found, dict) and found.keys() >= {"state", "owner"} else None


def _digest(body: bytes) -> str:
    return f"{len(body)} bytes, {hashlib.md5(body).hexdigest()}"


@dataclass(frozen=True)
class ComparedCall(Call):
    """A call whose result and effects are compared with those of the same call without faults.

    Attributes:
        server: ``"rclone"``, or ``"moto"`` where rclone does not support the call.
        prepare: Sets up what the call needs, with plain boto3.
        warm: Calls without faults through the same store, so that the store has already probed what the call depends on.
        also: Other results that are correct under faults.
        verified: Whether the documentation promises that a corrupted body is detected.
        settings: Whether it is about the sub-resources of a bucket or object.
        leaves: Prefixes of recorded items that are not compared: a journal, objects that a probe could not delete, random names.
        is_long: Whether it takes so many requests that only a few seeds are run.
        by_steps: Whether a failed call may leave a state between the old and the new one.
    """

    server: str = "rclone"
    prepare: Callable[[Place], Any] | None = None
    warm: Callable[[Place], Any] | None = None
    also: tuple[Any, ...] = ()
    verified: bool = False
    settings: bool = False
    leaves: tuple[str, ...] = ()
    is_long: bool = False
    by_steps: bool = False


def compared_calls() -> list[ComparedCall]:
    """Return the calls of the catalogue whose results are compared."""
    return [call for call in CATALOGUE if isinstance(call, ComparedCall)]


def row(members: str, run: Callable[[Place], Any], name: str = "", **about: Any) -> None:
    """Add a call to the catalogue. ``members`` are separated by spaces; the call is named after the first, followed by ``name``."""
    names = tuple(members.split())
    add(ComparedCall(f"{names[0]} {name}".strip(), names, run, **about))


def _keys(objects: Iterable[Any]) -> list[str]:
    return [obj.key for obj in objects]


def _bodies(objects: Iterable[s3.S3Object]) -> dict[str, Any]:
    """Bodies by key, or the error that reading gave."""
    found: dict[str, Any] = {}
    for obj in objects:
        try:
            found[obj.key] = _digest(obj.body)
        except s3.S3Error as error:
            found[obj.key] = error
    return found


def _wrote(obj: s3.S3Object) -> Any:
    return obj.key, obj.etag


def _read(file: Any) -> Any:
    with file:
        return file.read()


def _write(file: Any, *pieces: Any) -> int:
    with file:
        return sum(file.write(piece) for piece in pieces)


# -- the store --------------------------------------------------------------------------------------------------------------------

row(
    "S3Store.ping S3Store.is_online",
    lambda p: (p.store.ping(), p.store.is_online),
    also=((False, False), (False, True)),
)
row("S3Store.buckets", lambda p: [b.name[-2:] for b in p.store.buckets() if b.name.startswith(p.stem)])
row("S3Store.buckets", lambda p: [b.name[-2:] for b in p.store.buckets(p.stem)], "by prefix")
row("S3Bucket.region", lambda p: p.bucket.region, server="moto")
row("S3Bucket.creation_date", lambda p: p.bucket.creation_date is not None)
row(
    "S3Bucket.list_buckets",
    lambda p: [b.name[-2:] for b in s3.S3Bucket.list_buckets(p.store) if b.name.startswith(p.stem)],
)
for _server in ("rclone", "moto"):
    row(
        "S3Store.create_bucket",
        lambda p: p.store.create_bucket(f"{p.stem}-new").name[-4:],
        f"on {_server}",
        server=_server,
    )
    row(
        "S3Store.create_bucket",
        lambda p: p.store.create_bucket(p.name).name[-2:],
        f"again, on {_server}",
        server=_server,
    )
row(
    "S3Bucket.create_bucket",
    lambda p: s3.S3Bucket.create_bucket(p.store, f"{p.stem}-new", exist_ok=False).name[-4:],
    server="moto",
)
row("S3Bucket", lambda p: s3.S3Bucket(f"{p.stem}-new", p.store, auto_create=True).name[-4:], server="moto")
row("S3Bucket", lambda p: s3.S3Bucket(p.name, p.store).name[-2:], "there")
row("S3Store.probe", lambda p: p.store.probe(), server="moto", is_long=True)
row("S3Store.show", lambda p: p.name in str(p.store.show()))
_RECORD = {"eventName": "ObjectCreated:Put"}
row(
    "S3Store.objects_from S3Store.object",
    lambda p: [
        obj.body for obj in p.store.objects_from(
            {"Records": [_RECORD | {"s3": {"bucket": {"name": p.name}, "object": {"key": "kept/a.txt"}}}]})
    ] + [p.store.object(f"s3://{p.name}/kept/b.json").body],
)  # fmt: skip

# -- the bucket -------------------------------------------------------------------------------------------------------------------

row("S3Bucket.exists", lambda p: (p.bucket.exists(), p.store.bucket(f"{p.stem}-none").exists()))
row("S3Bucket.get_object S3Object.body", lambda p: p.bucket.get_object("kept/long.txt").body)
row("S3Bucket.get_object", lambda p: p.bucket.get_object("kept/a.txt").body, "on moto", server="moto")
for _server in ("rclone", "moto"):
    row("S3Bucket.get_object", lambda p: p.bucket.get_object("kept/a.txt", if_none_match=_digest(SEED["kept/a.txt"])[-32:]),
        f"unchanged, on {_server}", server=_server)  # fmt: skip
row("S3Bucket.get_json", lambda p: p.bucket.get_json("kept/b.json"))
row("S3Bucket.put_object", lambda p: _wrote(p.bucket.put_object("n/new", b"new", {"who": "me"})), server="moto")
row("S3Bucket.put_object", lambda p: _wrote(p.bucket.put_object("kept/a.txt", bytes(300_000))), "over another")
for _name, _how in {"cold": {}, "warm": {"warm": lambda p: p.other.put_object("w", b"", if_absent=True)}}.items():
    row("S3Bucket.put_object", lambda p: _wrote(p.bucket.put_object("n/new", b"new", if_absent=True)), f"if_absent, {_name}",
        server="moto", leaves=_PROBES, **_how)  # fmt: skip
row("S3Bucket.put_object", lambda p: _wrote(p.bucket.put_object("kept/a.txt", b"new", if_match=p.state["etag"])), "if_match", server="moto",
    prepare=lambda p: p.state.update(etag=p.client.head_object(Bucket=p.name, Key="kept/a.txt")["ETag"]),
    warm=lambda p: p.other.put_object("w", b"", if_match=p.put("w", b"0", p.other.name)["ETag"]), leaves=_PROBES)  # fmt: skip
row("S3Bucket.put_json", lambda p: _wrote(p.bucket.put_json("n/new", [1, 2])))
row("S3Bucket.delete_object", lambda p: p.bucket.delete_object("kept/a.txt"))
row("S3Bucket.copy_object", lambda p: p.bucket.copy_object("kept/long.txt", "n/copy").key)
row(
    "S3Bucket.copy_object",
    lambda p: p.bucket.copy_object("kept/a.txt", "n/copy", metadata={"other": "2"}).key,
    "on moto",
    server="moto",
)
row(
    "S3Bucket.upload_object",
    lambda p: p.bucket.upload_object("n/new", io.BytesIO(SEED["kept/long.txt"])).key,
    verified=True,
)
row(
    "S3Bucket.upload_object",
    lambda p: p.bucket.upload_object("n/new", iter([PARTS, b"end"]), part_size_bytes=5 * _MiB).key,
    "in parts",
)
row("S3Bucket.upload_object", lambda p: p.bucket.upload_object("n/new", PARTS, part_size_bytes=5 * _MiB).key, "in parts, on moto",
    server="moto")  # fmt: skip
row("S3Bucket.upload_file", lambda p: p.bucket.upload_file(p.folder / "in/f", "n/new").key, verified=True)


def _downloaded(p: Place, *, verify: bool | None = None) -> bytes:
    out = io.BytesIO()
    p.bucket.download_object("kept/long.txt", out, verify_checksum=verify)
    return out.getvalue()


row("S3Bucket.download_object", _downloaded, verified=True)
row("S3Bucket.download_file", lambda p: p.bucket.download_file("kept/long.txt", p.folder / "there").key, verified=True)
row("S3Bucket.download_file", lambda p: p.bucket.download_file("kept/long.txt", p.folder / "new", resume=True).key, "to resume",
    leaves=("file .new",))  # fmt: skip
row("S3Bucket.download_file", lambda p: p.bucket.download_file("big", p.folder / "there").key, "in parts",
    prepare=lambda p: p.put("big", bytes(range(256)) * (17 * 4096)))  # fmt: skip
row("S3Bucket.upload_folder", lambda p: p.bucket.upload_folder(p.folder / "in", "n"))
row("S3Bucket.download_folder", lambda p: sorted(p.bucket.download_folder("kept/", p.folder / "out")), verified=False)
_PLAN = " ".join(
    f"SyncPlan.{name}" for name in ("apply", "applied", "copied", "skipped", "deleted", "steps", "direction")
)


def _gone_in_bucket(p: Place) -> None:
    p.put("sync/gone", b"x")
    p.put("sync/f", b"old")


def _plan(plan: s3.SyncPlan) -> Any:
    done = (
        sorted(step.key for step in plan.copied),
        sorted(step.key for step in plan.deleted),
        sorted(s.key for s in plan.skipped),
    )
    return done, plan.applied


row(
    "S3Bucket.sync_from_folder",
    lambda p: _plan(p.bucket.sync_from_folder(p.folder / "in", "sync/", delete=True)),
    prepare=_gone_in_bucket,
)
row(f"S3Bucket.sync_to_folder {_PLAN}",
    lambda p: _plan(p.bucket.sync_to_folder("kept/", p.folder / "in", delete=True, dry_run=True).apply()))  # fmt: skip
row("S3Bucket.get_objects", lambda p: _bodies(p.bucket.get_objects([*SEED] * 3)))
_MANY = {f"m/{number:02}": b"%d " % number * number for number in range(24)}


def _put_many(p: Place) -> None:
    for key, body in _MANY.items():
        p.put(key, body)


row("S3Bucket.put_objects", lambda p: sorted(p.bucket.put_objects(_MANY.items()).succeeded))
row("S3Bucket.delete_objects", lambda p: sorted(p.bucket.delete_objects(_MANY).succeeded), prepare=_put_many)
row("S3Bucket.delete_objects", lambda p: sorted(p.bucket.delete_objects(SEED).succeeded), "on moto", server="moto")
row("S3Bucket.clear_objects", lambda p: p.bucket.clear_objects(), prepare=_put_many)


def _versions(p: Place) -> None:
    p.client.put_bucket_versioning(Bucket=p.name, VersioningConfiguration={"Status": "Enabled"})
    p.put("kept/a.txt", b"second")
    p.put("other/x", b"second")
    p.client.delete_object(Bucket=p.name, Key="other/x")


row("S3Bucket.clear_objects", lambda p: p.bucket.clear_objects(versions=True), "with versions", server="moto", prepare=_versions,
    by_steps=True)  # fmt: skip
row("S3Bucket.delete_bucket", lambda p: p.other.delete_bucket())
row("S3Bucket.delete_bucket", lambda p: p.bucket.delete_bucket(force=True), "by force", server="moto")
row("S3Bucket.find ObjectQuery.objects", lambda p: [(obj.key, obj.size, obj.etag) for obj in p.bucket.find()])
row("S3Bucket.find", lambda p: _keys(p.bucket.find(glob="kept/*.txt")), "by glob")
row(
    "S3Bucket.find",
    lambda p: [(obj.key, obj.size) for obj in p.bucket.find(versions=True)],
    "versions",
    server="moto",
    prepare=_versions,
)
row("S3Bucket.find_objects", lambda p: _keys(p.bucket.find_objects(max_keys=2)))
row("S3Bucket.find_objects", lambda p: _keys(p.bucket.find_objects(max_keys=2)), "on moto", server="moto")
row("S3Bucket.list_objects", lambda p: _keys(p.bucket.list_objects()))
row("S3Bucket.list_common_prefixes", lambda p: p.bucket.list_common_prefixes())
row("S3Bucket.usage", lambda p: (p.bucket.usage().count, p.bucket.usage().bytes))
row("S3Bucket.show", lambda p: "kept/" in str(p.bucket.show()), also=(False,))

# -- locks ------------------------------------------------------------------------------------------------------------------------

_LOCKS = {"server": "moto", "leaves": _PROBES}


def _warm_locks(p: Place) -> None:
    p.other.lock("w", owner="w").release()
    p.other.acquire_lock("v")
    p.other.release_lock("v")


def _held(p: Place) -> None:
    body = json.dumps({"who": "me", "_lease": {"state": "held", "token": 1, "ttl": None, "owner": "", "nonce": "n"}})
    p.put("n/lock", body.encode())


def _locked(p: Place) -> Any:
    lock = p.bucket.lock("n/lock", ttl=60, owner="me")
    p.state["lock"] = lock
    return lock.key, lock.owner, lock.token > 0, lock.lost


def _whole_lock(p: Place) -> Any:
    with p.bucket.lock("n/lock", ttl=60, owner="me") as lock:
        lock.check()
        lock.renew()
    return lock.lost


def _check_lock(p: Place) -> Any:
    found = p.bucket.check_lock("n/lock")
    return found and found["who"]


row("S3Bucket.acquire_lock", lambda p: p.bucket.acquire_lock("n/lock", {"who": "me"}).key, warm=_warm_locks, **_LOCKS)
row("S3Bucket.check_lock", _check_lock, prepare=lambda p: p.put("n/lock", b'{"who": "me"}'), warm=_warm_locks, **_LOCKS)
row("S3Bucket.release_lock", lambda p: p.bucket.release_lock("n/lock"), prepare=_held, warm=_warm_locks, **_LOCKS)
row("S3Bucket.lock S3Lock.acquire S3Lock.key S3Lock.owner S3Lock.token S3Lock.lost", _locked, warm=_warm_locks,
    by_steps=True, **_LOCKS)  # fmt: skip  # a lock that is new is free at first
row("S3Lock.release S3Lock.renew S3Lock.check", _whole_lock, warm=_warm_locks, **_LOCKS)

# -- the object -------------------------------------------------------------------------------------------------------------------

row("S3Object.size", lambda p: p.obj.size)
row("S3Object.etag", lambda p: p.obj.etag)
row("S3Object.last_modified", lambda p: p.obj.last_modified.tzinfo is not None)
row("S3Object.storage_class", lambda p: p.obj.storage_class, server="moto")
row("S3Object.metadata", lambda p: p.obj.metadata, server="moto")
row("S3Object.content_type", lambda p: p.obj.content_type, also=("binary/octet-stream", "application/octet-stream"))
_HEADERS = (
    "content_encoding", "content_language", "content_disposition", "cache_control", "expires", "encryption", "kms_key_id", "checksums",
)  # fmt: skip
for _name in _HEADERS:
    row(f"S3Object.{_name}", lambda p, name=_name: getattr(p.obj, name), server="moto")
row("S3Object.set_metadata", lambda p: p.bucket["n/x"].set_metadata({"who": "me"}).key, server="moto",
    prepare=lambda p: p.put("n/x", b"new"), leaves=_PROBES)  # fmt: skip
row("S3Object.body", lambda p: p.obj.body)
row("S3Object.text", lambda p: p.long.text)
row("S3Object.json", lambda p: p.bucket["kept/b.json"].json())
row("S3Object.body_stream", lambda p: _read(p.long.body_stream))
row("S3Object.exists", lambda p: (p.obj.exists(), p.bucket["none"].exists(), "kept/a.txt" in p.bucket))
row("S3Object.reload", lambda p: p.obj.reload().size)
row("S3Object.read_range", lambda p: (p.long.read_range(3, 9), p.long.read_range(-5)))
row("S3Object.iter_chunks", lambda p: _digest(b"".join(p.long.iter_chunks(chunk_size=30_000, start=1))))
row("S3Object.iter_lines", lambda p: _digest(b"\n".join(p.long.iter_lines())))
row("S3Object.open", lambda p: _digest(_read(p.long.open())), "rb")
row("S3Object.open", lambda p: len(_read(p.long.open("r"))), "r")
row(
    "S3Object.open",
    lambda p: _digest(_read(p.bucket["big"].open())),
    "rb, in parts",
    prepare=lambda p: p.put("big", PARTS),
)


def _seeks(p: Place) -> Any:
    with p.bucket["big"].open() as file:
        found = []
        for where in (1 * _MiB, 3 * _MiB, 17, -9):
            file.seek(where, 0 if where > 0 else 2)
            found.append(_digest(file.read(1000)))
    return found


row("S3Object.open", _seeks, "rb, to and fro", prepare=lambda p: p.put("big", bytes(range(256)) * 20_000))
row("S3Object.open", lambda p: _write(p.bucket["n/new"].open("wb"), b"one", b"two"), "wb")
row("S3Object.open", lambda p: _write(p.bucket["kept/a.txt"].open("w"), "one", "two"), "w")
row("S3Object.open", lambda p: _write(p.bucket["n/new"].open("wb"), PARTS, PARTS), "wb, in parts")
row("S3Object.open", lambda p: _write(p.bucket["n/new"].open("xb"), b"one"), "xb", server="moto",
    warm=lambda p: p.other.put_object("w", b"", if_absent=True), leaves=_PROBES)  # fmt: skip
row("S3Object.open", lambda p: _write(p.bucket["kept/a.txt"].open("ab"), b" and more"), "ab", server="moto",
    warm=lambda p: p.other["w"].open("ab").close(), leaves=_PROBES)  # fmt: skip
row("S3Object.download_to", lambda p: p.long.download_to(p.folder / "new").key, verified=True)
row("S3Object.download_to", lambda p: p.long.download_to(p.folder / "there", start=5, end=50_000).key, "a range")
row("S3Object.put", lambda p: _wrote(p.obj.put(b"new")))


def _count_up(p: Place) -> Any:
    return p.bucket["n/number"].update(lambda body: str(int(body or b"0") + 1)).key


row("S3Object.update", _count_up, server="moto", prepare=lambda p: p.put("n/number", b"7"),
    warm=lambda p: p.other["w"].update(lambda _: b""), leaves=_PROBES)  # fmt: skip
row("S3Object.delete", lambda p: p.obj.delete())
row("S3Object.delete", lambda p: p.obj.delete(if_match=p.state["etag"]), "if_match", server="moto",
    prepare=lambda p: p.state.update(etag=p.client.head_object(Bucket=p.name, Key="kept/a.txt")["ETag"]),
    warm=lambda p: p.other["w"].delete(if_match=p.put("w", b"0", p.other.name)["ETag"]), leaves=_PROBES)  # fmt: skip
row("S3Object.copy_to", lambda p: p.obj.copy_to(p.other["n/copy"]).key)
row("S3Object.move_to", lambda p: p.long.move_to("n/moved").key)
row("S3Object.move_to", lambda p: p.obj.move_to("n/moved").key, "on moto", server="moto")
row("S3Object.versions", lambda p: [(v.key, v.size) for v in p.obj.versions()], server="moto", prepare=_versions)


def _older(p: Place) -> s3.S3Object:
    return p.bucket.object("kept/a.txt", p.state["version"])


def _with_an_older(p: Place) -> None:
    _versions(p)
    [*_, oldest] = p.client.list_object_versions(Bucket=p.name, Prefix="kept/a.txt")["Versions"]
    p.state["version"] = oldest["VersionId"]


row("S3Object.body", lambda p: _older(p).body, "of a version", server="moto", prepare=_with_an_older)
row("S3Object.make_current", lambda p: _older(p).make_current().key, server="moto", prepare=_with_an_older)
row("S3Object.undelete", lambda p: p.bucket["other/x"].undelete(), server="moto", prepare=_versions)
row("S3Object.preview", lambda p: "alpha" in str(p.obj.preview()))

# -- queries ----------------------------------------------------------------------------------------------------------------------

row("ObjectQuery.first ObjectQuery.limit ObjectQuery.filter", lambda p: (
    p.bucket.find("kept/").first().key, _keys(p.bucket.find().limit(2)), _keys(p.bucket.find().filter(lambda obj: obj.size > 9))))  # type: ignore[union-attr]  # fmt: skip
row("ObjectQuery.count", lambda p: p.bucket.find().count())
row("ObjectQuery.total_size", lambda p: p.bucket.find().total_size())
row("ObjectQuery.collect", lambda p: _keys(p.bucket.find().collect()))
row("ObjectQuery.sequential", lambda p: _keys(p.bucket.find().sequential()))
row("ObjectQuery.prefixes", lambda p: [*p.bucket.find(delimiter="/").prefixes()])
row(
    "ObjectQuery.entries",
    lambda p: [entry if isinstance(entry, str) else entry.key for entry in p.bucket.find(delimiter="/").entries()],
)
row("ObjectQuery.prefetch", lambda p: _bodies(p.bucket.find("kept/").prefetch()))
row("ObjectQuery.map", lambda p: [*p.bucket.find("kept/").map(lambda obj: _digest(obj.body))])
row("ObjectQuery.partitions", lambda p: sorted(obj.key for part in p.bucket.find().partitions(2) for obj in part))
row("ObjectQuery.parallel", lambda p: sorted(_keys(p.bucket.find().parallel(2))))
row("ObjectQuery.delete", lambda p: sorted(p.bucket.find("kept/").delete().succeeded))
row("ObjectQuery.copy_to", lambda p: sorted(_keys(p.bucket.find("kept/").copy_to(p.other, "n/"))))
row("ObjectQuery.download_to", lambda p: sorted(p.bucket.find("kept/").download_to(p.folder / "out")))
row("ObjectQuery.to_arrow", lambda p: p.bucket.find().to_arrow().column("key").to_pylist())
row("ObjectQuery.to_pandas", lambda p: [*p.bucket.find().to_pandas()["key"]])
row("ObjectQuery.arrow_batches", lambda p: p.bucket.find().arrow_batches().read_all().num_rows)
row("ObjectQuery.usage", lambda p: p.bucket.find("kept/").usage().count)
row("ObjectQuery.tree", lambda p: "a.txt" in str(p.bucket.find().tree()))
row("ObjectQuery.browse", lambda p: "a.txt" in str(p.bucket.find("kept/").browse()))
row("ObjectQuery.show", lambda p: "kept/a.txt" in str(p.bucket.find().show()))

# -- settings ---------------------------------------------------------------------------------------------------------------------

_RULE = s3.LifecycleRule("ours", prefix="tmp/", expire_days=3)
_CORS = s3.CorsRule("ours", origins=("https://a.example",))
_DENY = {"Sid": "ours", "Effect": "Deny", "Principal": "*", "Action": ["s3:GetObject"]}


def _denial(p: Place) -> dict[str, Any]:
    return _DENY | {"Resource": [f"arn:aws:s3:::{p.name}/never"]}


def _set_up(p: Place) -> None:
    """Each setting has something in it."""
    client, name = p.client, p.name
    rule = {"ID": "theirs", "Filter": {"Prefix": "x/"}, "Status": "Enabled", "Expiration": {"Days": 9}}
    client.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": [rule]})
    statement = _denial(p) | {"Sid": "theirs"}
    client.put_bucket_policy(Bucket=name, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    client.put_bucket_tagging(Bucket=name, Tagging={"TagSet": [{"Key": "theirs", "Value": "1"}]})
    client.put_object_tagging(Bucket=name, Key="kept/a.txt", Tagging={"TagSet": [{"Key": "theirs", "Value": "1"}]})
    cors = {"ID": "theirs", "AllowedMethods": ["GET"], "AllowedOrigins": ["*"]}
    client.put_bucket_cors(Bucket=name, CORSConfiguration={"CORSRules": [cors]})


def _setting(members: str, run: Callable[[Place], Any], name: str = "") -> None:
    row(members, run, name, server="moto", prepare=_set_up, settings=True)


_setting("S3Bucket.set_lifetime_in_days Lifecycle.set_lifetime", lambda p: p.bucket.set_lifetime_in_days(7))
_setting("Lifecycle.get", lambda p: [rule.id for rule in p.bucket.lifecycle.get().rules])
_setting("Lifecycle.put", lambda p: p.bucket.lifecycle.put(LifecycleConfiguration((_RULE,))))
_setting("Lifecycle.ensure", lambda p: p.bucket.lifecycle.ensure(_RULE).applied)
_setting("Lifecycle.change Change.apply", lambda p: p.bucket.lifecycle.ensure(_RULE, dry_run=True).apply().applied)
_setting("Lifecycle.expire", lambda p: p.bucket.lifecycle.expire(days=3, prefix="tmp/").applied)
_setting("Lifecycle.expire_noncurrent", lambda p: p.bucket.lifecycle.expire_noncurrent(days=3).applied)
_setting("Lifecycle.abort_unfinished_uploads", lambda p: p.bucket.lifecycle.abort_unfinished_uploads(days=3).applied)
_setting("Lifecycle.transition", lambda p: p.bucket.lifecycle.transition("GLACIER", days=3).applied)
_setting("Lifecycle.remove", lambda p: p.bucket.lifecycle.remove("theirs").applied)
_setting("Lifecycle.delete", lambda p: p.bucket.lifecycle.delete())
_setting("S3Bucket.allow_public_access PublicAccess.allow", lambda p: p.bucket.allow_public_access())
_setting("PublicAccess.block", lambda p: p.bucket.public_access.block())
_setting("PublicAccess.status", lambda p: p.bucket.public_access.status().is_public)
_setting("Policy.get", lambda p: p.bucket.policy.get().get("theirs") is not None)
_setting("Policy.put", lambda p: p.bucket.policy.put(BucketPolicy().with_statement(_denial(p))))
_setting("Policy.ensure", lambda p: p.bucket.policy.ensure(_denial(p)).applied)
_setting("Policy.change Change.apply", lambda p: p.bucket.policy.ensure(_denial(p), dry_run=True).apply().applied)
_setting("Policy.remove", lambda p: p.bucket.policy.remove("theirs").applied)
_setting("Policy.delete", lambda p: p.bucket.policy.delete())
_setting("Versioning.get Versioning.is_enabled", lambda p: p.bucket.versioning.is_enabled())
_setting("Versioning.enable Versioning.put Versioning.change", lambda p: p.bucket.versioning.enable().applied)
_setting("Versioning.suspend", lambda p: p.bucket.versioning.suspend().applied)


def _tags(where: str, of: Callable[[Place], Tags]) -> None:
    _setting(f"{where}.get", lambda p: dict(of(p).get()))
    _setting(f"{where}.put", lambda p: of(p).put({"a": "1"}))
    _setting(f"{where}.update", lambda p: of(p).update({"a": "1"}).applied)
    _setting(f"{where}.ensure", lambda p: of(p).ensure({"a": "1"}).applied)
    _setting(f"{where}.change Change.apply", lambda p: of(p).ensure({"a": "1"}, dry_run=True).apply().applied)
    _setting(f"{where}.remove", lambda p: of(p).remove("theirs").applied)
    _setting(f"{where}.delete", lambda p: of(p).delete())


_tags("Tags", lambda p: p.bucket.tags)
_tags("ObjectTags", lambda p: p.obj.tags)
_setting("Cors.get", lambda p: [rule.id for rule in p.bucket.cors.get().rules])
_setting("Cors.put", lambda p: p.bucket.cors.put(CorsConfiguration((_CORS,))))
_setting("Cors.ensure", lambda p: p.bucket.cors.ensure(_CORS).applied)
_setting("Cors.change Change.apply", lambda p: p.bucket.cors.ensure(_CORS, dry_run=True).apply().applied)
_setting("Cors.remove", lambda p: p.bucket.cors.remove("theirs").applied)
_setting("Cors.delete", lambda p: p.bucket.cors.delete())
_setting("BucketEncryption.get", lambda p: p.bucket.encryption.get().algorithm)
_setting("BucketEncryption.put", lambda p: p.bucket.encryption.put(Encryption("AES256")))
_setting("BucketEncryption.ensure", lambda p: p.bucket.encryption.ensure("AES256").applied)
_setting(
    "BucketEncryption.change Change.apply", lambda p: p.bucket.encryption.ensure("AES256", dry_run=True).apply().applied
)
_setting("BucketEncryption.delete", lambda p: p.bucket.encryption.delete())
_TARGET = s3.Notification("ours", "arn:aws:sqs:us-east-1:123456789012:none", prefix="in/")
_setting("Notifications.get", lambda p: p.bucket.notifications.get().targets)
_setting("Notifications.ensure", lambda p: p.bucket.notifications.ensure(_TARGET, dry_run=True).is_empty)
_setting("Notifications.put Notifications.change", lambda p: p.bucket.notifications.put(p.bucket.notifications.get()))
_setting("Notifications.remove", lambda p: p.bucket.notifications.remove("none").is_empty)
_setting("Notifications.delete", lambda p: p.bucket.notifications.delete())

# -- claim checks -----------------------------------------------------------------------------------------------------------------


def _check(p: Place) -> s3.ClaimCheck:
    return s3.ClaimCheck(p.other, threshold=10)


def _checked_in(p: Place) -> None:
    p.put("claim", b"more than ten bytes", p.other.name)
    body, attributes = s3.make_pointer(p.other.name, "claim", 19)
    p.state["message"] = {"Body": body, "MessageAttributes": attributes}


row("ClaimCheck.check_in ClaimCheck.check_out ClaimCheck.payload_object",
    lambda p: _check(p).check_out(_check(p).check_in(b"more than ten bytes", {})).payload, "both", leaves=_PROBES)  # fmt: skip
row("ClaimCheck.check_out", lambda p: _check(p).check_out(p.state["message"]).payload, prepare=_checked_in)
row("ClaimCheck.discard", lambda p: _check(p).discard(p.state["message"]), prepare=_checked_in)

# -- the async interface --------------------------------------------------------------------------------------------------------


def on_store(members: str, **about: Any) -> Callable[[Callable[[Place, s3.AsyncS3Store], Awaitable[Any]]], None]:
    """Add a call of the async store."""

    def add(work: Callable[[Place, s3.AsyncS3Store], Awaitable[Any]]) -> None:
        async def with_store(p: Place) -> Any:
            return await work(p, s3.AsyncS3Store(p.store))

        row(members, lambda p: asyncio.run(with_store(p)), **about)

    return add


def on_bucket(members: str, **about: Any) -> Callable[[Callable[[Place, s3.AsyncS3Bucket], Awaitable[Any]]], None]:
    """Add a call of an async bucket."""
    return lambda work: on_store(members, **about)(lambda p, store: work(p, store.bucket(p.name)))


async def _all(values: Any) -> list[Any]:
    return [value async for value in values]


async def _async_bodies(values: Any) -> dict[str, Any]:
    return _bodies([value async for value in values])


async def _async_wrote(obj: Awaitable[s3.AsyncS3Object]) -> Any:
    found = await obj
    return found.key, found.etag


on_store("AsyncS3Store.ping AsyncS3Store.is_online", also=(False,))(lambda p, store: store.ping())


@on_store("AsyncS3Store.buckets")
async def _(p: Place, store: s3.AsyncS3Store) -> Any:
    return [bucket.name[-2:] for bucket in await _all(store.buckets()) if bucket.name.startswith(p.stem)]


@on_store("AsyncS3Store.create_bucket", server="moto")
async def _(p: Place, store: s3.AsyncS3Store) -> Any:
    return (await store.create_bucket(f"{p.stem}-new")).name[-4:]


@on_bucket("AsyncS3Bucket.get_object AsyncS3Object.body AsyncS3Object.size")
async def _(p: Place, bucket: s3.AsyncS3Bucket) -> Any:
    obj = await bucket.get_object("kept/long.txt")
    return obj.body, obj.size


@on_bucket("AsyncS3Object.load AsyncS3Object.text AsyncS3Object.content_type AsyncS3Object.storage_class")
async def _(p: Place, bucket: s3.AsyncS3Bucket) -> Any:
    obj = await bucket["kept/a.txt"].load()
    return obj.text, obj.etag, obj.last_modified.tzinfo is not None, obj.metadata.keys() >= {"m"}


@on_bucket("AsyncS3Object.reload")
async def _(p: Place, bucket: s3.AsyncS3Bucket) -> Any:
    return (await bucket["kept/a.txt"].reload().load()).size


@on_bucket("AsyncS3Object.iter_chunks")
async def _(p: Place, bucket: s3.AsyncS3Bucket) -> Any:
    return _digest(b"".join(await _all(bucket["kept/long.txt"].iter_chunks(chunk_size=30_000, start=1))))


@on_bucket("AsyncS3Object.iter_lines")
async def _(p: Place, bucket: s3.AsyncS3Bucket) -> Any:
    return _digest(b"\n".join(await _all(bucket["kept/long.txt"].iter_lines())))


@on_bucket("AsyncObjectQuery.collect AsyncObjectQuery.first AsyncObjectQuery.limit AsyncObjectQuery.filter")
async def _(p: Place, bucket: s3.AsyncS3Bucket) -> Any:
    first = await bucket.find().first()
    found = await bucket.find("kept/").filter(lambda obj: obj.size > 5).limit(2).collect()
    return first and first.key, _keys(found)


@on_bucket("AsyncObjectQuery.delete")
async def _(p: Place, bucket: s3.AsyncS3Bucket) -> Any:
    return sorted((await bucket.find("kept/").delete()).succeeded)


@on_bucket("AsyncS3Bucket.put_objects")
async def _(p: Place, bucket: s3.AsyncS3Bucket) -> Any:
    return sorted((await bucket.put_objects(_MANY.items())).succeeded)


@on_bucket("AsyncS3Bucket.delete_objects", prepare=_put_many)
async def _(p: Place, bucket: s3.AsyncS3Bucket) -> Any:
    return sorted((await bucket.delete_objects(_MANY)).succeeded)


@on_bucket("AsyncS3Object.download_to", verified=True)
async def _(p: Place, bucket: s3.AsyncS3Bucket) -> Any:
    return (await bucket["kept/long.txt"].download_to(p.folder / "there")).key


@on_bucket("AsyncS3Bucket.download_file", verified=True)
async def _(p: Place, bucket: s3.AsyncS3Bucket) -> Any:
    return (await bucket.download_file("kept/long.txt", p.folder / "new")).key


@on_bucket("AsyncS3Bucket.upload_file", verified=True)
async def _(p: Place, bucket: s3.AsyncS3Bucket) -> Any:
    return (await bucket.upload_file(p.folder / "in/f", "n/new")).key


@on_bucket("AsyncS3Object.copy_to")
async def _(p: Place, bucket: s3.AsyncS3Bucket) -> Any:
    return (await bucket["kept/a.txt"].copy_to("n/copy")).key


@on_bucket("AsyncS3Object.move_to")
async def _(p: Place, bucket: s3.AsyncS3Bucket) -> Any:
    return (await bucket["kept/a.txt"].move_to("n/moved")).key


@on_bucket("AsyncS3Bucket.copy_object")
async def _(p: Place, bucket: s3.AsyncS3Bucket) -> Any:
    return (await bucket.copy_object("kept/a.txt", "n/copy")).key


@on_bucket("AsyncS3Object.open AsyncObjectFile.read AsyncObjectFile.seek")
async def _(p: Place, bucket: s3.AsyncS3Bucket) -> Any:
    async with bucket["kept/long.txt"].open() as file:
        await file.seek(7)
        return _digest(await file.read())


@on_bucket("AsyncObjectFile.write AsyncObjectFile.close")
async def _(p: Place, bucket: s3.AsyncS3Bucket) -> Any:
    async with bucket["n/new"].open("wb") as file:
        return await file.write(b"one") + await file.write(b"two")


on_bucket("AsyncS3Bucket.exists")(lambda p, bucket: bucket.exists())
on_bucket("AsyncS3Bucket.get_json")(lambda p, bucket: bucket.get_json("kept/b.json"))
on_bucket("AsyncS3Object.json")(lambda p, bucket: bucket["kept/b.json"].json())
on_bucket("AsyncS3Bucket.put_object")(lambda p, bucket: _async_wrote(bucket.put_object("n/new", b"new")))
on_bucket("AsyncS3Object.put")(lambda p, bucket: _async_wrote(bucket["n/new"].put(b"new")))
on_bucket("AsyncS3Bucket.put_json")(lambda p, bucket: _async_wrote(bucket.put_json("n/new", [1])))
on_bucket("AsyncS3Bucket.delete_object")(lambda p, bucket: bucket.delete_object("kept/a.txt"))
on_bucket("AsyncS3Object.delete")(lambda p, bucket: bucket["kept/a.txt"].delete())
on_bucket("AsyncS3Object.exists")(lambda p, bucket: bucket["kept/a.txt"].exists())
on_bucket("AsyncS3Object.read")(lambda p, bucket: bucket["kept/long.txt"].read())
on_bucket("AsyncS3Bucket.upload_object")(
    lambda p, bucket: _async_wrote(bucket.upload_object("n/new", io.BytesIO(b"new")))
)
on_bucket("AsyncS3Object.read_range")(lambda p, bucket: bucket["kept/long.txt"].read_range(7, 70_000))
on_bucket("AsyncS3Bucket.get_objects")(lambda p, bucket: _async_bodies(bucket.get_objects([*SEED] * 3)))
on_bucket("AsyncS3Bucket.list_common_prefixes")(lambda p, bucket: bucket.list_common_prefixes())
on_bucket("AsyncObjectQuery.prefetch")(lambda p, bucket: _async_bodies(bucket.find("kept/").prefetch()))
on_bucket("AsyncObjectQuery.prefixes")(lambda p, bucket: _all(bucket.find(delimiter="/").prefixes()))
on_bucket("AsyncObjectQuery.count")(lambda p, bucket: bucket.find().count())
on_bucket("AsyncObjectQuery.total_size")(lambda p, bucket: bucket.find().total_size())

row("S3Path.exists S3Path.is_file S3Path.is_dir", lambda p: [
    (path.exists(), path.is_file(), path.is_dir()) for path in (p.obj.path, p.bucket.path("kept"), p.bucket.path("none"))])  # fmt: skip
row("S3Path.iterdir", lambda p: [path.key for path in p.bucket.path("kept").iterdir()])
row("S3Path.glob S3Path.rglob", lambda p: [[path.key for path in found] for found in (
    p.bucket.path("kept").glob("*.txt"), p.bucket.path().rglob("*.txt"))])  # fmt: skip
row("S3Path.read_bytes S3Path.read_text", lambda p: (p.obj.path.read_bytes(), p.obj.path.read_text()))
row("S3Path.write_bytes", lambda p: p.bucket.path("n/new").write_bytes(b"new"))
row("S3Path.write_text", lambda p: p.bucket.path("n/new").write_text("new"))
row("S3Path.unlink", lambda p: p.obj.path.unlink(missing_ok=True))
row("S3Path.open", lambda p: _read(p.bucket.path("kept/long.txt").open("rb")))


def _send_parts(p: Place) -> list[str]:
    """Begin an upload and send its parts without faults."""
    begun = p.client.create_multipart_upload(Bucket=p.name, Key="n/new")
    p.state["upload_id"] = begun["UploadId"]
    return [
        p.client.upload_part(Bucket=p.name, Key="n/new", UploadId=begun["UploadId"], PartNumber=number, Body=body)[
            "ETag"
        ]
        for number, body in enumerate((PARTS, b"end"), 1)
    ]


_PARTS_ON_RCLONE = "object -a/n/.rclone_temp_multipart_"
"""A file with the parts of an upload that has not ended, which may be completed or aborted later. Its name is new in each run."""

row("S3Object.presigned_parts", lambda p: len(p.bucket["n/new"].presigned_parts(3).urls))
row("PresignedParts.complete", lambda p: p.bucket["n/new"].presigned_parts(2, upload_id=p.state["upload_id"]).complete(p.state["etags"]),
    prepare=lambda p: p.state.update(etags=_send_parts(p)), leaves=(_PARTS_ON_RCLONE,))  # fmt: skip
row("PresignedParts.abort", lambda p: p.bucket["n/new"].presigned_parts(2, upload_id=p.state["upload_id"]).abort(),
    prepare=_send_parts, leaves=(_PARTS_ON_RCLONE,))  # fmt: skip

row("S3Object.restore", lambda p: p.bucket["old"].restore(days=1), server="moto", settings=True,
    prepare=lambda p: p.put("old", b"x", StorageClass="GLACIER"))  # fmt: skip

_NAMES_OF_PATHS = (
    "bucket", "is_relative_to", "joinpath", "key", "name", "object", "parent", "parents", "parts", "relative_to", "stem", "suffix",
    "suffixes", "uri", "with_name", "with_stem", "with_suffix",
)  # fmt: skip

NO_REQUEST = {
    "S3Object.annotations", *(f"ObjectAnnotations.{name}" for name in ("delete", "get", "list", "put")),
    *(f"{owner}.{name}" for owner in ("S3Path", "AsyncS3Path") for name in _NAMES_OF_PATHS), "AsyncS3Bucket.path", "AsyncS3Object.path",
    *(f"{owner}PresignedParts.{name}" for owner in ("", "Async") for name in ("upload_id", "urls")), "S3Bucket.path", "S3Object.path",
    "AsyncS3Object.fs_uri", "AsyncS3Store.storage_options", "S3Object.fs_uri", "S3Store.storage_options",
    "AsyncS3Bucket.load", "S3Bucket.uri", "S3Bucket.url",
    "AsyncChange.after", "AsyncChange.applied", "AsyncChange.before", "AsyncChange.is_empty", "AsyncChange.what",
    "AsyncClaimCheck.allowed_buckets",
    "AsyncClaimCheck.threshold", "AsyncClaimCheck.wire", "AsyncObjectQuery.objects", "AsyncS3Bucket.find", "AsyncS3Bucket.name",
    "AsyncS3Bucket.object", "AsyncS3Object.bucket_name", "AsyncS3Object.etag", "AsyncS3Object.key", "AsyncS3Object.last_modified",
    *(f"AsyncS3Object.{name}" for name in _HEADERS), "AsyncS3Object.metadata", "AsyncS3Object.presigned_url",
    "AsyncS3Object.uri", "AsyncS3Object.url", "AsyncS3Object.version_id", "AsyncS3Store.bucket", "AsyncS3Store.close",
    "AsyncS3Store.config", "AsyncS3Store.from_client", "AsyncS3Store.from_resource", "AsyncS3Store.lane", "AsyncS3Store.object",
    "AsyncS3Store.observe", "AsyncS3Store.on_request", "Change.is_empty",
    "ClaimCheck.receipt_handle", "ObjectQuery.bucket", "S3Bucket.boto3", "S3Bucket.compute_url", "S3Bucket.cors", "S3Bucket.encryption",
    "S3Bucket.from_boto3", "S3Bucket.lifecycle", "S3Bucket.name", "S3Bucket.notifications", "S3Bucket.object", "S3Bucket.policy",
    "S3Bucket.public_access", "S3Bucket.s3_resource", "S3Bucket.store", "S3Bucket.tags", "S3Bucket.versioning", "S3Object.boto3",
    "S3Object.bucket", "S3Object.bucket_name", "S3Object.from_boto3", "S3Object.key", "S3Object.presigned_post", "S3Object.presigned_url",
    "S3Object.tags", "S3Object.uri", "S3Object.url", "S3Object.version_id", "S3Store.bucket", "S3Store.client", "S3Store.close",
    "S3Store.config", "S3Store.from_client", "S3Store.from_resource", "S3Store.lane", "S3Store.observe", "S3Store.on_request",
    "S3Store.reload_credentials", "S3Store.resource", "SyncPlan.bucket_name",
    "SyncPlan.folder", "SyncPlan.prefix", "Versioning.delete",
}  # fmt: skip
"""Public members without a compared call: they make no request, :meth:`load` has made it before, or they always raise."""

SHARED_WITH_THE_SYNCHRONOUS_CLASS = {"AsyncObjectFile"}
"""Async classes without a synchronous counterpart whose methods run those of ``S3Object.open`` on a thread; three have calls here."""
