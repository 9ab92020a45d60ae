"""Weights that let rare classes count more in a loss, from the start or from a share of the run on."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from fastlt.config import Fraction, Section
from fastlt.distributed import global_mean
from fastlt.ops.checks import wide
from fastlt.progress import Progress, TrainingSet


class Weighting(Section):
    """Weight of a class of n training images, before all are scaled to the mean 1.

    inverse: 1 / n. square_root: n^-1/2 (the re-weighting baseline of Wu et al., ECCV 2020, and Guo & Wang, CVPR 2021).
    effective_number: (1 - beta) / (1 - beta^n) (Cui et al., CVPR 2019, equation 2).
    """

    kind: Literal["none", "inverse", "square_root", "effective_number"] = "none"
    beta: Annotated[float, Field(ge=0, lt=1)] = 0.9999  # effective_number
    from_share: Fraction = 0.0  # of the run, before which all weights are 1: deferred (Cao et al., NeurIPS 2019)


class ClassWeights(nn.Module):
    """Called with the progress of the run and the logits: the weights of this step, [C] in float32 (float64 beside
    float64 logits), or None where all are 1.

    Their mean over the classes that have images is 1, as in Cui et al., section 4; a class without images has weight 0.

    Softmax losses weight an image by the weight of its class (`weighted_cross_entropy`). Sigmoid losses weight each
    column, positives and negatives alike, and divide by the number of entries, as the code of Wu et al. (ECCV 2020):
    give the weights to `ops.sigmoid_loss` as `positive_weight` and as `negative_weight`.
    """

    def __init__(self, options: Weighting, data: TrainingSet) -> None:
        super().__init__()
        self.from_share = options.from_share
        weights = None if options.kind == "none" else _weights(options, torch.tensor(data.counts, dtype=torch.float64))
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, progress: Progress, logits: Tensor) -> Tensor | None:
        if self.weights is None or not progress.reached(self.from_share):
            return None
        return self.weights.to(wide(logits.dtype))


def weighted_cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
    """sum_i w_yi CE_i / sum_i w_yi over all ranks' images, in float32 (float64 for float64): torch's weighted mean.

    `logits` [B, C], `labels` int64 [B], `weights` [C] or None for 1.
    """
    total = F.cross_entropy(logits.to(wide(logits.dtype)), labels, weight=weights, reduction="sum")
    count = torch.full((), len(labels), device=logits.device) if weights is None else weights[labels].sum()
    return global_mean(total, count)


def _weights(options: Weighting, counts: Tensor) -> Tensor:
    """float64 [C] of class counts, float64 [C]."""
    present = counts > 0
    counts = counts.clamp(min=1)
    if options.kind == "effective_number":
        raw = (1 - options.beta) / (1 - options.beta**counts)
    else:
        raw = 1 / counts if options.kind == "inverse" else counts.rsqrt()
    raw = raw * present
    return raw * (present.sum() / raw.sum())
