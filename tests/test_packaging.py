"""What is installed, from a wheel, from a source distribution and in place, and from where it is imported."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
BESIDE = ("pipelines", "configs", "bench")
NEEDED = ("pip", "setuptools", "build")
LACKING = [name for name in NEEDED if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(LACKING), reason=f"building needs {', '.join(LACKING)}")

WHERE = """
import json
import fastlt, fastlt.pipelines, fastlt.configs, fastlt.bench
print(json.dumps([m.__file__ for m in (fastlt, fastlt.pipelines, fastlt.configs, fastlt.bench)]))
"""
RECIPES = """
import json
from fastlt import resources
print(json.dumps({name: resources.recipe(name) for name in resources.list_recipes()}))
"""
HEAVY = """
import json, sys
import fastlt, fastlt.resources
fastlt.resources.list_recipes()
print(json.dumps([name for name in ("torch", "nvidia", "timm", "numpy") if name in sys.modules]))
"""


def run(python: Path | str, *arguments: str, cwd: Path, path: Path | None = None) -> str:
    """Standard output of a Python started in `cwd`, with `path` as its PYTHONPATH."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    if path:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run([python, *arguments], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def pip(python: Path | str, *arguments: str, cwd: Path) -> None:
    offline = ("--no-index", "--no-deps", "--no-build-isolation", "--quiet")
    run(sys.executable, "-m", "pip", "--python", str(python), *arguments, *offline, cwd=cwd)


def folders(python: Path, cwd: Path, path: Path | None = None) -> dict[str, Path]:
    """Where `fastlt` and the three packages beside it come from."""
    files = json.loads(run(python, "-c", WHERE, cwd=cwd, path=path))
    return dict(zip(("fastlt", *BESIDE), (Path(file).parent for file in files), strict=True))


def in_checkout(root: Path) -> dict[str, Path]:
    return {name: root / name for name in ("fastlt", *BESIDE)}


def recipes_of(root: Path) -> dict[str, str]:
    files = (root / "configs").glob("*/*.yaml")
    return {f"{file.parent.name}/{file.stem}": file.read_text(encoding="utf-8") for file in files}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A copy of the repository, so that building leaves nothing behind in the real one."""
    copy = tmp_path_factory.mktemp("checkout") / "repository"
    names = ("fastlt", *BESIDE, "setup.py", "pyproject.toml", "README.md", "LICENSE")
    copy.mkdir()
    for name in names:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, copy / name)
    return copy


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Path:
    """A fresh environment that sees the packages of this one, but no editable install of fastlt.

    A folder named in a .pth file is searched, but the .pth files in it, which make editable installs, are not.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    own = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    Path(own, "outer.pth").write_text(sysconfig.get_path("purelib"))
    return python


@pytest.fixture(scope="module")
def wheel(checkout, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    pip(sys.executable, "wheel", "--wheel-dir", str(out), str(checkout), cwd=out)
    return next(out.glob("fastlt-*.whl"))


@pytest.fixture(scope="module")
def bare_folder(wheel, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bare")
    pip(sys.executable, "install", "--target", str(folder), str(wheel), cwd=folder)
    return folder


@pytest.fixture(scope="module")
def editable(checkout, python, tmp_path_factory) -> Path:
    """A Python in whose environment `checkout` is installed in place."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    pip(python, "install", "--ignore-installed", "--editable", str(checkout), cwd=elsewhere)
    return python


class TestWheel:
    def test_imports_from_outside(self, python, bare_folder, tmp_path):
        inside = {name: bare_folder / "fastlt" / name for name in BESIDE}
        assert folders(python, tmp_path, bare_folder) == {"fastlt": bare_folder / "fastlt", **inside}

    def test_in_the_repository_root_all_comes_from_the_repository(self, python, bare_folder):
        assert folders(python, REPOSITORY, bare_folder) == in_checkout(REPOSITORY)

    def test_finds_every_recipe(self, python, bare_folder, tmp_path):
        found = json.loads(run(python, "-c", RECIPES, cwd=tmp_path, path=bare_folder))
        assert "cifar10/erm" in found
        assert found == recipes_of(REPOSITORY)

    def test_importing_it_is_light(self, python, bare_folder, tmp_path):
        assert json.loads(run(python, "-c", HEAVY, cwd=tmp_path, path=bare_folder)) == []

    def test_holds_every_module_and_recipe_and_nothing_else(self, wheel, checkout):
        expected = set()
        for folder in ("fastlt", *BESIDE):
            prefix = "" if folder == "fastlt" else "fastlt/"
            for file in (checkout / folder).rglob("*"):
                if file.suffix in (".py", ".yaml"):
                    expected.add(prefix + file.relative_to(checkout).as_posix())
        with zipfile.ZipFile(wheel) as archive:
            names = {name for name in archive.namelist() if ".dist-info/" not in name}
        assert names == expected

    def test_metadata(self, wheel):
        with zipfile.ZipFile(wheel) as archive:
            names = {Path(name).name: name for name in archive.namelist() if ".dist-info/" in name}
            metadata = message_from_bytes(archive.read(names["METADATA"]))
            entry_points = archive.read(names["entry_points.txt"]).decode()
        assert set(metadata["Requires-Python"].split(",")) == {">=3.10", "<3.14"}
        assert metadata["License-Expression"] == "Apache-2.0"
        assert "fastlt = fastlt.cli:main" in entry_points
        assert 'nvidia-dali-cuda120; platform_system == "Linux"' in metadata.get_all("Requires-Dist")
        assert "LICENSE" in names


def contents(wheel: Path) -> dict[str, int]:
    with zipfile.ZipFile(wheel) as archive:
        return {info.filename: info.CRC for info in archive.infolist()}


def test_the_source_distribution_builds_the_same_wheel(checkout, wheel, tmp_path):
    arguments = ("-m", "build", "--sdist", "--no-isolation", "--outdir", str(tmp_path), str(checkout))
    run(sys.executable, *arguments, cwd=tmp_path)
    source = next(tmp_path.glob("fastlt-*.tar.gz"))
    pip(sys.executable, "wheel", "--wheel-dir", str(tmp_path), str(source), cwd=tmp_path)
    assert contents(next(tmp_path.glob("fastlt-*.whl"))) == contents(wheel)


class TestEditable:
    def test_imports_from_outside(self, editable, checkout, tmp_path):
        assert folders(editable, tmp_path) == in_checkout(checkout)

    def test_imports_from_its_root(self, editable, checkout):
        assert folders(editable, checkout) == in_checkout(checkout)

    def test_in_the_root_of_another_checkout_all_comes_from_that_one(self, editable):
        assert folders(editable, REPOSITORY) == in_checkout(REPOSITORY)

    def test_finds_every_recipe(self, editable, checkout, tmp_path):
        assert json.loads(run(editable, "-c", RECIPES, cwd=tmp_path)) == recipes_of(checkout)


def test_only_the_three_folders_of_a_checkout_are_taken_in(python):
    names = "'fastlt.tests', 'fastlt.setup', 'fastlt.fastlt'"
    code = f"from importlib.util import find_spec; print([find_spec(name) for name in ({names})])"
    assert run(python, "-c", code, cwd=REPOSITORY).strip() == "[None, None, None]"


def test_a_checkout_needs_no_install(python):
    """`python -m fastlt` in a fresh clone, where the requirements are there and fastlt is not."""
    assert folders(python, REPOSITORY) == in_checkout(REPOSITORY)
