"""What a loss is: a scalar of logits and labels that knows the training set's class counts."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastlt.config import LossConfig
from fastlt.errors import UserError
from fastlt.progress import Progress, TrainingSet


class Loss(nn.Module, ABC):
    """Made of its file's `Options` and the training set; what follows from these is held in buffers out of the state.

    `single_label` says that it needs one label an image. The others take either kind: of one label, the image's class
    is positive and all others are negative.
    """

    single_label = False

    def __init__(self, options: LossConfig, data: TrainingSet) -> None:
        super().__init__()
        if self.single_label and data.multi_label:
            raise UserError(
                f"loss {options.name} needs one label an image, but this data set has several; use "
                "binary_cross_entropy or another loss that takes each class on its own"
            )

    @abstractmethod
    def forward(self, logits: Tensor, labels: Tensor, progress: Progress) -> Tensor:
        """The scalar loss over all ranks' images, float32 (float64 for float64).

        `logits` [B, C] of any floating type; `labels` int64 [B], or int8 [B, C] in {1, 0, -1}.
        """

    def scores(self, logits: Tensor) -> Tensor:
        """What classes are ranked by, [B, C], of a network that was trained with this loss: its logits, if not else."""
        return logits


def multi_hot(labels: Tensor, classes: int) -> Tensor:
    """int8 [B, C] in {1, 0, -1} of either kind of labels."""
    return F.one_hot(labels, classes).to(torch.int8) if labels.ndim == 1 else labels
