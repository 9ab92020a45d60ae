"""Compiles csrc/ into fastlt/_native.so, the operators' library; setup.py calls this while installing.

One file serves every Python, and every torch since 2.13 with CUDA or without: it uses nothing but the LibTorch stable
ABI, holds the CUDA runtime, links torch_cpu and c10 alone, and is loaded by torch.ops.load_library. The CPU kernels are
compiled once for each instruction set, of which the library takes the best at run time. Without a compiler fastlt works
too, on the plain PyTorch references of its operators.

    FASTLT_NATIVE=auto|0|1    build the library where that is possible; never; or fail where it is not
    FASTLT_CUDA=auto|0|1      the same for the CUDA kernels in it: auto builds them if there is nvcc
    FASTLT_CUDA_ARCHS=80,90   the GPUs they are for; PTX of the last serves newer ones
    CXX, NVCC_CCBIN           the C++ compiler; another one for nvcc
    CUDA_HOME, CUDA_PATH      where bin/nvcc lies; else /usr/local/cuda and PATH are searched
    MAX_JOBS                  compilers at a time

`python native_build.py` builds it in place. What has not changed since the last time is not compiled again.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shlex
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from threading import Lock

ROOT = Path(__file__).resolve().parent
OBJECTS = Path("build/native")  # relative to ROOT, as every path in a command: the file shall name no folder of ours
LOG = ROOT / OBJECTS / "log"  # what the last build said; pip keeps it to itself
SPEAKING = Lock()  # compilers end when they like
OLDEST_TORCH = (2, 13)
CONTENTS = "fastlt contents: "  # goes before what the library is made for, in the file
USUAL_CUDA = "/usr/local/cuda"
CUDA_ARCHS = ("80", "90", "100")
MOST_LINES = 40  # of a compiler's words: the first error counts
MOST_JOBS = 4  # of its own accord: each takes up to 2 GB

X86 = platform.machine().lower() in ("x86_64", "amd64")
INSTRUCTION_SETS = {"baseline": []}
if X86:
    INSTRUCTION_SETS["avx2"] = ["-mavx2", "-mfma", "-mf16c", "-mprfchw"]
    INSTRUCTION_SETS["avx512"] = ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mfma", "-mf16c", "-mprfchw"]

DEFINES = [f"-DTORCH_TARGET_VERSION=0x{OLDEST_TORCH[0]:02x}{OLDEST_TORCH[1]:02x}000000000000"]
DEFINES += ["-DFASTLT_X86=1"] if X86 else []
HIDDEN = ["-fPIC", "-fvisibility=hidden"]
# Vectors without -ffast-math: only what leaves NaN, infinity and the order of sums alone.
KERNEL_FLAGS = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-Wno-psabi"]
GCC_KERNEL_FLAGS = ["-fschedule-insns", "-fsched-pressure"]
LINK_FLAGS = ["-Wl,--exclude-libs,ALL", "-Wl,-z,now", "-Wl,-z,defs"]


class CannotBuild(Exception):
    """One line that says what is missing or what failed."""


@dataclass(frozen=True)
class Torch:
    folder: Path
    version: str


@dataclass(frozen=True)
class Cuda:
    nvcc: str
    version: str
    runtime: Path  # libcudart_static.a
    archs: list[str]


@dataclass(frozen=True)
class Unit:
    """One object file and what makes it."""

    name: str
    source: Path
    command: list[str]
    compiler: str  # its version
    cuda: bool = False

    def file(self, suffix: str) -> Path:
        return OBJECTS / (self.name + suffix)


def build(library: Path) -> bool:
    """Makes `library`. False where that is impossible and not asked for; SystemExit where it is."""
    LOG.parent.mkdir(parents=True, exist_ok=True)
    LOG.unlink(missing_ok=True)
    try:
        native, cuda = _choice("FASTLT_NATIVE"), _choice("FASTLT_CUDA")
        if native == "0" and cuda == "1":
            raise SystemExit("FASTLT_NATIVE=0 asks for no native library, FASTLT_CUDA=1 for CUDA kernels in it")
        if native == "0":
            _say("no native library, as FASTLT_NATIVE=0 asks: the plain PyTorch references serve")
            return False
        _make(library, cuda)
    except CannotBuild as error:
        wishes = [f"{name}=1" for name in ("FASTLT_NATIVE", "FASTLT_CUDA") if os.environ.get(name) == "1"]
        if wishes:
            raise SystemExit(f"fastlt: {error}, and {' and '.join(wishes)} asks for the native library") from None
        _say(f"no native library, the plain PyTorch references will serve: {error}")
        return False
    return True


def _make(library: Path, cuda_choice: str) -> None:
    start = time.monotonic()
    if platform.system() != "Linux":
        raise CannotBuild("it is built on Linux only")
    compiler, torch = find_compiler(), find_torch()
    cuda, reason = _optional_cuda(cuda_choice)
    units = [*(_cuda_units(cuda, compiler, torch) if cuda else []), *_cpp_units(compiler, torch)]  # slowest first
    failed = _compile(units, torch)
    if cuda and failed and all(unit.cuda for unit in failed) and cuda_choice != "1":
        cuda, reason = None, "nvcc failed"
        units = [unit for unit in units if not unit.cuda]
    elif failed:
        raise CannotBuild(f"{', '.join({str(unit.source): None for unit in failed})} did not compile")
    contents = _contents(cuda)
    _link(library, compiler, torch, cuda, units, contents)
    size, seconds = library.stat().st_size / 1e6, time.monotonic() - start
    _say(f"native library for {contents}{f' ({reason})' if reason else ''}: {size:.1f} MB in {seconds:.0f} s")


def _contents(cuda: Cuda | None) -> str:
    """What the library is made for; the file holds these words, and `fastlt doctor` finds them there."""
    words = f"CPU {', '.join(INSTRUCTION_SETS)}"
    if not cuda:
        return f"{words}; no CUDA"
    return f"{words}; CUDA {', '.join(f'sm_{arch}' for arch in cuda.archs)}, PTX {cuda.archs[-1]}"


def _say(text: str) -> None:
    line = f"fastlt: {text}"
    with SPEAKING, LOG.open("a") as log:
        print(line, flush=True)
        log.write(line + "\n")


def _choice(variable: str) -> str:
    value = os.environ.get(variable) or "auto"
    if value not in ("0", "1", "auto"):
        raise SystemExit(f"{variable} must be 0, 1 or auto, not {value}")
    return value


# What is there


def find_compiler() -> list[str]:
    names = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "clang++", "c++"]
    for name in names:
        command = shlex.split(name)
        if shutil.which(command[0]):
            return command
    raise CannotBuild(f"no C++ compiler ({', '.join(names)})")


def find_torch() -> Torch:
    """Not imported, which would take seconds."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        raise CannotBuild("no torch in the Python that builds")
    torch = Torch(Path(spec.origin).parent, metadata.version("torch"))
    if tuple(int(number) for number in re.findall(r"\d+", torch.version)[:2]) < OLDEST_TORCH:
        raise CannotBuild(f"torch {torch.version} is older than {'.'.join(map(str, OLDEST_TORCH))}")
    if not (torch.folder / "include/torch/csrc/stable/library.h").is_file():
        raise CannotBuild(f"torch {torch.version} came without its C++ headers")
    return torch


