"""What native_build.py makes of stand-in sources, which compile at once, where tools are there, lacking or failing."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import stat
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
SOURCES = {
    "shared.h": "inline int one() { return 1; }",
    "schemas.cpp": '#include "shared.h"\nint schemas() { return one(); }',
    "cpu/ops.cpp": "int operators() { return 2; }",
    "cpu/kernels.cc": "#define JOIN(a, b) a##b\n#define NAME(a, b) JOIN(a, b)\nint NAME(kernel_, FASTLT_ISA)();",
    "cuda/ops.cu": '#include "../shared.h"\nint cuda_operators() { return one(); }',
}
# Says what nvcc says, with its CUDA elsewhere than beside it, and compiles for the processor.
NVCC = """#!/bin/sh
case "$*" in
    --version) echo "a stand-in"; exit;;
    --list-gpu-arch) echo compute_80; echo compute_90; exit;;
    --dryrun*) echo '#$ TOP={root}/bin/..' >&2; exit;;
esac
echo "$*" >> {root}/asked
while [ $# -gt 0 ]; do
    case "$1" in -c) source="$2"; shift;; -o) object="$2"; shift;; -MF) depends="$2"; shift;; esac
    shift
done
exec g++ -fPIC -x c++ -MMD -MF "$depends" -c "$source" -o "$object"
"""
pytestmark = pytest.mark.skipif(
    platform.system() != "Linux" or not shutil.which("g++") or importlib.util.find_spec("torch") is None,
    reason="needs Linux, g++ and torch",
)


class Project:
    """A folder with the stand-in sources and native_build.py, on a machine without CUDA until a test adds it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
        self.folder, self.monkeypatch, self.capsys = folder, monkeypatch, capsys
        self.library = folder / "out/_native.so"
        for name, text in SOURCES.items():
            self.write(name, text)
        shutil.copy(REPOSITORY / "native_build.py", folder)
        self.module = self._module()
        self.set(FASTLT_NATIVE=None, FASTLT_CUDA=None, FASTLT_CUDA_ARCHS=None, CXX=None, MAX_JOBS=None)
        self.set(CUDA_HOME=None, CUDA_PATH=None, NVCC_CCBIN=None)
        which = shutil.which
        monkeypatch.setattr(self.module.shutil, "which", lambda name: None if name == "nvcc" else which(name))
        monkeypatch.setattr(self.module, "USUAL_CUDA", str(folder / "no cuda"))

    def _module(self) -> ModuleType:
        spec = importlib.util.spec_from_file_location("stand_in_build", self.folder / "native_build.py")
        module = importlib.util.module_from_spec(spec)
        self.monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        return module

    def write(self, name: str, text: str) -> None:
        file = self.folder / "csrc" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")

    def set(self, **variables: str | None) -> None:
        for name, value in variables.items():
            if value is None:
                self.monkeypatch.delenv(name, raising=False)
            else:
                self.monkeypatch.setenv(name, value)

    def add_nvcc(self) -> Path:
        """Its CUDA root. The nvcc that is found is elsewhere and starts the one there."""
        root, nvcc = self.folder / "cuda", self.folder / "wrapper/bin/nvcc"
        for file in (root / "lib64/libcudart_static.a", nvcc):
            file.parent.mkdir(parents=True)
        (root / "lib64/libcudart_static.a").write_bytes(b"!<arch>\n")
        nvcc.write_text(NVCC.format(root=root))
        nvcc.chmod(nvcc.stat().st_mode | stat.S_IXUSR)
        self.set(CUDA_HOME=str(self.folder / "wrapper"))
        return root

    def build(self) -> list[str]:
        """What it says, after `fastlt: `."""
        self.made = self.module.build(self.library)
        assert self.made == self.library.exists()
        lines = self.capsys.readouterr().out.splitlines()
        assert (self.folder / "build/native/log").read_text().splitlines() == lines
        return [line.removeprefix("fastlt: ") for line in lines]

    def compiled(self) -> set[str]:
        return {line.split()[0] for line in self.build() if " compiled in " in line}

    def refusal(self) -> str:
        with pytest.raises(SystemExit) as refused:
            self.module.build(self.library)
        assert not self.library.exists()
        return str(refused.value)


@pytest.fixture
def project(tmp_path, monkeypatch, capsys) -> Project:
    return Project(tmp_path, monkeypatch, capsys)


