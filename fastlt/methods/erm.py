"""Empirical risk minimisation: one stream, one network, one loss. The baseline that every method is held against."""

from __future__ import annotations

from torch import Tensor, nn

from fastlt import losses
from fastlt.batch import Batch, StreamSpec
from fastlt.config import LossSection, MethodConfig, StreamConfig, TrainingStream
from fastlt.methods.base import Method
from fastlt.progress import Progress, TrainingSet


class Options(MethodConfig):
    name: str = "erm"
    loss: LossSection = "auto"
    stream: TrainingStream = StreamConfig()


class ERM(Method):
    """Any loss on any stream: re-sampling is another stream, re-weighting another loss."""

    def __init__(self, options: Options, model: nn.Module, data: TrainingSet) -> None:
        super().__init__()
        self.model = model
        self.loss = losses.build(options.loss, data)
        self.streams = {"main": StreamSpec(options.stream)}
        self.epoch_of = "main"

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        return {"loss": self.loss(self.model(batch.images["main"]), batch.labels["main"], progress)}

    def predict(self, images: Tensor) -> Tensor:
        return self.loss.scores(self.model(images).float())
