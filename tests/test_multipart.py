"""An upload in parts: what a store may answer on the way, and what must not happen then."""

from __future__ import annotations

import hashlib
import logging

import pytest
from canned import Answer, Asked, Canned, content_of, document, refusal

from messageflux_s3 import S3AccessDenied, S3Bucket, S3ConnectionError, S3Error, multipart
from messageflux_s3.multipart import MultipartUpload

PART = b"x" * 100
ETAG = hashlib.md5(PART).hexdigest()


def good(asked: Asked) -> Answer:
    """What a good store answers to an upload of such parts."""
    if asked.method == "POST" and "uploads" in asked.query:
        return document("InitiateMultipartUploadResult", "<UploadId>U</UploadId>")
    if asked.method == "POST":
        return document("CompleteMultipartUploadResult", "<ETag>whole</ETag>")
    return (204, {}, b"") if asked.method == "DELETE" else (200, {"ETag": f'"{ETAG}"'}, b"")


def upload(canned: Canned, **settings: int) -> MultipartUpload:
    return MultipartUpload(canned.bucket(**settings)._connection, "bkt", "k")


def test_parts_become_an_object(canned: Canned) -> None:
    """Numbered in the order in which they were added, and no abort after the completion."""
    canned.answer = good
    with upload(canned) as parts:
        for _ in range(3):
            parts.add_part(PART)
        assert parts.complete()["ETag"] == "whole"
    assert canned.whats[0] == "POST k?uploads"
    assert sorted(asked.query["partNumber"] for asked in canned.asked[1:4]) == ["1", "2", "3"]
    assert canned.whats[4:] == ["POST k?uploadId"]
    with pytest.raises(ValueError, match="this upload is over"):
        parts.add_part(PART)


def test_no_more_parts_than_an_object_can_have(canned: Canned, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to do, and what was sent is taken away."""
    canned.answer = good
    monkeypatch.setattr(multipart, "MAX_PARTS", 1)
    with pytest.raises(ValueError, match="larger parts are needed"), upload(canned) as parts:
        for _ in range(2):
            parts.add_part(PART)
    assert canned.whats[-1] == "DELETE k?uploadId"


def test_a_beginning_without_a_name_is_none(canned: Canned) -> None:
    """An answer that was cut would give the parts to an upload called None."""
    canned.answer = lambda asked: document("InitiateMultipartUploadResult")
    with pytest.raises(S3ConnectionError, match="did not arrive whole"), upload(canned) as parts:
        parts.add_part(PART)
    assert canned.whats == ["POST k?uploads"]


def test_a_part_without_an_etag_is_none(canned: Canned) -> None:
    """A store that knows no parts may have taken it for the whole object, or the answer was cut."""
    canned.answer = lambda asked: document("Something") if asked.method == "PUT" else good(asked)
    with pytest.raises(S3Error, match="took it for something else"), upload(canned) as parts:
        parts.copy_part({"Bucket": "bkt", "Key": "a"}, 0, 9)
        parts.complete()
    assert canned.whats[-1] == "DELETE k?uploadId"
    with pytest.raises(S3Error), upload(canned) as parts:
        parts.add_part(PART)
        parts.complete()
    assert canned.whats[-1] == "DELETE k?uploadId"


def test_an_upload_that_cannot_be_aborted_is_logged(canned: Canned, caplog: pytest.LogCaptureFixture) -> None:
    """What the user is told is the first error; that parts stay behind is for the log."""
    canned.answer = lambda asked: refusal(403, "AccessDenied") if asked.method in ("PUT", "DELETE") else good(asked)
    with caplog.at_level(logging.WARNING, "messageflux_s3"), pytest.raises(S3AccessDenied, match="UploadPart"), upload(canned) as parts:
        parts.add_part(PART)
        parts.complete()
    assert "the unfinished upload of s3://bkt/k could not be aborted" in caplog.text


@pytest.mark.parametrize("etag", ["another", ""])
def test_a_completion_of_which_nobody_knows_is_an_error(canned: Canned, etag: str) -> None:
    """The answer was lost, the store knows the upload no more, and what stands there is not made of these parts."""

    def answer(asked: Asked) -> Answer:
        if asked.method == "HEAD":
            return content_of(asked, PART, etag)
        if asked.method == "POST" and "uploads" not in asked.query:
            return None if canned.whats.count("POST k?uploadId") == 1 else refusal(404, "NoSuchUpload")
        return good(asked)

    canned.answer = answer
    with pytest.raises(S3ConnectionError, match="completed, or it was aborted by somebody else"), upload(canned, max_attempts=2) as parts:
        parts.add_part(PART)
        parts.complete()


def test_an_upload_without_parts_is_completed_or_nothing(bucket: S3Bucket) -> None:
    """Nothing was begun, so that there is nothing to abort."""
    with MultipartUpload(bucket._connection, bucket.name, "k"):
        pass
    assert not bucket["k"].exists()
