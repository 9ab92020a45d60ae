"""1 x 1 convolutions as matrix products, where a CPU is faster so."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEAST_WEIGHTS = 200_000  # measured: below it the convolution is as fast


class PointwiseConv2d(nn.Conv2d):
    """nn.Conv2d of kernel 1 and any stride: [B, C, H, W] -> [B, K, h, w], of float32 on a CPU a product of all pixels
    [B h w, C] that are looked at with the weights."""

    def forward(self, x: Tensor) -> Tensor:
        if not (x.is_cpu and x.dtype == torch.float32 and x.is_contiguous(memory_format=torch.channels_last)):
            return super().forward(x)
        down, across = self.stride
        pixels = x.permute(0, 2, 3, 1)[:, ::down, ::across]
        weight = self.weight.permute(0, 2, 3, 1).flatten(1)  # so its gradient lies in memory as it does
        return F.linear(pixels, weight, self.bias).permute(0, 3, 1, 2)

    @classmethod
    def is_form_of(cls, module: nn.Module) -> bool:
        return (
            type(module) is nn.Conv2d
            and (module.kernel_size, module.padding) == ((1, 1), (0, 0))
            and module.groups == 1
            and module.weight.numel() >= LEAST_WEIGHTS
        )
