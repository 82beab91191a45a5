"""A hook of MkDocs: the notebooks of examples/ are pages of the site, with the outputs that are committed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

EXAMPLES = Path(__file__).parent.parent / "examples"


@event_priority(100)  # before the plugin that makes pages of notebooks
def on_files(files: Files, config: Any) -> Files:
    for notebook in sorted(EXAMPLES.glob("*.ipynb")):
        file = File(notebook.name, str(EXAMPLES), config["site_dir"], config["use_directory_urls"])
        files.append(file)
    return files
