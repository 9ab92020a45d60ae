"""Layers of many small networks side by side: what belongs to network g of G is in row g of every tensor.

A grouped convolution as one product of G matrices: a strided view of the picture becomes columns, and G matrices of
weights take them in one call. It is deterministic, may be differentiated any number of times, and needs no kernel for
grouped convolutions, which are slow where each network sees one picture.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

KERNEL, STRIDE, PADDING = 4, 2, 1


class _Columns(torch.autograd.Function):
    """[G, C, 2h, 2w] -> [G, 16 C, h w]: the 4 x 4 pixels around each place of the halved map, as by `F.unfold`."""

    @staticmethod
    def forward(context, pictures: Tensor) -> Tensor:
        padded = F.pad(pictures, (PADDING,) * 4)
        patches = padded.unfold(2, KERNEL, STRIDE).unfold(3, KERNEL, STRIDE)  # a view: [G, C, h, w, 4, 4]
        groups, channels, height, width = patches.shape[:4]
        context.size = pictures.shape[2:]
        return patches.permute(0, 1, 4, 5, 2, 3).reshape(groups, channels * KERNEL * KERNEL, height * width)

    @staticmethod
    def backward(context, gradient: Tensor) -> Tensor:
        return _Pictures.apply(gradient, context.size)


class _Pictures(torch.autograd.Function):
    """[G, 16 C, h w] -> [G, C, 2h, 2w]: the transpose of `_Columns`, where patches overlap they are added."""

    @staticmethod
    def forward(context, columns: Tensor, size: torch.Size) -> Tensor:
        return F.fold(columns, size, KERNEL, padding=PADDING, stride=STRIDE)

    @staticmethod
    def backward(context, gradient: Tensor) -> tuple[Tensor, None]:
        return _Columns.apply(gradient), None


class Halve(nn.Module):
    """Convolution 4 x 4 of stride 2: [G, in, 2h, 2w] -> [G, out, h, w]; row g of `weight` is as `nn.Conv2d` has it."""

    def __init__(self, groups: int, inputs: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(groups, outputs, inputs, KERNEL, KERNEL))

    def forward(self, pictures: Tensor) -> Tensor:
        height, width = (side // STRIDE for side in pictures.shape[2:])
        maps = torch.bmm(self.weight.flatten(2), _Columns.apply(pictures))
        return maps.unflatten(2, (height, width))


class Double(nn.Module):
    """Its transpose: [G, in, h, w] -> [G, out, 2h, 2w]; row g of `weight` is as `nn.ConvTranspose2d` has it."""

    def __init__(self, groups: int, inputs: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(groups, inputs, outputs, KERNEL, KERNEL))

    def forward(self, maps: Tensor) -> Tensor:
        size = torch.Size(STRIDE * side for side in maps.shape[2:])
        return _Pictures.apply(torch.bmm(self.weight.flatten(2).transpose(1, 2), maps.flatten(2)), size)


class Expand(nn.Module):
    """Transposed convolution of numbers to a map of `size`: [G, in] -> [G, out, h, w]."""

    def __init__(self, groups: int, inputs: int, outputs: int, size: tuple[int, int]):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(groups, inputs, outputs, *size))

    def forward(self, numbers: Tensor) -> Tensor:
        return torch.bmm(numbers[:, None], self.weight.flatten(2)).view(-1, *self.weight.shape[2:])


class Score(nn.Module):
    """Convolution over the whole map to one number: [G, in, h, w] -> [G]."""

    def __init__(self, groups: int, inputs: int, size: tuple[int, int]):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(groups, inputs, *size))

    def forward(self, maps: Tensor) -> Tensor:
        return (self.weight * maps).flatten(1).sum(1)


class BatchNorm(nn.Module):
    """Batch norm of [G, C, H, W] for every network alone, always by the batch's own statistics.

    A network's batch is one picture, so they are those of that picture: what is computed of it depends on no other.
    """

    def __init__(self, groups: int, channels: int):
        super().__init__()
        self.scale = nn.Parameter(torch.empty(groups, channels))
        self.shift = nn.Parameter(torch.empty(groups, channels))

    def forward(self, maps: Tensor) -> Tensor:
        side_by_side = maps.reshape(1, -1, *maps.shape[2:])
        scale, shift = self.scale.flatten(), self.shift.flatten()
        return F.batch_norm(side_by_side, None, None, scale, shift, training=True).view_as(maps)
