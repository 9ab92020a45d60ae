"""The losses in plain PyTorch, formula by formula: the truth that the library's kernels are held against, and what runs
where there is no library.

Names, arguments, shapes and results are those of `fastlt.ops`, which describes them and names the papers; PyTorch
derives the gradients. Low-precision input is computed in float32, float64 in float64, under autocast too. A value that
a formula does not use in an entry is replaced by a harmless one before the formula, since the gradient of a discarded
infinity would be NaN.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, logsigmoid

from fastlt.ops.checks import (
    check_distillation,
    check_focus,
    check_labels,
    check_matrix,
    check_prototypes,
    check_same,
    check_targets,
    check_temperature,
    check_vector,
    check_weight,
    ignores_unknown,
    reduction_code,
    wide,
)

# ---- multi-label


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
    op = "sigmoid_loss"
    vectors = {
        "positive_scale": positive_scale,
        "positive_shift": positive_shift,
        "negative_scale": negative_scale,
        "negative_shift": negative_shift,
        "positive_weight": positive_weight,
        "negative_weight": negative_weight,
    }
    reduction_code(op, reduction)
    check_focus(op, (gamma_positive, gamma_negative, gamma_unknown), margin)
    check_matrix(op, "logits", logits, "[B, C]")
    check_targets(op, targets, logits)
    for name, vector in vectors.items():
        check_vector(op, name, vector, logits)
    check_weight(op, weight, logits)

    positive, is_unknown = targets > 0, targets < 0
    counts = ~is_unknown if ignores_unknown(op, unknown) else torch.ones_like(is_unknown)
    if weight is not None and weight.dtype == torch.bool:
        counts = counts & weight
    x = torch.where(counts, logits.to(wide(logits.dtype)), 0.0)
    # The logit of the wrong answer.
    t = torch.where(positive, -_affine(x, positive_scale, positive_shift), _affine(x, negative_scale, negative_shift))
    wrong, minus_log = _wrong_and_minus_log(t, positive, margin)
    loss = minus_log
    if gamma_positive or gamma_negative or gamma_unknown:
        exponent = torch.full_like(t, gamma_negative, requires_grad=False)
        exponent = exponent.masked_fill(positive, gamma_positive).masked_fill(is_unknown, gamma_unknown)
        focus = _power(wrong, exponent)
        loss = loss * (focus.detach() if detach_focus else focus)
    if positive_weight is not None:
        loss = torch.where(positive, loss * positive_weight.detach(), loss)
    if negative_weight is not None:
        loss = torch.where(positive, loss, loss * negative_weight.detach())
    if weight is not None and weight.dtype != torch.bool:
        loss = loss * weight.detach()
    return _reduced(torch.where(counts, loss, 0.0).sum(1), reduction, x.numel())


def _affine(x: Tensor, scale: Tensor | None, shift: Tensor | None) -> Tensor:
    x = x if scale is None else x * scale
    return x if shift is None else x + shift


def _softplus(x: Tensor) -> Tensor:
    """log(1 + e^x); torch's own softplus is cut off at 20, which float64 would notice."""
    return -logsigmoid(-x)


