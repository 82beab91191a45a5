"""The buckets and the folder that a call of the catalogue works on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.servers import Server

import messageflux_s3 as s3


@dataclass
class Place:
    """Buckets with a common prefix in their names, a folder, and a store to reach them with.

    Attributes:
        server: The server that holds the buckets.
        client: Plain boto3, which talks to the server directly and shows what is really stored.
        folder: A folder for local files.
        store: The store whose calls are tried.
        stem: What the names of the buckets begin with.
        state: What the preparation of a call keeps for the call.
    """

    server: Server
    client: Any
    folder: Path
    store: s3.S3Store
    stem: str = ""
    state: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the first bucket."""
        return f"{self.stem}-a"

    @property
    def bucket(self) -> s3.S3Bucket:
        """The first bucket, which holds objects."""
        return self.store.bucket(self.name)

    @property
    def other(self) -> s3.S3Bucket:
        """A second bucket."""
        return self.store.bucket(f"{self.stem}-b")

    @property
    def empty(self) -> s3.S3Bucket:
        """A bucket without objects; only where calls are checked."""
        return self.store.bucket(f"{self.stem}-c")

    @property
    def obj(self) -> s3.S3Object:
        return self.bucket["kept/a.txt"]

    @property
    def long(self) -> s3.S3Object:
        return self.bucket["kept/long.txt"]

    def put(self, key: str, body: bytes, name: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Write an object with plain boto3."""
        answer: dict[str, Any] = self.client.put_object(Bucket=name or self.name, Key=key, Body=body, **parameters)
        return answer

    def names(self) -> list[str]:
        """Return the names of the buckets that exist."""
        return [
            bucket["Name"]
            for bucket in self.client.list_buckets()["Buckets"]
            if bucket["Name"].startswith(f"{self.stem}-")
        ]
