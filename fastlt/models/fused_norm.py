"""Batch norm, residual and ReLU as one operator, where a CPU trains; elsewhere torch's own, one after the other."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.models import resnet
from torch import Tensor, nn

from fastlt.models import cifar_resnet
from fastlt.ops import norm


class NormReLU2d(nn.BatchNorm2d):
    """nn.BatchNorm2d with the ReLU behind it: [B, C, H, W], and a residual like it -> relu(norm + residual)."""

    def forward(self, x: Tensor, residual: Tensor | None = None, keep_residual: bool = False) -> Tensor:
        if not self._is_served(x, residual):
            out = super().forward(x)
            return F.relu(out if residual is None else out.add_(residual), inplace=True)
        out, mean, variance = norm.batch_norm_relu(x, residual, self.weight, self.bias, self.eps, keep_residual)
        self._track(mean, variance, x.numel() // x.shape[1])
        return out

    def _is_served(self, x: Tensor, residual: Tensor | None) -> bool:
        """Whether the operator knows these tensors, and need not copy the first."""
        return (
            self.training
            and x.is_cpu
            and norm.available()
            and self.weight.dtype == torch.promote_types(x.dtype, torch.float32)
            and x.numel() > x.shape[1]  # torch has the words for a channel of one value
            and x.is_contiguous(memory_format=torch.channels_last)
            and (residual is None or (residual.dtype == x.dtype and residual.shape == x.shape))
        )

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, count: int) -> None:
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)


class DoneReLU(nn.ReLU):
    """Behind a NormReLU2d, which has done what it did."""

    def forward(self, x: Tensor) -> Tensor:
        return x


class FusedBasicBlock(resnet.BasicBlock):
    """timm's, with NormReLU2d and nothing between a norm and its ReLU."""

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn1(self.conv1(x))
        return _added(self.bn2, self.conv2(out), x, x if self.downsample is None else self.downsample(x))


class FusedBottleneck(resnet.Bottleneck):
    """timm's, with NormReLU2d and nothing between a norm and its ReLU."""

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.bn1(self.conv1(x))))
        return _added(self.bn3, self.conv3(out), x, x if self.downsample is None else self.downsample(x))


class FusedCifarBlock(cifar_resnet.BasicBlock):
    """The CIFAR ResNets', with NormReLU2d."""

    def forward(self, x: Tensor) -> Tensor:
        return _added(self.bn2, self.conv2(self.bn1(self.conv1(x))), x, self._shortcut(x))


def _added(bn: NormReLU2d, out: Tensor, x: Tensor, shortcut: Tensor) -> Tensor:
    """The end of a block of input x, which its first convolution keeps for the backward pass anyway."""
    return bn(out, shortcut, keep_residual=shortcut is x)
