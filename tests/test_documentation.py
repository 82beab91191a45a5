"""What the documentation says of the tests, and of the public names."""

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
# The two stores for messageflux are there where messageflux is.
HERE = [
    name
    for name in s3.__all__
    if name not in s3._EXPORTS["messaging.message_store"] or importlib.util.find_spec("messageflux")
]


def test_every_pain_names_tests_that_exist() -> None:
    """25 rows, each with a test; each test is there."""
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


def test_every_page_is_in_the_site() -> None:
    """A page that no menu leads to is one that nobody finds."""
    menu = (ROOT / "mkdocs.yml").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        assert f": {page.relative_to(ROOT / 'docs').as_posix()}\n" in menu + "\n", page


def test_every_public_name_has_a_docstring() -> None:
    """What help() shows is never empty."""
    for name in HERE:
        value = getattr(s3, name)
        if callable(value):
            assert (value.__doc__ or "").strip(), name


def test_every_public_name_is_in_the_reference() -> None:
    """A name is documented by itself, or with the whole of a module from which it can be imported."""
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


def test_every_public_member_says_what_it_costs() -> None:
    """What help() says of each method and property of the nouns: a docstring, and in it the requests."""
    for noun in (s3.S3Bucket, s3.S3Object, s3.ObjectQuery, s3.S3Store):
        for name, member in vars(noun).items():
            if name.startswith("_") or not (
                callable(member) or isinstance(member, (property, classmethod)) or hasattr(member, "func")
            ):
                continue
            documented = inspect.getdoc(getattr(noun, name)) or inspect.getdoc(member) or ""
            assert "Requests:" in documented, f"{noun.__name__}.{name}"
