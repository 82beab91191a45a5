"""Listings: the page parser, and the sequence of pages."""

from __future__ import annotations

import gc
import itertools
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as some
from support.scripted_server import Answer, Asked, RawServer, ScriptedServer, document, refusal
from support.servers import Server, run_moto, run_rclone
from support.waiting import wait_until

from messageflux_s3 import Capabilities, S3Bucket, S3Error, S3NoSuchBucket, S3ServerError, S3Store, S3Unsupported
from messageflux_s3._bulk import listing, versions
from messageflux_s3._formats.listing_pages import Unreadable, _by_parser, _by_pattern, next_token, parse_page
from messageflux_s3._http.lane import Lane

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
ENTRY = (
    "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
    "<ETag>&quot;abc&quot;</ETag><Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
)
OWNER = "<Owner><ID>me</ID><DisplayName>Me &amp; you</DisplayName></Owner>"

keys = some.text(
    some.characters(blacklist_categories=["Cs"], blacklist_characters="\ufffd\ufffe\uffff"),
    min_size=1,
    max_size=20,
)


def page_of(*inside: str) -> bytes:
    return (HEAD + "<Name>b</Name><IsTruncated>false</IsTruncated>" + "".join(inside) + "</ListBucketResult>").encode()


def referenced(key: str) -> str:
    """The key in XML as radosgw writes it: control characters as references."""
    return "".join(f"&#x{ord(c):02x};" if ord(c) < 32 else escape(c, {'"': "&quot;"}) for c in key)


@given(some.lists(keys, max_size=8), some.lists(keys, max_size=3))
def test_every_key_is_listed_unchanged(names: list[str], folders: list[str]) -> None:
    """Keys and prefixes with any characters, also those that XML cannot represent."""
    inside = [ENTRY.format(key=referenced(name), size=len(name)) for name in names]
    inside += [f"<CommonPrefixes><Prefix>{referenced(folder)}</Prefix></CommonPrefixes>" for folder in folders]
    page = parse_page(page_of(*inside))
    assert [(entry[0], entry[3]) for entry in page.objects] == [(name, str(len(name))) for name in names]
    assert page.prefixes == folders


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (ENTRY, ("k", "2026-01-01T00:00:00.000Z", "abc", "7", "STANDARD")),
        (ENTRY.replace("&quot;", "&#34;"), ("k", "2026-01-01T00:00:00.000Z", "abc", "7", "STANDARD")),
        (ENTRY.replace("&quot;", '"'), ("k", "2026-01-01T00:00:00.000Z", "abc", "7", "STANDARD")),
        (ENTRY.replace("&quot;", ""), ("k", "2026-01-01T00:00:00.000Z", "abc", "7", "STANDARD")),
        (ENTRY.replace("&quot;abc&quot;", ""), ("k", "2026-01-01T00:00:00.000Z", "", "7", "STANDARD")),
        (
            ENTRY.replace("<StorageClass>STANDARD</StorageClass>", ""),
            ("k", "2026-01-01T00:00:00.000Z", "abc", "7", ""),
        ),
        (ENTRY.replace("</Contents>", OWNER + "</Contents>"), ("k", "2026-01-01T00:00:00.000Z", "abc", "7", "STANDARD")),
        (ENTRY.replace("<StorageClass>", OWNER + "<StorageClass>"), ("k", "2026-01-01T00:00:00.000Z", "abc", "7", "STANDARD")),
        (
            ENTRY.replace("<Size>", "<ChecksumAlgorithm>CRC32</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType><Size>"),
            ("k", "2026-01-01T00:00:00.000Z", "abc", "7", "STANDARD"),
        ),
    ],
)  # fmt: skip
def test_usual_pages_are_read_by_pattern_with_the_result_of_the_xml_parser(
    entry: str, expected: tuple[str, ...]
) -> None:
    """The usual shapes are read by pattern, on pages of one shape and on mixed ones, with the same result as by XML."""
    one = page_of(entry.format(key="k", size=7)).decode()
    mixed = page_of(ENTRY.format(key="a", size=1), entry.format(key="k", size=7)).decode()
    for text in (one, mixed):
        page = _by_pattern(text)
        assert page is not None
        assert tuple(page.objects[-1]) == expected
        slow = tuple(_by_parser(text).objects[-1])
        assert (*slow[:2], str(slow[2]).strip('"'), *slow[3:]) == expected


