"""The generator and the critic of ML-WGAN-GP, for G images at once."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fastlt.wgan.layers import BatchNorm, Double, Expand, Halve, Score
from fastlt.wgan.settings import Settings

SLOPE = 0.2  # of the critic's leaky ReLU
SPREAD = 0.02  # standard deviation of initial weights


class Generator(nn.Sequential):
    """Noise [G, noise] -> pictures [G, 3, H, W] in [-1, 1]."""

    def __init__(self, groups: int, settings: Settings):
        picture, *widths = settings.widths
        deepest = widths[-1]
        layers = [Expand(groups, settings.noise, deepest, settings.smallest), BatchNorm(groups, deepest), nn.ReLU()]
        for wide, narrow in zip(widths[:0:-1], widths[-2::-1], strict=True):
            layers += [Double(groups, wide, narrow), BatchNorm(groups, narrow), nn.ReLU()]
        super().__init__(*layers, Double(groups, widths[0], picture), nn.Tanh())


class Critic(nn.Sequential):
    """Pictures [G, 3, H, W] -> scores [G], higher for what looks real."""

    def __init__(self, groups: int, settings: Settings):
        layers: list[nn.Module] = []
        for inputs, outputs in zip(settings.widths, settings.widths[1:], strict=False):
            layers += [Halve(groups, inputs, outputs), BatchNorm(groups, outputs), nn.LeakyReLU(SLOPE)]
        super().__init__(*layers, Score(groups, settings.widths[-1], settings.smallest))


@torch.no_grad()
def initialise(networks: list[nn.Module], seeds: list[int], device: torch.device) -> None:
    """Weights from N(0, 0.02), scales of batch norm from N(1, 0.02), as DCGAN has it; network g by seeds[g] alone."""
    for group, seed in enumerate(seeds):
        draws = torch.Generator(device).manual_seed(seed)
        for network in networks:
            for name, parameter in network.named_parameters():
                if name.endswith("shift"):
                    parameter[group].zero_()
                else:
                    parameter[group].normal_(float(name.endswith("scale")), SPREAD, generator=draws)


def gradient_penalty(critic: Critic, real: Tensor, fake: Tensor, share: Tensor) -> Tensor:
    """[G]: (|gradient| - 1)^2 at a point between a real and a made picture, `share` [G] of the way to the real one.

    Gulrajani et al., "Improved training of Wasserstein GANs", 2017. Each picture's own: its gradient is the critic's
    for it alone.
    """
    share = share[:, None, None, None]
    between = (share * real + (1 - share) * fake).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return (gradient.flatten(1).norm(dim=1) - 1) ** 2
