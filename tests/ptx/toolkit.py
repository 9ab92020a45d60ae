"""NVIDIA's tools, wherever they are installed, and what they say of the built library."""

from __future__ import annotations

import re
import shutil
import subprocess
import sysconfig
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
LIBRARY = REPOSITORY / "fastlt" / "_native.so"
# Below site-packages: the packages nvidia-cuda-cuobjdump and nvidia-cuda-nvdisasm, and Triton's own copies.
PACKAGES = ("nvidia/*/bin", "triton/backends/nvidia/bin")


class Missing(RuntimeError):
    """What a check needs is not on this machine; the message says what."""


@dataclass
class Machine:
    """What ptxas made of one kernel for one architecture."""

    arch: str  # "sm_90"
    kernel: str  # the mangled name
    registers: int = 0
    stack: int = 0
    shared: int = 0
    local: int = 0
    opcodes: Counter = field(default_factory=Counter)

    def count(self, pattern: str) -> int:
        """How many of its instructions match the pattern from their beginning on."""
        return sum(n for opcode, n in self.opcodes.items() if re.match(pattern, opcode))


@lru_cache
def cuda_root() -> Path | None:
    """As nvcc itself says it: the nvcc in PATH may be a wrapper script."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        return None
    said = subprocess.run([nvcc, "--dryrun", "-c", "none.cu"], capture_output=True, text=True).stderr
    found = re.search(r"TOP=(\S+)", said)
    return Path(found[1]).resolve() if found else None


@lru_cache
def tool(name: str) -> Path:
    """Raises Missing."""
    folders = [cuda_root() / "bin"] if cuda_root() else []
    packages = Path(sysconfig.get_path("purelib"))
    folders += [folder for pattern in PACKAGES for folder in sorted(packages.glob(pattern))]
    found = shutil.which(name) or next((folder / name for folder in folders if (folder / name).is_file()), None)
    if found is None:
        raise Missing(f"no {name}: it is in the CUDA toolkit, and in the package nvidia-cuda-{name}")
    return Path(found)


def run(*command: str | Path, cwd: str | Path | None = None) -> str:
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True, cwd=cwd).stdout


def check_library(library: Path = LIBRARY) -> None:
    """Raises Missing where there is nothing of CUDA to look at."""
    if not library.exists():
        raise Missing(f"{library.name} is not built: pip install --no-build-isolation -e .")
    if b".nv_fatbin" not in library.read_bytes():
        raise Missing(f"{library.name} was built without CUDA")


def shipped_ptx(library: Path = LIBRARY) -> str:
    """The PTX inside the library, or what nvcc makes of its sources where nothing can take it out. Raises Missing."""
    check_library(library)
    try:
        cuobjdump = tool("cuobjdump")
    except Missing:
        return compiled_ptx()
    with tempfile.TemporaryDirectory() as folder:
        run(cuobjdump, "-xptx", "all", library.resolve(), cwd=folder)
        return "\n".join(path.read_text() for path in sorted(Path(folder).glob("*.ptx")))


def compiled_ptx(arch: str = "compute_90") -> str:
    """PTX of csrc/cuda/*.cu."""
    if cuda_root() is None:
        raise Missing("neither cuobjdump nor nvcc")
    from torch.utils.cpp_extension import include_paths

    includes = [f"-I{path}" for path in include_paths()]
    defines = ["-DTORCH_TARGET_VERSION=0x020d000000000000"]
    with tempfile.TemporaryDirectory() as folder:
        for source in (REPOSITORY / "csrc" / "cuda").glob("*.cu"):
            out = Path(folder) / f"{source.stem}.ptx"
            run("nvcc", "-ptx", "-std=c++20", "-O3", f"-arch={arch}", *defines, *includes, source, "-o", out)
        return "\n".join(path.read_text() for path in sorted(Path(folder).glob("*.ptx")))


def machine_code(library: Path = LIBRARY) -> list[Machine]:
    """Every kernel in the library for every architecture it was compiled for. Raises Missing."""
    check_library(library)
    cuobjdump, nvdisasm = tool("cuobjdump"), tool("nvdisasm")
    found = _resources(run(cuobjdump, "-res-usage", library))
    with tempfile.TemporaryDirectory() as folder:
        run(cuobjdump, "-xelf", "all", library.resolve(), cwd=folder)
        for cubin in Path(folder).glob("*.cubin"):
            arch = re.search(r"sm_\w+?(?=\.)", cubin.name)[0]
            _count_opcodes(run(nvdisasm, "-c", cubin), arch, found)
    return [found[key] for key in sorted(found)]


def _resources(text: str) -> dict[tuple[str, str], Machine]:
    found: dict[tuple[str, str], Machine] = {}
    arch = kernel = ""
    for line in text.splitlines():
        if match := re.match(r"arch = (sm_\w+)", line):
            arch = match[1]
        elif match := re.search(r"Function (\S+):", line):
            kernel = match[1]
        elif "REG:" in line:
            used = {name: int(value) for name, value in re.findall(r"(\w+):(\d+)", line)}
            numbers = used["REG"], used["STACK"], used["SHARED"], used["LOCAL"]
            found[arch, kernel] = Machine(arch, kernel, *numbers)
    return found


OPCODE = re.compile(r"\s+(?:/\*\w+\*/\s+)?(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_]*(?:\.[A-Za-z0-9_]+)*)")


def _count_opcodes(text: str, arch: str, found: dict[tuple[str, str], Machine]) -> None:
    machine = None
    for line in text.splitlines():
        if match := re.match(r"\.text\.(\S+):", line):
            machine = found.get((arch, match[1]))
        elif machine is not None and (match := OPCODE.match(line)):
            machine.opcodes[match[1]] += 1


def demangled(names: list[str]) -> dict[str, str]:
    """Mangled -> as in the source, without arguments."""
    if not shutil.which("c++filt"):
        return {name: name for name in names}
    said = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True).stdout
    return dict(zip(names, said.splitlines(), strict=True))
