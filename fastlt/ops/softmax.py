"""Softmax losses of single-label recognition that know how often each class occurs."""

from __future__ import annotations

from torch import Tensor

from fastlt.ops import reference
from fastlt.ops.checks import constant, reduction_code
from fastlt.ops.library import kernels_for


def balanced_softmax(logits: Tensor, labels: Tensor, log_prior: Tensor, *, reduction: str = "mean") -> Tensor:
    """Balanced softmax cross-entropy (Ren et al., "Balanced Meta-Softmax for Long-Tailed Visual Recognition",
    NeurIPS 2020, eq. 4): cross-entropy of x + log_prior, the logits without it at test time.

    `logits` [B, C], float64, float32, bfloat16 or float16; `labels` int64 [B] in 0..C-1; `log_prior` [C], float32
    (float64 beside float64 logits), the logarithm of the class counts or shares: a constant more or less in all
    of them changes nothing. -inf stands for a class without images, which is then left out of the softmax; a row with
    such a label has an infinite loss and a finite gradient. `reduction`: "row" [B], "sum" or "mean" (over B; 0 for an
    empty batch). The loss is float32, float64 for float64 logits; no gradient for `log_prior`.

    Raises RuntimeError for wrong shapes, types and settings and, on the CPU, for labels out of range; on CUDA such
    a row is NaN.
    """
    kernels = kernels_for(logits)
    if kernels is None:
        return reference.balanced_softmax(logits, labels, log_prior, reduction=reduction)
    code = reduction_code("balanced_softmax", reduction)
    prior = constant(log_prior)
    return kernels.balanced_softmax(logits, labels, prior, code, kernels.gradients(code, logits))


def dive(
    logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    log_prior: Tensor,
    *,
    temperature: float,
    power: float = 1.0,
    alpha: float = 0.5,
    reduction: str = "mean",
) -> Tensor:
    """Distilling virtual examples (He, Wu, Wei, "Distilling Virtual Examples for Long-tailed Recognition", ICCV 2021,
    section 3): (1 - alpha) * balanced_softmax + alpha * temperature^2 * KL(t || s), where s = softmax(x / temperature)
    and t is the teacher's softmax at the same temperature, raised to `power` and normalised again:
    softmax(power * teacher / temperature). Both without the prior.

    `logits`, `labels`, `log_prior`, `reduction`, the result and the errors as for `balanced_softmax`;
    `teacher_logits` [B, C] of any of the floating types, without gradient. temperature > 0, power > 0, 0 <= alpha <= 1.
    """
    kernels = kernels_for(logits)
    if kernels is None:
        return reference.dive(
            logits,
            teacher_logits,
            labels,
            log_prior,
            temperature=temperature,
            power=power,
            alpha=alpha,
            reduction=reduction,
        )
    code = reduction_code("dive", reduction)
    gradients = kernels.gradients(code, logits)
    teacher, prior = constant(teacher_logits), constant(log_prior)
    return kernels.dive(logits, teacher, labels, prior, temperature, power, alpha, code, gradients)
