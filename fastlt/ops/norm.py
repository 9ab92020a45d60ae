"""Batch norm in training, residual and ReLU in one operator, on the CPU, for channels-last tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function

from fastlt.ops.library import NAMESPACE, namespace


@torch.compiler.assume_constant_result  # no compiler shall look into the loading
def available() -> bool:
    """Whether the compiled library is there; torch's own operators compute the same. Loads the library."""
    return namespace() is not None


def batch_norm_relu(
    x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor, eps: float, keep_residual: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """relu(batch_norm(x) + residual) with the statistics of the batch (Ioffe and Szegedy, "Batch Normalization", 2015,
    section 3): y [B, C, H, W], and x's mean and biased variance [C], which carry no gradient.

    `x` and `residual` [B, C, H, W] on the CPU, of one type (float64, float32, bfloat16 or float16), not empty;
    `weight` and `bias` [C] float32, float64 beside float64. Other layouts than channels-last are copied. The moments
    are float32 or float64 likewise, and the same for any number of threads. Cannot be differentiated twice. With a
    residual, what was cut off is known in the backward pass by y, which is kept for it, or by the residual in its
    place: `keep_residual` where something else keeps that anyway.
    Raises RuntimeError for wrong shapes and types. Needs the compiled library: ask `available` first.
    """
    return _BatchNormReLU.apply(x, residual, weight, bias, eps, keep_residual)


class _BatchNormReLU(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor, eps: float, keep_residual: bool
    ):
        x = _channels_last(x)
        added = None if residual is None else _channels_last(residual)
        y, mean, variance = getattr(torch.ops, NAMESPACE).batch_norm_relu(x, added, weight, bias, eps)
        kept = (None, None) if added is None else (added, None) if keep_residual else (None, y)
        ctx.save_for_backward(x, *kept, weight, bias, mean, variance)
        ctx.eps = eps
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(mean, variance)
        return y, mean, variance

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        if grad is None:
            return (None,) * 6
        if torch.is_grad_enabled():  # so it is under create_graph=True, and only then
            raise RuntimeError("batch_norm_relu: its gradient cannot be differentiated again (create_graph=True)")
        backward = getattr(torch.ops, NAMESPACE).batch_norm_relu_backward
        of_x, of_residual, of_weight, of_bias = backward(grad, *ctx.saved_tensors, ctx.eps)
        needs_residual = ctx.needs_input_grad[1]
        return of_x, of_residual if needs_residual else None, of_weight, of_bias, None, None


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)