def _optional_cuda(choice: str) -> tuple[Cuda | None, str]:
    """The CUDA compiler, or None and why."""
    if choice == "0":
        return None, "FASTLT_CUDA=0"
    try:
        return find_cuda(), ""
    except CannotBuild as error:
        if choice == "1":
            raise
        return None, str(error)


def find_cuda() -> Cuda:
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), USUAL_CUDA]
    places = [Path(home) / "bin/nvcc" for home in homes if home]
    nvcc = next((str(place) for place in places if place.is_file()), None) or shutil.which("nvcc")
    if nvcc is None:
        raise CannotBuild("no nvcc")
    root = _cuda_root(nvcc)
    for folder in ("lib64", "lib", f"targets/{platform.machine()}-linux/lib", "targets/sbsa-linux/lib"):
        if (root / folder / "libcudart_static.a").is_file():
            runtime = root / folder / "libcudart_static.a"
            return Cuda(nvcc, _answer(nvcc, "--version"), runtime, _archs(nvcc))
    raise CannotBuild(f"no libcudart_static.a beside nvcc in {root}")


def _cuda_root(nvcc: str) -> Path:
    """As nvcc itself says, because the one in PATH may be a script that starts another."""
    found = re.search(r"\bTOP=(.+)", _answer(nvcc, "--dryrun", "-c", "any.cu"))
    if found is None:
        raise CannotBuild(f"{nvcc} does not say where its CUDA is")
    return Path(found.group(1).strip()).resolve()