def kernels(project: Project) -> set[str]:
    return {f"cpu-kernels-{name}" for name in project.module.INSTRUCTION_SETS}


class TestWhatIsMade:
    def test_every_part_and_one_line_that_sums_up(self, project):
        said = project.build()
        assert {line.split()[0] for line in said[:-1]} == {"schemas", "cpu-ops", *kernels(project)}
        sets = ", ".join(project.module.INSTRUCTION_SETS)
        assert said[-1].startswith(f"native library for CPU {sets}; no CUDA (no nvcc): 0.")
        assert f"fastlt contents: CPU {sets}; no CUDA\0".encode() in project.library.read_bytes()

    def test_nothing_names_a_folder_of_this_machine(self, project):
        project.write("schemas.cpp", "#include <torch/csrc/stable/library.h>\nconst char* file() { return __FILE__; }")
        project.build()
        content = project.library.read_bytes()
        assert str(project.folder).encode() not in content
        assert b"site-packages" not in content

    def test_another_processor_gets_the_baseline_alone(self, project, monkeypatch):
        monkeypatch.setattr(project.module, "INSTRUCTION_SETS", {"baseline": []})
        assert "cpu-kernels-baseline" in project.compiled()
        assert b"CPU baseline; no CUDA" in project.library.read_bytes()

    def test_a_new_file_takes_the_place_of_the_old(self, project):
        """Which a process may be running."""
        project.build()
        before = project.library.open("rb")
        project.write("schemas.cpp", "int schemas() { return 4; }")
        project.build()
        assert before.read() != project.library.read_bytes()


class TestWhatIsCompiledAgain:
    def test_nothing_that_is_as_it_was(self, project):
        project.build()
        (project.folder / "csrc/schemas.cpp").touch()
        assert project.compiled() == set()

    def test_what_includes_an_edited_header(self, project):
        assert project.compiled() == {"schemas", "cpu-ops", *kernels(project)}
        project.write("shared.h", "inline int one() { return 11; }")
        assert project.compiled() == {"schemas"}

    def test_what_another_command_makes(self, project, monkeypatch):
        project.build()
        monkeypatch.setattr(project.module, "KERNEL_FLAGS", ["-O1"])
        assert project.compiled() == kernels(project)

    def test_everything_for_another_torch(self, project, monkeypatch):
        project.build()
        monkeypatch.setattr(project.module.metadata, "version", lambda name: "99.0")
        assert project.compiled() == {"schemas", "cpu-ops", *kernels(project)}

    def test_what_failed(self, project):
        project.write("schemas.cpp", "no C++")
        project.build()
        project.write("schemas.cpp", "int schemas() { return 1; }")
        assert project.compiled() == {"schemas"}


class TestLacking:
    def test_a_compiler(self, project):
        project.set(CXX="/nonexistent")
        said = "the plain PyTorch references will serve: no C++ compiler (/nonexistent)"
        assert project.build() == [f"no native library, {said}"]

    def test_a_compiler_that_is_asked_for(self, project):
        project.set(CXX="/nonexistent", FASTLT_NATIVE="1")
        line = "fastlt: no C++ compiler (/nonexistent), and FASTLT_NATIVE=1 asks for the native library"
        assert project.refusal() == line

    def test_torch(self, project, monkeypatch):
        monkeypatch.setattr(project.module, "find_spec", lambda name: None)
        assert project.build()[-1].endswith("no torch in the Python that builds")

    @pytest.mark.parametrize("version", ["2.12.1", "1.13.1+cu117"])
    def test_a_torch_that_is_new_enough(self, project, monkeypatch, version):
        monkeypatch.setattr(project.module.metadata, "version", lambda name: version)
        assert project.build()[-1].endswith(f"torch {version} is older than 2.13")

    def test_the_headers_of_torch(self, project, monkeypatch):
        bare = SimpleNamespace(origin=str(project.folder / "torch/__init__.py"))
        monkeypatch.setattr(project.module, "find_spec", lambda name: bare)
        assert project.build()[-1].endswith("came without its C++ headers")

    def test_another_system(self, project, monkeypatch):
        monkeypatch.setattr(project.module.platform, "system", lambda: "Darwin")
        assert project.build()[-1].endswith("it is built on Linux only")

    def test_the_wish(self, project):
        project.set(FASTLT_NATIVE="0")
        assert project.build() == ["no native library, as FASTLT_NATIVE=0 asks: the plain PyTorch references serve"]

    def test_no_wishes_that_contradict_each_other(self, project):
        project.set(FASTLT_NATIVE="0", FASTLT_CUDA="1")
        assert "FASTLT_NATIVE=0 asks for no native library" in project.refusal()

    @pytest.mark.parametrize("variable", ["FASTLT_NATIVE", "FASTLT_CUDA"])
    def test_a_wish_that_can_be_understood(self, project, variable):
        project.set(**{variable: "yes"})
        assert project.refusal() == f"{variable} must be 0, 1 or auto, not yes"

    @pytest.mark.parametrize("jobs", ["0", "many"])
    def test_a_number_of_jobs(self, project, jobs):
        project.set(MAX_JOBS=jobs)
        assert project.refusal() == f"MAX_JOBS must be a number above 0, not {jobs}"


