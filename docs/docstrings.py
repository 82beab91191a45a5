"""An extension of Griffe, which reads the code and the docstrings for the reference.

Two sections of the docstrings have other names, or none, there. A method of an async class that is made from a synchronous one
(``expire = twin_of(Lifecycle.expire)``) is shown with the signature and the docstring of that one.
"""

from __future__ import annotations

import re
from typing import Any

from griffe import Attribute, Class, Docstring, Extension, Function, Module, Object

EXAMPLE = re.compile(r"^Example:$", re.MULTILINE)
EXAMPLES_TO_THE_END = re.compile(r"^Examples?:\n(?: {4}.*\n?|\n)+", re.MULTILINE)
REQUESTS = re.compile(r"^Requests:\n((?: {4}.+(?:\n|\Z))+)", re.MULTILINE)
TWIN = re.compile(r"twin_of(?:_change|_write)?\((\w+)\.(\w+)\)")


class Sections(Extension):
    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        if obj.docstring is not None:
            text = EXAMPLE.sub("Examples:", obj.docstring.value)
            obj.docstring.value = REQUESTS.sub(lambda found: f"**Requests:** {' '.join(found[1].split())}\n", text)


class Twins(Extension):
    def on_package(self, *, pkg: Module, **kwargs: Any) -> None:
        if "aio" not in pkg.modules:
            return
        for module in pkg.modules["aio"].modules.values():
            for owner in module.classes.values():
                if not owner.is_alias:
                    self.replace_twins(owner)

    def replace_twins(self, owner: Class) -> None:
        """Replace attributes that are twins and have no docstring of their own by methods."""
        for name, member in list(owner.members.items()):
            found = TWIN.fullmatch(str(member.value)) if isinstance(member, Attribute) else None
            if found is None or member.docstring is not None:
                continue
            source = owner.module.members[found[1]].all_members[found[2]]
            method = Function(
                name,
                lineno=member.lineno,
                endlineno=member.endlineno,
                parameters=source.parameters,
                returns=source.returns,
            )
            if source.docstring is not None:
                text = EXAMPLES_TO_THE_END.sub("", source.docstring.value)  # the examples there are synchronous
                method.docstring = Docstring(text, parent=method)
            method.labels.add("async")
            owner.set_member(name, method)