def test_indented_pages_are_read_by_pattern() -> None:
    """Pages as Go's servers indent them are usual too; a key that looks like an indentation is left as it is."""
    entry = ENTRY.replace("><", ">\n    <").replace("    </Contents>", "  </Contents>")
    body = page_of(entry.format(key="a", size=1), entry.format(key="b", size=2)).decode()
    body = body.replace("><Name>", ">\n  <Name>").replace("><Contents>", ">\n  <Contents>")
    page = _by_pattern(body.replace("></ListBucketResult>", ">\n</ListBucketResult>"))
    assert page is not None
    assert [(found[0], found[3]) for found in page.objects] == [("a", "1"), ("b", "2")]
    odd = parse_page(page_of(entry.format(key="a>\n  ", size=1)).replace(b"<Name>", b"\n  <Name>"))
    assert odd.objects[0][0] == "a>\n  "


@pytest.mark.parametrize(
    "inside",
    [
        ENTRY.format(key="k", size=7).replace("<Size>", "<New>thing</New><Size>"),
        "<Contents><Size>7</Size><Key>k</Key><LastModified>2026-01-01T00:00:00Z</LastModified></Contents>",
        ENTRY.format(key="k", size=7).replace("><", ">\t<"),
        "<Unknown/>" + ENTRY.format(key="k", size=7),
        ENTRY.format(key="k", size=7) + "<CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes>" + ENTRY.format(key="l", size=8),
        "<EncodingType>url</EncodingType>" + ENTRY.format(key="%6B", size=7),
    ],
)  # fmt: skip
def test_unusual_pages_are_read_by_the_xml_parser(inside: str) -> None:
    """Another element, another order, white space: the pattern gives up and the XML parser reads the page right."""
    body = page_of(inside)
    assert _by_pattern(body.decode()) is None
    page = parse_page(body)
    assert (page.objects[0][0], page.objects[0][3]) == ("k", "7")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html></html>",
        b"<Error><Code>SlowDown</Code></Error>",
        page_of("<!-- x -->"),
        b'<!DOCTYPE x [<!ENTITY a "b">]>' + page_of(ENTRY.format(key="&a;", size=1)),
        page_of(ENTRY.format(key="&a;", size=1)),
        page_of(ENTRY.format(key="<![CDATA[k]]>", size=1)),
        page_of(ENTRY.format(key="a\ufffd", size=1)),
        page_of(ENTRY.format(key="a", size="x")),
        page_of(ENTRY.format(key="", size="1")),
        page_of(ENTRY.format(key="a", size=1)).replace(b"<Key>a", b"<Key>\xff"),
    ],
)
def test_an_ambiguous_listing_document_is_unreadable(body: bytes) -> None:
    """A document type, a section, an unknown entity, a replaced character, an error: never a page."""
    with pytest.raises(Unreadable):
        parse_page(body)


def test_a_truncated_page_is_unreadable() -> None:
    """A truncated page is never parsed as a page."""
    body = page_of(ENTRY.format(key="a", size=1), ENTRY.format(key="b", size=2))
    for end in range(len(body)):
        with pytest.raises(Unreadable):
            parse_page(body[:end])


def test_continuation_tokens_are_read_unchanged() -> None:
    """The token is found without reading the page, and is the same one, whatever characters it has."""
    body = page_of("<NextContinuationToken>a&amp;b/+= &#x01;%25</NextContinuationToken>")
    assert next_token(body) == parse_page(body).token == "a&b/+= \x01%25"
    assert next_token(page_of()) is None


# -- pages as they come


@pytest.fixture(scope="module", params=["rclone", "moto"])
def store(request: pytest.FixtureRequest) -> Iterator[S3Store]:
    with {"rclone": run_rclone, "moto": run_moto}[request.param]() as server, server.connect() as store:
        yield store


@pytest.fixture(scope="module")
def filled(store: S3Store) -> tuple[Any, list[str]]:
    bucket = store.create_bucket("listed")
    names = sorted(f"d{number % 3}/k {number:03d}+é" for number in range(60))
    for name in names:
        store.client.put_object(Bucket=bucket.name, Key=name, Body=b"x" * int(name[5:7]))
    return bucket, names


