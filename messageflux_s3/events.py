"""Event notifications of S3, importable from here too."""

from ._formats.events import EventKind, ObjectEvent, UnreadableEvents, parse_event

__all__ = ["EventKind", "ObjectEvent", "UnreadableEvents", "parse_event"]
