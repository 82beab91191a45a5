"""Every public call on every store: right, S3Unsupported, or another S3Error; never silently wrong.

Each call is made on a store that was probed and on one that was not, in a bucket with objects and in an empty one, through the synchronous
and the async interface. Plain boto3 shows whether it did what it is for, and a snapshot of the store that it did nothing else.

A part of the table runs against moto and rclone. ``MFS3_TABLE=whole`` runs all of it; ``MFS3_SERVER=radosgw`` (or ``localstack``) and
``MFS3_ENDPOINT_URL`` with ``MFS3_ACCESS_KEY`` and ``MFS3_SECRET_KEY``, a store that runs already, do so on one other store. With
``MFS3_SERVER`` and ``MFS3_ENDPOINT_URL`` together, the store at that address is expected to behave as that server.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from support.proxy import CORRUPT_REQUEST, Fault, run_proxy
from support.public_calls import TESTED_ELSEWHERE, TWINS, VALUES, member_names, public_classes
from support.public_calls.compared import NO_REQUEST
from support.public_calls.stores import PARTS, store_calls
from support.public_calls.verdict import Site, Snapshot, StoreCall, Verdict, judge, model_of
from support.servers import Server

import messageflux_s3 as s3

ONLY_SERVER = os.environ.get("MFS3_SERVER")
IS_WHOLE = os.environ.get("MFS3_TABLE") == "whole" or ONLY_SERVER is not None or "MFS3_ENDPOINT_URL" in os.environ
CALLS = store_calls()


def _servers() -> list[str]:
    return [ONLY_SERVER or "yours"] if "MFS3_ENDPOINT_URL" in os.environ else ["moto", "rclone"]


@pytest.fixture(params=_servers())
def server(request: pytest.FixtureRequest) -> Server:
    """The servers of the tests, or the store that the environment names."""
    if "MFS3_ENDPOINT_URL" in os.environ:
        names = ("MFS3_ENDPOINT_URL", "MFS3_ACCESS_KEY", "MFS3_SECRET_KEY")
        return Server(request.param, *(os.environ[name] for name in names))
    found: Server = request.getfixturevalue(request.param)
    return found


# -- what a call may be answered with -------------------------------------------------------------------------------------------------

_MAY_TRAVEL_ALONG = (
    "* with encryption",
    "* with aws:kms",
    "* with SSE-C",
    "* with ACL",
    "* with storage class",
    "* with expires",
)

REFUSED: dict[str, tuple[str, ...]] = {
    "moto": (
        "ObjectAnnotations.*", "S3Object.copy_to if_*", "S3Object.restore of*", "Versioning.delete", "* with a size",
        "* of an unknown version", *_MAY_TRAVEL_ALONG,
    ),
    "rclone": (
        "ObjectAnnotations.*", "S3Object.restore*",
        "BucketEncryption.*", "Change.*", "Cors.*", "Lifecycle.*", "Notifications.*", "ObjectTags.*", "Policy.*", "PublicAccess.*",
        "Tags.*", "Versioning.*", "S3Bucket.acquire_lock*", "S3Bucket.lock*", "* version*", "*if_absent*", "*if_match*", "* tags*",
        "S3Object.open xb",
        "S3Object.update*", "S3Object.undelete", "S3Object.versions", "S3Bucket.set_lifetime_in_days", "S3Bucket.allow_public_access",
        "S3Store.create_bucket with*", "S3Store.create_bucket in a region", "* by another delimiter", "* with an underscore",
        *_MAY_TRAVEL_ALONG,
    ),
}  # fmt: skip
"""The calls that each server may refuse as S3Unsupported; a library that refused everything would fail."""


def _matching(patterns: Any, text: str) -> str | None:
    return next((pattern for pattern in patterns if fnmatchcase(text, pattern)), None)


# -- completeness ---------------------------------------------------------------------------------------------------------------------


def test_every_public_member_that_makes_a_request_has_a_case() -> None:
    """A public class or member that is added needs a case in tests/support/public_calls/stores.py."""
    classes = [cls for cls in public_classes() if cls.__name__ not in {*VALUES, *TESTED_ELSEWHERE}]
    covered = {name for call in CALLS for name in call.members}
    twin_of = {theirs.__name__: own.__name__ for own, theirs in TWINS}
    sync_only = {name for call in CALLS if call.is_sync_only for name in call.members} - {
        name for call in CALLS if not call.is_sync_only for name in call.members
    }
    missing = set()
    for member in member_names(classes) - covered - NO_REQUEST:
        owner, _, name = member.partition(".")
        synchronous = f"{twin_of.get(owner)}.{name}"
        if synchronous not in (covered | NO_REQUEST) - sync_only:
            missing.add(member)
    assert missing == {"AsyncS3Object.load", "AsyncS3Object.read"}  # the cases of body and of the attributes call them
    assert covered & member_names(classes) == {name for name in covered if "." in name}


# -- the table ------------------------------------------------------------------------------------------------------------------------


class Table:
    """The stores and buckets on one server that the calls are made on; kept for the next call if the one before changed nothing."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self._client: Any = server.client()
        self._folder = folder
        self._capabilities: s3.Capabilities | None = None
        self._sites: dict[bool, tuple[Site, Snapshot | None]] = {}

    def store(self, *, probed: bool, **overrides: Any) -> s3.S3Store:
        """Return a store that was probed, or one that was not."""
        store = self.server.connect(**overrides)
        if not probed:
            return store
        if self._capabilities is None:
            self._capabilities = self.server.connect().probe()
        return s3.S3Store(store.config.replace(capabilities=self._capabilities))

    def site(self, *, is_empty: bool) -> tuple[Site, Snapshot]:
        """Return fresh buckets, and their snapshot."""
        if is_empty not in self._sites:
            folder = self._folder / f"{self.server.name}-{is_empty}"
            site = Site(self.server, self._client, folder, self.server.connect(), is_empty=is_empty)
            self._sites[is_empty] = site, None
        site, snapshot = self._sites[is_empty]
        if snapshot is None:
            site.renew()
            snapshot = site.snapshot()
        self._sites[is_empty] = site, None  # until keep() says that it is as it was
        return site, snapshot

    def keep(self, site: Site, snapshot: Snapshot) -> None:
        """Use these buckets for the next call too."""
        self._sites[site.is_empty] = site, snapshot

    def close(self) -> None:
        """Remove the buckets."""
        for site, _ in self._sites.values():
            site.clear()

    def cell(self, call: StoreCall, *, probed: bool, is_async: bool, is_empty: bool) -> Verdict:
        """Make a call once."""
        store = self.store(probed=probed)
        if IS_WHOLE:
            store._connection.facts.clear()
        site, clean = self.site(is_empty=is_empty)
        before = clean
        if call.prepare is not None:
            call.prepare(site)
            before = site.snapshot()
        with model_of(site, store, is_async=is_async):
            verdict, after = judge(site, call, before)
        if call.prepare is None and after == clean:
            self.keep(site, clean)
        return verdict


