"""An S3 server on this machine, for tests and first steps."""

from .embedded import LocalS3
from .faults import Faults, InjectedFault

__all__ = ["Faults", "InjectedFault", "LocalS3"]
