"""The generators of G images at once."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from fastlt.wgan.layers import KERNEL, Layer, columns, double, halve, weight_gradient
from fastlt.wgan.norm import Normed
from fastlt.wgan.settings import Settings


class Generator(nn.Module):
    """Noise [G, N, noise] -> N pictures for each network, [G, 3, N, H, W] in [-1, 1].

    Transposed convolutions, each but the last with batch norm and ReLU behind it, then tanh. Row g of the weights is as
    `nn.ConvTranspose2d` has it.
    """

    def __init__(self, groups: int, settings: Settings):
        super().__init__()
        picture, *widths = settings.widths
        self.layers = nn.ModuleList([Layer(groups, (settings.noise, widths[-1], *settings.smallest), widths[-1])])
        for wide, narrow in zip(widths[:0:-1], widths[-2::-1], strict=True):
            self.layers.append(Layer(groups, (wide, narrow, KERNEL, KERNEL), narrow))
        self.layers.append(Layer(groups, (widths[0], picture, KERNEL, KERNEL)))

    def forward(self, noise: Tensor) -> Tensor:
        return self.trace(noise)[1]

    @torch.no_grad()
    def trace(self, noise: Tensor) -> tuple[list[Normed], Tensor]:
        """The pictures, and before them the maps that they were made of."""
        weight, kept = self.layers[0].weight, []
        maps = torch.bmm(noise, weight.flatten(2)).unflatten(2, weight.shape[2:]).transpose(1, 2)
        for layer, following in pairwise(self.layers):
            kept.append(Normed.of(maps.contiguous(), layer.scale, layer.shift, slope=0.0))
            maps = double(following.weight, kept[-1].maps)
        return kept, maps.tanh()

    @torch.no_grad()
    def gradients(self, noise: Tensor, kept: list[Normed], made: Tensor, gradient: Tensor) -> list[Tensor]:
        """Of the parameters, in their order, of the `gradient` of the pictures `made`."""
        found, gradient = [], gradient * (1 - made**2)
        for layer, normed in zip(reversed(self.layers), reversed(kept), strict=False):
            patches = columns(gradient)
            change = normed.backward(halve(layer.weight, patches, normed.maps.shape[3:]))
            found += [weight_gradient(normed.maps, patches), change.total.sum(2), change.times_normal.sum(2)]
            gradient = change.after
        first = torch.bmm(noise.transpose(1, 2), gradient.transpose(1, 2).flatten(2))
        return [first.view_as(self.layers[0].weight), *reversed(found)]
