"""pytest fixtures for the tests of programs that use S3: ``s3_store`` and ``s3_bucket``.

pytest loads them through an entry point of the installed library. The server is imported and started only when a test uses a fixture.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .bucket import S3Bucket
    from .store import S3Store


@pytest.fixture(scope="session")
def s3_store() -> Iterator[S3Store]:
    """A store on an embedded S3 server that runs for the whole test session (with pytest-xdist, one for each worker)."""
    from .local.embedded import LocalS3

    with LocalS3() as local:
        yield local.connect()


@pytest.fixture
def s3_bucket(s3_store: S3Store) -> Iterator[S3Bucket]:
    """A new, empty bucket for one test; deleted with its objects afterwards."""
    bucket = s3_store.create_bucket(f"test-{uuid.uuid4().hex[:16]}")
    yield bucket
    if bucket.exists():
        bucket.delete_bucket(force=True)
