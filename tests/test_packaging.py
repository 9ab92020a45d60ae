"""What is installed, from a wheel, from a source distribution and in place, and from where it is imported."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
LOAD_ELSEWHERE = REPOSITORY / "tests/load_elsewhere.py"
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


FIRST_LOSS = """
import torch
from fastlt import ops
from fastlt.ops import library
loss = ops.sigmoid_loss(torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.int8))
print(library.namespace(), round(loss.item(), 4))
"""


def run(python: Path | str, *arguments: str, cwd: Path, path: Path | None = None, **variables: str) -> str:
    """Standard output of a Python started in `cwd`, with `path` as its PYTHONPATH. If it builds, then no library."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "FASTLT_"))}
    environment.update(FASTLT_NATIVE="0", FASTLT_CUDA="0")
    environment.update(variables)
    if path:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run([python, *arguments], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def pip(python: Path | str, *arguments: str, cwd: Path, **variables: str) -> None:
    offline = ("--no-index", "--no-deps", "--no-build-isolation", "--quiet")
    run(sys.executable, "-m", "pip", "--python", str(python), *arguments, *offline, cwd=cwd, **variables)


def folders(python: Path, cwd: Path, path: Path | None = None) -> dict[str, Path]:
    """Where `fastlt` and the three packages beside it come from."""
    files = json.loads(run(python, "-c", WHERE, cwd=cwd, path=path))
    return dict(zip(("fastlt", *BESIDE), (Path(file).parent for file in files), strict=True))


def in_checkout(root: Path) -> dict[str, Path]:
    return {name: root / name for name in ("fastlt", *BESIDE)}


def recipes_of(root: Path) -> dict[str, str]:
    files = (root / "configs").glob("*/*.yaml")  # NAME.sweep.yaml and the like are no recipes
    return {
        f"{file.parent.name}/{file.stem}": file.read_text(encoding="utf-8") for file in files if "." not in file.stem
    }


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A copy of the repository, so that building leaves nothing behind in the real one."""
    copy = tmp_path_factory.mktemp("checkout") / "repository"
    names = ("fastlt", *BESIDE, "csrc", "setup.py", "native_build.py", "pyproject.toml", "MANIFEST.in")
    copy.mkdir()
    for name in (*names, "README.md", "LICENSE"):
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        else:
            shutil.copy2(source, copy / name)
    if (REPOSITORY / "build/native").is_dir():  # what is up to date there need not be compiled again
        shutil.copytree(REPOSITORY / "build/native", copy / "build/native")
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
        assert "cifar10_lt/erm" in found
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
        assert "fastlt = fastlt.__main__:main" in entry_points
        assert 'nvidia-dali-cuda120; platform_system == "Linux"' in metadata.get_all("Requires-Dist")
        assert "LICENSE" in names

    def test_without_the_library_it_is_for_every_platform(self, wheel):
        assert wheel.name.endswith("-py3-none-any.whl")


def contents(wheel: Path) -> dict[str, int]:
    with zipfile.ZipFile(wheel) as archive:
        return {info.filename: info.CRC for info in archive.infolist()}


def test_the_source_distribution_builds_the_same_wheel(checkout, wheel, tmp_path):
    arguments = ("-m", "build", "--sdist", "--no-isolation", "--outdir", str(tmp_path), str(checkout))
    run(sys.executable, *arguments, cwd=tmp_path)
    source = next(tmp_path.glob("fastlt-*.tar.gz"))
    pip(sys.executable, "wheel", "--wheel-dir", str(tmp_path), str(source), cwd=tmp_path)
    assert contents(next(tmp_path.glob("fastlt-*.whl"))) == contents(wheel)
    with tarfile.open(source) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    sources = {file.relative_to(checkout).as_posix() for file in (checkout / "csrc").rglob("*") if file.is_file()}
    assert names >= {"native_build.py", *sources}


COMPILERS = sys.platform == "linux" and shutil.which("g++") and importlib.util.find_spec("torch")


def libraries(file: Path) -> set[str]:
    """The shared libraries that one asks for, without the numbers of their versions."""
    lines = run_tool("readelf", "--dynamic", str(file)).splitlines()
    return {re.search(r"\[([\w+-]+)\.", line)[1] for line in lines if "(NEEDED)" in line}


def run_tool(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def native_wheel(checkout: Path, folder: Path, **variables: str) -> Path:
    """Where a wheel with the library is unpacked."""
    pip(sys.executable, "wheel", "--wheel-dir", str(folder), str(checkout), cwd=folder, FASTLT_NATIVE="1", **variables)
    (wheel,) = folder.glob("fastlt-*.whl")
    platform_tag = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    assert wheel.name.endswith(f"-py3-none-{platform_tag}.whl")
    pip(sys.executable, "install", "--target", str(folder / "unpacked"), str(wheel), cwd=folder)
    return folder / "unpacked"


@pytest.mark.skipif(not COMPILERS, reason="needs Linux, g++ and torch")
class TestNativeLibrary:
    LOADER = f"ld-linux-{platform.machine().replace('_', '-')}"
    NEEDED = {"libtorch_cpu", "libc10", "libstdc++", "libm", "libgcc_s", "libc", LOADER}

    @pytest.fixture(scope="class")
    def unpacked(self, checkout, tmp_path_factory) -> Path:
        return native_wheel(checkout, tmp_path_factory.mktemp("native"))

    def test_is_in_the_wheel_and_computes(self, unpacked, python, tmp_path):
        assert (unpacked / "fastlt/_native.so").is_file()
        assert run(python, "-c", FIRST_LOSS, cwd=tmp_path, path=unpacked) == "fastlt 0.6931\n"

    @pytest.mark.skipif(shutil.which("readelf") is None, reason="there is no readelf")
    def test_asks_for_nothing_but_torch_and_the_compilers_own(self, unpacked):
        assert libraries(unpacked / "fastlt/_native.so") <= self.NEEDED

    @pytest.mark.skipif("FASTLT_OTHER_PYTHON" not in os.environ, reason="FASTLT_OTHER_PYTHON names no other Python")
    @pytest.mark.slow
    def test_computes_in_another_torch(self, unpacked, tmp_path):
        run(os.environ["FASTLT_OTHER_PYTHON"], str(LOAD_ELSEWHERE), cwd=tmp_path, path=unpacked)

    @pytest.mark.skipif(shutil.which("nvcc") is None, reason="there is no nvcc")
    @pytest.mark.slow
    @pytest.mark.timeout(1800)
    def test_kernels_for_cuda_ask_for_nothing_more(self, checkout, python, tmp_path):
        unpacked = native_wheel(checkout, tmp_path, FASTLT_CUDA="1")
        file = unpacked / "fastlt/_native.so"
        assert re.search(rb"fastlt contents: [^\0]*CUDA sm_", file.read_bytes())
        assert libraries(file) <= self.NEEDED
        for other in (python, os.environ.get("FASTLT_OTHER_PYTHON", python)):
            run(other, str(LOAD_ELSEWHERE), cwd=tmp_path, path=unpacked)


class TestWithoutCompiler:
    """Installing works and says what serves; so does the first loss, once."""

    @pytest.fixture(scope="class")
    def installed(self, checkout, tmp_path_factory) -> tuple[Path, str]:
        """The folder, and what was said."""
        folder = tmp_path_factory.mktemp("without")
        variables = {"CXX": "/nonexistent", "FASTLT_NATIVE": "auto"}
        pip(sys.executable, "install", "--target", str(folder), str(checkout), cwd=folder, **variables)
        return folder, (checkout / "build/native/log").read_text()

    def test_installing_says_so(self, installed):
        folder, said = installed
        line = "fastlt: no native library, the plain PyTorch references will serve: no C++ compiler (/nonexistent)\n"
        assert said == line
        assert not (folder / "fastlt/_native.so").exists()

    def test_the_references_serve(self, installed, python, tmp_path):
        pytest.importorskip("torch")
        loud = "import warnings; warnings.showwarning = lambda message, *others: print(message)"
        said = run(python, "-c", f"{loud}{FIRST_LOSS}{FIRST_LOSS}", cwd=tmp_path, path=installed[0]).splitlines()
        assert said[1:] == ["None 0.6931", "None 0.6931"]
        assert "plain PyTorch" in said[0]


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
