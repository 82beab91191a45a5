"""The documentation names existing tests, all pages, and all public names."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import inspect
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support.public_calls import sub_resources

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


@pytest.mark.parametrize("path", ["", ".aio", ".claim_check", ".events", ".fs", ".local", ".messaging"])
def test_every_public_name_is_in_the_reference(path: str) -> None:
    """A name is documented directly, or with the module that exports it. (docs/complete_reference.py checks methods and properties.)"""
    package = importlib.import_module(f"messageflux_s3{path}")
    shown = shown_on(*(ROOT / "docs/reference").glob("*.md"))
    for name in package.__all__:
        if not any(path.endswith(f".{name}") for path in shown):
            assert any(getattr(module, name, None) is getattr(package, name) for module in modules_of(shown)), name


def test_every_sub_resource_is_in_the_reference() -> None:
    """Each is documented with the module that defines it."""
    shown = shown_on(ROOT / "docs/reference/sub-resources.md")
    for cls in (s3.S3Bucket, s3.S3Object):
        assert {value.__module__ for value in sub_resources(cls).values()} - shown == set()


def shown_on(*pages: Path) -> set[str]:
    """Return the paths of the modules and names that reference pages show."""
    return {name for page in pages for name in re.findall(r"^::: (\S+)$", page.read_text(), re.MULTILINE)}


def modules_of(paths: Iterable[str]) -> Iterator[ModuleType]:
    for path in paths:
        with contextlib.suppress(ImportError):  # the path of a class
            yield importlib.import_module(path)


# Their methods only compute.
VALUES = {
    "BatchResult",
    "Change",
    "CorsRule",
    "LifecycleRule",
    "Notification",
    "Pointer",
    "RequestEvent",
    "RequestTotals",
}


@pytest.mark.parametrize("path", ["", ".aio", ".claim_check", ".fs", ".local"])
def test_every_public_function_method_and_property_documents_its_requests(path: str) -> None:
    """Each says how many requests it sends, except exceptions and plain values."""
    package = importlib.import_module(f"messageflux_s3{path}")
    for name in package.__all__:
        value = getattr(package, name) if path or name in IMPORTABLE else None
        if inspect.isfunction(value):
            assert "Requests:" in (inspect.getdoc(value) or ""), name
        elif inspect.isclass(value) and not issubclass(value, BaseException) and name not in VALUES:
            for member_name, member in vars(value).items():
                if (member_name.startswith("_") or inspect.isclass(member)) or not (
                    callable(member) or isinstance(member, (property, classmethod)) or hasattr(member, "func")
                ):
                    continue
                documented = inspect.getdoc(getattr(value, member_name)) or inspect.getdoc(member) or ""
                assert "Requests:" in documented, f"{name}.{member_name}"


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=[path.relative_to(ROOT).as_posix() for path in PAGES])
def test_every_link_to_a_page_leads_to_a_file_and_an_anchor(page: Path) -> None:
    """Links and images within the project exist; an anchor is a heading there, or a name that the reference page shows."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    for link in links:
        target, _, anchor = link.partition("#")
        if target.startswith(("https://", "http://")):
            continue
        path = (page.parent / target).resolve() if target else page
        assert path.exists() or is_added_to_the_site(path), link
        if anchor:
            assert anchor in headings(path) or is_shown(anchor, shown_on(path)), link


def is_added_to_the_site(path: Path) -> bool:
    """docs/more_pages.py makes pages of the notebooks and of the changelog."""
    return path.parent == ROOT / "docs" and ((ROOT / "examples" / path.name).exists() or path.name == "CHANGELOG.md")


def headings(page: Path) -> set[str]:
    """Return the anchors that Python-Markdown gives the headings of a page."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    found = set()
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        ascii_only = unicodedata.normalize("NFKD", heading).encode("ascii", "ignore").decode()
        found.add(re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", ascii_only).strip().lower()))
    return found


def is_shown(anchor: str, shown: set[str]) -> bool:
    """Return whether a reference page shows this name: a class or function itself, or a member of what it shows."""
    for path in shown:
        if anchor == path or anchor.startswith(f"{path}."):
            try:
                owner: Any = importlib.import_module(path)
            except ImportError:
                module, _, name = path.rpartition(".")
                owner = getattr(importlib.import_module(module), name)
            for name in anchor[len(path) + 1 :].split(".") if anchor != path else ():
                if not hasattr(owner, name):
                    return False
                owner = inspect.getattr_static(owner, name)
            return True
    return False


INDEX = (ROOT / "docs/howto/index.md").read_text()
CALLS = re.findall(r"\| \[`([^`]+)`\]\(\S+#(\S+)\) \|", INDEX)


def test_the_index_by_task_has_the_words_that_people_search_for() -> None:
    """Each of these words leads to a call and a page."""
    rows = [row.lower() for row in INDEX.splitlines() if row.startswith("| ") and "`" in row]
    words = {
        "append",
        "ceph",
        "copy",
        "cost",
        "delete many",
        "endpoint",
        "exists",
        "folder",
        "lock",
        "minio",
        "mock",
        "multipart",
        "only what is new",
        "preview",
    }
    words |= {"presigned post", "progress", "public", "r2", "rename", "retry", "size", "timeout", "versions"}
    for word in words:
        assert any(re.search(rf"\b{word}\b", row.split("|")[1]) for row in rows), word


@pytest.mark.parametrize(("call", "anchor"), CALLS, ids=[call for call, _ in CALLS])
def test_every_call_of_the_index_by_task_exists_with_its_arguments(call: str, anchor: str) -> None:
    """The name exists, accepts these arguments, and is the one that the link leads to."""
    owners = {"s3": s3, "store": s3.S3Store, "bucket": s3.S3Bucket, "obj": s3.S3Object, "query": s3.ObjectQuery}
    expression = ast.parse(call, mode="eval").body
    if isinstance(expression, ast.BinOp):  # a path: bucket.path("a") / "b"
        expression = expression.left
    assert anchor.rpartition(".")[2] == (expression.func if isinstance(expression, ast.Call) else expression).attr
    check_call(expression, owners)


def check_call(node: ast.expr, owners: dict[str, Any]) -> Any:
    """Return what an expression such as ``bucket.find("a").prefixes()`` refers to, and bind the arguments of its calls."""
    if isinstance(node, ast.Name):
        return owners[node.id]
    if isinstance(node, ast.Attribute):
        owner = check_call(node.value, owners)
        value = getattr(owner, node.attr)  # first: the package has a name only once it was accessed
        found = inspect.getattr_static(owner, node.attr)
        if getter := getattr(found, "fget", None) or getattr(found, "func", None):  # of a property: what it returns
            return vars(sys.modules[getter.__module__]).get(getter.__annotations__["return"])
        return value
    assert isinstance(node, ast.Call)
    function = check_call(node.func, owners)
    is_method = inspect.isfunction(function) and "." in function.__qualname__
    signature = inspect.signature(function)
    bound = signature.bind(
        *([None] if is_method else []),
        *node.args,
        **{keyword.arg: keyword.value for keyword in node.keywords if keyword.arg},
    )
    extra = bound.arguments.get("extra", {})
    assert set(extra) <= set(s3.PutParameters.__annotations__), extra
    return {"find": s3.ObjectQuery}.get(function.__name__, s3.S3Object)
