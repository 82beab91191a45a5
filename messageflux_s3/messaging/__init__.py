"""Messages about objects: events, pointers, claim checks and messageflux's message stores."""

from .._formats.events import ObjectEvent, parse_event
from .._formats.pointers import Pointer, make_pointer, parse_pointer

__all__ = ["ObjectEvent", "Pointer", "make_pointer", "parse_event", "parse_pointer"]
