"""Balanced softmax: Ren et al., "Balanced Meta-Softmax for Long-Tailed Visual Recognition", NeurIPS 2020."""

from __future__ import annotations

import torch
from torch import Tensor

from fastlt import ops
from fastlt.config import LossConfig
from fastlt.distributed import global_mean
from fastlt.losses.base import Loss
from fastlt.ops.checks import wide
from fastlt.progress import Progress, TrainingSet


class Options(LossConfig):
    name: str = "balanced_softmax"


class BalancedSoftmax(Loss):
    """Mean over images of -log(n_y e^x_y / sum_j n_j e^x_j), equation 4; prediction is by x alone.

    n are the classes' training images. A class without any is left out of the sum.
    """

    single_label = True

    def __init__(self, options: Options, data: TrainingSet) -> None:
        super().__init__(options, data)
        self.register_buffer("log_prior", log_prior(data), persistent=False)

    def forward(self, logits: Tensor, labels: Tensor, progress: Progress) -> Tensor:
        total = ops.balanced_softmax(logits, labels, self.log_prior.to(wide(logits.dtype)), reduction="sum")
        return global_mean(total, torch.full((), len(labels), device=logits.device))


def log_prior(data: TrainingSet) -> Tensor:
    """float64 [C]: the logarithm of each class's share of the training images, -inf for a class without any."""
    counts = torch.tensor(data.counts, dtype=torch.float64)
    return (counts / counts.sum()).log()
