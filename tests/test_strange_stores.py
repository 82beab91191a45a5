"""Scripted stores with unexpected responses: no harm, no loss, no endless loop."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from support.scripted_server import Answer, Asked, ScriptedServer, document
from support.servers import Server
from support.stateful_server import DocumentStore
from test_subresources import EVERY_CALL

import messageflux_s3 as s3
from messageflux_s3._bulk import versions
from messageflux_s3._objects.scratch import scratch_objects
from messageflux_s3.subresources.lifecycle import LifecycleConfiguration


@pytest.fixture
def strange(scripted_server: ScriptedServer) -> DocumentStore:
    """A store that stores each document unchanged, and whose responses a test can replace."""
    return DocumentStore(scripted_server)


LISTING = b'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bkt</Name><MaxKeys>1000</MaxKeys></ListBucketResult>'
WRONG: dict[str, Answer] = {
    "a listing": (200, {"Content-Type": "application/xml"}, LISTING),
    "the object": (200, {"ETag": '"abc"'}, b"<Tagging><TagSet></TagSet></Tagging>"),
    "a page for people": (200, {"Content-Type": "text/html"}, b"<html><body>Welcome</body></html>"),
    "another document": (200, {}, b"<AccessControlPolicy><Owner/></AccessControlPolicy>"),
    "JSON": (200, {}, b'{"ok": true}'),
    "nothing": (200, {}, b""),
    "no content": (204, {}, b""),
    "not implemented": (501, {}, b"<Error><Code>NotImplemented</Code><Message/></Error>"),
    "not implemented, without a word": (501, {}, b""),
    "not allowed": (405, {}, b"<Error><Code>MethodNotAllowed</Code></Error>"),
    "a bad request, without a word": (400, {}, b""),
    "a redirect to nowhere": (301, {}, b""),
    "a redirect elsewhere": (307, {"Location": "http://127.0.0.1:9/elsewhere"}, b""),
    "forbidden": (403, {}, b"<Error><Code>AccessDenied</Code><Message></Message></Error>"),
    "a gateway's page": (502, {}, b"<html>Bad Gateway</html>"),
}


@pytest.mark.parametrize("answer", WRONG.values(), ids=WRONG.keys())
def test_nothing_is_written_after_an_unexpected_answer_to_the_read(strange: DocumentStore, answer: Answer) -> None:
    """Any answer that is not the setting is an S3Error, and no PUT or DELETE follows."""
    strange.answers = lambda method, query: answer if method == "GET" else None
    bucket = strange.bucket()
    for name, call in EVERY_CALL.items():
        with pytest.raises(s3.S3Error):
            call(bucket)
        assert strange.writes == [], name


def test_sub_resources_are_read_with_a_range(strange: DocumentStore) -> None:
    """A store that ignores the query string sends the object, which may be large; no document is larger than the range."""
    strange.answers = lambda method, query: (206, {"ETag": '"abc"'}, b"x" * 1000)
    bucket = strange.bucket()
    with pytest.raises(s3.S3Unsupported):
        bucket["huge"].tags.get()
    assert strange.ranges == ["bytes=0-1048575"]
    assert strange.writes == []


def test_reading_tags_of_a_huge_object_reads_at_most_the_range(rclone: Server, rclone_bucket: s3.S3Bucket) -> None:
    """rclone answers ?tagging with the object."""
    rclone_bucket.put_object("huge", b"x" * 5_000_000)
    sizes: list[int] = []

    def note(response_dict: dict[str, Any], **_: Any) -> None:
        sizes.append(int(response_dict["headers"]["Content-Length"]))

    store = rclone.connect(max_attempts=2)  # a separate client
    store.client.meta.events.register_first("before-parse.s3.GetObjectTagging", note)
    with pytest.raises(s3.S3Unsupported):
        store.bucket(rclone_bucket.name)["huge"].tags.get()
    assert sizes == [1 << 20]


BESIDE: dict[str, tuple[bytes, Callable[[s3.S3Bucket], object], list[bytes]]] = {
    "lifecycle": (
        b"<LifecycleConfiguration><Rule><ID>x</ID><Status>Enabled</Status><Filter><Prefix>a</Prefix></Filter>"
        b"<Expiration><Days>1</Days></Expiration></Rule><Weather>fair</Weather></LifecycleConfiguration>",
        lambda bucket: bucket.lifecycle.expire(days=3, prefix="tmp/"),
        [b"<Weather>fair</Weather>", b"<ID>x</ID>", b"<ID>expire tmp/</ID>"],
    ),
    "cors": (
        b"<CORSConfiguration><CORSRule><ID>x</ID><AllowedMethod>GET</AllowedMethod><AllowedOrigin>*</AllowedOrigin></CORSRule>"
        b"<Weather>fair</Weather></CORSConfiguration>",
        lambda bucket: bucket.cors.ensure(s3.CorsRule("y", origins=("https://a.example",))),
        [b"<Weather>fair</Weather>", b"<ID>x</ID>", b"<ID>y</ID>"],
    ),
    "encryption": (
        b"<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm>"
        b"<Rounds>9</Rounds></ApplyServerSideEncryptionByDefault></Rule><Rule><Second>1</Second></Rule><Weather>fair</Weather>"
        b"</ServerSideEncryptionConfiguration>",
        lambda bucket: bucket.encryption.ensure("aws:kms", kms_key_id="k"),
        [b"<Rounds>9</Rounds>", b"<Rule><Second>1</Second></Rule>", b"<Weather>fair</Weather>", b"<SSEAlgorithm>aws:kms<"],
    ),
    "tagging": (
        b"<Tagging><TagSet><Tag><Key>a</Key><Value>1</Value><Mood>blue</Mood></Tag><Hue>2</Hue></TagSet><Weather>fair</Weather></Tagging>",
        lambda bucket: bucket.tags.update({"b": "2"}),
        [b"<Mood>blue</Mood>", b"<Hue>2</Hue>", b"<Weather>fair</Weather>", b"<Key>b</Key>"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BESIDE)
def test_unknown_elements_beside_known_ones_survive_a_merge(strange: DocumentStore, name: str) -> None:
    """Beside the rules, beside the algorithm and within a tag."""
    document, merge, parts = BESIDE[name]
    strange.documents[name] = document
    merge(strange.bucket())
    for part in parts:
        assert part in strange.documents[name]


LOOSE: dict[str, tuple[bytes, Callable[[s3.S3Bucket], object], list[bytes]]] = {
    "lifecycle": (
        b"<LifecycleConfiguration><Rule><ID>x</ID><Status>Enabled</Status><Filter><ObjectSizeLessThan>some</ObjectSizeLessThan></Filter>"
        b"<Expiration><Days>0</Days></Expiration><NoncurrentVersionExpiration><NoncurrentDays/></NoncurrentVersionExpiration>"
        b"<Transition><Days>soon</Days><StorageClass>COLD</StorageClass></Transition></Rule></LifecycleConfiguration>",
        lambda bucket: bucket.lifecycle.expire(days=3, prefix="tmp/"),
        [b"<Days>0</Days>", b"<Days>soon</Days>", b"<ObjectSizeLessThan>some</ObjectSizeLessThan>", b"<NoncurrentDays></NoncurrentDays>"],
    ),
    "cors": (
        b"<CORSConfiguration><CORSRule><AllowedMethod>COPY</AllowedMethod><AllowedOrigin>*</AllowedOrigin>"
        b"<MaxAgeSeconds>forever</MaxAgeSeconds></CORSRule></CORSConfiguration>",
        lambda bucket: bucket.cors.ensure(s3.CorsRule("y", origins=("https://a.example",))),
        [b"<AllowedMethod>COPY</AllowedMethod>", b"<MaxAgeSeconds>forever</MaxAgeSeconds>"],
    ),
    "encryption": (
        b"<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>OWN</SSEAlgorithm>"
        b"<KMSMasterKeyID>k</KMSMasterKeyID></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>",
        lambda bucket: bucket.encryption.change(bucket.encryption.get()).apply(),
        [b"<SSEAlgorithm>OWN</SSEAlgorithm><KMSMasterKeyID>k</KMSMasterKeyID>"],
    ),
    "tagging": (
        b"<Tagging><TagSet><Tag><Key>" + b"long" * 99 + b"</Key><Value>1</Value></Tag></TagSet></Tagging>",
        lambda bucket: bucket.tags.update({"b": "2"}),
        [b"long" * 99, b"<Key>b</Key>"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LOOSE)
def test_values_that_s3_would_refuse_survive_a_merge(strange: DocumentStore, name: str) -> None:
    """Zero days, methods and algorithms that S3 does not have, text instead of numbers."""
    document, merge, parts = LOOSE[name]
    strange.documents[name] = document
    merge(strange.bucket())
    for part in parts:
        assert part in strange.documents[name]


def test_an_empty_kms_key_id_is_none(strange: DocumentStore) -> None:
    """Some stores send an empty element if there is no key."""
    strange.documents["encryption"] = (
        b"<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm>"
        b"<KMSMasterKeyID/></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>"
    )
    assert strange.bucket().encryption.ensure("AES256").is_empty


def test_removing_a_tag_removes_its_unknown_elements(strange: DocumentStore) -> None:
    """Those of other tags stay."""
    strange.documents["tagging"] = BESIDE["tagging"][0]
    strange.bucket().tags.update({"b": "2"})
    strange.bucket().tags.remove("a")
    assert b"Mood" not in strange.documents["tagging"]
    assert b"<Hue>2</Hue>" in strange.documents["tagging"]


def test_the_former_rules_are_restored_on_a_store_that_drops_size_filters(strange: DocumentStore) -> None:
    """radosgw does: the rule would apply to all objects."""
    bucket = strange.bucket()
    bucket.lifecycle.expire(days=7, prefix="tmp/")
    before = bucket.lifecycle.get()
    strange.stored = lambda document: document.replace(b"<ObjectSizeGreaterThan>5</ObjectSizeGreaterThan>", b"")
    with pytest.raises(s3.S3Unsupported, match="was restored"):
        bucket.lifecycle.ensure(s3.LifecycleRule("big", min_size=5, expire_days=1))
    assert bucket.lifecycle.get() == before


@pytest.mark.parametrize("name", ["policy", "cors", "encryption", "lifecycle", "publicAccessBlock", "tagging"])
def test_a_write_that_a_gateway_took_for_another_request_is_not_undone_by_a_deletion(
    strange: DocumentStore, name: str
) -> None:
    """s3proxy knew GET ?policy, and took PUT ?policy for the creation of the bucket, DELETE ?policy for its deletion."""
    writes: dict[str, Callable[[s3.S3Bucket], object]] = {
        "policy": lambda bucket: bucket.policy.ensure({"Sid": "a", "Effect": "Deny"}),
        "cors": lambda bucket: bucket.cors.ensure(s3.CorsRule("a", origins=("*",))),
        "encryption": lambda bucket: bucket.encryption.ensure("AES256"),
        "lifecycle": lambda bucket: bucket.lifecycle.expire(days=3, prefix="tmp/"),
        "publicAccessBlock": lambda bucket: bucket.public_access.block(),
        "tagging": lambda bucket: bucket.tags.update({"a": "1"}),
    }
    strange.answers = lambda method, query: (200, {}, b"") if method == "PUT" else None
    with pytest.raises(s3.S3Unsupported, match="is in effect"):
        writes[name](strange.bucket())
    assert [method for method, _, _ in strange.writes] == ["PUT"]


def test_a_restored_configuration_has_the_root_element_of_a_put(strange: DocumentStore) -> None:
    """Some stores name the root of an answer after the operation, and accept only the document's own name."""
    strange.documents["notification"] = b"<GetBucketNotificationResponse></GetBucketNotificationResponse>"
    strange.stored = lambda document: b"<NotificationConfiguration><Other>1</Other></NotificationConfiguration>"
    with pytest.raises(s3.S3Unsupported, match="could not be restored"):
        strange.bucket().notifications.ensure(s3.Notification("n", "arn:aws:sqs:us-east-1:1:q"))
    method, _, last = strange.writes[-1]
    assert method == "PUT"
    assert b"<NotificationConfiguration xmlns" in last
    assert b"arn:" not in last


