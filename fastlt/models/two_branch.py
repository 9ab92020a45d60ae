"""A network cut at its last stage: a shared bottom, and a copy of all the rest for each branch.

                 +-- last stage, pooling, classifier --> logits of the first branch
    x -- bottom -+
                 +-- last stage, pooling, classifier --> logits of the second branch

Guo & Wang, CVPR 2021, figure 2, and the bilateral branches of Zhou et al., CVPR 2020, are of this shape.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fastlt.errors import UserError
from fastlt.models import cut
from fastlt.models.freeze import stage_parameters


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
    try:
        before, behind = cut.sides(network, len(stage_parameters(network)) - 1)
    except cut.NoCut as error:
        raise _no_split(network) from error
    bottom, top = copy.deepcopy(network), copy.deepcopy(network)
    for part, idle in ((bottom, behind), (top, before)):
        for name in idle:
            part.set_submodule(name, nn.Identity())
    parts = Bottom(bottom), Top(top)
    _check_equal(network, *parts)
    return parts


def _check_equal(network: nn.Module, bottom: Bottom, top: Top) -> None:
    whole = cut.run(network)
    try:
        same = torch.allclose(cut.run(bottom, top), whole, rtol=1e-4, atol=1e-5)
    except (RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise _no_split(network) from error
    if not same:
        raise _no_split(network)


def _no_split(network: nn.Module) -> UserError:
    return UserError(
        f"model.backbone: {type(network).__name__} cannot be cut at its last stage, which two branches need; "
        "choose a network of stages, such as resnet50, convnext_tiny or cifar_resnet32"
    )
