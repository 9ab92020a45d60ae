"""What a method is: the streams it draws, its loss terms, and how it predicts. The trainer knows no method by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from torch import Tensor, nn

from fastlt.batch import Batch, StreamSpec
from fastlt.config import RunConfig
from fastlt.progress import Progress, TrainingSet


class FinishedRun(Protocol):
    """An earlier run, with its trained weights on this run's device: see `fastlt.train.trained.Trained`."""

    method: Method
    config: RunConfig
    data: TrainingSet
    checkpoint: Path


OpenRun = Callable[[Path], FinishedRun]  # of a run folder; raises UserError if there is none


class Method(nn.Module, ABC):
    """`forward` is the whole training step, so that DistributedDataParallel and torch.compile see all of it.

    A method is made of its file's `Options`, a network and the training set. What is state but no parameter (a prior,
    class weights that follow from data) is a buffer; what another run gives and never learns is no part of the state.
    """

    streams: dict[str, StreamSpec]
    epoch_of: str  # the stream whose epochs are the run's

    @abstractmethod
    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Scalar loss terms by name; their sum is minimised."""

    @abstractmethod
    def predict(self, images: Tensor) -> Tensor:
        """float [B, C] scores of images [B, 3, H, W], on which every metric is computed."""

    def start_from(self, open_run: OpenRun) -> None:
        """Called once, before the first step of a new run: takes initial weights from an earlier run."""

    def attach(self, open_run: OpenRun) -> None:
        """Called whenever training begins or goes on: opens what is no part of the state, such as a frozen teacher."""

    def param_groups(self) -> list[dict]:
        """Groups of parameters that learn, by name; a group may give `lr_scale` or its own `weight_decay`."""
        return [{"name": "all", "params": [p for p in self.parameters() if p.requires_grad]}]
