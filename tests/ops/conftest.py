"""Who computes the losses: every test that takes `backend` runs for the references, for the kernels of each instruction
set that this processor has, and for the CUDA kernels under the simulator of tests/simt. With FASTLT_TEST_DEVICE=cuda
also for the CUDA kernels on a GPU, to which the tests' tensors are then copied."""

import importlib.util
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from fastlt.ops import library

sys.path.insert(0, str(Path(__file__).parent))  # loss_cases

SIMULATOR = Path(__file__).parents[1] / "simt" / "library.py"
INSTRUCTION_SETS = {"baseline": 0, "avx2": 1, "avx512": 2}
LIBRARIES = ["simulated", *(["cuda"] if os.environ.get("FASTLT_TEST_DEVICE") == "cuda" else [])]


@dataclass(frozen=True)
class Backend:
    name: str
    kernels: library.Kernels | None

    @property
    def simulated(self) -> bool:
        """Simulated threads are slow, so shapes are kept small for them."""
        return self.name == "simulated"

    @property
    def raises_for_labels(self) -> bool:
        """Whether labels out of range are an error; CUDA's kernels cannot raise and make the row NaN."""
        return self.name not in LIBRARIES

    @property
    def namespace(self) -> str | None:
        """Of the operators in torch.ops."""
        return None if self.kernels is None else ("fastlt_sim" if self.simulated else library.NAMESPACE)


class OnCuda:
    """The CUDA kernels for tensors of the CPU: arguments go there and the loss comes back, gradients the other way."""

    makes_gradients = False

    def __init__(self, kernels: library.Kernels) -> None:
        self.kernels = kernels

    def gradients(self, *_: object) -> int:
        return 0

    def __getattr__(self, name: str):
        def call(*arguments: object) -> torch.Tensor:
            moved = [x.cuda() if isinstance(x, torch.Tensor) else x for x in arguments]
            return getattr(self.kernels, name)(*moved).cpu()

        return call


@pytest.fixture(autouse=True)
def one_thread():
    """Small inputs are not worth a second one, which is slow to start on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def native():
    if library.namespace() is None:
        pytest.skip(library.description())
    return library.kernels_for(torch.empty(0))


@pytest.fixture(scope="session")
def simulated():
    if not SIMULATOR.is_file() or shutil.which("g++") is None:
        pytest.skip("the simulator of the CUDA kernels needs tests/simt and g++")
    spec = importlib.util.spec_from_file_location("simt_library", SIMULATOR)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.ops.load_library(module.library_path())
    return library.Kernels("fastlt_sim", makes_gradients=False)


@pytest.fixture(scope="session")
def cuda():
    kernels = library.kernels_for(torch.empty(0, device="cuda"))
    if kernels is None:
        pytest.skip(library.description())
    return OnCuda(kernels)


@pytest.fixture(params=["reference", *INSTRUCTION_SETS, *LIBRARIES])
def backend(request):
    yield from serving(request)


@pytest.fixture(params=[*INSTRUCTION_SETS, *LIBRARIES])
def compiled(request):
    """The backends that have operators."""
    yield from serving(request)


@pytest.fixture(params=INSTRUCTION_SETS)
def instruction_set(request):
    """For operators of the CPU alone."""
    yield from serving(request)


@pytest.fixture(params=["native", "simulated"])
def registered(request):
    """The libraries, whatever the instruction set."""
    yield from serving(request)


def serving(request):
    name = request.param
    if name in INSTRUCTION_SETS:
        kernels = request.getfixturevalue("native")
        with instructions(INSTRUCTION_SETS[name]), library.served_by(kernels):
            yield Backend(name, kernels)
    else:
        kernels = None if name == "reference" else request.getfixturevalue(name)
        with library.served_by(kernels):
            yield Backend(name, kernels)


class instructions:
    """Within, the CPU kernels use this instruction set."""

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted

    def __enter__(self) -> None:
        self.before = torch.ops.fastlt.instruction_set(-1)
        if torch.ops.fastlt.instruction_set(self.wanted) != self.wanted:
            pytest.skip("this processor lacks the instruction set")

    def __exit__(self, *_: object) -> None:
        torch.ops.fastlt.instruction_set(self.before)
