"""What several predictions of the same pictures are together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def mean_logits(logits: Sequence[Tensor]) -> Tensor:
    """float [B, C]: the mean of several logits [B, C]."""
    return torch.stack(list(logits)).float().mean(0)


def mean_probabilities(logits: Sequence[Tensor]) -> Tensor:
    """float [B, C]: the logit of the mean of several sigmoid probabilities, from their logits [B, C].

    A logit, since probabilities near 0 and 1 would round to ties: it ranks the same, and its sigmoid is the mean.
    """
    x = torch.stack(list(logits)).float()
    return logsigmoid(x).logsumexp(0) - logsigmoid(-x).logsumexp(0)
