"""A network cut at its last stage: a shared bottom, and a copy of all the rest for each branch.

                 +-- last stage, pooling, classifier --> logits of the first branch
    x -- bottom -+
                 +-- last stage, pooling, classifier --> logits of the second branch

Guo & Wang, CVPR 2021, figure 2, and the bilateral branches of Zhou et al., CVPR 2020, are of this shape.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from fastlt.errors import UserError
from fastlt.models.freeze import stage_parameters

_PROBE_SIDE = 128  # pixels of the picture on which the parts are compared with the whole


class TwoBranch(nn.Module):
    """The shared `bottom`, and `branches` by name: copies of the last stage and its classifier that start alike.

    What was loaded, frozen or synchronised in the network stays so in its parts.
    """

    def __init__(self, network: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.bottom, top = split(network)
        self.branches = nn.ModuleDict({name: copy.deepcopy(top) for name in names})

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """[B, 3, H, W] -> logits [B, C] of each branch."""
        features = self.bottom(images)
        return {name: branch(features) for name, branch in self.branches.items()}


class Bottom(nn.Module):
    """All before the last stage: [B, 3, H, W] -> what the last stage takes."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network.forward_features(images)


class Top(nn.Module):
    """The last stage and all behind it -> logits [B, C]."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Tensor) -> Tensor:
        return self.network.forward_head(self.network.forward_features(features))


def split(network: nn.Module) -> tuple[Bottom, Top]:
    """Both parts of a network; its weights are copied.

    Each part is the whole network in which the modules of the other do nothing. The last stage begins with the first
    module that holds parameters of timm's last group of stages (`layer4` of a ResNet), or of none before it.
    Raises UserError where the parts do not compute what the whole does.
    """
    before, behind = _modules_by_side(network)
    bottom, top = copy.deepcopy(network), copy.deepcopy(network)
    for part, idle in ((bottom, behind), (top, before)):
        for name in idle:
            part.set_submodule(name, nn.Identity())
    parts = Bottom(bottom), Top(top)
    _check_equal(network, *parts)
    return parts


def _modules_by_side(network: nn.Module) -> tuple[list[str], list[str]]:
    """The outermost modules that run before the last stage, and those that run from there on, in a forward pass."""
    bottom_parameters = {name for stage in stage_parameters(network)[:-1] for name in stage}
    calls = _calls(network)
    cut = next((begin for name, (begin, _) in calls.items() if _is_top(network, name, bottom_parameters)), None)
    if cut is None:
        raise _no_split(network)
    before = {name for name, (_, end) in calls.items() if end < cut}
    behind = {name for name, (begin, _) in calls.items() if begin >= cut}
    return _outermost(before), _outermost(behind)


def _is_top(network: nn.Module, name: str, bottom_parameters: set[str]) -> bool:
    inside = [f"{name}.{parameter}" for parameter, _ in network.get_submodule(name).named_parameters()]
    return bool(inside) and not bottom_parameters.intersection(inside)


def _calls(network: nn.Module) -> dict[str, tuple[int, int]]:
    """When each module began first and ended last, counted in events, in the order of their beginnings."""
    begins: dict[str, int] = {}
    ends: dict[str, int] = {}
    events = itertools.count()

    def begin(name: str) -> Callable[..., None]:
        def hook(*_) -> None:
            begins.setdefault(name, next(events))

        return hook

    def end(name: str) -> Callable[..., None]:
        def hook(*_) -> None:
            ends[name] = next(events)

        return hook

    handles = []
    for name, module in network.named_modules():
        if name:
            handles += [module.register_forward_pre_hook(begin(name)), module.register_forward_hook(end(name))]
    try:
        _run(network)
    finally:
        for handle in handles:
            handle.remove()
    return {name: (first, ends[name]) for name, first in begins.items()}


def _outermost(names: set[str]) -> list[str]:
    def parents(name: str) -> set[str]:
        parts = name.split(".")
        return {".".join(parts[:count]) for count in range(1, len(parts))}

    return sorted(name for name in names if not parents(name) & names)


@torch.no_grad()
def _run(*parts: nn.Module) -> Tensor:
    """What the parts make of one small made picture, one after the other, in eval mode."""
    first = parts[0]
    side = _side(getattr(first, "network", first))
    parameter = next(first.parameters())
    x = torch.linspace(-1, 1, 3 * side * side, dtype=parameter.dtype, device=parameter.device).view(1, 3, side, side)
    training = [part.training for part in parts]
    for part in parts:
        x = part.eval()(x)
    for part, was in zip(parts, training, strict=True):
        part.train(was)
    return x


def _side(network: nn.Module) -> int:
    """Pixels of the picture's side: small, but for a network that takes one size alone."""
    settings = getattr(network, "pretrained_cfg", None) or {}
    return settings["input_size"][-1] if settings.get("fixed_input_size") else _PROBE_SIDE


def _check_equal(network: nn.Module, bottom: Bottom, top: Top) -> None:
    whole = _run(network)
    try:
        same = torch.allclose(_run(bottom, top), whole, rtol=1e-4, atol=1e-5)
    except (RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise _no_split(network) from error
    if not same:
        raise _no_split(network)


def _no_split(network: nn.Module) -> UserError:
    return UserError(
        f"model.backbone: {type(network).__name__} cannot be cut at its last stage, which two branches need; "
        "choose a network of stages, such as resnet50, convnext_tiny or cifar_resnet32"
    )
