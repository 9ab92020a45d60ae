"""Logit adjustment: Menon et al., "Long-tail learning via logit adjustment", ICLR 2021."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from fastlt import ops
from fastlt.config import LossConfig
from fastlt.distributed import global_mean
from fastlt.losses.balanced_softmax import log_prior
from fastlt.losses.base import Loss
from fastlt.ops.checks import wide
from fastlt.progress import Progress, TrainingSet


class Options(LossConfig):
    name: str = "logit_adjustment"
    tau: Annotated[float, Field(gt=0)] = 1.0
    post_hoc: bool = False  # train by plain cross-entropy and adjust the scores instead


class LogitAdjustment(Loss):
    """Cross-entropy of x + tau log pi, pi being the classes' shares of the training images (equation 10).

    Post hoc it is cross-entropy of x, and scores are x - tau log pi (equation 9). In the loss a class without
    training images is left out of the softmax; post hoc it is not raised, so that no rarer class stands behind it.
    """

    single_label = True

    def __init__(self, options: Options, data: TrainingSet) -> None:
        super().__init__(options, data)
        shift = options.tau * log_prior(data)
        nothing = torch.zeros_like(shift)
        raised = torch.where(shift.isinf(), nothing, -shift)
        self.register_buffer("train_shift", nothing if options.post_hoc else shift, persistent=False)
        self.register_buffer("score_shift", raised if options.post_hoc else nothing, persistent=False)

    def forward(self, logits: Tensor, labels: Tensor, progress: Progress) -> Tensor:
        total = ops.balanced_softmax(logits, labels, self.train_shift.to(wide(logits.dtype)), reduction="sum")
        return global_mean(total, torch.full((), len(labels), device=logits.device))

    def scores(self, logits: Tensor) -> Tensor:
        return logits + self.score_shift.to(logits.dtype)
