"""The tests that the pages about testing show pass under pytest; the other examples of these pages run with all the documentation's."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGES = Path(__file__).parents[1] / "docs/howto"


@pytest.mark.parametrize(("page", "blocks_with_tests", "tests"), [("testing-your-code.md", 5, 6), ("faults.md", 2, 3)])
def test_the_tests_of_the_page_pass_under_pytest(page: str, blocks_with_tests: int, tests: int, tmp_path: Path) -> None:
    """In a folder of their own, with the fixtures of the installed package and nothing else."""
    blocks = re.findall(r"^```python\n(.*?)^```", (PAGES / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    shown = [block for block in blocks if "def test_" in block]
    assert len(shown) == blocks_with_tests
    file = tmp_path / "test_reports.py"
    file.write_text("\n".join(shown), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(file)]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert f"{tests} passed" in ended.stdout, ended.stdout + ended.stderr