def _archs(nvcc: str) -> list[str]:
    """Numbers such as 90; the newest last."""
    asked = re.split(r"[;,\s]+", os.environ.get("FASTLT_CUDA_ARCHS", "").strip(";, "))
    archs = [name.removeprefix("sm_") for name in asked if name]
    if not archs:
        known = _answer(nvcc, "--list-gpu-arch").split()
        archs = [arch for arch in CUDA_ARCHS if f"compute_{arch}" in known]
    if not archs or not all(re.fullmatch(r"\d+[af]?", arch) for arch in archs):
        raise CannotBuild(f"FASTLT_CUDA_ARCHS={' '.join(asked)} names no GPUs" if archs else f"{nvcc} is too old")
    return sorted(archs, key=lambda arch: int(arch.rstrip("af")))


def _answer(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise CannotBuild(f"`{shlex.join(command)}` failed")
    return done.stdout + done.stderr


# What is compiled, and how


def _cpp_units(compiler: list[str], torch: Torch) -> list[Unit]:
    version = _answer(*compiler, "--version")
    common = [*compiler, "-std=c++20", *HIDDEN, *DEFINES, *_includes(torch), _renamed(torch)]
    fast = KERNEL_FLAGS if "clang" in version else [*KERNEL_FLAGS, *GCC_KERNEL_FLAGS]
    units = [
        Unit(f"{_name(kernels)}-{isa}", kernels, [*common, *fast, f"-DFASTLT_ISA={isa}", *flags], version)
        for kernels in _sources("cpu/*.cc")
        for isa, flags in INSTRUCTION_SETS.items()
    ]
    return units + [Unit(_name(source), source, [*common, "-O2"], version) for source in _sources("*.cpp", "cpu/*.cpp")]


def _cuda_units(cuda: Cuda, compiler: list[str], torch: Torch) -> list[Unit]:
    version = cuda.version + _answer(*compiler, "--version")
    newest = cuda.archs[-1]
    targets = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in cuda.archs]
    targets.append(f"-gencode=arch=compute_{newest},code=compute_{newest}")
    host = [] if os.environ.get("NVCC_CCBIN") else ["-ccbin", shutil.which(compiler[-1]) or compiler[-1]]
    command = [cuda.nvcc, "-std=c++20", "-O3", *DEFINES, *_includes(torch), *targets, *host]
    command += ["-cudart=static", "--threads=2", *(f'-Xcompiler="{flag}"' for flag in (*HIDDEN, _renamed(torch)))]
    return [Unit(_name(source), source, command, version, cuda=True) for source in _sources("cuda/*.cu")]


def _includes(torch: Torch) -> list[str]:
    return ["-isystem", str(torch.folder / "include")]


def _renamed(torch: Torch) -> str:
    """Error messages name torch's headers without the folder that they happen to be in."""
    return f"-ffile-prefix-map={torch.folder}=torch"


