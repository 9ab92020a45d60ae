"""Sigmoid binary cross-entropy: every class on its own."""

from __future__ import annotations

from torch import Tensor

from fastlt import ops
from fastlt.config import LossConfig
from fastlt.distributed import global_mean
from fastlt.losses._class_weights import ClassWeights, Weighting
from fastlt.losses.base import Loss, multi_hot
from fastlt.progress import Progress, TrainingSet


class Options(LossConfig):
    name: str = "binary_cross_entropy"
    weighting: Weighting = Weighting()


class BinaryCrossEntropy(Loss):
    """Mean over all known entries, and over all ranks, of w_c (y softplus(-x) + (1 - y) softplus(x)).

    The weights w of the classes are 1 unless the options say otherwise.
    """

    def __init__(self, options: Options, data: TrainingSet) -> None:
        super().__init__(options, data)
        self.weights = ClassWeights(options.weighting, data)

    def forward(self, logits: Tensor, labels: Tensor, progress: Progress) -> Tensor:
        labels, weights = multi_hot(labels, logits.shape[1]), self.weights(progress, logits)
        total = ops.sigmoid_loss(logits, labels, positive_weight=weights, negative_weight=weights, reduction="sum")
        return global_mean(total, (labels >= 0).sum())
