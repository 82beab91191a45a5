"""Re-export of messageflux's message stores."""

from .messaging.message_store import S3MessageStore, S3UploadMessageStore

__all__ = ["S3MessageStore", "S3UploadMessageStore"]
