"""Single calls that are right on any store or raise an S3Error; plain boto3 shows which.

Each makes one call of the synchronous interface. The same function is run with async handles
(:class:`~support.blocking.Blocking`), so that it stands for the async method of the same name as well.
"""

from __future__ import annotations

import io
import json
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

import messageflux_s3 as s3
from messageflux_s3.subresources.cors import CorsConfiguration
from messageflux_s3.subresources.encryption import Encryption
from messageflux_s3.subresources.lifecycle import LifecycleConfiguration
from messageflux_s3.subresources.policy import BucketPolicy

from .catalogue import CATALOGUE, add
from .verdict import SEED, Site, StoreCall

Run = Callable[[Site], Any]
Right = Callable[[Site, Any], object]

A = "kept/a.txt"
LONG = "kept/long.txt"
PARTS = b"p" * (5 << 20) + b"the rest"
_MIB = 1 << 20


def store_calls() -> list[StoreCall]:
    """Return the calls of the table of all stores."""
    return [call for call in CATALOGUE if isinstance(call, StoreCall)]


def case(
    members: str, run: Run, right: Right, name: str = "", *, changes: str = "", left: str = "", **about: Any
) -> None:
    """Add a call to the catalogue, named after its first member followed by ``name``; members and patterns are separated by spaces."""
    names = tuple(members.split())
    call_name = f"{names[0]} {name}".strip()
    add(
        StoreCall(call_name, names, run, right=right, changes=tuple(changes.split()), left=tuple(left.split()), **about)
    )


def check(got: object, wanted: object) -> None:
    """Compare two values.

    Raises:
        AssertionError: They differ.
    """
    if got != wanted:
        raise AssertionError(f"{str(got)[:300]!r} is not {str(wanted)[:300]!r}")


def returns(wanted: Any) -> Right:
    """Return a check of the returned value; ``wanted`` is a value or a function of the site."""
    return lambda p, result: check(result, wanted(p) if callable(wanted) else wanted)


def holds(key: str, body: bytes, name: Callable[[Site], str] | None = None) -> Right:
    """Return a check that an object has this content."""
    return lambda p, result: check(p.content(key, name(p) if name else None), body)


def both(*checks: Right) -> Right:
    def right(p: Site, result: Any) -> None:
        for each in checks:
            each(p, result)

    return right


def is_true(test: Callable[[Site, Any], bool]) -> Right:
    return lambda p, result: check(bool(test(p, result)), True)


def never(p: Site, result: Any) -> None:
    """Check of a call that has to raise."""
    raise AssertionError("it has to raise")


def _other(p: Site) -> str:
    return f"{p.stem}-b"


def _new(p: Site) -> str:
    return f"{p.stem}-new"


def _seed_keys(p: Site) -> list[str]:
    return sorted(p.seed)


def _keys(objects: Any) -> list[str]:
    return [obj.key for obj in objects]


# -- the store --------------------------------------------------------------------------------------------------------------------

case("S3Store.ping S3Store.is_online", lambda p: (p.store.ping(), p.store.is_online), returns((True, True)))
case(
    "S3Store.buckets",
    lambda p: sorted(bucket.name for bucket in p.store.buckets() if bucket.name.startswith(p.stem)),
    returns(lambda p: sorted(p.names())),
)
case(
    "S3Bucket.list_buckets",
    lambda p: sorted(bucket.name for bucket in s3.S3Bucket.list_buckets(p.store) if bucket.name.startswith(p.stem)),
    returns(lambda p: sorted(p.names())),
    is_sync_only=True,
)
case(
    "S3Store.buckets",
    lambda p: sorted(bucket.name for bucket in p.store.buckets(p.stem)),
    returns(lambda p: sorted(p.names())),
    "by prefix",
)
case("S3Bucket.region", lambda p: p.bucket.region, is_true(lambda p, result: isinstance(result, str) and bool(result)))
case("S3Bucket.creation_date", lambda p: p.bucket.creation_date, returns(lambda p: next(
    bucket["CreationDate"] for bucket in p.client.list_buckets()["Buckets"] if bucket["Name"] == p.name)))  # fmt: skip
_made = is_true(lambda p, result: _new(p) in p.names())
case("S3Store.create_bucket", lambda p: p.store.create_bucket(_new(p)).name, _made, changes="*-new*")
case("S3Store.create_bucket", lambda p: p.store.create_bucket(p.name).name, returns(lambda p: p.name), "again")
case("S3Store.create_bucket", lambda p: p.store.create_bucket(p.name, exist_ok=False).name, never,
     "that must not exist")  # fmt: skip
case(
    "S3Store.create_bucket",
    lambda p: p.store.create_bucket(_new(p), lifetime_in_days=30).name,
    lambda p, result: check(
        [rule["Expiration"]["Days"] for rule in p.setting("bucket_lifecycle_configuration", _new(p))["Rules"]], [30]
    ),
    "with a lifetime",
    changes="*-new*",
    left="*-new*",  # the error says that the bucket exists
)
case(
    "S3Store.create_bucket",
    lambda p: p.store.create_bucket(_new(p), allow_public_access=True).name,
    lambda p, result: _is_public(p, _new(p)),
    "with public access",
    changes="*-new*",
    left="*-new*",
)
case(
    "S3Store.create_bucket",
    lambda p: p.store.create_bucket(_new(p), region="eu-west-1").name,
    lambda p, result: check(p.client.get_bucket_location(Bucket=_new(p))["LocationConstraint"], "eu-west-1"),
    "in a region",
    changes="*-new*",
    left="*-new*",
)
case("S3Bucket.create_bucket", lambda p: s3.S3Bucket.create_bucket(p.store, _new(p)).name, _made, changes="*-new*",
     is_sync_only=True)  # fmt: skip
case(
    "S3Bucket",
    lambda p: s3.S3Bucket(_new(p), p.store, auto_create=True).name,
    _made,
    changes="*-new*",
    is_sync_only=True,
)
case("S3Bucket", lambda p: s3.S3Bucket(_new(p), p.store).name, never, "that does not exist",
     is_sync_only=True)  # fmt: skip
case("S3Store.probe", lambda p: p.store.probe(), is_true(lambda p, result: result.ranges), is_slow=True)
case("S3Store.show", lambda p: str(p.store.show()), is_true(lambda p, result: p.name in result))


def _record(p: Site) -> dict[str, Any]:
    about = {"bucket": {"name": p.name}, "object": {"key": A}}
    return {"Records": [{"eventName": "ObjectCreated:Put", "s3": about}]}


case(
    "S3Store.objects_from",
    lambda p: [obj.body for obj in p.store.objects_from(_record(p))],
    returns([b"alpha"]),
    needs_objects=True,
)
case("S3Store.object", lambda p: p.store.object(f"s3://{p.name}/{A}").body, returns(b"alpha"), needs_objects=True)

# -- the bucket -------------------------------------------------------------------------------------------------------------------

case("S3Bucket.exists", lambda p: (p.bucket.exists(), p.store.bucket(_new(p)).exists()), returns((True, False)))


def _bucket_is_gone(p: Site, result: Any) -> None:
    check(p.name in p.names(), False)


case(
    "S3Bucket.delete_bucket",
    lambda p: p.bucket.delete_bucket(),
    both(_bucket_is_gone, is_true(lambda p, result: p.is_empty)),
    changes="bucket*-a* object*-a/* setting*-a*",
)
case("S3Bucket.delete_bucket", lambda p: p.bucket.delete_bucket(force=True), _bucket_is_gone, "by force",
     changes="bucket*-a* object*-a/* setting*-a*", left="object*-a/*")  # fmt: skip
case(
    "S3Bucket.clear_objects",
    lambda p: p.bucket.clear_objects(),
    lambda p, result: check(p.keys(), []),
    changes="object*-a/*",
)
case("S3Bucket.clear_objects", lambda p: p.bucket.clear_objects(versions=True), lambda p, result: check(p.keys(), []), "with versions",
     changes="object*-a/*")  # fmt: skip
case("S3Bucket.get_object S3Object.body", lambda p: p.bucket.get_object(A).body, returns(b"alpha"), needs_objects=True)
case("S3Bucket.get_object", lambda p: p.bucket.get_object(A, if_none_match=_etag(p)), returns(None), "that is unchanged",
     needs_objects=True)  # fmt: skip
case("S3Bucket.get_object", lambda p: p.bucket.get_object(A, if_none_match="0" * 32).body, returns(b"alpha"), "that was changed",
     needs_objects=True)  # fmt: skip
case("S3Bucket.get_json", lambda p: p.bucket.get_json("kept/b.json"), returns({"n": 1}), needs_objects=True)
case("S3Bucket.put_json", lambda p: p.bucket.put_json("new/j", [1, "ä"]).key,
     lambda p, result: check(json.loads(p.content("new/j") or b""), [1, "ä"]), changes="object*-a/new/j*")  # fmt: skip
case("S3Bucket.delete_object", lambda p: p.bucket.delete_object(A), lambda p, result: check(p.content(A), None),
     changes=f"object*-a/{A}*")  # fmt: skip