@pytest.mark.parametrize("is_open", [True, False])
def test_all_keys_in_order_with_the_lane_open_and_shut(
    filled: tuple[Any, list[str]], is_open: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages of seven keys give every key once, in order, with the same fields on the lane and through boto3."""
    bucket, names = filled
    if not is_open:
        monkeypatch.setattr(Lane, "begin", lambda *_, **__: None)
    for start in ("", names[10], names[-1], "d1/", "d1/k 03"):
        found = list(listing.pages(bucket._address, start_after=start, extra={"MaxKeys": 7}))
        expected = [name for name in names if name > start]
        assert [entry[0] for page in found for entry in page.objects] == expected
    objects = list(bucket.find())
    assert [obj.size for obj in objects] == [int(name[5:7]) for name in names]
    assert len({obj.etag.strip('"') for obj in objects}) > 3 and all('"' not in obj.etag for obj in objects)
    assert all(obj.last_modified.year >= 2026 and obj.last_modified.tzinfo for obj in objects)
    assert list(bucket.find(delimiter="/").prefixes()) == ["d0/", "d1/", "d2/"]


@pytest.mark.parametrize("is_open", [True, False])
def test_keys_with_another_prefix_are_dropped(
    filled: tuple[Any, list[str]], is_open: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a store that ignores the prefix ``/``, as rclone does, other keys are not listed or deleted."""
    bucket, names = filled
    if not is_open:
        monkeypatch.setattr(Lane, "begin", lambda *_, **__: None)
    for prefix in ("/", "/d1"):
        assert bucket.find(prefix).collect() == []
        assert list(bucket.find(prefix, delimiter="/").entries()) == []
        assert bucket.find(prefix).delete().succeeded == []
    assert [obj.key for obj in bucket.find()] == names


DELIMITED = ("a-b/c-d", "a-c", "a/b-c", "a/x", "b", "b-1", "c/d/e", "d--e", "d-f", "e-", "é-1", "é-2", "é/-")


def _expected_entries(keys: Iterable[str], prefix: str, delimiter: str) -> list[str]:
    """Keys and common prefixes as S3 defines them."""
    found = [key for key in keys if key.startswith(prefix)]
    cut = [(key, key.find(delimiter, len(prefix))) for key in found]
    return sorted({key if at < 0 else key[: at + len(delimiter)] for key, at in cut})


@pytest.mark.parametrize("is_open", [True, False])
def test_any_delimiter_gives_s3_s_common_prefixes(
    bucket: S3Bucket, is_open: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """rclone takes every delimiter for ``/``: the keys are rolled up by the library there."""
    if not is_open:
        monkeypatch.setattr(Lane, "begin", lambda *_, **__: None)
    bucket.put_objects((key, b"x") for key in DELIMITED)
    keys = [obj.key for obj in bucket.find()]
    for delimiter in ("-", "--", "/", "b", "-c"):
        for prefix in ("", "a", "a/", "a-", "d-", "é"):
            expected = _expected_entries(keys, prefix, delimiter)
            query = bucket.find(prefix, delimiter=delimiter)
            entries = [entry if isinstance(entry, str) else entry.key for entry in query.entries()]
            assert (delimiter, prefix, entries) == (delimiter, prefix, expected)
            prefixes = [entry for entry in expected if delimiter in entry[len(prefix) :]]
            assert bucket.list_common_prefixes(prefix, delimiter) == prefixes
            assert [obj.key for obj in query.objects()] == [entry for entry in expected if entry not in prefixes]
            limited = [entry if isinstance(entry, str) else entry.key for entry in query.limit(2).entries()]
            assert limited == expected[:2]


def test_a_delimiter_that_turns_out_to_be_unknown_on_a_later_page(scripted_server: ScriptedServer) -> None:
    """Entries of earlier pages are not repeated; without a delimiter the keys are listed from there on."""
    keys = ["a", "b", "c-1", "c-2", "d/e", "d/f-1", "g-1"]

    def answer(asked: Asked) -> Answer:
        listed = [key for key in keys if key > asked.query.get("start-after", "")]
        pages = [["a", "b"], ["c-1", "c-2"], ["d/e", "d/f-1", "g-1"]] if "delimiter" in asked.query else [listed]
        number = int(asked.query.get("continuation-token", 0))
        token = f"<NextContinuationToken>{number + 1}</NextContinuationToken>" if number + 1 < len(pages) else ""
        entries = "".join(ENTRY.format(key=key, size=1) for key in pages[number])
        told = f"<IsTruncated>{'true' if token else 'false'}</IsTruncated>"
        return document("ListBucketResult", told + token + entries)

    scripted_server.answer = answer
    query = scripted_server.bucket().find(delimiter="-")
    for _ in range(2):
        assert [entry if isinstance(entry, str) else entry.key for entry in query.entries()] == [
            "a", "b", "c-", "d/e", "d/f-", "g-"
        ]  # fmt: skip
    asked = [asked.query for asked in scripted_server.asked]
    assert len([query for query in asked if "delimiter" not in query]) == 2
    # The second time nothing was asked with the delimiter. A page that was requested ahead the first time may arrive late.
    assert len([query for query in asked if "delimiter" in query and "continuation-token" not in query]) == 1


_VERSION = "<Version><Key>a-b</Key>{}<LastModified>2026-11-01T00:00:00Z</LastModified></Version>"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (document("ListBucketResult", ENTRY.format(key="a", size=1)), "ignored .versions"),
        (document("ListVersionsResult", _VERSION.format("")), "has no ID"),
        (document("ListVersionsResult", _VERSION.format("<VersionId>1</VersionId>")), "the delimiter '-'"),
    ],
    ids=["a listing of objects", "no version IDs", "another delimiter"],
)
def test_a_listing_that_is_not_one_of_versions_is_refused(
    scripted_server: ScriptedServer, answer: Answer, words: str
) -> None:
    """boto3 parses a listing of objects as one without versions."""
    scripted_server.answer = lambda asked: answer
    with pytest.raises(S3Unsupported, match=words):
        scripted_server.bucket().find(versions=True, delimiter="-").collect()


