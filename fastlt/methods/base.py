"""What a method is: the streams it draws, its loss terms, and how it predicts. The trainer knows no method by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from torch import Tensor, nn

from fastlt import losses
from fastlt.batch import Batch, StreamSpec
from fastlt.config import MethodConfig, RunConfig
from fastlt.progress import Progress, TrainingSet


class FinishedRun(Protocol):
    """An earlier run, with its trained weights on this run's device: see `fastlt.train.trained.Trained`."""

    method: Method
    config: RunConfig
    data: TrainingSet
    checkpoint: Path


class OpenRun(Protocol):
    """Opens earlier runs for the one of `config`."""

    config: RunConfig

    def __call__(self, folder: Path) -> FinishedRun:
        """Raises UserError if there is no trained run in `folder`, or an unfinished one."""


LossOfLogits = Callable[[Tensor, Tensor, Progress], Tensor]  # logits [B, C], labels, progress -> a scalar


class Method(nn.Module, ABC):
    """`forward` is the whole training step, so that DistributedDataParallel and torch.compile see all of it.

    A method is made of its file's `Options`, a network and the training set. What is state but no parameter (a prior,
    class weights that follow from data) is a buffer; what another run gives and never learns is no part of the state.

    From the first step of a second stage on, streams are their `then`, the schedule begins anew, and validation looks
    for the best checkpoint, which the first stage cannot leave.
    """

    streams: dict[str, StreamSpec]
    epoch_of: str  # the stream whose epochs are the run's
    second_stage: float | None = None  # share of the run after which it begins
    idle_parameters = False  # whether some parameters that learn get no gradient in some steps
    other_network_sees_pictures = False  # such as a teacher

    @classmethod
    def loss_of_logits(cls, options: MethodConfig, data: TrainingSet) -> LossOfLogits:
        """What the method makes of a classifier's logits and their labels alone: `fastlt gradients` draws it.

        It is `method.loss`, unless the method says otherwise. Raises UserError for labels that it does not take, and if
        the loss depends on more.
        """
        return losses.build(options.loss, data)

    def notices(self) -> list[str]:
        """What a user should know before training, a line each; none unless the method says so."""
        return []

    @abstractmethod
    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Scalar loss terms by name; their sum is minimised."""

    @abstractmethod
    def predict(self, images: Tensor) -> Tensor:
        """float [B, C] scores of images [B, 3, H, W], on which every metric is computed."""

    def predict_parts(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """`predict`'s scores, and by name those of parts of the method alone, such as a branch: [B, C] each.

        Evaluation reports the parts beside; a method has none unless it says so here.
        """
        return self.predict(images), {}

    def start_from(self, open_run: OpenRun) -> None:
        """Called once, before the first step of a new run: takes initial weights from an earlier run."""

    def attach(self, open_run: OpenRun) -> None:
        """Called whenever training begins or goes on: opens what is no part of the state, such as a frozen teacher."""

    def choose(self, measure: Callable[[], dict]) -> None:
        """Called before each measurement of the validation split: sets what is chosen by it.

        `measure` gives the metrics of that split as `fastlt.evaluate.metrics.evaluate` does.
        """

    def param_groups(self) -> list[dict]:
        """Groups of parameters that learn, by name; a group may give `lr_scale` or its own `weight_decay`."""
        return [{"name": "all", "params": [p for p in self.parameters() if p.requires_grad]}]
