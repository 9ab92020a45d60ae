"""The head behind which contrastive losses compare features; it is not used at test."""

from __future__ import annotations

from torch import nn


class Projection(nn.Sequential):
    """Perceptron with one hidden layer, as wide as the features: [B, features] -> [B, size].

    Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020, section 3.1. Rows are not of length 1: the losses
    that compare them normalise.
    """

    def __init__(self, features: int, size: int) -> None:
        super().__init__(nn.Linear(features, features), nn.ReLU(inplace=True), nn.Linear(features, size))


def feature_size(model: nn.Module) -> int:
    """Columns of `model.forward_head(x, pre_logits=True)`; some networks of timm widen the pooled features there."""
    return getattr(model, "head_hidden_size", None) or model.num_features