case(
    "S3Bucket.get_objects",
    lambda p: {obj.key: obj.body for obj in p.bucket.get_objects([*p.seed])},
    returns(lambda p: p.seed),
)
_MANY = {f"new/{number}": b"%d" % number for number in range(12)}
case("S3Bucket.put_objects", lambda p: sorted(p.bucket.put_objects(_MANY.items()).succeeded),
     lambda p, result: check({key: p.content(key) for key in _MANY}, _MANY), changes="object*-a/new/*", left="object*-a/new/*")  # fmt: skip
case("S3Bucket.delete_objects", lambda p: sorted(p.bucket.delete_objects([A, "kept/b.json", "none"]).succeeded),
     lambda p, result: check(p.keys(), sorted(p.seed.keys() - {A, "kept/b.json"})),
     changes=f"object*-a/{A}* object*-a/kept/b.json*")  # fmt: skip
case("S3Bucket.find", lambda p: _keys(p.bucket.find()), returns(_seed_keys))
case("S3Bucket.find", lambda p: _keys(p.bucket.find("kept/", start_after="kept/b.json")), lambda p, result: check(
    result, [key for key in _seed_keys(p) if key.startswith("kept/") and key > "kept/b.json"]), "start_after")  # fmt: skip
case("S3Bucket.find", lambda p: _keys(p.bucket.find(start_after="kept/ä")), lambda p, result: check(
    result, [key for key in _seed_keys(p) if key > "kept/ä"]), "start_after beyond ASCII")  # fmt: skip
case("S3Bucket.find", lambda p: _keys(p.bucket.find(glob="kept/*.txt")), lambda p, result: check(
    result, [key for key in _seed_keys(p) if key.endswith(".txt")]), "glob")  # fmt: skip
case("S3Bucket.find", lambda p: sorted(_keys(p.bucket.find(versions=True))), returns(_seed_keys), "versions")
case("S3Bucket.find_objects", lambda p: _keys(p.bucket.find_objects("kept/", max_keys=2)),
     returns(lambda p: [key for key in _seed_keys(p) if key.startswith("kept/")]))  # fmt: skip
case("S3Bucket.list_objects", lambda p: _keys(p.bucket.list_objects()), returns(_seed_keys))
case("S3Bucket.list_common_prefixes", lambda p: p.bucket.list_common_prefixes(),
     returns(lambda p: [] if p.is_empty else ["kept/"]))  # fmt: skip
case("S3Bucket.list_common_prefixes", lambda p: p.bucket.list_common_prefixes(delimiter="-"),
     returns(lambda p: [] if p.is_empty else ["kept/looks-", "side-"]), "by another delimiter")  # fmt: skip
case("S3Bucket.usage", lambda p: p.bucket.usage("kept/").count, returns(lambda p: 0 if p.is_empty else len(SEED) - 1))
case("S3Bucket.show", lambda p: str(p.bucket.show()), is_true(lambda p, result: p.name in result or p.is_empty))

# -- writes -------------------------------------------------------------------------------------------------------------------------

WRITTEN = "object*-a/new/x*"


def _header(name: str, value: Any) -> Right:
    return lambda p, result: check(p.head("new/x").get(name), value)


def _metadata(wanted: dict[str, str]) -> Right:
    def right(p: Site, result: Any) -> None:
        found = {name.lower(): text for name, text in p.head("new/x")["Metadata"].items() if name.lower() in wanted}
        check(found, wanted)
        own = {name: text for name, text in p.sync_store.bucket(p.name)["new/x"].metadata.items() if name in wanted}
        check(own, wanted)

    return right


_KEY = bytes(range(32))


def _needs_the_key(p: Site, result: Any) -> None:
    found = p.content("new/x", SSECustomerAlgorithm="AES256", SSECustomerKey=_KEY)
    check(found in (b"new", PARTS + b"end"), True)
    try:
        found = p.client.get_object(Bucket=p.name, Key="new/x")["Body"].read()
    except ClientError:
        return
    raise AssertionError(f"the object can be read without the key: {found!r}")


def _is_public_object(p: Site, result: Any) -> None:
    grants = p.setting("object_acl", Key="new/x").get("Grants", ())
    check([grant["Permission"] for grant in grants if str(grant["Grantee"].get("URI")).endswith("/AllUsers")], ["READ"])


def _same_time(p: Site, result: Any) -> None:
    check(p.head("new/x").get("Expires"), datetime(2033, 1, 2, 3, 4, 5, tzinfo=timezone.utc))


WITH: dict[str, tuple[dict[str, Any], Right]] = {
    "encryption": ({"encryption": "AES256"}, _header("ServerSideEncryption", "AES256")),
    "aws:kms": ({"encryption": "aws:kms"}, _header("ServerSideEncryption", "aws:kms")),
    "SSE-C": ({"SSECustomerAlgorithm": "AES256", "SSECustomerKey": _KEY}, _needs_the_key),
    "ACL": ({"ACL": "public-read"}, _is_public_object),
    "storage class": ({"storage_class": "STANDARD_IA"}, _header("StorageClass", "STANDARD_IA")),
    "expires": ({"expires": datetime(2033, 1, 2, 3, 4, 5, tzinfo=timezone.utc)}, _same_time),
    "tags": ({"tags": {"a": "1", "b c": "ä"}}, lambda p, result: check(p.tags("new/x"), {"a": "1", "b c": "ä"})),
    "content type": ({"content_type": "application/x-own"}, _header("ContentType", "application/x-own")),
    "content encoding": ({"content_encoding": "gzip"}, _header("ContentEncoding", "gzip")),
    "content language": ({"content_language": "en"}, _header("ContentLanguage", "en")),
    "content disposition": ({"content_disposition": "attachment"}, _header("ContentDisposition", "attachment")),
    "cache control": ({"cache_control": "max-age=7"}, _header("CacheControl", "max-age=7")),
    "redirect": ({"WebsiteRedirectLocation": "/there"}, _header("WebsiteRedirectLocation", "/there")),
    "metadata": ({"metadata": {"who": "me", "plain": "2"}}, _metadata({"who": "me", "plain": "2"})),
    "metadata with an underscore": ({"metadata": {"a_b": "1"}}, _metadata({"a_b": "1"})),
}
"""What may travel along with a write: the parameters, and the check."""


def _open_and_write(p: Site, key: str, body: bytes, **parameters: Any) -> int:
    with p.bucket[key].open("wb", **parameters) as file:
        written: int = file.write(body)
    return written


def _in_parts(p: Site, key: str, **parameters: Any) -> Any:
    return p.bucket.upload_object(key, iter([PARTS, b"end"]), part_size_bytes=5 * _MIB, **parameters)


_in_parts_right = holds("new/x", PARTS + b"end")

for _name, (_parameters, _right) in WITH.items():
    _right = _right if _name == "SSE-C" else both(holds("new/x", b"new"), _right)
    case("S3Bucket.put_object", lambda p, extra=_parameters: p.bucket.put_object("new/x", b"new", **extra).key, _right,
         f"with {_name}", changes=WRITTEN)  # fmt: skip
    case("S3Bucket.upload_object", lambda p, extra=_parameters: p.bucket.upload_object("new/x", io.BytesIO(b"new"), **extra).key, _right,
         f"with {_name}", changes=WRITTEN)  # fmt: skip
    case("S3Object.open", lambda p, extra=_parameters: _open_and_write(p, "new/x", b"new", **extra), _right, f"wb with {_name}",
         changes=WRITTEN)  # fmt: skip
    case("S3Object.copy_to", lambda p, extra=_parameters: p.bucket["source"].copy_to("new/x", **extra).key, _right, f"with {_name}",
         changes=WRITTEN, prepare=lambda p: p.put("source", b"new", Metadata={"m": "1"}, ContentType="text/plain"))  # fmt: skip

for _name in ("metadata", "content type", "cache control", "encryption", "tags"):
    case("S3Object.set_metadata", lambda p, extra=WITH[_name][0]: p.bucket["new/x"].set_metadata(**extra).key,
         both(holds("new/x", b"new"), WITH[_name][1]), f"with {_name}", changes=WRITTEN,
         prepare=lambda p: p.put("new/x", b"new", Metadata={"m": "1"}, ContentType="text/plain"))  # fmt: skip
case("S3Bucket.put_object", lambda p: p.bucket.put_object("new/x", b"new").key, holds("new/x", b"new"), changes=WRITTEN)
case("S3Bucket.put_object", lambda p: p.bucket.put_object(A, b"other").key, holds(A, b"other"), "over another",
     changes=f"object*-a/{A}*")  # fmt: skip
case(
    "S3Object.put",
    lambda p: p.bucket["new/x"].put(b"new", {"who": "me"}).key,
    _metadata({"who": "me"}),
    changes=WRITTEN,
)
case(
    "S3Bucket.upload_object",
    lambda p: p.bucket.upload_object("new/x", io.BytesIO(b"new")).key,
    holds("new/x", b"new"),
    changes=WRITTEN,
)
case("S3Bucket.upload_object", lambda p: _in_parts(p, "new/x").key, _in_parts_right, "in parts", changes=WRITTEN)


