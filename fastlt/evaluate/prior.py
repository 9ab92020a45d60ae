"""The class prior: how often a trained model takes each class to be there."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fastlt import distributed
from fastlt.config import RunConfig
from fastlt.errors import UserError
from fastlt.evaluate.scoring import show_all
from fastlt.loader import Records
from fastlt.methods.base import Method


def mean_probability(
    method: Method, records: Records, config: RunConfig, ranks: distributed.Ranks, tick=None
) -> tuple[np.ndarray, int]:
    """float64 [C], the mean of sigmoid(x) over all pictures of `records` that decode, and how many these are.

    One pass in eval mode over pictures that are not augmented (Ben-Baruch et al., CVPR 2022, section 3.2). Nothing is
    kept of a picture, so it does not matter how many there are. Raises UserError if none decodes.
    """
    total: Tensor | None = None
    images = 0

    def take(shown: Tensor, position: np.ndarray, readable: np.ndarray) -> None:
        nonlocal total, images
        scores = method.predict(shown).double()
        counts = torch.from_numpy(readable).to(scores.device, non_blocking=True)
        part = torch.where(counts[:, None], scores.sigmoid(), 0).sum(0)
        total = part if total is None else total + part
        images += int(readable.sum())

    show_all(method, records, config, ranks, take, tick)
    parts = distributed.gather((total.cpu().numpy(), images))
    seen = sum(count for _, count in parts)
    if not seen:
        raise UserError("no training picture decodes, so that no prior can be estimated; fastlt verify says why")
    return sum(part for part, _ in parts) / seen, seen
