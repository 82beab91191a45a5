"""pytest fixtures for the tests of programs that use S3: ``s3_store`` and ``s3_bucket``.

Installed together with the library, pytest finds them by itself. This room knows pytest and LocalS3; until a test asks for a fixture, it
imports nothing else and starts nothing.
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
    """A store on an embedded S3 server that lives as long as the test session (with pytest-xdist: one for each worker)."""
    from .local.embedded import LocalS3

    with LocalS3() as local:
        yield local.connect()


@pytest.fixture
def s3_bucket(s3_store: S3Store) -> Iterator[S3Bucket]:
    """An empty bucket of this test's own, gone afterwards with all that is in it."""
    bucket = s3_store.create_bucket(f"test-{uuid.uuid4().hex[:16]}")
    yield bucket
    if bucket.exists():
        bucket.delete_bucket(force=True)