def test_versions_with_another_prefix_are_left_out() -> None:
    """Versions of other keys are dropped if the store ignores the prefix."""
    told = "<VersionId>{1}</VersionId><LastModified>2026-11-01T00:00:00Z</LastModified><IsLatest>true</IsLatest>"
    version = "<{0}><Key>{1}</Key>" + told + "</{0}>"
    inside = "".join(version.format(tag, key) for tag in ("Version", "DeleteMarker") for key in ("a", "b/c", "d"))
    page = f"<ListVersionsResult><IsTruncated>false</IsTruncated>{inside}</ListVersionsResult>".encode()
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(page), page)
    server = RawServer(lambda head, body: answer)
    bucket = Server("scripted", server.url, "ACCESSKEY01", "SECRETKEY0123456").connect().bucket("bkt")
    assert [obj.key for obj in bucket.find("b/", versions=True)] == ["b/c"]
    [found] = versions.pages(bucket._address, prefix="b/")
    assert [marker.key for marker in found.delete_markers] == ["b/c"]
    server.close()


def test_listing_a_missing_bucket_raises_no_such_bucket(store: S3Store, filled: Any) -> None:
    """The error of a listing is boto3's, translated."""
    with pytest.raises(S3NoSuchBucket):
        list(store.bucket("not-there-at-all").find())


def scripted_listing(count: int) -> RawServer:
    """A server with ``count`` pages of one key, whose tokens are the pages' numbers."""

    def script(head: bytes, body: bytes) -> bytes:
        query = head.split(b" ")[1].partition(b"?")[2].decode()
        if "list-type" not in query:
            return b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
        asked = [part[19:] for part in query.split("&") if part.startswith("continuation-token=")]
        number = int(asked[0]) if asked else 0
        page = page_of(ENTRY.format(key=f"k{number:04d}", size=number)).decode()
        if number + 1 < count:
            more = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{number + 1}</NextContinuationToken>"
            page = page.replace("<IsTruncated>false</IsTruncated>", more)
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(page.encode()), page.encode())

    return RawServer(script)


def connect(server: RawServer) -> Any:
    bucket = Server("scripted", server.url, "ACCESSKEY01", "SECRETKEY0123456").connect().bucket("bkt")
    bucket.get_object("first")
    server.requests.clear()
    return bucket


@pytest.mark.lane
def test_the_next_page_is_requested_while_the_current_one_is_consumed() -> None:
    """When a page is yielded, the next one is already requested; after the last one nothing is requested."""
    server = scripted_listing(4)
    pages = listing.pages(connect(server)._address)
    next(pages)
    threading.Event().wait(0.2)
    assert len(server.requests) == 2
    assert [page.objects[0][0] for page in pages] == ["k0001", "k0002", "k0003"]
    assert len(server.requests) == 4
    server.close()


def test_no_page_is_requested_beyond_the_limit() -> None:
    """A query that needs one page makes one request."""
    server = scripted_listing(4)
    bucket = connect(server)
    assert bucket.find().first().key == "k0000"
    threading.Event().wait(0.1)
    assert len(server.requests) == 1
    server.close()


