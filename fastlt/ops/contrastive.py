"""Contrastive losses: rows of features against class prototypes, or against each other."""

from __future__ import annotations

from torch import Tensor

from fastlt.ops import reference
from fastlt.ops.checks import reduction_code
from fastlt.ops.library import kernels_for


def prototype_contrastive(
    features: Tensor,
    prototypes: Tensor,
    labels: Tensor,
    *,
    temperature: float,
    positive_in_denominator: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """Prototypical supervised contrastive loss (Wang et al., "Contrastive Learning based Hybrid Networks for
    Long-Tailed Image Classification", CVPR 2021, eq. 6): with z_j the cosine of a row of features with prototype j
    over the temperature, -z_label + log of the sum of e^z_j over the other classes, or over all of them with
    `positive_in_denominator`. Without it the loss may be negative.

    `features` [B, D] and `prototypes` [C, D], each float64, float32, bfloat16 or float16, both normalised to length 1
    inside (a row of zeros stays, with gradient 0); `labels` int64 [B] in 0..C-1. temperature > 0; C >= 2 where the
    positive is not in the denominator. `reduction`: "row" [B], "sum" or "mean" (over B; 0 for an empty batch).
    The loss is float32, float64 for float64 features; gradients for features and prototypes. Nothing of size [B, C]
    is kept between forward and backward.

    Raises RuntimeError for wrong shapes, types and settings and, on the CPU, for labels out of range; on CUDA such
    a row is NaN.
    """
    kernels = kernels_for(features)
    if kernels is None:
        return reference.prototype_contrastive(
            features,
            prototypes,
            labels,
            temperature=temperature,
            positive_in_denominator=positive_in_denominator,
            reduction=reduction,
        )
    code = reduction_code("prototype_contrastive", reduction)
    gradients = kernels.gradients(code, features, prototypes)
    return kernels.prototype_contrastive(
        features, prototypes, labels, temperature, positive_in_denominator, code, gradients
    )


def supervised_contrastive(features: Tensor, labels: Tensor, *, temperature: float, reduction: str = "mean") -> Tensor:
    """Supervised contrastive loss (Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020, eq. 2): with z_ij
    the cosine of rows i and j over the temperature, -mean of z_ij over the other rows j of the same label + log of the
    sum of e^z_ij over all other rows.

    `features` [N, D], float64, float32, bfloat16 or float16, normalised to length 1 inside (a row of zeros stays, with
    gradient 0); `labels` int64 [N]: several views of an image are rows of the same label. A row whose
    label no other row has is no anchor: its loss is 0. temperature > 0. `reduction`: "row" [N], "sum" or "mean" (over
    the anchors; 0 if there is none). The loss is float32, float64 for float64 features. Nothing of size [N, N] is kept
    between forward and backward.

    Raises RuntimeError for wrong shapes, types and settings.
    """
    kernels = kernels_for(features)
    if kernels is None:
        return reference.supervised_contrastive(features, labels, temperature=temperature, reduction=reduction)
    code = reduction_code("supervised_contrastive", reduction)
    return kernels.supervised_contrastive(features, labels, temperature, code, kernels.gradients(code, features))
