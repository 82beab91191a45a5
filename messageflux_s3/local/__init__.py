"""An S3 server on this machine, for tests and first steps."""

from .embedded import LocalS3

__all__ = ["LocalS3"]
