"""Which precision is chosen on which device, and what it does."""

from __future__ import annotations

import pytest
import torch

from fastlt.errors import UserError
from fastlt.train import precision

CPU = torch.device("cpu")
CUDA = torch.device("cuda:0")


@pytest.fixture
def gpu(monkeypatch):
    """Makes the first GPU one of the given compute capability."""

    def of(*capability: int) -> None:
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Some GPU")

    return of


@pytest.fixture
def cpu(monkeypatch):
    """Makes the CPU one with the given instructions."""

    def of(*instructions: str) -> None:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(instructions, True))

    return of


@pytest.fixture
def rounding():
    """The backends that round float32 products, put back as they were afterwards."""
    backends = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [backend.allow_tf32 for backend in backends]
    yield backends
    for backend, allowed in zip(backends, before, strict=True):
        backend.allow_tf32 = allowed


@pytest.mark.parametrize(
    "capability, name", [((6, 1), "fp32"), ((7, 0), "fp16"), ((7, 5), "fp16"), ((8, 0), "bf16"), ((9, 0), "bf16")]
)
def test_auto_on_a_gpu(gpu, capability, name):
    gpu(*capability)
    chosen = precision.choose("auto", CUDA)
    assert chosen.name == name
    assert f"Some GPU (compute capability {capability[0]}.{capability[1]})" in str(chosen)


@pytest.mark.parametrize(
    "instructions, name",
    [((), "fp32"), (("avx2", "avx512_f"), "fp32"), (("avx512_bf16",), "bf16"), (("amx_bf16", "avx512_bf16"), "bf16")],
)
def test_auto_on_a_cpu(cpu, instructions, name):
    cpu(*instructions)
    chosen = precision.choose("auto", CPU)
    assert chosen.name == name
    assert str(chosen).startswith(f"precision {name}: this CPU has")


def test_auto_on_this_cpu():
    assert precision.choose("auto", CPU).name in ("fp32", "bf16")


def test_what_a_gpu_cannot_do_is_refused(gpu):
    gpu(7, 5)
    for name in ("bf16", "tf32"):
        with pytest.raises(UserError, match=f"train.precision={name}: Some GPU.*use auto or fp16"):
            precision.choose(name, CUDA)


def test_tf32_is_for_gpus():
    with pytest.raises(UserError, match="only NVIDIA GPUs"):
        precision.choose("tf32", CPU)


@pytest.mark.parametrize(
    "name, dtype, mixed",
    [("fp32", torch.float32, False), ("bf16", torch.bfloat16, True), ("fp16", torch.float16, True)],
)
def test_what_each_precision_computes_in(name, dtype, mixed):
    chosen = precision.choose(name, CPU)
    with chosen.autocast():
        assert torch.nn.Linear(2, 2)(torch.ones(1, 2)).dtype == dtype
    assert chosen.dtype == dtype
    assert chosen.mixed == mixed
    assert chosen.scaler().is_enabled() == (name == "fp16")


@pytest.mark.parametrize("name, rounded", [("fp32", False), ("tf32", True), ("bf16", True)])
def test_float32_products_are_rounded_only_where_asked(gpu, rounding, name, rounded):
    gpu(8, 0)
    for backend in rounding:
        backend.allow_tf32 = not rounded
    precision.choose(name, CUDA).activate()
    assert torch.backends.cuda.matmul.allow_tf32 == rounded
    assert torch.backends.cudnn.allow_tf32 == rounded
    assert torch.get_float32_matmul_precision() == ("high" if rounded else "highest")  # as torch.compile asks


def test_fp16_trains_on_a_cpu_without_losing_small_gradients():
    chosen = precision.choose("fp16", CPU)
    scaler = chosen.scaler()
    layer = torch.nn.Linear(1, 1, bias=False)
    with chosen.autocast():
        loss = layer(torch.full((1, 1), 1e-4)).float().sum() * 1e-5
    scaler.scale(loss).backward()
    scaler.unscale_(torch.optim.SGD(layer.parameters(), lr=1.0))
    assert layer.weight.grad.item() == pytest.approx(1e-9, rel=0.01)
