"""occupancy.py against NVIDIA's cuda_occupancy.h, wherever a CUDA toolkit or torch's packages bring it."""

import itertools
import shutil
import subprocess
import sysconfig
from pathlib import Path

import occupancy
import pytest
import toolkit


def header_folder() -> Path | None:
    folders = [toolkit.cuda_root() / "include"] if toolkit.cuda_root() else []
    folders += sorted(Path(sysconfig.get_path("purelib")).glob("nvidia/*/include"))
    return next((folder for folder in folders if (folder / "cuda_occupancy.h").exists()), None)


def test_as_nvidia_computes_it(tmp_path):
    folder, compiler = header_folder(), shutil.which("g++")
    if folder is None or compiler is None:
        pytest.skip("needs cuda_occupancy.h, of a CUDA toolkit, and g++")
    program = tmp_path / "occupancy"
    source = Path(__file__).with_name("occupancy.cpp")
    subprocess.run([compiler, f"-I{folder}", str(source), "-o", str(program)], check=True)
    known = ["sm_80", "sm_86", "sm_89", "sm_90", "sm_100"]
    cases = list(itertools.product(known, range(16, 256, 7), (0, 128, 1000, 40000), (32, 96, 128, 256, 512, 1024)))
    lines = []
    for arch, *numbers in cases:
        sm = occupancy.MULTIPROCESSORS[arch]
        lines.append(" ".join(map(str, (*divmod(int(arch[3:]), 10), sm.threads, sm.shared, *numbers))))
    said = subprocess.run([program], input="\n".join(lines), capture_output=True, text=True, check=True).stdout
    for case, blocks in zip(cases, map(int, said.split()), strict=True):
        assert occupancy.resident_blocks(*case) == blocks, case


def test_part_of_the_warps():
    assert occupancy.occupancy("sm_90", 34, 128, 256) == 0.75
    assert occupancy.occupancy("sm_90", 32, 128, 256) == 1