def _sources(*patterns: str) -> list[Path]:
    return [file.relative_to(ROOT) for pattern in patterns for file in sorted((ROOT / "csrc").glob(pattern))]


def _name(source: Path) -> str:
    return "-".join(source.relative_to("csrc").with_suffix("").parts)


def _compile(units: list[Unit], torch: Torch) -> list[Unit]:
    """Brings every object up to date, compilers side by side. The units whose source does not compile."""
    with ThreadPoolExecutor(_jobs()) as pool:
        good = list(pool.map(lambda unit: _compile_one(unit, torch), units))
    return [unit for unit, there in zip(units, good, strict=True) if not there]


def _jobs() -> int:
    asked = os.environ.get("MAX_JOBS")
    if asked and not (asked.isdecimal() and int(asked)):
        raise SystemExit(f"MAX_JOBS must be a number above 0, not {asked}")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return int(asked) if asked else min(cores, MOST_JOBS)


def _compile_one(unit: Unit, torch: Torch) -> bool:
    start, stamp = time.time(), ROOT / unit.file(".stamp")
    if (ROOT / unit.file(".o")).is_file() and stamp.is_file() and stamp.read_text() == _fingerprint(unit, torch):
        return True
    stamp.unlink(missing_ok=True)
    output = ["-MMD", "-MF", str(unit.file(".d")), "-c", str(unit.source), "-o", str(unit.file(".o"))]
    done = subprocess.run([*unit.command, *output], cwd=ROOT, capture_output=True, text=True)
    report = "\n".join((done.stdout + done.stderr).splitlines()[:MOST_LINES])
    verb = "does not compile:" if done.returncode else f"compiled in {time.time() - start:.0f} s"
    _say(f"{unit.name} {verb}" + (f"\n{report}" if report else ""))
    if done.returncode == 0 and all(file.stat().st_mtime < start for file in _inputs(unit)):  # none edited meanwhile
        stamp.write_text(_fingerprint(unit, torch))
    return done.returncode == 0


def _inputs(unit: Unit) -> list[Path]:
    """The source and the headers that it included when it was last compiled; torch's and the system's left out."""
    listed = ROOT / unit.file(".d")
    words = listed.read_text().split() if listed.is_file() else [str(unit.source)]
    return [ROOT / word for word in words if word.startswith("csrc/")]


def _fingerprint(unit: Unit, torch: Torch) -> str:
    """Of all that the object is made from: the command, the compiler, torch's version, the source and its headers."""
    command = [word.replace(str(torch.folder), "torch") for word in unit.command]
    fingerprint = hashlib.sha256(repr((command, unit.compiler, torch.version)).encode())
    for file in _inputs(unit):
        fingerprint.update(file.read_bytes() if file.is_file() else b"gone")
    return fingerprint.hexdigest()


def _link(library: Path, compiler: list[str], torch: Torch, cuda: Cuda | None, units: list[Unit], words: str) -> None:
    """Into a new file that takes the old one's place, which a running process may have mapped."""
    objects = [str(unit.file(".o")) for unit in units]
    libraries = [f"-L{torch.folder / 'lib'}", "-ltorch_cpu", "-lc10"]
    if cuda:
        libraries += [str(cuda.runtime), "-lrt", "-lpthread", "-ldl"]
    library.parent.mkdir(parents=True, exist_ok=True)
    fresh = library.with_suffix(".new").resolve()
    note = f'[[gnu::used]] static const char contents[] = "{CONTENTS}{words}";'
    output = [*libraries, *LINK_FLAGS, "-o", str(fresh), "-x", "c++", "-"]
    done = subprocess.run(
        [*compiler, "-shared", *objects, *output], input=note, cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode:
        _say(f"the objects do not link:\n{(done.stdout + done.stderr).strip()}")
        raise CannotBuild("it does not link")
    fresh.replace(library)


if __name__ == "__main__":
    raise SystemExit(None if build(ROOT / "fastlt/_native.so") else 1)
