"""Log-sum-exp pairwise loss: an image's labels above all others, wherever the zero is."""

from __future__ import annotations

import torch
from torch import Tensor

from fastlt import ops
from fastlt.config import LossConfig
from fastlt.distributed import global_mean
from fastlt.losses.base import Loss, multi_hot
from fastlt.progress import Progress


class Options(LossConfig):
    name: str = "lsep"


class LSEP(Loss):
    """Mean over images of log(1 + sum over negatives v and positives u of e^(x_v - x_u)); 0 without either.

    Li, Song, Luo, "Improving Pairwise Ranking for Multi-label Image Classification", CVPR 2017, eq. 4, over all pairs
    (the paper samples some). A constant added to an image's logits changes nothing, so a probability of 0.5 means
    nothing either: find thresholds with `fastlt thresholds`.
    """

    def forward(self, logits: Tensor, labels: Tensor, progress: Progress) -> Tensor:
        total = ops.lsep(logits, multi_hot(labels, logits.shape[1]), reduction="sum")
        return global_mean(total, torch.tensor(len(labels), device=logits.device))
