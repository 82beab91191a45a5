"""Check the rules of docs/explanation/architecture.md: imports between packages, uses of boto3, translation of errors."""

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

# From the lowest to the highest: a package imports from itself and from those listed before it.
LAYERS = [
    "errors",
    "_formats",
    "_http",
    "_client",
    "subresources",
    "_objects",
    "_bulk",
    "_files",
    "_probe",
    "_display",
    "path",
    "object",
    "query",
    "bucket",
    "store",
]
# Built on the model, and not on each other; but testing imports local, and the async claim check, in messaging, imports aio. The last
# three only make names importable from a second place.
TOP = {"aio", "fs", "local", "messaging", "testing", "events", "claim_check", "message_store"}
TOP_IMPORTS = {("testing", "local"), ("messaging", "aio"), ("claim_check", "messaging"), ("message_store", "messaging")}

# messageflux's constructors S3Object(object_summery) and S3Bucket(bucket_name, s3_resource) are given no parent to work with.
UPWARDS_INSIDE_FUNCTIONS = {("object", "bucket"), ("bucket", "store")}
# A handle names the type of the handle that it came from.
UPWARDS_FOR_TYPES = {
    ("object", "bucket"),
    ("query", "bucket"),
    ("bucket", "store"),
    ("path", "bucket"),
    ("path", "object"),
}

HTTP_LIBRARIES = {"boto3", "botocore", "httptools", "s3transfer", "urllib3"}
EXTRAS = {
    "IPython",
    "fsspec",
    "ipywidgets",
    "lxml",
    "matplotlib",
    "messageflux",
    "moto",
    "opentelemetry",
    "pandas",
    "pyarrow",
    "pytest",
    "tqdm",
}
# Modules that exist for the sake of one extra.
MODULES_FOR_EXTRAS = {
    "messageflux_s3.fs": "fsspec",
    "messageflux_s3.messaging.message_store": "messageflux",
    "messageflux_s3.testing": "pytest",
}

# Calls on a boto3 client or resource that build or describe something and send nothing.
SENDS_NOTHING = {
    "pages",  # a generator: each next() sends a request
    "_get_credentials",
    "can_paginate",
    "get_paginator",
    "close",
    "generate_presigned_url",
    "generate_presigned_post",
}


class Import(NamedTuple):
    importer: str  # "messageflux_s3.object"
    target: str  # "messageflux_s3._formats.keys", or "boto3"
    line: int
    is_inside_function: bool
    is_for_types: bool  # under TYPE_CHECKING

    @property
    def is_own(self) -> bool:
        return self.target.split(".")[0] == "messageflux_s3"

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.target}"


def source_files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    parts = ["messageflux_s3", *path.relative_to(PACKAGE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path) for path in source_files()}


def layer_of(module: str) -> str:
    """Return "object" for messageflux_s3.object, "_formats" for messageflux_s3._formats.keys."""
    return [*module.split("."), ""][1]


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def is_type_checking(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", None)
    return name == "TYPE_CHECKING"


def imports_of(path: Path) -> Iterator[Import]:
    importer = name_of(path)
    package = importer if path.name == "__init__.py" else importer.rpartition(".")[0]

    def targets(node: ast.ImportFrom) -> list[str]:
        base = node.module or ""
        if node.level:
            parent = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*parent, *([node.module] if node.module else [])])
        found = [f"{base}.{alias.name}" for alias in node.names]
        return [name if name in MODULES else base for name in found]

    def visit(node: ast.AST, inside: bool, for_types: bool) -> Iterator[Import]:
        if isinstance(node, ast.If) and is_type_checking(node.test):
            for child in node.body:
                yield from visit(child, inside, True)
            for child in node.orelse:
                yield from visit(child, inside, for_types)
            return
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = targets(node)
        for name in dict.fromkeys(names):
            yield Import(importer, name, node.lineno, inside, for_types)  # type: ignore[attr-defined]
        within = inside or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for child in ast.iter_child_nodes(node):
            yield from visit(child, within, for_types)

    yield from visit(parse(path), False, False)


