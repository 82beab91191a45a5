"""Holds rules 1 to 3 of the house (docs/explanation/architecture.md): who may import whom, where boto3 lives, what is translated."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import messageflux_s3

PACKAGE = Path(messageflux_s3.__file__).parent

# Read upwards, import downwards: a module may import from a lower floor, or from a module listed before it on its own floor.
FLOORS: dict[str, list[str]] = {
    "ground": [
        "errors",
        "decoding",
        "etags",
        "keys",
        "metadata",
        "times",
        "documents",
        "events",
        "pointers",
        "render",
        "source",
    ],
    "first": ["capabilities", "config", "translate", "signer", "gate", "wire", "lane", "async_lane", "connection"],
    "second": [
        "checksum",
        "content",
        "attributes",
        "places",
        "subresources",
        "tagging",
        "multipart",
        "condition_probe",
        "conditional",
        "listing_parser",
        "listing",
        "progress",
        "batch",
        "file_target",
        "transfer",
        "copying",
        "presigning",
        "versions",
        "sync",
        "fileio",
        "pipeline",
        "ahead",
        "lock",
        "probe",
        "usage",
        "preview",
        "tables",
        "show",
    ],
    "third": ["object", "query", "bucket", "store"],
}
# On the top floor each room is for guests of one kind, and none imports another; modules that share a room may import each other.
ROOMS: dict[str, set[str]] = {
    "claim check": {"claim_check"},
    "message stores": {"message_store"},
    "async": {"aio"},
    "fsspec": {"fs"},
    "local": {"local", "local_server", "testing"},
}
ORDER = [module for floor in FLOORS.values() for module in floor]
TOP_FLOOR = set().union(*ROOMS.values())

# The one door that has no parent to be handed: messageflux's S3Object(object_summary) makes its bucket itself.
EXCEPTIONS = {("object", "bucket"), ("bucket", "store")}

WIRE = {"boto3", "botocore", "httptools", "s3transfer", "urllib3"}
WIRE_ROOMS = {*FLOORS["first"], "transfer"}
EXTRAS = {
    "IPython",
    "fsspec",
    "lxml",
    "matplotlib",
    "messageflux",
    "moto",
    "pandas",
    "pyarrow",
    "pytest",
    "tqdm",
}
# These rooms exist for the sake of one extra: nobody imports them who does not have it.
GUEST_ROOMS = {"fs": "fsspec", "message_store": "messageflux", "testing": "pytest"}

# Calls on a boto3 client that build or describe something and send nothing.
SENDS_NOTHING = {
    "_get_credentials",
    "can_paginate",
    "get_paginator",
    "close",
    "generate_presigned_url",
    "generate_presigned_post",
}


class Import(NamedTuple):
    module: str  # of ours, without the package's name: "object", "subresources"
    target: str  # "boto3" for theirs, "messageflux_s3.keys" for ours
    line: int
    inside_function: bool


def source_files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def module_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def is_type_checking(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", None)
    return name == "TYPE_CHECKING"


def imports_of(path: Path) -> Iterator[Import]:
    depth = len(path.relative_to(PACKAGE).parts) - 1

    def visit(node: ast.AST, inside_function: bool) -> Iterator[Import]:
        if isinstance(node, ast.If) and is_type_checking(node.test):
            for child in node.orelse:
                yield from visit(child, inside_function)
            return
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module_of(path), alias.name, node.lineno, inside_function)
        elif isinstance(node, ast.ImportFrom):
            for target in from_targets(node):
                yield Import(module_of(path), target, node.lineno, inside_function)
        within = inside_function or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for child in ast.iter_child_nodes(node):
            yield from visit(child, within)

    def from_targets(node: ast.ImportFrom) -> list[str]:
        if node.level == 0:
            module = node.module or ""
            return [f"{module}.{alias.name}" for alias in node.names] if module == "messageflux_s3" else [module]
        if node.level <= depth:  # within a sub-package
            return []
        if node.module:
            return [f"messageflux_s3.{node.module}"]
        return [f"messageflux_s3.{alias.name}" for alias in node.names]

    yield from visit(parse(path), False)


def all_imports() -> list[Import]:
    return [found for path in source_files() for found in imports_of(path)]


def own_imports() -> list[Import]:
    """Imports of our own modules, by others than the package's front door."""
    return [
        found._replace(target=found.target.split(".")[1])
        for found in all_imports()
        if found.target.startswith("messageflux_s3.") and found.module != "__init__"
    ]


def at(found: Import) -> str:
    return f"{found.module}.py:{found.line} imports {found.target}"


def test_every_module_has_a_floor() -> None:
    """A module that is in no table would be held to no rule."""
    present = {module_of(path) for path in source_files()} - {"__init__"}
    assert present - set(ORDER) - TOP_FLOOR == set()


