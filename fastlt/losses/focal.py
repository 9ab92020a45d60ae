"""Focal loss: entries that are right already count less."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from fastlt import ops
from fastlt.config import Fraction, LossConfig
from fastlt.distributed import global_mean
from fastlt.errors import UserError
from fastlt.losses._class_weights import ClassWeights, Weighting
from fastlt.losses.base import Loss, multi_hot
from fastlt.ops.checks import wide
from fastlt.progress import Progress, TrainingSet


class Options(LossConfig):
    name: str = "focal"
    kind: Literal["auto", "sigmoid", "softmax"] = "auto"  # auto: softmax where an image has one label
    gamma: Annotated[float, Field(ge=0)] = 2.0  # 0: cross-entropy
    alpha: Fraction | None = None  # sigmoid: weight of positives, 1 - alpha that of negatives; default: 1 for both
    weighting: Weighting = Weighting()  # effective_number: class-balanced focal loss (Cui et al., CVPR 2019)


class Focal(Loss):
    """With p the probability of an entry's right answer, the mean of -(1 - p)^gamma log p (Lin et al., ICCV 2017).

    sigmoid: every known entry of [B, C] has an answer, and the mean is over these. softmax: every image has one, its
    class. Class weights act as in the cross-entropies. The gradient goes through the focusing factor. Raises UserError
    for softmax where images have several labels, and for softmax with alpha.
    """

    def __init__(self, options: Options, data: TrainingSet) -> None:
        super().__init__(options, data)
        softmax = options.kind == "softmax" or (options.kind == "auto" and not data.multi_label)
        if softmax and data.multi_label:
            raise UserError(
                "method.loss.kind=softmax needs one label an image, but this data set has several; use auto"
            )
        if softmax and options.alpha is not None:
            raise UserError("method.loss.alpha weighs positives against negatives; set method.loss.kind=sigmoid too")
        self.softmax, self.gamma, self.alpha = softmax, options.gamma, options.alpha
        self.weights = ClassWeights(options.weighting, data)

    def forward(self, logits: Tensor, labels: Tensor, progress: Progress) -> Tensor:
        weights = self.weights(progress, logits)
        if weights is None:
            weights = torch.ones(logits.shape[1], dtype=wide(logits.dtype), device=logits.device)
        if self.softmax:
            return self._one_answer(logits, labels, weights)
        return self._answer_each(logits, multi_hot(labels, logits.shape[1]), weights)

    def _answer_each(self, logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        positive, negative = (1.0, 1.0) if self.alpha is None else (self.alpha, 1 - self.alpha)
        total = ops.sigmoid_loss(
            logits,
            labels,
            positive_weight=positive * weights,
            negative_weight=negative * weights,
            gamma_positive=self.gamma,
            gamma_negative=self.gamma,
            reduction="sum",
        )
        return global_mean(total, (labels >= 0).sum())

    def _one_answer(self, logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        odds, own = _odds(logits, labels), weights[labels]
        right = torch.ones_like(odds, dtype=torch.int8)
        rows = ops.sigmoid_loss(odds, right, gamma_positive=self.gamma, reduction="row")
        return global_mean((own * rows).sum(), own.sum())


def _odds(logits: Tensor, labels: Tensor) -> Tensor:
    """[B, 1] log(p / (1 - p)) of the softmax probability p of each image's class: its logit against all others'."""
    logits, own = logits.to(wide(logits.dtype)), labels[:, None]
    others = logits.scatter(1, own, -torch.inf).logsumexp(1, keepdim=True)
    return logits.gather(1, own) - others
