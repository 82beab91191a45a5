"""Plant recognisable secrets, make every public call with and without failures, and search every output for the secrets.

Outputs are the results of every public member of every public class (found by introspection), as ``repr``, ``str``, HTML and
pickle; every exception with its whole chain; every log record of ours at DEBUG (of botocore's from INFO on: at DEBUG they show whole
requests, and are not ours); and warnings. A minute or two: ``python -m pytest tests/attacks/test_secrets.py``.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import functools
import html
import inspect
import io
import json
import logging
import pickle
import socket
import subprocess
import threading
import traceback
import types
import urllib.parse
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import fsspec
import pytest
from support.proxy import Fault, run_proxy
from support.public_calls import TESTED_ELSEWHERE, Place, checked_calls, owner_of, public_classes, public_members
from support.public_calls.checked import SEED
from support.scripted_server import Answer, Asked, run_scripted_server
from support.servers import Server, run_moto, run_rclone

import messageflux_s3 as s3
from messageflux_s3._objects.presigning import PresignedPost
from messageflux_s3.fs import MessagefluxS3FileSystem

ACCESS, SECRET, TOKEN = "CANARYACCESSKEY1", "cAnArYsEcReT/+0123456789", "cAnArYtOkEn/+=="
PASSWORD = "cAnArYpAsSwOrD"
CUSTOMER_KEY = b"cAnArYcUsToMeR-0123456789abcdef!"
# The form of a signature, in a header, in a URL, or in S3's SignatureDoesNotMatch document.
SIGNATURES = ("Signature=", "X-Amz-Security-Token=", "SignatureProvided", "StringToSign")
# These return presigned URLs, which must contain a signature and the session token, and no other secret.
LINKS = {"presigned_url", "presigned_post", "presigned_parts", "urls", "form"}

pytestmark = pytest.mark.timeout(900)


def forms(secret: str | bytes) -> set[str]:
    """Return every encoding of a secret."""
    raw = secret.encode() if isinstance(secret, str) else secret
    text = raw.decode()
    plain = {
        text,
        repr(text)[1:-1],
        html.escape(text),
        json.dumps(text)[1:-1],
        urllib.parse.quote(text, safe=""),
        raw.hex(),
    }
    # In base64 of longer data it may begin at any of three offsets: take the characters that do not depend on the neighbours.
    shifted = {base64.b64encode(bytes(at) + raw)[(4 * at + 2) // 3 + (at > 0) : -4].decode() for at in range(3)}
    return plain | shifted


class Search:
    """Collects outputs and searches them for secrets."""

    def __init__(self, *secrets: str | bytes) -> None:
        self.wanted = {form for secret in (SECRET, TOKEN, PASSWORD, CUSTOMER_KEY, *secrets) for form in forms(secret)}
        self.found: list[str] = []
        self.outputs = 0

    def text(self, where: str, text: str, *, signed: bool = False) -> None:
        """Search one output; ``signed`` for a requested presigned URL or form."""
        self.outputs += 1
        for wanted in self.wanted - forms(TOKEN) if signed else {*self.wanted, *SIGNATURES}:
            if wanted in text:
                at = text.index(wanted)
                self.found.append(f"{where}: {text[max(0, at - 80) : at + 60]!r}")

    def value(self, where: str, value: Any, depth: int = 2) -> None:
        """Search every representation and pickle of a value."""
        signed = where.rpartition(".")[2] in LINKS
        self.text(
            f"repr of {where}", repr(value), signed=signed and isinstance(value, (str, tuple))
        )  # the repr of a form hides its fields
        if isinstance(value, PresignedPost):
            hidden = {"policy", "x-amz-signature", "x-amz-security-token"} & value.fields.keys()
            self.found += [f"{name} of {where}" for name in hidden if value.fields[name] in repr(value)]
        for name in ("__str__", "_repr_html_", "_repr_pretty_", "_repr_markdown_"):
            method = getattr(value, name, None)
            if method is not None and (name == "__str__" or type(value).__module__.startswith("messageflux_s3")):
                self.text(f"{name} of {where}", str(method()), signed=signed and isinstance(value, (str, tuple)))
        try:
            pickled = pickle.dumps(value)
        except (TypeError, AttributeError, pickle.PicklingError):
            pickled = b""  # files, generators and clients cannot be pickled
        self.text(f"pickle of {where}", pickled.decode("latin-1"), signed=signed)
        if depth and isinstance(value, (list, tuple, set, frozenset)):
            for entry in [*value][:5]:
                self.value(where, entry, depth - 1)
        elif depth and isinstance(value, dict):
            for entry in [*value.values()][:20]:
                self.value(where, entry, depth - 1)

    def error(self, where: str, error: BaseException) -> None:
        """Search an exception's traceback text and its pickle."""
        lines = traceback.TracebackException.from_exception(error, lookup_lines=False)
        for frame in self._frames(lines):
            frame._line = ""  # the source of this file names the secrets
        self.text(f"{type(error).__name__} of {where}", "".join(lines.format()))
        seen: BaseException | None = error
        while seen is not None:
            self.text(f"repr of {type(seen).__name__} of {where}", repr(seen))
            if isinstance(seen, s3.S3Error):
                self.value(f"{type(seen).__name__} of {where}", vars(seen))
                self.value(f"{type(seen).__name__} of {where}", seen)
            seen = seen.__cause__ or seen.__context__

    def _frames(self, lines: traceback.TracebackException | None) -> Iterator[Any]:
        while lines is not None:
            yield from lines.stack
            if lines.__cause__ is not None and lines.__context__ is not None:
                yield from self._frames(lines.__context__)
            lines = lines.__cause__ or lines.__context__


