"""What this machine has of what fastlt needs, and what to do about the rest.

Each check is a function that returns findings. Versions come from the metadata of installed packages; the
checks that import torch and DALI, which takes seconds, run them for real.
"""

from __future__ import annotations

import importlib
import io
import os
import platform
import re
import shutil
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Literal

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

import fastlt

GIB = 2**30
OLDEST_TORCH = (2, 13)
DALI = "nvidia-dali-cuda120"
INSTALL_AGAIN = "run the installation again (in a checkout: make install)"
_STYLES = {"ok": "green", "missing": "bold red", "note": "yellow"}


@dataclass(frozen=True)
class Finding:
    """One line of the report: `missing` must be mended before training, a `note` is good to know."""

    name: str
    status: Literal["ok", "missing", "note"]
    detail: str
    advice: str = ""


def examine(run: bool = True) -> list[Finding]:
    """Everything fastlt depends on. `run=False` imports neither torch nor DALI: it says what is installed."""
    findings = [_python(), _package(), _torch_version(), *_requirements(), _dali_version()]
    if run and _found(findings, "torch"):
        findings += _devices()
    torch_runs = _found(findings, "CPU")
    findings.append(_operators() if torch_runs else _native_library())
    if torch_runs:
        findings.append(_apex())
    if run and _found(findings, "DALI"):
        findings.append(_dali_runs())
    return [*findings, _cores(), _memory(), _disk(Path.cwd())]


def show(findings: list[Finding], console: Console) -> None:
    """A table of the findings, what to do under each that lacks something, and one line that sums up."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for finding in findings:
        status = Text(finding.status, style=_STYLES[finding.status])
        advice = f"\n-> {finding.advice}" if finding.advice else ""
        table.add_row(status, finding.name, Text(finding.detail + advice))
    console.print(table)
    missing = [finding.name for finding in findings if finding.status == "missing"]
    console.print(f"to mend: {', '.join(missing)}" if missing else "all that fastlt needs is there")


def _found(findings: list[Finding], name: str) -> bool:
    return any(finding.name == name and finding.status == "ok" for finding in findings)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _python() -> Finding:
    detail = f"{platform.python_implementation()} {platform.python_version()} ({sys.executable})"
    if platform.python_implementation() != "CPython":
        return Finding("Python", "missing", detail, "PyTorch and DALI are built for CPython: use that")
    if not (3, 10) <= sys.version_info[:2] <= (3, 13):
        return Finding("Python", "missing", detail, "use Python 3.10 to 3.13")
    return Finding("Python", "ok", detail)


def _package() -> Finding:
    folder = Path(fastlt.__file__).parent
    installed = _version("fastlt")
    if installed is None:
        advice = "run `pip install -e .` in the repository root to have the command everywhere"
        return Finding("fastlt", "note", f"{fastlt.__version__} from {folder}, not installed", advice)
    if installed != fastlt.__version__:
        detail = f"{fastlt.__version__} from {folder} hides the installed {installed}"
        return Finding("fastlt", "note", detail, "leave that folder, or run `pip install -e .` in it")
    return Finding("fastlt", "ok", f"{installed} from {folder}")


def _torch_version() -> Finding:
    version = _version("torch")
    if version is None:
        return Finding("torch", "missing", "not installed", "pip install torch")
    if tuple(int(number) for number in re.findall(r"\d+", version)[:2]) < OLDEST_TORCH:
        advice = 'pip install --upgrade "torch>=2.13" torchvision'
        return Finding("torch", "missing", f"{version} is too old", advice)
    return Finding("torch", "ok", version)


def _requirements() -> list[Finding]:
    """Every other package that fastlt requires, as its own metadata lists them."""
    try:
        lines = metadata.requires("fastlt") or []
    except metadata.PackageNotFoundError:
        return []
    names = [re.split(r"[\s;<>=!~\[]", line)[0] for line in lines if "extra ==" not in line]
    versions = {name: _version(name) for name in names if name not in ("torch", DALI)}
    found = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    lacking = " ".join(name for name, version in versions.items() if not version)
    findings = [Finding("packages", "ok", found)] if found else []
    if lacking:
        findings.append(Finding("packages", "missing", f"not installed: {lacking}", f"pip install {lacking}"))
    return findings


def _dali_version() -> Finding:
    if platform.system() != "Linux":
        detail = f"there is none for {platform.system()}: build, inspect and verify work without it"
        advice = "all other commands need DALI: use Linux, such as in a container"
        return Finding("DALI", "note", detail, advice)
    version = _version(DALI) or _version("nvidia-dali-cuda130")
    if version is None:
        return Finding("DALI", "missing", "not installed", f"pip install {DALI}")
    return Finding("DALI", "ok", version)


def _devices() -> list[Finding]:
    """What torch computes on. An NVIDIA driver without a device that torch can use is worth advice."""
    try:
        torch = importlib.import_module("torch")
    except Exception as error:  # a broken library raises whatever it likes
        advice = "pip install --force-reinstall torch torchvision"
        return [Finding("torch runs", "missing", _one_line(error), advice)]
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
    precisions = ", ".join(_cpu_precisions(torch.cpu.get_capabilities()))
    findings = [Finding("CPU", "ok", f"natively {precisions}")]
    if torch.cuda.is_available():
        return findings + [_gpu(torch, index) for index in range(torch.cuda.device_count())]
    if shutil.which("nvidia-smi") is None:
        detail = f"no NVIDIA GPU: running on the CPU (torch is built with {build})"
        return [*findings, Finding("GPU", "note", detail)]
    detail = f"there is an NVIDIA driver, but torch (built with {build}) cannot use a GPU"
    advice = "pip install a torch that is built with CUDA"
    if torch.version.cuda:
        advice = "run nvidia-smi: is a GPU listed, its CUDA as new as torch's? Else update the driver"
    return [*findings, Finding("GPU", "note", detail, advice)]


def _gpu(torch: ModuleType, index: int) -> Finding:
    device = torch.cuda.get_device_properties(index)
    precisions = ", ".join(_gpu_precisions((device.major, device.minor)))
    memory = f"{device.total_memory / GIB:.0f} GiB"
    detail = f"{device.name}, {memory}, CUDA {torch.version.cuda}, natively {precisions}"
    return Finding(f"GPU {index}", "ok", detail)


def _gpu_precisions(capability: tuple[int, int]) -> list[str]:
    """Formats with matrix units of their own: fp16 since Volta (7.0), tf32 and bf16 since Ampere (8.0)."""
    precisions = ["fp32"]
    if capability >= (8, 0):
        precisions += ["tf32", "bf16"]
    if capability >= (7, 0):
        precisions.append("fp16")
    return precisions


def _cpu_precisions(capabilities: dict[str, object]) -> list[str]:
    """Formats with instructions of their own on x86 and ARM, by torch's names for them."""
    has = {name for name, there in capabilities.items() if there is True}
    precisions = ["fp32"]
    if has & {"avx512_bf16", "amx_bf16", "bf16"}:
        precisions.append("bf16")
    if has & {"avx512_fp16", "amx_fp16", "fp16_arith"}:
        precisions.append("fp16")
    return precisions


