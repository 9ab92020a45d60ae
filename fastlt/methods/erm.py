"""Empirical risk minimisation: one stream, one network, one loss. The baseline that every method is held against."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from fastlt.batch import Batch, StreamSpec
from fastlt.config import MethodConfig
from fastlt.distributed import global_mean
from fastlt.errors import UserError
from fastlt.methods.base import Method, Progress, TrainingSet


class ERM(Method):
    """Softmax cross-entropy for one label an image, sigmoid binary cross-entropy for several."""

    def __init__(self, config: MethodConfig, model: nn.Module, data: TrainingSet) -> None:
        super().__init__()
        self.model = model
        self.binary = _is_binary(config.loss, data.multi_label)
        self.streams = {"main": StreamSpec(config.stream)}
        self.epoch_of = "main"

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        logits = self.model(batch.images["main"]).float()
        labels = batch.labels["main"]
        return {"loss": binary_cross_entropy(logits, labels) if self.binary else F.cross_entropy(logits, labels)}

    def predict(self, images: Tensor) -> Tensor:
        return self.model(images).float()


def binary_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over all known entries, and over all ranks, of y softplus(-x) + (1 - y) softplus(x).

    `logits` float [B, C]; `labels` int8 [B, C] in {1, 0, -1}, or int64 [B] (one class, the others negative).
    """
    if labels.ndim == 1:
        labels = F.one_hot(labels, logits.shape[1])
    known = labels >= 0
    positive = (labels == 1).to(logits.dtype)
    each = F.binary_cross_entropy_with_logits(logits, positive, reduction="none")
    return global_mean((each * known).sum(), known.sum())


def _is_binary(loss: str, multi_label: bool) -> bool:
    if loss == "cross_entropy" and multi_label:
        raise UserError("method.loss cross_entropy needs one label an image, but this data set has several; use auto")
    return multi_label or loss == "binary_cross_entropy"
