"""Re-export of the event notification types."""

from ._formats.events import EventKind, ObjectEvent, UnreadableEvents, parse_event

__all__ = ["EventKind", "ObjectEvent", "UnreadableEvents", "parse_event"]
