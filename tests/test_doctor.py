"""Each finding of `fastlt doctor`, on machines that have the thing and on machines that lack it."""

from __future__ import annotations

import io
import json
import platform
import subprocess
import sys
from collections import namedtuple
from importlib import metadata
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from fastlt import doctor
from fastlt.doctor import GIB, Finding

REQUIRED = [
    "torch>=2.13",
    "numpy",
    "click>=8",
    f'{doctor.DALI}; platform_system == "Linux"',
    'ruff; extra == "dev"',
]


@pytest.fixture
def installed(monkeypatch) -> dict[str, str]:
    """The versions that the metadata of installed packages give; a test edits them."""
    versions = {
        "fastlt": "0.1.0",
        "torch": "2.14.1+cu130",
        "numpy": "2.1",
        "click": "8.1",
        doctor.DALI: "2.4.0",
    }

    def version(name: str) -> str:
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(doctor.fastlt, "__version__", "0.1.0")
    monkeypatch.setattr(doctor.metadata, "version", version)
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: version(name) and REQUIRED)
    monkeypatch.setattr(doctor.platform, "system", lambda: "Linux")
    return versions


def status_of(finding: Finding) -> tuple[str, bool]:
    return finding.status, bool(finding.advice)


class TestPython:
    def test_the_one_that_runs_this_test(self):
        finding = doctor._python()
        assert finding.status == "ok"
        assert platform.python_version() in finding.detail

    @pytest.mark.parametrize("version", [(3, 9, 18), (3, 14, 0)])
    def test_too_old_or_too_new(self, monkeypatch, version):
        monkeypatch.setattr(doctor.sys, "version_info", version)
        assert status_of(doctor._python()) == ("missing", True)

    def test_another_implementation(self, monkeypatch):
        monkeypatch.setattr(doctor.platform, "python_implementation", lambda: "PyPy")
        finding = doctor._python()
        assert finding.status == "missing"
        assert "CPython" in finding.advice


class TestPackage:
    def test_installed(self, installed):
        assert doctor._package().status == "ok"

    def test_not_installed(self, installed):
        del installed["fastlt"]
        finding = doctor._package()
        assert finding.status == "note"
        assert "not installed" in finding.detail

    def test_a_checkout_that_hides_another_version(self, installed):
        installed["fastlt"] = "0.0.9"
        finding = doctor._package()
        assert status_of(finding) == ("note", True)
        assert "hides the installed 0.0.9" in finding.detail


class TestRequirements:
    def test_torch(self, installed):
        assert doctor._torch_version() == Finding("torch", "ok", "2.14.1+cu130")

    @pytest.mark.parametrize("version", ["2.12.9", "1.13.1"])
    def test_torch_that_is_too_old(self, installed, version):
        installed["torch"] = version
        assert status_of(doctor._torch_version()) == ("missing", True)

    @pytest.mark.parametrize("version", ["2.13.0a0+git1", "3.0"])
    def test_torch_that_is_new_enough(self, installed, version):
        installed["torch"] = version
        assert doctor._torch_version().status == "ok"

    def test_no_torch(self, installed):
        del installed["torch"]
        finding = doctor._torch_version()
        assert (finding.status, finding.advice) == ("missing", "pip install torch")

    def test_the_others_are_listed_without_extras(self, installed):
        assert doctor._requirements() == [Finding("packages", "ok", "numpy 2.1, click 8.1")]

    def test_the_ones_not_there_are_named(self, installed):
        del installed["click"]
        assert doctor._requirements() == [
            Finding("packages", "ok", "numpy 2.1"),
            Finding("packages", "missing", "not installed: click", "pip install click"),
        ]

    def test_unknown_while_fastlt_is_not_installed(self, installed):
        del installed["fastlt"]
        assert doctor._requirements() == []


class TestDali:
    def test_installed(self, installed):
        assert doctor._dali_version() == Finding("DALI", "ok", "2.4.0")

    def test_built_for_another_cuda(self, installed):
        del installed[doctor.DALI]
        installed["nvidia-dali-cuda130"] = "2.5.0"
        assert doctor._dali_version() == Finding("DALI", "ok", "2.5.0")

    def test_not_installed(self, installed):
        del installed[doctor.DALI]
        finding = doctor._dali_version()
        assert (finding.status, finding.advice) == ("missing", f"pip install {doctor.DALI}")

    def test_a_system_it_is_not_made_for(self, installed, monkeypatch):
        monkeypatch.setattr(doctor.platform, "system", lambda: "Darwin")
        finding = doctor._dali_version()
        assert finding.status == "note"
        assert "none for Darwin" in finding.detail
        assert "need DALI" in finding.advice

    def test_runs(self):
        pytest.importorskip("nvidia.dali", reason="DALI is not installed")
        assert doctor._dali_runs().status == "ok"

    def test_decodes_wrongly(self, monkeypatch):
        monkeypatch.setattr(doctor, "_decode", lambda encoded: np.zeros((4, 4, 3), np.uint8))
        finding = doctor._dali_runs()
        assert status_of(finding) == ("missing", True)
        assert "wrong pixels" in finding.detail

    def test_fails(self, monkeypatch):
        def broken(encoded: bytes):
            raise OSError("libdali.so:\n cannot open")

        monkeypatch.setattr(doctor, "_decode", broken)
        finding = doctor._dali_runs()
        assert status_of(finding) == ("missing", True)
        assert finding.detail == "OSError: libdali.so: cannot open"


