"""Estimates how fast a GPU could train, from counted operations, bytes and kernels: writes docs/gpu-rates.md.

    python tools/gpu_rates.py

A training step is run on tensors without memory. Every operator that is no view counts as one kernel that reads its
inputs and writes its outputs once; products and convolutions count their multiplications and additions. Three bounds
follow: operations over the peak rate, bytes over the memory's rate, kernels times the time to launch one. The estimate
is the sum of all operators' larger bound of the first two, or the launches where these take longer.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from fastlt.config import ModelConfig  # noqa: E402
from fastlt.files import write_text  # noqa: E402
from fastlt.models import backbones  # noqa: E402
from fastlt.wgan.settings import Settings  # noqa: E402
from fastlt.wgan.training import Training  # noqa: E402

LAUNCH = 5e-6  # seconds of the host for an operator of eager PyTorch, as a rule of thumb


@dataclass(frozen=True)
class Machine:
    """Peak bf16 operations and bytes a second, by NVIDIA's data sheets (dense)."""

    name: str
    operations: float
    bytes: float


@dataclass(frozen=True)
class Subject:
    """A step of `branches` times `batch` pictures of `size` pixels that share one pass."""

    name: str
    backbone: str
    size: int
    classes: int
    batch: int
    branches: int = 1
    known: tuple[tuple[str, int], ...] = ()  # who says so, images a second; for each of MACHINES


MACHINES = (Machine("A100 SXM 40 GB", 312e12, 1.555e12), Machine("H100 SXM", 989e12, 3.35e12))
SUBJECTS = (
    Subject("ResNet-50", "resnet50", 224, 1000, 256, known=(("published by NVIDIA", 2470), ("measured", 3700))),
    Subject("ResNet-50, two branches", "resnet50", 224, 20, 32, branches=2),
    Subject("TResNet-M at 448", "tresnet_m", 448, 80, 64),
    Subject("CIFAR ResNet-32, Hybrid-PSC", "cifar_resnet32", 32, 10, 512, branches=3),
    Subject("CIFAR ResNet-32", "cifar_resnet32", 32, 10, 128),
)
GANS = (Settings(height=64, width=96, channels=8), Settings())
GANS_AT_ONCE = 64


@dataclass
class Counted(TorchDispatchMode):
    """(operations, bytes) of every operator that is run within."""

    kernels: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if not function.is_view and not _only_looks(function):
            count = flop_registry.get(function.overloadpacket)
            operations = count(*args, **(kwargs or {}), out_val=out) if count else 0
            self.kernels.append((operations, sum(map(_bytes, tree_leaves((args, kwargs, out))))))
        return out


def seconds(kernels: list[tuple[float, float]], machine: Machine) -> tuple[float, float, float, float]:
    """Of a step by operations, by bytes and by launches alone, and the estimate of all together."""
    operations = sum(k[0] for k in kernels) / machine.operations
    moved = sum(k[1] for k in kernels) / machine.bytes
    launches = len(kernels) * LAUNCH
    each = sum(max(o / machine.operations, b / machine.bytes) for o, b in kernels)
    return operations, moved, launches, max(each, launches)


def counted(subject: Subject) -> list[tuple[float, float]]:
    """The kernels of a step in bf16: forward, cross-entropy, backward, SGD with momentum."""
    with torch.device("meta"):
        network = backbones.create(ModelConfig(backbone=subject.backbone), subject.classes).bfloat16().train()
        images = torch.empty(subject.batch * subject.branches, 3, subject.size, subject.size, dtype=torch.bfloat16)
        labels = torch.empty(len(images), dtype=torch.long)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    _step(network, images, labels, optimizer)  # makes the momenta
    with Counted() as found:
        _step(network, images, labels, optimizer)
    return found.kernels


def counted_gan(settings: Settings) -> list[tuple[float, float]]:
    """The kernels of one iteration of the GAN of one image; G at once are as many kernels, of G times the work."""
    training = Training(torch.zeros(1, 3, settings.height, settings.width), [0], settings)
    training.iterate(0)  # makes the moments
    with Counted() as found:
        training.iterate(1)
    return found.kernels