ALL_IMPORTS = [found for path in source_files() for found in imports_of(path)]
OWN_IMPORTS = [found for found in ALL_IMPORTS if found.is_own and found.importer != "messageflux_s3"]


def is_allowed(importer: str, target: str) -> bool:
    here, there = layer_of(importer), layer_of(target)
    if here == there or (here, there) in TOP_IMPORTS:
        return True
    return there in LAYERS and (here in TOP or LAYERS.index(there) < LAYERS.index(here))


def goes_up_by_design(found: Import) -> bool:
    pair = (layer_of(found.importer), layer_of(found.target))
    if found.is_for_types:
        return pair in UPWARDS_FOR_TYPES
    return found.is_inside_function and pair in UPWARDS_INSIDE_FUNCTIONS


def test_every_module_is_in_a_layer() -> None:
    """A module outside of every layer would not be checked."""
    assert {layer_of(module) for module in MODULES} - {""} == {*LAYERS, *TOP}


def test_imports_go_downwards() -> None:
    """No module or function imports from a higher layer, except two constructors for messageflux."""
    wrong = [
        str(found)
        for found in OWN_IMPORTS
        if not is_allowed(found.importer, found.target) and not goes_up_by_design(found)
    ]
    assert wrong == []


def test_the_import_check_detects_an_upward_import() -> None:
    """The test above can fail."""
    assert not is_allowed("messageflux_s3._formats.keys", "messageflux_s3._client.config")
    assert not is_allowed("messageflux_s3.store", "messageflux_s3.aio")
    assert not is_allowed("messageflux_s3.fs", "messageflux_s3.local")


def test_no_import_exception_is_obsolete() -> None:
    """Every listed exception is used by an import."""
    used = {(layer_of(found.importer), layer_of(found.target), found.is_for_types) for found in OWN_IMPORTS}
    assert {(*pair, False) for pair in UPWARDS_INSIDE_FUNCTIONS | TOP_IMPORTS} <= used
    assert {(*pair, True) for pair in UPWARDS_FOR_TYPES} <= used


def test_there_are_no_circular_imports() -> None:
    """There are no import cycles, including imports in functions and under TYPE_CHECKING."""
    graph: dict[str, set[str]] = {module: set() for module in MODULES}
    for found in OWN_IMPORTS:
        if found.target in MODULES and found.target != found.importer and not goes_up_by_design(found):
            graph[found.importer].add(found.target)
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> list[str]:
        if module in above:
            return [*above[above.index(module) :], module]
        if module in done:
            return []
        for target in sorted(graph[module]):
            if circle := visit(target, (*above, module)):
                return circle
        done.add(module)
        return []

    assert [circle for module in sorted(MODULES) if (circle := visit(module, ()))] == []


def test_the_package_imports_the_rest_on_first_use() -> None:
    """`import messageflux_s3` imports the errors only."""
    eager = [
        str(found)
        for found in ALL_IMPORTS
        if found.importer == "messageflux_s3"
        and found.is_own
        and not found.is_inside_function
        and not found.is_for_types
    ]
    assert [each for each in eager if not each.endswith(".errors")] == []


def test_boto3_is_imported_below_the_operations_only() -> None:
    """boto3, botocore, httptools and urllib3 are imported in _client and _http; types of boto3's may be named anywhere."""
    wrong = [
        str(found)
        for found in ALL_IMPORTS
        if found.target.split(".")[0] in HTTP_LIBRARIES
        and not found.is_for_types
        and layer_of(found.importer) not in ("_client", "_http")
    ]
    assert wrong == []


LANE_NAMES = {"AsyncLane", "Lane", "LaneRequest", "LaneResponse", "Pending"}
NAMES_THE_LANE = {"messageflux_s3.store"}  # its status is public: store.lane