def test_a_late_plan_is_merged_into_a_policy_created_meanwhile(strange: DocumentStore) -> None:
    """Another client wrote the first policy between the plan and apply()."""
    bucket = strange.bucket()
    plan = bucket.policy.ensure(
        {"Sid": "ours", "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "*"}, dry_run=True
    )
    strange.documents["policy"] = (
        b'{"Version": "2008-10-17", "Id": "theirs", "Statement": [{"Sid": "x", "Effect": "Deny"}]}'
    )
    plan.apply()
    policy = bucket.policy.get()
    assert [policy.get("x") is not None, policy.get("ours") is not None, '"theirs"' in policy.rest] == [True] * 3


def test_a_plan_is_applied_after_a_similar_target_was_removed(strange: DocumentStore) -> None:
    """Two targets with the same events are two entries."""
    bucket = strange.bucket()
    bucket_of = "arn:aws:sqs:us-east-1:1:"
    strange.documents["notification"] = b"<NotificationConfiguration/>"
    bucket.notifications.ensure(s3.Notification("theirs", f"{bucket_of}one"))
    plan = bucket.notifications.ensure(s3.Notification("ours", f"{bucket_of}two"), dry_run=True)
    bucket.notifications.remove("theirs")
    plan.apply()
    assert [node.text_of("Id") for node in bucket.notifications.get().targets] == ["ours"]


def test_an_entry_that_exists_is_no_change_at_any_position(strange: DocumentStore) -> None:
    """The order of rules is kept, since the first CORS rule that matches applies. Nothing is written."""
    bucket = strange.bucket()
    strange.documents["notification"] = b"<NotificationConfiguration/>"
    bucket.set_lifetime_in_days(30)
    for name in ("a", "b"):
        bucket.lifecycle.expire(days=3, prefix=name)
        bucket.cors.ensure(s3.CorsRule(name, origins=("*",)))
        bucket.policy.ensure({"Sid": name, "Effect": "Deny"})
        bucket.notifications.ensure(s3.Notification(name, f"arn:aws:sns:us-east-1:1:{name}"))
    strange.writes.clear()
    bucket.set_lifetime_in_days(30)
    bucket.lifecycle.expire(days=3, prefix="a")
    assert bucket.cors.ensure(s3.CorsRule("a", origins=("*",))).is_empty
    assert bucket.policy.ensure({"Sid": "a", "Effect": "Deny"}).is_empty
    assert bucket.notifications.ensure(s3.Notification("a", "arn:aws:sns:us-east-1:1:a")).is_empty
    assert strange.writes == []
    bucket.cors.ensure(s3.CorsRule("a", origins=("https://a.example",)))
    assert [rule.id for rule in bucket.cors.get().rules] == ["a", "b"]
    bucket.set_lifetime_in_days(31)
    assert [rule.expire_days for rule in bucket.lifecycle.get().rules] == [31, 3, 3]


# -- listings that do not end -------------------------------------------------------------------------------------------------------


def _page(root: str, inside: str) -> Answer:
    return 200, {}, f'<{root} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{inside}</{root}>'.encode()


def test_unfinished_uploads_are_aborted_page_by_page(strange: DocumentStore) -> None:
    """A store that repeats the same truncated page raises instead of causing an endless loop."""

    def answers(method: str, query: str) -> Answer:
        if method != "GET":
            return 204, {}, b""
        if len(strange.writes) == last and not stuck:
            return _page("ListMultipartUploadsResult", "<IsTruncated>false</IsTruncated>")
        at = int(parse_qs(query).get("key-marker", ["0"])[0])
        after = min(at + 1, last)
        upload = f"<Upload><Key>k{at}</Key><UploadId>u{at}</UploadId></Upload>"
        more = f"<IsTruncated>true</IsTruncated><NextKeyMarker>{after}</NextKeyMarker><NextUploadIdMarker>u</NextUploadIdMarker>"
        return _page(
            "ListMultipartUploadsResult",
            upload + (more if after < last or stuck else "<IsTruncated>false</IsTruncated>"),
        )

    strange.answers, last, stuck = answers, 3, False
    bucket = strange.bucket()._address
    versions.abort_uploads(bucket)
    assert [target for _, target, _ in strange.writes] == [f"/bkt/k{n}?uploadId=u{n}" for n in range(3)]
    stuck = True
    with pytest.raises(s3.S3Error, match="no valid marker for the next page"):
        versions.abort_uploads(bucket)


@pytest.mark.parametrize(("kind", "count", "page_size"), [("versions", 2100, 1000), ("uploads", 7, 2)])
def test_deleting_everything_lists_again_after_deleted_entries(
    strange: DocumentStore, kind: str, count: int, page_size: int
) -> None:
    """Like moto: continuing after a deleted entry, it returns an empty last page."""
    left = [f"k{n:04}" for n in range(count)]

    def answers(method: str, query: str) -> Answer:
        if method == "POST":
            said = strange.writes[-1][2].decode()
            gone = set(re.findall("<Key>(.*?)</Key>", said))
            left[:] = [key for key in left if key not in gone]
            return _page(
                "DeleteResult", "".join(f"<Deleted><Key>{key}</Key><VersionId>1</VersionId></Deleted>" for key in gone)
            )
        if method == "DELETE":
            left.remove(urlsplit(strange.writes[-1][1]).path.removeprefix("/bkt/"))
            return 204, {}, b""
        if query.startswith("versioning"):
            return _page("VersioningConfiguration", "<Status>Enabled</Status>")
        after = parse_qs(query).get("key-marker", [""])[0]
        rest = [] if after and after not in left else [key for key in left if key > after]
        moment = "<LastModified>2026-01-01T00:00:00Z</LastModified>"
        entries = "".join(
            f"<Upload><Key>{key}</Key><UploadId>1</UploadId></Upload>"
            f"<Version><Key>{key}</Key><VersionId>1</VersionId>{moment}</Version>"
            for key in rest[:page_size]
        )
        last = f"<NextKeyMarker>{rest[page_size - 1]}</NextKeyMarker>" if len(rest) > page_size else ""
        more = f"<IsTruncated>true</IsTruncated>{last}" if last else ""
        return _page(
            "ListMultipartUploadsResult" if query.startswith("uploads") else "ListVersionsResult", entries + more
        )

    strange.answers = answers
    (versions.abort_uploads if kind == "uploads" else versions.clear_versions)(strange.bucket()._address)
    assert left == []


@pytest.mark.parametrize("adds_marker", [False, True], ids=["nothing", "another marker"])
def test_undelete_raises_where_the_store_does_not_delete_the_marker(strange: DocumentStore, adds_marker: bool) -> None:
    """The store reports success. If it ignores the version ID, it has put another marker above the one that was to be deleted."""
    markers = ["m1"]

    def answers(method: str, query: str) -> Answer:
        if method == "DELETE":
            assert len(markers) < 9, "undelete() does not end"
            if adds_marker:
                markers.insert(0, f"m{len(markers) + 1}")
            return 204, {"x-amz-delete-marker": "true"}, b""
        if query.startswith("versioning"):
            return _page("VersioningConfiguration", "<Status>Enabled</Status>")
        count = int(parse_qs(query)["max-keys"][0])
        moment = "<LastModified>2026-01-01T00:00:00Z</LastModified>"
        listed = "".join(
            f"<DeleteMarker><Key>k</Key><VersionId>{marker}</VersionId>{moment}"
            f"<IsLatest>{str(at == 0).lower()}</IsLatest></DeleteMarker>"
            for at, marker in enumerate(markers[:count])
        )
        return _page("ListVersionsResult", listed)

    strange.answers = answers
    with pytest.raises(s3.S3Unsupported, match="reported version m1 as deleted, but still lists it"):
        strange.bucket().object("k").undelete()


def test_listing_versions_continues_after_a_common_prefix(strange: DocumentStore) -> None:
    """After a common prefix a page names no version to go on from, and AWS refuses an empty one."""

    def answers(method: str, query: str) -> Answer:
        if "key-marker" in query:
            return _page("ListVersionsResult", "<IsTruncated>false</IsTruncated>")
        said = "<CommonPrefixes><Prefix>a/</Prefix></CommonPrefixes><IsTruncated>true</IsTruncated><NextKeyMarker>a/</NextKeyMarker>"
        return _page("ListVersionsResult", said)

    strange.answers = answers
    found = [prefix for page in versions.pages(strange.bucket()._address, delimiter="/") for prefix in page.prefixes]
    assert found == ["a/"]
    assert [query.count("version-id-marker") for query in strange.reads] == [0, 0]


def test_an_endless_listing_of_versions_raises(strange: DocumentStore) -> None:
    """The same page again and again, or a truncated page without markers."""
    for marker in ("<NextKeyMarker>k</NextKeyMarker>", ""):
        said = f"<IsTruncated>true</IsTruncated>{marker}"
        strange.answers = lambda method, query, said=said: _page("ListVersionsResult", said)  # type: ignore[misc]
        with pytest.raises(s3.S3Error, match="no valid marker for the next page"):
            [*versions.pages(strange.bucket()._address)]


@pytest.mark.parametrize("marker", ["<NextKeyMarker>k</NextKeyMarker>", ""])
def test_scratch_objects_are_deleted_though_the_listing_of_their_versions_is_endless(
    scripted_server: ScriptedServer, marker: str
) -> None:
    """Those that were found before the store repeats itself."""
    deleted = list[str]()

    def answer(asked: Asked) -> Answer:
        if "versioning" in asked.query:
            return document("VersioningConfiguration", "<Status>Enabled</Status>")
        if "versions" in asked.query:
            assert len(scripted_server.asked) < 10
            version = f"<Version><Key>{asked.query['prefix']}0</Key><VersionId>v</VersionId></Version>"
            return document("ListVersionsResult", f"<IsTruncated>true</IsTruncated>{marker}{version}")
        deleted.append(asked.query["versionId"])
        return 204, {}, b""

    scripted_server.answer = answer
    with scratch_objects(scripted_server.bucket(lane=False)._address):
        pass
    assert {*deleted} == {"v"}


def test_a_rule_without_an_id_stays_without_one(strange: DocumentStore) -> None:
    """A rule without an ID is sent back without one, also when another rule is replaced."""
    strange.documents["lifecycle"] = (
        b"<LifecycleConfiguration><Rule><Status>Enabled</Status><Prefix>a</Prefix><Expiration><Days>1</Days></Expiration></Rule>"
        b"</LifecycleConfiguration>"
    )
    bucket = strange.bucket()
    bucket.lifecycle.expire(days=3, prefix="b")
    bucket.lifecycle.remove("expire b")
    assert b"<ID>" not in strange.documents["lifecycle"]
    assert bucket.lifecycle.get() == LifecycleConfiguration((s3.LifecycleRule("(no id)", prefix="a", expire_days=1),))


def test_aws_may_show_the_old_configuration_for_minutes(strange: DocumentStore) -> None:
    """On AWS nothing is read back or restored: one read, to merge, and one write."""
    bucket = strange.bucket(preset="aws")
    rule = b"<ID>x</ID><Status>Enabled</Status><Expiration><Days>1</Days></Expiration>"
    old = b"<LifecycleConfiguration><Rule>%s</Rule></LifecycleConfiguration>" % rule
    strange.documents["lifecycle"] = old
    strange.stored = lambda document: old
    bucket.lifecycle.expire(days=3, prefix="tmp/")
    assert (strange.reads, [method for method, _, _ in strange.writes]) == (["lifecycle"], ["PUT"])
    assert b"<ID>x</ID>" in strange.writes[0][2]
    assert b"<ID>expire tmp/</ID>" in strange.writes[0][2]


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("rename_object", {"Key": "k", "RenameSource": "/bkt/other"}),
        ("put_object_annotation", {"Key": "k", "AnnotationName": "a", "AnnotationPayload": b"x"}),
        ("delete_object_annotation", {"Key": "k", "AnnotationName": "a"}),
        ("delete_bucket_metadata_table_configuration", {}),
    ],
)
def test_aws_s_later_operations_are_not_sent_elsewhere(
    scripted_server: ScriptedServer, method: str, parameters: dict[str, Any]
) -> None:
    """Also through ``store.client``: moto's server takes a rename or an annotation for a PUT of the object."""
    scripted_server.answer = lambda asked: (200, {"ETag": '"e"'}, b"")
    client = scripted_server.connect().client
    if not hasattr(client, method):
        pytest.skip("this botocore does not know the operation")
    with pytest.raises(s3.S3Unsupported, match="Nothing was sent"):
        getattr(client, method)(Bucket="bkt", **parameters)
    assert scripted_server.asked == []
    client.put_object_tagging(Bucket="bkt", Key="k", Tagging={"TagSet": []})  # known for long: the user's own decision
    assert scripted_server.whats == ["PUT k?tagging"]
