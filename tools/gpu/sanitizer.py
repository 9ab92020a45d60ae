"""compute-sanitizer over gpu/program.py. Without a GPU the program runs alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from .part import Part, Skip, main

TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")
FAULTS_FOUND = 97


def run(part: Part) -> None:
    part.require_kernels()
    program = [sys.executable, "-m", "gpu.program", "--device", part.device, *(["--quick"] if part.quick else [])]
    part.attempt("the program alone", lambda: _run(program))
    if not part.on_gpu:
        part.details["tools"] = "none: they need a GPU"
        return
    sanitizer = _find()
    for tool in TOOLS:
        options = ["--tool", tool, "--error-exitcode", str(FAULTS_FOUND), *_watched(tool)]
        part.attempt(tool, lambda options=options: _run([sanitizer, *options, *program]))
    part.details["tools"] = ", ".join(TOOLS)


def _watched(tool: str) -> list[str]:
    """Our kernels alone, as torch's own are many; but initcheck must see what they write."""
    return [] if tool == "initcheck" else ["--kernel-name", "kernel_substring=fastlt"]


def _run(command: list[str]) -> None:
    """With an allocation for each tensor, so that one array's end is not the next one's beginning."""
    print("+", *command, flush=True)
    ended = subprocess.run(command, env=os.environ | {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"})
    if ended.returncode == FAULTS_FOUND:
        raise AssertionError("it found faults: see the log")
    if ended.returncode:
        raise RuntimeError(f"exit status {ended.returncode}: see the log")


def _find() -> str:
    homes = (os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda")
    places = [Path(home) / "bin" / "compute-sanitizer" for home in homes if home]
    found = shutil.which("compute-sanitizer") or next((str(place) for place in places if place.is_file()), None)
    if found is None:
        raise Skip("no compute-sanitizer: it comes with the CUDA toolkit")
    return found


if __name__ == "__main__":
    main(run)
