"""New botocore sessions that share what they have read of boto3's service models.

A session of botocore reads the model of S3 anew, which takes a tenth of a second and 12 MB for each client. The models are the same for all
sessions with the same ``data_path``.
"""

from __future__ import annotations

from pathlib import Path

import boto3
import botocore.session
from botocore.loaders import Loader, create_loader

_BOTO3_DATA = str(Path(boto3.__file__).parent / "data")
_loaders: dict[str | None, Loader] = {}


class _SharedLoader(Loader):
    @property
    def search_paths(self) -> list[str]:
        """A copy of the paths, since each ``boto3.Session`` appends the path of boto3's data to the list that it gets here."""
        return [*super().search_paths]


def new_core_session(profile: str | None = None) -> botocore.session.Session:
    """Return a new botocore session.

    Args:
        profile: The name of an AWS profile; None for that of the environment.

    Raises:
        botocore.exceptions.ProfileNotFound: There is no such profile.
    """
    core = botocore.session.Session(profile=profile)
    path: str | None = core.get_config_variable("data_path")
    loader = _loaders.get(path)
    if loader is None:
        paths = [*create_loader(path).search_paths, _BOTO3_DATA]
        loader = _loaders.setdefault(path, _SharedLoader(paths, include_default_search_paths=False))
    core.register_component("data_loader", loader)
    return core
