"""An extension of Griffe, which reads the docstrings for the reference: two of our sections have other names, or none, there."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

EXAMPLE = re.compile(r"^Example:$", re.MULTILINE)
REQUESTS = re.compile(r"^Requests:\n((?: {4}.+(?:\n|\Z))+)", re.MULTILINE)


class Sections(Extension):
    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        if obj.docstring is not None:
            text = EXAMPLE.sub("Examples:", obj.docstring.value)
            obj.docstring.value = REQUESTS.sub(lambda found: f"**Requests:** {' '.join(found[1].split())}\n", text)
