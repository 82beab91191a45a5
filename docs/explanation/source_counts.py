"""Count lines of code, long parameter lists, and call sites of the lane.

    python docs/explanation/source_counts.py [messageflux_s3]

Lines of code are those with a token other than a comment or a docstring. Parameters are counted without self and cls; keyword-only ones
of public functions of the model are left out.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from pathlib import Path

MOST_PARAMETERS = 6
ABOUT_LINES = (
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
)
PUBLIC = ("bucket", "errors", "fs", "handles", "object", "query", "store")


def docstring_lines(tree: ast.Module) -> set[int]:
    """Return the lines of statements that are strings only."""
    lines: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return lines


def code_lines(text: str) -> int:
    """Return how many lines hold code."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in ABOUT_LINES:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - docstring_lines(ast.parse(text)))


def parameters_of(function: ast.FunctionDef | ast.AsyncFunctionDef, is_public: bool) -> list[str]:
    """Return the names of a function's parameters, as counted here."""
    arguments = function.args
    names = [each.arg for each in arguments.posonlyargs + arguments.args]
    if not is_public:
        names += [each.arg for each in arguments.kwonlyargs]
    return [name for name in names if name not in ("self", "cls")]


def main(package: Path) -> None:
    counts = dict.fromkeys(
        ("files", "lines of code", "more than six parameters", "connection, bucket_name", "and key"), 0
    )
    lane_sites = []
    for path in sorted(package.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        counts["files"] += 1
        counts["lines of code"] += code_lines(text)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                is_public = path.stem in PUBLIC and not node.name.startswith("_")
                names = parameters_of(node, is_public)
                counts["more than six parameters"] += len(names) > MOST_PARAMETERS
                counts["connection, bucket_name"] += {"connection", "bucket_name"} <= set(names)
                counts["and key"] += {"connection", "bucket_name", "key"} <= set(names)
            is_send = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
            if (
                is_send
                and "_http" not in path.parts
                and ast.unparse(node.func).endswith(("lane.send", "lane.stream", "lane.begin"))
            ):
                lane_sites.append(f"{path}:{node.lineno}")
    for name, count in counts.items():
        print(f"{count:>6}  {name}")
    print(f"{len(lane_sites):>6}  calls of the lane: {' '.join(lane_sites)}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "messageflux_s3"))
