"""Whether the copies of a store take the version that their source names.

Some stores ignore ``?versionId`` in ``x-amz-copy-source`` and copy the current object, and few name the version in their response. So
before the first copy of a version a version that does not exist is copied to a scratch key, which has to fail.
"""

from __future__ import annotations

from functools import partial

from .._client.addresses import ObjectAddress
from .._formats import version_ids
from ..errors import S3Error, S3NoSuchBucket
from . import operations
from .scratch import scratch_beside
from .single_flight import single_flight


def are_copied(source: ObjectAddress, target: ObjectAddress) -> bool:
    """Return whether a copy of a version takes that version; False also if that could not be determined.

    Args:
        source: A version that exists.
        target: The copy; the scratch object is in the same folder.

    Raises:
        S3NoSuchBucket: One of the buckets does not exist.
        S3Error: The store could not be asked.

    Requests:
        none on AWS; else 1 HEAD, 1 COPY and, if that succeeds, 3 GET and 1 DELETE, once for each bucket
    """
    connection = target.connection
    if connection.is_aws or source.version_id is None:
        return True
    fact = f"copies of versions:{source.bucket_name}:{target.bucket_name}"
    known: bool | None = connection.facts.get(fact)
    if known is None:
        with single_flight(connection, fact) as turn:
            known = connection.facts.get(fact)
            if known is None:
                known = turn.ask(partial(_missing_is_refused, source, source.version_id, target))
                if known is not None:
                    connection.facts[fact] = known
    return bool(known)


def _missing_is_refused(source: ObjectAddress, version_id: str, target: ObjectAddress) -> bool | None:
    """Return None if that shows nothing: without a current object also a store that ignores the version finds nothing to copy."""
    try:
        operations.head(source._replace(version_id=None))
    except S3Error as error:
        if error.retryable:
            raise
        return None
    missing = {"Bucket": source.bucket_name, "Key": source.key, "VersionId": version_ids.missing(version_id)}
    with scratch_beside(target, {}) as scratch:
        try:
            scratch.write("CopyObject", scratch.new_key(), CopySource=missing)
        except S3NoSuchBucket:
            raise
        except S3Error as error:
            if error.retryable:
                raise
            if error.status == 400 and error.code not in ("InvalidArgument", "NoSuchVersion", "InvalidVersionId"):
                return None  # not about the version: the object may be too large for one copy
            return error.status in (400, 404)  # any other refusal need not be about the version
    return False