def stand_in_torch(monkeypatch, *capabilities: tuple[int, int], cuda: str | None = "13.0") -> None:
    """A torch that sees one GPU for each compute capability."""

    def properties(index: int) -> SimpleNamespace:
        major, minor = capabilities[index]
        return SimpleNamespace(name=f"GPU{index}", major=major, minor=minor, total_memory=80 * GIB)

    devices = SimpleNamespace(
        is_available=lambda: bool(capabilities),
        device_count=lambda: len(capabilities),
        get_device_properties=properties,
    )
    cpu = SimpleNamespace(get_capabilities=lambda: {"avx2": True})
    torch = SimpleNamespace(version=SimpleNamespace(cuda=cuda), cuda=devices, cpu=cpu)
    monkeypatch.setitem(sys.modules, "torch", torch)


class TestDevices:
    def test_every_gpu_is_listed_with_what_it_does_natively(self, monkeypatch):
        stand_in_torch(monkeypatch, (9, 0), (7, 5))
        cpu, first, second = doctor._devices()
        assert cpu == Finding("CPU", "ok", "natively fp32")
        assert first == Finding("GPU 0", "ok", "GPU0, 80 GiB, CUDA 13.0, natively fp32, tf32, bf16, fp16")
        assert second.detail.endswith("natively fp32, fp16")

    def test_no_gpu(self, monkeypatch):
        stand_in_torch(monkeypatch)
        monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
        gpu = doctor._devices()[1]
        assert gpu.status == "note"
        assert "running on the CPU" in gpu.detail

    @pytest.mark.parametrize(("cuda", "advice"), [("13.0", "nvidia-smi"), (None, "built with CUDA")])
    def test_a_driver_but_no_gpu_that_torch_can_use(self, monkeypatch, cuda, advice):
        stand_in_torch(monkeypatch, cuda=cuda)
        monkeypatch.setattr(doctor.shutil, "which", lambda name: f"/usr/bin/{name}")
        gpu = doctor._devices()[1]
        assert gpu.status == "note"
        assert advice in gpu.advice

    def test_torch_that_cannot_be_imported(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "torch", None)
        (finding,) = doctor._devices()
        assert (finding.name, *status_of(finding)) == ("torch runs", "missing", True)

    @pytest.mark.parametrize(
        ("capabilities", "precisions"),
        [
            ({"architecture": "x86_64", "avx512_bf16": False}, ["fp32"]),
            ({"avx512_bf16": True}, ["fp32", "bf16"]),
            ({"amx_bf16": True, "avx512_fp16": True}, ["fp32", "bf16", "fp16"]),
            ({"architecture": "aarch64", "bf16": True, "fp16_arith": True}, ["fp32", "bf16", "fp16"]),
        ],
    )
    def test_what_a_cpu_does_natively(self, capabilities, precisions):
        assert doctor._cpu_precisions(capabilities) == precisions


class TestApex:
    @pytest.mark.parametrize(
        ("found", "status", "says"),
        [
            ("ready", "ok", "optimizer.apex=true"),
            ("other", "note", "not NVIDIA's"),
            ("no kernels", "note", "without its kernels"),
            ("absent", "note", "absent"),
        ],
    )
    def test_every_state(self, monkeypatch, found, status, says):
        from fastlt.train import apex

        monkeypatch.setattr(apex, "find", lambda: apex.Apex(found, None, "what to do"))
        finding = doctor._apex()
        assert finding.status == status
        assert says in finding.detail
        assert finding.advice == ("what to do" if status == "note" else "")


@pytest.fixture
def compiled(monkeypatch, tmp_path) -> Path:
    """Where the native library lies: a stand-in made for the CPU alone, which a test may remove or replace."""
    monkeypatch.setattr(doctor.fastlt, "__file__", str(tmp_path / "__init__.py"))
    file = tmp_path / "_native.so"
    file.write_bytes(b"\x7fELF\0fastlt contents: CPU baseline, avx2; no CUDA\0\1")
    return file


