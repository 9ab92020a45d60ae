"""What the losses accept: the same as the library's own checks (csrc/arguments.h), in the same words.

Messages are put together only when something is wrong: to a compiler, a size in a text is a size that cannot change.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

FLOATING = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
REDUCTIONS = {"row": 0, "sum": 1, "mean": 2}


def wide(dtype: torch.dtype) -> torch.dtype:
    """The type that losses, sums and per-class values have beside inputs of this type."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def constant(x: Tensor | None) -> Tensor | None:
    """What gets no gradient, even if it asks for one."""
    return x.detach() if x is not None and x.requires_grad else x


def reduction_code(op: str, reduction: str) -> int:
    """The operators' number of a reduction."""
    code = REDUCTIONS.get(reduction)
    if code is None:
        raise ValueError(f"{op}: reduction must be one of {', '.join(REDUCTIONS)}, not {reduction}")
    return code


def ignores_unknown(op: str, unknown: str) -> bool:
    if unknown not in ("ignore", "negative"):
        raise ValueError(f"{op}: unknown must be ignore or negative, not {unknown}")
    return unknown == "ignore"


def check_device(op: str, name: str, x: Tensor, like: Tensor) -> None:
    if x.device != like.device:
        raise RuntimeError(f"{op}: {name} is on another device than the first argument")


def check_matrix(op: str, name: str, x: Tensor, shape: str) -> None:
    if x.ndim != 2:
        raise RuntimeError(f"{op}: {name} must be {shape}, but has {x.ndim} dimensions")
    if x.dtype not in FLOATING:
        raise RuntimeError(f"{op}: {name} must be float64, float32, bfloat16 or float16")


def check_same(op: str, name: str, x: Tensor, logits: Tensor) -> None:
    if x.shape != logits.shape:
        raise RuntimeError(f"{op}: {name} must have the shape of logits")
    check_device(op, name, x, logits)


def check_targets(op: str, targets: Tensor, logits: Tensor) -> None:
    if targets.dtype != torch.int8 or targets.shape != logits.shape:
        raise RuntimeError(
            f"{op}: targets must be int8 [B, C] like logits, with 1 positive, 0 negative, -1 unknown; "
            "use targets.to(torch.int8)"
        )
    check_device(op, "targets", targets, logits)


def check_labels(op: str, labels: Tensor, rows: Tensor) -> None:
    if labels.dtype != torch.int64 or labels.ndim != 1 or labels.shape[0] != rows.shape[0]:
        raise RuntimeError(f"{op}: labels must be int64 [{rows.shape[0]}], one for each row")
    check_device(op, "labels", labels, rows)


def check_vector(op: str, name: str, x: Tensor | None, logits: Tensor) -> None:
    """Per-class values: [C] in the wide type."""
    if x is None:
        return
    if x.ndim != 1 or x.shape[0] != logits.shape[1]:
        raise RuntimeError(f"{op}: {name} must be [C] with C = {logits.shape[1]}, the columns of logits")
    if x.dtype != wide(logits.dtype):
        double = logits.dtype == torch.float64
        wanted = "float64 beside float64 logits" if double else "float32 (float64 only beside float64 logits)"
        raise RuntimeError(f"{op}: {name} must be {wanted}")
    check_device(op, name, x, logits)


def check_weight(op: str, weight: Tensor | None, logits: Tensor) -> None:
    if weight is None:
        return
    if weight.shape != logits.shape or weight.dtype not in (torch.bool, wide(logits.dtype)):
        wanted = "float64" if logits.dtype == torch.float64 else "float32"
        raise RuntimeError(f"{op}: weight must be bool or {wanted} [B, C] like logits")
    check_device(op, "weight", weight, logits)


def check_focus(op: str, exponents: tuple[float, ...], margin: float) -> None:
    for gamma in exponents:
        if not 0 <= gamma < math.inf:
            raise RuntimeError(f"{op}: focusing exponents must be at least 0, not {gamma}")
    if not 0 <= margin < 1:
        raise RuntimeError(f"{op}: margin must be at least 0 and below 1, not {margin}")


def check_temperature(op: str, temperature: float) -> None:
    if not 0 < temperature < math.inf:
        raise RuntimeError(f"{op}: temperature must be above 0, not {temperature}")


def check_distillation(op: str, temperature: float, power: float, alpha: float) -> None:
    check_temperature(op, temperature)
    if not 0 < power < math.inf:
        raise RuntimeError(f"{op}: power must be above 0, not {power}")
    if not 0 <= alpha <= 1:
        raise RuntimeError(f"{op}: alpha must be from 0 to 1, not {alpha}")


def check_prototypes(op: str, features: Tensor, prototypes: Tensor, positive_in_denominator: bool) -> None:
    check_matrix(op, "prototypes", prototypes, "[C, D]")
    check_device(op, "prototypes", prototypes, features)
    if prototypes.shape[1] != features.shape[1]:
        raise RuntimeError(f"{op}: prototypes must be [C, {features.shape[1]}] as features are [B, D]")
    if prototypes.shape[0] == 0:
        raise RuntimeError(f"{op}: there are no prototypes")
    if prototypes.shape[0] == 1 and not positive_in_denominator:
        raise RuntimeError(f"{op}: without the positive in the denominator at least two classes are needed")