for _name in ("encryption", "SSE-C", "ACL", "storage class", "tags", "metadata with an underscore"):
    case("S3Bucket.upload_object", lambda p, extra=WITH[_name][0]: _in_parts(p, "new/x", **extra).key,
         WITH[_name][1] if _name == "SSE-C" else both(holds("new/x", PARTS + b"end"), WITH[_name][1]), f"in parts with {_name}",
         changes=WRITTEN)  # fmt: skip
case(
    "S3Bucket.upload_file",
    lambda p: p.bucket.upload_file(p.folder / "in/f", "new/x").key,
    holds("new/x", b"file"),
    changes=WRITTEN,
)
case(
    "S3Bucket.upload_folder",
    lambda p: sorted(p.bucket.upload_folder(p.folder / "in", "new/x")),
    both(holds("new/x/f", b"file"), holds("new/x/deep/g", b"another file")),
    changes=WRITTEN,
    left=WRITTEN,
)
case("S3Object.open", lambda p: _open_and_write(p, "new/x", b"new"), holds("new/x", b"new"), "wb", changes=WRITTEN)
case(
    "S3Object.open",
    lambda p: _open_and_write(
        p,
        "new/x",
        PARTS * 2,
    ),
    holds("new/x", PARTS * 2),
    "wb, in parts",
    changes=WRITTEN,
)


def _append(p: Site) -> int:
    with p.bucket[A].open("ab") as file:
        written: int = file.write(b" and more")
    return written


case("S3Object.open", _append, lambda p, result: check(p.content(A), p.seed.get(A, b"") + b" and more"), "ab",
     changes=f"object*-a/{A}*")  # fmt: skip


def _create_only(p: Site) -> int:
    with p.bucket[A].open("xb") as file:
        written: int = file.write(b"mine")
    return written


# -- conditions -----------------------------------------------------------------------------------------------------------------------

_only_if_empty = both(is_true(lambda p, result: p.is_empty), holds(A, b"mine"))
_changes_a = f"object*-a/{A}*"


def _etag(p: Site, key: str = A) -> str:
    with suppress(ClientError):
        return str(p.head(key)["ETag"]).strip('"')
    return "0" * 32


case("S3Bucket.put_object", lambda p: p.bucket.put_object(A, b"mine", if_absent=True).key, _only_if_empty, "if_absent",
     changes=_changes_a)  # fmt: skip
case("S3Bucket.put_object", lambda p: p.bucket.put_object(A, b"mine", if_match=_etag(p)).key, holds(A, b"mine"), "if_match",
     changes=_changes_a, needs_objects=True)  # fmt: skip
case("S3Bucket.put_object", lambda p: p.bucket.put_object(A, b"mine", if_match="0" * 32).key, never,
     "if_match that does not hold")  # fmt: skip
case("S3Bucket.upload_object", lambda p: p.bucket.upload_object(A, io.BytesIO(b"mine"), if_absent=True).key, _only_if_empty, "if_absent",
     changes=_changes_a)  # fmt: skip
case("S3Bucket.upload_object", lambda p: p.bucket.upload_object(A, iter([PARTS, b"end"]), part_size_bytes=5 * _MIB, if_absent=True).key,
     both(is_true(lambda p, result: p.is_empty), holds(A, PARTS + b"end")), "in parts, if_absent", changes=_changes_a)  # fmt: skip
case("S3Object.open", _create_only, _only_if_empty, "xb", changes=_changes_a)
case("S3Object.copy_to", lambda p: p.store.object(f"s3://{_other(p)}/theirs").copy_to(p.bucket[A], if_absent=True).key,
     both(is_true(lambda p, result: p.is_empty), holds(A, b"another bucket's")), "if_absent", changes=_changes_a)  # fmt: skip
case("S3Object.copy_to", lambda p: p.store.object(f"s3://{_other(p)}/theirs").copy_to(p.bucket[A], if_match="0" * 32).key,
     never, "if_match that does not hold")  # fmt: skip
case("S3Object.delete", lambda p: p.bucket[A].delete(if_match="0" * 32), is_true(lambda p, result: p.is_empty),
     "if_match that does not hold")  # fmt: skip
case("S3Object.delete", lambda p: p.bucket[A].delete(if_match=_etag(p)), lambda p, result: check(p.content(A), None), "if_match",
     changes=_changes_a)  # fmt: skip
case(
    "S3Object.update",
    lambda p: p.bucket[A].update(lambda body: (body or b"") + b"!").key,
    lambda p, result: check(p.content(A), p.seed.get(A, b"") + b"!"),
    changes=_changes_a,
)

# -- locks --------------------------------------------------------------------------------------------------------------------------

LOCK = "object*-a/new/lock*"


def _lock_and_release(p: Site) -> Any:
    with p.bucket.lock("new/lock", ttl=30, owner="me") as lock:
        lock.check()
        lock.renew()
        return lock.key, lock.owner, lock.token > 0, lock.lost, b'"held"' in (p.content("new/lock") or b"")


case("S3Bucket.lock S3Lock.key S3Lock.owner S3Lock.token S3Lock.lost S3Lock.check S3Lock.acquire S3Lock.renew S3Lock.release",
     _lock_and_release, returns(("new/lock", "me", True, False, True)), changes=LOCK)  # fmt: skip
case("S3Bucket.lock", lambda p: p.bucket.lock("theirs", ttl=30), never, "on an object that is no lock",
     prepare=lambda p: p.put("theirs", b"not a lock"))  # fmt: skip
case("S3Bucket.acquire_lock", lambda p: p.bucket.acquire_lock("new/lock", {"user": "me"}).key,
     lambda p, result: check(json.loads(p.content("new/lock") or b"")["user"], "me"), changes=LOCK)  # fmt: skip
case("S3Bucket.acquire_lock", lambda p: p.bucket.acquire_lock("theirs", {"user": "me"}).key, never,
     "that another holds", prepare=lambda p: p.put("theirs", b'{"user": "you"}'))  # fmt: skip
case("S3Bucket.release_lock", lambda p: p.bucket.release_lock("theirs"), lambda p, result: check(p.content("theirs"), None),
     prepare=lambda p: p.put("theirs", b'{"user": "you"}'), changes="object*-a/theirs*")  # fmt: skip
case("S3Bucket.check_lock", lambda p: p.bucket.check_lock("theirs"), returns({"user": "you"}),
     prepare=lambda p: p.put("theirs", b'{"user": "you"}'))  # fmt: skip

# -- the object -------------------------------------------------------------------------------------------------------------------


def _said_by_head(name: str) -> Callable[[Site], Any]:
    return lambda p: p.head(A).get(name)


def _checksums_of(p: Site, key: str) -> dict[str, str]:
    answer = p.client.head_object(Bucket=p.name, Key=key, ChecksumMode="ENABLED")
    return {
        name.removeprefix("Checksum"): value
        for name, value in answer.items()
        if name.startswith("Checksum") and name != "ChecksumType"
    }