class TestOperators:
    def running(self, monkeypatch, namespace: str | None, gpu: bool = False) -> Finding:
        """The finding where the operators are those of `namespace`, with a GPU or without."""
        stand_in_torch(monkeypatch, *([(9, 0)] if gpu else []))
        library = SimpleNamespace(namespace=lambda: namespace, description=lambda: namespace or "references (why)")
        package = ModuleType("fastlt.ops")
        package.library = library
        monkeypatch.setitem(sys.modules, "fastlt.ops", package)
        return doctor._operators()

    def test_compiled(self, monkeypatch, compiled):
        finding = self.running(monkeypatch, "fastlt")
        assert finding == Finding("operators", "ok", "fastlt: the library holds CPU baseline, avx2; no CUDA")

    def test_a_gpu_but_no_kernels_for_it(self, monkeypatch, compiled):
        finding = self.running(monkeypatch, "fastlt", gpu=True)
        assert finding.status == "note"
        assert finding.advice.startswith("install nvcc")

    def test_kernels_for_the_gpu(self, monkeypatch, compiled):
        compiled.write_bytes(b"fastlt contents: CPU baseline; CUDA sm_80, sm_90, PTX 90\0")
        finding = self.running(monkeypatch, "fastlt", gpu=True)
        assert finding.detail.endswith("; CUDA sm_80, sm_90, PTX 90")
        assert status_of(finding) == ("ok", False)

    def test_not_compiled(self, monkeypatch, compiled):
        compiled.unlink()
        finding = self.running(monkeypatch, None)
        assert (finding.status, finding.detail) == ("note", "references (why)")
        assert finding.advice.startswith("install a C++ compiler")

    def test_compiled_but_of_no_use(self, monkeypatch, compiled):
        finding = self.running(monkeypatch, None)
        assert (finding.status, finding.advice) == ("note", doctor.INSTALL_AGAIN)

    def test_looking_only_reads_the_file(self, compiled):
        assert doctor._native_library().detail == "the library holds CPU baseline, avx2; no CUDA"
        compiled.write_bytes(b"of some other make")
        assert doctor._native_library().detail == "the library holds none of ours"
        compiled.unlink()
        assert status_of(doctor._native_library()) == ("note", True)


class TestMachine:
    def test_cores(self):
        usable = int(doctor._cores().detail.split()[0])
        assert 1 <= usable <= (doctor.os.cpu_count() or 1)

    @pytest.mark.parametrize(("size", "status"), [(64 * GIB, "ok"), (2 * GIB, "note")])
    def test_memory(self, monkeypatch, size, status):
        monkeypatch.setattr(doctor, "_memory_bytes", lambda: size)
        finding = doctor._memory()
        assert finding.status == status
        assert finding.detail == f"{size // GIB} GiB"

    def test_memory_of_a_system_that_does_not_tell(self, monkeypatch):
        def unknown(name: str) -> int:
            raise ValueError(name)

        monkeypatch.setattr(doctor.os, "sysconf", unknown)
        assert doctor._memory().status == "note"

    def test_memory_of_a_container(self, tmp_path):
        limit = tmp_path / "memory.max"
        limit.write_text("max\n")
        whole = doctor._memory_bytes(limit)
        limit.write_text("1048576\n")
        assert doctor._memory_bytes(limit) == 2**20 < whole
        assert doctor._memory_bytes(tmp_path / "absent") == whole

    @pytest.mark.parametrize(("free", "status"), [(500 * GIB, "ok"), (GIB, "note")])
    def test_disk(self, monkeypatch, tmp_path, free, status):
        usage = namedtuple("Usage", "free")(free)
        monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: usage)
        finding = doctor._disk(tmp_path)
        assert finding.status == status
        assert str(tmp_path) in finding.detail


class TestShow:
    def shown(self, *findings: Finding) -> str:
        console = Console(width=60, file=io.StringIO())
        doctor.show(list(findings), console)
        return console.file.getvalue()

    def test_advice_stands_under_what_is_missing(self):
        text = self.shown(Finding("torch", "missing", "not installed", "pip install torch[cuda]"))
        assert [line.split() for line in text.splitlines()] == [
            ["missing", "torch", "not", "installed"],
            ["->", "pip", "install", "torch[cuda]"],
            ["to", "mend:", "torch"],
        ]

    def test_notes_are_nothing_to_mend(self):
        text = self.shown(Finding("GPU", "note", "no NVIDIA GPU"), Finding("cores", "ok", "2 of 2 usable"))
        assert text.splitlines()[-1] == "all that fastlt needs is there"


class TestExamine:
    def test_everything_that_is_missing_comes_with_advice(self, installed):
        installed.clear()
        findings = doctor.examine()
        lacking = [finding for finding in findings if finding.status == "missing"]
        assert {finding.name for finding in lacking} >= {"torch", "DALI"}
        assert all(finding.advice for finding in lacking)

    def test_what_is_not_installed_is_not_run(self, installed, monkeypatch):
        del installed["torch"], installed[doctor.DALI]
        monkeypatch.setattr(doctor, "_devices", lambda: pytest.fail("torch is not there"))
        monkeypatch.setattr(doctor, "_dali_runs", lambda: pytest.fail("DALI is not there"))
        doctor.examine()

    def test_looking_only_imports_neither_torch_nor_dali(self):
        code = (
            "import json, sys; from fastlt import doctor; doctor.examine(run=False);"
            "print(json.dumps([name for name in ('torch', 'nvidia.dali', 'timm') if name in sys.modules]))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parent)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == []

    def test_here_everything_runs(self):
        """Where the tests run, torch is there; every line is whole and says something."""
        findings = doctor.examine()
        names = [finding.name for finding in findings]
        assert {"Python", "torch", "CPU", "cores", "memory", "disk", "apex", "operators"} <= set(names)
        assert all(finding.detail and "\n" not in finding.detail for finding in findings)
        assert any(name.startswith("GPU") for name in names)
