"""Every example runs, on an S3 server of its own: the Python blocks of README.md and docs/, the right column of the tables there that
set new code beside old, and the ``>>>`` examples of the docstrings.

Each document and each docstring finds ``s3`` (the package), ``store`` (on a fresh LocalS3 of this process) and ``bucket`` (new and empty).
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import io
import re
import uuid
from collections.abc import Iterator
from doctest import ELLIPSIS, NORMALIZE_WHITESPACE, OutputChecker
from doctest import Example as DoctestExample
from typing import Any

from sybil import Document, Example, Region, Sybil
from sybil.parsers.markdown import CodeBlockParser, SkipParser
from sybil.parsers.rest import DocTestParser

import messageflux_s3


def _begin(namespace: dict[str, Any]) -> None:
    server = _server()
    store = server.connect()
    namespace.update(s3=messageflux_s3, store=store, bucket=store.create_bucket(f"examples-{uuid.uuid4().hex[:12]}"))


class FreshBucketParser:
    """Gives every docstring a bucket of its own, so that no example sees what another one wrote."""

    def __call__(self, document: Document) -> Iterator[Region]:
        if ">>>" in document.text:  # of a Python file, Sybil hands over one docstring after the other
            yield Region(0, 1, document.text, lambda example: _begin(example.namespace))


def _run(example: Example) -> None:
    """Runs a Python block, and keeps what it printed for the text block behind it."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(example.parsed, example.document.path, "exec"), example.namespace)
    example.namespace["_said"] = said.getvalue()


def _compare(example: Example) -> None:
    """What a text block directly behind a Python block shows is what that one printed; "..." stands for anything."""
    before = example.document.text[: example.start].rstrip().removesuffix("```")
    if example.document.text[: example.start].rstrip() == before or not before[before.rfind("```") :].startswith(
        "```python"
    ):
        return
    wanted, said = example.parsed, example.namespace["_said"]
    flags = ELLIPSIS | NORMALIZE_WHITESPACE
    if not OutputChecker().check_output(wanted, said, flags):
        raise AssertionError(OutputChecker().output_difference(DoctestExample("", wanted), said, flags))


class NewColumnParser:
    """Runs the code in the right column of every table that is headed "old" and "new"."""

    def __call__(self, document: Document) -> Iterator[Region]:
        at, in_table = 0, False
        for line in document.text.splitlines(keepends=True):
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            if cells == ["old", "new"]:
                in_table = True
            elif not line.startswith("|"):
                in_table = False
            elif in_table and (statements := re.findall(r"`([^`]+)`", cells[-1])):
                yield Region(at, at + len(line), "\n".join(statements), self.evaluate)
            at += len(line)

    def evaluate(self, example: Example) -> None:
        code = compile(example.parsed, example.document.path, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        awaited = eval(code, example.namespace)
        if awaited is not None:  # one event loop for the whole document, as in the program that it is about
            if "_loop" not in example.namespace:
                example.namespace["_loop"] = asyncio.new_event_loop()
            example.namespace["_loop"].run_until_complete(awaited)


_started: list[messageflux_s3.LocalS3] = []


def _server() -> messageflux_s3.LocalS3:
    """Started at the first example, so that a run of other tests alone does not wait for it."""
    if not _started:
        _started.append(messageflux_s3.LocalS3())
    return _started[0]


def pytest_unconfigure() -> None:
    """The examples' server ends with the run."""
    while _started:
        _started.pop().close()


pytest_collect_file = (
    Sybil(
        parsers=[CodeBlockParser("python", _run), CodeBlockParser("text", _compare), NewColumnParser(), SkipParser()],
        patterns=["README.md", "docs/*.md", "docs/**/*.md"],
        setup=_begin,
    )
    + Sybil(
        parsers=[FreshBucketParser(), DocTestParser(optionflags=ELLIPSIS | NORMALIZE_WHITESPACE)],
        patterns=["messageflux_s3/*.py", "messageflux_s3/**/*.py"],
        setup=_begin,
    )
).pytest()