def open_descriptors() -> int:
    """Return the number of open files and sockets of this process, if the system reports it."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def test_an_abandoned_listing_closes_its_connection() -> None:
    """Abandoned iterators and exceptions of the consumer close the pending request."""
    server = scripted_listing(1000)
    bucket = connect(server)
    before = open_descriptors()
    for _ in range(60):
        next(iter(bucket.find()))
    gc.collect()
    wait_until(lambda: open_descriptors() <= before + 10)  # the server notices a little later that a connection is gone
    assert sum(1 for _ in bucket.find()) == 1000
    server.close()


def test_a_page_that_breaks_off_is_requested_again_through_boto3() -> None:
    """A page truncated on the lane is requested again through boto3, and the listing continues."""
    whole = scripted_listing(5)
    script, broken = whole.script, []

    def breaking(head: bytes, body: bytes) -> bytes | None:
        answer = script(head, body)
        assert answer is not None
        if b"continuation-token=2" in head and not broken:
            broken.append(True)
            return answer[:-40] + RawServer.CLOSE
        return answer

    whole.script = breaking
    keys_found = [obj.key for obj in connect(whole).find()]
    assert keys_found == [f"k{number:04d}" for number in range(5)] and broken
    whole.close()


def _answered(*pages: str) -> Any:
    """A store that answers a listing with these pages, in turn."""

    def answer(scripted_server: ScriptedServer, asked: Asked) -> Answer:
        return document("ListBucketResult", pages[min(len(scripted_server.asked), len(pages)) - 1])

    return answer


def test_a_truncated_listing_without_a_token_continues_after_its_last_key(scripted_server: ScriptedServer) -> None:
    """As version 1 of the API did."""
    more = "<IsTruncated>true</IsTruncated>"
    pages = _answered(
        ENTRY.format(key="a", size=1) + ENTRY.format(key="b", size=1) + more, ENTRY.format(key="c", size=1)
    )
    scripted_server.answer = lambda asked: pages(scripted_server, asked)
    assert [obj.key for obj in scripted_server.bucket().find()] == ["a", "b", "c"]
    assert scripted_server.asked[1].query["start-after"] == "b"


@pytest.mark.parametrize("said", ["True", "TRUE", " true ", None])
@pytest.mark.parametrize("is_open", [True, False], ids=["lane", "boto3"])
def test_a_truncated_listing_goes_on_however_the_store_says_so(
    scripted_server: ScriptedServer, is_open: bool, said: str | None
) -> None:
    """A store may write ``True``, or only name where the next page begins. Keys would be lost silently."""
    more = "" if said is None else f"<IsTruncated>{said}</IsTruncated>"

    def answer(asked: Asked) -> Answer:
        if "versions" in asked.query or "uploads" in asked.query:
            name, root = (
                ("Version", "ListVersionsResult")
                if "versions" in asked.query
                else ("Upload", "ListMultipartUploadsResult")
            )
            is_last = "key-marker" in asked.query
            entry = f"<Key>{'b' if is_last else 'a'}</Key><VersionId>1</VersionId><UploadId>1</UploadId>"
            modified = "<LastModified>2026-01-01T00:00:00Z</LastModified>"
            rest = "" if is_last else f"{more}<NextKeyMarker>a</NextKeyMarker>"
            return document(root, f"<{name}>{entry}{modified}</{name}>{rest}")
        if "continuation-token" in asked.query:
            return document("ListBucketResult", ENTRY.format(key="b", size=1) + "<IsTruncated>false</IsTruncated>")
        token = "<NextContinuationToken>t</NextContinuationToken>"
        return document("ListBucketResult", ENTRY.format(key="a", size=1) + more + token)

    scripted_server.answer = answer
    bucket = scripted_server.bucket(lane=is_open)
    for _ in range(2):  # the second time through the lane
        assert [obj.key for obj in bucket.find()] == ["a", "b"]
    assert [obj.key for obj in bucket.find(versions=True)] == ["a", "b"]
    assert [key for key, _ in versions.uploads(bucket._address)] == ["a", "b"]


@pytest.mark.parametrize("keys", ["ab", ""])
def test_a_truncated_listing_that_does_not_advance_raises(scripted_server: ScriptedServer, keys: str) -> None:
    """The same page repeatedly, or an empty truncated one: treating it as the end would silently lose keys."""
    page = "".join(ENTRY.format(key=key, size=1) for key in keys) + "<IsTruncated>true</IsTruncated>"
    scripted_server.answer = lambda asked: document("ListBucketResult", page)
    with pytest.raises(S3ServerError, match="no continuation token"):
        list(scripted_server.bucket().find())
    assert len(scripted_server.asked) <= 2


def test_keys_with_another_prefix_are_dropped_wherever_they_are(scripted_server: ScriptedServer) -> None:
    """Also between keys that have the prefix; no request to delete names them."""
    page = "".join(ENTRY.format(key=key, size=1) for key in ("p/a", "other", "p/z"))
    page += "".join(f"<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>" for name in ("p/b/", "q/", "p/c/"))
    deleted = list[bytes]()

    def answer(asked: Asked) -> Answer:
        if asked.method == "GET":
            return document("ListBucketResult", page)
        deleted.extend([asked.key.encode(), asked.body])
        return document("DeleteResult", "")

    scripted_server.answer = answer
    bucket = scripted_server.bucket()
    assert [obj.key for obj in bucket.find("p/")] == ["p/a", "p/z"]
    assert [*bucket.find("p/", delimiter="/").prefixes()] == ["p/b/", "p/c/"]
    bucket.find("p/").delete()
    assert deleted and not any(b"other" in each for each in deleted)


@pytest.mark.parametrize("keys", ["ab", ""])
def test_a_listing_whose_token_is_repeated_raises(scripted_server: ScriptedServer, keys: str) -> None:
    """Such a listing never ends."""
    page = "".join(ENTRY.format(key=key, size=1) for key in keys) + "<IsTruncated>true</IsTruncated>"
    page += "<NextContinuationToken>t</NextContinuationToken>"
    scripted_server.answer = lambda asked: document("ListBucketResult", page)
    with pytest.raises(S3ServerError, match="repeats its continuation token"):
        list(itertools.islice(scripted_server.bucket().find(), 100))
    assert len(scripted_server.asked) == 2


@pytest.mark.parametrize("token", ["<NextContinuationToken>t</NextContinuationToken>", ""], ids=["token", "no token"])
def test_a_page_that_a_store_repeats_is_not_yielded_twice(scripted_server: ScriptedServer, token: str) -> None:
    """A store that knows version 1 only ignores where version 2 goes on. An iteration with a limit would end without the error."""
    page = "".join(ENTRY.format(key=key, size=1) for key in "ab") + "<IsTruncated>true</IsTruncated>" + token
    scripted_server.answer = lambda asked: document("ListBucketResult", page)
    found = scripted_server.bucket().find()
    for query in (found, found.limit(3)):
        keys = list[str]()
        with pytest.raises(S3ServerError):
            for obj in query:
                keys.append(obj.key)
        assert keys == ["a", "b"]


@pytest.mark.parametrize("count", [2, 3, 7])
@pytest.mark.parametrize("of_versions", [False, True])
def test_a_listing_that_returns_to_an_earlier_page_raises(
    scripted_server: ScriptedServer, of_versions: bool, count: int
) -> None:
    """It never ends, although no page has the token with which it was requested."""

    def answer(asked: Asked) -> Answer:
        at = int(asked.query.get("key-marker") or asked.query.get("continuation-token") or count)
        later, end = at % count + 1, "<IsTruncated>true</IsTruncated>"
        if of_versions:
            entry = f"<Key>k</Key><VersionId>{at}</VersionId><LastModified>2026-01-01T00:00:00Z</LastModified>"
            content = f"<Version>{entry}</Version>{end}<NextKeyMarker>{later}</NextKeyMarker>"
            return document("ListVersionsResult", content)
        entry = ENTRY.format(key=f"k{at}", size=1)
        return document("ListBucketResult", f"{entry}{end}<NextContinuationToken>{later}</NextContinuationToken>")

    scripted_server.answer = answer
    with pytest.raises(S3Error, match=r"repeats its continuation token|no valid marker"):
        list(itertools.islice(scripted_server.bucket().find(versions=of_versions), 100))


@pytest.mark.lane
@pytest.mark.parametrize("keys", ["ab", ""])
def test_a_listing_whose_token_is_repeated_raises_on_the_lane(keys: str) -> None:
    """No page is requested ahead by the token that has been sent; also where the listing could be continued in several places."""
    page = page_of(*(ENTRY.format(key=key, size=1) for key in keys)).decode()
    more = "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"
    body = page.replace("<IsTruncated>false</IsTruncated>", more).encode()

    def script(head: bytes, _: bytes) -> bytes:
        content = body if b"list-type" in head else b"hi"
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(content), content)

    server = RawServer(script)
    try:
        bucket = connect(server)
        with pytest.raises(S3ServerError, match="repeats its continuation token"):
            list(itertools.islice(bucket.find(), 100))
        assert len(server.requests) == 2
    finally:
        server.close()


def test_keys_before_start_after_are_dropped(scripted_server: ScriptedServer) -> None:
    """Some stores compare start-after in their own way."""
    scripted_server.answer = lambda asked: document(
        "ListBucketResult", "".join(ENTRY.format(key=key, size=1) for key in "abc")
    )
    found = [
        one[0] for page in listing.pages(scripted_server.bucket()._address, start_after="b") for one in page.objects
    ]
    assert found == ["c"]


@pytest.mark.parametrize("are_versions", [False, True])
def test_a_start_before_the_prefix_is_not_sent(scripted_server: ScriptedServer, are_versions: bool) -> None:
    """SeaweedFS lists nothing then, and MinIO answers 501 where versions are listed."""

    def answer(asked: Asked) -> Answer:
        if "versions" in asked.query:
            entry = "<Key>b/x</Key><VersionId>1</VersionId><LastModified>2026-01-01T00:00:00Z</LastModified>"
            is_refused = "key-marker" in asked.query
            return (
                refusal(501, "NotImplemented")
                if is_refused
                else document("ListVersionsResult", f"<Version>{entry}</Version>")
            )
        return document("ListBucketResult", "" if "start-after" in asked.query else ENTRY.format(key="b/x", size=1))

    scripted_server.answer = answer
    bucket = scripted_server.bucket()
    for start in ("a", "a/long", "b", "b-"):
        assert [obj.key for obj in bucket.find("b/", start_after=start, versions=are_versions)] == ["b/x"]


_TIME = "<LastModified>2026-01-01T00:00:00Z</LastModified>"
INCOMPLETE = {
    "key": ("ListBucketResult", f"<Contents>{_TIME}<Size>1</Size></Contents>"),
    "empty key": ("ListBucketResult", f"<Contents><Key></Key>{_TIME}<Size>1</Size></Contents>"),
    "prefix": ("ListBucketResult", "<CommonPrefixes></CommonPrefixes>"),
    "version's key": ("ListVersionsResult", f"<Version><VersionId>1</VersionId>{_TIME}</Version>"),
    "version's time": ("ListVersionsResult", "<Version><Key>k</Key><VersionId>1</VersionId></Version>"),
    "marker's key": ("ListVersionsResult", f"<DeleteMarker><VersionId>1</VersionId>{_TIME}</DeleteMarker>"),
    "prefix of versions": ("ListVersionsResult", "<CommonPrefixes></CommonPrefixes>"),
    "upload's ID": ("ListMultipartUploadsResult", "<Upload><Key>k</Key></Upload>"),
    "upload's key": ("ListMultipartUploadsResult", "<Upload><UploadId>1</UploadId></Upload>"),
}


@pytest.mark.lane
@pytest.mark.parametrize("name", INCOMPLETE)
def test_an_entry_without_key_prefix_time_or_id_raises_a_server_error(
    scripted_server: ScriptedServer, name: str
) -> None:
    """Nothing is deleted: a deletion of the key "" would be one of the bucket."""
    root, inside = INCOMPLETE[name]
    scripted_server.answer = lambda asked: document(root, inside) if asked.method == "GET" else (204, {}, b"")
    bucket = scripted_server.bucket()
    for _ in range(2):  # the second time the lane is open
        with pytest.raises(S3ServerError, match="an entry of the listing"):
            if root == "ListBucketResult":
                bucket.find(max_size=9).delete()
            elif root == "ListVersionsResult":
                list(bucket.find(versions=True))
            else:
                versions.abort_uploads(bucket._address)
        bucket.delete_object("another")
    assert [asked.key for asked in scripted_server.asked if asked.method != "GET"] == ["another", "another"]


def test_prefixes_that_the_next_page_repeats_are_yielded_once(scripted_server: ScriptedServer) -> None:
    """s3rver goes on after the last key of a page, although prefixes come after it."""
    rest = "".join(f"<CommonPrefixes><Prefix>{name}/</Prefix></CommonPrefixes>" for name in "bc")
    pages = _answered(
        f"<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>{ENTRY.format(key='a', size=1)}{rest}",
        f"{ENTRY.format(key='d', size=1)}{rest}<CommonPrefixes><Prefix>e/</Prefix></CommonPrefixes>",
    )
    scripted_server.answer = lambda asked: pages(scripted_server, asked)
    found = [
        str(one if isinstance(one, str) else one.key) for one in scripted_server.bucket().find(delimiter="/").entries()
    ]
    assert sorted(found) == ["a", "b/", "c/", "d", "e/"]


def believing(server: ScriptedServer, **known: bool) -> S3Bucket:
    """A bucket of a store with these capabilities."""
    return S3Store(server.connect().config.replace(capabilities=Capabilities(**known))).bucket("bkt")


def test_a_store_with_version_1_only_is_listed_by_markers(scripted_server: ScriptedServer) -> None:
    """It ignores list-type and start-after, so that version 2 would list its first page again and again."""

    def answer(asked: Asked) -> Answer:
        found = [key for key in "abcde" if key > asked.query.get("marker", "")]
        entries = "".join(ENTRY.format(key=key, size=1) for key in found[:2])
        return document("ListBucketResult", entries + f"<IsTruncated>{str(len(found) > 2).lower()}</IsTruncated>")

    scripted_server.answer = answer
    assert [obj.key for obj in believing(scripted_server, list_v2=False).find(start_after="a")] == list("bcde")
    with pytest.raises(S3ServerError, match="truncated"):
        list(believing(scripted_server, list_v2=True).find())


def test_a_start_that_loses_keys_is_not_sent(scripted_server: ScriptedServer) -> None:
    """LocalStack compares it with encoded keys, and leaves out those that are not ASCII. Prefixes cannot be dropped afterwards."""

    def answer(asked: Asked) -> Answer:
        found = [key for key in ("a", "b", "é") if "start-after" not in asked.query or key == "b"]
        return document("ListBucketResult", "".join(ENTRY.format(key=key, size=1) for key in found))

    scripted_server.answer = answer
    bucket = believing(scripted_server, start_after_beyond_ascii=False)
    assert [obj.key for obj in bucket.find(start_after="a")] == ["b", "é"]
    with pytest.raises(S3Unsupported, match="cannot list prefixes after a key"):
        list(bucket.find(start_after="a", delimiter="/").entries())


@pytest.mark.parametrize("is_open", [True, False], ids=["lane", "boto3"])
def test_whole_pages_are_listed_where_the_start_is_not_sent(scripted_server: ScriptedServer, is_open: bool) -> None:
    """The keys before the start are dropped: with a page for each key asked for, each of them would cost a request."""
    keys = [f"k{number:03}" for number in range(600)]

    def answer(asked: Asked) -> Answer:
        left = [key for key in keys if key > asked.query.get("continuation-token", "")]
        page = left[: int(asked.query["max-keys"])]
        more = f"<NextContinuationToken>{page[-1]}</NextContinuationToken>" if page != left else ""
        entries = "".join(ENTRY.format(key=key, size=1) for key in page)
        return document("ListBucketResult", f"<IsTruncated>{str(page != left).lower()}</IsTruncated>{more}{entries}")

    scripted_server.answer = answer
    bucket = believing(scripted_server, start_after_beyond_ascii=False)
    if not is_open:
        bucket._connection.lane.shut("shut for this test")
    for _ in range(2):  # the lane opens after the first request
        found = bucket.find(start_after="k499").first()
        assert found is not None and found.key == "k500"
    assert [asked.query["max-keys"] for asked in scripted_server.asked] == ["1000"] * 2


@pytest.mark.lane
def test_an_unreadable_page_is_requested_again_through_boto3(scripted_server: ScriptedServer) -> None:
    """It is requested through boto3, and the pending request for the next page is closed."""
    torn = "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken><Contents><Key>a</Key></Contents>"
    whole = ENTRY.format(key="a", size=1) + "<IsTruncated>false</IsTruncated>"
    scripted_server.answer = lambda asked: document(
        "ListBucketResult", whole if len(scripted_server.asked) != 2 or "list-type" not in asked.query else torn
    )
    bucket = scripted_server.bucket()
    assert [obj.key for obj in bucket.find()] == ["a"]  # the lane opens
    assert [obj.key for obj in bucket.find()] == ["a"]


def test_an_unreadable_token_is_none() -> None:
    """The page parser then reports the error."""
    assert next_token(b"<NextContinuationToken>\xff</NextContinuationToken>") is None


def test_listings_with_further_parameters_go_through_boto3(scripted_server: ScriptedServer) -> None:
    """The lane supports only the usual parameters."""
    scripted_server.answer = lambda asked: document("ListBucketResult", ENTRY.format(key="a", size=1))
    [page] = listing.pages(scripted_server.bucket()._address, extra={"FetchOwner": True})
    assert ([one[0] for one in page.objects], scripted_server.asked[0].query["fetch-owner"]) == (["a"], "true")
