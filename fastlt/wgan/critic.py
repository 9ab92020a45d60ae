"""The critics of G images at once, and the gradients of what they learn by.

The gradient penalty needs the gradient of a gradient. Let g be that of a score at a point between a real and a made
picture: then the gradient of (|g| - 1)^2 by the weights is 2 (|g| - 1) / |g| times that of g . v, where v = g is held
still. And g . v is the change of the score along v. So a pass forward and back gives g, another pass forward carries
the change of maps along v, and another back what it depends on.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fastlt.wgan.layers import KERNEL, Layer, columns, double, halve, weight_gradient
from fastlt.wgan.norm import Changed, Normed
from fastlt.wgan.settings import Settings

SLOPE = 0.2  # of the leaky ReLU
LENGTH = 1e-12  # of a gradient, below which it has no direction
MADE, REAL, BETWEEN, ALONG = range(4)  # places of the pictures that a step sees, and of the change along v


class Critic(nn.Module):
    """N pictures for each network, [G, 3, N, H, W] -> scores [G, N], higher for what looks real.

    Convolutions with batch norm and leaky ReLU, then one over the whole map to a number. Row g of the weights is as
    `nn.Conv2d` has it.
    """

    def __init__(self, groups: int, settings: Settings):
        super().__init__()
        self.layers = nn.ModuleList(
            Layer(groups, (outputs, inputs, KERNEL, KERNEL), outputs)
            for inputs, outputs in zip(settings.widths, settings.widths[1:], strict=False)
        )
        self.last = Layer(groups, (settings.widths[-1], *settings.smallest))

    @torch.no_grad()
    def forward(self, pictures: Tensor) -> Tensor:
        return self._scores(self._trace(pictures, 0)[1])

    @torch.no_grad()
    def picture_gradient(self, pictures: Tensor) -> Tensor:
        """Of the scores, by the pictures."""
        _, kept = self._trace(pictures, 0)
        return self._back(kept, pictures.new_ones(pictures.shape[2]), slice(None))[1]

    @torch.no_grad()
    def learn(self, real: Tensor, made: Tensor, share: Tensor, penalty: float) -> tuple[Tensor, list[Tensor]]:
        """The loss [G] and the gradients of the parameters, in their order.

        Gulrajani et al., "Improved training of Wasserstein GANs", 2017, equation 3: score of `made` - score of `real`
        (both [G, 3, H, W]) + penalty (|g| - 1)^2, g being the gradient of the score by the picture at a point `share`
        [G] of the way from the made to the real one. It is each picture's own.
        """
        share = share[:, None, None, None]
        pictures = torch.stack([made, real, share * real + (1 - share) * made], 2)
        patches, kept = self._trace(pictures, 1)
        changes, gradient = self._back(kept, pictures.new_tensor([1.0, -1.0, 1.0]), slice(BETWEEN, BETWEEN + 1))
        size = gradient.flatten(1).norm(dim=1)
        factor = 2 * penalty * (size - 1) / size.clamp(min=LENGTH)
        gradients = self._second(patches, kept, changes, factor[:, None, None, None, None] * gradient)
        scores = self._scores(kept)
        return scores[:, MADE] - scores[:, REAL] + penalty * (size - 1) ** 2, gradients

    def _trace(self, maps: Tensor, room: int) -> tuple[list[Tensor], list[Normed]]:
        """Of each layer the columns that it sees, with `room` for those of more pictures, and its maps."""
        patches, kept = [], []
        for layer in self.layers:
            groups, channels, pictures, *size = maps.shape
            half = [side // 2 for side in size]
            seen = maps.new_empty(groups, channels * KERNEL * KERNEL, pictures + room, half[0] * half[1])
            patches.append(seen)
            deep = halve(layer.weight, columns(maps, seen[:, :, :pictures]), half)
            kept.append(Normed.of(deep, layer.scale, layer.shift, SLOPE))
            maps = kept[-1].maps
        return patches, kept

    def _scores(self, kept: list[Normed]) -> Tensor:
        return (self.last.weight[:, :, None] * kept[-1].maps).sum((1, 3, 4))

    def _back(self, kept: list[Normed], signs: Tensor, wanted: slice) -> tuple[list[Changed], Tensor]:
        """Gradients of `signs` [N] times the scores: in each layer, and of the pictures that are wanted."""
        changes, gradient = [], self.last.weight[:, :, None] * signs[:, None, None]
        for layer, normed in zip(reversed(self.layers), reversed(kept), strict=True):
            changes.append(normed.backward(gradient))
            pictures = wanted if layer is self.layers[0] else slice(None)
            gradient = double(layer.weight, changes[-1].after[:, :, pictures])
        return changes[::-1], gradient

    def _second(self, patches: list[Tensor], kept: list[Normed], changes: list[Changed], along: Tensor) -> list[Tensor]:
        """Gradients of the parameters, of the score of the made, less that of the real, plus the change `along` v."""
        forward, between = [], [normed.only(BETWEEN) for normed in kept]
        for layer, seen, normed in zip(self.layers, patches, between, strict=True):
            columns(along, seen[:, :, ALONG:])
            forward.append(normed.forward(halve(layer.weight, seen[:, :, ALONG:], normed.maps.shape[3:])))
            along = normed.rectify(forward[-1].after)
        maps = kept[-1].maps
        found, above = [maps[:, :, MADE] - maps[:, :, REAL] + along[:, :, 0]], None
        for layer, seen, normed, back, change in zip(
            *map(reversed, (self.layers, patches, between, changes, forward)), strict=True
        ):
            inputs, scale, shift = normed.second(back.only(BETWEEN), change, above)
            deep = torch.cat([back.after[:, :, :BETWEEN], inputs, back.after[:, :, BETWEEN:]], 2)
            found.append(shift[:, :, 0] + back.total[:, :, :BETWEEN].sum(2))
            found.append(scale[:, :, 0] + back.times_normal[:, :, :BETWEEN].sum(2))
            found.append(weight_gradient(deep, seen))
            above = double(layer.weight, inputs) if layer is not self.layers[0] else None
        return found[::-1]