def test_imports_go_downwards() -> None:
    """Nothing imports from above it, be it inside a function."""
    wrong = []
    for found in own_imports():
        if (found.module, found.target) in EXCEPTIONS or found.module in TOP_FLOOR or found.module == found.target:
            continue
        if found.target in TOP_FLOOR or ORDER.index(found.target) > ORDER.index(found.module):
            wrong.append(at(found))
    assert wrong == []


def test_no_room_of_the_top_floor_imports_another() -> None:
    """A guest of one room needs nothing that another room is for."""
    room_of = {module: room for room, modules in ROOMS.items() for module in modules}
    wrong = [
        at(found)
        for found in own_imports()
        if found.module in TOP_FLOOR and found.target in TOP_FLOOR and room_of[found.module] != room_of[found.target]
    ]
    assert wrong == []


def test_exceptions_are_still_needed() -> None:
    """An exception that nobody uses any more is taken off the list."""
    pairs = {(found.module, found.target) for found in own_imports()}
    unused = {pair for pair in EXCEPTIONS if pair not in pairs and (PACKAGE / f"{pair[1]}.py").exists()}
    assert unused == set()


def test_the_front_door_imports_no_room_of_the_top_floor_at_once() -> None:
    """The names of the top floor load on first use."""
    eager = [
        at(found)
        for found in all_imports()
        if found.module == "__init__"
        and not found.inside_function
        and found.target.removeprefix("messageflux_s3.") in TOP_FLOOR
    ]
    assert eager == []


def test_boto3_lives_on_the_first_floor() -> None:
    """boto3, botocore, httptools and what lies below them are imported on the first floor and in transfer.py only."""
    wrong = [
        at(found) for found in all_imports() if found.target.split(".")[0] in WIRE and found.module not in WIRE_ROOMS
    ]
    assert wrong == []


def test_the_ground_floor_does_no_io() -> None:
    """The vocabulary opens no socket, no file and no process."""
    doors = {"asyncio", "http", "socket", "ssl", "subprocess", "tempfile", "threading", "urllib.request"}
    wrong = [at(found) for found in all_imports() if found.module in FLOORS["ground"] and found.target in doors]
    assert wrong == []


def test_extras_are_imported_where_they_are_needed() -> None:
    """An extra is imported inside the function that needs it, or in the room that exists for its sake."""
    wrong = []
    for found in all_imports():
        extra = found.target.split(".")[0]
        if extra in EXTRAS and not found.inside_function and GUEST_ROOMS.get(found.module) != extra:
            wrong.append(at(found))
    assert wrong == []


def test_moto_is_imported_in_its_own_process_only() -> None:
    """Importing moto.server hooks every later boto3 client of a process: only the program that LocalS3 starts may do it."""
    assert {found.module for found in all_imports() if found.target.split(".")[0] == "moto"} <= {"local_server"}


def calls_past_the_translation(path: Path) -> Iterator[int]:
    """Lines that call a boto3 client or resource outside of ``with …translating(…)``."""

    def reached(node: ast.expr) -> list[str]:
        names: list[str] = []
        while isinstance(node, ast.Attribute):
            names.append(node.attr)
            node = node.value
        if isinstance(node, ast.Name):
            names.append(node.id)
        return names[::-1]

    def visit(node: ast.AST, translated: bool) -> Iterator[int]:
        if isinstance(node, (ast.With, ast.AsyncWith)):
            translated = translated or any(
                isinstance(item.context_expr, ast.Call) and reached(item.context_expr.func)[-1:] == ["translating"]
                for item in node.items
            )
        if isinstance(node, ast.Call) and not translated:
            names = reached(node.func)
            if len(names) > 1 and names[-2] == "client" and names[-1] not in SENDS_NOTHING:
                yield node.lineno
        for child in ast.iter_child_nodes(node):
            yield from visit(child, translated)

    yield from visit(parse(path), False)


@pytest.mark.parametrize("path", source_files(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_every_call_is_translated(path: Path) -> None:
    """A ClientError or a BotoCoreError never reaches the user: no call on a client stands outside the translation."""
    assert list(calls_past_the_translation(path)) == []


def test_the_check_for_translation_sees_a_bare_call(tmp_path: Path) -> None:
    """The test above can fail."""
    bare = tmp_path / "bare.py"
    bare.write_text("with translating('HeadObject'):\n    c.client.head_object()\nself.client.head_object()\n")
    assert list(calls_past_the_translation(bare)) == [3]


def test_importing_the_library_imports_no_extra() -> None:
    """`import messageflux_s3` costs what boto3 costs, and brings in nothing that was not asked for."""
    program = "import sys, messageflux_s3; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert set(loaded) & (EXTRAS | {"asyncio", "numpy", "werkzeug"}) == set()
