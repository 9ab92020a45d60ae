"""The losses as they are commonly written in PyTorch, which the operators are timed against.

They follow the authors' code where there is some; their numerics are theirs (`asymmetric` is wrong beyond |x| = 17).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def asymmetric(x: Tensor, y: Tensor, gamma_negative: float = 4.0, margin: float = 0.05, floor: float = 1e-8) -> Tensor:
    """Ridnik et al.'s ASL with a detached focusing factor, summed. `y` has the dtype of `x`, 1 or 0, both [B, C]."""
    p = torch.sigmoid(x)
    not_p = (1 - p + margin).clamp(max=1)
    loss = y * torch.log(p.clamp(min=floor)) + (1 - y) * torch.log(not_p.clamp(min=floor))
    with torch.no_grad():
        right = p * y + not_p * (1 - y)
        focus = torch.pow(1 - right, gamma_negative * (1 - y))
    return -(loss * focus).sum()


def compensated(x: Tensor, y: Tensor, compensation: list[Tensor], weights: list[Tensor]) -> Tensor:
    """Guo & Wang's weighted BCE with logit compensation, mean over B * C; four vectors [C] and two weights [C]."""
    scale_p, shift_p, scale_n, shift_n = compensation
    positive, negative = x * scale_p + shift_p, x * scale_n + shift_n
    return (y * weights[0] * F.softplus(-positive) + (1 - y) * weights[1] * F.softplus(negative)).mean()


def lsep_loop(x: Tensor, y: Tensor) -> Tensor:
    """LSEP image by image over all pairs of a negative and a positive; batch mean. `y` bool [B, C]."""
    rows = []
    for scores, positive in zip(x, y, strict=True):
        pairs = scores[~positive][:, None] - scores[positive][None, :]
        rows.append(torch.log1p(pairs.exp().sum()))
    return torch.stack(rows).mean()


def lsep_vectorised(x: Tensor, y: Tensor) -> Tensor:
    """The same through two masked log-sum-exps of the whole batch."""
    negatives = torch.logsumexp(x.masked_fill(y, -torch.inf), dim=1)
    positives = torch.logsumexp((-x).masked_fill(~y, -torch.inf), dim=1)
    return F.softplus(negatives + positives).mean()


def balanced_softmax(x: Tensor, labels: Tensor, log_prior: Tensor) -> Tensor:
    return F.cross_entropy(x + log_prior, labels)


def dive(x: Tensor, teacher: Tensor, labels: Tensor, log_prior: Tensor, temperature: float, power: float) -> Tensor:
    """Half balanced softmax, half temperature-scaled KL of the power-normalised teacher, batch mean."""
    target = F.softmax(teacher / temperature, dim=1) ** power
    target = target / target.sum(dim=1, keepdim=True)
    student = F.log_softmax(x / temperature, dim=1)
    distilled = F.kl_div(student, target, reduction="batchmean") * temperature**2
    return 0.5 * balanced_softmax(x, labels, log_prior) + 0.5 * distilled


def prototype_contrastive(features: Tensor, prototypes: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Hybrid-PSC's loss: the positive is not in the denominator; batch mean."""
    z = F.normalize(features) @ F.normalize(prototypes).T / temperature
    own = F.one_hot(labels, len(prototypes)).bool()
    return (torch.logsumexp(z.masked_fill(own, -torch.inf), dim=1) - z[own]).mean()


def supervised_contrastive(features: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """As in SupContrast's losses.py, mean over anchors."""
    f = F.normalize(features)
    z = f @ f.T / temperature
    z = z - z.max(dim=1, keepdim=True).values.detach()
    others = 1 - torch.eye(len(f), device=f.device)
    positive = (labels[:, None] == labels).float() * others
    log_probability = z - torch.log((torch.exp(z) * others).sum(dim=1, keepdim=True))
    return -((positive * log_probability).sum(dim=1) / positive.sum(dim=1)).mean()
