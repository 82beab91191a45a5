"""A hook of MkDocs: the notebooks of examples/, with the outputs that are committed, and the changelog are pages of the site."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent


@event_priority(100)  # before the plugin that makes pages of notebooks
def on_files(files: Files, config: Any) -> Files:
    for page in [*sorted((ROOT / "examples").glob("*.ipynb")), ROOT / "CHANGELOG.md"]:
        file = File(page.name, str(page.parent), config["site_dir"], config["use_directory_urls"])
        files.append(file)
    return files


def on_page_markdown(markdown: str, *, page: Any, **kwargs: Any) -> str:
    """The changelog's links start at the project's folder; on the site its page is among those of docs/."""
    return markdown.replace("](docs/", "](") if page.file.src_uri == "CHANGELOG.md" else markdown
