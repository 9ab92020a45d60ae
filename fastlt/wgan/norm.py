"""Batch norm with a leaky ReLU behind it, and what a gradient penalty needs: its derivatives up to the second.

With u the inputs of a map of M places, i = 1 / sqrt(variance + epsilon), n = (u - mean) i, scale a, and
P(g) = g - mean(g) - n mean(g n), the derivative of v = a n + shift is the matrix a i P. It is symmetric: one operator
takes gradients of v to those of u, and changes of u to those of v.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

EPSILON = 1e-5
BOTH_WAYS = torch.ops.aten.native_batch_norm_backward


@dataclass
class Changed:
    """What `a i P` made of `before`; with the sums of before * n and of before over the places of a map."""

    before: Tensor  # [G, C, N, h, w]
    after: Tensor  # the same
    times_normal: Tensor  # [G, C, N], for a gradient that of the scales
    total: Tensor  # [G, C, N], for a gradient that of the shifts

    def only(self, picture: int) -> Changed:
        return Changed(*(getattr(self, field.name)[:, :, picture : picture + 1] for field in fields(self)))


@dataclass
class Normed:
    """Maps after batch norm and leaky ReLU, every map by its own mean and variance.

    A network's batch is one picture, so what is computed of a picture depends on no other.
    """

    inputs: Tensor  # [G, C, N, h, w]
    maps: Tensor  # the same
    scale: Tensor  # [G, C, N], as the following
    mean: Tensor
    inverse: Tensor  # of the standard deviation
    slope: float  # of the leaky ReLU

    @classmethod
    def of(cls, inputs: Tensor, scale: Tensor, shift: Tensor, slope: float) -> Normed:
        """scale, shift: [G, C]"""
        rows = inputs.shape[:3]
        scale, shift = (values[:, :, None].expand(rows).contiguous() for values in (scale, shift))
        maps, mean, inverse = torch.native_batch_norm(
            _side_by_side(inputs), scale.view(-1), shift.view(-1), None, None, True, 0.0, EPSILON
        )
        F.leaky_relu_(maps, slope)
        return cls(inputs, maps.view_as(inputs), scale, mean.view(rows), inverse.view(rows), slope)

    def only(self, picture: int) -> Normed:
        """Its maps of one picture."""
        *tensors, slope = (getattr(self, field.name) for field in fields(self))
        return Normed(*(tensor[:, :, picture : picture + 1].contiguous() for tensor in tensors), slope)

    def backward(self, gradient: Tensor) -> Changed:
        """Of `maps`; gives that of v and of the inputs."""
        return self._change(self.rectify(gradient))

    def forward(self, change: Tensor) -> Changed:
        """Of the inputs; gives that of v, which is yet to be rectified."""
        return self._change(change)

    def rectify(self, change: Tensor) -> Tensor:
        """The leaky ReLU's derivative, both ways."""
        return torch.ops.aten.leaky_relu_backward(change, self.maps, self.slope, True)

    def second(self, gradient: Changed, change: Changed, above: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of inputs, scales and shifts of what is a sum of two: of gradient.before * change.after, and of
        the maps times `above` [G, C, N, h, w], if there is any.

        The first depends on u by i and n. With g, c what is before, that of n is -a i (c mean(g n) + g mean(c n)), and
        a sum(c P(g)) that of i, which is -i^2 n / M times that of u.
        """
        g, c, i = gradient, change, self.inverse
        places = self.inputs[0, 0, 0].numel()
        by_c, by_g = i * g.times_normal / places, i * c.times_normal / places
        passed = self.inputs.new_zeros(()) if above is None else self.rectify(above)
        passed = torch.addcmul(passed, _over_maps(by_c), c.before, value=-1)
        through = self._change(passed.addcmul_(_over_maps(by_g), g.before, value=-1))
        of_i = (c.before * g.before).sum((3, 4))  # to become sum(c P(g))
        of_i.addcmul_(g.total, c.total, value=-1 / places).addcmul_(g.times_normal, c.times_normal, value=-1 / places)
        by_distance = self.scale * i**3 * of_i
        inputs = through.after.addcmul_(_over_maps(by_distance), self.inputs - _over_maps(self.mean), value=-1 / places)
        scale = through.times_normal.addcmul_(i, of_i).addcmul_(by_c, c.times_normal, value=2)
        return inputs, scale, through.total.addcmul_(by_c, c.total).addcmul_(by_g, g.total)

    def _change(self, before: Tensor) -> Changed:
        inputs, scale, mean, inverse = self.inputs, self.scale, self.mean, self.inverse
        after, times_normal, total = BOTH_WAYS(
            *(
                _side_by_side(before),
                _side_by_side(inputs),
                scale.view(-1),
                None,
                None,
                mean.view(-1),
                inverse.view(-1),
            ),
            *(True, EPSILON, (True, True, True)),
        )
        return Changed(before, after.view_as(inputs), times_normal.view_as(scale), total.view_as(scale))


def _side_by_side(maps: Tensor) -> Tensor:
    """All maps as the channels of one picture, which is how torch norms each by itself."""
    return maps.reshape(1, -1, *maps.shape[3:])


def _over_maps(values: Tensor) -> Tensor:
    return values[..., None, None]
