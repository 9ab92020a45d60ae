"""The distribution-balanced loss: Wu et al., "Distribution-Balanced Loss for Multi-Label Classification in Long-Tailed
Datasets", ECCV 2020, in its focal form."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from fastlt import ops
from fastlt.config import LossConfig
from fastlt.distributed import global_mean
from fastlt.losses.base import Loss, multi_hot
from fastlt.progress import Progress, TrainingSet


class Options(LossConfig):
    """The defaults are those of VOC-LT; COCO-LT has center 0.2 and negative_scale 2."""

    name: str = "distribution_balanced"
    lowest: Annotated[float, Field(ge=0)] = 0.1  # alpha
    steepness: float = 10.0  # beta
    center: float = 0.3  # mu
    negative_scale: Annotated[float, Field(gt=0)] = 5.0  # lambda
    bias: float = 0.05  # kappa
    gamma: Annotated[float, Field(ge=0)] = 2.0
    factor: Annotated[float, Field(gt=0)] = 2.0  # of the whole


class DistributionBalanced(Loss):
    """Focal loss with re-balanced weights and negative-tolerant logits: mean over all known entries, and all ranks.

        w_k = alpha + sigmoid(beta (r_k - mu)),  r_k = (1 / n_k) / sum over positives j of the image of 1 / n_j
        z_k = x_k + b_k,                         b_k = -(kappa / lambda) log(N / n_k - 1)
        positive:  w_k focal(z_k)                negative:  (w_k / lambda) focal(lambda z_k)

    An image without positives has w = alpha + 1, the limit of large r. So that b is finite, n counts as 1 of a class
    that no image has, and as N - 1 of one that all have.
    """

    def __init__(self, options: Options, data: TrainingSet) -> None:
        super().__init__(options, data)
        self.options = options
        counts = torch.tensor(data.counts, dtype=torch.float64).clamp(min=1, max=max(data.images - 1, 1))
        odds = torch.clamp(data.images / counts - 1, min=torch.finfo(torch.float64).tiny)
        self.register_buffer("bias", -options.bias / options.negative_scale * odds.log(), persistent=False)
        self.register_buffer("rarity", 1 / counts, persistent=False)
        self.register_buffer("scale", torch.full_like(counts, options.negative_scale), persistent=False)

    def forward(self, logits: Tensor, labels: Tensor, progress: Progress) -> Tensor:
        wide = torch.promote_types(logits.dtype, torch.float32)
        labels = multi_hot(labels, logits.shape[1])
        bias, scale = self.bias.to(wide), self.scale.to(wide)
        total = ops.sigmoid_loss(
            logits,
            labels,
            positive_shift=bias,
            negative_scale=scale,
            negative_shift=scale * bias,
            negative_weight=1 / scale,
            weight=self.options.factor * self._weights(labels).to(wide),
            gamma_positive=self.options.gamma,
            gamma_negative=self.options.gamma,
            reduction="sum",
        )
        return global_mean(total, (labels >= 0).sum())

    def _weights(self, labels: Tensor) -> Tensor:
        """float [B, C] w of every entry, the same for positives and negatives."""
        together = (labels > 0).to(self.rarity.dtype) @ self.rarity
        ratio = self.rarity / together[:, None]  # infinite without positives
        return self.options.lowest + torch.sigmoid(self.options.steepness * (ratio - self.options.center))