def _wrong_and_minus_log(t: Tensor, positive: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    """The probability of the wrong answer, less the margin for negatives, and -log(1 - that)."""
    q = torch.sigmoid(t)
    if not margin:
        return q, _softplus(t)
    counts = ~(q <= margin) & ~positive  # so NaN stays
    wrong = torch.where(counts, q - margin, 0.0)
    right = torch.where(counts, torch.sigmoid(-t) + margin, 1.0)  # 1 - wrong, where that is the smaller one
    small = wrong < 0.5
    minus_log = -torch.where(small, torch.log1p(-torch.where(small, wrong, 0.0)), torch.where(small, 1.0, right).log())
    return torch.where(positive, q, wrong), torch.where(positive, _softplus(t), minus_log)


def _power(base: Tensor, exponent: Tensor) -> Tensor:
    """base^exponent with 0^0 = 1, and gradient 0 where the base is 0."""
    above = base > 0
    return torch.where(above | (exponent == 0), torch.where(above, base, 1.0).pow(exponent), 0.0)


def lsep(logits: Tensor, targets: Tensor, *, reduction: str = "mean") -> Tensor:
    reduction_code("lsep", reduction)
    check_matrix("lsep", "logits", logits, "[B, C]")
    check_targets("lsep", targets, logits)
    x = logits.to(wide(logits.dtype))
    positive, negative = targets > 0, targets == 0
    both = positive.any(1) & negative.any(1)
    other = ~both[:, None]
    over_negatives = torch.where(negative | other, x, -torch.inf).logsumexp(1)
    over_positives = torch.where(positive | other, -x, -torch.inf).logsumexp(1)
    rows = torch.where(both, _softplus(over_negatives + over_positives), 0.0)
    return _reduced(rows, reduction, len(rows))


# ---- single-label


def balanced_softmax(logits: Tensor, labels: Tensor, log_prior: Tensor, *, reduction: str = "mean") -> Tensor:
    _check_single_label("balanced_softmax", logits, labels, log_prior, reduction)
    rows = _balanced_softmax(logits.to(wide(logits.dtype)), labels, log_prior)
    return _reduced(rows, reduction, len(rows))


def _balanced_softmax(x: Tensor, labels: Tensor, log_prior: Tensor) -> Tensor:
    return -log_softmax(x + log_prior.detach(), dim=1).gather(1, labels[:, None])[:, 0]


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
    _check_single_label("dive", logits, labels, log_prior, reduction)
    check_matrix("dive", "teacher_logits", teacher_logits, "[B, C]")
    check_same("dive", "teacher_logits", teacher_logits, logits)
    check_distillation("dive", temperature, power, alpha)
    x = logits.to(wide(logits.dtype))
    log_teacher = log_softmax(teacher_logits.detach().to(x.dtype) * (power / temperature), dim=1)
    log_student = log_softmax(x / temperature, dim=1)
    divergence = (log_teacher.exp() * (log_teacher - log_student)).sum(1)
    rows = (1 - alpha) * _balanced_softmax(x, labels, log_prior) + alpha * temperature**2 * divergence
    return _reduced(rows, reduction, len(rows))


def _check_single_label(op: str, logits: Tensor, labels: Tensor, log_prior: Tensor, reduction: str) -> None:
    reduction_code(op, reduction)
    check_matrix(op, "logits", logits, "[B, C]")
    if logits.shape[1] == 0:
        raise RuntimeError(f"{op}: logits must have at least one class")
    check_labels(op, labels, logits)
    check_vector(op, "log_prior", log_prior, logits)


# ---- contrastive


def prototype_contrastive(
    features: Tensor,
    prototypes: Tensor,
    labels: Tensor,
    *,
    temperature: float,
    positive_in_denominator: bool = False,
    reduction: str = "mean",
) -> Tensor:
    op = "prototype_contrastive"
    reduction_code(op, reduction)
    check_matrix(op, "features", features, "[B, D]")
    check_prototypes(op, features, prototypes, positive_in_denominator)
    check_labels(op, labels, features)
    check_temperature(op, temperature)
    type_ = wide(features.dtype)
    z = _products(_unit(features.to(type_)), _unit(prototypes.to(type_))) / temperature
    own = labels[:, None]
    others = z if positive_in_denominator else z.scatter(1, own, -torch.inf)
    rows = others.logsumexp(1) - z.gather(1, own)[:, 0]
    return _reduced(rows, reduction, len(rows))


def _products(x: Tensor, y: Tensor) -> Tensor:
    """Of every row of x with every row of y, which autocast would round to low precision."""
    if not torch.amp.is_autocast_available(x.device.type):
        return x @ y.T
    with torch.autocast(x.device.type, enabled=False):
        return x @ y.T


def _unit(x: Tensor) -> Tensor:
    """Rows of length 1; a row of zeros stays, with gradient zero."""
    length = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    nonzero = length > 0
    return x * torch.where(nonzero, 1 / torch.where(nonzero, length, 1.0), 0.0)


def supervised_contrastive(features: Tensor, labels: Tensor, *, temperature: float, reduction: str = "mean") -> Tensor:
    op = "supervised_contrastive"
    reduction_code(op, reduction)
    check_matrix(op, "features", features, "[N, D]")
    check_labels(op, labels, features)
    check_temperature(op, temperature)
    f = _unit(features.to(wide(features.dtype)))
    z = _products(f, f) / temperature
    itself = torch.eye(len(f), dtype=torch.bool, device=f.device)
    positive = (labels[:, None] == labels) & ~itself
    count = positive.sum(1)
    anchor = count > 0
    over_others = torch.where(itself & anchor[:, None], -torch.inf, z).logsumexp(1)
    over_positives = torch.where(positive, z, 0.0).sum(1) / count.clamp(min=1)
    rows = torch.where(anchor, over_others - over_positives, 0.0)
    return _reduced(rows, reduction, anchor.sum().clamp(min=1))


def _reduced(rows: Tensor, reduction: str, count: int | Tensor) -> Tensor:
    """The rows themselves, their sum, or that over `count`; the mean of nothing is 0."""
    if reduction == "row":
        return rows
    total = rows.sum()
    if reduction == "sum":
        return total
    return total / (count if isinstance(count, Tensor) else max(count, 1))
