"""A hook of MkDocs: the header of the site names the version, and links to the repository if setup.cfg names one."""

from __future__ import annotations

import configparser
from pathlib import Path
from typing import Any


def on_config(config: Any) -> Any:
    settings = configparser.ConfigParser()
    settings.read(Path(__file__).parent.parent / "setup.cfg")
    config["site_name"] = f"{settings['metadata']['name']} {settings['metadata']['version']}"
    config["repo_url"] = config["repo_url"] or settings["metadata"].get("url")
    return config
