"""Learning rates as a pure function of the step: nothing to save, nothing to restore."""

from __future__ import annotations

import math

import torch

from fastlt.config import ScheduleConfig

_START_SHARE = 1 / 25  # one_cycle: rate at step 0 against the highest, and torch's default
_END_SHARE = _START_SHARE / 1e4  # one_cycle: rate at the last step against the highest


def factor(config: ScheduleConfig, step: int, total_steps: int, steps_per_epoch: float) -> float:
    """Share of the base rate at `step` (0 .. total_steps - 1).

    constant, step, cosine: a linear warm-up from `warmup_from` over `warmup` epochs goes before; step multiplies by
    `gamma` at each milestone (epochs from the start of the run); cosine falls from the end of the warm-up to `final`
    at `total_steps` (Loshchilov and Hutter, "SGDR", 2017, one cycle). one_cycle: two cosine phases (Smith and Topin,
    "Super-convergence", 2018) as torch.optim.lr_scheduler.OneCycleLR draws them, over `length` epochs, of which a run
    may see the first ones only; it warms up by itself and leaves `warmup` aside. Momentum is not cycled: the optimiser
    section says what it is for the whole run.
    """
    if config.name == "one_cycle":
        length = max(1, round(config.length * steps_per_epoch)) if config.length else total_steps
        return _one_cycle(step, length, config.peak_at)
    warmup_steps = config.warmup * steps_per_epoch
    if step < warmup_steps:
        return config.warmup_from + (1 - config.warmup_from) * step / warmup_steps
    if config.name == "step":
        return config.gamma ** sum(milestone * steps_per_epoch <= step for milestone in config.milestones)
    if config.name == "cosine":
        return _cosine(1.0, config.final, (step - warmup_steps) / max(total_steps - warmup_steps, 1))
    return 1.0


def apply(optimizer: torch.optim.Optimizer, factor: float, base_lr: float) -> None:
    """Sets every group's rate to base_lr x factor x its `lr_scale`."""
    for group in optimizer.param_groups:
        group["lr"] = base_lr * factor * group["lr_scale"]


def _one_cycle(step: int, total_steps: int, peak_at: float) -> float:
    peak, last = peak_at * total_steps - 1, total_steps - 1
    if step <= peak:
        return _cosine(_START_SHARE, 1.0, step / peak if peak > 0 else 1.0)
    return _cosine(1.0, _END_SHARE, (step - peak) / (last - peak))


def _cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(progress, 1.0))) / 2
