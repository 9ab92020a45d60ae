"""tau-normalised classifier: Kang et al., "Decoupling Representation and Classifier", ICLR 2020, section 4.3."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from fastlt import losses
from fastlt.batch import Batch, StreamSpec
from fastlt.config import LossSection, MethodConfig, StreamConfig, TrainingStream
from fastlt.errors import UserError
from fastlt.methods.base import Method
from fastlt.models.classifier import linear_classifier, pooled_features
from fastlt.progress import Progress, TrainingSet

_GRID = [round(0.1 * number, 1) for number in range(11)]


class Options(MethodConfig):
    name: str = "tau_norm"
    loss: LossSection = "auto"
    stream: TrainingStream = StreamConfig()
    tau: Annotated[float, Field(ge=0, le=2)] | None = None  # default: chosen by validation, 1 without such a split


class TauNormalisation(Method):
    """Plain training; the score of class c is w_c . f / |w_c|^tau, equation 9, without the bias, as in the paper.

    `tau` is chosen whenever the validation split is measured, among 0, 0.1, ... 1, as the one with the highest mean of
    the classes' accuracies there, the smallest of equals.
    """

    def __init__(self, options: Options, model: nn.Module, data: TrainingSet) -> None:
        super().__init__()
        if data.multi_label:
            raise UserError("method tau_norm needs one label an image, but this data set has several; use crt")
        self.model, self.chosen_by_user = model, options.tau is not None
        linear_classifier(model, "method tau_norm")
        self.loss = losses.build(options.loss, data)
        self.register_buffer("tau", torch.tensor(1.0 if options.tau is None else options.tau))
        self.streams = {"main": StreamSpec(options.stream)}
        self.epoch_of = "main"

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        return {"loss": self.loss(self.model(batch.images["main"]), batch.labels["main"], progress)}

    def predict(self, images: Tensor) -> Tensor:
        features, weight = pooled_features(self.model, images), self.model.get_classifier().weight
        return nn.functional.linear(features, weight).float() / weight.norm(dim=1) ** self.tau

    def choose(self, measure: Callable[[], dict]) -> None:
        if self.chosen_by_user:
            return
        found = {}
        for tau in _GRID:
            self.tau.fill_(tau)
            found[tau] = _mean_accuracy(measure())
        self.tau.fill_(max(found, key=found.get))


def _mean_accuracy(found: dict) -> float:
    """Over the classes that have validation images: a validation split may be as long-tailed as training."""
    values = [row["accuracy"] for row in found["per_class"] if row["accuracy"] is not None]
    return sum(values) / len(values)
