"""Which numbers the network computes in."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch

from fastlt.errors import UserError

Name = Literal["fp32", "tf32", "bf16", "fp16"]

_DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_AMPERE = (8, 0)  # compute capability from which bf16 and tf32 are native
_VOLTA = (7, 0)  # from which fp16 is fast
_BF16_INSTRUCTIONS = ("amx_bf16", "avx512_bf16")


@dataclass(frozen=True)
class Precision:
    """A chosen precision; weights, gradients and optimiser state are float32 in every one of them."""

    name: Name
    device: torch.device
    reason: str

    @property
    def dtype(self) -> torch.dtype:
        """What matrix products and convolutions take and give."""
        return _DTYPES[self.name]

    @property
    def mixed(self) -> bool:
        """Whether autocast is on."""
        return self.dtype != torch.float32

    def __str__(self) -> str:
        return f"precision {self.name}: {self.reason}"

    def autocast(self) -> AbstractContextManager:
        """Around the forward pass."""
        return torch.autocast(self.device.type, self.dtype) if self.mixed else nullcontext()

    def scaler(self) -> torch.amp.GradScaler:
        """Keeps small gradients from vanishing in fp16; it does nothing in every other precision."""
        return torch.amp.GradScaler(self.device.type, enabled=self.name == "fp16")

    def activate(self) -> None:
        """Sets, for this process, whether float32 products on a GPU may be rounded to tf32: not in fp32.

        By the older of torch's two interfaces, since torch.compile still reads that one and refuses a mixture.
        """
        torch.backends.cuda.matmul.allow_tf32 = self.name != "fp32"
        torch.backends.cudnn.allow_tf32 = self.name != "fp32"


def choose(requested: str, device: torch.device) -> Precision:
    """The precision of that name, or for "auto" the fastest that `device` computes natively.

    bf16 on GPUs from compute capability 8.0, fp16 from 7.0, bf16 on CPUs with AMX or AVX-512 instructions for it,
    else fp32. Raises UserError for what the device cannot do.
    """
    if requested == "auto":
        name, reason = _best(device)
        return Precision(name, device, reason)
    if requested in ("tf32", "bf16") and device.type == "cuda" and _capability(device) < _AMPERE:
        raise UserError(f"train.precision={requested}: {_describe(device)} lacks it (8.0 has it); use auto or fp16")
    if requested == "tf32" and device.type != "cuda":
        raise UserError("train.precision=tf32: only NVIDIA GPUs have it; use auto or fp32")
    return Precision(requested, device, f"as asked for, on {_describe(device)}")


def _best(device: torch.device) -> tuple[Name, str]:
    where = _describe(device)
    if device.type == "cuda":
        capability = _capability(device)
        if capability >= _AMPERE:
            return "bf16", f"{where} computes it natively, with the range of float32"
        if capability >= _VOLTA:
            return "fp16", f"{where} computes it natively and has no bf16; gradients are scaled"
        return "fp32", f"{where} computes nothing shorter faster"
    instructions = [name for name in _BF16_INSTRUCTIONS if device.type == "cpu" and _cpu_has(name)]
    if instructions:
        return "bf16", f"{where} has {instructions[0]} instructions"
    return "fp32", f"{where} has no bf16 instructions"


def _capability(device: torch.device) -> tuple[int, int]:
    return torch.cuda.get_device_capability(device)


def _cpu_has(instruction: str) -> bool:
    return bool(torch.cpu.get_capabilities().get(instruction, False))


def _describe(device: torch.device) -> str:
    if device.type != "cuda":
        return f"this {device.type.upper()}"
    return f"{torch.cuda.get_device_name(device)} (compute capability {'.'.join(map(str, _capability(device)))})"