def _native_library() -> Finding:
    """What the compiled operators are made for, by the words that the build left in the file."""
    file = Path(fastlt.__file__).with_name("_native.so")
    if not file.is_file():
        advice = f"install a C++ compiler and {INSTALL_AGAIN}: compiled ones are several times as fast"
        return Finding("operators", "note", "not compiled: the plain PyTorch references serve", advice)
    words = re.search(rb"fastlt contents: ([^\0]+)", file.read_bytes())
    return Finding("operators", "ok", f"the library holds {words[1].decode() if words else 'none of ours'}")


def _operators() -> Finding:
    """What computes the losses here, and for which processors there is a compiled one."""
    from fastlt.ops import library

    compiled = _native_library()
    if library.namespace() is None:
        return Finding("operators", "note", library.description(), compiled.advice or INSTALL_AGAIN)
    detail = f"{library.description()}: {compiled.detail}"
    if "no CUDA" in compiled.detail and importlib.import_module("torch").cuda.is_available():
        return Finding("operators", "note", detail, f"install nvcc, the CUDA compiler, and {INSTALL_AGAIN}")
    return Finding("operators", "ok", detail)


def _dali_runs() -> Finding:
    """Decodes a tiny picture through a DALI graph on the CPU."""
    try:
        pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
        decoded = _decode(_png(pixels))
    except Exception as error:  # a broken library raises whatever it likes
        return Finding("DALI runs", "missing", _one_line(error), f"pip install --force-reinstall {DALI}")
    if not np.array_equal(decoded, pixels):
        advice = f"pip install --force-reinstall {DALI}"
        return Finding("DALI runs", "missing", "a picture comes out of it with wrong pixels", advice)
    return Finding("DALI runs", "ok", "decodes a picture on the CPU")


def _png(pixels: np.ndarray) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _decode(encoded: bytes) -> np.ndarray:
    """uint8 [H, W, 3] of an encoded picture."""
    from nvidia.dali import fn, pipeline_def

    @pipeline_def(batch_size=1, num_threads=1, device_id=None)
    def graph():
        source = fn.external_source(source=lambda: [np.frombuffer(encoded, np.uint8)])
        return fn.decoders.image(source, device="cpu")

    pipeline = graph()
    pipeline.build()
    return np.array(pipeline.run()[0][0])


def _apex() -> Finding:
    """NVIDIA apex is optional; PyPI's package of that name is another project."""
    from fastlt.train import apex

    found = apex.find()
    if found.status == "ready":
        return Finding("apex", "ok", "NVIDIA's, with its kernels: --set optimizer.apex=true uses them")
    reason = {
        "absent": "absent, which is fine",
        "other": "a package of that name that is not NVIDIA's",
        "no kernels": "NVIDIA's, but without its kernels",
    }[found.status]
    return Finding("apex", "note", f"{reason}: torch's fused optimisers are used", found.advice)


def _cores() -> Finding:
    total = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else total
    return Finding("cores", "ok", f"{usable} of {total} usable")


def _memory() -> Finding:
    total = _memory_bytes()
    if total is None:
        return Finding("memory", "note", "this system does not tell")
    advice = "train with smaller batches and data.prefetch=1" if total < 4 * GIB else ""
    return Finding("memory", "note" if advice else "ok", f"{total / GIB:.0f} GiB", advice)


def _memory_bytes(limit: Path = Path("/sys/fs/cgroup/memory.max")) -> int | None:
    """The machine's memory, or the limit of the container if that is lower."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
    try:
        return min(total, int(limit.read_text()))
    except (OSError, ValueError):  # no container, or its limit is "max"
        return total


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    advice = "shards and checkpoints take space: free some or write elsewhere" if free < 10 * GIB else ""
    return Finding("disk", "note" if advice else "ok", f"{free / GIB:.0f} GiB free in {folder}", advice)


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}"
