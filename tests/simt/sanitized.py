"""Builds and runs the programs of this folder: plain, with the address and undefined-behaviour sanitizers, with the
thread sanitizer, which takes every simulated thread for a thread of its own."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import library

PROGRAMS = library.HERE / "programs"
KERNEL_PROGRAMS = ("sigmoid", "softmax", "contrastive")
# Sanitized code compiles slowly, and most of its time is the sanitizer's.
MODES = {
    "plain": ["-O1"],
    "address": ["-O0", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"],
    "thread": ["-O0", "-g1", "-fsanitize=thread"],
}


@dataclass(frozen=True)
class Outcome:
    """How a program ended; `code` is None if it did not end in time."""

    code: int | None
    output: str


def command(mode: str, source: Path, include: Path = library.HERE) -> list[str]:
    """Compiles and links a program, but for `-o`."""
    language = ["-std=c++20", "-fno-strict-aliasing", "-DFASTLT_SIM", f"-I{include}"]
    return [library.compiler(), *language, *MODES[mode], *library.torch_flags(), str(source)]


def program(name: str, mode: str) -> Path:
    """The program's file, built if need be."""
    source = PROGRAMS / f"{name}.cpp"

    def build(folder: Path) -> Path:
        library.compile_to(folder / "program", command(mode, source))
        return folder / "program"

    return library.kept(f"{name}_{mode}", command(mode, source), build, PROGRAMS)


def run(path: Path, *arguments: object) -> Outcome:
    """Runs a program."""
    line = [str(path), *map(str, arguments)]
    outcome = _run(line)
    # Older thread sanitizers cannot work with as random addresses as newer kernels give.
    if "unexpected memory mapping" in outcome.output and shutil.which("setarch"):
        outcome = _run(["setarch", "--addr-no-randomize", *line])
    return outcome


def _run(line: list[str], timeout: float = 280) -> Outcome:
    try:
        done = subprocess.run(line, capture_output=True, text=True, errors="replace", timeout=timeout)
    except subprocess.TimeoutExpired:
        return Outcome(None, f"did not end within {timeout} s")
    return Outcome(done.returncode, done.stdout + done.stderr)
