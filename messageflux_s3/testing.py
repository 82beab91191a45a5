"""pytest fixtures for the tests of programs that use S3: ``s3_store``, ``s3_bucket`` and ``s3_faults``.

pytest loads them through an entry point of the installed library. The server is imported and started only when a test uses a fixture.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .bucket import S3Bucket
    from .local.faults import Faults
    from .store import S3Store


@pytest.fixture(scope="session")
def _s3_session_faults(request: pytest.FixtureRequest) -> Faults | None:
    """Return the faults of the session's server; None, so that it has no proxy, if no test of the session uses them."""
    if not any("s3_faults" in getattr(item, "fixturenames", ()) for item in request.session.items):
        return None
    from .local.faults import Faults

    return Faults()


@pytest.fixture(scope="session")
def s3_store(_s3_session_faults: Faults | None) -> Iterator[S3Store]:
    """A store on an embedded S3 server that runs for the whole test session (with pytest-xdist, one for each worker)."""
    from .local.embedded import LocalS3

    with LocalS3(faults=_s3_session_faults) as local:
        yield local.connect()


@pytest.fixture
def s3_bucket(s3_store: S3Store) -> Iterator[S3Bucket]:
    """A new, empty bucket for one test. The bucket and its objects are deleted afterwards."""
    bucket = s3_store.create_bucket(f"test-{uuid.uuid4().hex[:16]}")
    yield bucket
    if bucket.exists():
        bucket.delete_bucket(force=True)


@pytest.fixture
def s3_faults(s3_bucket: S3Bucket, _s3_session_faults: Faults | None) -> Iterator[Faults]:
    """The :class:`Faults` of the server of ``s3_store`` and ``s3_bucket``, for one test. Each test starts without faults.

    Faults that a test leaves pending affect neither other tests nor the deletion of its bucket. A test may choose another seed with
    ``s3_faults.restart(seed=7)``.

    Raises:
        RuntimeError: The fixture was requested by ``getfixturevalue`` only; it must be an argument of a test or of a fixture.
    """
    if _s3_session_faults is None:
        raise RuntimeError(
            "s3_faults must be an argument of the test or of one of its fixtures: the server runs without faults"
        )
    _s3_session_faults.restart(seed=0)
    yield _s3_session_faults
    _s3_session_faults.restart(seed=0)