def gan_line(settings: Settings, kernels: list[tuple[float, float]], machine: Machine) -> str:
    tf32 = Machine(machine.name, machine.operations / 2, machine.bytes)
    alone, together = (
        seconds([(o * images, b * images) for o, b in kernels], tf32)[-1] / images for images in (1, GANS_AT_ONCE)
    )
    operations, moved = (sum(counts) for counts in zip(*kernels, strict=True))
    return (
        f"| {settings.height}x{settings.width}, {settings.channels} channels | {operations / 1e9:.2f} | "
        f"{moved / 1e6:,.0f} | {len(kernels):,} | {machine.name} | {alone * 1e3:.2g} | "
        f"**{together * 1e3:.2g}** | {alone / together:.2g} |"
    )


def main() -> None:
    lines = [_HEAD]
    for subject in SUBJECTS:
        kernels = counted(subject)
        images = subject.batch * subject.branches
        for machine in MACHINES:
            by_operations, by_bytes, by_launches, together = (images / s for s in seconds(kernels, machine))
            lines.append(
                f"| {subject.name} | {images} | {sum(k[0] for k in kernels) / images / 1e9:.2f} | "
                f"{sum(k[1] for k in kernels) / images / 1e6:.1f} | {len(kernels):,} | {machine.name} | "
                f"{_round(by_operations)} | {_round(by_bytes)} | {_round(by_launches)} | **{_round(together)}** | "
                f"{_known(subject, machine, together)} |"
            )
    lines.append(_GANS)
    for settings in GANS:
        kernels = counted_gan(settings)
        lines += [gan_line(settings, kernels, machine) for machine in MACHINES]
    write_text(ROOT / "docs" / "gpu-rates.md", "\n".join(lines) + "\n")
    print("\n".join(lines))


def _step(network: nn.Module, images: Tensor, labels: Tensor, optimizer: torch.optim.Optimizer) -> None:
    nn.functional.cross_entropy(network(images).float(), labels).backward()
    optimizer.step()
    optimizer.zero_grad()


def _only_looks(function) -> bool:
    return function.namespace == "prim" or function.overloadpacket in (
        torch.ops.aten.detach,
        torch.ops.aten.empty,
        torch.ops.aten.empty_like,
        torch.ops.aten.new_empty,
        torch.ops.aten.sym_size,
    )


def _bytes(value: object) -> int:
    return value.numel() * value.element_size() if isinstance(value, Tensor) else 0


def _known(subject: Subject, machine: Machine, estimate: float) -> str:
    if not subject.known:
        return "-"
    source, rate = subject.known[MACHINES.index(machine)]
    return f"{rate:,} {source}, {rate / estimate:.0%} of the estimate"


def _round(rate: float) -> str:
    """Two digits: it is no more than an estimate."""
    return f"{float(f'{rate:.2g}'):,.0f}"


_HEAD = """# What a GPU could do: an estimate

**Nothing on this page was measured**, but for what its last column says; `python tools/gpu_rates.py` writes it from
counted operations, bytes and kernels of a training step in bf16 (forward, loss, backward, SGD with momentum) and from
NVIDIA's data sheets. Every operator is taken for one kernel that reads its inputs and writes its outputs once, at the
full rate of the memory or of the tensor cores; fused kernels need fewer bytes, real ones reach less of either rate.
How much of the estimate a real step reaches, the last column says where it is known: expect between a half and three
quarters of it. The last five columns are images a second. Decoding is not in it (docs/gpu-measurements.md).

| step | images | GFLOP each | MB each | kernels | machine | by operations | by bytes | by launches | estimate | known |
|---|---:|---:|---:|---:|---|---:|---:|---:|---:|---|"""

_GANS = f"""
## Pictures that GANs make

An iteration of ML-WGAN-GP (five steps of the critic, one of the generator) in float32 with TF32 products, in
milliseconds for each image: one image's networks alone, and {GANS_AT_ONCE} at once. Alone, launching the kernels takes
longer than running them; at once, what is left is the memory, since every image has weights of its own.

| networks | GFLOP | MB | kernels | machine | one by one | {GANS_AT_ONCE} at once | times faster |
|---|---:|---:|---:|---|---:|---:|---:|"""


if __name__ == "__main__":
    main()