_attributes = {
    "S3Object.size": (lambda p: p.bucket[A].size, returns(5)),
    "S3Object.etag": (lambda p: p.bucket[A].etag, returns(_etag)),
    "S3Object.last_modified": (lambda p: p.bucket[A].last_modified, returns(lambda p: p.head(A)["LastModified"])),
    "S3Object.storage_class": (lambda p: p.bucket[A].storage_class, returns("STANDARD")),
    "S3Object.metadata": (lambda p: p.bucket[A].metadata.get("m"), returns("1")),
    "S3Object.content_type": (lambda p: p.bucket[A].content_type, returns(lambda p: p.head(A)["ContentType"])),
    "S3Object.content_encoding": (lambda p: p.bucket[A].content_encoding, returns(_said_by_head("ContentEncoding"))),
    "S3Object.content_language": (lambda p: p.bucket[A].content_language, returns(_said_by_head("ContentLanguage"))),
    "S3Object.content_disposition": (
        lambda p: p.bucket[A].content_disposition,
        returns(_said_by_head("ContentDisposition")),
    ),
    "S3Object.cache_control": (lambda p: p.bucket[A].cache_control, returns(_said_by_head("CacheControl"))),
    "S3Object.expires": (lambda p: p.bucket[A].expires, returns(_said_by_head("Expires"))),
    "S3Object.encryption": (lambda p: p.bucket[A].encryption, returns(_said_by_head("ServerSideEncryption"))),
    "S3Object.kms_key_id": (lambda p: p.bucket[A].kms_key_id, returns(_said_by_head("SSEKMSKeyId"))),
    "S3Object.checksums": (lambda p: p.bucket[A].checksums, returns(lambda p: _checksums_of(p, A))),
    "S3Object.text": (lambda p: p.bucket[A].text, returns("alpha")),
    "S3Object.json": (lambda p: p.bucket["kept/b.json"].json(), returns({"n": 1})),
    "S3Object.reload": (lambda p: p.bucket[A].reload().body, returns(b"alpha")),
    "S3Object.read_range": (lambda p: p.bucket[LONG].read_range(3, 17), returns(SEED[LONG][3:17])),
    "S3Object.iter_chunks": (lambda p: b"".join(p.bucket[LONG].iter_chunks(999, start=1)), returns(SEED[LONG][1:])),
    "S3Object.iter_lines": (lambda p: len([*p.bucket[LONG].iter_lines()]), returns(2000)),
}
_paths: dict[str, tuple[Run, Right]] = {
    "S3Path.exists": (lambda p: (p.bucket.path(A).exists(), p.bucket.path("kept").exists()), returns((True, True))),
    "S3Path.is_file": (lambda p: (p.bucket.path(A).is_file(), p.bucket.path("kept").is_file()), returns((True, False))),
    "S3Path.is_dir": (lambda p: (p.bucket.path(A).is_dir(), p.bucket.path("kept").is_dir()), returns((False, True))),
    "S3Path.iterdir": (
        lambda p: [path.key for path in p.bucket.path("kept").iterdir()],
        returns([key for key in sorted(SEED) if key.startswith("kept/")]),
    ),
    "S3Path.glob": (lambda p: [path.key for path in p.bucket.path("kept").glob("*.txt")], returns([A, LONG])),
    "S3Path.rglob": (lambda p: [path.key for path in p.bucket.path().rglob("*.txt")], returns([A, LONG])),
    "S3Path.read_bytes": (lambda p: p.bucket.path(A).read_bytes(), returns(b"alpha")),
    "S3Path.read_text": (lambda p: p.bucket.path(A).read_text(), returns("alpha")),
}
for _name, (_run, _right) in _paths.items():
    if _name in ("S3Path.iterdir", "S3Path.read_bytes", "S3Path.read_text"):
        case(_name, _run, _right, needs_objects=True)
    else:
        case(
            _name,
            _run,
            lambda p, result, right=_right: right(p, result) if not p.is_empty else check(any(result), False),
        )
case(
    "S3Path.write_bytes", lambda p: p.bucket.path("new/x").write_bytes(b"new"), holds("new/x", b"new"), changes=WRITTEN
)
case("S3Path.write_text", lambda p: p.bucket.path("new/x").write_text("new"), holds("new/x", b"new"), changes=WRITTEN)
case("S3Path.unlink", lambda p: p.bucket.path(A).unlink(missing_ok=True), lambda p, result: check(p.content(A), None),
     changes=f"object*-a/{A}*")  # fmt: skip


def _send(url: str, body: bytes) -> str:
    headers = {"Content-Type": "application/octet-stream"}  # moto parses the form that urllib takes it for otherwise
    with urllib.request.urlopen(urllib.request.Request(url, body, headers, method="PUT")) as answer:
        return str(answer.headers["ETag"])


def _by_presigned_parts(p: Site, **extra: Any) -> None:
    parts = p.bucket["new/x"].presigned_parts(3, **extra)
    parts.complete([_send(url, body) for url, body in zip(parts.urls, (PARTS, b"end"), strict=False)])


case(
    "S3Object.presigned_parts PresignedParts.complete",
    _by_presigned_parts,
    holds("new/x", PARTS + b"end"),
    changes=WRITTEN,
)
case("S3Object.presigned_parts", lambda p: _by_presigned_parts(p, metadata={"who": "me"}),
     both(holds("new/x", PARTS + b"end"), _metadata({"who": "me"})), "with metadata", changes=WRITTEN)  # fmt: skip
case(
    "PresignedParts.abort",
    lambda p: p.bucket["new/x"].presigned_parts(2).abort(),
    lambda p, result: check(p.content("new/x"), None),
)


case("S3Object.restore", lambda p: p.bucket[A].restore(days=1), never, "of an object that is not archived")


def _put_archived(p: Site) -> None:
    """Write an archived object; on a store without archives, which cannot restore it either, an ordinary one."""
    try:
        p.put("old", b"x", StorageClass="GLACIER")
    except ClientError:
        p.put("old", b"x")


case("S3Object.restore", lambda p: p.bucket["old"].restore(days=1), lambda p, result: check(bool(p.head("old").get("Restore")), True),
     changes="object*-a/old*", prepare=_put_archived)  # fmt: skip


case("ObjectAnnotations.list", lambda p: p.bucket[A].annotations.list(), never)
case("ObjectAnnotations.get", lambda p: p.bucket[A].annotations.get("n"), never)
case("ObjectAnnotations.put", lambda p: p.bucket[A].annotations.put("n", "text"), never)
case("ObjectAnnotations.delete", lambda p: p.bucket[A].annotations.delete("n"), never)


def _read_path(p: Site) -> bytes:
    with p.bucket.path(A).open("rb") as file:
        body: bytes = file.read()
    return body


case("S3Path.open", _read_path, returns(b"alpha"), needs_objects=True)

for _name, (_run, _right) in _attributes.items():
    case(_name, _run, _right, needs_objects=True)
case(
    "S3Object.read_range", lambda p: p.bucket[A].read_range(-100), returns(b"alpha"), "from the end", needs_objects=True
)
case(
    "S3Object.body_stream",
    lambda p: p.bucket[A].body_stream.read(),
    returns(b"alpha"),
    needs_objects=True,
    is_sync_only=True,
)
case(
    "S3Object.exists",
    lambda p: (p.bucket[A].exists(), p.bucket["none"].exists()),
    returns(lambda p: (not p.is_empty, False)),
)


def _read_file(p: Site) -> bytes:
    with p.bucket[LONG].open("rb") as file:
        file.seek(7)
        read: bytes = file.read()
    return read


case(
    "S3Object.open AsyncObjectFile.read AsyncObjectFile.seek",
    _read_file,
    returns(SEED[LONG][7:]),
    "rb",
    needs_objects=True,
)


def _file_is(name: str, body: bytes) -> Right:
    return lambda p, result: check((p.folder / name).read_bytes(), body)


def _download(p: Site) -> bytes:
    out = io.BytesIO()
    p.bucket.download_object(LONG, out)
    return out.getvalue()


case("S3Bucket.download_object", _download, returns(SEED[LONG]), needs_objects=True)
case("S3Bucket.download_file", lambda p: p.bucket.download_file(LONG, p.folder / "out").key, _file_is("out", SEED[LONG]),
     needs_objects=True, changes="file?out")  # fmt: skip
case("S3Object.download_to", lambda p: p.bucket[LONG].download_to(p.folder / "out").key, _file_is("out", SEED[LONG]),
     needs_objects=True, changes="file?out")  # fmt: skip


def _folder_is_seed(p: Site, result: Any) -> None:
    found = {path.name: path.read_bytes() for path in (p.folder / "out").rglob("*") if path.is_file()}
    check(found, {key.removeprefix("kept/"): body for key, body in p.seed.items() if key.startswith("kept/")})


case("S3Bucket.download_folder", lambda p: sorted(p.bucket.download_folder("kept/", p.folder / "out")), _folder_is_seed,
     changes="file?out/*")  # fmt: skip
case("S3Bucket.sync_to_folder", lambda p: len(p.bucket.sync_to_folder("kept/", p.folder / "out").copied), _folder_is_seed,
     changes="file?out/*")  # fmt: skip
case("ObjectQuery.download_to", lambda p: p.bucket.find("kept/").download_to(p.folder / "out") and None, lambda p, result: check(
    sorted(path.read_bytes() for path in (p.folder / "out").rglob("*") if path.is_file()),
    sorted(body for key, body in p.seed.items() if key.startswith("kept/"))), changes="file?out/*")  # fmt: skip
_SYNC = " ".join(f"SyncPlan.{word}" for word in (
    "apply", "applied", "copied", "skipped", "deleted", "steps", "direction", "bucket_name", "prefix", "folder"))  # fmt: skip


def _sync(p: Site) -> Any:
    plan = p.bucket.sync_from_folder(p.folder / "in", "kept", delete=True, dry_run=True)
    assert not plan.applied
    plan.apply()
    return sorted(step.key for step in plan.copied), plan.direction


case(f"S3Bucket.sync_from_folder {_SYNC}", _sync, both(
    lambda p, result: check(p.keys(), sorted(["kept/deep/g", "kept/f"] + ([] if p.is_empty else ["side-1"]))),
    holds("kept/f", b"file"), holds("kept/deep/g", b"another file")), changes="object*-a/kept/*", left="object*-a/kept/*")  # fmt: skip

case("S3Bucket.copy_object", lambda p: p.bucket.copy_object(LONG, "new/x").key, holds("new/x", SEED[LONG]), needs_objects=True,
     changes=WRITTEN)  # fmt: skip


def _keeps_attributes(p: Site, result: Any) -> None:
    head = p.head("new/x")
    check((p.content("new/x"), head["ContentType"]), (b"new", "text/plain"))
    check({name.lower(): text for name, text in head["Metadata"].items() if name.lower() == "m"}, {"m": "1"})
    check(p.tags("new/x"), p.state["tags"])