class _Records(logging.Handler):
    def __init__(self, search: Search) -> None:
        super().__init__(logging.DEBUG)
        self.search = search
        self.of_ours = 0

    def emit(self, record: logging.LogRecord) -> None:
        ours = record.name.startswith("messageflux_s3")
        self.of_ours += ours
        if ours or record.levelno >= logging.INFO:
            self.search.text(f"log of {record.name}", record.getMessage())
            if record.exc_info and record.exc_info[1] is not None:
                self.search.error(f"log of {record.name}", record.exc_info[1])


@contextmanager
def searching(*secrets: str | bytes) -> Iterator[Search]:
    """Also search logs at DEBUG and warnings; fail at the end if a secret was found."""
    search = Search(*secrets)
    handler, root, ours = _Records(search), logging.getLogger(), logging.getLogger("messageflux_s3")
    levels = root.level, ours.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    ours.setLevel(logging.DEBUG)
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            yield search
        for warning in warned:
            search.text("a warning", str(warning.message))
    finally:
        root.removeHandler(handler)
        root.setLevel(levels[0])
        ours.setLevel(levels[1])
    assert search.found == []
    assert search.outputs


@pytest.fixture
def moto() -> Iterator[Server]:
    """A separate server for each test, so that leftover objects do not disturb other tests."""
    with run_moto() as server:
        yield server


@pytest.fixture(scope="module")
def rclone() -> Iterator[Server]:
    """The same with rclone."""
    with run_rclone() as server:
        yield server


# -- every public member of every public class ----------------------------------------------------------------------------------------


def members() -> set[tuple[type, str]]:
    """Return the methods and properties of all public classes, each with the class that defines it."""
    return {
        (owner_of(cls, name), name)
        for cls in public_classes() if cls.__name__ not in TESTED_ELSEWHERE
        for name, value in public_members(cls).items() if isinstance(value, _MEMBERS)
    }  # fmt: skip


_MEMBERS = (types.FunctionType, property, functools.cached_property, classmethod, staticmethod)


