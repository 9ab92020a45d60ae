"""Batch norm over the ranks' whole batch, on any device: torch's own refuses the CPU.

R ranks then compute what one process computes on the concatenated batch, whatever part each of them holds.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fastlt.errors import UserError


class RankBatchNorm2d(nn.BatchNorm2d):
    """nn.BatchNorm2d whose training statistics are those of all ranks: [B, C, H, W] -> [B, C, H, W].

    Without a process group, with one rank, or in eval mode it is nn.BatchNorm2d. B may differ between ranks.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not _several_ranks():
            return super().forward(x)
        out, mean, variance, count = _Normalise.apply(x, self.weight, self.bias, self.eps)
        if self.track_running_stats:
            self._track(mean, variance * (count / (count - 1)))
        return out

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        self.num_batches_tracked.add_(1)
        share = self.momentum  # None: the plain average of all batches
        for running, value in ((self.running_mean, mean), (self.running_var, variance)):
            value = value.to(running.dtype)
            running.lerp_(value, (1 / self.num_batches_tracked).to(value) if share is None else share)


class RankBatchNormAct2d(RankBatchNorm2d):
    """The same for timm's batch norm that holds its dropout and activation."""

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.drop(super().forward(x)))


_COUNTERPARTS = {nn.BatchNorm2d: RankBatchNorm2d, BatchNormAct2d: RankBatchNormAct2d}


def convert(model: nn.Module) -> nn.Module:
    """Makes every batch norm of `model` one over all ranks, in place; parameters, buffers and hooks stay.

    Raises UserError for a kind of batch norm that has no counterpart here.
    """
    for name, module in model.named_modules():
        if type(module) in _COUNTERPARTS:
            module.__class__ = _COUNTERPARTS[type(module)]
        elif isinstance(module, _BatchNorm) and not isinstance(module, RankBatchNorm2d):
            raise UserError(
                f"{name} is a {type(module).__name__}, which cannot be computed over all ranks; "
                "set model.sync_batch_norm=false or choose another backbone"
            )
    return model


def _several_ranks() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


class _Normalise(torch.autograd.Function):
    """(x [B, C, H, W], weight [C] or None, bias [C] or None) -> normalised x, mean [C], variance [C], count []."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float):
        mean, variance, count = _statistics(x)
        precise = torch.promote_types(x.dtype, torch.float32)
        out = F.batch_norm(x, mean.to(precise), variance.to(precise), weight, bias, eps=eps)
        inverse_deviation = (variance + eps).rsqrt().to(precise)
        ctx.save_for_backward(x, weight, mean.to(precise), inverse_deviation, count)
        ctx.mark_non_differentiable(mean, variance, count)
        return out, mean, variance, count

    @staticmethod
    def backward(ctx, grad: Tensor, *_):
        """Ioffe and Szegedy, "Batch Normalization", 2015, section 3, with the two sums taken over all ranks."""
        x, weight, mean, inverse_deviation, count = ctx.saved_tensors
        normalised = (x - _channels(mean)) * _channels(inverse_deviation)
        grad_bias = grad.sum((0, 2, 3), dtype=mean.dtype)
        grad_weight = (grad * normalised).sum((0, 2, 3), dtype=mean.dtype)
        both = torch.stack([grad_bias, grad_weight])
        dist.all_reduce(both)
        both = both / count.to(both.dtype)
        scale = inverse_deviation if weight is None else inverse_deviation * weight
        grad_x = (grad - _channels(both[0]) - normalised * _channels(both[1])) * _channels(scale)
        if weight is None:  # not affine
            return grad_x.to(x.dtype), None, None, None
        return grad_x.to(x.dtype), grad_weight.to(weight.dtype), grad_bias.to(weight.dtype), None


def _statistics(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean [C], biased variance [C] and number of values a channel [] over all ranks (float64), by one message.

    Every rank's own moments come from a two-pass kernel and only their C sums travel in float64, so that no
    digits are lost where the mean is large against the deviation.
    """
    precise = x.to(torch.promote_types(x.dtype, torch.float32))
    variance, mean = (moment.double() for moment in torch.var_mean(precise, (0, 2, 3), correction=0))
    count = x.numel() // x.shape[1]
    message = torch.cat(
        [mean * count, (variance + mean**2) * count, torch.full((1,), count, dtype=mean.dtype, device=mean.device)]
    )
    dist.all_reduce(message)
    total, square_total, all_count = message.split([x.shape[1], x.shape[1], 1])
    mean = total / all_count
    variance = (square_total / all_count - mean**2).clamp_(min=0)
    return mean, variance, all_count[0]


def _channels(value: Tensor) -> Tensor:
    return value[None, :, None, None]