def _tagged(p: Site) -> None:
    """Write an object that has tags, where the store keeps those."""
    p.put("source", b"new", Metadata={"m": "1"}, ContentType="text/plain", Tagging="t=1&u=2")
    p.state["tags"] = p.tags("source") if p.server.root is None else {}


case(
    "S3Object.copy_to",
    lambda p: p.bucket["source"].copy_to("new/x").key,
    _keeps_attributes,
    prepare=_tagged,
    changes=WRITTEN,
)
case("S3Object.copy_to", lambda p: p.bucket["source"].copy_to(p.store.bucket(_other(p))["new/x"]).key,
     holds("new/x", b"new", _other), "another bucket", prepare=_tagged, changes="object*-b/new/x*")  # fmt: skip
case("S3Object.copy_to", lambda p: p.bucket["source"].copy_to("new/x", tags={"v": "3"}).key,
     lambda p, result: check(p.tags("new/x"), {"v": "3"}), "with tags in place of others", prepare=_tagged, changes=WRITTEN)  # fmt: skip
case("S3Object.copy_to", lambda p: p.bucket["source"].copy_to("new/x", metadata={"n": "2"}).key, lambda p, result: check(
    ({name.lower() for name in p.head("new/x")["Metadata"]} & {"m", "n"}, p.tags("new/x")), ({"n"}, p.state["tags"])),
    "with metadata in place of others", prepare=_tagged, changes=WRITTEN)  # fmt: skip
case("S3Object.copy_to", lambda p: p.bucket["source"].copy_to("source", metadata={"n": "2"}).key, lambda p, result: check(
    ({name.lower() for name in p.head("source")["Metadata"]} & {"m", "n"}, p.tags("source"), p.content("source")),
    ({"n"}, p.state["tags"], b"new")), "onto itself", prepare=_tagged, changes="object*-a/source*")  # fmt: skip
case("S3Object.move_to", lambda p: p.bucket["source"].move_to("new/x").key,
     both(_keeps_attributes, lambda p, result: check(p.content("source"), None)), prepare=_tagged,
     changes=f"{WRITTEN} object*-a/source*", left=WRITTEN)  # fmt: skip
case("S3Object.update", lambda p: p.bucket["source"].update(lambda body: b"other").key, lambda p, result: check(
    (p.content("source"), p.tags("source"), p.head("source")["ContentType"]), (b"other", p.state["tags"], "text/plain")),
    "keeps attributes", prepare=_tagged, changes="object*-a/source*")  # fmt: skip
case("S3Object.delete", lambda p: p.bucket[A].delete(), lambda p, result: check(p.content(A), None), changes=_changes_a)
case(
    "S3Object.preview",
    lambda p: str(p.bucket[A].preview()),
    is_true(lambda p, result: "alpha" in result),
    needs_objects=True,
)


def _fetched(p: Site, url: str) -> None:
    check(urllib.request.urlopen(url, timeout=20).read(), b"alpha")


case(
    "S3Object.presigned_url", lambda p: p.bucket[A].presigned_url(), lambda p, result: p.is_empty or _fetched(p, result)
)

# -- versions -----------------------------------------------------------------------------------------------------------------------

V = "object*-a/v*"


def _versions(p: Site) -> None:
    """Write an object twice, in a versioned bucket where the store has those; state["old"] is its first version, or a made-up ID."""
    with suppress(ClientError, BotoCoreError):
        if p.server.root is None:
            p.client.put_bucket_versioning(Bucket=p.name, VersioningConfiguration={"Status": "Enabled"})
    first = p.put("v", b"one", Metadata={"m": "1"}).get("VersionId")
    p.put("v", b"two", Metadata={"m": "2"})
    p.state["is_real"] = first not in (None, "null")
    p.state["old"] = first if p.state["is_real"] else "3sL4kqtJlcpXroDTDmJ.rmSpXd3dIbrHY"


def _deleted(p: Site) -> None:
    _versions(p)
    if p.state["is_real"]:
        p.client.delete_object(Bucket=p.name, Key="v")


def _unknown(p: Site) -> None:
    _versions(p)
    p.state["old"] = "3sL4kqtJlcpXroDTDmJ.rmSpXd3dIbrHY"
    p.state["is_real"] = False


def _old(p: Site) -> Any:
    return p.bucket.object("v", p.state["old"])


def _of_old(right: Right) -> Right:
    def checked(p: Site, result: Any) -> None:
        if not p.state["is_real"]:
            raise AssertionError("it succeeded for a version that does not exist")
        right(p, result)

    return checked


def _old_is_gone(p: Site, result: Any) -> None:
    check(
        [row["VersionId"] for row in p.client.list_object_versions(Bucket=p.name, Prefix="v")["Versions"]].count(
            p.state["old"]
        ),
        0,
    )
    check(p.content("v"), b"two")


for _prepare, _name in ((_versions, "of a version"), (_unknown, "of an unknown version")):
    case("S3Object.body", lambda p: _old(p).body, _of_old(returns(b"one")), _name, prepare=_prepare)
    case(
        "S3Object.exists",
        lambda p: _old(p).exists(),
        lambda p, result: check(result, p.state["is_real"]),
        _name,
        prepare=_prepare,
    )
    case("S3Object.metadata", lambda p: _old(p).metadata.get("m"), _of_old(returns("1")), _name, prepare=_prepare)
    case("S3Object.read_range", lambda p: _old(p).read_range(1, 2), _of_old(returns(b"n")), _name, prepare=_prepare)
    case("S3Object.copy_to", lambda p: _old(p).copy_to("new/x").key, _of_old(holds("new/x", b"one")), _name, changes=WRITTEN,
         prepare=_prepare)  # fmt: skip
    case("S3Object.move_to", lambda p: _old(p).move_to("new/x").key, _of_old(both(holds("new/x", b"one"), _old_is_gone)), _name,
         changes=f"{WRITTEN} {V}", left=WRITTEN, prepare=_prepare)  # fmt: skip
    case("S3Object.make_current", lambda p: _old(p).make_current().key, _of_old(lambda p, result: check(
        (p.content("v"), p.head("v")["Metadata"].get("m")), (b"one", "1"))), _name, changes=V, prepare=_prepare)  # fmt: skip
    # S3 answers 204 to the deletion of a version that does not exist: right as well, as long as nothing is gone.
    case("S3Object.delete", lambda p: _old(p).delete(), lambda p, result: check(p.content("v"), b"two") or (
        p.state["is_real"] and _old_is_gone(p, result)), _name, changes=V, prepare=_prepare)  # fmt: skip
    case("S3Bucket.delete_objects", lambda p: len(p.bucket.delete_objects([_old(p)]).succeeded),
         lambda p, result: check(p.content("v"), b"two") or (p.state["is_real"] and _old_is_gone(p, result)), _name, changes=V,
         prepare=_prepare)  # fmt: skip
    case("ObjectTags.get", lambda p: dict(_old(p).tags.get()), _of_old(returns({})), _name, prepare=_prepare)
    case("ObjectTags.put", lambda p: _old(p).tags.put({"a": "1"}), _of_old(lambda p, result: check(
        (p.tags("v"), p.setting("object_tagging", Key="v", VersionId=p.state["old"])["TagSet"]), ({}, [{"Key": "a", "Value": "1"}]))),
        _name, changes=V, prepare=_prepare)  # fmt: skip
case("S3Object.versions", lambda p: [obj.body for obj in p.bucket["v"].versions()],
     returns(lambda p: [b"two", b"one"] if p.state["is_real"] else [b"two"]), prepare=_versions)  # fmt: skip
case("S3Object.undelete", lambda p: p.bucket["v"].undelete(),
     lambda p, result: check((result, p.content("v")), (p.state["is_real"], b"two")), prepare=_deleted, changes=V)  # fmt: skip
case("S3Bucket.clear_objects", lambda p: p.bucket.clear_objects(versions=True), lambda p, result: check(p._rows(p.name), []),
     "with versions, of a versioned bucket", prepare=_versions, changes="object*-a/*")  # fmt: skip
case("S3Bucket.put_object", lambda p: p.bucket.put_object("v", b"mine", if_absent=True).key, never,
     "if_absent, in a versioned bucket", prepare=_versions)  # fmt: skip
case("S3Bucket.put_object", lambda p: p.bucket.put_object("v", b"mine", if_match="0" * 32).key, never,
     "if_match that does not hold, in a versioned bucket", prepare=_versions)  # fmt: skip

# -- the query ----------------------------------------------------------------------------------------------------------------------


def _kept(p: Site) -> list[str]:
    return [key for key in _seed_keys(p) if key.startswith("kept/")]


