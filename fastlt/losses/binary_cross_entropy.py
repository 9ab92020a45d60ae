"""Sigmoid binary cross-entropy: every class on its own."""

from __future__ import annotations

from torch import Tensor

from fastlt import ops
from fastlt.config import LossConfig
from fastlt.distributed import global_mean
from fastlt.losses.base import Loss, multi_hot
from fastlt.progress import Progress


class Options(LossConfig):
    name: str = "binary_cross_entropy"


class BinaryCrossEntropy(Loss):
    """Mean over all known entries, and over all ranks, of y softplus(-x) + (1 - y) softplus(x)."""

    def forward(self, logits: Tensor, labels: Tensor, progress: Progress) -> Tensor:
        labels = multi_hot(labels, logits.shape[1])
        return global_mean(ops.sigmoid_loss(logits, labels, reduction="sum"), (labels >= 0).sum())
