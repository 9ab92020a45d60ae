"""Builds libfastlt_sim.so: the CUDA operators' own text, run on the CPU by the simulator, as the library `fastlt_sim`.

A build is kept under a name made from everything that it depends on, in $FASTLT_TEST_CACHE or the user's cache folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
CSRC = HERE.parents[1] / "csrc"
SOURCES = [CSRC / "schemas.cpp", *sorted((CSRC / "cuda").glob("*.cu")), HERE / "simulator_ops.cpp"]
# Kernels read packs of values by casts; the oldest torch that the library is built for is 2.13.
LANGUAGE = ["-std=c++20", "-fno-strict-aliasing", "-DFASTLT_SIM", f"-I{HERE}"]
LIBRARY = [*LANGUAGE, "-O2", "-fPIC", "-fvisibility=hidden", "-DFASTLT_LIBRARY=fastlt_sim"]
TARGET = "-DTORCH_TARGET_VERSION=0x020d000000000000"


def compiler() -> str | None:
    """The C++ compiler, or None; the simulator needs GCC (or what takes its options)."""
    return shutil.which(os.environ.get("CXX", "g++"))


@cache
def torch_folder() -> Path:
    """Where torch is installed, found without importing it."""
    return Path(importlib.util.find_spec("torch").submodule_search_locations[0])


def torch_flags() -> list[str]:
    return [TARGET, "-isystem", str(torch_folder() / "include")]


def cache_folder() -> Path:
    """A folder that outlives the test run, where there is one to write to."""
    named = os.environ.get("FASTLT_TEST_CACHE")
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(named) if named else Path(home) / "fastlt-tests"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder = Path(tempfile.gettempdir()) / "fastlt-tests"
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def texts(*more: Path) -> list[Path]:
    """Every file that a simulated build may include; `more` folders beside those of the library."""
    folders = [CSRC, CSRC / "cuda", HERE, HERE / "simulator", *more]
    kinds = {".h", ".cuh", ".cu", ".cpp"}
    return sorted(path for folder in folders for path in folder.iterdir() if path.suffix in kinds)


def fingerprint(flags: list[str], *more: Path) -> str:
    """Changes with any source, the flags, the compiler and torch."""
    digest = hashlib.sha256(repr(flags).encode())
    digest.update(subprocess.run([compiler(), "--version"], capture_output=True, check=True).stdout)
    digest.update((torch_folder() / "version.py").read_bytes())
    for path in texts(*more):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def compile_to(out: Path, command: list[str]) -> None:
    """Runs the compiler; what it says becomes the error."""
    done = subprocess.run([*command, "-o", str(out)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr[-4000:]}")


def kept(name: str, flags: list[str], build: Callable[[Path], Path], *more: Path) -> Path:
    """The file NAME with the fingerprint in its name; `build(folder)` makes it if it is not there yet.

    Built aside and renamed, so a broken-off build leaves nothing.
    """
    stem, dot, suffix = name.partition(".")
    out = cache_folder() / f"{stem}-{fingerprint([name, *flags], *more)}{dot}{suffix}"
    with _alone(cache_folder() / f"{stem}.lock"):
        if not out.exists():
            with tempfile.TemporaryDirectory(dir=cache_folder()) as folder:
                os.replace(build(Path(folder)), out)
            forget_old(f"{stem}-*{dot}{suffix}")
    return out


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Only one process at a time is inside, so that two do not build the same."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def forget_old(pattern: str, keep: int = 6) -> None:
    """Removes all but the newest builds."""
    builds = sorted(cache_folder().glob(pattern), key=lambda path: path.stat().st_mtime)
    for path in builds[:-keep]:
        path.unlink(missing_ok=True)


def library_path() -> Path:
    """The simulated library, built if need be (half a minute)."""
    return kept("libfastlt_sim.so", LIBRARY, _build_library)


def _build_library(folder: Path) -> Path:
    def compiled(source: Path) -> str:
        out = folder / f"{source.name}.o"
        compile_to(out, [compiler(), "-x", "c++", *LIBRARY, *torch_flags(), "-c", str(source)])
        return str(out)

    with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        objects = list(pool.map(compiled, SOURCES))
    out, libraries = folder / "library.so", torch_folder() / "lib"
    compile_to(out, [compiler(), "-shared", *objects, f"-L{libraries}", "-ltorch_cpu", "-lc10", "-Wl,-z,defs"])
    return out


if __name__ == "__main__":
    print(library_path())