@contextmanager
def watched(search: Search, monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """Search the results and exceptions of all public members; yield the names of those that were used."""
    used: set[str] = set()
    busy = threading.local()

    def look(where: str, work: Callable[[], Any]) -> None:
        if getattr(busy, "now", False):  # a repr may use a property
            return
        busy.now = True
        try:
            work()
        finally:
            busy.now = False

    def wrapped(where: str, function: Any) -> Any:
        if inspect.iscoroutinefunction(function):

            async def awaited(*args: Any, **kwargs: Any) -> Any:
                used.add(where)
                try:
                    result = await function(*args, **kwargs)
                except Exception as error:
                    caught = error
                    look(where, lambda: search.error(where, caught))
                    raise
                look(where, lambda: search.value(where, result))
                return result

            return functools.wraps(function)(awaited)

        @functools.wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            used.add(where)
            try:
                result = function(*args, **kwargs)
            except Exception as error:
                caught = error
                look(where, lambda: search.error(where, caught))
                raise
            look(where, lambda: search.value(where, result))
            return result

        return called

    for cls, name in members():
        where, value = f"{cls.__name__}.{name}", vars(cls)[name]
        if isinstance(value, property):
            monkeypatch.setattr(cls, name, property(wrapped(where, value.fget), value.fset, value.fdel, value.__doc__))
        elif isinstance(value, functools.cached_property):
            again = functools.cached_property(wrapped(where, value.func))
            again.__set_name__(cls, name)
            monkeypatch.setattr(cls, name, again)
        elif isinstance(value, (classmethod, staticmethod)):
            monkeypatch.setattr(cls, name, type(value)(wrapped(where, value.__func__)))
        elif inspect.isfunction(value):
            monkeypatch.setattr(cls, name, wrapped(where, value))
    yield used


@functools.cache
def client_of(server: Server) -> Any:
    """Plain boto3 on a server; one client for all places, since making one loads botocore's model of S3."""
    return server.client()


def place(server: Server, store: s3.S3Store, folder: Path) -> Place:
    """Fresh buckets with some objects, created with plain boto3."""
    client, stem = client_of(server), f"canary-{uuid.uuid4().hex[:12]}"
    folder.mkdir(parents=True)
    for end in ("-a", "-b", "-c"):
        client.create_bucket(Bucket=stem + end)
    for end in ("-a", "-b"):
        for key, body in SEED.items():
            client.put_object(Bucket=stem + end, Key=key, Body=body, Metadata={"m": "1"})
    return Place(server, client, folder, store, stem)


def more(p: Place) -> None:
    """Calls that are not in the catalogue: value types, customer keys (SSE-C), boto3 resources of the user's."""
    with_key = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": CUSTOMER_KEY}
    # As AWS, since other stores are not sent a customer's key at all.
    for bucket in (p.bucket, s3.S3Store(p.store.config.replace(preset="aws")).bucket(p.bucket.name)):
        with suppress(s3.S3Unsupported):
            bucket.put_object("new/c", b"x", **with_key)
        bucket.put_objects([("new/d", b"x")], raise_errors=False, **with_key)
        with suppress(s3.S3Unsupported):
            bucket.upload_object("new/e", io.BytesIO(b"x" * 9_000_000), **with_key)
        with suppress(s3.S3Unsupported), bucket["new/f"].open("wb", **with_key) as file:
            file.write(b"x")
    for wrong in (["cAnArYcUsToMeR"], 7, "cAnArYcUsToMeR"):
        with pytest.raises((ValueError, TypeError, s3.S3Error)):
            p.bucket.put_object("new/c", b"x", SSECustomerAlgorithm=["AES256"], SSECustomerKey=wrong)
    p.store._repr_html_()
    plan = p.bucket.sync_to_folder("kept", p.folder / "plan", dry_run=True)
    events = s3.parse_event(
        {"Records": [{"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "bucket"}, "object": {"key": "k"}}}]}
    )
    events[0].is_newer_than(events[0])
    for value in (plan, p.bucket.lifecycle.get(), events, copy.copy(p.store.config)):
        str(value)
    assert p.bucket.put_objects([("new/g", b"")]).raise_for_failures().ok
    assert p.obj.bucket == p.bucket
    s3.S3Config().replace(region="r")
    p.bucket.find().show(1)
    p.store.config.replace(region="x", pickle_secrets=False)
    change = p.bucket.tags.ensure({"a": "1"}, dry_run=True)
    assert not change.is_empty and change.apply().applied
    p.bucket.tags.delete()
    usage = p.bucket.usage()
    usage.to_pandas()
    usage.plot()


def observed(p: Place) -> None:
    """An observation and the events of requests with a customer key, of which one fails; they are kept in ``p.state["shown"]``."""
    store = s3.S3Store(p.store.config.replace(preset="aws"))
    bucket, events = store.bucket(p.bucket.name), list[s3.RequestEvent]()
    with store.observe() as seen, store.observe(tag="customer key") as tagged, store.on_request(events.append):
        p.state["shown"] = [seen, tagged, events]
        with suppress(s3.S3Unsupported):
            bucket.put_object("new/o", b"x", SSECustomerAlgorithm="AES256", SSECustomerKey=CUSTOMER_KEY)
        assert not bucket["missing"].exists() and bucket["kept/a.txt"].body
    p.state["shown"] += [*events, *seen.rows, *seen.operations.values(), seen.totals, seen.to_pandas()]
    sums = seen.attempts, seen.retries, seen.throttles, seen.errors, seen.bytes_sent, seen.bytes_received
    totals = seen.totals
    assert sums == (len(events), 0, 0, 1, totals.bytes_sent, totals.bytes_received) and totals.retries == 0
    assert totals.bytes == sum(event.bytes for event in events) and not any(event.retries for event in events)
    assert seen.cost({"class A": 5.0, "class B": 0.4}) == tagged.cost({"class A": 5.0, "class B": 0.4}) > 0


EVERY_CALL = [*((call.name, call.run) for call in checked_calls()), ("more", more), ("observed", observed)]


def look_at_what_it_kept(search: Search, p: Place) -> None:
    """Search the values that a call has kept because they change after the call that returned them."""
    for value in p.state.pop("shown", ()):
        search.value(f"a kept {type(value).__name__}", value)


def test_no_call_that_succeeds_shows_a_secret(moto: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every public member is used, and no result, log record or warning contains a secret."""
    store = moto.connect(access_key=ACCESS, secret_key=SECRET, session_token=TOKEN, max_attempts=1)
    with searching() as search, watched(search, monkeypatch) as used:
        for number, (_, function) in enumerate(EVERY_CALL):
            p = place(moto, store, tmp_path / str(number))
            with suppress(s3.S3Unsupported):
                function(p)
            look_at_what_it_kept(search, p)
    assert {f"{owner.__name__}.{name}" for owner, name in members()} - used == set()
    assert search.outputs > 5000


# -- bad weather -----------------------------------------------------------------------------------------------------------------------


def echo(asked: Asked) -> Answer:
    """Refuse every request and return the full request in the error, as S3 does."""
    sent = f"{asked.method} {asked.target}\n{asked.headers}"
    parts = {
        "Code": "SignatureDoesNotMatch",
        "Message": "The request signature we calculated does not match the signature you provided.",
        "AWSAccessKeyId": "A", "StringToSign": sent, "SignatureProvided": asked.headers.get("authorization", ""),
        "CanonicalRequest": sent, "Token-0": asked.headers.get("x-amz-security-token", ""), "RequestId": "1",
    }  # fmt: skip
    body = "".join(f"<{name}>{html.escape(text)}</{name}>" for name, text in parts.items())
    return (
        403,
        {"Content-Type": "application/xml"},
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{body}</Error>'.encode(),
    )


@contextmanager
def serving(answer: Callable[[Asked], Answer]) -> Iterator[str]:
    """Run a server with these responses; yield its address."""
    with run_scripted_server() as server:
        server.answer = answer
        yield server.endpoint_url


@contextmanager
def closed_port() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    yield f"http://127.0.0.1:{port}"


FAULTS = ("500_before", "cut_body", "cut_head", "reset_after", "xml_cut", "missing_header")


def try_every_call(search: Search, p: Place) -> int:
    """Make all calls; return how many failed."""
    failed = 0
    for number, (name, function) in enumerate(EVERY_CALL):
        folder = p.folder / str(number)
        folder.mkdir()
        try:
            function(replace(p, folder=folder))
        except (Exception, pytest.fail.Exception) as error:  # of the library, or an assertion in the call
            failed += 1
            search.error(name, error)
        look_at_what_it_kept(search, p)
    return failed


@pytest.mark.parametrize("weather", ["closed port", "echo", *FAULTS])
def test_no_call_that_fails_shows_a_secret(
    moto: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weather: str
) -> None:
    """No server, refusals that quote the request, and failures of the store and of the connection at every response."""

    @contextmanager
    def faults() -> Iterator[str]:
        with run_proxy(moto.endpoint_url, lambda method, target, number: Fault(weather, 0.6)) as proxy:
            yield proxy.endpoint_url

    keys = {"access_key": ACCESS, "secret_key": SECRET, "session_token": TOKEN}
    way = {"closed port": closed_port, "echo": lambda: serving(echo)}.get(weather, faults)
    with way() as url, searching() as search, watched(search, monkeypatch):
        store = moto.connect(endpoint_url=url, max_attempts=1, read_timeout=2, connect_timeout=2, **keys)
        assert try_every_call(search, place(moto, store, tmp_path / "files")) > 20


def test_no_answer_of_a_strict_server_shows_a_secret(
    rclone: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the right secret key, and with a wrong one, which the server refuses."""
    for secret in (rclone.secret_key, SECRET):
        with searching(secret) as search, watched(search, monkeypatch):
            store = rclone.connect(secret_key=secret, max_attempts=1)
            assert try_every_call(search, place(rclone, store, tmp_path / f"{secret:.4}")) > 20


def test_the_search_finds_a_secret_in_every_kind_of_output() -> None:
    """Each kind of output fails the search if it contains a secret; otherwise the tests above would prove nothing."""
    logger = logging.getLogger("messageflux_s3")
    told: list[Callable[[Search], object]] = [
        lambda search: search.value("a value", {"a": [SECRET]}),
        lambda search: search.value("a form", base64.b64encode(CUSTOMER_KEY)),
        lambda search: search.value("a link", "https://h/b/k?X-Amz-Signature=0"),
        lambda search: search.value(
            "S3Object.presigned_url", f"https://h/b/k?X-Amz-Signature=0&t={urllib.parse.quote(SECRET, safe='')}"
        ),
        lambda search: search.value("a policy", base64.b64encode(b"{}" + TOKEN.encode() + b"{}")),
        lambda search: search.error("an error", _chained()),
        lambda search: logger.debug("asked with %s", TOKEN),
        lambda search: logging.getLogger("botocore").warning("asked with %s", TOKEN),
        lambda search: logger.warning("failed", exc_info=_chained()),
        lambda search: warnings.warn(PASSWORD, stacklevel=1),
    ]
    for tell in told:
        with pytest.raises(AssertionError), searching() as search:
            tell(search)
        assert search.found
    with searching() as search:
        search.value("S3Object.presigned_url", "https://h/b/k?X-Amz-Signature=0")


def _chained() -> Exception:
    try:
        try:
            raise KeyError(SECRET)
        except KeyError as error:
            raise s3.S3Error("nothing to see here") from error
    except s3.S3Error as error:
        return error


# -- whatever else holds a store -----------------------------------------------------------------------------------------------------


def test_no_password_of_a_proxy_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A password in HTTP_PROXY appears in no error, log record or show()."""
    with closed_port() as url:
        monkeypatch.setenv("HTTP_PROXY", url.replace("//", f"//user:{PASSWORD}@"))
        store = s3.connect(
            "http://store.invalid", access_key=ACCESS, secret_key=SECRET, region="us-east-1", max_attempts=1
        )
        with searching() as search:
            for ask in (
                store.bucket("bucket")["k"].exists,
                store.show,
                lambda: store.bucket("bucket").put_objects([("k", b"")]),
            ):
                with pytest.raises(s3.S3Error) as caught:
                    ask()
                search.error("a proxy", caught.value)
            search.value("the lane", store.lane)


def test_objects_that_refer_to_a_store_show_no_secret() -> None:
    """Handles, queries, partitions, plans, errors and file systems, with every source of credentials; pickled, copied, replaced."""
    keys = {"access_key": ACCESS, "secret_key": SECRET, "session_token": TOKEN}
    session = boto3.Session(ACCESS, SECRET, TOKEN, region_name="us-east-1")
    at = {"endpoint_url": "http://127.0.0.1:9", "region": "us-east-1"}
    stores = [
        s3.connect(**at, **keys),
        s3.connect(**at, credentials=functools.partial(dict, **keys)),
        s3.connect(**at, credentials=lambda: keys),
        s3.connect(**at, boto3_session=session),
        s3.S3Store.from_resource(session.resource("s3", endpoint_url=at["endpoint_url"])),
    ]
    with searching() as search:
        for store in stores:
            _ = store.client
            bucket = store.bucket("bucket")
            files = MessagefluxS3FileSystem(store)
            again = pickle.loads(pickle.dumps(store))
            held: dict[str, Any] = {
                "store": store, "config": store.config, "replaced": store.config.replace(region="x", max_attempts=2),
                "copied": copy.deepcopy(store.config), "lane": store.lane, "bucket": bucket, "object": bucket["k"],
                "query": bucket.find(prefix="a/").limit(7), "tags": bucket.tags, "policy": bucket.policy, "check": s3.ClaimCheck(bucket),
                "async store": s3.AsyncS3Store(store), "async bucket": s3.AsyncS3Store(store).bucket("bucket"), "files": files,
                "file": files.open("bucket/k", "wb"), "opened": fsspec.core.OpenFile(files, "bucket/k"), "map": files.get_mapper("bucket"),
                "options": files.storage_options, "vars": vars(files), "connection": store._connection,
                "again": again, "form": bucket["k"].presigned_post(), "html": s3.S3Store._repr_html_(store), "url": bucket["k"].url,
            }  # fmt: skip
            for name, value in held.items():
                search.value(name, value)
            held["file"].discard()
            if store.config.access_key or store.config.credentials:
                given = {
                    name: getattr(store.config, name)
                    for name in ("access_key", "secret_key", "session_token", "credentials")
                }
                made = MessagefluxS3FileSystem(
                    **at, **{name: value for name, value in given.items() if value is not None}
                )
                for name, value in {
                    "options": made.storage_options,
                    "dict": made.to_dict(),
                    "vars": vars(made),
                    "self": made,
                }.items():
                    search.value(f"made {name}", value)
                if not callable(store.config.credentials) or isinstance(store.config.credentials, functools.partial):
                    search.text("json", made.to_json())


def test_the_local_server_has_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its keys are generated, and the user's are not passed to its process."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": ACCESS,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_SESSION_TOKEN": TOKEN,
    }.items():
        monkeypatch.setenv(name, value)
    with searching() as search, s3.LocalS3() as local:
        search.value("LocalS3", local)
        search.value("its store", local.connect())
        search.value("its bucket", local.bucket("bucket"))
        search.value("its count", local.requests_served())
        assert local._process is not None
        environment = Path(f"/proc/{local._process.pid}/environ")
        if environment.exists():
            search.text("its environment", environment.read_bytes().decode("latin-1"))
            assert b"AWS_" not in environment.read_bytes()


# -- where the keys go ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_sends_no_credentials_to_another_host(status: int) -> None:
    """A redirect to another host raises; no request is sent to that host."""
    asked: list[str] = []

    def stranger(request: Asked) -> Answer:
        asked.append(request.target)
        return 200, {"ETag": '"0"', "Last-Modified": "Sat, 21 Nov 2026 01:00:00 GMT"}, b"stranger"

    with serving(stranger) as elsewhere:

        def moved(request: Asked) -> Answer:
            return status, {"Location": elsewhere + request.target, "x-amz-bucket-region": "eu-north-1"}, b""

        with serving(moved) as url, searching() as search:
            store = s3.connect(
                url, access_key=ACCESS, secret_key=SECRET, session_token=TOKEN, region="us-east-1", max_attempts=2
            )
            bucket = store.bucket("bucket")
            for ask in (
                lambda: bucket["k"].body,
                lambda: bucket["k"].metadata,
                lambda: bucket.put_object("k", b"x"),
                lambda: bucket.put_objects([("k", b"x")]),
                lambda: [obj.body for obj in bucket.get_objects(["k", "l"])],
                lambda: [*bucket.find()],
                bucket.tags.get,
            ):
                with pytest.raises(s3.S3Error) as caught:
                    ask()
                search.error("a redirect", caught.value)
    assert asked == []


def test_certificates_are_verified_unless_verify_is_false(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An untrusted certificate is refused by every call, before anything is sent; verify=False accepts it and logs a warning."""
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=localhost"]
    command += [
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-keyout",
        str(tmp_path / "key.pem"),
        "-out",
        str(tmp_path / "cert.pem"),
    ]
    subprocess.run(command, check=True, capture_output=True)
    with run_rclone(certificate=(tmp_path / "cert.pem", tmp_path / "key.pem")) as server:
        careful = server.connect(max_attempts=1)
        assert not careful.ping()
        for ask in (
            lambda: [*careful.buckets()],
            lambda: careful.bucket("bucket").put_objects([("k", b"x")]),
            careful.show,
        ):
            with pytest.raises(s3.S3Error):
                ask()
        with pytest.raises(s3.S3ConnectionError, match="verify="):
            asyncio.run(s3.AsyncS3Store(careful).bucket("bucket").put_object("k", b"x"))
        assert server.root is not None and [*server.root.iterdir()] == []
        assert "verification is off" not in caplog.text
        for verify, said in ((str(tmp_path / "cert.pem"), False), (False, True)):
            caplog.clear()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # urllib3 issues a warning of its own
                bucket = server.connect(verify=verify).create_bucket("bucket")
                bucket.put_objects((f"k{n}", b"x") for n in range(30))
                assert [obj.body for obj in bucket.get_objects(f"k{n}" for n in range(30))] == [b"x"] * 30
            assert ("verification is off" in caplog.text) == said


# -- public access -------------------------------------------------------------------------------------------------------------------


def granted(client: Any, bucket: str, found: dict[str, Any]) -> Any:
    """Return the ACL of a listed object; None if moto stores none for it."""
    if found.get("StorageClass") == "GLACIER":  # moto completes a restoration at a HEAD, and tells no ACL before
        client.head_object(Bucket=bucket, Key=found["Key"])
    try:
        return client.get_object_acl(Bucket=bucket, Key=found["Key"])["Grants"]
    except client.exceptions.ClientError as error:
        # moto stores no ACL for an object written in parts unless the upload named one, and answers 500 then.
        if error.response["Error"]["Code"] == "500" and "-" in found["ETag"]:
            return None
        raise


def test_only_calls_about_public_access_or_policies_make_anything_public(moto: Server, tmp_path: Path) -> None:
    """Every other call writes no policy, no ACL and no access block, and leaves everything private."""
    everybody = "http://acs.amazonaws.com/groups/global/AllUsers"
    with run_proxy(moto.endpoint_url) as proxy:
        for number, (name, function) in enumerate(EVERY_CALL):
            if "public" in name.lower() or "policy" in name.lower() or name.endswith("S3Store.probe"):
                continue  # the probe writes a denying policy and a block to a scratch bucket
            proxy.restart()
            p = place(moto, moto.connect(endpoint_url=proxy.endpoint_url, max_attempts=1), tmp_path / str(number))
            with suppress(s3.S3Unsupported):
                function(p)
            written = {seen.target for seen in proxy.seen if seen.method in ("PUT", "DELETE")}
            assert not {
                target for target in written if target.rpartition("?")[2] in ("acl", "policy", "publicAccessBlock")
            }, name
            for bucket in p.client.list_buckets()["Buckets"]:
                if not bucket["Name"].startswith(p.stem):
                    continue
                owned: list[Any] = [p.client.get_bucket_acl(Bucket=bucket["Name"])]
                for found in p.client.list_objects_v2(Bucket=bucket["Name"]).get("Contents", ()):
                    owned.append(granted(p.client, bucket["Name"], found))
                assert everybody not in repr(owned), name