case("ObjectQuery.objects", lambda p: _keys(p.bucket.find("kept/").objects()), returns(_kept))
case("ObjectQuery.limit", lambda p: _keys(p.bucket.find().limit(2)), returns(lambda p: _seed_keys(p)[:2]))
case("ObjectQuery.sequential", lambda p: _keys(p.bucket.find("kept/").sequential()), returns(_kept))
case(
    "ObjectQuery.filter",
    lambda p: _keys(p.bucket.find().filter(lambda obj: obj.size == 5)),
    returns(lambda p: [A][: len(p.seed)]),
)
case(
    "ObjectQuery.first",
    lambda p: getattr(p.bucket.find().first(), "key", None),
    returns(lambda p: None if p.is_empty else A),
)
case("ObjectQuery.collect", lambda p: _keys(p.bucket.find().collect()), returns(_seed_keys))
case("ObjectQuery.count", lambda p: p.bucket.find().count(), returns(lambda p: len(p.seed)))
case(
    "ObjectQuery.total_size", lambda p: p.bucket.find().total_size(), returns(lambda p: sum(map(len, p.seed.values())))
)
case(
    "ObjectQuery.prefixes",
    lambda p: [*p.bucket.find(delimiter="/").prefixes()],
    returns(lambda p: [] if p.is_empty else ["kept/"]),
)
case("ObjectQuery.prefixes", lambda p: [*p.bucket.find(delimiter="-").prefixes()],
     returns(lambda p: [] if p.is_empty else ["kept/looks-", "side-"]), "by another delimiter")  # fmt: skip
case("ObjectQuery.entries", lambda p: [getattr(entry, "key", entry) for entry in p.bucket.find(delimiter="/").entries()],
     returns(lambda p: [] if p.is_empty else ["kept/", "side-1"]))  # fmt: skip
case("ObjectQuery.map", lambda p: [*p.bucket.find().map(lambda obj: obj.key)], returns(_seed_keys))
case(
    "ObjectQuery.prefetch",
    lambda p: {obj.key: obj.body for obj in p.bucket.find().prefetch()},
    returns(lambda p: p.seed),
)
case(
    "ObjectQuery.partitions",
    lambda p: sorted(key for part in p.bucket.find().partitions(3) for key in _keys(part)),
    returns(_seed_keys),
)
case("ObjectQuery.parallel", lambda p: sorted(_keys(p.bucket.find().parallel(3))), returns(_seed_keys))
case("ObjectQuery.delete", lambda p: len(p.bucket.find("kept/").delete().succeeded),
     lambda p, result: check(p.keys(), [key for key in _seed_keys(p) if key not in _kept(p)]), changes="object*-a/kept/*")  # fmt: skip
case("ObjectQuery.copy_to", lambda p: len(p.bucket.find("kept/").copy_to(p.store.bucket(_other(p)), prefix="new/")),
     lambda p, result: check({key: p.content("new/" + key.removeprefix("kept/"), _other(p)) or p.content(f"new/{key}", _other(p))
                              for key in _kept(p)}, {key: SEED[key] for key in _kept(p)}),
     changes="object*-b/new/*", left="object*-b/new/*")  # fmt: skip
case("ObjectQuery.show", lambda p: str(p.bucket.find().show()), is_true(lambda p, result: p.is_empty or A in result))
case(
    "ObjectQuery.tree",
    lambda p: str(p.bucket.find().tree()),
    is_true(lambda p, result: p.is_empty or "a.txt" in result),
)
case(
    "ObjectQuery.browse",
    lambda p: str(p.bucket.find("kept/").browse()),
    is_true(lambda p, result: p.is_empty or "a.txt" in result),
)
case("ObjectQuery.usage", lambda p: p.bucket.find().usage().count, returns(lambda p: len(p.seed)))
case("ObjectQuery.to_pandas", lambda p: len(p.bucket.find().to_pandas()), returns(lambda p: len(p.seed)))
case("ObjectQuery.to_arrow", lambda p: p.bucket.find().to_arrow().num_rows, returns(lambda p: len(p.seed)))
case(
    "ObjectQuery.arrow_batches",
    lambda p: sum(batch.num_rows for batch in p.bucket.find().arrow_batches()),
    returns(lambda p: len(p.seed)),
)

# -- the sub-resources ----------------------------------------------------------------------------------------------------------------

LIFECYCLE = "setting*-a*lifecycle*"
_RULES = [
    {"ID": name, "Status": "Enabled", "Filter": {"Prefix": f"{name}/"}, "Expiration": {"Days": 9}}
    for name in ("r", "s")
]


def _with_rules(p: Site) -> None:
    with suppress(ClientError, BotoCoreError):
        p.client.put_bucket_lifecycle_configuration(Bucket=p.name, LifecycleConfiguration={"Rules": _RULES})


def _rules(p: Site) -> dict[str, Any]:
    return {rule["ID"]: rule for rule in p.setting("bucket_lifecycle_configuration").get("Rules", ())}


_ACTIONS = ("Status", "Expiration", "Transitions", "AbortIncompleteMultipartUpload", "NoncurrentVersionExpiration")


def _meaning(rule: dict[str, Any]) -> dict[str, Any]:
    """Return what a rule means, whichever way its filter is written."""
    given = rule.get("Filter", {})
    inner = given.get("And", given)
    meaning = {name: rule[name] for name in _ACTIONS if name in rule}
    sizes = {name: inner[name] for name in ("ObjectSizeGreaterThan", "ObjectSizeLessThan") if name in inner}
    return meaning | sizes | {"prefix": inner.get("Prefix") or rule.get("Prefix") or "", "tags": inner.get("Tags", [])}


def _one_rule(prefix: str = "", **wanted: Any) -> Right:
    def right(p: Site, result: Any) -> None:
        [rule] = _rules(p).values()
        found = _meaning(rule)
        if "Transitions" in found:
            found["Transitions"] = [dict(each) for each in found["Transitions"]]
        check(found, {"Status": "Enabled", "prefix": prefix, "tags": [], **wanted})

    return right


_RULE = s3.LifecycleRule("r", prefix="x/", expire_days=9)
_SIZED = s3.LifecycleRule("r", prefix="x/", expire_days=9, min_size=10**6)
case("Lifecycle.get", lambda p: sorted(rule.id for rule in p.bucket.lifecycle.get().rules), returns(lambda p: sorted(_rules(p))),
     prepare=_with_rules)  # fmt: skip
case("Lifecycle.put", lambda p: p.bucket.lifecycle.put(LifecycleConfiguration((_RULE,))), _one_rule("x/", Expiration={"Days": 9}),
     changes=LIFECYCLE)  # fmt: skip
case("Lifecycle.put", lambda p: p.bucket.lifecycle.put(LifecycleConfiguration((_SIZED,))),
     _one_rule("x/", Expiration={"Days": 9}, ObjectSizeGreaterThan=10**6), "with a size", changes=LIFECYCLE)  # fmt: skip
case("Lifecycle.ensure", lambda p: p.bucket.lifecycle.ensure(_RULE).applied,
     lambda p, result: check({name: _meaning(rule)["prefix"] for name, rule in _rules(p).items()}, {"r": "x/", "s": "s/"}),
     changes=LIFECYCLE, prepare=_with_rules)  # fmt: skip
case("Lifecycle.ensure", lambda p: p.bucket.lifecycle.ensure(_SIZED) and None, lambda p, result: check(
    (_meaning(_rules(p)["r"])["ObjectSizeGreaterThan"], sorted(_rules(p))), (10**6, ["r", "s"])), "with a size", changes=LIFECYCLE,
    prepare=_with_rules)  # fmt: skip
case("Lifecycle.change", lambda p: p.bucket.lifecycle.change(LifecycleConfiguration((_RULE,))).apply() and None,
     _one_rule("x/", Expiration={"Days": 9}), changes=LIFECYCLE, prepare=_with_rules)  # fmt: skip
case("Lifecycle.expire", lambda p: p.bucket.lifecycle.expire(days=7, prefix="t/"), _one_rule("t/", Expiration={"Days": 7}),
     changes=LIFECYCLE)  # fmt: skip
case("Lifecycle.abort_unfinished_uploads", lambda p: p.bucket.lifecycle.abort_unfinished_uploads(days=3),
     _one_rule(AbortIncompleteMultipartUpload={"DaysAfterInitiation": 3}), changes=LIFECYCLE)  # fmt: skip
case("Lifecycle.transition", lambda p: p.bucket.lifecycle.transition("GLACIER", days=90),
     _one_rule(Transitions=[{"Days": 90, "StorageClass": "GLACIER"}]), changes=LIFECYCLE)  # fmt: skip
case("Lifecycle.expire_noncurrent", lambda p: p.bucket.lifecycle.expire_noncurrent(days=5),
     _one_rule(NoncurrentVersionExpiration={"NoncurrentDays": 5}), changes=LIFECYCLE)  # fmt: skip
case("Lifecycle.remove", lambda p: p.bucket.lifecycle.remove("r"), lambda p, result: check(sorted(_rules(p)), ["s"]),
     changes=LIFECYCLE, prepare=_with_rules)  # fmt: skip
