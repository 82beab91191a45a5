"""AWS Signature Version 4: its key and its text, and the Authorization header of requests whose body is in memory.

``tests/test_signing.py`` compares this signer with botocore's over thousands of random requests. This module never logs, and no ``repr``
contains a secret.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Mapping
from hashlib import sha256

EMPTY_SHA256 = sha256(b"").hexdigest()
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"


def key_of(secret_key: str, scope: str) -> bytes:
    """Return the key derived from a secret key for a scope, such as ``20261121/us-east-1/s3/aws4_request``."""
    key = f"AWS4{secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def text_to_sign(timestamp: str, scope: str, canonical: str) -> str:
    """Return the text that is signed for a request in its canonical form."""
    return f"AWS4-HMAC-SHA256\n{timestamp}\n{scope}\n{sha256(canonical.encode()).hexdigest()}"


class Signer:
    """Signs requests for one region and service.

    The key derived from the secret is valid for a day and cached. The cache is replaced as one tuple, so that threads never see a
    partial update.

    Args:
        region: The signing region, such as ``us-east-1``.
        service: The signing name of the service.
    """

    __slots__ = ("_derived", "_moment", "_region", "_service")

    def __init__(self, region: str, service: str = "s3") -> None:
        self._region = region
        self._service = service
        self._derived: tuple[str, str, str, bytes] = ("", "", "", b"")
        self._moment: tuple[int, str] = (0, "")

    def timestamp(self) -> str:
        """Return the current time in the format of ``x-amz-date``, such as ``20261121T014215Z``."""
        now = int(time.time())
        moment = self._moment
        if moment[0] != now:
            moment = (now, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now)))
            self._moment = moment
        return moment[1]

    def authorization(
        self,
        access_key: str,
        secret_key: str,
        method: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
    ) -> str:
        """Return the value of the ``Authorization`` header.

        Args:
            access_key: The access key id.
            secret_key: The secret key.
            method: The HTTP method, in capitals.
            path: The path, percent-encoded as it is sent.
            query: The query string: percent-encoded, sorted, each name with its ``=``.
            headers: The headers to sign, under lower-case names; ``host``, ``x-amz-date`` and ``x-amz-content-sha256`` are required.

        Returns:
            The header's value.
        """
        timestamp = headers["x-amz-date"]
        scope, key = self._key(secret_key, timestamp[:8])
        names = sorted(headers)
        signed = ";".join(names)
        lines = "\n".join([f"{name}:{' '.join(headers[name].split())}" for name in names])
        canonical = f"{method}\n{path}\n{query}\n{lines}\n\n{signed}\n{headers['x-amz-content-sha256']}"
        signature = hmac.digest(key, text_to_sign(timestamp, scope, canonical).encode(), "sha256").hex()
        return f"AWS4-HMAC-SHA256 Credential={access_key}/{scope}, SignedHeaders={signed}, Signature={signature}"

    def _key(self, secret_key: str, day: str) -> tuple[str, bytes]:
        known_secret, known_day, scope, key = self._derived
        if known_secret != secret_key or known_day != day:
            scope = f"{day}/{self._region}/{self._service}/aws4_request"
            key = key_of(secret_key, scope)
            self._derived = (secret_key, day, scope, key)
        return scope, key
