"""Ranking loss of multi-label recognition."""

from __future__ import annotations

from torch import Tensor

from fastlt.ops import reference
from fastlt.ops.checks import reduction_code
from fastlt.ops.library import kernels_for


def lsep(logits: Tensor, targets: Tensor, *, reduction: str = "mean") -> Tensor:
    """Log-sum-exp pairwise loss (Li, Song, Luo, "Improving Pairwise Ranking for Multi-label Image Classification",
    CVPR 2017, eq. 4): log(1 + sum over negatives v and positives u of e^(x_v - x_u)), in one pass over the row.

    `logits` [B, C], float64, float32, bfloat16 or float16; `targets` int8 [B, C]: 1 positive, 0 negative, -1 unknown
    and left out. A row without a positive or without a negative has loss 0 and gradient 0. `reduction`: "row" [B],
    "sum" or "mean" (over B; 0 for an empty batch). The loss is float32, float64 for float64 logits.

    The loss does not change when a constant is added to a row, so a threshold on the scores must be learnt elsewhere.
    Raises RuntimeError for wrong shapes and types; ValueError for an unknown reduction.
    """
    kernels = kernels_for(logits)
    if kernels is None:
        return reference.lsep(logits, targets, reduction=reduction)
    code = reduction_code("lsep", reduction)
    return kernels.lsep(logits, targets, code, kernels.gradients(code, logits))
