"""The Makefile on machines that lack things: stand-ins take the place of Python and of what PATH offers."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
SHELL_TOOLS = ("sh", "touch", "mkdir", "cat", "chmod", "echo")
PYTEST = "-m pytest -n auto --maxprocesses 8 --dist loadfile"
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")

# A Python that knows how to make environments, and in them writes down what it is asked to do.
RECORDER = """#!/bin/sh
echo "$*" >> "{log}"
case "$*" in *"{fails}"*) exit 1;; esac
"""
MAKER = """#!/bin/sh
case "$*" in
    "-m venv "*)
        echo "$*" >> "{log}"
        mkdir -p "$3/bin"; cat "{recorder}" > "$3/bin/python"; chmod +x "$3/bin/python";;
    *) exec {python} "$@";;
esac
"""
# A real Python in which one thing is otherwise.
CHANGED = """#!/bin/sh
[ "$1" = --version ] && {{ echo "Python {version}"; exit; }}
exec {python} -c "{change}
$2"
"""


class Machine:
    """A folder with the Makefile and a PATH that has nothing but a shell, its tools and what a test adds."""

    def __init__(self, folder: Path):
        self.folder, self.programs = folder, folder / "programs"
        self.log = folder / "log"
        self.programs.mkdir()
        for tool in SHELL_TOOLS:
            (self.programs / tool).symlink_to(shutil.which(tool))
        for name in ("Makefile", "pyproject.toml", "setup.py", "native_build.py"):
            shutil.copy(REPOSITORY / name, folder)
        self.add("python3", self.maker())

    def add(self, name: str, text: str) -> Path:
        file = self.programs / name
        file.write_text(text)
        file.chmod(0o755)
        return file

    def maker(self, fails: str = "nothing at all") -> str:
        recorder = self.folder / "recorder"
        recorder.write_text(RECORDER.format(log=self.log, fails=fails))
        return MAKER.format(log=self.log, recorder=recorder, python=shlex.quote(sys.executable))

    def changed_python(self, change: str, version: str = "3.12.0") -> None:
        text = CHANGED.format(version=version, change=change, python=shlex.quote(sys.executable))
        self.add("python3", text)

    def make(self, *arguments: str) -> subprocess.CompletedProcess:
        environment = {"PATH": str(self.programs), "HOME": str(self.folder)}
        command = [shutil.which("make"), *arguments]
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True)

    def did(self) -> list[str]:
        """What was asked of Python since the last look, without the question for pip."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return [line for line in lines if line != "-m pip --version"]


@pytest.fixture
def machine(tmp_path) -> Machine:
    return Machine(tmp_path)


INSTALL = ["-m pip install --quiet setuptools>=77 torch>=2.13", "-m pip install --no-build-isolation --editable .[dev]"]


@pytest.mark.parametrize(
    ("target", "commands"),
    [
        ("demo", ["-m fastlt demo"]),
        ("test", [f"{PYTEST} -m not slow"]),
        ("test-all", [PYTEST]),
        ("lint", ["-m ruff check ."]),
        ("gpu-check", ["tools/gpu_check.py --out gpu-check"]),
        ("bench", ["-m fastlt bench all --out bench-results"]),
    ],
)
def test_each_target_makes_the_environment_installs_and_runs(machine, target, commands):
    assert machine.make(target).returncode == 0
    assert machine.did() == ["-m venv .venv", *INSTALL, *commands]


def test_the_second_time_nothing_is_installed(machine):
    machine.make("test")
    machine.did()
    assert machine.make("test").returncode == 0
    assert machine.did() == [f"{PYTEST} -m not slow"]


def test_an_environment_that_is_there_is_used(machine):
    machine.make("install")
    machine.did()
    (machine.folder / ".venv/.installed").unlink()
    machine.make("install")
    assert machine.did() == INSTALL


def test_new_requirements_are_installed(machine):
    machine.make("install")
    machine.did()
    later = (machine.folder / ".venv/.installed").stat().st_mtime + 10
    os.utime(machine.folder / "pyproject.toml", (later, later))
    machine.make("install")
    assert machine.did() == INSTALL


