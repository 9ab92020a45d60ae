"""No CPU kernel reads or writes beyond what kernels.h promises it."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WATCHED = ["-g1", "-O1", "-fsanitize=address"]  # two or three minutes of compiling for each instruction set


def native_build():
    spec = importlib.util.spec_from_file_location("native_build", ROOT / "native_build.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
@pytest.mark.parametrize("instruction_set", ["baseline", "avx2", "avx512"])
def test_every_kernel_stays_within_its_arrays(instruction_set, tmp_path):
    flags = native_build().INSTRUCTION_SETS.get(instruction_set)
    if flags is None or not runs_here(flags):
        pytest.skip(f"this processor has no {instruction_set}")
    common = ["g++", "-std=c++20", "-Wno-psabi", *WATCHED, *flags]
    kernels, program = tmp_path / "kernels.o", tmp_path / "program"
    subprocess.run(
        [*common, f"-DFASTLT_ISA={instruction_set}", "-c", ROOT / "csrc/cpu/kernels.cc", "-o", kernels], check=True
    )
    source = Path(__file__).with_name("cpu_bounds.cpp")
    subprocess.run([*common, f"-DKERNELS=kernels_{instruction_set}", source, kernels, "-o", program], check=True)
    done = subprocess.run([program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) > 2000


def runs_here(flags: list[str]) -> bool:
    known = Path("/proc/cpuinfo")
    if not flags:
        return True
    wanted = [flag.removeprefix("-m") for flag in flags if flag != "-mprfchw"]  # of no effect where it is unknown
    return known.exists() and all(name in known.read_text() for name in wanted)
