"""Optimisers: torch's fused ones, or NVIDIA apex's where asked for."""

from __future__ import annotations

import torch

from fastlt.config import OptimizerConfig
from fastlt.errors import UserError

_FUSED_DEVICES = ("cpu", "cuda")


def parameter_groups(groups: list[dict], config: OptimizerConfig) -> list[dict]:
    """Completes a method's groups `{"name", "params"}` by `weight_decay` and `lr_scale` where they give none.

    With `decay_1d` off, the biases and norm parameters (1-D) of each group stand in a group of their own without
    decay. Parameters that do not learn are left out, and so are empty groups.
    """
    complete = []
    for group in groups:
        group = {"weight_decay": config.weight_decay, "lr_scale": 1.0, **group}
        learning = [parameter for parameter in group["params"] if parameter.requires_grad]
        if config.decay_1d:
            complete.append({**group, "params": learning})
        else:
            complete.append({**group, "params": [p for p in learning if p.ndim > 1]})
            flat = {"name": f"{group['name']}, biases and norms", "weight_decay": 0.0}
            complete.append({**group, **flat, "params": [p for p in learning if p.ndim <= 1]})
    return [group for group in complete if group["params"]]


def build(groups: list[dict], config: OptimizerConfig, device: torch.device) -> torch.optim.Optimizer:
    """The optimiser of `config` over what `parameter_groups` gave.

    Rates are plain numbers and every step is one fused kernel per group, so that nothing waits for the device.
    Raises UserError for values that the optimiser refuses, and where no parameter learns.
    """
    if config.apex:
        from fastlt.train import apex

        return apex.optimizer(groups, config)
    common = {"lr": config.lr, "weight_decay": config.weight_decay, "fused": device.type in _FUSED_DEVICES}
    try:
        if config.name == "sgd":
            return torch.optim.SGD(groups, momentum=config.momentum, nesterov=config.nesterov, **common)
        kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
        return kind(groups, betas=config.betas, **common)
    except ValueError as error:
        raise UserError(f"optimizer: {error}; change the recipe's optimizer or model section") from error
