"""What is distributed: the wheel has the package and nothing else, and works by itself."""

from __future__ import annotations

import configparser
import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import messageflux_s3 as s3

ROOT = Path(__file__).parent.parent
# These are imported only when they are needed.
LATE = [
    "IPython",
    "boto3",
    "fsspec",
    "ipywidgets",
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
    """A folder with wheel and sdist, built from a copy of the whole checkout, so that nothing is left there."""
    copy, out = tmp_path_factory.mktemp("checkout") / "copy", tmp_path_factory.mktemp("dist")
    shutil.copytree(
        ROOT, copy, ignore=shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "site", "venv")
    )
    assert all((copy / folder).is_dir() for folder in ("tests", "docs", "benchmarks", "examples"))
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
    assert (metadata["License-Expression"] or metadata["License"]) == "MIT"
    assert metadata["License-File"] == "LICENSE"
    classifiers = metadata.get_all("Classifier") or []
    interpreters = {text.rpartition(" ")[2] for text in classifiers if re.search(r"Python :: 3\.\d+$", text)}
    assert interpreters == {"3.10", "3.11", "3.12", "3.13"}
    assert "Typing :: Typed" in classifiers
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert "# messageflux-s3" in str(metadata.get_payload())


def test_the_sdist_builds_the_same_version(built: Path) -> None:
    """The sdist contains everything that the build needs, and neither tests nor docs, which need the whole checkout."""
    [sdist] = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"setup.cfg", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "messageflux_s3/py.typed"} <= names
    assert {name.split("/")[0] for name in names if "/" in name} == {"messageflux_s3", "messageflux_s3.egg-info"}
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


def test_the_wheel_installs_into_a_bare_environment_without_a_network(built: Path, tmp_path: Path) -> None:
    """It can be imported there without its dependencies; what needs boto3 says so when it is used. Type checkers find py.typed."""
    venv.create(tmp_path / "bare", with_pip=False)
    [python] = [path for path in (tmp_path / "bare").glob("*/python*") if path.stem == "python"]
    install = ["install", "-q", "--no-deps", "--no-index", "--disable-pip-version-check", str(wheel_of(built))]
    environment = {
        name: value for name, value in os.environ.items() if name != "PYTHONPATH"
    }  # pip takes what is there for installed
    pip = [sys.executable, "-m", "pip", "--python", str(python)]
    subprocess.run([*pip, *install], env=environment, check=True, capture_output=True)
    program = (
        "import importlib.metadata, pathlib, messageflux_s3\n"
        "folder = pathlib.Path(messageflux_s3.__file__).parent\n"
        "print(folder.parent.name, (folder / 'py.typed').exists(), messageflux_s3.S3NoSuchItem.__mro__[2].__name__)\n"
        "print(importlib.metadata.version('messageflux-s3') == messageflux_s3.__version__)\n"
        "try:\n"
        "    messageflux_s3.connect\n"
        "except ModuleNotFoundError as error:\n"
        "    print(error.name)\n"
    )
    ended = subprocess.run(
        [str(python), "-I", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.stdout.splitlines()[:2] == ["site-packages True FileNotFoundError", "True"], ended.stderr
    assert ended.stdout.splitlines()[2] in ("boto3", "botocore", "cachetools", "httptools"), ended.stderr


def test_the_embedded_server_needs_only_what_the_extra_local_names(tmp_path: Path) -> None:
    """It runs where nothing is installed but the run-time dependencies, the extra ``local``, and what these need."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    wanted = settings["options"]["install_requires"] + settings["options.extras_require"]["local"]
    for name in needed_by(wanted.strip().splitlines()):
        for file in distribution(name).files or ():
            top, target = file.parts[0], tmp_path / file.parts[0]
            if top not in ("..", "__pycache__") and not target.exists():
                target.symlink_to(Path(str(distribution(name).locate_file(top))))
    program = (
        f"import sys; sys.path += [{str(tmp_path)!r}, {str(ROOT)!r}]\n"
        "import messageflux_s3 as s3\n"
        "with s3.LocalS3() as local:\n"
        "    bucket = local.bucket('scratch')\n"
        "    bucket.put_object('k', 'hello')\n"
        "    print(bucket['k'].text)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert ended.stdout == "hello\n", ended.stderr
    assert not {"cfn-lint", "docker", "openapi-spec-validator", "sympy"} & needed_by(wanted.strip().splitlines())


def needed_by(requirements: list[str]) -> set[str]:
    """Return the names of the distributions that these requirements need in this environment, directly and indirectly."""
    found: set[str] = set()
    pending = [(Requirement(line), "") for line in requirements]
    seen: set[str] = set()
    while pending:
        wanted, extra = pending.pop()
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": extra}):
            continue
        for asked in ("", *sorted(wanted.extras)):
            if (form := f"{wanted.name.lower()}[{asked}]") not in seen:
                seen.add(form)
                found.add(wanted.name.lower())
                pending += [(Requirement(line), asked) for line in distribution(wanted.name).requires or ()]
    return found


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
    """The version is that of the changelog's newest entry, unless that one is marked as unreleased."""
    [newest, *released] = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    entry = released[0] if newest.endswith("(unreleased)") else newest
    assert entry.split()[0] == s3.__version__


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
