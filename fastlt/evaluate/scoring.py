"""Scores of every image of a split, each counted once whatever the number of ranks."""

from __future__ import annotations

import math

import numpy as np
import torch

from fastlt import distributed
from fastlt.batch import StreamSpec
from fastlt.config import RunConfig, StreamConfig
from fastlt.loader import Loader, Placement, Records
from fastlt.methods.base import Method

_IN_ORDER = {"all": StreamSpec(StreamConfig(sampling="sequential"))}


def score(
    method: Method, records: Records, config: RunConfig, ranks: distributed.Ranks, tick=None
) -> tuple[np.ndarray, np.ndarray]:
    """float32 [N, C]: `method.predict` for every image that decodes, and int64 [N]: which they are, ascending.

    Every rank gets all of them. `tick(done, total)` is called after each batch. Raises UserError when too many
    pictures do not decode.
    """
    size = len(records)
    batch = _even(min(config.train.evaluate_batch, size), ranks.count)
    steps = math.ceil(size / batch)
    place = Placement(ranks.rank, ranks.count, ranks.device)
    was_training = method.training
    method.eval()
    rows, positions = [], []
    with (
        torch.inference_mode(),
        Loader(records, _IN_ORDER, config.evaluation, batch, config.seed, config.data, place) as loader,
    ):
        for step in range(steps):
            shown = next(loader)
            rows.append(method.predict(shown.images["all"]).float())
            positions.append(shown.position["all"])
            if tick:
                tick(min((step + 1) * batch, size), size)
        bad = loader.bad_images
    method.train(was_training)
    return _merge(torch.cat(rows).cpu().numpy(), torch.cat(positions).numpy(), bad, size)


def _even(batch: int, ranks: int) -> int:
    return math.ceil(batch / ranks) * ranks


def _merge(rows: np.ndarray, positions: np.ndarray, bad: set[int], size: int) -> tuple[np.ndarray, np.ndarray]:
    """The parts of all ranks in the order of positions, without those past the end and those that do not decode."""
    own = positions < size
    scores = np.empty((size, rows.shape[1]), np.float32)
    readable = np.ones(size, bool)
    for place, part, unreadable in distributed.gather((positions[own], rows[own], sorted(bad))):
        scores[place] = part
        readable[unreadable] = False
    return scores[readable], np.flatnonzero(readable)
