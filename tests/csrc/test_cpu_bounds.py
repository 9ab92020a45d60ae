"""No CPU kernel reads or writes beyond what kernels.h, pictures.h and norm.h promise it."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WATCHED = ["-g1", "-O1", "-fsanitize=address"]  # some minutes of compiling for the losses, half a minute for pictures


def native_build():
    spec = importlib.util.spec_from_file_location("native_build", ROOT / "native_build.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
each_instruction_set = pytest.mark.parametrize("instruction_set", ["baseline", "avx2", "avx512"])


@pytest.mark.slow
@pytest.mark.timeout(1200)
@needs_compiler
@each_instruction_set
def test_every_kernel_stays_within_its_arrays(instruction_set, tmp_path):
    assert watched_runs(instruction_set, "kernels", "cpu_bounds.cpp", tmp_path) > 2000


@pytest.mark.slow
@needs_compiler
@each_instruction_set
def test_every_picture_is_read_and_written_within_its_arrays(instruction_set, tmp_path):
    assert watched_runs(instruction_set, "picture_kernels", "picture_bounds.cpp", tmp_path) > 10000


@pytest.mark.slow
@needs_compiler
@each_instruction_set
def test_every_norm_stays_within_its_arrays(instruction_set, tmp_path):
    assert watched_runs(instruction_set, "norm_kernels", "norm_bounds.cpp", tmp_path) > 1000


def watched_runs(instruction_set: str, kernels: str, program: str, folder: Path) -> int:
    """Builds the program and the kernels that it runs, under the sanitizer; how many runs it says there were."""
    flags = native_build().INSTRUCTION_SETS.get(instruction_set)
    if flags is None or not runs_here(flags):
        pytest.skip(f"this processor has no {instruction_set}")
    common = ["g++", "-std=c++20", "-Wno-psabi", *WATCHED, *flags]
    compiled, built = folder / "kernels.o", folder / "program"
    source = ROOT / f"csrc/cpu/{kernels}.cc"
    subprocess.run([*common, f"-DFASTLT_ISA={instruction_set}", "-c", source, "-o", compiled], check=True)
    main = Path(__file__).with_name(program)
    subprocess.run([*common, f"-DKERNELS={kernels}_{instruction_set}", main, compiled, "-o", built], check=True)
    done = subprocess.run([built], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[0])


def runs_here(flags: list[str]) -> bool:
    known = Path("/proc/cpuinfo")
    if not flags:
        return True
    wanted = [flag.removeprefix("-m") for flag in flags if flag != "-mprfchw"]  # of no effect where it is unknown
    return known.exists() and all(name in known.read_text() for name in wanted)