@pytest.mark.parametrize("source", ["csrc/schemas.cpp", "csrc/cpu/kernels.cc", "csrc/cuda/simt.h"])
def test_an_edited_operator_is_compiled_again(machine, source):
    file = machine.folder / source
    file.parent.mkdir(parents=True)
    file.touch()
    machine.make("install")
    machine.did()
    later = (machine.folder / ".venv/.installed").stat().st_mtime + 10
    os.utime(file, (later, later))
    machine.make("install")
    assert machine.did() == INSTALL


def test_what_compiling_said_is_shown(machine):
    log = machine.folder / "build/native/log"
    log.parent.mkdir(parents=True)
    log.write_text("fastlt: no native library\n")
    assert "\nfastlt: no native library\n" in machine.make("install").stdout


def test_an_installation_that_failed_is_taken_up_again(machine):
    machine.add("python3", machine.maker(fails="--editable"))
    assert machine.make("test").returncode != 0
    assert machine.did() == ["-m venv .venv", *INSTALL]
    (machine.folder / ".venv/bin/python").write_text(RECORDER.format(log=machine.log, fails="nothing at all"))
    assert machine.make("test").returncode == 0
    assert machine.did() == [*INSTALL, f"{PYTEST} -m not slow"]


def test_folder_and_extras_can_be_chosen(machine):
    machine.make("lint", "VENV=other/place", "EXTRAS=dev,weights")
    assert machine.did()[0] == "-m venv other/place"
    assert (machine.folder / "other/place/.installed").exists()
    assert not (machine.folder / ".venv").exists()


def test_no_compiler_and_no_gpu_are_worth_one_line(machine):
    done = machine.make("demo")
    notes = [line for line in done.stdout.splitlines() if line.startswith("note:")]
    assert notes == [
        "note: no C++ compiler (the plain PyTorch references of the operators serve), "
        "no NVIDIA GPU (everything runs on the CPU)"
    ]
    assert done.returncode == 0


def test_a_machine_with_both_is_told_nothing(machine):
    machine.add("g++", "#!/bin/sh\n")
    machine.add("nvidia-smi", "#!/bin/sh\n")
    assert "note:" not in machine.make("demo").stdout


def test_a_driver_without_a_gpu_is_no_gpu(machine):
    machine.add("g++", "#!/bin/sh\n")
    machine.add("nvidia-smi", "#!/bin/sh\nexit 9\n")
    assert "note: no NVIDIA GPU (everything runs on the CPU)\n" in machine.make("demo").stdout


def complaint(done: subprocess.CompletedProcess) -> str:
    """The one line before make's own."""
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert len(lines) == 1
    return lines[0]


def test_no_python(machine):
    (machine.programs / "python3").unlink()
    assert complaint(machine.make("test")).startswith("no python3 found: install Python 3.10 to 3.13")


@pytest.mark.parametrize("version", ["3.9.18", "3.14.0"])
def test_a_python_that_is_too_old_or_too_new(machine, version):
    numbers = tuple(int(number) for number in version.split("."))
    machine.changed_python(f"import sys; sys.version_info = {numbers}", version)
    line = complaint(machine.make("test"))
    assert line.startswith(f"Python {version} is too old or too new: fastlt needs 3.10 to 3.13;")
    assert not (machine.folder / ".venv").exists()


def test_a_python_that_cannot_make_environments(machine):
    machine.changed_python("import sys; sys.modules['ensurepip'] = None")
    assert "install its venv package" in complaint(machine.make("test"))


def test_clean_keeps_the_environment_and_the_runs(machine):
    for tool in ("rm", "find"):
        (machine.programs / tool).symlink_to(shutil.which(tool))
    folders = ("fastlt/__pycache__", "pipelines", "configs", "bench", "tests", "build", ".pytest_cache")
    for name in (*folders, ".venv", "runs"):
        (machine.folder / name).mkdir(parents=True)
    assert machine.make("clean").returncode == 0
    left = {path.name for path in machine.folder.iterdir() if path.is_dir()}
    assert left == {"fastlt", "pipelines", "configs", "bench", "tests", ".venv", "runs", "programs"}
    assert not (machine.folder / "fastlt/__pycache__").exists()
