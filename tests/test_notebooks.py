"""The notebooks in examples/ run from clean, and their committed outputs are those of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parent.parent / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))


def executed(path: Path) -> Any:
    """The notebook after a run from clean; a cell that fails raises."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(EXAMPLES.parent)}}).execute()
    return notebook


def kinds_of_outputs(notebook: Any) -> list[list[list[str]]]:
    """Return the kinds of each cell's outputs; the values contain times and ports."""
    return [
        [sorted(output.get("data", {output.output_type: ""})) for output in cell.outputs]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def test_there_is_at_least_one_notebook() -> None:
    """There are notebooks for the test below."""
    assert len(NOTEBOOKS) >= 3


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_notebook_runs_and_gives_its_committed_output(path: Path) -> None:
    """No cell fails, and the committed outputs are those of a run."""
    assert kinds_of_outputs(executed(path)) == kinds_of_outputs(nbformat.read(path, as_version=4))
