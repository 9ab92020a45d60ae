"""Softmax cross-entropy inside each attribute: a group of classes of which an image has exactly one."""

from __future__ import annotations

import torch
from torch import Tensor

from fastlt.config import LossConfig
from fastlt.distributed import global_mean
from fastlt.errors import UserError
from fastlt.losses.base import Loss
from fastlt.progress import Progress, TrainingSet


class Options(LossConfig):
    name: str = "attribute_cross_entropy"


class AttributeCrossEntropy(Loss):
    """Mean of -log softmax(x_G)_y over all attributes that are known, those of all images and ranks alike.

    x_G are the logits of the attribute's classes G, y the one that is positive. An attribute without a positive class
    in an image is unknown there, and its logits get no gradient.
    """

    def __init__(self, options: Options, data: TrainingSet) -> None:
        super().__init__(options, data)
        grouped = sorted(c for group in data.attributes.values() for c in group)
        if grouped != list(range(len(data.classes))):
            raise UserError(
                "loss attribute_cross_entropy needs a data set whose classes are all values of attributes; source csv "
                "with --option attributes=... makes one"
            )
        for number, group in enumerate(data.attributes.values()):
            self.register_buffer(f"group{number}", torch.tensor(group), persistent=False)

    def forward(self, logits: Tensor, labels: Tensor, progress: Progress) -> Tensor:
        logits = logits if logits.dtype == torch.float64 else logits.float()
        total, known = zip(*(_sums(logits[:, group], labels[:, group] == 1) for group in self.buffers()), strict=True)
        return global_mean(sum(total), sum(known))


def _sums(logits: Tensor, positive: Tensor) -> tuple[Tensor, Tensor]:
    """The summed cross-entropy of the images, of logits [B, G], in which a class is positive, and their number."""
    known = positive.any(1)
    rows = torch.nn.functional.cross_entropy(logits, positive.to(torch.int8).argmax(1), reduction="none")
    return torch.where(known, rows, 0.0).sum(), known.sum()