case("Lifecycle.delete", lambda p: p.bucket.lifecycle.delete(), lambda p, result: check(_rules(p), {}), changes=LIFECYCLE,
     prepare=_with_rules)  # fmt: skip
case("Lifecycle.delete", lambda p: p.bucket.lifecycle.delete(), lambda p, result: check(_rules(p), {}), "of none")
case(
    "Lifecycle.set_lifetime",
    lambda p: p.bucket.lifecycle.set_lifetime(30),
    _one_rule(Expiration={"Days": 30}),
    changes=LIFECYCLE,
)
case(
    "S3Bucket.set_lifetime_in_days",
    lambda p: p.bucket.set_lifetime_in_days(30),
    _one_rule(Expiration={"Days": 30}),
    changes=LIFECYCLE,
)

POLICY = "setting*-a*policy*"


def _statement(p: Site, sid: str = "one") -> dict[str, Any]:
    return {
        "Sid": sid,
        "Effect": "Deny",
        "Principal": "*",
        "Action": ["s3:GetObject"],
        "Resource": [f"arn:aws:s3:::{p.name}/never"],
    }


def _with_policy(p: Site) -> None:
    document = {"Version": "2012-10-17", "Statement": [_statement(p), _statement(p, "two")]}
    with suppress(ClientError, BotoCoreError):
        p.client.put_bucket_policy(Bucket=p.name, Policy=json.dumps(document))


def _sids(p: Site, bucket: str | None = None) -> list[str]:
    return sorted(statement.get("Sid", "") for statement in _statements(p, bucket))


def _statements(p: Site, bucket: str | None = None) -> list[dict[str, Any]]:
    policy = p.setting("bucket_policy", bucket).get("Policy")
    found: list[dict[str, Any]] = json.loads(policy)["Statement"] if policy else []
    return found


def _is_public(p: Site, bucket: str) -> None:
    allowed = [statement for statement in _statements(p, bucket) if statement["Effect"] == "Allow"]
    check([statement["Principal"] in ("*", {"AWS": "*"}, {"AWS": ["*"]}) for statement in allowed], [True])
    block = p.setting("public_access_block", bucket).get("PublicAccessBlockConfiguration", {})
    check((block.get("BlockPublicPolicy", False), block.get("RestrictPublicBuckets", False)), (False, False))


def _sids_are(*wanted: str) -> Right:
    return lambda p, result: check(_sids(p), [*wanted])


case("Policy.get", lambda p: sorted(json.loads(statement)["Sid"] for statement in p.bucket.policy.get().statements), returns(_sids),
     prepare=_with_policy)  # fmt: skip
case("Policy.put", lambda p: p.bucket.policy.put(BucketPolicy().with_statement(_statement(p, "us"))), _sids_are("us"), changes=POLICY,
     prepare=_with_policy)  # fmt: skip
case("Policy.ensure", lambda p: p.bucket.policy.ensure(_statement(p, "us")) and None, _sids_are("one", "two", "us"), changes=POLICY,
     prepare=_with_policy)  # fmt: skip
case(
    "Policy.change",
    lambda p: p.bucket.policy.change(BucketPolicy()).apply() and None,
    _sids_are(),
    changes=POLICY,
    prepare=_with_policy,
)
case("Policy.remove", lambda p: p.bucket.policy.remove("one"), _sids_are("two"), changes=POLICY, prepare=_with_policy)
case("Policy.delete", lambda p: p.bucket.policy.delete(), _sids_are(), changes=POLICY, prepare=_with_policy)
case("Policy.delete", lambda p: p.bucket.policy.delete(), _sids_are(), "of none")

ACCESS = "setting*-a*policy* setting*-a*public_access_block*"
_public = lambda p, result: _is_public(p, p.name)  # noqa: E731


def _not_public(p: Site, result: Any) -> None:
    check([statement for statement in _statements(p) if statement["Effect"] == "Allow"], [])


case("PublicAccess.allow", lambda p: p.bucket.public_access.allow(), _public, changes=ACCESS)
case("S3Bucket.allow_public_access", lambda p: p.bucket.allow_public_access(), _public, changes=ACCESS)
case("PublicAccess.block", lambda p: p.bucket.public_access.block(), _not_public, changes=ACCESS)
case("PublicAccess.status", lambda p: p.bucket.public_access.status().is_public, returns(False))

TAGS = "setting*-a*tagging*"


def _with_tags(p: Site) -> None:
    with suppress(ClientError, BotoCoreError):
        p.client.put_bucket_tagging(Bucket=p.name, Tagging={"TagSet": [{"Key": key, "Value": "0"} for key in "xy"]})


def _with_object_tags(p: Site) -> None:
    p.put("k", b"tagged", Tagging="x=0&y=0")
    p.state["tags"] = p.tags("k") if p.server.root is None else {}


for _of, _part, _prepare, _changes in (
    ("Tags", lambda p: p.bucket.tags, _with_tags, TAGS),
    ("ObjectTags", lambda p: p.bucket["k"].tags, _with_object_tags, "object*-a/k*"),
):

    def _is(wanted: dict[str, str], of: str = _of) -> Right:
        def right(p: Site, result: Any) -> None:
            check(p.tags("k" if of == "ObjectTags" else None), wanted)
            if of == "ObjectTags":
                check(p.content("k"), b"tagged")

        return right

    for _method, _run, _right in (
        ("put", lambda p, part=_part: part(p).put({"a": "ä"}), _is({"a": "ä"})),
        ("update", lambda p, part=_part: part(p).update({"y": "1", "z": "1"}), _is({"x": "0", "y": "1", "z": "1"})),
        ("ensure", lambda p, part=_part: part(p).ensure({"z": "1"}) and None, _is({"x": "0", "y": "0", "z": "1"})),
        ("remove", lambda p, part=_part: part(p).remove("x"), _is({"y": "0"})),
        ("change", lambda p, part=_part: part(p).change(part(p).get().without("x")).apply() and None, _is({"y": "0"})),
        ("delete", lambda p, part=_part: part(p).delete(), _is({})),
    ):
        case(f"{_of}.{_method}", _run, _right, changes=_changes, prepare=_prepare)
    case(f"{_of}.get", lambda p, part=_part: dict(part(p).get()),
         lambda p, result, of=_of: check(result, p.tags("k" if of == "ObjectTags" else None)), prepare=_prepare)  # fmt: skip
    case(f"{_of}.get", lambda p, part=_part: dict(part(p).get()), lambda p, result: check(result, {}), "of none",
         prepare=lambda p: p.put("k", b"untagged") and None)  # fmt: skip


def _planned_tags(p: Site) -> tuple[bool, dict[str, str]]:
    change = p.bucket.tags.ensure({"z": "1"}, dry_run=True)
    assert not change.is_empty
    seen = p.tags()
    change.apply()
    return change.is_empty, seen


case("Change.apply Change.is_empty", _planned_tags, both(returns((False, {"x": "0", "y": "0"})), lambda p, result: check(
    p.tags(), {"x": "0", "y": "0", "z": "1"})), changes=TAGS, prepare=_with_tags)  # fmt: skip

CORS = "setting*-a*cors*"


def _with_cors(p: Site) -> None:
    rules = [
        {"ID": name, "AllowedMethods": ["GET"], "AllowedOrigins": [f"https://{name}.example"]} for name in ("r", "s")
    ]
    with suppress(ClientError, BotoCoreError):
        p.client.put_bucket_cors(Bucket=p.name, CORSConfiguration={"CORSRules": rules})


def _cors(p: Site) -> list[tuple[str, tuple[str, ...]]]:
    return sorted(
        (rule.get("ID", ""), tuple(rule["AllowedOrigins"])) for rule in p.setting("bucket_cors").get("CORSRules", ())
    )


def _cors_is(*wanted: str) -> Right:
    return lambda p, result: check([name for name, _ in _cors(p)], [*wanted])


_CORS = s3.CorsRule("t", origins=("https://t.example",))
case(
    "Cors.get",
    lambda p: sorted((rule.id, rule.origins) for rule in p.bucket.cors.get().rules),
    returns(_cors),
    prepare=_with_cors,
)
case(
    "Cors.put",
    lambda p: p.bucket.cors.put(CorsConfiguration((_CORS,))),
    _cors_is("t"),
    changes=CORS,
    prepare=_with_cors,
)
case(
    "Cors.ensure",
    lambda p: p.bucket.cors.ensure(_CORS) and None,
    _cors_is("r", "s", "t"),
    changes=CORS,
    prepare=_with_cors,
)
case(
    "Cors.change",
    lambda p: p.bucket.cors.change(CorsConfiguration()).apply() and None,
    _cors_is(),
    changes=CORS,
    prepare=_with_cors,
)
case("Cors.remove", lambda p: p.bucket.cors.remove("r"), _cors_is("s"), changes=CORS, prepare=_with_cors)
case("Cors.delete", lambda p: p.bucket.cors.delete(), _cors_is(), changes=CORS, prepare=_with_cors)
case("Cors.delete", lambda p: p.bucket.cors.delete(), _cors_is(), "of none")

