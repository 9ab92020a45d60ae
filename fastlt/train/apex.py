"""NVIDIA apex's fused optimisers, for those who have built it.

PyPI's `apex` is another project (a toolkit for the Pyramid web framework), and NVIDIA's may be there without its
CUDA kernels. Both are told by their files alone: importing the wrong one would run foreign code.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from fastlt.config import OptimizerConfig
from fastlt.errors import UserError

_INSTALL = "build it from https://github.com/NVIDIA/apex with APEX_CPP_EXT=1 APEX_CUDA_EXT=1"
_WITHOUT = "or set optimizer.apex=false: torch's fused optimisers are as fast"


@dataclass(frozen=True)
class Apex:
    """What goes by the name of apex here: nothing, another project, NVIDIA's without kernels, or ready for use."""

    status: Literal["absent", "other", "no kernels", "ready"]
    location: Path | None
    advice: str


def find() -> Apex:
    """Looks for apex on the module path; imports nothing."""
    spec = importlib.util.find_spec("apex")
    if spec is None or not spec.submodule_search_locations:
        return Apex("absent", None, f"NVIDIA apex is not installed: {_INSTALL}")
    location = Path(next(iter(spec.submodule_search_locations)))
    if not (location / "optimizers" / "fused_sgd.py").is_file() or not (location / "multi_tensor_apply").is_dir():
        return Apex("other", location, f"{location} is not NVIDIA's apex: `pip uninstall apex`, then {_INSTALL}")
    if importlib.util.find_spec("amp_C") is None:
        return Apex("no kernels", location, f"NVIDIA apex at {location} has no CUDA kernels: {_INSTALL}")
    return Apex("ready", location, "NVIDIA apex is there with its CUDA kernels")


def optimizer(groups: list[dict], config: OptimizerConfig) -> torch.optim.Optimizer:
    """apex.optimizers.FusedSGD or FusedAdam over `groups`, as `fastlt.train.optim.parameter_groups` gives them.

    FusedSGD(params, lr, momentum, dampening, weight_decay, nesterov) computes torch.optim.SGD;
    FusedAdam(params, lr, bias_correction, betas, eps, adam_w_mode, weight_decay) computes torch.optim.AdamW with
    `adam_w_mode` and torch.optim.Adam without. Raises UserError where apex is not ready, and on a CPU.
    """
    found = find()
    if found.status != "ready":
        raise UserError(f"optimizer.apex=true: {found.advice}; {_WITHOUT}")
    _check_device(groups)
    from apex import optimizers

    common = {"lr": config.lr, "weight_decay": config.weight_decay}
    if config.name == "sgd":
        return optimizers.FusedSGD(groups, momentum=config.momentum, nesterov=config.nesterov, **common)
    return optimizers.FusedAdam(groups, betas=config.betas, adam_w_mode=config.name == "adamw", **common)


def _check_device(groups: list[dict]) -> None:
    if any(parameter.device.type != "cuda" for group in groups for parameter in group["params"]):
        raise UserError(f"optimizer.apex=true: apex's kernels need every parameter on an NVIDIA GPU; {_WITHOUT}")
