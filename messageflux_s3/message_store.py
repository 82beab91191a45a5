"""messageflux's message stores, importable from here too."""

from .messaging.message_store import S3MessageStore, S3UploadMessageStore

__all__ = ["S3MessageStore", "S3UploadMessageStore"]