ENCRYPTION = "setting*-a*encryption*"


def _encrypted(p: Site, result: Any) -> None:
    rules = p.setting("bucket_encryption").get("ServerSideEncryptionConfiguration", {}).get("Rules", ())
    check([rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] for rule in rules], ["AES256"])


def _encryption_of(p: Site) -> str | None:
    rules = p.setting("bucket_encryption").get("ServerSideEncryptionConfiguration", {}).get("Rules", ())
    return rules[0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] if rules else None


case("BucketEncryption.get", lambda p: p.bucket.encryption.get().algorithm, returns(_encryption_of))
case("BucketEncryption.put", lambda p: p.bucket.encryption.put(Encryption("AES256")), _encrypted, changes=ENCRYPTION)
case("BucketEncryption.ensure", lambda p: p.bucket.encryption.ensure("AES256") and None, _encrypted, changes=ENCRYPTION)
case(
    "BucketEncryption.change",
    lambda p: p.bucket.encryption.change(Encryption("AES256")).apply() and None,
    _encrypted,
    changes=ENCRYPTION,
)
# New buckets of some stores (AWS, LocalStack) are encrypted with AES256, which deleting the setting brings back.
case("BucketEncryption.delete", lambda p: p.bucket.encryption.delete(), is_true(lambda p, result: _encryption_of(p) in (None, "AES256")),
     changes=ENCRYPTION)  # fmt: skip

NOTIFICATIONS = "setting*-a*notification*"
_TARGET = s3.Notification("n", "arn:aws:sqs:us-east-1:123456789012:q", prefix="in/")


def _targets(p: Site) -> list[str]:
    found = p.setting("bucket_notification_configuration")
    return sorted(target["Id"] for name in found if name.endswith("Configurations") for target in found[name])


case(
    "Notifications.get",
    lambda p: sorted(target.id for target in p.bucket.notifications.get().targets),
    returns(_targets),
)
case("Notifications.ensure", lambda p: p.bucket.notifications.ensure(_TARGET) and None, lambda p, result: check(_targets(p), ["n"]),
     changes=NOTIFICATIONS)  # fmt: skip
case("Notifications.put", lambda p: p.bucket.notifications.put(p.bucket.notifications.get()) if p.store is p.sync_store else None,
     lambda p, result: check(_targets(p), []), changes=NOTIFICATIONS)  # fmt: skip
case("Notifications.change", lambda p: p.bucket.notifications.change(p.bucket.notifications.get().with_target(_TARGET)).apply() and None,
     lambda p, result: check(_targets(p), ["n"]), changes=NOTIFICATIONS)  # fmt: skip
case(
    "Notifications.remove",
    lambda p: p.bucket.notifications.remove("n"),
    lambda p, result: check(_targets(p), []),
    changes=NOTIFICATIONS,
)
case(
    "Notifications.delete",
    lambda p: p.bucket.notifications.delete(),
    lambda p, result: check(_targets(p), []),
    changes=NOTIFICATIONS,
)

VERSIONING = "setting*-a*versioning*"


def _status(p: Site) -> str | None:
    return p.client.get_bucket_versioning(Bucket=p.name).get("Status")


def _status_is(*wanted: str | None) -> Right:
    return is_true(lambda p, result: _status(p) in wanted)


def _versioned(p: Site) -> None:
    with suppress(ClientError, BotoCoreError):
        if p.server.root is None:
            p.client.put_bucket_versioning(Bucket=p.name, VersioningConfiguration={"Status": "Enabled"})
    p.state["status"] = _status(p) if p.server.root is None else None


case(
    "Versioning.enable",
    lambda p: p.bucket.versioning.enable(),
    _status_is("Enabled"),
    changes=f"{VERSIONING} object*-a/*",
)
case("Versioning.suspend", lambda p: p.bucket.versioning.suspend(), _status_is("Suspended", None), prepare=_versioned,
     changes=f"{VERSIONING} object*-a/*")  # fmt: skip
case(
    "Versioning.get",
    lambda p: p.bucket.versioning.get().status,
    returns(lambda p: p.state["status"]),
    prepare=_versioned,
)
case("Versioning.is_enabled", lambda p: p.bucket.versioning.is_enabled(), returns(lambda p: p.state["status"] == "Enabled"),
     prepare=_versioned)  # fmt: skip
case(
    "Versioning.put",
    lambda p: p.bucket.versioning.put(p.bucket.versioning.get()),
    _status_is("Enabled", None),
    prepare=_versioned,
)
case(
    "Versioning.change",
    lambda p: p.bucket.versioning.change(p.bucket.versioning.get()).is_empty,
    returns(True),
    prepare=_versioned,
)
case("Versioning.delete", lambda p: p.bucket.versioning.delete(), never, prepare=_versioned)

# -- messages and files ----------------------------------------------------------------------------------------------------------------


def _claim_check(p: Site, **about: Any) -> Any:
    if p.store is p.sync_store:
        return s3.ClaimCheck(p.bucket, threshold=4, **about)
    bucket: Any = p.bucket
    return type(bucket)(s3.AsyncClaimCheck(bucket._handle, threshold=4, **about), bucket._loop)


def _check_in_and_out(p: Site) -> Any:
    claims = _claim_check(p)
    message = claims.check_in(b"more than four bytes", {})
    stored = [p.content(key) for key in p.keys() if key not in p.seed]  # noqa: SIM118
    payload = claims.check_out(message).payload
    claims.discard(message)
    return stored, payload, claims.payload_object(message) is not None


case("ClaimCheck.check_in ClaimCheck.check_out ClaimCheck.discard ClaimCheck.payload_object", _check_in_and_out, both(
    returns(([b"more than four bytes"], b"more than four bytes", True)), lambda p, result: check(p.keys(), _seed_keys(p))),
    left="object*-a/*")  # fmt: skip


def _use_every_method_of_a_file(p: Site) -> Any:
    file = p.bucket["new/x"].open("wb")
    about = file.name, file.mode, file.writable(), file.readable(), file.seekable()
    file.seek(0, 2)
    file.write(b"one\nxx")
    file.truncate(4)
    file.seek(4)
    file.writelines([b"two\n", b"three"])
    file.flush()
    position = file.tell()
    file.close()
    with p.bucket["new/x"].open("rb") as reader:
        lines = [reader.readline(), *reader.readlines()]
    dropped = p.bucket["new/dropped"].open("wb")
    dropped.write(b"x")
    dropped.abort()
    return about[:4], position, file.closed, lines


case(" ".join(f"AsyncObjectFile.{word}" for word in (
    "name", "mode", "closed", "size", "readable", "writable", "seekable", "read", "readline", "readlines", "readinto", "write",
    "writelines", "seek", "tell", "truncate", "flush", "close", "abort")), _use_every_method_of_a_file, both(
    returns((("new/x", "wb", True, False), 13, True, [b"one\n", b"two\n", b"three"])), holds("new/x", b"one\ntwo\nthree")),
    changes=WRITTEN)  # fmt: skip


def _files(p: Site) -> Any:
    from messageflux_s3.fs import MessagefluxS3FileSystem

    return MessagefluxS3FileSystem(p.sync_store)


def _write_by_fs(p: Site) -> None:
    with _files(p).open(f"{p.name}/new/x", "wb") as file:
        file.write(b"new")


case("fsspec", lambda p: _files(p).pipe_file(f"{p.name}/new/x", b"new"), holds("new/x", b"new"), "pipe_file", changes=WRITTEN,
     is_sync_only=True)  # fmt: skip
case("fsspec", _write_by_fs, holds("new/x", b"new"), "open", changes=WRITTEN, is_sync_only=True)
case(
    "fsspec",
    lambda p: _files(p).cat_file(f"{p.name}/{A}"),
    returns(b"alpha"),
    "cat_file",
    is_sync_only=True,
    needs_objects=True,
)
case("fsspec", lambda p: sorted(_files(p).find(f"{p.name}/kept")), returns(lambda p: [f"{p.name}/{key}" for key in _kept(p)]), "find",
     is_sync_only=True)  # fmt: skip
case("fsspec", lambda p: _files(p).cp_file(f"{p.name}/{A}", f"{p.name}/new/x"), holds("new/x", b"alpha"), "cp_file", is_sync_only=True,
     changes=WRITTEN, needs_objects=True)  # fmt: skip
case("fsspec", lambda p: _files(p).rm(f"{p.name}/kept", recursive=True), lambda p, result: check(
    p.keys(), [key for key in _seed_keys(p) if key not in _kept(p)]), "rm",
     is_sync_only=True, changes="object*-a/kept/*", needs_objects=True)  # fmt: skip
case("fsspec", lambda p: _files(p).mv(f"{p.name}/{A}", f"{p.name}/new/x"), both(
    holds("new/x", b"alpha"), lambda p, result: check(p.content(A), None)), "mv", is_sync_only=True,
    changes=f"{WRITTEN} {_changes_a}", left=WRITTEN, needs_objects=True)  # fmt: skip
