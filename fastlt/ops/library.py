"""The compiled library: loaded once, by whoever asks first, and who serves the losses of which tensors.

Where there is no library, or where it holds nothing for a device, the plain PyTorch references serve.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

import torch
from torch import _C, Tensor, float16, is_grad_enabled

from fastlt.errors import UserNotice
from fastlt.ops.registration import register, register_norm

LIBRARY = Path(__file__).resolve().parents[1] / "_native.so"
NAMESPACE = "fastlt"
NEWEST = ("batch_norm_relu_backward", "residual")  # the argument that older libraries lack
INSTRUCTION_SETS = ("baseline", "AVX2", "AVX-512")

_REINSTALL = "reinstall fastlt where there is a C++ compiler"


class Kernels:
    """The losses of one library, for the tensors of one device type."""

    def __init__(self, namespace: str, makes_gradients: bool) -> None:
        self.makes_gradients = makes_gradients  # in the forward pass already
        for name, loss in register(namespace).items():
            setattr(self, name, loss)

    def gradients(self, reduction: int, x: Tensor, *others: Tensor | None) -> int:
        """1 if the forward pass shall make the gradients, otherwise 0.

        Not for rows, whose gradients are for upstream gradients yet unknown, and not for float16, where small ones
        would be lost before a loss scale could lift them.
        """
        if not (self.makes_gradients and reduction and is_grad_enabled()) or x.dtype == float16:
            return 0
        return int(x.requires_grad or any(other is not None and other.requires_grad for other in others))


def namespace() -> str | None:
    """Where torch.ops has the operators; None where the references serve. Loads the library."""
    return None if _failure() else NAMESPACE


def description() -> str:
    """What computes the losses, in one line. Loads the library, but does not warn."""
    failure = _failure()
    if failure:
        return f"plain PyTorch, slower: {failure}"
    instructions = INSTRUCTION_SETS[torch.ops.fastlt.instruction_set(-1)]
    return f"compiled for the CPU ({instructions}), {'and' if _holds_kernels('CUDA') else 'not'} for CUDA"


def kernels_for(x: Tensor) -> Kernels | None:
    """Who computes the losses of x; None stands for the references."""
    return _serving[_device_type("cpu" if x.is_cpu else x.device.type)]  # the former is much sooner known


@contextmanager
def served_by(kernels: Kernels | None) -> Iterator[None]:
    """Within, these kernels (None: the references) compute every loss on the CPU; for tests."""
    before = _serving.get("cpu", ...)
    _serving["cpu"] = kernels
    try:
        yield
    finally:
        del _serving["cpu"]
        if before is not ...:
            _serving["cpu"] = before


_serving: dict[str, Kernels | None] = {}  # by device type
_loading = Lock()  # several threads may come first


@torch.compiler.assume_constant_result  # no compiler shall look into the loading
def _device_type(device: str) -> str:
    """The same, after it has been seen to that `_serving` has it."""
    if device not in _serving:
        with _loading:
            if device not in _serving:
                _serving[device] = _kernels(device)
    return device


def _kernels(device: str) -> Kernels | None:
    if device not in ("cpu", "cuda"):
        return None
    failure = _failure()
    if failure:
        _warn(f"losses run in plain PyTorch, slower: {failure}")
        return None
    if not _holds_kernels(device.upper()):
        _warn(f"losses of {device} tensors run in plain PyTorch, slower: fastlt was compiled without kernels for them")
        return None
    return Kernels(NAMESPACE, makes_gradients=device == "cpu")


@functools.cache
def _failure() -> str | None:
    """Loads the library; why it could not be."""
    if not LIBRARY.is_file():
        return f"there is no compiled library {LIBRARY.name}; {_REINSTALL}"
    try:
        torch.ops.load_library(LIBRARY)
    except (OSError, RuntimeError) as error:
        return f"{LIBRARY.name} does not load ({str(error).splitlines()[0]}); {_REINSTALL}"
    if not _takes(*NEWEST):
        return f"{LIBRARY.name} was compiled for an older fastlt, without {' of '.join(reversed(NEWEST))}; {_REINSTALL}"
    register_norm(NAMESPACE)
    return None


def _takes(operator: str, argument: str) -> bool:
    found = getattr(torch.ops.fastlt, operator, None)
    return found is not None and argument in {one.name for one in found.default._schema.arguments}


def _holds_kernels(key: str) -> bool:
    return _C._dispatch_has_kernel_for_dispatch_key(f"{NAMESPACE}::sigmoid_loss", key)


@functools.cache
def _warn(message: str) -> None:
    warnings.warn(message, UserNotice, stacklevel=5)
