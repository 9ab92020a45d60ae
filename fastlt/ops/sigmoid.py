"""The sigmoid losses of multi-label recognition, all of them settings of one."""

from __future__ import annotations

from torch import Tensor

from fastlt.ops import reference
from fastlt.ops.checks import constant, ignores_unknown, reduction_code
from fastlt.ops.library import kernels_for


def sigmoid_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    positive_scale: Tensor | None = None,
    positive_shift: Tensor | None = None,
    negative_scale: Tensor | None = None,
    negative_shift: Tensor | None = None,
    positive_weight: Tensor | None = None,
    negative_weight: Tensor | None = None,
    weight: Tensor | None = None,
    gamma_positive: float = 0.0,
    gamma_negative: float = 0.0,
    gamma_unknown: float = 0.0,
    margin: float = 0.0,
    detach_focus: bool = False,
    unknown: str = "ignore",
    reduction: str = "mean",
) -> Tensor:
    """Binary cross-entropy of every entry, with class weights, compensated logits, focusing and a margin.

    With q the probability that the entry gives to the wrong answer:

        positive (1):    q = sigmoid(-(x * positive_scale + positive_shift))
                         positive_weight * q^gamma_positive * -log(1 - q)
        negative (0):    q = max(sigmoid(x * negative_scale + negative_shift) - margin, 0)
                         negative_weight * q^gamma_negative * -log(1 - q)
        unknown (-1):    as a negative with gamma_unknown for unknown="negative"; 0 for unknown="ignore"

    times `weight` of the entry, where a bool says whether it counts. Settings of it:

        binary cross-entropy                    none
        the same with logit compensation        the four compensation vectors and the two class weights
          (Guo & Wang, CVPR 2021)
        focal loss (Lin et al., ICCV 2017)      gamma_positive = gamma_negative
        asymmetric loss                         gamma_negative=4, margin=0.05
          (Ridnik et al., ICCV 2021, eq. 7)
        partial asymmetric loss                 gamma_unknown, detach_focus, unknown="negative", bool weight
          (Ben-Baruch et al., CVPR 2022)
        distribution-balanced loss              shift b for positives; scale k, shift k * b, weight 1 / k for negatives;
          (Wu et al., ECCV 2020)                gamma 2, weight of every entry

    Arguments:
        logits: [B, C], float64, float32, bfloat16 or float16.
        targets: int8 [B, C]: 1 positive, 0 negative, -1 unknown.
        positive_scale, positive_shift, negative_scale, negative_shift: [C]; they get gradients. Without: 1 and 0.
        positive_weight, negative_weight: [C]. Without: 1.
        weight: [B, C], floating, or bool: where it is False the logit does not matter at all. No gradient for weights.
        gamma_positive, gamma_negative, gamma_unknown: at least 0; 0^0 is 1.
        margin: at least 0 and below 1.
        detach_focus: whether the gradient takes the factors q^gamma for constants.
        reduction: "row" for sums over classes [B], "sum", or "mean" over B * C (0 for an empty batch).

    Floating arguments besides logits are float32, or float64 beside float64 logits; so is the loss. It is computed from
    logits in that type, so it is finite with finite gradients however large the logits are.
    Raises RuntimeError for wrong shapes, types and settings; ValueError for an unknown `reduction` or `unknown`.
    """
    kernels = kernels_for(logits)
    if kernels is None:
        return reference.sigmoid_loss(
            logits,
            targets,
            positive_scale=positive_scale,
            positive_shift=positive_shift,
            negative_scale=negative_scale,
            negative_shift=negative_shift,
            positive_weight=positive_weight,
            negative_weight=negative_weight,
            weight=weight,
            gamma_positive=gamma_positive,
            gamma_negative=gamma_negative,
            gamma_unknown=gamma_unknown,
            margin=margin,
            detach_focus=detach_focus,
            unknown=unknown,
            reduction=reduction,
        )
    code = reduction_code("sigmoid_loss", reduction)
    vectors = positive_scale, positive_shift, negative_scale, negative_shift
    gradients = kernels.gradients(code, logits, *vectors)
    if gradients and any(vector is not None and vector.requires_grad for vector in vectors):
        gradients = 2
    return kernels.sigmoid_loss(
        logits,
        targets,
        positive_scale,
        positive_shift,
        negative_scale,
        negative_shift,
        constant(positive_weight),
        constant(negative_weight),
        constant(weight),
        gamma_positive,
        gamma_negative,
        gamma_unknown,
        margin,
        detach_focus,
        ignores_unknown("sigmoid_loss", unknown),
        code,
        gradients,
    )
