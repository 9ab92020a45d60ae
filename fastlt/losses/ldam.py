"""LDAM: Cao et al., "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss", NeurIPS 2019."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from fastlt import ops
from fastlt.config import LossConfig
from fastlt.distributed import global_mean
from fastlt.losses._class_weights import ClassWeights, Weighting, weighted_cross_entropy
from fastlt.losses.base import Loss
from fastlt.ops.checks import wide
from fastlt.progress import Progress, TrainingSet


class Options(LossConfig):
    name: str = "ldam"
    max_margin: Annotated[float, Field(ge=0)] = 0.5  # of the rarest class
    scale: Annotated[float, Field(gt=0)] = 30.0
    weighting: Weighting = Weighting()


class LDAM(Loss):
    """Cross-entropy of s (x - m_y at the label), margins m_c = m_max (n_min / n_c)^(1/4): equation 13 and its code.

    Meant for cosines, as `model.classifier: cosine` gives them. With several labels an image every class stands alone:
    sigmoid cross-entropy of s (x - m_c) for a positive and s x for a negative label, mean over all known entries
    (inferred: the paper has no such form). A class without training images has no margin.
    """

    def __init__(self, options: Options, data: TrainingSet) -> None:
        super().__init__(options, data)
        self.scale = options.scale
        self.weights = ClassWeights(options.weighting, data)
        counts = torch.tensor(data.counts, dtype=torch.float64)
        rarity = torch.where(counts > 0, counts.clamp(min=1) ** -0.25, 0)
        margins = options.max_margin * rarity / rarity.max()
        self.register_buffer("margins", margins, persistent=False)

    def forward(self, logits: Tensor, labels: Tensor, progress: Progress) -> Tensor:
        weights = self.weights(progress, logits)
        return self._softmax(logits, labels, weights) if labels.ndim == 1 else self._sigmoid(logits, labels, weights)

    def scores(self, logits: Tensor) -> Tensor:
        return self.scale * logits

    def _softmax(self, logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
        logits = logits.to(wide(logits.dtype))
        own = labels[:, None]
        margins = torch.zeros_like(logits).scatter(1, own, self.margins.to(logits.dtype)[own])
        return weighted_cross_entropy(self.scale * (logits - margins), labels, weights)

    def _sigmoid(self, logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
        margins = self.margins.to(wide(logits.dtype))
        scale = torch.full_like(margins, self.scale)
        total = ops.sigmoid_loss(
            logits,
            labels,
            positive_scale=scale,
            positive_shift=-scale * margins,
            negative_scale=scale,
            positive_weight=weights,
            negative_weight=weights,
            reduction="sum",
        )
        return global_mean(total, (labels >= 0).sum())
