"""The lane's signer, compared with botocore's."""

from __future__ import annotations

import base64
import hashlib
import random
import time
import zlib
from types import SimpleNamespace
from urllib.parse import quote

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from messageflux_s3._formats.keys import quote_key
from messageflux_s3._http import http1, signing
from messageflux_s3._http.signing import Signer

ODD = "aZ09-._~/ +%&=?#[]{}|^`\"'<>,;:@!$*()\\\x01\n\té漢😀"


def words(source: random.Random, most: int, alphabet: str = ODD) -> str:
    return "".join(source.choice(alphabet) for _ in range(source.randint(1, most)))


def test_signature_equals_botocores_for_random_requests() -> None:
    """3000 requests with random keys, queries, headers, tokens, regions and secrets."""
    source = random.Random(20261121)
    for _ in range(3000):
        access, secret = words(source, 20, "ABCDEF0123"), words(source, 40, "abc/+DEF0189")
        token = words(source, 60, "abc/+=DEF0189") if source.random() < 0.4 else None
        region = source.choice(["us-east-1", "eu-central-2", "auto", ""])
        method = source.choice(["GET", "HEAD", "PUT", "DELETE", "POST"])
        host = source.choice(["localhost:9000", "bkt.s3.amazonaws.com", "[::1]:8080", "127.0.0.1"])
        path = "/" + quote_key(words(source, 30))
        pairs = sorted(
            (quote(words(source, 8), safe="-._~"), quote(words(source, 8), safe="-._~"))
            for _ in range(source.randint(0, 4))
        )
        query = "&".join(f"{name}={value}" for name, value in pairs)
        extra = {
            f"x-amz-meta-{words(source, 6, 'abc-_')}": words(source, 20, "ab  c\t%d") + "."
            for _ in range(source.randint(0, 3))
        }
        if source.random() < 0.3:
            extra["content-type"] = "text/plain;  charset=utf-8"
        body = source.randbytes(source.randint(0, 50)) if method in ("PUT", "POST") else b""

        url = f"http://{host}{path}" + (f"?{query}" if query else "")
        request = AWSRequest(method=method, url=url, headers=dict(extra), data=body)
        S3SigV4Auth(Credentials(access, secret, token), "s3", region).add_auth(request)
        signed = dict(extra)
        signed["host"] = host
        for name in ("X-Amz-Date", "X-Amz-Content-SHA256", "X-Amz-Security-Token"):
            if name in request.headers:
                signed[name.lower()] = request.headers[name]
        ours = Signer(region).authorization(access, secret, method, path, query, signed)
        assert ours == request.headers["Authorization"]


def test_timestamp_is_the_current_time_in_utc() -> None:
    """In the basic form of ISO 8601."""
    from datetime import datetime, timezone

    said = datetime.strptime(Signer("r").timestamp(), "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
    assert abs((datetime.now(timezone.utc) - said).total_seconds()) < 60


def test_timestamp_follows_the_clock_also_backwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is formatted once a second."""
    seconds = [1e9, 1e9 + 0.5, 1e9 + 1, 1e9 - 3600]
    written: list[str] = []
    clock = iter(seconds)

    def strftime(form: str, moment: time.struct_time) -> str:
        written.append(time.strftime(form, moment))
        return written[-1]

    monkeypatch.setattr(
        signing, "time", SimpleNamespace(time=lambda: next(clock), gmtime=time.gmtime, strftime=strftime)
    )
    one = Signer("r")
    said = [one.timestamp() for _ in seconds]
    assert said == ["20010909T014640Z", "20010909T014640Z", "20010909T014641Z", "20010909T004640Z"]
    assert written == [said[0], *said[2:]]


def test_cached_key_is_not_used_for_another_secret_or_day() -> None:
    """Each signature equals that of a new signer."""
    headers = {"host": "h", "x-amz-date": "", "x-amz-content-sha256": "UNSIGNED-PAYLOAD"}

    def signed(by: Signer, secret: str, day: str) -> str:
        return by.authorization("A", secret, "GET", "/", "", {**headers, "x-amz-date": f"{day}T000000Z"})

    kept = Signer("us-east-1")
    for secret, day in (("a", "20260102"), ("b", "20260102"), ("a", "20260102"), ("a", "20260103"), ("a", "20260101")):
        assert signed(kept, secret, day) == signed(Signer("us-east-1"), secret, day)


def test_signatures_differ_by_secret_and_by_day() -> None:
    """Rotated credentials are not signed with the key of the old ones."""
    one = Signer("us-east-1")
    headers = {"host": "h", "x-amz-date": "20260101T000000Z", "x-amz-content-sha256": "UNSIGNED-PAYLOAD"}
    first = one.authorization("A", "one", "GET", "/", "", headers)
    other = one.authorization("A", "two", "GET", "/", "", headers)
    next_day = one.authorization("A", "one", "GET", "/", "", {**headers, "x-amz-date": "20260102T000000Z"})
    again = one.authorization("A", "one", "GET", "/", "", headers)
    assert first == again
    assert len({first, other, next_day}) == 3


@pytest.mark.parametrize(("name", "kind"), [("crc32", ""), ("sha1", "sha1"), ("sha256", "sha256")])
def test_checksum_of_the_whole_object_is_compared_with_the_body(name: str, kind: str) -> None:
    """A checksum of parts (with a dash) is not."""
    right = hashlib.new(kind, b"hi").digest() if kind else zlib.crc32(b"hi").to_bytes(4, "big")
    field = [(f"x-amz-checksum-{name}".encode(), base64.b64encode(right))]
    assert http1.checksum_matches(http1.LaneResponse(200, field, b"hi"))
    assert not http1.checksum_matches(http1.LaneResponse(200, field, b"ho"))
    assert http1.checksum_matches(http1.LaneResponse(200, [(field[0][0], field[0][1] + b"-2")], b"ho"))
