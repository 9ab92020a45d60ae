"""Softmax cross-entropy: one label an image."""

from __future__ import annotations

from torch import Tensor

from fastlt.config import LossConfig
from fastlt.losses._class_weights import ClassWeights, Weighting, weighted_cross_entropy
from fastlt.losses.base import Loss
from fastlt.progress import Progress, TrainingSet


class Options(LossConfig):
    name: str = "cross_entropy"
    weighting: Weighting = Weighting()


class CrossEntropy(Loss):
    """Mean over images of -log softmax(x)_y, each weighted by its class where the options say so."""

    single_label = True

    def __init__(self, options: Options, data: TrainingSet) -> None:
        super().__init__(options, data)
        self.weights = ClassWeights(options.weighting, data)

    def forward(self, logits: Tensor, labels: Tensor, progress: Progress) -> Tensor:
        return weighted_cross_entropy(logits, labels, self.weights(progress, logits))
