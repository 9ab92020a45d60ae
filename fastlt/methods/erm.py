"""Empirical risk minimisation: one stream, one network, one loss. The baseline that every method is held against."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastlt import ops
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
        logits = self.model(batch.images["main"])
        labels = batch.labels["main"]
        if self.binary:
            return {"loss": binary_cross_entropy(logits, labels)}
        return {"loss": F.cross_entropy(logits.float(), labels)}

    def predict(self, images: Tensor) -> Tensor:
        return self.model(images).float()


def binary_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over all known entries, and over all ranks, of y softplus(-x) + (1 - y) softplus(x).

    `logits` [B, C] of any floating type; `labels` int8 [B, C] in {1, 0, -1}, or int64 [B] (one class, the others
    negative). The loss is float32, or float64 for float64.
    """
    if labels.ndim == 1:
        labels = F.one_hot(labels, logits.shape[1]).to(torch.int8)
    return global_mean(ops.sigmoid_loss(logits, labels, reduction="sum"), (labels >= 0).sum())


def _is_binary(loss: str, multi_label: bool) -> bool:
    if loss == "cross_entropy" and multi_label:
        raise UserError("method.loss cross_entropy needs one label an image, but this data set has several; use auto")
    return multi_label or loss == "binary_cross_entropy"
