"""Asymmetric loss: easy negatives count less than easy positives, and very easy ones not at all."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from fastlt import ops
from fastlt.config import LossConfig
from fastlt.distributed import global_mean, global_sum
from fastlt.losses.base import Loss, multi_hot
from fastlt.progress import Progress, TrainingSet

Gamma = Annotated[float, Field(ge=0)]


class Options(LossConfig):
    name: str = "asymmetric"
    gamma_positive: Gamma = 0.0
    gamma_negative: Gamma = 4.0
    margin: Annotated[float, Field(ge=0, lt=1)] = 0.05  # probability below which a negative counts as right
    reduction: Literal["mean", "sum"] = "mean"  # over known entries of the whole batch; the authors' code sums


class Asymmetric(Loss):
    """Ridnik et al., "Asymmetric Loss For Multi-Label Classification", ICCV 2021, eq. 7.

    With p = sigmoid(x): -(1 - p)^gamma_positive log p for positives, and for negatives -q^gamma_negative log(1 - q)
    with q = max(p - margin, 0). The gradient goes through the focusing factors; equal gammas without a margin are
    focal loss.
    """

    def __init__(self, options: Options, data: TrainingSet) -> None:
        super().__init__(options, data)
        self.settings = options.model_dump(include={"gamma_positive", "gamma_negative", "margin"})
        self.reduction = options.reduction

    def forward(self, logits: Tensor, labels: Tensor, progress: Progress) -> Tensor:
        labels = multi_hot(labels, logits.shape[1])
        total = ops.sigmoid_loss(logits, labels, **self.settings, reduction="sum")
        if self.reduction == "sum":
            return progress.parts * global_sum(total)
        return global_mean(total, (labels >= 0).sum())
