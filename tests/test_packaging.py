"""What is distributed: the wheel has the package and nothing else, and works by itself."""

from __future__ import annotations

import configparser
import email
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import messageflux_s3 as s3

ROOT = Path(__file__).parent.parent
# These are imported only when they are needed.
LATE = [
    "IPython",
    "boto3",
    "fsspec",
    "lxml",
    "matplotlib",
    "messageflux",
    "moto",
    "numpy",
    "pandas",
    "pyarrow",
    "pytest",
    "tqdm",
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with wheel and sdist, built from a copy of the tracked files, so that nothing is left in the checkout."""
    copy, out = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("dist")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        (copy / name).write_bytes((ROOT / name).read_bytes())
    for path in (ROOT / "messageflux_s3").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts and ".mypy_cache" not in path.parts:
            target = copy / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(copy)]
    subprocess.run(command, check=True, capture_output=True, cwd=out)
    return out


def wheel_of(built: Path) -> Path:
    [wheel] = built.glob("*.whl")
    return wheel


def test_the_wheel_has_the_package_and_nothing_else(built: Path) -> None:
    """Every module, py.typed and the licence; no tests, no docs, no benchmarks."""
    with zipfile.ZipFile(wheel_of(built)) as wheel:
        names = set(wheel.namelist())
    assert {name.split("/")[0].split("-")[0] for name in names} == {"messageflux_s3"}
    modules = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "messageflux_s3").rglob("*.py")
        if ".mypy_cache" not in path.parts
    }
    assert modules | {"messageflux_s3/py.typed"} == {name for name in names if name.startswith("messageflux_s3/")}
    assert any(name.endswith("/LICENSE") for name in names)


def test_the_wheel_metadata_equal_setup_cfg(built: Path) -> None:
    """Name, version, interpreters, extras, entry points."""
    with zipfile.ZipFile(wheel_of(built)) as wheel:
        [place] = [name for name in wheel.namelist() if name.endswith("/METADATA")]
        metadata = email.message_from_bytes(wheel.read(place))
        points = configparser.ConfigParser()
        points.read_string(wheel.read(place.replace("METADATA", "entry_points.txt")).decode())
    assert (metadata["Name"], metadata["Version"], metadata["Requires-Python"]) == (
        "messageflux-s3",
        s3.__version__,
        ">=3.10",
    )
    extras = set(metadata.get_all("Provides-Extra") or ())
    assert {"local", "pandas", "arrow", "progress", "fsspec", "messageflux", "plot", "notebook", "dev"} <= extras
    needed = [line for line in metadata.get_all("Requires-Dist") or () if "extra ==" not in line]
    assert sorted(re.split(r"[<>=]", line)[0] for line in needed) == ["boto3", "botocore", "cachetools", "httptools"]
    assert dict(points["pytest11"]) == {"messageflux_s3": "messageflux_s3.testing"}
    assert points["fsspec.specs"]["mfs3"] == "messageflux_s3.fs:MessagefluxS3FileSystem"


def test_the_sdist_builds_the_same_version(built: Path) -> None:
    """The sdist contains everything that the build needs."""
    [sdist] = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"setup.cfg", "pyproject.toml", "README.md", "LICENSE", "messageflux_s3/py.typed"} <= names
    assert s3.__version__ in sdist.name


def test_it_works_from_the_wheel_alone_and_imports_no_extra(built: Path, tmp_path: Path) -> None:
    """Imported where there is no checkout, with its run-time dependencies, none of the extras comes along."""
    program = (
        "import sys, messageflux_s3\n"
        "assert '.whl' in messageflux_s3.__file__, messageflux_s3.__file__\n"
        f"print([name for name in {LATE!r} if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(wheel_of(built))}
    told = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
    )
    assert told.stdout.strip() == "[]"


def test_every_name_in_all_can_be_imported() -> None:
    """__all__ is sorted and without duplicates, and every name in it can be imported."""
    assert sorted(set(s3.__all__)) == list(s3.__all__)
    for name in s3.__all__:
        try:
            assert getattr(s3, name) is not None
        except ImportError as error:  # where messageflux is not installed, its two stores say which extra they need
            assert name.endswith("MessageStore")
            assert "messageflux-s3[messageflux]" in str(error)


def test_the_changelog_has_an_entry_for_this_version() -> None:
    """The version is that of the changelog's newest entry, or not yet released."""
    entries = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert entries[0] in ("Unreleased", f"[{s3.__version__}]", s3.__version__)


@pytest.mark.parametrize(
    ("missing", "module", "extra"), [("fsspec", "fs", "fsspec"), ("messageflux", "message_store", "messageflux")]
)
def test_a_missing_extra_is_named(missing: str, module: str, extra: str) -> None:
    """The import of a module that needs an extra names what to install."""
    program = f"import sys; sys.modules[{missing!r}] = None; import messageflux_s3.{module}"
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=Path(__file__).parents[1], check=False
    )
    assert ended.returncode == 1
    assert f"pip install 'messageflux-s3[{extra}]'" in ended.stderr.splitlines()[-1]


def test_dir_lists_lazily_loaded_names() -> None:
    """dir() lists all public names, also those not loaded yet."""
    assert set(s3.__all__) <= set(dir(s3))