_tables: dict[str, Table] = {}


@pytest.fixture
def table(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Table:
    """The table of a server, one for all tests of this module."""
    if server.name not in _tables:
        _tables[server.name] = Table(server, tmp_path_factory.mktemp("every-store"))
    return _tables[server.name]


@pytest.fixture(scope="module", autouse=True)
def tables_are_cleared() -> Iterator[None]:
    """Remove the buckets of all tables at the end."""
    yield
    for table in _tables.values():
        table.close()
    _tables.clear()


STEP = 12
"""One in so many calls is in the part of the table that runs by default."""


def _cases() -> list[Any]:
    """The calls with the interface and the kind of bucket, or the part of them that is run by default."""
    cases = []
    for number, call in enumerate(CALLS):
        for is_async in (False, True):
            if is_async and call.is_sync_only:
                continue
            in_part = (
                number % STEP == 0
                and not call.is_slow
                and is_async == (number // STEP % 2 == 1 and not call.is_sync_only)
            )
            if IS_WHOLE or in_part:
                cases.append(pytest.param(call, is_async, id=f"{call.name}, {'async' if is_async else 'sync'}"))
    return cases


@pytest.mark.parametrize(("call", "is_async"), _cases())
def test_a_call_is_right_or_raises(table: Table, call: StoreCall, is_async: bool) -> None:
    """Probed or not, empty or not; and a probed store is at least as strict as one that was not probed."""
    server = table.server.name
    verdicts: dict[str, Verdict] = {}
    for is_empty in (False, True) if IS_WHOLE else (len(call.name) % 3 == 0,):
        for probed in (False, True):
            name = f"{call.name} | {'probed' if probed else 'unprobed'} | {'empty' if is_empty else 'full'}"
            verdicts[name] = table.cell(call, probed=probed, is_async=is_async, is_empty=is_empty)
    wrong = {name: verdict.why for name, verdict in verdicts.items() if verdict.kind == "wrong"}
    assert wrong == {}
    for name, verdict in verdicts.items():
        if " | probed | " in name:
            unprobed = verdicts[name.replace(" | probed | ", " | unprobed | ")]
            assert unprobed.kind != "S3Unsupported" or verdict.kind in ("S3Unsupported", "right"), (unprobed, verdict)
    if server in REFUSED and not _matching(REFUSED[server], call.name):
        assert {name: verdict for name, verdict in verdicts.items() if verdict.kind == "S3Unsupported"} == {}


# -- a byte changed on the way up -----------------------------------------------------------------------------------------------------


def _write(p: Site, mode: str, body: bytes, key: str = "new/x") -> None:
    with p.bucket[key].open(mode) as file:
        file.write(body)


def _files(p: Site) -> Any:
    from messageflux_s3.fs import MessagefluxS3FileSystem

    return MessagefluxS3FileSystem(p.sync_store, skip_instance_cache=True)


def _write_by_fs(p: Site) -> None:
    with _files(p).open(f"{p.name}/new/x", "wb") as file:
        file.write(b"new content")


def _etag(p: Site) -> str:
    return str(p.head("kept/a.txt")["ETag"]).strip('"')


WRITES: dict[str, Callable[[Site], object]] = {
    "put_object": lambda p: p.bucket.put_object("new/x", b"new content"),
    "put_object with attributes": lambda p: p.bucket.put_object("new/x", b"new content", {"who": "me"}, cache_control="no-store"),
    "put": lambda p: p.bucket["new/x"].put(b"new content"),
    "put_json": lambda p: p.bucket.put_json("new/x", {"n": 12345}),
    "put_objects": lambda p: p.bucket.put_objects([("new/x", b"new content"), ("new/y", b"other content")]),
    "upload_object": lambda p: p.bucket.upload_object("new/x", io.BytesIO(b"new content")),
    "upload_object in parts": lambda p: p.bucket.upload_object("new/x", io.BytesIO(PARTS), part_size_bytes=5 << 20),
    "upload_object in parts of unknown length": lambda p: p.bucket.upload_object("new/x", iter([PARTS, b"end"]), part_size_bytes=5 << 20),
    "upload_file": lambda p: p.bucket.upload_file(p.folder / "in/f", "new/x"),
    "upload_folder": lambda p: p.bucket.upload_folder(p.folder / "in", "new/x"),
    "sync_from_folder": lambda p: p.bucket.sync_from_folder(p.folder / "in", "new/x"),
    "open wb": lambda p: _write(p, "wb", b"new content"),
    "open wb, in parts": lambda p: _write(p, "wb", PARTS * 2),
    "open ab": lambda p: _write(p, "ab", b" and more", "kept/a.txt"),
    "open xb": lambda p: _write(p, "xb", b"new content"),
    "if_absent": lambda p: p.bucket.put_object("new/x", b"new content", if_absent=True),
    "if_match": lambda p: p.bucket.put_object("kept/a.txt", b"new content", if_match=_etag(p)),
    "upload_object if_absent": lambda p: p.bucket.upload_object("new/x", io.BytesIO(b"new content"), if_absent=True),
    "update": lambda p: p.bucket["kept/a.txt"].update(lambda body: b"new content"),
    "acquire_lock": lambda p: p.bucket.acquire_lock("new/x", {"user": "me"}),
    "fsspec pipe": lambda p: _files(p).pipe_file(f"{p.name}/new/x", b"new content"),
    "fsspec open": _write_by_fs,
    "fsspec put": lambda p: _files(p).put_file(str(p.folder / "in/f"), f"{p.name}/new/x"),
}  # fmt: skip
"""The calls that send content."""


def _corrupt_every_write(method: str, target: str, number: int) -> Fault | None:
    is_content = method == "PUT" and target.startswith(("new/x", "kept/a.txt"))
    return Fault(CORRUPT_REQUEST, 0.5) if is_content else None


@pytest.mark.parametrize("write", WRITES)
def test_a_byte_changed_on_the_way_up_is_never_a_success(table: Table, write: str) -> None:
    """Every attempt is corrupted, so every write has to raise; also on a probed store, whose checksums may be sent and not compared."""
    returned = []
    with run_proxy(table.server.endpoint_url, _corrupt_every_write) as proxy:
        for probed in (False, True):
            interfaces = (False, True) if IS_WHOLE else (len(write) % 2 == 0,)
            for is_async in (False,) if write.startswith("fsspec") else interfaces:
                name = f"{write} | {'probed' if probed else 'unprobed'}"
                store = table.store(probed=probed, endpoint_url=proxy.endpoint_url, max_attempts=2)
                site, _ = table.site(is_empty=False)
                proxy.restart(_corrupt_every_write)
                with model_of(site, store, is_async=is_async):
                    try:
                        WRITES[write](site)
                    except s3.S3Unsupported:
                        continue
                    except (s3.S3Error, OSError) as error:  # fsspec raises OSError
                        assert proxy.counts()[CORRUPT_REQUEST], (name, error)
                        continue
                returned.append(name)
    assert returned == []