def names_of_the_lane(path: Path) -> Iterator[str]:
    """Return the names of the fast lane that a module uses: its classes, or ``connection.lane``."""
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Name) and node.id in LANE_NAMES:
            yield node.id
        elif isinstance(node, ast.Attribute) and node.attr == "lane" and "connection" in ast.unparse(node.value):
            yield ast.unparse(node)


def test_only_exchange_chooses_between_the_lane_and_boto3() -> None:
    """No module above _client names the lane: it describes a request, and _client/exchange.py sends it."""
    wrong = {
        f"{name}: {found}"
        for path in source_files()
        if layer_of(name := name_of(path)) not in ("_client", "_http") and name not in NAMES_THE_LANE
        for found in names_of_the_lane(path)
    }
    assert wrong == set()


def test_formats_do_no_io() -> None:
    """The formats open no socket, no file and no process."""
    io = {"asyncio", "http", "socket", "ssl", "subprocess", "tempfile", "threading", "urllib.request"}
    assert [str(found) for found in ALL_IMPORTS if layer_of(found.importer) == "_formats" and found.target in io] == []


def test_extras_are_imported_where_they_are_needed() -> None:
    """An extra is imported inside the function that needs it, or in the module that exists for its sake."""
    wrong = []
    for found in ALL_IMPORTS:
        extra = found.target.split(".")[0]
        is_deferred = found.is_inside_function or found.is_for_types
        if extra in EXTRAS and not is_deferred and MODULES_FOR_EXTRAS.get(found.importer) != extra:
            wrong.append(str(found))
    assert wrong == []


def test_moto_is_imported_in_its_own_process_only() -> None:
    """Importing moto.server hooks every later boto3 client of a process: only the program that LocalS3 starts may do it."""
    importers = {found.importer for found in ALL_IMPORTS if found.target.split(".")[0] == "moto"}
    assert importers <= {"messageflux_s3.local.server"}


def calls_past_the_translation(path: Path) -> Iterator[int]:
    """Lines that call a boto3 client or resource outside of ``with …translating(…)``."""

    def reached(node: ast.expr) -> list[str]:
        names: list[str] = []
        while isinstance(node, (ast.Attribute, ast.Call)):
            if isinstance(node, ast.Attribute):
                names.append(node.attr)
            node = node.value if isinstance(node, ast.Attribute) else node.func
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
            is_of_client = len(names) > 1 and names[-2] == "client"
            # resource.Bucket(name).delete() sends a request, resource.Bucket(name) alone does not.
            is_action = "resource" in names[:-2]
            if (is_of_client or is_action) and names[-1] not in SENDS_NOTHING:
                yield node.lineno
        for child in ast.iter_child_nodes(node):
            yield from visit(child, translated)

    yield from visit(parse(path), False)


@pytest.mark.parametrize("path", source_files(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_every_client_call_translates_its_exceptions(path: Path) -> None:
    """A ClientError or a BotoCoreError never reaches the user: no call on a client stands outside the translation."""
    assert list(calls_past_the_translation(path)) == []


def test_the_translation_check_detects_an_untranslated_call(tmp_path: Path) -> None:
    """The test above can fail."""
    bare = tmp_path / "bare.py"
    bare.write_text(
        "with translating('HeadObject'):\n    c.client.head_object()\nself.client.head_object()\n"
        "with translating('DeleteBucket'):\n    c.resource.Bucket(name).delete()\nc.resource.Bucket(name).delete()\n"
    )
    assert list(calls_past_the_translation(bare)) == [3, 6]


def test_importing_the_library_imports_no_extra() -> None:
    """`import messageflux_s3` costs what boto3 costs, and brings in nothing that was not asked for."""
    program = "import sys, messageflux_s3; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert set(loaded) & (EXTRAS | {"asyncio", "numpy", "werkzeug"}) == set()
