"""A hook of MkDocs: the build fails if the reference lacks a public name, or a public method or property of a public class."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError

MODULES = ["", ".aio", ".claim_check", ".events", ".fs", ".local", ".message_store", ".messaging"]


def on_post_build(config: Any) -> None:
    pages = Path(config["site_dir"], "reference").rglob("*.html")
    anchors = {
        anchor for page in pages for anchor in re.findall(r'id="(messageflux_s3\.[^"]+)"', page.read_text("utf-8"))
    }
    shown = {".".join(anchor.rsplit(".", depth)[1:]) for anchor in anchors for depth in (1, 2)}
    if missing := sorted(set(public_names()) - shown):
        raise PluginError(f"the reference does not show {', '.join(missing)}")


def public_names() -> Iterator[str]:
    """Yield ``S3Bucket``, ``S3Bucket.exists`` and so on. What a class inherits from another public class is shown there."""
    public: dict[str, Any] = {}
    for path in MODULES:
        with contextlib.suppress(ImportError):  # it needs an extra that is not installed
            module = importlib.import_module(f"messageflux_s3{path}")
            for name in module.__all__:
                with contextlib.suppress(ImportError):
                    public[name] = getattr(module, name)
    yield from public
    classes = {value for value in public.values() if inspect.isclass(value)}
    for owner in classes:
        for base in owner.__mro__:
            if base is owner or (base not in classes and base.__module__.startswith("messageflux_s3")):
                yield from (f"{owner.__name__}.{member}" for member in described_members(base))


def described_members(owner: type) -> Iterator[str]:
    """Yield the names of the public methods and properties that the class itself defines."""
    for name, member in vars(owner).items():
        is_described = (callable(member) and not inspect.isclass(member)) or isinstance(
            member, (property, classmethod, staticmethod)
        )
        if not name.startswith("_") and (is_described or hasattr(member, "func")):
            yield name
