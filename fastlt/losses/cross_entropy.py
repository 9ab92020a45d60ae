"""Softmax cross-entropy: one label an image."""

from __future__ import annotations

import torch
from torch import Tensor

from fastlt.config import LossConfig
from fastlt.distributed import global_mean
from fastlt.losses.base import Loss
from fastlt.progress import Progress


class Options(LossConfig):
    name: str = "cross_entropy"


class CrossEntropy(Loss):
    """Mean over images of -log softmax(x)_y."""

    single_label = True

    def forward(self, logits: Tensor, labels: Tensor, progress: Progress) -> Tensor:
        logits = logits if logits.dtype == torch.float64 else logits.float()
        total = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
        return global_mean(total, torch.tensor(len(labels), device=logits.device))
