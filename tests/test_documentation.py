"""The documentation names existing tests, all pages, and all public names."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

import messageflux_s3 as s3

ROOT = Path(__file__).parent.parent
# The two message stores exist only if messageflux is installed.
IMPORTABLE = [
    name
    for name in s3.__all__
    if name not in s3._EXPORTS["messaging.message_store"] or importlib.util.find_spec("messageflux")
]


def test_every_row_of_the_table_of_pains_names_existing_tests() -> None:
    """There are 25 rows, and every test that a row names exists."""
    rows = re.findall(r"^\| (\d+) \|.*\| ([^|]+) \|$", (ROOT / "docs/explanation/pains.md").read_text(), re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 26))
    for number, named in rows:
        tests = re.findall(r"`(\w+)::(\w+)`", named)
        assert tests, number
        for file, test in tests:
            assert re.search(rf"^(async )?def {test}\(", (ROOT / f"tests/{file}.py").read_text(), re.MULTILINE), (
                file,
                test,
            )


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    """Every page is in the navigation of mkdocs.yml."""
    menu = (ROOT / "mkdocs.yml").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        assert f": {page.relative_to(ROOT / 'docs').as_posix()}\n" in menu + "\n", page


def test_every_public_name_has_a_docstring() -> None:
    """help() has a text for every public name."""
    for name in IMPORTABLE:
        value = getattr(s3, name)
        if callable(value):
            assert (value.__doc__ or "").strip(), name


def test_every_public_name_is_in_the_reference() -> None:
    """A name is documented directly, or with the module that exports it."""
    shown = {
        name
        for page in (ROOT / "docs/reference").glob("*.md")
        for name in re.findall(r"^::: (\S+)$", page.read_text(), re.MULTILINE)
    }
    for name in s3.__all__:
        if not any(path.endswith(f".{name}") for path in shown):
            assert any(getattr(module, name, None) is getattr(s3, name) for module in modules_of(shown)), name


def modules_of(paths: Iterable[str]) -> Iterator[ModuleType]:
    for path in paths:
        with contextlib.suppress(ImportError):  # the path of a class
            yield importlib.import_module(path)


def test_every_public_member_documents_its_requests() -> None:
    """Every public method and property of the main classes documents its requests."""
    for noun in (s3.S3Bucket, s3.S3Object, s3.ObjectQuery, s3.S3Store):
        for name, member in vars(noun).items():
            if name.startswith("_") or not (
                callable(member) or isinstance(member, (property, classmethod)) or hasattr(member, "func")
            ):
                continue
            documented = inspect.getdoc(getattr(noun, name)) or inspect.getdoc(member) or ""
            assert "Requests:" in documented, f"{noun.__name__}.{name}"