class TestFailing:
    def test_the_compilers_words_are_shown_and_the_references_serve(self, project):
        project.write("cpu/ops.cpp", "int operators() { return two; }")
        said = project.build()
        assert any("csrc/cpu/ops.cpp:1" in line and "two" in line for line in said)
        assert said[-1] == (
            "no native library, the plain PyTorch references will serve: csrc/cpu/ops.cpp did not compile"
        )

    def test_what_is_asked_for(self, project):
        project.write("cpu/ops.cpp", "int operators() { return two; }")
        project.set(FASTLT_NATIVE="1")
        assert "csrc/cpu/ops.cpp did not compile, and FASTLT_NATIVE=1 asks" in project.refusal()

    def test_an_undefined_symbol_is_found_at_once(self, project):
        project.write("cpu/ops.cpp", "int nowhere(); int operators() { return nowhere(); }")
        said = project.build()
        assert any("undefined reference" in line for line in said)
        assert said[-1].endswith("it does not link")


class TestCuda:
    def test_kernels_for_the_gpus_that_nvcc_knows(self, project):
        root = project.add_nvcc()
        said = project.build()
        assert "; CUDA sm_80, sm_90, PTX 90: " in said[-1]
        asked = (root / "asked").read_text()
        targets = [word.split("=", 1)[1] for word in asked.split() if word.startswith("-gencode=")]
        wanted = [("80", "sm_80"), ("90", "sm_90"), ("90", "compute_90")]
        assert targets == [f"arch=compute_{arch},code={code}" for arch, code in wanted]
        assert "-cudart=static" in asked

    @pytest.mark.parametrize("archs", ["100;90", "sm_90, sm_100", "90 100"])
    def test_gpus_that_are_named(self, project, archs):
        project.add_nvcc()
        project.set(FASTLT_CUDA_ARCHS=archs)
        assert "; CUDA sm_90, sm_100, PTX 100: " in project.build()[-1]

    def test_names_that_are_none(self, project):
        project.add_nvcc()
        project.set(FASTLT_CUDA_ARCHS="hopper", FASTLT_CUDA="1")
        assert "FASTLT_CUDA_ARCHS=hopper names no GPUs, and FASTLT_CUDA=1 asks" in project.refusal()

    def test_an_edited_header_reaches_it_too(self, project):
        project.add_nvcc()
        project.build()
        assert project.compiled() == set()
        project.write("shared.h", "inline int one() { return 11; }")
        assert project.compiled() == {"schemas", "cuda-ops"}

    def test_not_wanted(self, project):
        project.add_nvcc()
        project.set(FASTLT_CUDA="0")
        assert "; no CUDA (FASTLT_CUDA=0): " in project.build()[-1]

    def test_asked_for_but_not_there(self, project):
        project.set(FASTLT_CUDA="1")
        assert project.refusal() == "fastlt: no nvcc, and FASTLT_CUDA=1 asks for the native library"

    def test_without_the_runtime(self, project):
        root = project.add_nvcc()
        (root / "lib64/libcudart_static.a").unlink()
        assert "no CUDA (no libcudart_static.a beside nvcc in " in project.build()[-1]

    def test_that_does_not_compile_leaves_the_rest(self, project):
        project.add_nvcc()
        project.write("cuda/ops.cu", "no C++")
        assert "; no CUDA (nvcc failed): " in project.build()[-1]
        project.library.unlink()
        project.set(FASTLT_CUDA="1")
        assert "csrc/cuda/ops.cu did not compile, and FASTLT_CUDA=1 asks" in project.refusal()
