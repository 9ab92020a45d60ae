"""Convolutions of many small networks side by side: what belongs to network g of G is in row g of every tensor.

Maps are [G, C, N, h, w], N pictures for each network. A convolution 4 x 4 of stride 2 is one product of G matrices, the
weights [G, deep, shallow, 4, 4] with the columns of all N pictures, so that weights are read once for all of them; its
transpose doubles maps with weights of the same shape. It is deterministic, and needs no kernel for grouped
convolutions, which are slow where each network sees few pictures.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

KERNEL, STRIDE, PADDING = 4, 2, 1


def columns(maps: Tensor, out: Tensor | None = None) -> Tensor:
    """[G, C, N, 2h, 2w] -> [G, 16 C, N, h w]: the 4 x 4 pixels around each place of the halved maps, as by `F.unfold`.

    out: where they are written.
    """
    padded = F.pad(maps, (PADDING,) * 4)
    patches = padded.unfold(3, KERNEL, STRIDE).unfold(4, KERNEL, STRIDE)  # a view: [G, C, N, h, w, 4, 4]
    groups, channels, pictures, height, width = patches.shape[:5]
    if out is None:
        out = maps.new_empty(groups, channels * KERNEL * KERNEL, pictures, height * width)
    out.view(groups, channels, KERNEL, KERNEL, pictures, height, width).copy_(patches.permute(0, 1, 5, 6, 2, 3, 4))
    return out


def overlap(columns: Tensor, size: tuple[int, int]) -> Tensor:
    """[G, 16 C, N, h w] -> [G, C, N, *size]: the transpose of `columns`; where patches overlap they are added.

    Overwrites `columns`. `F.fold` takes the pictures of a network for one tall picture; what would go over the border
    to the one above or below is made zero before.
    """
    groups, rows, pictures = columns.shape[:3]
    height, width = size
    patches = columns.view(groups, -1, KERNEL, KERNEL, pictures, height // STRIDE, width // STRIDE)
    patches[:, :, 0, :, :, 0] = 0
    patches[:, :, -1, :, :, -1] = 0
    tall = F.fold(columns.view(groups, rows, -1), (pictures * height, width), KERNEL, padding=PADDING, stride=STRIDE)
    return tall.view(groups, -1, pictures, height, width)


def halve(weight: Tensor, columns: Tensor, size: tuple[int, int]) -> Tensor:
    """[G, 16 shallow, N, h w], the columns of maps -> [G, deep, N, *size], size being h, w."""
    maps = torch.bmm(weight.flatten(2), columns.flatten(2))
    return maps.unflatten(2, (columns.shape[2], *size))


def double(weight: Tensor, maps: Tensor) -> Tensor:
    """[G, deep, N, h, w] -> [G, shallow, N, 2h, 2w]"""
    height, width = maps.shape[3:]
    patches = torch.bmm(weight.flatten(2).transpose(1, 2), maps.flatten(2))
    return overlap(patches.unflatten(2, (maps.shape[2], -1)), (STRIDE * height, STRIDE * width))


def weight_gradient(deep: Tensor, columns: Tensor) -> Tensor:
    """[G, deep, shallow, 4, 4], of both: deep [G, deep, N, h, w] and the columns [G, 16 shallow, N, h w]."""
    gradient = torch.bmm(deep.flatten(2), columns.flatten(2).transpose(1, 2))
    return gradient.unflatten(2, (-1, KERNEL, KERNEL))


class Layer(nn.Module):
    """The weights of a convolution, and of the batch norm behind it if `normed` is its number of maps."""

    def __init__(self, groups: int, shape: tuple[int, ...], normed: int | None = None):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(groups, *shape))
        if normed is not None:
            self.scale = nn.Parameter(torch.empty(groups, normed))
            self.shift = nn.Parameter(torch.empty(groups, normed))
